//! The Skinny messages that tell of calls and media, read from borrowed bytes.
//!
//! Layouts: Cisco changed `StartMediaTransmission` and `OpenReceiveChannelAck` with call manager 7.1,
//! which put an address kind (0: IPv4, 1: IPv6) and 16 bytes of address where 4 had been. Read as a
//! number, no address of a phone is 0 or 1, so the bytes themselves say which layout they have.
//! `CallInfoV2` has one more number from protocol 17 on.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Length, version and type.
const HEADER_BYTES: usize = 12;
/// Numbers and names are cut to this many bytes; the protocol allows 121.
const TEXT_BYTES: usize = 128;
/// Texts read of a `CallInfoV2`; the protocol has 15.
const MAX_TEXTS: usize = 20;
/// Since this protocol the second number is another calling one.
const VERSION_ALTERNATE: u32 = 17;

/// What a message says. Numbers that name calls are the call manager's; 0 when not stated.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Message {
    /// Who takes part in a call of this phone.
    CallInfo(CallInfo),
    /// A call of this phone has reached a state.
    CallState {
        /// The state.
        state: CallState,
        /// Line of the phone.
        line: u32,
        /// The call.
        call: u32,
    },
    /// The number of a line.
    LineStat {
        /// The line.
        line: u32,
        /// Its number.
        number: String,
    },
    /// The user pressed a key about a call.
    SoftKeyEvent {
        /// The call.
        call: u32,
    },
    /// The phone is told to listen.
    OpenReceiveChannel {
        /// What for, and with which codec.
        channel: Channel,
    },
    /// The phone listens.
    OpenReceiveChannelAck {
        /// The call.
        call: u32,
        /// Where.
        address: SocketAddr,
    },
    /// The phone is told to send.
    StartMediaTransmission {
        /// What for, and with which codec.
        channel: Channel,
        /// Where to.
        address: SocketAddr,
        /// With SRTP.
        encrypted: bool,
    },
    /// Sending or listening is over; the call may go on (`StopMediaTransmission`,
    /// `CloseReceiveChannel`).
    MediaClosed,
}

/// One direction of media.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Channel {
    /// The conference, nearly always of the number of the call.
    pub conference: u32,
    /// The call; another than the conference's for a copy sent to a recorder.
    pub call: u32,
    /// Cisco's number of the codec.
    pub codec: u32,
    /// Stated in the layout of call manager 7.1, where `call` is reliable.
    pub modern: bool,
}

/// Who takes part.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct CallInfo {
    /// Line of the phone.
    pub line: u32,
    /// The call.
    pub call: u32,
    /// Who called whom, as the phone sees it.
    pub kind: CallType,
    /// Who calls.
    pub calling: Party,
    /// Who is called.
    pub called: Party,
    /// Who was called at first; empty when not stated.
    pub original: Party,
}

/// A number and a name; either may be empty.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Party {
    /// Number as dialled.
    pub number: String,
    /// Display name.
    pub name: String,
}

/// Direction of a call, as its phone sees it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum CallType {
    /// The phone is called.
    Inbound,
    /// The phone calls.
    Outbound,
    /// Another phone was called, and the call came here.
    Forwarded,
    /// Not stated.
    #[default]
    Unknown,
}

/// State of a call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CallState {
    /// The receiver was lifted.
    OffHook,
    /// It was put down: the call is over for this phone.
    OnHook,
    /// The other phone rings.
    RingOut,
    /// This phone rings.
    RingIn,
    /// They talk.
    Connected,
    /// The phone holds the call.
    Hold,
    /// The number is complete.
    Proceed,
    /// A state that tells nothing about media.
    Other(u32),
}

