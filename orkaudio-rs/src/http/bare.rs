//! HTTP over the bare stream, for the doors whose answers hyper cannot be made to write: neither a length
//! nor chunks.

use crate::gate::{Denied, Stream};
use orkbase::message::{Pairs, url};
use std::io;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Longest head of a request that is looked at.
pub(crate) const MAX_HEAD: usize = 16 << 10;

/// Reads on until the request is `enough`, has ended, or is longer than is looked at.
///
/// # Errors
/// The connection broke.
pub(crate) async fn read_until(
    stream: &mut Stream,
    request: &mut Vec<u8>,
    enough: impl Fn(&[u8]) -> bool,
) -> io::Result<()> {
    let mut piece = [0; 2048];
    while request.len() < MAX_HEAD && !enough(request) {
        let length = stream.read(&mut piece).await?;
        if length == 0 {
            break;
        }
        request.extend(piece.iter().take(length));
    }
    Ok(())
}

/// How long the head is, its empty line included, if it has come.
pub(crate) fn head_end(request: &[u8]) -> Option<usize> {
    let crlf = request.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4);
    let lf = request.windows(2).position(|two| two == b"\n\n").map(|at| at + 2);
    crlf.into_iter().chain(lf).min()
}

/// The first line of a request.
#[derive(Debug, Default)]
pub(crate) struct Line<'a> {
    pub(crate) method: &'a [u8],
    pub(crate) path: &'a [u8],
    /// Empty if it was too long.
    pub(crate) query: Pairs,
}

impl<'a> Line<'a> {
    pub(crate) fn read(request: &'a [u8]) -> Self {
        let line = request.split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default();
        let mut words =
            line.split(|byte| byte.is_ascii_whitespace()).filter(|word| !word.is_empty());
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let mut parts = target.splitn(2, |byte| *byte == b'?');
        let (path, query) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        Self { method, path, query: url::decode(query).unwrap_or_default() }
    }
}

/// An answer that is whole.
pub(crate) fn answer(status: &str, kind: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
    .into_bytes()
}

/// Why somebody may not.
pub(crate) fn denial(why: Denied) -> Vec<u8> {
    let status = match why {
        Denied::Unknown => "401 Unauthorized\r\nWWW-Authenticate: Bearer",
        Denied::Missing(_) | Denied::Page => "403 Forbidden",
    };
    answer(status, "text/plain; charset=utf-8", &format!("{why}\n"))
}

/// Sends an answer, then waits until the client has closed: closing over unread bytes is a reset, which can
/// overtake the answer.
///
/// # Errors
/// The connection broke.
pub(crate) async fn close_with(stream: &mut Stream, answer: &[u8]) -> io::Result<()> {
    stream.write_all(answer).await?;
    stream.shutdown().await?;
    let mut piece = [0; 2048];
    while stream.read(&mut piece).await? > 0 {}
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_as_far_as_it_goes() {
        let line = Line::read(b"GET  /calls?a=1&a=2&b=%41 HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_eq!((line.method, line.path), (&b"GET"[..], &b"/calls"[..]));
        assert_eq!((line.query.first("a"), line.query.first("b")), (Some("1"), Some("A")));
        for odd in [&b""[..], b"\r\n", b"GET", b"x HTTP\n"] {
            assert_eq!(Line::read(odd).query.iter().count(), 0);
        }
        assert_eq!(head_end(b"GET / HTTP/1.1\r\nA: b\r\n\r\nmore"), Some(24));
        assert_eq!((head_end(b"x\n\nyy\r\n\r\n"), head_end(b"GET /")), (Some(3), None));
    }
}
