//! SIP and SDP text.

use orkbase::signal::sip::{
    ContentType, Framer, Message, NameAddr, Reason, Replaces, Sdp, StartLine, Uri, facts, header,
    looks_like_sip, multipart, sdp,
};
use orkbase::signal::{Fact, Name, Signal};
use std::net::SocketAddr;

/// Longest message the framers here deliver: small, so that small inputs reach it.
const MAX_MESSAGE: usize = 1024;
/// Names, numbers and hosts are this long at most.
const MAX_TEXT: usize = 256;

/// Input: a text, then four bytes that say where a stream of it is cut.
pub(super) fn message(data: &[u8]) {
    let (text, cuts) = data.split_last_chunk::<4>().unwrap_or((data, &[0; 4]));
    if let Ok(message) = Message::parse(text) {
        read_all(&message, text);
        facts_of(&message);
    } else {
        // What cannot be parsed states nothing; a first look may still take it for SIP.
        let _look = looks_like_sip(text);
    }
    framed(text, cuts);
}

/// Every accessor answers.
fn read_all(message: &Message<'_>, text: &[u8]) {
    assert!(message.body.len() <= text.len());
    if let StartLine::Response { code, .. } = message.start {
        assert!((100..700).contains(&code));
    }
    if let Some(length) = message.content_length() {
        assert!(message.body.len() <= length);
    }
    let parties = [
        message.from(),
        message.to(),
        message.contact(),
        message.asserted_identity(),
        message.remote_party_id(),
        message.diversion(),
        message.refer_to(),
    ];
    for party in parties.iter().flatten() {
        short(party.display.as_deref().unwrap_or_default());
        address(&party.uri);
        assert!(party.tag.is_none_or(|tag| !tag.is_empty()));
    }
    let name = ["Via", "Route", "v", "X-Id"].map(|name| message.headers(name).count());
    assert!(name.iter().all(|count| *count <= header::MAX_HEADERS));
    for name in ["Subject", "User-Agent", "Call-ID"] {
        let value = message.header_text(name).unwrap_or_default();
        assert!(value.chars().count() <= header::MAX_VALUE && !value.chars().any(char::is_control));
    }
    short(&message.user_agent().unwrap_or_default());
    if let Some(text) = message.refer_to_replaces() {
        assert!(!text.is_empty());
    }
    let _all = (message.cseq(), message.branch(), message.replaces(), message.skipped_headers());
    let _kind = message.content_type().map(|kind| kind.param("boundary").is_some());
}

fn facts_of(message: &Message<'_>) {
    let ends: [SocketAddr; 2] = [([10, 0, 0, 1], 5060).into(), ([10, 0, 0, 2], 5060).into()];
    let headers = ["X-Id".to_owned(), "Diversion".to_owned()];
    let Some(signal) = facts::read(message, ends[0], ends[1], &headers) else { return };
    let Signal { call, from, to, fact, .. } = &signal;
    assert!(call.chars().count() <= MAX_TEXT && !call.chars().any(char::is_control));
    named(from);
    named(to);
    match fact {
        Fact::Offered(offer) => {
            named(&offer.request);
            offer.asserted.iter().for_each(named);
            [&offer.referred_by, &offer.diverted_by, &offer.session]
                .into_iter()
                .for_each(|text| short(text));
            offer.headers.iter().for_each(|(_, value)| short(value));
            media(offer.media.as_deref());
        }
        Fact::Accepted { code, media: stated } => {
            assert!((101..300).contains(code));
            media(stated.as_deref());
        }
        Fact::MediaStated(stated) => media(Some(stated)),
        Fact::Refused { code } => assert!((300..700).contains(code)),
        Fact::Digit { digit, .. } => assert_eq!(digit.len(), 1),
        Fact::Transferred { target, .. } => short(target),
        Fact::Cancelled | Fact::Ended => {}
    }
}

