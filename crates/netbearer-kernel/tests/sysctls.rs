//! Settings of interfaces: whose they are, what they were, and why they cannot be had.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::fs;

use netbearer_kernel::{Sysctl, SysctlError, Sysctls, read_sysctl, write_sysctl};
use support::{Elsewhere, in_namespace, ip};

fn by_proc(family: &str, interface: &str, name: &str) -> String {
    fs::read_to_string(format!("/proc/sys/net/{family}/conf/{interface}/{name}"))
        .expect("it is there")
        .trim()
        .to_owned()
}

#[test]
fn each_setting_is_written_read_and_restored() {
    in_namespace(|| async {
        ip("link add ap0 type veth peer name p0");
        for (sysctl, family, name, value) in [
            (Sysctl::ReversePathFilter, "ipv4", "rp_filter", 2),
            (Sysctl::ArpIgnore, "ipv4", "arp_ignore", 1),
            (Sysctl::ArpAnnounce, "ipv4", "arp_announce", 2),
            (Sysctl::AcceptRouterAdvertisements, "ipv6", "accept_ra", 2),
            (Sysctl::AcceptDefaultRouter, "ipv6", "accept_ra_defrtr", 0),
            (Sysctl::DefaultRouterMetric, "ipv6", "ra_defrtr_metric", 20_500),
            (Sysctl::AcceptRouteInformation, "ipv6", "accept_ra_rt_info_max_plen", 64),
            (Sysctl::OptimisticDad, "ipv6", "optimistic_dad", 1),
            (Sysctl::UseOptimistic, "ipv6", "use_optimistic", 1),
            (Sysctl::AddressGenerationMode, "ipv6", "addr_gen_mode", 1),
            (Sysctl::DisableIpv6, "ipv6", "disable_ipv6", 1),
        ] {
            let before = by_proc(family, "ap0", name);
            let old = write_sysctl("ap0", sysctl, value).expect("written");
            assert_eq!(old.to_string(), before, "{sysctl}");
            assert_ne!(old, value, "{sysctl}: the test must change something");
            assert_eq!(by_proc(family, "ap0", name), value.to_string(), "{sysctl}");
            assert_eq!(read_sysctl("ap0", sysctl).expect("read"), value, "{sysctl}");
            assert_eq!(write_sysctl("ap0", sysctl, old).expect("restored"), value, "{sysctl}");
            assert_eq!(by_proc(family, "ap0", name), before, "{sysctl}");
        }
        assert!(Sysctl::ALL.into_iter().all(|sysctl| read_sysctl("ap0", sysctl).is_ok()));
    });
}

#[test]
fn settings_are_those_of_the_calling_thread_s_namespace() {
    in_namespace(|| async {
        let elsewhere = Elsewhere::new();
        ip("link add ap0 type veth peer name p0");
        elsewhere.ip("link add ap0 type veth peer name p0");
        elsewhere.ip("link add ap1 type veth peer name p1");
        write_sysctl("ap0", Sysctl::ArpIgnore, 1).expect("written");
        let there = elsewhere.run(|| (by_proc("ipv4", "ap0", "arp_ignore"), read_sysctl("ap0", Sysctl::ArpIgnore)));
        assert_eq!((there.0.as_str(), there.1.expect("read")), ("0", 0));
        elsewhere.run(|| write_sysctl("ap0", Sysctl::ArpIgnore, 2)).expect("written");
        assert_eq!(by_proc("ipv4", "ap0", "arp_ignore"), "1");
        let unseen = read_sysctl("ap1", Sysctl::ArpIgnore).expect_err("it is elsewhere");
        assert!(matches!(unseen, SysctlError::NoInterface { .. }), "{unseen:?}");
    });
}

