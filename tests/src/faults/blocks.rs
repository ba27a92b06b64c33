//! Calls whose every 10 ms of audio tells what it is, and which of them are on tapes.

use super::{Bench, subject::with_extension};
use crate::{
    generator::{
        calls::{Spec, write},
        check,
        law::{Law, Side},
        truth::Truth,
    },
    measure::Cost,
    wav::Wav,
    wrap::Capture,
};
use std::{
    collections::BTreeSet,
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

/// Call, side (the caller's), number: 10 ms of audio.
pub(super) type Block = (u32, bool, u32);

/// Calls to be sent, and what is said in them.
pub(super) struct Calls {
    pub(super) spec: Spec,
    pub(super) truth: Truth,
    pub(super) capture: Capture,
    law: Law,
}

impl Calls {
    /// Made of a specification, with nanoseconds.
    pub(super) fn make(home: &Path, spec: Spec) -> Result<Self, String> {
        let spec = Spec { nanoseconds: true, ..spec };
        let path = home.join("calls.pcap");
        let file = File::create(&path).map_err(|error| error.to_string())?;
        let truth = write(&spec, std::io::BufWriter::new(file)).map_err(|e| e.to_string())?;
        let capture = Capture::read(&path)?;
        let law = Law::new(spec.codec);
        Ok(Self { spec, truth, capture, law })
    }

    /// So many calls of so many seconds that all begin within one.
    pub(super) fn of(home: &Path, calls: u32, seconds: f64) -> Result<Self, String> {
        Self::make(home, Spec { calls, seconds, stagger: 1.0, ..Spec::default() })
    }

    /// Time and bytes of every frame.
    pub(super) fn frames(&self) -> Vec<(u64, Vec<u8>)> {
        self.capture.frames.iter().map(|frame| (frame.at, frame.bytes.clone())).collect()
    }

    /// Every block that was said.
    pub(super) fn said(&self) -> BTreeSet<Block> {
        let blocks = self.truth.frames * self.truth.ptime_ms / 10;
        let calls = self.truth.calls.iter().map(|call| call.number);
        calls
            .flat_map(|call| (0..blocks).flat_map(move |n| [(call, true, n), (call, false, n)]))
            .collect()
    }

    /// What the tapes below a folder hold, and how many blocks of them are where they do not belong: in the
    /// other channel, on the tape of another call, or there a second time.
    pub(super) fn found(&self, folder: &Path) -> Result<(BTreeSet<Block>, u64), String> {
        let mut found = BTreeSet::new();
        let mut foreign = 0;
        for path in with_extension(folder, "wav") {
            let wav = Wav::read(&path)?;
            let mut owner = None;
            for (channel, samples) in wav.channels.iter().enumerate() {
                for (_, mark) in self.law.marks(samples) {
                    let own = *owner.get_or_insert(mark.call) == mark.call;
                    let caller = mark.side == Side::Caller;
                    let new = found.insert((mark.call, caller, mark.block));
                    foreign += u64::from(!own || caller != (channel == 0) || !new);
                }
            }
        }
        Ok((found, foreign))
    }
}

/// What `orkaudio replay` makes of a capture.
pub(super) struct Replayed {
    /// Its tapes.
    pub(super) tapes: Vec<check::Tape>,
    /// Every counter.
    pub(super) summary: serde_json::Value,
    /// Where the files are.
    pub(super) folder: PathBuf,
    /// What it took.
    pub(super) cost: Cost,
}

impl Replayed {
    /// A counter; 0 when there is none.
    pub(super) fn number(&self, name: &str) -> u64 {
        self.summary.get(name).and_then(serde_json::Value::as_u64).unwrap_or(0)
    }
}

/// Replays a capture into a folder.
pub(super) fn replay(
    bench: &Bench,
    capture: &Path,
    folder: PathBuf,
    more: &[&str],
) -> Result<Replayed, String> {
    replay_as(bench, &[], capture, folder, more)
}

/// The same by way of a program, such as env.
pub(super) fn replay_as(
    bench: &Bench,
    before: &[&str],
    capture: &Path,
    folder: PathBuf,
    more: &[&str],
) -> Result<Replayed, String> {
    drop(fs::remove_dir_all(&folder));
    let program = bench.programs.join("orkaudio");
    let mut command = Command::new(bench.programs.join("ork-measure"));
    let (stdout, stderr) = (folder.with_extension("out"), folder.with_extension("err"));
    command.arg("run").arg("--stdout").arg(&stdout).arg("--stderr").arg(&stderr).arg("--");
    command
        .args(before)
        .arg(program)
        .args(["replay", "--json", "--output"])
        .arg(&folder)
        .args(more);
    let cost = command.arg(capture).output().map_err(|error| format!("ork-measure: {error}"))?;
    let read =
        |path: &Path| String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned();
    let text = read(&stdout);
    if !cost.status.success() {
        return Err(format!("replay of {}: {}", capture.display(), read(&stderr)));
    }
    let cost: Cost = serde_json::from_slice(&cost.stdout).map_err(|error| error.to_string())?;
    let last = text.lines().next_back().unwrap_or_default();
    let summary: serde_json::Value = serde_json::from_str(last).map_err(|e| e.to_string())?;
    let summary = summary.get("summary").cloned().unwrap_or_default();
    Ok(Replayed { tapes: check::read_tapes(&text)?, summary, folder, cost })
}
