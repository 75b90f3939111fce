use std::io;

use rustix::thread::{CapabilitySet, capabilities};

const NEEDED: [(CapabilitySet, &str); 3] = [
    (CapabilitySet::NET_ADMIN, "CAP_NET_ADMIN"),
    (CapabilitySet::NET_RAW, "CAP_NET_RAW"),
    (CapabilitySet::NET_BIND_SERVICE, "CAP_NET_BIND_SERVICE"),
];

/// The capabilities (`capabilities(7)`) that the calling thread lacks for changing links and speaking DHCP.
///
/// # Errors
/// When the kernel does not tell.
pub fn missing_privileges() -> io::Result<Vec<&'static str>> {
    let effective = capabilities(None)?.effective;
    Ok(NEEDED.into_iter().filter(|(capability, _)| !effective.contains(*capability)).map(|(_, name)| name).collect())
}
