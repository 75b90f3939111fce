//! A guided tour, from the first session to the choice between networks. Nothing to import: it is only for reading.
//!
//! # What there is
//!
//! An **access point** is one way into a network: an Ethernet card, a Wi-Fi network, a modem, a tunnel. What can be said of it
//! is its [`Configuration`]; the [`Manager`] lists them. A **session** ([`Session`]) is a program's interest in one of them.
//! The first that is opened brings the access point up, the last that is closed takes it down again; what was up before stays
//! up. All that happens to a session is told to it as events, in an order that [the semantics] bind.
//!
//! [the semantics]: https://github.com/netbearer/netbearer/blob/main/docs/semantics.md
//!
//! The program that reads along needs no network of its own: `bearerctl lab` gives it a sandbox with access points that can
//! be cut and restored, without root where the kernel lets users make namespaces.
//!
//! # The daemon, or a service of one's own
//!
//! Who counts? On most machines the daemon, `bearerd`: sessions of all programs and users are in one ledger, and a link goes
//! down when the last of them is closed, whichever program that is in, and however it ended. [`Manager::connect`] talks to it,
//! and to nothing else: a program that starts with the machine waits for the daemon, ten seconds unless [`Daemon::patience`]
//! says otherwise, and one that outlives a daemon waits for the next.
//!
//! A program that is alone on its machine, a robot's or a gateway's, can have the service in itself: `Manager::embedded()`, or
//! `Embedded` for one with settings. That is the cargo feature `embedded`, off by default, so that the others compile no
//! netlink and no DHCP. Such a service counts the sessions of its process only, and needs the privileges that a daemon would
//! have. Two services do not share a machine: whoever comes second is told so when it would change something.
//!
//! Everything else is the same for both. Which one it is, [`Manager::service`] says.
//!
//! While the daemon is away, killed or being upgraded, links stay up and sockets work. Sessions get
//! [`SessionEvent::ServiceLost`]; their getters keep what was known last; [`Session::close`] works at once; other calls are
//! refused with [`CallError::ServiceLost`] and have changed nothing. When it is back, each session is told what has become
//! different meanwhile, if anything, and then [`SessionEvent::ServiceBack`]. Nothing has to be made anew.
//!
//! An open session holds by a descriptor, which is why a program that is killed holds nothing any more.
//! [`Session::hold_fd`] makes another one, for a process that is to keep the link whatever becomes of this one:
//!
//! ```no_run
//! # async fn example(session: &netbearer::Session) -> Result<(), Box<dyn std::error::Error>> {
//! use std::process::{Command, Stdio};
//!
//! // Holds until it ends, however that comes. Children inherit no hold unless they are given one like this.
//! let child = Command::new("backup").stdin(Stdio::from(session.hold_fd().await?)).spawn()?;
//! # drop(child);
//! # Ok(())
//! # }
//! ```
//!
//! # Opening
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//!
//! use netbearer::Manager;
//!
//! let manager = Manager::connect().await?;
//! let steps = manager.steps();
//! // By identifier, name or interface; without a name, what the machine would take.
//! let configuration = manager.find(Some("ap0")).await?;
//! // Making a session touches nothing. It watches.
//! let session = manager.session(&configuration).await?;
//! session.open().await?;
//! if !session.wait_for_opened(Some(Duration::from_secs(10))).await? {
//!     match session.error() {
//!         Some(failure) => eprintln!("{failure}"),
//!         None => eprintln!("it takes long: {:?}", steps.of(&configuration.identifier)),
//!     }
//! }
//! // … use it …
//! session.close().await?;
//! # Ok(())
//! # }
//! ```
//!
//! A call fails ([`CallError`]) only when it is refused as such: a limit, a missing right, a daemon that is away.
//! Everything that goes wrong later is an event, and stays readable as [`Session::error`] until the next open: a
//! [`SessionError`] for the program, a [`FailureReason`] for its decisions, a message for people.
//!
//! A link that somebody else keeps up, the machine or another network manager, is **adopted**: sessions share it, and the
//! last close leaves it up. That needs no privilege.
//!
//! # Sockets
//!
//! An open session has a way of its own through the kernel: a routing table, and rules that lead there. Only sockets that ask
//! for it take it, so two sessions on two access points can talk at the same time, whatever the default route is.
//!
//! ```no_run
//! # async fn example(session: &netbearer::Session) -> Result<(), Box<dyn std::error::Error>> {
//! // A TCP connection through the session's access point,
//! let stream = session.connect_tcp("192.0.2.1:443".parse()?).await?;
//! // whose name was asked of the network's own name servers.
//! let addresses = session.lookup("www.example.org").await?;
//! // Any other socket, before it is connected.
//! let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
//! session.bind(&socket)?;
//! # drop((stream, addresses, socket));
//! # Ok(())
//! # }
//! ```
//!
//! # Events
//!
//! ```no_run
//! # async fn example(session: &netbearer::Session) -> Result<(), Box<dyn std::error::Error>> {
//! use netbearer::SessionEvent;
//!
//! // What holds now, and everything after it, each exactly once.
//! let (now, mut events) = session.snapshot_and_events();
//! println!("{}", now.state);
//! while let Some(event) = events.next().await {
//!     match event {
//!         SessionEvent::Opened => println!("go"),
//!         SessionEvent::Closed => println!("stop"),
//!         SessionEvent::Error(failure) => println!("{failure}"),
//!         SessionEvent::StateChanged { state } => println!("{state}"),
//!         SessionEvent::InterfaceChanged { interface } => println!("now on {:?}", interface.addresses),
//!         _ => {}
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Nobody waits for a slow reader. One that falls far behind gets [`SessionEvent::Lagged`] and what holds now. A lost cable
//! is told within a millisecond or two: the state, the error, and Closed. A program that would rather wait for the network to
//! return says so, once:
//!
//! ```no_run
//! # async fn example(session: &netbearer::Session) -> Result<(), netbearer::CallError> {
//! use netbearer::{PropertyKey, PropertyValue};
//!
//! session.set_property(PropertyKey::Reconnect, Some(PropertyValue::Boolean(true))).await?;
//! # Ok(())
//! # }
//! ```
//!
//! What happens to the whole machine, configurations that come and go, and whether there is a way out at all, is told by
//! [`Manager::events`].
//!
//! # Without async
//!
//! [`blocking`] has the same for threads that wait:
//!
//! ```no_run
//! # fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use netbearer::blocking::Manager;
//!
//! let manager = Manager::connect()?;
//! let session = manager.session(&manager.find(None)?)?;
//! let events = session.events();
//! session.open()?;
//! for event in events {
//!     println!("{event:?}");
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Several networks as one
//!
//! A **service network** is a name for whatever leads to the same place: an Ethernet port at the dock, Wi-Fi in the hall, a
//! modem on the road. A session on it opens the best member that works; which one that is can be read, and sockets are bound
//! to it as always. Administrators write service networks into `/etc/netbearer/profiles.d`, and a program with a service of its
//! own can bring them along:
//!
//! ```no_run
//! # #[cfg(feature = "embedded")]
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use netbearer::{Embedded, PropertyKey, ServiceNetworkProfile};
//!
//! let uplink = ServiceNetworkProfile {
//!     members: vec!["eth0".to_owned(), "wwan0".to_owned()], // the most preferred first
//!     ..ServiceNetworkProfile::default()
//! };
//! let manager = Embedded::default().service_network("uplink", uplink).start().await?;
//! let session = manager.session(&manager.find(Some("service-uplink")).await?).await?;
//! session.open().await?;
//! if session.wait_for_opened(None).await? {
//!     println!("by way of {:?}", session.property(PropertyKey::ActiveConfiguration).await?);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Roaming
//!
//! A session on a service network need not stay where it was opened. When a better member has been there for a while, and when
//! its link is lost, it moves by itself: the state is Roaming, then Connected, and [`SessionEvent::ActiveConfigurationChanged`]
//! names the access point. The session stays open meanwhile; sockets that are opened from then on use the new link. The old
//! one is kept for a while (`roam_linger` of the service network), so that what goes by it can end, and no longer than that takes
//! if it was opened through the session.
//!
//! A program that knows better decides itself, by taking the session's roaming events:
//!
//! ```no_run
//! # async fn example(session: &netbearer::Session) -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//!
//! let mut roaming = session.roaming().await?;
//! while let Some(offer) = roaming.next().await {
//!     println!("{} is to be had", offer.configuration);
//!     // Nothing has changed so far. Now both links are up; new sockets of the session try the candidate.
//!     let Ok(trial) = offer.migrate().await else { continue };
//!     let answered = match trial.test_http("http://probe.example/", Duration::from_secs(5)).await {
//!         Ok(()) => trial.accept().await,
//!         Err(error) => {
//!             println!("{} is of no use: {error}", trial.candidate());
//!             trial.reject().await // connections by the old link have not noticed anything
//!         }
//!     };
//!     // A candidate that has died meanwhile has ended the trial by itself. There will be other offers.
//!     if let Err(error) = answered {
//!         println!("{error}");
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Each answer exists only where it is due. An [`Offer`] that is dropped is ignored, a [`Trial`] that is dropped is rejected,
//! and so is a migration whose future is dropped. An offer does not wait for ever if the link in use is lost
//! (`offer.replacement`): the property AnswerTimeout says how long, and OnTimeout what then. Dropping the [`Roaming`] leaves
//! the decisions to NetBearer again. While the daemon is away nothing is decided: [`Offer::migrate`] is refused, and the same
//! offer comes again.
//!
//! The session's sockets on a link that it has left are aborted, so that nobody waits for what cannot come. A service in the
//! program itself needs `CAP_NET_ADMIN` for that; without, it leaves them to time out.
//!
//! # One at a time
//!
//! A device may be several access points, for instance one by DHCP and one with a fixed address: files with
//! `exclusive = true` make them. While one of them is held or adopted, opening another one is refused, and nothing is touched;
//! who is in the way is told.
//!
//! ```no_run
//! # async fn example(manager: netbearer::Manager) -> Result<(), Box<dyn std::error::Error>> {
//! use netbearer::{CallError, FailureReason};
//!
//! let session = manager.session(&manager.find(Some("office")).await?).await?;
//! match session.open().await {
//!     Err(CallError::Busy(failure)) => {
//!         println!("{failure}");
//!         if let FailureReason::Busy(other) = failure.reason {
//!             println!("in the way is {}", manager.configuration(&other).await?.name);
//!         }
//!     }
//!     other => other?,
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Asking somebody
//!
//! A **user choice** is a list out of which a person, or a rule of the program's own, takes one each time a session on it is
//! opened. Whoever answers is a [`Chooser`]; as long as there is none, the most preferred one is taken.
//!
//! ```no_run
//! # async fn example(manager: netbearer::Manager) -> Result<(), netbearer::CallError> {
//! use netbearer::ChooserEvent;
//!
//! let mut chooser = manager.chooser().await?;
//! while let Some(event) = chooser.next().await {
//!     if let ChooserEvent::Asked(question) = event {
//!         // Here: the cheapest that can be opened without a modem.
//!         let choice = question.choices.iter().find(|choice| !choice.name.starts_with("wwan"));
//!         chooser.answer(question.number, choice.map(|choice| &choice.identifier)).await?;
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Settings of the program's own
//!
//! What a profile can say, in files or by a program with a service of its own, is in [`Profile`]: how long a link lingers after
//! its last close, its timeouts, static addresses.
//!
//! ```no_run
//! # #[cfg(feature = "embedded")]
//! # async fn example() -> Result<(), netbearer::ManagerError> {
//! use std::time::Duration;
//!
//! use netbearer::{Embedded, Profile};
//!
//! let patient = Profile { linger: Duration::from_secs(30), ..Profile::default() };
//! let manager = Embedded::default().profile("ap0", patient).start().await?;
//! # drop(manager);
//! # Ok(())
//! # }
//! ```
//!
//! # When it does not do what it should
//!
//! Each decision is kept with what it was made from ([`Manager::decisions`]); `bearerctl why` prints the same.
//! [`Manager::steps`] tells what an opening waits for. `bearerctl report` collects everything a bug report needs.
//!
//! Complete programs stand in the crate's `examples`: `open_and_use`, `watch`, `service_network`, `choose`,
//! `roaming_download`.
//!
//! [`blocking`]: crate::blocking
//! [`CallError`]: crate::CallError
//! [`CallError::ServiceLost`]: crate::CallError::ServiceLost
//! [`Chooser`]: crate::Chooser
//! [`Configuration`]: crate::Configuration
//! [`Daemon::patience`]: crate::Daemon::patience
//! [`FailureReason`]: crate::FailureReason
//! [`Manager`]: crate::Manager
//! [`Manager::connect`]: crate::Manager::connect
//! [`Manager::decisions`]: crate::Manager::decisions
//! [`Manager::events`]: crate::Manager::events
//! [`Manager::service`]: crate::Manager::service
//! [`Manager::steps`]: crate::Manager::steps
//! [`Offer`]: crate::Offer
//! [`Offer::migrate`]: crate::Offer::migrate
//! [`Profile`]: crate::Profile
//! [`Roaming`]: crate::Roaming
//! [`Session`]: crate::Session
//! [`Session::close`]: crate::Session::close
//! [`Session::error`]: crate::Session::error
//! [`Session::hold_fd`]: crate::Session::hold_fd
//! [`SessionError`]: crate::SessionError
//! [`SessionEvent::ActiveConfigurationChanged`]: crate::SessionEvent::ActiveConfigurationChanged
//! [`SessionEvent::Lagged`]: crate::SessionEvent::Lagged
//! [`SessionEvent::ServiceBack`]: crate::SessionEvent::ServiceBack
//! [`SessionEvent::ServiceLost`]: crate::SessionEvent::ServiceLost
//! [`Trial`]: crate::Trial
