// SPDX-License-Identifier: MPL-2.0
//! The examples do what they are there to show.

mod applications;
mod caption_file;
mod captions_py;
mod live;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

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

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
