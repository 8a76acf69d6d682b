// SPDX-License-Identifier: MPL-2.0
//! Scripts of inputs on a fake clock, with a codec whose frames are plain words.

mod client_vad;
mod days;
mod outages;
mod rotation;
mod service;
mod stalls;

use super::*;
use crate::protocol::{Codec, Frame, Incoming, ItemText, Refusal, WordTime};
use crate::session::{ClientVad, Demand, Notice, RetryPolicy};
use crate::timeline::Timestamp;
use crate::transcript::Transcript;

/// Frames out: `audio BYTES`, `commit`, `finish`. Frames in: see `decode`.
struct PlainCodec {
    manual: bool,
}

impl Codec for PlainCodec {
    fn limits(&self) -> Limits {
        Limits {
            max_audio_bytes: 6400,
            max_speed: 2.0,
            max_utterance_ms: self.manual.then_some(1000),
            keep_alive: Some(Duration::from_secs(50)),
            takes_context: true,
        }
    }

    fn open(&mut self, out: &mut Vec<Frame>) {
        out.push(Frame::Text("hello".into()));
    }

    fn command(&mut self, command: Command<'_>, _events: &mut Vec<Event>, out: &mut Vec<Frame>) {
        out.push(Frame::Text(match command {
            Command::Audio(audio) => format!("audio {}", audio.len()),
            Command::Commit => "commit".into(),
            Command::Context(context) => format!("context {context}"),
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
        let said = ItemText {
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
            "partial" => Event::Interim { item, text: said },
            "final" => Event::Final { item, text: said },
            "failed" => Event::ItemFailed {
                item,
                message: rest.into(),
            },
            "billed" => Event::Billed(Usage {
                seconds: item as f64,
                tokens: 2 * item,
            }),
            "finished" => Event::Finished,
            "error" => Event::Failed(Failure::new(Kind::Limit, "Too much.", "Wait.")),
            _ => Event::Warning(kind.into()),
        });
    }

    fn closed(&self, code: Option<u16>, reason: &str) -> Failure {
        Failure::new(Kind::Lost, reason, "Start again.").with_close_code(code)
    }

    fn refused(&self, refusal: &Refusal<'_>) -> Failure {
        Failure::new(Kind::Unauthorized, refusal.body, "Check.").with_http_status(refusal.status)
    }
}

const REFUSAL: Refusal<'_> = Refusal {
    status: 401,
    body: "no",
    has_key: true,
};

fn closed(code: Option<u16>, reason: &str) -> Net<'_> {
    Net::Closed { code, reason }
}

/// 100 ms of silence, and of something loud.
const CHUNK: [u8; 3200] = [0; 3200];
const LOUD: [u8; 3200] = [20; 3200];
const MS: u64 = 1_000_000;

