// SPDX-License-Identifier: MPL-2.0

//! The protocol of tasks.

use std::time::Duration;

use futures_util::SinkExt;
use offline_service::blocks::{self, words};
use offline_service::faults::{CloseFault, ErrorFault};
use offline_service::record::kind;
use offline_service::{ClientEvent, Faults, Items, Options, Protocol, Server};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::client::{Client, request};

pub const STREAMING: &str = "qwen-audio-3.1-asr-flash-streaming";

/// What begins the task `id`.
pub fn run_task(id: &str, model: &str, parameters: Value) -> Value {
    let mut all = json!({"format": "pcm", "sample_rate": 16000, "max_sentence_silence": 400});
    let given = parameters.as_object().unwrap().clone();
    all.as_object_mut().unwrap().extend(given);
    json!({
        "header": {"action": "run-task", "task_id": id, "streaming": "duplex"},
        "payload": {
            "task_group": "audio", "task": "asr", "function": "recognition",
            "model": model, "parameters": all, "input": {},
        },
    })
}

pub fn finish_task(id: &str) -> Value {
    json!({
        "header": {"action": "finish-task", "task_id": id, "streaming": "duplex"},
        "payload": {"input": {}},
    })
}

fn start(change: impl FnOnce(&mut Options)) -> Server {
    let mut options = Options {
        rate_limit: false,
        ..Options::default()
    };
    change(&mut options);
    Server::start(options)
}

fn with_faults(faults: Faults) -> Server {
    start(|options| options.faults = faults)
}

pub async fn connect(server: &Server) -> Client {
    let path = Protocol::Inference.path();
    request(server, path, "Bearer x").await.unwrap()
}

pub async fn send_audio(client: &mut Client, pcm: &[i16]) {
    // Frames may end within a sample.
    for chunk in blocks::bytes(pcm).chunks(3201) {
        let audio = Message::binary(chunk.to_vec());
        client.0.send(audio).await.unwrap();
    }
}

/// Ten words, a pause, and five words.
fn speech() -> Vec<i16> {
    let parts = [
        blocks::silence(300, 16000),
        blocks::blocks(0..10, 16000),
        blocks::silence(700, 16000),
        blocks::blocks(10..15, 16000),
    ];
    parts.concat()
}

/// All events of a task with [`speech`].
async fn whole_task(client: &mut Client, id: &str, run: Value) -> Vec<Value> {
    client.send(run).await;
    send_audio(client, &speech()).await;
    client.send(finish_task(id)).await;
    client.until("task-finished").await
}

fn sentence(event: &Value) -> &Value {
    &event["payload"]["output"]["sentence"]
}

pub fn finals(events: &[Value]) -> Vec<&Value> {
    let sentences = events.iter().map(sentence);
    sentences
        .filter(|sentence| sentence["end_time"].is_number())
        .collect()
}

