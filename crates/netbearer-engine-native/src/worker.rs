//! Brings one access point to its target, from wherever it is.

use std::{
    collections::BTreeSet,
    hash::{BuildHasher, Hasher, RandomState},
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use netbearer_dhcp::{ClientConfiguration, Event, Lease, LossReason, PacketError};
use netbearer_engine::Clock;
use netbearer_kernel::{BootClock, RequestError, Requests, Resumptions, RuleSpec, Sysctl, Sysctls};
use netbearer_types::{
    Addressing, BearerFamily, CommandNumber, FailureReason, Family, Identifier, Profile, Stage, Step, Target,
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
};

use crate::{
    addresses::MachineAddresses,
    belongings::Found,
    contest::Contest,
    engine::Inherited,
    fixed,
    installation::{Installation, Parts, Standing},
    kept::KeptAddresses,
    learnt::Learnt,
    lease::LeaseKeeper,
    notes::{ChangedMtu, Note, Notes, Reached},
    ownership::{Claim, Ownership, OwnershipError},
    remembered::{LeaseOwner, Memory, RememberedLeases},
    reporting::Names,
    settings,
    spare_socket::SpareSocket,
    steering::{self, Numbers, Rules, Steering},
    surroundings::Surroundings,
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
    pub(crate) addresses: Arc<MachineAddresses>,
    pub(crate) boot: String,
}

/// Where a worker shall go.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    /// The command it comes from; none if the engine itself wants it.
    pub(crate) number: Option<CommandNumber>,
    pub(crate) target: Target,
    pub(crate) profile: Profile,
    pub(crate) tables_in_use: BTreeSet<u32>,
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
    pub(crate) mtu: u32,
    pub(crate) family: BearerFamily,
    /// How often something of ours was found missing in the kernel.
    pub(crate) interferences: u32,
    /// How often the worker has asked for a view that is not older than its question.
    pub(crate) looks: u32,
    /// What others have that bears on our rules.
    pub(crate) surroundings: Surroundings,
}

/// What a worker has to say.
#[derive(Debug)]
pub(crate) struct News {
    pub(crate) identifier: Identifier,
    pub(crate) topic: Topic,
}

#[derive(Debug)]
pub(crate) enum Topic {
    /// How far it is with an order.
    Progress(Option<CommandNumber>, Stage),
    /// The link is to be seen as it is now: see [`LinkView::looks`].
    Look,
    /// What others have left is to be cleared, and then to be said so.
    Clear(oneshot::Sender<()>),
    /// What stands in the way of going further than was told last.
    Obstacle(String),
    /// What of ours stands in the kernel from now on; none while that changes.
    Standing(Option<Standing>),
    /// Name servers and search domains of the lease, or of the profile; none when there is neither.
    Names(Names),
}

pub(crate) struct Worker {
    context: Arc<Context>,
    identifier: Identifier,
    orders: watch::Receiver<Order>,
    link: watch::Receiver<Option<LinkView>>,
    /// What the kernel has learnt from the routers there.
    learnt: watch::Receiver<Learnt>,
    news: mpsc::UnboundedSender<News>,
    /// Held from before the first change until everything of ours is gone.
    claim: Option<Claim>,
    /// [`Claim::takes`] when the link was looked at last.
    looked_at: u64,
    steering: Option<Steering>,
    installation: Installation,
    /// The interface as it was found, once we have changed it.
    found: Option<Note>,
    /// The interface's settings that a bring-up waits for. Their files stay open from one bring-up to the next.
    urgent_settings: Sysctls,
    /// Settings are being changed on another thread; the note as it is afterwards.
    adjusting: Option<JoinHandle<Note>>,
    /// What the access point is configured by: that of the newest order, or of the process whose work is gone on with.
    profile: Profile,
    /// What stands was made by a process that was killed, and nothing has been done about it yet.
    is_inherited: bool,
    lease: Option<LeaseKeeper>,
    /// Suspends since the last bring-up began.
    resumptions: Resumptions,
    contest: Contest,
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
    #[error(
        "{interface} was set down by another program while it was brought up; find out which with `ip monitor`, and open again"
    )]
    SetDown { interface: String },
    #[error("{0}, and no other lease came in time")]
    LeaseLost(LossReason),
    #[error(
        "another program keeps removing the routes or rules of {interface}; find it with `ip monitor`, and keep it from this interface"
    )]
    Contested { interface: String },
}

const UNCONFIRMED: &str = "the address has not passed duplicate address detection; does another host have it, or is IPv6 switched off on the link?";
const IPV6_ONLY: &str = "the network wants hosts to live on IPv6 alone, and ipv6_only in its profile allows it";

impl Worker {
    pub(crate) fn new(
        context: Arc<Context>,
        identifier: Identifier,
        orders: watch::Receiver<Order>,
        link: watch::Receiver<Option<LinkView>>,
        learnt: watch::Receiver<Learnt>,
        news: mpsc::UnboundedSender<News>,
    ) -> Self {
        let profile = orders.borrow().profile.clone();
        Self {
            resumptions: context.clock.resumptions(),
            context,
            profile,
            is_inherited: false,
            identifier,
            orders,
            link,
            learnt,
            news,
            claim: None,
            looked_at: 0,
            steering: None,
            installation: Installation::default(),
            found: None,
            urgent_settings: Sysctls::of(""),
            adjusting: None,
            lease: None,
            contest: Contest::default(),
        }
    }

    /// Goes on with what a process has left that was killed, from the first order on.
    pub(crate) fn inherit(&mut self, inherited: Inherited, found: Found) {
        let Inherited { note, steering, claim } = inherited;
        self.looked_at = claim.takes();
        self.claim = Some(claim);
        self.steering = steering;
        self.found = Some(note);
        self.installation = Installation::inherited(found);
        self.is_inherited = true;
    }

