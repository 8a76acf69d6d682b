// SPDX-License-Identifier: MPL-2.0

//! Where the faults happen: between a session and the wire.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    events::{self, Ids},
    faults::{Faults, RawFrame},
    record::ClientEvent,
    session::Action,
};

const COMPLETED: &str = "conversation.item.input_audio_transcription.completed";
const PARTIAL: &str = "conversation.item.input_audio_transcription.text";
const COMMITTED: &str = "input_audio_buffer.committed";

/// What a connection is to do, in this order.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Wire {
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

/// Applies faults to what a session does.
pub(crate) struct Filter {
    faults: Faults,
    ids: Ids,
    clock: u64,
    /// Identifiers of the items, in the order of their appearance.
    items: Vec<String>,
    /// Events held back, with the moment from which on they may be sent.
    late: Vec<(u64, Value)>,
    /// The final that waits for the next one.
    swapped: Option<Value>,
    /// Nothing gets through any more.
    muted: bool,
    finished: bool,
}

impl Filter {
    /// The filter of the session `number`.
    pub(crate) fn new(faults: Faults, number: u64) -> Self {
        Self {
            faults,
            ids: Ids::new(number),
            clock: 0,
            items: Vec::new(),
            late: Vec::new(),
            swapped: None,
            muted: false,
            finished: false,
        }
    }

    /// Passes on what becomes of an action.
    pub(crate) fn apply(&mut self, action: Action, out: &mut dyn FnMut(Wire)) {
        if self.muted {
            return;
        }
        match action {
            Action::Received(event) => self.received(&event, out),
            Action::Clock(ms) => {
                self.clock = ms;
                self.scheduled(out);
            }
            Action::Send(event) => self.send(event, out),
            Action::Close { code, reason } => {
                let left_open = self.faults.keep_open || self.faults.never_finished;
                if !(self.finished && left_open) {
                    out(Wire::Close { code, reason });
                }
            }
        }
    }

    fn received(&mut self, event: &ClientEvent, out: &mut dyn FnMut(Wire)) {
        if event.kind() == "session.finish"
            && let Some(code) = self.faults.close_on_finish
        {
            self.end(Wire::close(code, ""), out);
        }
    }

    /// Does what is due at this moment.
    fn scheduled(&mut self, out: &mut dyn FnMut(Wire)) {
        let clock = self.clock;
        for (_, frame) in self.faults.inject.extract_if(.., |(at, _)| *at <= clock) {
            out(Wire::Raw(frame));
        }
        for (_, event) in self
            .late
            .extract_if(.., |(at, _)| *at <= clock)
            .collect::<Vec<_>>()
        {
            self.emit(event, out);
        }
        if let Some(fault) = self.faults.error.take_if(|fault| fault.after_ms <= clock) {
            self.emit(events::server_error(&fault.code, &fault.message), out);
            if let Some((code, reason)) = fault.close {
                self.end(Wire::Close { code, reason }, out);
            }
        }
        if let Some(fault) = self.faults.close.take_if(|fault| fault.after_ms <= clock) {
            self.end(Wire::close(fault.code, &fault.reason), out);
        }
        if self.faults.reset_after_ms.is_some_and(|at| at <= clock) {
            self.end(Wire::Reset, out);
        }
        if self.faults.stall_after_ms.is_some_and(|at| at <= clock) {
            self.end(Wire::StopReading, out);
        }
    }

    /// Passes on a last thing.
    fn end(&mut self, wire: Wire, out: &mut dyn FnMut(Wire)) {
        if !self.muted {
            self.muted = true;
            out(wire);
        }
    }

    fn send(&mut self, event: Value, out: &mut dyn FnMut(Wire)) {
        match event["type"].as_str().unwrap_or_default() {
            "session.created" => {
                self.muted = self.faults.stall_created;
                if !self.muted {
                    self.scheduled(out);
                }
                if !self.muted {
                    self.emit(event, out);
                }
            }
            "session.updated" if self.faults.stall_updated => self.muted = true,
            "input_audio_buffer.speech_started" => {
                let item = self.item(&event);
                if !self.faults.drop_speech_started.contains(item) {
                    self.emit(event, out);
                }
            }
            "input_audio_buffer.speech_stopped" => {
                let item = self.item(&event);
                if !self.faults.drop_speech_stopped.contains(item) {
                    self.emit(event, out);
                }
            }
            COMMITTED => {
                let item = self.item(&event);
                if self.faults.duplicate_committed.contains(item) {
                    self.emit(event.clone(), out);
                }
                self.emit(event, out);
            }
            PARTIAL if self.faults.partial_lag_ms > 0 => {
                self.late
                    .push((self.clock + self.faults.partial_lag_ms, event));
            }
            COMPLETED => self.completed(event, out),
            "session.finished" => self.finish(event, out),
            _ => self.emit(event, out),
        }
    }

