//! A SIP message (RFC 3261 §7), borrowed from the datagram it came in.
//!
//! Law: only the start line can refuse a message. Headers are looked up when asked for, and one
//! that cannot be read is as good as missing.

use super::{
    header::{self, Block, ContentType, NameAddr, Reason, Replaces},
    multipart,
    sdp::Sdp,
    text,
    uri::Uri,
};
use crate::packet::{Layer, Malformed};
use std::borrow::Cow;

/// Longest request line looked at; longer than any URI a phone was seen to send.
pub const MAX_START_LINE: usize = 8192;

/// Longest method name taken for SIP at first sight.
const MAX_METHOD: usize = 32;

const VERSION: &[u8] = b"SIP/2.0";

/// Whether a payload begins a SIP message, told from its first line alone.
#[must_use]
#[inline]
pub fn looks_like_sip(bytes: &[u8]) -> bool {
    match bytes.first() {
        Some(b'A'..=b'Z') => begins_message(bytes),
        Some(b'\r' | b'\n') => begins_message(without_leading_breaks(bytes)),
        _ => false,
    }
}

fn begins_message(bytes: &[u8]) -> bool {
    if bytes.starts_with(b"SIP/2.0 ") {
        return true;
    }
    let method = bytes.iter().take(MAX_METHOD).position(|byte| !byte.is_ascii_uppercase());
    let Some((method, rest)) = method.and_then(|end| bytes.split_at_checked(end)) else {
        return false;
    };
    if method.is_empty() || rest.first() != Some(&b' ') {
        return false;
    }
    let rest = rest.get(..MAX_START_LINE).unwrap_or(rest);
    let Some(end) = text::find(b'\n', rest) else { return false };
    let line = rest.get(..end).unwrap_or_default().trim_ascii_end();
    line.len().checked_sub(VERSION.len()).and_then(|at| line.get(at..)) == Some(VERSION)
}

/// Keep-alives and stray line ends before a message (RFC 3261 §7.5).
fn without_leading_breaks(bytes: &[u8]) -> &[u8] {
    let start = bytes.iter().position(|byte| !matches!(byte, b'\r' | b'\n'));
    start.and_then(|start| bytes.get(start..)).unwrap_or_default()
}

/// What a request asks for.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Method {
    /// Begin or change a call.
    Invite,
    /// Confirm the answer to an INVITE.
    Ack,
    /// End a call.
    Bye,
    /// Give up an INVITE.
    Cancel,
    /// Change a call before or after it is answered (RFC 3311).
    Update,
    /// Confirm a provisional answer (RFC 3262).
    Prack,
    /// Call somebody else (RFC 3515).
    Refer,
    /// Something within the call, such as a digit (RFC 6086).
    Info,
    /// News (RFC 6665).
    Notify,
    /// Ask for news (RFC 6665).
    Subscribe,
    /// Ask what the other can do.
    Options,
    /// Say where a user is.
    Register,
    /// Text (RFC 3428).
    Message,
    /// State for others (RFC 3903).
    Publish,
    /// Any other token.
    Other,
}

impl Method {
    /// The method of that name; names have one spelling (RFC 3261 §7.1).
    #[must_use]
    pub const fn parse(name: &[u8]) -> Self {
        match name {
            b"INVITE" => Self::Invite,
            b"ACK" => Self::Ack,
            b"BYE" => Self::Bye,
            b"CANCEL" => Self::Cancel,
            b"UPDATE" => Self::Update,
            b"PRACK" => Self::Prack,
            b"REFER" => Self::Refer,
            b"INFO" => Self::Info,
            b"NOTIFY" => Self::Notify,
            b"SUBSCRIBE" => Self::Subscribe,
            b"OPTIONS" => Self::Options,
            b"REGISTER" => Self::Register,
            b"MESSAGE" => Self::Message,
            b"PUBLISH" => Self::Publish,
            _ => Self::Other,
        }
    }
}

/// The first line.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum StartLine<'a> {
    /// `INVITE sip:b@c SIP/2.0`
    Request {
        /// What is asked.
        method: Method,
        /// Of whom.
        uri: Uri<'a>,
    },
    /// `SIP/2.0 200 OK`
    Response {
        /// 100 to 699.
        code: u16,
        /// In words; may be empty.
        reason: &'a [u8],
    },
}

