//! Q.931 messages as H.225.0 uses them: a call reference, a type, information elements.

use super::h245::only_keys;

/// Longest number and name kept, in characters.
const MAX_TEXT: usize = 128;

/// One message.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Message<'a> {
    /// Number of the call on its connection.
    pub(super) reference: u16,
    /// Sent by the side that made the call.
    pub(super) by_caller: bool,
    pub(super) kind: Kind,
    /// Calling party number; empty when it is not there, as all texts.
    pub(super) calling: String,
    pub(super) called: String,
    pub(super) display: String,
    /// Keys, in INFORMATION.
    pub(super) keypad: String,
    /// Q.850.
    pub(super) cause: Option<u8>,
    /// The H.225.0 part.
    pub(super) user: Option<&'a [u8]>,
}

/// Message types.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    Setup,
    CallProceeding,
    Alerting,
    Progress,
    Connect,
    ReleaseComplete,
    Facility,
    Information,
    Other,
}

impl<'a> Message<'a> {
    /// Reads a message; `None` when it is none. Elements behind a broken one are missing.
    pub(super) fn read(bytes: &'a [u8]) -> Option<Self> {
        let (&[protocol, size, high, low, kind], mut rest) = bytes.split_first_chunk::<5>()?;
        if protocol != 8 || size != 2 {
            return None;
        }
        let mut message = Self {
            // The highest bit is not set by the side that numbered the call.
            reference: u16::from_be_bytes([high, low]) & 0x7FFF,
            by_caller: high & 0x80 == 0,
            kind: match kind {
                0x01 => Kind::Alerting,
                0x02 => Kind::CallProceeding,
                0x03 => Kind::Progress,
                0x05 => Kind::Setup,
                0x07 => Kind::Connect,
                0x5A => Kind::ReleaseComplete,
                0x62 => Kind::Facility,
                0x7B => Kind::Information,
                _ => Kind::Other,
            },
            calling: String::new(),
            called: String::new(),
            display: String::new(),
            keypad: String::new(),
            cause: None,
            user: None,
        };
        while let Some((&[element], after)) = rest.split_first_chunk::<1>() {
            if element & 0x80 != 0 {
                rest = after;
                continue;
            }
            let Some((value, after)) = value(element, after) else { break };
            message.take(element, value);
            rest = after;
        }
        Some(message)
    }

    fn take(&mut self, element: u8, value: &'a [u8]) {
        match element {
            0x08 => self.cause = value.get(1).map(|cause| cause & 0x7F),
            0x28 => self.display = text(value),
            0x2C => self.keypad = only_keys(value),
            0x6C => self.calling = number(value),
            0x70 => self.called = number(value),
            0x7E => self.user = value.strip_prefix(&[5]),
            _ => {}
        }
    }
}

/// User-user has a length of two octets, all others one.
fn value(element: u8, rest: &[u8]) -> Option<(&[u8], &[u8])> {
    if element == 0x7E {
        let (length, rest) = rest.split_first_chunk()?;
        return rest.split_at_checked(usize::from(u16::from_be_bytes(*length)));
    }
    let (&[length], rest) = rest.split_first_chunk::<1>()?;
    rest.split_at_checked(usize::from(length))
}

/// Behind the octets about plan and presentation, the last of which has its highest bit set.
fn number(value: &[u8]) -> String {
    let octets = value.iter().position(|octet| octet & 0x80 != 0).map_or(0, |last| last + 1);
    text(value.get(octets..).unwrap_or_default())
}

fn text(value: &[u8]) -> String {
    let text = String::from_utf8_lossy(value);
    text.chars().filter(|c| !c.is_control()).take(MAX_TEXT).collect::<String>().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn elements_of_a_setup() {
        let bytes = b"\x08\x02\x80\x07\x05\xa1\x04\x03\x80\x90\xa3\x28\x03Ann\x6c\x06\x00\x831001\
            \x70\x05\x811002\x08\x02\x80\x91\x7e\x00\x03\x05\x01\x02";
        let read = Message::read(bytes).unwrap();
        assert_eq!((read.reference, read.by_caller), (7, false));
        assert_eq!((read.kind, read.cause), (Kind::Setup, Some(17)));
        assert_eq!((&*read.calling, &*read.called, &*read.display), ("1001", "1002", "Ann"));
        assert_eq!(read.user, Some(&[1, 2][..]));
        let cut = Message::read(&bytes[..bytes.len() - 1]).unwrap();
        assert_eq!((cut.user, &*cut.called), (None, "1002"));
        assert_eq!(Message::read(b"\x08\x01\x07\x05\x00"), None);
        let keys = Message::read(b"\x08\x02\x00\x07\x7b\x2c\x06\xff1 x#\x00").unwrap();
        assert_eq!((keys.kind, &*keys.keypad), (Kind::Information, "1#"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_harm(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let all = [&[8, 2], &bytes[..]].concat();
            prop_assert_eq!(Message::read(&all).is_some(), bytes.len() >= 3);
        }
    }
}
