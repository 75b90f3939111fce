//! Calls in, replies out: which object a call is for, whether it has such a method, and who carries it out.
//!
//! Whatever a call does is one closure on the core. Its events are in the caller's outbox when the reply is put there, so
//! they are on the wire before it.

use std::sync::Arc;

use netbearer_core::{Core, SessionId};
use netbearer_dbus::{
    CHOOSER_INTERFACE, CONFIGURATION_INTERFACE, MANAGER_INTERFACE, ObjectKind, SESSION_INTERFACE, object_kind,
};
use netbearer_service::ServiceHandle;
use netbearer_types::Moment;
use zbus::Message;

use crate::{
    Client, Common, Fifos, Roster,
    call::Call,
    fault::{Fault, StandardError},
    signals::{OBJECT_MANAGER, PROPERTIES},
};

mod broker;
mod choosers;
mod manager;
mod objects;
mod properties;
mod sessions;

const INTROSPECTABLE: &str = "org.freedesktop.DBus.Introspectable";
const PEER: &str = "org.freedesktop.DBus.Peer";
const BUS: &str = "org.freedesktop.DBus";

/// Carries out the calls of all clients.
#[derive(Debug)]
pub struct Dispatcher {
    service: ServiceHandle,
    fifos: Fifos,
    roster: Arc<Roster>,
    common: Arc<Common>,
}

/// A method as the dispatcher knows it; what it returns stands in the XML only.
pub(crate) struct Method {
    interface: &'static str,
    name: &'static str,
    /// Of its arguments.
    signature: &'static str,
    carry_out: fn(&Dispatcher, Call, ObjectKind) -> Result<(), Fault>,
}

const fn method(
    interface: &'static str,
    name: &'static str,
    signature: &'static str,
    carry_out: fn(&Dispatcher, Call, ObjectKind) -> Result<(), Fault>,
) -> Method {
    Method { interface, name, signature, carry_out }
}

