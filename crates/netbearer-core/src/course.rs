use std::{collections::BTreeMap, fmt};

use netbearer_types::{Identifier, Moment, Offer};
use serde::{Deserialize, Serialize};

use crate::{access_point::AccessPoint, session::Way};

/// How it stands with the roaming of a session that is open on a service network (§5). Whether its link is still there is told by
/// [`Way::member`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Course {
    /// Nothing is under way.
    #[default]
    Settled,
    /// A better member is brought up, to be moved to without a word to the application before.
    Preparing {
        /// The member.
        candidate: Identifier,
    },
    /// The application was offered another member, and has not answered.
    Offered {
        /// What was offered.
        offer: Offer,
    },
    /// The application wants it: it is brought up.
    Migrating {
        /// What was offered.
        offer: Offer,
    },
    /// It is up, and the application tries it.
    Trial {
        /// What was offered.
        offer: Offer,
    },
    /// The link was lost; another one is brought up without asking the application.
    Replacing {
        /// The member.
        candidate: Identifier,
    },
}

/// All that is kept of a session's roaming.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Roam {
    pub(crate) course: Course,
    /// Not offered again as long as this is their appearance.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) ignored: BTreeMap<Identifier, u64>,
    /// When candidates were rejected, or lost in their trial.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) rejected: BTreeMap<Identifier, Vec<Moment>>,
    /// What was lost or tried in vain since the session has had no link, with its appearance.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) failed: BTreeMap<Identifier, u64>,
    /// What was left, and is kept until then.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) lingering: BTreeMap<Identifier, Moment>,
}

/// A better member that is there, and is not offered or moved to yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HeldBack {
    pub(crate) candidate: Identifier,
    pub(crate) by: Reserve,
}

/// What holds a better member back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reserve {
    /// It was ignored, or has disappointed.
    Ignored,
    /// It has not been there long enough, until then.
    Settles(Moment),
    /// It did not start, and is tried again then.
    BacksOff(Moment),
}

/// A course by its name, as transitions and the diagram of them have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum CourseKind {
    /// Open on one link, nothing is under way.
    Settled,
    /// A better member is brought up for a session that takes no roaming events.
    Preparing,
    /// A better member is offered.
    Offered,
    /// The link is lost; the next member is offered.
    ReplacementOffered,
    /// The candidate is brought up beside the link in use.
    Migrating,
    /// The link was lost while the candidate is brought up.
    MigratingWithoutLink,
    /// Both links are up, and the application tries the new one.
    Trial,
    /// The old link was lost during the trial.
    TrialWithoutLink,
    /// The link is lost; the next member is brought up for a session that takes no roaming events.
    Replacing,
    /// The link is lost, and what comes next is decided within the same step.
    Stranded,
}

/// Why a session's course changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum RoamCause {
    /// A member is offered.
    Offer,
    /// A better one is offered instead.
    Supersede,
    /// What was offered, or is prepared for, has gone or is no better any more.
    Withdraw,
    /// A member is brought up without asking.
    Prepare,
    /// The application ignores the offer.
    Ignore,
    /// The application migrates.
    Migrate,
    /// The candidate is up.
    CandidateUp,
    /// The candidate could not be brought up, was lost, or was stopped.
    CandidateFailed,
    /// The application accepts.
    Accept,
    /// The application rejects.
    Reject,
    /// The link in use is lost.
    LinkLost,
    /// The application takes roaming events from now on.
    StakeholderGained,
    /// The application takes them no more.
    StakeholderLost,
}

/// All ways in which a session's course can change, but for its end, which is possible everywhere. The machine does nothing else,
/// and the diagram in ARCHITECTURE.md is made from this.
pub const TRANSITIONS: &[(CourseKind, RoamCause, CourseKind)] = {
    use CourseKind as At;
    use RoamCause as By;
    &[
        (At::Settled, By::Offer, At::Offered),
        (At::Settled, By::Prepare, At::Preparing),
        (At::Settled, By::Prepare, At::Replacing),
        (At::Settled, By::LinkLost, At::Stranded),
        (At::Preparing, By::CandidateUp, At::Settled),
        (At::Preparing, By::CandidateFailed, At::Settled),
        (At::Preparing, By::Withdraw, At::Settled),
        (At::Preparing, By::StakeholderGained, At::Settled),
        (At::Preparing, By::LinkLost, At::Replacing),
        (At::Offered, By::Supersede, At::Offered),
        (At::Offered, By::Withdraw, At::Settled),
        (At::Offered, By::Ignore, At::Settled),
        (At::Offered, By::Migrate, At::Migrating),
        (At::Offered, By::StakeholderLost, At::Settled),
        (At::Offered, By::LinkLost, At::Stranded),
        (At::Migrating, By::CandidateUp, At::Trial),
        (At::Migrating, By::CandidateFailed, At::Settled),
        (At::Migrating, By::Reject, At::Settled),
        (At::Migrating, By::StakeholderLost, At::Settled),
        (At::Migrating, By::LinkLost, At::MigratingWithoutLink),
        (At::Trial, By::Accept, At::Settled),
        (At::Trial, By::Reject, At::Settled),
        (At::Trial, By::CandidateFailed, At::Settled),
        (At::Trial, By::StakeholderLost, At::Settled),
        (At::Trial, By::LinkLost, At::TrialWithoutLink),
        (At::Stranded, By::Offer, At::ReplacementOffered),
        (At::Stranded, By::Prepare, At::Replacing),
        (At::ReplacementOffered, By::Supersede, At::ReplacementOffered),
        (At::ReplacementOffered, By::Withdraw, At::Stranded),
        (At::ReplacementOffered, By::Migrate, At::MigratingWithoutLink),
        (At::ReplacementOffered, By::StakeholderLost, At::Stranded),
        (At::MigratingWithoutLink, By::CandidateUp, At::TrialWithoutLink),
        (At::MigratingWithoutLink, By::CandidateFailed, At::Stranded),
        (At::MigratingWithoutLink, By::StakeholderLost, At::Replacing),
        (At::TrialWithoutLink, By::Accept, At::Settled),
        (At::TrialWithoutLink, By::CandidateFailed, At::Stranded),
        (At::TrialWithoutLink, By::StakeholderLost, At::Settled),
        (At::Replacing, By::CandidateUp, At::Settled),
        (At::Replacing, By::CandidateFailed, At::Stranded),
    ]
};

