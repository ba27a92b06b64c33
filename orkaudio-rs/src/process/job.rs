//! One tape through its processors.

use super::{
    command::{self, Failure},
    plan::{Plan, Step},
    pool::Shop,
    render::{Target, render},
};
use crate::{
    format::{Labels, WavReader},
    tape::{
        ledger::{self, Stored},
        packets,
        recover::same,
        worker::relative,
    },
};
use orkbase::{
    call::{
        naming::{NameFacts, Naming},
        party::Role,
        policy::Parties,
    },
    ids::OrkUid,
    message::tape::{KeepSide, Stage, TapeMessage},
    time::Timestamp,
};
use orkvault::{
    names,
    sealed::{self, Vessel},
};
use std::{
    collections::BTreeSet,
    fs::{self, File, OpenOptions},
    io,
    net::{IpAddr, Ipv4Addr},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    time::Duration,
};

/// Where files lie while they are made, below the folder that they belong to.
pub const FOLDER: &str = ".processing";
/// Names tried when the wanted one is taken.
const NAMES: u32 = 100;

/// Removes what a killed process was making below `root`: the tapes it was made of are still there.
pub fn clean(root: &Path) {
    let Ok(entries) = fs::read_dir(root.join(FOLDER)) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        let gone = match path.extension().and_then(|extension| extension.to_str()) {
            Some("tmp") => fs::remove_file(&path),
            Some("run") => fs::remove_dir_all(&path),
            _ => Ok(()),
        };
        if let Err(error) = gone {
            tracing::warn!(path = %path.display(), %error, "cannot remove an unfinished file");
        }
    }
}

/// Hears of a step, and of the percent of it that are done; says whether to go on.
pub(super) type Watch<'a> = dyn FnMut(Step, u64) -> bool + 'a;
/// Tells that a tape is ready, with its files and what they are; says whether that is stored.
pub(super) type Tell<'a> = dyn FnMut(&TapeMessage, &[String], &[Stored]) -> bool + 'a;

/// How a job ended.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum End {
    /// All done.
    Done,
    /// A processor failed; the tape was kept and told as it was recorded.
    Failed(String),
    /// The recorder stops, or `ready` could not be stored: the tape waits for the next start.
    Left,
}

/// A file that was made.
struct Made {
    /// Where it lies now.
    now: PathBuf,
    /// The folder it belongs below.
    root: PathBuf,
    /// What comes behind the name of the tape.
    suffix: String,
}

/// A tape on its way.
pub(super) struct Job<'a> {
    shop: &'a Shop,
    plan: &'a Plan,
    part: PathBuf,
    message: TapeMessage,
    /// Of this job alone.
    number: u64,
    made: Vec<Made>,
    told: bool,
    /// Finished files, once they have their names.
    files: Vec<PathBuf>,
}

impl<'a> Job<'a> {
    pub(super) fn new(shop: &'a Shop, part: PathBuf, message: TapeMessage, number: u64) -> Self {
        let (made, files) = (Vec::new(), Vec::new());
        Self { shop, plan: &shop.plan, part, message, number, made, told: false, files }
    }

    /// Does all there is to do.
    pub(super) fn run(mut self, watch: &mut Watch<'_>, tell: &mut Tell<'_>) -> End {
        for step in &self.plan.steps {
            if !watch(*step, 0) {
                self.drop_made();
                return End::Left;
            }
            let done = match step {
                // What they ask for is heard when the tape is transcoded.
                Step::Gain | Step::KeepSide => Ok(()),
                Step::Transcode => {
                    let mut go_on = |percent| watch(Step::Transcode, percent);
                    // Encoders are not ours: one that panics has failed, like any other.
                    let done = catch_unwind(AssertUnwindSafe(|| self.transcode(&mut go_on)));
                    done.unwrap_or_else(|_| Err(Failure::Failed("the encoder panicked".to_owned())))
                }
                Step::Rename => self.rename().map_err(Failure::from),
                Step::Command => self.command(&mut || watch(Step::Command, 0)),
                Step::Report => match self.report(tell) {
                    Ok(true) => Ok(()),
                    Ok(false) => Err(Failure::Stopped),
                    Err(error) => Err(error.into()),
                },
            };
            match done {
                Ok(()) => {}
                Err(Failure::Stopped) => {
                    self.drop_made();
                    return End::Left;
                }
                Err(Failure::Failed(why)) => {
                    return self.keep_as_recorded(&format!("{}: {why}", step.as_str()), tell);
                }
            }
        }
        self.forget_part();
        End::Done
    }

