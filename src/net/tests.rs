// SPDX-License-Identifier: MPL-2.0
//! Tests sessions over real sockets, with settings that no property exposes.

use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::time::Duration;

use offline_service::{Options, Server, blocks};
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::{Message, WebSocket, accept};

use super::*;
use crate::audio::{Coding, Format, pcm};
use crate::protocol::{
    Endpoint, EndpointSettings, Protocol, Recognition, Region, TurnDetection, Usage,
};
use crate::session::{Config, Model, Models, Notice, RetryPolicy, SentAudio, State};
use crate::timeline::Timestamp;

const RATE: u32 = 16_000;
const CHUNK: usize = 3200;

/// Anything that takes this long hangs.
const LONG: Duration = Duration::from_secs(60);

#[derive(Clone, Default)]
struct Heard(Arc<(Mutex<Vec<Notice>>, Condvar)>);

impl Listener for Heard {
    fn notice(&mut self, notice: Notice) {
        self.0.0.lock().unwrap().push(notice);
        self.0.1.notify_all();
    }

    fn usage(&mut self, _sent: SentAudio, _billed: Usage) {}

    fn is_congested(&self) -> bool {
        false
    }

    fn remarks(&self) -> Remarks {
        Arc::new(|_| {})
    }
}

impl Heard {
    fn until_drained(&self) -> Vec<Notice> {
        let notices = self.0.0.lock().unwrap();
        let going_on = |notices: &mut Vec<Notice>| {
            !matches!(
                notices.last(),
                Some(Notice::Drained | Notice::Failed { .. })
            )
        };
        let (notices, waited) = self
            .0
            .1
            .wait_timeout_while(notices, LONG, going_on)
            .unwrap();
        assert!(!waited.timed_out(), "{notices:?}");
        notices.clone()
    }
}

fn config() -> Config {
    Config {
        coding: Coding::Pcm,
        rate: RATE,
        chunk: pcm::samples(CHUNK),
        max_speed: 20.0,
        client_vad: None,
        context: None,
        connect_timeout: LONG,
        response_timeout: LONG,
        finish_timeout: LONG,
        backlog: pcm::samples(1 << 20),
        retry: RetryPolicy {
            keep_going: false,
            max_retries: Some(0),
            addresses: 1,
        },
        rotate_after: LONG,
        is_live: false,
        pause: Duration::from_millis(600),
        seed: 1,
    }
}

fn models(protocol: Protocol, model: &str, turn_detection: TurnDetection) -> Models {
    let recognition = Recognition {
        model: model.into(),
        model_property: "model",
        language: None,
        context: None,
        vocabulary: Vec::new(),
        vocabulary_id: None,
        translation: None,
        parameters: Vec::new(),
        coding: Coding::Pcm,
        rate: RATE,
        turn_detection,
        official: false,
    };
    let model = Model {
        name: model.to_owned(),
        codecs: protocol.set_up(recognition).unwrap().codecs,
    };
    model.into()
}

fn addresses(port: u16, protocol: Protocol, model: &str) -> Vec<Vec<Endpoint>> {
    let settings = EndpointSettings {
        url: Some(format!("ws://127.0.0.1:{port}")),
        region: Region::Singapore,
        model: model.into(),
        ..EndpointSettings::default()
    };
    vec![vec![Endpoint::new(settings, protocol).unwrap()]]
}

#[test]
fn connections_are_replaced_between_utterances_and_every_word_comes_once() {
    let server_vad = TurnDetection::ServerVad {
        threshold: Some(0.0),
        silence_ms: 400,
    };
    let (ours, tasks) = ("qwen3-asr-flash-realtime", "fun-asr-realtime");
    for (protocol, model, turn_detection) in [
        (Protocol::Realtime, ours, server_vad),
        (Protocol::Realtime, ours, TurnDetection::Manual),
        (Protocol::Inference, tasks, server_vad),
    ] {
        let server = Server::start(Options {
            rate_limit: false,
            ..Options::default()
        });
        let config = Config {
            rotate_after: Duration::from_millis(300),
            ..config()
        };
        let queue = Arc::new(AudioQueue::new(
            Format::pcm(RATE),
            pcm::samples(1 << 24),
            pcm::samples(CHUNK),
        ));
        let heard = Heard::default();
        let _link = spawn(
            addresses(server.port(), protocol, model),
            config,
            models(protocol, model, turn_detection),
            queue.clone(),
            heard.clone(),
        )
        .unwrap();
        let push = |jump, samples: &[i16]| {
            queue
                .push(jump, &blocks::bytes(samples), Full::Wait)
                .unwrap();
        };
        push(Some(Timestamp::default()), &blocks::silence(500, RATE));
        let words = 0..200u32;
        for n in words.clone() {
            push(None, &blocks::block(n, RATE));
            if n % 10 == 9 {
                push(None, &blocks::silence(900, RATE));
                queue.commit();
            }
        }
        queue.finish();
        let notices = heard.until_drained();
        let mut said = Vec::new();
        let (mut rotations, mut states) = (0, Vec::new());
        for notice in &notices {
            match notice {
                Notice::Final(transcript) => said.push(transcript.text.as_str()),
                Notice::Rotated { session_id } => {
                    assert!(session_id.is_some());
                    rotations += 1;
                }
                Notice::State { state, .. } => states.push(*state),
                Notice::Outage { .. } | Notice::Warning(_) | Notice::AudioLost { .. } => {
                    panic!("{notice:?}");
                }
                _ => {}
            }
        }
        let expected: Vec<String> = words.map(|n| format!("w{n:04}")).collect();
        let said: Vec<&str> = said.iter().flat_map(|t| t.split_whitespace()).collect();
        assert_eq!(said, expected);
        use State::*;
        assert_eq!(states, [Connecting, Connected, Finishing, Idle]);
        assert!(rotations >= 2, "{rotations}");
        let mut sessions = server.sessions();
        // Another one may just have been opened, or have taken over, when the audio ended.
        sessions.retain(|session| session.audio_bytes() > 0);
        let expected = rotations..=rotations + 1;
        assert!(expected.contains(&sessions.len()), "{}", sessions.len());
        if protocol == Protocol::Realtime {
            for session in &sessions {
                let finishes = session.received_events("session.finish").count();
                assert_eq!(finishes, 1, "each in good order");
            }
        }
    }
}

