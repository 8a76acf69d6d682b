// SPDX-License-Identifier: MPL-2.0
//! A whole session with a real codec, driven as the network does, and captions of what it says.

use std::time::Duration;

use super::captions::Captions;
use super::{CONTEXT, number, rate, set_up, steps, text_of};
use crate::protocol::{Failure, Incoming, Kind};
use crate::session::{ClientVad, Config, Notice, Output, RetryPolicy, Session, Spare, State};
use crate::transcript::Transcript;

/// Chunks of audio and alarms of one input, at most: they take time.
const MOST_CHUNKS: u32 = 200;

/// The same where the element listens itself, which takes longer.
const MOST_HEARD: u32 = 30;

/// The state of a connection, as whoever holds the socket sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wire {
    Closed,
    Opening,
    Open,
}

/// Whoever drives the session, and watches that it keeps its promises.
struct Driver {
    session: Session,
    now: Duration,
    /// Stream time of the next audio, in nanoseconds.
    time: u64,
    chunks: u32,
    most_chunks: u32,
    wire: Wire,
    spare: Wire,
    settled: u64,
    seq: u64,
    state: State,
    /// Times that the session said it was over.
    ended: u32,
    captions: Captions,
}

/// Runs a script on a session. The first line may also say `client-vad`, `continue` (never give
/// up), `limited` (give up after two attempts), `rotate` (replace connections after ten seconds),
/// `short` (keep little audio) and `fast` (send audio at 50 times its speed).
///
/// | | |
/// |---|---|
/// | `o`, `O` | The connection is there; that beside it |
/// | `<…`, `>…` | A text frame comes; over the connection beside |
/// | `&…` | A binary frame comes |
/// | `x1011 …`, `X…` | A connection is closed with this code and reason |
/// | `h429 …`, `u`, `U` | A connection is refused, cannot be made |
/// | `p` | There is a sign of life |
/// | `a300`, `s300` | Audio for so many milliseconds; silence |
/// | `j5000` | The time of the audio jumps forward by so many milliseconds |
/// | `w1000` | So many milliseconds pass; all that is due happens |
/// | `c`, `f`, `e` | An utterance is committed, the audio ends, the audio will end |
/// | `C…` | There is another context |
///
/// # Panics
///
/// If the session breaks a promise.
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

impl Driver {
    fn new(words: &str) -> Option<Self> {
        let has = |word: &str| words.split(' ').any(|other| other == word);
        let setup = set_up(words)?;
        let finds_utterances = has("client-vad") || setup.lacks_vad && !has("manual");
        let seconds = Duration::from_secs;
        let config = Config {
            rate: rate(words),
            chunk_bytes: 3200,
            max_speed: if has("fast") { 50.0 } else { 0.0 },
            client_vad: finds_utterances.then_some(ClientVad {
                threshold: 0.0,
                silence_ms: 200,
            }),
            context: has("context").then(|| CONTEXT.into()),
            connect_timeout: seconds(10),
            response_timeout: seconds(15),
            finish_timeout: seconds(20),
            backlog_bytes: if has("short") { 16_000 } else { 960_000 },
            retry: RetryPolicy {
                keep_going: has("continue"),
                max_retries: has("limited").then_some(2),
            },
            rotate_after: seconds(if has("rotate") { 10 } else { 6000 }),
            seed: 7,
        };
        Some(Driver {
            session: Session::new(config, setup.codecs, Duration::ZERO),
            now: Duration::ZERO,
            time: 0,
            chunks: 0,
            most_chunks: if finds_utterances {
                MOST_HEARD
            } else {
                MOST_CHUNKS
            },
            wire: Wire::Closed,
            spare: Wire::Closed,
            settled: 0,
            seq: 0,
            state: State::Idle,
            ended: 0,
            captions: Captions::new(),
        })
    }

