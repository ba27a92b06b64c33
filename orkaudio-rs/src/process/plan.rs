//! `[output]`: what the operator wants done, and what that comes to.

use super::{command::User, render::Sound};
use crate::format::Format;
use orkbase::message::tape::KeepSide;
use std::{os::unix::fs::PermissionsExt as _, path::PathBuf};

/// A processor.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Step {
    /// Makes both sides, or one of them, louder or softer.
    Gain,
    /// Leaves one side only.
    KeepSide,
    /// Writes the audio in the wanted formats and layout.
    Transcode,
    /// Gives the recording another name.
    Rename,
    /// Starts a program.
    Command,
    /// Gives the files their names and tells `ready`.
    Report,
}

impl Step {
    /// Every processor, in the order that is the default.
    pub const ALL: [Self; 6] =
        [Self::Gain, Self::KeepSide, Self::Transcode, Self::Rename, Self::Command, Self::Report];

    /// Its name in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gain => "gain",
            Self::KeepSide => "keep_side",
            Self::Transcode => "transcode",
            Self::Rename => "rename",
            Self::Command => "command",
            Self::Report => "report",
        }
    }

    /// Reads the name.
    #[must_use]
    pub fn read(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|step| step.as_str() == name)
    }
}

/// How both sides lie in files.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Channels {
    /// As recorded: left local, right remote.
    #[default]
    Stereo,
    /// Mixed to one channel.
    Mono,
    /// A file for each side.
    Split,
}

impl Channels {
    /// Every layout.
    pub const ALL: [Self; 3] = [Self::Stereo, Self::Mono, Self::Split];

    /// Its name in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stereo => "stereo",
            Self::Mono => "mono",
            Self::Split => "split",
        }
    }

    /// Reads the name.
    #[must_use]
    pub fn read(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|channels| channels.as_str() == name)
    }
}

/// `[output]`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Output {
    /// What finished tapes are.
    pub format: Format,
    /// How both sides lie in them.
    pub channels: Channels,
    /// Kilobits a second for all channels of Opus and MP3; 0 is what suits.
    pub bitrate_kbps: u32,
    /// Keep the tape as recorded too.
    pub keep_original: bool,
    /// A second copy is written below this folder; empty for none.
    pub copy_folder: PathBuf,
    /// What the second copy is.
    pub copy_format: Format,
    /// The processors, in order.
    pub processors: Vec<Step>,
    /// Decibels for both sides.
    pub gain_db: i32,
    /// Decibels for the local side, added to that.
    pub gain_local_db: i32,
    /// Decibels for the remote side, added to that.
    pub gain_remote_db: i32,
    /// Which sides are kept.
    pub keep_side: KeepSide,
    /// Naming pattern of finished tapes; empty leaves the name.
    pub rename: String,
    /// A program and its arguments; empty for none.
    pub command: Vec<String>,
    /// Extension of what it writes, without the dot; empty is that of `format`.
    pub command_extension: String,
    /// It is killed after so many seconds.
    pub command_timeout_s: u64,
    /// Who runs it if we are root.
    pub command_user: String,
    /// Threads that process.
    pub workers: usize,
}

impl Default for Output {
    fn default() -> Self {
        Self {
            format: Format::Pcm,
            channels: Channels::Stereo,
            bitrate_kbps: 0,
            keep_original: false,
            copy_folder: PathBuf::new(),
            copy_format: Format::Pcm,
            processors: Step::ALL.to_vec(),
            gain_db: 0,
            gain_local_db: 0,
            gain_remote_db: 0,
            keep_side: KeepSide::Both,
            rename: String::new(),
            command: Vec::new(),
            command_extension: String::new(),
            command_timeout_s: 60,
            command_user: "nobody".to_owned(),
            workers: 1,
        }
    }
}

impl Output {
    fn gains(&self) -> [i32; 2] {
        [self.gain_db + self.gain_local_db, self.gain_db + self.gain_remote_db]
    }

    /// Whether the command writes a file that takes the tape's place.
    fn command_writes(&self) -> bool {
        self.command.iter().any(|word| word.contains("[OUT]"))
    }

    /// Whether a processor has something to do.
    fn wants(&self, step: Step) -> bool {
        match step {
            Step::Gain => self.gains() != [0, 0],
            Step::KeepSide => self.keep_side != KeepSide::Both,
            Step::Transcode => {
                self.format != Format::Pcm
                    || self.channels != Channels::Stereo
                    || !self.copy_folder.as_os_str().is_empty()
                    || self.wants(Step::Gain)
                    || self.wants(Step::KeepSide)
            }
            Step::Rename => !self.rename.is_empty(),
            Step::Command => !self.command.is_empty(),
            Step::Report => false,
        }
    }

    /// Whether all that is wanted is one channel: then it is recorded so.
    #[must_use]
    pub fn only_mixes(&self) -> bool {
        let plain = Self { channels: Channels::Stereo, ..self.clone() };
        self.channels == Channels::Mono && !Step::ALL.into_iter().any(|step| plain.wants(step))
    }

