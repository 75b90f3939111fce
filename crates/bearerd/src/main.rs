//! One ledger of sessions for all processes and users of a machine.

use std::{
    env,
    io::{self, IsTerminal, Write},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use bearerd::{DaemonError, Ending, Finding, GROUP, Options, Rules, Staging, SystemBus, check, run, with_causes};
use clap::{ArgAction, Parser};
use netbearer_core::Limits;
use netbearer_dbus::system_bus_address;
use netbearer_service::Directories;
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::runtime::{LocalOptions, LocalRuntime};
use tracing_subscriber::EnvFilter;

/// Filters as `tracing-subscriber` writes them; over `--verbose`.
const LOG_VARIABLE: &str = "NETBEARER_LOG";

/// The daemon of NetBearer: one ledger of sessions for all processes and users of a machine.
///
/// A network link is up as long as somebody holds a session on it, whichever process that is in, and however it ends. Programs
/// reach the daemon by the socket "bus" in its runtime directory, for which no bus daemon is needed, and by the name
/// org.netbearer.Bearer1 on the system bus, if there is one.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "\
SIGTERM and SIGINT end it. If somebody holds a session, links stay up and carry traffic: the next bearerd goes on with \
them, and its clients come back by themselves, so a restart or an upgrade disturbs nobody. \"bearerctl reset\" takes \
down what is left when there is to be no next one. If nobody holds anything, all of it is taken down.

Root may do everything. Members of the group (--group) may open and close sessions; all others may watch.

Exit codes: 0 ended as told (with --check: all is well), 1 not, 2 wrong usage.

Examples:
  sudo bearerd                         serve the machine
  sudo bearerd --check                 look whether it could, and change nothing
  sudo bearerd --no-bus -v             without the system bus, telling every decision"
)]
struct Arguments {
    /// Look at everything the daemon needs, print a line for each, and change nothing
    #[arg(long)]
    check: bool,
    /// With --check: print JSON
    #[arg(long, requires = "check")]
    json: bool,
    /// Where profiles are
    #[arg(long, value_name = "DIRECTORY", env = "NETBEARER_CONFIG_DIR", default_value = "/etc/netbearer")]
    config_dir: PathBuf,
    /// Where the socket, locks, holds and the state file are; gone at the next boot
    #[arg(long, value_name = "DIRECTORY", env = "NETBEARER_RUNTIME_DIR", default_value = "/run/netbearer")]
    runtime_dir: PathBuf,
    /// Where leases are remembered
    #[arg(long, value_name = "DIRECTORY", env = "NETBEARER_STATE_DIR", default_value = "/var/lib/netbearer")]
    state_dir: PathBuf,
    /// Serve the socket only
    #[arg(long, conflicts_with = "bus")]
    no_bus: bool,
    /// The D-Bus address of the bus to serve; by default the system bus
    #[arg(long, value_name = "ADDRESS")]
    bus: Option<String>,
    /// Whose members may open sessions
    #[arg(long, value_name = "NAME", env = "NETBEARER_GROUP", default_value = GROUP)]
    group: String,
    /// How many sessions of one user may hold links at a time
    #[arg(long, value_name = "NUMBER", default_value_t = Limits::default().sessions)]
    max_sessions: u32,
    /// How many sessions of one user may watch at a time
    #[arg(long, value_name = "NUMBER", default_value_t = Limits::default().watchers)]
    max_watchers: u32,
    /// How many descriptors that hold one user may have asked for to pass on [default: four times --max-sessions]
    #[arg(long, value_name = "NUMBER")]
    max_descriptors: Option<u32>,
    /// How many connections one user may have; root may have any number
    #[arg(long, value_name = "NUMBER", default_value_t = 256)]
    max_connections: usize,
    /// For tests: milliseconds that a client may take nothing of what is to be sent to it
    #[arg(long, value_name = "MILLISECONDS", hide = true, default_value_t = 30_000)]
    patience: u64,
    /// For tests: where the root directory of the machine is
    #[arg(long, value_name = "DIRECTORY", hide = true)]
    root: Option<PathBuf>,
    /// For tests: a FIFO that says how many milliseconds seem to have passed in suspend
    #[arg(long, value_name = "FIFO", hide = true)]
    injected_suspends: Option<PathBuf>,
    /// Tell more on standard error: decisions, then what is done, then everything
    #[arg(short, long, action = ArgAction::Count)]
    verbose: u8,
}

