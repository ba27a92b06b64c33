//! RTP-like flows that no signalling has announced (yet): watched, a little of each kept, so that
//! the first packet of a call is on its tape even when it overtakes the answer.
//!
//! Law: bounded in flows, packets and bytes; a flow that does not go on like RTP is forgotten.

use super::index::FlowId;
use crate::{rtp::packet::RtpPacket, time::Timestamp};
use foldhash::fast::RandomState;
use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    net::SocketAddr,
};

/// Packets kept of one flow: two seconds of 20 ms packets.
pub const KEPT_PACKETS: usize = 100;
/// Bytes kept over all flows.
const KEPT_BYTES: usize = 16 << 20;
/// A flow that pauses longer than this begins anew, in milliseconds.
const PAUSE_MS: u64 = 5_000;
/// The next packet of a stream is at most this far ahead or behind.
const PLAUSIBLE_STEP: u16 = 100;

/// One packet kept.
#[derive(Clone, Debug)]
pub struct Kept {
    /// When it came.
    pub at: Timestamp,
    /// The UDP payload.
    pub bytes: Vec<u8>,
}

#[derive(Debug)]
struct Candidate {
    ssrc: u32,
    sequence: u16,
    payload_type: u8,
    count: u32,
    last: Timestamp,
    /// Place in the order of age.
    age: u64,
    kept: VecDeque<Kept>,
    bytes: usize,
}

/// All flows watched.
#[derive(Debug)]
pub struct Candidates {
    most: usize,
    flows: HashMap<FlowId, Candidate, RandomState>,
    /// Flows that touch an address.
    touching: HashMap<SocketAddr, Vec<FlowId>, RandomState>,
    /// Least recently begun first.
    by_age: BTreeMap<u64, FlowId>,
    next_age: u64,
    bytes: usize,
    /// Packets given up since the beginning.
    pub dropped: u64,
}

impl Candidates {
    /// At most `most` flows.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self {
            most,
            flows: HashMap::default(),
            touching: HashMap::default(),
            by_age: BTreeMap::new(),
            next_age: 0,
            bytes: 0,
            dropped: 0,
        }
    }

    /// Flows watched now.
    #[must_use]
    pub fn len(&self) -> usize {
        self.flows.len()
    }

    /// Nothing is watched.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.flows.is_empty()
    }

    /// Takes in a packet; gives the number of packets in a row that looked like one stream.
    pub fn watch(&mut self, at: Timestamp, flow: FlowId, rtp: &RtpPacket<'_>, bytes: &[u8]) -> u32 {
        if self.most == 0 {
            return 0;
        }
        let fits = self.flows.get(&flow).is_some_and(|known| {
            let step = rtp.sequence.wrapping_sub(known.sequence);
            known.ssrc == rtp.ssrc
                && known.payload_type == rtp.payload_type
                && step.min(step.wrapping_neg()) <= PLAUSIBLE_STEP
                && at.millis_since(known.last) <= PAUSE_MS
        });
        if !fits {
            self.forget(flow);
            self.begin(at, flow, rtp);
        }
        while self.bytes + bytes.len() > KEPT_BYTES {
            let Some((_, oldest)) = self.by_age.first_key_value().map(|(a, f)| (*a, *f)) else {
                break;
            };
            if oldest == flow {
                break;
            }
            self.forget(oldest);
        }
        let Some(known) = self.flows.get_mut(&flow) else { return 0 };
        known.sequence = rtp.sequence;
        known.last = at;
        known.count += 1;
        if known.kept.len() >= KEPT_PACKETS
            && let Some(oldest) = known.kept.pop_front()
        {
            known.bytes -= oldest.bytes.len();
            self.bytes -= oldest.bytes.len();
            self.dropped += 1;
        }
        known.bytes += bytes.len();
        self.bytes += bytes.len();
        known.kept.push_back(Kept { at, bytes: bytes.to_vec() });
        known.count
    }

    fn begin(&mut self, at: Timestamp, flow: FlowId, rtp: &RtpPacket<'_>) {
        while self.flows.len() >= self.most {
            let Some(oldest) = self.by_age.first_key_value().map(|(_, flow)| *flow) else { break };
            self.forget(oldest);
        }
        let age = self.next_age;
        self.next_age += 1;
        self.by_age.insert(age, flow);
        for address in [flow.source(), flow.destination()] {
            self.touching.entry(address).or_default().push(flow);
        }
        let candidate = Candidate {
            ssrc: rtp.ssrc,
            sequence: rtp.sequence,
            payload_type: rtp.payload_type,
            count: 0,
            last: at,
            age,
            kept: VecDeque::new(),
            bytes: 0,
        };
        self.flows.insert(flow, candidate);
    }

    fn forget(&mut self, flow: FlowId) {
        let dropped = self.take(flow).len();
        self.dropped += u64::try_from(dropped).unwrap_or(0);
    }

    /// Stops watching every flow.
    pub fn clear(&mut self) {
        while let Some(oldest) = self.by_age.first_key_value().map(|(_, flow)| *flow) {
            self.forget(oldest);
        }
    }

    /// Stops watching a flow; what was kept of it comes back in order.
    pub fn take(&mut self, flow: FlowId) -> VecDeque<Kept> {
        let Some(known) = self.flows.remove(&flow) else { return VecDeque::new() };
        self.by_age.remove(&known.age);
        self.bytes -= known.bytes;
        for address in [flow.source(), flow.destination()] {
            if let Some(flows) = self.touching.get_mut(&address) {
                flows.retain(|other| *other != flow);
                if flows.is_empty() {
                    self.touching.remove(&address);
                }
            }
        }
        known.kept
    }

    /// Flows that send to or from `address`, oldest first.
    #[must_use]
    pub fn touching(&self, address: SocketAddr) -> Vec<FlowId> {
        self.touching.get(&address).cloned().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rtp(sequence: u16) -> RtpPacket<'static> {
        RtpPacket {
            marker: false,
            payload_type: 0,
            sequence,
            timestamp: 0,
            ssrc: 1,
            packet: &[],
            payload: &[],
        }
    }

    #[test]
    fn keeps_the_newest_and_stays_bounded() {
        let mut candidates = Candidates::new(2);
        let flow =
            |n: u16| FlowId::new(([10, 0, 0, 1], 4000 + n).into(), ([10, 0, 0, 2], 5000).into());
        for n in 0..150u16 {
            candidates.watch(Timestamp(u64::from(n)), flow(1), &rtp(n), &n.to_be_bytes());
        }
        assert_eq!(candidates.watch(Timestamp(1), flow(2), &rtp(9), b"x"), 1);
        assert_eq!(candidates.watch(Timestamp(1), flow(2), &rtp(5000), b"x"), 1);
        assert_eq!(candidates.touching(([10, 0, 0, 2], 5000).into()).len(), 2);
        let kept = candidates.take(flow(1));
        assert_eq!(
            (kept.len(), kept[0].bytes.as_slice()),
            (KEPT_PACKETS, &50u16.to_be_bytes()[..])
        );
        for n in 3..10 {
            candidates.watch(Timestamp(1), flow(n), &rtp(1), b"y");
        }
        assert_eq!(
            (candidates.len(), candidates.by_age.len(), candidates.touching.len()),
            (2, 2, 3)
        );
        assert_eq!(candidates.bytes, 2);
    }
}
