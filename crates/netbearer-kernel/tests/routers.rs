//! What routers say on a link: what they announce, which routes and addresses the kernel makes of it, and for how long.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::{
    net::{IpAddr, Ipv6Addr},
    process::Stdio,
    time::Duration,
};

use futures_util::future::poll_immediate;
use netbearer_engine::Clock;
use netbearer_kernel::{
    Address, AddressSpec, Announcement, BootClock, Changes, Requests, Route, RouteSpec, RouterOption, RouterPreference,
    Sysctl, Watcher, solicit_routers, write_sysctl,
};
use netbearer_lab::{Capture, Lab, Preference, Record, RouterAdvertisement};
use netbearer_types::Moment;
use serde_json::{Value, json};
use support::{AP0, in_lab, in_namespace, ip, ip_json, wait_until, watcher};

const PATIENCE: Duration = Duration::from_secs(10);

fn v6(text: &str) -> Ipv6Addr {
    text.parse().expect("an IPv6 address")
}

fn server(text: &str) -> RouterOption {
    RouterOption::RecursiveServer(v6(text))
}

fn search(name: &str) -> RouterOption {
    RouterOption::SearchDomain(name.to_owned())
}

/// Sets `ap0` up and waits for its carrier.
async fn connect(lab: &Lab, watcher: &mut Watcher) {
    lab.access_point("ap0").expect("the access point").set_administratively_up(true).expect("up");
    wait_until(watcher, |watcher| watcher.cache().link(AP0).is_some_and(|link| link.carrier)).await;
}

fn advertise(lab: &Lab, advertisement: &RouterAdvertisement) {
    lab.access_point("ap0").expect("the access point").advertise(advertisement).expect("sent");
}

fn announced(clock: &BootClock, watcher: &Watcher) -> Vec<RouterOption> {
    watcher.cache().announcements_of(AP0, clock.now()).map(|one| one.option.clone()).collect()
}

async fn wait_for_announced(clock: &BootClock, watcher: &mut Watcher, expected: &[RouterOption]) {
    wait_until(watcher, |watcher| announced(clock, watcher) == expected).await;
}

/// True if it ends in so many seconds, give or take two.
fn ends_in(end: Option<Moment>, clock: &BootClock, seconds: u64) -> bool {
    end.is_some_and(|end| (end - clock.now()).as_secs().abs_diff(seconds) <= 2)
}

#[test]
fn what_a_router_announces_is_shown_until_it_expires_or_is_taken_back() {
    in_lab(|lab| async move {
        let (clock, mut watcher) = watcher().await;
        connect(&lab, &mut watcher).await;
        let names = b"\x04corp\x07example\0";
        let domain = |seconds: u32| [&[0, 0][..], &seconds.to_be_bytes(), names].concat();
        let nat64 = [&0x0258_u16.to_be_bytes()[..], &v6("64:ff9b::").octets()[..12]].concat();
        let portal = RouterOption::CaptivePortal("https://portal.example/api".to_owned());
        let prefix = RouterOption::Nat64Prefix { prefix: v6("64:ff9b::"), length: 96 };
        let advertisement = RouterAdvertisement::new(600, Preference::Medium)
            .servers(900, &[v6("2001:db8::53"), v6("fe80::1")])
            .servers(1, &[v6("2001:db8::54")])
            .option(31, &domain(900))
            .option(37, b"https://portal.example/api")
            .option(38, &nat64)
            .option(200, b"from the future");
        let capture = Capture::start(lab.machine(), "ap0", "icmp6 and ip6[40] == 134").expect("tcpdump");
        advertise(&lab, &advertisement);

        let lasting = [server("2001:db8::53"), server("fe80::1"), search("corp.example"), portal, prefix];
        wait_for_announced(&clock, &mut watcher, &lasting).await;
        for Announcement { router, option, expires } in watcher.cache().announcements_of(AP0, clock.now()) {
            assert_eq!(*router, v6("fe80::1"));
            match option {
                RouterOption::CaptivePortal(_) => assert_eq!(*expires, None),
                RouterOption::Nat64Prefix { .. } => assert!(ends_in(*expires, &clock, 600), "{expires:?}"),
                _ => assert!(ends_in(*expires, &clock, 900), "{expires:?}"),
            }
        }
        assert!(ends_in(watcher.cache().next_expiry(), &clock, 600));

        advertise(
            &lab,
            &RouterAdvertisement::new(600, Preference::Medium)
                .servers(0, &[v6("2001:db8::53")])
                .option(31, &domain(0))
                .option(37, b"https://portal.example/v2"),
        );
        let portal = RouterOption::CaptivePortal("https://portal.example/v2".to_owned());
        wait_for_announced(&clock, &mut watcher, &[server("fe80::1"), portal, lasting[4].clone()]).await;

        let packets = capture.finish().expect("captured");
        assert_eq!(packets.len(), 2, "{packets:#?}");
        assert!(packets.iter().all(|packet| packet.contains("fe80::1 > ff02::1")), "{packets:#?}");
    });
}

