//! How long a payload lasts, from its length and its frame headers alone.
//!
//! Law: for every codec decoded here, ticks equal the samples `decode` gives (half of them for
//! G.722), and 0 where it refuses. The others are timed so that their packets find their place,
//! and a decoder from elsewhere gives as many samples.

use super::frames::{self, AmrFormat};
use super::{Codec, dvi4, gsm, opus};

pub(super) fn ticks_in(codec: Codec, payload: &[u8]) -> u32 {
    let len = payload.len();
    let ticks = match codec {
        Codec::Pcmu | Codec::Pcma | Codec::G722 => len,
        Codec::L16 { channels, .. } => len / (2 * usize::from(channels.max(1))),
        Codec::G726 { size, .. } => len * 8 / usize::from(size.bits()),
        Codec::Dvi4 { .. } => len.saturating_sub(dvi4::HEADER) * 2,
        Codec::Gsm => gsm::frames(payload) * gsm::FRAME_SAMPLES,
        Codec::ComfortNoise { .. } => 0,
        // 10 ms in 10 bytes; a silence descriptor of 2 may end the packet (RFC 3551 4.5.6).
        Codec::G729 => (len / 10 + usize::from(len % 10 == 2)) * 80,
        Codec::G723 => frames::g723(payload).count() * frames::G723_SAMPLES,
        Codec::Ilbc { mode } => ilbc_ticks(mode, len),
        Codec::Opus => opus::ticks(payload).unwrap_or(0),
        Codec::Amr { wide, octet_aligned } => {
            let format = AmrFormat { wide, octet_aligned, checksums: false };
            format.count(payload) * format.samples()
        }
        Codec::Speex { rate } => {
            let band = frames::SpeexBand::of(rate);
            band.count(payload) * band.samples()
        }
    };
    u32::try_from(ticks).unwrap_or(u32::MAX)
}

/// iLBC: as many whole frames as there are.
fn ilbc_ticks(mode: u8, len: usize) -> usize {
    let frame = frames::ilbc(mode, len);
    len / frame.bytes() * frame.samples()
}

/// `mode=` of iLBC; 30 when nothing is said (RFC 3952).
pub(super) fn ilbc_mode(fmtp: Option<&str>) -> u8 {
    if parameter(fmtp, "mode") == Some("20") { 20 } else { 30 }
}

/// `octet-align=1` of AMR (RFC 4867); interleaving, CRCs and robust sorting imply it.
pub(super) fn octet_aligned(fmtp: Option<&str>) -> bool {
    parameter(fmtp, "octet-align") == Some("1")
        || parameter(fmtp, "crc") == Some("1")
        || parameter(fmtp, "robust-sorting") == Some("1")
        || parameter(fmtp, "interleaving").is_some()
}

/// The value of one `name=value` of an fmtp.
pub(super) fn parameter<'a>(fmtp: Option<&'a str>, name: &str) -> Option<&'a str> {
    fmtp?.split(';').find_map(|field| {
        let (key, value) = field.split_once('=')?;
        key.trim().eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, fmtp: Option<&str>, payload: &[u8], ticks: u32) {
        let rate = match name {
            "opus" => 48_000,
            "AMR-WB" => 16_000,
            _ => 8_000,
        };
        let codec = Codec::named(name, rate, 1, fmtp).unwrap();
        assert_eq!(codec.ticks_in(payload), ticks, "{name} {payload:02x?}");
    }

    #[test]
    fn frames_that_others_decode_are_timed() {
        check("G729", None, &[0; 20], 160);
        check("G729", None, &[0; 12], 160);
        check("G729", None, &[0; 2], 80);
        check("G729", None, &[0; 1], 0);
        check("G723", None, &[&[0; 24][..], &[1; 20], &[2; 4], &[3]].concat(), 960);
        check("G723", None, &[0; 23], 0);
        check("iLBC", Some("mode=20"), &[0; 38], 160);
        check("iLBC", None, &[0; 50], 240);
        check("iLBC", Some("mode=30"), &[0; 76], 320);
        check("AMR", Some("octet-align=1"), &[0xf0, 0xbc, 0x3c, 1, 2], 320);
        check("AMR", Some("octet-align=1"), &[0xf0, 0xbc], 0);
        // Mode request 15, "another follows" and type 7, last and type 7.
        check("AMR", None, &[0b1111_1011, 0b1100_1111, 0], 320);
        check("AMR-WB", None, &[0b1111_0000, 0], 320);
        check("AMR", None, &[0xff; 3], 0);
    }

    #[test]
    fn opus_says_its_length_in_the_first_byte() {
        let silk_20 = 9 << 3;
        check("opus", None, &[silk_20], 960);
        check("opus", None, &[silk_20 | 1, 0, 0], 1_920);
        check("opus", None, &[silk_20 | 3, 6], 5_760);
        check("opus", None, &[silk_20 | 3, 7], 0);
        check("opus", None, &[silk_20 | 3], 0);
        check("opus", None, &[11 << 3], 2_880);
        check("opus", None, &[14 << 3], 480);
        check("opus", None, &[16 << 3], 120);
        check("opus", None, &[31 << 3], 960);
        check("opus", None, &[], 0);
    }

    #[test]
    fn fmtp_parameters_are_found_among_others() {
        assert!(octet_aligned(Some("mode-set=0,2; octet-align=1")));
        assert!(octet_aligned(Some("Octet-Align = 1;mode-change-period=2")));
        assert!(!octet_aligned(Some("octet-align=0")));
        assert!(!octet_aligned(None));
        assert_eq!(ilbc_mode(Some("mode=20")), 20);
        assert_eq!(ilbc_mode(Some("annexb=no")), 30);
    }
}
