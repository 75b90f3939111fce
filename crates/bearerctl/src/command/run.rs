use netbearer::SessionEvent;
use tokio::process::Command;

use crate::{
    arguments::Run,
    child,
    command::Context,
    error::Error,
    exit_code::ExitCode,
    holder::{Happening, Holder},
    timeline::Place,
};

pub(crate) async fn run(context: &Context, arguments: &Run) -> Result<ExitCode, Error> {
    let mut holder = Holder::new(context, arguments.id.as_deref(), Place::Aside).await?;
    let ended = hold(context, &mut holder, arguments).await;
    let closed = holder.close().await;
    let code = ended?;
    closed.map(|()| code)
}

async fn hold(context: &Context, holder: &mut Holder<'_>, arguments: &Run) -> Result<ExitCode, Error> {
    holder.open(arguments.timeout, &arguments.choosing).await?;
    // clap requires one.
    let Some((program, rest)) = arguments.command.split_first() else { return Ok(ExitCode::OK) };
    let mut running = Command::new(program)
        .args(rest)
        .spawn()
        .map_err(|source| Error::Command(program.to_string_lossy().into_owned(), source))?;
    loop {
        tokio::select! {
            status = running.wait() => {
                return Ok(child::exit_code(status.map_err(Error::Runtime)?));
            }
            happening = holder.next() => match happening? {
                Happening::Signal(received) => child::pass_on(child::number(&running), received),
                // The command may have no more need of the network, or its own way to deal with the loss.
                Happening::Event(SessionEvent::Closed) => context.output.error(&holder.end()),
                Happening::Event(_) => {}
            },
        }
    }
}
