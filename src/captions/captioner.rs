// SPDX-License-Identifier: MPL-2.0
//! From transcripts to the text of a pad: which text, when it starts, and for how long.
//!
//! A [`Captioner`] belongs to one pad and is driven by that pad's thread alone. Transcripts,
//! watermarks and deadlines go in, [`Piece`]s come out, ready to be pushed in that order. It has no
//! clock: time comes in as timestamps. What it guarantees, whatever goes in:
//!
//! - Pieces do not go back in time, do not overlap, and have a duration. (With
//!   [`Captioner::keep_late_text`], text may be earlier than gaps, but not than other text.)
//! - No text is blank, and in [`Mode::Final`] and [`Mode::Stable`] none is retracted.
//! - Every word of a final text is in some piece, or a word that was shown earlier stands in its
//!   place; but of words that are repeated over and over, as by a recogniser in a loop, only three.

mod modes;

use std::borrow::Cow;
use std::fmt::Debug;
use std::time::Duration;

use super::layout::Layout;
use super::loops::{Shortened, shorten};
use super::text::{is_blank, normalise, same_bytes};
use super::track::{Piece, Track};
use crate::timeline::Timestamp;
use crate::transcript::{Transcript, Utterance};
use modes::{FinalCues, InterimLines, StableWords};

/// How often [`Captioner::due`] is to be called in a live pipeline.
pub const HEARTBEAT: Duration = Duration::from_millis(200);

/// Words leave this long before their deadline, which may fall between two calls of
/// [`Captioner::due`].
const LEAD: Duration = HEARTBEAT.saturating_add(Duration::from_millis(100));

/// Which text is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Cues of finished utterances.
    Final,
    /// Word by word, as soon as a word is certain or its deadline has come.
    Stable,
    /// The line that is being spoken, at every change.
    Interim,
}

/// Makes the text of a pad. See the [module](self).
#[derive(Debug)]
pub struct Captioner {
    composer: Box<dyn Composer>,
    track: Track,
    language: Option<String>,
    /// Who speaks, and in which utterance that was found.
    speaker: Option<u32>,
    speaking: Option<Utterance>,
    settled: Option<Timestamp>,
    /// The utterance of which a loop was cut most recently.
    looping: Option<Utterance>,
    repeats: Option<usize>,
}

/// What the modes have in common. Everything they give out is put on the track.
trait Composer: Debug + Send {
    /// Takes in a hypothesis of an utterance.
    fn interim(&mut self, transcript: &Transcript, track: &mut Track, out: &mut Vec<Piece>);

    /// Takes in the final text of an utterance, which may be blank.
    fn finalise(&mut self, transcript: &Transcript, track: &mut Track, out: &mut Vec<Piece>);

    /// Gives out what was held back to be shown longer: other text starts at `start`.
    fn release(&mut self, _start: Timestamp, _track: &mut Track, _out: &mut Vec<Piece>) {}

    /// Whether the end of an utterance is held back, which it gives out itself then.
    fn holds_end(&self) -> bool {
        false
    }

    /// No more text will come for what was before `time`.
    fn watermark(&mut self, _time: Timestamp, _track: &mut Track, _out: &mut Vec<Piece>) {}

    /// Text that starts at `time` or before must be shown now.
    fn due(&mut self, _time: Timestamp, _track: &mut Track, _out: &mut Vec<Piece>) {}

    /// Start of the text that is still held back: the track may go no further unless a deadline
    /// demands it.
    fn held(&self) -> Option<Timestamp> {
        None
    }

    /// Moves the track on to `time`.
    fn advance(&mut self, time: Timestamp, track: &mut Track, out: &mut Vec<Piece>) {
        track.advance(time, out);
    }

    /// There will be no more transcripts of this session: the newest hypotheses are final. The next
    /// session numbers its utterances anew.
    fn end(&mut self, _track: &mut Track, _out: &mut Vec<Piece>) {}
}

impl Captioner {
    pub fn new(mode: Mode, layout: Layout) -> Self {
        Self {
            composer: match mode {
                Mode::Final => Box::new(FinalCues::new(layout)),
                Mode::Stable => Box::new(StableWords::new(layout)),
                Mode::Interim => Box::new(InterimLines::new(layout)),
            },
            track: Track::default(),
            language: None,
            speaker: None,
            speaking: None,
            settled: None,
            looping: None,
            repeats: None,
        }
    }

    /// A session's audio starts at `time`. A later session of the same segment continues where the
    /// one before ended.
    pub fn begin(&mut self, time: Timestamp) {
        self.track.begin(time);
        self.settled = Some(time);
    }

    /// Whether text that comes too late keeps its time, as is right for a file. Where text has
    /// deadlines it is moved instead, to where the track has got to.
    pub fn keep_late_text(&mut self, keep: bool) {
        self.track.keep_late_text(keep);
    }

