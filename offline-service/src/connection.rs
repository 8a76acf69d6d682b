// SPDX-License-Identifier: MPL-2.0

//! One connection: moves frames between the socket and the session, which works on a thread
//! of its own because recognition takes time.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::sync::mpsc::{self, Receiver, Sender, UnboundedReceiver, UnboundedSender};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async};

use crate::core::Core;
use crate::dialect::{Frame as ClientFrame, Protocol};
use crate::faults::RawFrame;
use crate::filter::{Filter, Wire};
use crate::handshake;
use crate::record::End;
use crate::registry::Registry;
use crate::server::Shared;
use crate::session::{Output, Session};

/// How many frames of the client may wait for its session.
const QUEUE: usize = 64;

/// How long to wait for the client's answer to a close frame.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// A frame from the client, with the time since the connection began.
type Input = (ClientFrame, Duration);

/// Serves a connection from the first to the last byte.
pub async fn serve(mut stream: TcpStream, number: usize, shared: &Shared) {
    // Without effect on what is served; it only comes later.
    let _ = stream.set_nodelay(true);
    let faults = shared.faults(number);
    let registry = &shared.registry;
    if faults.stall_handshake {
        return drain(&mut stream).await;
    }
    let options = &shared.options;
    let (mut protocol, mut query, mut counted) = (None, String::new(), None);
    let limit = options.max_connections;
    #[allow(clippy::result_large_err)] // as the library wants it
    let answer = |request: &Request, response: Response| {
        let record = handshake::record(number, request);
        protocol = options.protocol(&record.path, &record.query);
        query.clone_from(&record.query);
        registry.request(record);
        let response = handshake::answer(request, response, options, &faults)?;
        counted = registry.open_session(limit);
        match protocol {
            Some(protocol) if counted.is_none() && protocol.refuses_the_upgrade() => {
                Err(handshake::unavailable(protocol.too_many(limit)))
            }
            _ => Ok(response),
        }
    };
    let accepted = timeout(options.idle_timeout, accept_hdr_async(stream, answer)).await;
    let mut socket = match accepted {
        Ok(Ok(socket)) => socket,
        Ok(Err(Error::Http(response))) => {
            return registry.ended(number, End::Refused(response.status().as_u16()));
        }
        Ok(Err(_)) | Err(_) => return registry.ended(number, End::Disconnected),
    };
    let Some(protocol) = protocol else {
        // Such a request is not accepted.
        return registry.ended(number, End::Disconnected);
    };
    let translation_faults = options.translation_faults.clone();
    let faults = translation_faults
        .filter(|_| protocol == Protocol::LiveTranslate)
        .unwrap_or(faults);

    let (wire, wires) = mpsc::unbounded_channel();
    let reset = Arc::new(Notify::new());
    registry.opened(number, wire.clone(), reset.clone());
    let mut connection = Connection {
        wires,
        input: None,
        started: Instant::now(),
        idle_timeout: protocol.idle_timeout(options),
        fragment: faults.fragment,
        number,
        registry,
    };
    let begun = match &counted {
        Some(_) => protocol.begin(number as u64, &query, options, &faults),
        None => Err(vec![Wire::Event(protocol.too_many(limit))]),
    };
    match begun {
        Ok(dialect) => {
            let session = Session::new(dialect, Core::new(options), Filter::new(faults));
            let (input, inputs) = mpsc::channel(QUEUE);
            let registry = registry.clone();
            connection.input = Some(input);
            tokio::task::spawn_blocking(move || {
                work(session, inputs, &wire, number, &registry);
            });
        }
        // The receiver is there, so that sending cannot fail.
        Err(answers) => {
            for answer in answers {
                drop(wire.send(answer));
            }
            if connection.idle_timeout.is_none() {
                drop(wire.send(Wire::close(1000, "")));
            }
        }
    }

    let end = tokio::select! {
        end = connection.run(&mut socket) => end,
        () = reset.notified() => End::Reset,
    };
    if end == End::Reset {
        // Without, the end of the connection would be an orderly one.
        let _ = socket.get_ref().set_zero_linger();
    }
    drop((socket, counted));
    registry.ended(number, end);
}

/// Reads until the client gives up.
async fn drain(stream: &mut TcpStream) {
    let mut buffer = [0; 1024];
    while stream
        .read(&mut buffer)
        .await
        .is_ok_and(|length| length > 0)
    {}
}

/// Runs a session until it, or its connection, ends.
fn work(
    mut session: Session,
    mut inputs: Receiver<Input>,
    wires: &UnboundedSender<Wire>,
    number: usize,
    registry: &Registry,
) {
    let mut out = |output: Output| match output {
        Output::Received(event) => registry.received(number, event),
        Output::Stream(news) => registry.stream(number, news),
        // If the connection has ended, so does this, soon.
        Output::Wire(wire) => drop(wires.send(wire)),
    };
    let runtime = Handle::current();
    session.open(&mut out);
    // What the client sent before it went counts, although nobody hears the answers.
    loop {
        let next = match session.patience() {
            None => Ok(inputs.blocking_recv()),
            Some(patience) => runtime.block_on(async { timeout(patience, inputs.recv()).await }),
        };
        match next {
            Ok(Some((frame, now))) => session.receive(frame, now, &mut out),
            Ok(None) => return,
            Err(_) => session.timed_out(&mut out),
        }
    }
}

/// The side of the socket.
struct Connection<'a> {
    wires: UnboundedReceiver<Wire>,
    /// Where frames of the client go, if there is a session.
    input: Option<Sender<Input>>,
    started: Instant,
    idle_timeout: Option<Duration>,
    fragment: bool,
    number: usize,
    registry: &'a Registry,
}

