// SPDX-License-Identifier: MPL-2.0

//! Where the faults happen: between the core and its protocol.

use std::time::Duration;

use serde_json::{Value, json};

use crate::dialect::{Act, Dialect, Final};
use crate::faults::{Faults, RawFrame};

/// What a connection is to do, in this order.
#[derive(Clone, Debug, PartialEq)]
pub enum Wire {
    /// Send an event.
    Event(Value),
    /// Send something else.
    Raw(RawFrame),
    /// Send a close frame and wait for the answer.
    Close { code: u16, reason: String },
    /// Reset the TCP connection.
    Reset,
    /// Read no more.
    StopReading,
    /// Do nothing of what follows for so long.
    Pause(Duration),
}

/// Applies faults to what a client is told.
pub struct Filter {
    faults: Faults,
    clock: u64,
    /// What is held back, with the moment from which on it may be told.
    late: Vec<(u64, Act)>,
    /// The first transcript, if it is to be repeated.
    first: Option<String>,
    /// The final that waits for the next one.
    swapped: Option<Act>,
    /// Nothing gets through any more.
    muted: bool,
    finished: bool,
}

/// The protocol, and what takes its frames.
struct Way<'a> {
    dialect: &'a mut dyn Dialect,
    out: &'a mut dyn FnMut(Wire),
}

impl Filter {
    /// A filter with these faults.
    pub fn new(faults: Faults) -> Self {
        Self {
            faults,
            clock: 0,
            late: Vec::new(),
            first: None,
            swapped: None,
            muted: false,
            finished: false,
        }
    }

    /// Passes on what becomes of an act, in the words of `dialect`.
    pub fn apply(&mut self, act: Act, dialect: &mut dyn Dialect, out: &mut dyn FnMut(Wire)) {
        let way = &mut Way { dialect, out };
        if self.muted {
            return;
        }
        match act {
            Act::Clock(ms) => {
                self.clock = ms;
                self.scheduled(way);
            }
            Act::Finishing => {
                if let Some(code) = self.faults.close_on_finish {
                    self.end(Wire::close(code, ""), way);
                }
            }
            Act::Opened(_) => {
                self.muted = self.faults.stall_created;
                if !self.muted {
                    self.scheduled(way);
                }
                self.emit(act, way);
            }
            Act::Ready(_) => self.ready(act, way),
            Act::SpeechStarted { item, .. } if self.faults.drop_speech_started.contains(item) => (),
            Act::SpeechStopped { item, .. } if self.faults.drop_speech_stopped.contains(item) => (),
            Act::Committed { item } => {
                if self.faults.duplicate_committed.contains(item) {
                    self.emit(act.clone(), way);
                }
                self.emit(act, way);
            }
            Act::Partial(_) if self.first.is_some() => (),
            Act::Partial(_) if self.faults.partial_lag_ms > 0 => {
                self.late
                    .push((self.clock + self.faults.partial_lag_ms, act));
            }
            Act::Completed(done) => self.completed(done, way),
            Act::Finished { .. } => self.finish(act, way),
            Act::Close { .. } => {
                let left_open = self.faults.keep_open || self.faults.never_finished;
                if !(self.finished && left_open) {
                    self.emit(act, way);
                }
            }
            _ => self.emit(act, way),
        }
    }

    /// Does what is due at this moment.
    fn scheduled(&mut self, way: &mut Way) {
        let clock = self.clock;
        for (_, frame) in self.faults.inject.extract_if(.., |(at, _)| *at <= clock) {
            (way.out)(Wire::Raw(frame));
        }
        let due: Vec<_> = self.late.extract_if(.., |(at, _)| *at <= clock).collect();
        for (_, act) in due {
            self.emit(act, way);
        }
        if let Some(fault) = self.faults.error.take_if(|fault| fault.after_ms <= clock) {
            let error = Act::Error {
                code: fault.code,
                message: fault.message,
                close: fault.close,
            };
            self.emit(error, way);
        }
        if let Some(fault) = self.faults.close.take_if(|fault| fault.after_ms <= clock) {
            self.end(Wire::close(fault.code, &fault.reason), way);
        }
        if self.faults.reset_after_ms.is_some_and(|at| at <= clock) {
            self.end(Wire::Reset, way);
        }
        if self.faults.stall_after_ms.is_some_and(|at| at <= clock) {
            self.end(Wire::StopReading, way);
        }
    }

    /// Passes on what nothing follows.
    fn end(&mut self, wire: Wire, way: &mut Way) {
        if !self.muted {
            self.muted = true;
            (way.out)(wire);
        }
    }

