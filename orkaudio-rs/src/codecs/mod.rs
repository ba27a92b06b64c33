//! Decoders that the core does not have, from libraries that are opened at run time: nothing is
//! linked, and where a library is missing its codecs are recorded as they came.
//!
//! Law: the libraries are looked for once, at the first use, under the names that distributions
//! give them. A stream's decoder gives as many samples as [`Codec::ticks_in`] says, whatever the
//! payload holds.

mod amr;
mod av;
pub(crate) mod ffi;
mod speex;

use orkbase::audio::codec::frames::AmrFormat;
use orkbase::audio::codec::{Codec, CodecInfo, Decoded, Decoder, DecoderSource, catalogue};
use std::ffi::CStr;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::OnceLock;

const AMR_NARROW: &str = "libopencore-amrnb.so.0";
const AMR_WIDE: &str = "libopencore-amrwb.so.0";
const SPEEX: &str = "libspeex.so.1";
/// Versions of libavcodec whose structures we know, newest first: `FFmpeg` 8 down to 4.
const AV_MAJORS: [u32; 5] = [62, 61, 60, 59, 58];
/// Versions that exist or will, of which we only say that they are no use.
const AV_UNKNOWN: std::ops::Range<u32> = 63..68;

/// Decoders of libavcodec by rtpmap name.
const AV_DECODERS: [(&str, &CStr); 5] = [
    ("G729", c"g729"),
    ("G723", c"g723_1"),
    ("iLBC", c"ilbc"),
    ("AMR", c"amrnb"),
    ("AMR-WB", c"amrwb"),
];

/// All that could be opened.
#[derive(Debug)]
struct Loaded {
    amr: Result<ffi::Amr, String>,
    amr_wide: Result<ffi::Amr, String>,
    speex: Result<ffi::Speex, String>,
    /// Its version; or why it is not used, where it is there.
    av: Result<(u32, ffi::Av), Option<String>>,
}

impl Loaded {
    fn get() -> &'static Self {
        static LOADED: OnceLock<Loaded> = OnceLock::new();
        LOADED.get_or_init(|| Self {
            amr: ffi::Amr::open_narrow(AMR_NARROW),
            amr_wide: ffi::Amr::open_wide(AMR_WIDE),
            speex: ffi::Speex::open(SPEEX),
            av: open_av(),
        })
    }

    fn amr(&self, wide: bool) -> &Result<ffi::Amr, String> {
        if wide { &self.amr_wide } else { &self.amr }
    }
}

fn av_soname(major: u32) -> String {
    format!("libavcodec.so.{major}")
}

fn open_av() -> Result<(u32, ffi::Av), Option<String>> {
    let mut refused = None;
    for major in AV_MAJORS {
        let name = av_soname(major);
        match ffi::Av::open(&name, major) {
            Ok(av) => return Ok((major, av)),
            // The loader names what it did not find: the library itself, or something it needs.
            Err(why) if why.starts_with(&name) && why.contains("No such file") => {}
            Err(why) => refused = refused.or(Some(why)),
        }
    }
    let unknown = || {
        let name = AV_UNKNOWN.map(av_soname).find(|name| ffi::can_open(name))?;
        Some(format!("{name} is there, but this recorder does not know its structures"))
    };
    Err(refused.or_else(unknown))
}

/// Whether to use a library that its builder put under the GPL, as Debian does with libavcodec.
/// Loading it is the operator's choice on the operator's machine; what is distributed here never
/// contains or links it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Gpl {
    /// Use whatever is installed.
    #[default]
    Use,
    /// Act as if such a library were not there.
    Leave,
}

/// The core's decoders and those of the libraries on this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Libraries {
    /// What to do with libraries under the GPL.
    pub gpl: Gpl,
}

impl Libraries {
    fn av(self) -> Option<&'static ffi::Av> {
        let (_, av) = Loaded::get().av.as_ref().ok()?;
        (self.gpl == Gpl::Use || !is_gpl(&av.licence())).then_some(av)
    }

    /// The library that decodes a codec of the catalogue.
    fn library_for(self, name: &str) -> Option<Place> {
        let loaded = Loaded::get();
        match name {
            "AMR" if loaded.amr.is_ok() => Some(Place::AmrNarrow),
            "AMR-WB" if loaded.amr_wide.is_ok() => Some(Place::AmrWide),
            "speex" => loaded.speex.is_ok().then_some(Place::Speex),
            _ => {
                let (_, decoder) = AV_DECODERS.iter().find(|(known, _)| *known == name)?;
                self.av()?.has(decoder).then_some(Place::Av)
            }
        }
    }
}

impl DecoderSource for Libraries {
    fn decoder(&self, codec: Codec, fmtp: Option<&str>) -> Option<Box<dyn Decoder>> {
        if let Some(own) = codec.decoder() {
            return Some(own);
        }
        match codec {
            Codec::Amr { wide, .. } => {
                let format = AmrFormat::agreed(codec, fmtp)?;
                let voice = match Loaded::get().amr(wide) {
                    Ok(library) => amr::Voice::opencore(library.stream()?),
                    Err(_) => amr::Voice::av(self.av()?, wide)?,
                };
                Some(Box::new(amr::Amr::new(voice, format)))
            }
            Codec::Speex { rate } => {
                let library = Loaded::get().speex.as_ref().ok()?;
                Some(Box::new(speex::Speex::new(library, rate)?))
            }
            Codec::G729 => Some(Box::new(av::G729::new(self.av()?)?)),
            Codec::G723 => Some(Box::new(av::G723::new(self.av()?)?)),
            Codec::Ilbc { mode } => Some(Box::new(av::Ilbc::new(self.av()?, mode)?)),
            Codec::Pcmu
            | Codec::Pcma
            | Codec::L16 { .. }
            | Codec::G722
            | Codec::G726 { .. }
            | Codec::Dvi4 { .. }
            | Codec::Gsm
            | Codec::ComfortNoise { .. }
            | Codec::Opus => None,
        }
    }
}

