use std::collections::VecDeque;

use netbearer::{
    Chooser, ChooserEvent, Configuration, Identifier, Kind, Manager, PropertyKey, PropertyValue, Question, Session,
    StateFlags,
};

use crate::{
    arguments::Choosing,
    error::Error,
    listing::{flag_words, kind_words},
    output::{BOLD, DIM, Output},
    terminal::{NOTHING_ASKED, Terminal},
};

/// What one types to choose nothing.
const NOTHING: &str = "q";

/// Answers what a user choice asks while a session of this program is opened on it.
#[derive(Debug)]
pub(crate) struct Asking {
    /// None if nobody is to be asked.
    chooser: Option<Chooser>,
    answerer: Answerer,
    /// What the person at the terminal has not answered yet: the first is asked.
    questions: VecDeque<Question>,
    /// Whether the first of them was put.
    is_put: bool,
    /// Whether the cursor is behind a question.
    is_in_line: bool,
    /// Whether the session's question was answered already.
    was_answered: bool,
    /// Whether sessions of other programs are meant.
    is_for_others: bool,
}

#[derive(Debug)]
enum Answerer {
    Nobody,
    /// The answer was given beforehand.
    Beforehand {
        wanted: String,
        choice: Identifier,
        /// The user choice that is meant.
        user_choice: Identifier,
    },
    /// Of every question this one if it is among the choices, else the most preferred.
    Always {
        wanted: String,
    },
    Person(Terminal),
}

/// Who answers for other programs, before there is anything to ask.
#[derive(Debug)]
pub(crate) struct Agent(Answerer);

impl Agent {
    /// The one who is named beforehand, or whoever is at the terminal; none if nobody is.
    pub(crate) fn new(policy: Option<&str>) -> Option<Self> {
        let answerer = match policy {
            Some(wanted) => Answerer::Always { wanted: wanted.to_owned() },
            None => Answerer::Person(Terminal::of_a_person()?),
        };
        Some(Self(answerer))
    }

    /// Has it asked from now on.
    pub(crate) async fn register(self, manager: &Manager) -> Result<Asking, Error> {
        Ok(Asking { is_for_others: true, ..Asking::new(Some(manager.chooser().await?), self.0) })
    }
}

/// How far asking is.
#[derive(Debug)]
pub(crate) enum Progress {
    /// There is something to [`Asking::put`] to a person.
    Asked,
    /// There is something to [`Asking::give`].
    Answered(Answer),
}

/// What is to be answered.
#[derive(Debug)]
pub(crate) struct Answer {
    question: Box<Question>,
    /// Nothing, if the user does not want any; an error, if what was named beforehand is no choice.
    choice: Result<Option<Identifier>, Error>,
}

impl Asking {
    /// Sees to it that the right one is asked when `session` is opened.
    pub(crate) async fn prepare(manager: &Manager, session: &Session, choosing: &Choosing) -> Result<Self, Error> {
        let configuration = session.configuration();
        if choosing.background {
            session.set_property(PropertyKey::ConnectInBackground, Some(PropertyValue::Boolean(true))).await?;
        }
        let answerer = match &choosing.choose {
            Some(_) if configuration.kind != Kind::UserChoice => {
                return Err(Error::NothingToChoose(configuration.name));
            }
            Some(wanted) => {
                let named = manager.find(Some(wanted)).await?;
                if !named.state_flags.contains(StateFlags::Discovered) {
                    return Err(Error::NoSuchChoice { wanted: wanted.clone(), name: configuration.name, there: None });
                }
                let user_choice = configuration.identifier;
                Answerer::Beforehand { wanted: wanted.clone(), choice: named.identifier, user_choice }
            }
            None if choosing.background || configuration.kind != Kind::UserChoice => Answerer::Nobody,
            None => Terminal::of_a_person().map_or(Answerer::Nobody, Answerer::Person),
        };
        let chooser = match answerer {
            Answerer::Nobody => None,
            _ => Some(manager.chooser().await?),
        };
        Ok(Self::new(chooser, answerer))
    }

    const fn new(chooser: Option<Chooser>, answerer: Answerer) -> Self {
        Self {
            chooser,
            answerer,
            questions: VecDeque::new(),
            is_put: false,
            is_in_line: false,
            was_answered: false,
            is_for_others: false,
        }
    }

    /// True while somebody thinks.
    pub(crate) fn is_asking(&self) -> bool {
        !self.questions.is_empty()
    }

    /// Puts the question to the person at the terminal.
    pub(crate) fn put(&mut self, output: Output) {
        if let Some(question) = self.questions.front() {
            if let Answerer::Person(terminal) = &mut self.answerer
                && terminal.begin_question()
            {
                output.prompt(NOTHING_ASKED);
            }
            let news =
                if self.was_answered && !self.is_for_others { "The choices have changed meanwhile.\n" } else { "" };
            output.prompt(&format!("{news}{}", prompt(question)));
            self.is_in_line = true;
        }
    }

