// SPDX-License-Identifier: MPL-2.0

//! Captions a media file: whatever GStreamer can decode in, SubRip or WebVTT out.
//!
//! Until there is text, the output file is neither made nor changed; what it has when something
//! goes wrong later stays.

#[path = "caption_file/format.rs"]
mod format;
#[path = "caption_file/options.rs"]
mod options;
#[path = "caption_file/progress.rs"]
mod progress;
#[path = "caption_file/translations.rs"]
mod translations;

use std::{
    fs::{self, File, OpenOptions},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use clap::Parser;
use format::Format;
use futures_util::StreamExt;
use gst::{glib, prelude::*};
use options::explained;
use progress::{Progress, clock};
use tokio::signal::unix::{SignalKind, signal};

/// How often the progress is shown anew.
const TICK: Duration = Duration::from_millis(200);

/// Decoded audio that may wait to be sent, in milliseconds: little, so that Ctrl-C acts soon.
const QUEUE_MS: u32 = 2000;

const NO_AUDIO: &str = "The file has no audio stream.";

/// What the application message is called that says that there was no text at all.
const NO_TEXT: &str = "caption-file/no-text";

/// The properties of the recogniser that have options.
const OPTIONS: &[(&str, &str)] = &[
    ("api-key-file", "--api-key-file"),
    ("url", "--url"),
    ("region", "--region"),
    ("model", "--model"),
    ("protocol", "--protocol"),
    ("language-code", "--language"),
    ("translate_src", "--translate"),
    ("context", "--context"),
    ("turn-detection", "--turn-detection"),
    ("max-speed", "--max-speed"),
];

/// Captions a media file with the Qwen-ASR-Realtime service.
///
/// The API key is taken from DASHSCOPE_API_KEY in the environment, or from --api-key-file.
/// Ctrl-C ends early: what was sent is still captioned, and what there is stays. A second Ctrl-C
/// does not wait for that.
#[derive(Parser)]
#[command(name = "caption_file")]
struct Arguments {
    /// Media file with speech in it
    input: PathBuf,

    /// Caption file to write: .srt (SubRip) or .vtt (WebVTT)
    output: PathBuf,

    /// File that holds the API key
    #[arg(long, value_name = "FILE")]
    api_key_file: Option<String>,

    /// Endpoint, such as ws://127.0.0.1:8765/api-ws/v1/realtime, instead of the real service's
    #[arg(long)]
    url: Option<String>,

    /// Region of the real service; keys are valid in one only
    #[arg(long, value_parser = ["singapore", "beijing"])]
    region: Option<String>,

    /// Model that recognises the speech
    #[arg(long)]
    model: Option<String>,

    /// What is spoken with the service; goes by --url and --model if not given
    #[arg(long, value_parser = ["auto", "realtime", "inference", "vllm"])]
    protocol: Option<String>,

    /// Language that is spoken, such as en; detected if not given
    #[arg(long, value_name = "TAG")]
    language: Option<String>,

    /// Languages to translate into, such as fr,de: talk.srt gets a talk.fr.srt and a talk.de.srt
    #[arg(long, value_name = "TAG,TAG", value_delimiter = ',')]
    translate: Vec<String>,

    /// Names and terms that may be spoken
    #[arg(long, value_name = "TEXT")]
    context: Option<String>,

    /// Who finds the ends of utterances: the service, nobody, or this program, which is the fastest
    #[arg(long, value_parser = ["server-vad", "manual", "client-vad"])]
    turn_detection: Option<String>,

    /// How many times real time audio is sent; 0 is what the service bears: 1.25 with
    /// server-vad, 20 with manual and client-vad
    #[arg(long, value_name = "NUMBER", value_parser = speed)]
    max_speed: Option<f64>,
}

fn speed(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(speed) if (0.0..=10_000.0).contains(&speed) => Ok(speed),
        _ => Err("it has to be a number from 0 to 10000".to_owned()),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(&Arguments::parse()).await {
        Ok(summary) => {
            eprintln!("{summary}");
            ExitCode::SUCCESS
        }
        Err(message) => {
            eprintln!("caption_file: {message}");
            ExitCode::FAILURE
        }
    }
}

/// Returns what there is to say about a success.
async fn run(arguments: &Arguments) -> Result<String, String> {
    let format = Format::of(&arguments.output)?;
    let uri = check_files(&arguments.input, &arguments.output)?;
    gst::init().map_err(|error| format!("GStreamer does not start: {error}."))?;
    gstqwenasr::plugin_register_static()
        .map_err(|error| format!("The plugin does not load: {error}."))?;
    let captioner = Captioner::new(arguments, &uri, format)?;
    let end = captioner.run().await;
    let cues = captioner.cues.load(Ordering::Relaxed);
    let heard = clock(captioner.position());
    // Closes the output file.
    let _ = captioner.pipeline.set_state(gst::State::Null);
    let output = arguments.output.display();
    match end {
        Ok(End::Stopped) if cues == 0 => Err("Stopped before there was any text.".to_owned()),
        Ok(end) => {
            if cues == 0 {
                fs::write(&arguments.output, format.empty)
                    .map_err(|error| format!("{output} cannot be written: {error}."))?;
            }
            let stopped = match end {
                End::Complete => "",
                End::Stopped => "Stopped early. ",
            };
            let captions = match cues {
                0 => "no speech, so no captions,".to_owned(),
                1 => "1 caption".to_owned(),
                cues => format!("{cues} captions"),
            };
            Ok(format!("{stopped}{output}: {captions} in {heard} of audio"))
        }
        Err(message) if cues == 0 => Err(message),
        Err(message) => Err(format!(
            "{message}\n{output} has the {cues} captions made before that."
        )),
    }
}

/// Finds out early what cannot work. Returns the input's URI.
fn check_files(input: &Path, output: &Path) -> Result<glib::GString, String> {
    let unreadable = |error| format!("{} cannot be read: {error}.", input.display());
    let unwritable = |error| format!("{} cannot be written: {error}.", output.display());
    File::open(input).map_err(unreadable)?;
    let input_path = input.canonicalize().map_err(unreadable)?;
    if input_path.is_dir() {
        return Err(format!("{} is a directory.", input.display()));
    }
    if output.canonicalize().is_ok_and(|path| path == input_path) {
        return Err("The captions cannot replace the media file itself.".to_owned());
    }
    let existed = output.exists();
    OpenOptions::new()
        .append(true)
        .create(true)
        .open(output)
        .map_err(unwritable)?;
    if !existed {
        fs::remove_file(output).map_err(unwritable)?;
    }
    glib::filename_to_uri(&input_path, None)
        .map_err(|error| format!("{} cannot be read: {error}.", input.display()))
}

/// Makes an element, or says which package it is in.
fn make(name: &str) -> Result<gst::Element, String> {
    gst::ElementFactory::make(name).build().map_err(|_| {
        let package = match name {
            "filesink" => "libgstreamer1.0-0",
            "srtenc" | "webvttenc" => "gstreamer1.0-plugins-bad",
            _ => "gstreamer1.0-plugins-base",
        };
        format!("GStreamer has no element '{name}'. On Debian and its kin: apt install {package}")
    })
}

/// How captioning ended, if it did not fail.
#[derive(Clone, Copy)]
enum End {
    Complete,
    Stopped,
}

struct Captioner {
    pipeline: gst::Pipeline,
    recogniser: gst::Element,
    /// End of the audio that the recogniser was given, in nanoseconds of stream time.
    given: Arc<AtomicU64>,
    /// No more audio shall be sent.
    stop: Arc<AtomicBool>,
    /// Captions so far.
    cues: Arc<AtomicU64>,
}

impl Captioner {
    fn new(arguments: &Arguments, uri: &str, format: Format) -> Result<Self, String> {
        let source = make("uridecodebin")?;
        source.set_property("uri", uri);
        // Video does not even get decoded.
        source.set_property("caps", gst::Caps::new_empty_simple("audio/x-raw"));
        source.set_property("expose-all-streams", false);
        let convert = make("audioconvert")?;
        let resample = make("audioresample")?;
        let recogniser = make("qwenasr")?;
        configure(&recogniser, arguments);
        let text = make("capsfilter")?;
        let caps = gst::Caps::builder("text/x-raw").field("format", format.text);
        text.set_property("caps", caps.build());

        let pipeline = gst::Pipeline::new();
        pipeline
            .add_many([&source, &convert, &resample, &recogniser, &text])
            .and_then(|()| gst::Element::link_many([&convert, &resample, &recogniser, &text]))
            .map_err(|error| format!("{error}."))?;
        link_audio(&source, &convert);

        let captioner = Captioner {
            pipeline,
            recogniser,
            given: Arc::default(),
            stop: Arc::default(),
            cues: Arc::default(),
        };
        for language in &arguments.translate {
            let output = arguments.output.as_path();
            translations::add(
                &captioner.pipeline,
                &captioner.recogniser,
                language,
                output,
                format,
            )?;
        }
        captioner.watch(&pad(&resample, "src")?);
        let writer = [make(format.encoder)?, make("filesink")?];
        let [_, file] = &writer;
        file.set_property("location", &arguments.output);
        file.set_property("async", false);
        captioner.write_with(&pad(&text, "src")?, writer);
        Ok(captioner)
    }

    /// Notes how far the audio at this pad is, and ends it once [`Self::stop`] is set.
    fn watch(&self, pad: &gst::Pad) {
        let (given, stop) = (self.given.clone(), self.stop.clone());
        pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
            if !stop.load(Ordering::Relaxed) {
                let end = info
                    .buffer()
                    .and_then(|buffer| stream_time(pad, buffer.pts()? + buffer.duration()?));
                if let Some(end) = end {
                    given.store(end.nseconds(), Ordering::Relaxed);
                }
                return gst::PadProbeReturn::Ok;
            }
            pad.push_event(gst::event::Eos::new());
            gst::PadProbeReturn::Drop
        });
    }

    /// Has an encoder and a file sink join the pipeline with the first text.
    fn write_with(&self, text: &gst::Pad, writer: [gst::Element; 2]) {
        let pipeline = self.pipeline.downgrade();
        let cues = self.cues.clone();
        let join = move |text_pad: &gst::Pad| -> Result<(), glib::BoolError> {
            let Some(pipeline) = pipeline.upgrade() else {
                return Ok(());
            };
            let [encoder, file] = &writer;
            pipeline.add_many([encoder, file])?;
            encoder.link(file)?;
            file.sync_state_with_parent()?;
            encoder.sync_state_with_parent()?;
            if let Some(sink_pad) = encoder.static_pad("sink") {
                text_pad
                    .link(&sink_pad)
                    .map_err(|error| glib::bool_error!("{error}"))?;
            }
            Ok(())
        };
        let recogniser = self.recogniser.downgrade();
        let kinds = gst::PadProbeType::BUFFER | gst::PadProbeType::EVENT_DOWNSTREAM;
        text.add_probe(kinds, move |pad, info| {
            let first = cues.load(Ordering::Relaxed) == 0;
            match &mut info.data {
                Some(gst::PadProbeData::Buffer(buffer)) => {
                    // Errors of the file sink itself are on the bus already.
                    if first && let Err(error) = join(pad) {
                        eprintln!("caption_file: {error}");
                    }
                    to_stream_time(pad, buffer.make_mut());
                    cues.fetch_add(1, Ordering::Relaxed);
                }
                Some(gst::PadProbeData::Event(event))
                    if first && event.type_() == gst::EventType::Eos =>
                {
                    if let Some(element) = recogniser.upgrade() {
                        let message =
                            gst::message::Application::new(gst::Structure::new_empty(NO_TEXT));
                        let _ = element.post_message(message);
                    }
                }
                _ => {}
            }
            gst::PadProbeReturn::Ok
        });
    }

    /// Seconds of the file that were sent, or left out as silence.
    fn position(&self) -> u64 {
        let stats: gst::Structure = self.recogniser.property("stats");
        let waiting = stats.get("queue-level").unwrap_or(0);
        let done = self.given.load(Ordering::Relaxed).saturating_sub(waiting);
        gst::ClockTime::from_nseconds(done).seconds()
    }

    fn duration(&self) -> Option<u64> {
        let pad = self.recogniser.static_pad("sink")?;
        pad.peer_query_duration::<gst::ClockTime>()
            .map(gst::ClockTime::seconds)
    }

    async fn run(&self) -> Result<End, String> {
        let bus = self.pipeline.bus().ok_or("The pipeline has no bus.")?;
        let mut messages = bus.stream();
        let mut ticks = tokio::time::interval(TICK);
        let interrupts = signal(SignalKind::interrupt());
        let mut interrupts = interrupts.map_err(|error| error.to_string())?;
        let progress = Progress::new();
        let mut missing = Vec::new();
        // Why it does not start is on the bus.
        let _ = self.pipeline.set_state(gst::State::Playing);
        loop {
            tokio::select! {
                Some(message) = messages.next() => match message.view() {
                    gst::MessageView::Eos(_) => break,
                    gst::MessageView::Application(_) if is(&message, NO_TEXT) => break,
                    gst::MessageView::Error(error) => {
                        let (text, details) = (error.error(), error.details());
                        return Err(if message.src().is_some_and(|src| *src == self.recogniser) {
                            explained(&text.to_string(), details, OPTIONS)
                        } else {
                            sentence(&text, &missing)
                        });
                    }
                    gst::MessageView::Warning(warning) => {
                        let text = format!("Warning: {}", warning.error());
                        progress.say(&explained(&text, warning.details(), OPTIONS));
                    }
                    gst::MessageView::Element(_) if is(&message, "missing-plugin") => {
                        missing.extend(field(&message, "name"));
                    }
                    gst::MessageView::Element(_) if is(&message, "qwenasr/transcript") => {
                        let text = ["text", "stash"].map(|part| field(&message, part));
                        progress.line(&text.map(Option::unwrap_or_default).concat());
                    }
                    _ => {}
                },
                _ = interrupts.recv() => {
                    if self.stop.swap(true, Ordering::Relaxed) {
                        return Err("Interrupted.".to_owned());
                    }
                    progress.say("Stopping; Ctrl-C again to stop at once.");
                }
                _ = ticks.tick() => progress.at(self.position(), self.duration()),
            }
        }
        Ok(if self.stop.load(Ordering::Relaxed) {
            End::Stopped
        } else {
            End::Complete
        })
    }
}

