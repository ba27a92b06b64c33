//! Reads WAV files back and answers what a listener would ask: how long, how loud, which tone,
//! where is it silent.

use std::{
    fs::File,
    io::{BufReader, Read},
    path::Path,
};

/// A WAV file in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wav {
    /// Samples a second.
    pub rate: u32,
    /// Samples by channel, left first.
    pub channels: Vec<Vec<i16>>,
}

/// A stretch of time, in seconds.
pub type Span = (f64, f64);

impl Wav {
    /// Reads a file of 16-bit samples.
    ///
    /// # Errors
    /// Says why the file is not such a WAV.
    pub fn read(path: &Path) -> Result<Self, String> {
        let name = path.display();
        let file = File::open(path).map_err(|e| format!("{name}: {e}"))?;
        Self::of(BufReader::new(file), &name.to_string())
    }

    /// The same of what is not a file; `name` is for complaints.
    ///
    /// # Errors
    /// As for [`Wav::read`].
    pub fn of(file: impl Read, name: &str) -> Result<Self, String> {
        let mut reader = hound::WavReader::new(file).map_err(|e| format!("{name}: {e}"))?;
        let spec = reader.spec();
        if spec.bits_per_sample != 16 || spec.sample_format != hound::SampleFormat::Int {
            return Err(format!("{name}: {} bits {:?}", spec.bits_per_sample, spec.sample_format));
        }
        let length = usize::try_from(reader.duration()).unwrap_or(0);
        let mut channels = vec![Vec::with_capacity(length); usize::from(spec.channels)];
        let mut samples = reader.samples::<i16>();
        for _ in 0..length {
            for channel in &mut channels {
                let Some(sample) = samples.next() else { return Err(format!("{name}: cut short")) };
                channel.push(sample.map_err(|e| format!("{name}: {e}"))?);
            }
        }
        Ok(Self { rate: spec.sample_rate, channels })
    }

    /// Length in seconds.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        self.channels.first().map_or(0.0, |channel| float(channel.len()) / f64::from(self.rate))
    }

    /// One channel's samples between two moments, as much of them as there is.
    #[must_use]
    pub fn between(&self, channel: usize, (from, until): Span) -> &[i16] {
        let Some(samples) = self.channels.get(channel) else { return &[] };
        let until = index(until * f64::from(self.rate)).min(samples.len());
        samples.get(index(from * f64::from(self.rate))..until).unwrap_or(&[])
    }

    /// Root mean square in dB below full scale; silence is minus infinity.
    #[must_use]
    pub fn level(&self, channel: usize, span: Span) -> f64 {
        let samples = self.between(channel, span);
        let sum: f64 = samples.iter().map(|&s| f64::from(s) * f64::from(s)).sum();
        10.0 * (sum / float(samples.len().max(1)) / (32768.0 * 32768.0)).log10()
    }

    /// The strongest frequency in Hz, to within 1 Hz; none in silence or under 50 ms of audio.
    #[must_use]
    pub fn tone(&self, channel: usize, (from, until): Span) -> Option<f64> {
        let samples = self.between(channel, (from, until.min(from + 1.0)));
        if samples.len() < index(f64::from(self.rate) / 20.0) || samples.iter().all(|&s| s == 0) {
            return None;
        }
        let strongest = |hertz: &mut dyn Iterator<Item = u32>| {
            hertz
                .map(|hertz| (self.power(samples, f64::from(hertz)), hertz))
                .max_by(|one, other| one.0.total_cmp(&other.0))
                .map(|(_, hertz)| hertz)
        };
        // Half a bin of the shortest window is 10 Hz.
        let coarse =
            strongest(&mut (50..self.rate / 2).step_by(if samples.len() < 4000 { 5 } else { 1 }))?;
        strongest(&mut (coarse.saturating_sub(5)..=coarse + 5)).map(f64::from)
    }

    /// Stretches of at least `shortest` seconds in which a channel is silent, 16 or less.
    #[must_use]
    pub fn gaps(&self, channel: usize, shortest: f64) -> Vec<Span> {
        let mut gaps = Vec::new();
        let Some(samples) = self.channels.get(channel) else { return gaps };
        let rate = f64::from(self.rate);
        let mut begun = None;
        for (at, loud) in samples.iter().map(|s| s.unsigned_abs() > 16).chain([true]).enumerate() {
            if !loud {
                begun.get_or_insert(at);
            } else if let Some(from) = begun.take() {
                let gap = (float(from) / rate, float(at) / rate);
                if gap.1 - gap.0 >= shortest {
                    gaps.push(gap);
                }
            }
        }
        gaps
    }

    /// Seconds of a channel outside its gaps of 20 ms and more.
    #[must_use]
    pub fn sounding(&self, channel: usize) -> f64 {
        self.seconds()
            - self.gaps(channel, 0.02).iter().map(|(from, until)| until - from).sum::<f64>()
    }

    /// Goertzel's measure of one frequency.
    fn power(&self, samples: &[i16], hertz: f64) -> f64 {
        let turn = 2.0 * (std::f64::consts::TAU * hertz / f64::from(self.rate)).cos();
        let (mut last, mut before) = (0.0, 0.0);
        for &sample in samples {
            let now = f64::from(sample) + turn * last - before;
            before = last;
            last = now;
        }
        last * last + before * before - turn * last * before
    }
}

fn float(samples: usize) -> f64 {
    f64::from(u32::try_from(samples).unwrap_or(u32::MAX))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast saturates at 0; callers bound it by a length"
)]
fn index(at: f64) -> usize {
    at.round() as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_hears_what_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.wav");
        let spec = hound::WavSpec {
            channels: 2,
            sample_rate: 8000,
            bits_per_sample: 16,
            sample_format: hound::SampleFormat::Int,
        };
        let mut out = hound::WavWriter::create(&path, spec).unwrap();
        for k in 0..16_000_i32 {
            let tone =
                |hertz: f64| (f64::from(k) * hertz * std::f64::consts::TAU / 8000.0).sin() * 8000.0;
            let left = if (4000..8000).contains(&k) { 0.0 } else { tone(440.0) };
            for sample in [left, tone(1003.0)] {
                #[expect(clippy::cast_possible_truncation, reason = "within 8000")]
                out.write_sample(sample as i16).unwrap();
            }
        }
        out.finalize().unwrap();
        let wav = Wav::read(&path).unwrap();
        assert_eq!(wav.seconds(), 2.0);
        assert_eq!(wav.tone(0, (1.0, 2.0)), Some(440.0));
        assert_eq!(wav.tone(1, (0.0, 2.0)), Some(1003.0));
        assert_eq!(wav.tone(0, (0.6, 0.9)), None);
        let gaps = wav.gaps(0, 0.1);
        assert_eq!(gaps.len(), 1, "{gaps:?}");
        assert!((gaps[0].0 - 0.5).abs() < 0.001 && (gaps[0].1 - 1.0).abs() < 0.001, "{gaps:?}");
        assert!((wav.level(1, (0.0, 2.0)) + 15.26).abs() < 0.1);
        assert!((wav.sounding(0) - 1.5).abs() < 0.002);
    }
}
