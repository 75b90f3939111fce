//! The native engine and the boot clock keep what the ports promise.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use netbearer_engine::conformance;
use netbearer_engine_native::{CarrierWatch, NativeEngine, NativeSettings, Places};
use netbearer_kernel::BootClock;
use netbearer_lab::{AccessPointPlan, Dhcp, Lab};
use netbearer_types::Identifier;

const DEADLINE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn the_native_engine_keeps_the_promises_of_the_port() {
    let lab = Lab::builder().access_point(AccessPointPlan::new("ap0").dhcp(Dhcp::Dnsmasq)).build().unwrap();
    lab.machine().enter().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let settings = NativeSettings {
        runtime_directory: directory.path().join("runtime"),
        state_directory: directory.path().join("state"),
        managers: Places::below(directory.path()),
        carrier_watch: CarrierWatch::default(),
        steering: netbearer_types::SteeringPlan::default(),
    };
    let engine = NativeEngine::start(settings, BootClock::start().unwrap()).await.unwrap();
    let access_point = Identifier::new("native-ap0");
    let kept = tokio::time::timeout(DEADLINE, conformance::engine(engine, &access_point)).await;
    kept.expect("the engine answers in time").unwrap();
}

#[tokio::test]
async fn the_boot_clock_keeps_the_promises_of_the_port() {
    let kept = tokio::time::timeout(DEADLINE, conformance::clock(BootClock::start().unwrap())).await;
    kept.expect("the clock runs").unwrap();
}
