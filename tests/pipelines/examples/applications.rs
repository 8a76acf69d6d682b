// SPDX-License-Identifier: MPL-2.0
//! The programs in C and in Rust that show how applications read what the element says.

use super::*;

/// The program in C, built as its first lines say.
fn captions_c() -> (TempFile, impl Fn(&[&str]) -> Output) {
    let source = std::fs::read_to_string(root().join("examples/captions.c")).unwrap();
    let compile = source
        .lines()
        .find_map(|line| line.trim().strip_prefix("*   cc "));
    let program = TempFile::new("bin");
    let compile = compile
        .unwrap()
        .replace(
            "-o captions ",
            &format!("-Werror -o {} ", program.0.display()),
        )
        .replace("captions.c", "examples/captions.c");
    let compiled = Command::new("sh")
        .current_dir(root())
        .args(["-c", &format!("cc {compile}")])
        .output()
        .unwrap();
    assert!(compiled.status.success(), "{}", text(&compiled.stderr));
    let path = program.0.clone();
    let run = move |arguments: &[&str]| {
        Command::new(&path)
            .env("GST_PLUGIN_PATH", plugin_directory())
            .args(arguments)
            .output()
            .unwrap()
    };
    (program, run)
}

/// The same in Rust, without the elements linked in.
fn captions_rs(arguments: &[&str]) -> Output {
    command("captions", arguments)
        .env("GST_PLUGIN_PATH", plugin_directory())
        .output()
        .unwrap()
}

#[test]
fn applications_read_every_field_they_need() {
    let (_program, in_c) = captions_c();
    for program in [&in_c as &dyn Fn(&[&str]) -> Output, &captions_rs] {
        let service = service(Protocol::Inference, |_| {});
        let speech = speech();
        let (wav, properties) = (speech.wav(), service.properties());
        let file = [wav.0.to_str().unwrap()];
        let arguments: Vec<&str> = file
            .into_iter()
            .chain(properties.split_whitespace())
            .collect();
        let output = program(&arguments);
        let (said, errors) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(0), "{said}{errors}");
        let lines: Vec<&str> = said.lines().collect();
        let (words, cues): (Vec<&str>, Vec<&str>) =
            lines.into_iter().partition(|line| line.starts_with(' '));
        assert_eq!(words.len(), 32, "{said}");
        assert_eq!(cues.len(), 2, "{said}");
        let second = "0:00:03.300 --> 0:00:04.500 [] ";
        let expected = format!("{second}{}", offline_service::blocks::words(20..32));
        assert_eq!(cues[1], expected);
        assert!(
            errors.lines().any(|line| line.trim() == "connected"),
            "{errors}"
        );
    }
}

#[test]
fn applications_know_what_kind_of_error_it_is() {
    let (_program, in_c) = captions_c();
    let service = server(|options| options.api_key = Some("right".to_owned()));
    let (wav, url) = (speech().wav(), format!("url={}", service.url()));
    let file = wav.0.to_str().unwrap();
    for program in [&in_c as &dyn Fn(&[&str]) -> Output, &captions_rs] {
        for (property, code, says) in [
            ("api-key=wrong", 2, "http-status: 401"),
            ("language-code=tlh", 3, "kind: settings"),
            ("max-retries=0", 4, "kind: unreachable"),
        ] {
            // There a port that nobody listens at.
            let url = if code == 4 {
                "url=ws://127.0.0.1:9"
            } else {
                &url
            };
            let output = program(&[file, url, property]);
            let errors = text(&output.stderr);
            assert_eq!(output.status.code(), Some(code), "{property}: {errors}");
            assert!(
                errors.contains(says) && errors.contains("remedy: "),
                "{errors}"
            );
        }
    }
}
