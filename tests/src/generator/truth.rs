//! What a generated capture holds: written by `ork-gen`, read by `ork-check`.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::law::{Codec, Side};

/// The whole capture.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Truth {
    /// Codec of every stream.
    pub codec: Codec,
    /// Milliseconds of audio in a packet.
    pub ptime_ms: u32,
    /// Packets each stream would have without losses.
    pub frames: u32,
    /// False where the capture holds RTP alone.
    pub sip: bool,
    /// Largest delay added to a packet.
    pub jitter_ms: f64,
    /// How fast the caller's clock runs, parts per million.
    pub drift_ppm_caller: f64,
    /// How fast the callee's clock runs, parts per million.
    pub drift_ppm_callee: f64,
    /// RTP packets in the capture, duplicates included.
    pub rtp_packets: u64,
    /// SIP messages in the capture.
    pub sip_packets: u64,
    /// Every call, by number.
    pub calls: Vec<CallTruth>,
}

/// One call.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CallTruth {
    /// The number in its audio, and its place in the list.
    pub number: u32,
    /// Call-ID.
    pub call_id: String,
    /// User part of From.
    pub caller: String,
    /// User part of To.
    pub callee: String,
    /// What the caller sends.
    pub from_caller: StreamTruth,
    /// What the callee sends.
    pub from_callee: StreamTruth,
}

impl CallTruth {
    /// The stream of one side.
    #[must_use]
    pub fn stream(&self, side: Side) -> &StreamTruth {
        match side {
            Side::Caller => &self.from_caller,
            Side::Callee => &self.from_callee,
        }
    }
}

/// One direction of RTP.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StreamTruth {
    /// Sender.
    pub src: SocketAddr,
    /// Receiver.
    pub dst: SocketAddr,
    /// Source identifier.
    pub ssrc: u32,
    /// Sequence number of the first packet.
    pub first_sequence: u16,
    /// RTP timestamp of the first packet.
    pub first_timestamp: u32,
    /// Capture time of the first packet, nanoseconds since 1970.
    pub first_ns: u64,
    /// Frames that are not in the capture; never the first and never the last.
    pub lost: Vec<u32>,
    /// Packets that came after a later one on purpose (jitter may add more).
    pub reordered: u32,
    /// Extra copies in the capture.
    pub duplicates: u32,
}
