//! RTP-like flows that no signalling has announced (yet): watched, a little of each kept, so that
//! the first packet of a call is on its tape even when it overtakes the answer.
//!
//! Law: bounded in flows, packets and bytes; a flow that does not go on like RTP is forgotten, and what was
//! kept of one that has been silent for long is nobody's beginning any more.

use super::index::FlowId;
use crate::{rtp::packet::RtpPacket, time::Timestamp};
use foldhash::fast::RandomState;
use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    net::SocketAddr,
};

/// How long packets are kept, in milliseconds.
const KEPT_MS: u64 = 2_000;
/// Packets kept of one flow: two seconds of 10 ms packets, or of 20 ms ones that a mirror doubles.
pub const KEPT_PACKETS: usize = 200;
/// A copy of a packet comes within so many others.
const COPY_WITHIN: usize = 16;
/// Bytes kept over all flows.
const KEPT_BYTES: usize = 16 << 20;
/// A flow that pauses longer than this begins anew, in milliseconds.
const PAUSE_MS: u64 = 5_000;
/// What was kept of a flow that has been silent for longer is no part of a call that begins now, in milliseconds.
const SILENT_MS: u64 = 30_000;
/// Flows looked at by one [`Candidates::tidy`].
const TIDIED: usize = 16;
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

/// A flow that looks like RTP and belongs to no call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Stray {
    /// Sender.
    pub source: SocketAddr,
    /// Receiver.
    pub destination: SocketAddr,
    /// Its synchronisation source.
    pub ssrc: u32,
    /// Its payload type.
    pub payload_type: u8,
    /// Packets in a row so far.
    pub packets: u32,
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
    /// Packets that were kept too long.
    stale: u64,
}

impl Candidate {
    const fn is_silent(&self, now: Timestamp) -> bool {
        now.millis_since(self.last) > SILENT_MS
    }

    fn packets(&self) -> u64 {
        u64::try_from(self.kept.len()).unwrap_or(0) + self.stale
    }
}

