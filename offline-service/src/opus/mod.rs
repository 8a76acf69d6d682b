// SPDX-License-Identifier: MPL-2.0

//! Opus in an Ogg stream (RFC 7845), decoded as strictly as a test of a client wants it.
//!
//! A protocol that takes Opus keeps one [`Stream`] for each stream of audio, pushes what the
//! client uploads, cut anywhere, and passes the samples on to the core, which sees no difference
//! from PCM. What a decoder for listening would conceal, such as a lost page, is a [`Mistake`]
//! here, after which the stream is of no use.
//!
//! `pages` makes packets of bytes, `headers` reads the first two of them, `library` decodes the
//! others. [`encode()`] is the way back, for tests.

mod encode;
mod headers;
mod library;
mod pages;

use std::ops::Range;
use std::time::Duration;

pub use encode::{Coding, Encoded, encode};
use headers::Head;
use library::Decoder;
use pages::{Page, Pages};

/// Granule positions count samples of this rate, whatever rate is decoded to.
const GRANULE_RATE: u32 = 48_000;

/// What is wrong with a stream, as a clause.
pub type Mistake = String;

/// A stream of Opus that a client uploads.
pub struct Stream {
    rate: u32,
    pages: Pages,
    stage: Stage,
}

/// How far a stream has come.
enum Stage {
    /// Before the identification header.
    Start,
    /// Before the comment header, or within it.
    Identified(Head),
    /// Behind the headers.
    Audio(Audio),
}

/// What bytes of a stream were decoded to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decoded {
    /// Samples at the rate of the stream, without the pre-skip.
    pub pcm: Vec<i16>,
    /// What they were decoded of.
    pub contents: Contents,
}

/// What there was in a stream, or in a part of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// Number of pages with headers.
    pub header_pages: usize,
    /// The granule position at which the audio begins, including the pre-skip. 0 unless the stream
    /// says that it was joined late.
    pub begin: Option<u64>,
    /// The durations of the packets with audio, in their order.
    pub packets: Vec<Duration>,
    /// Whether its end is marked.
    pub has_end: bool,
}

impl Contents {
    /// Adds what there was in the part that follows.
    pub fn extend(&mut self, more: Self) {
        self.header_pages += more.header_pages;
        self.begin = self.begin.or(more.begin);
        self.packets.extend(more.packets);
        self.has_end |= more.has_end;
    }
}

impl Stream {
    /// A stream that is decoded to `rate` samples per second. The error is a sentence that says
    /// how to get a decoder.
    pub fn new(rate: u32) -> Result<Self, String> {
        library::available()?;
        Ok(Self {
            rate,
            pages: Pages::default(),
            stage: Stage::Start,
        })
    }

    /// Decodes what has become complete with these bytes. What came before a mistake counts.
    pub fn push(&mut self, bytes: &[u8], decoded: &mut Decoded) -> Result<(), Mistake> {
        self.pages.push(bytes);
        while let Some(page) = self.pages.next()? {
            self.take(page, decoded)?;
        }
        Ok(())
    }

    /// Checks that a stream which ends here does not end within a page or a packet. Its last page
    /// need not be marked as such.
    pub fn finish(&self) -> Result<(), Mistake> {
        self.pages.finish()
    }

    fn take(&mut self, page: Page, decoded: &mut Decoded) -> Result<(), Mistake> {
        decoded.contents.has_end |= page.is_end;
        match &mut self.stage {
            Stage::Start => {
                let head = Head::new(page.only_packet("the identification header")?)?;
                self.stage = Stage::Identified(head);
            }
            // The comments may be spread over pages.
            Stage::Identified(_) if page.is_within_packet() => {}
            Stage::Identified(head) => {
                headers::check_comments(page.only_packet("the comment header")?)?;
                self.stage = Stage::Audio(Audio::new(head, self.rate)?);
            }
            Stage::Audio(audio) => return audio.take(&page, decoded),
        }
        decoded.contents.header_pages += 1;
        Ok(())
    }
}

/// The part of a stream behind the headers.
struct Audio {
    decoder: Decoder,
    rate: u32,
    /// The granule position of the latest page with one.
    position: Option<u64>,
    /// Samples to drop before anything else.
    to_skip: usize,
}

impl Audio {
    fn new(head: &Head, rate: u32) -> Result<Self, Mistake> {
        Ok(Self {
            decoder: Decoder::new(rate, head.gain)?,
            rate,
            position: None,
            to_skip: at_rate(head.pre_skip.into(), rate),
        })
    }

    fn take(&mut self, page: &Page, decoded: &mut Decoded) -> Result<(), Mistake> {
        let lengths = page.packets.iter().map(|packet| library::samples(packet));
        let lengths: Vec<u64> = lengths.collect::<Result<_, _>>()?;
        let length: u64 = lengths.iter().sum();
        let Some(span) = self.advance(page, length)? else {
            return Ok(());
        };
        let excess = length - (span.end - span.start);

        let mut pcm = Vec::new();
        for packet in &page.packets {
            self.decoder.decode(packet, &mut pcm)?;
        }
        pcm.truncate(pcm.len().saturating_sub(at_rate(excess, self.rate)));
        let skipped = self.to_skip.min(pcm.len());
        self.to_skip -= skipped;
        decoded.pcm.extend_from_slice(&pcm[skipped..]);
        let contents = &mut decoded.contents;
        contents.begin.get_or_insert(span.start);
        contents.packets.extend(lengths.into_iter().map(duration));
        Ok(())
    }

    /// Moves on to the granule position of a page whose packets are `length` samples long. Returns
    /// from where to where that is, if a packet ends on it. At the end of the stream it may be
    /// shorter.
    fn advance(&mut self, page: &Page, length: u64) -> Result<Option<Range<u64>>, Mistake> {
        let Some(position) = page.granule else {
            return if page.packets.is_empty() {
                Ok(None)
            } else {
                Err("a page on which a packet ends has no granule position".to_owned())
            };
        };
        if page.packets.is_empty() && !page.is_end {
            return Err("a page on which no packet ends has a granule position".to_owned());
        }
        // A stream may begin at any position: that of one that is joined late does.
        let begin = self
            .position
            .unwrap_or_else(|| position.saturating_sub(length));
        let end = begin.saturating_add(length);
        let is_trimmed = page.is_end && (begin..end).contains(&position);
        if position != end && !is_trimmed {
            return Err(format!(
                "the granule position is {position}, but there is audio from {begin} to {end}"
            ));
        }
        self.position = Some(position);
        Ok(Some(begin..position))
    }
}

/// So many samples of [`GRANULE_RATE`] at another rate.
fn at_rate(samples: u64, rate: u32) -> usize {
    (samples * u64::from(rate) / u64::from(GRANULE_RATE)) as usize
}

/// How long so many samples of [`GRANULE_RATE`] are. Frames of Opus have whole microseconds.
fn duration(samples: u64) -> Duration {
    Duration::from_micros(samples * 1_000_000 / u64::from(GRANULE_RATE))
}

#[cfg(test)]
mod tests;