    /// The tape's path without what it ends in.
    fn stem(&self) -> PathBuf {
        let mut finished = self.part.with_extension("");
        if names::is_sealed(&finished) {
            finished.set_extension("");
        }
        let text = finished.to_string_lossy();
        match text.strip_suffix(self.plan.extension().as_str()) {
            Some(stem) => PathBuf::from(stem),
            // Made under another configuration.
            None => finished.with_extension(""),
        }
    }

    /// What the name of the part has before `.part`: it is sealed as it was recorded.
    fn finished_extension(&self) -> String {
        let mut extension = self.plan.extension();
        if names::is_sealed(&self.part.with_extension("")) {
            extension.push('.');
            extension.push_str(sealed::EXTENSION);
        }
        extension
    }

    fn scratch(&self, root: &Path, what: &str) -> io::Result<PathBuf> {
        let folder = root.join(FOLDER);
        fs::create_dir_all(&folder)?;
        Ok(folder.join(format!("{}-{}-{}", std::process::id(), self.number, what)))
    }

    fn create(&self, path: &Path) -> io::Result<Vessel> {
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(true);
        let file = options.mode(self.shop.mode).open(path)?;
        Vessel::create(file, self.shop.keys.as_deref())
    }

    /// What stands behind the names of files that are made.
    fn sealed(&self) -> String {
        self.shop.keys.as_ref().map(|_| format!(".{}", sealed::EXTENSION)).unwrap_or_default()
    }

    /// What stands behind the name of the tape as it was recorded.
    fn plain_extension(&self) -> String {
        let recorded = self.part.with_extension("");
        if names::is_sealed(&recorded) {
            format!(".wav.{}", sealed::EXTENSION)
        } else {
            ".wav".to_owned()
        }
    }

    fn transcode(&mut self, go_on: &mut dyn FnMut(u64) -> bool) -> Result<(), Failure> {
        let (plan, sound) = (self.plan, self.plan.sound());
        let mut reader = WavReader::open_with(&self.part, self.shop.keys.as_deref())?;
        let date = reader.labels().date;
        self.message.side = match sound.keep {
            KeepSide::Both | KeepSide::None | KeepSide::Invalid => self.message.side,
            side @ (KeepSide::Local | KeepSide::Remote) => side,
        };
        let copy = &plan.output.copy_folder;
        let mut wanted = vec![(self.shop.root.clone(), plan.output.format)];
        if !copy.as_os_str().is_empty() {
            wanted.push((copy.clone(), plan.output.copy_format));
        }
        let split = sound.channels == super::Channels::Split;
        let mut targets = Vec::new();
        for (number, (root, format)) in wanted.into_iter().enumerate() {
            for side in sound.files() {
                let word = side.filter(|_| split).map(|side| format!(".{}", side.as_str()));
                let (word, sealed) = (word.unwrap_or_default(), self.sealed());
                let suffix = format!("{word}.{}{sealed}", format.extension());
                let now = self.scratch(&root, &format!("{number}{suffix}.tmp"))?;
                let file = self.create(&now)?;
                self.made.push(Made { now, root: root.clone(), suffix });
                let bitrate_kbps = plan.output.bitrate_kbps;
                targets.push(Target { file, format, side, bitrate_kbps });
            }
        }
        self.message.filename = self.name_of_first();
        let labels = Labels::of(&self.message, &date);
        match render(&mut reader, &labels, sound, targets, go_on) {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(Failure::Stopped),
            Err(error) => Err(error.into()),
        }
    }

    /// The finished name of the first file, for its labels; a later step may still change it.
    fn name_of_first(&self) -> String {
        let made = self.made.first().map(|made| made.suffix.clone());
        let suffix = made.unwrap_or_else(|| self.plain_extension());
        relative(&self.shop.root, &with_suffix(&self.stem(), &suffix))
    }