/// All flows watched.
#[derive(Debug)]
pub struct Candidates {
    most: usize,
    flows: HashMap<FlowId, Candidate, RandomState>,
    /// Flows that touch an address, by age: a scan may aim all of them at one.
    touching: HashMap<SocketAddr, BTreeMap<u64, FlowId>, RandomState>,
    /// Least recently begun first.
    by_age: BTreeMap<u64, FlowId>,
    next_age: u64,
    /// Up to which age flows were looked at.
    tidied: u64,
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
            tidied: 0,
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
        // What a mirror repeats is kept, to be counted by the call, but is no further packet.
        let number = rtp.sequence.to_be_bytes();
        let is_copy = |kept: &Kept| kept.bytes.get(2..4).is_some_and(|same| *same == number);
        let copy = known.kept.iter().rev().take(COPY_WITHIN).any(is_copy);
        known.count += u32::from(!copy);
        let too_old = |kept: &Kept| at.millis_since(kept.at) > KEPT_MS;
        while (known.kept.len() >= KEPT_PACKETS || known.kept.front().is_some_and(too_old))
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
            self.touching.entry(address).or_default().insert(age, flow);
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
            stale: 0,
        };
        self.flows.insert(flow, candidate);
    }

    fn forget(&mut self, flow: FlowId) {
        self.dropped += self.remove(flow).map_or(0, |known| known.packets());
    }

    /// Gives back the memory of some flows that are silent; call it often.
    pub fn tidy(&mut self, now: Timestamp) {
        let mut seen = 0;
        for (age, flow) in self.by_age.range(self.tidied..).take(TIDIED) {
            (self.tidied, seen) = (age + 1, seen + 1);
            if let Some(known) = self.flows.get_mut(flow)
                && known.is_silent(now)
            {
                known.stale = known.packets();
                known.kept = VecDeque::new();
                self.bytes -= std::mem::take(&mut known.bytes);
            }
        }
        if seen < TIDIED {
            self.tidied = 0;
        }
    }

    /// When the first packet kept of a flow came.
    #[must_use]
    pub fn first(&self, flow: FlowId) -> Option<Timestamp> {
        self.flows.get(&flow)?.kept.front().map(|packet| packet.at)
    }

    /// Stops watching every flow.
    pub fn clear(&mut self) {
        while let Some(oldest) = self.by_age.first_key_value().map(|(_, flow)| *flow) {
            self.forget(oldest);
        }
    }

    /// Stops watching a flow; what was kept of it comes back in order, unless it has been silent for long.
    pub fn take(&mut self, now: Timestamp, flow: FlowId) -> VecDeque<Kept> {
        let Some(known) = self.remove(flow) else { return VecDeque::new() };
        if known.is_silent(now) {
            self.dropped += known.packets();
            return VecDeque::new();
        }
        known.kept
    }

    fn remove(&mut self, flow: FlowId) -> Option<Candidate> {
        let known = self.flows.remove(&flow)?;
        self.by_age.remove(&known.age);
        self.bytes -= known.bytes;
        for address in [flow.source(), flow.destination()] {
            if let Some(flows) = self.touching.get_mut(&address) {
                flows.remove(&known.age);
                if flows.is_empty() {
                    self.touching.remove(&address);
                }
            }
        }
        Some(known)
    }

    /// What is watched, oldest first.
    #[must_use]
    pub fn strays(&self) -> Vec<Stray> {
        let stray = |flow: &FlowId| {
            let known = self.flows.get(flow)?;
            Some(Stray {
                source: flow.source(),
                destination: flow.destination(),
                ssrc: known.ssrc,
                payload_type: known.payload_type,
                packets: known.count,
            })
        };
        self.by_age.values().filter_map(stray).collect()
    }

    /// Flows that send to or from `address`, oldest first.
    #[must_use]
    pub fn touching(&self, address: SocketAddr) -> Vec<FlowId> {
        self.touching.get(&address).map_or_else(Vec::new, |flows| flows.values().copied().collect())
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
        for n in 0..250u16 {
            candidates.watch(Timestamp(u64::from(n)), flow(1), &rtp(n), &n.to_be_bytes());
        }
        assert_eq!(candidates.watch(Timestamp(1), flow(2), &rtp(9), b"x"), 1);
        assert_eq!(candidates.watch(Timestamp(1), flow(2), &rtp(5000), b"x"), 1);
        assert_eq!(candidates.touching(([10, 0, 0, 2], 5000).into()).len(), 2);
        let strays = candidates.strays();
        assert_eq!((strays.len(), strays[0].packets, strays[1].packets), (2, 250, 1));
        let kept = candidates.take(Timestamp(1), flow(1));
        assert_eq!(
            (kept.len(), kept[0].bytes.as_slice()),
            (KEPT_PACKETS, &50u16.to_be_bytes()[..])
        );
        let late = |ms: u64| Timestamp(ms * 1_000_000);
        for n in 0..50u16 {
            let at = late(u64::from(n) * 100);
            let count =
                candidates.watch(at, flow(1), &rtp(n), &[0x80, 0, 0, u8::try_from(n).unwrap()]);
            assert_eq!(count, u32::from(n) + 1);
            // Its copy counts for nothing.
            let again =
                candidates.watch(at, flow(1), &rtp(n), &[0x80, 0, 0, u8::try_from(n).unwrap()]);
            assert_eq!(again, count);
        }
        let kept = candidates.take(late(4_900), flow(1));
        assert_eq!((kept.len(), kept[0].at), (42, late(2_900)), "two seconds");
        for n in 3..10 {
            candidates.watch(Timestamp(1), flow(n), &rtp(1), b"y");
        }
        assert_eq!(
            (candidates.len(), candidates.by_age.len(), candidates.touching.len()),
            (2, 2, 3)
        );
        assert_eq!(candidates.bytes, 2);
    }

    /// Whether its memory was given back meanwhile makes no difference.
    #[test]
    fn what_is_silent_for_long_begins_no_call() {
        let late = |ms: u64| Timestamp(ms * 1_000_000);
        let flow = FlowId::new(([10, 0, 0, 1], 4000).into(), ([10, 0, 0, 2], 5000).into());
        for (waits, tidies, found) in
            [(29_900, false, 50), (29_900, true, 50), (31_000, false, 0), (31_000, true, 0)]
        {
            let mut candidates = Candidates::new(100);
            for n in 0..50_u16 {
                let packet = [0x80, 0, 0, u8::try_from(n).unwrap()];
                candidates.watch(late(u64::from(n) * 20), flow, &rtp(n), &packet);
            }
            for n in 0..40 {
                let other =
                    FlowId::new(([10, 0, 0, 3], 4000 + n).into(), ([10, 0, 0, 2], 5000).into());
                candidates.watch(late(980 + waits), other, &rtp(1), b"z");
            }
            for _ in 0..if tidies { 10 } else { 0 } {
                candidates.tidy(late(980 + waits));
            }
            let kept = candidates.bytes - 40;
            assert_eq!(kept, if tidies && found == 0 { 0 } else { 200 });
            assert_eq!(candidates.take(late(980 + waits), flow).len(), found);
            assert_eq!((candidates.dropped, candidates.bytes), (50 - found as u64, 40));
        }
    }
}
