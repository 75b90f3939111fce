use std::{sync::Arc, time::Duration};

use netbearer::{
    MigrateError,
    blocking::{Offer, Roaming, Session, Trial},
};

use crate::{
    line::Line,
    order::Answer,
    work::{boot_time, say, variant},
};

/// Answers each offer with the next of the answers, until the session is gone.
pub(crate) fn decide(
    number: usize,
    roaming: Roaming,
    trial: Duration,
    answers: &[Answer],
    session: impl Fn() -> Option<Arc<Session>>,
) {
    let mut unanswered = Vec::new();
    for (offer, answer) in roaming.zip(answers.iter().copied().cycle()) {
        let replacement = offer.replacement;
        let outcome = match answer {
            Answer::Ignore => offer.ignore(),
            Answer::Accept => try_out(offer, trial).and_then(Trial::accept),
            Answer::Reject => try_out(offer, trial).and_then(Trial::reject),
            Answer::Wait => {
                unanswered.push(offer);
                continue;
            }
        };
        let refusal = outcome.err().map(|error| (variant(&error), error.to_string()));
        let Some(session) = session() else { return };
        let now = session.snapshot().into();
        say(&Line::Decided { session: number, answer, replacement, refusal, at: boot_time(), now });
    }
}

fn try_out(offer: Offer, duration: Duration) -> Result<Trial, MigrateError> {
    let mut trial = offer.migrate()?;
    match trial.ended_within(duration) {
        None => Ok(trial),
        Some(error) => Err(error),
    }
}
