//! Holds recordings of a generated capture against its truth, sample by sample.
//!
//! Law: every frame the capture holds must be in the tape once, in its side's channel, exactly as
//! G.711 decodes it, at its place; every frame the capture lacks must be silence there. A side's
//! place is fixed by the position most of its blocks agree on, which must fit the other side's by
//! capture time. Where clocks drift or packets are delayed, each block is held against its own
//! capture time instead, and a packet made a sample longer or shorter is forgiven.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::law::{BLOCK, Law, Mark, Side};
use super::truth::{CallTruth, StreamTruth, Truth};
use crate::wav::Wav;

/// Sides may stand this far from their capture time: one millisecond.
const ALIGNED: f64 = 8.0;
/// A tape may begin and end this far from its media: 40 ms.
const EDGE: f64 = 320.0;
/// Loudest sample of silence (A-law has no zero).
const SILENT: u16 = 16;
const SAMPLE_NS: f64 = 125_000.0;

/// A tape as `orkaudio replay --json` reports it; what a recorder does not say is left empty.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Tape {
    /// The recorder's name for it.
    pub orkuid: String,
    /// Call-ID.
    pub nativecallid: String,
    /// Party on this side.
    pub localparty: String,
    /// Party on the other side.
    pub remoteparty: String,
    /// `in`, `out` or `unkn`.
    pub direction: String,
    /// Milliseconds.
    pub duration_ms: Option<f64>,
    /// Path under the output folder.
    pub file: PathBuf,
    /// What each party sent.
    pub legs: Vec<Leg>,
}

/// One leg as reported.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Leg {
    /// `local` or `remote`.
    pub side: String,
    /// Sender, address and port.
    pub src: String,
    /// A number, or hexadecimal text.
    pub ssrc: Value,
    /// Packets received.
    pub packets: u64,
    /// Packets missing in the sequence.
    pub lost: u64,
    /// Copies dropped.
    pub duplicates: u64,
}

/// What the recordings hold, in frames.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Verdict {
    /// Calls in the capture.
    pub calls: u64,
    /// Tapes found.
    pub tapes: u64,
    /// Calls without a tape.
    pub tapes_missing: u64,
    /// Tapes no call asks for.
    pub tapes_extra: u64,
    /// Tapes that cannot be read or are not 8 kHz stereo.
    pub tapes_unreadable: u64,
    /// Frames both sides of all calls would have without losses.
    pub frames: u64,
    /// Frames in their place, exact.
    pub right: u64,
    /// Frames the capture lacks, silent as they must be.
    pub lost_silent: u64,
    /// Frames that should be there and are silence.
    pub missing: u64,
    /// Frames in the wrong place.
    pub shifted: u64,
    /// Frames covered by the other side's audio.
    pub swapped: u64,
    /// Frames covered by another call's audio.
    pub foreign: u64,
    /// Frames covered by something else.
    pub damaged: u64,
    /// Frames the capture lacks, yet not silent.
    pub invented: u64,
    /// Frames of audio where nothing belongs, or a second time.
    pub stray: u64,
    /// Legs whose reported packets, losses or duplicates are not what the capture holds.
    pub legs_misreported: u64,
    /// Wrong parties, direction, side or length.
    pub facts_wrong: u64,
    /// Frames that are not right, the audio's faults together.
    pub frames_wrong: u64,
    /// Everything that is wrong; 0 is a perfect recording.
    pub wrong: u64,
    /// The first faults in words.
    #[serde(skip)]
    pub notes: Vec<String>,
}

/// Notes kept; the counts are complete.
const NOTES: usize = 200;

impl Verdict {
    fn add(&mut self, other: Self) {
        self.tapes_unreadable += other.tapes_unreadable;
        self.frames += other.frames;
        self.right += other.right;
        self.lost_silent += other.lost_silent;
        self.missing += other.missing;
        self.shifted += other.shifted;
        self.swapped += other.swapped;
        self.foreign += other.foreign;
        self.damaged += other.damaged;
        self.invented += other.invented;
        self.stray += other.stray;
        self.legs_misreported += other.legs_misreported;
        self.facts_wrong += other.facts_wrong;
        for note in other.notes {
            self.note(note);
        }
    }

