// SPDX-License-Identifier: MPL-2.0
//! Reports a session's events to the application, as bus messages and statistics, and its text to
//! the src pad. The session's task calls it; nothing here blocks.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use gst::glib;
use gst::prelude::*;

use super::completion::{Completion, Ending};
use super::enums::ConnectionState;
use super::losses::Losses;
use super::{CAT, lock, messages};
use crate::audio::samples;
use crate::net::{Listener, Lost, Remark, Remarks};
use crate::protocol::{Failure, Usage};
use crate::session::{Notice, Warning};
use crate::timeline::{Timestamp, nanos};
use crate::transcript::Transcript;

/// The reason why a full queue drops audio.
pub(super) const TOO_SLOW: &str = "the network is too slow";

/// Wakes a session that paused sending because its text output was congested.
pub type Waker = Box<dyn Fn() + Send + Sync>;

/// A destination for the text besides the bus. Called on a network thread: must not block.
pub trait TextOutput: Send + 'static {
    /// An interim result; replaces the previous one of the utterance.
    fn interim(&mut self, _transcript: Transcript) {}
    fn finalise(&mut self, _transcript: Transcript) {}
    /// No more text will come for audio before the timestamp `time`.
    fn watermark(&mut self, _time: Timestamp) {}
    /// The session has no more text.
    fn end(&mut self) {}
    /// See [`Listener::is_congested`]; the waker is called when the congestion ends.
    fn is_congested(&self) -> bool {
        false
    }
    /// Called once, before any other method.
    fn set_waker(&mut self, _waker: Waker) {}
}

/// No src pad: messages only.
impl TextOutput for () {}

/// The statistics of all sessions of an element.
#[derive(Debug, Default)]
pub struct Ledger {
    state: ConnectionState,
    sessions: u64,
    bytes_sent: u64,
    sent: Duration,
    billed: Usage,
    interims: u64,
    finals: u64,
    audio_lost: Duration,
    outages: u64,
    reconnects: u64,
    rotations: u64,
    late_texts: u64,
    /// In milliseconds.
    max_observed_delay: u32,
}

/// The ledger, shared by the element and its sessions.
#[derive(Debug, Clone, Default)]
pub struct Stats(Arc<Mutex<Ledger>>);

impl Stats {
    pub fn connection_state(&self) -> ConnectionState {
        self.with(|ledger| ledger.state)
    }

    /// The longest observed delay, in milliseconds.
    pub fn max_observed_delay(&self) -> u32 {
        self.with(|ledger| ledger.max_observed_delay)
    }

    /// Records the delay from speech to output of some text, in milliseconds, and whether the text
    /// had to be shown later than it was spoken.
    pub fn observe_delay(&self, delay: u32, late: bool) {
        self.with(|ledger| {
            ledger.late_texts += u64::from(late);
            ledger.max_observed_delay = ledger.max_observed_delay.max(delay);
        });
    }

    /// Records audio that was lost, if any was.
    pub(super) fn count_lost(&self, lost: Option<Lost>) {
        if let Some(lost) = lost {
            self.with(|ledger| ledger.audio_lost += lost.duration);
        }
    }

    /// The `stats` property.
    pub fn to_structure(&self, queue_level: Duration) -> gst::Structure {
        self.with(|ledger| {
            gst::Structure::builder("qwenasr/stats")
                .field("sessions", ledger.sessions)
                .field("outages", ledger.outages)
                .field("reconnects", ledger.reconnects)
                .field("rotations", ledger.rotations)
                .field("late-texts", ledger.late_texts)
                .field("bytes-sent", ledger.bytes_sent)
                .field("seconds-sent", ledger.sent.as_secs_f64())
                .field("seconds-billed", ledger.billed.seconds)
                .field("tokens-billed", ledger.billed.tokens)
                .field("interims", ledger.interims)
                .field("finals", ledger.finals)
                .field("audio-lost", nanos(ledger.audio_lost))
                .field("queue-level", nanos(queue_level))
                .build()
        })
    }

    /// The lock is held only during `change`, which merely updates counters.
    fn with<R>(&self, change: impl FnOnce(&mut Ledger) -> R) -> R {
        change(&mut lock(&self.0))
    }
}

