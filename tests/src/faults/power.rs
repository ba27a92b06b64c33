//! A power cut: what is on the disk at one moment, and what a recorder makes of it (R02).

use super::{
    Bench, Found, Row,
    rig_calls::{Calls, Sent, hear, spec},
    rig_disk::{Cut, Disk},
    rig_recorder::{Recorder, Site, Tracker, Try, column, while_},
};
use crate::generator::chance::Chance;
use orkbase::message::{tape::TapeMessage, url};
use std::{
    collections::{BTreeMap, BTreeSet},
    thread,
    time::Duration,
};

/// The row.
pub(super) const ROWS: [Row; 1] = [Row {
    id: "R02",
    fault: "power cut at any moment, on ext4 and xfs",
    promised: "what was told is there, of the rest all but 5 s",
    run: |bench| Found::of(cut(bench)),
}];

/// `tapes.sync_interval_s`, in blocks of 10 ms, and half a second for the sync itself.
const INTERVAL: u64 = 550;
const PATIENCE: Duration = Duration::from_secs(60);

/// What is known at the moment of the cut.
struct Moment {
    disk: Cut,
    /// What was told to be ready, by Call-ID.
    told: BTreeMap<String, Vec<TapeMessage>>,
}

/// What all cuts came to.
#[derive(Default)]
struct Tally {
    cuts: u64,
    /// Told, and not there or not whole.
    lies: u64,
    recovered: u64,
    unplayable: u64,
    lost: u64,
    wrong: u64,
    tails: Vec<u64>,
}

fn cut(bench: &Bench) -> Try<Found> {
    let mut all = Tally::default();
    let mut not_run = Vec::new();
    let kinds: [(&str, u64, &[&str]); 2] = [("ext4", 96, &["-q"]), ("xfs", 320, &["-q"])];
    for (kind, mib, words) in kinds {
        let disk = match Disk::image(kind, mib, words) {
            Ok(disk) => disk,
            Err(why) => {
                not_run.push(format!("not run on {kind}: {why}"));
                continue;
            }
        };
        for round in 0..bench.times(1, 20) {
            one_run(bench, &disk, kind, round, &mut all)?;
        }
    }
    if all.cuts == 0 {
        return Ok(Found::NotRun(not_run.join("; ")));
    }
    all.tails.sort_unstable();
    let worst = all.tails.last().copied().unwrap_or(0);
    let p99 = all.tails.get(all.tails.len().saturating_sub(1) * 99 / 100).copied().unwrap_or(0);
    let Tally { cuts, lies, recovered, unplayable, lost, wrong, .. } = all;
    let kept = lies + unplayable + lost + wrong == 0 && worst <= INTERVAL && recovered > 0;
    let figure = format!(
        "{recovered} recovered, tail p99 {} ms, worst {} ms; told and not there {lies}, unplayable {unplayable}, lost {lost}, wrong {wrong} {}",
        p99 * 10,
        worst * 10,
        not_run.join("; ")
    );
    Ok(Found::when(kept, cuts, figure))
}

/// Records for half a minute and takes the power away from copies.
fn one_run(bench: &Bench, disk: &Disk, kind: &str, round: u64, all: &mut Tally) -> Try<()> {
    let home = bench.folder("R02");
    let tracker = Tracker::start(&home)?;
    let site = Site::new(
        &disk.mount.join(format!("{round}")),
        &[&tracker.setting(), "tapes.reserve_mib=0", "tapes.sync_interval_s=5"],
    );
    let seed = 2_000 + round + if kind == "xfs" { 500 } else { 0 };
    // Some end early, some last.
    let long = Calls::make(&spec(seed, 3, 24.0, 4.0), &home)?;
    let short = Calls::make(&spec(seed + 250, 8, 2.0, 20.0), &home)?;
    let mut recorder = Recorder::start(bench, &site, "R02.log", &[])?;
    let (one, other) = (long.send(recorder.agents)?, short.send(recorder.agents)?);
    let mut chance = Chance::new(seed, 2);
    let mut moments = Vec::new();
    let until = long.length().min(Duration::from_secs(25));
    let begin = std::time::Instant::now();
    thread::sleep(Duration::from_secs(6));
    while begin.elapsed() < until {
        thread::sleep(Duration::from_millis(chance.below(2_500)));
        // Before the copy: what comes while it is made counts neither way.
        let told = tracker.readies()?;
        let sent = [one.sent(), other.sent()];
        if let Some(disk) = disk.cut()? {
            moments.push((disk, told, sent));
        }
    }
    recorder.stop(PATIENCE)?;
    for (disk, told, [one, other]) in moments {
        let both = [(&long, one), (&short, other)];
        judge(bench, round, Moment { disk, told }, &both, all)?;
    }
    Ok(())
}

fn judge(
    bench: &Bench,
    round: u64,
    moment: Moment,
    both: &[(&Calls, Sent); 2],
    all: &mut Tally,
) -> Try<()> {
    let Moment { disk, told } = moment;
    all.cuts += 1;
    let disk = disk.mount()?;
    let site =
        Site::new(&disk.mount.join(format!("{round}")), &["tracker.urls=", "tapes.reserve_mib=0"]);
    let mut again = Recorder::start(bench, &site, "R02-again.log", &[])?;
    again.stop(PATIENCE)?;
    let journal = site.state().join("orkaudio.db");
    let bodies = column(&journal, "SELECT body FROM tape WHERE state = 'ready'")?;
    let mut files: BTreeMap<String, Vec<TapeMessage>> = BTreeMap::new();
    for body in bodies {
        let pairs = url::decode(body.as_bytes()).map_err(while_("journal"))?;
        let message = TapeMessage::from_pairs(&pairs).map_err(while_("journal"))?;
        files.entry(message.nativecallid.clone()).or_default().push(message);
    }
    for (calls, sent) in both {
        for (number, id) in (0..).zip(&calls.ids) {
            let sent = sent.get(&number).copied().unwrap_or_default();
            if let Some(message) = told.get(id).and_then(|all| all.first()) {
                // Told before the cut: whole, and under its name.
                let heard = hear(&site, &message.filename, number, sent);
                let whole = heard.is_ok_and(|heard| heard.tail + heard.holes + heard.wrong == 0);
                all.lies += u64::from(!whole);
                continue;
            }
            let due = u64::from(sent.into_iter().max().unwrap_or(0)) > INTERVAL;
            let Some(message) = files.get(id).and_then(|all| all.first()) else {
                all.lost += u64::from(due);
                continue;
            };
            all.recovered += 1;
            match hear(&site, &message.filename, number, sent) {
                Ok(heard) => {
                    all.tails.push(heard.tail);
                    all.wrong += heard.wrong + heard.holes;
                }
                Err(_) => all.unplayable += 1,
            }
        }
    }
    // Nothing is left over that nobody knows.
    let known: BTreeSet<_> =
        files.values().flatten().map(|m| site.tapes().join(&m.filename)).collect();
    let orphans = site.files(".wav").iter().filter(|file| !known.contains(*file)).count();
    let parts = site.files(".part").len();
    all.lost += u64::try_from(orphans + parts).unwrap_or(0);
    Ok(())
}
