// SPDX-License-Identifier: MPL-2.0
//! Captions that are never taken back, word for word while an utterance is being said.
//!
//! [`Stable`] takes the hypotheses and final texts of utterances and gives out timed words. What it
//! gives out for an utterance is, but for white space, its final text; or where that differs from
//! what had been shown, what had been shown and then the rest of the final text.
//!
//! Words come in the order of their times and do not overlap, also across utterances. The words of
//! an utterance wait until the utterances before it are final, unless they are due.

use std::collections::VecDeque;
use std::time::Duration;

use super::agreement::Agreement;
use super::curve::{Curve, MIN_WORD_DURATION};
use super::layout::Cue;
use super::pace::Pace;
use super::tokens::Token;
use crate::timeline::Timestamp;
use crate::transcript::{Transcript, Utterance};

/// Upper bound of the utterances that are open at the same time.
const MAX_OPEN: usize = 64;

/// By how much the words of an utterance may be late at its end: another utterance may begin there,
/// and wants its words shown in time. Words for which that leaves no time of their own are shown
/// together.
const MAX_DELAY: Duration = Duration::from_secs(1);

/// Turns the growing texts of utterances into words.
#[derive(Debug, Default)]
pub(super) struct Stable {
    /// The utterances of which words are still to come, in the order in which they were spoken.
    open: Vec<Open>,
    /// End of the latest word that was given out.
    shown_until: Timestamp,
    /// The latest utterances that had to be closed before their final text came.
    closed: VecDeque<Utterance>,
    /// The service changed text that it had confirmed.
    is_contradicted: bool,
    pace: Pace,
}

impl Stable {
    /// Takes in a hypothesis. Both of its texts are empty if all that is known is that someone
    /// began to speak. When the utterance is being heard again over a new connection its text is
    /// short again, and the end of the audio sent goes back.
    ///
    /// Adds to `out` the words that need not wait any longer. All before `taken` is on the track.
    pub fn interim(&mut self, transcript: &Transcript, taken: Timestamp, out: &mut Vec<Cue>) {
        let index = self.find_or_open(transcript, taken, out);
        if let Some(open) = index.and_then(|index| self.open.get_mut(index)) {
            open.interim(transcript, &self.pace);
            self.check_promises();
            self.flush(taken, out);
        }
    }

    /// Takes in the final text of an utterance, or its latest hypothesis if no final text will
    /// come.
    ///
    /// Adds to `out` the rest of its words, unless an utterance before it is open: then they come
    /// after those, or when they are due.
    pub fn finalise(&mut self, transcript: &Transcript, taken: Timestamp, out: &mut Vec<Cue>) {
        let index = self.find_or_open(transcript, taken, out);
        if let Some(open) = index.and_then(|index| self.open.get_mut(index)) {
            open.finalise(transcript, &mut self.pace);
            self.check_promises();
            self.flush(taken, out);
        }
    }

    /// No more transcripts come: adds all words that are left to `out`.
    pub fn end(&mut self, taken: Timestamp, out: &mut Vec<Cue>) {
        self.open.iter_mut().for_each(Open::give_up);
        self.flush(taken, out);
    }

    /// What starts at `position` or before must be shown now.
    ///
    /// Adds to `out` the words that do, except one that may still grow. To be called whenever the
    /// deadline moves.
    pub fn due(&mut self, position: Timestamp, taken: Timestamp, out: &mut Vec<Cue>) {
        for open in &mut self.open {
            if open.next_start(self.shown_until) <= position {
                open.show_due(position, taken, &mut self.shown_until, out);
            }
        }
        self.open
            .retain(|open| !open.is_final || open.agreement.has_pending());
        self.flush(taken, out);
    }

    /// Where the next word may start: no gap may go beyond unless the deadline of this position has
    /// passed. `None` if no utterance is open.
    ///
    /// It is the start of the first known word that was not given out. Of an utterance without one
    /// it is the time up to which the text is known, at first its start.
    pub fn held(&self) -> Option<Timestamp> {
        let starts = self.open.iter();
        starts.map(|open| open.next_start(self.shown_until)).min()
    }

