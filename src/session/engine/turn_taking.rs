// SPDX-License-Identifier: MPL-2.0
//! How a session goes about utterances that the element finds itself.

use std::time::Duration;

use super::super::Notice;
use super::super::turns::Step;
use super::Session;
use crate::timeline::duration_of;

impl Session {
    /// Sends what the turns want to have sent, and ends utterances where they do.
    pub(super) fn take_turns(&mut self, now: Duration) {
        while let Some(step) = self.turns.as_mut().and_then(|turns| turns.next_step()) {
            match step {
                Step::Began { time } => {
                    // All of it belongs to one connection.
                    self.rotate(now);
                    self.connection.utterances.heard_from(time);
                    self.notice(Notice::SpeechStarted {
                        item_id: String::new(),
                        time,
                    });
                }
                Step::Audio { time, audio } => self.send_pieces(time, &audio, now),
                Step::Ended { speech } => {
                    let time = speech.end;
                    self.commit(Some(speech));
                    self.notice(Notice::SpeechStopped {
                        item_id: String::new(),
                        time,
                    });
                }
            }
        }
    }

    /// Ends the utterance that is going on, if any.
    pub(super) fn finish_turn(&mut self, now: Duration) {
        if let Some(turns) = &mut self.turns {
            turns.finish();
            self.take_turns(now);
        }
    }

    /// Sends audio of any length.
    fn send_pieces(&mut self, time: u64, audio: &[u8], now: Duration) {
        let most = self.limits.max_audio_bytes.max(2) & !1;
        for (n, piece) in audio.chunks(most).enumerate() {
            let samples = (n * most / 2) as u64;
            let time = time.saturating_add(duration_of(samples, self.config.rate));
            self.send_audio(time, piece, now);
        }
    }

    /// Silence was sent to keep the connection open. The service keeps it for the next utterance;
    /// before it gets too much it is ended as one of its own.
    pub(super) fn kept_alive(&mut self, samples: u64) {
        let Some(turns) = &mut self.turns else {
            return;
        };
        turns.pad(samples);
        let limit = self.limits.max_utterance_ms.unwrap_or_default() * 1_000_000;
        let uncommitted = duration_of(self.connection.uncommitted(), self.config.rate);
        if uncommitted >= limit / 2 {
            turns.forget_padding();
            self.commit(None);
        }
    }

    /// Whether what was sent since the last commit is no more than what keeps the connection open.
    pub(super) fn is_silent(&self) -> bool {
        self.replay.is_empty() && self.turns.as_ref().is_some_and(|turns| turns.is_silent())
    }

    /// Stream time up to which there is nothing to be recognised, where the turns know that.
    pub(super) fn silent_until(&self) -> Option<u64> {
        let reported = self.replay.is_empty() && self.connection.utterances.all_reported();
        self.turns.as_ref().filter(|_| reported)?.silent_until()
    }
}