    /// What does not fit together: the key that is to blame, and what to do. `stereo` tells how
    /// tapes are recorded.
    #[must_use]
    pub fn mistakes(&self, stereo: bool) -> Vec<(&'static str, String)> {
        let mut wrong = Vec::new();
        let at = |step| self.processors.iter().position(|other| *other == step);
        for step in Step::ALL {
            if self.wants(step) && at(step).is_none() {
                let name = step.as_str();
                let why = format!("leave \"{name}\" in the list, as other settings ask for it");
                wrong.push(("output.processors", why));
            }
        }
        let transcode = at(Step::Transcode).unwrap_or(usize::MAX);
        for step in [Step::Gain, Step::KeepSide] {
            if at(step).is_some_and(|at| at > transcode) {
                let why = format!("put \"{}\" before \"transcode\"", step.as_str());
                wrong.push(("output.processors", why));
            }
        }
        let report = at(Step::Report).unwrap_or(usize::MAX);
        for step in [Step::Transcode, Step::Rename] {
            if at(step).is_some_and(|at| at > report) {
                let why = format!("put \"{}\" before \"report\"", step.as_str());
                wrong.push(("output.processors", why));
            }
        }
        if self.command_writes() && at(Step::Command).is_some_and(|at| at > report) {
            let why = "put \"command\" before \"report\", as it writes [OUT]".to_owned();
            wrong.push(("output.processors", why));
        }
        if !stereo {
            let sides = [
                (self.channels == Channels::Split, "output.channels"),
                (self.keep_side != KeepSide::Both, "output.keep_side"),
                (self.gain_local_db != 0, "output.gain_local_db"),
                (self.gain_remote_db != 0, "output.gain_remote_db"),
            ];
            for (asked, key) in sides {
                if asked {
                    let why = "both sides are needed for this; give tapes.stereo = true";
                    wrong.push((key, why.to_owned()));
                }
            }
        }
        let one_channel =
            !stereo || self.channels != Channels::Stereo || self.keep_side != KeepSide::Both;
        let copies = !self.copy_folder.as_os_str().is_empty();
        let written = [
            (self.format, "output.format", true),
            (self.copy_format, "output.copy_format", copies),
        ];
        for (format, key, used) in written {
            if !used {
                continue;
            }
            if !format.holds_stereo() && !one_channel {
                let why = format!(
                    "{} holds one channel; give output.channels = \"mono\" or \"split\"",
                    format.as_str()
                );
                wrong.push((key, why));
            }
            if let Err(why) = format.writer() {
                let why = format!("{} cannot be written on this machine: {why}", format.as_str());
                wrong.push((key, why));
            }
            if let (Some((least, most)), 1..) = (format.bitrates(), self.bitrate_kbps)
                && !(least..=most).contains(&self.bitrate_kbps)
            {
                let name = format.as_str();
                let why = format!("for {name}, give 0 or a number from {least} to {most}");
                wrong.push(("output.bitrate_kbps", why));
            }
        }
        self.command_mistakes(&mut wrong);
        wrong
    }

    fn command_mistakes(&self, wrong: &mut Vec<(&'static str, String)>) {
        let Some(program) = self.command.first() else { return };
        let file = std::fs::metadata(program);
        let runs = file.is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0);
        if !program.starts_with('/') || !runs {
            let why = format!("\"{program}\" is no program; give its whole path");
            wrong.push(("output.command", why));
        }
        if let Err(why) = User::of_command(&self.command_user) {
            wrong.push(("output.command_user", why));
        }
    }
}

/// What is done to each tape.
#[derive(Clone, Debug)]
pub struct Plan {
    /// As the operator wants it.
    pub output: Output,
    /// The processors that have something to do, and `report`.
    pub steps: Vec<Step>,
    /// Who runs the command.
    pub user: Option<User>,
}

impl Plan {
    /// What there is to do; `None` when a tape as recorded is what is wanted.
    #[must_use]
    pub fn of(output: &Output) -> Option<Self> {
        if output.only_mixes() {
            return None;
        }
        let mut steps: Vec<Step> = output.processors.clone();
        steps.retain(|step| *step == Step::Report || output.wants(*step));
        if steps.iter().all(|step| *step == Step::Report) {
            return None;
        }
        if !steps.contains(&Step::Report) {
            steps.push(Step::Report);
        }
        let user = User::of_command(&output.command_user).ok().flatten();
        Some(Self { output: output.clone(), steps, user })
    }

    /// What `gain` and `keep_side` leave to be written.
    #[must_use]
    pub fn sound(&self) -> Sound {
        Sound {
            gains: self.output.gains(),
            keep: self.output.keep_side,
            channels: self.output.channels,
        }
    }

    /// What finished tapes end in: the extension with its dot, for two files that of the first.
    #[must_use]
    pub fn extension(&self) -> String {
        let side = match (self.output.channels, self.output.keep_side) {
            (Channels::Split, KeepSide::Remote) => ".remote",
            (Channels::Split, _) => ".local",
            (Channels::Stereo | Channels::Mono, _) => "",
        };
        format!("{side}.{}", self.file_extension())
    }

    /// The extension of each file, without its dot.
    #[must_use]
    pub fn file_extension(&self) -> &str {
        let own = &self.output.command_extension;
        let by_command = self.output.command_writes() && !own.is_empty();
        if by_command { own } else { self.output.format.extension() }
    }
}
