// SPDX-License-Identifier: MPL-2.0
//! The services that audio is sent to: they cost little themselves, note when it came, and may
//! answer with text that says when it was sent.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::{Args, ValueEnum};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep_until};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, accept_async_with_config};

use crate::Result;
use crate::process::{Process, answer_lines};
use crate::stamp::{BUFFER, FRAME, Stamp, microseconds_since, now};
use crate::table::summary;

/// Texts of an utterance before its last one.
const TEXTS: u64 = 6;

#[derive(Args, Clone, Copy)]
pub struct Options {
    #[arg(long, default_value = "realtime")]
    protocol: Protocol,
    /// Answers with a text after this many frames of audio; 0 never does.
    #[arg(long, default_value_t = 0)]
    talk: u64,
    /// How long after the frame the text is sent, in milliseconds.
    #[arg(long, default_value_t = 0)]
    after: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Protocol {
    Realtime,
    Speechmatics,
}

/// A service in a process of its own.
pub struct Service {
    process: Process,
    pub port: u64,
}

impl Service {
    pub fn start(protocol: Protocol, talk: u64, after: u64) -> Result<Self> {
        let name = match protocol {
            Protocol::Realtime => "realtime",
            Protocol::Speechmatics => "speechmatics",
        };
        let (talk, after) = (talk.to_string(), after.to_string());
        let arguments = ["--protocol", name, "--talk", &talk, "--after", &after];
        let mut process = Process::part("service", arguments)?;
        let port = process.ask("port")?;
        Ok(Service {
            process,
            port: port.as_u64().ok_or("the service has no port")?,
        })
    }

    /// What it has seen since it was last asked for this.
    pub fn report(&mut self) -> Result<Value> {
        self.process.ask("report")
    }

    /// Waits until audio comes on this many connections.
    pub fn wait_for(&mut self, streams: usize, timeout: Duration) -> Result<()> {
        let start = Instant::now();
        loop {
            let seen = self.process.ask("streams")?;
            if seen.as_u64() == Some(streams as u64) {
                return Ok(());
            }
            if start.elapsed() > timeout {
                return Err(format!("audio came from {seen} streams instead of {streams}").into());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// What was seen since the last report.
#[derive(Default)]
struct Ledger {
    /// Connections on which audio came, over all the time.
    streams: usize,
    audio_bytes: usize,
    /// Buffers that should have come between others.
    missing: u64,
    /// Of the newest audio in each frame, in microseconds.
    delays: Vec<u32>,
    /// When the first audio of each connection came, and when it had been made.
    first: Vec<(u64, u64)>,
}

type Shared = Arc<Mutex<Ledger>>;

fn with<R>(ledger: &Shared, change: impl FnOnce(&mut Ledger) -> R) -> R {
    change(&mut ledger.lock().unwrap_or_else(PoisonError::into_inner))
}

/// The process of a service.
pub fn run(options: Options) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
    let port = listener.local_addr()?.port();
    let ledger = Shared::default();
    let serving = ledger.clone();
    std::thread::spawn(move || {
        runtime.block_on(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, options, serving.clone()));
            }
        });
    });
    answer_lines(|line| {
        Ok(match line {
            "port" => port.into(),
            "streams" => with(&ledger, |ledger| ledger.streams.into()),
            _ => {
                let seen = with(&ledger, |ledger| {
                    let next = Ledger {
                        streams: ledger.streams,
                        ..Ledger::default()
                    };
                    std::mem::replace(ledger, next)
                });
                json!({
                    "audio_bytes": seen.audio_bytes,
                    "missing": seen.missing,
                    "first": seen.first,
                    "delays": summary(seen.delays),
                })
            }
        })
    })
}

/// Ends quietly with the connection, whatever ends that.
async fn serve(stream: TcpStream, options: Options, ledger: Shared) {
    // Only later without.
    let _ = stream.set_nodelay(true);
    let config = WebSocketConfig::default().read_buffer_size(16 << 10);
    let Ok(socket) = accept_async_with_config(stream, Some(config)).await else {
        return;
    };
    let mut connection = Connection {
        socket,
        options,
        ledger,
        frames: 0,
        next: None,
        texts: 0,
        audio: Vec::with_capacity(FRAME),
        translates: false,
    };
    let _ = match options.protocol {
        Protocol::Realtime => connection.realtime().await,
        Protocol::Speechmatics => connection.speechmatics().await,
    };
}

struct Connection {
    socket: WebSocketStream<TcpStream>,
    options: Options,
    ledger: Shared,
    frames: u64,
    /// Number of the buffer that should come next.
    next: Option<u32>,
    texts: u64,
    audio: Vec<u8>,
    /// It was asked for translations.
    translates: bool,
}

