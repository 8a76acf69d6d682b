// SPDX-License-Identifier: MPL-2.0

//! For the checks with a real network and with long runs: the offline service for numbered
//! blocks as a program, and numbered blocks as a file.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{fs, io};

use clap::{Parser, Subcommand};
use offline_service::{BlockRecogniser, Options, Protocol, VadOptions, blocks};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// Samples per second of the file.
const RATE: u32 = 16_000;

/// Block numbers start again after this many.
const NUMBERS: u32 = 30_000;

/// Silence before the first utterance in milliseconds.
const LEAD_MS: u32 = 500;

/// Silence after each utterance in milliseconds.
const PAUSE_MS: u32 = 800;

/// Shortest utterance in blocks.
const SHORTEST: u32 = 10;

/// Lengths of utterances, from the shortest one to that of three seconds.
const LENGTHS: u32 = 21;

/// By how much the length changes from one utterance to the next; has no factor in common with
/// the number of lengths, so that each of them comes.
const STEP: u32 = 8;

/// Numbered test audio, and a service that recognises it.
#[derive(Parser)]
#[command(name = "numbers")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve, without any limit to the speed of audio; SIGTERM sends the clients elsewhere
    Serve {
        /// Address to listen on
        #[arg(long, default_value = "127.0.0.1", value_name = "ADDRESS")]
        listen: IpAddr,

        /// Port to listen on; 0 picks a free one
        #[arg(long, default_value_t = 0)]
        port: u16,
    },
    /// Write utterances of 1 to 3 s and pauses of 0.8 s to a WAV file, and print the expected
    /// words, one per line
    Wav {
        /// Least length of the audio
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..=36_000))]
        seconds: u32,

        /// File to write
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Serve { listen, port } => serve(SocketAddr::new(listen, port)).await,
        Command::Wav { seconds, out } => wav(seconds, &out),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("numbers: {message}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(address: SocketAddr) -> Result<(), String> {
    let listener = TcpListener::bind(address)
        .await
        .map_err(|error| format!("cannot listen on {address}: {error}"))?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    println!("Listening on ws://{address}{}", Protocol::Realtime.path());
    let options = Options {
        recogniser: BlockRecogniser::factory(),
        vad: VadOptions::EXACT,
        rate_limit: false,
        ..Options::default()
    };
    let mut terminated = signal(SignalKind::terminate()).map_err(|error| error.to_string())?;
    offline_service::serve_until(listener, options, terminated.recv()).await;
    Ok(())
}

fn wav(seconds: u32, out: &Path) -> Result<(), String> {
    let utterances = utterances(seconds);
    let mut samples = blocks::silence(LEAD_MS, RATE);
    let mut words = String::new();
    for utterance in utterances {
        for n in utterance {
            samples.extend(blocks::block(n % NUMBERS, RATE));
            words.push_str(&blocks::word(n % NUMBERS));
            words.push('\n');
        }
        samples.extend(blocks::silence(PAUSE_MS, RATE));
    }
    fs::write(out, file(&blocks::bytes(&samples)))
        .map_err(|error| format!("cannot write {}: {error}", out.display()))?;
    io::stdout()
        .write_all(words.as_bytes())
        .map_err(|error| format!("cannot print: {error}"))
}

/// Blocks of the utterances that, with their pauses, are `seconds` long or a little longer.
fn utterances(seconds: u32) -> Vec<std::ops::Range<u32>> {
    let mut utterances = Vec::new();
    let (mut first, mut change, mut length_ms) = (0, 0, LEAD_MS);
    while length_ms < seconds * 1000 {
        let length = SHORTEST + change;
        utterances.push(first..first + length);
        first += length;
        change = (change + STEP) % LENGTHS;
        length_ms += length * blocks::BLOCK_MS + PAUSE_MS;
    }
    utterances
}

/// A WAV file of samples in one channel.
fn file(data: &[u8]) -> Vec<u8> {
    let length = data.len() as u32;
    let mut wav = Vec::with_capacity(data.len() + 44);
    wav.extend(b"RIFF");
    wav.extend((36 + length).to_le_bytes());
    wav.extend(b"WAVEfmt ");
    wav.extend(16u32.to_le_bytes());
    // PCM, one channel.
    wav.extend([1, 0, 1, 0]);
    wav.extend(RATE.to_le_bytes());
    wav.extend((RATE * 2).to_le_bytes());
    // Bytes and bits of a sample.
    wav.extend([2, 0, 16, 0]);
    wav.extend(b"data");
    wav.extend(length.to_le_bytes());
    wav.extend(data);
    wav
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn utterances_are_as_long_as_promised() {
        let utterances = utterances(120);
        let blocks: u32 = utterances.iter().map(|u| u.end - u.start).sum();
        let length_ms = LEAD_MS + blocks * 100 + utterances.len() as u32 * PAUSE_MS;
        assert!((120_000..124_000).contains(&length_ms), "{length_ms}");
        let mut lengths: Vec<u32> = utterances.iter().map(|u| u.end - u.start).collect();
        lengths.sort();
        lengths.dedup();
        assert_eq!(lengths, (10..=30).collect::<Vec<u32>>());
        assert!(utterances.windows(2).all(|two| two[0].end == two[1].start));
    }

    #[test]
    fn the_file_says_how_long_it_is() {
        let wav = file(&[0; 6]);
        assert_eq!(wav.len(), 50);
        assert_eq!(&wav[4..8], &42u32.to_le_bytes());
        assert_eq!(&wav[40..44], &6u32.to_le_bytes());
    }
}
