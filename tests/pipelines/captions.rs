// SPDX-License-Identifier: MPL-2.0
//! No word is skipped and none comes later and later, however fast the service and however slow
//! downstream.

use super::common::*;
use gst::prelude::*;
use offline_service::{ScriptItem, ScriptRecogniser};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// A sink that takes nothing more from its first text on, until it is opened.
struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    fn new(rig: &Rig) -> Self {
        let gate = Arc::<(Mutex<bool>, Condvar)>::default();
        let sink = rig.pipeline.by_name("out").unwrap();
        let pad = sink.static_pad("sink").unwrap();
        let shared = gate.clone();
        pad.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
            let (open, opened) = &*shared;
            let open = open.lock().unwrap();
            drop(opened.wait_while(open, |open| !*open).unwrap());
            gst::PadProbeReturn::Ok
        });
        Gate(gate)
    }

    fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }
}

/// Every word was in some text, and none began before the ones before.
fn check_all_seen(speech: &Speech, rig: &Rig) {
    let seen = rig.heard();
    let missing: Vec<_> = speech
        .numbers()
        .into_iter()
        .filter(|n| !seen.contains(n))
        .collect();
    assert!(missing.is_empty(), "{missing:?} of {:?}", rig.texts());
}

#[test]
fn no_interim_word_is_skipped_while_downstream_takes_nothing() {
    let speech = Speech::new(16_000)
        .say(0..70)
        .silence(700)
        .say(70..100)
        .silence(700)
        .say(100..150)
        .silence(700);
    for (live, max_chars) in [(true, 42), (true, 84), (false, 42), (false, 84)] {
        let service = service(Protocol::Realtime, |options| {
            options.partial_interval = Duration::from_millis(100);
        });
        let properties = format!("results=interim max-chars={max_chars} max-speed=20");
        let mut rig = if live {
            Rig::live(&service, &properties)
        } else {
            Rig::with(&service, 16_000, &properties)
        };
        let gate = Gate::new(&rig);
        rig.play();
        rig.push_all(speech.buffers(&[320], 0));
        rig.push_eos();
        for _ in 0..3 {
            rig.wait_for("a final", |message| {
                let structure = message.structure()?;
                (structure.name() == "qwenasr/transcript" && structure.get("final").unwrap())
                    .then_some(())
            });
        }
        gate.open();
        rig.wait_for_eos();
        check_all_seen(&speech, &rig);
    }
}

#[test]
fn no_interim_word_of_a_file_is_skipped_by_a_sink_in_sync() {
    let service = service(Protocol::Realtime, |options| {
        options.partial_interval = Duration::from_millis(100);
    });
    let speech = Speech::new(16_000).say(0..60).silence(400).say(60..100);
    let wav = speech.wav();
    let mut rig = Rig::launch(&format!(
        "filesrc location={} ! wavparse ! qwenasr name=asr {} turn-detection=client-vad \
         results=interim max-chars=42 ! fakesink name=out sync=true",
        wav.0.display(),
        service.properties()
    ));
    rig.play();
    rig.wait_for_eos();
    check_all_seen(&speech, &rig);
}

#[test]
fn short_utterances_are_shown_when_they_are_said_also_the_fortieth() {
    let mut speech = Speech::new(16_000);
    for n in 0..40 {
        speech = speech.say(n * 3..n * 3 + 3).silence(500);
    }
    for (live, results) in [
        (false, "final"),
        (true, "final"),
        (false, "interim"),
        (true, "interim"),
    ] {
        let service = service(Protocol::Realtime, |_| {});
        let properties = format!("results={results} max-speed=20 max-queue-time=60000");
        let mut rig = if live {
            Rig::live(&service, &properties)
        } else {
            Rig::with(&service, 16_000, &properties)
        };
        rig.run(speech.buffers(&[320], 0));
        assert_eq!(rig.finals().len(), 40);
        check_all_seen(&speech, &rig);
        let texts = rig.texts();
        for (n, said, _) in speech.truth.iter().step_by(3) {
            let first = texts.iter().find(|(text, ..)| numbers(text).contains(n));
            let (text, start, _) = first.unwrap();
            assert!(
                start + 150 >= *said && *start <= said + 1000,
                "{results}, live {live}: '{text}' at {start}, said at {said}"
            );
        }
        assert!(rig.warnings.is_empty(), "{:?}", rig.warnings);
    }
}

#[test]
fn a_recogniser_in_a_loop_is_cut_short_on_the_pad_with_a_warning() {
    let said = "but ".repeat(400).trim_end().to_owned();
    let item = (1..=8).fold(ScriptItem::new(said.clone()), |item, n| {
        item.partial(n * 200, "", "but ".repeat(50 * n as usize))
    });
    for results in ["final", "stable", "interim"] {
        let service = service(Protocol::Realtime, |options| {
            options.recogniser = ScriptRecogniser::factory(vec![item.clone()], "en");
            options.partial_interval = Duration::from_millis(100);
        });
        let mut rig = Rig::with(&service, 16_000, &format!("results={results} max-speed=20"));
        rig.run(
            Speech::new(16_000)
                .say(0..20)
                .silence(700)
                .buffers(&[320], 0),
        );
        assert!(rig.finals().contains(&said), "the message has all of it");
        let longest = rig.texts().iter().map(|(text, ..)| text.len()).max();
        assert!(longest <= Some(150), "{results}: {longest:?}");
        assert!(matches!(&rig.warnings[..], [text] if text.contains("repeated the same words")));
    }
}
