//! Encoders in C libraries, opened at run time as the decoders are (`codecs/ffi.rs`, whose law holds
//! here): libgsm (permissive) and libmp3lame (LGPL, never linked).

#![expect(unsafe_code, reason = "C functions are found by name at run time; see each block")]

use crate::{
    codecs::ffi::{State, functions, said},
    tape::wav::GSM_BLOCK,
};
use libloading::Library;
use std::{
    ffi::c_int,
    ptr::{self, NonNull},
    sync::OnceLock,
};

/// Name of the library for GSM.
pub(super) const GSM: &str = "libgsm.so.1";
/// Name of the library for MP3.
pub(super) const LAME: &str = "libmp3lame.so.0";

functions!(GsmFunctions {
    create = c"gsm_create": fn() -> State;
    destroy = c"gsm_destroy": fn(State);
    option = c"gsm_option": fn(State, c_int, *mut c_int) -> c_int;
    encode = c"gsm_encode": fn(State, *mut i16, *mut u8);
    decode = c"gsm_decode": fn(State, *mut u8, *mut i16) -> c_int;
});

/// `GSM_OPT_WAV49`.
const WAV49: c_int = 4;
/// Samples of a frame; a block has two.
const FRAME: usize = 160;
/// Bytes of a block.
const BLOCK: usize = 65;
const _: () = assert!(GSM_BLOCK.0 == 2 * FRAME as u64 && GSM_BLOCK.1 == BLOCK as u64);

/// libgsm.
#[derive(Debug)]
pub(super) struct Gsm(GsmFunctions);

impl Gsm {
    /// The library, opened at the first use.
    pub(super) fn get() -> Result<&'static Self, &'static str> {
        static LOADED: OnceLock<Result<Gsm, String>> = OnceLock::new();
        let loaded = LOADED.get_or_init(|| GsmFunctions::open(GSM).map(Self));
        loaded.as_ref().map_err(String::as_str)
    }

    /// A fresh coder, for one direction.
    pub(super) fn stream(&'static self) -> Result<GsmStream, &'static str> {
        // SAFETY: takes no arguments; gives a state of its own or null.
        let state = NonNull::new(unsafe { (self.0.create)() }).ok_or("libgsm: no memory")?;
        let stream = GsmStream { library: self, state };
        let mut on = 1;
        // SAFETY: the state is live; the option reads one int.
        if unsafe { (self.0.option)(state.as_ptr(), WAV49, &raw mut on) } < 0 {
            return Err("libgsm was built without WAV49");
        }
        Ok(stream)
    }
}

/// One coder of blocks.
#[derive(Debug)]
pub(super) struct GsmStream {
    library: &'static Gsm,
    state: NonNull<std::ffi::c_void>,
}

// SAFETY: the state is reached through this value alone, and the library keeps nothing per thread.
unsafe impl Send for GsmStream {}

impl GsmStream {
    /// Codes 320 samples to 65 bytes, appended; other lengths are ignored.
    pub(super) fn encode(&mut self, samples: &[i16], out: &mut Vec<u8>) {
        let Some(samples) = samples.first_chunk::<{ 2 * FRAME }>() else { return };
        let (mut samples, mut bytes) = (*samples, [0u8; BLOCK + 1]);
        // SAFETY: the state is live. Each call reads 160 samples; the first writes 32 bytes and
        // keeps a half, the second writes 33; the buffer is longer than both.
        unsafe {
            let (from, to) = (samples.as_mut_ptr(), bytes.as_mut_ptr());
            (self.library.0.encode)(self.state.as_ptr(), from, to);
            (self.library.0.encode)(self.state.as_ptr(), from.add(FRAME), to.add(32));
        }
        out.extend(bytes.iter().take(BLOCK));
    }

    /// Decodes whole blocks; what is left over is ignored, what is no GSM is silence.
    pub(super) fn decode(&mut self, bytes: &[u8], out: &mut Vec<i16>) {
        for block in bytes.as_chunks::<BLOCK>().0 {
            let (mut block, mut samples) = (*block, [0i16; 2 * FRAME]);
            // SAFETY: the state is live. The first call reads 33 bytes, the second 32; each writes
            // 160 samples or none.
            let done = unsafe {
                let (from, to) = (block.as_mut_ptr(), samples.as_mut_ptr());
                [
                    (self.library.0.decode)(self.state.as_ptr(), from, to),
                    (self.library.0.decode)(self.state.as_ptr(), from.add(33), to.add(FRAME)),
                ]
            };
            if done != [0, 0] {
                samples = [0; 2 * FRAME];
            }
            out.extend_from_slice(&samples);
        }
    }
}

impl Drop for GsmStream {
    fn drop(&mut self) {
        // SAFETY: `state` came from `create` and is not used again.
        unsafe { (self.library.0.destroy)(self.state.as_ptr()) }
    }
}

functions!(LameFunctions {
    init = c"lame_init": fn() -> State;
    close = c"lame_close": fn(State) -> c_int;
    set_in_rate = c"lame_set_in_samplerate": fn(State, c_int) -> c_int;
    set_out_rate = c"lame_set_out_samplerate": fn(State, c_int) -> c_int;
    set_channels = c"lame_set_num_channels": fn(State, c_int) -> c_int;
    set_mode = c"lame_set_mode": fn(State, c_int) -> c_int;
    set_vbr = c"lame_set_VBR": fn(State, c_int) -> c_int;
    set_mean = c"lame_set_VBR_mean_bitrate_kbps": fn(State, c_int) -> c_int;
    set_quality = c"lame_set_quality": fn(State, c_int) -> c_int;
    set_vbr_tag = c"lame_set_bWriteVbrTag": fn(State, c_int) -> c_int;
    init_params = c"lame_init_params": fn(State) -> c_int;
    encode = c"lame_encode_buffer": fn(State, *const i16, *const i16, c_int, *mut u8, c_int) -> c_int;
    flush = c"lame_encode_flush": fn(State, *mut u8, c_int) -> c_int;
    length_frame = c"lame_get_lametag_frame": fn(State, *mut u8, usize) -> usize;
});

/// Two channels of their own: two people do not sound alike.
const STEREO: c_int = 0;
/// One channel.
const MONO: c_int = 3;
/// `vbr_abr`: the bit rate is met on average. A constant one leaves no room for the frame that tells
/// of the length where it is low.
const AVERAGE: c_int = 3;
/// 0 is best and slow, 9 the reverse; the library recommends 5 as quick and good.
const QUALITY: c_int = 5;
/// What a flush may write, by the library's documentation.
const FLUSH: usize = 7_200;

/// libmp3lame.
#[derive(Debug)]
pub(super) struct Lame(LameFunctions);

impl Lame {
    /// The library, opened at the first use.
    pub(super) fn get() -> Result<&'static Self, &'static str> {
        static LOADED: OnceLock<Result<Lame, String>> = OnceLock::new();
        let loaded = LOADED.get_or_init(|| LameFunctions::open(LAME).map(Self));
        loaded.as_ref().map_err(String::as_str)
    }

