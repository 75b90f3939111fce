use std::{
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

use netbearer_lab::{AccessPointPlan, Conversation, Daemon, Dhcp, Lab, LabError};

use super::machine::{MEMBERS, server};
use crate::{
    cut::cut_under,
    error::BenchError,
    figure::{Figure, FigureName},
    samples::Samples,
};

/// An ordinary program tries to connect as often, which is how exactly the change is seen.
const TRY: Duration = Duration::from_millis(2);
/// The server greets at once.
const GREETING: Duration = Duration::from_millis(50);
/// For a program to have both links up, and to be done with it. Not part of any figure.
const REST: Duration = Duration::from_secs(2);
/// Longer than any of them takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// By ConnMan, which looks after both links.
pub(super) fn connman(rounds: u32) -> Result<Figure, BenchError> {
    // It takes the beginning of names; what else begins so is no link of a cable.
    measure(FigureName::RoamConnMan, "ConnMan", rounds, |lab| Daemon::connman(lab.machine(), "l"))
}

/// The same by NetworkManager.
pub(super) fn network_manager(rounds: u32) -> Result<Figure, BenchError> {
    measure(FigureName::RoamNetworkManager, "NetworkManager", rounds, |lab| {
        let daemon = Daemon::network_manager(lab.machine(), &MEMBERS)?;
        for name in MEMBERS {
            let profile = ["connection", "add", "type", "ethernet", "ifname", name, "con-name", name];
            let addressing = ["ipv4.method", "auto", "ipv6.method", "disabled"];
            lab.machine().command("nmcli").args(profile).args(addressing).output()?;
        }
        Ok(daemon)
    })
}

fn measure(
    name: FigureName,
    program: &'static str,
    rounds: u32,
    start: impl FnOnce(&Lab) -> Result<Daemon, LabError>,
) -> Result<Figure, BenchError> {
    let lab = MEMBERS.iter().fold(Lab::builder(), |lab, name| {
        lab.access_point(AccessPointPlan::new(*name).dhcp(Dhcp::Dnsmasq).without_checksum_offload())
    });
    let lab = lab.own_files().build()?;
    let _bus = Daemon::system_bus(lab.machine())
        .map_err(|source| BenchError::Missing { program: "the system bus", source })?;
    let _daemon = start(&lab).map_err(|source| BenchError::Missing { program, source })?;
    let samples = thread::scope(|scope| {
        let rounds = scope.spawn(|| {
            lab.machine().enter()?;
            let mut samples = Samples::new();
            for _ in 0..rounds {
                samples.push(fail_over(&lab)?);
            }
            Ok::<_, BenchError>(samples)
        });
        rounds.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })?;
    Ok(Figure { name, ours: samples.into(), floor: None, known_floor: None, target: None, flaps: None })
}

/// How long an ordinary program cannot connect once the link that it would have used is cut.
fn fail_over(lab: &Lab) -> Result<Duration, BenchError> {
    for name in MEMBERS {
        let has_address =
            || Ok(lab.machine().addresses(name)?.iter().any(|(address, _)| address.is_ipv4()).then_some(()));
        lab.machine().wait_until("an address", PATIENCE, has_address)?;
    }
    thread::sleep(REST);
    let used = connect(PATIENCE)?;
    let access_point = lab.access_point(used.access_point())?;
    let (start, connected) = cut_under(access_point, None, || {
        loop {
            match connect(PATIENCE) {
                Ok(reached) if reached.access_point() != used.access_point() => return Ok(Instant::now()),
                Ok(_) => {}
                Err(error) => return Err(error),
            }
        }
    })?;
    let connected = connected?;
    access_point.restore()?;
    Ok(connected - start)
}

fn connect(within: Duration) -> Result<Conversation, BenchError> {
    let deadline = Instant::now() + within;
    loop {
        let begin = Instant::now();
        // One that was made just before the cut never greets.
        let greeted =
            TcpStream::connect_timeout(&server(), TRY).and_then(|stream| Conversation::over(stream, GREETING));
        match greeted {
            Ok(conversation) => return Ok(conversation),
            Err(error) if Instant::now() > deadline => return Err(error.into()),
            // Some failures come at once.
            Err(_) => thread::sleep(TRY.saturating_sub(begin.elapsed())),
        }
    }
}