#[test]
fn an_expiry_is_told_without_a_message_and_a_renewal_puts_it_off() {
    in_lab(|lab| async move {
        let (clock, suspends) = BootClock::start_with_injected_suspends().expect("a clock");
        let mut watcher = Watcher::open(clock.clone()).await.expect("a watcher");
        connect(&lab, &mut watcher).await;
        let [one, other] = ["2001:db8::53", "2001:db8::54"];
        let advertisement = |seconds| {
            RouterAdvertisement::new(0, Preference::Medium).servers(seconds, &[v6(one)]).servers(3_600, &[v6(other)])
        };
        advertise(&lab, &advertisement(600));
        wait_for_announced(&clock, &mut watcher, &[server(one), server(other)]).await;
        let first = watcher.cache().next_expiry();
        advertise(&lab, &advertisement(1_200));
        let changes = wait_until(&mut watcher, |watcher| watcher.cache().next_expiry() > first).await;
        assert!(changes.announcements.contains(&AP0), "{changes:?}");

        suspends.suspend(Duration::from_secs(900));
        assert_eq!(announced(&clock, &watcher).len(), 2, "prolonged");
        suspends.suspend(Duration::from_secs(900));
        assert_eq!(announced(&clock, &watcher), [server(other)], "an expired one is not shown");
        let changes = wait_until(&mut watcher, |watcher| {
            watcher.cache().next_expiry().is_some_and(|end| end > clock.now() + Duration::from_secs(600))
        })
        .await;
        assert!(changes.announcements.contains(&AP0), "{changes:?}");
    });
}

#[test]
fn a_short_announcement_wakes_its_owner_when_it_ends() {
    in_lab(|lab| async move {
        let (clock, mut watcher) = watcher().await;
        connect(&lab, &mut watcher).await;
        advertise(&lab, &RouterAdvertisement::new(0, Preference::Medium).servers(1, &[v6("2001:db8::53")]));
        wait_for_announced(&clock, &mut watcher, &[server("2001:db8::53")]).await;
        wait_until(&mut watcher, |watcher| watcher.cache().next_expiry().is_none()).await;
        assert!(announced(&clock, &watcher).is_empty());
        assert_eq!(clock.expirations(), 1, "the timer ran once");
    });
}

#[test]
fn announcements_end_with_the_carrier_they_were_heard_on() {
    in_lab(|lab| async move {
        let (clock, mut watcher) = watcher().await;
        let access_point = lab.access_point("ap0").expect("the access point");
        let cut: &dyn Fn() -> bool = &|| access_point.cut().is_ok();
        let unplug: &dyn Fn() -> bool = &|| access_point.unplug().is_ok();
        let set_down: &dyn Fn() -> bool = &|| access_point.set_administratively_up(false).is_ok();
        for lose in [cut, set_down, unplug] {
            connect(&lab, &mut watcher).await;
            advertise(&lab, &RouterAdvertisement::new(0, Preference::Medium).servers(900, &[v6("2001:db8::53")]));
            wait_for_announced(&clock, &mut watcher, &[server("2001:db8::53")]).await;
            assert!(lose());
            wait_for_announced(&clock, &mut watcher, &[]).await;
            assert!(watcher.cache().unheard().is_empty(), "the kernel will solicit by itself");
            // The access point that was unplugged is the last one.
            let _ = access_point.restore();
        }
    });
}

