// SPDX-License-Identifier: MPL-2.0
//! Scripts of inputs on a fake clock, with a codec whose frames are plain words.

use super::*;
use crate::protocol::Words;
use crate::session::Transcript;

/// Frames out: `audio BYTES`, `commit`, `finish`. Frames in: see `decode`.
struct PlainCodec {
    manual: bool,
}

impl Codec for PlainCodec {
    fn caps(&self) -> Caps {
        Caps {
            max_audio_bytes: 6400,
            max_speed: 2.0,
            max_utterance_ms: self.manual.then_some(1000),
        }
    }

    fn open(&mut self, out: &mut Vec<Frame>) {
        out.push(Frame::Text("hello".into()));
    }

    fn command(&mut self, command: Command<'_>, out: &mut Vec<Frame>) {
        out.push(Frame::Text(match command {
            Command::Audio(audio) => format!("audio {}", audio.len()),
            Command::Commit => "commit".into(),
            Command::Finish => "finish".into(),
        }));
    }

    fn decode(&mut self, frame: Incoming<'_>, events: &mut Vec<Event>, _out: &mut Vec<Frame>) {
        let Incoming::Text(text) = frame else { return };
        let mut words = text.splitn(3, ' ');
        let kind = words.next().unwrap();
        let item = words.next().map_or(0, |item| item.parse().unwrap());
        let rest = words.next().unwrap_or_default();
        let (text, stash) = rest.split_once('|').unwrap_or((rest, ""));
        let said = Words {
            item_id: item.to_string(),
            text: text.into(),
            stash: stash.into(),
            ..Default::default()
        };
        events.push(match kind {
            "ready" => Event::Ready {
                session_id: Some("s".into()),
            },
            "seen" => Event::ItemSeen { item },
            "start" => Event::SpeechStarted {
                item,
                item_id: item.to_string(),
                at_ms: rest.parse().ok(),
            },
            "stop" => Event::SpeechStopped {
                item,
                item_id: item.to_string(),
                at_ms: rest.parse().ok(),
            },
            "partial" => Event::Partial { item, words: said },
            "final" => Event::Final { item, words: said },
            "failed" => Event::ItemFailed {
                item,
                message: rest.into(),
            },
            "billed" => Event::Billed {
                seconds: item as f64,
            },
            "finished" => Event::Finished,
            "error" => Event::Failed(Failure::new(Kind::Limit, "Too much.", "Wait.")),
            _ => Event::Warning(kind.into()),
        });
    }

    fn closed(&self, code: Option<u16>, reason: &str) -> Failure {
        Failure::new(Kind::Lost, reason, "Start again.").with_close_code(code)
    }

    fn refused(&self, status: u16, body: &str) -> Failure {
        Failure::new(Kind::Unauthorized, body, "Check.").with_http_status(status)
    }
}

const CHUNK: [u8; 3200] = [0; 3200];
const MS: u64 = 1_000_000;

struct Script {
    session: Session,
    now: Duration,
    /// What came out, in words; states are left out.
    log: Vec<String>,
    states: Vec<State>,
    time: u64,
}

impl Script {
    fn new(manual: bool) -> Self {
        Self::with(manual, |_| {})
    }

    fn with(manual: bool, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config {
            rate: 16000,
            chunk_bytes: 3200,
            max_speed: 0.0,
            context: None,
            connect_timeout: Duration::from_secs(10),
            response_timeout: Duration::from_secs(15),
            finish_timeout: Duration::from_secs(20),
        };
        change(&mut config);
        let session = Session::new(config, Box::new(PlainCodec { manual }), Duration::ZERO);
        let mut script = Script {
            session,
            now: Duration::ZERO,
            log: Vec::new(),
            states: Vec::new(),
            time: 0,
        };
        script.drain();
        script
    }

    fn running(manual: bool) -> Self {
        let mut script = Self::new(manual);
        script.connect();
        script
    }

    fn connect(&mut self) {
        self.session.handle_connected(self.now);
        self.receive("ready");
        self.log.clear();
    }

    fn drain(&mut self) {
        while let Some(output) = self.session.poll_output() {
            let text = |t: &Transcript| {
                format!(
                    "{} {}..{} {}|{}",
                    t.item,
                    t.start / MS,
                    t.end / MS,
                    t.text,
                    t.stash
                )
            };
            self.log.push(match output {
                Output::Connect => "CONNECT".into(),
                Output::Send(Frame::Text(text)) => text,
                Output::Close => "CLOSE".into(),
                Output::Notice(Notice::State { state, .. }) => {
                    self.states.push(state);
                    continue;
                }
                Output::Notice(Notice::SpeechStarted { time, .. }) => {
                    format!("STARTED {}", time / MS)
                }
                Output::Notice(Notice::SpeechStopped { time, .. }) => {
                    format!("STOPPED {}", time / MS)
                }
                Output::Notice(Notice::Interim(t)) => format!("INTERIM {}", text(&t)),
                Output::Notice(Notice::Final(t)) => format!("FINAL {}", text(&t)),
                Output::Notice(Notice::Settled { time }) => format!("SETTLED {}", time / MS),
                Output::Notice(Notice::Warning(warning)) => format!("WARNING {warning:?}"),
                Output::Notice(Notice::Failed(failure)) => format!("FAILED {:?}", failure.kind),
                Output::Notice(Notice::Drained) => "DRAINED".into(),
            });
        }
    }

