// SPDX-License-Identifier: MPL-2.0
//! The session itself: dispatches each event to the connection that it concerns, and decides what
//! follows for the session as a whole. Called by the network driver through `handle_…` and
//! `poll_…`.
//!
//! ```text
//!   Waiting ──(retry is due)──▶ Serving: Connecting ▶ Opening ▶ Ready ──finish──▶ Finishing
//!      ▲                                    │           │         │                  │
//!      └───────────(a failure that is retried)──────────┴─────────┴──────────────────┤
//!                                                                                    ▼
//!             (a failure that is not, or all was said)  ─────────────────────────▶  Over
//! ```

mod audio;
mod ending;
mod handover;
mod outages;

use std::time::Duration;

use super::backlog::Replay;
use super::connection::{Connection, Stage};
use super::connections::{Connections, Role};
use super::liveness::Need;
use super::models::Models;
use super::outage::Outage;
use super::outbox::Outbox;
use super::pacer::Pacer;
use super::reporter::Reporter;
use super::rotation::{MAX_STANDBY, Rotation};
use super::segmenter::Segmenter;
use super::stall::Stall;
use super::{Config, ConnId, Net, Output, SentAudio, State, Warning};
use crate::protocol::{Command, Event, Failure, Kind, Limits, Quote, Statement, Usage};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// There is no connection; the next attempt is scheduled.
    Waiting {
        until: Duration,
    },
    /// A connection is open, or being opened.
    Serving,
    /// The service was told that no more audio comes.
    Finishing,
    Over,
}

/// The end of the audio.
#[derive(Debug, Default)]
struct End {
    /// A service was told of it: a failure then leaves text incomplete, it does not fail the
    /// session.
    told: bool,
    /// The serving connection has finished, but the retiring one has not.
    all_said: bool,
    /// Deadline for the end of the session.
    by: Option<Duration>,
}

/// Longest wait for a connection's turn: longer than a thousand streams take that are all back at the
/// same time, at the slowest pace.
const MAX_QUEUE_TIME: Duration = Duration::from_secs(2 * 3600);

/// The reason for a session's next timeout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wake {
    /// The time to finish has expired.
    FinishTimeout,
    /// The next attempt to connect is due.
    Retry,
    /// Connecting, or the service's response to the settings, takes too long.
    OpenTimeout,
    /// A ping or keep-alive is due, or the service counts as unresponsive.
    Liveness,
    /// Audio sent a while ago turns out to have been silence.
    Quiet,
    /// A final has waited long enough for that of an earlier utterance.
    Reorder,
    /// A successor is late, or a retiring connection is.
    Rotation,
    /// The source has stalled.
    Stall,
}

impl Wake {
    const ALL: [Self; 8] = [
        Self::FinishTimeout,
        Self::Retry,
        Self::OpenTimeout,
        Self::Liveness,
        Self::Quiet,
        Self::Reorder,
        Self::Rotation,
        Self::Stall,
    ];
}

/// One session: from the first audio to the end of the text, over as many connections as it takes.
///
/// Time must not go backwards. After every call of a `handle_…` function, drain
/// [`Self::poll_output`], then call [`Self::poll_timeout`]. Input that makes no sense in the
/// current state (audio without a connection, a second announcement of the end) is ignored.
pub struct Session {
    config: Config,
    models: Models,
    /// Those of the present model.
    limits: Limits,
    phase: Phase,
    end: End,
    connections: Connections,
    rotation: Rotation,
    outage: Outage,
    reporter: Reporter,
    pacer: Pacer,
    /// Finds the utterances, if client VAD is on.
    segmenter: Option<Segmenter>,
    replay: Replay,
    stall: Stall,
    /// The context differs from the one that the codecs have.
    context_changed: bool,
    sent: SentAudio,
    outbox: Outbox,
    /// Reused, so that decoding allocates nothing in the steady state.
    events: Vec<Event>,
}

