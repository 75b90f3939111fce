use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::{BypassVpn, Failure, Families};

/// A VPN of somebody else's that takes everything that has no way of its own: a tunnel with a default route that a rule sends
/// all traffic to, as `wg-quick(8)` makes it, or with both halves of the Internet in the main table, as OpenVPN does.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FullTunnel {
    /// The tunnel's interface.
    pub interface_name: String,
    /// The families it takes.
    pub families: Families,
}

/// What an engine says of the routes and rules of an access point, beyond those it makes. A level.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SteeringLevel {
    /// The full-tunnel VPN that is up beside it.
    pub tunnel: Option<FullTunnel>,
    /// Why marked sockets, and those that only have its address, go through that VPN though the profile may let them leave outside
    /// of it: the VPN's rules come first.
    pub no_room: Option<String>,
    /// Why there is no firewall mark for it, so that nothing but bound sockets and its addresses can be steered.
    pub no_mark: Option<String>,
    /// Why it could not have, or has not, a table and rules of ours beside what others keep up there.
    pub unsteered: Option<Failure>,
    /// Why sockets bound to it would hear no replies by IPv4.
    pub deaf: Option<Failure>,
}

/// Whose packets go where, as far as it is not as usual.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Steering {
    /// The full-tunnel VPN that is up beside the access point.
    pub tunnel: Option<FullTunnel>,
    /// What may leave outside of it.
    pub bypass_vpn: BypassVpn,
    /// What that means for a session's traffic, for people; none without such a VPN.
    pub effect: Option<Cow<'static, str>>,
    /// What does not work as usual, for people: what, why, and what to do.
    pub warnings: Vec<String>,
}
