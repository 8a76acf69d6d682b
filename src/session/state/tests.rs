// SPDX-License-Identifier: MPL-2.0
//! Scripts of inputs on a fake clock, with a codec whose frames are plain words. Used by the
//! modules below.

mod client_vad;
mod days;
mod endings;
mod models;
mod one_utterance;
mod outages;
mod packets;
mod replay;
mod results;
mod rotation;
mod service;
mod stalls;

use super::*;
use crate::audio::{Coding, pcm};
use crate::protocol::{Codec, Frame, Incoming, Invitation, ItemText, Refusal, WordTime};
use crate::session::{ClientVad, Demand, Model, Notice, RetryPolicy};
use crate::timeline::{Samples, Timestamp};
use crate::transcript::Transcript;

/// Frames out: `audio BYTES`, `commit`, `finish`. Frames in: see `decode`.
#[derive(Clone, Copy)]
struct PlainCodec {
    manual: bool,
    one_utterance: bool,
}

impl PlainCodec {
    fn new(manual: bool) -> Self {
        let one_utterance = false;
        Self {
            manual,
            one_utterance,
        }
    }
}

impl Codec for PlainCodec {
    fn limits(&self) -> Limits {
        Limits {
            max_audio_bytes: 6400,
            max_speed: 2.0,
            max_utterance_ms: self.manual.then_some(1000),
            keep_alive: Some(Duration::from_secs(50)),
            takes_context: true,
            one_utterance: self.one_utterance,
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
            "gone" => Event::Failed(Failure::new(Kind::NoModel, "No.", "Take another.")),
            _ => Event::Warning(kind.into()),
        });
    }

    fn closed(&self, code: Option<u16>, reason: &str) -> Failure {
        let invitation = match code {
            Some(1012) => Invitation::AtOnce,
            _ => Invitation::None,
        };
        Failure::new(Kind::Lost, reason, "Start again.")
            .inviting(invitation)
            .with_close_code(code)
    }

    fn refused(&self, refusal: &Refusal<'_>) -> Failure {
        Failure::new(Kind::Unauthorized, refusal.body, "Check.").with_http_status(refusal.status)
    }
}

const REFUSAL: Refusal<'_> = Refusal {
    status: 401,
    body: "no",
    has_key: true,
    retry_after: None,
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

/// Models of these names that all speak alike.
fn models(codec: PlainCodec, names: &[&str]) -> Models {
    let mut models = names.iter().map(|name| Model {
        name: (*name).to_owned(),
        codecs: Box::new(move || Box::new(codec)),
    });
    Models::new(models.next().unwrap(), models.collect())
}

struct Script {
    session: Session,
    now: Duration,
    /// The outputs, in words; states are left out.
    log: Vec<String>,
    states: Vec<State>,
    time: u64,
}

impl Script {
    fn new(manual: bool) -> Self {
        Self::with(manual, |_| {})
    }

    fn with(manual: bool, change: impl FnOnce(&mut Config)) -> Self {
        Self::speaking(PlainCodec::new(manual), change)
    }

    fn speaking(codec: PlainCodec, change: impl FnOnce(&mut Config)) -> Self {
        Self::asking_for(&["m"], codec, change)
    }

    /// With these models.
    fn asking_for(names: &[&str], codec: PlainCodec, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config {
            coding: Coding::Pcm,
            rate: 16000,
            chunk: Samples(1600),
            max_speed: 0.0,
            client_vad: None,
            context: None,
            connect_timeout: Duration::from_secs(10),
            response_timeout: Duration::from_secs(15),
            finish_timeout: Duration::from_secs(20),
            backlog: Samples(480_000),
            retry: RetryPolicy {
                keep_going: false,
                max_retries: Some(0),
                addresses: 1,
            },
            rotate_after: Duration::from_secs(1_000_000),
            is_live: false,
            pause: Duration::from_millis(600),
            seed: 1,
        };
        change(&mut config);
        let session = Session::new(config, models(codec, names), Duration::ZERO);
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

    /// An event on the serving connection, if there is one.
    fn net(&mut self, net: Net<'_>) {
        if let Some(id) = self.session.serving() {
            self.session.handle_net(id, net, self.now);
        }
        self.drain();
    }

    /// An event on the second connection, if there is one.
    fn net_beside(&mut self, net: Net<'_>) {
        if let Some(beside) = self.session.connections.any_second() {
            self.session.handle_net(beside.id, net, self.now);
        }
        self.drain();
    }

    fn context(&mut self, context: Option<String>) {
        let manual = self.session.limits.max_utterance_ms.is_some();
        let models = models(PlainCodec::new(manual), &["m"]);
        self.session
            .handle_settings(models, context, false, self.now);
        self.drain();
    }

    /// Time of the session's next timeout.
    fn due(&self) -> Duration {
        self.session.poll_timeout().expect("it goes on").0
    }

    fn drain(&mut self) {
        while let Some(output) = self.session.poll_output() {
            let text = |t: &Transcript| {
                format!(
                    "{} {}..{} {}|{}",
                    t.utterance,
                    t.span.start.millis(),
                    t.span.end.millis(),
                    t.text,
                    t.stash
                )
            };
            // Outputs for the second connection are marked with a plus.
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
                Output::Notice(Notice::Outage { failure, .. }) => {
                    format!("OUTAGE {:?}", failure.kind)
                }
                Output::Notice(Notice::Interim(t)) => format!("INTERIM {}", text(&t)),
                Output::Notice(Notice::Final(t)) => format!("FINAL {}", text(&t)),
                Output::Notice(Notice::Watermark { time }) => format!("SETTLED {}", millis(time)),
                Output::Notice(Notice::Warning(Warning::NextModel { gone, next, .. })) => {
                    format!("{next} INSTEAD OF {gone}")
                }
                Output::Notice(Notice::Warning(warning)) => format!("WARNING {warning:?}"),
                Output::Notice(Notice::Failed(failure)) => format!("FAILED {:?}", failure.kind),
                Output::Notice(Notice::Drained) => "DRAINED".into(),
            });
        }
    }

    fn receive(&mut self, frame: &str) {
        self.net(Net::Frame(Incoming::Text(frame)));
    }

    /// Hands over quiet audio as soon as it may be sent.
    fn speak(&mut self, ms: u64) {
        self.send(ms, &CHUNK);
    }

    /// The same with loud audio.
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

    /// Advances to when new audio may be handed over; the replay is sent first.
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

    /// As `take`, without the watermarks.
    fn said(&mut self) -> Vec<String> {
        let mut log = self.take();
        log.retain(|line| !line.starts_with("SETTLED"));
        log
    }
}

/// A session that retries without limit.
fn persistent(manual: bool) -> Script {
    let mut script = Script::with(manual, |config| config.retry.max_retries = None);
    script.connect();
    script
}

impl Script {
    fn lose(&mut self) {
        self.net(closed(None, ""));
    }

    /// Lets the wait expire, and connects again.
    fn reconnect(&mut self) {
        let wait = self.due();
        assert!(wait <= self.now + Duration::from_secs(31), "{wait:?}");
        self.now = wait;
        self.pass(Duration::ZERO);
        self.net(Net::Connected);
        self.receive("ready");
    }

    /// Sends the replay; returns its length in milliseconds.
    fn replay(&mut self) -> u64 {
        let before = self.session.usage().0.bytes;
        self.wait_for_demand();
        (self.session.usage().0.bytes - before) / 32
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
