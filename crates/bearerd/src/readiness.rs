//! Tells a service manager that the daemon is ready (`sd_notify(3)`).

use std::{
    env, io,
    os::{
        linux::net::SocketAddrExt,
        unix::{
            ffi::OsStrExt,
            net::{SocketAddr, UnixDatagram},
        },
    },
};

const VARIABLE: &str = "NOTIFY_SOCKET";

/// Does nothing for who was not started by one.
pub(crate) fn tell() {
    if let Err(error) = try_to_tell() {
        tracing::warn!("whoever started the daemon cannot be told that it is ready: {error}");
    }
}

fn try_to_tell() -> io::Result<()> {
    let Some(name) = env::var_os(VARIABLE) else { return Ok(()) };
    let address = match name.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(&name)?,
    };
    UnixDatagram::unbound()?.send_to_addr(b"READY=1", &address).map(drop)
}
