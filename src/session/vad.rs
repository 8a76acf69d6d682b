// SPDX-License-Identifier: MPL-2.0
//! Classifies frames of audio: voice, some other sound, or neither. Used by the segmenter.
//!
//! A neural detector tells voices from noise. It may be wrong, and speech that it misses would
//! never be recognised: so anything that stands out of the background counts as a sound, voice or
//! not.

use earshot::Detector as Earshot;

use crate::audio::pcm::level;

/// The detector takes a DC offset for a voice, so its input is limited to what is above 50 Hz.
const HIGH_PASS: f32 = 0.98;

/// Length of a frame in milliseconds.
pub(super) const FRAME_MS: u64 = 16;

/// Sample rate in hertz, and samples per frame, of the detector's input.
const DETECTOR_RATE: usize = 16_000;
const DETECTOR_FRAME: usize = DETECTOR_RATE * FRAME_MS as usize / 1000;

/// Score from which a frame counts as voice, for a threshold of 0, and the amount that a threshold
/// of 1 adds to it.
const VOICE_SCORE: f64 = 0.5;
const SCORE_RANGE: f64 = 0.3;

/// Number of frames over which the score is averaged: a single one is unreliable.
const SCORES: usize = 3;

/// No frame below this level counts as voice, in decibels relative to full scale, however sensitive
/// the detector is set.
const INAUDIBLE: f32 = -70.0;

/// How far a sound exceeds the background, in decibels, for a threshold of 0, and the amount that a
/// threshold of 1 adds to it.
const MARGIN: f64 = 12.0;
const MARGIN_RANGE: f64 = 10.0;

/// How much softer a continuing sound may be than a new one, in decibels.
const HYSTERESIS: f32 = 3.0;

/// How long the hysteresis lasts after a sound, in frames: half a second.
const MEMORY: u32 = 32;

/// Limits of the level from which a frame is loud, whatever the background: softer frames are not,
/// even in the quietest room; louder ones are in any.
const SOFTEST: f32 = -55.0;
const LOUDEST: f32 = -35.0;

/// The class of a frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct FrameClass {
    pub voice: bool,
    /// Louder than the background; a voice may be softer.
    pub loud: bool,
    /// Level in decibels relative to full scale.
    pub level: f32,
}

impl FrameClass {
    pub fn anything(self) -> bool {
        self.voice || self.loud
    }
}

/// Classifies successive frames.
pub(super) trait Detector: Send {
    /// Classifies a frame of [`FRAME_MS`], at 8, 16 or 24 kHz.
    fn classify(&mut self, frame: &[i16]) -> FrameClass;
}

/// Combines the neural detector with the level.
pub(super) struct VoiceDetector {
    detector: Box<Earshot>,
    scores: [f32; SCORES],
    voice_score: f32,
    margin: f32,
    /// Level of the background.
    floor: f32,
    /// Number of frames since the latest loud one.
    quiet_for: u32,
    /// The previous sample, and the output of the high-pass filter for it.
    last: f32,
    filtered: f32,
    /// Input of the detector.
    input: Vec<i16>,
}

impl VoiceDetector {
    /// `threshold` is in [-1, 1]; a lower one is more sensitive.
    pub fn new(threshold: f64) -> Self {
        VoiceDetector {
            detector: Box::new(Earshot::default()),
            scores: [0.0; SCORES],
            voice_score: (VOICE_SCORE + SCORE_RANGE * threshold) as f32,
            margin: (MARGIN + MARGIN_RANGE * threshold) as f32,
            floor: -60.0,
            quiet_for: MEMORY,
            last: 0.0,
            filtered: 0.0,
            input: Vec::with_capacity(DETECTOR_FRAME),
        }
    }

    fn score(&mut self, frame: &[i16]) -> f32 {
        self.input.clear();
        if frame.len() > DETECTOR_FRAME {
            // Of three samples at 24 kHz two are made, each the mean of the time that it stands for.
            for three in frame.as_chunks::<3>().0 {
                let [first, second, third] = three.map(f32::from);
                self.filter((2.0 * first + second) / 3.0);
                self.filter((second + 2.0 * third) / 3.0);
            }
        } else {
            for sample in frame {
                let sample = f32::from(*sample);
                // 8 kHz is upsampled by two: linear interpolation does not disturb the detector.
                if frame.len() < DETECTOR_FRAME {
                    self.filter(f32::midpoint(self.last, sample));
                }
                self.filter(sample);
            }
        }
        let score = self.detector.predict_i16(&self.input);
        self.scores.rotate_left(1);
        self.scores[SCORES - 1] = score;
        self.scores.iter().sum::<f32>() / SCORES as f32
    }

