use std::{fmt, net::IpAddr, str::FromStr, time::Duration};

use netbearer::{TestError, Trial};

const TCP: &str = "tcp://";
const HTTP: &str = "http://";

/// What a candidate must reach to be of use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TestTarget {
    /// As it was told.
    url: String,
    /// Whom to connect to; none if it is for the library, which knows HTTP.
    tcp: Option<(String, u16)>,
}

/// What was told is no such target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("write tcp://HOST:PORT, or http://HOST[:PORT][/PATH]; an IPv6 address in brackets")]
pub(crate) struct NoTestTarget;

impl TestTarget {
    pub(crate) fn as_str(&self) -> &str {
        &self.url
    }

    /// Tries it through the candidate, no longer than that.
    pub(crate) async fn test(&self, trial: &Trial, deadline: Duration) -> Result<(), TestError> {
        match &self.tcp {
            Some((host, port)) => trial.test(connect(trial, host, *port), deadline).await?,
            None => trial.test_http(&self.url, deadline).await,
        }
    }
}

/// Any of the host's addresses will do.
async fn connect(trial: &Trial, host: &str, port: u16) -> Result<(), TestError> {
    let addresses = match host.parse::<IpAddr>() {
        Ok(address) => vec![address],
        Err(_) => trial.lookup(host).await?,
    };
    let mut failure = TestError::NoHost(host.to_owned());
    for address in addresses {
        match trial.connect_tcp((address, port).into()).await {
            Ok(_) => return Ok(()),
            Err(error) => failure = error.into(),
        }
    }
    Err(failure)
}

impl FromStr for TestTarget {
    type Err = NoTestTarget;

    fn from_str(url: &str) -> Result<Self, NoTestTarget> {
        let tcp = match url.strip_prefix(TCP) {
            Some(authority) => Some(host_and_port(authority).ok_or(NoTestTarget)?),
            None if url.strip_prefix(HTTP).is_some_and(is_fit) => None,
            None => return Err(NoTestTarget),
        };
        Ok(Self { url: url.to_owned(), tcp })
    }
}

impl fmt::Display for TestTarget {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.url)
    }
}

fn host_and_port(authority: &str) -> Option<(String, u16)> {
    let authority = authority.strip_suffix('/').unwrap_or(authority);
    let (host, port) = authority.rsplit_once(':')?;
    let host = match host.strip_prefix('[') {
        Some(literal) => literal.strip_suffix(']')?,
        None if host.contains(':') => return None,
        None => host,
    };
    let port = port.parse().ok().filter(|port| *port > 0)?;
    is_fit(host).then(|| (host.to_owned(), port))
}

fn is_fit(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|one| one.is_ascii_graphic()) && !text.starts_with('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_and_its_port_are_taken_from_a_tcp_url() {
        for (url, host, port) in [
            ("tcp://192.0.2.1:443", "192.0.2.1", 443),
            ("tcp://example.org:7/", "example.org", 7),
            ("tcp://[2001:db8::1]:80", "2001:db8::1", 80),
        ] {
            let target: TestTarget = url.parse().unwrap();
            assert_eq!(target.tcp, Some((host.to_owned(), port)), "{url}");
            assert_eq!(target.as_str(), url);
        }
    }

    #[test]
    fn what_cannot_be_tried_is_refused() {
        assert!("http://example.org/a?b".parse::<TestTarget>().is_ok());
        for url in [
            "tcp://example.org",
            "tcp://:80",
            "tcp://example.org:0",
            "tcp://2001:db8::1:80",
            "https://example.org/",
            "http://",
            "http:///path",
            "example.org:80",
            "",
        ] {
            assert_eq!(url.parse::<TestTarget>(), Err(NoTestTarget), "{url}");
        }
    }
}
