// SPDX-License-Identifier: MPL-2.0
//! What this is compared with, built and installed below the target directory.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Result;

/// The service's own SDK, and the version that is measured.
const SDK: &str = "dashscope==2.0.2";

fn directory() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/benches/peers"))
}

fn target() -> PathBuf {
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("target");
    std::env::var_os("CARGO_TARGET_DIR")
        .map_or(ours, PathBuf::from)
        .join("peers")
}

/// Builds gst-plugin-speechmatics. Returns where the plugin is.
pub fn speechmatics() -> Result<PathBuf> {
    let target = target().join("speechmatics");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build
        .args([
            "build",
            "--quiet",
            "--release",
            "--locked",
            "--manifest-path",
        ])
        .arg(directory().join("speechmatics/Cargo.toml"))
        .args(["--package", "gst-plugin-speechmatics", "--target-dir"])
        .arg(&target);
    succeed(build)?;
    Ok(target.join("release/libgstspeechmatics.so"))
}

/// Installs the SDK. Returns its Python, and the program for it.
pub fn sdk() -> Result<(PathBuf, PathBuf)> {
    let environment = target().join("sdk");
    let python = environment.join("bin/python");
    let check = format!(
        "import importlib.metadata as m; assert 'dashscope==' + m.version('dashscope') == '{SDK}'"
    );
    let installed = Command::new(&python)
        .args(["-c", &check])
        .output()
        .is_ok_and(|output| output.status.success());
    if !installed {
        let mut create = Command::new("python3");
        create.args(["-m", "venv", "--clear"]).arg(&environment);
        succeed(create)?;
        let mut install = Command::new(&python);
        install.args(["-m", "pip", "install", "--quiet", SDK]);
        succeed(install)?;
    }
    Ok((python, directory().join("sdk.py")))
}

fn succeed(mut command: Command) -> Result<()> {
    let output = command.output()?;
    if output.status.success() {
        return Ok(());
    }
    let why = String::from_utf8_lossy(&output.stderr);
    let last = why.lines().rfind(|line| !line.trim().is_empty());
    Err(last.unwrap_or("it failed without a word").into())
}
