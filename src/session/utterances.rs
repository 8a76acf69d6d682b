// SPDX-License-Identifier: MPL-2.0
//! The utterances of a session: where each begins and ends, and in which order they are reported.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::time::Duration;

use super::Transcript;
use crate::protocol::{ItemKey, Words};
use crate::timeline::{Timeline, Word};

/// A final that overtook an earlier utterance's waits this long for it.
const REORDER_WINDOW: Duration = Duration::from_secs(2);

/// Utterances that may be open at once. Services have one or two; more were lost by the service.
const MOST_OPEN: usize = 64;

/// How long before its first interim result an utterance began, where nothing tells.
const USUAL_DELAY_MS: u64 = 1000;

/// An utterance that is not reported as final yet. Positions are on the audio clock.
#[derive(Debug, Default)]
struct Utterance {
    item_id: String,
    /// Position as the service or a commit gave it.
    begin: Option<u64>,
    end: Option<u64>,
    /// Where it probably began if nothing tells.
    guess: u64,
    /// Stream times between which it was heard, where they are known better than from the
    /// positions.
    heard_from: Option<u64>,
    heard_until: Option<u64>,
    words: Words,
    /// Ended, and waiting for earlier ones until this time.
    held_until: Option<Duration>,
}

/// What was sent between two commits: positions, and the stream times between which something
/// was heard in it, if they are known.
#[derive(Debug)]
struct Span {
    begin: u64,
    end: u64,
    heard: Option<Range<u64>>,
}

impl Utterance {
    fn take(&mut self, span: Span) {
        self.begin = Some(span.begin);
        self.end = Some(span.end);
        if let Some(heard) = span.heard {
            self.heard_from = Some(heard.start);
            self.heard_until = Some(heard.end);
        }
    }
}

/// All utterances that were begun and not reported.
#[derive(Debug)]
pub(super) struct Utterances {
    rate: u32,
    open: BTreeMap<ItemKey, Utterance>,
    /// Spans between commits that no utterance has taken yet (manual turn detection).
    spans: VecDeque<Span>,
    manual: bool,
    /// Where the running span began.
    span_begin: u64,
    /// Stream time at which something was first heard in it, if that is known.
    heard_from: Option<u64>,
    /// Where the last reported utterance ended.
    last_end: u64,
    /// Distinguishes the utterances of this connection from those of others.
    number: u64,
}

impl Utterances {
    /// `number` is that of the connection: items are counted on from there.
    pub fn new(rate: u32, manual: bool, number: u64) -> Self {
        Utterances {
            rate,
            open: BTreeMap::new(),
            spans: VecDeque::new(),
            manual,
            span_begin: 0,
            heard_from: None,
            last_end: 0,
            number,
        }
    }

    /// Position of a number of milliseconds, never beyond what was sent.
    pub fn position(&self, ms: u64, timeline: &Timeline) -> u64 {
        position(ms, self.rate, timeline)
    }

    /// Number of the connection.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Samples since the last commit.
    pub fn uncommitted(&self, timeline: &Timeline) -> u64 {
        timeline.clock() - self.span_begin
    }

    /// What will be committed next begins with something heard at this stream time.
    pub fn heard_from(&mut self, time: u64) {
        self.heard_from = Some(time);
    }

    /// What was sent since the last commit is one utterance, heard between these stream times if
    /// they are known.
    pub fn commit(&mut self, heard: Option<Range<u64>>, timeline: &Timeline) {
        let span = Span {
            begin: self.span_begin,
            end: timeline.clock(),
            heard,
        };
        self.span_begin = timeline.clock();
        self.heard_from = None;
        // An utterance that showed itself before its commit has this span.
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
        if self.open.contains_key(&item) {
            return;
        }
        if self.open.len() >= MOST_OPEN {
            self.open.pop_first();
        }
        let mut utterance = Utterance::default();
        if self.manual {
            match self.spans.pop_front() {
                Some(span) => utterance.take(span),
                None => {
                    utterance.begin = Some(self.span_begin);
                    utterance.heard_from = self.heard_from;
                }
            }
        }
        let usual = USUAL_DELAY_MS * u64::from(self.rate) / 1000;
        utterance.guess = timeline.clock().saturating_sub(usual).max(self.last_end);
        self.open.insert(item, utterance);
    }

    pub fn started(&mut self, item: ItemKey, item_id: &str, position: u64, timeline: &Timeline) {
        self.seen(item, timeline);
        if let Some(utterance) = self.open.get_mut(&item) {
            utterance.begin = Some(position);
            utterance.item_id = item_id.to_owned();
        }
    }

    pub fn stopped(&mut self, item: ItemKey, position: u64, timeline: &Timeline) {
        self.seen(item, timeline);
        if let Some(utterance) = self.open.get_mut(&item) {
            utterance.end = Some(position);
        }
    }

