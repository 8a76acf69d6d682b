// SPDX-License-Identifier: MPL-2.0

//! The service on the network.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::blocks::BlockRecogniser;
use crate::connection;
use crate::dialect::Protocol;
use crate::faults::{Faults, RawFrame};
use crate::filter::Wire;
use crate::recogniser::Factory;
use crate::record::SessionRecord;
use crate::registry::{Observer, Registry};
use crate::vad::VadOptions;

/// How long a [`Server`] waits for the threads of its sessions when it is dropped.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(2);

/// Between two clients that [`serve_until`] sends elsewhere.
const DRAIN_INTERVAL: Duration = Duration::from_millis(60);

/// How long it waits for the clients to go then.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// WebSocket's close code of a server that is restarted or drained.
const RESTART: u16 = 1012;

/// Options of the service. The defaults suit tests with numbered blocks; limits are those
/// that the real service was seen to have.
#[derive(Clone)]
pub struct Options {
    /// The protocols to speak. If two have the same path, the first one is spoken there, but for
    /// [`Protocol::LiveTranslate`], which is spoken with the models that translate.
    /// Default: all but [`Protocol::OpenAi`].
    pub protocols: Vec<Protocol>,
    /// The API key to ask for. `None` accepts everyone. Default: `None`.
    pub api_key: Option<String>,
    /// An API key that is refused with status 403. Default: `None`.
    pub forbidden_key: Option<String>,
    /// What recognises the audio. Default: [`BlockRecogniser`].
    pub recogniser: Factory,
    /// How speech is detected. Default: [`VadOptions::EXACT`].
    pub vad: VadOptions,
    /// Audio between two interim results. Default: 500 ms.
    pub partial_interval: Duration,
    /// Longest item the detection of speech makes; longer speech is cut. Default: unlimited.
    pub max_item: Option<Duration>,
    /// Time without any text frame, or with tasks: between two of them, after which a connection
    /// is closed. Default: 60 s.
    pub idle_timeout: Duration,
    /// Time without any frame after which a task fails. Default: 23 s.
    pub byte_timeout: Duration,
    /// Audio without speech after which the connection of a task without heartbeat is closed.
    /// Default: 60 s.
    pub silence_timeout: Duration,
    /// Audio after which vLLM looks for text. Default: 5 s.
    pub segment: Duration,
    /// Whether vLLM passes on the tags that Qwen3-ASR puts before its text. Default: `true`.
    pub tags: bool,
    /// Voices that the translation models tell apart; they take turns. Default: 1.
    pub speakers: u64,
    /// Number of sessions at the same time. Default: 100.
    pub max_connections: usize,
    /// The names of models to serve; others are not found. `None` serves all that fit the
    /// protocol, and `qwen-omni-turbo-realtime` if none is named. Default: `None`.
    pub known_models: Option<Vec<String>>,
    /// Whether audio may come no faster than 80 times real time. Default: `true`.
    pub rate_limit: bool,
    /// Faults to show. Default: none.
    pub faults: Faults,
    /// The faults of the first connections, one after the other, instead of `faults`. Default:
    /// none.
    pub first_faults: Vec<Faults>,
    /// The faults of the connections to models that translate, instead of those. Default: `None`.
    pub translation_faults: Option<Faults>,
    /// Is told what happens. Default: nobody.
    pub observer: Option<Observer>,
}

impl Options {
    /// The protocol spoken at a path, with or without a slash at its end: the one that the query
    /// means, if there are several.
    pub(super) fn protocol(&self, path: &str, query: &str) -> Option<Protocol> {
        let path = path.strip_suffix('/').unwrap_or(path);
        let fitting = || {
            let protocols = self.protocols.iter().copied();
            protocols.filter(|protocol| protocol.path() == path)
        };
        let meant = fitting().find(|protocol| protocol.is_meant(query));
        meant.or_else(|| fitting().next())
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            protocols: vec![
                Protocol::Realtime,
                Protocol::LiveTranslate,
                Protocol::Inference,
                Protocol::Vllm,
            ],
            api_key: None,
            forbidden_key: None,
            recogniser: BlockRecogniser::factory(),
            vad: VadOptions::EXACT,
            partial_interval: Duration::from_millis(500),
            max_item: None,
            idle_timeout: Duration::from_secs(60),
            byte_timeout: Duration::from_secs(23),
            silence_timeout: Duration::from_secs(60),
            segment: Duration::from_secs(5),
            tags: true,
            speakers: 1,
            max_connections: 100,
            known_models: None,
            rate_limit: true,
            faults: Faults::default(),
            first_faults: Vec::new(),
            translation_faults: None,
            observer: None,
        }
    }
}

/// What the connections of a service share.
pub(super) struct Shared {
    pub(super) options: Options,
    pub(super) registry: Arc<Registry>,
    faults: Mutex<Faults>,
}

impl Shared {
    fn new(options: Options, keep_records: bool) -> Arc<Self> {
        Arc::new(Self {
            registry: Arc::new(Registry::new(options.observer.clone(), keep_records)),
            faults: Mutex::new(options.faults.clone()),
            options,
        })
    }

    /// The faults of the connection `number`.
    pub(super) fn faults(&self, number: usize) -> Faults {
        if let Some(faults) = self.options.first_faults.get(number) {
            return faults.clone();
        }
        let faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        if faults.only_first && number > 0 {
            Faults::default()
        } else {
            faults.clone()
        }
    }
}

