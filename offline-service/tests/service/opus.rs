// SPDX-License-Identifier: MPL-2.0

//! Opus, in the protocols that take it.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use futures_util::SinkExt;
use offline_service::blocks::{silence, words};
use offline_service::opus::{Coding, Contents, Encoded, encode};
use offline_service::record::kind;
use offline_service::tones::tone;
use offline_service::{AudioStream, Options, Server, ToneRecogniser, VadOptions};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::client::Client;
use crate::inference::{STREAMING, connect, finals, finish_task, run_task};

const RATE: u32 = 16_000;

/// How far off times may be that went through the codec.
const TOLERANCE_MS: u64 = 100;

/// Begin and end of each utterance of [`speech`].
const SPOKEN_MS: [(u64, u64); 2] = [(500, 2500), (4500, 5500)];

fn start() -> Server {
    Server::start(Options {
        recogniser: ToneRecogniser::factory(),
        vad: VadOptions::CODED,
        rate_limit: false,
        ..Options::default()
    })
}

/// Ten words, a pause, and five words.
fn speech(coding: &Coding) -> Encoded {
    let tones = |numbers: std::ops::Range<u32>| numbers.flat_map(|n| tone(n, RATE)).collect();
    let parts = [
        silence(500, RATE),
        tones(0..10),
        silence(2000, RATE),
        tones(10..15),
        silence(1000, RATE),
    ];
    encode(&parts.concat(), RATE, coding).unwrap()
}

fn expected() -> [String; 2] {
    [words(0..10), words(10..15)]
}

/// What the record of a connection has to say of a stream that was taken whole.
fn stream(encoded: &Encoded, rate: u32, coding: &Coding) -> AudioStream {
    let packet = Duration::from_millis(coding.packet_ms.into());
    AudioStream {
        format: "opus".to_owned(),
        rate,
        contents: Contents {
            header_pages: 2,
            begin: Some(0),
            packets: vec![packet; encoded.packets.len()],
            has_end: true,
        },
    }
}

fn assert_spoken(begins: &[&Value], ends: &[&Value], what: &impl std::fmt::Debug) {
    let times = |values: &[&Value]| -> Vec<u64> {
        let times = values.iter().map(|value| value.as_u64().unwrap());
        times.collect()
    };
    let told: Vec<_> = times(begins).into_iter().zip(times(ends)).collect();
    assert_eq!(told.len(), SPOKEN_MS.len(), "{what:?}");
    for ((begin, end), (begun, ended)) in SPOKEN_MS.into_iter().zip(&told) {
        let near = begin.abs_diff(*begun) <= TOLERANCE_MS && end.abs_diff(*ended) <= TOLERANCE_MS;
        assert!(near, "{what:?}: {told:?}");
    }
}

async fn append(client: &mut Client, bytes: &[u8]) {
    let audio = BASE64.encode(bytes);
    let append = json!({"type": "input_audio_buffer.append", "audio": audio});
    client.send(append).await;
}

async fn configured(server: &Server, session: Value) -> Client {
    let mut client = Client::new(server).await;
    client
        .send(json!({"type": "session.update", "session": session}))
        .await;
    client.until("session.updated").await;
    client
}

#[tokio::test]
async fn words_and_their_times_survive_the_codec() {
    let server = start();
    for (index, (packet_ms, dtx, rate)) in [
        (20, false, 16_000),
        (20, true, 16_000),
        (60, false, 8000),
        (60, true, 16_000),
    ]
    .into_iter()
    .enumerate()
    {
        let coding = Coding {
            bitrate: 24_000,
            packet_ms,
            dtx,
        };
        let encoded = speech(&coding);
        let turns = json!({"type": "server_vad", "silence_duration_ms": 400});
        let session = json!({"input_audio_format": "opus", "sample_rate": rate,
            "turn_detection": turns});
        let mut client = configured(&server, session).await;
        for page in encoded.pages(1) {
            append(&mut client, &page).await;
        }
        client.finish().await;
        client.until("session.finished").await;
        let record = &server.sessions()[index];
        assert_eq!(record.transcripts(), expected(), "{coding:?}");
        let times = |kind, key| -> Vec<&Value> {
            let events = record.sent_events(kind);
            events.map(|event: &Value| &event[key]).collect()
        };
        assert_spoken(
            &times("input_audio_buffer.speech_started", "audio_start_ms"),
            &times("input_audio_buffer.speech_stopped", "audio_end_ms"),
            &coding,
        );
        assert_eq!(record.streams, [stream(&encoded, rate, &coding)]);
        assert_eq!(record.audio_bytes(), encoded.pages(1).concat().len());
    }
}

