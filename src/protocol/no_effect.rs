// SPDX-License-Identifier: MPL-2.0
//! Warnings about settings that a protocol or model cannot take. Such a setting never fails a
//! session: the `set_up` of each protocol says so in [`Setup::warnings`](super::Setup::warnings).

/// The sentence about one property; `why` is a clause such as `The model 'x' takes no context`.
pub(super) fn warning(why: &str, property: &str) -> String {
    format!("{why}: the {property} property has no effect.")
}

/// The same for each of these properties that is set, for one reason.
pub(super) fn warnings(why: &str, set: &[(&str, bool)]) -> Vec<String> {
    set.iter()
        .filter(|(_, is_set)| *is_set)
        .map(|(property, _)| warning(why, property))
        .collect()
}
