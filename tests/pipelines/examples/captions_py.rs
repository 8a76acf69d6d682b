// SPDX-License-Identifier: MPL-2.0
//! `captions.py`, for people and for other programs.

use super::*;

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
