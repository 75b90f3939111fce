use std::{
    ffi::{OsStr, OsString},
    fmt,
    io::{self, Read},
    os::fd::AsFd,
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

use crate::{LabError, Namespace, Record, deadline::Deadline, requirement::locate};

/// A program that is to be run in a [`Namespace`]: `std::process::Command` with the right parent.
///
/// Standard input is `/dev/null` and the other two are the caller's own unless set otherwise.
#[derive(Debug)]
pub struct NamespaceCommand<'a> {
    namespace: &'a Namespace,
    command: Command,
    words: Vec<OsString>,
}

impl<'a> NamespaceCommand<'a> {
    pub(crate) fn new(namespace: &'a Namespace, program: &OsStr) -> Self {
        let mut command = Command::new(locate("setpriv").unwrap_or_else(|| "setpriv".into()));
        // setpriv asks for the death signal (a Rust process could do so only by unsafe code after the fork); the shell
        // closes the gap before it: when this process is dead already, the signal has come and gone unseen.
        command.args(["--pdeathsig", "KILL", "--", "sh", "-c", r#"[ "$PPID" = "$0" ] && exec "$@""#]);
        command.arg(namespace.parent_of_programs().to_string());
        command.arg(locate(program).unwrap_or_else(|| program.into()));
        command.stdin(Stdio::null());
        Self { namespace, command, words: vec![program.to_owned()] }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.command.arg(&argument);
        self.words.push(argument.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<S: AsRef<OsStr>>(self, arguments: impl IntoIterator<Item = S>) -> Self {
        arguments.into_iter().fold(self, Self::arg)
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Sets the standard input.
    #[must_use]
    pub fn stdin(mut self, input: impl Into<Stdio>) -> Self {
        self.command.stdin(input);
        self
    }

    /// Sets the standard output.
    #[must_use]
    pub fn stdout(mut self, output: impl Into<Stdio>) -> Self {
        self.command.stdout(output);
        self
    }

    /// Sets the standard error.
    #[must_use]
    pub fn stderr(mut self, output: impl Into<Stdio>) -> Self {
        self.command.stderr(output);
        self
    }

    /// Starts the program.
    ///
    /// # Errors
    /// [`LabError::System`] if it cannot be started at all. A program that is not there shows as an exit code of 127.
    pub fn spawn(self) -> Result<Program, LabError> {
        let line = self.line();
        let child = self.namespace.spawn(self.command).map_err(LabError::unable_to(format!("start `{line}`")))?;
        Ok(Program { child, line })
    }

    /// Runs the program to its end and returns what it wrote to its standard output.
    ///
    /// # Errors
    /// [`LabError::CommandFailed`], with its standard error, unless it ended with success.
    pub fn output(self) -> Result<String, LabError> {
        let mut program = self.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let errors = program.stderr_lines();
        let unreadable = format!("read the output of `{}`", program.line);
        let mut output = Vec::new();
        if let Some(mut pipe) = program.take_stdout() {
            pipe.read_to_end(&mut output).map_err(LabError::unable_to(unreadable))?;
        }
        let status = program.wait_without_deadline()?;
        if status.success() {
            return Ok(String::from_utf8_lossy(&output).into_owned());
        }
        let message = errors.map(|errors| errors.until_end().join("\n")).unwrap_or_default();
        Err(LabError::CommandFailed { command: program.line.clone(), status, message })
    }

    /// The command line, for messages.
    pub(crate) fn line(&self) -> String {
        let words: Vec<_> = self.words.iter().map(|word| word.to_string_lossy()).collect();
        words.join(" ")
    }
}

/// A program running in a [`Namespace`]. Dropping it kills it (SIGKILL) and waits until it is gone.
///
/// That is true of the program itself, not of the ones it starts: if it does, it must end them.
pub struct Program {
    child: Child,
    line: String,
}

impl Program {
    /// The program's process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The pipe to its standard input, if that was [`Stdio::piped`] and not taken before.
    pub fn take_stdin(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    /// The pipe from its standard output, if that was [`Stdio::piped`] and not taken before.
    pub fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    /// The pipe from its standard error, if that was [`Stdio::piped`] and not taken before.
    pub fn take_stderr(&mut self) -> Option<ChildStderr> {
        self.child.stderr.take()
    }

    /// The lines it writes to its standard output, instead of the pipe.
    pub fn stdout_lines(&mut self) -> Option<Record<String>> {
        self.take_stdout().map(Record::of_lines)
    }

    /// The lines it writes to its standard error, instead of the pipe.
    pub fn stderr_lines(&mut self) -> Option<Record<String>> {
        self.take_stderr().map(Record::of_lines)
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// [`LabError::System`] if it has ended.
    pub fn signal(&self, signal: Signal) -> Result<(), LabError> {
        kill_process(Pid::from_child(&self.child), signal)
            .map_err(LabError::unable_to(format!("send {signal:?} to `{}`", self.line)))
    }

    /// Waits until it has ended.
    ///
    /// # Errors
    /// [`LabError::NotSeen`] if it is still running when the time has passed.
    pub fn wait(&mut self, within: Duration) -> Result<ExitStatus, LabError> {
        let unable = || LabError::unable_to(format!("wait for the end of `{}`", self.line));
        if let Some(status) = self.child.try_wait().map_err(unable())? {
            return Ok(status);
        }
        let process = pidfd_open(Pid::from_child(&self.child), PidfdFlags::empty()).map_err(io::Error::from);
        let process = process.map_err(unable())?;
        let [ended] = Deadline::after(within).wait_readable([process.as_fd()]).map_err(unable())?;
        if ended {
            return self.wait_without_deadline();
        }
        let what = format!("the end of `{}`", self.line);
        Err(LabError::NotSeen { what, within, seen: "it is still running".to_owned() })
    }

    fn wait_without_deadline(&mut self) -> Result<ExitStatus, LabError> {
        self.child.wait().map_err(LabError::unable_to(format!("wait for the end of `{}`", self.line)))
    }
}

impl fmt::Debug for Program {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "`{}` (process {})", self.line, self.child.id())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Both fail only for a program that has ended and was waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
