// SPDX-License-Identifier: MPL-2.0
//! The state machine itself.

use std::collections::VecDeque;
use std::time::Duration;

use super::utterances::Utterances;
use super::{Config, Notice, Output, State, Warning};
use crate::protocol::{Caps, Codec, Command, Event, Failure, Frame, Incoming, Kind};
use crate::timeline::{Timeline, duration_of};

/// Speech that the service heard is reported within this time: what was sent longer ago without
/// any utterance being open is silence.
const QUIET: Duration = Duration::from_secs(2);

/// How often the position of the audio is noted for that.
const QUIET_STEP: Duration = Duration::from_millis(200);

/// How much of the time that a busy machine cost may be made up for at once.
const PACING_CREDIT: Duration = Duration::from_millis(50);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The connection is being made.
    Connecting {
        until: Duration,
    },
    /// Connected; the service has not accepted the settings yet.
    Opening {
        until: Duration,
    },
    Running,
    /// The service was told that no more audio comes.
    Finishing {
        until: Duration,
    },
    Over,
}

/// One session: from the first audio to the last word.
pub struct Session {
    config: Config,
    codec: Box<dyn Codec>,
    caps: Caps,
    phase: Phase,
    timeline: Timeline,
    utterances: Utterances,
    outputs: VecDeque<Output>,
    session_id: Option<String>,
    /// When the next audio may be sent.
    next_audio: Duration,
    /// Everything before this stream time was said to be settled.
    settled: u64,
    /// When the audio up to which position was sent; the last [`QUIET`] of it.
    sent: VecDeque<(Duration, u64)>,
    /// Position before which nothing was heard.
    quiet_until: u64,
    billed: f64,
    bytes_sent: u64,
    // Kept so that decoding allocates nothing in the steady state.
    events: Vec<Event>,
    frames: Vec<Frame>,
}

