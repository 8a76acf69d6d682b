// SPDX-License-Identifier: MPL-2.0
//! Every fault, at every moment, with both policies, in live and other pipelines: no word that
//! could be kept is lost, none comes twice, the user is told what happened, and stopping is quick.

mod network;
mod table;

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::common::*;
use network::{Network, Trouble};
use offline_service::blocks;
use table::{Moment, Row, Then, UTTERANCES, WhileFinishing, Words, rows, speech};

/// Cells at the same time. They wait most of the time.
const AT_ONCE: usize = 12;

/// Text that comes later than this is shown later: on a busy machine, not for the fault.
const LATENCY: u32 = 60_000;

#[derive(Debug, PartialEq)]
enum Ended {
    Eos,
    /// With an error of this kind.
    Error(String),
    /// Not at all: it waits for the next attempt.
    Waiting,
}

/// What came of a cell.
#[derive(Debug)]
struct Outcome {
    ended: Ended,
    /// Kinds of the warnings of outages.
    outages: Vec<String>,
    /// Other warnings.
    warnings: Vec<String>,
    /// Whether the service had been told that no more audio comes.
    finishing: bool,
    heard: Vec<u32>,
    cues: Vec<(String, u64, u64)>,
    /// Outages that were counted.
    counted: u64,
    /// The connections that were made, and how many it takes where nothing goes wrong.
    connections: usize,
    usual_connections: usize,
    /// How long it took to stop.
    stopped: Duration,
}

fn run(row: &Row, protocol: Protocol, policy: &str, live: bool) -> Outcome {
    let server = service(protocol, |options| {
        options.first_faults = row.first.clone();
        options.faults = row.later.clone();
    });
    let network = row.network.map(|(trouble, after)| {
        let number = row.moment.connection(protocol);
        Network::new(server.port(), trouble, number, after)
    });
    let service = match (&network, row.host) {
        (Some(network), _) => server.properties_at(&network.address()),
        (None, Some(host)) => server.properties_at(host),
        (None, None) => server.properties(),
    };
    let timeout = if row.silent { 700 } else { 20_000 };
    // Where nothing more will come, there is no need to wait for it.
    let finish = match row.then {
        Then::GoesOn if row.unrecognised == 0 || row.words != Words::All => 20_000,
        _ => 1500,
    };
    let mut rig = Rig::launch(&format!(
        "appsrc name=src is-live={live} format=time caps=audio/x-raw,format=S16LE,rate=16000,channels=1,layout=interleaved \
         ! qwenasr name=asr {service} latency={LATENCY} failure-policy={policy} max-speed=50 connect-timeout={timeout} \
         response-timeout={timeout} finish-timeout={finish} ! fakesink name=out sync=false async=false"
    ));
    rig.play();
    rig.push_all(speech().buffers(&[320], 0));
    let waits = matches!(row.then, Then::Waits(_));
    // Otherwise the end would limit the wait.
    if !waits || row.moment == WhileFinishing {
        rig.push_eos();
    }
    let (outages, warnings) = (RefCell::new(Vec::new()), RefCell::new(Vec::new()));
    let ended = rig.wait_for("error", |message| match message.view() {
        gst::MessageView::Warning(warning) => match kind_of(warning.details()) {
            Some(kind) => {
                outages.borrow_mut().push(kind);
                (waits && row.outage.is_none()).then_some(Ended::Waiting)
            }
            None => {
                warnings.borrow_mut().push(warning.error().to_string());
                None
            }
        },
        // The outage began with something else.
        gst::MessageView::Element(element) => {
            let structure = element.structure()?;
            let reason = structure.get::<&str>("reason").ok()?;
            (waits && row.outage.is_some() && reason.contains("429")).then_some(Ended::Waiting)
        }
        gst::MessageView::Error(error) => {
            let kind = kind_of(error.details()).unwrap_or_else(|| error.error().to_string());
            Some(Ended::Error(kind))
        }
        gst::MessageView::Eos(_) => Some(Ended::Eos),
        _ => None,
    });
    let start = Instant::now();
    rig.stop();
    Outcome {
        stopped: start.elapsed(),
        ended,
        outages: outages.take(),
        warnings: warnings.take(),
        finishing: rig.states().contains(&"finishing"),
        heard: rig.finals().iter().flat_map(|text| whole(text)).collect(),
        cues: rig.texts(),
        counted: rig.stat("outages"),
        connections: server.connections(),
        usual_connections: server.connections_for(UTTERANCES.len()),
    }
}

/// The numbers of the words in a text. What was heard of an utterance that was interrupted for good
/// may end in mid-word.
fn whole(text: &str) -> Vec<u32> {
    let is_whole = |word: &str| word.len() == blocks::word(0).len();
    let words: Vec<&str> = text.split_whitespace().filter(|w| is_whole(w)).collect();
    numbers(&words.join(" "))
}

fn kind_of(details: Option<&gst::StructureRef>) -> Option<String> {
    details?.get("kind").ok()
}

