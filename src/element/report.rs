// SPDX-License-Identifier: MPL-2.0
//! Reports a session's events to the application, as bus messages and statistics, and its text to
//! the src pad. The session's task calls it; nothing here blocks.

use std::sync::Arc;

use gst::glib;
use gst::prelude::*;

use super::assignment::{Assignment, Outputs, Stretch};
use super::completion::{Completion, Ending};
use super::enums::ConnectionState;
use super::losses::Losses;
use super::missing::Missing;
use super::poster::Poster;
use super::posts::{post, post_audio_lost, post_failure, post_next_model, post_outage};
use super::stats::Stats;
use super::{CAT, messages};
use crate::net::{Listener, Lost, Remark, Remarks};
use crate::protocol::Usage;
use crate::session::{Notice, SentAudio, Warning};
use crate::timeline::Timestamp;
use crate::transcript::{Transcript, Utterance};

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

/// Delivers one session's events to the bus and the text outputs.
pub struct Report<T: TextOutput> {
    poster: Poster,
    /// Whose property tells the connection's state: the element or a pad, if there is one.
    owner: Option<glib::WeakRef<gst::Object>>,
    segment: gst::FormattedSegment<gst::ClockTime>,
    clock_rate: u32,
    stats: Stats,
    missing: Missing,
    completion: Arc<Completion>,
    losses: Arc<Losses>,
    outputs: Outputs<T>,
    /// The most recent text of each output, and the number of texts.
    source: Told,
    translation: Told,
    /// The language translated into, if that is all the session is for.
    target: Option<String>,
    /// Of the session in the ledger, which tells the state of the newest one only.
    number: u64,
    state: ConnectionState,
    session_id: String,
    /// This session's share already added to the ledger.
    sent: SentAudio,
    billed: Usage,
    ignored: u64,
}

/// What was told of the utterances, in one of the languages.
#[derive(Debug, Default)]
struct Told {
    utterance: Utterance,
    text: String,
    stash: String,
    count: u64,
}

impl Told {
    /// Whether an interim text says something new, where one part of what a session says may have
    /// changed and not the other.
    fn is_news(&mut self, transcript: &Transcript) -> bool {
        let Transcript {
            utterance,
            text,
            stash,
            ..
        } = transcript;
        let is_same = self.utterance == *utterance && self.text == *text && self.stash == *stash;
        if is_same || text.is_empty() && stash.is_empty() {
            return false;
        }
        self.utterance = *utterance;
        self.text.clone_from(text);
        self.stash.clone_from(stash);
        true
    }
}

impl<T: TextOutput> Report<T> {
    pub fn new(
        poster: Poster,
        stretch: &Stretch,
        assignment: Assignment<T>,
        missing: Missing,
        completion: Arc<Completion>,
        losses: Arc<Losses>,
    ) -> Self {
        let target = assignment.target();
        let Assignment {
            outputs,
            stats,
            owner,
            ..
        } = assignment;
        Report {
            number: stats.begin_session(),
            state: ConnectionState::Idle,
            poster,
            owner: owner.as_ref().map(gst::Object::downgrade),
            segment: stretch.segment.clone(),
            clock_rate: stretch.format.clock_rate(),
            stats,
            missing,
            completion,
            losses,
            outputs,
            source: Told::default(),
            translation: Told::default(),
            target,
            session_id: String::new(),
            sent: SentAudio::default(),
            billed: Usage::default(),
            ignored: 0,
        }
    }

    fn state(&mut self, state: ConnectionState, reason: &str) {
        let before = std::mem::replace(&mut self.state, state);
        if before == ConnectionState::Reconnecting && state == ConnectionState::Connected {
            self.stats.count(|ledger| ledger.reconnects += 1);
        }
        let is_told = self.stats.set_connection_state(self.number, state);
        self.poster.post(|element| {
            let (session_id, target) = (self.session_id.as_str(), self.target.as_deref());
            gst::debug!(
                CAT,
                obj = element,
                "connection {} ({session_id})",
                state.nick()
            );
            post(
                element,
                messages::connection(state, reason, session_id, target),
            );
            if let Some(owner) = self.owner.as_ref().and_then(glib::WeakRef::upgrade)
                && is_told
            {
                owner.notify("connection-state");
            }
        });
    }

