//! What NetBearer does, shown with the real library on real interfaces, and timed as it happens.

use std::{
    collections::BTreeMap,
    io::IsTerminal,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::{Duration, Instant},
};

use anstream::ColorChoice;
use hickory_proto::{
    op::{Message, MessageType, OpCode, Query},
    rr::{Name, RecordType},
};
use netbearer::{
    Events, FailureReason, Interface, Manager, MigrateError, Offer, PropertyKey, PropertyValue, Roaming,
    ServiceNetworkProfile, Session, SessionEvent, SessionState, SocketError, TestError, Trial,
};
use netbearer_lab::{Card, Contents, ECHO_PORT, INTERNET, INTERNET_V6, Lab, SERVER_NAME};
use serde::Serialize;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpStream, UdpSocket},
    time::timeout,
};

use super::build;
use crate::{
    arguments::{LabStart, LabTour},
    command::{Context, unless_interrupted},
    error::Error,
    output::{BOLD, GOOD, Output},
    signals::Signals,
    timeline,
};

/// For each thing that must happen. All of them take milliseconds.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between the steps, for people to read.
const PAUSE: Duration = Duration::from_millis(2_500);
/// A blank at which no line is broken.
const UNBROKEN: char = '\u{a0}';
const NAME_SERVICE_PORT: u16 = 53;
/// A service network of both access points, the first one preferred.
const NETWORK: &str = "uplink";
const MEMBERS: [&str; 2] = ["ap0", "ap1"];
/// Shorter than usual: nobody wants to wait for it here.
const SETTLE: Duration = Duration::from_millis(100);
const START: LabStart = LabStart { access_points: 2, card_like: false, command: Vec::new() };

/// Why a step of the tour did not do what it shall.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StepError {
    #[error("{what} did not come within {} s", PATIENCE.as_secs())]
    NotInTime { what: &'static str },
    #[error("{what}: expected {expected}, found {found}")]
    Unexpected { what: &'static str, expected: String, found: String },
    #[error(transparent)]
    Socket(SocketError),
    #[error(transparent)]
    Migrate(MigrateError),
    #[error(transparent)]
    Test(TestError),
    #[error("{action} failed")]
    Talk {
        action: &'static str,
        #[source]
        source: std::io::Error,
    },
}

/// A step, as programs read it.
#[derive(Debug, Serialize)]
struct Step {
    step: u32,
    title: &'static str,
    /// The events of its session, and when they came, in milliseconds since the step's cause.
    events: Vec<(f64, SessionEvent)>,
    /// What was measured, in milliseconds.
    milliseconds: BTreeMap<&'static str, f64>,
}

struct Tour<'a> {
    output: Output,
    lab: &'a Lab,
    manager: Manager,
    pause: Duration,
    step: Step,
}

pub(super) async fn run(context: &Context, arguments: &LabTour) -> Result<(), Error> {
    let mut signals = Signals::catch().map_err(Error::Runtime)?;
    let began = Instant::now();
    let (lab, built) = build(&START, |number| if number == 0 { Card::Ordinary } else { Card::CardLike })?;
    let mut output = context.output;
    if arguments.plain {
        output.color = ColorChoice::Never;
    }
    let is_read_live = !arguments.plain && !output.json && std::io::stdout().is_terminal();
    let members = MEMBERS.map(str::to_owned).to_vec();
    let network = ServiceNetworkProfile { members, settle: SETTLE, ..ServiceNetworkProfile::default() };
    let embedded = context.embedded.clone().directories(context.lab_directories.clone());
    let manager = embedded.service_network(NETWORK, network).start().await?;
    let step = Step { step: 0, title: "the sandbox", events: Vec::new(), milliseconds: BTreeMap::new() };
    let pause = arguments.pause.unwrap_or(if is_read_live { PAUSE } else { Duration::ZERO });
    let mut tour = Tour { output, lab: &lab, manager, pause, step };
    let shown = unless_interrupted(&mut signals, tour.show(built), ("the tour", "over"));
    match shown.await {
        Ok(()) if output.json => Ok(()),
        Ok(()) => output.line(&format!(
            "\n{GOOD}That was it{GOOD:#}, in {:.2} s. The sandbox ends with this program, and nothing of it is left.",
            began.elapsed().as_secs_f64()
        )),
        Err(error @ (Error::Interrupted { .. } | Error::Output(_))) => Err(error),
        Err(error) => Err(Error::Tour { step: tour.step.step, title: tour.step.title, source: Box::new(error) }),
    }
}

