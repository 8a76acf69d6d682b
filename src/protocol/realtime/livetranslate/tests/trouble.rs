// SPDX-License-Identifier: MPL-2.0
//! Events that are missing, doubled, late or those of another model.

use super::*;

#[test]
fn responses_are_told_apart_also_without_what_announces_them() {
    // Two items are open before the first translation, as where it lags behind.
    let mut script = Script::running(NESTED);
    script.receive_all([
        started("a", 0, 0),
        source("a", "one"),
        started("b", 900, 0),
        source("b", "two"),
        translated("a", "un"),
        translated("b", "deux"),
        translated("a", " "),
        completed("b", "Two."),
        completed("a", "One."),
        translated_all("b", "Deux."),
        translated_all("a", "Un."),
    ]);
    let texts = script.texts();
    assert_eq!(
        texts[texts.len() - 2..],
        ["1 TWO.+ | DEUX.+", "0 ONE.+ | UN.+"]
    );
    // Nothing but the texts, and no ids.
    script.receive_all([
        json!({"type": "response.text.delta", "delta": "Trois"}),
        json!({"type": "conversation.item.input_audio_transcription.completed", "transcript": "Three."}),
        json!({"type": "response.text.done", "text": "Trois."}),
    ]);
    let texts = script.texts();
    assert_eq!(
        texts.last().map(String::as_str),
        Some("2 THREE.+ | TROIS.+")
    );
}

#[test]
fn doubled_and_late_events_change_nothing() {
    let mut script = Script::running(NESTED);
    script.receive(started("a", 0, 0));
    script.receive_all(response("a"));
    script.receive_all([
        completed("a", "Yes."),
        completed("a", "No."),
        translated_all("a", "Oui."),
    ]);
    assert_eq!(
        script.texts().last().map(String::as_str),
        Some("0 YES.+ | OUI.+")
    );
    script.receive_all([
        completed("a", "No."),
        translated_all("a", "Non."),
        translated("a", "Non"),
        source("a", "No"),
        response_done("a", 1, 1),
    ]);
    script.receive_all(response("a"));
    assert_eq!(script.texts(), Vec::<String>::new());
}

#[test]
fn what_is_missing_holds_up_nothing() {
    let mut script = Script::running(NESTED);
    // Noise: no text at all.
    script.receive(started("a", 0, 0));
    script.receive_all(response("a"));
    script.receive_all([completed("a", ""), response_done("a", 1, 0)]);
    assert_eq!(script.texts(), ["0 + | +"]);
    // A transcript that failed, and a blank end that takes nothing back: what was received stays.
    script.receive(started("b", 0, 0));
    let failed = json!({"type": "conversation.item.input_audio_transcription.failed",
        "item_id": "b", "error": {"code": "x", "message": "y"}});
    script.receive_all([
        translated("b", "Oui"),
        failed.clone(),
        translated_all("b", ""),
    ]);
    let texts = script.texts();
    assert_eq!(texts[texts.len() - 2..], ["1 + | Oui+", "1 failed"]);
    // Neither of the two.
    script.receive(started("c", 0, 0));
    let mut failed_c = failed;
    failed_c["item_id"] = json!("c");
    script.receive(failed_c);
    script.receive(
        json!({"type": "response.done", "response": {"id": "r-c", "status": "failed",
        "status_details": {"error": {"message": "overloaded"}}}}),
    );
    let warned = script.events.iter().any(|event| match event {
        Event::Warning(what) => what.to_string().contains("failed: overloaded"),
        _ => false,
    });
    assert!(warned, "{:?}", script.events);
    assert_eq!(script.texts(), ["2 failed"]);
}

#[test]
fn memory_is_bounded() {
    let mut script = Script::running(NESTED);
    let long = "x".repeat(MAX_TEXT);
    script.receive_all([started("a", 0, 0), source("a", &long), source("a", &long)]);
    let Some(Event::Interim { text, .. }) = script.events.last() else {
        panic!()
    };
    assert_eq!(text.text.len(), MAX_TEXT);
    let mut turns = Turns::new("fr");
    for item in 0..10_000 {
        turns.begin(item, &item.to_string(), None);
        let id = item.to_string();
        let event = json!({"response_id": id, "response": {"id": id}, "delta": "x"});
        let (mut conversation, mut events) = (Conversation::new(""), Vec::new());
        turns.response("text.delta", &event, &mut conversation, &mut events);
        turns.response("done", &event, &mut conversation, &mut events);
    }
    assert!(
        turns.sizes().iter().all(|size| *size <= 256),
        "{:?}",
        turns.sizes()
    );
}

#[test]
fn another_model_is_noticed_and_errors_are_diagnosed() {
    let mut script = Script::new(recognition(NESTED));
    script.receive(json!({"type": "session.created", "session": {"model": "qwen-omni"}}));
    let [Event::Failed(failure)] = &script.events[..] else {
        panic!("{:?}", script.events)
    };
    assert_eq!(failure.kind, Kind::NoModel);
    let mut script = Script::running(NESTED);
    script.receive(
        json!({"type": "error", "error": {"type": "invalid_request_error",
        "code": "invalid_value", "message": "no", "param": "session.translation.language"}}),
    );
    let [Event::Failed(failure)] = &script.events[..] else {
        panic!("{:?}", script.events)
    };
    assert_eq!(failure.kind, Kind::Settings);
    assert!(failure.remedy.contains("translation"), "{failure}");
    let unopened = Script::new(recognition(NESTED));
    assert_eq!(unopened.codec.closed(Some(1011), "").kind, Kind::NoModel);
}
