// SPDX-License-Identifier: MPL-2.0

//! A plain WebSocket client.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use futures_util::{SinkExt, StreamExt};
use offline_service::record::kind;
use offline_service::{Server, blocks};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::Response;
use tokio_tungstenite::tungstenite::http::header::AUTHORIZATION;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

pub const MODEL: &str = "qwen3-asr-flash-realtime";

pub type Refusal = Box<Response<Option<Vec<u8>>>>;

/// Connects with what follows the host in the URL and a value for `Authorization`.
pub async fn request(server: &Server, rest: &str, key: &str) -> Result<Client, Refusal> {
    request_at(server.port(), rest, key).await
}

/// The same for the service at a port.
pub async fn request_at(port: u16, rest: &str, key: &str) -> Result<Client, Refusal> {
    let url = format!("ws://127.0.0.1:{port}{rest}");
    let mut request = url.into_client_request().unwrap();
    request
        .headers_mut()
        .insert(AUTHORIZATION, key.parse().unwrap());
    let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    match client_async(request, stream).await {
        Ok((socket, _)) => Ok(Client(socket)),
        Err(Error::Http(response)) => Err(response),
        Err(error) => panic!("{error}"),
    }
}

pub struct Client(pub WebSocketStream<TcpStream>);

impl Client {
    /// A client of Qwen-ASR-Realtime.
    pub async fn new(server: &Server) -> Self {
        let rest = format!("/api-ws/v1/realtime?model={MODEL}");
        request(server, &rest, "Bearer sk-1").await.unwrap()
    }

    pub async fn send(&mut self, event: Value) {
        self.0.send(Message::text(event.to_string())).await.unwrap();
    }

    pub async fn audio(&mut self, pcm: &[i16]) {
        for chunk in pcm.chunks(1600) {
            let audio = BASE64.encode(blocks::bytes(chunk));
            self.send(json!({"type": "input_audio_buffer.append", "audio": audio}))
                .await;
        }
    }

    pub async fn finish(&mut self) {
        self.send(json!({"type": "session.finish"})).await;
    }

    /// All events up to the next one of this kind.
    pub async fn until(&mut self, wanted: &str) -> Vec<Value> {
        let mut events = Vec::new();
        while let Some(message) = self.0.next().await {
            if let Message::Text(text) = message.unwrap() {
                events.push(serde_json::from_str(&text).unwrap());
                if kind(&events[events.len() - 1]) == wanted {
                    return events;
                }
            }
        }
        panic!("no {wanted} in {events:?}");
    }

    /// The next event.
    pub async fn event(&mut self) -> Value {
        while let Some(message) = self.0.next().await {
            if let Message::Text(text) = message.unwrap() {
                return serde_json::from_str(&text).unwrap();
            }
        }
        panic!("no event");
    }

    /// All that comes until the connection ends, and the message that ended it.
    pub async fn rest(&mut self) -> (Vec<Value>, Option<Message>) {
        let mut events = Vec::new();
        let mut last = None;
        while let Some(Ok(message)) = self.0.next().await {
            match &message {
                Message::Text(text) => events.push(serde_json::from_str(text).unwrap()),
                _ => last = Some(message),
            }
        }
        (events, last)
    }

    /// The kinds of all events that come until the connection ends, and the close code.
    pub async fn rest_in_short(&mut self) -> (Vec<String>, Option<u16>) {
        let (events, last) = self.rest().await;
        let code = match last {
            Some(Message::Close(Some(frame))) => Some(frame.code.into()),
            _ => None,
        };
        let kinds = events.iter().map(|event| kind(event).to_owned());
        (kinds.collect(), code)
    }
}