impl Tour<'_> {
    async fn show(&mut self, built: Duration) -> Result<(), Error> {
        let built = self.figure("built", built);
        self.say(&format!(
            "A tour of NetBearer, on a machine with two network cards that was made just now, in {built}. Each has an access \
             point at its other end, and behind both is {SERVER_NAME}, the server {INTERNET}."
        ))?;
        let before = self.lab.machine().contents()?;
        let (first, second) = (self.session("ap0").await?, self.session("ap1").await?);
        self.watch(&first).await?;
        self.open(&first).await?;
        let mut talk = self.talk(&first).await?;
        self.open_beside(&first, &second).await?;
        let other = self.open_again().await?;
        self.close_first(&first, &other, &mut talk).await?;
        self.close_last(&other).await?;
        self.cut(&second).await?;
        self.survive(&first).await?;
        let network = self.session(NETWORK).await?;
        let mut roaming = network.roaming().await?;
        let mut old = self.open_network(&network, &first).await?;
        let offer = self.offer(&network, &mut roaming).await?;
        let trial = self.migrate(&network, offer, &mut old).await?;
        self.accept(&network, trial, old).await?;
        drop(roaming);
        self.roam(&network).await?;
        self.end([first, second, network], &before).await
    }

    async fn watch(&mut self, session: &Session) -> Result<(), Error> {
        self.begin("Nobody needs the network").await?;
        expect("the state of a session that was not opened", SessionState::Disconnected, session.state())?;
        self.expect_up("ap0", false)?;
        self.say("A session on ap0 was made. It only watches: the card is down and has no address.")
    }

    async fn open(&mut self, session: &Session) -> Result<(), Error> {
        self.begin("A program opens the session").await?;
        let mut events = session.events();
        let began = Instant::now();
        session.open().await?;
        let opened = self.follow(session, &mut events, began, "Opened", |event| *event == SessionEvent::Opened).await?;
        self.expect_up("ap0", true)?;
        let opened = self.figure("open", opened);
        self.say(&format!("Link, DHCP, addresses, routes and rules of its own: ready for sockets after {opened}."))
    }

    async fn talk(&mut self, session: &Session) -> Result<BufReader<TcpStream>, Error> {
        self.begin("Its sockets use it").await?;
        let began = Instant::now();
        look_up(session).await?;
        let looked_up = self.figure("look-up", began.elapsed());
        let began = Instant::now();
        let (talk, who) = connect(session).await?;
        let connected = self.figure("connect", began.elapsed());
        expect("the access point the server is reached by", "ap0", &who)?;
        self.say(&format!(
            "The session's name server finds {SERVER_NAME} in {looked_up}. A TCP connection through the session, and the \
             server's greeting \"{who}\", take {connected}."
        ))?;
        Ok(talk)
    }

    async fn open_beside(&mut self, first: &Session, second: &Session) -> Result<(), Error> {
        self.begin("Two ways at the same time").await?;
        let mut events = second.events();
        let began = Instant::now();
        second.open().await?;
        self.follow(second, &mut events, began, "Opened", |event| *event == SessionEvent::Opened).await?;
        for (session, name) in [(first, "ap0"), (second, "ap1"), (first, "ap0")] {
            let (_, who) = connect(session).await?;
            expect("the access point the server is reached by", name, &who)?;
        }
        self.say(
            "Whatever the default route says, what ap0's session opens leaves by ap0, and what ap1's session opens by ap1: \
             the server was asked by both, in turn.",
        )
    }

    async fn open_again(&mut self) -> Result<Session, Error> {
        self.begin("A second user of ap0").await?;
        let other = self.session("ap0").await?;
        let mut events = other.events();
        let began = Instant::now();
        other.open().await?;
        let opened = self.follow(&other, &mut events, began, "Opened", |event| *event == SessionEvent::Opened).await?;
        let opened = self.figure("open again", opened);
        self.say(&format!("ap0 is up already, so this took {opened}. It has two users now."))?;
        Ok(other)
    }

    async fn close_first(
        &mut self,
        first: &Session,
        other: &Session,
        talk: &mut BufReader<TcpStream>,
    ) -> Result<(), Error> {
        self.begin("The first one closes").await?;
        let mut events = first.events();
        let began = Instant::now();
        first.close().await?;
        self.follow(first, &mut events, began, "Closed", |event| *event == SessionEvent::Closed).await?;
        expect("whether the second user still has ap0", true, other.is_open())?;
        self.expect_up("ap0", true)?;
        echo(talk).await?;
        self.say("The link stays, as somebody else needs it. Even the first one's TCP connection still answers.")
    }

    async fn close_last(&mut self, other: &Session) -> Result<(), Error> {
        self.begin("The last one closes").await?;
        let mut events = other.events();
        let began = Instant::now();
        other.close().await?;
        let is_down = |event: &SessionEvent| *event == SessionEvent::StateChanged { state: SessionState::Disconnected };
        let down = self.follow(other, &mut events, began, "Disconnected", is_down).await?;
        self.expect_up("ap0", false)?;
        let down = self.figure("last close", down);
        self.say(&format!("Nobody needs ap0 any more, and {down} later it is down, as it was found."))
    }

    async fn cut(&mut self, session: &Session) -> Result<(), Error> {
        self.begin("Somebody pulls the cable of ap1").await?;
        let mut events = session.events();
        let access_point = self.lab.access_point("ap1")?;
        let began = Instant::now();
        access_point.cut()?;
        let mut told = None;
        let closed = |event: &SessionEvent| {
            if told.is_none() && matches!(event, SessionEvent::StateChanged { .. }) {
                told = Some(began.elapsed());
            }
            *event == SessionEvent::Closed
        };
        let closed = self.follow(session, &mut events, began, "Closed", closed).await?;
        let reason = session.error().map(|failure| failure.reason);
        expect("why the session ended", Some(FailureReason::LinkLost), reason)?;
        access_point.restore()?;
        let told = self.figure("told of a cut cable", told.unwrap_or(closed));
        self.say(&format!(
            "The program was told after {told}. This card is like most real ones: the kernel speaks of its cable once a \
             second at most, so NetBearer asks."
        ))
    }

    async fn survive(&mut self, session: &Session) -> Result<(), Error> {
        self.begin("A session that waits for its link").await?;
        session.set_property(PropertyKey::Reconnect, Some(PropertyValue::Boolean(true))).await?;
        session.open().await?;
        if !session.wait_for_opened(Some(PATIENCE)).await? {
            return Err(StepError::NotInTime { what: "Opened" }.into());
        }
        let mut events = session.events();
        let access_point = self.lab.access_point("ap0")?;
        let began = Instant::now();
        access_point.cut()?;
        let is_lost = |event: &SessionEvent| matches!(event, SessionEvent::StateChanged { .. });
        let lost = self.follow(session, &mut events, began, "the loss", is_lost).await?;
        expect("whether the session is open without a cable", false, session.is_open())?;
        let lost = self.figure("told of a cut cable with Reconnect", lost);
        self.say(&format!("With the property Reconnect it is told of the cut cable after {lost}, and waits. Then:"))?;
        let began = Instant::now();
        access_point.restore()?;
        let opened = self.follow(session, &mut events, began, "Opened", |event| *event == SessionEvent::Opened).await?;
        let (_, who) = connect(session).await?;
        expect("the access point the server is reached by", "ap0", &who)?;
        let opened = self.figure("open after the cable is back", opened);
        self.say(&format!("The cable is back, and {opened} later the program can go on."))
    }

    async fn open_network(&mut self, network: &Session, first: &Session) -> Result<BufReader<TcpStream>, Error> {
        self.begin("Two access points that stand in for one another").await?;
        let mut lost = first.events();
        self.lab.access_point("ap0")?.cut()?;
        next(&mut lost, "the loss", |event| matches!(event, SessionEvent::StateChanged { .. })).await?;
        let mut events = network.events();
        let began = Instant::now();
        network.open().await?;
        self.follow(network, &mut events, began, "Opened", |event| *event == SessionEvent::Opened).await?;
        first.close().await?;
        let (old, who) = connect(network).await?;
        expect("the access point the server is reached by", "ap1", &who)?;
        self.say(
            "Both are members of a service network, and ap0 is preferred. As its cable is cut, the session came to ap1, and \
             has a TCP connection there.",
        )?;
        Ok(old)
    }

    async fn offer(&mut self, network: &Session, roaming: &mut Roaming) -> Result<Offer, Error> {
        self.begin("The preferred one comes back").await?;
        let mut events = network.events();
        let began = Instant::now();
        self.lab.access_point("ap0")?.restore()?;
        let is_offer = |event: &SessionEvent| matches!(event, SessionEvent::PreferredConfigurationChanged { .. });
        let offered = self.follow(network, &mut events, began, "the offer", is_offer).await?;
        let offer = timeout(PATIENCE, roaming.next()).await.ok().flatten();
        let offer = offer.ok_or(StepError::NotInTime { what: "the offer" })?;
        expect("the state while an offer waits", SessionState::Connected, network.state())?;
        self.expect_up("ap1", true)?;
        let offered = self.figure("offered after the cable is back", offered);
        self.say(&format!(
            "{offered} after its cable is back it is offered: it must have been there for a while, and longer, as it was lost \
             before. Nothing changes until the program answers."
        ))?;
        Ok(offer)
    }

    async fn migrate(
        &mut self,
        network: &Session,
        offer: Offer,
        old: &mut BufReader<TcpStream>,
    ) -> Result<Trial, Error> {
        self.begin("The program tries it").await?;
        let mut events = network.events();
        let began = Instant::now();
        let trial = offer.migrate().await.map_err(StepError::Migrate)?;
        let up = began.elapsed();
        let is_up = |event: &SessionEvent| matches!(event, SessionEvent::NewConfigurationActivated { .. });
        self.follow(network, &mut events, began, "the trial", is_up).await?;
        let began = Instant::now();
        let address = SocketAddr::new(server(trial.interface()), ECHO_PORT);
        trial.test_tcp(address, PATIENCE).await.map_err(StepError::Test)?;
        let tested = began.elapsed();
        let (_, who) = connect(network).await?;
        expect("the access point a new connection leaves by", "ap0", &who)?;
        echo(old).await?;
        let (up, tested) = (self.figure("candidate up", up), self.figure("candidate tested", tested));
        self.say(&format!(
            "ap0 is up beside ap1 after {up}, and a test finds the server through it in {tested}. Both links carry traffic now: \
             a new connection leaves by ap0, and the old one still answers by ap1."
        ))?;
        Ok(trial)
    }

    async fn accept(&mut self, network: &Session, trial: Trial, old: BufReader<TcpStream>) -> Result<(), Error> {
        self.begin("It accepts").await?;
        let mut events = network.events();
        let began = Instant::now();
        trial.accept().await.map_err(StepError::Migrate)?;
        let is_settled = |event: &SessionEvent| *event == SessionEvent::StateChanged { state: SessionState::Connected };
        let settled = self.follow(network, &mut events, began, "Connected", is_settled).await?;
        end_of(old).await?;
        let ended = began.elapsed();
        let (settled, ended) = (self.figure("accepted", settled), self.figure("old connections aborted", ended));
        self.say(&format!(
            "After {settled} the session is ap0's. The old connection was not left to time out: it was aborted after {ended}, \
             so that the program can go on at once by the new link."
        ))
    }

    async fn roam(&mut self, network: &Session) -> Result<(), Error> {
        self.begin("The cable of ap0 is pulled, and nobody decides").await?;
        let mut events = network.events();
        let began = Instant::now();
        self.lab.access_point("ap0")?.cut()?;
        let has_roamed = |event: &SessionEvent| matches!(event, SessionEvent::ActiveConfigurationChanged { .. });
        let roamed = self.follow(network, &mut events, began, "the other access point", has_roamed).await?;
        let (_, who) = connect(network).await?;
        expect("the access point the server is reached by", "ap1", &who)?;
        self.lab.access_point("ap0")?.restore()?;
        let roamed = self.figure("roamed after a cut cable", roamed);
        self.say(&format!(
            "The program takes no roaming events any more, so the session moves by itself: {roamed} after the cut it is \
             open by ap1."
        ))
    }

    async fn end(&mut self, sessions: [Session; 3], before: &Contents) -> Result<(), Error> {
        self.begin("The end").await?;
        let began = Instant::now();
        for session in &sessions {
            session.close().await?;
        }
        self.manager.shutdown().await;
        let down = self.figure("everything down", began.elapsed());
        for name in MEMBERS {
            self.expect_up(name, false)?;
        }
        expect("whether addresses, routes and rules are as before", true, self.lab.machine().contents()? == *before)?;
        self.say(&format!(
            "Everything that NetBearer set up is taken down after {down}: the kernel has the same addresses, routes and \
             rules as in the beginning."
        ))?;
        self.tell_step()
    }

    async fn session(&self, name: &str) -> Result<Session, Error> {
        let configuration = self.manager.find(Some(name)).await?;
        Ok(self.manager.session(&configuration).await?)
    }

    /// Ends the step before.
    async fn begin(&mut self, title: &'static str) -> Result<(), Error> {
        self.tell_step()?;
        if !self.pause.is_zero() {
            tokio::time::sleep(self.pause).await;
        }
        let step = self.step.step + 1;
        self.step = Step { step, title, events: Vec::new(), milliseconds: BTreeMap::new() };
        self.line(&format!("\n{BOLD}{step}. {title}{BOLD:#}"))
    }

    fn tell_step(&self) -> Result<(), Error> {
        if self.output.json { self.output.object(&self.step) } else { Ok(()) }
    }

    /// Waits for an event, and then tells those that have come and when. Nothing is written before: that would take time.
    async fn follow(
        &mut self,
        session: &Session,
        events: &mut Events<SessionEvent>,
        began: Instant,
        what: &'static str,
        mut is_last: impl FnMut(&SessionEvent) -> bool,
    ) -> Result<Duration, Error> {
        let mut seen = Vec::new();
        let mut last = None;
        while last.is_none() {
            let event = next(events, what, |_| true).await?;
            let (when, interface) = (began.elapsed(), session.interface());
            last = is_last(&event).then_some(when);
            seen.push((when, event, interface));
        }
        for (when, event, interface) in seen {
            let line = timeline::line(when, &event, interface.as_ref(), None);
            self.line(&format!("  {line}"))?;
            self.step.events.push((milliseconds(when), event));
        }
        Ok(last.unwrap_or_default())
    }

    /// Notes what was measured, and says it in words.
    fn figure(&mut self, name: &'static str, time: Duration) -> String {
        self.step.milliseconds.insert(name, milliseconds(time));
        let time = milliseconds(time);
        format!("{BOLD}{time:.*}{UNBROKEN}ms{BOLD:#}", if time < 10.0 { 2 } else { 0 })
    }

    fn expect_up(&self, name: &str, up: bool) -> Result<(), Error> {
        let found = self.lab.access_point(name)?.is_administratively_up()?;
        expect("whether the kernel has the card up", up, found)
    }

    /// A paragraph for people.
    fn say(&self, text: &str) -> Result<(), Error> {
        wrap(text).iter().try_for_each(|line| self.line(&format!("  {line}")))
    }

    fn line(&self, text: &str) -> Result<(), Error> {
        if self.output.json { Ok(()) } else { self.output.line(text) }
    }
}

fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

fn expect<T: PartialEq<U> + std::fmt::Debug, U: std::fmt::Debug>(
    what: &'static str,
    expected: T,
    found: U,
) -> Result<(), Error> {
    if expected == found {
        return Ok(());
    }
    Err(StepError::Unexpected { what, expected: format!("{expected:?}"), found: format!("{found:?}") }.into())
}

/// The next event of a kind.
async fn next(
    events: &mut Events<SessionEvent>,
    what: &'static str,
    is_wanted: impl Fn(&SessionEvent) -> bool,
) -> Result<SessionEvent, Error> {
    loop {
        let event = timeout(PATIENCE, events.next()).await.ok().flatten();
        let event = event.ok_or(StepError::NotInTime { what })?;
        if is_wanted(&event) {
            return Ok(event);
        }
    }
}

/// The server's address in a family that the interface has. One is enough for it to be up, and the other may follow.
fn server(interface: Option<Interface>) -> IpAddr {
    let addresses = interface.map(|interface| interface.addresses).unwrap_or_default();
    let has_ipv4 = addresses.iter().any(|address| address.is_usable() && address.address.is_ipv4());
    if has_ipv4 { INTERNET.into() } else { INTERNET_V6.into() }
}

/// A name server of the session's in that family, as soon as it has been told of one.
async fn name_server(session: &Session, ipv4: bool) -> Result<IpAddr, Error> {
    let (snapshot, mut events) = session.snapshot_and_events();
    let mut interface = snapshot.interface;
    loop {
        let mut servers = interface.into_iter().flat_map(|interface| interface.name_servers);
        if let Some(server) = servers.find(|server| server.is_ipv4() == ipv4) {
            return Ok(server);
        }
        let event = timeout(PATIENCE, events.next()).await.ok().flatten();
        event.ok_or(StepError::NotInTime { what: "a name server" })?;
        interface = session.interface();
    }
}

