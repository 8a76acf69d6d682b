// SPDX-License-Identifier: MPL-2.0
//! How long it takes to start, to stop, and to make and destroy many.

use std::time::{Duration, Instant};

use clap::Args;
use gst::prelude::*;
use serde_json::{Value, json};

use crate::Result;
use crate::process::{Process, answer_lines};
use crate::service::{Protocol, Service};
use crate::stamp::now;
use crate::streams::{pipeline, qwenasr};
use crate::table::{Table, milliseconds, number, summary};

/// Elements that are made at once.
const MANY: usize = 200;

/// From the first buffer to the last one of a frame, in microseconds.
const FILLING: u64 = 80_000;

#[derive(Args)]
pub struct Options {
    #[arg(long)]
    port: u64,
}

/// The process with the elements.
pub fn run(options: Options) -> Result<()> {
    gst::init()?;
    gstqwenasr::plugin_register_static()?;
    let rest = format!(
        "{} ! fakesink sync=false async=false",
        qwenasr(options.port)
    );
    let microseconds = |since: Instant| since.elapsed().as_micros() as u64;
    let mut running = Vec::new();
    answer_lines(|line| match line {
        "play" => {
            let pipeline = pipeline(&rest)?;
            let begin = now();
            pipeline.set_state(gst::State::Playing)?;
            running.push(pipeline);
            Ok(begin.into())
        }
        "stop" => {
            let begin = Instant::now();
            for pipeline in &running {
                pipeline.set_state(gst::State::Null)?;
            }
            let stopped = microseconds(begin);
            running.clear();
            Ok(stopped.into())
        }
        _ => {
            let begin = Instant::now();
            let elements: Vec<_> = (0..MANY)
                .map(|_| gst::ElementFactory::make("qwenasr").build())
                .collect::<std::result::Result<_, _>>()?;
            let made = microseconds(begin);
            let begin = Instant::now();
            drop(elements);
            Ok(json!({ "make": made, "destroy": microseconds(begin) }))
        }
    })
}

pub fn measure(quick: bool) -> Result<()> {
    let rounds = if quick { 3 } else { 30 };
    let mut service = Service::start(Protocol::Realtime, 0, 0)?;
    let port = service.port.to_string();
    let mut process = Process::part("start-and-stop", ["--port", &port])?;
    let (mut first, mut late, mut stops) = (Vec::new(), Vec::new(), Vec::new());
    let (mut made, mut destroyed) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let begin = process.ask("play")?.as_u64().unwrap_or_default();
        service.wait_for(round + 1, Duration::from_secs(20))?;
        let seen = service.report()?;
        let (arrived, fed) = (first_of(&seen, 0), first_of(&seen, 1));
        first.push(((arrived - begin) / 1000) as u32);
        late.push(((arrived - fed) / 1000).saturating_sub(FILLING) as u32);
        stops.push(process.ask("stop")?.as_u64().unwrap_or_default() as u32);
        let many = process.ask("many")?;
        made.push(number(&many, "make") as u32);
        destroyed.push(number(&many, "destroy") as u32);
    }
    for _ in 0..MANY {
        process.ask("play")?;
    }
    service.wait_for(rounds + MANY, Duration::from_secs(60))?;
    let stopped = process.ask("stop")?.as_u64().unwrap_or_default();

    let mut table = Table::new(&["what", "p50, ms", "max, ms"]);
    let mut row = |what: &str, delays: Vec<u32>| {
        let delays = summary(delays);
        let cell = |name| milliseconds(number(&delays, name));
        table.row([what.to_owned(), cell("p50"), cell("max")]);
    };
    row(
        "PLAYING -> first frame at the service, 100 ms of audio in it",
        first,
    );
    row("first frame later than its audio was complete", late);
    row("PLAYING -> NULL, connected", stops);
    row("200 elements made", made);
    row("200 elements destroyed", destroyed);
    row(
        "200 pipelines, connected, one after the other -> NULL",
        vec![stopped as u32],
    );
    table.print("Start and stop");
    Ok(())
}

/// When the first audio came (0), and when it had been made (1).
fn first_of(seen: &Value, which: usize) -> u64 {
    seen["first"][0][which].as_u64().unwrap_or_default()
}
