use std::fmt;

use netbearer_types::{Configuration, Failure, FailureReason, Identifier, Moment, SessionError, SessionState};
use serde::{Deserialize, Serialize};

use crate::{
    Action, ClientId, Core, Input, Refusal, SessionId, UserId, Verdict, choosing::ANSWER_TIMEOUT, session::Interest,
};

/// Names somebody who answers the questions of user choices; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ChooserId(pub u64);

/// Names a question; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct QuestionNumber(pub u64);

impl fmt::Display for QuestionNumber {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, formatter)
    }
}

/// What a user is asked when a session is opened on a user choice (semantics §6).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// To be named in the answer.
    pub number: QuestionNumber,
    /// The user choice.
    pub configuration: Configuration,
    /// What there is to choose from, the most preferred first.
    pub choices: Vec<Configuration>,
}

/// Somebody who answers questions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chooser {
    pub(crate) client: ClientId,
    user: UserId,
}

/// A question that nobody has answered yet.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) session: SessionId,
    chooser: ChooserId,
    choices: Vec<Identifier>,
}

/// Asking users.
impl Core {
    /// Somebody will answer the questions that come up for the sessions of this client's user.
    pub fn add_chooser(&mut self, client: ClientId) -> ChooserId {
        let id = ChooserId(self.numbers.chooser);
        self.numbers.chooser += 1;
        // One of a client that has gone meanwhile would never be asked.
        if let Some(attendance) = self.clients.get_mut(&client) {
            attendance.choosers.insert(id);
            self.choosers.insert(id, Chooser { client, user: attendance.user });
        }
        id
    }

    /// A chooser has gone; what it was asked is aborted.
    pub fn remove_chooser(&mut self, id: ChooserId, now: Moment) {
        let chooser = self.choosers.remove(&id);
        if let Some(attendance) = chooser.and_then(|chooser| self.clients.get_mut(&chooser.client)) {
            attendance.choosers.remove(&id);
        }
        let asked: Vec<SessionId> =
            self.questions.values().filter(|pending| pending.chooser == id).map(|pending| pending.session).collect();
        for session in asked {
            let name = self.sessions.get(&session).map(|session| session.configuration.name.clone());
            self.fail_without_member(
                session,
                not_chosen(&name.unwrap_or_default(), "the program that asks has gone"),
                now,
            );
        }
        self.publish(now);
    }

    /// The user has chosen, or does not want to. What has ceased to be a choice meanwhile is as if it had never been asked
    /// for: there is another question, if there is still something to choose.
    ///
    /// # Errors
    /// [`Refusal::UnknownQuestion`] if it has been withdrawn, and [`Refusal::NoSuchChoice`] for what was not offered.
    pub fn answer(
        &mut self,
        client: ClientId,
        number: QuestionNumber,
        choice: Option<&Identifier>,
        now: Moment,
    ) -> Result<(), Refusal> {
        let pending = self.questions.get(&number).ok_or(Refusal::UnknownQuestion(number))?;
        let is_asked = self.choosers.get(&pending.chooser).is_some_and(|chooser| chooser.client == client);
        if !is_asked {
            return Err(Refusal::UnknownQuestion(number));
        }
        if let Some(choice) = choice.filter(|choice| !pending.choices.contains(choice)) {
            return Err(Refusal::NoSuchChoice(choice.clone()));
        }
        let session = pending.session;
        self.questions.remove(&number);
        self.mark_unsaved(session);
        self.deadlines.remove(session);
        match choice {
            Some(choice) if !self.usable_choices(session).contains(choice) => {
                let _ = self.open_user_choice(session, now);
            }
            Some(choice) => {
                // Told on the event stream; the one who answers is not the one who opens.
                let _ = self.resolve(session, choice.clone(), now);
            }
            None => {
                let name = self.sessions.get(&session).map(|session| session.configuration.name.clone());
                let failure = not_chosen(&name.unwrap_or_default(), "the user chose none");
                self.fail_without_member(session, failure, now);
            }
        }
        self.publish(now);
        Ok(())
    }

    /// Asks the newest chooser of the session's user; false if there is none.
    pub(crate) fn ask(&mut self, id: SessionId, choices: &[Identifier], now: Moment) -> bool {
        let Some(session) = self.sessions.get(&id) else { return false };
        let user = session.user;
        let newest = self.choosers.iter().rev().find(|(_, chooser)| chooser.user == user);
        let Some((&chooser, &Chooser { client, .. })) = newest else { return false };
        let number = QuestionNumber(self.numbers.question);
        self.numbers.question += 1;
        let question = Question {
            number,
            configuration: (*session.configuration).clone(),
            choices: choices.iter().filter_map(|choice| self.configuration(choice)).collect(),
        };
        self.take_up(id, Interest::Opening);
        self.record_session(id, Verdict::Asked, now, vec![Input::new("choices", choices.len())]);
        self.mark_unsaved(id);
        self.questions.insert(number, Pending { session: id, chooser, choices: choices.to_vec() });
        self.deadlines.insert(id, now + ANSWER_TIMEOUT);
        self.tell_state(id, SessionState::Connecting);
        self.actions.push_back(Action::Ask { client, chooser, question: Box::new(question) });
        true
    }

    /// A user is being asked what a session shall open.
    pub(crate) fn is_asked(&self, id: SessionId) -> bool {
        self.questions.values().any(|question| question.session == id)
    }

    /// What was asked for a session is of no interest any more.
    pub(crate) fn withdraw_question(&mut self, id: SessionId) {
        let asked: Vec<QuestionNumber> =
            self.questions.iter().filter(|(_, pending)| pending.session == id).map(|(number, _)| *number).collect();
        for number in asked {
            self.mark_unsaved(id);
            let pending = self.questions.remove(&number);
            self.deadlines.remove(id);
            let chooser = pending.map(|pending| pending.chooser);
            if let Some((chooser, found)) = chooser.and_then(|id| Some((id, self.choosers.get(&id)?))) {
                self.actions.push_back(Action::Withdraw { client: found.client, chooser, number });
            }
        }
    }
}

pub(crate) fn not_chosen(name: &str, cause: &str) -> Failure {
    Failure {
        error: SessionError::SessionAborted,
        reason: FailureReason::NotChosen,
        message: format!("nothing was opened for {name}: {cause}; open the session again to be asked again"),
    }
}
