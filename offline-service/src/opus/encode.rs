// SPDX-License-Identifier: MPL-2.0

//! Test audio as a stream of Opus.

use ogg::{PacketWriteEndInfo, PacketWriter};

use super::GRANULE_RATE;
use super::library::Encoder;

/// How to encode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coding {
    /// Bits per second.
    pub bitrate: u32,
    /// Length of a packet in milliseconds: 10, 20, 40 or 60.
    pub packet_ms: u32,
    /// Whether silence takes next to nothing.
    pub dtx: bool,
}

impl Default for Coding {
    fn default() -> Self {
        Self {
            bitrate: 24_000,
            packet_ms: 20,
            dtx: false,
        }
    }
}

/// Audio that was encoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// The packets, in their order.
    pub packets: Vec<Vec<u8>>,
    /// Samples at 48 kHz to drop from the beginning.
    pub pre_skip: u16,
    /// Length of each packet in samples at 48 kHz.
    pub packet: u64,
}

/// Encodes samples of `rate` per second, and so much silence behind them that they come out of a
/// decoder whole, and that all packets have the same length.
pub fn encode(pcm: &[i16], rate: u32, coding: &Coding) -> Result<Encoded, String> {
    let mut encoder = Encoder::new(rate, coding)?;
    let delay = encoder.delay();
    let length = (rate * coding.packet_ms / 1000).max(1) as usize;
    let mut pcm = pcm.to_vec();
    pcm.resize((pcm.len() + delay as usize).next_multiple_of(length), 0);
    let packets = pcm.chunks(length).map(|frame| encoder.encode(frame));
    Ok(Encoded {
        packets: packets.collect::<Result<_, _>>()?,
        // Some milliseconds.
        pre_skip: (delay * (GRANULE_RATE / rate)) as u16,
        packet: u64::from(GRANULE_RATE * coding.packet_ms / 1000),
    })
}

impl Encoded {
    /// The stream as pages, one for each header and for each packet.
    pub fn pages(&self, serial: u32) -> Vec<Vec<u8>> {
        let headers = [self.head(), [&b"OpusTags"[..], &[0; 8]].concat()];
        let packets = headers.iter().chain(&self.packets);
        let count = self.packets.len() + headers.len();
        let mut granule = 0;
        let mut writer = PacketWriter::new(Vec::new());
        let mut written = 0;
        let mut pages = Vec::with_capacity(count);
        for (index, packet) in packets.enumerate() {
            if index >= headers.len() {
                granule += self.packet;
            }
            let end = match index + 1 == count {
                true => PacketWriteEndInfo::EndStream,
                false => PacketWriteEndInfo::EndPage,
            };
            // Into memory, that cannot fail.
            let _ = writer.write_packet(packet, serial, end, granule);
            pages.push(writer.inner()[written..].to_vec());
            written = writer.inner().len();
        }
        pages
    }

    /// The identification header.
    pub(super) fn head(&self) -> Vec<u8> {
        let [low, high] = self.pre_skip.to_le_bytes();
        // Version, channels, pre-skip, rate, gain, mapping family.
        let fields = [1, 1, low, high, 0, 0, 0, 0, 0, 0, 0];
        [&b"OpusHead"[..], &fields].concat()
    }
}
