use std::time::Duration;

use netbearer_types::{
    AccessPointCommand, CommandNumber, Failure, FailureReason, Identifier, Moment, Progress, SessionError, Stage,
    StateFlags, Step, Target,
};

use crate::{
    Action, Core, Input, Refusal, SessionId, Verdict, access_point::AccessPoint, core::invalid_configuration,
    losing::Downfall, phase::Phase, publication::REMOVAL_TIMEOUT, rights::may_not_open, session::Interest,
    timer::Timer,
};

/// How long an open waits for the first enumeration (§2).
pub(crate) const ENUMERATION_TIMEOUT: Duration = Duration::from_secs(10);
/// Failed tries of waiting sessions back off from here (§3, `Reconnect`) …
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// … to here.
const LAST_RETRY: Duration = Duration::from_secs(60);

/// Opening: from the call to Opened or Error.
impl Core {
    pub(crate) fn open_session(&mut self, id: SessionId, now: Moment) -> Result<(), Refusal> {
        let session = self.sessions.get(&id).ok_or(Refusal::UnknownSession)?;
        if session.interest.holds() {
            return Ok(());
        }
        if !session.configuration.is_valid() {
            let failure = invalid_configuration(&session.configuration.identifier);
            self.tell_failure(id, failure, now);
            return Ok(());
        }
        if !self.rights_of(id).may_open {
            let failure = may_not_open(&session.configuration.name, &self.settings.opening_group);
            self.tell_failure(id, failure.clone(), now);
            return Err(Refusal::Denied(failure));
        }
        if !self.usage.may_hold(session.user) {
            let failure = too_many_sessions(self.usage.session_limit());
            self.tell_failure(id, failure.clone(), now);
            return Err(Refusal::TooManySessions(failure));
        }
        if session.way.is_some() {
            return self.open_composite(id, now);
        }
        let identifier = session.configuration.identifier.clone();
        self.open_on(id, &identifier, now)
    }

    /// Opens a session on an access point: its own, or the one it has come to.
    pub(crate) fn open_on(&mut self, id: SessionId, identifier: &Identifier, now: Moment) -> Result<(), Refusal> {
        if let Some(outcome) = self.open_beside_others(id, identifier, now) {
            return outcome;
        }
        let session = self.sessions.get(&id).ok_or(Refusal::UnknownSession)?;
        let Some(access_point) = self.access_points.get(identifier) else { return Err(Refusal::UnknownSession) };
        let (phase, flags) = (access_point.phase, access_point.flags());
        let reconnect = session.properties.reconnect();
        let unsupported = access_point.report.cannot_start_and_stop.clone();
        match phase {
            Phase::Observed if flags == StateFlags::Active => {
                if let Some(failure) = self.deafness(identifier) {
                    self.tell_failure(id, failure.clone(), now);
                    return Err(Refusal::NotSupported(failure));
                }
                self.join(id, identifier, now);
            }
            Phase::Up | Phase::Regaining => self.join(id, identifier, now),
            Phase::Lingering => {
                self.hold(id, identifier, Interest::Opening, now);
                self.enter_phase(
                    identifier,
                    Phase::Up,
                    Verdict::Up,
                    now,
                    vec![Input::new("cause", "open while lingering")],
                );
                self.tell_opened(id, now);
                // Those who closed it, and still saw it, watch their service networks from now on.
                self.tell_composites(identifier);
            }
            Phase::Enumerating | Phase::AwaitingDevice | Phase::Starting | Phase::Closing(_) => {
                self.hold(id, identifier, Interest::Opening, now);
            }
            Phase::Observed | Phase::Waiting | Phase::Sensing | Phase::Retreating
                if flags == StateFlags::Discovered =>
            {
                if let Some(failure) = unsupported {
                    self.tell_failure(id, failure.clone(), now);
                    return Err(Refusal::NotSupported(failure));
                }
                self.hold(id, identifier, Interest::Opening, now);
                if phase == Phase::Retreating {
                    self.await_removal(identifier, now);
                    self.tell_states(identifier);
                } else {
                    self.start(identifier, now);
                }
            }
            Phase::Observed | Phase::Waiting | Phase::Sensing | Phase::Retreating if reconnect => {
                self.hold(id, identifier, Interest::Waiting, now);
                if matches!(phase, Phase::Observed | Phase::Sensing) {
                    self.wait(identifier, now);
                }
            }
            Phase::Observed if !self.enumerated => {
                self.hold(id, identifier, Interest::Opening, now);
                self.enter_phase(identifier, Phase::Enumerating, Verdict::AwaitEnumeration, now, Vec::new());
                self.arm(identifier, Timer::Enumeration, now + ENUMERATION_TIMEOUT);
            }
            Phase::Observed | Phase::Waiting | Phase::Sensing | Phase::Retreating => {
                let failure = not_available(access_point.name());
                self.tell_failure(id, failure, now);
            }
        }
        Ok(())
    }

