//! Every change is acknowledged, does what it says, and carries our tag.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::{
    net::{IpAddr, Ipv4Addr},
    time::Instant,
};

use futures_util::future::join_all;
use netbearer_kernel::{
    Addition, AddressGeneration, AddressLifetime, AddressSpec, OUR_PROTOCOL, Requests, RouteKind, RouteSpec,
    RuleAction, RuleSpec,
};
use netbearer_types::{AddressScope, Family};
use serde_json::{Value, json};
use support::{AP0, Elsewhere, Veth, in_namespace, ip, ip_json, wait_until, watcher};

const TABLE: u32 = 21_007;

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn tag() -> Value {
    json!(OUR_PROTOCOL.to_string())
}

/// The only entry that has this value under this key.
fn only(entries: Vec<Value>, key: &str, value: &Value) -> Value {
    let mut found: Vec<Value> = entries.into_iter().filter(|entry| entry[key] == *value).collect();
    assert_eq!(found.len(), 1, "entries with {key} = {value}: {found:?}");
    found.remove(0)
}

#[test]
fn links_are_set_up_and_down_and_given_an_mtu() {
    in_namespace(|| async {
        ip("link add ap0 index 500 type veth peer name p0");
        let requests = Requests::open().expect("requests");
        let flags = || ip_json("link show ap0")[0]["flags"].as_array().expect("flags").contains(&json!("UP"));
        assert!(!flags());
        requests.set_link_up(AP0, true).await.expect("up");
        assert!(flags());
        requests.set_link_up(AP0, false).await.expect("down");
        assert!(!flags());
        requests.set_mtu(AP0, 1400).await.expect("a smaller MTU");
        assert_eq!(ip_json("link show ap0")[0]["mtu"], 1400);
    });
}

#[test]
fn the_link_local_address_is_made_only_if_asked_for() {
    in_namespace(|| async {
        ip("link add ap0 index 500 type veth peer name p0");
        let requests = Requests::open().expect("requests");
        for (generation, mode, addresses) in
            [(AddressGeneration::None, "none", 0), (AddressGeneration::Eui64, "eui64", 1)]
        {
            requests.set_ipv6_address_generation(AP0, generation).await.expect("set");
            assert_eq!(ip_json("-d link show ap0")[0]["inet6_addr_gen_mode"], mode);
            ip("link set ap0 up");
            ip("link set p0 up");
            let found = ip_json("-6 addr show dev ap0 scope link");
            let found = found.first().map_or(0, |link| link["addr_info"].as_array().expect("a list").len());
            assert_eq!(found, addresses, "{generation:?}");
            ip("link set ap0 down");
        }
    });
}

#[test]
fn addresses_are_added_renewed_and_removed_with_our_tag() {
    in_namespace(|| async {
        ip("link add ap0 index 500 type veth peer name p0");
        ip("link set ap0 up");
        let (_clock, mut watcher) = watcher().await;
        let requests = Requests::open().expect("requests");
        let mut spec = AddressSpec {
            broadcast: Some(Ipv4Addr::new(10, 0, 0, 255)),
            lifetime: Some(AddressLifetime { valid: 600, preferred: 300 }),
            prefix_route: false,
            ..AddressSpec::new(AP0, address("10.0.0.5"), 24)
        };
        requests.add_address(&spec).await.expect("added");
        let shown = || {
            let addresses = ip_json("-d -4 addr show dev ap0")[0]["addr_info"].as_array().expect("a list").clone();
            only(addresses, "local", &json!("10.0.0.5"))
        };
        let first = shown();
        assert_eq!((&first["prefixlen"], &first["broadcast"]), (&json!(24), &json!("10.0.0.255")));
        assert_eq!(first["noprefixroute"], true);
        // Not every iproute2 shows who made an address; the kernel does.
        wait_until(&mut watcher, |watcher| watcher.cache().our_addresses().count() == 1).await;
        assert!(first["valid_life_time"].as_u64().expect("seconds") > 590);
        assert!(ip_json("route show dev ap0").is_empty(), "no on-link route was wanted");

        let twice = requests.add_address(&spec).await.expect_err("it is there already");
        assert!(twice.is_exists() && !twice.is_gone() && !twice.is_permission(), "{twice:?}");
        assert!(twice.to_string().starts_with("cannot add address 10.0.0.5/24 to interface 500"), "{twice}");

        spec.lifetime = Some(AddressLifetime { valid: 7200, preferred: 3600 });
        requests.replace_address(&spec).await.expect("renewed");
        assert!(shown()["valid_life_time"].as_u64().expect("seconds") > 7190);

        let link_local = AddressSpec { scope: AddressScope::Link, ..AddressSpec::new(AP0, address("fe80::5"), 64) };
        requests.add_address(&link_local).await.expect("added");
        requests.add_address(&AddressSpec::new(AP0, address("2001:db8::5"), 64)).await.expect("added");
        wait_until(&mut watcher, |watcher| watcher.cache().our_addresses().count() == 3).await;

        for ours in watcher.cache().our_addresses().map(netbearer_kernel::Address::key).collect::<Vec<_>>() {
            requests.delete_address(ours).await.expect("removed");
            let gone = requests.delete_address(ours).await.expect_err("it is gone");
            assert!(gone.is_gone(), "{gone:?}");
        }
        wait_until(&mut watcher, |watcher| watcher.cache().our_addresses().count() == 0).await;
        assert!(ip_json("-4 addr show dev ap0").is_empty());
    });
}

