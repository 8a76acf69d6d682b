// SPDX-License-Identifier: MPL-2.0
//! TCP connections over networks that come and go, within seconds of their return.

use std::io;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::connect::{NETWORK_REMEDY, unreachable};
use crate::protocol::{Failure, Kind};

/// How long one address of several is tried alone (RFC 8305).
const NEXT_ADDRESS: Duration = Duration::from_millis(250);

/// When all addresses are tried afresh, beside the attempts under way: the system repeats a lost
/// request after 1, 3, 7 and 15 s only, which is far too rare for a link that has just come back.
const AFRESH: Duration = Duration::from_secs(2);

/// When an attempt has been replaced often enough.
const LONGEST_ATTEMPT: Duration = Duration::from_secs(10);

/// How long a name service may be silent about a host that was reached before.
const LOOKUP: Duration = Duration::from_secs(1);

/// Data that is not acknowledged for so long is on its way to nowhere. The system alone would
/// wait twice as long from one repetition to the next, and go on for a quarter of an hour.
#[cfg(any(target_os = "linux", target_os = "android"))]
const UNACKNOWLEDGED: Duration = Duration::from_secs(4);

/// Bytes that may wait in the system to be sent: a good second of audio. Left alone, it would take
/// megabytes over a slow network, and captions would lag by a minute that no queue accounts for.
#[cfg(any(target_os = "linux", target_os = "android"))]
const UNSENT: u32 = 64 << 10;

/// Where hosts were last reached, for when the name service is silent. Few hosts are in use.
static REACHED: Mutex<Vec<(Host, SocketAddr)>> = Mutex::new(Vec::new());
const MOST_REACHED: usize = 32;

/// Name and port.
type Host = (String, u16);

/// Connects to the host, however long that takes.
pub(super) async fn dial(host: &str, port: u16) -> Result<TcpStream, Failure> {
    let host = (host.to_owned(), port);
    let lookup = async { Ok(lookup_host((host.0.as_str(), port)).await?.collect()) };
    let addresses = addresses(lookup, reached(&host)).await.map_err(|error| {
        let what = format!("The host '{}' was not found: {error}.", host.0);
        let remedy = "Check the url, region and workspace properties and the name service.";
        Failure::new(Kind::UnknownHost, what, remedy).unanswered()
    })?;
    race(&addresses, AFRESH).await.map_err(|error| {
        let what = format!("No connection to {}:{port}: {error}.", host.0);
        match error.kind() {
            io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => unreachable(what),
            _ => Failure::new(Kind::Unreachable, what, NETWORK_REMEDY).unanswered(),
        }
    })
}

/// Sets up a connection for audio, and for networks that break without a word.
pub(super) fn prepare(stream: &TcpStream) {
    // Audio comes in steady small pieces: waiting to fill a packet only adds delay. Whatever of
    // this fails costs time at worst.
    let _ = stream.set_nodelay(true);
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        let socket = socket2::SockRef::from(stream);
        let _ = socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED));
        let _ = socket.set_tcp_notsent_lowat(UNSENT);
    }
}

/// Remembers that the service was reached there.
pub(super) fn remember(host: &str, port: u16, address: SocketAddr) {
    let host = (host.to_owned(), port);
    let mut hosts = REACHED.lock().unwrap_or_else(PoisonError::into_inner);
    hosts.retain(|(other, _)| *other != host);
    if hosts.len() == MOST_REACHED {
        hosts.remove(0);
    }
    hosts.push((host, address));
}

fn reached(host: &Host) -> Option<SocketAddr> {
    let hosts = REACHED.lock().unwrap_or_else(PoisonError::into_inner);
    let found = hosts.iter().find(|(other, _)| other == host);
    found.map(|(_, address)| *address)
}

/// What the name service says; or where the host was reached before, if it does not say anything.
async fn addresses(
    lookup: impl Future<Output = io::Result<Vec<SocketAddr>>>,
    reached: Option<SocketAddr>,
) -> io::Result<Vec<SocketAddr>> {
    let Some(reached) = reached else {
        return lookup.await;
    };
    match timeout(LOOKUP, lookup).await {
        Ok(Ok(found)) if !found.is_empty() => Ok(found),
        _ => Ok(vec![reached]),
    }
}

/// The first connection to any of the addresses. Each is tried again and again, beside the
/// attempts under way, until the network says for all of them that there is none.
async fn race(addresses: &[SocketAddr], afresh: Duration) -> io::Result<TcpStream> {
    let mut attempts = JoinSet::new();
    for (tried, address) in (1..).zip(addresses.iter().cycle()) {
        attempts.spawn(attempt(*address));
        let patience = if tried % addresses.len() == 0 {
            afresh
        } else {
            NEXT_ADDRESS
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
    let connected = timeout(LONGEST_ATTEMPT, TcpStream::connect(address)).await;
    connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// The first success; or the last error, when nothing is under way any more.
async fn first(attempts: &mut JoinSet<io::Result<TcpStream>>) -> io::Result<TcpStream> {
    let mut last = Err(io::ErrorKind::NotFound.into());
    while let Some(ended) = attempts.join_next().await {
        last = ended.unwrap_or_else(|error| Err(io::Error::other(error)));
        if last.is_ok() {
            break;
        }
    }
    last
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
        assert!(REACHED.lock().unwrap().len() <= MOST_REACHED);
    }

    #[test]
    fn one_address_that_answers_is_enough() {
        let (hole, _fillers) = black_hole();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let good = listener.local_addr().unwrap();
        for bad in [closed(), hole.local_addr().unwrap()] {
            let stream = block_on(race(&[bad, good], AFRESH)).unwrap();
            assert_eq!(stream.peer_addr().unwrap(), good);
        }
    }

    #[test]
    fn a_refusal_by_all_is_an_answer() {
        let error = block_on(race(&[closed(), closed()], AFRESH)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        assert!(block_on(race(&[], AFRESH)).is_err());
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
            prepare(&stream);
            let socket = socket2::SockRef::from(&stream);
            assert_eq!(socket.tcp_user_timeout().unwrap(), Some(UNACKNOWLEDGED));
            assert_eq!(socket.tcp_notsent_lowat().unwrap(), UNSENT);
            assert!(stream.nodelay().unwrap());
        });
    }
}