    /// The index of the transcript's open utterance, which is opened if it is new. `None` if its
    /// final text has come already.
    fn find_or_open(
        &mut self,
        transcript: &Transcript,
        taken: Timestamp,
        out: &mut Vec<Cue>,
    ) -> Option<usize> {
        let utterance = transcript.utterance;
        let start = transcript.span.start;
        self.pace.expect(transcript.is_translation);
        if let Some(index) = self
            .open
            .iter()
            .position(|open| open.utterance == utterance)
        {
            let open = self.open.get(index).filter(|open| !open.is_final);
            return open.map(|_| index);
        }
        if self.closed.contains(&utterance) {
            return None;
        }
        if self.open.len() >= MAX_OPEN {
            self.close_first(taken, out);
        }
        let index = self.open.partition_point(|open| open.start <= start);
        let mut open = Open::new(utterance, start);
        if self.is_contradicted {
            open.agreement.distrust();
        }
        self.open.insert(index, open);
        Some(index)
    }

    /// Once the service has changed text that it had confirmed, it is not taken at its word any
    /// more in this session.
    fn check_promises(&mut self) {
        let mut open = self.open.iter();
        if !self.is_contradicted && open.any(|open| open.agreement.is_contradicted()) {
            self.is_contradicted = true;
            self.open
                .iter_mut()
                .for_each(|open| open.agreement.distrust());
        }
    }

    /// Gives up the first utterance; whatever comes for it is ignored.
    fn close_first(&mut self, taken: Timestamp, out: &mut Vec<Cue>) {
        if let Some(first) = self.open.first_mut() {
            first.give_up();
            self.closed.push_back(first.utterance);
            if self.closed.len() > MAX_OPEN {
                self.closed.pop_front();
            }
            self.flush(taken, out);
        }
    }

    /// Gives out what is ready of the first utterance, and of the next ones as long as those before
    /// are final.
    fn flush(&mut self, taken: Timestamp, out: &mut Vec<Cue>) {
        let mut finished = 0;
        for open in &mut self.open {
            open.show_ready(taken, &mut self.shown_until, out);
            if !open.is_final {
                break;
            }
            finished += 1;
        }
        self.open.drain(..finished);
    }
}

/// End of the audio sent when the text came, where that is known: the utterance may have ended
/// before.
fn audio_end(transcript: &Transcript) -> Timestamp {
    transcript.audio_end.max(transcript.span.end)
}

/// An utterance of which words are still to come.
#[derive(Debug)]
struct Open {
    utterance: Utterance,
    start: Timestamp,
    /// Its end, or that of the audio sent so far.
    end: Timestamp,
    /// End of the audio sent by the time of its newest hypothesis.
    audio_end: Timestamp,
    agreement: Agreement,
    curve: Curve,
    is_final: bool,
}

impl Open {
    fn new(utterance: Utterance, start: Timestamp) -> Self {
        Self {
            utterance,
            start,
            end: start,
            audio_end: start,
            agreement: Agreement::default(),
            curve: Curve::new(start),
            is_final: false,
        }
    }

    fn interim(&mut self, transcript: &Transcript, pace: &Pace) {
        let Transcript {
            text, stash, words, ..
        } = transcript;
        let audio_end = audio_end(transcript);
        let is_shorter = text.len() + stash.len() < self.agreement.text().len();
        if is_shorter && audio_end < self.audio_end {
            // It is heard again, from its start. What was shown of it stays shown.
            self.agreement.restart(audio_end);
            self.curve = Curve::new(self.start);
        }
        (self.end, self.audio_end) = (transcript.span.end, audio_end);
        self.agreement.interim(text, stash, audio_end);
        match Curve::exact(self.agreement.text(), words, self.start) {
            Some(curve) => self.curve = curve,
            None => self.observe(transcript, pace),
        }
    }

    /// Takes in how much of the text was there at the end of the audio sent.
    fn observe(&mut self, transcript: &Transcript, pace: &Pace) {
        let columns = self.agreement.columns();
        let end = audio_end(transcript);
        if transcript.is_guessed && self.curve.grown().next().is_none() {
            let spoken = pace.delay() + pace.time_for(columns);
            self.curve = Curve::new(end - spoken);
        }
        self.curve.set_pace(pace.delay(), pace.column());
        self.curve.set_bound(transcript.span.end);
        self.curve.observe(columns, end);
    }