/// Whether all is as the row says.
fn judge(row: &Row, policy: &str, outcome: &Outcome) {
    judge_words(row, outcome);
    let mut outages: Vec<&str> = row.outage.into_iter().collect();
    let mut warnings = row.unrecognised..=row.unrecognised;
    match row.then {
        Then::GoesOn => assert_eq!(outcome.ended, Ended::Eos),
        Then::Waits(kind) => {
            assert_eq!(outcome.ended, Ended::Waiting);
            if outages.is_empty() {
                outages.push(kind);
            }
        }
        Then::Stops(kind) if policy == "continue" => {
            assert_eq!(outcome.ended, Ended::Eos);
            if outages.is_empty() {
                outages.push(kind);
            }
            // That the end was waited for in vain.
            warnings = 0..=1;
        }
        // All audio was sent: what is missing is an end, not a session.
        Then::Stops(_) if outcome.finishing && outcome.ended == Ended::Eos => warnings = 1..=1,
        Then::Stops(kind) => assert_eq!(outcome.ended, Ended::Error(kind.into())),
    }
    if row.silent {
        // On a busy machine an impatient client may lose a healthy service, too.
        assert_eq!(outcome.outages.first().map(String::as_str), row.outage);
    } else {
        assert_eq!(outcome.outages, outages);
    }
    assert!(warnings.contains(&outcome.warnings.len()), "{warnings:?}");
    assert_eq!(outcome.counted, outcome.outages.len() as u64);
    if row.outage.is_some() && row.then == Then::GoesOn {
        let usual = outcome.usual_connections;
        assert!(outcome.connections > usual, "another connection");
    }
}

fn judge_words(row: &Row, outcome: &Outcome) {
    let said = speech().numbers();
    let heard = &outcome.heard;
    assert!(heard.is_sorted_by(|a, b| a < b), "in order, and none twice");
    match &row.words {
        Words::All => check_cues(&speech(), &outcome.cues, 0),
        Words::AllButTheEndsOf(utterances) => {
            let ends = |n: &u32| utterances.iter().any(|u| UTTERANCES[*u].contains(n));
            let others = |n: &&u32| !ends(n);
            let (kept, expected) = (heard.iter().filter(others), said.iter().filter(others));
            assert!(kept.eq(expected), "the other utterances are complete");
            for utterance in utterances {
                let words = &UTTERANCES[*utterance];
                let kept: Vec<u32> = heard
                    .iter()
                    .copied()
                    .filter(|n| words.contains(n))
                    .collect();
                assert!(words.clone().take(kept.len()).eq(kept));
            }
        }
        Words::Until(utterances) => {
            assert!(said.starts_with(heard), "nothing is skipped");
            let reported = UTTERANCES[..*utterances].last().map_or(0, |u| u.end);
            assert!(heard.len() >= reported as usize, "what was final stays");
        }
    }
}

/// Longer than a network may take that does not acknowledge anything.
#[test]
fn a_server_that_does_not_read_for_seconds_is_slow_and_not_gone() {
    const PAUSE: Duration = Duration::from_secs(6);
    let speech = Speech::new(16_000).say(0..400);
    let run = |properties: &str| {
        let server = service(Protocol::Realtime, |_| {});
        let network = Network::new(server.port(), Trouble::Pause(PAUSE), 0, 100_000);
        let service = server.properties_at(&network.address());
        let mut rig = Rig::launch(&format!(
            "appsrc name=src is-live=true format=time caps=audio/x-raw,format=S16LE,rate=16000,channels=1,layout=interleaved \
             ! qwenasr name=asr {service} {properties} max-queue-time=60000 max-speed=50 latency={LATENCY} \
             ! fakesink name=out sync=false async=false"
        ));
        let start = Instant::now();
        rig.run(speech.buffers(&[320], 0));
        assert!(start.elapsed() >= PAUSE);
        assert_eq!(rig.heard(), speech.numbers(), "{properties}");
        assert_eq!(rig.stat("outages"), 0, "{properties}: {:?}", rig.warnings);
        assert_eq!(server.connections(), 1, "{properties}");
    };
    std::thread::scope(|scope| {
        scope.spawn(|| run(""));
        scope.spawn(|| run("turn-detection=client-vad"));
    });
}

pub fn every_fault_at_every_moment(protocol: Protocol) {
    init();
    let mut cells = Vec::new();
    for moment in Moment::all(protocol) {
        for row in rows(*moment, protocol) {
            for policy in ["error", "continue"] {
                for live in [false, true] {
                    cells.push((row.clone(), policy, live));
                }
            }
        }
    }
    let next = AtomicUsize::new(0);
    let (wrong, slow) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some((row, policy, live)) =
                    cells.get(next.fetch_add(1, Ordering::Relaxed))
                {
                    let cell = format!(
                        "{}, {:?}, failure-policy={policy}, is-live={live}",
                        row.fault, row.moment
                    );
                    let mut outcome = None;
                    let result = catch_unwind(AssertUnwindSafe(|| {
                        let outcome = outcome.insert(run(row, protocol, policy, *live));
                        judge(row, policy, outcome);
                    }));
                    if let Some(outcome) = &outcome
                        && outcome.stopped > QUICK
                    {
                        slow.lock().unwrap().push((row.fault, outcome.stopped));
                    }
                    if let Err(panic) = result {
                        let why = panic
                            .downcast_ref::<String>()
                            .cloned()
                            .or_else(|| panic.downcast_ref::<&str>().map(|s| s.to_string()));
                        let why = why.unwrap_or_default();
                        let wrong = &mut wrong.lock().unwrap();
                        wrong.push(format!("{cell}: {why}\n    {outcome:?}"));
                    }
                }
            });
        }
    });
    let (wrong, slow) = (wrong.into_inner().unwrap(), slow.into_inner().unwrap());
    assert!(
        wrong.is_empty(),
        "{} of {} cells:\n{}",
        wrong.len(),
        cells.len(),
        wrong.join("\n")
    );
    assert!(slow.is_empty(), "not stopped within {QUICK:?}: {slow:?}");
}
