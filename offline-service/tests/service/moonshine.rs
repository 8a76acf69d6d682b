// SPDX-License-Identifier: MPL-2.0

//! Moonshine with recordings. Needs what `bash .ci/setup.sh fetch_moonshine` fetches, and
//! Debian's package pocketsphinx-testdata.
//!
//! The tests share one model, as sessions do. Only one of them runs at a time, so that none has
//! fewer interim results for the others.

use std::fs;

use offline_service::record::kind;
use offline_service::recordings::Recording;
use offline_service::{Factory, Protocol, Server, moonshine};
use serde_json::{Value, json};
use tokio::sync::{Mutex, MutexGuard};

use crate::client::{Client, request};
use crate::inference;
use crate::speech::{self, SILENCE, recognise, recordings, start_with, transcripts};

static ALONE: Mutex<()> = Mutex::const_new(());

async fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().await
}

fn factory() -> Factory {
    moonshine::factory(&moonshine::default_directory()).unwrap_or_else(|error| panic!("{error}"))
}

fn start() -> Server {
    speech::start(factory(), |_| ())
}

/// Checks that at most one word in `one_in` is wrong.
fn check_words(recordings: &[Recording], text: &str, one_in: usize) {
    let (errors, words) = speech::errors(recordings, text);
    assert!(
        errors * one_in <= words,
        "{errors} errors in {words} words: {text}"
    );
}

#[tokio::test]
async fn recordings_are_understood_and_written_well() {
    let _alone = alone().await;
    let server = start();
    let mut heard = String::new();
    for recording in recordings() {
        let events = recognise(&server, &recording.pcm).await;
        speech::check_growth(&events);
        let transcripts = transcripts(&events);
        assert_eq!(transcripts.len(), 1, "{transcripts:?}");
        assert!(
            transcripts[0].starts_with(char::is_uppercase),
            "{transcripts:?}"
        );
        assert!(transcripts[0].ends_with(['.', ',']), "{transcripts:?}");
        heard = heard + transcripts[0] + " ";
    }
    check_words(&recordings(), &heard, 20);
    for written in ["Mr. John Dashwood", "cold-hearted", "woman, he"] {
        assert!(heard.contains(written), "{heard}");
    }
}

/// For each half second there is one, and each has more of the sentence than the one before.
#[tokio::test]
async fn interim_results_come_while_somebody_speaks() {
    let _alone = alone().await;
    let server = start();
    for recording in &recordings()[..2] {
        let events = recognise(&server, &recording.pcm).await;
        let stopped = events
            .iter()
            .position(|event| kind(event) == "input_audio_buffer.speech_stopped");
        let texts: Vec<String> = events[..stopped.unwrap()]
            .iter()
            .filter_map(|event| Some(event["text"].as_str()?.to_owned() + event["stash"].as_str()?))
            .collect();
        let ms = recording.pcm.len() / 16;
        // There is none while nobody speaks yet, and fewer the longer a sentence is.
        assert!(
            texts.len() >= ms / 700 && texts.len() <= ms / 500 + 1,
            "{ms} ms: {texts:?}"
        );
        let words = |text: &String| text.split_whitespace().count();
        let grown = texts
            .windows(2)
            .filter(|two| words(&two[0]) < words(&two[1]));
        assert!(grown.count() * 3 >= texts.len(), "{texts:?}");
        assert!(
            words(&texts[texts.len() / 2]) * 4 >= recording.words.len(),
            "{texts:?}"
        );
    }
}

