// SPDX-License-Identifier: MPL-2.0
//! What the system knows about a TCP connection (`TCP_INFO` of Linux), which no crate gives safely.
//! Used by [`watched`](super::watched).

use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

/// The state of what was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TcpInfo {
    /// Segments on their way that the peer has not acknowledged. None while its window is closed:
    /// the system holds the data back then, and asks from time to time.
    pub unacknowledged: u32,
    /// Time since anything acknowledged arrived, be it that the window is still closed.
    pub since_acknowledgement: Duration,
}

pub(super) fn tcp_info(socket: &impl AsFd) -> io::Result<TcpInfo> {
    let fd = socket.as_fd().as_raw_fd();
    let mut length = mem::size_of::<libc::tcp_info>() as libc::socklen_t;
    // SAFETY: `tcp_info` consists of integers, for which zero is a valid value.
    let mut info: libc::tcp_info = unsafe { mem::zeroed() };
    // SAFETY: the descriptor is borrowed, so it is open; the system writes at most `length` bytes,
    // which `info` has, and of integers any value is valid. Both outlive the call.
    let result = unsafe {
        libc::getsockopt(
            fd,
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut info).cast(),
            &raw mut length,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(TcpInfo {
        unacknowledged: info.tcpi_unacked,
        since_acknowledgement: Duration::from_millis(info.tcpi_last_ack_recv.into()),
    })
}
