use std::{
    io,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    time::Duration,
};

use netbearer_lab::{
    AccessPoint, Lab, MessageType,
    dhcproto::{
        Decodable, Encodable,
        v4::{CLIENT_PORT, DhcpOption, Flags, Message, OptionCode, SERVER_PORT},
    },
    uninterrupted,
};
use socket2::{Domain, Socket, Type};

/// The least DHCP client that can ask a server something. It asks for answers by broadcast.
///
/// As its socket is an ordinary one, the reverse-path filter must be off as long as the interface has no address.
pub(crate) struct DhcpClient {
    socket: UdpSocket,
    hardware_address: [u8; 6],
    transaction: u32,
}

impl DhcpClient {
    pub(crate) fn new(lab: &Lab, access_point: &AccessPoint) -> Self {
        access_point.set_administratively_up(true).expect("plugged");
        let socket = client_socket(lab, access_point);
        Self { socket, hardware_address: access_point.hardware_address(), transaction: 7 }
    }

    /// Sends a message of that type and with these options; `current` is the client's address, if it has one.
    pub(crate) fn send(&self, kind: MessageType, current: Ipv4Addr, options: &[DhcpOption]) {
        let unset = Ipv4Addr::UNSPECIFIED;
        let mut message = Message::new_with_id(self.transaction, current, unset, unset, unset, &self.hardware_address);
        message.set_flags(Flags::default().set_broadcast());
        message.opts_mut().insert(DhcpOption::MessageType(kind));
        for option in options {
            message.opts_mut().insert(option.clone());
        }
        let packet = message.to_vec().expect("a message");
        self.socket.send_to(&packet, (Ipv4Addr::BROADCAST, SERVER_PORT)).expect("the interface is up");
    }

    /// The next packet from the server, if any comes within that time; `Err` if it is no message.
    pub(crate) fn receive(&self, within: Duration) -> Option<Result<Message, Vec<u8>>> {
        self.socket.set_read_timeout(Some(within)).expect("a timeout");
        let mut packet = [0; 1500];
        let length = match uninterrupted(|| self.socket.recv(&mut packet)) {
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
            Err(error) => panic!("cannot receive: {error}"),
        };
        Some(Message::from_bytes(&packet[..length]).map_err(|_| packet[..length].to_vec()))
    }

    /// As [`Self::send`], and the server's answer.
    pub(crate) fn ask(&self, kind: MessageType, current: Ipv4Addr, options: &[DhcpOption]) -> Message {
        self.send(kind, current, options);
        self.receive(crate::PATIENCE).expect("an answer").expect("a message")
    }

    /// Discovers and requests; the acknowledgement.
    pub(crate) fn lease(&self) -> Message {
        let offer = self.ask(MessageType::Discover, Ipv4Addr::UNSPECIFIED, &[]);
        assert_eq!(offer.opts().msg_type(), Some(MessageType::Offer));
        let server = offer.opts().get(OptionCode::ServerIdentifier).expect("named").clone();
        let options = [DhcpOption::RequestedIpAddress(offer.yiaddr()), server];
        let answer = self.ask(MessageType::Request, Ipv4Addr::UNSPECIFIED, &options);
        assert_eq!(answer.opts().msg_type(), Some(MessageType::Ack));
        answer
    }

    pub(crate) fn transaction(&self) -> u32 {
        self.transaction
    }
}

/// An ordinary socket on the machine's interface, for what servers send to clients.
pub(crate) fn client_socket(lab: &Lab, access_point: &AccessPoint) -> UdpSocket {
    let socket = lab.machine().run(|| {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
        socket.bind_device(Some(access_point.name().as_bytes()))?;
        socket.set_broadcast(true)?;
        socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, CLIENT_PORT)).into())?;
        Ok::<_, io::Error>(UdpSocket::from(socket))
    });
    socket.expect("a socket")
}
