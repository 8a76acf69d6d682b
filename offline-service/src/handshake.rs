// SPDX-License-Identifier: MPL-2.0

//! The HTTP request that begins a connection.

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode, header,
};

use crate::faults::Faults;
use crate::record::SessionRecord;
use crate::server::Options;

/// What the service substitutes for a model that is not named.
pub const OTHER_MODEL: &str = "qwen-omni-turbo-realtime";

/// An answer that refuses the upgrade.
struct Refusal {
    status: u16,
    body: String,
    headers: Vec<(String, String)>,
}

impl Refusal {
    fn new(status: u16, code: &str, message: &str) -> Self {
        Self {
            status,
            body: json!({"code": code, "message": message}).to_string(),
            headers: Vec::new(),
        }
    }
}

/// Answers a request: `response` to upgrade, or an error.
// The signature is that of the WebSocket library's callback.
#[allow(clippy::result_large_err)]
pub fn answer(
    request: &Request,
    response: Response,
    options: &Options,
    faults: &Faults,
) -> Result<Response, ErrorResponse> {
    match refusal(request, options, faults) {
        None => Ok(response),
        Some(refusal) => Err(error_response(refusal)),
    }
}

/// The answer of a service that has too many sessions.
pub fn unavailable(body: Value) -> ErrorResponse {
    error_response(Refusal {
        status: 503,
        body: body.to_string(),
        headers: Vec::new(),
    })
}

/// What to remember of a request.
pub fn record(connection: usize, request: &Request) -> SessionRecord {
    SessionRecord {
        connection,
        path: request.uri().path().to_owned(),
        query: request.uri().query().unwrap_or_default().to_owned(),
        headers: request
            .headers()
            .iter()
            .map(|(name, value)| {
                let value = String::from_utf8_lossy(value.as_bytes());
                (name.as_str().to_owned(), value.into_owned())
            })
            .collect(),
        ..SessionRecord::default()
    }
}

/// The model a query asks for.
pub fn model(query: &str) -> Option<&str> {
    query
        .split('&')
        .find_map(|pair| pair.strip_prefix("model="))
        .filter(|name| !name.is_empty())
}

fn refusal(request: &Request, options: &Options, faults: &Faults) -> Option<Refusal> {
    let uri = request.uri();
    let query = uri.query().unwrap_or_default();
    let Some(protocol) = options.protocol(uri.path(), query) else {
        return Some(Refusal::new(404, "NotFound", "There is no such service."));
    };
    if let Some((status, body)) = &faults.http_status {
        return Some(Refusal {
            status: *status,
            body: body.clone(),
            headers: faults.http_headers.clone(),
        });
    }
    let key = bearer(request.headers());
    if key.is_some() && key == options.forbidden_key.as_deref() {
        return Some(Refusal::new(403, "AccessDenied", "Access denied."));
    }
    if options.api_key.is_some() && key != options.api_key.as_deref() {
        let message = "Invalid API-key provided.";
        return Some(Refusal::new(401, "InvalidApiKey", message));
    }
    if protocol.refuses_model(query, options) {
        return Some(Refusal {
            status: 403,
            body: String::new(),
            headers: Vec::new(),
        });
    }
    None
}

/// The API key of a request.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, key) = value.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then_some(key.trim_start())
}

fn error_response(refusal: Refusal) -> ErrorResponse {
    let kind = if refusal.body.starts_with('<') {
        "text/html"
    } else {
        "application/json"
    };
    let mut response = ErrorResponse::new(None);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CONTENT_LENGTH, refusal.body.len().into());
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    for (name, value) in &refusal.headers {
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), value.parse()) {
            headers.insert(name, value);
        }
    }
    // A status that refuses nothing would contradict the caller.
    *response.status_mut() = StatusCode::from_u16(refusal.status)
        .ok()
        .filter(|status| !status.is_success() && !status.is_informational())
        .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    *response.body_mut() = Some(refusal.body);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models() {
        for (query, expected) in [
            ("", None),
            ("model=", None),
            ("model=a", Some("a")),
            ("x=1&model=a-b.c&model=d", Some("a-b.c")),
            ("mymodel=a", None),
        ] {
            assert_eq!(model(query), expected, "{query}");
        }
    }

    #[test]
    fn keys() {
        for (value, expected) in [
            ("Bearer sk-1", Some("sk-1")),
            ("bearer sk-1", Some("sk-1")),
            ("Basic sk-1", None),
            ("sk-1", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, value.parse().unwrap());
            assert_eq!(bearer(&headers), expected, "{value}");
        }
    }
}
