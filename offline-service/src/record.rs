// SPDX-License-Identifier: MPL-2.0

//! What happened on the connections, for tests to look at.

use serde_json::Value;

use crate::opus::Contents;

/// Something a client sent.
#[derive(Clone, Debug, PartialEq)]
pub enum ClientEvent {
    /// An event other than accepted audio, as it was sent.
    Event(Value),
    /// Accepted audio. In a [`SessionRecord`], appends without another event between them
    /// are one entry.
    Audio {
        /// Number of `input_audio_buffer.append` events, or of binary frames with audio.
        appends: usize,
        /// Bytes of audio in them, after Base64.
        bytes: usize,
    },
    /// A text frame that is no event.
    Garbage(String),
    /// A binary frame of this many bytes that is not accepted as audio.
    Binary(usize),
}

impl ClientEvent {
    /// One frame with this many bytes of audio.
    pub(super) fn audio(bytes: usize) -> Self {
        Self::Audio { appends: 1, bytes }
    }

    /// What an event is, see [`kind`]; that of an append for audio, and empty for other frames.
    pub fn kind(&self) -> &str {
        match self {
            Self::Event(event) => kind(event),
            Self::Audio { .. } => "input_audio_buffer.append",
            Self::Garbage(_) | Self::Binary(_) => "",
        }
    }
}

/// What an event is: its `type`, or with tasks its `action` or `event`.
pub fn kind(event: &Value) -> &str {
    let header = &event["header"];
    let kinds = [&event["type"], &header["action"], &header["event"]];
    let kind = kinds.into_iter().find_map(Value::as_str);
    kind.unwrap_or_default()
}

/// The final transcript that is in an event of the service, if there is one.
pub fn transcript(event: &Value) -> Option<&str> {
    match kind(event) {
        "conversation.item.input_audio_transcription.completed" => event["transcript"].as_str(),
        "transcription.done" => event["text"].as_str(),
        "result-generated" => {
            let sentence = &event["payload"]["output"]["sentence"];
            let text = sentence["text"].as_str();
            text.filter(|_| sentence["end_time"].is_number())
        }
        _ => None,
    }
}

/// How a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The upgrade was refused with this HTTP status.
    Refused(u16),
    /// The service sent the first close frame.
    ServerClosed {
        /// Close code.
        code: u16,
        /// Reason in the close frame.
        reason: String,
    },
    /// The client sent the first close frame.
    ClientClosed {
        /// Close code, `None` if the frame had none.
        code: Option<u16>,
        /// Reason in the close frame.
        reason: String,
    },
    /// The service reset the TCP connection.
    Reset,
    /// The client's side of the connection ended without a close frame.
    Disconnected,
}

/// A stream of audio in a format of the client's choice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AudioStream {
    /// The format that the client asked for, such as `pcm` or `opus`.
    pub format: String,
    /// Samples per second that it asked for.
    pub rate: u32,
    /// With Opus, what was decoded.
    pub contents: Contents,
}

/// What there is to know about a stream of audio, besides what was received.
#[derive(Clone, Debug, PartialEq)]
pub enum StreamNews {
    /// It begins.
    Began(AudioStream),
    /// This was decoded of Opus.
    Decoded(Contents),
}

/// What happened on one connection whose HTTP request was read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SessionRecord {
    /// Number of the connection, counted from 0 in the order of their acceptance.
    pub connection: usize,
    /// Path of the request.
    pub path: String,
    /// Query of the request, without the question mark.
    pub query: String,
    /// Headers of the request, their names in lower case.
    pub headers: Vec<(String, String)>,
    /// What the client sent, in order.
    pub received: Vec<ClientEvent>,
    /// The streams whose format the client chose, in order: one for each accepted `session.update`
    /// of Qwen-ASR-Realtime, and one for each task.
    pub streams: Vec<AudioStream>,
    /// The events sent to the client, in order, as far as faults let them through. Raw frames
    /// are not among them. The transmission of the latest one may be under way.
    pub sent: Vec<Value>,
    /// Number of WebSocket pings the client sent.
    pub pings: usize,
    /// How the connection ended, `None` as long as it is open.
    pub end: Option<End>,
}

impl SessionRecord {
    /// The first header `name`, which is given in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// The received events of this [`kind`]. Audio is not among them.
    pub fn received_events<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.received.iter().filter_map(move |event| match event {
            ClientEvent::Event(value) if self::kind(value) == kind => Some(value),
            _ => None,
        })
    }

    /// The sent events of this [`kind`].
    pub fn sent_events<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        let sent = self.sent.iter();
        sent.filter(move |event| self::kind(event) == kind)
    }

    /// The transcripts that were sent as final ones, in order.
    pub fn transcripts(&self) -> Vec<&str> {
        self.sent.iter().filter_map(transcript).collect()
    }

    /// Bytes of audio received, after Base64.
    pub fn audio_bytes(&self) -> usize {
        self.received
            .iter()
            .map(|event| match event {
                ClientEvent::Audio { bytes, .. } => *bytes,
                _ => 0,
            })
            .sum()
    }

    /// Whether the upgrade was accepted and the connection is open.
    pub fn is_open(&self) -> bool {
        self.end.is_none()
    }

    pub(super) fn push_news(&mut self, news: StreamNews) {
        match (news, self.streams.last_mut()) {
            (StreamNews::Began(stream), _) => self.streams.push(stream),
            (StreamNews::Decoded(more), Some(stream)) => stream.contents.extend(more),
            // What is decoded has begun.
            (StreamNews::Decoded(_), None) => {}
        }
    }

    pub(super) fn push_received(&mut self, event: ClientEvent) {
        if let ClientEvent::Audio {
            appends: more,
            bytes: added,
        } = event
            && let Some(ClientEvent::Audio { appends, bytes }) = self.received.last_mut()
        {
            *appends += more;
            *bytes += added;
        } else {
            self.received.push(event);
        }
    }
}
