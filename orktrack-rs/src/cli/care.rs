//! `orktrack retention`, `holds`, `check`, `verify`, `backup`.

use super::{Common, now, rows};
use crate::Failure;
use clap::{Args, Subcommand};
use orktrack::{
    check,
    store::{
        SessionExt,
        retention::{self, Deleted},
        search,
    },
    verify,
};
use orkvault::shelf::Finding;
use serde_json::json;
use std::{
    io::{self, IsTerminal as _, Write as _},
    path::PathBuf,
    time::{Duration, Instant},
};

#[derive(Debug, Args)]
pub(crate) struct Retention {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    act: Option<RetentionAct>,
}

#[derive(Debug, Subcommand)]
enum RetentionAct {
    /// Make a class, or change it; recordings that have it follow
    Put {
        name: String,
        /// Days that recordings are kept; for ever if not given
        #[arg(long, value_parser = clap::value_parser!(i64).range(1..=36_500))]
        days: Option<i64>,
        /// Recordings get it unless a program says otherwise
        #[arg(long)]
        standard: bool,
    },
}

impl Retention {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let shop = self.common.open()?;
        match self.act {
            None => {
                let all = shop.read(retention::all)?;
                shop.show("retention", &rows(&all), &["id", "name", "keep_days", "standard"])
            }
            Some(RetentionAct::Put { name, days, standard }) => {
                let id = shop.change("write retention", &name, |session| {
                    retention::put(session, &name, days, standard)
                })?;
                shop.say(&format!("class {id}"), &json!({ "id": id }))
            }
        }
    }
}

/// Most holds in one list.
const MAX_HOLDS: i64 = 100_000;

#[derive(Debug, Args)]
pub(crate) struct Holds {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    act: Option<HoldsAct>,
}

#[derive(Debug, Subcommand)]
enum HoldsAct {
    /// Put a recording under a legal hold: nobody deletes it, and the running tracker has its recorder pin it
    Add {
        /// Its name (orkuid), or its number
        recording: String,
        /// Why; shown in the list
        #[arg(long)]
        reason: String,
    },
    /// End the holds of a recording
    Remove {
        /// Its name (orkuid), or its number
        recording: String,
    },
}

