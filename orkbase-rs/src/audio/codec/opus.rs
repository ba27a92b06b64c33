//! Opus (RFC 6716), always at 48 kHz; two channels come out as their mean.
//!
//! Law: a payload whose framing is legal gives exactly the length that its first bytes state,
//! whatever the frames hold; others are refused before the decoder sees them.

use super::conceal::Filler;
use super::{DecodeError, Decoder};
use opus_pure::OpusDecoder;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Samples a second, and ticks of the RTP clock.
const RATE: u32 = 48_000;
/// The longest packet, 120 ms.
const LONGEST: usize = 5_760;
/// The longest frame in bytes.
const FRAME_BYTES: usize = 1_275;
/// Lengths of lost audio come in steps of 2.5 ms, at most 20 ms at once.
const STEP: usize = 120;
const BLOCK: usize = 960;

pub(super) struct Opus {
    codec: Box<OpusDecoder>,
    filler: Filler,
    pcm: Vec<i16>,
}

impl Opus {
    /// `None` when there is no decoder to be had, which does not happen.
    pub(super) fn new() -> Option<Self> {
        let filler = Filler::new(RATE);
        Some(Self { codec: fresh()?, filler, pcm: Vec::new() })
    }
}

impl Decoder for Opus {
    fn sample_rate(&self) -> u32 {
        RATE
    }

    fn decode(&mut self, payload: &[u8], out: &mut Vec<i16>) -> Result<usize, DecodeError> {
        let Some(ticks) = ticks(payload) else {
            return Err(refusal(payload));
        };
        self.filler.heard();
        run(&mut self.codec, &mut self.pcm, ticks, out, |codec, pcm| {
            codec.decode_s16(payload, ticks, pcm)
        });
        Ok(ticks)
    }

    fn conceal(&mut self, samples: usize, out: &mut Vec<i16>) {
        let (codec, pcm) = (&mut self.codec, &mut self.pcm);
        self.filler.fill(samples, out, |left, out| {
            let size = left.next_multiple_of(STEP).min(BLOCK);
            run(codec, pcm, size, out, |codec, pcm| codec.decode_s16(&[], size, pcm));
        });
    }

    fn conceal_with_next(&mut self, next: &[u8], samples: usize, out: &mut Vec<i16>) {
        // The copy is of the one frame before `next` and as long as a frame of `next` is.
        let size = ticks(next).and_then(|_| frame_ticks(*next.first()?)).unwrap_or(usize::MAX);
        let Some(before) = samples.checked_sub(size) else { return self.conceal(samples, out) };
        self.conceal(before, out);
        self.filler.heard();
        run(&mut self.codec, &mut self.pcm, size, out, |codec, pcm| {
            codec.decode_fec_s16(next, size, pcm)
        });
    }
}

/// Appends what `work` makes of `size` samples. Where it fails half way the stream starts afresh
/// and the rest is silence: frames can be damaged in more ways than their framing tells.
fn run(
    codec: &mut Box<OpusDecoder>,
    pcm: &mut Vec<i16>,
    size: usize,
    out: &mut Vec<i16>,
    work: impl FnOnce(&mut OpusDecoder, &mut [i16]) -> opus_pure::Result<usize>,
) {
    pcm.clear();
    pcm.resize(size, 0);
    // Some ten thousand lines of someone else's read what strangers sent; should one of them
    // panic, that is one stream's trouble.
    let done = catch_unwind(AssertUnwindSafe(|| work(codec, pcm)));
    let made = if let Ok(Ok(made)) = done {
        made.min(size)
    } else {
        if let Some(new) = fresh() {
            *codec = new;
        }
        0
    };
    let end = out.len() + size;
    out.extend(pcm.iter().take(made));
    out.resize(end, 0);
}

fn fresh() -> Option<Box<OpusDecoder>> {
    OpusDecoder::new(RATE.cast_signed(), 1).ok().map(Box::new)
}

fn refusal(payload: &[u8]) -> DecodeError {
    if payload.is_empty() {
        DecodeError::Short { got: 0, need: 1 }
    } else {
        DecodeError::Foreign { offset: 0, why: "Opus packet with frames that do not fit" }
    }
}

/// Length of one frame, from the packet's first byte (RFC 6716 table 2).
fn frame_ticks(toc: u8) -> Option<usize> {
    match toc >> 3 {
        config @ 0..=11 => [480, 960, 1_920, 2_880].get(usize::from(config & 3)).copied(),
        config @ 12..=15 => [480, 960].get(usize::from(config & 1)).copied(),
        config => [120, 240, 480, 960].get(usize::from(config & 3)).copied(),
    }
}

