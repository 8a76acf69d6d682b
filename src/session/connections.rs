// SPDX-License-Identifier: MPL-2.0
//! The connections of a session, by id: the serving one, and during a rotation a second one, either
//! its successor or its predecessor. Used by the session.

use super::ConnId;
use super::connection::Connection;
use super::rotation::QUIET;
use crate::protocol::Usage;

/// The role of a connection in the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Takes the audio, now or as soon as it is ready.
    Serving,
    /// Will replace the serving connection.
    Successor,
    /// Was told that the audio has ended, and still has text to deliver.
    Retiring,
}

#[derive(Default)]
pub(super) struct Connections {
    serving: Option<Connection>,
    /// With its role, which is not [`Role::Serving`]. Boxed, since it is rarely present.
    second: Option<(Role, Box<Connection>)>,
    /// Number of ids given so far.
    count: u64,
    /// Usage billed on connections that are closed.
    billed_before: Usage,
    /// Number of serving connections in a row that gave no results for loud audio.
    unresponsive: u32,
}

impl Connections {
    /// The id of a new connection.
    pub fn next_id(&mut self) -> ConnId {
        self.count += 1;
        ConnId(self.count)
    }

    pub fn serving(&self) -> Option<&Connection> {
        self.serving.as_ref()
    }

    pub fn serving_mut(&mut self) -> Option<&mut Connection> {
        self.serving.as_mut()
    }

    /// The serving connection, while audio may be sent over it.
    pub fn taking_audio(&mut self) -> Option<&mut Connection> {
        self.serving
            .as_mut()
            .filter(|serving| serving.takes_audio())
    }

    pub fn retiring(&mut self) -> Option<&mut Connection> {
        self.second(Role::Retiring)
    }

    pub fn successor(&mut self) -> Option<&mut Connection> {
        self.second(Role::Successor)
    }

    fn second(&mut self, role: Role) -> Option<&mut Connection> {
        match &mut self.second {
            Some((is, connection)) if *is == role => Some(connection),
            _ => None,
        }
    }

    /// The role of the second connection, if there is one.
    pub fn second_role(&self) -> Option<Role> {
        self.second.as_ref().map(|(role, _)| *role)
    }

    /// The second connection, whatever its role.
    pub fn any_second(&self) -> Option<&Connection> {
        self.second.as_ref().map(|(_, connection)| &**connection)
    }

    /// The connection with this id, and its role; `None` if it is closed.
    pub fn get(&mut self, id: ConnId) -> Option<(Role, &mut Connection)> {
        if let Some(serving) = self.serving.as_mut().filter(|serving| serving.id == id) {
            return Some((Role::Serving, serving));
        }
        let (role, second) = self.second.as_mut()?;
        (second.id == id).then_some((*role, &mut **second))
    }

    /// The earliest connection that may still have text: the others' finals wait for its finals.
    pub fn earliest(&mut self) -> Option<&mut Connection> {
        match &mut self.second {
            Some((Role::Retiring, retiring)) => Some(retiring),
            _ => self.serving.as_mut(),
        }
    }

    pub fn all(&mut self) -> impl Iterator<Item = &mut Connection> {
        let second = self.second.as_mut().map(|(_, second)| &mut **second);
        second.into_iter().chain(&mut self.serving)
    }

    /// Makes this the serving connection.
    pub fn serve(&mut self, connection: Connection) {
        self.serving = Some(connection);
    }

    pub fn add_successor(&mut self, connection: Connection) {
        self.second = Some((Role::Successor, Box::new(connection)));
    }

    pub fn retire(&mut self, connection: Connection) {
        self.second = Some((Role::Retiring, Box::new(connection)));
    }

    /// Makes the successor the serving connection, and returns the previous one; `None` if no
    /// successor is ready.
    pub fn promote(&mut self) -> Option<Connection> {
        let (Role::Successor, _) = self.second.as_ref().filter(|(_, c)| c.is_ready())? else {
            return None;
        };
        let (_, successor) = self.second.take()?;
        self.serving.replace(*successor)
    }

    pub fn take_serving(&mut self) -> Option<Connection> {
        let serving = self.serving.take()?;
        self.unresponsive = serving.liveness.unresponsive();
        Some(serving)
    }

    /// The `unresponsive` argument for [`Connection::new`].
    pub fn unresponsive(&self) -> u32 {
        self.unresponsive
    }

    pub fn take_second(&mut self) -> Option<(Role, Connection)> {
        self.second.take().map(|(role, second)| (role, *second))
    }

    /// Adds the usage of a connection that is closed.
    pub fn settle_bill(&mut self, connection: &Connection) {
        self.billed_before = self.billed_before + connection.billed();
    }

    /// Usage billed on all connections.
    pub fn billed(&self) -> Usage {
        let serving = self.serving.iter();
        let second = self.second.iter().map(|(_, second)| &**second);
        serving
            .chain(second)
            .fold(self.billed_before, |sum, connection| {
                sum + connection.billed()
            })
    }

    /// Whether there may have been speech for which a connection has reported no text.
    pub fn owe_text(&self) -> bool {
        let retiring = self.second.as_ref().filter(|(r, _)| *r == Role::Retiring);
        let mut of = retiring.map(|(_, c)| &**c).into_iter().chain(&self.serving);
        of.any(Connection::owes_text)
    }

    /// Whether the audio could continue on another connection without cutting a word.
    pub fn is_between_utterances(&self) -> bool {
        let serving = self.serving.as_ref();
        serving.is_some_and(|serving| serving.is_between_utterances(QUIET))
    }
}
