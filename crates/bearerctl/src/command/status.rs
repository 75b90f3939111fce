use std::path::PathBuf;

use netbearer::{Manager, ServiceDescription, ServiceKind, SessionState};
use netbearer_dbus::socket_path;
use serde::Serialize;

use crate::{
    command::Context,
    error::Error,
    ledger::{self, Ledger},
    listing::Listing,
    output::{BUSY, DIM, GOOD},
    service::{self, Absence, Choice, Connected, SERVICE},
};

/// Everything at a glance.
#[derive(Serialize)]
struct Status {
    service: Service,
    /// None where nobody may look, so that nothing is disturbed.
    #[serde(flatten)]
    seen: Option<Seen>,
}

#[derive(Serialize)]
struct Seen {
    /// Some access point is up and has a default route.
    online: bool,
    /// What is up, on its way up or down, or waited for.
    in_use: Vec<Listing>,
}

/// Which service answers.
#[derive(Serialize)]
#[serde(tag = "kind")]
enum Service {
    /// The machine's.
    Daemon {
        version: String,
        process: u32,
        transport: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        socket: Option<PathBuf>,
        features: Vec<String>,
    },
    /// There is none.
    None { reason: Absence },
}

pub(crate) async fn run(context: &Context) -> Result<(), Error> {
    let status = match service::connect(context).await {
        Ok(Connected { manager, absence }) => Status::of(context, &manager, absence).await?,
        Err(Error::NoService(reason)) if context.service == Choice::Any => {
            Status { service: Service::None { reason }, seen: None }
        }
        Err(error) => return Err(error),
    };
    if context.output.json {
        return context.output.object(&status);
    }
    status.lines().iter().try_for_each(|line| context.output.line(line))
}

/// The same without styles, and whatever of it can be had.
pub(crate) async fn text(context: &Context, manager: &Manager, absence: Option<Absence>) -> Result<String, Error> {
    let lines = Status::of(context, manager, absence).await?.lines().join("\n");
    Ok(anstream::adapter::strip_str(&lines).to_string())
}

impl Status {
    async fn of(context: &Context, manager: &Manager, absence: Option<Absence>) -> Result<Self, Error> {
        let ledger = Ledger::read(manager).await?;
        let mut in_use = Listing::all(manager, &ledger).await?;
        in_use.retain(|listing| {
            let is_busy = matches!(
                listing.state,
                SessionState::Connected | SessionState::Connecting | SessionState::Closing | SessionState::Roaming
            );
            !listing.held_by.is_empty() || (listing.is_access_point() && is_busy)
        });
        let service = match absence {
            Some(reason) => Service::None { reason },
            None => Service::of(manager.service(), context),
        };
        Ok(Self { service, seen: Some(Seen { online: manager.is_online().await?, in_use }) })
    }

    fn lines(&self) -> Vec<String> {
        let in_use = self.seen.as_ref().map_or(&[][..], |seen| &seen.in_use);
        let width = in_use.iter().map(|listing| listing.configuration.name.chars().count()).max().unwrap_or(0);
        let width = width.max("service".len());
        let fact = |name: &str, text: String| format!("{name:<width$}   {text}");
        let mut lines = vec![fact("service", self.service.words())];
        if let Some(Seen { online, in_use }) = &self.seen {
            let online = if *online { format!("{GOOD}yes{GOOD:#}") } else { format!("{BUSY}no{BUSY:#}") };
            lines.push(fact("online", online));
            lines.extend(in_use.iter().map(|listing| fact(&listing.configuration.name, words(listing))));
            if in_use.is_empty() {
                lines.push(format!("{DIM}nothing is up{DIM:#}"));
            }
        }
        lines
    }
}

/// What is the matter with something in use, and who holds it.
fn words(listing: &Listing) -> String {
    let mut parts = vec![listing.state_words().to_owned()];
    let addresses = listing.addresses().join(", ");
    if !addresses.is_empty() {
        parts.push(addresses);
    }
    if listing.adopted {
        parts.push("kept up by others (adopted)".to_owned());
    }
    if !listing.held_by.is_empty() {
        parts.push(format!("held by {}", ledger::names(&listing.held_by)));
    }
    parts.join("; ")
}

impl Service {
    fn of(description: ServiceDescription, context: &Context) -> Self {
        let ServiceDescription { kind, version, process, features, .. } = description;
        let (transport, socket) = match kind {
            ServiceKind::SystemBus => ("system bus", None),
            _ => ("private socket", Some(socket_path(&context.directories.runtime))),
        };
        Self::Daemon { version, process, transport, socket, features }
    }

    fn words(&self) -> String {
        match self {
            Self::Daemon { version, process, transport, socket, .. } => {
                let place = socket.as_ref().map(|socket| format!(" {}", socket.display())).unwrap_or_default();
                format!("{SERVICE} {version}, process {process}, by the {transport}{place}")
            }
            Self::None { reason } => format!("none: {}; {}", reason.words(), reason.advice()),
        }
    }
}
