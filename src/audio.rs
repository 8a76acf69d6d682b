// SPDX-License-Identifier: MPL-2.0
//! Audio as bytes: the only place that knows what they stand for. Used by everything between the
//! sink pad and the codecs, which measure audio in samples.

pub mod opus;
pub mod pcm;
mod ring;

pub use ring::Ring;

use crate::timeline::Samples;

/// What the bytes of audio stand for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Coding {
    /// S16LE samples of one channel.
    #[default]
    Pcm,
    /// Opus packets, each with its length before it, see [`opus`].
    Opus,
}

impl Coding {
    /// What the service calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pcm => "pcm",
            Self::Opus => "opus",
        }
    }

    /// Length of the audio. Bytes at the end that are no whole sample or packet do not count.
    pub fn samples(self, audio: &[u8]) -> Samples {
        match self {
            Self::Pcm => pcm::samples(audio.len()),
            Self::Opus => opus::packets(audio).fold(Samples(0), |sum, p| sum + p.samples),
        }
    }

    /// All lengths of audio are multiples of this one.
    pub fn step(self) -> Samples {
        match self {
            Self::Pcm => Samples(1),
            Self::Opus => opus::STEP,
        }
    }

    /// Bytes of a sample; a packet has any number.
    pub fn frame_bytes(self) -> usize {
        match self {
            Self::Pcm => pcm::SAMPLE_BYTES,
            Self::Opus => 1,
        }
    }

    /// Number of bytes at the end of a buffer of this size that are no whole sample.
    pub fn rest(self, bytes: usize) -> usize {
        bytes % self.frame_bytes()
    }

    /// Number of bytes of the audio alone, without what this crate adds to it.
    pub fn net_bytes(self, audio: &[u8]) -> usize {
        match self {
            Self::Pcm => audio.len(),
            Self::Opus => opus::packets(audio).map(|packet| packet.data.len()).sum(),
        }
    }

    /// Silence of this length, rounded down to a multiple of [`Self::step`].
    pub fn silence(self, samples: Samples) -> Vec<u8> {
        match self {
            Self::Pcm => pcm::silence(samples),
            Self::Opus => opus::silence(samples),
        }
    }

    /// Whether the audio may contain speech: whether it is loud on average, or an encoder took some
    /// of it for speech.
    pub fn is_loud(self, audio: &[u8]) -> bool {
        match self {
            Self::Pcm => pcm::is_loud(audio),
            Self::Opus => opus::packets(audio).any(|packet| opus::is_loud(packet.data)),
        }
    }
}

/// The format of a stream of audio.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Format {
    pub coding: Coding,
    /// Sample rate for the service, in Hz.
    pub rate: u32,
}

impl Format {
    /// S16LE samples at this rate, in Hz.
    pub fn pcm(rate: u32) -> Self {
        let coding = Coding::Pcm;
        Self { coding, rate }
    }

    /// Samples per second, as all lengths of its audio count them: Opus counts as at 48 kHz,
    /// whatever was encoded.
    pub fn clock_rate(self) -> u32 {
        match self.coding {
            Coding::Pcm => self.rate,
            Coding::Opus => opus::CLOCK_RATE,
        }
    }
}
