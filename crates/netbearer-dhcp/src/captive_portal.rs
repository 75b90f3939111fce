use std::net::Ipv6Addr;

use crate::domain_name;

/// Far longer than the addresses of portals are, in octets.
const LONGEST_URI: usize = 1_024;

/// The URI of a captive portal's API (RFC 8910 §2), if it is an absolute one of HTTP; none for anything else, also for the
/// URN that says there is no portal (§2.4.1).
///
/// Strict, because what a server sends here may be opened by a program: no blanks, nothing that RFC 3986 does not allow,
/// and no user name, which only serves to make one host look like another.
pub(crate) fn parse(octets: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(octets).ok()?.trim_end_matches('\0');
    let (scheme, rest) = text.split_once("://")?;
    let is_http = ["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known));
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    (text.len() <= LONGEST_URI && is_http && is_authority(authority) && is_path(path)).then(|| text.to_owned())
}

/// A host, and perhaps a port.
fn is_authority(authority: &str) -> bool {
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let is_host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(literal) => literal.parse::<Ipv6Addr>().is_ok(),
        None => domain_name::parse(host).is_some(),
    };
    let is_port = |port: &str| port.bytes().all(|octet| octet.is_ascii_digit()) && port.parse::<u16>().is_ok();
    is_host && port.is_none_or(is_port)
}

/// Path, query and fragment, in the characters of RFC 3986 §2 without the brackets, which belong to hosts.
fn is_path(path: &str) -> bool {
    let escapes_are_whole = path.split('%').skip(1).all(|escape| {
        escape.as_bytes().first_chunk::<2>().is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    });
    escapes_are_whole
        && path.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"-._~:/?#@!$&'()*+,;=%".contains(&octet))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absolute_uris_of_http_are_taken_as_they_are() {
        for text in [
            "https://portal.example/api",
            "HTTPS://portal.example",
            "http://192.0.2.1:8080/?session=1%20a#top",
            "https://[2001:db8::1]/api",
            "https://[2001:db8::1]:443",
        ] {
            assert_eq!(parse(text.as_bytes()).as_deref(), Some(text));
        }
        assert_eq!(parse(b"https://portal.example/\0").as_deref(), Some("https://portal.example/"));
    }

    #[test]
    fn nothing_else_passes() {
        let long = format!("https://portal.example/{}", "a".repeat(LONGEST_URI));
        for text in [
            "",
            "portal.example",
            "urn:ietf:params:capport:unrestricted",
            "file:///etc/passwd",
            "javascript://portal.example/%0aalert(1)",
            "https://",
            "https:///api",
            "https://user@portal.example/",
            "https://portal.example:/",
            "https://portal.example:99999/",
            "https://portal.example:+80/",
            "https://[portal.example]/",
            "https://[::1/",
            "https://portal.example/a b",
            "https://portal.example/\r\nX: y",
            "https://portal.example/%",
            "https://portal.example/%2",
            "https://portal.example/%gg",
            "https://portal.example/ä",
            "https://portal.example/\"quoted\"",
            &long,
        ] {
            assert_eq!(parse(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(parse(b"https://\xff\xfe/"), None);
    }
}
