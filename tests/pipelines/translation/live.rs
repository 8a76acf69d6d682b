// SPDX-License-Identifier: MPL-2.0
//! In real time, with a service whose translations come two seconds after what they translate.

use std::time::Duration;

use offline_service::Faults;

use super::*;

/// How late the service is, in milliseconds: with what is said, and with translations.
const LAG: u64 = 300;
const TRANSLATION_LAG: u64 = 2000;

/// A service that is about as slow as the real one.
fn slow() -> Server {
    let late = |lag| Faults {
        partial_lag_ms: lag,
        completed_lag_ms: lag,
        ..Faults::default()
    };
    translating(|options| {
        options.partial_interval = Duration::from_millis(200);
        options.faults = late(LAG);
        options.translation_faults = Some(late(TRANSLATION_LAG));
    })
}

/// Three utterances with pauses in which lines can be read, and time for all of it to come.
fn speech() -> Speech {
    Speech::new(16_000)
        .silence(500)
        .say(0..12)
        .silence(1200)
        .say(12..20)
        .silence(1300)
        .say(20..44)
        .silence(2700)
}

/// Text that left a pad, from when to when it is shown, and when it left, as running time in
/// milliseconds.
#[derive(Debug, Clone)]
struct Departure {
    text: String,
    start: u64,
    end: u64,
    left: u64,
}

type Departures = Arc<Mutex<Vec<Departure>>>;

/// Notes the text that leaves a pad whose segment begins at 0.
fn departures(rig: &Rig, name: &str) -> Departures {
    let all = Departures::default();
    let (list, element) = (all.clone(), rig.element.downgrade());
    let pad = rig.element.static_pad(name).unwrap();
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        let now = element.upgrade().and_then(|it| it.current_running_time());
        let buffer = info.buffer().unwrap();
        let (start, duration) = (buffer.pts().unwrap(), buffer.duration().unwrap());
        list.lock().unwrap().push(Departure {
            text: String::from_utf8(buffer.map_readable().unwrap().to_vec()).unwrap(),
            start: ms(start),
            end: ms(start + duration),
            left: ms(now.unwrap()),
        });
        gst::PadProbeReturn::Ok
    });
    all
}

/// The pads, and what their words begin with.
const PADS: [(&str, &str); 3] = [
    ("src", "w"),
    ("translate_src_0", "fr"),
    ("translate_src_1", "de"),
];

/// Speech as it is spoken, through all pads. Returns what left each.
fn play(speech: &Speech, properties: &str, sync: bool) -> (Rig, [Vec<Departure>; 3]) {
    let server = slow();
    let source = format!("{SOURCE} is-live=true ! clocksync");
    let properties = format!("{EXACT} {properties}");
    let (mut rig, _) = rig_of(&source, &server, &["fr", "de"], &properties);
    for sink in ["out", "out0", "out1"] {
        let sink = rig.pipeline.by_name(sink).unwrap();
        sink.set_property("sync", sync);
    }
    let pads = PADS.map(|(name, _)| departures(&rig, name));
    rig.run(speech.buffers(&[320], 0));
    let pads = pads.map(|list| list.lock().unwrap().clone());
    (rig, pads)
}

fn late_texts(rig: &Rig, pad: &str) -> u64 {
    let pad = rig.element.static_pad(pad).unwrap();
    let stats = pad.property::<gst::Structure>("stats");
    stats.get("late-texts").unwrap()
}

/// Words one by one: where an utterance begins and ends, which the service tells, to 100 ms; those
/// between about where they were said.
fn check_words(speech: &Speech, words: &[(String, u64, u64)]) {
    assert_eq!(heard(words), speech.numbers());
    let mut errors = Vec::new();
    for (n, ((word, start, end), (_, from, until))) in words.iter().zip(&speech.truth).enumerate() {
        let before = n.checked_sub(1).map(|n| speech.truth[n].2);
        let after = speech.truth.get(n + 1);
        if before.is_none_or(|end| end < *from) {
            assert!(start.abs_diff(*from) <= 100, "{word} at {start}: {words:?}");
        }
        if after.is_none_or(|next| *until < next.1) {
            assert!(end.abs_diff(*until) <= 100, "{word} to {end}: {words:?}");
        }
        errors.push(start.abs_diff(*from));
    }
    errors.sort_unstable();
    let [median, most] = [errors.len() / 2, errors.len() - 1].map(|n| errors[n]);
    assert!(median <= 150 && most <= 400, "{median}, {most}: {words:?}");
}

