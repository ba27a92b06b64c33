//! The roll-over counter: how often a sender's sequence number has wrapped (RFC 3711 §3.3.1).
//!
//! Law: it never travels, so it is guessed, and only a packet that proves the guess right changes
//! it. What is tried per packet is bounded, and so is the whole search.

use std::ops::Range;

/// Counters tried in a search: 15 days of 20 ms packets.
const FURTHEST: u32 = 1024;

/// Where a search begins: zero is always among the likeliest.
const NEAREST: u32 = 1;

/// Of them, for one packet: a day. A wrong key costs some microseconds for a few packets.
const SLICE: u32 = 64;

/// So many packets refused in a row, and the counter is searched anew: the tap missed hours, or the
/// sender began again.
const LOST_AFTER: u32 = 50;

/// What is known of a sender's counter.
#[derive(Clone, Debug)]
pub(super) struct Rollover {
    last: Option<Last>,
    /// Where the search goes on; [`FURTHEST`] when it is over.
    search: u32,
    /// Refused in a row.
    refused: u32,
}

/// The furthest packet that proved right.
#[derive(Clone, Copy, Debug)]
struct Last {
    ssrc: u32,
    roc: u32,
    sequence: u16,
}

impl Last {
    /// The counter of a packet less than half the sequence space away (RFC 3711 §3.3.1).
    const fn estimate(self, sequence: u16) -> u32 {
        let ahead = sequence.wrapping_sub(self.sequence) < 0x8000;
        match (ahead, sequence < self.sequence) {
            (true, true) => self.roc.wrapping_add(1),
            (false, false) => self.roc.saturating_sub(1),
            (true, false) | (false, true) => self.roc,
        }
    }
}

impl Rollover {
    pub(super) const fn new() -> Self {
        Self { last: None, search: NEAREST, refused: 0 }
    }

    /// Counters to try, the likeliest first.
    pub(super) fn guesses(
        &self,
        ssrc: u32,
        sequence: u16,
    ) -> impl Iterator<Item = u32> + Clone + use<> {
        let estimate = self.estimate(ssrc, sequence);
        // Zero: the sender began anew under the same key.
        let zero = (estimate > 1).then_some(0);
        [Some(estimate), estimate.checked_add(1), estimate.checked_sub(1), zero]
            .into_iter()
            .flatten()
            .chain(self.slice())
    }

    fn slice(&self) -> Range<u32> {
        self.search..(self.search + SLICE).min(FURTHEST)
    }

    fn estimate(&self, ssrc: u32, sequence: u16) -> u32 {
        self.last.filter(|last| last.ssrc == ssrc).map_or(0, |last| last.estimate(sequence))
    }

    /// A packet proved right under `roc`.
    pub(super) fn accept(&mut self, ssrc: u32, sequence: u16, roc: u32) {
        self.search = FURTHEST;
        self.refused = 0;
        let older = self.last.is_some_and(|last| {
            last.ssrc == ssrc
                && roc == last.estimate(sequence)
                && (roc, sequence) < (last.roc, last.sequence)
        });
        if !older {
            self.last = Some(Last { ssrc, roc, sequence });
        }
    }

    /// A packet proved right under none of the guesses.
    pub(super) const fn refuse(&mut self) {
        self.search = if self.search + SLICE < FURTHEST { self.search + SLICE } else { FURTHEST };
        self.refused = self.refused.saturating_add(1);
        if self.refused == LOST_AFTER {
            self.search = NEAREST;
        }
    }
}
