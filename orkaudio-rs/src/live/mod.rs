//! Listening to recordings that are being made, on port 59120.
//!
//! ```text
//! engine: short blocks ─► tape worker ─► file
//!                              └──► Feed (2 s) ─► player, every 20 ms ─► listeners
//! ```
//!
//! Law: a tape is the same whether somebody listens or not. The worker copies what it writes, under a
//! lock that nobody holds for longer than a copy; who listens slowly loses his own oldest audio.

mod door;
mod form;
mod player;
mod ring;
mod stations;

pub use door::{LiveCounters, LiveDoor};

use crate::tape::file::TapeFile;
use dashmap::DashMap;
use orkbase::{
    audio::tape::{Frame, PcmSink},
    call::output::TapeId,
};
use ring::Ring;
use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering},
};

/// The tapes that are listened to: where workers leave audio and the door takes it.
#[derive(Debug, Default)]
pub struct Feeds {
    table: DashMap<u64, Arc<Feed>>,
    /// There may be something in the table.
    any: AtomicBool,
    /// What the engine is to do: tapes that are listened to now, or not any more.
    wishes: Mutex<Vec<(TapeId, bool)>>,
    wished: AtomicBool,
}

impl Feeds {
    /// The feed of a tape, if somebody listens to it.
    #[must_use]
    pub fn get(&self, tape: TapeId) -> Option<Arc<Feed>> {
        if !self.any.load(Ordering::Acquire) {
            return None;
        }
        self.table.get(&tape.0).map(|feed| Arc::clone(&feed))
    }

    /// What the engine has not been told yet.
    #[must_use]
    pub fn take_wishes(&self) -> Vec<(TapeId, bool)> {
        if !self.wished.swap(false, Ordering::AcqRel) {
            return Vec::new();
        }
        std::mem::take(&mut *lock(&self.wishes))
    }

    /// Somebody listens to a tape from now on.
    pub(crate) fn open(&self, tape: TapeId, rate: u32) -> Arc<Feed> {
        let feed = Arc::new(Feed(Mutex::new(Ring::new(rate))));
        self.table.insert(tape.0, Arc::clone(&feed));
        self.any.store(true, Ordering::Release);
        self.wish(tape, true);
        feed
    }

    /// Nobody does any more.
    fn shut(&self, tape: TapeId) {
        self.table.remove(&tape.0);
        self.wish(tape, false);
    }

    fn wish(&self, tape: TapeId, prompt: bool) {
        lock(&self.wishes).push((tape, prompt));
        self.wished.store(true, Ordering::Release);
    }
}

/// The newest audio of a tape.
#[derive(Debug)]
pub struct Feed(Mutex<Ring>);

impl Feed {
    /// The tape ends: what is there is played, and no more.
    pub fn close(&self) {
        self.lock().close();
    }

    fn lock(&self) -> MutexGuard<'_, Ring> {
        lock(&self.0)
    }
}

/// Where the audio of a tape goes: to its file, if it has one, and to those who listen.
pub struct Outlets<'a> {
    /// The file.
    pub file: Option<&'a mut TapeFile>,
    /// The listeners.
    pub feed: Option<&'a Feed>,
}

impl std::fmt::Debug for Outlets<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outlets").finish_non_exhaustive()
    }
}

impl PcmSink for Outlets<'_> {
    fn write(&mut self, at: u64, frames: &[Frame]) {
        if let Some(feed) = self.feed {
            feed.lock().write(at, frames);
        }
        if let Some(file) = &mut self.file {
            file.write(at, frames);
        }
    }

    fn patch(&mut self, at: u64, channel: usize, samples: &[i16]) {
        if let Some(feed) = self.feed {
            feed.lock().patch(at, channel, samples);
        }
        if let Some(file) = &mut self.file {
            file.patch(at, channel, samples);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
