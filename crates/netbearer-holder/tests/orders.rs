//! The program as it is started. That it is a test of this package has it built with all tests of the workspace, which start it.

#![allow(clippy::unwrap_used)]

use std::process::Command;

#[test]
fn what_is_no_way_to_a_service_is_refused_by_its_name() {
    let told = Command::new(env!("CARGO_BIN_EXE_netbearer-holder")).arg("nowhere").output().unwrap();
    assert!(!told.status.success() && told.stdout.is_empty(), "{told:?}");
    assert!(String::from_utf8_lossy(&told.stderr).contains("nowhere"), "{told:?}");
}
