//! What holds for every codec of the libraries that are here; those that are not are skipped, and
//! the test says so.

#![expect(clippy::print_stderr, reason = "a test that checks nothing must say so")]
#![expect(clippy::wildcard_enum_match_arm, reason = "only codecs of the list below are met")]

use super::*;
use orkbase::audio::codec::BuiltIn;

/// Every codec that is decoded elsewhere, with its fmtp.
fn elsewhere() -> Vec<(Codec, Option<&'static str>)> {
    let with = |name, rate, fmtp| (Codec::named(name, rate, 1, fmtp).unwrap(), fmtp);
    vec![
        with("G729", 8_000, None),
        with("G723", 8_000, None),
        with("iLBC", 8_000, Some("mode=20")),
        with("iLBC", 8_000, Some("mode=30")),
        with("AMR", 8_000, None),
        with("AMR", 8_000, Some("octet-align=1")),
        with("AMR", 8_000, Some("octet-align=1;crc=1")),
        with("AMR-WB", 16_000, None),
        with("AMR-WB", 16_000, Some("octet-align=1")),
        with("speex", 8_000, None),
        with("speex", 16_000, None),
        with("speex", 32_000, None),
    ]
}

fn decoder(codec: Codec, fmtp: Option<&str>) -> Option<Box<dyn Decoder>> {
    let decoder = Libraries::default().decoder(codec, fmtp);
    if decoder.is_none() {
        eprintln!("skipped: no library here decodes {codec:?}");
    }
    decoder
}

/// Bytes without pattern, the same each time (xorshift64).
struct Noise(u64);

impl Noise {
    fn new() -> Self {
        Self(0x9e37_79b9_7f4a_7c15)
    }

    fn byte(&mut self) -> u8 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.to_be_bytes()[1]
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.byte()).collect()
    }
}

#[test]
fn any_payload_fills_its_place() {
    for (codec, fmtp) in elsewhere() {
        let Some(mut decoder) = decoder(codec, fmtp) else { continue };
        assert_eq!(decoder.sample_rate(), codec.sample_rate());
        let mut noise = Noise::new();
        for round in 0..1_500 {
            let len = usize::from(noise.byte()) % [12, 40, 78, 200][round % 4];
            let mut payload = noise.bytes(len);
            // Half of them begin as a packet of the codec would.
            if let (Some(first), true) = (payload.first_mut(), round % 2 == 0) {
                match codec {
                    Codec::G723 => *first &= 0xfd,
                    Codec::Speex { .. } => *first = (1 + *first % 8) << 3,
                    Codec::Amr { octet_aligned: false, .. } => *first &= 0xf7,
                    _ => {}
                }
            }
            let mut out = vec![7];
            let count = decoder.decode(&payload, &mut out).unwrap_or(0);
            assert_eq!(out.len(), 1 + count);
            let ticks = usize::try_from(codec.ticks_in(&payload)).unwrap();
            assert_eq!(count, ticks, "{codec:?} {payload:02x?}");
            if round % 5 == 0 {
                let lost = usize::from(noise.byte()) * 3;
                decoder.conceal(lost, &mut out);
                assert_eq!(out.len(), 1 + count + lost);
            }
        }
    }
}

#[test]
fn noise_in_is_sound_out_and_dies_away_when_nothing_follows() {
    for (codec, fmtp) in elsewhere() {
        let Some(mut decoder) = decoder(codec, fmtp) else { continue };
        let mut noise = Noise::new();
        let mut out = Vec::new();
        for _ in 0..60 {
            let payload = plausible(codec, &mut noise);
            let ticks = usize::try_from(codec.ticks_in(&payload)).unwrap();
            assert!(ticks > 0, "{codec:?}");
            assert_eq!(decoder.decode(&payload, &mut out), Ok(ticks), "{codec:?}");
        }
        assert!(out.iter().any(|sample| sample.unsigned_abs() > 200), "{codec:?}");
        let second = usize::try_from(codec.sample_rate()).unwrap();
        out.clear();
        decoder.conceal(3 * second, &mut out);
        assert_eq!(out.len(), 3 * second);
        assert!(out[second..].iter().all(|&sample| sample == 0), "{codec:?}");
    }
}

/// One frame of the right shape with noise in it.
fn plausible(codec: Codec, noise: &mut Noise) -> Vec<u8> {
    match codec {
        Codec::G729 => noise.bytes(20),
        Codec::G723 => {
            let mut frame = noise.bytes(24);
            frame[0] &= 0xfc;
            frame
        }
        Codec::Ilbc { mode } => noise.bytes(if mode == 20 { 38 } else { 50 }),
        // Mode request 15; one frame of type 7 or, wide, 8, of good quality.
        Codec::Amr { wide, octet_aligned: true } => {
            let (kind, size) = if wide { (8, 60) } else { (7, 31) };
            [vec![0xf0, kind << 3 | 4], noise.bytes(size + 1)].concat()
        }
        Codec::Amr { wide, octet_aligned: false } => {
            let (kind, size) = if wide { (8_u8, 60) } else { (7, 31) };
            let [first, second] = (0xf000 | u16::from(kind << 1 | 1) << 6).to_be_bytes();
            [vec![first, second | noise.byte() & 0x3f], noise.bytes(size)].concat()
        }
        // Mode 3, with no layer above it.
        _ => {
            let mut frame = noise.bytes(20);
            frame[0] = 3 << 3 | frame[0] & 7;
            frame.push(0b0111_1111);
            frame
        }
    }
}

