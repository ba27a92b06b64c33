//! Sends the frames of a capture, each when its time has come.

use orkaudio::capture::set::CaptureSet;
use pcap::{Active, Capture};
use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

/// Frames that are due within so long are sent together.
const TOGETHER: Duration = Duration::from_millis(1);

/// What was sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    /// Frames.
    pub(super) frames: u64,
    took: Duration,
    cpu: Duration,
    /// How late the latest frame was.
    pub(super) behind: Duration,
}

impl Sent {
    /// Frames a second.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a figure of a table"
    )]
    pub(super) fn rate(&self) -> u64 {
        (self.frames as f64 / self.took.as_secs_f64().max(1e-9)) as u64
    }

    /// CPU of the sender a frame, in microseconds: the kernel's way to the recorder's socket is in it.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a figure of a table")]
    pub(super) fn cpu_us(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.frames.max(1) as f64
    }
}

/// All frames of a capture, in memory.
pub(super) struct Sender {
    socket: Capture<Active>,
    bytes: Vec<u8>,
    /// When, after the first; where it begins; where it ends.
    frames: Vec<(Duration, usize, usize)>,
}

impl Sender {
    /// Reads a capture, and opens the interface.
    ///
    /// # Errors
    /// When either cannot be done.
    pub(super) fn new(interface: &str, capture: &Path) -> Result<Self, String> {
        let mut set = CaptureSet::expand(&[capture]).map_err(|e| e.to_string())?;
        let size = fs::metadata(capture).map_err(|e| e.to_string())?.len();
        let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
        let (mut frames, mut first) = (Vec::new(), None);
        while set.advance().map_err(|e| e.to_string())? {
            let frame = set.frame();
            let first = *first.get_or_insert(frame.at);
            let begin = bytes.len();
            bytes.extend_from_slice(frame.bytes);
            let at = Duration::from_nanos(frame.at.0.saturating_sub(first.0));
            frames.push((at, begin, bytes.len()));
        }
        let socket = Capture::from_device(interface).and_then(|socket| socket.open());
        Ok(Self { socket: socket.map_err(|e| format!("{interface}: {e}"))?, bytes, frames })
    }

    /// Sends them all, in time or as fast as it goes.
    ///
    /// # Errors
    /// When the interface refuses one.
    pub(super) fn send(&mut self, in_time: bool) -> Result<Sent, String> {
        let (begun, cpu) = (Instant::now(), cpu()?);
        let mut behind = Duration::ZERO;
        for (at, from, to) in &self.frames {
            if in_time {
                let now = begun.elapsed();
                if *at > now + TOGETHER {
                    std::thread::sleep(*at - now);
                }
                behind = behind.max(now.saturating_sub(*at));
            }
            let frame = self.bytes.get(*from..*to).unwrap_or_default();
            self.socket.sendpacket(frame).map_err(|e| format!("cannot send: {e}"))?;
        }
        let frames = u64::try_from(self.frames.len()).unwrap_or(0);
        Ok(Sent { frames, took: begun.elapsed(), cpu: self::cpu()? - cpu, behind })
    }
}

/// CPU of this thread.
fn cpu() -> Result<Duration, String> {
    use nix::time::{ClockId, clock_gettime};
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_err(|e| e.to_string())?;
    Ok(time.into())
}
