// SPDX-License-Identifier: MPL-2.0
//! What a translation costs: streams with one session and one more for a translation, beside the
//! same streams without.

use std::time::Duration;

use crate::load::{Client, Sample, Talk, sample};
use crate::table::{Table, known, median, verdict};
use crate::{Kind, Result};

/// A text every half second, and all of them on the pads.
const TALK: Talk = Talk {
    every: 5,
    results: "interim",
};

/// How much more two sessions may take than one.
const MAX_RATIO: f64 = 2.1;

/// Without a transcriber, with one session, and with two.
const KINDS: [Kind; 3] = [Kind::Plain, Kind::Qwenasr, Kind::Translated];

pub fn measure(quick: bool) -> Result<()> {
    let (sizes, window, rounds): (&[usize], _, _) = if quick {
        (&[20], Duration::from_secs(2), 1)
    } else {
        (&[50, 200], Duration::from_secs(10), 3)
    };
    let mut table = Table::new(&[
        "streams",
        "what",
        "CPU, ms per stream and second",
        "context switches per stream and second",
        "memory per stream, KiB",
        "audio that arrived",
    ]);
    let mut targets = Table::new(&["target", "streams", "measured", ""]);
    for &streams in sizes {
        let [plain, one, two] = costs(streams, window, rounds)?;
        for (what, cost) in [
            ("pipelines without a transcriber", &plain),
            ("qwenasr", &one),
            ("qwenasr with a translation", &two),
        ] {
            table.row([
                streams.to_string(),
                what.to_owned(),
                format!("{:.3}", cost.cpu),
                format!("{:.1}", cost.switches),
                format!("{:.0}", cost.kib),
                known(cost.arrived, |share| format!("{:.1} %", share * 100.0)),
            ]);
        }
        for (what, ratio) in [("CPU", two.cpu / one.cpu), ("memory", two.kib / one.kib)] {
            targets.row([
                format!("{what} with a translation at most {MAX_RATIO} times that without"),
                streams.to_string(),
                format!("{ratio:.2}"),
                verdict(ratio <= MAX_RATIO),
            ]);
        }
    }
    table.print("Cost of a translation, 20 ms buffers, a text every half second");
    println!(
        "\nMedians of {rounds} rounds of {} s in turns, of what the pipelines cost more than \
         those without a transcriber, in whose row everything is counted.",
        window.as_secs()
    );
    targets.print("Targets");
    Ok(())
}

/// Medians for one stream, in the order of [`KINDS`].
fn costs(streams: usize, window: Duration, rounds: usize) -> Result<[Sample; 3]> {
    let mut samples = KINDS.map(|_| Vec::new());
    for _ in 0..rounds {
        for (kind, samples) in KINDS.into_iter().zip(&mut samples) {
            samples.push(sample(&Client::Ours(kind, None), streams, TALK, window)?);
        }
    }
    let of = |samples: &[Sample], what: fn(&Sample) -> f64| {
        median(samples.iter().map(what)) / streams as f64
    };
    let [plain, one, two] = samples.map(|samples| Sample {
        cpu: of(&samples, |sample| sample.cpu),
        switches: of(&samples, |sample| sample.switches),
        kib: of(&samples, |sample| sample.kib),
        allocations: of(&samples, |sample| sample.allocations),
        arrived: of(&samples, |sample| sample.arrived) * streams as f64,
    });
    let on_top = |cost: Sample| Sample {
        cpu: cost.cpu - plain.cpu,
        switches: cost.switches - plain.switches,
        kib: cost.kib - plain.kib,
        allocations: cost.allocations - plain.allocations,
        ..cost
    };
    let (one, two) = (on_top(one), on_top(two));
    Ok([plain, one, two])
}
