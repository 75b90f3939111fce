use std::{fmt, io};

use rtnetlink::packet_core::{ErrorMessage, NlasIterator, parse_string};

/// `NLMSGERR_ATTR_MSG` of `linux/netlink.h`.
const MESSAGE_ATTRIBUTE: u16 = 1;
/// With `NETLINK_CAP_ACK` the header of the request is all that stands before the attributes.
const REQUEST_HEADER_LENGTH: usize = 16;

/// The kernel refused a change, or could not be asked.
#[derive(Debug)]
pub struct RequestError {
    /// What was asked for, as a clause: "add address 10.0.0.5/24 to interface 3".
    pub what: String,
    /// The error number; none if the kernel was not reached.
    pub errno: Option<i32>,
    /// What the kernel said beside the number, if it did.
    pub explanation: Option<String>,
    /// The error as the system knows it.
    pub source: io::Error,
}

impl RequestError {
    pub(crate) fn refused(what: String, message: &ErrorMessage) -> Self {
        let source = message.to_io();
        Self { what, errno: source.raw_os_error(), explanation: explanation(&message.header), source }
    }

    /// The request could not be sent, or its acknowledgement could not be read.
    pub(crate) fn unheard(what: String, source: io::Error) -> Self {
        Self { what, errno: None, explanation: None, source }
    }

    /// The capability `CAP_NET_ADMIN` is missing.
    #[must_use]
    pub fn is_permission(&self) -> bool {
        matches!(self.errno, Some(libc::EPERM | libc::EACCES))
    }

    /// What was to be made is there already.
    #[must_use]
    pub fn is_exists(&self) -> bool {
        self.errno == Some(libc::EEXIST)
    }

    /// What was to be changed or removed is gone, or its interface is.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        matches!(self.errno, Some(libc::ENODEV | libc::ENXIO | libc::ESRCH | libc::ENOENT | libc::EADDRNOTAVAIL))
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "cannot {}", self.what)?;
        match &self.explanation {
            Some(explanation) => write!(formatter, " (kernel: {explanation})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for RequestError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

fn explanation(acknowledgement: &[u8]) -> Option<String> {
    NlasIterator::new(acknowledgement.get(REQUEST_HEADER_LENGTH..)?)
        .map_while(Result::ok)
        .find(|attribute| attribute.kind() == MESSAGE_ATTRIBUTE)
        .and_then(|attribute| parse_string(attribute.value()).ok())
}
