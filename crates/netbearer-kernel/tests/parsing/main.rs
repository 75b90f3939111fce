//! What comes from the kernel and the network is read without harm.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod targets;

use netbearer_lab::replay_corpus;

#[test]
fn the_corpus_of_router_options_replays() {
    replay_corpus("router_options", targets::router_options).expect("replayed");
}

#[test]
fn the_corpus_of_netlink_messages_replays() {
    replay_corpus("netlink_messages", targets::netlink_messages).expect("replayed");
}
