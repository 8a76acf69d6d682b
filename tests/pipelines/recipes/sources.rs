// SPDX-License-Identifier: MPL-2.0
//! Sound of two people, sound that is switched off, and words that are not shown.

use std::time::Duration;

use offline_service::ScriptRecogniser;

use super::*;

/// Two voices, each in a channel of its own, as a WAV file.
fn call(left: &Speech, right: &Speech) -> TempFile {
    let file = TempFile::new("wav");
    let length = left.samples.len().max(right.samples.len());
    let sample = |speech: &Speech, at: usize| speech.samples.get(at).copied().unwrap_or_default();
    let both: Vec<i16> = (0..length)
        .flat_map(|at| [sample(left, at), sample(right, at)])
        .collect();
    let pipeline = gst::parse::launch(&format!(
        "appsrc name=src format=time caps=audio/x-raw,format=S16LE,rate=16000,channels=2,\
         layout=interleaved,channel-mask=(bitmask)0x3 ! wavenc ! filesink location={}",
        file.0.display()
    ));
    let pipeline = pipeline.unwrap().downcast::<gst::Pipeline>().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    let source = pipeline.by_name("src").unwrap();
    let mut buffer = gst::Buffer::from_slice(offline_service::blocks::bytes(&both));
    buffer.get_mut().unwrap().set_pts(gst::ClockTime::ZERO);
    let _ = source.emit_by_name::<gst::FlowReturn>("push-buffer", &[&buffer]);
    let _ = source.emit_by_name::<gst::FlowReturn>("end-of-stream", &[]);
    let timeout = gst::ClockTime::from_seconds(LONG.as_secs());
    let end = pipeline.bus().unwrap();
    let end = end.timed_pop_filtered(timeout, &[gst::MessageType::Eos, gst::MessageType::Error]);
    assert_eq!(end.unwrap().type_(), gst::MessageType::Eos);
    pipeline.set_state(gst::State::Null).unwrap();
    file
}

#[test]
fn each_channel_has_captions_of_its_own() {
    let server = server(|_| {});
    let talk = |silence, words| Speech::new(16_000).silence(silence).say(words).silence(900);
    let (agent, caller) = (talk(500, 0..12), talk(2500, 40..52));
    let recording = call(&agent, &caller);
    let files = [TempFile::new("srt"), TempFile::new("srt")];
    let mut recipe = Recipe::new("Two channels told apart")
        .with("call.wav", recording.0.to_str().unwrap())
        .with("agent.srt", files[0].0.to_str().unwrap())
        .with("caller.srt", files[1].0.to_str().unwrap());
    let service = format!("url={}", server.url());
    for (name, ours) in [("agent", "asr"), ("caller", "caller")] {
        recipe = recipe.with(
            &format!("qwenasr name={name} "),
            &format!("qwenasr name={ours} {service} "),
        );
    }
    let mut rig = recipe.rig();
    rig.play();
    rig.wait_for_eos();
    rig.stop();
    for (speech, file) in [agent, caller].iter().zip(&files) {
        check_cues(speech, &srt(&file.text()), 0);
    }
}

#[test]
fn masked_words_are_not_shown() {
    peers::load();
    for results in ["final", "stable"] {
        let server = server(|options| {
            let said = "That Bloody bloodhound is damn, damn good.";
            options.recogniser = ScriptRecogniser::factory(vec![spoken(said, 2000)], "en");
            options.partial_interval = Duration::from_millis(200);
        });
        let file = TempFile::new("srt");
        let mut rig = Recipe::new("Words that must not be shown")
            .with_speech()
            .with("masked.srt", file.0.to_str().unwrap())
            .with("qwenasr ", &format!("qwenasr results={results} "))
            .with_service(&server.url())
            .rig();
        rig.play();
        rig.push_all(
            Speech::new(16_000)
                .say(0..20)
                .silence(1500)
                .buffers(&[320], 0),
        );
        rig.push_eos();
        rig.wait_for_eos();
        rig.stop();
        let shown: Vec<String> = srt(&file.text())
            .into_iter()
            .map(|(text, ..)| text)
            .collect();
        let shown = shown.join(" ");
        let words: Vec<&str> = shown.split_whitespace().collect();
        assert_eq!(
            words.join(" "),
            "That *** bloodhound is ***, *** good.",
            "{results}"
        );
    }
}

#[test]
fn a_microphone_that_is_switched_off_loses_nothing_and_keeps_time() {
    let server = server(|_| {});
    let file = TempFile::new("srt");
    let mut rig = Recipe::new("A microphone that is switched off")
        .with_speech()
        .with("live.srt", file.0.to_str().unwrap())
        .with_service(&server.url())
        .rig();
    let microphone = rig.pipeline.by_name("microphone").unwrap();
    // Off from the middle of a word on, for two seconds of somebody else's talk.
    let switch = microphone.clone();
    let pad = microphone.static_pad("sink").unwrap();
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        let at = ms(info.buffer().unwrap().pts().unwrap());
        switch.set_property("drop", (1500..3500).contains(&at));
        gst::PadProbeReturn::Ok
    });
    let spoken = Speech::new(16_000).silence(500).say(0..30);
    let spoken = spoken.silence(500).say(40..52).silence(900);
    rig.play();
    rig.push_all(spoken.buffers(&[320], 0));
    rig.push_eos();
    rig.wait_for_eos();
    rig.stop();
    // What was heard before and after.
    let heard = spoken
        .truth
        .iter()
        .filter(|(_, begin, end)| *end <= 1500 || *begin >= 3500);
    let mut expected = spoken.clone();
    expected.truth = heard.copied().collect();
    check_cues(&expected, &srt(&file.text()), 0);
    assert!(rig.warnings.is_empty(), "{:?}", rig.warnings);
    assert_eq!(rig.stat("audio-lost"), 0);
}
