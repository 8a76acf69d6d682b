// SPDX-License-Identifier: MPL-2.0
//! A live source that stops in the middle of an utterance.

use super::*;

fn live(manual: bool, change: impl FnOnce(&mut Config)) -> Script {
    let mut s = Script::with(manual, |config| {
        config.is_live = true;
        config.retry.max_retries = None;
        change(config);
    });
    s.connect();
    s
}

impl Script {
    /// Nothing arrives but pongs. The driver has no audio left.
    fn wait_without_audio(&mut self, length: Duration) {
        let end = self.now + length;
        while self.due() <= end {
            self.now = self.due();
            self.pass(Duration::ZERO);
            self.net(Net::Alive);
            if let Demand::Chunk { least, most } = self.session.poll_audio(self.now)
                && least < most
            {
                assert_eq!(least, Samples(1), "whatever is left");
                self.session.handle_shortage(self.now);
            }
            self.drain();
        }
        self.now = end;
    }

    fn audio_sent(&mut self) -> u64 {
        self.session.usage().0.bytes / 32
    }
}

#[test]
fn an_open_utterance_is_ended_as_by_silence() {
    let mut s = live(false, |_| {});
    s.shout(2000);
    s.receive("start 0 500");
    let sent = s.audio_sent();
    s.said();
    s.wait_without_audio(Duration::from_millis(900));
    assert_eq!(s.audio_sent(), sent, "it may only be late");
    s.wait_without_audio(Duration::from_millis(200));
    assert_eq!(s.audio_sent(), sent + 600);
    s.receive("stop 0 2000");
    s.receive("final 0 One.");
    assert_eq!(s.said(), ["STOPPED 2000", "FINAL 0 500..2000 One.|"]);
    // Once, and then only keep-alives.
    s.wait_without_audio(Duration::from_secs(200));
    assert!(
        (900..=1100).contains(&(s.audio_sent() - sent)),
        "{}",
        s.audio_sent()
    );
    // Padding takes no time: later audio keeps its timestamps.
    s.said();
    s.time += 200_000 * MS;
    let begin = s.audio_sent();
    s.shout(1000);
    s.receive(&format!("start 1 {}", begin + 100));
    assert_eq!(s.said(), ["STARTED 202100"]);
    s.wait_without_audio(Duration::from_secs(2));
    assert_eq!(s.audio_sent(), begin + 1600, "as often as it stalls");
}

#[test]
fn what_was_said_in_the_pause_of_the_watermark_is_not_before_it() {
    let mut s = live(false, |_| {});
    s.shout(2000);
    s.receive("start 0 500");
    s.wait_without_audio(Duration::from_secs(2));
    s.receive("stop 0 2000");
    s.receive("final 0 One.");
    s.wait_without_audio(Duration::from_secs(10));
    let watermark = millis(s.session.reporter.watermark());
    assert_eq!(watermark, 2000, "where the audio ends");
}

#[test]
fn an_utterance_of_ours_is_committed_and_one_of_the_application_is_not() {
    let mut s = live(true, |config| {
        config.client_vad = Some(ClientVad {
            threshold: 0.0,
            silence_ms: 400,
        });
    });
    s.send(1000, &LOUD);
    s.said();
    s.wait_without_audio(Duration::from_secs(2));
    assert_eq!(s.said(), ["commit", "STOPPED 992"]);
    let mut s = live(true, |config| config.pause = Duration::ZERO);
    s.shout(500);
    s.wait_without_audio(Duration::from_secs(5));
    assert!(s.said().is_empty());
    assert_eq!(s.audio_sent(), 500);
}

#[test]
fn silence_is_no_utterance_and_an_outage_no_stall() {
    let mut s = live(false, |_| {});
    s.speak(2000);
    s.wait_without_audio(Duration::from_secs(5));
    assert_eq!(s.audio_sent(), 2000);
    s.shout(1000);
    s.receive("start 0 2100");
    s.lose();
    s.now += Duration::from_secs(5);
    s.reconnect();
    s.replay();
    let sent = s.audio_sent();
    s.wait_without_audio(Duration::from_millis(900));
    assert_eq!(s.audio_sent(), sent);
    s.wait_without_audio(Duration::from_millis(300));
    assert_eq!(s.audio_sent(), sent + 600);
}
