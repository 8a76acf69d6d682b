// SPDX-License-Identifier: MPL-2.0

//! The utterance that a session's recogniser works on, which the service calls an item.
//!
//! Moonshine transcribes a stretch of audio as a whole. While an utterance goes on, its audio is
//! transcribed again and again, for interim results. So that this does not take ever longer, the
//! part before a pause is settled from time to time: its words stay as they are, and its audio
//! is discarded. What is left is the window.
//!
//! ```text
//!     settled words           window, transcribed as a whole
//!  ├──────────────────┼────────────────────────────┼──────────┤
//!  begin              origin of the window         │          now
//!                                                  covered by the latest words
//! ```
//!
//! Invariants: the window's audio is that of the frames in its [`VoiceActivity`]; audio in which
//! nobody speaks is never transcribed; the window is never longer than [`MAX_WINDOW`], however
//! long the utterance lasts.
//!
//! Used by `MoonshineRecogniser`, one utterance after the other, on the thread of its session.

use std::sync::Arc;
use std::time::Duration;

use super::priority_mutex::{Guard, PriorityMutex};
use super::voice_activity::{FRAME, FRAME_MS, VoiceActivity};
use crate::caption::{Caution, Stabiliser};
use crate::recogniser::Hypothesis;
use crate::resample::Resampler;
use crate::words::{self, Span};

/// What two transcriptions agree on is confirmed at once: it is mostly right.
const CAUTION: Caution = Caution { words: 0, ms: 0 };

/// Silence after which the final word is complete. Before, it may be half of one, of which the
/// model makes some other word: it is held back.
const COMPLETE: usize = frames(100);

/// Audio transcribed along before the first voiced frame: words begin softly.
const LEAD: usize = frames(300);

/// Silence after which the utterance is transcribed without being asked: it may be over, and then
/// the final result is there as soon as the service is sure of that (400 ms by default).
const PAUSE: usize = frames(200);

/// Silence after which everything before it is settled.
const SILENCE: usize = frames(1000);

/// Length from which on a window is split at a pause, and at which it is split in any case. They
/// bound the cost of a transcription: 35 ms of processor time per second of audio.
const LONG: usize = frames(5000);
const MAX_WINDOW: usize = frames(10_000);

/// Shortest parts into which a window is split: the model needs context.
const MIN_PIECE: usize = frames(2000);
const MIN_REST: usize = frames(1000);

/// A window is transcribed again when one part in this many is new: that bounds the processor's
/// load by interim results, to 35 % of a core for one session.
const NEW_PART: usize = 10;

/// How long an interim result waits for the model, and how much audio has to come before one
/// waits again: half of the time is left to keep up with the audio.
const PATIENCE: Duration = Duration::from_millis(250);
const IMPATIENT: usize = frames(500);

/// Longest phrase, in words, whose repetitions are looked for, and how many in a row are kept. On
/// audio that it does not understand, the model may repeat a phrase without end.
const MAX_PHRASE: usize = 8;
const MAX_REPEATS: usize = 3;

const fn frames(ms: u64) -> usize {
    (ms / FRAME_MS) as usize
}

/// What makes text of an utterance.
pub(super) trait Transcribe {
    /// The text of audio at 16 kHz, between -1 and 1; nothing if it fails.
    fn transcribe(&mut self, audio: Vec<f32>) -> Option<String>;
}

/// The words of a window.
#[derive(Debug, Default)]
struct Words {
    words: Vec<String>,
    /// Frames of the window that were transcribed; 0 if none were.
    covered: usize,
    /// How many of the words are reported.
    reported: usize,
}

/// An utterance, from its first sample to its final result. Frames count from its beginning, or
/// from that of the window.
pub(super) struct Utterance<T> {
    model: Arc<PriorityMutex<T>>,
    resampler: Resampler,
    /// Samples that do not fill a frame yet.
    rest: Vec<i16>,
    settled: Vec<String>,
    settled_spans: Vec<Span>,
    /// The first word of the window as it was written in the middle of a sentence.
    carried: Option<String>,
    /// Where the window begins.
    origin: usize,
    audio: Vec<f32>,
    voice: VoiceActivity,
    latest: Words,
    stabiliser: Stabiliser,
    hypothesis: Hypothesis,
    /// When to wait for the model again.
    patient_at: usize,
}