#[test]
fn routes_are_added_replaced_and_removed_with_our_tag_and_foreign_ones_are_left_alone() {
    in_namespace(|| async {
        ip("link add ap0 index 500 type veth peer name p0");
        ip("link set ap0 up");
        ip("link set p0 up");
        ip("addr add 10.0.0.5/24 dev ap0");
        ip("addr add 2001:db8::5/64 dev ap0 nodad");
        let (_clock, mut watcher) = watcher().await;
        let requests = Requests::open().expect("requests");
        let table = format!("route show table {TABLE}");

        for (family, gateway, other_gateway) in [("-4", "10.0.0.1", "10.0.0.2"), ("-6", "2001:db8::1", "2001:db8::2")] {
            let mut default = RouteSpec { table: TABLE, ..RouteSpec::default_route(address(gateway), AP0) };
            default.preferred_source = (family == "-4").then(|| address("10.0.0.5"));
            default.metric = Some(50);
            requests.add_route(&default).await.expect("added");
            let shown = only(ip_json(&format!("-d {family} {table}")), "dst", &json!("default"));
            assert_eq!((&shown["gateway"], &shown["dev"]), (&json!(gateway), &json!("ap0")));
            assert_eq!((&shown["metric"], &shown["protocol"]), (&json!(50), &tag()));
            assert!(requests.add_route(&default).await.expect_err("it is there").is_exists());

            default.gateway = Some(address(other_gateway));
            requests.replace_route(&default).await.expect("replaced");
            let shown = only(ip_json(&format!("-d {family} {table}")), "dst", &json!("default"));
            assert_eq!(shown["gateway"], other_gateway);
            wait_until(&mut watcher, |watcher| {
                watcher.cache().our_routes().any(|route| route.gateway() == Some(address(other_gateway)))
            })
            .await;

            ip(&format!("{family} route add default via {gateway} dev ap0 metric 70 table {TABLE}"));
            let foreign = RouteSpec { metric: Some(70), gateway: Some(address(gateway)), ..default.clone() };
            let kept = requests.delete_route(&RouteSpec { preferred_source: None, ..foreign }).await;
            assert!(kept.expect_err("it is not ours").is_gone());
        }
        let dead_end = RouteSpec {
            table: TABLE,
            interface: None,
            kind: RouteKind::Unreachable,
            metric: Some(4096),
            ..RouteSpec::new(address("0.0.0.0"), 0, AP0)
        };
        requests.add_route(&dead_end).await.expect("added");
        let on_link = RouteSpec { table: TABLE, ..RouteSpec::new(address("10.0.0.0"), 24, AP0) };
        requests.add_route(&on_link).await.expect("added");
        wait_until(&mut watcher, |watcher| watcher.cache().our_routes().count() == 4).await;

        for route in watcher.cache().our_routes().map(RouteSpec::from).collect::<Vec<_>>() {
            requests.delete_route(&route).await.expect("removed");
            assert!(requests.delete_route(&route).await.expect_err("it is gone").is_gone());
        }
        wait_until(&mut watcher, |watcher| watcher.cache().our_routes().count() == 0).await;
        assert_eq!(ip_json(&format!("-4 {table}")).len(), 1, "the foreign route is there still");
    });
}

