//! dhcpcd writes its process number to a file for the interface it serves, or one for all, and keeps that locked while it
//! lives.

use std::str::SplitWhitespace;

use crate::{interface_name::is_interface_name, pattern::Selection};

/// What a process serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// All interfaces that the configuration allows.
    All,
    /// One interface.
    Interface(String),
}

/// A file somebody has locked, as `/proc/locks` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LockedFile {
    pub(crate) major: u32,
    pub(crate) minor: u32,
    pub(crate) inode: u64,
}

/// What the process serves whose number is in the file of this name: `pid`, `eth0.pid`, and with one address family
/// `eth0-4.pid` or `eth0-6.pid`.
pub(crate) fn scope(file_name: &str) -> Option<Scope> {
    if file_name == "pid" {
        return Some(Scope::All);
    }
    let name = file_name.strip_suffix(".pid")?;
    let name = name.strip_suffix("-4").or_else(|| name.strip_suffix("-6")).unwrap_or(name);
    is_interface_name(name).then(|| Scope::Interface(name.to_owned()))
}

/// Who has locked `file` as a whole, by the text of `/proc/locks`: the process number as this process sees it.
pub(crate) fn lock_holder(locks: &str, file: LockedFile) -> Option<i32> {
    locks.lines().find_map(|line| {
        // `1: FLOCK  ADVISORY  WRITE 4711 00:1c:815 0 EOF`; `->` after the number marks one who waits.
        let mut words = line.split_whitespace().skip(1);
        let (kind, holder, place) = (words.next()?, words.nth(2)?, words.next()?);
        let holder: i32 = holder.parse().ok()?;
        (kind == "FLOCK" && holder > 0 && locked_file(place)? == file).then_some(holder)
    })
}

fn locked_file(place: &str) -> Option<LockedFile> {
    let mut parts = place.split(':');
    let hexadecimal = |part: Option<&str>| u32::from_str_radix(part?, 16).ok();
    let (major, minor) = (hexadecimal(parts.next())?, hexadecimal(parts.next())?);
    Some(LockedFile { major, minor, inode: parts.next()?.parse().ok()? })
}

/// Which interfaces a process that serves all takes, by its configuration (`dhcpcd.conf(5)`).
pub(crate) fn selection(configuration: &str) -> Selection {
    let mut selection = Selection::default();
    for line in configuration.lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("allowinterfaces") => selection.allowed.extend(patterns(words)),
            Some("denyinterfaces") => selection.denied.extend(patterns(words)),
            // What follows is about one interface, or one network, only.
            Some("interface" | "ssid" | "profile") => break,
            _ => {}
        }
    }
    selection
}

fn patterns(words: SplitWhitespace<'_>) -> impl Iterator<Item = String> {
    words.take_while(|word| !word.starts_with('#')).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_process_numbers_tell_what_the_process_serves() {
        let interface = |name: &str| Some(Scope::Interface(name.to_owned()));
        assert_eq!(scope("pid"), Some(Scope::All));
        assert_eq!(scope("eth0.pid"), interface("eth0"));
        assert_eq!(scope("eth0-4.pid"), interface("eth0"));
        assert_eq!(scope("br-lan-6.pid"), interface("br-lan"));
        for name in ["", "sock", "eth0.sock", ".pid", "-4.pid", "hook-state", "far-too-long-a-name.pid"] {
            assert_eq!(scope(name), None, "{name}");
        }
    }

    #[test]
    fn the_holder_of_a_lock_is_who_has_it_not_who_waits_for_it() {
        let locks = "1: POSIX  ADVISORY  WRITE 10 00:1c:815 0 EOF\n\
                     2: -> FLOCK  ADVISORY  WRITE 11 00:1c:815 0 EOF\n\
                     3: FLOCK  ADVISORY  WRITE 12 00:1c:816 0 EOF\n\
                     4: FLOCK  ADVISORY  WRITE 13 00:1c:815 0 EOF\n";
        let file = LockedFile { major: 0, minor: 0x1c, inode: 815 };
        assert_eq!(lock_holder(locks, file), Some(13));
        assert_eq!(lock_holder(locks, LockedFile { inode: 817, ..file }), None);
        let hostile =
            "FLOCK\n1: FLOCK a b c d\n1: FLOCK ADVISORY WRITE -1 00:1c:815 0 EOF\n1: FLOCK ADVISORY WRITE 1 :::\n";
        assert_eq!(lock_holder(hostile, file), None);
    }

    #[test]
    fn the_configuration_allows_and_denies_for_all_interfaces_only_before_the_first_block() {
        let selection = selection(
            "hostname\n allowinterfaces eth* wlan0 # both\ndenyinterfaces eth9\ninterface eth0\ndenyinterfaces *\n",
        );
        assert_eq!(selection.allowed, ["eth*", "wlan0"]);
        assert_eq!(selection.denied, ["eth9"]);
    }
}
