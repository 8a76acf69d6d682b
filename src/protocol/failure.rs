// SPDX-License-Identifier: MPL-2.0
//! Why a connection cannot go on, and what to do about it.

use std::fmt;

/// What sort of trouble it is; decides the error code an application sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Key or account refused.
    Unauthorized,
    /// No such endpoint or model.
    NotFound,
    /// The name service does not know the host, or cannot be asked.
    UnknownHost,
    /// The settings cannot work.
    Settings,
    /// A limit of the account: rate, connections, quota.
    Limit,
    /// No connection could be made.
    Unreachable,
    /// The connection was there and is gone.
    Lost,
}

impl Kind {
    /// Whether the same request may succeed later without anybody mending anything.
    pub fn retryable(self) -> bool {
        matches!(
            self,
            Kind::UnknownHost | Kind::Limit | Kind::Unreachable | Kind::Lost
        )
    }

    /// The name that messages use.
    pub fn nick(self) -> &'static str {
        match self {
            Kind::Unauthorized => "unauthorized",
            Kind::NotFound => "not-found",
            Kind::UnknownHost => "unknown-host",
            Kind::Settings => "settings",
            Kind::Limit => "limit",
            Kind::Unreachable => "unreachable",
            Kind::Lost => "lost",
        }
    }
}

/// One failure, in words for a person and in fields for a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub kind: Kind,
    /// What happened, a full sentence.
    pub what: String,
    /// What to do about it, a full sentence; names the property where there is one.
    pub remedy: String,
    /// Status of the refused upgrade.
    pub http_status: Option<u16>,
    /// WebSocket close code.
    pub close_code: Option<u16>,
    /// The service's own error code.
    pub code: Option<String>,
    /// Nobody answered at all: it may be the network, and trying again is no load on the service.
    pub unanswered: bool,
}

impl Failure {
    pub fn new(kind: Kind, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Failure {
            kind,
            what: what.into(),
            remedy: remedy.into(),
            http_status: None,
            close_code: None,
            code: None,
            unanswered: false,
        }
    }

    pub fn unanswered(mut self) -> Self {
        self.unanswered = true;
        self
    }

    pub fn with_http_status(mut self, status: u16) -> Self {
        self.http_status = Some(status);
        self
    }

    pub fn with_close_code(mut self, code: Option<u16>) -> Self {
        self.close_code = code;
        self
    }

    pub fn with_code(mut self, code: Option<String>) -> Self {
        self.code = code;
        self
    }

    /// The same failure with every occurrence of the secret blotted out: services quote keys.
    pub fn without(mut self, secret: &str) -> Self {
        self.what = blotted(self.what, secret);
        self.remedy = blotted(self.remedy, secret);
        self.code = self.code.map(|code| blotted(code, secret));
        self
    }
}

/// The text with every occurrence of the secret blotted out. An empty secret is none.
pub fn blotted(text: String, secret: &str) -> String {
    if secret.is_empty() || !text.contains(secret) {
        return text;
    }
    text.replace(secret, "***")
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.what, self.remedy)
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_key_is_blotted_out() {
        let failure = Failure::new(Kind::Unauthorized, "Invalid key sk-123.", "Replace sk-123.")
            .with_code(Some("bad:sk-123".into()))
            .without("sk-123");
        assert_eq!(failure.to_string(), "Invalid key ***. Replace ***.");
        assert_eq!(failure.code.as_deref(), Some("bad:***"));
    }

    #[test]
    fn an_empty_secret_changes_nothing() {
        let failure = Failure::new(Kind::Lost, "Gone.", "Wait.").without("");
        assert_eq!(failure.what, "Gone.");
    }
}
