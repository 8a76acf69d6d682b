// SPDX-License-Identifier: MPL-2.0

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::*;
use crate::timeline::Span;

/// A timestamp in milliseconds.
const AT: fn(u64) -> Timestamp = Timestamp::from_millis;

/// A src pad of an element, and how far its gaps have got, in milliseconds.
struct Rig {
    element: gst::Bin,
    bus: gst::Bus,
    src_pad: SrcPad,
    lane: u64,
    gaps_until: Arc<AtomicU64>,
    _peer: gst::Pad,
}

impl Rig {
    /// With a session whose audio begins at 0.
    fn new() -> Self {
        Self::until(gst::ClockTime::NONE)
    }

    /// The same, of which the segment ends there.
    fn until(stop: Option<gst::ClockTime>) -> Self {
        gst::init().unwrap();
        let mut segment = gst::FormattedSegment::<gst::ClockTime>::new();
        segment.set_stop(stop);
        let element = gst::Bin::new();
        let bus = gst::Bus::new();
        element.set_bus(Some(&bus));
        let pad = gst::Pad::builder(gst::PadDirection::Src).build();
        element.add_pad(&pad).unwrap();
        let gaps_until = Arc::new(AtomicU64::new(0));
        let seen = gaps_until.clone();
        let peer = gst::Pad::builder(gst::PadDirection::Sink)
            .event_function(move |_, _, event| {
                if let gst::EventView::Gap(gap) = event.view() {
                    let (start, duration) = gap.get();
                    let end = start + duration.unwrap();
                    seen.store(end.mseconds(), Ordering::Relaxed);
                }
                true
            })
            .chain_function(|_, _, _| Ok(gst::FlowSuccess::Ok))
            .build();
        pad.link(&peer).unwrap();
        peer.set_active(true).unwrap();
        pad.set_active(true).unwrap();
        let src_pad = SrcPad::new(pad.upcast(), Arc::default());
        src_pad.reset();
        let start = gst::event::StreamStart::new("captions");
        src_pad.queue.event(None, start);
        src_pad
            .queue
            .event(None, gst::event::Segment::new(&segment));
        let lane = src_pad.queue.open_lane(AT(0));
        (0..3).for_each(|_| src_pad.run());
        Self {
            element,
            bus,
            src_pad,
            lane,
            gaps_until,
            _peer: peer,
        }
    }

    fn put(&self, entry: Entry) {
        self.src_pad.queue.put(self.lane, entry);
        self.src_pad.run();
    }

    fn finalise(&self, start_ms: u64) {
        self.put(Entry::Final(Transcript {
            text: "word".into(),
            span: Span::from_millis(start_ms, start_ms + 500),
            ..Transcript::default()
        }));
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.element.set_bus(None);
    }
}

#[test]
fn text_that_is_shown_too_late_is_worth_a_warning_whatever_the_reason() {
    let rig = Rig::new();
    rig.put(Entry::Watermark(AT(20_000)));
    // Half a second is nothing, then it says what is new.
    let warnings = [19_500, 15_000, 15_200, 12_000].map(|start| {
        rig.finalise(start);
        let warning = rig.bus.pop_filtered(&[gst::MessageType::Warning]);
        warning.map(|message| {
            let gst::MessageView::Warning(warning) = message.view() else {
                panic!("{message:?}");
            };
            let details = warning.details().unwrap();
            assert_eq!(details.name(), "qwenasr/late-text");
            details.get::<gst::ClockTime>("late-by").unwrap().mseconds()
        })
    });
    assert_eq!(warnings, [None, Some(5500), None, Some(9500)]);
}

#[test]
fn gaps_end_with_the_segment() {
    let rig = Rig::until(Some(gst::ClockTime::from_seconds(10)));
    rig.put(Entry::Watermark(AT(9000)));
    assert_eq!(rig.gaps_until.load(Ordering::Relaxed), 9000);
    rig.put(Entry::Watermark(AT(12_000)));
    assert_eq!(rig.gaps_until.load(Ordering::Relaxed), 10_000);
}

#[test]
fn in_a_pause_there_are_no_deadlines() {
    let rig = Rig::new();
    let clock = gst::SystemClock::obtain();
    let a_minute_ago = clock.time() - gst::ClockTime::from_seconds(60);
    rig.element.set_clock(Some(&clock)).unwrap();
    rig.element.set_base_time(a_minute_ago);
    rig.src_pad.shared.timing().live = true;
    rig.put(Entry::Watermark(AT(0)));
    rig.finalise(10_000);
    assert_eq!(rig.gaps_until.load(Ordering::Relaxed), 10_000);
    assert_eq!(rig.src_pad.shared.base.stats.max_observed_delay(), 0);
    // A nudge, not a sleeper's own patience, sets it going.
    rig.src_pad.shared.timing().playing = true;
    rig.src_pad.queue.nudge();
    rig.src_pad.run();
    let latency = 4000;
    let gaps_until = rig.gaps_until.load(Ordering::Relaxed);
    assert!(gaps_until >= 60_000 - latency, "{gaps_until}");
    // It counts from the next start.
    rig.src_pad.shared.settings().lateness = 50_000;
    rig.finalise(40_000);
    assert!(rig.src_pad.shared.base.stats.max_observed_delay() >= 20_000);
}

#[test]
fn a_task_whose_element_is_gone_pauses() {
    let rig = Rig::new();
    let pad = rig.src_pad.pad.clone();
    let src_pad = Arc::new(SrcPad::new(pad.clone(), Arc::default()));
    let queue = src_pad.queue.clone();
    src_pad.reset();
    src_pad.ensure_task();
    drop(src_pad);
    // The task waits in the queue, and holds on to what it works for until then.
    queue.event(None, gst::event::StreamStart::new("another"));
    let patience = std::time::Instant::now() + Duration::from_secs(10);
    while pad.task_state() == gst::TaskState::Started {
        assert!(std::time::Instant::now() < patience, "the task spins");
        std::thread::yield_now();
    }
    pad.stop_task().unwrap();
}
