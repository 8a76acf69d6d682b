// SPDX-License-Identifier: MPL-2.0

use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::blocks::{self, BlockRecogniser, blocks, words};
use crate::core::Core;
use crate::filter::Filter;
use crate::recogniser::Factory;
use crate::script::{ScriptItem, ScriptRecogniser};
use crate::session::{Output, Session};

fn options() -> Options {
    Options::default()
}

/// A session and what it did so far.
struct Peer {
    session: Session,
    wires: Vec<Wire>,
    now: Duration,
}

impl Peer {
    fn start(options: &Options, faults: Faults) -> Self {
        let dialect = Realtime::new("qwen3-asr-flash-realtime", 1, options, &faults);
        let core = Core::new(options);
        let mut peer = Self {
            session: Session::new(Box::new(dialect), core, Filter::new(faults)),
            wires: Vec::new(),
            now: Duration::ZERO,
        };
        peer.session.open(&mut keep(&mut peer.wires));
        peer
    }

    fn new(options: Options, recogniser: Factory) -> Self {
        let options = Options {
            recogniser,
            ..options
        };
        Self::start(&options, Faults::default())
    }

    /// A session with numbered blocks and this `session` object.
    fn configured(session: Value) -> Self {
        Self::new(options(), BlockRecogniser::factory()).updated(session)
    }

    fn updated(self, session: Value) -> Self {
        let mut peer = self;
        peer.take();
        peer.send(json!({"type": "session.update", "event_id": "u", "session": session}));
        assert_eq!(peer.take(), ["session.updated"]);
        peer
    }

    fn vad() -> Self {
        Self::configured(vad_session())
    }

    fn manual() -> Self {
        Self::configured(json!({"turn_detection": null}))
    }

    fn send(&mut self, event: Value) {
        self.text(&event.to_string());
    }

    fn text(&mut self, text: &str) {
        self.receive(Frame::Text(text.to_owned()));
    }

    fn receive(&mut self, frame: Frame) {
        let out = &mut keep(&mut self.wires);
        self.session.receive(frame, self.now, out);
    }

    /// Sends audio in chunks of 100 ms and a bit, at 16 kHz.
    fn audio(&mut self, pcm: &[i16]) {
        for chunk in pcm.chunks(1607) {
            let audio = BASE64.encode(blocks::bytes(chunk));
            self.send(json!({"type": "input_audio_buffer.append", "audio": audio}));
        }
    }

    fn silence(&mut self, ms: u32) {
        self.audio(&blocks::silence(ms, 16000));
    }

    fn kind(&mut self, kind: &str) {
        self.send(json!({"type": kind, "event_id": "x"}));
    }

    fn take_wires(&mut self) -> Vec<Wire> {
        std::mem::take(&mut self.wires)
    }

    fn take_events(&mut self) -> Vec<Value> {
        self.take_wires()
            .into_iter()
            .map(|wire| match wire {
                Wire::Event(event) => event,
                other => panic!("{other:?} instead of an event"),
            })
            .collect()
    }

    /// What was sent, in short: the last word of the type, with what matters most.
    fn take(&mut self) -> Vec<String> {
        self.take_wires()
            .iter()
            .map(|wire| match wire {
                Wire::Event(event) => short(event),
                Wire::Close { code, .. } => format!("close {code}"),
                other => panic!("{other:?}"),
            })
            .collect()
    }
}

/// Keeps what is to be done.
fn keep(wires: &mut Vec<Wire>) -> impl FnMut(Output) {
    |output| {
        if let Output::Wire(wire) = output {
            wires.push(wire);
        }
    }
}

/// The `session` object for detection of speech.
fn vad_session() -> Value {
    let detection = json!({"type": "server_vad", "threshold": 0.0, "silence_duration_ms": 400});
    json!({"turn_detection": detection})
}

fn short(event: &Value) -> String {
    let kind = event["type"].as_str().unwrap();
    let kind = kind
        .trim_start_matches("input_audio_buffer.")
        .trim_start_matches("conversation.item.")
        .trim_start_matches("input_audio_transcription.");
    match kind {
        "speech_started" => format!("{kind} {}", event["audio_start_ms"]),
        "speech_stopped" => format!("{kind} {}", event["audio_end_ms"]),
        "text" => format!(
            "{kind} {}|{}",
            event["text"].as_str().unwrap(),
            event["stash"].as_str().unwrap()
        ),
        "completed" => format!("{kind} {}", event["transcript"].as_str().unwrap()),
        "error" => format!("{kind} {}", event["error"]["code"].as_str().unwrap()),
        _ => kind.to_owned(),
    }
}

