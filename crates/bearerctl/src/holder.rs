use std::{
    pin::pin,
    time::{Duration, Instant},
};

use netbearer::{
    CallError, Configuration, Events, Identifier, Kind, Manager, PropertyKey, PropertyValue, ServiceKind, Session,
    SessionEvent, SessionState, StateFlags,
};

use crate::{
    arguments::Choosing,
    asking::{Asking, Progress},
    command::Context,
    error::Error,
    exit_code::ExitCode,
    output::Output,
    reader::Reader,
    signals::{Received, Signals},
    timeline::{InUse, OwnEvent, Place, Timeline},
    waiting::{Awaited, Waiting},
};

/// Signals so near to the first are part of it: some programs send theirs to the process and to its group.
const IMPATIENCE: Duration = Duration::from_secs(1);

/// A session that this program holds, whose events are told as they come.
#[derive(Debug)]
pub(crate) struct Holder<'a> {
    context: &'a Context,
    manager: Manager,
    session: Session,
    events: Events<SessionEvent>,
    timeline: Timeline,
    signals: Signals,
    reader: Reader,
}

/// What a holder waits for.
#[derive(Debug)]
pub(crate) enum Happening {
    /// Told already by [`Holder::next`].
    Event(SessionEvent),
    /// Somebody wants this program to end.
    Signal(Received),
}

impl<'a> Holder<'a> {
    /// A session on what was named, not opened yet.
    pub(crate) async fn new(context: &'a Context, wanted: Option<&str>, place: Place) -> Result<Self, Error> {
        // From here on a signal is a wish, so that nothing is left behind.
        let mut signals = Signals::catch().map_err(Error::Runtime)?;
        let manager = context.manager_unless_interrupted(&mut signals).await?;
        let configuration = manager.find(wanted).await?;
        let session = manager.session(&configuration).await?;
        let reader = if place == Place::StandardOutput { Reader::of_standard_output() } else { Reader::none() };
        Ok(Self {
            context,
            events: session.events(),
            timeline: Timeline::new(context.output, place, configuration.identifier),
            manager,
            session,
            signals,
            reader,
        })
    }

    pub(crate) fn name(&self) -> String {
        self.session.configuration().name
    }

    /// Opens the session, and returns when it is open.
    pub(crate) async fn open(&mut self, timeout: Option<Duration>, choosing: &Choosing) -> Result<(), Error> {
        let name = self.name();
        let mut asking = Asking::prepare(&self.manager, &self.session, choosing).await?;
        self.timeline.begin();
        let accepted = self.session.open().await;
        if let Err(error) = accepted {
            self.tell_what_came().await?;
            return Err(match error {
                CallError::NotSupported(failure) | CallError::Busy(failure) | CallError::Denied(failure) => {
                    Error::NotOpened(name, failure)
                }
                other => other.into(),
            });
        }
        if self.wait_for_opened(timeout, &mut asking).await? {
            asking.check(&self.manager, &self.session).await?;
            // What has come after Opened, a loss perhaps, is for whoever waits next.
            return Ok(());
        }
        self.tell_what_came().await?;
        let snapshot = self.session.snapshot();
        match (snapshot.failure, timeout) {
            (Some(failure), _) => Err(Error::NotOpened(name, failure)),
            (None, Some(within)) => Err(Error::NotOpenInTime { name, within }),
            (None, None) => Err(CallError::ServiceGone.into()),
        }
    }

    async fn wait_for_opened(&mut self, timeout: Option<Duration>, asking: &mut Asking) -> Result<bool, Error> {
        let mut waiting = Waiting::begin(self.context.output);
        let awaited = self.awaited(&waiting).await;
        let Self { context, manager, session, events, timeline, signals, reader } = self;
        let name = session.configuration().name;
        let mut opened = pin!(session.wait_for_opened(timeout));
        loop {
            tokio::select! {
                biased;
                Received { signal, .. } = signals.next() => {
                    asking.end_line(context.output);
                    return Err(Error::Interrupted { name, signal, wanted: "open" });
                }
                () = reader.gone() => return Err(nobody_reads()),
                Some(event) = events.next() => {
                    waiting.clear();
                    asking.end_line(context.output);
                    tell(timeline, manager, session, &event).await?;
                    // From the moment it is told a signal ends the holding, no longer the opening.
                    if event == SessionEvent::Opened {
                        return Ok(true);
                    }
                }
                opened = &mut opened => {
                    let opened = opened?;
                    waiting.clear();
                    asking.end_line(context.output);
                    while opened && let Some(event) = events.try_next() {
                        tell(timeline, manager, session, &event).await?;
                        if event == SessionEvent::Opened {
                            break;
                        }
                    }
                    return Ok(opened);
                }
                progress = asking.next(context.output) => match progress {
                    Progress::Asked => {
                        waiting.clear();
                        asking.put(context.output);
                    }
                    Progress::Answered(answer) => {
                        asking.give(answer).await?;
                        waiting.begin_anew();
                    }
                },
                // The line is the question's while somebody is asked.
                () = waiting.tick(), if awaited.is_some() && !asking.is_asking() => {
                    if let Some(awaited) = &awaited {
                        waiting.show(format_args!("{awaited}; press Ctrl-C to give up"));
                    }
                }
            }
        }
    }

