//! What others have on the machine, as far as it bears on rules of ours, and what of ours stands beside links of theirs.

use std::net::IpAddr;

use netbearer_kernel::{Changes, RouteSpec, effective_reverse_path_filter};
use netbearer_types::{BypassVpn, Failure, FailureReason, Families, Family, Identifier, MarkField, SteeringLevel};

use super::{Entry, Extent, NativeEngine, not_supported};
use crate::{
    beside::Beside,
    notes::Note,
    ownership::{Claim, OwnershipError},
    steering::{obstacle_before, tables_in_use},
    surroundings::Surroundings,
    tunnel,
    worker::LinkView,
};

/// `rp_filter`, "strict mode" (RFC 3704 §2.2).
const STRICT: i64 = 1;

impl NativeEngine {
    /// Looks whether others have a tunnel or marks that they had not before. True if something is otherwise, or was changed
    /// that is read when it is reported.
    pub(super) fn look_around(&mut self, changes: &Changes) -> bool {
        let cache = self.watcher.cache();
        let mut links = changes.links.iter();
        let may_concern_tunnels =
            links.any(|index| cache.link(*index).is_none_or(|link| tunnel::is_of_such_a_kind(link)));
        if !changes.rules && changes.routes.is_empty() && !may_concern_tunnels {
            return changes.reverse_path_filters;
        }
        let surroundings = Surroundings::of_the_machine(cache, &self.plan);
        let before = std::mem::replace(&mut self.surroundings, surroundings);
        if self.surroundings.mark_field != before.mark_field {
            self.say_which_mark();
        }
        changes.reverse_path_filters || self.surroundings != before
    }

    pub(super) fn say_which_mark(&self) {
        match self.surroundings.mark_field {
            Some(field) => tracing::info!("access points have their firewall marks in {field}"),
            None => tracing::warn!("{}", no_mark(&self.plan.mark_fields)),
        }
    }

    /// Tells workers and the core what is otherwise; of addresses they are told whenever some have come or gone.
    pub(super) fn tell_surroundings(&mut self, changes: &Changes, is_news_for_all: bool) {
        if !is_news_for_all && changes.addresses.is_empty() && changes.routes.is_empty() {
            return;
        }
        for entry in self.access_points.values_mut() {
            let Some(index) = entry.index else { continue };
            let surroundings = self.surroundings.of(index, &self.context.addresses);
            let is_news = entry.link.send_if_modified(|link| match link {
                Some(link) if link.surroundings != surroundings => {
                    link.surroundings = surroundings;
                    true
                }
                _ => false,
            });
            self.workers_have_news |= is_news && entry.worker.is_some();
        }
        // Without privileges the routes of one link decide whether replies come in on another.
        if is_news_for_all || !self.missing_privileges.is_empty() {
            self.report_all();
        }
    }

    pub(super) fn steering_level(&self, identifier: &Identifier, entry: &Entry) -> SteeringLevel {
        let link = entry.link.borrow();
        let Some(link) = link.as_ref() else { return SteeringLevel::default() };
        SteeringLevel {
            tunnel: link.surroundings.tunnel.as_ref().map(|tunnel| tunnel.full.clone()),
            no_room: link.surroundings.tunnel.as_ref().and_then(obstacle_before),
            no_mark: link.surroundings.mark_field.is_none().then(|| no_mark(&self.plan.mark_fields)),
            unsteered: entry.unsteered.clone().or_else(|| self.unprivileged(&entry.name)),
            deaf: self.deafness(identifier, entry, link),
        }
    }

