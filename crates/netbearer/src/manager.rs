use std::sync::Arc;

use netbearer_core::Decision;
use netbearer_types::{Capabilities, Configuration, Identifier, Interface, ManagerEvent, StateFlags, Steering};

#[cfg(feature = "embedded")]
use crate::Embedded;
use crate::{
    CallError, Chooser, Daemon, Events, FindError, ManagerError, News, ServiceDescription, Session, SessionListing,
    Steps, backend::Backend,
};

/// Names nearer than this many changed letters are suggested.
const SUGGESTION_DISTANCE: usize = 3;

/// The way in: what there is to open sessions on.
///
/// Cheap to clone. When the last clone and the last session are gone, what is in this process of the service ends: the
/// connection to the daemon, or an embedded service, which takes down what is ours first. Dropping that last one waits for
/// it.
#[derive(Clone, Debug)]
pub struct Manager {
    backend: Arc<dyn Backend>,
}

impl Manager {
    pub(crate) fn new(backend: Arc<dyn Backend>) -> Self {
        Self { backend }
    }

    /// A manager that talks to the daemon, which counts the sessions of all programs and users. It is always the daemon: while
    /// that is away, or not there yet, it is waited for. [`Daemon`] says more.
    ///
    /// # Errors
    /// [`ManagerError::NoDaemon`] if there is none for ten seconds.
    pub async fn connect() -> Result<Self, ManagerError> {
        Daemon::default().connect().await
    }

    /// A manager with a service of its own, in a thread of this process, for the network namespace of the calling
    /// thread. Sessions are counted within this process. Returns after everything there is has been looked at.
    ///
    /// # Errors
    /// When the network cannot be looked at, or a profile is malformed.
    #[cfg(feature = "embedded")]
    pub async fn embedded() -> Result<Self, ManagerError> {
        Embedded::default().start().await
    }

    /// Which service this is.
    #[must_use]
    pub fn service(&self) -> ServiceDescription {
        self.backend.service()
    }

    /// Access points and service networks whose flags contain `filter`; all of them without one.
    ///
    /// # Errors
    /// [`CallError::ServiceLost`], [`CallError::ServiceGone`].
    pub async fn configurations(&self, filter: Option<StateFlags>) -> Result<Vec<Configuration>, CallError> {
        self.backend.configurations(filter).await
    }

    /// All user choices, which are not among [`Manager::configurations`]: for people who look for what they can name.
    ///
    /// # Errors
    /// [`CallError::ServiceLost`], [`CallError::ServiceGone`].
    pub async fn user_choices(&self) -> Result<Vec<Configuration>, CallError> {
        self.backend.user_choices().await
    }

    /// The configuration a program without wishes of its own should open; none if nothing can be opened, or if the one that
    /// files name as the default is nowhere to be found.
    ///
    /// # Errors
    /// [`CallError::ServiceLost`], [`CallError::ServiceGone`].
    pub async fn default_configuration(&self) -> Result<Option<Configuration>, CallError> {
        self.backend.default_configuration().await
    }

    /// The configuration with this identifier; an invalid one if there is none.
    ///
    /// # Errors
    /// [`CallError::ServiceLost`], [`CallError::ServiceGone`].
    pub async fn configuration(&self, identifier: &Identifier) -> Result<Configuration, CallError> {
        let found = self.backend.configuration(identifier.clone()).await?;
        Ok(found.unwrap_or_else(|| Configuration::invalid(identifier.clone())))
    }

    /// The configuration that a person means: by identifier, else by name, else by interface name, else by the name of the
    /// file that it is from. The default one if nothing is named.
    ///
    /// # Errors
    /// When there is none, with near names; or several, with their identifiers. When files name a default that is nowhere to
    /// be found.
    pub async fn find(&self, wanted: Option<&str>) -> Result<Configuration, FindError> {
        let default = match wanted {
            Some(_) => None,
            None => self.default_configuration().await?,
        };
        if let Some(default) = default {
            return Ok(default);
        }
        let Some(wanted) = wanted else { return Err(self.without_default().await) };
        let mut all = self.configurations(None).await?;
        all.extend(self.user_choices().await?);
        let by: [fn(&Configuration) -> Option<&str>; 3] = [
            |configuration| Some(configuration.identifier.as_str()),
            |configuration| Some(configuration.name.as_str()),
            |configuration| configuration.interface_name.as_deref(),
        ];
        for key in by {
            let found = all.iter().filter(|one| key(one) == Some(wanted));
            if let Some(found) = the_only(wanted, found)? {
                return Ok(found.clone());
            }
        }
        let of_files = self.backend.resolve(wanted.to_owned()).await?;
        let found = all.iter().filter(|one| of_files.referred.contains(&one.identifier));
        if let Some(found) = the_only(wanted, found)? {
            return Ok(found.clone());
        }
        let names = all.into_iter().map(|one| one.name).chain(of_files.names);
        Err(FindError::Unknown { wanted: wanted.to_owned(), near: near(wanted, names) })
    }

    async fn without_default(&self) -> FindError {
        match self.backend.resolve(String::new()).await {
            Ok(of_files) => match of_files.default {
                Some(named) => FindError::UnknownDefault { near: near(&named, of_files.names), named },
                None => FindError::NoDefault,
            },
            Err(error) => error.into(),
        }
    }

    /// Makes a session, which only watches until it is opened. Returns after its first snapshot.
    ///
    /// # Errors
    /// When the limit of watching sessions is reached.
    pub async fn session(&self, configuration: &Configuration) -> Result<Session, CallError> {
        let made = Arc::clone(&self.backend).make_session(configuration.identifier.clone()).await?;
        Ok(Session::new(Arc::clone(&self.backend), made))
    }

