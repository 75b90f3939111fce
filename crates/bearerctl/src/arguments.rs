mod lab;

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    time::Duration,
};

use anstream::ColorChoice;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum, builder::Resettable};
use clap_complete::Shell;
use netbearer::{Directories, Embedded};
use netbearer_lab::Sandbox;

use crate::{output::Output, service::Choice, test_target::TestTarget};

pub(crate) use lab::{Lab, LabCommand, LabNamed, LabSlow, LabStart, LabTour};

const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    failed for another reason than these
  2    the arguments are wrong
  3    no such configuration (or access point of a sandbox), several of that name, or no default one
  4    not available now: unplugged, no carrier, busy, or no member could be brought up; no sandbox;
       no bearer service, where one is needed
  5    not supported: a privilege is missing, the kernel cannot do it, another program manages the
       interface, stop of a service network, or roam of an access point
  6    timed out: --timeout, no DHCP lease, or the profile's connect timeout
  7    the session ended against its holder's will: link lost, or stopped
  8    another process keeps the sessions of this network namespace
  9    nothing was chosen: the user wanted none of the choices, or did not answer within two minutes
  10   not allowed: the bearer service does not let this user open, or stop for everybody
  126  run, lab: the command could not be started
  127  run, lab: the command was not found
  128+n  ended by signal n: open before the session was open, or the command of run or lab
  run and lab otherwise end with their command's own code.";

const EXAMPLES: &str = "\
Examples:
  bearerctl list                      what there is
  bearerctl open ap0                  bring ap0 up, and hold it until Ctrl-C
  bearerctl run --on ap0 -- curl -O https://example.org/file
  bearerctl sessions                  who holds what
  bearerctl monitor --json            what happens, for programs
  bearerctl lab tour                  see it all, in a sandbox";

