//! Speech codecs in C libraries, opened at run time: safe calls around the unsafe ones.
//!
//! Law: nothing outside this file touches a pointer of theirs. Each stream owns its state and
//! frees it; every buffer handed over is as long as the library may read or write, and every
//! length that comes back is checked. No function of ours is ever called from C, so no panic can
//! cross. A library once opened stays open until the process ends.

#![expect(unsafe_code, reason = "C functions are found by name at run time; see each block")]

use libloading::Library;
use orkbase::audio::codec::frames::{AmrFrame, SpeexBand};
use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::ptr::{self, NonNull};

/// Declares the functions of a library: their names there, their types, and how to find them.
macro_rules! functions {
    ($table:ident { $($field:ident = $symbol:literal: fn($($argument:ty),*) $(-> $result:ty)?;)* }) => {
        #[derive(Debug)]
        struct $table {
            $($field: unsafe extern "C" fn($($argument),*) $(-> $result)?,)*
            /// Keeps the code in memory that the pointers above point to.
            _library: Library,
        }

        impl $table {
            fn open(soname: &str) -> Result<Self, String> {
                // SAFETY: `soname` names one of the codec libraries this file is written for,
                // whose constructors set up nothing but themselves.
                let library = unsafe { Library::new(soname) }.map_err(said)?;
                $(
                    // SAFETY: the type is the one that the library's public header declares for
                    // this name, unchanged in every version with this soname.
                    let $field = *unsafe {
                        library.get::<unsafe extern "C" fn($($argument),*) $(-> $result)?>($symbol)
                    }
                    .map_err(said)?;
                )*
                Ok(Self { $($field,)* _library: library })
            }
        }
    };
}

pub(crate) use functions;

/// What the system's loader said, which names the file.
pub(crate) fn said(error: libloading::Error) -> String {
    std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string)
}

pub(crate) type State = *mut c_void;

functions!(AmrFunctions {
    init = c"Decoder_Interface_init": fn() -> State;
    decode = c"Decoder_Interface_Decode": fn(State, *const u8, *mut i16, c_int);
    exit = c"Decoder_Interface_exit": fn(State);
});

functions!(AmrWbFunctions {
    init = c"D_IF_init": fn() -> State;
    decode = c"D_IF_decode": fn(State, *const u8, *mut i16, c_int);
    exit = c"D_IF_exit": fn(State);
});

/// opencore-amrnb or opencore-amrwb, which differ in names only.
#[derive(Debug)]
pub(super) struct Amr(AmrFunctions);

impl Amr {
    pub(super) fn open_narrow(soname: &str) -> Result<Self, String> {
        AmrFunctions::open(soname).map(Self)
    }

    pub(super) fn open_wide(soname: &str) -> Result<Self, String> {
        let AmrWbFunctions { init, decode, exit, _library } = AmrWbFunctions::open(soname)?;
        Ok(Self(AmrFunctions { init, decode, exit, _library }))
    }

    /// A fresh decoder.
    pub(super) fn stream(&'static self) -> Option<AmrStream> {
        // SAFETY: takes no arguments; gives a state of its own or null.
        let state = unsafe { (self.0.init)() };
        Some(AmrStream { library: self, state: NonNull::new(state)? })
    }
}

/// One AMR decoder.
#[derive(Debug)]
pub(super) struct AmrStream {
    library: &'static Amr,
    state: NonNull<c_void>,
}

// SAFETY: the state is reached through this value alone, and the libraries keep nothing per thread.
unsafe impl Send for AmrStream {}

impl AmrStream {
    /// Samples of the longest frame.
    pub(super) const SAMPLES: usize = 320;

    /// Decodes one frame to the first 160 or, wide, all 320 of `out`.
    pub(super) fn decode(&mut self, frame: &AmrFrame, out: &mut [i16; Self::SAMPLES]) {
        let (bytes, out) = (frame.padded().as_ptr(), out.as_mut_ptr());
        // SAFETY: `state` is live. Whatever type the four bits in the header say, at most 61 of
        // the 64 bytes are read; 160 or 320 samples are written.
        unsafe { (self.library.0.decode)(self.state.as_ptr(), bytes, out, 0) }
    }
}

