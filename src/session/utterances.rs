// SPDX-License-Identifier: MPL-2.0
//! The utterances of one connection: where each starts and ends, and which of them may be reported.
//!
//! The service names utterances ("items") as it likes and may finish them in any order; here they
//! are put into the order in which they were spoken. Positions are samples into the connection's
//! audio. Used by [`Connection`](super::connection::Connection) only.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::numbers::Numbers;
use crate::protocol::{ItemKey, ItemText};
use crate::timeline::{Position, Samples, Span, Timeline, Timestamp};
use crate::transcript::{Transcript, Utterance as Number, Word};

/// A final that overtook that of an earlier utterance is held back this long for it; after that the
/// earlier one no longer holds others up. Observed reordering by services is shorter.
const REORDER_WINDOW: Duration = Duration::from_secs(2);

/// Maximum number of utterances open at once. Services have one or two open; beyond this the oldest
/// is given up, since the service has lost track of it.
const MAX_OPEN: usize = 64;

/// Assumed delay from the start of an utterance to its first interim result, where neither the
/// service nor a commit gives the start.
const USUAL_DELAY: Duration = Duration::from_secs(1);

/// An utterance that is not reported as final yet.
#[derive(Debug, Default)]
struct Utterance {
    number: Option<Number>,
    item_id: String,
    /// Position according to the service or a commit.
    begin: Option<Position>,
    end: Option<Position>,
    /// Estimated start, used if no position is given.
    guess: Position,
    /// Start and end of the speech, where the segmenter knows them better than the positions do.
    speech_start: Option<Timestamp>,
    speech_end: Option<Timestamp>,
    text: ItemText,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Stage {
    /// Its final text is still awaited.
    #[default]
    Awaited,
    /// Still awaited, but later utterances no longer wait for it.
    Overtaken,
    /// Its text is known. Earlier utterances are waited for until this time.
    Ended { until: Duration, by_service: bool },
}

/// The audio between two commits: positions, and the timestamps of the speech in it, if known.
#[derive(Debug)]
struct Committed {
    begin: Position,
    end: Position,
    speech: Option<Span>,
}

/// An utterance that is complete as far as this connection is concerned.
#[derive(Debug, PartialEq)]
pub(super) struct Ended {
    pub transcript: Transcript,
    /// The service sent the final text; otherwise it is the text received so far.
    pub by_service: bool,
}

impl Utterance {
    fn held_until(&self) -> Option<Duration> {
        match self.stage {
            Stage::Ended { until, .. } => Some(until),
            Stage::Awaited | Stage::Overtaken => None,
        }
    }

    /// Whether the service has given no text for it.
    fn is_blank(&self) -> bool {
        let ItemText {
            text,
            stash,
            translation,
            ..
        } = &self.text;
        let translated = translation.iter().flat_map(|t| [&t.text, &t.stash]);
        [text, stash]
            .into_iter()
            .chain(translated)
            .all(String::is_empty)
    }

    /// Its start, as far as that is known.
    fn position(&self) -> Position {
        self.begin.unwrap_or(self.guess)
    }

    /// No final text will come. Earlier utterances are waited for until this time.
    fn end_as_heard(&mut self, until: Duration) {
        let stash = std::mem::take(&mut self.text.stash);
        self.text.text.push_str(&stash);
        if let Some(translation) = &mut self.text.translation {
            let stash = std::mem::take(&mut translation.stash);
            translation.text.push_str(&stash);
        }
        self.stage = Stage::Ended {
            until,
            by_service: false,
        };
    }

    fn take(&mut self, span: Committed) {
        self.begin = Some(span.begin);
        self.end = Some(span.end);
        if let Some(speech) = span.speech {
            self.speech_start = Some(speech.start);
            self.speech_end = Some(speech.end);
        }
    }

    /// Timestamp of its start.
    fn start(&self, timeline: &Timeline) -> Timestamp {
        let start = self.speech_start;
        let start = start.or_else(|| timeline.start_time(self.position()));
        start.unwrap_or_default()
    }

    fn number(&mut self, timeline: &Timeline, numbers: &mut Numbers) -> Number {
        let start = self.start(timeline);
        *self.number.get_or_insert_with(|| numbers.give(start))
    }
}

/// All utterances that have started and are not reported.
#[derive(Debug)]
pub(super) struct Utterances {
    rate: u32,
    open: BTreeMap<ItemKey, Utterance>,
    /// Spans between commits that are not assigned to an utterance yet (manual turn detection).
    spans: VecDeque<Committed>,
    manual: bool,
    /// Start of the current span.
    span_begin: Position,
    /// Timestamp of the first speech in it, if known.
    speech_start: Option<Timestamp>,
    /// End of the most recently reported utterance.
    reported_end: Position,
    /// The most recent items that were reported before the service ended them.
    given_up: VecDeque<ItemKey>,
}

impl Utterances {
    pub fn new(rate: u32, manual: bool) -> Self {
        Self {
            rate,
            open: BTreeMap::new(),
            spans: VecDeque::new(),
            manual,
            span_begin: Position::default(),
            speech_start: None,
            reported_end: Position::default(),
            given_up: VecDeque::new(),
        }
    }

