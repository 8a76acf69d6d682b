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
        .finish();
    assert!(compiled.status.success(), "{}", text(&compiled.stderr));
    let path = program.0.clone();
    let run = move |arguments: &[&str]| {
        let mut command = Command::new(&path);
        command.args(arguments);
        run_with_plugin(command)
    };
    (program, run)
}

/// The same in Rust, without the elements linked in.
fn captions_rs(arguments: &[&str]) -> Output {
    run_with_plugin(command("captions", arguments))
}

fn run_with_plugin(mut command: Command) -> Output {
    command.env("GST_PLUGIN_PATH", plugin_directory());
    command.finish()
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

#[test]
fn applications_say_which_setting_is_wrong() {
    let (_program, in_c) = captions_c();
    let wav = speech().wav();
    let file = wav.0.to_str().unwrap();
    for program in [&in_c as &dyn Fn(&[&str]) -> Output, &captions_rs] {
        for (property, says) in [
            ("turn-detection=foo", "server-vad or manual or client-vad"),
            ("turn-detection=7", "server-vad or manual or client-vad"),
            ("vad-silence-duration=abc", "from 200 to 6000"),
            ("chunk-duration=5", "from 10 to 5000"),
            ("max-retries=-2", "from -1 to 2147483647"),
            ("max-retries=", "from -1 to 2147483647"),
            ("max-speed=nan", "from 0 to 10000"),
            ("allow-insecure=maybe", "true or false"),
            ("headers==", "like name,field=value"),
            ("stats=1", "read-only"),
            ("nosuch=1", "gst-inspect-1.0 qwenasrsink"),
            ("noeq", "PROPERTY=VALUE"),
        ] {
            let output = program(&[file, "url=ws://127.0.0.1:9", property]);
            let errors = text(&output.stderr);
            assert_eq!(output.status.code(), Some(3), "{property}: {errors}");
            let name = property.split('=').next().unwrap();
            assert!(
                errors.starts_with(name) && errors.contains(says),
                "{property}: {errors}"
            );
            assert_eq!(errors.lines().count(), 1, "{errors}");
        }
        let output = program(&["/nosuch.wav", "url=ws://127.0.0.1:9"]);
        let errors = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{errors}");
        assert!(errors.contains("/nosuch.wav"), "{errors}");
    }
}

#[test]
fn applications_say_that_audio_was_lost() {
    let (_program, in_c) = captions_c();
    let wav = speech().wav();
    let file = wav.0.to_str().unwrap();
    for program in [&in_c as &dyn Fn(&[&str]) -> Output, &captions_rs] {
        let service = server(|options| options.faults.reset_after_ms = Some(2000));
        let output = program(&[file, &format!("url={}", service.url()), "max-retries=0"]);
        let errors = text(&output.stderr);
        assert_eq!(output.status.code(), Some(4), "{errors}");
        assert!(errors.contains(" of audio lost: "), "{errors}");
    }
}

#[test]
fn applications_end_with_their_reader() {
    let (program, _) = captions_c();
    let wav = long_speech().wav();
    let service = server(|_| {});
    let url = format!("url={}", service.url());
    let arguments = [wav.0.to_str().unwrap(), &url, "max-speed=20"];
    let mut in_c = Command::new(&program.0);
    in_c.args(arguments);
    for program in [in_c, command("captions", &arguments)] {
        let (code, errors) = leave_after(1, &program);
        assert_eq!(code, READER_GONE, "{errors}");
    }
}

/// As GLib calls it, but for what has a name of its own.
fn named(kind: gst::glib::Type) -> &'static str {
    match kind.name() {
        "gchararray" => "string",
        "gboolean" => "boolean",
        "GstValueList" => "GstValueList of GstStructure",
        name => name,
    }
}

#[test]
fn the_page_says_how_to_read_every_field() {
    let page = include_str!("../../../docs/embedding.md");
    let rows = page.lines().skip_while(|line| !line.starts_with("| Type "));
    let rows = rows.take_while(|line| !line.is_empty());
    let types: Vec<&str> = rows
        .map(|row| row.split('|').nth(1).unwrap().trim())
        .collect();
    let source = "appsrc name=src format=time \
         caps=audio/x-raw,format=S16LE,rate=16000,channels=1,layout=interleaved";

    let spoken = service(Protocol::Inference, |_| {});
    let mut rig = Rig::launch(&format!(
        "{source} ! qwenasrsink name=asr {} stats-interval=20 max-speed=50",
        spoken.properties()
    ));
    rig.run(speech().buffers(&[320], 0));
    let refusing = server(|options| options.api_key = Some("right".to_owned()));
    let mut refused = Rig::launch(&format!(
        "{source} ! qwenasrsink name=asr url={} api-key=wrong",
        refusing.url()
    ));
    refused.play();
    refused.push_all(speech().buffers(&[320], 0));
    let (_, details) = refused.wait_for_error();
    assert!(details.has_field("http-status"));
    rig.messages.push(details);

    let words = |message: &gst::Structure| message.has_field("words");
    assert!(rig.messages.iter().any(words), "no words");
    let stats = |message: &gst::Structure| message.name() == "qwenasr/stats";
    assert!(rig.messages.iter().any(stats), "no counters");
    for message in &rig.messages {
        for (field, value) in message.iter() {
            let kind = named(value.type_());
            assert!(types.contains(&kind), "{kind} of {field} in {message}");
        }
    }
    // Those that the reference has besides.
    let reference = include_str!("../../../docs/reference.md");
    let (_, messages) = reference.split_once("| Message | Field | Type |").unwrap();
    let (messages, _) = messages.split_once("\n\n").unwrap();
    for row in messages.lines().skip(2) {
        let kind = row.split('|').nth(3).unwrap().trim();
        let known = types.contains(&kind) || kind.is_empty();
        assert!(known, "{kind} of the reference is not in {types:?}");
    }
}