    fn completed(&mut self, mut event: Value, out: &mut dyn FnMut(Wire)) {
        let item = self.item(&event);
        if self.faults.never_complete.contains(item) {
            return;
        }
        if self.faults.empty_final.contains(item) {
            event["transcript"] = json!("");
            event["language"] = json!("");
            event["emotion"] = json!("");
        } else if self.faults.full_stop_final.contains(item) {
            event["transcript"] = json!("。");
        }
        if self.faults.failed.contains(item) {
            event = events::failed(event["item_id"].as_str().unwrap_or_default());
        }
        if self.faults.swap_finals == Some(item) {
            self.swapped = Some(event);
            return;
        }
        let again = self
            .faults
            .duplicate_completed
            .contains(item)
            .then(|| event.clone());
        for event in [Some(event), again, self.swapped.take()]
            .into_iter()
            .flatten()
        {
            match self.faults.completed_lag_ms {
                0 => self.emit(event, out),
                lag => self.late.push((self.clock + lag, event)),
            }
        }
    }

    fn finish(&mut self, event: Value, out: &mut dyn FnMut(Wire)) {
        self.finished = true;
        let late = std::mem::take(&mut self.late);
        for event in late
            .into_iter()
            .map(|(_, event)| event)
            .chain(self.swapped.take())
        {
            self.emit(event, out);
        }
        if let Some(delay) = self.faults.finished_delay {
            out(Wire::Pause(delay));
        }
        if !self.faults.never_finished {
            self.emit(event, out);
        }
    }

    fn emit(&mut self, mut event: Value, out: &mut dyn FnMut(Wire)) {
        if !self.faults.omit_event_id {
            event["event_id"] = json!(self.ids.next("event"));
        }
        if self.faults.omit_item_id
            && (event["type"] == COMMITTED || event["type"] == COMPLETED)
            && let Some(event) = event.as_object_mut()
        {
            event.remove("item_id");
        }
        if self.faults.extra_fields {
            event["gateway_ms"] = json!(12.5);
            event["trace"] = json!({"hops": ["a", null], "text": "", "type": "trace"});
        }
        out(Wire::Event(event));
    }

    /// The number of the item an event belongs to.
    fn item(&mut self, event: &Value) -> usize {
        let id = event["item_id"].as_str().unwrap_or_default();
        match self.items.iter().position(|item| item == id) {
            Some(number) => number,
            None => {
                self.items.push(id.to_owned());
                self.items.len() - 1
            }
        }
    }
}

impl Wire {
    pub(crate) fn close(code: u16, reason: &str) -> Self {
        Self::Close {
            code,
            reason: reason.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::{CloseFault, ErrorFault, Items};

    /// Two items and the end of a session, through a filter; what comes out in short.
    fn run(faults: Faults) -> Vec<String> {
        let mut filter = Filter::new(faults, 1);
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
        let mut send = |action: Action| filter.apply(action, &mut out);
        send(Action::Send(events::session_created(json!({}))));
        send(Action::Send(events::session_updated(json!({}))));
        for (id, clock) in [("a", 1000), ("b", 2000)] {
            send(Action::Send(events::speech_started(id, clock - 500)));
            send(Action::Send(events::speech_stopped(id, clock - 400)));
            send(Action::Send(events::committed(id, None)));
            send(Action::Send(events::completed(id, "en", id, 1)));
            send(Action::Clock(clock));
        }
        let finish = json!({"type": "session.finish"});
        send(Action::Received(ClientEvent::Event(finish)));
        send(Action::Send(events::session_finished()));
        send(Action::Close {
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
        let delay = Duration::from_secs(1);
        check(Faults { finished_delay: Some(delay), ..none() }, &[(10, &["Pause(1s)", "finished"])]);
        let inject = vec![(0, RawFrame::Ping(vec![])), (999, RawFrame::Binary(vec![7]))];
        check(
            Faults { inject, ..none() },
            &[(0, &["Raw(Ping([]))", "created"]), (5, &["completed a", "Raw(Binary([7]))"])],
        );
    }

    #[test]
    fn faults_of_all_events() {
        let mut filter = Filter::new(
            Faults {
                omit_event_id: true,
                omit_item_id: true,
                extra_fields: true,
                ..Default::default()
            },
            1,
        );
        let mut events = Vec::new();
        filter.apply(Action::Send(events::committed("a", None)), &mut |wire| {
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
