//! The core held against the semantics: the rows of its table of events one by one, and random histories beside a model.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod composites;
mod coverage;
mod descriptors;
mod diagram;
mod event_table;
mod exclusive;
mod heard;
mod histories;
mod history;
mod model;
mod names;
mod networks;
mod operation;
mod promises;
mod returns;
mod rights;
mod roaming;
mod scene;
mod simulated;
mod sockets;
mod verb;
