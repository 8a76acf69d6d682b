// SPDX-License-Identifier: MPL-2.0
//! The session's pending actions, in order. Filled by all parts of the session; drained by
//! [`Session::poll_output`](super::Session::poll_output).

use std::collections::VecDeque;

use super::{ConnId, Notice, Output, State, Warning};
use crate::protocol::{Frame, Statement};

#[derive(Default)]
pub(super) struct Outbox {
    outputs: VecDeque<Output>,
    /// Filled by codecs and drained at once; reused, so that sending allocates nothing.
    pub frames: Vec<Frame>,
}

impl Outbox {
    pub fn push(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    pub fn pop(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Sends the frames that a codec has left in [`Self::frames`].
    pub fn send_frames(&mut self, id: ConnId) {
        let send = |frame| Output::Send(id, frame);
        self.outputs.extend(self.frames.drain(..).map(send));
    }

    pub fn notice(&mut self, notice: Notice) {
        self.push(Output::Notice(notice));
    }

    pub fn warn(&mut self, warning: Warning) {
        self.notice(Notice::Warning(warning));
    }

    pub fn state(&mut self, state: State, session_id: Option<&str>, reason: Statement) {
        self.notice(Notice::State {
            state,
            session_id: session_id.map(str::to_owned),
            reason,
        });
    }
}
