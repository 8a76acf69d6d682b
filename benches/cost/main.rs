// SPDX-License-Identifier: MPL-2.0
//! What captions cost: CPU and memory of live streams, added delay, the pace of files, start and
//! stop, floods; and how good they are. `cargo bench` measures all of it and prints tables in
//! Markdown; `cargo bench -- --quick` takes a tenth of the time. docs/cost-and-scale.md and
//! docs/live-captioning.md say what the figures mean.
//!
//! Whatever is measured runs in a process of its own, against a service in another one, and all
//! that is compared with each other runs in turns.

mod allocations;
mod delay;
mod file;
mod floods;
mod instructions;
mod load;
mod opus;
mod peers;
mod process;
mod quality;
mod service;
mod stamp;
mod startup;
mod streams;
mod table;
mod translation;

use clap::{Parser, Subcommand, ValueEnum};

use crate::streams::Kind;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

#[derive(Parser)]
#[command(name = "cost", about = "Measures what captions cost")]
struct Arguments {
    /// A tenth of the time: to see that all of it works, not for figures to quote.
    #[arg(long)]
    quick: bool,
    /// What to measure; everything if nothing is named.
    sections: Vec<Section>,
    /// That is how cargo calls a benchmark.
    #[arg(long, hide = true)]
    bench: bool,
    #[command(subcommand)]
    child: Option<Part>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Section {
    /// CPU, context switches, memory and allocations of live streams, beside others.
    Load,
    /// The same streams with a translation, beside those without.
    Translation,
    /// Added delay, in both directions.
    Delay,
    /// A thousand live streams for a minute.
    Thousand,
    /// A file as fast as it goes.
    File,
    /// Instructions by part of the program, with valgrind.
    Instructions,
    /// First frame, last frame, and many elements.
    Startup,
    /// A service that sends without end.
    Floods,
    /// Words, lines and times of the captions of real recordings.
    Quality,
    /// Opus beside PCM: bytes on the way to the service, and words understood.
    Opus,
}

/// The processes that this starts of itself.
#[derive(Subcommand)]
#[command(hide = true)]
enum Part {
    Service(service::Options),
    Streams(streams::Options),
    // Sections have the shorter names.
    #[command(name = "play-file")]
    File(file::Options),
    #[command(name = "start-and-stop")]
    Startup(startup::Options),
    FloodService(floods::Options),
    Flooded(floods::Client),
}

fn main() -> Result<()> {
    let bench = |argument: String| argument == "--bench" || argument == "--help";
    let part = std::env::args().nth(1);
    if !std::env::args().any(bench) && !part.as_deref().is_some_and(Part::has_subcommand) {
        println!("Nothing is timed in tests: this is for `cargo bench`.");
        return Ok(());
    }
    let arguments = Arguments::parse();
    match arguments.child {
        Some(Part::Service(options)) => service::run(options),
        Some(Part::Streams(options)) => streams::run(options),
        Some(Part::File(options)) => file::run(options),
        Some(Part::Startup(options)) => startup::run(options),
        Some(Part::FloodService(options)) => floods::serve(options),
        Some(Part::Flooded(client)) => floods::run(client),
        None => measure(arguments.quick, &arguments.sections),
    }
}

fn measure(quick: bool, sections: &[Section]) -> Result<()> {
    let wanted = |section| sections.is_empty() || sections.contains(&section);
    table::machine()?;
    // Before there are threads, as its recogniser prefers.
    if wanted(Section::Quality) {
        quality::measure(quick)?;
    }
    if wanted(Section::Opus) {
        opus::measure()?;
    }
    if quick {
        println!("\nA quick run: these figures are for seeing that it works.");
    }
    if wanted(Section::Load) {
        load::measure(quick)?;
    }
    if wanted(Section::Translation) {
        translation::measure(quick)?;
    }
    if wanted(Section::Delay) {
        delay::measure(quick)?;
    }
    if wanted(Section::Thousand) {
        delay::thousand(quick)?;
    }
    if wanted(Section::File) {
        file::measure(quick)?;
    }
    if wanted(Section::Instructions) {
        instructions::measure(quick)?;
    }
    if wanted(Section::Startup) {
        startup::measure(quick)?;
    }
    if wanted(Section::Floods) {
        floods::measure(quick)?;
    }
    Ok(())
}
