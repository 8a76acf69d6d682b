// SPDX-License-Identifier: MPL-2.0

mod trouble;

use super::*;
use crate::protocol::texts::MAX_TEXT;
use crate::protocol::{ItemText, Phrase, Protocol, Usage};
use crate::transcript::Translation;

const NESTED: &str = "qwen3.8-livetranslate-flash-realtime";
const FLAT: &str = "qwen3.5-livetranslate-flash-realtime";

fn recognition(model: &str) -> Recognition {
    Recognition {
        parameters: Vec::new(),
        model: model.into(),
        model_property: "model",
        language: None,
        context: None,
        vocabulary: Vec::new(),
        vocabulary_id: None,
        translation: Some(Target {
            language: "fr-CA".into(),
            phrases: Vec::new(),
        }),
        rate: 16_000,
        coding: Default::default(),
        turn_detection: TurnDetection::ServerVad {
            threshold: None,
            silence_ms: 400,
        },
        official: true,
    }
}

/// A codec and what came of it.
struct Script {
    codec: Box<dyn Codec>,
    events: Vec<Event>,
    out: Vec<Frame>,
}

impl Script {
    fn new(recognition: Recognition) -> Self {
        let setup = Protocol::LiveTranslate.set_up(recognition).ok().unwrap();
        Self {
            codec: (setup.codecs)(),
            events: Vec::new(),
            out: Vec::new(),
        }
    }

    fn running(model: &str) -> Self {
        let mut script = Self::new(recognition(model));
        script.receive(json!({"type": "session.created", "session": {"id": "s", "model": model}}));
        script.receive(json!({"type": "session.updated", "session": {"id": "s"}}));
        let session_id = Some("s".to_owned());
        assert_eq!(script.events, [Event::Ready { session_id }]);
        script.events.clear();
        script
    }

    fn receive(&mut self, event: Value) {
        let text = event.to_string();
        self.codec
            .decode(Incoming::Text(&text), &mut self.events, &mut self.out);
    }

    fn receive_all(&mut self, events: impl IntoIterator<Item = Value>) {
        events.into_iter().for_each(|event| self.receive(event));
    }

