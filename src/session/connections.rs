// SPDX-License-Identifier: MPL-2.0
//! The connections of a session, by id: the one that serves, and at times a second one, which is to
//! take its place or has left it.

use super::ConnId;
use super::connection::Connection;
use super::rotation::QUIET;
use crate::protocol::Usage;

/// What a connection is to the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Audio goes over it, or will as soon as it is ready.
    Serving,
    /// Will take the place of the one that serves.
    Successor,
    /// Was told that no more audio comes, and has text left to give.
    Retiring,
}

#[derive(Default)]
pub(super) struct Connections {
    serving: Option<Connection>,
    /// With its role, which is not [`Role::Serving`]. In a box: it is there at times only.
    second: Option<(Role, Box<Connection>)>,
    /// Ids given so far.
    count: u64,
    /// What connections cost that are gone.
    billed_before: Usage,
    /// Connections in a row that served and gave no results for loud audio.
    unresponsive: u32,
}

impl Connections {
    /// The id of another connection.
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

    /// The connection that serves, once the service has accepted the session.
    pub fn ready(&mut self) -> Option<&mut Connection> {
        self.serving.as_mut().filter(|serving| serving.is_ready())
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

    /// The second connection, whatever it is.
    pub fn any_second(&self) -> Option<&Connection> {
        self.second.as_ref().map(|(_, connection)| &**connection)
    }

    /// The connection with this id, and what it is; `None` if it is gone.
    pub fn get(&mut self, id: ConnId) -> Option<(Role, &mut Connection)> {
        if let Some(serving) = self.serving.as_mut().filter(|serving| serving.id == id) {
            return Some((Role::Serving, serving));
        }
        let (role, second) = self.second.as_mut()?;
        (second.id == id).then_some((*role, &mut **second))
    }

    /// The earliest connection that may have text left: finals of the others wait for its.
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

    /// Puts a connection in the place of the one that serves.
    pub fn serve(&mut self, connection: Connection) {
        self.serving = Some(connection);
    }

    pub fn add_successor(&mut self, connection: Connection) {
        self.second = Some((Role::Successor, Box::new(connection)));
    }

    pub fn retire(&mut self, connection: Connection) {
        self.second = Some((Role::Retiring, Box::new(connection)));
    }

    /// The successor serves from now on. Returns the connection that did, unless there is no
    /// successor that is ready.
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

    /// What [`Connection::new`] wants to know of the connections before.
    pub fn unresponsive(&self) -> u32 {
        self.unresponsive
    }

    pub fn take_second(&mut self) -> Option<(Role, Connection)> {
        self.second.take().map(|(role, second)| (role, *second))
    }

    /// A connection is gone.
    pub fn settle_bill(&mut self, connection: &Connection) {
        self.billed_before = self.billed_before + connection.billed();
    }

    /// What all connections have cost.
    pub fn billed(&self) -> Usage {
        let serving = self.serving.iter();
        let second = self.second.iter().map(|(_, second)| &**second);
        serving
            .chain(second)
            .fold(self.billed_before, |sum, connection| {
                sum + connection.billed()
            })
    }

    /// Whether something may have been said of which a connection has not told.
    pub fn owe_text(&self) -> bool {
        let retiring = self.second.as_ref().filter(|(r, _)| *r == Role::Retiring);
        let mut of = retiring.map(|(_, c)| &**c).into_iter().chain(&self.serving);
        of.any(Connection::owes_text)
    }

    /// Whether the audio could go on over another connection without tearing a word.
    pub fn is_between_utterances(&self) -> bool {
        let serving = self.serving.as_ref();
        serving.is_some_and(|serving| serving.is_between_utterances(QUIET))
    }
}
