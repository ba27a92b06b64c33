//! `importtape`: a recording made elsewhere becomes one of ours.
//!
//! Law: only regular files below the folders of the configuration are read, and no symbolic link is
//! followed on the way. The file itself stays as it is. What is made of it goes the way of any tape:
//! `.part`, processors, `ready`.

mod wav;

use crate::{
    format::Labels,
    http::Import,
    tape::{
        closed,
        file::TapeFile,
        finish::Report,
        ledger::{self, Ledger},
        recover::Recovered,
        wav::Layout,
        worker::relative,
    },
};
use jiff::tz::TimeZone;
use orkbase::{
    audio::{resample::Resampler, tape::PcmSink as _},
    call::{
        naming::{NameFacts, Naming},
        party::Role,
        policy::Parties,
        recording::HostFacts,
    },
    ids::{OrkUid, TrackingIds},
    message::tape::{KeepSide, Stage, TapeMessage},
    time::Timestamp,
};
use orkvault::keys::KeyRing;
use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    net::{IpAddr, Ipv4Addr},
    path::{Component, Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, TryLockError},
};
use thiserror::Error;
use wav::Wav;

/// Names tried when the wanted one is taken.
const NAMES: u32 = 100;
/// Rates a tape may have.
const RATES: [u32; 5] = [8_000, 16_000, 24_000, 32_000, 48_000];

/// Why a recording is not imported.
#[derive(Debug, Error)]
pub enum ImportError {
    /// Screens.
    #[error("mediatype must be A: only audio is imported")]
    MediaType,
    /// No folder is configured, or the file is not below one.
    #[error(
        "the file is not below a folder of doors.import_folders, or a symbolic link leads to it"
    )]
    Outside,
    /// One at a time.
    #[error("another import is under way; try again")]
    Busy,
    /// A file that cannot be read, or is none of ours to read.
    #[error("cannot read the file: {0}")]
    Read(io::Error),
    /// No tape could be made.
    #[error("cannot write the recording: {0}")]
    Write(io::Error),
}

/// What is told of a tape that needs no processor; true once that is stored.
type Tell = Box<dyn Fn(&Report) -> bool + Send + Sync>;
/// Gives a tape to the processors.
type Process = Box<dyn Fn(PathBuf) -> bool + Send + Sync>;

/// Makes recordings of files.
pub struct Importer {
    /// Files may lie below these.
    pub folders: Vec<PathBuf>,
    /// The audio folder.
    pub root: PathBuf,
    /// Where tapes lie below it.
    pub naming: Naming,
    /// Calendar of names.
    pub zone: TimeZone,
    /// What messages say of this host.
    pub host: HostFacts,
    /// Permissions of new files.
    pub mode: u32,
    /// Bytes and names are forced to the disk.
    pub sync: bool,
    /// Names.
    pub ids: Mutex<TrackingIds>,
    /// Whether a recording of this name is known.
    pub known: Box<dyn Fn(&str) -> bool + Send + Sync>,
    /// Without processors.
    pub tell: Tell,
    /// What becomes of recordings is written down.
    pub ledger: Option<Arc<Ledger>>,
    /// What recordings are sealed with.
    pub keys: Option<Arc<KeyRing>>,
    /// With them; `None` when there is nothing for them to do.
    pub process: Option<Process>,
}

impl std::fmt::Debug for Importer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Importer").field("folders", &self.folders).finish_non_exhaustive()
    }
}

impl Importer {
    /// Makes a recording; gives its name. It waits for its processors, if there are any.
    ///
    /// # Errors
    /// Why there is none.
    pub fn run(&self, import: &Import) -> Result<OrkUid, ImportError> {
        if !import.mediatype.is_empty() && !import.mediatype.eq_ignore_ascii_case("A") {
            return Err(ImportError::MediaType);
        }
        let file = self.open(&import.url)?;
        let told = file.metadata().map_err(ImportError::Read)?;
        if !told.is_file() {
            let why = io::Error::new(io::ErrorKind::InvalidInput, "not a regular file");
            return Err(ImportError::Read(why));
        }
        // One at a time: the disk belongs to the calls.
        let mut ids = match self.ids.try_lock() {
            Ok(ids) => ids,
            Err(TryLockError::Poisoned(poisoned)) => PoisonError::into_inner(poisoned),
            Err(TryLockError::WouldBlock) => return Err(ImportError::Busy),
        };
        let mut wav = Wav::open(file, told.len()).map_err(ImportError::Read)?;
        let mut message = self.message(import, &mut ids);
        let (tape, stem) = self.create(&mut message, &wav)?;
        let done = self.fill(&mut wav, tape, import, &mut message);
        let (part, path) = match done {
            Ok(done) => done,
            Err(error) => {
                let part = crate::tape::file::part_of(&stem);
                if let Err(error) = fs::remove_file(&part) {
                    tracing::warn!(part = %part.display(), %error, "cannot remove an unfinished import");
                }
                return Err(error);
            }
        };
        let orkuid = OrkUid::parse(&message.recid);
        self.hand_on(part, &path, message)?;
        orkuid.ok_or_else(|| ImportError::Write(io::Error::other("a name that is none")))
    }

