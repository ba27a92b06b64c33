//! The tape worker: one thread that owns the tapes given to it, from opening to closing.

use super::{
    ears::Ears,
    file::TapeFile,
    finish::{Finish, Heard, Step},
    ledger::Ledger,
    packets::{self, PacketFile},
    sidecar::Sidecars,
    sync::Opened,
    volume::Volume,
    wav::Layout,
};
use crate::{
    format::Labels,
    live::{Feeds, Outlets},
    pins::Pins,
};
use foldhash::fast::RandomState;
use jiff::tz::TimeZone;
use orkbase::{
    audio::{
        block::Block,
        codec::DecoderSource,
        tape::{Scratch, TapeAudio},
    },
    call::output::{AddTag, Closing, Opening, PacketBlock, TapeId},
};
use orkvault::keys::KeyRing;
use std::{
    collections::HashMap,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
        mpsc::{Receiver, SyncSender},
    },
    time::{Duration, Instant},
};

/// Names tried when the wanted one is taken.
const NAMES: u32 = 100;

/// Why a tape is damaged that a fault ended.
const FAULT: &str = "a fault of the program ended it";

/// How tapes are made.
#[derive(Clone, Debug)]
pub struct TapeSettings {
    /// The audio folder.
    pub root: PathBuf,
    /// Extension of finished tapes, with its dot.
    pub extension: String,
    /// 2 for stereo, 1 for both sides mixed.
    pub channels: u16,
    /// Packets may be late by this much, in milliseconds.
    pub late_ms: u64,
    /// Make up what was lost, where it is short.
    pub conceal: bool,
    /// Find keys in the audio.
    pub inband_dtmf: bool,
    /// Permissions of new files.
    pub mode: u32,
    /// Shorter tapes are thrown away, in milliseconds.
    pub min_duration_ms: u64,
    /// Bytes and names are forced to the disk before a tape is told to be ready.
    pub sync: bool,
    /// What is told of a tape is written beside it.
    pub sidecars: Option<Sidecars>,
    /// What becomes of tapes is written down.
    pub ledger: Option<Arc<Ledger>>,
    /// What tapes are sealed with; `None` leaves them plain.
    pub keys: Option<Arc<KeyRing>>,
    /// What is never thrown away.
    pub pins: Option<Arc<Pins>>,
    /// Calendar of the date in the file.
    pub zone: TimeZone,
    /// The disk that they are on.
    pub volume: Arc<Volume>,
    /// Open tapes are forced to the disk this often; `None` leaves that to the system.
    pub sync_interval: Option<Duration>,
}

/// What the engine tells a worker.
#[derive(Debug)]
pub enum Job {
    /// A tape begins.
    Open(Box<Opening>),
    /// Audio for it.
    Audio(Block),
    /// Packets to be kept beside it.
    Packets(PacketBlock),
    /// It ends.
    Close(Box<Ending>),
}

impl Job {
    /// The tape it is about.
    #[must_use]
    pub const fn tape(&self) -> TapeId {
        match self {
            Self::Open(opening) => opening.tape,
            Self::Audio(block) => block.tape,
            Self::Packets(block) => block.tape,
            Self::Close(ending) => ending.closing.tape,
        }
    }

    /// Bytes that wait in it.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        match self {
            Self::Audio(block) => block.bytes.len(),
            Self::Packets(block) => block.bytes.len(),
            Self::Open(_) | Self::Close(_) => 0,
        }
    }
}

/// How a tape ends.
#[derive(Debug)]
pub struct Ending {
    /// What the core says of it.
    pub closing: Closing,
    /// Closing number: reports leave in this order.
    pub order: u64,
    /// Audio thrown away because the disk could not keep up, in milliseconds.
    pub overrun_ms: u64,
    /// Packets not kept because the disk could not keep up.
    pub packets_lost: u64,
}

