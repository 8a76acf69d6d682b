// SPDX-License-Identifier: MPL-2.0
//! One connection of a session: its stage, its audio clock, its utterances, and the audio to send
//! again if it breaks. Used by the session, through
//! [`Connections`](super::connections::Connections).

use std::collections::VecDeque;
use std::time::Duration;

use super::backlog::{Backlog, Replay};
use super::liveness::Liveness;
use super::numbers::Numbers;
use super::outbox::Outbox;
use super::reporter::Reporter;
use super::utterances::{Ended, Utterances};
use super::{Config, ConnId, Notice, Warning};
use crate::audio::Coding;
use crate::protocol::{Codec, Command, Event, ItemText, Limits, Quote, Usage};
use crate::timeline::{Position, Samples, Span, Timeline, Timestamp};
use crate::transcript::Transcript;

/// The service reports speech within this time: audio sent longer ago, with no utterance open, is
/// silence.
const QUIET: Duration = Duration::from_secs(2);

/// Minimum interval between the positions noted for that: one per frame of the usual length.
const QUIET_STEP: Duration = Duration::from_millis(50);

/// Audio sent again from before the start of an utterance, so that its first sound is complete.
const PRE_ROLL: Duration = Duration::from_millis(300);

/// The stage that a connection has reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stage {
    /// Being opened.
    Connecting,
    /// Open, but the service has not accepted the settings yet.
    Opening,
    /// The service accepted the settings.
    Ready {
        since: Duration,
        session_id: Option<String>,
    },
}

pub(super) struct Connection {
    pub id: ConnId,
    pub stage: Stage,
    /// Deadline of the present stage, or of the response that the session expects after it.
    pub until: Duration,
    pub codec: Box<dyn Codec>,
    pub liveness: Liveness,
    coding: Coding,
    timeline: Timeline,
    utterances: Utterances,
    /// The first event that is unknown to the protocol.
    unknown: Option<Quote>,
    billed: Usage,
    backlog: Backlog,
    /// The audio of the latest [`QUIET`].
    sent: VecDeque<Sent>,
    /// Loud audio was sent that is not recorded there yet.
    loud: bool,
    /// Position before which there was silence.
    quiet_until: Position,
    /// Position of loud audio since which there has been no result at all: it may be noise, or the
    /// service is unresponsive.
    unanswered: Option<Position>,
    /// Utterances end with commits (manual turn detection).
    manual: bool,
    /// There is room for one utterance only.
    one_utterance: bool,
    /// It had its one utterance: audio that follows needs another connection.
    is_used: bool,
    /// Takes the place of a connection that is used, rather than of one that was lost.
    pub is_planned: bool,
    /// Takes the place of one that was lost, or could not be opened.
    pub is_retry: bool,
}

/// Audio that was sent.
struct Sent {
    at: Duration,
    /// Position of its end.
    end: Position,
    loud: bool,
}

impl Connection {
    /// `unresponsive` is for [`Liveness::new`].
    pub fn new(
        id: ConnId,
        codec: Box<dyn Codec>,
        config: &Config,
        unresponsive: u32,
        now: Duration,
    ) -> Self {
        let Limits {
            max_utterance_ms,
            keep_alive,
            one_utterance,
            ..
        } = codec.limits();
        let manual = max_utterance_ms.is_some();
        Self {
            id,
            stage: Stage::Connecting,
            until: now + config.connect_timeout,
            codec,
            coding: config.coding,
            timeline: Timeline::new(config.rate),
            utterances: Utterances::new(config.rate, manual),
            liveness: Liveness::new(config.response_timeout, keep_alive, unresponsive, now),
            unknown: None,
            billed: Usage::default(),
            backlog: Backlog::new(config.backlog, config.coding),
            sent: VecDeque::new(),
            loud: false,
            quiet_until: Position::default(),
            unanswered: None,
            manual,
            one_utterance,
            is_used: false,
            is_planned: false,
            is_retry: false,
        }
    }

