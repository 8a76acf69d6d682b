// SPDX-License-Identifier: MPL-2.0
//! Turns refusals, closes and errors of the service into failures with a cause and a remedy.
//!
//! Every codec uses it, so that the same cause reads the same whatever the protocol.

use serde_json::Value;

use super::json::text_of;
use super::{Failure, Invitation, Kind, Profile, Quote, Recognition, Refusal, Statement};

/// Close codes of WebSocket's registry: a server that is restarted or drained, and one, or the
/// router before it, that has no room.
const RESTART: u16 = 1012;
const TRY_AGAIN_LATER: u16 = 1013;

/// What the diagnosis needs to know about the server of a connection.
#[derive(Debug)]
pub(super) struct Peer {
    /// The model requested.
    pub model: String,
    /// The property that names it.
    model_property: &'static str,
    /// The default path of its protocol.
    path: &'static str,
    official: bool,
}

impl Peer {
    pub fn new(recognition: &Recognition, profile: &Profile) -> Self {
        Self {
            model: recognition.model.clone(),
            model_property: recognition.model_property,
            path: profile.path,
            official: recognition.official,
        }
    }

    /// The failure for a connection closed by the server.
    pub fn closed(&self, code: Option<u16>, reason: &str) -> Failure {
        let lower = reason.to_ascii_lowercase();
        let failure = if matches!(code, Some(1007 | 1008)) && lacks_model(&lower) {
            self.no_such_model(reason)
        } else if lower.contains("access denied") {
            self.account(reason)
        } else {
            let how = match code {
                Some(code) => format!("The service closed the connection with code {code}"),
                None if reason.trim().is_empty() => {
                    "The service closed the connection without a word".into()
                }
                // The network broke, or what came was no WebSocket any more.
                None => "The connection broke".into(),
            };
            let invitation = match code {
                Some(RESTART) => Invitation::AtOnce,
                Some(TRY_AGAIN_LATER) => Invitation::Soon,
                _ => Invitation::None,
            };
            Failure::new(
                Kind::Lost,
                Statement::from(how)
                    .quoting_within(": ", reason, "")
                    .then("."),
                "Check the network and the service's status, then start again.",
            )
            .inviting(invitation)
        };
        failure.with_close_code(code)
    }

    /// The failure for a refused WebSocket upgrade.
    pub fn refused(&self, refusal: &Refusal<'_>) -> Failure {
        let Refusal { status, body, .. } = *refusal;
        let body_json: Value = serde_json::from_str(body).unwrap_or(Value::Null);
        let (code, mut message) = error_text(body_json.get("error").unwrap_or(&body_json));
        // An HTML page is of no use to the user.
        if message.is_blank() && !body.trim_start().starts_with('<') {
            message = body.into();
        }
        let said = [code.clone().unwrap_or_default(), message.clone()].map(|said| said.to_string());
        if matches!(status, 400 | 404 | 422) && lacks_model(&said.join(" ").to_ascii_lowercase()) {
            return self
                .no_such_model(message)
                .with_http_status(status)
                .with_code(code);
        }
        let cause = self.cause_of(status, refusal.has_key);
        let what = Statement::from(format!("{} (HTTP {status}", cause.what))
            .quoting_within(": ", message, "")
            .then(").");
        Failure::new(cause.kind, what, cause.remedy)
            .inviting(cause.invitation)
            .with_retry_after(refusal.retry_after)
            .with_http_status(status)
            .with_code(code)
    }

    fn cause_of(&self, status: u16, has_key: bool) -> Cause {
        match status {
            401 | 403 if !self.official => gateway(status, has_key),
            422 | 429 | 502..=504 if !self.official => busy(status),
            401 => Cause::new(
                Kind::Unauthorized,
                "The service did not accept the API key",
                "Check api-key (or api-key-file, or DASHSCOPE_API_KEY), and that the key was made \
                 for the region property's region.",
            ),
            403 => Cause::new(
                Kind::Unauthorized,
                "The account may not use this model or endpoint",
                "Check the key's permissions, the account's quota, and the workspace property.",
            ),
            404 => Cause::new(
                Kind::NotFound,
                "There is no such endpoint on this server",
                format!("Check the path in the url property, usually {}.", self.path),
            ),
            429 => Cause::new(
                Kind::Limit,
                "The service limits the rate of requests",
                "Wait a minute, or open fewer connections at a time.",
            ),
            100..=299 => Cause::new(
                Kind::NotFound,
                "There is no WebSocket at this address",
                format!("Check the url property; its path is usually {}.", self.path),
            ),
            300..=399 => Cause::new(
                Kind::Settings,
                "The server redirects to another address, which is not followed so that the API \
                 key stays with the server it was meant for",
                "Set the url property to the final address.",
            ),
            400..=499 => Cause::new(
                Kind::Settings,
                "The server refused the connection",
                "Check the url property.",
            ),
            _ => Cause::new(
                Kind::Unreachable,
                "The service is not available",
                "Try again later, or check the service's status.",
            ),
        }
    }

