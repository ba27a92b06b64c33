//! The one thread that writes: takes what waits, writes it in one transaction, answers after commit.

use super::{Job, News, NotStored, Outcome, file::File, rows};
use crate::counters::Counters;
use orkbase::message::init::InitMessage;
use rusqlite::{ErrorCode, TransactionBehavior};
use std::{collections::BTreeMap, path::PathBuf, sync::Arc};
use tokio::sync::mpsc;

/// Most messages in one transaction.
const BATCH: usize = 256;
/// Introductions remembered while the database cannot be written; more recorders than that are not
/// expected on one tracker.
const REMEMBERED: usize = 1000;

/// The writer's state.
pub(super) struct Writer {
    path: PathBuf,
    /// `None` after the file went away, until it could be opened again.
    file: Option<File>,
    queue: mpsc::Receiver<Job>,
    /// Introductions that are not on the disk, by host name.
    owed: BTreeMap<String, (InitMessage, u64)>,
    counters: Arc<Counters>,
}

impl Writer {
    pub(super) fn new(file: File, queue: mpsc::Receiver<Job>, counters: Arc<Counters>) -> Self {
        let path = file.path().to_owned();
        Self { path, file: Some(file), queue, owed: BTreeMap::new(), counters }
    }

    /// Runs until the last [`super::Store`] is gone and the queue is empty.
    pub(super) fn run(mut self) {
        while let Some(job) = self.queue.blocking_recv() {
            let mut batch = vec![job];
            while batch.len() < BATCH
                && let Ok(job) = self.queue.try_recv()
            {
                batch.push(job);
            }
            self.handle_batch(batch);
        }
    }

    fn handle_batch(&mut self, batch: Vec<Job>) {
        let written = self.write(&batch);
        let was_failing = self.counters.note_store(written.is_err());
        match &written {
            Ok(_) if was_failing => tracing::info!("database can be written again"),
            Err(error) if !was_failing => {
                tracing::error!(
                    database = %self.path.display(),
                    "cannot store messages: {error}; recorders are answered 503 and send again"
                );
            }
            Ok(_) | Err(_) => {}
        }
        match written {
            Ok(outcomes) => {
                self.owed.clear();
                for (job, outcome) in batch.into_iter().zip(outcomes) {
                    self.answer(job, outcome);
                }
            }
            Err(error) => {
                for job in batch {
                    self.remember(&job);
                    self.answer(job, Err(error.clone()));
                }
            }
        }
    }

    /// Writes what is owed and the batch; all is on the disk when this returns `Ok`, except messages
    /// whose own outcome is an error.
    fn write(&mut self, batch: &[Job]) -> Result<Vec<Result<Outcome, NotStored>>, NotStored> {
        if self.file.as_ref().is_some_and(|file| !file.is_in_place()) {
            self.file = None;
        }
        let file = match self.file.take() {
            Some(file) => file,
            None => File::open(&self.path).map_err(|error| failed(&error))?,
        };
        let file = self.file.insert(file);
        let written = write_all(file, &self.owed, batch).map_err(|error| failed(&error));
        if written.is_ok() {
            self.counters.store_commits.tick();
        }
        written
    }

    fn remember(&mut self, job: &Job) {
        match &job.news {
            News::Init(init) if self.owed.len() < REMEMBERED => {
                self.owed.insert(init.hostname.clone(), (init.clone(), job.received));
            }
            News::Init(_) | News::Tape(_) | News::Tag(_) => {}
        }
    }

    fn answer(&self, job: Job, outcome: Result<Outcome, NotStored>) {
        match &outcome {
            Ok(Outcome::Added) => self.counters.store_added.tick(),
            Ok(Outcome::Repeated) => self.counters.store_repeated.tick(),
            Ok(Outcome::Full) | Err(_) => self.counters.store_failed.tick(),
        }
        if job.reply.send(outcome).is_err() {
            tracing::debug!("a sender went away before its answer");
        }
    }
}