/// Open, watch and stop network sessions.
#[derive(Debug, Parser)]
#[command(
    name = "bearerctl",
    version,
    about = "Open, watch and stop network sessions",
    long_about = "Open, watch and stop network sessions.\n\n\
        A session says \"I need this network\". The first one brings the access point up (link, DHCP, addresses, \
        routes), the last one to close takes it down again. What was up before stays up.\n\n\
        Sessions of all programs are counted together by the bearer service, bearerd. Where none is running this program \
        does the work itself, and says so first.",
    after_help = EXAMPLES,
    after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"),
    max_term_width = 100,
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,

    /// Where profiles are read from
    #[arg(long, global = true, value_name = "DIRECTORY", env = "NETBEARER_CONFIG_DIR", hide_env_values = true)]
    config_dir: Option<PathBuf>,

    /// Where locks and notes are kept until the next boot
    #[arg(long, global = true, value_name = "DIRECTORY", env = "NETBEARER_RUNTIME_DIR", hide_env_values = true)]
    runtime_dir: Option<PathBuf>,

    /// Where leases are remembered
    #[arg(long, global = true, value_name = "DIRECTORY", env = "NETBEARER_STATE_DIR", hide_env_values = true)]
    state_dir: Option<PathBuf>,

    /// Do the work in this program, even if a bearer service is running
    #[arg(long, global = true, conflicts_with = "daemon")]
    embedded: bool,

    /// Use the running bearer service, or fail: never do the work in this program
    #[arg(long, global = true)]
    daemon: bool,

    /// Print JSON: one object a line for what happens, one value for what is
    #[arg(long, global = true)]
    json: bool,

    /// When to use colour; NO_COLOR is heeded
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    color: Color,

    /// Log to standard error what is decided and why; twice for more. NETBEARER_LOG takes a filter
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Color {
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List what sessions can be opened on
    #[command(
        after_help = "Examples:\n  bearerctl list\n  bearerctl list --json | jq -r '.[] | select(.default) | .identifier'"
    )]
    List,
    /// Show everything that is known of one configuration
    #[command(after_help = "Examples:\n  bearerctl show ap0\n  bearerctl show ap0 --json")]
    Show(Named),
    /// Open a session, and hold it until interrupted
    #[command(
        after_help = "Ctrl-C, SIGTERM and SIGHUP close the session in order; a second later they end the program at once.\n\n\
            Examples:\n  bearerctl open                    the default configuration\n  \
            bearerctl open ap0 --timeout 5s   give up if it is not open by then\n  \
            bearerctl open ap0 --json         one object for each event\n  \
            bearerctl open uplink             a service network: its most preferred member that can be had\n  \
            bearerctl open where --choose ap0 a user choice, without being asked"
    )]
    Open(Open),
    /// Open a session that roams, and decide where to
    #[command(
        after_help = "When a better access point of the service network is there, or the link in use is lost, it is offered. \
            Nothing changes before the answer. Type, and press Enter:\n\n  \
            m  migrate: bring it up beside the link in use, for a trial\n  \
            i  ignore it, and stay\n\n\
            In the trial both links carry traffic, and what --test names is tried through the new one. Then:\n\n  \
            t  test again\n  \
            a  accept: use the new one, and give the old one back\n  \
            r  reject: stay with the old one, whose connections never noticed\n\n\
            q at a question, and Ctrl-C at any time, close the session. After a loss there is no link to stay with: what is \
            ignored or rejected ends the session, with exit code 7, and so does what is not answered within --answer-timeout, \
            unless --on-timeout migrate goes on with it.\n\n\
            Where nobody can be asked, --policy decides. Without it that is accept-if-tested if there is a test, else \
            always.\n\n\
            Examples:\n  bearerctl roam uplink --test tcp://192.0.2.1:443\n  \
            bearerctl roam uplink --test http://example.org/ --policy accept-if-tested\n  \
            bearerctl roam uplink --policy never    stays where it is, whatever is offered\n  \
            bearerctl roam uplink --json            one object for each event and each answer"
    )]
    Roam(Roam),
    /// Hold a session while a command runs
    #[command(
        after_help = "Signals are passed on to the command, and its exit code is this program's. If the network is lost \
            meanwhile, the command goes on.\n\n\
            Examples:\n  bearerctl run -- ping -c 3 192.0.2.1\n  bearerctl run --on ap0 --timeout 5s -- ./upload.sh"
    )]
    Run(Run),
    /// Watch all configurations: what comes, changes and goes, live
    #[command(
        after_help = "Begins with the state of each as it is, and ends when it is interrupted or nobody reads it any more.\n\n\
            Examples:\n  bearerctl monitor\n  bearerctl monitor --json | jq --unbuffered -c 'select(.event == \"StateChanged\")'"
    )]
    Monitor,
    /// List the sessions of all programs: who holds what
    #[command(
        after_help = "Only a bearer service knows them: start one with bearerd. Sessions whose program has ended, but left its \
            hold to another one, are \"passed on\". Bytes are those that the access point has received and sent since it is up, \
            all programs' alike.\n\n\
            Examples:\n  bearerctl sessions\n  bearerctl sessions --json | jq -r '.[] | select(.user_name == \"root\") | .program'"
    )]
    Sessions(Sessions),
    /// Tell which service answers, what is up, and who holds it
    #[command(
        after_help = "Without a bearer service it tells that there is none, and what this program sees itself.\n\n\
            Examples:\n  bearerctl status\n  bearerctl status --daemon   exit code 4 if no bearer service is running\n  \
            bearerctl status --json | jq .online"
    )]
    Status,
    /// Answer what user choices ask, for other programs
    #[command(
        after_help = "When a program of the same user opens a session on a user choice, the question is put here, until Ctrl-C. \
            The agent that was started last is asked. Needs a bearer service.\n\n\
            Examples:\n  bearerctl agent\n  bearerctl agent --choose ap0   answers without asking: ap0 wherever it can be had"
    )]
    Agent(Agent),
    /// Take an access point down, whoever uses it
    #[command(
        after_help = "What is not up is left alone. Of a service network, name the access point that is up: show tells it. \
            A bearer service lets only root do that, or who has the right org.netbearer.control: exit code 10.\n\n\
            Examples:\n  bearerctl stop ap0"
    )]
    Stop(Named),
    /// Explain why things are as they are
    #[command(
        after_help = "Tells what each access point is, what can be done with it and what not, and the decisions with their \
            inputs. Interfaces that are no access points are explained by their names.\n\n\
            Examples:\n  bearerctl why\n  bearerctl why ap0\n  bearerctl why lo"
    )]
    Why(PerhapsNamed),
    /// Look at everything anew
    #[command(after_help = "An access point that had no carrier when it was tried may be tried again after that.\n\n\
            Examples:\n  bearerctl update")]
    Update,
    /// Check, write, edit and import what is said of access points
    #[command(
        after_help = "Profiles are the files of profiles.d below the configuration directory (/etc/netbearer, or --config-dir). \
            They say how access points are brought up, which of them stand in for one another, and what can be chosen. \
            A running service reads them again when they change.\n\n\
            Examples:\n  bearerctl profile new ap0         a file to begin with\n  \
            bearerctl profile edit ap0        with your editor; checked before it is in force\n  \
            bearerctl profile check           all mistakes there are"
    )]
    Profile {
        #[command(subcommand)]
        command: ProfileCommand,
    },
    /// Try everything in a sandbox: access points to open, to cut and to slow, without root
    #[command(
        after_help = "Starts a shell, or a command, on a machine of its own with network cards that are down. At the other end of \
            each is an access point with DHCP, IPv6 routing and DNS, and behind it a server. Nothing outside is touched, and all \
            of it is gone at the end, however that comes. An ordinary user is root inside; the kernel must allow user namespaces.\n\n\
            Examples:\n  bearerctl lab tour                       see what NetBearer does, in under a minute\n  \
            bearerctl lab                            a shell to try things in\n  \
            bearerctl lab --access-points 3 -- ./test.sh\n  \
            bearerctl lab cut ap0                    inside, or from another terminal"
    )]
    Lab(Lab),
    /// Remove what a killed process has left in this network namespace
    #[command(
        after_help = "Routes, rules and addresses of ours are removed, and interfaces set down that were down before. \
            The next start of NetBearer does the same by itself. Refused while a bearer service or another program is at work \
            here.\n\n\
            Examples:\n  bearerctl reset"
    )]
    Reset,
    /// Collect everything a bug report needs, without secrets
    #[command(
        after_help = "In it: versions; what can be opened, and why things are as they are; the machine's links, addresses, \
            routes and rules; NetBearer's configuration files; its log. Passwords, keys and the like are taken out. \
            Addresses and names stay: look through it before you publish it.\n\n\
            Examples:\n  bearerctl report --output report.txt\n  bearerctl report | less"
    )]
    Report(Report),
    /// Print the completions of a shell
    #[command(after_help = "What packages install; for one user, put it where the shell looks for it.\n\n\
            Examples:\n  bearerctl completions bash > /usr/share/bash-completion/completions/bearerctl\n  \
            bearerctl completions zsh > /usr/share/zsh/vendor-completions/_bearerctl\n  \
            bearerctl completions fish > /usr/share/fish/vendor_completions.d/bearerctl.fish")]
    Completions(Completions),
    /// Write the manual pages into a directory
    #[command(
        after_help = "One page for the program and one for each command; the directory is made if there is none.\n\n\
            Examples:\n  bearerctl man /usr/share/man/man1"
    )]
    Man(Man),
}

