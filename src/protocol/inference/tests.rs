// SPDX-License-Identifier: MPL-2.0

mod settings;

use super::*;
use crate::protocol::texts::MAX_TEXT;
use crate::protocol::{HotWord, Protocol, WordTime};

const TASK: &str = "0123456789abcdef0123456789abcdef";

fn recognition(model: &str) -> Recognition {
    Recognition {
        model: model.into(),
        model_property: "model",
        language: None,
        context: None,
        vocabulary: Vec::new(),
        vocabulary_id: None,
        translation: None,
        parameters: Vec::new(),
        rate: 16_000,
        coding: Default::default(),
        turn_detection: TurnDetection::ServerVad {
            threshold: Some(0.0),
            silence_ms: 400,
        },
        official: true,
    }
}

fn codec(recognition: &Recognition) -> Inference {
    let model = models::find(&recognition.model);
    let hints: Vec<String> = recognition.language.iter().cloned().collect();
    Inference::new(recognition, &hints, model, TASK.into())
}

fn decode(codec: &mut Inference, text: &str) -> Vec<Event> {
    let (mut events, mut out) = (Vec::new(), Vec::new());
    codec.decode(Incoming::Text(text), &mut events, &mut out);
    assert!(out.is_empty(), "this protocol never answers");
    events
}

fn event(kind: &str, payload: Value) -> String {
    json!({
        "header": { "task_id": TASK, "event": kind, "attributes": {} },
        "payload": payload,
    })
    .to_string()
}

fn sentence(sentence: Value) -> String {
    event(
        "result-generated",
        json!({ "output": { "sentence": sentence } }),
    )
}

fn running() -> Inference {
    let mut codec = codec(&recognition("fun-asr-realtime"));
    codec.open(&mut Vec::new());
    let ready = decode(&mut codec, &event("task-started", json!({})));
    let session_id = Some(TASK.to_owned());
    assert_eq!(ready, [Event::Ready { session_id }]);
    codec
}

fn finishing() -> Inference {
    let mut codec = running();
    codec.command(Command::Finish, &mut Vec::new(), &mut Vec::new());
    codec
}

fn sent(command: Command<'_>) -> Vec<Frame> {
    let mut out = Vec::new();
    running().command(command, &mut Vec::new(), &mut out);
    out
}

fn json_of(frames: &[Frame]) -> Value {
    let [Frame::Text(text)] = frames else {
        panic!("one text frame, not {frames:?}")
    };
    serde_json::from_str(text).unwrap()
}

fn run_task(recognition: &Recognition) -> Value {
    let mut out = Vec::new();
    codec(recognition).open(&mut out);
    json_of(&out)
}

fn finals(events: &[Event]) -> Vec<(ItemKey, &str)> {
    let finals = events.iter().filter_map(|event| match event {
        Event::Final { item, text } => Some((*item, text.text.as_str())),
        _ => None,
    });
    finals.collect()
}

#[test]
fn each_model_is_sent_what_is_documented_for_it() {
    let asked = |model: &str| Recognition {
        language: Some("zh".into()),
        context: Some("GStreamer".into()),
        vocabulary: vec![HotWord {
            text: "张三".into(),
            weight: 5,
        }],
        vocabulary_id: Some("vocab-1".into()),
        turn_detection: TurnDetection::ServerVad {
            threshold: Some(-0.25),
            silence_ms: 600,
        },
        ..recognition(model)
    };
    let all = [
        "language_hints",
        "semantic_punctuation_enabled",
        "multi_threshold_mode_enabled",
        "speech_noise_threshold",
        "vocabulary",
        "intermediate_result_enabled",
    ];
    for (model, there, context) in [
        ("qwen-audio-3.1-asr-flash-streaming", &all[..5], true),
        ("qwen-audio-3.1-asr-flash-message", &all[3..], true),
        ("qwen-audio-3.0-asr-flash-streaming", &all[..5], true),
        ("fun-asr-realtime", &all[..4], true),
        ("fun-asr-realtime-2026-02-28", &all[..4], false),
        ("paraformer-realtime-v2", &all[..3], false),
    ] {
        let task = run_task(&asked(model));
        assert_eq!(task["header"]["action"], "run-task");
        assert_eq!(task["header"]["task_id"], TASK);
        assert_eq!(task["header"]["streaming"], "duplex");
        let payload = &task["payload"];
        assert_eq!(payload["model"], model);
        assert_eq!(payload["task_group"], "audio");
        assert_eq!(payload["task"], "asr");
        assert_eq!(payload["function"], "recognition");
        let parameters = payload["parameters"].as_object().unwrap();
        for name in all {
            let expected = there.contains(&name);
            assert_eq!(parameters.contains_key(name), expected, "{model} {name}");
        }
        assert_eq!(parameters["format"], "pcm");
        assert_eq!(parameters["sample_rate"], 16_000);
        assert_eq!(parameters["heartbeat"], true);
        assert_eq!(parameters["max_sentence_silence"], 600);
        assert_eq!(parameters["vocabulary_id"], "vocab-1");
        let expected = if context {
            json!("GStreamer")
        } else {
            Value::Null
        };
        assert_eq!(
            payload["input"]["context"][0]["content"][0]["text"], expected,
            "{model}"
        );
    }
    let task = run_task(&asked("qwen-audio-3.1-asr-flash-streaming"));
    let parameters = &task["payload"]["parameters"];
    assert_eq!(parameters["vocabulary"], json!({"张三": 5}));
    assert_eq!(parameters["language_hints"], json!(["zh"]));
    assert_eq!(parameters["speech_noise_threshold"], json!(-0.3));
    let plain = run_task(&recognition("fun-asr-realtime"));
    assert_eq!(plain["payload"]["input"], json!({}));
    assert_eq!(plain["payload"]["parameters"].get("language_hints"), None);
}

