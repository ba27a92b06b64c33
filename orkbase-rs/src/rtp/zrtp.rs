//! ZRTP (RFC 6189) as far as a listener can tell: when the media of a call turns into SRTP whose keys
//! never appear on the wire, and back.

/// Behind the packet type and the sequence number (§5).
const COOKIE: &[u8; 4] = b"ZRTP";
/// Where the name of the message begins: behind header, preamble and length.
const NAME_AT: usize = 16;

/// What a ZRTP packet says of the media that follows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Turn {
    /// It is encrypted.
    Secure,
    /// It is not any more.
    Clear,
}

/// Whether bytes look like a ZRTP packet.
#[must_use]
pub fn looks_like_zrtp(bytes: &[u8]) -> bool {
    bytes.first() == Some(&0x10) && bytes.get(4..8) == Some(COOKIE)
}

/// What a packet changes; `None` for most.
#[must_use]
pub fn turn(bytes: &[u8]) -> Option<Turn> {
    if !looks_like_zrtp(bytes) {
        return None;
    }
    match bytes.get(NAME_AT..NAME_AT + 8)? {
        // Whoever has sent or got the second confirmation encrypts what it sends.
        b"Confirm2" | b"Conf2ACK" => Some(Turn::Secure),
        b"ClearACK" => Some(Turn::Clear),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_confirmations_change_anything() {
        let packet = |name: &[u8; 8]| {
            [&[0x10, 0, 0, 1][..], COOKIE, &[0, 0, 0, 7, 0x50, 0x5a, 0, 3], name, &[0; 4]].concat()
        };
        assert_eq!(turn(&packet(b"Confirm2")), Some(Turn::Secure));
        assert_eq!(turn(&packet(b"Conf2ACK")), Some(Turn::Secure));
        assert_eq!(turn(&packet(b"ClearACK")), Some(Turn::Clear));
        assert_eq!(turn(&packet(b"Hello   ")), None);
        let whole = packet(b"Confirm2");
        for cut in 0..NAME_AT + 8 {
            assert_eq!(turn(&whole[..cut]), None);
        }
    }
}
