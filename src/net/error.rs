// SPDX-License-Identifier: MPL-2.0
//! Errors of connection attempts, as `connect` returns them to the driver.

use std::time::Duration;

use crate::protocol::{Failure, Kind};

pub(super) const NETWORK_REMEDY: &str =
    "Check the network, a proxy, a firewall and the url property.";

/// Why the WebSocket could not be opened.
#[derive(Debug)]
pub(super) enum ConnectError {
    /// The server refused the upgrade with this status and body. The protocol interprets them.
    Refused {
        status: u16,
        body: String,
        /// The value of the header Retry-After.
        retry_after: Option<Duration>,
    },
    Failed(Failure),
}

impl From<Failure> for ConnectError {
    fn from(failure: Failure) -> Self {
        ConnectError::Failed(failure)
    }
}

/// A failure to connect whose cause may be temporary.
pub(super) fn unreachable(what: String) -> Failure {
    Failure::new(Kind::Unreachable, what, NETWORK_REMEDY)
}
