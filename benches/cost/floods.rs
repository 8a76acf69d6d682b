// SPDX-License-Identifier: MPL-2.0
//! What a service that sends without end costs: memory, audio that goes on, and stopping. The
//! application does not read its bus all the while, which is the worst that it can do.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use futures_util::stream::SplitSink;
use futures_util::{SinkExt, StreamExt};
use gst::prelude::*;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, accept_async};

use crate::Result;
use crate::process::{Process, answer_lines};
use crate::streams::{pipeline, qwenasr};
use crate::table::Table;

/// Bytes of audio in a second, as base64 without the JSON around it.
const SECOND: f64 = 32_000.0 / 3.0 * 4.0;

/// Messages that are sent between two looks at the network.
const BATCH: usize = 100;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Flood {
    None,
    Pings,
    /// Events that no protocol has.
    Unknown,
    /// New text of one utterance.
    Interims,
    /// Utterances, one after the other.
    Finals,
    /// The same with a megabyte of text each.
    Megabytes,
}

#[derive(Args)]
pub struct Options {
    #[arg(long)]
    flood: Flood,
}

#[derive(Args)]
pub struct Client {
    #[arg(long)]
    port: u64,
}

/// The process of the service.
pub fn serve(options: Options) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
    let port = listener.local_addr()?.port();
    let audio = Arc::<AtomicUsize>::default();
    let heard = audio.clone();
    runtime.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(flood(stream, options.flood, heard.clone()));
        }
    });
    answer_lines(|line| {
        Ok(match line {
            "port" => port.into(),
            _ => audio.swap(0, Ordering::Relaxed).into(),
        })
    })
}

/// Counts the audio that comes, and sends as much as it can. Ends quietly with the connection.
async fn flood(stream: TcpStream, flood: Flood, audio: Arc<AtomicUsize>) {
    let Ok(socket) = accept_async(stream).await else {
        return;
    };
    let (mut sink, mut source) = socket.split();
    let session = json!({"type": "session.created", "session": {"id": "sess_1"}});
    let _ = sink.send(Message::text(session.to_string())).await;
    let mut sink = Some(sink);
    while let Some(Ok(message)) = source.next().await {
        let Message::Text(text) = message else {
            continue;
        };
        if let Some((_, rest)) = text.split_once(r#""audio":""#) {
            let encoded = rest.find('"').unwrap_or_default();
            audio.fetch_add(encoded, Ordering::Relaxed);
        } else if text.contains("session.update")
            && let Some(sink) = sink.take()
        {
            tokio::spawn(send_all(sink, flood));
        }
    }
}

async fn send_all(
    mut sink: SplitSink<WebSocketStream<TcpStream>, Message>,
    flood: Flood,
) -> std::result::Result<(), Error> {
    let session = json!({"type": "session.updated", "session": {"id": "sess_1"}});
    sink.send(Message::text(session.to_string())).await?;
    let prefix = "conversation.item.input_audio_transcription";
    let megabyte = "word ".repeat(200_000);
    for n in 0_u64.. {
        let event = match flood {
            Flood::None => return std::future::pending().await,
            Flood::Pings => Message::Ping(vec![b'x'; 100].into()),
            Flood::Unknown => Message::text(json!({"type": "x.y", "event_id": n}).to_string()),
            Flood::Interims => {
                let text = format!("This is what was said, version {n}");
                let event = json!({"type": format!("{prefix}.text"), "item_id": "item_1",
                    "text": text, "stash": "", "language": "en"});
                Message::text(event.to_string())
            }
            Flood::Finals | Flood::Megabytes => {
                let text = match flood {
                    Flood::Megabytes => megabyte.as_str(),
                    _ => "This was said.",
                };
                let event = json!({"type": format!("{prefix}.completed"),
                    "item_id": format!("item_{n}"), "transcript": text, "language": "en"});
                Message::text(event.to_string())
            }
        };
        sink.feed(event).await?;
        if n.is_multiple_of(BATCH as u64) {
            sink.flush().await?;
            tokio::task::yield_now().await;
        }
    }
    Ok(())
}

/// The process with the element.
pub fn run(client: Client) -> Result<()> {
    gst::init()?;
    gstqwenasr::plugin_register_static()?;
    let pipeline = pipeline(&format!(
        "{} results=stable ! fakesink sync=false async=false",
        qwenasr(client.port)
    ))?;
    answer_lines(|line| {
        let state = match line {
            "play" => gst::State::Playing,
            _ => gst::State::Null,
        };
        let begin = Instant::now();
        pipeline.set_state(state)?;
        Ok((begin.elapsed().as_micros() as u64).into())
    })
}

pub fn measure(quick: bool) -> Result<()> {
    let length = Duration::from_secs(if quick { 2 } else { 20 });
    let mut table = Table::new(&[
        "what is sent without end",
        "audio sent, of all",
        "memory, MiB more",
        "NULL, ms",
    ]);
    for flood in Flood::value_variants() {
        let value = flood.to_possible_value();
        let name = value.as_ref().map_or("", |value| value.get_name());
        let mut service = Process::part("flood-service", ["--flood", name])?;
        let port = service.ask("port")?.to_string();
        let mut client = Process::part("flooded", ["--port", &port])?;
        let before = client.reading()?.resident;
        client.ask("play")?;
        let begin = Instant::now();
        let mut most = before;
        while begin.elapsed() < length {
            sleep(Duration::from_millis(50));
            most = most.max(client.reading()?.resident);
        }
        let seconds = begin.elapsed().as_secs_f64();
        let sent = service.ask("audio")?.as_f64().unwrap_or_default() / SECOND;
        let stopped = client.ask("stop")?.as_f64().unwrap_or_default();
        table.row([
            name.to_owned(),
            format!("{:.0} %", 100.0 * sent / seconds),
            format!("{:.1}", (most - before) / 1024.0),
            format!("{:.1}", stopped / 1000.0),
        ]);
    }
    table.print(&format!("Floods of {} s", length.as_secs()));
    Ok(())
}
