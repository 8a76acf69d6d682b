// SPDX-License-Identifier: MPL-2.0
//! The audio side of a session: its queue, and waiting for its end. Owned by the
//! [input](super::input); dropping it stops the session.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::assignment::{Assignment, Key, Stretch};
use super::completion::{Completion, Ending};
use super::losses::Losses;
use super::missing::Missing;
use super::poster::Poster;
use super::posts::post_audio_lost;
use super::properties::Settings;
use super::report::{Report, TOO_SLOW, TextOutput};
use super::settings::Job;
use super::stats::Stats;
use super::{CAT, lock};
use crate::audio::Format;
use crate::net::{self, AudioQueue, Full, Link, PushError, Update};
use crate::protocol::{Endpoint, Failure};
use crate::timeline::Timestamp;

/// Why the streaming thread cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// [`Input::interrupt`](super::Input::interrupt) was called: try again once that is over.
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
    pub(super) key: Key,
    pub(super) queue: Arc<AudioQueue>,
    pub(super) completion: Arc<Completion>,
    full: Full,
    job: Mutex<Job>,
    /// The models that may do it.
    models: Vec<String>,
    format: Format,
    /// Silence that certainly ends an utterance.
    pub(super) pause: Duration,
    segment: gst::FormattedSegment<gst::ClockTime>,
    losses: Arc<Losses>,
    stats: Stats,
    target: Option<String>,
    /// Some audio was pushed.
    has_begun: AtomicBool,
    /// Nobody wants its results any more.
    is_released: AtomicBool,
    /// Stops the session when dropped.
    _link: Link,
}

impl Uplink {
    /// Passes new settings to the session, after the property `changed` was set.
    pub fn update(&self, settings: &Settings, changed: &str) -> Result<(), Failure> {
        let job = lock(&self.job).clone();
        let plan = settings.plan(&job, &self.models, self.format)?;
        self.queue.update(Update {
            addresses: plan.addresses,
            rotate: job.is_concerned(changed) && !(changed == "context" && plan.takes_context),
            models: plan.models,
            context: settings.context(),
        });
        Ok(())
    }

    /// Has the session translate into another language, from the next connection on, which a
    /// rotation brings about.
    pub fn translate_into(&self, target: &str, settings: &Settings) -> Result<(), Failure> {
        let into = |job: &Job| match job {
            Job::Model { .. } => Job::Model {
                target: Some(target.to_owned()),
            },
            Job::Translation { .. } => Job::Translation {
                target: target.to_owned(),
            },
        };
        let before = {
            let mut job = lock(&self.job);
            let another = into(&job);
            std::mem::replace(&mut *job, another)
        };
        let updated = self.update(settings, "translation");
        if updated.is_err() {
            *lock(&self.job) = before;
        }
        updated
    }

    /// Starts a session with a model that is not known to be `missing`. Also returns warnings about
    /// settings that have no effect.
    pub fn start<T: TextOutput>(
        element: &gst::Element,
        settings: &Settings,
        stretch: &Stretch,
        mut assignment: Assignment<T>,
        missing: &Missing,
        poster: Poster,
    ) -> Result<(Self, Vec<String>), Failure> {
        let &Stretch {
            format,
            live,
            ref segment,
        } = stretch;
        let job = assignment.job.clone();
        let models = missing.strike(settings.models(&job));
        let plan = settings.plan(&job, &models, format)?;
        let config = settings.session(format, live, &plan);
        let pause = config.pause;
        let queue = AudioQueue::new(format, settings.queue_capacity(format), config.chunk);
        let queue = Arc::new(queue);
        for output in assignment.outputs.each() {
            let waker = queue.clone();
            output.set_waker(Box::new(move || waker.wake()));
        }
        let completion = Arc::new(Completion::default());
        gst::debug!(
            CAT,
            obj = element,
            "new session with {}",
            plan.addresses
                .iter()
                .filter_map(|endpoints| endpoints.first())
                .map(Endpoint::authority)
                .collect::<Vec<_>>()
                .join(", ")
        );
        let losses = Arc::<Losses>::default();
        let (key, stats, target) = (
            assignment.key,
            assignment.stats.clone(),
            assignment.target(),
        );
        let report = Report::new(
            poster,
            stretch,
            assignment,
            missing.clone(),
            completion.clone(),
            losses.clone(),
        );
        let link = net::spawn(plan.addresses, config, plan.models, queue.clone(), report)?;
        let uplink = Self {
            key,
            queue,
            completion,
            full: if live { Full::DropOldest } else { Full::Wait },
            job: Mutex::new(job),
            models,
            format,
            pause,
            segment: segment.clone(),
            losses,
            stats,
            target,
            has_begun: AtomicBool::new(false),
            is_released: AtomicBool::new(false),
            _link: link,
        };
        Ok((uplink, plan.warnings))
    }

    /// Pushes whole samples or packets, see [`AudioQueue::push`], to a session whose first audio starts at
    /// `start`. Audio dropped for them is reported.
    pub(super) fn push(
        &self,
        jump: Option<Timestamp>,
        start: Option<Timestamp>,
        audio: &[u8],
        element: &gst::Element,
    ) -> Result<(), Refused> {
        if audio.is_empty() {
            return Ok(());
        }
        let has_begun = self.has_begun.load(Ordering::Relaxed);
        let jump = jump.or(start.filter(|_| !has_begun));
        match self.queue.push(jump, audio, self.full) {
            Ok(lost) => {
                self.has_begun.store(true, Ordering::Relaxed);
                self.stats.count_lost(lost);
                if let Some(lost) = self.losses.add(lost) {
                    let (segment, target) = (&self.segment, self.target.as_deref());
                    post_audio_lost(element, lost, TOO_SLOW, segment, target);
                }
                Ok(())
            }
            Err(_) if self.is_released.load(Ordering::Relaxed) => Ok(()),
            Err(PushError::Interrupted) => Err(Refused::Interrupted),
            Err(PushError::Closed) => Err(match self.completion.wait() {
                // The ERROR has already been posted.
                Some(Ending::Failed) => Refused::Over(gst::FlowError::Error),
                Some(Ending::Drained | Ending::Stopped) => Refused::Over(gst::FlowError::Flushing),
                None => Refused::Interrupted,
            }),
        }
    }

    /// Nobody wants the results any more: whoever waits for room goes on without.
    pub(super) fn release(&self) {
        self.is_released.store(true, Ordering::Relaxed);
        self.queue.interrupt();
        self.completion.interrupt();
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
                None if uplink.is_released.load(Ordering::Relaxed) => Ok(()),
                None => Err(Refused::Interrupted),
            })
    }
}
