// SPDX-License-Identifier: MPL-2.0
//! Reads JSON members that may be missing or of an undocumented type: both count as absent. Used by
//! all codecs.

use serde_json::Value;

/// A non-empty string member.
pub(super) fn text_of<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    value
        .get(name)
        .and_then(Value::as_str)
        .filter(|text| !text.is_empty())
}

/// A non-negative integer, such as a time in milliseconds; some servers write it with a decimal
/// point.
pub(super) fn count_of(value: &Value, name: &str) -> Option<u64> {
    let number = value.get(name)?;
    // `as` saturates, and JSON has no NaN.
    number
        .as_u64()
        .or_else(|| number.as_f64().filter(|n| *n >= 0.0).map(|n| n as u64))
}

/// Whether a boolean member is present and true.
pub(super) fn is_set(value: &Value, name: &str) -> bool {
    value.get(name).and_then(Value::as_bool) == Some(true)
}