    /// Position of a time in milliseconds, limited to the end of what was sent.
    pub fn position(&self, ms: u64, timeline: &Timeline) -> Position {
        position(ms, self.rate, timeline)
    }

    /// Number of samples since the most recent commit.
    pub fn uncommitted(&self, timeline: &Timeline) -> Samples {
        timeline.clock().since(self.span_begin)
    }

    /// The next commit's speech starts at this timestamp.
    pub fn speech_started(&mut self, time: Timestamp) {
        self.speech_start = Some(time);
    }

    /// The audio since the previous commit is one utterance, with speech between these timestamps
    /// if they are known.
    pub fn commit(&mut self, speech: Option<Span>, timeline: &Timeline) {
        let span = Committed {
            begin: self.span_begin,
            end: timeline.clock(),
            speech,
        };
        self.span_begin = timeline.clock();
        self.speech_start = None;
        // An utterance that appeared before its commit has this span.
        match self
            .open
            .values_mut()
            .find(|u| u.begin.is_some() && u.end.is_none())
        {
            Some(utterance) => utterance.take(span),
            None => self.spans.push_back(span),
        }
    }

    /// The service mentioned the item.
    pub fn seen(&mut self, item: ItemKey, timeline: &Timeline) {
        if self.open.contains_key(&item) || self.given_up.contains(&item) {
            return;
        }
        if self.open.len() >= MAX_OPEN
            && let Some(utterance) = self.open.values_mut().find(|u| u.held_until().is_none())
        {
            utterance.end_as_heard(Duration::ZERO);
        }
        let mut utterance = Utterance::default();
        if self.manual {
            match self.spans.pop_front() {
                Some(span) => utterance.take(span),
                None => {
                    utterance.begin = Some(self.span_begin);
                    utterance.speech_start = self.speech_start;
                }
            }
        }
        let guess = timeline.clock() - Samples::within(USUAL_DELAY, self.rate);
        utterance.guess = guess.max(self.reported_end);
        self.open.insert(item, utterance);
    }

    pub fn started(
        &mut self,
        item: ItemKey,
        item_id: &str,
        position: Position,
        timeline: &Timeline,
        numbers: &mut Numbers,
    ) {
        self.seen(item, timeline);
        if let Some(utterance) = self.open.get_mut(&item) {
            utterance.begin = Some(position);
            utterance.item_id = item_id.to_owned();
            utterance.number(timeline, numbers);
        }
    }

    pub fn stopped(&mut self, item: ItemKey, position: Position, timeline: &Timeline) {
        self.seen(item, timeline);
        if let Some(utterance) = self.open.get_mut(&item) {
            utterance.end = Some(position);
        }
    }

    /// New text of an open utterance. Returns its interim transcript.
    pub fn interim(
        &mut self,
        item: ItemKey,
        text: ItemText,
        timeline: &Timeline,
        numbers: &mut Numbers,
    ) -> Option<Transcript> {
        self.seen(item, timeline);
        let utterance = self.open.get_mut(&item)?;
        if utterance.held_until().is_some() {
            return None;
        }
        utterance.text = text;
        let text = utterance.text.clone();
        Some(self.transcript(item, text, timeline, numbers))
    }

    /// The utterance's final text.
    pub fn end(&mut self, item: ItemKey, text: ItemText, now: Duration, timeline: &Timeline) {
        self.seen(item, timeline);
        if let Some(utterance) = self.open.get_mut(&item) {
            utterance.text = text;
            utterance.stage = Stage::Ended {
                until: now + REORDER_WINDOW,
                by_service: true,
            };
        }
    }

    /// No final text will come: the text received so far is complete.
    pub fn give_up(&mut self, item: ItemKey, now: Duration) {
        if let Some(utterance) = self.open.get_mut(&item) {
            utterance.end_as_heard(now + REORDER_WINDOW);
        }
    }

    /// Gives up all utterances that have not ended.
    pub fn give_up_all(&mut self, now: Duration) {
        let all = self.open.values_mut();
        for utterance in all.filter(|u| u.held_until().is_none()) {
            utterance.end_as_heard(now);
        }
    }

    /// Gives up the utterances that an ended one has waited for long enough. Returns how many.
    pub fn give_up_overtaken(&mut self, now: Duration) -> usize {
        let ended = self
            .open
            .iter()
            .filter(|(_, u)| u.held_until().is_some_and(|due| due <= now));
        let Some(latest) = ended.map(|(key, u)| (u.position(), *key)).max() else {
            return 0;
        };
        let mut count = 0;
        for (key, utterance) in &mut self.open {
            if utterance.stage != Stage::Awaited || (utterance.position(), *key) > latest {
                continue;
            }
            count += 1;
            if utterance.is_blank() {
                // Late text is better than none.
                utterance.stage = Stage::Overtaken;
            } else {
                utterance.end_as_heard(now);
                if self.given_up.len() == MAX_OPEN {
                    self.given_up.pop_front();
                }
                self.given_up.push_back(*key);
            }
        }
        count
    }

