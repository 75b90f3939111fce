//! The ports of NetBearer: small traits, each with one real adapter and a conformance test.
//!
//! An engine translates between the core's words and one way of managing interfaces. It decides nothing about sessions:
//! it reports levels, and moves access points to the targets it is given.

mod clock;
pub mod conformance;
mod engine;
mod name_servers;

pub use clock::Clock;
pub use engine::{Engine, EngineError, EngineEvent};
pub use name_servers::NameServers;
