use clap::{Args, Parser, Subcommand};

use crate::{figure::FigureName, peers};

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
    #[arg(long, value_name = "NAME")]
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

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn options(line: &[&str]) -> Result<OpenOptions, clap::Error> {
        match Arguments::try_parse_from(line)?.command {
            Command::Open(options) => Ok(options),
            Command::BusEnvoy => panic!("{line:?} is no open"),
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
        assert!(FigureName::ALL.into_iter().all(|name| all.wants(name)));
        let one = options(&["netbearer-bench", "open", "--figure", "cold-open", "--rounds", "10"]).unwrap();
        assert_eq!(one.rounds, 10);
        assert!(FigureName::ALL.into_iter().all(|name| one.wants(name) == (name == FigureName::ColdOpen)));
    }

    #[test]
    fn no_rounds_and_unknown_figures_are_wrong_usage() {
        for wrong in [["--rounds", "0"], ["--figure", "lukewarm-open"], ["--peers", "--show-only"]] {
            let error = options(&["netbearer-bench", "open", wrong[0], wrong[1]]).unwrap_err();
            assert_eq!(error.exit_code(), 2);
        }
    }
}
