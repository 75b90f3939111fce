use netbearer::{CallError, ManagerEvent};

use crate::{command::Context, error::Error, timeline::EventObject, waiting::Waiting};

pub(crate) async fn run(context: &Context) -> Result<(), Error> {
    let manager = context.manager().await?;
    let mut events = manager.events();
    manager.update_configurations().await?;
    let mut waiting = Waiting::begin(context.output);
    loop {
        let event = tokio::select! {
            biased;
            event = events.next() => event.ok_or(CallError::ServiceGone)?,
            () = waiting.tick() => {
                waiting.show("looking at everything anew");
                continue;
            }
        };
        waiting.clear();
        let ended = event == ManagerEvent::UpdateCompleted;
        if event == ManagerEvent::ServiceBack {
            // The one that was asked is gone.
            manager.update_configurations().await?;
        }
        if context.output.json {
            context.output.object(&EventObject::new(&event, None))?;
        } else if ended {
            let count = manager.configurations(None).await?.len();
            context.output.line(&format!("updated; configurations: {count}"))?;
        } else {
            context.output.line(&super::monitor::describe(&event))?;
        }
        if ended {
            return Ok(());
        }
    }
}
