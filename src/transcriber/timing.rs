// SPDX-License-Identifier: MPL-2.0
//! How late the audio comes, so that text is not expected any earlier.

/// Upper bound of the growth of the lag, as a fraction of the time that passes: enough for clocks
/// that drift apart, too little for audio that was held up to hold up the text as well.
const LAG_GROWTH: u64 = 1000;

/// Length of audio from one look at its lag to the next. What time it is costs as much to find out as
/// the rest of a buffer's way, and the pads look at the lag less often.
const LAG_INTERVAL: gst::ClockTime = gst::ClockTime::from_mseconds(100);

/// What upstream says about time, and what the audio shows.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Timing {
    pub live: bool,
    /// The running time goes on: the element is in PLAYING. In PAUSED the clock goes on, too, but
    /// what it shows there is no running time.
    pub playing: bool,
    /// Latency of everything upstream.
    pub upstream: gst::ClockTime,
    /// How much later than that the audio comes, and when that was measured, as running time.
    lag: Option<(gst::ClockTime, gst::ClockTime)>,
    /// Running time of the audio that it was measured by.
    observed: Option<gst::ClockTime>,
    /// The lag was measured in another segment.
    other_segment: bool,
}

impl Timing {
    /// Whether text has deadlines now.
    pub fn has_deadlines(&self) -> bool {
        self.live && self.playing
    }

    /// Whether it is time to [`observe`](Self::observe) again, by audio of the running time `said`.
    pub fn wants(&self, said: gst::ClockTime) -> bool {
        let since = self.observed.and_then(|before| said.checked_sub(before));
        let is_recent = since.is_some_and(|since| since < LAG_INTERVAL);
        self.has_deadlines() && (self.other_segment || !is_recent)
    }

    /// Audio of the running time `said` has come at the running time `now`.
    pub fn observe(&mut self, said: gst::ClockTime, now: gst::ClockTime) {
        let lag = now.saturating_sub(said.saturating_add(self.upstream));
        let before = self
            .lag
            .filter(|_| !std::mem::take(&mut self.other_segment));
        let most = before.map(|(lag, then)| {
            let grown = now.saturating_sub(then).nseconds() / LAG_GROWTH;
            lag.saturating_add(gst::ClockTime::from_nseconds(grown))
        });
        self.lag = Some((most.map_or(lag, |most| lag.min(most)), now));
        self.observed = Some(said);
    }

    /// Another segment begins, whose lag may be another.
    pub fn new_segment(&mut self) {
        self.other_segment = true;
    }

    /// How long after it was said audio comes. A source that is connected to late, or that has a
    /// clock of its own, has a timeline that lags behind: nobody downstream misses its text any
    /// earlier.
    pub fn delay(&self) -> gst::ClockTime {
        let lag = self.lag.map(|(lag, _)| lag);
        self.upstream.saturating_add(lag.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lag_is_looked_at_from_time_to_time() {
        let ms = gst::ClockTime::from_mseconds;
        let mut timing = Timing::default();
        assert!(!timing.wants(ms(0)), "there are no deadlines");
        (timing.live, timing.playing) = (true, true);
        let mut looked = Vec::new();
        for said in (0..260).step_by(20).chain([100, 120, 1000]) {
            if timing.wants(ms(said)) {
                timing.observe(ms(said), ms(said));
                looked.push(said);
            }
        }
        assert_eq!(looked, [0, 100, 200, 100, 1000]);
        timing.new_segment();
        assert!(timing.wants(ms(1001)));
    }

    #[test]
    fn the_lag_falls_at_once_and_grows_slowly() {
        let seconds = gst::ClockTime::from_seconds;
        let mut timing = Timing {
            upstream: seconds(1),
            ..Timing::default()
        };
        assert_eq!(timing.delay(), seconds(1));
        // Audio said at, heard at; in all, how much later.
        for (said, now, delay) in [
            (0, 60, 60_000),
            (10, 65, 55_000),
            (11, 75, 55_010),
            (1000, 1055, 55_000),
            (2000, 2500, 56_445),
            (2500, 2500, 1000),
        ] {
            timing.observe(seconds(said), seconds(now));
            assert_eq!(timing.delay().mseconds(), delay, "said {said}, heard {now}");
        }
        timing.new_segment();
        assert_eq!(timing.delay(), seconds(1), "until the first audio");
        timing.observe(seconds(0), seconds(60));
        assert_eq!(timing.delay(), seconds(60));
    }
}