#[test]
fn created_and_updated() {
    let mut peer = Peer::new(options(), BlockRecogniser::factory());
    let events = peer.take_events();
    let session = &events[0]["session"];
    assert_eq!(session["model"], "qwen3-asr-flash-realtime");
    assert_eq!(
        session["input_audio_transcription"]["model"],
        "qwen3-asr-flash-realtime"
    );
    assert_eq!(
        session["turn_detection"],
        json!({"type": "server_vad", "threshold": 0.2, "silence_duration_ms": 800})
    );
    assert!(session["id"].as_str().unwrap().starts_with("sess_"));
    peer.send(json!({"type": "session.update", "session": {"turn_detection": null}}));
    let events = peer.take_events();
    assert_eq!(events[0]["session"]["turn_detection"], Value::Null);
    assert_eq!(events[0]["session"]["sample_rate"], 16000);
}

#[test]
fn detected_speech_in_order() {
    let mut peer = Peer::vad();
    peer.silence(300);
    peer.audio(&blocks(0..12, 16000));
    peer.silence(1000);
    peer.audio(&blocks(12..14, 16000));
    peer.silence(500);
    let wires = peer.take_wires();
    let ids: Vec<&str> = wires
        .iter()
        .map(|wire| match wire {
            Wire::Event(event) if event["item"].is_object() => event["item"]["id"].as_str(),
            Wire::Event(event) => event["item_id"].as_str(),
            _ => None,
        })
        .map(Option::unwrap)
        .collect();
    assert_eq!(ids[..8], [ids[0]; 8]);
    assert_eq!(ids[8..], [ids[8]; 6]);
    assert_ne!(ids[0], ids[8]);
    let Wire::Event(committed) = &wires[11] else {
        panic!("{wires:?}");
    };
    assert_eq!(committed["previous_item_id"], ids[0]);
    peer.wires = wires;
    assert_eq!(
        peer.take(),
        [
            "speech_started 300",
            "text w0000 w0001 w0002 |w0003 w0004",
            "text w0000 w0001 w0002 w0003 w0004 w0005 w0006 w0007 |w0008 w0009",
            "text w0000 w0001 w0002 w0003 w0004 w0005 w0006 w0007 w0008 w0009 |w0010 w0011",
            "speech_stopped 1500",
            "committed",
            "created",
            &format!("completed {}", words(0..12)),
            "speech_started 2500",
            "text |w0012 w0013",
            "speech_stopped 2700",
            "committed",
            "created",
            &format!("completed {}", words(12..14)),
        ]
    );
}

#[test]
fn detection_is_exact_at_any_position() {
    for (start, length, rate) in [(10, 310, 16000), (170, 480, 16000), (1010, 90, 8000)] {
        let mut peer = Peer::configured(json!({
            "sample_rate": rate,
            "turn_detection": {"type": "server_vad", "silence_duration_ms": 200},
        }));
        let speech = &blocks(1..10, rate)[..(rate / 1000 * length) as usize];
        peer.audio(&blocks::silence(start, rate));
        peer.audio(speech);
        peer.audio(&blocks::silence(220, rate));
        let short: Vec<_> = peer
            .take()
            .into_iter()
            .filter(|s| s.starts_with("speech"))
            .collect();
        assert_eq!(
            short,
            [
                format!("speech_started {start}"),
                format!("speech_stopped {}", start + length)
            ]
        );
    }
}

#[test]
fn manual_mode_in_order() {
    let mut peer = Peer::manual();
    peer.audio(&blocks(0..6, 16000));
    peer.kind("input_audio_buffer.commit");
    peer.kind("input_audio_buffer.commit");
    peer.audio(&blocks(6..7, 16000));
    peer.kind("session.finish");
    peer.kind("session.finish");
    assert_eq!(
        peer.take(),
        [
            "text w0000 w0001 w0002 |w0003 w0004",
            "committed",
            "created",
            "completed w0000 w0001 w0002 w0003 w0004 w0005",
            "error input_audio_buffer_commit_empty",
            "committed",
            "created",
            "completed w0006",
            "session.finished",
            "close 1000",
        ]
    );
}