#[tokio::test]
async fn tasks_on_one_connection() {
    let server = start(|_| ());
    let mut client = request(&server, "/api-ws/v1/inference/", "Bearer x")
        .await
        .unwrap();
    for id in ["a", "b"] {
        let events = whole_task(&mut client, id, run_task(id, STREAMING, json!({}))).await;
        assert!(events.iter().all(|event| event["header"]["task_id"] == id));
        assert_eq!(kind(&events[0]), "task-started");
        let begun = sentence(&events[1]);
        assert_eq!(
            (
                &begun["sentence_id"],
                &begun["begin_time"],
                &begun["sentence_begin"]
            ),
            (&json!(1), &json!(300), &json!(true))
        );
        assert_eq!(begun["text"], "");
        let partial = sentence(&events[2]);
        assert_eq!(partial["text"], words(0..5));
        assert_eq!(partial["end_time"], Value::Null);
        assert_eq!(partial["words"][4]["end_time"], 800);

        let finals = finals(&events);
        let [first, second] = finals[..] else {
            panic!("{finals:?}");
        };
        assert_eq!(first["text"], words(0..10));
        assert_eq!(
            (&first["begin_time"], &first["end_time"]),
            (&json!(300), &json!(1300))
        );
        assert_eq!(
            (&second["begin_time"], &second["end_time"]),
            (&json!(2000), &json!(2500))
        );
        assert_eq!(second["sentence_id"], 2);
        for (number, word) in first["words"].as_array().unwrap().iter().enumerate() {
            let begin = 300 + number * 100;
            assert_eq!(
                word["text"].as_str().unwrap().trim(),
                blocks::word(number as u32)
            );
            assert_eq!(
                (&word["begin_time"], &word["end_time"]),
                (&json!(begin), &json!(begin + 100))
            );
        }
        let last = events.last().unwrap();
        assert_eq!(last["payload"]["usage"]["duration"], 3);
        let nested = &events
            .iter()
            .find(|event| sentence(event)["sentence_end"] == true)
            .unwrap();
        assert_eq!(&nested["payload"]["output"]["output"]["sentence"], first);
    }
    drop(client);
    let closed = |records: &[offline_service::SessionRecord]| !records[0].is_open();
    assert!(server.wait_for(closed, Duration::from_secs(20)));
    let record = &server.sessions()[0];
    let kinds: Vec<&str> = record.received.iter().map(ClientEvent::kind).collect();
    let task = ["run-task", "input_audio_buffer.append", "finish-task"];
    assert_eq!(kinds, [task, task].concat());
    assert_eq!(record.audio_bytes(), 2 * 80_000);
    let transcripts = [words(0..10), words(10..15)];
    assert_eq!(
        record.transcripts(),
        [&transcripts[..], &transcripts[..]].concat()
    );
}

#[tokio::test]
async fn results_by_model() {
    let server = start(|_| ());
    let mut client = connect(&server).await;
    for (model, rate, partials, usage) in [
        (
            "qwen-audio-3.1-asr-flash-message",
            16000,
            false,
            "total_tokens",
        ),
        (
            "qwen-audio-3.0-asr-flash-streaming",
            16000,
            true,
            "duration",
        ),
        ("fun-asr-realtime", 16000, true, "duration"),
        ("paraformer-realtime-v2", 16000, true, "duration"),
        ("fun-asr-flash-8k-realtime", 8000, true, "duration"),
        ("paraformer-realtime-8k-v2", 8000, true, "duration"),
    ] {
        let run = run_task(model, model, json!({"sample_rate": rate}));
        client.send(run).await;
        send_audio(&mut client, &blocks::blocks(0..10, rate)).await;
        client.send(finish_task(model)).await;
        let events = client.until("task-finished").await;
        let results: Vec<_> = events
            .iter()
            .filter(|event| kind(event) == "result-generated")
            .collect();
        assert_eq!(results.len() > 1, partials, "{model}");
        let last = results.last().unwrap();
        assert_eq!(sentence(last)["text"], words(0..10), "{model}");
        assert_eq!(sentence(last)["end_time"], 1000, "{model}");
        assert!(last["payload"]["usage"][usage].is_u64(), "{model}: {last}");
    }
}

