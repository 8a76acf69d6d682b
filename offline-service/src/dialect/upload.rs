// SPDX-License-Identifier: MPL-2.0

//! The audio of a client, in the format that it has chosen, to samples for the core.
//!
//! For the protocols with a choice of formats; a stream of audio has an [`Upload`] of its own.

use super::{Request, pcm};
use crate::opus::{Decoded, Mistake, Stream};
use crate::record::{AudioStream, StreamNews};

/// A stream of audio, as it arrives.
pub struct Upload {
    format: AudioStream,
    decoder: Decoder,
}

enum Decoder {
    /// The first half of a sample whose second half is still to come.
    Pcm(Option<u8>),
    Opus(Stream),
}

impl Default for Upload {
    /// What it is before the client has chosen.
    fn default() -> Self {
        Self {
            format: AudioStream {
                format: "pcm".to_owned(),
                rate: 16_000,
                ..AudioStream::default()
            },
            decoder: Decoder::Pcm(None),
        }
    }
}

impl Upload {
    /// A stream of `pcm` or `opus` at `rate` samples per second. The error is a sentence for the
    /// operator of the service, which is not installed completely.
    pub fn new(format: &str, rate: u32) -> Result<Self, String> {
        Ok(Self {
            decoder: match format {
                "opus" => Decoder::Opus(Stream::new(rate)?),
                _ => Decoder::Pcm(None),
            },
            format: AudioStream {
                format: format.to_owned(),
                rate,
                ..AudioStream::default()
            },
        })
    }

    /// Whether it consists of samples.
    pub fn is_pcm(&self) -> bool {
        matches!(self.decoder, Decoder::Pcm(_))
    }

    /// To remember that it begins.
    pub fn began(&self) -> Request {
        Request::Note(StreamNews::Began(self.format.clone()))
    }

    /// What bytes of it ask for, and a sentence that says what is wrong with those behind them.
    pub fn take(&mut self, bytes: Vec<u8>) -> (Vec<Request>, Result<(), String>) {
        match &mut self.decoder {
            Decoder::Pcm(half) => {
                let bytes: Vec<u8> = half.take().into_iter().chain(bytes).collect();
                if !bytes.len().is_multiple_of(2) {
                    *half = bytes.last().copied();
                }
                (vec![Request::Audio(pcm(&bytes))], Ok(()))
            }
            Decoder::Opus(stream) => {
                let mut decoded = Decoded::default();
                let result = stream.push(&bytes, &mut decoded);
                let news = StreamNews::Decoded(decoded.contents);
                let requests = vec![Request::Note(news), Request::Audio(decoded.pcm)];
                (requests, result.map_err(undecodable))
            }
        }
    }

    /// Checks that it may end here. The error is a sentence.
    pub fn finish(&self) -> Result<(), String> {
        match &self.decoder {
            Decoder::Pcm(_) => Ok(()),
            Decoder::Opus(stream) => stream.finish().map_err(undecodable),
        }
    }
}

fn undecodable(mistake: Mistake) -> String {
    format!("The audio cannot be decoded as opus: {mistake}.")
}