/// What the workers counted.
#[derive(Debug, Default)]
pub struct TapeCounters {
    /// Tapes that could not be created when their call began.
    pub open_failed: AtomicU64,
    /// Tapes that were not begun because the disk had less than its reserve.
    pub turned_away: AtomicU64,
    /// Tapes that went on, or began late, when the disk took them again.
    pub resumed: AtomicU64,
    /// Recordings without a tape: the disk took nothing of them while they lasted.
    pub not_recorded: AtomicU64,
    /// Tapes that ended by a fault of the program, of a decoder for instance.
    pub panicked: AtomicU64,
    /// Open tapes and their packets forced to the disk.
    pub syncs: AtomicU64,
    /// Files of which that failed: they are damaged.
    pub sync_failed: AtomicU64,
    /// When the open tape should have been on the disk that waits for it longest, if one waits.
    sync_due: Mutex<Option<Instant>>,
    /// Tapes of which the disk refused something.
    pub write_failed: AtomicU64,
    /// Frames of audio that could not be written.
    pub lost_frames: AtomicU64,
    /// Bytes of audio written.
    pub bytes: AtomicU64,
    /// Keys heard in the audio and told.
    pub inband_digits: AtomicU64,
    /// Bytes of packets written beside tapes.
    pub packet_bytes: AtomicU64,
    /// Packets that could not be written beside their tape.
    pub packets_failed: AtomicU64,
    /// Tapes finished.
    pub finished: AtomicU64,
    /// Tapes thrown away as too short.
    pub too_short: AtomicU64,
    /// Tapes thrown away because an operator said so.
    pub discarded: AtomicU64,
    /// Tapes whose finishing failed; they keep their `.part` name.
    pub finish_failed: AtomicU64,
    /// Gauge: closed tapes that wait until the disk takes their end.
    pub finish_waiting: AtomicU64,
    /// Tapes that went through their processors.
    pub processed: AtomicU64,
    /// Tapes of which a processor failed; they are kept as they were recorded.
    pub process_failed: AtomicU64,
    /// Tapes that wait for processors or are with them, now.
    pub process_queued: AtomicU64,
    /// Time that processors took, in milliseconds.
    pub process_ms: AtomicU64,
}

impl TapeCounters {
    /// How much later than they should open tapes reach the disk, in milliseconds, now.
    #[must_use]
    pub fn sync_behind_ms(&self) -> u64 {
        let due = *self.sync_due.lock().unwrap_or_else(PoisonError::into_inner);
        let late = due.map_or(Duration::ZERO, |due| due.elapsed());
        u64::try_from(late.as_millis()).unwrap_or(u64::MAX)
    }

    pub(super) fn sync_due(&self, due: Option<Instant>) {
        *self.sync_due.lock().unwrap_or_else(PoisonError::into_inner) = due;
    }
}

struct Tape {
    audio: TapeAudio,
    rate: u32,
    place: Place,
    packets: Beside,
    /// Packets that could not be written there.
    packets_lost: u64,
    /// What its packets are said to be.
    comment: String,
    /// Keys in its audio.
    ears: Option<Ears>,
}

/// Where the audio of a tape goes.
enum Place {
    /// To its file.
    File(TapeFile),
    /// Nowhere as long as the disk takes no more tapes; that, and what the file is to be.
    Nowhere(io::Error, Box<Opening>),
    /// Nowhere any more: a fault of the program ended it; what there was.
    Over(Option<TapeFile>),
}

impl Place {
    const fn file(&mut self) -> Option<&mut TapeFile> {
        match self {
            Self::File(file) => Some(file),
            Self::Nowhere(..) | Self::Over(_) => None,
        }
    }
}

impl Tape {
    /// A fault of the program ended it. What its audio and its ears remember is not to be trusted any more.
    fn end(&mut self) {
        let place = std::mem::replace(&mut self.place, Place::Over(None));
        self.place = match place {
            Place::File(file) => Place::Over(Some(file)),
            Place::Nowhere(..) => Place::Over(None),
            over @ Place::Over(_) => over,
        };
        self.ears = None;
    }
}

/// Packets beside a tape.
enum Beside {
    /// None so far.
    Nothing,
    /// Being written.
    Open(PacketFile),
    /// Could not be created.
    Refused,
}

/// Owns the tapes given to it.
#[expect(missing_debug_implementations, reason = "holds a decoder source")]
pub struct Worker {
    decoders: Arc<dyn DecoderSource>,
    settings: Arc<TapeSettings>,
    counters: Arc<TapeCounters>,
    finish: SyncSender<Step>,
    empties: SyncSender<Vec<Vec<u8>>>,
    feeds: Arc<Feeds>,
    syncing: Option<Opened>,
}

