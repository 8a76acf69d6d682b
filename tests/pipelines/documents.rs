// SPDX-License-Identifier: MPL-2.0
//! The operator's page leaves nothing out.

use std::path::{Path, PathBuf};

use super::common::*;
use gst::prelude::*;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().path());
    entries
        .flat_map(|path| match path.is_dir() {
            true => sources(&path),
            false => vec![path],
        })
        .collect()
}

/// The string literals in the code that begin like this.
fn literals(begin: &str) -> Vec<String> {
    let (quoted, mut found) = (format!("\"{begin}"), Vec::new());
    for path in sources(&root().join("src")) {
        let code = std::fs::read_to_string(path).unwrap();
        let starts = code.match_indices(&quoted);
        let literals = starts.map(|(at, _)| code[at + 1..].split('"').next().unwrap().to_owned());
        found.extend(literals);
    }
    found.sort();
    found.dedup();
    found
}

#[test]
fn the_operators_page_explains_everything() {
    init();
    let page = std::fs::read_to_string(root().join("docs/operating.md")).unwrap();
    let explained = |name: &str| page.contains(&format!("`{name}`"));
    let element = gst::ElementFactory::make("qwenasr").build().unwrap();

    let stats = element.property::<gst::Structure>("stats");
    let fields: Vec<&str> = stats.fields().map(|field| field.as_str()).collect();
    assert!(fields.contains(&"rotations"));
    let state = element.find_property("connection-state").unwrap();
    let states = gst::glib::EnumClass::with_type(state.value_type()).unwrap();
    let states: Vec<&str> = states.values().iter().map(|state| state.nick()).collect();
    assert!(states.contains(&"reconnecting"));
    let (mut names, events) = (literals("qwenasr/"), literals("rstranscribe/"));
    assert!(names.len() > 5 && !events.is_empty());
    names.extend(events);
    // Upstream's way to commit, which no operator sees.
    names.retain(|name| name != "qwenasr/commit");
    let failures = std::fs::read_to_string(root().join("src/protocol/failure.rs")).unwrap();
    let kinds: Vec<&str> = failures
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Self::")?.split_once("=> \""))
        .map(|(_, nick)| nick.trim_end_matches("\","))
        .collect();
    assert!(kinds.contains(&"unreachable"));

    let all = fields.into_iter().chain(states).chain(kinds);
    let missing: Vec<&str> = all
        .chain(names.iter().map(String::as_str))
        .filter(|name| !explained(name))
        .collect();
    assert!(missing.is_empty(), "not in docs/operating.md: {missing:?}");
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    assert!(readme.contains("(docs/operating.md)"));
}
