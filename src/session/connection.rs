// SPDX-License-Identifier: MPL-2.0
//! What belongs to one connection of a session: its audio clock, its utterances, and the audio
//! that would be sent again if it broke.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Duration;

use super::Config;
use super::backlog::{Backlog, Replay};
use super::liveness::Liveness;
use super::utterances::Utterances;
use crate::protocol::{Codec, Usage};
use crate::timeline::{Timeline, duration_of};
use crate::transcript::Transcript;

/// Speech that the service heard is reported within this time: what was sent longer ago without
/// any utterance being open is silence.
const QUIET: Duration = Duration::from_secs(2);

/// How often the position of the audio is noted for that, at most: with each frame of the usual
/// length.
const QUIET_STEP: Duration = Duration::from_millis(50);

/// Audio sent again from before the begin of an utterance, so that its first sound is whole.
const PRE_ROLL_MS: u64 = 300;

pub(super) struct Connection {
    pub codec: Box<dyn Codec>,
    pub timeline: Timeline,
    pub utterances: Utterances,
    pub liveness: Liveness,
    pub billed: Usage,
    backlog: Backlog,
    /// The last [`QUIET`] of the audio.
    sent: VecDeque<Sent>,
    /// Something loud was sent that is not in there yet.
    loud: bool,
    /// Position before which nothing was heard.
    quiet_until: u64,
    /// Position of something loud since which there is no result at all: it may be noise, or
    /// nobody listens.
    unanswered: Option<u64>,
    manual: bool,
}

/// Audio that was sent.
struct Sent {
    at: Duration,
    /// Position of its end.
    end: u64,
    loud: bool,
}

impl Connection {
    /// `number` distinguishes the session's connections, `deaf` is for [`Liveness::new`].
    pub fn new(
        codec: Box<dyn Codec>,
        config: &Config,
        number: u64,
        deaf: u32,
        now: Duration,
    ) -> Self {
        let limits = codec.limits();
        let manual = limits.max_utterance_ms.is_some();
        Connection {
            codec,
            timeline: Timeline::new(config.rate),
            utterances: Utterances::new(config.rate, manual, number),
            liveness: Liveness::new(config.response_timeout, limits.keep_alive, deaf, now),
            billed: Usage::default(),
            backlog: Backlog::new(config.backlog_bytes),
            sent: VecDeque::new(),
            loud: false,
            quiet_until: 0,
            unanswered: None,
            manual,
        }
    }

    /// Notes audio that is sent. Returns its length.
    pub fn sent_audio(&mut self, time: u64, audio: &[u8], now: Duration) -> Duration {
        let samples = audio.len() as u64 / 2;
        let length = Duration::from_nanos(duration_of(samples, self.timeline.rate()));
        self.timeline.append(time, samples);
        self.backlog.push(audio);
        self.loud |= self.liveness.sent(audio, length, now);
        if self
            .sent
            .back()
            .is_none_or(|sent| now >= sent.at + QUIET_STEP)
        {
            self.sent.push_back(Sent {
                at: now,
                end: self.timeline.clock(),
                loud: std::mem::take(&mut self.loud),
            });
        }
        length
    }

    /// Distinguishes the session's connections, and grows.
    pub fn number(&self) -> u64 {
        self.utterances.number()
    }

    /// Samples since the last commit.
    pub fn uncommitted(&self) -> u64 {
        self.utterances.uncommitted(&self.timeline)
    }

    /// What was sent since the last commit is an utterance, heard between these stream times if
    /// they are known.
    pub fn commit(&mut self, speech: Option<Range<u64>>) {
        self.utterances.commit(speech.clone(), &self.timeline);
        self.backlog.commit(self.timeline.clock(), speech);
    }

    pub fn next_final(&mut self) -> Option<Transcript> {
        self.utterances.next_final(&self.timeline)
    }

    #[cfg(test)]
    pub fn kept_bytes(&self) -> usize {
        self.backlog.kept_bytes()
    }

