//! The same on a system bus with our policy.

use futures_util::StreamExt;
use netbearer_dbus::{BUS_NAME, MANAGER_PATH};
use netbearer_lab::Signal;
use tokio::time::timeout;
use zbus::{Guid, Message, MessageStream, connection::Builder};

use crate::{
    client::{Client, shortly},
    rights::as_user,
    stage::{AP0, DEADLINE, Stage},
};

const DBUS: &str = "org.freedesktop.DBus";
/// Somebody on a bus.
const CALLER: &str = ":1.7";

/// Waits until somebody has our name on the bus, and returns who.
pub(crate) fn wait_for_name(client: &mut Client) -> String {
    let rule = format!("type='signal',sender='{DBUS}',member='NameOwnerChanged',arg0='{BUS_NAME}'");
    bus_call(client, "AddMatch", &rule).unwrap();
    loop {
        if let Ok(owner) = bus_call(client, "GetNameOwner", &BUS_NAME) {
            return owner.body().deserialize().unwrap();
        }
        client.wait_for("/org/freedesktop/DBus", "NameOwnerChanged");
    }
}

fn bus_call<B: serde::Serialize + zbus::DynamicType>(
    client: &mut Client,
    method: &str,
    body: &B,
) -> Result<Message, crate::client::Refused> {
    let call = Message::method_call("/org/freedesktop/DBus", method).interface(DBUS).destination(DBUS);
    let serial = client.send_message(&call.build(body).unwrap());
    client.answer(serial)
}

#[test]
fn who_calls_once_does_not_wait_until_all_of_somebody_elses_calls_are_answered() {
    let stage = Stage::new();
    let _bus = stage.bus();
    let daemon = stage.start_with(["--bus", &stage.bus_address()]);
    let [mut many, mut one] = [(); 2].map(|()| Client::on_bus(&stage.bus_address()));
    wait_for_name(&mut many);
    many.ping();
    one.ping();
    daemon.signal(Signal::STOP);
    let ping = |client: &Client| client.send(MANAGER_PATH, "org.freedesktop.DBus.Peer", "Ping", &());
    let flood: Vec<_> = (0..100).map(|_| ping(&many)).collect();
    // The bus has passed on what came before.
    bus_call(&mut many, "GetId", &()).unwrap();
    let call = ping(&one);
    bus_call(&mut one, "GetId", &()).unwrap();
    daemon.signal(Signal::CONT);
    // The daemon numbers what it says in its order.
    let number = |answer: Message| answer.primary_header().serial_num();
    let answered = number(one.answer(call).unwrap());
    let flood: Vec<_> = flood.into_iter().map(|call| number(many.answer(call).unwrap())).collect();
    assert!(flood.is_sorted(), "each one's calls are answered in order");
    assert!(answered < flood[90], "{answered} {flood:?}");
    daemon.end();
}

#[test]
fn a_session_on_the_bus_is_as_on_the_socket_and_its_signals_are_its_owners() {
    let stage = Stage::new();
    let _bus = stage.bus();
    let daemon = stage.start_with(["--bus", &stage.bus_address()]);
    let mut client = Client::on_bus(&stage.bus_address());
    wait_for_name(&mut client);
    let mut curious = Client::on_bus(&stage.bus_address());
    bus_call(&mut curious, "AddMatch", &format!("type='signal',sender='{BUS_NAME}'")).unwrap();

    let (session, _) = client.create(AP0);
    let hold = client.open_and_wait(&session);
    stage.wait_until_up();
    let mut other = stage.connect();
    let sessions = other.sessions();
    assert_eq!(sessions[0]["program"]["process"], std::process::id(), "{sessions:?}");
    assert_eq!(curious.properties(&session).unwrap_err().short(), "UnknownObject");
    let path = netbearer_dbus::configuration_path(AP0);
    curious.wait_for(&path, "PropertiesChanged");
    curious.ping();
    let overheard: Vec<String> = shortly(&curious.take_signals());
    assert!(!overheard.contains(&"Opened".to_owned()), "{overheard:?}");

    drop(hold);
    client.wait_for(&session, "Closed");
    client.wait_for_state(&session, 5);
    stage.wait_until_untouched();
    daemon.end();
}

#[test]
fn a_client_that_leaves_the_bus_is_gone_but_for_what_is_held() {
    let stage = Stage::new();
    let _bus = stage.bus();
    let daemon = stage.start_with(["--bus", &stage.bus_address()]);
    let mut client = Client::on_bus(&stage.bus_address());
    wait_for_name(&mut client);
    let mut watching = stage.connect();
    let (watched, _) = watching.create(AP0);
    let (session, _) = client.create(AP0);
    let (other, _) = client.create(AP0);
    let hold = client.open_and_wait(&session);
    let other_hold = client.open_and_wait(&other);
    let name = client.unique_name();
    let mut witness = Client::on_bus(&stage.bus_address());
    let rule = format!("type='signal',sender='{DBUS}',member='NameOwnerChanged',arg0='{name}'");
    bus_call(&mut witness, "AddMatch", &rule).unwrap();
    drop(client);
    drop(other_hold);
    witness.wait_for("/org/freedesktop/DBus", "NameOwnerChanged");
    // The bus has told the daemon before it told the witness, or will at once: its own call comes after that.
    witness.ping();
    let left: Vec<_> = watching.sessions().into_iter().filter(|session| session["is_open"] == true).collect();
    assert!(left.iter().any(|session| session["owned"] == false), "{left:?}");
    drop(hold);
    watching.wait_for_state(&watched, 5);
    stage.wait_until_untouched();
    daemon.end();
}