impl Connection<'_> {
    async fn run(&mut self, socket: &mut WebSocketStream<TcpStream>) -> End {
        let mut reading = true;
        let mut paused = None;
        let mut idle_since = Instant::now();
        loop {
            let room = async {
                match &self.input {
                    Some(input) if input.capacity() == 0 => drop(input.reserve().await),
                    _ => (),
                }
            };
            let message = async {
                room.await;
                if reading {
                    socket.next().await
                } else {
                    pending().await
                }
            };
            tokio::select! {
                biased;
                () = sleep_until(paused.unwrap_or(self.started)), if paused.is_some() => {
                    paused = None;
                }
                Some(wire) = self.wires.recv(), if paused.is_none() => match wire {
                    Wire::Reset => return End::Reset,
                    Wire::StopReading => reading = false,
                    Wire::Pause(delay) => paused = Some(Instant::now() + delay),
                    Wire::Close { code, reason } => return close(socket, code, reason).await,
                    Wire::Event(event) => {
                        idle_since = Instant::now();
                        self.registry.sent(self.number, &event);
                        let text = event.to_string();
                        let frame = if self.fragment {
                            RawFrame::Fragments(fragments(&text))
                        } else {
                            RawFrame::Text(text)
                        };
                        if send(socket, frame).await.is_err() {
                            return End::Disconnected;
                        }
                    }
                    Wire::Raw(frame) => {
                        if matches!(frame, RawFrame::Text(_) | RawFrame::Fragments(_)) {
                            idle_since = Instant::now();
                        }
                        if send(socket, frame).await.is_err() {
                            return End::Disconnected;
                        }
                    }
                },
                message = message => match message {
                    Some(Ok(Message::Text(text))) => {
                        idle_since = Instant::now();
                        self.pass_on(ClientFrame::Text(text.as_str().to_owned())).await;
                    }
                    Some(Ok(Message::Binary(data))) => self.pass_on(ClientFrame::Binary(data.into())).await,
                    Some(Ok(Message::Ping(_))) => self.registry.pinged(self.number),
                    Some(Ok(Message::Close(frame))) => {
                        return closed(socket, frame).await;
                    }
                    Some(Ok(Message::Pong(_) | Message::Frame(_))) => (),
                    Some(Err(_)) | None => return End::Disconnected,
                },
                () = idle(idle_since, self.idle_timeout) => {
                    return close(socket, 1011, "Internal server error".to_owned()).await;
                }
            }
        }
    }

    /// Gives a frame to the session, for which there is room.
    async fn pass_on(&self, frame: ClientFrame) {
        if let Some(session) = &self.input {
            // A session that has ended takes no more input.
            let _ = session.send((frame, self.started.elapsed())).await;
        }
    }
}

/// Waits until nothing has come since `since` for too long, if there is such a time.
async fn idle(since: Instant, timeout: Option<Duration>) {
    match timeout {
        Some(timeout) => sleep_until(since + timeout).await,
        None => pending().await,
    }
}

async fn send(socket: &mut WebSocketStream<TcpStream>, frame: RawFrame) -> Result<(), Error> {
    let message = match frame {
        RawFrame::Text(text) => Message::text(text),
        RawFrame::Binary(data) => Message::binary(data),
        RawFrame::Ping(data) => Message::Ping(data.into()),
        RawFrame::Bytes(data) => {
            socket.flush().await?;
            return Ok(socket.get_mut().write_all(&data).await?);
        }
        RawFrame::Fragments(parts) => {
            let final_index = parts.len().saturating_sub(1);
            for (index, part) in parts.into_iter().enumerate() {
                let data = match index {
                    0 => Data::Text,
                    _ => Data::Continue,
                };
                let frame = Frame::message(part, OpCode::Data(data), index == final_index);
                socket.send(Message::Frame(frame)).await?;
            }
            return Ok(());
        }
    };
    socket.send(message).await
}

/// Closes the connection from this side.
async fn close(socket: &mut WebSocketStream<TcpStream>, code: u16, reason: String) -> End {
    let frame = CloseFrame {
        code: code.into(),
        reason: reason.as_str().into(),
    };
    let deadline = Instant::now() + CLOSE_TIMEOUT;
    let answered = async {
        if socket.close(Some(frame)).await.is_ok() {
            while let Some(Ok(_)) = socket.next().await {}
        }
    };
    // A client that does not answer in time gets the end of the TCP connection for it.
    let _ = timeout_at(deadline, answered).await;
    End::ServerClosed { code, reason }
}

/// Answers the client's close frame, which the library has prepared.
async fn closed(socket: &mut WebSocketStream<TcpStream>, frame: Option<CloseFrame>) -> End {
    let deadline = Instant::now() + CLOSE_TIMEOUT;
    // What matters is that the client has closed.
    let _ = timeout_at(deadline, socket.flush()).await;
    End::ClientClosed {
        code: frame.as_ref().map(|frame| frame.code.into()),
        reason: frame.map_or_else(String::new, |frame| frame.reason.as_str().to_owned()),
    }
}

/// `text` in three parts, none of which ends within a character.
fn fragments(text: &str) -> Vec<String> {
    let (first, rest) = text.split_at(text.floor_char_boundary(text.len() / 3));
    let (second, third) = rest.split_at(rest.floor_char_boundary(rest.len() / 2));
    [first, second, third].map(str::to_owned).to_vec()
}