#[test]
fn a_flap_that_was_over_before_it_was_seen_leaves_the_link_unheard() {
    in_lab(|lab| async move {
        let (clock, mut watcher) = watcher().await;
        connect(&lab, &mut watcher).await;
        advertise(&lab, &RouterAdvertisement::new(0, Preference::Medium).servers(900, &[v6("2001:db8::53")]));
        wait_for_announced(&clock, &mut watcher, &[server("2001:db8::53")]).await;
        let clean = watcher.cache().clone();
        let link = clean.link(AP0).expect("the link").clone();
        let flapped = netbearer_kernel::Link { carrier_losses: link.carrier_losses + 1, ..(*link).clone() };
        let mut cache = clean;
        let changes = cache.apply(netbearer_kernel::Change::Link(flapped), clock.now());
        assert_eq!(cache.announcements_of(AP0, clock.now()).count(), 0, "it may be another network");
        assert!(cache.unheard().contains(&AP0) && changes.announcements.contains(&AP0));
    });
}

/// Another implementation of a router, which answers solicitations.
fn start_dnsmasq(lab: &Lab) -> (netbearer_lab::Program, Record<String>) {
    let namespace = lab.access_point("ap0").expect("the access point").namespace();
    let address = ["-6", "address", "add", "2001:db8:5::1/64", "dev", "port0", "nodad"];
    namespace.command("ip").args(address).output().expect("an address");
    let mut dnsmasq = namespace
        .command("dnsmasq")
        .args(["--no-daemon", "--leasefile-ro", "--conf-file=/dev/null", "--user=root", "--group=root", "--port=0"])
        .args(["--interface=port0", "--enable-ra", "--dhcp-range=2001:db8:5::,ra-only,64,600"])
        .args(["--dhcp-option=option6:dns-server,[2001:db8:5::53]", "--dhcp-option=option6:domain-search,lab.example"])
        .stderr(Stdio::piped())
        .spawn()
        .expect("dnsmasq");
    let log = dnsmasq.stderr_lines().expect("a pipe");
    log.wait_for_text("router advertisement", PATIENCE).expect("it serves");
    (dnsmasq, log)
}

#[test]
fn soliciting_brings_what_was_announced_before_anybody_listened() {
    in_lab(|lab| async move {
        let expected = [search("lab.example"), server("2001:db8:5::53")];
        let (clock, mut early) = watcher().await;
        connect(&lab, &mut early).await;
        assert!(early.cache().unheard().is_empty(), "this one has been there from the beginning");
        let _dnsmasq = start_dnsmasq(&lab);
        wait_for_announced(&clock, &mut early, &expected).await;
        // A link-local address that is still tentative cannot ask.
        wait_until(&mut early, |watcher| {
            watcher.cache().addresses_of(AP0).any(|one| is_link_local(one) && !one.tentative)
        })
        .await;

        let (clock, mut late) = watcher().await;
        assert!(announced(&clock, &late).is_empty(), "the kernel does not repeat it");
        assert!(late.cache().unheard().contains(&AP0));
        let capture = Capture::start(lab.machine(), "ap0", "icmp6 and ip6[40] == 133").expect("tcpdump");
        solicit_routers(AP0).expect("asked");
        late.solicited(AP0);
        assert!(late.cache().unheard().is_empty());
        let asked = capture.packets().wait_for_text("router solicitation", PATIENCE).expect("tcpdump saw it");
        assert!(asked.contains(" > ff02::2: ICMP6, router solicitation, length 8"), "{asked}");
        wait_for_announced(&clock, &mut late, &expected).await;

        late.resync().await.expect("a dump");
        assert!(late.cache().unheard().contains(&AP0), "what is read anew says nothing of routers");
        assert_eq!(announced(&clock, &late), expected, "but what was known is known");
    });
}

fn is_link_local(address: &Address) -> bool {
    matches!(address.address, IpAddr::V6(address) if address.is_unicast_link_local())
}

