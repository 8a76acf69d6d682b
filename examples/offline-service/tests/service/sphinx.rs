// SPDX-License-Identifier: MPL-2.0

//! PocketSphinx with recordings. Needs Debian's packages libpocketsphinx3, pocketsphinx-en-us
//! and pocketsphinx-testdata.

use std::fs;

use offline_service::{Options, Server, VadOptions, sphinx};
use serde_json::{Value, json};

use crate::client::Client;

const RECORDINGS: &str = "/usr/share/pocketsphinx/test/data/librivox";

/// All events of a session with this audio, 16 kHz, and a second of silence.
async fn recognise(server: &Server, audio: &[i16]) -> Vec<Value> {
    let mut client = Client::new(server).await;
    let detection = json!({"type": "server_vad", "threshold": 0.0, "silence_duration_ms": 400});
    client
        .send(json!({"type": "session.update", "session": {"turn_detection": detection}}))
        .await;
    client.audio(audio).await;
    client.audio(&[0; 16_000]).await;
    client.finish().await;
    client.rest().await.0
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

#[tokio::test]
async fn recordings() {
    let server = Server::start(Options {
        recogniser: sphinx::factory(1).unwrap(),
        vad: VadOptions::RECORDING,
        rate_limit: false,
        ..Options::default()
    });
    let transcription = fs::read_to_string(format!("{RECORDINGS}/transcription")).unwrap();
    let (mut words, mut errors) = (0, 0);
    for line in transcription.lines() {
        let (spoken, name) = line.split_once(" </s> (").unwrap();
        let spoken: Vec<&str> = spoken.trim_start_matches("<s> ").split(' ').collect();
        let path = format!("{RECORDINGS}/{}.wav", name.trim_end_matches(')'));
        let wav = fs::read(path).unwrap();
        let samples: Vec<i16> = wav[44..]
            .chunks_exact(2)
            .map(|sample| i16::from_le_bytes([sample[0], sample[1]]))
            .collect();
        let events = recognise(&server, &samples).await;

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
