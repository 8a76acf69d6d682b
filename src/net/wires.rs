// SPDX-License-Identifier: MPL-2.0
//! A session's connections, from the attempt to connect to the goodbye, and what is to be sent over
//! them. Owned by the [driver](super::driver), which asks what happens next on any of them.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::{Sink, SinkExt, Stream, StreamExt};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::allowance::Allowance;
use super::connect::{ConnectError, Socket};
use super::throttle::Queue;
use crate::session::ConnId;

/// Messages that are read in a row before what is to be sent has its turn.
const MAX_READS: u32 = 16;

/// For saying goodbye to the service; nobody waits for it.
const GOODBYE: Duration = Duration::from_millis(500);

/// The session's connections, by id: one, and two in a rotation.
#[derive(Default)]
pub(super) struct Wires(Vec<(ConnId, Wire)>);

/// What a connection has to report.
pub(super) enum Happened {
    /// It has begun to wait for its turn.
    Queued,
    /// It is its turn.
    Admitted,
    Opened(Result<(), ConnectError>),
    Received(Message),
    /// Everything that was to be sent is on its way, for which somebody waited.
    Sent,
    Lost(Option<u16>, String),
}

/// A connection and what is to be sent over it.
#[derive(Default)]
struct Wire {
    connection: Connection,
    /// The number of its address.
    address: usize,
    unsent: VecDeque<Message>,
    /// The WebSocket layer may have some of it left that the network did not take yet.
    flushing: bool,
    /// Somebody waits until all of it is on its way.
    is_awaited: bool,
    /// Messages read since anything could be written.
    reads: u32,
    allowance: Allowance,
}

#[derive(Default)]
enum Connection {
    #[default]
    None,
    Opening(Opening),
    Open(Box<Socket>),
}

pub(super) type Attempt = dyn Future<Output = Result<Socket, ConnectError>> + Send;

struct Opening {
    attempt: Pin<Box<Attempt>>,
    queue: Queue,
    /// The session knows that the attempt waits for its turn.
    told: bool,
}

impl Wires {
    /// Begins to connect.
    pub fn open(&mut self, id: ConnId, address: usize, attempt: Pin<Box<Attempt>>, queue: Queue) {
        let opening = Opening {
            attempt,
            queue,
            told: false,
        };
        let wire = Wire {
            connection: Connection::Opening(opening),
            address,
            ..Wire::default()
        };
        self.0.push((id, wire));
    }

    /// The number of the address that this one connects to.
    pub fn address(&mut self, id: ConnId) -> usize {
        self.get(id).map_or(0, |wire| wire.address)
    }

    fn get(&mut self, id: ConnId) -> Option<&mut Wire> {
        let mut wires = self.0.iter_mut();
        wires.find(|(other, _)| *other == id).map(|(_, wire)| wire)
    }

    pub fn send(&mut self, id: ConnId, message: Message) {
        if let Some(wire) = self.get(id) {
            wire.allowance.earn(message.len());
            wire.unsent.push_back(message);
        }
    }

    pub fn close(&mut self, id: ConnId) {
        if let Some(at) = self.0.iter().position(|(other, _)| *other == id) {
            self.0.swap_remove(at).1.close();
        }
    }

    /// Not all of what is to be sent is on its way. When it is, [`Self::next`] says so.
    pub fn is_busy(&mut self, id: ConnId) -> bool {
        self.get(id).is_some_and(|wire| {
            wire.is_awaited = wire.flushing || !wire.unsent.is_empty();
            wire.is_awaited
        })
    }

    /// The next thing to happen; safe to abandon and ask again.
    pub async fn next(&mut self) -> (ConnId, Happened) {
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

    /// Closes all of them; waits for the goodbye of the one that serves.
    pub async fn say_goodbye(self, serving: Option<ConnId>) {
        let mut latest = None;
        for (id, wire) in self.0 {
            if Some(id) == serving {
                latest = Some(wire);
            } else {
                wire.close();
            }
        }
        if let Some(wire) = latest
            && let Connection::Open(socket) = wire.connection
        {
            goodbye(socket, wire.unsent).await;
        }
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
        // Reading first: an answer that explains why writing fails must not be missed. But a peer
        // that sends without end must not keep us from sending.
        if self.reads < MAX_READS
            && let Poll::Ready(happened) = poll_read(socket.as_mut(), allowance, cx)
        {
            self.reads += 1;
            return Poll::Ready(happened);
        }
        let reads = std::mem::take(&mut self.reads);
        let written = match poll_write(socket.as_mut(), &mut self.unsent, &mut self.flushing, cx) {
            Poll::Ready(Err(error)) => Poll::Ready(lost(error)),
            Poll::Ready(Ok(())) if std::mem::take(&mut self.is_awaited) => {
                Poll::Ready(Happened::Sent)
            }
            _ => Poll::Pending,
        };
        if reads == MAX_READS && written.is_pending() {
            return poll_read(socket, allowance, cx);
        }
        written
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

/// Ready when all is on its way.
fn poll_write(
    mut socket: Pin<&mut Socket>,
    unsent: &mut VecDeque<Message>,
    flushing: &mut bool,
    cx: &mut Context<'_>,
) -> Poll<Result<(), Error>> {
    *flushing |= !unsent.is_empty();
    while !unsent.is_empty() {
        ready!(socket.as_mut().poll_ready(cx))?;
        if let Some(message) = unsent.pop_front() {
            socket.as_mut().start_send(message)?;
        }
    }
    ready!(socket.as_mut().poll_flush(cx))?;
    *flushing = false;
    Poll::Ready(Ok(()))
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
    use std::future;
    use std::pin::pin;

    use tokio::io::{copy, sink};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::sync::oneshot;
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
            if next.is_pending() && wires.is_busy(id) && wires.0[0].1.unsent.is_empty() {
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