/// Delivers one session's events to the bus and the text output.
pub struct Report<T: TextOutput> {
    element: glib::WeakRef<gst::Element>,
    segment: gst::FormattedSegment<gst::ClockTime>,
    rate: u32,
    stats: Stats,
    completion: Arc<Completion>,
    losses: Arc<Losses>,
    text: T,
    session_id: String,
    /// This session's share already added to the ledger.
    bytes_sent: u64,
    billed: Usage,
    ignored: u64,
}

impl<T: TextOutput> Report<T> {
    pub fn new(
        element: &gst::Element,
        segment: &gst::FormattedSegment<gst::ClockTime>,
        rate: u32,
        stats: Stats,
        completion: Arc<Completion>,
        losses: Arc<Losses>,
        text: T,
    ) -> Self {
        stats.with(|ledger| ledger.sessions += 1);
        Report {
            element: element.downgrade(),
            segment: segment.clone(),
            rate,
            stats,
            completion,
            losses,
            text,
            session_id: String::new(),
            bytes_sent: 0,
            billed: Usage::default(),
            ignored: 0,
        }
    }

    fn state(&mut self, state: ConnectionState, reason: &str) {
        self.stats.with(|ledger| {
            let again = ledger.state == ConnectionState::Reconnecting;
            ledger.reconnects += u64::from(again && state == ConnectionState::Connected);
            ledger.state = state;
        });
        let Some(element) = self.element.upgrade() else {
            return;
        };
        gst::debug!(
            CAT,
            obj = element,
            "connection {} ({})",
            state.nick(),
            self.session_id
        );
        post(
            &element,
            messages::connection(state, reason, &self.session_id),
        );
        element.notify("connection-state");
    }

    /// The connection was replaced; its state is unchanged.
    fn rotated(&mut self, session_id: Option<String>) {
        self.stats.with(|ledger| ledger.rotations += 1);
        self.session_id = session_id.unwrap_or_default();
        if let Some(element) = self.element.upgrade() {
            gst::debug!(CAT, obj = element, "rotated to {}", self.session_id);
            let state = self.stats.connection_state();
            post(&element, messages::connection(state, "", &self.session_id));
        }
    }

    fn transcript(&mut self, transcript: Transcript, is_final: bool) {
        self.stats.with(|ledger| {
            *(if is_final {
                &mut ledger.finals
            } else {
                &mut ledger.interims
            }) += 1;
        });
        let Some(element) = self.element.upgrade() else {
            return;
        };
        gst::trace!(CAT, obj = element, "{transcript:?}, final: {is_final}");
        post(
            &element,
            messages::transcript(&transcript, is_final, &self.segment, &self.session_id),
        );
        if is_final {
            self.text.finalise(transcript);
        } else {
            self.text.interim(transcript);
        }
    }

    fn speech(&self, name: &str, item_id: &str, time: Timestamp) {
        if let Some(element) = self.element.upgrade() {
            gst::log!(CAT, obj = element, "{name} at {time:?}");
            post(
                &element,
                messages::speech(name, item_id, time, &self.segment),
            );
        }
    }

    fn warning(&mut self, warning: Warning) {
        let Some(element) = self.element.upgrade() else {
            return;
        };
        let (code, text) = match warning {
            Warning::Ignored(what) => {
                self.ignored += 1;
                // A server may send odd frames for hours: log only every power of two.
                if self.ignored.is_power_of_two() {
                    let times = self.ignored;
                    gst::warning!(
                        CAT,
                        obj = element,
                        "{what} (odd frame no. {times} of this session)"
                    );
                }
                return;
            }
            Warning::NotRecognised(why) => (
                gst::StreamError::Decode,
                format!("The service could not recognise an utterance: {why}."),
            ),
            Warning::NotTaken(failure) => {
                let next = "The session goes on with the settings that it had.";
                return post_outage(&element, &failure, next);
            }
            Warning::Unfinished(what) => (gst::StreamError::Failed, what.to_string()),
        };
        gst::warning!(CAT, obj = element, "{text}");
        let message = gst::message::Warning::builder(code, &text)
            .src(&element)
            .build();
        let _ = element.post_message(message);
    }

