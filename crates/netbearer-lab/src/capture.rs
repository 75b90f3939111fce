use std::{
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    process::Stdio,
    time::Duration,
};

use socket2::SockRef;

use crate::{LabError, Namespace, Program, Record};

/// Port of the packet that marks the end of a capture: the discard service (RFC 863).
const END_PORT: u16 = 9;
const END_TEXT: &str = "end of capture";
/// Room for what comes before tcpdump gets its turn.
const BUFFER_KIBIBYTES: &str = "65536";
/// For tcpdump to start, or to print what has been on the wire already.
const TCPDUMP_PATIENCE: Duration = Duration::from_secs(10);

/// A packet capture by `tcpdump`.
///
/// On an interface that is down nothing can be captured: use `any`, whose lines begin with the interface and the
/// direction (`ap0 Out IP 10.10.0.100…`), or the access point's end of the cable.
#[derive(Debug)]
pub struct Capture<'a> {
    namespace: &'a Namespace,
    interface: String,
    packets: Record<String>,
    tcpdump: Program,
}

impl<'a> Capture<'a> {
    /// Starts to capture the packets that match `filter` (`pcap-filter(7)`; empty for all) on `interface`, or on `any`.
    /// Returns when every packet from now on will be seen.
    ///
    /// # Errors
    /// [`LabError::NotSeen`], with the words of tcpdump, if it cannot capture there; nor can it in a user namespace, as
    /// root of the machine is the only user whose groups it can set.
    pub fn start(namespace: &'a Namespace, interface: &str, filter: &str) -> Result<Self, LabError> {
        let filter = match filter {
            "" => String::new(),
            filter => format!("({filter}) or (udp and dst port {END_PORT})"),
        };
        let mut tcpdump = namespace
            .command("tcpdump")
            // Not to be given up: a change of user would also drop the death signal (`prctl(2)`).
            .args(["-Z", "root", "--immediate-mode", "-l", "-nn", "-t"])
            // A packet takes the room of the longest there may be, of which the usual two megabytes have eight.
            .args(["-B", BUFFER_KIBIBYTES])
            .args(["-i", interface, filter.as_str()])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let packets = tcpdump.stdout_lines().unwrap_or_else(Record::new);
        let messages = tcpdump.stderr_lines().unwrap_or_else(Record::new);
        messages.wait_for_text("listening on", TCPDUMP_PATIENCE)?;
        Ok(Self { namespace, interface: interface.to_owned(), packets, tcpdump })
    }

    /// The packets so far, as they come, one a line.
    #[must_use]
    pub fn packets(&self) -> &Record<String> {
        &self.packets
    }

    /// Ends the capture and returns every packet that was on the wire before this call, one a line.
    ///
    /// A last packet (UDP to port 9) is sent over the interface: once tcpdump has printed that, it has printed all
    /// before it. With `any` it goes over the loopback interface.
    ///
    /// # Errors
    /// [`LabError::System`] if the interface is down by now.
    pub fn finish(self) -> Result<Vec<String>, LabError> {
        self.namespace.run(|| {
            self.send_end().map_err(LabError::unable_to(format!("mark the end of the capture on {}", self.interface)))
        })?;
        self.packets.wait_for("the end of the capture", TCPDUMP_PATIENCE, |line| is_end(line))?;
        drop(self.tcpdump);
        Ok(self.packets.entries().into_iter().take_while(|line| !is_end(line)).collect())
    }

    fn send_end(&self) -> std::io::Result<()> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        let destination = if self.interface == "any" {
            Ipv4Addr::LOCALHOST
        } else {
            socket.set_broadcast(true)?;
            SockRef::from(&socket).bind_device(Some(self.interface.as_bytes()))?;
            Ipv4Addr::BROADCAST
        };
        socket.send_to(END_TEXT.as_bytes(), SocketAddr::from((destination, END_PORT)))?;
        Ok(())
    }
}

fn is_end(line: &str) -> bool {
    line.contains(&format!(".{END_PORT}: UDP, length {}", END_TEXT.len()))
}
