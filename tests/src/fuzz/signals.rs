//! What the readers of every protocol may state, and no more.

use orkbase::signal::{Fact, Media, Name, Signal};

/// Longest text that a reader hands out, in characters; a host follows the name of a call.
const MAX_TEXT: usize = 256;
/// Streams that one message states at most.
const MAX_MEDIA: usize = 256;

/// Holds a fact against what every reader promises.
pub(super) fn stated(signal: &Signal) {
    assert!(!signal.call.is_empty(), "a fact about no call");
    text(&signal.call);
    text(&signal.speaker.opener);
    text(&signal.remarks.agent);
    name(&signal.from);
    name(&signal.to);
    match &signal.fact {
        Fact::Offered(offer) => {
            name(&offer.request);
            offer.asserted.iter().for_each(name);
            media(offer.media.as_deref().unwrap_or_default());
        }
        Fact::Accepted { code, media: stated } => {
            assert!((101..300).contains(code), "{code}");
            media(stated.as_deref().unwrap_or_default());
        }
        Fact::MediaStated(stated) => media(stated),
        Fact::Refused { code } => assert!((300..700).contains(code), "{code}"),
        Fact::Digit { digit, .. } => {
            let known = |key: char| key.is_ascii_digit() || "*#ABCD".contains(key);
            assert!(digit.len() == 1 && digit.chars().all(known), "{digit:?}");
        }
        Fact::Transferred { target, .. } => text(target),
        Fact::Cancelled | Fact::Ended => {}
    }
}

fn name(name: &Name) {
    [&name.user, &name.host, &name.display].into_iter().for_each(|part| text(part));
}

fn text(text: &str) {
    assert!(text.chars().count() <= MAX_TEXT, "{} characters", text.chars().count());
    assert!(!text.chars().any(char::is_control), "{text:?}");
}

fn media(stated: &[Media]) {
    assert!(stated.len() <= MAX_MEDIA, "{} streams", stated.len());
    for format in stated.iter().flat_map(|media| &media.formats) {
        assert!(format.payload_type < 128 && format.clock_rate > 0 && format.channels > 0);
        text(&format.name);
        text(format.parameters.as_deref().unwrap_or_default());
    }
}
