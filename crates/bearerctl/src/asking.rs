use netbearer::{
    Chooser, ChooserEvent, Configuration, Identifier, Kind, Manager, PropertyKey, PropertyValue, Question,
    QuestionNumber, Session, StateFlags,
};

use crate::{
    arguments::Choosing,
    error::Error,
    listing::{flag_words, kind_words},
    output::{BOLD, DIM, Output},
    terminal::Terminal,
};

/// What one types to choose nothing.
const NOTHING: &str = "q";

/// Answers what a user choice asks while a session of this program is opened on it.
#[derive(Debug)]
pub(crate) struct Asking {
    /// None if nobody is to be asked.
    chooser: Option<Chooser>,
    answerer: Answerer,
    /// What the person at the terminal has not answered yet.
    asked: Option<Question>,
    /// Whether the cursor is behind a question.
    is_in_line: bool,
    /// Whether a question was answered already.
    was_answered: bool,
}

#[derive(Debug)]
enum Answerer {
    Nobody,
    /// The answer was given beforehand.
    Beforehand {
        wanted: String,
        choice: Identifier,
    },
    Person(Terminal),
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
    number: QuestionNumber,
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
                Answerer::Beforehand { wanted: wanted.clone(), choice: named.identifier }
            }
            None if choosing.background || configuration.kind != Kind::UserChoice => Answerer::Nobody,
            None => Terminal::of_a_person().map_or(Answerer::Nobody, Answerer::Person),
        };
        let chooser = match answerer {
            Answerer::Nobody => None,
            _ => Some(manager.chooser().await?),
        };
        Ok(Self { chooser, answerer, asked: None, is_in_line: false, was_answered: false })
    }

    /// True while somebody thinks.
    pub(crate) const fn is_asking(&self) -> bool {
        self.asked.is_some()
    }

    /// Puts the question to the person at the terminal.
    pub(crate) fn put(&mut self, output: Output) {
        if let Some(question) = &self.asked {
            let news = if self.was_answered { "The choices have changed meanwhile.\n" } else { "" };
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
            let told = match (&self.asked, &mut self.answerer) {
                (Some(question), Answerer::Person(terminal)) => tokio::select! {
                    told = chooser.next() => told,
                    line = terminal.next_line() => {
                        // The end of input ends no line.
                        self.is_in_line = line.is_none();
                        match chosen(question, line.as_deref()) {
                            Ok(choice) => {
                                let number = question.number;
                                self.asked = None;
                                self.was_answered = true;
                                end_line(&mut self.is_in_line, output);
                                return Progress::Answered(Answer { number, choice: Ok(choice) });
                            }
                            Err(hint) => {
                                output.prompt(&hint);
                                self.is_in_line = true;
                            }
                        }
                        continue;
                    }
                },
                _ => chooser.next().await,
            };
            match (told, &self.answerer) {
                (Some(ChooserEvent::Asked(question)), Answerer::Beforehand { wanted, choice }) => {
                    let is_offered = question.choices.iter().any(|offered| offered.identifier == *choice);
                    let choice =
                        if is_offered { Ok(Some(choice.clone())) } else { Err(no_such_choice(wanted, &question)) };
                    return Progress::Answered(Answer { number: question.number, choice });
                }
                (Some(ChooserEvent::Asked(question)), _) => {
                    self.asked = Some(question);
                    return Progress::Asked;
                }
                (Some(ChooserEvent::Withdrawn(number)), _) => {
                    if self.asked.take_if(|question| question.number == number).is_some() {
                        end_line(&mut self.is_in_line, output);
                    }
                }
                (Some(_), _) => {}
                (None, _) => return std::future::pending().await,
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
        let _ = chooser.answer(answer.number, choice.as_ref()).await;
        refused
    }

    /// Where one choice was left nobody was asked; it must be the one that was named.
    pub(crate) async fn check(&self, manager: &Manager, session: &Session) -> Result<(), Error> {
        let Answerer::Beforehand { wanted, choice } = &self.answerer else { return Ok(()) };
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
    fn anything_else_is_asked_again() {
        for typed in ["0", "3", "-1", "99999999999999999999999", "no", "Q uit"] {
            let hint = chosen(&question(), Some(typed)).expect_err("it is not understood");
            assert!(hint.contains(typed) && hint.contains("from 1 to 2"), "{hint}");
        }
    }
}
