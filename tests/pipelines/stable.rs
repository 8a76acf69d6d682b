// SPDX-License-Identifier: MPL-2.0
//! `results=stable`: each word once, before its utterance ends, at its time.

use super::common::*;
use offline_service::{Faults, ScriptItem, ScriptRecogniser};
use std::time::Duration;

/// How far the words of these texts are from where they were said, in milliseconds, ascending.
fn errors(speech: &Speech, texts: &[(String, u64, u64)]) -> Vec<u64> {
    let mut errors: Vec<u64> = texts
        .iter()
        .map(|(text, start, _)| {
            let n = numbers(text)[0];
            let truth = speech.truth.iter().find(|(m, ..)| *m == n).unwrap();
            truth.1.abs_diff(*start)
        })
        .collect();
    errors.sort_unstable();
    errors
}

fn check_words(speech: &Speech, texts: &[(String, u64, u64)]) {
    let heard: Vec<u32> = texts.iter().flat_map(|(text, ..)| numbers(text)).collect();
    assert_eq!(heard, speech.numbers(), "every word once, in order");
    assert!(
        texts.iter().all(|(text, ..)| numbers(text).len() == 1),
        "one word each: {texts:?}"
    );
    assert!(
        texts.windows(2).all(|pair| pair[0].2 <= pair[1].1),
        "no overlap: {texts:?}"
    );
}

/// Text and gaps fill the whole time, without holes and overlaps.
fn check_coverage(left: &[Left], length_ms: u64) {
    let pieces = left.iter().filter_map(|left| match left {
        Left::Text { start, end, .. } | Left::Gap { start, end } => Some((*start, *end)),
        Left::Event(_) => None,
    });
    let end = pieces.fold(0, |position, (start, end)| {
        assert_eq!(start, position, "{left:?}");
        end
    });
    // What comes after the last sound may be the service's silence, or nobody's.
    assert!(end + 600 >= length_ms, "{end} of {length_ms}");
}

pub fn live_words_come_once_and_in_time(protocol: Protocol) {
    // Results come every 300 ms and are 300 ms behind, as those of the real service.
    let server = service(protocol, |options| {
        options.partial_interval = Duration::from_millis(300);
        options.faults.partial_lag_ms = 300;
    });
    let speech = Speech::new(16_000)
        .silence(300)
        .say(0..35)
        .silence(700)
        .say(35..60)
        .silence(600);
    let mut rig = Rig::live(&server, "results=stable latency=2000 max-speed=1");
    rig.play();
    rig.push_all(speech.buffers(&[320], 0));
    rig.push_eos();
    rig.wait_for("the first final", |message| {
        let structure = message.structure()?;
        (structure.has_field("final") && structure.get::<bool>("final").unwrap()).then_some(())
    });
    let before_the_final = rig.texts().len();
    assert!(
        before_the_final >= 20,
        "{before_the_final} words of 35 while they are spoken"
    );
    rig.wait_for_eos();
    let texts = rig.texts();
    check_words(&speech, &texts);
    check_coverage(&rig.left(), speech.length_ms());
    assert_eq!(rig.stat("late-texts"), 0, "every word before its deadline");
    let errors = errors(&speech, &texts);
    let (median, most) = (errors[errors.len() / 2], errors[errors.len() * 95 / 100]);
    let (median_limit, limit) = match protocol {
        Protocol::Inference => (20, 20),
        // Only what is certain comes: two words later.
        Protocol::LiveTranslate => (250, 400),
        _ => (150, 400),
    };
    assert!(
        median <= median_limit && most <= limit,
        "median {median}, 95 % {most}: {errors:?}"
    );
}

pub fn files_and_outages_keep_the_words(protocol: Protocol) {
    let speech = Speech::usual(16_000);
    let reset = |at| Faults {
        reset_after_ms: Some(at),
        ..Faults::default()
    };
    for faults in [Vec::new(), faults_at(protocol, 3400, &Speech::USUAL, reset)] {
        let server = service(protocol, |options| options.first_faults = faults.clone());
        let mut rig = Rig::with(&server, 16_000, "results=stable max-speed=50");
        rig.run(speech.buffers(&[320], 0));
        let texts = rig.texts();
        if faults.is_empty() {
            check_words(&speech, &texts);
        } else {
            // A word at the seam may come twice.
            let heard: Vec<u32> = texts.iter().flat_map(|(text, ..)| numbers(text)).collect();
            assert!(heard.len() <= speech.numbers().len() + 1, "{heard:?}");
            let mut once = heard;
            once.sort_unstable();
            once.dedup();
            assert_eq!(once, speech.numbers());
        }
    }
}

pub fn what_was_shown_is_not_taken_back(protocol: Protocol) {
    let item = ScriptItem::new("Hello, brave new world.")
        .partial(400, "", "hello brave")
        .partial(700, "", "hello brave new")
        .partial(1000, "hello brave ", "new word")
        .partial(1300, "hello brave new ", "world");
    let server = service(protocol, |options| {
        options.recogniser = ScriptRecogniser::factory(vec![item], "en");
        options.partial_interval = Duration::from_millis(100);
    });
    let mut rig = Rig::with(&server, 16_000, "results=stable max-speed=2");
    rig.run(
        Speech::new(16_000)
            .say(0..16)
            .silence(700)
            .buffers(&[320], 0),
    );
    let words: Vec<String> = rig.texts().into_iter().map(|(text, ..)| text).collect();
    assert_eq!(
        words.concat().to_lowercase().replace([',', '.'], ""),
        "hellobravenewworld",
        "{words:?}"
    );
    assert_eq!(words.len(), 4, "{words:?}");
}

pub fn chinese_comes_in_clauses(protocol: Protocol) {
    let item = ScriptItem::new("今天天气真不错，阳光明媚。")
        .partial(500, "", "今天")
        .partial(900, "", "今天天气真")
        .partial(1300, "今天", "天气真不错")
        .partial(1700, "今天天气真不错，", "")
        .partial(2100, "今天天气真不错，", "阳光")
        .partial(2500, "今天天气真不错，", "阳光明媚。");
    let server = service(protocol, |options| {
        options.recogniser = ScriptRecogniser::factory(vec![item], "zh");
        options.partial_interval = Duration::from_millis(100);
    });
    let mut rig = Rig::with(&server, 16_000, "results=stable max-speed=2");
    rig.run(
        Speech::new(16_000)
            .say(0..28)
            .silence(700)
            .buffers(&[320], 0),
    );
    let words: Vec<String> = rig.texts().into_iter().map(|(text, ..)| text).collect();
    assert_eq!(words.concat(), "今天天气真不错，阳光明媚。");
    assert!(words.len() <= 5, "{words:?}");
    assert!(words.iter().any(|word| word.ends_with('，')), "{words:?}");
}
