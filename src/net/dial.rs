// SPDX-License-Identifier: MPL-2.0
//! TCP connections over networks that come and go, within seconds of their return.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::protocol::{Failure, is_localhost};

/// How long one address of several is tried alone: the connection attempt delay of RFC 8305.
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// When all addresses are called afresh, beside the attempts under way. The system repeats a lost
/// SYN after 1, 3, 7 and 15 s only, which is far too rare for a link that has just come back.
const RETRY_INTERVAL: Duration = Duration::from_secs(2);

/// Time for one attempt; by then it has been replaced several times.
const MAX_ATTEMPT: Duration = Duration::from_secs(10);

/// Time for the name service, where the host was reached before.
const MAX_LOOKUP: Duration = Duration::from_secs(1);

/// A connection for audio. Where the system tells too little to watch it, the session's pings notice
/// that the network is gone.
#[cfg(not(target_os = "linux"))]
pub(super) type Tcp = TcpStream;
#[cfg(target_os = "linux")]
pub(super) type Tcp = super::watched::Watched;

/// `TCP_NOTSENT_LOWAT`: bytes that the system may queue for sending, a good second of audio. Left
/// alone, it would take megabytes over a slow network, and captions would lag by a minute that no
/// queue of ours accounts for.
#[cfg(any(target_os = "linux", target_os = "android"))]
const MAX_UNSENT: u32 = 64 << 10;

/// Where hosts were reached most recently, for when the name service is silent. Few hosts are in
/// use.
static REACHED: Mutex<Vec<(Host, SocketAddr)>> = Mutex::new(Vec::new());
const MAX_REACHED: usize = 32;

/// Name and port.
type Host = (String, u16);

/// Why there is no TCP connection.
#[derive(Debug)]
pub(super) enum DialError {
    /// The name service does not know the host, or does not answer.
    Lookup(io::Error),
    Connect(io::Error),
}

impl DialError {
    /// Marks the failure that is made of this as unanswered where nobody answered at all.
    pub fn mark(&self, failure: Failure) -> Failure {
        let is_answered = match self {
            DialError::Lookup(_) => false,
            DialError::Connect(error) => matches!(
                error.kind(),
                io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset
            ),
        };
        if is_answered {
            failure
        } else {
            failure.unanswered()
        }
    }
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DialError::Lookup(error) | DialError::Connect(error) => error.fmt(f),
        }
    }
}

/// Connects to the host, however long that takes.
pub(super) async fn dial(host: &str, port: u16) -> Result<Tcp, DialError> {
    let addresses = resolve(host, port).await.map_err(DialError::Lookup)?;
    let stream = race(&addresses, RETRY_INTERVAL).await;
    stream.map(Tcp::from).map_err(DialError::Connect)
}

/// The addresses of the host. This machine's own names are not looked up: what may travel
/// unencrypted because it stays here must not depend on a name service.
pub(super) async fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    if is_localhost(host) {
        return Ok(vec![
            (Ipv6Addr::LOCALHOST, port).into(),
            (Ipv4Addr::LOCALHOST, port).into(),
        ]);
    }
    let lookup = async { Ok(lookup_host((host, port)).await?.collect()) };
    addresses(lookup, reached(&(host.to_owned(), port))).await
}

/// Sets up a connection for audio.
pub(super) fn prepare(stream: &Tcp) {
    // Audio comes in steady small pieces: waiting to fill a packet only adds delay. If any of this
    // fails, it costs time at worst.
    let _ = stream.set_nodelay(true);
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        let socket = socket2::SockRef::from(stream);
        let _ = socket.set_tcp_notsent_lowat(MAX_UNSENT);
    }
}

/// Remembers that the service was reached there.
pub(super) fn remember(host: &str, port: u16, address: SocketAddr) {
    let host = (host.to_owned(), port);
    let mut hosts = REACHED.lock().unwrap_or_else(PoisonError::into_inner);
    hosts.retain(|(other, _)| *other != host);
    if hosts.len() == MAX_REACHED {
        hosts.remove(0);
    }
    hosts.push((host, address));
}

fn reached(host: &Host) -> Option<SocketAddr> {
    let hosts = REACHED.lock().unwrap_or_else(PoisonError::into_inner);
    let found = hosts.iter().find(|(other, _)| other == host);
    found.map(|(_, address)| *address)
}

/// What the name service says; or where the host was reached before, if it is silent.
async fn addresses(
    lookup: impl Future<Output = io::Result<Vec<SocketAddr>>>,
    reached: Option<SocketAddr>,
) -> io::Result<Vec<SocketAddr>> {
    let Some(reached) = reached else {
        return lookup.await;
    };
    match timeout(MAX_LOOKUP, lookup).await {
        Ok(Ok(found)) if !found.is_empty() => Ok(found),
        _ => Ok(vec![reached]),
    }
}

