//! The store: the only place with SQL in it.
//!
//! Law: what is answered as stored is on the disk (answer after commit). A request is a piece of work
//! on a [`session::Session`], carried out whole or not at all. One thread writes; what waits together
//! shares one transaction. Readers have their own connections and never hold up the writer. Nothing is
//! remembered outside the database, so several trackers may share one.

pub mod accounts;
pub mod agents;
pub mod audit;
mod encryption;
pub mod groups;
pub mod live;
pub mod metadata;
mod place;
mod postgres;
pub mod programs;
mod readers;
pub mod recorders;
mod recording;
pub mod retention;
pub mod search;
pub mod segments;
pub mod session;
mod sqlite;
pub mod tags;
pub mod tapes;
pub(crate) mod untold;
mod upgrade;
pub mod users;
mod writer;

pub use place::{OpenError, Place, ReadError, Reader, once};
pub use search::{
    Cursor, DEFAULT_LIMIT, MAX_LIMIT, Moment, Owner, Page, Query, Recording, Scope, Sort,
};
pub use session::{DbError, Session, SessionExt};
pub use upgrade::UpgradeError;

use crate::counters::Counters;
use orkbase::message::init::InitMessage;
use std::{io, path::Path, sync::Arc, thread};
use tokio::sync::{mpsc, oneshot};

/// Messages that may wait for the writer. A batch of 256 takes one flush of the disk, some 10 ms, so
/// a full queue is a disk that stalls; the next message is then answered 503.
const QUEUE: usize = 1024;
/// Questions that may wait for a reader.
const QUESTIONS: usize = 256;

/// What became of a message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// It was news and is on the disk.
    Added,
    /// It was known, and is on the disk since.
    Repeated,
    /// It is about a recording that was deleted: it is not kept.
    Gone,
    /// The recording has too many messages; this one is not kept and never will be.
    Full,
}

/// Why something is not on the disk, or not known. It may be tried again.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NotStored {
    /// Too many wait already.
    #[error("the store is busy")]
    Busy,
    /// The store has ended.
    #[error("the store is closed")]
    Closed,
    /// The database refused, for this reason.
    #[error("{0}")]
    Failed(Arc<str>),
}

/// How a recorder introduced itself.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Introduction {
    /// What it said.
    pub init: InitMessage,
    /// When, Unix seconds.
    pub received: u64,
    /// From where.
    pub address: String,
}

/// Work waiting for a session.
trait Job: Send {
    /// Does the work inside a transaction.
    fn run(&mut self, session: &mut dyn Session) -> Result<(), DbError>;
    /// Hands out the result; `Err` if the transaction came to nothing.
    fn answer(self: Box<Self>, ended: Result<(), NotStored>);
    /// An introduction that must not be forgotten even if it cannot be stored now.
    fn introduction(&self) -> Option<&Introduction>;
}

struct Task<T, F> {
    work: Option<F>,
    result: Option<T>,
    introduction: Option<Introduction>,
    reply: oneshot::Sender<Result<T, NotStored>>,
}

impl<T, F> Job for Task<T, F>
where
    T: Send,
    F: FnOnce(&mut dyn Session) -> Result<T, DbError> + Send,
{
    fn run(&mut self, session: &mut dyn Session) -> Result<(), DbError> {
        if let Some(work) = self.work.take() {
            self.result = Some(work(session)?);
        }
        Ok(())
    }

    fn answer(self: Box<Self>, ended: Result<(), NotStored>) {
        let Self { result, reply, .. } = *self;
        let answer = ended.and_then(|()| result.ok_or(NotStored::Closed));
        if reply.send(answer).is_err() {
            tracing::debug!("a sender went away before its answer");
        }
    }

    fn introduction(&self) -> Option<&Introduction> {
        self.introduction.as_ref()
    }
}

/// A way to the database; clones lead to the same one. Its threads end when the last clone is gone.
#[derive(Clone)]
pub struct Store {
    writes: mpsc::Sender<Box<dyn Job>>,
    reads: mpsc::Sender<Box<dyn Job>>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Store")
    }
}

impl Store {
    /// Opens or creates the database and starts the writer and the readers.
    ///
    /// # Errors
    /// The database cannot be opened, or a thread cannot be started.
    pub fn open(
        database: &Path,
        counters: Arc<Counters>,
    ) -> Result<(Self, thread::JoinHandle<()>), OpenError> {
        let place = Place::of(database);
        let session = place.open_writing()?;
        let (writes, queue) = mpsc::channel(QUEUE);
        let (reads, questions) = mpsc::channel(QUESTIONS);
        let writer = writer::Writer::new(place.clone(), session, queue, counters);
        let readers = readers::start(&place, questions).map_err(OpenError::Thread)?;
        let thread = thread::Builder::new().name("orktrack-store".to_owned());
        let thread = thread.spawn(move || writer.run(readers)).map_err(OpenError::Thread)?;
        Ok((Self { writes, reads }, thread))
    }

    /// Changes something; returns when it is on the disk.
    ///
    /// # Errors
    /// Nothing was changed.
    pub async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut dyn Session) -> Result<T, DbError> + Send + 'static,
    ) -> Result<T, NotStored> {
        send(&self.writes, None, work).await
    }

    /// Looks something up.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut dyn Session) -> Result<T, DbError> + Send + 'static,
    ) -> Result<T, NotStored> {
        send(&self.reads, None, work).await
    }

    /// Stores an introduction; returns when it is on the disk.
    ///
    /// # Errors
    /// It is not on the disk. If it was [`NotStored::Failed`], the writer remembers it and stores it
    /// with the next message that can be stored, for a recorder introduces itself only once.
    pub async fn introduce(&self, introduction: Introduction) -> Result<Outcome, NotStored> {
        let kept = introduction.clone();
        let work = move |session: &mut dyn Session| recorders::introduce(session, &introduction);
        send(&self.writes, Some(kept), work).await
    }
}

async fn send<T: Send + 'static>(
    queue: &mpsc::Sender<Box<dyn Job>>,
    introduction: Option<Introduction>,
    work: impl FnOnce(&mut dyn Session) -> Result<T, DbError> + Send + 'static,
) -> Result<T, NotStored> {
    let (reply, answer) = oneshot::channel();
    let task = Task { work: Some(work), result: None, introduction, reply };
    match queue.try_send(Box::new(task)) {
        Ok(()) => answer.await.unwrap_or(Err(NotStored::Closed)),
        Err(mpsc::error::TrySendError::Full(_)) => Err(NotStored::Busy),
        Err(mpsc::error::TrySendError::Closed(_)) => Err(NotStored::Closed),
    }
}

/// A database in memory for the tests of this module.
#[cfg(test)]
pub(crate) fn scratch() -> Box<dyn Session> {
    Place::open_scratch()
}

/// Adds the path to an I/O error, for the one line the operator sees.
fn at(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}