#[tokio::test]
async fn mistakes_fail_the_task_and_end_the_connection() {
    let server = start(|_| ());
    let without = |path: &str| {
        let mut run = run_task("a", STREAMING, json!({}));
        *run.pointer_mut(path).unwrap() = Value::Null;
        run
    };
    let good = || run_task("a", STREAMING, json!({}));
    let started = "task-started";
    for (messages, code) in [
        (vec![without("/header/task_id")], "InvalidParameter"),
        (vec![without("/header/streaming")], "InvalidParameter"),
        (vec![without("/payload/task_group")], "InvalidParameter"),
        (vec![without("/payload/model")], "InvalidParameter"),
        (vec![without("/payload/input")], "InvalidParameter"),
        (
            vec![run_task("a", "qwen3-asr-flash-realtime", json!({}))],
            "ModelNotFound",
        ),
        (
            vec![run_task("a", STREAMING, json!({"speed": 2}))],
            "InvalidParameter",
        ),
        (vec![good(), good()], "InvalidParameter"),
        (vec![good(), finish_task("b")], "InvalidParameter"),
        (vec![finish_task("a")], "InvalidParameter"),
        (vec![json!({"type": "session.update"})], "InvalidParameter"),
    ] {
        let mut client = connect(&server).await;
        let accepted = messages.len() - 1;
        for message in &messages {
            client.send(message.clone()).await;
        }
        let (events, last) = client.rest().await;
        assert_eq!(events.len(), accepted + 1, "{messages:?}");
        assert!(
            events[..accepted]
                .iter()
                .all(|event| kind(event) == started)
        );
        let failed = &events[accepted]["header"];
        assert_eq!(
            (&failed["event"], &failed["error_code"]),
            (&json!("task-failed"), &json!(code))
        );
        assert!(matches!(last, Some(Message::Close(_))));
    }
}

#[tokio::test]
async fn a_task_identifier_is_used_once() {
    let server = start(|_| ());
    let mut client = connect(&server).await;
    whole_task(&mut client, "a", run_task("a", STREAMING, json!({}))).await;
    client.send(run_task("a", STREAMING, json!({}))).await;
    let (events, _) = client.rest().await;
    assert_eq!(kind(&events[0]), "task-failed");
}

#[tokio::test]
async fn contexts_may_change() {
    let server = start(|_| ());
    let mut client = connect(&server).await;
    client.send(run_task("a", STREAMING, json!({}))).await;
    let said = json!([{"role": "user", "content": [{"type": "input_text", "text": "names"}]}]);
    for (context, fine) in [(said, true), (json!("names"), false)] {
        let header = json!({"action": "continue-task", "task_id": "a", "streaming": "duplex"});
        client
            .send(json!({"header": header, "payload": {"input": {"context": context}}}))
            .await;
        if fine {
            send_audio(&mut client, &speech()).await;
        }
    }
    let (events, _) = client.rest().await;
    assert_eq!(finals(&events).len(), 1, "the first one changes nothing");
    assert_eq!(kind(events.last().unwrap()), "task-failed");
}

#[tokio::test]
async fn silence() {
    for (model, code) in [
        (STREAMING, "EmptyAudio"),
        ("fun-asr-realtime", "NO_VALID_AUDIO_ERROR"),
    ] {
        let server = start(|_| ());
        let mut client = connect(&server).await;
        client.send(run_task("a", model, json!({}))).await;
        send_audio(&mut client, &[0; 16_000]).await;
        client.send(finish_task("a")).await;
        let (events, _) = client.rest().await;
        assert_eq!(events[1]["header"]["error_code"], code);
    }
    // With a heartbeat, the service bears silence, and says that it is alive.
    let server = start(|options| options.silence_timeout = Duration::from_secs(3));
    for heartbeat in [false, true] {
        let mut client = connect(&server).await;
        client
            .send(run_task("a", STREAMING, json!({"heartbeat": heartbeat})))
            .await;
        send_audio(&mut client, &[0; 80_000]).await;
        if heartbeat {
            client.send(finish_task("a")).await;
        }
        let (events, _) = client.rest().await;
        let beats = events
            .iter()
            .filter(|event| sentence(event)["heartbeat"] == true);
        assert_eq!(beats.count(), if heartbeat { 5 } else { 0 });
        let failed = kind(events.last().unwrap()) == "task-failed";
        assert_eq!(failed, heartbeat, "without, the connection just ends");
    }
}

