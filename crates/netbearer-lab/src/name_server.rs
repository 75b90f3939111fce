use std::{
    io::{self, PipeReader},
    net::{IpAddr, Ipv4Addr, UdpSocket},
    os::fd::AsFd,
};

use hickory_proto::{
    op::{Edns, Message, MessageType, OpCode, ResponseCode},
    rr::{Name, RData, Record, RecordType},
};

use crate::{INTERNET, INTERNET_V6, Namespace, deadline::Deadline, server_thread::ServerThread};

/// The name of the server at [`INTERNET`].
pub const SERVER_NAME: &str = "server.lab";
/// The domain that the lab's name servers know everything of.
const DOMAIN: &str = "lab.";
/// The port of name servers (RFC 1035 §4.2).
const PORT: u16 = 53;
/// Short, so that what is asked through another access point is asked anew.
const TIME_TO_LIVE: u32 = 1;

/// A name server (RFC 1035) for the server behind an access point and for the access point itself: `server.lab` and
/// `NAME.lab`. It has authority over `lab` and refuses to speak of the rest. UDP only, as its answers are short.
#[derive(Debug)]
pub(crate) struct NameServer {
    _thread: ServerThread,
}

impl NameServer {
    /// Answers at the access point's own address `gateway`, and at the server's.
    pub(crate) fn start(namespace: &Namespace, gateway: Ipv4Addr) -> io::Result<Self> {
        let zone = Zone::new(namespace.name(), gateway);
        // A socket for each address, as an answer must come from the address that was asked.
        let [near, far, far_v6] = namespace.run(|| {
            let open = |address: IpAddr| {
                let socket = UdpSocket::bind((address, PORT))?;
                socket.set_nonblocking(true)?;
                Ok::<_, io::Error>(socket)
            };
            let far_v6 = open(INTERNET_V6.into());
            Ok::<_, io::Error>([Some(open(gateway.into())?), Some(open(INTERNET.into())?), far_v6.ok()])
        })?;
        let sockets: Vec<UdpSocket> = [near, far, far_v6].into_iter().flatten().collect();
        let thread = namespace.start_server("name server", move |stopped| serve(&sockets, &stopped, &zone))?;
        Ok(Self { _thread: thread })
    }
}

fn serve(sockets: &[UdpSocket], stopped: &PipeReader, zone: &Zone) {
    let descriptors = |index: usize| sockets.get(index).map_or(stopped.as_fd(), AsFd::as_fd);
    let sources = [stopped.as_fd(), descriptors(0), descriptors(1), descriptors(2)];
    while let Ok([false, ..]) = Deadline::NEVER.wait_readable(sources) {
        let mut packet = [0; 1_500];
        for socket in sockets {
            while let Ok((length, client)) = socket.recv_from(&mut packet) {
                if let Some(answer) = packet.get(..length).and_then(|question| zone.answer(question)) {
                    // A lost answer is a lost packet.
                    let _ = socket.send_to(&answer, client);
                }
            }
        }
    }
}

/// What a name server knows.
#[derive(Debug)]
struct Zone {
    domain: Option<Name>,
    addresses: Vec<(Name, IpAddr)>,
}

impl Zone {
    fn new(access_point: &str, gateway: Ipv4Addr) -> Self {
        let server = [IpAddr::V4(INTERNET), IpAddr::V6(INTERNET_V6)].map(|address| (SERVER_NAME.to_owned(), address));
        let access_point = (format!("{access_point}.lab"), IpAddr::V4(gateway));
        // An access point whose name is none that DNS knows has none there.
        let named = |(name, address)| Name::from_ascii(format!("{name}.")).ok().map(|name| (name, address));
        let addresses = server.into_iter().chain([access_point]).filter_map(named).collect();
        Self { domain: Name::from_ascii(DOMAIN).ok(), addresses }
    }

    /// None to what is no question.
    fn answer(&self, packet: &[u8]) -> Option<Vec<u8>> {
        let question = Message::from_vec(packet).ok()?;
        if question.metadata.message_type != MessageType::Query {
            return None;
        }
        let mut answer = Message::response(question.metadata.id, question.metadata.op_code);
        answer.metadata.recursion_desired = question.metadata.recursion_desired;
        answer.edns = question.edns.as_ref().map(|_| Edns::new());
        let query = question.queries.first().filter(|_| question.queries.len() == 1);
        let Some(query) = query.filter(|_| question.metadata.op_code == OpCode::Query) else {
            answer.metadata.response_code = ResponseCode::NotImp;
            return answer.to_vec().ok();
        };
        answer.add_query(query.clone());
        let known: Vec<IpAddr> =
            self.addresses.iter().filter(|(name, _)| name == query.name()).map(|(_, address)| *address).collect();
        if !self.domain.as_ref().is_some_and(|domain| domain.zone_of(query.name())) {
            answer.metadata.response_code = ResponseCode::Refused;
        } else {
            answer.metadata.authoritative = true;
            if known.is_empty() && Some(query.name()) != self.domain.as_ref() {
                answer.metadata.response_code = ResponseCode::NXDomain;
            }
        }
        for address in known {
            let (kind, data) = match address {
                IpAddr::V4(address) => (RecordType::A, RData::A(address.into())),
                IpAddr::V6(address) => (RecordType::AAAA, RData::AAAA(address.into())),
            };
            if [kind, RecordType::ANY].contains(&query.query_type()) {
                answer.add_answer(Record::from_rdata(query.name().clone(), TIME_TO_LIVE, data));
            }
        }
        answer.to_vec().ok()
    }
}

#[cfg(test)]
mod tests {
    use hickory_proto::op::Query;

    use super::*;

    fn zone() -> Zone {
        Zone::new("ap0", Ipv4Addr::new(10, 10, 0, 1))
    }

    fn ask(name: &str, kind: RecordType) -> Message {
        let mut question = Message::new(7, MessageType::Query, OpCode::Query);
        question.add_query(Query::query(Name::from_ascii(name).expect("a name"), kind));
        let answer = zone().answer(&question.to_vec().expect("a message")).expect("an answer");
        let answer = Message::from_vec(&answer).expect("a message");
        assert_eq!((answer.metadata.id, &answer.queries), (question.metadata.id, &question.queries));
        answer
    }

    fn addresses(answer: &Message) -> Vec<String> {
        answer.answers.iter().map(|record| record.data.to_string()).collect()
    }

    #[test]
    fn the_server_and_the_access_point_have_addresses() {
        assert_eq!(addresses(&ask("server.lab.", RecordType::A)), ["198.51.100.1"]);
        assert_eq!(addresses(&ask("SERVER.lab.", RecordType::AAAA)), ["2001:db8:ffff::1"]);
        assert_eq!(addresses(&ask("ap0.lab.", RecordType::A)), ["10.10.0.1"]);
    }

    #[test]
    fn a_name_without_such_an_address_exists_and_an_unknown_one_does_not() {
        let answer = ask("ap0.lab.", RecordType::AAAA);
        assert_eq!((answer.metadata.response_code, answer.answers.len()), (ResponseCode::NoError, 0));
        assert_eq!(ask("nobody.lab.", RecordType::A).metadata.response_code, ResponseCode::NXDomain);
        assert_eq!(ask("example.org.", RecordType::A).metadata.response_code, ResponseCode::Refused);
    }

    #[test]
    fn what_is_no_question_is_not_answered() {
        assert_eq!(zone().answer(b"this is no message"), None);
        let answer = Message::response(1, OpCode::Query).to_vec().expect("a message");
        assert_eq!(zone().answer(&answer), None);
    }
}
