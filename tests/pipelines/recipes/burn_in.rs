// SPDX-License-Identifier: MPL-2.0
//! Text in the picture.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::*;
use offline_service::ScriptRecogniser;

/// A frame of video that passed by; times in milliseconds of running time.
#[derive(Debug, Clone, Copy)]
struct Frame {
    start: u64,
    end: u64,
    /// Whether there is anything but black in it.
    text: bool,
    /// When it passed.
    passed: u64,
}

/// The frames that leave the overlay, whose text goes into the rig's list.
fn watch_overlay(rig: &Rig) -> Arc<Mutex<Vec<Frame>>> {
    let overlay = rig.pipeline.by_name("overlay").unwrap();
    rig.watch(&overlay.static_pad("text_sink").unwrap());
    watch_frames(&overlay)
}

/// The frames that leave an element.
fn watch_frames(element: &gst::Element) -> Arc<Mutex<Vec<Frame>>> {
    let frames: Arc<Mutex<Vec<Frame>>> = Arc::default();
    let seen = frames.clone();
    let src = element.static_pad("src").unwrap();
    src.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
        let Some(gst::PadProbeData::Buffer(buffer)) = &info.data else {
            return gst::PadProbeReturn::Ok;
        };
        let luma = 480 * 270;
        let start = ms(buffer.pts().unwrap());
        let element = pad.parent_element().unwrap();
        seen.lock().unwrap().push(Frame {
            start,
            end: start + ms(buffer.duration().unwrap()),
            text: buffer.map_readable().unwrap()[..luma]
                .iter()
                .any(|y| *y > 128),
            // None while a file prerolls.
            passed: element.current_running_time().map_or(0, ms),
        });
        gst::PadProbeReturn::Ok
    });
    frames
}

/// Utterances with pauses, five seconds of it.
fn speech() -> Speech {
    Speech::new(16_000)
        .silence(300)
        .say(0..9)
        .silence(700)
        .say(9..24)
        .silence(500)
        .say(24..30)
        .silence(1200)
}

/// Whether one of the texts is to be seen in a frame, if they begin and end this many milliseconds
/// later and earlier.
fn is_due(frame: &Frame, texts: &[(String, u64, u64)], margin: u64) -> bool {
    texts
        .iter()
        .any(|(_, start, end)| start + margin < frame.end && frame.start + margin < *end)
}

/// Asserts that text is in every frame it is due in, and in no other.
fn check_frames(frames: &[Frame], texts: &[(String, u64, u64)]) {
    // Times are rounded to a millisecond.
    let is_wrong = |frame: &&Frame| match frame.text {
        true => {
            let wider = Frame {
                start: frame.start.saturating_sub(1),
                end: frame.end + 1,
                ..**frame
            };
            !is_due(&wider, texts, 0)
        }
        false => is_due(frame, texts, 1),
    };
    let wrong: Vec<&Frame> = frames.iter().filter(is_wrong).collect();
    assert!(wrong.is_empty(), "{wrong:?} of {texts:?}");
}

/// Plays five seconds of speech and this many frames of video; gives the frames and the texts.
fn play(recipe: Recipe, lag_ms: u64) -> (Vec<Frame>, Vec<(String, u64, u64)>) {
    let server = server(|options| {
        options.partial_interval = Duration::from_millis(200);
        options.faults.partial_lag_ms = lag_ms;
        options.faults.completed_lag_ms = lag_ms;
    });
    let mut rig = recipe
        .with_speech()
        .with_frames(150)
        .with("autovideosink", "fakesink sync=true")
        .with_service(&server.url())
        .rig();
    let frames = watch_overlay(&rig);
    rig.play();
    rig.push_all(speech().buffers(&[320], 0));
    rig.push_eos();
    rig.wait_for_eos();
    let frames = frames.lock().unwrap().clone();
    assert_eq!(frames.len(), 150);
    (frames, rig.texts())
}