    /// Everything before this timestamp has been given out; `None` before the first session.
    pub fn position(&self) -> Option<Timestamp> {
        self.track.position()
    }

    /// All text of the audio before this timestamp has been given out, or its deadline has passed;
    /// `None` before the first session.
    pub fn settled(&self) -> Option<Timestamp> {
        self.settled
    }

    /// Takes in a hypothesis, which replaces earlier ones of the same utterance.
    ///
    /// An utterance that is recognised again over a new connection starts over: its text is short
    /// again, and its end, that of the audio sent so far, goes back.
    pub fn interim(&mut self, transcript: &Transcript, out: &mut Vec<Piece>) {
        let transcript = &*self.without_loops(transcript);
        self.announce(transcript, out);
        self.composer.interim(transcript, &mut self.track, out);
    }

    /// Takes in the final text of an utterance. Finals come in the order in which the utterances
    /// began, as a rule, and once each.
    pub fn finalise(&mut self, transcript: &Transcript, out: &mut Vec<Piece>) {
        let transcript = &*self.without_loops(transcript);
        if !is_blank(&transcript.text) {
            let start = transcript.span.start;
            self.composer.release(start, &mut self.track, out);
        }
        self.announce(transcript, out);
        self.composer.finalise(transcript, &mut self.track, out);
        if !is_blank(&transcript.text) && !self.composer.holds_end() {
            out.push(Piece::UtteranceEnd);
        }
    }

    /// No more text will come for what was before `time`.
    pub fn watermark(&mut self, time: Timestamp, out: &mut Vec<Piece>) {
        self.composer.watermark(time, &mut self.track, out);
        let held = self.composer.held();
        let time = held.map_or(time, |held| held.min(time));
        self.settled = self.settled.max(Some(time));
        self.composer.advance(time, &mut self.track, out);
    }

    /// Text that starts at `time` or before must be shown now, or not at all. To be called every
    /// [`HEARTBEAT`] in a live pipeline.
    pub fn due(&mut self, time: Timestamp, out: &mut Vec<Piece>) {
        self.composer.due(time + LEAD, &mut self.track, out);
        self.settled = self.settled.map(|settled| settled.max(time));
        // Smaller steps would cost events and tell downstream nothing.
        let step = |position| time >= position + HEARTBEAT;
        if self.track.position().is_some_and(step) {
            self.composer.advance(time, &mut self.track, out);
        }
    }

    /// The session is over: utterances without a final text end with their newest hypothesis.
    pub fn end(&mut self, out: &mut Vec<Piece>) {
        self.composer.end(&mut self.track, out);
        (self.looping, self.speaking) = (None, None);
    }

    /// How often the service repeated the same words, if a loop was cut down since the previous
    /// call. Reported once per utterance.
    pub fn take_repeats(&mut self) -> Option<usize> {
        self.repeats.take()
    }

    fn without_loops<'a>(&mut self, transcript: &'a Transcript) -> Cow<'a, Transcript> {
        let whole = normalise(&[transcript.text.as_str(), &transcript.stash].concat());
        let Some(Shortened { text, repeats }) = shorten(&whole) else {
            return Cow::Borrowed(transcript);
        };
        if self.looping.replace(transcript.utterance) != Some(transcript.utterance) {
            self.repeats = Some(repeats);
        }
        // Its confirmed part is a prefix, as before.
        let certain = normalise(&transcript.text);
        let certain = shorten(&certain).map_or(certain, |shortened| shortened.text);
        let certain = if transcript.stash.is_empty() {
            text.len()
        } else {
            same_bytes(&certain, &text)
        };
        let (certain, stash) = text.split_at(certain);
        Cow::Owned(Transcript {
            text: certain.to_owned(),
            stash: stash.to_owned(),
            // Their times do not fit any more.
            words: Vec::new(),
            ..transcript.clone()
        })
    }

    /// Announces the language of the text and its speaker when they change.
    fn announce(&mut self, transcript: &Transcript, out: &mut Vec<Piece>) {
        if is_blank(&transcript.text) && is_blank(&transcript.stash) {
            return;
        }
        if let Some(language) = &transcript.language
            && self.language.as_ref() != Some(language)
        {
            self.language = Some(language.clone());
            out.push(Piece::Language(language.clone()));
        }
        // The final of an earlier utterance may come late, and is not another change.
        let is_next = self
            .speaking
            .is_none_or(|spoken| transcript.utterance > spoken);
        if let Some(speaker) = transcript.speaker
            && is_next
        {
            self.speaking = Some(transcript.utterance);
            if self.speaker.replace(speaker) != Some(speaker) {
                out.push(Piece::Speaker(speaker));
            }
        }
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
