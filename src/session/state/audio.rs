// SPDX-License-Identifier: MPL-2.0
//! The path of the audio through a session: from the segmenter, or directly, to the serving
//! connection; the replay of a lost connection's audio goes first. Audio that the serving
//! connection cannot take joins the replay.

use std::time::Duration;

use super::super::backlog::Piece;
use super::super::segmenter::{Segmenter, Step};
use super::super::{Demand, Notice, State};
use super::{Phase, Session};
use crate::audio::pcm;
use crate::protocol::Command;
use crate::timeline::{Samples, Span, Timestamp};

/// Length of the silence that keeps an idle connection open: short, since it is billed.
const KEEP_ALIVE: Duration = Duration::from_millis(100);

impl Session {
    /// The audio to hand over now. Sends a part of the replay first, if there is any.
    pub fn poll_audio(&mut self, now: Duration) -> Demand {
        if !self.is_running() {
            return Demand::Nothing;
        }
        if !self.replay.is_empty() && self.connections.taking_audio().is_none() {
            return if self.replace_used(now) {
                Demand::Replayed
            } else {
                Demand::Nothing
            };
        }
        let time = self.pacer.next();
        if time > now {
            let least = if self.replay.is_empty() {
                self.least()
            } else {
                Samples(0)
            };
            return Demand::NotBefore { time, least };
        }
        if !self.replay.is_empty() {
            // New audio has to wait for the end of the replay.
            self.stall.restart(now);
        }
        match self.replay.next() {
            Some(Piece::Audio { time, audio }) => self.send_audio(time, &audio, now),
            Some(Piece::Padding { samples }) => self.send_padding(samples, now),
            Some(Piece::Began { time }) => self.speech_started(time, now),
            Some(Piece::Commit(speech)) => self.commit(speech, now),
            None => {
                return Demand::Chunk {
                    least: self.least(),
                    most: self.chunk(),
                };
            }
        }
        self.settle(now);
        Demand::Replayed
    }

    /// Maximum length of audio sent at once.
    pub(super) fn chunk(&self) -> Samples {
        self.config.chunk.min(self.frame())
    }

    /// Maximum length of audio that a frame may carry. As much Opus takes no more bytes: a second of
    /// it has 64 kB at most, and counts as 96 kB.
    fn frame(&self) -> Samples {
        let most = pcm::samples(self.limits.max_audio_bytes);
        most.max(self.config.coding.step())
    }

    /// Minimum length worth sending.
    fn least(&self) -> Samples {
        if self.stall.is_draining() {
            self.config.coding.step()
        } else {
            self.chunk()
        }
    }

    /// There is less audio than was asked for, and no more will arrive for now. Returns whether
    /// that changes anything.
    pub fn handle_shortage(&mut self, now: Duration) -> bool {
        if !self.stall.is_draining() {
            return false;
        }
        self.stall.end();
        self.end_utterance(now);
        if self.segmenter.is_none() {
            self.end_with_silence(now);
        }
        self.settle(now);
        true
    }

    /// Sends silence to end the current utterance, if the service finds the utterances.
    fn end_with_silence(&mut self, now: Duration) {
        let pause = self.config.pause;
        let serving = self.connections.serving();
        let goes_on = serving.is_some_and(|s| s.any_open() || s.liveness.quiet_for() < pause);
        if self.limits.max_utterance_ms.is_some() || !goes_on {
            return;
        }
        let mut left = Samples::within(pause, self.config.rate);
        while left >= self.config.coding.step() {
            let piece = left.min(self.chunk());
            self.send_padding(piece, now);
            left = left - piece;
        }
    }

    /// Takes audio whose first sample has this timestamp, and sends as much as is due.
    pub fn handle_audio(&mut self, time: Timestamp, audio: &[u8], now: Duration) {
        let length = self.config.coding.samples(audio);
        if !self.is_running() || length.is_none() {
            return;
        }
        self.stall.flows(length >= self.chunk(), now);
        if let Some(segmenter) = &mut self.segmenter {
            segmenter.feed(time, audio);
            self.take_steps(now);
        } else {
            self.send_audio(time, audio, now);
        }
        self.settle(now);
    }

    /// Carries out the segmenter's steps: sends audio and commits utterances.
    fn take_steps(&mut self, now: Duration) {
        while let Some(step) = self.segmenter.as_mut().and_then(Segmenter::next_step) {
            match step {
                Step::Began { time } => {
                    // All of an utterance belongs to one connection.
                    self.rotate(now);
                    self.speech_started(time, now);
                    let item_id = String::new();
                    self.outbox.notice(Notice::SpeechStarted { item_id, time });
                }
                Step::Audio { time, audio } => self.send_pieces(time, &audio, now),
                Step::Ended { speech } => {
                    let (item_id, time) = (String::new(), speech.end);
                    self.commit(Some(speech), now);
                    self.outbox.notice(Notice::SpeechStopped { item_id, time });
                }
            }
        }
    }

    /// The next commit's speech starts at this timestamp.
    fn speech_started(&mut self, time: Timestamp, now: Duration) {
        match self.connections.taking_audio() {
            Some(serving) => serving.speech_started(time),
            None => self.hold(Piece::Began { time }, now),
        }
    }

