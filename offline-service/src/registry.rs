// SPDX-License-Identifier: MPL-2.0

//! The connections of a service: what is open, and what happened.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedSender;

use crate::filter::Wire;
use crate::record::{ClientEvent, End, SessionRecord, StreamNews};

/// Something an observer of the service is told.
#[derive(Clone, Copy, Debug)]
pub enum Notice<'a> {
    /// A session has begun.
    Opened,
    /// An event is sent to the client.
    Sent(&'a Value),
    /// A connection whose request was read has ended.
    Ended(&'a End),
}

/// Is told what happens; the first argument is the number of the connection. It is called
/// from the threads that serve the sessions and should return soon.
pub type Observer = Arc<dyn Fn(usize, Notice) + Send + Sync>;

/// How to reach an open connection.
struct Handle {
    connection: usize,
    wire: UnboundedSender<Wire>,
    reset: Arc<Notify>,
}

#[derive(Default)]
struct State {
    accepted: usize,
    open: usize,
    sessions: usize,
    records: Vec<SessionRecord>,
    handles: Vec<Handle>,
}

/// The connections of a service.
#[derive(Default)]
pub struct Registry {
    state: Mutex<State>,
    changed: Condvar,
    observer: Option<Observer>,
    /// Whether to keep what happened, which takes ever more memory.
    keep: bool,
}

impl Registry {
    pub fn new(observer: Option<Observer>, keep: bool) -> Self {
        Self {
            observer,
            keep,
            ..Self::default()
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is consistent between any two statements that change it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.lock());
        self.changed.notify_all();
        result
    }

    fn change_record(&self, connection: usize, change: impl FnOnce(&mut SessionRecord)) {
        if self.keep {
            self.change(|state| {
                let mut records = state.records.iter_mut();
                if let Some(record) = records.find(|record| record.connection == connection) {
                    change(record);
                }
            });
        }
    }

    fn observe(&self, connection: usize, notice: Notice) {
        if let Some(observer) = &self.observer {
            observer(connection, notice);
        }
    }

    /// Counts a connection until what is returned is dropped, and returns its number.
    pub fn accept(self: &Arc<Self>) -> (usize, Accepted) {
        let number = self.change(|state| {
            state.accepted += 1;
            state.open += 1;
            state.accepted - 1
        });
        (number, Accepted(self.clone()))
    }

    /// Counts a session until what is returned is dropped, unless there are `limit` already.
    pub fn open_session(self: &Arc<Self>, limit: usize) -> Option<OpenSession> {
        let mut state = self.lock();
        if state.sessions >= limit {
            return None;
        }
        state.sessions += 1;
        Some(OpenSession(self.clone()))
    }

    pub fn request(&self, record: SessionRecord) {
        if self.keep {
            self.change(|state| state.records.push(record));
        }
    }

    pub fn opened(&self, connection: usize, wire: UnboundedSender<Wire>, reset: Arc<Notify>) {
        self.observe(connection, Notice::Opened);
        self.lock().handles.push(Handle {
            connection,
            wire,
            reset,
        });
    }

    pub fn received(&self, connection: usize, event: ClientEvent) {
        self.change_record(connection, |record| record.push_received(event));
    }

    pub fn stream(&self, connection: usize, news: StreamNews) {
        self.change_record(connection, |record| record.push_news(news));
    }

    pub fn pinged(&self, connection: usize) {
        self.change_record(connection, |record| record.pings += 1);
    }

    pub fn sent(&self, connection: usize, event: &Value) {
        self.observe(connection, Notice::Sent(event));
        self.change_record(connection, |record| record.sent.push(event.clone()));
    }

    pub fn ended(&self, connection: usize, end: End) {
        self.lock()
            .handles
            .retain(|handle| handle.connection != connection);
        self.observe(connection, Notice::Ended(&end));
        self.change_record(connection, |record| record.end = Some(end));
    }

    pub fn accepted_count(&self) -> usize {
        self.lock().accepted
    }

    pub fn open_count(&self) -> usize {
        self.lock().open
    }

    pub fn records(&self) -> Vec<SessionRecord> {
        self.lock().records.clone()
    }

    pub fn wait_for_records(
        &self,
        timeout: Duration,
        mut condition: impl FnMut(&[SessionRecord]) -> bool,
    ) -> bool {
        self.wait(timeout, |state| condition(&state.records))
    }

    pub fn wait_for_counts(
        &self,
        timeout: Duration,
        mut condition: impl FnMut(usize, usize) -> bool,
    ) -> bool {
        self.wait(timeout, |state| condition(state.accepted, state.open))
    }

    fn wait(&self, timeout: Duration, mut condition: impl FnMut(&State) -> bool) -> bool {
        let (_state, result) = self
            .changed
            .wait_timeout_while(self.lock(), timeout, |state| !condition(state))
            .unwrap_or_else(PoisonError::into_inner);
        !result.timed_out()
    }

    /// Sends something on all open connections.
    pub fn send_to_all(&self, wire: &Wire) {
        for handle in &self.lock().handles {
            // A connection that has just ended needs nothing.
            let _ = handle.wire.send(wire.clone());
        }
    }

    /// What is sent here goes to a client each.
    pub fn clients(&self) -> Vec<UnboundedSender<Wire>> {
        let state = self.lock();
        let wires = state.handles.iter().map(|handle| handle.wire.clone());
        wires.collect()
    }

    /// Resets all open connections.
    pub fn reset_all(&self) {
        for handle in &self.lock().handles {
            handle.reset.notify_one();
        }
    }
}

/// A connection that is counted.
pub struct Accepted(Arc<Registry>);

impl Drop for Accepted {
    fn drop(&mut self) {
        self.0.change(|state| state.open -= 1);
    }
}

/// A session that is counted.
pub struct OpenSession(Arc<Registry>);

impl Drop for OpenSession {
    fn drop(&mut self) {
        self.0.lock().sessions -= 1;
    }
}
