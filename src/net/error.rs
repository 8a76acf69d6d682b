// SPDX-License-Identifier: MPL-2.0
//! Errors of connection attempts.

use crate::protocol::{Failure, Kind};

pub(super) const NETWORK_REMEDY: &str =
    "Check the network, a proxy, a firewall and the url property.";

/// Why there is no WebSocket.
#[derive(Debug)]
pub(super) enum ConnectError {
    /// The server refused the upgrade with this status and body. What that means is for the
    /// protocol to say.
    Refused {
        status: u16,
        body: String,
    },
    Failed(Failure),
}

impl From<Failure> for ConnectError {
    fn from(failure: Failure) -> Self {
        ConnectError::Failed(failure)
    }
}

/// No connection, for a reason that may be temporary.
pub(super) fn unreachable(what: String) -> Failure {
    Failure::new(Kind::Unreachable, what, NETWORK_REMEDY)
}
