// SPDX-License-Identifier: MPL-2.0
//! Reading members that may be missing, or of another type than they should be.

use serde_json::Value;

/// A non-empty string member.
pub(super) fn text_of<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    value
        .get(name)
        .and_then(Value::as_str)
        .filter(|text| !text.is_empty())
}

/// A count, such as a time in milliseconds, written as an integer or not.
pub(super) fn count_of(value: &Value, name: &str) -> Option<u64> {
    let number = value.get(name)?;
    // `as` saturates, and NaN cannot be written in JSON.
    number
        .as_u64()
        .or_else(|| number.as_f64().filter(|n| *n >= 0.0).map(|n| n as u64))
}

/// A boolean member that is there and true.
pub(super) fn is_set(value: &Value, name: &str) -> bool {
    value.get(name).and_then(Value::as_bool) == Some(true)
}