impl<'a> StartLine<'a> {
    fn parse(line: &'a [u8]) -> Result<Self, &'static str> {
        let (first, rest) = text::word(line);
        if first.eq_ignore_ascii_case(VERSION) {
            let (code, reason) = text::word(rest);
            return match text::decimal(code) {
                Some(code @ 100..=699) => Ok(Self::Response { code, reason }),
                Some(_) | None => Err("status code is not 100 to 699"),
            };
        }
        if first.is_empty() || !first.iter().all(|byte| is_token(*byte)) {
            return Err("neither a status line nor a method");
        }
        let space = rest.iter().rposition(u8::is_ascii_whitespace).ok_or("request line is cut")?;
        let (uri, version) = rest.split_at(space);
        if !version.trim_ascii().eq_ignore_ascii_case(VERSION) {
            return Err("version is not SIP/2.0");
        }
        let uri = uri.trim_ascii();
        if uri.is_empty() {
            return Err("request line has no URI");
        }
        Ok(Self::Request { method: Method::parse(first), uri: Uri::parse(uri) })
    }
}

/// RFC 3261 §25.1 `token`.
const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'-' | b'.' | b'!' | b'%' | b'*' | b'_' | b'+' | b'`' | b'\'' | b'~')
}

/// One message.
#[derive(Debug)]
pub struct Message<'a> {
    /// First line.
    pub start: StartLine<'a>,
    /// What follows the headers: as long as Content-Length says if that much is there, else all.
    pub body: &'a [u8],
    block: Block<'a>,
}

