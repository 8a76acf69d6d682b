// SPDX-License-Identifier: MPL-2.0
//! A fake service on the fake clock. Used by `days` and `rotation`.

use super::Script;

/// A fake service, for speech of 2 s in every 3 s of stream time.
#[derive(Default)]
pub struct Service {
    /// Milliseconds of audio received over this connection.
    clock: u64,
    /// Open utterances: id in this connection, number in the stream, and the end so far.
    pub open: Vec<(u64, u64, u64)>,
    names: u64,
}

impl Service {
    /// Processes `length` milliseconds of audio, and responds.
    pub fn listen(&mut self, s: &mut Script, time: u64, length: u64, random: &mut fastrand::Rng) {
        let begin = self.clock;
        self.clock += length;
        let (number, speech) = (time / 3000, time % 3000 < 2000);
        if speech {
            match self.open.iter_mut().find(|(_, this, _)| *this == number) {
                Some((.., end)) => *end = self.clock,
                None => {
                    self.open.push((self.names, number, self.clock));
                    s.receive(&format!("start {} {begin}", self.names));
                    self.names += 1;
                }
            }
        }
        // Silence of 400 ms ends an utterance.
        let clock = self.clock;
        for (name, number, end) in self.open.extract_if(.., |(.., end)| *end + 400 <= clock) {
            s.receive(&format!("stop {name} {end}"));
            s.receive(&format!("final {name} u{number}"));
        }
        if let Some((name, number, _)) = self.open.last()
            && random.u8(..4) == 0
        {
            s.receive(&format!("partial {name} |u{number}"));
        }
    }

    /// No more audio will arrive.
    pub fn finish(&mut self, s: &mut Script) {
        for (name, number, end) in std::mem::take(&mut self.open) {
            s.receive(&format!("stop {name} {end}"));
            s.receive(&format!("final {name} u{number}"));
        }
        s.receive("finished");
    }
}