/// How long a packet lasts; `None` where it breaks one of the seven laws of RFC 6716 section 3.4.
pub(super) fn ticks(payload: &[u8]) -> Option<usize> {
    let (&toc, rest) = payload.split_first()?;
    let frame = frame_ticks(toc)?;
    let fits = |frame: &[u8]| frame.len() <= FRAME_BYTES;
    match toc & 3 {
        0 => fits(rest).then_some(frame),
        1 => {
            (rest.len().is_multiple_of(2) && fits(rest.get(rest.len() / 2..)?)).then_some(frame * 2)
        }
        2 => {
            let (size, rest) = frame_size(rest)?;
            fits(rest.get(size..)?).then_some(frame * 2)
        }
        _ => {
            let (&shape, mut rest) = rest.split_first()?;
            let frames = usize::from(shape & 0x3f);
            let total = frame * frames;
            if frames == 0 || total > LONGEST {
                return None;
            }
            if shape & 0x40 != 0 {
                rest = without_padding(rest)?;
            }
            if shape & 0x80 == 0 {
                let each = rest.len() / frames;
                return (each * frames == rest.len() && each <= FRAME_BYTES).then_some(total);
            }
            let mut sizes = 0;
            for _ in 1..frames {
                let size;
                (size, rest) = frame_size(rest)?;
                sizes += size;
            }
            fits(rest.get(sizes..)?).then_some(total)
        }
    }
}

/// One or two bytes of length, and what follows them.
fn frame_size(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (&first, rest) = bytes.split_first()?;
    if first < 252 {
        return Some((usize::from(first), rest));
    }
    let (&second, rest) = rest.split_first()?;
    Some((usize::from(first) + 4 * usize::from(second), rest))
}

/// Takes the length of the padding from the front and the padding from the end.
fn without_padding(mut bytes: &[u8]) -> Option<&[u8]> {
    let mut padding = 0;
    loop {
        let (&count, rest) = bytes.split_first()?;
        bytes = rest;
        if count < 255 {
            padding += usize::from(count);
            return bytes.get(..bytes.len().checked_sub(padding)?);
        }
        padding += 254;
    }
}

#[cfg(test)]
mod tests {
    use super::super::Codec;
    use super::super::tests::{noise, snr, tone};
    use super::ticks;
    use opus_pure::{Application, OpusEncoder, Repacketizer};

    /// Packets of `size` ticks; `shape` sets up the encoder.
    fn encoded(
        signal: &[i16],
        channels: usize,
        size: usize,
        shape: impl FnOnce(&mut OpusEncoder),
    ) -> Vec<Vec<u8>> {
        let mut encoder = OpusEncoder::new(48_000, channels, Application::Voip).unwrap();
        encoder.bitrate_bps = 32_000;
        shape(&mut encoder);
        let mut packet = [0; 4_000];
        signal
            .chunks_exact(size * channels)
            .map(|frame| {
                let count = encoder.encode_s16(frame, size, &mut packet).unwrap();
                packet[..count].to_vec()
            })
            .collect()
    }

    fn decoded(packets: &[Vec<u8>]) -> Vec<i16> {
        let mut decoder = Codec::Opus.decoder().unwrap();
        let mut out = Vec::new();
        for packet in packets {
            let ticks = Codec::Opus.ticks_in(packet) as usize;
            assert_eq!(decoder.decode(packet, &mut out), Ok(ticks));
        }
        out
    }

    /// Quality at whatever delay the encoder has, below 12 ms.
    fn quality(signal: &[i16], decoded: &[i16]) -> f64 {
        (0..576)
            .step_by(48)
            .filter_map(|delay| Some(snr(&signal[..signal.len() - 1_200], decoded.get(delay..)?)))
            .fold(f64::MIN, f64::max)
    }

    #[test]
    fn every_frame_size_comes_back() {
        let signal = tone(440.0, 9_000.0, 48_000);
        for size in [120, 240, 480, 960, 1_920, 2_880] {
            let packets = encoded(&signal, 1, size, |encoder| encoder.bitrate_bps = 64_000);
            let out = decoded(&packets);
            assert_eq!(out.len(), packets.len() * size);
            let found = quality(&signal, &out);
            assert!(found > 10.0, "{size}: {found}");
        }
    }

    #[test]
    fn several_frames_in_a_packet_are_the_same_frames() {
        let signal = tone(300.0, 9_000.0, 48_000);
        let mut packets = encoded(&signal, 1, 960, |encoder| encoder.bitrate_bps = 96_000);
        // Only packets of one configuration can be joined.
        let configuration = packets[20][0];
        packets.retain(|packet| packet[0] == configuration);
        assert!(packets.len() >= 12, "{}", packets.len());
        let one_by_one = decoded(&packets);
        for count in [2, 3, 6] {
            let joined: Vec<_> = packets
                .chunks_exact(count)
                .map(|group| {
                    let mut join = Repacketizer::new();
                    group.iter().for_each(|packet| join.cat(packet).unwrap());
                    join.out().unwrap()
                })
                .collect();
            let out = decoded(&joined);
            assert!(!out.is_empty());
            assert_eq!(out, one_by_one[..out.len()], "{count} frames");
        }
    }

    #[test]
    fn stereo_is_the_mean_of_both_sides() {
        let signal = tone(500.0, 12_000.0, 48_000);
        let left_only: Vec<i16> = signal.iter().flat_map(|&s| [s, 0]).collect();
        let half: Vec<i16> = signal.iter().map(|&s| s / 2).collect();
        let out = decoded(&encoded(&left_only, 2, 960, |encoder| encoder.bitrate_bps = 96_000));
        let found = quality(&half, &out);
        assert!(found > 12.0, "{found}");
    }