#[test]
fn streams_do_not_disturb_each_other() {
    for (codec, fmtp) in elsewhere() {
        let Some(mut alone) = decoder(codec, fmtp) else { continue };
        let [mut one, mut other] = [0, 1].map(|_| decoder(codec, fmtp).unwrap());
        let [mut noise, mut twin] = [Noise::new(), Noise::new()];
        let [mut expected, mut out, mut aside] = [const { Vec::new() }; 3];
        for _ in 0..40 {
            let payload = plausible(codec, &mut noise);
            alone.decode(&payload, &mut expected).unwrap();
        }
        for n in 0..40 {
            let payload = plausible(codec, &mut twin);
            one.decode(&payload, &mut out).unwrap();
            other.conceal(n * 11, &mut aside);
            other.decode(&payload[..payload.len() - n % 2], &mut aside).unwrap_or(0);
        }
        assert_eq!(out, expected, "{codec:?}");
    }
}

#[test]
fn decoders_work_in_any_thread_and_are_freed() {
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..20 {
                    for (codec, fmtp) in elsewhere() {
                        let Some(mut decoder) = Libraries::default().decoder(codec, fmtp) else {
                            continue;
                        };
                        let mut out = Vec::new();
                        decoder.decode(&plausible(codec, &mut Noise::new()), &mut out).unwrap();
                        decoder.conceal(100, &mut out);
                    }
                }
            });
        }
    });
}

#[test]
fn silence_descriptors_keep_their_level() {
    let Some(mut decoder) = decoder(Codec::G729, None) else { return };
    let mut level = |step: u8| {
        let mut out = Vec::new();
        assert_eq!(decoder.decode(&[0x55, step << 1], &mut out), Ok(80));
        decoder.conceal(8_000, &mut out);
        let power: f64 = out[2_000..].iter().map(|&sample| f64::from(sample).powi(2)).sum();
        10.0 * (power / 6_080.0).log10()
    };
    // 36 dB of excitation, 6 for the filter.
    let quiet = level(16);
    assert!((40.0..44.0).contains(&quiet), "{quiet}");
    assert!(level(20) > quiet + 6.0);
    // A damaged one does not shout: 60 dB is 30 below the loudest.
    assert!(level(31) < 61.0);
}

#[test]
fn amr_by_libavcodec_is_as_long_as_by_opencore() {
    let Some(av) = Libraries::default().av() else {
        eprintln!("skipped: no libavcodec here");
        return;
    };
    for (codec, fmtp) in elsewhere() {
        let Codec::Amr { wide, .. } = codec else { continue };
        let Some(voice) = amr::Voice::av(av, wide) else { continue };
        let mut decoder = amr::Amr::new(voice, AmrFormat::agreed(codec, fmtp).unwrap());
        let mut noise = Noise::new();
        for len in 0..300 {
            let payload =
                if len % 3 == 0 { plausible(codec, &mut noise) } else { noise.bytes(len % 70) };
            let mut out = Vec::new();
            let count = decoder.decode(&payload, &mut out).unwrap_or(0);
            assert_eq!(count, usize::try_from(codec.ticks_in(&payload)).unwrap());
            decoder.conceal(len, &mut out);
            assert_eq!(out.len(), count + len);
        }
    }
}

#[test]
fn the_core_comes_first_and_what_nobody_knows_stays_unknown() {
    let all = Libraries::default();
    for info in catalogue() {
        let codec = Codec::named(info.name, info.rates[0], 1, None).unwrap();
        let here = all.decoder(codec, None).is_some();
        assert!(here || BuiltIn.decoder(codec, None).is_none(), "{}", info.name);
        if info.decoded == Decoded::Elsewhere {
            assert_eq!(here, all.library_for(info.name).is_some(), "{}", info.name);
        }
    }
    let amr = Codec::Amr { wide: false, octet_aligned: true };
    assert!(all.decoder(amr, Some("octet-align=1;interleaving=2")).is_none());
    assert!(ffi::Av::open("libavcodec.so.0", 0).is_err());
    assert!(ffi::Speex::open(AMR_NARROW).is_err());
}

#[test]
fn libraries_under_the_gpl_can_be_left_alone() {
    assert!(is_gpl("GPL version 2 or later") && is_gpl("GPL version 3 or later"));
    assert!(!is_gpl("LGPL version 2.1 or later"));
    let strict = Libraries { gpl: Gpl::Leave };
    let under_gpl = found(Gpl::Use).iter().any(|library| is_gpl(&library.licence));
    let all = Libraries::default().decoder(Codec::G729, None).is_some();
    assert_eq!(strict.decoder(Codec::G729, None).is_some(), all && !under_gpl);
    assert!(found(Gpl::Leave).iter().all(|library| !is_gpl(&library.licence)));
    assert_eq!(table(Gpl::Use).contains("codecs.gpl = false leaves it alone"), under_gpl);
    assert_eq!(table(Gpl::Leave).contains("is not used, as codecs.gpl = false"), under_gpl);
}

#[test]
fn the_table_names_everything_once() {
    let table = table(Gpl::Use);
    for info in catalogue() {
        let named = |line: &&str| line.split_whitespace().next() == Some(info.name);
        let [line] = table.lines().filter(named).collect::<Vec<_>>()[..] else {
            panic!("{}:\n{table}", info.name)
        };
        let says = match info.decoded {
            Decoded::BuiltIn => line.contains("built in"),
            Decoded::Elsewhere => line.contains("lib"),
        };
        assert!(says, "{line}");
    }
    for library in found(Gpl::Use) {
        assert!(!library.decodes.is_empty());
        assert!(library.path.as_ref().is_none_or(|path| path.is_absolute() && path.exists()));
    }
}
