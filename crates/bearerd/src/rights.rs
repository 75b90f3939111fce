//! Who may do what (semantics §8), by the kernel's word on who asks.
//!
//! Root may do everything, and a group of the machine's may open. That local users in an active seat may open, too, and that
//! polkit is asked about the rest, is yet to come.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use netbearer_core::{Rights, UserId};

use crate::Peer;

/// The group whose members may open access points, if nothing else is said.
pub const GROUP: &str = "bearer";

/// What rights are given by.
#[derive(Clone, Debug)]
pub struct Rules {
    group: String,
    groups: PathBuf,
}

impl Rules {
    /// Members of this group may open.
    #[must_use]
    pub fn new(group: &str) -> Self {
        Self { group: group.to_owned(), groups: PathBuf::from("/etc/group") }
    }

    /// The group's name.
    #[must_use]
    pub fn group(&self) -> &str {
        &self.group
    }

    /// What this one may do.
    #[must_use]
    pub fn rights(&self, peer: &Peer) -> Rights {
        if peer.user == UserId(0) {
            return Rights { may_open: true, may_control: true };
        }
        let number = self.number().unwrap_or_else(|error| {
            tracing::warn!("{} cannot be read, so only root may open: {error}", self.groups.display());
            None
        });
        let may_open = number.is_some_and(|number| peer.groups.contains(&number));
        Rights { may_open, may_control: false }
    }

    /// The group's number; none if there is no such group.
    ///
    /// # Errors
    /// When the file of groups cannot be read.
    pub fn number(&self) -> io::Result<Option<u32>> {
        group_number(&self.groups, &self.group)
    }
}

/// Looked up in the file each time (`group(5)`): it may have changed, and nobody who can be slow is asked.
fn group_number(file: &Path, name: &str) -> io::Result<Option<u32>> {
    let text = fs::read(file)?;
    let line = text.split(|octet| *octet == b'\n').find_map(|line| {
        let mut fields = line.split(|octet| *octet == b':');
        (fields.next()? == name.as_bytes()).then(|| fields.nth(1)).flatten()
    });
    Ok(line.and_then(|number| str::from_utf8(number).ok()?.parse().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(text: &str) -> (tempfile::TempDir, Rules) {
        let directory = tempfile::tempdir().unwrap();
        let groups = directory.path().join("group");
        fs::write(&groups, text).unwrap();
        (directory, Rules { group: "bearer".to_owned(), groups })
    }

    fn peer(user: u32, groups: &[u32]) -> Peer {
        Peer::of_bus(UserId(user), groups.to_vec(), None)
    }

    #[test]
    fn root_may_do_all_members_may_open_and_others_may_watch() {
        let (_directory, rules) = rules("root:x:0:\nbearers:x:7:\n+nis\nbearer:x:120:anna,otto\n");
        assert_eq!(rules.rights(&peer(0, &[])), Rights { may_open: true, may_control: true });
        assert_eq!(rules.rights(&peer(1000, &[100, 120])), Rights { may_open: true, may_control: false });
        assert_eq!(rules.rights(&peer(1000, &[100, 7])), Rights { may_open: false, may_control: false });
    }

    #[test]
    fn without_the_group_only_root_may_open() {
        for text in ["", "bearer\n", "bearer:x:\n", "bearer:x:many:\n"] {
            let (_directory, rules) = rules(text);
            assert!(!rules.rights(&peer(1000, &[0, 120])).may_open, "{text}");
            assert!(rules.rights(&peer(0, &[])).may_open);
        }
        let missing = Rules { group: "bearer".to_owned(), groups: PathBuf::from("/nowhere/group") };
        assert!(!missing.rights(&peer(1000, &[0])).may_open);
        assert!(missing.number().is_err());
    }
}
