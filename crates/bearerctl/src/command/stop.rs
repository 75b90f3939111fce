use std::time::Duration;

use crate::{command::Context, error::Error, holder::Holder, timeline::Place};

/// Taking a link down is a matter of milliseconds; beyond this something is wrong.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) async fn run(context: &Context, wanted: &str) -> Result<(), Error> {
    let mut holder = Holder::new(context, Some(wanted), Place::StandardOutput).await?;
    let stopped = holder.stop(PATIENCE).await;
    if let Ok(false) = stopped {
        context.output.hint(&format!("{} is not up; nothing to stop", holder.name()));
    }
    let closed = holder.close().await;
    stopped.map(|_| ()).and(closed)
}
