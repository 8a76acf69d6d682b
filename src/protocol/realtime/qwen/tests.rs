// SPDX-License-Identifier: MPL-2.0

mod errors;

use super::*;
use crate::protocol::{ItemKey, ItemText, Protocol, Usage};

const CREATED: &str = r#"{"event_id":"e","type":"session.created","session":{"object":"realtime.session","model":"qwen3-asr-flash-realtime","modalities":["text"],"input_audio_format":"pcm","sample_rate":16000,"input_audio_transcription":{"model":"qwen3-asr-flash-realtime"},"turn_detection":{"type":"server_vad","threshold":0.2,"silence_duration_ms":800},"id":"sess_1"}}"#;
const UPDATED: &str = r#"{"type":"session.updated","session":{"model":"qwen3-asr-flash-realtime","input_audio_format":"pcm16","turn_detection":{"type":"server_vad","threshold":0,"create_response":true}}}"#;

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
        rate: 16000,
        coding: Default::default(),
        turn_detection: TurnDetection::ServerVad {
            threshold: Some(0.0),
            silence_ms: 400,
        },
        official: true,
    }
}

fn decode(codec: &mut Qwen, text: &str) -> Vec<Event> {
    let (mut events, mut out) = (Vec::new(), Vec::new());
    codec.decode(Incoming::Text(text), &mut events, &mut out);
    events
}

fn running() -> Qwen {
    let mut codec = Qwen::new(recognition());
    decode(&mut codec, CREATED);
    assert_eq!(
        decode(&mut codec, UPDATED),
        [Event::Ready {
            session_id: Some("sess_1".into())
        }]
    );
    codec
}

fn transcription(kind: &str, fields: Value) -> String {
    let mut event = json!({
        "type": format!("conversation.item.input_audio_transcription.{kind}"),
        "content_index": 0,
    });
    event
        .as_object_mut()
        .unwrap()
        .extend(fields.as_object().unwrap().clone());
    event.to_string()
}

fn texts(events: &[Event]) -> Vec<(ItemKey, String)> {
    events
        .iter()
        .filter_map(|event| match event {
            Event::Final { item, text } => Some((*item, text.text.clone())),
            _ => None,
        })
        .collect()
}

fn update_of(recognition: Recognition) -> Value {
    let mut codec = Qwen::new(recognition);
    let (mut events, mut out) = (Vec::new(), Vec::new());
    codec.decode(Incoming::Text(CREATED), &mut events, &mut out);
    let [Frame::Text(update)] = &out[..] else {
        panic!("one update, not {out:?}")
    };
    serde_json::from_str(update).unwrap()
}

#[test]
fn the_settings_go_out_once_created_arrives_and_nothing_before() {
    let mut codec = Qwen::new(recognition());
    let mut out = Vec::new();
    codec.open(&mut out);
    assert!(out.is_empty());
    assert_eq!(
        update_of(recognition())["session"],
        json!({
            "modalities": ["text"], "input_audio_format": "pcm", "sample_rate": 16000,
            "input_audio_transcription": {},
            "turn_detection": {"type": "server_vad", "threshold": 0.0, "silence_duration_ms": 400},
        })
    );
    // A second `session.created` must not cause a second update: it would close the connection.
    let (mut events, mut out) = (Vec::new(), Vec::new());
    let mut codec = running();
    codec.decode(Incoming::Text(CREATED), &mut events, &mut out);
    codec.decode(Incoming::Text(UPDATED), &mut events, &mut out);
    assert!(events.is_empty() && out.is_empty(), "{events:?} {out:?}");
}

#[test]
fn language_context_and_manual_mode_are_asked_for() {
    let update = update_of(Recognition {
        language: Some("zh".into()),
        context: Some("GStreamer".into()),
        turn_detection: TurnDetection::Manual,
        rate: 8000,
        ..recognition()
    });
    let session = &update["session"];
    assert_eq!(
        session["input_audio_transcription"],
        json!({"language": "zh", "corpus": {"text": "GStreamer"}})
    );
    assert_eq!(session["sample_rate"], 8000);
    assert!(session.as_object().unwrap().contains_key("turn_detection"));
    assert!(session["turn_detection"].is_null());
}

