// SPDX-License-Identifier: MPL-2.0
//! One task per session: a single loop over the audio queue, the socket, the session's deadlines
//! and the wish to stop.

use std::collections::VecDeque;
use std::future::{pending, poll_fn, ready};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::{Sink, SinkExt, Stream, StreamExt};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_tungstenite::tungstenite::{Error, Message};

use super::connect::{ConnectError, Socket, connect};
use super::queue::{AudioQueue, Taken};
use super::runtime;
use crate::protocol::{CodecFactory, Endpoint, Failure, Frame, Incoming, Secret, Usage};
use crate::session::{Config, Notice, Output, Session, Spare};

/// For saying goodbye to the service; nobody waits for it.
const GOODBYE: Duration = Duration::from_millis(500);

/// Learns what a session has to say, on a thread of the runtime: it must not block.
pub trait Listener: Send + 'static {
    fn notice(&mut self, notice: Notice);

    /// Audio bytes sent and what was billed in this session so far.
    fn usage(&mut self, bytes_sent: u64, billed: Usage);

    /// So much text waits that no more audio should be sent. Whoever ends that state calls
    /// [`AudioQueue::wake`].
    fn is_congested(&self) -> bool;
}

/// Holds a session's task: it stops when this is dropped.
#[derive(Debug)]
pub struct Link {
    _stop: oneshot::Sender<()>,
}

/// Starts a session that sends what comes through the queue.
pub fn spawn(
    endpoint: Endpoint,
    config: Config,
    make_codec: CodecFactory,
    queue: Arc<AudioQueue>,
    listener: impl Listener,
) -> Result<Link, Failure> {
    let (stop, stopped) = oneshot::channel();
    let (runtime, place) = runtime::place()?;
    runtime.spawn(async move {
        let _place = place;
        let start = Instant::now();
        let driver = Driver {
            // A live programme goes on whatever happens: nobody may wait for the network then.
            lossy_outages: config.retry.keep_going,
            session: Session::new(config, make_codec, Duration::ZERO),
            endpoint,
            queue: queue.clone(),
            listener,
            start,
            wire: Wire::default(),
            spare: Wire::default(),
            chunk: Vec::new(),
        };
        driver.run(stopped).await;
        queue.close();
    });
    Ok(Link { _stop: stop })
}

#[derive(Default)]
enum Connection {
    #[default]
    None,
    Opening(Pin<Box<dyn Future<Output = Result<Socket, ConnectError>> + Send>>),
    Open(Box<Socket>),
}

/// What the connection has to report.
enum Happened {
    Opened(Result<(), ConnectError>),
    Received(Message),
    /// Everything that was to be sent is on its way.
    Sent,
    Lost(Option<u16>, String),
}

struct Driver<L> {
    lossy_outages: bool,
    session: Session,
    endpoint: Endpoint,
    queue: Arc<AudioQueue>,
    listener: L,
    start: Instant,
    wire: Wire,
    /// The next connection, or the last one, of a rotation.
    spare: Wire,
    chunk: Vec<u8>,
}

/// A connection and what is to be sent over it.
#[derive(Default)]
struct Wire {
    connection: Connection,
    unsent: VecDeque<Message>,
    /// The WebSocket layer may have some of it left that the network did not take yet.
    flushing: bool,
}

impl<L: Listener> Driver<L> {
    async fn run(mut self, stopped: oneshot::Receiver<()>) {
        let mut stopped = pin!(stopped);
        // Moved only where that cannot wait: most deadlines are put off before they come.
        let mut alarm = pin!(sleep_until(self.start));
        loop {
            self.perform_outputs();
            if self.session.is_over() {
                break;
            }
            if self.lossy_outages {
                self.queue.set_lossy(self.session.is_down());
            }
            if let Some(context) = self.queue.take_context() {
                self.session.handle_context(context);
                continue;
            }
            let wait_for_audio = self.feed_audio();
            let deadline = [self.session.poll_timeout(), wait_for_audio.until]
                .into_iter()
                .flatten()
                .min();
            if let Some(deadline) = deadline {
                let deadline = self.start + deadline;
                if deadline < alarm.deadline() || alarm.is_elapsed() {
                    alarm.as_mut().reset(deadline);
                }
            }
            tokio::select! {
                _ = &mut stopped => break,
                happened = self.wire.next() => self.handle(happened),
                happened = self.spare.next() => self.handle_spare(happened),
                () = self.queue.woken() => {}
                // On to the next chunk, but not past the socket or the wish to stop: silence that
                // is not sent takes no time.
                () = ready(()), if wait_for_audio.fed => {}
                () = alarm.as_mut(), if deadline.is_some() => self.session.handle_timeout(self.start.elapsed()),
            }
        }
        self.close().await;
    }

    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn perform_outputs(&mut self) {
        while let Some(output) = self.session.poll_output() {
            match output {
                Output::Connect => self.wire.open(&self.endpoint),
                Output::Send(frame) => self.wire.send(frame),
                Output::Ping => self
                    .wire
                    .unsent
                    .push_back(Message::Ping(Default::default())),
                Output::Close => self.wire.close(),
                Output::Spare(Spare::Connect) => self.spare.open(&self.endpoint),
                Output::Spare(Spare::Send(frame)) => self.spare.send(frame),
                Output::Spare(Spare::Close) => self.spare.close(),
                Output::Swap => std::mem::swap(&mut self.wire, &mut self.spare),
                Output::Notice(notice) => {
                    // Services quote the key that they reject.
                    let secrets = self.endpoint.secrets();
                    let without = |notice: Notice, secret: &Secret| notice.without(secret.reveal());
                    self.listener.notice(secrets.iter().fold(notice, without));
                }
            }
        }
        let (bytes, billed) = self.session.usage();
        self.listener.usage(bytes, billed);
    }