    /// Ends the line of the question, if it is still to be ended, as something else is to be told.
    pub(crate) fn end_line(&mut self, output: Output) {
        end_line(&mut self.is_in_line, output);
    }

    /// The next question or answer. May be dropped while waiting.
    pub(crate) async fn next(&mut self, output: Output) -> Progress {
        let Some(chooser) = &mut self.chooser else { return std::future::pending().await };
        loop {
            if !self.is_put && !self.questions.is_empty() {
                self.is_put = true;
                return Progress::Asked;
            }
            let told = match (self.questions.front(), &mut self.answerer) {
                (Some(question), Answerer::Person(terminal)) => tokio::select! {
                    told = chooser.next() => told,
                    line = terminal.next_line() => {
                        // The end of input ends no line.
                        self.is_in_line = line.is_none();
                        match chosen(question, line.as_deref()) {
                            Ok(choice) => {
                                let Some(question) = self.questions.pop_front() else { continue };
                                (self.is_put, self.was_answered) = (false, true);
                                end_line(&mut self.is_in_line, output);
                                return Progress::Answered(Answer { question: Box::new(question), choice: Ok(choice) });
                            }
                            Err(hint) => {
                                output.prompt(&hint);
                                self.is_in_line = true;
                            }
                        }
                        continue;
                    }
                },
                (None, Answerer::Person(terminal)) => tokio::select! {
                    told = chooser.next() => told,
                    () = terminal.stray_line() => {
                        output.prompt(NOTHING_ASKED);
                        continue;
                    }
                },
                _ => chooser.next().await,
            };
            match told {
                Some(ChooserEvent::Asked(question)) => match self.answerer.at_once(&question) {
                    Some(choice) => return Progress::Answered(Answer { question: Box::new(question), choice }),
                    None => self.questions.push_back(question),
                },
                Some(ChooserEvent::Withdrawn(number)) => {
                    if self.questions.front().is_some_and(|question| question.number == number) {
                        self.is_put = false;
                        end_line(&mut self.is_in_line, output);
                    }
                    self.questions.retain(|question| question.number != number);
                }
                Some(_) => {}
                None => return std::future::pending().await,
            }
        }
    }

    /// Gives an answer.
    pub(crate) async fn give(&self, answer: Answer) -> Result<(), Error> {
        let Some(chooser) = &self.chooser else { return Ok(()) };
        let (choice, refused) = match answer.choice {
            Ok(choice) => (choice, Ok(())),
            Err(error) => (None, Err(error)),
        };
        // A question that was withdrawn meanwhile has its own end on the event stream.
        let _ = chooser.answer(answer.question.number, choice.as_ref()).await;
        refused
    }

    /// Where one choice was left nobody was asked; it must be the one that was named.
    pub(crate) async fn check(&self, manager: &Manager, session: &Session) -> Result<(), Error> {
        let Answerer::Beforehand { wanted, choice, .. } = &self.answerer else { return Ok(()) };
        let Some(PropertyValue::Text(came_to)) = session.property(PropertyKey::UserChoiceConfiguration).await? else {
            return Ok(());
        };
        // Empty: it has been lost again already.
        if came_to.is_empty() || came_to == choice.as_str() {
            return Ok(());
        }
        let came_to = manager.configuration(&Identifier::new(came_to)).await?;
        let (name, there) = (session.configuration().name, Some(came_to.name));
        Err(Error::NoSuchChoice { wanted: wanted.clone(), name, there })
    }
}

impl Answerer {
    /// What can be answered without asking anybody.
    fn at_once(&self, question: &Question) -> Option<Result<Option<Identifier>, Error>> {
        let choices = &question.choices;
        let most_preferred = || choices.first().map(|choice| choice.identifier.clone());
        match self {
            Self::Person(_) => None,
            // Another program of this user, which has nobody to ask, came in between.
            Self::Beforehand { user_choice, .. } if question.configuration.identifier != *user_choice => {
                Some(Ok(most_preferred()))
            }
            Self::Beforehand { wanted, choice, .. } => {
                let is_offered = choices.iter().any(|offered| offered.identifier == *choice);
                Some(if is_offered { Ok(Some(choice.clone())) } else { Err(no_such_choice(wanted, question)) })
            }
            Self::Always { wanted } => {
                let meant = choices.iter().find(|choice| is_meant(choice, wanted));
                Some(Ok(meant.map(|choice| choice.identifier.clone()).or_else(most_preferred)))
            }
            Self::Nobody => Some(Ok(most_preferred())),
        }
    }
}

impl Answer {
    /// What the user choice is called, and what it shall be: nothing if the user did not want any.
    pub(crate) fn names(&self) -> (&str, Option<&str>) {
        let choice = self.choice.as_ref().ok().and_then(Option::as_ref);
        let choice = choice.and_then(|choice| self.question.choices.iter().find(|one| one.identifier == *choice));
        (&self.question.configuration.name, choice.map(|choice| choice.name.as_str()))
    }
}

