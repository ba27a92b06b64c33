//! Holds what the tracker knows and the disk has against what was sent.
//!
//! Law: a call that no outage touches is one recording with every block of audio that was sent, once, in its
//! channel; one that was alive when the recorder was killed is one recording, tagged `recovered`, with all
//! that was sent until a second before; one that began while no recorder ran may be missing.

use super::{
    rig::{Outage, Rig, TRACKER, Which},
    slipped,
    traffic::{Block, Sent},
};
use crate::{
    generator::law::{Law, Side},
    wav::Wav,
};
use rusqlite::{Connection, OpenFlags};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

/// What a kill may cost, in milliseconds, and what the scheduling of a busy machine is granted on top.
const TAIL: u64 = 1_000 + 500;
/// Blocks in the longest packet.
const PACKET: usize = 3;
/// A call that was over for so long has its tape finished and reported, unless the tracker is away.
const CLOSING: u64 = 2_500;
/// Most faults told one by one.
const NOTES: usize = 50;
/// Audio kept on the disk once it was judged, in bytes.
const KEPT: u64 = 2_000_000_000;

/// What became of the calls.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Calls that were sent.
    pub(super) calls: u64,
    /// Those that no outage touched, recorded whole.
    pub(super) whole: u64,
    /// Those whose recorder was killed, recorded until then.
    pub(super) recovered: u64,
    /// Those whose recorder was asked to stop, recorded until then.
    pub(super) cut: u64,
    /// Those that began while no recorder ran, or in the second before it was killed.
    pub(super) excused: u64,
    /// Blocks of 10 ms looked for, found, and found with a sample more or less.
    pub(super) blocks: u64,
    pub(super) slipped: u64,
    /// Blocks that are not there, on tapes that say so.
    pub(super) told: u64,
    /// The most that a kill took, in milliseconds.
    pub(super) worst_tail: u64,
    /// The longest time from the end of a call to its `ready`, as far as it was looked for, in milliseconds.
    pub(super) worst_wait: u64,
    /// Recordings deleted again, by the tracker's API.
    pub(super) deleted: u64,
    /// What is not as it should be; all are counted, some are told.
    pub(super) broken: u64,
    pub(super) notes: Vec<String>,
}

impl Tally {
    /// Something is not as it should be.
    pub(super) fn wrong(&mut self, why: String) {
        self.broken += 1;
        if self.notes.len() < NOTES {
            self.notes.push(why);
        }
    }
}

/// A recording as the tracker knows it.
struct Row {
    tape: i64,
    filename: String,
    state: String,
    tags: BTreeMap<String, String>,
}

/// What is asked of a call's recording.
enum Due {
    /// Every block.
    Whole,
    /// Every block sent until then; by a killed recorder or by one that was asked to stop.
    Until(u64, bool),
    /// Nothing.
    Excused,
}

/// Judges calls as they end.
pub(super) struct Judge<'a> {
    rig: &'a Rig,
    database: Connection,
    pending: Vec<Sent>,
    judged: u64,
    /// Recordings that were begun and have no audio.
    stopped: i64,
    kept: VecDeque<(i64, u64)>,
    kept_bytes: u64,
    deleting: Vec<i64>,
    /// The result.
    pub(super) tally: Tally,
}

impl<'a> Judge<'a> {
    pub(super) fn new(rig: &'a Rig) -> Result<Self, String> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
        let database = Connection::open_with_flags(rig.home.join("track.db"), flags);
        let database = database.map_err(|e| e.to_string())?;
        database.busy_timeout(Duration::from_secs(10)).map_err(|e| e.to_string())?;
        let (kept, tally) = (VecDeque::new(), Tally::default());
        let (pending, deleting) = (Vec::new(), Vec::new());
        Ok(Self {
            rig,
            database,
            pending,
            judged: 0,
            stopped: 0,
            kept,
            kept_bytes: 0,
            deleting,
            tally,
        })
    }

    /// A call is over.
    pub(super) fn take(&mut self, call: Sent) {
        self.tally.calls += 1;
        self.pending.push(call);
    }

    /// Judges what can be judged; calls that still wait.
    pub(super) fn pass(&mut self, last: bool) -> Result<usize, String> {
        let (now, outages) = (self.rig.now(), self.rig.outages());
        let mut waiting = Vec::new();
        for call in std::mem::take(&mut self.pending) {
            let rows = self.rows(&call.call_id).map_err(|e| format!("track.db: {e}"))?;
            // What is due is not known before the recorder is back.
            let open = outages.iter().any(|outage| outage.until == u64::MAX);
            let due = due(&call, &outages);
            let excused = matches!(due, Due::Excused);
            let ready = rows.iter().any(|row| row.state == "ready");
            let is = |state: &str| rows.iter().all(|row| row.state == state);
            if !open && ready {
                let wait = now.saturating_sub(call.end());
                self.tally.worst_wait = self.tally.worst_wait.max(wait);
                self.judge(&call, &rows, &due);
            } else if last && excused && is("stopped") {
                // Killed before there was any audio on the tape, or never seen.
                self.tally.excused += 1;
                self.stopped += rows.iter().fold(0, |count, _| count + 1);
            } else if last {
                let what = if rows.is_empty() { "has no recording" } else { "is not ready" };
                self.tally.wrong(format!("{}: {what}, {}", call.call_id, told(&call, &outages)));
            } else {
                waiting.push(call);
            }
        }
        self.pending = waiting;
        self.delete();
        Ok(self.pending.len())
    }

