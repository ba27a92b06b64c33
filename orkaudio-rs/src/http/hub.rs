//! The event hub: one bounded journal of lines, and a place in it for every listener.
//!
//! Law: publishing is a few instructions under a lock nobody holds for longer; it never waits for a
//! listener. A listener that is more than [`MAX_EVENTS`] or [`MAX_BYTES`] behind loses its own
//! oldest lines, which are counted, and nobody else's. One journal serves all, so memory is
//! [`MAX_BYTES`] however many listen, and all of that from the start; it is kept while nobody does, so that
//! who was cut off can go on where he was.

use std::{
    collections::VecDeque,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};
use tokio::sync::watch;

/// Lines a listener may be behind, as in the original.
pub const MAX_EVENTS: usize = 10_000;
/// Bytes a listener may be behind.
pub const MAX_BYTES: usize = 4 << 20;

/// Where events are published; cheap to clone, for any thread.
#[derive(Clone, Debug)]
pub struct EventHub(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    journal: Mutex<Journal>,
    /// The number of the next line: how listeners learn that there is more.
    latest: watch::Sender<u64>,
    published: AtomicU64,
    dropped: AtomicU64,
}

struct Journal {
    /// The text of all lines, one behind the other.
    text: VecDeque<u8>,
    /// Where each line ends, in bytes since the first one ever.
    ends: VecDeque<u64>,
    /// Where the first line that is kept begins, likewise.
    begin: u64,
    /// The number of the next line; the first one kept is this less those kept.
    next: u64,
}

impl Journal {
    fn new(next: u64) -> Self {
        // Memory that grows by the line for an hour looks like a leak, and lies between that of others.
        let mut text = VecDeque::from(vec![1; MAX_BYTES]);
        text.clear();
        Self { text, ends: VecDeque::with_capacity(MAX_EVENTS), begin: 0, next }
    }

    fn first(&self) -> u64 {
        self.next.saturating_sub(u64::try_from(self.ends.len()).unwrap_or(u64::MAX))
    }

    fn push(&mut self, line: &str) {
        self.next += 1;
        while self.ends.len() >= MAX_EVENTS || self.text.len() + line.len() > MAX_BYTES {
            // Longer than all of it: this line is missing, too.
            let Some(end) = self.ends.pop_front() else { return };
            let length = usize::try_from(end - self.begin).unwrap_or(usize::MAX);
            self.text.drain(..length.min(self.text.len()));
            self.begin = end;
        }
        self.text.extend(line.as_bytes());
        self.ends.push_back(self.begin + u64::try_from(self.text.len()).unwrap_or(0));
    }

    /// A line that is kept, by its place.
    fn line(&self, place: usize) -> Option<Arc<str>> {
        let begin = match place.checked_sub(1) {
            Some(before) => *self.ends.get(before)?,
            None => self.begin,
        };
        let offset = |at: u64| usize::try_from(at - self.begin).ok();
        let range = offset(begin)?..offset(*self.ends.get(place)?)?;
        let text: Vec<u8> = self.text.range(range).copied().collect();
        String::from_utf8(text).ok().map(Arc::from)
    }
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (lines, bytes) = (self.ends.len(), self.text.len());
        write!(f, "Journal {{ {lines} lines, {bytes} bytes, next {} }}", self.next)
    }
}

impl Default for EventHub {
    fn default() -> Self {
        Self::starting_at(1)
    }
}

impl EventHub {
    /// A hub whose first line will have this number; greater than any of an earlier process, if clients are
    /// to notice what they missed between the two.
    #[must_use]
    pub fn starting_at(next: u64) -> Self {
        Self(Arc::new(Shared {
            journal: Mutex::new(Journal::new(next)),
            latest: watch::Sender::new(next),
            published: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
        }))
    }

    /// A hub nobody listens to yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sends a line, without its line end, to everybody who listens now or comes for it soon. Never waits.
    pub fn publish(&self, line: &str) {
        self.0.published.fetch_add(1, Relaxed);
        let mut journal = self.lock();
        journal.push(line);
        let next = journal.next;
        drop(journal);
        self.0.latest.send_replace(next);
    }

    /// Lines published so far, heard or not.
    #[must_use]
    pub fn published(&self) -> u64 {
        self.0.published.load(Relaxed)
    }

    /// Lines that listeners were too slow for, summed over listeners.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.0.dropped.load(Relaxed)
    }

    /// Hears everything published from now on; or, with the number of the last line that was heard, after
    /// that one.
    pub(super) fn listen(&self, since: Option<u64>) -> Listener {
        let latest = self.0.latest.subscribe();
        let journal = self.lock();
        let (first, next) = (journal.first(), journal.next);
        drop(journal);
        let (next, gap) = match since.map(|since| (since, since.saturating_add(1))) {
            None => (next, None),
            Some((_, wanted)) if (first..=next).contains(&wanted) => (wanted, None),
            // Too old, or a number from the future, of another process: all there is may be news.
            Some((since, _)) => (first, Some(since)),
        };
        Listener { hub: self.clone(), latest, next, gap }
    }

    fn lock(&self) -> MutexGuard<'_, Journal> {
        self.0.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place in the journal.
#[derive(Debug)]
pub(super) struct Listener {
    hub: EventHub,
    latest: watch::Receiver<u64>,
    next: u64,
    /// Lines after this one are missing.
    gap: Option<u64>,
}