fn millis(time: Timestamp) -> u64 {
    time.nanos() / MS
}

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
            client_vad: None,
            context: None,
            connect_timeout: Duration::from_secs(10),
            response_timeout: Duration::from_secs(15),
            finish_timeout: Duration::from_secs(20),
            backlog_bytes: 960_000,
            retry: RetryPolicy {
                keep_going: false,
                max_retries: Some(0),
            },
            rotate_after: Duration::from_secs(1_000_000),
            is_live: false,
            pause: Duration::from_millis(600),
            seed: 1,
        };
        change(&mut config);
        let make_codec: CodecFactory = Box::new(move || Box::new(PlainCodec { manual }));
        let session = Session::new(config, make_codec, Duration::ZERO);
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
        self.net(Net::Connected);
        self.receive("ready");
        self.log.clear();
    }

    /// Something comes from the connection that serves, if there is one.
    fn net(&mut self, net: Net<'_>) {
        if let Some(id) = self.session.serving() {
            self.session.handle_net(id, net, self.now);
        }
        self.drain();
    }

    /// Something comes from the connection beside it, if there is one.
    fn net_beside(&mut self, net: Net<'_>) {
        if let Some(beside) = self.session.connections.any_second() {
            self.session.handle_net(beside.id, net, self.now);
        }
        self.drain();
    }

    fn context(&mut self, context: Option<String>) {
        let manual = self.session.limits.max_utterance_ms.is_some();
        let make_codec: CodecFactory = Box::new(move || Box::new(PlainCodec { manual }));
        self.session
            .handle_settings(make_codec, context, false, self.now);
        self.drain();
    }

    /// When the session wants to be woken.
    fn due(&self) -> Duration {
        self.session.poll_timeout().expect("it goes on").0
    }

    fn drain(&mut self) {
        while let Some(output) = self.session.poll_output() {
            let text = |t: &Transcript| {
                format!(
                    "{} {}..{} {}|{}",
                    t.utterance,
                    t.start / MS,
                    t.end / MS,
                    t.text,
                    t.stash
                )
            };
            // What does not concern the connection that serves is marked with a plus.
            let serving = self.session.serving();
            let of = |id: ConnId, what: &str| match serving {
                Some(serving) if serving != id => format!("+{what}"),
                _ => what.to_owned(),
            };
            self.log.push(match output {
                Output::Connect(id) => of(id, "CONNECT"),
                Output::Ping(id) => of(id, "PING"),
                Output::Send(id, Frame::Text(text)) => of(id, &text),
                Output::Send(id, Frame::Binary(bytes)) => {
                    of(id, &format!("binary {}", bytes.len()))
                }
                Output::Close(id) => of(id, "CLOSE"),
                Output::Notice(Notice::Rotated { .. }) => "ROTATED".into(),
                Output::Notice(Notice::State { state, .. }) => {
                    self.states.push(state);
                    continue;
                }
                Output::Notice(Notice::SpeechStarted { time, .. }) => {
                    format!("STARTED {}", millis(time))
                }
                Output::Notice(Notice::SpeechStopped { time, .. }) => {
                    format!("STOPPED {}", millis(time))
                }
                Output::Notice(Notice::AudioLost { time, duration, .. }) => {
                    format!("LOST {}+{}", millis(time), duration.as_millis())
                }
                Output::Notice(Notice::Outage(failure)) => format!("OUTAGE {:?}", failure.kind),
                Output::Notice(Notice::Interim(t)) => format!("INTERIM {}", text(&t)),
                Output::Notice(Notice::Final(t)) => format!("FINAL {}", text(&t)),
                Output::Notice(Notice::Watermark { time }) => format!("SETTLED {}", millis(time)),
                Output::Notice(Notice::Warning(warning)) => format!("WARNING {warning:?}"),
                Output::Notice(Notice::Failed(failure)) => format!("FAILED {:?}", failure.kind),
                Output::Notice(Notice::Drained) => "DRAINED".into(),
            });
        }
    }

    fn receive(&mut self, frame: &str) {
        self.net(Net::Frame(Incoming::Text(frame)));
    }

    /// Hands over audio as soon as it may be sent.
    fn speak(&mut self, ms: u64) {
        self.send(ms, &CHUNK);
    }

    /// The same so that it can be heard.
    fn shout(&mut self, ms: u64) {
        self.send(ms, &LOUD);
    }

    fn send(&mut self, ms: u64, chunk: &[u8]) {
        for _ in 0..ms / 100 {
            self.wait_for_demand();
            self.session
                .handle_audio(Timestamp::from_nanos(self.time), chunk, self.now);
            self.time += 100 * MS;
            self.drain();
        }
    }

    /// Until new audio may be handed over; what is to be sent again is sent first.
    fn wait_for_demand(&mut self) {
        loop {
            match self.session.poll_audio(self.now) {
                Demand::Chunk { .. } => return self.drain(),
                Demand::NotBefore { time, .. } => self.now = time,
                Demand::Replayed => self.drain(),
                Demand::Nothing => panic!("there is no connection"),
            }
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
    s.session.handle_audio(Timestamp::default(), &CHUNK, s.now);
    s.drain();
    assert!(s.log.is_empty(), "no audio before the service is ready");
    s.net(Net::Connected);
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
    s.session.handle_commit(s.now);
    s.drain();
    assert!(s.said().is_empty(), "nothing to commit");
    s.speak(300);
    s.receive("partial 0 |one");
    s.session.handle_commit(s.now);
    s.speak(400);
    s.session.handle_commit(s.now);
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
    s.session.handle_commit(s.now);
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
    let wait = s.due().saturating_sub(s.now);
    assert!(wait <= Duration::from_secs(2));
    s.pass(Duration::from_secs(2));
    assert_eq!(s.said(), [OVERTAKEN, "FINAL 1 1000..3000 Two.|"]);
    s.receive("final 0 One.");
    assert_eq!(s.said(), ["FINAL 0 100..3000 One.|"]);
}

const OVERTAKEN: &str = "WARNING NotRecognised(\"it finished later ones, and never this one\")";

#[test]
fn what_was_heard_of_an_overtaken_utterance_stays_in_its_place() {
    let mut s = Script::running(false);
    s.speak(5000);
    for (item, begin) in [(0, 100), (1, 1000), (2, 2000), (3, 4000)] {
        s.receive(&format!("start {item} {begin}"));
    }
    s.receive("partial 0 on|e");
    s.receive("final 2 Three.");
    s.said();
    s.pass(Duration::from_secs(2));
    assert_eq!(
        s.said(),
        [
            OVERTAKEN,
            OVERTAKEN,
            "FINAL 0 100..5000 one|",
            "FINAL 2 2000..5000 Three.|"
        ]
    );
    // It is over: nothing holds back what follows, and it does not come twice.
    s.receive("partial 0 One|");
    s.receive("final 0 One.");
    s.receive("final 3 Four.");
    assert_eq!(s.take(), ["FINAL 3 4000..5000 Four.|", "SETTLED 5000"]);
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
    let end = s.now + Duration::from_millis(2500);
    while s.due() <= end {
        s.now = s.due();
        s.net(Net::Alive);
        s.pass(Duration::ZERO);
    }
    let last = s.take().pop().unwrap();
    let ms: u64 = last.strip_prefix("SETTLED ").unwrap().parse().unwrap();
    assert!(ms >= 5600, "{last}");
    s.speak(500);
    s.take();
    s.receive("start 0 6300");
    s.speak(6000);
    let said = s.take();
    assert_eq!(said[0], "STARTED 6300");
    assert!(said[1..].iter().all(|line| line.starts_with("SETTLED")));
    assert_eq!(said.last().unwrap(), "SETTLED 6300");
    s.speak(6000);
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
fn a_service_that_is_slow_to_finish_is_waited_for_as_long_as_results_come() {
    let mut s = Script::running(true);
    s.speak(5000);
    s.finish();
    s.said();
    for n in 0..5 {
        for _ in 0..19 {
            s.pass(Duration::from_secs(1));
            s.net(Net::Alive);
        }
        assert!(!s.session.is_over());
        s.receive(&format!("final {n} word"));
    }
    s.receive("finished");
    assert_eq!(s.said()[5..], ["CLOSE", "DRAINED"]);
}

#[test]
fn a_service_that_does_not_finish_is_given_up() {
    let mut s = Script::running(false);
    s.speak(1000);
    s.receive("start 0 200");
    s.receive("partial 0 half a |sen");
    s.finish();
    s.said();
    for _ in 0..19 {
        s.pass(Duration::from_secs(1));
        s.net(Net::Alive);
    }
    assert!(!s.session.is_over());
    s.said();
    s.pass(Duration::from_secs(1));
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
            "close" => s.net(closed(None, "")),
            "close 1000" => s.net(closed(Some(1000), "")),
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
    s.net(closed(Some(1000), "bye"));
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
    s.net(closed(Some(1011), "Internal server error"));
    s.net(closed(None, ""));
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
    assert_eq!(s.due(), Duration::from_secs(10));
    s.pass(Duration::from_secs(10));
    assert_eq!(s.said(), ["CONNECT", "CLOSE", "FAILED Unreachable"]);

    let mut s = Script::new(false);
    s.net(Net::Connected);
    assert_eq!(s.due(), Duration::from_secs(15));
    s.pass(Duration::from_secs(15));
    assert_eq!(
        s.said(),
        ["CONNECT", "hello", "CLOSE", "FAILED Unreachable"]
    );
}

#[test]
fn a_refusal_and_an_early_error_are_failures() {
    let mut s = Script::new(false);
    s.net(Net::Refused(REFUSAL));
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
fn one_that_failed_waits_for_the_one_before() {
    let mut s = Script::running(false);
    s.speak(2000);
    s.receive("start 0 100");
    s.receive("partial 0 |o");
    s.receive("start 1 1000");
    s.receive("partial 1 |two");
    s.said();
    s.receive("failed 1 boom");
    s.receive("final 0 One.");
    assert_eq!(
        s.said(),
        [
            "WARNING NotRecognised(\"boom\")",
            "FINAL 0 100..2000 One.|",
            "FINAL 1 1000..2000 two|"
        ]
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
    let billed = Usage {
        seconds: 3.0,
        tokens: 6,
    };
    assert_eq!(
        s.session.usage(),
        (32_000, billed),
        "cumulative: the largest counts"
    );
}

#[test]
fn a_new_context_is_told_at_once_and_again_after_a_reconnect() {
    let mut s = persistent(false);
    s.said();
    s.context(Some("names".into()));
    s.drain();
    assert_eq!(s.said(), ["context names"]);
    s.lose();
    s.reconnect();
    let context = s
        .said()
        .iter()
        .filter(|said| *said == "context names")
        .count();
    assert_eq!(context, 1);
}

#[test]
fn words_have_the_timestamps_of_their_audio() {
    let mut s = Script::running(false);
    s.speak(1000);
    s.time += 5000 * MS;
    s.speak(1000);
    let word = |text: &str, begin_ms, end_ms| WordTime {
        text: text.into(),
        begin_ms,
        end_ms,
    };
    let text = ItemText {
        text: "one two".into(),
        words: vec![word("one", 500, 900), word("two", 1500, 99_000)],
        ..ItemText::default()
    };
    let id = s.session.serving().unwrap();
    s.session
        .handle_event(id, Event::Final { item: 0, text }, s.now);
    s.session.report(s.now);
    let words = std::iter::from_fn(|| s.session.poll_output()).find_map(|output| match output {
        Output::Notice(Notice::Final(transcript)) => Some(transcript.words),
        _ => None,
    });
    let words: Vec<_> = words
        .unwrap()
        .iter()
        .map(|word| (word.text.clone(), word.start / MS, word.end / MS))
        .collect();
    assert_eq!(
        words,
        [("one".into(), 500, 900), ("two".into(), 6500, 7000)],
        "never beyond what was sent"
    );
}

/// A session that tries for ever.
fn persistent(manual: bool) -> Script {
    let mut script = Script::with(manual, |config| config.retry.max_retries = None);
    script.connect();
    script
}

impl Script {
    fn lose(&mut self) {
        self.net(closed(None, ""));
    }

    /// Lets the wait pass and connects again.
    fn reconnect(&mut self) {
        let wait = self.due();
        assert!(wait <= self.now + Duration::from_secs(31), "{wait:?}");
        self.now = wait;
        self.pass(Duration::ZERO);
        self.net(Net::Connected);
        self.receive("ready");
    }

    /// Sends again what is to be; returns how much, in milliseconds.
    fn replay(&mut self) -> u64 {
        let before = self.session.usage().0;
        self.wait_for_demand();
        (self.session.usage().0 - before) / 32
    }
}

#[test]
fn an_utterance_that_was_cut_is_heard_again_and_nothing_else() {
    let mut s = persistent(false);
    s.speak(5000);
    s.receive("start 0 500");
    s.receive("stop 0 1500");
    s.receive("final 0 One.");
    s.receive("start 1 3000");
    s.receive("partial 1 |two");
    s.said();
    s.lose();
    assert_eq!(s.said(), ["CLOSE", "OUTAGE Lost"]);
    assert_eq!(s.states.last(), Some(&State::Reconnecting));
    s.reconnect();
    assert_eq!(s.said(), ["CONNECT", "hello"]);
    assert_eq!(s.replay(), 2300, "from a little before the second");
    s.speak(500);
    s.receive("start 0 300");
    s.receive("stop 0 1700");
    s.receive("final 0 Two.");
    assert_eq!(
        s.said(),
        ["STARTED 3000", "STOPPED 4400", "FINAL 1 3000..4400 Two.|"]
    );
}

#[test]
fn silence_is_not_sent_again() {
    let mut s = persistent(false);
    s.speak(20_000);
    s.said();
    s.lose();
    s.reconnect();
    let replayed = s.replay();
    // What the service would have reported, had it heard anything, is not worth repeating.
    assert!(replayed <= 2 * 2000 + 1000, "{replayed}");
}

#[test]
fn a_final_that_comes_twice_is_reported_once() {
    let mut s = persistent(false);
    s.speak(5000);
    s.receive("start 0 1500");
    s.receive("start 1 2500");
    s.receive("stop 1 3500");
    s.receive("final 1 Two.");
    s.pass(Duration::from_secs(2));
    assert!(s.said().contains(&"FINAL 1 2500..3500 Two.|".to_owned()));
    s.lose();
    s.reconnect();
    s.replay();
    s.said();
    // Nothing was heard of the first one, so all came again from its begin.
    for frame in [
        "start 0 310",
        "stop 0 1000",
        "final 0 One.",
        "start 1 1300",
        "stop 1 2300",
        "final 1 Two.",
    ] {
        s.receive(frame);
    }
    let finals: Vec<_> = s
        .said()
        .into_iter()
        .filter(|line| line.starts_with("FINAL"))
        .collect();
    assert_eq!(finals.len(), 1, "{finals:?}");
    assert!(finals[0].ends_with("One.|"));
}

#[test]
fn commits_are_repeated_with_their_audio() {
    let mut s = persistent(true);
    s.speak(300);
    s.session.handle_commit(s.now);
    s.speak(200);
    s.said();
    s.lose();
    s.reconnect();
    s.said();
    assert_eq!(s.replay(), 500);
    assert_eq!(s.said(), ["commit"]);
    s.receive("final 0 One.");
    s.finish();
    s.receive("final 1 Two.");
    s.receive("finished");
    let finals: Vec<_> = s
        .said()
        .into_iter()
        .filter(|line| line.starts_with("FINAL"))
        .collect();
    assert_eq!(finals, ["FINAL 0 0..300 One.|", "FINAL 1 300..500 Two.|"]);
}

#[test]
fn a_connection_that_breaks_again_and_again_loses_nothing() {
    let mut s = persistent(false);
    s.speak(3000);
    s.receive("start 0 0");
    for _ in 0..20 {
        s.lose();
        s.reconnect();
        s.now += Duration::from_millis(300);
        s.session.poll_audio(s.now);
        s.drain();
    }
    let outages = s
        .said()
        .iter()
        .filter(|line| line.starts_with("OUTAGE"))
        .count();
    assert_eq!(
        outages, 1,
        "a connection that breaks at once ends no outage"
    );
    s.lose();
    s.reconnect();
    assert_eq!(s.replay(), 3000);
}

#[test]
fn what_nobody_listened_to_is_sent_again() {
    // The audio goes at twice its speed, and the last two seconds are in doubt in any case.
    for (answer, expected) in [(None, 8000..8700), (Some("start 0 7000"), 4000..4700)] {
        let mut s = persistent(false);
        s.speak(6000);
        assert!(
            s.session.connections.serving().unwrap().kept_bytes() < 32 * 4700,
            "silence is not kept"
        );
        s.shout(2000);
        s.speak(6000);
        if let Some(answer) = answer {
            s.receive(answer);
            s.receive("final 0 Hm.");
            s.speak(6000);
        }
        s.lose();
        s.reconnect();
        let replayed = s.replay();
        assert!(expected.contains(&replayed), "{answer:?}: {replayed}");
    }
}

#[test]
fn endless_noise_is_kept_as_far_as_there_is_room_and_no_loss() {
    let mut s = Script::with(false, |config| {
        config.retry.max_retries = None;
        config.backlog_bytes = 160_000;
    });
    s.connect();
    s.shout(20_000);
    s.said();
    s.lose();
    assert_eq!(s.said(), ["CLOSE", "OUTAGE Lost"]);
    s.reconnect();
    assert_eq!(s.replay(), 5000);
}

#[test]
fn an_outage_is_reported_once_and_the_waits_grow() {
    let mut s = persistent(false);
    s.speak(1000);
    s.lose();
    let mut longest = Duration::ZERO;
    for _ in 0..30 {
        let due = s.due();
        longest = longest.max(due - s.now);
        s.now = due;
        s.pass(Duration::ZERO);
        let failure = Failure::new(Kind::Unreachable, "No.", "Wait.");
        s.net(Net::Unreachable(failure));
        s.drain();
    }
    let said = s.said();
    assert_eq!(
        said.iter()
            .filter(|line| line.starts_with("OUTAGE"))
            .count(),
        1
    );
    assert_eq!(said.iter().filter(|line| *line == "CONNECT").count(), 30);
    assert!(longest > Duration::from_secs(10) && longest <= Duration::from_secs(30));
}

#[test]
fn what_no_retry_mends_ends_the_session_unless_it_must_go_on() {
    let mut s = persistent(false);
    s.net(closed(None, ""));
    s.now = s.due();
    s.pass(Duration::ZERO);
    s.said();
    s.net(Net::Refused(REFUSAL));
    s.drain();
    assert_eq!(s.said(), ["CLOSE", "FAILED Unauthorized"]);

    let mut s = Script::with(false, |config| config.retry.keep_going = true);
    s.said();
    s.net(Net::Refused(REFUSAL));
    s.drain();
    assert_eq!(s.said(), ["CLOSE", "OUTAGE Unauthorized"]);
    let due = s.due();
    assert!(due >= s.now + Duration::from_secs(60));
}

#[test]
fn more_than_the_backlog_holds_is_lost_and_said_so() {
    let mut s = Script::with(false, |config| {
        config.retry.max_retries = None;
        config.backlog_bytes = 32_000;
    });
    s.connect();
    s.speak(5000);
    s.receive("start 0 1000");
    s.speak(1000);
    s.said();
    s.lose();
    assert_eq!(s.said(), ["LOST 700+4300", "CLOSE", "OUTAGE Lost"]);
    s.reconnect();
    assert_eq!(s.replay(), 1000);
}

#[test]
fn a_tail_that_was_cut_is_finished_over_a_new_connection() {
    let mut s = persistent(false);
    s.speak(2000);
    s.receive("start 0 500");
    s.finish();
    s.said();
    s.lose();
    s.reconnect();
    s.replay();
    s.finish();
    s.receive("start 0 300");
    s.receive("final 0 One.");
    s.receive("finished");
    let said = s.said();
    assert!(
        said.contains(&"FINAL 0 500..2000 One.|".to_owned()),
        "{said:?}"
    );
    assert_eq!(said.last().unwrap(), "DRAINED");
}

#[test]
fn the_end_of_the_audio_limits_an_outage() {
    for (keep_going, expected) in [(false, "FAILED Lost"), (true, "DRAINED")] {
        let mut s = Script::with(false, |config| {
            config.retry = RetryPolicy {
                keep_going,
                max_retries: None,
            };
        });
        s.connect();
        s.speak(1000);
        s.receive("partial 0 |half");
        s.lose();
        s.session.handle_end_announced(s.now);
        let end = s.now + Duration::from_secs(20);
        while !s.session.is_over() {
            s.now = s.due();
            s.pass(Duration::ZERO);
            if s.now < end {
                let failure = Failure::new(Kind::Lost, "No.", "Wait.");
                s.net(Net::Unreachable(failure));
                s.drain();
            }
        }
        // What would be tried after that is not waited for.
        assert!(s.now <= end && s.now > end / 2, "{:?}", s.now);
        assert_eq!(s.said().last().unwrap(), expected);
    }
}

#[test]
fn a_connection_that_has_died_is_noticed() {
    let mut s = persistent(false);
    let mut heard = Vec::new();
    while !heard.iter().any(|line| line == "OUTAGE Lost") {
        s.now = s.due();
        s.pass(Duration::ZERO);
        heard.extend(s.said());
        assert!(s.now <= Duration::from_secs(15), "{heard:?}");
    }
    assert_eq!(heard, ["PING", "CLOSE", "OUTAGE Lost"]);
}

#[test]
fn an_idle_connection_is_kept_open_at_little_cost() {
    let mut s = persistent(false);
    s.speak(1000);
    let before = s.session.usage().0;
    let end = s.now + Duration::from_secs(600);
    while s.now < end {
        s.now = s.due();
        s.pass(Duration::ZERO);
        s.net(Net::Alive);
    }
    let said = s.said();
    assert!(
        !said.iter().any(|line| line.starts_with("OUTAGE")),
        "{said:?}"
    );
    let sent_ms = (s.session.usage().0 - before) / 32;
    assert!(
        (1000..=1300).contains(&sent_ms),
        "100 ms each 50 s: {sent_ms}"
    );
    // It does not shift what comes later.
    s.time = 700_000 * MS;
    s.speak(1000);
    s.receive(&format!("start 0 {}", 1000 + sent_ms + 500));
    assert_eq!(s.said(), ["STARTED 700500"]);
}

#[test]
fn what_was_heard_of_a_cut_utterance_is_reported_if_nothing_better_comes() {
    let mut s = persistent(false);
    s.speak(3000);
    s.receive("start 0 500");
    s.receive("partial 0 as far |as");
    s.lose();
    s.reconnect();
    s.replay();
    s.receive("start 0 300");
    s.receive("partial 0 as|");
    s.lose();
    s.session.handle_end_announced(s.now);
    s.said();
    s.pass(Duration::from_secs(20));
    assert_eq!(
        s.said(),
        [
            "FINAL 0 500..3000 as far as|",
            "LOST 200+2800",
            "FAILED Lost"
        ]
    );
}
