use std::{
    fmt,
    ops::ControlFlow,
    pin::Pin,
    time::{Duration, Instant},
};

use netbearer::{
    CallError, Identifier, MigrateError, Offer, OfferNumber, PropertyKey, PropertyValue, Roaming, Session,
    SessionEvent, SessionState, TestError, Trial,
};

use crate::{
    arguments::Policy,
    error::Error,
    holder::Holder,
    output::{BOLD, Output},
    terminal::Terminal,
    test_target::TestTarget,
    timeline::{Answer, OwnEvent},
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
    /// Whether the question was put.
    is_put: bool,
    /// Whether the cursor is behind it.
    is_in_line: bool,
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
    Migrating(Pin<Box<dyn Future<Output = Result<Trial, MigrateError>>>>),
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
    Tested(Tested),
    TestTakesLong,
    /// The trial is over, and not by us.
    Ended(MigrateError),
    /// None at the end of input.
    Typed(Option<String>),
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
        let Self { roaming, rule, stage, .. } = self;
        // Only while something is asked, so that a job in the background is not stopped for nothing.
        let typed = async {
            match rule {
                Rule::Person(terminal) => Progress::Typed(terminal.next_line().await),
                Rule::Policy(_) => std::future::pending().await,
            }
        };
        let mut offered = async || roaming.next().await.map_or(Progress::Gone, Progress::Offered);
        let progress = match stage {
            Stage::Idle => offered().await,
            Stage::Offered(_) => tokio::select! {
                biased;
                newer = offered() => newer,
                typed = typed => typed,
            },
            Stage::Migrating(migration) => Progress::Migrated(migration.await),
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
            SessionEvent::PreferredConfigurationChanged { offer } if offer.replacement => {
                self.due = answer_due(holder.session()).await?;
            }
            SessionEvent::CurrentLinkLost { .. } => self.due = answer_due(holder.session()).await?,
            SessionEvent::NewConfigurationActivated { .. } if is_without_link() => {
                self.due = answer_due(holder.session()).await?;
            }
            SessionEvent::StateChanged { state: SessionState::Connected } => self.due = None,
            _ => {}
        }
        Ok(())
    }

    /// Does what is to be done next. Breaks if the user wants to end it.
    pub(crate) async fn go_on(&mut self, progress: Progress, holder: &Holder<'_>) -> Result<ControlFlow<()>, Error> {
        match progress {
            Progress::Gone => return Err(CallError::ServiceGone.into()),
            Progress::Offered(offer) => {
                self.candidate = holder.name_of(&offer.configuration).await;
                match self.rule {
                    Rule::Person(_) => self.stage = Stage::Offered(offer),
                    Rule::Policy(Policy::Never) => self.ignore(offer, holder).await?,
                    Rule::Policy(Policy::AcceptIfTested | Policy::Always) => self.migrate(offer, holder)?,
                }
            }
            Progress::Migrated(Ok(trial)) => self.test(trial, holder).await?,
            Progress::Migrated(Err(error)) | Progress::Ended(error) => {
                self.stage = Stage::Idle;
                self.tell_refusal(Err(error), holder);
            }
            Progress::Tested(Tested { trial, outcome, took }) => {
                let passed = outcome.is_ok();
                holder.tell_own(&OwnEvent::Tested {
                    offer: trial.offer().number,
                    access_point: trial.candidate(),
                    target: self.test.as_ref().map(TestTarget::as_str),
                    passed: Some(passed),
                    failure: outcome.err().map(|error| with_causes(&error)),
                    milliseconds: Some((took.as_secs_f64() * 1e6).round() / 1e3),
                })?;
                self.decide(trial, passed, holder).await?;
            }
            Progress::TestTakesLong => {
                if let Stage::Testing { told_at, .. } = &mut self.stage {
                    *told_at = None;
                }
            }
            Progress::Typed(None) => return Ok(ControlFlow::Break(())),
            Progress::Typed(Some(line)) => return self.obey(line.trim(), holder).await,
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Puts the question to the person at the terminal, if there is one that was not put.
    pub(crate) fn put(&mut self, output: Output) {
        if self.is_put || !matches!(self.rule, Rule::Person(_)) {
            return;
        }
        let Some(question) = self.question() else { return };
        output.prompt(&question);
        (self.is_put, self.is_in_line) = (true, true);
    }

    /// Ends the line of the question, as something else is to be told; then it is put again.
    pub(crate) fn end_line(&mut self, output: Output) {
        if std::mem::take(&mut self.is_in_line) {
            output.prompt("\n");
        }
        self.is_put = false;
    }

    fn question(&self) -> Option<String> {
        let candidate = format!("{BOLD}{}{BOLD:#}", self.candidate);
        let left = TimeLeft(self.due.map(|due| due.saturating_duration_since(Instant::now())));
        Some(match &self.stage {
            Stage::Idle | Stage::Migrating(_) | Stage::Testing { told_at: Some(_), .. } => return None,
            Stage::Offered(offer) if offer.replacement => {
                format!("Go on with {candidate}{left}? m to migrate, i or q to end the session: ")
            }
            Stage::Offered(_) => format!("Move to {candidate}? m to migrate, i to ignore, q to quit: "),
            Stage::Testing { .. } => format!("Testing {candidate}{left}; r to reject it now, q to quit: "),
            Stage::Trial(_) if self.due.is_some() => {
                format!("Keep {candidate}{left}? t to test again, a to accept, r or q to end the session: ")
            }
            Stage::Trial(_) => {
                format!("Keep {candidate}? t to test again, a to accept, r to reject, q to quit: ")
            }
        })
    }

    /// Does what was typed.
    async fn obey(&mut self, typed: &str, holder: &Holder<'_>) -> Result<ControlFlow<()>, Error> {
        if matches!(typed, "q" | "quit") {
            return Ok(ControlFlow::Break(()));
        }
        match (std::mem::replace(&mut self.stage, Stage::Idle), typed) {
            (Stage::Offered(offer), "m" | "migrate") => self.migrate(offer, holder)?,
            (Stage::Offered(offer), "i" | "ignore") => self.ignore(offer, holder).await?,
            (Stage::Trial(trial), "t" | "test") => self.test(trial, holder).await?,
            (Stage::Trial(trial), "a" | "accept") => self.accept(trial, holder).await?,
            (Stage::Trial(trial), "r" | "reject") => self.reject(trial, holder).await?,
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

    fn migrate(&mut self, offer: Offer, holder: &Holder<'_>) -> Result<(), Error> {
        tell_answer(&offer, Answer::Migrate, holder)?;
        self.stage = Stage::Migrating(Box::pin(offer.migrate()));
        Ok(())
    }

    async fn ignore(&self, offer: Offer, holder: &Holder<'_>) -> Result<(), Error> {
        tell_answer(&offer, Answer::Ignore, holder)?;
        self.tell_refusal(offer.ignore().await, holder);
        Ok(())
    }

    async fn accept(&self, trial: Trial, holder: &Holder<'_>) -> Result<(), Error> {
        tell_answer(trial.offer(), Answer::Accept, holder)?;
        self.tell_refusal(trial.accept().await, holder);
        Ok(())
    }

    async fn reject(&self, trial: Trial, holder: &Holder<'_>) -> Result<(), Error> {
        tell_answer(trial.offer(), Answer::Reject, holder)?;
        self.tell_refusal(trial.reject().await, holder);
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
            Rule::Person(_) | Rule::Policy(Policy::Never) => {
                self.stage = Stage::Trial(trial);
                Ok(())
            }
            Rule::Policy(policy) => {
                self.stage = Stage::Idle;
                if passed || policy == Policy::Always {
                    self.accept(trial, holder).await
                } else {
                    self.reject(trial, holder).await
                }
            }
        }
    }

    /// Says that an answer did not reach the service. Everything else that can be wrong with one is told by events.
    fn tell_refusal(&self, answered: Result<(), MigrateError>, holder: &Holder<'_>) {
        if let Err(MigrateError::Call(error)) = answered {
            holder.output().hint(&format!("{}: {error}", self.candidate));
        }
    }
}

fn tell_answer(offer: &netbearer::OfferDescription, answer: Answer, holder: &Holder<'_>) -> Result<(), Error> {
    holder.tell_own(&OwnEvent::Answered { offer: offer.number, access_point: &offer.configuration, answer })
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

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
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