#[test]
fn audio_is_binary_and_the_end_is_said() {
    let out = sent(Command::Audio(&[1, 2, 3, 4]));
    assert_eq!(out, [Frame::Binary(vec![1, 2, 3, 4])]);
    let finish = json_of(&sent(Command::Finish));
    assert_eq!(finish["header"]["action"], "finish-task");
    assert_eq!(finish["header"]["task_id"], TASK);
    let context = json_of(&sent(Command::Context("Bailian")));
    assert_eq!(context["header"]["action"], "continue-task");
    let content = &context["payload"]["input"]["context"][0]["content"][0];
    assert_eq!(content, &json!({"type": "input_text", "text": "Bailian"}));
    assert!(sent(Command::Commit).is_empty());
}

#[test]
fn a_model_without_context_is_not_told_of_a_new_one() {
    let mut codec = codec(&recognition("paraformer-realtime-v2"));
    let mut out = Vec::new();
    codec.command(Command::Context("Bailian"), &mut Vec::new(), &mut out);
    assert!(out.is_empty());
}

#[test]
fn a_sentence_begins_grows_and_ends() {
    let mut codec = running();
    let begin = sentence(json!({"begin_time": 160, "end_time": null, "text": "",
        "sentence_begin": true, "sentence_end": false, "sentence_id": 1, "words": []}));
    let started = Event::SpeechStarted {
        item: 0,
        item_id: "1".into(),
        at_ms: Some(160),
    };
    assert_eq!(decode(&mut codec, &begin), [started]);
    let partial = sentence(
        json!({"begin_time": 160, "end_time": null, "text": "欢迎", "sentence_id": 1,
        "sentence_end": false, "words": [{"begin_time": 160, "end_time": 520, "text": "欢迎", "punctuation": ""}]}),
    );
    let text = ItemText {
        item_id: "1".into(),
        stash: "欢迎".into(),
        words: vec![WordTime {
            text: "欢迎".into(),
            begin_ms: 160,
            end_ms: 520,
        }],
        ..ItemText::default()
    };
    assert_eq!(
        decode(&mut codec, &partial),
        [Event::Interim { item: 0, text }]
    );
    // As documented, with copies of everything and without `sentence_begin`.
    let ended = r#"{"header":{"task_id":"01234567-89ab-cdef-0123-456789abcdef","event":"result-generated","attributes":{}},
 "payload":{"output":{"sentence":{"sentence_id":1,"begin_time":160,"end_time":1640,"text":"欢迎使用阿里云。","channel_id":0,"speaker_id":null,
   "sentence_end":true,
   "words":[{"begin_time":160,"end_time":520,"text":"欢迎","punctuation":"","fixed":true,"speaker_id":null},
            {"begin_time":520,"end_time":880,"text":"使用","punctuation":"","fixed":true,"speaker_id":null},
            {"begin_time":880,"end_time":1640,"text":"阿里云","punctuation":"。","fixed":true,"speaker_id":null}],
   "stash":{"sentence_id":2,"text":"","begin_time":1640,"current_time":1640,"words":[]}},
  "text":"欢迎使用阿里云。","request_id":"95372ce8e6704bcc8747da94789c15ca",
  "output":{"sentence":{"sentence_id":1,"begin_time":160,"end_time":1640,"text":"欢迎使用阿里云。","sentence_end":true},"text":"欢迎使用阿里云。"},
  "usage":{"duration":2,"input_tokens":85,"output_tokens":4,"total_tokens":89}},
 "usage":{"duration":2,"input_tokens":85,"output_tokens":4,"total_tokens":89}}}"#;
    let events = decode(&mut codec, ended);
    let usage = Usage {
        seconds: 2.0,
        tokens: 89,
    };
    let stopped = Event::SpeechStopped {
        item: 0,
        item_id: "1".into(),
        at_ms: Some(1640),
    };
    assert_eq!(events[..2], [Event::Billed(usage), stopped]);
    let [_, _, Event::Final { item: 0, text }] = &events[..] else {
        panic!("one final: {events:?}")
    };
    assert_eq!(text.text, "欢迎使用阿里云。");
    let times: Vec<_> = text.words.iter().map(|w| (w.begin_ms, w.end_ms)).collect();
    assert_eq!(times, [(160, 520), (520, 880), (880, 1640)]);
    let again = decode(&mut codec, ended);
    assert!(finals(&again).is_empty(), "a duplicate: {again:?}");
    assert_eq!(decode(&mut codec, &partial), [], "late");
}

