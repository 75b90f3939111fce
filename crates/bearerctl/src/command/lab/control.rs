//! How a sandbox is told what to do, from inside and outside.

use std::{
    collections::BTreeMap,
    fs, io,
    io::{Read, Write},
    net::{Ipv4Addr, Ipv6Addr, Shutdown},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use comfy_table::{Table, presets};
use netbearer_lab::{AccessPoint, Card, INTERNET, Lab, LabError, SERVER_NAME, Sandbox, Shaping};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream as Stream},
    task::JoinHandle,
};

use crate::{command::Context, error::Error};

/// The name of the socket in the sandbox's directory.
const SOCKET: &str = "control";
/// For the other side to say what it has to say.
const PATIENCE: Duration = Duration::from_secs(5);
/// Octets of a request at most.
const LONGEST_REQUEST: u64 = 4_096;
const HEADER: [&str; 7] = ["ACCESS POINT", "CABLE", "CARD", "NETWORKS", "GATEWAY", "SLOWED TO", "LEASES"];

/// What a sandbox is asked to do.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Request {
    Status,
    Change { access_point: String, change: Change },
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Change {
    Cut,
    Restore,
    Slow { rate: Option<u64>, delay: Option<Duration> },
}

/// An access point, as people and programs read it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Status {
    name: String,
    /// False while its cable is cut.
    cable_in_order: bool,
    /// The kernel treats its card like a real one.
    card_like: bool,
    network: String,
    network_v6: Option<String>,
    gateway: Ipv4Addr,
    /// Bits a second; none if it is as fast as it can be.
    rate: Option<u64>,
    /// Milliseconds.
    delay: Option<u64>,
    leases: Vec<Ipv4Addr>,
}

/// Why a sandbox did not do what it was asked to.
#[derive(Clone, Debug, Serialize, Deserialize, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("{0}")]
    UnknownAccessPoint(String),
    #[error("{0}")]
    NotSupported(String),
    #[error("{0}")]
    Failed(String),
}

type Reply = Result<Vec<Status>, Refusal>;

impl From<LabError> for Refusal {
    fn from(error: LabError) -> Self {
        match error {
            LabError::UnknownAccessPoint { .. } => Self::UnknownAccessPoint(error.to_string()),
            LabError::NoDelays { .. } => Self::NotSupported(error.to_string()),
            // With its causes.
            error => Self::Failed(format!("{error:?}")),
        }
    }
}

/// Obeys whoever may reach the sandbox's directory.
pub(super) fn serve(lab: Arc<Lab>) -> Result<JoinHandle<()>, Error> {
    let listener = UnixListener::bind(Path::new(Sandbox::DIRECTORY).join(SOCKET)).map_err(Error::Runtime)?;
    Ok(tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let lab = Arc::clone(&lab);
            tokio::spawn(async move {
                // Who has gone needs no answer.
                let _ = tokio::time::timeout(PATIENCE, answer(stream, &lab)).await;
            });
        }
    }))
}

async fn answer(mut stream: Stream, lab: &Lab) -> io::Result<()> {
    let mut request = Vec::new();
    (&mut stream).take(LONGEST_REQUEST).read_to_end(&mut request).await?;
    let reply: Reply = match serde_json::from_slice(&request) {
        Ok(request) => carry_out(lab, &request).map_err(Refusal::from),
        Err(error) => Err(Refusal::Failed(format!("this is another version of bearerctl: {error}"))),
    };
    stream.write_all(&serde_json::to_vec(&reply)?).await?;
    stream.shutdown().await
}

fn carry_out(lab: &Lab, request: &Request) -> Result<Vec<Status>, LabError> {
    let Request::Change { access_point, change } = request else {
        return lab.access_points().iter().map(Status::of).collect();
    };
    let access_point = lab.access_point(access_point)?;
    match *change {
        Change::Cut => drop(access_point.cut()?),
        Change::Restore => {
            access_point.slow(None)?;
            access_point.restore()?;
        }
        Change::Slow { rate, delay } => access_point.slow(Some(Shaping { rate, delay }))?,
    }
    Ok(vec![Status::of(access_point)?])
}

