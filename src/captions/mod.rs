// SPDX-License-Identifier: MPL-2.0
//! From transcripts to timed text. Pure cores: no clock, no threads, no GStreamer.

mod agreement;
mod curve;
mod layout;
mod rolling;
mod stable;
mod text;
mod tokens;
mod track;

pub use layout::{Layout, cues, is_blank, timed_cues};
pub use rolling::Rolling;
pub use stable::Stable;
pub use track::{Piece, Track};