impl Worker {
    /// A worker that hands closed tapes to `finish` and emptied blocks to `empties`.
    #[must_use]
    pub const fn new(
        decoders: Arc<dyn DecoderSource>,
        settings: Arc<TapeSettings>,
        counters: Arc<TapeCounters>,
        finish: SyncSender<Step>,
        empties: SyncSender<Vec<Vec<u8>>>,
        feeds: Arc<Feeds>,
    ) -> Self {
        Self { decoders, settings, counters, finish, empties, feeds, syncing: None }
    }

    /// Its open tapes are told to whoever forces them to the disk.
    #[must_use]
    pub fn syncing(self, opened: Option<Opened>) -> Self {
        Self { syncing: opened, ..self }
    }

    /// Works until nobody gives it jobs any more; takes what it has done off `waiting` bytes.
    pub fn run(&self, jobs: &Receiver<Vec<Job>>, waiting: &AtomicUsize) {
        let mut tapes: HashMap<TapeId, Tape, RandomState> = HashMap::default();
        let mut scratch = Scratch::default();
        for batch in jobs {
            let mut empties = Vec::with_capacity(batch.len());
            for job in batch {
                waiting.fetch_sub(job.bytes(), Ordering::Relaxed);
                let id = job.tape();
                // A fault ends the recording that it comes from and no other.
                let work = || self.handle(job, &mut tapes, &mut scratch, &mut empties);
                if catch_unwind(AssertUnwindSafe(work)).is_err() {
                    scratch = Scratch::default();
                    self.fault(id);
                    if let Some(tape) = tapes.get_mut(&id) {
                        tape.end();
                    }
                }
            }
            // A full channel only means that the engine has enough of them.
            drop(self.empties.try_send(empties));
        }
    }

    fn handle(
        &self,
        job: Job,
        tapes: &mut HashMap<TapeId, Tape, RandomState>,
        scratch: &mut Scratch,
        empties: &mut Vec<Vec<u8>>,
    ) {
        match job {
            Job::Open(opening) => {
                let tape = self.open(&opening);
                tapes.insert(opening.tape, tape);
            }
            Job::Audio(block) => {
                if let Some(tape) = tapes.get_mut(&block.tape) {
                    self.hear(tape, &block, scratch);
                }
                empties.push(block.bytes);
            }
            Job::Packets(block) => {
                if let Some(tape) = tapes.get_mut(&block.tape) {
                    self.keep(tape, &block);
                }
            }
            Job::Close(ending) => {
                let tape = tapes.remove(&ending.closing.tape);
                self.close(tape, *ending, scratch);
            }
        }
    }

    fn hear(&self, tape: &mut Tape, block: &Block, scratch: &mut Scratch) {
        if matches!(tape.place, Place::Over(_)) {
            return;
        }
        self.begin_late(tape);
        let Tape { audio, place, ears, .. } = tape;
        let feed = self.feeds.get(block.tape);
        let was_refused = place.file().is_some_and(|file| file.refused().is_some());
        let sink = &mut Outlets { file: place.file(), feed: feed.as_deref() };
        let Block { news, bytes, until, .. } = block;
        match ears {
            Some(ears) => {
                ears.learn(news);
                let mut sink = ears.on(sink);
                audio.handle_block(news, bytes, *until, scratch, &mut sink);
                ears.due(*until, &mut |tag| self.digit(tag));
            }
            None => audio.handle_block(news, bytes, *until, scratch, sink),
        }
        match place.file().map(|file| file.refused()) {
            Some(Some(error)) => self.refused(error),
            Some(None) if was_refused => self.resumed(),
            Some(None) | None => {}
        }
    }

    /// The disk refused something: told when it begins, not for each call.
    fn refused(&self, error: &io::Error) {
        if self.settings.volume.refused(error) {
            tracing::error!(%error, "the disk of tapes refuses: audio is being lost");
        }
    }

    fn resumed(&self) {
        self.counters.resumed.fetch_add(1, Ordering::Relaxed);
    }

