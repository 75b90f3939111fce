use std::{ops::Deref, time::Duration};

use netbearer_engine::Clock;
use netbearer_types::{Identifier, Interface, Offer as OfferDescription, OfferNumber, OfferPhase, SessionEvent};

use crate::{CallError, Events, MigrateError, backend::OfferAnswer, ballot::Ballot};

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
///     match trial.test_tcp("192.0.2.1:443".parse()?, Duration::from_secs(3)).await {
///         Ok(()) => trial.accept().await?,
///         Err(error) => {
///             eprintln!("{}: {error}", trial.candidate());
///             trial.reject().await?;
///         }
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Roaming {
    ballot: Ballot,
    events: Events<SessionEvent>,
    last: Option<OfferNumber>,
}

/// An access point that the session could use instead, by its fields those of [`OfferDescription`]. Nothing changes before the
/// program answers, however long it takes, unless the link in use is lost ([`OfferDescription::replacement`]). Dropping it is
/// [`Offer::ignore`].
#[derive(Debug)]
#[must_use = "an offer that is dropped is ignored"]
pub struct Offer {
    ballot: Ballot,
    description: OfferDescription,
    is_answered: bool,
}

/// The candidate is up beside the link in use: sockets that are opened through the session go by the candidate, and those that it
/// had before stay where they are. Dropping it is [`Trial::reject`].
#[derive(Debug)]
#[must_use = "a trial that is dropped is rejected"]
pub struct Trial {
    pub(crate) ballot: Ballot,
    pub(crate) offer: OfferDescription,
    events: Events<SessionEvent>,
    is_decided: bool,
}

/// Rejects what was migrated to, unless it has come to its trial.
#[derive(Debug)]
struct Migration<'a> {
    ballot: &'a Ballot,
    offer: OfferNumber,
    is_on_trial: bool,
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
    /// later, [`Offer::migrate`] says so. None once the session was dropped or the service has ended.
    pub async fn next(&mut self) -> Option<Offer> {
        loop {
            if !self.ballot.is_current() {
                return None;
            }
            if let Some(description) = self.newest() {
                self.last = Some(description.number);
                return Some(Offer { ballot: self.ballot.clone(), description, is_answered: false });
            }
            self.events.next().await?;
        }
    }

    fn newest(&self) -> Option<OfferDescription> {
        self.ballot.shared.read(|snapshot| {
            let roaming = snapshot.roaming.as_deref().filter(|roaming| roaming.phase == OfferPhase::Offered)?;
            Some(roaming.offer.clone()).filter(|offer| self.last.is_none_or(|last| offer.number > last))
        })
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
    /// stays with the link in use; without one it is offered another, or ends.
    pub async fn migrate(mut self) -> Result<Trial, MigrateError> {
        let (_, events) = self.ballot.shared.snapshot_and_events();
        let offer = self.description.number;
        self.is_answered = true;
        let ballot = self.ballot.clone();
        let mut migration = Migration { ballot: &ballot, offer, is_on_trial: false };
        let mut watch = Watch { ballot: &ballot, offer: &self.description, events };
        match ballot.answer(OfferAnswer::Migrate, offer).await {
            Ok(()) => {}
            // It has been decided so, as the answer took too long.
            Err(CallError::OutOfTurn(_)) if ballot.phase(offer).is_some_and(|phase| phase > OfferPhase::Offered) => {}
            Err(error) => {
                // It may have reached the service, or not.
                self.is_answered = false;
                return Err(watch.explain(error).await);
            }
        }
        watch.wait_for_trial().await?;
        migration.is_on_trial = true;
        let Watch { events, .. } = watch;
        drop(migration);
        Ok(Trial { ballot, offer: self.description.clone(), events, is_decided: false })
    }

    /// Stays with the link in use. The candidate is not offered again before it has gone away and come back, or the order of the
    /// members has changed. Without a link in use, the session ends.
    ///
    /// # Errors
    /// When the offer was superseded or withdrawn, or the service is away.
    pub async fn ignore(mut self) -> Result<(), MigrateError> {
        self.is_answered = true;
        let number = self.description.number;
        match self.ballot.answer(OfferAnswer::Ignore, number).await {
            Err(CallError::SupersededOffer(_) | CallError::OutOfTurn(_)) => Err(MigrateError::Over(number)),
            Err(error) => {
                self.is_answered = false;
                Err(error.into())
            }
            Ok(()) => Ok(()),
        }
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
        if !self.is_answered {
            self.ballot.answer_unheard(OfferAnswer::Ignore, self.description.number);
        }
    }
}

impl Drop for Migration<'_> {
    fn drop(&mut self) {
        if !self.is_on_trial {
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
        self.ballot.phase(self.offer.number)?;
        self.ballot.shared.read(|snapshot| snapshot.candidate_interface().cloned())
    }

    /// Uses the candidate from now on. The hold on the old link is given back: it goes down unless somebody else holds it.
    ///
    /// # Errors
    /// When the trial is over, or the service is away; it is rejected then as soon as that is back.
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
            if self.ballot.phase(self.offer.number).is_none() {
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
        // If nobody waits for what comes of it any more, it is decided all the same.
        self.is_decided = true;
        let error = match self.ballot.answer(answer, self.offer.number).await {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        match error {
            CallError::SupersededOffer(_) | CallError::OutOfTurn(_) => {
                Err(why_over(&self.ballot, &self.offer, &mut self.events).await)
            }
            error => {
                // It may not have reached the service.
                self.is_decided = false;
                Err(error.into())
            }
        }
    }

    /// Waits until the trial is over, as somebody knows who looks on.
    pub(crate) async fn is_over(&self) {
        let (_, mut events) = self.ballot.shared.snapshot_and_events();
        while self.ballot.phase(self.offer.number).is_some() && events.next().await.is_some() {}
    }

    pub(crate) async fn sleep(&self, duration: Duration) {
        let clock = self.ballot.backend.clock();
        clock.sleep_until(clock.now() + duration).await;
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        if !self.is_decided {
            self.ballot.answer_unheard(OfferAnswer::Reject, self.offer.number);
        }
    }
}

/// Watches what comes of an offer that was migrated to.
struct Watch<'a> {
    ballot: &'a Ballot,
    offer: &'a OfferDescription,
    events: Events<SessionEvent>,
}

impl Watch<'_> {
    async fn wait_for_trial(&mut self) -> Result<(), MigrateError> {
        loop {
            match self.ballot.phase(self.offer.number) {
                Some(OfferPhase::Trial) => return Ok(()),
                Some(_) => {}
                None => return Err(why_over(self.ballot, self.offer, &mut self.events).await),
            }
            let event = self.events.next().await.ok_or(MigrateError::SessionEnded(None))?;
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
