// SPDX-License-Identifier: MPL-2.0
//! How good captions are: real recordings, recognised by the offline service, through whole
//! pipelines, live and as a file.
//!
//! What is shown is held against what the service finally says. How well that hears is not measured
//! here: `cargo run -p offline-service --bin measure` does.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use gst::prelude::*;
use offline_service::recordings::{self, spoken_words};
use offline_service::{Options, Server, VadOptions, moonshine};

use crate::Result;
use crate::table::Table;

/// Samples per second, and in a buffer.
const RATE: usize = 16_000;
const BUFFER: usize = RATE / 50;

/// Silence after each recording.
const PAUSE: usize = RATE;

/// What people read with ease, in characters a second, and on one line, in columns.
const MAX_SPEED: f64 = 20.0;
const MAX_COLUMNS: usize = 42;

/// Beside the models of the package: A Tale of Two Cities, at 48 kHz.
const TWO_CITIES: &str = "moonshine_voice/assets/two_cities.wav";

/// Bytes before the samples of a file.
const HEADER: usize = 44;

/// A text on the pad: from when to when, and when it left.
struct Shown {
    text: String,
    start: Duration,
    end: Duration,
    left: Duration,
}

/// A final text, and when its utterance began.
struct Final {
    words: Vec<String>,
    start: Duration,
}

/// What a pipeline had to say.
#[derive(Default)]
struct Ledger {
    shown: Vec<Shown>,
    finals: Vec<Final>,
    complaints: Vec<String>,
}

type Shared = Arc<Mutex<Ledger>>;

fn with<R>(ledger: &Shared, change: impl FnOnce(&mut Ledger) -> R) -> R {
    change(&mut ledger.lock().unwrap_or_else(PoisonError::into_inner))
}

pub fn measure(quick: bool) -> Result<()> {
    gst::init()?;
    gstqwenasr::plugin_register_static()?;
    let audio = Arc::new(audio(quick)?);
    let server = service()?;
    let mut words = Table::new(&[
        "results",
        "as",
        "words",
        "lost",
        "wrong",
        "too many",
        "delay",
        "95 % within",
    ]);
    let mut cues = Table::new(&[
        "results", "as", "texts", "too fast", "too wide", "lines", "shortest", "longest",
    ]);
    for is_live in [true, false] {
        for results in ["final", "stable", "interim"] {
            // Lines that roll cannot keep up with audio that is faster than they are made.
            if results == "interim" && !is_live {
                continue;
            }
            let ledger = play(&server, &audio, results, is_live)?;
            let how = if is_live { "live" } else { "file" };
            words.row(judge_words(&ledger, results, how));
            cues.row(judge_cues(&ledger, results, how));
            if !ledger.complaints.is_empty() {
                println!("{results}, {how}: {:?}", ledger.complaints);
            }
        }
    }
    words.print("Words shown, against the final texts");
    cues.print("Texts as they are read");
    Ok(())
}

/// The offline service, with its better recogniser.
pub fn service() -> Result<Server> {
    // Before there are threads, as Moonshine prefers.
    let recogniser = moonshine::factory(&moonshine::default_directory())?;
    Ok(Server::start(Options {
        recogniser,
        vad: VadOptions::RECORDING,
        rate_limit: false,
        ..Options::default()
    }))
}

/// All recordings, each with a pause after it.
fn audio(quick: bool) -> Result<Vec<i16>> {
    let mut audio = Vec::new();
    for recording in recordings::all()? {
        audio.extend(recording.pcm);
        audio.extend([0; PAUSE]);
    }
    let path = moonshine::default_directory().join(TWO_CITIES);
    match std::fs::read(&path) {
        Ok(bytes) if !quick => {
            let samples = bytes.get(HEADER..).unwrap_or_default().chunks_exact(2);
            let samples: Vec<_> = samples
                .map(|bytes| i32::from(i16::from_le_bytes([bytes[0], bytes[1]])))
                .collect();
            // From 48 to 16 kHz: speech has little beyond 8 kHz.
            let thirds = samples.chunks_exact(3);
            audio.extend(thirds.map(|samples| (samples.iter().sum::<i32>() / 3) as i16));
            audio.extend([0; PAUSE]);
        }
        Ok(_) => {}
        Err(error) => println!("{} is left out: {error}", path.display()),
    }
    Ok(audio)
}