    /// What the session waits for. None if nobody would see it, or nothing is known of it.
    async fn awaited(&self, waiting: &Waiting) -> Option<Awaited> {
        if !waiting.is_seen() {
            return None;
        }
        let all = self.manager.configurations(None).await.ok()?;
        Some(Awaited::new(self.manager.steps(), self.session.configuration(), &all))
    }

    /// The same of an access point that it goes to.
    pub(crate) async fn awaited_of(&self, access_point: &Identifier, waiting: &Waiting) -> Option<Awaited> {
        if !waiting.is_seen() {
            return None;
        }
        let access_point = self.manager.configuration(access_point).await.ok()?;
        let names = [access_point.clone()];
        Some(Awaited::new(self.manager.steps(), access_point, &names))
    }

    /// The next thing that happens while the session is held.
    pub(crate) async fn next(&mut self) -> Result<Happening, Error> {
        let happening = self.next_untold().await?;
        if let Happening::Event(event) = &happening {
            self.tell(event).await?;
        }
        Ok(happening)
    }

    /// The same, but an event is still to be told. May be dropped while waiting.
    pub(crate) async fn next_untold(&mut self) -> Result<Happening, Error> {
        tokio::select! {
            biased;
            signal = self.signals.next() => Ok(Happening::Signal(signal)),
            () = self.reader.gone() => Err(nobody_reads()),
            event = self.events.next() => Ok(Happening::Event(event.ok_or(CallError::ServiceGone)?)),
        }
    }

    /// Tells an event.
    pub(crate) async fn tell(&self, event: &SessionEvent) -> Result<(), Error> {
        tell(&self.timeline, &self.manager, &self.session, event).await
    }

    /// Tells what this program has done about the session.
    pub(crate) fn tell_own(&self, own: &OwnEvent<'_>) -> Result<(), Error> {
        self.timeline.tell_own(own)
    }

    pub(crate) const fn session(&self) -> &Session {
        &self.session
    }

    pub(crate) const fn output(&self) -> Output {
        self.context.output
    }

    /// What a configuration is called; its identifier, if that cannot be found out now.
    pub(crate) async fn name_of(&self, identifier: &Identifier) -> String {
        let found = self.manager.configuration(identifier).await;
        found.map_or_else(|_| identifier.to_string(), |configuration| configuration.name)
    }

    /// Why the session is no longer open.
    pub(crate) fn end(&self) -> Error {
        match self.session.error() {
            Some(failure) => Error::Ended(self.name(), failure),
            None => CallError::ServiceGone.into(),
        }
    }

    /// Takes the access point down, and returns when it is down; `within` bounds the wait. False if it was not up.
    pub(crate) async fn stop(&mut self, within: Duration) -> Result<bool, Error> {
        let Configuration { name, kind, .. } = self.session.configuration();
        if kind == Kind::InternetAccessPoint
            && !matches!(
                self.session.state(),
                SessionState::Connected | SessionState::Connecting | SessionState::Closing
            )
        {
            return Ok(false);
        }
        self.timeline.begin();
        let accepted = self.session.stop().await;
        if let Err(error) = accepted {
            self.tell_what_came().await?;
            return Err(match error {
                CallError::NotSupported(failure) | CallError::Denied(failure) => Error::NotStopped(name, failure),
                CallError::NotOpen(_) => Error::NotOpen { name, members: self.members_that_are_up().await? },
                other => other.into(),
            });
        }
        let deadline = tokio::time::Instant::now() + within;
        while self.session.state() == SessionState::Closing {
            match tokio::time::timeout_at(deadline, self.next()).await {
                Ok(happening) => match happening? {
                    Happening::Event(_) => {}
                    Happening::Signal(Received { signal, .. }) => {
                        return Err(Error::Interrupted { name, signal, wanted: "down" });
                    }
                },
                Err(_) => return Err(Error::NotStoppedInTime { name, within }),
            }
        }
        // A refusal is told right after the state; an answer of the service comes after both.
        self.session.property(PropertyKey::ActiveConfiguration).await?;
        self.tell_what_came().await?;
        match self.session.error() {
            Some(failure) => Err(Error::NotStopped(name, failure)),
            None => Ok(true),
        }
    }