impl Message {
    /// Reads a framed message; `None` for what tells nothing of calls, and for what breaks its
    /// layout.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let (header, body) = bytes.split_at_checked(HEADER_BYTES)?;
        let (version, kind) = (Fields(header).word(4)?, Fields(header).word(8)?);
        let fields = Fields(body);
        match kind {
            0x22 => fields.receive_channel_ack(),
            0x26 => Some(Self::SoftKeyEvent { call: fields.word(8)? }),
            0x8A => fields.start_media(),
            0x8B | 0x106 => Some(Self::MediaClosed),
            0x8F => fields.call_info(),
            0x92 => Some(Self::LineStat { line: fields.word(0)?, number: fields.number(4, 24)? }),
            0x105 => Some(Self::OpenReceiveChannel {
                channel: Channel {
                    conference: fields.word(0)?,
                    codec: fields.word(12)?,
                    call: fields.word(24).unwrap_or(0),
                    modern: false,
                },
            }),
            0x111 => Some(Self::CallState {
                state: CallState::read(fields.word(0)?),
                line: fields.word(4)?,
                call: fields.word(8)?,
            }),
            0x14A => fields.call_info_v2(version),
            _ => None,
        }
    }

    /// The phone said it, not the call manager.
    #[must_use]
    pub const fn is_from_phone(&self) -> bool {
        matches!(self, Self::SoftKeyEvent { .. } | Self::OpenReceiveChannelAck { .. })
    }
}

impl CallState {
    const fn read(value: u32) -> Self {
        match value {
            1 => Self::OffHook,
            2 => Self::OnHook,
            3 => Self::RingOut,
            4 => Self::RingIn,
            5 => Self::Connected,
            8 => Self::Hold,
            12 => Self::Proceed,
            other => Self::Other(other),
        }
    }
}

impl CallType {
    const fn read(value: u32) -> Self {
        match value {
            1 => Self::Inbound,
            2 => Self::Outbound,
            3 => Self::Forwarded,
            _ => Self::Unknown,
        }
    }
}

/// What follows the header.
#[derive(Clone, Copy)]
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn word(self, at: usize) -> Option<u32> {
        Some(u32::from_le_bytes(*self.0.get(at..)?.first_chunk()?))
    }

    /// The layout of call manager 7.1, known by the address kind where the address once was.
    fn is_modern(self, at: usize) -> Option<bool> {
        Some(self.word(at)? <= 1)
    }

    fn v4(self, at: usize) -> Option<IpAddr> {
        let bytes: [u8; 4] = *self.0.get(at..)?.first_chunk()?;
        Some(IpAddr::V4(Ipv4Addr::from(bytes)))
    }

    /// Kind and 16 bytes.
    fn modern_address(self, at: usize) -> Option<IpAddr> {
        if self.word(at)? == 0 {
            return self.v4(at + 4);
        }
        let bytes: [u8; 16] = *self.0.get(at + 4..)?.first_chunk()?;
        Some(IpAddr::V6(Ipv6Addr::from(bytes)))
    }

    fn port(self, at: usize) -> Option<u16> {
        u16::try_from(self.word(at)?).ok().filter(|port| *port != 0)
    }

    fn receive_channel_ack(self) -> Option<Message> {
        // Anything but 0 says that the phone could not.
        if self.word(0)? != 0 {
            return None;
        }
        let (address, port, call) = if self.is_modern(4)? {
            (self.modern_address(4)?, self.port(24)?, self.word(32))
        } else {
            (self.v4(4)?, self.port(8)?, self.word(16))
        };
        let address = SocketAddr::new(address, port);
        Some(Message::OpenReceiveChannelAck { call: call.unwrap_or(0), address })
    }

    fn start_media(self) -> Option<Message> {
        let modern = self.is_modern(8)?;
        // Then: milliseconds, codec, precedence, silence, frames, G.723 rate, call, encryption.
        let (address, at) = if modern { (self.modern_address(8)?, 28) } else { (self.v4(8)?, 12) };
        let channel = Channel {
            conference: self.word(0)?,
            codec: self.word(at + 8)?,
            call: self.word(at + 28).unwrap_or(0),
            modern,
        };
        let encrypted = self.word(at + 32).is_some_and(|algorithm| algorithm != 0);
        let address = SocketAddr::new(address, self.port(at)?);
        Some(Message::StartMediaTransmission { channel, address, encrypted })
    }

    fn call_info(self) -> Option<Message> {
        let party =
            |at| Some(Party { name: self.name(at, 40)?, number: self.number(at + 40, 24)? });
        Some(Message::CallInfo(CallInfo {
            calling: party(0)?,
            called: party(64)?,
            line: self.word(128)?,
            call: self.word(132)?,
            kind: CallType::read(self.word(136)?),
            original: party(140).unwrap_or_default(),
        }))
    }

    /// Eight words, then texts that end with NUL: calling, (another calling,) called, originally
    /// called, last redirecting, four voice mailboxes, and the names of the same four.
    fn call_info_v2(self, version: u32) -> Option<Message> {
        let texts: Vec<&[u8]> = self.0.get(32..)?.split(|b| *b == 0).take(MAX_TEXTS).collect();
        let shift = usize::from(version >= VERSION_ALTERNATE);
        let text = |index: usize| texts.get(index).copied().unwrap_or_default();
        let party = |number: usize, name: usize| {
            Some(Party { number: digits(text(number))?, name: words(text(name)) })
        };
        Some(Message::CallInfo(CallInfo {
            line: self.word(0)?,
            call: self.word(4)?,
            kind: CallType::read(self.word(8)?),
            calling: party(0, 8 + shift)?,
            called: party(1 + shift, 9 + shift)?,
            original: party(2 + shift, 10 + shift)?,
        }))
    }

    /// A text of fixed room, which must end with NUL inside it.
    fn fixed(&self, at: usize, room: usize) -> Option<&[u8]> {
        let field = self.0.get(at..at + room)?;
        let end = field.iter().position(|b| *b == 0)?;
        field.get(..end)
    }

    fn number(self, at: usize, room: usize) -> Option<String> {
        digits(self.fixed(at, room)?)
    }

    fn name(self, at: usize, room: usize) -> Option<String> {
        self.fixed(at, room).map(words)
    }
}

