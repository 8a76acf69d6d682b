// SPDX-License-Identifier: MPL-2.0

//! What a recogniser of the offline service is worth: how many words it gets right, what it
//! costs, and how late it is, while several people speak at the same time.
//!
//! ```sh
//! cargo run --release -p offline-service --bin measure -- --sessions 4
//! ```

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use clap::{Parser, ValueEnum};
use futures_util::{SinkExt, StreamExt};
use offline_service::recordings::{self, Recording};
use offline_service::{Options, Server, VadOptions, blocks, moonshine, record, sphinx};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};

/// Audio in one message in milliseconds, and in samples.
const CHUNK_MS: u64 = 100;
const CHUNK: usize = 1600;

/// Silence after each sentence, in samples.
const PAUSE: usize = 16_000;

/// By how much later each session begins than the one before.
const STAGGER: Duration = Duration::from_millis(730);

/// Processor time is counted in hundredths of a second.
const TICK: Duration = Duration::from_millis(10);

/// Measures the recognition of five sentences that are read aloud, in real time.
#[derive(Parser)]
#[command(name = "measure")]
struct Arguments {
    /// Sessions at the same time
    #[arg(long, default_value_t = 1, value_name = "NUMBER")]
    sessions: usize,

    /// What recognises the speech
    #[arg(long, value_enum, default_value = "moonshine", value_name = "NAME")]
    recogniser: Recogniser,

    /// Directory of Moonshine's library and model [default: where .ci/setup.sh puts them]
    #[arg(long, value_name = "DIRECTORY")]
    models: Option<PathBuf>,

    /// Milliseconds of audio between two interim results
    #[arg(long, default_value_t = 500, value_name = "MS")]
    partial_interval_ms: u64,
}

#[derive(Clone, Copy, ValueEnum)]
enum Recogniser {
    Moonshine,
    Pocketsphinx,
}

/// What was seen of one session, or of several.
#[derive(Default)]
struct Seen {
    expected: usize,
    errors: usize,
    utterances: usize,
    /// From the beginning of an utterance to its first words, from one interim result to the
    /// next, and from the end of an utterance to its final result; in milliseconds.
    first: Vec<u64>,
    between: Vec<u64>,
    after: Vec<u64>,
}

impl Seen {
    fn add(&mut self, other: Self) {
        self.expected += other.expected;
        self.errors += other.errors;
        self.utterances += other.utterances;
        self.first.extend(other.first);
        self.between.extend(other.between);
        self.after.extend(other.after);
    }
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("measure: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), String> {
    let recordings = recordings::all()?;
    // Before there are threads, as Moonshine prefers.
    let recogniser = match arguments.recogniser {
        Recogniser::Pocketsphinx => sphinx::factory(arguments.sessions)?,
        Recogniser::Moonshine => {
            let directory = arguments.models.clone();
            moonshine::factory(&directory.unwrap_or_else(moonshine::default_directory))?
        }
    };
    let server = Server::start(Options {
        recogniser,
        vad: VadOptions::RECORDING,
        partial_interval: Duration::from_millis(arguments.partial_interval_ms),
        ..Options::default()
    });
    let before = processor_time()?;
    let runtime = tokio::runtime::Runtime::new().map_err(|error| error.to_string())?;
    let seen = runtime.block_on(sessions(&server, &recordings, arguments.sessions))?;
    let audio = audio(&recordings).len() as f64 / 16_000.0 * arguments.sessions as f64;
    report(seen, (processor_time()? - before).as_secs_f64(), audio);
    Ok(())
}

async fn sessions(server: &Server, recordings: &[Recording], count: usize) -> Result<Seen, String> {
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..count {
        let (url, port) = (server.url(), server.port());
        let recordings = recordings.to_vec();
        let begin = Instant::now() + STAGGER * number as u32;
        tasks.spawn(async move {
            sleep_until(begin).await;
            session(&url, port, &recordings).await
        });
    }
    let mut seen = Seen::default();
    while let Some(session) = tasks.join_next().await {
        let session = session.map_err(|error| error.to_string())?;
        seen.add(session.map_err(|error| error.to_string())?);
    }
    Ok(seen)
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The sentences, each with a pause after it.
fn audio(recordings: &[Recording]) -> Vec<i16> {
    let mut audio = Vec::new();
    for recording in recordings {
        audio.extend_from_slice(&recording.pcm);
        audio.extend([0; PAUSE]);
    }
    audio
}

/// Sends the sentences as fast as they are spoken, and sees what comes back.
async fn session(url: &str, port: u16, recordings: &[Recording]) -> Result<Seen, Failure> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let (mut socket, _) = client_async(format!("{url}?model=any"), stream).await?;
    let detection = json!({"type": "server_vad", "threshold": 0.0, "silence_duration_ms": 400});
    let update = json!({"type": "session.update", "session": {"turn_detection": detection}});
    socket.send(Message::text(update.to_string())).await?;

    let begin = Instant::now();
    let mut watch = Watch::default();
    for (number, chunk) in audio(recordings).chunks(CHUNK).enumerate() {
        // A chunk can be sent when its end has been spoken.
        let due = begin + Duration::from_millis(CHUNK_MS) * (number as u32 + 1);
        watch.listen(&mut socket, begin, Some(due)).await?;
        let audio = BASE64.encode(blocks::bytes(chunk));
        let append = json!({"type": "input_audio_buffer.append", "audio": audio});
        socket.send(Message::text(append.to_string())).await?;
    }
    let finish = json!({"type": "session.finish"});
    socket.send(Message::text(finish.to_string())).await?;
    watch.listen(&mut socket, begin, None).await?;

    let expected: Vec<String> = recordings.iter().flat_map(|r| r.words.clone()).collect();
    let mut seen = watch.seen;
    seen.expected = expected.len();
    seen.errors = recordings::errors(&expected, &recordings::spoken_words(&watch.text));
    Ok(seen)
}

/// What comes of a session, with the times at which it does.
#[derive(Default)]
struct Watch {
    seen: Seen,
    text: String,
    /// When the utterance that goes on began, and had its latest interim result.
    begun: Option<u64>,
    latest: Option<u64>,
    /// When the utterance that is over ended.
    ended: u64,
}

impl Watch {
    /// Takes what comes until then, or until the session is over.
    async fn listen(
        &mut self,
        socket: &mut WebSocketStream<TcpStream>,
        begin: Instant,
        until: Option<Instant>,
    ) -> Result<(), Failure> {
        loop {
            let message = match until {
                Some(until) => match tokio::time::timeout_at(until, socket.next()).await {
                    Ok(message) => message,
                    Err(_) => return Ok(()),
                },
                None => socket.next().await,
            };
            match message {
                Some(Ok(Message::Text(text))) => {
                    let event: Value = serde_json::from_str(text.as_str())?;
                    self.take(&event, begin.elapsed().as_millis() as u64);
                }
                Some(Ok(Message::Close(_))) | None => return Ok(()),
                Some(Ok(_)) => (),
                Some(Err(error)) => return Err(error.into()),
            }
        }
    }