impl Status {
    fn of(access_point: &AccessPoint) -> Result<Self, LabError> {
        let shaping = access_point.shaping().unwrap_or_default();
        let network_v6 = |network: Ipv6Addr| format!("{network}/64");
        Ok(Self {
            name: access_point.name().to_owned(),
            cable_in_order: access_point.is_in_order()?,
            card_like: access_point.card() == Card::CardLike,
            network: access_point.subnet().to_string(),
            network_v6: access_point.network_v6().map(network_v6),
            gateway: access_point.subnet().gateway(),
            rate: shaping.rate,
            delay: shaping.delay.map(|delay| u64::try_from(delay.as_millis()).unwrap_or(u64::MAX)),
            leases: access_point.dhcp_server()?.leases(),
        })
    }

    fn cable(&self) -> &'static str {
        if self.cable_in_order { "in order" } else { "cut" }
    }

    fn slowed(&self) -> String {
        let rate = self.rate.map(|rate| match rate {
            rate if rate % 1_000_000 == 0 => format!("{}mbit", rate / 1_000_000),
            rate if rate % 1_000 == 0 => format!("{}kbit", rate / 1_000),
            rate => format!("{rate}bit"),
        });
        let delay = self.delay.map(|delay| format!("+{delay} ms"));
        rate.into_iter().chain(delay).collect::<Vec<_>>().join(", ")
    }

    /// In a line.
    fn summary(&self) -> String {
        let slowed = self.slowed();
        let slowed = if slowed.is_empty() { slowed } else { format!(", slowed: {slowed}") };
        format!("{}: the cable is {}{slowed}", self.name, self.cable())
    }
}

/// Asks a sandbox, and tells what it says.
pub(super) fn ask(context: &Context, process: Option<u32>, request: &Request) -> Result<(), Error> {
    let output = context.output;
    let statuses = converse(&socket(process)?, request).map_err(Error::Sandbox)??;
    match request {
        Request::Status if output.json => output.object(&statuses),
        Request::Status => {
            output.line(&table(&statuses))?;
            output.line(&format!("behind each of them: {SERVER_NAME}, {INTERNET}"))
        }
        Request::Change { .. } => statuses
            .iter()
            .try_for_each(|status| if output.json { output.object(status) } else { output.line(&status.summary()) }),
    }
}

fn converse(socket: &Path, request: &Request) -> io::Result<Reply> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(&serde_json::to_vec(request)?)?;
    stream.shutdown(Shutdown::Write)?;
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply)?;
    Ok(serde_json::from_slice(&reply)?)
}

/// The socket of the sandbox we are in, of the one that was named, or of the only one of this user's.
fn socket(process: Option<u32>) -> Result<PathBuf, Error> {
    let own = Path::new(Sandbox::DIRECTORY).join(SOCKET);
    if process.is_none() && own.exists() {
        return Ok(own);
    }
    let mut sandboxes = sandboxes();
    let listed = sandboxes.keys().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    if let Some(wanted) = process.filter(|_| !sandboxes.is_empty()) {
        return sandboxes.remove(&wanted).ok_or(Error::AnotherSandbox { wanted, all: listed });
    }
    match sandboxes.pop_first() {
        None => Err(Error::NoSandbox),
        Some((_, socket)) if sandboxes.is_empty() => Ok(socket),
        Some((first, _)) => Err(Error::SeveralSandboxes { first, all: listed }),
    }
}

/// The sandboxes that this user may look into, by the processes that made them. A sandbox is nowhere but in its processes.
fn sandboxes() -> BTreeMap<u32, PathBuf> {
    let numbers = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = numbers.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let found = numbers.filter_map(|number| {
        let root = PathBuf::from(format!("/proc/{number}/root"));
        let inside = |path: &str| root.join(path.trim_start_matches('/'));
        let process = fs::read_to_string(inside(Sandbox::PROCESS_FILE)).ok()?.trim().parse().ok()?;
        let socket = inside(Sandbox::DIRECTORY).join(SOCKET);
        socket.exists().then_some((process, socket))
    });
    found.collect()
}

fn table(statuses: &[Status]) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY).set_header(HEADER);
    for status in statuses {
        let networks = [Some(status.network.clone()), status.network_v6.clone()];
        table.add_row([
            status.name.clone(),
            status.cable().to_owned(),
            if status.card_like { "like a real one" } else { "virtual" }.to_owned(),
            networks.into_iter().flatten().collect::<Vec<_>>().join("\n"),
            status.gateway.to_string(),
            status.slowed(),
            status.leases.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
        ]);
    }
    table.to_string()
}
