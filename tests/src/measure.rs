//! What a command costs: CPU, time, memory, by the kernel's own accounts.
//!
//! A child's peak memory starts at what its parent held when it was started, so programs are
//! measured by a small process of their own (`ork-measure`) and never from a large one.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::resource::{Usage, UsageWho, getrusage};
use nix::sys::time::{TimeVal, TimeValLike as _};
use serde::{Deserialize, Serialize};

/// What it took.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Cost {
    /// CPU in user mode, seconds.
    pub user_s: f64,
    /// CPU in the kernel, seconds.
    pub sys_s: f64,
    /// Time that passed, seconds.
    pub wall_s: f64,
    /// Peak resident memory, kilobytes.
    pub max_rss_kb: i64,
    /// Exit code; none if a signal ended it.
    pub exit: Option<i32>,
}

impl Cost {
    /// User and system together.
    #[must_use]
    pub fn cpu_s(&self) -> f64 {
        self.user_s + self.sys_s
    }
}

/// Where a command's words go.
#[derive(Clone, Debug, Default)]
pub struct Words {
    /// Standard output; nowhere if none.
    pub stdout: Option<PathBuf>,
    /// Standard error; ours if none.
    pub stderr: Option<PathBuf>,
}

/// Runs a command to its end, or to the limit, and says what it cost. Only one can be measured in a
/// process, since the account is that of all children together.
///
/// # Errors
/// When it cannot be started, or did not end in time (it is killed then).
pub fn command(argv: &[String], words: &Words, limit: Duration) -> io::Result<Cost> {
    let [program, arguments @ ..] = argv else {
        return Err(io::Error::other("no command"));
    };
    let open = |path: &Option<PathBuf>| -> io::Result<Option<Stdio>> {
        path.as_ref().map(|path| File::create(path).map(Stdio::from)).transpose()
    };
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    command.stdout(open(&words.stdout)?.unwrap_or_else(Stdio::null));
    if let Some(stderr) = open(&words.stderr)? {
        command.stderr(stderr);
    }
    let begun = Instant::now();
    let mut child = command.spawn()?;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if begun.elapsed() > limit {
            child.kill()?;
            child.wait()?;
            return Err(io::Error::new(io::ErrorKind::TimedOut, "ran past its limit, killed"));
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    let wall_s = begun.elapsed().as_secs_f64();
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    Ok(Cost { exit: status.code(), wall_s, ..cost(&usage) })
}

/// The floor: reads a file from end to end and writes `bytes` bytes to another, in blocks of 1 MB.
///
/// # Errors
/// When either cannot be done.
pub fn floor(read: &Path, write: &Path, bytes: u64) -> io::Result<Cost> {
    let begun = Instant::now();
    let mut block = vec![0_u8; 1 << 20];
    let mut from = File::open(read)?;
    while io::Read::read(&mut from, &mut block)? > 0 {}
    let mut to = File::create(write)?;
    let mut left = bytes;
    while left > 0 {
        let part = usize::try_from(left).map_or(block.len(), |left| left.min(block.len()));
        io::Write::write_all(&mut to, block.get(..part).unwrap_or(&[]))?;
        left = left.saturating_sub(u64::try_from(part).unwrap_or(u64::MAX));
    }
    let wall_s = begun.elapsed().as_secs_f64();
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    Ok(Cost { exit: Some(0), wall_s, ..cost(&usage) })
}

fn cost(usage: &Usage) -> Cost {
    Cost {
        user_s: seconds(usage.user_time()),
        sys_s: seconds(usage.system_time()),
        max_rss_kb: usage.max_rss(),
        ..Cost::default()
    }
}

fn seconds(time: TimeVal) -> f64 {
    let micros = u64::try_from(time.num_microseconds()).unwrap_or(0);
    Duration::from_micros(micros).as_secs_f64()
}