#[test]
fn older_and_sloppier_results_are_understood() {
    for (what, ended) in [
        // No id, and only the end time marks the end.
        (
            json!({"begin_time": 10, "end_time": 900.0, "text": "a", "words": null}),
            true,
        ),
        (
            json!({"begin_time": 10, "end_time": null, "text": "a"}),
            false,
        ),
        (
            json!({"begin_time": 10, "end_time": 900, "text": "a", "sentence_end": false}),
            false,
        ),
        (
            json!({"sentence_id": 7.0, "end_time": 1, "text": "a", "heartbeat": null}),
            true,
        ),
    ] {
        let events = decode(&mut running(), &sentence(what.clone()));
        assert!(
            matches!(events[0], Event::SpeechStarted { item: 0, .. }),
            "{what}"
        );
        assert_eq!(!finals(&events).is_empty(), ended, "{what}");
    }
    let mut codec = running();
    for text in ["one", "two"] {
        let events = decode(&mut codec, &sentence(json!({"end_time": 5, "text": text})));
        assert_eq!(finals(&events).len(), 1);
    }
    let emotion =
        json!({"sentence_id": 9, "sentence_end": true, "text": "x", "emo_tag": "positive"});
    let events = decode(&mut codec, &sentence(emotion));
    let Some(Event::Final { text, .. }) = events.last() else {
        panic!("{events:?}")
    };
    assert_eq!(text.emotion.as_deref(), Some("positive"));
}

#[test]
fn texts_are_bounded_and_hold_no_control_characters() {
    let much = "x\u{7}".repeat(100_000);
    for end in [Value::Null, json!(900)] {
        let word = json!({"text": much, "begin_time": 0, "end_time": 900});
        let words = [&word, &word];
        let what = json!({"sentence_id": 1, "begin_time": 0, "end_time": end, "text": much,
            "words": words, "emo_tag": much});
        let events = decode(&mut running(), &sentence(what));
        let Some(Event::Interim { text, .. } | Event::Final { text, .. }) = events.last() else {
            panic!("{events:?}")
        };
        assert_eq!(text.text.len() + text.stash.len(), MAX_TEXT);
        assert!(text.words.is_empty());
        assert!(text.emotion.as_ref().is_some_and(|name| name.len() <= 256));
        assert!(!format!("{}{}", text.text, text.stash).contains(char::is_control));
    }
}

#[test]
fn what_is_no_result_is_passed_over() {
    let mut codec = running();
    for frame in [
        sentence(json!({"sentence_id": 0, "text": "x", "end_time": 5})),
        sentence(json!({"sentence_id": 1, "heartbeat": true, "text": ""})),
        event("result-generated", json!({"usage": null})),
        event("result-generated", json!({"output": []})),
        event("task-started", json!({})),
    ] {
        assert_eq!(decode(&mut codec, &frame), [], "{frame}");
    }
    for frame in [
        "no json",
        "[]",
        "{}",
        r#"{"header":{"event":"news"}}"#,
        r#"{"header":{"task_id":"ffff","event":"task-failed"}}"#,
        r#"{"header":{"task_id":"ffff","event":"task-finished"}}"#,
    ] {
        let events = decode(&mut codec, frame);
        assert!(
            matches!(events[..], [Event::Warning(_) | Event::Unknown { .. }]),
            "{frame}: {events:?}"
        );
    }
    let mut events = Vec::new();
    codec.decode(Incoming::Binary(&[0; 4]), &mut events, &mut Vec::new());
    assert!(matches!(events[..], [Event::Warning(_)]));
}