#[test]
fn soliciting_says_why_it_cannot() {
    in_namespace(|| async {
        let missing = solicit_routers(999).expect_err("there is no such interface");
        assert!(matches!(missing.raw_os_error(), Some(libc::ENODEV | libc::ENXIO)), "{missing}");
        ip("link add ap0 index 500 type veth peer name p0");
        let down = solicit_routers(AP0).expect_err("it is down");
        assert_eq!(down.raw_os_error(), Some(libc::ENETUNREACH));
        let (_clock, mut watcher) = watcher().await;
        ip("link set p0 up");
        ip("link set ap0 up");
        wait_until(&mut watcher, |_| !ip_json("-6 addr show dev ap0 tentative").is_empty()).await;
        let tentative = solicit_routers(AP0).expect_err("it has no usable address yet");
        assert_eq!(tentative.raw_os_error(), Some(libc::EADDRNOTAVAIL));
    });
}

fn advertised(watcher: &Watcher) -> Vec<Route> {
    watcher.cache().routes_over(AP0).filter(|route| route.is_advertised()).cloned().collect()
}

/// The only route to this destination that `ip` shows as one from an advertisement.
fn shown(destination: &str) -> Value {
    let mut routes = ip_json("-6 route show proto ra");
    routes.retain(|route| route["dst"] == destination);
    assert_eq!(routes.len(), 1, "{routes:#?}");
    routes.remove(0)
}

#[test]
fn routes_from_advertisements_have_gateway_metric_preference_and_expiry() {
    in_lab(|lab| async move {
        let (clock, mut watcher) = watcher().await;
        write_sysctl("ap0", Sysctl::AcceptRouteInformation, 64).expect("written");
        write_sysctl("ap0", Sysctl::DefaultRouterMetric, 20_500).expect("written");
        connect(&lab, &mut watcher).await;
        let advertisement = |seconds: u16| {
            RouterAdvertisement::new(seconds, Preference::High).prefix(v6("2001:db8:5::"), 7_200, 3_600).route(
                v6("2001:db8:77::"),
                48,
                900,
                Preference::Low,
            )
        };
        advertise(&lab, &advertisement(600));
        wait_until(&mut watcher, |watcher| advertised(watcher).len() == 2).await;

        for (destination, preference, seconds, word) in
            [("default", RouterPreference::High, 600, "high"), ("2001:db8:77::/48", RouterPreference::Low, 900, "low")]
        {
            let shown = shown(destination);
            let routes = advertised(&watcher);
            let route = routes.iter().find(|route| route.is_default() == (destination == "default")).expect("both");
            assert_eq!(route.gateway(), Some(IpAddr::V6(v6("fe80::1"))));
            assert_eq!(shown["gateway"], "fe80::1");
            assert_eq!(shown["metric"], route.metric);
            assert_eq!((route.preference, shown["pref"].as_str()), (preference, Some(word)));
            assert!(ends_in(route.expires, &clock, seconds), "{route:?}");
            assert!(shown["expires"].as_u64().expect("seconds").abs_diff(seconds) <= 2, "{shown}");
        }
        assert!(advertised(&watcher).iter().any(|route| route.is_default() && route.metric == 20_500));

        // The kernel says nothing of a route it renews.
        advertise(&lab, &advertisement(1_800));
        let renewed = |route: &Route| route.is_default() && ends_in(route.expires, &clock, 1_800);
        let changes = wait_until(&mut watcher, |watcher| advertised(watcher).iter().any(renewed)).await;
        assert!(changes.routes.contains(&AP0), "{changes:?}");
        assert!(shown("default")["expires"].as_u64().expect("seconds") > 1_790);

        advertise(&lab, &advertisement(0));
        wait_until(&mut watcher, |watcher| !advertised(watcher).iter().any(Route::is_default)).await;
        assert!(ip_json("-6 route show default").is_empty());
        quiet_down(&mut watcher).await;
        assert_eq!(watcher.resync().await.expect("a dump"), Changes::default(), "the changes told everything");
    });
}