/// Plays the audio through a pipeline, in real time if it is live, until all of it is captioned.
fn play(server: &Server, audio: &Arc<Vec<i16>>, results: &str, is_live: bool) -> Result<Ledger> {
    let pipeline = gst::parse::launch(&format!(
        "audiotestsrc name=source is-live={is_live} wave=silence samplesperbuffer={BUFFER} \
         num-buffers={} ! audio/x-raw,format=S16LE,rate={RATE},channels=1 ! \
         qwenasr name=transcriber url={} results={results} latency=8000 max-speed=20 ! \
         fakesink sync=false async=false",
        audio.len() / BUFFER,
        server.url(),
    ))?;
    let pipeline = pipeline
        .downcast::<gst::Pipeline>()
        .map_err(|_| "the pipeline is none")?;
    let pad = |name: &str, pad: &str| {
        let element = pipeline.by_name(name);
        element
            .and_then(|element| element.static_pad(pad))
            .ok_or("a pad is missing")
    };
    speak(&pad("source", "src")?, audio.clone());
    let ledger = Shared::default();
    watch(&pad("transcriber", "src")?, &pipeline, ledger.clone());
    pipeline.set_state(gst::State::Playing)?;
    let bus = pipeline.bus().ok_or("a pipeline has no bus")?;
    for message in bus.iter_timed(gst::ClockTime::NONE) {
        match message.view() {
            gst::MessageView::Eos(_) => break,
            gst::MessageView::Error(error) => return Err(error.error().into()),
            gst::MessageView::Warning(warning) => with(&ledger, |ledger| {
                ledger.complaints.push(warning.error().to_string());
            }),
            gst::MessageView::Element(_) => hear(&message, &ledger),
            _ => {}
        }
    }
    pipeline.set_state(gst::State::Null)?;
    Ok(with(&ledger, std::mem::take))
}

/// Puts the audio into the buffers of a source.
fn speak(source: &gst::Pad, audio: Arc<Vec<i16>>) {
    let next = AtomicUsize::new(0);
    source.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        let from = next.fetch_add(BUFFER, Ordering::Relaxed);
        if let Some(buffer) = info.buffer_mut()
            && let Ok(mut bytes) = buffer.make_mut().map_writable()
        {
            let samples = audio.get(from..).unwrap_or_default();
            for (bytes, sample) in bytes.chunks_exact_mut(2).zip(samples) {
                bytes.copy_from_slice(&sample.to_le_bytes());
            }
        }
        gst::PadProbeReturn::Ok
    });
}

/// Notes the text that leaves a pad.
fn watch(text: &gst::Pad, pipeline: &gst::Pipeline, ledger: Shared) {
    let pipeline = pipeline.downgrade();
    text.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        if let Some(buffer) = info.buffer()
            && let (Some(start), Some(duration)) = (buffer.pts(), buffer.duration())
            && let Ok(bytes) = buffer.map_readable()
        {
            let now = pipeline
                .upgrade()
                .and_then(|pipeline| pipeline.current_running_time());
            let shown = Shown {
                text: String::from_utf8_lossy(&bytes).into_owned(),
                start: start.into(),
                end: (start + duration).into(),
                left: now.unwrap_or_default().into(),
            };
            with(&ledger, |ledger| ledger.shown.push(shown));
        }
        gst::PadProbeReturn::Ok
    });
}

fn hear(message: &gst::Message, ledger: &Shared) {
    let Some(structure) = message.structure() else {
        return;
    };
    if structure.name() == "qwenasr/transcript"
        && structure.get::<bool>("final") == Ok(true)
        && let Ok(text) = structure.get::<String>("text")
        && let Ok(start) = structure.get::<gst::ClockTime>("timestamp")
    {
        let (words, start) = (spoken_words(&text), start.into());
        with(ledger, |ledger| ledger.finals.push(Final { words, start }));
    }
}

/// Of the words of the final texts, how many are missing or another one stands for them; how many
/// were shown besides; and how long after a word its text left.
fn judge_words(ledger: &Ledger, results: &str, how: &str) -> Vec<String> {
    let words = ledger.finals.iter().map(|said| said.words.len()).sum();
    let [lost, wrong, besides] = if results == "interim" {
        compare_lines(ledger)
    } else {
        let finals = ledger.finals.iter().flat_map(|said| said.words.clone());
        let shown = ledger.shown.iter();
        let shown = shown.flat_map(|shown| spoken_words(&shown.text));
        compare(&finals.collect::<Vec<_>>(), &shown.collect::<Vec<_>>())
    };
    let mut delays: Vec<_> = ledger
        .shown
        .iter()
        .map(|shown| shown.left.saturating_sub(shown.end).as_millis())
        .collect();
    delays.sort_unstable();
    let delay = |part: usize| match delays.get(delays.len() * part / 100) {
        // A rolling line ends where the audio does when it comes.
        Some(delay) if how == "live" && results != "interim" => format!("{delay} ms"),
        _ => "–".into(),
    };
    let count = |count: usize| count.to_string();
    let cells = [words, lost, wrong, besides].map(count);
    [results.to_owned(), how.to_owned()]
        .into_iter()
        .chain(cells)
        .chain([delay(50), delay(95)])
        .collect()
}

