// SPDX-License-Identifier: MPL-2.0
//! Runs a codec alone: commands and frames in, frames and events out, checked for the invariants of
//! [`protocol`](crate::protocol).

use super::{number, set_up, steps, text_of};
use crate::protocol::{Codec, Command, Event, Failure, Frame, Incoming, Refusal, Statement};

/// Runs a script on a codec:
///
/// | | |
/// |---|---|
/// | `<…` | A text frame arrives |
/// | `&…` | A binary frame arrives |
/// | `a5` | 5 samples of audio are sent |
/// | `c`, `f` | An utterance is committed, the audio ends |
/// | `C…` | The context changes |
/// | `x1011 …`, `h429 …` | The service closes with this code and reason, refuses with this status and body |
///
/// # Panics
///
/// If the codec breaks a guarantee.
pub fn decode(input: &[u8]) {
    let input = text_of(input);
    let (first, rest) = input.split_once('\n').unwrap_or((&input, ""));
    let Some(setup) = set_up(first) else { return };
    let mut codec = (setup.codecs)();
    let (mut events, mut frames) = (Vec::new(), Vec::new());
    let mut items = 0;
    codec.open(&mut frames);
    for (letter, rest) in steps(rest) {
        step(codec.as_mut(), letter, rest, &mut events, &mut frames);
        frames.drain(..).for_each(|frame| check_frame(&frame));
        for event in events.drain(..) {
            check_event(&event, &mut items);
        }
    }
}

fn step(
    codec: &mut dyn Codec,
    letter: u8,
    rest: &str,
    events: &mut Vec<Event>,
    frames: &mut Vec<Frame>,
) {
    let limits = codec.limits();
    match letter {
        b'<' => codec.decode(Incoming::Text(rest), events, frames),
        b'&' => codec.decode(Incoming::Binary(rest.as_bytes()), events, frames),
        b'a' => {
            let max = limits.max_audio_bytes as u64 / 2;
            let audio = vec![0x55; 2 * number(rest, max) as usize];
            codec.command(Command::Audio(&audio), events, frames);
        }
        b'c' if limits.max_utterance_ms.is_some() => codec.command(Command::Commit, events, frames),
        b'f' => codec.command(Command::Finish, events, frames),
        b'C' => codec.command(Command::Context(rest), events, frames),
        b'x' => {
            let code = number(rest, u16::MAX.into()) as u16;
            check_failure(&codec.closed((code > 0).then_some(code), rest));
        }
        b'h' => {
            let refusal = Refusal {
                status: number(rest, 999) as u16,
                body: rest,
                has_key: false,
                retry_after: None,
            };
            check_failure(&codec.refused(&refusal));
        }
        _ => {}
    }
}

/// Frames to the service are JSON objects, whatever was received.
fn check_frame(frame: &Frame) {
    if let Frame::Text(text) = frame {
        let value: Result<serde_json::Value, _> = serde_json::from_str(text);
        assert!(value.is_ok_and(|value| value.is_object()), "{text}");
    }
}

/// A message to the user is one line of limited length, and a failure names a remedy.
pub(super) fn check_failure(failure: &Failure) {
    check_line(&failure.what);
    assert!(!failure.remedy.is_empty(), "{failure}");
}

fn check_line(statement: &Statement) {
    let text = statement.to_string();
    assert!(!text.is_empty() && text.chars().count() < 2000, "{text}");
    assert!(!text.contains(char::is_control), "{text:?}");
}

/// Items are numbered without gaps, in the order in which they are first mentioned.
fn check_event(event: &Event, items: &mut u64) {
    let item = match event {
        Event::ItemSeen { item }
        | Event::SpeechStarted { item, .. }
        | Event::SpeechStopped { item, .. }
        | Event::Interim { item, .. }
        | Event::Final { item, .. }
        | Event::ItemFailed { item, .. } => *item,
        Event::Failed(failure) => return check_failure(failure),
        Event::Warning(what) => return check_line(what),
        Event::Ready { .. } | Event::Unknown { .. } | Event::Billed(_) | Event::Finished => return,
    };
    assert!(item <= *items, "item {item} is not the {items}th");
    *items = (*items).max(item + 1);
    if let Event::Final { text, .. } = event {
        assert_eq!(text.stash, "");
    }
}