fn pad(element: &gst::Element, name: &str) -> Result<gst::Pad, String> {
    element
        .static_pad(name)
        .ok_or_else(|| format!("{} has no pad '{name}'.", element.name()))
}

fn configure(recogniser: &gst::Element, arguments: &Arguments) {
    recogniser.set_property("max-queue-time", QUEUE_MS);
    for (name, value) in [
        ("api-key-file", &arguments.api_key_file),
        ("url", &arguments.url),
        ("model", &arguments.model),
        ("language-code", &arguments.language),
        ("context", &arguments.context),
    ] {
        if let Some(value) = value {
            recogniser.set_property(name, value);
        }
    }
    for (name, value) in [
        ("region", &arguments.region),
        ("protocol", &arguments.protocol),
        ("turn-detection", &arguments.turn_detection),
    ] {
        if let Some(value) = value {
            recogniser.set_property_from_str(name, value);
        }
    }
    if let Some(speed) = arguments.max_speed {
        recogniser.set_property("max-speed", speed);
    }
}

/// Links the first audio stream that turns up, and fails if there is none.
fn link_audio(source: &gst::Element, sink: &gst::Element) {
    let Some(sink_pad) = sink.static_pad("sink") else {
        return;
    };
    let weak = sink_pad.downgrade();
    source.connect_pad_added(move |_, pad| {
        if let Some(sink_pad) = weak.upgrade().filter(|pad| !pad.is_linked()) {
            // Fails with what is no audio.
            let _ = pad.link(&sink_pad);
        }
    });
    let weak = sink_pad.downgrade();
    source.connect_no_more_pads(move |source| {
        if weak.upgrade().is_some_and(|pad| !pad.is_linked()) {
            gst::element_error!(source, gst::StreamError::WrongType, ["{NO_AUDIO}"]);
        }
    });
}

