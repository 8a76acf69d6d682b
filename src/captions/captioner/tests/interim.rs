// SPDX-License-Identifier: MPL-2.0
//! The rolling line of `results=interim`.

use super::*;

#[test]
fn the_interim_line_rolls() {
    let mut s = Script::new(Mode::Interim);
    assert_eq!(s.interim(1, "", 400, 500), "");
    assert_eq!(s.interim(1, "Good", 400, 900), "- 0-400 | Good 400-900");
    assert_eq!(
        s.interim(1, "Good evening", 400, 1300),
        "Good evening 900-1300"
    );
    assert_eq!(s.due(1200), "");
    assert_eq!(s.due(1600), "~Good evening 1300-1600");
    assert_eq!(
        s.interim(1, "Good evening, here is", 400, 1700),
        "here is 1600-1700",
        "the first line is full"
    );
    assert_eq!(
        s.interim(1, "Good evening, here is the news of the day", 400, 2100),
        "the news of the day 1700-2100",
        "and the second is, of which all has been seen"
    );
    assert_eq!(
        s.finalise(1, "Good evening. Here is the news of the day.", 400, 2050),
        "the news of the day. 2100-3050 | ."
    );
    assert_eq!(s.watermark(3500), "~the news of the day. 3050-3500");
    assert_eq!(
        s.watermark(9900),
        "~the news of the day. 3500-9100 | - 9100-9900",
        "for max-duration"
    );
}

#[test]
fn an_interim_line_that_was_a_cough_goes() {
    let mut s = Script::new(Mode::Interim);
    assert_eq!(s.interim(1, "Oh", 0, 500), "Oh 0-500");
    assert_eq!(s.interim(1, "…", 0, 700), "");
    assert_eq!(s.finalise(1, "", 0, 500), "");
    assert_eq!(s.watermark(1000), "- 500-1000");
}

#[test]
fn no_interim_line_is_lost_where_there_is_no_time_for_it() {
    let mut s = Script::new(Mode::Interim);
    assert_eq!(s.due(2000), "- 0-2000");
    assert_eq!(s.interim(1, "one two three four", 0, 1000), "");
    assert_eq!(s.interim(1, "one two three four five six", 0, 1500), "");
    assert_eq!(
        s.due(2400),
        "one two three four 2000-2200 | five six 2200-2400"
    );
    assert_eq!(
        s.interim(1, "one two three four five six seven eight nine", 0, 2300),
        ""
    );
    assert_eq!(
        s.finalise(
            1,
            "one two three four five six seven eight nine ten",
            0,
            2400
        ),
        "seven eight nine ten 2400-3400 | ."
    );
}

#[test]
fn two_interim_utterances_at_a_time_lose_and_repeat_nothing() {
    let mut s = Script::new(Mode::Interim);
    assert_eq!(s.interim(1, "How are", 0, 600), "How are 0-600");
    assert_eq!(
        s.interim(2, "Fine", 700, 1200),
        "~How are 600-700 | Fine 700-1200"
    );
    assert_eq!(
        s.finalise(1, "How are you?", 0, 500),
        "How are you? 1200-1500 | ."
    );
    assert_eq!(s.interim(2, "Fine, and", 700, 1600), "Fine, and 1500-1600");
    assert_eq!(s.interim(3, "Well", 1600, 2100), "Well 1600-2100");
    assert_eq!(
        s.finalise(2, "Fine, and", 700, 1600),
        ".",
        "all of it has been seen"
    );
    assert_eq!(s.finalise(3, "Well.", 1600, 2000), "Well. 2100-3000 | .");
}

#[test]
fn an_interim_utterance_without_a_hypothesis_is_a_cue() {
    let mut s = Script::new(Mode::Interim);
    assert_eq!(
        s.finalise(1, "Good evening. Here is the news.", 500, 3500),
        "- 0-500 | Good evening. 500-1758 | Here is the news. 1758-3500 | ."
    );
    assert_eq!(s.watermark(4000), "- 3500-4000", "it does not stay on");
}