    /// Begins to bring an access point up for those who hold it.
    pub(crate) fn start(&mut self, identifier: &Identifier, now: Moment) {
        let Some(access_point) = self.access_points.get_mut(identifier) else { return };
        let (connect, carrier) = (access_point.profile.connect_timeout, access_point.profile.carrier_timeout);
        let has_carrier = access_point.has_carrier();
        let waiting: Vec<SessionId> = self.ledger.holders(identifier);
        for id in waiting {
            self.want(id, Interest::Opening);
        }
        let inputs = vec![
            Input::new("holds", self.ledger.count(identifier)),
            Input::new("connect timeout", format_args!("{connect:?}")),
            Input::new("carrier timeout", format_args!("{carrier:?}")),
        ];
        self.enter_phase(identifier, Phase::Starting, Verdict::Start, now, inputs);
        self.arm(identifier, Timer::Connect, now + connect);
        if !has_carrier {
            self.arm(identifier, Timer::Carrier, now + carrier);
        }
    }

    /// An engine says how far a start is, or the carrier came or went during it.
    pub(crate) fn start_progressed(&mut self, identifier: &Identifier, now: Moment) {
        let Some(access_point) = self.access_points.get_mut(identifier) else { return };
        let has_carrier = access_point.has_carrier();
        match access_point.stage() {
            Some(Stage::Reached) if access_point.observed_flags() == StateFlags::Active => {
                let inputs = vec![Input::new("holds", self.ledger.count(identifier))];
                self.enter_phase(identifier, Phase::Up, Verdict::Up, now, inputs);
                for session in self.ledger.holders(identifier) {
                    self.tell_opened(session, now);
                }
                self.candidate_is_up(identifier, now);
            }
            Some(Stage::Failed(reason, message)) => {
                let failure = engine_failure(reason.clone(), message.clone());
                self.fail_start(identifier, failure, now);
            }
            _ if has_carrier => access_point.timers.disarm(Timer::Carrier),
            _ => {
                if !access_point.timers.is_armed(Timer::Carrier) {
                    let deadline = now + access_point.profile.carrier_timeout;
                    access_point.timers.arm(Timer::Carrier, deadline);
                }
            }
        }
    }

    pub(crate) fn fire(&mut self, identifier: &Identifier, timer: Timer, now: Moment) {
        let Some(access_point) = self.access_points.get_mut(identifier) else { return };
        let name = access_point.name().to_owned();
        self.mark_access_point_unsaved(identifier);
        let Some(access_point) = self.access_points.get_mut(identifier) else { return };
        match timer {
            Timer::Enumeration => self.enumeration_ended(identifier, now),
            Timer::Carrier => {
                access_point.carrier_refuted = true;
                let timeout = access_point.profile.carrier_timeout;
                self.refute_carrier(identifier);
                self.fail_start(identifier, no_carrier(&name, timeout), now);
            }
            Timer::Connect => {
                let timeout = access_point.profile.connect_timeout;
                let failure = connect_timeout(&name, timeout, access_point.progress());
                self.fail_start(identifier, failure, now);
            }
            Timer::Regain => self.lose_link(identifier, "the lease was lost, and no other came in time", now),
            Timer::Linger => self.end_linger(identifier, "lingered long enough", now),
            Timer::Removal => self.removal_timed_out(identifier, now),
            Timer::Retry => {
                if access_point.flags() == StateFlags::Discovered && access_point.may_start() {
                    self.start(identifier, now);
                }
            }
        }
    }

    /// The first enumeration has ended, or took too long: an open that waited for it is decided.
    pub(crate) fn enumeration_ended(&mut self, identifier: &Identifier, now: Moment) {
        let Some(access_point) = self.access_points.get(identifier) else { return };
        if access_point.phase != Phase::Enumerating {
            return;
        }
        match access_point.flags() {
            StateFlags::Active | StateFlags::Discovered => self.serve_holders(identifier, now),
            StateFlags::Defined | StateFlags::Undefined => {
                let failure = not_available(access_point.name());
                self.fail_holders(identifier, failure, now);
            }
        }
    }

