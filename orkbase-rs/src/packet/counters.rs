//! What the packet layer met, in plain numbers.

use std::collections::BTreeMap;

/// Distinct numbers remembered per table; a network has a few dozen, a random sender up to 65,536.
const NUMBERS: usize = 256;

/// How often each unknown protocol number was seen; bounded.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ByNumber {
    seen: BTreeMap<u16, u64>,
    /// Sightings of further numbers once the table was full.
    pub others: u64,
}

impl ByNumber {
    /// The numbers and their counts, by number.
    pub fn iter(&self) -> impl Iterator<Item = (u16, u64)> + '_ {
        self.seen.iter().map(|(number, count)| (*number, *count))
    }

    /// How often `number` was seen.
    #[must_use]
    pub fn count(&self, number: u16) -> u64 {
        self.seen.get(&number).copied().unwrap_or(0)
    }

    pub(super) fn add(&mut self, number: u16) {
        if let Some(count) = self.seen.get_mut(&number) {
            *count += 1;
        } else if self.seen.len() < NUMBERS {
            self.seen.insert(number, 1);
        } else {
            self.others += 1;
        }
    }
}

/// Everything the decoder counted since it began. Nothing is dropped without a number here.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Counters {
    /// Frames handed to the decoder.
    pub frames: u64,
    /// Frames with less captured than some header, or the capture itself, claims.
    pub truncated: u64,
    /// Link headers refused.
    pub malformed_link: u64,
    /// IP headers refused.
    pub malformed_ip: u64,
    /// UDP and TCP headers refused.
    pub malformed_transport: u64,
    /// Tunnel headers refused.
    pub malformed_tunnel: u64,
    /// Walks given up because headers or tunnels nested too deep.
    pub too_deep: u64,
    /// Control frames and keep-alives of protocols we know, which carry no packet; messages of capture
    /// agents that stay closed as well.
    pub without_payload: u64,
    /// Frames of a link type we cannot read, by `LINKTYPE_*` number.
    pub unknown_links: ByNumber,
    /// Frames whose `EtherType` we do not follow (ARP, LLDP, ..), by number.
    pub unknown_ethertypes: ByNumber,
    /// Packets whose IP protocol we do not follow (ICMP, ESP, SCTP, ..), by number.
    pub unknown_ip_protocols: ByNumber,

    /// UDP datagrams delivered.
    pub udp: u64,
    /// TCP segments seen.
    pub tcp_segments: u64,
    /// Bytes of TCP payload delivered in order.
    pub tcp_bytes: u64,
    /// TCP payload bytes seen again (retransmission, keep-alive, mirrored twice) and dropped.
    pub tcp_repeated_bytes: u64,
    /// TCP segments that came before their turn and were kept.
    pub tcp_early: u64,
    /// Holes in a TCP stream given up.
    pub tcp_gaps: u64,
    /// TCP directions begun.
    pub tcp_streams: u64,
    /// TCP directions first seen without their SYN.
    pub tcp_joined_midway: u64,
    /// TCP directions forgotten because the table was full.
    pub tcp_evicted: u64,
    /// TCP directions forgotten after a long silence.
    pub tcp_expired: u64,

    /// IP fragments seen.
    pub fragments: u64,
    /// Packets put together again from fragments.
    pub reassembled: u64,
    /// Fragments that brought nothing new: repeated, overlapped, or of a packet already whole.
    pub fragments_repeated: u64,
    /// Fragments that contradict others of their packet, exceed 65,535 bytes or were cut short.
    pub fragments_refused: u64,
    /// Unfinished packets dropped for their age.
    pub fragments_expired: u64,
    /// Unfinished packets dropped because the table was full.
    pub fragments_evicted: u64,

    /// GRE headers opened (any version, ERSPAN included).
    pub gre: u64,
    /// ERSPAN mirror sessions opened, types I, II and III.
    pub erspan: u64,
    /// VXLAN packets opened.
    pub vxlan: u64,
    /// Geneve packets opened.
    pub geneve: u64,
    /// GTP-U packets opened.
    pub gtp_u: u64,
    /// TZSP packets opened.
    pub tzsp: u64,
    /// Datagrams with frames in Oreka's encapsulation opened.
    pub oreka: u64,
    /// HEP packets opened, any version.
    pub hep: u64,
    /// Of them, with a compressed message.
    pub hep_inflated: u64,
    /// HEP packets with a compressed message that could not be unpacked, or is too long.
    pub hep_compressed: u64,
    /// HEP packets without the configured key.
    pub hep_unauthorized: u64,
    /// Packets to a HEP port that begin like HEP but do not agree with it: taken for plain UDP.
    pub hep_refused: u64,
    /// Bytes between the packets that agents send over TCP: a hole, garbage, a connection joined midway.
    pub carried_skipped_bytes: u64,
    /// IP inside IP opened, either version in either.
    pub ip_in_ip: u64,
}
