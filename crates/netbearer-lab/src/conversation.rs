use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use crate::{ECHO_PORT, INTERNET};

/// A TCP connection to the echo server behind some access point, and proof that it works.
#[derive(Debug)]
pub struct Conversation {
    stream: BufReader<TcpStream>,
    access_point: String,
}

impl Conversation {
    /// Connects to "the internet" from the calling thread's namespace.
    ///
    /// # Errors
    /// When there is no connection or no greeting `within` that time.
    pub fn open(within: Duration) -> io::Result<Self> {
        let server = SocketAddr::from((INTERNET, ECHO_PORT));
        Self::over(TcpStream::connect_timeout(&server, within)?, within)
    }

    /// Goes on with a connection somebody else made to an echo server. `within` limits each later wait too.
    ///
    /// # Errors
    /// When there is no greeting `within` that time.
    pub fn over(stream: TcpStream, within: Duration) -> io::Result<Self> {
        // From an asynchronous library it may come otherwise.
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(within))?;
        stream.set_write_timeout(Some(within))?;
        let mut stream = BufReader::new(stream);
        let mut greeting = String::new();
        stream.read_line(&mut greeting)?;
        match greeting.strip_suffix('\n') {
            Some(access_point) => Ok(Self { stream, access_point: access_point.to_owned() }),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// The name of the access point the server is behind.
    #[must_use]
    pub fn access_point(&self) -> &str {
        &self.access_point
    }

    /// Sends `content` and waits for it to come back.
    ///
    /// # Errors
    /// When the connection is broken, silent, or returns something else.
    pub fn echo(&mut self, content: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(content)?;
        let mut answer = vec![0; content.len()];
        self.stream.read_exact(&mut answer)?;
        if answer == content {
            return Ok(());
        }
        Err(io::Error::new(io::ErrorKind::InvalidData, "the echo differs from what was sent"))
    }

    /// The connection itself.
    #[must_use]
    pub fn stream(&self) -> &TcpStream {
        self.stream.get_ref()
    }
}
