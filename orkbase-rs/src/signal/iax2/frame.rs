//! The frames of IAX2 (RFC 5456 §8.1), borrowed from a datagram.

/// A datagram.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Frame<'a> {
    /// Reliable: signalling, and the voice packets that set a clock.
    Full(Full<'a>),
    /// One voice packet.
    Mini {
        /// The sender's number of the call.
        call: u16,
        /// Low half of the sender's clock, in milliseconds.
        time: u16,
        /// Audio.
        data: &'a [u8],
    },
    /// One video packet (meta video).
    Video,
    /// Voice packets of many calls (meta trunk).
    Trunk(Trunk<'a>),
}

/// A full frame.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Full<'a> {
    /// The sender's number of the call, 1 to 32767; 0 outside of calls.
    pub source: u16,
    /// The receiver's; 0 while it is not known.
    pub destination: u16,
    /// The sender's clock, in milliseconds since the call began.
    pub time: u32,
    /// Outbound stream sequence number.
    pub oseqno: u8,
    /// What it is.
    pub kind: Kind,
    /// What of that kind; a format is one bit.
    pub subclass: u64,
    /// What follows the header.
    pub data: &'a [u8],
}

/// Frame types (RFC 5456 §8.2).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// A key was released; the subclass is its character.
    Dtmf,
    /// Audio; the subclass is its format.
    Voice,
    /// Moving pictures.
    Video,
    /// Ringing, answer, hold, ..
    Control,
    /// IAX2's own: NEW, ACCEPT, HANGUP, ..
    Iax,
    /// The sender is silent from here on.
    ComfortNoise,
    /// Null, text, image, HTML, modem, key pressed: nothing of a call's audio.
    Other,
}

impl Kind {
    const fn read(value: u8) -> Option<Self> {
        Some(match value {
            1 => Self::Dtmf,
            2 => Self::Voice,
            3 => Self::Video,
            4 => Self::Control,
            6 => Self::Iax,
            10 => Self::ComfortNoise,
            5 | 7..=9 | 11 | 12 => Self::Other,
            _ => return None,
        })
    }
}

/// A trunk frame.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Trunk<'a> {
    /// The trunk's clock, in milliseconds.
    pub time: u32,
    /// Each entry has the time of its call.
    timed: bool,
    entries: &'a [u8],
}

/// One voice packet of a trunk frame.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Entry<'a> {
    /// The sender's number of the call.
    pub call: u16,
    /// Low half of the sender's clock for this call; without it the trunk's clock counts.
    pub time: Option<u16>,
    /// Audio.
    pub data: &'a [u8],
}

/// The bit above a call number: full frame, retransmission, video.
const FLAG: u16 = 0x8000;
/// Meta command of trunk frames.
const TRUNK: u8 = 1;

impl<'a> Frame<'a> {
    /// Reads a datagram; `None` when it is none of IAX2.
    #[must_use]
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        let (first, rest) = word(bytes)?;
        if first & FLAG != 0 {
            return Full::read(first & !FLAG, rest).map(Self::Full);
        }
        if first != 0 {
            let (time, data) = word(rest)?;
            return Some(Self::Mini { call: first, time, data });
        }
        let (&[command, options], rest) = rest.split_first_chunk::<2>()?;
        if command & 0x80 != 0 {
            return Some(Self::Video);
        }
        let (time, entries) = rest.split_first_chunk::<4>()?;
        let timed = options & 1 != 0;
        let time = u32::from_be_bytes(*time);
        (command == TRUNK).then_some(Self::Trunk(Trunk { time, timed, entries }))
    }
}

impl<'a> Full<'a> {
    fn read(source: u16, rest: &'a [u8]) -> Option<Self> {
        let (header, data) = rest.split_first_chunk::<10>()?;
        let &[d0, d1, t0, t1, t2, t3, oseqno, _, kind, subclass] = header;
        Some(Self {
            source,
            // The highest bit says that it was sent before; its time and number say so, too.
            destination: u16::from_be_bytes([d0, d1]) & !FLAG,
            time: u32::from_be_bytes([t0, t1, t2, t3]),
            oseqno,
            kind: Kind::read(kind)?,
            subclass: subclass_of(subclass)?,
            data,
        })
    }
}

