//! Header lines and what is inside them: names and addresses, parameters, lists.
//!
//! Law: a header that cannot be read is skipped and counted; it never costs the message.

use super::{
    text::{self, Items},
    uri::Uri,
};
use std::borrow::Cow;

/// More than any proxy chain adds; the rest of the headers is skipped and counted.
pub const MAX_HEADERS: usize = 128;

/// Longest display name handed out, in characters.
pub const MAX_DISPLAY: usize = 256;

/// Longest header value handed out as text, in characters.
pub const MAX_VALUE: usize = 1024;

/// One header line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header<'a> {
    /// As written; the long form of a compact name.
    pub(super) name: &'a [u8],
    /// Trimmed, with its line folds.
    pub(super) raw: &'a [u8],
    /// `raw` goes over more than one line.
    pub(super) folded: bool,
}

impl<'a> Header<'a> {
    /// The value on one line.
    pub(super) fn value(&self) -> Cow<'a, [u8]> {
        if self.folded { Cow::Owned(unfold(self.raw)) } else { Cow::Borrowed(self.raw) }
    }
}

/// The header lines before a body.
#[derive(Debug)]
pub(super) struct Block<'a> {
    pub(super) headers: Vec<Header<'a>>,
    /// Lines that are no header, and headers beyond [`MAX_HEADERS`].
    pub(super) skipped: usize,
    /// What follows the empty line.
    pub(super) body: &'a [u8],
}

impl<'a> Block<'a> {
    /// Reads header lines up to the first empty line, or to the end.
    pub(super) fn read(bytes: &'a [u8]) -> Self {
        // What a call's messages have; one allocation for nearly all of them.
        const USUAL_HEADERS: usize = 24;
        let mut block = Self { headers: Vec::with_capacity(USUAL_HEADERS), skipped: 0, body: b"" };
        let mut rest = bytes;
        while !rest.is_empty() {
            let line = Line::read(rest);
            rest = line.after;
            if line.bytes.is_empty() {
                block.body = rest;
                break;
            }
            match header(&line) {
                Some(header) if block.headers.len() < MAX_HEADERS => block.headers.push(header),
                _ => block.skipped += 1,
            }
        }
        block
    }

    /// The first header of that long name.
    pub(super) fn first(&self, name: &[u8]) -> Option<&Header<'a>> {
        self.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))
    }
}

/// A line with its continuations, which begin with white space (RFC 3261 §7.3.1).
struct Line<'a> {
    bytes: &'a [u8],
    folded: bool,
    after: &'a [u8],
}

impl<'a> Line<'a> {
    fn read(bytes: &'a [u8]) -> Self {
        let mut end = line_end(bytes, 0);
        let mut folded = false;
        let first = bytes.get(..end).unwrap_or(bytes);
        if !without_break(first).is_empty() {
            while let Some(b' ' | b'\t') = bytes.get(end) {
                end = line_end(bytes, end);
                folded = true;
            }
        }
        let (line, after) = bytes.split_at_checked(end).unwrap_or((bytes, b""));
        Self { bytes: without_break(line), folded, after }
    }
}

/// Where the line that begins at `start` ends, its line feed included.
fn line_end(bytes: &[u8], start: usize) -> usize {
    let rest = bytes.get(start..).unwrap_or_default();
    text::find(b'\n', rest).map_or(bytes.len(), |at| start + at + 1)
}

fn without_break(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

fn header<'a>(line: &Line<'a>) -> Option<Header<'a>> {
    let (name, raw) = text::cut(b':', line.bytes);
    let name = name.trim_ascii_end();
    if name.is_empty() || !name.iter().all(u8::is_ascii_graphic) {
        return None;
    }
    Some(Header { name: long_name(name), raw: raw?.trim_ascii(), folded: line.folded })
}

/// The long form of a compact header name (IANA, SIP header fields).
pub(super) fn long_name(name: &[u8]) -> &[u8] {
    let [letter] = name else { return name };
    match letter.to_ascii_lowercase() {
        b'a' => b"Accept-Contact",
        b'b' => b"Referred-By",
        b'c' => b"Content-Type",
        b'd' => b"Request-Disposition",
        b'e' => b"Content-Encoding",
        b'f' => b"From",
        b'i' => b"Call-ID",
        b'j' => b"Reject-Contact",
        b'k' => b"Supported",
        b'l' => b"Content-Length",
        b'm' => b"Contact",
        b'n' => b"Identity-Info",
        b'o' => b"Event",
        b'r' => b"Refer-To",
        b's' => b"Subject",
        b't' => b"To",
        b'u' => b"Allow-Events",
        b'v' => b"Via",
        b'x' => b"Session-Expires",
        b'y' => b"Identity",
        _ => name,
    }
}

/// A line break with the white space around it is one space.
fn unfold(raw: &[u8]) -> Vec<u8> {
    let mut line = Vec::with_capacity(raw.len());
    for piece in raw.split(|byte| *byte == b'\n') {
        let piece = piece.trim_ascii();
        if !piece.is_empty() && !line.is_empty() {
            line.push(b' ');
        }
        line.extend_from_slice(piece);
    }
    line
}

