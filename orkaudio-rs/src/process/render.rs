//! From a WAV tape to files of any format: gain, sides, layout, rate.
//!
//! Law: samples stop at the ends of their range and never wrap; memory does not depend on the length.

use super::plan::Channels;
use crate::format::{Encoder, Format, Labels, WavReader};
use crate::tape::wav::Layout;
use orkbase::{audio::resample::Resampler, call::party::Side, message::tape::KeepSide};
use orkvault::sealed::Vessel;
use std::io;

/// What is to be heard.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Sound {
    /// Decibels for the local and the remote side; of one channel, the first.
    pub gains: [i32; 2],
    /// Which sides.
    pub keep: KeepSide,
    /// How they lie.
    pub channels: Channels,
}

impl Sound {
    /// Which side each file holds; `None` is both.
    #[must_use]
    pub fn files(self) -> Vec<Option<Side>> {
        let split = self.channels == Channels::Split;
        match self.keep {
            KeepSide::Local => vec![Some(Side::Local)],
            KeepSide::Remote => vec![Some(Side::Remote)],
            KeepSide::Both | KeepSide::None | KeepSide::Invalid if split => {
                vec![Some(Side::Local), Some(Side::Remote)]
            }
            KeepSide::Both | KeepSide::None | KeepSide::Invalid => vec![None],
        }
    }
}

/// A file to be written.
#[derive(Debug)]
pub struct Target {
    /// Where to.
    pub file: Vessel,
    /// What.
    pub format: Format,
    /// Whose voice; `None` is both.
    pub side: Option<Side>,
    /// Kilobits a second, 0 for what suits.
    pub bitrate_kbps: u32,
}

/// A target at work.
struct Writer {
    side: Option<Side>,
    mix: bool,
    rate: Option<Rate>,
    encoder: Box<dyn Encoder>,
}

/// Writes what `reader` holds to every target. `go_on` is asked after each block, with the part
/// that is done in percent.
///
/// # Errors
/// When the disk or an encoder refuses; [`io::ErrorKind::Interrupted`] when `go_on` says no.
pub fn render(
    reader: &mut WavReader,
    labels: &Labels,
    sound: Sound,
    targets: Vec<Target>,
    go_on: &mut dyn FnMut(u64) -> bool,
) -> io::Result<Vec<Vessel>> {
    let layout = reader.layout();
    let mut writers = Vec::with_capacity(targets.len());
    for target in targets {
        if target.side.is_some() && layout.channels == 1 {
            return Err(io::Error::other("both sides are mixed on this tape, none can be taken"));
        }
        let mix = target.side.is_none() && sound.channels == Channels::Mono;
        let channels = if target.side.is_some() || mix { 1 } else { layout.channels };
        let wanted = Layout { rate: layout.rate, channels };
        writers.push(Writer {
            side: target.side,
            mix: mix && layout.channels == 2,
            rate: Rate::new(layout.rate, target.format.rate(layout.rate), channels),
            encoder: target.format.encoder(target.file, wanted, labels, target.bitrate_kbps)?,
        });
    }
    let gains = sound.gains.map(factor);
    let (mut block, mut picked) = (Vec::new(), Vec::new());
    let (mut done, all) = (0, reader.frames().max(1));
    loop {
        reader.read(&mut block)?;
        if block.is_empty() {
            break;
        }
        if sound.gains != [0, 0] {
            let channels = usize::from(layout.channels);
            for frame in block.chunks_mut(channels) {
                frame
                    .iter_mut()
                    .zip(gains)
                    .for_each(|(sample, gain)| *sample = louder(*sample, gain));
            }
        }
        for writer in &mut writers {
            writer.take(&block, &mut picked)?;
        }
        done += u64::try_from(block.len()).unwrap_or(0) / u64::from(layout.channels);
        if !go_on(done * 100 / all) {
            return Err(io::Error::from(io::ErrorKind::Interrupted));
        }
    }
    writers.into_iter().map(Writer::finish).collect()
}