#[test]
fn an_unset_threshold_is_left_to_servers_that_are_not_the_services() {
    for (threshold, official, sent) in [
        (Some(0.3), true, json!(0.3)),
        (Some(0.3), false, json!(0.3)),
        (Some(0.0), false, json!(0.0)),
        (None, true, json!(0.0)),
        (None, false, Value::Null),
    ] {
        let update = update_of(Recognition {
            turn_detection: TurnDetection::ServerVad {
                threshold,
                silence_ms: 400,
            },
            official,
            ..recognition()
        });
        let turn_detection = &update["session"]["turn_detection"];
        assert_eq!(turn_detection["type"], "server_vad");
        assert_eq!(turn_detection["silence_duration_ms"], 400);
        assert_eq!(
            turn_detection["threshold"], sent,
            "{threshold:?} {official}"
        );
    }
}

#[test]
fn a_context_that_fits_no_frame_is_refused_before_connecting() {
    let set_up = |context: String| {
        let context = Some(context);
        Protocol::Realtime.set_up(Recognition {
            context,
            ..recognition()
        })
    };
    // Line breaks are two characters in JSON.
    for context in ["x".repeat(262_144), "\n".repeat(131_072)] {
        let Err(failure) = set_up(context) else {
            panic!("accepted")
        };
        assert_eq!(failure.kind, Kind::Settings);
        assert!(failure.remedy.contains("context property"), "{failure}");
    }
    let context = "x".repeat(261_700);
    assert!(set_up(context.clone()).is_ok());
    let update = update_of(Recognition {
        context: Some(context),
        ..recognition()
    });
    assert!(update.to_string().len() < MAX_FRAME_BYTES);
}

#[test]
fn a_frame_too_large_before_any_audio_is_the_contexts() {
    let configuring = |context: Option<&str>| {
        let mut codec = Qwen::new(Recognition {
            context: context.map(str::to_owned),
            ..recognition()
        });
        decode(&mut codec, CREATED);
        codec
    };
    for (codec, kind, names_context) in [
        (configuring(Some("names")), Kind::Settings, true),
        (configuring(None), Kind::Lost, false),
        (running(), Kind::Lost, false),
    ] {
        let failure = codec.closed(Some(1009), "Max frame length of 262144 has been exceeded.");
        assert_eq!((failure.kind, failure.close_code), (kind, Some(1009)));
        assert_eq!(failure.remedy.contains("context property"), names_context);
    }
}

#[test]
fn commands_become_frames_with_ids_of_their_own() {
    let mut codec = running();
    let mut out = Vec::new();
    codec.command(Command::Audio(&[1, 2, 3, 4]), &mut Vec::new(), &mut out);
    codec.command(Command::Commit, &mut Vec::new(), &mut out);
    codec.command(Command::Finish, &mut Vec::new(), &mut out);
    let events: Vec<Value> = out
        .iter()
        .map(|frame| match frame {
            Frame::Text(text) => serde_json::from_str(text).unwrap(),
            Frame::Binary(_) => panic!("not in this protocol"),
        })
        .collect();
    assert_eq!(events[0]["type"], "input_audio_buffer.append");
    assert_eq!(events[0]["audio"], "AQIDBA==");
    assert_eq!(events[1]["type"], "input_audio_buffer.commit");
    assert_eq!(events[2]["type"], "session.finish");
    assert_ne!(events[0]["event_id"], events[1]["event_id"]);
}

#[test]
fn the_largest_audio_frame_stays_under_the_services_limit() {
    let mut codec = running();
    let mut out = Vec::new();
    codec.command(
        Command::Audio(&vec![0; codec.limits().max_audio_bytes]),
        &mut Vec::new(),
        &mut out,
    );
    let Frame::Text(text) = &out[0] else {
        panic!("{:?}", out[0])
    };
    assert!(text.len() < 262_144, "{}", text.len());
    assert!(text.capacity() < text.len() + 128, "sized in advance");
}

