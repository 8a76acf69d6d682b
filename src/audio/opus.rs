// SPDX-License-Identifier: MPL-2.0
//! Opus packets (RFC 6716) as far as one has to know them to carry them: how long they last, and
//! whether there may be speech in them. Nothing is decoded.
//!
//! In the bytes of [`Coding::Opus`](super::Coding::Opus) each packet has a header of four bytes: its
//! size, and its length in samples, both little-endian. That length is shorter than the packet's own
//! where the beginning of what it decodes to is not part of the stream: an encoder's look-ahead.

use std::collections::VecDeque;

use crate::timeline::Samples;

/// The samples of a packet count as at this rate, in Hz, whatever was encoded.
pub const CLOCK_RATE: u32 = 48_000;

/// The shortest frame: 2.5 ms.
pub(super) const STEP: Samples = Samples(120);

/// The longest packet: 120 ms.
const MAX_SAMPLES: u64 = 5760;

/// Bytes before each packet.
const HEADER: usize = 4;

/// Packets that are no longer than this stand for silence that was not sent (DTX).
const MAX_DTX: usize = 2;

/// The most bytes of a frame (RFC 6716, 3.2.1).
const MAX_FRAME: usize = 1275;

/// A packet on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<'a> {
    /// The part of it that belongs to the stream: its end.
    pub samples: Samples,
    pub data: &'a [u8],
}

/// The packets in these bytes.
pub fn packets(mut audio: &[u8]) -> impl Iterator<Item = Packet<'_>> {
    std::iter::from_fn(move || {
        let (&[a, b, c, d], rest) = audio.split_first_chunk::<HEADER>()?;
        let (data, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes([a, b])))?;
        audio = rest;
        let samples = Samples(u16::from_le_bytes([c, d]).into());
        Some(Packet { samples, data })
    })
}

/// Bytes and samples of the packets at the front that lie within a length, and are `least` at
/// least, if there are so many.
pub(super) fn front(audio: &VecDeque<u8>, most: Samples, least: usize) -> (usize, Samples) {
    let (mut bytes, mut samples, mut count) = (0, Samples(0), 0);
    let number = |at: usize| -> Option<u16> {
        Some(u16::from_le_bytes([*audio.get(at)?, *audio.get(at + 1)?]))
    };
    while let (Some(size), Some(length)) = (number(bytes), number(bytes + 2)) {
        let after = samples + Samples(length.into());
        if after > most && count >= least {
            break;
        }
        bytes = (bytes + HEADER + usize::from(size)).min(audio.len());
        (samples, count) = (after, count + 1);
    }
    (bytes, samples)
}

/// Puts a packet of an encoder into the form described above, without its first `clipped` samples.
/// Silence that an encoder left out (DTX) becomes silent packets. `None` if it is no valid packet:
/// a decoder would stumble over it.
pub fn framed(packet: &[u8], clipped: Samples) -> Option<Vec<u8>> {
    let samples = Frames::parse(packet)?.samples();
    if packet.len() <= MAX_DTX {
        return Some(silence(samples));
    }
    let mut framed = Vec::with_capacity(HEADER + packet.len());
    push(&mut framed, packet, samples - clipped);
    Some(framed)
}

fn push(audio: &mut Vec<u8>, packet: &[u8], samples: Samples) {
    // A valid packet is shorter than that, and so is its length.
    audio.extend((packet.len() as u16).to_le_bytes());
    audio.extend((samples.0 as u16).to_le_bytes());
    audio.extend(packet);
}

/// Packets of silence: frames of CELT that say so, and nothing else.
pub(super) fn silence(samples: Samples) -> Vec<u8> {
    /// First bytes, and lengths: fullband frames of 20, 10, 5 and 2.5 ms.
    const FRAMES: [(u8, u64); 4] = [(0xf8, 960), (0xf0, 480), (0xe8, 240), (0xe0, 120)];
    let mut audio = Vec::new();
    let mut left = samples.0;
    for (config, length) in FRAMES {
        while left >= length {
            push(&mut audio, &[config, 0xff, 0xfe], Samples(length));
            left -= length;
        }
    }
    audio
}

/// The length of a packet; `None` if it is not valid.
pub fn length(packet: &[u8]) -> Option<Samples> {
    Some(Frames::parse(packet)?.samples())
}