impl Arguments {
    fn options(self) -> Options {
        let address = self.bus.unwrap_or_else(system_bus_address);
        Options {
            directories: Directories {
                configuration: self.config_dir,
                runtime: self.runtime_dir,
                state: self.state_dir,
            },
            bus: (!self.no_bus).then(|| SystemBus::new(&address)),
            rules: Rules::new(&self.group),
            limits: Limits {
                sessions: self.max_sessions,
                watchers: self.max_watchers,
                descriptors: self.max_descriptors.unwrap_or(self.max_sessions.saturating_mul(4)),
            },
            connections: self.max_connections,
            patience: Duration::from_millis(self.patience),
            staging: Staging { root: self.root, suspends: self.injected_suspends },
        }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    log_to_standard_error(arguments.verbose);
    let (checks, json) = (arguments.check, arguments.json);
    let options = arguments.options();
    let outcome = if checks {
        print_check(&options, json)
    } else {
        raise_descriptor_limit();
        serve(options).map(|ending| match ending {
            Ending::TakenDown => true,
            // What is left is to stay as it is, so nothing is tidied up on the way out.
            Ending::Left { .. } => std::process::exit(0),
        })
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            let _ = writeln!(io::stderr(), "bearerd: {}", with_causes(&error));
            ExitCode::FAILURE
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum MainError {
    #[error("the program could not be set up")]
    Runtime(#[source] io::Error),
    #[error(transparent)]
    Daemon(#[from] DaemonError),
}

fn runtime() -> Result<LocalRuntime, MainError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build_local(LocalOptions::default())
        .map_err(MainError::Runtime)
}

fn serve(options: Options) -> Result<Ending, MainError> {
    let runtime = runtime()?;
    let ending = runtime.block_on(run(options));
    // Where something of ours may be left, whatever tasks do when they are dropped is not to be done.
    if !matches!(ending, Ok(Ending::TakenDown)) {
        std::mem::forget(runtime);
    }
    Ok(ending?)
}

/// Prints what was found. Returns whether all is well.
fn print_check(options: &Options, json: bool) -> Result<bool, MainError> {
    let findings = runtime()?.block_on(check(options));
    let text = if json {
        serde_json::to_string_pretty(&findings).unwrap_or_default()
    } else {
        let line = |finding: &Finding| {
            let mark = if finding.good { "ok  " } else { "FAIL" };
            format!("{mark} {}: {}", finding.subject, finding.remark)
        };
        findings.iter().map(line).collect::<Vec<_>>().join("\n")
    };
    let written = writeln!(io::stdout(), "{text}");
    Ok(written.is_ok() && findings.iter().all(|finding| finding.good))
}

fn log_to_standard_error(verbose: u8) {
    let level = match verbose {
        0 => "warn,bearerd=info",
        1 => "info",
        2 => "debug",
        _ => "trace",
    };
    let wanted = env::var(LOG_VARIABLE).ok().filter(|directives| !directives.is_empty());
    let filter = wanted.map_or_else(
        || EnvFilter::new(level),
        |directives| {
            EnvFilter::try_new(&directives).unwrap_or_else(|error| {
                let _ = writeln!(io::stderr(), "bearerd: {LOG_VARIABLE} is passed over: {error}");
                EnvFilter::new(level)
            })
        },
    );
    let color = io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(color).init();
}

/// Each connection and each hold is a descriptor, and what is there of them by default is meant for programs that use
/// `select(2)`.
fn raise_descriptor_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!("the limit of descriptors cannot be raised: {error}");
    }
}