fn write_all(
    file: &mut File,
    owed: &BTreeMap<String, (InitMessage, u64)>,
    batch: &[Job],
) -> rusqlite::Result<Vec<Result<Outcome, NotStored>>> {
    let mut transaction =
        file.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for (init, received) in owed.values() {
        rows::put_recorder(&transaction, init, *received)?;
    }
    let mut outcomes = Vec::with_capacity(batch.len());
    for job in batch {
        let step = transaction.savepoint()?;
        let written = match &job.news {
            News::Tape(message) => rows::put_tape(&step, message, job.received),
            News::Tag(tag) => rows::put_tag(&step, tag, job.received),
            News::Init(init) => rows::put_recorder(&step, init, job.received),
        };
        outcomes.push(match written {
            Ok(outcome) => {
                step.commit()?;
                Ok(outcome)
            }
            // Its own fault: rolled back with its savepoint, the others go on.
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => {
                tracing::error!("a message breaks a law of the database: {error}");
                Err(failed(&error))
            }
            Err(error) => return Err(error),
        });
    }
    transaction.commit()?;
    Ok(outcomes)
}

fn failed(error: &dyn std::error::Error) -> NotStored {
    NotStored::Failed(error.to_string().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{sample, store::Query, store::Reader};
    use orkbase::message::tape::Stage;
    use tokio::sync::oneshot;

    type Answer = oneshot::Receiver<Result<Outcome, NotStored>>;

    fn job(news: News) -> (Job, Answer) {
        let (reply, answer) = oneshot::channel();
        (Job { news, received: 100, reply }, answer)
    }

    fn tape(recid: &str, stage: Stage) -> (Job, Answer) {
        job(News::Tape(sample::tape(recid, stage)))
    }

    fn writer(path: &std::path::Path) -> (Writer, mpsc::Sender<Job>, Arc<Counters>) {
        let counters = Arc::new(Counters::default());
        let (jobs, queue) = mpsc::channel(1000);
        (Writer::new(File::open(path).unwrap(), queue, counters.clone()), jobs, counters)
    }

    #[test]
    fn what_waits_together_shares_a_commit() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("t.db");
        let (writer, jobs, counters) = writer(&path);
        let mut answers = Vec::new();
        for n in 0..300 {
            let (job, answer) = tape(&format!("R{n}"), Stage::Start);
            jobs.try_send(job).unwrap();
            answers.push(answer);
        }
        drop(jobs);
        writer.run();
        for mut answer in answers {
            assert_eq!(answer.try_recv().unwrap(), Ok(Outcome::Added));
        }
        assert_eq!((counters.store_commits.now(), counters.store_added.now()), (2, 300));
    }

    #[test]
    fn nothing_is_said_to_be_stored_in_a_file_that_is_gone() {
        let home = tempfile::tempdir().unwrap();
        let place = home.path().join("place");
        std::fs::create_dir(&place).unwrap();
        let path = place.join("t.db");
        let (mut writer, _jobs, counters) = writer(&path);
        std::fs::remove_dir_all(&place).unwrap();

        let (lost, mut answer) = tape("A", Stage::Start);
        let init = InitMessage::new("s", "vm", 1, "/x");
        let (init, mut init_answer) = job(News::Init(init));
        writer.handle_batch(vec![lost, init]);
        assert!(matches!(answer.try_recv().unwrap(), Err(NotStored::Failed(_))));
        assert!(init_answer.try_recv().unwrap().is_err() && counters.store_failing());

        std::fs::create_dir(&place).unwrap();
        let (again, mut answer) = tape("A", Stage::Start);
        writer.handle_batch(vec![again]);
        assert_eq!(answer.try_recv().unwrap(), Ok(Outcome::Added));
        assert!(!counters.store_failing());
        let reader = Reader::open(&path).unwrap();
        assert_eq!(reader.recordings(&Query::default()).unwrap().recordings.len(), 1);
        assert_eq!(reader.recorders().unwrap(), 1, "the introduction was not forgotten");
    }

    #[test]
    fn a_locked_database_is_a_failure_not_a_loss() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("t.db");
        let (mut writer, _jobs, _) = writer(&path);
        let other = rusqlite::Connection::open(&path).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        writer.file.as_ref().unwrap().connection.busy_timeout(std::time::Duration::ZERO).unwrap();
        let (first, mut answer) = tape("A", Stage::Ready);
        writer.handle_batch(vec![first]);
        assert!(matches!(answer.try_recv().unwrap(), Err(NotStored::Failed(_))));
        other.execute_batch("ROLLBACK").unwrap();
        let (again, mut answer) = tape("A", Stage::Ready);
        writer.handle_batch(vec![again]);
        assert_eq!(answer.try_recv().unwrap(), Ok(Outcome::Added));
    }
}
