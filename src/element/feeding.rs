// SPDX-License-Identifier: MPL-2.0
//! Audio on its way from the [input](super::input) to the queues of sessions: pushed by the
//! streaming thread without the input's lock, since that may block for room.

use std::sync::Arc;

use super::uplink::{Refused, Uplink};
use crate::audio::{Coding, opus};
use crate::continuity::{Moved, Silence};
use crate::timeline::{Samples, Timestamp};

/// Audio ready to be pushed. Pushing can be resumed after an interruption.
pub struct Feeding {
    pub(super) takers: Takers,
    pub(super) moved: Option<Moved>,
    pub(super) coding: Coding,
    pub(super) silence: Option<Silence>,
    pub(super) jump: Option<Timestamp>,
    /// The first byte of a split sample, which precedes the audio.
    pub(super) odd_byte: Option<u8>,
    /// Samples of the first packet that are left out.
    pub(super) clipped: Samples,
    /// The buffers held back, then the buffer itself; empty for a gap.
    pub(super) held: std::vec::IntoIter<gst::Buffer>,
    pub(super) buffer: Option<gst::Buffer>,
}

/// The sessions that get the audio.
pub(super) struct Takers {
    pub(super) uplinks: Arc<[Arc<Uplink>]>,
    /// How many of them have got the piece of audio that is being pushed.
    pub(super) served: usize,
    /// Timestamp of the first audio, for a session that begins here.
    pub(super) start: Option<Timestamp>,
}

impl Feeding {
    /// Pushes the remaining audio. The input's lock must not be held: in a non-live pipeline this
    /// blocks for room.
    pub fn push(&mut self, element: &gst::Element) -> Result<(), Refused> {
        if let Some(moved) = self.moved.take() {
            for uplink in self.takers.uplinks.iter() {
                uplink.queue.move_since(moved);
            }
        }
        if let Some(silence) = self.silence {
            // Silence follows the audio before it, unless it is all there is.
            let is_all = self.buffer.is_none() && self.held.len() == 0;
            let jump = self.jump.filter(|_| is_all);
            let silence = self.coding.silence(silence.samples);
            self.takers.give(jump, &silence, element)?;
            self.silence = None;
        }
        while let Some(buffer) = self.held.as_slice().first().or(self.buffer.as_ref()) {
            let map = buffer.map_readable().map_err(|_| {
                gst::element_error!(
                    element,
                    gst::ResourceError::Read,
                    ["A buffer cannot be read."]
                );
                Refused::Over(gst::FlowError::Error)
            })?;
            if self.coding == Coding::Opus {
                let framed = opus::framed(&map, self.clipped).unwrap_or_default();
                self.takers.give(self.jump, &framed, element)?;
                (self.jump, self.clipped) = (None, Samples(0));
                drop(map);
                self.next();
                continue;
            }
            let odd = self
                .coding
                .rest(map.len() + usize::from(self.odd_byte.is_some()));
            let (whole, rest) = map.split_at(map.len().saturating_sub(odd));
            match self.odd_byte {
                Some(byte) if !whole.is_empty() => {
                    let joined = [&[byte], whole].concat();
                    self.takers.give(self.jump, &joined, element)?;
                }
                _ => self.takers.give(self.jump, whole, element)?,
            }
            let rest = rest.first().copied();
            if !map.is_empty() {
                (self.odd_byte, self.jump) = (rest, None);
            }
            drop(map);
            self.next();
        }
        Ok(())
    }

    /// The buffer at the front was pushed.
    fn next(&mut self) {
        if self.held.next().is_none() {
            self.buffer = None;
        }
    }
}

impl Takers {
    /// Gives whole samples or packets to the sessions that do not have them yet.
    fn give(
        &mut self,
        jump: Option<Timestamp>,
        audio: &[u8],
        element: &gst::Element,
    ) -> Result<(), Refused> {
        while let Some(uplink) = self.uplinks.get(self.served) {
            uplink.push(jump, self.start, audio, element)?;
            self.served += 1;
        }
        self.served = 0;
        if !audio.is_empty() {
            self.start = None;
        }
        Ok(())
    }
}
