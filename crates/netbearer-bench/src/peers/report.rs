use comfy_table::{CellAlignment, Table, presets::UTF8_HORIZONTAL_ONLY};
use serde::Serialize;

use super::{Comparison, ProgramName};
use crate::{figure::milliseconds, samples::Samples};

/// What the figures are not.
const REMARKS: &str = "\
NetBearer answers in the same process, the others over D-Bus. Each open leases anew, in four messages for NetBearer.
NetworkManager and ConnMan keep the link up when nobody uses it; NetBearer's begins with the link down.
The times are medians, 99th percentiles, and the median by NetBearer's.";

/// A figure of one program as scripts read it. Times are in `unit`.
#[derive(Debug, Serialize)]
struct Line<'a> {
    name: &'static str,
    measured: &'static str,
    program: &'static str,
    version: &'a str,
    unit: &'static str,
    rounds: usize,
    median: f64,
    p99: f64,
    /// Its median by ours; one for ours.
    ratio: Option<f64>,
}

impl<'a> Line<'a> {
    fn of(comparison: &'a Comparison) -> impl Iterator<Item = Self> {
        let ours = comparison.samples.first().map(|(_, samples)| samples.median()).unwrap_or_default().as_secs_f64();
        comparison.samples.iter().map(move |(ProgramName { name: program, version }, samples)| Self {
            name: comparison.figure.name(),
            measured: comparison.figure.measured(),
            program,
            version,
            unit: "ms",
            rounds: samples.count(),
            median: milliseconds(samples.median()),
            p99: milliseconds(samples.p99()),
            ratio: (ours > 0.0).then(|| samples.median().as_secs_f64() / ours),
        })
    }
}

/// One object a line for each figure and program.
pub(crate) fn print_json(comparisons: &[Comparison]) {
    for line in comparisons.iter().flat_map(Line::of) {
        // Numbers, words and no maps: this cannot fail.
        println!("{}", serde_json::to_string(&line).unwrap_or_default());
    }
}

/// The programs side by side.
pub(crate) fn print_table(comparisons: &[Comparison]) {
    let mut table = Table::new();
    table.load_style(UTF8_HORIZONTAL_ONLY);
    let programs = comparisons.first().into_iter().flat_map(|first| &first.samples);
    let programs = programs.map(|(ProgramName { name, version }, _)| format!("{name} {version}"));
    table.set_header(
        ["figure", "measured", "unit", "rounds"].map(str::to_owned).into_iter().chain(programs).collect::<Vec<_>>(),
    );
    for comparison in comparisons {
        let rounds = comparison.samples.first().map_or(0, |(_, samples): &(_, Samples)| samples.count());
        let figure =
            [comparison.figure.name(), comparison.figure.measured(), "ms", &rounds.to_string()].map(str::to_owned);
        table.add_row(figure.into_iter().chain(Line::of(comparison).enumerate().map(cell)).collect::<Vec<_>>());
    }
    for column in table.column_iter_mut().skip(3) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    println!("{table}\n{REMARKS}");
}

fn cell((place, line): (usize, Line<'_>)) -> String {
    let times = format!("{:.3}\np99 {:.3}", line.median, line.p99);
    match line.ratio {
        Some(ratio) if place > 0 && ratio >= 100.0 => format!("{times}\n{ratio:.0} ×"),
        Some(ratio) if place > 0 => format!("{times}\n{ratio:.1} ×"),
        _ => times,
    }
}