/// [`compare`] for rolling lines, utterance by utterance: each line as it was in the end.
fn compare_lines(ledger: &Ledger) -> [usize; 3] {
    let finals = &ledger.finals;
    let mut lines = vec![Vec::new(); finals.len()];
    for shown in &ledger.shown {
        let line = spoken_words(&shown.text);
        let begun = finals.partition_point(|said| said.start <= shown.start);
        let is_of = |of: usize| 2 * place_of(&line, &finals[of].words).1 < line.len();
        let of = match begun {
            0 => continue,
            // The end of an utterance may be shown when the next one has begun.
            2.. if !is_of(begun - 1) && is_of(begun - 2) => begun - 2,
            _ => begun - 1,
        };
        lines[of].push(line);
    }
    let mut sum = [0; 3];
    for (said, lines) in finals.iter().zip(lines) {
        let changes = compare(&said.words, &settled(lines, &said.words));
        for (sum, changes) in sum.iter_mut().zip(changes) {
            *sum += changes;
        }
    }
    sum
}

/// The words of an utterance's lines, each line as it was in the end: one that was changed gives
/// way to what it was changed to.
fn settled(lines: Vec<Vec<String>>, all: &[String]) -> Vec<String> {
    let mut settled = Vec::new();
    let (mut current, mut place) = (Vec::new(), 0);
    for line in lines {
        let (new_place, _) = place_of(&line, all);
        if 2 * new_place > 2 * place + current.len() {
            settled.append(&mut current);
        }
        (current, place) = (line, new_place);
    }
    settled.append(&mut current);
    settled
}

/// Where in a text a line is most likely to be from, and how many words are not the same there.
fn place_of(line: &[String], all: &[String]) -> (usize, usize) {
    let distance = |from: usize| {
        let distances = (from..=all.len()).map(|to| compare(line, &all[from..to]));
        let distances = distances.map(|changes| changes.iter().sum());
        distances.min().unwrap_or(line.len())
    };
    let places = (0..=all.len()).map(|from| (from, distance(from)));
    places
        .min_by_key(|(_, distance)| *distance)
        .unwrap_or_default()
}

/// How many words of `expected` have no counterpart in `shown`, or a wrong one, and how many of
/// `shown` have none: the least changes from one to the other.
fn compare(expected: &[String], shown: &[String]) -> [usize; 3] {
    let sum = |changes: [usize; 3]| changes.iter().sum::<usize>();
    let mut row: Vec<[usize; 3]> = (0..=shown.len()).map(|count| [0, 0, count]).collect();
    for word in expected {
        let mut next = vec![[row[0][0] + 1, 0, 0]];
        for (at, other) in shown.iter().enumerate() {
            let (diagonal, above, left) = (row[at], row[at + 1], next[at]);
            let steps = [
                [
                    diagonal[0],
                    diagonal[1] + usize::from(word != other),
                    diagonal[2],
                ],
                [above[0] + 1, above[1], above[2]],
                [left[0], left[1], left[2] + 1],
            ];
            next.extend(steps.into_iter().min_by_key(|changes| sum(*changes)));
        }
        row = next;
    }
    row[shown.len()]
}

/// How many texts are read at more than 20 characters a second, how many lines are wider than 42
/// columns, the most lines of a text, and the shortest and the longest showing.
fn judge_cues(ledger: &Ledger, results: &str, how: &str) -> Vec<String> {
    let shown = &ledger.shown;
    let length = |shown: &Shown| shown.end.saturating_sub(shown.start);
    let is_fast = |shown: &&Shown| {
        let characters = shown.text.chars().count() as f64;
        characters / length(shown).as_secs_f64() > MAX_SPEED
    };
    let lines = || shown.iter().map(|shown| shown.text.lines());
    let wide = lines()
        .flatten()
        .filter(|line| line.chars().count() > MAX_COLUMNS);
    let fast = shown.iter().filter(is_fast).count();
    let showing = |length: Option<Duration>| match length {
        Some(length) => format!("{} ms", length.as_millis()),
        None => "–".into(),
    };
    vec![
        results.to_owned(),
        how.to_owned(),
        shown.len().to_string(),
        fast.to_string(),
        wide.count().to_string(),
        lines().map(Iterator::count).max().unwrap_or(0).to_string(),
        showing(shown.iter().map(length).min()),
        showing(shown.iter().map(length).max()),
    ]
}