    async fn members_that_are_up(&self) -> Result<Vec<String>, Error> {
        let mut names = Vec::new();
        for member in self.session.configuration().children {
            let member = self.manager.configuration(&member).await?;
            if member.state_flags == StateFlags::Active {
                names.push(member.name);
            }
        }
        Ok(names)
    }

    /// Gives the session back in order, telling the events of that. Another signal ends the program at once, if it comes
    /// later than a second after.
    pub(crate) async fn close(mut self) -> Result<(), Error> {
        // A service that is gone has nothing to close.
        let _ = self.session.close().await;
        let told = self.shut_down().await;
        let rest = self.tell_what_came().await;
        told.and(rest)
    }

    /// Waits until what this program had up is down. The service of all programs goes on: then it is only the session's own
    /// access point, unless somebody else has it.
    async fn shut_down(&mut self) -> Result<(), Error> {
        let mut waiting = Waiting::begin(self.context.output);
        let awaited = self.awaited(&waiting).await;
        let Self { context, manager, session, events, timeline, signals, .. } = self;
        let is_embedded = manager.service().kind == ServiceKind::Embedded;
        let mut told = Ok(());
        let begun = Instant::now();
        let mut down = pin!(async {
            match is_embedded {
                true => manager.shutdown().await,
                false => std::future::pending().await,
            }
        });
        loop {
            if !is_embedded && session.state() != SessionState::Closing {
                return told;
            }
            tokio::select! {
                biased;
                Received { signal, .. } = signals.next() => {
                    if !is_impatient(begun.elapsed()) {
                        continue;
                    }
                    waiting.clear();
                    let rest = if is_embedded {
                        "what is left is cleaned up by: bearerctl reset"
                    } else {
                        "the bearer service does the rest"
                    };
                    context.output.hint(&format!("ended at once; {rest}"));
                    ExitCode::of_signal(signal.number()).exit();
                }
                Some(event) = events.next() => {
                    waiting.clear();
                    // Nobody may read it any more; the link goes down all the same.
                    let outcome = tell(timeline, manager, session, &event).await;
                    told = told.and(outcome);
                    if event == SessionEvent::ServiceLost {
                        return told;
                    }
                }
                () = &mut down => return told,
                () = waiting.tick(), if awaited.is_some() => {
                    if let Some(awaited) = &awaited {
                        waiting.show(awaited);
                    }
                }
            }
        }
    }

    async fn tell_what_came(&mut self) -> Result<(), Error> {
        while let Some(event) = self.events.try_next() {
            tell(&self.timeline, &self.manager, &self.session, &event).await?;
        }
        Ok(())
    }
}

/// Tells an event of the session, with what it uses if it has just come to it.
async fn tell(timeline: &Timeline, manager: &Manager, session: &Session, event: &SessionEvent) -> Result<(), Error> {
    let has_come_to_it = matches!(event, SessionEvent::Opened | SessionEvent::ActiveConfigurationChanged { .. });
    let in_use = if has_come_to_it { in_use(manager, session).await } else { None };
    timeline.tell(event, session.interface().as_ref(), in_use.as_ref())
}

/// None on an access point, and if it has been lost again already.
async fn in_use(manager: &Manager, session: &Session) -> Option<InUse> {
    let kind = session.configuration().kind;
    if kind == Kind::InternetAccessPoint {
        return None;
    }
    let read = async |key| match session.property(key).await {
        Ok(Some(PropertyValue::Text(identifier))) if !identifier.is_empty() => {
            manager.configuration(&Identifier::new(identifier)).await.ok()
        }
        _ => None,
    };
    let active = read(PropertyKey::ActiveConfiguration).await?;
    let choice = read(PropertyKey::UserChoiceConfiguration).await;
    let network = choice.as_ref().filter(|choice| choice.kind == Kind::ServiceNetwork);
    let words = match network {
        Some(network) => format!("{}, of {}", active.name, network.name),
        None => active.name,
    };
    let user_choice_configuration = choice.map(|choice| choice.identifier);
    Some(InUse { active_configuration: active.identifier, user_choice_configuration, words })
}

const fn is_impatient(since_the_first: Duration) -> bool {
    since_the_first.as_nanos() >= IMPATIENCE.as_nanos()
}

fn nobody_reads() -> Error {
    Error::Output(std::io::ErrorKind::BrokenPipe.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_right_after_the_first_is_no_impatience() {
        assert!(!is_impatient(Duration::from_micros(3)));
        assert!(!is_impatient(IMPATIENCE - Duration::from_nanos(1)));
        assert!(is_impatient(IMPATIENCE));
    }
}
