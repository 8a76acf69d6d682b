// SPDX-License-Identifier: MPL-2.0
//! One task per session: a single loop over the audio queue, the socket, the session's deadlines
//! and the wish to stop.

use std::future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};
use tokio_tungstenite::tungstenite::Message;

use super::addresses::Addresses;
use super::connect::{ConnectError, connect};
use super::queue::{AudioQueue, Lost, Taken, Update};
use super::remark::Remarks;
use super::runtime;
use super::throttle::Queue;
use super::wires::{Happened, Wires};
use crate::continuity::Moved;
use crate::protocol::{Endpoint, Failure, Frame, Incoming, Refusal, Usage};
use crate::session::{
    Config, ConnId, Demand, Models, Net, Notice, Output, SentAudio, Session, UNSENT,
};

/// Learns what a session has to say, on a thread of the runtime: it must not block.
pub trait Listener: Send + 'static {
    fn notice(&mut self, notice: Notice);

    /// The audio sent and what was billed in this session so far.
    fn usage(&mut self, sent: SentAudio, billed: Usage);

    /// More text waits than is good, so no more audio should be sent. The code that ends that state
    /// calls [`AudioQueue::wake`].
    fn is_congested(&self) -> bool;

    /// Takes what a log should say of connections.
    fn remarks(&self) -> Remarks;
}

/// Holds a session's task: it stops when this is dropped.
#[derive(Debug)]
pub struct Link {
    _stop: oneshot::Sender<()>,
}

/// Starts a session that sends what comes through the queue to the first of these addresses that
/// works, each with an endpoint for each of the models; there has to be at least one.
pub fn spawn(
    addresses: Vec<Vec<Endpoint>>,
    config: Config,
    models: Models,
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
            session: Session::new(config, models, Duration::ZERO),
            addresses: Addresses::new(addresses),
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
                    addresses,
                    models,
                    context,
                    rotate,
                } = update;
                self.addresses.update(addresses);
                let now = self.now();
                self.session.handle_settings(models, context, rotate, now);
                continue;
            }
            let wait_for_audio = self.feed_audio();
            if wait_for_audio.fed {
                self.perform_outputs();
            }
            let timeout = self.session.poll_timeout().map(|(when, _)| when);
            let deadline = [timeout, wait_for_audio.until].into_iter().flatten().min();
            if let Some(deadline) = deadline {
                let deadline = self.start + deadline;
                if deadline < alarm.deadline() || alarm.is_elapsed() {
                    alarm.as_mut().reset(deadline);
                }
            }
            tokio::select! {
                // In this order, what was fed is sent before the next round, and a round that feeds
                // is begun without a look at the socket. Nothing is kept waiting by what is before
                // it: the queue wakes once for a chunk, and an alarm settles what is due.
                biased;
                _ = &mut stopped => break,
                () = self.queue.woken() => {}
                () = alarm.as_mut(), if deadline.is_some() => self.session.handle_timeout(self.start.elapsed()),
                (id, happened) = self.wires.next() => self.handle(id, happened),
                // On to the next chunk, but not past the socket or the wish to stop: silence that
                // is not sent takes no time.
                () = future::ready(()), if wait_for_audio.fed => {}
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
                    let notice = notice.without(|| self.addresses.secrets());
                    self.listener.notice(notice);
                }
            }
        }
        let (sent, billed) = self.session.usage();
        self.listener.usage(sent, billed);
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
                let waits = least.is_none() || self.queue.has(least);
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
        let address = self.wires.address(id);
        let is_refused = matches!(happened, Happened::Opened(Err(_)));
        let is_lost = matches!(happened, Happened::Lost(..));
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
                has_key: self.addresses.has_key(address),
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
        // A connection that had done its work, or whose server handed it over, is no failure.
        let is_missed = self.session.is_down() && !self.session.is_moving();
        if is_refused || is_lost && is_missed {
            self.addresses.failed(address, Instant::now());
        }
    }

    fn open(&mut self, id: ConnId) {
        // Without any it runs into connect-timeout.
        let model = self.session.model();
        let Some((address, endpoint)) = self.addresses.next(model, Instant::now()) else {
            return;
        };
        let queue = Queue::new(self.session.is_retry(id));
        let attempt = connect(endpoint.clone(), self.remarks.clone(), queue.clone());
        self.wires.open(id, address, Box::pin(attempt), queue);
    }

    /// The session is not wanted any more.
    async fn close(mut self) {
        // A thread that waits for room in the queue must not wait for the goodbye.
        self.queue.close();
        let serving = self.session.serving();
        self.session.handle_finish(self.now());
        while let Some(output) = self.session.poll_output() {
            if let Output::Send(id, frame) = output {
                self.wires.send(id, message(frame));
            }
        }
        self.wires.say_goodbye(serving).await;
    }
}

fn message(frame: Frame) -> Message {
    match frame {
        Frame::Text(text) => Message::text(text),
        Frame::Binary(bytes) => Message::binary(bytes),
    }
}

struct Feeding {
    fed: bool,
    /// When to look again, unless woken before.
    until: Option<Duration>,
}
