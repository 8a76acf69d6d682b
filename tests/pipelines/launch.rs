// SPDX-License-Identifier: MPL-2.0
//! As typed on a command line, with the plugin as a file.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use super::common::*;
use offline_service::Faults;

/// A directory with nothing but the plugin that these tests were built with.
fn plugin_dir() -> &'static Path {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    DIR.get_or_init(|| {
        let exe = std::env::current_exe().unwrap();
        let built = exe.with_file_name("libgstqwenasr.so");
        let dir = exe.with_file_name("plugin-under-test");
        std::fs::create_dir_all(&dir).unwrap();
        let link = dir.join("libgstqwenasr.so");
        let _ = std::os::unix::fs::symlink(built, &link);
        assert!(link.exists(), "{link:?}");
        dir
    })
}

pub fn tool(program: &str) -> Command {
    let mut command = Command::new(program);
    command
        .env("GST_PLUGIN_PATH", plugin_dir())
        .env("GST_REGISTRY", plugin_dir().join("test-registry.bin"))
        .env_remove("DASHSCOPE_API_KEY");
    command
}

pub fn launch(pipeline: &str) -> Output {
    tool("gst-launch-1.0")
        .args(pipeline.split_whitespace())
        .finish()
}

fn succeeds(pipeline: &str) -> String {
    let output = launch(pipeline);
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "{pipeline}\n{text}");
    text
}

#[test]
fn a_file_becomes_srt_and_webvtt() {
    let server = server(|_| {});
    let speech = Speech::usual(16_000);
    let (wav, url) = (speech.wav(), server.url());
    let wav = wav.0.display();
    for decoder in ["wavparse", "decodebin"] {
        let out = TempFile::new("srt");
        succeeds(&format!(
            "filesrc location={wav} ! {decoder} ! audioconvert ! audioresample ! qwenasr url={url} max-speed=20 \
             ! srtenc ! filesink location={}",
            out.0.display()
        ));
        check_cues(&speech, &srt(&out.text()), 0);
    }
    let out = TempFile::new("vtt");
    succeeds(&format!(
        "filesrc location={wav} ! wavparse ! audioconvert ! audioresample ! qwenasr url={url} max-speed=20 \
         ! text/x-raw,format=pango-markup ! webvttenc ! filesink location={}",
        out.0.display()
    ));
    assert!(
        out.text().starts_with("WEBVTT") && out.text().contains("w0066"),
        "{}",
        out.text()
    );
}

#[test]
fn messages_alone_are_enough() {
    let server = server(|_| {});
    let wav = Speech::usual(16_000).wav();
    let source = format!("filesrc location={} ! wavparse", wav.0.display());
    let url = server.url();
    let text = succeeds(&format!(
        "-m {source} ! qwenasr url={url} max-speed=20 ! fakesink"
    ));
    assert!(
        text.contains("qwenasr/transcript") && text.contains("w0066"),
        "{text}"
    );
    let text = succeeds(&format!("-m {source} ! qwenasrsink url={url} max-speed=20"));
    assert!(
        text.contains("qwenasr/transcript") && text.contains("w0066"),
        "{text}"
    );
    // Without any sink nothing posts EOS: another branch ends the pipeline here.
    let text = succeeds(&format!(
        "-m {source} ! tee name=t ! queue ! qwenasr url={url} max-speed=20 t. ! queue ! qwenasrsink url={url} max-speed=5"
    ));
    assert!(
        text.contains("w0066") && text.contains("qwenasr0"),
        "{text}"
    );
}

#[test]
fn converters_choose_the_better_rate() {
    let server = server(|_| {});
    for (rate, expected) in [
        (48_000, 16_000),
        (44_100, 16_000),
        (8_000, 8_000),
        (16_000, 16_000),
    ] {
        let before = server.sessions().len();
        succeeds(&format!(
            "audiotestsrc num-buffers=20 ! audio/x-raw,rate={rate},channels=2 ! audioconvert ! audioresample \
             ! qwenasr url={} max-speed=100 ! fakesink",
            server.url()
        ));
        let session = &server.sessions()[before];
        let update = session.received_events("session.update").next().unwrap();
        assert_eq!(update["session"]["sample_rate"], expected, "from {rate}");
    }
}

#[test]
fn an_error_ends_the_program_with_a_remedy() {
    // Not an error that comes at once: gst-launch-1.0 misses one before its main loop runs.
    let server = server(|options| {
        options.faults = Faults {
            stall_handshake: true,
            ..Faults::default()
        };
    });
    let output = launch(&format!(
        "audiotestsrc num-buffers=10 ! qwenasr url={} connect-timeout=1500 max-retries=0 ! fakesink",
        server.url()
    ));
    assert!(!output.status.success());
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("raise connect-timeout"), "{text}");
}

/// Of the test program, run again for this test alone.
#[test]
fn a_test_that_hangs_is_named() {
    const VARIABLE: &str = "QWENASR_TEST_HANGS";
    const NAME: &str = "launch::a_test_that_hangs_is_named";
    if std::env::var_os(VARIABLE).is_some() {
        let limit = std::time::Duration::from_millis(10);
        let (_held, nothing) = std::sync::mpsc::channel::<()>();
        let _ = watched(limit, "a wait without end", || nothing.recv());
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args([NAME, "--exact", "--nocapture"])
        .env(VARIABLE, "1")
        .finish();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(HUNG), "{errors}");
    let says = format!("{NAME} hangs in a wait without end");
    assert!(errors.contains(&says), "{errors}");
}

#[test]
fn inspection_shows_everything_a_user_needs() {
    let output = tool("gst-inspect-1.0").arg("qwenasr").finish();
    let text = String::from_utf8_lossy(&output.stdout);
    for wanted in [
        "Audio/Text/Filter",
        "MPL",
        "Write only",
        "in milliseconds",
        "\"commit\"",
        "text/x-raw",
    ] {
        assert!(text.contains(wanted), "{wanted} in {text}");
    }
    assert!(
        tool("gst-inspect-1.0")
            .arg("qwenasrsink")
            .status()
            .unwrap()
            .success()
    );
}

#[test]
fn the_key_comes_from_the_environment() {
    let server = server(|options| options.api_key = Some("from-the-environment".into()));
    let wav = Speech::usual(16_000).wav();
    let pipeline = format!(
        "filesrc location={} ! wavparse ! qwenasr url={} max-speed=50 ! fakesink",
        wav.0.display(),
        server.url()
    );
    let output = tool("gst-launch-1.0")
        .env("DASHSCOPE_API_KEY", "from-the-environment")
        .arg("-v")
        .args(pipeline.split_whitespace())
        .finish();
    assert!(output.status.success());
    assert!(!String::from_utf8_lossy(&output.stdout).contains("from-the-environment"));
}
