//! Holds when descriptors are used up, which are those of a process: this test has one of its own.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    fs::{self, File},
    os::fd::OwnedFd,
    time::Duration,
};

use bearerd::Fifos;
use netbearer_core::HoldId;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::time::timeout;

/// Much longer than the kernel takes.
const PATIENCE: Duration = Duration::from_secs(10);
/// So many are left to everything else than holds.
const SPARE: usize = 64;

async fn gone(fifos: &Fifos) -> Vec<HoldId> {
    let told = timeout(PATIENCE, fifos.hung_up()).await.expect("something is told").unwrap();
    told.into_iter().filter(|hold| fifos.has_gone(*hold)).collect()
}

/// Opens files until there is no descriptor any more.
fn use_up(used: &mut Vec<File>) {
    used.extend(std::iter::from_fn(|| File::open("/dev/null").ok()));
}

#[tokio::test]
async fn a_hold_for_which_no_descriptor_is_left_counts_as_held_until_there_is_one() {
    let directory = tempfile::tempdir().unwrap();
    let before = Fifos::open(directory.path()).unwrap();
    let mut held: Vec<(HoldId, OwnedFd)> = (0..4).map(|_| before.mint().unwrap()).collect();
    let holds: Vec<HoldId> = held.iter().map(|(hold, _)| *hold).collect();
    drop(before);
    let after = Fifos::open(directory.path()).unwrap();
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(256), ..limit }).unwrap();
    let mut used = Vec::new();
    use_up(&mut used);
    // Enough for two of them.
    used.truncate(used.len() - SPARE - 2);
    assert_eq!(after.reopen(holds.clone()), []);
    assert_eq!(after.len(), 4);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 4);
    // All that was spared is used up, too, and what becomes free here.
    use_up(&mut used);
    assert_eq!(after.gone(), []);
    drop(held.pop());
    use_up(&mut used);
    assert_eq!(after.gone(), [], "nobody can tell");
    assert!(after.another(holds[3]).is_err());
    drop(held.remove(0));
    use_up(&mut used);
    assert_eq!(gone(&after).await, [holds[0]]);
    // Its descriptor is free, and the next one is looked at.
    assert_eq!(gone(&after).await, []);
    drop(used);
    assert_eq!(gone(&after).await, [holds[3]]);
    assert_eq!(after.len(), 2);
    // Both are watched now.
    for (hold, writing) in held {
        drop(writing);
        assert_eq!(gone(&after).await, [hold]);
    }
}