    /// Only what can happen does.
    fn step(&mut self, letter: u8, rest: &str) {
        let (session, now) = (&mut self.session, self.now);
        let code = number(rest, u16::MAX.into()) as u16;
        let code = (code > 0).then_some(code);
        match (letter, self.wire, self.spare) {
            (b'o', Wire::Opening, _) => {
                self.wire = Wire::Open;
                session.handle_connected(now);
            }
            (b'O', _, Wire::Opening) => {
                self.spare = Wire::Open;
                session.handle_spare_connected(now);
            }
            (b'<', Wire::Open, _) => session.handle_frame(Incoming::Text(rest), now),
            (b'&', Wire::Open, _) => session.handle_frame(Incoming::Binary(rest.as_bytes()), now),
            (b'>', _, Wire::Open) => session.handle_spare_frame(Incoming::Text(rest), now),
            (b'x', Wire::Open, _) => session.handle_closed(code, rest, now),
            (b'X', _, Wire::Open) => session.handle_spare_closed(code, rest, now),
            (b'h', Wire::Opening, _) => session.handle_refused(code.unwrap_or(500), rest, now),
            (b'u', Wire::Opening, _) => {
                let kind = if rest == "host" {
                    Kind::UnknownHost
                } else {
                    Kind::Unreachable
                };
                let failure = Failure::new(kind, "No.", "Wait.").unanswered();
                session.handle_unreachable(failure, now);
            }
            (b'U', _, Wire::Opening) => session.handle_spare_unreachable(now),
            (b'p', Wire::Open, _) => session.handle_sign_of_life(now),
            (b'a', ..) => self.hear(0x55, number(rest, 4000)),
            (b's', ..) => self.hear(0, number(rest, 4000)),
            (b'j', ..) => {
                self.time = self
                    .time
                    .saturating_add(number(rest, u64::MAX / 2_000_000) * 1_000_000)
            }
            (b'w', ..) => self.wait(Duration::from_millis(number(rest, 10_000_000))),
            (b'c', ..) => session.handle_commit(),
            (b'f', ..) => session.handle_finish(now),
            (b'e', ..) => session.handle_end_announced(now),
            (b'C', ..) => session.handle_context((!rest.is_empty()).then(|| rest.to_owned())),
            _ => {}
        }
    }

    /// Hands over so many milliseconds of audio, what is to be sent again first.
    fn hear(&mut self, byte: u8, ms: u64) {
        let mut left = ms.div_ceil(100);
        while left > 0
            && let Some(due) = self.session.next_audio()
        {
            self.chunks += 1;
            if self.chunks > self.most_chunks {
                return;
            }
            self.wait(due.saturating_sub(self.now));
            if self.session.next_audio().is_none_or(|due| due > self.now) {
                return;
            }
            if !self.session.replay(self.now) {
                let audio = vec![byte; self.session.chunk_bytes()];
                self.session.handle_audio(self.time, &audio, self.now);
                self.time = self.time.saturating_add(100_000_000);
                left -= 1;
            }
            self.drain();
        }
    }

    /// Time passes, and the alarm rings as often as it is set.
    fn wait(&mut self, length: Duration) {
        let end = self.now + length;
        let mut rings = 0;
        while let Some(due) = self.session.poll_timeout()
            && due <= end
        {
            rings = if due > self.now { 0 } else { rings + 1 };
            assert!(rings < 8, "the alarm does not cease to ring at {due:?}");
            self.now = self.now.max(due);
            self.session.handle_timeout(self.now);
            self.drain();
            self.chunks += 1;
            if self.chunks > self.most_chunks {
                return;
            }
        }
        self.now = end;
    }

    fn drain(&mut self) {
        while let Some(output) = self.session.poll_output() {
            match output {
                Output::Connect => {
                    assert_eq!(self.wire, Wire::Closed, "two connections");
                    self.wire = Wire::Opening;
                }
                Output::Send(_) | Output::Ping => assert_eq!(self.wire, Wire::Open),
                Output::Close => self.wire = Wire::Closed,
                Output::Spare(Spare::Connect) => {
                    assert_eq!(self.spare, Wire::Closed, "three connections");
                    self.spare = Wire::Opening;
                }
                Output::Spare(Spare::Send(_)) => assert_eq!(self.spare, Wire::Open),
                Output::Spare(Spare::Close) => self.spare = Wire::Closed,
                Output::Swap => std::mem::swap(&mut self.wire, &mut self.spare),
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
                self.check(&transcript);
                self.captions.interim(&transcript);
            }
            Notice::Final(transcript) => {
                assert_eq!(transcript.stash, "");
                self.check(&transcript);
                self.captions.finalise(&transcript);
            }
            Notice::Settled { time } => {
                assert!(time > self.settled, "time goes back");
                self.settled = time;
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
            | Notice::Outage(_)
            | Notice::Rotated { .. }
            | Notice::Warning(_) => {}
        }
    }

    fn check(&mut self, transcript: &Transcript) {
        let Transcript {
            seq,
            start,
            end,
            words,
            ..
        } = transcript;
        assert!(start <= end, "{transcript:?}");
        assert!(*seq > self.seq, "{transcript:?}");
        assert!(
            words.iter().all(|word| word.start <= word.end),
            "{transcript:?}"
        );
        self.seq = *seq;
    }

    /// Whatever happened, a session that is told so comes to its end.
    fn end(&mut self) {
        for _ in 0..1000 {
            if self.session.is_over() {
                break;
            }
            if self.session.next_audio().is_some() {
                if !self.session.replay(self.now) {
                    self.session.handle_finish(self.now);
                }
            } else {
                self.session.handle_end_announced(self.now);
            }
            self.drain();
            self.chunks = 0;
            self.wait(Duration::from_secs(5));
        }
        assert_eq!(self.ended, 1, "the session ends, and says so once");
        assert_eq!((self.wire, self.spare), (Wire::Closed, Wire::Closed));
    }
}
