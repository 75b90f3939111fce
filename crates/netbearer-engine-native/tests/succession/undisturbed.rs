//! What stands is never missing, and connections over it live on.

use std::{net::IpAddr, sync::Arc};

use netbearer_engine::{Engine, conformance};
use netbearer_engine_native::NativeEngine;
use netbearer_kernel::BootClock;
use netbearer_lab::{AccessPointPlan, Dhcp, Fault, Script, Tunnel};
use netbearer_types::{Addressing, BypassVpn, Profile, Target};
use tokio::time::timeout;

use crate::{
    driver::identifier,
    process::Task,
    stage::{AP0, AP1, DEADLINE, Scene, assert_alive, assert_nothing_removed, kill, run, settings},
};

fn configured<'a>(interfaces: impl IntoIterator<Item = (&'a str, Profile)>) -> Task {
    let configured = interfaces.into_iter().map(|(name, profile)| (name.to_owned(), profile)).collect();
    Task { configured, ..Task::default() }
}

#[tokio::test]
async fn the_promises_of_the_port_are_kept() {
    let scene = Scene::with_dnsmasq();
    scene.killed_on_ap0();
    let settings = settings(scene.directory(), &[AP0.to_owned()]);
    let engine = NativeEngine::start(settings, BootClock::start().unwrap()).await.unwrap();
    let access_point = identifier(AP0);
    let kept = conformance::resumption(engine, &access_point);
    timeout(DEADLINE, kept).await.expect("the engine answers in time").unwrap();
    scene.assert_as_before();
}

#[tokio::test]
async fn a_leased_link_goes_on_and_its_lease_is_confirmed_beside() {
    let scene = Arc::new(Scene::with_dnsmasq());
    let process = scene.process(configured([(AP0, Profile::default())]));
    let mut conversation = scene.conversation();
    assert_alive(&mut conversation);
    let monitor = scene.monitor();
    kill(process);
    let noted = scene.noted(AP0);

    let mut successor = scene.successor(&[AP0]).await;
    assert!(successor.is_up(AP0), "it is told to be up from the first report on: {:?}", successor.report(AP0));
    let gateway = IpAddr::from(scene.access_point(AP0).subnet().gateway());
    assert_eq!(successor.link(AP0).interface.name_servers, [gateway], "they are known from the note");
    successor.configure(AP0).await;
    println!("reached {:?} after the start", successor.age());
    successor.engine.forget_resumed();
    assert_alive(&mut conversation);
    // The server has prolonged it.
    successor.meanwhile(&scene, move |scene| scene.wait_for_other_note(AP0, &noted)).await;
    assert_alive(&mut conversation);
    let lines = assert_nothing_removed(monitor);
    let address = format!("inet {}", successor.link(AP0).interface.addresses[0].address);
    let set = lines.iter().filter(|line| line.contains(&address)).count();
    assert_eq!(set, 2, "once for what is left of the lease, and once prolonged: {lines:#?}");

    successor.release(AP0).await;
    assert_eq!(successor.link(AP0).interface.name_servers, [] as [IpAddr; 0]);
    scene.assert_as_before();
}

#[tokio::test]
async fn no_server_is_waited_for_and_an_answer_that_never_comes_changes_nothing() {
    let scene = Arc::new(Scene::new([AccessPointPlan::new(AP0).dhcp(Dhcp::Scripted(Script::default()))]));
    // Nothing is remembered by which the network could be known without its server.
    let profile = Profile { dhcp_release: true, ..Profile::default() };
    let process = scene.process(configured([(AP0, profile.clone())]));
    let mut conversation = scene.conversation();
    let server = scene.access_point(AP0).dhcp_server().unwrap();
    server.fail(Fault::Silent);
    let asked = server.exchanges().mark();
    let monitor = scene.monitor();
    kill(process);

    let mut successor = scene.successor(&[AP0]).await;
    successor.reach(AP0, Target::Configured, &profile).await;
    // As often as it asks before it takes the lease for what it was.
    successor
        .meanwhile(&scene, move |scene| {
            let exchanges = scene.access_point(AP0).dhcp_server().unwrap().exchanges();
            let mut heard = 0;
            exchanges.wait_for_since(asked, "four questions", DEADLINE, |_| {
                heard += 1;
                heard == 4
            })
        })
        .await
        .unwrap();
    assert_alive(&mut conversation);
    assert!(successor.is_up(AP0));
    assert_nothing_removed(monitor);
    successor.release(AP0).await;
    scene.assert_as_before();
}

#[tokio::test]
async fn static_addresses_of_both_families_and_the_mtu_go_on() {
    let scene = Scene::new([AccessPointPlan::new(AP0)]);
    let subnet = scene.access_point(AP0).subnet();
    let profile = Profile {
        addressing: Addressing::Static,
        addresses: [format!("{}/24", subnet.host(77)), "2001:db8:77::7/64".to_owned()]
            .map(|address| address.parse().unwrap())
            .into(),
        gateways: vec![subnet.gateway().into()],
        mtu: Some(1400),
        ..Profile::default()
    };
    let process = scene.process(configured([(AP0, profile.clone())]));
    let mut conversation = scene.conversation();
    let monitor = scene.monitor();
    kill(process);

    let mut successor = scene.successor(&[AP0]).await;
    // The profile was changed meanwhile, which holds from the next time on.
    let changed = Profile { addresses: vec![format!("{}/24", subnet.host(78)).parse().unwrap()], mtu: None, ..profile };
    successor.reach(AP0, Target::Configured, &changed).await;
    assert_alive(&mut conversation);
    assert_eq!(successor.link(AP0).interface.mtu, 1400);
    assert_nothing_removed(monitor);

    successor.release(AP0).await;
    scene.assert_as_before();
    successor.reach(AP0, Target::Configured, &changed).await;
    assert!(scene.ip("-brief address show dev ap0").contains(&subnet.host(78).to_string()));
    successor.release(AP0).await;
    scene.assert_as_before();
}

