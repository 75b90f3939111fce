use std::{
    env,
    ffi::OsString,
    os::unix::ffi::OsStringExt,
    path::{Path, PathBuf},
};

/// The address of this machine's system bus: `DBUS_SYSTEM_BUS_ADDRESS` (D-Bus specification, "System message bus"), or that
/// of `/run/dbus/system_bus_socket`.
#[must_use]
pub fn system_bus_address() -> String {
    let address = env::var("DBUS_SYSTEM_BUS_ADDRESS").ok().filter(|address| !address.is_empty());
    address.unwrap_or_else(|| system_bus_address_below(Path::new("/")))
}

/// The usual address of the system bus of a machine whose root directory is `root`.
#[must_use]
pub fn system_bus_address_below(root: &Path) -> String {
    format!("unix:path={}", root.join("run/dbus/system_bus_socket").display())
}

/// The path of the first socket in an address (D-Bus specification, "Server addresses"), if one of its alternatives is
/// `unix:path=`.
#[must_use]
pub fn bus_socket(address: &str) -> Option<PathBuf> {
    address.split(';').find_map(|alternative| {
        let pairs = alternative.strip_prefix("unix:")?;
        let path = pairs.split(',').find_map(|pair| pair.strip_prefix("path="))?;
        let path = PathBuf::from(OsString::from_vec(unescape(path)?));
        path.is_absolute().then_some(path)
    })
}

/// Each `%` stands before two hexadecimal digits of a byte.
fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    loop {
        rest = match rest {
            [] => return Some(bytes),
            [b'%', high, low, rest @ ..] => {
                let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
                bytes.push(digit(*high)? * 16 + digit(*low)?);
                rest
            }
            [b'%', ..] => return None,
            [byte, rest @ ..] => {
                bytes.push(*byte);
                rest
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_is_found_among_alternatives_and_unescaped() {
        let address = "tcp:host=localhost,port=1;unix:guid=00,path=/run/a%20bus%2csocket";
        assert_eq!(bus_socket(address).as_deref(), Some(Path::new("/run/a bus,socket")));
    }

    #[test]
    fn an_address_without_a_path_has_none() {
        for address in ["", "unix:abstract=a", "unix:path=relative", "unix:path=/a%2", "unix:path=/a%zz", "unix:", ";;"]
        {
            assert_eq!(bus_socket(address), None, "{address}");
        }
    }
}
