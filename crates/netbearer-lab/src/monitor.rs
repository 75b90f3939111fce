use std::{process::Stdio, time::Duration};

use crate::{LabError, Namespace, Program, Record, deadline::Deadline};

/// An address that is added to the loopback interface and removed again, so that what was before is told from what is after
/// (TEST-NET-1, RFC 5737).
const MARKER: &str = "192.0.2.254";
/// For `ip` to start, or to print what has happened already.
const PATIENCE: Duration = Duration::from_secs(10);
/// For `ip` to print one marker; another is set then.
const ATTEMPT: Duration = Duration::from_millis(200);

/// What `ip monitor` sees of links, addresses, routes and rules: a witness for what was never missing, not for a moment.
#[derive(Debug)]
pub struct Monitor<'a> {
    namespace: &'a Namespace,
    lines: Record<String>,
    _ip: Program,
}

impl<'a> Monitor<'a> {
    /// Starts it. Returns when every change from now on will be seen.
    ///
    /// # Errors
    /// [`LabError::NotSeen`] if it does not start.
    pub fn start(namespace: &'a Namespace) -> Result<Self, LabError> {
        let command = namespace.command("ip").args(["-ts", "monitor", "link", "address", "route", "rule"]);
        let mut ip = command.stdout(Stdio::piped()).spawn()?;
        let lines = ip.stdout_lines().unwrap_or_else(Record::new);
        let monitor = Self { namespace, lines, _ip: ip };
        monitor.mark()?;
        Ok(monitor)
    }

    /// All that has happened before this call, a line each, which begins with the moment. What is removed has one
    /// with "Deleted".
    ///
    /// # Errors
    /// [`LabError::NotSeen`] if it has ended meanwhile.
    pub fn finish(self) -> Result<Vec<String>, LabError> {
        self.mark()?;
        Ok(self.lines.entries().into_iter().filter(|line| !line.contains(MARKER)).collect())
    }

    /// Returns when a change that is made now has been printed.
    fn mark(&self) -> Result<(), LabError> {
        let change = |change| {
            let arguments = ["address", change, MARKER, "dev", "lo"];
            self.namespace.command("ip").args(arguments).output().map(drop)
        };
        let deadline = Deadline::after(PATIENCE);
        loop {
            let mark = self.lines.mark();
            change("add")?;
            // What happens before it listens, it never tells.
            let seen = self.lines.wait_for_text_since(mark, MARKER, ATTEMPT);
            change("del")?;
            match seen {
                Ok(_) => return Ok(()),
                Err(error) if deadline.has_passed() => return Err(error),
                Err(_) => {}
            }
        }
    }
}
