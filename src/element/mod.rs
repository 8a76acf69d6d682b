// SPDX-License-Identifier: MPL-2.0
//! The code shared by both elements: settings, the path of the audio into a session, and the
//! messages about its results.

mod assignment;
mod base;
mod completion;
mod enums;
mod feeding;
mod format;
mod input;
mod losses;
mod messages;
mod missing;
mod poster;
mod posts;
mod properties;
mod report;
mod settings;
mod stats;
mod stats_timer;
mod uplink;

use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use gst::glib;

pub use assignment::{Assignment, Key, MAIN, Outputs, Stretch};
pub use base::{Base, Feed, PREVIOUS, post_went_back};
pub use enums::{ConnectionState, Results, mark_as_api};
pub use feeding::Feeding;
pub use format::{RefusedCaps, audio_caps, format_of};
pub use input::{Input, is_live};
pub use posts::{post_excessive_delay, post_late_text, post_outage, post_repeats};
pub use properties::{Settings, message_property_specs, property_specs, text_property_specs};
pub use report::{TextOutput, Waker};
pub use settings::Job;
pub use stats::Stats;
pub use uplink::{Refused, Uplink};

/// Levels: WARNING for problems a user should fix, DEBUG for sessions and their states, LOG for
/// speech and text events, TRACE for every buffer and the text itself.
pub static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new(
        "qwenasr",
        gst::DebugColorFlags::empty(),
        Some("Captions with the Qwen-ASR-Realtime service"),
    )
});

/// Converts nanoseconds to a clock time; `u64::MAX`, GStreamer's "no time", is avoided.
pub fn clock_time(nanoseconds: u64) -> gst::ClockTime {
    gst::ClockTime::from_nseconds(nanoseconds.min(u64::MAX - 1))
}

/// Locks a mutex, ignoring poison: no thread leaves the data half-changed, so a panic elsewhere
/// need not cause another one here.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An element whose utterances the application can end.
pub trait Commit {
    fn commit(&self);
}

/// The action signal `commit`.
pub fn commit_signal<T>() -> glib::subclass::Signal
where
    T: glib::subclass::types::ObjectSubclass + Commit,
    T::Type: glib::object::IsA<glib::Object>,
{
    glib::subclass::Signal::builder("commit")
        .action()
        .class_handler(|args| {
            use glib::subclass::prelude::*;
            if let Ok(object) = args[0].get::<T::Type>() {
                T::from_obj(&object).commit();
            }
            None
        })
        .build()
}

/// Whether the event is the custom event equivalent to the signal, but serialised with the stream.
pub fn is_commit(event: &gst::Event) -> bool {
    event.type_() == gst::EventType::CustomDownstream
        && event
            .structure()
            .is_some_and(|structure| structure.name() == "qwenasr/commit")
}