/// Whether there are two channels in a packet: each packet says that itself.
pub fn is_stereo(packet: &[u8]) -> bool {
    packet.first().is_some_and(|toc| toc & 4 != 0)
}

/// Whether the encoder found speech in the packet, or, where it does not say, anything but digital
/// silence.
pub fn is_loud(packet: &[u8]) -> bool {
    let Some(frames) = Frames::parse(packet) else {
        return false;
    };
    let first = frames.first;
    match frames.silk_frames() {
        // The flags of voice activity come first (RFC 6716, 4.2.3), one for each frame of SILK.
        Some(count) => first.first().is_some_and(|flags| flags >> (8 - count) != 0),
        // An improbable first symbol, all ones, stands for silence (RFC 6716, 4.3.1).
        None => !first.is_empty() && !matches!(first, [0xff, 0xfe | 0xff, ..]),
    }
}

/// What a packet says of its frames.
#[derive(Debug, Clone, Copy)]
struct Frames<'a> {
    config: u8,
    count: u64,
    /// The first frame, or more than that.
    first: &'a [u8],
}

impl<'a> Frames<'a> {
    /// Checks the requirements of RFC 6716, 3.4.
    fn parse(packet: &'a [u8]) -> Option<Self> {
        let (&toc, rest) = packet.split_first()?;
        let config = toc >> 3;
        let (count, first) = match toc & 3 {
            0 => (1, rest),
            1 => (2, rest.split_at_checked(rest.len().div_ceil(2))?.0),
            2 => {
                let (size, rest) = size(rest)?;
                (2, rest.split_at_checked(size)?.0)
            }
            _ => several(rest)?,
        };
        let is_sound = match toc & 3 {
            1 => rest.len().is_multiple_of(2) && rest.len() / 2 <= MAX_FRAME,
            0 => rest.len() <= MAX_FRAME,
            _ => true,
        };
        let frames = Self {
            config,
            count,
            first,
        };
        (is_sound && (1..=MAX_SAMPLES).contains(&frames.samples().0)).then_some(frames)
    }

    fn samples(self) -> Samples {
        let length = match self.config {
            // SILK.
            0..12 => [480, 960, 1920, 2880][usize::from(self.config % 4)],
            // Both.
            12..16 => [480, 960][usize::from(self.config % 2)],
            // CELT.
            _ => [120, 240, 480, 960][usize::from(self.config % 4)],
        };
        Samples(length * self.count)
    }

    /// The number of frames of SILK in the first frame; `None` without SILK.
    fn silk_frames(self) -> Option<u8> {
        match self.config {
            0..12 => Some([1, 1, 2, 3][usize::from(self.config % 4)]),
            12..16 => Some(1),
            _ => None,
        }
    }
}

/// A size of one or two bytes, and what follows it.
fn size(data: &[u8]) -> Option<(usize, &[u8])> {
    match *data {
        [short @ 0..252, ref rest @ ..] => Some((short.into(), rest)),
        [low, high, ref rest @ ..] => Some((usize::from(low) + 4 * usize::from(high), rest)),
        _ => None,
    }
}

/// A packet of any number of frames, from its second byte on: their number, and the first one.
fn several(data: &[u8]) -> Option<(u64, &[u8])> {
    let (&head, mut rest) = data.split_first()?;
    let (is_vbr, is_padded, count) = (head & 0x80 != 0, head & 0x40 != 0, usize::from(head & 0x3f));
    let (mut padding, mut has_more) = (0, is_padded);
    while has_more {
        let (&length, after) = rest.split_first()?;
        rest = after;
        padding += usize::from(length.min(254));
        has_more = length == 255;
    }
    if count == 0 {
        return None;
    }
    let mut sizes = Vec::new();
    for _ in 1..if is_vbr { count } else { 1 } {
        let (size, after) = size(rest)?;
        rest = after;
        sizes.push(size);
    }
    let frames = rest.len().checked_sub(padding)?;
    if is_vbr {
        let newest = frames.checked_sub(sizes.iter().sum())?;
        sizes.push(newest);
    } else {
        if !frames.is_multiple_of(count) {
            return None;
        }
        sizes.push(frames / count);
    }
    let is_sound = sizes.iter().all(|size| *size <= MAX_FRAME);
    let first = rest.get(..*sizes.first()?)?;
    is_sound.then_some((count as u64, first))
}

#[cfg(test)]
pub mod tests;