impl<T: Transcribe> Utterance<T> {
    pub fn new(model: Arc<PriorityMutex<T>>, rate: u32) -> Self {
        Self::with(model, rate, VoiceActivity::new())
    }

    fn with(model: Arc<PriorityMutex<T>>, rate: u32, voice: VoiceActivity) -> Self {
        Self {
            model,
            resampler: Resampler::new(rate),
            rest: Vec::new(),
            settled: Vec::new(),
            settled_spans: Vec::new(),
            carried: None,
            origin: 0,
            audio: Vec::new(),
            voice,
            latest: Words::default(),
            stabiliser: Stabiliser::new(CAUTION),
            hypothesis: Hypothesis::default(),
            patient_at: 0,
        }
    }

    /// Takes the next samples.
    pub fn feed(&mut self, pcm: &[i16]) {
        self.rest.extend(self.resampler.feed(pcm));
        let rest = std::mem::take(&mut self.rest);
        let frames = rest.chunks_exact(FRAME);
        self.rest = frames.remainder().to_vec();
        for frame in frames {
            self.push(frame);
        }
    }

    fn push(&mut self, frame: &[i16]) {
        self.voice.push(frame);
        self.audio
            .extend(frame.iter().map(|&s| f32::from(s) / 32_768.0));
        let quiet = self.voice.trailing_silence();
        if quiet >= SILENCE || self.lacks_speech() {
            self.settle_all();
        } else if let Some(cut) = self.split_point() {
            self.settle(cut);
        } else if quiet >= PAUSE && self.is_stale() {
            self.try_transcribe();
        }
    }

    /// Whether nothing in the window is going to be speech.
    fn lacks_speech(&self) -> bool {
        let over = self.voice.first_voiced().is_none() || self.voice.frames() >= LONG;
        over && !self.voice.has_speech()
    }

    /// The interim result, or `None` while it has to wait for the model.
    pub fn hypothesis(&mut self) -> Option<Hypothesis> {
        let new = self.voice.frames() - self.latest.covered;
        let worthwhile = new * NEW_PART >= self.voice.frames();
        if self.is_stale() && !(worthwhile && self.try_transcribe()) {
            return None;
        }
        Some(self.hypothesis.clone())
    }

    /// The final result, empty if nobody spoke.
    pub fn finish(&mut self) -> String {
        self.refresh();
        self.latest.reported = self.latest.words.len();
        let text = self.reported().join(" ");
        // What the model makes of sounds that only resemble speech.
        let letters: String = text.chars().filter(|c| c.is_alphanumeric()).collect();
        if letters.len() <= 1 || letters == "You" {
            return String::new();
        }
        text
    }

    /// When the words of the latest result were said, in milliseconds of the utterance. The model
    /// does not tell, so this is an estimate: they share the voiced frames by their lengths. Half
    /// of them begin within 0.17 s of where PocketSphinx finds them, nine in ten within 0.41 s.
    pub fn spans(&self) -> Vec<Span> {
        let mut spans = self.settled_spans.clone();
        let latest = self.window_spans(&self.latest.words, self.latest.covered);
        spans.extend(latest.into_iter().take(self.latest.reported));
        spans
    }

    fn reported(&self) -> Vec<String> {
        let latest = &self.latest.words[..self.latest.reported];
        [self.settled.as_slice(), latest].concat()
    }

    fn window_spans(&self, words: &[String], frames: usize) -> Vec<Span> {
        let origin = self.origin as u64 * FRAME_MS;
        let voice = self.voice.voiced_spans(0..frames);
        let spans = words::voiced(words, &voice).into_iter();
        spans
            .map(|(begin, end)| (origin + begin, origin + end))
            .collect()
    }

    /// Whether the latest words lack what was said since.
    fn is_stale(&self) -> bool {
        let sounds = self.voice.frames() - self.voice.trailing_silence();
        sounds > self.latest.covered && self.voice.has_speech()
    }

    fn frames(&self) -> usize {
        self.origin + self.voice.frames()
    }

    /// Transcribes the window unless the latest words are all there is, however long that takes.
    fn refresh(&mut self) {
        if self.is_stale() {
            let model = self.model.clone();
            self.transcribe(model.lock());
        }
    }

    /// Transcribes the window if the model is free soon enough.
    fn try_transcribe(&mut self) -> bool {
        let now = self.frames();
        let patience = if now < self.patient_at {
            Duration::ZERO
        } else {
            self.patient_at = now + IMPATIENT;
            PATIENCE
        };
        let model = self.model.clone();
        let guard = model.lock_within(patience);
        guard.map(|guard| self.transcribe(guard)).is_some()
    }

