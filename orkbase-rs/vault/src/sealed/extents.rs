//! Which record holds which bytes of the plain file; later records cover earlier ones.

use std::{collections::BTreeMap, ops::Range};

/// A record of a file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Place {
    /// Where its bytes belong in the plain file.
    pub(super) offset: u64,
    /// How many they are.
    pub(super) length: u32,
    /// Where it lies in the sealed file.
    pub(super) at: u64,
}

impl Place {
    pub(super) fn end(self) -> u64 {
        self.offset.saturating_add(u64::from(self.length))
    }
}

/// All records.
#[derive(Debug, Default)]
pub(super) struct Extents {
    records: Vec<Place>,
    /// First byte, the byte behind the last, and the record that holds them.
    map: BTreeMap<u64, (u64, usize)>,
    size: u64,
}

impl Extents {
    /// Bytes of the plain file.
    pub(super) const fn size(&self) -> u64 {
        self.size
    }

    /// The records in the order of the file.
    pub(super) fn records(&self) -> &[Place] {
        &self.records
    }

    /// Adds the next record.
    pub(super) fn push(&mut self, place: Place) {
        let number = self.records.len();
        let (start, end) = (place.offset, place.end());
        self.records.push(place);
        self.size = self.size.max(end);
        // What begins before and reaches into it, or beyond it.
        if let Some((&first, &(last, record))) = self.map.range(..start).next_back()
            && last > start
        {
            self.map.insert(first, (start, record));
            if last > end {
                self.map.insert(end, (last, record));
            }
        }
        let covered: Vec<u64> = self.map.range(start..end).map(|(first, _)| *first).collect();
        for first in covered {
            if let Some((last, record)) = self.map.remove(&first)
                && last > end
            {
                self.map.insert(end, (last, record));
            }
        }
        self.map.insert(start, (end, number));
    }

    /// The piece that begins at a byte: how far it goes, and the record that holds it; none is a hole.
    pub(super) fn piece(&self, at: u64) -> (Range<u64>, Option<(usize, Place)>) {
        if let Some((_, &(end, number))) = self.map.range(..=at).next_back()
            && end > at
        {
            let place = self.records.get(number).copied();
            return (at..end, place.map(|place| (number, place)));
        }
        let next = self.map.range(at..).next().map_or(self.size, |(first, _)| *first);
        (at..next.max(at), None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_records_cover_earlier_ones() {
        // Against the plainest of models.
        let mut seed = 7_u64;
        let mut next = |most: u64| {
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % most
        };
        for _ in 0..200 {
            let mut extents = Extents::default();
            let mut model: Vec<Option<usize>> = Vec::new();
            for number in 0..12 {
                let (offset, length) = (next(40), next(12) + 1);
                let place = Place { offset, length: u32::try_from(length).unwrap(), at: 0 };
                extents.push(place);
                let range = usize::try_from(offset).unwrap()..usize::try_from(place.end()).unwrap();
                model.resize(model.len().max(range.end), None);
                model[range].fill(Some(number));
            }
            assert_eq!(usize::try_from(extents.size()).unwrap(), model.len());
            let mut at = 0;
            while at < extents.size() {
                let (range, record) = extents.piece(at);
                assert!(range.start == at && range.end > at);
                for byte in range.clone() {
                    let held = model[usize::try_from(byte).unwrap()];
                    assert_eq!(held, record.map(|(number, _)| number));
                }
                at = range.end;
            }
        }
    }
}
