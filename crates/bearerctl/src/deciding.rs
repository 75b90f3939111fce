use std::{
    fmt,
    ops::ControlFlow,
    pin::Pin,
    time::{Duration, Instant},
};

use netbearer::{
    CallError, Identifier, MigrateError, Offer, OfferDescription, OfferNumber, OfferPhase, PropertyKey, PropertyValue,
    Roaming, Session, SessionEvent, SessionState, TestError, Trial,
};

use crate::{
    arguments::Policy,
    error::{Error, causes},
    holder::Holder,
    output::{BOLD, Output},
    terminal::{NOTHING_ASKED, Terminal},
    test_target::TestTarget,
    timeline::{Answer, OwnEvent},
    waiting::{Awaited, Waiting},
};

/// Most tests are over before anybody could read what they are.
const LONG: Duration = Duration::from_millis(500);

/// Decides about what a session of this program is offered (semantics §5).
pub(crate) struct Decider {
    roaming: Roaming,
    rule: Rule,
    test: Option<TestTarget>,
    test_timeout: Duration,
    stage: Stage,
    /// What the candidate is called.
    candidate: String,
    /// When an answer comes too late; none while there is a link to stay with.
    due: Option<Instant>,
    /// The question that the person was asked last, as long as it stands.
    asked: Option<Question>,
    /// Whether it can be read where the cursor is.
    is_put: bool,
    /// Whether the cursor is behind it.
    is_in_line: bool,
}

/// What a person is asked. As long as it is the same, what is typed is an answer, however often it was put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Question {
    offer: OfferNumber,
    subject: Asked,
    /// Without a link in use, the same answers mean something else.
    has_link: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Migrate,
    EndTest,
    Keep,
}

/// Who decides.
#[derive(Debug)]
pub(crate) enum Rule {
    Person(Terminal),
    Policy(Policy),
}

/// What is to be decided, or waited for.
enum Stage {
    Idle,
    Offered(Offer),
    Migrating {
        offer: OfferDescription,
        migration: Pin<Box<dyn Future<Output = Result<Trial, MigrateError>>>>,
        waiting: Waiting,
        awaited: Option<Awaited>,
    },
    Testing {
        offer: OfferNumber,
        candidate: Identifier,
        test: Pin<Box<dyn Future<Output = Tested>>>,
        /// From then on the person is told what is waited for.
        told_at: Option<tokio::time::Instant>,
    },
    Trial(Trial),
}

/// A test that has ended.
pub(crate) struct Tested {
    trial: Trial,
    outcome: Result<(), TestError>,
    took: Duration,
}

/// What has become of what was waited for.
pub(crate) enum Progress {
    Offered(Offer),
    Migrated(Result<Trial, MigrateError>),
    /// What it waits for is shown, or another picture of it.
    MigrationTakesLong,
    Tested(Tested),
    TestTakesLong,
    /// The trial is over, and not by us.
    Ended(MigrateError),
    /// In answer to the question; none at the end of input.
    Typed(Option<String>),
    /// Something was typed while nothing was asked.
    TypedUnasked,
    /// Nothing will be offered any more.
    Gone,
}

impl Decider {
    pub(crate) const fn new(roaming: Roaming, rule: Rule, test: Option<TestTarget>, test_timeout: Duration) -> Self {
        Self {
            roaming,
            rule,
            test,
            test_timeout,
            stage: Stage::Idle,
            candidate: String::new(),
            due: None,
            asked: None,
            is_put: false,
            is_in_line: false,
        }
    }

