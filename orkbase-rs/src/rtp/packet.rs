//! Reads the RTP header (RFC 3550 §5.1) from borrowed bytes.

use crate::packet::{Layer, Malformed};

/// One RTP packet, payload borrowed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RtpPacket<'a> {
    /// Marker bit: first packet of a talkspurt for audio.
    pub marker: bool,
    /// Payload type, 0 to 127.
    pub payload_type: u8,
    /// Sequence number.
    pub sequence: u16,
    /// Media timestamp in units of the payload's clock.
    pub timestamp: u32,
    /// Synchronisation source.
    pub ssrc: u32,
    /// The whole packet, for decryption.
    pub packet: &'a [u8],
    /// Media bytes without padding, CSRCs and header extension.
    pub payload: &'a [u8],
}

impl<'a> RtpPacket<'a> {
    /// Reads one packet.
    ///
    /// # Errors
    /// When it is not version 2, is RTCP (packet types 192 to 223, RFC 5761 §4), or its own lengths
    /// run past its end.
    #[inline]
    pub fn decode(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let refuse = |offset, why| Malformed { layer: Layer::Rtp, offset, why };
        let Some((header, rest)) = bytes.split_first_chunk::<12>() else {
            return Err(refuse(bytes.len(), "header shorter than 12 bytes"));
        };
        let &[flags, kind, s0, s1, t0, t1, t2, t3, r0, r1, r2, r3] = header;
        if flags >> 6 != 2 {
            return Err(refuse(0, "version is not 2"));
        }
        if (192..=223).contains(&kind) {
            return Err(refuse(1, "RTCP packet type"));
        }
        let payload = if flags & 0x3f == 0 {
            rest
        } else {
            Self::trim(flags, rest).ok_or(refuse(12, "own lengths past its end"))?
        };
        Ok(Self {
            marker: kind & 0x80 != 0,
            payload_type: kind & 0x7f,
            sequence: u16::from_be_bytes([s0, s1]),
            timestamp: u32::from_be_bytes([t0, t1, t2, t3]),
            ssrc: u32::from_be_bytes([r0, r1, r2, r3]),
            packet: bytes,
            payload,
        })
    }

    /// Cuts CSRC list, header extension and padding.
    fn trim(flags: u8, rest: &'a [u8]) -> Option<&'a [u8]> {
        let mut body = rest.get(usize::from(flags & 0x0f) * 4..)?;
        if flags & 0x10 != 0 {
            let (&[_, _, hi, lo], after) = body.split_first_chunk::<4>()?;
            body = after.get(usize::from(u16::from_be_bytes([hi, lo])) * 4..)?;
        }
        if flags & 0x20 != 0 {
            let padding = usize::from(*body.last()?);
            // A padding count of zero is a sender's mistake seen in the field: nothing is cut.
            body = body.get(..body.len().checked_sub(padding)?)?;
        }
        Some(body)
    }
}

/// Whether bytes look like RTCP: version 2 and a packet type between 192 and 223 (RFC 5761 §4).
#[must_use]
pub fn is_rtcp(bytes: &[u8]) -> bool {
    matches!(bytes, [flags, 192..=223, _, _, _, _, _, _, ..] if flags >> 6 == 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bytes(flags: u8, tail: &[u8]) -> Vec<u8> {
        let mut all = vec![flags, 0x80 | 8, 0x12, 0x34, 0, 0, 0, 160, 0xde, 0xad, 0xbe, 0xef];
        all.extend_from_slice(tail);
        all
    }

    #[test]
    fn plain_header() {
        let raw = bytes(0x80, &[1, 2, 3]);
        let packet = RtpPacket::decode(&raw).unwrap();
        assert!(packet.marker);
        assert_eq!((packet.payload_type, packet.sequence, packet.timestamp), (8, 0x1234, 160));
        assert_eq!((packet.ssrc, packet.payload), (0xdead_beef, &[1u8, 2, 3][..]));
    }

    #[test]
    fn csrc_extension_and_padding_are_cut() {
        let tail = [9, 9, 9, 9, 0xbe, 0xde, 0, 1, 7, 7, 7, 7, 5, 6, 0, 2];
        let raw = bytes(0xb1, &tail);
        assert_eq!(RtpPacket::decode(&raw).unwrap().payload, &[5, 6]);
    }

    #[test]
    fn lies_are_refused() {
        for (flags, tail) in
            [(0xa0, &[1u8, 9][..]), (0x8f, &[0; 8]), (0x90, &[0, 0, 0xff, 0xff]), (0x40, &[])]
        {
            assert!(RtpPacket::decode(&bytes(flags, tail)).is_err(), "{flags:x}");
        }
        assert!(is_rtcp(&[0x81, 200, 0, 6, 1, 2, 3, 4]) && !is_rtcp(&[0x80, 0, 0, 0, 0, 0, 0, 0]));
        assert_eq!(RtpPacket::decode(&[0x80; 5]).unwrap_err().offset, 5);
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered(raw in proptest::collection::vec(any::<u8>(), 0..80)) {
            if let Ok(packet) = RtpPacket::decode(&raw) {
                prop_assert!(packet.payload.len() + 12 <= raw.len());
            }
        }
    }
}
