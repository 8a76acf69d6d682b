// SPDX-License-Identifier: MPL-2.0
//! `live_captions`, and `local_server`, which both run until they are ended.

use std::sync::{Arc, Mutex};

use super::*;

const WIDTH: usize = 320;

const HEIGHT: usize = 180;

#[test]
fn live_captions_shows_captions_and_how_it_goes() {
    let service = server(|_| {});
    let speech = speech();
    let (wav, video) = (speech.wav(), TempFile::new("gray"));
    let sink = format!(
        "videorate ! videoscale ! video/x-raw,format=GRAY8,width={WIDTH},height={HEIGHT},framerate=5/1 \
         ! filesink location={}",
        video.0.display()
    );
    let input = wav.0.to_str().unwrap();
    let output = example(
        "live_captions",
        &[input, "--url", &service.url(), "--sink", &sink],
    );
    let (said, errors) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{said}{errors}");
    let heard: Vec<u32> = said
        .lines()
        .flat_map(|line| numbers(line.split_once(' ').unwrap().1))
        .collect();
    assert_eq!(heard, speech.numbers());
    let frames = std::fs::read(&video.0).unwrap();
    let bright = |lines: &[u8]| lines.iter().filter(|&&luma| luma > 150).count() >= 40;
    let (mut with_captions, mut with_status, mut count) = (0, 0, 0);
    for frame in frames.chunks_exact(WIDTH * HEIGHT) {
        let (above, below) = frame.split_at(WIDTH * HEIGHT / 2);
        with_status += usize::from(bright(above));
        with_captions += usize::from(bright(below));
        count += 1;
    }
    // 5.2 s, all but the beginning with captions, as the last line stays through the pauses.
    assert!((22..=30).contains(&count), "{count}");
    assert!((20..count).contains(&with_captions), "{with_captions}");
    assert!(with_status + 2 >= count, "{with_status} of {count}");
}

#[test]
fn live_captions_shows_a_translation_as_well() {
    let service = server(|_| {});
    let speech = speech();
    let wav = speech.wav();
    let input = wav.0.to_str().unwrap();
    let arguments = [
        input,
        "--url",
        &service.url(),
        "--translate",
        "fr",
        "--sink",
        "fakesink",
    ];
    let output = example("live_captions", &arguments);
    let (said, errors) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{said}{errors}");
    let (translated, spoken): (Vec<&str>, Vec<&str>) =
        said.lines().partition(|line| line.contains("[fr]"));
    let heard = |lines: Vec<&str>| -> Vec<u32> {
        let words = lines.iter().flat_map(|line| line.split(' '));
        let words = words.filter(|word| word.starts_with("fr") || word.starts_with('w'));
        words.flat_map(numbers).collect()
    };
    assert_eq!(heard(spoken), speech.numbers());
    assert_eq!(heard(translated), speech.numbers());
}

#[test]
fn live_captions_says_what_is_wrong() {
    for (arguments, expected) in [
        (["--sink", "nosuchelement"], "nosuchelement"),
        (["/nonexistent.wav", "--sink=fakesink"], "cannot be read"),
        (["--results", "stable"], "interim"),
    ] {
        let output = example("live_captions", &arguments);
        let errors = text(&output.stderr);
        assert!(
            !output.status.success() && errors.contains(expected),
            "{errors}"
        );
    }
}

/// As its page says: with a real voice, and in words of a language that it knows some fifty of.
#[test]
fn local_server_recognises_and_translates() {
    let mut server = command("local_server", &["--port=0"]);
    let mut server = server.stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(server.stdout.take().unwrap()).lines();
    let mut lines = lines.map_while(Result::ok);
    let url = lines.find_map(|line| line.strip_prefix("Listening on ").map(str::to_owned));
    let recordings = offline_service::recordings::all().unwrap();
    let speech = Speech {
        samples: recordings[1].pcm.clone(),
        ..Speech::new(16_000)
    }
    .silence(1500);
    let mut rig = Rig::launch(&format!(
        "appsrc name=src format=time caps=audio/x-raw,format=S16LE,rate=16000,channels=1,layout=interleaved \
         ! qwenasr name=asr url={} max-speed=20 translate_src_0::language-code=fr ! fakesink name=out \
         asr.translate_src_0 ! fakesink name=translation",
        url.unwrap()
    ));
    let translation = rig.pipeline.by_name("translation").unwrap();
    let said: Arc<Mutex<Vec<Left>>> = Arc::default();
    watch(&translation.static_pad("sink").unwrap(), &said);
    rig.run(speech.buffers(&[320], 0));
    server.kill().unwrap();
    server.wait().unwrap();
    assert!(rig.warnings.is_empty(), "{:?}", rig.warnings);
    let text = |texts: Vec<(String, u64, u64)>| -> String {
        texts.into_iter().map(|(text, ..)| text + " ").collect()
    };
    let (cues, translations) = (rig.texts(), texts_of(&said.lock().unwrap()));
    // Both services hear the same, the noise before the voice included.
    assert_eq!(cues[0].1, translations[0].1, "{cues:?} {translations:?}");
    let heard = text(cues);
    assert!(heard.contains("young man"), "{heard}");
    let translated = text(translations);
    assert!(
        !translated.trim().is_empty() && translated != heard,
        "{translated}"
    );
}