    /// Who decides, in a part of a sentence.
    pub(crate) const fn words(&self) -> &'static str {
        match self.rule {
            Rule::Person(_) => "what is offered is asked here",
            Rule::Policy(Policy::AcceptIfTested) => "what passes the test is accepted",
            Rule::Policy(Policy::Always) => "whatever is offered is accepted",
            Rule::Policy(Policy::Never) => "whatever is offered is ignored",
        }
    }

    /// The next thing to [`Self::go_on`] with. May be dropped while waiting.
    pub(crate) async fn next(&mut self) -> Progress {
        let is_asked = self.asked.is_some();
        let Self { roaming, rule, stage, .. } = self;
        // It is read only while something is asked, so that a job in the background is not stopped for nothing.
        let typed = async {
            match rule {
                Rule::Person(terminal) if is_asked => Progress::Typed(terminal.next_line().await),
                Rule::Person(terminal) => {
                    terminal.stray_line().await;
                    Progress::TypedUnasked
                }
                Rule::Policy(_) => std::future::pending().await,
            }
        };
        let mut offered = async || roaming.next().await.map_or(Progress::Gone, Progress::Offered);
        let progress = match stage {
            Stage::Idle => tokio::select! {
                biased;
                offered = offered() => offered,
                typed = typed => typed,
            },
            Stage::Offered(_) => tokio::select! {
                biased;
                newer = offered() => newer,
                typed = typed => typed,
            },
            Stage::Migrating { migration, waiting, awaited, .. } => tokio::select! {
                biased;
                migrated = migration => Progress::Migrated(migrated),
                () = waiting.tick(), if awaited.is_some() => Progress::MigrationTakesLong,
                typed = typed => typed,
            },
            Stage::Testing { test, told_at, .. } => tokio::select! {
                biased;
                tested = test => Progress::Tested(tested),
                () = sleep_until(*told_at) => Progress::TestTakesLong,
                typed = typed => typed,
            },
            Stage::Trial(trial) => tokio::select! {
                biased;
                why = trial.ended() => Progress::Ended(why),
                typed = typed => typed,
            },
        };
        if let Progress::Typed(line) = &progress {
            // The end of input ends no line.
            (self.is_in_line, self.is_put) = (line.is_none(), false);
        }
        progress
    }

    /// Takes note of what an event means for an answer.
    pub(crate) async fn hear(&mut self, event: &SessionEvent, holder: &Holder<'_>) -> Result<(), Error> {
        let is_without_link = || holder.session().interface().is_none();
        match event {
            SessionEvent::OfferWithdrawn { offer } => {
                if matches!(&self.stage, Stage::Offered(offered) if offered.number == *offer) {
                    self.stage = Stage::Idle;
                }
                self.due = None;
            }
            SessionEvent::PreferredConfigurationChanged { offer } => {
                self.forget_what_is_over(holder.session());
                if offer.replacement {
                    self.due = answer_due(holder.session()).await?;
                }
            }
            // What holds now is told after it.
            SessionEvent::Lagged => {
                self.forget_what_is_over(holder.session());
                self.due = None;
            }
            SessionEvent::CurrentLinkLost { .. } => self.due = answer_due(holder.session()).await?,
            SessionEvent::NewConfigurationActivated { offer, .. } => {
                if is_without_link() {
                    self.due = answer_due(holder.session()).await?;
                }
                self.join(*offer, holder).await;
            }
            SessionEvent::StateChanged { state: SessionState::Connected } => self.due = None,
            _ => {}
        }
        Ok(())
    }

    /// An offer that is not there any more cannot be answered. Its number does not tell: a service that has forgotten everything
    /// counts from the beginning.
    fn forget_what_is_over(&mut self, session: &Session) {
        let standing = session.snapshot().roaming.filter(|standing| standing.phase == OfferPhase::Offered);
        let standing = standing.map(|standing| standing.offer.number);
        if matches!(&self.stage, Stage::Offered(offered) if Some(offered.number) != standing) {
            self.stage = Stage::Idle;
        }
    }

    /// Does what is to be done next. Breaks if the user wants to end it.
    pub(crate) async fn go_on(&mut self, progress: Progress, holder: &Holder<'_>) -> Result<ControlFlow<()>, Error> {
        match progress {
            Progress::Gone => return Err(CallError::ServiceGone.into()),
            Progress::Offered(offer) => {
                self.candidate = holder.name_of(&offer.configuration).await;
                match self.rule {
                    Rule::Person(_) => self.stage = Stage::Offered(offer),
                    Rule::Policy(Policy::Never) => ignore(offer, holder).await?,
                    Rule::Policy(Policy::AcceptIfTested | Policy::Always) => self.migrate(offer, holder).await?,
                }
            }
            Progress::Migrated(Ok(trial)) => self.test(trial, holder).await?,
            Progress::Migrated(Err(error)) => {
                if let Stage::Migrating { offer, .. } = std::mem::replace(&mut self.stage, Stage::Idle) {
                    tell_refusal(&offer, Answer::Migrate, Err(error), holder)?;
                }
            }
            Progress::Ended(error) => {
                if let Stage::Trial(trial) = std::mem::replace(&mut self.stage, Stage::Idle)
                    && !is_told_by_events(&error)
                {
                    let (offer, access_point) = (trial.offer().number, trial.candidate());
                    holder.tell_own(&OwnEvent::TrialOver { offer, access_point, failure: in_a_line(&error) })?;
                }
            }
            Progress::Tested(Tested { trial, outcome, took }) => {
                let passed = outcome.is_ok();
                holder.tell_own(&OwnEvent::Tested {
                    offer: trial.offer().number,
                    access_point: trial.candidate(),
                    target: self.test.as_ref().map(TestTarget::as_str),
                    passed: Some(passed),
                    failure: outcome.err().map(|error| in_a_line(&error)),
                    milliseconds: Some((took.as_secs_f64() * 1e6).round() / 1e3),
                })?;
                self.decide(trial, passed, holder).await?;
            }
            Progress::MigrationTakesLong => {
                if let Stage::Migrating { waiting, awaited: Some(awaited), .. } = &mut self.stage {
                    waiting.show(format_args!("{awaited}; press Ctrl-C to close"));
                }
            }
            Progress::TestTakesLong => {
                if let Stage::Testing { told_at, .. } = &mut self.stage {
                    *told_at = None;
                }
            }
            Progress::TypedUnasked => holder.output().prompt(NOTHING_ASKED),
            Progress::Typed(None) => return Ok(ControlFlow::Break(())),
            Progress::Typed(Some(line)) => return self.obey(line.trim(), holder).await,
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Puts the question to the person at the terminal, if there is one that was not put.
    pub(crate) fn put(&mut self, output: Output) {
        let question = self.question();
        let is_new = question != self.asked;
        self.asked = question;
        let (Some(question), Rule::Person(terminal)) = (question, &mut self.rule) else { return };
        if is_new && terminal.begin_question() {
            output.prompt(NOTHING_ASKED);
        }
        if is_new || !self.is_put {
            output.prompt(&self.words_of(question));
            (self.is_put, self.is_in_line) = (true, true);
        }
    }

    /// Makes room for a line, as something is to be told: what is shown, or asked, comes again behind it.
    pub(crate) fn end_line(&mut self, output: Output) {
        if let Stage::Migrating { waiting, .. } = &mut self.stage {
            waiting.clear();
        }
        if std::mem::take(&mut self.is_in_line) {
            output.prompt("\n");
        }
        self.is_put = false;
    }

    /// What is to be asked now.
    fn question(&self) -> Option<Question> {
        let (offer, subject, has_link) = match &self.stage {
            Stage::Idle | Stage::Migrating { .. } | Stage::Testing { told_at: Some(_), .. } => return None,
            Stage::Offered(offer) => (offer.number, Asked::Migrate, !offer.replacement),
            Stage::Testing { offer, .. } => (*offer, Asked::EndTest, self.due.is_none()),
            Stage::Trial(trial) => (trial.offer().number, Asked::Keep, self.due.is_none()),
        };
        matches!(self.rule, Rule::Person(_)).then_some(Question { offer, subject, has_link })
    }

    fn words_of(&self, question: Question) -> String {
        let candidate = format!("{BOLD}{}{BOLD:#}", self.candidate);
        let left = TimeLeft(self.due.map(|due| due.saturating_duration_since(Instant::now())));
        match (question.subject, question.has_link) {
            (Asked::Migrate, true) => format!("Move to {candidate}? m to migrate, i to ignore, q to quit: "),
            (Asked::Migrate, false) => {
                format!("Go on with {candidate}{left}? m to migrate, i or q to end the session: ")
            }
            (Asked::EndTest, _) => format!("Testing {candidate}{left}; r to reject it now, q to quit: "),
            (Asked::Keep, true) => {
                format!("Keep {candidate}? t to test again, a to accept, r to reject, q to quit: ")
            }
            (Asked::Keep, false) => {
                format!("Keep {candidate}{left}? t to test again, a to accept, r or q to end the session: ")
            }
        }
    }

    /// Does what was typed.
    async fn obey(&mut self, typed: &str, holder: &Holder<'_>) -> Result<ControlFlow<()>, Error> {
        if matches!(typed, "q" | "quit") {
            return Ok(ControlFlow::Break(()));
        }
        match (std::mem::replace(&mut self.stage, Stage::Idle), typed) {
            (Stage::Offered(offer), "m" | "migrate") => self.migrate(offer, holder).await?,
            (Stage::Offered(offer), "i" | "ignore") => ignore(offer, holder).await?,
            (Stage::Trial(trial), "t" | "test") => self.test(trial, holder).await?,
            (Stage::Trial(trial), "a" | "accept") => accept(trial, holder).await?,
            (Stage::Trial(trial), "r" | "reject") => reject(trial, holder).await?,
            (Stage::Testing { offer, candidate, test, .. }, "r" | "reject") => {
                holder.tell_own(&OwnEvent::Answered { offer, access_point: &candidate, answer: Answer::Reject })?;
                // A trial that is dropped is rejected.
                drop(test);
            }
            (stage, _) => {
                self.stage = stage;
                holder.output().prompt(&format!("\"{typed}\" is none of them.\n"));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// The answer has not come in time, so that it was migrated for us: what is on trial can be decided as any other.
    async fn join(&mut self, number: OfferNumber, holder: &Holder<'_>) {
        match std::mem::replace(&mut self.stage, Stage::Idle) {
            Stage::Offered(offer) if offer.number == number => self.await_trial(offer, holder).await,
            stage => self.stage = stage,
        }
    }

    async fn await_trial(&mut self, offer: Offer, holder: &Holder<'_>) {
        let waiting = Waiting::begin(holder.output());
        let awaited = holder.awaited_of(&offer.configuration, &waiting).await;
        self.stage =
            Stage::Migrating { offer: (*offer).clone(), migration: Box::pin(offer.migrate()), waiting, awaited };
    }

    async fn migrate(&mut self, offer: Offer, holder: &Holder<'_>) -> Result<(), Error> {
        tell_answer(&offer, Answer::Migrate, holder)?;
        self.await_trial(offer, holder).await;
        Ok(())
    }

    /// Begins the test, if there is one.
    async fn test(&mut self, trial: Trial, holder: &Holder<'_>) -> Result<(), Error> {
        let (offer, candidate) = (trial.offer().number, trial.candidate().clone());
        let Some(target) = self.test.clone() else {
            holder.tell_own(&OwnEvent::Tested {
                offer,
                access_point: &candidate,
                target: None,
                passed: None,
                failure: None,
                milliseconds: None,
            })?;
            return self.decide(trial, false, holder).await;
        };
        let deadline = self.test_timeout;
        let test = Box::pin(async move {
            let began = Instant::now();
            let outcome = target.test(&trial, deadline).await;
            Tested { trial, outcome, took: began.elapsed() }
        });
        let told_at = Some(tokio::time::Instant::now() + LONG);
        self.stage = Stage::Testing { offer, candidate, test, told_at };
        Ok(())
    }

    async fn decide(&mut self, trial: Trial, passed: bool, holder: &Holder<'_>) -> Result<(), Error> {
        match self.rule {
            Rule::Person(_) => {
                self.stage = Stage::Trial(trial);
                Ok(())
            }
            Rule::Policy(policy) => {
                self.stage = Stage::Idle;
                if passed || policy == Policy::Always {
                    accept(trial, holder).await
                } else {
                    reject(trial, holder).await
                }
            }
        }
    }
}

async fn ignore(offer: Offer, holder: &Holder<'_>) -> Result<(), Error> {
    let about = (*offer).clone();
    tell_answer(&about, Answer::Ignore, holder)?;
    tell_refusal(&about, Answer::Ignore, offer.ignore().await, holder)
}

async fn accept(trial: Trial, holder: &Holder<'_>) -> Result<(), Error> {
    let about = trial.offer().clone();
    tell_answer(&about, Answer::Accept, holder)?;
    tell_refusal(&about, Answer::Accept, trial.accept().await, holder)
}

async fn reject(trial: Trial, holder: &Holder<'_>) -> Result<(), Error> {
    let about = trial.offer().clone();
    tell_answer(&about, Answer::Reject, holder)?;
    tell_refusal(&about, Answer::Reject, trial.reject().await, holder)
}

fn tell_answer(offer: &OfferDescription, answer: Answer, holder: &Holder<'_>) -> Result<(), Error> {
    holder.tell_own(&OwnEvent::Answered { offer: offer.number, access_point: &offer.configuration, answer })
}

/// Tells that an answer came to nothing, after it was told.
fn tell_refusal(
    offer: &OfferDescription,
    answer: Answer,
    outcome: Result<(), MigrateError>,
    holder: &Holder<'_>,
) -> Result<(), Error> {
    let Err(error) = outcome else { return Ok(()) };
    if is_told_by_events(&error) {
        return Ok(());
    }
    holder.tell_own(&OwnEvent::AnswerRefused {
        offer: offer.number,
        access_point: &offer.configuration,
        answer,
        failure: in_a_line(&error),
    })
}

/// Whether the session's own events say what has happened: RoamingFailed, or Error and Closed.
const fn is_told_by_events(error: &MigrateError) -> bool {
    matches!(error, MigrateError::Failed { .. } | MigrateError::SessionEnded(_))
}

/// When an answer that is asked for now comes too late.
async fn answer_due(session: &Session) -> Result<Option<Instant>, Error> {
    Ok(match session.property(PropertyKey::AnswerTimeout).await {
        Ok(Some(PropertyValue::Duration(timeout))) => Some(Instant::now() + timeout),
        // Nobody decides while the service is away; the time begins anew when it is back.
        Ok(_) | Err(CallError::ServiceLost) => None,
        Err(error) => return Err(error.into()),
    })
}

async fn sleep_until(moment: Option<tokio::time::Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// How long there is to answer, as a remark.
struct TimeLeft(Option<Duration>);

impl fmt::Display for TimeLeft {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |left| write!(formatter, " ({} s left)", left.as_secs_f64().ceil()))
    }
}

/// An error and its causes in a line.
fn in_a_line(error: &dyn std::error::Error) -> String {
    std::iter::once(error.to_string()).chain(causes(error)).collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_is_told_in_whole_seconds_and_only_if_it_is_short() {
        assert_eq!(TimeLeft(Some(Duration::from_millis(9_200))).to_string(), " (10 s left)");
        assert_eq!(TimeLeft(Some(Duration::ZERO)).to_string(), " (0 s left)");
        assert_eq!(TimeLeft(None).to_string(), "");
    }
}
