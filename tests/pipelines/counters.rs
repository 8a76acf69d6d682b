// SPDX-License-Identifier: MPL-2.0
//! `stats-interval`: counters on the bus, for those who do not poll.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::common::*;
use gst::prelude::*;
use offline_service::SessionRecord;
use offline_service::faults::Faults;

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

/// The example `metrics` under way.
struct Metrics {
    program: Child,
    address: String,
}

impl Metrics {
    fn start(pipeline: &str) -> Self {
        let mut program = Command::new(env!("CARGO"))
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .args(["run", "--quiet", "--locked", "--example", "metrics", "--"])
            .args(["--listen=127.0.0.1:0", "--interval=20"])
            .args(pipeline.split_whitespace())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let stdout = program.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        let (_, address) = line.trim().split_once("http://").unwrap();
        let address = address.to_owned();
        Self { program, address }
    }

    fn fetch(&self) -> String {
        let (address, path) = self.address.split_once('/').unwrap();
        let mut connection = TcpStream::connect(address).unwrap();
        write!(
            connection,
            "GET /{path} HTTP/1.1\r\nHost: {address}\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        answer
    }

    /// Fetches them until there are all of these lines or beginnings of lines.
    fn wait_for(&self, lines: &[&str]) -> String {
        let begun = Instant::now();
        loop {
            let metrics = self.fetch();
            let has = |line: &&str| metrics.contains(&format!("\n{line}"));
            if lines.iter().all(has) {
                return metrics;
            }
            assert!(begun.elapsed() < LONG, "{lines:?} of {metrics}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Metrics {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

/// The connection for what is said.
const CONNECTED: &str = "qwenasr_connected{element=\"studio1\",translation=\"\"}";

/// As a reader of docs/operating.md meets it.
#[test]
fn metrics_serves_every_counter_to_prometheus() {
    let server = server(|options| options.faults.stall_after_ms = Some(2000));
    let wav = Speech::usual(16_000).wav();
    let metrics = Metrics::start(&format!(
        "filesrc location={} ! wavparse ! qwenasrsink name=studio1 url={}",
        wav.0.display(),
        server.url()
    ));
    let connected = format!("{CONNECTED} 1");
    let metrics = metrics.wait_for(&[&connected, "qwenasr_seconds_sent_total"]);
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
        let value = match name {
            "qwenasr_connected" => format!("\n{CONNECTED} "),
            name => format!("\n{name}{{element=\"studio1\"}} "),
        };
        assert!(metrics.contains(&value), "no {name} in {metrics}");
    }
    assert!(metrics.ends_with("# EOF\n"), "{metrics}");
}

#[test]
fn metrics_tells_the_connection_of_a_translation_apart() {
    let server = server(|options| {
        options.protocols = vec![Protocol::Realtime, Protocol::LiveTranslate];
        options.translation_faults = Some(Faults {
            reset_after_ms: Some(1000),
            ..Faults::default()
        });
    });
    let metrics = Metrics::start(&format!(
        "audiotestsrc is-live=true ! qwenasrsink name=studio1 url={} translation-languages=fr",
        server.url()
    ));
    let translation = "qwenasr_connected{element=\"studio1\",translation=\"fr\"}";
    let both = [CONNECTED, translation].map(|metric| format!("{metric} 1"));
    metrics.wait_for(&both.each_ref().map(String::as_str));
    let (programme, lost) = (format!("{CONNECTED} 1"), format!("{translation} 0"));
    metrics.wait_for(&[&programme, &lost]);
}

/// The end of the session before is not that of the connection.
#[test]
fn metrics_tells_sessions_that_overlap_apart() {
    let server = server(|options| {
        options.faults.only_first = true;
        options.faults.never_finished = true;
    });
    let metrics = Metrics::start(&format!(
        "concat name=both ! qwenasrsink name=studio1 url={} finish-timeout=1000 \
         audiotestsrc is-live=true num-buffers=20 ! audio/x-raw,rate=16000 ! both. \
         audiotestsrc is-live=true ! audio/x-raw,rate=8000 ! both.",
        server.url()
    ));
    metrics.wait_for(&["qwenasr_sessions_total{element=\"studio1\"} 2"]);
    let one_is_left = |sessions: &[SessionRecord]| {
        let open = sessions.iter().filter(|session| session.is_open());
        (sessions.len(), open.count()) == (2, 1)
    };
    assert!(
        server.wait_for(one_is_left, LONG),
        "{:?}",
        server.sessions()
    );
    let connected = format!("{CONNECTED} 1");
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(300) {
        let now = metrics.fetch();
        assert!(now.contains(&connected), "{now}");
    }
}

#[test]
fn metrics_refuses_a_pipeline_that_cannot_be_made() {
    for (properties, says) in [
        ("turn-detection=foo", "turn-detection"),
        ("chunk-duration=5", "chunk-duration"),
        ("nosuch=1", "nosuch"),
    ] {
        let output = Command::new(env!("CARGO"))
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .args(["run", "--quiet", "--locked", "--example", "metrics", "--"])
            .args(["--listen=127.0.0.1:0", "audiotestsrc", "!", "qwenasrsink"])
            .arg(properties)
            .finish();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{errors}");
        assert!(
            errors.contains(says) && errors.contains("gst-inspect-1.0"),
            "{errors}"
        );
    }
}
