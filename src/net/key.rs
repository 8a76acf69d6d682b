// SPDX-License-Identifier: MPL-2.0
//! The API key for a connection attempt; called by `connect`, which has a key file read anew for
//! each attempt.
//!
//! A key file may be anything with a path: a file that is replaced while the element runs, a pipe
//! from a password manager, `/dev/zero`, a file on a mount that hangs. Reading takes at most
//! [`MAX_BYTES`], no thread of the runtime, and no longer than the caller waits. Once a key has
//! been read, a file that becomes unusable does not end captions: that key stays in use.

use std::fmt;
use std::io;
use std::time::Duration;

#[cfg(unix)]
use tokio::net::unix::pipe;
use tokio::time::timeout;

use super::disk::{self, Turn};
use super::remark::{Remark, Remarks};
use crate::protocol::{Endpoint, Failure, KeyFault, KeyFile, KeySource, Kind, Secret};

/// Upper bound of a key file. Keys have dozens of characters, gateway tokens up to two thousand.
const MAX_BYTES: usize = 4 << 10;

/// Time limit for rereading a file when an earlier attempt left a key.
const MAX_REREAD: Duration = Duration::from_secs(1);

/// The key to connect with.
pub(super) async fn obtain(
    endpoint: &Endpoint,
    remarks: &Remarks,
) -> Result<Option<Secret>, Failure> {
    match endpoint.key() {
        None => Ok(None),
        Some(KeySource::Given(key)) => Ok(Some(key.clone())),
        Some(KeySource::File(file)) => from_file(file, endpoint.key_timeout(), remarks)
            .await
            .map(Some),
    }
}

async fn from_file(
    file: &KeyFile,
    limit: Option<Duration>,
    remarks: &Remarks,
) -> Result<Secret, Failure> {
    let known = file.latest();
    let limit = match known {
        None => limit,
        // Leave most of the time to the connection.
        Some(_) => Some(limit.map_or(MAX_REREAD, |limit| MAX_REREAD.min(limit / 4))),
    };
    let read = match limit {
        None => read(file).await,
        Some(limit) => timeout(limit, read(file))
            .await
            .unwrap_or(Err(Unusable::Silent(limit))),
    };
    match (read, known) {
        (Ok(key), _) => {
            file.remember(key.clone());
            Ok(key)
        }
        (Err(why), None) => Err(why.failure(file.path())),
        (Err(why), Some(known)) => {
            remarks(Remark::KeyKept(why.failure(file.path())));
            Ok(known)
        }
    }
}

/// Why a file yields no key.
#[derive(Debug)]
enum Unusable {
    Unreadable(io::Error),
    Silent(Duration),
    /// A directory or a device.
    NoFile,
    TooLong,
    Empty,
    Fault(KeyFault),
}

impl From<io::Error> for Unusable {
    fn from(error: io::Error) -> Self {
        Unusable::Unreadable(error)
    }
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unusable::Unreadable(error) => write!(f, "cannot be read: {error}"),
            Unusable::Silent(limit) => write!(f, "gave no key within {} ms", limit.as_millis()),
            Unusable::NoFile => f.write_str("is neither a file nor a pipe"),
            Unusable::TooLong => write!(f, "has more than {MAX_BYTES} bytes, so it is no key"),
            Unusable::Empty => f.write_str("is empty"),
            Unusable::Fault(fault) => write!(f, "is no plain key: it {}", fault.what()),
        }
    }
}

impl Unusable {
    fn failure(&self, path: &str) -> Failure {
        let remedy = match self {
            Unusable::Unreadable(_) => {
                "Check the api-key-file property and the file's permissions."
            }
            Unusable::Silent(_) => {
                "Check what writes into the api-key-file, if it is a pipe (which can be read only \
                 once), and its file system otherwise; or raise connect-timeout."
            }
            Unusable::NoFile => "Set the api-key-file property to the file that holds the key.",
            Unusable::TooLong | Unusable::Empty => {
                "Put the API key into it, or unset the api-key-file property."
            }
            Unusable::Fault(fault) => fault.remedy(),
        };
        let what = format!("The key file '{path}' {self}.");
        Failure::new(Kind::Unauthorized, what, remedy)
    }
}

async fn read(file: &KeyFile) -> Result<Secret, Unusable> {
    let turn = disk::turn(file.path()).await;
    // Another session may have read the pipe while this one waited.
    let known = file.latest();
    let (path, is_known) = (file.path().to_owned(), known.is_some());
    let (turn, opened) = turn.run(move || open(&path, is_known)).await?;
    let bytes = match opened? {
        Opened::File(bytes) => bytes,
        #[cfg(unix)]
        Opened::Pipe(pipe) => drain(pipe, turn).await?,
        #[cfg(unix)]
        Opened::Spent => return known.ok_or(Unusable::Empty),
    };
    parse(&bytes)
}

/// A key file that was opened; a regular file has also been read.
enum Opened {
    File(Vec<u8>),
    #[cfg(unix)]
    Pipe(pipe::Receiver),
    /// A pipe whose key is already known.
    #[cfg(unix)]
    Spent,
}

/// May block for as long as the file system does. A pipe does not block: it is opened without
/// waiting for a writer.
fn open(path: &str, is_known: bool) -> Result<Opened, Unusable> {
    use std::io::Read;
    let kind = std::fs::metadata(path)?.file_type();
    #[cfg(unix)]
    if std::os::unix::fs::FileTypeExt::is_fifo(&kind) {
        if is_known {
            return Ok(Opened::Spent);
        }
        let pipe = pipe::OpenOptions::new().open_receiver(path)?;
        return Ok(Opened::Pipe(pipe));
    }
    if !kind.is_file() {
        return Err(Unusable::NoFile);
    }
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path)?;
    file.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(Opened::File(bytes))
}

/// Reads a pipe until its writers have closed it, however late the first one opens it. Keeps the
/// file's turn, so that no other session reads part of the key.
#[cfg(unix)]
async fn drain(pipe: pipe::Receiver, _turn: Turn) -> Result<Vec<u8>, Unusable> {
    let mut bytes = Vec::new();
    while bytes.len() <= MAX_BYTES {
        pipe.readable().await?;
        // Not with `AsyncRead`: after a short read that waits for the next event, which never comes
        // if the writer was gone before the pipe was opened.
        match pipe.try_read_buf(&mut bytes) {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(bytes)
}

/// Parses the key from the file's contents.
fn parse(bytes: &[u8]) -> Result<Secret, Unusable> {
    const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();
    if bytes.len() > MAX_BYTES {
        return Err(Unusable::TooLong);
    }
    let bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
    let text = str::from_utf8(bytes).map_err(|_| Unusable::Fault(KeyFault::Characters))?;
    let key = Secret::new(text).ok_or(Unusable::Empty)?;
    match KeyFault::find(key.reveal()) {
        Some(fault) => Err(Unusable::Fault(fault)),
        None => Ok(key),
    }
}

#[cfg(all(test, unix))]
mod tests;