    /// Why sockets bound to a link that is not ours would hear no replies: the kernel drops what comes in on another interface
    /// than it would answer by. A rule of ours for its address, if there can be one, has it answer there.
    fn deafness(&self, identifier: &Identifier, entry: &Entry, link: &LinkView) -> Option<Failure> {
        if entry.has_something_of_ours() {
            return None;
        }
        let name = entry.name.as_str();
        let is_in_tunnel =
            link.surroundings.tunnel.as_ref().is_some_and(|tunnel| tunnel.full.families.contains(Families::V4))
                && self.steered.get(identifier).is_some_and(|bypass| *bypass != BypassVpn::All);
        let obstacle = if is_in_tunnel {
            "a full-tunnel VPN takes what has its address; or set bypass_vpn to \"all\" in its profile".to_owned()
        } else {
            let obstacle = self.obstacle_to_source_rule(entry, link)?;
            if !self.has_default_route_behind_others(link.index) {
                return None;
            }
            format!("the default route is another interface's, {obstacle}")
        };
        let filter = effective_reverse_path_filter(name).inspect_err(|error| tracing::debug!("{error}"));
        if !filter.is_ok_and(|filter| filter == STRICT) {
            return None;
        }
        let message = format!(
            "replies to sockets bound to {name} would be dropped: its reverse-path filter is strict (rp_filter 1), and {obstacle}; or make it loose: sysctl net.ipv4.conf.{name}.rp_filter=2"
        );
        Some(not_supported(FailureReason::StrictReversePathFilter, message))
    }

    /// Why there is, or would be, no rule for the address of a link that is not ours, as a clause.
    fn obstacle_to_source_rule(&self, entry: &Entry, link: &LinkView) -> Option<String> {
        if !self.missing_privileges.is_empty() {
            let missing = self.missing_privileges.join(", ");
            Some(format!("and {missing} is missing for a rule that would let them in; run as root"))
        } else if link.surroundings.elsewhere.iter().any(IpAddr::is_ipv4) {
            Some("and so is its address".to_owned())
        } else {
            entry.unsteered.is_some().then(|| "and there is no rule that would let them in".to_owned())
        }
    }

    /// It leads to the Internet by IPv4, but another interface is preferred.
    fn has_default_route_behind_others(&self, index: u32) -> bool {
        let defaults = || {
            let main = self.watcher.cache().routes().filter(|route| route.table == RouteSpec::MAIN_TABLE);
            main.filter(|route| route.family == Family::V4 && route.is_default())
        };
        let own = defaults().filter(|route| route.uses(index)).map(|route| route.metric).min();
        let others = defaults().filter(|route| !route.uses(index)).map(|route| route.metric).min();
        own.is_some_and(|own| others.is_some_and(|other| other <= own))
    }

    /// Brings what stands beside links of others to what the core wants and the kernel has now.
    pub(super) fn follow_beside(&mut self) {
        let is_concerned = |entry: &Entry| entry.beside.is_some() || entry.unsteered.is_some();
        if self.steered.is_empty() && !self.access_points.values().any(is_concerned) {
            return;
        }
        let identifiers: Vec<Identifier> = self.access_points.keys().cloned().collect();
        for identifier in identifiers {
            let refused = match self.steered.get(&identifier) {
                Some(bypass) => self.steer_beside(&identifier, *bypass).err(),
                None => {
                    self.let_go_beside(&identifier);
                    None
                }
            };
            let Some(entry) = self.access_points.get_mut(&identifier) else { continue };
            if entry.unsteered != refused {
                entry.unsteered = refused;
                self.report(&identifier, Extent::Link);
            }
        }
    }

    pub(super) fn let_go_beside(&mut self, identifier: &Identifier) {
        self.give_up_inherited_beside(identifier);
        let Some(beside) = self.access_points.get_mut(identifier).and_then(|entry| entry.beside.take()) else { return };
        let index = beside.index;
        // Whoever has the lock next writes a note of its own.
        let _claim = beside.remove(&self.context.requests);
        self.context.notes.remove(index);
    }

