//! Owners by IPv4 flow: what every packet asks for.
//!
//! Own open addressing instead of the standard map: an entry's place follows from its hash alone, so that its
//! memory can be asked for long before its packet comes; half the misses of a packet were here.
//!
//! Law: a flow stands between its place and the next empty entry, and a quarter of the entries are empty.

use super::index::FlowOwner;
use crate::{ahead, packet::fast::FlowKey};
use foldhash::fast::RandomState;
use std::hash::BuildHasher as _;

/// Entries of the smallest table.
const LEAST: usize = 64;

#[derive(Clone, Copy, Debug)]
#[repr(align(32))]
struct Entry {
    key: FlowKey,
    owner: Option<FlowOwner>,
}

const EMPTY: Entry = Entry { key: FlowKey(0), owner: None };

/// Where a flow would like to be, in the table as it was.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place(u32);

impl Place {
    /// Of nothing.
    pub(crate) const NONE: Self = Self(u32::MAX);
}

/// Flows and their owners. Keys come from the wire: the hash has a random seed.
#[derive(Debug, Default)]
pub(super) struct FlowTable {
    /// A power of two of them, or none.
    entries: Vec<Entry>,
    len: usize,
    seed: RandomState,
}

impl FlowTable {
    /// Where a flow would like to be.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "the low bits are what is wanted")]
    fn place(&self, key: FlowKey) -> usize {
        self.seed.hash_one(key) as usize & self.mask()
    }

    const fn mask(&self) -> usize {
        self.entries.len().wrapping_sub(1)
    }

    /// Where a flow is, or the empty entry where it would be; none without entries.
    #[inline]
    fn find(&self, key: FlowKey) -> Option<(usize, &Entry)> {
        self.find_from(self.place(key), key)
    }

    #[inline]
    fn find_from(&self, mut at: usize, key: FlowKey) -> Option<(usize, &Entry)> {
        loop {
            let entry = self.entries.get(at)?;
            if entry.key == key || entry.owner.is_none() {
                return Some((at, entry));
            }
            at = (at + 1) & self.mask();
        }
    }

    /// Asks for the memory of a flow, and tells where it should be.
    #[inline]
    pub(super) fn ask(&self, key: FlowKey) -> Place {
        let at = self.place(key);
        if let Some(entry) = self.entries.get(at) {
            ahead::ask(entry, 1);
        }
        u32::try_from(at).map_or(Place::NONE, Place)
    }

    /// The owner of a flow that was asked for; one that came or moved since may be missed.
    #[inline]
    pub(super) fn get_from(&self, Place(at): Place, key: FlowKey) -> Option<FlowOwner> {
        self.find_from(at as usize, key)?.1.owner
    }

    /// The owner of a flow.
    #[inline]
    pub(super) fn get(&self, key: FlowKey) -> Option<FlowOwner> {
        self.find(key)?.1.owner
    }

    /// Flows with an owner.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// Gives a flow an owner; the one before comes back.
    pub(super) fn insert(&mut self, key: FlowKey, owner: FlowOwner) -> Option<FlowOwner> {
        if (self.len + 1) * 4 > self.entries.len() * 3 {
            self.grow();
        }
        let before = self.put(Entry { key, owner: Some(owner) });
        self.len += usize::from(before.is_none());
        before
    }

    fn put(&mut self, new: Entry) -> Option<FlowOwner> {
        let (at, before) = self.find(new.key).map(|(at, entry)| (at, entry.owner))?;
        if let Some(place) = self.entries.get_mut(at) {
            *place = new;
        }
        before
    }

    #[cold]
    fn grow(&mut self) {
        let room = (self.entries.len() * 2).max(LEAST);
        for entry in std::mem::replace(&mut self.entries, vec![EMPTY; room]) {
            if entry.owner.is_some() {
                self.put(entry);
            }
        }
    }

    /// Takes a flow's owner away.
    pub(super) fn remove(&mut self, key: FlowKey) -> Option<FlowOwner> {
        let (mut hole, owner) = self.find(key).map(|(at, entry)| (at, entry.owner))?;
        let owner = owner?;
        self.len -= 1;
        // Whoever stands behind and may stand here moves up, until nobody is left who could be missed.
        let mut at = hole;
        loop {
            at = (at + 1) & self.mask();
            let Some(entry) = self.entries.get(at).copied().filter(|entry| entry.owner.is_some())
            else {
                break;
            };
            let strayed = at.wrapping_sub(self.place(entry.key)) & self.mask();
            if strayed >= at.wrapping_sub(hole) & self.mask() {
                self.set(hole, entry);
                hole = at;
            }
        }
        self.set(hole, EMPTY);
        Some(owner)
    }

    fn set(&mut self, at: usize, entry: Entry) {
        if let Some(place) = self.entries.get_mut(at) {
            *place = entry;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    fn owner(call: u32) -> FlowOwner {
        FlowOwner { call, ssrc: call ^ 7, stream: 1 }
    }

    #[test]
    fn an_empty_table_has_nobody() {
        let mut table = FlowTable::default();
        let place = table.ask(FlowKey(1));
        assert_eq!(table.get_from(place, FlowKey(1)), None);
        assert_eq!((table.get(FlowKey(0)), table.remove(FlowKey(1)), table.len()), (None, None, 0));
        assert_eq!(table.insert(FlowKey(0), owner(3)), None);
        assert_eq!((table.get(FlowKey(0)), table.get(FlowKey(1))), (Some(owner(3)), None));
    }

    proptest::proptest! {
        /// As a map of the standard library, whatever is done in whatever order.
        #[test]
        fn is_a_map(deeds in proptest::collection::vec((0u128..150, 0u32..3, 0u32..1000), 1..2000)) {
            let (mut table, mut map) = (FlowTable::default(), HashMap::new());
            let asked = [1, 75, 149].map(|key| FlowKey(key << 40 | key));
            let mut places = asked.map(|key| table.ask(key));
            for (key, deed, call) in deeds {
                let key = FlowKey(key << 40 | key);
                match deed {
                    0 | 1 => assert_eq!(table.insert(key, owner(call)), map.insert(key, owner(call))),
                    _ => assert_eq!(table.remove(key), map.remove(&key)),
                }
                assert_eq!(table.len(), map.len());
                assert!(table.len() * 4 <= table.entries.len() * 3);
                for (key, place) in asked.iter().zip(&mut places) {
                    // Where it was asked for before may miss it, but finds no other.
                    let found = table.get_from(*place, *key);
                    assert!(found.is_none() || found == map.get(key).copied());
                    *place = table.ask(*key);
                    assert_eq!(table.get_from(*place, *key), map.get(key).copied());
                }
            }
            for key in (0..150).map(|key| FlowKey(key << 40 | key)) {
                assert_eq!(table.get(key), map.get(&key).copied());
            }
        }
    }
}