#[derive(Debug, Args)]
pub(crate) struct Report {
    /// Where it is written; to the standard output if left out
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell
    pub(crate) shell: Shell,
}

#[derive(Debug, Args)]
pub(crate) struct Man {
    /// Where the pages are written
    pub(crate) directory: PathBuf,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ProfileCommand {
    /// Tell every mistake in profiles, and what to do about it
    #[command(
        after_help = "A file with a mistake is out of force as a whole: a running service goes on with its last good \
            version, one that starts leaves it out. Exit code 1 if there are mistakes.\n\n\
            Examples:\n  bearerctl profile check\n  bearerctl profile check new/office.toml   before it is put into its place\n  \
            bearerctl profile check --json | jq -r '.[] | \"\\(.file):\\(.line)\"'"
    )]
    Check {
        /// Only these, each as if it were in profiles.d; all there are if left out
        #[arg(value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Write a profile to begin with, with everything there is as comments
    #[command(
        after_help = "Nothing is in force of it before a line is uncommented. A file that is there is not overwritten.\n\n\
            Examples:\n  bearerctl profile new ap0"
    )]
    New(Named),
    /// Edit a profile with $VISUAL or $EDITOR
    #[command(
        after_help = "The editor gets a copy. With mistakes in it the profile stays as it is, and the copy is kept; without, \
            it takes the profile's place in one step.\n\n\
            Examples:\n  bearerctl profile edit ap0\n  EDITOR=nano bearerctl profile edit office"
    )]
    Edit {
        /// The name of the file, without .toml
        name: String,
    },
    /// Make profiles of files of NetworkManager and systemd-networkd
    #[command(
        after_help = "Reads keyfiles (*.nmconnection) and *.network files, or all those of a directory, and prints a profile for \
            each. What could not be carried over is told on standard error. The files themselves stay as they are, and so \
            does what their managers do: hand the interface over first.\n\n\
            Examples:\n  bearerctl profile import /etc/NetworkManager/system-connections/office.nmconnection\n  \
            bearerctl profile import --write /etc/systemd/network"
    )]
    Import {
        /// Files, or directories of them
        #[arg(value_name = "PATH", required = true)]
        paths: Vec<PathBuf>,

        /// Write them to profiles.d, where there is none of the name; without this they are printed
        #[arg(long)]
        write: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Named {
    /// Identifier, name or interface name
    pub(crate) id: String,
}

#[derive(Debug, Args)]
pub(crate) struct PerhapsNamed {
    /// Identifier, name or interface name; everything if left out
    pub(crate) id: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Sessions {
    /// Those that only watch, too
    #[arg(long)]
    pub(crate) all: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Agent {
    /// Ask nobody: take this one wherever it is among the choices, else the most preferred: identifier, name or interface name
    #[arg(long, value_name = "ID")]
    pub(crate) choose: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Open {
    /// Identifier, name or interface name; the default configuration if left out
    pub(crate) id: Option<String>,

    /// Give up if the session is not open by then, for instance 500ms, 5s or 1m
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub(crate) timeout: Option<Duration>,

    #[command(flatten)]
    pub(crate) choosing: Choosing,
}

/// What a user choice is made. At a terminal it is asked for; elsewhere the most preferred is taken.
#[derive(Debug, Default, Args)]
pub(crate) struct Choosing {
    /// Of a user choice, take this one of its choices, and do not ask: identifier, name or interface name
    #[arg(long, value_name = "ID")]
    pub(crate) choose: Option<String>,

    /// Ask nobody: of a user choice, take the most preferred
    #[arg(long, conflicts_with = "choose")]
    pub(crate) background: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Roam {
    /// Identifier, name or interface name of a service network or user choice; the default configuration if left out
    pub(crate) id: Option<String>,

    /// What to reach through a candidate in its trial: tcp://HOST:PORT, or http://HOST/PATH, which must answer with success
    #[arg(long, value_name = "URL")]
    pub(crate) test: Option<TestTarget>,

    /// How long a test may take
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = humantime::parse_duration, requires = "test")]
    pub(crate) test_timeout: Duration,

    /// Ask nobody, and decide like this
    #[arg(long, value_name = "POLICY", requires_if("accept-if-tested", "test"))]
    pub(crate) policy: Option<Policy>,

    /// How long there is to answer once the link in use is lost, and anew in a trial then; before, there is no end to it
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = humantime::parse_duration)]
    pub(crate) answer_timeout: Duration,

    /// What becomes of the session if there is no answer by then
    #[arg(long, value_name = "WHAT", default_value = "end")]
    pub(crate) on_timeout: OnTimeout,

    /// Give up if the session is not open by then, for instance 500ms, 5s or 1m
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub(crate) timeout: Option<Duration>,

    #[command(flatten)]
    pub(crate) choosing: Choosing,
}

/// Who decides about offers, if nobody is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Policy {
    /// Migrate to what is offered, and accept what passes the test
    AcceptIfTested,
    /// Migrate to what is offered, and accept it, whatever the test says
    Always,
    /// Ignore whatever is offered
    Never,
}

