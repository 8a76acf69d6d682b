// SPDX-License-Identifier: MPL-2.0
//! The formats of audio that the sink pads take: their caps, and what their buffers hold.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use gst::prelude::*;

use super::CAT;
use super::posts::post_failure;
use crate::audio::{Coding, Format, opus};
use crate::protocol::{Failure, Kind, Statement};
use crate::timeline::{Samples, nanos};

const OPUS: &str = "audio/x-opus";

/// The rate of the recognisers' models, in Hz: they hear no more at a higher one.
const MODEL_RATE: u32 = 16_000;

/// What the pads of the elements take, whatever the settings. What comes over RTP says two channels
/// also where each packet has one.
pub fn audio_caps() -> gst::Caps {
    caps_of(
        &[MODEL_RATE, 8_000, 24_000],
        gst::IntRange::<i32>::new(1, 2),
    )
}

/// What to ask upstream for, of what it says it can do, if the settings call for these rates.
/// Encoders take two channels where they may. Other audio is asked for only if upstream insists on
/// it: then the session says what is wrong.
pub(super) fn wanted_caps(rates: &[u32], filter: Option<&gst::Caps>) -> gst::Caps {
    let of_filter = |caps: gst::Caps| match filter {
        Some(filter) => filter.intersect_with_mode(&caps, gst::CapsIntersectMode::First),
        None => caps,
    };
    let wanted = of_filter(caps_of(rates, 1i32));
    if wanted.is_empty() {
        of_filter(audio_caps())
    } else {
        wanted
    }
}

/// Rates in order of preference. Opus comes after what need not be decoded again by anybody.
fn caps_of(rates: &[u32], channels: impl Into<gst::glib::Value> + Send) -> gst::Caps {
    let mut caps = gst::Caps::new_empty();
    // A list has no order for those who look for the nearest rate.
    let (low, high): (Vec<i32>, Vec<i32>) = rates
        .iter()
        .map(|rate| *rate as i32)
        .partition(|rate| *rate <= MODEL_RATE as i32);
    for rates in [low, high].into_iter().filter(|rates| !rates.is_empty()) {
        let raw = gst_audio::AudioCapsBuilder::new_interleaved()
            .format(gst_audio::AudioFormat::S16le)
            .rate_list(rates)
            .channels(1)
            .build();
        caps.make_mut().append(raw);
    }
    let opus = gst::Structure::builder(OPUS)
        .field("channels", channels)
        .field("channel-mapping-family", 0i32)
        .build();
    caps.make_mut().append_structure(opus);
    caps
}

/// The format that these caps stand for, if they are of [`audio_caps`].
pub fn format_of(caps: &gst::CapsRef) -> Option<Format> {
    let structure = caps.structure(0)?;
    let coding = match structure.name().as_str() {
        OPUS => Coding::Opus,
        _ => Coding::Pcm,
    };
    let rate = u32::try_from(structure.get::<i32>("rate").unwrap_or_default());
    let rate = match (coding, rate) {
        (Coding::Pcm, Ok(rate @ 1..)) => rate,
        (Coding::Pcm, _) => return None,
        // What was encoded. The service tells these two apart; decoders can do any.
        (Coding::Opus, Ok(8_000)) => 8_000,
        (Coding::Opus, _) => MODEL_RATE,
    };
    Some(Format { coding, rate })
}

/// The part of a buffer that lies within the segment; a packet stays whole. `None` if there is nothing
/// in it that could be sent.
///
/// # Errors
///
/// If it is Opus with two channels.
pub(super) fn clip(
    buffer: gst::Buffer,
    segment: &gst::FormattedSegment<gst::ClockTime>,
    format: Format,
) -> Result<Option<gst::Buffer>, Failure> {
    match format.coding {
        Coding::Pcm => {
            let (segment, frame) = (segment.upcast_ref(), format.coding.frame_bytes() as u32);
            let clipped = gst_audio::audio_buffer_clip(buffer, segment, format.rate, frame);
            Ok(clipped)
        }
        Coding::Opus => Ok(is_wanted(&buffer, segment)?.then_some(buffer)),
    }
}

