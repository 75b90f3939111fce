use netbearer_dhcp::{ClientConfiguration, RememberedLease, State};
use proptest::{collection::vec, prelude::*};

use crate::{
    history::{HARDWARE_ADDRESS, History},
    operation::Operation,
    server::Server,
    targets,
};

/// One option on the wire, more or less: a code the client looks at, or any; a length that fits its value, or not.
fn option() -> impl Strategy<Value = Vec<u8>> {
    let code = prop_oneof![
        4 => prop::sample::select(vec![1_u8, 3, 6, 15, 26, 28, 80, 108, 114, 51, 52, 53, 54, 56, 58, 59, 61, 119, 121]),
        1 => any::<u8>(),
    ];
    let value = prop_oneof![
        4 => any::<[u8; 4]>().prop_map(|value| value.to_vec()),
        1 => vec(any::<u8>(), 0..40),
        1 => Just(vec![192, 0, 2, 1]),
        1 => Just(vec![0xff; 4]),
    ];
    (code, value, prop_oneof![9 => Just(None), 1 => any::<u8>().prop_map(Some)]).prop_map(|(code, value, length)| {
        let length = length.unwrap_or_else(|| u8::try_from(value.len()).expect("values are short"));
        [&[code, length], value.as_slice()].concat()
    })
}

fn operation() -> impl Strategy<Value = Operation> {
    let address = prop_oneof![any::<[u8; 4]>(), Just(Server::ADDRESS.octets())];
    // Half of the forged replies carry what every reply must, so that they get to where the rest matters.
    let options = (any::<bool>(), any::<u32>(), vec(option(), 0..8)).prop_map(|(complete, seconds, options)| {
        let mut octets = Vec::new();
        if complete {
            octets.extend([54, 4, 192, 0, 2, 1, 51, 4]);
            octets.extend((seconds >> (seconds % 32)).to_be_bytes());
        }
        octets.extend(options.concat());
        octets
    });
    prop_oneof![
        1 => Just(Operation::Start),
        1 => Just(Operation::Release),
        1 => Just(Operation::Decline),
        1 => Just(Operation::Confirm),
        2 => (0_u32..40, any::<u8>())
            .prop_map(|(exponent, mantissa)| Operation::Wait { milliseconds: u64::from(mantissa) << exponent }),
        8 => Just(Operation::Timeout),
        1 => vec(any::<u8>(), 0..2_000).prop_map(Operation::Packet),
        4 => (prop_oneof![Just(2), Just(5), Just(6), any::<u8>()], address, options)
            .prop_map(|(message_type, address, options)| Operation::Reply { message_type, address, options }),
        8 => Just(Operation::Answer { changes: Vec::new() }),
        2 => vec((any::<u16>(), any::<u8>()), 1..4).prop_map(|changes| Operation::Answer { changes }),
        4 => Just(Operation::Fetch),
    ]
}

fn history(seed: u64, remembered: Option<RememberedLease>, lease_seconds: u32) -> History {
    let [ipv6_only, rapid_commit] = [seed & 1, seed & 2].map(|bit| bit != 0);
    let mut history = History::new(
        ClientConfiguration { remembered, ipv6_only, ..ClientConfiguration::new(HARDWARE_ADDRESS, seed) },
        Server { rapid_commit, ..Server::new(lease_seconds) },
    );
    history.start();
    history
}

fn remembered() -> impl Strategy<Value = Option<RememberedLease>> {
    let address = prop_oneof![any::<[u8; 4]>(), Just(Server::ADDRESS.octets())];
    prop::option::of(address.prop_map(|address| RememberedLease {
        address: address.into(),
        expires_at: None,
        network: None,
    }))
}

fn lease_seconds() -> impl Strategy<Value = u32> {
    prop_oneof![1_u32..20, 60_u32..100_000, Just(u32::MAX - 1), Just(u32::MAX), Just(0)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    /// The checks are in [`History`]: no panic, deadlines ahead, queues bounded, leases sane, events that tell the truth.
    /// Whatever happened, an answering server leads to a lease.
    #[test]
    fn every_history_keeps_its_promises_and_ends_with_a_lease(
        seed: u64,
        remembered in remembered(),
        lease_seconds in lease_seconds(),
        operations in vec(operation(), 0..80),
    ) {
        let mut history = history(seed, remembered, lease_seconds);
        for operation in &operations {
            history.apply(operation);
        }
        history.server = Server::new(60);
        history.settle();
    }

    #[test]
    fn a_server_that_was_silent_for_long_is_still_heard(
        seed: u64,
        remembered in remembered(),
        silent_timeouts in 0_usize..100,
    ) {
        let mut history = history(seed, remembered, 60);
        for _ in 0..silent_timeouts {
            history.time_out();
        }
        let asked_again_by = history.client.poll_timeout().expect("it never gives up");
        prop_assert!((asked_again_by - history.now).as_secs() < 20);
        history.settle();
        prop_assert!(matches!(history.client.state(), State::Bound(_)));
    }

    #[test]
    fn any_octets_are_a_history(octets in vec(any::<u8>(), 0..600)) {
        targets::dhcp_client(&octets);
        targets::dhcp_frame(&octets);
        targets::dhcp_options(&octets);
        targets::arp(&octets);
    }

    #[test]
    fn the_same_history_replays_to_the_same_state(seed: u64, operations in vec(operation(), 0..40)) {
        let run = || {
            let mut history = history(seed, None, 60);
            operations.iter().for_each(|operation| history.apply(operation));
            (format!("{:?}", history.client), history.sent)
        };
        prop_assert_eq!(run(), run());
    }
}
