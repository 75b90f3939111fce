/// The protocol number of the routes, rules and addresses that NetBearer makes: `n`.
///
/// It is none of the numbers that iproute2's `rt_protos` and `rt_addrprotos` give a name, and lies above the ones that
/// the kernel keeps for itself (`rtnetlink(7)`, `rtm_protocol`). What carries it is ours, whichever process made it.
pub const OUR_PROTOCOL: u8 = 0x6e;
