use netbearer::{Decision, Identifier, Input, RoamCause, Verdict};

use crate::output::DIM;

/// What an input says of something that is not there.
const NOTHING: &str = "nothing";

/// The inputs that name an access point.
const NAMING: [&str; 5] = ["candidate", "in use", "lost", "before", "left"];

/// Whether an access point was considered in a decision about something else.
pub(crate) fn considers(decision: &Decision, access_point: &Identifier) -> bool {
    let is_it = |input: &Input| NAMING.contains(&input.name.as_ref()) && input.value == access_point.as_str();
    decision.inputs.iter().any(is_it)
}

/// What was decided, for people: what was considered, and from which inputs. Access points have the names that `name` knows.
pub(crate) fn words(decision: &Decision, name: impl Fn(&Identifier) -> String) -> String {
    let mut inputs = Inputs {
        left: decision
            .inputs
            .iter()
            .map(|input| (input.name.as_ref(), name(&Identifier::new(input.value.as_str()))))
            .collect(),
    };
    let sentence = match decision.verdict {
        Verdict::Roam(cause) => roaming(cause, &mut inputs),
        Verdict::HoldBack => {
            inputs.take("candidate").map(|candidate| format!("does not go to {candidate} yet, which is better"))
        }
        _ => None,
    };
    let sentence = sentence.unwrap_or_else(|| decision.verdict.to_string());
    format!("{sentence}{}", inputs.words())
}

/// None where the verdict's own words are enough.
fn roaming(cause: RoamCause, inputs: &mut Inputs<'_>) -> Option<String> {
    // How far it was, and is now, follows from what is said.
    let (from, to) = (inputs.take("from"), inputs.take("to"));
    let is_without_link = [&from, &to].into_iter().flatten().any(|course| course.contains("without"));
    let is_from = |course: &str| from.as_deref() == Some(course);
    let candidate = inputs.take("candidate");
    let said = match (cause, &candidate) {
        (RoamCause::LinkLost, _) => format!("has lost {}, and roams", inputs.take("lost")?),
        (_, None) => return None,
        (RoamCause::Offer, Some(candidate)) => match inputs.take_link("in use") {
            Some(link) => format!("is offered {candidate}, which is better than {link}"),
            None => format!("is offered {candidate}, as its link is lost"),
        },
        (RoamCause::Supersede, Some(candidate)) => match inputs.take_link("in use") {
            Some(link) => format!("is offered {candidate} instead of what it was offered before, to leave {link}"),
            None => format!("is offered {candidate} instead of what it was offered before, as its link is lost"),
        },
        // The inputs do not say which of the two it was.
        (RoamCause::Withdraw, Some(candidate)) if is_from("preparing") => {
            format!("does not move to {candidate}, which has gone or is no better any more")
        }
        (RoamCause::Withdraw, Some(candidate)) if is_from("offered") => {
            format!("is not offered {candidate} any more, which has gone or is no better any more")
        }
        (RoamCause::Withdraw, Some(candidate)) => format!("is not offered {candidate} any more, which cannot be had"),
        (RoamCause::Prepare, Some(candidate)) => match inputs.take_link("in use") {
            Some(link) => format!("is to move from {link} to {candidate}, as nobody takes its roaming events"),
            None => format!("is to move to {candidate}, as its link is lost and nobody takes its roaming events"),
        },
        (RoamCause::Ignore, Some(candidate)) => format!("ignores {candidate}, and stays"),
        (RoamCause::Migrate, Some(candidate)) if is_without_link => format!("migrates to {candidate}"),
        (RoamCause::Migrate, Some(candidate)) => format!("migrates to {candidate}, and keeps its link meanwhile"),
        (RoamCause::CandidateUp, Some(candidate)) => match inputs.take("before") {
            Some(_) => format!("goes on by {candidate}"),
            None => format!("tries {candidate}, which is up"),
        },
        (RoamCause::CandidateFailed, Some(candidate)) if is_without_link => format!("cannot go on by {candidate}"),
        (RoamCause::CandidateFailed, Some(candidate)) => format!("cannot go to {candidate}, and stays"),
        (RoamCause::Accept, Some(candidate)) => match inputs.take_link("before") {
            Some(link) => format!("accepts {candidate}, and leaves {link}"),
            None => format!("accepts {candidate}"),
        },
        (RoamCause::Reject, Some(candidate)) => format!("rejects {candidate}, and stays"),
        (cause, Some(candidate)) => format!("{cause}: {candidate} was under way"),
    };
    Some(said)
}

