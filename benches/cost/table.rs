// SPDX-License-Identifier: MPL-2.0
//! Tables in Markdown, and what goes into them.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use crate::Result;

/// A Markdown table that grows by rows.
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(heads: &[&str]) -> Self {
        Table {
            rows: vec![heads.iter().map(|&head| head.to_owned()).collect()],
        }
    }

    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// Prints it under a heading.
    pub fn print(&self, heading: &str) {
        println!("\n### {heading}\n");
        let widths: Vec<usize> = (0..self.rows[0].len())
            .map(|column| {
                let lengths = self.rows.iter().map(|row| row[column].chars().count());
                lengths.max().unwrap_or_default().max(3)
            })
            .collect();
        for (number, row) in self.rows.iter().enumerate() {
            let cells = row.iter().zip(&widths);
            let cells: Vec<String> = cells
                .map(|(cell, &width)| format!("{cell:width$}"))
                .collect();
            println!("| {} |", cells.join(" | "));
            if number == 0 {
                let lines: Vec<String> = widths.iter().map(|&width| "-".repeat(width)).collect();
                println!("| {} |", lines.join(" | "));
            }
        }
    }
}

/// The middle one of some values; NaN of none.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        length => (values[(length - 1) / 2] + values[length / 2]) / 2.0,
    }
}

/// A list of delays in microseconds, in short.
pub fn summary(mut delays: Vec<u32>) -> Value {
    delays.sort_unstable();
    let at = |share: f64| {
        let last = delays.len().saturating_sub(1);
        delays
            .get((last as f64 * share).round() as usize)
            .copied()
            .unwrap_or_default()
    };
    json!({ "count": delays.len(), "p50": at(0.5), "p99": at(0.99), "max": at(1.0) })
}

/// A member of an answer, as a number.
pub fn number(answer: &Value, name: &str) -> f64 {
    answer[name].as_f64().unwrap_or(f64::NAN)
}

/// Microseconds as milliseconds to be read.
pub fn milliseconds(microseconds: f64) -> String {
    format!("{:.2}", microseconds / 1000.0)
}

/// What is known, as one reads it.
pub fn known(value: f64, show: impl FnOnce(f64) -> String) -> String {
    if value.is_nan() {
        "-".to_owned()
    } else {
        show(value)
    }
}

/// Whether a target was met, as one reads it.
pub fn verdict(met: bool) -> String {
    if met { "met" } else { "missed" }.to_owned()
}

/// Says on what all of it was measured.
pub fn machine() -> Result<()> {
    let cpus = fs::read_to_string("/proc/cpuinfo")?;
    let model = cpus
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown CPU", |(_, model)| model);
    let cores = std::thread::available_parallelism()?;
    let kernel = Command::new("uname").arg("-sr").output()?;
    let load = fs::read_to_string("/proc/loadavg")?;
    println!(
        "Machine: {model}, {cores} cores; {}; {}; load before the run {}.",
        String::from_utf8_lossy(&kernel.stdout).trim(),
        gst::version_string(),
        load.split(' ').next().unwrap_or_default(),
    );
    Ok(())
}
