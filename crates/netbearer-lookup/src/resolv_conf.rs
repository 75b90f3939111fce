use std::{fs, io, os::unix::fs::MetadataExt, path::Path};

use rustix::io::Errno;

use crate::ResolvConf;

/// What `resolv.conf`, which programs read, is; for the choice of whom to tell.
///
/// # Errors
/// When it cannot be read.
pub fn look_at_resolv_conf(path: &Path) -> io::Result<ResolvConf> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    let mut end = path.to_owned();
    // The kernel follows no more links than that either (`path_resolution(7)`).
    for _ in 0..40 {
        let target = match fs::read_link(&end) {
            Ok(target) => target,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(ResolvConf::Missing),
            // No link.
            Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => return read_servers(&end),
            Err(error) => return Err(error),
        };
        end = directory.join(target);
        let identity = |directory: &Path| fs::metadata(directory).map(|directory| (directory.dev(), directory.ino()));
        let is_beside = end.parent().is_some_and(|other| identity(other).ok() == identity(directory).ok());
        match end.file_name() {
            Some(name) if is_beside => end = directory.join(name),
            _ => return Ok(ResolvConf::Elsewhere(end)),
        }
    }
    Ok(ResolvConf::Elsewhere(end))
}

fn read_servers(path: &Path) -> io::Result<ResolvConf> {
    let text = match fs::read(path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(ResolvConf::Missing),
        Err(error) => return Err(error),
    };
    let server = |line: &str| {
        let mut words = line.split_whitespace();
        (words.next() == Some("nameserver")).then(|| words.next().map(str::to_owned)).flatten()
    };
    Ok(ResolvConf::File { name_servers: text.lines().filter_map(server).collect() })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use tempfile::TempDir;

    use super::*;

    #[test]
    fn a_link_within_the_directory_is_a_file_and_one_out_of_it_somebody_elses() {
        let directory = TempDir::new().unwrap();
        let place = |name: &str| directory.path().join(name);
        let path = place("resolv.conf");
        assert_eq!(look_at_resolv_conf(&path).unwrap(), ResolvConf::Missing);
        fs::write(place("by-hand"), "nameserver 192.0.2.1\n").unwrap();
        symlink("by-hand", &path).unwrap();
        let servers = vec!["192.0.2.1".to_owned()];
        assert_eq!(look_at_resolv_conf(&path).unwrap(), ResolvConf::File { name_servers: servers });
        // By way of the directory.
        fs::remove_file(place("by-hand")).unwrap();
        fs::create_dir(place("other")).unwrap();
        fs::write(place("other/file"), "").unwrap();
        symlink("other/file", place("by-hand")).unwrap();
        assert!(matches!(look_at_resolv_conf(&path).unwrap(), ResolvConf::Elsewhere(_)));
        fs::remove_file(&path).unwrap();
        symlink("../run/systemd/resolve/stub-resolv.conf", &path).unwrap();
        assert!(matches!(look_at_resolv_conf(&path).unwrap(), ResolvConf::Elsewhere(_)));
    }
}