#[tokio::test]
async fn every_task_has_a_stream_of_its_own() {
    let server = start();
    let mut client = connect(&server).await;
    let coding = Coding {
        packet_ms: 60,
        ..Coding::default()
    };
    let encoded = speech(&coding);
    for (id, serial, rate) in [("a", 1, 16_000), ("b", 2, 8000)] {
        let parameters = json!({"format": "opus", "sample_rate": rate});
        client.send(run_task(id, STREAMING, parameters)).await;
        // Frames may end within a page.
        for piece in encoded.pages(serial).concat().chunks(333) {
            let frame = Message::binary(piece.to_vec());
            client.0.send(frame).await.unwrap();
        }
        client.send(finish_task(id)).await;
        let events = client.until("task-finished").await;
        let finals = finals(&events);
        let texts: Vec<_> = finals.iter().map(|sentence| &sentence["text"]).collect();
        assert_eq!(texts, expected().each_ref());
        let times = |key: &str| -> Vec<&Value> {
            let times = finals.iter().map(|sentence| &sentence[key]);
            times.collect()
        };
        assert_spoken(&times("begin_time"), &times("end_time"), &id);
    }
    let both = [16_000, 8000].map(|rate| stream(&encoded, rate, &coding));
    assert_eq!(server.sessions()[0].streams, both);
    // The one after them does not go on with the other.
    let parameters = json!({"format": "opus"});
    client.send(run_task("c", STREAMING, parameters)).await;
    let frame = Message::binary(encoded.pages(2)[2].clone());
    client.0.send(frame).await.unwrap();
    let (events, _) = client.rest().await;
    let header = &events.last().unwrap()["header"];
    assert_eq!(header["event"], "task-failed");
    assert_eq!(header["task_id"], "c");
    assert_eq!(header["error_code"], "CLIENT_ERROR");
    let message = "The audio cannot be decoded as opus: the stream does not begin with its first \
                   page.";
    assert_eq!(header["error_message"], message);
}

#[tokio::test]
async fn what_cannot_be_decoded_ends_a_session() {
    let server = start();
    let mut pages = speech(&Coding::default()).pages(1);
    pages.remove(40);
    let mut client = configured(&server, json!({"input_audio_format": "opus"})).await;
    for page in pages {
        let audio = BASE64.encode(page);
        let append =
            json!({"type": "input_audio_buffer.append", "audio": audio, "event_id": "mine"});
        // The service may have gone before the end.
        let _ = client.0.send(Message::text(append.to_string())).await;
    }
    let (events, end) = client.rest().await;
    // What came before the mistake was heard.
    assert_eq!(kind(&events[0]), "input_audio_buffer.speech_started");
    let error = &events.last().unwrap()["error"];
    let message = "The audio cannot be decoded as opus: the page 41 follows the page 39.";
    assert_eq!(
        *error,
        json!({"type": "invalid_request_error", "code": "invalid_audio", "message": message,
            "param": "audio", "event_id": "mine"})
    );
    let Some(Message::Close(Some(frame))) = end else {
        panic!("{end:?}");
    };
    assert_eq!(u16::from(frame.code), 1007);
}

#[tokio::test]
async fn streams_end_with_a_whole_page() {
    let server = start();
    let bytes = speech(&Coding::default()).pages(1).concat();
    let cut = &bytes[..bytes.len() - 1];
    let mut client = configured(&server, json!({"input_audio_format": "opus"})).await;
    append(&mut client, cut).await;
    client.finish().await;
    let (events, _) = client.rest().await;
    let message = "The audio cannot be decoded as opus: the stream ends within a page.";
    assert_eq!(events.last().unwrap()["error"]["message"], message);

    let mut client = connect(&server).await;
    let parameters = json!({"format": "opus"});
    client.send(run_task("a", STREAMING, parameters)).await;
    client.0.send(Message::binary(cut.to_vec())).await.unwrap();
    client.send(finish_task("a")).await;
    let (events, _) = client.rest().await;
    assert_eq!(events.last().unwrap()["header"]["error_message"], message);
}
