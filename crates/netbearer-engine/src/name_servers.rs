use std::future::Future;

use netbearer_types::{LinkNames, NamesReport};

/// What has programs ask the name servers of our links.
pub trait NameServers: Send {
    /// Has programs ask the servers of these links, those of the first one first, and of no others of ours. A level: it holds
    /// until the next call. Returns at once.
    fn follow(&mut self, links: Vec<LinkNames>);

    /// Waits for the next news of what has become of it. Dropping the future loses none.
    fn report(&mut self) -> impl Future<Output = NamesReport> + Send;

    /// Waits until all that was asked for is done, or has failed.
    fn settle(&mut self) -> impl Future<Output = ()> + Send;
}
