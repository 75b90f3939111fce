//! The cache is the kernel's truth: after changes of every kind, after an overrun, and about the carrier at once.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::{
    collections::BTreeSet,
    net::IpAddr,
    time::{Duration, Instant},
};

use futures_util::future::poll_immediate;
use netbearer_kernel::{Cache, Part, RouteKind, RuleAction, Watcher};
use netbearer_types::Family;
use serde_json::Value;
use support::{AP0, Elsewhere, Veth, in_namespace, ip, ip_batch, ip_json, wait_until, watcher};

/// A line for each object, as both sides can tell it.
fn told_by_cache(cache: &Cache) -> BTreeSet<String> {
    let name = |index: u32| cache.link(index).map_or("?", |link| link.name.as_str());
    let mut lines = BTreeSet::new();
    for link in cache.links().values() {
        lines.insert(format!(
            "link {} {} {} up={} carrier={} running={} mtu={} controller={:?}",
            link.index,
            link.name,
            link.hardware_address,
            link.administratively_up,
            link.carrier,
            link.running,
            link.mtu,
            link.controller.map(name),
        ));
    }
    for address in cache.addresses() {
        lines.insert(format!(
            "address {} {}/{} {:?} tentative={}",
            name(address.index),
            address.address,
            address.prefix_length,
            address.peer,
            address.tentative,
        ));
    }
    for route in cache.routes() {
        lines.insert(format!(
            "route {:?} {} {}/{} metric={} protocol={} {:?} {:?}",
            route.kind,
            route.table,
            route.destination,
            route.prefix_length,
            route.metric,
            route.protocol,
            route.preferred_source,
            route.next_hops.iter().map(|hop| (hop.gateway, hop.interface.map(name))).collect::<Vec<_>>(),
        ));
    }
    for rule in cache.rules() {
        lines.insert(format!(
            "rule {:?} {} from={:?} mark={:x?} mask={:x?} oif={:?} {:?} protocol={}",
            rule.family,
            rule.priority,
            rule.source,
            rule.mark,
            rule.mark_mask.filter(|_| rule.mark.is_some_and(|mark| mark != 0)),
            rule.output_interface,
            rule.action,
            rule.protocol,
        ));
    }
    lines
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

fn number(value: &Value, key: &str) -> u64 {
    value[key].as_u64().unwrap_or_default()
}

fn told_by_ip() -> BTreeSet<String> {
    let has =
        |entry: &Value, flag: &str| entry["flags"].as_array().is_some_and(|flags| flags.iter().any(|one| one == flag));
    let mut lines = BTreeSet::new();
    for link in ip_json("-N -d addr show") {
        lines.insert(format!(
            "link {} {} {} up={} carrier={} running={} mtu={} controller={:?}",
            number(&link, "ifindex"),
            text(&link, "ifname"),
            text(&link, "address"),
            has(&link, "UP"),
            has(&link, "LOWER_UP"),
            // iproute2 leaves RUNNING out; what it shows instead follows from it for links that are up.
            has(&link, "UP") && !has(&link, "NO-CARRIER"),
            number(&link, "mtu"),
            link["master"].as_str(),
        ));
        for address in link["addr_info"].as_array().expect("a list") {
            let peer: Option<IpAddr> = address["address"].as_str().map(|text| text.parse().expect("an address"));
            lines.insert(format!(
                "address {} {}/{} {peer:?} tentative={}",
                text(&link, "ifname"),
                text(address, "local"),
                number(address, "prefixlen"),
                address["tentative"] == true,
            ));
        }
    }
    for (family, option) in [(Family::V4, "-4"), (Family::V6, "-6")] {
        for route in ip_json(&format!("-N -d {option} route show table all")) {
            lines.extend(route_told_by_ip(family, &route));
        }
        for rule in ip_json(&format!("-N -d {option} rule show")) {
            let hexadecimal = |key: &str| {
                rule[key].as_str().map(|text| u32::from_str_radix(text.trim_start_matches("0x"), 16).expect("a number"))
            };
            let mark = hexadecimal("fwmark");
            let source: Option<(IpAddr, u64)> = rule["src"].as_str().filter(|source| *source != "all").map(|source| {
                let length = if family == Family::V4 { 32 } else { 128 };
                (source.parse().expect("an address"), rule["srclen"].as_u64().unwrap_or(length))
            });
            let action = match rule["action"].as_str() {
                Some("unreachable") => RuleAction::Unreachable,
                Some("blackhole") => RuleAction::Blackhole,
                _ => RuleAction::Table(text(&rule, "table").parse().expect("a table")),
            };
            let mask = mark.map(|_| hexadecimal("fwmask").unwrap_or(u32::MAX));
            lines.insert(format!(
                "rule {family:?} {} from={source:?} mark={mark:x?} mask={mask:x?} oif={:?} {action:?} protocol={}",
                number(&rule, "priority"),
                rule["oif"].as_str(),
                text(&rule, "protocol"),
            ));
        }
    }
    lines
}

fn route_told_by_ip(family: Family, route: &Value) -> Option<String> {
    let table = route["table"].as_str().unwrap_or("254");
    if table == "255" {
        return None;
    }
    let kind = match route["type"].as_str() {
        None | Some("unicast" | "1") => RouteKind::Unicast,
        Some("blackhole" | "6") => RouteKind::Blackhole,
        Some("unreachable" | "7") => RouteKind::Unreachable,
        Some("multicast" | "5") => RouteKind::Other(5),
        Some(other) => panic!("an unexpected kind of route: {other}"),
    };
    let destination = match (text(route, "dst"), family) {
        ("default", Family::V4) => "0.0.0.0/0".to_owned(),
        ("default", Family::V6) => "::/0".to_owned(),
        (network, _) if network.contains('/') => network.to_owned(),
        (host, Family::V4) => format!("{host}/32"),
        (host, Family::V6) => format!("{host}/128"),
    };
    let source: Option<IpAddr> = route["prefsrc"].as_str().map(|text| text.parse().expect("an address"));
    let way = |hop: &Value| {
        let gateway: Option<IpAddr> = hop["gateway"].as_str().map(|text| text.parse().expect("an address"));
        (gateway, hop["dev"].as_str().map(str::to_owned))
    };
    let ways: Vec<_> = match route["nexthops"].as_array() {
        Some(hops) => hops.iter().map(way).collect(),
        None => Some(way(route)).into_iter().filter(|way| *way != (None, None)).collect(),
    };
    let metric = number(route, "metric");
    let protocol = text(route, "protocol");
    Some(format!("route {kind:?} {table} {destination} metric={metric} protocol={protocol} {source:?} {ways:?}"))
}

/// Reads until nothing more comes, then compares.
async fn assert_true(watcher: &mut Watcher, after: &str) {
    let mut differences = String::new();
    let deadline = Instant::now() + Duration::from_secs(10);
    while Instant::now() < deadline {
        while let Some(changes) = poll_immediate(watcher.changed()).await {
            changes.expect("the watcher goes on");
        }
        let (ours, theirs) = (told_by_cache(watcher.cache()), told_by_ip());
        if ours == theirs {
            return;
        }
        differences = format!(
            "only the cache: {:#?}\nonly ip: {:#?}",
            ours.difference(&theirs).collect::<Vec<_>>(),
            theirs.difference(&ours).collect::<Vec<_>>()
        );
        // The kernel may be telling something at this moment. If it is not, what differs now differs for ever.
        if tokio::time::timeout(Duration::from_millis(1500), watcher.changed()).await.is_err() {
            break;
        }
    }
    panic!("after {after}:\n{differences}");
}

/// A row of numbers that looks random and is the same each time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

fn random_change(dice: &mut Dice) -> String {
    let link = format!("v{}", dice.roll(3));
    let subnet = dice.roll(3);
    let host = dice.roll(3) + 1;
    let verb = ["add", "del"][usize::from(dice.roll(2) == 0)];
    let route_verb = ["add", "del", "replace", "append"][usize::try_from(dice.roll(4)).expect("small")];
    let metric = 100 * dice.roll(2);
    let table = 254 - dice.roll(2) * 100;
    match dice.roll(16) {
        0 => format!("link set {link} up"),
        1 => format!("link set {link} down"),
        2 => format!("link set {link} mtu {}", 1400 + dice.roll(3)),
        3 => format!("link set {link} master br0"),
        4 => format!("link set {link} nomaster"),
        5 => format!("link del {link}"),
        6 => format!("link add {link} type veth peer name p{link}"),
        7 => format!("addr {verb} 10.0.{subnet}.{host}/24 dev {link}"),
        8 => format!("addr {verb} 2001:db8:{subnet}::{host}/64 dev {link}"),
        9 => format!("addr {verb} 10.9.0.{host} peer 10.9.1.{host} dev {link}"),
        10 => format!("route {route_verb} 192.0.2.0/24 via 10.0.{subnet}.9 metric {metric} table {table}"),
        11 => format!(
            "-6 route {route_verb} 2001:db8:f::/48 via 2001:db8:{subnet}::9 metric {} table {table}",
            metric + 1
        ),
        12 => format!("route {route_verb} unreachable 198.51.100.0/24 metric {metric} table {table} proto 110"),
        13 => format!(
            "route {route_verb} 203.0.113.0/24 metric {metric} nexthop via 10.0.0.9 nexthop via 10.0.{subnet}.8 weight 2"
        ),
        14 => format!("rule {verb} priority {} fwmark 0x{host}/0xff table 100 protocol 110", 5000 + subnet),
        _ => format!("-6 rule {verb} priority {} from 2001:db8::{host} oif {link} table 100", 5000 + subnet),
    }
}

/// Applies it if it is possible now.
fn attempt(arguments: &str) {
    std::process::Command::new("ip").args(arguments.split_whitespace()).output().expect("iproute2 is installed");
}

#[test]
fn the_cache_equals_what_ip_shows_after_random_changes() {
    in_namespace(|| async {
        ip("link add br0 type bridge");
        (0..3).for_each(|number| ip(&format!("link add v{number} up type veth peer name pv{number}")));
        let (_clock, mut watcher) = watcher().await;
        assert_true(&mut watcher, "the first dump").await;
        let mut dice = Dice(0x6e62);
        for round in 0..40 {
            let changes: Vec<String> = (0..12).map(|_| random_change(&mut dice)).collect();
            changes.iter().for_each(|change| attempt(change));
            assert_true(&mut watcher, &format!("round {round}: {changes:#?}")).await;
        }
        assert_eq!(watcher.overruns(), 0, "this was to be shown without dumps after overruns");
    });
}

#[test]
fn routes_that_the_kernel_removes_without_a_word_leave_the_cache() {
    in_namespace(|| async {
        ip("link add ap0 index 500 type veth peer name p0");
        ip("link set p0 up");
        let (_clock, mut watcher) = watcher().await;
        let default = |watcher: &Watcher| watcher.cache().routes().filter(|route| route.is_default()).count();
        for silence in ["link set ap0 down", "addr del 10.0.0.5/24 dev ap0", "link del ap0"] {
            attempt("link set ap0 up");
            attempt("addr add 10.0.0.5/24 dev ap0");
            ip("route add default via 10.0.0.1 src 10.0.0.5");
            wait_until(&mut watcher, |watcher| default(watcher) == 1).await;
            ip(silence);
            wait_until(&mut watcher, |watcher| default(watcher) == 0).await;
        }
    });
}

#[test]
fn an_overrun_ends_with_the_true_cache() {
    in_namespace(|| async {
        let clock = netbearer_kernel::BootClock::start().expect("a clock");
        let mut watcher = Watcher::open_with_buffer(clock, 4096).await.expect("a watcher");
        ip("link add ap0 index 500 type veth peer name p0");
        ip("link set ap0 up");
        for host in 1..100 {
            ip(&format!("addr add 10.0.0.{host}/24 dev ap0"));
        }
        ip("addr del 10.0.0.1/24 dev ap0");
        assert_true(&mut watcher, "the flood").await;
        assert!(watcher.overruns() > 0, "the flood was to overrun a buffer of a few messages");
        let overruns = watcher.overruns();
        ip("addr add 10.1.0.1/24 dev ap0");
        assert_true(&mut watcher, "one more change").await;
        assert_eq!(watcher.overruns(), overruns);
    });
}

#[test]
fn reading_everything_anew_says_so_when_there_is_more_to_read() {
    in_namespace(|| async {
        let (_clock, mut watcher) = watcher().await;
        ip("link set lo up");
        ip_batch((0..5_000).map(|host| format!("route add unreachable 10.9.{}.{}", host / 250, host % 250)));
        watcher.resync().await.expect("a dump");
        assert!(watcher.is_behind(), "more was told than is read in one go");
        ip_batch((0..5_000).map(|host| format!("route del unreachable 10.9.{}.{}", host / 250, host % 250)));
        while watcher.is_behind() {
            watcher.changed().await.expect("the rest");
        }
        assert_true(&mut watcher, "a flood").await;
    });
}

#[test]
fn dropping_the_future_loses_nothing() {
    in_namespace(|| async {
        ip("link add ap0 index 500 type veth peer name p0");
        let (_clock, mut watcher) = watcher().await;
        for address in 1..50 {
            ip(&format!("addr add 10.0.0.{address}/24 dev ap0"));
            // Dropped at its first wait, whatever it has read until then.
            drop(poll_immediate(watcher.changed()).await);
        }
        for part in Part::ALL {
            drop(poll_immediate(watcher.resync()).await);
            ip(&format!("rule add priority {} table 100", 6000 + watcher.cache().rules().count()));
            drop(poll_immediate(watcher.changed()).await);
            assert!(watcher.cache().link(AP0).is_some(), "{part:?}");
        }
        assert_true(&mut watcher, "many dropped futures").await;
    });
}

#[test]
fn changes_name_what_changed_and_an_idle_kernel_changes_nothing() {
    in_namespace(|| async {
        do_not_detect_duplicates();
        ip("link add ap0 index 500 type veth peer name p0");
        ip("link set p0 up");
        ip("link set ap0 up");
        let (clock, mut watcher) = watcher().await;
        // Either end may hear of its carrier last.
        wait_until(&mut watcher, |watcher| {
            ["ap0", "p0"].into_iter().all(|name| watcher.cache().link_named(name).is_some_and(|link| link.running))
        })
        .await;
        assert_true(&mut watcher, "the start").await;
        assert!(watcher.resync().await.expect("a dump").is_empty(), "nothing was unknown");
        ip("addr add 10.0.0.5/24 dev ap0");
        let mut changes = watcher.changed().await.expect("a change");
        while !changes.routes.contains(&AP0) {
            changes += watcher.changed().await.expect("the on-link route");
        }
        assert_eq!((&changes.addresses, &changes.interfaces()), (&BTreeSet::from([AP0]), &BTreeSet::from([AP0])));
        assert!(!changes.rules && changes.links.is_empty(), "{changes:?}");
        ip("rule add priority 6000 table 100");
        assert!(watcher.changed().await.expect("a change").rules);
        assert_eq!(clock.expirations(), 0, "without suspects no timer runs");
    });
}

/// How long the watcher takes to see the carrier of `ap0` as wanted.
async fn seen_after(watcher: &mut Watcher, carrier: bool) -> Duration {
    let start = Instant::now();
    wait_until(watcher, |watcher| watcher.cache().link(AP0).is_some_and(|link| link.carrier == carrier)).await;
    start.elapsed()
}

fn carrier_loss_is_seen_quickly(veth: Veth) {
    in_namespace(|| async move {
        let elsewhere = Elsewhere::new();
        veth.make(&elsewhere);
        let (_clock, mut watcher) = watcher().await;
        watcher.set_suspects(BTreeSet::from([AP0]));
        seen_after(&mut watcher, true).await;
        let mut slowest = Duration::ZERO;
        for _ in 0..10 {
            elsewhere.ip("link set p0 down");
            slowest = slowest.max(seen_after(&mut watcher, false).await);
            // Right after another flap.
            elsewhere.ip("link set p0 up");
            slowest = slowest.max(seen_after(&mut watcher, true).await);
        }
        println!("{veth:?}: slowest of 20 carrier changes {slowest:?}");
        assert!(slowest < Duration::from_millis(50), "{slowest:?}");
    });
}

#[test]
fn carrier_loss_on_an_ordinary_veth_is_seen_within_50_ms_also_after_another_flap() {
    carrier_loss_is_seen_quickly(Veth::Ordinary);
}

#[test]
fn carrier_loss_on_a_card_like_veth_is_seen_within_50_ms_also_after_another_flap() {
    carrier_loss_is_seen_quickly(Veth::CardLike);
}

fn every_quick_flap_is_counted(veth: Veth) {
    in_namespace(|| async move {
        let elsewhere = Elsewhere::new();
        veth.make(&elsewhere);
        let (_clock, mut watcher) = watcher().await;
        watcher.set_suspects(BTreeSet::from([AP0]));
        seen_after(&mut watcher, true).await;
        let losses = |watcher: &Watcher| watcher.cache().link(AP0).map_or(0, |link| link.carrier_losses);
        let before = losses(&watcher);
        for _ in 0..20 {
            elsewhere.ip("link set p0 down");
            elsewhere.ip("link set p0 up");
        }
        wait_until(&mut watcher, |watcher| losses(watcher) == before + 20).await;
        seen_after(&mut watcher, true).await;
    });
}

#[test]
fn every_quick_flap_of_an_ordinary_veth_is_counted() {
    every_quick_flap_is_counted(Veth::Ordinary);
}

#[test]
fn every_quick_flap_of_a_card_like_veth_is_counted() {
    every_quick_flap_is_counted(Veth::CardLike);
}

#[test]
fn asking_for_the_carrier_ends_a_second_after_the_last_event() {
    in_namespace(|| async {
        let elsewhere = Elsewhere::new();
        Veth::CardLike.make(&elsewhere);
        // Duplicate address detection would bring changes of its own.
        std::fs::write("/proc/sys/net/ipv6/conf/ap0/disable_ipv6", "1").expect("written");
        let (clock, mut watcher) = watcher().await;
        watcher.set_suspects(BTreeSet::from([AP0]));
        seen_after(&mut watcher, true).await;
        elsewhere.ip("link set p0 down");
        seen_after(&mut watcher, false).await;
        let mut questions_in_two_quiet_seconds = async || {
            let before = clock.expirations();
            let quiet = tokio::time::timeout(Duration::from_secs(2), watcher.changed()).await;
            assert!(quiet.is_err(), "nothing has changed, so nothing may be told: {quiet:?}");
            clock.expirations() - before
        };
        let asked = questions_in_two_quiet_seconds().await;
        assert!((10..=75).contains(&asked), "a second of questions every 15 ms, then none: {asked}");
        assert_eq!(questions_in_two_quiet_seconds().await, 0, "an idle watcher wakes nobody");
    });
}

/// The kernel tells of addresses when it has found no duplicates, but shows them before: a second of difference.
fn do_not_detect_duplicates() {
    for interfaces in ["all", "default"] {
        std::fs::write(format!("/proc/sys/net/ipv6/conf/{interfaces}/accept_dad"), "0").expect("written");
    }
}

/// An interface with all that belongs to it, and one that does not change.
fn make_ap0(elsewhere: &Elsewhere) {
    do_not_detect_duplicates();
    Veth::Ordinary.make(elsewhere);
    configure_ap0();
    ip("link add other up type veth peer name p-other");
    ip("addr add 10.5.0.5/24 dev other");
}

fn configure_ap0() {
    ip("addr add 10.0.0.5/24 dev ap0");
    ip("addr add 2001:db8::5/64 dev ap0 nodad");
    ip("route add 192.0.2.0/24 via 10.0.0.1");
    ip("-6 route add 2001:db8:f::/48 via 2001:db8::1");
    ip("-6 route add default via fe80::1 dev ap0 table 100");
}

fn counts(watcher: &Watcher, interface: u32) -> (usize, usize) {
    (watcher.cache().addresses_of(interface).count(), watcher.cache().routes_over(interface).count())
}

#[test]
fn a_renamed_interface_is_the_same_one_with_all_it_has() {
    in_namespace(|| async {
        let elsewhere = Elsewhere::new();
        make_ap0(&elsewhere);
        let (_clock, mut watcher) = watcher().await;
        assert_true(&mut watcher, "the start").await;
        let before = counts(&watcher, AP0);
        assert!(before.0 >= 2 && before.1 >= 4, "{before:?}");
        for (from, to) in [("ap0", "wan0"), ("wan0", "ap0")] {
            ip(&format!("link set {from} name {to}"));
            let changes = wait_until(&mut watcher, |watcher| watcher.cache().link_named(to).is_some()).await;
            assert!(changes.links.contains(&AP0), "{changes:?}");
            assert!(watcher.cache().link_named(from).is_none());
            assert_true(&mut watcher, &format!("{from} was renamed to {to}")).await;
            assert_eq!(counts(&watcher, AP0), before);
        }
        // Two names change places.
        ip("link set ap0 name x");
        ip("link set other name ap0");
        ip("link set x name other");
        wait_until(&mut watcher, |watcher| watcher.cache().link(AP0).is_some_and(|link| link.name == "other")).await;
        assert!(watcher.cache().link_named("ap0").is_some_and(|link| link.index != AP0));
        assert_true(&mut watcher, "two interfaces changed their names").await;
    });
}

#[test]
fn an_interface_that_is_made_again_is_another_one_and_inherits_nothing() {
    in_namespace(|| async {
        let elsewhere = Elsewhere::new();
        make_ap0(&elsewhere);
        let (_clock, mut watcher) = watcher().await;
        assert_true(&mut watcher, "the start").await;
        for index in [700, AP0] {
            let former = watcher.cache().link_named("ap0").expect("it is there").index;
            ip("link del ap0");
            ip(&format!("link add ap0 index {index} type veth peer name p0"));
            wait_until(&mut watcher, |watcher| {
                watcher.cache().link_named("ap0").is_some_and(|link| link.index == index)
            })
            .await;
            assert!(watcher.cache().link(former).is_none());
            assert_true(&mut watcher, &format!("ap0 was made again with index {index}")).await;
            assert_eq!((counts(&watcher, former), counts(&watcher, index)), ((0, 0), (0, 0)));
            ip("link set p0 up");
            ip("link set ap0 up");
            configure_ap0();
            assert_true(&mut watcher, "the new ap0 was configured").await;
            assert!(counts(&watcher, index).0 >= 2);
        }
    });
}

#[test]
fn an_interface_that_was_made_again_with_the_same_index_unseen_has_only_what_is_new() {
    in_namespace(|| async {
        let elsewhere = Elsewhere::new();
        make_ap0(&elsewhere);
        let (_clock, mut watcher) = watcher().await;
        assert_true(&mut watcher, "the start").await;
        ip("link del ap0");
        ip(&format!("link add ap0 index {AP0} type veth peer name p0"));
        ip("link set ap0 up");
        ip("addr add 10.7.0.7/24 dev ap0");
        // Everything is read in one go, as by somebody who was busy meanwhile.
        watcher.changed().await.expect("a change");
        assert_true(&mut watcher, "all of that").await;
        let addresses: Vec<_> = watcher.cache().addresses_of(AP0).filter(|one| one.address.is_ipv4()).collect();
        assert_eq!(addresses.len(), 1, "{addresses:?}");
    });
}

#[test]
fn another_hardware_address_is_a_change_of_the_link() {
    in_namespace(|| async {
        let elsewhere = Elsewhere::new();
        make_ap0(&elsewhere);
        let (_clock, mut watcher) = watcher().await;
        assert_true(&mut watcher, "the start").await;
        ip("link set ap0 address 02:00:00:00:00:77");
        let changed = |watcher: &Watcher| {
            watcher.cache().link(AP0).is_some_and(|link| link.hardware_address.to_string() == "02:00:00:00:00:77")
        };
        let changes = wait_until(&mut watcher, changed).await;
        assert!(changes.links.contains(&AP0), "{changes:?}");
        assert_true(&mut watcher, "another hardware address").await;
    });
}

#[test]
fn an_interface_in_another_namespace_is_gone_until_it_comes_back_with_whatever_index() {
    in_namespace(|| async {
        let elsewhere = Elsewhere::new();
        make_ap0(&elsewhere);
        let (_clock, mut watcher) = watcher().await;
        assert_true(&mut watcher, "the start").await;
        ip(&format!("link set ap0 netns {}", elsewhere.thread_number));
        wait_until(&mut watcher, |watcher| watcher.cache().link_named("ap0").is_none()).await;
        assert_true(&mut watcher, "ap0 went elsewhere").await;
        assert_eq!(counts(&watcher, AP0), (0, 0));

        // Somebody else has the index by then.
        ip(&format!("link add squatter index {AP0} type veth peer name p-squatter"));
        let here = rustix::thread::gettid().as_raw_nonzero().get();
        elsewhere.ip(&format!("link set ap0 netns {here}"));
        wait_until(&mut watcher, |watcher| watcher.cache().link_named("ap0").is_some()).await;
        assert_true(&mut watcher, "ap0 came back").await;
        let back = watcher.cache().link_named("ap0").expect("it is back").clone();
        assert!(back.index != AP0 && !back.administratively_up, "{back:?}");
        assert_eq!(watcher.cache().link(AP0).map(|link| link.name.as_str()), Some("squatter"));
        ip("link set ap0 up");
        configure_ap0();
        assert_true(&mut watcher, "ap0 was configured again").await;
        assert!(counts(&watcher, back.index).0 >= 2);
    });
}

#[test]
fn a_thousand_links_are_dumped_and_forgotten() {
    in_namespace(|| async {
        ip_batch((0..500).map(|number| format!("link add a{number} type veth peer name b{number}")));
        let start = Instant::now();
        let (_clock, mut watcher) = watcher().await;
        println!("{} links read in {:?}", watcher.cache().links().len(), start.elapsed());
        assert!(watcher.cache().links().len() > 1_000);
        ip_batch((0..500).map(|number| format!("link del a{number}")));
        assert_true(&mut watcher, "removing them").await;
        assert!(watcher.cache().link_named("a0").is_none());
    });
}