    pub fn no_such_model(&self, said: impl Into<Quote>) -> Failure {
        let what = Statement::from(format!(
            "The service does not have the model '{}'",
            self.model
        ));
        Failure::new(
            Kind::NoModel,
            what.quoting_within(" (", said, ")").then("."),
            self.model_remedy(),
        )
    }

    pub fn model_remedy(&self) -> String {
        let property = self.model_property;
        if self.official {
            format!(
                "Set the {property} property to one that this region serves; this one may be \
                 misspelt or retired."
            )
        } else {
            format!("Set the {property} property to the one that the server serves.")
        }
    }

    /// The failure for an `error` event. In no observed case did the session continue: either the
    /// connection is closed or no further result comes.
    pub fn error(&self, error: &Value) -> Failure {
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
            self.account(said)
        } else if lacks_model(&all) {
            self.no_such_model(said)
        } else if has(&["<400>", "invalid"])
            || text_of(error, "type") == Some("invalid_request_error")
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

    fn account(&self, said: impl Into<Quote>) -> Failure {
        let remedy = if self.official {
            "Check in the console that the account is in good standing and the key may use this \
             model."
        } else {
            "Check the api-key property, and what the server allows this key."
        };
        let what = Statement::from("The service denies access: ");
        Failure::new(Kind::Unauthorized, what.quoting(said).then("."), remedy)
    }
}

/// Why an upgrade was refused: the start of a sentence, and the remedy.
struct Cause {
    kind: Kind,
    what: &'static str,
    remedy: String,
    invitation: Invitation,
}

impl Cause {
    fn new(kind: Kind, what: &'static str, remedy: impl Into<String>) -> Self {
        Self {
            kind,
            what,
            remedy: remedy.into(),
            invitation: Invitation::None,
        }
    }
}

/// Whether the service's words, in lower case, say that there is no such model.
fn lacks_model(said: &str) -> bool {
    let names_it = ["model not found", "model_not_found", "modelnotfound"];
    names_it.into_iter().any(|words| said.contains(words))
        || said.contains("the model ") && said.contains("does not exist")
}

/// Why a fleet of servers, or the router before it, has no room. That changes within seconds: the
/// limits of the service's accounts take a minute.
fn busy(status: u16) -> Cause {
    let (kind, what, remedy) = match status {
        422 => (
            Kind::NoModel,
            "No server behind this address takes the connection",
            "Check the model and url properties; a server may also still be starting.",
        ),
        429 => (
            Kind::Limit,
            "The server, or a router before it, limits the number of connections",
            "Open fewer connections, or raise the limit.",
        ),
        _ => (
            Kind::Unreachable,
            "No server behind this address is available",
            "Try again later; if it stays so, check the servers, or add some.",
        ),
    };
    Cause {
        invitation: Invitation::Soon,
        ..Cause::new(kind, what, remedy)
    }
}

/// Why a self-hosted server, or a gateway in front of it, refuses for lack of permission.
fn gateway(status: u16, has_key: bool) -> Cause {
    let (what, remedy) = match (status, has_key) {
        (401, true) => (
            "The server, or a gateway before it, did not accept the API key",
            "Check api-key (or api-key-file, or DASHSCOPE_API_KEY), and the url property.",
        ),
        (401, false) => (
            "The server, or a gateway before it, asks for an API key, and no key is set",
            "Set the api-key or api-key-file property, or check the url property.",
        ),
        (_, true) => (
            "The server, or a gateway before it, refused the connection",
            "Check the url property, what stands before the server, and the permissions of the \
             API key.",
        ),
        (_, false) => (
            "The server, or a gateway before it, refused the connection",
            "Check the url property and what stands before the server; if it wants a key, set \
             api-key: no key is set.",
        ),
    };
    Cause::new(Kind::Unauthorized, what, remedy)
}

/// `param` is or names the rejected parameter.
fn settings_remedy(param: &str) -> String {
    let property = match param {
        param if param.contains("translation") => {
            "translation-vocabulary, or the pad's language-code,"
        }
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

/// Code and message of an error, which may be an object or just a string.
pub(super) fn error_text(error: &Value) -> (Option<Quote>, Quote) {
    if let Value::String(message) = error {
        return (None, message.as_str().into());
    }
    let code = text_of(error, "code").or_else(|| text_of(error, "type"));
    let message = text_of(error, "message")
        .or_else(|| detail(&error["detail"]))
        .unwrap_or_default();
    (code.map(Quote::new), message.into())
}

/// FastAPI's `detail`: a text, or a list of errors in the request.
fn detail(detail: &Value) -> Option<&str> {
    match detail {
        Value::String(text) => Some(text),
        list => text_of(&list[0], "msg"),
    }
}

#[cfg(test)]
mod tests;