impl Holds {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let shop = self.common.open()?;
        let find = |name: &str| {
            let found = shop.read(|session| match search::by_name(session, name)? {
                Some(id) => Ok(Some(id)),
                None => session.value(
                    "SELECT id FROM tape WHERE id = ?1",
                    &[name.parse::<i64>().unwrap_or(-1).into()],
                ),
            })?;
            found.ok_or_else(|| Failure(format!("there is no recording {name}"), 1))
        };
        match self.act {
            None => {
                let all = shop.read(|session| retention::holds(session, MAX_HOLDS))?;
                shop.show(
                    "holds",
                    &rows(&all),
                    &["tape", "recid", "reason", "who", "since", "told"],
                )
            }
            Some(HoldsAct::Add { recording, reason }) => {
                let tape = find(&recording)?;
                if reason.trim().is_empty() {
                    return Err(Failure("a hold has a reason".to_owned(), 1));
                }
                let id = shop.change("hold", &recording, |session| {
                    // The recorder of a live call that was discarded has to be told, and is not from here.
                    let dropped: Option<String> =
                        session.value("SELECT keep FROM tape WHERE id = ?1", &[tape.into()])?;
                    let live = retention::may_delete(session, tape)? == Deleted::Live;
                    if live && dropped.as_deref() == Some("DROP") {
                        return Ok(None);
                    }
                    retention::hold(session, tape, &reason, "command line", now()).map(Some)
                })?;
                let Some(id) = id else {
                    let why = "the call is live and its recorder was told to discard it: put the hold on by \
                               POST /api/v1/recordings/N/hold, which tells the recorder";
                    return Err(Failure(why.to_owned(), 1));
                };
                let words = format!(
                    "hold {id}; the running tracker tells the recorder (`orktrack holds`: told)"
                );
                shop.say(&words, &json!({ "id": id, "told": false }))
            }
            Some(HoldsAct::Remove { recording }) => {
                let tape = find(&recording)?;
                let gone =
                    shop.change("release", &recording, |s| retention::release(s, tape, now()))?;
                if gone == 0 {
                    return Err(Failure(format!("{recording} is under no hold"), 1));
                }
                shop.say("removed", &json!({ "removed": gone }))
            }
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Check {
    #[command(flatten)]
    common: Common,
}

impl Check {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let shop = self.common.open()?;
        let found = check::check(shop.database(), &shop.config.audio_roots);
        let found = found.map_err(|why| Failure(why, 1))?;
        let mut words = format!(
            "recordings {}: files {}, missing {}, in folders not looked at {}, discarded {}\n\
             files without a recording {}\ndatabase {}\naudit log {}",
            found.recordings,
            found.files,
            found.missing,
            found.elsewhere,
            found.discarded,
            found.orphans,
            found.database,
            found.audit_broken_at.map_or("whole".to_owned(), |row| format!("broken at row {row}")),
        );
        for name in &found.missing_names {
            words.push_str(&format!("\nmissing: {name}"));
        }
        for name in &found.orphan_names {
            words.push_str(&format!("\nwithout a recording: {}", name.display()));
        }
        shop.say(
            &words.replace(|c| !orkbase::legible::is_legible(c) && c != '\n', "?"),
            &rows(&found),
        )?;
        if found.is_good() {
            return Ok(());
        }
        Err(Failure("not all is as it should be".to_owned(), 1))
    }
}

#[derive(Debug, Args)]
#[command(after_help = "\
For each recording of the database whose folder is below audio.roots: is its file there, and is it what its
recorder said it was? And the other way round: files that no recording has, recordings that a recorder's
ledger (tapes.ledger) tells of and the database does not, as after an old copy of the database was put
back; the ledger itself, the log of who did what, and the database. The tracker and the recorders may run
meanwhile.")]
pub(crate) struct Verify {
    #[command(flatten)]
    common: Common,
}

impl Verify {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let shop = self.common.open()?;
        let watched = io::stderr().is_terminal();
        let mut next = Instant::now();
        let mut progress = |files: u64, bytes: u64| {
            if watched && Instant::now() >= next {
                next = Instant::now() + Duration::from_millis(250);
                drop(write!(io::stderr(), "\r{files} files, {} MiB ", bytes >> 20));
            }
        };
        let json = shop.json;
        let mut written = Ok(());
        let mut tell = |finding: Finding| {
            let line = match json {
                true => serde_json::to_string(&finding).unwrap_or_default(),
                false => {
                    let Finding { kind, path, detail } = finding;
                    format!("{kind:?}: {path}: {detail}")
                        .replace(|c| !orkbase::legible::is_legible(c), "?")
                }
            };
            if written.is_ok() {
                written = writeln!(io::stdout(), "{line}");
            }
        };
        let done = verify::verify(shop.database(), &shop.config, &mut progress, &mut tell);
        if watched {
            drop(write!(io::stderr(), "\r\x1b[K"));
        }
        let totals = done.map_err(|why| Failure(why, 1))?;
        // `| head` has seen enough.
        drop(written);
        let words = format!(
            "recordings {}: files {} ({} MiB), of unknown content {}, in folders not looked at {}\n\
             lines of ledgers {}; findings {}",
            totals.recordings,
            totals.files,
            totals.bytes >> 20,
            totals.unhashed,
            totals.elsewhere,
            totals.lines,
            totals.findings,
        );
        shop.say(&words, &json!({ "summary": totals }))?;
        if totals.findings == 0 {
            return Ok(());
        }
        Err(Failure("not all is as it was".to_owned(), 1))
    }
}

#[derive(Debug, Args)]
pub(crate) struct Backup {
    #[command(flatten)]
    common: Common,
    /// The copy; must not be there yet
    file: PathBuf,
}

impl Backup {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let shop = self.common.open()?;
        check::backup(shop.database(), &self.file).map_err(|why| Failure(why, 1))?;
        shop.say("copied and checked", &json!({ "file": self.file.display().to_string() }))
    }
}