#[test]
fn rules_are_added_and_removed_with_our_tag() {
    in_namespace(|| async {
        let (_clock, mut watcher) = watcher().await;
        let requests = Requests::open().expect("requests");
        for (family, option, source, length) in
            [(Family::V4, "-4", "10.0.0.5", 32), (Family::V6, "-6", "2001:db8::5", 128)]
        {
            let to_table = |priority| RuleSpec::new(family, priority, RuleAction::Table(TABLE));
            let mark = Some((0x0700_0000, 0x7f00_0000));
            let rules = [
                RuleSpec { output_interface: Some("ap0".to_owned()), ..to_table(5100) },
                RuleSpec { mark, ..to_table(5110) },
                RuleSpec { mark, ..RuleSpec::new(family, 5111, RuleAction::Unreachable) },
                RuleSpec { source: Some((address(source), length)), ..to_table(5120) },
            ];
            for added in join_all(rules.iter().map(|rule| requests.add_rule(rule))).await {
                added.expect("added");
            }
            let shown = ip_json(&format!("-d {option} rule show"));
            let rule = |priority: u32| only(shown.clone(), "priority", &json!(priority));
            assert_eq!((&rule(5100)["oif"], &rule(5100)["table"]), (&json!("ap0"), &json!(TABLE.to_string())));
            assert_eq!((&rule(5110)["fwmark"], &rule(5110)["fwmask"]), (&json!("0x7000000"), &json!("0x7f000000")));
            assert_eq!(rule(5111)["action"], "unreachable");
            assert_eq!(rule(5120)["src"], source);
            for priority in [5100, 5110, 5111, 5120] {
                assert_eq!(rule(priority)["protocol"], tag());
            }
            assert!(requests.add_rule(&rules[0]).await.expect_err("it is there").is_exists());
            ip(&format!("{option} rule add priority 5100 oif ap0 table {TABLE}"));

            wait_until(&mut watcher, |watcher| watcher.cache().our_rules().count() == 4).await;
            for rule in watcher.cache().our_rules().map(RuleSpec::from).collect::<Vec<_>>() {
                requests.delete_rule(&rule).await.expect("removed");
                assert!(requests.delete_rule(&rule).await.expect_err("it is gone").is_gone());
            }
            wait_until(&mut watcher, |watcher| watcher.cache().our_rules().count() == 0).await;
            only(ip_json(&format!("-d {option} rule show")), "priority", &json!(5100));
        }
    });
}

#[test]
fn an_error_says_what_was_asked_for_and_what_the_kernel_says() {
    in_namespace(|| async {
        let requests = Requests::open().expect("requests");
        let gone = requests.set_link_up(999, true).await.expect_err("there is no such interface");
        assert!(gone.is_gone(), "{gone:?}");

        let nowhere = RouteSpec::default_route(address("192.0.2.1"), 1);
        let refused = requests.add_route(&nowhere).await.expect_err("no way to the router");
        assert_eq!(
            refused.to_string(),
            "cannot add route 0.0.0.0/0 via 192.0.2.1 over interface 1 in table 254 \
             (kernel: Nexthop has invalid gateway)"
        );
        assert_eq!(refused.errno, Some(libc::ENETUNREACH));
        assert!(std::error::Error::source(&refused).is_some());
    });
}