    fn steer_beside(&mut self, identifier: &Identifier, bypass: BypassVpn) -> Result<(), Failure> {
        let Some(entry) = self.access_points.get(identifier) else { return Ok(()) };
        // What was ours is still on its way out, or the interface is gone.
        let link = entry.index.and_then(|index| self.watcher.cache().link(index)).filter(|_| !entry.departing);
        let Some(link) = link.filter(|_| !entry.has_something_of_ours()).cloned() else { return Ok(()) };
        if entry.beside.as_ref().is_some_and(|beside| beside.index != link.index) {
            self.let_go_beside(identifier);
        }
        if self.access_points.get(identifier).is_some_and(|entry| entry.beside.is_none()) {
            let beside = self.begin_beside(link.index, &link.name)?;
            if let Some(entry) = self.access_points.get_mut(identifier) {
                entry.beside = Some(beside);
            }
        }
        let surroundings = self.surroundings.of(link.index, &self.context.addresses);
        let now = netbearer_engine::Clock::now(&self.context.clock);
        let Some(beside) = self.access_points.get_mut(identifier).and_then(|entry| entry.beside.as_mut()) else {
            return Ok(());
        };
        let requests = &self.context.requests;
        if beside.follow(requests, self.watcher.cache(), &link, (&surroundings, bypass), now) {
            return Ok(());
        }
        let cause = "another program keeps removing them; find it with `ip monitor`";
        Err(unsteered(&link.name, FailureReason::EngineFailed, cause))
    }

    fn unprivileged(&self, name: &str) -> Option<Failure> {
        let first = self.missing_privileges.first()?;
        let cause = format!("{} is missing; run as root", self.missing_privileges.join(", "));
        Some(unsteered(name, FailureReason::MissingPrivilege((*first).to_owned()), &cause))
    }

    fn begin_beside(&self, index: u32, name: &str) -> Result<Beside, Failure> {
        if let Some(failure) = self.unprivileged(name) {
            return Err(failure);
        }
        let claim = self.claim().map_err(|error| {
            let reason = match &error {
                OwnershipError::Owned { process } => FailureReason::OwnedByAnotherProcess(*process),
                OwnershipError::Unwritable { .. } => FailureReason::EngineFailed,
            };
            unsteered(name, reason, &error.to_string())
        })?;
        let cache = self.watcher.cache();
        let no_table =
            || unsteered(name, FailureReason::EngineFailed, "every routing table for access points is in use");
        let steering = self.context.numbers.reserve(&tables_in_use(cache)).ok_or_else(no_table)?;
        let hardware_address = cache.link(index).map(|link| link.hardware_address.to_string()).unwrap_or_default();
        // Nothing that cannot be tagged is changed; the note says that what is tagged has an owner.
        let note = Note {
            boot: self.context.boot.clone(),
            index,
            name: name.to_owned(),
            hardware_address,
            administratively_up: true,
            settings: Vec::new(),
            mtu: None,
            table: Some(steering.table()),
            beside: true,
            reached: None,
        };
        let unnoted = |error: std::io::Error| unsteered(name, FailureReason::EngineFailed, &error.to_string());
        self.context.notes.write(note).map_err(unnoted)?;
        Ok(Beside::new(index, steering, claim))
    }

    /// Takes the lock, and clears what a killed process has left if it was free.
    fn claim(&self) -> Result<Claim, OwnershipError> {
        let claim = self.context.ownership.claim()?;
        self.clear_leftovers();
        Ok(claim)
    }
}

fn unsteered(name: &str, reason: FailureReason, cause: &str) -> Failure {
    let message = format!(
        "{name} has no table and rules of its own beside what others keep up there, so its sockets depend on the main table: {cause}"
    );
    not_supported(reason, message)
}

fn no_mark(fields: &[MarkField]) -> String {
    let fields: Vec<String> = fields.iter().map(ToString::to_string).collect();
    format!(
        "there are no firewall marks for access points, as rules of other programs are about {}; name another field in steering.toml. Sockets bound to sessions work all the same",
        if fields.is_empty() { "the mark".to_owned() } else { fields.join(" and ") }
    )
}