    /// True if an access point is up without the service, so that the last close leaves it up. No event tells of it; see
    /// [`Manager::news`].
    ///
    /// # Errors
    /// [`CallError::ServiceLost`], [`CallError::ServiceGone`].
    pub async fn is_adopted(&self, identifier: &Identifier) -> Result<bool, CallError> {
        self.backend.is_adopted(identifier.clone()).await
    }

    /// True if some access point is Active and has a default route.
    ///
    /// # Errors
    /// [`CallError::ServiceLost`], [`CallError::ServiceGone`].
    pub async fn is_online(&self) -> Result<bool, CallError> {
        self.backend.is_online().await
    }

    /// What can be done with some configuration at least.
    ///
    /// # Errors
    /// [`CallError::ServiceLost`], [`CallError::ServiceGone`].
    pub async fn capabilities(&self) -> Result<Capabilities, CallError> {
        self.backend.capabilities().await
    }

    /// Asks for a look at everything anew. One UpdateCompleted event follows for each call.
    ///
    /// # Errors
    /// [`CallError::ServiceLost`], [`CallError::ServiceGone`]; [`CallError::LimitReached`] while sixteen of this manager's
    /// requests wait.
    pub async fn update_configurations(&self) -> Result<(), CallError> {
        self.backend.update_configurations().await
    }

    /// The events from now on: configurations that come, change and go, and whether the machine is online.
    #[must_use]
    pub fn events(&self) -> Events<ManagerEvent> {
        self.backend.events()
    }

    /// What is being done with access points on their way up or down. Of the daemon's nothing is known before it has answered
    /// this once, so they are to be asked for early; [`Steps::changed`] tells when it has.
    #[must_use]
    pub fn steps(&self) -> Steps {
        self.backend.steps()
    }

    /// That something which can be asked may be different now.
    #[must_use]
    pub fn news(&self) -> News {
        self.backend.news()
    }

    /// Answers the questions of user choices from now on, for sessions of this user: the newest chooser is asked. As long as
    /// there is none, the most preferred choice is taken (semantics §6).
    ///
    /// # Errors
    /// [`CallError::ServiceLost`], [`CallError::ServiceGone`].
    pub async fn chooser(&self) -> Result<Chooser, CallError> {
        let made = Arc::clone(&self.backend).make_chooser().await?;
        Ok(Chooser::new(Arc::clone(&self.backend), made))
    }

    /// The interface of an access point, whatever its state; none while it is unplugged.
    ///
    /// # Errors
    /// [`CallError::ServiceLost`], [`CallError::ServiceGone`].
    pub async fn interface(&self, identifier: &Identifier) -> Result<Option<Interface>, CallError> {
        self.backend.interface(identifier.clone()).await
    }

    /// Whose packets go where on an access point, as far as it is not as usual: a full-tunnel VPN beside it, and what does not
    /// work. None if there is no such access point.
    ///
    /// # Errors
    /// [`CallError::ServiceLost`], [`CallError::ServiceGone`].
    pub async fn steering(&self, identifier: &Identifier) -> Result<Option<Steering>, CallError> {
        self.backend.steering(identifier.clone()).await
    }

    /// The other access points of the same device: one of them is up at a time (semantics §3, "Exclusive").
    ///
    /// # Errors
    /// [`CallError::ServiceLost`], [`CallError::ServiceGone`].
    pub async fn exclusive_with(&self, identifier: &Identifier) -> Result<Vec<Identifier>, CallError> {
        self.backend.exclusive_with(identifier.clone()).await
    }

    /// The decisions made so far, with their inputs; the oldest may be forgotten.
    ///
    /// # Errors
    /// [`CallError::ServiceLost`], [`CallError::ServiceGone`].
    pub async fn decisions(&self) -> Result<Vec<Decision>, CallError> {
        self.backend.decisions().await
    }

    /// All sessions that the service counts, of whatever program and user they are: who holds what. An embedded service counts
    /// those of this process.
    ///
    /// # Errors
    /// [`CallError::ServiceLost`], [`CallError::ServiceGone`].
    pub async fn sessions(&self) -> Result<Vec<SessionListing>, CallError> {
        self.backend.sessions().await
    }

    /// Closes every session that this program has of the service, and ends what is in this process of it: an embedded service,
    /// after taking down what is ours, or the connection to the daemon, which goes on for others. Returns when that has
    /// happened.
    pub async fn shutdown(&self) {
        self.backend.shutdown().await;
    }
}

/// None of none.
fn the_only<'a>(
    wanted: &str,
    found: impl Iterator<Item = &'a Configuration>,
) -> Result<Option<&'a Configuration>, FindError> {
    let found: Vec<&Configuration> = found.collect();
    match found.as_slice() {
        [] => Ok(None),
        [one] => Ok(Some(one)),
        several => {
            let identifiers = several.iter().map(|one| one.identifier.clone()).collect();
            Err(FindError::Ambiguous { wanted: wanted.to_owned(), identifiers })
        }
    }
}

fn near(wanted: &str, names: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut names: Vec<(usize, String)> = names
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(wanted, &name), name))
        .filter(|(distance, _)| *distance <= SUGGESTION_DISTANCE)
        .collect();
    names.sort_unstable();
    names.dedup();
    names.into_iter().take(3).map(|(_, name)| name).collect()
}
