use std::{fs, path::PathBuf};

use crate::targets;

fn replay(target: &str, run: fn(&[u8])) {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let mut files = 0;
    for entry in fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.expect("the folder can be listed").path();
        println!("{}", path.display());
        run(&fs::read(&path).expect("the file can be read"));
        files += 1;
    }
    assert!(files > 0, "{} is empty", folder.display());
}

#[test]
fn the_corpus_of_whole_clients_replays() {
    replay("dhcp_client", targets::dhcp_client);
}

#[test]
fn the_corpus_of_frames_replays() {
    replay("dhcp_frame", targets::dhcp_frame);
}

#[test]
fn the_corpus_of_options_replays() {
    replay("dhcp_options", targets::dhcp_options);
}

#[test]
fn the_corpus_of_address_resolution_replays() {
    replay("arp", targets::arp);
}
