// SPDX-License-Identifier: MPL-2.0
//! What one more live stream costs, beside others that send the same audio.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;

use crate::process::Process;
use crate::service::{Protocol, Service};
use crate::stamp::BUFFER;
use crate::table::{Table, known, median, number, verdict};
use crate::{Kind, Result, peers};

/// Bytes of audio in a second.
const BYTES_PER_SECOND: f64 = 32_000.0;

const BUFFERS_PER_SECOND: f64 = BYTES_PER_SECOND / BUFFER as f64;

/// For all streams to be there.
const STARTING: Duration = Duration::from_secs(90);

/// After that, until memory and timers are what they are going to be: all that is kept of silence
/// is some seconds of it.
const SETTLING: Duration = Duration::from_secs(5);

/// What comes back, and what becomes of it.
#[derive(Clone, Copy)]
pub struct Talk {
    /// Frames of 100 ms between two texts of the service; 0 for none.
    pub every: u64,
    /// What the text pads are to carry.
    pub results: &'static str,
}

/// Audio goes out, and nothing comes back.
const SILENT: Talk = Talk {
    every: 0,
    results: "final",
};

/// Something that takes audio to a service.
pub enum Client {
    Ours(Kind, Option<PathBuf>),
    Sdk(PathBuf, PathBuf),
}

struct Candidate {
    name: &'static str,
    client: Result<Client>,
}

/// What a number of streams took together, per second.
pub struct Sample {
    pub cpu: f64,
    pub switches: f64,
    pub kib: f64,
    /// By code in Rust; NaN of what is not.
    pub allocations: f64,
    /// Share of the audio that arrived.
    pub arrived: f64,
}

/// Medians, per stream.
struct Cost {
    cpu: f64,
    switches: f64,
    kib: f64,
    allocations: f64,
    arrived: f64,
}

pub fn measure(quick: bool) -> Result<()> {
    let (sizes, window, rounds): (&[usize], _, _) = if quick {
        (&[20], Duration::from_secs(2), 1)
    } else {
        (&[50, 200, 1000], Duration::from_secs(10), 3)
    };
    let speechmatics =
        || peers::speechmatics().map(|plugin| Client::Ours(Kind::Speechmatics, Some(plugin)));
    let candidate = |name, client| Candidate { name, client };
    let candidates = [
        candidate(PLAIN, Ok(Client::Ours(Kind::Plain, None))),
        candidate(QWENASR, Ok(Client::Ours(Kind::Qwenasr, None))),
        candidate(PLAIN_OPUS, Ok(Client::Ours(Kind::PlainOpus, None))),
        candidate(OPUS, Ok(Client::Ours(Kind::Opus, None))),
        candidate(BARE, Ok(Client::Ours(Kind::Bare, None))),
        candidate(SPEECHMATICS, speechmatics()),
        candidate(
            SDK,
            peers::sdk().map(|(python, program)| Client::Sdk(python, program)),
        ),
    ];
    let mut table = Table::new(&[
        "streams",
        "what",
        "CPU, ms per stream and second",
        "of qwenasr's",
        "context switches per stream and second",
        "memory per stream, KiB",
        "allocations per buffer",
        "audio that arrived",
    ]);
    let mut targets = Table::new(&["target", "streams", "measured", ""]);
    for &streams in sizes {
        let costs = costs(&candidates, streams, window, rounds, &mut table);
        judge(&costs, streams, &mut targets);
    }
    table.print("Cost of live streams, 20 ms buffers");
    println!(
        "\nMedians of {rounds} rounds of {} s in turns. Of pipelines: what they cost more than the \
         same ones without a transcriber, in whose row everything is counted.",
        window.as_secs()
    );
    println!("Allocations are those of code in Rust: the plugin's, and the bare loop's.");
    targets.print("Targets");
    Ok(())
}

const PLAIN: &str = "pipelines without a transcriber";
const QWENASR: &str = "qwenasr";
const PLAIN_OPUS: &str = "pipelines of Opus without a transcriber";
const OPUS: &str = "qwenasr with Opus at 24 kbit/s";
const BARE: &str = "bare tokio-tungstenite loop";
const SPEECHMATICS: &str = "speechmaticstranscriber 0.15";
const SDK: &str = "Python SDK dashscope 2.0.2";

