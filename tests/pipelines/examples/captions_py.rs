// SPDX-License-Identifier: MPL-2.0
//! `captions.py`, for people and for other programs.

use super::*;

/// `captions.py` with the plugin of this build.
fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new("/usr/bin/python3");
    command
        .current_dir(root())
        .env("GST_PLUGIN_PATH", plugin_directory())
        .arg("examples/captions.py")
        .args(arguments);
    command
}

fn captions_py(arguments: &[&str]) -> Output {
    command(arguments).finish()
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
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("** "), "{said}");
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

/// Also one that has nothing more to print: in silence, its audio would go on for ever.
#[test]
fn captions_py_ends_with_its_reader() {
    let service = server(|_| {});
    let (wav, url) = (long_speech().wav(), format!("url={}", service.url()));
    let location = format!("location={}", wav.0.display());
    let file = ["filesrc", &location, "!", "wavparse", "!", "qwenasrsink"];
    let file = [&file[..], &[&url, "max-speed=20"]].concat();
    let silence = ["audiotestsrc", "is-live=true", "wave=silence"];
    let live = [&silence[..], &["!", "qwenasrsink", &url]].concat();
    for mode in ["--json", "--no-interim"] {
        // Of the other, "connecting" and "connected".
        for (lines, pipeline) in [(1, &file), (2, &live)] {
            let arguments = [&[mode][..], pipeline].concat();
            let (code, errors) = leave_after(lines, &command(&arguments));
            assert_eq!((code, errors.as_str()), (READER_GONE, ""), "{mode}");
        }
    }
    // Whoever saw only "connecting" may have been quicker than that.
    assert!(service.connections() >= 2, "{:?}", service.sessions());
    let closed = service.wait_for(
        |sessions| !sessions.iter().any(SessionRecord::is_open),
        LONG,
    );
    assert!(closed, "{:?}", service.sessions());
}

#[test]
fn captions_py_fails_when_its_output_does() {
    let full = std::fs::File::options()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let mut command = command(&["--json", "audiotestsrc", "num-buffers=1", "!", "fakesink"]);
    let output = command.stdout(full).finish();
    let errors = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(
        errors.starts_with("captions.py: the output cannot be written:"),
        "{errors}"
    );
    assert_eq!(errors.lines().count(), 1, "{errors}");
}

/// JSON is UTF-8 in any case; for people, it is what the terminal takes.
#[test]
fn captions_py_has_an_encoding_for_every_text() {
    let said = "你好";
    let service = server(|options| {
        options.recogniser = ScriptRecogniser::factory(vec![ScriptItem::new(said)], "zh");
    });
    let url = format!("url={}", service.url());
    let wav = Speech::new(16_000).say(0..10).silence(700).wav();
    let location = format!("location={}", wav.0.display());
    let pipeline = ["filesrc", &location, "!", "wavparse", "!", "qwenasrsink"];
    let pipeline = [&pipeline[..], &[&url, "max-speed=50"]].concat();
    for (mode, encoding, expected) in [
        ("--json", "latin-1", said.as_bytes()),
        ("--json", "gb18030", said.as_bytes()),
        ("--no-interim", "latin-1", br"\u4f60\u597d"),
        ("--no-interim", "gb18030", b"\xc4\xe3\xba\xc3"),
    ] {
        let mut command = command(&[&[mode][..], &pipeline].concat());
        let output = command.env("PYTHONIOENCODING", encoding).finish();
        let (shown, errors) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{mode} {encoding}: {errors}");
        let mut parts = output.stdout.windows(expected.len());
        assert!(
            parts.any(|part| part == expected),
            "{mode} {encoding}: {shown}"
        );
    }
}

#[test]
fn captions_py_refuses_a_pipeline_that_cannot_be_made() {
    for (element, code, says) in [
        ("qwenasrsink turn-detection=foo", 3, "turn-detection"),
        ("qwenasrsink chunk-duration=5", 3, "chunk-duration"),
        ("qwenasrsink stats=1", 3, "stats"),
        ("qwenasrsink nosuch=1", 3, "nosuch"),
        ("nosuchsink", 1, "nosuchsink"),
    ] {
        let pipeline = ["audiotestsrc", "!"].into_iter().chain(element.split(' '));
        let output = captions_py(&pipeline.collect::<Vec<_>>());
        let errors = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{element}: {errors}");
        let line = errors.lines().last().unwrap();
        assert!(
            line.starts_with("captions.py: ") && line.contains(says),
            "{errors}"
        );
        assert_eq!(line.contains("gst-inspect-1.0"), code == 3, "{errors}");
    }
    let output = captions_py(&["--no-such-option"]);
    assert_eq!(output.status.code(), Some(1), "2 is for the account");
}

/// What the other elements complain of stands in what only programs look at.
#[test]
fn a_file_without_sound_is_told_from_one_that_cannot_be_read() {
    // So large that decodebin is not through with it before it is told that nobody takes the video: then
    // it would say nothing at all.
    let file = TempFile::new("avi");
    let mut rig = Rig::launch(&format!(
        "videotestsrc name=asr num-buffers=2000 ! jpegenc ! avimux ! filesink location={}",
        file.0.display()
    ));
    rig.play();
    rig.wait_for_eos();
    let location = format!("location={}", file.0.display());
    let pipeline = "! decodebin ! audioconvert ! audioresample ! qwenasrsink url=ws://127.0.0.1:1";
    let mut words = vec!["filesrc", &location];
    words.extend(pipeline.split_whitespace());
    let said = text(&captions_py(&words).stdout);
    assert!(said.contains("failed delayed linking"), "{said}");
}