/// Those that were not said yet.
struct Inputs<'a> {
    left: Vec<(&'a str, String)>,
}

impl Inputs<'_> {
    fn take(&mut self, name: &str) -> Option<String> {
        let index = self.left.iter().position(|(found, _)| *found == name)?;
        Some(self.left.remove(index).1)
    }

    fn take_link(&mut self, name: &str) -> Option<String> {
        self.take(name).filter(|link| link != NOTHING)
    }

    fn words(&self) -> String {
        if self.left.is_empty() {
            return String::new();
        }
        let inputs: Vec<String> = self.left.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        format!("  {DIM}({}){DIM:#}", inputs.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use netbearer::{Moment, SessionId, Subject};

    use super::*;

    fn told(verdict: Verdict, inputs: &[(&'static str, &str)]) -> String {
        let inputs = inputs.iter().map(|(name, value)| Input { name: (*name).into(), value: (*value).to_owned() });
        let subject = Subject::Session(SessionId(1), Identifier::new("service-uplink"));
        let decision = Decision { number: 0, time: Moment::ZERO, subject, verdict, inputs: inputs.collect() };
        let words = words(&decision, |identifier| identifier.as_str().trim_start_matches("native-").to_owned());
        anstream::adapter::strip_str(&words).to_string()
    }

    #[test]
    fn what_was_considered_is_said_with_names_and_the_other_inputs_follow() {
        let course = [("from", "settled"), ("to", "offered")];
        let offer =
            [&[("candidate", "native-a"), ("state", "Active"), ("in use", "native-b"), ("offer", "3")], &course[..]];
        assert_eq!(
            told(Verdict::Roam(RoamCause::Offer), &offer.concat()),
            "is offered a, which is better than b  (state: Active, offer: 3)"
        );
        for (verdict, inputs, words) in [
            (
                Verdict::Roam(RoamCause::Offer),
                vec![("candidate", "native-a"), ("in use", "nothing")],
                "is offered a, as its link is lost",
            ),
            (
                Verdict::Roam(RoamCause::Withdraw),
                vec![("candidate", "native-a"), ("from", "offered"), ("to", "settled")],
                "is not offered a any more, which has gone or is no better any more",
            ),
            (
                Verdict::Roam(RoamCause::Withdraw),
                vec![("candidate", "native-a"), ("from", "preparing"), ("to", "settled")],
                "does not move to a, which has gone or is no better any more",
            ),
            (
                Verdict::Roam(RoamCause::Withdraw),
                vec![("candidate", "native-a"), ("from", "offered a replacement"), ("to", "without a link")],
                "is not offered a any more, which cannot be had",
            ),
            (Verdict::Roam(RoamCause::LinkLost), vec![("lost", "native-b")], "has lost b, and roams"),
            (
                Verdict::Roam(RoamCause::Accept),
                vec![("candidate", "native-a"), ("before", "native-b")],
                "accepts a, and leaves b",
            ),
            (Verdict::Roam(RoamCause::StakeholderGained), vec![], "takes roaming events"),
            (
                Verdict::HoldBack,
                vec![("candidate", "native-a"), ("in use", "native-b"), ("cause", "ignored")],
                "does not go to a yet, which is better  (in use: b, cause: ignored)",
            ),
            (Verdict::Hold, vec![("holds", "1")], "holds  (holds: 1)"),
        ] {
            assert_eq!(told(verdict, &inputs), words);
        }
    }
}
