// SPDX-License-Identifier: MPL-2.0

//! Files with translations, beside that with what is said.

use std::path::Path;

use gst::prelude::*;

use super::format::Format;
use super::{make, pad, to_stream_time};

/// Has the translation into this language written beside `output`: `talk.fr.srt` for `talk.srt`.
pub fn add(
    pipeline: &gst::Pipeline,
    recogniser: &gst::Element,
    language: &str,
    output: &Path,
    format: Format,
) -> Result<(), String> {
    let translation = recogniser.request_pad_simple("translate_src_%u");
    let translation = translation.ok_or("The recogniser has no more pads for translations.")?;
    translation.set_property("language-code", language);
    let text = make("capsfilter")?;
    let caps = gst::Caps::builder("text/x-raw").field("format", format.text);
    text.set_property("caps", caps.build());
    let (encoder, file) = (make(format.encoder)?, make("filesink")?);
    let extension = output.extension().unwrap_or_default().to_string_lossy();
    let path = output.with_extension(format!("{language}.{extension}"));
    file.set_property("location", &path);
    file.set_property("async", false);
    let elements = [&text, &encoder, &file];
    pipeline
        .add_many(elements)
        .and_then(|()| gst::Element::link_many(elements))
        .map_err(|error| format!("{error}."))?;
    translation
        .link(&pad(&text, "sink")?)
        .map_err(|error| format!("{error}."))?;
    let src = pad(&text, "src")?;
    src.add_probe(gst::PadProbeType::BUFFER, |pad, info| {
        if let Some(gst::PadProbeData::Buffer(buffer)) = &mut info.data {
            to_stream_time(pad, buffer.make_mut());
        }
        gst::PadProbeReturn::Ok
    });
    Ok(())
}
