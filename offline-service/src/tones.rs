// SPDX-License-Identifier: MPL-2.0

//! Numbered test audio that lossy codecs such as G.711 and AAC leave recognisable, and its
//! recogniser.
//!
//! It is made of tones of 200 ms, each of which carries its number as its frequency. They are
//! recognised as the same [words](crate::blocks::word) as numbered [blocks](crate::blocks).

use std::f64::consts::TAU;
use std::sync::Arc;

use crate::blocks::word;
use crate::recogniser::{Factory, Hypothesis, Recogniser};

/// Length of a tone in milliseconds.
pub const TONE_MS: u32 = 200;

/// Numbers of tones are below this.
pub const TONES: u32 = 48;

/// Frequency of tone 0 in hertz.
const LOWEST_HZ: f64 = 400.0;

/// From one tone to the next, in hertz. All of them pass a telephone line.
const STEP_HZ: f64 = 50.0;

const AMPLITUDE: f64 = 8000.0;

/// How long a tone takes to swell and to fade, in seconds: no clicks.
const FADE: f64 = 0.005;

/// Audio that is looked at together, in milliseconds: long enough to tell the tones apart.
const FRAME_MS: u32 = 40;

/// How many frames in a row have to hold a tone.
const HEARD_FRAMES: u32 = 3;

/// Share of a frame's energy that has to be in its tone.
const CLEAR: f64 = 0.6;

/// Mean energy of a sample below which a frame is silence: -50 dB relative to full scale.
const SILENCE: f64 = 32768.0 * 32768.0 * 1e-5;

/// The samples of tone `n` at `rate` samples per second.
///
/// # Panics
///
/// If there is no tone of that number.
pub fn tone(n: u32, rate: u32) -> Vec<i16> {
    assert!(n < TONES, "numbers of tones are below {TONES}");
    let length = rate * TONE_MS / 1000;
    let seconds = |samples: u32| f64::from(samples) / f64::from(rate);
    let sample = |i: u32| {
        let to_edge = seconds(i.min(length - 1 - i));
        let loudness = AMPLITUDE * (to_edge / FADE).min(1.0);
        (loudness * (TAU * frequency(n) * seconds(i)).sin()) as i16
    };
    (0..length).map(sample).collect()
}

fn frequency(n: u32) -> f64 {
    LOWEST_HZ + STEP_HZ * f64::from(n)
}

/// Recognises each tone of which at least 120 ms arrived as the word of its number, once per run
/// of that number.
#[derive(Debug, Default)]
pub struct ToneRecogniser {
    rate: u32,
    frame: Vec<i16>,
    run: Option<u32>,
    run_length: u32,
    words: Vec<String>,
}

impl ToneRecogniser {
    /// Gives every session a recogniser of its own.
    pub fn factory() -> Factory {
        Arc::new(|| Ok(Box::<ToneRecogniser>::default()))
    }

    fn frame_is_complete(&mut self) {
        let tone = self.strongest();
        self.frame.clear();
        if tone != self.run {
            self.run = tone;
            self.run_length = 0;
        }
        self.run_length += 1;
        if let Some(n) = tone
            && self.run_length == HEARD_FRAMES
        {
            self.words.push(word(n));
        }
    }

    /// The tone that the frame holds, if it holds one.
    fn strongest(&self) -> Option<u32> {
        let length = self.frame.len() as f64;
        let samples = || self.frame.iter().map(|&sample| f64::from(sample));
        let energy: f64 = samples().map(|sample| sample * sample).sum();
        if energy < SILENCE * length {
            return None;
        }
        // A sine has all of its energy in this, whatever its phase.
        let share = |n: u32| {
            let step = TAU * frequency(n) / f64::from(self.rate);
            let (re, im) = samples()
                .zip(0u32..)
                .fold((0.0, 0.0), |(re, im), (sample, i)| {
                    let (sin, cos) = (step * f64::from(i)).sin_cos();
                    (re + sample * cos, im + sample * sin)
                });
            2.0 * (re * re + im * im) / length / energy
        };
        let shares = (0..TONES).map(|n| (n, share(n)));
        let (n, share) = shares.max_by(|(_, a), (_, b)| a.total_cmp(b))?;
        (share >= CLEAR).then_some(n)
    }
}

impl Recogniser for ToneRecogniser {
    fn start(&mut self, rate: u32) {
        *self = Self {
            rate,
            ..Self::default()
        };
    }

    fn feed(&mut self, pcm: &[i16]) {
        let length = (self.rate * FRAME_MS / 1000) as usize;
        for &sample in pcm {
            self.frame.push(sample);
            if self.frame.len() >= length {
                self.frame_is_complete();
            }
        }
    }

    fn hypothesis(&mut self) -> Option<Hypothesis> {
        Some(Hypothesis {
            text: String::new(),
            stash: self.words.join(" "),
        })
    }

    fn finish(&mut self) -> String {
        std::mem::take(&mut self.words).join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blocks::words;

    #[test]
    fn every_tone_is_told_from_the_others_wherever_the_frames_begin() {
        for (rate, before) in [(8000, 0), (8000, 77), (16000, 333), (16000, 500)] {
            let mut recogniser = ToneRecogniser::default();
            recogniser.start(rate);
            recogniser.feed(&vec![0; before]);
            for n in 0..TONES {
                for chunk in tone(n, rate).chunks(161) {
                    recogniser.feed(chunk);
                }
            }
            assert_eq!(recogniser.hypothesis().unwrap().stash, words(0..TONES));
            assert_eq!(recogniser.finish(), words(0..TONES));
        }
    }

    #[test]
    fn noise_is_no_tone() {
        let mut recogniser = ToneRecogniser::default();
        recogniser.start(16000);
        let mut seed = 1u32;
        let noise: Vec<i16> = (0..16000)
            .map(|_| {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (seed >> 16) as i16 / 4
            })
            .collect();
        recogniser.feed(&noise);
        recogniser.feed(&tone(3, 16000)[..1600]);
        assert_eq!(recogniser.finish(), "");
    }
}
