// SPDX-License-Identifier: MPL-2.0
//! From transcripts to timed text. Pure cores: no clock, no threads, no GStreamer.

mod commit;
mod layout;
mod rolling;
mod stable;
mod text;
mod track;
mod words;

pub use layout::{Layout, cues, is_blank, timed_cues};
pub use rolling::Rolling;
pub use stable::Stable;
pub use track::{Piece, Track};
