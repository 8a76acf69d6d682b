// SPDX-License-Identifier: MPL-2.0
//! What it means that the service refuses, closes or complains, and what to do about it.
//!
//! Each codec asks here, so that the same cause has the same words whatever the protocol.

use serde_json::Value;

use super::json::text_of;
use super::{Failure, Kind, Quote, Statement};

/// What it means that the service closed the connection.
pub(super) fn closed(model: &str, code: Option<u16>, reason: &str) -> Failure {
    let lower = reason.to_ascii_lowercase();
    let failure = if code == Some(1007) && lower.contains("model not found") {
        no_such_model(model, reason)
    } else if lower.contains("access denied") {
        account(reason)
    } else {
        let how = code.map_or("without a word".to_owned(), |code| {
            format!("with code {code}")
        });
        Failure::new(
            Kind::Lost,
            Statement::from(format!("The service closed the connection {how}"))
                .quoting_within(": ", reason, "")
                .then("."),
            "Check the network and the service's status, then start again.",
        )
    };
    failure.with_close_code(code)
}

/// What it means that the service refused the upgrade; `path` is the one it usually has.
pub(super) fn refused(status: u16, body: &str, path: &str) -> Failure {
    let body_json: Value = serde_json::from_str(body).unwrap_or(Value::Null);
    let (code, mut message) = error_text(body_json.get("error").unwrap_or(&body_json));
    // An HTML page says nothing to the user.
    if message.is_blank() && !body.trim_start().starts_with('<') {
        message = body.into();
    }
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
    let what = Statement::from(format!("{what} (HTTP {status}"))
        .quoting_within(": ", message, "")
        .then(").");
    Failure::new(kind, what, remedy)
        .with_http_status(status)
        .with_code(code)
}

pub(super) fn no_such_model(model: &str, said: impl Into<Quote>) -> Failure {
    Failure::new(
        Kind::NotFound,
        Statement::from(format!("The service does not have the model '{model}'"))
            .quoting_within(" (", said, ")")
            .then("."),
        "Set the model property to one that this region serves.",
    )
}

/// What an `error` event means. None was observed after which the session went on: either the
/// connection is closed or no further result comes.
pub(super) fn error(model: &str, error: &Value) -> Failure {
    let (code, message) = error_text(error);
    let said = match &code {
        Some(code) if message.is_blank() => code.clone(),
        None if message.is_blank() => "no reason given".into(),
        _ => message.clone(),
    };
    let all = match &code {
        Some(code) => format!("{code} {message}"),
        None => message.to_string(),
    }
    .to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| all.contains(word));
    let what = Statement::from("The service reports an error: ")
        .quoting(said.clone())
        .then(".");
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
        account(said)
    } else if has(&["model not found", "model_not_found", "modelnotfound"]) {
        no_such_model(model, said)
    } else if has(&["<400>", "invalid"]) || text_of(error, "type") == Some("invalid_request_error")
    {
        Failure::new(
            Kind::Settings,
            what,
            match text_of(error, "param") {
                Some(param) => settings_remedy(param),
                None => settings_remedy(&message.to_string()),
            },
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

/// `param` is or names the rejected parameter.
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

fn account(said: impl Into<Quote>) -> Failure {
    Failure::new(
        Kind::Unauthorized,
        Statement::from("The service denies access: ")
            .quoting(said)
            .then("."),
        "Check in the console that the account is in good standing and the key may use this model.",
    )
}

/// Code and message of an error, which may be an object or just a string.
pub(super) fn error_text(error: &Value) -> (Option<Quote>, Quote) {
    if let Value::String(message) = error {
        return (None, message.as_str().into());
    }
    let code = text_of(error, "code").or_else(|| text_of(error, "type"));
    let message = text_of(error, "message").unwrap_or_default();
    (code.map(Quote::new), message.into())
}