impl Session {
    /// Creates a session, which requests its connection at once.
    pub fn new(config: Config, models: Models, now: Duration) -> Self {
        let limits = models.codec().limits();
        // Without commits a segmenter would have no effect.
        let segmenter = config
            .client_vad
            .zip(limits.max_utterance_ms)
            .map(|(settings, limit)| Segmenter::new(settings, config.rate, limit));
        let speed = if config.max_speed > 0.0 {
            config.max_speed
        } else {
            limits.max_speed
        };
        let mut session = Self {
            limits,
            phase: Phase::Serving,
            end: End::default(),
            connections: Connections::default(),
            rotation: Rotation::new(config.rotate_after, config.seed.wrapping_add(1)),
            outage: Outage::new(config.is_live, config.seed),
            reporter: Reporter::default(),
            pacer: Pacer::new(speed, now),
            segmenter,
            replay: Replay::default(),
            stall: Stall::new(config.is_live),
            context_changed: false,
            sent: SentAudio::default(),
            outbox: Outbox::default(),
            events: Vec::new(),
            config,
            models,
        };
        session.announce(State::Connecting, "");
        session.connect(now);
        session
    }

    /// The next action.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outbox.pop()
    }

    /// When to call [`Self::handle_timeout`], unless something else happens before, and why.
    pub fn poll_timeout(&self) -> Option<(Duration, Wake)> {
        let deadlines = self.deadlines().into_iter().zip(Wake::ALL);
        deadlines
            .filter_map(|(when, wake)| Some((when?, wake)))
            .min_by_key(|(when, _)| *when)
    }

    /// The table of deadlines, in the order of [`Wake::ALL`].
    fn deadlines(&self) -> [Option<Duration>; Wake::ALL.len()] {
        if self.is_over() {
            return [None; Wake::ALL.len()];
        }
        let serving = self.connections.serving();
        let (ready, opening) = match serving {
            Some(serving) if serving.is_ready() => (Some(serving), None),
            serving => (None, serving),
        };
        let second = self.connections.any_second();
        let is_handing_over = self.connections.second_role() == Some(Role::Retiring);
        let answering = if is_handing_over { second } else { ready };
        let retry = match self.phase {
            Phase::Waiting { until } => Some(until),
            _ => None,
        };
        let may_stall = self.is_running() && self.replay.is_empty();
        [
            self.end.by,
            retry,
            opening.map(|connection| connection.until),
            ready.map(|connection| connection.liveness.next()),
            ready.and_then(Connection::quiet_deadline),
            answering.and_then(Connection::reorder_deadline),
            second.map(|connection| connection.until),
            self.stall.deadline().filter(|_| may_stall),
        ]
    }

    /// The session is over: it will have no more outputs.
    pub fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// No connection could take audio, other than for the moment that a planned replacement takes.
    pub fn is_down(&self) -> bool {
        let serving = self.connections.serving();
        self.is_over() || !serving.is_some_and(|s| s.is_ready() || s.is_planned)
    }

    /// Another server is to take over from one that left in good order, and has not done so yet.
    pub fn is_moving(&self) -> bool {
        self.outage.is_moving()
    }

    /// The connection that takes the audio, now or as soon as it is ready.
    pub fn serving(&self) -> Option<ConnId> {
        Some(self.connections.serving()?.id)
    }

    /// Whether the connection of this id takes the place of one that failed.
    pub fn is_retry(&self, id: ConnId) -> bool {
        let serving = self.connections.serving();
        serving.is_some_and(|serving| serving.id == id && serving.is_retry)
    }

    /// The number of the model that the next connection asks for.
    pub fn model(&self) -> usize {
        self.models.number()
    }

    /// The audio sent, and the usage that the service billed.
    pub fn usage(&self) -> (SentAudio, Usage) {
        (self.sent, self.connections.billed())
    }

    fn is_running(&self) -> bool {
        let serving = self.connections.serving();
        self.phase == Phase::Serving && serving.is_some_and(Connection::is_ready)
    }

    /// Changes the settings. Those of the protocol, in the codecs of the same `models`, apply from
    /// the next connection; the context applies at once where the protocol allows that. With `rotate` the
    /// next connection takes over in the next pause.
    pub fn handle_settings(
        &mut self,
        models: Models,
        context: Option<String>,
        rotate: bool,
        now: Duration,
    ) {
        self.models.update(models);
        if self.config.context != context {
            self.config.context = context;
            self.context_changed = true;
            self.send_context(now);
        }
        if rotate {
            self.demand_rotation(now);
        }
    }

    /// Handles an event on a connection.
    pub fn handle_net(&mut self, id: ConnId, net: Net<'_>, now: Duration) {
        // Events of a connection that is closed concern no one.
        let Some((_, connection)) = self.connections.get(id) else {
            return;
        };
        match net {
            // How long that takes says nothing about the network.
            Net::Queued if connection.stage == Stage::Connecting => {
                connection.until = now + MAX_QUEUE_TIME;
            }
            Net::Admitted if connection.stage == Stage::Connecting => {
                connection.until = now + self.config.connect_timeout;
            }
            Net::Queued | Net::Admitted => {}
            Net::Connected if connection.stage == Stage::Connecting => {
                connection.stage = Stage::Opening;
                connection.until = now + self.config.response_timeout;
                connection.codec.open(&mut self.outbox.frames);
                self.outbox.send_frames(id);
            }
            Net::Connected => {}
            Net::Unreachable(failure) => self.connection_failed(id, failure, now),
            Net::Refused(refusal) => {
                let failure = connection.codec.refused(&refusal);
                self.connection_failed(id, failure, now);
            }
            Net::Closed { code, reason } => {
                let failure = connection.codec.closed(code, reason);
                self.connection_failed(id, failure, now);
            }
            Net::Alive => connection.liveness.received(now),
            Net::Frame(frame) => {
                connection.liveness.received(now);
                let (events, frames) = (&mut self.events, &mut self.outbox.frames);
                connection.codec.decode(frame, events, frames);
                self.outbox.send_frames(id);
                self.handle_events(id, now);
                self.report(now);
            }
        }
    }

    fn handle_events(&mut self, id: ConnId, now: Duration) {
        let mut events = std::mem::take(&mut self.events);
        for event in events.drain(..) {
            self.handle_event(id, event, now);
        }
        self.events = events;
    }

    fn handle_event(&mut self, id: ConnId, event: Event, now: Duration) {
        // Events after the connection ended do not concern the next one.
        let Some((role, connection)) = self.connections.get(id) else {
            return;
        };
        match (event, role) {
            (Event::Ready { session_id }, _) => self.ready(id, session_id, now),
            (Event::Finished, Role::Serving) => self.finished(now),
            (Event::Finished, Role::Retiring) => self.end_retirement(now),
            (Event::Finished, Role::Successor) => self.postpone_rotation(None, now),
            (Event::Failed(failure), _) => self.connection_failed(id, failure, now),
            (_, Role::Successor) => {}
            (Event::Warning(message), _) => self.outbox.warn(Warning::Ignored(message)),
            (Event::Unknown { name }, _) => {
                connection.unknown(&name, now);
                let what = Statement::from("ignored an unknown event '").quoting(name);
                self.outbox.warn(Warning::Ignored(what.then("'")));
            }
            (event, _) => connection.absorb(
                event,
                self.config.context.as_deref(),
                self.segmenter.is_none(),
                now,
                &mut self.reporter,
                &mut self.outbox,
            ),
        }
    }

    /// The service accepted the settings.
    fn ready(&mut self, id: ConnId, session_id: Option<String>, now: Duration) {
        let Some((role, connection)) = self.connections.get(id) else {
            return;
        };
        if connection.stage != Stage::Opening {
            return;
        }
        connection.stage = Stage::Ready {
            since: now,
            session_id,
        };
        if role == Role::Successor {
            let standby = self.limits.keep_alive.unwrap_or(MAX_STANDBY);
            connection.until = now + standby.min(MAX_STANDBY);
            return self.rotate(now);
        }
        let is_planned = connection.is_planned;
        self.pacer.restart(now);
        self.stall.restart(now);
        self.rotation.schedule(now);
        self.outage.ready();
        if !self.end.told {
            // From now on the limit depends on the amount of audio.
            self.end.by = None;
        }
        if !is_planned {
            self.announce(State::Connected, "");
        }
        self.send_context(now);
    }

    /// Handles the passing of time.
    pub fn handle_timeout(&mut self, now: Duration) {
        // Most deadlines were put off since the alarm was set.
        if self.poll_timeout().is_none_or(|(when, _)| when > now) {
            return;
        }
        for (index, wake) in Wake::ALL.into_iter().enumerate() {
            // Looked up again each time: what one of them does may put off another.
            if self.deadlines()[index].is_some_and(|when| when <= now) {
                self.wake(wake, now);
            }
        }
        self.report(now);
    }

    fn wake(&mut self, wake: Wake, now: Duration) {
        match wake {
            Wake::FinishTimeout => self.finish_too_late(now),
            Wake::Retry => {
                self.connect(now);
                if let Some(serving) = self.connections.serving_mut() {
                    serving.is_retry = true;
                }
            }
            Wake::OpenTimeout => {
                let serving = self.connections.serving();
                let is_open = serving.is_some_and(|s| s.stage == Stage::Opening);
                let failure = self.open_timeout(is_open);
                self.fail(failure, now);
            }
            Wake::Liveness => self.stay_alive(now),
            // `report`, below, takes care of these.
            Wake::Quiet | Wake::Reorder => {}
            Wake::Rotation => self.handle_second_timeout(now),
            Wake::Stall => self.stall.begin(),
        }
    }

    fn open_timeout(&self, is_open: bool) -> Failure {
        if is_open {
            let within = self.config.response_timeout.as_millis();
            return Failure::new(
                Kind::Unreachable,
                format!("The service did not accept the session within {within} ms."),
                "Check that the url property points to such a service, or raise response-timeout.",
            );
        }
        let within = self.config.connect_timeout.as_millis();
        Failure::new(
            Kind::Unreachable,
            format!("No connection could be made within {within} ms."),
            "Check the network, a proxy and the url property, or raise connect-timeout.",
        )
        .unanswered()
    }

    fn stay_alive(&mut self, now: Duration) {
        let Some(serving) = self.connections.serving_mut() else {
            return;
        };
        let what = match serving.liveness.need(now) {
            None => return,
            Some(Need::Foreign) => {
                let name = serving.first_unknown().cloned();
                return self.fail(foreign(name), now);
            }
            Some(Need::Ping) => return self.outbox.push(Output::Ping(serving.id)),
            Some(Need::Silence) => return self.keep_alive(now),
            Some(Need::Dead) => "The service stopped responding.",
            Some(Need::Unresponsive) => "The service gives no results for what it is sent.",
        };
        let remedy = "Check the network, or raise response-timeout.";
        self.fail(Failure::new(Kind::Lost, what, remedy), now);
    }

    fn connect(&mut self, now: Duration) {
        self.phase = Phase::Serving;
        let connection = self.new_connection(self.connections.unresponsive(), now);
        self.outbox.push(Output::Connect(connection.id));
        self.connections.serve(connection);
    }

    fn new_connection(&mut self, unresponsive: u32, now: Duration) -> Connection {
        let id = self.connections.next_id();
        Connection::new(id, self.models.codec(), &self.config, unresponsive, now)
    }

    /// Has the serving connection send a command.
    fn command(&mut self, command: Command<'_>, now: Duration) {
        if let Some(serving) = self.connections.serving_mut() {
            let id = serving.id;
            serving.command(command, &mut self.events, &mut self.outbox);
            if !self.events.is_empty() {
                self.handle_events(id, now);
                self.report(now);
            }
        }
    }

    fn announce(&mut self, state: State, reason: impl Into<Statement>) {
        let serving = self.connections.serving();
        let session_id = serving.and_then(Connection::session_id);
        self.outbox.state(state, session_id, reason.into());
    }
}

fn foreign(name: Option<Quote>) -> Failure {
    let mut what = Statement::from(
        "The server answers speech with events that this protocol does \
                                    not have",
    );
    if let Some(name) = name {
        what = what.quoting_within(", the first of them '", name, "'");
    }
    Failure::new(
        Kind::Settings,
        what.then("."),
        "Set the protocol property, or the path of the url property, to what the server speaks.",
    )
}

#[cfg(test)]
mod tests;
