//! The database of the tracker link: the only file of the recorder with SQL in it.
//!
//! Law: one thread owns the [`Store`]; every change happens in one of its batches, and a batch is
//! either wholly on disk (WAL, `synchronous=FULL`) or did not happen. Column by column: `schema.sql`.

use rusqlite::{Connection, OptionalExtension, Result, Row, Transaction, params};
use std::{collections::BTreeSet, path::Path, time::Duration};

/// Steps from one version of the database to the next; `PRAGMA user_version` counts those done.
const MIGRATIONS: [&str; 2] = [include_str!("schema.sql"), include_str!("schema_2.sql")];

/// Another process looking at the file may hold it up this long before a batch fails.
const BUSY: Duration = Duration::from_secs(2);

/// Recordings told of again at once.
pub(super) const MOST_AGAIN: usize = 100_000;

/// The open database.
pub(super) struct Store {
    db: Connection,
}

/// A message on its way: a row of `outbox`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Letter {
    pub(super) seq: i64,
    pub(super) recid: String,
    pub(super) stage: String,
    pub(super) body: String,
    pub(super) tries: i64,
}

/// A row of `tape` as far as recovery wants it.
pub(super) struct OpenRow {
    pub(super) recid: String,
    pub(super) path: String,
    pub(super) body: String,
}

/// What a batch changed, to be counted once it is on disk.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    pub(super) queued: u64,
    pub(super) delivered: u64,
    pub(super) refused: u64,
    pub(super) coalesced: u64,
    pub(super) repeated: u64,
}

impl Tally {
    /// Rows that left the outbox.
    pub(super) const fn removed(&self) -> u64 {
        self.delivered + self.refused + self.coalesced
    }
}

impl Store {
    /// Opens or creates the database; without a path it lives in memory only.
    pub(super) fn open(path: Option<&Path>) -> Result<Self> {
        let mut db = match path {
            Some(path) => Connection::open(path)?,
            None => Connection::open_in_memory()?,
        };
        db.busy_timeout(BUSY)?;
        db.pragma_update(None, "journal_mode", "WAL")?;
        db.pragma_update(None, "synchronous", "FULL")?;
        // KiB: rows are written, read once and deleted; more pages would fill up over hours for nothing.
        db.pragma_update(None, "cache_size", -512)?;
        migrate(&mut db)?;
        // Times to try again were of another process: everything that leads its recording may go.
        db.execute("UPDATE outbox SET next_try_ms = NULL WHERE next_try_ms IS NOT NULL", [])?;
        db.execute(
            "UPDATE outbox SET next_try_ms = 0
             WHERE seq IN (SELECT MIN(seq) FROM outbox GROUP BY tracker, recid)",
            [],
        )?;
        Ok(Self { db })
    }

    /// Does the work in one transaction. Whatever it changed outside the database must be undone by
    /// the caller when this fails.
    pub(super) fn batch<T>(&mut self, work: impl FnOnce(&Batch<'_>) -> Result<T>) -> Result<T> {
        // Immediate: a batch that has read must not fail when it comes to writing.
        let transaction =
            self.db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        let batch = Batch(transaction);
        let done = work(&batch)?;
        batch.0.commit()?;
        Ok(done)
    }

    /// Messages that may go to a tracker now, those that have waited longest first.
    pub(super) fn due(&self, tracker: &str, now_ms: i64, limit: usize) -> Result<Vec<Letter>> {
        let mut rows = self.db.prepare_cached(
            "SELECT seq, recid, stage, body, tries FROM outbox
             WHERE tracker = ?1 AND next_try_ms <= ?2 ORDER BY next_try_ms, seq LIMIT ?3",
        )?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let letter = |row: &Row<'_>| {
            Ok(Letter {
                seq: row.get(0)?,
                recid: row.get(1)?,
                stage: row.get(2)?,
                body: row.get(3)?,
                tries: row.get(4)?,
            })
        };
        rows.query_map(params![tracker, now_ms, limit], letter)?.collect()
    }

