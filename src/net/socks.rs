// SPDX-License-Identifier: MPL-2.0
//! The client side of SOCKS5 (RFC 1928), with user name and password (RFC 1929). Called by `proxy`.
//!
//! Not a dependency, because hyper-util does not tell its errors apart and tokio-socks needs a
//! second version of thiserror.

use std::net::IpAddr;
use std::{fmt, io};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

const VERSION: u8 = 5;
const NO_AUTHENTICATION: u8 = 0;
const PASSWORD: u8 = 2;
const PASSWORD_VERSION: u8 = 1;
const CONNECT: u8 = 1;
const RESERVED: u8 = 0;
const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;
const SUCCESS: u8 = 0;
pub(super) const NOT_ALLOWED: u8 = 2;

/// The destination for the proxy to connect to.
#[derive(Debug, Clone, Copy)]
pub(super) enum Target<'a> {
    /// The proxy resolves it.
    Name(&'a str),
    Address(IpAddr),
}

/// Why the proxy did not connect.
#[derive(Debug)]
pub(super) enum SocksError {
    Io(io::Error),
    /// The reply belongs to another protocol.
    NotSocks,
    /// The proxy requires credentials, or rejects those given.
    Unauthorized,
    /// The host's name, the user name or the password has more than 255 bytes.
    TooLong,
    /// The proxy's reply code, see RFC 1928 §6.
    Refused(u8),
}

impl From<io::Error> for SocksError {
    fn from(error: io::Error) -> Self {
        SocksError::Io(error)
    }
}

impl fmt::Display for SocksError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SocksError::Io(error) => return error.fmt(f),
            SocksError::NotSocks => "it does not speak SOCKS5",
            SocksError::Unauthorized => "it does not accept the user name and password",
            SocksError::TooLong => "the host, user name or password is too long for SOCKS5",
            SocksError::Refused(1) => "it reports a general failure",
            SocksError::Refused(NOT_ALLOWED) => "its rules do not allow that",
            SocksError::Refused(3) => "it cannot reach the network",
            SocksError::Refused(4) => "it cannot reach the host",
            SocksError::Refused(5) => "the host refuses the connection",
            SocksError::Refused(6) => "the time to live has expired",
            SocksError::Refused(8) => "it does not take addresses of this kind",
            SocksError::Refused(code) => return write!(f, "it reports error {code}"),
        })
    }
}

/// Makes the proxy connect. Afterwards the stream is that connection; none of its data is read
/// here.
pub(super) async fn tunnel<S>(
    stream: &mut S,
    target: Target<'_>,
    port: u16,
    credentials: Option<(&str, &str)>,
) -> Result<(), SocksError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let greeting: &[u8] = match credentials {
        None => &[VERSION, 1, NO_AUTHENTICATION],
        Some(_) => &[VERSION, 2, NO_AUTHENTICATION, PASSWORD],
    };
    stream.write_all(greeting).await?;
    match (read(stream).await?, credentials) {
        ([VERSION, NO_AUTHENTICATION], _) => {}
        ([VERSION, PASSWORD], Some((user, password))) => {
            authenticate(stream, user, password).await?;
        }
        ([VERSION, _], _) => return Err(SocksError::Unauthorized),
        _ => return Err(SocksError::NotSocks),
    }
    let mut request = vec![VERSION, CONNECT, RESERVED];
    match target {
        Target::Address(IpAddr::V4(ip)) => {
            request.push(IPV4);
            request.extend(ip.octets());
        }
        Target::Address(IpAddr::V6(ip)) => {
            request.push(IPV6);
            request.extend(ip.octets());
        }
        Target::Name(name) => {
            request.push(NAME);
            push(&mut request, name)?;
        }
    }
    request.extend(port.to_be_bytes());
    stream.write_all(&request).await?;
    let [version, reply, _, kind] = read(stream).await?;
    if version != VERSION {
        return Err(SocksError::NotSocks);
    }
    if reply != SUCCESS {
        return Err(SocksError::Refused(reply));
    }
    // The address that the proxy connects from is not needed.
    let bytes = match kind {
        IPV4 => 4,
        IPV6 => 16,
        NAME => usize::from(read::<1>(stream).await?[0]),
        _ => return Err(SocksError::NotSocks),
    };
    let mut address_and_port = vec![0; bytes + 2];
    stream.read_exact(&mut address_and_port).await?;
    Ok(())
}

async fn authenticate<S>(stream: &mut S, user: &str, password: &str) -> Result<(), SocksError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut request = vec![PASSWORD_VERSION];
    push(&mut request, user)?;
    push(&mut request, password)?;
    stream.write_all(&request).await?;
    match read(stream).await? {
        [PASSWORD_VERSION, SUCCESS] => Ok(()),
        [PASSWORD_VERSION, _] => Err(SocksError::Unauthorized),
        _ => Err(SocksError::NotSocks),
    }
}

/// Appends a text, preceded by its length.
fn push(request: &mut Vec<u8>, text: &str) -> Result<(), SocksError> {
    request.push(u8::try_from(text.len()).map_err(|_| SocksError::TooLong)?);
    request.extend(text.as_bytes());
    Ok(())
}

async fn read<const N: usize>(
    stream: &mut (impl AsyncRead + Unpin),
) -> Result<[u8; N], SocksError> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes)
}
