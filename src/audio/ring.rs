// SPDX-License-Identifier: MPL-2.0
//! A queue of audio, measured in samples.

use std::collections::VecDeque;

use super::{Coding, opus, pcm};
use crate::timeline::Samples;

/// Bytes over which loudness is averaged: 50 or 100 ms.
const LOUDNESS_WINDOW: usize = 1600;

/// Whole samples or packets of audio, first in, first out.
#[derive(Debug, Default)]
pub struct Ring {
    coding: Coding,
    bytes: VecDeque<u8>,
    length: Samples,
    /// Growth step of the allocation in bytes; it doubles if this is 0.
    growth: usize,
}

impl Ring {
    pub fn new(coding: Coding) -> Self {
        Self {
            coding,
            ..Self::default()
        }
    }

    /// A ring whose memory grows by this number of bytes, and is given back.
    pub fn growing_by(growth: usize, coding: Coding) -> Self {
        Self {
            growth,
            ..Self::new(coding)
        }
    }

    /// Adds whole samples or packets, which have this length.
    pub fn push(&mut self, audio: &[u8], samples: Samples) {
        debug_assert_eq!(samples, self.coding.samples(audio));
        if self.growth > 0 && self.bytes.capacity() - self.bytes.len() < audio.len() {
            self.bytes.reserve_exact(audio.len().max(self.growth));
        }
        self.bytes.extend(audio);
        self.length += samples;
    }

    pub fn length(&self) -> Samples {
        self.length
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Appends the audio at the front to `to`: at most this length, but at least one packet. Returns
    /// its length.
    pub fn take(&mut self, most: Samples, to: &mut Vec<u8>) -> Samples {
        let (bytes, samples) = self.front(most, 1);
        // An iterator over the ring would copy byte by byte.
        let (first, second) = self.bytes.as_slices();
        let split = bytes.min(first.len());
        to.extend_from_slice(&first[..split]);
        to.extend_from_slice(&second[..bytes - split]);
        self.remove(bytes, samples)
    }

    /// Discards as much as [`Self::take`] would take.
    pub fn skip(&mut self, most: Samples) -> Samples {
        let (bytes, samples) = self.front(most, 1);
        self.remove(bytes, samples)
    }

    /// Discards the audio at the front that lies within this length. Returns the length discarded.
    pub fn discard(&mut self, most: Samples) -> Samples {
        let (bytes, samples) = self.front(most, 0);
        self.remove(bytes, samples)
    }

    /// Whether any of it is loud, see [`Coding::is_loud`].
    pub fn is_loud(&self) -> bool {
        // Whole samples in each piece: the ring may wrap anywhere.
        let audio: Vec<u8> = self.bytes.iter().copied().collect();
        match self.coding {
            Coding::Pcm => audio.chunks(LOUDNESS_WINDOW).any(pcm::is_loud),
            Coding::Opus => self.coding.is_loud(&audio),
        }
    }

    /// Bytes and samples of what lies within a length at the front, and is `least` packets at least,
    /// if there are so many.
    fn front(&self, most: Samples, least: usize) -> (usize, Samples) {
        match self.coding {
            Coding::Pcm => {
                let samples = most.max(Samples(least as u64)).min(self.length);
                (pcm::bytes(samples), samples)
            }
            Coding::Opus => opus::front(&self.bytes, most, least),
        }
    }

    fn remove(&mut self, bytes: usize, samples: Samples) -> Samples {
        self.bytes.drain(..bytes);
        self.length = self.length - samples;
        // After a long utterance.
        if self.growth > 0 && self.bytes.capacity() - self.bytes.len() > 3 * self.growth {
            self.bytes.shrink_to(self.bytes.len() + self.growth);
        }
        samples
    }

    #[cfg(test)]
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    #[cfg(test)]
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::super::opus::tests::{packet, with_samples};
    use super::*;

    #[test]
    fn samples_come_out_as_they_went_in() {
        let mut ring = Ring::new(Coding::Pcm);
        ring.push(&[1, 2, 3, 4, 5, 6, 7, 8], Samples(4));
        assert_eq!(ring.length(), Samples(4));
        let mut out = Vec::new();
        assert_eq!(ring.take(Samples(2), &mut out), Samples(2));
        assert_eq!(out, [1, 2, 3, 4]);
        assert_eq!(ring.take(Samples(0), &mut out), Samples(1), "one at least");
        assert_eq!(ring.discard(Samples(0)), Samples(0));
        assert_eq!(ring.discard(Samples(9)), Samples(1));
        assert!(ring.is_empty() && ring.length().is_none());
        assert_eq!(ring.take(Samples(9), &mut out), Samples(0));
    }

    #[test]
    fn packets_stay_whole() {
        let mut ring = Ring::new(Coding::Opus);
        let packets = [packet(20, 40), packet(60, 90), packet(20, 33)];
        for (packet, samples) in packets.iter().zip([960, 2880, 960]) {
            ring.push(&with_samples(packet), Samples(samples));
        }
        assert_eq!(ring.length(), Samples(4800));
        let mut out = Vec::new();
        assert_eq!(ring.discard(Samples(959)), Samples(0));
        assert_eq!(ring.take(Samples(3000), &mut out), Samples(960));
        assert_eq!(ring.take(Samples(100), &mut out), Samples(2880));
        assert_eq!(ring.skip(Samples(1)), Samples(960));
        assert!(ring.is_empty());
        let data: Vec<_> = opus::packets(&out).map(|p| p.data.to_vec()).collect();
        assert_eq!(data, packets[..2]);
    }
}
