use std::{fs, io, path::PathBuf};

use crate::LabError;

/// Gives every committed input of a fuzz target (`fuzz/corpus`) to the function behind it, and prints which; how many there
/// were.
///
/// # Errors
/// [`LabError::System`] if an input cannot be read or there is none.
pub fn replay_corpus(target: &str, run: fn(&[u8])) -> Result<usize, LabError> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let unable = || LabError::unable_to(format!("read the corpus {}", folder.display()));
    let mut inputs = 0;
    for entry in fs::read_dir(&folder).map_err(unable())? {
        let path = entry.map_err(unable())?.path();
        println!("{}", path.display());
        run(&fs::read(&path).map_err(unable())?);
        inputs += 1;
    }
    if inputs == 0 { Err(unable()(io::ErrorKind::NotFound.into())) } else { Ok(inputs) }
}
