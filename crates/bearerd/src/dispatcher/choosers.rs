//! `org.netbearer.Chooser1`, and how there comes to be one.

use netbearer_core::{ChooserId, Core, QuestionNumber, Refusal};
use netbearer_dbus::{CHOOSER_INTERFACE, ErrorName, ObjectKind, chooser_path};
use netbearer_types::Identifier;
use zbus::ObjectPath;

use crate::{
    Mail,
    call::{Call, fitting},
    dispatcher::Dispatcher,
    fault::{Fault, StandardError},
    signals,
};

/// More than one is for programs that ask in several places.
const CHOOSERS: usize = 16;

/// An object without properties.
type NoProperties = std::collections::HashMap<String, zbus::OwnedVariant>;

const fn chooser(object: &ObjectKind) -> ChooserId {
    match object {
        ObjectKind::Chooser(number) => ChooserId(*number),
        // Never used for a chooser.
        _ => ChooserId(u64::MAX),
    }
}

impl Dispatcher {
    pub(super) fn register_chooser(&self, call: Call, _: ObjectKind) -> Result<(), Fault> {
        let client = std::sync::Arc::clone(call.client());
        let ask = move |core: &mut Core, _| {
            if client.choosers().len() >= CHOOSERS {
                let sentence = format!("a client may have {CHOOSERS} choosers; unregister some");
                return Err(Fault::ours(ErrorName::LimitsExceeded, sentence));
            }
            let chooser = core.add_chooser(client.id());
            client.add_chooser(chooser);
            Ok(chooser)
        };
        let tell = |call: &Call, chooser: Result<ChooserId, Fault>| {
            let (client, path) = (call.client(), chooser_path(chooser?.0));
            if client.follows_objects() {
                let nothing = NoProperties::new();
                let added = signals::objects_added(client.destination(), &path, CHOOSER_INTERFACE, &nothing);
                client.send(Mail::Signal, added);
            }
            let path = ObjectPath::try_from(path)
                .map_err(|error| Fault::standard(StandardError::Failed, format!("the chooser has no path: {error}")))?;
            call.answer(&path);
            Ok(())
        };
        self.ask(call, ask, tell)
    }

    pub(super) fn answer(&self, call: Call, _: ObjectKind) -> Result<(), Fault> {
        let (question, choice): (u64, String) = call.arguments()?;
        let client = call.client().id();
        let choice = fitting(choice)?;
        let choice = (!choice.is_empty()).then(|| Identifier::new(choice));
        let ask = move |core: &mut Core, now| core.answer(client, QuestionNumber(question), choice.as_ref(), now);
        let tell = |call: &Call, outcome: Result<(), Refusal>| {
            outcome?;
            call.answer(&());
            Ok(())
        };
        self.ask(call, ask, tell)
    }

    pub(super) fn unregister(&self, call: Call, object: ObjectKind) -> Result<(), Fault> {
        let (client, chooser) = (std::sync::Arc::clone(call.client()), chooser(&object));
        let ask = move |core: &mut Core, now| {
            if client.remove_chooser(chooser) {
                core.remove_chooser(chooser, now);
            }
            chooser
        };
        let tell = |call: &Call, chooser: ChooserId| {
            let client = call.client();
            if client.follows_objects() {
                let path = chooser_path(chooser.0);
                let removed = signals::objects_removed(client.destination(), &path, CHOOSER_INTERFACE);
                client.send(Mail::Signal, removed);
            }
            call.answer(&());
            Ok(())
        };
        self.ask(call, ask, tell)
    }
}
