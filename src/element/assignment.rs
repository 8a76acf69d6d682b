// SPDX-License-Identifier: MPL-2.0
//! What a session is for: made by the elements, which know what is wanted; taken by the
//! [uplink](super::uplink) and the [report](super::report).

use super::settings::Job;
use super::stats::Stats;
use crate::audio::Format;

/// For which of an element's purposes a session is: [`MAIN`], or one of its translations.
pub type Key = u32;

/// The key of the session whose model is that of the model property.
pub const MAIN: Key = 0;

/// What a session is for, and where its results go.
pub struct Assignment<T> {
    pub key: Key,
    pub job: Job,
    pub outputs: Outputs<T>,
    pub stats: Stats,
    /// Has a property connection-state, whose changes are notified.
    pub owner: Option<gst::Object>,
}

impl<T> Assignment<T> {
    /// The language translated into, if that is all the session is for.
    pub fn target(&self) -> Option<String> {
        match &self.job {
            Job::Model { .. } => None,
            Job::Translation { target } => Some(target.clone()),
        }
    }
}

/// The audio that a session is for.
pub struct Stretch {
    pub format: Format,
    pub segment: gst::FormattedSegment<gst::ClockTime>,
    pub live: bool,
}

/// Where a session's results go.
pub struct Outputs<T> {
    /// What was said; without this, it is not reported at all, as another session does that.
    pub source: Option<T>,
    /// The translation.
    pub translation: Option<T>,
}

impl<T> Outputs<T> {
    pub fn each(&mut self) -> impl Iterator<Item = &mut T> {
        self.source.iter_mut().chain(&mut self.translation)
    }
}
