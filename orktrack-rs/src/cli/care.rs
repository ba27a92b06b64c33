//! `orktrack retention`, `check`, `backup`.

use super::{Common, rows};
use crate::Failure;
use clap::{Args, Subcommand};
use orktrack::{check, store::retention};
use serde_json::json;
use std::path::PathBuf;

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
        shop.say(&words.replace(|c: char| c.is_control() && c != '\n', "?"), &rows(&found))?;
        if found.is_good() {
            return Ok(());
        }
        Err(Failure("not all is as it should be".to_owned(), 1))
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
