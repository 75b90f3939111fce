use std::{ops::Deref, time::Duration};

use netbearer_engine::Clock;
use netbearer_types::{Identifier, Interface, Offer as OfferDescription, OfferPhase, SessionEvent};

use crate::{
    CallError, Events, MigrateError,
    backend::OfferAnswer,
    ballot::Ballot,
    shared::{OfferOnTable, Ticket},
};

/// The roaming events of a session: while a program has this, it decides where the session roams (semantics §5). Dropping it
/// leaves the decisions to NetBearer again: what was offered is void then, and a trial is rejected, or accepted if the old link
/// is lost.
///
/// ```no_run
/// # async fn example(session: &netbearer::Session) -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
///
/// let mut roaming = session.roaming().await?;
/// while let Some(offer) = roaming.next().await {
///     // Until this, nothing has changed. Now the candidate is brought up beside the link in use.
///     let trial = match offer.migrate().await {
///         Ok(trial) => trial,
///         Err(error) => {
///             eprintln!("{error}");
///             continue;
///         }
///     };
///     let answered = match trial.test_tcp("192.0.2.1:443".parse()?, Duration::from_secs(3)).await {
///         Ok(()) => trial.accept().await,
///         Err(error) => {
///             eprintln!("{}: {error}", trial.candidate());
///             trial.reject().await
///         }
///     };
///     // A trial that has ended by itself meanwhile is no reason to stop: there will be other offers.
///     if let Err(error) = answered {
///         eprintln!("{error}");
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Roaming {
    ballot: Ballot,
    events: Events<SessionEvent>,
    last: Option<Ticket>,
}

/// An access point that the session could use instead, by its fields those of [`OfferDescription`]. Nothing changes before the
/// program answers, however long it takes, unless the link in use is lost ([`OfferDescription::replacement`]). Dropping it is
/// [`Offer::ignore`].
#[derive(Debug)]
#[must_use = "an offer that is dropped is ignored"]
pub struct Offer {
    ballot: Ballot,
    ticket: Ticket,
    description: OfferDescription,
    /// It was migrated to before, as the service went away, which may have heard of it.
    may_have_begun: bool,
    is_answered: bool,
}

/// The candidate is up beside the link in use: sockets that are opened through the session go by the candidate, and those that it
/// had before stay where they are. Dropping it is [`Trial::reject`].
#[derive(Debug)]
#[must_use = "a trial that is dropped is rejected"]
pub struct Trial {
    pub(crate) ballot: Ballot,
    pub(crate) ticket: Ticket,
    offer: OfferDescription,
    events: Events<SessionEvent>,
    is_decided: bool,
}

/// Rejects what was migrated to, unless that is left to somebody else.
#[derive(Debug)]
struct Migration<'a> {
    ballot: &'a Ballot,
    offer: Ticket,
    is_passed_on: bool,
}

impl Roaming {
    /// Makes a session one whose program decides.
    pub(crate) async fn begin(
        ballot: Ballot,
        become_stakeholder: impl Future<Output = Result<(), CallError>>,
    ) -> Result<Self, CallError> {
        if !ballot.shared.take_roaming() {
            return Err(CallError::RoamingTaken(ballot.shared.configuration().identifier));
        }
        let (_, events) = ballot.shared.snapshot_and_events();
        // From here on it is given back when this is dropped, whatever has become of the call.
        let roaming = Self { ballot, events, last: None };
        become_stakeholder.await?;
        Ok(roaming)
    }

    /// Waits for the next offer. What was withdrawn or superseded by a better one meanwhile is skipped; should that happen
    /// later, [`Offer::migrate`] says so. While the daemon is away, there is none; when it is back, an offer whose
    /// [`Offer::migrate`] has failed with [`CallError::ServiceLost`] comes again. None once the session was dropped or the service
    /// has ended.
    pub async fn next(&mut self) -> Option<Offer> {
        loop {
            if !self.ballot.is_current() {
                return None;
            }
            if let Some(OfferOnTable { ticket, description, was_given_back }) = self.ballot.offer_after(self.last) {
                self.last = Some(ticket);
                let ballot = self.ballot.clone();
                return Some(Offer { ballot, ticket, description, may_have_begun: was_given_back, is_answered: false });
            }
            self.events.next().await?;
        }
    }
}

impl Drop for Roaming {
    fn drop(&mut self) {
        self.ballot.leave_decisions();
        self.ballot.shared.give_back_roaming();
    }
}

