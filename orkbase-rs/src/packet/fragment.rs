//! IP fragments become packets again (RFC 791, RFC 8200 4.5).
//!
//! Law: parts may come in any order and repeatedly; the first copy of a byte wins and the first end
//! stated is the end. Memory and age are bounded; the oldest packet goes first.

use super::agenda::{Agenda, Slot};
use super::counters::Counters;
use super::decoder::Limits;
use super::ip::{Fragment, Packet};
use super::pieces::{Pieces, distance};
use super::{Ends, Path};
use crate::time::Timestamp;
use foldhash::fast::RandomState;
use std::collections::HashMap;

/// Largest IP payload.
const MAX_PAYLOAD: usize = 65_535;

/// What an unfinished packet costs beside its pieces: table entry, agenda entry.
const OVERHEAD: usize = 256;

/// How long a finished packet is remembered, so that copies of its parts (a trunk mirrored twice)
/// do not open it again. Far below the time in which a sender reuses an id.
const REMEMBER_MS: u64 = 1_000;

/// Which packet a fragment belongs to. The outermost VLAN keeps two mirrored copies apart.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
struct Key {
    ends: Ends,
    protocol: u8,
    id: u32,
    vlan: Option<u16>,
}

#[derive(Debug)]
struct Pile {
    due: Slot,
    pieces: Pieces,
    /// Where the packet ends, once its last part was seen.
    end: Option<usize>,
    /// What the packet is: only its first part is trusted to say.
    protocol: Option<u8>,
    whole: bool,
}

impl Pile {
    fn cost(&self) -> usize {
        OVERHEAD + self.pieces.cost()
    }
}

/// A packet put together again.
#[derive(Debug)]
pub(super) struct Whole {
    pub(super) protocol: u8,
    pub(super) body: Vec<u8>,
}

/// Unfinished packets.
#[derive(Debug)]
pub(super) struct Fragments {
    piles: HashMap<Key, Pile, RandomState>,
    agenda: Agenda<Key>,
    cost: usize,
}

impl Fragments {
    pub(super) fn new() -> Self {
        Self { piles: HashMap::default(), agenda: Agenda::new(), cost: 0 }
    }

    /// Adds one fragment; gives the packet when it was the missing one.
    pub(super) fn handle_fragment(
        &mut self,
        packet: &Packet<'_>,
        fragment: Fragment,
        path: &Path,
        limits: &Limits,
        counters: &mut Counters,
    ) -> Option<Whole> {
        counters.fragments += 1;
        let Some(body) = usable(packet, fragment) else {
            counters.fragments_refused += 1;
            return None;
        };
        let key = Key {
            ends: packet.ends,
            // IPv6 parts of one packet may state different next headers (RFC 8200 4.5).
            protocol: if packet.ends.source.is_ipv4() { packet.protocol } else { 0 },
            id: fragment.id,
            vlan: path.vlan,
        };
        self.expire(path.at, counters);
        let Self { piles, agenda, cost } = self;
        let pile = piles.entry(key).or_insert_with(|| {
            *cost += OVERHEAD;
            Pile {
                due: agenda.book(path.at.plus_millis(limits.fragment_age_ms), key),
                pieces: Pieces::default(),
                end: None,
                protocol: None,
                whole: false,
            }
        });
        if pile.whole {
            counters.fragments_repeated += 1;
            return None;
        }
        let before = pile.cost();
        match pile.add(packet.protocol, fragment, body, path.at) {
            Added::New => {}
            Added::Nothing => counters.fragments_repeated += 1,
            Added::Contradiction => counters.fragments_refused += 1,
        }
        let whole = pile.finish();
        if whole.is_some() {
            counters.reassembled += 1;
            agenda.cancel(pile.due);
            pile.due = agenda.book(path.at.plus_millis(REMEMBER_MS), key);
        }
        *cost = cost.saturating_add(pile.cost()).saturating_sub(before);
        self.shrink(limits.fragment_bytes, counters);
        whole
    }

    /// Drops what is too old.
    pub(super) fn expire(&mut self, now: Timestamp, counters: &mut Counters) {
        while let Some(key) = self.agenda.pop_due(now) {
            counters.fragments_expired += u64::from(self.forget(&key));
        }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.agenda.is_empty() && self.piles.is_empty() && self.cost == 0
    }

    fn shrink(&mut self, bytes: usize, counters: &mut Counters) {
        while self.cost > bytes
            && let Some(key) = self.agenda.pop_first()
        {
            counters.fragments_evicted += u64::from(self.forget(&key));
        }
    }

    /// True when an unfinished packet was lost with it.
    fn forget(&mut self, key: &Key) -> bool {
        let Some(pile) = self.piles.remove(key) else { return false };
        self.cost = self.cost.saturating_sub(pile.cost());
        !pile.whole
    }
}

enum Added {
    New,
    Nothing,
    Contradiction,
}

impl Pile {
    fn add(&mut self, protocol: u8, fragment: Fragment, body: &[u8], at: Timestamp) -> Added {
        let start = usize::from(fragment.offset);
        let end = start + body.len();
        let known = distance(0, self.pieces.end());
        let fits = match (self.end, fragment.more) {
            (Some(stated), true) => end <= stated,
            (Some(stated), false) => end == stated,
            (None, true) => true,
            (None, false) => end >= known,
        };
        if !fits {
            return Added::Contradiction;
        }
        if !fragment.more {
            self.end = Some(end);
        }
        if start == 0 {
            self.protocol.get_or_insert(protocol);
        }
        match self.pieces.insert(u64::from(fragment.offset), body, at) {
            0 => Added::Nothing,
            _ => Added::New,
        }
    }

    /// The packet, if nothing is missing; its pieces are given up.
    fn finish(&mut self) -> Option<Whole> {
        let protocol = self.protocol?;
        if self.end? != self.pieces.held() {
            return None;
        }
        self.whole = true;
        let pieces = std::mem::take(&mut self.pieces);
        Some(Whole { protocol, body: pieces.joined() })
    }
}

/// The bytes a fragment contributes: all but the last come in units of eight. `None` when it was
/// cut short by the capture, is empty, or ends beyond the largest packet.
fn usable<'a>(packet: &Packet<'a>, fragment: Fragment) -> Option<&'a [u8]> {
    let body = if fragment.more { packet.body.get(..packet.body.len() & !7)? } else { packet.body };
    let end = usize::from(fragment.offset) + body.len();
    (packet.missing == 0 && !body.is_empty() && end <= MAX_PAYLOAD).then_some(body)
}
