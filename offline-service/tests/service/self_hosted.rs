// SPDX-License-Identifier: MPL-2.0

//! The protocols of servers to host oneself.

use std::time::Duration;

use futures_util::SinkExt;
use offline_service::blocks::{self, words};
use offline_service::record::kind;
use offline_service::{Faults, Items, Options, Protocol, Server};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::client::{Client, request};

fn start(protocol: Protocol, change: impl FnOnce(&mut Options)) -> Server {
    let mut options = Options {
        protocols: vec![protocol],
        rate_limit: false,
        known_models: Some(vec!["m".to_owned()]),
        ..Options::default()
    };
    change(&mut options);
    Server::start(options)
}

async fn connect(server: &Server) -> Client {
    let mut client = request(server, "/v1/realtime", "Bearer x").await.unwrap();
    assert_eq!(
        kind(&client.until("session.created").await[0]),
        "session.created"
    );
    client
}

async fn vllm(server: &Server) -> Client {
    let mut client = connect(server).await;
    client
        .send(json!({"type": "session.update", "model": "m"}))
        .await;
    client
}

async fn commit(client: &mut Client, last: bool) {
    client
        .send(json!({"type": "input_audio_buffer.commit", "final": last}))
        .await;
}

/// The text of the utterance that ends next, from its deltas and from its end.
async fn utterance(client: &mut Client) -> (String, String) {
    let events = client.until("transcription.done").await;
    let deltas = events.iter().filter_map(|event| event["delta"].as_str());
    let done = events.last().unwrap()["text"].as_str().unwrap();
    (deltas.collect(), done.to_owned())
}

fn plain(text: &str) -> String {
    let text = text.replace("language English<asr_text>", "");
    text.replace("language None<asr_text>", "")
}

#[tokio::test]
async fn vllm_utterances() {
    let server = start(Protocol::Vllm, |_| ());
    let mut client = vllm(&server).await;
    for numbers in [0..120, 120..125] {
        commit(&mut client, false).await;
        client.audio(&blocks::blocks(numbers.clone(), 16000)).await;
        commit(&mut client, true).await;
        let (deltas, done) = utterance(&mut client).await;
        assert_eq!(deltas, done);
        assert_eq!(plain(&done), words(numbers.clone()));
        // There is a tag for each segment of 5 s, and the rest.
        assert_eq!(done.matches("<asr_text>").count(), numbers.len() / 50 + 1);
    }
    assert_eq!(
        plain(server.sessions()[0].transcripts()[1]),
        words(120..125)
    );
}

#[tokio::test]
async fn vllm_keeps_audio_that_comes_before_a_commit() {
    let server = start(Protocol::Vllm, |options| options.tags = false);
    let mut client = vllm(&server).await;
    client.audio(&blocks::blocks(0..3, 16000)).await;
    commit(&mut client, false).await;
    commit(&mut client, true).await;
    let text = words(0..3);
    assert_eq!(utterance(&mut client).await, (text.clone(), text));
}

#[tokio::test]
async fn vllm_traps() {
    let server = start(Protocol::Vllm, |options| options.tags = false);
    // The end of no utterance has no answer, but ends the next one at once.
    let mut client = vllm(&server).await;
    commit(&mut client, true).await;
    commit(&mut client, false).await;
    assert_eq!(utterance(&mut client).await.1, "");
    // Audio between the end and its answer is lost.
    commit(&mut client, false).await;
    client.audio(&blocks::blocks(0..5, 16000)).await;
    commit(&mut client, true).await;
    client.audio(&blocks::blocks(5..6, 16000)).await;
    assert_eq!(utterance(&mut client).await.1, words(0..5));
    commit(&mut client, false).await;
    client.audio(&blocks::blocks(6..7, 16000)).await;
    commit(&mut client, true).await;
    assert_eq!(utterance(&mut client).await.1, words(6..7));
    // A binary frame ends it all.
    client.0.send(Message::binary(vec![0; 2])).await.unwrap();
    assert_eq!(client.rest_in_short().await, (vec![], Some(1011)));
}

#[tokio::test]
async fn vllm_errors() {
    let server = start(Protocol::Vllm, |options| {
        options.faults = Faults {
            failed: Items::All,
            ..Faults::default()
        };
    });
    let mut client = connect(&server).await;
    let append = |audio: &str| json!({"type": "input_audio_buffer.append", "audio": audio});
    for (event, code) in [
        (
            json!({"type": "input_audio_buffer.commit"}),
            "model_not_validated",
        ),
        (json!({"type": "session.update"}), "invalid_event"),
        (
            json!({"type": "session.update", "model": "x"}),
            "model_not_found",
        ),
        (json!({"type": "session.finish"}), "unknown_event"),
        (append(""), "invalid_audio"),
        (append("AAAA"), "invalid_audio"),
    ] {
        client.send(event.clone()).await;
        let error = client.until("error").await.remove(0);
        assert_eq!(error["code"], code, "{event}");
        assert!(error["error"].is_string());
    }
    client.0.send(Message::text("{")).await.unwrap();
    assert_eq!(client.until("error").await[0]["code"], "invalid_json");
    client
        .send(json!({"type": "session.update", "model": "m"}))
        .await;
    commit(&mut client, false).await;
    client.audio(&blocks::blocks(0..5, 16000)).await;
    commit(&mut client, true).await;
    assert_eq!(client.until("error").await[0]["code"], "processing_error");
}

