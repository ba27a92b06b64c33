//! What the tracker counts: relaxed atomics, listed in one place, shown by `/healthz`.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds one.
    pub fn tick(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    /// The number now.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Everything that is counted. Names are `part.what`.
#[derive(Debug, Default)]
pub struct Counters {
    /// Connections taken.
    pub http_connections: Counter,
    /// Requests read.
    pub http_requests: Counter,
    /// Requests refused: malformed, unknown, too large.
    pub http_refused: Counter,
    /// Connections without TLS from where it is wanted.
    pub http_refused_plain: Counter,
    /// TLS handshakes that failed.
    pub http_failed_handshakes: Counter,
    /// Messages that were news and are on the disk.
    pub store_added: Counter,
    /// Messages that were known already.
    pub store_repeated: Counter,
    /// Messages answered 503, or kept in memory only (`init`).
    pub store_failed: Counter,
    /// Transactions committed.
    pub store_commits: Counter,
    /// The store could not do its last write.
    store_failing: AtomicBool,
}

impl Counters {
    /// Every counter with its name, in a fixed order.
    #[must_use]
    pub fn list(&self) -> [(&'static str, u64); 9] {
        [
            ("http.connections", self.http_connections.now()),
            ("http.requests", self.http_requests.now()),
            ("http.refused", self.http_refused.now()),
            ("http.refused_plain", self.http_refused_plain.now()),
            ("http.failed_handshakes", self.http_failed_handshakes.now()),
            ("store.added", self.store_added.now()),
            ("store.repeated", self.store_repeated.now()),
            ("store.failed", self.store_failed.now()),
            ("store.commits", self.store_commits.now()),
        ]
    }

    /// Whether the store could not do its last write.
    #[must_use]
    pub fn store_failing(&self) -> bool {
        self.store_failing.load(Relaxed)
    }

    /// Notes how the last write went; returns how the one before it went.
    pub(crate) fn note_store(&self, failing: bool) -> bool {
        self.store_failing.swap(failing, Relaxed)
    }
}
