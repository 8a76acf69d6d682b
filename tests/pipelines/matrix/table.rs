// SPDX-License-Identifier: MPL-2.0
//! The faults, and what is expected of each at each moment.

use offline_service::faults::{CloseFault, ErrorFault, Items};
use offline_service::{Faults, RawFrame};

use super::network::Trouble;
use crate::common::{Protocol, Speech};

/// Three utterances of one second, the last of which lasts to the end.
pub fn speech() -> Speech {
    Speech::new(16_000)
        .silence(400)
        .say(0..10)
        .silence(800)
        .say(10..20)
        .silence(800)
        .say(20..30)
}

/// The words of each utterance.
pub const UTTERANCES: [std::ops::Range<u32>; 3] = [0..10, 10..20, 20..30];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    BeforeTheFirstAnswer,
    MidUtterance,
    BetweenUtterances,
    WhileFinishing,
}

pub use Moment::*;
use Then::*;

/// These neither find utterances themselves nor finish a session.
fn is_self_hosted(protocol: Protocol) -> bool {
    matches!(protocol, Protocol::Vllm | Protocol::OpenAi)
}

impl Moment {
    /// Those that there are with a protocol: not all of them know an end.
    pub fn all(protocol: Protocol) -> &'static [Moment] {
        if is_self_hosted(protocol) {
            &[BeforeTheFirstAnswer, MidUtterance, BetweenUtterances]
        } else {
            &[
                BeforeTheFirstAnswer,
                MidUtterance,
                BetweenUtterances,
                WhileFinishing,
            ]
        }
    }

    /// The number of the connection that it is on, if there was no outage before.
    pub fn connection(self, protocol: Protocol) -> usize {
        match (self, protocol) {
            (MidUtterance, Protocol::Vllm) => 1,
            (BetweenUtterances, Protocol::Vllm) => 2,
            _ => 0,
        }
    }

    /// In milliseconds of audio that the service has processed on the connection. Where the element
    /// finds the utterances that is only speech, with 300 ms before and some 250 ms after each
    /// utterance.
    fn ms(self, protocol: Protocol) -> u64 {
        match (self, is_self_hosted(protocol)) {
            (MidUtterance, _) if protocol == Protocol::Vllm => 300 + 500,
            (BetweenUtterances, _) if protocol == Protocol::Vllm => 150,
            (BeforeTheFirstAnswer, _) => 0,
            (MidUtterance, false) => 2700,
            (MidUtterance, true) => 1600 + 300 + 500,
            (BetweenUtterances, false) => 3900,
            (BetweenUtterances, true) => 2 * 1600 + 150,
            (WhileFinishing, _) => speech().length_ms(),
        }
    }

    /// In bytes that the client has sent by then: in the middle of a frame, which has 100 ms.
    fn bytes(self, protocol: Protocol) -> usize {
        const BEFORE_AUDIO: usize = 600;
        let frame = match protocol {
            Protocol::Inference => 3200 + 8,
            _ => 3200 * 4 / 3 + 80,
        };
        match self {
            BeforeTheFirstAnswer => 0,
            moment => BEFORE_AUDIO + moment.ms(protocol) as usize / 100 * frame - frame / 2,
        }
    }

    /// The utterances that it is about.
    fn items(self) -> Vec<usize> {
        match self {
            BeforeTheFirstAnswer => vec![0],
            MidUtterance => vec![1],
            BetweenUtterances => vec![0, 1],
            WhileFinishing => vec![2],
        }
    }

    /// Their numbers on the connection.
    fn item_numbers(self, protocol: Protocol) -> Vec<usize> {
        match protocol {
            Protocol::Vllm => vec![0],
            _ => self.items(),
        }
    }

    /// Utterances that were reported for sure before it.
    fn reported(self, protocol: Protocol) -> usize {
        match self {
            BeforeTheFirstAnswer => 0,
            // The text of one utterance may come while the next one is sent over another connection.
            MidUtterance if protocol == Protocol::Vllm => 0,
            BetweenUtterances if protocol == Protocol::Vllm => 1,
            MidUtterance => 1,
            BetweenUtterances | WhileFinishing => 2,
        }
    }
}