impl Writer {
    fn take(&mut self, block: &[i16], picked: &mut Vec<i16>) -> io::Result<()> {
        let pairs = block.as_chunks::<2>().0;
        picked.clear();
        let samples = match self.side {
            Some(Side::Local) => {
                picked.extend(pairs.iter().map(|[local, _]| *local));
                picked.as_slice()
            }
            Some(Side::Remote) => {
                picked.extend(pairs.iter().map(|[_, remote]| *remote));
                picked.as_slice()
            }
            None if self.mix => {
                picked.extend(pairs.iter().map(|[one, other]| one.saturating_add(*other)));
                picked.as_slice()
            }
            None => block,
        };
        match self.rate.as_mut() {
            Some(rate) => self.encoder.write(rate.convert(samples)),
            None => self.encoder.write(samples),
        }
    }

    fn finish(mut self) -> io::Result<Vessel> {
        if let Some(rate) = self.rate.as_mut() {
            self.encoder.write(rate.rest())?;
        }
        let mut file = self.encoder.finish()?;
        file.close()?;
        Ok(file)
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a factor needs no more digits")]
fn factor(decibels: i32) -> f32 {
    10f64.powf(f64::from(decibels) / 20.0) as f32
}

#[expect(clippy::cast_possible_truncation, reason = "a float cast stops at the range of i16")]
fn louder(sample: i16, factor: f32) -> i16 {
    (f32::from(sample) * factor).round() as i16
}

/// From the tape's rate to one that a format can hold; keeps place and length.
struct Rate {
    channels: Vec<(Resampler, Vec<i16>)>,
    from: u64,
    to: u64,
    /// Samples of a channel to be left out yet: the filter's delay.
    skip: usize,
    /// Samples of a channel that came, and that went.
    came: u64,
    went: u64,
    out: Vec<i16>,
}

impl Rate {
    fn new(from: u32, to: u32, channels: u16) -> Option<Self> {
        let resamplers: Option<Vec<_>> =
            (0..channels).map(|_| Some((Resampler::new(from, to)?, Vec::new()))).collect();
        let channels = resamplers?;
        let skip = channels.first()?.0.delay();
        let (from, to) = (u64::from(from), u64::from(to));
        Some(Self { channels, from, to, skip, came: 0, went: 0, out: Vec::new() })
    }

    fn convert(&mut self, samples: &[i16]) -> &[i16] {
        let width = self.channels.len();
        self.came += u64::try_from(samples.len() / width.max(1)).unwrap_or(0);
        for (number, (resampler, made)) in self.channels.iter_mut().enumerate() {
            let own: Vec<i16> = samples.iter().skip(number).step_by(width).copied().collect();
            resampler.process(&own, made);
        }
        self.interleave()
    }

    fn rest(&mut self) -> &[i16] {
        for (resampler, made) in &mut self.channels {
            resampler.flush(made);
        }
        self.interleave()
    }

    fn interleave(&mut self) -> &[i16] {
        self.out.clear();
        let ready = self.channels.iter().map(|(_, made)| made.len()).min().unwrap_or(0);
        let most = usize::try_from(self.came * self.to / self.from - self.went).unwrap_or(0);
        let skip = self.skip.min(ready);
        let count = (ready - skip).min(most);
        for n in skip..skip + count {
            self.out.extend(self.channels.iter().filter_map(|(_, made)| made.get(n)));
        }
        for (_, made) in &mut self.channels {
            made.drain(..skip + count);
        }
        self.skip -= skip;
        self.went += u64::try_from(count).unwrap_or(0);
        &self.out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gain_stops_at_the_ends() {
        assert_eq!(
            [100, -100, 30_000, -30_000].map(|s| louder(s, factor(6))),
            [200, -200, 32_767, -32_768]
        );
        assert_eq!(louder(1_000, factor(-20)), 100);
    }

    #[test]
    fn a_changed_rate_keeps_place_and_length() {
        let mut rate = Rate::new(32_000, 48_000, 2).unwrap();
        let mut out = Vec::new();
        let samples: Vec<i16> =
            (0..32_000i32).flat_map(|n| [if n == 16_000 { 20_000 } else { 0 }, 7]).collect();
        for piece in samples.chunks(1_234) {
            out.extend_from_slice(rate.convert(piece));
        }
        out.extend_from_slice(rate.rest());
        assert_eq!(out.len(), 96_000);
        let loudest = (0..48_000).max_by_key(|n| out[2 * n]).unwrap();
        assert_eq!(loudest, 24_000);
        assert!(out[40_001].abs_diff(7) <= 1);
    }
}
