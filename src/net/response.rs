// SPDX-License-Identifier: MPL-2.0
//! HTTP requests and their responses, for `upgrade` and `proxy`.
//!
//! The peer may be anything, as the address may contain a typo. Whatever it sends, memory and time
//! stay within the limits below, and a refusal is read in full however it is split into packets.

use std::ops::Range;
use std::time::Duration;
use std::{fmt, io, mem};

use httparse::{EMPTY_HEADER, Status, parse_chunk_size};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

/// Upper bound of a head. Real ones take hundreds of bytes, with cookies thousands.
const MAX_HEAD_BYTES: usize = 64 << 10;
const MAX_HEADERS: usize = 256;

/// Upper bound of a body: the start of a longer error page is enough.
const MAX_BODY_BYTES: usize = 64 << 10;

/// Time limit for the rest of a body; without it the status is still worth reporting.
const MAX_BODY_TIME: Duration = Duration::from_secs(1);

/// Initial size of the buffer for the head.
const READ_BYTES: usize = 4 << 10;

/// Why there is no response.
#[derive(Debug)]
pub(super) enum HeadError {
    Io(io::Error),
    /// The connection was closed before the end of the head.
    Closed,
    TooLong,
    NotHttp(&'static str),
    /// The peer answered with a TLS record.
    Tls,
}

impl From<io::Error> for HeadError {
    fn from(error: io::Error) -> Self {
        HeadError::Io(error)
    }
}

impl fmt::Display for HeadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HeadError::Io(error) => error.fmt(f),
            HeadError::Closed => f.write_str("the connection was closed without an answer"),
            HeadError::TooLong => {
                let kilobytes = MAX_HEAD_BYTES >> 10;
                write!(f, "the head of the answer has more than {kilobytes} KiB")
            }
            HeadError::NotHttp(why) => write!(f, "the answer is not HTTP/1.1: {why}"),
            HeadError::Tls => f.write_str("the answer is TLS"),
        }
    }
}

/// The head of a response.
#[derive(Debug)]
pub(super) struct Head {
    pub status: u16,
    headers: Vec<(String, String)>,
    /// Bytes read beyond the head.
    pub rest: Vec<u8>,
}

/// Sends a request without a body and reads the head of the response.
pub(super) async fn ask(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    request: &str,
) -> Result<Head, HeadError> {
    stream.write_all(request.as_bytes()).await?;
    stream.flush().await?;
    Head::read(stream).await
}

impl Head {
    async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Result<Self, HeadError> {
        let mut bytes = Vec::with_capacity(READ_BYTES);
        loop {
            let seen = bytes.len();
            if stream.read_buf(&mut bytes).await? == 0 {
                return Err(HeadError::Closed);
            }
            check_beginning(&bytes)?;
            if has_end(&bytes, seen) {
                return Self::parse(bytes);
            }
            if bytes.len() > MAX_HEAD_BYTES {
                return Err(HeadError::TooLong);
            }
        }
    }

    fn parse(mut bytes: Vec<u8>) -> Result<Self, HeadError> {
        let mut headers = [EMPTY_HEADER; MAX_HEADERS];
        let mut response = httparse::Response::new(&mut headers);
        let end = match response.parse(&bytes) {
            Ok(Status::Complete(end)) => end,
            Ok(Status::Partial) => return Err(HeadError::NotHttp("its head has a stray line end")),
            Err(httparse::Error::TooManyHeaders) => return Err(HeadError::TooLong),
            Err(_) => return Err(HeadError::NotHttp("its head is malformed")),
        };
        let (Some(status), Some(1)) = (response.code, response.version) else {
            return Err(HeadError::NotHttp("it has another version"));
        };
        let headers = response.headers.iter().map(|header| {
            let value = String::from_utf8_lossy(header.value).into_owned();
            (header.name.to_ascii_lowercase(), value)
        });
        Ok(Head {
            status,
            headers: headers.collect(),
            rest: bytes.split_off(end),
        })
    }

    /// The elements of a header whose value is a list. The name is in lower case.
    pub fn list<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let headers = self.headers.iter().filter(move |(other, _)| other == name);
        headers.flat_map(|(_, value)| value.split(',').map(str::trim))
    }

    /// The time to wait before another request, if the header Retry-After says it in seconds. Its
    /// other form, a date, would need two clocks that agree.
    pub fn retry_after(&self) -> Option<Duration> {
        let seconds = self.list("retry-after").next()?.parse().ok()?;
        Some(Duration::from_secs(seconds))
    }

    /// Reads the body, or as much of it as comes before a limit is reached or the connection
    /// breaks. A compressed body, which was not asked for, counts as empty.
    pub async fn read_body(&mut self, stream: &mut (impl AsyncRead + Unpin)) -> String {
        let is_readable = |coding: &str| coding.eq_ignore_ascii_case("identity");
        if !self.list("content-encoding").all(is_readable) {
            return String::new();
        }
        let mut body = Body::new(self.framing());
        let mut raw = mem::take(&mut self.rest);
        let reading = async {
            while !body.take(&mut raw) && stream.read_buf(&mut raw).await? > 0 {}
            Ok::<_, io::Error>(())
        };
        // Whatever was read is useful, also after a timeout.
        let _ = timeout(MAX_BODY_TIME, reading).await;
        body.take_unfinished(&raw);
        String::from_utf8_lossy(&body.bytes).into_owned()
    }

    fn framing(&self) -> Framing {
        let mut codings = self.list("transfer-encoding");
        if codings.any(|coding| coding.eq_ignore_ascii_case("chunked")) {
            return Framing::Chunks;
        }
        let length = self.list("content-length").next();
        match length.and_then(|length| length.parse().ok()) {
            Some(length) => Framing::Length(length),
            None => Framing::UntilClosed,
        }
    }
}

