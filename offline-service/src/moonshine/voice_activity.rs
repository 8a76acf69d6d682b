// SPDX-License-Identifier: MPL-2.0

//! Where in an utterance somebody speaks.
//!
//! Moonshine finds words in anything: it takes silence for "You", and noise for whole sentences.
//! [`VoiceActivity`] tells whether there is speech at all, where it pauses, and where words can
//! be. It knows the frames of the window of an [`Utterance`](super::utterance::Utterance), which
//! pushes and discards them along with their audio.

use std::collections::VecDeque;
use std::ops::Range;

use earshot::Detector;

use crate::resample::MODEL_RATE;
use crate::words::Span;

/// Samples in a frame of 16 ms, which is what the detector takes.
pub(super) const FRAME: usize = 256;

/// Milliseconds in a frame.
pub(super) const FRAME_MS: u64 = FRAME as u64 * 1000 / MODEL_RATE as u64;

/// Frames over which the detector's score is averaged: a single one flickers.
const AVERAGED: usize = 3;

/// Score from which on a frame proves speech. Measured: read speech is above it for two thirds of
/// the time, and for a third of it at a signal-to-noise ratio of 5 dB; noises, hum, tones, beeps
/// and clicks of any level never are.
const PROOF: f32 = 0.85;

/// Frames of proof that it takes, 80 ms: the vowel of a short word.
const MIN_PROOF: usize = 5;

/// Score from which on a frame belongs to a word.
const VOICED: f32 = 0.5;

/// How many decibels below the loudest frame a sound may be that is no pause, whatever its score:
/// what the detector misses of a voice must not be lost.
const SOUND_RANGE: f32 = 20.0;

/// The level at which the detector works best, in decibels relative to full scale, and the
/// highest gain, in decibels, by which soft audio is raised to it.
const BEST_LEVEL: f32 = -12.0;
const MAX_GAIN: f32 = 24.0;

/// Coefficient of a high-pass filter at 50 Hz: the detector takes a constant offset for a voice.
const HIGH_PASS: f32 = 0.98;

/// Frames of the shortest pause at which speech is split, 128 ms, and those whose levels are
/// added up to find the quietest moment where there is no pause.
const PAUSE: usize = 8;

/// What is known of a frame.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Frame {
    score: f32,
    /// Decibels relative to full scale.
    level: f32,
}

/// Gives a frame a score from 0 to 1 for how much it sounds like a voice, at a gain in decibels.
type Score = Box<dyn FnMut(&[i16], f32) -> f32 + Send>;

/// The frames of a window.
pub(super) struct VoiceActivity {
    score: Score,
    /// Level of the loudest frame so far, in decibels relative to full scale.
    loudest: f32,
    frames: VecDeque<Frame>,
}

impl VoiceActivity {
    pub fn new() -> Self {
        let mut ear = VoiceDetector::new();
        Self::with(Box::new(move |frame, gain| ear.score(frame, gain)))
    }

    pub fn with(score: Score) -> Self {
        Self {
            score,
            loudest: -100.0,
            frames: VecDeque::new(),
        }
    }

    /// Listens to the next [`FRAME`] samples.
    pub fn push(&mut self, frame: &[i16]) {
        let level = level(frame);
        self.loudest = self.loudest.max(level);
        let gain = (BEST_LEVEL - self.loudest).clamp(0.0, MAX_GAIN);
        let score = (self.score)(frame, gain);
        self.frames.push_back(Frame { score, level });
    }

    /// Discards the oldest frames.
    pub fn discard(&mut self, frames: usize) {
        self.frames.drain(..frames.min(self.frames.len()));
    }

    /// How many frames there are.
    pub fn frames(&self) -> usize {
        self.frames.len()
    }

    /// Whether somebody speaks in the window.
    pub fn has_speech(&self) -> bool {
        let proof = self.frames.iter().filter(|frame| frame.score > PROOF);
        proof.count() >= MIN_PROOF
    }

    /// The first frame in which there can be a word.
    pub fn first_voiced(&self) -> Option<usize> {
        self.frames.iter().position(|frame| frame.score > VOICED)
    }

    /// The number of frames since the latest sound.
    pub fn trailing_silence(&self) -> usize {
        let quiet = self.frames.iter().rev();
        quiet.take_while(|frame| !self.is_sound(frame)).count()
    }

    fn is_sound(&self, frame: &Frame) -> bool {
        frame.score > VOICED || frame.level > self.loudest - SOUND_RANGE
    }

    /// The middle of the longest pause that begins and ends within these frames.
    pub fn longest_pause(&self, within: Range<usize>) -> Option<usize> {
        let sounds = within.clone().filter(|&at| self.is_sound(&self.frames[at]));
        let sounds: Vec<usize> = sounds.collect();
        sounds
            .windows(2)
            .map(|two| (two[1] - two[0] - 1, (two[0] + two[1]).div_ceil(2)))
            .filter(|(length, _)| *length >= PAUSE)
            .max()
            .map(|(_, middle)| middle)
    }

    /// Where it is quietest within these frames.
    pub fn quietest(&self, within: Range<usize>) -> usize {
        let loudness = |at: usize| -> f32 {
            let around = at.saturating_sub(PAUSE / 2)..(at + PAUSE / 2).min(self.frames.len());
            self.frames.range(around).map(|frame| frame.level).sum()
        };
        let middle = within.start.midpoint(within.end);
        within
            .min_by(|&a, &b| loudness(a).total_cmp(&loudness(b)))
            .unwrap_or(middle)
    }

