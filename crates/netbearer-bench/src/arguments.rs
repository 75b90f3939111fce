use std::{path::PathBuf, time::Duration};

use clap::{
    Args, Parser, Subcommand, ValueEnum,
    builder::{PossibleValuesParser, TypedValueParser},
};

use crate::{daemon, figure::FigureName, peers};

/// Measures NetBearer beside a floor of blocking system calls. Must be root.
#[derive(Clone, Debug, Parser)]
#[command(name = "netbearer-bench", version)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Command {
    /// Opening, closing and losing sessions on one access point.
    Open(OpenOptions),
    /// The daemon and its clients: opens, deaths, ten thousand sessions, memory, and doing nothing.
    Daemon(DaemonOptions),
    /// Roaming: how soon a program speaks again after its link was lost, and what deciding costs.
    Roam(RoamOptions),
    /// Runs on a machine of the lab: the daemon that is measured, in the directories below this one.
    #[command(name = daemon::DAEMON_COMMAND, hide = true)]
    DaemonUnderTest { directory: PathBuf },
    /// Runs on a machine of the lab: clients of the daemon with this socket.
    #[command(name = daemon::CROWD_COMMAND, hide = true)]
    Crowd { socket: PathBuf },
    /// Runs on a machine of the lab: a process that answers calls.
    #[command(name = daemon::ECHO_COMMAND, hide = true)]
    Echo { socket: PathBuf },
    /// Runs on a machine of the lab, for its bus.
    #[command(name = peers::ENVOY_COMMAND, hide = true)]
    BusEnvoy,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct OpenOptions {
    /// How often each figure is measured; fewer than 100 only show that it can be.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) rounds: u32,
    /// Measure only this figure; may be repeated.
    #[arg(long, value_name = "NAME", value_parser = one_of(&FigureName::OPEN))]
    pub(crate) figure: Vec<FigureName>,
    /// Only show that everything can be measured: a missed target or a slow floor is printed, but is no failure.
    #[arg(long)]
    pub(crate) show_only: bool,
    /// Measure other network managers (Debian's NetworkManager and ConnMan) beside NetBearer instead of a floor.
    #[arg(long, conflicts_with_all = ["figure", "show_only"])]
    pub(crate) peers: bool,
    /// Print one JSON object a line for each figure.
    #[arg(long)]
    pub(crate) json: bool,
}

impl OpenOptions {
    /// True if the figure is to be measured.
    pub(crate) fn wants(&self, name: FigureName) -> bool {
        self.figure.is_empty() || self.figure.contains(&name)
    }
}

#[derive(Args, Clone, Debug)]
pub(crate) struct DaemonOptions {
    /// How often the quick figures are measured, the slower ones less often; fewer than 100 only show that it can be.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) rounds: u32,
    /// Measure only this figure; may be repeated.
    #[arg(long, value_name = "NAME", value_parser = one_of(&FigureName::DAEMON))]
    pub(crate) figure: Vec<FigureName>,
    /// Only show that everything can be measured: a missed target or a slow floor is printed, but is no failure.
    #[arg(long)]
    pub(crate) show_only: bool,
    /// Print one JSON object a line for each figure.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct RoamOptions {
    /// How often each figure is measured, other network managers less often; fewer than 100 only show that it can be.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) rounds: u32,
    /// Measure only this figure; may be repeated.
    #[arg(long, value_name = "NAME", value_parser = one_of(&FigureName::ROAM))]
    pub(crate) figure: Vec<FigureName>,
    /// Only show that everything can be measured: a missed target or a slow floor is printed, but is no failure.
    #[arg(long)]
    pub(crate) show_only: bool,
    /// Print one JSON object a line for each figure.
    #[arg(long)]
    pub(crate) json: bool,
}

impl RoamOptions {
    /// True if the figure is to be measured.
    pub(crate) fn wants(&self, name: FigureName) -> bool {
        self.figure.is_empty() || self.figure.contains(&name)
    }

    /// How often another network manager is watched, which takes seconds.
    pub(crate) fn peer_rounds(&self) -> u32 {
        self.rounds.div_ceil(20)
    }
}

/// For how long idleness is watched with 100 rounds or more.
const LONGEST_WATCH: Duration = Duration::from_secs(60);

impl DaemonOptions {
    /// True if the figure is to be measured.
    pub(crate) fn wants(&self, name: FigureName) -> bool {
        self.figure.is_empty() || self.figure.contains(&name)
    }

    /// How often something is measured that takes a second.
    pub(crate) fn slow_rounds(&self) -> u32 {
        self.rounds.div_ceil(5)
    }

    /// How often something is measured that takes several seconds.
    pub(crate) fn slowest_rounds(&self) -> u32 {
        self.rounds.div_ceil(10)
    }

    /// For how long idleness is watched.
    pub(crate) fn watch(&self) -> Duration {
        LONGEST_WATCH.min(LONGEST_WATCH * self.rounds / 100)
    }
}

/// Takes the names of these figures only.
fn one_of(names: &[FigureName]) -> impl TypedValueParser<Value = FigureName> + use<> {
    let values = names.iter().filter_map(ValueEnum::to_possible_value);
    PossibleValuesParser::new(values).try_map(|name| FigureName::from_str(&name, false))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn options(line: &[&str]) -> Result<OpenOptions, clap::Error> {
        match Arguments::try_parse_from(line)?.command {
            Command::Open(options) => Ok(options),
            _ => panic!("{line:?} is no open"),
        }
    }

    #[test]
    fn the_grammar_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_figure_is_wanted_unless_some_are_named() {
        let all = options(&["netbearer-bench", "open"]).unwrap();
        assert_eq!(all.rounds, 100);
        assert!(FigureName::OPEN.into_iter().all(|name| all.wants(name)));
        let one = options(&["netbearer-bench", "open", "--figure", "cold-open", "--rounds", "10"]).unwrap();
        assert_eq!(one.rounds, 10);
        assert!(FigureName::OPEN.into_iter().all(|name| one.wants(name) == (name == FigureName::ColdOpen)));
    }

    #[test]
    fn no_rounds_and_unknown_figures_are_wrong_usage() {
        let of_daemon = ["--figure", "idle-memory"];
        for wrong in [["--rounds", "0"], ["--figure", "lukewarm-open"], of_daemon, ["--peers", "--show-only"]] {
            let error = options(&["netbearer-bench", "open", wrong[0], wrong[1]]).unwrap_err();
            assert_eq!(error.exit_code(), 2);
        }
    }
}
