//! Disks that are full, slow, or read-only (R10 to R14).

use super::{
    Bench, Found, Row,
    rig_calls::{Account, Calls, orphans, spec, tagged},
    rig_disk::{Disk, fill, run},
    rig_recorder::{Recorder, Site, Tracker, Try, delivered, wait, while_},
};
use std::{
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

/// The rows.
pub(super) const ROWS: [Row; 5] = [
    Row {
        id: "R10",
        fault: "the disk is full, then has room again",
        promised: "nothing stored is hurt, recording goes on in 5 s",
        run: |bench| Found::of(full(bench, "R10", false)),
    },
    Row {
        id: "R11",
        fault: "read-only disk; no room for another file",
        promised: "the same",
        run: |bench| Found::of(closed(bench)),
    },
    Row {
        id: "R12",
        fault: "each write takes 0.3 s",
        promised: "capture never waits, what is lost is told",
        run: |bench| Found::of(slow(bench)),
    },
    Row {
        id: "R13",
        fault: "each sync takes 3 s (full: 10 s)",
        promised: "no audio is lost",
        run: |bench| Found::of(stalled(bench)),
    },
    Row {
        id: "R14",
        fault: "R10 with `tapes.encrypt_key`, and calls that end meanwhile",
        promised: "the same; each tape gets its end when there is room",
        run: |bench| Found::of(full(bench, "R14", true)),
    },
];

const PATIENCE: Duration = Duration::from_secs(60);

/// How long until something is so; `None` when it never is.
fn after(patience: Duration, done: impl FnMut() -> bool) -> Option<Duration> {
    let begin = Instant::now();
    wait(patience, done).then(|| begin.elapsed())
}

fn seconds(took: Option<Duration>) -> String {
    took.map_or("never".to_owned(), |took| format!("{:.1} s", took.as_secs_f64()))
}

/// Whether the recorder is ready, and says this if not.
fn complains(recorder: &Recorder, of: &str) -> bool {
    recorder.get("/readyz").is_ok_and(|(code, body)| code == 503 && body.contains(of))
}

fn is_ready(recorder: &Recorder) -> bool {
    recorder.get("/readyz").is_ok_and(|(code, _)| code == 200)
}

fn full(bench: &Bench, row: &str, sealed: bool) -> Try<Found> {
    let times = bench.times(1, 10);
    let mut figures = Vec::new();
    let mut kept = true;
    for number in 0..times {
        let (fine, figure) = fill_up(bench, row, 10_000 + number, sealed)?;
        kept &= fine;
        figures.push(figure);
    }
    Ok(Found::when(kept, times, figures.join("; ")))
}

/// Calls that begin before, while and after the disk is full.
fn fill_up(bench: &Bench, row: &str, seed: u64, sealed: bool) -> Try<(bool, String)> {
    let home = bench.folder(row);
    // With small blocks hardly any end of a sealed tape fits behind its last record.
    let small = ["-q", "-b", "1024", "-m", "0", "-O", "^has_journal"];
    let disk = if sealed { Disk::image("ext4", 64, &small)? } else { Disk::tmpfs(48)? };
    let tracker = Tracker::start(&home)?;
    let mut site = Site::new(&disk.mount, &[&tracker.setting(), "tapes.reserve_mib=4"]);
    if sealed {
        site = site.sealed(&home.join("keys"))?;
    }
    let older = disk.mount.join("tapes/older.wav");
    fs::create_dir_all(site.tapes()).map_err(while_("folder"))?;
    fs::write(&older, vec![9; 1 << 20]).map_err(while_("file"))?;
    let long = if sealed { 10.0 } else { 20.0 };
    let calls = Calls::make(&spec(seed, 16, long, 16.0), &home)?;
    let mut recorder = Recorder::start(bench, &site, &format!("{row}.log"), &[])?;
    let ready_before = wait(PATIENCE, || is_ready(&recorder));
    let sending = calls.send(recorder.agents)?;
    thread::sleep(Duration::from_secs(6));
    // Below the reserve: those that run go on, others are turned away.
    let filler = fill(&disk.mount, 3 << 20)?;
    let told = after(PATIENCE, || complains(&recorder, "tapes.reserve_mib"));
    let turned = recorder.reaches("tape.turned_away", 1, PATIENCE);
    // Full to the last byte.
    let rest = disk.mount.join("rest");
    fs::rename(&filler, &rest).map_err(while_("rename"))?;
    fill(&disk.mount, 0)?;
    let refused = after(PATIENCE, || complains(&recorder, "refuses"));
    thread::sleep(Duration::from_secs(3));
    // Calls end now.
    let waits = || recorder.counter("tape.finish_waiting");
    if sealed {
        wait(Duration::from_secs(4), || waits() > 0);
    }
    let waited = waits();
    for file in [&filler, &rest] {
        fs::remove_file(file).map_err(while_("remove"))?;
    }
    let resumed = after(PATIENCE, || recorder.counter("tape.resumed") > 0);
    let well = after(PATIENCE, || is_ready(&recorder));
    let ended = after(PATIENCE, || recorder.counter("tape.finish_waiting") == 0);
    let sent = sending.finish();
    // The last calls are hung up, and their tapes told.
    wait(PATIENCE, || recorder.counter("call.live") == 0);
    thread::sleep(Duration::from_secs(2));
    delivered(&recorder)?;
    let panics = recorder.said().matches("panicked").count();
    let (_, code) = recorder.stop(PATIENCE)?;
    let mut account = Account::default();
    account.add(&tracker, &site, &calls, &sent)?;
    let unwritten = tagged(&tracker, "unwrittenframes")?;
    let told_lost: u64 = unwritten.values().sum::<u64>() / 80;
    // What is missing of both sides is told in frames, which are of both.
    let lost = (account.sum.holes + account.tails.iter().sum::<u64>() * 2) / 2;
    let hurt = fs::read(&older).map_err(while_("file"))? != vec![9; 1 << 20];
    let bare = if sealed { site.files(".wav").len() - 1 + site.files(".pcapng").len() } else { 0 };
    let others = usize::from(!sealed);
    let left = site.files(".part").len() + orphans(&tracker, &site)?.saturating_sub(others);
    let soon = |took: Option<Duration>| took.is_some_and(|took| took < Duration::from_secs(6));
    let honest = lost > 0 && lost.abs_diff(told_lost) <= lost / 10 + 64;
    let fine = ready_before
        && turned
        && told.is_some()
        && refused.is_some()
        && soon(resumed)
        && soon(well)
        && account.repeated + account.unplayable + account.sum.wrong == 0
        && account.untold == 0
        && soon(ended)
        && bare == 0
        && honest
        && !hurt
        && panics + left == 0
        && code == Some(0);
    let mut figure = format!(
        "recording again after {}, ready after {}; missing {} ms, told {} ms; older files hurt {}, left over {left}, panics {panics}; {}",
        seconds(resumed),
        seconds(well),
        lost * 10,
        told_lost * 10,
        u8::from(hurt),
        account.figure()
    );
    if sealed {
        figure.push_str(&format!("; {waited} waited for room; {bare} files bare"));
    }
    Ok((fine, figure))
}

/// Calls begin while no file can be made, and go on when one can.
fn shut(
    bench: &Bench,
    disk: &Disk,
    seed: u64,
    close: &str,
    open: impl FnOnce(&Path) -> Try<()>,
) -> Try<(bool, String)> {
    let home = bench.folder("R11");
    let tracker = Tracker::start(&home)?;
    let tapes = format!("tapes.folder={}", disk.mount.join("tapes").display());
    fs::create_dir_all(disk.mount.join("tapes")).map_err(while_("folder"))?;
    // The state is elsewhere: a database on a disk that is read-only holds that open.
    let site = Site::new(&home, &[&tracker.setting(), "tapes.reserve_mib=0", &tapes]);
    let calls = Calls::make(&spec(seed, 6, 12.0, 1.0), &home)?;
    let mut recorder = Recorder::start(bench, &site, "R11.log", &[])?;
    match close {
        "read-only" => run("mount", &["-o", "remount,ro", &disk.mount.to_string_lossy()])?,
        _ => {
            for n in 0.. {
                if fs::write(disk.mount.join(format!("tapes/{n}.filler")), "").is_err() {
                    break;
                }
            }
        }
    }
    let sending = calls.send(recorder.agents)?;
    let told = after(PATIENCE, || complains(&recorder, "refuses"));
    thread::sleep(Duration::from_secs(3));
    let failed = recorder.counter("tape.open_failed");
    open(&disk.mount)?;
    let resumed = after(PATIENCE, || recorder.counter("tape.resumed") >= failed);
    let well = after(PATIENCE, || is_ready(&recorder));
    let sent = sending.finish();
    thread::sleep(Duration::from_secs(2));
    delivered(&recorder)?;
    recorder.stop(PATIENCE)?;
    let moved = Site::new(&disk.mount, &[]);
    let mut account = Account::default();
    account.add(&tracker, &moved, &calls, &sent)?;
    let soon = |took: Option<Duration>| took.is_some_and(|took| took < Duration::from_secs(6));
    let fine = told.is_some()
        && failed == 6
        && soon(resumed)
        && soon(well)
        && account.told_once()
        && account.recordings == 6
        && tagged(&tracker, "unwrittenframes")?.values().all(|frames| *frames > 0);
    let figure = format!(
        "{close}: recording again after {}, ready after {}; {}",
        seconds(resumed),
        seconds(well),
        account.figure()
    );
    Ok((fine, figure))
}

fn closed(bench: &Bench) -> Try<Found> {
    let read_only = Disk::image("ext4", 64, &["-q"])?;
    let (one, first) = shut(bench, &read_only, 11_000, "read-only", |mount| {
        run("mount", &["-o", "remount,rw", &mount.to_string_lossy()])
    })?;
    let few = Disk::image("ext4", 64, &["-q", "-N", "64"])?;
    let (other, second) = shut(bench, &few, 11_001, "no inodes", |mount| {
        for n in 0..1_000 {
            drop(fs::remove_file(mount.join(format!("tapes/{n}.filler"))));
        }
        Ok(())
    })?;
    Ok(Found::when(one && other, 2, format!("{first}; {second}")))
}

fn strace<'a>(trace: &'a str, inject: &'a str) -> [&'a str; 11] {
    ["strace", "-D", "-f", "-qq", "--seccomp-bpf", "-o", "/dev/null", "-e", trace, "-e", inject]
}

