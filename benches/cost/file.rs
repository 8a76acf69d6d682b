// SPDX-License-Identifier: MPL-2.0
//! How fast a file goes through, when nothing holds it back.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use gst::prelude::*;
use serde_json::json;

use crate::Result;
use crate::process::{Process, answer_lines};
use crate::service::{Protocol, Service};
use crate::stamp::RATE;
use crate::streams::qwenasr;
use crate::table::{Table, median, number, verdict};

#[derive(Args)]
pub struct Options {
    #[arg(long)]
    path: PathBuf,
    #[arg(long)]
    port: u64,
    /// Begins at once, and ends with the file.
    #[arg(long)]
    at_once: bool,
}

/// A recording of silence, removed when this is dropped.
pub struct Recording(pub PathBuf);

impl Recording {
    pub fn new(seconds: usize) -> Result<Self> {
        let name = format!("qwenasr-cost-{}-{seconds}.wav", std::process::id());
        let path = std::env::temp_dir().join(name);
        let length = (seconds * RATE * 2) as u32;
        let mut wav = Vec::new();
        wav.extend(b"RIFF");
        wav.extend((36 + length).to_le_bytes());
        wav.extend(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
        wav.extend((RATE as u32).to_le_bytes());
        wav.extend((RATE as u32 * 2).to_le_bytes());
        wav.extend(b"\x02\0\x10\0data");
        wav.extend(length.to_le_bytes());
        wav.resize(wav.len() + length as usize, 0);
        std::fs::write(&path, wav)?;
        Ok(Recording(path))
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        // It is in the directory for temporary files.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// The process that sends a file.
pub fn run(options: Options) -> Result<()> {
    gst::init()?;
    gstqwenasr::plugin_register_static()?;
    if options.at_once {
        play(&options)?;
        return Ok(());
    }
    answer_lines(|_| Ok(json!({ "seconds": play(&options)?.as_secs_f64() })))
}

fn play(options: &Options) -> Result<Duration> {
    let pipeline = gst::parse::launch(&format!(
        "filesrc name=file ! wavparse ! {} max-speed=10000 ! fakesink sync=false",
        qwenasr(options.port)
    ))?;
    let pipeline = pipeline
        .downcast::<gst::Pipeline>()
        .map_err(|_| "the pipeline is none")?;
    let file = pipeline.by_name("file").ok_or("there is no file")?;
    file.set_property("location", options.path.to_str());
    let bus = pipeline.bus().ok_or("a pipeline has no bus")?;
    let start = Instant::now();
    pipeline.set_state(gst::State::Playing)?;
    let kinds = [gst::MessageType::Eos, gst::MessageType::Error];
    let last = bus.timed_pop_filtered(gst::ClockTime::from_seconds(300), &kinds);
    let time = start.elapsed();
    pipeline.set_state(gst::State::Null)?;
    match last.as_ref().map(|message| message.view()) {
        Some(gst::MessageView::Eos(_)) => Ok(time),
        Some(gst::MessageView::Error(error)) => Err(error.error().to_string().into()),
        _ => Err("the file did not end".into()),
    }
}

/// The arguments of a process that plays a recording.
pub fn arguments(recording: &Path, port: u64) -> [String; 4] {
    let path = recording.to_string_lossy().into_owned();
    [
        "--path".to_owned(),
        path,
        "--port".to_owned(),
        port.to_string(),
    ]
}

pub fn measure(quick: bool) -> Result<()> {
    let (seconds, rounds) = if quick { (120, 1) } else { (1800, 7) };
    let recording = Recording::new(seconds)?;
    let mut rates = Vec::new();
    for _ in 0..rounds {
        let mut service = Service::start(Protocol::Realtime, 5, 0)?;
        let mut process = Process::part("play-file", arguments(&recording.0, service.port))?;
        let took = number(&process.ask("play")?, "seconds");
        let arrived = number(&service.report()?, "audio_bytes");
        if arrived != (seconds * RATE * 2) as f64 {
            return Err(format!("{arrived} bytes arrived of {seconds} s of audio").into());
        }
        rates.push(seconds as f64 / took);
    }
    let rate = median(rates.iter().copied());
    let spread = |fold: fn(f64, f64) -> f64| rates.iter().copied().reduce(fold).unwrap_or(f64::NAN);
    let mut table = Table::new(&["target", "measured", "lowest", "highest", ""]);
    table.row([
        "a file on loopback, unpaced: 500 times real time".to_owned(),
        format!("{rate:.0}"),
        format!("{:.0}", spread(f64::min)),
        format!("{:.0}", spread(f64::max)),
        verdict(rate >= 500.0),
    ]);
    table.print("Pace of files");
    println!(
        "\nMedian of {rounds} runs of {seconds} s of audio, with a text every half second of it."
    );
    Ok(())
}
