// SPDX-License-Identifier: MPL-2.0

//! The service as such, in the protocol of Qwen-ASR-Realtime.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use offline_service::blocks::{self, words};
use offline_service::faults::CloseFault;
use offline_service::{ClientEvent, End, Faults, Items, Options, RawFrame, Server};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio_tungstenite::tungstenite::Message;

use crate::client::{Client, MODEL, request, request_at};

const TIMEOUT: Duration = Duration::from_secs(20);

fn start(faults: Faults) -> Server {
    Server::start(Options {
        faults,
        ..Options::default()
    })
}

#[tokio::test]
async fn a_session_and_its_record() {
    let server = start(Faults::default());
    assert_eq!(
        server.url(),
        format!("ws://127.0.0.1:{}/api-ws/v1/realtime", server.port())
    );
    let mut client = Client::new(&server).await;
    client
        .send(json!({"type": "session.update", "session": {"turn_detection": null}}))
        .await;
    client.audio(&blocks::blocks(0..20, 16000)).await;
    client
        .send(json!({"type": "input_audio_buffer.commit"}))
        .await;
    client.0.send(Message::Ping(vec![1].into())).await.unwrap();
    client.audio(&blocks::blocks(20..21, 16000)).await;
    client.finish().await;
    let (events, last) = client.rest().await;
    assert_eq!(events[0]["session"]["model"], MODEL);
    let Some(Message::Close(Some(frame))) = last else {
        panic!("{last:?}");
    };
    assert_eq!(u16::from(frame.code), 1000);
    let over = |records: &[offline_service::SessionRecord]| !records[0].is_open();
    assert!(server.wait_for(over, TIMEOUT));
    assert!(server.wait_for_connections(|accepted, open| (accepted, open) == (1, 0), TIMEOUT));
    let records = server.sessions();
    let [record] = &records[..] else {
        panic!("{records:?}");
    };
    assert_eq!(record.path, "/api-ws/v1/realtime");
    assert_eq!(record.query, format!("model={MODEL}"));
    assert_eq!(record.header("authorization"), Some("Bearer sk-1"));
    assert_eq!(record.pings, 1);
    let kinds: Vec<&str> = record.received.iter().map(ClientEvent::kind).collect();
    assert_eq!(
        kinds,
        [
            "session.update",
            "input_audio_buffer.append",
            "input_audio_buffer.commit",
            "input_audio_buffer.append",
            "session.finish",
        ]
    );
    let audio = ClientEvent::Audio {
        appends: 20,
        bytes: 64_000,
    };
    assert_eq!(record.received[1], audio);
    assert_eq!(record.audio_bytes(), 67_200);
    assert_eq!(record.transcripts(), [words(0..20), words(20..21)]);
    assert_eq!(record.sent, events);
    let reason = String::new();
    assert_eq!(record.end, Some(End::ServerClosed { code: 1000, reason }));
}

#[tokio::test]
async fn authorisation() {
    let server = Server::start(Options {
        api_key: Some("sk-1".to_owned()),
        forbidden_key: Some("sk-2".to_owned()),
        ..Options::default()
    });
    let path = format!("/api-ws/v1/realtime?model={MODEL}");
    for (path, key, status, code) in [
        ("/", "Bearer sk-1", 404, "NotFound"),
        (path.as_str(), "Bearer sk-2", 403, "AccessDenied"),
        (path.as_str(), "Bearer sk-3", 401, "InvalidApiKey"),
        (path.as_str(), "sk-1", 401, "InvalidApiKey"),
    ] {
        let Err(response) = request(&server, path, key).await else {
            panic!("{path} was served for {key}");
        };
        assert_eq!(response.status().as_u16(), status);
        let body: Value = serde_json::from_slice(response.body().as_ref().unwrap()).unwrap();
        assert_eq!(body["code"], code);
    }
    assert!(request(&server, &path, "bearer sk-1").await.is_ok());
    let refused = |index: usize, status| server.sessions()[index].end == Some(End::Refused(status));
    assert!(refused(0, 404) && refused(1, 403) && refused(2, 401) && refused(3, 401));
}

