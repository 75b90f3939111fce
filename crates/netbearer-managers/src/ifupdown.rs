//! ifupdown notes which interfaces it has set up, and takes the note away when it sets them down.

use std::collections::BTreeMap;

use crate::interface_name::is_interface_name;

/// The file about all interfaces; those about one are called after it and the interface, and serve as locks too.
pub(crate) const STATE_FILE: &str = "ifstate";

/// The interfaces in the state file: lines of an interface, `=`, and the name its configuration has; ifupdown-ng adds how
/// often it was asked for.
pub(crate) fn claims(text: &str) -> BTreeMap<String, String> {
    text.lines()
        .filter_map(|line| {
            let (interface, logical) = line.trim().split_once('=')?;
            let logical = logical.split_whitespace().next()?;
            is_interface_name(interface).then(|| (interface.to_owned(), format!("up as {}", logical.escape_debug())))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_is_an_interface_that_is_up() {
        let text = "lo=lo\neth0=home\nwlan0=wlan0 1\n";
        let expected = [("eth0", "up as home"), ("lo", "up as lo"), ("wlan0", "up as wlan0")];
        assert_eq!(claims(text), expected.map(|(name, detail)| (name.to_owned(), detail.to_owned())).into());
    }

    #[test]
    fn what_is_no_interface_is_passed_over() {
        assert_eq!(claims("\n=\neth0=\n=eth0\na/b=c\nnot a line\nsixteen-letters-=x\n\0=\0\n"), BTreeMap::new());
    }
}
