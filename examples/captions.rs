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
//! account or its key, 3 for a setting, 4 for what may work later, 1 for anything else.

use std::process::ExitCode;

use gst::prelude::*;

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

fn on_element_message(message: &gst::StructureRef) -> Option<()> {
    match message.name().as_str() {
        "qwenasr/connection" => {
            let state: &str = message.get("state").ok()?;
            let reason: &str = message.get("reason").ok()?;
            eprintln!("{state} {reason}");
        }
        "qwenasr/transcript" if message.get("final").ok()? => {
            let text: &str = message.get("text").ok()?;
            // A final without text closes an utterance of which nothing is left to say.
            if !text.is_empty() {
                let language: &str = message.get("language").ok()?;
                println!("{} [{language}] {text}", Span::of(message)?);
                print_words(message);
            }
        }
        _ => {}
    }
    Some(())
}

/// Where the service tells them, the times of words are a list of structures.
fn print_words(transcript: &gst::StructureRef) {
    let Ok(words) = transcript.get::<gst::List>("words") else {
        return;
    };
    for word in words
        .iter()
        .filter_map(|word| word.get::<gst::Structure>().ok())
    {
        if let (Some(span), Ok(text)) = (Span::of(&word), word.get::<&str>("text")) {
            println!("    {span}  {text}");
        }
    }
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
        "settings" | "not-found" => 3,
        _ if retryable => 4,
        _ => 1,
    }
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
                element.structure().and_then(on_element_message);
            }
            MessageView::Warning(warning) => eprintln!("warning: {}", warning.error()),
            MessageView::Latency(_) => {
                let _ = pipeline.recalculate_latency();
            }
            MessageView::Error(error) => {
                eprintln!("{}", error.error());
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

/// `FILE PROPERTY=VALUE …` as a pipeline.
fn pipeline(file: &str, properties: &[String]) -> Result<gst::Pipeline, gst::glib::BoolError> {
    let make = |name| gst::ElementFactory::make(name);
    let source = make("filesrc").property("location", file).build()?;
    let decoder = make("decodebin").build()?;
    let convert = make("audioconvert").build()?;
    let resample = make("audioresample").build()?;
    let mut recogniser = make("qwenasrsink");
    for property in properties {
        let (name, value) = property.split_once('=').unwrap_or((property, ""));
        recogniser = recogniser.property_from_str(name, value);
    }
    let recogniser = recogniser.build()?;
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
    Ok(pipeline)
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((file, properties)) = arguments.split_first() else {
        eprintln!("usage: captions FILE [PROPERTY=VALUE ...]");
        return ExitCode::FAILURE;
    };
    if let Err(error) = gst::init() {
        eprintln!("{error}");
        return ExitCode::FAILURE;
    }
    match pipeline(file, properties) {
        Ok(pipeline) => run(&pipeline),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
