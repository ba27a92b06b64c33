//! TCP segments become in-order bytes, one direction at a time (RFC 9293 3.4), as a bystander.
//!
//! ```text
//! (unknown) ──SYN──► Open ──FIN reached, RST──► Closed ──SYN, or data beyond its end──► Open
//! (unknown) ──data, its SYN unseen: the first chunk is marked as a gap──► Open
//! Open ──evicted, silent for long──► (unknown), and the sink is told that it closed
//! ```
//!
//! Law: bytes are delivered once and in order; the first copy of a byte wins. A hole is waited for
//! until the receiver acknowledges what lies beyond it (then only we lost it), or time or memory run
//! out; the next chunk says `gap`. A FIN waits for the bytes before it, a RST does not.

use super::agenda::{Agenda, Slot};
use super::counters::Counters;
use super::decoder::{Limits, Sink, TcpStream};
use super::pieces::{Pieces, distance, length, length_of};
use super::transport::Segment;
use crate::time::Timestamp;
use foldhash::fast::RandomState;
use std::collections::HashMap;
use std::net::SocketAddr;

/// Farther from the expected byte than this, a segment belongs to another connection (its SYN
/// escaped us): no signalling window comes near.
const WINDOW: u64 = 4 << 20;

/// A hole the receiver has acknowledged may still be filled from another tap that lags a little.
const ACKNOWLEDGED_GRACE_MS: u64 = 100;

/// How long a closed direction is remembered, so that late copies of its bytes are recognised.
const CLOSED_MS: u64 = 30_000;

/// How much later a direction may be due before the agenda is told: spares it a change a segment.
const SLACK_MS: u64 = 1_000;

/// Who sends to whom.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
struct Key {
    source: SocketAddr,
    destination: SocketAddr,
}

#[derive(Debug)]
struct Direction {
    /// Sequence number of the SYN, when seen.
    syn: Option<u32>,
    /// Position of the next byte to deliver; its low 32 bits are the sequence number.
    next: u64,
    /// Position after the last byte, when a FIN was seen.
    end: Option<u64>,
    /// Highest position the receiver acknowledged.
    acknowledged: u64,
    /// Bytes before `next` were skipped and the sink has not been told.
    lost: bool,
    closed: bool,
    early: Pieces,
    /// When to forget the direction.
    forget: Slot,
    /// When to give the hole before `early` up.
    skip: Option<Slot>,
}

/// Every TCP direction on the wire.
#[derive(Debug)]
pub(super) struct Streams {
    table: HashMap<Key, Direction, RandomState>,
    forget: Agenda<Key>,
    skip: Agenda<Key>,
    /// Memory of all `early` pieces.
    early: usize,
}

/// What every operation needs beside the stream.
pub(super) struct Around<'a> {
    pub(super) now: Timestamp,
    pub(super) limits: &'a Limits,
    pub(super) counters: &'a mut Counters,
    pub(super) sink: &'a mut dyn Sink,
}

impl Streams {
    pub(super) fn new() -> Self {
        Self { table: HashMap::default(), forget: Agenda::new(), skip: Agenda::new(), early: 0 }
    }

    /// Takes one segment. `missing` bytes of its payload were not captured.
    pub(super) fn handle_segment(
        &mut self,
        source: SocketAddr,
        destination: SocketAddr,
        segment: &Segment<'_>,
        missing: usize,
        around: &mut Around<'_>,
    ) {
        around.counters.tcp_segments += 1;
        let key = Key { source, destination };
        let peer = Key { source: destination, destination: source };
        if let Some(acknowledged) = segment.acknowledged {
            self.acknowledge(peer, acknowledged, around);
        }
        if segment.reset {
            self.update(key, around, |direction, key, around| {
                if direction.near(segment.sequence) {
                    direction.close(key, around);
                }
            });
            // The peer may not send any more either.
            let closed = self.table.get(&key).is_some_and(|direction| direction.closed);
            if closed {
                self.update(peer, around, Direction::close);
            }
            return;
        }
        if !self.table.contains_key(&key) {
            if !segment.syn && segment.payload.is_empty() {
                return;
            }
            self.begin(key, segment, around);
        }
        self.update(key, around, |direction, key, around| {
            direction.take(segment, missing, key, around);
        });
        self.bound(around);
    }

    /// Gives holes up and forgets directions whose time has come.
    pub(super) fn expire(&mut self, around: &mut Around<'_>) {
        while let Some(key) = self.skip.pop_due(around.now) {
            self.give_up(key, around);
        }
        while let Some(key) = self.forget.pop_due(around.now) {
            let open = self.remove(key, around);
            around.counters.tcp_expired += u64::from(open);
        }
    }

    /// Delivers everything still waiting and forgets all: nothing more will come.
    pub(super) fn finish(&mut self, around: &mut Around<'_>) {
        self.give_up_holes(around);
        while let Some(key) = self.forget.pop_first() {
            self.remove(key, around);
        }
    }

