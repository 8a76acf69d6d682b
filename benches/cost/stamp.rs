// SPDX-License-Identifier: MPL-2.0
//! Audio that says when it was made: each buffer begins with its time and number, one byte to a
//! sample, so that it stays quiet.

/// Samples per second of all audio here.
pub const RATE: usize = 16_000;

/// Bytes in a buffer of 20 ms.
pub const BUFFER: usize = RATE / 50 * 2;

/// Bytes in a frame to the service of 100 ms.
pub const FRAME: usize = 5 * BUFFER;

const MARK: u8 = 0x51;

/// When a buffer was made, and its number within its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// In nanoseconds, see [`now`].
    pub time: u64,
    pub number: u32,
}

impl Stamp {
    /// Writes it over the first samples of a buffer.
    pub fn write(self, audio: &mut [u8]) {
        let bytes = [MARK].into_iter();
        let bytes = bytes.chain(self.time.to_le_bytes());
        let bytes = bytes.chain(self.number.to_le_bytes());
        for (sample, byte) in audio.chunks_exact_mut(2).zip(bytes) {
            sample.copy_from_slice(&[byte, 0]);
        }
    }

    /// Reads it from the first samples of a buffer, if it is there.
    pub fn read(audio: &[u8]) -> Option<Self> {
        let mut bytes = audio.chunks_exact(2).map(|sample| sample[0]);
        if bytes.next()? != MARK {
            return None;
        }
        let mut time = [0; 8];
        let mut number = [0; 4];
        for byte in time.iter_mut().chain(&mut number) {
            *byte = bytes.next()?;
        }
        Some(Stamp {
            time: u64::from_le_bytes(time),
            number: u32::from_le_bytes(number),
        })
    }
}

/// A clock that all processes of the machine share, in nanoseconds.
pub fn now() -> u64 {
    gst::get_timestamp().nseconds()
}

/// How late something is that was made at `time`, in microseconds.
pub fn microseconds_since(time: u64) -> u32 {
    (now().saturating_sub(time) / 1000)
        .try_into()
        .unwrap_or(u32::MAX)
}