impl Connection {
    async fn realtime(&mut self) -> std::result::Result<(), Error> {
        self.send(json!({"type": "session.created", "session": {"id": "sess_1"}}))
            .await?;
        let mut text_due = None;
        loop {
            let message = tokio::select! {
                message = self.socket.next() => message,
                () = sleep_until(text_due.unwrap_or_else(Instant::now)), if text_due.is_some() => {
                    text_due = None;
                    self.say().await?;
                    continue;
                }
            };
            let Some(message) = message else {
                return Ok(());
            };
            let Message::Text(text) = message? else {
                continue;
            };
            // Settings may have audio in them as well.
            let audio = text.split_once(r#""audio":"#).map(|(_, audio)| audio);
            if let Some(audio) = audio.filter(|audio| !audio.starts_with('{')) {
                let audio = audio.trim_matches([' ', '"', '}']);
                self.audio.clear();
                if STANDARD.decode_vec(audio, &mut self.audio).is_ok() {
                    self.heard();
                }
                if self.options.talk > 0 && self.frames.is_multiple_of(self.options.talk) {
                    match self.options.after {
                        0 => self.say().await?,
                        after => text_due = Some(Instant::now() + Duration::from_millis(after)),
                    }
                }
            } else if text.contains("session.update") {
                self.translates = text.contains(r#""translation":"#);
                self.send(json!({"type": "session.updated", "session": {"id": "sess_1"}}))
                    .await?;
            } else if text.contains("session.finish") {
                if !self.texts.is_multiple_of(TEXTS + 1) {
                    self.say_last().await?;
                }
                self.send(json!({"type": "session.finished"})).await?;
                return self.socket.close(None).await;
            }
        }
    }

    async fn speechmatics(&mut self) -> std::result::Result<(), Error> {
        while let Some(message) = self.socket.next().await {
            match message? {
                Message::Text(text) if text.contains("StartRecognition") => {
                    self.send(json!({"message": "RecognitionStarted", "id": "1"}))
                        .await?;
                }
                Message::Text(text) if text.contains("EndOfStream") => {
                    self.send(json!({"message": "EndOfTranscript"})).await?;
                }
                Message::Binary(audio) => {
                    self.audio.clear();
                    self.audio.extend(&audio[..]);
                    self.heard();
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Notes the audio that came.
    fn heard(&mut self) {
        let mut newest = None;
        let mut missing = 0;
        for buffer in self.audio.chunks_exact(BUFFER) {
            newest = Stamp::read(buffer);
            if let Some(stamp) = newest {
                let expected = self.next.unwrap_or(stamp.number);
                missing += u64::from(stamp.number.wrapping_sub(expected));
                self.next = Some(stamp.number.wrapping_add(1));
            }
        }
        self.frames += 1;
        let first = (self.frames == 1)
            .then(|| Stamp::read(&self.audio))
            .map(|stamp| (now(), stamp.map_or(0, |stamp| stamp.time)));
        with(&self.ledger, |ledger| {
            if let Some(first) = first {
                ledger.streams += 1;
                ledger.first.push(first);
            }
            ledger.audio_bytes += self.audio.len();
            ledger.missing += missing;
            ledger
                .delays
                .extend(newest.map(|stamp| microseconds_since(stamp.time)));
        });
    }

    /// The next thing of an utterance that is said.
    async fn say(&mut self) -> std::result::Result<(), Error> {
        let place = self.texts % (TEXTS + 1);
        if place == TEXTS {
            return self.say_last().await;
        }
        let item = self.item();
        if place == 0 {
            let kind = "input_audio_buffer.speech_started";
            let start = self.milliseconds();
            self.send(json!({"type": kind, "item_id": item, "audio_start_ms": start}))
                .await?;
        }
        self.texts += 1;
        if self.translates {
            return self.say_more(&item).await;
        }
        let kind = "conversation.item.input_audio_transcription.text";
        self.send(json!({
            "type": kind, "item_id": item, "language": "en", "emotion": "neutral",
            "text": now().to_string(), "stash": "",
        }))
        .await
    }

    async fn say_last(&mut self) -> std::result::Result<(), Error> {
        let item = self.item();
        self.texts = (self.texts / (TEXTS + 1) + 1) * (TEXTS + 1);
        let kind = "input_audio_buffer.speech_stopped";
        let end = self.milliseconds();
        self.send(json!({"type": kind, "item_id": item, "audio_end_ms": end}))
            .await?;
        if self.translates {
            return self.say_all(&item).await;
        }
        let kind = "input_audio_buffer.committed";
        self.send(json!({"type": kind, "item_id": item})).await?;
        let kind = "conversation.item.input_audio_transcription.completed";
        self.send(json!({
            "type": kind, "item_id": item, "language": "en", "emotion": "neutral",
            "transcript": now().to_string(), "usage": {"duration": end / 1000},
        }))
        .await
    }

    /// More of an utterance and of its translation, as the models say it that translate.
    async fn say_more(&mut self, item: &str) -> std::result::Result<(), Error> {
        let delta = format!("{} ", now());
        let kind = "conversation.item.input_audio_transcription.delta";
        self.send(json!({"type": kind, "item_id": item, "delta": delta}))
            .await?;
        self.send(json!({
            "type": "response.text.delta", "response_id": format!("response_{item}"),
            "item_id": format!("translation_{item}"), "delta": delta,
        }))
        .await
    }

    /// All of an utterance and of its translation.
    async fn say_all(&mut self, item: &str) -> std::result::Result<(), Error> {
        let (text, response) = (now().to_string(), format!("response_{item}"));
        let translation = format!("translation_{item}");
        let kind = "conversation.item.input_audio_transcription.completed";
        self.send(json!({"type": kind, "item_id": item, "transcript": text}))
            .await?;
        self.send(json!({
            "type": "response.text.done", "response_id": response, "item_id": translation,
            "text": text,
        }))
        .await?;
        let usage = json!({"input_tokens": 21, "output_tokens": 12});
        self.send(json!({
            "type": "response.done",
            "response": {"id": response, "status": "completed", "usage": usage},
        }))
        .await
    }

    fn item(&self) -> String {
        format!("item_{}", self.texts / (TEXTS + 1))
    }

    /// Audio that came so far.
    fn milliseconds(&self) -> u64 {
        self.frames * 100
    }

    async fn send(&mut self, event: Value) -> std::result::Result<(), Error> {
        self.socket.send(Message::text(event.to_string())).await
    }
}
