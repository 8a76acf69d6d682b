// SPDX-License-Identifier: MPL-2.0

//! PocketSphinx with recordings. Needs Debian's packages libpocketsphinx3, pocketsphinx-en-us
//! and pocketsphinx-testdata.

use std::fs;

use offline_service::{Options, Server, VadOptions, sphinx};
use serde_json::{Value, json};

use crate::client::Client;
use crate::inference::{self, STREAMING};

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

fn start() -> Server {
    Server::start(Options {
        recogniser: sphinx::factory(1).unwrap(),
        vad: VadOptions::RECORDING,
        rate_limit: false,
        ..Options::default()
    })
}

/// A recording's samples.
fn samples(name: &str) -> Vec<i16> {
    let wav = fs::read(format!("{RECORDINGS}/{name}.wav")).unwrap();
    let samples = wav[44..].chunks_exact(2);
    samples
        .map(|sample| i16::from_le_bytes([sample[0], sample[1]]))
        .collect()
}

#[tokio::test]
async fn recordings() {
    let server = start();
    let transcription = fs::read_to_string(format!("{RECORDINGS}/transcription")).unwrap();
    let (mut words, mut errors) = (0, 0);
    for line in transcription.lines() {
        let (spoken, name) = line.split_once(" </s> (").unwrap();
        let spoken: Vec<&str> = spoken.trim_start_matches("<s> ").split(' ').collect();
        let samples = samples(name.trim_end_matches(')'));
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

/// Each word has its own time, in the first utterance as in all that follow.
#[tokio::test]
async fn words_have_their_times() {
    let server = start();
    let mut client = inference::connect(&server).await;
    client
        .send(inference::run_task("a", STREAMING, json!({})))
        .await;
    let silence = [0; 16_000];
    for name in [
        "sense_and_sensibility_01_austen_64kb-0880",
        "sense_and_sensibility_01_austen_64kb-0930",
    ] {
        inference::send_audio(&mut client, &samples(name)).await;
        inference::send_audio(&mut client, &silence).await;
    }
    client.send(inference::finish_task("a")).await;
    let events = client.until("task-finished").await;
    let finals = inference::finals(&events);
    assert!(finals.len() >= 2, "{finals:?}");
    for sentence in finals {
        let time = |value: &Value| value.as_u64().unwrap();
        let words = sentence["words"].as_array().unwrap();
        let (begin, end) = (time(&sentence["begin_time"]), time(&sentence["end_time"]));
        let mut last = begin;
        for word in words {
            let (from, to) = (time(&word["begin_time"]), time(&word["end_time"]));
            assert!(last <= from && from < to && to <= end, "{sentence}");
            last = to;
        }
        // People pause at the end of a sentence, but not for most of it.
        assert!(last - begin > (end - begin) / 2, "{sentence}");
        assert!(
            words.len() > 2 && time(&words[1]["begin_time"]) < begin + 2500,
            "{sentence}"
        );
    }
}
