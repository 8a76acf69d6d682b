// SPDX-License-Identifier: MPL-2.0

//! One connection from the service's side, without any input or output of its own: the core,
//! the protocol it is spoken to in, and the faults in between.

use std::time::Duration;

use crate::core::Core;
use crate::dialect::{Act, Dialect, Frame, Request};
use crate::filter::{Filter, Wire};
use crate::record::{ClientEvent, StreamNews};

pub use crate::dialect::limits::{MAX_BYTES_PER_SECOND, MAX_FRAME};

/// What comes of what a client does, in this order.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Output {
    /// For information: the client sent this.
    Received(ClientEvent),
    /// For information: this is known about the audio.
    Stream(StreamNews),
    /// To be done.
    Wire(Wire),
}

/// Takes the outputs of a [`Session`] one by one, as they come up.
pub(super) type Sink<'a> = &'a mut dyn FnMut(Output);

/// The service's side of one connection.
pub(super) struct Session {
    dialect: Box<dyn Dialect>,
    core: Core,
    filter: Filter,
}

impl Session {
    pub(super) fn new(dialect: Box<dyn Dialect>, core: Core, filter: Filter) -> Self {
        Self {
            dialect,
            core,
            filter,
        }
    }

    /// Begins the session.
    pub(super) fn open(&mut self, out: Sink) {
        let requests = self.dialect.open();
        self.perform(requests, out);
    }

    /// Takes a frame that was received at `now`, measured from any fixed moment.
    pub(super) fn receive(&mut self, frame: Frame, now: Duration, out: Sink) {
        if !self.core.is_ended() {
            let requests = self.dialect.decode(frame, now);
            self.perform(requests, out);
        }
    }

    /// How long the client may send nothing from now on.
    pub(super) fn patience(&self) -> Option<Duration> {
        if self.core.is_ended() {
            None
        } else {
            self.dialect.patience()
        }
    }

    /// Does what follows when the [`patience`](Self::patience) is over.
    pub(super) fn timed_out(&mut self, out: Sink) {
        let requests = self.dialect.timed_out();
        self.perform(requests, out);
    }

    fn perform(&mut self, requests: Vec<Request>, out: Sink) {
        let Self {
            dialect,
            core,
            filter,
        } = self;
        for request in requests {
            if core.is_ended() {
                return;
            }
            let mut act = |act: Act| {
                filter.apply(act, dialect.as_mut(), &mut |wire| out(Output::Wire(wire)));
            };
            match request {
                Request::Received(event) => out(Output::Received(event)),
                Request::Note(news) => out(Output::Stream(news)),
                Request::Start(setup) => core.start(setup),
                Request::Audio(pcm) => core.audio(&pcm, &mut act),
                Request::Commit => core.commit(&mut act),
                Request::Clear => core.clear(),
                Request::Finish => {
                    act(Act::Finishing);
                    core.finish(&mut act);
                }
                Request::Tell(told) => core.tell(told, &mut act),
            }
        }
    }
}