#[test]
fn without_the_capability_a_change_is_a_permission_error() {
    in_namespace(|| async {
        let requests = Requests::open().expect("requests");
        let mut capabilities = rustix::thread::capabilities(None).expect("read");
        capabilities.effective.remove(rustix::thread::CapabilitySet::NET_ADMIN);
        // Of this thread, which ends with the test.
        rustix::thread::set_capabilities(None, capabilities).expect("dropped");
        assert_eq!(netbearer_kernel::missing_privileges().expect("read"), ["CAP_NET_ADMIN"]);
        let refused = requests.set_link_up(1, false).await.expect_err("not allowed");
        assert!(refused.is_permission(), "{refused:?}");
    });
}

#[test]
fn requests_are_done_in_the_order_of_the_calls_whatever_the_order_of_waiting() {
    in_namespace(|| async {
        let elsewhere = Elsewhere::new();
        Veth::Ordinary.make(&elsewhere);
        let requests = Requests::open().expect("requests");
        let on_link = requests.add_address(&AddressSpec::new(AP0, address("10.0.0.5"), 24));
        // Impossible before the address is there.
        let default = requests.add_route(&RouteSpec::default_route(address("10.0.0.1"), AP0));
        default.await.expect("the address came first");
        on_link.await.expect("added");
    });
}

#[test]
fn of_several_asked_together_each_is_told_of_and_a_refused_one_stops_none() {
    in_namespace(|| async {
        let elsewhere = Elsewhere::new();
        Veth::Ordinary.make(&elsewhere);
        let requests = Requests::open().expect("requests");
        let own = AddressSpec::new(AP0, address("10.0.0.5"), 24);
        let rule = RuleSpec::new(Family::V4, 6_000, RuleAction::Table(TABLE));
        let [default, nowhere] = ["10.0.0.1", "192.0.2.1"]
            .map(|router| RouteSpec { table: TABLE, ..RouteSpec::default_route(address(router), AP0) });
        let additions = [
            Addition::Address(&own),
            Addition::ReplacingRoute(&nowhere),
            Addition::Rule(&rule),
            Addition::Rule(&rule),
            Addition::Route(&default),
        ];
        let [Ok(()), Err(refused), Ok(()), Err(exists), Ok(())] = &requests.add_together(&additions)[..] else {
            panic!("the second and the fourth are refused");
        };
        assert_eq!(refused.errno, Some(libc::ENETUNREACH));
        assert!(refused.to_string().starts_with("cannot set route 0.0.0.0/0 via 192.0.2.1"), "{refused}");
        assert!(exists.is_exists() && exists.to_string().starts_with("cannot add V4 rule 6000"), "{exists}");
        only(ip_json("rule show"), "priority", &json!(6_000));
        assert_eq!(
            only(ip_json(&format!("route show table {TABLE}")), "dst", &json!("default"))["gateway"],
            "10.0.0.1"
        );

        let last = requests.add_together(&[Addition::Rule(&rule)]);
        assert!(matches!(&last[..], [Err(error)] if error.is_exists()), "{last:?}");
        assert!(requests.add_together(&[]).is_empty());
        requests.delete_rule(&rule).await.expect("nothing of the answers is left over");
    });
}

#[test]
fn requests_are_quick() {
    in_namespace(|| async {
        let requests = Requests::open().expect("requests");
        let rules: Vec<_> =
            (0..10).map(|number| RuleSpec::new(Family::V4, 6000 + number, RuleAction::Table(TABLE))).collect();
        let (mut single, mut pipelined) = (Vec::new(), Vec::new());
        for _ in 0..100 {
            let start = Instant::now();
            for rule in &rules {
                requests.add_rule(rule).await.expect("added");
            }
            single.push(start.elapsed() / 10);
            let start = Instant::now();
            for removed in join_all(rules.iter().map(|rule| requests.delete_rule(rule))).await {
                removed.expect("removed");
            }
            pipelined.push(start.elapsed() / 10);
        }
        single.sort();
        pipelined.sort();
        println!("a request alone {:?}, one of ten at once {:?} (medians)", single[50], pipelined[50]);
        // The signature of a request that waits for something else, not a measure of speed.
        assert!(single[50].as_millis() < 5 && pipelined[50].as_millis() < 5, "{single:?} {pipelined:?}");
    });
}
