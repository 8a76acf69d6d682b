// SPDX-License-Identifier: MPL-2.0
//! `caption_file`: files in, files out.

use std::io::Read;
use std::process::{Child, ChildStderr};

use super::*;

#[test]
fn caption_file_writes_translations_beside_its_file() {
    let service = server(|_| {});
    let speech = speech();
    let (wav, srt_file) = (speech.wav(), TempFile::new("srt"));
    let beside = ["fr", "de"].map(|language| {
        let path = srt_file.0.with_extension(format!("{language}.srt"));
        (language, TempFile(path))
    });
    let output = example(
        "caption_file",
        &[
            wav.0.to_str().unwrap(),
            srt_file.0.to_str().unwrap(),
            "--url",
            &service.url(),
            "--translate",
            "fr,de",
            "--max-speed",
            "50",
        ],
    );
    assert!(output.status.success(), "{}", text(&output.stderr));
    check_cues(&speech, &srt(&srt_file.text()), 0);
    for (language, file) in &beside {
        let cues = srt(&file.text());
        let heard: Vec<u32> = cues.iter().flat_map(|(text, ..)| numbers(text)).collect();
        assert_eq!(heard, speech.numbers(), "{language}");
        assert!(cues.iter().all(|(text, ..)| text.starts_with(language)));
    }
}

#[test]
fn caption_file_finds_the_utterances_if_it_is_asked_to() {
    let service = server(|_| {});
    let speech = Speech::usual(16_000).silence(8000);
    let (wav, captions) = (speech.wav(), TempFile::new("srt"));
    let arguments = [
        wav.0.to_str().unwrap(),
        captions.0.to_str().unwrap(),
        "--turn-detection=client-vad",
        "--protocol=realtime",
        "--url",
        &service.url(),
    ];
    let output = example("caption_file", &arguments);
    let errors = text(&output.stderr);
    assert!(output.status.success(), "{errors}");
    check_cues(&speech, &srt(&captions.text()), 0);
    let sessions = service.sessions();
    let commits = sessions[0].received_events("input_audio_buffer.commit");
    assert_eq!(commits.count(), 3, "{errors}");
    // Silence that is not sent is captioned all the same.
    let seconds = speech.samples.len() / 16_000;
    let sum = format!("captions in 0:{seconds:02} of audio");
    assert!(errors.contains(&sum), "{errors}");
}

#[test]
fn caption_file_says_what_is_wrong() {
    let service = server(|_| {});
    let (wav, captions) = (speech().wav(), TempFile::new("srt"));
    let run = |options: &[&str]| {
        let files = [wav.0.to_str().unwrap(), captions.0.to_str().unwrap()];
        let url = service.url();
        let output = example(
            "caption_file",
            &[&files, &["--url", &url], options].concat(),
        );
        assert!(!output.status.success(), "{options:?}");
        text(&output.stderr)
    };
    for (option, says) in [
        ("--protocol=inference", "protocol=auto"),
        ("--turn-detection=nobody", "client-vad"),
        ("--language=tlh", "The option for that is --language."),
        ("--translate=tlh", "The option for that is --translate."),
    ] {
        let errors = run(&[option]);
        assert!(errors.contains(says), "{option}: {errors}");
    }
    assert!(!captions.0.exists(), "nothing was captioned");
}

#[test]
fn programs_say_with_which_options_a_key_is_set() {
    let service = server(|options| options.api_key = Some("right".to_owned()));
    let wav = Speech::new(16_000).silence(500).wav();
    let (wav, captions, url) = (&wav.0, TempFile::new("srt"), service.url());
    let wav = wav.to_str().unwrap();
    for (program, arguments) in [
        ("caption_file", [wav, captions.0.to_str().unwrap()]),
        ("live_captions", [wav, "--sink=fakesink"]),
    ] {
        let mut command = command(program, &arguments);
        let command = command.args(["--url", &url]);
        let output = command.env_remove("DASHSCOPE_API_KEY").output().unwrap();
        let errors = text(&output.stderr);
        let options = "The options for that are --api-key-file and --url.";
        assert!(errors.contains(options), "{program}: {errors}");
    }
}

