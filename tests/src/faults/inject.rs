//! Requests that the kernel answers with an error, by strace (R03, R04).

use super::{
    Bench, Found, Row,
    rig_calls::{Account, Calls, Sent, orphans, spec},
    rig_recorder::{Recorder, Site, Tracker, Try, delivered, tail, wait, while_},
};
use std::{fs, path::Path, time::Duration};

/// The rows.
pub(super) const ROWS: [Row; 2] = [
    Row {
        id: "R03",
        fault: "the n-th write, sync, rename or open fails",
        promised: "no panic, alarm, the rest goes on",
        run: |bench| Found::of(injected(bench)),
    },
    Row {
        id: "R04",
        fault: "a sync of a tape fails once; then, too, kill -9",
        promised: "it is never told to be ready",
        run: |bench| Found::of(unsynced(bench)),
    },
];

const PATIENCE: Duration = Duration::from_secs(60);

/// Recordings of which the tracker was told that there is none.
const TOLD: &str = "SELECT DISTINCT recid FROM moment_tag WHERE tagtype = 'notrecorded'";

/// What one injected fault did.
struct Injected {
    account: Account,
    /// What the log says of panics.
    panics: usize,
    /// Exit code of the recorder under strace.
    code: Option<i32>,
    /// Damaged files, and those of them that were told to be ready.
    damaged: (usize, usize),
    orphans: usize,
    /// Unfinished files that are left, and recordings of which the tracker was told that there is none.
    left: (usize, usize),
    /// The log, for when something is wrong.
    said: String,
}

/// Records some calls while the kernel answers some requests with an error, then starts once more without. With
/// `kill` the first is killed as soon as a sync of an open tape has failed.
fn inject(bench: &Bench, home: &Path, seed: u64, what: &str, kill: bool) -> Try<Injected> {
    drop(fs::remove_dir_all(home));
    fs::create_dir_all(home).map_err(while_("folder"))?;
    let tracker = Tracker::start(home)?;
    let sets = [&tracker.setting(), "tapes.reserve_mib=0", "tapes.sync_interval_s=1"];
    let site = Site::new(home, &sets);
    let calls = Calls::make(&spec(seed, 6, 3.0, 1.0), home)?;
    let inject = format!("inject={what}");
    let trace = format!("trace={}", what.split(':').next().unwrap_or_default());
    let strace = [
        "strace",
        "-D",
        "-f",
        "-qq",
        "--seccomp-bpf",
        "-o",
        "/dev/null",
        "-e",
        &trace,
        "-e",
        &inject,
    ];
    let (sent, code, said) = match Recorder::start(bench, &site, "inject.log", &strace) {
        Ok(mut recorder) => {
            let sending = calls.send(recorder.agents)?;
            if kill {
                recorder.reaches("tape.sync_failed", 1, Duration::from_secs(10));
                recorder.kill();
            }
            let sent = if kill { sending.sent() } else { sending.finish() };
            // Calls end, or the recorder gives up.
            wait(Duration::from_secs(15), || {
                !recorder.runs() || recorder.counter("call.live") == 0
            });
            let code = if kill {
                None
            } else if recorder.runs() {
                recorder.stop(PATIENCE)?.1
            } else {
                recorder.ended(PATIENCE)?
            };
            (sent, code, recorder.said())
        }
        // It did not even start: nothing was lost.
        Err(why) => (Sent::new(), Some(1), why),
    };
    let mut again = Recorder::start(bench, &site, "again.log", &[])?;
    delivered(&again)?;
    again.stop(PATIENCE)?;
    let mut account = Account::default();
    account.add(&tracker, &site, &calls, &sent)?;
    let damaged = site.files(".damaged");
    let readies = tracker.readies()?;
    let lies = damaged.iter().filter(|file| {
        let name = file.with_extension("");
        readies.values().flatten().any(|told| site.tapes().join(&told.filename) == name)
    });
    Ok(Injected {
        panics: said.matches("panicked").count(),
        code,
        damaged: (damaged.len(), lies.count()),
        orphans: orphans(&tracker, &site)?,
        left: (site.files(".part").len(), tracker.column(TOLD)?.len()),
        said,
        account,
    })
}