    fn take(&mut self, event: &Value, now: u64) {
        let ms = |value: &Value| value.as_u64().unwrap_or_default();
        match record::kind(event).rsplit('.').next().unwrap_or_default() {
            "speech_started" => {
                self.begun = Some(ms(&event["audio_start_ms"]));
                self.latest = None;
            }
            "text" => {
                if let Some(latest) = self.latest.replace(now) {
                    self.seen.between.push(now.saturating_sub(latest));
                } else if let Some(begun) = self.begun {
                    self.seen.first.push(now.saturating_sub(begun));
                }
            }
            "speech_stopped" => self.ended = ms(&event["audio_end_ms"]),
            "completed" => {
                self.seen.utterances += 1;
                self.seen.after.push(now.saturating_sub(self.ended));
                self.text
                    .push_str(record::transcript(event).unwrap_or_default());
                self.text.push(' ');
            }
            _ => (),
        }
    }
}

/// What the process took of the processors' time.
fn processor_time() -> Result<Duration, String> {
    let stat = fs::read_to_string("/proc/self/stat").map_err(|error| error.to_string())?;
    // The name, in parentheses, may have spaces.
    let (_, fields) = stat
        .rsplit_once(") ")
        .ok_or("there is no name in /proc/self/stat")?;
    let ticks = fields.split(' ').skip(11).take(2);
    let ticks: u32 = ticks.filter_map(|field| field.parse::<u32>().ok()).sum();
    Ok(TICK * ticks)
}

fn report(mut seen: Seen, processor: f64, audio: f64) {
    let right = seen.expected.saturating_sub(seen.errors);
    let utterances = seen.utterances.max(1) as f64;
    println!("words right             {right} of {}", seen.expected);
    println!(
        "processor time          {:.0} ms per utterance, {:.0} ms per second of audio",
        processor * 1000.0 / utterances,
        processor * 1000.0 / audio,
    );
    for (what, times) in [
        ("first words after", &mut seen.first),
        ("interim results every", &mut seen.between),
        ("final result after the end", &mut seen.after),
    ] {
        times.sort_unstable();
        let at = |part: usize| times.get(times.len() * part / 100).copied().unwrap_or(0);
        let longest = times.last().copied().unwrap_or(0);
        println!(
            "{what:<26} {:>4} ms, 95 % within {} ms, {longest} ms at most",
            at(50),
            at(95)
        );
    }
}
