//! H.323 messages as a terminal would send them: H.225.0 in Q.931 in TPKT, and H.245.
//!
//! Not here: reading them, RAS, and every field that a terminal may leave out.

use std::net::{IpAddr, SocketAddr};

/// Q.931 message types.
pub mod kind {
    /// ALERTING
    pub const ALERTING: u8 = 0x01;
    /// SETUP
    pub const SETUP: u8 = 0x05;
    /// CONNECT
    pub const CONNECT: u8 = 0x07;
    /// RELEASE COMPLETE
    pub const RELEASE_COMPLETE: u8 = 0x5A;
    /// FACILITY
    pub const FACILITY: u8 = 0x62;
}

/// Aligned PER, written.
#[derive(Clone, Debug, Default)]
struct Bits {
    bytes: Vec<u8>,
    used: u32,
}

impl Bits {
    /// The lowest `count` bits of `value`.
    fn bits(mut self, value: u32, count: u32) -> Self {
        for n in (0..count).rev() {
            if self.used.is_multiple_of(8) {
                self.bytes.push(0);
            }
            let bit = u8::from(value >> n & 1 == 1) << (7 - self.used % 8);
            if let Some(last) = self.bytes.last_mut() {
                *last |= bit;
            }
            self.used += 1;
        }
        self
    }

    /// From the next whole octet on.
    fn octets(mut self, octets: &[u8]) -> Self {
        self.bytes.extend(octets);
        self.used = u32::try_from(self.bytes.len() * 8).unwrap_or(0);
        self
    }

    fn length(self, length: usize) -> Self {
        let length = u16::try_from(length).unwrap_or(0);
        let [high, low] = length.to_be_bytes();
        if length < 128 { self.octets(&[low]) } else { self.octets(&[high | 0x80, low]) }
    }

    fn open(self, value: &[u8]) -> Self {
        self.length(value.len()).octets(value)
    }

    fn list(self, values: &[Vec<u8>]) -> Self {
        values.iter().fold(self.length(values.len()), |bits, value| bits.open(value))
    }

    fn address(self, address: SocketAddr) -> Self {
        let IpAddr::V4(v4) = address.ip() else { return self };
        self.octets(&v4.octets()).octets(&address.port().to_be_bytes())
    }

    /// The value that an alternative beyond the root has.
    fn extension(self, number: u32, value: &[u8]) -> Self {
        self.bits(1, 1).bits(number, 7).open(value)
    }

    /// The additions to a sequence that said it has some.
    fn additions(mut self, values: &[(u32, Vec<u8>)]) -> Self {
        let count = values.iter().map(|(number, _)| number + 1).max().unwrap_or(1);
        self = self.bits(count - 1, 7);
        for number in 0..count {
            self = self.bits(u32::from(values.iter().any(|(known, _)| *known == number)), 1);
        }
        values.iter().fold(self, |bits, (_, value)| bits.open(value))
    }

    /// A terminal that says nothing of itself.
    fn endpoint(self) -> Self {
        self.bits(1, 7).bits(0, 4)
    }
}

