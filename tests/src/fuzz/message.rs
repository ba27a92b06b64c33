//! The words that recorder, tracker and clients exchange: what is read can be written and read again.

use orkbase::ids::OrkUid;
use orkbase::message::{
    Fields, Message, Pairs,
    init::InitMessage,
    pairs::{MAX_BYTES, MAX_PAIRS},
    response::{SimpleResponse, TapeResponse},
    single_line,
    tag::AddTagMessage,
    tape::TapeMessage,
    url,
    words::{encode_tags, read_tags},
    xml,
};

/// Input: a line off the wire, in any of the encodings.
pub(super) fn words(data: &[u8]) {
    let data = data.get(..MAX_BYTES / 8).unwrap_or(data);
    let text = String::from_utf8_lossy(data);
    for pairs in [url::decode(data), single_line::decode(data)].into_iter().flatten() {
        assert!(pairs.iter().count() <= MAX_PAIRS);
        messages(&pairs);
    }
    value(&text);
    let tags = read_tags(&text);
    assert_eq!(read_tags(&encode_tags(&tags)), tags);
    if let Some(uid) = OrkUid::parse(&text) {
        assert!(!uid.as_str().contains(['/', '.', '\0']));
    }
}

fn messages(pairs: &Pairs) {
    again(TapeMessage::from_pairs(pairs).ok(), |pairs| TapeMessage::from_pairs(pairs).ok());
    again(AddTagMessage::from_pairs(pairs).ok(), |pairs| AddTagMessage::from_pairs(pairs).ok());
    again(InitMessage::from_pairs(pairs).ok(), |pairs| InitMessage::from_pairs(pairs).ok());
    again(TapeResponse::from_pairs(pairs).ok(), |pairs| TapeResponse::from_pairs(pairs).ok());
    again(SimpleResponse::from_pairs(pairs).ok(), |pairs| SimpleResponse::from_pairs(pairs).ok());
}

/// A message that was read comes back from what is written of it.
fn again<M: Message + PartialEq + std::fmt::Debug>(
    message: Option<M>,
    read: impl Fn(&Pairs) -> Option<M>,
) {
    let Some(message) = message else { return };
    let line = url::encode(&message.fields());
    assert!(line.bytes().all(|byte| byte.is_ascii_graphic()), "{line}");
    let back = url::decode(line.as_bytes()).ok().and_then(|pairs| read(&pairs));
    // Escapes make a text up to nine times as long; the reader's bound may be passed then.
    if line.len() <= MAX_BYTES {
        assert_eq!(back.as_ref(), Some(&message));
    }
    let line = single_line::encode_reply(&message);
    assert!(!line.chars().any(char::is_control), "{line:?}");
    assert!(!xml::encode(&message.fields()).contains(['\r', '\n', '\0']));
}

/// Any text survives each encoding, as far as the encoding can carry it.
fn value(text: &str) {
    let fields = Fields::new().with("a", text).with("b", "");
    let line = url::encode(&fields);
    if line.len() <= MAX_BYTES {
        let pairs = url::decode(line.as_bytes()).unwrap_or_default();
        assert_eq!(pairs.iter().collect::<Vec<_>>(), [("a", text), ("b", "")]);
    }
    let line = single_line::encode(&fields);
    if line.len() <= MAX_BYTES {
        let seen = text.replace(char::is_control, " ");
        let pairs = single_line::decode(line.as_bytes()).unwrap_or_default();
        assert_eq!(pairs.iter().collect::<Vec<_>>(), [("a", seen.as_str()), ("b", "")]);
    }
    let document = xml::encode(&fields);
    assert_eq!(document.matches('<').count(), 7, "{document}");
}
