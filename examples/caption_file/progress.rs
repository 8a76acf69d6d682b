// SPDX-License-Identifier: MPL-2.0

//! What the user sees while a file is captioned.

use std::fmt::Write;

use indicatif::{ProgressBar, ProgressState, ProgressStyle};
use unicode_width::UnicodeWidthChar;

/// Most columns of the text that is being spoken.
const LINE_COLUMNS: usize = 72;

/// Hours, minutes and seconds.
pub fn clock(seconds: u64) -> String {
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match hours {
        0 => format!("{minutes}:{seconds:02}"),
        _ => format!("{hours}:{minutes:02}:{seconds:02}"),
    }
}

/// The last part of a text, as much as goes into a line.
fn tail(text: &str) -> &str {
    let mut columns = 0;
    let begin = text.char_indices().rev().find(|(_, character)| {
        columns += character.width().unwrap_or_default();
        columns > LINE_COLUMNS
    });
    begin.map_or(text, |(begin, character)| {
        &text[begin + character.len_utf8()..]
    })
}

/// Where we are; shows itself on a terminal only.
pub struct Progress(ProgressBar);

impl Progress {
    pub fn new() -> Self {
        // Draws to stderr, and not at all if that is no terminal.
        let progress = Progress(ProgressBar::no_length());
        progress.style("{spinner} {at}\n{wide_msg}");
        progress
    }

    fn style(&self, template: &str) {
        let style = ProgressStyle::with_template(template)
            .unwrap_or_else(|_| ProgressStyle::default_bar())
            .with_key("at", |state: &ProgressState, out: &mut dyn Write| {
                // Writing to a string does not fail.
                let _ = out.write_str(&clock(state.pos()));
            })
            .with_key("end", |state: &ProgressState, out: &mut dyn Write| {
                let _ = out.write_str(&clock(state.len().unwrap_or_default()));
            });
        self.0.set_style(style);
    }

    /// Shows how many seconds of the file are done, of how many.
    pub fn at(&self, position: u64, duration: Option<u64>) {
        if self.0.length().is_none()
            && let Some(duration) = duration
        {
            self.0.set_length(duration);
            self.style("{bar:40} {at} / {end}\n{wide_msg}");
        }
        self.0.set_position(position);
        self.0.tick();
    }

    /// Shows what is being said.
    pub fn line(&self, text: &str) {
        self.0.set_message(tail(text).to_owned());
    }

    /// Prints a line of its own.
    pub fn say(&self, text: &str) {
        self.0.suspend(|| eprintln!("{text}"));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
