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
    for (offer, answer) in roaming.zip(answers.iter().copied().cycle()) {
        let replacement = offer.replacement;
        let refusal = carry_out(offer, trial, answer).err().map(|error| (variant(&error), error.to_string()));
        let Some(session) = session() else { return };
        let now = session.snapshot().into();
        say(&Line::Decided { session: number, answer, replacement, refusal, at: boot_time(), now });
    }
}

fn carry_out(offer: Offer, trial: Duration, answer: Answer) -> Result<(), MigrateError> {
    match answer {
        Answer::Ignore => offer.ignore(),
        Answer::Accept => tried(offer.migrate()?, trial)?.accept(),
        Answer::Reject => tried(offer.migrate()?, trial)?.reject(),
    }
}

fn tried(mut trial: Trial, duration: Duration) -> Result<Trial, MigrateError> {
    match trial.ended_within(duration) {
        None => Ok(trial),
        Some(error) => Err(error),
    }
}
