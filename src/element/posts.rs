// SPDX-License-Identifier: MPL-2.0
//! Posts messages on an element's bus: the ERRORs and WARNINGs, with a line in the log, and element
//! messages. What is in them comes from [`messages`]. No lock may be held.

use gst::prelude::*;

use super::{CAT, messages};
use crate::net::Lost;
use crate::protocol::Failure;

pub(super) fn post(element: &gst::Element, structure: gst::Structure) {
    let message = gst::message::Element::builder(structure)
        .src(element)
        .build();
    // Fails only without a bus: then there is no recipient.
    let _ = element.post_message(message);
}

/// Posts the WARNINGs of settings that have no effect.
pub fn post_without_effect(element: &gst::Element, settings: &[String]) {
    for what in settings {
        gst::warning!(CAT, obj = element, "{what}");
        let message = gst::message::Warning::builder(gst::ResourceError::Settings, what)
            .src(element)
            .build();
        let _ = element.post_message(message);
    }
}

/// Posts the one ERROR of a failure; `target` is the language of the translation that it concerns.
pub fn post_failure(element: &gst::Element, failure: &Failure, target: Option<&str>) {
    let text = format!("{failure}{}", concerning(target));
    gst::error!(CAT, obj = element, "{text}");
    let error = messages::error_of(failure.kind, &text);
    let message = gst::message::Error::builder_from_error(error)
        .details(messages::details_of(failure, target))
        .src(element)
        .build();
    let _ = element.post_message(message);
}

/// Which translation a failure concerns, as a sentence.
fn concerning(target: Option<&str>) -> String {
    let target = target.filter(|target| !target.is_empty());
    target.map_or_else(String::new, |target| {
        format!(" This concerns the translation into {target}.")
    })
}

/// Posts the one WARNING of an outage; `next` is a sentence on what happens next, and `target` the
/// language of the translation that it concerns.
pub fn post_outage(element: &gst::Element, failure: &Failure, next: &str, target: Option<&str>) {
    post_warning(element, failure, &format!("{failure} {next}"), target);
}

/// Posts the one WARNING of a model that is `gone`, where there is a `next` one.
pub(super) fn post_next_model(
    element: &gst::Element,
    failure: &Failure,
    gone: &str,
    next: &str,
    target: Option<&str>,
) {
    let property = match target {
        Some(_) => "translation-model",
        None => "model",
    };
    let text = format!(
        "{} From now on '{next}' is used instead of '{gone}', as the {property} property says.",
        failure.what
    );
    post_warning(element, failure, &text, target);
}

fn post_warning(element: &gst::Element, failure: &Failure, text: &str, target: Option<&str>) {
    let text = format!("{text}{}", concerning(target));
    gst::warning!(CAT, obj = element, "{text}");
    let error = messages::error_of(failure.kind, &text);
    let message = gst::message::Warning::builder_from_error(error)
        .details(messages::details_of(failure, target))
        .src(element)
        .build();
    let _ = element.post_message(message);
}

/// Posts a WARNING that live text arrived `delay` milliseconds after it was spoken.
pub fn post_excessive_delay(element: &gst::Element, delay: u32) {
    let text =
        format!("Text came {delay} ms after it was said, more than latency and lateness allow.");
    post_clock_warning(element, &text, messages::excessive_delay(delay));
}

/// Posts a WARNING that text is shown `late` milliseconds too late, although it arrived in time.
pub fn post_late_text(element: &gst::Element, late: u32) {
    let text = format!(
        "Text is shown {late} ms too late, after what had left the src pad before. Look for timestamps \
         that leap or go back; or else the service left an utterance open."
    );
    post_clock_warning(element, &text, messages::late_text(late));
}

/// Posts a WARNING that the service repeated the same words this often in one utterance.
pub fn post_repeats(element: &gst::Element, repeats: usize) {
    let text = format!(
        "The service repeated the same words {repeats} times: the text on the pad has them three \
         times. Where that comes again, try another model, or a smaller vad-silence-duration."
    );
    gst::warning!(CAT, obj = element, "{text}");
    let message = gst::message::Warning::builder(gst::StreamError::Decode, &text)
        .src(element)
        .build();
    let _ = element.post_message(message);
}

fn post_clock_warning(element: &gst::Element, text: &str, details: gst::Structure) {
    gst::warning!(CAT, obj = element, "{text}");
    let message = gst::message::Warning::builder(gst::CoreError::Clock, text)
        .details(details)
        .src(element)
        .build();
    let _ = element.post_message(message);
}

/// Reports audio for which there will be no text.
pub(super) fn post_audio_lost(
    element: &gst::Element,
    lost: Lost,
    reason: &str,
    segment: &gst::FormattedSegment<gst::ClockTime>,
    target: Option<&str>,
) {
    gst::debug!(CAT, obj = element, "{lost:?}: {reason}");
    post(
        element,
        messages::audio_lost(lost.time, lost.duration, reason, segment, target),
    );
}
