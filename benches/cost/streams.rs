// SPDX-License-Identifier: MPL-2.0
//! Live streams, many in one process: pipelines without and with a transcriber, or the least that
//! sends the same frames.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::{Args, ValueEnum};
use futures_util::{SinkExt, StreamExt};
use gst::prelude::*;
use serde_json::{Value, json};
use tokio::time::{MissedTickBehavior, interval};
use tokio_tungstenite::connect_async_with_config;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use crate::process::answer_lines;
use crate::stamp::{BUFFER, FRAME, Stamp, microseconds_since, now};
use crate::table::summary;
use crate::{Result, allocations};

/// Bytes of a packet of Opus: 24 kbit/s.
const PACKET: usize = 60;

/// Between the starts of two streams: they are not to be in step.
const STAGGER: Duration = Duration::from_micros(1300);

#[derive(Args, Clone)]
pub struct Options {
    #[arg(long)]
    pub kind: Kind,
    #[arg(long)]
    pub streams: usize,
    #[arg(long)]
    pub port: u64,
    /// What the text pad is to carry.
    #[arg(long, default_value = "final")]
    pub results: String,
    /// A plugin to load.
    #[arg(long)]
    pub plugin: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Pipelines without a transcriber.
    Plain,
    /// Pipelines with this plugin's element.
    Qwenasr,
    /// The same with a pad for a translation.
    Translated,
    /// Pipelines of Opus without a transcriber.
    PlainOpus,
    /// Pipelines of Opus with this plugin's element.
    Opus,
    /// Pipelines with the element of gst-plugins-rs.
    Speechmatics,
    /// No pipelines: tasks with a timer and a socket.
    Bare,
}

impl Kind {
    /// Sessions with the service that a stream takes.
    pub fn sessions(self) -> usize {
        match self {
            Self::Plain | Self::PlainOpus => 0,
            Self::Translated => 2,
            Self::Qwenasr | Self::Opus | Self::Speechmatics | Self::Bare => 1,
        }
    }
}

/// What the pipelines had to say since they were last asked.
#[derive(Default)]
struct Ledger {
    /// Of text in messages and in buffers, in microseconds.
    messages: Vec<u32>,
    buffers: Vec<u32>,
    /// Errors, warnings, audio that was lost.
    complaints: Vec<String>,
}

type Shared = Arc<Mutex<Ledger>>;

fn with<R>(ledger: &Shared, change: impl FnOnce(&mut Ledger) -> R) -> R {
    change(&mut ledger.lock().unwrap_or_else(PoisonError::into_inner))
}

/// The process with the streams: starts them with the first line that comes.
pub fn run(options: Options) -> Result<()> {
    gst::init()?;
    gstqwenasr::plugin_register_static()?;
    if let Some(plugin) = &options.plugin {
        gst::Plugin::load_file(plugin)?;
    }
    let ledger = Shared::default();
    let mut pipelines = Vec::new();
    let mut runtime = None;
    let mut allocated = 0;
    answer_lines(|line| match line {
        // All that is there without any stream is there now.
        "ready" => Ok(Value::Null),
        "start" if options.kind == Kind::Bare => {
            runtime = Some(bare(&options)?);
            Ok(Value::Null)
        }
        "start" => {
            for _ in 0..options.streams {
                pipelines.push(start(&options, &ledger)?);
                std::thread::sleep(STAGGER);
            }
            Ok(Value::Null)
        }
        _ => {
            let said = with(&ledger, std::mem::take);
            let before = std::mem::replace(&mut allocated, allocations::count());
            Ok(json!({
                "allocations": allocated - before,
                "messages": summary(said.messages),
                "buffers": summary(said.buffers),
                "complaints": said.complaints,
            }))
        }
    })
}

/// A live source of stamped buffers of 20 ms, and what comes after it.
pub fn pipeline(rest: &str) -> Result<gst::Pipeline> {
    let pipeline = gst::parse::launch(&format!(
        "audiotestsrc name=source is-live=true wave=silence samplesperbuffer={} ! \
         audio/x-raw,format=S16LE,rate=16000,channels=1 ! {rest}",
        BUFFER / 2,
    ))?;
    let pipeline = pipeline
        .downcast::<gst::Pipeline>()
        .map_err(|_| "the pipeline is none")?;
    let source = pipeline.by_name("source").ok_or("there is no source")?;
    let pad = source.static_pad("src").ok_or("the source has no pad")?;
    let next = AtomicU32::new(0);
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if let Some(buffer) = info.buffer_mut()
            && let Ok(mut audio) = buffer.make_mut().map_writable()
        {
            let time = now();
            Stamp { time, number }.write(&mut audio);
        }
        gst::PadProbeReturn::Ok
    });
    Ok(pipeline)
}

/// A live source of Opus packets of 20 ms, without speech as far as one can see, and what comes after
/// it.
fn packets(rest: &str) -> Result<gst::Pipeline> {
    let pipeline = gst::parse::launch(&format!(
        "fakesrc name=source is-live=true sync=true format=time sizetype=fixed sizemax={PACKET} \
         datarate={} ! audio/x-opus,rate=16000,channels=1,channel-mapping-family=0 ! {rest}",
        PACKET * 50,
    ))?;
    let pipeline = pipeline
        .downcast::<gst::Pipeline>()
        .map_err(|_| "the pipeline is none")?;
    let source = pipeline.by_name("source").ok_or("there is no source")?;
    let pad = source.static_pad("src").ok_or("the source has no pad")?;
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        if let Some(buffer) = info.buffer_mut()
            && let Ok(mut packet) = buffer.make_mut().map_writable()
        {
            packet.fill(0x1a);
            packet[0] = 0x48;
        }
        gst::PadProbeReturn::Ok
    });
    Ok(pipeline)
}