    /// Hands over one chunk if it may be sent now and the socket keeps up.
    fn feed_audio(&mut self) -> Feeding {
        let wait = |until| Feeding { fed: false, until };
        let Some(due) = self.session.next_audio() else {
            if self.queue.is_finished() {
                self.session.handle_end_announced(self.now());
            }
            return wait(None);
        };
        if self.wire.is_busy() || self.listener.is_congested() {
            return wait(None);
        }
        let now = self.now();
        if due > now {
            // Whatever comes meanwhile wakes by itself.
            let waits = self.session.has_replay() || self.queue.has(self.session.chunk_bytes());
            return wait(waits.then_some(due));
        }
        if self.session.replay(now) {
            return Feeding {
                fed: true,
                until: None,
            };
        }
        match self.queue.take(self.session.chunk_bytes(), &mut self.chunk) {
            Taken::Audio { time } => self.session.handle_audio(time, &self.chunk, now),
            Taken::Commit => self.session.handle_commit(),
            Taken::Finish => self.session.handle_finish(now),
            Taken::Nothing => return wait(None),
        }
        Feeding {
            fed: true,
            until: None,
        }
    }

    fn handle(&mut self, happened: Happened) {
        let now = self.now();
        match happened {
            Happened::Opened(Ok(())) => self.session.handle_connected(now),
            Happened::Opened(Err(ConnectError::Refused { status, body })) => {
                self.session.handle_refused(status, &body, now);
            }
            Happened::Opened(Err(ConnectError::Failed(failure))) => {
                self.session.handle_unreachable(failure, now);
            }
            Happened::Received(Message::Text(text)) => {
                self.session.handle_frame(Incoming::Text(&text), now);
            }
            Happened::Received(Message::Binary(bytes)) => {
                self.session.handle_frame(Incoming::Binary(&bytes), now);
            }
            // Pings are answered by the WebSocket layer.
            Happened::Received(_) => self.session.handle_sign_of_life(now),
            Happened::Sent => {}
            Happened::Lost(code, reason) => {
                self.session.handle_closed(code, &reason, now);
            }
        }
    }

    fn handle_spare(&mut self, happened: Happened) {
        let now = self.now();
        match happened {
            Happened::Opened(Ok(())) => self.session.handle_spare_connected(now),
            Happened::Opened(Err(_)) => self.session.handle_spare_unreachable(now),
            Happened::Received(Message::Text(text)) => {
                self.session.handle_spare_frame(Incoming::Text(&text), now);
            }
            Happened::Received(Message::Binary(bytes)) => {
                self.session
                    .handle_spare_frame(Incoming::Binary(&bytes), now);
            }
            Happened::Received(_) | Happened::Sent => {}
            Happened::Lost(code, reason) => {
                self.session.handle_spare_closed(code, &reason, now);
            }
        }
    }

    /// The session is not wanted any more.
    async fn close(mut self) {
        // Whoever waits for room in the queue must not wait for the goodbye.
        self.queue.close();
        self.session.handle_finish(self.now());
        while let Some(output) = self.session.poll_output() {
            match output {
                Output::Send(frame) => self.wire.send(frame),
                Output::Spare(Spare::Send(frame)) => self.spare.send(frame),
                _ => {}
            }
        }
        self.spare.close();
        if let Connection::Open(socket) = self.wire.connection {
            goodbye(socket, self.wire.unsent).await;
        }
    }
}

fn message(frame: Frame) -> Message {
    match frame {
        Frame::Text(text) => Message::text(text),
        Frame::Binary(bytes) => Message::binary(bytes),
    }
}

/// Closes in good manners, but not for long: an abrupt end shows as a failed session in the
/// service's console.
async fn goodbye(mut socket: Box<Socket>, unsent: VecDeque<Message>) {
    let goodbye = async {
        for message in unsent {
            socket.send(message).await?;
        }
        socket.close(None).await?;
        while let Some(message) = socket.next().await {
            message?;
        }
        Ok::<(), Error>(())
    };
    // The other side may be gone or not listen: there is nobody to tell.
    let _ = timeout(GOODBYE, goodbye).await;
}