    fn filter(&mut self, sample: f32) {
        self.filtered = sample - self.last + HIGH_PASS * self.filtered;
        self.last = sample;
        // `as` saturates.
        self.input.push(self.filtered as i16);
    }

    fn is_loud(&mut self, level: f32) -> bool {
        self.floor = follow(self.floor, level);
        let mut limit = (self.floor + self.margin).clamp(SOFTEST, LOUDEST);
        if self.quiet_for < MEMORY {
            limit -= HYSTERESIS;
        }
        let loud = level > limit;
        self.quiet_for = if loud { 0 } else { self.quiet_for + 1 }.min(MEMORY);
        loud
    }
}

impl Detector for VoiceDetector {
    fn classify(&mut self, frame: &[i16]) -> FrameClass {
        let level = level(frame);
        FrameClass {
            voice: self.score(frame) > self.voice_score && level > INAUDIBLE,
            loud: self.is_loud(level),
            level,
        }
    }
}

/// The background, as a minimum that decays: it rises by 3 dB/s, too slowly to follow speech, and
/// fast enough for changes of the room.
fn follow(floor: f32, level: f32) -> f32 {
    const RISE: f32 = 3.0 * FRAME_MS as f32 / 1000.0;
    const FALL: f32 = 0.3;
    if level < floor {
        floor + (level - floor) * FALL
    } else {
        level.min(floor + RISE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classify(
        ear: &mut VoiceDetector,
        frames: usize,
        sample: impl Fn(usize) -> i16,
        frame: usize,
    ) -> Vec<FrameClass> {
        let audio: Vec<i16> = (0..frames * frame).map(sample).collect();
        audio
            .chunks(frame)
            .map(|frame| ear.classify(frame))
            .collect()
    }

    fn noise(level: i16) -> impl Fn(usize) -> i16 {
        move |n| {
            // Noise: arbitrary numbers without a pattern.
            let mixed = (n as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 33;
            (mixed % (2 * level as u64 + 1)) as i16 - level
        }
    }

    #[test]
    fn perfect_silence_is_nothing() {
        for frame in [256, 128, 384] {
            let mut ear = VoiceDetector::new(-1.0);
            classify(&mut ear, 20, |_| 3000, frame);
            let heard = classify(&mut ear, 100, |_| 0, frame);
            assert!(
                heard
                    .iter()
                    .all(|heard| !heard.anything() && heard.level == -100.0)
            );
        }
    }

    #[test]
    fn an_offset_is_no_voice() {
        for frame in [256, 128, 384] {
            let mut ear = VoiceDetector::new(0.0);
            let heard = classify(&mut ear, 500, |n| (n / 1600) as i16 + 1500, frame);
            assert!(heard.iter().all(|heard| !heard.voice && heard.loud));
        }
    }

    #[test]
    fn what_stands_out_is_loud_and_the_background_is_not_for_long() {
        let mut ear = VoiceDetector::new(0.0);
        let heard = classify(&mut ear, 1000, noise(100), 256);
        assert!(heard[700..].iter().all(|heard| !heard.loud), "background");
        let heard = classify(&mut ear, 60, noise(1000), 256);
        assert!(heard.iter().all(|heard| heard.loud), "20 dB above it");
    }

    #[test]
    fn what_is_loud_stays_so_however_long_it_lasts() {
        let mut ear = VoiceDetector::new(0.0);
        assert!(
            classify(&mut ear, 3000, noise(3000), 256)
                .iter()
                .all(|heard| heard.loud)
        );
    }

    #[test]
    fn the_threshold_says_how_much_is_heard() {
        let loud = |threshold| {
            let mut ear = VoiceDetector::new(threshold);
            classify(&mut ear, 1000, noise(50), 256);
            classify(&mut ear, 20, noise(200), 256)
                .iter()
                .filter(|heard| heard.loud)
                .count()
        };
        assert_eq!((loud(-1.0), loud(1.0)), (20, 0));
    }
}
