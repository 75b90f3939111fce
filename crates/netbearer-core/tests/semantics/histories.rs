use std::{cell::RefCell, time::Instant};

use proptest::test_runner::{Config, FileFailurePersistence, RngSeed, TestRunner};

use crate::{
    coverage::Coverage,
    history::{History, Script},
};

/// This variable of the environment asks for so many histories that were not played before. Without it the same ones
/// are played each time, so that no change is blamed for what another one did.
const HISTORIES: &str = "NETBEARER_HISTORIES";
const DEFAULT_HISTORIES: u32 = 10_000;
const DEFAULT_SEED: u64 = 1;

#[test]
fn random_histories_go_as_the_semantics_say_and_reach_every_situation() {
    let (histories, rng_seed) = histories_and_seed();
    let failures = FileFailurePersistence::Direct("tests/semantics/histories.proptest-regressions");
    let config = Config {
        cases: histories,
        failure_persistence: Some(Box::new(failures)),
        rng_seed,
        max_shrink_iters: 20_000,
        ..Config::default()
    };
    let coverage = RefCell::new(Coverage::default());
    let begin = Instant::now();
    let outcome = TestRunner::new(config).run(&Script::any(), |script| {
        let met = History::play(&script);
        coverage.borrow_mut().add(met);
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
    let coverage = coverage.into_inner();
    println!("{histories} histories in {:?}; operations met situations so often:\n{coverage}", begin.elapsed());
    assert_eq!(coverage.gaps(), Vec::<String>::new());
}

/// How many histories to play, and from which random number on.
pub(crate) fn histories_and_seed() -> (u32, RngSeed) {
    match std::env::var(HISTORIES) {
        Ok(text) => {
            let histories = text.parse().unwrap_or_else(|_| panic!("{HISTORIES} takes a number, not \"{text}\""));
            (histories, RngSeed::Random)
        }
        Err(_) => (DEFAULT_HISTORIES, RngSeed::Fixed(DEFAULT_SEED)),
    }
}
