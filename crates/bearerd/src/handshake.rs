//! The server's side of the authentication of a private connection (D-Bus specification, "Authentication Protocol").
//!
//! The only mechanism is EXTERNAL: the kernel has said who the peer is. What a peer may send before it has begun is bounded,
//! as anybody may connect.

use thiserror::Error;

/// More than any client needs.
const MAX_LINE: usize = 1024;
const MAX_COMMANDS: usize = 32;

/// Why a peer is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum HandshakeError {
    /// The first octet has to be a zero.
    #[error("it does not begin as D-Bus does")]
    NotDbus,
    /// A line has no end.
    #[error("a command is longer than {MAX_LINE} octets")]
    LineTooLong,
    /// It does not get on.
    #[error("it does not begin after {MAX_COMMANDS} commands")]
    TooManyCommands,
}

/// What is to be done after octets have come.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Send this, which may be nothing, and go on.
    Answer(Vec<u8>),
    /// Send this; from here on it is messages, and these octets are the first of them.
    Begin { answer: Vec<u8>, rest: Vec<u8>, passes_descriptors: bool },
}

/// One handshake.
#[derive(Debug)]
pub(crate) struct Handshake {
    /// Who the peer is, as text.
    user: String,
    /// Names this server.
    guid: String,
    received: Vec<u8>,
    has_begun: bool,
    commands: usize,
    stage: Stage,
    passes_descriptors: bool,
}

/// Which command is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Auth,
    Data,
    Begin,
}

impl Handshake {
    pub(crate) fn new(user: u32, guid: &str) -> Self {
        Self {
            user: user.to_string(),
            guid: guid.to_owned(),
            received: Vec::new(),
            has_begun: false,
            commands: 0,
            stage: Stage::Auth,
            passes_descriptors: false,
        }
    }

    /// Takes octets in as they come.
    pub(crate) fn take_in(&mut self, octets: &[u8]) -> Result<Step, HandshakeError> {
        self.received.extend_from_slice(octets);
        if !self.has_begun {
            match self.received.first() {
                None => return Ok(Step::Answer(Vec::new())),
                Some(0) => drop(self.received.remove(0)),
                Some(_) => return Err(HandshakeError::NotDbus),
            }
            self.has_begun = true;
        }
        let mut answer = Vec::new();
        while let Some(length) = self.received.windows(2).position(|pair| pair == b"\r\n") {
            if length > MAX_LINE {
                return Err(HandshakeError::LineTooLong);
            }
            let rest = self.received.split_off(length + 2);
            self.received.truncate(length);
            let line = std::mem::replace(&mut self.received, rest);
            self.commands += 1;
            if self.commands > MAX_COMMANDS {
                return Err(HandshakeError::TooManyCommands);
            }
            if line == b"BEGIN" && self.stage == Stage::Begin {
                let rest = std::mem::take(&mut self.received);
                return Ok(Step::Begin { answer, rest, passes_descriptors: self.passes_descriptors });
            }
            answer.extend_from_slice(self.obey(&String::from_utf8_lossy(&line)).as_bytes());
            answer.extend_from_slice(b"\r\n");
        }
        if self.received.len() > MAX_LINE {
            return Err(HandshakeError::LineTooLong);
        }
        Ok(Step::Answer(answer))
    }

    fn obey(&mut self, line: &str) -> String {
        let mut words = line.split(' ');
        let command = words.next().unwrap_or_default();
        match (self.stage, command) {
            (Stage::Auth, "AUTH") => match (words.next(), words.next()) {
                (Some("EXTERNAL"), Some(response)) => self.authenticate(response),
                (Some("EXTERNAL"), None) => {
                    self.stage = Stage::Data;
                    "DATA".to_owned()
                }
                _ => self.reject(),
            },
            (Stage::Data, "DATA") => self.authenticate(words.next().unwrap_or_default()),
            (Stage::Begin, "NEGOTIATE_UNIX_FD") => {
                self.passes_descriptors = true;
                "AGREE_UNIX_FD".to_owned()
            }
            (_, "CANCEL" | "ERROR") => self.reject(),
            _ => "ERROR not understood here".to_owned(),
        }
    }

