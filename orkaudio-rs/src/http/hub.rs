//! The event hub: one bounded log of lines, and a place in it for every listener.
//!
//! Law: publishing is a few instructions under a lock nobody holds for longer; it never waits for a
//! listener. A listener that is more than [`MAX_EVENTS`] or [`MAX_BYTES`] behind loses its own
//! oldest lines, which are counted, and nobody else's. One log serves all, so memory is
//! [`MAX_BYTES`] however many listen, and nothing is kept while nobody does.

use std::{
    collections::VecDeque,
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
    log: Mutex<Log>,
    /// The number of the next line: how listeners learn that there is more.
    latest: watch::Sender<u64>,
    published: AtomicU64,
    dropped: AtomicU64,
}

#[derive(Debug, Default)]
struct Log {
    lines: VecDeque<Arc<str>>,
    bytes: usize,
    /// The number of the next line; the first one kept is this less those kept.
    next: u64,
    listeners: usize,
}

impl Log {
    fn first(&self) -> u64 {
        self.next.saturating_sub(u64::try_from(self.lines.len()).unwrap_or(u64::MAX))
    }

    fn clear(&mut self) {
        self.lines.clear();
        self.bytes = 0;
    }
}

impl Default for EventHub {
    fn default() -> Self {
        Self(Arc::new(Shared {
            log: Mutex::default(),
            latest: watch::Sender::new(0),
            published: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
        }))
    }
}

impl EventHub {
    /// A hub nobody listens to yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sends a line, without its line end, to everybody who listens now. Never waits.
    pub fn publish(&self, line: Arc<str>) {
        self.0.published.fetch_add(1, Relaxed);
        let mut log = self.lock();
        log.next += 1;
        if log.listeners == 0 {
            return;
        }
        log.bytes += line.len();
        log.lines.push_back(line);
        while log.lines.len() > MAX_EVENTS || log.bytes > MAX_BYTES {
            let Some(oldest) = log.lines.pop_front() else { break };
            log.bytes -= oldest.len();
        }
        let next = log.next;
        drop(log);
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

    /// Hears everything published from now on.
    pub(super) fn listen(&self) -> Listener {
        let latest = self.0.latest.subscribe();
        let mut log = self.lock();
        log.listeners += 1;
        Listener { hub: self.clone(), latest, next: log.next }
    }

    fn lock(&self) -> MutexGuard<'_, Log> {
        self.0.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place in the log.
#[derive(Debug)]
pub(super) struct Listener {
    hub: EventHub,
    latest: watch::Receiver<u64>,
    next: u64,
}

impl Listener {
    /// Appends lines, each with CRLF, until `out` has `enough` bytes or there are no more.
    pub(super) fn take(&mut self, out: &mut Vec<u8>, enough: usize) {
        // Before looking: what comes after wakes `more`.
        self.latest.mark_unchanged();
        let log = self.hub.lock();
        let first = log.first();
        if self.next < first {
            self.hub.0.dropped.fetch_add(first - self.next, Relaxed);
            self.next = first;
        }
        let skip = usize::try_from(self.next - first).unwrap_or(usize::MAX);
        for line in log.lines.iter().skip(skip) {
            if out.len() >= enough {
                break;
            }
            out.extend_from_slice(line.as_bytes());
            out.extend_from_slice(b"\r\n");
            self.next += 1;
        }
    }

    /// Waits until there may be more to take.
    pub(super) async fn more(&mut self) {
        // The hub lives as long as its listeners, so this cannot fail.
        if self.latest.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let mut log = self.hub.lock();
        log.listeners = log.listeners.saturating_sub(1);
        if log.listeners == 0 {
            log.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(listener: &mut Listener) -> String {
        let mut out = Vec::new();
        listener.take(&mut out, usize::MAX);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_listener_hears_what_comes_after_it() {
        let hub = EventHub::new();
        hub.publish("before".into());
        let mut one = hub.listen();
        hub.publish("a".into());
        let mut two = hub.listen();
        hub.publish("b".into());
        assert_eq!((all(&mut one).as_str(), all(&mut two).as_str()), ("a\r\nb\r\n", "b\r\n"));
        assert_eq!(all(&mut one), "");
        drop((one, two));
        hub.publish("after".into());
        assert_eq!(hub.lock().lines.len(), 0);
        assert_eq!((hub.published(), hub.dropped()), (4, 0));
    }

    #[test]
    fn the_slow_lose_their_own_oldest() {
        let hub = EventHub::new();
        let (mut slow, mut quick) = (hub.listen(), hub.listen());
        let mut heard = 0;
        for n in 0..MAX_EVENTS + 5 {
            hub.publish(n.to_string().into());
            heard += all(&mut quick).lines().count();
        }
        assert_eq!((heard, hub.dropped()), (MAX_EVENTS + 5, 0));
        let late = all(&mut slow);
        assert!(late.starts_with("5\r\n6\r\n") && late.ends_with("\r\n10004\r\n"));
        assert_eq!((late.lines().count(), hub.dropped()), (MAX_EVENTS, 5));
    }

    #[test]
    fn bytes_are_bounded_too() {
        let hub = EventHub::new();
        let mut slow = hub.listen();
        let line: Arc<str> = "x".repeat(1 << 20).into();
        for _ in 0..9 {
            hub.publish(Arc::clone(&line));
        }
        assert_eq!(hub.lock().bytes, MAX_BYTES);
        let mut out = Vec::new();
        slow.take(&mut out, 1);
        assert_eq!((out.len(), hub.dropped()), ((1 << 20) + 2, 5));
        hub.publish("y".repeat(MAX_BYTES + 1).into());
        assert_eq!(hub.lock().lines.len(), 0);
        assert_eq!(all(&mut slow), "");
        assert_eq!(hub.dropped(), 9);
    }
}
