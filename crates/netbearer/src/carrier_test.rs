//! Whether a candidate carries what it is wanted for.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    os::fd::AsFd,
    time::Duration,
};

use tokio::net::TcpStream;

use crate::{LookupError, SocketError, TestError, Trial, outlet::Outlet};

/// A status line is never longer, if it is one.
const LONGEST_STATUS_LINE: usize = 8 * 1024;
const HTTP_PORT: u16 = 80;

/// Where a plain HTTP request goes.
#[derive(Debug, PartialEq, Eq)]
struct Target<'a> {
    /// As in the header `Host`.
    authority: &'a str,
    host: &'a str,
    port: u16,
    /// With the query.
    path: String,
}

impl Trial {
    fn outlet(&self) -> Option<Outlet<'_>> {
        self.ballot.outlet(self.ticket)
    }

    pub(crate) fn outlet_for_sockets(&self) -> Result<Outlet<'_>, SocketError> {
        self.outlet().ok_or_else(|| SocketError::TrialOver(self.candidate().clone()))
    }

    /// As [`crate::Session::bind`], through the candidate.
    ///
    /// # Errors
    /// When the trial is over, it is a socket for IPv4 and the candidate has no IPv4 address, or the kernel refuses.
    pub fn bind(&self, socket: &impl AsFd) -> Result<(), SocketError> {
        self.outlet_for_sockets()?.bind(socket)
    }

    /// As [`crate::Session::connect_tcp`], through the candidate.
    ///
    /// # Errors
    /// When the trial is over, the candidate has no address of the destination's family, or the connection cannot be made.
    pub async fn connect_tcp(&self, address: SocketAddr) -> Result<TcpStream, SocketError> {
        self.outlet_for_sockets()?.connect_tcp(address).await
    }

    /// As [`crate::Session::lookup`], by the candidate's name servers.
    ///
    /// # Errors
    /// When the trial is over, or the name servers have no answer.
    pub async fn lookup(&self, host: &str) -> Result<Vec<IpAddr>, LookupError> {
        let outlet = self.outlet().ok_or_else(|| LookupError::TrialOver(self.candidate().clone()))?;
        outlet.lookup(host).await
    }

    /// Runs a test of the program's own, but not longer than `deadline`, nor than the trial lasts. What the test comes to is
    /// returned.
    ///
    /// # Errors
    /// [`TestError::Deadline`], [`TestError::TrialOver`].
    pub async fn test<T>(&self, test: impl Future<Output = T>, deadline: Duration) -> Result<T, TestError> {
        tokio::select! {
            biased;
            outcome = test => Ok(outcome),
            () = self.is_over() => Err(TestError::TrialOver(self.candidate().clone())),
            () = self.sleep(deadline) => Err(TestError::Deadline(deadline)),
        }
    }

    /// Tries whether a TCP connection through the candidate can be made. Must be called on a tokio runtime.
    ///
    /// # Errors
    /// When it cannot, or not in time.
    pub async fn test_tcp(&self, address: SocketAddr, deadline: Duration) -> Result<(), TestError> {
        self.test(self.connect_tcp(address), deadline).await??;
        Ok(())
    }

    /// Tries whether a plain HTTP GET through the candidate is answered with success: a status from 200 to 299. A portal that
    /// wants to be logged in to answers something else. Must be called on a tokio runtime.
    ///
    /// # Errors
    /// When it is not, or not in time; [`TestError::Url`] for anything but `http://HOST[:PORT][/PATH]`.
    pub async fn test_http(&self, url: &str, deadline: Duration) -> Result<(), TestError> {
        let target = Target::of(url).ok_or_else(|| TestError::Url(url.to_owned()))?;
        self.test(self.get(&target), deadline).await?
    }

    async fn get(&self, target: &Target<'_>) -> Result<(), TestError> {
        let status = exchange(&self.connect_to(target).await?, target).await.map_err(TestError::Exchange)?;
        let is_success = (200..300).contains(&status);
        if is_success { Ok(()) } else { Err(TestError::Status(status)) }
    }

    /// A connection to the first of the host's addresses that accepts one.
    async fn connect_to(&self, target: &Target<'_>) -> Result<TcpStream, TestError> {
        let addresses = match target.host.parse::<IpAddr>() {
            Ok(address) => vec![address],
            Err(_) => self.lookup(target.host).await?,
        };
        let mut failure = None;
        for address in addresses {
            match self.connect_tcp((address, target.port).into()).await {
                Ok(stream) => return Ok(stream),
                Err(error) => failure = Some(error),
            }
        }
        Err(failure.map_or_else(|| TestError::NoHost(target.host.to_owned()), TestError::Socket))
    }
}

