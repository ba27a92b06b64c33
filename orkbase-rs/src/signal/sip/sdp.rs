//! Session descriptions (RFC 8866): where media goes and what it is.
//!
//! Law: every `m=` line is a stream, in order, however little of it can be read; a value that
//! cannot be read is missing. Lines that are none are skipped.

use super::{
    sdp_value::{address, candidate, crypto, media_kind, proto, static_format},
    text,
};
use crate::packet::{Layer, Malformed};
use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};

/// Lines read of one description; a phone with every codec and candidate sends two hundred.
pub const MAX_LINES: usize = 1024;

/// Streams kept of one description.
pub const MAX_MEDIA: usize = 32;

/// Payload types kept of one stream.
pub const MAX_FORMATS: usize = 64;

/// Candidates kept of one stream.
pub const MAX_CANDIDATES: usize = 32;

/// Keys kept of one stream.
pub const MAX_CRYPTO: usize = 16;

/// Longest encoding name, crypto suite, label and mid, in characters.
pub const MAX_NAME: usize = 64;

/// Longest format parameters, in characters.
pub const MAX_FMTP: usize = 1024;

/// Longest key kept, in bytes; 256-bit keys with lifetime and MKI stay below half of it.
pub const MAX_KEY: usize = 512;

/// What a description says, session-level values already applied to each stream.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Sdp {
    /// The streams, in order.
    pub media: Vec<Media>,
    /// Version of the description: unchanged in a repeated one.
    pub version: Option<u64>,
    /// Streams beyond [`MAX_MEDIA`].
    pub skipped_media: usize,
}

/// One stream: an `m=` line and what follows it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Media {
    /// What is heard or seen.
    pub kind: MediaKind,
    /// Where the sender wants to receive; 0 when declined, or when it is no port.
    pub port: u16,
    /// How it is carried.
    pub proto: Proto,
    /// Where the sender wants to receive; `None` for host names. `0.0.0.0` is kept: a hold.
    pub address: Option<IpAddr>,
    /// Who may send.
    pub direction: MediaDirection,
    /// Milliseconds in a packet.
    pub ptime: Option<u16>,
    /// What each payload type means, in order of preference.
    pub formats: Vec<Format>,
    /// Keys of SRTP (RFC 4568).
    pub crypto: Vec<Crypto>,
    /// RTCP goes to the same port (RFC 5761).
    pub rtcp_mux: bool,
    /// RTCP goes to this port (RFC 3605).
    pub rtcp_port: Option<u16>,
    /// ICE: further places for component 1 over UDP (RFC 8839).
    pub candidates: Vec<SocketAddr>,
    /// A DTLS certificate is named, here or for the session.
    pub fingerprint: bool,
    /// RFC 4574.
    pub label: Option<String>,
    /// RFC 5888.
    pub mid: Option<String>,
}

/// What a stream carries.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MediaKind {
    /// Sound.
    Audio,
    /// Moving pictures.
    Video,
    /// Fax.
    Image,
    /// Data.
    Application,
    /// Real-time text.
    Text,
    /// Anything else.
    Other,
}

/// How a stream is carried.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Proto {
    /// `RTP/AVP`
    RtpAvp,
    /// `RTP/SAVP`
    RtpSavp,
    /// `RTP/AVPF`
    RtpAvpf,
    /// `RTP/SAVPF`
    RtpSavpf,
    /// `UDP/TLS/RTP/SAVP`
    DtlsSavp,
    /// `UDP/TLS/RTP/SAVPF`
    DtlsSavpf,
    /// `udptl`
    Udptl,
    /// Anything else.
    Other,
}

/// Who may send, from the sender's point of view.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum MediaDirection {
    /// Both.
    #[default]
    SendRecv,
    /// The sender only.
    SendOnly,
    /// The other only.
    RecvOnly,
    /// Nobody.
    Inactive,
}

/// What a payload type means.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Format {
    /// 0 to 127.
    pub payload_type: u8,
    /// Encoding name as written; that of RFC 3551 without `rtpmap`; else empty.
    pub name: String,
    /// RTP clock in Hz; never 0: 8000 when unstated.
    pub clock_rate: u32,
    /// Audio channels; never 0.
    pub channels: u8,
    /// Parameters as written.
    pub fmtp: Option<String>,
}

