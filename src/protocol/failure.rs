// SPDX-License-Identifier: MPL-2.0
//! Why a connection cannot go on, and what to do about it.
//!
//! Every error that a user sees is one [`Failure`]; its [`Kind`] decides what the session does
//! next.

use std::fmt;
use std::time::Duration;

use super::{Quote, Statement};

/// The kind of failure: decides whether to retry, and the error code that an application sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Key or account refused.
    Unauthorized,
    /// No such endpoint.
    NotFound,
    /// No such model: the next one of a list is taken.
    NoModel,
    /// DNS does not know the host, or cannot be reached.
    UnknownHost,
    /// The settings cannot work.
    Settings,
    /// A limit of the account: rate, connections, quota.
    Limit,
    /// No connection could be made.
    Unreachable,
    /// An open connection was lost.
    Lost,
}

impl Kind {
    /// Whether the same request may succeed later with nothing changed.
    pub fn retryable(self) -> bool {
        matches!(
            self,
            Self::UnknownHost | Self::Limit | Self::Unreachable | Self::Lost
        )
    }

    /// The name used in messages.
    pub fn nick(self) -> &'static str {
        match self {
            Self::Unauthorized => "unauthorized",
            Self::NotFound | Self::NoModel => "not-found",
            Self::UnknownHost => "unknown-host",
            Self::Settings => "settings",
            Self::Limit => "limit",
            Self::Unreachable => "unreachable",
            Self::Lost => "lost",
        }
    }
}

/// A failure, as text for users and as fields for programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub kind: Kind,
    /// What happened, a full sentence.
    pub what: Statement,
    /// What to do about it, a full sentence; names the property where there is one.
    pub remedy: String,
    /// Status of the refused upgrade.
    pub http_status: Option<u16>,
    /// WebSocket close code.
    pub close_code: Option<u16>,
    /// The service's own error code.
    pub code: Option<Quote>,
    /// No peer answered: the network may be down, and another attempt costs the service nothing.
    pub unanswered: bool,
    /// How the server, or a router before it, wants to be called on again, if it says so.
    pub invitation: Invitation,
    /// The least time before the next attempt, by the server's own word.
    pub retry_after: Option<Duration>,
}

/// When to call again on a server that answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Invitation {
    /// It says nothing about that.
    #[default]
    None,
    /// It has no room at the moment, and one of its like may have: soon.
    Soon,
    /// It leaves, and others take over its connections: at once.
    AtOnce,
}

impl Failure {
    pub fn new(kind: Kind, what: impl Into<Statement>, remedy: impl Into<String>) -> Self {
        Self {
            kind,
            what: what.into(),
            // Paths may be in it.
            remedy: Statement::from(remedy.into()).to_string(),
            http_status: None,
            close_code: None,
            code: None,
            unanswered: false,
            invitation: Invitation::None,
            retry_after: None,
        }
    }

    pub fn unanswered(mut self) -> Self {
        self.unanswered = true;
        self
    }

    pub fn inviting(mut self, invitation: Invitation) -> Self {
        self.invitation = invitation;
        self
    }

    pub fn with_retry_after(mut self, wait: Option<Duration>) -> Self {
        self.retry_after = wait;
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

    pub fn with_code(mut self, code: Option<Quote>) -> Self {
        self.code = code;
        self
    }

    /// Whether it is the same failure again. The server's own words do not count: the time may be in
    /// them, or the number of the request.
    pub fn is_like(&self, other: &Self) -> bool {
        let codes = |failure: &Self| (failure.kind, failure.http_status, failure.close_code);
        codes(self) == codes(other) && self.what.is_like(&other.what)
    }

    /// Masks every occurrence of the secret in the quotes.
    pub fn without(mut self, secret: &str) -> Self {
        self.what = self.what.without(secret);
        self.code = self.code.map(|code| code.without(secret));
        self
    }
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
    fn a_quoted_key_is_masked_and_the_remedy_is_ours() {
        let what = Statement::from("Invalid key ")
            .quoting("sk-12345678")
            .then(".");
        let failure = Failure::new(Kind::Unauthorized, what, "Replace sk-12345678.")
            .with_code(Some("bad:sk-12345678".into()))
            .without("sk-12345678");
        assert_eq!(failure.to_string(), "Invalid key ***. Replace sk-12345678.");
        assert_eq!(failure.code, Some("bad:***".into()));
    }
}
