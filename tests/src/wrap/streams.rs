//! SIP moved from UDP to TCP and WebSocket. Media stays where it is.

use super::{Capture, Captured, datagram, number};
use crate::wire;
use std::{collections::BTreeMap, net::SocketAddr};

const SYN: u8 = 0x02;
const ACK: u8 = 0x10;
const DATA: u8 = 0x18;
/// First data byte of either direction; wraps within the first message.
const FIRST: u32 = 0xffff_ff80;

/// One TCP connection, whose caller is whoever speaks first.
pub(super) struct Connection {
    ends: [SocketAddr; 2],
    next: [u32; 2],
}

impl Connection {
    /// A connection and the three segments that open it.
    pub(super) fn open(client: SocketAddr, server: SocketAddr) -> (Self, Vec<Vec<u8>>) {
        let connection = Self { ends: [client, server], next: [FIRST, FIRST] };
        let syn = FIRST.wrapping_sub(1);
        let frames = vec![
            wire::tcp(client, server, [syn, 0], SYN, &[]),
            wire::tcp(server, client, [syn, FIRST], SYN | ACK, &[]),
            wire::tcp(client, server, [FIRST, FIRST], ACK, &[]),
        ];
        (connection, frames)
    }

    fn side(&self, source: SocketAddr) -> usize {
        usize::from(self.ends[0] != source)
    }

    /// A segment of what `side` sends, `offset` bytes ahead of what was sent so far.
    fn segment(&self, side: usize, offset: usize, bytes: &[u8]) -> Vec<u8> {
        let [mine, other] = if side == 0 { self.next } else { [self.next[1], self.next[0]] };
        let [from, to] = if side == 0 { self.ends } else { [self.ends[1], self.ends[0]] };
        let offset = u32::try_from(offset).unwrap_or(0);
        wire::tcp(from, to, [mine.wrapping_add(offset), other], DATA, bytes)
    }

    fn sent(&mut self, side: usize, bytes: usize) {
        if let Some(next) = self.next.get_mut(side) {
            *next = next.wrapping_add(u32::try_from(bytes).unwrap_or(0));
        }
    }

    /// The client sends these bytes in segments of `size`.
    pub(super) fn send(&mut self, bytes: &[u8], size: usize) -> Vec<Vec<u8>> {
        let segments = bytes.chunks(size).enumerate();
        let segments = segments.map(|(n, part)| self.segment(0, n * size, part)).collect();
        self.sent(0, bytes.len());
        segments
    }
}

#[derive(Clone, Copy)]
enum Way {
    Plain,
    Split(usize),
    Reorder,
    Repeat,
    Merge,
}

impl Way {
    fn read(value: Option<&str>) -> Result<Self, String> {
        match value.map(|value| value.split_once(':').unwrap_or((value, ""))) {
            None => Ok(Self::Plain),
            Some(("split", at)) => Ok(Self::Split(number(at)?)),
            Some(("reorder", _)) => Ok(Self::Reorder),
            Some(("repeat", _)) => Ok(Self::Repeat),
            Some(("merge", _)) => Ok(Self::Merge),
            Some(_) => Err("want split:N, reorder, repeat or merge".to_owned()),
        }
    }

    /// The segments in which `message` is sent, by offset, and how many bytes that was.
    fn segments(self, message: &[u8]) -> (Vec<(usize, Vec<u8>)>, usize) {
        let end = message.len();
        let part = |from: usize, to: usize| {
            (from, message.get(from..to.min(end)).unwrap_or_default().to_vec())
        };
        let third = end / 3;
        let parts = match self {
            Self::Plain => vec![part(0, end)],
            Self::Split(at) if at < end => vec![part(0, at), part(at, end)],
            Self::Split(_) => vec![part(0, end)],
            Self::Reorder => vec![part(2 * third, end), part(third, 2 * third), part(0, third)],
            // Its first third, that and more, the second again, everything, everything.
            Self::Repeat => vec![
                part(0, third),
                part(0, 2 * third),
                part(third, 2 * third),
                part(0, end),
                part(0, end),
            ],
            Self::Merge => {
                let whole = [b"\r\n\r\n", OTHER, message, OTHER].concat();
                return (vec![(0, whole.clone())], whole.len());
            }
        };
        (parts, end)
    }
}

