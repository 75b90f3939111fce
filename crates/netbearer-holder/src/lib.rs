//! A process that holds sessions as it is told, for tests with several processes: orders come in on its standard input
//! ([`Order`]), and what its sessions tell goes out on its standard output ([`Line`]), a line each.
//!
//! It ends with its input. Whoever wants to see how a process dies kills it.

mod decision;
mod line;
mod order;
mod passing;
mod way;
mod work;

pub use line::{Line, Told};
pub use order::{Answer, Order, OrderError};
pub use passing::receive;
pub use way::Way;
pub use work::{HolderError, hold};