    /// Reports what is lost and not reported yet.
    fn remaining_losses(&self) {
        if let (Some(lost), Some(element)) = (self.losses.take(), self.element.upgrade()) {
            post_audio_lost(&element, lost, TOO_SLOW, &self.segment);
        }
    }

    fn end(&mut self, ending: Ending) {
        self.text.end();
        self.completion.set(ending);
    }
}

impl<T: TextOutput> Listener for Report<T> {
    fn notice(&mut self, notice: Notice) {
        match notice {
            Notice::State {
                state,
                session_id,
                reason,
            } => {
                self.session_id = session_id.unwrap_or_default();
                self.state(state.into(), &reason.to_string());
            }
            Notice::SpeechStarted { item_id, time } => {
                self.speech("qwenasr/speech-started", &item_id, time);
            }
            Notice::SpeechStopped { item_id, time } => {
                self.speech("qwenasr/speech-stopped", &item_id, time);
            }
            Notice::Interim(transcript) => self.transcript(transcript, false),
            Notice::Final(transcript) => self.transcript(transcript, true),
            Notice::Watermark { time } => self.text.watermark(time),
            Notice::AudioLost {
                time,
                duration,
                reason,
            } => {
                let lost = Lost { time, duration };
                self.stats.count_lost(Some(lost));
                self.remaining_losses();
                if let Some(element) = self.element.upgrade() {
                    post_audio_lost(&element, lost, reason, &self.segment);
                }
            }
            Notice::Outage(failure) => {
                self.stats.with(|ledger| ledger.outages += 1);
                if let Some(element) = self.element.upgrade() {
                    post_outage(&element, &failure, "Trying again.");
                }
            }
            Notice::Rotated { session_id } => self.rotated(session_id),
            Notice::Warning(warning) => self.warning(warning),
            Notice::Failed(failure) => {
                self.remaining_losses();
                if let Some(element) = self.element.upgrade() {
                    post_failure(&element, &failure);
                }
                self.end(Ending::Failed);
            }
            Notice::Drained => {
                self.remaining_losses();
                self.end(Ending::Drained);
            }
        }
    }

    fn usage(&mut self, bytes_sent: u64, billed: Usage) {
        if bytes_sent == self.bytes_sent && billed == self.billed {
            return;
        }
        let bytes = bytes_sent - self.bytes_sent;
        // Both totals only grow.
        let more = Usage {
            seconds: billed.seconds - self.billed.seconds,
            tokens: billed.tokens.saturating_sub(self.billed.tokens),
        };
        (self.bytes_sent, self.billed) = (bytes_sent, billed);
        self.stats.with(|ledger| {
            ledger.bytes_sent += bytes;
            ledger.sent += samples(bytes as usize).duration(self.rate);
            ledger.billed = ledger.billed + more;
        });
    }

    fn is_congested(&self) -> bool {
        self.text.is_congested()
    }

    fn remarks(&self) -> Remarks {
        let element = self.element.clone();
        Arc::new(move |remark| {
            let Some(element) = element.upgrade() else {
                return;
            };
            match remark {
                Remark::Connecting { url, proxy: None } => {
                    gst::debug!(CAT, obj = element, "connecting to {url}");
                }
                Remark::Connecting {
                    url,
                    proxy: Some(proxy),
                } => gst::debug!(
                    CAT,
                    obj = element,
                    "connecting to {url} through the proxy {proxy}"
                ),
                Remark::KeyKept(why) => gst::warning!(
                    CAT,
                    obj = element,
                    "{why} The key that was read before stays in use."
                ),
            }
        })
    }
}

impl<T: TextOutput> Drop for Report<T> {
    /// A stopped session sends no notification of its end.
    fn drop(&mut self) {
        if self.completion.get().is_none() {
            self.stats
                .with(|ledger| ledger.state = ConnectionState::Idle);
            self.end(Ending::Stopped);
        }
    }
}

fn post(element: &gst::Element, structure: gst::Structure) {
    let message = gst::message::Element::builder(structure)
        .src(element)
        .build();
    // Fails only without a bus: then there is no recipient.
    let _ = element.post_message(message);
}

/// Posts the WARNINGs of settings that have no effect.
pub fn post_without_effect(element: &gst::Element, settings: &[String]) {
    for what in settings {
        gst::warning!(CAT, obj = element, "{what}");
        let message = gst::message::Warning::builder(gst::ResourceError::Settings, what)
            .src(element)
            .build();
        let _ = element.post_message(message);
    }
}