struct Feeding {
    fed: bool,
    /// When to look again, unless woken before.
    until: Option<Duration>,
}

impl Wire {
    fn open(&mut self, endpoint: &Endpoint) {
        self.connection = Connection::Opening(Box::pin(connect(endpoint.clone())));
    }

    fn send(&mut self, frame: Frame) {
        self.unsent.push_back(message(frame));
    }

    fn close(&mut self) {
        let Wire {
            connection, unsent, ..
        } = std::mem::take(self);
        if let Connection::Open(socket) = connection {
            tokio::spawn(goodbye(socket, unsent));
        }
    }

    /// Not all of what is to be sent is on its way. When it is, [`Self::next`] says so.
    fn is_busy(&self) -> bool {
        self.flushing || !self.unsent.is_empty()
    }

    /// The next thing to happen; safe to abandon and ask again.
    async fn next(&mut self) -> Happened {
        match &mut self.connection {
            Connection::None => pending().await,
            Connection::Opening(opening) => {
                let opened = opening.await;
                self.connection = Connection::None;
                Happened::Opened(opened.map(|socket| {
                    self.connection = Connection::Open(Box::new(socket));
                }))
            }
            Connection::Open(socket) => {
                let (unsent, flushing) = (&mut self.unsent, &mut self.flushing);
                poll_fn(|cx| poll_socket(socket, unsent, flushing, cx)).await
            }
        }
    }
}

fn poll_socket(
    socket: &mut Socket,
    unsent: &mut VecDeque<Message>,
    flushing: &mut bool,
    cx: &mut Context<'_>,
) -> Poll<Happened> {
    let mut socket = Pin::new(socket);
    // Reading first: an answer that explains why writing fails must not be missed.
    match socket.as_mut().poll_next(cx) {
        Poll::Ready(Some(Ok(Message::Close(frame)))) => {
            let (code, reason) = frame
                .map(|frame| (u16::from(frame.code), frame.reason.as_str().to_owned()))
                .map_or((None, String::new()), |(code, reason)| (Some(code), reason));
            return Poll::Ready(Happened::Lost(code, reason));
        }
        Poll::Ready(Some(Ok(message))) => return Poll::Ready(Happened::Received(message)),
        Poll::Ready(Some(Err(error))) => return Poll::Ready(lost(error)),
        Poll::Ready(None) => return Poll::Ready(Happened::Lost(None, String::new())),
        Poll::Pending => {}
    }
    *flushing |= !unsent.is_empty();
    while !unsent.is_empty() {
        match socket.as_mut().poll_ready(cx) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(error)) => return Poll::Ready(lost(error)),
            Poll::Pending => return Poll::Pending,
        }
        if let Some(message) = unsent.pop_front()
            && let Err(error) = socket.as_mut().start_send(message)
        {
            return Poll::Ready(lost(error));
        }
    }
    match socket.as_mut().poll_flush(cx) {
        Poll::Ready(Err(error)) => Poll::Ready(lost(error)),
        Poll::Ready(Ok(())) if std::mem::take(flushing) => Poll::Ready(Happened::Sent),
        _ => Poll::Pending,
    }
}

fn lost(error: Error) -> Happened {
    let reason = match error {
        Error::ConnectionClosed | Error::AlreadyClosed => String::new(),
        error => error.to_string(),
    };
    Happened::Lost(None, reason)
}

#[cfg(test)]
mod tests {
    use tokio::io::{copy, sink};
    use tokio::net::{TcpListener, TcpStream};
    use tokio_tungstenite::WebSocketStream;
    use tokio_tungstenite::tungstenite::protocol::Role;

    use super::*;

    /// What takes this long hangs.
    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn a_network_that_takes_more_again_is_noticed() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let (mut peer, _) = listener.accept().await.unwrap();
        let socket = WebSocketStream::from_raw_socket(Box::new(client) as _, Role::Client, None);
        let mut wire = Wire {
            connection: Connection::Open(Box::new(socket.await)),
            ..Wire::default()
        };
        // Until what waits is in the WebSocket layer only.
        loop {
            wire.send(Frame::Binary(vec![0; 1 << 20]));
            let next = poll_fn(|cx| Poll::Ready(pin!(wire.next()).poll(cx))).await;
            if next.is_pending() && wire.unsent.is_empty() {
                break;
            }
        }
        assert!(wire.is_busy());
        tokio::spawn(async move { copy(&mut peer, &mut sink()).await });
        let next = timeout(LONG, wire.next()).await;
        assert!(matches!(next, Ok(Happened::Sent)));
        assert!(!wire.is_busy());
    }
}
