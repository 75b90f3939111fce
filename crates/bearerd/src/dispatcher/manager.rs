//! `org.netbearer.Manager1`.

use std::collections::BTreeMap;

use netbearer_core::{SessionDescription, SessionId, Token};
use netbearer_dbus::{
    ConfigurationProperties, ErrorName, InterfaceValue, ObjectKind, SESSION_INTERFACE, TOPIC_CONFIGURATIONS,
    TOPIC_NEWS, TOPIC_STEPS, session_path,
};
use netbearer_types::{Configuration, Identifier, SessionSnapshot, StateFlags, Traffic};
use rustix::rand::{GetRandomFlags, getrandom};
use serde::Serialize;
use zbus::ObjectPath;

use crate::{
    Mail,
    call::Call,
    client::Topics,
    dispatcher::Dispatcher,
    fault::{Fault, StandardError},
    signals,
};

/// A session as `DescribeSessions` tells it.
#[derive(Debug, Serialize)]
struct Described {
    #[serde(flatten)]
    description: SessionDescription,
    /// What its access points have carried, all programs' traffic alike.
    traffic: Traffic,
}

fn by_identifier(configurations: &[Configuration]) -> BTreeMap<&str, ConfigurationProperties> {
    configurations.iter().map(|one| (one.identifier.as_str(), one.into())).collect()
}

fn texts(identifiers: &[Identifier]) -> Vec<&str> {
    identifiers.iter().map(Identifier::as_str).collect()
}

/// As JSON, which is for tools and people; what it is made of is always fit for it.
fn json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_else(|error| {
        tracing::error!("something could not be told as JSON: {error}");
        String::new()
    })
}

/// Nobody can guess it.
fn random_token() -> Result<Token, Fault> {
    let mut octets = [0; 16];
    match getrandom(&mut octets, GetRandomFlags::empty()) {
        Ok(16) => Ok(Token(u128::from_ne_bytes(octets))),
        _ => Err(Fault::standard(StandardError::Failed, "the kernel has no random numbers")),
    }
}

impl Dispatcher {
    pub(super) fn subscribe(&self, call: Call, _: ObjectKind) -> Result<(), Fault> {
        let topics: Vec<String> = call.arguments()?;
        let has = |topic| topics.iter().any(|one| one == topic);
        let (configurations, steps, news) = (has(TOPIC_CONFIGURATIONS), has(TOPIC_STEPS), has(TOPIC_NEWS));
        call.client().set_topics(Topics { configurations, steps, news });
        call.answer(&());
        Ok(())
    }

    pub(super) fn list_configurations(&self, call: Call, _: ObjectKind) -> Result<(), Fault> {
        let filter = match call.arguments()? {
            0 => None,
            bits => Some(StateFlags::from_bits(bits).ok_or_else(|| {
                Fault::standard(StandardError::InvalidArgs, "the filter is 0 or the state flags 0x1, 0x2, 0x6 or 0xe")
            })?),
        };
        let tell = |call: &Call, configurations: Vec<Configuration>| {
            call.answer(&by_identifier(&configurations));
            Ok(())
        };
        self.ask(call, move |core, _| core.configurations(filter), tell)
    }

    pub(super) fn list_user_choices(&self, call: Call, _: ObjectKind) -> Result<(), Fault> {
        let tell = |call: &Call, configurations: Vec<Configuration>| {
            call.answer(&by_identifier(&configurations));
            Ok(())
        };
        self.ask(call, |core, _| core.user_choices(), tell)
    }

    pub(super) fn get_configuration(&self, call: Call, _: ObjectKind) -> Result<(), Fault> {
        let identifier = call.identifier()?;
        let ask = move |core: &mut netbearer_core::Core, _| {
            core.configuration(&identifier).unwrap_or_else(|| Configuration::invalid(identifier))
        };
        let tell = |call: &Call, configuration| {
            call.answer(&ConfigurationProperties::from(&configuration));
            Ok(())
        };
        self.ask(call, ask, tell)
    }

    pub(super) fn get_default_configuration(&self, call: Call, _: ObjectKind) -> Result<(), Fault> {
        let tell = |call: &Call, default: Option<Configuration>| {
            call.answer(&default.map(|default| String::from(default.identifier)).unwrap_or_default());
            Ok(())
        };
        self.ask(call, |core, _| core.default_configuration(), tell)
    }

    pub(super) fn resolve_name(&self, call: Call, _: ObjectKind) -> Result<(), Fault> {
        let name = call.name()?;
        let ask = move |core: &mut netbearer_core::Core, _| {
            let default = core.named_default().map(str::to_owned).unwrap_or_default();
            (core.referred(&name), core.referring_names(), default)
        };
        let tell = |call: &Call, (referred, names, default): (Vec<Identifier>, Vec<String>, String)| {
            call.answer(&(texts(&referred), names, default));
            Ok(())
        };
        self.ask(call, ask, tell)
    }

    pub(super) fn get_interface(&self, call: Call, _: ObjectKind) -> Result<(), Fault> {
        let identifier = call.identifier()?;
        let tell = |call: &Call, interface: Option<netbearer_types::Interface>| {
            call.answer(&interface.as_ref().map(InterfaceValue::from).unwrap_or_default());
            Ok(())
        };
        self.ask(call, move |core, _| core.interface(&identifier), tell)
    }

