//! Where and with what right we are.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use netbearer_kernel::{boot_identifier, missing_privileges, network_namespace_inode};
use support::{Elsewhere, in_namespace};

#[test]
fn each_network_namespace_has_an_inode_of_its_own() {
    in_namespace(|| async {
        let elsewhere = Elsewhere::new();
        let here = network_namespace_inode().expect("/proc is mounted");
        assert_eq!(network_namespace_inode().expect("/proc is mounted"), here);
        assert_ne!(elsewhere.run(|| network_namespace_inode().expect("/proc is mounted")), here);
    });
}

#[test]
fn the_boot_has_an_identifier() {
    let identifier = boot_identifier().expect("/proc is mounted");
    assert_eq!((identifier.len(), identifier.trim()), (36, identifier.as_str()));
}

#[test]
fn root_lacks_nothing_and_nobody_lacks_all() {
    std::thread::spawn(|| {
        assert!(missing_privileges().expect("read").is_empty(), "these tests must run as root");
        let mut capabilities = rustix::thread::capabilities(None).expect("read");
        capabilities.effective = rustix::thread::CapabilitySet::empty();
        // Of this thread, which ends here.
        rustix::thread::set_capabilities(None, capabilities).expect("dropped");
        let missing = missing_privileges().expect("read");
        assert_eq!(missing, ["CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_NET_BIND_SERVICE"]);
    })
    .join()
    .expect("the thread has ended well");
}
