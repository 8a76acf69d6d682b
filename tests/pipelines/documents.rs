// SPDX-License-Identifier: MPL-2.0
//! The operator's page and the table of properties leave nothing out, and are right; both READMEs say
//! the same.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::common::*;
use gst::glib;
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
    let operating = page("docs/operating.md");
    let explained = |name: &str| operating.contains(&format!("`{name}`"));
    let element = gst::ElementFactory::make("qwenasr").build().unwrap();

    let stats = element.property::<gst::Structure>("stats");
    let fields: Vec<&str> = stats.fields().map(|field| field.as_str()).collect();
    assert!(fields.contains(&"rotations"));
    let state = element.find_property("connection-state").unwrap();
    let states = glib::EnumClass::with_type(state.value_type()).unwrap();
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
    assert!(page("README.md").contains("(docs/operating.md)"));
}

fn page(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap()
}

/// The properties that are the element's own.
fn properties(element: &str) -> Vec<glib::ParamSpec> {
    init();
    let element = gst::ElementFactory::make(element).build().unwrap();
    let own = |property: &glib::ParamSpec| property.owner_type() == element.type_();
    let all = element.list_properties();
    all.iter()
        .filter(|&property| own(property))
        .cloned()
        .collect()
}

fn cells(row: &str) -> Vec<&str> {
    row.trim_matches('|').split('|').map(str::trim).collect()
}

/// The default value as a table shows it; nothing for what is not set.
fn default_of(property: &glib::ParamSpec) -> String {
    let value = property.default_value();
    if let Some((_, value)) = glib::EnumValue::from_value(value) {
        return format!("`{}`", value.nick());
    }
    if let Ok(text) = value.get::<Option<String>>() {
        return text.map(|text| format!("`{text}`")).unwrap_or_default();
    }
    match value.get::<f64>() {
        Ok(number) => number.to_string(),
        Err(_) if value.type_().is_a(gst::Structure::static_type()) => String::new(),
        Err(_) => {
            let text = value.transform::<String>().unwrap();
            text.get::<String>().unwrap().to_lowercase()
        }
    }
}

#[test]
fn the_table_of_properties_is_that_of_the_elements() {
    let reference = page("docs/reference.md");
    let (_, section) = reference.split_once("\n## Properties\n").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let (rows, prose): (Vec<&str>, Vec<&str>) =
        section.lines().partition(|line| line.starts_with('|'));
    let prose = prose.join(" ");
    let mut rows: BTreeMap<&str, Vec<&str>> = rows
        .into_iter()
        .filter_map(|row| Some((row.strip_prefix("| `")?.split_once('`')?.0, cells(row))))
        .collect();

    let all = properties("qwenasr");
    let of_sink = properties("qwenasrsink");
    assert!(all.len() > 30 && of_sink.len() > 20);
    for property in all.iter().chain(&of_sink) {
        let name = property.name();
        let Some(row) = rows.get(name) else {
            panic!("docs/reference.md has no property {name}");
        };
        let [_, range, default, meaning] = row[..] else {
            panic!("{name}: {row:?}");
        };
        assert_eq!(default, default_of(property), "default of {name}");
        assert!(!meaning.is_empty(), "{name}");
        let flags = property.flags();
        for (access, says) in [
            (glib::ParamFlags::WRITABLE, "read-only"),
            (glib::ParamFlags::READABLE, "write-only"),
        ] {
            let lacks = !flags.contains(access);
            assert_eq!(range.contains(says), lacks, "{name} is {says}");
        }
        let at_any_time = flags.contains(gst::PARAM_FLAG_MUTABLE_PLAYING);
        let is_named = prose.contains(&format!("`{name}`"));
        assert!(is_named || !at_any_time, "{name} can be set at any time");
    }
    for property in all.iter().filter(|p| p.value_type().is_a(glib::Type::ENUM)) {
        let is_api = property.value_type().plugin_api_flags().is_some();
        assert!(
            is_api,
            "generated documentation has no values of {}",
            property.name()
        );
    }
    for property in all.iter().chain(&of_sink) {
        rows.remove(property.name());
    }
    assert!(rows.is_empty(), "no properties: {:?}", rows.keys());
}

/// What of a page has to be the same in another language.
#[derive(Debug, PartialEq)]
struct Skeleton {
    headings: usize,
    commands: Vec<String>,
    rows: Vec<Row>,
}

/// Of a table.
#[derive(Debug, PartialEq)]
struct Row {
    cells: usize,
    code: Vec<String>,
    /// Prices, versions and the like, with their currencies; in any order, as languages have it.
    numbers: Vec<String>,
}