    /// Nothing means: whoever the kernel says.
    fn authenticate(&mut self, response: &str) -> String {
        let expected: String = self.user.bytes().map(|byte| format!("{byte:02x}")).collect();
        if response.is_empty() || response.eq_ignore_ascii_case(&expected) {
            self.stage = Stage::Begin;
            format!("OK {}", self.guid)
        } else {
            self.reject()
        }
    }

    fn reject(&mut self) -> String {
        self.stage = Stage::Auth;
        self.passes_descriptors = false;
        "REJECTED EXTERNAL".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handshake() -> Handshake {
        Handshake::new(1000, "0123456789abcdef0123456789abcdef")
    }

    fn answer(step: Step) -> String {
        match step {
            Step::Answer(answer) => String::from_utf8(answer).unwrap(),
            Step::Begin { .. } => panic!("it has begun"),
        }
    }

    #[test]
    fn all_at_once_begins_with_what_follows() {
        let sent = b"\0AUTH EXTERNAL 31303030\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\nl\x01";
        let answer = b"OK 0123456789abcdef0123456789abcdef\r\nAGREE_UNIX_FD\r\n".to_vec();
        let expected = Step::Begin { answer, rest: b"l\x01".to_vec(), passes_descriptors: true };
        assert_eq!(handshake().take_in(sent), Ok(expected));
    }

    #[test]
    fn octet_by_octet_is_the_same() {
        let mut handshake = handshake();
        let mut answers = Vec::new();
        for octet in b"\0AUTH EXTERNAL 31303030\r\nBEGIN\r\n" {
            match handshake.take_in(&[*octet]).unwrap() {
                Step::Answer(answer) => answers.extend(answer),
                Step::Begin { answer, rest, passes_descriptors } => {
                    assert_eq!((answer, rest, passes_descriptors), (vec![], vec![], false));
                    assert_eq!(answers, b"OK 0123456789abcdef0123456789abcdef\r\n");
                    return;
                }
            }
        }
        panic!("it has not begun");
    }

    #[test]
    fn whoever_says_nothing_is_who_the_kernel_says() {
        let mut handshake = handshake();
        assert_eq!(answer(handshake.take_in(b"\0AUTH\r\n").unwrap()), "REJECTED EXTERNAL\r\n");
        assert_eq!(answer(handshake.take_in(b"AUTH EXTERNAL\r\n").unwrap()), "DATA\r\n");
        assert!(answer(handshake.take_in(b"DATA\r\n").unwrap()).starts_with("OK "));
    }

    #[test]
    fn whoever_says_to_be_another_is_rejected() {
        let mut handshake = handshake();
        assert_eq!(answer(handshake.take_in(b"\0AUTH EXTERNAL 30\r\n").unwrap()), "REJECTED EXTERNAL\r\n");
        assert!(answer(handshake.take_in(b"BEGIN\r\n").unwrap()).starts_with("ERROR"));
        assert_eq!(answer(handshake.take_in(b"AUTH ANONYMOUS\r\n").unwrap()), "REJECTED EXTERNAL\r\n");
    }

    #[test]
    fn what_does_not_get_on_is_ended() {
        assert_eq!(handshake().take_in(b"GET / HTTP/1.1\r\n"), Err(HandshakeError::NotDbus));
        let mut long = vec![0];
        long.resize(2 * MAX_LINE, b'A');
        assert_eq!(handshake().take_in(&long), Err(HandshakeError::LineTooLong));
        long.extend_from_slice(b"\r\n");
        assert_eq!(handshake().take_in(&long), Err(HandshakeError::LineTooLong));
        let mut many = vec![0];
        many.extend(b"\r\n".repeat(MAX_COMMANDS + 1));
        assert_eq!(handshake().take_in(&many), Err(HandshakeError::TooManyCommands));
        assert!(answer(handshake().take_in(b"\0\n\xff\r\n").unwrap()).starts_with("ERROR"));
    }
}