    fn transcribe(&mut self, model: Guard<'_, T>) {
        let covered = self.voice.frames();
        let words = self.words(model, covered);
        let half = usize::from(self.voice.trailing_silence() < COMPLETE);
        let reported = words.len().saturating_sub(half);
        self.latest = Words {
            words,
            covered,
            reported,
        };
        let ms = self.frames() as u64 * FRAME_MS;
        self.hypothesis = self.stabiliser.update(self.reported(), ms);
    }

    /// The words of the window up to a frame.
    fn words(&self, mut model: Guard<'_, T>, end: usize) -> Vec<String> {
        let voiced = self.voice.first_voiced().unwrap_or(0);
        let begin = voiced.saturating_sub(LEAD).min(end);
        let audio = self.audio[begin * FRAME..end * FRAME].to_vec();
        let text = model.transcribe(audio).unwrap_or_default();
        drop(model);
        let mut words = clean(&text);
        if let (Some(first), Some(carried)) = (words.first_mut(), &self.carried)
            && words::is_same(first, carried)
        {
            first.clone_from(carried);
        }
        words
    }

    /// Where to split the window, if it is time to.
    fn split_point(&self) -> Option<usize> {
        let frames = self.voice.frames();
        if frames < LONG {
            return None;
        }
        let within = MIN_PIECE..frames - MIN_REST;
        let pause = self.voice.longest_pause(within.clone());
        pause.or_else(|| (frames >= MAX_WINDOW).then(|| self.voice.quietest(within)))
    }

    /// Settles the words before a frame, at which the window begins then.
    ///
    /// Which words those are takes a transcription of the audio before it. Their capitals and
    /// punctuation are better in the latest one, which had the context of what follows.
    fn settle(&mut self, cut: usize) {
        let model = self.model.clone();
        let words = self.words(model.lock(), cut);
        let latest = std::mem::take(&mut self.latest);
        let count = words::likeness(&latest.words, &words);
        let (before, after) = latest.words.split_at(count);
        let agree = match (words.last(), before.last()) {
            (Some(a), Some(b)) => latest.covered > cut && words::is_same(a, b),
            _ => false,
        };
        if agree {
            self.push_settled(before, cut);
            self.carried = after.first().cloned();
            self.discard(cut);
            self.latest = Words {
                words: after.to_vec(),
                covered: latest.covered - cut,
                reported: latest.reported.saturating_sub(count),
            };
        } else {
            self.push_settled(&words, cut);
            self.carried = None;
            self.discard(cut);
        }
    }

    /// Settles all words, and discards the window but for [`LEAD`].
    fn settle_all(&mut self) {
        self.refresh();
        let latest = std::mem::take(&mut self.latest);
        self.push_settled(&latest.words, latest.covered);
        self.carried = None;
        self.discard(self.voice.frames().saturating_sub(LEAD));
    }

    fn push_settled(&mut self, words: &[String], end: usize) {
        let spans = self.window_spans(words, end);
        self.settled_spans.extend(spans);
        self.settled.extend_from_slice(words);
    }

    /// Discards the beginning of the window, and the words in it.
    fn discard(&mut self, frames: usize) {
        self.origin += frames;
        self.audio.drain(..frames * FRAME);
        self.voice.discard(frames);
        self.latest = Words::default();
    }
}

/// The words of a transcription, without notes (♪) and other symbols, and without endless
/// repetitions.
fn clean(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        if !word.chars().any(char::is_alphanumeric) {
            continue;
        }
        words.push(word.to_owned());
        for phrase in 1..=MAX_PHRASE {
            if is_loop(&words, phrase) {
                words.truncate(words.len() - phrase);
            }
        }
    }
    words
}

/// Whether `words` end with a phrase of that length, and [`MAX_REPEATS`] repetitions of it.
fn is_loop(words: &[String], phrase: usize) -> bool {
    let Some(begin) = words.len().checked_sub(phrase * (MAX_REPEATS + 1)) else {
        return false;
    };
    let mut pairs = words[begin..].iter().zip(&words[begin + phrase..]);
    pairs.all(|(a, b)| words::is_same(a, b))
}

#[cfg(test)]
mod tests;
