// SPDX-License-Identifier: MPL-2.0
//! Runs a whole session with a real codec, driven as the network driver does, and captions its
//! results.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::captions::Captions;
use super::{CONTEXT, format, number, set_up, steps, text_of};
use crate::audio::{Coding, opus, pcm};
use crate::protocol::{CodecFactory, Failure, Incoming, Kind, Refusal};
use crate::session::{
    ClientVad, Config, ConnId, Demand, Model, Models, Net, Notice, Output, RetryPolicy, Session,
    State,
};
use crate::timeline::{Samples, Timestamp};
use crate::transcript::{Transcript, Utterance};

/// Maximum number of audio chunks and timeouts of one input: they take time.
const MAX_CHUNKS: u32 = 200;

/// The same with client VAD, which takes longer.
const MAX_HEARD: u32 = 30;

/// The state of a connection, as the owner of the socket sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wire {
    Opening,
    Open,
}

/// Length of the audio handed over at once.
const CHUNK: Duration = Duration::from_millis(100);

/// Drives the session, and checks its guarantees.
struct Driver {
    session: Session,
    /// The words of the set-up.
    words: String,
    now: Duration,
    /// Timestamp of the next audio.
    time: Timestamp,
    chunks: u32,
    max_chunks: u32,
    wires: BTreeMap<ConnId, Wire>,
    watermark: Timestamp,
    seq: u64,
    /// Utterances with interim text, but no final yet, and those that are final.
    open: BTreeSet<Utterance>,
    done: BTreeSet<Utterance>,
    state: State,
    /// Number of times that the session reported its end.
    ended: u32,
    captions: Captions,
}

/// Runs a script on a session. The first line may also say `client-vad`, `continue` (never give
/// up), `limited` (give up after two attempts), `rotate` (replace connections after ten seconds),
/// `short` (keep little audio), `live` (notice when audio stops) and `fast` (send audio at 50 times its speed).
///
/// | | |
/// |---|---|
/// | `o` | The connection opens |
/// | `<…`, `&…` | A text frame arrives, a binary one |
/// | `x1011 …` | The connection is closed with this code and reason |
/// | `h429 …`, `u` | The connection is refused, cannot be opened |
/// | `p` | A pong arrives |
/// | `O`, `>…`, `X…`, `H…`, `U`, `P` | The same for the second connection |
/// | `a300`, `s300` | This many milliseconds of audio; of silence |
/// | `j5000` | The timestamps jump forward by this many milliseconds |
/// | `w1000` | This many milliseconds pass, with all timeouts that are due |
/// | `c`, `f`, `e` | An utterance is committed, the audio ends, the end is announced |
/// | `C…` | The context changes, and with `!` in it the other settings, too |
///
/// # Panics
///
/// If the session breaks a guarantee.
pub fn session(input: &[u8]) {
    let input = text_of(input);
    let (first, rest) = input.split_once('\n').unwrap_or((&input, ""));
    let Some(mut driver) = Driver::new(first) else {
        return;
    };
    driver.drain();
    for (letter, rest) in steps(rest) {
        driver.step(letter, rest);
        driver.drain();
    }
    driver.end();
}

fn models(codecs: CodecFactory) -> Models {
    let name = "m".to_owned();
    Model { name, codecs }.into()
}

impl Driver {
    fn new(words: &str) -> Option<Self> {
        let has = |word: &str| words.split(' ').any(|other| other == word);
        let setup = set_up(words)?;
        let finds_utterances = has("client-vad") || setup.lacks_vad && !has("manual");
        let seconds = Duration::from_secs;
        let config = Config {
            rate: format(words).clock_rate(),
            coding: format(words).coding,
            chunk: Samples::within(CHUNK, format(words).clock_rate()),
            max_speed: if has("fast") { 50.0 } else { 0.0 },
            client_vad: finds_utterances.then_some(ClientVad {
                threshold: 0.0,
                silence_ms: 200,
            }),
            context: has("context").then(|| CONTEXT.into()),
            connect_timeout: seconds(10),
            response_timeout: seconds(15),
            finish_timeout: seconds(20),
            backlog: Samples(if has("short") { 8_000 } else { 480_000 }),
            retry: RetryPolicy {
                keep_going: has("continue"),
                max_retries: has("limited").then_some(2),
                addresses: 1,
            },
            rotate_after: seconds(if has("rotate") { 10 } else { 6000 }),
            is_live: has("live"),
            pause: Duration::from_millis(400),
            seed: 7,
        };
        Some(Driver {
            words: words.to_owned(),
            session: Session::new(config, models(setup.codecs), Duration::ZERO),
            now: Duration::ZERO,
            time: Timestamp::default(),
            chunks: 0,
            max_chunks: if finds_utterances {
                MAX_HEARD
            } else {
                MAX_CHUNKS
            },
            wires: BTreeMap::new(),
            open: BTreeSet::new(),
            done: BTreeSet::new(),
            watermark: Timestamp::default(),
            seq: 0,
            state: State::Idle,
            ended: 0,
            captions: Captions::new(),
        })
    }

