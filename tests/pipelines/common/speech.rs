// SPDX-License-Identifier: MPL-2.0
//! Numbered audio, and files for a test alone.

use std::path::PathBuf;

use offline_service::blocks;

use super::*;

/// Numbered audio with known words at known times.
#[derive(Clone)]
pub struct Speech {
    pub rate: u32,
    pub samples: Vec<i16>,
    /// Number, begin and end in milliseconds of each block.
    pub truth: Vec<(u32, u64, u64)>,
}

impl Speech {
    pub fn new(rate: u32) -> Self {
        Speech {
            rate,
            samples: Vec::new(),
            truth: Vec::new(),
        }
    }

    pub fn length_ms(&self) -> u64 {
        self.samples.len() as u64 * 1000 / u64::from(self.rate)
    }

    pub fn silence(mut self, ms: u32) -> Self {
        self.samples.extend(blocks::silence(ms, self.rate));
        self
    }

    pub fn say(mut self, numbers: impl IntoIterator<Item = u32>) -> Self {
        for n in numbers {
            let begin = self.length_ms();
            self.samples.extend(blocks::block(n, self.rate));
            self.truth.push((n, begin, begin + 100));
        }
        self
    }

    /// What is sent of each utterance of [`Self::usual`] where the element finds them.
    pub const USUAL: [u64; 3] = [2550, 1750, 4050];

    /// Three utterances with pauses, 9.6 seconds.
    pub fn usual(rate: u32) -> Self {
        Speech::new(rate)
            .silence(500)
            .say(0..20)
            .silence(800)
            .say(20..32)
            .silence(1000)
            .say(32..67)
            .silence(600)
    }

    pub fn numbers(&self) -> Vec<u32> {
        self.truth.iter().map(|(n, ..)| *n).collect()
    }

    pub fn bytes(&self) -> Vec<u8> {
        blocks::bytes(&self.samples)
    }

    /// As buffers of these lengths in samples, over and over, with timestamps from `offset_ms`.
    pub fn buffers(&self, lengths: &[usize], offset_ms: u64) -> Vec<gst::Buffer> {
        let mut buffers = Vec::new();
        let (mut at, mut lengths) = (0, lengths.iter().cycle());
        while at < self.samples.len() {
            let end = (at + lengths.next().unwrap()).min(self.samples.len());
            let pts = gst::ClockTime::from_mseconds(offset_ms)
                + gst::ClockTime::SECOND
                    .mul_div_floor(at as u64, self.rate.into())
                    .unwrap();
            let mut buffer = gst::Buffer::from_slice(blocks::bytes(&self.samples[at..end]));
            buffer.get_mut().unwrap().set_pts(pts);
            buffers.push(buffer);
            at = end;
        }
        buffers
    }

    /// A WAV file of it, removed when the value is dropped.
    pub fn wav(&self) -> TempFile {
        let data = self.bytes();
        let mut wav = Vec::new();
        wav.extend(b"RIFF");
        wav.extend((36 + data.len() as u32).to_le_bytes());
        wav.extend(b"WAVEfmt ");
        wav.extend(16u32.to_le_bytes());
        wav.extend([1, 0, 1, 0]);
        wav.extend(self.rate.to_le_bytes());
        wav.extend((self.rate * 2).to_le_bytes());
        wav.extend([2, 0, 16, 0]);
        wav.extend(b"data");
        wav.extend((data.len() as u32).to_le_bytes());
        wav.extend(data);
        let file = TempFile::new("wav");
        std::fs::write(&file.0, wav).unwrap();
        file
    }
}

/// A path for a file of this test alone.
pub struct TempFile(pub PathBuf);

impl TempFile {
    pub fn new(extension: &str) -> Self {
        use std::sync::atomic::{AtomicU32, Ordering};
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("qwenasr-{}-{count}.{extension}", std::process::id());
        TempFile(std::env::temp_dir().join(name))
    }

    pub fn text(&self) -> String {
        std::fs::read_to_string(&self.0).unwrap_or_default()
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
