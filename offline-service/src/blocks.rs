// SPDX-License-Identifier: MPL-2.0

//! Numbered test audio and its recogniser.
//!
//! The audio is made of blocks of 100 ms, each of which carries its number as the value of all
//! of its samples. Which blocks arrived, in which order, how often and to which item they were
//! counted can then be read from the transcripts, whatever the chunks were they travelled in.

use std::sync::Arc;

use crate::recogniser::{Factory, Hypothesis, Recogniser};
use crate::words::Span;

/// Length of a block in milliseconds.
pub const BLOCK_MS: u32 = 100;

/// Sample value of block 0. Far enough from zero for a block to be louder than silence.
const BASE: i32 = 1000;

/// Block numbers are below this.
const BLOCKS: i32 = 30_000;

/// Share of a block, in percent, from which on it counts as heard.
const HEARD_PERCENT: u32 = 30;

/// How many words at the end of a hypothesis are tentative.
const TENTATIVE_WORDS: usize = 2;

/// The samples of block `n` at `rate` samples per second.
///
/// # Panics
///
/// If `n` is not below 30000, the numbers that fit in a sample.
pub fn block(n: u32, rate: u32) -> Vec<i16> {
    assert!(n < BLOCKS as u32, "block numbers are below {BLOCKS}");
    let value = BASE as i16 + n as i16;
    vec![value; (rate * BLOCK_MS / 1000) as usize]
}

/// The blocks `numbers`, one behind the other.
pub fn blocks(numbers: impl IntoIterator<Item = u32>, rate: u32) -> Vec<i16> {
    numbers.into_iter().flat_map(|n| block(n, rate)).collect()
}

/// `ms` milliseconds of digital silence.
pub fn silence(ms: u32, rate: u32) -> Vec<i16> {
    vec![0; (u64::from(rate) * u64::from(ms) / 1000) as usize]
}

/// Samples as the service takes them: signed 16-bit little-endian.
pub fn bytes(pcm: &[i16]) -> Vec<u8> {
    pcm.iter().flat_map(|sample| sample.to_le_bytes()).collect()
}

/// What block `n` is recognised as.
pub fn word(n: u32) -> String {
    format!("w{n:04}")
}

/// What the blocks `numbers` are recognised as when they form one item.
pub fn words(numbers: impl IntoIterator<Item = u32>) -> String {
    let words: Vec<String> = numbers.into_iter().map(word).collect();
    words.join(" ")
}

/// Recognises each block of which at least 30 % arrived as the [`word`] of its number, once
/// per run of that number. Zero samples are passed over, they do not end a run.
#[derive(Debug, Default)]
pub struct BlockRecogniser {
    rate: u32,
    /// Samples of the item so far.
    samples: u64,
    run: i16,
    run_length: u32,
    run_begin: u64,
    words: Vec<String>,
    spans: Vec<Span>,
}

impl BlockRecogniser {
    /// Gives every session a recogniser of its own.
    pub fn factory() -> Factory {
        Arc::new(|| Ok(Box::<BlockRecogniser>::default()))
    }
}

impl Recogniser for BlockRecogniser {
    fn start(&mut self, rate: u32) {
        *self = Self {
            rate,
            ..Self::default()
        };
    }

    fn feed(&mut self, pcm: &[i16]) {
        let heard = self.rate * BLOCK_MS / 1000 * HEARD_PERCENT / 100;
        let ms = |samples: u64| samples * 1000 / u64::from(self.rate);
        for &sample in pcm {
            self.samples += 1;
            if sample == 0 {
                continue;
            }
            if sample != self.run {
                self.run = sample;
                self.run_length = 0;
                self.run_begin = self.samples - 1;
            }
            self.run_length += 1;
            let number = i32::from(sample) - BASE;
            if !(0..BLOCKS).contains(&number) {
                continue;
            }
            if self.run_length == heard {
                self.words.push(word(number as u32));
                self.spans.push((ms(self.run_begin), 0));
            }
            if self.run_length >= heard
                && let Some((_, end)) = self.spans.last_mut()
            {
                *end = ms(self.samples);
            }
        }
    }

    fn hypothesis(&mut self) -> Option<Hypothesis> {
        let (confirmed, tentative) = self
            .words
            .split_at(self.words.len().saturating_sub(TENTATIVE_WORDS));
        let mut text = confirmed.join(" ");
        if !text.is_empty() {
            text.push(' ');
        }
        Some(Hypothesis {
            text,
            stash: tentative.join(" "),
        })
    }

    fn finish(&mut self) -> String {
        self.words.join(" ")
    }

    fn spans(&mut self) -> Vec<Span> {
        self.spans.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recognise(pcm: &[i16], rate: u32, chunk: usize) -> String {
        let mut recogniser = BlockRecogniser::default();
        recogniser.start(rate);
        for chunk in pcm.chunks(chunk) {
            recogniser.feed(chunk);
        }
        recogniser.finish()
    }

    #[test]
    fn chunks_do_not_matter() {
        for rate in [8000, 16000] {
            let pcm = blocks(0..20, rate);
            for chunk in [1, 7, 160, 333, 1600, 100_000] {
                assert_eq!(recognise(&pcm, rate, chunk), words(0..20));
            }
        }
    }

    #[test]
    fn inserted_silence_and_cut_blocks() {
        let mut pcm = blocks([29_999], 16000);
        pcm.splice(700..700, silence(250, 16000));
        pcm.extend(&block(5, 16000)[..480]);
        pcm.extend(&block(6, 16000)[..479]);
        pcm.extend(blocks([7, 5], 16000));
        assert_eq!(recognise(&pcm, 16000, 100), words([29_999, 5, 7, 5]));
    }

    #[test]
    fn words_are_said_when_their_blocks_are() {
        let mut recogniser = BlockRecogniser::default();
        recogniser.start(16000);
        recogniser.feed(&silence(30, 16000));
        recogniser.feed(&blocks([3, 4], 16000)[..3000]);
        assert_eq!(recogniser.spans(), [(30, 130), (130, 217)]);
        recogniser.feed(&block(4, 16000)[..200]);
        assert_eq!(recogniser.finish(), words([3, 4]));
        assert_eq!(recogniser.spans(), [(30, 130), (130, 230)]);
    }

    #[test]
    fn confirmed_text_only_grows() {
        let mut recogniser = BlockRecogniser::default();
        recogniser.start(8000);
        let mut confirmed = String::new();
        for n in 1..6 {
            recogniser.feed(&block(n, 8000));
            let hypothesis = recogniser.hypothesis().unwrap();
            assert!(hypothesis.text.starts_with(&confirmed));
            assert_eq!(
                format!("{}{}", hypothesis.text, hypothesis.stash),
                words(1..=n)
            );
            confirmed = hypothesis.text;
        }
        assert_eq!(confirmed, "w0001 w0002 w0003 ");
    }
}
