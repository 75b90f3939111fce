//! What the fuzz targets do with their octets. The committed corpus goes the same way in an ordinary test.

use std::time::Duration;

use netbearer_kernel::{AnnouncedOption, Cache, Change, Dump, Link, Part, RouterOption, changes_in, traffic_in};
use netbearer_types::Moment;

const NOW: Moment = Moment::from_nanoseconds(1_000_000_000_000);
/// What routers announce of one interface is kept up to here.
const MOST_ANNOUNCEMENTS: usize = 64;

/// The options of a router advertisement.
pub(crate) fn router_options(octets: &[u8]) {
    for AnnouncedOption { option, lifetime } in RouterOption::parse_all(octets) {
        match option {
            RouterOption::RecursiveServer(address) => {
                assert!(!address.is_multicast() && !address.is_unspecified() && !address.is_loopback());
            }
            RouterOption::SearchDomain(name) => {
                let harmless = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'.' | b'-' | b'_');
                assert!(name.len() <= 253 && name.bytes().all(harmless), "{name:?}");
                assert!(name.split('.').all(|label| (1..=63).contains(&label.len())), "{name:?}");
            }
            RouterOption::CaptivePortal(uri) => {
                assert!(lifetime.is_none() && uri.contains(':') && uri.bytes().all(|octet| octet.is_ascii_graphic()));
            }
            RouterOption::Nat64Prefix { prefix, length } => {
                assert!([32, 40, 48, 56, 64, 96].contains(&length));
                assert_eq!(u128::from(prefix) << length, 0, "{prefix}/{length}");
            }
        }
    }
}

/// A datagram of rtnetlink: as news, as a part of dumps, and as an answer about counters.
pub(crate) fn netlink_messages(octets: &[u8]) {
    // Each has sixteen octets of a header at least.
    assert!(traffic_in(octets).len() <= octets.len() / 16);
    let changes = changes_in(octets, NOW);
    let mut cache = Cache::default();
    for change in &changes {
        if let Change::Announcement(announcement) = change {
            // Without a link to hear on nothing would be kept.
            let link = Link {
                index: announcement.interface,
                name: "ap0".to_owned(),
                administratively_up: true,
                carrier: true,
                ..Link::default()
            };
            cache.apply(Change::Link(link), NOW);
        }
        cache.apply(change.clone(), NOW);
        let overflows =
            matches!(change, Change::Announcement(announcement) if announcement.options.len() > MOST_ANNOUNCEMENTS);
        let again = cache.apply(change.clone(), NOW);
        assert!(again.is_empty() || overflows, "{change:?} was told twice: {again:?}");
    }
    for interface in cache.links().keys() {
        assert!(cache.announcements_of(*interface, NOW).count() <= MOST_ANNOUNCEMENTS);
    }
    for part in Part::ALL {
        let mut dump = Dump::empty(part);
        changes.iter().cloned().for_each(|change| dump.add(change));
        cache.update(dump.clone());
        assert!(cache.update(dump).is_empty(), "a second dump of {part:?} tells nothing new");
    }
    assert!(cache.doubts().is_empty());
    cache.expire(NOW + Duration::MAX);
    assert_eq!(cache.next_expiry(), None);
}
