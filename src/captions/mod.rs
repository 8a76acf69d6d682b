// SPDX-License-Identifier: MPL-2.0
//! From transcripts to timed text. Pure cores: no clock, no threads, no GStreamer.
//!
//! [`Captioner`] is the face of this room, see there. Behind it:
//!
//! - `layout`, cues of a finished utterance, broken as `lines` says; `rolling`, the line that is being spoken; `stable`,
//!   words that are never retracted, by `agreement` of successive hypotheses and
//!   `alignment` with what was shown;
//! - `text`, `tokens` and `curve`, what texts are made of and when each part was spoken; `pace`,
//!   the delay of the service, as learnt from it; `translations`, where that matters to rolling lines;
//! - `track`, which puts all that in order on the pad.

mod agreement;
mod alignment;
mod captioner;
mod curve;
mod layout;
mod lines;
mod loops;
mod pace;
mod rolling;
mod stable;
mod text;
mod tokens;
mod track;
mod translations;

pub use captioner::{Captioner, HEARTBEAT, Mode};
pub use layout::Layout;
pub use track::Piece;