/// What becomes of a session without a link whose offer nobody answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnTimeout {
    /// It ends
    End,
    /// It goes on with what was offered
    Migrate,
}

impl OnTimeout {
    /// As the property has it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::End => "end",
            Self::Migrate => "migrate",
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// Identifier, name or interface name; the default configuration if left out
    #[arg(long = "on", value_name = "ID")]
    pub(crate) id: Option<String>,

    /// Give up if the session is not open by then, for instance 500ms, 5s or 1m
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub(crate) timeout: Option<Duration>,

    #[command(flatten)]
    pub(crate) choosing: Choosing,

    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,
}

impl Arguments {
    /// Those of the command line. Ends the program if they are wrong, or ask for help.
    pub(crate) fn read() -> Self {
        Self::try_parse().unwrap_or_else(|error| {
            // The usage that is told with a mistake has what was given; what the environment says nobody gave.
            let without_environment = Self::command().mut_args(|argument| argument.env(Resettable::Reset));
            let same = error.use_stderr().then(|| without_environment.try_get_matches().err()).flatten();
            same.unwrap_or(error).exit()
        })
    }

    pub(crate) const fn output(&self) -> Output {
        let color = match self.color {
            Color::Auto => ColorChoice::Auto,
            Color::Always => ColorChoice::Always,
            Color::Never => ColorChoice::Never,
        };
        Output { json: self.json, color }
    }

