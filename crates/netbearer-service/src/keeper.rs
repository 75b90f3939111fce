use netbearer_core::Record;

/// Keeps what must outlive the process. Called on the service's own task, after each change and before anybody is answered or told
/// of it, so that nobody knows of what a killed process has forgotten. There are many calls, and somebody waits for each: a keeper
/// writes, and does not wait for a disk.
pub trait Keeper: Send {
    /// Keeps these, which overtake what was kept of the same things before.
    fn keep(&mut self, records: Vec<Record>);
}
