// SPDX-License-Identifier: MPL-2.0
//! S16LE mono audio as samples.

use crate::timeline::Samples;

/// Bytes per sample.
pub(super) const SAMPLE_BYTES: usize = 2;

/// Average level above which audio counts as speech, or similar to it: -40 dBFS, as a sample value.
const LOUD: u64 = 328;

/// Number of whole samples in this number of bytes.
pub fn samples(bytes: usize) -> Samples {
    Samples((bytes / SAMPLE_BYTES) as u64)
}

/// Number of bytes in this number of samples.
pub fn bytes(samples: Samples) -> usize {
    // More samples than fit into memory are never converted.
    usize::try_from(samples.0)
        .unwrap_or(usize::MAX)
        .saturating_mul(SAMPLE_BYTES)
}

/// Digital silence.
pub(super) fn silence(samples: Samples) -> Vec<u8> {
    vec![0; bytes(samples)]
}

/// The values of the samples.
pub fn values<'a>(audio: impl IntoIterator<Item = &'a u8>) -> impl Iterator<Item = i16> {
    let mut bytes = audio.into_iter();
    std::iter::from_fn(move || Some(i16::from_le_bytes([*bytes.next()?, *bytes.next()?])))
}

/// Average level of samples, in decibels relative to full scale; -100 for silence.
pub fn level(samples: &[i16]) -> f32 {
    let square = |sample: &i16| i64::from(*sample) * i64::from(*sample);
    let energy: i64 = samples.iter().map(square).sum();
    let mean = energy as f64 / samples.len().max(1) as f64 / f64::from(1 << 30);
    (10.0 * mean.log10()).max(-100.0) as f32
}

/// Whether the samples are loud on average.
pub(super) fn is_loud(audio: &[u8]) -> bool {
    let square = |low, high| {
        let sample = i32::from(i16::from_le_bytes([low, high]));
        (sample * sample).unsigned_abs()
    };
    // In pairs, since the sum of two squares fits into 32 bits: processors have an instruction for
    // that.
    let (pairs, rest) = audio.as_chunks::<4>();
    let pairs = pairs
        .iter()
        .map(|&[a, b, c, d]| u64::from(square(a, b) + square(c, d)));
    let odd = match rest {
        &[a, b, ..] => u64::from(square(a, b)),
        _ => 0,
    };
    (pairs.sum::<u64>() + odd) / samples(audio.len()).0.max(1) >= LOUD * LOUD
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_whole() {
        assert_eq!((samples(5), bytes(Samples(2))), (Samples(2), 4));
        assert_eq!(silence(Samples(2)), [0; 4]);
        assert_eq!(values(&[1, 0, 255, 255, 7]).collect::<Vec<_>>(), [1, -1]);
        assert_eq!(bytes(Samples(u64::MAX)), usize::MAX);
    }

    #[test]
    fn loudness_is_that_of_the_average() {
        let audio = |sample: i16, count: usize| -> Vec<u8> { sample.to_le_bytes().repeat(count) };
        for count in [1, 2, 3, 160] {
            assert!(
                is_loud(&audio(328, count)) && !is_loud(&audio(327, count)),
                "{count}"
            );
            assert!(is_loud(&audio(i16::MIN, count)));
        }
        assert!(!is_loud(&[]) && is_loud(&[0, 128]));
        let half = [audio(3000, 1), audio(0, 120)].concat();
        assert!(!is_loud(&half));
        assert!((level(&[16_384; 100]) + 6.02).abs() < 0.01);
        assert_eq!(level(&[]), -100.0);
    }
}