/// A key of SRTP (RFC 4568).
#[derive(Clone, Eq, PartialEq)]
pub struct Crypto {
    /// Number that offer and answer share.
    pub tag: u32,
    /// Suite.
    pub suite: String,
    /// What follows `inline:` to the end of the line: lifetime, MKI, further keys, session parameters.
    pub inline: Vec<u8>,
}

impl fmt::Debug for Crypto {
    /// Keys are never printed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Crypto({} {} <redacted>)", self.tag, self.suite)
    }
}

impl Sdp {
    /// Reads a description. Lines end in CR, LF or both.
    ///
    /// # Errors
    /// There is neither a `v=` nor an `m=` line.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::default();
        for line in bytes.split(|byte| matches!(byte, b'\r' | b'\n')).take(MAX_LINES) {
            if let [letter, b'=', value @ ..] = line.trim_ascii_start() {
                reader.handle_line(letter.to_ascii_lowercase(), value.trim_ascii());
            }
        }
        if reader.recognised {
            Ok(reader.finish())
        } else {
            Err(Malformed { layer: Layer::Sdp, offset: 0, why: "neither a v= nor an m= line" })
        }
    }
}

/// What may be said for the session and for one stream.
#[derive(Default)]
struct Shared {
    /// `Some(None)` is a host name.
    connection: Option<Option<IpAddr>>,
    direction: Option<MediaDirection>,
    fingerprint: bool,
    ptime: Option<u16>,
}

#[derive(Default)]
struct Reader {
    recognised: bool,
    version: Option<u64>,
    session: Shared,
    media: Vec<(Media, Shared)>,
    skipped_media: usize,
}

impl Reader {
    fn handle_line(&mut self, letter: u8, value: &[u8]) {
        match letter {
            b'v' => self.recognised = true,
            b'o' => {
                let mut words =
                    value.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
                self.version = self.version.or_else(|| text::decimal(words.nth(2)?));
            }
            b'm' => {
                self.recognised = true;
                if self.media.len() < MAX_MEDIA && self.skipped_media == 0 {
                    self.media.push((media(value), Shared::default()));
                } else {
                    self.skipped_media += 1;
                }
            }
            b'c' => {
                if let Some((_, shared)) = self.current() {
                    shared.connection.get_or_insert_with(|| address(value));
                }
            }
            b'a' => {
                let (name, value) = text::cut(b':', value);
                let value = value.unwrap_or_default().trim_ascii();
                let attribute = Attribute::named(name.trim_ascii());
                if let Some((media, shared)) = self.current() {
                    shared.handle_attribute(attribute, value);
                    if let Some(media) = media {
                        media.handle_attribute(attribute, value);
                    }
                }
            }
            _ => {}
        }
    }

    /// What the line belongs to; nothing behind a skipped `m=` line.
    fn current(&mut self) -> Option<(Option<&mut Media>, &mut Shared)> {
        if self.skipped_media > 0 {
            return None;
        }
        Some(match self.media.last_mut() {
            Some((media, shared)) => (Some(media), shared),
            None => (None, &mut self.session),
        })
    }

    fn finish(self) -> Sdp {
        let session = self.session;
        let apply = |(mut media, own): (Media, Shared)| {
            media.address = own.connection.or(session.connection).flatten();
            media.direction = own.direction.or(session.direction).unwrap_or_default();
            media.fingerprint = own.fingerprint || session.fingerprint;
            media.ptime = own.ptime.or(session.ptime);
            media
        };
        Sdp {
            media: self.media.into_iter().map(apply).collect(),
            version: self.version,
            skipped_media: self.skipped_media,
        }
    }
}

impl Shared {
    fn handle_attribute(&mut self, attribute: Attribute, value: &[u8]) {
        match attribute {
            Attribute::Direction(direction) => self.direction = Some(direction),
            Attribute::Fingerprint => self.fingerprint = true,
            Attribute::Ptime => {
                let ptime = text::leading_decimal(value).and_then(|(ms, _)| u16::try_from(ms).ok());
                self.ptime = ptime.filter(|ms| *ms > 0).or(self.ptime);
            }
            Attribute::Rtpmap
            | Attribute::Fmtp
            | Attribute::Crypto
            | Attribute::Candidate
            | Attribute::Rtcp
            | Attribute::RtcpMux
            | Attribute::Label
            | Attribute::Mid
            | Attribute::Other => {}
        }
    }
}

