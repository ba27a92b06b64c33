//! The command line.

use crate::{format::Format, process::Channels};
use clap::{Args, Parser, Subcommand};
use orkbase::message::tape::KeepSide;
use std::{net::SocketAddr, path::PathBuf};

/// Passive call recorder: rebuilds SIP calls from mirrored packets and writes them to audio files, left
/// channel local party, right channel remote party.
#[derive(Debug, Parser)]
#[command(
    name = "orkaudio",
    version,
    after_help = "\
Examples:
  orkaudio replay --output tapes call.pcap          every call of a capture becomes a WAV file
  tcpdump -i eth1 -U -w - udp | orkaudio replay -   the same from a pipe
  orkaudio run --interface eth1                     record the mirror port eth1
  orkaudio explain call.pcap                        why each call was recorded, or not
  orkaudio run --check-config                       only look whether the configuration is right
  orkaudio decode call.pcap -o tapes                the same, with a list for people; --format opus, mp3, ...
  orkaudio convert --format flac -o copies *.wav    tapes in another format, with all they tell
  orkaudio status --watch                           live calls and counters of the running recorder
  orkaudio verify                                   whether recordings are what they were
  orkaudio token crm control+read                   a token for a program, see doors.token_file

Every setting of conf/orkaudio.toml can be given as --set key=value or in the environment
(ORKAUDIO_TAPES_FOLDER is tapes.folder)."
)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Record from network interfaces until SIGTERM or SIGINT.
    Run(RunArguments),
    /// Handle captures as a live interface would deliver them.
    Replay(ReplayArguments),
    /// Tell for each call of a capture what was decided, and why; writes no audio.
    Explain(ExplainArguments),
    /// Turn captures into audio files and list them: no tracker, no daemon.
    Decode(DecodeArguments),
    /// Write WAV tapes in another format, layout or loudness; keeps what they tell of the call.
    Convert(ConvertArguments),
    /// List every codec, and whether and how it is decoded on this machine; and what can be written.
    Codecs(Settings),
    /// Show live calls and counters of the running recorder.
    Status(StatusArguments),
    /// Make a token for a program, and the line of `doors.token_file` that lets it in.
    Token(TokenArguments),
    /// Hold recordings against their ledger: whatever was changed since is named; exit code 1 if anything was.
    Verify(VerifyArguments),
    /// Open a recording that is sealed (`tapes.encrypt_key`): write it as it is without.
    Unseal(UnsealArguments),
}

/// Where settings come from.
#[derive(Clone, Debug, Args)]
pub struct Settings {
    /// The configuration [default: /etc/orkaudio/orkaudio.toml, if it is there]
    #[arg(long, value_name = "FILE", env = "ORKAUDIO_CONFIG")]
    pub config: Option<PathBuf>,
    /// Override a setting, such as --set tapes.stereo=false; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub sets: Vec<String>,
}

/// `orkaudio run`.
#[derive(Debug, Args)]
pub struct RunArguments {
    /// See [`Settings`].
    #[command(flatten)]
    pub settings: Settings,
    /// Listen on this interface instead of the configured ones; may be repeated
    #[arg(long, value_name = "IF")]
    pub interface: Vec<String>,
    /// Only check the configuration; exit code 2 if there is a mistake
    #[arg(long)]
    pub check_config: bool,
}

