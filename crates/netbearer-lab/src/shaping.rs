use std::time::Duration;

/// Octets a queue may hold at least: some full packets.
const SHORTEST_QUEUE: u32 = 32_000;
/// Packets netem may hold.
const NETEM_LIMIT: u32 = 10_000;
/// How long what is sent may wait in the queue of a slow link.
const QUEUE: Duration = Duration::from_millis(100);
/// `TCA_TBF_PARMS`, `TCA_TBF_BURST`, `TCA_NETEM_RATE` and `TCA_NETEM_LATENCY64` of `linux/pkt_sched.h`.
const TBF_PARAMETERS: u16 = 1;
const TBF_BURST: u16 = 6;
const NETEM_RATE: u16 = 6;
const NETEM_LATENCY: u16 = 10;
/// `TC_LINKLAYER_ETHERNET` of `linux/pkt_sched.h`: the kernel computes times itself.
const ETHERNET: u8 = 1;

/// How an access point slows what it sends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shaping {
    /// At most so many bits a second.
    pub rate: Option<u64>,
    /// Each packet so much later. Needs the kernel's netem (module `sch_netem`), which not every machine has.
    pub delay: Option<Duration>,
}

/// A queueing discipline (`tc(8)`), as the kernel takes it.
#[derive(Debug)]
pub(crate) struct Discipline {
    /// Its name, with the zero at its end.
    pub(crate) kind: &'static [u8],
    pub(crate) parameters: Vec<u8>,
    pub(crate) attributes: Vec<(u16, Vec<u8>)>,
}

impl Shaping {
    pub(crate) fn discipline(self) -> Discipline {
        let octets_a_second = |rate: u64| u32::try_from(rate / 8).unwrap_or(u32::MAX).max(1);
        match self {
            Self { rate: Some(rate), delay: None } => token_bucket(octets_a_second(rate)),
            Self { rate, delay } => emulation(delay.unwrap_or_default(), rate.map(octets_a_second)),
        }
    }
}

/// `tc-tbf(8)`: `struct tc_tbf_qopt`, whose first part is a `struct tc_ratespec`.
fn token_bucket(rate: u32) -> Discipline {
    let in_queue = u64::from(rate) * u64::try_from(QUEUE.as_millis()).unwrap_or(u64::MAX) / 1_000;
    let limit = u32::try_from(in_queue).unwrap_or(u32::MAX).max(SHORTEST_QUEUE);
    let burst = (rate / 250).max(2 * 1_600);
    let mut parameters = vec![0, ETHERNET, 0, 0, 0, 0, 0, 0];
    parameters.extend(rate.to_ne_bytes());
    // No peak rate.
    parameters.extend([0; 12]);
    for word in [limit, 0, 0] {
        parameters.extend(word.to_ne_bytes());
    }
    let attributes = vec![(TBF_PARAMETERS, parameters), (TBF_BURST, burst.to_ne_bytes().to_vec())];
    Discipline { kind: b"tbf\0", parameters: Vec::new(), attributes }
}

/// `tc-netem(8)`: `struct tc_netem_qopt`, of which only the limit counts here, and attributes.
fn emulation(delay: Duration, rate: Option<u32>) -> Discipline {
    let parameters = [0, NETEM_LIMIT, 0, 0, 0, 0].into_iter().flat_map(u32::to_ne_bytes).collect();
    let delay = i64::try_from(delay.as_nanos()).unwrap_or(i64::MAX);
    let mut attributes = vec![(NETEM_LATENCY, delay.to_ne_bytes().to_vec())];
    if let Some(rate) = rate {
        // `struct tc_netem_rate`.
        attributes.push((NETEM_RATE, [rate, 0, 0, 0].into_iter().flat_map(u32::to_ne_bytes).collect()));
    }
    Discipline { kind: b"netem\0", parameters, attributes }
}