impl Drop for AmrStream {
    fn drop(&mut self) {
        // SAFETY: `state` came from the matching `init` and is not used again.
        unsafe { (self.library.0.exit)(self.state.as_ptr()) }
    }
}

functions!(SpeexFunctions {
    mode = c"speex_lib_get_mode": fn(c_int) -> *const c_void;
    init = c"speex_decoder_init": fn(*const c_void) -> State;
    destroy = c"speex_decoder_destroy": fn(State);
    control = c"speex_decoder_ctl": fn(State, c_int, *mut c_void) -> c_int;
    decode = c"speex_decode_int": fn(State, *mut SpeexBits, *mut i16) -> c_int;
    bits_init = c"speex_bits_init": fn(*mut SpeexBits);
    bits_destroy = c"speex_bits_destroy": fn(*mut SpeexBits);
    bits_read_from = c"speex_bits_read_from": fn(*mut SpeexBits, *const c_char, c_int);
});

/// Room for the library's own structure, which has two pointers and seven ints.
#[derive(Debug)]
#[repr(C, align(16))]
struct SpeexBits([u64; 16]);

/// `SPEEX_GET_FRAME_SIZE`.
const SPEEX_FRAME_SIZE: c_int = 3;

/// libspeex.
#[derive(Debug)]
pub(super) struct Speex(SpeexFunctions);

impl Speex {
    pub(super) fn open(soname: &str) -> Result<Self, String> {
        SpeexFunctions::open(soname).map(Self)
    }

    /// A fresh decoder.
    pub(super) fn stream(&'static self, band: SpeexBand) -> Option<SpeexStream> {
        let number = match band {
            SpeexBand::Narrow => 0,
            SpeexBand::Wide => 1,
            SpeexBand::UltraWide => 2,
        };
        // SAFETY: 0 to 2 are the modes there are; the result is a constant of the library.
        let mode = NonNull::new(unsafe { (self.0.mode)(number) }.cast_mut())?;
        // SAFETY: `mode` is one of the library's.
        let state = NonNull::new(unsafe { (self.0.init)(mode.as_ptr()) })?;
        let mut bits = Box::new(SpeexBits([0; 16]));
        // SAFETY: there is more room than the structure takes.
        unsafe { (self.0.bits_init)(&raw mut *bits) };
        let stream = SpeexStream { library: self, state, bits, band };
        let mut size: c_int = 0;
        // SAFETY: this request writes one int.
        unsafe { (self.0.control)(state.as_ptr(), SPEEX_FRAME_SIZE, (&raw mut size).cast()) };
        (usize::try_from(size) == Ok(band.samples())).then_some(stream)
    }
}

/// One Speex decoder and the payload it is reading.
#[derive(Debug)]
pub(super) struct SpeexStream {
    library: &'static Speex,
    state: NonNull<c_void>,
    bits: Box<SpeexBits>,
    band: SpeexBand,
}

// SAFETY: state and bits are reached through this value alone; the modes are constants.
unsafe impl Send for SpeexStream {}

impl SpeexStream {
    /// Samples of the longest frame.
    pub(super) const SAMPLES: usize = 640;

    /// Bandwidth, and with it the samples of a frame.
    pub(super) const fn band(&self) -> SpeexBand {
        self.band
    }

    /// Takes up a payload.
    pub(super) fn read(&mut self, payload: &[u8]) {
        let Ok(len) = c_int::try_from(payload.len()) else { return };
        // SAFETY: copies `len` bytes into a buffer that the library makes long enough.
        unsafe {
            (self.library.0.bits_read_from)(&raw mut *self.bits, payload.as_ptr().cast(), len);
        }
    }

    /// Decodes the next frame of the payload to the front of `out`; false when there is none.
    pub(super) fn decode(&mut self, out: &mut [i16; Self::SAMPLES]) -> bool {
        let bits = &raw mut *self.bits;
        // SAFETY: state and bits are live; a frame is `band.samples()` long, checked when the
        // stream was made and at most `SAMPLES`. Reading stops at the end of the payload.
        unsafe { (self.library.0.decode)(self.state.as_ptr(), bits, out.as_mut_ptr()) == 0 }
    }