#[test]
fn every_frame_in_sync_bears_its_text() {
    let test = |results: &str, lag_ms| {
        let recipe = Recipe::new("Burn-in, in sync");
        let recipe = match results {
            "interim" => recipe,
            _ => recipe.with("results=interim latency=2000", "latency=3000"),
        };
        let (frames, texts) = play(recipe, lag_ms);
        check_frames(&frames, &texts);
        let speech = speech();
        if results == "final" {
            let heard: Vec<u32> = texts.iter().flat_map(|(text, ..)| numbers(text)).collect();
            assert_eq!(heard, speech.numbers(), "every word once");
        }
        // What was said while the frame was taken.
        let silent: Vec<&Frame> = frames
            .iter()
            .filter(|frame| {
                let during =
                    |(_, begin, end): &(u32, u64, u64)| *begin < frame.end && frame.start < *end;
                !frame.text && speech.truth.iter().any(during)
            })
            .collect();
        assert!(silent.is_empty(), "{results}, {lag_ms} ms late: {silent:?}");
    };
    std::thread::scope(|scope| {
        for results in ["final", "interim"] {
            for lag_ms in [100, 500] {
                scope.spawn(move || test(results, lag_ms));
            }
        }
    });
}

#[test]
fn without_waiting_the_text_is_late_but_complete() {
    let (frames, texts) = play(Recipe::new("Burn-in with low latency"), 300);
    // The overlay has room for one text: where the next one follows, a frame may go without.
    let due: Vec<&Frame> = frames
        .iter()
        .filter(|frame| is_due(frame, &texts, 1))
        .collect();
    let bare: Vec<&&Frame> = due.iter().filter(|frame| !frame.text).collect();
    println!("{} of {} frames without their text", bare.len(), due.len());
    assert!(
        due.len() > 70 && bare.len() * 10 < due.len(),
        "{bare:?} of {texts:?}"
    );
    assert!(texts[0].1 >= 2300, "{texts:?}");
    // The sound's way to the overlay and back would take longer.
    let mut delays: Vec<u64> = frames
        .iter()
        .map(|frame| frame.passed.saturating_sub(frame.start))
        .collect();
    delays.sort_unstable();
    let median = delays[delays.len() / 2];
    assert!(median < 200, "frames waited {median} ms");
}

/// Live video goes on, `latency` late, whatever the service does.
#[test]
fn a_mute_service_does_not_hold_up_the_picture() {
    peers::load();
    let test = |recipe: Recipe, element: &str, latency: u64| {
        let server = server(|options| options.faults.stall_after_ms = Some(2000));
        let rig = recipe
            .with_speech()
            .with_frames(400)
            .with_service(&server.url())
            .rig();
        let frames = watch_frames(&rig.pipeline.by_name(element).unwrap());
        rig.play();
        rig.push_all(Speech::new(16_000).say(0..130).buffers(&[320], 0));
        // Ten seconds without a word. The end of the stream would free the picture.
        let begun = Instant::now();
        while frames.lock().unwrap().len() < 360 {
            assert!(
                begun.elapsed() < LONG,
                "{element}: the picture stands still: {:?}",
                frames.lock().unwrap().last()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        rig.stop();
        let frames = frames.lock().unwrap();
        let mut delays: Vec<u64> = frames
            .iter()
            .filter(|frame| frame.start > 2500)
            .map(|frame| frame.passed.saturating_sub(frame.start))
            .collect();
        delays.sort_unstable();
        let (median, most) = (delays[delays.len() / 2], delays[delays.len() - 1]);
        println!("{element}: the picture was {median} ms late, {most} ms at most");
        assert!(median <= latency + 300, "{element}: {median}");
        // A busy machine may hold it up for a moment, but not the service.
        assert!(most <= latency + 2300, "{element}: {most}");
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let recipe =
                Recipe::new("Burn-in, in sync").with("autovideosink", "fakesink sync=true");
            test(recipe, "overlay", 2000);
        });
        scope.spawn(|| {
            let file = "filesink location=captioned.ts";
            let recipe = Recipe::new("CEA-608").with(file, "fakesink sync=true");
            test(recipe, "captions", 3000);
        });
    });
}

