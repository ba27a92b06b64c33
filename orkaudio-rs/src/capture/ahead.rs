//! Frames wait for a few others, so that the memory which each of them needs is asked for in time.
//!
//! Law: they come out as they went in, all of them, before the turn is over. The ring of the kernel cannot be
//! looked ahead in, so they are copied: 10 ns, against 100 that a packet waits for memory when a thousand calls
//! take turns.

use orkbase::packet::{Frame, LinkType};
use orkbase::time::Timestamp;

/// So many wait: three steps of [`orkbase::tap::Tap::foresee`] and some.
const AHEAD: usize = 24;
/// Longer frames are not waited with: no voice in packets of 20 or 30 ms.
const ROOM: usize = 512;

/// Whom frames are handed to.
pub trait Taker {
    /// Takes in a frame.
    fn take(&mut self, frame: &Frame<'_>);
    /// This frame comes soon. Changes nothing.
    fn foresee(&mut self, _frame: &Frame<'_>) {}
}

impl<F: FnMut(&Frame<'_>)> Taker for F {
    fn take(&mut self, frame: &Frame<'_>) {
        self(frame);
    }
}

struct Waiting {
    at: Timestamp,
    link: LinkType,
    wire_len: u32,
    length: usize,
    bytes: [u8; ROOM],
}

impl Waiting {
    #[inline]
    fn frame(&self) -> Frame<'_> {
        let bytes = self.bytes.get(..self.length).unwrap_or_default();
        Frame { at: self.at, link: self.link, wire_len: self.wire_len, bytes }
    }
}

/// Those that wait, in a ring.
pub(super) struct Ahead {
    waiting: Vec<Waiting>,
    first: usize,
    count: usize,
}

impl Ahead {
    pub(super) fn new() -> Self {
        let empty = || Waiting {
            at: Timestamp::default(),
            link: LinkType::Ethernet,
            wire_len: 0,
            length: 0,
            bytes: [0; ROOM],
        };
        Self { waiting: std::iter::repeat_with(empty).take(AHEAD).collect(), first: 0, count: 0 }
    }

    /// Lets everything through at once, for a taker that only passes it on.
    pub(super) const fn none() -> Self {
        Self { waiting: Vec::new(), first: 0, count: 0 }
    }

    /// A frame comes; the one before it by so many is handed over.
    #[inline]
    pub(super) fn push<T: Taker + ?Sized>(&mut self, frame: &Frame<'_>, taker: &mut T) {
        if frame.bytes.len() > ROOM || self.waiting.is_empty() {
            self.flush(taker);
            return taker.take(frame);
        }
        if self.count == AHEAD {
            self.pop(taker);
        }
        let Some(place) = self.waiting.get_mut((self.first + self.count) % AHEAD) else { return };
        (place.at, place.link, place.wire_len) = (frame.at, frame.link, frame.wire_len);
        place.length = frame.bytes.len();
        if let Some(bytes) = place.bytes.get_mut(..place.length) {
            bytes.copy_from_slice(frame.bytes);
        }
        self.count += 1;
        taker.foresee(&place.frame());
    }

    #[inline]
    fn pop<T: Taker + ?Sized>(&mut self, taker: &mut T) {
        if let Some(next) = self.waiting.get(self.first) {
            taker.take(&next.frame());
        }
        self.first = (self.first + 1) % AHEAD;
        self.count -= 1;
    }

    /// Nothing more comes for now: hands over all that wait.
    pub(super) fn flush<T: Taker + ?Sized>(&mut self, taker: &mut T) {
        while self.count > 0 {
            self.pop(taker);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Book {
        taken: Vec<(u64, Vec<u8>)>,
        foreseen: Vec<u64>,
    }

    impl Taker for Book {
        fn take(&mut self, frame: &Frame<'_>) {
            assert_eq!(frame.wire_len, 7_000);
            self.taken.push((frame.at.0, frame.bytes.to_vec()));
        }

        fn foresee(&mut self, frame: &Frame<'_>) {
            self.foreseen.push(frame.at.0);
        }
    }

    #[test]
    fn frames_come_out_as_they_went_in() {
        let (mut ahead, mut book, mut sent) = (Ahead::new(), Book::default(), Vec::new());
        for turn in [1, 5, 24, 25, 100, 0] {
            for _ in 0..turn {
                let number = sent.len() as u64;
                let length = if number % 11 == 7 { ROOM + 1 } else { sent.len() % (ROOM + 1) };
                let bytes = vec![u8::try_from(number).unwrap(); length];
                let at = Timestamp(number);
                let link = LinkType::Ethernet;
                ahead.push(&Frame { at, link, wire_len: 7_000, bytes: &bytes }, &mut book);
                sent.push((number, bytes));
                assert!(sent.len() - book.taken.len() <= AHEAD);
            }
            ahead.flush(&mut book);
            assert_eq!(book.taken, sent);
        }
        let short = sent.iter().filter(|(_, bytes)| bytes.len() <= ROOM).map(|(number, _)| *number);
        assert_eq!(book.foreseen, short.collect::<Vec<_>>());
    }
}
