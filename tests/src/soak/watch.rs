//! Memory and open files of the programs over time.

use super::rig::{Rig, Which};
use std::{collections::BTreeMap, fs};

/// Most moments that are told of the last life.
const COURSE: usize = 16;

/// What a process held at a moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    /// Milliseconds of the run.
    pub(super) at: u64,
    /// Resident memory, KiB.
    pub(super) rss: u32,
    /// Of it, what the program asked for itself, KiB: without its code, its files and the ring of the kernel.
    pub(super) own: u32,
    /// Open files.
    pub(super) fds: u32,
    /// Threads.
    pub(super) threads: u32,
}

/// Samples by program and life.
pub(super) type Samples = BTreeMap<(Which, u32), Vec<Sample>>;

/// Looks at one program now.
pub(super) fn look(rig: &Rig, which: Which) -> Option<(u32, Sample)> {
    let (pid, life) = rig.pid(which)?;
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let number = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse().ok()
    };
    let fds = fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count();
    let (rss, own, threads) = (number("VmRSS:")?, number("RssAnon:")?, number("Threads:")?);
    let fds = u32::try_from(fds).unwrap_or(u32::MAX);
    Some((life, Sample { at: rig.now(), rss, own, fds, threads }))
}

/// Looks at both.
pub(super) fn note(rig: &Rig, samples: &mut Samples) {
    for which in Which::BOTH {
        if let Some((life, sample)) = look(rig, which) {
            samples.entry((which, life)).or_default().push(sample);
        }
    }
}

/// What the program held of its own at some moments from the first to the last: minute and MB of each.
pub(super) fn course(samples: &[Sample]) -> String {
    let step = samples.len().div_ceil(COURSE).max(1);
    let told = samples.iter().step_by(step).map(|sample| {
        let mb = f64::from(sample.own) * 1024.0 / 1e6;
        format!("{}: {mb:.1}", sample.at / 60_000)
    });
    told.collect::<Vec<_>>().join(", ")
}

/// How a line through the samples rises.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Slope {
    /// Samples it is made of.
    pub(super) samples: usize,
    /// From the first to the last of them, in minutes.
    pub(super) minutes: f64,
    /// Memory, in MB an hour.
    pub(super) mb_per_hour: f64,
    /// Memory that it rises by over these minutes, in MB.
    pub(super) mb: f64,
    /// Open files an hour.
    pub(super) fds_per_hour: f64,
}

/// The least-squares line through the samples of one life from a moment on, without their first third, in
/// which caches and tables fill.
pub(super) fn slope(samples: &[Sample], from: u64) -> Option<Slope> {
    let (first, last) = (samples.first()?.at.max(from), samples.last()?.at);
    let warm = first + last.saturating_sub(first) / 3;
    let samples: Vec<&Sample> = samples.iter().filter(|sample| sample.at >= warm).collect();
    if samples.len() < 3 {
        return None;
    }
    let hours = |at: u64| f64::from(u32::try_from(at - warm).unwrap_or(u32::MAX)) / 3.6e6;
    let rises = |value: fn(&Sample) -> u32| {
        let points: Vec<(f64, f64)> =
            samples.iter().map(|sample| (hours(sample.at), f64::from(value(sample)))).collect();
        line(&points)
    };
    let mb_per_hour = rises(|sample| sample.rss) * 1024.0 / 1e6;
    let span = hours(last);
    Some(Slope {
        samples: samples.len(),
        minutes: span * 60.0,
        mb_per_hour,
        mb: mb_per_hour * span,
        fds_per_hour: rises(|sample| sample.fds),
    })
}

/// How much y rises with x, by least squares.
fn line(points: &[(f64, f64)]) -> f64 {
    let count = f64::from(u32::try_from(points.len()).unwrap_or(u32::MAX));
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let over: f64 = points.iter().map(|(a, b)| (a - x) * (b - y)).sum();
    let under: f64 = points.iter().map(|(a, _)| (a - x) * (a - x)).sum();
    if under == 0.0 { 0.0 } else { over / under }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 1,000 KiB a minute, after a start that grows far quicker.
    #[test]
    fn the_first_third_is_not_counted() {
        let sample = |minute: u32| {
            let rss = if minute < 20 { 1_000_000 * minute } else { 20_000_000 + 1_000 * minute };
            Sample { at: 60_000 * u64::from(minute), rss, own: rss, fds: 30 + minute, threads: 9 }
        };
        let samples: Vec<Sample> = (0..=60).map(sample).collect();
        let slope = slope(&samples, 0).unwrap();
        assert!((slope.mb_per_hour - 61.44).abs() < 0.01, "{slope:?}");
        assert!((slope.mb - 61.44 * 2.0 / 3.0).abs() < 0.01, "{slope:?}");
        assert!((slope.fds_per_hour - 60.0).abs() < 0.01, "{slope:?}");
        assert_eq!(slope.samples, 41);
        assert_eq!(super::slope(&samples, 59 * 60_000), None);
    }
}