    /// Gives every hole up, the one due first first.
    pub(super) fn give_up_holes(&mut self, around: &mut Around<'_>) {
        while let Some(key) = self.skip.pop_first() {
            self.give_up(key, around);
        }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        let agendas = self.forget.is_empty() && self.skip.is_empty();
        agendas && self.table.is_empty() && self.early == 0
    }

    fn begin(&mut self, key: Key, segment: &Segment<'_>, around: &mut Around<'_>) {
        if self.table.len() >= around.limits.tcp_streams
            && let Some(oldest) = self.forget.pop_first()
        {
            let open = self.remove(oldest, around);
            around.counters.tcp_evicted += u64::from(open);
        }
        let due = around.now.plus_millis(around.limits.tcp_idle_ms);
        let mut direction = Direction {
            syn: None,
            next: 0,
            end: None,
            acknowledged: 0,
            lost: false,
            closed: false,
            early: Pieces::default(),
            forget: self.forget.book(due, key),
            skip: None,
        };
        direction.open(segment, around.counters);
        self.table.insert(key, direction);
    }

    /// Lets `change` work on a direction and brings the agendas and sums up to date.
    fn update<F>(&mut self, key: Key, around: &mut Around<'_>, change: F)
    where
        F: FnOnce(&mut Direction, Key, &mut Around<'_>),
    {
        let Some(direction) = self.table.get_mut(&key) else { return };
        let before = direction.early.cost();
        change(direction, key, around);
        while direction.early.cost() > around.limits.tcp_stream_bytes {
            direction.skip_hole(key, around);
        }
        self.early = self.early.saturating_add(direction.early.cost()).saturating_sub(before);

        let patience = if direction.closed { CLOSED_MS } else { around.limits.tcp_idle_ms };
        let due = around.now.plus_millis(patience);
        if due > direction.forget.0.plus_millis(SLACK_MS) || due < direction.forget.0 {
            self.forget.cancel(direction.forget);
            direction.forget = self.forget.book(due, key);
        }
        let due = direction.hole_due(around.limits);
        if due != direction.skip.map(|slot| slot.0) {
            if let Some(slot) = direction.skip.take() {
                self.skip.cancel(slot);
            }
            direction.skip = due.map(|due| self.skip.book(due, key));
        }
    }

    /// The receiver has these bytes: a hole below them will not be filled.
    fn acknowledge(&mut self, key: Key, sequence: u32, around: &Around<'_>) {
        let Some(direction) = self.table.get_mut(&key) else { return };
        let position = direction.position(sequence);
        if position <= direction.acknowledged || !direction.near(sequence) {
            return;
        }
        direction.acknowledged = position;
        let due = direction.hole_due(around.limits);
        if let Some(slot) = direction.skip
            && let Some(due) = due
            && due != slot.0
        {
            self.skip.cancel(slot);
            direction.skip = Some(self.skip.book(due, key));
        }
    }

    fn give_up(&mut self, key: Key, around: &mut Around<'_>) {
        self.update(key, around, |direction, key, around| {
            direction.skip = None;
            direction.skip_hole(key, around);
        });
    }

    /// Gives holes up while all directions together hold too much.
    fn bound(&mut self, around: &mut Around<'_>) {
        while self.early > around.limits.tcp_total_bytes
            && let Some(key) = self.skip.pop_first()
        {
            self.give_up(key, around);
        }
    }

    /// Forgets a direction no longer on the agenda; true when it was open.
    fn remove(&mut self, key: Key, around: &mut Around<'_>) -> bool {
        let Some(mut direction) = self.table.remove(&key) else { return false };
        self.early = self.early.saturating_sub(direction.early.cost());
        if let Some(slot) = direction.skip.take() {
            self.skip.cancel(slot);
        }
        let open = !direction.closed;
        direction.close(key, around);
        open
    }
}

impl Direction {
    /// Starts afresh at a SYN or in the middle.
    fn open(&mut self, segment: &Segment<'_>, counters: &mut Counters) {
        counters.tcp_streams += 1;
        counters.tcp_joined_midway += u64::from(!segment.syn);
        let first = segment.sequence.wrapping_add(u32::from(segment.syn));
        // A head start of one cycle, so that older bytes have positions too.
        self.next = (1 << 32) | u64::from(first);
        self.syn = segment.syn.then_some(segment.sequence);
        self.end = None;
        self.acknowledged = 0;
        self.lost = !segment.syn;
        self.closed = false;
    }

    /// The position of a sequence number: the one nearest to `next`.
    fn position(&self, sequence: u32) -> u64 {
        let expected = u32::try_from(self.next & 0xffff_ffff).unwrap_or_default();
        let ahead = sequence.wrapping_sub(expected).cast_signed();
        self.next.saturating_add_signed(i64::from(ahead))
    }

    fn near(&self, sequence: u32) -> bool {
        self.position(sequence).abs_diff(self.next) <= WINDOW
    }

    fn take(&mut self, segment: &Segment<'_>, missing: usize, key: Key, around: &mut Around<'_>) {
        if segment.syn && !self.repeats_syn(segment.sequence) {
            self.reopen(segment, key, around);
        }
        let first = segment.sequence.wrapping_add(u32::from(segment.syn));
        let length = length(segment.payload);
        if self.closed {
            if self.near(first) && self.position(first) <= self.next {
                around.counters.tcp_repeated_bytes += length;
                return;
            }
            if segment.payload.is_empty() {
                return;
            }
            self.reopen(segment, key, around);
        } else if !self.near(first) {
            if segment.payload.is_empty() {
                return;
            }
            self.reopen(segment, key, around);
        }
        let start = self.position(first);
        let end = start.saturating_add(length);
        self.take_bytes(start, segment.payload, key, around);
        let claimed = end.saturating_add(length_of(missing));
        if missing > 0 && self.next == end {
            self.next = claimed;
            self.lost = true;
            around.counters.tcp_gaps += 1;
            self.deliver_reached(key, around);
        }
        if segment.fin {
            self.end.get_or_insert(claimed);
        }
        self.close_at_end(key, around);
    }

    /// True for a copy of the SYN we know, or one that arrives just behind its first bytes.
    fn repeats_syn(&mut self, sequence: u32) -> bool {
        if let Some(known) = self.syn {
            return known == sequence;
        }
        let position = self.position(sequence);
        let repeats = !self.closed && position < self.next && self.next - position <= WINDOW;
        self.syn = repeats.then_some(sequence);
        repeats
    }

    /// Another connection between the same addresses.
    fn reopen(&mut self, segment: &Segment<'_>, key: Key, around: &mut Around<'_>) {
        self.close(key, around);
        self.open(segment, around.counters);
    }

    fn take_bytes(&mut self, start: u64, bytes: &[u8], key: Key, around: &mut Around<'_>) {
        let repeated = distance(start, self.next).min(bytes.len());
        around.counters.tcp_repeated_bytes += length_of(repeated);
        let start = start.saturating_add(length_of(repeated));
        let mut bytes = bytes.get(repeated..).unwrap_or_default();
        if bytes.is_empty() {
            return;
        }
        if start > self.next {
            let new = self.early.insert(start, bytes, around.now);
            around.counters.tcp_early += u64::from(new > 0);
            around.counters.tcp_repeated_bytes += length_of(bytes.len().saturating_sub(new));
            return;
        }
        while !bytes.is_empty() {
            let free =
                self.early.first().map_or(bytes.len(), |piece| distance(self.next, piece.start));
            let (new, rest) = bytes.split_at_checked(free).unwrap_or((bytes, &[]));
            self.deliver(new, key, around);
            let before = self.next;
            self.deliver_reached(key, around);
            let covered = distance(before, self.next).min(rest.len());
            around.counters.tcp_repeated_bytes += length_of(covered);
            bytes = rest.get(covered..).unwrap_or_default();
        }
    }

    fn deliver(&mut self, bytes: &[u8], key: Key, around: &mut Around<'_>) {
        if bytes.is_empty() {
            return;
        }
        self.next = self.next.saturating_add(length(bytes));
        around.counters.tcp_bytes += length(bytes);
        let gap = std::mem::take(&mut self.lost);
        let Key { source, destination } = key;
        around.sink.tcp(TcpStream { source, destination, data: bytes, gap, closed: false });
    }

    /// Delivers early pieces whose turn has come.
    fn deliver_reached(&mut self, key: Key, around: &mut Around<'_>) {
        while let Some(piece) = self.early.pop_reached(self.next) {
            let known = distance(piece.start, self.next);
            self.deliver(piece.bytes.get(known..).unwrap_or_default(), key, around);
        }
    }

    /// Gives up the hole before the first early piece.
    fn skip_hole(&mut self, key: Key, around: &mut Around<'_>) {
        let Some(first) = self.early.first() else { return };
        self.next = self.next.max(first.start);
        self.lost = true;
        around.counters.tcp_gaps += 1;
        self.deliver_reached(key, around);
        self.close_at_end(key, around);
    }

    /// When the hole before the first early piece is to be given up.
    fn hole_due(&self, limits: &Limits) -> Option<Timestamp> {
        let first = self.early.first()?;
        let acknowledged = self.acknowledged >= first.start;
        let patience = if acknowledged { ACKNOWLEDGED_GRACE_MS } else { limits.tcp_gap_ms };
        Some(first.at.plus_millis(patience.min(limits.tcp_gap_ms)))
    }

    fn close_at_end(&mut self, key: Key, around: &mut Around<'_>) {
        if self.end.is_some_and(|end| self.next >= end) {
            self.close(key, around);
        }
    }

    /// Delivers what is left and says that nothing follows.
    fn close(&mut self, key: Key, around: &mut Around<'_>) {
        if self.closed {
            return;
        }
        self.closed = true;
        while self.early.first().is_some() {
            self.skip_hole(key, around);
        }
        let gap = std::mem::take(&mut self.lost);
        let Key { source, destination } = key;
        around.sink.tcp(TcpStream { source, destination, data: &[], gap, closed: true });
    }
}