    /// Those who hold an access point, if any, are served from what it is now.
    pub(crate) fn serve_holders(&mut self, identifier: &Identifier, now: Moment) {
        let Some(access_point) = self.access_points.get(identifier) else { return };
        let unsupported = access_point.report.cannot_start_and_stop.clone();
        match access_point.observed_flags() {
            _ if self.ledger.count(identifier) == 0 => self.observe(identifier, now),
            StateFlags::Active => match self.deafness(identifier) {
                None => self.serve_active(identifier, now),
                Some(failure) => self.fail_holders(identifier, failure, now),
            },
            StateFlags::Discovered => match unsupported {
                None => self.start(identifier, now),
                Some(failure) => self.fail_holders(identifier, failure, now),
            },
            StateFlags::Defined | StateFlags::Undefined => {
                let failure = not_available(access_point.name());
                self.fail_holders(identifier, failure, now);
            }
        }
    }

    /// The access point became Active without us, so those who hold it have what they wanted.
    pub(crate) fn serve_active(&mut self, identifier: &Identifier, now: Moment) {
        self.observe(identifier, now);
        self.steer(now);
        for session in self.ledger.holders(identifier) {
            self.tell_opened(session, now);
        }
        self.candidate_is_up(identifier, now);
    }

    pub(crate) fn observe(&mut self, identifier: &Identifier, now: Moment) {
        self.enter_phase(identifier, Phase::Observed, Verdict::Observe, now, Vec::new());
    }

    /// A start failed; what was begun is cleared away, or tried again later for those who wait.
    pub(crate) fn fail_start(&mut self, identifier: &Identifier, failure: Failure, now: Moment) {
        self.fail_holders(identifier, failure, now);
        let Some(access_point) = self.access_points.get_mut(identifier) else { return };
        if access_point.phase == Phase::Waiting {
            access_point.timers.arm(Timer::Retry, now + retry_delay(access_point.failed_starts));
            access_point.failed_starts = access_point.failed_starts.saturating_add(1);
        }
    }

    /// Those who open an access point are told that it failed; those with `Reconnect` go on waiting, and those on a service
    /// network go on to its next member.
    pub(crate) fn fail_holders(&mut self, identifier: &Identifier, failure: Failure, now: Moment) {
        self.back_off(identifier, now);
        let losing = self.evict_guests(identifier);
        let moving = self.move_on(identifier, &failure, now);
        let (stay, failed): (Vec<SessionId>, Vec<SessionId>) =
            self.ledger.holders(identifier).into_iter().partition(|id| self.reconnects(*id));
        for id in &failed {
            self.release(*id, identifier, now);
        }
        if stay.is_empty() {
            self.retreat(identifier, now, vec![Input::new("cause", &failure)]);
        } else {
            self.wait(identifier, now);
        }
        for id in failed {
            self.tell_failure(id, failure.clone(), now);
        }
        self.lose_candidates(losing, identifier, &failure, Downfall::Start, now);
        self.try_next(moving, now);
    }

    /// Keeps an access point ready for the sessions that wait for it.
    pub(crate) fn wait(&mut self, identifier: &Identifier, now: Moment) {
        for id in self.ledger.holders(identifier) {
            self.want(id, Interest::Waiting);
        }
        let inputs = vec![Input::new("sessions that wait", self.ledger.count(identifier))];
        self.enter_phase(identifier, Phase::Waiting, Verdict::Wait, now, inputs);
    }

    pub(crate) fn command(&mut self, identifier: &Identifier, target: Target) {
        let is_there = |found: &&mut AccessPoint| found.past.is_none_or(|past| !past.is_missed);
        let Some(access_point) = self.access_points.get_mut(identifier).filter(is_there) else { return };
        access_point.resuming = false;
        if access_point.commanded.is_none() {
            access_point.found_up = access_point.link().is_some_and(|link| link.administratively_up);
        }
        self.last_command += 1;
        let number = CommandNumber(self.last_command);
        access_point.command = number;
        access_point.commanded = Some(target);
        let command = AccessPointCommand {
            identifier: access_point.device.clone(),
            number,
            target,
            profile: access_point.profile.clone(),
        };
        if access_point.past.is_none() {
            self.actions.push_back(Action::Command(command));
        }
        self.show_others(identifier);
    }