#[test]
fn an_advertised_route_is_mirrored_with_our_tag_its_preference_and_an_end() {
    in_lab(|lab| async move {
        let (clock, mut watcher) = watcher().await;
        write_sysctl("ap0", Sysctl::AcceptRouteInformation, 64).expect("written");
        connect(&lab, &mut watcher).await;
        let advertisement = RouterAdvertisement::new(600, Preference::High).prefix(v6("2001:db8:5::"), 7_200, 3_600);
        advertise(&lab, &advertisement.route(v6("2001:db8:77::"), 48, 900, Preference::Low));
        wait_until(&mut watcher, |watcher| advertised(watcher).len() == 2).await;
        let requests = Requests::open().expect("requests");
        let mirrored = advertised(&watcher);
        let mirror = |route: &Route, lifetime| RouteSpec { table: 21_007, lifetime, ..RouteSpec::from(route) };
        let ours = || ip_json("-N -d -6 route show table 21007");
        for lifetime in [Some(300), Some(500), None] {
            for route in &mirrored {
                requests.replace_route(&mirror(route, lifetime)).await.expect("mirrored");
            }
            let shown = ours();
            assert_eq!(shown.len(), 2, "{shown:#?}");
            for entry in &shown {
                assert_eq!(entry["protocol"], netbearer_kernel::OUR_PROTOCOL.to_string());
                assert_eq!((&entry["gateway"], &entry["dev"]), (&json!("fe80::1"), &json!("ap0")));
                assert_eq!(entry["pref"], if entry["dst"] == "default" { "high" } else { "low" });
                match lifetime {
                    Some(seconds) => assert!(entry["expires"].as_u64().expect("seconds").abs_diff(seconds.into()) <= 2),
                    None => assert!(entry["expires"].is_null(), "{entry}"),
                }
            }
            let as_told = |route: &Route| match lifetime {
                Some(seconds) => ends_in(route.expires, &clock, seconds.into()),
                None => route.expires.is_none(),
            };
            wait_until(&mut watcher, |watcher| {
                watcher.cache().our_routes().count() == 2 && watcher.cache().our_routes().all(as_told)
            })
            .await;
        }
        for route in &mirrored {
            requests.delete_route(&mirror(route, None)).await.expect("removed");
            assert!(requests.delete_route(&mirror(route, None)).await.expect_err("it is gone").is_gone());
        }
        assert!(ours().is_empty());
        wait_until(&mut watcher, |watcher| watcher.cache().our_routes().count() == 0).await;
        assert_eq!(advertised(&watcher).len(), 2, "the kernel's own are there still");
    });
}

fn autoconfigured(watcher: &Watcher) -> Vec<Address> {
    let global = |address: &&Address| matches!(address.address, IpAddr::V6(_)) && !is_link_local(address);
    watcher.cache().addresses_of(AP0).filter(global).cloned().collect()
}

/// Waits until the kernel has nothing on the way: no detection of duplicates, whose addresses it tells at the end only, and
/// no message.
async fn quiet_down(watcher: &mut Watcher) {
    wait_until(watcher, |_| ip_json("-6 addr show dev ap0 tentative").is_empty()).await;
    while let Some(changes) = poll_immediate(watcher.changed()).await {
        changes.expect("the watcher goes on");
    }
}

#[test]
fn autoconfigured_addresses_show_their_kind_and_their_lifetimes() {
    in_lab(|lab| async move {
        lab.machine().set_sysctl("net/ipv6/conf/ap0/use_tempaddr", "2").expect("written");
        let (clock, mut watcher) = watcher().await;
        connect(&lab, &mut watcher).await;
        let advertisement = |valid, preferred| {
            RouterAdvertisement::new(600, Preference::Medium).prefix(v6("2001:db8:5::"), valid, preferred)
        };
        advertise(&lab, &advertisement(7_200, 3_600));
        wait_until(&mut watcher, |watcher| autoconfigured(watcher).iter().filter(|one| !one.tentative).count() == 2)
            .await;
        let told = ip_json("-6 addr show dev ap0 scope global");
        for address in autoconfigured(&watcher) {
            let entries = told[0]["addr_info"].as_array().expect("a list");
            let shown = entries.iter().find(|one| one["local"] == address.address.to_string()).expect("shown");
            assert_eq!(shown["temporary"] == true, address.temporary, "{shown}");
            assert_eq!(shown["mngtmpaddr"] == true, address.manages_temporary, "{shown}");
            assert_eq!(shown["dynamic"] == true, !address.permanent, "{shown}");
            let seconds = |key: &str| shown[key].as_u64().expect("seconds");
            assert!(ends_in(address.valid_until, &clock, seconds("valid_life_time")), "{address:?} {shown}");
            assert!(ends_in(address.preferred_until, &clock, seconds("preferred_life_time")), "{address:?} {shown}");
        }
        let kinds: Vec<_> = autoconfigured(&watcher).iter().map(|one| (one.temporary, one.manages_temporary)).collect();
        assert!(kinds.contains(&(true, false)) && kinds.contains(&(false, true)), "{kinds:?}");

        advertise(&lab, &advertisement(9_000, 0));
        let deprecated = |one: &Address| one.deprecated && !one.temporary && ends_in(one.valid_until, &clock, 9_000);
        let changes = wait_until(&mut watcher, |watcher| autoconfigured(watcher).iter().any(deprecated)).await;
        assert!(changes.addresses.contains(&AP0), "{changes:?}");
        quiet_down(&mut watcher).await;
        assert_eq!(watcher.resync().await.expect("a dump"), Changes::default(), "a dump tells the same lifetimes");

        ip("addr add 2001:db8:5::5/64 dev ap0 nodad");
        let given = |one: &Address| one.address == IpAddr::V6(v6("2001:db8:5::5"));
        wait_until(&mut watcher, |watcher| autoconfigured(watcher).iter().any(given)).await;
        let given = autoconfigured(&watcher).into_iter().find(given).expect("it is there");
        assert!(given.permanent && given.valid_until.is_none() && given.preferred_until.is_none());
    });
}

