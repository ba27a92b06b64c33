//! Aligned PER (X.691), as far as H.225.0 and H.245 use it here: a reader that ends at the first
//! thing it does not understand.

use std::net::{IpAddr, SocketAddr};

/// Elements read of one list.
const MAX_ITEMS: usize = 64;

/// A cursor over bits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Per<'a> {
    bytes: &'a [u8],
    /// In bits.
    at: usize,
}

impl<'a> Per<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(super) fn bit(&mut self) -> Option<bool> {
        let byte = self.bytes.get(self.at / 8)?;
        let bit = byte >> (7 - self.at % 8) & 1 == 1;
        self.at += 1;
        Some(bit)
    }

    /// Up to 16 bits.
    pub(super) fn bits(&mut self, count: u8) -> Option<u16> {
        (0..count).try_fold(0, |value, _| Some(value << 1 | u16::from(self.bit()?)))
    }

    /// One bit each: whether there are additions, whether optional fields are there, booleans.
    pub(super) fn flags<const N: usize>(&mut self) -> Option<[bool; N]> {
        let mut flags = [false; N];
        for flag in &mut flags {
            *flag = self.bit()?;
        }
        Some(flags)
    }

    /// Octets from the next whole octet on.
    pub(super) fn octets(&mut self, count: usize) -> Option<&'a [u8]> {
        let from = self.at.div_ceil(8);
        let octets = self.bytes.get(from..from.checked_add(count)?)?;
        self.at = (from + count) * 8;
        Some(octets)
    }

    pub(super) fn octet(&mut self) -> Option<u8> {
        self.octets(1)?.first().copied()
    }

    /// A number of a range of 65535 or 65536 values.
    pub(super) fn word(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(*self.octets(2)?.first_chunk()?))
    }

    /// A length without bounds; never one that is sent in fragments.
    pub(super) fn length(&mut self) -> Option<usize> {
        let first = self.octet()?;
        match first >> 6 {
            0 | 1 => Some(usize::from(first)),
            2 => Some(usize::from(first & 0x3F) << 8 | usize::from(self.octet()?)),
            _ => None,
        }
    }

    /// An octet string or open type.
    pub(super) fn open(&mut self) -> Option<&'a [u8]> {
        let length = self.length()?;
        self.octets(length)
    }

    /// A list of octet strings.
    pub(super) fn strings(&mut self) -> Option<Vec<&'a [u8]>> {
        let count = self.length()?;
        (0..count.min(MAX_ITEMS)).map(|_| self.open()).collect()
    }

    /// As many of the same, read by `one`.
    pub(super) fn list(&mut self, one: impl Fn(&mut Self) -> Option<()>) -> Option<()> {
        let count = self.length()?;
        if count > MAX_ITEMS {
            return None;
        }
        (0..count).try_for_each(|_| one(self))
    }

    /// An alternative: the root's number in `width` bits, or that of an extension with its value.
    pub(super) fn choice(&mut self, width: u8) -> Option<Choice<'a>> {
        if self.bit()? {
            let number = self.small()?;
            return Some(Choice::Extension(number, self.open()?));
        }
        self.bits(width).map(Choice::Root)
    }

    /// A number that is nearly always below 64.
    fn small(&mut self) -> Option<u16> {
        if self.bit()? { None } else { self.bits(6) }
    }

    /// The additions to a sequence that has some: those up to the eighth are given.
    pub(super) fn additions(&mut self, extended: bool) -> Option<[Option<&'a [u8]>; 8]> {
        let mut known = [None; 8];
        if !extended {
            return Some(known);
        }
        let count = usize::from(self.small()?) + 1;
        let present: Vec<bool> = (0..count).map(|_| self.bit()).collect::<Option<_>>()?;
        for (number, _) in present.into_iter().enumerate().filter(|(_, present)| *present) {
            let value = self.open()?;
            if let Some(place) = known.get_mut(number) {
                *place = Some(value);
            }
        }
        Some(known)
    }

    /// Four octets and a port.
    pub(super) fn v4(&mut self) -> Option<SocketAddr> {
        let octets: [u8; 4] = *self.octets(4)?.first_chunk()?;
        Some(SocketAddr::new(IpAddr::from(octets), self.word()?))
    }

    /// Sixteen octets and a port.
    pub(super) fn v6(&mut self) -> Option<SocketAddr> {
        let octets: [u8; 16] = *self.octets(16)?.first_chunk()?;
        Some(SocketAddr::new(IpAddr::from(octets), self.word()?))
    }
}

/// An alternative of a CHOICE.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Choice<'a> {
    /// Its value follows.
    Root(u16),
    /// Its value was in an open type.
    Extension(u16, &'a [u8]),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_octets_and_lengths() {
        let mut per = Per::new(&[0b1010_0000, 0x12, 0x34, 0x02, 7, 8, 0x80, 0x81]);
        assert_eq!((per.bit(), per.bits(2), per.word()), (Some(true), Some(1), Some(0x1234)));
        assert_eq!((per.open(), per.length()), (Some(&[7, 8][..]), Some(0x81)));
        assert_eq!((per.bit(), per.octet()), (None, None));
        assert_eq!(Per::new(&[0xC1, 0]).length(), None);
    }

    #[test]
    fn extensions_are_passed_over_by_their_lengths() {
        // Count 3, the second and third present.
        let bytes = [0b0000_0100, 0b1100_0000, 1, 9, 2, 8, 7, 0xFF];
        let mut per = Per::new(&bytes);
        let added = per.additions(true).unwrap();
        assert_eq!(added[..4], [None, Some(&[9][..]), Some(&[8, 7][..]), None]);
        assert_eq!(per.octet(), Some(0xFF));
        let mut per = Per::new(&[0b1000_0001, 1, 5]);
        assert_eq!(per.choice(3), Some(Choice::Extension(1, &[5])));
        assert_eq!(Per::new(&[0b0101_0000]).choice(3), Some(Choice::Root(5)));
    }
}
