//! The store: the only place with SQL in it.
//!
//! Law: what is answered as stored is on the disk (WAL, `synchronous=FULL`, answer after commit). One
//! thread writes; messages that wait together share one transaction. Readers open the file on their
//! own, read-only, and never hold up the writer.

mod file;
mod read;
mod rows;
mod upgrade;
mod writer;

pub use file::OpenError;
pub use read::{
    Cursor, DEFAULT_LIMIT, MAX_LIMIT, Moment, Page, Query, ReadError, Reader, Recording,
};
pub use upgrade::UpgradeError;

use crate::counters::Counters;
use orkbase::message::{init::InitMessage, tag::AddTagMessage, tape::TapeMessage};
use std::{io, path::Path, sync::Arc, thread};
use tokio::sync::{mpsc, oneshot};

/// Messages that may wait for the writer. A batch of 256 takes one flush of the disk, some 10 ms, so
/// a full queue is a disk that stalls; the next message is then answered 503.
const QUEUE: usize = 1024;

/// What became of a message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// It was news and is on the disk.
    Added,
    /// It was known, and is on the disk since.
    Repeated,
    /// The recording has too many messages; this one is not kept and never will be.
    Full,
}

/// Why a message is not on the disk. It may be sent again.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NotStored {
    /// Too many messages wait already.
    #[error("the store is busy")]
    Busy,
    /// The writer has ended.
    #[error("the store is closed")]
    Closed,
    /// The database refused, for this reason.
    #[error("{0}")]
    Failed(Arc<str>),
}

/// Something to write.
#[derive(Debug)]
enum News {
    Tape(TapeMessage),
    Tag(AddTagMessage),
    Init(InitMessage),
}

/// Something to write, when it came (Unix seconds), and who waits for it.
#[derive(Debug)]
struct Job {
    news: News,
    received: u64,
    reply: oneshot::Sender<Result<Outcome, NotStored>>,
}

/// A way to the writer; clones lead to the same one. The writer ends when the last clone is gone.
#[derive(Clone, Debug)]
pub struct Store {
    jobs: mpsc::Sender<Job>,
}

impl Store {
    /// Opens or creates the database and starts the writer.
    ///
    /// # Errors
    /// The database cannot be opened, or the thread cannot be started.
    pub fn open(
        path: &Path,
        counters: Arc<Counters>,
    ) -> Result<(Self, thread::JoinHandle<()>), OpenError> {
        let file = file::File::open(path)?;
        let (jobs, queue) = mpsc::channel(QUEUE);
        let writer = writer::Writer::new(file, queue, counters);
        let thread = thread::Builder::new().name("orktrack-store".to_owned());
        let thread = thread.spawn(move || writer.run()).map_err(OpenError::Thread)?;
        Ok((Self { jobs }, thread))
    }

    /// Stores a stage of a recording; returns when it is on the disk.
    ///
    /// # Errors
    /// It is not on the disk.
    pub async fn tape(&self, message: TapeMessage, received: u64) -> Result<Outcome, NotStored> {
        self.tell(News::Tape(message), received).await
    }

    /// Stores a tag of a recording, known or not; returns when it is on the disk.
    ///
    /// # Errors
    /// It is not on the disk.
    pub async fn tag(&self, message: AddTagMessage, received: u64) -> Result<Outcome, NotStored> {
        self.tell(News::Tag(message), received).await
    }

    /// Stores an introduction; returns when it is on the disk.
    ///
    /// # Errors
    /// It is not on the disk. If it was [`NotStored::Failed`], the writer remembers it and stores it
    /// with the next message that can be stored, for a recorder introduces itself only once.
    pub async fn init(&self, message: InitMessage, received: u64) -> Result<Outcome, NotStored> {
        self.tell(News::Init(message), received).await
    }

    async fn tell(&self, news: News, received: u64) -> Result<Outcome, NotStored> {
        let (reply, answer) = oneshot::channel();
        match self.jobs.try_send(Job { news, received, reply }) {
            Ok(()) => answer.await.unwrap_or(Err(NotStored::Closed)),
            Err(mpsc::error::TrySendError::Full(_)) => Err(NotStored::Busy),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(NotStored::Closed),
        }
    }
}

/// Unix seconds as `SQLite` keeps them.
fn to_sql(seconds: u64) -> i64 {
    i64::try_from(seconds).unwrap_or(i64::MAX)
}

/// Adds the path to an I/O error, for the one line the operator sees.
fn at(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}
