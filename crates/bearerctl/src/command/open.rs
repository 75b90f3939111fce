use netbearer::SessionEvent;

use crate::{
    arguments::Open,
    command::Context,
    error::Error,
    holder::{Happening, Holder},
    timeline::Place,
};

pub(crate) async fn run(context: &Context, arguments: &Open) -> Result<(), Error> {
    let mut holder = Holder::new(context, arguments.id.as_deref(), Place::StandardOutput).await?;
    let held = hold(context, &mut holder, arguments).await;
    let closed = holder.close().await;
    held.and(closed)
}

async fn hold(context: &Context, holder: &mut Holder<'_>, arguments: &Open) -> Result<(), Error> {
    holder.open(arguments.timeout, &arguments.choosing).await?;
    context.output.hint(&format!("holding {}; press Ctrl-C to close", holder.name()));
    loop {
        match holder.next().await? {
            Happening::Signal(_) => return Ok(()),
            Happening::Event(SessionEvent::Closed) => return Err(holder.end()),
            Happening::Event(_) => {}
        }
    }
}
