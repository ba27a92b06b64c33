//! Information elements (RFC 5456 §8.6): type, length, value, to the end of the frame.

/// Numbers and names are cut to this many characters.
const TEXT_CHARS: usize = 128;
/// The protocol's version, always 2.
const VERSION: u16 = 2;

/// The elements that tell of a call; empty where they were not sent.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Elements {
    /// CALLED NUMBER.
    pub called_number: String,
    /// CALLING NUMBER.
    pub calling_number: String,
    /// CALLING ANI: the number that pays.
    pub calling_ani: String,
    /// CALLING NAME.
    pub calling_name: String,
    /// USERNAME.
    pub username: String,
    /// DNID: the number that was dialled at first.
    pub dnid: String,
    /// FORMAT, or its 64-bit form: one bit.
    pub format: Option<u64>,
    /// VERSION is there and right.
    pub version: bool,
    /// ENCRYPTION: some method is offered or chosen.
    pub encryption: bool,
    /// CAUSECODE (Q.931).
    pub cause_code: Option<u8>,
}

impl Elements {
    /// Reads them all; `None` when their lengths do not end where the frame ends.
    #[must_use]
    pub fn read(mut bytes: &[u8]) -> Option<Self> {
        let mut all = Self::default();
        while let Some((&[kind, length], rest)) = bytes.split_first_chunk::<2>() {
            let (value, rest) = rest.split_at_checked(usize::from(length))?;
            all.take(kind, value);
            bytes = rest;
        }
        bytes.is_empty().then_some(all)
    }

    fn take(&mut self, kind: u8, value: &[u8]) {
        match kind {
            1 => self.called_number = text(value),
            2 => self.calling_number = text(value),
            3 => self.calling_ani = text(value),
            4 => self.calling_name = text(value),
            6 => self.username = text(value),
            9 => self.format = self.format.or(number(value)),
            11 => self.version = number(value) == Some(u64::from(VERSION)),
            13 => self.dnid = text(value),
            42 => self.cause_code = value.first().copied(),
            43 => self.encryption = number(value).is_some_and(|methods| methods != 0),
            // A version octet, 0, then 64 bits.
            56 => {
                let wide = value.split_first().filter(|(version, _)| **version == 0);
                self.format = wide.and_then(|(_, bits)| number(bits)).or(self.format);
            }
            _ => {}
        }
    }
}

/// Big-endian, up to eight octets.
fn number(value: &[u8]) -> Option<u64> {
    let fits = (1..=8).contains(&value.len());
    fits.then(|| value.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
}

/// UTF-8, else Latin-1.
fn text(value: &[u8]) -> String {
    let text = std::str::from_utf8(value)
        .map_or_else(|_| value.iter().copied().map(char::from).collect(), str::to_owned);
    text.chars().filter(|c| !c.is_control()).take(TEXT_CHARS).collect::<String>().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn elements_of_a_call() {
        let bytes =
            b"\x0b\x02\0\x02\x01\x041002\x02\x041001\x04\x03Ann\x0d\x041009\x09\x04\0\0\0\x08\
            \x2b\x02\0\x01\x2a\x01\x11\x63\x00";
        let want = Elements {
            called_number: "1002".to_owned(),
            calling_number: "1001".to_owned(),
            calling_name: "Ann".to_owned(),
            dnid: "1009".to_owned(),
            format: Some(8),
            version: true,
            encryption: true,
            cause_code: Some(17),
            ..Elements::default()
        };
        assert_eq!(Elements::read(bytes), Some(want));
        assert_eq!(Elements::read(&bytes[..bytes.len() - 1]), None);
        let wide = Elements::read(b"\x09\x04\0\0\0\0\x38\x09\0\0\0\0\x04\0\0\0\0").unwrap();
        assert_eq!(wide.format, Some(1 << 34));
    }

    #[test]
    fn old_hosts_write_latin_1() {
        let read = Elements::read(b"\x04\x05J\xf6rg\n").unwrap();
        assert_eq!(read.calling_name, "J\u{f6}rg");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_harm(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            if let Some(read) = Elements::read(&bytes) {
                prop_assert!(read.calling_name.chars().count() <= TEXT_CHARS);
            }
        }
    }
}
