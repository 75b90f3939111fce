use std::sync::Arc;

use netbearer_dbus::ErrorName;
use netbearer_types::Identifier;
use serde::{Serialize, de::DeserializeOwned};
use zbus::{
    DynamicType, Message, Type,
    message::{Flags, Header},
};

use crate::{
    Client, Mail,
    fault::{Fault, StandardError},
    outbox::REPLIES,
};

/// Octets of an identifier or name that a client may give, which may be kept for as long as its session.
const LONGEST_NAME: usize = 255;

/// Whether a name is not too long.
pub(crate) fn fitting(name: String) -> Result<String, Fault> {
    if name.len() <= LONGEST_NAME {
        return Ok(name);
    }
    let sentence = format!("identifiers and names have at most {LONGEST_NAME} octets, and this one has {}", name.len());
    Err(Fault::ours(ErrorName::LimitsExceeded, sentence))
}

/// A method call, and who is waiting for its answer. It counts as not answered for as long as there is one.
#[derive(Debug)]
pub(crate) struct Call {
    client: Arc<Client>,
    message: Message,
    /// How many it counts as, of those that are not answered.
    weight: usize,
}

impl Drop for Call {
    fn drop(&mut self) {
        self.client.finish_calls(self.weight);
    }
}

impl Call {
    pub(crate) fn new(client: Arc<Client>, message: Message) -> Self {
        client.begin_calls(1);
        Self { client, message, weight: 1 }
    }

    /// Its answer may be long, so no further call is read before that is made.
    pub(crate) fn may_be_long(&mut self) {
        self.client.begin_calls(REPLIES);
        self.weight += REPLIES;
    }

    pub(crate) const fn client(&self) -> &Arc<Client> {
        &self.client
    }

    pub(crate) fn header(&self) -> Header<'_> {
        self.message.header()
    }

    /// What the caller has passed.
    pub(crate) fn arguments<T: DeserializeOwned + Type>(&self) -> Result<T, Fault> {
        let body = self.message.body();
        let wrong = |error: zbus::Error| Fault::standard(StandardError::InvalidArgs, format!("bad arguments: {error}"));
        body.deserialize_ignore_signature().map_err(wrong)
    }

    /// The identifier or name of a configuration, which is all that the caller has passed.
    pub(crate) fn name(&self) -> Result<String, Fault> {
        fitting(self.arguments()?)
    }

    /// The same, where only an identifier will do.
    pub(crate) fn identifier(&self) -> Result<Identifier, Fault> {
        self.name().map(Identifier::new)
    }

    /// Whether the caller has passed what a method with this signature takes.
    pub(crate) fn expect(&self, signature: &str) -> Result<(), Fault> {
        let passed = self.message.body().signature().to_string_no_parens();
        if passed == signature {
            return Ok(());
        }
        let sentence = format!("the method takes arguments of the signature \"{signature}\", not \"{passed}\"");
        Err(Fault::standard(StandardError::InvalidArgs, sentence))
    }

    /// Answers the call.
    pub(crate) fn answer<B: Serialize + DynamicType>(&self, body: &B) {
        self.reply(|header| Message::method_return(header).build(body));
    }

    /// Answers the call with an error.
    pub(crate) fn fail(&self, fault: &Fault) {
        self.reply(|header| fault.reply(header));
    }

    fn reply(&self, build: impl FnOnce(&Header<'_>) -> zbus::Result<Message>) {
        let header = self.header();
        if header.primary().flags().contains(Flags::NO_REPLY_EXPECTED) {
            return;
        }
        let reply = build(&header).or_else(|error| {
            tracing::error!("a reply could not be made: {error}");
            Fault::standard(StandardError::Failed, "the reply could not be made").reply(&header)
        });
        self.client.send(Mail::Reply, reply.ok());
    }
}