#[test]
fn a_file_has_its_captions_in_the_picture() {
    let (video, subtitles, captioned) = (
        TempFile::new("mp4"),
        TempFile::new("srt"),
        TempFile::new("mp4"),
    );
    let mut rig = Rig::launch(&format!(
        "videotestsrc name=asr num-buffers=120 pattern=black \
         ! video/x-raw,format=I420,framerate=30/1,width=480,height=270 \
         ! x264enc tune=zerolatency ! mp4mux name=mux ! filesink location={} \
         audiotestsrc num-buffers=40 samplesperbuffer=4800 ! audio/x-raw,rate=48000 \
         ! voaacenc ! mux.",
        video.0.display()
    ));
    rig.play();
    rig.wait_for_eos();
    rig.stop();
    let cues = [("Hello.", 500, 1500), ("Who is there?", 2200, 3000)];
    let text = cues.iter().enumerate().map(|(index, (text, start, end))| {
        let time = |ms: &u64| format!("00:00:{:02},{:03}", ms / 1000, ms % 1000);
        format!(
            "{}\n{} --> {}\n{text}\n\n",
            index + 1,
            time(start),
            time(end)
        )
    });
    std::fs::write(&subtitles.0, text.collect::<String>()).unwrap();
    let mut rig = Recipe::new("Burn-in for a file")
        .with("talk.mp4", video.0.to_str().unwrap())
        .with("talk.srt", subtitles.0.to_str().unwrap())
        .with("captioned.mp4", captioned.0.to_str().unwrap())
        .with("subparse", "subparse name=asr")
        .rig();
    let frames = watch_frames(&rig.pipeline.by_name("overlay").unwrap());
    rig.play();
    rig.wait_for_eos();
    rig.stop();
    assert_eq!(frames.lock().unwrap().len(), 120);
    let cues = cues.map(|(text, start, end)| (text.to_owned(), start, end));
    check_frames(&frames.lock().unwrap(), &cues);
    // Picture and sound are in the file.
    let mut rig = Rig::launch(&format!(
        "filesrc location={} ! qtdemux name=asr asr.audio_0 ! fakesink async=false \
         asr.video_0 ! fakesink async=false",
        captioned.0.display()
    ));
    rig.play();
    rig.wait_for_eos();
}

#[test]
fn chinese_is_burnt_in() {
    let fonts = std::process::Command::new("fc-list")
        .args([":lang=zh-cn", "family"])
        .finish();
    assert!(String::from_utf8_lossy(&fonts.stdout).contains("WenQuanYi Micro Hei"));
    let server = server(|options| {
        options.recogniser = ScriptRecogniser::factory(vec![chinese()], "zh");
        options.partial_interval = Duration::from_millis(200);
    });
    let mut rig = Recipe::new("Chinese")
        .with_speech()
        .with_frames(90)
        .with("autovideosink", "fakesink sync=true")
        .with_service(&server.url())
        .rig();
    let frames = watch_overlay(&rig);
    rig.play();
    rig.push_all(
        Speech::new(16_000)
            .say(0..25)
            .silence(500)
            .buffers(&[320], 0),
    );
    rig.push_eos();
    rig.wait_for_eos();
    let texts = rig.texts();
    check_frames(&frames.lock().unwrap(), &texts);
    assert!(
        texts
            .iter()
            .any(|(text, ..)| text.contains("今天天气真不错")),
        "{texts:?}"
    );
}

#[test]
fn two_languages_are_in_the_picture() {
    let server = server(|options| options.partial_interval = Duration::from_millis(200));
    let mut rig = Recipe::new("Two languages in the picture")
        .with_speech()
        .with_frames(150)
        .with("autovideosink", "fakesink sync=true")
        // It has a name of its own.
        .with("qwenasr ", &format!("qwenasr url={} ", server.url()))
        .rig();
    let frames = watch_overlay(&rig);
    let above: Arc<Mutex<Vec<Left>>> = Arc::default();
    let overlay = rig.pipeline.by_name("above").unwrap();
    watch(&overlay.static_pad("text_sink").unwrap(), &above);
    rig.play();
    rig.push_all(speech().buffers(&[320], 0));
    rig.push_eos();
    rig.wait_for_eos();
    assert_eq!(frames.lock().unwrap().len(), 150);
    for texts in [rig.texts(), texts_of(&above.lock().unwrap())] {
        let heard: Vec<u32> = texts.iter().flat_map(|(text, ..)| numbers(text)).collect();
        let is_missing = |n: &u32| !heard.contains(n);
        let missing: Vec<u32> = speech().numbers().into_iter().filter(is_missing).collect();
        assert!(missing.is_empty(), "{missing:?} of {texts:?}");
    }
    assert!(rig.warnings.is_empty(), "{:?}", rig.warnings);
}