#[tokio::test]
async fn timeouts() {
    let server = start(|options| options.byte_timeout = Duration::from_millis(300));
    let mut client = connect(&server).await;
    client
        .send(run_task("a", STREAMING, json!({"heartbeat": true})))
        .await;
    // A ping is no audio.
    client.0.send(Message::Ping(vec![].into())).await.unwrap();
    let (events, _) = client.rest().await;
    assert_eq!(events[1]["header"]["error_code"], "CLIENT_ERROR");

    let server = start(|options| options.idle_timeout = Duration::from_millis(300));
    let mut client = connect(&server).await;
    whole_task(&mut client, "a", run_task("a", STREAMING, json!({}))).await;
    assert_eq!(
        client.rest().await.0,
        [Value::Null; 0],
        "nothing but the end"
    );
}

#[tokio::test]
async fn audio_outside_of_tasks_belongs_to_none() {
    let server = start(|_| ());
    let mut client = connect(&server).await;
    send_audio(&mut client, &blocks::blocks(50..51, 16000)).await;
    let events = whole_task(&mut client, "a", run_task("a", STREAMING, json!({}))).await;
    assert_eq!(finals(&events)[0]["text"], words(0..10));
    assert_eq!(server.sessions()[0].received[0], ClientEvent::Binary(3200));
}

#[tokio::test]
async fn faults_of_results() {
    let server = with_faults(Faults {
        duplicate_completed: Items::nth(0),
        foreign_results: true,
        omit_item_id: true,
        omit_optional: true,
        ready_delay: Some(Duration::from_millis(50)),
        ..Faults::default()
    });
    let mut client = connect(&server).await;
    let events = whole_task(&mut client, "a", run_task("a", STREAMING, json!({}))).await;
    let texts: Vec<_> = finals(&events)
        .iter()
        .map(|sentence| sentence["text"].clone())
        .collect();
    let (first, second) = (words(0..10), words(10..15));
    assert_eq!(
        texts,
        ["foreign", &first, "foreign", &first, "foreign", &second]
    );
    for event in events
        .iter()
        .filter(|event| kind(event) == "result-generated")
    {
        let sentence = sentence(event).as_object().unwrap();
        for key in ["sentence_id", "sentence_begin", "sentence_end"] {
            assert!(!sentence.contains_key(key), "{event}");
        }
        assert_eq!(event["header"]["attributes"], Value::Null);
        assert_eq!(event["payload"]["usage"], Value::Null);
    }
}

#[tokio::test]
async fn faults_of_tasks() {
    let none = Faults::default;
    let error = |after_ms| ErrorFault {
        after_ms,
        code: "SERVER_ERROR".to_owned(),
        ..ErrorFault::default()
    };
    let close = CloseFault {
        after_ms: 500,
        code: 1011,
        ..CloseFault::default()
    };
    let refuse = ("ModelNotFound".to_owned(), String::new());
    for (faults, kinds, code) in [
        (
            Faults {
                refuse: Some(refuse),
                ..none()
            },
            &["task-failed"][..],
            Some(1000),
        ),
        (
            Faults {
                error: Some(error(0)),
                ..none()
            },
            &["task-failed"],
            Some(1000),
        ),
        (
            Faults {
                error: Some(error(300)),
                ..none()
            },
            &["task-started", "task-failed"],
            Some(1000),
        ),
        (
            Faults {
                failed: Items::All,
                ..none()
            },
            &["task-started", "task-failed"],
            Some(1000),
        ),
        (
            Faults {
                close: Some(close),
                ..none()
            },
            &["task-started"],
            Some(1011),
        ),
        (
            Faults {
                reset_after_ms: Some(0),
                ..none()
            },
            &[],
            None,
        ),
    ] {
        let server = with_faults(faults.clone());
        let mut client = connect(&server).await;
        let run = run_task("a", "qwen-audio-3.1-asr-flash-message", json!({}));
        client.send(run).await;
        let audio = Message::binary(blocks::bytes(&speech()));
        // The connection may be gone by then.
        let _ = client.0.send(audio).await;
        let (found, closed) = client.rest_in_short().await;
        assert_eq!(
            (&found[..], closed),
            (
                &kinds.iter().map(|k| k.to_string()).collect::<Vec<_>>()[..],
                code
            ),
            "{faults:?}"
        );
    }
}