impl Offer {
    /// Brings the candidate up while the link in use is kept, and waits until it can be tried. Dropping the future rejects.
    ///
    /// # Errors
    /// When the offer was superseded or withdrawn, the candidate could not be brought up, or the session has ended. The session
    /// stays with the link in use; without one it is offered another, or ends. [`CallError::ServiceLost`] decides nothing:
    /// [`Roaming::next`] has the same offer again when the service is back.
    pub async fn migrate(mut self) -> Result<Trial, MigrateError> {
        let (_, events) = self.ballot.shared.snapshot_and_events();
        let (ballot, offer) = (self.ballot.clone(), self.ticket);
        let mut migration = Migration { ballot: &ballot, offer, is_passed_on: false };
        let mut watch = Watch { ballot: &ballot, ticket: offer, offer: &self.description, events };
        match ballot.answer(OfferAnswer::Migrate, offer).await {
            Ok(()) => {}
            // It has been decided so, as the answer took too long, or before the service was away.
            Err(CallError::OutOfTurn(_)) if ballot.has_begun(offer) => {}
            Err(CallError::ServiceLost) => {
                // Whether it has reached the service is seen when that is back, and is as good as undecided until then.
                migration.is_passed_on = true;
                self.is_answered = true;
                ballot.shared.give_back_offer(offer);
                return Err(CallError::ServiceLost.into());
            }
            Err(error) => return Err(watch.explain(error).await),
        }
        self.is_answered = true;
        watch.wait_for_trial().await?;
        migration.is_passed_on = true;
        let Watch { events, .. } = watch;
        drop(migration);
        Ok(Trial { ballot, ticket: offer, offer: self.description.clone(), events, is_decided: false })
    }

    /// Stays with the link in use. The candidate is not offered again before it has gone away and come back, or the order of the
    /// members has changed. Without a link in use, the session ends.
    ///
    /// # Errors
    /// When the offer was superseded or withdrawn, or the service is away; it is ignored then as soon as that is back.
    pub async fn ignore(mut self) -> Result<(), MigrateError> {
        let mut answered = self.ballot.answer(OfferAnswer::Ignore, self.ticket).await;
        if self.may_have_begun && matches!(answered, Err(CallError::OutOfTurn(_))) && self.ballot.has_begun(self.ticket)
        {
            answered = self.ballot.answer(OfferAnswer::Reject, self.ticket).await;
        }
        let answered = match answered {
            Err(CallError::SupersededOffer(_) | CallError::OutOfTurn(_)) => {
                Err(MigrateError::Over(self.description.number))
            }
            Err(error) => return Err(error.into()),
            Ok(()) => Ok(()),
        };
        self.is_answered = true;
        answered
    }
}

impl Deref for Offer {
    type Target = OfferDescription;

    fn deref(&self) -> &OfferDescription {
        &self.description
    }
}

impl Drop for Offer {
    fn drop(&mut self) {
        if self.is_answered {
            return;
        }
        // Whichever is not due changes nothing.
        if self.may_have_begun {
            self.ballot.answer_unheard(OfferAnswer::Reject, self.ticket);
        }
        self.ballot.answer_unheard(OfferAnswer::Ignore, self.ticket);
    }
}

impl Drop for Migration<'_> {
    fn drop(&mut self) {
        if !self.is_passed_on {
            self.ballot.answer_unheard(OfferAnswer::Reject, self.offer);
        }
    }
}

impl Trial {
    /// The access point that is tried.
    #[must_use]
    pub const fn candidate(&self) -> &Identifier {
        &self.offer.configuration
    }

    /// What was offered.
    #[must_use]
    pub const fn offer(&self) -> &OfferDescription {
        &self.offer
    }

    /// The candidate's interface; none once the trial is over.
    #[must_use]
    pub fn interface(&self) -> Option<Interface> {
        self.ballot.phase(self.ticket)?;
        self.ballot.shared.read(|snapshot| snapshot.candidate_interface().cloned())
    }

    /// Uses the candidate from now on. The hold on the old link is given back: it goes down unless somebody else holds it.
    ///
    /// # Errors
    /// When the trial is over, or the service is away; it is rejected then as soon as that is back, unless the answer had reached
    /// it before.
    pub async fn accept(self) -> Result<(), MigrateError> {
        self.decide(OfferAnswer::Accept).await
    }

