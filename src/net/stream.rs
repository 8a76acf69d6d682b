// SPDX-License-Identifier: MPL-2.0
//! The byte stream under a WebSocket: TCP, TLS over TCP, or TLS through a proxy that itself uses
//! TLS.

use std::fmt::Debug;

use tokio::io::{AsyncRead, AsyncWrite};

pub(super) trait Transport: AsyncRead + AsyncWrite + Debug + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Debug + Send + Unpin> Transport for T {}

pub(super) type Stream = Box<dyn Transport>;