    /// A fresh encoder.
    pub(super) fn stream(
        &'static self,
        rate: u32,
        channels: u16,
        kilobits: u32,
    ) -> Result<LameStream, &'static str> {
        let int = |n: u32| c_int::try_from(n).unwrap_or(c_int::MAX);
        // SAFETY: takes no arguments; gives a state of its own or null.
        let state = NonNull::new(unsafe { (self.0.init)() }).ok_or("libmp3lame: no memory")?;
        // From here on dropping the stream frees it.
        let stream = LameStream { library: self, state, stereo: channels == 2 };
        let mode = if channels == 2 { STEREO } else { MONO };
        let (state, lame) = (state.as_ptr(), &self.0);
        // SAFETY: the state is live; all of these take plain numbers and check them.
        let done = unsafe {
            [
                (lame.set_in_rate)(state, int(rate)),
                (lame.set_out_rate)(state, int(rate)),
                (lame.set_channels)(state, int(u32::from(channels))),
                (lame.set_mode)(state, mode),
                (lame.set_vbr)(state, AVERAGE),
                (lame.set_mean)(state, int(kilobits)),
                (lame.set_quality)(state, QUALITY),
                (lame.set_vbr_tag)(state, 1),
                (lame.init_params)(state),
            ]
        };
        if done.into_iter().any(|code| code < 0) {
            return Err("libmp3lame does not take this rate");
        }
        Ok(stream)
    }
}

/// One encoder.
#[derive(Debug)]
pub(super) struct LameStream {
    library: &'static Lame,
    state: NonNull<std::ffi::c_void>,
    stereo: bool,
}

// SAFETY: the state is reached through this value alone, and the library keeps nothing per thread.
unsafe impl Send for LameStream {}

impl LameStream {
    /// Codes samples, channel by channel in turn, to `out` in place of what it holds.
    pub(super) fn encode(&mut self, samples: &[i16], out: &mut Vec<u8>) -> Result<(), String> {
        let (left, right): (Vec<i16>, Vec<i16>) = if self.stereo {
            samples.as_chunks::<2>().0.iter().map(|[left, right]| (*left, *right)).unzip()
        } else {
            (samples.to_vec(), Vec::new())
        };
        let right = if self.stereo { right.as_ptr() } else { ptr::null() };
        let frames = c_int::try_from(left.len()).map_err(|_| "too much at once".to_owned())?;
        out.resize(left.len() / 4 * 5 + 8 + FLUSH, 0);
        let size = c_int::try_from(out.len()).unwrap_or(c_int::MAX);
        // SAFETY: the state is live; both channels have `frames` samples (one channel takes no
        // second buffer), and no more than `size` bytes are written.
        let count = unsafe {
            let encode = self.library.0.encode;
            encode(self.state.as_ptr(), left.as_ptr(), right, frames, out.as_mut_ptr(), size)
        };
        keep(count, out)
    }

    /// What is left, to `out` in place of what it holds.
    pub(super) fn flush(&mut self, out: &mut Vec<u8>) -> Result<(), String> {
        out.resize(FLUSH, 0);
        let size = c_int::try_from(FLUSH).unwrap_or(c_int::MAX);
        // SAFETY: the state is live; no more than `size` bytes are written.
        let count = unsafe { (self.library.0.flush)(self.state.as_ptr(), out.as_mut_ptr(), size) };
        keep(count, out)
    }

    /// The first frame of the file, which tells of its length, to `out` in place of what it holds.
    pub(super) fn length_frame(&mut self, out: &mut Vec<u8>) {
        out.resize(2_880, 0);
        let (bytes, size) = (out.as_mut_ptr(), out.len());
        // SAFETY: the state is live; no more than `size` bytes are written, and a larger number
        // than that tells that nothing was.
        let count = unsafe { (self.library.0.length_frame)(self.state.as_ptr(), bytes, size) };
        out.truncate(if count <= size { count } else { 0 });
    }
}

/// Cuts the buffer to what was written.
fn keep(count: c_int, out: &mut Vec<u8>) -> Result<(), String> {
    let count = usize::try_from(count).map_err(|_| format!("libmp3lame: error {count}"))?;
    out.truncate(count);
    Ok(())
}

impl Drop for LameStream {
    fn drop(&mut self) {
        // SAFETY: `state` came from `init` and is not used again.
        unsafe { (self.library.0.close)(self.state.as_ptr()) };
    }
}
