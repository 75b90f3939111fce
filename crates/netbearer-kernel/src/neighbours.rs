use std::io;

use rtnetlink::sys::protocols::NETLINK_ROUTE;

use crate::{
    asking_socket::{ACKNOWLEDGE, AskingSocket, DONE, DUMP, ERROR, Messages, refusal},
    attributes::attributes,
};

/// `RTM_NEWNEIGH` and the requests beside it (`linux/rtnetlink.h`).
const FOUND: u16 = 28;
const DELETE: u16 = 29;
const LIST: u16 = 30;
/// `struct ndmsg` of `linux/neighbour.h`: family, interface, state, flags, type.
const HEADER_LENGTH: usize = 12;
const INTERFACE: usize = 4;
const STATE: usize = 8;
/// `NUD_INCOMPLETE` and `NUD_FAILED`: who was asked for and has not answered.
const UNRESOLVED: u16 = 0x01 | 0x20;
/// `NDA_DST`.
const ADDRESS: u16 = 1;

/// Forgets the neighbours of an interface that were asked for in vain, so that the next packet to them asks at once. The kernel
/// repeats a question once a second only (`retrans_time_ms`), whatever has become of the link meanwhile: a packet that somebody sent
/// while it had no carrier keeps the first ones after its return waiting.
///
/// How many there were. Needs `CAP_NET_ADMIN`.
///
/// # Errors
/// When the kernel cannot list or delete neighbours, or the privilege is missing.
pub fn forget_unresolved_neighbours(interface: u32) -> io::Result<usize> {
    let mut socket = AskingSocket::open(NETLINK_ROUTE)?;
    let unresolved = list(&mut socket, interface)?;
    for neighbour in &unresolved {
        socket.send(DELETE, ACKNOWLEDGE, neighbour)?;
        let answer = socket.receive()?;
        let refused = Messages(answer).filter(|(kind, _)| *kind == ERROR).try_for_each(|(_, content)| refusal(content));
        match refused {
            // It has answered, or was forgotten, meanwhile.
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
            outcome => outcome?,
        }
    }
    Ok(unresolved.len())
}

/// What names each of them in a request.
fn list(socket: &mut AskingSocket, interface: u32) -> io::Result<Vec<Vec<u8>>> {
    socket.send(LIST, DUMP, &[0; HEADER_LENGTH])?;
    let mut unresolved = Vec::new();
    loop {
        let part = socket.receive()?;
        for (kind, content) in Messages(part) {
            match kind {
                DONE => return Ok(unresolved),
                ERROR => refusal(content)?,
                FOUND => unresolved.extend(identity(content, interface)),
                _ => {}
            }
        }
    }
}

fn identity(message: &[u8], interface: u32) -> Option<Vec<u8>> {
    let (header, rest) = message.split_first_chunk::<HEADER_LENGTH>()?;
    let found = header.get(INTERFACE..)?.first_chunk().copied().map(u32::from_ne_bytes)?;
    let state = header.get(STATE..)?.first_chunk().copied().map(u16::from_ne_bytes)?;
    if found != interface || state & UNRESOLVED == 0 {
        return None;
    }
    let address = attributes(rest, |attribute| Ok((attribute.kind() == ADDRESS).then(|| attribute.value().to_vec())));
    let address = address.flatten().next()?;
    let mut named = header.to_vec();
    named.extend(u16::try_from(4 + address.len()).ok()?.to_ne_bytes());
    named.extend(ADDRESS.to_ne_bytes());
    named.extend(address);
    Some(named)
}
