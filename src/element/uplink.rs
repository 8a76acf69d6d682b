// SPDX-License-Identifier: MPL-2.0
//! The audio side of a session: its queue, and waiting for its end. Owned by the
//! [input](super::input); dropping it stops the session.

use std::sync::Arc;
use std::time::Duration;

use super::CAT;
use super::completion::{Completion, Ending};
use super::losses::Losses;
use super::properties::Settings;
use super::report::{Report, Stats, TOO_SLOW, TextOutput, post_audio_lost};
use super::settings::Job;
use crate::net::{self, AudioQueue, Full, Link, PushError, Update};
use crate::protocol::{Endpoint, Failure};
use crate::timeline::Timestamp;

/// Why the streaming thread cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// [`Input::interrupt`] was called: try again once that is over.
    Interrupted,
    /// The session takes no more audio.
    Over(gst::FlowError),
}

impl From<Refused> for gst::FlowError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Interrupted => gst::FlowError::Flushing,
            Refused::Over(error) => error,
        }
    }
}

/// A session that takes audio.
#[derive(Debug)]
pub struct Uplink {
    pub(super) queue: Arc<AudioQueue>,
    pub(super) completion: Arc<Completion>,
    pub(super) full: Full,
    job: Job,
    rate: u32,
    /// Silence that certainly ends an utterance.
    pub(super) pause: Duration,
    segment: gst::FormattedSegment<gst::ClockTime>,
    losses: Arc<Losses>,
    /// Stops the session when dropped.
    _link: Link,
}

impl Uplink {
    /// Passes new settings to the session, after the property `changed` was set.
    pub fn update(&self, settings: &Settings, changed: &str) -> Result<(), Failure> {
        let endpoints = settings.endpoints(&self.job)?;
        let is_official = endpoints.iter().all(Endpoint::is_official);
        let setup = settings.setup(&self.job, self.rate, is_official)?;
        self.queue.update(Update {
            endpoints,
            rotate: changed != "context" || !(setup.codecs)().limits().takes_context,
            codecs: setup.codecs,
            context: settings.context(),
        });
        Ok(())
    }

    /// Starts a session. Also returns warnings about settings that have no effect.
    pub fn start<T: TextOutput>(
        element: &gst::Element,
        settings: &Settings,
        rate: u32,
        segment: &gst::FormattedSegment<gst::ClockTime>,
        stats: &Stats,
        live: bool,
        text: impl FnOnce() -> T,
    ) -> Result<(Self, Vec<String>), Failure> {
        let job = Job::Model { target: None };
        let endpoints = settings.endpoints(&job)?;
        let is_official = endpoints.iter().all(Endpoint::is_official);
        let setup = settings.setup(&job, rate, is_official)?;
        let config = settings.session(rate, live, &setup);
        let pause = config.pause;
        let queue = AudioQueue::new(rate, settings.queue_bytes(rate), config.chunk_bytes);
        let queue = Arc::new(queue);
        let (mut text, waker) = (text(), queue.clone());
        text.set_waker(Box::new(move || waker.wake()));
        let completion = Arc::new(Completion::default());
        gst::debug!(
            CAT,
            obj = element,
            "new session with {}",
            endpoints
                .iter()
                .map(Endpoint::authority)
                .collect::<Vec<_>>()
                .join(", ")
        );
        let losses = Arc::<Losses>::default();
        let report = Report::new(
            element,
            segment,
            rate,
            stats.clone(),
            completion.clone(),
            losses.clone(),
            text,
        );
        let link = net::spawn(endpoints, config, setup.codecs, queue.clone(), report)?;
        let uplink = Self {
            queue,
            completion,
            full: if live { Full::DropOldest } else { Full::Wait },
            job,
            rate,
            pause,
            segment: segment.clone(),
            losses,
            _link: link,
        };
        Ok((uplink, setup.warnings))
    }

    /// Pushes whole samples, see [`AudioQueue::push`]. Audio dropped for them is reported.
    pub(super) fn push(
        &self,
        jump: Option<Timestamp>,
        audio: &[u8],
        element: &gst::Element,
        stats: &Stats,
    ) -> Result<(), Refused> {
        if audio.is_empty() {
            return Ok(());
        }
        match self.queue.push(jump, audio, self.full) {
            Ok(lost) => {
                stats.count_lost(lost);
                if let Some(lost) = self.losses.add(lost) {
                    post_audio_lost(element, lost, TOO_SLOW, &self.segment);
                }
                Ok(())
            }
            Err(PushError::Interrupted) => Err(Refused::Interrupted),
            Err(PushError::Closed) => Err(match self.completion.wait() {
                // The ERROR has already been posted.
                Some(Ending::Failed) => Refused::Over(gst::FlowError::Error),
                Some(Ending::Drained | Ending::Stopped) => Refused::Over(gst::FlowError::Flushing),
                None => Refused::Interrupted,
            }),
        }
    }
}

/// Sessions that get no more audio.
pub struct Draining(pub(super) Vec<Arc<Uplink>>);

impl Draining {
    /// Blocks until they have ended. The input's lock must not be held.
    pub fn wait(&self) -> Result<(), Refused> {
        self.0
            .iter()
            .try_for_each(|uplink| match uplink.completion.wait() {
                Some(_) => Ok(()),
                None => Err(Refused::Interrupted),
            })
    }
}