    fn note(&mut self, note: String) {
        if self.notes.len() < NOTES {
            self.notes.push(note);
        }
    }

    fn fact(&mut self, note: String) {
        self.facts_wrong += 1;
        self.note(note);
    }

    fn sum(&mut self) {
        self.frames_wrong = self.missing
            + self.shifted
            + self.swapped
            + self.foreign
            + self.damaged
            + self.invented
            + self.stray;
        self.wrong = self.frames_wrong
            + self.tapes_missing
            + self.tapes_extra
            + self.tapes_unreadable
            + self.legs_misreported
            + self.facts_wrong;
    }

    /// The counts as a table for people, then the notes.
    #[must_use]
    pub fn table(&self) -> String {
        let rows = [
            ("calls", self.calls, ""),
            ("tapes", self.tapes, ""),
            ("  missing", self.tapes_missing, "no tape for a call"),
            ("  extra", self.tapes_extra, "more tapes than calls"),
            ("  unreadable", self.tapes_unreadable, "not an 8 kHz stereo WAV"),
            ("frames", self.frames, ""),
            ("  right", self.right, "exact and in place"),
            ("  lost, silent", self.lost_silent, "not in the capture"),
            ("  missing", self.missing, "in the capture, silent in the tape"),
            ("  shifted", self.shifted, "at the wrong time"),
            ("  swapped", self.swapped, "the other side's audio"),
            ("  foreign", self.foreign, "another call's audio"),
            ("  damaged", self.damaged, "samples changed"),
            ("  invented", self.invented, "not in the capture, not silent"),
            ("  stray", self.stray, "where nothing belongs"),
            ("legs misreported", self.legs_misreported, "packets, lost, duplicates"),
            ("facts wrong", self.facts_wrong, "parties, direction, length"),
            ("WRONG", self.wrong, ""),
        ];
        let mut out = String::new();
        for (name, count, what) in rows {
            out.push_str(format!("{name:<18}{count:>10}  {what}").trim_end());
            out.push('\n');
        }
        for note in &self.notes {
            out.push_str(note);
            out.push('\n');
        }
        out
    }
}

/// Reads what `orkaudio replay --json` printed: a tape a line, the summary left aside.
///
/// # Errors
/// A line that is not such an object.
pub fn read_tapes(text: &str) -> Result<Vec<Tape>, String> {
    let mut tapes = Vec::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| line.starts_with('{')) {
        let value: Value =
            serde_json::from_str(line).map_err(|e| format!("line {}: {e}", number + 1))?;
        if value.get("summary").is_none() {
            let tape =
                serde_json::from_value(value).map_err(|e| format!("line {}: {e}", number + 1))?;
            tapes.push(tape);
        }
    }
    Ok(tapes)
}

/// Tapes for every `.wav` under a folder, for a recorder that reports nothing.
///
/// # Errors
/// When a folder cannot be read.
pub fn find_tapes(folder: &Path) -> Result<Vec<Tape>, String> {
    let mut tapes = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        let entries = std::fs::read_dir(&next).map_err(|e| format!("{}: {e}", next.display()))?;
        for entry in entries {
            let path = entry.map_err(|e| format!("{}: {e}", next.display()))?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "wav") {
                tapes.push(Tape { file: path, ..Tape::default() });
            }
        }
    }
    tapes.sort_by(|one, other| one.file.cmp(&other.file));
    Ok(tapes)
}

