// SPDX-License-Identifier: MPL-2.0
//! Stopping is quick whatever the network does, and leaves nothing behind.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::common::*;
use gst::prelude::*;
use offline_service::Faults;

fn stop_quickly(rig: &Rig, when: &str) {
    let start = Instant::now();
    rig.stop();
    let took = start.elapsed();
    assert!(took < QUICK, "{when}: {took:?}");
}

fn speech() -> Speech {
    Speech::new(16_000).say(0..100)
}

#[test]
fn while_connecting_to_a_black_hole() {
    init();
    // A listener whose backlog is full takes no connection and refuses none.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let fillers: Vec<_> = (0..300)
        .map_while(|_| {
            std::net::TcpStream::connect_timeout(&address, Duration::from_millis(50)).ok()
        })
        .collect();
    assert!(fillers.len() < 300, "the backlog is full");
    let url = format!("ws://{address}/api-ws/v1/realtime");
    let mut rig = Rig::new(16_000, &url, "connect-timeout=60000");
    rig.play();
    rig.push_all(speech().buffers(&[320], 0));
    rig.wait_for_state("connecting");
    stop_quickly(&rig, "connecting");
}

#[test]
fn while_a_key_file_does_not_answer() {
    let server = server(|_| {});
    let fifo = TempFile::new("fifo");
    let made = std::process::Command::new("mkfifo").arg(&fifo.0).status();
    assert!(made.unwrap().success());
    let properties = format!("connect-timeout=60000 api-key-file={}", fifo.0.display());
    let mut rig = Rig::new(16_000, &server.url(), &properties);
    rig.play();
    rig.push_all(speech().buffers(&[320], 0));
    rig.wait_for_state("connecting");
    assert_eq!(rig.stat("reconnects"), 0);
    stop_quickly(&rig, "reading the key file");
}

#[test]
fn during_each_step_of_the_handshake() {
    for faults in [
        Faults {
            stall_handshake: true,
            ..Faults::default()
        },
        Faults {
            stall_created: true,
            ..Faults::default()
        },
        Faults {
            stall_updated: true,
            ..Faults::default()
        },
    ] {
        let server = server(|options| options.faults = faults.clone());
        let mut rig = Rig::new(16_000, &server.url(), "");
        rig.play();
        rig.push_all(speech().buffers(&[320], 0));
        rig.wait_for_state("connecting");
        assert!(server.wait_for_connections(|accepted, _| accepted == 1, LONG));
        stop_quickly(&rig, &format!("{faults:?}"));
        assert!(
            server.wait_for_connections(|_, open| open == 0, LONG),
            "{faults:?}"
        );
    }
}

#[test]
fn while_the_queue_is_full() {
    let server = server(|options| {
        options.faults = Faults {
            stall_updated: true,
            ..Faults::default()
        };
    });
    let mut rig = Rig::new(16_000, &server.url(), "max-queue-time=500");
    rig.play();
    rig.push_all(speech().buffers(&[320], 0));
    rig.wait_for_state("connecting");
    let full = gst::ClockTime::from_mseconds(480).nseconds();
    while rig.stat("queue-level") < full {
        std::thread::yield_now();
    }
    stop_quickly(&rig, "queue full");
}

#[test]
fn while_draining() {
    let server = server(|options| {
        options.faults = Faults {
            never_finished: true,
            ..Faults::default()
        };
    });
    let mut rig = Rig::new(16_000, &server.url(), "max-speed=100");
    rig.play();
    rig.push_all(speech().buffers(&[320], 0));
    rig.push_eos();
    rig.wait_for_state("finishing");
    stop_quickly(&rig, "draining");
    assert!(server.wait_for_connections(|_, open| open == 0, LONG));
}

#[test]
fn while_the_socket_takes_no_more() {
    let server = server(|options| {
        options.faults = Faults {
            stall_after_ms: Some(500),
            ..Faults::default()
        };
    });
    let mut rig = Rig::new(16_000, &server.url(), "max-speed=10000 max-queue-time=1000");
    rig.play();
    let long = Speech::new(16_000)
        .say((0..200).map(|n| n % 100))
        .buffers(&[16_000], 0);
    for _ in 0..20 {
        rig.push_all(long.clone());
    }
    rig.wait_for_state("connected");
    rig.wait_for_message("qwenasr/speech-started");
    stop_quickly(&rig, "socket full");
}

