//! Where a listening socket is found, and whether it still is.

use std::{
    fs::{self, Metadata, Permissions},
    io,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use netbearer_watch::{DirectoryWatch, WatchedEntries};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, socket_with};
use tokio::net::{UnixListener, UnixStream};

/// Connections that wait to be accepted; the kernel may allow fewer (`net.core.somaxconn`).
const BACKLOG: i32 = 4096;

/// The file of a socket that is bound. As long as the socket is open, the kernel gives the numbers of the file and of its
/// directory to no others.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    file: Number,
    directory: Number,
}

/// What a path leads to, whatever its name: device and inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Number(u64, u64);

/// What has become of a socket's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whereabouts {
    /// It is in its place.
    InPlace,
    /// It is not, and nobody listens there.
    Gone,
    /// Another process listens there.
    Another,
    /// The directory is not there, or another one.
    NoDirectory,
}

impl From<&Metadata> for Number {
    fn from(metadata: &Metadata) -> Self {
        Self(metadata.dev(), metadata.ino())
    }
}

impl SocketFile {
    /// Binds a socket for everybody, in the place of whatever is there.
    ///
    /// # Errors
    /// When the directory is not writable.
    ///
    /// # Panics
    /// Outside a tokio runtime with I/O enabled.
    pub(crate) fn bind(path: &Path) -> io::Result<(UnixListener, Self)> {
        // Under another name until all may connect: who waits for it sees it appear once, and ready.
        let new = path.with_extension("new");
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = listen(&new)?;
        fs::set_permissions(&new, Permissions::from_mode(0o666))?;
        let file = Number::from(&fs::symlink_metadata(&new)?);
        let directory = directory(path)?;
        fs::rename(&new, path)?;
        Ok((listener, Self { path: path.to_owned(), file, directory }))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Looks where it is.
    pub(crate) async fn whereabouts(&self) -> Whereabouts {
        if directory(&self.path).ok() != Some(self.directory) {
            return Whereabouts::NoDirectory;
        }
        match fs::metadata(&self.path) {
            Ok(found) if Number::from(&found) == self.file => Whereabouts::InPlace,
            // Two that take each other's place would never end.
            Ok(_) if is_served(&self.path).await => Whereabouts::Another,
            _ => Whereabouts::Gone,
        }
    }
}

/// Tells when something happens to the file of a socket, there or not, once armed.
///
/// # Errors
/// When the user has too many inotify instances.
///
/// # Panics
/// Outside a tokio runtime with I/O enabled.
pub(crate) fn watch(socket: &Path) -> io::Result<DirectoryWatch> {
    let (Some(directory), Some(name)) = (socket.parent(), socket.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    DirectoryWatch::open(vec![(directory.to_owned(), WatchedEntries::only(name))])
}

fn directory(path: &Path) -> io::Result<Number> {
    let directory = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    Ok(Number::from(&fs::metadata(directory)?))
}

/// Whether somebody listens there, perhaps with more waiting than he has room for.
async fn is_served(path: &Path) -> bool {
    match UnixStream::connect(path).await {
        Ok(_) => true,
        Err(error) => error.kind() == io::ErrorKind::WouldBlock,
    }
}

/// With more room than usual for those who wait to be accepted: a connection that does not wait is refused when there is none.
fn listen(path: &Path) -> io::Result<UnixListener> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    bind(&socket, &SocketAddrUnix::new(path)?)?;
    rustix::net::listen(&socket, BACKLOG)?;
    UnixListener::from_std(socket.into())
}
