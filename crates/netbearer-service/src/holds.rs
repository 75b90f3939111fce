use netbearer_core::HoldId;

/// The descriptors that hold. Called on the service's own task; it never blocks.
pub trait Holds: Send {
    /// This one holds nothing any more. Whoever still has a copy of it shall see that.
    fn revoke(&mut self, hold: HoldId);
}
