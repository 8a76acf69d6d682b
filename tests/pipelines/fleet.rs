// SPDX-License-Identifier: MPL-2.0
//! Servers behind a router: they come, go and have no room, and no word is lost by that.

use std::time::{Duration, Instant};

use gst::prelude::*;
use offline_service::faults::CloseFault;
use offline_service::{Faults, SessionRecord};

use super::common::*;

const PATIENCE: Duration = Duration::from_secs(20);

fn refusal(status: u16, retry_after: Option<&str>) -> Faults {
    let header = |value: &str| ("Retry-After".to_owned(), value.to_owned());
    Faults {
        http_status: Some((status, String::new())),
        http_headers: retry_after.map(header).into_iter().collect(),
        ..Faults::default()
    }
}

pub fn a_router_without_room_is_asked_again(protocol: Protocol) {
    let server = service(protocol, |options| options.faults = refusal(503, None));
    let mut rig = Rig::with(&server, 16_000, "max-speed=50");
    let speech = Speech::usual(16_000);
    rig.play();
    rig.push_all(speech.buffers(&[320], 0));
    rig.push_eos();
    let then = [
        refusal(429, Some("1")),
        refusal(422, None),
        Faults::default(),
    ];
    for (refused, faults) in (1..).zip(then) {
        let done = server.wait_for(|records| records.len() == refused, PATIENCE);
        assert!(done, "{refused}");
        server.set_faults(faults);
    }
    rig.wait_for_eos();
    server.check_cues(&speech, &rig.texts(), 0);
    assert_eq!(rig.warnings.len(), 1, "{:?}", rig.warnings);
    assert_eq!(server.connections(), 3 + server.connections_for(3));
}

pub fn a_server_that_is_drained_is_no_outage(protocol: Protocol) {
    let faults = Faults {
        only_first: true,
        close: Some(CloseFault {
            // In the middle of the first utterance.
            after_ms: 1200,
            code: 1012,
            reason: "service restart".into(),
        }),
        ..Faults::default()
    };
    let server = service(protocol, |options| options.faults = faults);
    let speech = Speech::usual(16_000);
    let mut rig = Rig::with(&server, 16_000, "max-speed=50");
    rig.run(speech.buffers(&[320], 0));
    server.check_cues(&speech, &rig.texts(), 0);
    assert!(rig.warnings.is_empty(), "{:?}", rig.warnings);
    assert!(
        !rig.states().contains(&"reconnecting"),
        "{:?}",
        rig.states()
    );
    assert!(server.connections() >= 2);
    assert_eq!(rig.stat("outages"), 0);
}

pub fn addresses_are_tried_in_turn(protocol: Protocol) {
    let faults = Faults {
        reset_after_ms: Some(1200),
        ..Faults::default()
    };
    let breaks = service(protocol, |options| options.faults = faults);
    let works = service(protocol, |_| {});
    let speech = Speech::usual(16_000);
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = closed.local_addr().unwrap().port().to_string();
    drop(closed);
    let [breaks_at, works_at] = [&breaks, &works].map(|server| server.url_for(protocol));
    let nobody = works_at.replace(&works.port().to_string(), &nobody);
    let mut rig = Rig::with(&works, 16_000, "max-speed=50");
    let all = format!("{nobody} {breaks_at}  {works_at}");
    rig.element.set_property("url", &all);
    rig.run(speech.buffers(&[320], 0));
    works.check_cues(&speech, &rig.texts(), 0);
    assert_eq!((breaks.connections(), works.connections() > 0), (1, true));
    let shown: String = rig.element.property("url");
    assert_eq!(shown.split(' ').count(), 3);
}

pub fn a_server_that_is_drained_does_not_discredit_its_address(protocol: Protocol) {
    let faults = Faults {
        only_first: true,
        close: Some(CloseFault {
            after_ms: 1200,
            code: 1012,
            reason: "service restart".into(),
        }),
        ..Faults::default()
    };
    let fleet = service(protocol, |options| options.faults = faults);
    let other = service(protocol, |_| {});
    let speech = Speech::usual(16_000);
    let mut rig = Rig::with(&fleet, 16_000, "max-speed=50");
    let [fleet_at, other_at] = [&fleet, &other].map(|server| server.url_for(protocol));
    rig.element
        .set_property("url", format!("{fleet_at} {other_at}"));
    rig.run(speech.buffers(&[320], 0));
    fleet.check_cues(&speech, &rig.texts(), 0);
    assert!(fleet.connections() >= 2);
    assert_eq!(other.connections(), 0);
}

#[test]
fn addresses_of_different_kinds_are_refused() {
    for url in [
        "ws://127.0.0.1:1 wss://dashscope.aliyuncs.com",
        "ws://127.0.0.1:1/api-ws/v1/realtime ws://127.0.0.1:1/v1/realtime",
    ] {
        let mut rig = Rig::new(16_000, "ws://127.0.0.1", "api-key=sk-12345678 model=m");
        rig.element.set_property("url", url);
        rig.play();
        rig.push_all(Speech::usual(16_000).buffers(&[320], 0));
        let (error, details) = rig.wait_for_error();
        assert_eq!(details.get::<&str>("kind").unwrap(), "settings", "{url}");
        assert!(error.message().contains("different kinds"), "{error}");
    }
}

pub fn connections_are_replaced_at_the_age_that_is_set(protocol: Protocol) {
    let server = service(protocol, |_| {});
    let speech = Speech::usual(16_000);
    let mut rig = Rig::with(&server, 16_000, "max-speed=10 rotate-after=200");
    rig.run(speech.buffers(&[320], 0));
    server.check_cues(&speech, &rig.texts(), 0);
    assert!(rig.warnings.is_empty(), "{:?}", rig.warnings);
    // With vLLM each utterance has a connection of its own anyway.
    assert!(rig.stat("rotations") > 0 || protocol == Protocol::Vllm);
}

#[test]
fn the_streams_of_a_server_that_broke_do_not_come_back_all_at_once() {
    const STREAMS: usize = 30;
    let server = server(|_| {});
    let stream = format!(
        " t. ! queue ! qwenasr url={} failure-policy=continue ! fakesink async=false",
        server.url()
    );
    let pipeline = gst::parse::launch(&format!(
        "audiotestsrc is-live=true wave=silence ! tee name=t {}",
        stream.repeat(STREAMS)
    ));
    let pipeline = pipeline.unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    let is_ready = |record: &SessionRecord| record.received_events("session.update").count() > 0;
    let ready =
        |records: &[SessionRecord]| records.iter().filter(|r| is_ready(r)).count() == STREAMS;
    assert!(server.wait_for(ready, PATIENCE), "all at once at the start");
    server.kill_connections();
    let mut came = Vec::new();
    for nth in STREAMS + 1..=2 * STREAMS {
        let has_come = server.wait_for_connections(|accepted, _| accepted >= nth, PATIENCE);
        assert!(has_come, "{nth}");
        came.push(Instant::now());
    }
    watched(2 * LONG, "set_state(NULL)", || {
        pipeline.set_state(gst::State::Null).unwrap();
    });
    // As they are seen here, a little later than they came.
    for some in came.windows(21) {
        let took = some[20] - some[0];
        assert!(took > Duration::from_millis(950), "20 in {took:?}");
    }
}
