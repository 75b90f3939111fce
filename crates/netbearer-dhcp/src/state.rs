use std::net::Ipv4Addr;

use netbearer_types::Moment;

use crate::{Exchange, Lease};

/// Where a client is (RFC 2131 §4.4, figure 5). From every state, `release` leads to [`State::Released`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Not started. `start` → [`State::Selecting`], or [`State::Rebooting`] if a lease is remembered.
    Init,
    /// Silent for a while: servers refused again and again and are not to be besieged, an address was declined, or the
    /// network prefers IPv6 alone.
    /// Time → [`State::Selecting`].
    Waiting {
        /// When to ask again.
        until: Moment,
    },
    /// DISCOVER is out, for as long as it takes. Acceptable OFFER → [`State::Requesting`]; ACK with rapid commit →
    /// [`State::Bound`].
    Selecting(Exchange),
    /// REQUEST for an offered address is out. ACK → [`State::Bound`]; NAK → [`State::Selecting`] the first time, else
    /// [`State::Waiting`]; no answer to six tries → [`State::Selecting`].
    Requesting {
        /// The offered address.
        address: Ipv4Addr,
        /// Who offered it.
        server_identifier: Ipv4Addr,
        /// The question.
        exchange: Exchange,
    },
    /// REQUEST for a remembered address is out (INIT-REBOOT). ACK → [`State::Bound`]; NAK, or no answer to four tries →
    /// [`State::Selecting`]. Until a lease is acquired, `decline` leads to [`State::Waiting`].
    Rebooting {
        /// The remembered address.
        address: Ipv4Addr,
        /// The question.
        exchange: Exchange,
    },
    /// All is well. T1 → [`State::Renewing`]; for ever if the lease is. From here and the next two, `decline` leads to
    /// [`State::Waiting`].
    Bound(Lease),
    /// REQUEST to the lease's server is out. ACK → [`State::Bound`]; T2 → [`State::Rebinding`]; NAK →
    /// [`State::Selecting`].
    Renewing {
        /// The lease, still valid.
        lease: Lease,
        /// The question.
        exchange: Exchange,
    },
    /// REQUEST to any server is out. ACK → [`State::Bound`]; NAK or expiry → [`State::Selecting`].
    Rebinding {
        /// The lease, still valid.
        lease: Lease,
        /// The question.
        exchange: Exchange,
    },
    /// REQUEST for the leased address is out, as in [`State::Rebooting`] (`Client::confirm`, from any state with a lease). ACK,
    /// or no answer to four tries → [`State::Bound`]; NAK or expiry → [`State::Selecting`].
    Confirming {
        /// The lease, still valid.
        lease: Lease,
        /// The question.
        exchange: Exchange,
    },
    /// At rest. `start` → [`State::Selecting`].
    Released,
}

impl State {
    /// The lease, if there is one.
    #[must_use]
    pub const fn lease(&self) -> Option<&Lease> {
        match self {
            Self::Bound(lease)
            | Self::Renewing { lease, .. }
            | Self::Rebinding { lease, .. }
            | Self::Confirming { lease, .. } => Some(lease),
            Self::Init
            | Self::Waiting { .. }
            | Self::Selecting(_)
            | Self::Requesting { .. }
            | Self::Rebooting { .. }
            | Self::Released => None,
        }
    }

    /// The question that waits for an answer, if one does.
    #[must_use]
    pub const fn exchange(&self) -> Option<&Exchange> {
        match self {
            Self::Selecting(exchange)
            | Self::Requesting { exchange, .. }
            | Self::Rebooting { exchange, .. }
            | Self::Renewing { exchange, .. }
            | Self::Rebinding { exchange, .. }
            | Self::Confirming { exchange, .. } => Some(exchange),
            Self::Init | Self::Waiting { .. } | Self::Bound(_) | Self::Released => None,
        }
    }

    pub(crate) const fn exchange_mut(&mut self) -> Option<&mut Exchange> {
        match self {
            Self::Selecting(exchange)
            | Self::Requesting { exchange, .. }
            | Self::Rebooting { exchange, .. }
            | Self::Renewing { exchange, .. }
            | Self::Rebinding { exchange, .. }
            | Self::Confirming { exchange, .. } => Some(exchange),
            Self::Init | Self::Waiting { .. } | Self::Bound(_) | Self::Released => None,
        }
    }

    /// When something happens by itself; none if nothing does.
    #[must_use]
    pub fn timeout(&self) -> Option<Moment> {
        match self {
            Self::Init | Self::Released => None,
            Self::Waiting { until } => Some(*until),
            Self::Selecting(exchange) | Self::Requesting { exchange, .. } | Self::Rebooting { exchange, .. } => {
                Some(exchange.next_try_at())
            }
            Self::Bound(lease) => lease.term.renew_at(),
            Self::Renewing { lease, exchange } => earliest(exchange, lease.term.rebind_at()),
            Self::Rebinding { lease, exchange } | Self::Confirming { lease, exchange } => {
                earliest(exchange, lease.term.expires_at())
            }
        }
    }

    /// The state's name in RFC 2131, or ours where it has none.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Init => "INIT",
            Self::Waiting { .. } => "WAITING",
            Self::Selecting(_) => "SELECTING",
            Self::Requesting { .. } => "REQUESTING",
            Self::Rebooting { .. } => "REBOOTING",
            Self::Bound(_) => "BOUND",
            Self::Renewing { .. } => "RENEWING",
            Self::Rebinding { .. } => "REBINDING",
            Self::Confirming { .. } => "CONFIRMING",
            Self::Released => "RELEASED",
        }
    }
}

fn earliest(exchange: &Exchange, limit: Option<Moment>) -> Option<Moment> {
    Some(limit.map_or(exchange.next_try_at(), |limit| limit.min(exchange.next_try_at())))
}