/// The element of this plugin, with what all measurements need.
pub fn qwenasr(port: u64) -> String {
    format!("qwenasr name=transcriber url=ws://127.0.0.1:{port}/api-ws/v1/realtime")
}

fn start(options: &Options, ledger: &Shared) -> Result<gst::Pipeline> {
    let sink = "fakesink sync=false async=false";
    let (port, results) = (options.port, &options.results);
    let rest = match options.kind {
        Kind::Qwenasr => format!("{} results={results} ! {sink}", qwenasr(port)),
        Kind::Translated => format!(
            "{} results={results} translate_src_0::language-code=fr ! {sink} \
             transcriber.translate_src_0 ! {sink}",
            qwenasr(port)
        ),
        Kind::Speechmatics => format!(
            "speechmaticstranscriber name=transcriber url=ws://127.0.0.1:{port} api-key=none ! \
             {sink}"
        ),
        Kind::Opus => format!("{} results={results} ! {sink}", qwenasr(port)),
        Kind::Plain | Kind::PlainOpus | Kind::Bare => sink.to_owned(),
    };
    let pipeline = match options.kind {
        Kind::Opus | Kind::PlainOpus => packets(&rest)?,
        _ => pipeline(&rest)?,
    };
    if let Some(transcriber) = pipeline.by_name("transcriber") {
        let pad = transcriber.static_pad("src").ok_or("there is no text")?;
        let ledger = ledger.clone();
        pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
            if let Some(text) = info.buffer().and_then(|buffer| buffer.map_readable().ok()) {
                let delay = std::str::from_utf8(&text).ok().and_then(delay_of);
                with(&ledger, |ledger| ledger.buffers.extend(delay));
            }
            gst::PadProbeReturn::Ok
        });
    }
    let bus = pipeline.bus().ok_or("a pipeline has no bus")?;
    let ledger = ledger.clone();
    bus.set_sync_handler(move |_, message| {
        hear(message, &ledger);
        gst::BusSyncReply::Drop
    });
    pipeline.set_state(gst::State::Playing)?;
    Ok(pipeline)
}

fn hear(message: &gst::Message, ledger: &Shared) {
    let complaint = match message.view() {
        gst::MessageView::Error(error) => error.error().to_string(),
        gst::MessageView::Warning(warning) => warning.error().to_string(),
        gst::MessageView::Element(element) => match element.structure() {
            Some(lost) if lost.name() == "qwenasr/audio-lost" => lost.to_string(),
            Some(transcript) if transcript.name() == "qwenasr/transcript" => {
                let delay = transcript.get::<&str>("text").ok().and_then(delay_of);
                return with(ledger, |ledger| ledger.messages.extend(delay));
            }
            _ => return,
        },
        _ => return,
    };
    with(ledger, |ledger| ledger.complaints.push(complaint));
}

/// How late text is that says when it was sent.
fn delay_of(text: &str) -> Option<u32> {
    text.parse().ok().map(microseconds_since)
}

/// The least that sends the same frames: no pipelines, no queue, nothing kept, no reconnect.
fn bare(options: &Options) -> Result<tokio::runtime::Runtime> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    for _ in 0..options.streams {
        let port = options.port;
        runtime.spawn(async move {
            if let Err(error) = bare_stream(port).await {
                eprintln!("a bare stream ended: {error}");
            }
        });
        std::thread::sleep(STAGGER);
    }
    Ok(runtime)
}

async fn bare_stream(port: u64) -> std::result::Result<(), tokio_tungstenite::tungstenite::Error> {
    // With the default of 128 KiB, each attempt to read would first write that many zeros.
    let config = WebSocketConfig::default().read_buffer_size(4 << 10);
    let url = format!("ws://127.0.0.1:{port}/api-ws/v1/realtime");
    let (mut socket, _) = connect_async_with_config(url, Some(config), true).await?;
    socket.next().await.transpose()?;
    let update = r#"{"event_id":"event_1","type":"session.update","session":{}}"#;
    socket.send(Message::text(update)).await?;
    socket.next().await.transpose()?;
    let mut audio = vec![0; FRAME];
    let mut timer = interval(Duration::from_millis(100));
    timer.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut number: u32 = 0;
    loop {
        tokio::select! {
            _ = timer.tick() => {}
            message = socket.next() => match message {
                Some(message) => {
                    message?;
                    continue;
                }
                None => return Ok(()),
            }
        }
        for buffer in audio.chunks_exact_mut(BUFFER) {
            let time = now();
            Stamp { time, number }.write(buffer);
            number = number.wrapping_add(1);
        }
        let mut text = String::with_capacity(FRAME.div_ceil(3) * 4 + 96);
        text.push_str(r#"{"event_id":"event_"#);
        text.push_str(&number.to_string());
        text.push_str(r#"","type":"input_audio_buffer.append","audio":""#);
        STANDARD.encode_string(&audio, &mut text);
        text.push_str(r#""}"#);
        socket.send(Message::text(text)).await?;
    }
}
