use netbearer::Cleared;

use crate::{command::Context, error::Error, waiting::Waiting};

pub(crate) async fn run(context: &Context) -> Result<(), Error> {
    let cleared = Waiting::during(context.output, "removing what was left", context.embedded.reset()).await?;
    let output = context.output;
    if output.json {
        output.object(&cleared)?;
    } else if cleared.is_nothing() {
        output.line("nothing of ours was left here")?;
    } else {
        for line in describe(&cleared) {
            output.line(&line)?;
        }
    }
    match cleared.refused.as_slice() {
        [] => Ok(()),
        [first, ..] => Err(Error::NotAllReset(cleared.refused.len(), first.clone())),
    }
}

fn describe(cleared: &Cleared) -> Vec<String> {
    let counted = [("rules", cleared.rules), ("routes", cleared.routes)];
    let counted = counted.into_iter().filter(|(_, count)| *count > 0);
    let mut lines: Vec<String> = counted.map(|(what, count)| format!("removed {what}: {count}")).collect();
    lines.extend(cleared.addresses.iter().map(|address| format!("removed address: {address}")));
    lines.extend(cleared.interfaces_set_down.iter().map(|interface| format!("set down: {interface}")));
    lines.extend(cleared.settings_restored.iter().map(|setting| format!("restored: {setting}")));
    lines.extend(cleared.name_servers_restored.iter().map(|place| format!("restored: name servers in {place}")));
    lines
}