impl Session {
    /// A session that asks at once for its connection.
    pub fn new(config: Config, codec: Box<dyn Codec>, now: Duration) -> Self {
        let caps = codec.caps();
        let mut session = Session {
            timeline: Timeline::new(config.rate),
            utterances: Utterances::new(config.rate, caps.max_utterance_ms.is_some()),
            phase: Phase::Connecting {
                until: now + config.connect_timeout,
            },
            config,
            codec,
            caps,
            outputs: VecDeque::new(),
            session_id: None,
            next_audio: now,
            settled: 0,
            sent: VecDeque::new(),
            quiet_until: 0,
            billed: 0.0,
            bytes_sent: 0,
            events: Vec::new(),
            frames: Vec::new(),
        };
        session.announce(State::Connecting);
        session.outputs.push_back(Output::Connect);
        session
    }

    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Self::handle_timeout`] is to be called, if nothing else happens before.
    pub fn poll_timeout(&self) -> Option<Duration> {
        let phase = match self.phase {
            Phase::Connecting { until } | Phase::Opening { until } | Phase::Finishing { until } => {
                Some(until)
            }
            Phase::Running => self.sent.front().map(|(sent, _)| *sent + QUIET),
            Phase::Over => return None,
        };
        [phase, self.utterances.deadline()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Nothing more will come of this session.
    pub fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// When the next audio may be handed over; `None` while none may.
    pub fn next_audio(&self) -> Option<Duration> {
        (self.phase == Phase::Running).then_some(self.next_audio)
    }

    /// Most bytes that [`Self::handle_audio`] takes at once.
    pub fn chunk_bytes(&self) -> usize {
        self.config
            .chunk_bytes
            .min(self.caps.max_audio_bytes)
            .max(2)
            & !1
    }

    /// Audio bytes sent, and seconds of audio that the service billed.
    pub fn usage(&self) -> (u64, f64) {
        (self.bytes_sent, self.billed)
    }

    /// Sends audio whose first sample has this stream time.
    pub fn handle_audio(&mut self, time: u64, audio: &[u8], now: Duration) {
        let audio = &audio[..audio.len() & !1];
        if self.phase != Phase::Running || audio.is_empty() {
            return;
        }
        let samples = audio.len() as u64 / 2;
        self.timeline.append(time, samples);
        self.bytes_sent += audio.len() as u64;
        self.command(Command::Audio(audio));
        let speed = if self.config.max_speed > 0.0 {
            self.config.max_speed
        } else {
            self.caps.max_speed
        };
        let length = Duration::from_nanos(duration_of(samples, self.config.rate));
        let pause = Duration::try_from_secs_f64(length.as_secs_f64() / speed).unwrap_or(length);
        self.next_audio = self.next_audio.max(now.saturating_sub(PACING_CREDIT)) + pause;
        if let Some(limit) = self.caps.max_utterance_ms
            && self.utterances.uncommitted(&self.timeline)
                >= limit * u64::from(self.config.rate) / 1000
        {
            self.handle_commit();
        }
        if self
            .sent
            .back()
            .is_none_or(|(sent, _)| now >= *sent + QUIET_STEP)
        {
            self.sent.push_back((now, self.timeline.clock()));
        }
        self.settle(now);
    }

    /// Ends the utterance after the audio handed over so far (manual turn detection).
    pub fn handle_commit(&mut self) {
        let manual = self.caps.max_utterance_ms.is_some();
        // The service answers an empty commit with an error.
        if self.phase == Phase::Running && manual && self.utterances.uncommitted(&self.timeline) > 0
        {
            self.utterances.commit(&self.timeline);
            self.command(Command::Commit);
        }
    }

    /// No more audio will come.
    pub fn handle_finish(&mut self, now: Duration) {
        if self.phase == Phase::Running {
            self.handle_commit();
            self.command(Command::Finish);
            self.phase = Phase::Finishing {
                until: now + self.config.finish_timeout,
            };
            self.announce(State::Finishing);
        }
    }

    /// The connection is there.
    pub fn handle_connected(&mut self, now: Duration) {
        if matches!(self.phase, Phase::Connecting { .. }) {
            self.phase = Phase::Opening {
                until: now + self.config.response_timeout,
            };
            self.codec.open(&mut self.frames);
            self.send_frames();
        }
    }

    /// No connection could be made.
    pub fn handle_unreachable(&mut self, failure: Failure, now: Duration) {
        self.fail(failure, now);
    }

    /// The service refused the upgrade to WebSocket.
    pub fn handle_refused(&mut self, status: u16, body: &str, now: Duration) {
        let failure = self.codec.refused(status, body);
        self.fail(failure, now);
    }

    /// The connection is gone; `code` is that of a close frame, if there was one.
    pub fn handle_closed(&mut self, code: Option<u16>, reason: &str, now: Duration) {
        if self.phase != Phase::Over {
            let failure = self.codec.closed(code, reason);
            self.fail(failure, now);
        }
    }

    /// A frame arrived.
    pub fn handle_frame(&mut self, frame: Incoming<'_>, now: Duration) {
        if self.phase == Phase::Over {
            return;
        }
        let mut events = std::mem::take(&mut self.events);
        self.codec.decode(frame, &mut events, &mut self.frames);
        self.send_frames();
        for event in events.drain(..) {
            self.handle_event(event, now);
        }
        self.events = events;
        self.report_finals(now);
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Duration) {
        match self.phase {
            Phase::Connecting { until } if until <= now => self.fail(
                Failure::new(
                    Kind::Unreachable,
                    format!(
                        "No connection could be made within {} ms.",
                        self.config.connect_timeout.as_millis()
                    ),
                    "Check the network, a proxy and the url property, or raise connect-timeout.",
                ),
                now,
            ),
            Phase::Opening { until } if until <= now => self.fail(
                Failure::new(
                    Kind::Unreachable,
                    format!(
                        "The service did not accept the session within {} ms.",
                        self.config.response_timeout.as_millis()
                    ),
                    "Check that the url property points to such a service, or raise \
                     response-timeout.",
                ),
                now,
            ),
            Phase::Finishing { until } if until <= now => self.end_unfinished(
                format!(
                    "The service did not finish within {} ms (finish-timeout).",
                    self.config.finish_timeout.as_millis()
                ),
                now,
            ),
            _ => self.report_finals(now),
        }
    }

    fn handle_event(&mut self, event: Event, now: Duration) {
        let timeline = &self.timeline;
        match event {
            Event::Ready { session_id } => {
                if matches!(self.phase, Phase::Opening { .. }) {
                    self.phase = Phase::Running;
                    self.next_audio = now;
                    self.session_id = session_id;
                    self.announce(State::Connected);
                }
            }
            Event::ItemSeen { item } => self.utterances.seen(item, timeline),
            Event::SpeechStarted {
                item,
                item_id,
                at_ms,
            } => {
                self.utterances.seen(item, timeline);
                if let Some(ms) = at_ms {
                    let position = self.utterances.position(ms, timeline);
                    self.utterances.started(item, &item_id, position, timeline);
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
                    let position = self.utterances.position(ms, timeline);
                    self.utterances.stopped(item, position, timeline);
                    let time = timeline.end_time(position).unwrap_or_default();
                    self.notice(Notice::SpeechStopped { item_id, time });
                }
            }
            Event::Partial { item, words } => {
                if let Some(transcript) = self.utterances.interim(item, words, timeline) {
                    self.notice(Notice::Interim(transcript));
                }
            }
            Event::Final { item, mut words } => {
                if self.echoes_context(&words.text) {
                    words.text.clear();
                }
                self.utterances.end(item, words, now, timeline);
            }
            Event::ItemFailed { item, message } => {
                self.utterances.give_up(item, now);
                self.notice(Notice::Warning(Warning::NotRecognised(message)));
            }
            Event::Billed { seconds } => self.billed = self.billed.max(seconds),
            Event::Finished => self.finished(now),
            Event::Failed(failure) => self.fail(failure, now),
            Event::Warning(message) => self.notice(Notice::Warning(Warning::Ignored(message))),
        }
    }

    /// On silence the service may give back the context for a transcript.
    fn echoes_context(&self, text: &str) -> bool {
        self.config
            .context
            .as_deref()
            .is_some_and(|context| context.trim() == text.trim())
    }

    fn report_finals(&mut self, now: Duration) {
        while let Some(transcript) = self.utterances.next_final(now, &self.timeline) {
            self.notice(Notice::Final(transcript));
        }
        self.settle(now);
    }

    /// Tells up to when no more text can come: the begin of the earliest open utterance, or else
    /// the end of the last one, or of the silence after it.
    fn settle(&mut self, now: Duration) {
        while let Some((_, position)) = self.sent.pop_front_if(|(sent, _)| *sent + QUIET <= now) {
            if self.caps.max_utterance_ms.is_none() {
                self.quiet_until = position;
            }
        }
        let position = self
            .utterances
            .begin_of_earliest()
            .unwrap_or_else(|| self.utterances.last_end().max(self.quiet_until));
        self.timeline.forget_before(position);
        if let Some(time) = self.timeline.end_time(position)
            && time > self.settled
        {
            self.settled = time;
            self.notice(Notice::Settled { time });
        }
    }

    fn finished(&mut self, now: Duration) {
        if !matches!(self.phase, Phase::Finishing { .. }) {
            let failure = Failure::new(
                Kind::Lost,
                "The service ended the session before the audio ended.",
                "Start again; if it comes back, check the service's limits.",
            );
            return self.fail(failure, now);
        }
        if self.utterances.any_open() {
            return self.end_unfinished("The service left an utterance unfinished.".into(), now);
        }
        self.end(now);
    }

    /// Ends a session whose audio was all sent, but not all recognised.
    fn end_unfinished(&mut self, what: String, now: Duration) {
        self.utterances.give_up_all(now);
        self.notice(Notice::Warning(Warning::Unfinished(what)));
        self.end(now);
    }

    fn end(&mut self, now: Duration) {
        self.flush_finals(now);
        self.phase = Phase::Over;
        self.outputs.push_back(Output::Close);
        self.announce(State::Idle);
        self.notice(Notice::Drained);
    }

    fn fail(&mut self, failure: Failure, now: Duration) {
        match self.phase {
            Phase::Over => {}
            // All was said to the service that there was to say: the end, if not a perfect one.
            Phase::Finishing { .. } => {
                let clean = failure.close_code == Some(1000) && !self.utterances.any_open();
                if clean {
                    self.end(now);
                } else {
                    self.end_unfinished(
                        format!("The last text may be incomplete: {}", failure.what),
                        now,
                    );
                }
            }
            _ => {
                self.utterances.give_up_all(now);
                self.flush_finals(now);
                self.phase = Phase::Over;
                self.outputs.push_back(Output::Close);
                self.announce(State::Failed);
                self.notice(Notice::Failed(failure));
            }
        }
    }

    /// Reports all that is final, held ones included: nothing earlier will come.
    fn flush_finals(&mut self, now: Duration) {
        let late = self.utterances.deadline().map_or(now, |_| Duration::MAX);
        while let Some(transcript) = self.utterances.next_final(late, &self.timeline) {
            self.notice(Notice::Final(transcript));
        }
        if let Some(time) = self.timeline.end_time(self.timeline.clock()) {
            self.settled = time;
            self.notice(Notice::Settled { time });
        }
    }

    fn command(&mut self, command: Command<'_>) {
        self.codec.command(command, &mut self.frames);
        self.send_frames();
    }

    fn send_frames(&mut self) {
        self.outputs.extend(self.frames.drain(..).map(Output::Send));
    }

    fn announce(&mut self, state: State) {
        let session_id = self.session_id.clone();
        self.notice(Notice::State { state, session_id });
    }

    fn notice(&mut self, notice: Notice) {
        self.outputs.push_back(Output::Notice(notice));
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
