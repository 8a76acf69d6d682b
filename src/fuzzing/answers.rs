// SPDX-License-Identifier: MPL-2.0
//! Runs the opening of a connection against the answer of a server or proxy, and checks what `net`
//! promises: bounded reading, the same outcome whatever the packets, and no secret in an error.

use super::decode::check_failure;
use super::{number, steps, text_of};
use crate::net::answers::{Answer, Outcome};
use crate::protocol::{
    Codec, Endpoint, EndpointSettings, Failure, KeySource, Protocol, Recognition, Refusal, Secret,
    TurnDetection,
};

/// The key that is sent, which the answer may quote as `{key}`.
const KEY: &str = "sk-6f1e5ec3e7b2a4d8";

/// A password for proxies, which no error may show.
const PASSWORD: &str = "hunter2secret";

/// Longest answer of a script, in bytes: more than all that is read of one.
const MAX_ANSWER: usize = 300 << 10;

/// More than is read of any answer that opens no connection: a head and a body, each read beyond
/// its limit by a buffer at most.
const MAX_READ: usize = 256 << 10;

/// The second of the ways in which an answer is split into packets.
const OTHER_PACKET: usize = 7;

/// Runs a script. Its first line is `server`, which is asked for a WebSocket, or the address of a
/// proxy, which is asked for a connection. The steps make up the answer, one packet each, after
/// which the connection is closed:
///
/// | | |
/// |---|---|
/// | `<…` | A line, with CR LF at its end |
/// | `-…` | A text without line end |
/// | `=0d0a…` | Bytes in hexadecimal digits |
/// | `*50` | The packet before once more, this many times |
///
/// `{accept}` in a head is the answer to the key of the upgrade, `{key}` the API key.
///
/// # Panics
///
/// If a promise is broken.
pub fn answers(input: &[u8]) {
    let input = text_of(input);
    let (peer, rest) = input.split_once('\n').unwrap_or((&input, ""));
    let packets = packets(rest);
    let scripted = Answer {
        bytes: packets.concat(),
        packets: packets.iter().map(Vec::len).collect(),
    };
    let other = Answer {
        packets: vec![OTHER_PACKET],
        ..scripted.clone()
    };
    if peer == "server" {
        let endpoint = endpoint("ws://127.0.0.1/asr", Some(KEY));
        let [one, two] = [scripted, other].map(|answer| {
            let answered = answer.to_upgrade(&endpoint);
            if let (Outcome::Failed(failure), _) = &answered {
                assert!(!failure.to_string().contains(KEY), "{failure}");
            }
            check(answered)
        });
        assert!(one.agrees(&two), "{one:?} {two:?}");
        return;
    }
    let endpoint = endpoint("ws://asr.invalid", None);
    let host = match peer.contains("socks5h") {
        true => "asr.invalid",
        // Names would be looked up.
        false => "192.0.2.1",
    };
    // The host is shown, and may be the password in other characters than those of plain hosts.
    let host_of_proxy = peer.rsplit('@').next().unwrap_or_default();
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || b"0123456789.:-".contains(&byte);
    let is_other = host_of_proxy.bytes().all(is_plain) && !host_of_proxy.contains(PASSWORD);
    let check_secret = |failure: &Failure| {
        let shown = failure.to_string();
        assert!(!is_other || !shown.contains(PASSWORD), "{shown}");
    };
    let asked = [scripted, other].map(|answer| match answer.to_proxied(&endpoint, peer, host) {
        Ok(asked) => {
            if let Some((Outcome::Failed(failure), _)) = &asked {
                check_secret(failure);
            }
            asked.map(check)
        }
        Err(failure) => {
            check_failure(&failure);
            check_secret(&failure);
            None
        }
    });
    if let [Some(one), Some(two)] = &asked {
        assert!(one.agrees(two), "{one:?} {two:?}");
    }
}

