#![allow(unsafe_code)]

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
};

use rustix::{
    fs::OFlags,
    ioctl::{Setter, ioctl},
};

/// `TUNSETIFF` of `linux/if_tun.h`.
const SET_INTERFACE: rustix::ioctl::Opcode = 0x4004_54ca;
/// `IFF_TUN | IFF_NO_PI`: IP packets, and nothing before them.
const PLAIN_IP: i16 = 0x1001;

/// `struct ifreq` of `linux/if.h`, as far as it says something here.
#[repr(C)]
#[derive(Debug)]
struct InterfaceRequest {
    name: [u8; 16],
    flags: i16,
    _rest: [u8; 22],
}

/// Makes a tunnel device in the network namespace of the calling thread. It has carrier, and lives, as long as the file.
pub(crate) fn open(name: &str) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
        .open("/dev/net/tun")?;
    let mut request = InterfaceRequest { name: [0; 16], flags: PLAIN_IP, _rest: [0; 22] };
    // The last octet stays zero.
    for (place, octet) in request.name.iter_mut().take(15).zip(name.bytes()) {
        *place = octet;
    }
    // SAFETY: this request of the tun driver takes a `struct ifreq`, whose size and layout `InterfaceRequest` has.
    unsafe { ioctl(&file, Setter::<SET_INTERFACE, InterfaceRequest>::new(request)) }?;
    Ok(file)
}
