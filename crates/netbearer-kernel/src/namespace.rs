use std::{fs, io, os::unix::fs::MetadataExt};

/// The inode of the calling thread's network namespace. Unique among the namespaces that exist (`namespaces(7)`).
///
/// # Errors
/// When `/proc` is not mounted.
pub fn network_namespace_inode() -> io::Result<u64> {
    fs::metadata("/proc/thread-self/ns/net").map(|metadata| metadata.ino())
}

/// The identifier of this boot of the machine (`random(4)`, `boot_id`).
///
/// # Errors
/// When `/proc` is not mounted.
pub fn boot_identifier() -> io::Result<String> {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|text| text.trim_end().to_owned())
}