    #[test]
    fn a_loss_goes_on_and_then_fades() {
        let signal = tone(200.0, 10_000.0, 48_000);
        let mut decoder = Codec::Opus.decoder().unwrap();
        let mut out = Vec::new();
        for packet in encoded(&signal, 1, 960, |_| {}) {
            decoder.decode(&packet, &mut out).unwrap();
        }
        let mut lost = Vec::new();
        for samples in [1, 119, 839, 1, 2_000, 100_000] {
            let before = lost.len();
            decoder.conceal(samples, &mut lost);
            assert_eq!(lost.len(), before + samples);
        }
        let loud = |part: &[i16]| super::super::tests::loudness(part);
        assert!(loud(&lost[..480]) > 3_000.0, "{}", loud(&lost[..480]));
        assert!(loud(&lost[24_000..25_000]) < 1_000.0);
        assert!(lost[60_000..].iter().all(|&sample| sample == 0));
    }

    #[test]
    fn the_next_packet_mends_the_gap_before_it() {
        let sweep: Vec<i16> = (0..96_000)
            .map(|n| {
                let t = f64::from(n) / 48_000.0;
                let envelope = 0.5 - 0.5 * (t * 25.0).cos();
                #[expect(clippy::cast_possible_truncation, reason = "within range")]
                let sample = (12_000.0 * envelope * (t * (900.0 + 500.0 * t)).sin()) as i16;
                sample
            })
            .collect();
        let packets = encoded(&sweep, 1, 960, |encoder| {
            encoder.use_inband_fec = true;
            encoder.packet_loss_perc = 30;
            encoder.bitrate_bps = 24_000;
        });
        let whole = decoded(&packets);
        let [mut with, mut without] = [0.0, 0.0];
        for gap in (20..90).step_by(10) {
            for (noise, mend) in [(&mut with, true), (&mut without, false)] {
                let mut decoder = Codec::Opus.decoder().unwrap();
                let mut out = Vec::new();
                for packet in &packets[..gap] {
                    decoder.decode(packet, &mut out).unwrap();
                }
                if mend {
                    decoder.conceal_with_next(&packets[gap + 1], 960, &mut out);
                } else {
                    decoder.conceal(960, &mut out);
                }
                assert_eq!(out.len(), (gap + 1) * 960);
                let pairs = out.iter().zip(&whole).skip(gap * 960);
                *noise += pairs.map(|(&a, &b)| f64::from(a - b).powi(2)).sum::<f64>();
            }
        }
        assert!(with * 2.0 < without, "{with:e} {without:e}");
    }

    #[test]
    fn framing_is_checked_before_the_decoder_sees_it() {
        let mono_20 = 9 << 3;
        let cases: &[(&[u8], Option<usize>)] = &[
            (&[mono_20], Some(960)),
            (&[mono_20 | 1, 1, 2], Some(1_920)),
            (&[mono_20 | 1, 1, 2, 3], None),
            (&[mono_20 | 2, 1, 7], Some(1_920)),
            (&[mono_20 | 2, 2, 7], None),
            (&[mono_20 | 2], None),
            (&[mono_20 | 2, 252], None),
            (&[mono_20 | 3, 2, 1, 2], Some(1_920)),
            (&[mono_20 | 3, 2, 1], None),
            (&[mono_20 | 3, 0x82, 1, 7, 8, 9], Some(1_920)),
            (&[mono_20 | 3, 0x82, 4, 7, 8, 9], None),
            (&[mono_20 | 3, 0x41, 2, 7, 0, 0], Some(960)),
            (&[mono_20 | 3, 0x41, 9, 7, 0, 0], None),
            (&[mono_20 | 3, 0x41, 255], None),
            (&[mono_20 | 3, 0], None),
            (&[mono_20 | 3, 7], None),
            (&[], None),
        ];
        for &(payload, expected) in cases {
            assert_eq!(ticks(payload), expected, "{payload:02x?}");
        }
        let long = [&[mono_20][..], &[0; 1_276]].concat();
        assert_eq!(ticks(&long), None);
        assert_eq!(ticks(&long[..1_276]), Some(960));
    }

    #[test]
    fn damaged_frames_are_as_long_as_they_say() {
        let signal = tone(350.0, 9_000.0, 48_000);
        let packets = encoded(&signal, 1, 960, |_| {});
        let junk = noise(40_000);
        let mut decoder = Codec::Opus.decoder().unwrap();
        for (n, packet) in packets.iter().cycle().take(600).enumerate() {
            let mut packet = packet.clone();
            for hit in junk[n * 8..][..8].chunks(2) {
                let at = usize::from(hit[0]) % packet.len();
                packet[at] ^= hit[1];
            }
            let mut out = Vec::new();
            let count = decoder.decode(&packet, &mut out).unwrap_or(0);
            assert_eq!(Some(count), ticks(&packet).or(Some(0)));
            decoder.conceal_with_next(&packet, n * 7 % 3_000, &mut out);
            assert_eq!(out.len(), count + n * 7 % 3_000);
        }
    }
}
