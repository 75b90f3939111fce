use std::{fmt, path::PathBuf, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

/// What the process is told to do, as a line of words. Sessions and descriptors are numbered from 0 in the order in which they
/// were asked for, those too that were refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Makes a session on what has this name.
    Session(String),
    /// The session survives the loss of its link.
    Reconnect(usize),
    /// Asks the service something of a session, so that it has done what it was asked before.
    Ask(usize),
    /// Opens a session.
    Open(usize),
    /// Closes a session.
    Close(usize),
    /// Stops a session's link.
    Stop(usize),
    /// Forgets a session.
    Drop(usize),
    /// Takes another hold of a session, as a descriptor.
    Hold(usize),
    /// Closes a descriptor.
    Release(usize),
    /// Passes a descriptor on to who listens at this socket; it stays here as well.
    Send(usize, PathBuf),
    /// Listens at this socket for one descriptor, and says when it has it.
    Receive(PathBuf),
    /// Decides where a session roams from now on: the answers in turn, and then from the first on again. A trial goes on for this
    /// long.
    Decide(usize, Duration, Vec<Answer>),
    /// Makes a connection through a session, to a server that greets with the name of its access point. It takes the place of the
    /// connection that the session had.
    Connect(usize),
    /// Has the server send something back by a session's connection.
    Echo(usize),
}

/// What a session's process answers when another access point is offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// Migrates to it, and goes on with it.
    Accept,
    /// Migrates to it, and goes on without it.
    Reject,
    /// Stays.
    Ignore,
    /// Nothing, for as long as the process lives.
    Wait,
}

/// A line that is no order.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no order")]
pub struct OrderError(String);

impl FromStr for Order {
    type Err = OrderError;

    fn from_str(line: &str) -> Result<Self, Self::Err> {
        let wrong = || OrderError(line.to_owned());
        let words: Vec<&str> = line.split(' ').collect();
        let number = |word: &str| word.parse().map_err(|_| wrong());
        Ok(match words[..] {
            ["session", name] => Self::Session(name.to_owned()),
            ["reconnect", session] => Self::Reconnect(number(session)?),
            ["ask", session] => Self::Ask(number(session)?),
            ["open", session] => Self::Open(number(session)?),
            ["close", session] => Self::Close(number(session)?),
            ["stop", session] => Self::Stop(number(session)?),
            ["drop", session] => Self::Drop(number(session)?),
            ["hold", session] => Self::Hold(number(session)?),
            ["release", descriptor] => Self::Release(number(descriptor)?),
            ["send", descriptor, socket] => Self::Send(number(descriptor)?, socket.into()),
            ["receive", socket] => Self::Receive(socket.into()),
            ["decide", session, trial, ref answers @ ..] if !answers.is_empty() => {
                let answers = answers.iter().map(|answer| answer.parse()).collect::<Result<_, _>>()?;
                let trial = trial.parse().map(Duration::from_millis).map_err(|_| wrong())?;
                Self::Decide(number(session)?, trial, answers)
            }
            ["connect", session] => Self::Connect(number(session)?),
            ["echo", session] => Self::Echo(number(session)?),
            _ => return Err(wrong()),
        })
    }
}

impl fmt::Display for Order {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Session(name) => write!(formatter, "session {name}"),
            Self::Reconnect(session) => write!(formatter, "reconnect {session}"),
            Self::Ask(session) => write!(formatter, "ask {session}"),
            Self::Open(session) => write!(formatter, "open {session}"),
            Self::Close(session) => write!(formatter, "close {session}"),
            Self::Stop(session) => write!(formatter, "stop {session}"),
            Self::Drop(session) => write!(formatter, "drop {session}"),
            Self::Hold(session) => write!(formatter, "hold {session}"),
            Self::Release(descriptor) => write!(formatter, "release {descriptor}"),
            Self::Send(descriptor, socket) => write!(formatter, "send {descriptor} {}", socket.display()),
            Self::Receive(socket) => write!(formatter, "receive {}", socket.display()),
            Self::Decide(session, trial, answers) => {
                write!(formatter, "decide {session} {}", trial.as_millis())?;
                answers.iter().try_for_each(|answer| write!(formatter, " {answer}"))
            }
            Self::Connect(session) => write!(formatter, "connect {session}"),
            Self::Echo(session) => write!(formatter, "echo {session}"),
        }
    }
}

impl FromStr for Answer {
    type Err = OrderError;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        match word {
            "accept" => Ok(Self::Accept),
            "reject" => Ok(Self::Reject),
            "ignore" => Ok(Self::Ignore),
            "wait" => Ok(Self::Wait),
            _ => Err(OrderError(word.to_owned())),
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Accept => "accept",
            Self::Reject => "reject",
            Self::Ignore => "ignore",
            Self::Wait => "wait",
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn what_is_written_is_read_and_nothing_else() {
        let orders = [
            Order::Session("ap0".to_owned()),
            Order::Reconnect(0),
            Order::Ask(0),
            Order::Open(1),
            Order::Close(2),
            Order::Stop(3),
            Order::Drop(4),
            Order::Hold(5),
            Order::Release(6),
            Order::Send(7, "/run/there".into()),
            Order::Receive("/run/there".into()),
            Order::Decide(
                8,
                Duration::from_millis(20),
                vec![Answer::Accept, Answer::Reject, Answer::Ignore, Answer::Wait],
            ),
            Order::Connect(9),
            Order::Echo(10),
        ];
        for order in orders {
            assert_eq!(order.to_string().parse(), Ok(order));
        }
        for wrong in ["", "open", "open x", "open 1 2", "shut 1", "decide 1 20", "decide 1 20 maybe"] {
            assert!(wrong.parse::<Order>().is_err(), "{wrong}");
        }
    }
}
