//! What is to be sent to one connection, in order and bounded.
//!
//! Replies are never dropped: who has too many of them waiting is not read from. Signals of sessions are dropped when too
//! many wait; then the current state of each such session goes out instead, and a mark that something was left out.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use netbearer_core::SessionId;
use tokio::sync::Notify;

use crate::Letter;

/// Signals that wait, in octets, before they are coalesced.
const SIGNALS: usize = 128 * 1024;
/// Calls that are not answered and replies that wait, before no further calls are read. One that may have a long answer counts as
/// all of them: else so many long answers could wait at once.
pub(crate) const REPLIES: usize = 16;
/// The same in octets.
const REPLY_OCTETS: usize = 64 * 1024;
/// What waits, in octets, before the connection is cut off (semantics §4), unless it is being read at the moment.
const CUT_OFF: usize = 1024 * 1024;
/// Who has taken something within this time reads.
const READING: Duration = Duration::from_secs(1);
/// What is taken at once: little enough that what waits can still be coalesced.
const BATCH: usize = 64 * 1024;
/// Sessions whose current state is told at once.
const BATCH_OF_SESSIONS: usize = 64;

/// What a message in an outbox is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mail {
    /// A reply to a call.
    Reply,
    /// A signal that tells what cannot be asked for.
    Signal,
    /// A signal that there is a session, with all there is to tell of it: before everything else of it.
    Added(SessionId),
    /// A signal of a session, whose state can be told anew.
    Session(SessionId),
    /// A signal of configurations, which can be listed anew.
    Configurations,
    /// A signal of which only the newest matters.
    Latest(Level),
}

/// Something of which only the newest matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// What is being done with access points.
    Steps,
    /// That something may be different.
    News,
}

/// What is to be told of what was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lag {
    /// The current state of this session.
    Session(SessionId),
    /// That configurations have to be listed anew.
    Configurations,
}

/// The queue of one connection.
#[derive(Debug)]
pub struct Outbox {
    queue: Mutex<Queue>,
    /// There is something to send, or it has ended.
    filled: Notify,
    /// There may be room for further replies.
    emptied: Notify,
    /// It has ended.
    ended: Notify,
    /// Whether it is cut off that reads too slowly; a bus is not.
    is_cut_off: bool,
}

#[derive(Debug, Default)]
struct Queue {
    mail: VecDeque<(Mail, Letter)>,
    /// All that waits, and what is being sent.
    octets: usize,
    signal_octets: usize,
    /// Calls that are being carried out.
    unanswered: usize,
    replies: usize,
    reply_octets: usize,
    lagging: BTreeSet<SessionId>,
    configurations_lag: bool,
    /// Since when something waits, and nothing has been taken.
    waiting_since: Option<Instant>,
    has_ended: bool,
}

impl Outbox {
    /// An empty one, of a connection that is cut off when it reads too slowly.
    #[must_use]
    pub fn new() -> Self {
        Self {
            queue: Mutex::default(),
            filled: Notify::new(),
            emptied: Notify::new(),
            ended: Notify::new(),
            is_cut_off: true,
        }
    }

    /// An empty one, of a bus: it belongs to many, and is never cut off.
    #[must_use]
    pub fn of_bus() -> Self {
        Self { is_cut_off: false, ..Self::new() }
    }

    /// Adds a message at the end.
    pub fn push(&self, mail: Mail, letter: impl Into<Letter>) {
        let letter = letter.into();
        let length = letter.octets().len();
        let mut queue = self.queue();
        if queue.has_ended || queue.lags(mail) {
            return;
        }
        if let Mail::Latest(_) = mail {
            queue.remove(|other| *other == mail);
        }
        if self.is_cut_off && queue.octets > CUT_OFF && queue.is_unread() {
            tracing::info!("a client has left {} octets unread, and is cut off", queue.octets);
            drop(queue);
            return self.end();
        }
        queue.waiting_since.get_or_insert_with(Instant::now);
        queue.mail.push_back((mail, letter));
        queue.count(mail, length);
        if queue.signal_octets > SIGNALS {
            queue.coalesce();
        }
        drop(queue);
        self.filled.notify_one();
    }

    /// A call was taken that counts as so many; [`Self::finish`] follows when it has been carried out, whether it is answered or
    /// not.
    pub fn begin(&self, calls: usize) {
        self.queue().unanswered += calls;
    }