    /// When there can be words within these frames, in milliseconds of the window.
    pub fn voiced_spans(&self, within: Range<usize>) -> Vec<Span> {
        let mut spans: Vec<Span> = Vec::new();
        for at in within.filter(|&at| self.frames[at].score > VOICED) {
            let begin = at as u64 * FRAME_MS;
            match spans.last_mut() {
                Some((_, end)) if *end == begin => *end += FRAME_MS,
                _ => spans.push((begin, begin + FRAME_MS)),
            }
        }
        spans
    }
}

/// The neural detector with its filter, gain and averaging.
struct VoiceDetector {
    detector: Box<Detector>,
    /// Its most recent scores, oldest first.
    scores: [f32; AVERAGED],
    /// The previous sample, and what the high-pass filter made of it.
    before: f32,
    filtered: f32,
}

impl VoiceDetector {
    fn new() -> Self {
        Self {
            detector: Box::new(Detector::default()),
            scores: [0.0; AVERAGED],
            before: 0.0,
            filtered: 0.0,
        }
    }

    fn score(&mut self, frame: &[i16], gain: f32) -> f32 {
        let factor = 10f32.powf(gain / 20.0);
        let input: Vec<i16> = frame
            .iter()
            .map(|&sample| self.filter(f32::from(sample)))
            // `as` saturates.
            .map(|filtered| (filtered * factor) as i16)
            .collect();
        self.scores.rotate_left(1);
        self.scores[AVERAGED - 1] = self.detector.predict_i16(&input);
        self.scores.iter().sum::<f32>() / AVERAGED as f32
    }

    fn filter(&mut self, sample: f32) -> f32 {
        self.filtered = sample - self.before + HIGH_PASS * self.filtered;
        self.before = sample;
        self.filtered
    }
}

/// RMS in decibels relative to full scale, not below -100.
fn level(frame: &[i16]) -> f32 {
    let energy: i64 = frame.iter().map(|s| i64::from(*s) * i64::from(*s)).sum();
    let mean = energy as f64 / frame.len().max(1) as f64 / f64::from(1 << 30);
    (10.0 * mean.log10()).max(-100.0) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A voice with these scores and levels, a digit for each frame: 9 is a score of 0.9 and a
    /// level of -10 dBFS, 0 is one of 0 and -100 dBFS.
    fn voice(frames: &str) -> VoiceActivity {
        let mut voice = VoiceActivity::new();
        voice.loudest = -10.0;
        voice.frames = frames
            .bytes()
            .map(|digit| f32::from(digit - b'0'))
            .map(|digit| Frame {
                score: digit / 10.0,
                level: digit * 10.0 - 100.0,
            })
            .collect();
        voice
    }

    #[test]
    fn speech_has_proof_of_it() {
        assert!(!voice("77777777777778").has_speech());
        assert!(!voice("0990099").has_speech());
        assert!(voice("09900999").has_speech());
    }

    #[test]
    fn where_sounds_are() {
        let voice = voice("0097611");
        assert_eq!(voice.first_voiced(), Some(2));
        assert_eq!(voice.trailing_silence(), 2);
        assert_eq!(voice.frames(), 7);
    }

    #[test]
    fn the_longest_pause() {
        let frames = "9".to_owned() + &"0".repeat(8) + "9" + &"0".repeat(10) + "99";
        let mut voice = voice(&frames);
        assert_eq!(voice.longest_pause(0..22), Some(15));
        // One that is not over is none yet.
        assert_eq!(voice.longest_pause(0..20), Some(5));
        assert_eq!(voice.longest_pause(0..9), None);
        voice.discard(9);
        assert_eq!(voice.longest_pause(0..13), Some(6));
    }

    #[test]
    fn the_quietest_moment() {
        let frames = "9".repeat(20) + "68886" + &"9".repeat(20);
        let quietest = voice(&frames).quietest(5..40);
        assert!((20..26).contains(&quietest), "{quietest}");
        assert_eq!(voice("99").quietest(1..1), 1);
    }

    #[test]
    fn words_are_where_the_voice_is() {
        assert_eq!(voice("0990099").voiced_spans(0..6), [(16, 48), (80, 96)]);
        assert_eq!(voice("0000").voiced_spans(0..4), []);
    }

    #[test]
    fn noises_are_no_speech() {
        let noise = |n: usize| -> f64 {
            // Any numbers without a pattern, from -1 to 1.
            let mixed = (n as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 33;
            f64::from(mixed as u32 % 20_001) / 10_000.0 - 1.0
        };
        let tone = |n: usize, hertz: f64| (n as f64 * hertz / 2546.48).sin();
        let sounds: [&dyn Fn(usize) -> f64; 6] = [
            &|_| 0.0,
            &|n| 0.01 * noise(n),
            &|n| 0.5 * noise(n),
            &|n| if n % 16_000 < 5000 { noise(n) } else { 0.0 },
            &|n| 0.3 * tone(n, 440.0),
            &|n| 0.1 * (tone(n, 262.0) + tone(n, 330.0) + tone(n, 392.0)),
        ];
        for (which, sound) in sounds.iter().enumerate() {
            let mut voice = VoiceActivity::new();
            let pcm: Vec<i16> = (0..96_000).map(|n| (sound(n) * 32_000.0) as i16).collect();
            for frame in pcm.chunks_exact(FRAME) {
                voice.push(frame);
            }
            assert!(!voice.has_speech(), "sound {which}");
        }
    }
}
