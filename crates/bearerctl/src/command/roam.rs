use netbearer::{CallError, PropertyKey, PropertyValue, SessionEvent};

use crate::{
    arguments::{Policy, Roam},
    command::Context,
    deciding::{Decider, Progress, Rule},
    error::Error,
    holder::{Happening, Holder},
    terminal::Terminal,
    timeline::Place,
};

pub(crate) async fn run(context: &Context, arguments: &Roam) -> Result<(), Error> {
    let mut holder = Holder::new(context, arguments.id.as_deref(), Place::StandardOutput).await?;
    // Before it is opened, so that it never moves without being asked.
    let roaming = holder.session().roaming().await;
    let roaming = match roaming {
        Ok(roaming) => roaming,
        Err(error) => {
            let name = holder.name();
            let closed = holder.close().await;
            let error = match error {
                CallError::NotSupported(failure) => Error::CannotRoam(name, failure),
                other => other.into(),
            };
            return closed.and(Err(error));
        }
    };
    let mut decider = Decider::new(roaming, rule(arguments), arguments.test.clone(), arguments.test_timeout);
    let held = hold(context, &mut holder, &mut decider, arguments).await;
    decider.end_line(context.output);
    // It decides until the session is closed: without it, the session would move by itself meanwhile.
    let closed = holder.close().await;
    drop(decider);
    held.and(closed)
}

/// Whoever is at the terminal decides, unless that was said beforehand, or nobody is.
fn rule(arguments: &Roam) -> Rule {
    let of_nobody = if arguments.test.is_some() { Policy::AcceptIfTested } else { Policy::Always };
    match arguments.policy {
        Some(policy) => Rule::Policy(policy),
        None => Terminal::of_a_person().map_or(Rule::Policy(of_nobody), Rule::Person),
    }
}

async fn hold(
    context: &Context,
    holder: &mut Holder<'_>,
    decider: &mut Decider,
    arguments: &Roam,
) -> Result<(), Error> {
    for (key, value) in [
        (PropertyKey::AnswerTimeout, PropertyValue::Duration(arguments.answer_timeout)),
        (PropertyKey::OnTimeout, PropertyValue::Text(arguments.on_timeout.as_str().to_owned())),
    ] {
        holder.session().set_property(key, Some(value)).await?;
    }
    holder.open(arguments.timeout, &arguments.choosing).await?;
    let who = decider.words();
    context.output.hint(&format!("holding {}; {who}; press Ctrl-C to close", holder.name()));
    loop {
        tokio::select! {
            biased;
            happening = holder.next_untold() => match happening? {
                Happening::Signal(_) => return Ok(()),
                Happening::Event(event) => {
                    decider.end_line(context.output);
                    holder.tell(&event).await?;
                    if event == SessionEvent::Closed {
                        return Err(holder.end());
                    }
                    decider.hear(&event, holder).await?;
                }
            },
            progress = decider.next() => {
                // Only another picture of what is shown comes in its place.
                if !matches!(progress, Progress::MigrationTakesLong) {
                    decider.end_line(context.output);
                }
                if decider.go_on(progress, holder).await?.is_break() {
                    return Ok(());
                }
            }
        }
        decider.put(context.output);
    }
}