impl Media {
    fn handle_attribute(&mut self, attribute: Attribute, value: &[u8]) {
        match attribute {
            Attribute::Rtpmap => self.handle_rtpmap(value),
            Attribute::Fmtp => {
                let (payload_type, parameters) = text::word(value);
                if let Some(format) = self.format(payload_type) {
                    format.fmtp.get_or_insert_with(|| text::clean(parameters, MAX_FMTP));
                }
            }
            Attribute::Crypto => {
                if self.crypto.len() < MAX_CRYPTO {
                    self.crypto.extend(crypto(value));
                }
            }
            Attribute::Candidate => {
                if self.candidates.len() < MAX_CANDIDATES {
                    self.candidates.extend(candidate(value));
                }
            }
            Attribute::Rtcp => {
                self.rtcp_port = text::decimal(text::word(value).0).filter(|port| *port > 0);
            }
            Attribute::RtcpMux => self.rtcp_mux = true,
            Attribute::Label => self.label = Some(text::clean(value, MAX_NAME)),
            Attribute::Mid => self.mid = Some(text::clean(value, MAX_NAME)),
            Attribute::Direction(_)
            | Attribute::Fingerprint
            | Attribute::Ptime
            | Attribute::Other => {}
        }
    }

    /// `96 opus/48000/2`
    fn handle_rtpmap(&mut self, value: &[u8]) {
        let (payload_type, encoding) = text::word(value);
        let Some(format) = self.format(payload_type) else { return };
        let mut parts = encoding.split(|byte| *byte == b'/').map(<[u8]>::trim_ascii);
        format.name = text::clean(parts.next().unwrap_or_default(), MAX_NAME);
        if let Some(rate) = parts.next().and_then(text::decimal).filter(|rate| *rate > 0) {
            format.clock_rate = rate;
        }
        let channels = parts.next().and_then(text::decimal).filter(|channels| *channels > 0);
        format.channels = channels.unwrap_or(1);
    }

    fn format(&mut self, payload_type: &[u8]) -> Option<&mut Format> {
        let payload_type: u8 = text::decimal(payload_type)?;
        self.formats.iter_mut().find(|format| format.payload_type == payload_type)
    }
}

/// The attributes we know.
#[derive(Clone, Copy)]
enum Attribute {
    Direction(MediaDirection),
    Rtpmap,
    Fmtp,
    Ptime,
    Crypto,
    Fingerprint,
    Candidate,
    Rtcp,
    RtcpMux,
    Label,
    Mid,
    Other,
}

impl Attribute {
    fn named(name: &[u8]) -> Self {
        const NAMES: [(&[u8], Attribute); 14] = [
            (b"rtpmap", Attribute::Rtpmap),
            (b"fmtp", Attribute::Fmtp),
            (b"candidate", Attribute::Candidate),
            (b"crypto", Attribute::Crypto),
            (b"ptime", Attribute::Ptime),
            (b"sendrecv", Attribute::Direction(MediaDirection::SendRecv)),
            (b"sendonly", Attribute::Direction(MediaDirection::SendOnly)),
            (b"recvonly", Attribute::Direction(MediaDirection::RecvOnly)),
            (b"inactive", Attribute::Direction(MediaDirection::Inactive)),
            (b"fingerprint", Attribute::Fingerprint),
            (b"rtcp", Attribute::Rtcp),
            (b"rtcp-mux", Attribute::RtcpMux),
            (b"label", Attribute::Label),
            (b"mid", Attribute::Mid),
        ];
        let known = NAMES.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        known.map_or(Self::Other, |(_, attribute)| attribute)
    }
}