fn slow(bench: &Bench) -> Try<Found> {
    let home = bench.folder("R12");
    let tracker = Tracker::start(&home)?;
    let sets = [&tracker.setting(), "tapes.reserve_mib=0", "tapes.backlog_mib=1"];
    let site = Site::new(&home, &sets);
    let calls = Calls::make(&spec(12_000, 20, bench_seconds(bench, 15.0, 60.0), 1.0), &home)?;
    let before = strace("trace=pwrite64", "inject=pwrite64:delay_enter=300000");
    let mut recorder = Recorder::start(bench, &site, "R12.log", &before)?;
    let sending = calls.send(recorder.agents)?;
    let (mut most, mut turns) = (0, 0);
    let length = calls.length();
    let begin = Instant::now();
    while begin.elapsed() < length {
        most = most.max(recorder.counter("tape.backlog_bytes"));
        turns += 1;
        thread::sleep(Duration::from_millis(500));
    }
    let frames = sending.count();
    let sent = sending.finish();
    let kernel = recorder.counter("agents.kernel_dropped");
    let captured = recorder.counter("agents.udp_packets");
    // What waits is written, slowly; the tracker is told, more slowly.
    let told = wait(PATIENCE * 5, || {
        tracker.readies().is_ok_and(|readies| readies.len() == calls.ids.len())
    });
    recorder.stop(PATIENCE * 5)?;
    let mut account = Account::default();
    account.add(&tracker, &site, &calls, &sent)?;
    let overrun: u64 = tagged(&tracker, "overrunms")?.values().sum();
    let lost = (account.sum.holes + account.tails.iter().sum::<u64>() * 2) * 10 / 2;
    let honest = lost > 0 && lost.abs_diff(overrun) <= lost / 10;
    let bound = 2 << 20;
    let kept = told && kernel == 0 && honest && most <= bound && turns > 10 && account.told_once();
    let figure = format!(
        "{captured} packets of {frames} captured, dropped by the kernel {kernel}; at most {} KiB waited; missing {lost} ms, told {overrun} ms; {}",
        most >> 10,
        account.figure()
    );
    Ok(Found::when(kept, 1, figure))
}

