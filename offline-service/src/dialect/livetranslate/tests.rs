// SPDX-License-Identifier: MPL-2.0

use super::*;
use crate::recogniser::Hypothesis;

fn session(model: &str, update: &Value) -> (LiveTranslate, Vec<Value>) {
    let mut session = LiveTranslate::new(model, 1, &Options::default(), &Faults::default());
    let update = json!({"type": "session.update", "session": update}).to_string();
    let requests = session.decode(Frame::Text(update), Duration::ZERO);
    let told = requests.into_iter().filter_map(|request| match request {
        Request::Tell(act) => Some(session.events(act)),
        _ => None,
    });
    let told = told.flatten().collect();
    (session, told)
}

fn nested() -> Value {
    json!({"output_modalities": ["text"], "translation": {"language": "fr"}})
}

fn partial(text: &str, stash: &str) -> Act {
    Act::Partial(Partial {
        hypothesis: Hypothesis {
            text: text.to_owned(),
            stash: stash.to_owned(),
        },
        ..Partial::default()
    })
}

fn kinds(events: &[Value]) -> Vec<&str> {
    events
        .iter()
        .map(|event| event["type"].as_str().unwrap())
        .collect()
}

#[test]
fn the_order_of_events_is_that_of_the_service() {
    let (mut session, told) = session("qwen3.8-livetranslate-flash-realtime", &nested());
    assert_eq!(kinds(&told), ["session.updated"]);
    let mut told = session.events(Act::SpeechStarted { item: 0, at: 200 });
    told.extend(session.events(partial("w0001 w0002 ", "w0003")));
    told.extend(session.events(Act::SpeechStopped { item: 0, at: 900 }));
    told.extend(session.events(Act::Completed(Final {
        transcript: "w0001 w0002 w0003".to_owned(),
        audio: 2000,
        ..Final::default()
    })));
    assert_eq!(
        kinds(&told),
        [
            "input_audio_buffer.speech_started",
            "conversation.item.created",
            "response.created",
            "response.output_item.added",
            "conversation.item.created",
            "response.content_part.added",
            "conversation.item.input_audio_transcription.delta",
            "response.text.delta",
            "input_audio_buffer.speech_stopped",
            "conversation.item.input_audio_transcription.delta",
            "response.text.delta",
            "conversation.item.input_audio_transcription.completed",
            "response.text.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.done",
        ]
    );
    assert_eq!(told[0]["speaker_id"], 0);
    assert_eq!(told[4]["previous_item_id"], told[0]["item_id"]);
    assert_eq!(told[7]["delta"], "fr0001 fr0002 ");
    assert_eq!(told[10]["delta"], "fr0003");
    assert_eq!(told[12]["text"], "fr0001 fr0002 fr0003");
    assert_eq!(told[15]["response"]["usage"]["input_tokens"], 14);
}

#[test]
fn earlier_models_replace_their_texts() {
    let flat = json!({"modalities": ["text"], "translation": {"language": "de"},
        "turn_detection": {"type": "server_vad", "silence_duration_ms": 400}});
    let (mut session, told) = session("qwen3.5-livetranslate-flash-realtime", &flat);
    assert_eq!(kinds(&told), ["session.updated"]);
    assert_eq!(session.setup().detection.unwrap().silence_ms, 400);
    session.events(partial("w0001 ", "w0002"));
    let told = session.events(partial("w0001 w0002 ", "w0003"));
    assert_eq!(
        (&told[0]["text"], &told[0]["stash"]),
        (&json!("w0001 w0002 "), &json!("w0003"))
    );
    assert_eq!(
        (&told[1]["text"], &told[1]["stash"]),
        (&json!("de0001 de0002 "), &json!("de0003"))
    );
}

#[test]
fn settings_of_the_other_generation_and_other_formats_are_refused() {
    let flat = json!({"modalities": ["text"], "translation": {"language": "fr"}});
    let mut flat_opus = flat.clone();
    flat_opus["input_audio_format"] = json!("opus");
    let mut nested_opus = nested();
    nested_opus["audio"]["input"]["format"]["type"] = json!("opus");
    for (model, update) in [
        ("qwen3.8-livetranslate-flash-realtime", &flat),
        ("qwen3.5-livetranslate-flash-realtime", &nested()),
        (
            "qwen3.8-livetranslate-flash-realtime",
            &json!({"output_modalities": ["text"]}),
        ),
        ("qwen3.5-livetranslate-flash-realtime", &flat_opus),
        ("qwen3.8-livetranslate-flash-realtime", &nested_opus),
    ] {
        let (_, told) = session(model, update);
        assert_eq!(kinds(&told), ["error"], "{model}: {update}");
    }
}
