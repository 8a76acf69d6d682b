// SPDX-License-Identifier: MPL-2.0
//! `stats-interval`: counters on the bus, for those who do not poll.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::common::*;
use gst::prelude::*;

/// Waits for a message with counters that say so.
fn wait_for_stats(rig: &mut Rig, what: &str, so: impl Fn(&gst::StructureRef) -> bool) {
    let is_it = |structure: &&gst::StructureRef| structure.name() == "qwenasr/stats";
    rig.wait_for(what, |message| {
        let stats = message.structure().filter(is_it)?;
        so(stats).then_some(())
    });
}

#[test]
fn both_elements_post_their_counters() {
    let properties = "stats-interval=20 max-speed=100";
    let server = server(|_| {});
    let url = server.url();
    let source = "appsrc name=src format=time \
         caps=audio/x-raw,format=S16LE,rate=16000,channels=1,layout=interleaved";
    for mut rig in [
        Rig::new(16_000, &url, properties),
        Rig::launch(&format!(
            "{source} ! qwenasrsink name=asr async=false url={url} {properties}"
        )),
    ] {
        rig.play();
        // Also before there is any audio.
        wait_for_stats(&mut rig, "counters", |stats| {
            assert!(stats.fields().count() > 10, "{stats}");
            stats.get::<u64>("bytes-sent").unwrap() == 0
        });
        let speech = Speech::usual(16_000);
        rig.push_all(speech.buffers(&[320], 0));
        let bytes = speech.bytes().len() as u64;
        wait_for_stats(&mut rig, "all audio", |stats| {
            stats.get::<u64>("bytes-sent").unwrap() >= bytes
        });
        wait_for_stats(&mut rig, "finals", |stats| {
            stats.get::<u64>("finals").unwrap() >= 2
        });
        rig.stop();
        rig.pipeline.bus().unwrap().set_flushing(false);
        let message = rig.pipeline.bus().unwrap().timed_pop_filtered(
            gst::ClockTime::from_mseconds(100),
            &[gst::MessageType::Element],
        );
        assert!(message.is_none(), "posts on in NULL: {message:?}");
    }
}

#[test]
fn nobody_gets_counters_unasked() {
    let server = server(|_| {});
    let mut rig = Rig::new(16_000, &server.url(), "max-speed=100");
    rig.run(Speech::usual(16_000).buffers(&[320], 0));
    assert!(rig.messages.iter().all(|m| m.name() != "qwenasr/stats"));
}

/// The example `metrics`, as a reader of docs/operating.md meets it.
#[test]
fn metrics_serves_every_counter_to_prometheus() {
    let server = server(|options| options.faults.stall_after_ms = Some(2000));
    let wav = Speech::usual(16_000).wav();
    let url = format!("url={}", server.url());
    let location = format!("location={}", wav.0.display());
    let mut program = Command::new(env!("CARGO"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["run", "--quiet", "--locked", "--example", "metrics", "--"])
        .args([
            "--listen=127.0.0.1:0",
            "--interval=20",
            "filesrc",
            &location,
        ])
        .args(["!", "wavparse", "!", "qwenasrsink", "name=studio1", &url])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let stdout = program.stdout.take().unwrap();
    BufReader::new(stdout).read_line(&mut line).unwrap();
    let (_, address) = line.trim().split_once("http://").unwrap();
    let (address, path) = address.split_once('/').unwrap();
    let fetch = || {
        let mut connection = TcpStream::connect(address).unwrap();
        write!(
            connection,
            "GET /{path} HTTP/1.1\r\nHost: {address}\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        answer
    };
    let begun = Instant::now();
    let metrics = loop {
        let metrics = fetch();
        if metrics.contains("qwenasr_connected{element=\"studio1\"} 1")
            && metrics.contains("qwenasr_seconds_sent_total")
        {
            break metrics;
        }
        assert!(begun.elapsed() < LONG, "{metrics}");
        std::thread::sleep(Duration::from_millis(20));
    };
    program.kill().unwrap();
    program.wait().unwrap();
    // All that the page has alarms on.
    let page = include_str!("../../docs/operating.md");
    let (_, alarms) = page.split_once("## Alarms").unwrap();
    let (alarms, _) = alarms.split_once("\n## ").unwrap();
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let names: Vec<&str> = alarms
        .split(|c| !is_name(c))
        .filter(|word| word.starts_with("qwenasr_") && *word != "qwenasr_")
        .collect();
    assert!(names.len() > 8, "{names:?}");
    for name in names {
        let value = format!("\n{name}{{element=\"studio1\"}} ");
        assert!(metrics.contains(&value), "no {name} in {metrics}");
    }
    assert!(metrics.ends_with("# EOF\n"), "{metrics}");
}
