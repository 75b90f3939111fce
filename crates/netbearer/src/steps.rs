use std::collections::BTreeMap;

use netbearer_types::{Identifier, Step};
use tokio::sync::watch;

use crate::CallError;

/// What is being done with access points on their way up or down: what an opening waits for, the carrier or a lease.
///
/// A level, told beside the events: steps that are over quickly may never be seen, and an access point that is where it was
/// to go has none.
///
/// ```no_run
/// # async fn example(manager: netbearer::Manager) -> Result<(), netbearer::CallError> {
/// let mut steps = manager.steps();
/// loop {
///     for (identifier, step) in steps.now() {
///         println!("{identifier}: {step:?}");
///     }
///     steps.changed().await?;
/// }
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Steps(watch::Receiver<BTreeMap<Identifier, Step>>);

impl Steps {
    pub(crate) const fn new(steps: watch::Receiver<BTreeMap<Identifier, Step>>) -> Self {
        Self(steps)
    }

    /// All there are now.
    #[must_use]
    pub fn now(&self) -> BTreeMap<Identifier, Step> {
        self.0.borrow().clone()
    }

    /// What is being done with this access point now.
    #[must_use]
    pub fn of(&self, identifier: &Identifier) -> Option<Step> {
        self.0.borrow().get(identifier).copied()
    }

    /// Returns as soon as they are others than when this was called last, or when they were got.
    ///
    /// # Errors
    /// [`CallError::ServiceGone`].
    pub async fn changed(&mut self) -> Result<(), CallError> {
        self.0.changed().await.map_err(|_| CallError::ServiceGone)
    }
}
