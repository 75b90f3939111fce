//! Brings one access point to its target, from wherever it is.

use std::{io, net::IpAddr, sync::Arc};

use netbearer_dhcp::{Event, Lease, LossReason, RememberedLease};
use netbearer_engine::Clock;
use netbearer_kernel::{BootClock, RequestError, Requests};
use netbearer_types::{BearerFamily, CommandNumber, FailureReason, Family, Identifier, Profile, Stage, Step, Target};
use tokio::sync::{mpsc, watch};

use crate::{
    installation::{Installation, LeaseParts},
    lease::LeaseKeeper,
    notes::{Note, Notes},
    ownership::{Claim, Ownership, OwnershipError},
    remembered::RememberedLeases,
    spare_socket::SpareSocket,
    steering::{self, Numbers, Steering},
};

/// What all workers share.
pub(crate) struct Context {
    pub(crate) requests: Requests,
    pub(crate) clock: BootClock,
    pub(crate) ownership: Ownership,
    pub(crate) notes: Notes,
    pub(crate) remembered: RememberedLeases,
    pub(crate) numbers: Numbers,
    pub(crate) spare: SpareSocket,
    pub(crate) boot: String,
}

/// Where a worker shall go.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    pub(crate) number: CommandNumber,
    pub(crate) target: Target,
    pub(crate) profile: Profile,
    pub(crate) foreign_tables: std::collections::BTreeSet<u32>,
}

/// What a worker sees of its link; none while the interface is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LinkView {
    pub(crate) index: u32,
    pub(crate) name: String,
    pub(crate) hardware_address: Vec<u8>,
    pub(crate) administratively_up: bool,
    pub(crate) carrier: bool,
    pub(crate) carrier_losses: u32,
    pub(crate) family: BearerFamily,
}

/// What a worker has to say.
#[derive(Debug)]
pub(crate) struct News {
    pub(crate) identifier: Identifier,
    pub(crate) topic: Topic,
}

#[derive(Debug)]
pub(crate) enum Topic {
    /// How far it is.
    Progress(CommandNumber, Stage),
    /// Name servers and search domains of the lease; none when there is no lease.
    Names(Vec<IpAddr>, Vec<String>),
}

pub(crate) struct Worker {
    context: Arc<Context>,
    identifier: Identifier,
    orders: watch::Receiver<Order>,
    link: watch::Receiver<Option<LinkView>>,
    news: mpsc::UnboundedSender<News>,
    /// Held from before the first change until everything of ours is gone.
    claim: Option<Claim>,
    steering: Option<Steering>,
    installation: Installation,
    /// The interface as it was found, once we have changed it.
    found: Option<Note>,
    lease: Option<LeaseKeeper>,
}

