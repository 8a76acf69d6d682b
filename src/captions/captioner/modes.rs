// SPDX-License-Identifier: MPL-2.0
//! The three modes: what each makes of transcripts, and where that goes on the track.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::curve::MIN_WORD_DURATION;
use super::super::layout::{Cue, Layout, MAX_CUE_BYTES, RESOLUTION, cues};
use super::super::rolling::RollingLines;
use super::super::stable::Stable;
use super::super::text::is_blank;
use super::super::track::{Piece, Track};
use super::super::translations::Translations;
use super::Composer;
use crate::timeline::{Span, Timestamp};
use crate::transcript::{Transcript, Utterance};

/// Utterances whose lines are on the pad and that have no final text yet, at most. There are two
/// while one speaker follows another; more only if the service forgets some.
const MAX_OPEN: usize = 16;

/// Readable cues of finished utterances.
///
/// A cue that is over before it can have been read stays on, but not beyond the start of the next
/// one. So the final one of an utterance is held back until it is known when that is, or until it is
/// due. Without deadlines it is held only until the watermark that follows each final text.
#[derive(Debug)]
pub(super) struct FinalCues {
    layout: Layout,
    /// The latest cue, with its time for reading.
    held: Option<(Cue, Duration)>,
    /// What is held back will be due: it can wait for the next utterance.
    has_deadlines: bool,
}

impl FinalCues {
    pub fn new(layout: Layout) -> Self {
        Self {
            layout,
            held: None,
            has_deadlines: false,
        }
    }
}

impl Composer for FinalCues {
    fn interim(&mut self, _: &Transcript, _: &mut Track, _: &mut Vec<Piece>) {}

    fn finalise(&mut self, transcript: &Transcript, track: &mut Track, out: &mut Vec<Piece>) {
        let mut cues = utterance_cues(transcript, &self.layout);
        let is_brief = |cue: &mut Cue| {
            let showing = cue.span.length().max(self.layout.min_showing());
            self.layout.reading_time(&cue.text) > showing
        };
        self.held = cues.pop_if(is_brief).map(|cue| {
            let reading = self.layout.reading_time(&cue.text);
            (cue, reading)
        });
        for cue in cues {
            track.text(cue, self.layout.min_showing(), out);
        }
    }

    fn release(&mut self, start: Timestamp, track: &mut Track, out: &mut Vec<Piece>) {
        if let Some((mut cue, reading)) = self.held.take() {
            let end = (cue.span.start + reading).min(start);
            cue.span.end = cue.span.end.max(end);
            track.text(cue, self.layout.min_showing(), out);
            out.push(Piece::UtteranceEnd);
        }
    }

    fn holds_end(&self) -> bool {
        self.held.is_some()
    }

    fn watermark(&mut self, time: Timestamp, track: &mut Track, out: &mut Vec<Piece>) {
        let is_read = |(cue, reading): &(Cue, Duration)| cue.span.start + *reading <= time;
        if !self.has_deadlines || self.held.as_ref().is_some_and(is_read) {
            self.release(time, track, out);
        }
    }

    fn due(&mut self, time: Timestamp, track: &mut Track, out: &mut Vec<Piece>) {
        self.has_deadlines = true;
        if self.held().is_some_and(|start| start <= time) {
            // Where the next one starts is not known.
            self.release(time, track, out);
        }
    }

    fn held(&self) -> Option<Timestamp> {
        self.held.as_ref().map(|(cue, _)| cue.span.start)
    }

    fn end(&mut self, track: &mut Track, out: &mut Vec<Piece>) {
        self.release(Timestamp::MAX, track, out);
    }
}

fn utterance_cues(transcript: &Transcript, layout: &Layout) -> Vec<Cue> {
    let Transcript {
        text, words, span, ..
    } = transcript;
    cues(text, words, *span, layout)
}

/// Words that are never retracted.
#[derive(Debug)]
pub(super) struct StableWords {
    stable: Stable,
    /// For words too long for a cue, such as a sentence in a script without spaces.
    layout: Layout,
    words: Vec<Cue>,
}

impl StableWords {
    pub fn new(layout: Layout) -> Self {
        Self {
            stable: Stable::default(),
            layout: Layout {
                max_chars: layout.max_chars,
                ..Layout::default()
            },
            words: Vec::new(),
        }
    }

    fn put_words(&mut self, track: &mut Track, out: &mut Vec<Piece>) {
        let max_chars = self.layout.max_chars.unwrap_or(MAX_CUE_BYTES);
        for word in self.words.drain(..) {
            // No character has more columns than bytes.
            if word.text.len() <= max_chars.min(MAX_CUE_BYTES) {
                track.text(word, MIN_WORD_DURATION, out);
                continue;
            }
            for cue in cues(&word.text, &[], word.span, &self.layout) {
                track.text(cue, MIN_WORD_DURATION, out);
            }
        }
    }
}

/// Up to where the track is taken.
fn taken(track: &Track) -> Timestamp {
    track.next_start(Timestamp::default())
}

impl Composer for StableWords {
    fn interim(&mut self, transcript: &Transcript, track: &mut Track, out: &mut Vec<Piece>) {
        self.stable
            .interim(transcript, taken(track), &mut self.words);
        self.put_words(track, out);
    }

    fn finalise(&mut self, transcript: &Transcript, track: &mut Track, out: &mut Vec<Piece>) {
        self.stable
            .finalise(transcript, taken(track), &mut self.words);
        self.put_words(track, out);
    }

    fn due(&mut self, time: Timestamp, track: &mut Track, out: &mut Vec<Piece>) {
        self.stable.due(time, taken(track), &mut self.words);
        self.put_words(track, out);
    }

