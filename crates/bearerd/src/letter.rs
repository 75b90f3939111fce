//! What is sent to clients, and a shorter way to what many are told alike.

use std::{
    collections::VecDeque,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

use zbus::{Fd, Message};

/// Octets of a message before the fields of its header (D-Bus specification, "Message Format").
const FIXED_HEADER: usize = 16;
/// Where in them the serial number, and the length of the fields are.
const SERIAL: usize = 8;
const LENGTH: usize = 12;
/// How the field begins that says which object a signal is of.
const PATH: [u8; 4] = [1, 1, b'o', 0];
/// Each field begins at a multiple of this, and so does the body.
const ALIGNMENT: usize = 8;
/// A crowd is told that much at a time, alternately.
const PATTERNS: usize = 4;

/// Something to be sent.
#[derive(Clone, Debug)]
pub enum Letter {
    /// As zbus has made it.
    Message(Message),
    /// A signal as it travels, for a connection that belongs to us alone.
    Signal(Vec<u8>),
}

impl Letter {
    /// As it travels.
    #[must_use]
    pub fn octets(&self) -> &[u8] {
        match self {
            Self::Message(message) => message.data().bytes(),
            Self::Signal(octets) => octets,
        }
    }

    /// What travels with it.
    #[must_use]
    pub fn descriptors(&self) -> &[Fd<'_>] {
        match self {
            Self::Message(message) => message.data().fds(),
            Self::Signal(_) => &[],
        }
    }

    /// The message, for a connection that others send by, too.
    #[must_use]
    pub fn into_message(self) -> Option<Message> {
        match self {
            Self::Message(message) => Some(message),
            Self::Signal(_) => None,
        }
    }
}

impl From<Message> for Letter {
    fn from(message: Message) -> Self {
        Self::Message(message)
    }
}

/// A signal without the object that it is of.
#[derive(Debug)]
struct Pattern {
    fixed: [u8; FIXED_HEADER],
    /// The other fields, and the body.
    rest: Vec<u8>,
    /// How much of that are fields.
    fields: usize,
}

impl Pattern {
    /// None if the path is not the first field of it.
    fn of(signal: &Message) -> Option<Self> {
        let octets = signal.data().bytes();
        let fixed: [u8; FIXED_HEADER] = octets.get(..FIXED_HEADER)?.try_into().ok()?;
        let end_of_fields = FIXED_HEADER + number(octets, LENGTH)?;
        let path = FIXED_HEADER + PATH.len();
        let end_of_path = path + size_of::<u32>() + number(octets, path)? + 1;
        let rest = end_of_path.next_multiple_of(ALIGNMENT);
        let begins_with_path = octets.get(FIXED_HEADER..path)? == PATH;
        let fields = end_of_fields.checked_sub(rest).filter(|_| begins_with_path && signal.data().fds().is_empty())?;
        Some(Self { fixed, rest: octets.get(rest..)?.to_vec(), fields })
    }

    /// The signal of this object.
    fn signal(&self, path: &str, serial: u32) -> Option<Vec<u8>> {
        let mut octets = Vec::with_capacity(FIXED_HEADER + path.len() + 2 * ALIGNMENT + self.rest.len());
        octets.extend_from_slice(&self.fixed);
        octets.extend_from_slice(&PATH);
        octets.extend_from_slice(&u32::try_from(path.len()).ok()?.to_ne_bytes());
        octets.extend_from_slice(path.as_bytes());
        octets.push(0);
        octets.resize(octets.len().next_multiple_of(ALIGNMENT), 0);
        let fields = u32::try_from(octets.len() - FIXED_HEADER + self.fields).ok()?;
        octets.get_mut(SERIAL..LENGTH)?.copy_from_slice(&serial.to_ne_bytes());
        octets.get_mut(LENGTH..FIXED_HEADER)?.copy_from_slice(&fields.to_ne_bytes());
        octets.extend_from_slice(&self.rest);
        Some(octets)
    }
}

/// zbus makes messages in the order of octets of the machine.
fn number(octets: &[u8], at: usize) -> Option<usize> {
    let octets = octets.get(at..at + size_of::<u32>())?.try_into().ok()?;
    usize::try_from(u32::from_ne_bytes(octets)).ok()
}

/// Signals that were made last, by what they tell: a crowd is told the same of many objects, and to make a message from nothing
/// takes longer than to send it.
#[derive(Debug)]
pub struct Repeated<K>(Mutex<VecDeque<(K, Pattern)>>);

impl<K> Default for Repeated<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Clone + PartialEq> Repeated<K> {
    /// The signal that tells this of the object with this path; `make` makes it.
    pub(crate) fn signal(&self, path: &str, told: &K, make: impl FnOnce() -> Option<Message>) -> Option<Letter> {
        // None is answered, so it only has to be a number.
        static LAST: AtomicU32 = AtomicU32::new(0);
        let mut patterns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, pattern)) = patterns.iter().find(|(known, _)| known == told) {
            let serial = LAST.fetch_add(1, Ordering::Relaxed).wrapping_add(1).max(1);
            if let Some(signal) = pattern.signal(path, serial) {
                return Some(Letter::Signal(signal));
            }
        }
        let message = make()?;
        if let Some(pattern) = Pattern::of(&message) {
            patterns.truncate(PATTERNS - 1);
            patterns.push_front((told.clone(), pattern));
        }
        Some(message.into())
    }
}

#[cfg(test)]
mod tests {
    use netbearer_dbus::{SESSION_INTERFACE, session_path};

    use super::*;

    fn made(number: u64, text: &str) -> Message {
        Message::signal(session_path(number), SESSION_INTERFACE, "Told").build(&(text, 7_u64)).unwrap()
    }

    /// All but its serial number.
    fn without_serial(octets: &[u8]) -> (&[u8], &[u8]) {
        (&octets[..SERIAL], &octets[LENGTH..])
    }

    #[test]
    fn what_is_repeated_of_another_object_is_what_zbus_would_make() {
        let repeated = Repeated::default();
        for number in [1, 10, 123, 4_567, 89_012, u64::MAX] {
            for text in ["", "so", "a much longer one", "so"] {
                let path = session_path(number);
                let letter = repeated.signal(&path, &text, || Some(made(number, text))).unwrap();
                let expected = made(number, text);
                assert_eq!(without_serial(letter.octets()), without_serial(expected.data().bytes()), "{path} {text}");
                assert_ne!(letter.octets()[SERIAL..LENGTH], [0; 4]);
            }
        }
    }

    #[test]
    fn the_same_of_many_objects_is_made_once_and_something_else_anew() {
        let repeated = Repeated::default();
        let mut made_anew = Vec::new();
        for number in 0..10 {
            for text in ["one", "two"] {
                let make = || {
                    made_anew.push((number, text));
                    Some(made(number, text))
                };
                repeated.signal(&session_path(number), &text, make).unwrap();
            }
        }
        assert_eq!(made_anew, [(0, "one"), (0, "two")]);
        let more: Vec<String> = (0..PATTERNS).map(|number| number.to_string()).collect();
        for text in &more {
            assert!(repeated.signal("/x", &text.as_str(), || Some(made(1, text))).is_some());
        }
        assert!(repeated.signal("/x", &"one", || None).is_none(), "few are remembered");
    }

    #[test]
    fn a_signal_with_descriptors_is_never_repeated() {
        let file = std::fs::File::open("/dev/null").unwrap();
        let signal = Message::signal("/x", SESSION_INTERFACE, "Told").build(&zbus::Fd::from(&file)).unwrap();
        assert!(Pattern::of(&signal).is_none());
    }
}
