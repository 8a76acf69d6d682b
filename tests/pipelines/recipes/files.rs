// SPDX-License-Identifier: MPL-2.0
//! Subtitle files that grow while the pipeline is live.

use std::time::{Duration, Instant};

use offline_service::{Options, ScriptRecogniser};

use super::*;

/// The recipe's encoder.
const WEBVTT: &str = "text/x-raw,format=pango-markup ! webvttenc";

/// Plays three utterances into a file; gives what was in it before the last one ended, and at the
/// end.
fn grow(encoder: &str, speech: &Speech, change: impl FnOnce(&mut Options)) -> (String, String) {
    let server = server(change);
    let file = TempFile::new("txt");
    let mut rig = Recipe::new("WebVTT and SubRip while it is live")
        .with_speech()
        .with(WEBVTT, encoder)
        .with("live.vtt", file.0.to_str().unwrap())
        .with_service(&server.url())
        .rig();
    rig.play();
    rig.push_all(speech.buffers(&[320], 0));
    rig.wait_for_message("qwenasr/speech-started");
    rig.wait_for_message("qwenasr/speech-started");
    let begun = Instant::now();
    while file.text().matches("-->").count() < 1 {
        assert!(begun.elapsed() < LONG, "the file does not grow");
        std::thread::sleep(Duration::from_millis(20));
    }
    let so_far = file.text();
    rig.push_eos();
    rig.wait_for_eos();
    rig.stop();
    (so_far, file.text())
}

/// Cues of a WebVTT file: text, begin and end in milliseconds.
fn webvtt(text: &str) -> Vec<(String, u64, u64)> {
    let cues = text.strip_prefix("WEBVTT\n\n").unwrap();
    let numbered: Vec<String> = cues
        .split("\n\n")
        .filter(|cue| !cue.trim().is_empty())
        .map(|cue| format!("1\n{}", cue.trim().replacen('.', ",", 2)))
        .collect();
    srt(&numbered.join("\n\n"))
}

fn speech() -> Speech {
    Speech::new(16_000)
        .silence(500)
        .say(0..12)
        .silence(900)
        .say(12..26)
        .silence(900)
        .say(26..40)
        .silence(900)
}

#[test]
fn webvtt_and_subrip_grow_and_end_well() {
    std::thread::scope(|scope| {
        for encoder in [WEBVTT, "srtenc"] {
            scope.spawn(move || {
                let parse = if encoder == "srtenc" { srt } else { webvtt };
                let (so_far, all) = grow(encoder, &speech(), |_| {});
                println!("{encoder}: {so_far}");
                assert!(all.starts_with(&so_far) && all.len() > so_far.len());
                assert!(!numbers(&parse(&so_far)[0].0).is_empty());
                check_cues(&speech(), &parse(&all), 0);
            });
        }
    });
}

#[test]
fn chinese_is_in_webvtt() {
    let (_, all) = grow(WEBVTT, &speech(), |options| {
        options.recogniser = ScriptRecogniser::factory(vec![chinese(); 3], "zh");
    });
    let cues: Vec<String> = webvtt(&all).into_iter().map(|(text, ..)| text).collect();
    assert_eq!(cues.concat(), chinese().transcript.repeat(3), "{all}");
}

#[test]
fn what_looks_like_markup_is_read_as_text() {
    let said = "AT&T's R&D <laughter>: 3 < 4 --> next";
    let service = |options: &mut Options| {
        let item = ScriptItem::new(said);
        options.recogniser = ScriptRecogniser::factory(vec![item; 3], "en");
    };
    let (_, all) = grow(WEBVTT, &speech(), service);
    let cues = webvtt(&all);
    assert_eq!(cues.len(), 3, "{all}");
    for (cue, ..) in cues {
        // By the book, neither may be in a cue but as part of an escape or a tag.
        assert!(!cue.contains(['<', '>']), "{cue}");
        for part in cue.split('&').skip(1) {
            let escapes = ["amp;", "lt;", "gt;"];
            assert!(
                escapes.iter().any(|escape| part.starts_with(escape)),
                "{cue}"
            );
        }
        let plain = cue
            .replace("&lt;", "<")
            .replace("&gt;", ">")
            .replace("&amp;", "&");
        assert_eq!(plain, said);
    }
    let (_, all) = grow("srtenc", &speech(), service);
    assert_eq!(all.matches(said).count(), 3, "{all}");
}

#[test]
fn text_that_comes_late_has_its_true_times_all_the_same() {
    let server = server(|_| {});
    let file = TempFile::new("srt");
    let mut rig = Recipe::new("WebVTT and SubRip while it is live")
        .with_speech()
        .with(WEBVTT, "srtenc")
        .with("live.vtt", file.0.to_str().unwrap())
        .with("qwenasr ", "qwenasr latency=200 ")
        .with_service(&server.url())
        .rig();
    rig.play();
    rig.push_all(speech().buffers(&[320], 0));
    rig.push_eos();
    rig.wait_for_eos();
    rig.stop();
    let delay = rig.element.property::<u32>("max-observed-delay");
    assert!(delay > 1500, "{delay}");
    check_cues(&speech(), &srt(&file.text()), 0);
    assert_eq!(rig.stat("late-texts"), 0);
    assert!(rig.warnings.is_empty(), "{:?}", rig.warnings);
}

#[test]
fn each_language_has_a_webvtt_file() {
    let server = server(|_| {});
    let (spoken, translated) = (TempFile::new("vtt"), TempFile::new("vtt"));
    let mut rig = Recipe::new("WebVTT in two languages")
        .with_speech()
        .with("live.vtt", spoken.0.to_str().unwrap())
        .with("live.fr.vtt", translated.0.to_str().unwrap())
        // It has a name of its own.
        .with("qwenasr ", &format!("qwenasr url={} ", server.url()))
        .rig();
    rig.play();
    rig.push_all(speech().buffers(&[320], 0));
    rig.push_eos();
    rig.wait_for_eos();
    rig.stop();
    check_cues(&speech(), &webvtt(&spoken.text()), 0);
    let cues = webvtt(&translated.text());
    let heard: Vec<u32> = cues.iter().flat_map(|(text, ..)| numbers(text)).collect();
    assert_eq!(heard, speech().numbers());
    assert!(cues.iter().all(|(text, ..)| text.starts_with("fr")));
}