#[test]
fn an_optimistic_address_is_usable_before_detection_has_ended() {
    in_lab(|lab| async move {
        let (_clock, mut watcher) = watcher().await;
        // Long enough that nothing here is over by chance.
        lab.machine().set_sysctl("net/ipv6/neigh/ap0/retrans_time_ms", "3000").expect("written");
        for sysctl in [Sysctl::OptimisticDad, Sysctl::UseOptimistic] {
            assert_eq!(write_sysctl("ap0", sysctl, 1).expect("written"), 0);
        }
        connect(&lab, &mut watcher).await;
        let advertisement = RouterAdvertisement::new(600, Preference::Medium)
            .source_hardware_address([2, 0, 0, 0, 0, 1])
            .prefix(v6("2001:db8:5::"), 7_200, 3_600);
        advertise(&lab, &advertisement);
        wait_until(&mut watcher, |watcher| !autoconfigured(watcher).is_empty()).await;
        let address = autoconfigured(&watcher).remove(0);
        assert!(address.optimistic && address.tentative && !address.duplicate, "{address:?}");
        let told = ip_json("-6 addr show dev ap0 scope global optimistic");
        assert_eq!(told[0]["addr_info"][0]["local"], address.address.to_string());
        let chosen = ip_json("-6 route get 2001:db8:99::1");
        assert_eq!(chosen[0]["prefsrc"], address.address.to_string(), "new traffic starts from it already");
        std::net::UdpSocket::bind((address.address, 0)).expect("it can be bound to");

        let requests = Requests::open().expect("requests");
        let given = AddressSpec { optimistic: true, ..AddressSpec::new(AP0, IpAddr::V6(v6("2001:db8:5::5")), 64) };
        requests.add_address(&given).await.expect("added");
        let is_given = |one: &Address| one.address == given.address;
        wait_until(&mut watcher, |watcher| autoconfigured(watcher).iter().any(is_given)).await;
        let added = autoconfigured(&watcher).into_iter().find(is_given).expect("it is there");
        assert!(added.optimistic && added.is_ours(), "{added:?}");

        wait_until(&mut watcher, |watcher| autoconfigured(watcher).iter().all(|one| !one.optimistic && !one.tentative))
            .await;
        assert!(ip_json("-6 addr show dev ap0 scope global tentative").is_empty());
    });
}

#[test]
fn a_duplicate_is_told_as_one() {
    in_lab(|lab| async move {
        let (_clock, mut watcher) = watcher().await;
        connect(&lab, &mut watcher).await;
        let namespace = lab.access_point("ap0").expect("the access point").namespace();
        let taken = ["-6", "address", "add", "2001:db8:5::5/64", "dev", "port0", "nodad"];
        namespace.command("ip").args(taken).output().expect("an address");
        ip("addr add 2001:db8:5::5/64 dev ap0");
        wait_until(&mut watcher, |watcher| autoconfigured(watcher).iter().any(|one| one.duplicate)).await;
        let told = ip_json("-6 addr show dev ap0 dadfailed");
        assert_eq!(told[0]["addr_info"][0]["local"], "2001:db8:5::5");
    });
}