    fn take(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// What was said and its translation, of interim and final results; finals in capitals.
    fn texts(&mut self) -> Vec<String> {
        let texts = self.take().into_iter().filter_map(|event| match event {
            Event::Interim { item, text } => Some(shown(item, &text)),
            Event::Final { item, text } => Some(shown(item, &text).to_uppercase()),
            Event::ItemFailed { item, .. } => Some(format!("{item} failed")),
            _ => None,
        });
        texts.collect()
    }
}

fn shown(item: u64, text: &ItemText) -> String {
    let translation = text.translation.as_ref().unwrap();
    assert_eq!(translation.language, "fr");
    let Translation {
        text: fr, stash, ..
    } = &**translation;
    format!("{item} {}+{} | {fr}+{stash}", text.text, text.stash)
}

fn started(item: &str, ms: u64, speaker: u64) -> Value {
    json!({"type": "input_audio_buffer.speech_started", "item_id": item, "audio_start_ms": ms,
        "speaker_id": speaker})
}

fn stopped(item: &str, ms: u64) -> Value {
    json!({"type": "input_audio_buffer.speech_stopped", "item_id": item, "audio_end_ms": ms})
}

/// The service says of all items that they are the assistant's.
fn source_created(item: &str, previous: Option<&str>) -> Value {
    json!({"type": "conversation.item.created", "previous_item_id": previous,
        "item": {"id": item, "role": "assistant", "content": [{"type": "input_audio"}]}})
}

/// What begins a response, whose translation's item is called `fr-…`.
fn response(item: &str) -> [Value; 4] {
    let (response, translation) = (format!("r-{item}"), format!("fr-{item}"));
    [
        json!({"type": "response.created", "response": {"id": response, "status": "in_progress"}}),
        json!({"type": "response.output_item.added", "response_id": response,
            "item": {"id": translation, "role": "assistant", "content": []}}),
        json!({"type": "conversation.item.created", "previous_item_id": item,
            "item": {"id": translation, "role": "assistant", "content": []}}),
        json!({"type": "response.content_part.added", "response_id": response,
            "item_id": translation, "part": {"type": "text"}}),
    ]
}

fn source(item: &str, delta: &str) -> Value {
    json!({"type": "conversation.item.input_audio_transcription.delta", "item_id": item,
        "delta": delta, "obfuscation": "xY"})
}

fn translated(item: &str, delta: &str) -> Value {
    json!({"type": "response.text.delta", "response_id": format!("r-{item}"),
        "item_id": format!("fr-{item}"), "delta": delta})
}

fn completed(item: &str, transcript: &str) -> Value {
    json!({"type": "conversation.item.input_audio_transcription.completed", "item_id": item,
        "transcript": transcript, "language": "en"})
}

fn translated_all(item: &str, text: &str) -> Value {
    json!({"type": "response.text.done", "response_id": format!("r-{item}"),
        "item_id": format!("fr-{item}"), "text": text})
}

fn response_done(item: &str, input: u64, output: u64) -> Value {
    json!({"type": "response.done", "response": {"id": format!("r-{item}"), "status": "completed",
        "usage": {"input_tokens": input, "output_tokens": output, "total_tokens": input + output,
            "input_tokens_details": {"audio_tokens": input},
            "output_tokens_details": {"text_tokens": output}}}})
}

/// Two turns in the order in which the service was seen to send their events.
fn two_turns() -> Vec<Value> {
    let mut events = vec![started("a", 200, 0), source_created("a", None)];
    events.extend(response("a"));
    events.extend([
        source("a", "Good "),
        translated("a", "Bon"),
        source("a", "morning"),
        translated("a", "jour"),
        stopped("a", 27_280),
        completed("a", "Good morning."),
        translated_all("a", "Bonjour."),
        json!({"type": "response.content_part.done", "response_id": "r-a", "item_id": "fr-a"}),
        json!({"type": "response.output_item.done", "response_id": "r-a"}),
        response_done("a", 190, 9),
        started("b", 27_280, 1),
        source_created("b", Some("fr-a")),
    ]);
    events.extend(response("b"));
    events.extend([
        source("b", "To"),
        translated("b", "À"),
        completed("b", "To all."),
        translated_all("b", "À tous."),
        response_done("b", 210, 4),
    ]);
    events
}

#[test]
fn an_item_and_its_translation_are_one_and_tell_who_speaks() {
    let mut script = Script::running(NESTED);
    script.receive_all(two_turns());
    let speakers: Vec<_> = script
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Final { text, .. } => Some((text.speaker, text.language.clone())),
            _ => None,
        })
        .collect();
    let en = Some("en".to_owned());
    assert_eq!(speakers, [(Some(0), en.clone()), (Some(1), en)]);
    let started = script.events.iter().filter_map(|event| match event {
        Event::SpeechStarted {
            item,
            item_id,
            at_ms,
        } => Some((*item, item_id.as_str(), *at_ms)),
        _ => None,
    });
    let started: Vec<_> = started.collect();
    assert_eq!(started, [(0, "a", Some(200)), (1, "b", Some(27_280))]);
    assert_eq!(
        script.texts(),
        [
            "0 Good + | +",
            "0 Good + | Bon+",
            "0 Good morning+ | Bon+",
            "0 Good morning+ | Bonjour+",
            "0 Good morning.+ | Bonjour+",
            "0 GOOD MORNING.+ | BONJOUR.+",
            "1 To+ | +",
            "1 To+ | À+",
            "1 To all.+ | À+",
            "1 TO ALL.+ | À TOUS.+",
        ]
    );
}

#[test]
fn what_responses_cost_is_added_up_and_each_counts_once() {
    let mut script = Script::running(NESTED);
    script.receive_all(two_turns());
    script.receive(response_done("b", 210, 4));
    let billed = script.take().into_iter().filter_map(|event| match event {
        Event::Billed(Usage { tokens, .. }) => Some(tokens),
        _ => None,
    });
    assert_eq!(billed.collect::<Vec<_>>(), [199, 413]);
}

#[test]
fn text_and_stash_are_replaced_before_3_8() {
    let mut script = Script::running(FLAT);
    script.receive(started("a", 0, 0));
    script.receive_all(response("a"));
    let source = |text: &str, stash: &str| {
        json!({"type": "conversation.item.input_audio_transcription.text", "item_id": "a",
            "text": text, "stash": stash})
    };
    let translated = |kind: &str, text: &str, stash: &str| {
        json!({"type": format!("response.{kind}.text"), "response_id": "r-a", "item_id": "fr-a",
            "text": text, "stash": stash})
    };
    script.receive_all([
        source("", "Good"),
        source("Good", " mourning"),
        translated("text", "", "Bon"),
        translated("audio_transcript", "Bon", "jour"),
        completed("a", "Good morning."),
        json!({"type": "response.audio_transcript.done", "response_id": "r-a", "item_id": "fr-a",
            "transcript": "Bonjour."}),
    ]);
    assert_eq!(
        script.texts(),
        [
            "0 +Good | +",
            "0 Good+ mourning | +",
            "0 Good+ mourning | +Bon",
            "0 Good+ mourning | Bon+jour",
            "0 Good morning.+ | Bon+jour",
            "0 GOOD MORNING.+ | BONJOUR.+",
        ]
    );
}

