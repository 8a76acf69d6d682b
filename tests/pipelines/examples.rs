// SPDX-License-Identifier: MPL-2.0
//! The examples do what they are there to show.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use gst::prelude::*;

use super::common::*;
use offline_service::{ScriptItem, ScriptRecogniser, Server, SessionRecord};

fn speech() -> Speech {
    Speech::new(16_000)
        .silence(500)
        .say(0..20)
        .silence(800)
        .say(20..32)
        .silence(700)
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// An example of this package, made up to date if necessary.
fn command(name: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO"));
    command
        .current_dir(root())
        .args(["run", "--quiet", "--locked", "--example", name, "--"])
        .args(arguments);
    command
}

fn example(name: &str, arguments: &[&str]) -> Output {
    command(name, arguments).output().unwrap()
}

/// Where the plugin of this build is: its library is next to the test's.
fn plugin_directory() -> PathBuf {
    let directory: PathBuf = std::env::current_exe().unwrap().parent().unwrap().into();
    let name = format!("libgstqwenasr{}", std::env::consts::DLL_SUFFIX);
    let path = [
        directory.join(&name),
        directory.parent().unwrap().join(&name),
    ];
    let path = path.into_iter().find(|path| path.exists());
    let path = path.expect("the plugin was built with the test");
    path.parent().unwrap().to_owned()
}

/// Runs `captions.py` with the plugin of this build.
fn captions_py(arguments: &[&str]) -> Output {
    Command::new("/usr/bin/python3")
        .current_dir(root())
        .env("GST_PLUGIN_PATH", plugin_directory())
        .arg("examples/captions.py")
        .args(arguments)
        .output()
        .expect("/usr/bin/python3 runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

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
fn caption_file_writes_translations_beside_its_file() {
    let service = server(|_| {});
    let speech = speech();
    let (wav, srt_file) = (speech.wav(), TempFile::new("srt"));
    let beside = ["fr", "de"].map(|language| {
        let path = srt_file.0.with_extension(format!("{language}.srt"));
        (language, TempFile(path))
    });
    let output = example(
        "caption_file",
        &[
            wav.0.to_str().unwrap(),
            srt_file.0.to_str().unwrap(),
            "--url",
            &service.url(),
            "--translate",
            "fr,de",
            "--max-speed",
            "50",
        ],
    );
    assert!(output.status.success(), "{}", text(&output.stderr));
    check_cues(&speech, &srt(&srt_file.text()), 0);
    for (language, file) in &beside {
        let cues = srt(&file.text());
        let heard: Vec<u32> = cues.iter().flat_map(|(text, ..)| numbers(text)).collect();
        assert_eq!(heard, speech.numbers(), "{language}");
        assert!(cues.iter().all(|(text, ..)| text.starts_with(language)));
    }
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
fn captions_py_prints_what_is_said() {
    let service = server(|_| {});
    let speech = speech();
    let wav = speech.wav();
    let (location, url) = (
        format!("location={}", wav.0.display()),
        format!("url={}", service.url()),
    );
    let output = captions_py(&[
        "filesrc",
        &location,
        "!",
        "wavparse",
        "!",
        "qwenasrsink",
        &url,
        "max-speed=100",
    ]);
    let (said, errors) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{said}{errors}");
    assert_eq!(errors, "");
    let lines: Vec<&str> = said
        .lines()
        .filter(|line| !line.starts_with("--"))
        .collect();
    let expected = [
        (0..20, "0:00:00.5 - 0:00:02.5"),
        (20..32, "0:00:03.3 - 0:00:04.5"),
    ]
    .map(|(words, times)| {
        format!(
            "{times}  {}  [en, neutral]",
            offline_service::blocks::words(words)
        )
    });
    assert_eq!(lines, expected, "{said}");
    for state in ["-- connecting", "-- connected", "-- finishing", "-- idle"] {
        assert!(said.lines().any(|line| line == state), "{said}");
    }
}

#[test]
fn captions_py_fails_with_the_pipeline() {
    let service = server(|options| options.api_key = Some("right".to_owned()));
    let url = format!("url={}", service.url());
    let output = captions_py(&["audiotestsrc", "!", "qwenasrsink", "api-key=wrong", &url]);
    let said = text(&output.stdout);
    assert!(!output.status.success() && said.contains("** "), "{said}");
    assert!(!said.contains("wrong"), "no key: {said}");
}

/// The lines of `captions.py --json`.
fn json_of(arguments: &[&str]) -> (bool, Vec<serde_json::Value>) {
    let output = captions_py(&[&["--json"], arguments].concat());
    let (said, errors) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(errors, "", "{said}");
    let line = |line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}"));
    (output.status.success(), said.lines().map(line).collect())
}

#[test]
fn captions_py_tells_other_programs_everything() {
    let service = service(Protocol::Inference, |_| {});
    let (speech, properties) = (speech(), service.properties());
    let (wav, properties) = (speech.wav(), properties.split_whitespace());
    let location = format!("location={}", wav.0.display());
    let begin = ["filesrc", &location, "!", "wavparse", "!", "qwenasrsink"];
    let arguments: Vec<&str> = begin.into_iter().chain(properties).collect();
    let (content, lines) = json_of(&arguments);
    assert!(content, "{lines:?}");
    let of = |kind: &'static str| lines.iter().filter(move |line| line["type"] == kind);
    let finals: Vec<_> = of("transcript")
        .filter(|line| line["final"] == true)
        .collect();
    assert!(of("transcript").count() > finals.len(), "interim ones, too");
    let texts: Vec<&str> = finals.iter().map(|f| f["text"].as_str().unwrap()).collect();
    let expected = [0..20, 20..32].map(offline_service::blocks::words);
    assert_eq!(texts, expected);
    for (line, start) in finals.iter().zip([500_000_000, 3_300_000_000_u64]) {
        assert_eq!(line["element"], "qwenasrsink0");
        assert_eq!(line["stream-time"], start);
        let (words, all) = (line["words"].as_array().unwrap(), &line["text"]);
        let joined: Vec<&str> = words.iter().map(|w| w["text"].as_str().unwrap()).collect();
        assert_eq!(joined.concat(), all.as_str().unwrap());
        assert_eq!(words[0]["stream-time"], start);
        assert_eq!(words[1]["duration"], 100_000_000);
    }
    assert!(of("connection").any(|line| line["state"] == "connected"));
    assert_eq!(lines.last().unwrap(), &serde_json::json!({"type": "eos"}));
}

#[test]
fn captions_py_tells_other_programs_what_is_wrong() {
    let service = server(|options| options.api_key = Some("right".to_owned()));
    let url = format!("url={}", service.url());
    let arguments = ["audiotestsrc", "!", "qwenasrsink", "api-key=wrong", &url];
    let (content, lines) = json_of(&arguments);
    let error = lines.last().unwrap();
    assert!(!content && error["type"] == "error", "{lines:?}");
    assert_eq!(error["kind"], "unauthorized");
    assert_eq!(error["retryable"], false);
    assert_eq!(error["http-status"], 401);
    assert!(error["remedy"].as_str().unwrap().contains("api-key"));
}

/// The program in C, built as its first lines say.
fn captions_c() -> (TempFile, impl Fn(&[&str]) -> Output) {
    let source = std::fs::read_to_string(root().join("examples/captions.c")).unwrap();
    let compile = source
        .lines()
        .find_map(|line| line.trim().strip_prefix("*   cc "));
    let program = TempFile::new("bin");
    let compile = compile
        .unwrap()
        .replace(
            "-o captions ",
            &format!("-Werror -o {} ", program.0.display()),
        )
        .replace("captions.c", "examples/captions.c");
    let compiled = Command::new("sh")
        .current_dir(root())
        .args(["-c", &format!("cc {compile}")])
        .output()
        .unwrap();
    assert!(compiled.status.success(), "{}", text(&compiled.stderr));
    let path = program.0.clone();
    let run = move |arguments: &[&str]| {
        Command::new(&path)
            .env("GST_PLUGIN_PATH", plugin_directory())
            .args(arguments)
            .output()
            .unwrap()
    };
    (program, run)
}

/// The same in Rust, without the elements linked in.
fn captions_rs(arguments: &[&str]) -> Output {
    command("captions", arguments)
        .env("GST_PLUGIN_PATH", plugin_directory())
        .output()
        .unwrap()
}

#[test]
fn applications_read_every_field_they_need() {
    let (_program, in_c) = captions_c();
    for program in [&in_c as &dyn Fn(&[&str]) -> Output, &captions_rs] {
        let service = service(Protocol::Inference, |_| {});
        let speech = speech();
        let (wav, properties) = (speech.wav(), service.properties());
        let file = [wav.0.to_str().unwrap()];
        let arguments: Vec<&str> = file
            .into_iter()
            .chain(properties.split_whitespace())
            .collect();
        let output = program(&arguments);
        let (said, errors) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(0), "{said}{errors}");
        let lines: Vec<&str> = said.lines().collect();
        let (words, cues): (Vec<&str>, Vec<&str>) =
            lines.into_iter().partition(|line| line.starts_with(' '));
        assert_eq!(words.len(), 32, "{said}");
        assert_eq!(cues.len(), 2, "{said}");
        let second = "0:00:03.300 --> 0:00:04.500 [] ";
        let expected = format!("{second}{}", offline_service::blocks::words(20..32));
        assert_eq!(cues[1], expected);
        assert!(
            errors.lines().any(|line| line.trim() == "connected"),
            "{errors}"
        );
    }
}

#[test]
fn applications_know_what_kind_of_error_it_is() {
    let (_program, in_c) = captions_c();
    let service = server(|options| options.api_key = Some("right".to_owned()));
    let (wav, url) = (speech().wav(), format!("url={}", service.url()));
    let file = wav.0.to_str().unwrap();
    for program in [&in_c as &dyn Fn(&[&str]) -> Output, &captions_rs] {
        for (property, code, says) in [
            ("api-key=wrong", 2, "http-status: 401"),
            ("language-code=tlh", 3, "kind: settings"),
            ("max-retries=0", 4, "kind: unreachable"),
        ] {
            // There a port that nobody listens at.
            let url = if code == 4 {
                "url=ws://127.0.0.1:9"
            } else {
                &url
            };
            let output = program(&[file, url, property]);
            let errors = text(&output.stderr);
            assert_eq!(output.status.code(), Some(code), "{property}: {errors}");
            assert!(
                errors.contains(says) && errors.contains("remedy: "),
                "{errors}"
            );
        }
    }
}

#[test]
fn captions_py_obeys_no_control_characters() {
    let output = captions_py(&[
        "filesrc",
        "location=/none\u{1b}[2J\u{7}",
        "!",
        "qwenasrsink",
    ]);
    let said = text(&output.stdout);
    assert!(said.contains("/none [2J"), "{said}");
    assert!(
        !said.contains(|c: char| c.is_control() && c != '\n'),
        "{said:?}"
    );
}

#[test]
fn caption_file_finds_the_utterances_if_it_is_asked_to() {
    let service = server(|_| {});
    let speech = Speech::usual(16_000);
    let (wav, captions) = (speech.wav(), TempFile::new("srt"));
    let arguments = [
        wav.0.to_str().unwrap(),
        captions.0.to_str().unwrap(),
        "--turn-detection=client-vad",
        "--protocol=realtime",
        "--url",
        &service.url(),
    ];
    let output = example("caption_file", &arguments);
    let errors = text(&output.stderr);
    assert!(output.status.success(), "{errors}");
    check_cues(&speech, &srt(&captions.text()), 0);
    let sessions = service.sessions();
    let commits = sessions[0].received_events("input_audio_buffer.commit");
    assert_eq!(commits.count(), 3, "{errors}");
}

#[test]
fn caption_file_says_what_is_wrong() {
    let service = server(|_| {});
    let (wav, captions) = (speech().wav(), TempFile::new("srt"));
    let run = |options: &[&str]| {
        let files = [wav.0.to_str().unwrap(), captions.0.to_str().unwrap()];
        let url = service.url();
        let output = example(
            "caption_file",
            &[&files, &["--url", &url], options].concat(),
        );
        assert!(!output.status.success(), "{options:?}");
        text(&output.stderr)
    };
    for (option, says) in [
        ("--protocol=inference", "protocol=auto"),
        ("--turn-detection=nobody", "client-vad"),
        ("--language=tlh", "language-code"),
    ] {
        let errors = run(&[option]);
        assert!(errors.contains(says), "{option}: {errors}");
    }
    assert!(!captions.0.exists(), "nothing was captioned");
}

/// `caption_file` under way.
struct Captioning {
    child: Child,
    errors: BufReader<ChildStderr>,
}

impl Captioning {
    /// Begins, and waits for the first caption.
    fn begin(service: &Server, media: &Path, captions: &Path) -> Self {
        let (url, media) = (service.url(), media.to_str().unwrap());
        let arguments = [media, captions.to_str().unwrap(), "--url", &url];
        let mut command = command("caption_file", &arguments);
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let errors = BufReader::new(child.stderr.take().unwrap());
        // Audio keeps coming; what has to be compiled first takes time of its own.
        let captioned = service.wait_for(|_| captions.exists(), 10 * LONG);
        assert!(captioned, "{:?}", child.try_wait());
        Self { child, errors }
    }

    /// Presses Ctrl-C: `cargo run` has been replaced by the program itself.
    fn interrupt(&self) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args(["-INT", &id]).status().unwrap();
        assert!(sent.success());
    }

    /// What it says after that.
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.errors.read_line(&mut line).unwrap();
        line
    }

    /// Waits until it has ended. Returns whether it is content, and what it has to say.
    fn end(mut self) -> (bool, String) {
        let mut said = String::new();
        self.errors.read_to_string(&mut said).unwrap();
        (self.child.wait().unwrap().success(), said)
    }
}

