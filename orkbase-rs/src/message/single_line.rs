//! The single-line encoding: replies of the tracker, and of the recorder when asked for it.
//!
//! Law: `key=value ` for every field, the last one too. A space is `%s`, a percent sign `%p`, an
//! equals sign `%e`; a colon is plain, as the published answers have it, and `%c` is understood.
//! The original has no escape for other controls: CR, LF, NUL and their kind are emitted as a space.

use super::pairs::{Fields, MAX_BYTES, Message, Pairs, TooBig, into_text};
use super::words::unescape;

/// The recorder's style: the fields alone, for example `success=true comment= `.
#[must_use]
pub fn encode(fields: &Fields) -> String {
    let mut out = String::with_capacity(128);
    for (key, value) in fields.iter() {
        push_pair(key, value, &mut out);
    }
    out
}

/// The tracker's style: `class` first, for example `class=simpleresponse success=true comment= `.
#[must_use]
pub fn encode_reply<M: Message>(message: &M) -> String {
    let mut out = String::with_capacity(128);
    push_pair("class", M::CLASS, &mut out);
    for (key, value) in message.fields().iter() {
        push_pair(key, value, &mut out);
    }
    out
}

fn push_pair(key: &str, value: &str, out: &mut String) {
    out.push_str(key);
    out.push('=');
    for c in value.chars() {
        match c {
            '%' => out.push_str("%p"),
            '=' => out.push_str("%e"),
            ' ' => out.push_str("%s"),
            control if control.is_control() => out.push_str("%s"),
            plain => out.push(plain),
        }
    }
    out.push(' ');
}

/// Reads one line in either style; `class` comes back as a pair like any other.
///
/// Tolerant where a peer loses data: an `=` inside a value is part of the value, an unknown escape
/// stays as it is, words without `=` are passed over.
///
/// # Errors
/// [`TooBig`] when a bound is passed; nothing is kept then.
pub fn decode(text: &[u8]) -> Result<Pairs, TooBig> {
    if text.len() > MAX_BYTES {
        return Err(TooBig::Bytes);
    }
    let text = into_text(text.to_vec());
    let mut pairs = Pairs::default();
    for word in text.split([' ', '\r', '\n', '\t']) {
        if let Some((key, value)) = word.split_once('=') {
            let value = unescape(value, &[('s', ' '), ('p', '%'), ('e', '='), ('c', ':')]);
            pairs.push(key.to_owned(), value)?;
        }
    }
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::response::{SimpleResponse, TapeResponse};
    use proptest::prelude::*;

    #[test]
    fn replies_as_published() {
        let line = encode_reply(&TapeResponse { success: true, ..TapeResponse::default() });
        assert_eq!(line, "class=taperesponse success=true comment= deletetape=false ");
        assert_eq!(
            encode_reply(&SimpleResponse::done("pong")),
            "class=simpleresponse success=true comment=pong "
        );
        assert_eq!(encode(&SimpleResponse::bare(true).fields()), "success=true ");
        let comment = "Starting capture for party: orkuid:20261121_022325_KMCX side:both";
        assert_eq!(
            encode(&SimpleResponse::done(comment).fields()),
            "success=true comment=Starting%scapture%sfor%sparty:%sorkuid:20261121_022325_KMCX%sside:both "
        );
    }

    #[test]
    fn both_dialects_are_read() {
        let pairs =
            decode(b"class=taperesponse success=true comment=a%cb=c%s%q deletetape=true \r\n")
                .unwrap();
        assert_eq!(pairs.first("comment"), Some("a:b=c %q"));
        assert_eq!(pairs.first("deletetape"), Some("true"));
        assert_eq!(pairs.first("class"), Some("taperesponse"));
    }

    proptest! {
        #[test]
        fn one_message_is_one_line(text in any::<String>()) {
            let line = encode(&Fields::new().with("a", text.as_str()).with("b", ""));
            prop_assert!(!line.chars().any(char::is_control));
            let seen = text.replace(char::is_control, " ");
            let pairs = decode(line.as_bytes()).unwrap();
            prop_assert_eq!(pairs.iter().collect::<Vec<_>>(), [("a", seen.as_str()), ("b", "")]);
        }
    }
}
