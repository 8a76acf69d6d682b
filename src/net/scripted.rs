// SPDX-License-Identifier: MPL-2.0
//! A test server that follows a script byte by byte: web server, proxy, WebSocket or nonsense. Used
//! by the tests of `net`.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::answers::with_accept;

/// A step of a script. After the final one the server closes the connection.
#[derive(Debug, Clone)]
pub enum Line {
    /// Reads until the data received ends with this.
    Until(&'static str),
    /// Reads this many bytes.
    Bytes(usize),
    /// Sends this, with `{accept}` replaced by the answer to the key received.
    Say(Vec<u8>),
    /// Reads until the peer has closed the connection.
    Mute,
}

pub fn say(text: impl Into<Vec<u8>>) -> Line {
    Line::Say(text.into())
}

/// Up to the empty line after the head of a request.
pub const HEAD: Line = Line::Until("\r\n\r\n");

/// The response of a server that accepts the upgrade.
pub const WELCOME: &str = "HTTP/1.1 101 Switching Protocols\r\n\
                           Upgrade: websocket\r\n\
                           Connection: Upgrade\r\n\
                           Sec-WebSocket-Accept: {accept}\r\n\r\n";

pub struct Scripted {
    pub address: SocketAddr,
    heard: Arc<Mutex<Vec<u8>>>,
}

impl Scripted {
    /// Plays the same script on each connection.
    pub async fn start(script: impl Into<Vec<Line>>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (script, heard) = (script.into(), Arc::<Mutex<Vec<u8>>>::default());
        let log = heard.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // A peer that closes early ends the script early.
                tokio::spawn(play(stream, script.clone(), log.clone()));
            }
        });
        Scripted { address, heard }
    }

    /// Everything received so far.
    pub fn heard(&self) -> Vec<u8> {
        self.heard.lock().unwrap().clone()
    }

    /// Everything received, once it is at least this many bytes.
    pub async fn until(&self, bytes: usize) -> Vec<u8> {
        while self.heard().len() < bytes {
            tokio::task::yield_now().await;
        }
        self.heard()
    }

    /// Everything received so far, as text.
    pub fn heard_text(&self) -> String {
        String::from_utf8(self.heard()).unwrap()
    }
}

async fn play(
    mut stream: TcpStream,
    script: Vec<Line>,
    log: Arc<Mutex<Vec<u8>>>,
) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut all = Vec::new();
    for line in script {
        let before = all.len();
        match line {
            Line::Until(end) => {
                while !all[before..].ends_with(end.as_bytes()) {
                    all.push(stream.read_u8().await?);
                }
            }
            Line::Bytes(count) => {
                all.resize(before + count, 0);
                stream.read_exact(&mut all[before..]).await?;
            }
            Line::Say(bytes) => {
                for packet in with_accept(bytes, &all).chunks(1000) {
                    stream.write_all(packet).await?;
                }
            }
            Line::Mute => {
                stream.read_to_end(&mut all).await?;
            }
        }
        log.lock().unwrap().extend(&all[before..]);
    }
    Ok(())
}