#[tokio::test]
async fn http_faults() {
    let server = start(Faults {
        http_status: Some((302, "<html>moved</html>".to_owned())),
        http_headers: vec![("Location".to_owned(), "http://127.0.0.1/".to_owned())],
        only_first: true,
        ..Faults::default()
    });
    let path = "/api-ws/v1/realtime?model=x";
    let Err(response) = request(&server, path, "Bearer x").await else {
        panic!("the request was not redirected");
    };
    assert_eq!(response.status().as_u16(), 302);
    assert_eq!(response.headers()["location"], "http://127.0.0.1/");
    assert_eq!(response.body().as_deref(), Some(&b"<html>moved</html>"[..]));
    assert!(request(&server, path, "Bearer x").await.is_ok());
}

#[tokio::test]
async fn models() {
    let known_models = Some(vec![MODEL.to_owned()]);
    for (known_models, query, served) in [
        (known_models.clone(), "model=x", Err("Model not found (x)!")),
        (known_models, "model=qwen3-asr-flash-realtime", Ok(MODEL)),
        (None, "model=x", Ok("x")),
        (None, "", Ok("qwen-omni-turbo-realtime")),
    ] {
        let server = Server::start(Options {
            known_models,
            ..Options::default()
        });
        let path = format!("/api-ws/v1/realtime?{query}");
        let mut client = request(&server, &path, "Bearer x").await.unwrap();
        if served.is_ok() {
            client.finish().await;
        }
        let (events, last) = client.rest().await;
        match (served, last) {
            (Ok(model), _) => assert_eq!(events[0]["session"]["model"], model),
            (Err(reason), Some(Message::Close(Some(frame)))) => {
                assert_eq!(u16::from(frame.code), 1007);
                assert_eq!(frame.reason.as_str(), reason);
                assert!(events.is_empty());
            }
            (_, last) => panic!("{last:?}"),
        }
    }
}

#[tokio::test]
async fn limits() {
    let server = Server::start(Options {
        max_connections: 1,
        idle_timeout: Duration::from_secs(1),
        ..Options::default()
    });
    let mut first = Client::new(&server).await;
    assert!(first.0.next().await.unwrap().unwrap().is_text());
    let mut second = Client::new(&server).await;
    let (events, _) = second.rest().await;
    assert_eq!(events.len(), 1);
    assert_eq!(
        events[0]["error"]["message"],
        "connections too much max_connections 1"
    );
    assert_eq!(first.rest_in_short().await, (vec![], Some(1011)));
    drop(first);
    assert!(server.wait_for_connections(|_, open| open == 0, TIMEOUT));
    let server = start(Faults::default());
    let mut third = Client::new(&server).await;
    let big = " ".repeat(offline_service::session::MAX_FRAME + 1);
    third.0.send(Message::text(big)).await.unwrap();
    let (kinds, code) = third.rest_in_short().await;
    assert_eq!((kinds.len(), code), (1, Some(1009)));
}

#[tokio::test]
async fn faults_during_a_session() {
    let faults = Faults {
        close: Some(CloseFault {
            after_ms: 500,
            code: 1011,
            reason: "overload".to_owned(),
        }),
        ..Faults::default()
    };
    let server = start(faults);
    let mut client = Client::new(&server).await;
    client.audio(&blocks::blocks(0..5, 16000)).await;
    let (kinds, code) = client.rest_in_short().await;
    assert_eq!(kinds.len(), 3, "{kinds:?}");
    assert_eq!(code, Some(1011));

    server.set_faults(Faults {
        reset_after_ms: Some(100),
        ..Faults::default()
    });
    let mut client = Client::new(&server).await;
    client.audio(&blocks::blocks(0..1, 16000)).await;
    assert_eq!(client.rest_in_short().await.1, None);
    assert!(server.wait_for(|records| records[1].end == Some(End::Reset), TIMEOUT));

    server.set_faults(Faults {
        fragment: true,
        failed: Items::All,
        inject: vec![
            (0, RawFrame::Ping(vec![1])),
            (0, RawFrame::Text("{\"type\":\"surprise\"}".to_owned())),
        ],
        ..Faults::default()
    });
    let mut client = Client::new(&server).await;
    client.audio(&blocks::blocks(0..1, 16000)).await;
    client.finish().await;
    let (kinds, code) = client.rest_in_short().await;
    assert_eq!(
        kinds,
        [
            "surprise",
            "session.created",
            "input_audio_buffer.speech_started",
            "input_audio_buffer.speech_stopped",
            "input_audio_buffer.committed",
            "conversation.item.created",
            "conversation.item.input_audio_transcription.failed",
            "session.finished",
        ]
    );
    assert_eq!(code, Some(1000));
}

