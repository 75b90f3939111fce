//! A process that belongs to a machine of the lab and connects to its bus there, for NetworkManager does as it is told only
//! if it can look up who speaks: a process outside has no number inside.

use std::{
    env,
    io::{self, IoSlice, IoSliceMut, Read},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
};

use netbearer_lab::{Namespace, Program, uninterrupted};
use rustix::{
    io::retry_on_intr,
    net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
        recvmsg, sendmsg,
    },
};

use crate::error::BenchError;

/// The command of this program that is the envoy.
pub(crate) const COMMAND: &str = "bus-envoy";

/// Where the system bus of a machine in the lab is.
const SOCKET: &str = "/run/dbus/system_bus_socket";

/// The process, as long as it is needed.
pub(super) struct Envoy {
    _program: Program,
    /// It ends when this is closed.
    _orders: UnixStream,
}

/// A connection to a machine's bus, and the envoy whose it is.
pub(super) fn connect(machine: &Namespace) -> Result<(UnixStream, Envoy), BenchError> {
    let (ours, theirs) = UnixStream::pair()?;
    let program = machine.command(env::current_exe()?).arg(COMMAND).stdin(OwnedFd::from(theirs)).spawn()?;
    let descriptor = receive(&ours)?.ok_or(io::Error::from(io::ErrorKind::UnexpectedEof))?;
    Ok((UnixStream::from(descriptor), Envoy { _program: program, _orders: ours }))
}

/// Connects, hands the connection over, and stays until nobody needs it any more.
pub(crate) fn be() -> io::Result<()> {
    let connection = UnixStream::connect(SOCKET)?;
    let mut input = io::stdin();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors = [connection.as_fd()];
    control.push(SendAncillaryMessage::ScmRights(&descriptors));
    sendmsg(&input, &[IoSlice::new(&[0])], &mut control, SendFlags::empty())?;
    uninterrupted(|| input.read(&mut [0])).map(drop)
}

fn receive(from: &UnixStream) -> io::Result<Option<OwnedFd>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    retry_on_intr(|| recvmsg(from, &mut [IoSliceMut::new(&mut [0])], &mut control, RecvFlags::CMSG_CLOEXEC))?;
    let descriptor = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    Ok(descriptor)
}
