//! IAX2 (RFC 5456) as two hosts would send it.
//!
//! Not here: reading IAX2, and the hosts' acknowledgements unless a test writes them.

use crate::wire::Frame;
use std::net::SocketAddr;

/// Nanoseconds in a millisecond.
const MS: u64 = 1_000_000;
/// Milliseconds in a voice packet.
pub const PACKET_MS: u32 = 20;

/// What a full frame is.
#[derive(Clone, Copy, Debug)]
pub enum What {
    /// IAX2's own, with its number.
    Iax(u8),
    /// Ringing, answer and the like.
    Control(u8),
    /// A key.
    Dtmf(u8),
    /// Sound in this format; written with the C bit.
    Voice(u64),
    /// Silence from here on.
    ComfortNoise,
}

/// Frames with their capture time in nanoseconds.
pub type Frames = Vec<(u64, Vec<u8>)>;

/// One call between two hosts.
#[derive(Clone, Debug)]
pub struct Line {
    /// Caller and callee.
    pub hosts: [SocketAddr; 2],
    /// Their numbers of the call.
    pub numbers: [u16; 2],
    /// When it began, in nanoseconds since 1970.
    pub begun: u64,
    sent: [u8; 2],
}

impl Line {
    /// A call that begins at `begun`.
    #[must_use]
    pub const fn new(hosts: [SocketAddr; 2], numbers: [u16; 2], begun: u64) -> Self {
        Self { hosts, numbers, begun, sent: [0, 0] }
    }

    /// A full frame of `side` (0 is the caller), `ms` after the call began.
    pub fn full(&mut self, side: usize, ms: u32, what: What, data: &[u8]) -> (u64, Vec<u8>) {
        let (kind, subclass) = match what {
            What::Dtmf(key) => (1, key),
            What::Voice(format) => (2, 0x80 | u8::try_from(format.trailing_zeros()).unwrap_or(0)),
            What::Control(number) => (4, number),
            What::Iax(number) => (6, number),
            What::ComfortNoise => (10, 0),
        };
        let new = matches!(what, What::Iax(1));
        let mine = self.numbers.get(side).copied().unwrap_or(0) | 0x8000;
        let theirs = if new { 0 } else { self.numbers.get(1 - side).copied().unwrap_or(0) };
        let received = self.sent.get(1 - side).copied().unwrap_or(0);
        let sent = self.sent.get_mut(side).map_or(0, |sent| {
            let number = *sent;
            // ACK repeats the next number.
            *sent = sent.wrapping_add(u8::from(!matches!(what, What::Iax(4))));
            number
        });
        let mut bytes = [mine.to_be_bytes(), theirs.to_be_bytes()].concat();
        bytes.extend(ms.to_be_bytes());
        bytes.extend([sent, received, kind, subclass]);
        bytes.extend(data);
        self.frame(side, ms, &bytes)
    }

    /// A mini frame.
    #[must_use]
    pub fn mini(&self, side: usize, ms: u32, data: &[u8]) -> (u64, Vec<u8>) {
        let mut bytes = self.numbers.get(side).copied().unwrap_or(0).to_be_bytes().to_vec();
        bytes.extend(half(ms));
        bytes.extend(data);
        self.frame(side, ms, &bytes)
    }

    /// Any datagram of `side`.
    #[must_use]
    pub fn frame(&self, side: usize, ms: u32, bytes: &[u8]) -> (u64, Vec<u8>) {
        let [a, b] = self.hosts;
        let (from, to) = if side == 0 { (a, b) } else { (b, a) };
        (self.begun + u64::from(ms) * MS, Frame::udp(&[], from, to, bytes).into_bytes())
    }

    /// NEW, ACCEPT, RINGING and ANSWER within the first 30 ms.
    pub fn up(&mut self, calling: &str, called: &str, format: u64) -> Frames {
        let new = elements(calling, called, format);
        let format = format_element(format);
        vec![
            self.full(0, 3, What::Iax(1), &new),
            self.full(1, 5, What::Iax(7), &format),
            self.full(0, 6, What::Iax(4), &[]),
            self.full(1, 10, What::Control(3), &[]),
            self.full(1, 30, What::Control(4), &[]),
        ]
    }

    /// HANGUP by `side`.
    pub fn down(&mut self, side: usize, ms: u32) -> (u64, Vec<u8>) {
        self.full(side, ms, What::Iax(5), &[42, 1, 16])
    }

    /// Mu-law voice of `side` in packets of 20 ms: the first of every 65.5 seconds in a full frame.
    pub fn voice(&mut self, side: usize, from_ms: u32, packets: u32) -> Frames {
        let mut high = None;
        let times = (0..packets).map(|n| from_ms + n * PACKET_MS);
        times
            .map(|ms| {
                let data = sound(side, ms - from_ms);
                if high.replace(ms >> 16) == Some(ms >> 16) {
                    self.mini(side, ms, &data)
                } else {
                    self.full(side, ms, What::Voice(4), &data)
                }
            })
            .collect()
    }
}

/// A trunk frame's bytes at `time` of the trunk's clock; with the packets' own times or without.
#[must_use]
pub fn trunk(time: u32, timed: bool, packets: &[(u16, u32, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 1, u8::from(timed)];
    bytes.extend(time.to_be_bytes());
    for (number, ms, data) in packets {
        let length = u16::try_from(data.len()).unwrap_or(u16::MAX).to_be_bytes();
        if timed {
            bytes.extend(length);
            bytes.extend(number.to_be_bytes());
            bytes.extend(half(*ms));
        } else {
            bytes.extend(number.to_be_bytes());
            bytes.extend(length);
        }
        bytes.extend(data);
    }
    bytes
}

/// One information element.
#[must_use]
pub fn element(kind: u8, value: &[u8]) -> Vec<u8> {
    let length = u8::try_from(value.len()).unwrap_or(u8::MAX);
    [&[kind, length], value].concat()
}

/// What NEW says.
#[must_use]
pub fn elements(calling: &str, called: &str, format: u64) -> Vec<u8> {
    [
        element(11, &[0, 2]),
        element(1, called.as_bytes()),
        element(2, calling.as_bytes()),
        element(10, b"default"),
        format_element(format),
    ]
    .concat()
}

fn format_element(format: u64) -> Vec<u8> {
    let [_, _, _, _, low @ ..] = format.to_be_bytes();
    element(9, &low)
}

/// 20 ms of mu-law of `side`, `ms` after it began to speak: each octet says where it belongs.
#[must_use]
pub fn sound(side: usize, ms: u32) -> Vec<u8> {
    (0..8 * PACKET_MS).map(|n| code(side, ms * 8 + n)).collect()
}

/// The codeword of sample `n` of `side`.
#[must_use]
pub fn code(side: usize, n: u32) -> u8 {
    let [.., low] = (n.wrapping_mul(2_654_435_761) >> 13).to_be_bytes();
    if side == 0 { low } else { !low.rotate_left(3) }
}

const fn half(ms: u32) -> [u8; 2] {
    let [_, _, high, low] = ms.to_be_bytes();
    [high, low]
}