fn endpoint(url: &str, key: Option<&str>) -> Endpoint {
    let settings = EndpointSettings {
        url: Some(url.into()),
        model: "m".into(),
        key: key.and_then(Secret::new).map(KeySource::Given),
        ..EndpointSettings::default()
    };
    Endpoint::new(settings, Protocol::Realtime).expect("these settings are right")
}

fn packets(script: &str) -> Vec<Vec<u8>> {
    let mut packets: Vec<Vec<u8>> = Vec::new();
    let mut length = 0;
    for (letter, rest) in steps(script) {
        let text = rest.replace("{key}", KEY).into_bytes();
        let packet = match letter {
            b'<' => [text, b"\r\n".to_vec()].concat(),
            b'-' => text,
            b'=' => bytes(rest),
            b'*' => {
                let times = number(rest, MAX_ANSWER as u64) as usize;
                let Some(packet) = packets.last().filter(|packet| !packet.is_empty()) else {
                    continue;
                };
                packet.repeat(times.min(MAX_ANSWER / packet.len()))
            }
            _ => continue,
        };
        length += packet.len();
        if length > MAX_ANSWER {
            break;
        }
        packets.push(packet);
    }
    packets
}

/// Bytes from hexadecimal digits; whatever else there is does not count.
fn bytes(digits: &str) -> Vec<u8> {
    let digits: Vec<u8> = digits
        .chars()
        .filter_map(|digit| Some(digit.to_digit(16)? as u8))
        .collect();
    let pairs = digits.chunks_exact(2);
    pairs.map(|pair| 16 * pair[0] + pair[1]).collect()
}

/// What an outcome comes to, in whatever packets the answer came.
#[derive(Debug, PartialEq)]
enum Gist {
    Open(Vec<u8>),
    Refused(u16, String),
    Failed(&'static str, Option<u16>),
    /// More was sent than is read: how much of it counts depends on the packets.
    Endless,
}

impl Gist {
    /// Whether this is the outcome of the same answer, in other packets, as the other one.
    fn agrees(&self, other: &Self) -> bool {
        let is_endless = |gist: &Self| *gist == Self::Endless;
        self == other
            || is_endless(self)
            || is_endless(other)
            || self.is_early(other)
            || other.is_early(self)
    }

    /// What an HTTP proxy sends before its connection is used is seen only if it comes with the
    /// head; then that is a failure.
    fn is_early(&self, other: &Self) -> bool {
        matches!(self, Self::Open(bytes) if !bytes.is_empty())
            && *other == Self::Failed("unreachable", None)
    }
}

fn check((outcome, read): (Outcome, usize)) -> Gist {
    const LONG: usize = 60 << 10;
    if !matches!(outcome, Outcome::Open(_)) {
        assert!(read < MAX_READ, "{read} bytes were read");
    }
    let gist = match outcome {
        Outcome::Open(bytes) => return Gist::Open(bytes),
        Outcome::Refused {
            status,
            body,
            retry_after,
        } => {
            let refusal = Refusal {
                status,
                body: &body,
                retry_after,
                has_key: true,
            };
            for protocol in [Protocol::Realtime, Protocol::Vllm] {
                let failure = codec(protocol).refused(&refusal).without(KEY);
                check_failure(&failure);
                let shown = format!("{failure} {:?}", failure.code);
                assert!(!shown.contains(KEY), "{shown}");
            }
            Gist::Refused(status, body)
        }
        Outcome::Failed(failure) => {
            check_failure(&failure);
            Gist::Failed(failure.kind.nick(), failure.http_status)
        }
    };
    if read < LONG { gist } else { Gist::Endless }
}

fn codec(protocol: Protocol) -> Box<dyn Codec> {
    let setup = protocol.set_up(Recognition {
        model: "m".into(),
        model_property: "model",
        language: None,
        context: None,
        vocabulary: Vec::new(),
        vocabulary_id: None,
        translation: None,
        parameters: Vec::new(),
        rate: 16_000,
        coding: Default::default(),
        turn_detection: TurnDetection::Manual,
        official: false,
    });
    (setup.expect("these settings are right").codecs)()
}
