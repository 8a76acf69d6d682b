// SPDX-License-Identifier: MPL-2.0
//! Planned rotation: very old connections are cut by services, so they are replaced before, where
//! nobody speaks. The next connection is opened beside the one in use, takes over the audio at
//! the end of an utterance, and the last one is finished in good order.
//!
//! All of the audio before the seam is the last connection's, and all of it after is the new
//! one's: none is sent twice, or waits. What the new one has to report waits for the last words
//! of the last one.

use std::time::Duration;

use super::super::connection::Connection;
use super::super::{Notice, Output, Spare, Warning};
use super::{Phase, Session};
use crate::protocol::{Command, Event, Failure, Incoming, Kind, Usage};

/// Audio without anything loud that makes sure that no word is torn.
const QUIET: Duration = Duration::from_millis(500);

/// In noise there is no quiet. Having waited for it this long, the new connection takes over
/// while no utterance is open, and what may belong to the next one is sent again.
const NOISE: Duration = Duration::from_secs(10);

/// A connection that waits longer than this for its audio would have to be kept alive, unless its
/// protocol wants that even sooner.
const LONGEST_READY: Duration = Duration::from_secs(55);

/// Until a rotation that did not come about is tried again; doubles each time.
const FIRST_PAUSE: Duration = Duration::from_secs(60);
const MOST_DOUBLINGS: u32 = 4;

/// The new connection's finals wait for those of the last one, but not for long.
const LONGEST_FINISH: Duration = Duration::from_secs(5);

/// The connection beside the one in use.
#[derive(Default)]
enum Beside {
    #[default]
    Nothing,
    Next {
        connection: Box<Connection>,
        stage: Stage,
        until: Duration,
    },
    /// Was told that no more audio comes.
    Last {
        connection: Box<Connection>,
        until: Duration,
    },
}

enum Stage {
    Connecting,
    Opening,
    Ready {
        since: Duration,
        session_id: Option<String>,
    },
}

/// Where the rotation of a session's connections stands.
#[derive(Default)]
pub(super) struct Rotation {
    beside: Beside,
    /// When the connection in use is old enough, or the next attempt is due.
    due: Duration,
    /// Attempts in a row that came to nothing.
    attempts: u32,
    /// The connection in use has finished, but the last one has not.
    finished: bool,
}

impl Rotation {
    pub fn poll_timeout(&self) -> Option<Duration> {
        match &self.beside {
            Beside::Nothing => None,
            Beside::Next { until, .. } => Some(*until),
            Beside::Last { connection, until } => {
                let held = connection.utterances.deadline();
                Some(held.map_or(*until, |held| held.min(*until)))
            }
        }
    }

    pub fn last(&mut self) -> Option<&mut Connection> {
        match &mut self.beside {
            Beside::Last { connection, .. } => Some(connection),
            _ => None,
        }
    }

    /// Whether the last connection may still have something to say.
    pub fn is_handing_over(&self) -> bool {
        matches!(self.beside, Beside::Last { .. })
    }

    /// Whether the last connection would leave something unreported if it broke now.
    pub fn owes_text(&self) -> bool {
        match &self.beside {
            Beside::Last { connection, .. } => connection.owes_text(),
            _ => false,
        }
    }

    /// What the last connection has cost.
    pub fn billed(&self) -> Usage {
        match &self.beside {
            Beside::Last { connection, .. } => connection.billed,
            _ => Usage::default(),
        }
    }

    /// Stream time before which the last connection has nothing more to say.
    pub fn settle(&mut self, now: Duration) -> Option<u64> {
        self.last()?.settle(now)
    }
}

/// What comes from the connections, but is not for the one in use.
impl Session {
    /// The spare connection is there.
    pub fn handle_spare_connected(&mut self, now: Duration) {
        if let Beside::Next {
            connection,
            stage: stage @ Stage::Connecting,
            until,
        } = &mut self.rotation.beside
        {
            *stage = Stage::Opening;
            *until = now + self.config.response_timeout;
            connection.codec.open(&mut self.frames);
            self.send_spare_frames();
        }
    }

    /// The spare connection could not be made.
    pub fn handle_spare_unreachable(&mut self, now: Duration) {
        self.postpone_rotation(now);
    }

    /// The spare connection is gone.
    pub fn handle_spare_closed(&mut self, code: Option<u16>, reason: &str, now: Duration) {
        match &mut self.rotation.beside {
            Beside::Nothing => {}
            Beside::Next { .. } => self.postpone_rotation(now),
            Beside::Last { connection, .. } => {
                let failure = connection.codec.closed(code, reason);
                self.last_failed(failure, now);
            }
        }
    }