/// A TCP connection through the session, and the server's greeting: the access point it is reached by.
async fn connect(session: &Session) -> Result<(BufReader<TcpStream>, String), Error> {
    let failed = |source| StepError::Talk { action: "reading the server's greeting", source };
    let interface = session.candidate_interface().or_else(|| session.interface());
    let talk = async {
        let mut stream = BufReader::new(
            session.connect_tcp(SocketAddr::new(server(interface), ECHO_PORT)).await.map_err(StepError::Socket)?,
        );
        let mut greeting = String::new();
        stream.read_line(&mut greeting).await.map_err(failed)?;
        Ok((stream, greeting.trim_end().to_owned()))
    };
    timeout(PATIENCE, talk).await.map_err(|_| StepError::NotInTime { what: "the server's greeting" })?
}

/// The server sends back what it is sent.
async fn echo(stream: &mut BufReader<TcpStream>) -> Result<(), Error> {
    const WORDS: &[u8] = b"are you still there?";
    let failed = |source| StepError::Talk { action: "talking to the server over the old connection", source };
    let mut answer = [0; WORDS.len()];
    let talk = async {
        stream.write_all(WORDS).await?;
        stream.read_exact(&mut answer).await
    };
    timeout(PATIENCE, talk).await.map_err(|_| StepError::NotInTime { what: "the server's echo" })?.map_err(failed)?;
    expect("the server's echo", WORDS, &answer[..])
}

