//! The commands that look at the database, or change it, without the tracker.

mod access;
mod care;
mod people;
mod programs;

pub(crate) use access::{Accounts, Tokens};
pub(crate) use care::{Backup, Check, Holds, Retention, Verify};
pub(crate) use people::{Groups, Show, Tags, Users};
pub(crate) use programs::Programs;

use crate::{Failure, Settings, in_config, print};
use clap::Args;
use orktrack::{
    config::Config,
    store::{
        DbError, Reader, Session,
        audit::{self, Deed},
        once,
    },
};
use serde_json::Value;
use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

/// Where the database is, and how to show what is in it.
#[derive(Debug, Args)]
pub(crate) struct Common {
    #[command(flatten)]
    settings: Settings,
    /// The database [default: the one of the configuration]
    #[arg(long, value_name = "FILE", global = true)]
    database: Option<PathBuf>,
    /// JSON for programs instead of a table
    #[arg(long, global = true)]
    json: bool,
}

/// Where a command works.
pub(crate) struct Shop {
    pub(crate) config: Config,
    pub(crate) json: bool,
}

impl Common {
    pub(crate) fn open(self) -> Result<Shop, Failure> {
        let mut config = self.settings.load().map_err(in_config)?;
        if let Some(database) = self.database {
            config.database = database;
        }
        Ok(Shop { config, json: self.json })
    }
}

impl Shop {
    pub(crate) fn database(&self) -> &Path {
        &self.config.database
    }

    /// Looks something up.
    pub(crate) fn read<T>(
        &self,
        work: impl FnOnce(&mut dyn Session) -> Result<T, DbError>,
    ) -> Result<T, Failure> {
        let read = Reader::open(self.database()).and_then(|mut reader| reader.read(work));
        read.map_err(|error| Failure(format!("{error}; is this the tracker's? give --database"), 1))
    }

    /// Changes something, and says so in the audit log.
    pub(crate) fn change<T>(
        &self,
        action: &str,
        target: &str,
        work: impl FnOnce(&mut dyn Session) -> Result<T, DbError>,
    ) -> Result<T, Failure> {
        let deed = Deed {
            at: i64::try_from(now()).unwrap_or(i64::MAX),
            who: "command line".to_owned(),
            action: action.to_owned(),
            target: target.to_owned(),
            result: "done".to_owned(),
            ..Deed::default()
        };
        let changed = once(self.database(), |session| {
            let changed = work(session)?;
            audit::note(session, &deed)?;
            Ok(changed)
        });
        changed.map_err(|error| Failure(error, 1))
    }

    /// Shows rows: as a table, or under this name as JSON.
    pub(crate) fn show(&self, name: &str, rows: &Value, columns: &[&str]) -> Result<(), Failure> {
        if self.json {
            return print(|out| writeln!(out, "{:#}", serde_json::json!({ name: rows })));
        }
        print(|out| table(out, rows, columns))
    }

    /// Says what was done: in words, or as JSON.
    pub(crate) fn say(&self, words: &str, value: &Value) -> Result<(), Failure> {
        match self.json {
            true => print(|out| writeln!(out, "{value:#}")),
            false => print(|out| writeln!(out, "{words}")),
        }
    }
}

/// Unix seconds.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs())
}

/// Columns of rows of JSON, for people.
fn table(out: &mut dyn Write, rows: &Value, columns: &[&str]) -> io::Result<()> {
    let empty = Vec::new();
    let rows = rows.as_array().unwrap_or(&empty);
    if rows.is_empty() {
        return writeln!(out, "nothing");
    }
    let mut lines: Vec<Vec<String>> = vec![columns.iter().map(|c| (*c).to_owned()).collect()];
    for row in rows {
        lines.push(columns.iter().map(|column| cell(row.get(*column))).collect());
    }
    let width = |place: usize| {
        let cells = lines.iter().filter_map(|line| line.get(place));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    for line in &lines {
        let mut text = String::new();
        for (cell, width) in line.iter().zip(&widths) {
            text.push_str(&format!("{cell:<width$}  "));
        }
        writeln!(out, "{}", text.trim_end())?;
    }
    Ok(())
}

fn cell(value: Option<&Value>) -> String {
    let text = match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Bool(flag)) => (if *flag { "yes" } else { "no" }).to_owned(),
        Some(Value::Array(list)) => {
            list.iter().map(|item| cell(Some(item))).collect::<Vec<_>>().join(", ")
        }
        Some(other) => other.to_string(),
    };
    let text = if text.is_empty() { "-".to_owned() } else { text };
    // Text from the wire must not steer the terminal.
    text.replace(|c| !orkbase::legible::is_legible(c), "?")
}

/// Rows as JSON.
pub(crate) fn rows<T: serde::Serialize>(rows: &T) -> Value {
    serde_json::to_value(rows).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_for_people() {
        let rows = serde_json::json!([
            { "id": 1, "name": "ev\u{1b}il", "on": true, "groups": ["a", "b"] },
            { "id": 20, "name": "", "on": false, "groups": [] },
        ]);
        let mut out = Vec::new();
        table(&mut out, &rows, &["id", "name", "on", "groups"]).unwrap();
        let expected = "id  name   on   groups\n1   ev?il  yes  a, b\n20  -      no   -\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