#[test]
fn a_pause_in_between_loses_nothing() {
    let server = server(|_| {});
    let speech = Speech::usual(16_000);
    let mut rig = Rig::new(16_000, &server.url(), "max-speed=20");
    rig.play();
    rig.push_all(speech.buffers(&[320], 0));
    rig.push_eos();
    rig.wait_for_message("qwenasr/speech-started");
    rig.pipeline.set_state(gst::State::Paused).unwrap();
    rig.play();
    rig.wait_for_eos();
    check_cues(&speech, &rig.texts(), 0);
}

#[test]
fn what_waits_for_text_is_gone_with_the_element() {
    let server = server(|options| options.faults.never_finished = true);
    let mut rig = Rig::new(16_000, &server.url(), "");
    let pad = rig.element.static_pad("sink").unwrap();
    let (came, comes) = std::sync::mpsc::channel();
    pad.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, move |_, info| {
        if info
            .event()
            .is_some_and(|event| event.type_() == gst::EventType::Eos)
        {
            let _ = came.send(());
        }
        gst::PadProbeReturn::Ok
    });
    rig.play();
    rig.push_all(speech().buffers(&[320], 0));
    rig.wait_for_state("connected");
    // The event is as long alive as what is in it.
    let held = gst::Bus::new();
    let structure = gst::Structure::builder("held").field("bus", &held).build();
    let src = rig.pipeline.by_name("src").unwrap();
    src.send_event(gst::event::CustomDownstream::new(structure));
    let held = {
        let weak = held.downgrade();
        drop(held);
        weak
    };
    rig.push_eos();
    comes.recv_timeout(LONG).unwrap();
    assert!(held.upgrade().is_some(), "it waits for the text before it");
    rig.stop();
    // The session still says goodbye to a service that does not answer.
    assert!(held.upgrade().is_none());
}

/// A bin takes what is posted in it to be from elements that run: it may be gone right afterwards.
#[test]
fn nothing_is_being_posted_when_the_state_has_changed() {
    let server = server(|_| {});
    for (element, name) in [
        ("qwenasr ! fakesink", "qwenasr/connection"),
        ("qwenasrsink", "qwenasr/connection"),
        ("qwenasr stats-interval=10 ! fakesink", "qwenasr/stats"),
        ("qwenasrsink stats-interval=10", "qwenasr/stats"),
    ] {
        let (element, rest) = element.split_once(' ').unwrap_or((element, ""));
        let rig = Rig::launch(&format!(
            "appsrc name=src format=time caps=audio/x-raw,format=S16LE,rate=16000,channels=1,layout=interleaved \
             ! {element} name=asr url={} {rest}",
            server.url()
        ));
        let (posting, posts) = std::sync::mpsc::channel();
        let (go_on, goes_on) = std::sync::mpsc::channel();
        let held = Mutex::new(Some((posting, goes_on)));
        let bus = rig.pipeline.bus().unwrap();
        bus.set_sync_handler(move |_, message| {
            let is_it = message.structure().is_some_and(|s| s.name() == name);
            if is_it && let Some((posting, goes_on)) = held.lock().unwrap().take() {
                posting.send(()).unwrap();
                let () = goes_on.recv().unwrap();
            }
            gst::BusSyncReply::Drop
        });
        rig.play();
        rig.push_all(speech().buffers(&[320], 0));
        posts.recv_timeout(LONG).unwrap();
        let (returned, returns) = std::sync::mpsc::channel();
        let pipeline = rig.pipeline.clone();
        let change = std::thread::spawn(move || {
            pipeline.set_state(gst::State::Ready).unwrap();
            returned.send(()).unwrap();
        });
        // Long enough to return too early.
        let too_early = returns.recv_timeout(Duration::from_millis(200)).is_ok();
        go_on.send(()).unwrap();
        assert!(!too_early, "{name} is still being posted");
        change.join().unwrap();
        rig.stop();
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_hundred_exits_in_mid_stream_leave_nothing_behind() {
    // In a process of its own: other tests' threads and sockets are none of its business.
    const CHILD: &str = "QWENASR_TEST_CYCLES";
    if std::env::var_os(CHILD).is_none() {
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "stopping::a_hundred_exits_in_mid_stream_leave_nothing_behind",
                "--nocapture",
            ])
            .env(CHILD, "1")
            .env("GST_TRACERS", "leaks(check-refs=true)")
            .env("GST_DEBUG", "GST_TRACER:7")
            .env("GST_DEBUG_NO_COLOR", "1")
            .finish();
        let log = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "{}{log}",
            String::from_utf8_lossy(&output.stdout)
        );
        let leaks: Vec<_> = log
            .lines()
            .filter(|line| {
                line.contains("object-alive, type-name") && !line.contains("=(string)%s")
            })
            .collect();
        assert!(leaks.is_empty(), "{leaks:#?}");
        return;
    }
    let server = server(|_| {});
    let speech = speech();
    let count = |what: &str| {
        std::fs::read_dir(format!("/proc/self/{what}"))
            .unwrap()
            .count()
    };
    let mut before = (0, 0);
    // A quarter of them is let end.
    for cycle in 0..134 {
        let mut rig = Rig::new(16_000, &server.url(), "max-speed=100");
        rig.play();
        rig.push_all(speech.buffers(&[320], 0));
        match cycle % 4 {
            0 => {}
            1 => rig.wait_for_state("connected"),
            2 => drop(rig.wait_for_message("qwenasr/speech-started")),
            _ => {
                rig.push_eos();
                rig.wait_for_eos();
            }
        }
        rig.stop();
        let element = rig.element.downgrade();
        drop(rig);
        // A network thread may be about to let go of it.
        let deadline = Instant::now() + LONG;
        while element.upgrade().is_some() {
            assert!(
                Instant::now() < deadline,
                "cycle {cycle}: the element lives on"
            );
            std::thread::yield_now();
        }
        assert!(
            server.wait_for_connections(|_, open| open == 0, LONG),
            "cycle {cycle}"
        );
        // The first cycles start what the process keeps: the runtime and its blocking thread.
        if cycle == 9 {
            before = (count("task"), count("fd"));
        }
    }
    // Threads of the last cycle may be on their way out.
    let deadline = Instant::now() + LONG;
    while (count("task") > before.0 || count("fd") > before.1) && Instant::now() < deadline {
        std::thread::yield_now();
    }
    assert!(
        count("task") <= before.0,
        "threads: {} after {}",
        count("task"),
        before.0
    );
    assert!(
        count("fd") <= before.1,
        "descriptors: {} after {}",
        count("fd"),
        before.1
    );
    drop(server);
    unsafe { gst::deinit() };
}

