//! The one thread that writes: takes what waits, writes it in one transaction, answers after commit.

use super::{
    Introduction, Job, NotStored, Place, recorders,
    session::{DbError, Session},
};
use crate::counters::Counters;
use std::{collections::BTreeMap, sync::Arc, thread::JoinHandle};
use tokio::sync::mpsc;

/// Most jobs in one transaction.
const BATCH: usize = 256;
/// Introductions remembered while the database cannot be written; more recorders than that are not
/// expected on one tracker.
const REMEMBERED: usize = 1000;

/// What became of each job of a batch.
type Ends = Vec<Result<(), NotStored>>;

/// The writer's state.
pub(super) struct Writer {
    place: Place,
    /// `None` after the database went away, until it could be opened again.
    session: Option<Box<dyn Session>>,
    queue: mpsc::Receiver<Box<dyn Job>>,
    /// Introductions that are not on the disk, by host name.
    owed: BTreeMap<String, Introduction>,
    counters: Arc<Counters>,
}

impl Writer {
    pub(super) fn new(
        place: Place,
        session: Box<dyn Session>,
        queue: mpsc::Receiver<Box<dyn Job>>,
        counters: Arc<Counters>,
    ) -> Self {
        Self { place, session: Some(session), queue, owed: BTreeMap::new(), counters }
    }

    /// Runs until the last [`super::Store`] is gone and the queue is empty. It is the last to close the
    /// database: then `SQLite` leaves one file behind.
    pub(super) fn run(mut self, readers: Vec<JoinHandle<()>>) {
        while let Some(job) = self.queue.blocking_recv() {
            let mut batch = vec![job];
            while batch.len() < BATCH
                && let Ok(job) = self.queue.try_recv()
            {
                batch.push(job);
            }
            self.handle_batch(batch);
        }
        for reader in readers {
            if reader.join().is_err() {
                tracing::error!("a reader ended by a fault of ours");
            }
        }
    }

    fn handle_batch(&mut self, mut batch: Vec<Box<dyn Job>>) {
        let written = self.write(&mut batch);
        let was_failing = self.counters.note_store(written.is_err());
        match &written {
            Ok(_) if was_failing => tracing::info!("database can be written again"),
            Err(error) if !was_failing => {
                tracing::error!(
                    database = %self.place.shown(),
                    "cannot store messages: {error}; recorders are answered 503 and send again"
                );
            }
            Ok(_) | Err(_) => {}
        }
        match written {
            Ok(ends) => {
                self.owed.clear();
                for (job, end) in batch.into_iter().zip(ends) {
                    self.answer(job, end);
                }
            }
            Err(error) => {
                for job in batch {
                    self.remember(job.as_ref());
                    self.answer(job, Err(error.clone()));
                }
            }
        }
    }

    /// Writes what is owed and the batch; all is on the disk when this returns `Ok`, except jobs
    /// whose own end is an error.
    fn write(&mut self, batch: &mut [Box<dyn Job>]) -> Result<Ends, NotStored> {
        if self.session.as_mut().is_some_and(|session| !session.is_in_place()) {
            self.session = None;
        }
        let session = match self.session.take() {
            Some(session) => session,
            None => self.place.open_writing().map_err(|error| failed(&error))?,
        };
        let session = self.session.insert(session);
        match write_all(session.as_mut(), &self.owed, batch) {
            Ok(ends) => {
                self.counters.store_commits.tick();
                Ok(ends)
            }
            Err(error) => {
                if let Err(error) = session.batch("ROLLBACK") {
                    tracing::debug!("nothing to roll back: {error}");
                    self.session = None;
                }
                Err(failed(&error))
            }
        }
    }

    fn remember(&mut self, job: &dyn Job) {
        if let Some(introduction) = job.introduction()
            && self.owed.len() < REMEMBERED
        {
            self.owed.insert(introduction.init.hostname.clone(), introduction.clone());
        }
    }

    fn answer(&self, job: Box<dyn Job>, end: Result<(), NotStored>) {
        if end.is_err() {
            self.counters.store_failed.tick();
        }
        job.answer(end);
    }
}

fn write_all(
    session: &mut dyn Session,
    owed: &BTreeMap<String, Introduction>,
    batch: &mut [Box<dyn Job>],
) -> Result<Ends, DbError> {
    session.begin()?;
    for introduction in owed.values() {
        recorders::introduce(session, introduction)?;
    }
    let mut ends = Vec::with_capacity(batch.len());
    for job in batch {
        session.batch("SAVEPOINT job")?;
        let end = match job.run(session) {
            Ok(()) => Ok(()),
            // Its own fault: rolled back with its savepoint, the others go on.
            Err(error @ (DbError::Law(_) | DbError::Strange(_))) => {
                tracing::error!("a message breaks a law of the database: {error}");
                session.batch("ROLLBACK TO SAVEPOINT job")?;
                Err(failed(&error))
            }
            Err(error @ DbError::Undone(_)) => {
                session.batch("ROLLBACK TO SAVEPOINT job")?;
                Err(failed(&error))
            }
            Err(error @ DbError::Down(_)) => return Err(error),
        };
        session.batch("RELEASE SAVEPOINT job")?;
        ends.push(end);
    }
    session.batch("COMMIT")?;
    Ok(ends)
}