/// What a service sends without end.
#[derive(Debug, Clone, Copy)]
enum Flood {
    Pings,
    /// Utterances with nearly as much text as one may have.
    Finals,
}

/// A service that sends without end once the session is set up. Returns its port, and tells how much
/// audio has come, in bytes of base64.
fn flooding(flood: Flood) -> (u16, mpsc::Receiver<usize>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (heard, hears) = mpsc::channel();
    std::thread::spawn(move || {
        let stream = listener.accept().unwrap().0;
        let mut reader = accept(stream.try_clone().unwrap()).unwrap();
        let session = |kind: &str| Message::text(format!(r#"{{"type":"{kind}","session":{{}}}}"#));
        reader.send(session("session.created")).unwrap();
        while !reader
            .read()
            .unwrap()
            .to_string()
            .contains("session.update")
        {}
        let mut writer = WebSocket::from_raw_socket(stream, Role::Server, None);
        std::thread::spawn(move || {
            let prefix = "conversation.item.input_audio_transcription";
            let text = "x".repeat(60_000);
            let mut message = session("session.updated");
            // Until the other side has had enough.
            for n in 0.. {
                if writer.send(message).is_err() {
                    break;
                }
                message = match flood {
                    Flood::Pings => Message::Ping(vec![0; 100].into()),
                    Flood::Finals => Message::text(format!(
                        r#"{{"type":"{prefix}.completed","item_id":"{n}","transcript":"{text}"}}"#
                    )),
                };
            }
        });
        while let Ok(message) = reader.read() {
            let text = message.to_string();
            if let Some((_, audio)) = text.split_once(r#""audio":""#) {
                let _ = heard.send(audio.find('"').unwrap_or_default());
            }
        }
    });
    (port, hears)
}

#[test]
fn a_flood_is_read_in_measure_and_holds_up_no_audio() {
    const SECONDS: usize = 20;
    for flood in [Flood::Pings, Flood::Finals] {
        let (port, hears) = flooding(flood);
        let heard = Heard::default();
        let queue = Arc::new(AudioQueue::new(
            Format::pcm(RATE),
            pcm::samples(1 << 24),
            pcm::samples(CHUNK),
        ));
        let model = "qwen3-asr-flash-realtime";
        let _link = spawn(
            addresses(port, Protocol::Realtime, model),
            config(),
            models(Protocol::Realtime, model, TurnDetection::Manual),
            queue.clone(),
            heard.clone(),
        )
        .unwrap();
        let audio = vec![0x11; SECONDS * 2 * RATE as usize];
        let begin = Some(Timestamp::default());
        queue.push(begin, &audio, Full::Wait).unwrap();
        let mut missing = audio.len() / 3 * 4;
        while missing > 0 {
            let bytes = hears.recv_timeout(LONG);
            let bytes = bytes.unwrap_or_else(|_| panic!("{flood:?}: {missing} are missing"));
            missing = missing.saturating_sub(bytes);
        }
        // As much as is saved up, and as the audio earns.
        let notices = heard.0.0.lock().unwrap();
        let is_text = |notice: &&Notice| matches!(notice, Notice::Final(_));
        let texts = notices.iter().filter(is_text).count();
        assert!(texts < 250, "{texts} of them were read");
        assert!(
            !notices
                .iter()
                .any(|notice| matches!(notice, Notice::Outage { .. }))
        );
    }
}