/// One of the libraries.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Place {
    AmrNarrow,
    AmrWide,
    Speex,
    Av,
}

/// A library that was found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LibraryInfo {
    /// Name it was opened by.
    pub name: String,
    /// File it came from, where the system tells.
    pub path: Option<PathBuf>,
    /// Licence of the build.
    pub licence: String,
    /// rtpmap names of what it is used for.
    pub decodes: Vec<&'static str>,
}

/// The libraries on this machine that decode something, as far as `gpl` lets them.
#[must_use]
pub fn found(gpl: Gpl) -> Vec<LibraryInfo> {
    let all = Libraries { gpl };
    [Place::AmrNarrow, Place::AmrWide, Place::Speex, Place::Av]
        .into_iter()
        .filter_map(|place| {
            let uses = |info: &&CodecInfo| all.library_for(info.name) == Some(place);
            let decodes: Vec<_> = catalogue().iter().filter(uses).map(|info| info.name).collect();
            let (name, licence) = described(place);
            let path = path_of(&name);
            (!decodes.is_empty()).then_some(LibraryInfo { name, path, licence, decodes })
        })
        .collect()
}

/// Name and licence.
fn described(place: Place) -> (String, String) {
    let (name, licence) = match place {
        Place::AmrNarrow => (AMR_NARROW, "Apache-2.0"),
        Place::AmrWide => (AMR_WIDE, "Apache-2.0"),
        Place::Speex => (SPEEX, "BSD-3-Clause"),
        Place::Av => {
            return match &Loaded::get().av {
                Ok((major, av)) => (av_soname(*major), av.licence()),
                Err(_) => ("libavcodec".to_owned(), "unknown".to_owned()),
            };
        }
    };
    (name.to_owned(), licence.to_owned())
}

fn is_gpl(licence: &str) -> bool {
    licence.starts_with("GPL") || licence.starts_with("nonfree")
}

/// The file behind an open library, from the list of what this process has mapped.
fn path_of(soname: &str) -> Option<PathBuf> {
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    maps.lines().find_map(|line| {
        let path = PathBuf::from(line.split_once('/').map(|(_, rest)| format!("/{rest}"))?);
        let name = path.file_name()?.to_str()?;
        name.starts_with(soname).then_some(path)
    })
}

/// What to install for a codec that nothing here decodes.
fn package_for(name: &str) -> &'static str {
    match name {
        "AMR" => "libopencore-amrnb0",
        "AMR-WB" => "libopencore-amrwb0",
        "speex" => "libspeex1",
        _ => "libavcodec61 (Debian 13), libavcodec60 (Ubuntu 24.04) or libavcodec59 (Debian 12)",
    }
}

/// The text of `orkaudio codecs`: every codec, its rates, and who decodes it here.
#[must_use]
pub fn table(gpl: Gpl) -> String {
    let found = found(gpl);
    let mut text = format!("{:<14}{:<22}{}\n", "codec", "RTP clock", "decoded by");
    for info in catalogue() {
        let by = match info.decoded {
            Decoded::BuiltIn => "built in".to_owned(),
            Decoded::Elsewhere => found
                .iter()
                .find(|library| library.decodes.contains(&info.name))
                .map_or_else(|| format!("not found: install {}", package_for(info.name)), shown),
        };
        let note = if info.note.is_empty() { String::new() } else { format!("; {}", info.note) };
        append(&mut text, format_args!("{:<14}{:<22}{by}{note}\n", info.name, rates(info)));
    }
    for library in &found {
        let name = &library.name;
        append(&mut text, format_args!("\n{name}: {}", library.licence));
    }
    if !found.is_empty() {
        text.push('\n');
    }
    if let Err(Some(why)) = &Loaded::get().av {
        append(&mut text, format_args!("\nlibavcodec is not used: {why}\n"));
    }
    if let Ok((major, av)) = &Loaded::get().av
        && is_gpl(&av.licence())
    {
        let (name, licence) = (av_soname(*major), av.licence());
        let what = match gpl {
            Gpl::Use => "and is used; codecs.gpl = false leaves it alone",
            Gpl::Leave => "and is not used, as codecs.gpl = false",
        };
        append(&mut text, format_args!("\n{name} was built under the {licence} {what}\n"));
    }
    text
}

fn shown(library: &LibraryInfo) -> String {
    library.path.as_ref().map_or_else(|| library.name.clone(), |path| path.display().to_string())
}

fn rates(info: &CodecInfo) -> String {
    let numbers: Vec<_> = info.rates.iter().map(ToString::to_string).collect();
    numbers.join(if info.any_rate { " to " } else { " " })
}

fn append(text: &mut String, more: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _done = text.write_fmt(more).is_ok();
}

#[cfg(test)]
mod tests;
