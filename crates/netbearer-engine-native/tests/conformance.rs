//! The native engine and the boot clock keep what the ports promise.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use netbearer_engine::{Engine, EngineEvent, conformance};
use netbearer_engine_native::{CarrierWatch, NativeEngine, NativeSettings, Places};
use netbearer_kernel::BootClock;
use netbearer_lab::{AccessPointPlan, Capture, Dhcp, Lab, Mark};
use netbearer_types::{AccessPointCommand, CommandNumber, Identifier, Profile, Stage, Target};

const DEADLINE: Duration = Duration::from_secs(20);

/// On the calling thread, which moves to a machine of the lab.
async fn engine(directory: &Path) -> (NativeEngine, Lab) {
    let lab = Lab::builder().access_point(AccessPointPlan::new("ap0").dhcp(Dhcp::Dnsmasq)).build().unwrap();
    lab.machine().enter().unwrap();
    let settings = NativeSettings {
        runtime_directory: directory.join("runtime"),
        state_directory: directory.join("state"),
        managers: Places::below(directory),
        carrier_watch: CarrierWatch::default(),
        steering: netbearer_types::SteeringPlan::default(),
        resumed: std::collections::BTreeSet::new(),
        leaves_links: false,
    };
    (NativeEngine::start(settings, BootClock::start().unwrap()).await.unwrap(), lab)
}

#[tokio::test]
async fn the_native_engine_keeps_the_promises_of_the_port() {
    let directory = tempfile::tempdir().unwrap();
    let (engine, _lab) = engine(directory.path()).await;
    let access_point = Identifier::new("native-ap0");
    let kept = tokio::time::timeout(DEADLINE, conformance::engine(engine, &access_point)).await;
    kept.expect("the engine answers in time").unwrap();
}

#[tokio::test]
async fn refreshes_without_end_hold_no_command_up() {
    let directory = tempfile::tempdir().unwrap();
    let (mut engine, _lab) = engine(directory.path()).await;
    while engine.event().await.unwrap() != EngineEvent::Enumerated {}
    for (number, target) in [(1, Target::Configured), (2, Target::Released)] {
        // There always is one that has been asked for.
        engine.refresh();
        reach(&mut engine, number, target).await;
    }
}

/// Commands the access point, and returns when it is there. Each refresh that is answered is followed by another.
async fn reach(engine: &mut NativeEngine, number: u64, target: Target) {
    let (identifier, number, profile) = (Identifier::new("native-ap0"), CommandNumber(number), Profile::default());
    engine.command(AccessPointCommand { identifier, number, target, profile });
    let reached = async {
        loop {
            match engine.event().await.unwrap() {
                EngineEvent::Refreshed => engine.refresh(),
                EngineEvent::Report(report) => {
                    let progress = report.progress.filter(|progress| progress.number == number);
                    if progress.is_some_and(|progress| progress.stage == Stage::Reached) {
                        break;
                    }
                }
                _ => {}
            }
        }
    };
    tokio::time::timeout(DEADLINE, reached).await.expect("the workers are heard");
}

/// The kernel's own have an option, and are longer.
const OUR_SOLICITATION: &str = "router solicitation, length 8";
/// RTR_SOLICITATION_INTERVAL (RFC 4861 §10).
const SOLICITATION_INTERVAL: Duration = Duration::from_secs(4);

#[tokio::test]
async fn refreshes_without_end_ask_routers_once_at_a_time_and_again_when_it_is_time() {
    let directory = tempfile::tempdir().unwrap();
    let (mut engine, lab) = engine(directory.path()).await;
    while engine.event().await.unwrap() != EngineEvent::Enumerated {}
    reach(&mut engine, 1, Target::Configured).await;
    let lab = Arc::new(lab);
    let machine = Arc::clone(&lab);
    // A link-local address that is still tentative cannot ask.
    let can_ask = move || {
        let machine = machine.machine();
        machine.wait_until("a link-local address", DEADLINE, || {
            let addresses = machine.ip_lines(&["-6", "address", "show", "dev", "ap0", "scope", "link"])?;
            let is_usable = |line: &String| line.contains("inet6 fe80:") && !line.contains("tentative");
            Ok(addresses.iter().any(is_usable).then_some(()))
        })
    };
    run_until(&mut engine, can_ask).await.unwrap();
    let capture = Capture::start(lab.machine(), "ap0", "icmp6 and ip6[40] == 133").unwrap();
    let mut seen = Mark::default();
    let begun = Instant::now();
    for refreshes in [1, 200] {
        for _ in 0..refreshes {
            engine.refresh();
            while engine.event().await.unwrap() != EngineEvent::Refreshed {}
        }
        // Nothing is asked of the engine any more.
        let packets = capture.packets().clone();
        let asked = move || packets.wait_for_text_since(seen, OUR_SOLICITATION, DEADLINE);
        run_until(&mut engine, asked).await.unwrap();
        seen = capture.packets().mark();
    }
    let taken = begun.elapsed();
    let asked = capture.packets().entries().iter().filter(|line| line.contains(OUR_SOLICITATION)).count();
    assert_eq!(asked, 2);
    assert!(taken >= SOLICITATION_INTERVAL, "twice in {taken:?}");
}

/// Has the engine do its work until something else has ended.
async fn run_until<T: Send + 'static>(engine: &mut NativeEngine, other: impl FnOnce() -> T + Send + 'static) -> T {
    let mut other = tokio::task::spawn_blocking(other);
    loop {
        tokio::select! {
            ended = &mut other => return ended.unwrap(),
            event = engine.event() => drop(event.unwrap()),
        }
    }
}

#[tokio::test]
async fn the_boot_clock_keeps_the_promises_of_the_port() {
    let kept = tokio::time::timeout(DEADLINE, conformance::clock(BootClock::start().unwrap())).await;
    kept.expect("the clock runs").unwrap();
}