#[test]
fn the_settings_are_those_of_the_generation() {
    let update = |recognition: Recognition| {
        let mut script = Script::new(recognition);
        script.receive(json!({"type": "session.created", "session": {}}));
        let [Frame::Text(update)] = &script.out[..] else {
            panic!("{:?}", script.out)
        };
        let mut update: Value = serde_json::from_str(update).unwrap();
        assert_eq!(update["type"], "session.update");
        update["session"].take()
    };
    let nested = json!({
        "output_modalities": ["text"],
        "audio": {
            "input": {
                "format": {"type": "pcm", "sample_rate": 16_000},
                "turn_detection": {"type": "speaker_detection"},
            },
            "output": {"voice": "Tina"},
        },
        "translation": {"language": "fr"},
    });
    assert_eq!(update(recognition(NESTED)), nested);
    let mut detailed = recognition(NESTED);
    detailed.turn_detection = TurnDetection::ServerVad {
        threshold: Some(0.5),
        silence_ms: 700,
    };
    detailed.translation = Some(Target {
        language: "nb-NO".into(),
        phrases: vec![Phrase {
            term: "cloud".into(),
            translation: "sky".into(),
        }],
    });
    let detailed = update(detailed);
    assert_eq!(
        detailed["audio"]["input"]["turn_detection"],
        json!({"type": "server_vad", "threshold": 0.5, "silence_duration_ms": 700})
    );
    assert_eq!(
        detailed["translation"],
        json!({"language": "nb", "corpus": {"phrases": {"cloud": "sky"}}})
    );
    let mut flat = recognition(FLAT);
    flat.language = Some("en-US".into());
    assert_eq!(
        update(flat),
        json!({
            "modalities": ["text"],
            "voice": "Tina",
            "sample_rate": 16_000,
            "input_audio_format": "pcm",
            "input_audio_transcription": {"model": "qwen3-asr-flash-realtime", "language": "en"},
            "turn_detection": {"type": "server_vad", "silence_duration_ms": 400},
            "translation": {"language": "fr"},
        })
    );
}

#[test]
fn what_ends_an_utterance_is_known_to_the_session() {
    let silence = |model, threshold| {
        let mut recognition = recognition(model);
        recognition.turn_detection = TurnDetection::ServerVad {
            threshold,
            silence_ms: 400,
        };
        let setup = Protocol::LiveTranslate.set_up(recognition).ok().unwrap();
        setup.silence.unwrap().as_millis()
    };
    assert_eq!(silence(NESTED, None), 2500);
    assert_eq!(silence(NESTED, Some(0.0)), 400);
    assert_eq!(silence(FLAT, None), 400);
}

#[test]
fn what_cannot_work_is_refused_and_what_has_no_effect_is_told() {
    let set_up = |change: fn(&mut Recognition)| {
        let mut recognition = recognition(NESTED);
        change(&mut recognition);
        Protocol::LiveTranslate.set_up(recognition)
    };
    let refused = |change| set_up(change).err().unwrap().to_string();
    assert!(refused(|r| r.rate = 8000).contains("rate=16000"));
    let unknown = refused(|r| r.translation.as_mut().unwrap().language = "tlh".into());
    assert!(
        unknown.contains("'tlh'") && unknown.contains("translate_src"),
        "{unknown}"
    );
    let large = refused(|r| {
        let phrase = Phrase {
            term: "x".repeat(300_000),
            translation: "y".into(),
        };
        r.translation.as_mut().unwrap().phrases.push(phrase);
    });
    assert!(
        large.contains("Shorten the translation-vocabulary"),
        "{large}"
    );
    let setup = set_up(|r| {
        r.language = Some("en".into());
        r.context = Some("names".into());
        r.turn_detection = TurnDetection::Manual;
    });
    let warnings = setup.ok().unwrap().warnings.join(" ");
    for named in ["language-code", "context", "turn-detection"] {
        assert!(warnings.contains(named), "{warnings}");
    }
    assert!(
        set_up(|r| r.translation = None)
            .ok()
            .unwrap()
            .warnings
            .is_empty()
    );
}

#[test]
fn the_end_is_told_and_audio_sent() {
    let mut script = Script::running(NESTED);
    script.out.clear();
    let (events, out) = (&mut script.events, &mut script.out);
    script.codec.command(Command::Audio(&[0, 1]), events, out);
    script.codec.command(Command::Commit, events, out);
    script.codec.command(Command::Finish, events, out);
    let kinds = script.out.iter().map(|frame| match frame {
        Frame::Text(text) => serde_json::from_str::<Value>(text).unwrap()["type"].take(),
        Frame::Binary(_) => Value::Null,
    });
    let kinds: Vec<_> = kinds.collect();
    assert_eq!(kinds, ["input_audio_buffer.append", "session.finish"]);
    script.receive(json!({"type": "session.finished"}));
    assert_eq!(script.take(), [Event::Finished]);
}
