// SPDX-License-Identifier: MPL-2.0
//! Checks shared by the `set_up` of several protocols, so that their errors and warnings read
//! alike. A setting that merely has no effect never fails a session: it is one of
//! [`Setup::warnings`](super::Setup::warnings).

use super::{Failure, Kind};

/// Refuses audio whose sample rate is none of those that `who` accepts, best first, for instance
/// `The model 'x'`. Rates are in Hz.
pub(super) fn rate(who: &str, takes: &[u32], rate: u32) -> Result<(), Failure> {
    if takes.contains(&rate) {
        return Ok(());
    }
    let best = takes.first().copied().unwrap_or_default();
    let takes: Vec<String> = takes.iter().map(u32::to_string).collect();
    Err(Failure::new(
        Kind::Settings,
        format!(
            "{who} takes audio of {} Hz, not of {rate} Hz.",
            takes.join(" or ")
        ),
        format!("Put audioresample ! audio/x-raw,rate={best} before this element."),
    ))
}

/// The failure for Opus where only PCM will do; `why` is a sentence.
pub fn not_decoded(why: &str) -> Failure {
    Failure::new(
        Kind::Settings,
        why,
        "Put opusdec ! audioconvert ! audioresample before this element.",
    )
}

/// Whether the model is one of a server of one's own, rather than the service's that is the default:
/// such a server serves its own model, and need not be told of another one.
pub(super) fn is_own_model(model: &str) -> bool {
    !model.starts_with("qwen3-asr-flash")
}

/// The warning about a property without effect; `why` is a clause such as `The model 'x' takes no
/// context`.
pub(super) fn no_effect(why: &str, property: &str) -> String {
    format!("{why}: the {property} property has no effect.")
}

/// The warnings about those of the given properties that are set, all for the same reason.
pub(super) fn without_effect(why: &str, set: &[(&str, bool)]) -> Vec<String> {
    set.iter()
        .filter(|(_, is_set)| *is_set)
        .map(|(property, _)| no_effect(why, property))
        .collect()
}