fn failed(error: &dyn std::error::Error) -> NotStored {
    NotStored::Failed(error.to_string().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        sample,
        store::{Outcome, Query, Reader, Task, tapes},
    };
    use orkbase::message::{init::InitMessage, tape::Stage};
    use std::path::Path;
    use tokio::sync::oneshot;

    type Answer = oneshot::Receiver<Result<Outcome, NotStored>>;

    fn job(
        introduction: Option<Introduction>,
        work: impl FnOnce(&mut dyn Session) -> Result<Outcome, DbError> + Send + 'static,
    ) -> (Box<dyn Job>, Answer) {
        let (reply, answer) = oneshot::channel();
        (Box::new(Task { work: Some(work), result: None, introduction, reply }), answer)
    }

    fn tape(recid: &str, stage: Stage) -> (Box<dyn Job>, Answer) {
        let message = sample::tape(recid, stage);
        job(None, move |session| tapes::put(session, &message, 100, "").map(|taken| taken.outcome))
    }

    fn writer(path: &Path) -> (Writer, mpsc::Sender<Box<dyn Job>>, Arc<Counters>) {
        let counters = Arc::new(Counters::default());
        let (jobs, queue) = mpsc::channel(1000);
        let place = Place::of(path);
        let session = place.open_writing().unwrap();
        (Writer::new(place, session, queue, counters.clone()), jobs, counters)
    }

    #[test]
    fn what_waits_together_shares_a_commit() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("t.db");
        let (writer, jobs, counters) = writer(&path);
        let mut answers = Vec::new();
        for n in 0..300 {
            let (job, answer) = tape(&format!("R{n}"), Stage::Start);
            assert!(jobs.try_send(job).is_ok());
            answers.push(answer);
        }
        drop(jobs);
        writer.run(Vec::new());
        for mut answer in answers {
            assert_eq!(answer.try_recv().unwrap(), Ok(Outcome::Added));
        }
        assert_eq!(counters.store_commits.now(), 2);
    }

    #[test]
    fn nothing_is_said_to_be_stored_in_a_file_that_is_gone() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("place");
        std::fs::create_dir(&folder).unwrap();
        let path = folder.join("t.db");
        let (mut writer, _jobs, counters) = writer(&path);
        std::fs::remove_dir_all(&folder).unwrap();

        let (lost, mut answer) = tape("A", Stage::Start);
        let init = InitMessage::new("s", "vm", 1, "/x");
        let init = Introduction { init, received: 100, address: String::new() };
        let again = init.clone();
        let (init, mut init_answer) =
            job(Some(init), move |session| recorders::introduce(session, &again));
        writer.handle_batch(vec![lost, init]);
        assert!(matches!(answer.try_recv().unwrap(), Err(NotStored::Failed(_))));
        assert!(init_answer.try_recv().unwrap().is_err() && counters.store_failing());

        std::fs::create_dir(&folder).unwrap();
        let (again, mut answer) = tape("A", Stage::Start);
        writer.handle_batch(vec![again]);
        assert_eq!(answer.try_recv().unwrap(), Ok(Outcome::Added));
        assert!(!counters.store_failing());
        let mut reader = Reader::open(&path).unwrap();
        assert_eq!(reader.recordings(&Query::default()).unwrap().recordings.len(), 1);
        let known = reader.read(recorders::all).unwrap();
        assert_eq!(known.len(), 1, "the introduction was not forgotten");
    }

    #[test]
    fn a_locked_database_is_a_failure_not_a_loss() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("t.db");
        let (mut writer, _jobs, _) = writer(&path);
        let other = rusqlite::Connection::open(&path).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        writer.session.as_mut().unwrap().batch("PRAGMA busy_timeout = 0").unwrap();
        let (first, mut answer) = tape("A", Stage::Ready);
        writer.handle_batch(vec![first]);
        assert!(matches!(answer.try_recv().unwrap(), Err(NotStored::Failed(_))));
        other.execute_batch("ROLLBACK").unwrap();
        let (again, mut answer) = tape("A", Stage::Ready);
        writer.handle_batch(vec![again]);
        assert_eq!(answer.try_recv().unwrap(), Ok(Outcome::Added));
    }

    #[test]
    fn one_bad_message_costs_the_others_nothing() {
        let home = tempfile::tempdir().unwrap();
        let (mut writer, _jobs, _) = writer(&home.path().join("t.db"));
        let (good, mut first) = tape("A", Stage::Start);
        let (bad, mut second) = job(None, |session| {
            session.change("INSERT INTO setting VALUES ('half', 'done')", &[])?;
            session.change("INSERT INTO setting VALUES ('', '')", &[])?;
            Ok(Outcome::Added)
        });
        let (also, mut third) = tape("B", Stage::Start);
        writer.handle_batch(vec![good, bad, also]);
        assert_eq!(first.try_recv().unwrap(), Ok(Outcome::Added));
        assert!(second.try_recv().unwrap().is_err());
        assert_eq!(third.try_recv().unwrap(), Ok(Outcome::Added));
        let session = writer.session.as_mut().unwrap();
        assert!(session.rows("SELECT name FROM setting", &[]).unwrap().is_empty());
    }
}