/// Lines that grow and roll on: no word is missing, and none comes again once its line is gone.
/// Utterances have their place, and words are shown soon after they were said.
fn check_lines(speech: &Speech, lines: &[(String, u64, u64)]) {
    let (mut first, mut next) = (0, 0);
    for (line, start, end) in lines {
        let words = numbers(line);
        let newest = *words.last().unwrap();
        assert!((words[0]..=newest).eq(words.iter().copied()), "{line}");
        assert!((first..=next).contains(&words[0]), "{line} in {lines:?}");
        let (_, said_from, said_until) = speech.truth[newest as usize];
        if newest >= next {
            let delay = start.saturating_sub(said_from);
            assert!(
                delay <= 700 && *end + 100 >= said_until,
                "{line} at {start}"
            );
        }
        let begins = |n: u32| n == 0 || speech.truth[n as usize - 1].2 < speech.truth[n as usize].1;
        if words[0] >= next && begins(words[0]) {
            let said = speech.truth[words[0] as usize].1;
            assert!(
                start.abs_diff(said) <= 100,
                "{line} at {start}, said at {said}"
            );
        }
        (first, next) = (words[0], next.max(newest + 1));
    }
    assert_eq!(next as usize, speech.truth.len(), "{lines:?}");
}

fn check(results: &str, latency: u64) {
    let speech = speech();
    let properties = format!("results={results} latency={latency}");
    let (rig, pads) = play(&speech, &properties, false);
    for ((name, language), left) in PADS.iter().zip(&pads) {
        let late = left.iter().find(|text| text.left > text.start + latency);
        assert!(late.is_none(), "{results} on {name}: {late:?}");
        let texts = left.iter().map(|it| (it.text.clone(), it.start, it.end));
        let texts: Vec<_> = texts.collect();
        check_language(language, &texts);
        match results {
            "stable" => check_words(&speech, &texts),
            "interim" => check_lines(&speech, &texts),
            _ => check_cues(&speech, &texts, 0),
        }
    }
    assert_eq!(rig.stat("late-texts"), 0);
    assert!(rig.warnings.is_empty(), "{:?}", rig.warnings);
    if results == "stable" {
        // Each word has left about as much later as it came.
        for translation in &pads[1..] {
            let words = translation.iter().zip(&pads[0]);
            let mut delays: Vec<_> = words.map(|(it, said)| it.left - said.left).collect();
            delays.sort_unstable();
            let median = delays[delays.len() / 2];
            assert!((1000..=3000).contains(&median), "{median}");
        }
    }
}

#[test]
fn translations_are_in_time_and_in_their_place() {
    std::thread::scope(|scope| {
        for (results, latency) in [("final", 6000), ("stable", 4000), ("interim", 4000)] {
            scope.spawn(move || check(results, latency));
        }
    });
}

#[test]
fn a_translation_that_comes_too_late_is_shown_late_and_said_so() {
    let speech = speech();
    // Enough for what is said, and not for translations.
    let latency = 3700;
    let properties = format!("results=final latency={latency}");
    let (rig, pads) = play(&speech, &properties, true);
    for ((name, _), left) in PADS.iter().zip(&pads) {
        let words: Vec<_> = left.iter().flat_map(|it| numbers(&it.text)).collect();
        assert_eq!(words, speech.numbers(), "{name}");
        let was_late = left.iter().any(|text| text.left > text.start + latency);
        let is_translation = *name != PADS[0].0;
        assert_eq!(was_late, is_translation, "{name}: {left:?}");
        if is_translation {
            assert!(late_texts(&rig, name) > 0, "{name}: {left:?}");
        }
    }
    let late = PADS[1..].iter().map(|(name, _)| late_texts(&rig, name));
    assert_eq!(rig.stat("late-texts"), late.sum::<u64>());
    let mut warnings = rig.warnings.iter();
    assert!(warnings.any(|text| text.contains("Text came")));
}
