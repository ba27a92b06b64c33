//! UDP and TCP headers.

use super::{Layer, Malformed, take};

/// A UDP header and its payload.
#[derive(Clone, Copy, Debug)]
pub(super) struct Udp<'a> {
    pub(super) source: u16,
    pub(super) destination: u16,
    pub(super) payload: &'a [u8],
    /// The header claims more than there is.
    pub(super) cut: bool,
}

/// Reads UDP (RFC 768). Length 0 means "to the end": jumbograms and segmentation offload.
pub(super) fn udp(bytes: &[u8]) -> Result<Udp<'_>, Malformed> {
    let (header, rest) = take::<8>(bytes, Layer::Transport, "UDP header is 8 bytes")?;
    let claimed = match u16::from_be_bytes([header[4], header[5]]) {
        0 => rest.len(),
        1..8 => {
            let why = "UDP length counts its own 8 bytes";
            return Err(Malformed { layer: Layer::Transport, offset: 4, why });
        }
        length => usize::from(length) - 8,
    };
    Ok(Udp {
        source: u16::from_be_bytes([header[0], header[1]]),
        destination: u16::from_be_bytes([header[2], header[3]]),
        payload: rest.get(..claimed).unwrap_or(rest),
        cut: claimed > rest.len(),
    })
}

/// A TCP header and its payload.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment<'a> {
    pub(super) source: u16,
    pub(super) destination: u16,
    pub(super) sequence: u32,
    pub(super) acknowledged: Option<u32>,
    pub(super) syn: bool,
    pub(super) fin: bool,
    pub(super) reset: bool,
    pub(super) payload: &'a [u8],
}

/// Reads TCP (RFC 9293). `bytes` must already end where IP says it ends.
pub(super) fn tcp(bytes: &[u8]) -> Result<Segment<'_>, Malformed> {
    let (header, _) = take::<20>(bytes, Layer::Transport, "TCP header is 20 bytes")?;
    let length = usize::from(header[12] >> 4) * 4;
    if length < 20 {
        let why = "TCP data offset counts its own 20 bytes";
        return Err(Malformed { layer: Layer::Transport, offset: 12, why });
    }
    let why = "TCP options end beyond the packet";
    let broken = Malformed { layer: Layer::Transport, offset: bytes.len(), why };
    let flags = header[13];
    let acknowledged = u32::from_be_bytes([header[8], header[9], header[10], header[11]]);
    Ok(Segment {
        source: u16::from_be_bytes([header[0], header[1]]),
        destination: u16::from_be_bytes([header[2], header[3]]),
        sequence: u32::from_be_bytes([header[4], header[5], header[6], header[7]]),
        acknowledged: (flags & 0x10 != 0).then_some(acknowledged),
        fin: flags & 0x01 != 0,
        syn: flags & 0x02 != 0,
        reset: flags & 0x04 != 0,
        payload: bytes.get(length..).ok_or(broken)?,
    })
}