/// Two minutes of it, with a pause after each two seconds.
fn long_speech() -> Speech {
    let utterances = (0..50).map(|number| number * 20..(number + 1) * 20);
    utterances.fold(Speech::new(16_000).silence(500), |speech, words| {
        speech.say(words).silence(600)
    })
}

#[test]
fn ctrl_c_ends_caption_file_with_what_was_said() {
    let service = server(|_| {});
    let speech = long_speech();
    let (wav, captions) = (speech.wav(), TempFile::new("srt"));
    let mut captioning = Captioning::begin(&service, &wav.0, &captions.0);
    captioning.interrupt();
    let line = captioning.line();
    assert!(line.contains("Ctrl-C again"), "{line}");
    let (content, said) = captioning.end();
    assert!(content && said.contains("Stopped early"), "{said}");
    let cues = srt(&captions.text());
    let heard: Vec<u32> = cues.iter().flat_map(|(text, ..)| numbers(text)).collect();
    let expected = speech.numbers();
    assert!(expected.starts_with(&heard), "{heard:?}");
    assert!((20..expected.len()).contains(&heard.len()), "{heard:?}");
    // It was told that the stream has ended, rather than being cut off.
    let finishes = |session: &SessionRecord| session.received_events("session.finish").count();
    assert_eq!(service.sessions().iter().map(finishes).sum::<usize>(), 1);
}