    /// The connection was replaced; its state is unchanged.
    fn rotated(&mut self, session_id: Option<String>) {
        self.stats.count(|ledger| ledger.rotations += 1);
        self.session_id = session_id.unwrap_or_default();
        self.poster.post(|element| {
            let (session_id, target) = (self.session_id.as_str(), self.target.as_deref());
            gst::debug!(CAT, obj = element, "rotated to {session_id}");
            post(
                element,
                messages::connection(self.state, "", session_id, target),
            );
        });
    }

    fn transcript(&mut self, mut transcript: Transcript, is_final: bool) {
        let translation = transcript
            .translation
            .take()
            .map(|translation| *translation);
        let both = translation.is_some();
        let translated = translation.map(|translation| Transcript {
            text: translation.text,
            stash: translation.stash,
            language: Some(translation.language),
            emotion: None,
            // They are of the words that were said.
            words: Vec::new(),
            is_translation: true,
            ..transcript.clone()
        });
        if self.outputs.source.is_some() && (is_final || !both || self.source.is_news(&transcript))
        {
            self.source.count += 1;
            transcript.seq = self.source.count;
            self.post_transcript(&transcript, is_final, "");
            put(self.outputs.source.as_mut(), transcript, is_final);
        }
        if let Some(mut translated) = translated
            && self.outputs.translation.is_some()
            && (is_final || self.translation.is_news(&translated))
        {
            self.translation.count += 1;
            translated.seq = self.translation.count;
            let language = translated.language.clone().unwrap_or_default();
            self.post_transcript(&translated, is_final, &language);
            put(self.outputs.translation.as_mut(), translated, is_final);
        }
    }

    fn post_transcript(&self, transcript: &Transcript, is_final: bool, language: &str) {
        self.stats.count(|ledger| {
            *(if is_final {
                &mut ledger.finals
            } else {
                &mut ledger.interims
            }) += 1;
        });
        self.poster.post(|element| {
            gst::trace!(CAT, obj = element, "{transcript:?}, final: {is_final}");
            let (segment, session_id) = (&self.segment, self.session_id.as_str());
            post(
                element,
                messages::transcript(transcript, is_final, segment, session_id, language),
            );
        });
    }

    fn speech(&self, name: &str, item_id: &str, time: Timestamp) {
        if self.outputs.source.is_none() {
            return;
        }
        self.poster.post(|element| {
            gst::log!(CAT, obj = element, "{name} at {time:?}");
            post(
                element,
                messages::speech(name, item_id, time, &self.segment),
            );
        });
    }

