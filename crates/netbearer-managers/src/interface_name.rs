/// Longest name of an interface: `IFNAMSIZ` less the terminating zero.
const MAX_LENGTH: usize = 15;

/// Whether the kernel would take `name` for an interface (`dev_valid_name` in `net/core/dev.c`).
pub(crate) fn is_interface_name(name: &str) -> bool {
    let forbidden = |byte: u8| byte == b'/' || byte == b':' || byte == 0 || byte.is_ascii_whitespace() || byte == 0x0b;
    !name.is_empty() && name.len() <= MAX_LENGTH && name != "." && name != ".." && !name.bytes().any(forbidden)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_kernel_would_refuse_are_none() {
        for name in ["eth0", "enp3s0f1.100", "a", "wlan-15-letters", "ü"] {
            assert!(is_interface_name(name), "{name}");
        }
        for name in ["", ".", "..", "a/b", "a b", "a\n", "a:1", "sixteen-letters-", "a\0"] {
            assert!(!is_interface_name(name), "{name:?}");
        }
    }
}
