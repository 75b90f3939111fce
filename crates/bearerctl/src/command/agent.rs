use std::time::SystemTime;

use netbearer::{CallError, ManagerEvent};
use serde::Serialize;

use crate::{
    asking::{Agent, Progress},
    command::{Context, SERVICE_THERE, monitor, unless_interrupted},
    error::Error,
    output::{BOLD, DIM},
    reader::Reader,
    service,
    signals::Signals,
    timeline::EventObject,
};

/// What this program has answered, as programs read it.
#[derive(Serialize)]
#[serde(tag = "event")]
enum AgentEvent<'a> {
    Answered {
        /// The user choice.
        user_choice: &'a str,
        /// What it shall be; nothing if the user did not want any.
        choice: Option<&'a str>,
    },
}

pub(crate) async fn run(context: &Context, policy: Option<&str>) -> Result<(), Error> {
    let mut signals = Signals::catch().map_err(Error::Runtime)?;
    let mut reader = Reader::of_standard_output();
    // Before the service is looked for: without anybody to ask it is of no use.
    let agent = Agent::new(policy).ok_or(Error::NobodyToAsk)?;
    let manager = unless_interrupted(&mut signals, service::require(context), SERVICE_THERE).await?;
    let mut events = manager.events();
    let mut asking = agent.register(&manager).await?;
    let what = policy.map_or_else(
        || "what other programs ask is asked here".to_owned(),
        |policy| format!("what other programs ask is answered with {policy}, or the most preferred"),
    );
    context.output.hint(&format!("{what}; press Ctrl-C to end"));
    loop {
        tokio::select! {
            biased;
            _ = signals.next() => {
                asking.end_line(context.output);
                return Ok(());
            }
            () = reader.gone() => return Ok(()),
            event = events.next() => {
                let event = event.ok_or(CallError::ServiceGone)?;
                if matches!(event, ManagerEvent::ServiceLost | ManagerEvent::ServiceBack) {
                    asking.end_line(context.output);
                    tell_service(context, &event)?;
                }
            }
            progress = asking.next(context.output) => match progress {
                Progress::Asked => asking.put(context.output),
                Progress::Answered(answer) => {
                    let (user_choice, choice) = answer.names();
                    tell(context, &AgentEvent::Answered { user_choice, choice })?;
                    asking.give(answer).await?;
                }
            },
        }
    }
}

fn tell(context: &Context, event: &AgentEvent<'_>) -> Result<(), Error> {
    if context.output.json {
        return context.output.object(&EventObject::new(event, None));
    }
    let AgentEvent::Answered { user_choice, choice } = event;
    let time = humantime::format_rfc3339_millis(SystemTime::now());
    context.output.line(&format!("{DIM}{time}{DIM:#}  {BOLD}{user_choice}{BOLD:#}: {}", choice.unwrap_or("none")))
}

fn tell_service(context: &Context, event: &ManagerEvent) -> Result<(), Error> {
    if context.output.json {
        return context.output.object(&EventObject::new(event, None));
    }
    context.output.hint(&format!("{DIM}{}{DIM:#}", monitor::describe(event)));
    Ok(())
}