#[test]
fn a_second_ctrl_c_does_not_wait_and_keeps_the_captions() {
    let service = server(|options| options.faults.never_finished = true);
    let (wav, captions) = (long_speech().wav(), TempFile::new("srt"));
    let mut captioning = Captioning::begin(&service, &wav.0, &captions.0);
    captioning.interrupt();
    let line = captioning.line();
    assert!(line.contains("Ctrl-C again"), "{line}");
    captioning.interrupt();
    let (content, said) = captioning.end();
    assert!(!content && said.contains("Interrupted."), "{said}");
    assert!(said.contains("captions made before that"), "{said}");
    let cues = srt(&captions.text());
    assert_eq!(numbers(&cues[0].0)[0], 0, "{cues:?}");
}

#[test]
fn caption_file_escapes_what_webvtt_takes_for_markup() {
    let said = "R&D <laughter> --> next";
    let service = server(|options| {
        options.recogniser = ScriptRecogniser::factory(vec![ScriptItem::new(said)], "en");
    });
    let wav = Speech::new(16_000).say(0..10).silence(700).wav();
    for (extension, expected) in [
        ("srt", said),
        ("vtt", "R&amp;D &lt;laughter&gt; --&gt; next"),
    ] {
        let captions = TempFile::new(extension);
        let (input, output) = (wav.0.to_str().unwrap(), captions.0.to_str().unwrap());
        let run = example("caption_file", &[input, output, "--url", &service.url()]);
        assert!(run.status.success(), "{}", text(&run.stderr));
        let written = captions.text();
        assert_eq!(written.matches(expected).count(), 1, "{written}");
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
    let heard = text(rig.texts());
    assert!(heard.contains("young man"), "{heard}");
    let translated = text(texts_of(&said.lock().unwrap()));
    assert!(
        !translated.trim().is_empty() && translated != heard,
        "{translated}"
    );
}