    /// Goes on with the old link, whose connections never noticed; without it, the session ends. The candidate is given back.
    ///
    /// # Errors
    /// When the trial is over, or the service is away; it is rejected then as soon as that is back.
    pub async fn reject(self) -> Result<(), MigrateError> {
        self.decide(OfferAnswer::Reject).await
    }

    /// Waits until the trial has ended by itself, and tells why.
    pub async fn ended(&mut self) -> MigrateError {
        let events = &mut self.events;
        let failed = loop {
            if self.ballot.phase(self.ticket).is_none() {
                break None;
            }
            match events.next().await {
                Some(event) => {
                    if let Some(cause) = cause(&event, &self.offer) {
                        break Some(cause);
                    }
                }
                None => break Some(MigrateError::SessionEnded(None)),
            }
        };
        match failed {
            Some(cause) => cause,
            None => why_over(&self.ballot, &self.offer, events).await,
        }
    }

    async fn decide(mut self, answer: OfferAnswer) -> Result<(), MigrateError> {
        // Until something has come of it, dropping this rejects: behind an answer that has reached the service that changes
        // nothing, and in the place of one that was lost it leaves nothing undecided.
        let decided = match self.ballot.answer(answer, self.ticket).await {
            Err(CallError::SupersededOffer(_) | CallError::OutOfTurn(_)) => {
                Err(why_over(&self.ballot, &self.offer, &mut self.events).await)
            }
            Err(error) => return Err(error.into()),
            Ok(()) => Ok(()),
        };
        self.is_decided = true;
        decided
    }

    /// Waits until the trial is over, as somebody knows who looks on.
    pub(crate) async fn is_over(&self) {
        let (_, mut events) = self.ballot.shared.snapshot_and_events();
        while self.ballot.phase(self.ticket).is_some() && events.next().await.is_some() {}
    }

    pub(crate) async fn sleep(&self, duration: Duration) {
        let clock = self.ballot.backend.clock();
        clock.sleep_until(clock.now() + duration).await;
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        if !self.is_decided {
            self.ballot.answer_unheard(OfferAnswer::Reject, self.ticket);
        }
    }
}

/// Watches what comes of an offer that was migrated to.
struct Watch<'a> {
    ballot: &'a Ballot,
    ticket: Ticket,
    offer: &'a OfferDescription,
    events: Events<SessionEvent>,
}

impl Watch<'_> {
    async fn wait_for_trial(&mut self) -> Result<(), MigrateError> {
        loop {
            match self.ballot.phase(self.ticket) {
                Some(OfferPhase::Trial) => return Ok(()),
                Some(_) => {}
                None => return Err(why_over(self.ballot, self.offer, &mut self.events).await),
            }
            let event = self.events.next().await.ok_or(MigrateError::SessionEnded(None))?;
            // A daemon that could write nothing down has left no word of the answer to the next one.
            if event == SessionEvent::ServiceBack && self.ballot.phase(self.ticket) == Some(OfferPhase::Offered) {
                self.ballot.shared.give_back_offer(self.ticket);
                return Err(CallError::ServiceLost.into());
            }
            if let Some(cause) = cause(&event, self.offer) {
                return Err(cause);
            }
        }
    }

    async fn explain(&mut self, error: CallError) -> MigrateError {
        match error {
            CallError::SupersededOffer(_) | CallError::OutOfTurn(_) => {
                why_over(self.ballot, self.offer, &mut self.events).await
            }
            error => error.into(),
        }
    }
}

/// What an event says of the end of an offer; [`MigrateError::SessionEnded`] without its failure.
fn cause(event: &SessionEvent, offer: &OfferDescription) -> Option<MigrateError> {
    match event {
        SessionEvent::RoamingFailed { configuration, failure } if *configuration == offer.configuration => {
            Some(MigrateError::Failed { configuration: configuration.clone(), failure: failure.clone() })
        }
        _ => None,
    }
}

/// Why an offer is over, by the events that have not been read.
async fn why_over(ballot: &Ballot, offer: &OfferDescription, events: &mut Events<SessionEvent>) -> MigrateError {
    // The state is told before the failure is.
    ballot.catch_up().await;
    while let Some(event) = events.try_next() {
        if let Some(cause) = cause(&event, offer) {
            return cause;
        }
    }
    let (is_wanted, failure) =
        ballot.shared.read(|snapshot| (snapshot.is_open || snapshot.is_opening, snapshot.failure.clone()));
    if is_wanted && ballot.is_current() {
        MigrateError::Over(offer.number)
    } else {
        MigrateError::SessionEnded(failure)
    }
}