    /// Carries out a step, if it is possible.
    fn step(&mut self, letter: u8, rest: &str) {
        let (session, now) = (&mut self.session, self.now);
        match letter {
            b'a' => self.hear(0x55, number(rest, 4000)),
            b's' => self.hear(0, number(rest, 4000)),
            b'j' => {
                let jump = Duration::from_millis(number(rest, u64::MAX / 2_000_000));
                self.time = self.time + jump;
            }
            b'w' => self.wait(Duration::from_millis(number(rest, 10_000_000))),
            b'c' => session.handle_commit(now),
            b'f' => session.handle_finish(now),
            b'e' => session.handle_end_announced(now),
            b'C' => {
                let context = (!rest.is_empty()).then(|| rest.to_owned());
                if let Some(setup) = set_up(&self.words) {
                    session.handle_settings(models(setup.codecs), context, rest.contains('!'), now);
                }
            }
            b'O' => self.happen(false, b'o', rest),
            b'>' => self.happen(false, b'<', rest),
            letter @ (b'X' | b'U' | b'H' | b'P') => {
                self.happen(false, letter.to_ascii_lowercase(), rest)
            }
            letter => self.happen(true, letter, rest),
        }
    }

    /// An event on the serving connection, or on the second one.
    fn happen(&mut self, serves: bool, letter: u8, rest: &str) {
        let serving = self.session.serving();
        let mut wires = self.wires.iter_mut();
        let Some((id, wire)) = wires.find(|(id, _)| (Some(**id) == serving) == serves) else {
            return;
        };
        let code = number(rest, u16::MAX.into()) as u16;
        let code = (code > 0).then_some(code);
        let net = match (letter, *wire) {
            (b'o', Wire::Opening) => {
                *wire = Wire::Open;
                Net::Connected
            }
            (b'q', Wire::Opening) => Net::Queued,
            (b'i', Wire::Opening) => Net::Admitted,
            (b'<', Wire::Open) => Net::Frame(Incoming::Text(rest)),
            (b'&', Wire::Open) => Net::Frame(Incoming::Binary(rest.as_bytes())),
            (b'x', Wire::Open) => Net::Closed { code, reason: rest },
            (b'h', Wire::Opening) => Net::Refused(Refusal {
                status: code.unwrap_or(500),
                body: rest,
                has_key: false,
                retry_after: rest.parse().ok().map(Duration::from_secs),
            }),
            (b'u', Wire::Opening) => {
                let kind = if rest == "host" {
                    Kind::UnknownHost
                } else {
                    Kind::Unreachable
                };
                Net::Unreachable(Failure::new(kind, "No.", "Wait.").unanswered())
            }
            (b'p', Wire::Open) => Net::Alive,
            _ => return,
        };
        self.session.handle_net(*id, net, self.now);
    }

    /// Hands over this many milliseconds of audio, after the replay.
    fn hear(&mut self, byte: u8, ms: u64) {
        let mut left = ms.div_ceil(100);
        while left > 0 {
            self.chunks += 1;
            if self.chunks > self.max_chunks {
                return;
            }
            match self.session.poll_audio(self.now) {
                Demand::Nothing => return,
                Demand::NotBefore { time, .. } => self.wait(time.saturating_sub(self.now)),
                Demand::Replayed => {}
                Demand::Chunk { least, most } if least < most => {
                    assert!(self.session.handle_shortage(self.now));
                }
                Demand::Chunk { most, .. } => {
                    let audio = self.sound(byte, most);
                    self.session.handle_audio(self.time, &audio, self.now);
                    self.time = self.time + CHUNK;
                    left -= 1;
                }
            }
            self.drain();
        }
    }

