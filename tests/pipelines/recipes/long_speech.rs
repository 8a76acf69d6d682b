// SPDX-License-Identifier: MPL-2.0
//! Half a minute of speech without a pause.

use std::time::Duration;

use offline_service::{ScriptRecogniser, Server};

use super::closed_captions::{captions_of, cea_608, collect, words};
use super::*;

const TEXT: &str = "The council met last night to talk about the old bridge in the north of the town, \
which has been closed since the storm in March. Most of those who spoke want it repaired, \
although that would cost more than a new one. The mayor said that she would ask the \
government for half of the money, and that work could begin in spring. Until then all of the \
traffic has to go around by the motorway, which takes twenty minutes more, and the shops on \
both sides of the river have lost a third of their customers already.";

const LENGTH_MS: u64 = 30_000;

fn service() -> Server {
    server(|options| {
        options.recogniser = ScriptRecogniser::factory(vec![spoken(TEXT, LENGTH_MS)], "en");
        options.partial_interval = Duration::from_millis(300);
        options.faults.partial_lag_ms = 300;
    })
}

fn speech() -> Speech {
    Speech::new(16_000)
        .say(0..LENGTH_MS as u32 / 100)
        .silence(1000)
}

#[test]
fn words_come_while_they_are_spoken_and_fit_cea_608() {
    peers::load();
    let server = service();
    let file = TempFile::new("ts");
    let mut rig = Recipe::new("CEA-608")
        .with_speech()
        .with_frames(1000)
        .with("captioned.ts", file.0.to_str().unwrap())
        .with("tttocea608 ", "tttocea608 name=encoder ")
        .with_service(&server.url())
        .rig();
    rig.watch(&rig.element.static_pad("src").unwrap());
    let encoder = rig.pipeline.by_name("encoder").unwrap();
    let captions = collect(&encoder.static_pad("src").unwrap());
    rig.play();
    rig.push_all(speech().buffers(&[320], 0));
    rig.push_eos();
    rig.wait_for("the final", |message| {
        let structure = message.structure()?;
        (structure.has_field("final") && structure.get::<bool>("final").unwrap()).then_some(())
    });
    let before_the_final = rig.texts().len();
    rig.wait_for_eos();
    rig.stop();

    let texts = rig.texts();
    let all = words(TEXT);
    assert_eq!(
        texts
            .iter()
            .map(|(text, ..)| text.as_str())
            .collect::<Vec<_>>(),
        all
    );
    assert!(
        before_the_final >= all.len() - 8,
        "{before_the_final} of {} words while they are spoken",
        all.len()
    );
    assert_eq!(rig.stat("late-texts"), 0);
    let delay = rig.element.property::<u32>("max-observed-delay");
    assert!(delay <= 3000, "{delay}");

    // Each frame of captions has its own time, and each word is out soon after it was said.
    let captions = captions.lock().unwrap();
    let crowded = captions
        .windows(2)
        .filter(|pair| pair[0].0 >= pair[1].0)
        .count();
    let (mut out, mut lag) = (0, 0);
    for (at, (pts, data)) in captions.iter().enumerate() {
        // Padding adds nothing.
        if data[..] == [0x80, 0x80] {
            continue;
        }
        let so_far = captions[..=at].iter().map(|(_, data)| [data[0], data[1]]);
        let so_far = cea_608(so_far);
        while words(&so_far).get(out) == all.get(out) && out < all.len() {
            lag = lag.max(pts.saturating_sub(texts[out].1));
            out += 1;
        }
    }
    assert_eq!(out, all.len(), "every word is there");
    println!("delay {delay} ms, {crowded} crowded, encoder {lag} ms behind");
    assert_eq!(crowded, 0);
    assert!(lag < 1000, "the encoder falls {lag} ms behind");
    assert_eq!(words(&captions_of(&file).cea608), all);
}

#[test]
fn cues_are_readable() {
    let server = service();
    let mut rig = Rig::new(16_000, &server.url(), "max-speed=20");
    rig.run(speech().buffers(&[320], 0));
    let texts = rig.texts();
    let all: Vec<&str> = texts.iter().flat_map(|(text, ..)| words(text)).collect();
    assert_eq!(all, words(TEXT));
    for (text, start, end) in &texts {
        let length = end - start;
        let characters = text.chars().count() as u64;
        assert!(
            length <= 7000 && characters * 1000 <= 20 * length,
            "{text}: {start} to {end}"
        );
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines.len() <= 2, "{text}");
        assert!(lines.iter().all(|line| line.len() <= 42), "{text}");
    }
}
