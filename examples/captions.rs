// SPDX-License-Identifier: MPL-2.0
//! Captions an audio or video file from Rust, with the installed plugin: depends on gstreamer-rs, and
//! on nothing of the plugin's own crate.
//!
//! ```toml
//! [dependencies]
//! gst = { package = "gstreamer", version = "0.25", features = ["v1_22"] }
//! ```
//!
//! Prints a cue for each utterance. The exit code tells what to do about a failure: 2 is for the
//! account or its key, 3 for a setting, 4 for what may work later, 1 for anything else. When whoever
//! reads the output goes away, it is 141, as a shell has it of other programs.

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::process::ExitCode;

use gst::glib;
use gst::prelude::*;

const SETTINGS: u8 = 3;

const READER_GONE: u8 = 141;

/// A span of an utterance or a word in the stream; there is none outside of its segment.
#[derive(Debug)]
struct Span {
    start: Option<gst::ClockTime>,
    duration: gst::ClockTime,
}

impl Span {
    fn of(structure: &gst::StructureRef) -> Option<Self> {
        // On the bus, a time is a guint64, and `Option<ClockTime>` reads it with none as `None`.
        Some(Self {
            start: structure.get("stream-time").ok()?,
            duration: structure.get("duration").ok()?,
        })
    }
}

impl std::fmt::Display for Span {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        match self.start {
            Some(start) => write!(f, "{start:.3} --> {:.3}", start + self.duration),
            None => f.write_str("-:--:--.--- --> -:--:--.---"),
        }
    }
}

/// Says what is in a message. Of the others, `qwenasr/stats` comes with stats-interval only, and
/// `qwenasr/speech-started` and `qwenasr/speech-stopped` are for a sign that lights up.
fn on_element_message(message: &gst::StructureRef) -> io::Result<()> {
    let text = |field| message.get::<&str>(field).unwrap_or_default();
    match message.name().as_str() {
        "qwenasr/transcript" => {
            // Not println!, which panics when its reader is gone.
            let cue = cue(message).unwrap_or_default();
            io::stdout().write_all(cue.as_bytes())?;
        }
        "qwenasr/connection" => eprintln!("{} {}", text("state"), text("reason")),
        "qwenasr/audio-lost" => {
            let lost: gst::ClockTime = message.get("duration").unwrap_or_default();
            eprintln!("{lost:.1} of audio lost: {}", text("reason"));
        }
        _ => {}
    }
    Ok(())
}

/// A final transcript in lines of text.
fn cue(transcript: &gst::StructureRef) -> Option<String> {
    let text: &str = transcript.get("text").ok()?;
    // A final without text closes an utterance of which nothing is left to say.
    if !transcript.get::<bool>("final").ok()? || text.is_empty() {
        return None;
    }
    let language: &str = transcript.get("language").ok()?;
    let mut cue = format!("{} [{language}] {text}\n", Span::of(transcript)?);
    // Where the service tells them, the times of words are a list of structures.
    let words = transcript.get::<gst::List>("words").ok();
    for word in words.iter().flat_map(|words| words.iter()) {
        let word = word.get::<gst::Structure>().ok()?;
        let text: &str = word.get("text").ok()?;
        writeln!(cue, "    {}  {text}", Span::of(&word)?).ok()?;
    }
    Some(cue)
}

/// What a program can make of an error.
fn code_of(error: &gst::message::Error) -> u8 {
    let Some(details) = error.details().filter(|d| d.name() == "qwenasr/error") else {
        return 1;
    };
    let kind = details.get::<&str>("kind").unwrap_or_default();
    let retryable = details.get::<bool>("retryable").unwrap_or_default();
    eprintln!("kind: {kind}\nretryable: {retryable}");
    if let Ok(remedy) = details.get::<&str>("remedy") {
        eprintln!("remedy: {remedy}");
    }
    if let Ok(status) = details.get::<u32>("http-status") {
        eprintln!("http-status: {status}");
    }
    match kind {
        "unauthorized" => 2,
        "settings" | "not-found" => SETTINGS,
        _ if retryable => 4,
        _ => 1,
    }
}

/// What it means that nothing can be printed any more.
fn code_of_output(error: &io::Error) -> u8 {
    if error.kind() == io::ErrorKind::BrokenPipe {
        return READER_GONE;
    }
    eprintln!("the output cannot be written: {error}");
    1
}

/// Handles messages until the pipeline ends.
fn run(pipeline: &gst::Pipeline) -> ExitCode {
    use gst::MessageView;

    let Some(bus) = pipeline.bus() else {
        return ExitCode::FAILURE;
    };
    // Why it does not start is on the bus.
    let _ = pipeline.set_state(gst::State::Playing);
    let mut code = ExitCode::FAILURE;
    for message in bus.iter_timed(gst::ClockTime::NONE) {
        match message.view() {
            MessageView::Element(element) => {
                let said = element.structure().map_or(Ok(()), on_element_message);
                if let Err(error) = said {
                    code = code_of_output(&error).into();
                    break;
                }
            }
            MessageView::Warning(warning) => eprintln!("warning: {}", warning.error()),
            MessageView::Latency(_) => {
                let _ = pipeline.recalculate_latency();
            }
            MessageView::Error(error) => {
                eprintln!("{}", error.error());
                if let (None, Some(debug)) = (error.details(), error.debug()) {
                    // Only there do other elements name the file.
                    eprintln!("{debug}");
                }
                code = code_of(error).into();
                break;
            }
            MessageView::Eos(_) => {
                code = ExitCode::SUCCESS;
                break;
            }
            _ => {}
        }
    }
    // Returns at once, whatever the network does.
    let _ = pipeline.set_state(gst::State::Null);
    code
}

