// SPDX-License-Identifier: MPL-2.0
//! Opus in Ogg (RFC 7845), as other clients send it to the service: one stream for each connection,
//! from its headers on, a page for each piece of audio. Used by the codecs of the protocols that
//! take it.

use ogg::{PacketWriteEndInfo, PacketWriter};

use super::Recognition;
use crate::audio::Coding;
use crate::audio::opus::{self, Packet};

/// Names the software that made the stream.
const VENDOR: &str = env!("CARGO_PKG_NAME");

/// The stream of one connection.
pub(super) struct OggOpus {
    writer: PacketWriter<'static, Vec<u8>>,
    /// Identifies the stream.
    serial: u32,
    /// Sample rate of what was encoded, in Hz: for information.
    rate: u32,
    /// Number of samples up to the end of the latest packet; `None` before the headers.
    granule: Option<u64>,
}

impl OggOpus {
    /// The stream for a new connection, if the audio is Opus.
    pub fn wanted(recognition: &Recognition) -> Option<Self> {
        (recognition.coding == Coding::Opus).then(|| Self {
            writer: PacketWriter::new(Vec::new()),
            serial: fastrand::u32(..),
            rate: recognition.rate,
            granule: None,
        })
    }

    /// The pages that carry these packets, to be sent one by one; the first call begins with those
    /// of the headers.
    pub fn pages(&mut self, audio: &[u8]) -> Vec<Vec<u8>> {
        let packets: Vec<Packet<'_>> = opus::packets(audio).collect();
        let Some(newest) = packets.len().checked_sub(1) else {
            return Vec::new();
        };
        let mut pages = Vec::new();
        let mut granule = match self.granule {
            Some(granule) => granule,
            None => {
                pages.push(self.page(self.head(&packets), 0));
                pages.push(self.page(tags(), 0));
                0
            }
        };
        for (n, packet) in packets.iter().enumerate() {
            // Also what is skipped counts.
            let whole = opus::length(packet.data).unwrap_or(packet.samples);
            granule += whole.0;
            let end = if n == newest {
                PacketWriteEndInfo::EndPage
            } else {
                PacketWriteEndInfo::NormalPacket
            };
            self.write(packet.data.to_vec(), end, granule);
        }
        self.granule = Some(granule);
        pages.push(self.written());
        pages
    }

    /// The first header. What the first packet decodes to before its part of the stream is skipped.
    fn head(&self, packets: &[Packet<'_>]) -> Vec<u8> {
        let skipped = packets.first().and_then(|first| {
            let whole = opus::length(first.data)?;
            u16::try_from((whole - first.samples).0).ok()
        });
        let mut head = b"OpusHead\x01\x01".to_vec();
        head.extend(skipped.unwrap_or_default().to_le_bytes());
        head.extend(self.rate.to_le_bytes());
        // No gain, and one channel (mapping family 0).
        head.extend([0, 0, 0]);
        head
    }

    fn page(&mut self, packet: Vec<u8>, granule: u64) -> Vec<u8> {
        self.write(packet, PacketWriteEndInfo::EndPage, granule);
        self.written()
    }

    fn write(&mut self, packet: Vec<u8>, end: PacketWriteEndInfo, granule: u64) {
        let written = self.writer.write_packet(packet, self.serial, end, granule);
        debug_assert!(written.is_ok(), "memory takes whatever is written");
    }

    fn written(&mut self) -> Vec<u8> {
        std::mem::take(self.writer.inner_mut())
    }
}

/// The second header: no more than the vendor.
fn tags() -> Vec<u8> {
    let mut tags = b"OpusTags".to_vec();
    tags.extend((VENDOR.len() as u32).to_le_bytes());
    tags.extend(VENDOR.as_bytes());
    tags.extend([0; 4]);
    tags
}

impl std::fmt::Debug for OggOpus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OggOpus")
            .field("serial", &self.serial)
            .field("granule", &self.granule)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
