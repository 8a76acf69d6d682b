// SPDX-License-Identifier: MPL-2.0
//! A TCP stream that fails soon after the network is gone.
//!
//! `TCP_USER_TIMEOUT` would do that alone, but the system also counts the time in which a peer that
//! is alive cannot take more (its window is closed): a server that does not read for a few seconds
//! is slow, not gone. So a stream looks itself whether what it sent is acknowledged, at intervals
//! while there is anything to acknowledge. A peer with a closed window answers the system's probes;
//! if it goes then, the session's pings notice. Made by [`dial`](super::dial); the layers above see
//! an error when they read.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep};

use super::tcp_info::{TcpInfo, tcp_info};

/// Data that stays unacknowledged this long is on its way to nowhere. The system alone would wait
/// twice as long from one repetition to the next, and go on for a quarter of an hour.
const PATIENCE: Duration = Duration::from_secs(4);

/// Time between two looks, if anything is sent meanwhile.
const INTERVAL: Duration = Duration::from_millis(500);

/// Time until a look that nothing else brings about. Being woken costs more than the look: a stream
/// of audio sends, and so looks, before that.
const ALARM: Duration = Duration::from_millis(750);

#[derive(Debug)]
pub(super) struct Watched {
    tcp: TcpStream,
    /// When the latest look was, while there may be anything to acknowledge.
    looked_at: Option<Instant>,
    /// Runs then. Boxed once, and reused.
    alarm: Option<Pin<Box<Sleep>>>,
    silence: Silence,
}

/// Since when a peer has acknowledged nothing, although there was something to acknowledge.
#[derive(Debug, Default)]
struct Silence(Option<Instant>);

impl Silence {
    /// Data was sent.
    fn sent(&mut self, now: Instant) {
        self.0.get_or_insert(now);
    }

    /// Returns how long it has lasted; `None` if nothing is on its way.
    fn look(&mut self, info: TcpInfo, now: Instant) -> Option<Duration> {
        if info.unacknowledged == 0 {
            self.0 = None;
            return None;
        }
        let since = self.0.get_or_insert(now);
        if let Some(acknowledged) = now.checked_sub(info.since_acknowledgement) {
            *since = acknowledged.max(*since);
        }
        Some(now - *since)
    }
}

impl From<TcpStream> for Watched {
    fn from(tcp: TcpStream) -> Self {
        Self {
            tcp,
            looked_at: None,
            alarm: None,
            silence: Silence::default(),
        }
    }
}

impl AsFd for Watched {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.tcp.as_fd()
    }
}

impl Watched {
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.peer_addr()
    }

    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        self.tcp.set_nodelay(nodelay)
    }

    /// Data was handed to the system. Fails if the peer is gone.
    fn sent(&mut self) -> io::Result<()> {
        let now = Instant::now();
        match self.looked_at {
            Some(before) if now < before + INTERVAL => {}
            Some(_) => self.look(now)?,
            None => {
                self.silence.sent(now);
                self.rest(now);
            }
        }
        Ok(())
    }

    fn written(
        &mut self,
        written: Poll<io::Result<usize>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.sent()?;
        }
        self.watch(cx)?;
        written
    }

    /// Looks when the alarm rings, until there is nothing to acknowledge. Fails if the peer is gone.
    fn watch(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        while self.looked_at.is_some()
            && let Some(alarm) = &mut self.alarm
            && alarm.as_mut().poll(cx).is_ready()
        {
            self.look(Instant::now())?;
        }
        Ok(())
    }

    /// Fails if the peer is gone.
    fn look(&mut self, now: Instant) -> io::Result<()> {
        // What the system does not tell is no reason to give up.
        let info = tcp_info(&self.tcp).ok();
        match info.and_then(|info| self.silence.look(info, now)) {
            Some(silence) if silence >= PATIENCE => {
                let what = "the network takes what is sent, and nothing acknowledges it";
                return Err(io::Error::new(io::ErrorKind::TimedOut, what));
            }
            Some(_) => self.rest(now),
            None => self.looked_at = None,
        }
        Ok(())
    }

    fn rest(&mut self, now: Instant) {
        self.looked_at = Some(now);
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(sleep(ALARM)));
        alarm.as_mut().reset(now + ALARM);
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.tcp).poll_read(cx, buf);
        if read.is_pending() {
            self.watch(cx)?;
        }
        read
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.tcp).poll_write(cx, buf);
        self.written(written, cx)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.tcp).poll_write_vectored(cx, bufs);
        self.written(written, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::net::{Ipv4Addr, TcpListener};
    use std::time;
    use tokio::io::AsyncWriteExt;

    fn info(unacknowledged: u32, ms: u64) -> TcpInfo {
        TcpInfo {
            unacknowledged,
            since_acknowledgement: Duration::from_millis(ms),
        }
    }

    #[test]
    fn silence_is_measured_from_what_was_sent_or_the_latest_acknowledgement() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut silence = Silence::default();
        silence.sent(at(60_000));
        let ms = |ms| Some(Duration::from_millis(ms));
        // A pause before is not silence of the peer.
        assert_eq!(silence.look(info(1, 50_000), at(60_500)), ms(500));
        assert_eq!(silence.look(info(1, 100), at(61_000)), ms(100));
        assert_eq!(silence.look(info(3, 3100), at(64_000)), ms(3100));
        assert_eq!(silence.look(info(0, 10), at(64_500)), None);
        // It was sent after the latest look.
        assert_eq!(silence.look(info(1, 30_000), at(90_000)), ms(0));
        assert_eq!(silence.look(info(1, 30_500), at(90_500)), ms(500));
    }

    /// Loopback acknowledges everything, also for those who do not read it: the window closes.
    #[test]
    fn a_peer_that_does_not_read_is_not_gone() {
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            let address = listener.local_addr().unwrap();
            let mut stream = Watched::from(TcpStream::connect(address).await.unwrap());
            let (_peer, _) = listener.accept().unwrap();
            let start = time::Instant::now();
            while let Ok(written) =
                tokio::time::timeout(Duration::from_millis(300), stream.write_all(&[0; 1 << 20]))
                    .await
            {
                written.unwrap();
            }
            assert!(start.elapsed() < Duration::from_secs(20));
            // The window is closed: nothing is on its way, and the probes are answered.
            let info = tcp_info(&stream).unwrap();
            assert_eq!(info.unacknowledged, 0, "{info:?}");
            assert!(info.since_acknowledgement < PATIENCE);
            let mut buffer = [0; 1];
            let mut buffer = ReadBuf::new(&mut buffer);
            let read = poll_fn(|cx| Poll::Ready(Pin::new(&mut stream).poll_read(cx, &mut buffer)));
            assert!(read.await.is_pending());
        });
    }
}