fn bench_seconds(bench: &Bench, quick: f64, full: f64) -> f64 {
    if bench.times(0, 1) == 0 { quick } else { full }
}

fn stalled(bench: &Bench) -> Try<Found> {
    let home = bench.folder("R13");
    let tracker = Tracker::start(&home)?;
    let site =
        Site::new(&home, &[&tracker.setting(), "tapes.reserve_mib=0", "tapes.sync_interval_s=1"]);
    let delay = bench.times(3, 10);
    let calls = Calls::make(&spec(13_000, 6, 12.0, 2.0), &home)?;
    let inject = format!("inject=fdatasync,fsync:delay_enter={}", delay * 1_000_000);
    let before = strace("trace=fdatasync,fsync", &inject);
    let mut recorder = Recorder::start(bench, &site, "R13.log", &before)?;
    let sending = calls.send(recorder.agents)?;
    let mut behind = 0;
    let begin = Instant::now();
    while begin.elapsed() < calls.length() {
        behind = behind.max(recorder.counter("tape.sync_behind_ms"));
        thread::sleep(Duration::from_millis(500));
    }
    let sent = sending.finish();
    let told = wait(PATIENCE * 10, || {
        tracker.readies().is_ok_and(|readies| readies.len() == calls.ids.len())
    });
    let kernel = recorder.counter("agents.kernel_dropped");
    let overrun = recorder.counter("tape.overrun_ms");
    recorder.stop(PATIENCE * 5)?;
    let mut account = Account::default();
    account.add(&tracker, &site, &calls, &sent)?;
    let lost = account.sum.holes + account.tails.iter().sum::<u64>();
    let kept = told && account.told_once() && lost + kernel + overrun == 0;
    let figure = format!(
        "syncs up to {:.1} s late; missing {} ms, dropped by the kernel {kernel}; {}",
        Duration::from_millis(behind).as_secs_f64(),
        lost * 10,
        account.figure()
    );
    Ok(Found::when(kept, 6, figure))
}
