// SPDX-License-Identifier: MPL-2.0
//! The offline service, and what tells the element to use it.

use offline_service::{Faults, Options, Server, SessionRecord};

use super::checks::check_cues_within;
use super::*;

/// A service that does not mind how fast the audio comes.
pub fn server(change: impl FnOnce(&mut Options)) -> Server {
    init();
    let mut options = Options {
        rate_limit: false,
        ..Options::default()
    };
    change(&mut options);
    Server::start(options)
}

/// The languages that the sessions of the realtime protocol were told of, in the order of their
/// connections.
pub fn languages_asked(server: &Server) -> Vec<String> {
    let sessions = server.sessions();
    let updates = sessions
        .iter()
        .flat_map(|session| session.received_events("session.update"));
    updates
        .map(|update| {
            let language = &update["session"]["input_audio_transcription"]["language"];
            language.as_str().unwrap_or("none").to_owned()
        })
        .collect()
}

/// The service in one of its protocols.
pub struct Service {
    server: Server,
    pub protocol: Protocol,
}

impl Service {
    /// What tells the element to use it.
    pub fn properties(&self) -> String {
        self.properties_at(&format!("127.0.0.1:{}", self.port()))
    }

    /// The same for another way to get there.
    pub fn properties_at(&self, address: &str) -> String {
        let own = format!("127.0.0.1:{}", self.port());
        let url = self.url_for(self.protocol).replacen(&own, address, 1);
        let others = match self.protocol {
            Protocol::Realtime => "",
            // With settings of its own, the detection of speech is that of the other models.
            Protocol::LiveTranslate => {
                "model=qwen3.8-livetranslate-flash-realtime vad-threshold=0.5"
            }
            Protocol::Inference => "model=fun-asr-realtime",
            Protocol::Vllm => "model=qwen3-asr turn-detection=client-vad",
            Protocol::OpenAi => "model=qwen3-asr turn-detection=client-vad protocol=realtime",
            Protocol::SglangOmni => "model=qwen3-asr",
        };
        format!("url={url} {others}")
    }

    /// The connections that so many utterances of one session take, if all goes well.
    pub fn connections_for(&self, utterances: usize) -> usize {
        match self.protocol {
            Protocol::Vllm => utterances,
            _ => 1,
        }
    }

    /// Bytes of audio that came, over all connections.
    pub fn audio_bytes(&self) -> usize {
        let sessions = self.sessions();
        sessions.iter().map(SessionRecord::audio_bytes).sum()
    }

    /// Every word once and in order, every cue where its words were said: to the sample, where
    /// the service says when that was, and some milliseconds for how it looks at the audio.
    pub fn check_cues(&self, speech: &Speech, cues: &[(String, u64, u64)], offset_ms: u64) {
        let tolerance = match self.protocol {
            Protocol::Inference => 20,
            _ => 100,
        };
        check_cues_within(tolerance, speech, cues, offset_ms);
    }
}

impl std::ops::Deref for Service {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

/// The faults of the first connections that make something happen at a moment, in milliseconds, of
/// the audio that is sent: `faults` says what, for a moment of one connection. With a connection
/// for each utterance, `utterances` are the lengths of the first ones, with what is sent around
/// them.
pub fn faults_at(
    protocol: Protocol,
    mut moment: u64,
    utterances: &[u64],
    faults: impl FnOnce(u64) -> Faults,
) -> Vec<Faults> {
    let mut first = Vec::new();
    if protocol == Protocol::Vllm {
        for length in utterances {
            if moment < *length {
                break;
            }
            moment -= length;
            first.push(Faults::default());
        }
    }
    first.push(faults(moment));
    first
}

/// A service that speaks this protocol, and does not mind how fast the audio comes.
pub fn service(protocol: Protocol, change: impl FnOnce(&mut Options)) -> Service {
    let server = server(|options| {
        options.protocols = vec![protocol];
        change(options);
    });
    Service { server, protocol }
}
