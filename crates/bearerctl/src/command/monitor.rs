use std::{collections::BTreeMap, pin::Pin, time::SystemTime};

use futures_util::{
    Stream, StreamExt,
    stream::{self, SelectAll},
};
use netbearer::{CallError, Configuration, Identifier, Manager, ManagerEvent, Session, SessionEvent};

use crate::{
    command::Context,
    error::Error,
    listing::kind_words,
    output::{DIM, Output},
    reader::Reader,
    signals::Signals,
    timeline::{self, EventObject, SessionEventObject},
};

pub(crate) async fn run(context: &Context) -> Result<(), Error> {
    let mut signals = Signals::catch().map_err(Error::Runtime)?;
    let mut reader = Reader::of_standard_output();
    let manager = context.manager_unless_interrupted(&mut signals).await?;
    let mut events = manager.events();
    let mut watch = Watch::new(context.output);
    watch.all(&manager).await?;
    loop {
        tokio::select! {
            biased;
            _ = signals.next() => return Ok(()),
            () = reader.gone() => return Ok(()),
            event = events.next() => {
                let event = event.ok_or(CallError::ServiceGone)?;
                watch.tell(&event)?;
                watch.follow(&manager, event).await?;
            }
            Some((identifier, event)) = watch.changes.next() => watch.tell_session(&identifier, &event)?,
        }
    }
}

type Changes = Pin<Box<dyn Stream<Item = (Identifier, SessionEvent)>>>;

/// A session on each configuration, which only watches.
struct Watch {
    output: Output,
    sessions: BTreeMap<Identifier, Session>,
    changes: SelectAll<Changes>,
}

impl Watch {
    fn new(output: Output) -> Self {
        Self { output, sessions: BTreeMap::new(), changes: SelectAll::new() }
    }

    async fn all(&mut self, manager: &Manager) -> Result<(), Error> {
        for configuration in manager.configurations(None).await? {
            self.add(manager, &configuration).await?;
        }
        Ok(())
    }

    async fn follow(&mut self, manager: &Manager, event: ManagerEvent) -> Result<(), Error> {
        let followed = match event {
            ManagerEvent::ConfigurationAdded { configuration } => self.add(manager, &configuration).await,
            ManagerEvent::ConfigurationRemoved { identifier } => {
                self.sessions.remove(&identifier);
                Ok(())
            }
            ManagerEvent::Lagged | ManagerEvent::ServiceBack => self.all(manager).await,
            _ => Ok(()),
        };
        match followed {
            // What could not be asked is asked when it is back.
            Err(Error::Call(CallError::ServiceLost)) => Ok(()),
            followed => followed,
        }
    }

    /// Begins with the state as it is.
    async fn add(&mut self, manager: &Manager, configuration: &Configuration) -> Result<(), Error> {
        let identifier = &configuration.identifier;
        if self.sessions.contains_key(identifier) {
            return Ok(());
        }
        let session = manager.session(configuration).await?;
        let (snapshot, events) = session.snapshot_and_events();
        let first = SessionEvent::StateChanged { state: snapshot.state };
        let tag = identifier.clone();
        let events = stream::once(async { first }).chain(events).map(move |event| (tag.clone(), event));
        self.changes.push(Box::pin(events));
        self.sessions.insert(identifier.clone(), session);
        Ok(())
    }

    fn tell(&self, event: &ManagerEvent) -> Result<(), Error> {
        if self.output.json {
            return self.output.object(&EventObject::new(event, None));
        }
        self.output.line(&format!("{}{}", time(), describe(event)))
    }

    fn tell_session(&self, identifier: &Identifier, event: &SessionEvent) -> Result<(), Error> {
        if matches!(event, SessionEvent::ServiceLost | SessionEvent::ServiceBack) {
            // Told once, of the machine.
            return Ok(());
        }
        if self.output.json {
            return self.output.object(&EventObject::new(&SessionEventObject::from(event), Some(identifier)));
        }
        let session = self.sessions.get(identifier);
        let name = session.map_or_else(|| identifier.to_string(), |session| session.configuration().name);
        let interface = session.and_then(Session::interface);
        let (word, detail) = timeline::describe(event, interface.as_ref());
        let style = timeline::style(event);
        let line = format!("{}{name}: {style}{word}{style:#}  {detail}", time());
        self.output.line(line.trim_end())
    }
}

fn time() -> String {
    format!("{DIM}{}{DIM:#}  ", humantime::format_rfc3339_millis(SystemTime::now()))
}

/// What happened to the machine, in a line.
pub(crate) fn describe(event: &ManagerEvent) -> String {
    match event {
        ManagerEvent::ConfigurationAdded { configuration } => {
            format!("{}: added, {}, {}", configuration.name, kind_words(configuration), configuration.state_flags)
        }
        ManagerEvent::ConfigurationChanged { configuration } => {
            format!("{}: changed, {}, {}", configuration.name, kind_words(configuration), configuration.state_flags)
        }
        ManagerEvent::ConfigurationRemoved { identifier } => format!("{identifier}: removed"),
        ManagerEvent::OnlineStateChanged { online: true } => "the machine is online".to_owned(),
        ManagerEvent::OnlineStateChanged { online: false } => "the machine is offline".to_owned(),
        ManagerEvent::UpdateCompleted => "updated".to_owned(),
        ManagerEvent::ServiceLost => "the bearer service is away; the network stays as it is".to_owned(),
        ManagerEvent::ServiceBack => "the bearer service is back".to_owned(),
        ManagerEvent::Lagged => "events were dropped; what follows holds now".to_owned(),
        other => format!("{other:?}"),
    }
}
