//! The table at the end.

use super::{
    clients::Served,
    faults::Fault,
    judge::Tally,
    rig::{Outage, Which},
    traffic::Wire,
    watch::{Samples, course, slope},
};
use std::{collections::BTreeMap, fmt, sync::atomic::Ordering::Relaxed};

/// Memory may rise by so much over the steady part of a run, without its first third: in MB, and as a share of
/// what there is. A leak rises by more in an hour; what a run of minutes rises by is mostly chance.
const RISE_MB: f64 = 12.0;
const RISE_SHARE: f64 = 0.1;
/// Files that a program may have open at the end beyond those at its start.
const FILES: u32 = 12;

/// What was found.
#[derive(Debug)]
pub struct Report {
    rows: Vec<(String, String)>,
    broken: u64,
    notes: Vec<String>,
}

impl Report {
    pub(super) fn new(tally: Tally, seed: u64, minutes: f64) -> Self {
        let mut report = Self { rows: Vec::new(), broken: tally.broken, notes: Vec::new() };
        report.row("seed", seed);
        report.row("minutes", minutes);
        report.row("calls", tally.calls);
        report.row("recorded whole", tally.whole);
        report.row("recorded until the recorder was killed", tally.recovered);
        report.row("recorded until the recorder was stopped", tally.cut);
        report.row("begun while no recorder ran", tally.excused);
        report.row("blocks of 10 ms looked for", tally.blocks);
        report.row("of them a sample longer or shorter", tally.slipped);
        report.row("of them lost, and told so", tally.told);
        report.row("most that a kill took, ms", tally.worst_tail);
        report.row("longest wait for ready, s", tally.worst_wait / 1000);
        report.row("recordings deleted meanwhile", tally.deleted);
        report.notes = tally.notes;
        report
    }

    fn row(&mut self, what: impl Into<String>, value: impl fmt::Display) {
        self.rows.push((what.into(), value.to_string()));
    }

    fn wrong(&mut self, why: String) {
        self.broken += 1;
        self.notes.push(why);
    }

    pub(super) fn traffic(&mut self, wire: &Wire, served: &Served) {
        self.row("frames sent", wire.frames.load(Relaxed));
        self.row("frames not taken by the kernel", wire.failed.load(Relaxed));
        self.row("most that a frame was sent late, ms", wire.worst_lag.load(Relaxed));
        self.row("questions answered", served.answered.load(Relaxed));
        self.row("questions not answered (program down)", served.unanswered.load(Relaxed));
    }

    pub(super) fn faults(&mut self, made: &BTreeMap<Fault, u64>, outages: &[Outage]) {
        for (fault, count) in made {
            self.row(fault.name(), count);
        }
        let longest = outages.iter().map(|outage| outage.until.saturating_sub(outage.from)).max();
        self.row("longest time without a recorder, ms", longest.unwrap_or(0));
    }

    /// Slopes from `steady` on, where no process ends; open files at the start and now.
    pub(super) fn memory(&mut self, samples: &Samples, steady: u64, idle: [u32; 2], fds: [u32; 2]) {
        for ((which, idle), fds) in Which::BOTH.into_iter().zip(idle).zip(fds) {
            let name = which.name();
            let lives: Vec<_> = samples.iter().filter(|((of, _), _)| *of == which).collect();
            self.row(format!("{name}: lives"), lives.len());
            let most = |value: fn(&super::watch::Sample) -> u32| {
                lives.iter().flat_map(|(_, samples)| samples.iter().map(value)).max().unwrap_or(0)
            };
            let rss = f64::from(most(|sample| sample.rss)) * 1024.0 / 1e6;
            self.row(format!("{name}: most memory, MB"), format!("{rss:.1}"));
            self.row(format!("{name}: most threads"), most(|sample| sample.threads));
            let most = most(|sample| sample.fds);
            self.row(
                format!("{name}: files at start, most, at the end"),
                format!("{idle}, {most}, {fds}"),
            );
            if fds > idle + FILES {
                self.wrong(format!("{name} has {fds} files open, at its start it had {idle}"));
            }
            for (index, ((_, life), samples)) in lives.iter().enumerate() {
                let last = index + 1 == lives.len();
                let from = if last { steady } else { 0 };
                let Some(slope) = slope(samples, from) else { continue };
                let which = if last { "steady part" } else { "a life" };
                let text = format!(
                    "{:+.1} MB/h, {:+.2} MB in {:.1} min; {:+.1} files/h",
                    slope.mb_per_hour, slope.mb, slope.minutes, slope.fds_per_hour
                );
                // Lives cut short by a fault are too short to say much.
                if last || slope.minutes >= 5.0 {
                    self.row(format!("{name}: slope of {which} ({life})"), text);
                }
                if last {
                    self.row(format!("{name}: memory of its own, minute: MB"), course(samples));
                }
                if last && slope.mb > RISE_MB + RISE_SHARE * rss {
                    self.wrong(format!("{name} grew by {:.1} MB", slope.mb));
                }
            }
        }
    }

    pub(super) fn stopped(&mut self, took: &[u64; 2]) {
        for (which, took) in Which::BOTH.into_iter().zip(took) {
            self.row(format!("{}: stopped within, ms", which.name()), took);
        }
    }

    /// Whether everything is as it should be.
    #[must_use]
    pub const fn is_good(&self) -> bool {
        self.broken == 0
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "| what | found |\n|---|---|")?;
        for (what, found) in &self.rows {
            writeln!(out, "| {what} | {found} |")?;
        }
        writeln!(out, "| WRONG | {} |", self.broken)?;
        for note in &self.notes {
            writeln!(out, "{note}")?;
        }
        Ok(())
    }
}
