//! Keys out of signalling that is stored.
//!
//! Law: the text keeps its length, so that whatever it says of its own length stays true. What cannot
//! be read cannot be searched for keys, and is blanked as a whole.

/// What stands in a key's place.
const BLANK: u8 = b'X';

/// Blanks the keys in a text message: `inline:` of RFC 4568, `k=` of SDP (RFC 8866 §5.12), `key-mgmt`
/// of RFC 4567, and `k:` of MGCP's connection options (RFC 3435 §3.2.2.10). `opaque` says that the
/// body is encoded: it is blanked.
#[must_use]
pub fn redact(message: &[u8], opaque: bool) -> Vec<u8> {
    let mut text = message.to_vec();
    if opaque || has_encoded_part(message) {
        let body = find(message, b"\r\n\r\n").or_else(|| find(message, b"\n\n"));
        let body = body.and_then(|at| text.get_mut(at..)).unwrap_or_default();
        body.iter_mut().filter(|byte| !byte.is_ascii_whitespace()).for_each(|byte| *byte = BLANK);
    }
    for line in text.split_mut(|byte| matches!(byte, b'\r' | b'\n')) {
        let mut from = 0;
        while let Some(at) = find(line.get(from..).unwrap_or_default(), b"inline:") {
            from += at + 7;
            let key = line.get_mut(from..).unwrap_or_default();
            // Base64, but whatever stands there up to the next field is no one's business.
            let key = key.iter_mut().take_while(|byte| !matches!(byte, b'|' | b';' | b' ' | b'\t'));
            key.for_each(|byte| *byte = BLANK);
        }
        let behind = if starts(line, b"k=") {
            line.iter().position(|byte| *byte == b':').map(|at| at + 1)
        } else if starts(line, b"a=key-mgmt:") {
            line.iter().position(|byte| *byte == b' ').or(Some(11))
        } else if starts(line, b"L:") {
            find(line, b"k:").map(|at| at + 2)
        } else {
            None
        };
        let secret = behind.and_then(|at| line.get_mut(at..)).unwrap_or_default();
        secret.iter_mut().for_each(|byte| *byte = BLANK);
    }
    text
}

/// A part of a multipart body that is not plain text.
fn has_encoded_part(message: &[u8]) -> bool {
    let mut from = 0;
    while let Some(at) =
        find(message.get(from..).unwrap_or_default(), b"content-transfer-encoding:")
    {
        from += at + 26;
        let value = message.get(from..).unwrap_or_default().trim_ascii_start();
        if ![&b"7bit"[..], b"8bit", b"binary"].iter().any(|plain| starts(value, plain)) {
            return true;
        }
    }
    false
}

fn starts(text: &[u8], with: &[u8]) -> bool {
    text.get(..with.len()).is_some_and(|start| start.eq_ignore_ascii_case(with))
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    let first = what.first()?;
    let cases = (first.to_ascii_lowercase(), first.to_ascii_uppercase());
    memchr::memchr2_iter(cases.0, cases.1, text)
        .find(|at| text.get(*at..).is_some_and(|rest| starts(rest, what)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redacted(text: &str) -> String {
        let out = redact(text.as_bytes(), false);
        assert_eq!(out.len(), text.len());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn keys_are_blanked_and_nothing_else() {
        let cases = [
            (
                "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj|2^20|1:4\r\na=x",
                "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:XXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXX|2^20|1:4\r\na=x",
            ),
            ("a=CRYPTO:2 X INLINE:ab+/=;inline:cd FEC", "a=CRYPTO:2 X INLINE:XXXXX;inline:XX FEC"),
            ("v=0\nk=base64:c2VjcmV0\nk=prompt\n", "v=0\nk=base64:XXXXXXXX\nk=prompt\n"),
            ("a=key-mgmt:mikey AQAFgM\r\n", "a=key-mgmt:mikeyXXXXXXX\r\n"),
            ("L: p:20, a:PCMU, k:clear:abc\r\n", "L: p:20, a:PCMU, k:XXXXXXXXX\r\n"),
            (
                "Supported: k=1\r\nk: timer\r\nSubject: keys",
                "Supported: k=1\r\nk: timer\r\nSubject: keys",
            ),
        ];
        for (text, want) in cases {
            assert_eq!(redacted(text), want);
        }
    }

    #[test]
    fn bodies_that_cannot_be_read_are_blanked() {
        let gzipped = "INVITE sip:a SIP/2.0\r\nX: 1\r\n\r\nab\r\nc";
        assert_eq!(
            redact(gzipped.as_bytes(), true),
            b"INVITE sip:a SIP/2.0\r\nX: 1\r\n\r\nXX\r\nX"
        );
        let part = "X: 1\r\n\r\n--b\r\nContent-Transfer-Encoding: base64\r\n\r\nAAAA\r\n";
        assert!(!redacted(part).contains("AAAA"));
        let plain = "X: 1\r\n\r\n--b\r\ncontent-transfer-encoding: 8BIT\r\n\r\nv=0\r\n";
        assert_eq!(redacted(plain), plain);
    }
}
