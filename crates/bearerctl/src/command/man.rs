use std::{fs, io, path::Path};

use clap::{Command, CommandFactory};
use roff::{Roff, roman};

use crate::{arguments::Arguments, command::Context, error::Error};

const MANUAL: &str = "NetBearer";

pub(crate) fn run(context: &Context, directory: &Path) -> Result<(), Error> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| Error::Write(path, source)
    };
    fs::create_dir_all(directory).map_err(failed(directory))?;
    let mut command = Arguments::command().disable_help_subcommand(true);
    command.build();
    let version = command.get_version().unwrap_or_default().to_owned();
    let program = command.get_name().to_owned();
    let mut written = Vec::new();
    for command in with_subcommands(command) {
        let (name, text) = page(command, &program, &version).map_err(failed(directory))?;
        let path = directory.join(name);
        fs::write(&path, text).map_err(failed(&path))?;
        written.push(path);
    }
    if context.output.json {
        return context.output.object(&written);
    }
    written.iter().try_for_each(|path| context.output.line(&path.display().to_string()))
}

/// The command, those below it, and so on.
fn with_subcommands(command: Command) -> Vec<Command> {
    let shown = command.get_subcommands().filter(|command| !command.is_hide_set()).cloned();
    let below: Vec<Command> = shown.flat_map(with_subcommands).collect();
    std::iter::once(command).chain(below).collect()
}

/// The name of a page's file, and its text in `man(7)`.
fn page(command: Command, program: &str, version: &str) -> io::Result<(String, Vec<u8>)> {
    let help = command.get_after_long_help().or_else(|| command.get_after_help());
    let help = help.map(ToString::to_string).unwrap_or_default();
    let is_program = command.get_name() == program;
    let has_subcommands = command.has_subcommands();
    let page = clap_mangen::Man::new(command).source(format!("{MANUAL} {version}")).manual(MANUAL);
    let mut text = Vec::new();
    page.render_title(&mut text)?;
    page.render_name_section(&mut text)?;
    page.render_synopsis_section(&mut text)?;
    page.render_description_section(&mut text)?;
    page.render_options_section(&mut text)?;
    if has_subcommands {
        page.render_subcommands_section(&mut text)?;
    }
    let mut rest = sections(&help);
    if !is_program {
        rest.control("SH", ["SEE ALSO"]).text([roman(format!("{program}(1), whose page tells the exit codes."))]);
    }
    rest.to_writer(&mut text)?;
    Ok((page.get_filename(), text))
}

/// What help has after the options: a line that ends with a colon is a heading, what is indented below it stays as it is,
/// everything else are notes.
fn sections(help: &str) -> Roff {
    let mut roff = Roff::new();
    let mut lines = help.lines().peekable();
    let mut notes = false;
    while let Some(line) = lines.next() {
        match line.strip_suffix(':') {
            Some(heading) if lines.peek().is_some_and(|next| next.starts_with(' ')) => {
                // As man-pages(7) calls it.
                let heading = if heading == "Exit codes" { "EXIT STATUS".to_owned() } else { heading.to_uppercase() };
                roff.control("SH", [heading.as_str()]).control("nf", []);
                while let Some(line) = lines.next_if(|line| line.starts_with(' ')) {
                    roff.text([roman(line.strip_prefix("  ").unwrap_or(line))]);
                }
                roff.control("fi", []);
                notes = false;
            }
            _ if line.is_empty() => {}
            _ => {
                roff.control(
                    if notes { "PP" } else { "SH" },
                    if notes { [].as_slice() } else { &["NOTES"] }.iter().copied(),
                );
                roff.text([roman(line)]);
                notes = true;
            }
        }
    }
    roff
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headings_and_what_is_indented_below_them_are_found() {
        let text =
            sections("It stays.\n\nExamples:\n  one\n  two -- three\n\nExit codes:\n  0  done\n  .5 half").to_roff();
        let wanted = ".SH NOTES\nIt stays.\n.SH EXAMPLES\n.nf\none\ntwo \\-\\- three\n.fi\n.SH \"EXIT STATUS\"\n.nf\n0  done\n\\&.5 half\n.fi\n";
        assert_eq!(text, wanted);
    }
}
