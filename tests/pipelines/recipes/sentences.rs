// SPDX-License-Identifier: MPL-2.0
//! Words that are collected into sentences.

use std::time::Duration;

use offline_service::ScriptRecogniser;

use super::*;

/// The cues of the recipe's file for speech of three seconds without a pause.
fn cues(recipe: &str, said: ScriptItem, language: &'static str) -> Vec<(String, u64, u64)> {
    peers::load();
    let server = server(|options| {
        options.recogniser = ScriptRecogniser::factory(vec![said.clone()], language);
        options.partial_interval = Duration::from_millis(200);
    });
    let file = TempFile::new("srt");
    let mut rig = Recipe::new(recipe)
        .with_speech()
        .with("sentences.srt", file.0.to_str().unwrap())
        .with_service(&server.url())
        .rig();
    rig.play();
    let speech = Speech::new(16_000).say(0..30).silence(1500);
    rig.push_all(speech.buffers(&[320], 0));
    rig.push_eos();
    rig.wait_for_eos();
    rig.stop();
    srt(&file.text())
}

#[test]
fn sentences_are_cues() {
    let said = "The fish is off. The cat, being hungry, looks on. Where is everybody?";
    let cues = cues("Whole sentences", spoken(said, 3000), "en");
    let texts: Vec<&str> = cues.iter().map(|(text, ..)| text.trim()).collect();
    assert_eq!(
        texts,
        [
            "The fish is off.",
            "The cat, being hungry, looks on.",
            "Where is everybody?"
        ]
    );
    // Thirteen words of equal length.
    for ((text, start, _), expected) in cues.iter().zip([0, 923, 2308]) {
        assert!(start.abs_diff(expected) < 500, "{text} at {start}");
    }
}

#[test]
fn chinese_sentences_have_no_spaces() {
    let said = ScriptItem::new("今天用 Wi-Fi 上网。阳光明媚。")
        .partial(500, "今天", "用")
        .partial(1000, "今天用 Wi-Fi", " 上网")
        .partial(1500, "今天用 Wi-Fi 上网。", "阳光")
        .partial(2100, "今天用 Wi-Fi 上网。阳光", "明媚");
    let cues = cues("Whole sentences in Chinese", said, "zh");
    let texts: Vec<&str> = cues.iter().map(|(text, ..)| text.trim()).collect();
    assert_eq!(texts, ["今天用Wi-Fi 上网。", "阳光明媚。"]);
}
