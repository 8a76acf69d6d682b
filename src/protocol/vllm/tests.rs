// SPDX-License-Identifier: MPL-2.0
use super::*;
use crate::protocol::{Protocol, TurnDetection};

const CREATED: &str = r#"{"type":"session.created","id":"sess-6f","created":1763640000}"#;

fn recognition() -> Recognition {
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
        turn_detection: TurnDetection::Manual,
        official: false,
    }
}

/// A codec and its output in both directions.
struct Script {
    codec: Vllm,
    events: Vec<Event>,
    out: Vec<Frame>,
}

impl Script {
    fn running() -> Self {
        let mut script = Script {
            codec: Vllm::new(&recognition()),
            events: Vec::new(),
            out: Vec::new(),
        };
        script.receive(CREATED);
        let session_id = Some("sess-6f".to_owned());
        assert_eq!(script.events(), [Event::Ready { session_id }]);
        assert_eq!(script.sent(), ["session.update Qwen/Qwen3-ASR-1.7B"]);
        script
    }

    fn receive(&mut self, text: &str) {
        self.codec
            .decode(Incoming::Text(text), &mut self.events, &mut self.out);
    }

    fn done(&mut self, text: &str) {
        self.receive(&json!({ "type": "transcription.done", "text": text }).to_string());
    }

    fn delta(&mut self, delta: &str) {
        self.receive(&json!({ "type": "transcription.delta", "delta": delta }).to_string());
    }

    fn say(&mut self, command: Command<'_>) {
        self.codec.command(command, &mut self.events, &mut self.out);
    }

    fn events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// Item and text of finals; interim results are marked with a question mark.
    fn texts(&mut self) -> Vec<String> {
        let texts = self.events().into_iter().map(|event| match event {
            Event::Interim { item, text } => format!("{item} {}?", text.text),
            Event::Final { item, text } => format!("{item} {}", text.text),
            event => format!("{event:?}"),
        });
        texts.collect()
    }

    fn sent(&mut self) -> Vec<String> {
        let frames = std::mem::take(&mut self.out);
        let brief = |frame: Frame| {
            let Frame::Text(text) = frame else {
                panic!("binary")
            };
            let frame: Value = serde_json::from_str(&text).unwrap();
            let kind = frame["type"].as_str().unwrap();
            match kind {
                "input_audio_buffer.append" => frame["audio"].as_str().unwrap().to_owned(),
                "input_audio_buffer.commit" => format!("commit {}", frame["final"]),
                _ => format!("{kind} {}", frame["model"].as_str().unwrap()),
            }
        };
        frames.into_iter().map(brief).collect()
    }
}

#[test]
fn an_utterance_is_a_generation() {
    let mut s = Script::running();
    s.say(Command::Audio(&[1, 2, 3]));
    s.say(Command::Audio(&[4, 5, 6]));
    s.say(Command::Commit);
    assert_eq!(s.sent(), ["commit false", "AQID", "BAUG", "commit true"]);
    s.delta(" hel");
    s.delta("");
    s.delta("lo");
    s.done(" hello");
    assert_eq!(s.texts(), ["0 he?", "0 he?", "0 hello?", "0 hello"]);
    assert!(s.codec.limits().one_utterance);
}

#[test]
fn a_blank_final_stands_for_the_deltas() {
    for (deltas, done, expected) in [
        (
            &["language English<asr_text>so ", "much"][..],
            "",
            "so much",
        ),
        (&["so much"], "language None<asr_text>", "so much"),
        (&["so much"], "。", "so much"),
        (&["so much"], "So much.", "So much."),
        (&["。"], "", ""),
    ] {
        let mut s = Script::running();
        s.say(Command::Audio(&[0, 0, 0]));
        for delta in deltas {
            s.delta(delta);
        }
        s.texts();
        s.say(Command::Commit);
        s.done(done);
        assert_eq!(s.texts(), [format!("0 {expected}")], "{deltas:?} {done}");
    }
}

