// SPDX-License-Identifier: MPL-2.0
//! Opus: packets of any length, which are never torn.

use super::*;
use crate::audio::opus;
use crate::audio::opus::tests::{packet, with_samples};

/// A session of Opus; with a manual codec if it is to commit.
fn running(manual: bool, change: impl FnOnce(&mut Config)) -> Script {
    let mut s = Script::with(manual, |config| {
        config.coding = Coding::Opus;
        config.rate = opus::CLOCK_RATE;
        config.chunk = Samples(4800);
        config.backlog = Samples(480_000);
        config.retry.max_retries = None;
        change(config);
    });
    s.connect();
    s
}

impl Script {
    /// Hands over packets of this many milliseconds, from a timestamp on; returns where they end.
    fn packets(&mut self, from: u64, lengths: &[u64]) -> u64 {
        lengths.iter().fold(from, |at, ms| {
            let audio = with_samples(&packet(*ms, 50));
            self.wait_for_demand();
            let time = Timestamp::from_nanos(at * MS);
            self.session.handle_audio(time, &audio, self.now);
            self.drain();
            at + ms
        })
    }

    /// Milliseconds of each frame of audio in the log.
    fn frames(&mut self) -> Vec<String> {
        let log = std::mem::take(&mut self.log);
        let audio = log.into_iter().filter(|line| line.starts_with("audio"));
        audio.collect()
    }

    fn passed_ms(&self) -> u64 {
        self.session.usage().0.samples.0 / 48
    }
}

#[test]
fn time_counts_and_not_bytes() {
    let mut s = running(false, |_| {});
    assert_eq!(s.packets(0, &[60, 20, 60, 20, 20]), 180);
    let (sent, _) = s.session.usage();
    assert_eq!((sent.samples, sent.bytes), (Samples(180 * 48), 250));
    // Offsets of the service are found in the stream.
    s.packets(180, &[60; 20]);
    s.receive("start 0 100");
    s.receive("final 0 Hello.");
    assert!(s.said().contains(&"STARTED 100".to_owned()));
}

#[test]
fn a_replay_begins_with_a_whole_packet() {
    let mut s = running(false, |_| {});
    s.packets(0, &[60; 20]);
    s.receive("start 0 500");
    s.packets(1200, &[60; 5]);
    s.lose();
    s.reconnect();
    s.frames();
    let before = s.passed_ms();
    s.wait_for_demand();
    // 300 ms before the utterance, and what the packet has before that.
    assert_eq!(s.passed_ms() - before, 1500 - 180);
    assert!(
        s.frames().iter().all(|frame| frame == "audio 54"),
        "one by one"
    );
    // The new connection counts from there.
    s.receive("start 0 320");
    s.receive("final 0 Hello.");
    s.packets(1500, &[20; 5]);
    let said = s.said();
    assert!(
        said.iter().any(|line| line.starts_with("FINAL 0 500..")),
        "{said:?}"
    );
}

#[test]
fn more_than_is_kept_is_lost_in_whole_packets() {
    let mut s = running(false, |config| config.backlog = Samples(48_000));
    s.packets(0, &[60; 30]);
    s.receive("start 0 500");
    s.lose();
    // A second, and what the packet at its beginning has before that.
    assert!(s.said().contains(&"LOST 200+580".to_owned()));
    s.reconnect();
    let before = s.passed_ms();
    s.wait_for_demand();
    assert_eq!(s.passed_ms() - before, 1020);
}

#[test]
fn silence_is_packets_too() {
    let mut s = running(true, |_| {});
    s.packets(0, &[20; 10]);
    let before = s.session.usage().0;
    for second in 1..60 {
        s.now = Duration::from_secs(second);
        s.net(Net::Alive);
        s.pass(Duration::ZERO);
    }
    let (sent, _) = s.session.usage();
    let keeps_open = (sent.samples - before.samples, sent.bytes - before.bytes);
    assert_eq!(keeps_open, (Samples(4800), 5 * 3));
}