#[test]
fn a_name_is_one_of_an_interface_and_no_way_to_another_file() {
    in_namespace(|| async {
        ip("link add eth0.5 type veth peer name p0");
        assert_eq!(write_sysctl("eth0.5", Sysctl::ArpIgnore, 1).expect("a dot is nothing special"), 0);
        assert_eq!(by_proc("ipv4", "eth0.5", "arp_ignore"), "1");
        let before = by_proc("ipv4", "lo", "arp_ignore");
        for trick in [
            "",
            ".",
            "..",
            "../conf/lo",
            "lo/",
            "/lo",
            "lo/../lo",
            "lo\n",
            "l o",
            "lo\0",
            "lo:1",
            "all",
            "default",
            "a-name-too-long-",
        ] {
            let refused = write_sysctl(trick, Sysctl::ArpIgnore, 1).expect_err("no interface is called so");
            assert!(matches!(refused, SysctlError::NotAName { .. }), "{trick:?}: {refused:?}");
        }
        assert_eq!(by_proc("ipv4", "lo", "arp_ignore"), before);
    });
}

#[test]
fn files_that_stay_open_belong_to_the_interface_that_has_the_name_now() {
    in_namespace(|| async {
        let mut settings = Sysctls::of("ap0");
        let mut change = |value| {
            let before = settings.read(Sysctl::ArpIgnore).expect("read");
            settings.overwrite(Sysctl::ArpIgnore, value).expect("written");
            (before, by_proc("ipv4", "ap0", "arp_ignore"))
        };
        ip("link add ap0 type veth peer name p0");
        assert_eq!(change(1), (0, "1".to_owned()));
        assert_eq!(change(2), (1, "2".to_owned()));

        ip("link set ap0 name ap5");
        ip("link add ap0 type veth peer name p1");
        assert_eq!(change(1), (0, "1".to_owned()));
        assert_eq!(by_proc("ipv4", "ap5", "arp_ignore"), "2");

        ip("link delete ap0");
        ip("link add ap0 type veth peer name p1");
        assert_eq!(change(8), (0, "8".to_owned()));
        ip("link delete ap0");
        let gone = settings.read(Sysctl::ArpIgnore).expect_err("it is gone");
        assert!(matches!(gone, SysctlError::NoInterface { .. }), "{gone:?}");
    });
}

#[test]
fn errors_tell_missing_interfaces_settings_and_rights_apart() {
    in_namespace(|| async {
        let missing = write_sysctl("ap9", Sysctl::ArpIgnore, 1).expect_err("there is none");
        assert!(matches!(missing, SysctlError::NoInterface { .. }), "{missing:?}");

        ip("link add ap0 type veth peer name p0");
        let refused = write_sysctl("ap0", Sysctl::AddressGenerationMode, 77).expect_err("no such mode");
        assert!(matches!(refused, SysctlError::Refused { value: 77, .. }), "{refused:?}");
        assert_eq!(refused.to_string(), "the kernel refuses 77 for ipv6 addr_gen_mode of ap0");

        // An interface whose MTU is too small for IPv6 has IPv4 only.
        ip("link set ap0 mtu 1000");
        let absent = read_sysctl("ap0", Sysctl::AcceptRouterAdvertisements).expect_err("no IPv6 there");
        assert!(matches!(absent, SysctlError::Absent { .. }), "{absent:?}");
        assert_eq!(read_sysctl("ap0", Sysctl::ArpIgnore).expect("IPv4 is there"), 0);

        // Of this thread, which ends with the test. Its capabilities go with its user.
        let nobody = rustix::thread::Uid::from_raw(65_534);
        rustix::thread::set_thread_res_uid(nobody, nobody, nobody).expect("changed");
        let forbidden = write_sysctl("ap0", Sysctl::ArpIgnore, 1).expect_err("not allowed");
        assert!(matches!(forbidden, SysctlError::NotPermitted { .. }), "{forbidden:?}");
        assert_eq!(read_sysctl("ap0", Sysctl::ArpIgnore).expect("reading is free"), 0);
    });
}