fn transcription(change: Value) -> Value {
    let mut input = json!({
        "format": {"type": "audio/pcm", "rate": 16000},
        "transcription": {"model": null, "language": "en"},
        "turn_detection": null,
    });
    let change = change.as_object().unwrap().clone();
    input.as_object_mut().unwrap().extend(change);
    json!({
        "type": "session.update",
        "session": {"type": "transcription", "audio": {"input": input}},
    })
}

#[tokio::test]
async fn openai_items() {
    let server = start(Protocol::OpenAi, |_| ());
    for rate in [16_000, 24_000, 48_000] {
        let mut client = connect(&server).await;
        let format = json!({"type": "audio/pcm", "rate": rate});
        client.send(transcription(json!({"format": format}))).await;
        let updated = client.until("session.updated").await.remove(0);
        assert_eq!(updated["session"]["audio"]["input"]["format"]["rate"], rate);
        let mut ids = Vec::new();
        for numbers in [0..12, 12..14] {
            client.audio(&blocks::blocks(numbers.clone(), rate)).await;
            client
                .send(json!({"type": "input_audio_buffer.commit"}))
                .await;
            let completed = "conversation.item.input_audio_transcription.completed";
            let events = client.until(completed).await;
            let deltas: String = events
                .iter()
                .filter_map(|event| event["delta"].as_str())
                .collect();
            assert_eq!(deltas, words(numbers.clone()));
            let last = events.last().unwrap();
            assert_eq!(last["transcript"], words(numbers));
            let of_item = |event: &&Value| event["item_id"].is_string();
            assert!(
                events
                    .iter()
                    .filter(of_item)
                    .all(|event| event["item_id"] == last["item_id"])
            );
            ids.push(last["item_id"].clone());
            let committed = events
                .iter()
                .find(|event| kind(event) == "input_audio_buffer.committed");
            let before = ids
                .len()
                .checked_sub(2)
                .map_or(Value::Null, |index| ids[index].clone());
            assert_eq!(committed.unwrap()["previous_item_id"], before);
        }
        assert_ne!(ids[0], ids[1]);
        client.audio(&blocks::blocks(20..22, rate)).await;
        client
            .send(json!({"type": "input_audio_buffer.clear"}))
            .await;
        client.until("input_audio_buffer.cleared").await;
        client
            .send(json!({"type": "input_audio_buffer.commit"}))
            .await;
        let error = client.until("error").await.remove(0);
        assert_eq!(error["error"]["code"], "input_audio_buffer_commit_empty");
    }
}

#[tokio::test]
async fn openai_errors() {
    let server = start(Protocol::OpenAi, |options| options.max_connections = 1);
    let mut client = connect(&server).await;
    let vad = json!({"type": "server_vad"});
    let finish = json!({"type": "session.finish"});
    let early = json!({"type": "input_audio_buffer.append", "audio": "AAAA"});
    for (event, code) in [
        (early, "invalid_state"),
        (
            transcription(json!({"turn_detection": vad})),
            "not_supported",
        ),
        (
            transcription(json!({"noise_reduction": {}})),
            "not_supported",
        ),
        (
            transcription(json!({"format": {"type": "audio/pcm", "rate": 8000}})),
            "invalid_value",
        ),
        (
            transcription(json!({"transcription": {"model": "x"}})),
            "model_not_found",
        ),
        (
            json!({"type": "session.update", "session": {}}),
            "invalid_value",
        ),
        (finish, "unknown_event"),
    ] {
        client.send(event.clone()).await;
        let error = client.until("error").await.remove(0);
        assert_eq!(error["error"]["code"], code, "{event}");
    }
    client.0.send(Message::binary(vec![0; 2])).await.unwrap();
    assert_eq!(
        client.until("error").await[0]["error"]["code"],
        "invalid_payload"
    );
    let mut second = request(&server, "/v1/realtime", "Bearer x").await.unwrap();
    let (events, _) = second.rest().await;
    assert_eq!(events[0]["error"]["code"], "too_many_sessions");
}

#[tokio::test]
async fn each_server_has_its_paths() {
    let server = start(Protocol::Vllm, |options| {
        options.protocols = vec![Protocol::OpenAi, Protocol::Vllm];
        options.idle_timeout = Duration::from_secs(1);
    });
    assert!(
        request(&server, "/api-ws/v1/inference", "Bearer x")
            .await
            .is_err()
    );
    let mut client = connect(&server).await;
    client.send(transcription(json!({}))).await;
    assert_eq!(
        kind(&client.until("session.updated").await[0]),
        "session.updated"
    );
}
