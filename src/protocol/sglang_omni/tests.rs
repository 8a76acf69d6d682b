// SPDX-License-Identifier: MPL-2.0
use crate::protocol::Protocol;
use crate::protocol::texts::MAX_TEXT;

use super::*;

/// As sent by the server, except for the ids.
const CREATED: &str = r#"{"type":"session.created","session":{"id":"sess_1","object":"realtime.session","model":"Qwen/Qwen3-ASR-1.7B","intent":"transcription","input_audio_format":"pcm16","language":null,"decode_interval_ms":2000,"turn_detection":{"type":"server_vad"}},"event_id":"evt_1","event_index":1}"#;

const SERVER_VAD: TurnDetection = TurnDetection::ServerVad {
    threshold: None,
    silence_ms: 400,
};

fn recognition(turn_detection: TurnDetection) -> Recognition {
    Recognition {
        model: "Qwen/Qwen3-ASR-1.7B".into(),
        model_property: "model",
        language: None,
        context: None,
        vocabulary: Vec::new(),
        vocabulary_id: None,
        translation: None,
        parameters: Vec::new(),
        rate: 16_000,
        coding: Default::default(),
        turn_detection,
        official: false,
    }
}

/// A codec and its output as text.
struct Script {
    codec: SglangOmni,
    events: Vec<Event>,
    out: Vec<Frame>,
}

impl Script {
    fn new(recognition: Recognition) -> Self {
        Self {
            codec: SglangOmni::new(recognition),
            events: Vec::new(),
            out: Vec::new(),
        }
    }