/// The C bit makes the rest an exponent of two.
const fn subclass_of(byte: u8) -> Option<u64> {
    if byte & 0x80 == 0 { Some(byte as u64) } else { 1_u64.checked_shl((byte & 0x7F) as u32) }
}

impl<'a> Trunk<'a> {
    /// Its packets; ends at the first that is not whole.
    pub fn entries(self) -> impl Iterator<Item = Entry<'a>> {
        let mut rest = self.entries;
        std::iter::from_fn(move || {
            let (one, after) = word(rest)?;
            let (two, after) = word(after)?;
            let (call, length, time, after) = if self.timed {
                let (time, after) = word(after)?;
                (two, one, Some(time), after)
            } else {
                (one, two, None, after)
            };
            let (data, after) = after.split_at_checked(usize::from(length))?;
            rest = after;
            Some(Entry { call: call & !FLAG, time, data })
        })
    }
}

fn word(bytes: &[u8]) -> Option<(u16, &[u8])> {
    let (word, rest) = bytes.split_first_chunk()?;
    Some((u16::from_be_bytes(*word), rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn full_frames() {
        let bytes = [0x81, 2, 0x83, 4, 0, 1, 0, 5, 7, 8, 2, 0x82, 9, 9];
        let want = Full {
            source: 0x102,
            destination: 0x304,
            time: 0x1_0005,
            oseqno: 7,
            kind: Kind::Voice,
            subclass: 4,
            data: &[9, 9],
        };
        assert_eq!(Frame::read(&bytes), Some(Frame::Full(want)));
        assert_eq!(Frame::read(&bytes[..11]), None);
        let mut other = bytes;
        other[11] = 0xA2;
        let Some(Frame::Full(full)) = Frame::read(&other) else { unreachable!() };
        assert_eq!(full.subclass, 1 << 34);
        for (at, value) in [(10, 0), (10, 13), (11, 0xFF)] {
            let mut other = bytes;
            other[at] = value;
            assert_eq!(Frame::read(&other), None, "{at} {value}");
        }
    }

    #[test]
    fn small_frames() {
        let mini = Frame::Mini { call: 0x102, time: 0xFFFE, data: &[7] };
        assert_eq!(Frame::read(&[1, 2, 0xFF, 0xFE, 7]), Some(mini));
        assert_eq!(Frame::read(&[0, 0, 0x81, 2, 0, 1, 7]), Some(Frame::Video));
        assert_eq!(Frame::read(&[0, 0, 2, 0, 0, 0, 0, 1]), None);
        assert_eq!(Frame::read(&[1]), None);
    }

    #[test]
    fn trunk_frames_of_both_kinds() {
        let entries = |bytes: &[u8]| {
            let Some(Frame::Trunk(trunk)) = Frame::read(bytes) else { unreachable!() };
            assert_eq!(trunk.time, 40);
            trunk.entries().map(|e| (e.call, e.time, e.data.to_vec())).collect::<Vec<_>>()
        };
        let plain = [0, 0, 1, 0, 0, 0, 0, 40, 0, 5, 0, 2, 8, 9, 0, 6, 0, 1, 7, 0, 7, 0, 9, 1];
        assert_eq!(entries(&plain), [(5, None, vec![8, 9]), (6, None, vec![7])], "the last is cut");
        let timed = [0, 0, 1, 1, 0, 0, 0, 40, 0, 2, 0, 5, 1, 0, 8, 9, 0, 0, 0, 6, 2, 0];
        assert_eq!(entries(&timed), [(5, Some(256), vec![8, 9]), (6, Some(512), vec![])]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_harm(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            if let Some(Frame::Trunk(trunk)) = Frame::read(&bytes) {
                prop_assert!(trunk.entries().count() <= 20);
            }
        }
    }
}
