// SPDX-License-Identifier: MPL-2.0

//! Bytes, as they arrive, to the packets of one Ogg stream (RFC 3533).
//!
//! The crate `ogg` checks the sums, and puts packets together. Its parser can be pushed into, but
//! it looks neither at the numbers of pages nor at what they belong to: that is done here.

use ogg::OggReadError;
use ogg::reading::{BasePacketReader, PageParser};

use super::Mistake;

/// What a page begins with.
const CAPTURE: &[u8] = b"OggS";

/// Length of a page's header without the lengths of its segments.
const HEADER: usize = 27;

/// Most pages in a row on which no packet ends. Comments with pictures would need more; in a
/// stream that is spoken live they have no place.
const MAX_UNFINISHED: usize = 16;

/// A page of the stream.
#[derive(Debug)]
pub(super) struct Page {
    /// The packets that end on it.
    pub packets: Vec<Vec<u8>>,
    /// Where they end. `None` is what the format has for pages on which no packet does.
    pub granule: Option<u64>,
    /// Whether it is marked as the end of the stream.
    pub is_end: bool,
    /// Whether another packet begins, or goes on, that does not end on it.
    is_open: bool,
}

impl Page {
    /// The packet of a page that has to hold nothing but this header.
    pub fn only_packet(&self, header: &str) -> Result<&[u8], Mistake> {
        match &self.packets[..] {
            [packet] if !self.is_open && self.granule == Some(0) => Ok(packet),
            [_] if !self.is_open => Err(format!(
                "the page with {header} has a granule position other than 0"
            )),
            _ => Err(format!("{header} has to be alone on its page")),
        }
    }

    /// Whether it holds nothing but the beginning or the middle of a packet.
    pub fn is_within_packet(&self) -> bool {
        self.packets.is_empty() && self.is_open && self.granule.is_none()
    }
}

/// What identifies a page within its stream, in the order of the format.
struct Header {
    is_first: bool,
    is_end: bool,
    granule: u64,
    serial: u32,
    sequence: u32,
}

impl Header {
    fn new(bytes: &[u8; HEADER]) -> Self {
        let flags = bytes[5];
        let number = |at: usize| {
            u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        Self {
            is_first: flags & 2 != 0,
            is_end: flags & 4 != 0,
            granule: u64::from(number(10)) << 32 | u64::from(number(6)),
            serial: number(14),
            sequence: number(18),
        }
    }
}

/// Makes pages of bytes.
pub(super) struct Pages {
    /// What is not a whole page yet.
    bytes: Vec<u8>,
    packets: BasePacketReader,
    /// Serial and sequence number of the latest page.
    latest: Option<(u32, u32)>,
    /// Pages since one on which a packet ended, if a packet is open.
    unfinished: usize,
    has_ended: bool,
}

impl Default for Pages {
    fn default() -> Self {
        Self {
            bytes: Vec::new(),
            packets: BasePacketReader::new(),
            latest: None,
            unfinished: 0,
            has_ended: false,
        }
    }
}

impl Pages {
    /// Takes what follows of the stream.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next page, if it is complete.
    pub fn next(&mut self) -> Result<Option<Page>, Mistake> {
        if self.has_ended && !self.bytes.is_empty() {
            return Err("there is data after the end of the stream".to_owned());
        }
        let beginning = self.bytes.len().min(CAPTURE.len());
        if self.bytes[..beginning] != CAPTURE[..beginning] {
            return Err("there is no Ogg page where one should begin".to_owned());
        }
        let Some(bytes) = self.bytes.first_chunk::<HEADER>() else {
            return Ok(None);
        };
        let header = Header::new(bytes);
        let (mut parser, segments) = PageParser::new(*bytes).map_err(unreadable)?;
        let Some(lengths) = self.bytes.get(HEADER..HEADER + segments) else {
            return Ok(None);
        };
        let ends_within = lengths.last() == Some(&u8::MAX);
        let body = HEADER + segments;
        let end = body + parser.parse_segments(lengths.to_vec());
        let Some(body) = self.bytes.get(body..end) else {
            return Ok(None);
        };
        let page = parser
            .parse_packet_data(body.to_vec())
            .map_err(unreadable)?;
        self.bytes.drain(..end);

        self.follow(&header)?;
        self.packets.push_page(page).map_err(unreadable)?;
        let packets: Vec<_> = std::iter::from_fn(|| self.packets.read_packet())
            .map(|packet| packet.data)
            .collect();
        // A page without segments leaves a packet as open as it was.
        let is_open = ends_within || segments == 0 && self.unfinished > 0;
        self.unfinished = match is_open {
            true if packets.is_empty() => self.unfinished + 1,
            true => 1,
            false => 0,
        };
        if self.unfinished > MAX_UNFINISHED {
            return Err("a packet is too long".to_owned());
        }
        if header.is_end && is_open {
            return Err("the stream ends within a packet".to_owned());
        }
        self.has_ended = header.is_end;
        Ok(Some(Page {
            packets,
            granule: (header.granule != u64::MAX).then_some(header.granule),
            is_end: header.is_end,
            is_open,
        }))
    }

    /// Whether the stream may end here, as far as pages and packets go.
    pub fn finish(&self) -> Result<(), Mistake> {
        if !self.bytes.is_empty() {
            Err("the stream ends within a page".to_owned())
        } else if self.unfinished > 0 {
            Err("the stream ends within a packet".to_owned())
        } else {
            Ok(())
        }
    }

    /// Checks that a page follows the latest one.
    fn follow(&mut self, header: &Header) -> Result<(), Mistake> {
        match self.latest {
            None if !header.is_first => {
                return Err("the stream does not begin with its first page".to_owned());
            }
            Some(_) if header.is_first => {
                return Err("a second stream begins".to_owned());
            }
            Some((serial, _)) if header.serial != serial => {
                return Err(format!(
                    "a page belongs to the stream {:#010x} instead of {serial:#010x}",
                    header.serial
                ));
            }
            Some((_, sequence)) if header.sequence != sequence.wrapping_add(1) => {
                return Err(format!(
                    "the page {} follows the page {sequence}",
                    header.sequence
                ));
            }
            _ => self.latest = Some((header.serial, header.sequence)),
        }
        Ok(())
    }
}

fn unreadable(error: OggReadError) -> Mistake {
    match error {
        OggReadError::HashMismatch(..) => "the checksum of a page is wrong".to_owned(),
        OggReadError::InvalidStreamStructVer(version) => {
            format!("a page has version {version} instead of 0")
        }
        // All it says of pages in order is whether they continue a packet.
        _ => "a page goes on with a packet that the one before has not begun, or does not go on \
              with one that it has"
            .to_owned(),
    }
}
