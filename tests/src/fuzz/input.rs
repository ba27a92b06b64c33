//! Numbers and slices out of a fuzzer's bytes, front to back, so that seeds can be written by hand.

use arbitrary::{Arbitrary, Unstructured};

/// What is left of an input. Past its end every number is 0 and every slice empty.
pub(super) struct Input<'a>(Unstructured<'a>);

impl<'a> Input<'a> {
    pub(super) fn new(data: &'a [u8]) -> Self {
        Self(Unstructured::new(data))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A little-endian number of that width.
    pub(super) fn number<T: Arbitrary<'a> + Default>(&mut self) -> T {
        self.0.arbitrary().unwrap_or_default()
    }

    pub(super) fn byte(&mut self) -> u8 {
        self.number()
    }

    /// A byte as a place among `count` things.
    pub(super) fn below(&mut self, count: usize) -> usize {
        usize::from(self.byte()) % count.max(1)
    }

    pub(super) fn pick<'b, T>(&mut self, from: &'b [T]) -> Option<&'b T> {
        from.get(self.below(from.len()))
    }

    /// So many bytes, or what is left.
    pub(super) fn take(&mut self, count: usize) -> &'a [u8] {
        self.0.bytes(count.min(self.0.len())).unwrap_or_default()
    }

    /// A 16-bit length and so many bytes.
    pub(super) fn chunk(&mut self) -> &'a [u8] {
        let length: u16 = self.number();
        self.take(usize::from(length))
    }
}