    /// Holds back what the serving connection cannot take: it is sent over the next one.
    fn hold(&mut self, piece: Piece, now: Duration) {
        if !self.is_over() {
            self.replay.push(piece);
            self.replace_used(now);
        }
    }

    /// Keeps an idle connection open.
    pub(super) fn keep_alive(&mut self, now: Duration) {
        // A stalled source gives no end to its utterance.
        self.end_utterance(now);
        let samples = Samples::within(KEEP_ALIVE, self.config.rate);
        self.send_padding(samples, now);
        self.settle(now);
    }

    /// Ends the current utterance, with client VAD.
    fn end_utterance(&mut self, now: Duration) {
        if let Some(segmenter) = &mut self.segmenter {
            segmenter.finish();
            self.take_steps(now);
        }
    }

    /// Sends PCM of any length: a segmenter knows nothing else.
    fn send_pieces(&mut self, time: Timestamp, audio: &[u8], now: Duration) {
        let most = self.frame();
        for (n, piece) in (0..).zip(audio.chunks(pcm::bytes(most))) {
            let before = (most * n).duration(self.config.rate);
            self.send_audio(time + before, piece, now);
        }
    }

    fn send_audio(&mut self, time: Timestamp, audio: &[u8], now: Duration) {
        self.rotate(now);
        let Some(serving) = self.connections.taking_audio() else {
            let audio = audio.to_vec();
            return self.hold(Piece::Audio { time, audio }, now);
        };
        let length = serving.sent_audio(time, audio, now);
        self.send(audio, length, now);
    }

    /// Sends silence that is not part of the stream. The service adds it to the next utterance;
    /// before it gets too long it is committed as an utterance of its own.
    fn send_padding(&mut self, samples: Samples, now: Duration) {
        self.rotate(now);
        let coding = self.config.coding;
        let silence = coding.silence(samples);
        let Some(serving) = self.connections.taking_audio() else {
            return;
        };
        let length = serving.sent_padding(&silence, now);
        self.send(&silence, length, now);
        let Some(segmenter) = &mut self.segmenter else {
            return;
        };
        segmenter.pad(coding.samples(&silence));
        let limit = Duration::from_millis(self.limits.max_utterance_ms.unwrap_or_default());
        let serving = self.connections.serving();
        if serving.is_some_and(|serving| serving.uncommitted() >= limit / 2) {
            segmenter.forget_padding();
            self.commit(None, now);
        }
    }

    fn send(&mut self, audio: &[u8], length: Duration, now: Duration) {
        let coding = self.config.coding;
        self.sent.samples += coding.samples(audio);
        self.sent.bytes += coding.net_bytes(audio) as u64;
        self.command(Command::Audio(audio), now);
        self.pacer.sent(length, now);
        // With client VAD the segmenter splits utterances.
        if self.segmenter.is_none()
            && let (Some(limit), Some(serving)) =
                (self.limits.max_utterance_ms, self.connections.serving())
            && serving.uncommitted() >= Duration::from_millis(limit)
        {
            self.commit(None, now);
        }
    }

    /// The audio handed over from this timestamp on turns out to be `by` nanoseconds later.
    pub fn handle_moved(&mut self, since: Timestamp, by: i64) {
        if let Some(segmenter) = &mut self.segmenter {
            segmenter.move_since(since, by);
        }
        for connection in self.connections.all() {
            connection.move_since(since, by);
        }
    }

    /// Ends the utterance after the audio handed over so far (manual turn detection).
    pub fn handle_commit(&mut self, now: Duration) {
        if self.segmenter.is_none() {
            self.commit(None, now);
        }
    }

    fn commit(&mut self, speech: Option<Span>, now: Duration) {
        if self.limits.max_utterance_ms.is_none() {
            return;
        }
        match self.connections.taking_audio() {
            // The service answers an empty commit with an error.
            Some(serving) if serving.uncommitted().is_zero() => {}
            Some(serving) => {
                serving.commit(speech);
                self.command(Command::Commit, now);
            }
            None if self.replay.is_empty() => {}
            None => self.hold(Piece::Commit(speech), now),
        }
    }

    pub(super) fn send_context(&mut self, now: Duration) {
        if self.is_running() && self.context_changed {
            let context = self.config.context.clone().unwrap_or_default();
            self.command(Command::Context(&context), now);
        }
    }

    /// No more audio will arrive, but the queued audio cannot be handed over: limits how long that
    /// may last.
    pub fn handle_end_announced(&mut self, now: Duration) {
        if self.is_down() && !self.is_over() {
            let by = now + self.config.finish_timeout;
            self.end.by.get_or_insert(by);
            self.give_up_vain_waits(now);
        }
    }

    /// No more audio will arrive, and all of it was handed over.
    pub fn handle_finish(&mut self, now: Duration) {
        if !self.is_running() {
            return;
        }
        self.end_utterance(now);
        self.handle_commit(now);
        self.phase = Phase::Finishing;
        self.end.told = true;
        let by = now + self.config.finish_timeout;
        self.end.by.get_or_insert(by);
        self.announce(State::Finishing, "");
        self.command(Command::Finish, now);
    }
}
