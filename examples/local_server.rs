// SPDX-License-Identifier: MPL-2.0

//! The offline service as a program: speaks the protocol of Qwen-ASR-Realtime, so that the
//! plugin, or any other client, can be tried without an account, and recognises English with
//! PocketSphinx.

use std::{
    net::{IpAddr, SocketAddr},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use clap::Parser;
use offline_service::{Notice, Observer, Options, VadOptions, server::PATH, sphinx};
use tokio::net::TcpListener;

/// Decoders loaded at the start: as many sessions begin without a delay.
const DECODERS: usize = 2;

/// Longest item; the real service was not seen to make longer ones either.
const MAX_ITEM: Duration = Duration::from_secs(30);

/// An offline Qwen-ASR-Realtime service for English, with PocketSphinx behind it.
///
/// It takes the same requests as the real service and answers them with the same events, but
/// understands less of what is said. It needs the packages libpocketsphinx3 and
/// pocketsphinx-en-us.
#[derive(Parser)]
#[command(name = "local_server")]
struct Arguments {
    /// Port to listen on; 0 picks a free one
    #[arg(long, default_value_t = 8765)]
    port: u16,

    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1", value_name = "ADDRESS")]
    listen: IpAddr,

    /// API key that clients have to use; without, every client is accepted
    #[arg(long, value_name = "KEY")]
    api_key: Option<String>,

    /// Milliseconds of audio between two provisional results
    #[arg(long, default_value_t = 500, value_name = "MS")]
    partial_interval_ms: u64,

    /// Number of sessions at the same time
    #[arg(long, default_value_t = 100, value_name = "NUMBER")]
    max_connections: usize,

    /// Seconds without any message after which a connection is closed
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    idle_timeout: u64,

    /// Print what happens, with all transcripts
    #[arg(long, short)]
    verbose: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("local_server: {message}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<(), String> {
    let address = SocketAddr::new(arguments.listen, arguments.port);
    let listener = TcpListener::bind(address)
        .await
        .map_err(|error| format!("cannot listen on {address}: {error}"))?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    let needs_key = arguments.api_key.is_some();
    let options = Options {
        recogniser: sphinx::factory(DECODERS)?,
        vad: VadOptions::RECORDING,
        max_item: Some(MAX_ITEM),
        api_key: arguments.api_key,
        partial_interval: Duration::from_millis(arguments.partial_interval_ms),
        max_connections: arguments.max_connections,
        idle_timeout: Duration::from_secs(arguments.idle_timeout),
        observer: arguments.verbose.then(observer),
        ..Options::default()
    };
    let key = if needs_key { "…" } else { "any" };
    let url = format!("ws://{address}{PATH}");
    println!("Listening on {url}");
    println!(
        "Try: gst-launch-1.0 autoaudiosrc ! audioconvert ! audioresample ! qwenasr url={url} \
         api-key={key} ! fdsink"
    );
    tokio::select! {
        () = offline_service::serve(listener, options) => Ok(()),
        interrupted = tokio::signal::ctrl_c() => interrupted.map_err(|error| error.to_string()),
    }
}

/// Prints what happens.
fn observer() -> Observer {
    Arc::new(|connection, notice| match notice {
        Notice::Opened => println!("[{connection}] opened"),
        Notice::Sent(event) => {
            let kind = event["type"].as_str().unwrap_or_default();
            let text = |key: &str| event[key].as_str().unwrap_or_default().to_owned();
            match kind.rsplit('.').next() {
                Some("text") => println!("[{connection}] … {}|{}", text("text"), text("stash")),
                Some("completed") => println!("[{connection}] {}", text("transcript")),
                Some("error") => println!("[{connection}] error: {}", event["error"]["message"]),
                _ => (),
            }
        }
        Notice::Ended(end) => println!("[{connection}] ended: {end:?}"),
    })
}
