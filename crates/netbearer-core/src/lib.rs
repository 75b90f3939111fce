#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]
//! The decisions of NetBearer.
//!
//! [`Core`] owns the ledger of holds, the access-point machines and the session machines. It does no I/O, has no clock
//! and no async: `handle_*` and requests go in with the time as an argument, [`Core::poll_action`] and
//! [`Core::poll_timeout`] say what comes out. All its maps are ordered, so every history can be replayed.
//!
//! The rules are those of the semantics (docs/semantics.md in the repository); section numbers in this crate refer to it.

mod access_point;
mod action;
mod answering;
mod candidates;
mod choosing;
mod client;
mod closing;
mod composite;
mod core;
mod counters;
mod course;
mod description;
mod exclusive;
mod hold;
mod journal;
mod ledger;
mod limits;
mod losing;
mod names;
mod opening;
mod phase;
mod presence;
mod profiles;
mod properties;
mod publication;
mod question;
mod ranking;
mod refusal;
mod report;
mod returning;
mod rights;
mod roaming;
mod saved;
mod session;
mod sockets;
mod steering;
mod timer;
mod token;

pub use crate::{
    action::Action,
    client::{Client, Program},
    core::{ClientId, Core, SessionId, Settings, UserId},
    course::{CourseKind, RoamCause, TRANSITIONS},
    description::SessionDescription,
    hold::HoldId,
    journal::{Decision, Input, Subject, Verdict},
    limits::Limits,
    profiles::{MatchedProfile, Profiles},
    question::{ChooserId, Question, QuestionNumber},
    refusal::Refusal,
    rights::Rights,
    saved::{Numbers, Record, SavedAccessPoint, SavedCourse, SavedSession, SavedState},
    token::{Token, TokenError},
};