    /// Whether something may have been said of which nothing was reported.
    pub fn owes_text(&self) -> bool {
        self.utterances.any_open() || self.backlog.is_loud()
    }

    /// Whether no utterance waits to be reported.
    pub fn has_nothing_open(&self) -> bool {
        self.utterances.begin_of_earliest().is_none()
    }

    /// Whether one utterance is over, and no other can have begun: after a commit, or in silence
    /// of this length.
    pub fn is_between_utterances(&self, quiet: Duration) -> bool {
        if self.manual {
            self.uncommitted() == 0
        } else {
            self.has_nothing_open()
                && (self.liveness.quiet_for() >= quiet || self.timeline.clock() == 0)
        }
    }

    /// What was heard so far of the utterances that are not final, as if it were all.
    pub fn open_transcripts(&mut self) -> Vec<Transcript> {
        self.utterances.give_up_all(Duration::ZERO);
        let finals = std::iter::from_fn(|| self.utterances.next_final(&self.timeline));
        finals
            .filter(|transcript| !transcript.text.is_empty())
            .collect()
    }

    /// When time itself changes something. Finals count if they may be `reported`.
    pub fn next_timeout(&self, reported: bool) -> Duration {
        // As long as audio is sent, that settles what is older.
        let quiet = self.sent.back().map(|sent| sent.at + QUIET);
        let held = self.utterances.deadline().filter(|_| reported);
        let times = [quiet, held];
        let alive = self.liveness.next();
        times.into_iter().flatten().fold(alive, Duration::min)
    }

    /// Stream time before which no more text can come; forgets what is only needed before it.
    pub fn settle(&mut self, now: Duration) -> Option<u64> {
        while let Some(sent) = self.sent.pop_front_if(|sent| sent.at + QUIET <= now) {
            if self.manual {
                continue;
            }
            // A service that has been deaf to what is loud before may be right.
            if sent.loud && self.liveness.deaf() == 0 && !self.liveness.has_heard(sent.at + QUIET) {
                self.unanswered.get_or_insert(self.quiet_until);
            }
            self.quiet_until = sent.end;
        }
        if self.liveness.has_heard(now) {
            self.unanswered = None;
        }
        let keep = self.replay_from();
        self.backlog.forget_before(keep);
        self.timeline.forget_before(keep);
        self.timeline.end_time(self.settled())
    }

    /// Stream time at the end of what was sent.
    pub fn end_time(&self) -> Option<u64> {
        self.timeline.end_time(self.timeline.clock())
    }

    /// Leaves what is not recognised to be sent again. Returns time and duration of what would
    /// have to be, and is not there any more.
    pub fn leave_to(&mut self, replay: &mut Replay, chunk: u64) -> Option<(u64, u64)> {
        let from = self.replay_from();
        let backlog = std::mem::replace(&mut self.backlog, Backlog::new(0));
        replay.take_over(backlog, from, &self.timeline, chunk)
    }

    /// Position before which nothing is left to report: the begin of the earliest open
    /// utterance, or else the end of the last one, or of the silence after it.
    fn settled(&self) -> u64 {
        let silent = self.utterances.last_end().max(self.quiet_until);
        self.utterances.begin_of_earliest().unwrap_or(silent)
    }

    fn replay_from(&self) -> u64 {
        let pre_roll = PRE_ROLL_MS * u64::from(self.timeline.rate()) / 1000;
        let pre_roll = if self.manual { 0 } else { pre_roll };
        let (settled, reported) = (self.settled(), self.utterances.last_end());
        let mut from = settled.saturating_sub(pre_roll);
        // These are kept as long as there is room for them: nobody may ever want them.
        if let Some(position) = self.unanswered {
            from = from.min(position.saturating_sub(pre_roll).max(self.backlog.start()));
        }
        if reported <= settled {
            from = from.max(reported);
        }
        let overtaken = self.utterances.begin_of_overtaken();
        overtaken
            .map(|begin| begin.saturating_sub(pre_roll))
            .filter(|begin| *begin >= self.backlog.start())
            .map_or(from, |begin| from.min(begin))
    }
}