    /// Opens a file below one of the folders.
    fn open(&self, url: &str) -> Result<File, ImportError> {
        let path = Path::new(url.strip_prefix("file://").unwrap_or(url));
        for folder in &self.folders {
            let Ok(below) = path.strip_prefix(folder) else { continue };
            let plain = below.components().all(|part| matches!(part, Component::Normal(_)));
            if !plain || below.as_os_str().is_empty() {
                continue;
            }
            let root = File::open(folder).map_err(ImportError::Read)?;
            let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
            let within =
                ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
            return match openat2(&root, below, flags, Mode::empty(), within) {
                Ok(file) => Ok(File::from(file)),
                Err(rustix::io::Errno::LOOP | rustix::io::Errno::XDEV) => Err(ImportError::Outside),
                Err(error) => Err(ImportError::Read(error.into())),
            };
        }
        Err(ImportError::Outside)
    }

    fn message(&self, import: &Import, ids: &mut TrackingIds) -> TapeMessage {
        let start = Timestamp(import.timestamp.saturating_mul(1_000_000_000));
        let nowhere = IpAddr::V4(Ipv4Addr::UNSPECIFIED).to_string();
        let mut id = ids.next_id();
        for _ in 0..NAMES {
            if !(self.known)(OrkUid::new(start, &self.zone, id).as_str()) {
                break;
            }
            id = ids.next_id();
        }
        TapeMessage {
            recid: OrkUid::new(start, &self.zone, id).to_string(),
            stage: Stage::Ready,
            captureport: id.to_string(),
            timestamp: import.timestamp,
            filename: String::new(),
            localparty: import.localparty.clone(),
            localentrypoint: String::new(),
            remoteparty: import.remoteparty.clone(),
            direction: import.direction,
            duration: import.duration,
            service: self.host.service.clone(),
            localip: nowhere.clone(),
            remoteip: nowhere,
            nativecallid: import.nativecallid.clone(),
            tags: BTreeMap::from([("imported".to_owned(), "true".to_owned())]),
            ondemand: false,
            side: KeepSide::Both,
            live: false,
            hostname: self.host.hostname.clone(),
        }
    }

    /// Where it belongs below the audio folder, without extension.
    fn path(&self, message: &TapeMessage) -> String {
        let Some(orkuid) = OrkUid::parse(&message.recid) else { return message.recid.clone() };
        let nowhere = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let parties = Parties {
            local: message.localparty.clone(),
            remote: message.remoteparty.clone(),
            entry_point: String::new(),
            direction: message.direction,
            local_role: Role::Caller,
            local_ip: nowhere,
            remote_ip: nowhere,
            because: "",
        };
        let facts = NameFacts {
            orkuid: &orkuid,
            tracking_id: &message.captureport,
            native_call_id: &message.nativecallid,
            parties: &parties,
            hostname: &message.hostname,
            start: Timestamp(message.timestamp.saturating_mul(1_000_000_000)),
        };
        self.naming.path(&facts, &self.zone)
    }

