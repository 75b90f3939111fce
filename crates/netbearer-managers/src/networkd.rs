//! systemd-networkd writes a file for each link, and removes them when it is stopped in order.

use crate::interface_name::is_interface_name;

/// The index of the interface a file is about, by its name.
pub(crate) fn index(file_name: &str) -> Option<u32> {
    let index: u32 = file_name.parse().ok()?;
    (index > 0 && file_name == index.to_string()).then_some(index)
}

/// What networkd says of a link that it has a `.network` file for: its setup state as `networkctl` shows it.
///
/// `pending` and `initialized` are undecided: networkd waits for udev. `linger` is a link that is gone.
pub(crate) fn setup_state(text: &str) -> Option<&str> {
    let state = text.lines().find_map(|line| line.strip_prefix("ADMIN_STATE="))?;
    matches!(state, "configuring" | "configured" | "failed").then_some(state)
}

/// What is told of a link.
pub(crate) fn claim(name: &str, text: &str) -> Option<(String, String)> {
    let state = setup_state(text)?;
    is_interface_name(name).then(|| (name.to_owned(), format!("{state} by a .network file")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_counts_once_a_network_file_was_applied_even_if_that_failed() {
        let text =
            |state: &str| format!("# This is private data. Do not parse.\nADMIN_STATE={state}\nOPER_STATE=off\n");
        for state in ["configuring", "configured", "failed"] {
            assert_eq!(setup_state(&text(state)), Some(state));
        }
        for state in ["unmanaged", "pending", "initialized", "linger", "", "CONFIGURED"] {
            assert_eq!(setup_state(&text(state)), None, "{state}");
        }
        assert_eq!(setup_state("OPER_STATE=configured\nXADMIN_STATE=configured"), None);
    }

    #[test]
    fn only_indexes_are_names_of_link_files() {
        assert_eq!(index("501"), Some(501));
        for name in ["", "0", "01", "+1", "-1", ".#501abc", "4294967296", "lo"] {
            assert_eq!(index(name), None, "{name}");
        }
    }
}
