// SPDX-License-Identifier: MPL-2.0

//! The two headers of a stream of Opus, as RFC 7845, section 5 has them.

use super::Mistake;

/// Length of an identification header of a stream with one or two channels.
const HEAD: usize = 19;

/// Versions below this are compatible.
const INCOMPATIBLE: u8 = 16;

/// What the identification header says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// Samples at 48 kHz to drop from the beginning of the stream.
    pub pre_skip: u16,
    /// By how much to amplify it, in 1/256 dB.
    pub gain: i16,
}

impl Head {
    pub fn new(packet: &[u8]) -> Result<Self, Mistake> {
        let wrong = |what: &str| Err(format!("the identification header {what}"));
        let Some(fields) = packet.strip_prefix(b"OpusHead") else {
            return wrong("does not begin with 'OpusHead'");
        };
        let &[
            version,
            channels,
            skip_low,
            skip_high,
            _,
            _,
            _,
            _,
            gain_low,
            gain_high,
            family,
            ..,
        ] = fields
        else {
            return wrong("is too short");
        };
        if version >= INCOMPATIBLE {
            return wrong(&format!("has version {version}"));
        }
        // Only later versions may have more to say.
        if version <= 1 && packet.len() > HEAD && family == 0 {
            return wrong("is too long");
        }
        if family != 0 {
            return wrong(&format!("has mapping family {family} instead of 0"));
        }
        if channels != 1 {
            return wrong(&format!("has {channels} channels instead of 1"));
        }
        Ok(Self {
            pre_skip: u16::from_le_bytes([skip_low, skip_high]),
            gain: i16::from_le_bytes([gain_low, gain_high]),
        })
    }
}

/// Checks the structure of a comment header. What it says is for people.
pub(super) fn check_comments(packet: &[u8]) -> Result<(), Mistake> {
    let Some(fields) = packet.strip_prefix(b"OpusTags") else {
        return Err("the comment header does not begin with 'OpusTags'".to_owned());
    };
    comments(fields).ok_or_else(|| "the comment header is too short for what it holds".to_owned())
}

/// Reads the vendor, the number of comments, and each of them. Something may follow.
fn comments(fields: &[u8]) -> Option<()> {
    let (count, mut rest) = number(text(fields)?)?;
    for _ in 0..count {
        rest = text(rest)?;
    }
    Some(())
}

/// What is behind a text, which its length precedes.
fn text(bytes: &[u8]) -> Option<&[u8]> {
    let (length, rest) = number(bytes)?;
    rest.get(length as usize..)
}

fn number(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((u32::from_le_bytes(*number), rest))
}