/// Some lines.
#[derive(Debug, Default, Eq, PartialEq)]
pub(super) struct Batch {
    /// Before these, lines between these two numbers are missing, neither included.
    pub(super) lost: Option<(u64, u64)>,
    /// With their numbers.
    pub(super) lines: Vec<(u64, Arc<str>)>,
}

impl Batch {
    pub(super) const fn is_empty(&self) -> bool {
        self.lost.is_none() && self.lines.is_empty()
    }
}

impl Drop for Listener {
    /// What was dropped while it waited for a client that took nothing any more is lost, too.
    fn drop(&mut self) {
        let first = self.hub.lock().first();
        self.hub.0.dropped.fetch_add(first.saturating_sub(self.next), Relaxed);
    }
}

impl Listener {
    /// The next lines, of `enough` bytes or until there are no more.
    pub(super) fn take(&mut self, enough: usize) -> Batch {
        // Before looking: what comes after wakes `more`.
        self.latest.mark_unchanged();
        let journal = self.hub.lock();
        let first = journal.first();
        if self.next < first {
            self.hub.0.dropped.fetch_add(first - self.next, Relaxed);
            self.gap = self.gap.or(Some(self.next.saturating_sub(1)));
            self.next = first;
        }
        let mut batch =
            Batch { lost: self.gap.take().map(|after| (after, self.next)), ..Batch::default() };
        let skip = usize::try_from(self.next - first).unwrap_or(usize::MAX);
        let mut bytes = 0;
        for place in skip..journal.ends.len() {
            let Some(line) = journal.line(place).filter(|_| bytes < enough) else { break };
            bytes += line.len() + 2;
            batch.lines.push((self.next, line));
            self.next += 1;
        }
        batch
    }

    /// Waits until there may be more to take.
    pub(super) async fn more(&mut self) {
        // The hub lives as long as its listeners, so this cannot fail.
        if self.latest.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(listener: &mut Listener) -> Vec<String> {
        let batch = listener.take(usize::MAX);
        batch.lines.iter().map(|(_, line)| line.as_ref().to_owned()).collect()
    }

    #[test]
    fn a_listener_hears_what_comes_after_it() {
        let hub = EventHub::new();
        hub.publish("before");
        let mut one = hub.listen(None);
        hub.publish("a");
        let mut two = hub.listen(None);
        hub.publish("b");
        assert_eq!(all(&mut one), ["a", "b"]);
        assert_eq!(all(&mut two), ["b"]);
        assert_eq!(one.take(usize::MAX), Batch::default());
        assert_eq!((hub.published(), hub.dropped()), (3, 0));
    }

    #[test]
    fn who_was_cut_off_goes_on_where_he_was() {
        let hub = EventHub::starting_at(1_000);
        for n in 1_000..1_010 {
            hub.publish(&n.to_string());
        }
        let mut back = hub.listen(Some(1_006));
        assert_eq!(back.take(5).lines[0], (1_007, "1007".into()));
        assert_eq!(all(&mut back), ["1008", "1009"]);
        assert_eq!(all(&mut hub.listen(Some(1_009))), [""; 0]);
        // All that there ever was.
        assert_eq!(hub.listen(Some(999)).take(usize::MAX).lost, None);
        // An earlier process, and one of a clock that was ahead.
        for since in [7, 5_000] {
            let batch = hub.listen(Some(since)).take(usize::MAX);
            assert_eq!((batch.lost, batch.lines.len()), (Some((since, 1_000)), 10));
        }
        for n in 0..MAX_EVENTS {
            hub.publish(&n.to_string());
        }
        let batch = hub.listen(Some(1_006)).take(usize::MAX);
        assert_eq!((batch.lost, batch.lines.len()), (Some((1_006, 1_010)), MAX_EVENTS));
        assert_eq!(hub.dropped(), 0);
    }

    #[test]
    fn the_slow_lose_their_own_oldest() {
        let hub = EventHub::new();
        let (mut slow, mut quick) = (hub.listen(None), hub.listen(None));
        let mut heard = 0;
        for n in 0..MAX_EVENTS + 5 {
            hub.publish(&n.to_string());
            heard += all(&mut quick).len();
        }
        assert_eq!((heard, hub.dropped()), (MAX_EVENTS + 5, 0));
        let late = slow.take(usize::MAX);
        assert_eq!(late.lost, Some((0, 6)));
        let (first, last) = (&late.lines[0], late.lines.last().unwrap());
        assert_eq!((first.0, &*first.1, &*last.1), (6, "5", "10004"));
        assert_eq!((late.lines.len(), hub.dropped()), (MAX_EVENTS, 5));
    }

    #[test]
    fn bytes_are_bounded_too() {
        let hub = EventHub::new();
        let mut slow = hub.listen(None);
        let line = "x".repeat(1 << 20);
        for _ in 0..9 {
            hub.publish(&line);
        }
        assert_eq!(hub.lock().text.len(), MAX_BYTES);
        assert_eq!((slow.take(1).lines.len(), hub.dropped()), (1, 5));
        hub.publish(&"y".repeat(MAX_BYTES + 1));
        assert_eq!(hub.lock().ends.len(), 0);
        assert_eq!(slow.take(1), Batch { lost: Some((6, 11)), lines: Vec::new() });
        assert_eq!(hub.dropped(), 9);
    }
}