impl Skeleton {
    fn of(page: &str) -> Self {
        let (prose, commands) = parts(page);
        let prose: Vec<&str> = prose.iter().flat_map(|part| part.lines()).collect();
        let commands = commands.iter().flat_map(|part| part.lines());
        let is_row = |line: &&&str| line.starts_with('|');
        Self {
            headings: prose.iter().filter(|line| line.starts_with('#')).count(),
            rows: prose
                .iter()
                .filter(is_row)
                .map(|row| Row::of(row))
                .collect(),
            commands: commands.map(str::to_owned).collect(),
        }
    }
}

impl Row {
    fn of(row: &str) -> Self {
        let (mut prose, mut code) = (Vec::new(), Vec::new());
        for (index, part) in row.split('`').enumerate() {
            match index % 2 {
                0 => prose.push(part),
                _ => code.push(part.to_owned()),
            }
        }
        let prose = prose.join(" ");
        let mut numbers: Vec<String> = prose
            .split(|c: char| !(c.is_ascii_digit() || ".¥$".contains(c)))
            .map(|number| number.trim_matches('.'))
            .filter(|number| number.contains(|c: char| c.is_ascii_digit()))
            .map(str::to_owned)
            .collect();
        numbers.sort();
        Self {
            cells: cells(row).len(),
            code,
            numbers,
        }
    }
}

/// The prose of a page, and the blocks of code in it.
fn parts(page: &str) -> (Vec<&str>, Vec<&str>) {
    let (mut prose, mut blocks) = (Vec::new(), Vec::new());
    for (index, part) in page.split("```").enumerate() {
        match index % 2 {
            0 => prose.push(part),
            _ => blocks.push(part),
        }
    }
    (prose, blocks)
}

/// Of a webcam's YUY2, `x264enc` makes the profile High 4:2:2, which hardly anything plays.
#[test]
fn each_x264enc_gets_what_everything_plays() {
    let (mut encoders, mut wrong) = (0, Vec::new());
    let files = ["docs", "examples"].map(|folder| sources(&root().join(folder)));
    let files = files.into_iter().flatten();
    for path in files.chain(["README.md", "README.zh-CN.md"].map(|page| root().join(page))) {
        let Ok(text) = std::fs::read_to_string(&path) else {
            continue;
        };
        let is_page = path.extension().is_some_and(|extension| extension == "md");
        let blocks = if is_page {
            parts(&text).1
        } else {
            vec![&*text]
        };
        for block in blocks {
            for (nth, (at, _)) in block.match_indices("x264enc tune").enumerate() {
                encoders += 1;
                if block[..at].matches("format=I420").count() <= nth {
                    wrong.push(format!("{}, number {nth} in a block", path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(encoders > 6, "{encoders}");
}

#[test]
fn the_chinese_readme_is_in_step() {
    let chinese = page("README.zh-CN.md");
    // It differs in what is the usual case there.
    let chinese = chinese
        .replace(" --recogniser region=beijing", "")
        .replace(" region=beijing", "")
        .replace(" --region beijing", "")
        .replace("language-code=zh", "language-code=en")
        .replace("--language zh", "--language en")
        .replace("--translate en", "--translate fr");
    let (chinese, english) = (Skeleton::of(&chinese), Skeleton::of(&page("README.md")));
    assert_eq!(chinese, english);
    assert!(english.commands.len() > 30 && english.rows.len() > 20);
    let url = "https://help.aliyun.com/zh/model-studio/";
    let begins = page("README.zh-CN.md");
    assert!(begins.lines().take(10).any(|line| line.contains(url)));
}

/// The relative links of our pages lead somewhere.
#[test]
fn links_lead_to_files_and_headings() {
    let mut pages = vec![PathBuf::from("README.md"), "README.zh-CN.md".into()];
    pages.extend(["CONTRIBUTING.md", "packaging/README.md"].map(PathBuf::from));
    let docs = sources(&root().join("docs"));
    pages.extend(
        docs.into_iter()
            .filter(|path| path.extension().is_some_and(|e| e == "md")),
    );
    let anchor = |heading: &str| -> String {
        let heading = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = heading
            .chars()
            .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    let mut broken = Vec::new();
    for path in &pages {
        let path = root().join(path);
        let text = std::fs::read_to_string(&path).unwrap();
        let links = text
            .split("](")
            .skip(1)
            .map(|rest| rest.split(')').next().unwrap());
        for link in links.filter(|link| !link.contains("://") && !link.contains(' ')) {
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => path.clone(),
                _ => path.parent().unwrap().join(file),
            };
            let found = match std::fs::read_to_string(&target) {
                Ok(page) if !heading.is_empty() => {
                    let mut lines = page.lines().filter(|line| line.starts_with('#'));
                    lines.any(|line| anchor(line) == heading)
                }
                _ => target.exists(),
            };
            if !found {
                broken.push(format!("{}: {link}", path.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}
