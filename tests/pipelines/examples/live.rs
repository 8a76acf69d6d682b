// SPDX-License-Identifier: MPL-2.0
//! `live_captions`, and `local_server`, which both run until they are ended.

use std::io::Lines;
use std::process::{Child, ChildStdout};
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

/// The numbers of the words that were said, and of those of their translation.
fn heard(said: &str) -> [Vec<u32>; 2] {
    let (translated, spoken): (Vec<&str>, Vec<&str>) =
        said.lines().partition(|line| line.contains("[fr]"));
    [spoken, translated].map(|lines| {
        let words = lines.iter().flat_map(|line| line.split(' '));
        let words = words.filter(|word| word.starts_with("fr") || word.starts_with('w'));
        words.flat_map(numbers).collect()
    })
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
    assert_eq!(heard(&said), [speech.numbers(), speech.numbers()]);
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

#[test]
fn live_captions_says_that_there_is_no_display() {
    let mut command = command("live_captions", &["/nonexistent.wav"]);
    command.env_remove("DISPLAY").env_remove("WAYLAND_DISPLAY");
    let output = command.output().unwrap();
    let errors = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.contains("--sink"), "{errors}");
}

/// A film with this sound, and this many pictures, five a second.
fn film(speech: &Speech, pictures: u32) -> TempFile {
    init();
    let (wav, film) = (speech.wav(), TempFile::new("mkv"));
    let description = format!(
        "videotestsrc num-buffers={pictures} ! video/x-raw,format=I420,width={WIDTH},height={HEIGHT},framerate=5/1 \
         ! queue ! matroskamux name=mux ! filesink location={} \
         filesrc location={} ! wavparse ! queue max-size-time=0 max-size-buffers=0 max-size-bytes=0 ! mux.",
        film.0.display(),
        wav.0.display()
    );
    let pipeline = gst::parse::launch(&description).unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    let ends = [gst::MessageType::Eos, gst::MessageType::Error];
    let bus = pipeline.bus().unwrap();
    let end = bus.timed_pop_filtered(
        gst::ClockTime::from_mseconds(LONG.as_millis() as u64),
        &ends,
    );
    assert_eq!(end.map(|end| end.type_()), Some(gst::MessageType::Eos));
    pipeline.set_state(gst::State::Null).unwrap();
    film
}

/// What `live_captions` says of such a film; it has to end.
fn shown(speech: &Speech, pictures: u32, options: &[&str]) -> String {
    let (service, film) = (server(|_| {}), film(speech, pictures));
    let url = service.url();
    let arguments = [
        film.0.to_str().unwrap(),
        "--url",
        &url,
        "--sink",
        "fakesink",
    ];
    let program = command("live_captions", &[&arguments, options].concat());
    // Compiled already, and replaced by the program itself, which it is to end.
    let output = Command::new("timeout")
        .arg(format!("{}", 4 * LONG.as_secs()))
        .arg(program.get_program())
        .args(program.get_args())
        .current_dir(root())
        .output()
        .unwrap();
    let said = text(&output.stdout);
    assert!(output.status.success(), "{said}{}", text(&output.stderr));
    said
}

#[test]
fn live_captions_ends_with_whatever_ends_later() {
    let help = example("live_captions", &["--help"]);
    assert!(help.status.success(), "{}", text(&help.stderr));
    std::thread::scope(|scope| {
        // The sound is 5.2 s long.
        for (pictures, options) in [
            (5, &[] as &[&str]),
            (5, &["--translate", "fr"]),
            (26, &["--results", "final"]),
            (40, &[]),
        ] {
            scope.spawn(move || {
                let speech = speech();
                let said = shown(&speech, pictures, options);
                let [spoken, translated] = heard(&said);
                assert_eq!(spoken, speech.numbers(), "{pictures}: {said}");
                if options.contains(&"fr") {
                    assert_eq!(translated, speech.numbers(), "{said}");
                }
            });
        }
        scope.spawn(|| assert_eq!(shown(&Speech::new(16_000).silence(3000), 5, &[]), ""));
    });
}

/// `local_server`, until it is dropped.
struct LocalServer {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl LocalServer {
    fn start() -> Self {
        let mut command = command("local_server", &["--port=0"]);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// The next line that contains this.
    fn line_with(&mut self, what: &str) -> String {
        let mut lines = self.lines.by_ref().map_while(Result::ok);
        let line = lines.find(|line| line.contains(what));
        line.unwrap_or_else(|| panic!("no line with '{what}'"))
    }
}

impl Drop for LocalServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// "… the person always said to be a young man …", read aloud.
fn recording() -> Speech {
    let recordings = offline_service::recordings::all().unwrap();
    let speech = Speech {
        samples: recordings[1].pcm.clone(),
        ..Speech::new(16_000)
    };
    speech.silence(1500)
}

#[test]
fn local_server_says_how_to_try_it() {
    let mut server = LocalServer::start();
    let (command, wav) = (server.line_with("gst-launch-1.0"), recording().wav());
    assert!(
        command.starts_with("GST_PLUGIN_PATH=") && !command.contains("api-key"),
        "{command}"
    );
    let command = command.replace("talk.wav", wav.0.to_str().unwrap());
    let output = Command::new("sh")
        .current_dir(root())
        .args(["-c", &command])
        .output()
        .unwrap();
    let cues = srt(&text(&output.stdout));
    assert!(cues[0].0.contains("young man"), "{cues:?}");
}

/// As its page says: with a real voice, and in words of a language that it knows some fifty of.
#[test]
fn local_server_recognises_and_translates() {
    let mut server = LocalServer::start();
    let line = server.line_with("Listening on ");
    let url = line.rsplit(' ').next().unwrap();
    let speech = recording();
    let mut rig = Rig::launch(&format!(
        "appsrc name=src format=time caps=audio/x-raw,format=S16LE,rate=16000,channels=1,layout=interleaved \
         ! qwenasr name=asr url={} max-speed=20 translate_src_0::language-code=fr ! fakesink name=out \
         asr.translate_src_0 ! fakesink name=translation",
        url
    ));
    let translation = rig.pipeline.by_name("translation").unwrap();
    let said: Arc<Mutex<Vec<Left>>> = Arc::default();
    watch(&translation.static_pad("sink").unwrap(), &said);
    rig.run(speech.buffers(&[320], 0));
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