impl<'a> Target<'a> {
    fn of(url: &'a str) -> Option<Self> {
        let rest = url.strip_prefix("http://")?;
        let rest = rest.split('#').next()?;
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let (host, port) = if let Some(literal) = authority.strip_prefix('[') {
            let (host, port) = literal.split_once(']')?;
            (host, if port.is_empty() { None } else { Some(port.strip_prefix(':')?) })
        } else {
            authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port)))
        };
        let port = port.map_or(Ok(HTTP_PORT), str::parse).ok()?;
        // What is sent is one line each.
        let is_fit = |text: &str| text.chars().all(|one| one.is_ascii_graphic());
        if host.is_empty() || authority.contains('@') || !is_fit(rest) {
            return None;
        }
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Some(Self { authority, host, port, path })
    }
}

/// Sends the request, and reads the status of the answer (RFC 9112 §3, §4).
async fn exchange(stream: &TcpStream, target: &Target<'_>) -> io::Result<u16> {
    let request = format!(
        "GET {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: netbearer/{}\r\nAccept: */*\r\nConnection: close\r\n\r\n",
        target.path,
        target.authority,
        env!("CARGO_PKG_VERSION")
    );
    let mut left = request.as_bytes();
    while !left.is_empty() {
        stream.writable().await?;
        match stream.try_write(left) {
            Ok(written) => left = left.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    let mut answer = Vec::new();
    let mut chunk = [0; 512];
    while !answer.contains(&b'\n') {
        stream.readable().await?;
        match stream.try_read(&mut chunk) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => answer.extend_from_slice(chunk.get(..read).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        if answer.len() > LONGEST_STATUS_LINE {
            break;
        }
    }
    status(&answer).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "it does not speak HTTP"))
}

/// The status in the first line of an answer.
fn status(answer: &[u8]) -> Option<u16> {
    let line = answer.split(|octet| *octet == b'\n').next()?;
    let line = std::str::from_utf8(line).ok()?;
    let mut words = line.strip_prefix("HTTP/1.")?.split_ascii_whitespace();
    let status = words.nth(1)?;
    let is_status = status.len() == 3 && status.bytes().all(|octet| octet.is_ascii_digit());
    is_status.then(|| status.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        for (url, authority, host, port, path) in [
            ("http://example.org", "example.org", "example.org", 80, "/"),
            ("http://example.org:8080/a?b=c", "example.org:8080", "example.org", 8080, "/a?b=c"),
            ("http://example.org?b", "example.org", "example.org", 80, "/?b"),
            ("http://[2001:db8::1]:81/#top", "[2001:db8::1]:81", "2001:db8::1", 81, "/"),
            ("http://[2001:db8::1]/", "[2001:db8::1]", "2001:db8::1", 80, "/"),
        ] {
            let path = path.to_owned();
            assert_eq!(Target::of(url), Some(Target { authority, host, port, path }), "{url}");
        }
    }

    #[test]
    fn what_is_no_plain_http_is_refused() {
        for url in [
            "https://example.org/",
            "example.org",
            "http://",
            "http://:80/",
            "http://example.org:port/",
            "http://user@example.org/",
            "http://[2001:db8::1/",
            "http://example.org/a b",
            "http://example.org/\r\nX: y",
        ] {
            assert_eq!(Target::of(url), None, "{url}");
        }
    }

    #[test]
    fn the_status_is_read_from_the_first_line_only() {
        assert_eq!(status(b"HTTP/1.1 204 No Content\r\nX: y\r\n"), Some(204));
        assert_eq!(status(b"HTTP/1.0 302\r\n"), Some(302));
        for nonsense in
            [&b"SSH-2.0-x\r\n"[..], b"HTTP/1.1\r\n", b"HTTP/1.1 20x\r\n", b"HTTP/1.1 +20\r\n", b"\xff\n", b""]
        {
            assert_eq!(status(nonsense), None);
        }
    }
}