/// Everything a message of this file may say.
#[derive(Clone, Debug, Default)]
pub struct Says {
    /// Sent by the side that was called.
    pub by_callee: bool,
    /// Number of the call on its connection.
    pub reference: u16,
    /// Calling and called number; empty when not sent.
    pub numbers: [&'static str; 2],
    /// The calling side's alias, in SETUP.
    pub alias: &'static str,
    /// The call's identifier; all zero when not sent.
    pub identifier: [u8; 16],
    /// Where H.245 is spoken, if it is on a connection of its own.
    pub control: Option<SocketAddr>,
    /// Fast connect.
    pub fast: Vec<Vec<u8>>,
    /// Tunnelled H.245.
    pub tunnelled: Vec<Vec<u8>>,
    /// Why it was released.
    pub cause: Option<u8>,
}

/// One message, in TPKT.
#[must_use]
pub fn message(kind: u8, says: &Says) -> Vec<u8> {
    let mut bytes = vec![8, 2];
    bytes.extend((says.reference | if says.by_callee { 0x8000 } else { 0 }).to_be_bytes());
    bytes.push(kind);
    let mut element = |number: u8, head: &[u8], text: &[u8]| {
        let length = u8::try_from(head.len() + text.len()).unwrap_or(0);
        bytes.extend([number, length]);
        bytes.extend(head);
        bytes.extend(text);
    };
    if let Some(cause) = says.cause {
        element(0x08, &[0x80, 0x80 | cause], &[]);
    }
    let [calling, called] = says.numbers;
    if !calling.is_empty() {
        element(0x6C, &[0x00, 0x80], calling.as_bytes());
    }
    if !called.is_empty() {
        element(0x70, &[0x81], called.as_bytes());
    }
    let user = user(kind, says);
    bytes.push(0x7E);
    bytes.extend(u16::try_from(user.len() + 1).unwrap_or(0).to_be_bytes());
    bytes.push(5);
    bytes.extend(user);
    tpkt(&bytes)
}

/// A message of H.245 or Q.931, as it stands on a connection.
#[must_use]
pub fn tpkt(message: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(message.len() + 4).unwrap_or(0).to_be_bytes();
    [&[3, 0, high, low], message].concat()
}

fn user(kind: u8, says: &Says) -> Vec<u8> {
    const PROTOCOL: [u8; 6] = [0, 8, 0x91, 0x4A, 0, 4];
    let tunnel = !says.tunnelled.is_empty();
    let bits = Bits::default().bits(0, 2).bits(u32::from(tunnel), 1).bits(0, 1);
    let control = u32::from(says.control.is_some());
    let with_control = |bits: Bits| match says.control {
        Some(address) => bits.bits(0, 4).address(address),
        None => bits,
    };
    let mut added = Vec::new();
    if says.identifier != [0; 16] {
        let value = Bits::default().bits(0, 1).octets(&says.identifier).bytes;
        added.push((if kind == kind::SETUP { 2 } else { 0 }, value));
    }
    if !says.fast.is_empty() {
        let number = match kind {
            kind::SETUP => 6,
            kind::FACILITY => 7,
            _ => 4,
        };
        added.push((number, Bits::default().list(&says.fast).bytes));
    }
    let extended = u32::from(!added.is_empty());
    let body = match kind {
        kind::SETUP => {
            let alias = u32::from(!says.alias.is_empty());
            let bits = bits.bits(0, 4).bits(extended, 1).bits(control, 1).bits(alias, 1).bits(0, 5);
            let mut bits = with_control(bits.open(&PROTOCOL));
            if alias == 1 {
                let units: Vec<u8> = says.alias.encode_utf16().flat_map(u16::to_be_bytes).collect();
                let count = u8::try_from(units.len() / 2 - 1).unwrap_or(0);
                bits = bits.length(1).bits(1, 2).octets(&[count]).octets(&units);
            }
            bits.endpoint().bits(0, 1).octets(&[9; 16]).bits(0, 6)
        }
        kind::CONNECT => {
            let bits = bits.bits(2, 4).bits(extended, 1).bits(control, 1).open(&PROTOCOL);
            with_control(bits).endpoint().octets(&[9; 16])
        }
        kind::ALERTING => {
            let bits = bits.bits(3, 4).bits(extended, 1).bits(control, 1).open(&PROTOCOL);
            with_control(bits.endpoint())
        }
        kind::FACILITY => bits.bits(6, 4).bits(extended, 1).bits(0, 3).open(&PROTOCOL).bits(3, 3),
        // RELEASE COMPLETE
        _ => bits.bits(5, 4).bits(extended, 1).bits(0, 1).open(&PROTOCOL),
    };
    let body = if added.is_empty() { body } else { body.additions(&added) };
    if !tunnel {
        return body.bytes;
    }
    let control = Bits::default().list(&says.tunnelled).bytes;
    body.additions(&[(1, vec![0x80]), (2, control)]).bytes
}

/// Mu-law from caller to callee, in fast connect: where the callee listens, once it has said so.
#[must_use]
pub fn forward(number: u16, callee: Option<SocketAddr>) -> Vec<u8> {
    let bits = Bits::default().bits(0, 2).octets(&(number - 1).to_be_bytes()).bits(0, 2);
    audio(bits).extension(0, &parameters(callee)).bytes
}

/// Mu-law from callee to caller, in fast connect: where the caller listens.
#[must_use]
pub fn reverse(number: u16, caller: SocketAddr) -> Vec<u8> {
    let bits = Bits::default().bits(1, 2).octets(&(number - 1).to_be_bytes()).bits(0, 2);
    // No data, no parameters forward.
    let bits = bits.bits(1, 4).extension(1, &[0]).bits(1, 2);
    audio(bits).extension(0, &parameters(Some(caller))).bytes
}

/// H.245 `OpenLogicalChannel` for mu-law.
#[must_use]
pub fn open(number: u16) -> Vec<u8> {
    let bits = Bits::default().bits(0, 3).bits(3, 5).bits(0, 2);
    let bits = bits.octets(&(number - 1).to_be_bytes()).bits(0, 2);
    audio(bits).extension(0, &parameters(None)).bytes
}

/// H.245 `OpenLogicalChannelAck`: where it is to be sent to.
#[must_use]
pub fn opened(number: u16, listener: SocketAddr) -> Vec<u8> {
    let bits = Bits::default().bits(1, 3).bits(5, 6).bits(2, 2);
    let bits = bits.octets(&(number - 1).to_be_bytes());
    let acknowledged = Bits::default().bits(0, 1).bits(0b00_1100, 6).bits(1, 8).bits(0, 7);
    bits.additions(&[(1, acknowledged.address(listener).bytes)]).bytes
}

/// H.245 `UserInputIndication` with its key's time.
#[must_use]
pub fn key(key: u8) -> Vec<u8> {
    let signal = Bits::default().bits(0, 3).bits(u32::from(key), 8).bytes;
    Bits::default().bits(3, 3).bits(13, 5).extension(1, &signal).bytes
}

/// Mu-law, 20 frames in a packet.
fn audio(bits: Bits) -> Bits {
    bits.bits(3, 4).bits(3, 5).octets(&[19])
}

/// `H2250LogicalChannelParameters` of session 1.
fn parameters(media: Option<SocketAddr>) -> Vec<u8> {
    let bits =
        Bits::default().bits(0, 3).bits(u32::from(media.is_some()), 1).bits(0, 7).octets(&[1]);
    match media {
        Some(address) => bits.bits(0, 7).address(address).bytes,
        None => bits.bytes,
    }
}