    fn held(&self) -> Option<Timestamp> {
        self.stable.held()
    }

    fn end(&mut self, track: &mut Track, out: &mut Vec<Piece>) {
        self.stable.end(taken(track), &mut self.words);
        self.stable = Stable::default();
        self.put_words(track, out);
    }
}

/// The line that is being spoken, at every change.
///
/// Of a translation it is the line that is being translated, shown where that was said.
#[derive(Debug)]
pub(super) struct InterimLines {
    layout: Layout,
    /// The utterances that have been shown and are not final.
    open: BTreeMap<Utterance, RollingLines>,
    /// The utterance shown most recently.
    on_screen: Option<Utterance>,
    /// The newest hypothesis, if there was no time left for it on the track.
    waiting: Option<Transcript>,
    translations: Translations,
}

impl InterimLines {
    pub fn new(layout: Layout) -> Self {
        Self {
            // What it shows is one line.
            layout: Layout {
                max_lines: 1,
                ..layout
            },
            open: BTreeMap::new(),
            on_screen: None,
            waiting: None,
            translations: Translations::default(),
        }
    }

    /// Shows the new lines of an utterance that goes on, up to `end`.
    fn show(
        &mut self,
        transcript: &Transcript,
        end: Timestamp,
        track: &mut Track,
        out: &mut Vec<Piece>,
    ) {
        let utterance = transcript.utterance;
        if self.open.len() >= MAX_OPEN && !self.open.contains_key(&utterance) {
            self.open.pop_first();
        }
        let new = || RollingLines::new(self.layout.max_chars);
        let rolling = self.open.entry(utterance).or_insert_with(new);
        let lines = rolling.show(transcript);
        self.on_screen = Some(utterance);
        track.lines(
            lines,
            transcript.span.start,
            end,
            self.layout.max_showing(),
            out,
        );
    }

    /// Shows what is new in the final text of an utterance of which some was shown.
    fn show_rest(
        &mut self,
        mut rolling: RollingLines,
        transcript: &Transcript,
        track: &mut Track,
        out: &mut Vec<Piece>,
    ) {
        let is_on_screen = self.on_screen == Some(transcript.utterance);
        if is_blank(&transcript.text) {
            if is_on_screen {
                track.clear();
            }
            return;
        }
        if !is_on_screen && !rolling.has_unseen(transcript) {
            return;
        }
        let shown_until = rolling.audio_end();
        let lines = rolling.show(transcript);
        let end = self.end_of_rest(lines.len(), shown_until, transcript, track);
        self.on_screen = Some(transcript.utterance);
        track.lines(
            lines,
            transcript.span.start,
            end,
            self.layout.max_showing(),
            out,
        );
    }

    /// When to take away `count` lines of a final text whose audio up to `shown_until` has been
    /// shown: each is shown for `min_duration`, but no longer than that beyond the end of the
    /// utterance, where another one may begin. If they come too late even for that, they are shown
    /// for as long as they took to say.
    fn end_of_rest(
        &self,
        count: usize,
        shown_until: Timestamp,
        transcript: &Transcript,
        track: &Track,
    ) -> Timestamp {
        let Span { start, end } = transcript.span;
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        let min_showing = self.layout.min_showing();
        let shown_from = track.next_start(start);
        let wanted = min_showing.saturating_mul(count);
        let unseen = end.since(shown_until.max(start));
        (shown_from + wanted)
            .min(end + min_showing)
            .max(shown_from + wanted.min(unseen))
            .max(shown_from + RESOLUTION.saturating_mul(count))
            .max(end)
    }
}

impl Composer for InterimLines {
    fn interim(&mut self, transcript: &Transcript, track: &mut Track, out: &mut Vec<Piece>) {
        if is_blank(&transcript.text) && is_blank(&transcript.stash) {
            return;
        }
        let shown = self.open.get(&transcript.utterance);
        if shown.is_some_and(|rolling| rolling.is_ahead_of(transcript)) {
            return;
        }
        let placed = self.translations.place(transcript);
        let transcript = placed.as_ref().unwrap_or(transcript);
        self.waiting = None;
        if transcript.span.end > track.next_start(transcript.span.start) {
            self.show(transcript, transcript.span.end, track, out);
        } else {
            self.waiting = Some(transcript.clone());
        }
    }

    fn finalise(&mut self, transcript: &Transcript, track: &mut Track, out: &mut Vec<Piece>) {
        let utterance = transcript.utterance;
        self.translations.learn(transcript);
        self.waiting
            .take_if(|waiting| waiting.utterance == utterance);
        match self.open.remove(&utterance) {
            Some(rolling) => self.show_rest(rolling, transcript, track, out),
            None => {
                for cue in utterance_cues(transcript, &self.layout) {
                    track.text(cue, self.layout.min_showing(), out);
                }
            }
        }
    }

    fn end(&mut self, track: &mut Track, out: &mut Vec<Piece>) {
        if let Some(mut waiting) = self.waiting.take() {
            let stash = std::mem::take(&mut waiting.stash);
            waiting.text.push_str(&stash);
            self.finalise(&waiting, track, out);
        }
        self.open.clear();
        self.on_screen = None;
        self.translations = Translations::default();
    }

    fn advance(&mut self, time: Timestamp, track: &mut Track, out: &mut Vec<Piece>) {
        let has_time = |waiting: &mut Transcript| time > track.next_start(waiting.span.start);
        if let Some(waiting) = self.waiting.take_if(has_time) {
            self.show(&waiting, time, track, out);
        }
        track.advance(time, out);
    }
}
