use std::io::{self, Write};

use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};
use serde::Serialize;

use crate::error::Error;

pub(crate) const BOLD: Style = Style::new().bold();
pub(crate) const DIM: Style = Style::new().dimmed();
pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
pub(crate) const BUSY: Style = AnsiColor::Yellow.on_default();
pub(crate) const BAD: Style = AnsiColor::Red.on_default();

/// How results are told: to people, or to programs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    pub(crate) json: bool,
    pub(crate) color: ColorChoice,
}

impl Output {
    /// A line for people. It may contain styles; they are left out where nobody would see them.
    pub(crate) fn line(self, text: &str) -> Result<(), Error> {
        let mut output = AutoStream::new(io::stdout(), self.color).lock();
        writeln!(output, "{text}").and_then(|()| output.flush()).map_err(Error::Output)
    }

    /// Something for other programs that is no JSON.
    pub(crate) fn bytes(self, bytes: &[u8]) -> Result<(), Error> {
        let mut output = io::stdout().lock();
        output.write_all(bytes).and_then(|()| output.flush()).map_err(Error::Output)
    }

    /// An object for programs, on one line.
    pub(crate) fn object(self, object: &impl Serialize) -> Result<(), Error> {
        let mut output = io::stdout().lock();
        write_object(&mut output, object).and_then(|()| output.flush()).map_err(Error::Output)
    }

    /// Something for people that is no result. Nothing depends on it, so nobody is told if it cannot be written.
    pub(crate) fn hint(self, text: &str) {
        if !self.json {
            let _ = writeln!(AutoStream::new(io::stderr(), self.color), "{text}");
        }
    }

    /// A question to a person, on the same line as whose answer the cursor stays.
    pub(crate) fn prompt(self, text: &str) {
        let mut errors = AutoStream::new(io::stderr(), self.color).lock();
        let _ = write!(errors, "{text}").and_then(|()| errors.flush());
    }

    /// An object for programs on standard error, where standard output belongs to somebody else.
    pub(crate) fn aside(self, object: &impl Serialize) {
        let _ = write_object(&mut io::stderr().lock(), object);
    }

    /// What failed, and why.
    pub(crate) fn error(self, error: &Error) {
        if error.is_broken_pipe() {
            return;
        }
        if self.json {
            self.aside(&error.object());
            return;
        }
        let mut text = format!("{BAD}bearerctl:{BAD:#} {error}");
        for cause in error.causes() {
            text.push_str(&format!("\n  caused by: {cause}"));
        }
        self.hint(&text);
    }
}

fn write_object(to: &mut impl Write, object: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(object)?;
    line.push(b'\n');
    to.write_all(&line)
}