#[test]
fn a_call_on_the_bus_that_is_longer_than_any_there_is_is_refused() {
    let stage = Stage::new();
    let _bus = stage.bus();
    let daemon = stage.start_with(["--bus", &stage.bus_address()]);
    let mut stranger = Client::on_bus(&stage.bus_address());
    wait_for_name(&mut stranger);
    let mut known = Client::on_bus(&stage.bus_address());
    known.ping();
    let topics: Vec<String> = vec!["x".repeat(1024); 64];
    for client in [&mut stranger, &mut known] {
        let refused = client.manage::<_, ()>("Subscribe", &topics).unwrap_err();
        assert_eq!(refused.name, "org.freedesktop.DBus.Error.LimitsExceeded", "{refused:?}");
        client.manage::<_, ()>("Subscribe", &vec!["news"]).unwrap();
    }
    daemon.end();
}

/// A bus that knows nobody, on which somebody calls the daemon. Returns what the daemon answers.
async fn called_on_a_bus_that_knows_nobody(listener: std::os::unix::net::UnixListener) -> Message {
    let (stream, _) = listener.accept().unwrap();
    let bus = Builder::unix_stream(stream).server(Guid::generate()).p2p().build().await.unwrap();
    let mut messages = MessageStream::from(&bus);
    loop {
        let message = messages.next().await.expect("the daemon stays on the bus").unwrap();
        let header = message.header();
        if header.reply_serial().is_some() && header.destination().is_some_and(|name| name.as_str() == CALLER) {
            return message.clone();
        }
        let returned = || Message::method_return(&header).sender(DBUS);
        match header.member().map(|member| member.as_str()).unwrap_or_default() {
            "Hello" => bus.send(&returned().build(&":1.1").unwrap()).await.unwrap(),
            "RequestName" => {
                bus.send(&returned().build(&1_u32).unwrap()).await.unwrap();
                let call = Message::method_call(MANAGER_PATH, "Ping").interface("org.freedesktop.DBus.Peer");
                bus.send(&call.sender(CALLER).destination(":1.1").build(&()).unwrap()).await.unwrap();
            }
            "GetConnectionCredentials" => {
                let error = Message::error(&header, "org.freedesktop.DBus.Error.NameHasNoOwner").sender(DBUS);
                bus.send(&error.build(&"nobody").unwrap()).await.unwrap();
            }
            "AddMatch" | "RemoveMatch" => bus.send(&returned().build(&()).unwrap()).await.unwrap(),
            other => panic!("{other} is not called on a bus"),
        }
    }
}

#[test]
fn a_caller_whom_the_bus_does_not_know_is_answered() {
    let stage = Stage::new();
    let listener = std::os::unix::net::UnixListener::bind(stage.bus_socket()).unwrap();
    let daemon = stage.start_with(["--bus", &stage.bus_address()]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let called = async { timeout(DEADLINE, called_on_a_bus_that_knows_nobody(listener)).await };
    let answer = runtime.block_on(called).expect("it is answered");
    assert_eq!(answer.header().error_name().unwrap().as_str(), "org.freedesktop.DBus.Error.AccessDenied");
    daemon.end();
}

#[test]
fn nobody_but_the_bus_says_who_has_left_it() {
    let stage = Stage::new();
    let _bus = stage.bus();
    let daemon = stage.start_with(["--bus", &stage.bus_address()]);
    let mut client = Client::on_bus(&stage.bus_address());
    wait_for_name(&mut client);
    let (session, _) = client.create(AP0);
    let _hold = client.open_and_wait(&session);
    let mut liar = Client::on_bus(&stage.bus_address());
    let name = client.unique_name();
    let lie = Message::signal("/org/freedesktop/DBus", DBUS, "NameOwnerChanged").destination(BUS_NAME);
    liar.send_message(&lie.build(&(name.as_str(), name.as_str(), "")).unwrap());
    liar.ping();
    assert_eq!(client.properties(&session).unwrap().is_open, Some(true));
    daemon.end();
}

#[test]
fn a_bus_that_comes_later_or_again_is_served() {
    let stage = Stage::new();
    let daemon = stage.start_with(["--bus", &stage.bus_address()]);
    stage.connect().ping();
    for _ in 0..2 {
        let bus = stage.bus();
        let mut client = Client::on_bus(&stage.bus_address());
        wait_for_name(&mut client);
        let (session, _) = client.create(AP0);
        let hold = client.open_and_wait(&session);
        bus.kill();
        // The bus is away, and so is its client, but not what it holds.
        client.wait_for_end();
        assert!(stage.connect().sessions().iter().any(|session| session["is_open"] == true));
        drop(hold);
        stage.wait_until_untouched();
    }
    daemon.end();
}

#[test]
fn rights_on_the_bus_are_those_of_the_caller() {
    let stage = Stage::new();
    let _bus = stage.bus();
    let daemon = stage.start_with(["--bus", &stage.bus_address(), "--group", "users"]);
    wait_for_name(&mut Client::on_bus(&stage.bus_address()));
    as_user(1000, 65_534, || {
        let mut client = Client::on_bus(&stage.bus_address());
        let (session, _) = client.create(AP0);
        assert_eq!(client.open(&session).unwrap_err().short(), "AccessDenied");
        let owned = bus_call(&mut client, "RequestName", &(BUS_NAME, 0_u32)).unwrap_err();
        assert_eq!(owned.short(), "AccessDenied", "nobody but root may have the name");
    });
    as_user(1000, 100, || {
        let mut client = Client::on_bus(&stage.bus_address());
        let (session, _) = client.create(AP0);
        drop(client.open_and_wait(&session));
    });
    daemon.end();
}