    /// Follows the orders until nobody can give any.
    pub(crate) async fn run(mut self) {
        loop {
            let order = self.orders.borrow_and_update().clone();
            let mut overtaken = self.orders.clone();
            let number = order.number;
            self.profile.clone_from(&order.profile);
            match order.target {
                Target::Released | Target::LeftUp | Target::Stopped => {
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
        self.is_inherited = false;
        self.tell(order.number, Stage::Working(Step::Preparing));
        self.drop_lease().await;
        self.installation.follow_ipv6(&self.context.requests, Vec::new(), Vec::new()).await;
        let link = self.prepare(order).await?;
        // Addresses on a link that was up are others' or the kernel's for them.
        if self.found.as_ref().is_some_and(|found| !found.administratively_up) {
            self.adjust_at_once(&link, &settings::while_sensed());
        }
        self.set_up(&link).await?;
        self.tell(order.number, Stage::Reached);
        std::future::pending().await
    }

    async fn configure(&mut self, order: &Order) -> Result<Never, WorkError> {
        let is_inherited = std::mem::take(&mut self.is_inherited);
        let order = &if is_inherited { self.as_it_was_reached(order) } else { order.clone() };
        self.tell(order.number, Stage::Working(Step::Preparing));
        self.resumptions = self.context.clock.resumptions();
        let mut link = self.prepare(order).await?;
        self.follow_mtu(order, &link).await?;
        self.end_sensing(&link);
        self.set_up(&link).await?;
        let mut was_up = None;
        if order.profile.addressing == Addressing::Static {
            return self.configure_as_written(order, &link).await;
        }
        if is_inherited && link.administratively_up && link.carrier {
            let lease = self.inherited_lease();
            if lease.is_none() && self.is_lease_noted() {
                // It has ended, though the kernel may have its address still, as it does not count suspend; or that is gone.
                self.remove_lease_parts().await;
            }
            if lease.is_some() || self.learnt.borrow_and_update().is_sufficient() {
                return self.go_on(order, link, lease).await;
            }
        } else if is_inherited || self.lease.is_none() && self.installation.has_routes() {
            // The carrier was lost meanwhile, or the profile said otherwise the last time.
            self.remove_lease_parts().await;
        }
        loop {
            self.tell(order.number, Stage::Working(Step::AwaitingCarrier));
            // The kernel needs a moment for the carrier, and the server one for its answer: what else there is to do is
            // done meanwhile.
            let prepared = self.open_lease(&order.profile, &link)?;
            let prepared_for = link;
            link = carrier(&mut self.link, &mut was_up).await?;
            self.tell(order.number, Stage::Working(Step::AcquiringLease));
            let has_other_hardware_address = link.hardware_address != prepared_for.hardware_address;
            if has_other_hardware_address {
                self.note_hardware_address(&link).await;
            }
            let is_same = prepared_for.index == link.index && !has_other_hardware_address;
            let lease = if is_same { prepared } else { self.open_lease(&order.profile, &link)? };
            self.lease.insert(lease).start().await;
            self.ask_for_rules(&link).await?;
            self.adjust_at_once(&link, &settings::before_the_first_use(&order.profile));
            let mut watched = self.link.clone();
            tokio::select! {
                first = self.first_way(link.clone()) => {
                    let (link, lease) = first?;
                    return self.keep(order, link, lease).await;
                }
                // Perhaps it is another network now.
                () = lost(&mut watched, link.carrier_losses) => self.drop_lease().await,
            }
        }
    }

    /// The order with the profile that what stands was made by: another one holds from the next bring-up on.
    fn as_it_was_reached(&mut self, order: &Order) -> Order {
        let reached = self.found.as_ref().and_then(|note| note.reached.as_deref());
        if let Some(reached) = reached {
            self.profile.clone_from(&reached.profile);
        }
        Order { profile: self.profile.clone(), ..order.clone() }
    }

    fn is_lease_noted(&self) -> bool {
        let reached = self.found.as_ref().and_then(|note| note.reached.as_ref());
        reached.is_some_and(|reached| reached.lease.is_some())
    }

    /// The lease of what stands, if it has not ended and its address is still there.
    fn inherited_lease(&self) -> Option<Lease> {
        let lease = self.found.as_ref()?.reached.as_ref()?.lease.clone()?.checked()?;
        let is_over = lease.term.expires_at().is_some_and(|end| end <= self.context.clock.now());
        let is_there = self.installation.has_address(lease.address.into(), lease.prefix_length);
        (is_there && !is_over).then_some(lease)
    }

    /// Goes on with a way to the network that stands, and is told to be reached before a server is asked about it.
    async fn go_on(&mut self, order: &Order, link: LinkView, lease: Option<Lease>) -> Result<Never, WorkError> {
        self.ask_for_rules(&link).await?;
        self.adjust_at_once(&link, &settings::before_the_first_use(&order.profile));
        let has_lease = lease.is_some();
        let keeper = match lease.clone() {
            Some(lease) => self.keep_lease(&order.profile, &link, lease)?,
            None => self.open_lease(&order.profile, &link)?,
        };
        let keeper = self.lease.insert(keeper);
        if !has_lease {
            keeper.start().await;
        }
        // All of it, before it is told.
        self.follow_routers(&link).await;
        self.establish(order, &link, lease).await?;
        if let Some(keeper) = &mut self.lease {
            // Where the machine is by now, only servers can tell.
            keeper.confirm().await;
        }
        self.attend(order, link).await
    }

    /// The same with the addresses that the profile itself says.
    async fn configure_as_written(&mut self, order: &Order, prepared_for: &LinkView) -> Result<Never, WorkError> {
        if self.lease.is_some() {
            // The profile said otherwise the last time.
            self.drop_lease().await;
        }
        self.tell(order.number, Stage::Working(Step::AwaitingCarrier));
        let mut link = carrier(&mut self.link, &mut None).await?;
        if link.hardware_address != prepared_for.hardware_address {
            self.note_hardware_address(&link).await;
        }
        self.tell(order.number, Stage::Working(Step::Configuring));
        self.ask_for_rules(&link).await?;
        self.adjust_at_once(&link, &settings::before_the_first_use(&order.profile));
        let Some(steering) = &self.steering else { return Err(WorkError::NoTable) };
        let metric = steering::metric(link.family, order.profile.preference, steering);
        let addresses = fixed::addresses(link.index, &order.profile);
        let sources = addresses.iter().map(|address| address.address).filter(IpAddr::is_ipv4);
        let parts = Parts {
            source_rules: self.source_rules(self.rules_of(steering, &link), &link, sources),
            routes: fixed::routes(steering, link.index, metric, &order.profile),
            addresses,
        };
        self.tell_names(None);
        self.say(Topic::Standing(None));
        let is_at_once = parts.addresses.iter().any(|address| address.address.is_ipv4());
        self.installation.add(&self.context.requests, parts).await?;
        if !is_at_once {
            self.say(Topic::Obstacle(UNCONFIRMED.to_owned()));
            let own =
                |address: &Ipv6Addr| order.profile.addresses.iter().any(|own| own.address() == IpAddr::V6(*address));
            let is_usable = |learnt: &Learnt| learnt.addresses.iter().any(own);
            self.learnt.wait_for(is_usable).await.map_err(|_| WorkError::Gone)?;
        }
        self.follow_routers(&link).await;
        self.tell(order.number, Stage::Reached);
        // Somebody waits for what this makes possible; the rest can wait for them.
        tokio::task::yield_now().await;
        self.note_reached(order, None).await;
        self.adjust_settings(&link).await;
        let _kept = self.keep_static_addresses(&order.profile);
        loop {
            // Without a lease there is nothing to hear but of routers.
            self.happening(&mut link).await?;
            self.follow_routers(&link).await;
        }
    }

    fn keep_static_addresses(&self, profile: &Profile) -> Option<KeptAddresses> {
        let own = profile.addresses.iter().filter_map(|own| match own.address() {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
        });
        let Context { addresses, clock, spare, .. } = &*self.context;
        KeptAddresses::watch_over(own.collect(), self.link.clone(), Arc::clone(addresses), clock.clone(), spare.clone())
    }

    /// Waits for the first way to the network: a lease, or without one what routers have announced.
    async fn first_way(&mut self, mut link: LinkView) -> Result<(LinkView, Option<Lease>), WorkError> {
        loop {
            if self.learnt.borrow_and_update().is_sufficient() {
                return Ok((link, None));
            }
            match self.happening(&mut link).await? {
                Some(Event::Acquired(lease)) => return Ok((link, Some(lease))),
                Some(Event::Refused { server, reason }) => {
                    pass_over(&link, server, reason);
                    self.say(Topic::Obstacle(no_acceptable_offer(server, reason)));
                }
                Some(Event::Ipv6Only { .. }) => self.say(Topic::Obstacle(IPV6_ONLY.to_owned())),
                _ => {}
            }
        }
    }

    /// Installs the first way, then all that comes, and keeps it for as long as the core lets it. A loss of carrier is the
    /// core's to judge.
    async fn keep(&mut self, order: &Order, link: LinkView, lease: Option<Lease>) -> Result<Never, WorkError> {
        self.establish(order, &link, lease).await?;
        self.attend(order, link).await
    }

    /// Installs the first way.
    async fn establish(&mut self, order: &Order, link: &LinkView, lease: Option<Lease>) -> Result<(), WorkError> {
        if let Some(lease) = lease {
            self.install(order, link, lease).await?;
            self.follow_routers(link).await;
        } else {
            self.tell_names(None);
            self.tell(order.number, Stage::Working(Step::Configuring));
            self.follow_routers(link).await;
            self.tell(order.number, Stage::Reached);
            tokio::task::yield_now().await;
            self.note_reached(order, None).await;
        }
        Ok(())
    }

    /// Installs what comes after the first way.
    async fn attend(&mut self, order: &Order, mut link: LinkView) -> Result<Never, WorkError> {
        self.adjust_settings(&link).await;
        loop {
            self.watch_over_address().await;
            match self.happening(&mut link).await? {
                None => self.follow_routers(&link).await,
                // A lease that is kept has less time left than the kernel thinks, which does not count suspend.
                Some(Event::Acquired(lease) | Event::Kept(lease)) => self.install(order, &link, lease).await?,
                Some(Event::Renewed { lease, changed }) => {
                    if changed {
                        self.say(Topic::Standing(None));
                    }
                    if !self.installation.has_address(lease.address.into(), lease.prefix_length) {
                        complain(&self.identifier, self.installation.remove_addresses(&self.context.requests).await);
                    }
                    self.install(order, &link, lease).await?;
                }
                Some(Event::Refused { server, reason }) => pass_over(&link, server, reason),
                // Nothing is installed then; see `LeaseKeeper::event`. IPv4 that is in use is not forgone.
                Some(Event::NotConfirmed(_) | Event::Ipv6Only { .. }) => {}
                Some(Event::Lost(reason)) => {
                    // One family is enough, and the other may come back.
                    let is_way_left = self.learnt.borrow().is_sufficient();
                    if !is_way_left {
                        self.tell(order.number, Stage::Working(Step::AcquiringLease));
                    }
                    let lost = self.lease.as_ref().and_then(LeaseKeeper::installed_address);
                    self.remove_lease_parts().await;
                    if is_way_left {
                        self.say(Topic::Standing(Some(self.installation.standing())));
                        if lost.is_some() {
                            abort_sockets(lost, link.index);
                        }
                    } else if reason == LossReason::Expired {
                        return Err(WorkError::LeaseLost(reason));
                    }
                }
            }
        }
    }

    /// Has an address that is new watched over. Who waits for the address goes first.
    async fn watch_over_address(&mut self) {
        tokio::task::yield_now().await;
        let Some(lease) = &mut self.lease else { return };
        lease.watch_over_address(&self.context.addresses);
        let replaced = lease.take_replaced_address();
        if lease.take_absence() {
            abort_sockets(replaced, lease.interface());
        }
    }

    /// Brings our rules and routes for IPv6 to what the kernel has learnt.
    async fn follow_routers(&mut self, link: &LinkView) {
        let Some(steering) = &self.steering else { return };
        let learnt = self.learnt.borrow_and_update().clone();
        let ours = self.rules_of(steering, link);
        let mut rules = ours.standing(Family::V6, &link.name);
        rules.extend(self.source_rules(ours, link, learnt.addresses.iter().copied().map(IpAddr::V6)));
        let routes = steering.learnt_routes(link.index, &learnt);
        self.say(Topic::Standing(None));
        self.installation.follow_ipv6(&self.context.requests, rules, routes).await;
        self.say(Topic::Standing(Some(self.installation.standing())));
    }

    /// Waits for what becomes of the lease, or, told by none, for the kernel to learn something else from routers. Meanwhile
    /// the link may be renamed, and others may remove what is ours.
    async fn happening(&mut self, link: &mut LinkView) -> Result<Option<Event>, WorkError> {
        let mut watched = self.link.clone();
        loop {
            let lease = &mut self.lease;
            let view = tokio::select! {
                event = next_event(lease) => {
                    let event = event.map_err(|source| WorkError::Socket { interface: link.name.clone(), source });
                    return event.map(Some);
                }
                Ok(()) = self.learnt.changed() => return Ok(None),
                view = differing(&mut watched, link) => view,
                _ = self.resumptions.resumed() => {
                    self.confirm_lease().await;
                    continue;
                }
            };
            let changed = view.name != link.name || view.surroundings != link.surroundings;
            let interfered = view.interferences != link.interferences;
            let has_other_hardware_address = view.hardware_address != link.hardware_address;
            *link = view;
            if has_other_hardware_address {
                self.note_hardware_address(link).await;
                if let (Some(lease), Ok(address)) = (&mut self.lease, link.hardware_address.as_slice().try_into()) {
                    lease.change_hardware_address(address);
                }
            }
            if changed {
                self.follow_name_and_surroundings(link).await?;
            }
            if interfered {
                self.restore(link).await?;
            }
        }
    }

    /// The machine was suspended: where it is now, only servers can tell.
    async fn confirm_lease(&mut self) {
        let Some(lease) = &mut self.lease else { return };
        if lease.confirm().await {
            let number = self.orders.borrow().number;
            self.tell(number, Stage::Working(Step::AcquiringLease));
        }
    }

    /// A rule names its interface; renamed, it means another one, or none. What it is to do may depend on others, too.
    async fn follow_name_and_surroundings(&mut self, link: &LinkView) -> Result<(), WorkError> {
        let Some(steering) = &self.steering else { return Ok(()) };
        let ours = self.rules_of(steering, link);
        let standing = ours.standing(Family::V4, &link.name);
        let sources = self.source_rules(ours, link, self.installation.sources());
        self.say(Topic::Standing(None));
        self.installation.replace_standing_rules(&self.context.requests, standing).await?;
        self.installation.follow_source_rules(&self.context.requests, sources).await?;
        if self.installation.has_routes() {
            self.follow_routers(link).await;
        }
        self.note_name(link).await;
        Ok(())
    }

    fn rules_of<'a>(&self, steering: &'a Steering, link: &'a LinkView) -> Rules<'a> {
        steering.rules(&link.surroundings, self.profile.bypass_vpn)
    }

    /// What comes from an address that is another interface's is that one's.
    fn source_rules(
        &self,
        rules: Rules<'_>,
        link: &LinkView,
        addresses: impl IntoIterator<Item = IpAddr>,
    ) -> Vec<RuleSpec> {
        let is_here = |address: &IpAddr| !self.context.addresses.is_elsewhere(*address, link.index);
        addresses.into_iter().filter(is_here).filter_map(|address| rules.source(address)).collect()
    }

    async fn restore(&mut self, link: &LinkView) -> Result<(), WorkError> {
        if !self.contest.may_go_on(self.context.clock.now()) {
            return Err(WorkError::Contested { interface: link.name.clone() });
        }
        tracing::warn!(identifier = %self.identifier, "routes or rules of ours were removed by another program, and are put back");
        self.installation.restore(&self.context.requests).await?;
        self.say(Topic::Standing(Some(self.installation.standing())));
        Ok(())
    }

    async fn install(&mut self, order: &Order, link: &LinkView, lease: Lease) -> Result<(), WorkError> {
        let Some(steering) = &self.steering else { return Err(WorkError::NoTable) };
        let metric = steering::metric(link.family, order.profile.preference, steering);
        let parts = Parts {
            addresses: vec![steering::address(link.index, &lease, self.context.clock.now())],
            routes: steering.routes(link.index, &lease, metric, &order.profile),
            source_rules: self.source_rules(self.rules_of(steering, link), link, [lease.address.into()]),
        };
        self.tell_names(Some(&lease));
        // Who has come by IPv6 need not know that there is more to come.
        if !self.installation.has_routes() {
            self.tell(order.number, Stage::Working(Step::Configuring));
        }
        self.installation.add(&self.context.requests, parts).await?;
        self.say(Topic::Standing(Some(self.installation.standing())));
        let _afterwards = self.lease.as_mut().map(|keeper| {
            keeper.address_installed(lease.clone());
            keeper.afterwards(self.context.spare.clone())
        });
        self.tell(order.number, Stage::Reached);
        // Somebody waits for what this makes possible; the rest can wait for them.
        tokio::task::yield_now().await;
        self.note_reached(order, Some(lease)).await;
        Ok(())
    }

    /// Notes what the kernel does not tell, for whoever goes on with it should this process be killed.
    async fn note_reached(&mut self, order: &Order, lease: Option<Lease>) {
        // The other thread would write the former one again.
        self.hear_settings().await;
        let Some(found) = &mut self.found else { return };
        let reached = Some(Box::new(Reached::new(&order.profile, lease)));
        if found.reached != reached {
            found.reached = reached;
            self.rewrite_note();
        }
    }

    /// By a name that it does not have any more, nobody would know rules that name it.
    async fn note_name(&mut self, link: &LinkView) {
        self.hear_settings().await;
        let Some(found) = self.found.as_mut().filter(|found| found.name != link.name) else { return };
        found.name.clone_from(&link.name);
        self.rewrite_note();
    }

    fn rewrite_note(&self) {
        let Some(found) = &self.found else { return };
        if let Err(error) = self.context.notes.rewrite(found) {
            tracing::warn!(interface = found.name, "the note of it is out of date: {error}");
        }
    }

    /// Takes the lock and notes how the interface was found, before the first change.
    async fn prepare(&mut self, order: &Order) -> Result<LinkView, WorkError> {
        self.claim().await?;
        self.hear_settings().await;
        let link = self.link.borrow_and_update().clone().ok_or(WorkError::Gone)?;
        let mut wanted = settings::before_the_link_goes_up();
        if order.target == Target::Configured {
            let metric = steering::metric(link.family, order.profile.preference, self.reserve_numbers(order)?);
            wanted.extend(settings::before_routers_are_heard(&order.profile, metric));
        }
        let table = self.steering.as_ref().map(Steering::table);
        if let Some(found) = self.found.as_mut().filter(|found| found.index == link.index) {
            if table.is_some() && found.table != table {
                found.table = table;
                let noted = self.context.notes.rewrite(found);
                noted.map_err(|source| WorkError::Note { interface: link.name.clone(), source })?;
            }
            self.adjust_at_once(&link, &wanted);
        } else {
            let sysctls = self.urgent_settings_of(&link.name);
            let settings = settings::to_be_changed(sysctls, &wanted);
            let note = Note {
                boot: self.context.boot.clone(),
                index: link.index,
                name: link.name.clone(),
                hardware_address: hexadecimal(&link.hardware_address),
                administratively_up: link.administratively_up,
                settings,
                mtu: None,
                table,
                beside: false,
                reached: None,
            };
            let changed = note.settings.clone();
            let written = self.context.notes.write(note);
            let note = written.map_err(|source| WorkError::Note { interface: link.name.clone(), source })?;
            settings::change(&mut self.urgent_settings, &changed);
            if let Some(former) = self.found.replace(note) {
                self.context.notes.remove(former.index);
            }
        }
        Ok(link)
    }

    /// Brings the MTU to what the profile says, or back. Only noted before it is changed.
    async fn follow_mtu(&mut self, order: &Order, link: &LinkView) -> Result<(), WorkError> {
        let Some(found) = &mut self.found else { return Ok(()) };
        let before = found.mtu;
        let Some(wanted) = order.profile.mtu.or(before.map(|changed| changed.old)) else { return Ok(()) };
        if before.map_or(link.mtu, |changed| changed.new) == wanted {
            return Ok(());
        }
        found.mtu = Some(ChangedMtu { old: before.map_or(link.mtu, |changed| changed.old), new: wanted });
        let noted = self.context.notes.rewrite(found);
        noted.map_err(|source| WorkError::Note { interface: link.name.clone(), source })?;
        let refused = self.context.requests.set_mtu(link.index, wanted).await;
        if refused.is_err() {
            // So that the next try does not take it for done.
            found.mtu = before;
            let noted = self.context.notes.rewrite(found);
            noted.map_err(|source| WorkError::Note { interface: link.name.clone(), source })?;
        }
        Ok(refused?)
    }

    /// By the one it had, nobody would know the interface again after we were killed.
    async fn note_hardware_address(&mut self, link: &LinkView) {
        // The other thread would write the former one again.
        self.hear_settings().await;
        let Some(found) = &mut self.found else { return };
        found.hardware_address = hexadecimal(&link.hardware_address);
        self.rewrite_note();
    }

    /// Notes and changes settings that cannot wait. Most machines have them already.
    fn adjust_at_once(&mut self, link: &LinkView, wanted: &[(Sysctl, i64)]) {
        if let Some(found) = self.found.take() {
            let notes = self.context.notes.clone();
            self.found = Some(adjust(&notes, self.urgent_settings_of(&link.name), found, wanted));
        }
    }

    /// Lets addresses by IPv6 come again.
    fn end_sensing(&mut self, link: &LinkView) {
        let Some(mut found) = self.found.take() else { return };
        let sysctls = self.urgent_settings_of(&link.name);
        let is_ended = settings::restore_early(sysctls, &mut found.settings, &settings::while_sensed());
        self.found = Some(found);
        if is_ended {
            self.rewrite_note();
        }
    }

    fn urgent_settings_of(&mut self, interface: &str) -> &mut Sysctls {
        if self.urgent_settings.interface() != interface {
            self.urgent_settings = Sysctls::of(interface);
        }
        &mut self.urgent_settings
    }

    /// Notes and changes the settings that nobody waits for, on another thread: some thirty files take longer than all of
    /// the bring-up.
    async fn adjust_settings(&mut self, link: &LinkView) {
        self.hear_settings().await;
        let Some(found) = &self.found else { return };
        let (link, note, notes) = (link.clone(), found.clone(), self.context.notes.clone());
        self.adjusting = Some(tokio::task::spawn_blocking(move || {
            let note = adjust(&notes, &mut Sysctls::of(&link.name), note, &settings::for_neighbours());
            ask_routers(&link);
            note
        }));
    }

    /// Waits until the other thread has changed the settings, and takes over what it noted.
    async fn hear_settings(&mut self) {
        if let Some(adjusting) = &mut self.adjusting {
            // An error means that it panicked; what it changed is in the file of the note.
            if let Ok(note) = adjusting.await {
                self.found = Some(note);
            }
            self.adjusting = None;
        }
    }

    /// Takes the lock, unless it is there. Whoever takes it anew has what a process that was killed has left cleared.
    async fn claim(&mut self) -> Result<(), WorkError> {
        if self.claim.is_some() {
            return Ok(());
        }
        let claim = self.context.ownership.claim()?;
        // As long as nobody else has had the lock, what carries our tag is our own.
        if self.context.ownership.owes_clearing() {
            let (cleared, is_cleared) = oneshot::channel();
            self.say(Topic::Clear(cleared));
            is_cleared.await.map_err(|_| WorkError::Gone)?;
        }
        if self.looked_at != claim.takes() {
            // How the interface is found is how it is now, not as whoever had the lock had it. Who has taken it from them
            // may be working on another one, or may not have come to look.
            let looks = self.link.borrow().as_ref().map_or(0, |link| link.looks);
            self.say(Topic::Look);
            let is_newer = |link: &Option<LinkView>| link.as_ref().is_none_or(|link| link.looks > looks);
            self.link.wait_for(is_newer).await.map_err(|_| WorkError::Gone)?;
            self.looked_at = claim.takes();
        }
        self.claim = Some(claim);
        Ok(())
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

    /// The table and the mark of the access point; they stay its own until it is released.
    fn reserve_numbers(&mut self, order: &Order) -> Result<&Steering, WorkError> {
        if self.steering.is_none() {
            self.steering = self.context.numbers.reserve(&order.tables_in_use);
        }
        self.steering.as_ref().ok_or(WorkError::NoTable)
    }

    async fn ask_for_rules(&mut self, link: &LinkView) -> Result<(), WorkError> {
        let Some(steering) = &self.steering else { return Err(WorkError::NoTable) };
        let rules = self.rules_of(steering, link).standing(Family::V4, &link.name);
        if self.installation.has_standing_rules() {
            // From an earlier bring-up, and what they depend on may have changed since.
            self.installation.replace_standing_rules(&self.context.requests, rules).await?;
        } else {
            self.installation.ask_for_standing_rules(&self.context.requests, rules);
        }
        Ok(())
    }

    fn open_lease(&self, profile: &Profile, link: &LinkView) -> Result<LeaseKeeper, WorkError> {
        let (configuration, memory) = self.client(profile, link)?;
        let Context { clock, spare, .. } = &*self.context;
        let keeper = LeaseKeeper::open(link.index, configuration, clock.clone(), spare, memory);
        keeper.map_err(|source| WorkError::Socket { interface: link.name.clone(), source })
    }

    /// The same with a lease that there is.
    fn keep_lease(&self, profile: &Profile, link: &LinkView, lease: Lease) -> Result<LeaseKeeper, WorkError> {
        let (configuration, memory) = self.client(profile, link)?;
        let Context { clock, spare, .. } = &*self.context;
        Ok(LeaseKeeper::with_lease(link.index, configuration, clock.clone(), (spare, memory), lease))
    }

    /// What servers know us by, and where the lease is remembered.
    fn client(&self, profile: &Profile, link: &LinkView) -> Result<(ClientConfiguration, Option<Memory>), WorkError> {
        let hardware_address: [u8; 6] = link
            .hardware_address
            .as_slice()
            .try_into()
            .map_err(|_| WorkError::NoHardwareAddress { interface: link.name.clone() })?;
        let owner = profile
            .client_identifier
            .clone()
            .map_or(LeaseOwner::HardwareAddress(hardware_address), LeaseOwner::Identifier);
        let seed = RandomState::new().build_hasher().finish();
        let configuration = ClientConfiguration {
            remembered: self.context.remembered.get(&self.identifier, &owner),
            client_identifier: profile.client_identifier.clone(),
            host_name: profile.hostname.clone(),
            vendor_class: profile.vendor_class.clone(),
            rapid_commit: profile.rapid_commit,
            ipv6_only: profile.ipv6_only,
            ..ClientConfiguration::new(hardware_address, seed)
        };
        // A lease that is given back is not to be asked for again.
        let memory = (!profile.dhcp_release)
            .then(|| Memory::new(self.context.remembered.clone(), self.identifier.clone(), owner));
        Ok((configuration, memory))
    }

    /// Ends the lease and everything it brought; the link stays as it is.
    async fn drop_lease(&mut self) {
        self.remove_lease_parts().await;
        self.lease = None;
    }

    async fn remove_lease_parts(&mut self) {
        self.say(Topic::Standing(None));
        complain(&self.identifier, self.installation.remove_addresses(&self.context.requests).await);
        if let Some(keeper) = &mut self.lease {
            keeper.address_removed();
        }
        if self.installation.has_routes() {
            self.tell_names(None);
        } else {
            self.say(Topic::Names(Names::default()));
        }
    }

    /// Removes everything of ours and restores the administrative state; for Stopped, sets the link down in any case.
    /// Collects errors and goes on.
    async fn release(&mut self, order: &Order) -> Result<(), WorkError> {
        if order.target == Target::Stopped {
            self.claim().await?;
        }
        self.say(Topic::Standing(None));
        let lease = self.lease.take().or_else(|| self.inherited_keeper(&order.profile));
        if let Some(mut lease) = lease.filter(|_| order.profile.dhcp_release) {
            lease.release().await;
            // An error means that it panicked, and then the file stays.
            let _ = self.context.remembered.forget(&self.identifier).await;
        }
        self.hear_settings().await;
        let link = self.link.borrow_and_update().clone();
        let found = self.found.take();
        let was_down = found.as_ref().is_some_and(|note| !note.administratively_up);
        let set_down = order.target == Target::Stopped || order.target == Target::Released && was_down;
        // Asked for after the removals, in the same row.
        let removed = self.installation.remove(&self.context.requests).await;
        complain(&self.identifier, removed);
        if let (true, Some(link)) = (set_down, &link) {
            let answer = self.context.requests.set_link_up(link.index, false).await;
            complain(&self.identifier, answer.err().into_iter().filter(|error| !error.is_gone()).collect());
        }
        if let Some(note) = found {
            if let Some(link) = link.filter(|link| link.index == note.index) {
                settings::restore(&link.name, &note.settings);
                // What was seen of it may be from before we changed it. Anything else is somebody else's.
                if let Some(mtu) = note.mtu.filter(|mtu| [mtu.old, mtu.new].contains(&link.mtu)) {
                    let answer = self.context.requests.set_mtu(link.index, mtu.old).await;
                    complain(&self.identifier, answer.err().into_iter().filter(|error| !error.is_gone()).collect());
                }
            }
            self.context.notes.remove(note.index);
        }
        self.steering = None;
        self.claim = None;
        self.say(Topic::Names(Names::default()));
        Ok(())
    }

    /// The lease of a process that was killed, if it is yet to be given back.
    fn inherited_keeper(&mut self, profile: &Profile) -> Option<LeaseKeeper> {
        let is_inherited = std::mem::take(&mut self.is_inherited);
        let lease = self.inherited_lease().filter(|_| is_inherited && profile.dhcp_release)?;
        let link = self.link.borrow().clone()?;
        self.keep_lease(profile, &link, lease).ok()
    }

    fn tell(&self, number: Option<CommandNumber>, stage: Stage) {
        self.say(Topic::Progress(number, stage));
    }

    fn tell_failure(&self, number: Option<CommandNumber>, error: &WorkError) {
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
            WorkError::LeaseLost(_) | WorkError::SetDown { .. } => FailureReason::LinkLost,
            _ => FailureReason::EngineFailed,
        };
        self.tell(number, Stage::Failed(reason, with_causes(error)));
    }

    fn tell_names(&self, lease: Option<&Lease>) {
        let names = Names::new(&self.profile, lease);
        self.say(Topic::Names(names));
    }

    fn say(&self, topic: Topic) {
        // Without an engine nobody is left to hear it.
        let _ = self.news.send(News { identifier: self.identifier.clone(), topic });
    }
}

/// Changes settings that differ, after they were noted. Returns the note as it is then.
fn adjust(notes: &Notes, sysctls: &mut Sysctls, found: Note, wanted: &[(Sysctl, i64)]) -> Note {
    let changed = settings::to_be_changed(sysctls, wanted);
    if changed.is_empty() {
        return found;
    }
    let mut note = found.clone();
    settings::merge(&mut note.settings, &changed);
    match notes.rewrite(&note) {
        Ok(()) => {
            settings::change(sysctls, &changed);
            note
        }
        // What could not be put back is not changed. Without it the link still works.
        Err(error) => {
            let interface = sysctls.interface();
            tracing::warn!(interface, "the kernel's settings are left as they are: {error}");
            found
        }
    }
}

/// The kernel waits with that for duplicate address detection, a second or two (`addrconf_dad_completed` of
/// `net/ipv6/addrconf.c`), and then asks anyway.
fn ask_routers(link: &LinkView) {
    if let Err(error) = netbearer_kernel::solicit_routers(link.index) {
        tracing::debug!(interface = link.name, "routers could not be solicited: {error}");
    }
}

/// Who speaks from an address that is gone, or began to when there was none, waits for answers that cannot come. On another
/// thread: the kernel has to look at all its sockets.
fn abort_sockets(replaced: Option<Ipv4Addr>, interface: u32) {
    tokio::task::spawn_blocking(move || {
        let of_replaced = replaced.map_or(Ok(0), netbearer_kernel::abort_tcp_sockets);
        let without = netbearer_kernel::abort_tcp_sockets_without_address(interface);
        match of_replaced.and_then(|aborted| Ok(aborted + without?)) {
            Ok(aborted) => tracing::debug!(?replaced, aborted, "TCP sockets on a lost address were aborted"),
            Err(error) => tracing::warn!(?replaced, "TCP sockets on a lost address could not be aborted: {error}"),
        }
    });
}

/// For what only ends by failing.
enum Never {}

/// Waits for the carrier. Who sees an interface down that was up, `was_up`, has nothing to wait for.
async fn carrier(
    link: &mut watch::Receiver<Option<LinkView>>,
    was_up: &mut Option<u32>,
) -> Result<LinkView, WorkError> {
    let is_decided = |link: &Option<LinkView>| {
        link.as_ref().is_none_or(|link| {
            if link.administratively_up {
                *was_up = Some(link.index);
            }
            let was_set_down = !link.administratively_up && *was_up == Some(link.index);
            was_set_down || (link.administratively_up && link.carrier)
        })
    };
    let seen = link.wait_for(is_decided).await.map_err(|_| WorkError::Gone)?.clone().ok_or(WorkError::Gone)?;
    if seen.administratively_up { Ok(seen) } else { Err(WorkError::SetDown { interface: seen.name }) }
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

/// Returns when the link has another name than it had, something of ours is missing, or others have changed what our rules
/// depend on.
async fn differing(link: &mut watch::Receiver<Option<LinkView>>, before: &LinkView) -> LinkView {
    let other = |link: &Option<LinkView>| {
        link.as_ref().is_some_and(|link| {
            let is_as_before = link.name == before.name
                && link.hardware_address == before.hardware_address
                && link.interferences == before.interferences
                && link.surroundings == before.surroundings;
            link.index == before.index && !is_as_before
        })
    };
    let seen = link.wait_for(other).await.ok().and_then(|link| link.clone());
    match seen {
        Some(view) => view,
        None => std::future::pending().await,
    }
}

/// What becomes of a lease. Where there is none, nothing.
async fn next_event(lease: &mut Option<LeaseKeeper>) -> io::Result<Event> {
    match lease {
        Some(lease) => lease.event().await,
        None => std::future::pending().await,
    }
}

fn pass_over(link: &LinkView, server: Ipv4Addr, reason: PacketError) {
    tracing::debug!(interface = link.name, %server, "an answer of a DHCP server was refused: {reason}");
}

fn no_acceptable_offer(server: Ipv4Addr, reason: PacketError) -> String {
    format!("offers came, but none was acceptable: {reason} (the last one, from the DHCP server {server})")
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

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use netbearer_kernel::BootClock;
    use netbearer_types::SteeringPlan;

    use super::*;

    /// A context whose lock has never been taken, for workers that change nothing.
    fn context(directory: &std::path::Path) -> Arc<Context> {
        Arc::new(Context {
            requests: Requests::open().unwrap(),
            clock: BootClock::start().unwrap(),
            ownership: Ownership::new(directory.join("netns-1.lock")),
            notes: Notes::new(directory.join("notes")),
            remembered: RememberedLeases::new(directory.join("leases")),
            numbers: Numbers::new(SteeringPlan::default().first_table),
            spare: SpareSocket::default(),
            addresses: Arc::default(),
            boot: "one".to_owned(),
        })
    }

    #[tokio::test]
    async fn every_worker_looks_anew_after_the_lock_was_taken_from_another_process() {
        let directory = tempfile::tempdir().unwrap();
        let context = context(directory.path());
        let view = LinkView {
            index: 3,
            name: "ap0".to_owned(),
            hardware_address: vec![2, 0, 0, 0, 0, 1],
            administratively_up: true,
            carrier: true,
            carrier_losses: 0,
            mtu: 1500,
            family: BearerFamily::Wired,
            interferences: 0,
            looks: 0,
            surroundings: Surroundings::default(),
        };
        let link = watch::Sender::new(Some(view));
        let order = Order {
            number: None,
            target: Target::Configured,
            profile: Profile::default(),
            tables_in_use: BTreeSet::new(),
        };
        let (_orders, orders) = watch::channel(order);
        let (_learnt, learnt) = watch::channel(Learnt::default());
        let (news, mut told) = mpsc::unbounded_channel();
        let mut workers = ["ap0", "ap1"].map(|name| {
            let (orders, learnt) = (orders.clone(), learnt.clone());
            let identifier = Identifier::new(name.to_owned());
            Worker::new(Arc::clone(&context), identifier, orders, link.subscribe(), learnt, news.clone())
        });
        type Told = mpsc::UnboundedReceiver<News>;
        let is_clearing = |told: &mut Told| matches!(told.try_recv(), Ok(News { topic: Topic::Clear(_), .. }));
        let is_looking = |told: &mut Told| matches!(told.try_recv(), Ok(News { topic: Topic::Look, .. }));
        let answer = || link.send_modify(|link| link.as_mut().unwrap().looks += 1);

        // Its order is overtaken before it has been answered, and later once more.
        for _ in 0..2 {
            assert!(workers[0].claim().now_or_never().is_none() && is_clearing(&mut told));
        }
        context.ownership.cleared();
        assert!(workers[0].claim().now_or_never().is_none() && is_looking(&mut told));
        for worker in &mut workers {
            let mut claiming = Box::pin(worker.claim());
            assert!((&mut claiming).now_or_never().is_none() && is_looking(&mut told), "it has not looked yet");
            answer();
            claiming.await.unwrap();
        }
        for worker in &mut workers {
            worker.claim = None;
        }
        assert!(workers[0].claim().now_or_never().unwrap().is_ok(), "nobody else has had it since");
        assert!(told.try_recv().is_err());

        workers[0].claim = None;
        drop(Ownership::new(directory.path().join("netns-1.lock")).claim().unwrap());
        // As for a link of others, beside which something of ours stands.
        let _taken = context.ownership.claim().unwrap();
        assert!(workers[0].claim().now_or_never().is_none() && is_clearing(&mut told), "another process has had it");
        context.ownership.cleared();
        for worker in &mut workers {
            assert!(worker.claim().now_or_never().is_none() && is_looking(&mut told), "what it saw is out of date");
        }
    }
}
