// SPDX-License-Identifier: MPL-2.0

//! Parts of a result: what it costs, and its words.

use serde_json::{Value, json};

use super::Task;
use super::parameters::Family;
use crate::words::{Span, Word};

/// What the task was charged for so far.
pub fn usage(task: &Task, audio: u64) -> Value {
    let seconds = audio.div_ceil(1000);
    match task.parameters.model.family {
        Family::Streaming31 | Family::Message31 => {
            let input = 62 + audio * 25 / 2000;
            let output = task.characters.div_ceil(4) as u64;
            json!({
                "duration": seconds,
                "input_tokens": input,
                "output_tokens": output,
                "total_tokens": input + output,
            })
        }
        _ => json!({"duration": seconds}),
    }
}

/// A word as it is in a result; `fixed` ones will not change any more.
pub fn spoken(word: &Word, fixed: bool) -> Value {
    let (begin, end): Span = word.span;
    json!({
        "begin_time": begin,
        "end_time": end,
        "text": word.text,
        "punctuation": word.punctuation,
        "fixed": fixed,
        "speaker_id": null,
    })
}
