// SPDX-License-Identifier: MPL-2.0
//! How much later things are for going through the element.

use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;

use crate::load::streams_process;
use crate::process::Process;
use crate::service::{Protocol, Service};
use crate::table::{Table, milliseconds, number, verdict};
use crate::{Kind, Result};

/// Text is sent so long after audio, in milliseconds: not while the element is busy with that.
const AFTER: u64 = 37;

const STARTING: Duration = Duration::from_secs(90);
const SETTLING: Duration = Duration::from_secs(3);

const HEADS: [&str; 6] = [
    "streams", "what", "samples", "p50, ms", "p99, ms", "max, ms",
];
const AUDIO: &str = "audio in the element -> frame at the service";
const MESSAGE: &str = "text from the service -> message";
const BUFFER: &str = "text from the service -> buffer on the src pad";

/// Streams that run, and their service.
struct Running {
    // Ended before the service, so that it has nothing to complain about.
    process: Process,
    service: Service,
}

/// What was seen of them.
struct Seen {
    service: Value,
    process: Value,
}

impl Running {
    /// `talk` is in frames of 100 ms.
    fn start(kind: Kind, streams: usize, talk: u64) -> Result<Self> {
        let mut service = Service::start(Protocol::Realtime, talk, AFTER)?;
        let mut process = streams_process(kind, streams, service.port, "interim", &None)?;
        process.ask("start")?;
        service.wait_for(streams, STARTING)?;
        sleep(SETTLING);
        service.report()?;
        process.ask("report")?;
        Ok(Running { service, process })
    }

    fn watch(&mut self, time: Duration) -> Result<Seen> {
        sleep(time);
        Ok(Seen {
            service: self.service.report()?,
            process: self.process.ask("report")?,
        })
    }
}

/// Adds the delays as rows. Returns the highest p99 in microseconds.
fn rows(table: &mut Table, streams: usize, delays: &[(&str, &Value)]) -> f64 {
    for (what, delays) in delays {
        table.row([
            streams.to_string(),
            (*what).to_owned(),
            number(delays, "count").to_string(),
            milliseconds(number(delays, "p50")),
            milliseconds(number(delays, "p99")),
            milliseconds(number(delays, "max")),
        ]);
    }
    let p99 = delays.iter().map(|(_, delays)| number(delays, "p99"));
    p99.fold(0.0, f64::max)
}

pub fn measure(quick: bool) -> Result<()> {
    let mut table = Table::new(&HEADS);
    let mut alone = f64::NAN;
    let (idle, busy): (&[_], _) = if quick {
        (&[(1, 2), (20, 5)], Duration::from_secs(3))
    } else {
        (&[(1, 2), (200, 5)], Duration::from_secs(60))
    };
    for &(streams, talk) in idle {
        let seen = Running::start(Kind::Bare, streams, 0)?.watch(busy)?;
        let floor = "bare loop: frame made -> frame at the service";
        rows(&mut table, streams, &[(floor, &seen.service["delays"])]);
        let seen = Running::start(Kind::Qwenasr, streams, talk)?.watch(busy)?;
        let delays = [
            (AUDIO, &seen.service["delays"]),
            (MESSAGE, &seen.process["messages"]),
            (BUFFER, &seen.process["buffers"]),
        ];
        let worst = rows(&mut table, streams, &delays);
        if streams == 1 {
            alone = worst;
        }
    }
    table.print("Added delay");
    println!(
        "\nThe audio's delay is that of the newest buffer in a frame, so without the time that \
         the frame took to fill; all of it with the way through the system and another process."
    );
    let mut targets = Table::new(&["target", "measured", ""]);
    targets.row([
        "one stream, both directions: p99 under 2 ms".to_owned(),
        format!("{} ms", milliseconds(alone)),
        verdict(alone < 2000.0),
    ]);
    targets.print("Target");
    Ok(())
}

/// A thousand live streams, with a text every half second each.
pub fn thousand(quick: bool) -> Result<()> {
    let (streams, time) = if quick {
        (100, Duration::from_secs(4))
    } else {
        (1000, Duration::from_secs(60))
    };
    let mut running = Running::start(Kind::Qwenasr, streams, 5)?;
    let begin = running.process.reading()?;
    let seen = running.watch(time)?;
    let end = running.process.reading()?;
    let usage = end.since(&begin);
    let mut table = Table::new(&HEADS);
    let delays = [
        (AUDIO, &seen.service["delays"]),
        (MESSAGE, &seen.process["messages"]),
        (BUFFER, &seen.process["buffers"]),
    ];
    let worst = rows(&mut table, streams, &delays);
    table.print("Many live streams that speak");
    println!(
        "\nFor {} s; the pipelines took {:.2} of a core with their sources, and their resident \
         memory went from {:.0} to {:.0} MiB.",
        time.as_secs(),
        usage.cpu.as_secs_f64() / usage.time.as_secs_f64(),
        begin.resident / 1024.0,
        end.resident / 1024.0,
    );
    let complaints = seen.process["complaints"].as_array().map_or(0, Vec::len);
    let missing = number(&seen.service, "missing");
    let mut targets = Table::new(&["target", "measured", ""]);
    targets.row([
        "no audio lost".to_owned(),
        format!("{missing} buffers, {complaints} warnings"),
        verdict(missing == 0.0 && complaints == 0),
    ]);
    targets.row([
        "both directions: p99 under 20 ms".to_owned(),
        format!("{} ms", milliseconds(worst)),
        verdict(worst < 20_000.0),
    ]);
    targets.print("Targets");
    Ok(())
}
