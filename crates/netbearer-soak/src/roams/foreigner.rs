use std::{collections::BTreeMap, time::Duration};

use netbearer_lab::{Conversation, ECHO_PORT, INTERNET};
use socket2::{Domain, Socket, Type};

use crate::{
    error::SoakError,
    kills::{name_of, plan::Place, stage::Stage},
};

/// For a server to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is written down of a connection that has lasted.
pub(crate) const STILL_THERE: &str = "who is no client has a connection still";

/// Connections of somebody who is no client, each by one link: no socket of theirs was ever given to a session.
#[derive(Debug, Default)]
pub(crate) struct Foreigner {
    connections: BTreeMap<Place, Conversation>,
}

impl Foreigner {
    /// The cable is cut, so nothing can be said of a connection any more.
    pub(crate) fn forget(&mut self, place: Place) {
        self.connections.remove(&place);
    }

    /// By this link there is a connection; the one that was there before must still work.
    pub(crate) fn look_at(&mut self, stage: &Stage, place: Place) -> Result<(), SoakError> {
        let name = name_of(place);
        if let Some(connection) = self.connections.get_mut(&place) {
            let lost = |error| SoakError::Wrong(format!("who is no client has lost a connection by {name}: {error}"));
            connection.echo(b"still there").map_err(lost)?;
            stage.pulse.note(format!("{STILL_THERE} by {name}"));
            return Ok(());
        }
        let connection = stage.lab.machine().run(|| {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
            socket.bind_device(Some(name.as_bytes()))?;
            socket.connect_timeout(&std::net::SocketAddr::from((INTERNET, ECHO_PORT)).into(), PATIENCE)?;
            Conversation::over(socket.into(), PATIENCE).map_err(SoakError::from)
        })?;
        if connection.access_point() != name {
            let other = connection.access_point();
            return Err(SoakError::Wrong(format!("who is no client has reached {other} by {name}")));
        }
        self.connections.insert(place, connection);
        Ok(())
    }
}
