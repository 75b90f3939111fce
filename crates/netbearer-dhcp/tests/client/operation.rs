/// One thing that can happen to a client.
#[derive(Clone, Debug)]
pub(crate) enum Operation {
    Start,
    Release,
    /// Another host was found to use the address.
    Decline,
    /// The machine goes on after a suspend.
    Confirm,
    /// Time passes, and whoever drives the client sleeps.
    Wait {
        milliseconds: u64,
    },
    /// Time passes up to the client's deadline, which is then handled.
    Timeout,
    /// Octets arrive.
    Packet(Vec<u8>),
    /// A reply arrives that is for this client and transaction, and carries these octets for options.
    Reply {
        message_type: u8,
        address: [u8; 4],
        options: Vec<u8>,
    },
    /// The server answers the client's last message; some octets of the answer, by their positions, are changed.
    Answer {
        changes: Vec<(u16, u8)>,
    },
    /// Whoever drives the client fetches its messages and events.
    Fetch,
}

impl Operation {
    /// Takes the next operation from octets, which thereby mean something whatever they are; none when they are used up.
    pub(crate) fn read(octets: &mut &[u8]) -> Option<Self> {
        let [code] = take(octets)?;
        Some(match code % 8 {
            0 if code < 128 => Self::Start,
            0 => Self::Confirm,
            1 if code < 128 => Self::Release,
            1 => Self::Decline,
            2 => {
                let [exponent, mantissa] = take(octets)?;
                Self::Wait { milliseconds: u64::from(mantissa) << (exponent % 32) }
            }
            3 => Self::Timeout,
            4 => Self::Packet(take_list(octets)?),
            5 => {
                let [message_type] = take(octets)?;
                Self::Reply { message_type, address: take(octets)?, options: take_list(octets)? }
            }
            6 => {
                let [count] = take(octets)?;
                let mut changes = Vec::new();
                for _ in 0..count % 4 {
                    let [high, low, value] = take(octets)?;
                    changes.push((u16::from_be_bytes([high, low]), value));
                }
                Self::Answer { changes }
            }
            _ => Self::Fetch,
        })
    }
}

fn take<const LENGTH: usize>(octets: &mut &[u8]) -> Option<[u8; LENGTH]> {
    let (taken, rest) = octets.split_first_chunk()?;
    *octets = rest;
    Some(*taken)
}

/// Two octets of length, then as many octets or what is left.
fn take_list(octets: &mut &[u8]) -> Option<Vec<u8>> {
    let length = usize::from(u16::from_be_bytes(take(octets)?)).min(octets.len());
    let (taken, rest) = octets.split_at(length);
    *octets = rest;
    Some(taken.to_vec())
}