    pub fn is_ready(&self) -> bool {
        matches!(self.stage, Stage::Ready { .. })
    }

    /// Whether audio may be sent.
    pub fn takes_audio(&self) -> bool {
        self.is_ready() && !self.is_used
    }

    /// Whether it had the one utterance that it takes.
    pub fn is_used(&self) -> bool {
        self.is_used
    }

    /// How long the service has accepted audio.
    pub fn served(&self, now: Duration) -> Option<Duration> {
        match self.stage {
            Stage::Ready { since, .. } => Some(now.saturating_sub(since)),
            Stage::Connecting | Stage::Opening => None,
        }
    }

    pub fn session_id(&self) -> Option<&str> {
        match &self.stage {
            Stage::Ready { session_id, .. } => session_id.as_deref(),
            Stage::Connecting | Stage::Opening => None,
        }
    }

    /// Starts serving, in place of the previous connection. `unresponsive` is as in [`Self::new`].
    pub fn start_serving(&mut self, unresponsive: u32, now: Duration) {
        self.liveness.restart(unresponsive, now);
        if let Stage::Ready { since, .. } = &mut self.stage {
            *since = now;
        }
    }

    /// Usage billed so far.
    pub fn billed(&self) -> Usage {
        self.billed
    }

    /// Sends a command; the codec's events for it, other than frames, go to `events`.
    pub fn command(&mut self, command: Command<'_>, events: &mut Vec<Event>, out: &mut Outbox) {
        self.codec.command(command, events, &mut out.frames);
        out.send_frames(self.id);
    }

    /// Records audio that is sent, and starts at the timestamp `time`. Returns its length.
    pub fn sent_audio(&mut self, time: Timestamp, audio: &[u8], now: Duration) -> Duration {
        let samples = self.coding.samples(audio);
        self.timeline.append(time, samples);
        self.sent_any(audio, samples, now)
    }

    /// Records silence that is sent, but is not part of the stream. Returns its length.
    pub fn sent_padding(&mut self, silence: &[u8], now: Duration) -> Duration {
        let samples = self.coding.samples(silence);
        self.timeline.pad(samples);
        self.sent_any(silence, samples, now)
    }