/// Why a target cannot be reached.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WorkError {
    #[error("{0}")]
    Ownership(#[from] OwnershipError),
    #[error("the note of how {interface} was found could not be written to the runtime directory")]
    Note { interface: String, source: io::Error },
    #[error("{0}")]
    Request(#[from] RequestError),
    #[error("the DHCP client could not open its socket on {interface}")]
    Socket { interface: String, source: io::Error },
    #[error("every routing table for access points is in use")]
    NoTable,
    #[error("{interface} has no Ethernet address, so DHCP cannot be spoken on it")]
    NoHardwareAddress { interface: String },
    #[error("the interface is gone")]
    Gone,
    #[error("{0}, and no other lease came in time")]
    LeaseLost(LossReason),
}

impl Worker {
    pub(crate) fn new(
        context: Arc<Context>,
        identifier: Identifier,
        orders: watch::Receiver<Order>,
        link: watch::Receiver<Option<LinkView>>,
        news: mpsc::UnboundedSender<News>,
    ) -> Self {
        Self {
            context,
            identifier,
            orders,
            link,
            news,
            claim: None,
            steering: None,
            installation: Installation::default(),
            found: None,
            lease: None,
        }
    }

    /// Follows the orders until nobody can give any.
    pub(crate) async fn run(mut self) {
        loop {
            let order = self.orders.borrow_and_update().clone();
            let mut overtaken = self.orders.clone();
            let number = order.number;
            match order.target {
                Target::Released | Target::Stopped => {
                    self.tell(number, Stage::Working(Step::Removing));
                    match self.release(&order).await {
                        Ok(()) => self.tell(number, Stage::Reached),
                        Err(error) => self.tell_failure(number, &error),
                    }
                }
                Target::Sensed | Target::Configured => {
                    tokio::select! {
                        biased;
                        changed = overtaken.changed() => {
                            if changed.is_err() { return; }
                            continue;
                        }
                        error = self.bring_up(&order) => self.tell_failure(number, &error),
                    }
                }
            }
            if self.orders.changed().await.is_err() {
                return;
            }
        }
    }

    /// Goes to Sensed or Configured and stays there; returns only when that fails.
    async fn bring_up(&mut self, order: &Order) -> WorkError {
        let result = match order.target {
            Target::Configured => self.configure(order).await,
            _ => self.sense(order).await,
        };
        match result {
            Ok(never) => match never {},
            Err(error) => error,
        }
    }

    async fn sense(&mut self, order: &Order) -> Result<Never, WorkError> {
        self.tell(order.number, Stage::Working(Step::Preparing));
        self.drop_lease().await;
        let link = self.prepare()?;
        self.set_up(&link).await?;
        self.tell(order.number, Stage::Reached);
        std::future::pending().await
    }

    async fn configure(&mut self, order: &Order) -> Result<Never, WorkError> {
        self.tell(order.number, Stage::Working(Step::Preparing));
        let link = self.prepare()?;
        self.set_up(&link).await?;
        loop {
            self.tell(order.number, Stage::Working(Step::AwaitingCarrier));
            // The kernel needs a moment for the carrier, and the server one for its answer: what else there is to do is
            // done meanwhile.
            let prepared = self.open_lease(&link)?;
            let link = carrier(&mut self.link).await?;
            self.tell(order.number, Stage::Working(Step::AcquiringLease));
            let lease = if prepared.interface() == link.index { prepared } else { self.open_lease(&link)? };
            self.lease.insert(lease).start().await;
            self.ask_for_rules(order, &link)?;
            let mut watched = self.link.clone();
            tokio::select! {
                lease = self.first_lease(&link) => return self.keep(order, &link, lease?).await,
                // Perhaps it is another network now.
                () = lost(&mut watched, link.carrier_losses) => self.drop_lease().await,
            }
        }
    }

    async fn first_lease(&mut self, link: &LinkView) -> Result<Lease, WorkError> {
        loop {
            if let Event::Acquired(lease) = self.lease_event(link).await? {
                return Ok(lease);
            }
        }
    }

    /// Installs the lease, and keeps it for as long as the core lets it. A loss of carrier is the core's to judge.
    async fn keep(&mut self, order: &Order, link: &LinkView, lease: Lease) -> Result<Never, WorkError> {
        self.install(order, link, lease).await?;
        loop {
            match self.lease_event(link).await? {
                Event::Acquired(lease) => self.install(order, link, lease).await?,
                Event::Renewed { lease, changed } => {
                    if changed {
                        complain(&self.identifier, self.installation.remove_lease(&self.context.requests).await);
                    }
                    self.install(order, link, lease).await?;
                }
                Event::Lost(reason) => {
                    self.tell(order.number, Stage::Working(Step::AcquiringLease));
                    self.remove_lease_parts().await;
                    if reason == LossReason::Expired {
                        return Err(WorkError::LeaseLost(reason));
                    }
                }
            }
        }
    }

    async fn lease_event(&mut self, link: &LinkView) -> Result<Event, WorkError> {
        let Some(lease) = self.lease.as_mut() else { return Err(WorkError::Gone) };
        lease.event().await.map_err(|source| WorkError::Socket { interface: link.name.clone(), source })
    }

    async fn install(&mut self, order: &Order, link: &LinkView, lease: Lease) -> Result<(), WorkError> {
        let Some(steering) = &self.steering else { return Err(WorkError::NoTable) };
        let now = self.context.clock.now();
        let parts = LeaseParts {
            interface: link.index,
            lease: lease.clone(),
            metric: steering::metric(link.family, order.profile.preference, steering),
            default_route: order.profile.default_route,
        };
        self.tell_names(&lease);
        self.tell(order.number, Stage::Working(Step::Configuring));
        self.installation.add_lease(&self.context.requests, steering, parts, now).await?;
        if let Some(keeper) = &mut self.lease {
            keeper.address_installed();
        }
        self.context.spare.replenish();
        if !order.profile.dhcp_release {
            let remembered = RememberedLease::new(&lease, now, std::time::SystemTime::now());
            self.context.remembered.put(&self.identifier, remembered);
        }
        self.tell(order.number, Stage::Reached);
        Ok(())
    }

    /// Takes the lock and notes how the interface was found, before the first change.
    fn prepare(&mut self) -> Result<LinkView, WorkError> {
        let link = self.link.borrow_and_update().clone().ok_or(WorkError::Gone)?;
        if self.claim.is_none() {
            self.claim = Some(self.context.ownership.claim()?);
        }
        if self.found.as_ref().is_none_or(|found| found.index != link.index) {
            let note = Note {
                boot: self.context.boot.clone(),
                index: link.index,
                name: link.name.clone(),
                hardware_address: hexadecimal(&link.hardware_address),
                administratively_up: link.administratively_up,
            };
            let written = self.context.notes.write(&note);
            written.map_err(|source| WorkError::Note { interface: link.name.clone(), source })?;
            if let Some(former) = self.found.replace(note) {
                self.context.notes.remove(former.index);
            }
        }
        Ok(link)
    }

    fn set_up(&self, link: &LinkView) -> impl Future<Output = Result<(), RequestError>> + use<> {
        let asked = (!link.administratively_up).then(|| self.context.requests.set_link_up(link.index, true));
        async move {
            match asked {
                Some(answer) => answer.await,
                None => Ok(()),
            }
        }
    }

    fn ask_for_rules(&mut self, order: &Order, link: &LinkView) -> Result<(), WorkError> {
        if self.steering.is_none() {
            let steering = self.context.numbers.reserve(&order.foreign_tables).ok_or(WorkError::NoTable)?;
            let rules = steering.standing_rules(Family::V4, &link.name);
            self.installation.ask_for_standing_rules(&self.context.requests, rules);
            self.steering = Some(steering);
        }
        Ok(())
    }

    fn open_lease(&self, link: &LinkView) -> Result<LeaseKeeper, WorkError> {
        let hardware_address: [u8; 6] = link
            .hardware_address
            .as_slice()
            .try_into()
            .map_err(|_| WorkError::NoHardwareAddress { interface: link.name.clone() })?;
        let remembered = self.context.remembered.get(&self.identifier);
        let keeper = LeaseKeeper::open(
            link.index,
            &link.name,
            hardware_address,
            remembered,
            self.context.clock.clone(),
            &self.context.spare,
        );
        keeper.map_err(|source| WorkError::Socket { interface: link.name.clone(), source })
    }

    /// Ends the lease and everything it brought; the link stays as it is.
    async fn drop_lease(&mut self) {
        self.remove_lease_parts().await;
        self.lease = None;
    }

    async fn remove_lease_parts(&mut self) {
        complain(&self.identifier, self.installation.remove_lease(&self.context.requests).await);
        if let Some(keeper) = &mut self.lease {
            keeper.address_removed();
        }
        self.say(Topic::Names(Vec::new(), Vec::new()));
    }

    /// Removes everything of ours and restores the administrative state; for Stopped, sets the link down in any case.
    /// Collects errors and goes on.
    async fn release(&mut self, order: &Order) -> Result<(), WorkError> {
        if order.target == Target::Stopped && self.claim.is_none() {
            self.claim = Some(self.context.ownership.claim()?);
        }
        let lease = self.lease.take();
        if let Some(mut lease) = lease.filter(|_| order.profile.dhcp_release) {
            lease.release().await;
            self.context.remembered.forget(&self.identifier);
        }
        let link = self.link.borrow_and_update().clone();
        let found = self.found.take();
        let set_down = order.target == Target::Stopped || found.as_ref().is_some_and(|note| !note.administratively_up);
        // Asked for after the removals, in the same row.
        let removed = self.installation.remove(&self.context.requests).await;
        complain(&self.identifier, removed);
        if let (true, Some(link)) = (set_down, &link) {
            let answer = self.context.requests.set_link_up(link.index, false).await;
            complain(&self.identifier, answer.err().into_iter().filter(|error| !error.is_gone()).collect());
        }
        if let Some(note) = found {
            self.context.notes.remove(note.index);
        }
        self.steering = None;
        self.claim = None;
        self.say(Topic::Names(Vec::new(), Vec::new()));
        Ok(())
    }

    fn tell(&self, number: CommandNumber, stage: Stage) {
        self.say(Topic::Progress(number, stage));
    }

    fn tell_failure(&self, number: CommandNumber, error: &WorkError) {
        let reason = match error {
            WorkError::Ownership(OwnershipError::Owned { process }) => FailureReason::OwnedByAnotherProcess(*process),
            WorkError::Request(refused) if refused.is_permission() => {
                FailureReason::MissingPrivilege("CAP_NET_ADMIN".to_owned())
            }
            WorkError::Socket { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                FailureReason::MissingPrivilege("CAP_NET_RAW".to_owned())
            }
            WorkError::Request(_) | WorkError::Socket { .. } => FailureReason::KernelRefused,
            WorkError::Gone => FailureReason::NotAvailable,
            WorkError::LeaseLost(_) => FailureReason::LinkLost,
            _ => FailureReason::EngineFailed,
        };
        self.tell(number, Stage::Failed(reason, with_causes(error)));
    }

    fn tell_names(&self, lease: &Lease) {
        let servers = lease.name_servers.iter().copied().map(IpAddr::V4).collect();
        self.say(Topic::Names(servers, lease.search_domains.clone()));
    }

    fn say(&self, topic: Topic) {
        // Without an engine nobody is left to hear it.
        let _ = self.news.send(News { identifier: self.identifier.clone(), topic });
    }
}

/// For what only ends by failing.
enum Never {}

async fn carrier(link: &mut watch::Receiver<Option<LinkView>>) -> Result<LinkView, WorkError> {
    let seen = link
        .wait_for(|link| link.as_ref().is_none_or(|link| link.administratively_up && link.carrier))
        .await
        .map_err(|_| WorkError::Gone)?;
    seen.clone().ok_or(WorkError::Gone)
}

/// Returns when the carrier is not the one it was.
async fn lost(link: &mut watch::Receiver<Option<LinkView>>, carrier_losses: u32) {
    let other = |link: &Option<LinkView>| {
        link.as_ref().is_none_or(|link| !link.carrier || link.carrier_losses != carrier_losses)
    };
    if link.wait_for(other).await.is_err() {
        std::future::pending::<()>().await;
    }
}

fn complain(identifier: &Identifier, refused: Vec<RequestError>) {
    for error in refused {
        tracing::warn!(%identifier, "something of ours could not be removed: {}", with_causes(&error));
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":")
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