    /// No late text will come either: overtaken utterances of which something was reported end with
    /// the text received.
    pub fn end_overtaken(&mut self) {
        for utterance in self.open.values_mut() {
            if utterance.stage == Stage::Overtaken && utterance.number.is_some() {
                utterance.end_as_heard(Duration::ZERO);
            }
        }
    }

    /// Whether any utterance waits for its final text.
    pub fn any_open(&self) -> bool {
        self.open.values().any(|u| u.stage == Stage::Awaited)
    }

    /// Whether nothing that was committed or mentioned is left to report.
    pub fn all_reported(&self) -> bool {
        self.waited_for().next().is_none() && self.spans.is_empty()
    }

    /// Latest time at which a final that is held back is due.
    pub fn deadline(&self) -> Option<Duration> {
        self.open.values().filter_map(Utterance::held_until).min()
    }

    /// The next utterance to report: the earliest one, once it has ended.
    pub fn next_ended(&mut self, timeline: &Timeline, numbers: &mut Numbers) -> Option<Ended> {
        let (item, stage) = self
            .waited_for()
            .min_by_key(|(key, u)| (u.position(), **key))
            .map(|(key, u)| (*key, u.stage))?;
        let Stage::Ended { by_service, .. } = stage else {
            return None;
        };
        let text = std::mem::take(&mut self.open.get_mut(&item)?.text);
        let transcript = self.transcript(item, text, timeline, numbers);
        let utterance = self.open.remove(&item)?;
        let end = self.end_of(&utterance, timeline);
        self.reported_end = self.reported_end.max(end).max(utterance.position());
        Some(Ended {
            transcript,
            by_service,
        })
    }

    /// Start of the earliest utterance that is not reported yet.
    pub fn begin_of_earliest(&self) -> Option<Position> {
        self.waited_for().map(|(_, u)| u.position()).min()
    }

    /// Start of the first utterance that is no longer waited for.
    pub fn begin_of_overtaken(&self) -> Option<Position> {
        let overtaken = self.open.values().filter(|u| u.stage == Stage::Overtaken);
        overtaken.map(Utterance::position).min()
    }

    fn waited_for(&self) -> impl Iterator<Item = (&ItemKey, &Utterance)> {
        self.open
            .iter()
            .filter(|(_, u)| u.stage != Stage::Overtaken)
    }

    /// End of the most recently reported utterance.
    pub fn reported_end(&self) -> Position {
        self.reported_end
    }

    /// Where it ends: where the next one begins at the latest, or all that was sent does.
    fn end_of(&self, utterance: &Utterance, timeline: &Timeline) -> Position {
        let begin = utterance.position();
        let others = self.open.values().filter_map(|other| other.begin);
        let next = others.filter(|other| *other > begin).min();
        utterance
            .end
            .unwrap_or_else(|| next.unwrap_or(timeline.clock()))
    }

    fn transcript(
        &mut self,
        item: ItemKey,
        text: ItemText,
        timeline: &Timeline,
        numbers: &mut Numbers,
    ) -> Transcript {
        let end = self.open.get(&item).map(|u| self.end_of(u, timeline));
        let (Some(end), Some(utterance)) = (end, self.open.get_mut(&item)) else {
            return Transcript::default();
        };
        let is_final = utterance.held_until().is_some();
        let is_guessed = utterance.begin.is_none() || is_final && utterance.end.is_none();
        let start = utterance.start(timeline);
        let end = end.max(utterance.position());
        let end = utterance.speech_end.or(timeline.end_time(end));
        let item_id = if text.item_id.is_empty() {
            utterance.item_id.clone()
        } else {
            text.item_id
        };
        let words = text.words.into_iter().map(|word| {
            let start = timeline.start_time(position(word.begin_ms, self.rate, timeline));
            let end = timeline.end_time(position(word.end_ms, self.rate, timeline));
            let start = start.unwrap_or_default();
            Word {
                text: word.text,
                span: Span::new(start, end.unwrap_or_default().max(start)),
            }
        });
        Transcript {
            utterance: utterance.number(timeline, numbers),
            item_id,
            // Numbered when it is reported.
            seq: 0,
            text: text.text,
            stash: text.stash,
            language: text.language,
            emotion: text.emotion,
            span: Span::new(start, end.unwrap_or_default().max(start)),
            audio_end: timeline.end_time(timeline.clock()).unwrap_or_default(),
            is_guessed,
            words: words.collect(),
            is_translation: false,
            speaker: text.speaker,
            translation: text.translation,
        }
    }
}

fn position(ms: u64, rate: u32, timeline: &Timeline) -> Position {
    let samples = Samples::within(Duration::from_millis(ms), rate);
    (Position::default() + samples).min(timeline.clock())
}