/// Holds `tapes`, whose files lie under `folder`, against the truth.
#[must_use]
pub fn check(truth: &Truth, tapes: &[Tape], folder: &Path) -> Verdict {
    let law = Law::new(truth.codec);
    let mut total = Verdict {
        calls: count(truth.calls.len()),
        tapes: count(tapes.len()),
        ..Verdict::default()
    };
    let mut by_call: BTreeMap<u32, &Tape> = BTreeMap::new();
    for tape in tapes {
        let call = owner(truth, tape).or_else(|| {
            // A recorder that says nothing of a call: ask the audio.
            let wav = Wav::read(&folder.join(&tape.file)).ok()?;
            majority(&law, &wav)
        });
        let known = call.filter(|&number| !by_call.contains_key(&number));
        match known.filter(|&number| find(truth, number).is_some()) {
            Some(number) => drop(by_call.insert(number, tape)),
            None => {
                total.tapes_extra += 1;
                total.note(format!("extra tape {} {}", tape.orkuid, tape.file.display()));
            }
        }
    }
    for call in truth.calls.iter().filter(|call| !by_call.contains_key(&call.number)) {
        total.tapes_missing += 1;
        total.frames += 2 * u64::from(truth.frames);
        total.missing += 2 * u64::from(truth.frames);
        total.note(format!("{}: no tape", call.call_id));
    }
    let jobs: Vec<(&CallTruth, &Tape)> =
        by_call.iter().filter_map(|(&number, &tape)| Some((find(truth, number)?, tape))).collect();
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let share = jobs.len().div_ceil(workers).max(1);
    std::thread::scope(|scope| {
        let handles: Vec<_> = jobs
            .chunks(share)
            .map(|jobs| {
                let law = &law;
                scope.spawn(move || {
                    let mut part = Verdict::default();
                    for (call, tape) in jobs {
                        part.add(Job { truth, law, call }.tape(tape, folder));
                    }
                    part
                })
            })
            .collect();
        for handle in handles {
            match handle.join() {
                Ok(part) => total.add(part),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
    });
    total.sum();
    total
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

fn find(truth: &Truth, number: u32) -> Option<&CallTruth> {
    let first = truth.calls.first()?.number;
    truth.calls.get(usize::try_from(number.checked_sub(first)?).ok()?)
}

/// The call a tape says it is.
fn owner(truth: &Truth, tape: &Tape) -> Option<u32> {
    let call = truth.calls.iter().find(|call| call.call_id == tape.nativecallid).or_else(|| {
        truth.calls.iter().find(|call| {
            tape.legs
                .iter()
                .any(|leg| Side::BOTH.into_iter().any(|side| is_leg(leg, call.stream(side))))
        })
    })?;
    Some(call.number)
}

fn is_leg(leg: &Leg, stream: &StreamTruth) -> bool {
    let ssrc = match &leg.ssrc {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => {
            u64::from_str_radix(text.trim_start_matches("0x").trim_start_matches("0X"), 16).ok()
        }
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    leg.src
        .parse::<SocketAddr>()
        .map_or_else(|_| ssrc == Some(stream.ssrc.into()), |src| src == stream.src)
}

/// The call most of a file's audio is of.
fn majority(law: &Law, wav: &Wav) -> Option<u32> {
    let mut votes: BTreeMap<u32, u32> = BTreeMap::new();
    for channel in &wav.channels {
        for (_, mark) in law.marks(channel) {
            *votes.entry(mark.call).or_default() += 1;
        }
    }
    votes.into_iter().max_by_key(|&(_, votes)| votes).map(|(call, _)| call)
}

/// One call and its tape.
struct Job<'a> {
    truth: &'a Truth,
    law: &'a Law,
    call: &'a CallTruth,
}

/// One side in its channel.
struct Channel<'a> {
    side: Side,
    samples: &'a [i16],
    found: Vec<(usize, Mark)>,
}

impl Job<'_> {
    fn tape(&self, tape: &Tape, folder: &Path) -> Verdict {
        let mut out = Verdict::default();
        let both = 2 * u64::from(self.truth.frames);
        let id = &self.call.call_id;
        let wav = Wav::read(&folder.join(&tape.file)).and_then(|wav| {
            if wav.rate == super::law::RATE && wav.channels.len() == 2 {
                Ok(wav)
            } else {
                Err(format!("{} Hz, {} channels", wav.rate, wav.channels.len()))
            }
        });
        match wav {
            Ok(wav) => self.audio(&wav, &mut out),
            Err(error) => {
                out.tapes_unreadable += 1;
                out.frames += both;
                out.missing += both;
                out.note(format!("{id}: {}: {error}", tape.file.display()));
            }
        }
        self.facts(tape, &mut out);
        out
    }

    fn audio(&self, wav: &Wav, out: &mut Verdict) {
        let mut channels: Vec<Channel<'_>> = Side::BOTH
            .into_iter()
            .zip(&wav.channels)
            .map(|(side, samples)| Channel { side, samples, found: self.law.marks(samples) })
            .collect();
        // Without signalling nothing says who called: take the order the audio has.
        let crossed = |channel: &Channel<'_>| {
            let own = channel.found.iter().filter(|(_, mark)| mark.side == channel.side).count();
            2 * own < channel.found.len()
        };
        if !self.truth.sip && channels.iter().all(crossed) {
            for channel in &mut channels {
                channel.side = channel.side.other();
            }
        }
        let origin = self.origin(&channels);
        for channel in &channels {
            self.channel(channel, origin, out);
        }
        let end = Side::BOTH.map(|side| self.ideal(side, self.truth.frames * self.blocks()));
        let end = end[0].max(end[1]);
        let edge = EDGE + self.truth.jitter_ms * 8.0;
        let length = channels.iter().map(|channel| channel.samples.len()).max().unwrap_or(0);
        if origin.abs() > edge || (float(length) - end).abs() > edge {
            out.fact(format!(
                "{}: first packet at {:.1} ms of the tape, which is {:.1} ms long and should be {:.1}",
                self.call.call_id,
                origin / 8.0,
                float(length) / 8.0,
                end / 8.0
            ));
        }
    }

    fn blocks(&self) -> u32 {
        self.truth.ptime_ms / 10
    }

    fn loose(&self) -> bool {
        let truth = self.truth;
        truth.jitter_ms != 0.0 || truth.drift_ppm_caller != 0.0 || truth.drift_ppm_callee != 0.0
    }

    /// Where a block belongs by capture time, in samples after the call's first packet.
    fn ideal(&self, side: Side, block: u32) -> f64 {
        let ppm = match side {
            Side::Caller => self.truth.drift_ppm_caller,
            Side::Callee => self.truth.drift_ppm_callee,
        };
        let first = self.call.from_caller.first_ns.min(self.call.from_callee.first_ns);
        let late = self.call.stream(side).first_ns - first;
        // A call is shorter than 2^53 ns, so this is exact.
        let late = u32::try_from(late / 1000).map_or(f64::MAX, f64::from) * 1000.0;
        late / SAMPLE_NS + f64::from(block) * 80.0 / (1.0 + ppm / 1e6)
    }

    /// The sample of the tape at which the call's first packet stands, by most of its blocks.
    fn origin(&self, channels: &[Channel<'_>]) -> f64 {
        let mut origins: Vec<f64> = Vec::new();
        for channel in channels {
            origins.extend(
                self.own(channel).map(|(at, block)| float(at) - self.ideal(channel.side, block)),
            );
        }
        origins.sort_by(f64::total_cmp);
        origins.get(origins.len() / 2).copied().unwrap_or(0.0)
    }

    fn own<'b>(&self, channel: &'b Channel<'_>) -> impl Iterator<Item = (usize, u32)> + 'b {
        let (number, side) = (self.call.number, channel.side);
        channel
            .found
            .iter()
            .filter(move |(_, mark)| mark.call == number && mark.side == side)
            .map(|&(at, mark)| (at, mark.block))
    }

    fn channel(&self, channel: &Channel<'_>, origin: f64, out: &mut Verdict) {
        let place = self.place(channel, origin, out);
        let blocks = self.blocks();
        let lost = &self.call.stream(channel.side).lost;
        let mut used = vec![false; channel.found.len()];
        let mut right = Vec::new();
        let mut faulty = Vec::new();
        for frame in 0..self.truth.frames {
            out.frames += 1;
            let absent = lost.binary_search(&frame).is_ok();
            let hits: Option<Vec<Option<usize>>> = (frame * blocks..(frame + 1) * blocks)
                .map(|block| if absent { None } else { self.hit(channel, block, &place) })
                .collect();
            right.push(hits.is_some());
            if let Some(hits) = hits {
                out.right += 1;
                for hit in hits.into_iter().flatten() {
                    if let Some(slot) = used.get_mut(hit) {
                        *slot = true;
                    }
                }
                continue;
            }
            // Where places are not exact, a frame's neighbours may reach into it.
            let (from, until) = (place.of(frame * blocks), place.of((frame + 1) * blocks));
            let margin = place.slack.min((until - from) / 3.0);
            let inside = clamp(from + margin, channel)..clamp(until - margin, channel);
            let region = channel.samples.get(inside).unwrap_or(&[]);
            let silent = region.iter().all(|s| s.unsigned_abs() <= SILENT);
            if absent && silent {
                out.lost_silent += 1;
                continue;
            }
            faulty.push((clamp(from, channel), clamp(until, channel)));
            self.fault(channel, &place, frame, (absent, silent), out);
        }
        // Audio left over, unless its frame or the frame it covers has been counted.
        let strays = channel.found.iter().zip(&used).filter(|((at, mark), used)| {
            let own = mark.call == self.call.number && mark.side == channel.side;
            let frame = usize::try_from(mark.block / blocks).unwrap_or(usize::MAX);
            let shifted = own && right.get(frame) == Some(&false);
            let middle = at + BLOCK / 2;
            !**used && !shifted && !faulty.iter().any(|&(from, to)| (from..to).contains(&middle))
        });
        let strays = count(strays.count()).div_ceil(blocks.into());
        if strays > 0 {
            out.note(format!("{} {:?}: {strays} stray frames", self.call.call_id, channel.side));
        }
        out.stray += strays;
    }

    /// Says what a frame that is not right is.
    fn fault(
        &self,
        channel: &Channel<'_>,
        place: &Place,
        frame: u32,
        (absent, silent): (bool, bool),
        out: &mut Verdict,
    ) {
        let blocks = self.blocks();
        let (from, until) = (place.of(frame * blocks), place.of((frame + 1) * blocks));
        let here = channel.found.iter().filter(|(at, _)| {
            let middle = float(*at + BLOCK / 2);
            from <= middle && middle < until
        });
        let (mut foreign, mut swapped) = (false, false);
        for (_, mark) in here {
            foreign |= mark.call != self.call.number;
            swapped |= mark.call == self.call.number && mark.side != channel.side;
        }
        let elsewhere = self.own(channel).any(|(at, block)| {
            block / blocks == frame && (float(at) - place.of(block)).abs() > place.slack
        });
        let (kind, counter) = match (absent, foreign, swapped, elsewhere, silent) {
            (_, true, ..) => ("foreign", &mut out.foreign),
            (_, _, true, ..) => ("swapped", &mut out.swapped),
            (true, ..) => ("invented", &mut out.invented),
            (_, _, _, true, _) => ("shifted", &mut out.shifted),
            (.., true) => ("missing", &mut out.missing),
            (.., false) => ("damaged", &mut out.damaged),
        };
        *counter += 1;
        out.note(format!(
            "{} {:?}: frame {frame} {kind}, at {:.1} ms of the tape",
            self.call.call_id,
            channel.side,
            from / 8.0
        ));
    }

    /// Finds where this side's blocks belong in this tape.
    fn place(&self, channel: &Channel<'_>, origin: f64, out: &mut Verdict) -> Place {
        let ideal = origin + self.ideal(channel.side, 0);
        if self.loose() {
            let per_block = self.ideal(channel.side, 1) - self.ideal(channel.side, 0);
            return Place { first: ideal, per_block, slack: 80.0 + self.truth.jitter_ms * 8.0 };
        }
        let mut votes: BTreeMap<i64, u32> = BTreeMap::new();
        for (at, block) in self.own(channel) {
            let offset = i64::try_from(at).unwrap_or(i64::MAX) - 80 * i64::from(block);
            *votes.entry(offset).or_default() += 1;
        }
        let most = votes.into_iter().max_by_key(|&(_, votes)| votes);
        let first = most.and_then(|(at, _)| i32::try_from(at).ok()).map_or(ideal, f64::from);
        if (first - ideal).abs() <= ALIGNED {
            return Place { first, per_block: 80.0, slack: 0.0 };
        }
        out.note(format!(
            "{} {:?}: {:.1} ms off the other side",
            self.call.call_id,
            channel.side,
            (first - ideal) / 8.0
        ));
        Place { first: ideal.round(), per_block: 80.0, slack: 0.0 }
    }

    /// `Some(Some(n))` where the block is found whole and in place as number n, `Some(None)` where
    /// it is there but for a forgiven slip.
    fn hit(&self, channel: &Channel<'_>, block: u32, place: &Place) -> Option<Option<usize>> {
        let want = place.of(block);
        let near = channel.found.partition_point(|(at, _)| float(*at) < want - place.slack);
        let mark = Mark { side: channel.side, call: self.call.number, block };
        let whole = channel.found.iter().enumerate().skip(near);
        let whole = whole.take_while(|(_, (at, _))| float(*at) <= want + place.slack);
        let mut whole = whole.filter(|(_, (_, found))| *found == mark);
        if let Some((number, _)) = whole.next() {
            return Some(Some(number));
        }
        if place.slack == 0.0 {
            return None;
        }
        let from = clamp(want - place.slack, channel);
        let until = clamp(want + place.slack, channel);
        (from..=until)
            .any(|at| channel.samples.get(at..).is_some_and(|s| self.law.resembles(s, mark)))
            .then_some(None)
    }

    /// What the recorder says of the call.
    fn facts(&self, tape: &Tape, out: &mut Verdict) {
        if tape.orkuid.is_empty() {
            return;
        }
        let call = self.call;
        let id = &call.call_id;
        if self.truth.sip {
            let wanted = [
                ("localparty", &tape.localparty, call.caller.as_str()),
                ("remoteparty", &tape.remoteparty, call.callee.as_str()),
                ("direction", &tape.direction, "out"),
            ];
            for (name, got, want) in wanted {
                if got.split('@').next() != Some(want) {
                    out.fact(format!("{id}: {name} is {got}, want {want}"));
                }
            }
        }
        let spans = Side::BOTH.map(|side| self.ideal(side, self.truth.frames * self.blocks()));
        let want = spans[0].max(spans[1]) / 8.0;
        if let Some(got) = tape.duration_ms
            && (got - want).abs() > EDGE / 8.0 + self.truth.jitter_ms
        {
            out.fact(format!("{id}: duration_ms is {got}, want {want:.1}"));
        }
        for side in Side::BOTH {
            self.leg(side, tape, out);
        }
    }

    fn leg(&self, side: Side, tape: &Tape, out: &mut Verdict) {
        let stream = self.call.stream(side);
        let id = &self.call.call_id;
        let Some(leg) = tape.legs.iter().find(|leg| is_leg(leg, stream)) else {
            out.legs_misreported += 1;
            out.note(format!("{id} {side:?}: no leg reported"));
            return;
        };
        let lost = count(stream.lost.len());
        let sent = u64::from(self.truth.frames) - lost;
        let duplicates = u64::from(stream.duplicates);
        let packets = leg.packets == sent || leg.packets == sent + duplicates;
        if !packets || leg.lost != lost || leg.duplicates != duplicates {
            out.legs_misreported += 1;
            out.note(format!(
                "{id} {side:?}: reported {} packets, {} lost, {} duplicates; want {sent}, {lost}, {duplicates}",
                leg.packets, leg.lost, leg.duplicates
            ));
        }
        let want = if side == Side::Caller { "local" } else { "remote" };
        if self.truth.sip && !leg.side.is_empty() && leg.side != want {
            out.fact(format!("{id} {side:?}: leg side is {}, want {want}", leg.side));
        }
    }
}

/// Where a side's blocks belong.
struct Place {
    first: f64,
    per_block: f64,
    slack: f64,
}

impl Place {
    fn of(&self, block: u32) -> f64 {
        self.first + self.per_block * f64::from(block)
    }
}

fn float(samples: usize) -> f64 {
    // 2^32 samples are six days.
    f64::from(u32::try_from(samples).unwrap_or(u32::MAX))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast saturates at 0, and the length bounds it"
)]
fn clamp(at: f64, channel: &Channel<'_>) -> usize {
    (at.round() as usize).min(channel.samples.len())
}
