// SPDX-License-Identifier: MPL-2.0
//! The utterances of a session: where each begins and ends, and in which order they are reported.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::time::Duration;

use crate::protocol::{ItemKey, ItemText};
use crate::timeline::Timeline;
use crate::transcript::{Transcript, Word};

/// A final that overtook an earlier utterance's waits this long for it. Then there will be none:
/// services finish out of order by less than that.
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
    words: ItemText,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Stage {
    /// Its final words are still to come.
    #[default]
    Awaited,
    /// So they are, but later utterances have waited long enough.
    Overtaken,
    /// Ended. Earlier ones are waited for until this time.
    Ended(Duration),
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
    fn held_until(&self) -> Option<Duration> {
        match self.stage {
            Stage::Ended(until) => Some(until),
            Stage::Awaited | Stage::Overtaken => None,
        }
    }

    /// Where it begins, as far as that is known.
    fn position(&self) -> u64 {
        self.begin.unwrap_or(self.guess)
    }

    /// No final words will come. Earlier utterances are waited for until this time.
    fn end_as_heard(&mut self, until: Duration) {
        let stash = std::mem::take(&mut self.words.stash);
        self.words.text.push_str(&stash);
        self.stage = Stage::Ended(until);
    }

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
    /// The last utterances that were reported before the service ended them.
    given_up: VecDeque<ItemKey>,
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
            given_up: VecDeque::new(),
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
        if self.open.contains_key(&item) || self.given_up.contains(&item) {
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
        words: ItemText,
        timeline: &Timeline,
    ) -> Option<Transcript> {
        self.seen(item, timeline);
        let utterance = self.open.get_mut(&item)?;
        if utterance.held_until().is_some() {
            return None;
        }
        utterance.words = words;
        Some(self.transcript(item, timeline, false))
    }

    /// The utterance's final words.
    pub fn end(&mut self, item: ItemKey, words: ItemText, now: Duration, timeline: &Timeline) {
        self.seen(item, timeline);
        if let Some(utterance) = self.open.get_mut(&item) {
            utterance.words = words;
            utterance.stage = Stage::Ended(now + REORDER_WINDOW);
        }
    }

    /// No final will come: what was last heard of the utterance is all there is.
    pub fn give_up(&mut self, item: ItemKey, now: Duration) {
        if let Some(utterance) = self.open.get_mut(&item) {
            utterance.end_as_heard(now + REORDER_WINDOW);
        }
    }

    /// The same of all that have not ended.
    pub fn give_up_all(&mut self, now: Duration) {
        let all = self.open.values_mut();
        for utterance in all.filter(|u| u.held_until().is_none()) {
            utterance.end_as_heard(now);
        }
    }

    /// Gives up the utterances for which one that has ended has waited long enough: what was
    /// heard of them is all there is. Returns how many there are.
    pub fn give_up_overtaken(&mut self, now: Duration) -> usize {
        let ended = self
            .open
            .iter()
            .filter(|(_, u)| u.held_until().is_some_and(|due| due <= now));
        let Some(last) = ended.map(|(key, u)| (u.position(), *key)).max() else {
            return 0;
        };
        let mut count = 0;
        for (key, utterance) in &mut self.open {
            if utterance.stage != Stage::Awaited || (utterance.position(), *key) > last {
                continue;
            }
            count += 1;
            if utterance.words.text.is_empty() && utterance.words.stash.is_empty() {
                // Late words are better than none.
                utterance.stage = Stage::Overtaken;
            } else {
                utterance.end_as_heard(now);
                if self.given_up.len() == MOST_OPEN {
                    self.given_up.pop_front();
                }
                self.given_up.push_back(*key);
            }
        }
        count
    }

    /// Whether any utterance waits for its final words.
    pub fn any_open(&self) -> bool {
        self.open.values().any(|u| u.stage == Stage::Awaited)
    }

    /// Whether nothing that was committed or mentioned is left to report.
    pub fn all_reported(&self) -> bool {
        self.waited_for().next().is_none() && self.spans.is_empty()
    }

    /// When the next held final is due at the latest.
    pub fn deadline(&self) -> Option<Duration> {
        self.open.values().filter_map(Utterance::held_until).min()
    }

    /// The next final to report: the earliest utterance, once it has ended.
    pub fn next_final(&mut self, timeline: &Timeline) -> Option<Transcript> {
        let (item, _) = self
            .waited_for()
            .min_by_key(|(key, u)| (u.position(), **key))
            .filter(|(_, u)| u.held_until().is_some())?;
        let item = *item;
        let transcript = self.transcript(item, timeline, true);
        self.open.remove(&item);
        Some(transcript)
    }

    /// Where the earliest utterance begins that is not reported yet.
    pub fn begin_of_earliest(&self) -> Option<u64> {
        self.waited_for().map(|(_, u)| u.position()).min()
    }

    /// Where the first utterance begins that nobody waits for any more.
    pub fn begin_of_overtaken(&self) -> Option<u64> {
        let overtaken = self.open.values().filter(|u| u.stage == Stage::Overtaken);
        overtaken.map(Utterance::position).min()
    }

    fn waited_for(&self) -> impl Iterator<Item = (&ItemKey, &Utterance)> {
        self.open
            .iter()
            .filter(|(_, u)| u.stage != Stage::Overtaken)
    }

    /// Where the last reported utterance ended.
    pub fn last_end(&self) -> u64 {
        self.last_end
    }

    fn transcript(&mut self, item: ItemKey, timeline: &Timeline, last: bool) -> Transcript {
        let Some(utterance) = self.open.get_mut(&item) else {
            return Transcript::default();
        };
        let begin = utterance.position();
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
            utterance: (self.number << 32) + item,
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