    /// A frame arrived over the spare connection.
    pub fn handle_spare_frame(&mut self, frame: Incoming<'_>, now: Duration) {
        let (Beside::Next { connection, .. } | Beside::Last { connection, .. }) =
            &mut self.rotation.beside
        else {
            return;
        };
        let mut events = std::mem::take(&mut self.events);
        connection
            .codec
            .decode(frame, &mut events, &mut self.frames);
        self.send_spare_frames();
        for event in events.drain(..) {
            if self.rotation.is_handing_over() {
                self.handle_event_of_last(event, now);
            } else {
                self.handle_event_of_next(event, now);
            }
        }
        self.events = events;
        self.report_finals(now);
    }

    fn handle_event_of_next(&mut self, event: Event, now: Duration) {
        match (event, &mut self.rotation.beside) {
            (Event::Ready { session_id }, Beside::Next { stage, until, .. }) => {
                let idle = self.limits.keep_alive.unwrap_or(LONGEST_READY);
                *until = now + idle.min(LONGEST_READY);
                *stage = Stage::Ready {
                    since: now,
                    session_id,
                };
                self.rotate(now);
            }
            (Event::Failed(_) | Event::Finished, _) => self.postpone_rotation(now),
            _ => {}
        }
    }

    fn handle_event_of_last(&mut self, event: Event, now: Duration) {
        match event {
            Event::Ready { .. } => {}
            Event::Finished => self.end_last(now),
            Event::Failed(failure) => self.last_failed(failure, now),
            event => {
                // As from any connection.
                self.exchange_with_last();
                self.handle_event(event, now);
                self.exchange_with_last();
            }
        }
    }

    fn exchange_with_last(&mut self) {
        if let Some(last) = self.rotation.last() {
            std::mem::swap(&mut self.connection, last);
        }
    }

    fn send_spare_frames(&mut self) {
        let send = |frame| Output::Spare(Spare::Send(frame));
        self.outputs.extend(self.frames.drain(..).map(send));
    }
}

impl Session {
    /// A connection has begun to serve.
    pub(super) fn schedule_rotation(&mut self, now: Duration) {
        // Sessions that began together need not rotate together.
        let age = 1.0 - self.random.f64() / 10.0;
        self.rotation.due = now + self.config.rotate_after.mul_f64(age);
        self.rotation.attempts = 0;
    }

    /// Takes the next step of a rotation, if it is time: before more audio is sent.
    pub(super) fn rotate(&mut self, now: Duration) {
        if !matches!(self.phase, Phase::Running { .. }) {
            return;
        }
        match &self.rotation.beside {
            Beside::Nothing if now >= self.rotation.due => self.open_next(now),
            Beside::Next {
                stage: Stage::Ready { since, .. },
                ..
            } => {
                if self.is_silent() || self.connection.is_between_utterances(QUIET) {
                    self.hand_over(now);
                } else if now >= *since + NOISE
                    && self.limits.max_utterance_ms.is_none()
                    && self.connection.has_nothing_open()
                {
                    self.replace_in_noise(now);
                }
            }
            _ => {}
        }
    }

    fn open_next(&mut self, now: Duration) {
        let codec = (self.make_codec)();
        let connection = Connection::new(codec, &self.config, self.connections, 0, now);
        self.connections += 1;
        self.rotation.beside = Beside::Next {
            connection: Box::new(connection),
            stage: Stage::Connecting,
            until: now + self.config.connect_timeout,
        };
        self.outputs.push_back(Output::Spare(Spare::Connect));
    }

    /// Puts the next connection in the place of the one in use, and returns that.
    fn exchange(&mut self, now: Duration) -> Option<Connection> {
        let beside = std::mem::take(&mut self.rotation.beside);
        let Beside::Next {
            mut connection,
            stage: Stage::Ready { session_id, .. },
            ..
        } = beside
        else {
            self.rotation.beside = beside;
            return None;
        };
        connection
            .liveness
            .restart(self.connection.liveness.deaf(), now);
        self.outputs.push_back(Output::Swap);
        self.session_id = session_id;
        self.phase = Phase::Running { since: now };
        self.schedule_rotation(now);
        let last = std::mem::replace(&mut self.connection, *connection);
        self.send_context();
        Some(last)
    }