    fn receive(&mut self, frame: &str) {
        self.session.handle_frame(Incoming::Text(frame), self.now);
        self.drain();
    }

    /// Hands over audio as soon as it may be sent.
    fn speak(&mut self, ms: u64) {
        for _ in 0..ms / 100 {
            self.now = self.now.max(self.session.next_audio().expect("running"));
            self.session.handle_audio(self.time, &CHUNK, self.now);
            self.time += 100 * MS;
            self.drain();
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.session.handle_timeout(self.now);
        self.drain();
    }

    fn finish(&mut self) {
        self.session.handle_finish(self.now);
        self.drain();
    }

    fn take(&mut self) -> Vec<String> {
        let mut log = std::mem::take(&mut self.log);
        log.retain(|line| !line.starts_with("audio"));
        log
    }

    /// As `take`, without the progress reports.
    fn said(&mut self) -> Vec<String> {
        let mut log = self.take();
        log.retain(|line| !line.starts_with("SETTLED"));
        log
    }
}

#[test]
fn a_session_from_the_first_audio_to_the_last_word() {
    let mut s = Script::new(false);
    assert_eq!(s.take(), ["CONNECT"]);
    s.session.handle_audio(0, &CHUNK, s.now);
    s.drain();
    assert!(s.log.is_empty(), "no audio before the service is ready");
    s.session.handle_connected(s.now);
    s.drain();
    assert_eq!(s.take(), ["hello"]);
    s.receive("ready");
    s.speak(2000);
    s.receive("start 0 500");
    s.receive("partial 0 |hello");
    s.receive("stop 0 1500");
    s.receive("final 0 Hello.");
    s.finish();
    s.receive("finished");
    assert_eq!(
        s.take(),
        [
            "STARTED 500",
            "SETTLED 500",
            "INTERIM 0 500..2000 |hello",
            "STOPPED 1500",
            "FINAL 0 500..1500 Hello.|",
            "SETTLED 1500",
            "finish",
            "SETTLED 2000",
            "CLOSE",
            "DRAINED",
        ]
    );
    use State::*;
    assert_eq!(s.states, [Connecting, Connected, Finishing, Idle]);
    assert!(s.session.is_over() && s.session.poll_timeout().is_none());
}

#[test]
fn audio_is_paced_by_the_protocol_or_the_user() {
    for (max_speed, expected) in [(0.0, 5000), (1.0, 10_000), (20.0, 500)] {
        let mut s = Script::with(false, |config| config.max_speed = max_speed);
        s.connect();
        s.speak(10_000);
        let ms = s.now.as_millis() as i64;
        assert!((ms - expected).abs() <= 200, "{max_speed}: {ms} ms");
    }
}

#[test]
fn time_that_the_source_took_is_not_made_up_for_by_a_burst() {
    let mut s = Script::running(false);
    s.speak(100);
    s.now += Duration::from_secs(60);
    let before = s.now;
    s.speak(2000);
    assert!(
        s.now - before >= Duration::from_millis(850),
        "{:?}",
        s.now - before
    );
}

#[test]
fn manual_utterances_span_their_commits() {
    let mut s = Script::running(true);
    s.session.handle_commit();
    s.drain();
    assert!(s.said().is_empty(), "nothing to commit");
    s.speak(300);
    s.receive("partial 0 |one");
    s.session.handle_commit();
    s.speak(400);
    s.session.handle_commit();
    s.drain();
    s.receive("final 0 One.");
    s.receive("seen 1");
    s.speak(200);
    s.finish();
    s.receive("final 1 Two.");
    s.receive("final 2 Three.");
    s.receive("finished");
    assert_eq!(
        s.said(),
        [
            "INTERIM 0 0..300 |one",
            "commit",
            "commit",
            "FINAL 0 0..300 One.|",
            "commit",
            "finish",
            "FINAL 1 300..700 Two.|",
            "FINAL 2 700..900 Three.|",
            "CLOSE",
            "DRAINED",
        ]
    );
}

#[test]
fn a_manual_utterance_is_committed_at_the_protocols_limit() {
    let mut s = Script::running(true);
    s.speak(2500);
    assert_eq!(s.said(), ["commit", "commit"]);
}

#[test]
fn commits_mean_nothing_where_the_service_segments() {
    let mut s = Script::running(false);
    s.speak(300);
    s.session.handle_commit();
    s.drain();
    assert!(s.said().is_empty());
}

#[test]
fn finals_come_in_the_order_of_speech() {
    let mut s = Script::running(false);
    s.speak(3000);
    s.receive("start 0 100");
    s.receive("start 1 1000");
    s.receive("stop 0 900");
    s.receive("stop 1 2000");
    s.log.clear();
    s.receive("final 1 Two.");
    assert!(s.said().is_empty());
    s.receive("final 0 One.");
    assert_eq!(
        s.said(),
        ["FINAL 0 100..900 One.|", "FINAL 1 1000..2000 Two.|"]
    );
}

#[test]
fn a_final_does_not_wait_for_ever_for_an_earlier_one() {
    let mut s = Script::running(false);
    s.speak(3000);
    s.receive("start 0 100");
    s.receive("start 1 1000");
    s.receive("final 1 Two.");
    s.log.clear();
    let wait = s.session.poll_timeout().unwrap().saturating_sub(s.now);
    assert!(wait <= Duration::from_secs(2));
    s.pass(Duration::from_secs(2));
    assert_eq!(s.said(), ["FINAL 1 1000..3000 Two.|"]);
    s.receive("final 0 One.");
    assert_eq!(s.said(), ["FINAL 0 100..3000 One.|"]);
}

#[test]
fn utterances_without_times_get_likely_ones() {
    let mut s = Script::running(false);
    s.speak(2000);
    s.receive("partial 0 |one");
    s.receive("final 0 One.");
    s.speak(500);
    s.receive("final 1 Two.");
    assert_eq!(
        s.said(),
        [
            "INTERIM 0 1000..2000 |one",
            "FINAL 0 1000..2000 One.|",
            "FINAL 1 2000..2500 Two.|"
        ]
    );
}

#[test]
fn times_beyond_the_audio_are_clamped_to_it() {
    let mut s = Script::running(false);
    s.speak(1000);
    s.receive("start 0 18446744073709551615");
    s.receive("stop 0 5");
    s.receive("final 0 x");
    assert_eq!(
        s.said(),
        ["STARTED 1000", "STOPPED 5", "FINAL 0 1000..1000 x|"]
    );
}

#[test]
fn a_context_that_comes_back_is_no_result() {
    let mut s = Script::with(false, |config| {
        config.context = Some("GStreamer, Qwen ".into())
    });
    s.connect();
    s.speak(1000);
    s.receive("final 0 GStreamer, Qwen");
    assert_eq!(s.said(), ["FINAL 0 0..1000 |"]);
}

#[test]
fn silence_is_settled_without_any_utterance() {
    let mut s = Script::running(false);
    s.speak(6000);
    let settled: Vec<String> = s.take();
    assert!(settled.iter().all(|line| line.starts_with("SETTLED")) && !settled.is_empty());
    assert_ne!(
        settled.last().unwrap(),
        "SETTLED 6000",
        "it might still be speech"
    );
    // Also when the audio stalls, as it does where others wait for our progress.
    for _ in 0..20 {
        let Some(due) = s.session.poll_timeout() else {
            break;
        };
        s.now = due;
        s.pass(Duration::ZERO);
    }
    let last = s.take().pop().unwrap();
    let ms: u64 = last.strip_prefix("SETTLED ").unwrap().parse().unwrap();
    assert!(ms >= 5600, "{last}");
    s.receive("start 0 5900");
    s.speak(6000);
    assert_eq!(s.take()[..2], ["STARTED 5900", "SETTLED 5900"]);
    assert!(s.take().is_empty(), "an open utterance holds the rest back");
}

#[test]
fn nothing_is_settled_while_a_manual_utterance_may_still_be_committed() {
    let mut s = Script::running(true);
    s.speak(900);
    s.pass(Duration::from_secs(5));
    assert!(s.take().is_empty());
}

#[test]
fn a_service_that_does_not_finish_is_given_up() {
    let mut s = Script::running(false);
    s.speak(1000);
    s.receive("start 0 200");
    s.receive("partial 0 half a |sen");
    s.finish();
    s.said();
    s.pass(Duration::from_millis(19_999));
    assert!(s.said().is_empty());
    s.pass(Duration::from_millis(1));
    let said = s.said();
    assert_eq!(said[1], "FINAL 0 200..1000 half a sen|");
    assert!(said[0].contains("finish-timeout"), "{said:?}");
    assert_eq!(said[2..], ["CLOSE", "DRAINED"]);
}

#[test]
fn every_way_of_finishing_ends_with_the_text_and_then_drained() {
    for (how, warns) in [
        ("finished", true),
        ("close 1000", true),
        ("close", true),
        ("error", true),
    ] {
        let mut s = Script::running(false);
        s.speak(1000);
        s.receive("partial 0 tail|");
        s.finish();
        s.said();
        match how {
            "close" => s.session.handle_closed(None, "", s.now),
            "close 1000" => s.session.handle_closed(Some(1000), "", s.now),
            frame => s.receive(frame),
        }
        s.drain();
        let said = s.said();
        let warned = said.iter().any(|line| line.starts_with("WARNING"));
        assert_eq!(warned, warns, "{how}: {said:?}");
        let rest: Vec<_> = said
            .iter()
            .filter(|line| !line.starts_with("WARNING"))
            .collect();
        assert_eq!(rest, ["FINAL 0 0..1000 tail|", "CLOSE", "DRAINED"], "{how}");
    }
    let mut s = Script::running(false);
    s.speak(1000);
    s.finish();
    s.said();
    s.session.handle_closed(Some(1000), "bye", s.now);
    s.drain();
    assert_eq!(
        s.said(),
        ["CLOSE", "DRAINED"],
        "nothing was missing: no warning"
    );
}

#[test]
fn a_lost_connection_gives_the_text_that_was_there_and_one_failure() {
    let mut s = Script::running(false);
    s.speak(1000);
    s.receive("partial 0 half a |sen");
    s.said();
    s.session
        .handle_closed(Some(1011), "Internal server error", s.now);
    s.session.handle_closed(None, "", s.now);
    s.session.handle_finish(s.now);
    s.receive("final 0 Too late.");
    s.drain();
    assert_eq!(
        s.said(),
        ["FINAL 0 0..1000 half a sen|", "CLOSE", "FAILED Lost"]
    );
    assert_eq!(s.states.last(), Some(&State::Failed));
}

#[test]
fn each_step_of_the_beginning_has_its_deadline() {
    let mut s = Script::new(false);
    assert_eq!(s.session.poll_timeout(), Some(Duration::from_secs(10)));
    s.pass(Duration::from_secs(10));
    assert_eq!(s.said(), ["CONNECT", "CLOSE", "FAILED Unreachable"]);

    let mut s = Script::new(false);
    s.session.handle_connected(s.now);
    assert_eq!(s.session.poll_timeout(), Some(Duration::from_secs(15)));
    s.pass(Duration::from_secs(15));
    assert_eq!(
        s.said(),
        ["CONNECT", "hello", "CLOSE", "FAILED Unreachable"]
    );
}

#[test]
fn a_refusal_and_an_early_error_are_failures() {
    let mut s = Script::new(false);
    s.session.handle_refused(401, "no", s.now);
    s.drain();
    assert_eq!(s.said(), ["CONNECT", "CLOSE", "FAILED Unauthorized"]);
    let mut s = Script::running(false);
    s.receive("error");
    assert_eq!(s.said(), ["CLOSE", "FAILED Limit"]);
    let mut s = Script::running(false);
    s.receive("finished");
    assert_eq!(
        s.said(),
        ["CLOSE", "FAILED Lost"],
        "nobody asked it to finish"
    );
}

#[test]
fn odd_frames_cost_a_warning_and_nothing_else() {
    let mut s = Script::running(false);
    s.speak(1000);
    s.receive("what");
    s.receive("failed 3 unintelligible");
    s.receive("stop 9 100");
    s.receive("final 0 Fine.");
    let said = s.said();
    assert!(
        said.contains(&"FINAL 0 0..1000 Fine.|".to_owned()),
        "{said:?}"
    );
    assert!(!said.iter().any(|line| line.starts_with("FAILED")));
}

#[test]
fn text_of_an_utterance_that_failed_is_kept() {
    let mut s = Script::running(false);
    s.speak(1000);
    s.receive("partial 0 as far |as");
    s.receive("failed 0 boom");
    let said = s.said();
    assert!(
        said.contains(&"FINAL 0 0..1000 as far as|".to_owned()),
        "{said:?}"
    );
}

#[test]
fn endless_items_cost_bounded_memory() {
    let mut s = Script::running(false);
    s.speak(1000);
    for item in 0..10_000 {
        s.receive(&format!("partial {item} x|"));
        s.log.clear();
    }
    s.finish();
    s.receive("finished");
    assert!(s.said().len() < 100);
}

#[test]
fn usage_is_counted() {
    let mut s = Script::running(false);
    s.speak(1000);
    s.receive("billed 3");
    s.receive("billed 2");
    assert_eq!(
        s.session.usage(),
        (32_000, 3.0),
        "cumulative: the largest counts"
    );
}