    fn rows(&self, call_id: &str) -> rusqlite::Result<Vec<Row>> {
        let mut rows = Vec::new();
        let mut ask = self
            .database
            .prepare_cached("SELECT id, filename, state FROM tape WHERE nativecallid = ?1")?;
        let mut found = ask.query([call_id])?;
        while let Some(row) = found.next()? {
            let tape: i64 = row.get(0)?;
            let mut tags = BTreeMap::new();
            let mut ask =
                self.database.prepare_cached("SELECT key, value FROM tape_tag WHERE tape = ?1")?;
            let mut told = ask.query([tape])?;
            while let Some(tag) = told.next()? {
                tags.insert(tag.get(0)?, tag.get(1)?);
            }
            rows.push(Row { tape, filename: row.get(1)?, state: row.get(2)?, tags });
        }
        Ok(rows)
    }

    fn judge(&mut self, call: &Sent, rows: &[Row], due: &Due) {
        self.judged += 1;
        if rows.len() > 1 {
            self.tally.wrong(format!("{}: {} recordings", call.call_id, rows.len()));
        }
        let Some(row) = rows.first() else { return };
        let path = self.rig.home.join("tapes").join(&row.filename);
        let wav = match Wav::read(&path) {
            Ok(wav) if wav.rate == 8000 && wav.channels.len() == 2 => wav,
            Ok(_) => return self.tally.wrong(format!("{}: not 8 kHz stereo", row.filename)),
            Err(why) => return self.tally.wrong(why),
        };
        let size = std::fs::metadata(&path).map_or(0, |about| about.len());
        let missing = self.hear(call, &wav);
        let losses = ["kerneldrops", "overrunms", "unwrittenframes"];
        // When the sender did not get a processor for a while, what it sends out of order comes too late.
        let late: usize = row.tags.get("late").and_then(|late| late.parse().ok()).unwrap_or(0);
        let told_of = |lost: usize| {
            losses.iter().any(|tag| row.tags.contains_key(*tag)) || lost <= late * PACKET
        };
        let (until, counter) = match *due {
            Due::Whole => (u64::MAX, &mut self.tally.whole),
            Due::Until(at, true) => (at, &mut self.tally.recovered),
            Due::Until(at, false) => (at, &mut self.tally.cut),
            Due::Excused => (0, &mut self.tally.excused),
        };
        *counter += 1;
        let limit = if until == u64::MAX { until } else { until.saturating_sub(TAIL) };
        let lost: Vec<&(Block, u64)> =
            missing.iter().filter(|(_, at)| *at < limit && until > 0).collect();
        if until != u64::MAX && until > 0 {
            let first = missing.iter().map(|(_, at)| *at).filter(|at| *at < until).min();
            let tail = first.map_or(0, |at| until - at);
            self.tally.worst_tail = self.tally.worst_tail.max(tail);
        }
        if let (Some((block, at)), false) = (lost.first(), told_of(lost.len())) {
            self.tally.wrong(format!(
                "{}: {} blocks are missing on {}, the first {block:?} sent at {at} ms, and nothing tells so, {}",
                call.call_id,
                lost.len(),
                row.filename,
                told(call, &self.rig.outages())
            ));
        } else {
            self.tally.told += u64::try_from(lost.len()).unwrap_or(u64::MAX);
        }
        // Until so long after its end a tape may be recovered that was already finished.
        if matches!(due, Due::Until(at, true) if *at < call.end())
            && !row.tags.contains_key("recovered")
        {
            self.tally
                .wrong(format!("{}: {} is not told as recovered", call.call_id, row.filename));
        }
        // Some go at once, the others when they take too much room.
        if self.judged.is_multiple_of(4) {
            self.deleting.push(row.tape);
        } else {
            self.kept.push_back((row.tape, size));
            self.kept_bytes += size;
        }
    }