    /// Makes up a frame for a lost one.
    pub(super) fn conceal(&mut self, out: &mut [i16; Self::SAMPLES]) {
        // SAFETY: as in `decode`; null in place of bits means a lost frame.
        unsafe {
            (self.library.0.decode)(self.state.as_ptr(), ptr::null_mut(), out.as_mut_ptr());
        }
    }
}

impl Drop for SpeexStream {
    fn drop(&mut self) {
        // SAFETY: both were made by this library's functions and are not used again.
        unsafe {
            (self.library.0.bits_destroy)(&raw mut *self.bits);
            (self.library.0.destroy)(self.state.as_ptr());
        }
    }
}

functions!(AvFunctions {
    version = c"avcodec_version": fn() -> c_uint;
    license = c"avcodec_license": fn() -> *const c_char;
    find_decoder = c"avcodec_find_decoder_by_name": fn(*const c_char) -> *const c_void;
    alloc_context = c"avcodec_alloc_context3": fn(*const c_void) -> State;
    free_context = c"avcodec_free_context": fn(*mut State);
    open = c"avcodec_open2": fn(State, *const c_void, *mut State) -> c_int;
    send_packet = c"avcodec_send_packet": fn(State, *const AvPacket) -> c_int;
    receive_frame = c"avcodec_receive_frame": fn(State, *mut AvFrame) -> c_int;
    packet_alloc = c"av_packet_alloc": fn() -> *mut AvPacket;
    packet_free = c"av_packet_free": fn(*mut *mut AvPacket);
    packet_unref = c"av_packet_unref": fn(*mut AvPacket);
    new_packet = c"av_new_packet": fn(*mut AvPacket, c_int) -> c_int;
    // Those of libavutil are found through libavcodec, which is linked to the one that fits.
    frame_alloc = c"av_frame_alloc": fn() -> *mut AvFrame;
    frame_free = c"av_frame_free": fn(*mut *mut AvFrame);
    set_int = c"av_opt_set_int": fn(State, *const c_char, i64, c_int) -> c_int;
    set = c"av_opt_set": fn(State, *const c_char, *const c_char, c_int) -> c_int;
    log_level = c"av_log_set_level": fn(c_int);
});

/// The start of `AVPacket`, the same from libavcodec 58 to 62; made by the library alone.
#[repr(C)]
struct AvPacket {
    buf: *mut c_void,
    pts: i64,
    dts: i64,
    data: *mut u8,
    size: c_int,
}

/// The start of `AVFrame`, the same from libavutil 56 to 60; made by the library alone.
#[repr(C)]
struct AvFrame {
    data: [*mut u8; 8],
    linesize: [c_int; 8],
    extended_data: *mut *mut u8,
    width: c_int,
    height: c_int,
    nb_samples: c_int,
    format: c_int,
}

/// `AVSampleFormat`: interleaved or a plane for each channel, which for one channel is the same.
const S16: [c_int; 2] = [1, 6];
const FLOAT: [c_int; 2] = [3, 8];
const LOG_QUIET: c_int = -8;

/// libavcodec of one of the versions whose structures are known.
#[derive(Debug)]
pub(super) struct Av(AvFunctions);

/// A decoder of libavcodec and what it must be told.
#[derive(Clone, Copy, Debug)]
pub(super) struct AvSetup {
    pub(super) name: &'static CStr,
    pub(super) rate: u32,
    /// Bits a second where that chooses the mode; else 0.
    pub(super) bit_rate: u32,
}

impl Av {
    /// Opens it and checks that it is what its name says.
    pub(super) fn open(soname: &str, major: u32) -> Result<Self, String> {
        let av = Self(AvFunctions::open(soname)?);
        // SAFETY: takes no arguments.
        let version = unsafe { (av.0.version)() };
        if version >> 16 != major {
            return Err(format!("{soname} says that it is version {}", version >> 16));
        }
        if !av.layout_fits() {
            return Err(format!("{soname} lays out its structures in a way we do not know"));
        }
        // SAFETY: sets a number. Bad packets are our caller's business, not the terminal's.
        unsafe { (av.0.log_level)(LOG_QUIET) };
        Ok(av)
    }