/// All methods there are. The first of a name is taken by who names no interface.
const METHODS: &[Method] = &[
    method(MANAGER_INTERFACE, "Subscribe", "as", Dispatcher::subscribe),
    method(MANAGER_INTERFACE, "ListConfigurations", "u", Dispatcher::list_configurations),
    method(MANAGER_INTERFACE, "ListUserChoices", "", Dispatcher::list_user_choices),
    method(MANAGER_INTERFACE, "GetConfiguration", "s", Dispatcher::get_configuration),
    method(MANAGER_INTERFACE, "GetDefaultConfiguration", "", Dispatcher::get_default_configuration),
    method(MANAGER_INTERFACE, "ResolveName", "s", Dispatcher::resolve_name),
    method(MANAGER_INTERFACE, "GetInterface", "s", Dispatcher::get_interface),
    method(MANAGER_INTERFACE, "GetExclusive", "s", Dispatcher::get_exclusive),
    method(MANAGER_INTERFACE, "DescribeSteering", "s", Dispatcher::describe_steering),
    method(MANAGER_INTERFACE, "DescribeDecisions", "", Dispatcher::describe_decisions),
    method(MANAGER_INTERFACE, "DescribeSessions", "", Dispatcher::describe_sessions),
    method(MANAGER_INTERFACE, "GetSteps", "", Dispatcher::get_steps),
    method(MANAGER_INTERFACE, "UpdateConfigurations", "", Dispatcher::update_configurations),
    method(MANAGER_INTERFACE, "CreateSession", "s", Dispatcher::create_session),
    method(MANAGER_INTERFACE, "AttachSession", "s", Dispatcher::attach_session),
    method(MANAGER_INTERFACE, "RegisterChooser", "", Dispatcher::register_chooser),
    method(SESSION_INTERFACE, "Open", "", Dispatcher::open),
    method(SESSION_INTERFACE, "Close", "", Dispatcher::close),
    method(SESSION_INTERFACE, "Stop", "", Dispatcher::stop),
    method(SESSION_INTERFACE, "HoldFd", "", Dispatcher::hold_fd),
    method(SESSION_INTERFACE, "Release", "", Dispatcher::release),
    method(SESSION_INTERFACE, "Migrate", "t", Dispatcher::migrate),
    method(SESSION_INTERFACE, "Ignore", "t", Dispatcher::ignore),
    method(SESSION_INTERFACE, "Accept", "t", Dispatcher::accept),
    method(SESSION_INTERFACE, "Reject", "t", Dispatcher::reject),
    method(SESSION_INTERFACE, "AddSocket", "ts", Dispatcher::add_socket),
    method(SESSION_INTERFACE, "GetTraffic", "", Dispatcher::get_traffic),
    method(SESSION_INTERFACE, "GetSessionTraffic", "", Dispatcher::get_session_traffic),
    method(SESSION_INTERFACE, "GetProperty", "s", Dispatcher::get_session_property),
    method(SESSION_INTERFACE, "SetProperty", "sv", Dispatcher::set_session_property),
    method(SESSION_INTERFACE, "UnsetProperty", "s", Dispatcher::unset_session_property),
    method(CHOOSER_INTERFACE, "Answer", "ts", Dispatcher::answer),
    method(CHOOSER_INTERFACE, "Unregister", "", Dispatcher::unregister),
    method(PROPERTIES, "Get", "ss", Dispatcher::get),
    method(PROPERTIES, "GetAll", "s", Dispatcher::get_all),
    method(PROPERTIES, "Set", "ssv", Dispatcher::set),
    method(OBJECT_MANAGER, "GetManagedObjects", "", Dispatcher::get_managed_objects),
    method(INTROSPECTABLE, "Introspect", "", Dispatcher::introspect),
    method(PEER, "Ping", "", Dispatcher::ping),
    method(PEER, "GetMachineId", "", Dispatcher::get_machine_id),
    method(BUS, "Hello", "", Dispatcher::hello),
    method(BUS, "AddMatch", "s", Dispatcher::add_match),
    method(BUS, "RemoveMatch", "s", Dispatcher::remove_match),
    method(BUS, "GetNameOwner", "s", Dispatcher::get_name_owner),
    method(BUS, "NameHasOwner", "s", Dispatcher::name_has_owner),
    method(BUS, "StartServiceByName", "su", Dispatcher::start_service_by_name),
    method(BUS, "ListNames", "", Dispatcher::list_names),
    method(BUS, "ListActivatableNames", "", Dispatcher::list_activatable_names),
];

/// Those whose answers grow with what there is.
const LONG: [&str; 8] = [
    "ListConfigurations",
    "ListUserChoices",
    "ResolveName",
    "DescribeDecisions",
    "DescribeSessions",
    "GetSteps",
    "GetManagedObjects",
    "Introspect",
];

/// The interface that only this kind of object has.
const fn own_interface(object: &ObjectKind) -> Option<&'static str> {
    match object {
        ObjectKind::Root => Some(OBJECT_MANAGER),
        ObjectKind::Branch => None,
        ObjectKind::Manager => Some(MANAGER_INTERFACE),
        ObjectKind::Configuration(_) => Some(CONFIGURATION_INTERFACE),
        ObjectKind::Session(_) => Some(SESSION_INTERFACE),
        ObjectKind::Chooser(_) => Some(CHOOSER_INTERFACE),
        ObjectKind::Bus => Some(BUS),
    }
}

fn has_interface(object: &ObjectKind, interface: &str) -> bool {
    own_interface(object) == Some(interface) || [PROPERTIES, INTROSPECTABLE, PEER].contains(&interface)
}

fn unknown_object(path: &str) -> Fault {
    Fault::standard(StandardError::UnknownObject, format!("there is no object {path}"))
}

impl Dispatcher {
    /// One that carries calls out by this service, and makes holds of these FIFOs.
    #[must_use]
    pub fn new(service: ServiceHandle, fifos: Fifos, roster: Arc<Roster>, common: Arc<Common>) -> Self {
        Self { service, fifos, roster, common }
    }

    pub(crate) const fn service(&self) -> &ServiceHandle {
        &self.service
    }

    pub(crate) const fn roster(&self) -> &Arc<Roster> {
        &self.roster
    }