#[tokio::test]
async fn stalls() {
    let server = start(Faults {
        stall_handshake: true,
        only_first: true,
        ..Faults::default()
    });
    let silent = TcpStream::connect(("127.0.0.1", server.port()))
        .await
        .unwrap();
    assert!(server.wait_for_connections(|accepted, open| (accepted, open) == (1, 1), TIMEOUT));
    assert!(server.sessions().is_empty());
    drop(silent);
    assert!(server.wait_for_connections(|_, open| open == 0, TIMEOUT));

    server.set_faults(Faults {
        stall_after_ms: Some(100),
        ..Faults::default()
    });
    let mut client = Client::new(&server).await;
    let mut sent = 0;
    let blocked = async {
        loop {
            client.audio(&blocks::block(1, 16000)).await;
            sent += 1;
        }
    };
    // The client's output backs up: it cannot send all that it wants to.
    tokio::time::timeout(Duration::from_secs(1), blocked)
        .await
        .unwrap_err();
    assert!(sent > 0);
    assert!(server.sessions()[0].audio_bytes() < sent * 3200);
}

#[tokio::test]
async fn a_service_that_stops_sends_its_clients_elsewhere() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(async move {
        offline_service::serve_until(listener, Options::default(), stopped).await;
    });
    let path = format!("/api-ws/v1/realtime?model={MODEL}");
    let mut clients = Vec::new();
    for _ in 0..2 {
        let mut client = request_at(port, &path, "Bearer sk-1").await.unwrap();
        client.until("session.created").await;
        clients.push(client);
    }
    stop.send(()).unwrap();
    for mut client in clients {
        assert_eq!(client.rest_in_short().await.1, Some(1012));
    }
    serving.await.unwrap();
    TcpStream::connect(("127.0.0.1", port)).await.unwrap_err();
}

#[tokio::test]
async fn interventions() {
    let server = start(Faults::default());
    let mut client = Client::new(&server).await;
    let connected = |records: &[offline_service::SessionRecord]| {
        records.iter().all(|record| !record.sent.is_empty())
    };
    assert!(server.wait_for(connected, TIMEOUT));
    server.send_to_all("{\"type\":\"surprise\"}");
    server.close_all(1012, "restart");
    let (kinds, code) = client.rest_in_short().await;
    assert_eq!(kinds, ["session.created", "surprise"]);
    assert_eq!(code, Some(1012));
    let mut client = Client::new(&server).await;
    assert!(client.0.next().await.unwrap().is_ok());
    server.kill_connections();
    let (kinds, code) = client.rest_in_short().await;
    assert_eq!((kinds.len(), code), (0, None));
    assert!(server.wait_for(|records| records[1].end == Some(End::Reset), TIMEOUT));

    let mut client = Client::new(&server).await;
    client.0.close(None).await.unwrap();
    client.rest().await;
    let closed = End::ClientClosed {
        code: None,
        reason: String::new(),
    };
    assert!(server.wait_for(|records| records[2].end == Some(closed.clone()), TIMEOUT));
    let client = Client::new(&server).await;
    drop(client);
    assert!(server.wait_for(|records| records[3].end == Some(End::Disconnected), TIMEOUT));

    let mut client = Client::new(&server).await;
    drop(server);
    client.rest().await;
}

#[tokio::test]
async fn delayed_end() {
    let delay = Duration::from_millis(200);
    let server = start(Faults {
        finished_delay: Some(delay),
        keep_open: true,
        ..Faults::default()
    });
    let mut client = Client::new(&server).await;
    assert!(client.0.next().await.unwrap().is_ok());
    let start = std::time::Instant::now();
    client.finish().await;
    let message = client.0.next().await.unwrap().unwrap();
    assert!(message.to_text().unwrap().contains("session.finished"));
    assert!(start.elapsed() >= delay);
    client.0.close(None).await.unwrap();
    client.rest().await;
    let closed = |records: &[offline_service::SessionRecord]| {
        matches!(records[0].end, Some(End::ClientClosed { .. }))
    };
    assert!(server.wait_for(closed, TIMEOUT));
}
