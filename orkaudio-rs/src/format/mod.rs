//! Audio files of every format that is written: encoders behind one trait, and a reader of our WAV
//! files.
//!
//! Law: everything streams, so memory does not depend on the length of a tape; a file is whole only
//! after [`Encoder::finish`].

mod ffi;
mod flac;
mod labels;
mod mp3;
mod opus;
mod read;
mod wav;

pub use labels::{Labels, SOFTWARE};
pub use read::WavReader;

use crate::tape::wav::{Coding, Layout};
use orkvault::sealed::Vessel;
use std::io;

/// What a finished tape may be.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Format {
    /// WAV, 16-bit PCM: as it is recorded.
    #[default]
    Pcm,
    /// WAV, G.711 A-law.
    ALaw,
    /// WAV, G.711 mu-law.
    MuLaw,
    /// WAV, GSM 06.10 (WAV49): 8000 samples a second, one channel.
    Gsm,
    /// Opus in Ogg (RFC 7845).
    Opus,
    /// FLAC.
    Flac,
    /// MP3 with ID3v2.4.
    Mp3,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 7] =
        [Self::Pcm, Self::ALaw, Self::MuLaw, Self::Gsm, Self::Opus, Self::Flac, Self::Mp3];

    /// Its name in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pcm => "pcm",
            Self::ALaw => "alaw",
            Self::MuLaw => "mulaw",
            Self::Gsm => "gsm",
            Self::Opus => "opus",
            Self::Flac => "flac",
            Self::Mp3 => "mp3",
        }
    }

    /// Reads the name.
    #[must_use]
    pub fn read(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.as_str() == name)
    }

    /// Extension of its files, without the dot.
    #[must_use]
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Pcm | Self::ALaw | Self::MuLaw | Self::Gsm => "wav",
            Self::Opus => "opus",
            Self::Flac => "flac",
            Self::Mp3 => "mp3",
        }
    }

    /// Whether a file can hold two channels.
    #[must_use]
    pub const fn holds_stereo(self) -> bool {
        !matches!(self, Self::Gsm)
    }

    /// Kilobits a second that may be asked for, where the format has a choice.
    #[must_use]
    pub const fn bitrates(self) -> Option<(u32, u32)> {
        match self {
            Self::Opus => Some((6, 510)),
            Self::Mp3 => Some((8, 320)),
            Self::Pcm | Self::ALaw | Self::MuLaw | Self::Gsm | Self::Flac => None,
        }
    }

    /// The rate at which it holds audio of this rate.
    #[must_use]
    pub const fn rate(self, rate: u32) -> u32 {
        match self {
            Self::Gsm => 8_000,
            Self::Opus => match rate {
                8_000 | 12_000 | 16_000 | 24_000 => rate,
                _ => 48_000,
            },
            Self::Mp3 => match rate {
                8_000 | 11_025 | 12_000 | 16_000 | 22_050 | 24_000 | 32_000 | 44_100 => rate,
                _ => 48_000,
            },
            Self::Pcm | Self::ALaw | Self::MuLaw | Self::Flac => rate,
        }
    }

    /// What writes it on this machine.
    ///
    /// # Errors
    /// What is missing, and the remedy.
    pub fn writer(self) -> Result<String, String> {
        let library = match self {
            Self::Pcm | Self::ALaw | Self::MuLaw | Self::Opus | Self::Flac => {
                return Ok("built in".to_owned());
            }
            Self::Gsm => ffi::Gsm::get().map(|_| ffi::GSM),
            Self::Mp3 => ffi::Lame::get().map(|_| ffi::LAME),
        };
        let package = if self == Self::Gsm { "libgsm1" } else { "libmp3lame0" };
        library.map(str::to_owned).map_err(|why| format!("not found: install {package} ({why})"))
    }

    /// Begins a file. `bitrate` is in kilobits a second, 0 for what suits speech of this layout.
    ///
    /// # Errors
    /// When the disk, or a library, refuses.
    pub fn encoder(
        self,
        file: impl Into<Vessel>,
        layout: Layout,
        labels: &Labels,
        bitrate: u32,
    ) -> io::Result<Box<dyn Encoder>> {
        let file = file.into();
        let layout = Layout { rate: self.rate(layout.rate), ..layout };
        let bits = self.bits(layout, bitrate);
        Ok(match self {
            Self::Pcm => Box::new(wav::Wav::create(file, Coding::Pcm, layout, labels)?),
            Self::ALaw => Box::new(wav::Wav::create(file, Coding::ALaw, layout, labels)?),
            Self::MuLaw => Box::new(wav::Wav::create(file, Coding::MuLaw, layout, labels)?),
            Self::Gsm => Box::new(wav::Wav::create(file, Coding::Gsm, layout, labels)?),
            Self::Opus => Box::new(opus::Opus::create(file, layout, labels, bits)?),
            Self::Flac => Box::new(flac::Flac::create(file, layout, labels)?),
            Self::Mp3 => Box::new(mp3::Mp3::create(file, layout, labels, bits)?),
        })
    }

    /// Kilobits a second for all channels.
    fn bits(self, layout: Layout, asked: u32) -> u32 {
        let (least, most) = self.bitrates().unwrap_or((0, 0));
        let voice = match (self, layout.rate) {
            (Self::Opus, ..=8_000) => 16,
            (Self::Opus, ..=16_000) => 24,
            (Self::Opus, _) => 32,
            (_, ..=8_000) => 24,
            (_, ..=16_000) => 32,
            (_, _) => 48,
        };
        let wanted = if asked == 0 { voice * u32::from(layout.channels) } else { asked };
        wanted.clamp(least, most)
    }
}

/// Takes samples and makes a file of them.
pub trait Encoder: Send {
    /// Appends samples, channel by channel in turn.
    ///
    /// # Errors
    /// When the disk, or a library, refuses.
    fn write(&mut self, samples: &[i16]) -> io::Result<()>;

    /// Writes what is left and completes the header; the file is not synced.
    ///
    /// # Errors
    /// When the disk, or a library, refuses.
    fn finish(self: Box<Self>) -> io::Result<Vessel>;
}

/// The table of `orkaudio codecs`: what can be written here.
#[must_use]
pub fn table() -> String {
    let mut text = format!("\n{:<14}{:<22}{}\n", "output.format", "files", "written by");
    for format in Format::ALL {
        let by = format.writer().unwrap_or_else(|why| why);
        text.push_str(&format!("{:<14}.{:<21}{by}\n", format.as_str(), format.extension()));
    }
    text
}

/// What a library of ours says, as an error of input and output.
fn refused(why: impl std::fmt::Display) -> io::Error {
    io::Error::other(why.to_string())
}

#[cfg(test)]
mod tests;