    /// Moves the part to the wanted name, which it holds from then on.
    fn rename(&mut self) -> io::Result<()> {
        let naming = Naming::parse(&self.plan.output.rename).unwrap_or_default();
        let wanted = self.shop.root.join(path_of(&self.message, &naming, self.shop));
        let own = self.stem();
        for number in 0..NAMES {
            let suffix = if number == 0 { String::new() } else { format!("-{number}") };
            let stem = with_suffix(&wanted, &suffix);
            let finished = with_suffix(&stem, &self.finished_extension());
            if stem == own {
                return packets::follow(&mut self.message, &self.shop.root, &finished);
            }
            let part = crate::tape::file::part_of(&finished);
            if finished.exists() || part.exists() || packets::beside(&finished).exists() {
                continue;
            }
            let folder = part.parent().unwrap_or(&part);
            fs::create_dir_all(folder)?;
            match fs::hard_link(&self.part, &part) {
                Ok(()) => fs::remove_file(&self.part)?,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                // A file system without links.
                Err(_) => fs::rename(&self.part, &part)?,
            }
            if self.shop.sync {
                File::open(folder)?.sync_all()?;
            }
            self.part = part;
            return packets::follow(&mut self.message, &self.shop.root, &finished);
        }
        Err(io::Error::other(format!("{NAMES} tapes of this name exist")))
    }

    fn command(&mut self, go_on: &mut dyn FnMut() -> bool) -> Result<(), Failure> {
        let (plan, shop) = (self.plan, self.shop);
        let folder = self.scratch(&shop.root, "command.run")?;
        let done = self.command_in(&folder, go_on, plan);
        if let Err(error) = fs::remove_dir_all(&folder) {
            tracing::warn!(folder = %folder.display(), %error, "cannot remove a command's folder");
        }
        done
    }

    fn command_in(
        &mut self,
        folder: &Path,
        go_on: &mut dyn FnMut() -> bool,
        plan: &Plan,
    ) -> Result<(), Failure> {
        let output = &plan.output;
        let first = self.files.first().map(PathBuf::as_path);
        let source = first.or_else(|| self.made.first().map(|made| made.now.as_path()));
        let source = source.unwrap_or(&self.part);
        let input = format!("in.{}", output.format.extension());
        let result = format!("out.{}", plan.file_extension());
        fs::DirBuilder::new().create(folder)?;
        fs::set_permissions(folder, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
        fs::copy(source, folder.join(&input))?;
        if let Some(user) = plan.user {
            for path in [folder.join(&input), folder.to_owned()] {
                std::os::unix::fs::chown(path, Some(user.uid), Some(user.gid))?;
            }
        }
        let words = [
            ("[IN]", input.as_str()),
            ("[OUT]", result.as_str()),
            ("[ORKUID]", self.message.recid.as_str()),
        ];
        let limit = Duration::from_secs(output.command_timeout_s);
        command::run(&output.command, &words, folder, plan.user, limit, go_on)?;
        if output.command.iter().any(|word| word.contains("[OUT]")) {
            self.take(&folder.join(&result))?;
        }
        Ok(())
    }

    /// Takes what a command wrote in place of the first file.
    fn take(&mut self, path: &Path) -> Result<(), Failure> {
        let failed = |why: String| Failure::Failed(format!("[OUT]: {why}"));
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
        let open = OpenOptions::new().read(true).custom_flags(flags).open(path);
        let mut from = open.map_err(|error| failed(error.to_string()))?;
        let told = from.metadata()?;
        if !told.is_file() || told.len() == 0 || told.nlink() != 1 {
            return Err(failed("no file with something in it".to_owned()));
        }
        let now = self.scratch(&self.shop.root, "command.tmp")?;
        let mut to = self.create(&now)?;
        let made = Made { now, root: self.shop.root.clone(), suffix: self.plan.extension() };
        // Noted before it is filled, so that it is removed if that fails.
        if let Some(first) = self.made.first_mut() {
            let old = std::mem::replace(first, made);
            fs::remove_file(old.now)?;
        } else {
            self.made.push(made);
        }
        io::copy(&mut from, &mut to)?;
        Ok(())
    }

    /// Gives the files their names and tells of them; false when that could not be stored.
    fn report(&mut self, tell: &mut Tell<'_>) -> io::Result<bool> {
        let stem = self.stem();
        let mut folders = BTreeSet::new();
        let mut files = Vec::new();
        for made in &self.made {
            let below = stem.strip_prefix(&self.shop.root).unwrap_or(&stem);
            let path = with_suffix(&made.root.join(below), &made.suffix);
            let folder = path.parent().unwrap_or(&path);
            fs::create_dir_all(folder)?;
            if self.shop.sync {
                File::open(&made.now)?.sync_data()?;
            }
            fs::rename(&made.now, &path)?;
            folders.extend(
                folder.ancestors().take_while(|a| a.starts_with(&made.root)).map(Path::to_owned),
            );
            files.push(path);
        }
        let nothing_made = self.made.is_empty();
        self.made.clear();
        if nothing_made || self.plan.output.keep_original {
            let own = self.plain_extension();
            let plain = with_suffix(&stem, &own);
            let path = if files.contains(&plain) {
                with_suffix(&stem, &format!(".original{own}"))
            } else {
                plain
            };
            self.link_part(&path)?;
            folders.extend(path.parent().map(Path::to_owned));
            files.push(path);
        }
        if self.shop.sync {
            for folder in folders {
                File::open(folder)?.sync_all()?;
            }
        }
        let names: Vec<String> = files.iter().map(|file| relative(&self.shop.root, file)).collect();
        self.files = files;
        self.told = true;
        Ok(self.tell(names, tell))
    }

    /// Gives the tape as recorded a final name too.
    fn link_part(&self, path: &Path) -> io::Result<()> {
        match fs::hard_link(&self.part, path) {
            Ok(()) => Ok(()),
            // From a start that was killed here.
            Err(_) if same(&self.part, path) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(error),
            // A file system without links.
            Err(_) => fs::rename(&self.part, path),
        }
    }

    fn tell(&mut self, names: Vec<String>, tell: &mut Tell<'_>) -> bool {
        self.message.stage = Stage::Ready;
        self.message.filename = names.first().cloned().unwrap_or_default();
        let stored = match self.shop.ledger {
            Some(_) => ledger::stored(&self.shop.root, &names, &self.message),
            None => Vec::new(),
        };
        ledger::tag(&mut self.message, &stored);
        tell(&self.message, &names, &stored)
    }

    /// A processor failed: the tape stays as it was recorded, and says so.
    fn keep_as_recorded(mut self, why: &str, tell: &mut Tell<'_>) -> End {
        self.drop_made();
        if self.told {
            self.forget_part();
            return End::Failed(why.to_owned());
        }
        self.message.tags.insert("processing".to_owned(), format!("failed: {why}"));
        self.message.side = KeepSide::Both;
        let stem = self.stem();
        for number in 0..NAMES {
            let own = self.plain_extension();
            let suffix = if number == 0 { own } else { format!("-{number}{own}") };
            let path = with_suffix(&stem, &suffix);
            match self.link_part(&path) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(error) => {
                    tracing::error!(part = %self.part.display(), %error, "cannot name a tape: it waits for the next start");
                    return End::Left;
                }
            }
            let folder = path.parent().unwrap_or(&path);
            if self.shop.sync
                && let Err(error) = File::open(folder).and_then(|folder| folder.sync_all())
            {
                tracing::error!(%error, "cannot sync a folder: the tape waits for the next start");
                return End::Left;
            }
            let name = relative(&self.shop.root, &path);
            if !self.tell(vec![name], tell) {
                return End::Left;
            }
            self.forget_part();
            return End::Failed(why.to_owned());
        }
        End::Left
    }

