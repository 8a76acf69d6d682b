// SPDX-License-Identifier: MPL-2.0

//! Audio of any rate at the 16 kHz that the recognisers' models take.
//!
//! Used by the recognisers of real speech; one [`Resampler`] for an item. What it does is as
//! simple as speech allows: a mean against aliasing, and straight lines between samples.

/// Samples per second that come out.
pub const MODEL_RATE: u32 = 16_000;

/// The audio of one item, from its own rate to [`MODEL_RATE`].
#[derive(Debug)]
pub struct Resampler {
    rate: u32,
    /// The previous samples that the mean is taken of, oldest first; as many as the rate is
    /// higher than wanted.
    recent: Vec<i16>,
    /// The previous mean, from which the line to the next one starts.
    before: i32,
    /// Where on the next line the next sample is due: [`MODEL_RATE`] is its end.
    due: u32,
}

impl Resampler {
    /// For audio of `rate` samples per second, at least 1.
    pub fn new(rate: u32) -> Self {
        let rate = rate.max(1);
        let averaged = (f64::from(rate) / f64::from(MODEL_RATE)).round().max(1.0);
        Self {
            rate,
            recent: vec![0; averaged as usize],
            before: 0,
            due: rate,
        }
    }

    /// The audio that follows, as far as it is complete.
    pub fn feed(&mut self, pcm: &[i16]) -> Vec<i16> {
        let expected = pcm.len() as u64 * u64::from(MODEL_RATE) / u64::from(self.rate);
        let mut resampled = Vec::with_capacity(expected as usize + 1);
        for &sample in pcm {
            let mean = self.mean(sample);
            while self.due <= MODEL_RATE {
                let way = i64::from(mean - self.before) * i64::from(self.due);
                let there = i64::from(self.before) + way / i64::from(MODEL_RATE);
                // Between two samples, it is in their range.
                resampled.push(there as i16);
                self.due += self.rate;
            }
            self.due -= MODEL_RATE;
            self.before = mean;
        }
        resampled
    }

    fn mean(&mut self, sample: i16) -> i32 {
        self.recent.rotate_left(1);
        if let Some(newest) = self.recent.last_mut() {
            *newest = sample;
        }
        let sum: i32 = self.recent.iter().copied().map(i32::from).sum();
        sum / self.recent.len() as i32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_between_samples_of_a_lower_rate() {
        let mut resampler = Resampler::new(8000);
        assert_eq!(resampler.feed(&[4, 8]), [2, 4, 6, 8]);
        assert_eq!(resampler.feed(&[-8]), [0, -8]);
        assert_eq!(resampler.feed(&[i16::MAX; 2])[1..], [i16::MAX; 3]);
    }

    #[test]
    fn audio_of_the_right_rate_stays_as_it_is() {
        let pcm = [5, -7, i16::MIN, i16::MAX];
        assert_eq!(Resampler::new(16_000).feed(&pcm), pcm);
    }

    #[test]
    fn means_of_a_higher_rate() {
        let mut resampler = Resampler::new(48_000);
        assert_eq!(resampler.feed(&[1, 2, 6, 7, 7]), [3]);
        assert_eq!(resampler.feed(&[7]), [7]);
        // A tone beyond what the rate can carry all but disappears.
        let tone = [30_000, -30_000].repeat(300);
        assert!(resampler.feed(&tone)[2..].iter().all(|s| s.abs() <= 10_000));
    }

    #[test]
    fn as_much_audio_as_there_was() {
        for rate in [8000, 16_000, 22_050, 24_000, 44_100, 48_000] {
            let mut resampler = Resampler::new(rate);
            let pcm = vec![1000; rate as usize];
            let resampled: usize = pcm.chunks(77).map(|pcm| resampler.feed(pcm).len()).sum();
            assert!(
                (15_999..=16_001).contains(&resampled),
                "{rate}: {resampled}"
            );
        }
    }
}
