// SPDX-License-Identifier: MPL-2.0
//! A GStreamer plugin that captions speech: audio goes to Alibaba's Qwen-ASR-Realtime service, or to
//! a server of its kin, over a WebSocket, and comes back as timed text.
//!
//! - `qwenasr` takes audio and gives text on its src pad, for live streams and files;
//! - `qwenasrsink` takes audio and posts messages only.
//!
//! What they do for their users, with all properties and messages, is in `docs/reference.md`. Here is
//! how an application has them without a plugin file, and then what a reader of the source should
//! know first.
//!
//! # In an application
//!
//! With this crate among its dependencies, an application in Rust registers the elements itself:
//!
//! ```no_run
//! use gst::prelude::*;
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     gst::init()?;
//!     gstqwenasr::plugin_register_static()?;
//!     let pipeline = gst::parse::launch(
//!         "autoaudiosrc ! audioconvert ! audioresample ! qwenasrsink language-code=en",
//!     )?;
//!     pipeline.set_state(gst::State::Playing)?;
//!     let bus = pipeline.bus().ok_or("a pipeline has a bus")?;
//!     for message in bus.iter_timed(gst::ClockTime::NONE) {
//!         match message.view() {
//!             gst::MessageView::Element(said) => println!("{:?}", said.structure()),
//!             gst::MessageView::Error(error) => return Err(error.error().into()),
//!             gst::MessageView::Eos(_) => break,
//!             _ => {}
//!         }
//!     }
//!     pipeline.set_state(gst::State::Null)?;
//!     Ok(())
//! }
//! ```
//!
//! Applications in C link the static library that cargo-c makes, and say
//! `GST_PLUGIN_STATIC_DECLARE(qwenasr)` and `GST_PLUGIN_STATIC_REGISTER(qwenasr)`.
//!
//! # The run loop
//!
//! ```text
//!  upstream's thread      network thread, one for 250 sessions       task of the src pad
//! ┌─────────────────┐   ┌──────────────────────────────────────┐   ┌────────────────────┐
//! │ element         │   │ net::driver, a loop for each session │   │ transcriber        │
//! │                 │   │                                      │   │                    │
//! │ clip and align ─┼──▶│ queue ──audio──▶ ┌───────────┐       │   │  ┌──────────┐      │
//! │ the audio       │   │                  │ session   ├─texts─┼──▶│─▶│ captions │      │
//! │                 │   │ socket ◀─frames─▶│  protocol │       │   │  └────┬─────┘      │
//! │ events ─────────┼───┼──────────────────┼───────────┼───────┼──▶│       ▼            │
//! │                 │   │ clock ──time───▶ └─────┬─────┘       │   │  push text, gaps,  │
//! │                 │   │                        │             │   │  events in order   │
//! └─────────────────┘   └────────────────────────┼─────────────┘   └────────────────────┘
//!                                                ▼
//!                                       messages on the bus
//! ```
//!
//! `session::Session` has neither sockets nor a clock. Whatever happens goes in through its
//! `handle_…`, with the time; what is to be done comes out of `poll_output`, and `poll_timeout` says
//! when to look again. The driver waits for whichever comes first of audio, network, deadline and the
//! wish to stop, and does that in a loop.
//!
//! # What always holds
//!
//! - In a live pipeline upstream's thread waits for nothing. In another one it waits for room in the
//!   queue, and a flush or a state change frees it at once.
//! - Each utterance with interim text has exactly one final; finals come in the order of speech, under
//!   one number over all connections.
//! - What has left the src pad in `final` and `stable` is never taken back, and timestamps never go
//!   back within a segment. The pad's own task is the only one that pushes.
//! - Audio is recognised, or reported as lost.
//! - There is one error for a failure, which says what to do, and no secret in it.
//! - Nothing that comes from the network, from upstream or from a property panics.
//! - No lock is held while pushing, posting, querying, reading a file or awaiting.
//!
//! # Where to read on
//!
//! `docs/architecture.md` has the rooms, the threads, the walk of a buffer and of a text, and how to
//! add a protocol, a property or a recipe; `CONTRIBUTING.md` how to test. Then read the module
//! `session` from its top, and one of the codecs in `protocol`. The modules are private:
//! `cargo doc --document-private-items` shows them.

use gst::glib;

mod audio;
mod captions;
mod continuity;
mod element;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod net;
#[cfg(test)]
mod property_testing;
mod protocol;
mod session;
mod sink;
mod timeline;
mod transcriber;
mod transcript;

fn plugin_init(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    element::mark_as_api();
    transcriber::register(plugin)?;
    sink::register(plugin)
}

gst::plugin_define!(
    qwenasr,
    env!("CARGO_PKG_DESCRIPTION"),
    plugin_init,
    concat!(env!("CARGO_PKG_VERSION"), "-", env!("COMMIT_ID")),
    "MPL",
    env!("CARGO_PKG_NAME"),
    env!("CARGO_PKG_NAME"),
    env!("CARGO_PKG_REPOSITORY"),
    env!("BUILD_REL_DATE")
);
