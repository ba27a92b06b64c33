//! The tape worker: one thread that owns the tapes given to it, from opening to closing.

use super::{
    ears::Ears,
    file::{ClosedTape, TapeFile},
    finish::{Finish, Heard, Step},
    ledger::Ledger,
    packets::{self, PacketFile},
    sidecar::Sidecars,
    wav::Layout,
};
use crate::{
    format::Labels,
    live::{Feeds, Outlets},
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
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender},
    },
};

/// Names tried when the wanted one is taken.
const NAMES: u32 = 100;

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
    /// Calendar of the date in the file.
    pub zone: TimeZone,
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
    /// Tapes that could not be created.
    pub open_failed: AtomicU64,
    /// Writes that failed; the tape ends there.
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
    /// Tapes that went through their processors.
    pub processed: AtomicU64,
    /// Tapes of which a processor failed; they are kept as they were recorded.
    pub process_failed: AtomicU64,
    /// Tapes that wait for processors or are with them, now.
    pub process_queued: AtomicU64,
    /// Time that processors took, in milliseconds.
    pub process_ms: AtomicU64,
}

struct Tape {
    audio: TapeAudio,
    rate: u32,
    file: Result<TapeFile, io::Error>,
    packets: Beside,
    /// What its packets are said to be.
    comment: String,
    /// Keys in its audio.
    ears: Option<Ears>,
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
        Self { decoders, settings, counters, finish, empties, feeds }
    }

    /// Works until nobody gives it jobs any more.
    pub fn run(&self, jobs: &Receiver<Vec<Job>>) {
        let mut tapes: HashMap<TapeId, Tape, RandomState> = HashMap::default();
        let mut scratch = Scratch::default();
        for batch in jobs {
            let mut empties = Vec::with_capacity(batch.len());
            for job in batch {
                match job {
                    Job::Open(opening) => {
                        let tape = self.open(&opening);
                        tapes.insert(opening.tape, tape);
                    }
                    Job::Audio(block) => {
                        if let Some(Tape { audio, file, ears, .. }) = tapes.get_mut(&block.tape) {
                            let feed = self.feeds.get(block.tape);
                            let file = file.as_mut().ok();
                            let sink = &mut Outlets { file, feed: feed.as_deref() };
                            let Block { news, bytes, until, .. } = &block;
                            match ears {
                                Some(ears) => {
                                    ears.learn(news);
                                    let mut sink = ears.on(sink);
                                    audio.handle_block(
                                        news,
                                        bytes,
                                        *until,
                                        &mut scratch,
                                        &mut sink,
                                    );
                                    ears.due(*until, &mut |tag| self.tag(tag));
                                }
                                None => {
                                    audio.handle_block(news, bytes, *until, &mut scratch, sink);
                                }
                            }
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
                        self.close(tape, *ending, &mut scratch);
                    }
                }
            }
            // A full channel only means that the engine has enough of them.
            drop(self.empties.try_send(empties));
        }
    }

    fn open(&self, opening: &Opening) -> Tape {
        let decoders = Arc::clone(&self.decoders);
        let audio = TapeAudio::with(opening.rate, self.settings.late_ms, decoders)
            .concealing(self.settings.conceal);
        let file = self.create(opening);
        if let Err(error) = &file {
            self.counters.open_failed.fetch_add(1, Ordering::Relaxed);
            let path = self.settings.root.join(&opening.path);
            tracing::error!(orkuid = %opening.orkuid, path = %path.display(), %error, "cannot create a tape: its audio is lost");
        }
        let Opening { orkuid, message, .. } = opening;
        let ears = self.settings.inband_dtmf.then(|| Ears::new(opening));
        let comment = format!("recording {orkuid}, call {}", message.nativecallid);
        Tape { audio, rate: opening.rate, file, packets: Beside::Nothing, comment, ears }
    }

    /// Tells of a key, in its turn before the tape is told of.
    fn tag(&self, tag: AddTag) {
        self.counters.inband_digits.fetch_add(1, Ordering::Relaxed);
        if self.finish.send(Step::Tagged(Box::new(tag))).is_err() {
            tracing::error!("the finishing thread is gone: a key is not told");
        }
    }

    fn keep(&self, tape: &mut Tape, block: &PacketBlock) {
        if let (Beside::Nothing, Ok(file)) = (&tape.packets, &tape.file) {
            let TapeSettings { mode, keys, .. } = &*self.settings;
            let (path, comment) = (file.path(), &tape.comment);
            tape.packets = match PacketFile::create_with(path, comment, *mode, keys.as_deref()) {
                Ok(packets) => Beside::Open(packets),
                Err(error) => {
                    let path = packets::beside(file.path());
                    tracing::error!(path = %path.display(), %error, "cannot keep the packets of a call");
                    Beside::Refused
                }
            };
        }
        let written = match &mut tape.packets {
            Beside::Open(packets) => packets.write(&block.bytes),
            Beside::Nothing | Beside::Refused => false,
        };
        if written {
            let bytes = u64::try_from(block.bytes.len()).unwrap_or(0);
            self.counters.packet_bytes.fetch_add(bytes, Ordering::Relaxed);
        } else {
            self.counters.packets_failed.fetch_add(block.packets, Ordering::Relaxed);
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
                made => return made,
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
        let Some(Tape { mut file, mut audio, rate, packets, ears, .. }) = tape else { return };
        let feed = self.feeds.get(ending.closing.tape);
        let sink = &mut Outlets { file: file.as_mut().ok(), feed: feed.as_deref() };
        if let Some(mut ears) = ears {
            audio.finish(scratch, &mut ears.on(sink));
            let digits = &mut ending.closing.digits;
            digits.extend(ears.finish(&mut |tag| self.tag(tag)));
            digits.sort_by_key(|digit| digit.offset_ms);
        } else {
            audio.finish(scratch, sink);
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
        let (file, error) = match file {
            Ok(file) => {
                lost_frames = file.lost_frames;
                self.counters.lost_frames.fetch_add(lost_frames, Ordering::Relaxed);
                let layout = Layout { rate, channels: self.settings.channels };
                let bytes = file.frames() * layout.frame_bytes();
                self.counters.bytes.fetch_add(bytes, Ordering::Relaxed);
                if let Some(error) = file.failure() {
                    self.counters.write_failed.fetch_add(1, Ordering::Relaxed);
                    tracing::error!(orkuid = %ending.closing.message.recid, path = %file.path().display(), lost_frames, %error, "a tape could not be written to its end");
                }
                (Some(file.close()), None)
            }
            Err(error) => {
                self.counters.lost_frames.fetch_add(audio.frames(), Ordering::Relaxed);
                (None::<ClosedTape>, Some(error.to_string()))
            }
        };
        let packets = match packets {
            Beside::Open(packets) => {
                if let Some(error) = packets.failure() {
                    tracing::error!(orkuid = %ending.closing.message.recid, %error, "packets of a call could not be written to their end");
                }
                Some(packets)
            }
            Beside::Nothing | Beside::Refused => None,
        };
        let finish = Finish { file, packets, error, ending, lost_frames, heard };
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