/// Any numbers without a pattern.
fn noise(n: usize) -> i16 {
    ((n as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 48) as u16 as i16
}

/// Six seconds of each of what is not speech: silence, noises, knocks, a tone and a chord.
fn no_speech() -> Vec<Vec<i16>> {
    let tone = |n: usize, hertz: f64| (n as f64 * hertz / 2546.48).sin();
    let sounds: [&dyn Fn(usize) -> i16; 7] = [
        &|_| 0,
        &|n| noise(n) / 300,
        &|n| noise(n) / 10,
        &|n| {
            if n % 20_000 < 8000 {
                noise(n) / 5
            } else {
                noise(n) / 900
            }
        },
        &|n| (f64::from(noise(n)) * (-((n % 20_000) as f64) / 1600.0).exp()) as i16,
        &|n| (10_000.0 * tone(n, 440.0)) as i16,
        &|n| (4000.0 * (tone(n, 262.0) + tone(n, 330.0) + tone(n, 392.0))) as i16,
    ];
    let six_seconds = |sound: &&dyn Fn(usize) -> i16| (0..96_000).map(sound).collect();
    sounds.iter().map(six_seconds).collect()
}

fn check_no_text(events: &[Value]) {
    for event in events {
        for field in ["text", "stash", "transcript", "delta"] {
            assert_eq!(event[field].as_str().unwrap_or_default(), "", "{event}");
        }
    }
}

#[tokio::test]
async fn what_is_not_speech_has_no_text() {
    let _alone = alone().await;
    let server = start();
    let commits = start_with(factory(), Protocol::OpenAi);
    for sound in no_speech() {
        check_no_text(&recognise(&server, &sound).await);
        check_no_text(&openai(&commits, &sound).await);
    }
}

/// Speech is found in noise, and nothing is added to it.
#[tokio::test]
async fn speech_in_noise_is_understood() {
    let _alone = alone().await;
    let server = start();
    let recording = &recordings()[0];
    let pcm = recording.pcm.iter().enumerate();
    let noisy: Vec<i16> = pcm.map(|(n, s)| s.saturating_add(noise(n) / 300)).collect();
    let events = recognise(&server, &noisy).await;
    check_words(
        std::slice::from_ref(recording),
        &transcripts(&events).join(" "),
        10,
    );
}

#[tokio::test]
async fn sessions_share_one_model() {
    let _alone = alone().await;
    let server = start();
    let model = "decoder_model_merged.ort";
    let loaded = || {
        fs::read_to_string("/proc/self/maps")
            .unwrap()
            .matches(model)
            .count()
    };
    let before = loaded();
    assert!(before > 0);
    let other = start();
    let recordings = recordings();
    let (a, b, c, d) = tokio::join!(
        recognise(&server, &recordings[0].pcm),
        recognise(&server, &recordings[2].pcm),
        recognise(&server, &recordings[3].pcm),
        recognise(&other, &recordings[4].pcm),
    );
    for (events, recording) in [(a, 0), (b, 2), (c, 3), (d, 4)] {
        let text = transcripts(&events).join(" ");
        check_words(&recordings[recording..=recording], &text, 10);
    }
    assert_eq!(loaded(), before);
}

#[tokio::test]
async fn words_have_their_times() {
    let _alone = alone().await;
    speech::check_word_times(&start()).await;
}

/// Telephone audio.
#[tokio::test]
async fn eight_kilohertz() {
    let _alone = alone().await;
    let server = start();
    let mut client = inference::connect(&server).await;
    let model = "fun-asr-realtime";
    let run = inference::run_task("a", model, json!({"sample_rate": 8000}));
    client.send(run).await;
    let recordings = recordings();
    for recording in &recordings {
        let halves = recording.pcm.chunks_exact(2);
        let halved: Vec<i16> = halves.map(|two| two[0].midpoint(two[1])).collect();
        inference::send_audio(&mut client, &halved).await;
        inference::send_audio(&mut client, &SILENCE[..8000]).await;
    }
    client.send(inference::finish_task("a")).await;
    let events = client.until("task-finished").await;
    let finals = inference::finals(&events);
    let texts: Vec<&str> = finals.iter().filter_map(|f| f["text"].as_str()).collect();
    check_words(&recordings, &texts.join(" "), 10);
}

/// All events of an utterance, for which the client decides when it is over.
async fn openai(server: &Server, audio: &[i16]) -> Vec<Value> {
    let mut client = request(server, "/v1/realtime", "Bearer x").await.unwrap();
    let input = json!({"format": {"type": "audio/pcm", "rate": 16_000}, "turn_detection": null});
    let session = json!({"type": "transcription", "audio": {"input": input}});
    client
        .send(json!({"type": "session.update", "session": session}))
        .await;
    client.audio(audio).await;
    client
        .send(json!({"type": "input_audio_buffer.commit"}))
        .await;
    client
        .until("conversation.item.input_audio_transcription.completed")
        .await
}

async fn vllm(server: &Server, audio: &[i16]) -> Vec<Value> {
    let mut client = request(server, "/v1/realtime", "Bearer x").await.unwrap();
    client
        .send(json!({"type": "session.update", "model": "m"}))
        .await;
    commit(&mut client, false).await;
    client.audio(audio).await;
    commit(&mut client, true).await;
    client.until("transcription.done").await
}

async fn commit(client: &mut Client, is_final: bool) {
    let commit = json!({"type": "input_audio_buffer.commit", "final": is_final});
    client.send(commit).await;
}

/// 25 s without a pause of a second, in one utterance. What is told bit by bit is all that is
/// said, even where it was told wrongly.
#[tokio::test]
async fn long_utterances_of_clients_that_find_their_ends() {
    let _alone = alone().await;
    let recordings = recordings();
    let audio: Vec<i16> = recordings.iter().flat_map(|r| r.pcm.clone()).collect();
    let deltas = |events: &[Value]| -> String {
        events
            .iter()
            .filter_map(|event| event["delta"].as_str())
            .collect()
    };
    let events = openai(&start_with(factory(), Protocol::OpenAi), &audio).await;
    check_words(&recordings, transcripts(&events)[0], 10);
    check_words(&recordings, &deltas(&events), 8);

    let events = vllm(&start_with(factory(), Protocol::Vllm), &audio).await;
    let text = deltas(&events).replace("language English<asr_text>", "");
    check_words(&recordings, &text.replace("language None<asr_text>", ""), 8);
}