#[test]
fn nothing_is_sent_behind_the_end_of_an_utterance() {
    let mut s = Script::running();
    s.say(Command::Audio(&[0, 0, 0]));
    s.say(Command::Commit);
    assert_eq!(s.sent(), ["commit false", "AAAA", "commit true"]);
    for _ in 0..2 {
        s.say(Command::Audio(&[9, 9, 9]));
        s.say(Command::Commit);
        assert!(s.sent().is_empty());
        s.receive(r#"{"type":"transcription.done","text":"a"}"#);
    }
    // What the server makes of more is its own invention.
    assert_eq!(s.texts()[0], "0 a");
    assert!(s.texts().is_empty());
}

#[test]
fn nothing_is_ended_that_was_not_begun() {
    let mut s = Script::running();
    s.say(Command::Commit);
    assert!(s.sent().is_empty());
    s.done("stray");
    assert!(matches!(s.events()[..], [Event::Warning(_)]));
}

#[test]
fn all_is_over_with_the_last_answer() {
    let mut s = Script::running();
    s.say(Command::Finish);
    assert_eq!(s.events(), [Event::Finished], "nothing was said");

    for committed in [true, false] {
        let mut s = Script::running();
        s.say(Command::Audio(&[0, 0, 0]));
        if committed {
            s.say(Command::Commit);
        }
        s.say(Command::Finish);
        assert_eq!(s.sent(), ["commit false", "AAAA", "commit true"]);
        s.done("a");
        assert_eq!(s.texts(), ["0 a", "Finished"]);
    }
}

#[test]
fn a_generation_that_ends_early_leaves_the_rest_to_another_connection() {
    let mut s = Script::running();
    s.say(Command::Audio(&[0, 0, 0]));
    s.done("a");
    assert_eq!(s.texts(), ["0 a", "Finished"]);
}

#[test]
fn tags_never_show_and_tell_the_language() {
    for (said, more, text, language) in [
        (
            "language English<asr_text>Hello",
            false,
            "Hello",
            Some("en"),
        ),
        ("language None<asr_text>", false, "", None),
        (
            "language English<asr_text>so muchlanguage Chinese<asr_text>今天",
            false,
            "so much今天",
            Some("zh"),
        ),
        ("my language is", false, "my language is", None),
        ("a<asr_text>b", false, "ab", None),
        ("language English", true, "", None),
        ("Hello. langua", true, "Hello.", None),
        ("Hello. language Eng", true, "Hello.", None),
        ("Hello. language English<asr_", true, "Hello.", None),
        (
            "Hello. language arts are",
            true,
            "Hello. language arts are",
            None,
        ),
        ("Hello. language 2", true, "Hello. language 2", None),
        ("tall", true, "tal", None),
        ("language Klingon<asr_text>Qapla'", false, "Qapla'", None),
    ] {
        let untagged = untagged(said, more);
        let found = (untagged.text.as_str(), untagged.language.as_deref());
        assert_eq!(found, (text, language), "{said}");
    }
    let mut s = Script::running();
    s.say(Command::Audio(&[0, 0, 0]));
    for delta in ["lang", "uage Eng", "lish<asr", "_text>He", "llo"] {
        s.delta(delta);
    }
    s.say(Command::Commit);
    s.done("language English<asr_text>Hello");
    assert_eq!(s.texts(), ["0 He?", "0 Hello?", "0 Hello"]);
}

#[test]
fn errors_are_told_apart() {
    let error = |error: Value| {
        let mut s = Script::running();
        s.receive(&error.to_string());
        let mut events = s.events();
        assert_eq!(events.len(), 1, "{events:?}");
        events.remove(0)
    };
    for (code, kind) in [
        ("model_not_found", Kind::NoModel),
        ("processing_error", Kind::Lost),
        ("model_not_validated", Kind::Lost),
    ] {
        let event = error(json!({"type": "error", "error": "The words.", "code": code}));
        let Event::Failed(failure) = event else {
            panic!("{event:?}")
        };
        assert_eq!(failure.kind, kind, "{failure}");
        assert_eq!(failure.code, Some(code.into()));
    }
    let harmless = json!({"type": "error", "error": "Invalid audio data", "code": "invalid_audio"});
    assert!(matches!(error(harmless), Event::Warning(_)));
    let as_openai = json!({"type": "error", "error": {"code": "model_not_found", "message": "x"}});
    assert!(matches!(error(as_openai), Event::Failed(_)));
}

#[test]
fn a_looping_model_costs_bounded_memory() {
    let mut s = Script::running();
    s.say(Command::Audio(&[0, 0, 0]));
    for _ in 0..100 {
        s.delta(&"again ".repeat(200));
        s.events.clear();
    }
    assert!(s.codec.deltas.len() <= texts::MAX_TEXT);
}

#[test]
fn another_server_is_recognised_by_its_greeting() {
    for (session, says) in [
        (json!({"type": "transcription"}), "Set protocol=realtime"),
        (json!({"intent": "transcription"}), "speaks sglang-omni's"),
        (json!({}), "does not speak vLLM's"),
    ] {
        let created = json!({"type": "session.created", "session": session}).to_string();
        let mut events = Vec::new();
        Vllm::new(&recognition()).decode(Incoming::Text(&created), &mut events, &mut Vec::new());
        let [Event::Failed(failure)] = &events[..] else {
            panic!("{events:?}")
        };
        assert_eq!(failure.kind, Kind::Settings);
        assert!(failure.to_string().contains(says), "{failure}");
    }
}

#[test]
fn what_the_server_cannot_do_is_said_before() {
    let setup = Protocol::Vllm.set_up(Recognition {
        language: Some("en".into()),
        context: Some("x".into()),
        ..recognition()
    });
    let setup = setup.ok().unwrap();
    assert!(setup.lacks_vad);
    assert_eq!(setup.warnings.len(), 2);
    assert!(setup.warnings[0].contains("language-code"));
    assert!(setup.warnings[1].contains("context"));
    let with_vad = Recognition {
        turn_detection: TurnDetection::ServerVad {
            threshold: Some(0.0),
            silence_ms: 400,
        },
        ..recognition()
    };
    let setup = Protocol::Vllm.set_up(with_vad).ok().unwrap();
    assert!(setup.warnings[0].contains("client-vad"));
    let telephone = Recognition {
        rate: 8_000,
        ..recognition()
    };
    assert!(Protocol::Vllm.set_up(telephone).is_err());
}
