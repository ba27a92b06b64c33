//! Recording generated calls live, from a pair of network interfaces in a namespace of this process's own.

mod recorder;
mod sender;

use crate::generator::{
    calls::{self, Spec},
    truth::Truth,
};
use recorder::Recorder;
use sender::{Sender, Sent};
use std::{
    fmt,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// The end that frames are sent into, and the end that the recorder listens to.
const ENDS: [&str; 2] = ["ork-out", "ork-in"];
/// Most calls that a capture is made of at a time: larger ones do not fit in memory.
const MOST_PACKETS: u32 = 8_000_000;

/// What a row asks for.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// Calls at once.
    pub calls: u32,
    /// Seconds of audio in each.
    pub seconds: u32,
    /// People who listen.
    pub listeners: u32,
    /// Threads that capture.
    pub threads: u32,
}

/// What a row found.
#[derive(Clone, Debug)]
pub struct Row {
    asked: Asked,
    sent: Sent,
    /// Frames that the kernel dropped.
    pub dropped: u64,
    cpu_us: f64,
    /// The same by threads, where it is worth a word.
    by_thread: Vec<(String, f64)>,
    rss_mb: u64,
    tapes: u64,
    overrun_ms: u64,
    heard_bytes: u64,
    /// Frames that are not as they were sent, beyond those dropped.
    pub wrong: u64,
}

impl Row {
    /// The head of the table.
    pub const HEAD: &str = "| calls | listeners | threads | sent packets/s | behind ms | frames | dropped | recorder CPU us/frame | of it | sender CPU us/frame | RSS MB | tapes | overrun ms | heard kB/s | frames wrong |\n\
        |---:|---:|---:|---:|---:|---:|---:|---:|---|---:|---:|---:|---:|---:|---:|";
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { asked, sent, dropped, cpu_us, by_thread, .. } = self;
        let Self { rss_mb, tapes, overrun_ms, wrong, heard_bytes, .. } = self;
        let threads: Vec<_> =
            by_thread.iter().map(|(name, us)| format!("{name} {us:.2}")).collect();
        let threads = threads.join(", ");
        let Asked { calls, listeners, seconds, threads: crew } = asked;
        write!(
            f,
            "| {calls} | {listeners} | {crew} | {} | {} | {} | {dropped} | {cpu_us:.2} | {threads} | {:.2} | {rss_mb} | {tapes} | {overrun_ms} | {} | {wrong} |",
            sent.rate(),
            sent.behind.as_millis(),
            sent.frames,
            sent.cpu_us(),
            heard_bytes / u64::from(*seconds).max(1) / 1000,
        )
    }
}

/// Where rows are made.
#[derive(Debug)]
pub struct Field {
    orkaudio: PathBuf,
    scratch: PathBuf,
    tapes: PathBuf,
    settings: Vec<String>,
}

impl Field {
    /// Makes the pair of interfaces.
    ///
    /// # Errors
    /// When this is not a namespace of its own, or nothing may be made in it.
    pub fn new(
        orkaudio: &Path,
        scratch: &Path,
        tapes: &Path,
        settings: &[String],
    ) -> Result<Self, String> {
        // Other than /sys, this is of the namespace that the process is in.
        let known = fs::read_to_string("/proc/self/net/dev").map_err(|e| e.to_string())?;
        let others = known.lines().filter_map(|line| line.split_once(':'));
        if others.map(|(name, _)| name.trim()).any(|name| name != "lo") {
            return Err("this needs a network namespace of its own: unshare --net ork-live".into());
        }
        ip(&["link", "add", ENDS[0], "type", "veth", "peer", "name", ENDS[1]])?;
        for end in [ENDS[0], ENDS[1], "lo"] {
            ip(&["link", "set", end, "up"])?;
        }
        Ok(Self {
            orkaudio: orkaudio.to_owned(),
            scratch: scratch.to_owned(),
            tapes: tapes.to_owned(),
            settings: settings.to_owned(),
        })
    }

    fn capture(&self, calls: u32, seconds: u32) -> Result<(PathBuf, Truth), String> {
        if calls.saturating_mul(seconds).saturating_mul(100) > MOST_PACKETS {
            return Err(format!("{calls} calls of {seconds} s do not fit in memory"));
        }
        let path = self.scratch.join("calls.pcap");
        let spec = Spec {
            calls,
            seconds: f64::from(seconds),
            // Nobody begins a thousand calls at once.
            stagger: (f64::from(calls) / 1000.0).max(2.0),
            ..Spec::default()
        };
        let file = File::create(&path).map_err(|e| e.to_string())?;
        let truth = calls::write(&spec, file).map_err(|e| e.to_string())?;
        Ok((path, truth))
    }