    pub(crate) fn arm(&mut self, identifier: &Identifier, timer: Timer, deadline: Moment) {
        if let Some(access_point) = self.access_points.get_mut(identifier) {
            access_point.timers.arm(timer, deadline);
            self.mark_access_point_unsaved(identifier);
        }
    }

    pub(crate) fn reconnects(&self, id: SessionId) -> bool {
        self.sessions.get(&id).is_some_and(|session| session.properties.reconnect())
    }

    /// Somebody waits for a removal from now on, if nobody did.
    pub(crate) fn await_removal(&mut self, identifier: &Identifier, now: Moment) {
        if let Some(access_point) = self.access_points.get_mut(identifier)
            && !access_point.timers.is_armed(Timer::Removal)
        {
            access_point.timers.arm(Timer::Removal, now + REMOVAL_TIMEOUT);
            self.mark_access_point_unsaved(identifier);
        }
    }

    /// A session takes its hold on a link that is up.
    fn join(&mut self, id: SessionId, identifier: &Identifier, now: Moment) {
        self.hold(id, identifier, Interest::Opening, now);
        if let Some(access_point) = self.access_points.get_mut(identifier) {
            access_point.timers.disarm(Timer::Linger);
            self.mark_access_point_unsaved(identifier);
        }
        self.steer(now);
        self.tell_opened(id, now);
    }

    /// A session wants a network from now on, wherever it will come from.
    pub(crate) fn take_up(&mut self, id: SessionId, interest: Interest) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.failure = None;
        self.want(id, interest);
        self.touch(id);
    }

    pub(crate) fn hold(&mut self, id: SessionId, identifier: &Identifier, interest: Interest, now: Moment) {
        self.take_up(id, interest);
        self.ledger.take(identifier, id);
        let holds = Input::new("holds", self.ledger.count(identifier));
        self.record_session(id, Verdict::Hold, now, vec![holds]);
    }
}

/// How long those who wait are kept from trying again after so many failed starts.
pub(crate) fn retry_delay(failed_starts: u32) -> Duration {
    FIRST_RETRY.saturating_mul(1_u32.checked_shl(failed_starts).unwrap_or(u32::MAX)).min(LAST_RETRY)
}

pub(crate) fn not_available(name: &str) -> Failure {
    Failure {
        error: SessionError::InvalidConfiguration,
        reason: FailureReason::NotAvailable,
        message: format!(
            "{name} cannot be opened now: its interface is unplugged, or up without carrier; check the cable or the far end"
        ),
    }
}

fn too_many_sessions(limit: u32) -> Failure {
    Failure {
        error: SessionError::OperationNotSupported,
        reason: FailureReason::LimitReached(limit),
        message: format!("the limit of {limit} open sessions for one user is reached; close some, or raise the limit"),
    }
}

/// What an engine could not do, as a session meets it.
pub(crate) fn engine_failure(reason: FailureReason, message: String) -> Failure {
    let error = match reason {
        FailureReason::MissingPrivilege(_)
        | FailureReason::OwnedByAnotherProcess(_)
        | FailureReason::ManagedElsewhere(_) => SessionError::OperationNotSupported,
        _ => SessionError::Unknown,
    };
    Failure { error, reason, message }
}

fn no_carrier(name: &str, timeout: Duration) -> Failure {
    Failure {
        error: SessionError::Unknown,
        reason: FailureReason::NoCarrier,
        message: format!(
            "no carrier on {name} within {timeout:?} of setting it up; plug in the cable or switch on the far end, then update"
        ),
    }
}

fn connect_timeout(name: &str, timeout: Duration, progress: Option<&Progress>) -> Failure {
    let leasing = progress.is_some_and(|progress| progress.stage == Stage::Working(Step::AcquiringLease));
    let obstacle = progress.and_then(|progress| progress.obstacle.as_deref());
    let (reason, what) = match (leasing, obstacle) {
        (true, Some(obstacle)) => (FailureReason::NoLease, obstacle),
        (true, None) => {
            (FailureReason::NoLease, "no DHCP server offered a lease that can be used; check that the network has one")
        }
        (false, _) => (
            FailureReason::ConnectTimeout,
            "it took too long; raise connect_timeout in its profile if the network is slow",
        ),
    };
    Failure {
        error: SessionError::Unknown,
        reason,
        message: format!("{name} could not be brought up within {timeout:?}: {what}"),
    }
}