#[test]
fn finish_flushes_speech() {
    let mut peer = Peer::vad();
    peer.silence(50);
    peer.audio(&blocks(7..9, 16000));
    peer.audio(&blocks(9..10, 16000)[..721]);
    peer.kind("session.finish");
    assert_eq!(
        peer.take(),
        [
            "speech_started 50",
            "speech_stopped 295",
            "committed",
            "created",
            "completed w0007 w0008 w0009",
            "session.finished",
            "close 1000",
        ]
    );
}

#[test]
fn finish_without_speech() {
    let mut peer = Peer::vad();
    peer.silence(5000);
    peer.kind("session.finish");
    assert_eq!(peer.take(), ["session.finished", "close 1000"]);
}

#[test]
fn usage_is_cumulative() {
    let mut peer = Peer::vad();
    for _ in 0..3 {
        peer.audio(&blocks(1..11, 16000));
        peer.silence(1000);
    }
    let durations: Vec<_> = peer
        .take_events()
        .iter()
        .filter_map(|event| event["usage"]["duration"].as_u64())
        .collect();
    assert_eq!(durations, [2, 4, 6]);
}

#[test]
fn commit_with_detection() {
    let mut peer = Peer::vad();
    peer.audio(&blocks(1..3, 16000));
    peer.kind("input_audio_buffer.commit");
    peer.audio(&blocks(3..4, 16000));
    peer.silence(500);
    let first = [
        "speech_started 0",
        "committed",
        "created",
        "completed w0001 w0002",
    ];
    let then = ["speech_stopped 300", "committed"];
    assert_eq!(peer.take(), [&first[..], &then[..]].concat());
    peer.kind("input_audio_buffer.commit");
    assert_eq!(peer.take(), ["error input_audio_buffer_commit_empty"]);
    let faults = Faults {
        commit_not_allowed: true,
        ..Faults::default()
    };
    let mut peer = Peer::start(&options(), faults).updated(vad_session());
    peer.kind("input_audio_buffer.commit");
    assert_eq!(peer.take(), ["error commit_not_allowed"]);
}

#[test]
fn refusals_name_the_event() {
    let mut peer = Peer::vad();
    for (event, code) in [
        (
            json!({"type": "session.update", "session": {"sample_rate": 1}}),
            "invalid_value",
        ),
        (json!({"type": "session.update"}), "invalid_value"),
        (json!({"type": "response.create"}), "invalid_event"),
        (
            json!({"type": "input_audio_buffer.append"}),
            "invalid_audio",
        ),
        (
            json!({"type": "input_audio_buffer.append", "audio": "?"}),
            "invalid_audio",
        ),
        (
            json!({"type": "input_audio_buffer.append", "audio": "AAAA"}),
            "invalid_audio",
        ),
    ] {
        let mut event = event;
        event["event_id"] = json!("event_7");
        peer.send(event.clone());
        let events = peer.take_events();
        assert_eq!(events.len(), 1, "{event}");
        assert_eq!(
            events[0]["error"]["type"], "invalid_request_error",
            "{event}"
        );
        assert_eq!(events[0]["error"]["code"], code, "{event}");
        assert_eq!(events[0]["error"]["event_id"], "event_7", "{event}");
    }
    for garbage in ["", "{", "[]", "7", "{\"type\":7}"] {
        peer.text(garbage);
        assert_eq!(peer.take(), ["error invalid_event"], "{garbage}");
    }
    peer.receive(Frame::Binary(vec![0; 3]));
    assert_eq!(peer.take(), ["error invalid_event"]);
}

#[test]
fn second_update() {
    let mut peer = Peer::vad();
    peer.send(json!({"type": "session.update", "session": {}}));
    assert_eq!(peer.take(), ["session.updated"]);
    peer.silence(1);
    peer.send(json!({"type": "session.update", "session": {}}));
    assert_eq!(peer.take(), ["close 1007"]);
    peer.kind("session.finish");
    assert_eq!(peer.take(), [""; 0]);
}

#[test]
fn frame_limit() {
    let frame = |length: usize| {
        let start = "{\"type\":\"x\",\"pad\":\"";
        format!("{start}{}\"}}", "y".repeat(length - start.len() - 2))
    };
    let mut peer = Peer::vad();
    peer.text(&frame(MAX_FRAME));
    assert_eq!(peer.take(), ["error invalid_event"]);
    peer.text(&frame(MAX_FRAME + 1));
    assert_eq!(peer.take(), ["close 1009"]);
}

