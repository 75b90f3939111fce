use clap::CommandFactory;
use clap_complete::{Shell, generate};

use crate::{arguments::Arguments, command::Context, error::Error};

pub(crate) fn run(context: &Context, shell: Shell) -> Result<(), Error> {
    let mut command = Arguments::command();
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    generate(shell, &mut command, name, &mut script);
    context.output.bytes(&script)
}