    fn create(
        &self,
        message: &mut TapeMessage,
        wav: &Wav<File>,
    ) -> Result<(TapeFile, PathBuf), ImportError> {
        let start = Timestamp(message.timestamp.saturating_mul(1_000_000_000));
        let date = start.to_zoned(&self.zone).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string();
        let layout = Layout { rate: rate_of(wav.rate), channels: wav.channels };
        let stem = self.path(message);
        for number in 0..NAMES {
            let suffix = if number == 0 { String::new() } else { format!("-{number}") };
            let path = self.root.join(format!("{stem}{suffix}{}", self.host.extension));
            if path.exists() {
                continue;
            }
            message.filename = relative(&self.root, &path);
            let labels = Labels::of(message, &date);
            match TapeFile::create_with(
                &path,
                layout,
                &labels.info(),
                self.mode,
                self.keys.as_deref(),
            ) {
                Ok(tape) => return Ok((tape, path)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(ImportError::Write(error)),
            }
        }
        Err(ImportError::Write(io::Error::other(format!("{NAMES} tapes of this name exist"))))
    }

    /// Copies the samples; gives the part and the name it is to have.
    fn fill(
        &self,
        wav: &mut Wav<File>,
        mut tape: TapeFile,
        import: &Import,
        message: &mut TapeMessage,
    ) -> Result<(PathBuf, PathBuf), ImportError> {
        let rate = rate_of(wav.rate);
        let width = usize::from(wav.channels);
        let mut resamplers: Vec<Option<Resampler>> =
            (0..width).map(|_| Resampler::new(wav.rate, rate)).collect();
        let (mut block, mut sides, mut at) = (Vec::new(), [Vec::new(), Vec::new()], 0u64);
        let mut one = Vec::new();
        loop {
            wav.read(&mut block).map_err(ImportError::Read)?;
            let end = block.is_empty();
            for (channel, (side, resampler)) in sides.iter_mut().zip(&mut resamplers).enumerate() {
                side.clear();
                one.clear();
                one.extend(block.iter().skip(channel).step_by(width));
                match resampler {
                    None => side.append(&mut one),
                    Some(resampler) if end => resampler.flush(side),
                    Some(resampler) => resampler.process(&one, side),
                }
            }
            let [left, right] = &sides;
            let right = right.iter().copied().chain(std::iter::repeat(0));
            let frames: Vec<[i16; 2]> =
                left.iter().copied().zip(right).map(<[i16; 2]>::from).collect();
            tape.write(at, &frames);
            at += u64::try_from(frames.len()).unwrap_or(0);
            if end {
                break;
            }
        }
        if at == 0 {
            let why = io::Error::new(io::ErrorKind::InvalidData, "a WAV file without samples");
            return Err(ImportError::Read(why));
        }
        if import.duration == 0 {
            message.duration = at / u64::from(rate);
        }
        let mut closed = tape.close();
        if let Some(error) = closed.failed {
            return Err(ImportError::Write(error));
        }
        if self.process.is_some() {
            closed::mark(&mut closed, message).map_err(ImportError::Write)?;
        }
        closed.file.close().map_err(ImportError::Write)?;
        if self.sync {
            closed.file.sync_data().map_err(ImportError::Write)?;
        }
        Ok((closed.part(), closed.path))
    }

    /// To the processors, or to its name and to whoever is told.
    fn hand_on(
        &self,
        part: PathBuf,
        path: &Path,
        mut message: TapeMessage,
    ) -> Result<(), ImportError> {
        if let Some(process) = &self.process {
            let given = process(part);
            let why = || io::Error::other("it is processed after the next start");
            return given.then_some(()).ok_or_else(|| ImportError::Write(why()));
        }
        fs::rename(&part, path).map_err(ImportError::Write)?;
        if self.sync
            && let Some(folder) = path.parent()
        {
            File::open(folder).and_then(|folder| folder.sync_all()).map_err(ImportError::Write)?;
        }
        let duration_ms = message.duration.saturating_mul(1_000);
        let name = relative(&self.root, path);
        if let Some(ledger) = &self.ledger {
            let stored = ledger::stored(&self.root, std::slice::from_ref(&name), &message);
            if let Some(file) = stored.first() {
                message.tags.insert(ledger::TAG.to_owned(), file.digest.sha256.to_string());
            }
            ledger.recovered(&message, duration_ms, &stored);
        }
        let recovered = Recovered { message, duration_ms, path: name };
        if !(self.tell)(&Report::Recovered(Box::new(recovered))) {
            tracing::warn!("an imported recording is told of at the next start");
        }
        Ok(())
    }
}

/// The rate itself if a tape may have it, otherwise the next one up.
fn rate_of(rate: u32) -> u32 {
    RATES.into_iter().find(|known| *known >= rate).unwrap_or(48_000)
}

#[cfg(test)]
mod tests;