/// Serves on `listener` until `stopped`. Then it takes no more connections, and tells one client after
/// the other by close code 1012 that other servers take over, so that they do not all come to those at
/// the same time.
///
/// Dropping the future ends all connections.
pub async fn serve_until(listener: TcpListener, options: Options, stopped: impl Future) {
    let shared = Shared::new(options, false);
    let mut connections = run(listener, shared.clone(), stopped).await;
    for client in shared.registry.clients() {
        // One that has just gone needs nothing.
        let _ = client.send(Wire::close(RESTART, "service restart"));
        sleep(DRAIN_INTERVAL).await;
    }
    let gone = async { while connections.join_next().await.is_some() {} };
    // Those that stay are ended when the connections are dropped.
    let _ = timeout(DRAIN_TIMEOUT, gone).await;
}

/// Serves until `stopped`. Returns the connections, which end when they are dropped.
async fn run(listener: TcpListener, shared: Arc<Shared>, stopped: impl Future) -> JoinSet<()> {
    let mut connections = JoinSet::new();
    let mut stopped = pin!(stopped);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = &mut stopped => break,
        };
        match accepted {
            Ok((stream, _)) => {
                let (number, accepted) = shared.registry.accept();
                let shared = shared.clone();
                connections.spawn(async move {
                    let _accepted = accepted;
                    connection::serve(stream, number, &shared).await;
                });
            }
            // The client has given up, or there are no file descriptors left for the moment.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
        while connections.try_join_next().is_some() {}
    }
    connections
}

/// A service for tests, on a free port of 127.0.0.1 and on threads of its own. It stops when
/// it is dropped.
pub struct Server {
    shared: Arc<Shared>,
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts a service.
    ///
    /// # Panics
    ///
    /// If the system has no port or thread left for it.
    pub fn start(options: Options) -> Self {
        // A test cannot go on without, as the documentation says.
        Self::try_start(options).expect("the offline service should start")
    }

    fn try_start(options: Options) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let listener = {
            let _context = runtime.enter();
            TcpListener::from_std(listener)?
        };
        let address = listener.local_addr()?;
        let shared = Shared::new(options, true);
        let (stop, stopped) = oneshot::channel();
        let serving = run(listener, shared.clone(), stopped);
        let serving = async { serving.await.shutdown().await };
        let thread = std::thread::Builder::new()
            .name("offline-service".to_owned())
            .spawn(move || {
                runtime.block_on(serving);
                runtime.shutdown_timeout(SHUTDOWN_TIMEOUT);
            })?;
        Ok(Self {
            shared,
            address,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// The URL of the service for clients of Qwen-ASR-Realtime, without a query.
    pub fn url(&self) -> String {
        self.url_for(Protocol::Realtime)
    }

    /// The URL of the service for clients of a protocol, with no more of a query than that asks
    /// for.
    pub fn url_for(&self, protocol: Protocol) -> String {
        let (path, query) = (protocol.path(), protocol.query());
        format!("ws://{}{path}{query}", self.address)
    }

    /// The port of the service on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Number of TCP connections accepted so far.
    pub fn connections(&self) -> usize {
        self.shared.registry.accepted_count()
    }

    /// Number of TCP connections that are open.
    pub fn open_connections(&self) -> usize {
        self.shared.registry.open_count()
    }

    /// What happened so far on the connections whose HTTP request was read, in the order of
    /// the requests.
    pub fn sessions(&self) -> Vec<SessionRecord> {
        self.shared.registry.records()
    }

    /// Waits until `condition` holds for what [`sessions`](Self::sessions) returns. Returns
    /// whether it did within `timeout`.
    ///
    /// `condition` must not call methods of this server.
    pub fn wait_for(
        &self,
        condition: impl FnMut(&[SessionRecord]) -> bool,
        timeout: Duration,
    ) -> bool {
        self.shared.registry.wait_for_records(timeout, condition)
    }

    /// Waits until `condition` holds for [`connections`](Self::connections) and
    /// [`open_connections`](Self::open_connections). Returns whether it did within `timeout`.
    ///
    /// `condition` must not call methods of this server.
    pub fn wait_for_connections(
        &self,
        condition: impl FnMut(usize, usize) -> bool,
        timeout: Duration,
    ) -> bool {
        self.shared.registry.wait_for_counts(timeout, condition)
    }

    /// Sets the faults of the connections to come.
    pub fn set_faults(&self, faults: Faults) {
        *self
            .shared
            .faults
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = faults;
    }

    /// Sends a text frame to all connected clients.
    pub fn send_to_all(&self, text: impl Into<String>) {
        let wire = Wire::Raw(RawFrame::Text(text.into()));
        self.shared.registry.send_to_all(&wire);
    }

    /// Resets all TCP connections with connected clients, without a close frame.
    pub fn kill_connections(&self) {
        self.shared.registry.reset_all();
    }

    /// Sends a close frame to all connected clients.
    pub fn close_all(&self, code: u16, reason: &str) {
        self.shared.registry.send_to_all(&Wire::close(code, reason));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Dropping the sender stops the service.
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            // A panic there was reported there.
            let _ = thread.join();
        }
    }
}