    fn hand_over(&mut self, now: Duration) {
        if let Some(mut last) = self.exchange(now) {
            if let Some(turns) = &mut self.turns {
                turns.forget_padding();
            }
            let mut events = Vec::new();
            last.codec
                .command(Command::Finish, &mut events, &mut self.frames);
            self.send_spare_frames();
            self.rotation.beside = Beside::Last {
                connection: Box::new(last),
                until: now + self.config.finish_timeout.min(LONGEST_FINISH),
            };
            for event in events {
                self.handle_event_of_last(event, now);
            }
        }
    }

    fn replace_in_noise(&mut self, now: Duration) {
        if let Some(last) = self.exchange(now) {
            self.leave_to_replay(last);
            self.outputs.push_back(Output::Spare(Spare::Close));
            self.announce_rotation();
        }
    }

    /// The next connection did not come about, or not at the right time: another one may.
    fn postpone_rotation(&mut self, now: Duration) {
        if matches!(self.rotation.beside, Beside::Next { .. }) {
            let pause = FIRST_PAUSE * (1 << self.rotation.attempts.min(MOST_DOUBLINGS));
            self.rotation.attempts += 1;
            self.rotation.due = now + pause + pause.mul_f64(self.random.f64());
            self.close_spare();
        }
    }

    fn close_spare(&mut self) {
        self.rotation.beside = Beside::Nothing;
        self.outputs.push_back(Output::Spare(Spare::Close));
    }

    pub(super) fn handle_spare_timeout(&mut self, now: Duration) {
        match &self.rotation.beside {
            Beside::Next { until, .. } if *until <= now => self.postpone_rotation(now),
            Beside::Last { connection, until } if *until <= now => {
                if connection.utterances.any_open() {
                    let what = "The service did not finish a connection that was replaced.";
                    let remedy = "Check the service's status.";
                    self.fail(Failure::new(Kind::Lost, what, remedy), now);
                } else {
                    self.end_last(now);
                }
            }
            _ => {}
        }
    }

    /// Without its last words the last connection's audio has to be sent again, before that of
    /// the one in use: this is an outage like any other.
    fn last_failed(&mut self, failure: Failure, now: Duration) {
        if self.rotation.owes_text() {
            self.fail(failure, now);
        } else {
            self.end_last(now);
        }
    }

    pub(super) fn report_finals_of_last(&mut self) {
        while let Some(last) = self.rotation.last()
            && let Some(transcript) = last.next_final()
        {
            let number = last.number();
            self.report(number, transcript);
        }
    }

    /// The last connection has nothing more to say.
    fn end_last(&mut self, now: Duration) {
        let Some(last) = self.rotation.last() else {
            return;
        };
        if last.utterances.any_open() {
            last.utterances.give_up_all(now);
            let what = "The service left an utterance unfinished.";
            self.notice(Notice::Warning(Warning::Unfinished(what.into())));
        }
        self.report_finals_of_last();
        if let Some(last) = self.rotation.last() {
            self.billed_before = self.billed_before + last.billed;
            let end = last.end_time();
            self.settled_until(end, now);
            self.close_spare();
            self.announce_rotation();
        }
        if std::mem::take(&mut self.rotation.finished) {
            self.end(now);
        }
    }

    fn announce_rotation(&mut self) {
        let session_id = self.session_id.clone();
        self.notice(Notice::Rotated { session_id });
    }

    /// All was said over the connection in use.
    pub(super) fn end_after_last(&mut self, now: Duration) {
        if self.rotation.is_handing_over() {
            self.rotation.finished = true;
        } else {
            self.end(now);
        }
    }

    /// The session ends now, whatever the spare connection is at.
    pub(super) fn end_rotation(&mut self, now: Duration) {
        self.rotation.finished = false;
        match self.rotation.beside {
            Beside::Nothing => {}
            Beside::Next { .. } => self.close_spare(),
            Beside::Last { .. } => self.end_last(now),
        }
    }

    /// The connection in use is lost: the spare one is given up as well, and what it leaves is
    /// sent again first.
    pub(super) fn give_up_spare(&mut self) {
        match std::mem::take(&mut self.rotation.beside) {
            Beside::Nothing => return,
            Beside::Next { .. } => {}
            Beside::Last { connection, .. } => {
                self.rotation.finished = false;
                self.leave_to_replay(*connection);
            }
        }
        self.outputs.push_back(Output::Spare(Spare::Close));
    }
}
