// SPDX-License-Identifier: MPL-2.0
//! Builds the element messages, and the errors as applications see them. Called by
//! [`report`](super::report); posts nothing itself.

use std::borrow::Cow;
use std::time::Duration;

use gst::glib;

use super::clock_time;
use super::enums::ConnectionState;
use crate::protocol::{Failure, Kind};
use crate::session::Patience;
use crate::timeline::{Timestamp, nanos};
use crate::transcript::{Transcript, Word};

/// A timestamp as messages carry it: timestamp, running time, stream time.
struct Clocks {
    timestamp: gst::ClockTime,
    running_time: Option<gst::ClockTime>,
    stream_time: Option<gst::ClockTime>,
}

impl Clocks {
    fn new(segment: &gst::FormattedSegment<gst::ClockTime>, time: Timestamp) -> Self {
        let timestamp = clock_time(time.nanos());
        Clocks {
            timestamp,
            running_time: segment.to_running_time(timestamp),
            stream_time: segment.to_stream_time(timestamp),
        }
    }

    /// Adds the times as `u64` nanoseconds; a time outside the segment is `GST_CLOCK_TIME_NONE`.
    fn add_to(self, builder: gst::structure::Builder) -> gst::structure::Builder {
        builder
            .field("timestamp", self.timestamp)
            .field("running-time", self.running_time)
            .field("stream-time", self.stream_time)
    }
}

pub(super) fn transcript(
    transcript: &Transcript,
    is_final: bool,
    segment: &gst::FormattedSegment<gst::ClockTime>,
    session_id: &str,
    translation: &str,
) -> gst::Structure {
    let builder = gst::Structure::builder("qwenasr/transcript")
        .field("text", transcript.text.as_str())
        .field("stash", transcript.stash.as_str())
        .field("final", is_final)
        .field(
            "language",
            transcript.language.as_deref().unwrap_or_default(),
        )
        .field("translation", translation)
        .field("emotion", transcript.emotion.as_deref().unwrap_or_default())
        .field(
            "speaker",
            transcript
                .speaker
                .and_then(|speaker| i32::try_from(speaker).ok())
                .unwrap_or(-1),
        )
        .field("item-id", transcript.item_id.as_str())
        .field("seq", transcript.seq)
        .field("session-id", session_id)
        .field("duration", clock_time(nanos(transcript.span.length())))
        .field_if_not_empty::<gst::List, _>("words", words(transcript, segment));
    Clocks::new(segment, transcript.span.start)
        .add_to(builder)
        .build()
}

/// The words with their times, where the service reports them.
fn words(
    transcript: &Transcript,
    segment: &gst::FormattedSegment<gst::ClockTime>,
) -> Vec<gst::Structure> {
    let word = |word: &Word| {
        let builder = gst::Structure::builder("word")
            .field("text", word.text.as_str())
            .field("duration", clock_time(nanos(word.span.length())));
        Clocks::new(segment, word.span.start)
            .add_to(builder)
            .build()
    };
    transcript.words.iter().map(word).collect()
}

pub(super) fn speech(
    name: &str,
    item_id: &str,
    time: Timestamp,
    segment: &gst::FormattedSegment<gst::ClockTime>,
) -> gst::Structure {
    let builder = gst::Structure::builder(name).field("item-id", item_id);
    Clocks::new(segment, time).add_to(builder).build()
}

/// `target` is the language of the translation that it is about, as in the other messages.
pub(super) fn connection(
    state: ConnectionState,
    reason: &str,
    session_id: &str,
    target: Option<&str>,
) -> gst::Structure {
    gst::Structure::builder("qwenasr/connection")
        .field("state", state.nick())
        .field("reason", reason)
        .field("session-id", session_id)
        .field("translation", target.unwrap_or_default())
        .build()
}

pub(super) fn audio_lost(
    time: Timestamp,
    duration: Duration,
    reason: &str,
    segment: &gst::FormattedSegment<gst::ClockTime>,
    target: Option<&str>,
) -> gst::Structure {
    let builder = gst::Structure::builder("qwenasr/audio-lost")
        .field("translation", target.unwrap_or_default())
        .field("duration", clock_time(nanos(duration)))
        .field("reason", reason);
    Clocks::new(segment, time).add_to(builder).build()
}

/// The details of the WARNING about a delay, given in milliseconds.
pub(super) fn excessive_delay(delay: u32) -> gst::Structure {
    gst::Structure::builder("qwenasr/excessive-delay")
        .field(
            "new-observed-max-delay",
            gst::ClockTime::from_mseconds(delay.into()),
        )
        .build()
}

/// The details of the WARNING about text shown too late, by `late` milliseconds.
pub(super) fn late_text(late: u32) -> gst::Structure {
    gst::Structure::builder("qwenasr/late-text")
        .field("late-by", gst::ClockTime::from_mseconds(late.into()))
        .build()
}

/// The GStreamer error for a failure.
pub(super) fn error_of(kind: Kind, text: &str) -> glib::Error {
    match kind {
        Kind::Unauthorized => glib::Error::new(gst::ResourceError::NotAuthorized, text),
        Kind::NotFound | Kind::NoModel | Kind::UnknownHost => {
            glib::Error::new(gst::ResourceError::NotFound, text)
        }
        Kind::Settings => glib::Error::new(gst::ResourceError::Settings, text),
        Kind::Limit => glib::Error::new(gst::ResourceError::NoSpaceLeft, text),
        Kind::Unreachable => glib::Error::new(gst::ResourceError::OpenReadWrite, text),
        Kind::Lost => glib::Error::new(gst::ResourceError::Read, text),
    }
}

/// What happens next in an outage, as the sentence that ends its WARNING.
pub(super) fn next_attempts(patience: Patience) -> Cow<'static, str> {
    match patience {
        Patience::Unknown => "Trying again.".into(),
        Patience::Unlimited => "Trying again until it works.".into(),
        Patience::FirstConnection => "Trying again, for about a minute at most.".into(),
        Patience::Attempts(1) => "Trying once again.".into(),
        Patience::Attempts(times) => format!("Trying again, {times} times at most.").into(),
    }
}

/// The machine-readable details of a failure.
pub(super) fn details_of(failure: &Failure, target: Option<&str>) -> gst::Structure {
    let mut details = gst::Structure::builder("qwenasr/error")
        .field("kind", failure.kind.nick())
        .field("retryable", failure.kind.retryable())
        .field("translation", target.unwrap_or_default())
        .field("remedy", failure.remedy.as_str());
    if let Some(status) = failure.http_status {
        details = details.field("http-status", u32::from(status));
    }
    if let Some(code) = failure.close_code {
        details = details.field("close-code", u32::from(code));
    }
    if let Some(code) = &failure.code {
        details = details.field("code", code.to_string());
    }
    details.build()
}
