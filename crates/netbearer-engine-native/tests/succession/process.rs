//! The process that is killed: this program once more.

use std::{collections::BTreeMap, path::PathBuf};

use netbearer_engine::Engine;
use netbearer_types::{BypassVpn, Profile, Target};
use serde::{Deserialize, Serialize};

use crate::{
    driver::{Driver, identifier},
    stage::settings,
};

/// The variable of its environment that tells what it is to do.
pub(crate) const TASK: &str = "NETBEARER_TEST_TASK";
/// What it prints when that is done.
pub(crate) const DONE: &str = "everything has been reached";

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Task {
    pub(crate) directory: PathBuf,
    /// Interfaces to be configured.
    pub(crate) configured: BTreeMap<String, Profile>,
    /// Interfaces of which only the carrier is to be seen.
    pub(crate) sensed: Vec<String>,
    /// Links of others, to be steered.
    pub(crate) steered: BTreeMap<String, BypassVpn>,
    /// Interfaces to be gone on with.
    pub(crate) resumed: Vec<String>,
}

#[tokio::test]
#[ignore = "the process that other tests start and kill"]
async fn process() {
    let Ok(task) = std::env::var(TASK) else { return };
    let task: Task = serde_json::from_str(&task).unwrap();
    let mut driver = Driver::start(settings(&task.directory, &task.resumed)).await;
    for (interface, profile) in &task.configured {
        driver.reach(interface, Target::Configured, profile).await;
    }
    for interface in &task.sensed {
        driver.reach(interface, Target::Sensed, &Profile::default()).await;
    }
    driver.engine.steer(task.steered.iter().map(|(name, bypass)| (identifier(name), *bypass)).collect());
    println!("\n{DONE}");
    loop {
        driver.engine.event().await.unwrap();
    }
}
