// SPDX-License-Identifier: MPL-2.0

//! The protocol of sglang-omni.

use offline_service::blocks::{self, silence, words};
use offline_service::record::kind;
use offline_service::{Options, Protocol, Server};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::client::{Client, request};

const PATH: &str = "/v1/realtime?intent=transcription";

fn start(change: impl FnOnce(&mut Options)) -> Server {
    let mut options = Options {
        protocols: vec![Protocol::Vllm, Protocol::SglangOmni],
        rate_limit: false,
        known_models: Some(vec!["m".to_owned()]),
        ..Options::default()
    };
    change(&mut options);
    Server::start(options)
}

async fn connect(server: &Server) -> Client {
    let mut client = request(server, PATH, "Bearer x").await.unwrap();
    let created = &client.until("session.created").await[0];
    assert_eq!(created["session"]["intent"], "transcription");
    assert_eq!(created["event_index"], 1);
    client
}

async fn update(client: &mut Client, session: Value) -> Value {
    client
        .send(json!({"type": "session.update", "session": session}))
        .await;
    client.event().await
}

/// Kind, segment, times and text of an event.
fn short(event: &Value) -> String {
    let kind = kind(event).rsplit('.').next().unwrap().to_owned();
    let parts = [
        "segment_id",
        "audio_start_ms",
        "audio_end_ms",
        "is_final",
        "text",
    ];
    let parts = parts.iter().filter_map(|part| match &event[*part] {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        value => Some(value.to_string()),
    });
    std::iter::once(kind)
        .chain(parts)
        .collect::<Vec<_>>()
        .join(" ")
}

#[tokio::test]
async fn the_server_finds_segments_whose_text_is_replaced() {
    let server = start(|_| ());
    let mut client = connect(&server).await;
    let vad = json!({"type": "server_vad", "silence_duration_ms": 400});
    let updated = update(
        &mut client,
        json!({"turn_detection": vad, "language": "en"}),
    )
    .await;
    assert_eq!(kind(&updated), "session.updated");
    let speech = [
        &silence(300, 16_000)[..],
        &blocks::blocks(0..12, 16_000),
        &silence(600, 16_000),
        &blocks::blocks(12..14, 16_000),
    ];
    client.audio(&speech.concat()).await;
    client.send(json!({"type": "transcription.done"})).await;
    let events = client.until("transcription.completed").await;
    let events: Vec<String> = events.iter().map(short).collect();
    let texts = [words(0..12), words(12..14)];
    assert_eq!(events[0], "speech_started 0 300");
    assert_eq!(
        events[1],
        format!("segment 0 300 800 false {}", words(0..5))
    );
    assert_eq!(
        events[2],
        format!("segment 0 300 1300 false {}", words(0..10))
    );
    // In the pause nobody knows yet that it is one.
    assert_eq!(events[3], format!("segment 0 300 1800 false {}", texts[0]));
    assert_eq!(
        events[4..],
        [
            "speech_stopped 0 1500".into(),
            "committed 0".into(),
            format!("segment 0 300 1500 true {}", texts[0]),
            "speech_started 1 2100".into(),
            "speech_stopped 1 2300".into(),
            "committed 1".into(),
            format!("segment 1 2100 2300 true {}", texts[1]),
            format!("completed {}", texts.join(" ")),
        ]
    );
    // Nothing follows, and the client closes.
    client
        .send(json!({"type": "input_audio_buffer.commit"}))
        .await;
    let error = client.until("error").await.remove(0);
    assert_eq!(error["error"]["code"], "input_already_done");
}

#[tokio::test]
async fn the_client_ends_segments() {
    let server = start(|_| ());
    let mut client = connect(&server).await;
    update(&mut client, json!({"turn_detection": null})).await;
    client.audio(&blocks::blocks(0..3, 16_000)).await;
    client
        .send(json!({"type": "input_audio_buffer.commit"}))
        .await;
    let segment = client.until("transcription.segment").await;
    let events: Vec<String> = segment.iter().map(short).collect();
    let text = words(0..3);
    assert_eq!(
        events,
        ["committed 0".into(), format!("segment 0 0 300 true {text}")]
    );
    client
        .send(json!({"type": "input_audio_buffer.clear"}))
        .await;
    client.until("input_audio_buffer.cleared").await;
}

#[tokio::test]
async fn a_long_segment_is_cut_without_a_new_beginning() {
    let server = start(|_| ());
    let mut client = connect(&server).await;
    update(&mut client, json!({})).await;
    client.audio(&blocks::blocks(0..305, 16_000)).await;
    client.send(json!({"type": "transcription.done"})).await;
    let events = client.until("transcription.completed").await;
    let of = |wanted: &str| {
        let events = events.iter().filter(|event| kind(event).ends_with(wanted));
        events.count()
    };
    assert_eq!((of("speech_started"), of("committed")), (1, 2));
}

#[tokio::test]
async fn only_what_is_known_is_taken() {
    let server = start(|_| ());
    let mut client = connect(&server).await;
    for session in [
        json!({"audio": {}}),
        json!({"type": "transcription"}),
        json!({"input_audio_format": "g711"}),
        json!({"language": 7}),
        json!({"turn_detection": "server_vad"}),
        json!({"turn_detection": {"type": "semantic_vad"}}),
        json!({"turn_detection": {"create_response": false}}),
        json!({"turn_detection": {"threshold": -0.5}}),
        json!({"turn_detection": {"prefix_padding_ms": 300, "silence_duration_ms": 300}}),
    ] {
        let error = update(&mut client, session.clone()).await;
        assert_eq!(error["error"]["code"], "invalid_event", "{session}");
    }
    for (event, code) in [
        (json!({"type": "session.finish"}), "unsupported_event"),
        (
            json!({"type": "input_audio_buffer.append"}),
            "invalid_audio",
        ),
    ] {
        client.send(event).await;
        assert_eq!(client.until("error").await[0]["error"]["code"], code);
    }
    client.audio(&[0; 160]).await;
    let error = update(&mut client, json!({})).await;
    assert_eq!(error["error"]["code"], "session_active");
}

#[tokio::test]
async fn what_cannot_be_served_is_refused() {
    let server = start(|options| options.max_connections = 1);
    let _first = connect(&server).await;
    let refusal = request(&server, PATH, "Bearer x").await.err().unwrap();
    assert_eq!(refusal.status(), 503);
    let body: Value = serde_json::from_slice(refusal.body().as_ref().unwrap()).unwrap();
    assert_eq!(body["error"]["code"], "unavailable");

    let server = start(|options| options.protocols = vec![Protocol::SglangOmni]);
    let path = "/v1/realtime?intent=chat";
    let mut client = request(&server, path, "Bearer x").await.unwrap();
    let (events, close) = client.rest().await;
    let code = events[0]["error"]["code"].as_str();
    assert_eq!(code, Some("unsupported_realtime_intent"));
    let Some(Message::Close(Some(frame))) = close else {
        panic!("{close:?}")
    };
    assert_eq!(u16::from(frame.code), 1008);

    let path = "/v1/realtime?intent=transcription&model=x";
    let refusal = request(&server, path, "Bearer x").await.err().unwrap();
    assert_eq!(refusal.status(), 403);
    assert_eq!(refusal.body().as_deref(), Some(&[][..]));
}