    /// When the next message for a tracker becomes due after `now_ms`.
    pub(super) fn next_due(&self, tracker: &str, now_ms: i64) -> Result<Option<i64>> {
        let mut rows = self.db.prepare_cached(
            "SELECT MIN(next_try_ms) FROM outbox WHERE tracker = ?1 AND next_try_ms > ?2",
        )?;
        rows.query_row(params![tracker, now_ms], |row| row.get(0))
    }

    /// Number of messages in the outbox.
    pub(super) fn rows(&self) -> Result<u64> {
        let rows: i64 = self.db.query_row("SELECT COUNT(*) FROM outbox", [], |row| row.get(0))?;
        Ok(u64::try_from(rows).unwrap_or(0))
    }

    /// Number of messages in the outbox for trackers that are not among these.
    pub(super) fn rows_of_others(&self, trackers: &BTreeSet<String>) -> Result<Vec<(String, i64)>> {
        let mut rows = self.db.prepare("SELECT tracker, COUNT(*) FROM outbox GROUP BY tracker")?;
        let rows = rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let foreign = |row: &Result<(String, i64)>| {
            row.as_ref().map_or(true, |(tracker, _)| !trackers.contains(tracker))
        };
        rows.filter(foreign).collect()
    }

    /// When the oldest message was queued.
    pub(super) fn oldest(&self) -> Result<Option<i64>> {
        let mut rows =
            self.db.prepare_cached("SELECT queued_at FROM outbox ORDER BY seq LIMIT 1")?;
        rows.query_row([], |row| row.get(0)).optional()
    }

    /// Tapes that were never closed, by name.
    pub(super) fn open_tapes(&self) -> Result<Vec<OpenRow>> {
        let mut rows = self
            .db
            .prepare("SELECT recid, path, body FROM tape WHERE state = 'open' ORDER BY recid")?;
        let open = |row: &Row<'_>| {
            Ok(OpenRow { recid: row.get(0)?, path: row.get(1)?, body: row.get(2)? })
        };
        rows.query_map([], open)?.collect()
    }

    /// Whether a tape was closed as ready.
    pub(super) fn is_ready(&self, recid: &str) -> Result<bool> {
        state_of(&self.db, recid).map(|state| state.as_deref() == Some("ready"))
    }
}

fn state_of(db: &Connection, recid: &str) -> Result<Option<String>> {
    let mut rows = db.prepare_cached("SELECT state FROM tape WHERE recid = ?1")?;
    rows.query_row([recid], |row| row.get(0)).optional()
}

fn migrate(db: &mut Connection) -> Result<()> {
    let done: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let done = usize::try_from(done).unwrap_or(0);
    for (step, sql) in MIGRATIONS.iter().enumerate().skip(done) {
        let transaction = db.transaction()?;
        transaction.execute_batch(sql)?;
        let version = i64::try_from(step).unwrap_or(i64::MAX).saturating_add(1);
        transaction.pragma_update(None, "user_version", version)?;
        transaction.commit()?;
    }
    Ok(())
}

/// Changes that reach the disk together.
pub(super) struct Batch<'a>(Transaction<'a>);

