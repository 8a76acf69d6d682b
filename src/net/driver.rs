// SPDX-License-Identifier: MPL-2.0
//! One task per session: a single loop over the audio queue, the socket, the session's deadlines
//! and the wish to stop.

use std::collections::VecDeque;
use std::future::{self, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::{Sink, SinkExt, Stream, StreamExt};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_tungstenite::tungstenite::{Error, Message};

use super::addresses::Addresses;
use super::allowance::Allowance;
use super::connect::{ConnectError, Socket, connect};
use super::queue::{AudioQueue, Lost, Taken, Update};
use super::remark::Remarks;
use super::runtime;
use super::throttle::Queue;
use crate::continuity::Moved;
use crate::protocol::{CodecFactory, Endpoint, Failure, Frame, Incoming, Refusal, Secret, Usage};
use crate::session::{Config, ConnId, Demand, Net, Notice, Output, Session, UNSENT};

/// Messages that are read in a row before what is to be sent has its turn.
const MAX_READS: u32 = 16;

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

    /// Takes what a log should say of connections.
    fn remarks(&self) -> Remarks;
}

/// Holds a session's task: it stops when this is dropped.
#[derive(Debug)]
pub struct Link {
    _stop: oneshot::Sender<()>,
}

/// Starts a session that sends what comes through the queue to the first of these endpoints that
/// works; there has to be at least one.
pub fn spawn(
    endpoints: Vec<Endpoint>,
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
            addresses: Addresses::new(endpoints),
            queue: queue.clone(),
            remarks: listener.remarks(),
            listener,
            start,
            wires: Wires::default(),
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
    Opening(Opening),
    Open(Box<Socket>),
}

type Attempt = dyn Future<Output = Result<Socket, ConnectError>> + Send;

struct Opening {
    attempt: Pin<Box<Attempt>>,
    queue: Queue,
    /// The session knows that the attempt waits for its turn.
    told: bool,
}

/// What a connection has to report.
enum Happened {
    /// It has begun to wait for its turn.
    Queued,
    /// It is its turn.
    Admitted,
    Opened(Result<(), ConnectError>),
    Received(Message),
    /// Everything that was to be sent is on its way.
    Sent,
    Lost(Option<u16>, String),
}

struct Driver<L> {
    lossy_outages: bool,
    session: Session,
    addresses: Addresses,
    queue: Arc<AudioQueue>,
    listener: L,
    remarks: Remarks,
    start: Instant,
    wires: Wires,
    chunk: Vec<u8>,
}

/// The session's connections, by id: one, and two in a rotation.
#[derive(Default)]
struct Wires(Vec<(ConnId, Wire)>);