    /// Listens to a tape; what was sent and is not on it.
    fn hear(&mut self, call: &Sent, wav: &Wav) -> Vec<(Block, u64)> {
        let law = Law::new(call.codec);
        let sent = call.blocks();
        let mut places: BTreeMap<Block, usize> = BTreeMap::new();
        for (channel, samples) in wav.channels.iter().enumerate() {
            for (at, mark) in law.marks(samples) {
                let side = mark.side == Side::Caller;
                if mark.call != call.number || side != (channel == 0) {
                    let id = &call.call_id;
                    self.tally.wrong(format!("{id}: channel {channel} has {mark:?} at {at}"));
                } else if places.insert((side, mark.block), at).is_some() {
                    self.tally.wrong(format!("{}: {mark:?} is there twice", call.call_id));
                }
            }
        }
        self.tally.blocks += u64::try_from(sent.len()).unwrap_or(u64::MAX);
        let (mut missing, slipped) = slipped::find(&law, call.number, sent, places, &wav.channels);
        self.tally.slipped += slipped;
        missing.sort_by_key(|(_, at)| *at);
        missing
    }

    /// Deletes what was judged, when there is too much of it. A tracker that is away is asked again.
    fn delete(&mut self) {
        while self.kept_bytes > KEPT {
            let Some((tape, size)) = self.kept.pop_front() else { break };
            self.kept_bytes -= size;
            self.deleting.push(tape);
        }
        let mut again = Vec::new();
        for tape in std::mem::take(&mut self.deleting) {
            if !again.is_empty() {
                again.push(tape);
                continue;
            }
            match self.rig.ask(TRACKER, "DELETE", &format!("/api/v1/recordings/{tape}")) {
                Some((200 | 204 | 404, _)) => self.tally.deleted += 1,
                Some((500.., _)) | None => again.push(tape),
                Some((code, body)) => {
                    let body = String::from_utf8_lossy(&body).into_owned();
                    self.tally.wrong(format!("recording {tape} cannot be deleted: {code} {body}"));
                }
            }
        }
        self.deleting = again;
    }

    /// Invariants of the whole, when everything is over.
    pub(super) fn finish(&mut self) -> Result<(), String> {
        let asked = [
            ("recordings that are still live", "SELECT count(*) FROM tape WHERE state = 'live'"),
            (
                "recordings told ready more or less than once",
                "SELECT count(*) FROM tape WHERE state = 'ready' AND \
                 (SELECT count(*) FROM tape_stage WHERE tape = tape.id AND stage = 'ready') <> 1",
            ),
            (
                "recordings of no call of ours",
                "SELECT count(*) FROM tape WHERE nativecallid NOT LIKE 'gen-%'",
            ),
            (
                "calls with more than one recording",
                "SELECT count(*) FROM (SELECT 1 FROM tape GROUP BY nativecallid HAVING count(*) > 1)",
            ),
        ];
        for (what, sql) in asked {
            let count: i64 = self
                .database
                .query_row(sql, [], |row| row.get(0))
                .map_err(|e| format!("{what}: {e}"))?;
            if count != 0 {
                self.tally.wrong(format!("{count} {what}"));
            }
        }
        let sql = "SELECT count(*) FROM tape WHERE state = 'stopped'";
        let stopped: i64 = self
            .database
            .query_row(sql, [], |row| row.get(0))
            .map_err(|e| format!("track.db: {e}"))?;
        if stopped != self.stopped {
            self.tally.wrong(format!("{stopped} recordings have no audio, not {}", self.stopped));
        }
        let parts = orkaudio::tape::recover::parts(&self.rig.home.join("tapes"));
        let parts = parts.map_err(|e| e.to_string())?;
        if !parts.is_empty() {
            self.tally.wrong(format!("{} .part files are left: {parts:?}", parts.len()));
        }
        let checked = self.rig.command(Which::Tracker, &["check"]).output();
        let checked = checked.map_err(|e| e.to_string())?;
        if !checked.status.success() {
            let said = [checked.stdout, checked.stderr].concat();
            self.tally.wrong(format!("orktrack check: {}", String::from_utf8_lossy(&said)));
        }
        Ok(())
    }
}

/// What is due of a call.
fn due(call: &Sent, outages: &[Outage]) -> Due {
    let (begin, end) = (call.begin(), call.end());
    let hit = outages.iter().find(|outage| end + CLOSING > outage.from && begin < outage.until);
    let Some(outage) = hit else { return Due::Whole };
    let heard = call.blocks().values().copied().min().unwrap_or(u64::MAX);
    if heard.saturating_add(TAIL) < outage.from {
        Due::Until(outage.from, outage.killed)
    } else {
        Due::Excused
    }
}

/// The call's times and the outages near it, for people.
fn told(call: &Sent, outages: &[Outage]) -> String {
    let (begin, end) = (call.begin(), call.end());
    let near: BTreeSet<String> = outages
        .iter()
        .filter(|outage| end + 10_000 > outage.from && begin < outage.until.saturating_add(10_000))
        .map(|outage| format!("{}..{}", outage.from, outage.until))
        .collect();
    format!("sent {begin}..{end} ms, outages {near:?}")
}
