use comfy_table::{CellAlignment, Table, presets::UTF8_HORIZONTAL_ONLY};
use serde::Serialize;

use crate::figure::{Figure, Summary, milliseconds};

/// What all figures together say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Met,
    Missed,
    /// No target is missed, but a floor is so high that this means nothing.
    Invalid,
}

pub(crate) fn verdict(figures: &[Figure]) -> Verdict {
    if figures.iter().any(|figure| figure.met() == Some(false)) {
        Verdict::Missed
    } else if figures.iter().any(|figure| figure.excess().is_some()) {
        Verdict::Invalid
    } else {
        Verdict::Met
    }
}

/// A figure as scripts read it. Numbers are in `unit`.
#[derive(Debug, Serialize)]
struct Line {
    name: String,
    unit: &'static str,
    rounds: usize,
    median: f64,
    p99: f64,
    longest: f64,
    floor: Option<f64>,
    ratio: Option<f64>,
    target: Option<String>,
    met: Option<bool>,
    valid: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    flaps_made: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    flaps_told: Option<u32>,
}

impl From<&Figure> for Line {
    fn from(figure: &Figure) -> Self {
        let Summary { unit, rounds, median, p99, longest } = figure.ours.summary();
        Self {
            name: figure.name.to_string(),
            unit,
            rounds,
            median,
            p99,
            longest,
            floor: figure.floor.as_ref().map(|floor| milliseconds(floor.median())),
            ratio: figure.ratio(),
            target: figure.target.map(|target| target.to_string()),
            met: figure.met(),
            valid: figure.excess().is_none(),
            flaps_made: figure.flaps.map(|flaps| flaps.made),
            flaps_told: figure.flaps.map(|flaps| flaps.told),
        }
    }
}

/// One object a line.
pub(crate) fn print_json(figures: &[Figure]) {
    for figure in figures {
        // Numbers, words and no maps: this cannot fail.
        println!("{}", serde_json::to_string(&Line::from(figure)).unwrap_or_default());
    }
}

pub(crate) fn print_table(figures: &[Figure]) {
    let mut table = Table::new();
    table.load_style(UTF8_HORIZONTAL_ONLY);
    table.set_header(["figure", "unit", "rounds", "median", "p99", "floor", "ratio", "target", "met"]);
    for figure in figures {
        let line = Line::from(figure);
        let number = |value: Option<f64>| value.map_or("–".to_owned(), |value| format!("{value:.3}"));
        let met = match line.met {
            Some(true) => "yes",
            Some(false) => "NO",
            None => "–",
        };
        table.add_row([
            line.name,
            line.unit.to_owned(),
            line.rounds.to_string(),
            number(Some(line.median)),
            number(Some(line.p99)),
            number(line.floor),
            line.ratio.map_or("–".to_owned(), |ratio| format!("{ratio:.2}")),
            line.target.unwrap_or_else(|| "–".to_owned()),
            met.to_owned(),
        ]);
    }
    for column in table.column_iter_mut().skip(2).take(5) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    println!("{table}");
    for figure in figures {
        if let Some(flaps) = figure.flaps {
            println!("{}: {} carrier losses made, {} told", figure.name, flaps.made, flaps.told);
        }
    }
    for figure in figures {
        if let Some(excess) = figure.excess() {
            println!("{}: invalid: the floor is {excess:.1} × the known one, the machine is too busy", figure.name);
        }
    }
}