fn end_line(is_in_line: &mut bool, output: Output) {
    if std::mem::take(is_in_line) {
        output.prompt("\n");
    }
}

fn is_meant(choice: &Configuration, wanted: &str) -> bool {
    choice.identifier.as_str() == wanted || choice.name == wanted || choice.interface_name.as_deref() == Some(wanted)
}

fn no_such_choice(wanted: &str, question: &Question) -> Error {
    let names: Vec<&str> = question.choices.iter().map(|choice| choice.name.as_str()).collect();
    let (name, there) = (question.configuration.name.clone(), Some(names.join(", ")));
    Error::NoSuchChoice { wanted: wanted.to_owned(), name, there }
}

/// The question as it is put to a person.
fn prompt(question: &Question) -> String {
    let width = |of: fn(&Configuration) -> String| {
        question.choices.iter().map(|choice| of(choice).chars().count()).max().unwrap_or(0)
    };
    let (names, kinds) = (width(|choice| choice.name.clone()), width(kind_words));
    let mut text = format!("What shall {BOLD}{}{BOLD:#} be?\n", question.configuration.name);
    for (index, choice) in question.choices.iter().enumerate() {
        let (name, kind, state) = (&choice.name, kind_words(choice), flag_words(choice.state_flags));
        text.push_str(&format!("{:>3}  {name:<names$}  {kind:<kinds$}  {DIM}{state}{DIM:#}\n", index + 1));
    }
    text + &invitation(question)
}

fn invitation(question: &Question) -> String {
    format!("A number from 1 to {}, Enter for 1, {NOTHING} for none: ", question.choices.len())
}

/// What was typed: a choice, none, or nothing that can be understood, with what to say to that.
fn chosen(question: &Question, line: Option<&str>) -> Result<Option<Identifier>, String> {
    let Some(line) = line.map(str::trim) else { return Ok(None) };
    let choices = &question.choices;
    let numbered = || line.parse::<usize>().ok().and_then(|number| choices.get(number.checked_sub(1)?));
    let named = || choices.iter().find(|choice| is_meant(choice, line));
    let choice = match line {
        "" => choices.first(),
        NOTHING => return Ok(None),
        _ => numbered().or_else(named),
    };
    match choice {
        Some(choice) => Ok(Some(choice.identifier.clone())),
        None => Err(format!("\"{line}\" is none of them.\n{}", invitation(question))),
    }
}

#[cfg(test)]
mod tests {
    use netbearer::QuestionNumber;

    use super::*;

    fn question() -> Question {
        let choice = |name: &str| Configuration {
            name: name.to_owned(),
            kind: Kind::InternetAccessPoint,
            state_flags: StateFlags::Discovered,
            ..Configuration::invalid(Identifier::new(format!("native-{name}")))
        };
        Question {
            number: QuestionNumber(1),
            configuration: choice("where"),
            choices: vec![choice("lan"), choice("lte")],
        }
    }

    #[test]
    fn a_number_a_name_and_enter_choose_and_q_and_the_end_of_input_choose_nothing() {
        for (typed, expected) in [
            (Some(""), Some("native-lan")),
            (Some(" 2 "), Some("native-lte")),
            (Some("lte"), Some("native-lte")),
            (Some("native-lan"), Some("native-lan")),
            (Some("q"), None),
            (None, None),
        ] {
            let choice = chosen(&question(), typed).expect("it is understood");
            assert_eq!(choice.as_ref().map(Identifier::as_str), expected, "{typed:?}");
        }
    }

    #[test]
    fn an_agent_that_asks_nobody_takes_what_it_was_told_if_it_can_be_had_else_the_most_preferred() {
        for (wanted, expected) in [("lte", "native-lte"), ("native-lte", "native-lte"), ("wifi", "native-lan")] {
            let answer = Answerer::Always { wanted: wanted.to_owned() }.at_once(&question());
            let choice = answer.expect("nobody is asked").expect("there is always one");
            assert_eq!(choice.as_ref().map(Identifier::as_str), Some(expected), "{wanted}");
        }
    }

    #[test]
    fn what_was_said_beforehand_is_said_of_one_user_choice() {
        let beforehand = |user_choice: &str| Answerer::Beforehand {
            wanted: "wifi".to_owned(),
            choice: Identifier::new("native-wifi"),
            user_choice: Identifier::new(user_choice),
        };
        assert!(matches!(beforehand("native-where").at_once(&question()), Some(Err(Error::NoSuchChoice { .. }))));
        let other = beforehand("native-elsewhere").at_once(&question());
        assert!(matches!(other, Some(Ok(Some(choice))) if choice.as_str() == "native-lan"));
    }

    #[test]
    fn anything_else_is_asked_again() {
        for typed in ["0", "3", "-1", "99999999999999999999999", "no", "Q uit"] {
            let hint = chosen(&question(), Some(typed)).expect_err("it is not understood");
            assert!(hint.contains(typed) && hint.contains("from 1 to 2"), "{hint}");
        }
    }
}
