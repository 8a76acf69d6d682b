// SPDX-License-Identifier: MPL-2.0
//! From transcripts to timed text. Pure cores: no clock, no threads, no GStreamer.

mod layout;
mod text;
mod track;

pub use layout::{Layout, cues, is_blank, normalise, tail};
pub use track::{Piece, Track};
