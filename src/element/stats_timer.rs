// SPDX-License-Identifier: MPL-2.0
//! Posts `stats` on the bus at intervals, so that whoever reads the bus sees the counters without
//! polling. Runs from READY to PAUSED until the way back, started and stopped by both elements. The
//! timer is the system clock's, whose single thread serves all elements of the process.

use std::sync::Mutex;

use gst::prelude::*;

use super::lock;
use super::poster::Poster;

#[derive(Debug, Default)]
pub struct StatsTimer(Mutex<Option<gst::PeriodicClockId>>);

impl StatsTimer {
    /// Begins to post the element's counters, `interval` milliseconds apart; 0 is never.
    pub fn start(&self, poster: Poster, interval: u32) {
        if interval == 0 {
            return;
        }
        let interval = gst::ClockTime::from_mseconds(interval.into());
        let clock = gst::SystemClock::obtain();
        let timer = clock.new_periodic_id(clock.time() + interval, interval);
        let started = timer.wait_async(move |_, _, _| poster.post(post));
        if let Err(error) = started {
            gst::warning!(super::CAT, "no messages with counters: {error}");
        }
        if let Some(previous) = lock(&self.0).replace(timer) {
            previous.unschedule();
        }
    }

    pub fn stop(&self) {
        if let Some(timer) = lock(&self.0).take() {
            timer.unschedule();
        }
    }
}

fn post(element: &gst::Element) {
    let stats = element.property::<gst::Structure>("stats");
    let message = gst::message::Element::builder(stats).src(element).build();
    // Fails without a bus.
    let _ = element.post_message(message);
}