/// The encoders write timestamps as they are, which some formats do not count from the
/// beginning of the file.
fn to_stream_time(pad: &gst::Pad, buffer: &mut gst::BufferRef) {
    let time = buffer.pts().and_then(|pts| stream_time(pad, pts));
    if time.is_some() {
        buffer.set_pts(time);
    }
}

fn stream_time(pad: &gst::Pad, timestamp: gst::ClockTime) -> Option<gst::ClockTime> {
    let event = pad.sticky_event::<gst::event::Segment>(0)?;
    let segment = event.segment().downcast_ref::<gst::ClockTime>()?;
    segment.to_stream_time(timestamp)
}

fn is(message: &gst::MessageRef, name: &str) -> bool {
    message
        .structure()
        .is_some_and(|structure| structure.name() == name)
}

fn field(message: &gst::MessageRef, name: &str) -> Option<String> {
    message.structure()?.get(name).ok()
}

/// An error for a person to read, of another element than the recogniser: its own are sentences.
fn sentence(error: &glib::Error, missing: &[String]) -> String {
    if !missing.is_empty() {
        return format!(
            "GStreamer lacks what this file needs: {}. On Debian and its kin: apt install \
             gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly \
             gstreamer1.0-libav",
            missing.join(", ")
        );
    }
    // Nothing is missing really: no stream can become audio.
    if error.matches(gst::CoreError::MissingPlugin) {
        return NO_AUDIO.to_owned();
    }
    format!("The file cannot be captioned: {error}")
}
