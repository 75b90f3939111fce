use std::sync::Arc;

use netbearer_core::{Question, QuestionNumber};
use netbearer_types::Identifier;

use crate::{
    CallError, Events,
    backend::{Backend, ChooserBackend, NewChooser},
};

/// Answers what users are asked when a session is opened on a user choice (semantics §6): a prompt, a menu, a rule of the
/// program's own. Dropping it ends that, and whoever waits for its answer gets none.
///
/// ```no_run
/// # async fn example(manager: netbearer::Manager) -> Result<(), netbearer::CallError> {
/// use netbearer::ChooserEvent;
///
/// let mut chooser = manager.chooser().await?;
/// while let Some(event) = chooser.next().await {
///     if let ChooserEvent::Asked(question) = event {
///         let choice = question.choices.first().map(|choice| &choice.identifier);
///         chooser.answer(question.number, choice).await?;
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Chooser {
    // Declared first, so dropped first: by the time the service may end, it has heard of that.
    registered: Box<dyn ChooserBackend>,
    events: Events<ChooserEvent>,
    _backend: Arc<dyn Backend>,
}

/// What a chooser is told.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChooserEvent {
    /// The user shall choose; the session is Connecting until then, for two minutes at most.
    Asked(Question),
    /// Nobody wants the answer to this question any more.
    Withdrawn(QuestionNumber),
}

impl Chooser {
    pub(crate) fn new(backend: Arc<dyn Backend>, (registered, events): NewChooser) -> Self {
        Self { registered, events, _backend: backend }
    }

    /// The next question, or the end of one; none once the service has ended.
    pub async fn next(&mut self) -> Option<ChooserEvent> {
        self.events.next().await
    }

    /// Answers a question: with what was chosen of its choices, or with none, which ends the opening with SessionAborted.
    ///
    /// # Errors
    /// [`CallError::NotAsked`] if the question is none any more or this was not among its choices;
    /// [`CallError::ServiceLost`], [`CallError::ServiceGone`].
    pub async fn answer(&self, number: QuestionNumber, choice: Option<&Identifier>) -> Result<(), CallError> {
        self.registered.answer(number, choice.cloned()).await
    }
}
