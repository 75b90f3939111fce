//! What a packet filter is made of (`bpf(4)`; `linux/bpf_common.h`). Loads beyond the end of the packet refuse it.

pub(crate) const LOAD_WORD: u16 = 0x20;
pub(crate) const LOAD_BYTE: u16 = 0x30;
pub(crate) const LOAD_HALF: u16 = 0x28;
pub(crate) const LOAD_HALF_INDEXED: u16 = 0x48;
/// Four times the lower half of an octet, as an IPv4 header tells its length, to the index.
pub(crate) const LOAD_HEADER_LENGTH: u16 = 0xb1;
pub(crate) const JUMP_IF_EQUAL: u16 = 0x15;
pub(crate) const JUMP_IF_ANY_BIT: u16 = 0x45;
/// So many octets of the packet; 0 refuses it.
pub(crate) const RETURN: u16 = 0x06;