/// A party: `"Display" <uri>;params`, or `uri;params`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NameAddr<'a> {
    /// Display name as text; `None` when there is none or it is empty.
    pub display: Option<String>,
    /// Who.
    pub uri: Uri<'a>,
    /// The `tag` parameter, if not empty.
    pub tag: Option<&'a [u8]>,
    /// All parameters of the header (not of the URI).
    pub params: &'a [u8],
}

impl<'a> NameAddr<'a> {
    /// Reads one party. `None` when nothing is there, or only `*`.
    #[must_use]
    pub fn parse(value: &'a [u8]) -> Option<Self> {
        let value = value.trim_ascii();
        if value.is_empty() || value == b"*" {
            return None;
        }
        let (display, uri, params) = name_uri_params(value);
        let tag = text::param("tag", params).filter(|tag| !tag.is_empty());
        Some(Self { display, uri: Uri::parse(uri), tag, params })
    }

    /// A parameter of the header; empty when it has no value.
    #[must_use]
    pub fn param(&self, name: &str) -> Option<&'a [u8]> {
        text::param(name, self.params)
    }
}

fn name_uri_params(value: &[u8]) -> (Option<String>, &[u8], &[u8]) {
    let (name, rest) = match text::quoted(value) {
        Some((inside, after)) => (Some(text::unescape(inside)), after.trim_ascii_start()),
        None => (None, value),
    };
    let (before, bracketed) = text::cut(b'<', rest);
    // A `<` behind `sip:a@b;x=` belongs to a parameter.
    let bare = before.contains(&b';') && before.contains(&b':');
    match bracketed {
        Some(bracketed) if !bare => {
            let name = name.unwrap_or_else(|| before.to_vec());
            // An opening quote without its partner is not part of the name.
            let name = name.strip_prefix(b"\"").unwrap_or(&name);
            let name = text::clean(name, MAX_DISPLAY);
            let (uri, after) = text::cut(b'>', bracketed);
            let (_, params) = text::cut(b';', after.unwrap_or_default());
            ((!name.is_empty()).then_some(name), uri, params.unwrap_or_default())
        }
        Some(_) | None => {
            let name = name.map(|name| text::clean(&name, MAX_DISPLAY));
            let (uri, params) = text::cut(b';', rest);
            (name.filter(|name| !name.is_empty()), uri, params.unwrap_or_default())
        }
    }
}

/// The items of a comma-separated header value.
pub(super) fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    Items::new(b',', value).filter(|item| !item.is_empty())
}

/// The call to replace (RFC 3891).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Replaces<'a> {
    /// Its Call-ID.
    pub call_id: &'a [u8],
    /// To tag there.
    pub to_tag: Option<&'a [u8]>,
    /// From tag there.
    pub from_tag: Option<&'a [u8]>,
}

impl<'a> Replaces<'a> {
    /// Reads `call-id;to-tag=x;from-tag=y`. `None` without a Call-ID.
    #[must_use]
    pub fn parse(value: &'a [u8]) -> Option<Self> {
        let (call_id, params) = text::cut(b';', value);
        let call_id = call_id.trim_ascii();
        let params = params.unwrap_or_default();
        (!call_id.is_empty()).then(|| Self {
            call_id,
            to_tag: text::param("to-tag", params),
            from_tag: text::param("from-tag", params),
        })
    }
}

/// Why a call ended (RFC 3326).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Reason<'a> {
    /// `SIP`, `Q.850` or other.
    pub protocol: &'a [u8],
    /// Number within the protocol.
    pub cause: Option<u32>,
    /// In words.
    pub text: Option<String>,
}

impl<'a> Reason<'a> {
    /// Reads `Q.850;cause=16;text="Terminated"`. `None` without a protocol.
    #[must_use]
    pub fn parse(value: &'a [u8]) -> Option<Self> {
        let (protocol, params) = text::cut(b';', value);
        let protocol = protocol.trim_ascii();
        let params = params.unwrap_or_default();
        (!protocol.is_empty()).then(|| Self {
            protocol,
            cause: text::param("cause", params).and_then(text::decimal),
            text: text::param("text", params)
                .map(|text| text::clean(&text::unescape(text), text::MAX_TEXT)),
        })
    }
}

/// What a body is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ContentType<'a> {
    /// `application` of `application/sdp`.
    pub kind: &'a [u8],
    /// `sdp` of `application/sdp`.
    pub subtype: &'a [u8],
    /// Parameters.
    pub params: &'a [u8],
}

impl<'a> ContentType<'a> {
    /// Reads `kind/subtype;params`; what is missing is empty.
    #[must_use]
    pub fn parse(value: &'a [u8]) -> Self {
        let (media, params) = text::cut(b';', value);
        let (kind, subtype) = text::cut(b'/', media);
        Self {
            kind: kind.trim_ascii(),
            subtype: subtype.unwrap_or_default().trim_ascii(),
            params: params.unwrap_or_default(),
        }
    }

    /// Whether it is that, in any case of letters; `*` is any subtype.
    #[must_use]
    pub fn is(&self, kind: &str, subtype: &str) -> bool {
        self.kind.eq_ignore_ascii_case(kind.as_bytes())
            && (subtype == "*" || self.subtype.eq_ignore_ascii_case(subtype.as_bytes()))
    }