    fn warning(&mut self, warning: Warning) {
        let target = self.target.as_deref();
        let (code, text) = match warning {
            Warning::Ignored(what) => {
                self.ignored += 1;
                let times = self.ignored;
                // A server may send odd frames for hours: log only every power of two.
                if times.is_power_of_two()
                    && let Some(element) = self.poster.element().upgrade()
                {
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
                let post = |element: &_| post_outage(element, &failure, next, target);
                return self.poster.post(post);
            }
            Warning::NextModel {
                failure,
                gone,
                next,
            } => {
                let post = |element: &_| post_next_model(element, &failure, &gone, &next, target);
                self.poster.post(post);
                return self.missing.add(gone);
            }
            Warning::Unfinished(what) => (gst::StreamError::Failed, what.to_string()),
        };
        self.poster.post(|element| {
            gst::warning!(CAT, obj = element, "{text}");
            let message = gst::message::Warning::builder(code, &text)
                .src(element)
                .build();
            let _ = element.post_message(message);
        });
    }

    /// Reports what is lost and not reported yet.
    fn remaining_losses(&self) {
        if let Some(lost) = self.losses.take() {
            self.audio_lost(lost, TOO_SLOW);
        }
    }

    fn audio_lost(&self, lost: Lost, reason: &str) {
        let (segment, target) = (&self.segment, self.target.as_deref());
        self.poster
            .post(|element| post_audio_lost(element, lost, reason, segment, target));
    }

    fn end(&mut self, ending: Ending) {
        self.outputs.each().for_each(T::end);
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
            Notice::Watermark { time } => {
                for output in self.outputs.each() {
                    output.watermark(time);
                }
            }
            Notice::AudioLost {
                time,
                duration,
                reason,
            } => {
                let lost = Lost { time, duration };
                self.stats.count_lost(Some(lost));
                self.remaining_losses();
                self.audio_lost(lost, reason);
            }
            Notice::Outage { failure, patience } => {
                self.stats.count(|ledger| ledger.outages += 1);
                let next = messages::next_attempts(patience);
                let target = self.target.as_deref();
                self.poster
                    .post(|element| post_outage(element, &failure, &next, target));
            }
            Notice::Rotated { session_id } => self.rotated(session_id),
            Notice::Warning(warning) => self.warning(warning),
            Notice::Failed(failure) => {
                self.remaining_losses();
                let target = self.target.as_deref();
                self.poster
                    .post(|element| post_failure(element, &failure, target));
                self.end(Ending::Failed);
            }
            Notice::Drained => {
                self.remaining_losses();
                self.end(Ending::Drained);
            }
        }
    }

    fn usage(&mut self, sent: SentAudio, billed: Usage) {
        if sent == self.sent && billed == self.billed {
            return;
        }
        // All totals only grow.
        let bytes = sent.bytes - self.sent.bytes;
        let audio = (sent.samples - self.sent.samples).duration(self.clock_rate);
        let more = Usage {
            seconds: billed.seconds - self.billed.seconds,
            tokens: billed.tokens.saturating_sub(self.billed.tokens),
        };
        (self.sent, self.billed) = (sent, billed);
        self.stats.count(|ledger| {
            ledger.bytes_sent += bytes;
            ledger.sent += audio;
            ledger.billed = ledger.billed + more;
        });
    }

    fn is_congested(&self) -> bool {
        let mut outputs = self.outputs.source.iter().chain(&self.outputs.translation);
        outputs.any(T::is_congested)
    }

    fn remarks(&self) -> Remarks {
        let element = self.poster.element().clone();
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
                .set_connection_state(self.number, ConnectionState::Idle);
            self.end(Ending::Stopped);
        }
    }
}

fn put<T: TextOutput>(output: Option<&mut T>, transcript: Transcript, is_final: bool) {
    match output {
        Some(output) if is_final => output.finalise(transcript),
        Some(output) => output.interim(transcript),
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use super::super::assignment::MAIN;
    use super::super::settings::Job;
    use std::time::Duration;

    use super::*;
    use crate::audio::Format;

    #[test]
    fn a_replaced_connection_is_counted_and_its_state_stays() {
        gst::init().unwrap();
        let element = gst::ElementFactory::make("fakesink").build().unwrap();
        let bus = gst::Bus::new();
        element.set_bus(Some(&bus));
        let stats = Stats::default();
        let (completion, losses) = Default::default();
        let stretch = Stretch {
            format: Format::pcm(16_000),
            segment: gst::FormattedSegment::new(),
            live: false,
        };
        let assignment = Assignment {
            key: MAIN,
            job: Job::Model { target: None },
            outputs: Outputs {
                source: Some(()),
                translation: None,
            },
            stats: stats.clone(),
            owner: Some(element.clone().upcast()),
        };
        let mut report = Report::new(
            Poster::new(&element, Arc::default()),
            &stretch,
            assignment,
            Missing::default(),
            completion,
            losses,
        );
        report.state = ConnectionState::Connected;
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
