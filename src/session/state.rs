// SPDX-License-Identifier: MPL-2.0
//! The session itself: routes what happens to the connection that it concerns, and decides what
//! follows for the session as a whole.
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
use super::outage::Outage;
use super::outbox::Outbox;
use super::pacer::Pacer;
use super::reporter::Reporter;
use super::rotation::{MAX_STANDBY, Rotation};
use super::segmenter::Segmenter;
use super::stall::Stall;
use super::{Config, ConnId, Net, Output, State, Warning};
use crate::protocol::{
    CodecFactory, Command, Event, Failure, Kind, Limits, Quote, Statement, Usage,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// There is no connection; the next attempt is due.
    Waiting {
        until: Duration,
    },
    /// There is a connection, or it is being made.
    Serving,
    /// The service was told that no more audio comes.
    Finishing,
    Over,
}

/// The end of the audio.
#[derive(Debug, Default)]
struct End {
    /// A service was told of it: what is missing then is text, not a session.
    told: bool,
    /// All was said over the connection that serves, but not over the one that retires.
    all_said: bool,
    /// Until when all must be over.
    by: Option<Duration>,
}

/// Why a session wants to be woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wake {
    /// The time to finish is over.
    FinishTimeout,
    /// The next attempt to connect is due.
    Retry,
    /// Connecting, or the service's answer to the settings, takes too long.
    OpenTimeout,
    /// The service is to be pinged, kept awake, or given up.
    Liveness,
    /// What was sent a while ago turns out to have been silence.
    Quiet,
    /// A final has waited long enough for an earlier one.
    Reorder,
    /// A successor is late, or a retiring connection is.
    Rotation,
    /// The source has stopped.
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
/// Time must not go back. After every call of a `handle_…` function [`Self::poll_output`] has to be
/// called until there is nothing, and then [`Self::poll_timeout`]. What is handled while it makes no
/// sense (audio without a connection, an end that was announced before) is ignored.
pub struct Session {
    config: Config,
    make_codec: CodecFactory,
    limits: Limits,
    phase: Phase,
    end: End,
    connections: Connections,
    rotation: Rotation,
    outage: Outage,
    reporter: Reporter,
    pacer: Pacer,
    /// Finds the utterances, if that is for us to do.
    segmenter: Option<Segmenter>,
    replay: Replay,
    stall: Stall,
    /// The context is not the one that the codecs know.
    context_changed: bool,
    bytes_sent: u64,
    outbox: Outbox,
    /// Kept so that decoding allocates nothing in the steady state.
    events: Vec<Event>,
}

impl Session {
    /// A session that asks at once for its connection.
    pub fn new(config: Config, make_codec: CodecFactory, now: Duration) -> Self {
        let limits = make_codec().limits();
        // Without commits there are no utterances to be found.
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
            outage: Outage::new(config.seed),
            reporter: Reporter::default(),
            pacer: Pacer::new(speed, now),
            segmenter,
            replay: Replay::default(),
            stall: Stall::new(config.is_live),
            context_changed: false,
            bytes_sent: 0,
            outbox: Outbox::default(),
            events: Vec::new(),
            config,
            make_codec,
        };
        session.announce(State::Connecting, "");
        session.connect(now);
        session
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outbox.pop()
    }

    /// When [`Self::handle_timeout`] is to be called, if nothing else happens before, and why.
    pub fn poll_timeout(&self) -> Option<(Duration, Wake)> {
        let deadlines = Wake::ALL
            .into_iter()
            .filter_map(|wake| Some((self.deadline(wake)?, wake)));
        deadlines.min_by_key(|(when, _)| *when)
    }

    /// The table of deadlines.
    fn deadline(&self, wake: Wake) -> Option<Duration> {
        if self.is_over() {
            return None;
        }
        let serving = self.connections.serving();
        let ready = serving.filter(|serving| serving.is_ready());
        let second = self.connections.any_second();
        let is_handing_over = self.connections.second_role() == Some(Role::Retiring);
        match (wake, self.phase) {
            (Wake::FinishTimeout, _) => self.end.by,
            (Wake::Retry, Phase::Waiting { until }) => Some(until),
            (Wake::Retry, _) => None,
            (Wake::OpenTimeout, _) => Some(serving.filter(|s| !s.is_ready())?.until),
            (Wake::Liveness, _) => Some(ready?.liveness.next()),
            (Wake::Quiet, _) => ready?.quiet_deadline(),
            (Wake::Reorder, _) if is_handing_over => second?.reorder_deadline(),
            (Wake::Reorder, _) => ready?.reorder_deadline(),
            (Wake::Rotation, _) => Some(second?.until),
            (Wake::Stall, _) if self.is_running() && self.replay.is_empty() => {
                self.stall.deadline()
            }
            (Wake::Stall, _) => None,
        }
    }

    /// Nothing more will come of this session.
    pub fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// There is no connection over which audio could be sent.
    pub fn is_down(&self) -> bool {
        let serving = self.connections.serving();
        self.is_over() || !serving.is_some_and(Connection::is_ready)
    }

    /// The connection over which audio goes, or will as soon as it is ready.
    pub fn serving(&self) -> Option<ConnId> {
        Some(self.connections.serving()?.id)
    }

    /// Audio bytes sent, and what the service billed.
    pub fn usage(&self) -> (u64, Usage) {
        (self.bytes_sent, self.connections.billed())
    }

    fn is_running(&self) -> bool {
        self.phase == Phase::Serving && !self.is_down()
    }

    /// Other settings, which count from the next connection: the protocol's in `make_codec`, and
    /// the context, which counts at once where the protocol bears that. With `rotate` the next
    /// connection takes over in the next pause.
    pub fn handle_settings(
        &mut self,
        make_codec: CodecFactory,
        context: Option<String>,
        rotate: bool,
        now: Duration,
    ) {
        self.make_codec = make_codec;
        if self.config.context != context {
            self.config.context = context;
            self.context_changed = true;
            self.send_context(now);
        }
        if rotate {
            self.demand_rotation(now);
        }
    }

    /// Something has come from the network.
    pub fn handle_net(&mut self, id: ConnId, net: Net<'_>, now: Duration) {
        // What comes from a connection that is gone concerns nobody.
        let Some((_, connection)) = self.connections.get(id) else {
            return;
        };
        match net {
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
        // What follows the end of a connection does not concern the next one.
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
        self.pacer.restart(now);
        self.stall.restart(now);
        self.rotation.schedule(now);
        self.outage.ready();
        if !self.end.told {
            // From now on it depends on the amount of audio.
            self.end.by = None;
        }
        self.announce(State::Connected, "");
        self.send_context(now);
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Duration) {
        for wake in Wake::ALL {
            if self.deadline(wake).is_some_and(|when| when <= now) {
                self.wake(wake, now);
            }
        }
        self.report(now);
    }

    fn wake(&mut self, wake: Wake, now: Duration) {
        match wake {
            Wake::FinishTimeout => self.finish_too_late(now),
            Wake::Retry => self.connect(now),
            Wake::OpenTimeout => {
                let serving = self.connections.serving();
                let is_open = serving.is_some_and(|s| s.stage == Stage::Opening);
                let failure = self.open_timeout(is_open);
                self.fail(failure, now);
            }
            Wake::Liveness => self.stay_alive(now),
            // What follows from these is seen to by the report.
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
        Connection::new(id, (self.make_codec)(), &self.config, unresponsive, now)
    }

    /// Has the connection that serves put a command on the wire.
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
