// SPDX-License-Identifier: MPL-2.0

//! The offline service as a program: speaks the protocols of Qwen-ASR-Realtime, of its
//! successors and of servers to host oneself, so that the plugin, or any other client, can be
//! tried without an account, and recognises English with Moonshine or PocketSphinx.

use std::env::{
    self,
    consts::{DLL_PREFIX, DLL_SUFFIX},
};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use offline_service::{
    Factory, Notice, Observer, Options, Protocol, VadOptions, moonshine, record, sphinx,
};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

/// Decoders of PocketSphinx loaded at the start: as many sessions begin without a delay.
const DECODERS: usize = 2;

/// Longest item; the real service was not seen to make longer ones either.
const MAX_ITEM: Duration = Duration::from_secs(30);

/// An offline speech recognition service for English, with Moonshine or PocketSphinx behind it.
///
/// It takes the same requests as the real services and answers them with the same events, but
/// knows English only. The path tells the protocol: /api-ws/v1/realtime for Qwen-ASR-Realtime,
/// /api-ws/v1/inference for Qwen-Audio-ASR, Fun-ASR and Paraformer, and /v1/realtime for servers
/// to host oneself. Moonshine is fetched by: bash .ci/setup.sh fetch_moonshine. PocketSphinx
/// takes the packages libpocketsphinx3 or 5, and pocketsphinx-en-us.
#[derive(Parser)]
#[command(name = "local_server")]
struct Arguments {
    /// Port to listen on; 0 picks a free one
    #[arg(long, default_value_t = 8765)]
    port: u16,

    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1", value_name = "ADDRESS")]
    listen: IpAddr,

    /// What recognises the speech
    #[arg(long, value_enum, default_value = "auto", value_name = "NAME")]
    recogniser: Recogniser,

    /// Directory of Moonshine's library and model [default: where .ci/setup.sh puts them]
    #[arg(long, value_name = "DIRECTORY")]
    models: Option<PathBuf>,

    /// API key that clients have to use; without, every client is accepted
    #[arg(long, value_name = "KEY")]
    api_key: Option<String>,

    /// Milliseconds of audio between two interim results
    #[arg(long, default_value_t = 500, value_name = "MS")]
    partial_interval_ms: u64,

    /// Number of sessions at the same time
    #[arg(long, default_value_t = 100, value_name = "NUMBER")]
    max_connections: usize,

    /// Seconds without any message after which a connection is closed
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    idle_timeout: u64,

    /// What to speak at /v1/realtime
    #[arg(long, value_enum, default_value = "vllm", value_name = "PROTOCOL")]
    self_hosted: SelfHosted,

    /// Print what happens, with all transcripts
    #[arg(long, short)]
    verbose: bool,
}

/// What recognises the speech.
#[derive(Clone, Copy, ValueEnum)]
enum Recogniser {
    /// Moonshine if its files are there, or else PocketSphinx
    Auto,
    /// 97 words in 100 of clearly read speech, with capitals and punctuation
    Moonshine,
    /// Three words in four
    Pocketsphinx,
}

