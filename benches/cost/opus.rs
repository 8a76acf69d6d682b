// SPDX-License-Identifier: MPL-2.0
//! What Opus spares and costs: bytes on the way to the service, and words that are understood, of
//! real recordings as PCM and as Opus. Its CPU is in the section `load`.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use gst::prelude::*;
use offline_service::recordings::{self, Recording, spoken_words};

use crate::table::{Table, verdict};
use crate::{Result, quality};

const RATE: usize = 16_000;

/// Silence after each recording.
const PAUSE: usize = RATE;

/// Words that may be missed for Opus, as a share of those that PCM brings.
const MAX_MISSED: f64 = 0.02;

/// What stands between the samples and the element.
const CODINGS: [(&str, &str); 3] = [
    ("PCM", "identity"),
    ("Opus, 24 kbit/s", "opusenc bitrate=24000 audio-type=voice"),
    (
        "Opus, 24 kbit/s, packets of 60 ms, DTX",
        "opusenc bitrate=24000 audio-type=voice frame-size=60 dtx=true",
    ),
];

pub fn measure() -> Result<()> {
    gst::init()?;
    gstqwenasr::plugin_register_static()?;
    let recordings = recordings::all()?;
    let server = quality::service()?;
    let mut table = Table::new(&[
        "audio",
        "MB an hour",
        "kbit/s",
        "of PCM's",
        "words right",
        "at most 2 % fewer",
    ]);
    let mut pcm = None;
    for (name, encoder) in CODINGS {
        let way = Way::to(server.port())?;
        let heard = play(&recordings, encoder, way.port)?;
        let length: usize = recordings.iter().map(|r| r.pcm.len() + PAUSE).sum();
        let seconds = length as f64 / RATE as f64;
        let bytes_a_second = way.bytes.load(Ordering::Relaxed) as f64 / seconds;
        let expected: Vec<_> = recordings.iter().flat_map(|r| r.words.clone()).collect();
        let right = expected
            .len()
            .saturating_sub(recordings::errors(&expected, &heard));
        let (bytes_of_pcm, right_of_pcm) = *pcm.get_or_insert((bytes_a_second, right));
        let least = right_of_pcm as f64 * (1.0 - MAX_MISSED);
        table.row([
            name.to_owned(),
            format!("{:.1}", bytes_a_second * 3600.0 / 1e6),
            format!("{:.0}", bytes_a_second * 8.0 / 1000.0),
            format!("{:.0} %", 100.0 * bytes_a_second / bytes_of_pcm),
            format!("{right} of {}", expected.len()),
            verdict(right as f64 >= least),
        ]);
    }
    table.print("Opus beside PCM, on the way to the service");
    println!("\nBytes of TCP's payload, headers of the WebSocket included.");
    Ok(())
}

/// Plays the recordings through the element, and returns the words that come back.
fn play(recordings: &[Recording], encoder: &str, port: u16) -> Result<Vec<String>> {
    let pipeline = gst::parse::launch(&format!(
        "appsrc name=source format=time caps=audio/x-raw,format=S16LE,rate={RATE},channels=1,layout=interleaved \
         ! {encoder} ! qwenasrsink name=transcriber max-speed=10 \
         url=ws://127.0.0.1:{port}/api-ws/v1/realtime",
    ))?;
    let pipeline = pipeline
        .downcast::<gst::Pipeline>()
        .map_err(|_| "the pipeline is none")?;
    let source = pipeline.by_name("source").ok_or("there is no source")?;
    pipeline.set_state(gst::State::Playing)?;
    let mut at = 0;
    for recording in recordings {
        let pause = [0; PAUSE];
        let samples = recording.pcm.iter().chain(&pause);
        let bytes: Vec<u8> = samples.flat_map(|sample| sample.to_le_bytes()).collect();
        let length = recording.pcm.len() + PAUSE;
        let mut buffer = gst::Buffer::from_slice(bytes);
        let time = Duration::from_secs_f64(at as f64 / RATE as f64);
        buffer
            .get_mut()
            .ok_or("the buffer is shared")?
            .set_pts(gst::ClockTime::try_from(time)?);
        let _ = source.emit_by_name::<gst::FlowReturn>("push-buffer", &[&buffer]);
        at += length;
    }
    let _ = source.emit_by_name::<gst::FlowReturn>("end-of-stream", &[]);
    let mut heard = Vec::new();
    let bus = pipeline.bus().ok_or("a pipeline has no bus")?;
    for message in bus.iter_timed(gst::ClockTime::NONE) {
        match message.view() {
            gst::MessageView::Eos(_) => break,
            gst::MessageView::Error(error) => return Err(error.error().into()),
            gst::MessageView::Element(element) => {
                if let Some(said) = element.structure()
                    && said.name() == "qwenasr/transcript"
                    && said.get::<bool>("final") == Ok(true)
                    && let Ok(text) = said.get::<String>("text")
                {
                    heard.extend(spoken_words(&text));
                }
            }
            _ => {}
        }
    }
    pipeline.set_state(gst::State::Null)?;
    Ok(heard)
}

/// A way to a port of this machine that counts what goes there.
struct Way {
    port: u16,
    bytes: Arc<AtomicU64>,
}

impl Way {
    fn to(port: u16) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let way = Self {
            port: listener.local_addr()?.port(),
            bytes: Arc::default(),
        };
        let bytes = way.bytes.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // What fails ends the connection, and with it the pipeline.
                let _ = join(client, port, &bytes);
            }
        });
        Ok(way)
    }
}

fn join(client: TcpStream, port: u16, bytes: &Arc<AtomicU64>) -> io::Result<()> {
    let server = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let there = (client.try_clone()?, server.try_clone()?, bytes.clone());
    std::thread::spawn(move || pass(there.0, there.1, &there.2));
    std::thread::spawn(move || pass(server, client, &AtomicU64::new(0)));
    Ok(())
}

fn pass(mut from: TcpStream, mut to: TcpStream, bytes: &AtomicU64) {
    let mut buffer = [0; 16 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        bytes.fetch_add(count as u64, Ordering::Relaxed);
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