    /// Packets a second that the sender can make while nobody records.
    ///
    /// # Errors
    /// When nothing can be sent.
    pub fn alone(&self, calls: u32) -> Result<u64, String> {
        let (path, _) = self.capture(calls.min(2000), 5)?;
        let mut sender = Sender::new(ENDS[0], &path)?;
        Ok(sender.send(false)?.rate())
    }

    /// One row.
    ///
    /// # Errors
    /// When something cannot be started, or does not answer.
    pub fn row(&self, asked: Asked) -> Result<Row, String> {
        let Asked { calls, seconds, listeners, threads } = asked;
        let (path, mut truth) = self.capture(calls, seconds)?;
        drop(fs::remove_dir_all(&self.tapes));
        fs::create_dir_all(&self.tapes).map_err(|e| e.to_string())?;
        let log = self.scratch.join("orkaudio.log");
        let mut sender = Sender::new(ENDS[0], &path)?;
        drop(fs::remove_file(&path));
        let mut settings = vec![format!("capture.threads={threads}")];
        settings.extend_from_slice(&self.settings);
        let recorder =
            Recorder::start(&self.orkaudio, ENDS[1], &self.tapes, &self.scratch, &log, &settings)?;
        let before = recorder.cpu()?;
        let numbers: Vec<String> = truth.calls.iter().map(|call| call.caller.clone()).collect();
        let ears = recorder.listen(&numbers, listeners);
        let sent = sender.send(true)?;
        let after = recorder.cpu()?;
        let counters = recorder.settle(u64::from(calls))?;
        let heard_bytes = ears.bytes();
        let rss_mb = recorder.peak_mb()?;
        recorder.stop()?;
        // Frames stand where they were captured, which is later than the capture says.
        truth.jitter_ms = sent.behind.as_secs_f64() * 1e3 + 2.0;
        let told = self.scratch.join("truth.json");
        let file = File::create(&told).map_err(|e| e.to_string())?;
        serde_json::to_writer(file, &truth).map_err(|e| e.to_string())?;
        let count = |name: &str| counters.get(name).copied().unwrap_or(0);
        let wrong = self.wrong(&told)?;
        #[expect(clippy::cast_precision_loss, reason = "figures of a table")]
        let frames = sent.frames.max(1) as f64;
        let used = after.into_iter().map(|(name, cpu)| {
            let cpu = cpu.saturating_sub(before.get(&name).copied().unwrap_or_default());
            (name, cpu.as_secs_f64() * 1e6 / frames)
        });
        let mut by_thread: Vec<(String, f64)> = used.collect();
        let cpu_us = by_thread.iter().map(|(_, us)| us).sum();
        by_thread.retain(|(_, us)| *us >= 0.01);
        Ok(Row {
            asked,
            sent,
            dropped: count("capture.kernel_dropped"),
            cpu_us,
            by_thread,
            rss_mb,
            tapes: count("tape.finished"),
            overrun_ms: count("tape.overrun_ms"),
            heard_bytes,
            wrong,
        })
    }

    fn wrong(&self, truth: &Path) -> Result<u64, String> {
        let own = std::env::current_exe().map_err(|e| e.to_string())?;
        let mut check = Command::new(own.with_file_name("ork-check"));
        check.arg("--truth").arg(truth).arg("--output").arg(&self.tapes).arg("--quiet");
        let judged = check.stdin(Stdio::null()).output().map_err(|e| format!("ork-check: {e}"))?;
        let verdict: serde_json::Value = serde_json::from_slice(&judged.stdout)
            .map_err(|_| String::from_utf8_lossy(&judged.stderr).into_owned())?;
        let wrong = verdict.get("frames_wrong").and_then(serde_json::Value::as_u64);
        wrong.ok_or_else(|| format!("ork-check: {verdict}"))
    }
}

fn ip(arguments: &[&str]) -> Result<(), String> {
    let done = Command::new("ip").args(arguments).output().map_err(|e| format!("ip: {e}"))?;
    if done.status.success() {
        return Ok(());
    }
    Err(format!("ip {}: {}", arguments.join(" "), String::from_utf8_lossy(&done.stderr).trim()))
}