    fn sent_any(&mut self, audio: &[u8], samples: Samples, now: Duration) -> Duration {
        let length = samples.duration(self.timeline.rate());
        self.backlog.push(audio, samples);
        let is_loud = self.coding.is_loud(audio);
        self.liveness.sent(is_loud, length, now);
        self.loud |= is_loud;
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

    /// The audio from this timestamp on is `by` nanoseconds later.
    pub fn move_since(&mut self, since: Timestamp, by: i64) {
        self.timeline.move_since(since, by);
    }

    /// Length of the audio since the most recent commit.
    pub fn uncommitted(&self) -> Duration {
        let samples = self.utterances.uncommitted(&self.timeline);
        samples.duration(self.timeline.rate())
    }

    /// The next commit's speech starts at this timestamp.
    pub fn speech_started(&mut self, time: Timestamp) {
        self.utterances.speech_started(time);
    }

    /// The audio since the previous commit is an utterance, with speech between these timestamps if
    /// they are known.
    pub fn commit(&mut self, speech: Option<Span>) {
        self.is_used = self.one_utterance;
        self.utterances.commit(speech, &self.timeline);
        self.backlog.commit(self.timeline.clock(), speech);
    }

    /// Applies the service's events on its audio and utterances. `context` is the text that biases
    /// recognition; `finds_utterances` says that the service, rather than the element, detects
    /// speech.
    pub fn absorb(
        &mut self,
        event: Event,
        context: Option<&str>,
        finds_utterances: bool,
        now: Duration,
        reporter: &mut Reporter,
        out: &mut Outbox,
    ) {
        self.liveness.result(now);
        if matches!(event, Event::Interim { .. } | Event::Final { .. }) {
            self.liveness.text();
        }
        let (utterances, timeline) = (&mut self.utterances, &self.timeline);
        match event {
            Event::ItemSeen { item } => utterances.seen(item, timeline),
            Event::SpeechStarted { item, at_ms, .. } | Event::SpeechStopped { item, at_ms, .. }
                if !finds_utterances || at_ms.is_none() =>
            {
                utterances.seen(item, timeline);
            }
            Event::SpeechStarted {
                item,
                item_id,
                at_ms,
            } => {
                let position = utterances.position(at_ms.unwrap_or_default(), timeline);
                let numbers = &mut reporter.numbers;
                utterances.started(item, &item_id, position, timeline, numbers);
                let time = timeline.start_time(position).unwrap_or_default();
                out.notice(Notice::SpeechStarted { item_id, time });
            }
            Event::SpeechStopped {
                item,
                item_id,
                at_ms,
            } => {
                let position = utterances.position(at_ms.unwrap_or_default(), timeline);
                utterances.stopped(item, position, timeline);
                let time = timeline.end_time(position).unwrap_or_default();
                out.notice(Notice::SpeechStopped { item_id, time });
            }
            Event::Interim { item, text } => {
                if let Some(transcript) =
                    utterances.interim(item, text, timeline, &mut reporter.numbers)
                {
                    reporter.interim(self.id, transcript, out);
                }
            }
            Event::Final { item, text } => {
                let text = without_echo(text, context);
                utterances.end(item, text, now, timeline);
            }
            Event::ItemFailed { item, message } => {
                utterances.give_up(item, now);
                out.warn(Warning::NotRecognised(message));
            }
            Event::Billed(usage) => self.billed = self.billed.max(usage),
            // These concern the session.
            Event::Ready { .. }
            | Event::Finished
            | Event::Failed(_)
            | Event::Unknown { .. }
            | Event::Warning(_) => {}
        }
    }

    /// The service sent an event that is unknown to the protocol.
    pub fn unknown(&mut self, name: &Quote, now: Duration) {
        self.liveness.unknown(now);
        self.unknown.get_or_insert_with(|| name.clone());
    }

    /// The first unknown event.
    pub fn first_unknown(&self) -> Option<&Quote> {
        self.unknown.as_ref()
    }

    /// The next utterance to report, see [`Utterances::next_ended`].
    pub fn next_ended(&mut self, numbers: &mut Numbers) -> Option<Ended> {
        self.utterances.next_ended(&self.timeline, numbers)
    }

    /// See [`Utterances::give_up_overtaken`].
    pub fn give_up_overtaken(&mut self, now: Duration) -> usize {
        self.utterances.give_up_overtaken(now)
    }

    /// No more final text will come.
    pub fn give_up_all(&mut self, now: Duration) {
        self.utterances.give_up_all(now);
    }

    /// See [`Utterances::end_overtaken`].
    pub fn end_overtaken(&mut self) {
        self.utterances.end_overtaken();
    }

    /// Whether any utterance waits for its final text.
    pub fn any_open(&self) -> bool {
        self.utterances.any_open()
    }

    /// Whether everything that was committed or mentioned has been reported.
    pub fn all_reported(&self) -> bool {
        self.utterances.all_reported()
    }

    /// Whether there may have been speech for which no text was reported.
    pub fn owes_text(&self) -> bool {
        self.utterances.any_open() || self.backlog.is_loud()
    }

    /// Whether no utterance waits to be reported.
    pub fn has_nothing_open(&self) -> bool {
        self.utterances.begin_of_earliest().is_none()
    }

    /// Whether one utterance is over, and no other can have started: after a commit, or in silence
    /// of this length.
    pub fn is_between_utterances(&self, quiet: Duration) -> bool {
        if self.manual {
            self.uncommitted().is_zero()
        } else {
            self.has_nothing_open()
                && (self.liveness.quiet_for() >= quiet
                    || self.timeline.clock() == Position::default())
        }
    }

    /// The text so far of the utterances that are not reported, as if it were complete.
    pub fn open_transcripts(&mut self, numbers: &mut Numbers) -> Vec<Transcript> {
        self.give_up_all(Duration::ZERO);
        let ended = std::iter::from_fn(|| self.next_ended(numbers));
        ended.map(|ended| ended.transcript).collect()
    }

    /// When a final that is held back for an earlier one is due.
    pub fn reorder_deadline(&self) -> Option<Duration> {
        self.utterances.deadline()
    }

    /// When the latest audio sent will be known to have been silence, if it was. While audio is
    /// being sent, that settles older audio.
    pub fn quiet_deadline(&self) -> Option<Duration> {
        self.sent.back().map(|sent| sent.at + QUIET)
    }

    /// Timestamp before which no more text can come. Discards data that is only needed before it.
    pub fn settle(&mut self, now: Duration) -> Option<Timestamp> {
        while let Some(sent) = self.sent.pop_front_if(|sent| sent.at + QUIET <= now) {
            if self.manual {
                continue;
            }
            // A service that ignored loud audio on several earlier connections may be right.
            let was_heard = self.liveness.answered_since(sent.at + QUIET);
            if sent.loud && self.liveness.unresponsive() == 0 && !was_heard {
                self.unanswered.get_or_insert(self.quiet_until);
            }
            self.quiet_until = sent.end;
        }
        if self.liveness.answered_since(now) {
            self.unanswered = None;
        }
        let keep = self.replay_from();
        self.backlog.forget_before(keep);
        // A packet may begin before that.
        self.timeline.forget_before(keep.min(self.backlog.start()));
        self.timeline.end_time(self.settled())
    }

    /// Timestamp at the end of what was sent.
    pub fn end_time(&self) -> Option<Timestamp> {
        self.timeline.end_time(self.timeline.clock())
    }

    /// Leaves audio that is not recognised to the replay, in pieces of `chunk` samples. Returns the
    /// span of the part that is no longer kept.
    pub fn leave_to(&mut self, replay: &mut Replay, chunk: Samples) -> Option<Span> {
        let from = self.replay_from();
        let backlog = std::mem::replace(&mut self.backlog, Backlog::new(Samples(0), self.coding));
        replay.take_over(backlog, from, &self.timeline, chunk)
    }

    /// Position before which nothing is left to report: the start of the earliest open utterance,
    /// or else the end of the most recently reported one, or of the silence after it.
    fn settled(&self) -> Position {
        let silent = self.utterances.reported_end().max(self.quiet_until);
        self.utterances.begin_of_earliest().unwrap_or(silent)
    }

    fn replay_from(&self) -> Position {
        let pre_roll = if self.manual {
            Duration::ZERO
        } else {
            PRE_ROLL
        };
        let pre_roll = Samples::within(pre_roll, self.timeline.rate());
        let (settled, reported) = (self.settled(), self.utterances.reported_end());
        let mut from = settled - pre_roll;
        // Kept while there is room: it may be noise that never gets a result.
        if let Some(position) = self.unanswered {
            from = from.min((position - pre_roll).max(self.backlog.start()));
        }
        if reported <= settled {
            from = from.max(reported);
        }
        let overtaken = self.utterances.begin_of_overtaken();
        overtaken
            .map(|begin| begin - pre_roll)
            .filter(|begin| *begin >= self.backlog.start())
            .map_or(from, |begin| from.min(begin))
    }

    #[cfg(test)]
    pub fn timeline(&self) -> &Timeline {
        &self.timeline
    }

    #[cfg(test)]
    pub fn kept_bytes(&self) -> usize {
        self.backlog.kept_bytes()
    }
}

/// On silence the service may return the context as a transcript, apart from the line breaks.
fn without_echo(mut text: ItemText, context: Option<&str>) -> ItemText {
    let context = context.unwrap_or_default();
    if context.split_whitespace().eq(text.text.split_whitespace()) {
        text.text.clear();
    }
    text
}
