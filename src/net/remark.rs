// SPDX-License-Identifier: MPL-2.0
//! What a log should say of a connection while it is being made. `connect` and `key` make remarks;
//! the room that started the session logs them, since nothing in here knows how.

use std::sync::Arc;

use crate::protocol::Failure;

/// A remark for a log. Holds no secret.
#[derive(Debug, Clone, PartialEq)]
pub enum Remark {
    /// A connection is being made to a URL, whose secrets are masked, through the proxy at this
    /// address if there is one.
    Connecting { url: String, proxy: Option<String> },
    /// The key file yields no key at present: the key that was read before stays in use.
    KeyKept(Failure),
}

/// Takes remarks, on a network thread: it must not block.
pub type Remarks = Arc<dyn Fn(Remark) + Send + Sync>;
