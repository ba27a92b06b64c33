//! The end of a recording: its file and its rows go together, and a hold that comes meanwhile comes too late
//! or stops both.

use crate::{
    files::{self, FileError, Folders},
    store::{
        NotStored, Store,
        audit::{self, Deed},
        retention::{self, Deleted, FileOf},
        session::DbError,
    },
};
use std::sync::{Arc, mpsc};

/// Why a recording is still there.
#[derive(Debug)]
pub(crate) enum Stays {
    /// It must stay, or was gone before.
    Law(Deleted),
    /// Its file cannot be deleted; nothing was changed.
    File(FileError),
    /// The database could not be changed.
    Store(NotStored),
}

/// Deletes a recording; tells whether its file was there.
///
/// # Errors
/// See [`Stays`].
pub(crate) async fn end(
    store: &Store,
    folders: Arc<Folders>,
    file: FileOf,
    now: u64,
    deed: Option<Deed>,
) -> Result<bool, Stays> {
    let (tell, told) = mpsc::sync_channel(1);
    let work = move |session: &mut dyn crate::store::session::Session| {
        let deleted = retention::delete(session, file.tape, now)?;
        if deleted != Deleted::Gone {
            return Ok(Err(deleted));
        }
        if let Some(deed) = deed {
            audit::note(session, &deed)?;
        }
        // The file last: until here all can be undone, and no hold can be put on a row that is going. If
        // the power fails now, the row is still there and is deleted the next time.
        files::remove(&folders, &file).map(Ok).map_err(|error| {
            let why = error.to_string();
            // Whoever asked waits for it.
            drop(tell.send(error));
            DbError::Undone(why)
        })
    };
    match store.write(work).await {
        Ok(Ok(there)) => Ok(there),
        Ok(Err(deleted)) => Err(Stays::Law(deleted)),
        Err(error) => Err(told.try_recv().map_or(Stays::Store(error), Stays::File)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::AudioRoot,
        counters::Counters,
        sample,
        store::{Introduction, once, session::SessionExt as _, tapes},
    };
    use orkbase::message::{init::InitMessage, tape::Stage};
    use std::{fs, path::PathBuf, thread};

    struct Bench {
        audio: PathBuf,
        database: PathBuf,
        folders: Arc<Folders>,
        store: Store,
        runtime: tokio::runtime::Runtime,
        _home: tempfile::TempDir,
    }

    impl Bench {
        fn with(recordings: usize) -> Self {
            let home = tempfile::tempdir().unwrap();
            let (audio, database) = (home.path().join("audio"), home.path().join("t.db"));
            fs::create_dir_all(audio.join("2026/11/21/02")).unwrap();
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let (store, _) = Store::open(&database, Arc::new(Counters::default())).unwrap();
            let roots = vec![AudioRoot { hostname: None, folder: audio.clone() }];
            let folders = Arc::new(Folders { roots, ..Folders::default() });
            let init = InitMessage::new("s", "vm", 1, &audio.display().to_string());
            runtime.block_on(async {
                let known = Introduction { init, received: 5, address: String::new() };
                store.introduce(known).await.unwrap();
                let tell = store.write(move |session| {
                    for n in 0..recordings {
                        tapes::put(session, &sample::tape(&format!("R{n}"), Stage::Ready), 10, "")?;
                    }
                    Ok(())
                });
                tell.await.unwrap();
            });
            Self { audio, database, folders, store, runtime, _home: home }
        }

        fn path(&self, n: usize) -> PathBuf {
            self.audio.join(format!("2026/11/21/02/R{n}.wav"))
        }

        fn end(&self, n: usize) -> Result<bool, Stays> {
            self.runtime.block_on(async {
                let tape = i64::try_from(n + 1).unwrap();
                let file = self.store.read(move |session| retention::file_of(session, tape)).await;
                let file = file.unwrap().unwrap();
                end(&self.store, Arc::clone(&self.folders), file, 20, None).await
            })
        }
    }

    #[test]
    fn a_file_that_cannot_go_keeps_its_rows() {
        let bench = Bench::with(1);
        fs::create_dir(bench.path(0)).unwrap();
        assert!(matches!(bench.end(0), Err(Stays::File(FileError::Failed(_)))));
        let rows = |sql: &str| -> Option<i64> {
            once(&bench.database, |session| session.value(sql, &[])).unwrap()
        };
        assert_eq!(rows("SELECT count(*) FROM tape"), Some(1));
        assert_eq!(rows("SELECT count(*) FROM tape_gone"), Some(0));
        fs::remove_dir(bench.path(0)).unwrap();
        assert!(matches!(bench.end(0), Ok(false)));
        assert_eq!(rows("SELECT count(*) FROM tape"), Some(0));
    }

    /// Whoever is first: a hold that was put on keeps row and file, one that came too late is refused.
    #[test]
    fn a_hold_that_races_a_deletion_keeps_all_or_is_refused() {
        const RACES: usize = 100;
        let bench = Bench::with(RACES);
        for n in 0..RACES {
            fs::write(bench.path(n), "sound").unwrap();
            let tape = i64::try_from(n + 1).unwrap();
            let hold = || {
                once(&bench.database, |s| retention::hold(s, tape, "court", "admin", 11)).is_ok()
            };
            let (ended, held) = thread::scope(|scope| {
                let hold = thread::Builder::new().spawn_scoped(scope, hold).unwrap();
                (bench.end(n), hold.join().unwrap())
            });
            let there = bench.path(n).exists();
            assert_eq!(held, there, "{n}: {ended:?}");
            assert_eq!(ended.is_err(), there, "{n}: {ended:?}");
        }
    }
}