/// Whether there is a packet in the buffer, within the segment.
fn is_wanted(
    buffer: &gst::BufferRef,
    segment: &gst::FormattedSegment<gst::ClockTime>,
) -> Result<bool, Failure> {
    let Ok(map) = buffer.map_readable() else {
        return Ok(false);
    };
    // Demuxers hand on the headers of a file.
    if map.starts_with(b"OpusHead") || map.starts_with(b"OpusTags") {
        return Ok(false);
    }
    let Some(samples) = opus::length(&map) else {
        gst::warning!(CAT, "a buffer of {} bytes is no Opus packet", map.len());
        return Ok(false);
    };
    if opus::is_stereo(&map) {
        let what = "This is Opus with two channels";
        return Err(refused(what.into(), DECODE_OPUS));
    }
    let length = gst::ClockTime::from_nseconds(nanos(samples.duration(opus::CLOCK_RATE)));
    let is_within = |pts| segment.clip(pts, pts + length).is_some();
    Ok(buffer.pts().is_none_or(is_within))
}

/// Number of samples at the beginning of a packet that are not part of the stream: an encoder's
/// look-ahead.
pub(super) fn lookahead(buffer: &gst::BufferRef) -> Samples {
    let start = buffer
        .meta::<gst_audio::AudioClippingMeta>()
        .map(|meta| meta.start());
    match start {
        Some(gst::GenericFormattedValue::Default(Some(samples))) => Samples(*samples),
        Some(gst::GenericFormattedValue::Time(Some(time))) => {
            Samples::within(time.into(), opus::CLOCK_RATE)
        }
        _ => Samples(0),
    }
}

/// Posts an ERROR for audio that the element cannot take. Elements find that out from each other, so
/// what a demuxer or decoder has would only be an error of theirs, which tells neither the cause nor
/// the remedy.
///
/// Before each CAPS event a sink pad is asked whether it takes them. A "no" is also an answer for
/// elements that merely look around, so it only has the pad watched: what upstream sends in spite of
/// it comes again with what follows. Watching makes each buffer dearer, and ends with the next caps
/// that are taken.
#[derive(Debug, Default)]
pub struct RefusedCaps {
    is_watched: Arc<AtomicBool>,
}

impl RefusedCaps {
    /// The answer to a query was given.
    pub fn answered(&self, sink_pad: &gst::Pad, query: &gst::QueryRef) {
        if let gst::QueryView::AcceptCaps(accept) = query.view()
            && !accept.result()
            && !self.is_watched.swap(true, Ordering::Relaxed)
        {
            self.watch(sink_pad);
        }
    }

    fn watch(&self, sink_pad: &gst::Pad) {
        let is_watched = self.is_watched.clone();
        sink_pad.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, move |pad, info| {
            let Some(gst::EventView::Caps(event)) = info.event().map(|event| event.view()) else {
                return gst::PadProbeReturn::Ok;
            };
            if event.caps().can_intersect(&audio_caps()) {
                is_watched.store(false, Ordering::Relaxed);
                return gst::PadProbeReturn::Remove;
            }
            if let Some(element) = pad.parent_element() {
                post_failure(&element, &refused_caps(event.caps()), None);
            }
            gst::PadProbeReturn::Ok
        });
    }
}

const DECODE_OPUS: &str =
    "Decode it: put opusdec ! audioconvert ! audioresample before the element.";

fn refused_caps(caps: &gst::CapsRef) -> Failure {
    let name = caps.structure(0).map(|structure| structure.name().as_str());
    let remedy = match name {
        Some("audio/x-raw") => "Put audioconvert ! audioresample before the element.",
        Some(OPUS) => DECODE_OPUS,
        _ => "Decode it: put decodebin ! audioconvert ! audioresample before the element.",
    };
    let what = match name {
        Some(OPUS) => "This is Opus with more than one channel: ",
        _ => "This is not audio of 16, 24 or 8 kHz with one channel and 16 bits: ",
    };
    refused(
        Statement::from(what).quoting(caps.to_string().as_str()),
        remedy,
    )
}

fn refused(what: Statement, remedy: &str) -> Failure {
    Failure::new(Kind::Settings, what.then("."), remedy)
}