    /// Whether a fresh packet and a fresh frame have in the places we read what they must have.
    fn layout_fits(&self) -> bool {
        const SIZE: c_int = 37;
        let Some((mut packet, mut frame)) = self.buffers() else { return false };
        // SAFETY: both are live, and larger than the starts of them that we declare.
        unsafe {
            let made = (self.0.new_packet)(packet.as_ptr(), SIZE) == 0;
            let packet_fits = made && {
                let AvPacket { buf, pts, dts, data, size } = packet.as_ref();
                !buf.is_null() && pts == dts && !data.is_null() && *size == SIZE
            };
            let fresh = frame.as_mut();
            let frame_fits = fresh.data.iter().all(|plane| plane.is_null())
                && fresh.linesize == [0; 8]
                && ptr::eq(fresh.extended_data, fresh.data.as_ptr())
                && [fresh.width, fresh.height, fresh.nb_samples] == [0; 3]
                && fresh.format == -1;
            self.free(&mut packet, &mut frame);
            packet_fits && frame_fits
        }
    }

    fn buffers(&self) -> Option<(NonNull<AvPacket>, NonNull<AvFrame>)> {
        // SAFETY: both take no arguments and give a live pointer or null.
        let (packet, frame) = unsafe { ((self.0.packet_alloc)(), (self.0.frame_alloc)()) };
        match (NonNull::new(packet), NonNull::new(frame)) {
            (Some(packet), Some(frame)) => Some((packet, frame)),
            (packet, frame) => {
                let mut packet = packet.map_or(ptr::null_mut(), NonNull::as_ptr);
                let mut frame = frame.map_or(ptr::null_mut(), NonNull::as_ptr);
                // SAFETY: frees what there is; null is nothing.
                unsafe {
                    (self.0.packet_free)(&raw mut packet);
                    (self.0.frame_free)(&raw mut frame);
                }
                None
            }
        }
    }

    /// Frees what [`Self::buffers`] gave; the pointers are dangling afterwards.
    fn free(&self, packet: &mut NonNull<AvPacket>, frame: &mut NonNull<AvFrame>) {
        let (mut packet, mut frame) = (packet.as_ptr(), frame.as_ptr());
        // SAFETY: both came from this library; the callers do not use them again.
        unsafe {
            (self.0.packet_free)(&raw mut packet);
            (self.0.frame_free)(&raw mut frame);
        }
    }

    /// The licence that the library's builder chose.
    pub(super) fn licence(&self) -> String {
        // SAFETY: takes no arguments and gives a constant of the library.
        let text = unsafe { (self.0.license)() };
        if text.is_null() {
            return "unknown".to_owned();
        }
        // SAFETY: not null, and C text that lives as long as the library.
        unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
    }

    fn find(&self, name: &CStr) -> Option<NonNull<c_void>> {
        // SAFETY: reads C text, gives a constant of the library or null.
        NonNull::new(unsafe { (self.0.find_decoder)(name.as_ptr()) }.cast_mut())
    }

    /// Whether this build has the decoder.
    pub(super) fn has(&self, name: &CStr) -> bool {
        self.find(name).is_some()
    }

    /// A fresh decoder.
    pub(super) fn stream(&'static self, setup: AvSetup) -> Option<AvStream> {
        let codec = self.find(setup.name)?;
        // SAFETY: `codec` is one of the library's.
        let context = NonNull::new(unsafe { (self.0.alloc_context)(codec.as_ptr()) })?;
        let Some((packet, frame)) = self.buffers() else {
            let mut context = context.as_ptr();
            // SAFETY: made above and not used again.
            unsafe { (self.0.free_context)(&raw mut context) };
            return None;
        };
        // From here on dropping the stream frees everything.
        let stream = AvStream { library: self, context, packet, frame };
        // SAFETY: the context is live and starts with its class, as these functions need; names
        // and values are C text. Options that a version does not have are refused, not misread.
        let ready = unsafe {
            let context = context.as_ptr();
            let set_int = |name: &CStr, value: u32| {
                (self.0.set_int)(context, name.as_ptr(), i64::from(value), 0) >= 0
            };
            let mono = (self.0.set)(context, c"ch_layout".as_ptr(), c"mono".as_ptr(), 0) >= 0
                || set_int(c"ac", 1);
            mono && set_int(c"ar", setup.rate)
                && (setup.bit_rate == 0 || set_int(c"b", setup.bit_rate))
                && (self.0.open)(context, codec.as_ptr(), ptr::null_mut()) >= 0
        };
        ready.then_some(stream)
    }
}

