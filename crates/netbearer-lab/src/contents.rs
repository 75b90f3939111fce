use std::io;

use libc::{RTM_GETADDR, RTM_GETROUTE, RTM_GETRULE};

use crate::{LabError, Namespace, netlink::LinkSocket};

/// The addresses, routes and rules of a namespace at one moment, as the kernel writes them. What a [`Snapshot`] knows is more,
/// but needs `ip`.
///
/// [`Snapshot`]: crate::Snapshot
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    messages: Vec<Vec<u8>>,
}

impl Namespace {
    /// What it contains now.
    ///
    /// # Errors
    /// [`LabError::System`].
    pub fn contents(&self) -> Result<Contents, LabError> {
        let read = || {
            let socket = LinkSocket::open()?;
            let mut messages = Vec::new();
            for kind in [RTM_GETADDR, RTM_GETROUTE, RTM_GETRULE] {
                messages.extend(socket.dump(kind)?);
            }
            messages.sort_unstable();
            Ok::<_, io::Error>(Contents { messages })
        };
        self.run(read).map_err(LabError::unable_to(format!("read what {} contains", self.name())))
    }
}