    fn running(turn_detection: TurnDetection) -> Self {
        let mut script = Self::new(recognition(turn_detection));
        script.receive(CREATED);
        script.out.clear();
        script.receive(r#"{"type":"session.updated","session":{"id":"sess_1"}}"#);
        let session_id = Some("sess_1".to_owned());
        assert_eq!(script.events, [Event::Ready { session_id }]);
        script.events.clear();
        script
    }

    fn receive(&mut self, frame: &str) {
        self.codec
            .decode(Incoming::Text(frame), &mut self.events, &mut self.out);
    }

    fn say(&mut self, command: Command<'_>) {
        self.codec.command(command, &mut self.events, &mut self.out);
    }

    fn started(&mut self, segment: u64, ms: u64) {
        let event = json!({"type": "input_audio_buffer.speech_started", "segment_id": segment,
            "audio_start_ms": ms});
        self.receive(&event.to_string());
    }

    fn stopped(&mut self, segment: Option<u64>, ms: u64) {
        let event = json!({"type": "input_audio_buffer.speech_stopped", "segment_id": segment,
            "audio_end_ms": ms});
        self.receive(&event.to_string());
    }

    fn committed(&mut self, segment: u64) {
        let event = json!({"type": "input_audio_buffer.committed", "segment_id": segment});
        self.receive(&event.to_string());
    }

    fn segment(&mut self, segment: u64, span: (u64, u64), text: &str, is_final: bool) {
        let event = json!({"type": "transcription.segment", "segment_id": segment,
            "audio_start_ms": span.0, "audio_end_ms": span.1, "text": text, "is_final": is_final});
        self.receive(&event.to_string());
    }

    fn error(&mut self, code: &str) {
        let event = json!({"type": "error", "error": {"type": "invalid_request_error",
            "code": code, "message": "The words."}});
        self.receive(&event.to_string());
    }

    fn events(&mut self) -> Vec<String> {
        let ms = |ms: Option<u64>| ms.map_or("?".into(), |ms| ms.to_string());
        let events = self.events.drain(..).map(|event| match event {
            Event::ItemSeen { item } => format!("{item} seen"),
            Event::SpeechStarted { item, at_ms, .. } => format!("{item} from {}", ms(at_ms)),
            Event::SpeechStopped { item, at_ms, .. } => format!("{item} to {}", ms(at_ms)),
            Event::Interim { item, text } => format!("{item} {}{}?", text.text, text.stash),
            Event::Final { item, text } => format!("{item} {}{}.", text.text, text.stash),
            Event::ItemFailed { item, message } => format!("{item} failed: {message}"),
            event => format!("{event:?}"),
        });
        events.collect()
    }

    fn sent(&mut self) -> Vec<Value> {
        let json = |frame: Frame| match frame {
            Frame::Text(text) => serde_json::from_str(&text).unwrap(),
            Frame::Binary(_) => panic!("not in this protocol"),
        };
        self.out.drain(..).map(json).collect()
    }

    fn failure(&self) -> &Failure {
        match self.events.last() {
            Some(Event::Failed(failure)) => failure,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn only_the_settings_that_the_server_knows_are_sent() {
    let vad = |threshold, silence_ms| TurnDetection::ServerVad {
        threshold,
        silence_ms,
    };
    for (turn_detection, expected) in [
        (TurnDetection::Manual, Value::Null),
        (
            vad(None, 400),
            json!({"type": "server_vad", "prefix_padding_ms": 300, "silence_duration_ms": 400}),
        ),
        // The padding and a frame have to fit into the silence.
        (
            vad(None, 200),
            json!({"type": "server_vad", "prefix_padding_ms": 168, "silence_duration_ms": 200}),
        ),
        (
            vad(Some(0.25), 6000),
            json!({"type": "server_vad", "prefix_padding_ms": 300, "silence_duration_ms": 6000,
                "threshold": 0.25}),
        ),
        (
            vad(Some(0.0), 400),
            json!({"type": "server_vad", "prefix_padding_ms": 300, "silence_duration_ms": 400}),
        ),
    ] {
        for language in [None, Some("nl")] {
            let mut s = Script::new(Recognition {
                language: language.map(str::to_owned),
                ..recognition(turn_detection)
            });
            s.receive(CREATED);
            let mut session = json!({
                "input_audio_format": "pcm16",
                "turn_detection": expected,
            });
            if let Some(language) = language {
                session["language"] = json!(language);
            }
            assert_eq!(
                s.sent(),
                [json!({"type": "session.update", "session": session})]
            );
            // A second greeting must not cause a second update.
            s.receive(CREATED);
            assert!(s.sent().is_empty() && s.events().is_empty());
        }
    }
}

#[test]
fn commands_become_frames() {
    let mut s = Script::running(TurnDetection::Manual);
    for command in [
        Command::Audio(&[1, 2, 3, 4]),
        Command::Commit,
        Command::Context("names"),
        Command::Finish,
    ] {
        s.say(command);
    }
    assert_eq!(
        s.sent(),
        [
            json!({"type": "input_audio_buffer.append", "audio": "AQIDBA=="}),
            json!({"type": "input_audio_buffer.commit"}),
            json!({"type": "transcription.done"}),
        ]
    );
}

#[test]
fn the_server_detects_speech() {
    let mut s = Script::running(SERVER_VAD);
    s.started(0, 212);
    s.segment(0, (212, 2212), "so", false);
    s.segment(0, (212, 4212), "So much.", false);
    s.stopped(Some(0), 4500);
    s.committed(0);
    assert_eq!(
        s.events(),
        ["0 from 212", "0 so?", "0 So much.?", "0 to 4500", "0 seen"]
    );
    // The next one starts before the text of this one arrives.
    s.started(1, 5000);
    s.segment(0, (212, 4500), "So much for that.", true);
    s.segment(1, (5000, 7000), "", false);
    assert_eq!(s.events(), ["1 from 5000", "0 So much for that.."]);
    // Late and duplicate events of a segment that has ended.
    s.segment(0, (212, 4500), "again", true);
    s.stopped(Some(0), 4500);
    s.committed(0);
    s.stopped(None, 7000);
    assert!(s.events().is_empty());
    s.say(Command::Finish);
    s.committed(1);
    s.segment(1, (5000, 7100), "", true);
    s.receive(r#"{"type":"transcription.completed","text":"So much for that."}"#);
    assert_eq!(s.events(), ["1 seen", "1 to 7100", "1 .", "Finished"]);
    s.segment(2, (8000, 9000), "after the end", true);
    assert!(s.events().is_empty());
}

#[test]
fn a_long_utterance_is_cut_without_a_word() {
    let mut s = Script::running(SERVER_VAD);
    s.started(0, 100);
    s.committed(0);
    s.segment(0, (100, 30_100), "one", true);
    s.segment(1, (30_100, 32_100), "tw", false);
    // The rest has no speech: nothing follows for it, and the previous segment is named.
    s.stopped(Some(0), 30_100);
    s.stopped(Some(1), 33_000);
    s.committed(1);
    s.segment(1, (30_100, 33_000), "two", true);
    assert_eq!(
        s.events(),
        [
            "0 from 100",
            "0 seen",
            "0 to 30100",
            "0 one.",
            "1 from 30100",
            "1 tw?",
            "1 to 33000",
            "1 seen",
            "1 two."
        ]
    );
}

#[test]
fn commits_end_utterances_where_we_detect_speech() {
    let mut s = Script::running(TurnDetection::Manual);
    assert_eq!(s.codec.limits().max_utterance_ms, Some(MAX_UTTERANCE_MS));
    s.segment(0, (0, 2000), "on", false);
    s.say(Command::Commit);
    s.committed(0);
    s.segment(0, (0, 2500), "one", true);
    s.committed(1);
    s.segment(1, (2500, 3000), "two", true);
    // The session determines positions then.
    assert_eq!(
        s.events(),
        ["0 on?", "0 seen", "0 one.", "1 seen", "1 two."]
    );
}

#[test]
fn what_the_server_cannot_transcribe_fails_once_a_later_one_is_there() {
    let mut s = Script::running(TurnDetection::Manual);
    s.segment(0, (0, 2000), "on", false);
    s.committed(0);
    s.error("transcription_failed");
    s.committed(1);
    let events = s.events();
    assert!(events[2].starts_with("Warning"), "{events:?}");
    s.segment(1, (2500, 3000), "two", true);
    let failed = "failed: the server gave no final text: The words";
    assert_eq!(s.events(), [format!("0 {failed}"), "1 two.".into()]);
    s.segment(0, (0, 2500), "too late", true);
    assert!(s.events().is_empty());
    s.committed(2);
    s.receive(r#"{"type":"transcription.completed","text":"two"}"#);
    assert_eq!(
        s.events(),
        ["2 seen".into(), format!("2 {failed}"), "Finished".into()]
    );
}

#[test]
fn another_server_is_recognised_by_its_first_words() {
    for (frame, says) in [
        (
            r#"{"type":"session.created","session":{"type":"transcription","object":"realtime.transcription_session"}}"#,
            "The server speaks OpenAI's realtime protocol, not sglang-omni's realtime protocol. Set protocol=realtime",
        ),
        (
            r#"{"type":"session.created","id":"sess-1"}"#,
            "Set protocol=vllm",
        ),
        (
            r#"{"type":"session.created","session":{"object":"realtime.session","capabilities":{}}}"#,
            "?intent=transcription",
        ),
        (
            r#"{"type":"session.created"}"#,
            "does not speak sglang-omni's",
        ),
        (
            r#"{"type":"conversation.item.input_audio_transcription.delta","delta":"x"}"#,
            "The server speaks OpenAI's",
        ),
        (
            r#"{"type":"transcription.delta","delta":"x"}"#,
            "Set protocol=vllm",
        ),
        (
            r#"{"type":"error","error":{"type":"invalid_request_error","code":"unsupported_realtime_intent","message":"This pipeline does not support realtime transcription."}}"#,
            "does not transcribe live (This pipeline does not support realtime transcription)",
        ),
    ] {
        let mut s = Script::new(recognition(SERVER_VAD));
        s.receive(frame);
        assert_eq!(s.failure().kind, Kind::Settings, "{frame}");
        assert!(s.failure().to_string().contains(says), "{}", s.failure());
        s.receive(CREATED);
        assert_eq!(s.events.len(), 1, "nothing after the end");
    }
}

#[test]
fn errors_are_told_apart() {
    for (code, kind, says) in [
        ("invalid_json", None, ""),
        ("unsupported_event", None, ""),
        ("input_already_done", None, ""),
        ("transcription_failed", None, ""),
        ("audio_buffer_overflow", Some(Kind::Lost), "max-speed"),
        ("invalid_audio", Some(Kind::Lost), "lost audio"),
        ("internal_error", Some(Kind::Lost), "The words"),
        ("what_else", Some(Kind::Settings), "The words"),
    ] {
        let mut s = Script::running(SERVER_VAD);
        s.error(code);
        match (kind, &s.events[..]) {
            (None, [Event::Warning(_)]) => {}
            (Some(kind), [Event::Failed(failure)]) => {
                assert_eq!(failure.kind, kind, "{code}");
                assert_eq!(failure.code, Some(code.into()));
                assert!(failure.to_string().contains(says), "{failure}");
            }
            other => panic!("{code}: {other:?}"),
        }
    }
    for (code, says) in [
        ("unsupported_turn_detection", "turn-detection=client-vad"),
        ("invalid_event", "The words"),
    ] {
        let mut s = Script::new(recognition(SERVER_VAD));
        s.receive(CREATED);
        s.error(code);
        assert_eq!(s.failure().kind, Kind::Settings);
        assert!(s.failure().to_string().contains(says), "{}", s.failure());
    }
}

#[test]
fn what_the_server_cannot_do_is_said_before() {
    let set_up = |recognition| Protocol::SglangOmni.set_up(recognition);
    let setup = set_up(Recognition {
        context: Some("names".into()),
        vocabulary_id: Some("v".into()),
        turn_detection: TurnDetection::ServerVad {
            threshold: Some(-0.5),
            silence_ms: 400,
        },
        ..recognition(SERVER_VAD)
    });
    let setup = setup.ok().unwrap();
    assert!(!setup.lacks_vad);
    let named = ["context", "vocabulary-id", "vad-threshold"];
    assert_eq!(setup.warnings.len(), named.len(), "{:?}", setup.warnings);
    for (warning, name) in setup.warnings.iter().zip(named) {
        assert!(warning.contains(name), "{warning}");
    }
    for refused in [
        Recognition {
            rate: 8_000,
            ..recognition(SERVER_VAD)
        },
        Recognition {
            language: Some("is".into()),
            ..recognition(SERVER_VAD)
        },
    ] {
        assert!(set_up(refused).is_err());
    }
    let greek = Recognition {
        language: Some("el-GR".into()),
        ..recognition(SERVER_VAD)
    };
    assert!(set_up(greek).ok().unwrap().warnings.is_empty());
}

#[test]
fn a_server_without_end_costs_bounded_memory() {
    let mut s = Script::running(SERVER_VAD);
    for segment in 0..1000 {
        s.committed(segment);
    }
    assert_eq!(s.codec.awaited.len(), MAX_AWAITED);
    s.events.clear();
    s.segment(1000, (0, 1), &"x".repeat(2 * MAX_TEXT), false);
    let Some(Event::Interim { text, .. }) = s.events.last() else {
        panic!("{:?}", s.events)
    };
    assert_eq!(text.stash.len(), MAX_TEXT);
}

#[test]
fn missing_and_odd_fields_are_borne() {
    let mut s = Script::running(SERVER_VAD);
    for frame in [
        r#"{"type":"transcription.segment"}"#,
        r#"{"type":"transcription.segment","segment_id":"a","text":7,"is_final":"yes"}"#,
        r#"{"type":"transcription.segment","segment_id":-1,"audio_start_ms":1e300,"is_final":true}"#,
        r#"{"type":"input_audio_buffer.committed"}"#,
        r#"{"type":"input_audio_buffer.speech_started","segment_id":18446744073709551615}"#,
        r#"{"type":"input_audio_buffer.cleared"}"#,
        r#"{"type":"session.updated"}"#,
    ] {
        s.receive(frame);
    }
    assert!(
        !s.events
            .iter()
            .any(|event| matches!(event, Event::Failed(_)))
    );
}

#[test]
fn a_silent_refusal_may_mean_the_model_that_was_asked_for() {
    for (model, status, body, kind) in [
        ("Qwen/Qwen3-ASR-1.7B", 403, "", Kind::NoModel),
        ("Qwen/Qwen3-ASR-1.7B", 403, "no", Kind::Unauthorized),
        ("Qwen/Qwen3-ASR-1.7B", 401, "", Kind::Unauthorized),
        // It is told of no model.
        ("qwen3-asr-flash-realtime", 403, "", Kind::Unauthorized),
    ] {
        let codec = SglangOmni::new(Recognition {
            model: model.into(),
            ..recognition(SERVER_VAD)
        });
        let failure = codec.refused(&Refusal {
            status,
            body,
            has_key: false,
            retry_after: None,
        });
        assert_eq!(failure.kind, kind, "{model} {status} {body}");
        let names_it = failure.remedy.contains(model);
        assert_eq!(names_it, kind == Kind::NoModel, "{}", failure.remedy);
    }
}