    /// Where everything is kept in a sandbox; a configuration directory that was told is still used.
    pub(crate) fn lab_directories(&self) -> Directories {
        let below = Directories::below(Path::new(Sandbox::DIRECTORY));
        Directories { configuration: self.config_dir.clone().unwrap_or(below.configuration), ..below }
    }

    /// The usual directories, but for those that were told.
    pub(crate) fn directories(&self) -> Directories {
        let usual = Directories::from_environment();
        let or = |told: &Option<PathBuf>, usual| told.clone().unwrap_or(usual);
        Directories {
            configuration: or(&self.config_dir, usual.configuration),
            runtime: or(&self.runtime_dir, usual.runtime),
            state: or(&self.state_dir, usual.state),
        }
    }

    /// True if the log is part of the result.
    pub(crate) const fn keeps_log(&self) -> bool {
        matches!(self.command, Command::Report(_))
    }

    /// Which service is wanted.
    pub(crate) const fn service(&self) -> Choice {
        match (self.embedded, self.daemon) {
            (true, _) => Choice::Embedded,
            (false, true) => Choice::Daemon,
            (false, false) => Choice::Any,
        }
    }

    /// The service of this program, on the directories it was told.
    pub(crate) fn embedded(&self) -> Embedded {
        Embedded::default().directories(self.directories())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_of_the_arguments_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn durations_are_a_number_and_a_unit() {
        let timeout = |text: &str| match Arguments::try_parse_from(["bearerctl", "open", "--timeout", text]) {
            Ok(Arguments { command: Command::Open(open), .. }) => open.timeout,
            _ => None,
        };
        assert_eq!(timeout("5s"), Some(Duration::from_secs(5)));
        assert_eq!(timeout("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(timeout("1m"), Some(Duration::from_secs(60)));
        for wrong in ["5", "-5s", "soon", "", "5 parsecs"] {
            assert_eq!(timeout(wrong), None, "{wrong}");
        }
    }
}