/// What becomes of the words.
#[derive(Debug, Clone, PartialEq)]
pub enum Words {
    /// Each comes once, at its time.
    All,
    /// Those of these utterances may be missing from some word on.
    AllButTheEndsOf(Vec<usize>),
    /// Those of this many utterances come, and perhaps some that follow: nobody listened any more.
    Until(usize),
}

/// What becomes of the session.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Then {
    GoesOn,
    /// There is nothing to be done: an error of this kind; or a warning, and no captions.
    Stops(&'static str),
    /// Trying again has to wait for a minute, because of this.
    Waits(&'static str),
}

/// A fault at a moment.
#[derive(Debug, Clone)]
pub struct Row {
    pub fault: &'static str,
    pub moment: Moment,
    protocol: Protocol,
    /// Faults of the first connections.
    pub first: Vec<Faults>,
    /// Those of the others.
    pub later: Faults,
    /// What the network does to the connection of the moment, and after how many bytes.
    pub network: Option<(Trouble, usize)>,
    /// Another host than that of the service.
    pub host: Option<&'static str>,
    /// The service does not answer: the timeouts have to be short.
    pub silent: bool,
    pub words: Words,
    /// The kind of the outage before anything else, if there is one: one warning, and another
    /// connection.
    pub outage: Option<&'static str>,
    /// Warnings that something could not be recognised.
    pub unrecognised: usize,
    pub then: Then,
}

impl Row {
    fn new(fault: &'static str, moment: Moment, protocol: Protocol, then: Then) -> Self {
        let words = match then {
            Stops(_) | Waits(_) => Words::Until(moment.reported(protocol)),
            _ => Words::All,
        };
        Row {
            fault,
            moment,
            protocol,
            first: Vec::new(),
            later: Faults::default(),
            network: None,
            host: None,
            silent: false,
            words,
            outage: None,
            unrecognised: 0,
            then,
        }
    }

    /// These are the faults of the first connections that have not got any yet: with a connection
    /// for each utterance, after those of the utterances before the moment.
    fn first(mut self, faults: Faults) -> Self {
        if self.first.is_empty() {
            let healthy = self.moment.connection(self.protocol);
            self.first = vec![Faults::default(); healthy];
        }
        self.first.push(faults);
        self
    }

    fn silent(mut self) -> Self {
        self.silent = true;
        self
    }

    fn outage(mut self, kind: &'static str) -> Self {
        self.outage = Some(kind);
        self
    }

    /// Some utterances of a healthy connection have no final text of their own.
    fn without_finals(mut self, items: Vec<usize>, warnings: usize) -> Self {
        self.unrecognised = warnings;
        self.words = Words::AllButTheEndsOf(items);
        self
    }

    /// What happens to a connection that is made at this moment: to the first one, or to the one
    /// after a cut.
    fn on_connecting(self, faults: Faults) -> Self {
        self.cut().first(faults)
    }

    /// The same, for all connections that follow.
    fn on_connecting_ever_after(self, faults: Faults) -> Self {
        let mut row = self.cut();
        row.later = faults;
        row
    }

    fn cut(self) -> Self {
        if self.moment == BeforeTheFirstAnswer {
            return self;
        }
        // A reset would take with it what the client has not read yet.
        let faults = close(self.moment, self.protocol, 1011);
        self.first(faults).outage("lost")
    }
}

fn reset(moment: Moment, protocol: Protocol) -> Faults {
    Faults {
        reset_after_ms: Some(moment.ms(protocol)),
        ..Faults::default()
    }
}

/// A 403 without a word would say that sglang-omni does not serve the model.
fn http(status: u16) -> Faults {
    Faults {
        http_status: Some((status, "refused".into())),
        ..Faults::default()
    }
}

fn close(moment: Moment, protocol: Protocol, code: u16) -> Faults {
    if moment == WhileFinishing {
        return Faults {
            close_on_finish: Some(code),
            ..Faults::default()
        };
    }
    Faults {
        close: Some(CloseFault {
            after_ms: moment.ms(protocol),
            code,
            reason: "Internal server error".into(),
        }),
        ..Faults::default()
    }
}

fn error(moment: Moment, protocol: Protocol, code: &str, message: &str) -> Faults {
    Faults {
        error: Some(ErrorFault {
            after_ms: moment.ms(protocol),
            code: code.into(),
            message: message.into(),
            close: None,
        }),
        ..Faults::default()
    }
}

fn inject(moment: Moment, protocol: Protocol, frames: &[RawFrame]) -> Faults {
    let frames = frames
        .iter()
        .map(|frame| (moment.ms(protocol), frame.clone()));
    Faults {
        inject: frames.collect(),
        ..Faults::default()
    }
}

/// The faults at this moment.
pub fn rows(moment: Moment, protocol: Protocol) -> Vec<Row> {
    let row = |fault, then| Row::new(fault, moment, protocol, then);
    let close = |code| close(moment, protocol, code);
    let error = |code, message| error(moment, protocol, code, message);
    let inject = |frames| inject(moment, protocol, frames);
    let in_network = |fault, trouble| Row {
        network: Some((trouble, moment.bytes(protocol))),
        ..row(fault, GoesOn)
    };
    let first = moment == BeforeTheFirstAnswer;
    let lost = if first { "unreachable" } else { "lost" };
    let has_models = matches!(protocol, Protocol::Realtime | Protocol::LiveTranslate);
    let none = Faults::default;
    // One that fails is not the end of the connection.
    let has_items = !matches!(protocol, Protocol::Inference | Protocol::Vllm);
    let items = moment.items().len();

    let mut rows = vec![
        row("TCP reset", GoesOn)
            .first(reset(moment, protocol))
            .outage("lost"),
        in_network("close 1006", Trouble::End).outage(lost),
        row("close 1000", GoesOn).first(close(1000)).outage("lost"),
        row("close 1007", GoesOn).first(close(1007)).outage("lost"),
        row("close 1009", GoesOn).first(close(1009)).outage("lost"),
        // Before it has said anything, this is how a host says that it lacks the model.
        if first && has_models {
            row("close 1011", Stops("not-found"))
        } else {
            row("close 1011", GoesOn).outage("lost")
        }
        .first(close(1011)),
        row("HTTP 401", Stops("unauthorized")).on_connecting_ever_after(http(401)),
        row("HTTP 403", Stops("unauthorized")).on_connecting_ever_after(http(403)),
        row("HTTP 404", Stops("not-found")).on_connecting_ever_after(http(404)),
        row("HTTP 429", Waits("limit")).on_connecting_ever_after(http(429)),
        row("HTTP 503", GoesOn)
            .on_connecting(http(503))
            .outage(lost),
        row("no answer to the request", GoesOn)
            .on_connecting(Faults {
                stall_handshake: true,
                ..none()
            })
            .outage(lost)
            .silent(),
        row("nothing after the upgrade", GoesOn)
            .on_connecting(Faults {
                stall_created: true,
                ..none()
            })
            .outage(lost)
            .silent(),
        row("no answer to the settings", GoesOn)
            .on_connecting(Faults {
                stall_updated: true,
                ..none()
            })
            .outage(lost)
            .silent(),
        row("stall", GoesOn)
            .first(Faults {
                stall_after_ms: Some(moment.ms(protocol).max(100)),
                ..none()
            })
            .outage("lost")
            .silent(),
        in_network("black hole", Trouble::BlackHole)
            .outage(lost)
            .silent(),
        in_network("half-open link", Trouble::HalfOpen)
            .outage(lost)
            .silent(),
        in_network("slow link", Trouble::Slow(500_000)),
        row("garbage in frames", GoesOn).first(inject(&[
            RawFrame::Binary(vec![0; 100]),
            RawFrame::Text("{".into()),
            RawFrame::Text("[1, null]".into()),
            RawFrame::Text(r#"{"type": "no.such.event"}"#.into()),
            RawFrame::Text("x".repeat(300_000)),
        ])),
        row("garbage instead of frames", GoesOn)
            .first(inject(&[RawFrame::Bytes(vec![0xff; 64])]))
            .outage("lost"),
        row("error: internal", GoesOn)
            .first(error("internal_error", "boom"))
            .outage("lost"),
        row("error: access", Stops("unauthorized"))
            .first(error("Arrearage", "Access denied, account in arrears.")),
        row("error: settings", Stops("settings"))
            .first(error("invalid_value", "Invalid value: 'xx'.")),
        // What was there a moment ago may be there again.
        if first {
            row("error: model", Stops("not-found"))
        } else {
            row("error: model", GoesOn).outage("not-found")
        }
        .first(error("ModelNotFound", "Model not found.")),
        row("error: limit", Waits("limit"))
            .first(error("x", "connections too much max_connections 100")),
        // What was last heard of these has to do.
        if has_items {
            row(".failed", GoesOn).without_finals(moment.items(), items)
        } else {
            row(".failed", GoesOn).outage("lost")
        }
        .first(Faults {
            failed: Items::Only(moment.item_numbers(protocol)),
            ..none()
        }),
        row("missing finals", GoesOn)
            .first(Faults {
                never_complete: Items::Only(moment.items()),
                ..none()
            })
            .without_finals(
                moment.items(),
                match protocol {
                    // Its finals come in order, so each is missed.
                    Protocol::SglangOmni => items,
                    // Where nothing says that all is finished, they are waited for.
                    _ if is_self_hosted(protocol) => items + 1,
                    _ => 1,
                },
            ),
        row("missing finals, and close 1011", GoesOn)
            .first(Faults {
                never_complete: Items::Only(moment.items()),
                close_on_finish: Some(1011),
                ..none()
            })
            .outage("lost"),
        row("missing ids", GoesOn).on_connecting(Faults {
            omit_item_id: true,
            omit_event_id: true,
            ..none()
        }),
        row("duplicate finals", GoesOn).on_connecting(Faults {
            duplicate_completed: Items::All,
            duplicate_committed: Items::All,
            ..none()
        }),
        row("late finals", GoesOn).on_connecting(Faults {
            completed_lag_ms: 900,
            ..none()
        }),
        Row {
            unrecognised: 1,
            ..row("no session.finished", GoesOn).on_connecting(Faults {
                never_finished: true,
                ..none()
            })
        },
        row("wrong model", Stops("not-found")).on_connecting_ever_after(Faults {
            wrong_model_echo: true,
            ..none()
        }),
    ];
    if first {
        // After a first contact the last known address serves: the network room's tests show it.
        rows.push(Row {
            host: Some("nowhere.invalid"),
            ..row("DNS failure", Stops("unknown-host"))
        });
    }
    rows.retain(|row| !is_foreign_to(protocol, row.fault));
    rows
}

/// Whether there is nothing in this protocol that could go wrong like that.
fn is_foreign_to(protocol: Protocol, fault: &str) -> bool {
    let foreign: &[&str] = match protocol {
        Protocol::Realtime | Protocol::LiveTranslate => &[],
        Protocol::Inference => &["wrong model"],
        // Its errors are those of single events, and results come when an utterance is over.
        Protocol::OpenAi => &[
            "error: internal",
            "error: settings",
            "late finals",
            "missing finals, and close 1011",
            "no session.finished",
            "wrong model",
        ],
        // Finals come in order: one that is missing has failed, whatever follows.
        Protocol::SglangOmni => &["missing finals, and close 1011", "wrong model"],
        // There are no identifiers, and no more audio is sent before an answer has come.
        Protocol::Vllm => &[
            "no answer to the settings",
            "duplicate finals",
            "late finals",
            "missing finals",
            "missing finals, and close 1011",
            "no session.finished",
            "wrong model",
        ],
    };
    foreign.contains(&fault)
}
