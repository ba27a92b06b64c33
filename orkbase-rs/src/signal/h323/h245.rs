//! H.245 logical channels: what is sent, and where it is to be sent to.

use super::per::{Choice, Per};
use crate::signal::Format;
use std::net::SocketAddr;

/// Keys taken of one message.
const MAX_KEYS: usize = 32;

/// A message about channels.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Message {
    /// `OpenLogicalChannel`
    Open(Channel),
    /// `OpenLogicalChannelAck`
    Opened {
        /// The channel, as its opener numbered it.
        number: u16,
        /// Where the acknowledging side listens.
        media: Option<SocketAddr>,
    },
    /// `CloseLogicalChannel`
    Close(u16),
    /// `UserInputIndication`: keys.
    Keys(String),
}

/// A channel.
#[derive(Debug, Default, Eq, PartialEq)]
pub(super) struct Channel {
    /// Its opener's number of it.
    pub(super) number: u16,
    /// From the opener to the other.
    pub(super) forward: Direction,
    /// From the other to the opener.
    pub(super) reverse: Direction,
}

/// One direction of a channel.
#[derive(Debug, Default, Eq, PartialEq)]
pub(super) struct Direction {
    /// What flows.
    pub(super) data: Data,
    /// Where its receiver listens.
    pub(super) media: Option<SocketAddr>,
    /// The payload type of a dynamic codec.
    pub(super) payload_type: Option<u8>,
}