    /// A parameter, without quotes.
    #[must_use]
    pub fn param(&self, name: &str) -> Option<&'a [u8]> {
        text::param(name, self.params)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::hint::black_box;

    fn check(value: &str, display: Option<&str>, user: &str, host: &str, tag: Option<&str>) {
        let read = NameAddr::parse(value.as_bytes()).unwrap();
        assert_eq!(read.display.as_deref(), display, "{value}");
        assert_eq!(read.uri.user_text(), user, "{value}");
        assert_eq!(read.uri.host_text(), host, "{value}");
        assert_eq!(read.tag, tag.map(str::as_bytes), "{value}");
    }

    #[test]
    fn parties() {
        check("sip:a@b;tag=x", None, "a", "b", Some("x"));
        check("<sip:a@b;tag=no>;tag=x", None, "a", "b", Some("x"));
        check("Alice Smith <sip:a@b>", Some("Alice Smith"), "a", "b", None);
        check(
            r#""A \"B\" \\ <sip:c@d>" <sip:a@b> ; TAG = x"#,
            Some(r#"A "B" \ <sip:c@d>"#),
            "a",
            "b",
            Some("x"),
        );
        check(r#""Bell, A"<tel:+1;phone-context=x>;tag=1"#, Some("Bell, A"), "+1", "", Some("1"));
        check("Bell, Alexander <sip:a@b>;tag=43", Some("Bell, Alexander"), "a", "b", Some("43"));
        check(r#""Mr. J. User <sip:j@b>"#, Some("Mr. J. User"), "j", "b", None);
        check(r#""" <sip:a@b>;tag="#, None, "a", "b", None);
        check("<sip:a@b", None, "a", "b", None);
        check(r#""x" sip:a@b;tag=1"#, Some("x"), "a", "b", Some("1"));
        check("sip:a@b;x=\"<>\";tag=1", None, "a", "b", Some("1"));
        check("\"A\r\n\t B\"\r\n <sip:a@b>\r\n ;tag=1", Some("A B"), "a", "b", Some("1"));
        assert_eq!(NameAddr::parse(b" * "), None);
        assert_eq!(NameAddr::parse(b""), None);
        let lossy = NameAddr::parse(b"\"J\xf6rg\x07\" <sip:a@b>").unwrap();
        assert_eq!(lossy.display.as_deref(), Some("J\u{fffd}rg"));
    }

    #[test]
    fn header_lines_are_read_as_devices_write_them() {
        let block = Block::read(b"To : x\r\nno colon\nf:\r\n a\r\n\tb \nBad Name: y\n\r\nbody\n");
        let read: Vec<_> = block.headers.iter().map(|h| (h.name, h.value())).collect();
        assert_eq!(read, [(&b"To"[..], Cow::from(&b"x"[..])), (b"From", Cow::from(&b"a b"[..]))]);
        assert_eq!((block.skipped, block.body), (2, &b"body\n"[..]));
    }

    #[test]
    fn headers_are_bounded() {
        let many = b"X: y\r\n".repeat(MAX_HEADERS + 5);
        let block = Block::read(&many);
        assert_eq!((block.headers.len(), block.skipped), (MAX_HEADERS, 5));
    }

    #[test]
    fn small_headers() {
        let replaces = Replaces::parse(b"a@b;to-tag=1;from-tag=2;early-only").unwrap();
        assert_eq!(replaces.call_id, b"a@b");
        assert_eq!((replaces.to_tag, replaces.from_tag), (Some(&b"1"[..]), Some(&b"2"[..])));
        let reason = Reason::parse(br#"Q.850 ;cause=16 ;text="Bye; \"now\"""#).unwrap();
        assert_eq!((reason.protocol, reason.cause), (&b"Q.850"[..], Some(16)));
        assert_eq!(reason.text.as_deref(), Some(r#"Bye; "now""#));
        let kind = ContentType::parse(b"Multipart / Mixed ; boundary=\"a b\"");
        assert!(kind.is("multipart", "*") && kind.is("multipart", "mixed"));
        assert_eq!(kind.param("boundary"), Some(&b"a b"[..]));
    }

    proptest! {
        #[test]
        fn anything_is_survived(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            if let Some(party) = NameAddr::parse(&bytes) {
                prop_assert!(party.display.is_none_or(|name| name.chars().count() <= MAX_DISPLAY));
            }
            black_box((Replaces::parse(&bytes), Reason::parse(&bytes), ContentType::parse(&bytes)));
            let block = Block::read(&bytes);
            prop_assert!(block.headers.len() <= MAX_HEADERS);
            prop_assert!(block.body.len() <= bytes.len());
        }

        #[test]
        fn folds_and_quotes_are_survived(value in "[\"\\\\<>;:=@,\r\n a-c]{0,60}") {
            black_box(NameAddr::parse(value.as_bytes()));
            black_box(Block::read(value.as_bytes()));
            prop_assert!(list(value.as_bytes()).count() <= value.len() + 1);
        }
    }
}
