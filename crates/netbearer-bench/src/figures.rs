//! How each figure is measured.

mod carrier_loss;
mod opening;

use std::{thread, time::Duration};

use crate::{arguments::OpenOptions, error::BenchError, figure::Figure, figure::FigureName};

/// Rounds before the ones that count: pages, caches and neighbours are not part of any figure.
const WARM_UP: u32 = 5;

/// Between rounds, for the kernel to finish what the former one left to do, such as closing packet sockets. Not part of
/// any figure.
pub(crate) const PAUSE: Duration = Duration::from_millis(20);

pub(crate) fn measure(options: &OpenOptions) -> Result<Vec<Figure>, BenchError> {
    let rounds = options.rounds;
    let mut figures = Vec::new();
    if [FigureName::WarmOpen, FigureName::ColdOpen, FigureName::LastClose].iter().any(|name| options.wants(*name)) {
        figures.extend(opening::measure(rounds)?);
    }
    if options.wants(FigureName::ColdOpenRapidCommit) {
        figures.push(opening::rapid_commit(rounds)?);
    }
    if options.wants(FigureName::ColdOpenRememberedLease) {
        figures.push(opening::remembered_lease(rounds)?);
    }
    if [FigureName::CarrierLoss, FigureName::CarrierLossBesideALoneListener].iter().any(|name| options.wants(*name)) {
        figures.extend(carrier_loss::on_an_ordinary_cable(rounds)?);
    }
    if options.wants(FigureName::CardLikeCarrierLoss) {
        figures.push(carrier_loss::on_a_card(rounds)?);
    }
    if options.wants(FigureName::CardLikeCarrierLossWithEventsElsewhere) {
        figures.push(carrier_loss::on_a_card_with_events_elsewhere(rounds)?);
    }
    // Several come from the same rounds.
    figures.retain(|figure| options.wants(figure.name));
    Ok(figures)
}

/// Runs `round` so often that `rounds` of them count; it is told whether this one does.
pub(crate) fn repeat(rounds: u32, mut round: impl FnMut(bool) -> Result<(), BenchError>) -> Result<(), BenchError> {
    (0..WARM_UP + rounds).try_for_each(|number| {
        thread::sleep(PAUSE);
        round(number >= WARM_UP)
    })
}