#[test]
fn the_end_comes_with_the_bill() {
    let mut codec = finishing();
    let finished = event(
        "task-finished",
        json!({"output": {}, "usage": {"duration": 9, "total_tokens": 377}}),
    );
    let usage = Usage {
        seconds: 9.0,
        tokens: 377,
    };
    assert_eq!(
        decode(&mut codec, &finished),
        [Event::Billed(usage), Event::Finished]
    );
    assert_eq!(decode(&mut codec, &finished), [], "over");
    let finished = event("task-finished", json!({"output": {}, "usage": null}));
    assert_eq!(decode(&mut finishing(), &finished), [Event::Finished]);
}

fn failed(codec: &mut Inference, code: &str, message: &str) -> Event {
    let failed = json!({
        "header": { "task_id": TASK, "event": "task-failed", "error_code": code,
            "error_message": message },
        "payload": {},
    });
    let mut events = decode(codec, &failed.to_string());
    assert_eq!(events.len(), 1);
    events.remove(0)
}

#[test]
fn failures_are_told_apart() {
    for (code, message, kind) in [
        (
            "CLIENT_ERROR",
            "request timeout after 23 seconds.",
            Kind::Lost,
        ),
        ("SERVER_ERROR", "internal", Kind::Lost),
        ("InvalidParameter", "sample_rate is bad", Kind::Settings),
        ("ModelNotFound", "", Kind::NoModel),
        ("MODEL_NOT_FOUND", "", Kind::NoModel),
        ("Throttling.RateQuota", "", Kind::Limit),
        ("Arrearage", "pay", Kind::Unauthorized),
        ("AccessDenied", "", Kind::Unauthorized),
        ("NO_VALID_AUDIO_ERROR", "", Kind::Lost),
        ("", "", Kind::Lost),
    ] {
        let Event::Failed(failure) = failed(&mut running(), code, message) else {
            panic!("{code}")
        };
        assert_eq!(failure.kind, kind, "{code} {failure}");
    }
}

#[test]
fn nothing_said_is_no_failure() {
    for code in ["NO_VALID_AUDIO_ERROR", "EmptyAudio", "NoValidAudio"] {
        assert_eq!(failed(&mut finishing(), code, "x"), Event::Finished);
    }
}

#[test]
fn every_connection_has_a_task_of_its_own() {
    let setup = Protocol::Inference.set_up(recognition("fun-asr-realtime"));
    let codecs = setup.ok().unwrap().codecs;
    let id = || {
        let mut out = Vec::new();
        codecs().open(&mut out);
        json_of(&out)["header"]["task_id"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let (first, second) = (id(), id());
    assert!(first.len() == 32 && first != second, "{first} {second}");
}

#[test]
fn further_parameters_and_languages_go_with_the_task() {
    let of = |model: &str, language: &str, parameter: &str| {
        set_up(Recognition {
            language: Some(language.into()),
            parameters: vec![(parameter.into(), json!(true))],
            ..recognition(model)
        })
    };
    let setup = of(
        "qwen-audio-3.1-asr-flash-streaming",
        "zh,en-GB",
        "keep_dialect",
    );
    let mut out = Vec::new();
    (setup.unwrap().codecs)().open(&mut out);
    let parameters = &json_of(&out)["payload"]["parameters"];
    assert_eq!(parameters["language_hints"], json!(["zh", "en"]));
    assert_eq!(parameters["keep_dialect"], true);
    for (model, language, parameter, says) in [
        (
            "fun-asr-realtime",
            "zh,en",
            "semantic_punctuation_enabled",
            "names 2 languages, and the model 'fun-asr-realtime' takes 1",
        ),
        (
            "fun-asr-realtime",
            "zh",
            "keep_dialect",
            "no parameter 'keep_dialect'",
        ),
        (
            "of-my-own",
            "zh,tlh",
            "semantic_punctuation_enabled",
            "'tlh'",
        ),
    ] {
        let failure = of(model, language, parameter).err().unwrap();
        assert!(failure.to_string().contains(says), "{failure}");
    }
}
