// SPDX-License-Identifier: MPL-2.0

//! Live captions over video: of a camera and a microphone, or of a recording that is played as if
//! it were live.
//!
//! The picture is delayed until its captions are there, so that both are in sync. Above it is
//! shown how the connection is and how late the captions come.

#[path = "caption_file/options.rs"]
mod options;

use std::{
    env,
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use clap::Parser;
use futures_util::StreamExt;
use gst::{glib, prelude::*};
use options::explained;
use tokio::signal::unix::{SignalKind, signal};

/// How often the line above the picture is renewed.
const TICK: Duration = Duration::from_millis(500);

/// Video that is held for its captions beyond the latency, in milliseconds: what a gap on the
/// text pad may be late, and some to spare.
const SPARE_MS: u32 = 2000;

/// What the application message is called that says that a text pad will have no more text.
const TEXT_OVER: &str = "live-captions/text-over";

/// Holds the text that is early. The overlay takes one at a time, and none after its last picture:
/// without this, the recogniser would wait for it, in vain if the picture ends before the sound.
const TEXT_QUEUE: &str = "queue max-size-time=0 max-size-buffers=0 max-size-bytes=0";

const DEFAULT_SINK: &str = "autovideosink";

/// The properties of the recogniser that have options.
const OPTIONS: &[(&str, &str)] = &[
    ("api-key-file", "--api-key-file"),
    ("url", "--url"),
    ("region", "--region"),
    ("language-code", "--language"),
    ("translate_src", "--translate"),
    ("latency", "--latency"),
];

/// Live captions over video with the Qwen-ASR-Realtime service.
///
/// The API key is taken from DASHSCOPE_API_KEY in the environment, or from --api-key-file.
/// Ctrl-C ends in order. What is said is printed as well.
#[derive(Parser)]
#[command(name = "live_captions")]
struct Arguments {
    /// Recording to play instead of the camera and the microphone
    input: Option<PathBuf>,

    /// File that holds the API key
    #[arg(long, value_name = "FILE")]
    api_key_file: Option<String>,

    /// Endpoint, such as ws://127.0.0.1:8765/api-ws/v1/realtime, instead of the real service's
    #[arg(long)]
    url: Option<String>,

    /// Region of the real service; keys are valid in one only
    #[arg(long, value_parser = ["singapore", "beijing"])]
    region: Option<String>,

    /// Language that is spoken, such as en; detected if not given
    #[arg(long, value_name = "TAG")]
    language: Option<String>,

    /// Language to translate into, such as fr, shown above the captions
    #[arg(long, value_name = "TAG")]
    translate: Option<String>,

    /// Captions word by word, or as finished cues
    #[arg(long, default_value = "interim", value_parser = ["interim", "final"])]
    results: String,

    /// Milliseconds by which the picture is delayed for its captions; finished cues need more
    #[arg(long, default_value_t = 3000, value_name = "MS",
          value_parser = clap::value_parser!(u32).range(..=60_000))]
    latency: u32,

    /// Elements that show the picture, as for gst-launch-1.0; needed where there is no display, such
    /// as "video/x-raw,format=I420 ! x264enc tune=zerolatency ! matroskamux !
    /// filesink location=captioned.mkv"
    #[arg(long, default_value = DEFAULT_SINK, value_name = "ELEMENTS")]
    sink: String,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(&Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("live_captions: {message}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> Result<(), String> {
    check_display(arguments)?;
    gst::init().map_err(|error| format!("GStreamer does not start: {error}."))?;
    gstqwenasr::plugin_register_static()
        .map_err(|error| format!("The plugin does not load: {error}."))?;
    let captioner = Captioner::new(arguments)?;
    let result = captioner.run().await;
    let _ = captioner.pipeline.set_state(gst::State::Null);
    result
}

/// Finds out early that there is nothing to show the picture on: the sinks that `autovideosink`
/// tries then may even crash.
fn check_display(arguments: &Arguments) -> Result<(), String> {
    let is_set = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
    let needs_display = cfg!(all(unix, not(target_os = "macos"))) && arguments.sink == DEFAULT_SINK;
    if needs_display && !is_set("DISPLAY") && !is_set("WAYLAND_DISPLAY") {
        return Err(
            "There is no display: neither DISPLAY nor WAYLAND_DISPLAY is set. Say with --sink \
             where the picture goes; --help has an example."
                .to_owned(),
        );
    }
    Ok(())
}

struct Captioner {
    pipeline: gst::Pipeline,
    recogniser: gst::Element,
    /// The recogniser's, for captions and translation.
    text_pads: Vec<gst::Pad>,
    /// Shows the line above the picture.
    status: gst::Element,
    /// How late the last text came, in milliseconds.
    delay: Arc<AtomicU64>,
}

impl Captioner {
    fn new(arguments: &Arguments) -> Result<Self, String> {
        let hold = u64::from(arguments.latency + SPARE_MS) * 1_000_000;
        // A live pipeline keeps time, whatever becomes of the captions: a recording has to be
        // made one.
        let sources = match arguments.input {
            Some(_) => {
                "uridecodebin name=source \
                 clocksync name=picture sync-to-first=true ! videoconvert name=video \
                 clocksync name=sound sync-to-first=true ! audioconvert name=audio"
            }
            None => {
                "autovideosrc ! videoconvert name=video \
                 autoaudiosrc ! audioconvert name=audio"
            }
        };
        let (overlay, branch) = match arguments.translate {
            Some(_) => (
                "! textoverlay name=translation wait-text=true shaded-background=true ypad=90",
                format!("recogniser.translate_src_0 ! {TEXT_QUEUE} ! translation.text_sink"),
            ),
            None => ("", String::new()),
        };
        let description = format!(
            "{sources} \
             video. ! queue max-size-time={hold} max-size-buffers=0 max-size-bytes=0 \
               ! textoverlay name=captions wait-text=true shaded-background=true {overlay} \
               ! textoverlay name=status valignment=top halignment=left line-alignment=left shaded-background=true \
                   font-desc=\"Sans 12\" \
               ! videoconvert ! {} \
             audio. ! audioresample ! queue ! qwenasr name=recogniser ! {TEXT_QUEUE} ! captions.text_sink \
             {branch}",
            arguments.sink
        );
        let pipeline = gst::parse::launch(&description)
            .map_err(|error| format!("The pipeline cannot be made: {}", hint(&error)))?
            .downcast::<gst::Pipeline>()
            .map_err(|_| "The sink has to be elements, as for gst-launch-1.0.")?;
        let element = |name| {
            let element = pipeline.by_name(name);
            element.ok_or_else(|| format!("The pipeline has no element '{name}'."))
        };
        let recogniser = element("recogniser")?;
        configure(&recogniser, arguments);
        let pad = recogniser.static_pad("src");
        let mut text_pads = vec![pad.ok_or("The recogniser has no pad 'src'.")?];
        if let Some(language) = &arguments.translate {
            let pad = recogniser.static_pad("translate_src_0");
            let pad = pad.ok_or("The recogniser has no pad for a translation.")?;
            pad.set_property("language-code", language);
            text_pads.push(pad);
        }
        if let Some(input) = &arguments.input {
            let source = element("source")?;
            source.set_property("uri", uri(input)?);
            link_streams(&source, &element("picture")?, &element("sound")?);
        }
        let captioner = Captioner {
            status: element("status")?,
            recogniser,
            text_pads,
            pipeline,
            delay: Arc::default(),
        };
        captioner.measure();
        Ok(captioner)
    }

    /// Notes when text comes, measured against when it was said, and that no more will come.
    fn measure(&self) {
        for text_pad in &self.text_pads {
            let (delay, element) = (self.delay.clone(), self.recogniser.downgrade());
            let is_caption = text_pad.name() == "src";
            let kinds = gst::PadProbeType::BUFFER | gst::PadProbeType::EVENT_DOWNSTREAM;
            text_pad.add_probe(kinds, move |pad, info| {
                let Some(element) = element.upgrade() else {
                    return gst::PadProbeReturn::Remove;
                };
                if let Some(buffer) = info.buffer().filter(|_| is_caption) {
                    let said = running_time(pad, buffer);
                    if let Some((now, said)) = element.current_running_time().zip(said) {
                        delay.store(now.saturating_sub(said).mseconds(), Ordering::Relaxed);
                    }
                } else if info.event().is_some_and(is_eos) {
                    let structure = gst::Structure::new_empty(TEXT_OVER);
                    let _ = element.post_message(gst::message::Application::new(structure));
                }
                gst::PadProbeReturn::Ok
            });
        }
    }

    async fn run(&self) -> Result<(), String> {
        let bus = self.pipeline.bus().ok_or("The pipeline has no bus.")?;
        let mut messages = bus.stream();
        let mut ticks = tokio::time::interval(TICK);
        let interrupts = signal(SignalKind::interrupt());
        let mut interrupts = interrupts.map_err(|error| error.to_string())?;
        let mut stopping = false;
        // The last words may come after the last picture.
        let (mut picture_over, mut open_pads) = (false, self.text_pads.len());
        let mut reason = String::new();
        // Why it does not start is on the bus.
        let _ = self.pipeline.set_state(gst::State::Playing);
        while !picture_over || open_pads > 0 {
            tokio::select! {
                Some(message) = messages.next() => match message.view() {
                    gst::MessageView::Eos(_) => picture_over = true,
                    gst::MessageView::Application(_) => open_pads -= 1,
                    gst::MessageView::Error(error) => {
                        let text = error.error().to_string();
                        return Err(explained(&text, error.details(), OPTIONS));
                    }
                    gst::MessageView::Warning(warning) => {
                        let text = format!("Warning: {}", warning.error());
                        eprintln!("{}", explained(&text, warning.details(), OPTIONS));
                    }
                    gst::MessageView::Element(element) => {
                        if let Some(structure) = element.structure() {
                            self.heard(structure, &mut reason);
                        }
                    }
                    gst::MessageView::Latency(_) => {
                        // What is not recalculated now is at the next change.
                        let _ = self.pipeline.recalculate_latency();
                    }
                    _ => {}
                },
                _ = interrupts.recv() => {
                    if std::mem::replace(&mut stopping, true) {
                        return Err("Interrupted.".to_owned());
                    }
                    eprintln!("Stopping; Ctrl-C again to stop at once.");
                    self.pipeline.send_event(gst::event::Eos::new());
                }
                _ = ticks.tick() => self.show_status(&reason),
            }
        }
        Ok(())
    }

    /// Takes in an element message: prints finished text, and remembers why there is none.
    fn heard(&self, structure: &gst::StructureRef, reason: &mut String) {
        let text = |name| structure.get::<String>(name).unwrap_or_default();
        match structure.name().as_str() {
            "qwenasr/connection" => {
                *reason = text("reason");
                self.show_status(reason);
            }
            "qwenasr/transcript" if structure.get("final") == Ok(true) => {
                let time = structure.get::<gst::ClockTime>("stream-time");
                let time = time.unwrap_or_default();
                let language = match text("translation").as_str() {
                    "" => String::new(),
                    language => format!("[{language}] "),
                };
                // The picture goes on, whether or not anybody reads this.
                let _ = writeln!(io::stdout(), "{time:.1} {language}{}", text("text"));
            }
            _ => {}
        }
    }

    fn show_status(&self, reason: &str) {
        let state = self.recogniser.property_value("connection-state");
        let state = glib::EnumValue::from_value(&state).map(|(_, value)| value.nick().to_owned());
        let mut line = state.unwrap_or_default();
        if !reason.is_empty() {
            line = format!("{line}: {reason}");
        }
        let longest = self.recogniser.property::<u32>("max-observed-delay");
        if longest > 0 {
            let last = self.delay.load(Ordering::Relaxed);
            let seconds = |ms: u64| ms as f64 / 1000.0;
            line = format!(
                "{line}\ncaptions {:.1} s behind, {:.1} s at most",
                seconds(last),
                seconds(longest.into())
            );
        }
        self.status.set_property("text", line);
    }
}

fn running_time(pad: &gst::Pad, buffer: &gst::BufferRef) -> Option<gst::ClockTime> {
    let event = pad.sticky_event::<gst::event::Segment>(0)?;
    let segment = event.segment().downcast_ref::<gst::ClockTime>()?;
    segment.to_running_time(buffer.pts()?)
}

fn is_eos(event: &gst::Event) -> bool {
    event.type_() == gst::EventType::Eos
}

fn configure(recogniser: &gst::Element, arguments: &Arguments) {
    recogniser.set_property("latency", arguments.latency);
    recogniser.set_property_from_str("results", &arguments.results);
    // A programme goes on without captions rather than not at all.
    recogniser.set_property_from_str("failure-policy", "continue");
    for (name, value) in [
        ("api-key-file", &arguments.api_key_file),
        ("url", &arguments.url),
        ("language-code", &arguments.language),
    ] {
        if let Some(value) = value {
            recogniser.set_property(name, value);
        }
    }
    if let Some(region) = &arguments.region {
        recogniser.set_property_from_str("region", region);
    }
}

fn uri(path: &Path) -> Result<glib::GString, String> {
    let unreadable =
        |error: &dyn std::fmt::Display| format!("{} cannot be read: {error}.", path.display());
    let path = path.canonicalize().map_err(|error| unreadable(&error))?;
    glib::filename_to_uri(&path, None).map_err(|error| unreadable(&error))
}

/// Links the first audio and the first video of a recording. One without audio is an error, one
/// without video gets a test picture.
fn link_streams(source: &gst::Element, picture: &gst::Element, sound: &gst::Element) {
    let pads = [picture, sound].map(|element| element.static_pad("sink"));
    let [Some(video), Some(audio)] = pads else {
        return;
    };
    let (video_pad, audio_pad) = (video.downgrade(), audio.downgrade());
    source.connect_pad_added(move |_, pad| {
        let caps = pad.current_caps().unwrap_or_else(|| pad.query_caps(None));
        let kind = caps.structure(0).map(|structure| structure.name());
        let sink = match kind.map(|name| name.as_str()) {
            Some("video/x-raw") => video_pad.upgrade(),
            Some("audio/x-raw") => audio_pad.upgrade(),
            _ => None,
        };
        if let Some(sink) = sink.filter(|sink| !sink.is_linked()) {
            // Why it fails, if it does, is on the bus.
            let _ = pad.link(&sink);
        }
    });
    let (video_pad, audio_pad) = (video.downgrade(), audio.downgrade());
    source.connect_no_more_pads(move |source| {
        let (Some(video), Some(audio)) = (video_pad.upgrade(), audio_pad.upgrade()) else {
            return;
        };
        if !audio.is_linked() {
            let text = "The recording has no audio.";
            gst::element_error!(source, gst::StreamError::WrongType, ("{text}"));
        } else if !video.is_linked()
            && let Err(error) = link_test_picture(&video, &audio)
        {
            gst::element_error!(source, gst::CoreError::Pad, ("{error}"));
        }
    });
}

/// Has a test picture shown until the audio ends.
fn link_test_picture(video: &gst::Pad, audio: &gst::Pad) -> Result<(), glib::BoolError> {
    let parent = video
        .parent_element()
        .and_then(|element| element.parent())
        .and_downcast::<gst::Bin>()
        .ok_or_else(|| glib::bool_error!("The pipeline is gone."))?;
    let picture = gst::parse::bin_from_description(
        "videotestsrc pattern=black ! capsfilter caps=video/x-raw,width=640,height=360,framerate=25/1",
        true,
    )
    .map_err(|error| glib::bool_error!("{error}"))?;
    parent.add(&picture)?;
    let pad = picture.static_pad("src");
    let pad = pad.ok_or_else(|| glib::bool_error!("The test picture has no pad."))?;
    pad.link(video)
        .map_err(|error| glib::bool_error!("{error}"))?;
    picture.sync_state_with_parent()?;
    audio.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, move |_, info| {
        if info.event().is_some_and(is_eos) {
            picture.send_event(gst::event::Eos::new());
        }
        gst::PadProbeReturn::Ok
    });
    Ok(())
}

/// An error of parsing a pipeline, with what may help.
fn hint(error: &glib::Error) -> String {
    if error.matches(gst::ParseError::NoSuchElement) {
        format!(
            "{error}. On Debian and its kin: apt install gstreamer1.0-plugins-base \
             gstreamer1.0-plugins-good gstreamer1.0-x"
        )
    } else {
        format!("{error}.")
    }
}