    /// The recording has its files, and whoever is told has stored that.
    fn forget_part(&self) {
        match fs::remove_file(&self.part) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                tracing::error!(part = %self.part.display(), %error, "cannot remove a processed tape");
            }
        }
    }

    fn drop_made(&mut self) {
        for made in self.made.drain(..) {
            if let Err(error) = fs::remove_file(&made.now) {
                tracing::warn!(path = %made.now.display(), %error, "cannot remove an unfinished file");
            }
        }
    }
}

/// `path` with a text behind it.
fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Where a recording belongs by a pattern, as it is known at its end.
fn path_of(message: &TapeMessage, naming: &Naming, shop: &Shop) -> String {
    let address = |text: &str| text.parse().unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    let parties = Parties {
        local: message.localparty.clone(),
        remote: message.remoteparty.clone(),
        entry_point: message.localentrypoint.clone(),
        direction: message.direction,
        local_role: Role::Caller,
        local_ip: address(&message.localip),
        remote_ip: address(&message.remoteip),
        because: "",
    };
    let start = Timestamp(message.timestamp.saturating_mul(1_000_000_000));
    let Some(orkuid) = OrkUid::parse(&message.recid) else { return message.recid.clone() };
    let tracking_id = orkuid.as_str().split('_').nth(2).unwrap_or_default();
    let facts = NameFacts {
        orkuid: &orkuid,
        tracking_id,
        native_call_id: &message.nativecallid,
        parties: &parties,
        hostname: &message.hostname,
        start,
    };
    naming.path(&facts, &shop.zone)
}
