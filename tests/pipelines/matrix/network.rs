// SPDX-License-Identifier: MPL-2.0
//! A network in front of the service, that goes wrong at some amount of data.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::LazyLock;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What happens to one connection. The others get through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// Everything is swallowed, in both directions.
    BlackHole,
    /// Nothing comes back from the service any more, which hears everything.
    HalfOpen,
    /// The end of the TCP connection, without any close frame (code 1006).
    End,
    /// So many bytes a second.
    Slow(usize),
    /// Nothing is read from the client for so long.
    Pause(Duration),
}

/// Forwards to one service until it is dropped.
pub struct Network {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Network {
    /// The trouble is that of the connection with this number, and begins once the client has sent
    /// this many bytes over it.
    pub fn new(port: u16, trouble: Trouble, number: usize, after: usize) -> Self {
        static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
            let mut builder = Builder::new_multi_thread();
            builder.worker_threads(1).enable_all().build().unwrap()
        });
        let _runtime = RUNTIME.enter();
        let socket = TcpSocket::new_v4().unwrap();
        // A second of audio at most waits to be read.
        socket.set_recv_buffer_size(16 << 10).unwrap();
        socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let listener = socket.listen(128).unwrap();
        let address = listener.local_addr().unwrap();
        let task = RUNTIME.spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            let mut accepted = 0;
            while let Ok((client, _)) = listener.accept().await {
                let trouble = (accepted == number).then_some(trouble);
                accepted += 1;
                connections.spawn(forward(client, port, trouble, after));
            }
        });
        Network { address, task }
    }

    pub fn address(&self) -> String {
        self.address.to_string()
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn forward(client: TcpStream, port: u16, trouble: Option<Trouble>, after: usize) {
    let Ok(service) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await else {
        return;
    };
    let (from_client, to_client) = client.into_split();
    let (from_service, to_service) = service.into_split();
    let (begin, begun) = watch::channel(false);
    let limit = trouble.map_or(usize::MAX, |_| after);
    tokio::join!(
        up(from_client, to_service, trouble, limit, begin),
        down(from_service, to_client, trouble, begun)
    );
}

/// From the client to the service.
async fn up(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    trouble: Option<Trouble>,
    limit: usize,
    begin: watch::Sender<bool>,
) {
    let (mut buffer, mut sent) = (vec![0; 4096], 0);
    loop {
        if sent >= limit
            && !begin.send_replace(true)
            && let Some(Trouble::Pause(time)) = trouble
        {
            tokio::time::sleep(time).await;
        }
        let length = match from.read(&mut buffer).await {
            Ok(length) if length > 0 => length,
            _ => break,
        };
        let troubled = *begin.borrow();
        match trouble {
            Some(Trouble::BlackHole) if troubled => continue,
            Some(Trouble::End) if troubled => break,
            Some(Trouble::Slow(speed)) if troubled => {
                tokio::time::sleep(Duration::from_secs_f64(length as f64 / speed as f64)).await;
            }
            _ => {}
        }
        if to.write_all(&buffer[..length]).await.is_err() {
            break;
        }
        sent += length;
    }
}

/// From the service to the client.
async fn down(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    trouble: Option<Trouble>,
    mut begun: watch::Receiver<bool>,
) {
    let mut buffer = vec![0; 4096];
    let (mut troubled, mut client_is_gone) = (false, false);
    loop {
        let begins = async { begun.wait_for(|begun| *begun).await.is_ok() };
        let read = tokio::select! {
            biased;
            begins = begins, if !troubled && !client_is_gone => {
                (troubled, client_is_gone) = (begins, !begins);
                if troubled && trouble == Some(Trouble::End) {
                    break;
                }
                continue;
            }
            read = from.read(&mut buffer) => read,
        };
        let length = match read {
            Ok(length) if length > 0 => length,
            _ => break,
        };
        if troubled && matches!(trouble, Some(Trouble::BlackHole | Trouble::HalfOpen)) {
            continue;
        }
        if to.write_all(&buffer[..length]).await.is_err() {
            break;
        }
    }
}