/// Waits until a connection is broken.
async fn end_of(mut stream: BufReader<TcpStream>) -> Result<(), Error> {
    let what = "the end of the old connection";
    match timeout(PATIENCE, stream.read(&mut [0])).await {
        Ok(Ok(0) | Err(_)) => Ok(()),
        Ok(Ok(_)) => expect(what, "nothing more", "something was read"),
        Err(_) => Err(StepError::NotInTime { what }.into()),
    }
}

/// Asks the session's own name server for the server, through the session.
async fn look_up(session: &Session) -> Result<(), Error> {
    let expected = server(session.interface());
    let server = name_server(session, expected.is_ipv4()).await?;
    let (kind, own) = if server.is_ipv4() {
        (RecordType::A, IpAddr::from(Ipv4Addr::UNSPECIFIED))
    } else {
        (RecordType::AAAA, Ipv6Addr::UNSPECIFIED.into())
    };
    let unreadable =
        |source| StepError::Talk { action: "asking the name server", source: std::io::Error::other(source) };
    let failed = |source| StepError::Talk { action: "asking the name server", source };
    let name = Name::from_ascii(format!("{SERVER_NAME}.")).map_err(unreadable)?;
    // The socket is new and its port unknown to others, so any number will do.
    let mut question = Message::new(1, MessageType::Query, OpCode::Query);
    question.add_query(Query::query(name, kind));
    let question = question.to_vec().map_err(unreadable)?;
    let asked = async {
        let socket = UdpSocket::bind((own, 0)).await.map_err(failed)?;
        session.bind(&socket).map_err(StepError::Socket)?;
        socket.send_to(&question, (server, NAME_SERVICE_PORT)).await.map_err(failed)?;
        let mut answer = [0; 512];
        let length = socket.recv(&mut answer).await.map_err(failed)?;
        Ok::<_, Error>(answer[..length].to_vec())
    };
    let answer =
        timeout(PATIENCE, asked).await.map_err(|_| StepError::NotInTime { what: "the name server's answer" })??;
    let answer = Message::from_vec(&answer).map_err(|error| failed(std::io::Error::other(error)))?;
    let addresses: Vec<IpAddr> = answer.answers.iter().filter_map(|record| record.data.ip_addr()).collect();
    expect("the server's address by its name", vec![expected], addresses)
}

