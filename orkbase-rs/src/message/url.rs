//! The URL encoding: reports to the tracker, commands and the event stream.
//!
//! Law: every field as `key=value&`, the last one too; empty values stay. `- . 0-9 @ A-Z _ a-z` are
//! plain, a space is `+`, any other byte is `%XX` in upper-case hex.

use super::pairs::{Fields, MAX_BYTES, Pairs, TooBig, into_text};

/// The fields as `key=value&key=value&`.
#[must_use]
pub fn encode(fields: &Fields) -> String {
    let mut out = String::with_capacity(512);
    for (key, value) in fields.iter() {
        out.push_str(key);
        out.push('=');
        encode_value(value, &mut out);
        out.push('&');
    }
    out
}

/// Appends one escaped value.
pub fn encode_value(value: &str, out: &mut String) {
    for byte in value.bytes() {
        match byte {
            b'-' | b'.' | b'0'..=b'9' | b'@' | b'A'..=b'Z' | b'_' | b'a'..=b'z' => {
                out.push(char::from(byte));
            }
            b' ' => out.push('+'),
            other => {
                out.push('%');
                out.push(hex_digit(other >> 4));
                out.push(hex_digit(other & 0xf));
            }
        }
    }
}

/// Reads pairs from the part of a URL behind the question mark, or from a form body.
///
/// Tolerant where the original is: `%%` is a percent sign. And where it loses data: an `=` inside a
/// value is part of the value, a broken escape stays as it is, a key without `=` has an empty value.
///
/// # Errors
/// [`TooBig`] when a bound is passed; nothing is kept then.
pub fn decode(text: &[u8]) -> Result<Pairs, TooBig> {
    if text.len() > MAX_BYTES {
        return Err(TooBig::Bytes);
    }
    let mut pairs = Pairs::default();
    for part in text.trim_ascii().split(|byte| *byte == b'&').filter(|part| !part.is_empty()) {
        let mut halves = part.splitn(2, |byte| *byte == b'=');
        let key = decode_value(halves.next().unwrap_or_default());
        let value = decode_value(halves.next().unwrap_or_default());
        pairs.push(key, value)?;
    }
    Ok(pairs)
}

fn decode_value(mut text: &[u8]) -> String {
    let mut out = Vec::with_capacity(text.len());
    while let Some((&byte, rest)) = text.split_first() {
        text = rest;
        match byte {
            b'+' => out.push(b' '),
            b'%' => text = decode_escape(rest, &mut out),
            plain => out.push(plain),
        }
    }
    into_text(out)
}

/// Takes what follows a percent sign; returns what is left.
fn decode_escape<'a>(rest: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
    match rest {
        [b'%', rest @ ..] => {
            out.push(b'%');
            rest
        }
        [high, low, after @ ..] => match (hex_value(*high), hex_value(*low)) {
            (Some(high), Some(low)) => {
                out.push(high << 4 | low);
                after
            }
            _ => {
                out.push(b'%');
                rest
            }
        },
        short => {
            out.push(b'%');
            short
        }
    }
}

fn hex_value(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

fn hex_digit(value: u8) -> char {
    char::from_digit(u32::from(value), 16).unwrap_or('0').to_ascii_uppercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_unescaped_set_is_small() {
        let fields =
            Fields::new().with("a", "-.09@AZ_az").with("b", " /:+%&=~\r\n\0é").with("c", "");
        let text = encode(&fields);
        assert_eq!(text, "a=-.09@AZ_az&b=+%2F%3A%2B%25%26%3D%7E%0D%0A%00%C3%A9&c=&");
    }

    #[test]
    fn what_others_send_is_read() {
        let pairs = decode(b" a=1=2&A=3&b=%%4&c=%zz%&d&e=%e9&\r\n").unwrap();
        let read: Vec<_> = pairs.iter().collect();
        assert_eq!(
            read,
            [("a", "1=2"), ("A", "3"), ("b", "%4"), ("c", "%zz%"), ("d", ""), ("e", "\u{fffd}")]
        );
        assert_eq!((pairs.first("a"), pairs.all("a").count()), (Some("1=2"), 2));
    }

    #[test]
    fn bounds_hold() {
        assert_eq!(decode(&vec![b'a'; MAX_BYTES + 1]), Err(TooBig::Bytes));
        assert_eq!(decode("a=1&".repeat(257).as_bytes()), Err(TooBig::Pairs));
    }

    proptest! {
        #[test]
        fn values_come_back(a in any::<String>(), b in any::<String>()) {
            let text = encode(&Fields::new().with("a", a.as_str()).with("b", b.as_str()));
            prop_assert!(text.bytes().all(|byte| (b'!'..=b'~').contains(&byte)));
            let pairs = decode(text.as_bytes()).unwrap();
            prop_assert_eq!(pairs.iter().collect::<Vec<_>>(), [("a", a.as_str()), ("b", b.as_str())]);
        }

        #[test]
        fn any_bytes_are_safe(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            prop_assert!(decode(&bytes).is_ok());
        }
    }
}