    /// Audio of this length.
    fn sound(&self, byte: u8, length: Samples) -> Vec<u8> {
        match format(&self.words).coding {
            Coding::Pcm => vec![byte; pcm::bytes(length)],
            Coding::Opus => opus::framed(&[0x48, byte, 0], Samples(0))
                .map(|packet| packet.repeat((length.0 / 960) as usize))
                .unwrap_or_default(),
        }
    }

    /// Time passes, with all timeouts that become due.
    fn wait(&mut self, length: Duration) {
        let end = self.now + length;
        let mut rings = 0;
        while let Some((due, why)) = self.session.poll_timeout()
            && due <= end
        {
            rings = if due > self.now { 0 } else { rings + 1 };
            assert!(rings < 8, "the alarm does not cease to ring for {why:?}");
            self.now = self.now.max(due);
            self.session.handle_timeout(self.now);
            self.drain();
            self.chunks += 1;
            if self.chunks > self.max_chunks {
                return;
            }
        }
        self.now = end;
    }

    fn drain(&mut self) {
        while let Some(output) = self.session.poll_output() {
            match output {
                Output::Connect(id) => {
                    assert!(self.wires.len() < 2, "three connections");
                    let before = self.wires.insert(id, Wire::Opening);
                    assert_eq!(before, None, "an id of its own");
                }
                Output::Send(id, _) | Output::Ping(id) => {
                    assert_eq!(self.wires.get(&id), Some(&Wire::Open));
                }
                Output::Close(id) => assert!(self.wires.remove(&id).is_some()),
                Output::Notice(notice) => self.learn(notice),
            }
        }
        assert_eq!(
            self.session.poll_timeout().is_none(),
            self.session.is_over()
        );
    }

    fn learn(&mut self, notice: Notice) {
        assert_eq!(self.ended, 0, "nothing comes after the end: {notice:?}");
        match notice {
            Notice::State { state, .. } => self.state = state,
            Notice::Interim(transcript) => {
                assert!(!self.done.contains(&transcript.utterance), "{transcript:?}");
                self.open.insert(transcript.utterance);
                self.check(&transcript);
                self.captions.interim(&transcript);
            }
            Notice::Final(transcript) => {
                assert_eq!(transcript.stash, "");
                self.open.remove(&transcript.utterance);
                assert!(self.done.insert(transcript.utterance), "{transcript:?}");
                self.check(&transcript);
                self.captions.finalise(&transcript);
            }
            Notice::Watermark { time } => {
                assert!(time > self.watermark, "time goes back");
                self.watermark = time;
                self.captions.watermark(time);
            }
            Notice::Drained => {
                assert_eq!(self.state, State::Idle);
                self.captions.end();
                self.ended += 1;
            }
            Notice::Failed(failure) => {
                assert_eq!(self.state, State::Failed);
                assert!(!failure.remedy.is_empty());
                self.ended += 1;
            }
            Notice::SpeechStarted { .. }
            | Notice::SpeechStopped { .. }
            | Notice::AudioLost { .. }
            | Notice::Outage { .. }
            | Notice::Rotated { .. }
            | Notice::Warning(_) => {}
        }
    }

    fn check(&mut self, transcript: &Transcript) {
        let Transcript {
            seq, span, words, ..
        } = transcript;
        assert!(span.start <= span.end, "{transcript:?}");
        assert!(*seq > self.seq, "{transcript:?}");
        assert!(
            words.iter().all(|word| word.span.start <= word.span.end),
            "{transcript:?}"
        );
        self.seq = *seq;
    }

    /// Whatever happened before, a session ends when told to.
    fn end(&mut self) {
        for _ in 0..1000 {
            if self.session.is_over() {
                break;
            }
            match self.session.poll_audio(self.now) {
                Demand::Chunk { .. } => self.session.handle_finish(self.now),
                Demand::Nothing => self.session.handle_end_announced(self.now),
                Demand::Replayed | Demand::NotBefore { .. } => {}
            }
            self.drain();
            self.chunks = 0;
            self.wait(Duration::from_secs(5));
        }
        assert_eq!(self.ended, 1, "the session ends, and says so once");
        assert!(self.wires.is_empty(), "all are closed");
        assert!(self.open.is_empty(), "without a final: {:?}", self.open);
    }
}
