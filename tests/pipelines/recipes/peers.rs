// SPDX-License-Identifier: MPL-2.0
//! Plugins of gst-plugins-rs, built and loaded.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Once;

/// Makes `textwrap`, `tttocea608` and their kin available, as a user would.
pub fn load() {
    static LOADED: Once = Once::new();
    LOADED.call_once(|| {
        super::init();
        let plugins = build();
        for name in ["rsclosedcaption", "regex", "textwrap"] {
            let plugin = gst::Plugin::load_file(plugins.join(format!("libgst{name}.so"))).unwrap();
            assert_eq!(plugin.plugin_name(), name);
        }
        gsttextaccumulate::plugin_register_static().unwrap();
    });
}

/// Where they are, if necessary after building them, which takes a minute.
fn build() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peer-plugins/Cargo.toml");
    let test = std::env::current_exe().unwrap();
    // Below target/debug/deps
    let target = test.ancestors().nth(3).unwrap().join("peer-plugins");
    let status = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()))
        .args(["build", "--quiet", "--locked", "--manifest-path"])
        .arg(manifest)
        .arg("--target-dir")
        .arg(&target)
        .args([
            "-p",
            "gst-plugin-closedcaption",
            "-p",
            "gst-plugin-regex",
            "-p",
            "gst-plugin-textwrap",
        ])
        .status()
        .unwrap();
    assert!(
        status.success(),
        "the plugins of gst-plugins-rs could not be built"
    );
    target.join("debug")
}
