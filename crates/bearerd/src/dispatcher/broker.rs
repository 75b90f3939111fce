//! What tools expect of a bus, on the private socket: `busctl --address`, `gdbus --address` and the like say hello to a bus, and
//! ask it for names, before they do anything else.

use netbearer_core::ClientId;
use netbearer_dbus::{BUS_NAME, ObjectKind};

use crate::{
    call::Call,
    client::Topics,
    dispatcher::{BUS, Dispatcher},
    fault::{Fault, StandardError},
};

/// Our own, on each connection.
const OUR_UNIQUE_NAME: &str = ":1.0";
/// `DBUS_START_REPLY_ALREADY_RUNNING`.
const ALREADY_RUNNING: u32 = 2;

fn unique_name(client: ClientId) -> String {
    format!(":1.{}", client.0)
}

fn owner(call: &Call, name: &str) -> Option<String> {
    let caller = unique_name(call.client().id());
    match name {
        BUS => Some(BUS.to_owned()),
        BUS_NAME | OUR_UNIQUE_NAME => Some(OUR_UNIQUE_NAME.to_owned()),
        name => (name == caller).then_some(caller),
    }
}

impl Dispatcher {
    pub(super) fn hello(&self, call: Call, _: ObjectKind) -> Result<(), Fault> {
        call.answer(&unique_name(call.client().id()));
        Ok(())
    }

    /// Whoever asks for signals of a bus wants those that a bus would carry.
    pub(super) fn add_match(&self, call: Call, _: ObjectKind) -> Result<(), Fault> {
        let topics = call.client().topics();
        call.client().set_topics(Topics { configurations: true, ..topics });
        call.answer(&());
        Ok(())
    }

    pub(super) fn remove_match(&self, call: Call, _: ObjectKind) -> Result<(), Fault> {
        call.answer(&());
        Ok(())
    }

    pub(super) fn get_name_owner(&self, call: Call, _: ObjectKind) -> Result<(), Fault> {
        let name: String = call.arguments()?;
        let owner = owner(&call, &name);
        let nobody = || Fault::standard(StandardError::NameHasNoOwner, format!("nobody here has the name {name}"));
        call.answer(&owner.ok_or_else(nobody)?);
        Ok(())
    }

    pub(super) fn name_has_owner(&self, call: Call, _: ObjectKind) -> Result<(), Fault> {
        let name: String = call.arguments()?;
        call.answer(&owner(&call, &name).is_some());
        Ok(())
    }

    pub(super) fn start_service_by_name(&self, call: Call, _: ObjectKind) -> Result<(), Fault> {
        let (name, _): (String, u32) = call.arguments()?;
        if owner(&call, &name).is_none() {
            return Err(Fault::standard(StandardError::ServiceUnknown, format!("there is no service {name} here")));
        }
        call.answer(&ALREADY_RUNNING);
        Ok(())
    }

    pub(super) fn list_names(&self, call: Call, _: ObjectKind) -> Result<(), Fault> {
        call.answer(&[BUS, BUS_NAME, OUR_UNIQUE_NAME, unique_name(call.client().id()).as_str()].as_slice());
        Ok(())
    }

    pub(super) fn list_activatable_names(&self, call: Call, _: ObjectKind) -> Result<(), Fault> {
        call.answer(&[BUS].as_slice());
        Ok(())
    }
}