    pub(crate) const fn common(&self) -> &Arc<Common> {
        &self.common
    }

    /// Takes a call. The reply comes into the client's outbox, after what the call has caused.
    pub fn dispatch(&self, client: &Arc<Client>, message: Message) {
        let call = Call::new(Arc::clone(client), message.clone());
        if let Err(fault) = self.pass_on(call, &message) {
            Call::new(Arc::clone(client), message).fail(&fault);
        }
    }

    fn pass_on(&self, mut call: Call, message: &Message) -> Result<(), Fault> {
        let header = message.header();
        let path = header.path().map(|path| path.as_str()).unwrap_or_default();
        let object = object_kind(path).ok_or_else(|| unknown_object(path))?;
        let is_there = match &object {
            ObjectKind::Session(number) => call.client().has_session(SessionId(*number)),
            ObjectKind::Chooser(number) => call.client().has_chooser(netbearer_core::ChooserId(*number)),
            ObjectKind::Bus => !call.client().is_on_bus(),
            _ => true,
        };
        if !is_there {
            return Err(unknown_object(path));
        }
        let interface = header.interface().map(|interface| interface.as_str());
        if let Some(interface) = interface.filter(|interface| !has_interface(&object, interface)) {
            let sentence = format!("{path} has no interface {interface}");
            return Err(Fault::standard(StandardError::UnknownInterface, sentence));
        }
        let name = header.member().map(|member| member.as_str()).unwrap_or_default();
        let mut methods =
            METHODS.iter().filter(|method| method.name == name && has_interface(&object, method.interface));
        let method = methods.find(|method| interface.is_none_or(|interface| interface == method.interface));
        let method = method.ok_or_else(|| {
            Fault::standard(StandardError::UnknownMethod, format!("{path} has no method {name} of that interface"))
        })?;
        call.expect(method.signature)?;
        if LONG.contains(&method.name) {
            call.may_be_long();
        }
        (method.carry_out)(self, call, object)
    }

    /// Runs `ask` on the core; `tell` answers the caller with what comes of it, unless that is an error.
    fn ask<T: Send + 'static>(
        &self,
        call: Call,
        ask: impl FnOnce(&mut Core, Moment) -> T + Send + 'static,
        tell: impl FnOnce(&Call, T) -> Result<(), Fault> + Send + 'static,
    ) -> Result<(), Fault> {
        let told = move |result| {
            if let Err(fault) = tell(&call, result) {
                call.fail(&fault);
            }
        };
        Ok(self.service.cast_then(ask, told)?)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use netbearer_dbus::INTERFACES;

    use super::*;

    /// Interface, name and signature of every method that the XML has.
    fn methods_in_xml() -> BTreeSet<(String, String, String)> {
        let mut methods = BTreeSet::new();
        for (interface, xml) in INTERFACES {
            for method in xml.split("<method ").skip(1) {
                let name = attribute(method, "name");
                let opening = method.split('>').next().unwrap();
                let inside = if opening.ends_with('/') { "" } else { method.split("</method>").next().unwrap() };
                let arguments = inside.split("<arg ").skip(1).filter(|arg| attribute(arg, "direction") == "in");
                let signature: String = arguments.map(|arg| attribute(arg, "type")).collect();
                assert!(methods.insert((interface.to_owned(), name, signature)));
            }
        }
        methods
    }

    fn attribute(element: &str, name: &str) -> String {
        let element = element.split('>').next().unwrap();
        let after = element.split(&format!("{name}=\"")).nth(1).unwrap_or_default();
        after.split('"').next().unwrap().to_owned()
    }

    #[test]
    fn those_with_long_answers_are_methods() {
        assert!(LONG.iter().all(|name| METHODS.iter().any(|method| method.name == *name)));
    }

    #[test]
    fn the_methods_are_those_of_the_xml() {
        let ours = METHODS.iter().filter(|method| method.interface.starts_with("org.netbearer."));
        let ours: BTreeSet<(String, String, String)> = ours
            .map(|method| (method.interface.to_owned(), method.name.to_owned(), method.signature.to_owned()))
            .collect();
        assert_eq!(ours, methods_in_xml());
    }
}