/// `caption_file` under way.
struct Captioning {
    child: Child,
    errors: BufReader<ChildStderr>,
}

impl Captioning {
    /// Begins, and waits for the first caption.
    fn begin(service: &Server, media: &Path, captions: &Path) -> Self {
        let (url, media) = (service.url(), media.to_str().unwrap());
        let arguments = [media, captions.to_str().unwrap(), "--url", &url];
        let mut command = command("caption_file", &arguments);
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let errors = BufReader::new(child.stderr.take().unwrap());
        // Audio keeps coming; what has to be compiled first takes time of its own.
        let captioned = service.wait_for(|_| captions.exists(), 10 * LONG);
        assert!(captioned, "{:?}", child.try_wait());
        Self { child, errors }
    }

    /// Presses Ctrl-C: `cargo run` has been replaced by the program itself.
    fn interrupt(&self) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args(["-INT", &id]).status().unwrap();
        assert!(sent.success());
    }

    /// What it says after that.
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.errors.read_line(&mut line).unwrap();
        line
    }

    /// Waits until it has ended. Returns whether it is content, and what it has to say.
    fn end(mut self) -> (bool, String) {
        let mut said = String::new();
        self.errors.read_to_string(&mut said).unwrap();
        (self.child.wait().unwrap().success(), said)
    }
}

#[test]
fn ctrl_c_ends_caption_file_with_what_was_said() {
    let service = server(|_| {});
    let speech = long_speech();
    let (wav, captions) = (speech.wav(), TempFile::new("srt"));
    let mut captioning = Captioning::begin(&service, &wav.0, &captions.0);
    captioning.interrupt();
    let line = captioning.line();
    assert!(line.contains("Ctrl-C again"), "{line}");
    let (content, said) = captioning.end();
    assert!(content && said.contains("Stopped early"), "{said}");
    let cues = srt(&captions.text());
    let heard: Vec<u32> = cues.iter().flat_map(|(text, ..)| numbers(text)).collect();
    let expected = speech.numbers();
    assert!(expected.starts_with(&heard), "{heard:?}");
    assert!((20..expected.len()).contains(&heard.len()), "{heard:?}");
    // It was told that the stream has ended, rather than being cut off.
    let finishes = |session: &SessionRecord| session.received_events("session.finish").count();
    assert_eq!(service.sessions().iter().map(finishes).sum::<usize>(), 1);
}

#[test]
fn a_second_ctrl_c_does_not_wait_and_keeps_the_captions() {
    let service = server(|options| options.faults.never_finished = true);
    let (wav, captions) = (long_speech().wav(), TempFile::new("srt"));
    let mut captioning = Captioning::begin(&service, &wav.0, &captions.0);
    captioning.interrupt();
    let line = captioning.line();
    assert!(line.contains("Ctrl-C again"), "{line}");
    captioning.interrupt();
    let (content, said) = captioning.end();
    assert!(!content && said.contains("Interrupted."), "{said}");
    assert!(said.contains("captions made before that"), "{said}");
    let cues = srt(&captions.text());
    assert_eq!(numbers(&cues[0].0)[0], 0, "{cues:?}");
}

#[test]
fn caption_file_escapes_what_webvtt_takes_for_markup() {
    let said = "R&D <laughter> --> next";
    let service = server(|options| {
        options.recogniser = ScriptRecogniser::factory(vec![ScriptItem::new(said)], "en");
    });
    let wav = Speech::new(16_000).say(0..10).silence(700).wav();
    for (extension, expected) in [
        ("srt", said),
        ("vtt", "R&amp;D &lt;laughter&gt; --&gt; next"),
    ] {
        let captions = TempFile::new(extension);
        let (input, output) = (wav.0.to_str().unwrap(), captions.0.to_str().unwrap());
        let run = example("caption_file", &[input, output, "--url", &service.url()]);
        assert!(run.status.success(), "{}", text(&run.stderr));
        let written = captions.text();
        assert_eq!(written.matches(expected).count(), 1, "{written}");
    }
}
