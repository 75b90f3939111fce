use std::sync::Arc;

use netbearer::{
    MigrateError,
    blocking::{Offer, Roaming, Session},
};

use crate::{
    line::Line,
    order::Answer,
    work::{boot_time, say, variant},
};

/// Answers each offer with the next of the answers, until the session is gone.
pub(crate) fn decide(number: usize, roaming: Roaming, answers: &[Answer], session: impl Fn() -> Option<Arc<Session>>) {
    for (offer, answer) in roaming.zip(answers.iter().copied().cycle()) {
        let replacement = offer.replacement;
        let refusal = carry_out(offer, answer).err().map(|error| (variant(&error), error.to_string()));
        let Some(session) = session() else { return };
        let now = session.snapshot().into();
        say(&Line::Decided { session: number, answer, replacement, refusal, at: boot_time(), now });
    }
}

fn carry_out(offer: Offer, answer: Answer) -> Result<(), MigrateError> {
    match answer {
        Answer::Ignore => offer.ignore(),
        Answer::Accept => offer.migrate()?.accept(),
        Answer::Reject => offer.migrate()?.reject(),
    }
}
