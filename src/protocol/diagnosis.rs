// SPDX-License-Identifier: MPL-2.0
//! What it means that the service refuses, closes, complains or babbles, and what to do about it.

use serde_json::Value;

use super::json::text_of;
use super::{Failure, Kind};

/// What it means that the service closed the connection.
pub(super) fn closed(model: &str, code: Option<u16>, reason: &str) -> Failure {
    let reason_text = brief(reason);
    let failure = if code == Some(1007) && reason.to_ascii_lowercase().contains("model not found") {
        no_such_model(model, &reason_text)
    } else if reason.to_ascii_lowercase().contains("access denied") {
        account(&reason_text)
    } else {
        let code = code.map_or("without a word".to_owned(), |code| {
            format!("with code {code}")
        });
        let why = if reason.is_empty() {
            String::new()
        } else {
            format!(": {reason_text}")
        };
        Failure::new(
            Kind::Lost,
            format!("The service closed the connection {code}{why}."),
            "Check the network and the service's status, then start again.",
        )
    };
    failure.with_close_code(code)
}

/// What it means that the service refused the upgrade; `path` is the one it usually has.
pub(super) fn refused(status: u16, body: &str, path: &str) -> Failure {
    let body_json: Value = serde_json::from_str(body).unwrap_or(Value::Null);
    let (code, message) = error_text(body_json.get("error").unwrap_or(&body_json));
    // An HTML page says nothing to the user.
    let message = if message.is_empty() && !body.trim_start().starts_with('<') {
        brief(body)
    } else {
        message
    };
    let said = if message.is_empty() {
        String::new()
    } else {
        format!(": {message}")
    };
    let (kind, what, remedy) = match status {
        401 => (
            Kind::Unauthorized,
            "The service did not accept the API key",
            "Check api-key (or api-key-file, or DASHSCOPE_API_KEY), and that the key was \
                 made for the region property's region.",
        ),
        403 => (
            Kind::Unauthorized,
            "The account may not use this model or endpoint",
            "Check the key's permissions, the account's quota, and the workspace property.",
        ),
        404 => (
            Kind::NotFound,
            "There is no such endpoint on this server",
            &*format!("Check the path in the url property, usually {path}."),
        ),
        429 => (
            Kind::Limit,
            "The service limits the rate of requests",
            "Wait a minute, or open fewer connections at a time.",
        ),
        300..=399 => (
            Kind::Settings,
            "The server redirects to another address, which is not followed so that the API \
                 key stays with the server it was meant for",
            "Set the url property to the final address.",
        ),
        400..=499 => (
            Kind::Settings,
            "The server refused the connection",
            "Check the url property.",
        ),
        _ => (
            Kind::Unreachable,
            "The service is not available",
            "Try again later, or check the service's status.",
        ),
    };
    Failure::new(kind, format!("{what} (HTTP {status}{said})."), remedy)
        .with_http_status(status)
        .with_code(code)
}

pub(super) fn no_such_model(model: &str, said: &str) -> Failure {
    let said = if said.is_empty() {
        String::new()
    } else {
        format!(" ({said})")
    };
    Failure::new(
        Kind::NotFound,
        format!("The service does not have the model '{}'{said}.", model),
        "Set the model property to one that this region serves.",
    )
}

/// What an `error` event means. No live client was seen to go on after one: either the
/// connection closes or no further result comes.
pub(super) fn error(model: &str, error: &Value) -> Failure {
    let (code, message) = error_text(error);
    let said = match (&code, message.is_empty()) {
        (_, false) => message.clone(),
        (Some(code), true) => code.clone(),
        (None, true) => "no reason given".to_owned(),
    };
    let all = format!("{} {message}", code.as_deref().unwrap_or_default()).to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| all.contains(word));
    let what = format!("The service reports an error: {said}.");
    let failure = if has(&[
        "connections too much",
        "throttling",
        "quota",
        "rate limit",
        "too quickly",
    ]) {
        Failure::new(
            Kind::Limit,
            what,
            "Wait a minute, or open fewer connections at a time.",
        )
    } else if has(&[
        "access denied",
        "accessdenied",
        "apikey",
        "api-key",
        "unauthorized",
        "arrear",
    ]) {
        account(&said)
    } else if has(&["model not found", "model_not_found", "modelnotfound"]) {
        no_such_model(model, &said)
    } else if has(&["<400>", "invalid"]) || text_of(error, "type") == Some("invalid_request_error")
    {
        Failure::new(
            Kind::Settings,
            what,
            settings_remedy(text_of(error, "param").unwrap_or(&message)),
        )
    } else {
        Failure::new(
            Kind::Lost,
            what,
            "Start again; if it comes back, check the settings.",
        )
    };
    failure.with_code(code)
}

/// `param` names the rejected parameter somewhere.
fn settings_remedy(param: &str) -> String {
    let property = match param {
        param if param.contains("language") => "language-code",
        param if param.contains("threshold") => "vad-threshold",
        param if param.contains("silence") => "vad-silence-duration",
        param if param.contains("noise") => "vad-threshold",
        param if param.contains("corpus") || param.contains("context") => "context",
        param if param.contains("vocabulary") => "vocabulary or vocabulary-id",
        param if param.contains("sample_rate") => {
            return "Send audio of another rate: audioresample ! audio/x-raw,rate=16000."
                .to_owned();
        }
        _ => return "Check the language-code, context and vad properties.".to_owned(),
    };
    format!("Check the {property} property.")
}

fn account(said: &str) -> Failure {
    Failure::new(
        Kind::Unauthorized,
        format!("The service denies access: {said}."),
        "Check in the console that the account is in good standing and the key may use this model.",
    )
}

/// Code and message of an error, which may be an object or just a string.
pub(super) fn error_text(error: &Value) -> (Option<String>, String) {
    match error {
        Value::String(message) => (None, brief(message)),
        error => {
            let code = text_of(error, "code")
                .or_else(|| text_of(error, "type"))
                .map(brief);
            (
                code,
                text_of(error, "message").map(brief).unwrap_or_default(),
            )
        }
    }
}

/// Foreign text in a form fit for one line of a log: short, without control characters or a
/// full stop at its end.
pub(super) fn brief(text: &str) -> String {
    const LONGEST: usize = 300;
    let mut short: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(LONGEST)
        .collect();
    if text.chars().nth(LONGEST).is_some() {
        short.push('…');
    }
    short.trim().trim_end_matches('.').to_owned()
}