/// The first connection to any of the addresses. Each is called again and again, beside the
/// attempts under way, until the network has refused all of them.
async fn race(addresses: &[SocketAddr], retry_interval: Duration) -> io::Result<TcpStream> {
    let mut attempts = JoinSet::new();
    for (tried, address) in (1..).zip(addresses.iter().cycle()) {
        attempts.spawn(attempt(*address));
        let patience = if tried % addresses.len() == 0 {
            retry_interval
        } else {
            ATTEMPT_DELAY
        };
        match timeout(patience, first(&mut attempts)).await {
            Ok(Err(_)) if tried < addresses.len() => {}
            Ok(result) => return result,
            Err(_) => {}
        }
    }
    Err(io::Error::from(io::ErrorKind::NotFound))
}

async fn attempt(address: SocketAddr) -> io::Result<TcpStream> {
    let connected = timeout(MAX_ATTEMPT, TcpStream::connect(address)).await;
    connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// The first success; or the error of the attempt that ended latest, when none is under way.
async fn first(attempts: &mut JoinSet<io::Result<TcpStream>>) -> io::Result<TcpStream> {
    let mut result = Err(io::ErrorKind::NotFound.into());
    while let Some(ended) = attempts.join_next().await {
        result = ended.unwrap_or_else(|error| Err(io::Error::other(error)));
        if result.is_ok() {
            break;
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;
    use std::net::{Ipv4Addr, TcpListener};

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(future)
    }

    /// Nobody listens there.
    fn closed() -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.local_addr().unwrap()
    }

    /// A listener that takes no connection and refuses none, because its backlog is full.
    fn black_hole() -> (TcpListener, Vec<std::net::TcpStream>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let connect = || std::net::TcpStream::connect_timeout(&address, Duration::from_millis(50));
        let fillers: Vec<_> = (0..300).map_while(|_| connect().ok()).collect();
        assert!(fillers.len() < 300, "the backlog is full");
        (listener, fillers)
    }

    #[test]
    fn a_silent_name_service_costs_a_host_that_was_reached_nothing() {
        let there: SocketAddr = ([192, 0, 2, 1], 443).into();
        let moved: SocketAddr = ([192, 0, 2, 2], 443).into();
        let fails = || async { Err(io::Error::other("temporary failure")) };
        block_on(async {
            assert!(addresses(fails(), None).await.is_err());
            assert_eq!(addresses(fails(), Some(there)).await.unwrap(), [there]);
            assert_eq!(addresses(pending(), Some(there)).await.unwrap(), [there]);
            let answers = async { Ok(vec![moved]) };
            assert_eq!(addresses(answers, Some(there)).await.unwrap(), [moved]);
        });
    }

    #[test]
    fn where_a_host_was_reached_is_remembered_for_few_hosts() {
        let address = ([192, 0, 2, 1], 443).into();
        for n in 0..100 {
            remember(&format!("host{n}.invalid"), 1, address);
        }
        assert_eq!(reached(&("host99.invalid".into(), 1)), Some(address));
        assert_eq!(reached(&("host0.invalid".into(), 1)), None);
        assert!(REACHED.lock().unwrap().len() <= MAX_REACHED);
    }

    #[test]
    fn one_address_that_answers_is_enough() {
        let (hole, _fillers) = black_hole();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let good = listener.local_addr().unwrap();
        for bad in [closed(), hole.local_addr().unwrap()] {
            let stream = block_on(race(&[bad, good], RETRY_INTERVAL)).unwrap();
            assert_eq!(stream.peer_addr().unwrap(), good);
        }
    }

    #[test]
    fn a_refusal_by_all_is_an_answer() {
        let error = block_on(race(&[closed(), closed()], RETRY_INTERVAL)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        assert!(block_on(race(&[], RETRY_INTERVAL)).is_err());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn an_attempt_that_got_lost_is_not_waited_for() {
        let (hole, fillers) = black_hole();
        let address = [hole.local_addr().unwrap()];
        let start = std::time::Instant::now();
        let stream = block_on(async {
            let race = race(&address, Duration::from_millis(20));
            let (stream, ()) = tokio::join!(race, async {
                tokio::time::sleep(Duration::from_millis(100)).await;
                // Now there is room: the system's own repetition comes after a second.
                drop(fillers);
                hole.set_nonblocking(true).unwrap();
                while hole.accept().is_ok() {}
            });
            stream.unwrap()
        });
        assert_eq!(stream.peer_addr().unwrap(), address[0]);
        assert!(start.elapsed() < Duration::from_millis(900));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn data_does_not_wait_long_in_the_system() {
        block_on(async {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            let stream = TcpStream::connect(listener.local_addr().unwrap())
                .await
                .unwrap();
            let stream = Tcp::from(stream);
            prepare(&stream);
            let socket = socket2::SockRef::from(&stream);
            assert_eq!(socket.tcp_notsent_lowat().unwrap(), MAX_UNSENT);
            assert!(socket.tcp_nodelay().unwrap());
        });
    }
}