    /// When the utterance ended.
    fn end(&self, transcript: &Transcript, pace: &Pace) -> Timestamp {
        let end = transcript.span.end;
        let latest = self.curve.grown().next_back();
        match latest.filter(|_| transcript.is_guessed) {
            Some((column, audio_end)) => {
                let rest = self.agreement.columns().saturating_sub(column);
                end.min(audio_end - pace.delay() + pace.time_for(rest))
            }
            None => end,
        }
    }

    fn finalise(&mut self, transcript: &Transcript, pace: &mut Pace) {
        self.agreement.finalise(&transcript.text);
        let columns = self.agreement.columns();
        self.curve.set_pace(pace.delay(), pace.column());
        self.end = self.end(transcript, pace);
        if !transcript.is_guessed {
            pace.learn(self.curve.grown(), columns, transcript.span);
        }
        match Curve::exact(self.agreement.text(), &transcript.words, self.start) {
            Some(mut curve) => {
                curve.close();
                self.curve = curve;
            }
            None => self.curve.finish(columns, self.end),
        }
        self.is_final = true;
    }

    /// No final text will come.
    fn give_up(&mut self) {
        self.agreement.give_up();
        self.is_final = true;
    }

    /// When the next word starts at the earliest; all before `floor` is taken.
    fn next_start(&self, floor: Timestamp) -> Timestamp {
        self.curve
            .time_after(self.agreement.next_column())
            .max(floor)
    }

    fn show_ready(&mut self, taken: Timestamp, floor: &mut Timestamp, out: &mut Vec<Cue>) {
        let words = self.words(self.agreement.ready(), taken.max(*floor));
        let count = self.show(&words, Timestamp::MAX, floor, out);
        self.agreement.show(count);
    }

    fn show_due(
        &mut self,
        position: Timestamp,
        taken: Timestamp,
        floor: &mut Timestamp,
        out: &mut Vec<Cue>,
    ) {
        let words = self.words(self.agreement.ready_if_due(), taken.max(*floor));
        let count = self.show(&words, position, floor, out);
        self.agreement.show(count);
    }

    /// The words that these tokens make, or several words in one where there is no time for each,
    /// all before `taken` being taken.
    fn words<'a>(&self, tokens: &'a [Token], taken: Timestamp) -> Vec<&'a [Token]> {
        let words: Vec<_> = tokens.chunk_by(|_, next| next.joins).collect();
        let time = (self.end + MAX_DELAY).since(taken);
        let count = time.as_nanos() / MIN_WORD_DURATION.as_nanos();
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        if words.len() <= count {
            return words;
        }
        let together = words.len().div_ceil(count.max(1));
        let mut rest = tokens;
        let lengths = words.chunks(together);
        let lengths = lengths.map(|words| words.iter().map(|word| word.len()).sum());
        lengths
            .map(|length| {
                let (words, later) = rest.split_at(length);
                rest = later;
                words
            })
            .collect()
    }

    /// Adds to `out` the words that start at `latest` or before, from `floor` on. Returns the
    /// number of tokens in them.
    fn show(
        &self,
        words: &[&[Token]],
        latest: Timestamp,
        floor: &mut Timestamp,
        out: &mut Vec<Cue>,
    ) -> usize {
        let ends = words
            .iter()
            .filter_map(|word| word.first().zip(word.last()));
        let ends: Vec<_> = ends.collect();
        let spans: Vec<_> = ends.iter().map(|(a, b)| (a.from, b.to)).collect();
        let times = self.curve.times(&spans, *floor);
        let mut count = 0;
        for ((word, (first, last)), span) in words.iter().zip(&ends).zip(times) {
            if span.start > latest {
                break;
            }
            let text = self.agreement.text().get(first.start..last.end);
            out.push(Cue {
                text: text.unwrap_or_default().to_owned(),
                span,
            });
            *floor = span.end;
            count += word.len();
        }
        count
    }
}

#[cfg(test)]
mod delays;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod recorded;
#[cfg(test)]
mod tests;