    fn ready(&mut self, act: Act, way: &mut Way) {
        if let Some(delay) = self.faults.ready_delay {
            (way.out)(Wire::Pause(delay));
        }
        if let Some((code, message)) = self.faults.refuse.clone() {
            let close = None;
            let error = Act::Error {
                code,
                message,
                close,
            };
            return self.emit(error, way);
        }
        self.muted = self.faults.stall_updated;
        self.emit(act, way);
    }

    fn completed(&mut self, mut done: Final, way: &mut Way) {
        let item = done.item;
        if self.faults.never_complete.contains(item) {
            return;
        }
        if self.faults.empty_final.contains(item) {
            done.transcript.clear();
            done.words.clear();
        } else if self.faults.full_stop_final.contains(item) {
            done.transcript = "。".to_owned();
            done.words.clear();
        }
        if self.faults.repeat_first {
            let own = std::mem::take(&mut done.transcript);
            done.transcript = self.first.get_or_insert(own).clone();
            done.words.clear();
        }
        let act = if self.faults.failed.contains(item) {
            Act::Failed { item }
        } else {
            Act::Completed(done)
        };
        if self.faults.swap_finals == Some(item) {
            self.swapped = Some(act);
            return;
        }
        let again = self.faults.duplicate_completed.contains(item);
        let again = again.then(|| act.clone());
        for act in [Some(act), again, self.swapped.take()]
            .into_iter()
            .flatten()
        {
            match self.faults.completed_lag_ms {
                0 => self.emit(act, way),
                lag => self.late.push((self.clock + lag, act)),
            }
        }
    }

    fn finish(&mut self, act: Act, way: &mut Way) {
        self.finished = true;
        let late = std::mem::take(&mut self.late);
        for act in late
            .into_iter()
            .map(|(_, act)| act)
            .chain(self.swapped.take())
        {
            self.emit(act, way);
        }
        if let Some(delay) = self.faults.finished_delay {
            (way.out)(Wire::Pause(delay));
        }
        if !self.faults.never_finished {
            self.emit(act, way);
        }
    }

    /// Tells the client of an act. Nothing follows a close.
    fn emit(&mut self, act: Act, way: &mut Way) {
        if self.muted {
            return;
        }
        for mut wire in way.dialect.encode(act) {
            match &mut wire {
                Wire::Event(event) if self.faults.extra_fields => {
                    event["gateway_ms"] = json!(12.5);
                    event["trace"] = json!({"hops": ["a", null], "text": "", "type": "trace"});
                }
                Wire::Close { .. } => self.muted = true,
                _ => (),
            }
            (way.out)(wire);
        }
    }
}

