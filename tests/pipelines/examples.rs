// SPDX-License-Identifier: MPL-2.0
//! The examples do what they are there to show.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::common::*;

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

/// Runs an example of this package, made up to date if necessary.
fn example(name: &str, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO"))
        .current_dir(root())
        .args(["run", "--quiet", "--locked", "--example", name, "--"])
        .args(arguments)
        .output()
        .unwrap()
}

/// Runs `captions.py` with the plugin of this build, whose library is next to the test's.
fn captions_py(arguments: &[&str]) -> Output {
    let directory: PathBuf = std::env::current_exe().unwrap().parent().unwrap().into();
    let name = format!("libgstqwenasr{}", std::env::consts::DLL_SUFFIX);
    let path = [
        directory.join(&name),
        directory.parent().unwrap().join(&name),
    ]
    .into_iter()
    .find(|path| path.exists())
    .expect("the plugin was built with the test");
    Command::new("/usr/bin/python3")
        .current_dir(root())
        .env("GST_PLUGIN_PATH", path.parent().unwrap())
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