impl<'a> Message<'a> {
    /// Reads a whole message, such as a datagram.
    ///
    /// # Errors
    /// The start line is neither a request line nor a status line of SIP/2.0.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let message = without_leading_breaks(bytes);
        let offset = bytes.len().saturating_sub(message.len());
        let refused = |why| Malformed { layer: Layer::Sip, offset, why };
        let end = text::find(b'\n', message).ok_or_else(|| refused("first line has no end"))?;
        if end > MAX_START_LINE {
            return Err(refused("first line is longer than 8192 bytes"));
        }
        let (line, rest) = message.split_at(end);
        let start = StartLine::parse(line).map_err(refused)?;
        let block = Block::read(rest.get(1..).unwrap_or_default());
        let mut message = Self { start, body: block.body, block };
        if let Some(length) = message.content_length() {
            message.body = message.body.get(..length).unwrap_or(message.body);
        }
        Ok(message)
    }

    /// Header lines that could not be read or were too many.
    #[must_use]
    pub const fn skipped_headers(&self) -> usize {
        self.block.skipped
    }

    /// The first header of that name, compact forms understood, on one line.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<Cow<'a, [u8]>> {
        self.headers(name).next()
    }

    /// All headers of that name in order, each with its whole value.
    pub fn headers(&self, name: &str) -> impl Iterator<Item = Cow<'a, [u8]>> {
        let name = header::long_name(name.as_bytes());
        self.block
            .headers
            .iter()
            .filter(move |header| header.name.eq_ignore_ascii_case(name))
            .map(header::Header::value)
    }

    /// The first header of that name as text of at most [`header::MAX_VALUE`] characters.
    #[must_use]
    pub fn header_text(&self, name: &str) -> Option<String> {
        self.header(name).map(|value| text::clean(&value, header::MAX_VALUE))
    }

    /// The first header of that long name with its line folds, if not empty. Line ends are white
    /// space to every reader below, so nothing needs to be copied.
    fn raw(&self, name: &str) -> Option<&'a [u8]> {
        let raw = self.block.first(name.as_bytes())?.raw;
        (!raw.is_empty()).then_some(raw)
    }

    /// The first item of a list header.
    fn first_item(&self, name: &str) -> Option<&'a [u8]> {
        header::list(self.raw(name)?).next()
    }

    /// Signalling's name of the call.
    #[must_use]
    pub fn call_id(&self) -> Option<&'a [u8]> {
        self.raw("Call-ID")
    }

    /// Number and method of the transaction.
    #[must_use]
    pub fn cseq(&self) -> Option<(u32, Method)> {
        let (number, method) = text::word(self.raw("CSeq")?);
        Some((text::decimal(number)?, Method::parse(method)))
    }

    /// Who opened the transaction.
    #[must_use]
    pub fn from(&self) -> Option<NameAddr<'a>> {
        NameAddr::parse(self.raw("From")?)
    }

    /// With whom.
    #[must_use]
    pub fn to(&self) -> Option<NameAddr<'a>> {
        NameAddr::parse(self.raw("To")?)
    }

    /// Where the sender is reached; the first one.
    #[must_use]
    pub fn contact(&self) -> Option<NameAddr<'a>> {
        NameAddr::parse(self.first_item("Contact")?)
    }

    /// The transaction's name: `branch` of the topmost Via.
    #[must_use]
    pub fn branch(&self) -> Option<&'a [u8]> {
        let (_, params) = text::cut(b';', self.first_item("Via")?);
        text::param("branch", params?).filter(|branch| !branch.is_empty())
    }

    /// Software of the sender: User-Agent, else Server.
    #[must_use]
    pub fn user_agent(&self) -> Option<String> {
        let raw = self.raw("User-Agent").or_else(|| self.raw("Server"))?;
        Some(text::clean(raw, text::MAX_TEXT))
    }

    /// What the body is said to be.
    #[must_use]
    pub fn content_type(&self) -> Option<ContentType<'a>> {
        self.raw("Content-Type").map(ContentType::parse)
    }

    /// How long the body is said to be; `None` when that is no number.
    #[must_use]
    pub fn content_length(&self) -> Option<usize> {
        text::decimal(self.raw("Content-Length")?)
    }

    /// The sender as the network vouches for it: the first P-Asserted-Identity (RFC 3325), else
    /// Remote-Party-ID.
    #[must_use]
    pub fn asserted_identity(&self) -> Option<NameAddr<'a>> {
        let asserted = self.first_item("P-Asserted-Identity").and_then(NameAddr::parse);
        asserted.or_else(|| self.remote_party_id())
    }

    /// Remote-Party-ID, the draft that many devices still speak.
    #[must_use]
    pub fn remote_party_id(&self) -> Option<NameAddr<'a>> {
        NameAddr::parse(self.first_item("Remote-Party-ID")?)
    }

    /// Who diverted the call last (RFC 5806: the topmost).
    #[must_use]
    pub fn diversion(&self) -> Option<NameAddr<'a>> {
        NameAddr::parse(self.first_item("Diversion")?)
    }

    /// The number that the call was diverted from: Diversion, else the entry before the last of
    /// History-Info (RFC 7044).
    #[must_use]
    pub fn diverted_by(&self) -> Option<String> {
        let by = self.diversion().or_else(|| {
            let (mut before, mut last) = (None, None);
            for item in header::list(self.raw("History-Info")?) {
                before = last.replace(item);
            }
            NameAddr::parse(before?)
        })?;
        Some(by.uri.user_text()).filter(|user| !user.is_empty())
    }

    /// Who told the sender to call (RFC 3892).
    #[must_use]
    pub fn referred_by(&self) -> Option<NameAddr<'a>> {
        NameAddr::parse(self.raw("Referred-By")?)
    }

    /// The sender's half of Session-ID (RFC 7989): 32 lower-case hexadecimal digits, not all zero.
    #[must_use]
    pub fn session_id(&self) -> Option<String> {
        let (id, _) = text::cut(b';', self.raw("Session-ID")?);
        let id = text::clean(id, 33).to_ascii_lowercase();
        let good = id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit());
        (good && id.bytes().any(|b| b != b'0')).then_some(id)
    }

    /// The call that this INVITE replaces.
    #[must_use]
    pub fn replaces(&self) -> Option<Replaces<'a>> {
        Replaces::parse(self.raw("Replaces")?)
    }

    /// Whom a REFER says to call.
    #[must_use]
    pub fn refer_to(&self) -> Option<NameAddr<'a>> {
        NameAddr::parse(self.raw("Refer-To")?)
    }

    /// Call-ID of the call that the referred one replaces (an attended transfer).
    #[must_use]
    pub fn refer_to_replaces(&self) -> Option<String> {
        let value = self.refer_to()?.uri.header("Replaces")?;
        let call = text::clean(Replaces::parse(&value)?.call_id, text::MAX_TEXT);
        (!call.is_empty()).then_some(call)
    }

    /// Why the call ended; the first reason given.
    #[must_use]
    pub fn reason(&self) -> Option<Reason<'a>> {
        Reason::parse(self.first_item("Reason")?)
    }

    /// Seconds after which a silent call is over (RFC 4028).
    #[must_use]
    pub fn session_expires(&self) -> Option<u32> {
        let (seconds, _) = text::cut(b';', self.raw("Session-Expires")?);
        text::decimal(seconds.trim_ascii())
    }

    /// The SDP in the body, alone or as a part; not yet read.
    #[must_use]
    pub fn sdp_bytes(&self) -> Option<&'a [u8]> {
        multipart::find_sdp(self.content_type(), self.body)
    }

    /// The session description, if there is one that can be read.
    #[must_use]
    pub fn sdp(&self) -> Option<Sdp> {
        Sdp::parse(self.sdp_bytes()?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::hint::black_box;

    const INVITE: &[u8] = b"INVITE sip:1002@pbx SIP/2.0\r\n\
        Via: SIP/2.0/UDP 10.0.0.1:5060;rport;branch=z9hG4bKa, SIP/2.0/UDP x;branch=b\r\n\
        From: \"Alice\" <sip:1001@pbx>;tag=f\r\nTo: <sip:1002@pbx>\r\nCall-ID: c@d\r\n\
        CSeq: 7 INVITE\r\nContact: <sip:1001@10.0.0.1>, <sip:x@y>\r\nUser-Agent: Phone 1\r\n\
        P-Asserted-Identity: \"Alice A\" <sip:+1001@pbx>, <tel:+1001>\r\n\
        Replaces: old@call;to-tag=1;from-tag=2\r\nSession-Expires: 1800;refresher=uac\r\n\
        Diversion: <sip:boss@pbx>;reason=no-answer\r\nb: <sip:1003@pbx>\r\n\
        Session-ID: ab30317F1A784dc48ff824d0d3715d86;remote=00000000000000000000000000000000\r\n\
        Content-Type: application/sdp\r\nContent-Length: 51\r\n\r\n\
        v=0\r\nc=IN IP4 10.0.0.1\r\nm=audio 4000 RTP/AVP 0\r\n!!trailing";

    #[test]
    fn an_invite() {
        let message = Message::parse(INVITE).unwrap();
        let StartLine::Request { method: Method::Invite, uri } = message.start else { panic!() };
        assert_eq!(uri.user_text(), "1002");
        assert_eq!(message.call_id(), Some(&b"c@d"[..]));
        assert_eq!(message.cseq(), Some((7, Method::Invite)));
        assert_eq!(message.from().unwrap().display.as_deref(), Some("Alice"));
        assert_eq!(message.from().unwrap().tag, Some(&b"f"[..]));
        assert_eq!(message.to().unwrap().tag, None);
        assert_eq!(message.contact().unwrap().uri.host, b"10.0.0.1");
        assert_eq!(message.branch(), Some(&b"z9hG4bKa"[..]));
        assert_eq!(message.user_agent().as_deref(), Some("Phone 1"));
        assert_eq!(message.asserted_identity().unwrap().uri.user, b"+1001");
        assert_eq!(message.replaces().unwrap().call_id, b"old@call");
        assert_eq!(message.session_expires(), Some(1800));
        assert_eq!(message.diversion().unwrap().param("reason"), Some(&b"no-answer"[..]));
        assert_eq!(message.diverted_by().as_deref(), Some("boss"));
        assert_eq!(message.referred_by().unwrap().uri.user, b"1003");
        assert_eq!(message.session_id().as_deref(), Some("ab30317f1a784dc48ff824d0d3715d86"));
        assert_eq!(message.body.len(), 51);
        assert_eq!(message.sdp().unwrap().media[0].port, 4000);
    }

    #[test]
    fn a_terse_response() {
        let text = b"\r\n\r\nSIP/2.0 486\ni: x\nf: sip:a@b;tag=1\nt: sip:c@d\nv: SIP/2.0/UDP h\n\
            ;branch=q\nl: -5\nServer: s\nHistory-Info: <sip:boss@a>;index=1, <sip:me@a>;index=1.1\n\
            Session-ID: 00000000000000000000000000000000\nReason: Q.850;cause=17\nRemote-Party-ID: <sip:r@s>\n\nv=0\n";
        let message = Message::parse(text).unwrap();
        assert_eq!(message.start, StartLine::Response { code: 486, reason: b"" });
        assert_eq!(message.call_id(), Some(&b"x"[..]));
        assert_eq!(message.header("from").as_deref(), Some(&b"sip:a@b;tag=1"[..]));
        assert_eq!(message.header("F").as_deref(), Some(&b"sip:a@b;tag=1"[..]));
        assert_eq!((message.branch(), message.skipped_headers()), (None, 1));
        assert_eq!((message.content_length(), message.body), (None, &b"v=0\n"[..]));
        assert_eq!(message.reason().unwrap().cause, Some(17));
        assert_eq!(message.asserted_identity().unwrap().uri.user, b"r");
        assert!(message.sdp().is_some());
        assert_eq!(message.diverted_by().as_deref(), Some("boss"));
        assert_eq!(message.session_id(), None);
        assert_eq!(message.user_agent().as_deref(), Some("s"));
    }

    #[test]
    fn folds_and_repeats() {
        let text = b"BYE  sip:a@b;  lr SIP/2.0  \r\nX-A : 1\r\n\t 2\r\nx-a: 3\r\nVia:\r\n SIP/2.0/UDP\r\n \
            h;branch=z\r\nContent-Length: 999\r\n\r\nabc";
        let message = Message::parse(text).unwrap();
        let values: Vec<_> = message.headers("X-A").collect();
        assert_eq!(values, [Cow::from(&b"1 2"[..]), Cow::from(&b"3"[..])]);
        assert!(matches!(values[0], Cow::Owned(_)) && matches!(values[1], Cow::Borrowed(_)));
        assert_eq!(message.branch(), Some(&b"z"[..]));
        assert_eq!(message.body, b"abc");
    }

    #[test]
    fn an_attended_transfer() {
        let text = b"REFER sip:a@b SIP/2.0\r\nr: <sip:c@d?Replaces=e%40f%3Bto-tag%3D1>\r\n\r\n";
        let message = Message::parse(text).unwrap();
        assert_eq!(message.refer_to().unwrap().uri.user, b"c");
        assert_eq!(message.refer_to_replaces().as_deref(), Some("e@f"));
        let nobody = b"REFER sip:a@b SIP/2.0\r\nr: <sip:c@d?Replaces=%20;a>\r\n\r\n";
        assert_eq!(Message::parse(nobody).unwrap().refer_to_replaces(), None);
    }

    #[test]
    fn what_is_refused() {
        for text in [
            "",
            "\r\n\r\n",
            "INVITE sip:a@b SIP/2.0",
            "INVITE sip:a@b SIP/7.0\r\n\r\n",
            "INVITE SIP/2.0\r\n\r\n",
            "GET / HTTP/1.1\r\n\r\n",
            "SIP/2.0 4294967301 x\r\n\r\n",
            "SIP/2.0 99\r\n\r\n",
            "IN{ITE sip:a@b SIP/2.0\r\n\r\n",
        ] {
            assert!(Message::parse(text.as_bytes()).is_err(), "{text:?}");
        }
        assert!(Message::parse(b"newMethod.!~ sip:a SIP/2.0\n").is_ok());
    }

    #[test]
    fn first_sight() {
        assert!(looks_like_sip(INVITE));
        assert!(looks_like_sip(b"\r\n\nSIP/2.0 200 OK\r\n"));
        assert!(looks_like_sip(b"NEWMETHOD  sip:a  SIP/2.0 \t\r\n"));
        for other in [
            &b""[..],
            b"\r\n\r\n",
            b"\x80\0\0\x01\0\0\0\xa0",
            b"\0\x01\0\0\x21\x12\xa4\x42",
            b"IN\x01\0\0\x01\0\0",
            b"GET / HTTP/1.1\r\n",
            b"INVITE sip:a@b SIP/2.0",
            b"A",
            b"SIP/2.0",
        ] {
            assert!(!looks_like_sip(other), "{other:?}");
        }
    }

    fn ask_everything(message: &Message<'_>) {
        black_box((message.call_id(), message.cseq(), message.from(), message.to()));
        black_box((message.contact(), message.branch(), message.user_agent(), message.reason()));
        black_box((message.asserted_identity(), message.diversion(), message.replaces()));
        black_box((message.refer_to(), message.refer_to_replaces(), message.session_expires()));
        black_box((message.content_type(), message.sdp(), message.header_text("Subject")));
    }

    proptest! {
        #[test]
        fn anything_is_survived(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            black_box(looks_like_sip(&bytes));
            let text = [b"INVITE sip:a@b SIP/2.0\r\n", &bytes[..]].concat();
            ask_everything(&Message::parse(&text).unwrap());
            if let Ok(message) = Message::parse(&bytes) {
                ask_everything(&message);
            }
        }

        #[test]
        fn a_damaged_invite_is_survived(
            damage in prop::collection::vec((0..INVITE.len(), any::<u8>()), 1..20),
            cut in 0..INVITE.len(),
        ) {
            let mut text = INVITE.to_vec();
            for (at, byte) in damage {
                text[at] = byte;
            }
            for text in [&text[..], &text[..cut], &text[cut..], &INVITE[..cut]] {
                if let Ok(message) = Message::parse(text) {
                    prop_assert!(message.body.len() <= text.len());
                    ask_everything(&message);
                }
            }
        }
    }
}