/// A message that says nothing of the call.
const OTHER: &[u8] =
    b"OPTIONS sip:probe@192.0.2.9 SIP/2.0\r\nVia: SIP/2.0/TCP 192.0.2.9;branch=z9hG4bKo\r\n\
    From: <sip:probe@192.0.2.9>;tag=o\r\nTo: <sip:probe@192.0.2.9>\r\nCall-ID: probe\r\n\
    CSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n";

pub(super) fn tcp(capture: &mut Capture, value: Option<&str>) -> Result<(), String> {
    let way = Way::read(value)?;
    moved(capture, |_, _, message| message.to_vec(), way, &[])
}

const UPGRADE: [&[u8]; 2] = [
    b"GET /ws HTTP/1.1\r\nHost: pbx\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
      Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
      Sec-WebSocket-Protocol: sip\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
      Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: sip\r\n\r\n",
];

pub(super) fn websocket(capture: &mut Capture, value: Option<&str>) -> Result<(), String> {
    let masked = match value {
        None => [true, false],
        Some("masked") => [true, true],
        Some("unmasked") => [false, false],
        Some(_) => return Err("want masked or unmasked".to_owned()),
    };
    let framed = |side: usize, number: u8, message: &[u8]| {
        let mask = masked.get(side).copied().unwrap_or(false);
        let bit = if mask { 0x80 } else { 0 };
        let mut out = vec![0x81];
        match u16::try_from(message.len()) {
            Ok(short @ 0..126) => out.push(bit | u8::try_from(short).unwrap_or(0)),
            Ok(long) => {
                out.push(bit | 126);
                out.extend(long.to_be_bytes());
            }
            Err(_) => {
                out.push(bit | 127);
                out.extend(u64::try_from(message.len()).unwrap_or(0).to_be_bytes());
            }
        }
        let key = [number, 0x5a, 0xa5, 0x3c];
        if mask {
            out.extend(key);
            out.extend(message.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
        } else {
            out.extend(message);
        }
        out
    };
    moved(capture, framed, Way::Plain, &UPGRADE)
}

/// Puts SIP over TCP: `shape` makes a message what is sent; `before` is said first, in turn.
fn moved(
    capture: &mut Capture,
    shape: impl Fn(usize, u8, &[u8]) -> Vec<u8>,
    way: Way,
    before: &[&[u8]],
) -> Result<(), String> {
    let mut connections: BTreeMap<[SocketAddr; 2], Connection> = BTreeMap::new();
    let mut count = 0_u8;
    capture.instead(|Captured { bytes, .. }| {
        let Some((datagram, message)) =
            datagram(bytes)?.and_then(|datagram| Some((datagram, datagram.sip()?)))
        else {
            return Ok(vec![bytes.clone()]);
        };
        let mut ends = [datagram.source, datagram.destination];
        ends.sort();
        let mut frames = Vec::new();
        let connection = connections.entry(ends).or_insert_with(|| {
            let (mut connection, opening) = Connection::open(datagram.source, datagram.destination);
            frames.extend(opening);
            for (side, said) in before.iter().enumerate() {
                frames.push(connection.segment(side, 0, said));
                connection.sent(side, said.len());
            }
            connection
        });
        count = count.wrapping_add(1);
        let side = connection.side(datagram.source);
        let (segments, length) = way.segments(&shape(side, count, message));
        frames.extend(segments.iter().map(|(at, part)| connection.segment(side, *at, part)));
        connection.sent(side, length);
        Ok(frames)
    })
}