    fn open(&self, opening: &Opening) -> Tape {
        let decoders = Arc::clone(&self.decoders);
        let audio = TapeAudio::with(opening.rate, self.settings.late_ms, decoders)
            .concealing(self.settings.conceal);
        let place = if self.settings.volume.takes_tapes() {
            match self.create(opening) {
                Ok(file) => Place::File(file),
                Err(error) => {
                    self.counters.open_failed.fetch_add(1, Ordering::Relaxed);
                    self.refused(&error);
                    Place::Nowhere(error, Box::new(opening.clone()))
                }
            }
        } else {
            self.counters.turned_away.fetch_add(1, Ordering::Relaxed);
            self.settings.volume.turned_away();
            let why = "the disk has less than tapes.reserve_mib left";
            let why = io::Error::new(io::ErrorKind::StorageFull, why);
            Place::Nowhere(why, Box::new(opening.clone()))
        };
        let Opening { orkuid, message, .. } = opening;
        let ears = self.settings.inband_dtmf.then(|| Ears::new(opening));
        let comment = format!("recording {orkuid}, call {}", message.nativecallid);
        Tape {
            audio,
            rate: opening.rate,
            place,
            packets: Beside::Nothing,
            packets_lost: 0,
            comment,
            ears,
        }
    }

    /// A call that began when the disk took no tapes is recorded from when it does.
    fn begin_late(&self, tape: &mut Tape) {
        let Place::Nowhere(why, opening) = &mut tape.place else { return };
        if !self.settings.volume.takes_tapes() {
            return;
        }
        match self.create(opening) {
            Ok(mut file) => {
                let why = std::mem::replace(why, io::ErrorKind::StorageFull.into());
                file.begins_late(tape.audio.frames(), why);
                self.resumed();
                tape.place = Place::File(file);
            }
            Err(error) => self.refused(&error),
        }
    }

    /// Tells of a key, in its turn before the tape is told of.
    fn digit(&self, tag: AddTag) {
        self.counters.inband_digits.fetch_add(1, Ordering::Relaxed);
        if self.finish.send(Step::Tagged(Box::new(tag))).is_err() {
            tracing::error!("the finishing thread is gone: a key is not told");
        }
    }

    fn fault(&self, tape: TapeId) {
        self.counters.panicked.fetch_add(1, Ordering::Relaxed);
        tracing::error!(tape = tape.0, "a recording ended by a fault of the program");
    }

    fn keep(&self, tape: &mut Tape, block: &PacketBlock) {
        if let (Beside::Nothing, Place::File(file)) = (&tape.packets, &tape.place) {
            let TapeSettings { mode, keys, .. } = &*self.settings;
            let (path, comment) = (file.path(), &tape.comment);
            tape.packets = match PacketFile::create_with(path, comment, *mode, keys.as_deref()) {
                Ok(packets) => {
                    if let (Some(syncing), Some(folder)) = (&self.syncing, path.parent()) {
                        syncing.add(packets.file(), folder.to_owned());
                    }
                    Beside::Open(packets)
                }
                Err(error) => {
                    let path = packets::beside(file.path());
                    tracing::error!(path = %path.display(), %error, "cannot keep the packets of a call");
                    Beside::Refused
                }
            };
        }
        let written = match &mut tape.packets {
            Beside::Open(packets) => {
                let failed = packets.failure().is_some();
                let written = packets.write(&block.bytes, block.packets);
                if let (false, Some(error)) = (failed, packets.failure()) {
                    tracing::error!(path = %packets.path().display(), %error, "packets of a call could not be written");
                }
                written
            }
            Beside::Nothing | Beside::Refused => false,
        };
        if written {
            let bytes = u64::try_from(block.bytes.len()).unwrap_or(0);
            self.counters.packet_bytes.fetch_add(bytes, Ordering::Relaxed);
        } else {
            self.counters.packets_failed.fetch_add(block.packets, Ordering::Relaxed);
            tape.packets_lost += block.packets;
        }
    }