/// What flows.
#[derive(Debug, Default, Eq, PartialEq)]
pub(super) enum Data {
    /// Nothing.
    #[default]
    None,
    /// Sound; `None` when we do not know the codec.
    Audio(Option<&'static str>),
    /// Video, fax, control.
    Other,
    /// Encrypted (H.235).
    Secret,
}

/// Reads a message; `None` for all that are not about channels.
pub(super) fn read(bytes: &[u8]) -> Option<Message> {
    let mut per = Per::new(bytes);
    match per.choice(2)? {
        Choice::Root(0) => match per.choice(4)? {
            Choice::Root(3) => channel_of(&mut per).map(Message::Open),
            Choice::Root(4) => {
                per.bit()?;
                Some(Message::Close(per.word()?.wrapping_add(1)))
            }
            Choice::Root(_) | Choice::Extension(..) => None,
        },
        Choice::Root(1) => match per.choice(5)? {
            Choice::Root(5) => opened(&mut per),
            Choice::Root(_) | Choice::Extension(..) => None,
        },
        Choice::Root(3) => match per.choice(4)? {
            Choice::Root(13) => keys(&mut per),
            Choice::Root(_) | Choice::Extension(..) => None,
        },
        Choice::Root(_) | Choice::Extension(..) => None,
    }
}

/// `UserInputIndication`: one key with its time, or some as text.
fn keys(per: &mut Per<'_>) -> Option<Message> {
    let text = match per.choice(1)? {
        Choice::Root(1) => per.open()?.to_vec(),
        Choice::Extension(1, value) => {
            let mut per = Per::new(value);
            let [_, _duration, _rtp] = per.flags()?;
            vec![u8::try_from(per.bits(8)?).ok()?]
        }
        Choice::Root(_) | Choice::Extension(..) => return None,
    };
    Some(Message::Keys(only_keys(&text)))
}

/// The keys of a telephone among these octets; whatever else stands there was not pressed.
pub(super) fn only_keys(octets: &[u8]) -> String {
    let keys = octets.iter().copied().map(char::from).filter(|c| "0123456789*#ABCD".contains(*c));
    keys.take(MAX_KEYS).collect()
}

/// `NonStandardParameter` of H.245, which unlike that of H.225.0 has no room for additions.
fn parameter(per: &mut Per<'_>) -> Option<()> {
    if per.bit()? {
        per.octet()?;
        per.octet()?;
        per.word()?;
    } else {
        per.open()?;
    }
    per.open().map(drop)
}

/// An element of fast connect.
pub(super) fn channel(bytes: &[u8]) -> Option<Channel> {
    channel_of(&mut Per::new(bytes))
}

fn channel_of(per: &mut Per<'_>) -> Option<Channel> {
    let [_, reverse] = per.flags()?;
    let number = per.word()?.wrapping_add(1);
    let [extended, port] = per.flags()?;
    if port {
        per.word()?;
    }
    let mut channel = Channel { number, ..Channel::default() };
    channel.forward.data = data(per)?;
    multiplex(per, 2, &mut channel.forward)?;
    per.additions(extended)?;
    if reverse {
        let [extended, parameters] = per.flags()?;
        channel.reverse.data = data(per)?;
        if parameters {
            multiplex(per, 1, &mut channel.reverse)?;
        }
        per.additions(extended)?;
    }
    Some(channel)
}

fn opened(per: &mut Per<'_>) -> Option<Message> {
    let [extended, reverse] = per.flags()?;
    let number = per.word()?.wrapping_add(1);
    if reverse {
        let [extended, port, parameters] = per.flags()?;
        per.word()?;
        if port {
            per.word()?;
        }
        if parameters {
            // Only H.222 and H.225.0 have some, H.222 in the root.
            let Choice::Extension(..) = per.choice(0)? else { return None };
        }
        per.additions(extended)?;
    }
    let [_, acknowledged, ..] = per.additions(extended)?;
    let media = acknowledged.and_then(|value| {
        let mut per = Per::new(value);
        let Choice::Root(_) = per.choice(0)? else { return None };
        let [_, non_standard, session, media, ..] = per.flags::<6>()?;
        if non_standard {
            per.list(parameter)?;
        }
        if session {
            per.bits(8)?;
        }
        if media { address(&mut per)? } else { None }
    });
    Some(Message::Opened { number, media })
}

/// `DataType`
fn data(per: &mut Per<'_>) -> Option<Data> {
    Some(match per.choice(3)? {
        Choice::Root(1) => Data::None,
        Choice::Root(3) => Data::Audio(audio(per)?),
        // What they contain is not read: the channel ends here.
        Choice::Root(_) => return None,
        Choice::Extension(1, _) => Data::Secret,
        Choice::Extension(..) => Data::Other,
    })
}

/// `AudioCapability`: RTP's name of the codec.
fn audio(per: &mut Per<'_>) -> Option<Option<&'static str>> {
    let name = match per.choice(4)? {
        Choice::Root(0) => return parameter(per).map(|()| None),
        Choice::Root(8) => {
            per.octet()?;
            per.bit()?;
            return Some(Some("G723"));
        }
        Choice::Root(number @ (1..=7 | 9..=11)) => {
            per.octet()?;
            match number {
                1 | 2 => "PCMA",
                3 | 4 => "PCMU",
                5..=7 => "G722",
                9 => "G728",
                _ => "G729",
            }
        }
        // MPEG
        Choice::Root(_) => return None,
        Choice::Extension(0 | 1, _) => "G729",
        Choice::Extension(3, _) => "GSM",
        Choice::Extension(..) => return Some(None),
    };
    Some(Some(name))
}

/// `multiplexParameters`: only those of H.225.0 lead anywhere.
fn multiplex(per: &mut Per<'_>, width: u8, direction: &mut Direction) -> Option<()> {
    let Choice::Extension(kind, value) = per.choice(width)? else { return None };
    if kind != 0 {
        return Some(());
    }
    let mut per = Per::new(value);
    let [
        _,
        non_standard,
        associated,
        media,
        guaranteed,
        control,
        control_guaranteed,
        silence,
        label,
        dynamic,
        _,
    ] = per.flags()?;
    if non_standard {
        per.list(parameter)?;
    }
    per.octet()?;
    if associated {
        per.bits(8)?;
    }
    if media {
        direction.media = address(&mut per)?;
    }
    if guaranteed {
        per.bit()?;
    }
    if control {
        address(&mut per)?;
    }
    for _ in 0..usize::from(control_guaranteed) + usize::from(silence) {
        per.bit()?;
    }
    if dynamic && !label {
        direction.payload_type = u8::try_from(per.bits(5)? + 96).ok();
    }
    Some(())
}

/// `TransportAddress`; the inner `None` for all but single IP hosts.
fn address(per: &mut Per<'_>) -> Option<Option<SocketAddr>> {
    if per.choice(1)? != Choice::Root(0) {
        return None;
    }
    let kind = per.choice(3)?;
    if let Choice::Extension(..) = kind {
        return Some(None);
    }
    let extended = per.bit()?;
    let address = match kind {
        Choice::Root(0) => per.v4()?,
        Choice::Root(2) => per.v6()?,
        Choice::Root(_) | Choice::Extension(..) => return None,
    };
    per.additions(extended)?;
    Some(Some(address))
}

impl Direction {
    /// Its format, as RTP would announce it.
    pub(super) fn format(&self) -> Option<Format> {
        let Data::Audio(name) = self.data else { return None };
        if name.is_none() && self.payload_type.is_none() {
            return None;
        }
        let name = name.unwrap_or("unknown");
        let fixed = match name {
            "PCMU" => 0,
            "GSM" => 3,
            "G723" => 4,
            "PCMA" => 8,
            "G722" => 9,
            "G728" => 15,
            _ => 18,
        };
        Some(Format {
            payload_type: self.payload_type.unwrap_or(fixed),
            name: name.to_owned(),
            clock_rate: 8_000,
            channels: 1,
            parameters: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_element_of_fast_connect() {
        // Forward, G.729 with two frames, session 1, media 10.0.0.9:4000, then media control.
        let bytes = [
            0x00, 0x00, 0x00, 0x0D, 0x40, 0x01, 0x80, 0x11, 0x14, 0x00, 0x01, 0x00, 10, 0, 0, 9,
            0x0F, 0xA0, 0x00, 10, 0, 0, 9, 0x0F, 0xA1,
        ];
        let read = channel(&bytes).unwrap();
        assert_eq!((read.number, &read.forward.data), (1, &Data::Audio(Some("G729"))));
        assert_eq!(read.forward.media, Some("10.0.0.9:4000".parse().unwrap()));
        assert_eq!(read.reverse, Direction::default());
        assert_eq!(read.forward.format().unwrap().payload_type, 18);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_harm(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let (one, two) = (channel(&bytes), read(&bytes));
            prop_assert!(bytes.len() > 3 || (one.is_none() && two.is_none()));
        }
    }
}
