// SPDX-License-Identifier: MPL-2.0
//! The state machine itself.

mod outage;
mod reporting;
mod rotation;
mod turn_taking;

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Duration;

use super::backlog::{Piece, Replay};
use super::connection::Connection;
use super::liveness::Need;
use super::turns::Turns;
use super::{Config, Notice, Output, State, Warning};
use crate::protocol::{
    CodecFactory, Command, Event, Failure, Frame, Incoming, Kind, Limits, Refusal, Statement, Usage,
};
use crate::timeline::duration_of;
use crate::transcript::Transcript;
use rotation::Rotation;

/// How much of the time that a busy machine cost may be made up for at once.
const PACING_CREDIT: Duration = Duration::from_millis(50);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// There is no connection; the next attempt is due.
    Waiting {
        until: Duration,
    },
    /// The connection is being made.
    Connecting {
        until: Duration,
    },
    /// Connected; the service has not accepted the settings yet.
    Opening {
        until: Duration,
    },
    Running {
        since: Duration,
    },
    /// The service was told that no more audio comes.
    Finishing {
        since: Duration,
    },
    Over,
}

/// One session: from the first audio to the last word, over as many connections as it takes.
pub struct Session {
    config: Config,
    make_codec: CodecFactory,
    limits: Limits,
    phase: Phase,
    connection: Connection,
    /// Finds the utterances, if that is for us to do.
    turns: Option<Turns>,
    rotation: Rotation,
    /// Connections so far.
    connections: u64,
    replay: Replay,
    outputs: VecDeque<Output>,
    session_id: Option<String>,
    random: fastrand::Rng,
    /// Attempts to reconnect in this outage, and since when it lasts.
    retries: u32,
    outage_since: Duration,
    connected_before: bool,
    /// The outage has been reported; a connection that breaks at once does not end it.
    outage_reported: bool,
    /// The service was told once that no more audio comes.
    finishing: bool,
    /// Until when all must be over, once the end of the audio is known.
    finish_by: Option<Duration>,
    last_failure: Option<Failure>,
    /// When the next audio may be sent.
    next_audio: Duration,
    /// Everything before this stream time was said to be settled.
    settled: u64,
    /// The last reported utterances: number of the connection, and stream times.
    reported: VecDeque<(u64, Range<u64>)>,
    /// Transcripts reported so far, interim ones included.
    transcripts: u64,
    /// What was last heard of utterances that a lost connection left open.
    cut: Vec<Transcript>,
    billed_before: Usage,
    /// The context is not the one that the codecs know.
    context_changed: bool,
    bytes_sent: u64,
    // Kept so that decoding allocates nothing in the steady state.
    events: Vec<Event>,
    frames: Vec<Frame>,
}

