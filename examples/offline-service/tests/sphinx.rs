// SPDX-License-Identifier: MPL-2.0

//! PocketSphinx with recordings. Needs Debian's packages libpocketsphinx3, pocketsphinx-en-us
//! and pocketsphinx-testdata.

use std::{fs, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use offline_service::{
    VadOptions,
    session::{Action, Session, SessionOptions},
    sphinx,
};
use serde_json::{Value, json};

const RECORDINGS: &str = "/usr/share/pocketsphinx/test/data/librivox";

/// All events of a session with this audio, 16 kHz, and a second of silence.
fn recognise(session: &mut Session, audio: &[u8]) -> Vec<Value> {
    let mut events = Vec::new();
    let mut out = |action: Action| {
        if let Action::Send(event) = action {
            events.push(event);
        }
    };
    let detection = json!({"type": "server_vad", "threshold": 0.0, "silence_duration_ms": 400});
    let update = json!({"type": "session.update", "session": {"turn_detection": detection}});
    session.text(&update.to_string(), Duration::ZERO, &mut out);
    for chunk in audio.chunks(3200).chain([&[0; 32_000][..]]) {
        let append = json!({"type": "input_audio_buffer.append", "audio": BASE64.encode(chunk)});
        session.text(&append.to_string(), Duration::ZERO, &mut out);
    }
    events
}

/// How many words have to be inserted, removed or replaced to get from one text to the other.
fn distance(a: &[&str], b: &[&str]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let best = (diagonal + usize::from(x != y)).min(row[j].min(row[j + 1]) + 1);
            diagonal = std::mem::replace(&mut row[j + 1], best);
        }
    }
    row[b.len()]
}

#[test]
fn recordings() {
    let factory = sphinx::factory(1).unwrap();
    let transcription = fs::read_to_string(format!("{RECORDINGS}/transcription")).unwrap();
    let (mut words, mut errors) = (0, 0);
    for (number, line) in transcription.lines().enumerate() {
        let (spoken, name) = line.split_once(" </s> (").unwrap();
        let spoken: Vec<&str> = spoken.trim_start_matches("<s> ").split(' ').collect();
        let path = format!("{RECORDINGS}/{}.wav", name.trim_end_matches(')'));
        let wav = fs::read(path).unwrap();
        let options = SessionOptions {
            model: "qwen3-asr-flash-realtime".to_owned(),
            number: number as u64,
            partial_interval: Duration::from_millis(500),
            vad: VadOptions::RECORDING,
            max_item: None,
            rate_limit: false,
            commit_with_vad: true,
        };
        let events = recognise(&mut Session::new(options, factory.clone()), &wav[44..]);

        let mut confirmed = "";
        let mut heard = String::new();
        for event in &events {
            if let Some(text) = event["text"].as_str() {
                assert!(text.starts_with(confirmed), "{confirmed:?} became {text:?}");
                confirmed = text;
            }
            if let Some(transcript) = event["transcript"].as_str() {
                assert!(transcript.ends_with('.'), "{transcript:?}");
                heard.push_str(&transcript.to_lowercase().replace('.', " "));
                confirmed = "";
            }
        }
        let heard: Vec<&str> = heard.split_whitespace().collect();
        words += spoken.len();
        errors += distance(&spoken, &heard);
    }
    assert!(errors * 10 < words * 4, "{errors} errors in {words} words");
}