/// A number; `None` when it holds what no number can: then the layout is another one.
fn digits(bytes: &[u8]) -> Option<String> {
    let bytes = bytes.get(..TEXT_BYTES).unwrap_or(bytes);
    let printable = bytes.iter().all(|b| (b' '..=b'~').contains(b));
    printable.then(|| String::from_utf8_lossy(bytes).trim().to_owned())
}

/// A name: UTF-8, else Latin-1 as old phones have it.
fn words(bytes: &[u8]) -> String {
    let bytes = bytes.get(..TEXT_BYTES).unwrap_or(bytes);
    let text = std::str::from_utf8(bytes)
        .map_or_else(|_| bytes.iter().copied().map(char::from).collect(), str::to_owned);
    text.chars().filter(|c| !c.is_control()).collect::<String>().trim().to_owned()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(in super::super) fn framed(version: u32, kind: u32, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 4).unwrap();
        [words_le(&[length, version, kind]), body.to_vec()].concat()
    }

    pub(in super::super) fn words_le(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    fn room(text: &str, room: usize) -> Vec<u8> {
        let mut bytes = text.as_bytes().to_vec();
        bytes.resize(room, 0);
        bytes
    }

    fn party(number: &str, name: &str) -> Party {
        Party { number: number.to_owned(), name: name.to_owned() }
    }

    #[test]
    fn start_media_is_read_in_both_layouts() {
        let old = [words_le(&[7, 8]), vec![10, 0, 0, 9], words_le(&[4000, 20, 4, 184, 0, 0, 0, 7])];
        let modern = [
            words_le(&[7, 8, 0]),
            vec![10, 0, 0, 9],
            words_le(&[0, 0, 0, 4000, 20, 4, 184, 0, 0, 0, 6, 1]),
        ];
        let read = |version, body: &[Vec<u8>]| {
            Message::read(&framed(version, 0x8A, &body.concat())).unwrap()
        };
        let address = "10.0.0.9:4000".parse().unwrap();
        let channel = Channel { conference: 7, call: 7, codec: 4, modern: false };
        assert_eq!(
            read(0, &old),
            Message::StartMediaTransmission { channel, address, encrypted: false }
        );
        let channel = Channel { call: 6, modern: true, ..channel };
        assert_eq!(
            read(0x14, &modern),
            Message::StartMediaTransmission { channel, address, encrypted: true }
        );
    }

    #[test]
    fn the_phones_address_is_read_in_both_layouts_and_in_ipv6() {
        let read = |body: &[Vec<u8>]| Message::read(&framed(0, 0x22, &body.concat()));
        let at = |address: &str, call| {
            Some(Message::OpenReceiveChannelAck { call, address: address.parse().unwrap() })
        };
        let v4 = vec![10, 0, 0, 5];
        assert_eq!(
            read(&[words_le(&[0]), v4.clone(), words_le(&[4002, 8])]),
            at("10.0.0.5:4002", 0)
        );
        let modern = [words_le(&[0, 0]), v4.clone(), words_le(&[0, 0, 0, 4002, 8, 7])];
        assert_eq!(read(&modern), at("10.0.0.5:4002", 7));
        let v6 = Ipv6Addr::LOCALHOST.octets().to_vec();
        assert_eq!(read(&[words_le(&[0, 1]), v6, words_le(&[4002, 8, 7])]), at("[::1]:4002", 7));
        assert_eq!(read(&[words_le(&[1]), v4, words_le(&[4002, 8])]), None, "the phone failed");
    }

    #[test]
    fn call_info_is_read_in_its_three_layouts() {
        let fixed = [
            room("Ann", 40),
            room("1001", 24),
            room("Bob", 40),
            room("1002", 24),
            words_le(&[1, 7, 2]),
        ];
        let expected = CallInfo {
            line: 1,
            call: 7,
            kind: CallType::Outbound,
            calling: party("1001", "Ann"),
            called: party("1002", "Bob"),
            original: Party::default(),
        };
        let read =
            |version, kind, body: &[u8]| Message::read(&framed(version, kind, body)).unwrap();
        assert_eq!(read(0, 0x8F, &fixed.concat()), Message::CallInfo(expected.clone()));

        let expected = CallInfo { original: party("1009", "Eve"), ..expected };
        let head = words_le(&[1, 7, 2, 0, 0, 1, 0, 0]);
        let texts = b"1001\x001002\x001009\0\0\0\0\0\0Ann\0Bob\0Eve\0\0";
        let five = [head.as_slice(), texts].concat();
        assert_eq!(read(0x0B, 0x14A, &five), Message::CallInfo(expected.clone()));
        let texts = b"1001\x001111\x001002\x001009\0\0\0\0\0\0Ann\0Bob\0Eve\0\0\0\0";
        let seven = [head.as_slice(), texts].concat();
        assert_eq!(read(0x14, 0x14A, &seven), Message::CallInfo(expected));
    }

    #[test]
    fn a_number_that_is_none_makes_no_message() {
        let body = [room("Ann", 40), vec![0xFF; 24], room("Bob", 40), room("1", 24), vec![0; 12]];
        assert_eq!(Message::read(&framed(0, 0x8F, &body.concat())), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_harm(
            version in 0u32..0x18,
            kind in prop_oneof![0u32..0x200, proptest::sample::select(vec![0x22u32, 0x8A, 0x8F, 0x92, 0x105, 0x111, 0x14A])],
            body in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let bytes = framed(version, kind, &body);
            for end in [bytes.len(), bytes.len() / 2] {
                if let Some(Message::CallInfo(read)) = Message::read(&bytes[..end]) {
                    prop_assert!(read.calling.name.len() <= 2 * TEXT_BYTES);
                }
            }
        }
    }
}