/// What a property takes, if it is a number.
fn range(property: &glib::ParamSpec) -> Option<std::ops::RangeInclusive<f64>> {
    macro_rules! range {
        ($($kind:ident)*) => {$(
            if let Some(number) = property.downcast_ref::<glib::$kind>() {
                return Some(number.minimum() as f64..=number.maximum() as f64);
            }
        )*};
    }
    range!(ParamSpecUInt ParamSpecInt ParamSpecDouble ParamSpecUInt64 ParamSpecInt64);
    None
}

/// What a property has to be.
fn allowed(property: &glib::ParamSpec) -> String {
    if let Some(values) = glib::EnumClass::with_type(property.value_type()) {
        let nicks: Vec<&str> = values.values().iter().map(|value| value.nick()).collect();
        return nicks.join(" or ");
    }
    if let Some(range) = range(property) {
        return format!("from {} to {}", range.start(), range.end());
    }
    match property.value_type() {
        glib::Type::BOOL => "true or false".to_owned(),
        other if other == gst::Structure::static_type() => "like name,field=value".to_owned(),
        other => format!("a {other}"),
    }
}

/// Reads a value as `set_property_from_str()` does, which panics where it cannot.
fn value_of(text: &str, property: &glib::ParamSpec) -> Option<glib::Value> {
    // Nothing at all would be read as 0.
    if text.is_empty() && property.value_type() != glib::Type::STRING {
        return None;
    }
    let value = glib::Value::deserialize_with_pspec(text, property).ok()?;
    if property.value_type().is_a(glib::Type::ENUM) {
        glib::EnumValue::from_value(&value)?;
    }
    if let Some(range) = range(property) {
        let number = value.transform::<f64>().ok()?.get().ok()?;
        return range.contains(&number).then_some(value);
    }
    Some(value)
}

/// Sets a property from `PROPERTY=VALUE`, by nick if it is an enumeration.
fn set_property(element: &gst::Element, assignment: &OsStr) -> Result<(), String> {
    let parts = assignment.to_str().and_then(|text| text.split_once('='));
    let Some((name, text)) = parts else {
        return Err(format!("{} is no PROPERTY=VALUE", assignment.display()));
    };
    let Some(property) = element.find_property(name) else {
        return Err(format!(
            "{name} is no property; gst-inspect-1.0 qwenasrsink lists them"
        ));
    };
    if !property.flags().contains(glib::ParamFlags::WRITABLE) {
        return Err(format!("{name} is read-only"));
    }
    // Without what it was set to: that may be secret.
    let value = value_of(text, &property)
        .ok_or_else(|| format!("{name} has to be {}", allowed(&property)))?;
    element.set_property_from_value(name, &value);
    Ok(())
}

/// The pipeline that captions a file, and the recogniser in it.
fn pipeline(file: &OsStr) -> Result<(gst::Pipeline, gst::Element), glib::BoolError> {
    let make = |name| gst::ElementFactory::make(name);
    let source = make("filesrc").build()?;
    source.set_property("location", std::path::Path::new(file));
    let decoder = make("decodebin").build()?;
    let convert = make("audioconvert").build()?;
    let resample = make("audioresample").build()?;
    let recogniser = make("qwenasrsink").build()?;
    let pipeline = gst::Pipeline::new();
    pipeline.add_many([&source, &decoder, &convert, &resample, &recogniser])?;
    source.link(&decoder)?;
    gst::Element::link_many([&convert, &resample, &recogniser])?;
    // Its pads come when it knows what is in the file.
    decoder.connect_pad_added(move |_, pad| {
        let sink = convert.static_pad("sink");
        let is_audio = pad
            .query_caps(None)
            .iter()
            .any(|caps| caps.name() == "audio/x-raw");
        if let Some(sink) = sink.filter(|sink| is_audio && !sink.is_linked()) {
            let _ = pad.link(&sink);
        }
    });
    Ok((pipeline, recogniser))
}

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let Some((file, properties)) = arguments.split_first() else {
        eprintln!("usage: captions FILE [PROPERTY=VALUE ...]");
        return ExitCode::FAILURE;
    };
    if let Err(error) = gst::init() {
        eprintln!("{error}");
        return ExitCode::FAILURE;
    }
    let (pipeline, recogniser) = match pipeline(file) {
        Ok(made) => made,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    for property in properties {
        if let Err(error) = set_property(&recogniser, property) {
            eprintln!("{error}");
            return SETTINGS.into();
        }
    }
    run(&pipeline)
}
