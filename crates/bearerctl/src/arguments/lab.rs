use std::{ffi::OsString, time::Duration};

use clap::{Args, Subcommand};

/// Units of a rate, as `tc(8)` names them, in bits a second.
const RATE_UNITS: [(&str, u64); 4] = [("gbit", 1_000_000_000), ("mbit", 1_000_000), ("kbit", 1_000), ("bit", 1)];

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Lab {
    #[command(subcommand)]
    pub(crate) command: Option<LabCommand>,

    #[command(flatten)]
    pub(crate) start: LabStart,
}

#[derive(Debug, Args)]
pub(crate) struct LabStart {
    /// How many access points there are: ap0, ap1 …
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=16))]
    pub(crate) access_points: u8,

    /// Network cards that the kernel treats like real ones: it tells of a lost carrier up to a second later
    #[arg(long)]
    pub(crate) card_like: bool,

    /// The command to run inside, and its arguments; a shell if left out
    #[arg(last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum LabCommand {
    /// See what NetBearer does, in under a minute
    #[command(
        after_help = "Opens sessions on the access points of a sandbox of its own, uses them, and cuts a cable. The times are \
            those of this very run. A step that does not do what it shall ends the tour with the exit code 1.\n\n\
            Examples:\n  bearerctl lab tour\n  bearerctl lab tour --plain\n  bearerctl lab tour --json"
    )]
    Tour(LabTour),
    /// Show what is in a sandbox
    #[command(after_help = "Examples:\n  bearerctl lab status\n  bearerctl lab status --json")]
    Status(WhichSandbox),
    /// Cut an access point's cable: its carrier is lost
    #[command(after_help = "Examples:\n  bearerctl lab cut ap0")]
    Cut(LabNamed),
    /// Repair an access point: its cable, and what slows it
    #[command(after_help = "Examples:\n  bearerctl lab restore ap0")]
    Restore(LabNamed),
    /// Slow what an access point sends
    #[command(
        after_help = "A rate works everywhere (tbf). A delay needs the kernel's netem (module sch_netem), which not every machine \
            has. What is given replaces what was before; lab restore ends it.\n\n\
            Examples:\n  bearerctl lab slow ap0 --rate 1mbit\n  bearerctl lab slow ap0 --delay 200ms --rate 512kbit"
    )]
    Slow(LabSlow),
}

#[derive(Debug, Args)]
pub(crate) struct LabTour {
    /// Neither colours nor pauses
    #[arg(long)]
    pub(crate) plain: bool,

    /// How long to wait before each step; by default 2500ms at a terminal, else not at all
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub(crate) pause: Option<Duration>,
}

#[derive(Debug, Args)]
pub(crate) struct WhichSandbox {
    /// The process of the sandbox, from outside if there are several
    #[arg(long, value_name = "PROCESS")]
    pub(crate) sandbox: Option<u32>,
}

#[derive(Debug, Args)]
pub(crate) struct LabNamed {
    /// The access point, for instance ap0
    #[arg(value_name = "ACCESS_POINT")]
    pub(crate) access_point: String,

    #[command(flatten)]
    pub(crate) which: WhichSandbox,
}

#[derive(Debug, Args)]
#[group(id = "how", args = ["rate", "delay"], required = true, multiple = true)]
pub(crate) struct LabSlow {
    /// The access point, for instance ap0
    #[arg(value_name = "ACCESS_POINT")]
    pub(crate) access_point: String,

    /// At most so much a second: a number and bit, kbit, mbit or gbit
    #[arg(long, value_parser = rate)]
    pub(crate) rate: Option<u64>,

    /// Each packet so much later, for instance 200ms
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub(crate) delay: Option<Duration>,

    #[command(flatten)]
    pub(crate) which: WhichSandbox,
}

/// Bits a second.
fn rate(text: &str) -> Result<u64, String> {
    let wrong = || "expected a number and a unit, for instance 512kbit or 1mbit".to_owned();
    let lower = text.to_ascii_lowercase();
    let (number, unit) =
        RATE_UNITS.iter().find_map(|(name, unit)| Some((lower.strip_suffix(name)?, unit))).ok_or_else(wrong)?;
    let number: u64 = number.trim().parse().map_err(|_| wrong())?;
    let rate = number.checked_mul(*unit).ok_or_else(wrong)?;
    // The kernel counts octets, in 32 bits.
    if (8..=8 * u64::from(u32::MAX)).contains(&rate) { Ok(rate) } else { Err("expected 8bit to 34gbit".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_a_number_and_a_unit() {
        assert_eq!(rate("512kbit"), Ok(512_000));
        assert_eq!(rate("1Mbit"), Ok(1_000_000));
        assert_eq!(rate("10gbit"), Ok(10_000_000_000));
        for wrong in ["", "1", "mbit", "-1mbit", "1.5mbit", "1mbyte", "1bit", "35gbit", "99999999999999999999bit"] {
            assert!(rate(wrong).is_err(), "{wrong}");
        }
    }
}
