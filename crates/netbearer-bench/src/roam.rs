//! Roaming: how soon a program can speak again after its link was lost, by the daemon, by a floor of blocking system calls, and by
//! other network managers; and what the application's own decision costs.
//!
//! Both links are up all the time, with static addresses, so that nothing but the change itself is measured.

mod failover;
mod machine;
mod overhead;
mod peers;

use crate::{
    arguments::RoamOptions,
    error::BenchError,
    figure::{Figure, FigureName},
};

/// Measures what is wanted.
pub(crate) fn measure(options: &RoamOptions) -> Result<Vec<Figure>, BenchError> {
    let mut figures = Vec::new();
    if [FigureName::RoamNewConnection, FigureName::RoamStaleSocket].iter().any(|name| options.wants(*name)) {
        figures.extend(failover::measure(options.rounds)?);
    }
    if options.wants(FigureName::RoamOverhead) {
        figures.push(overhead::measure(options.rounds)?);
    }
    if options.wants(FigureName::RoamConnMan) {
        figures.push(peers::connman(options.peer_rounds())?);
    }
    if options.wants(FigureName::RoamNetworkManager) {
        figures.push(peers::network_manager(options.peer_rounds())?);
    }
    // Several come from the same rounds.
    figures.retain(|figure| options.wants(figure.name));
    Ok(figures)
}