/// Posts the one ERROR of a failure.
pub fn post_failure(element: &gst::Element, failure: &Failure) {
    gst::error!(CAT, obj = element, "{failure}");
    let error = messages::error_of(failure.kind, &failure.to_string());
    let message = gst::message::Error::builder_from_error(error)
        .details(messages::details_of(failure))
        .src(element)
        .build();
    let _ = element.post_message(message);
}

/// Posts the one WARNING of an outage; `next` is a sentence on what happens next.
pub fn post_outage(element: &gst::Element, failure: &Failure, next: &str) {
    gst::warning!(CAT, obj = element, "{failure} {next}");
    let error = messages::error_of(failure.kind, &format!("{failure} {next}"));
    let message = gst::message::Warning::builder_from_error(error)
        .details(messages::details_of(failure))
        .src(element)
        .build();
    let _ = element.post_message(message);
}

/// Posts a WARNING that live text arrived `delay` milliseconds after it was spoken.
pub fn post_excessive_delay(element: &gst::Element, delay: u32) {
    let text =
        format!("Text came {delay} ms after it was said, more than latency and lateness allow.");
    post_clock_warning(element, &text, messages::excessive_delay(delay));
}

/// Posts a WARNING that text is shown `late` milliseconds too late, although it arrived in time.
pub fn post_late_text(element: &gst::Element, late: u32) {
    let text = format!(
        "Text is shown {late} ms too late, after what had left the src pad before. Look for timestamps \
         that leap or go back; or else the service left an utterance open."
    );
    post_clock_warning(element, &text, messages::late_text(late));
}

/// Posts a WARNING that the service repeated the same words this often in one utterance.
pub fn post_repeats(element: &gst::Element, repeats: usize) {
    let text = format!(
        "The service repeated the same words {repeats} times: the text on the pad has them three \
         times. Where that comes again, try another model, or a smaller vad-silence-duration."
    );
    gst::warning!(CAT, obj = element, "{text}");
    let message = gst::message::Warning::builder(gst::StreamError::Decode, &text)
        .src(element)
        .build();
    let _ = element.post_message(message);
}

fn post_clock_warning(element: &gst::Element, text: &str, details: gst::Structure) {
    gst::warning!(CAT, obj = element, "{text}");
    let message = gst::message::Warning::builder(gst::CoreError::Clock, text)
        .details(details)
        .src(element)
        .build();
    let _ = element.post_message(message);
}

/// Reports audio for which there will be no text.
pub(super) fn post_audio_lost(
    element: &gst::Element,
    lost: Lost,
    reason: &str,
    segment: &gst::FormattedSegment<gst::ClockTime>,
) {
    gst::debug!(CAT, obj = element, "{lost:?}: {reason}");
    post(
        element,
        messages::audio_lost(lost.time, lost.duration, reason, segment),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replaced_connection_is_counted_and_its_state_stays() {
        gst::init().unwrap();
        let element = gst::ElementFactory::make("fakesink").build().unwrap();
        let bus = gst::Bus::new();
        element.set_bus(Some(&bus));
        let stats = Stats::default();
        let segment = gst::FormattedSegment::new();
        let (completion, losses) = Default::default();
        let mut report = Report::new(
            &element,
            &segment,
            16_000,
            stats.clone(),
            completion,
            losses,
            (),
        );
        stats.with(|ledger| ledger.state = ConnectionState::Connected);
        report.notice(Notice::Rotated {
            session_id: Some("new".into()),
        });
        let message = bus.pop().unwrap();
        let said = message.structure().unwrap();
        assert_eq!(said.name(), "qwenasr/connection");
        assert_eq!(said.get::<&str>("state").unwrap(), "connected");
        assert_eq!(said.get::<&str>("session-id").unwrap(), "new");
        assert!(bus.pop().is_none(), "no warning");
        let counted = stats.to_structure(Duration::ZERO);
        assert_eq!(counted.get::<u64>("rotations").unwrap(), 1);
        assert_eq!(counted.get::<u64>("reconnects").unwrap(), 0);
        element.set_bus(None);
    }
}
