// SPDX-License-Identifier: MPL-2.0
use super::*;
use crate::protocol::{Command, Event, Frame, Incoming, Protocol, TurnDetection};

const CREATED: &str = r#"{"type":"session.created","session":{"type":"transcription","id":"s"}}"#;
const UPDATED: &str = r#"{"type":"session.updated","session":{"type":"transcription","id":"s"}}"#;

fn recognition() -> Recognition {
    Recognition {
        model: "qwen3-asr-flash-realtime".into(),
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

fn codec(recognition: Recognition) -> Box<dyn Codec> {
    let setup = Protocol::OpenAi.set_up(recognition).ok().unwrap();
    assert!(setup.lacks_vad);
    (setup.codecs)()
}

/// The events and replies for a frame.
fn decode(codec: &mut dyn Codec, text: &str) -> (Vec<Event>, Vec<Frame>) {
    let (mut events, mut out) = (Vec::new(), Vec::new());
    codec.decode(Incoming::Text(text), &mut events, &mut out);
    (events, out)
}

fn running() -> Box<dyn Codec> {
    let mut codec = codec(recognition());
    decode(&mut *codec, CREATED);
    let (events, _) = decode(&mut *codec, UPDATED);
    assert!(matches!(events[..], [Event::Ready { .. }]));
    codec
}

fn transcription(kind: &str, item: &str, text: &str) -> String {
    let name = if kind == "delta" {
        "delta"
    } else {
        "transcript"
    };
    json!({
        "type": format!("conversation.item.input_audio_transcription.{kind}"),
        "item_id": item,
        name: text,
    })
    .to_string()
}

fn finish(codec: &mut dyn Codec) -> Vec<Event> {
    let mut events = Vec::new();
    codec.command(Command::Finish, &mut events, &mut Vec::new());
    events
}

fn texts(events: &[Event]) -> Vec<&str> {
    let texts = events.iter().map(|event| match event {
        Event::Interim { text, .. } | Event::Final { text, .. } => text.text.as_str(),
        Event::Finished => "FINISHED",
        event => panic!("{event:?}"),
    });
    texts.collect()
}

#[test]
fn the_settings_are_those_of_openai() {
    let settings = |recognition| {
        let mut codec = codec(recognition);
        let (_, out) = decode(&mut *codec, CREATED);
        let [Frame::Text(update)] = &out[..] else {
            panic!("{out:?}")
        };
        let mut update: Value = serde_json::from_str(update).unwrap();
        assert_eq!(update["type"], "session.update");
        update["session"].take()
    };
    let expected = json!({
        "type": "transcription",
        "audio": {"input": {
            "format": {"type": "audio/pcm", "rate": 16_000},
            "transcription": {"model": null},
            "turn_detection": null,
        }},
    });
    assert_eq!(settings(recognition()), expected);
    let named = settings(Recognition {
        model: "mine".into(),
        language: Some("en-US".into()),
        ..recognition()
    });
    let transcription = &named["audio"]["input"]["transcription"];
    assert_eq!(transcription, &json!({"model": "mine", "language": "en"}));
}

#[test]
fn text_is_appended_until_it_is_final() {
    let mut codec = running();
    let mut events = Vec::new();
    for delta in ["so ", "much"] {
        events.extend(decode(&mut *codec, &transcription("delta", "a", delta)).0);
    }
    events.extend(decode(&mut *codec, &transcription("delta", "b", "no")).0);
    events.extend(decode(&mut *codec, &transcription("completed", "a", "So much.")).0);
    assert_eq!(texts(&events), ["so ", "so much", "no", "So much."]);
}

#[test]
fn all_is_over_when_every_commit_is_answered() {
    let mut codec = running();
    assert_eq!(finish(&mut *codec), [Event::Finished]);
    let mut codec = running();
    for _ in 0..2 {
        codec.command(Command::Commit, &mut Vec::new(), &mut Vec::new());
    }
    assert_eq!(finish(&mut *codec), []);
    let (first, _) = decode(&mut *codec, &transcription("completed", "a", "x"));
    assert_eq!(texts(&first), ["x"]);
    let failed =
        r#"{"type":"conversation.item.input_audio_transcription.failed","item_id":"b","error":{}}"#;
    let (second, _) = decode(&mut *codec, failed);
    assert!(matches!(
        second[..],
        [Event::ItemFailed { .. }, Event::Finished]
    ));
}

#[test]
fn errors_of_single_messages_are_borne() {
    let error = |code: &str| {
        let error = json!({"type": "error", "error": {"type": "invalid_request_error", "code": code, "message": "m"}});
        decode(&mut *running(), &error.to_string()).0.remove(0)
    };
    assert!(matches!(error("invalid_payload"), Event::Warning(_)));
    assert!(matches!(error("inference_failed"), Event::Failed(_)));
    assert!(matches!(error("model_not_found"), Event::Failed(_)));
    // Nothing else is sent before the settings are accepted.
    let mut codec = codec(recognition());
    decode(&mut *codec, CREATED);
    let error = r#"{"type":"error","error":{"code":"not_supported","message":"turn_detection"}}"#;
    assert!(matches!(
        decode(&mut *codec, error).0[..],
        [Event::Failed(_)]
    ));
}

#[test]
fn another_server_is_recognised_by_its_first_words() {
    const BARE: &str = r#"{"type":"session.created","session":{"id":"s","model":"m"}}"#;
    const REFUSAL: &str = r#"{"type":"error","error":{"type":"invalid_request_error","message":"Extra inputs are not permitted: ['audio', 'type']"}}"#;
    for (frames, says) in [
        (
            &[r#"{"type":"session.created","id":"s"}"#][..],
            "Set protocol=vllm",
        ),
        (
            &[r#"{"type":"session.created","event_id":"e"}"#],
            "does not speak OpenAI's",
        ),
        (
            &[r#"{"type":"session.created","session":{"intent":"transcription","id":"s"}}"#],
            "The server speaks sglang-omni's",
        ),
        (
            &[BARE, REFUSAL],
            "does not speak OpenAI's realtime protocol. The service reports an error: Extra inputs",
        ),
        (
            &[
                BARE,
                r#"{"type":"transcription.segment","segment_id":0,"text":"x"}"#,
            ],
            "The server speaks sglang-omni's",
        ),
        (
            &[BARE, r#"{"type":"transcription.delta","delta":"x"}"#],
            "Set protocol=vllm",
        ),
    ] {
        let mut codec = codec(recognition());
        let decoded = frames.iter().map(|frame| decode(&mut *codec, frame).0);
        let events: Vec<Event> = decoded.flatten().collect();
        let Some(Event::Failed(failure)) = events.last() else {
            panic!("{frames:?}: {events:?}")
        };
        assert_eq!(failure.kind, Kind::Settings, "{failure}");
        let text = failure.to_string();
        assert!(text.contains(says), "{text}");
        for property in ["language-code", "vad"] {
            assert!(!text.contains(property), "{text}");
        }
    }
}

#[test]
fn a_server_that_is_the_right_one_may_refuse_a_setting() {
    let mut codec = codec(recognition());
    decode(&mut *codec, CREATED);
    let error = r#"{"type":"error","error":{"type":"invalid_request_error","param":"session.audio.input.transcription.language"}}"#;
    let (events, _) = decode(&mut *codec, error);
    let [Event::Failed(failure)] = &events[..] else {
        panic!("{events:?}")
    };
    assert!(failure.remedy.contains("language-code"), "{failure}");
}

#[test]
fn unknown_events_are_named() {
    // A server that has introduced itself may have more of them.
    for kind in ["response.created", "transcription.delta"] {
        let event = json!({ "type": kind }).to_string();
        let (events, _) = decode(&mut *running(), &event);
        let name = kind.into();
        assert_eq!(events, [Event::Unknown { name }]);
    }
}

#[test]
fn a_blank_final_stands_for_the_deltas() {
    let mut codec = running();
    let mut events = Vec::new();
    for (kind, item, text) in [
        ("delta", "a", "so "),
        ("delta", "a", "much"),
        ("completed", "a", ""),
        ("completed", "b", ""),
    ] {
        events.extend(decode(&mut *codec, &transcription(kind, item, text)).0);
    }
    assert_eq!(texts(&events), ["so ", "so much", "so much", ""]);
}

#[test]
fn a_server_without_end_costs_bounded_memory() {
    let mut codec = running();
    for item in 0..200 {
        for _ in 0..3 {
            let delta = transcription("delta", &item.to_string(), &"x".repeat(30_000));
            let (events, _) = decode(&mut *codec, &delta);
            assert!(texts(&events)[0].len() <= 65_536);
        }
    }
    // Nothing is kept of the first ones.
    let (events, _) = decode(&mut *codec, &transcription("completed", "0", ""));
    assert_eq!(texts(&events), [""]);
}

#[test]
fn a_server_for_another_rate_is_sent_that_one() {
    for (rate, taken) in [(8_000, false), (16_000, true), (24_000, true)] {
        let recognition = Recognition {
            rate,
            ..recognition()
        };
        assert_eq!(Protocol::OpenAi.set_up(recognition.clone()).is_ok(), taken);
        let format = &settings(&recognition)["audio"]["input"]["format"];
        assert_eq!(format, &json!({"type": "audio/pcm", "rate": rate}));
    }
    for error in [
        json!({"type": "invalid_request_error", "param": "session.audio.input.format.rate",
            "message": "Invalid value"}),
        json!({"code": "invalid_value", "message": "Only a sample rate of 24 kHz is supported"}),
    ] {
        let mut codec = codec(recognition());
        decode(&mut *codec, CREATED);
        let text = json!({"type": "error", "error": error}).to_string();
        let (events, _) = decode(&mut *codec, &text);
        let [Event::Failed(failure)] = &events[..] else {
            panic!("{events:?}")
        };
        assert_eq!(failure.kind, Kind::Settings);
        assert!(failure.remedy.contains("rate=24000"), "{failure}");
    }
}
