// SPDX-License-Identifier: MPL-2.0
//! Instructions for a second of audio, by the part of the program that they belong to. They are
//! nearly the same on a busy machine, so that a change for the worse is seen anywhere.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::Result;
use crate::file::{Recording, arguments};
use crate::service::{Protocol, Service};
use crate::table::Table;

pub fn measure(quick: bool) -> Result<()> {
    let heading = "Instructions";
    if Command::new("valgrind").arg("--version").output().is_err() {
        println!("\n### {heading}\n\nNot counted: valgrind is not installed.");
        return Ok(());
    }
    // What both of them have is the start and the end.
    let (short, long) = if quick { (5, 15) } else { (20, 80) };
    let (before, after) = (count(short)?, count(long)?);
    let seconds = (long - short) as f64;
    let mut parts: Vec<(&str, f64)> = after
        .into_iter()
        .map(|(part, count)| {
            let less = before.get(part).copied().unwrap_or_default();
            (part, (count as f64 - less as f64) / seconds)
        })
        .collect();
    parts.sort_by(|(_, one), (_, other)| other.total_cmp(one));
    let all: f64 = parts.iter().map(|(_, count)| count).sum();
    let mut table = Table::new(&["part", "instructions per second of audio", "share"]);
    for (part, count) in [("all", all)].into_iter().chain(parts) {
        let share = format!("{:.1} %", count / all * 100.0);
        table.row([part.to_owned(), format!("{count:.0}"), share]);
    }
    table.print(heading);
    println!(
        "\nOf a file, with a text every half second of audio; what the compiler put into another \
         function is counted where it was written."
    );
    Ok(())
}

fn count(seconds: usize) -> Result<BTreeMap<&'static str, u64>> {
    let recording = Recording::new(seconds)?;
    let service = Service::start(Protocol::Realtime, 5, 0)?;
    let output = recording.0.with_extension("callgrind");
    let mut file = std::ffi::OsString::from("--callgrind-out-file=");
    file.push(&output);
    let status = Command::new("valgrind")
        .args(["--quiet", "--tool=callgrind"])
        .arg(file)
        .arg(std::env::current_exe()?)
        .args(["play-file", "--at-once"])
        .args(arguments(&recording.0, service.port))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()?;
    let profile = std::fs::read_to_string(&output);
    // It is in the directory for temporary files.
    let _ = std::fs::remove_file(&output);
    if !status.success() {
        return Err("valgrind failed".into());
    }
    Ok(by_part(&profile?))
}

/// Adds up callgrind's costs by the files that the code was written in, or else by the library.
fn by_part(profile: &str) -> BTreeMap<&'static str, u64> {
    let mut files: HashMap<&str, &str> = HashMap::new();
    let mut objects: HashMap<&str, &str> = HashMap::new();
    let (mut file, mut object) = ("", "");
    let mut parts = BTreeMap::new();
    let mut lines = profile.lines();
    while let Some(line) = lines.next() {
        if let Some((key, value)) = line.split_once('=') {
            match key {
                "fl" | "fi" | "fe" => file = resolve(&mut files, value),
                "ob" => object = resolve(&mut objects, value),
                // Of the other side of a call; names may be told here first.
                "cfi" | "cfl" => drop(resolve(&mut files, value)),
                "cob" => drop(resolve(&mut objects, value)),
                // The next line is what the call cost in all.
                "calls" => drop(lines.next()),
                _ => {}
            }
        } else if line.starts_with(|first: char| first.is_ascii_digit() || "+-*".contains(first)) {
            let cost = line.split(' ').nth(1).and_then(|cost| cost.parse().ok());
            *parts.entry(part(file, object)).or_default() += cost.unwrap_or(0);
        }
    }
    parts
}

/// Names are told once, and then only numbered.
fn resolve<'a>(names: &mut HashMap<&'a str, &'a str>, value: &'a str) -> &'a str {
    match value.split_once(' ') {
        Some((number, name)) => {
            names.insert(number, name);
            name
        }
        None => names.get(value).copied().unwrap_or(""),
    }
}

fn part(file: &str, object: &str) -> &'static str {
    let ours = Path::new(file)
        .strip_prefix(env!("CARGO_MANIFEST_DIR"))
        .unwrap_or(Path::new(file));
    for (directory, part) in [
        ("src/protocol", "protocol: encoding and decoding"),
        ("src/session", "session"),
        ("src/captions", "captions"),
        ("src/net", "net: queue and driver"),
        ("src/element", "element: the way in, messages"),
        ("src/transcriber", "transcriber: pads"),
        ("src", "other code of the plugin"),
        ("benches", "the benchmark itself"),
    ] {
        if ours.starts_with(directory) {
            return part;
        }
    }
    for (name, part) in [
        ("/base64-", "base64"),
        ("/serde_json-", "serde_json"),
        ("/tungstenite-", "tungstenite"),
        ("/tokio-tungstenite-", "tungstenite"),
        ("/tokio-", "tokio"),
        ("/library/", "Rust's standard library"),
        ("/registry/", "other crates"),
    ] {
        if file.contains(name) {
            return part;
        }
    }
    if object.contains("/libgst") || object.contains("/libg") {
        "GStreamer and GLib"
    } else if object.contains("/libc.so") || object.contains("/vgpreload") {
        "C library"
    } else {
        "anything else"
    }
}
