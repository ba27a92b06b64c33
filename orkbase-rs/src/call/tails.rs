//! What calls that are over still send: the next call on the same ports must not hear it.
//!
//! Law: known by flow, SSRC and sequence, for a second after the hang-up. Whoever goes on longer with
//! the same stream means it.

use super::index::FlowId;
use crate::time::Timestamp;
use foldhash::fast::RandomState;
use std::collections::HashMap;

/// How long after the end of a call its packets are not the next call's.
const TAIL_MS: u64 = 1_000;
/// Packets on their way when a call ends, and sent until its end is noticed: a second of 5 ms.
const AHEAD: u16 = 200;
/// Ends of streams remembered; beyond it the oldest are given up, all at once.
const MOST: usize = 8_192;

#[derive(Debug)]
struct Tail {
    ssrc: u32,
    /// Last sequence number heard.
    sequence: u16,
    /// When the call ended.
    since: Timestamp,
}

/// The ends of streams of calls that are over.
#[derive(Debug, Default)]
pub struct Tails(HashMap<FlowId, Tail, RandomState>);

impl Tails {
    /// A call ended at `since`; this was the last heard of one of its streams.
    pub fn leave(&mut self, flow: FlowId, ssrc: u32, sequence: u16, since: Timestamp) {
        if self.0.len() >= MOST {
            self.0.retain(|_, tail| since.millis_since(tail.since) <= TAIL_MS);
            if self.0.len() >= MOST {
                self.0.clear();
            }
        }
        self.0.insert(flow, Tail { ssrc, sequence, since });
    }

    /// Whether a packet that begins something new is the tail of what ended.
    pub fn has(&mut self, at: Timestamp, flow: FlowId, ssrc: u32, sequence: u16) -> bool {
        let Some(tail) = self.0.get(&flow) else { return false };
        let step = sequence.wrapping_sub(tail.sequence);
        let follows = step <= AHEAD || step.wrapping_neg() <= AHEAD;
        if at.millis_since(tail.since) > TAIL_MS {
            self.0.remove(&flow);
            return false;
        }
        tail.ssrc == ssrc && follows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tail_is_short() {
        let mut tails = Tails::default();
        let end = |port| FlowId::new(([10, 0, 0, 1], port).into(), ([10, 0, 0, 2], 4).into());
        let at = |ms: u64| Timestamp(1_000_000_000 + ms * 1_000_000);
        tails.leave(end(1), 7, 65_530, at(0));
        assert!(tails.has(at(10), end(1), 7, 65_531) && tails.has(at(1_000), end(1), 7, 40));
        assert!(tails.has(at(10), end(1), 7, 65_500), "behind");
        for (ms, port, ssrc, sequence) in
            [(10, 2, 7, 65_531), (10, 1, 8, 65_531), (10, 1, 7, 3_000), (1_001, 1, 7, 65_531)]
        {
            assert!(!tails.has(at(ms), end(port), ssrc, sequence), "{ms} {port} {ssrc} {sequence}");
        }
        for port in 0..=u16::MAX {
            tails.leave(end(port), 1, 1, at(u64::from(port)));
            assert!(tails.0.len() <= MOST);
        }
    }
}
