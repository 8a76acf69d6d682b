// SPDX-License-Identifier: MPL-2.0
//! Servers behind a router: they come, go and have no room, and no word is lost by that.

use std::time::Duration;

use offline_service::Faults;
use offline_service::faults::CloseFault;

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
    assert_eq!(server.connections(), 4);
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
