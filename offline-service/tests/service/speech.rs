// SPDX-License-Identifier: MPL-2.0

//! What the recognisers of real speech have in common: sentences from Debian's package
//! pocketsphinx-testdata, and what has to become of them.

use offline_service::recordings::{self, Recording};
use offline_service::{Factory, Options, Protocol, Server, VadOptions};
use serde_json::{Value, json};

use crate::client::Client;
use crate::inference::{self, STREAMING};

pub fn recordings() -> Vec<Recording> {
    recordings::all().unwrap()
}

/// A second of silence.
pub static SILENCE: [i16; 16_000] = [0; 16_000];

pub fn start(recogniser: Factory, change: impl FnOnce(&mut Options)) -> Server {
    let mut options = Options {
        recogniser,
        vad: VadOptions::RECORDING,
        rate_limit: false,
        ..Options::default()
    };
    change(&mut options);
    Server::start(options)
}

/// A server that speaks one protocol.
pub fn start_with(recogniser: Factory, protocol: Protocol) -> Server {
    start(recogniser, |options| options.protocols = vec![protocol])
}

/// All events of a session of Qwen-ASR-Realtime with this audio, 16 kHz, and a second of silence.
pub async fn recognise(server: &Server, audio: &[i16]) -> Vec<Value> {
    let mut client = Client::new(server).await;
    let detection = json!({"type": "server_vad", "threshold": 0.0, "silence_duration_ms": 400});
    client
        .send(json!({"type": "session.update", "session": {"turn_detection": detection}}))
        .await;
    client.audio(audio).await;
    client.audio(&SILENCE).await;
    client.finish().await;
    client.rest().await.0
}

/// The final texts of a session.
pub fn transcripts(events: &[Value]) -> Vec<&str> {
    let transcripts = events
        .iter()
        .filter_map(|event| event["transcript"].as_str());
    transcripts.collect()
}

/// How many words of a text are wrong, and how many there should be.
pub fn errors(recordings: &[Recording], text: &str) -> (usize, usize) {
    let expected: Vec<String> = recordings.iter().flat_map(|r| r.words.clone()).collect();
    let heard = recordings::spoken_words(text);
    (recordings::errors(&expected, &heard), expected.len())
}

/// Checks that what is confirmed stays so until the utterance is over.
pub fn check_growth(events: &[Value]) {
    let mut confirmed = "";
    for event in events {
        if let Some(text) = event["text"].as_str() {
            assert!(text.starts_with(confirmed), "{confirmed:?} became {text:?}");
            confirmed = text;
        }
        if event["transcript"].is_string() {
            confirmed = "";
        }
    }
}

/// Checks that each word has its own time, in the first utterance as in all that follow.
pub async fn check_word_times(server: &Server) {
    let mut client = inference::connect(server).await;
    client
        .send(inference::run_task("a", STREAMING, json!({})))
        .await;
    let recordings = recordings();
    for recording in [&recordings[1], &recordings[4]] {
        inference::send_audio(&mut client, &recording.pcm).await;
        inference::send_audio(&mut client, &SILENCE).await;
    }
    client.send(inference::finish_task("a")).await;
    let events = client.until("task-finished").await;
    let finals = inference::finals(&events);
    assert!(finals.len() >= 2, "{finals:?}");
    for sentence in finals {
        let time = |value: &Value| value.as_u64().unwrap();
        let words = sentence["words"].as_array().unwrap();
        let (begin, end) = (time(&sentence["begin_time"]), time(&sentence["end_time"]));
        let mut before = begin;
        for word in words {
            let (from, to) = (time(&word["begin_time"]), time(&word["end_time"]));
            assert!(before <= from && from < to && to <= end, "{sentence}");
            before = to;
        }
        // People pause at the end of a sentence, but not for most of it.
        assert!(before - begin > (end - begin) / 2, "{sentence}");
        assert!(
            words.len() > 2 && time(&words[1]["begin_time"]) < begin + 2500,
            "{sentence}"
        );
    }
}