    /// A call was carried out that counts as so many.
    pub fn finish(&self, calls: usize) {
        let mut queue = self.queue();
        queue.unanswered = queue.unanswered.saturating_sub(calls);
        drop(queue);
        self.emptied.notify_one();
    }

    /// Nothing of this session is to be told any more.
    pub fn forget(&self, session: SessionId) {
        let mut queue = self.queue();
        queue.remove(|mail| *mail == Mail::Session(session));
        queue.lagging.remove(&session);
    }

    /// Nothing is to be sent any more.
    pub fn end(&self) {
        self.queue().end();
        self.filled.notify_one();
        self.emptied.notify_one();
        self.ended.notify_one();
    }

    /// Waits until it has ended, also while something is being sent. One at a time may wait.
    pub async fn ended(&self) {
        while !self.has_ended() {
            self.ended.notified().await;
        }
    }

    /// True after [`Self::end`], and when the connection is cut off.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.queue().has_ended
    }

    /// Waits until calls may be read. May be dropped while waiting.
    pub async fn has_room(&self) {
        while !self.queue().has_room() {
            self.emptied.notified().await;
        }
    }

    /// The next letters to be sent, at least one; none when it has ended. `told` makes what is to be told in the place of
    /// what was dropped. One at a time may wait for them, and calls [`Self::sent`] before it comes again.
    pub async fn take(&self, told: impl Fn(Lag) -> Vec<Letter>) -> Option<Vec<Letter>> {
        loop {
            let (mut letters, lags) = {
                let mut queue = self.queue();
                if queue.has_ended {
                    return None;
                }
                (Vec::new(), queue.take_lags())
            };
            // Nothing else runs between this and what was said of these sessions before.
            for lag in lags {
                if let Lag::Session(session) = lag {
                    letters.extend(self.queue().take_added(session));
                }
                letters.extend(told(lag));
            }
            let is_all = {
                let mut queue = self.queue();
                queue.take_batch(&mut letters);
                queue.lagging.is_empty()
            };
            if !letters.is_empty() {
                return Some(letters);
            }
            if !is_all {
                // Of those so far there was nothing to tell.
                continue;
            }
            self.filled.notified().await;
        }
    }

    /// These were sent.
    pub fn sent(&self, letters: &[Letter]) {
        let length = letters.iter().map(|letter| letter.octets().len()).sum();
        let mut queue = self.queue();
        queue.octets = queue.octets.saturating_sub(length);
        queue.waiting_since = (queue.octets > 0).then(Instant::now);
        drop(queue);
        self.emptied.notify_one();
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Outbox {
    fn default() -> Self {
        Self::new()
    }
}

impl Queue {
    fn has_room(&self) -> bool {
        self.has_ended || (self.replies + self.unanswered < REPLIES && self.reply_octets < REPLY_OCTETS)
    }

    fn is_unread(&self) -> bool {
        self.waiting_since.is_some_and(|since| since.elapsed() > READING)
    }

    /// True for what will be told anew anyway.
    fn lags(&self, mail: Mail) -> bool {
        match mail {
            Mail::Session(session) => self.lagging.contains(&session),
            Mail::Configurations => self.configurations_lag,
            Mail::Reply | Mail::Signal | Mail::Added(_) | Mail::Latest(_) => false,
        }
    }

    fn count(&mut self, mail: Mail, length: usize) {
        self.octets += length;
        match mail {
            Mail::Reply => {
                self.replies += 1;
                self.reply_octets += length;
            }
            Mail::Session(_) | Mail::Configurations => self.signal_octets += length,
            Mail::Signal | Mail::Added(_) | Mail::Latest(_) => {}
        }
    }

    /// The message does not wait any more; it may still be on its way.
    fn discount(&mut self, mail: Mail, length: usize) {
        match mail {
            Mail::Reply => {
                self.replies -= 1;
                self.reply_octets -= length;
            }
            Mail::Session(_) | Mail::Configurations => self.signal_octets -= length,
            Mail::Signal | Mail::Added(_) | Mail::Latest(_) => {}
        }
    }

    fn remove(&mut self, which: impl Fn(&Mail) -> bool) {
        for (mail, letter) in std::mem::take(&mut self.mail) {
            if which(&mail) {
                let length = letter.octets().len();
                self.discount(mail, length);
                self.octets -= length;
            } else {
                self.mail.push_back((mail, letter));
            }
        }
    }

    fn coalesce(&mut self) {
        for (mail, _) in &self.mail {
            match mail {
                Mail::Session(session) => drop(self.lagging.insert(*session)),
                Mail::Configurations => self.configurations_lag = true,
                Mail::Reply | Mail::Signal | Mail::Added(_) | Mail::Latest(_) => {}
            }
        }
        self.remove(|mail| matches!(mail, Mail::Session(_) | Mail::Configurations));
    }

    fn take_lags(&mut self) -> Vec<Lag> {
        let mut lags = Vec::new();
        if std::mem::take(&mut self.configurations_lag) {
            lags.push(Lag::Configurations);
        }
        while lags.len() < BATCH_OF_SESSIONS {
            let Some(session) = self.lagging.pop_first() else { break };
            lags.push(Lag::Session(session));
        }
        lags
    }

    /// What tells that there is this session, if that waits.
    fn take_added(&mut self, session: SessionId) -> Option<Letter> {
        let at = self.mail.iter().position(|(mail, _)| *mail == Mail::Added(session))?;
        let (mail, letter) = self.mail.remove(at)?;
        self.discount(mail, letter.octets().len());
        self.octets -= letter.octets().len();
        Some(letter)
    }

    fn take_batch(&mut self, letters: &mut Vec<Letter>) {
        self.octets += letters.iter().map(|letter| letter.octets().len()).sum::<usize>();
        // What was dropped was there before.
        if !self.lagging.is_empty() {
            return;
        }
        let mut taken = 0;
        while taken < BATCH {
            let Some((mail, letter)) = self.mail.pop_front() else { break };
            let length = letter.octets().len();
            self.discount(mail, length);
            taken += length;
            letters.push(letter);
        }
    }

    fn end(&mut self) {
        *self = Self { has_ended: true, ..Self::default() };
    }
}

#[cfg(test)]
mod tests {
    use zbus::Message;

    use super::*;

    fn signal(name: &str, text: &str) -> Message {
        Message::signal("/x", "x.y", name).build(&text).unwrap()
    }

    fn names(letters: &[Letter]) -> Vec<String> {
        let name = |letter: &Letter| letter.clone().into_message().unwrap().header().member().unwrap().to_string();
        letters.iter().map(name).collect()
    }

    fn told(lag: Lag) -> Vec<Letter> {
        vec![Letter::from(match lag {
            Lag::Session(session) => signal(&format!("State{session}"), ""),
            Lag::Configurations => signal("List", ""),
        })]
    }

    async fn take(outbox: &Outbox) -> Vec<String> {
        let messages = outbox.take(told).await.unwrap();
        outbox.sent(&messages);
        names(&messages)
    }

    #[tokio::test]
    async fn what_fits_goes_out_in_order() {
        let outbox = Outbox::new();
        outbox.push(Mail::Session(SessionId(1)), signal("A", ""));
        outbox.push(Mail::Reply, signal("B", ""));
        outbox.push(Mail::Signal, signal("C", ""));
        assert_eq!(take(&outbox).await, ["A", "B", "C"]);
        assert_eq!(outbox.queue().octets, 0);
    }

    #[tokio::test]
    async fn signals_that_nobody_reads_become_the_current_state_and_replies_stay() {
        let outbox = Outbox::new();
        let long = "x".repeat(SIGNALS / 8);
        outbox.push(Mail::Reply, signal("Reply", ""));
        for _ in 0..100 {
            outbox.push(Mail::Session(SessionId(1)), signal("A", &long));
            outbox.push(Mail::Session(SessionId(2)), signal("B", &long));
            outbox.push(Mail::Configurations, signal("C", &long));
        }
        outbox.push(Mail::Signal, signal("Asked", ""));
        assert!(outbox.queue().octets < SIGNALS + 1024);
        assert_eq!(take(&outbox).await, ["List", "State1", "State2", "Reply", "Asked"]);
        outbox.push(Mail::Session(SessionId(1)), signal("A", ""));
        assert_eq!(take(&outbox).await, ["A"], "afterwards all is as before");
    }

    #[tokio::test]
    async fn that_there_is_a_session_is_told_before_its_current_state_and_never_left_out() {
        let outbox = Outbox::new();
        let long = "x".repeat(SIGNALS / 2);
        outbox.push(Mail::Session(SessionId(1)), signal("A", ""));
        for number in [2, 3] {
            outbox.push(Mail::Added(SessionId(number)), signal(&format!("Added{number}"), ""));
            outbox.push(Mail::Reply, signal("Reply", ""));
        }
        for _ in 0..3 {
            outbox.push(Mail::Session(SessionId(2)), signal("B", &long));
        }
        assert_eq!(take(&outbox).await, ["State1", "Added2", "State2", "Reply", "Added3", "Reply"]);
        assert_eq!(outbox.queue().octets, 0);
    }

    #[tokio::test]
    async fn a_session_that_is_forgotten_is_not_told() {
        let outbox = Outbox::new();
        let long = "x".repeat(SIGNALS / 2);
        for number in [1, 2, 1, 2] {
            outbox.push(Mail::Session(SessionId(number)), signal("A", &long));
        }
        outbox.push(Mail::Session(SessionId(3)), signal("B", ""));
        outbox.push(Mail::Session(SessionId(4)), signal("C", ""));
        outbox.forget(SessionId(1));
        outbox.forget(SessionId(3));
        assert_eq!(take(&outbox).await, ["State2", "C"]);
    }

    #[tokio::test]
    async fn sessions_whose_clients_have_gone_hold_up_nobody() {
        let outbox = Outbox::new();
        let long = "x".repeat(SIGNALS / 100);
        for number in 0..200 {
            outbox.push(Mail::Session(SessionId(number)), signal("A", &long));
        }
        outbox.push(Mail::Reply, signal("Reply", ""));
        let only_last = |lag| if lag == Lag::Session(SessionId(99)) { told(lag) } else { Vec::new() };
        let messages = outbox.take(only_last).await.unwrap();
        assert_eq!(names(&messages)[0], "State99");
    }

    #[tokio::test]
    async fn of_a_level_the_newest_is_sent() {
        let outbox = Outbox::new();
        for text in ["", "longer", ""] {
            outbox.push(Mail::Latest(Level::Steps), signal("Steps", text));
            outbox.push(Mail::Latest(Level::News), signal("News", text));
        }
        assert_eq!(take(&outbox).await, ["Steps", "News"]);
        assert_eq!(outbox.queue().octets, 0);
    }

    #[tokio::test]
    async fn who_takes_no_replies_is_not_read_from() {
        let outbox = Outbox::new();
        for _ in 0..REPLIES {
            outbox.has_room().await;
            outbox.push(Mail::Reply, signal("Reply", ""));
        }
        let waits = tokio::select! {
            biased;
            () = outbox.has_room() => false,
            () = tokio::task::yield_now() => true,
        };
        assert!(waits);
        take(&outbox).await;
        outbox.has_room().await;
    }

    #[tokio::test]
    async fn while_a_long_answer_is_made_and_waits_no_call_is_read() {
        let outbox = Outbox::new();
        let has_room = async || {
            tokio::select! {
                biased;
                () = outbox.has_room() => true,
                () = tokio::task::yield_now() => false,
            }
        };
        outbox.begin(1);
        assert!(has_room().await);
        outbox.begin(REPLIES);
        assert!(!has_room().await, "it is being made");
        outbox.push(Mail::Reply, signal("Reply", &"x".repeat(2 * REPLY_OCTETS)));
        outbox.finish(1 + REPLIES);
        assert!(!has_room().await, "it waits");
        take(&outbox).await;
        assert!(has_room().await);
    }

    #[tokio::test]
    async fn who_leaves_too_much_unread_is_cut_off_but_not_who_reads_and_not_a_bus() {
        let long = "x".repeat(2 * CUT_OFF);
        for (outbox, reads, is_cut_off) in
            [(Outbox::new(), false, true), (Outbox::new(), true, false), (Outbox::of_bus(), false, false)]
        {
            outbox.push(Mail::Reply, signal("Reply", &long));
            assert!(!outbox.has_ended(), "one alone goes out, however long");
            if !reads {
                outbox.queue().waiting_since = Instant::now().checked_sub(2 * READING);
            }
            outbox.push(Mail::Reply, signal("Reply", ""));
            assert_eq!(outbox.has_ended(), is_cut_off);
            assert_eq!(outbox.take(told).await.is_none(), is_cut_off);
        }
    }
}