impl Wire {
    pub fn close(code: u16, reason: &str) -> Self {
        Self::Close {
            code,
            reason: reason.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::realtime::{Realtime, events};
    use crate::faults::{CloseFault, ErrorFault, Items};
    use crate::server::Options;

    /// Two items and the end of a session, through a filter; what comes out in short.
    fn run(faults: Faults) -> Vec<String> {
        let mut realtime = Realtime::new("m", 1, &Options::default(), &faults);
        let mut filter = Filter::new(faults);
        let mut short = Vec::new();
        let mut out = |wire: Wire| {
            short.push(match wire {
                Wire::Event(event) => {
                    let kind = event["type"].as_str().unwrap().rsplit('.').next().unwrap();
                    match event["transcript"].as_str() {
                        Some(transcript) => format!("{kind} {transcript}"),
                        None => kind.to_owned(),
                    }
                }
                Wire::Close { code, .. } => format!("close {code}"),
                other => format!("{other:?}"),
            });
        };
        let mut tell = |act: Act| filter.apply(act, &mut realtime, &mut out);
        tell(Act::Opened(Some(events::session_created(json!({})))));
        tell(Act::Ready(Some(events::session_updated(json!({})))));
        for (item, transcript, clock) in [(0, "a", 1000), (1, "b", 2000)] {
            let at = clock - 500;
            tell(Act::SpeechStarted { item, at });
            tell(Act::SpeechStopped { item, at });
            tell(Act::Committed { item });
            tell(Act::Completed(Final {
                item,
                transcript: transcript.to_owned(),
                ..Final::default()
            }));
            tell(Act::Clock(clock));
        }
        tell(Act::Finishing);
        tell(Act::Finished {
            items: 2,
            audio: 2000,
        });
        tell(Act::Close {
            code: 1000,
            reason: String::new(),
        });
        short
    }

    const HEALTHY: [&str; 12] = [
        "created",
        "updated",
        "speech_started",
        "speech_stopped",
        "committed",
        "completed a",
        "speech_started",
        "speech_stopped",
        "committed",
        "completed b",
        "finished",
        "close 1000",
    ];

    /// Checks the outcome of faults, given as the healthy one with these lines replaced.
    fn check(faults: Faults, replaced: &[(usize, &[&str])]) {
        let mut expected: Vec<Vec<&str>> = HEALTHY.iter().map(|line| vec![*line]).collect();
        for (line, by) in replaced {
            expected[*line] = by.to_vec();
        }
        assert_eq!(run(faults.clone()), expected.concat(), "{faults:?}");
    }

    /// Checks that faults leave the first lines, followed by others.
    fn check_cut(faults: Faults, lines: usize, followed_by: &[&str]) {
        let expected = [&HEALTHY[..lines], followed_by].concat();
        assert_eq!(run(faults.clone()), expected, "{faults:?}");
    }

    #[test]
    fn no_faults() {
        check(Faults::default(), &[]);
    }

    #[test]
    #[rustfmt::skip]
    fn faults_of_items() {
        let nth = Items::nth(1);
        let none = Faults::default;
        check(Faults { drop_speech_started: nth.clone(), ..none() }, &[(6, &[])]);
        check(Faults { drop_speech_stopped: Items::All, ..none() }, &[(3, &[]), (7, &[])]);
        check(Faults { duplicate_committed: nth.clone(), ..none() }, &[(8, &["committed"; 2])]);
        check(Faults { duplicate_completed: nth.clone(), ..none() }, &[(9, &["completed b"; 2])]);
        check(Faults { never_complete: nth.clone(), ..none() }, &[(9, &[])]);
        check(Faults { failed: nth.clone(), ..none() }, &[(9, &["failed"])]);
        check(Faults { empty_final: nth.clone(), ..none() }, &[(9, &["completed "])]);
        check(Faults { full_stop_final: nth, ..none() }, &[(9, &["completed 。"])]);
        check(
            Faults { swap_finals: Some(0), ..none() },
            &[(5, &[]), (9, &["completed b", "completed a"])],
        );
        check(Faults { completed_lag_ms: 1500, ..none() }, &[(5, &[]), (9, &["completed a", "completed b"])]);
    }

    #[test]
    #[rustfmt::skip]
    fn faults_of_sessions() {
        let none = Faults::default;
        check_cut(Faults { stall_created: true, ..none() }, 0, &[]);
        check_cut(Faults { stall_updated: true, ..none() }, 1, &[]);
        check_cut(Faults { reset_after_ms: Some(700), ..none() }, 6, &["Reset"]);
        check_cut(Faults { stall_after_ms: Some(2000), ..none() }, 10, &["StopReading"]);
        check_cut(Faults { close_on_finish: Some(1011), ..none() }, 10, &["close 1011"]);
        check_cut(Faults { never_finished: true, ..none() }, 10, &[]);
        check_cut(Faults { keep_open: true, ..none() }, 11, &[]);
        let close = CloseFault { after_ms: 1000, code: 1011, ..Default::default() };
        check_cut(Faults { close: Some(close), ..none() }, 6, &["close 1011"]);
        let mut error = ErrorFault { after_ms: 1000, ..Default::default() };
        check(Faults { error: Some(error.clone()), ..none() }, &[(5, &["completed a", "error"])]);
        error.close = Some((1011, String::new()));
        check_cut(Faults { error: Some(error), ..none() }, 6, &["error", "close 1011"]);
        let refuse = Some(("InvalidParameter".to_owned(), String::new()));
        check(Faults { refuse, ..none() }, &[(1, &["error"])]);
        let delay = Duration::from_secs(1);
        check(Faults { ready_delay: Some(delay), ..none() }, &[(1, &["Pause(1s)", "updated"])]);
        check(Faults { finished_delay: Some(delay), ..none() }, &[(10, &["Pause(1s)", "finished"])]);
        let inject = vec![(0, RawFrame::Ping(vec![])), (999, RawFrame::Binary(vec![7]))];
        check(
            Faults { inject, ..none() },
            &[(0, &["Raw(Ping([]))", "created"]), (5, &["completed a", "Raw(Binary([7]))"])],
        );
    }

    #[test]
    fn faults_of_all_events() {
        let faults = Faults {
            omit_event_id: true,
            omit_item_id: true,
            extra_fields: true,
            ..Default::default()
        };
        let mut realtime = Realtime::new("m", 1, &Options::default(), &faults);
        let mut events = Vec::new();
        Filter::new(faults).apply(Act::Committed { item: 0 }, &mut realtime, &mut |wire| {
            events.push(wire);
        });
        let [Wire::Event(event)] = &events[..] else {
            panic!("{events:?}");
        };
        assert_eq!(event["event_id"], Value::Null);
        assert_eq!(event["item_id"], Value::Null);
        assert!(event["trace"].is_object());
    }
}