fn media(stated: Option<&[orkbase::signal::Media]>) {
    let stated = stated.unwrap_or_default();
    assert!(stated.len() <= sdp::MAX_MEDIA);
    for media in stated {
        assert!(media.formats.iter().all(|format| format.payload_type < 128));
    }
}

fn named(name: &Name) {
    [&name.user, &name.host, &name.display].into_iter().for_each(|text| short(text));
}

fn short(text: &str) {
    assert!(text.chars().count() <= MAX_TEXT, "{} characters", text.chars().count());
    assert!(!text.chars().any(char::is_control), "{text:?}");
}

fn address(uri: &Uri<'_>) {
    short(&uri.user_text());
    short(&uri.host_text());
    let _params = (uri.param("user").is_some(), uri.header("Replaces").is_some());
}

/// A stream gives the same messages wherever its segments end, and holds no more than it may.
fn framed(text: &[u8], cuts: &[u8; 4]) {
    let whole = stream(&[text], None);
    let mut parts = Vec::new();
    let mut rest = text;
    for cut in cuts {
        let (part, after) = rest.split_at(usize::from(*cut).min(rest.len()));
        parts.push(part);
        rest = after;
    }
    parts.push(rest);
    assert_eq!(stream(&parts, None), whole);
    let bytes: Vec<&[u8]> = text.chunks(1).collect();
    assert_eq!(stream(&bytes, None), whole);
    // With a hole in it, too, nothing is invented.
    let hole = stream(&parts, Some(usize::from(cuts[0] & 3)));
    assert!(hole.iter().map(Vec::len).sum::<usize>() <= text.len());
}

/// The messages of a stream; `gap` says before which part bytes were lost.
fn stream(parts: &[&[u8]], gap: Option<usize>) -> Vec<Vec<u8>> {
    let mut framer = Framer::new(MAX_MESSAGE);
    let mut found = Vec::new();
    let mut longest = 0;
    for (index, part) in parts.iter().enumerate() {
        longest = longest.max(part.len());
        framer.push(part, gap == Some(index), &mut |message: &[u8]| {
            assert!(message.len() <= MAX_MESSAGE, "a message of {} bytes", message.len());
            found.push(message.to_vec());
        });
        assert!(framer.held_bytes() <= 9 * 1024 + longest, "{} held", framer.held_bytes());
    }
    found
}

/// Input: a session description; the text of a body with parts; header values.
pub(super) fn sdp(data: &[u8]) {
    if let Ok(read) = Sdp::parse(data) {
        assert!(read.media.len() <= sdp::MAX_MEDIA);
        for media in &read.media {
            assert!(media.formats.len() <= sdp::MAX_FORMATS);
            assert!(media.candidates.len() <= sdp::MAX_CANDIDATES);
            assert!(media.crypto.len() <= sdp::MAX_CRYPTO);
            for format in &media.formats {
                assert!(format.clock_rate > 0 && format.channels > 0 && format.payload_type < 128);
                assert!(format.name.chars().count() <= sdp::MAX_NAME);
                let parameters = format.fmtp.as_deref().unwrap_or_default();
                assert!(parameters.chars().count() <= sdp::MAX_FMTP);
            }
            for key in &media.crypto {
                assert!(key.inline.len() <= sdp::MAX_KEY);
                assert!(key.suite.chars().count() <= sdp::MAX_NAME);
            }
        }
    }
    let mixed = ContentType::parse(b"multipart/mixed;boundary=b");
    for kind in [None, Some(mixed), Some(ContentType::parse(b"multipart/mixed"))] {
        let found = multipart::find_sdp(kind, data);
        assert!(found.is_none_or(|found| !found.is_empty() && found.len() <= data.len()));
    }
    let _values = (Reason::parse(data), Replaces::parse(data));
    if let Some(party) = NameAddr::parse(data) {
        short(party.display.as_deref().unwrap_or_default());
        address(&party.uri);
    }
}