impl Session {
    /// A session that asks at once for its connection.
    pub fn new(config: Config, make_codec: CodecFactory, now: Duration) -> Self {
        let codec = make_codec();
        let limits = codec.limits();
        // Without commits there are no utterances to be found.
        let turns = config
            .client_vad
            .zip(limits.max_utterance_ms)
            .map(|(settings, limit)| Turns::new(settings, config.rate, limit));
        let mut session = Session {
            limits,
            phase: Phase::Over,
            connection: Connection::new(codec, &config, 0, 0, now),
            turns,
            rotation: Rotation::default(),
            connections: 0,
            replay: Replay::default(),
            outputs: VecDeque::new(),
            session_id: None,
            random: fastrand::Rng::with_seed(config.seed),
            retries: 0,
            outage_since: now,
            connected_before: false,
            outage_reported: false,
            finishing: false,
            finish_by: None,
            last_failure: None,
            next_audio: now,
            settled: 0,
            reported: VecDeque::new(),
            transcripts: 0,
            cut: Vec::new(),
            billed_before: Usage::default(),
            context_changed: false,
            bytes_sent: 0,
            events: Vec::new(),
            frames: Vec::new(),
            config,
            make_codec,
        };
        session.announce(State::Connecting, "");
        session.connect(now);
        session
    }

    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Self::handle_timeout`] is to be called, if nothing else happens before.
    pub fn poll_timeout(&self) -> Option<Duration> {
        let phase = match self.phase {
            Phase::Waiting { until } | Phase::Connecting { until } | Phase::Opening { until } => {
                until
            }
            Phase::Running { .. } | Phase::Finishing { .. } => {
                let reported = !self.rotation.is_handing_over();
                self.connection.next_timeout(reported)
            }
            Phase::Over => return None,
        };
        let others = [self.finish_by, self.rotation.poll_timeout()];
        Some(others.into_iter().flatten().fold(phase, Duration::min))
    }

    /// Nothing more will come of this session.
    pub fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// There is no connection, not even one that is being made.
    fn is_cut_off(&self) -> bool {
        matches!(self.phase, Phase::Over | Phase::Waiting { .. })
    }

    /// There is no connection over which audio could be sent.
    pub fn is_down(&self) -> bool {
        !matches!(self.phase, Phase::Running { .. } | Phase::Finishing { .. })
    }

    /// When the next audio may be handed over; `None` while none may.
    pub fn next_audio(&self) -> Option<Duration> {
        matches!(self.phase, Phase::Running { .. }).then_some(self.next_audio)
    }

    /// Most bytes that [`Self::handle_audio`] takes at once.
    pub fn chunk_bytes(&self) -> usize {
        let most = self.limits.max_audio_bytes;
        self.config.chunk_bytes.min(most).max(2) & !1
    }

    /// Audio bytes sent, and what the service billed.
    pub fn usage(&self) -> (u64, Usage) {
        let billed = self.connection.billed + self.rotation.billed();
        (self.bytes_sent, self.billed_before + billed)
    }

    /// Whether there is audio to be sent again, see [`Self::replay`].
    pub fn has_replay(&self) -> bool {
        !self.replay.is_empty()
    }

    /// Sends some of the audio that a lost connection left. Returns whether there was any: new
    /// audio has to wait then.
    pub fn replay(&mut self, now: Duration) -> bool {
        match self.replay.next() {
            Some(Piece::Audio { time, audio }) => {
                self.send_audio(time, &audio, now);
                self.settle(now);
            }
            Some(Piece::Commit(speech)) => self.commit(speech),
            None => return false,
        }
        true
    }

    /// Takes audio whose first sample has this stream time, and sends what is worth it.
    pub fn handle_audio(&mut self, time: u64, audio: &[u8], now: Duration) {
        let audio = &audio[..audio.len() & !1];
        if !matches!(self.phase, Phase::Running { .. }) || audio.is_empty() {
            return;
        }
        if let Some(turns) = &mut self.turns {
            turns.feed(time, audio);
            self.take_turns(now);
        } else {
            self.send_audio(time, audio, now);
        }
        self.settle(now);
    }

    fn send_audio(&mut self, time: u64, audio: &[u8], now: Duration) {
        self.rotate(now);
        let length = self.connection.sent_audio(time, audio, now);
        self.bytes_sent += audio.len() as u64;
        self.command(Command::Audio(audio));
        let speed = if self.config.max_speed > 0.0 {
            self.config.max_speed
        } else {
            self.limits.max_speed
        };
        let pause = Duration::try_from_secs_f64(length.as_secs_f64() / speed).unwrap_or(length);
        self.next_audio = self.next_audio.max(now.saturating_sub(PACING_CREDIT)) + pause;
        // Turns know where to cut.
        if self.turns.is_none()
            && let Some(limit) = self.limits.max_utterance_ms
            && duration_of(self.connection.uncommitted(), self.config.rate) >= limit * 1_000_000
        {
            self.commit(None);
        }
    }

    /// Ends the utterance after the audio handed over so far (manual turn detection).
    pub fn handle_commit(&mut self) {
        if self.turns.is_none() {
            self.commit(None);
        }
    }

    fn commit(&mut self, speech: Option<Range<u64>>) {
        let manual = self.limits.max_utterance_ms.is_some();
        // The service answers an empty commit with an error.
        if matches!(self.phase, Phase::Running { .. })
            && manual
            && self.connection.uncommitted() > 0
        {
            self.connection.commit(speech);
            self.command(Command::Commit);
        }
    }

    /// Another context from here on, where the protocol bears that.
    pub fn handle_context(&mut self, context: Option<String>) {
        self.config.context = context;
        self.context_changed = true;
        self.send_context();
    }

    fn send_context(&mut self) {
        if matches!(self.phase, Phase::Running { .. }) && self.context_changed {
            let context = self.config.context.clone().unwrap_or_default();
            self.command(Command::Context(&context));
        }
    }

    /// No more audio will come, but what there is cannot be handed over: that may not last for
    /// ever.
    pub fn handle_end_announced(&mut self, now: Duration) {
        if self.is_down() && !self.is_over() {
            self.finish_by
                .get_or_insert(now + self.config.finish_timeout);
        }
    }

    /// No more audio will come, and all of it was handed over.
    pub fn handle_finish(&mut self, now: Duration) {
        if matches!(self.phase, Phase::Running { .. }) {
            self.finish_turn(now);
            self.handle_commit();
            self.command(Command::Finish);
            self.phase = Phase::Finishing { since: now };
            self.finishing = true;
            self.finish_by
                .get_or_insert(now + self.config.finish_timeout);
            self.announce(State::Finishing, "");
            self.handle_events(now);
        }
    }

    /// The connection is there.
    pub fn handle_connected(&mut self, now: Duration) {
        if matches!(self.phase, Phase::Connecting { .. }) {
            let until = now + self.config.response_timeout;
            self.phase = Phase::Opening { until };
            self.connection.codec.open(&mut self.frames);
            self.send_frames();
        }
    }

    /// No connection could be made.
    pub fn handle_unreachable(&mut self, failure: Failure, now: Duration) {
        self.fail(failure, now);
    }

    /// The service refused the upgrade to WebSocket.
    pub fn handle_refused(&mut self, refusal: &Refusal<'_>, now: Duration) {
        let failure = self.connection.codec.refused(refusal);
        self.fail(failure, now);
    }

    /// The connection is gone; `code` is that of a close frame, if there was one.
    pub fn handle_closed(&mut self, code: Option<u16>, reason: &str, now: Duration) {
        let failure = self.connection.codec.closed(code, reason);
        self.fail(failure, now);
    }

    /// Something arrived, if only the answer to a ping.
    pub fn handle_sign_of_life(&mut self, now: Duration) {
        self.connection.liveness.received(now);
    }

    /// A frame arrived.
    pub fn handle_frame(&mut self, frame: Incoming<'_>, now: Duration) {
        if self.is_cut_off() {
            return;
        }
        self.handle_sign_of_life(now);
        self.connection
            .codec
            .decode(frame, &mut self.events, &mut self.frames);
        self.send_frames();
        self.handle_events(now);
    }

    fn handle_events(&mut self, now: Duration) {
        let mut events = std::mem::take(&mut self.events);
        for event in events.drain(..) {
            // What follows the end of a connection is none of the next one's.
            if !self.is_cut_off() {
                self.handle_event(event, now);
            }
        }
        self.events = events;
        self.report_finals(now);
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Duration) {
        if self.is_over() {
            return;
        }
        if self.finish_by.is_some_and(|until| until <= now) {
            return self.finish_too_late(now);
        }
        match self.phase {
            Phase::Waiting { until } if until <= now => self.connect(now),
            Phase::Connecting { until } if until <= now => {
                let within = self.config.connect_timeout.as_millis();
                let failure = Failure::new(
                    Kind::Unreachable,
                    format!("No connection could be made within {within} ms."),
                    "Check the network, a proxy and the url property, or raise connect-timeout.",
                );
                self.fail(failure.unanswered(), now);
            }
            Phase::Opening { until } if until <= now => {
                let within = self.config.response_timeout.as_millis();
                let failure = Failure::new(
                    Kind::Unreachable,
                    format!("The service did not accept the session within {within} ms."),
                    "Check that the url property points to such a service, or raise \
                     response-timeout.",
                );
                self.fail(failure, now);
            }
            Phase::Running { .. } | Phase::Finishing { .. } => self.stay_alive(now),
            _ => {}
        }
        self.handle_spare_timeout(now);
        self.report_finals(now);
    }

    fn stay_alive(&mut self, now: Duration) {
        let what = match self.connection.liveness.need(now) {
            None => return,
            Some(Need::Ping) => return self.outputs.push_back(Output::Ping),
            Some(Need::Silence) => return self.send_silence(now),
            Some(Need::Dead) => "The service gives no sign of life any more.",
            Some(Need::Deaf) => "The service gives no results for what it is sent.",
        };
        let remedy = "Check the network, or raise response-timeout.";
        self.fail(Failure::new(Kind::Lost, what, remedy), now);
    }

    /// Keeps an idle connection open, with as little as possible to be billed.
    fn send_silence(&mut self, now: Duration) {
        // A source that has stalled does not say how its utterance ends.
        self.finish_turn(now);
        let bytes = self.config.rate as usize / 10 * 2;
        let timeline = &self.connection.timeline;
        let time = timeline.end_time(timeline.clock()).unwrap_or_default();
        self.send_audio(time, &vec![0; bytes], now);
        self.kept_alive(bytes as u64 / 2);
        self.settle(now);
    }

    fn connect(&mut self, now: Duration) {
        let until = now + self.config.connect_timeout;
        self.phase = Phase::Connecting { until };
        self.connections += 1;
        self.outputs.push_back(Output::Connect);
    }

    fn handle_event(&mut self, event: Event, now: Duration) {
        let connection = &mut self.connection;
        let (utterances, timeline) = (&mut connection.utterances, &connection.timeline);
        if !matches!(
            event,
            Event::Ready { .. } | Event::Unknown { .. } | Event::Warning(_)
        ) {
            connection.liveness.result(now);
        }
        match event {
            Event::Ready { session_id } => self.ready(session_id, now),
            Event::ItemSeen { item } => utterances.seen(item, timeline),
            // Turns are known better here.
            Event::SpeechStarted { item, .. } | Event::SpeechStopped { item, .. }
                if self.turns.is_some() =>
            {
                utterances.seen(item, timeline);
            }
            Event::SpeechStarted {
                item,
                item_id,
                at_ms,
            } => {
                utterances.seen(item, timeline);
                if let Some(ms) = at_ms {
                    let position = utterances.position(ms, timeline);
                    utterances.started(item, &item_id, position, timeline);
                    let time = timeline.start_time(position).unwrap_or_default();
                    self.notice(Notice::SpeechStarted { item_id, time });
                }
            }
            Event::SpeechStopped {
                item,
                item_id,
                at_ms,
            } => {
                if let Some(ms) = at_ms {
                    let position = utterances.position(ms, timeline);
                    utterances.stopped(item, position, timeline);
                    let time = timeline.end_time(position).unwrap_or_default();
                    self.notice(Notice::SpeechStopped { item_id, time });
                }
            }
            Event::Interim { item, text } => {
                if let Some(transcript) = utterances.interim(item, text, timeline) {
                    self.notice(Notice::Interim(transcript));
                }
            }
            Event::Final { item, mut text } => {
                let context = self.config.context.as_deref().unwrap_or_default();
                // On silence the service may give back the context for a transcript, but for the
                // line breaks.
                if context.split_whitespace().eq(text.text.split_whitespace()) {
                    text.text.clear();
                }
                utterances.end(item, text, now, timeline);
            }
            Event::ItemFailed { item, message } => {
                utterances.give_up(item, now);
                self.notice(Notice::Warning(Warning::NotRecognised(message)));
            }
            Event::Billed(usage) => connection.billed = connection.billed.max(usage),
            Event::Finished => self.finished(now),
            Event::Failed(failure) => self.fail(failure, now),
            Event::Unknown { name } => {
                let what = Statement::from("ignored an unknown event '").quoting(name);
                self.notice(Notice::Warning(Warning::Ignored(what.then("'"))));
            }
            Event::Warning(message) => self.notice(Notice::Warning(Warning::Ignored(message))),
        }
    }

    fn ready(&mut self, session_id: Option<String>, now: Duration) {
        if matches!(self.phase, Phase::Opening { .. }) {
            self.phase = Phase::Running { since: now };
            self.next_audio = now;
            self.schedule_rotation(now);
            self.session_id = session_id;
            self.connected_before = true;
            if !self.finishing {
                // From now on it depends on the amount of audio.
                self.finish_by = None;
            }
            self.announce(State::Connected, "");
            self.send_context();
        }
    }

    fn command(&mut self, command: Command<'_>) {
        let codec = &mut self.connection.codec;
        codec.command(command, &mut self.events, &mut self.frames);
        self.send_frames();
    }

    fn send_frames(&mut self) {
        self.outputs.extend(self.frames.drain(..).map(Output::Send));
    }
}

#[cfg(test)]
mod tests;