/// A connection and what is to be sent over it.
#[derive(Default)]
struct Wire {
    connection: Connection,
    /// The number of its address.
    address: usize,
    unsent: VecDeque<Message>,
    /// The WebSocket layer may have some of it left that the network did not take yet.
    flushing: bool,
    /// Messages read since anything could be written.
    reads: u32,
    allowance: Allowance,
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
            if self.queue.is_given_up() {
                self.session.handle_give_up(self.now());
                continue;
            }
            if let Some(update) = self.queue.take_update() {
                let Update {
                    endpoints,
                    codecs,
                    context,
                    rotate,
                } = update;
                self.addresses.update(endpoints);
                let now = self.now();
                self.session.handle_settings(codecs, context, rotate, now);
                continue;
            }
            let wait_for_audio = self.feed_audio();
            let timeout = self.session.poll_timeout().map(|(when, _)| when);
            let deadline = [timeout, wait_for_audio.until].into_iter().flatten().min();
            if let Some(deadline) = deadline {
                let deadline = self.start + deadline;
                if deadline < alarm.deadline() || alarm.is_elapsed() {
                    alarm.as_mut().reset(deadline);
                }
            }
            tokio::select! {
                _ = &mut stopped => break,
                (id, happened) = self.wires.next() => self.handle(id, happened),
                () = self.queue.woken() => {}
                // On to the next chunk, but not past the socket or the wish to stop: silence that
                // is not sent takes no time.
                () = future::ready(()), if wait_for_audio.fed => {}
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
                Output::Connect(id) => self.open(id),
                Output::Send(id, frame) => self.wires.send(id, message(frame)),
                Output::Ping(id) => self.wires.send(id, Message::Ping(Default::default())),
                Output::Close(id) => self.wires.close(id),
                Output::Notice(notice) => {
                    if self.session.is_over()
                        && let Some(Lost { time, duration }) = self.queue.close()
                    {
                        self.listener.notice(Notice::AudioLost {
                            time,
                            duration,
                            reason: UNSENT,
                        });
                    }
                    // Services quote the key that they reject.
                    let secrets = self.addresses.secrets();
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
        let fed = Feeding {
            fed: true,
            until: None,
        };
        let now = self.now();
        if self.session.is_down() && self.queue.is_finished() {
            self.session.handle_end_announced(now);
            if self.session.is_over() {
                return fed;
            }
        }
        let serving = self.session.serving();
        if serving.is_some_and(|id| self.wires.is_busy(id)) || self.listener.is_congested() {
            return wait(None);
        }
        match self.session.poll_audio(now) {
            Demand::Nothing => return wait(None),
            // What comes meanwhile wakes by itself.
            Demand::NotBefore { time, least } => {
                let waits = least == 0 || self.queue.has(least);
                return wait(waits.then_some(time));
            }
            Demand::Replayed => return fed,
            Demand::Chunk { least, most } => match self.queue.take(least, most, &mut self.chunk) {
                Taken::Audio { time } => self.session.handle_audio(time, &self.chunk, now),
                Taken::Commit => self.session.handle_commit(now),
                Taken::Moved(Moved { since, by }) => self.session.handle_moved(since, by),
                Taken::Finish => self.session.handle_finish(now),
                Taken::Nothing if self.session.handle_shortage(now) => {}
                Taken::Nothing => return wait(None),
            },
        }
        fed
    }

    fn handle(&mut self, id: ConnId, happened: Happened) {
        let address = self.wires.get(id).map_or(0, |wire| wire.address);
        let is_failure = match &happened {
            Happened::Opened(opened) => opened.is_err(),
            Happened::Lost(..) => self.session.serving() == Some(id),
            _ => false,
        };
        if is_failure {
            self.addresses.failed(address, Instant::now());
        }
        let endpoint = self.addresses.get(address);
        let net = match &happened {
            Happened::Queued => Net::Queued,
            Happened::Admitted => Net::Admitted,
            Happened::Opened(Ok(())) => Net::Connected,
            Happened::Opened(Err(ConnectError::Refused {
                status,
                body,
                retry_after,
            })) => Net::Refused(Refusal {
                status: *status,
                body,
                retry_after: *retry_after,
                has_key: endpoint.is_some_and(|endpoint| endpoint.key().is_some()),
            }),
            Happened::Opened(Err(ConnectError::Failed(failure))) => {
                Net::Unreachable(failure.clone())
            }
            Happened::Received(Message::Text(text)) => Net::Frame(Incoming::Text(text)),
            Happened::Received(Message::Binary(bytes)) => Net::Frame(Incoming::Binary(bytes)),
            // Pings are answered by the WebSocket layer.
            Happened::Received(_) => Net::Alive,
            Happened::Sent => return,
            Happened::Lost(code, reason) => Net::Closed {
                code: *code,
                reason,
            },
        };
        self.session.handle_net(id, net, self.start.elapsed());
    }

    fn open(&mut self, id: ConnId) {
        // Without any it runs into connect-timeout.
        let Some((address, endpoint)) = self.addresses.next(Instant::now()) else {
            return;
        };
        let queue = Queue::default();
        let attempt = connect(endpoint.clone(), self.remarks.clone(), queue.clone());
        let wire = Wire {
            connection: Connection::Opening(Opening {
                attempt: Box::pin(attempt),
                queue,
                told: false,
            }),
            address,
            ..Wire::default()
        };
        self.wires.0.push((id, wire));
    }

    /// The session is not wanted any more.
    async fn close(mut self) {
        // Whoever waits for room in the queue must not wait for the goodbye.
        self.queue.close();
        let serving = self.session.serving();
        self.session.handle_finish(self.now());
        while let Some(output) = self.session.poll_output() {
            if let Output::Send(id, frame) = output {
                self.wires.send(id, message(frame));
            }
        }
        let mut last = None;
        for (id, wire) in self.wires.0 {
            if Some(id) == serving {
                last = Some(wire);
            } else {
                wire.close();
            }
        }
        if let Some(wire) = last
            && let Connection::Open(socket) = wire.connection
        {
            goodbye(socket, wire.unsent).await;
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

impl Wires {
    fn get(&mut self, id: ConnId) -> Option<&mut Wire> {
        let mut wires = self.0.iter_mut();
        wires.find(|(other, _)| *other == id).map(|(_, wire)| wire)
    }

    fn send(&mut self, id: ConnId, message: Message) {
        if let Some(wire) = self.get(id) {
            wire.allowance.earn(message.len());
            wire.unsent.push_back(message);
        }
    }

    fn close(&mut self, id: ConnId) {
        if let Some(at) = self.0.iter().position(|(other, _)| *other == id) {
            self.0.swap_remove(at).1.close();
        }
    }

    /// Not all of what is to be sent is on its way. When it is, [`Self::next`] says so.
    fn is_busy(&mut self, id: ConnId) -> bool {
        self.get(id)
            .is_some_and(|wire| wire.flushing || !wire.unsent.is_empty())
    }

    /// The next thing to happen; safe to abandon and ask again.
    async fn next(&mut self) -> (ConnId, Happened) {
        poll_fn(|cx| {
            for (id, wire) in &mut self.0 {
                if let Poll::Ready(happened) = wire.poll_next(cx) {
                    return Poll::Ready((*id, happened));
                }
            }
            Poll::Pending
        })
        .await
    }
}

impl Opening {
    /// The outcome, or else what happened on the way there.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<<Attempt as Future>::Output, Happened>> {
        let outcome = self.attempt.as_mut().poll(cx);
        if outcome.is_pending() && self.queue.is_waiting() != self.told {
            self.told = !self.told;
            return Poll::Ready(Err(if self.told {
                Happened::Queued
            } else {
                Happened::Admitted
            }));
        }
        outcome.map(Ok)
    }
}

impl Wire {
    fn close(self) {
        if let Connection::Open(socket) = self.connection {
            tokio::spawn(goodbye(socket, self.unsent));
        }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Happened> {
        let opened = match &mut self.connection {
            Connection::None => return Poll::Pending,
            Connection::Open(_) => return self.poll_socket(cx),
            Connection::Opening(opening) => ready!(opening.poll(cx)),
        };
        let opened = match opened {
            Ok(opened) => opened,
            Err(happened) => return Poll::Ready(happened),
        };
        self.connection = Connection::None;
        Poll::Ready(Happened::Opened(opened.map(|socket| {
            self.connection = Connection::Open(Box::new(socket));
        })))
    }

    fn poll_socket(&mut self, cx: &mut Context<'_>) -> Poll<Happened> {
        let Connection::Open(socket) = &mut self.connection else {
            return Poll::Pending;
        };
        let mut socket = Pin::new(&mut **socket);
        let allowance = &mut self.allowance;
        // Reading first: an answer that explains why writing fails must not be missed. But whoever
        // sends without end must not keep us from sending.
        if self.reads < MAX_READS
            && let Poll::Ready(happened) = poll_read(socket.as_mut(), allowance, cx)
        {
            self.reads += 1;
            return Poll::Ready(happened);
        }
        let reads = std::mem::take(&mut self.reads);
        let written = poll_write(socket.as_mut(), &mut self.unsent, &mut self.flushing, cx);
        if reads == MAX_READS && written.is_pending() {
            return poll_read(socket, allowance, cx);
        }
        written
    }
}

fn poll_read(
    socket: Pin<&mut Socket>,
    allowance: &mut Allowance,
    cx: &mut Context<'_>,
) -> Poll<Happened> {
    ready!(allowance.poll(cx));
    Poll::Ready(match ready!(socket.poll_next(cx)) {
        Some(Ok(Message::Close(Some(frame)))) => {
            Happened::Lost(Some(frame.code.into()), frame.reason.as_str().to_owned())
        }
        Some(Ok(Message::Close(None))) | None => Happened::Lost(None, String::new()),
        Some(Ok(message)) => {
            allowance.spend(message.len());
            Happened::Received(message)
        }
        Some(Err(error)) => lost(error),
    })
}

fn poll_write(
    mut socket: Pin<&mut Socket>,
    unsent: &mut VecDeque<Message>,
    flushing: &mut bool,
    cx: &mut Context<'_>,
) -> Poll<Happened> {
    *flushing |= !unsent.is_empty();
    while !unsent.is_empty() {
        if let Err(error) = ready!(socket.as_mut().poll_ready(cx)) {
            return Poll::Ready(lost(error));
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
        let stream = Box::new(client) as _;
        let socket = WebSocketStream::from_raw_socket(stream, Role::Client, None).await;
        let wire = Wire {
            connection: Connection::Open(Box::new(socket)),
            ..Wire::default()
        };
        let id = ConnId::default();
        let mut wires = Wires(vec![(id, wire)]);
        // Until what waits is in the WebSocket layer only.
        loop {
            wires.send(id, Message::binary(vec![0; 1 << 20]));
            let next = poll_fn(|cx| Poll::Ready(pin!(wires.next()).poll(cx))).await;
            if next.is_pending() && wires.0[0].1.unsent.is_empty() {
                break;
            }
        }
        assert!(wires.is_busy(id));
        tokio::spawn(async move { copy(&mut peer, &mut sink()).await });
        let next = timeout(LONG, wires.next()).await;
        assert!(matches!(next, Ok((_, Happened::Sent))));
        assert!(!wires.is_busy(id));
    }

    #[tokio::test]
    async fn a_wait_for_the_turn_is_told_when_it_begins_and_ends() {
        let queue = Queue::default();
        let (admit, admitted) = oneshot::channel::<()>();
        let waiting = queue.clone();
        let attempt = async move {
            waiting.set_waiting(true);
            let _ = admitted.await;
            waiting.set_waiting(false);
            future::pending().await
        };
        let opening = Opening {
            attempt: Box::pin(attempt),
            queue,
            told: false,
        };
        let wire = Wire {
            connection: Connection::Opening(opening),
            ..Wire::default()
        };
        let mut wires = Wires(vec![(ConnId::default(), wire)]);
        assert!(matches!(wires.next().await, (_, Happened::Queued)));
        admit.send(()).unwrap();
        assert!(matches!(wires.next().await, (_, Happened::Admitted)));
    }
}