/// `audio 49170/2 RTP/AVP 0 8 101`
fn media(value: &[u8]) -> Media {
    let mut words = value.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let kind = words.next().unwrap_or_default();
    let port = text::leading_decimal(words.next().unwrap_or_default());
    let transport = words.next().unwrap_or_default();
    let mut formats: Vec<Format> = Vec::new();
    for payload_type in words.filter_map(text::decimal::<u8>).filter(|number| *number < 128) {
        if formats.len() >= MAX_FORMATS {
            break;
        }
        if formats.iter().all(|format| format.payload_type != payload_type) {
            formats.push(static_format(payload_type));
        }
    }
    Media {
        kind: media_kind(kind),
        port: port.and_then(|(port, _)| u16::try_from(port).ok()).unwrap_or(0),
        proto: proto(transport),
        address: None,
        direction: MediaDirection::default(),
        ptime: None,
        formats,
        crypto: Vec::new(),
        rtcp_mux: false,
        rtcp_port: None,
        candidates: Vec::new(),
        fingerprint: false,
        label: None,
        mid: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::hint::black_box;

    fn read(text: &str) -> Sdp {
        Sdp::parse(text.as_bytes()).unwrap()
    }

    /// One stream a line: kind, address:port, proto, direction, formats.
    fn check(text: &str, expected: &[&str]) {
        let lines: Vec<_> = read(text).media.iter().map(line).collect();
        assert_eq!(lines, expected);
    }

    fn line(media: &Media) -> String {
        let address = media.address.map_or("?".to_owned(), |address| address.to_string());
        let formats: Vec<_> = media
            .formats
            .iter()
            .map(|f| format!("{}={}/{}/{}", f.payload_type, f.name, f.clock_rate, f.channels))
            .collect();
        format!(
            "{:?} {address} {} {:?} {:?} {}",
            media.kind,
            media.port,
            media.proto,
            media.direction,
            formats.join(" ")
        )
    }

    #[test]
    fn an_offer() {
        let text = "v=0\r\no=- 1 42 IN IP4 10.0.0.1\r\ns=-\r\nc=IN IP4 10.0.0.1\r\nt=0 0\r\n\
            a=sendonly\r\nm=audio 4000/2 RTP/AVP 0 8 96 101\r\na=rtpmap:96 opus/48000/2\r\n\
            a=fmtp:96 useinbandfec=1; stereo=0\r\na=rtpmap:101 telephone-event/8000\r\n\
            a=fmtp:101 0-16\r\na=ptime:20\r\na=rtcp:4009 IN IP4 10.0.0.1\r\na=mid:a\r\n\
            m=video 0 RTP/AVPF 34\r\nc=IN IP4 host.example\r\na=inactive\r\na=rtcp-mux\r\n";
        check(
            text,
            &[
                "Audio 10.0.0.1 4000 RtpAvp SendOnly 0=PCMU/8000/1 8=PCMA/8000/1 96=opus/48000/2 \
             101=telephone-event/8000/1",
                "Video ? 0 RtpAvpf Inactive 34=H263/90000/1",
            ],
        );
        let sdp = read(text);
        assert_eq!(sdp.version, Some(42));
        let audio = &sdp.media[0];
        assert_eq!(audio.formats[2].fmtp.as_deref(), Some("useinbandfec=1; stereo=0"));
        assert_eq!((audio.ptime, audio.rtcp_port, audio.rtcp_mux), (Some(20), Some(4009), false));
        assert_eq!(audio.mid.as_deref(), Some("a"));
        assert!(sdp.media[1].rtcp_mux);
    }

    #[test]
    fn devices_write_it_their_own_way() {
        check(
            "m=audio 4000 RTP/AVP 0\nv=0\nc=IN IP4 1.2.3.4\n",
            &["Audio 1.2.3.4 4000 RtpAvp SendRecv 0=PCMU/8000/1"],
        );
        check(
            "v=0\rc=IN IP4 0.0.0.0\rm=AUDIO 70000 rtp/avp 8 8 300 x\r\0garbage",
            &["Audio 0.0.0.0 0 RtpAvp SendRecv 8=PCMA/8000/1"],
        );
        check(
            "v=0\nc=IN IP4 224.2.1.1/127/3\nm=audio 2/2 RTP/AVP 18\nm=\nm=image 9 udptl t38",
            &[
                "Audio 224.2.1.1 2 RtpAvp SendRecv 18=G729/8000/1",
                "Other 224.2.1.1 0 Other SendRecv ",
                "Image 224.2.1.1 9 Udptl SendRecv ",
            ],
        );
        check(
            "v=0\nm=audio 5 RTP/AVP 97 0\nc=IN IP6 fe80::1%eth0\na=rtpmap: 97 x/0/0\na=rtpmap:0\n",
            &["Audio fe80::1 5 RtpAvp SendRecv 97=x/8000/1 0=/8000/1"],
        );
        assert!(Sdp::parse(b"hello\r\nc=IN IP4 1.2.3.4\r\n").is_err());
        assert!(Sdp::parse(b"").is_err());
    }

    #[test]
    fn encryption_and_ice() {
        let sdp = read(
            "v=0\na=fingerprint:sha-256 00\nm=audio 9 UDP/TLS/RTP/SAVPF 111\nc=IN IP4 0.0.0.0\n\
             a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:secret|2^20|1:4;inline:more X=1\n\
             a=crypto:x Y inline:secret\na=crypto:2 Y clear:secret\n\
             a=candidate:1 1 UDP 2130706431 10.0.1.1 8998 typ host\n\
             a=candidate:1 2 UDP 2130706430 10.0.1.1 8999 typ host\n\
             a=candidate:2 1 tcp 1 10.0.1.1 9 typ host\n\
             a=candidate:3 1 udp 1 abc.local 9 typ host\n\
             a=candidate:4 1 udp 1 2001:db8::1 7 typ srflx\n",
        );
        let media = &sdp.media[0];
        assert_eq!(media.proto, Proto::DtlsSavpf);
        assert!(media.fingerprint);
        assert_eq!(media.crypto.len(), 1);
        assert_eq!(
            (media.crypto[0].tag, &media.crypto[0].inline[..]),
            (1, &b"secret|2^20|1:4;inline:more X=1"[..])
        );
        assert!(!format!("{sdp:?}").contains("secret"));
        let candidates: Vec<_> = media.candidates.iter().map(SocketAddr::to_string).collect();
        assert_eq!(candidates, ["10.0.1.1:8998", "[2001:db8::1]:7"]);
    }

    #[test]
    fn everything_is_bounded() {
        let formats: String = (0..300).map(|number| format!(" {number}")).collect();
        let crypto = "a=crypto:1 X inline:k\n".repeat(MAX_CRYPTO + 1);
        let ice = "a=candidate:1 1 UDP 1 1.1.1.1 1 typ host\n".repeat(MAX_CANDIDATES + 1);
        let sdp = read(&format!("m=audio 1 RTP/AVP{formats}\n{crypto}{ice}"));
        assert_eq!(sdp.media[0].formats.len(), MAX_FORMATS);
        assert_eq!(sdp.media[0].crypto.len(), MAX_CRYPTO);
        assert_eq!(sdp.media[0].candidates.len(), MAX_CANDIDATES);
        let sdp = read(&format!("{}a=sendonly\n", "m=audio 1 RTP/AVP 0\n".repeat(MAX_MEDIA + 2)));
        assert_eq!((sdp.media.len(), sdp.skipped_media), (MAX_MEDIA, 2));
        assert_eq!(sdp.media[MAX_MEDIA - 1].direction, MediaDirection::SendRecv);
    }

    proptest! {
        #[test]
        fn anything_is_survived(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            black_box(Sdp::parse(&bytes).is_ok());
        }

        #[test]
        fn anything_alike_is_survived(
            lines in prop::collection::vec(
                ("[acmov]=", "(audio|rtpmap|fmtp|crypto|candidate|rtcp|ptime|IN IP4)?[ :/0-9a-z.%|]{0,40}"),
                0..60,
            ),
        ) {
            let text: String = lines.iter().map(|(letter, rest)| format!("{letter}{rest}\r\n")).collect();
            if let Ok(sdp) = Sdp::parse(text.as_bytes()) {
                prop_assert!(sdp.media.len() <= MAX_MEDIA);
                for media in &sdp.media {
                    prop_assert!(media.formats.len() <= MAX_FORMATS);
                    prop_assert!(media.formats.iter().all(|f| f.clock_rate > 0 && f.channels > 0));
                }
            }
        }
    }
}