    fn create(&self, opening: &Opening) -> io::Result<TapeFile> {
        let date = opening
            .start
            .to_zoned(&self.settings.zone)
            .strftime("%Y-%m-%dT%H:%M:%S%:z")
            .to_string();
        let labels = Labels::of(&opening.message, &date);
        let info = labels.info();
        let layout = Layout { rate: opening.rate, channels: self.settings.channels };
        for number in 0..NAMES {
            let path = self.name(&opening.path, number);
            if path.exists() || packets::beside(&path).exists() {
                continue;
            }
            let (mode, keys) = (self.settings.mode, self.settings.keys.as_deref());
            let made = TapeFile::create_with(&path, layout, &info, mode, keys);
            match made {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Ok(file) => {
                    if let (Some(syncing), Some(folder)) = (&self.syncing, path.parent()) {
                        syncing.add(file.file(), folder.to_owned());
                    }
                    return Ok(file);
                }
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            format!("{NAMES} tapes of this name exist"),
        ))
    }

    fn name(&self, path: &str, number: u32) -> PathBuf {
        let suffix = if number == 0 { String::new() } else { format!("-{number}") };
        self.settings.root.join(format!("{path}{suffix}{}", self.settings.extension))
    }

    fn close(&self, tape: Option<Tape>, mut ending: Ending, scratch: &mut Scratch) {
        let Some(Tape { mut place, mut audio, rate, packets, packets_lost, ears, .. }) = tape
        else {
            return;
        };
        ending.packets_lost += packets_lost;
        let feed = self.feeds.get(ending.closing.tape);
        let mut over = matches!(place, Place::Over(_));
        let sink = &mut Outlets { file: place.file(), feed: feed.as_deref() };
        let digits = &mut ending.closing.digits;
        let last = || {
            let Some(mut ears) = ears else { return audio.finish(scratch, sink) };
            audio.finish(scratch, &mut ears.on(sink));
            digits.extend(ears.finish(&mut |tag| self.digit(tag)));
            digits.sort_by_key(|digit| digit.offset_ms);
        };
        if !over && catch_unwind(AssertUnwindSafe(last)).is_err() {
            *scratch = Scratch::default();
            self.fault(ending.closing.tape);
            over = true;
        }
        if let Some(feed) = feed {
            feed.close();
        }
        let heard = Heard {
            refused: audio.refused(),
            concealed_ms: audio.concealed_ms(),
            peaks: audio.peaks(),
        };
        let mut lost_frames = 0;
        let mut damage = None;
        let (file, error) = match place {
            Place::File(file) | Place::Over(Some(file)) => {
                lost_frames = file.lost_frames();
                self.counters.lost_frames.fetch_add(lost_frames, Ordering::Relaxed);
                let layout = Layout { rate, channels: self.settings.channels };
                let bytes = file.frames() * layout.frame_bytes();
                self.counters.bytes.fetch_add(bytes, Ordering::Relaxed);
                let file = file.close();
                if let Some(error) = &file.failed {
                    self.counters.write_failed.fetch_add(1, Ordering::Relaxed);
                    damage = Some(error.to_string());
                    tracing::error!(orkuid = %ending.closing.message.recid, path = %file.path.display(), lost_frames, %error, "a tape is not whole");
                }
                if over {
                    damage = Some(FAULT.to_owned());
                }
                (Some(file), None)
            }
            Place::Nowhere(error, _) => {
                lost_frames = audio.frames();
                self.counters.lost_frames.fetch_add(lost_frames, Ordering::Relaxed);
                self.counters.not_recorded.fetch_add(1, Ordering::Relaxed);
                (None, Some(error.to_string()))
            }
            Place::Over(None) => (None, Some(FAULT.to_owned())),
        };
        let packets = match packets {
            Beside::Open(packets) => Some(packets),
            Beside::Nothing | Beside::Refused => None,
        };
        let finish = Finish { file, packets, error, damage, ending, lost_frames, heard };
        if self.finish.send(Step::Closed(Box::new(finish))).is_err() {
            tracing::error!("the finishing thread is gone: a tape keeps its .part name");
        }
    }
}

/// The path of a tape below `root`, as messages name it.
#[must_use]
pub fn relative(root: &Path, path: &Path) -> String {
    path.strip_prefix(root).unwrap_or(path).to_string_lossy().into_owned()
}