/// Protocols of servers to host oneself.
#[derive(Clone, Copy, ValueEnum)]
enum SelfHosted {
    /// That of vLLM
    Vllm,
    /// That of OpenAI's transcription sessions, as sglang serves it
    Openai,
    /// That of sglang-omni's transcription sessions
    SglangOmni,
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("local_server: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<(), String> {
    // Moonshine prefers to be loaded before there are threads.
    let recogniser = recogniser(&arguments)?;
    let runtime = Runtime::new().map_err(|error| error.to_string())?;
    runtime.block_on(serve(arguments, recogniser))
}

/// Loads what recognises the speech, and says what it is.
fn recogniser(arguments: &Arguments) -> Result<Factory, String> {
    let directory = arguments.models.clone();
    let directory = directory.unwrap_or_else(moonshine::default_directory);
    match arguments.recogniser {
        Recogniser::Moonshine => with_moonshine(&directory),
        Recogniser::Pocketsphinx => with_pocketsphinx(),
        Recogniser::Auto => with_moonshine(&directory).or_else(|without| {
            let factory = with_pocketsphinx().map_err(|error| format!("{without}. {error}"))?;
            println!("{without}.");
            Ok(factory)
        }),
    }
}

fn with_moonshine(directory: &Path) -> Result<Factory, String> {
    let factory = moonshine::factory(directory)?;
    println!("Recognising English with Moonshine");
    Ok(factory)
}

fn with_pocketsphinx() -> Result<Factory, String> {
    let factory = sphinx::factory(DECODERS)?;
    println!("Recognising English with PocketSphinx, which gets three words in four right");
    Ok(factory)
}

async fn serve(arguments: Arguments, recogniser: Factory) -> Result<(), String> {
    let address = SocketAddr::new(arguments.listen, arguments.port);
    let listener = TcpListener::bind(address)
        .await
        .map_err(|error| format!("cannot listen on {address}: {error}"))?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    let needs_key = arguments.api_key.is_some();
    let self_hosted = match arguments.self_hosted {
        SelfHosted::Vllm => Protocol::Vllm,
        SelfHosted::Openai => Protocol::OpenAi,
        SelfHosted::SglangOmni => Protocol::SglangOmni,
    };
    let mut protocols = Options::default().protocols;
    protocols.retain(|protocol| protocol.path() != self_hosted.path());
    protocols.push(self_hosted);
    let options = Options {
        protocols,
        recogniser,
        vad: VadOptions::RECORDING,
        max_item: Some(MAX_ITEM),
        api_key: arguments.api_key,
        partial_interval: Duration::from_millis(arguments.partial_interval_ms),
        max_connections: arguments.max_connections,
        idle_timeout: Duration::from_secs(arguments.idle_timeout),
        observer: arguments.verbose.then(observer),
        ..Options::default()
    };
    let url_for =
        |protocol: Protocol| format!("ws://{address}{}{}", protocol.path(), protocol.query());
    let url = url_for(Protocol::Realtime);
    println!("Listening on {url}");
    println!("         and {}", url_for(Protocol::Inference));
    println!("         and {}", url_for(self_hosted));
    let key = if needs_key { " api-key=…" } else { "" };
    println!(
        "Try, with speech in talk.wav:\n{}gst-launch-1.0 -q filesrc location=talk.wav ! decodebin ! \
         audioconvert ! audioresample ! qwenasr url={url}{key} ! srtenc ! fdsink",
        plugin_path()
    );
    let mut terminated = signal(SignalKind::terminate()).map_err(|error| error.to_string())?;
    let stopped = async {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminated.recv() => {}
        }
    };
    offline_service::serve_until(listener, options, stopped).await;
    Ok(())
}

/// What a command begins with so that GStreamer finds the plugin: it is built along with this
/// program. Nothing if it is not there.
fn plugin_path() -> String {
    let library = format!("{DLL_PREFIX}gstqwenasr{DLL_SUFFIX}");
    let program = env::current_exe().unwrap_or_default();
    // In target/debug/examples, say. What was not asked for by itself is in deps only.
    let directory = program.ancestors().nth(2).and_then(|directory| {
        let mut places = [directory.to_owned(), directory.join("deps")].into_iter();
        places.find(|place| place.join(&library).exists())
    });
    let Some(directory) = directory else {
        return String::new();
    };
    let here = env::current_dir().unwrap_or_default();
    // GStreamer takes relative ones, too.
    let directory = directory.strip_prefix(here).unwrap_or(&directory);
    format!("GST_PLUGIN_PATH=\"{}\" ", directory.display())
}

/// Prints what happens.
fn observer() -> Observer {
    Arc::new(|connection, notice| match notice {
        Notice::Opened => println!("[{connection}] opened"),
        Notice::Sent(event) => {
            if let Some(line) = line(event) {
                println!("[{connection}] {line}");
            }
        }
        Notice::Ended(end) => println!("[{connection}] ended: {end:?}"),
    })
}

/// What an event says, if it is worth a line.
fn line(event: &Value) -> Option<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    if let Some(transcript) = record::transcript(event) {
        return Some(transcript.to_owned());
    }
    match record::kind(event).rsplit('.').next()? {
        "text" => Some(format!(
            "… {}|{}",
            text(&event["text"]),
            text(&event["stash"])
        )),
        "delta" => Some(format!("… {}", text(&event["delta"]))),
        "result-generated" => {
            let partial = text(&event["payload"]["output"]["sentence"]["text"]);
            (!partial.is_empty()).then(|| format!("… |{partial}"))
        }
        "error" => Some(format!("error: {}", event["error"])),
        "task-failed" => Some(format!("error: {}", event["header"]["error_message"])),
        _ => None,
    }
}
