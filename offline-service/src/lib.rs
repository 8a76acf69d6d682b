// SPDX-License-Identifier: MPL-2.0

//! An offline stand-in for the Qwen-ASR-Realtime service, for the successors of its models and
//! for servers to host oneself: one core, spoken to in any [`Protocol`].
//!
//! [`serve_until`] is the service as a program offers it; [`Server`] is the same service within a
//! test, which can look at what it received and switch on [`Faults`]. What it recognises is up
//! to a [`Recogniser`]: [`moonshine`] and [`sphinx`] recognise English speech,
//! [`BlockRecogniser`] numbered test audio, [`ToneRecogniser`] the same after a lossy codec, and
//! [`ScriptRecogniser`] says what it was told to.

pub mod blocks;
mod caption;
mod connection;
mod core;
mod dialect;
pub mod faults;
mod filter;
mod handshake;
pub mod moonshine;
pub mod opus;
pub mod recogniser;
pub mod record;
pub mod recordings;
mod registry;
mod resample;
pub mod script;
pub mod server;
pub mod session;
pub mod sphinx;
pub mod tones;
mod translation;
mod vad;
mod words;

pub use blocks::BlockRecogniser;
pub use dialect::Protocol;
pub use faults::{Faults, Items, RawFrame};
pub use recogniser::{Factory, Hypothesis, Recogniser};
pub use record::{AudioStream, ClientEvent, End, SessionRecord};
pub use registry::{Notice, Observer};
pub use script::{ScriptItem, ScriptRecogniser};
pub use server::{Options, Server, serve_until};
pub use tones::ToneRecogniser;
pub use vad::{Level, VadOptions};
pub use words::Span;
