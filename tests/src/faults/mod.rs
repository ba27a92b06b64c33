//! The fault matrix: for each fault what is promised, and what was found when it was made to happen.
//!
//! Law: a row breaks only what it made itself (processes by pid, mounts and namespaces of its own), sends
//! only to loopback or into a namespace of its own, and ends by itself. A row that cannot run here says why.

mod bench;
mod blocks;
mod clients;
mod compliance;
mod core;
mod crash;
mod disk;
mod flood;
mod hash;
mod hostile;
mod inject;
mod lines;
mod link;
mod maker;
mod media;
mod mirror;
mod mutate;
mod names;
mod net;
mod pause;
mod peers;
mod power;
mod rig_calls;
mod rig_disk;
mod rig_recorder;
mod scarce;
mod subject;
mod time;
mod tracker;
mod wire;

pub use bench::{Bench, Effort};

/// What a row found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Found {
    /// The promise was kept in every run.
    Kept {
        /// How often the fault was made to happen.
        runs: u64,
        /// What was measured.
        figure: String,
    },
    /// The promise was broken.
    Broken {
        /// How often the fault was made to happen.
        runs: u64,
        /// What went wrong, and what was measured.
        figure: String,
    },
    /// It could not be run here, and why.
    NotRun(String),
}

impl Found {
    /// Kept if `kept`, else broken.
    #[must_use]
    pub const fn when(kept: bool, runs: u64, figure: String) -> Self {
        if kept { Self::Kept { runs, figure } } else { Self::Broken { runs, figure } }
    }

    /// What a row found; broken if it could not be brought to its end.
    #[must_use]
    pub fn of(found: Result<Self, String>) -> Self {
        found.unwrap_or_else(|why| Self::Broken { runs: 0, figure: why })
    }
}

/// One row of the matrix.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Its name, as `R01`.
    pub id: &'static str,
    /// What is done to the recorder or the tracker.
    pub fault: &'static str,
    /// What must be true all the same.
    pub promised: &'static str,
    /// Makes it happen.
    pub run: fn(&Bench) -> Found,
}

/// All rows, in the order of their names.
#[must_use]
pub fn rows() -> Vec<Row> {
    let groups: &[&[Row]] = &[
        &crash::ROWS,
        &inject::ROWS,
        &power::ROWS,
        &disk::ROWS,
        &tracker::ROWS,
        &clients::ROWS,
        &wire::ROWS,
        &hostile::ROWS,
        &pause::ROWS,
        &compliance::ROWS,
    ];
    let mut rows = groups.concat();
    rows.sort_by_key(|row| row.id);
    rows
}

/// The table's line of a row.
#[must_use]
pub fn line(row: &Row, found: &Found) -> String {
    let (runs, verdict, figure) = match found {
        Found::Kept { runs, figure } => (runs.to_string(), "kept", figure),
        Found::Broken { runs, figure } => (runs.to_string(), "**BROKEN**", figure),
        Found::NotRun(why) => ("0".to_owned(), "not run", why),
    };
    let Row { id, fault, promised, .. } = row;
    format!("| {id} | {fault} | {promised} | {runs} | {verdict} | {figure} |")
}

/// The table's head.
pub const HEAD: &str =
    "| row | fault | promised | N | found | figure |\n|---|---|---|---:|---|---|";