#[test]
fn rate_limit() {
    for (limited, pause, closed) in [
        (true, Duration::ZERO, true),
        (true, Duration::from_millis(40), false),
        (false, Duration::ZERO, false),
    ] {
        let options = Options {
            rate_limit: limited,
            ..options()
        };
        let manual = json!({"turn_detection": null});
        let mut peer = Peer::start(&options, Faults::default()).updated(manual);
        // 27 chunks of 3 s: 2592 KB.
        for _ in 0..27 {
            let audio = BASE64.encode([0; 96_000]);
            peer.send(json!({"type": "input_audio_buffer.append", "audio": audio}));
            peer.now += pause;
        }
        assert_eq!(
            peer.take().contains(&"close 1007".to_owned()),
            closed,
            "{limited} {pause:?}"
        );
    }
}

#[test]
fn unusable_configurations_fail_at_recognition() {
    let mut peer = Peer::configured(json!({"input_audio_transcription": {"language": "auto"}}));
    peer.audio(&blocks(0..10, 16000));
    peer.silence(1000);
    peer.kind("session.finish");
    assert_eq!(
        peer.take(),
        [
            "speech_started 0",
            "error COMMON_ERROR",
            "speech_stopped 1000",
            "committed",
            "created",
            "session.finished",
            "close 1000",
        ]
    );
}

#[test]
fn audio_of_another_format_than_announced() {
    let opus = json!({"input_audio_format": "opus"});
    // Samples are no pages, and what is not Base64 is nothing.
    let mut peer = Peer::configured(opus.clone());
    peer.send(json!({"type": "input_audio_buffer.append", "audio": "-"}));
    assert_eq!(peer.take(), ["error invalid_audio"]);
    peer.audio(&blocks(0..10, 16000));
    assert_eq!(peer.take(), ["error invalid_audio", "close 1007"]);
    // The format of the latest update counts.
    let mut peer = Peer::configured(opus).updated(json!({"input_audio_format": "pcm"}));
    peer.audio(&blocks(0..5, 16000));
    peer.silence(1000);
    let completed = format!("completed {}", words(0..5));
    assert!(peer.take().contains(&completed));
    // A page is as good as any other samples, if it has an even number of bytes.
    for (length, expected) in [(98, &[][..]), (99, &["error invalid_audio"])] {
        let mut page = b"OggS".to_vec();
        page.resize(length, 0);
        let mut peer = Peer::vad();
        let audio = BASE64.encode(page);
        peer.send(json!({"type": "input_audio_buffer.append", "audio": audio}));
        assert_eq!(peer.take(), expected);
    }
}

#[test]
fn language_and_emotion() {
    let items = || {
        vec![
            ScriptItem::new("今天。").partial(0, "", "今"),
            ScriptItem::new(""),
        ]
    };
    for (update, language) in [(json!({}), "zh"), (json!({"language": "yue"}), "yue")] {
        let mut peer = Peer::new(options(), ScriptRecogniser::factory(items(), "zh"));
        let session = json!({"turn_detection": null, "input_audio_transcription": update});
        peer.send(json!({"type": "session.update", "session": session}));
        peer.take();
        peer.audio(&blocks(0..5, 16000));
        peer.kind("input_audio_buffer.commit");
        let events = peer.take_events();
        for event in [&events[0], &events[3]] {
            assert_eq!(event["language"], language);
            assert_eq!(event["emotion"], "neutral");
        }
        peer.silence(10);
        peer.kind("input_audio_buffer.commit");
        let events = peer.take_events();
        assert_eq!(events[2]["language"], "");
        assert_eq!(events[2]["emotion"], "");
    }
}

#[test]
fn long_speech_is_cut() {
    let options = Options {
        max_item: Some(Duration::from_secs(1)),
        ..options()
    };
    let mut peer = Peer::start(&options, Faults::default()).updated(vad_session());
    peer.audio(&blocks(0..15, 16000));
    peer.silence(400);
    let short: Vec<_> = peer
        .take()
        .into_iter()
        .filter(|s| !s.starts_with("text"))
        .collect();
    assert_eq!(
        short,
        [
            "speech_started 0",
            "speech_stopped 1000",
            "committed",
            "created",
            &format!("completed {}", words(0..10)),
            "speech_started 1000",
            "speech_stopped 1500",
            "committed",
            "created",
            &format!("completed {}", words(10..15)),
        ]
    );
}

#[test]
fn no_recogniser() {
    let mut peer = Peer::new(options(), Arc::new(|| Err("no model".to_owned())));
    peer.take();
    peer.audio(&blocks(0..1, 16000));
    assert_eq!(peer.take(), ["error internal_error", "close 1011"]);
}