#[test]
fn an_utterance_as_the_documentation_and_the_wire_have_it() {
    let mut codec = running();
    let started =
        r#"{"type":"input_audio_buffer.speech_started","audio_start_ms":64,"item_id":"a"}"#;
    assert_eq!(
        decode(&mut codec, started),
        [Event::SpeechStarted {
            item: 0,
            item_id: "a".into(),
            at_ms: Some(64)
        }]
    );
    let partial = transcription(
        "text",
        json!({"item_id":"a","language":"zh","emotion":"neutral","text":"","stash":"北京的"}),
    );
    let text = ItemText {
        item_id: "a".into(),
        text: String::new(),
        stash: "北京的".into(),
        language: Some("zh".into()),
        emotion: Some("neutral".into()),
        ..ItemText::default()
    };
    assert_eq!(
        decode(&mut codec, &partial),
        [Event::Interim { item: 0, text }]
    );
    let stopped =
        r#"{"type":"input_audio_buffer.speech_stopped","audio_end_ms":28128.0,"item_id":"a"}"#;
    assert_eq!(
        decode(&mut codec, stopped),
        [Event::SpeechStopped {
            item: 0,
            item_id: "a".into(),
            at_ms: Some(28128)
        }]
    );
    let created = r#"{"type":"conversation.item.created","previous_item_id":null,"item":{"id":"a","status":"completed"}}"#;
    assert_eq!(decode(&mut codec, created), [Event::ItemSeen { item: 0 }]);
    let completed = transcription(
        "completed",
        json!({"item_id":"a","transcript":"北京的天气。","usage":{"duration":28,"total_tokens":113}}),
    );
    let events = decode(&mut codec, &completed);
    assert_eq!(
        events[0],
        Event::Billed(Usage {
            seconds: 28.0,
            tokens: 0
        })
    );
    assert_eq!(texts(&events), [(0, "北京的天气。".to_owned())]);
    assert_eq!(
        decode(&mut codec, r#"{"type":"session.finished"}"#),
        [Event::Finished]
    );
}

#[test]
fn duplicates_and_late_events_of_an_ended_item_are_dropped() {
    let mut codec = running();
    let completed = transcription("completed", json!({"item_id":"a","transcript":"x"}));
    assert_eq!(texts(&decode(&mut codec, &completed)).len(), 1);
    for late in [
        completed.clone(),
        transcription("text", json!({"item_id":"a","text":"x"})),
        transcription("failed", json!({"item_id":"a"})),
        r#"{"type":"input_audio_buffer.committed","item_id":"a"}"#.into(),
        r#"{"type":"input_audio_buffer.speech_stopped","item_id":"a","audio_end_ms":1}"#.into(),
    ] {
        assert_eq!(decode(&mut codec, &late), [], "{late}");
    }
}

#[test]
fn events_without_an_item_id_find_their_item() {
    let mut codec = running();
    decode(
        &mut codec,
        r#"{"type":"input_audio_buffer.speech_started","audio_start_ms":0,"item_id":"a"}"#,
    );
    decode(
        &mut codec,
        r#"{"type":"input_audio_buffer.speech_started","audio_start_ms":900,"item_id":"b"}"#,
    );
    assert_eq!(
        decode(&mut codec, r#"{"type":"input_audio_buffer.committed"}"#),
        []
    );
    let completed = |text: &str| transcription("completed", json!({"transcript": text}));
    assert_eq!(
        texts(&decode(&mut codec, &completed("one"))),
        [(0, "one".to_owned())]
    );
    assert_eq!(
        texts(&decode(&mut codec, &completed("two"))),
        [(1, "two".to_owned())]
    );
    assert_eq!(
        texts(&decode(&mut codec, &completed("three"))),
        [(2, "three".to_owned())]
    );
    // Some servers report silence as the end of an item that never existed.
    assert_eq!(
        decode(
            &mut codec,
            r#"{"type":"input_audio_buffer.speech_stopped"}"#
        ),
        []
    );
}

#[test]
fn items_may_end_out_of_order() {
    let mut codec = running();
    for id in ["a", "b"] {
        decode(
            &mut codec,
            &transcription("text", json!({"item_id": id, "stash": "…"})),
        );
    }
    let completed = |id: &str| transcription("completed", json!({"item_id": id, "transcript": id}));
    assert_eq!(
        texts(&decode(&mut codec, &completed("b"))),
        [(1, "b".to_owned())]
    );
    assert_eq!(
        texts(&decode(&mut codec, &completed("a"))),
        [(0, "a".to_owned())]
    );
}

#[test]
fn missing_and_odd_fields_are_borne() {
    let mut codec = running();
    for odd in [
        transcription(
            "text",
            json!({"item_id":"a","text":null,"stash":7,"language":[],"emotion":{}}),
        ),
        transcription(
            "completed",
            json!({"item_id":"a","transcript":null,"usage":null}),
        ),
        transcription(
            "completed",
            json!({"item_id":"b","transcript":"","language":"","emotion":"","usage":{"duration":1.5}}),
        ),
        r#"{"type":"input_audio_buffer.speech_started","item_id":"c","audio_start_ms":-3}"#.into(),
        r#"{"type":"input_audio_buffer.speech_started","item_id":"d","audio_start_ms":1e300}"#
            .into(),
        r#"{"type":"conversation.item.created"}"#.into(),
        r#"{"type":"session.updated"}"#.into(),
        transcription("failed", json!({"item_id":"e","error":"boom"})),
    ] {
        let events = decode(&mut codec, &odd);
        assert!(
            !events.iter().any(|e| matches!(e, Event::Failed(_))),
            "{odd}: {events:?}"
        );
    }
}

#[test]
fn half_an_emoji_costs_no_utterance() {
    let completed = r#"{"type":"conversation.item.input_audio_transcription.completed","item_id":"a","transcript":"hello \ud83d world","usage":{"duration":NaN}}"#;
    let events = decode(&mut running(), completed);
    assert_eq!(texts(&events), [(0, "hello \u{fffd} world".to_owned())]);
}

#[test]
fn a_blank_final_stands_for_the_confirmed_text() {
    let interim = |text: &str, stash: &str| {
        let fields = json!({"item_id": "a", "text": text, "stash": stash});
        transcription("text", fields)
    };
    for (interims, transcript, expected) in [
        (&[("n1", " n2"), ("n1 n2", " n3")][..], "", "n1 n2"),
        (&[("n1 n2", " n3")], "。", "n1 n2"),
        (&[("n1 n2", " n3")], "n1 n2 n3.", "n1 n2 n3."),
        // A cough.
        (&[("", "hm")], "", ""),
        (&[("", "hm")], "。", "。"),
        (&[("，", "hm")], "", ""),
        (&[], "", ""),
    ] {
        let mut codec = running();
        for (text, stash) in interims {
            decode(&mut codec, &interim(text, stash));
        }
        let completed = transcription(
            "completed",
            json!({"item_id": "a", "transcript": transcript}),
        );
        let events = decode(&mut codec, &completed);
        assert_eq!(
            texts(&events),
            [(0, expected.to_owned())],
            "{interims:?} {transcript}"
        );
        // Nothing of it is left for the next one.
        let next = transcription("completed", json!({"item_id": "b", "transcript": ""}));
        assert_eq!(texts(&decode(&mut codec, &next)), [(1, String::new())]);
    }
}

#[test]
fn a_final_without_a_transcript_ends_nothing() {
    let mut codec = running();
    decode(
        &mut codec,
        &transcription("text", json!({"item_id": "a", "text": "one"})),
    );
    let malformed = transcription(
        "completed",
        json!({"item_id": "a", "usage": {"duration": 1}}),
    );
    let events = decode(&mut codec, &malformed);
    let usage = Usage {
        seconds: 1.0,
        tokens: 0,
    };
    assert_eq!(events[0], Event::Billed(usage));
    assert!(matches!(events[1..], [Event::Warning(_)]), "{events:?}");
    let completed = transcription(
        "completed",
        json!({"item_id": "a", "transcript": "one two"}),
    );
    assert_eq!(
        texts(&decode(&mut codec, &completed)),
        [(0, "one two".to_owned())]
    );
}

#[test]
fn texts_and_ids_are_bounded_and_hold_no_control_characters() {
    let mut codec = running();
    let much = "x\u{1b}[2J\0".repeat(100_000);
    for event in [
        transcription(
            "text",
            json!({"item_id": much, "text": much, "stash": much, "language": much}),
        ),
        transcription(
            "completed",
            json!({"item_id": much, "transcript": much, "emotion": much}),
        ),
    ] {
        for event in decode(&mut codec, &event) {
            let (Event::Interim { text, .. } | Event::Final { text, .. }) = event else {
                panic!("{event:?}")
            };
            assert!(text.text.len() + text.stash.len() <= MAX_TEXT);
            let names = [text.language, text.emotion, Some(text.item_id)];
            for name in names.into_iter().flatten() {
                assert!(name.len() <= 256 && !name.contains(char::is_control));
            }
            assert!(!text.text.contains(char::is_control));
        }
    }
}

#[test]
fn limits_follow_the_mode() {
    assert_eq!(running().limits().max_utterance_ms, None);
    let manual = Qwen::new(Recognition {
        turn_detection: TurnDetection::Manual,
        ..recognition()
    });
    assert!(manual.limits().max_speed > running().limits().max_speed);
    assert!(
        manual
            .limits()
            .max_utterance_ms
            .is_some_and(|ms| ms <= 60_000)
    );
}
