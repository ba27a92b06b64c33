//! What Skinny says of one stream of media, in the words of facts.

use crate::signal::{Flow, Format, Media, Security};
use std::net::SocketAddr;

/// A stream that is received at `address`; without one the call is on hold.
pub(super) fn media(address: Option<SocketAddr>, codec: u32, encrypted: bool) -> Media {
    Media {
        audio: true,
        address: address.map(|address| address.ip()),
        port: address.map_or(0, |address| address.port()),
        rtcp_port: None,
        candidates: Vec::new(),
        flow: if address.is_some() { Flow::SendReceive } else { Flow::Inactive },
        formats: format(codec).into_iter().collect(),
        // The key's layout is not sure enough to decrypt with: as if it had never been shown.
        security: if encrypted { Security::Sealed("SRTP") } else { Security::Clear },
    }
}

/// What Cisco's codec number means where RFC 3551 gives it a payload type. Others (25 wideband
/// 256 kbit/s, 40 and 41 G.722.1, 86 iLBC, 90 Opus, ..) have payload types that are not stated here;
/// what is not known is left to the payload type itself.
fn format(codec: u32) -> Option<Format> {
    let (payload_type, name) = match codec {
        // 64 and 56 kbit/s.
        2 | 3 => (8, "PCMA"),
        4 | 5 => (0, "PCMU"),
        6 => (9, "G722"),
        9 => (4, "G723"),
        10 => (15, "G728"),
        // Plain, A, B, AB.
        11 | 12 | 15 | 16 => (18, "G729"),
        18 | 80 => (3, "GSM"),
        _ => return None,
    };
    Some(Format {
        payload_type,
        name: name.to_owned(),
        clock_rate: 8_000,
        channels: 1,
        parameters: None,
    })
}