fn costs(
    candidates: &[Candidate],
    streams: usize,
    window: Duration,
    rounds: usize,
    table: &mut Table,
) -> BTreeMap<&'static str, Cost> {
    let mut samples: BTreeMap<&str, Vec<Sample>> = BTreeMap::new();
    let mut failures: BTreeMap<&str, String> = BTreeMap::new();
    for _ in 0..rounds {
        for candidate in candidates {
            let sample = match &candidate.client {
                Ok(client) => sample(client, streams, SILENT, window),
                Err(why) => Err(why.to_string().into()),
            };
            match sample {
                Ok(sample) => samples.entry(candidate.name).or_default().push(sample),
                Err(why) => drop(failures.insert(candidate.name, why.to_string())),
            }
        }
    }
    let of = |name: &str, what: fn(&Sample) -> f64| {
        let samples = samples.get(name).map_or(&[][..], Vec::as_slice);
        median(samples.iter().map(what)) / streams as f64
    };
    let mut costs = BTreeMap::new();
    for candidate in candidates {
        let name = candidate.name;
        let on_top = |what| {
            let base = match name {
                QWENASR | SPEECHMATICS => of(PLAIN, what),
                OPUS => of(PLAIN_OPUS, what),
                _ => 0.0,
            };
            of(name, what) - base
        };
        if samples.contains_key(name) {
            let cost = Cost {
                cpu: on_top(|sample| sample.cpu),
                switches: on_top(|sample| sample.switches),
                kib: on_top(|sample| sample.kib),
                allocations: on_top(|sample| sample.allocations),
                arrived: of(name, |sample| sample.arrived) * streams as f64,
            };
            costs.insert(name, cost);
        }
    }
    let ours = costs.get(QWENASR).map_or(f64::NAN, |cost| cost.cpu);
    for candidate in candidates {
        let name = candidate.name;
        let cells = match (costs.get(name), failures.remove(name)) {
            (Some(cost), _) => [
                format!("{:.3}", cost.cpu),
                format!("{:.2}", cost.cpu / ours),
                format!("{:.1}", cost.switches),
                format!("{:.0}", cost.kib),
                known(cost.allocations, |count| format!("{count:.2}")),
                known(cost.arrived, |share| format!("{:.1} %", share * 100.0)),
            ],
            (None, why) => {
                let why = why.unwrap_or_default().replace('|', "/");
                let none = || "-".to_owned();
                [
                    format!("not measured: {why}"),
                    none(),
                    none(),
                    none(),
                    none(),
                    none(),
                ]
            }
        };
        table.row(
            [streams.to_string(), name.to_owned()]
                .into_iter()
                .chain(cells),
        );
    }
    costs
}

/// Runs streams for a while, with a service that answers as `talk` says.
pub fn sample(client: &Client, streams: usize, talk: Talk, window: Duration) -> Result<Sample> {
    let protocol = match client {
        Client::Ours(Kind::Speechmatics, _) => Protocol::Speechmatics,
        _ => Protocol::Realtime,
    };
    let mut service = Service::start(protocol, talk.every, 0)?;
    let mut process = client.start(streams, service.port, talk.results)?;
    process.ask("ready")?;
    let before = process.reading()?;
    process.ask("start")?;
    let is_pcm = !matches!(client, Client::Ours(Kind::Opus, _));
    let sessions = streams * client.sessions();
    if sessions > 0 {
        service.wait_for(sessions, STARTING)?;
    }
    sleep(SETTLING);
    service.report()?;
    complaint(&process.ask("report")?)?;
    let begin = process.reading()?;
    sleep(window);
    let end = process.reading()?;
    let seen = service.report()?;
    let said = process.ask("report")?;
    complaint(&said)?;
    let usage = end.since(&begin);
    let seconds = usage.time.as_secs_f64();
    let sent = sessions as f64 * seconds * BYTES_PER_SECOND;
    Ok(Sample {
        cpu: usage.cpu.as_secs_f64() * 1000.0 / seconds,
        switches: usage.switches as f64 / seconds,
        kib: end.resident - before.resident,
        // That plugin has an allocator of its own, and so has Python.
        allocations: match client {
            Client::Ours(Kind::Speechmatics, _) => f64::NAN,
            _ => number(&said, "allocations") / seconds / BUFFERS_PER_SECOND,
        },
        // Not a number without sessions.
        arrived: if is_pcm {
            number(&seen, "audio_bytes") / sent
        } else {
            f64::NAN
        },
    })
}