    pub(super) fn get_exclusive(&self, call: Call, _: ObjectKind) -> Result<(), Fault> {
        let identifier = call.identifier()?;
        let tell = |call: &Call, identifiers: Vec<Identifier>| {
            call.answer(&texts(&identifiers));
            Ok(())
        };
        self.ask(call, move |core, _| core.exclusive_with(&identifier), tell)
    }

    pub(super) fn describe_steering(&self, call: Call, _: ObjectKind) -> Result<(), Fault> {
        let identifier = call.identifier()?;
        let tell = |call: &Call, steering: Option<netbearer_types::Steering>| {
            call.answer(&steering.map(|steering| json(&steering)).unwrap_or_default());
            Ok(())
        };
        self.ask(call, move |core, _| core.steering(&identifier), tell)
    }

    pub(super) fn describe_decisions(&self, call: Call, _: ObjectKind) -> Result<(), Fault> {
        let ask = |core: &mut netbearer_core::Core, _| json(&core.decisions(0).collect::<Vec<_>>());
        let tell = |call: &Call, decisions: String| {
            call.answer(&decisions);
            Ok(())
        };
        self.ask(call, ask, tell)
    }

    pub(super) fn describe_sessions(&self, call: Call, _: ObjectKind) -> Result<(), Fault> {
        let told = move |sessions: Vec<(SessionDescription, Traffic)>| {
            let described = sessions.into_iter().map(|(description, traffic)| Described { description, traffic });
            call.answer(&json(&described.collect::<Vec<_>>()));
        };
        Ok(self.service().describe_sessions(told)?)
    }

    pub(super) fn get_steps(&self, call: Call, _: ObjectKind) -> Result<(), Fault> {
        call.answer(&signals::steps_value(&self.service().steps().borrow()));
        Ok(())
    }

    pub(super) fn update_configurations(&self, call: Call, _: ObjectKind) -> Result<(), Fault> {
        let client = call.client().id();
        let tell = |call: &Call, asked: Result<(), netbearer_core::Refusal>| {
            asked?;
            call.answer(&());
            Ok(())
        };
        self.ask(call, move |core, _| core.update_configurations(client), tell)
    }

    pub(super) fn create_session(&self, call: Call, _: ObjectKind) -> Result<(), Fault> {
        let identifier = call.identifier()?;
        let token = random_token()?;
        let client = std::sync::Arc::clone(call.client());
        let ask = move |core: &mut netbearer_core::Core, _| {
            let session = core.create_session(client.id(), &identifier)?;
            core.give_token(session, token);
            // Known to be this client's before anything can be told of it.
            let snapshot = core.session(session).unwrap_or(SessionSnapshot::invalid());
            let properties = client.add_session(session, &snapshot, core.is_stakeholder(session));
            let configuration = core.session_configuration(session);
            Ok::<_, netbearer_core::Refusal>((
                session,
                configuration.unwrap_or_else(|| Configuration::invalid(identifier)),
                properties,
            ))
        };
        let tell = move |call: &Call, made: Result<_, netbearer_core::Refusal>| {
            let (session, configuration, properties): (SessionId, Configuration, _) = made?;
            let told = tell_of_session(call, session, &configuration, properties)?;
            let (path, configuration, properties) = told;
            call.answer(&(path, String::from(token), configuration, properties));
            Ok(())
        };
        self.ask(call, ask, tell)
    }

    pub(super) fn attach_session(&self, call: Call, _: ObjectKind) -> Result<(), Fault> {
        let token: String = call.arguments()?;
        let token: Token = token.parse().map_err(|error| {
            Fault::ours(ErrorName::UnknownToken, format!("there is no session with this token: {error}"))
        })?;
        let client = std::sync::Arc::clone(call.client());
        let roster = std::sync::Arc::clone(self.roster());
        let ask = move |core: &mut netbearer_core::Core, now| {
            let former = core.session_with(token).and_then(|session| core.owner(session));
            let session = core.attach_session(client.id(), token, now)?;
            if let Some(former) = former {
                roster.take_session_from(former, session);
            }
            let snapshot = core.session(session).unwrap_or(SessionSnapshot::invalid());
            let properties = client.add_session(session, &snapshot, core.is_stakeholder(session));
            let configuration = core.session_configuration(session);
            let nothing = || Configuration::invalid(Identifier::new(""));
            Ok::<_, netbearer_core::Refusal>((session, configuration.unwrap_or_else(nothing), properties))
        };
        let tell = |call: &Call, attached: Result<_, netbearer_core::Refusal>| {
            let (session, configuration, properties): (SessionId, Configuration, _) = attached?;
            call.answer(&tell_of_session(call, session, &configuration, properties)?);
            Ok(())
        };
        self.ask(call, ask, tell)
    }
}

type ToldSession = (ObjectPath<'static>, ConfigurationProperties, netbearer_dbus::SessionProperties);

/// The session as its new owner is told it.
fn tell_of_session(
    call: &Call,
    session: SessionId,
    configuration: &Configuration,
    mut properties: netbearer_dbus::SessionProperties,
) -> Result<ToldSession, Fault> {
    properties.configuration = Some(configuration.identifier.as_str().to_owned());
    let path = session_path(session.0);
    let client = call.client();
    if client.follows_objects() {
        let added = signals::objects_added(client.destination(), &path, SESSION_INTERFACE, &properties);
        client.send(Mail::Added(session), added);
    }
    let path = ObjectPath::try_from(path)
        .map_err(|error| Fault::standard(StandardError::Failed, format!("the session has no path: {error}")))?;
    Ok((path, configuration.into(), properties))
}