#[tokio::test]
async fn what_routers_announce_goes_on_and_is_heard_again() {
    let scene = Scene::new([AccessPointPlan::new(AP0).dhcp(Dhcp::Scripted(Script::default())).services()]);
    let process = scene.process(configured([(AP0, Profile::default())]));
    let has_way = || scene.lab.machine().routes("21001").unwrap().iter().any(|route| route.contains("via fe80"));
    scene.wait_until("a way by IPv6", || has_way() && scene.rules().contains("from 2001:db8:a00:"));
    let rules = scene.rules();
    let monitor = scene.monitor();
    kill(process);

    let mut successor = scene.successor(&[AP0]).await;
    successor.configure(AP0).await;
    let is_server = |address: &IpAddr| address.is_ipv6();
    successor
        .until(AP0, |report| {
            let netbearer_types::Level::Present(link) = &report.level else { return false };
            link.interface.name_servers.iter().any(is_server)
        })
        .await;
    assert_eq!(scene.rules(), rules);
    assert_nothing_removed(monitor);
    successor.release(AP0).await;
    scene.assert_as_before();
}

#[tokio::test]
async fn a_link_that_has_only_routers_goes_on() {
    let scene = Scene::new([AccessPointPlan::new(AP0).services()]);
    let process = scene.process(configured([(AP0, Profile::default())]));
    let monitor = scene.monitor();
    kill(process);
    let mut successor = scene.successor(&[AP0]).await;
    successor.configure(AP0).await;
    assert!(successor.is_up(AP0));
    assert_nothing_removed(monitor);
    successor.release(AP0).await;
    scene.assert_as_before();
}

#[test]
fn what_keeps_traffic_out_of_a_tunnel_or_in_it_stays() {
    for bypass_vpn in [BypassVpn::Never, BypassVpn::Group, BypassVpn::All] {
        run(async {
            let scene = Scene::with_dnsmasq();
            // It would get an address of its own some time later.
            scene.lab.machine().set_sysctl("net/ipv6/conf/default/disable_ipv6", "1").unwrap();
            let _tunnel = Tunnel::open(scene.lab.machine(), "wg0").unwrap();
            scene.ip("address add 10.99.0.2/32 dev wg0");
            scene.ip("route add default dev wg0 table 51820");
            scene.ip("rule add not fwmark 51820 table 51820");
            scene.ip("rule add table main suppress_prefixlength 0");
            scene.remember();
            let process = scene.process(configured([(AP0, Profile { bypass_vpn, ..Profile::default() })]));
            let rules = scene.rules();
            let monitor = scene.monitor();
            kill(process);
            let mut successor = scene.successor(&[AP0]).await;
            successor.configure(AP0).await;
            assert_eq!(scene.rules(), rules, "{bypass_vpn}");
            assert_nothing_removed(monitor);
            successor.release(AP0).await;
            scene.assert_as_before();
        });
    }
}

#[tokio::test]
async fn of_two_links_each_keeps_its_table_and_an_address_that_both_have_its_owner() {
    let subnet = netbearer_lab::Subnet::new([10, 10, 9, 0].into(), 24).unwrap();
    let plan = |name| AccessPointPlan::new(name).dhcp(Dhcp::Dnsmasq).subnet(subnet);
    let scene = Scene::new([plan(AP0), plan(AP1)]);
    let profile = |preference| Profile { preference, ..Profile::default() };
    // The second one is configured first, so that the order of interfaces is not that of their numbers.
    let task = configured([(AP1, profile(1))]);
    let first = scene.process(Task { directory: scene.directory().to_owned(), ..task });
    kill(first);
    let resumed = vec![AP1.to_owned()];
    let second = scene.process(Task { resumed, ..configured([(AP0, profile(0)), (AP1, profile(1))]) });
    let (rules, own) = (scene.rules(), [21_001, 21_002].map(|table| scene.ip(&format!("route show table {table}"))));
    assert!(own[0].contains("dev ap1") && own[1].contains("dev ap0"), "{own:?}");
    let mut conversation = scene.conversation();
    assert_eq!(conversation.access_point(), AP1);
    let monitor = scene.monitor();
    kill(second);

    let mut successor = scene.successor(&[AP0, AP1]).await;
    successor.reach(AP0, Target::Configured, &profile(0)).await;
    successor.reach(AP1, Target::Configured, &profile(1)).await;
    assert_alive(&mut conversation);
    assert_eq!(scene.rules(), rules);
    assert_eq!([21_001, 21_002].map(|table| scene.ip(&format!("route show table {table}"))), own);
    assert_nothing_removed(monitor);
    successor.release(AP0).await;
    assert_alive(&mut conversation);
    successor.release(AP1).await;
    scene.assert_as_before();
}

#[tokio::test]
async fn a_link_whose_carrier_is_all_that_is_wanted_stays_up_without_addresses() {
    let scene = Scene::new([AccessPointPlan::new(AP0).services()]);
    let process = scene.process(Task { sensed: vec![AP0.to_owned()], ..Task::default() });
    let monitor = scene.monitor();
    kill(process);
    let mut successor = scene.successor(&[AP0]).await;
    successor.reach(AP0, Target::Sensed, &Profile::default()).await;
    successor.engine.forget_resumed();
    assert!(successor.link(AP0).carrier && successor.link(AP0).interface.addresses.is_empty());
    assert_nothing_removed(monitor);
    successor.configure(AP0).await;
    assert!(successor.is_up(AP0), "by IPv6");
    successor.release(AP0).await;
    scene.assert_as_before();
}