/// Fails with what a process has to complain about.
fn complaint(said: &Value) -> Result<()> {
    match said["complaints"].get(0) {
        Some(complaint) => Err(complaint.to_string().into()),
        None => Ok(()),
    }
}

impl Client {
    /// Sessions with the service that a stream takes.
    fn sessions(&self) -> usize {
        match self {
            Client::Ours(kind, _) => kind.sessions(),
            Client::Sdk(..) => 1,
        }
    }

    fn start(&self, streams: usize, port: u64, results: &str) -> Result<Process> {
        match self {
            Client::Ours(kind, plugin) => streams_process(*kind, streams, port, results, plugin),
            Client::Sdk(python, program) => {
                let (port, streams) = (port.to_string(), streams.to_string());
                let arguments = [port.as_ref(), streams.as_ref()];
                let command = [python.as_os_str(), program.as_os_str()];
                Process::start("sdk", command.into_iter().chain(arguments))
            }
        }
    }
}

/// A process with live streams, see [`crate::streams`].
pub fn streams_process(
    kind: Kind,
    streams: usize,
    port: u64,
    results: &str,
    plugin: &Option<PathBuf>,
) -> Result<Process> {
    let kind = match kind {
        Kind::Plain => "plain",
        Kind::Qwenasr => "qwenasr",
        Kind::PlainOpus => "plain-opus",
        Kind::Opus => "opus",
        Kind::Translated => "translated",
        Kind::Speechmatics => "speechmatics",
        Kind::Bare => "bare",
    };
    let (streams, port) = (streams.to_string(), port.to_string());
    let mut arguments = vec!["--kind", kind, "--streams", &streams, "--port", &port];
    arguments.extend(["--results", results]);
    let plugin = plugin.as_ref().map(|plugin| plugin.to_string_lossy());
    if let Some(plugin) = &plugin {
        arguments.extend(["--plugin", plugin]);
    }
    Process::part("streams", arguments)
}

fn judge(costs: &BTreeMap<&'static str, Cost>, streams: usize, targets: &mut Table) {
    let Some(ours) = costs.get(QWENASR) else {
        return;
    };
    for (other, most, what) in [
        (
            SPEECHMATICS,
            0.5,
            "CPU at most half of speechmaticstranscriber's",
        ),
        (BARE, 2.0, "CPU at most twice that of the bare loop"),
        (SDK, 1.0 / 3.0, "CPU at most a third of the Python SDK's"),
    ] {
        if let Some(other) = costs.get(other) {
            let ratio = ours.cpu / other.cpu;
            let measured = format!("{ratio:.2}");
            targets.row([
                what.to_owned(),
                streams.to_string(),
                measured,
                verdict(ratio <= most),
            ]);
        }
    }
    if let Some(opus) = costs.get(OPUS) {
        let ratio = opus.cpu / ours.cpu;
        targets.row([
            "CPU with Opus at most that with PCM".to_owned(),
            streams.to_string(),
            format!("{ratio:.2}"),
            verdict(ratio <= 1.0),
        ]);
    }
    targets.row([
        "memory per stream at most 150 KiB and the audio kept".to_owned(),
        streams.to_string(),
        format!("{:.0} KiB in all", ours.kib),
        verdict(ours.kib <= 150.0 + KEPT_KIB),
    ]);
}

/// Audio that is kept of a silent stream: some two seconds.
const KEPT_KIB: f64 = 84.0;