#[test]
fn a_stopped_session_is_finished_in_good_manners() {
    let server = server(|_| {});
    let mut rig = Rig::new(16_000, &server.url(), "");
    rig.play();
    rig.push_all(speech().buffers(&[320], 0));
    rig.wait_for_state("connected");
    rig.stop();
    let finished = server.wait_for(
        |sessions| {
            let session = &sessions[0];
            !session.is_open() && session.received_events("session.finish").count() == 1
        },
        LONG,
    );
    assert!(finished, "{:?}", server.sessions());
}

/// In READY nothing runs, and what is set there counts from the next start.
#[test]
fn ready_ends_everything_and_takes_settings() {
    let source = "appsrc name=src is-live=true format=time \
         caps=audio/x-raw,format=S16LE,rate=16000,channels=1,layout=interleaved";
    for rest in [
        "qwenasr name=asr language-code=en ! fakesink async=false",
        "qwenasrsink name=asr language-code=en async=false",
    ] {
        let server = server(|_| {});
        let element = rest.replacen("name=asr", &format!("name=asr url={}", server.url()), 1);
        let mut rig = Rig::launch(&format!("{source} ! {element}"));
        let is_stats = |message: &gst::Message| {
            let structure = message.structure()?;
            (structure.name() == "qwenasr/stats").then_some(())
        };
        for (start, language) in ["en", "fr"].into_iter().enumerate() {
            rig.element.set_property("language-code", language);
            rig.play();
            rig.push_all(speech().buffers(&[320], 0));
            rig.wait_for_state("connected");
            if start == 1 {
                rig.wait_for("counters", is_stats);
            }
            watched(2 * LONG, "set_state(READY)", || {
                rig.pipeline.set_state(gst::State::Ready).unwrap();
            });
            assert!(
                server.wait_for_connections(|_, open| open == 0, LONG),
                "connected in READY: {rest}"
            );
            assert_eq!(rig.states().last(), Some(&"connected"), "{rest}");
            rig.element.set_property("stats-interval", 20_u32);
        }
        assert_eq!(languages_asked(&server), ["en", "fr"], "{rest}");
        let bus = rig.pipeline.bus().unwrap();
        while bus.pop().is_some() {}
        let later = bus.timed_pop_filtered(
            gst::ClockTime::from_mseconds(100),
            &[gst::MessageType::Element],
        );
        assert!(later.is_none(), "posts on in READY: {later:?}");
    }
}
