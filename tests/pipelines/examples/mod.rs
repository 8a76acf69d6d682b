// SPDX-License-Identifier: MPL-2.0
//! The examples do what they are there to show.

mod applications;
mod caption_file;
mod captions_py;
mod live;

use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use super::common::*;
use gst::prelude::*;
use offline_service::{ScriptItem, ScriptRecogniser, Server, SessionRecord};

fn speech() -> Speech {
    Speech::new(16_000)
        .silence(500)
        .say(0..20)
        .silence(800)
        .say(20..32)
        .silence(700)
}

/// Two minutes of it, with a pause after each two seconds.
fn long_speech() -> Speech {
    let utterances = (0..50).map(|number| number * 20..(number + 1) * 20);
    utterances.fold(Speech::new(16_000).silence(500), |speech, words| {
        speech.say(words).silence(600)
    })
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
    command(name, arguments).finish()
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

/// The exit code of a program whose reader went away, as a shell has it.
const READER_GONE: i32 = 141;

/// Reads this many lines of what a program says, and goes away. Returns the exit code, as a shell has
/// it, and the errors; `timeout` sees to it that it ends. It may have to be built first.
fn leave_after(lines: usize, program: &Command) -> (i32, String) {
    let mut command = Command::new("timeout");
    command.args(["-k", "2", "300"]).arg(program.get_program());
    command
        .args(program.get_args())
        .current_dir(root())
        .env("GST_PLUGIN_PATH", plugin_directory())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let said = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(said.take(lines).flatten().count(), lines);
    let output = child.wait_with_output().unwrap();
    let signal = output.status.signal().map(|signal| 128 + signal);
    let code = output.status.code().or(signal);
    (code.unwrap(), text(&output.stderr))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