impl Course {
    /// What is, or will be, held beside the link in use.
    pub(crate) const fn held_candidate(&self) -> Option<&Identifier> {
        match self {
            Self::Settled | Self::Offered { .. } => None,
            Self::Preparing { candidate } | Self::Replacing { candidate } => Some(candidate),
            Self::Migrating { offer } | Self::Trial { offer } => Some(&offer.configuration),
        }
    }

    /// The offer that its application has to answer, or has under way.
    pub(crate) const fn offer(&self) -> Option<&Offer> {
        match self {
            Self::Offered { offer } | Self::Migrating { offer } | Self::Trial { offer } => Some(offer),
            Self::Settled | Self::Preparing { .. } | Self::Replacing { .. } => None,
        }
    }

    /// The application has decided to move, and its session is told to be Roaming.
    pub(crate) const fn is_moving(&self) -> bool {
        matches!(self, Self::Migrating { .. } | Self::Trial { .. })
    }
}

impl Way {
    pub(crate) const fn course_kind(&self) -> CourseKind {
        match (&self.roam.course, self.member.is_some()) {
            (Course::Settled, true) => CourseKind::Settled,
            (Course::Settled, false) => CourseKind::Stranded,
            (Course::Preparing { .. }, _) => CourseKind::Preparing,
            (Course::Offered { .. }, true) => CourseKind::Offered,
            (Course::Offered { .. }, false) => CourseKind::ReplacementOffered,
            (Course::Migrating { .. }, true) => CourseKind::Migrating,
            (Course::Migrating { .. }, false) => CourseKind::MigratingWithoutLink,
            (Course::Trial { .. }, true) => CourseKind::Trial,
            (Course::Trial { .. }, false) => CourseKind::TrialWithoutLink,
            (Course::Replacing { .. }, _) => CourseKind::Replacing,
        }
    }
}

impl Roam {
    /// True until it has gone away and come back.
    pub(crate) fn ignores(&self, identifier: &Identifier, access_point: &AccessPoint) -> bool {
        self.ignored.get(identifier) == Some(&access_point.presence.appearance())
    }

    pub(crate) fn is_idle(&self) -> bool {
        *self == Self::default()
    }
}

impl Reserve {
    /// When it ends by itself.
    pub(crate) const fn end(self) -> Option<Moment> {
        match self {
            Self::Ignored => None,
            Self::Settles(end) | Self::BacksOff(end) => Some(end),
        }
    }
}

impl fmt::Display for Reserve {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Ignored => "ignored or rejected, until it goes away and comes back, or the members' order changes",
            Self::Settles(_) => "it has not been there long enough; each loss within a minute makes that longer",
            Self::BacksOff(_) => "it could not be brought up, and is tried again later",
        })
    }
}

impl fmt::Display for CourseKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Settled => "settled",
            Self::Preparing => "preparing",
            Self::Offered => "offered",
            Self::ReplacementOffered => "offered a replacement",
            Self::Migrating => "migrating",
            Self::MigratingWithoutLink => "migrating without a link",
            Self::Trial => "in a trial",
            Self::TrialWithoutLink => "in a trial without the old link",
            Self::Replacing => "replacing its link",
            Self::Stranded => "without a link",
        })
    }
}

impl fmt::Display for RoamCause {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Offer => "is offered another access point",
            Self::Supersede => "is offered a better one instead",
            Self::Withdraw => "cannot have what was offered any more",
            Self::Prepare => "prepares to move",
            Self::Ignore => "ignores the offer",
            Self::Migrate => "migrates",
            Self::CandidateUp => "has its candidate up",
            Self::CandidateFailed => "has lost its candidate",
            Self::Accept => "accepts",
            Self::Reject => "rejects",
            Self::LinkLost => "has lost its link, and roams",
            Self::StakeholderGained => "takes roaming events",
            Self::StakeholderLost => "takes no roaming events any more",
        })
    }
}