/// `orkaudio replay`.
#[derive(Debug, Args)]
#[command(after_help = "\
Tapes lie under --output as YYYY/MM/DD/HH/<orkuid>.wav, named by capture time. With --json standard
output carries one object per tape (orkuid, nativecallid, localparty, remoteparty, direction, start,
duration_ms, file, tags, legs) and last {\"summary\": {every counter}}; logs go to standard error.
Exit code 0 means that every call was written whole.")]
pub struct ReplayArguments {
    /// See [`Settings`].
    #[command(flatten)]
    pub settings: Settings,
    /// At the speed of the capture instead of as fast as it goes
    #[arg(long)]
    pub paced: bool,
    /// Where tapes go
    #[arg(long, value_name = "DIR", default_value = "tapes")]
    pub output: PathBuf,
    /// Report to this tracker, such as `http://127.0.0.1:8080/orktrack`
    #[arg(long, value_name = "URL")]
    pub tracker: Option<String>,
    /// TLS keys (as SSLKEYLOGFILE names them) instead of `capture.key_log`
    #[arg(long, value_name = "FILE")]
    pub key_log: Option<PathBuf>,
    /// Seconds that reports may take to reach the tracker after the last tape
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub patience: u64,
    /// One JSON object per tape on standard output
    #[arg(long)]
    pub json: bool,
    /// Captures (pcap or pcapng), folders of captures, or - for standard input
    #[arg(required = true, value_name = "CAPTURE")]
    pub captures: Vec<PathBuf>,
}

/// `orkaudio decode`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  orkaudio decode call.pcap -o tapes                       WAV, left local party, right remote party
  orkaudio decode --format opus call.pcap -o tapes         Ogg Opus
  orkaudio decode --channels split captures/ -o tapes      a file for each side
  orkaudio decode --json call.pcap -o tapes | jq .file     as orkaudio replay --json prints it

Tapes lie below the folder as YYYY/MM/DD/HH/<orkuid>.<extension>, named by capture time. A call that is
missing: orkaudio explain call.pcap")]
pub struct DecodeArguments {
    /// See [`Settings`].
    #[command(flatten)]
    pub settings: Settings,
    /// Where tapes go
    #[arg(short, long, value_name = "DIR")]
    pub output: PathBuf,
    /// pcm, alaw, mulaw, gsm, opus, flac or mp3 [default: output.format]
    #[arg(long, value_name = "FORMAT", value_parser = format)]
    pub format: Option<Format>,
    /// stereo, mono or split [default: output.channels]
    #[arg(long, value_name = "LAYOUT", value_parser = channels)]
    pub channels: Option<Channels>,
    /// One JSON object per tape on standard output
    #[arg(long)]
    pub json: bool,
    /// Captures (pcap or pcapng), folders of captures, or - for standard input
    #[arg(required = true, value_name = "CAPTURE")]
    pub captures: Vec<PathBuf>,
}

/// `orkaudio convert`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  orkaudio convert --format mp3 call.wav -o call.mp3
  orkaudio convert --format opus --bitrate 24 -o converted/ tapes/2026/*/*/*/*.wav
  orkaudio convert --channels split --gain 6 call.wav -o sides/     sides/call.local.wav and .remote.wav
  orkaudio convert --keep-side local call.wav -o ours.wav

Reads the WAV tapes that this recorder writes: PCM, A-law, mu-law, GSM, also beyond 4 GiB. Prints the
names of what it wrote. Nothing is overwritten. What this machine can write: orkaudio codecs")]
pub struct ConvertArguments {
    /// A file, or a folder if there are several
    #[arg(short, long, value_name = "DIR|FILE")]
    pub output: PathBuf,
    /// pcm, alaw, mulaw, gsm, opus, flac or mp3
    #[arg(long, value_name = "FORMAT", value_parser = format, default_value = "pcm")]
    pub format: Format,
    /// stereo (as it is), mono or split
    #[arg(long, value_name = "LAYOUT", value_parser = channels, default_value = "stereo")]
    pub channels: Channels,
    /// Decibels louder, or softer if negative
    #[arg(long, value_name = "DB", default_value_t = 0, allow_negative_numbers = true,
        value_parser = clap::value_parser!(i32).range(-60..=60))]
    pub gain: i32,
    /// local, remote or both
    #[arg(long, value_name = "SIDE", default_value = "both",
        value_parser = ["both", "local", "remote"])]
    pub keep_side: String,
    /// Kilobits a second for opus and mp3, all channels together; 0 is what suits speech
    #[arg(long, value_name = "KBPS", default_value_t = 0)]
    pub bitrate: u32,
    /// Tapes
    #[arg(required = true, value_name = "WAV")]
    pub inputs: Vec<PathBuf>,
}

impl ConvertArguments {
    /// Which sides are kept.
    #[must_use]
    pub fn keep_side(&self) -> KeepSide {
        KeepSide::read(&self.keep_side)
    }
}

fn format(name: &str) -> Result<Format, String> {
    Format::read(name).ok_or_else(|| "give pcm, alaw, mulaw, gsm, opus, flac or mp3".to_owned())
}

fn channels(name: &str) -> Result<Channels, String> {
    Channels::read(name).ok_or_else(|| "give stereo, mono or split".to_owned())
}

/// `orkaudio explain`.
#[derive(Debug, Args)]
#[command(after_help = "\
For each call: who called whom, whether it was recorded or why not, and step by step what signalling and
media told. Last: media that belongs to no call, and the counters. The first thing to look at when a call
is missing, and the best thing to send with a report of a fault (it holds names and addresses, no audio).

  orkaudio explain call.pcap
  orkaudio explain --set parties.lan=192.0.2.0/24 --json call.pcap")]
pub struct ExplainArguments {
    /// See [`Settings`].
    #[command(flatten)]
    pub settings: Settings,
    /// One JSON object per call, and last one of what belongs to no call
    #[arg(long)]
    pub json: bool,
    /// Captures (pcap or pcapng), folders of captures, or - for standard input
    #[arg(required = true, value_name = "CAPTURE")]
    pub captures: Vec<PathBuf>,
}

/// `orkaudio status`.
#[derive(Debug, Args)]
pub struct StatusArguments {
    /// The answer as the recorder gives it
    #[arg(long, conflicts_with = "watch")]
    pub json: bool,
    /// Show it anew until Ctrl-C, with what changed a second; only counters that are not 0
    #[arg(long)]
    pub watch: bool,
    /// Seconds between two looks
    #[arg(long, value_name = "SECONDS", default_value_t = 1, requires = "watch",
        value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub every: u64,
    /// A token with the right to read, if the recorder wants one
    #[arg(long, value_name = "TOKEN", env = "ORKAUDIO_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// The command port of the recorder
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:59140")]
    pub address: SocketAddr,
}

/// `orkaudio token`.
#[derive(Debug, Args)]
#[command(after_help = "\
Prints the token, for the program, and the line, for the file; the token is kept nowhere else:

  orkaudio token crm control+read
  orkaudio token wallboard read+listen")]
pub struct TokenArguments {
    /// Who shows it, as the audit file will say: letters, digits, - _ .
    pub name: String,
    /// read, listen, control, discard joined by +, or all
    #[arg(value_name = "RIGHTS")]
    pub rights: String,
}

/// `orkaudio verify`.
#[derive(Debug, Args)]
#[command(after_help = "\
Reads every file that the ledger below the folder tells of (tapes.ledger), and the ledger itself. Names what
is missing, changed, truncated, swapped (holds what another recording held), added (no line tells of it)
or unreadable, and lines or days of the ledger that are missing, changed or out of their place. What a
tracker had deleted is no finding. The recorder may run meanwhile.

Lines that were taken away from the very end show only against something noted elsewhere: the last line of
the report has the hash of the last line, for --head next time.

  orkaudio verify --folder tapes
  orkaudio verify --since 2026-11-01 --json")]
pub struct VerifyArguments {
    /// See [`Settings`].
    #[command(flatten)]
    pub settings: Settings,
    /// The folder of recordings [default: tapes.folder]
    #[arg(long, value_name = "DIR")]
    pub folder: Option<PathBuf>,
    /// Only what was written down on this day (UTC) or later, and files changed since
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = day)]
    pub since: Option<String>,
    /// A hash noted from an earlier report: a line must have it
    #[arg(long, value_name = "HASH", value_parser = hash)]
    pub head: Option<String>,
    /// One JSON object per finding on standard output, and last {\"summary\": {what was looked at}}
    #[arg(long)]
    pub json: bool,
}

fn day(text: &str) -> Result<String, String> {
    let good = orkvault::ledger::is_day(text).then(|| text.to_owned());
    good.ok_or_else(|| "give a day such as 2026-11-22".to_owned())
}

fn hash(text: &str) -> Result<String, String> {
    let sum = orkvault::ledger::Sum::read(&text.to_ascii_lowercase());
    sum.map(|sum| sum.to_string()).ok_or_else(|| "give 64 hexadecimal digits".to_owned())
}

/// `orkaudio unseal`.
#[derive(Debug, Args)]
#[command(after_help = "\
  orkaudio unseal --keys /etc/orkaudio/keys call.wav.sealed          writes call.wav
  orkaudio unseal call.wav.sealed -o - | aplay                       with the keys of the configuration

Every record is authenticated before it is written. What was changed is named and ends it; of a file that is
cut short, or was left by a recorder that was killed, what is there is written. Exit code 1 in both cases.")]
pub struct UnsealArguments {
    /// See [`Settings`].
    #[command(flatten)]
    pub settings: Settings,
    /// The key file [default: `tapes.encrypt_key`]
    #[arg(long, value_name = "FILE")]
    pub keys: Option<PathBuf>,
    /// Where to; - is standard output [default: the name without .sealed]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// The sealed file
    pub file: PathBuf,
}
