// SPDX-License-Identifier: MPL-2.0
//! A recogniser of numbered audio that hears a word only if all of it came in one piece: where a
//! single sample is missing, or anything is put in between, the word is lost.

use std::sync::Arc;

use offline_service::blocks::{BLOCK_MS, block, word};
use offline_service::recogniser::{Factory, Hypothesis, Recogniser};

pub fn factory() -> Factory {
    Arc::new(|| Ok(Box::<Pedant>::default()))
}

#[derive(Default)]
struct Pedant {
    rate: u32,
    samples: u64,
    /// The value of the latest samples, and how many of them there are.
    run: (i16, u32),
    words: Vec<String>,
    spans: Vec<(u64, u64)>,
}

impl Recogniser for Pedant {
    fn start(&mut self, rate: u32) {
        *self = Self {
            rate,
            ..Self::default()
        };
    }

    fn feed(&mut self, pcm: &[i16]) {
        let base = block(0, 1000)[0];
        for &sample in pcm {
            self.samples += 1;
            let (value, length) = self.run;
            self.run = (sample, if sample == value { length + 1 } else { 1 });
            if sample >= base && self.run.1 == self.rate * BLOCK_MS / 1000 {
                self.words.push(word((sample - base) as u32));
                let end = self.samples * 1000 / u64::from(self.rate);
                self.spans.push((end - u64::from(BLOCK_MS), end));
            }
        }
    }

    fn hypothesis(&mut self) -> Option<Hypothesis> {
        Some(Hypothesis {
            text: self.words.join(" "),
            stash: String::new(),
        })
    }

    fn finish(&mut self) -> String {
        self.words.join(" ")
    }

    fn spans(&mut self) -> Vec<(u64, u64)> {
        self.spans.clone()
    }
}