fn has(tool: &str) -> bool {
    std::process::Command::new(tool).arg("-V").output().is_ok_and(|done| done.status.success())
}

fn injected(bench: &Bench) -> Try<Found> {
    let mut suite = Vec::new();
    let tapes = ["tape::tests", "tape::sync", "tape::volume", "tape::packets"];
    for (package, tests) in [("orkaudio", &tapes[..]), ("orkvault", &["book::"][..])] {
        match bench.suite(package, &["--lib"], tests) {
            Found::Kept { figure, .. } => suite.push(figure),
            other @ (Found::Broken { .. } | Found::NotRun(_)) => return Ok(other),
        }
    }
    if !has("strace") {
        return Ok(Found::NotRun("no strace".to_owned()));
    }
    let suite = suite.join("; ");
    let mut faults = Vec::new();
    let most = bench.times(2, 12);
    for n in 0..most {
        let n = 1 + n * 3;
        for fault in [
            "pwrite64:error=ENOSPC",
            "pwrite64:error=EIO",
            "rename:error=EIO",
            "fdatasync:error=EIO",
        ] {
            faults.push(format!("{fault}:when={n}"));
        }
        faults.push(format!("pwrite64:error=ENOSPC:when={n}..{}", n + 10));
        faults.push(format!("fsync:error=EIO:when={n}"));
        faults.push(format!("openat:error=ENOSPC:when={}", 60 + n * 4));
    }
    let (mut wrong, mut whole, mut damaged) = (Vec::new(), 0, 0);
    for (seed, fault) in (3_000..).zip(&faults) {
        let found = inject(bench, &bench.folder("R03").join("at"), seed, fault, false)?;
        whole += found.account.recordings;
        damaged += found.damaged.0;
        let Account { repeated, unplayable, sum, .. } = &found.account;
        let fine = found.panics == 0
            && repeated + unplayable + sum.wrong == 0
            && found.orphans + found.damaged.1 == 0
            && matches!(found.code, Some(0 | 1));
        if !fine {
            wrong.push(format!(
                "{fault}: {}, panics {}, exit {:?}, orphans {}, {}",
                found.account.figure(),
                found.panics,
                found.code,
                found.orphans,
                tail(&found.said)
            ));
        }
    }
    let runs = u64::try_from(faults.len()).unwrap_or(0);
    let kept = wrong.is_empty() && whole > 0;
    let figure =
        format!("{suite}; {whole} recordings, {damaged} damaged and told so {}", wrong.join("; "));
    Ok(Found::when(kept, runs, figure))
}

fn unsynced(bench: &Bench) -> Try<Found> {
    if !has("strace") {
        return Ok(Found::NotRun("no strace".to_owned()));
    }
    let (mut recordings, mut figures, mut kept) = (0, Vec::new(), true);
    let times = bench.times(3, 20);
    for kill in [false, true] {
        let (mut damaged, mut lies, mut left, mut told) = (0, 0, 0, 0);
        for n in 1..=times {
            // Each thread counts for itself: the one that syncs, the one that finishes, the database's.
            let fault = format!("fdatasync:error=EIO:when={n}");
            let at = bench.folder("R04").join("at");
            let found = inject(bench, &at, 4_000 + n, &fault, kill)?;
            damaged += found.damaged.0;
            lies += found.damaged.1;
            left += found.left.0;
            told += found.left.1;
            recordings += found.account.recordings;
        }
        kept &= lies + left == 0 && damaged > 0;
        let when = if kill { "killed then: " } else { "" };
        figures.push(format!(
            "{when}{damaged} damaged files, of which told to be ready {lies}, not to be recorded {told}, unfinished {left}"
        ));
    }
    let figure = format!("{}; {recordings} others", figures.join("; "));
    Ok(Found::when(kept, times * 2, figure))
}