/// Lines no longer than people like to read.
fn wrap(text: &str) -> Vec<String> {
    const WIDTH: usize = 88;
    let mut lines: Vec<(usize, String)> = Vec::new();
    for word in text.split(' ') {
        let width = visible(word);
        match lines.last_mut() {
            Some((length, line)) if *length + 1 + width <= WIDTH => {
                *length += 1 + width;
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push((width, word.to_owned())),
        }
    }
    lines.into_iter().map(|(_, line)| line.replace(UNBROKEN, " ")).collect()
}

/// How wide a word is, without its styles (ECMA-48, "select graphic rendition").
fn visible(word: &str) -> usize {
    let mut styled = false;
    word.chars()
        .filter(|character| {
            let was = styled;
            styled = *character == '\x1b' || (was && *character != 'm');
            !styled && !was
        })
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn styles_have_no_width() {
        assert_eq!(visible("plain"), 5);
        assert_eq!(visible(&format!("{BOLD}bold{BOLD:#}")), 4);
    }

    #[test]
    fn lines_are_broken_between_words() {
        let text = ["word"; 40].join(" ");
        let lines = wrap(&text);
        assert_eq!(lines.join(" "), text);
        assert!(lines.len() == 3 && lines.iter().all(|line| line.len() <= 88), "{lines:?}");
    }
}