/// Checks that this can be the start of a response. Anything else might never contain an empty
/// line: an SSH server sends its banner and waits.
fn check_beginning(bytes: &[u8]) -> Result<(), HeadError> {
    const PROTOCOL: &[u8] = b"HTTP/";
    const TLS_ALERT: &[u8] = &[21, 3];
    let may_begin_with = |what: &[u8]| bytes.iter().zip(what).all(|(a, b)| a == b);
    if bytes.starts_with(TLS_ALERT) {
        Err(HeadError::Tls)
    } else if may_begin_with(PROTOCOL) || may_begin_with(TLS_ALERT) {
        Ok(())
    } else {
        Err(HeadError::NotHttp("it does not begin with HTTP/"))
    }
}

/// Whether an empty line ends within the new bytes.
fn has_end(bytes: &[u8], seen: usize) -> bool {
    let new = &bytes[seen.saturating_sub(3)..];
    new.windows(2).any(|end| end == b"\n\n") || new.windows(3).any(|end| end == b"\n\r\n")
}

/// How the end of the body is determined.
enum Framing {
    Length(usize),
    Chunks,
    UntilClosed,
}

/// A body being read.
struct Body {
    framing: Framing,
    bytes: Vec<u8>,
}

impl Body {
    fn new(framing: Framing) -> Self {
        Body {
            framing,
            bytes: Vec::new(),
        }
    }

    /// Decodes as much of the raw bytes as possible, and removes that. Returns whether the body is
    /// complete, or has reached its limit.
    fn take(&mut self, raw: &mut Vec<u8>) -> bool {
        let is_over = match self.framing {
            Framing::Length(length) => {
                self.bytes.append(raw);
                self.bytes.len() >= length
            }
            Framing::UntilClosed => {
                self.bytes.append(raw);
                false
            }
            Framing::Chunks => self.take_chunks(raw),
        };
        is_over || self.bytes.len() + raw.len() >= MAX_BODY_BYTES
    }

    /// Returns whether the final chunk was read, or something that is not a chunk.
    fn take_chunks(&mut self, raw: &mut Vec<u8>) -> bool {
        let mut at = 0;
        let is_over = loop {
            match chunk(&raw[at..]) {
                Chunk::Complete { data, end } => {
                    self.bytes.extend_from_slice(&raw[at..][data]);
                    at += end;
                }
                Chunk::Partial(_) => break false,
                Chunk::End => break true,
            }
        };
        raw.drain(..at);
        is_over
    }

    /// Takes the available part of an incomplete chunk, and truncates the body to its limit.
    fn take_unfinished(&mut self, raw: &[u8]) {
        if matches!(self.framing, Framing::Chunks)
            && let Chunk::Partial(data) = chunk(raw)
        {
            self.bytes.extend_from_slice(&raw[data]);
        }
        let length = match self.framing {
            Framing::Length(length) => length.min(MAX_BODY_BYTES),
            _ => MAX_BODY_BYTES,
        };
        self.bytes.truncate(length);
    }
}

/// What was found where a chunk is expected.
enum Chunk {
    Complete {
        data: Range<usize>,
        end: usize,
    },
    /// Incomplete; the range is that of the data so far.
    Partial(Range<usize>),
    /// The final chunk, or something that is not a chunk.
    End,
}

fn chunk(raw: &[u8]) -> Chunk {
    const LINE_END: usize = 2;
    match parse_chunk_size(raw) {
        Ok(Status::Complete((_, 0))) | Err(_) => Chunk::End,
        Ok(Status::Complete((begin, size))) => {
            let size = usize::try_from(size).unwrap_or(usize::MAX);
            let data = begin..begin.saturating_add(size);
            let end = data.end.saturating_add(LINE_END);
            if end <= raw.len() {
                Chunk::Complete { data, end }
            } else {
                Chunk::Partial(begin..data.end.min(raw.len()))
            }
        }
        Ok(Status::Partial) => Chunk::Partial(raw.len()..raw.len()),
    }
}

#[cfg(test)]
mod tests;
