// SPDX-License-Identifier: MPL-2.0
//! A service that repeats itself.

use super::*;

#[test]
fn a_loop_is_cut_and_said_once() {
    for mode in [Mode::Final, Mode::Stable, Mode::Interim] {
        let mut s = Script::with(mode, 84, 1000, 7000);
        let looping = |count: usize| format!("So {}that was it.", "but ".repeat(count));
        let mut told = Vec::new();
        for count in [5, 20, 400] {
            s.interim(1, &looping(count), 0, 10 * count as u64);
            told.extend(s.captioner.take_repeats());
        }
        s.finalise(1, &looping(400), 0, 5000);
        told.extend(s.captioner.take_repeats());
        assert_eq!(told.len(), 1, "{mode:?}: {told:?}");
        s.finalise(2, "And no no no no no no no no.", 6000, 9000);
        assert_eq!(s.captioner.take_repeats(), None);
    }
}

#[test]
fn a_loop_is_short_and_after_it_words_are_in_time() {
    for (phrase, count, most) in [
        ("but ", 400, 150),
        ("I mean it. ", 130, 150),
        ("Thank you. ", 100, 150),
        ("像", 119, 24),
    ] {
        let mut s = Script::with(Mode::Stable, 84, 1000, 7000);
        for n in 1..=25 {
            let so_far = phrase.repeat(count * n / 25);
            let said = transcript(1, "", &so_far, 0, 200 * n as u64);
            s.captioner.interim(&said, &mut s.out);
            let due = (200 * n as u64).saturating_sub(1000);
            s.captioner.due(AT(due), &mut s.out);
        }
        let said = transcript(1, &phrase.repeat(count), "", 0, 5000);
        s.captioner.finalise(&said, &mut s.out);
        let shown = s.out.drain(..).filter_map(text_of);
        let length: usize = shown.map(|text| text.chars().count()).sum();
        assert!(length <= most, "{phrase}: {length} characters");
        let next = s.finalise(2, "next", 6300, 6800);
        assert!(next.ends_with("next 6300-6800 | ."), "{phrase}: {next}");
    }
}

#[test]
fn whatever_comes_the_next_words_are_late_by_a_second_at_most() {
    let endless: String = (0..10_000).map(|n| format!("word{n} ")).collect();
    let run: String = ('\u{4e00}'..'\u{6000}').collect();
    for text in [&endless, &run] {
        let mut s = Script::with(Mode::Stable, 84, 1000, 7000);
        let transcript = transcript(1, &text[..text.len() / 3], "", 0, 3000);
        s.captioner.interim(&transcript, &mut s.out);
        let transcript = self::transcript(1, text, "", 0, 5000);
        s.captioner.finalise(&transcript, &mut s.out);
        let shown: String = s.out.drain(..).filter_map(text_of).collect();
        let dense = |text: &str| text.split_whitespace().collect::<String>();
        assert_eq!(dense(&shown), dense(text), "all of it is shown");
        let transcript = self::transcript(2, "next", "", 5000, 5500);
        s.captioner.finalise(&transcript, &mut s.out);
        let start = s.out.drain(..).find_map(|piece| match piece {
            Piece::Text { text, start, .. } if text == "next" => Some(start.millis()),
            _ => None,
        });
        assert!(start <= Some(6000), "{start:?}");
    }
}
