//! Single values of a session description, and the tables behind them.

use super::{
    sdp::{Crypto, Format, MAX_KEY, MAX_NAME, MediaKind, Proto},
    text,
};
use std::net::{IpAddr, SocketAddr};

/// What the first word of an `m=` line names.
pub(super) fn media_kind(name: &[u8]) -> MediaKind {
    const KINDS: [(&[u8], MediaKind); 5] = [
        (b"audio", MediaKind::Audio),
        (b"video", MediaKind::Video),
        (b"image", MediaKind::Image),
        (b"application", MediaKind::Application),
        (b"text", MediaKind::Text),
    ];
    let known = KINDS.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
    known.map_or(MediaKind::Other, |(_, kind)| kind)
}

/// What the third word of an `m=` line names.
pub(super) fn proto(name: &[u8]) -> Proto {
    const PROTOS: [(&[u8], Proto); 7] = [
        (b"RTP/AVP", Proto::RtpAvp),
        (b"RTP/SAVP", Proto::RtpSavp),
        (b"RTP/AVPF", Proto::RtpAvpf),
        (b"RTP/SAVPF", Proto::RtpSavpf),
        (b"UDP/TLS/RTP/SAVP", Proto::DtlsSavp),
        (b"UDP/TLS/RTP/SAVPF", Proto::DtlsSavpf),
        (b"UDPTL", Proto::Udptl),
    ];
    let known = PROTOS.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
    known.map_or(Proto::Other, |(_, proto)| proto)
}

/// RFC 3551 tables 4 and 5; 2 was G721 once (RFC 1890), and is G.726 at 32 kbit/s wherever it is seen.
pub(super) fn static_format(payload_type: u8) -> Format {
    let (name, clock_rate, channels) = match payload_type {
        0 => ("PCMU", 8000, 1),
        2 => ("G726-32", 8000, 1),
        3 => ("GSM", 8000, 1),
        4 => ("G723", 8000, 1),
        5 => ("DVI4", 8000, 1),
        6 => ("DVI4", 16000, 1),
        7 => ("LPC", 8000, 1),
        8 => ("PCMA", 8000, 1),
        9 => ("G722", 8000, 1),
        10 => ("L16", 44100, 2),
        11 => ("L16", 44100, 1),
        12 => ("QCELP", 8000, 1),
        13 => ("CN", 8000, 1),
        14 => ("MPA", 90000, 1),
        15 => ("G728", 8000, 1),
        16 => ("DVI4", 11025, 1),
        17 => ("DVI4", 22050, 1),
        18 => ("G729", 8000, 1),
        25 => ("CelB", 90000, 1),
        26 => ("JPEG", 90000, 1),
        28 => ("nv", 90000, 1),
        31 => ("H261", 90000, 1),
        32 => ("MPV", 90000, 1),
        33 => ("MP2T", 90000, 1),
        34 => ("H263", 90000, 1),
        _ => ("", 8000, 1),
    };
    Format { payload_type, name: name.to_owned(), clock_rate, channels, fmtp: None }
}

/// `IN IP4 224.2.1.1/127/3`
pub(super) fn address(value: &[u8]) -> Option<IpAddr> {
    let last = value.split(u8::is_ascii_whitespace).rfind(|word| !word.is_empty())?;
    ip(text::cut(b'/', last).0)
}

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    let bytes = bytes.strip_prefix(b"[").unwrap_or(bytes);
    let (address, _) = text::cut_any(|byte| matches!(byte, b'%' | b']'), bytes);
    str::from_utf8(address).ok()?.parse().ok()
}

/// `1 AES_CM_128_HMAC_SHA1_80 inline:key|2^20|1:4;inline:other SESSION=1`; the first key.
pub(super) fn crypto(value: &[u8]) -> Option<Crypto> {
    let (tag, rest) = text::word(value);
    let (suite, rest) = text::word(rest);
    let inline = text::strip_prefix(b"inline:", rest)?;
    // Further keys and session parameters (UNENCRYPTED_SRTP ..) belong to the key: without them a
    // stream that is not encrypted would be "decrypted" into noise.
    let inline = inline.trim_ascii();
    if inline.is_empty() || inline.len() > MAX_KEY {
        return None;
    }
    let suite = text::clean(suite, MAX_NAME);
    Some(Crypto { tag: text::decimal(tag)?, suite, inline: inline.to_vec() })
}

/// `foundation 1 UDP 2130706431 10.0.1.1 8998 typ host`
pub(super) fn candidate(value: &[u8]) -> Option<SocketAddr> {
    let mut words = value.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).skip(1);
    let component = words.next()? == b"1";
    let udp = words.next()?.eq_ignore_ascii_case(b"UDP");
    let _priority = words.next()?;
    let address = ip(words.next()?)?;
    let port = text::decimal(words.next()?)?;
    (component && udp && port > 0).then(|| SocketAddr::new(address, port))
}