impl Batch<'_> {
    /// A tape begins. A tape of that name that is known already stays as it is.
    pub(super) fn opened(&self, recid: &str, path: &str, body: &str, opened_at: i64) -> Result<()> {
        self.0
            .prepare_cached(
                "INSERT INTO tape (recid, state, path, body, opened_at)
                 VALUES (?1, 'open', ?2, ?3, ?4) ON CONFLICT (recid) DO NOTHING",
            )?
            .execute(params![recid, path, body, opened_at])?;
        Ok(())
    }

    /// The latest message of an open tape.
    pub(super) fn latest(&self, recid: &str, body: &str) -> Result<()> {
        self.0
            .prepare_cached("UPDATE tape SET body = ?2 WHERE recid = ?1 AND state = 'open'")?
            .execute(params![recid, body])?;
        Ok(())
    }

    /// A tape is finished; false when it was so already.
    pub(super) fn ready(&self, tape: &Finished<'_>) -> Result<bool> {
        if state_of(&self.0, tape.recid)?.as_deref() == Some("ready") {
            return Ok(false);
        }
        self.0
            .prepare_cached(
                "INSERT INTO tape (recid, state, path, body, opened_at, closed_at)
                 VALUES (?1, 'ready', ?2, ?3, ?4, ?5)
                 ON CONFLICT (recid) DO UPDATE SET state = excluded.state, path = excluded.path,
                     body = excluded.body, closed_at = excluded.closed_at",
            )?
            .execute(params![tape.recid, tape.path, tape.body, tape.opened_at, tape.closed_at])?;
        Ok(true)
    }

    /// An open tape ends without a recording.
    pub(super) fn discarded(&self, recid: &str, closed_at: i64) -> Result<()> {
        self.0
            .prepare_cached(
                "UPDATE tape SET state = 'discarded', closed_at = ?2
                 WHERE recid = ?1 AND state = 'open'",
            )?
            .execute(params![recid, closed_at])?;
        Ok(())
    }

    /// Puts a message for one tracker at the end of its recording's queue.
    pub(super) fn queue(&self, tracker: &str, new: &NewLetter<'_>) -> Result<()> {
        self.0
            .prepare_cached(
                "INSERT INTO outbox (tracker, recid, stage, body, queued_at)
                 VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute(params![tracker, new.recid, new.stage, new.body, new.queued_at])?;
        self.promote(tracker, new.recid)
    }

    /// Queues `ready` of recordings of a time once more, for each tracker; gives how many recordings
    /// and how many messages. `None` when there are too many.
    pub(super) fn again(
        &self,
        trackers: &[&str],
        (from, until): (i64, i64),
        queued_at: i64,
    ) -> Result<Option<(u64, u64)>> {
        let mut rows = self.0.prepare_cached(
            "SELECT recid, body FROM tape WHERE state = 'ready' AND closed_at >= ?1
             AND opened_at <= ?2 ORDER BY closed_at LIMIT ?3",
        )?;
        let limit = i64::try_from(MOST_AGAIN).unwrap_or(i64::MAX).saturating_add(1);
        let tapes: Vec<(String, String)> = rows
            .query_map(params![from, until, limit], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<Result<_>>()?;
        if tapes.len() > MOST_AGAIN {
            return Ok(None);
        }
        let mut waits = self.0.prepare_cached(
            "SELECT 1 FROM outbox WHERE tracker = ?1 AND recid = ?2 AND stage = 'ready'",
        )?;
        let mut messages = 0;
        for (recid, body) in &tapes {
            for tracker in trackers {
                if !waits.exists(params![tracker, recid])? {
                    self.queue(tracker, &NewLetter { recid, stage: "ready", body, queued_at })?;
                    messages += 1;
                }
            }
        }
        Ok(Some((u64::try_from(tapes.len()).unwrap_or(0), messages)))
    }

    /// Gives up messages that a tracker has failed and that are not on their way, oldest first.
    pub(super) fn skip(
        &self,
        tracker: &str,
        num: u64,
        on_their_way: &BTreeSet<i64>,
    ) -> Result<u64> {
        let mut rows = self.0.prepare_cached(
            "SELECT seq, recid FROM outbox WHERE tracker = ?1 AND tries > 0 ORDER BY seq LIMIT ?2",
        )?;
        let limit = i64::try_from(num).unwrap_or(i64::MAX);
        let failed: Vec<(i64, String)> = rows
            .query_map(params![tracker, limit], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<Result<_>>()?;
        let mut skipped = 0;
        for (seq, recid) in failed.iter().filter(|(seq, _)| !on_their_way.contains(seq)) {
            self.remove(*seq)?;
            self.promote(tracker, recid)?;
            skipped += 1;
        }
        Ok(skipped)
    }

    /// Takes away `start` and `stop` of a recording that has a later stage to tell: all that are not
    /// on their way when the tracker is `away`, else those it has failed. Returns how many.
    pub(super) fn coalesce(
        &self,
        tracker: &str,
        recid: &str,
        away: bool,
        on_their_way: &BTreeSet<i64>,
    ) -> Result<u64> {
        let mut rows = self.0.prepare_cached(
            "SELECT seq FROM outbox WHERE tracker = ?1 AND recid = ?2
             AND stage IN ('start', 'stop') AND (?3 OR tries > 0)",
        )?;
        let needless: Vec<i64> = rows
            .query_map(params![tracker, recid, away], |row| row.get(0))?
            .collect::<Result<_>>()?;
        let mut removed = 0;
        for seq in needless.into_iter().filter(|seq| !on_their_way.contains(seq)) {
            self.remove(seq)?;
            removed += 1;
        }
        Ok(removed)
    }

    /// A message needs no more attention; the next one of its recording may go.
    pub(super) fn taken(&self, tracker: &str, letter: &Letter) -> Result<()> {
        self.remove(letter.seq)?;
        self.promote(tracker, &letter.recid)
    }

    /// An attempt failed; the next one is at `next_try_ms`.
    pub(super) fn failed(&self, seq: i64, next_try_ms: i64) -> Result<()> {
        self.0
            .prepare_cached("UPDATE outbox SET tries = tries + 1, next_try_ms = ?2 WHERE seq = ?1")?
            .execute(params![seq, next_try_ms])?;
        Ok(())
    }

    /// Forgets closed tapes: those closed before `closed_before`, and all but the latest `keep`; at
    /// most `limit` of each, so that a batch stays short.
    pub(super) fn prune(&self, closed_before: i64, keep: i64, limit: i64) -> Result<()> {
        self.0
            .prepare_cached(
                "DELETE FROM tape WHERE recid IN
                 (SELECT recid FROM tape WHERE closed_at < ?1 ORDER BY closed_at LIMIT ?2)",
            )?
            .execute(params![closed_before, limit])?;
        self.0
            .prepare_cached(
                "DELETE FROM tape WHERE recid IN
                 (SELECT recid FROM tape WHERE closed_at IS NOT NULL
                  ORDER BY closed_at DESC LIMIT ?2 OFFSET ?1)",
            )?
            .execute(params![keep, limit])?;
        Ok(())
    }

    fn remove(&self, seq: i64) -> Result<()> {
        self.0.prepare_cached("DELETE FROM outbox WHERE seq = ?1")?.execute([seq])?;
        Ok(())
    }

    /// The first message of a recording is behind nothing any more.
    fn promote(&self, tracker: &str, recid: &str) -> Result<()> {
        self.0
            .prepare_cached(
                "UPDATE outbox SET next_try_ms = 0 WHERE next_try_ms IS NULL AND seq =
                 (SELECT MIN(seq) FROM outbox WHERE tracker = ?1 AND recid = ?2)",
            )?
            .execute(params![tracker, recid])?;
        Ok(())
    }
}

/// A message to be queued.
pub(super) struct NewLetter<'a> {
    pub(super) recid: &'a str,
    pub(super) stage: &'a str,
    pub(super) body: &'a str,
    pub(super) queued_at: i64,
}

/// A tape that is finished.
pub(super) struct Finished<'a> {
    pub(super) recid: &'a str,
    pub(super) path: &'a str,
    pub(super) body: &'a str,
    pub(super) opened_at: i64,
    pub(super) closed_at: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new<'a>(recid: &'a str, stage: &'a str) -> NewLetter<'a> {
        NewLetter { recid, stage, body: stage, queued_at: 7 }
    }

    fn due(store: &Store, now_ms: i64) -> Vec<(String, String)> {
        let due = store.due("t", now_ms, 100).unwrap();
        due.into_iter().map(|letter| (letter.recid, letter.stage)).collect()
    }

    fn pair(recid: &str, stage: &str) -> (String, String) {
        (recid.to_owned(), stage.to_owned())
    }

    #[test]
    fn an_older_queue_keeps_its_messages() {
        let mut db = Connection::open_in_memory().unwrap();
        db.execute_batch(MIGRATIONS[0]).unwrap();
        db.pragma_update(None, "user_version", 1).unwrap();
        let add = "INSERT INTO outbox (seq, tracker, recid, stage, body, queued_at, next_try_ms)
             VALUES (41, 't', 'a', 'start', 'x', 7, 0)";
        db.execute(add, []).unwrap();
        migrate(&mut db).unwrap();
        let mut store = Store { db };
        store.batch(|batch| batch.queue("t", &new("a", "addtag"))).unwrap();
        let first = store.due("t", 0, 9).unwrap().remove(0);
        assert_eq!((first.seq, first.stage.as_str()), (41, "start"));
        store.batch(|batch| batch.taken("t", &first)).unwrap();
        assert_eq!(due(&store, 0), [pair("a", "addtag")]);
    }

    #[test]
    fn one_message_of_each_recording_may_go() {
        let mut store = Store::open(None).unwrap();
        let queue = |batch: &Batch<'_>| {
            for (recid, stage) in [("a", "start"), ("b", "start"), ("a", "ready")] {
                batch.queue("t", &new(recid, stage))?;
            }
            batch.queue("other", &new("c", "start"))
        };
        store.batch(queue).unwrap();
        assert_eq!(due(&store, 0), [pair("a", "start"), pair("b", "start")]);
        let first = store.due("t", 0, 1).unwrap().remove(0);
        store.batch(|batch| batch.failed(first.seq, 2000)).unwrap();
        assert_eq!(due(&store, 1999), [pair("b", "start")]);
        assert_eq!(store.next_due("t", 0), Ok(Some(2000)));
        assert_eq!(due(&store, 2000), [pair("b", "start"), pair("a", "start")]);
        store.batch(|batch| batch.taken("t", &first)).unwrap();
        assert_eq!(due(&store, 0), [pair("b", "start"), pair("a", "ready")]);
        assert_eq!((store.rows(), store.oldest()), (Ok(3), Ok(Some(7))));
        let configured = BTreeSet::from(["t".to_owned()]);
        assert_eq!(store.rows_of_others(&configured), Ok(vec![("other".to_owned(), 1)]));
    }

    #[test]
    fn needless_stages_go_unless_they_are_on_their_way() {
        let mut store = Store::open(None).unwrap();
        for stage in ["start", "update", "stop"] {
            store.batch(|batch| batch.queue("t", &new("a", stage))).unwrap();
        }
        let start = store.due("t", 0, 1).unwrap().remove(0);
        let on_their_way = BTreeSet::from([start.seq]);
        let coalesce = |store: &mut Store, away: bool, leased: &BTreeSet<i64>| {
            store
                .batch(|batch| {
                    let removed = batch.coalesce("t", "a", away, leased)?;
                    batch.queue("t", &new("a", "ready"))?;
                    Ok(removed)
                })
                .unwrap()
        };
        assert_eq!(coalesce(&mut store, false, &on_their_way), 0);
        assert_eq!(coalesce(&mut store, true, &on_their_way), 1);
        assert_eq!(coalesce(&mut store, true, &BTreeSet::new()), 1);
        assert_eq!(due(&store, 0), [pair("a", "update")]);
    }

    #[test]
    fn a_restart_forgets_the_waiting_but_not_the_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db");
        let mut store = Store::open(Some(&path)).unwrap();
        store.batch(|batch| batch.queue("t", &new("a", "start"))).unwrap();
        store.batch(|batch| batch.queue("t", &new("a", "ready"))).unwrap();
        let first = store.due("t", 0, 1).unwrap().remove(0);
        store.batch(|batch| batch.failed(first.seq, 60_000)).unwrap();
        assert!(due(&store, 0).is_empty());
        drop(store);
        let store = Store::open(Some(&path)).unwrap();
        assert_eq!(due(&store, 0), [pair("a", "start")]);
        assert_eq!(store.due("t", 0, 1).unwrap().remove(0).tries, 1);
    }

    #[test]
    fn the_journal_knows_what_became_of_a_tape() {
        let mut store = Store::open(None).unwrap();
        let tape = |closed_at| Finished {
            recid: "a",
            path: "a.wav",
            body: "ready",
            opened_at: 1,
            closed_at,
        };
        let work = |batch: &Batch<'_>| {
            batch.opened("a", "a", "start", 1)?;
            batch.opened("b", "b", "start", 2)?;
            batch.opened("c", "c", "start", 3)?;
            batch.latest("b", "update")?;
            batch.discarded("c", 40)?;
            Ok((batch.ready(&tape(30))?, batch.ready(&tape(50))?))
        };
        assert_eq!(store.batch(work), Ok((true, false)));
        assert_eq!((store.is_ready("a"), store.is_ready("b")), (Ok(true), Ok(false)));
        let open = store.open_tapes().unwrap();
        let open: Vec<_> = open.iter().map(|row| (row.recid.as_str(), row.body.as_str())).collect();
        assert_eq!(open, [("b", "update")]);
        store.batch(|batch| batch.prune(0, 1, 10)).unwrap();
        assert_eq!(store.is_ready("a"), Ok(false));
        store.batch(|batch| batch.prune(1000, 1, 10)).unwrap();
        let left: i64 =
            store.db.query_row("SELECT COUNT(*) FROM tape", [], |row| row.get(0)).unwrap();
        assert_eq!(left, 1);
    }

    #[test]
    fn recordings_of_a_time_are_told_again() {
        let mut store = Store::open(None).unwrap();
        let tape = |recid, opened_at, closed_at| Finished {
            recid,
            path: "a.wav",
            body: "ready",
            opened_at,
            closed_at,
        };
        let tapes = [("a", 10, 20), ("b", 30, 40), ("c", 50, 60)];
        for (recid, opened_at, closed_at) in tapes {
            store.batch(|batch| batch.ready(&tape(recid, opened_at, closed_at))).unwrap();
        }
        store.batch(|batch| batch.opened("d", "d", "start", 35)).unwrap();
        store.batch(|batch| batch.queue("t", &new("b", "ready"))).unwrap();
        let again = |store: &mut Store, from, until| {
            store.batch(|batch| batch.again(&["t", "u"], (from, until), 7)).unwrap()
        };
        // What lies partly within counts; what still waits is not told twice; `d` has no end yet.
        assert_eq!(again(&mut store, 20, 30), Some((2, 3)));
        assert_eq!(again(&mut store, 20, 30), Some((2, 0)));
        assert_eq!(again(&mut store, 21, 29), Some((0, 0)));
        assert_eq!(store.rows(), Ok(4));
        assert_eq!(due(&store, 0), [pair("b", "ready"), pair("a", "ready")]);
    }

    #[test]
    fn only_what_a_tracker_failed_is_given_up() {
        let mut store = Store::open(None).unwrap();
        for (recid, stage) in [("a", "start"), ("a", "ready"), ("b", "start"), ("c", "start")] {
            store.batch(|batch| batch.queue("t", &new(recid, stage))).unwrap();
        }
        let letters = store.due("t", 0, 9).unwrap();
        for letter in &letters {
            store.batch(|batch| batch.failed(letter.seq, 9_000)).unwrap();
        }
        let away = BTreeSet::from([letters[1].seq]);
        let skip = |store: &mut Store, num| store.batch(|batch| batch.skip("t", num, &away));
        assert_eq!(skip(&mut store, 2), Ok(1), "the second is on its way");
        // What was behind it may go now.
        assert_eq!(due(&store, 0), [pair("a", "ready")]);
        assert_eq!(skip(&mut store, 9), Ok(1));
        assert_eq!(store.rows(), Ok(2));
        assert_eq!(store.batch(|batch| batch.skip("u", 9, &away)), Ok(0));
    }

    #[test]
    fn a_batch_that_fails_leaves_nothing() {
        let mut store = Store::open(None).unwrap();
        let work = |batch: &Batch<'_>| {
            batch.queue("t", &new("a", "start"))?;
            batch.queue("t", &new("a", "nonsense"))
        };
        assert!(store.batch(work).is_err());
        assert_eq!(store.rows(), Ok(0));
    }
}
