//! What is due when: the order in which a bounded table forgets.

use crate::time::Timestamp;
use std::collections::BTreeMap;

/// A place on the agenda: when, and who came first at that moment.
pub(super) type Slot = (Timestamp, u64);

/// Keys in the order they fall due. The same input gives the same order, whatever the tables hash.
#[derive(Debug)]
pub(super) struct Agenda<K> {
    slots: BTreeMap<Slot, K>,
    booked: u64,
}

impl<K> Agenda<K> {
    pub(super) const fn new() -> Self {
        Self { slots: BTreeMap::new(), booked: 0 }
    }

    /// Books `key` for `due`; the caller keeps the slot to cancel it with.
    pub(super) fn book(&mut self, due: Timestamp, key: K) -> Slot {
        self.booked += 1;
        let slot = (due, self.booked);
        self.slots.insert(slot, key);
        slot
    }

    pub(super) fn cancel(&mut self, slot: Slot) {
        self.slots.remove(&slot);
    }

    /// Takes the next key that is due at `now`.
    pub(super) fn pop_due(&mut self, now: Timestamp) -> Option<K> {
        let first = self.slots.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }

    /// Takes the key that would be due first, whenever that is.
    pub(super) fn pop_first(&mut self) -> Option<K> {
        self.slots.pop_first().map(|(_, key)| key)
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }
}