    /// New words for an open utterance. Returns its interim transcript.
    pub fn interim(
        &mut self,
        item: ItemKey,
        words: Words,
        timeline: &Timeline,
    ) -> Option<Transcript> {
        self.seen(item, timeline);
        let utterance = self.open.get_mut(&item)?;
        if utterance.held_until.is_some() {
            return None;
        }
        utterance.words = words;
        Some(self.transcript(item, timeline, false))
    }

    /// The utterance's final words.
    pub fn end(&mut self, item: ItemKey, words: Words, now: Duration, timeline: &Timeline) {
        self.seen(item, timeline);
        if let Some(utterance) = self.open.get_mut(&item) {
            utterance.words = words;
            utterance.held_until = Some(now + REORDER_WINDOW);
        }
    }

    /// No final will come: what was last heard of the utterance is all there is.
    pub fn give_up(&mut self, item: ItemKey, now: Duration) {
        if let Some(utterance) = self.open.get_mut(&item) {
            let stash = std::mem::take(&mut utterance.words.stash);
            utterance.words.text.push_str(&stash);
            utterance.held_until = Some(now);
        }
    }

    /// As [`Self::give_up`], for all that are open. Returns how many of them had any text.
    pub fn give_up_all(&mut self, now: Duration) -> usize {
        let open: Vec<ItemKey> = self
            .open
            .iter()
            .filter(|(_, u)| u.held_until.is_none())
            .map(|(key, _)| *key)
            .collect();
        let mut lost = 0;
        for item in open {
            self.give_up(item, now);
            lost += usize::from(
                self.open
                    .get(&item)
                    .is_some_and(|u| !u.words.text.is_empty()),
            );
        }
        lost
    }

    /// Whether any utterance waits for its final words.
    pub fn any_open(&self) -> bool {
        self.open
            .values()
            .any(|utterance| utterance.held_until.is_none())
    }

    /// Whether nothing that was committed or mentioned is left to report.
    pub fn all_reported(&self) -> bool {
        self.open.is_empty() && self.spans.is_empty()
    }

    /// When the next held final is due at the latest.
    pub fn deadline(&self) -> Option<Duration> {
        self.open
            .values()
            .filter_map(|utterance| utterance.held_until)
            .min()
    }

    /// The next final to report: the earliest, once it has ended, or any that waited too long.
    pub fn next_final(&mut self, now: Duration, timeline: &Timeline) -> Option<Transcript> {
        let earliest = self
            .open
            .iter()
            .min_by_key(|(key, u)| (u.begin.unwrap_or(u.guess), **key))
            .filter(|(_, u)| u.held_until.is_some());
        let item = *earliest
            .or_else(|| {
                self.open
                    .iter()
                    .find(|(_, u)| u.held_until.is_some_and(|due| due <= now))
            })?
            .0;
        let transcript = self.transcript(item, timeline, true);
        self.open.remove(&item);
        Some(transcript)
    }

    /// Where the earliest utterance begins that is not reported yet.
    pub fn begin_of_earliest(&self) -> Option<u64> {
        self.open.values().map(|u| u.begin.unwrap_or(u.guess)).min()
    }

    /// Where the last reported utterance ended.
    pub fn last_end(&self) -> u64 {
        self.last_end
    }

    fn transcript(&mut self, item: ItemKey, timeline: &Timeline, last: bool) -> Transcript {
        let Some(utterance) = self.open.get_mut(&item) else {
            return Transcript::default();
        };
        let begin = utterance.begin.unwrap_or(utterance.guess);
        let end = utterance.end.unwrap_or_else(|| timeline.clock()).max(begin);
        let words = if last {
            std::mem::take(&mut utterance.words)
        } else {
            utterance.words.clone()
        };
        let item_id = if words.item_id.is_empty() {
            &utterance.item_id
        } else {
            &words.item_id
        };
        if last {
            self.last_end = self.last_end.max(end);
        }
        let start = utterance.heard_from.or(timeline.start_time(begin));
        let start = start.unwrap_or_default();
        let until = utterance.heard_until.or(timeline.end_time(end));
        let timed = words.words.into_iter().map(|word| {
            let start = timeline.start_time(position(word.begin_ms, self.rate, timeline));
            let end = timeline.end_time(position(word.end_ms, self.rate, timeline));
            let start = start.unwrap_or_default();
            Word {
                text: word.text,
                start,
                end: end.unwrap_or_default().max(start),
            }
        });
        Transcript {
            words: timed.collect(),
            item: (self.number << 32) + item,
            item_id: item_id.clone(),
            seq: 0,
            text: words.text,
            stash: words.stash,
            language: words.language,
            emotion: words.emotion,
            start,
            end: until.unwrap_or_default().max(start),
        }
    }
}

fn position(ms: u64, rate: u32, timeline: &Timeline) -> u64 {
    ms.saturating_mul(u64::from(rate) / 1000)
        .min(timeline.clock())
}