/// One decoder of libavcodec.
#[derive(Debug)]
pub(super) struct AvStream {
    library: &'static Av,
    context: NonNull<c_void>,
    packet: NonNull<AvPacket>,
    frame: NonNull<AvFrame>,
}

// SAFETY: all three are reached through this value alone; the library allows any thread to use
// them, one at a time.
unsafe impl Send for AvStream {}

impl AvStream {
    /// No frame of the codecs used here is longer, in bytes or in samples.
    const MOST: usize = 5_760;

    /// Decodes one frame, appended to `out`; returns how many samples that was.
    pub(super) fn decode(&mut self, frame: &[u8], out: &mut Vec<i16>) -> usize {
        let before = out.len();
        if self.send(frame) {
            // One frame goes in and one comes out; the bound is against surprises.
            for _ in 0..4 {
                if !self.receive(out) {
                    break;
                }
            }
        }
        out.len() - before
    }

    fn send(&mut self, bytes: &[u8]) -> bool {
        let Ok(size) = c_int::try_from(bytes.len()) else { return false };
        if bytes.is_empty() || bytes.len() > Self::MOST {
            return false;
        }
        let functions = &self.library.0;
        let packet = self.packet.as_ptr();
        // SAFETY: the packet is live and empty; `new_packet` gives it `size` bytes and room behind
        // them, which the copy fills. The context is live and takes its own reference.
        unsafe {
            if (functions.new_packet)(packet, size) < 0 {
                return false;
            }
            let fits = !(*packet).data.is_null() && (*packet).size == size;
            if fits {
                ptr::copy_nonoverlapping(bytes.as_ptr(), (*packet).data, bytes.len());
            }
            let sent = fits && (functions.send_packet)(self.context.as_ptr(), packet) >= 0;
            (functions.packet_unref)(packet);
            sent
        }
    }

    fn receive(&mut self, out: &mut Vec<i16>) -> bool {
        let functions = &self.library.0;
        // SAFETY: context and frame are live; the frame's last content is released first.
        if unsafe { (functions.receive_frame)(self.context.as_ptr(), self.frame.as_ptr()) } < 0 {
            return false;
        }
        // SAFETY: the frame is live, and nothing else holds a reference to it.
        let frame = unsafe { self.frame.as_ref() };
        let [data, ..] = frame.data;
        let count = usize::try_from(frame.nb_samples).unwrap_or(0);
        if data.is_null() || !data.cast::<f32>().is_aligned() || count > Self::MOST {
            return false;
        }
        if S16.contains(&frame.format) {
            // SAFETY: the library says that `count` 16-bit samples are there, and keeps them until
            // the next call; planes are aligned, as checked.
            out.extend_from_slice(unsafe { std::slice::from_raw_parts(data.cast::<i16>(), count) });
        } else if FLOAT.contains(&frame.format) {
            // SAFETY: the same for floats.
            let samples = unsafe { std::slice::from_raw_parts(data.cast::<f32>(), count) };
            out.extend(samples.iter().map(|&sample| to_sample(sample)));
        } else {
            return false;
        }
        true
    }
}

impl Drop for AvStream {
    fn drop(&mut self) {
        let mut context = self.context.as_ptr();
        // SAFETY: made by this library and not used again.
        unsafe { (self.library.0.free_context)(&raw mut context) };
        self.library.free(&mut self.packet, &mut self.frame);
    }
}

/// From -1 to 1 to 16 bits.
#[expect(clippy::cast_possible_truncation, reason = "a float cast stops at the range of i16")]
fn to_sample(sample: f32) -> i16 {
    (sample * 32_768.0).round() as i16
}

/// Whether a library of this name is there at all; it is closed again.
pub(super) fn can_open(soname: &str) -> bool {
    // SAFETY: the callers name versions of libavcodec, whose constructors set up nothing but
    // themselves; no function of it is called.
    unsafe { Library::new(soname) }.is_ok()
}
