//! Two senders whose clocks run apart: what was said at one moment stays together on the tape.

#![expect(clippy::print_stdout, reason = "the figure that was measured")]

use ork_tests::{generator::law::Codec, scenario::play};
use orkbase::{
    audio::tape::{Frame as Sample, PcmSink, Scratch, TapeAudio},
    call::{
        output::{EndReason, Output},
        settings::Settings,
    },
    packet::{Frame, LinkType, decoder::Limits},
    tap::Tap,
    time::Timestamp,
};

/// Both say something short and loud every ten seconds.
const CLICK_S: f64 = 10.0;
const LOUD: i16 = 16_000;

/// Where each side was loud, in frames.
#[derive(Default)]
struct Clicks([Vec<u64>; 2]);

impl Clicks {
    fn note(&mut self, channel: usize, at: u64, sample: i16) {
        if sample.unsigned_abs() > 8_000 {
            let clicks = &mut self.0[channel];
            if clicks.last().is_none_or(|last| at > last + 800) {
                clicks.push(at);
            }
        }
    }
}

impl PcmSink for Clicks {
    fn write(&mut self, at: u64, frames: &[Sample]) {
        for (at, frame) in (at..).zip(frames) {
            self.note(0, at, frame[0]);
            self.note(1, at, frame[1]);
        }
    }

    fn patch(&mut self, at: u64, channel: usize, samples: &[i16]) {
        for (at, sample) in (at..).zip(samples) {
            self.note(channel, at, *sample);
        }
    }
}

/// A sender whose clock runs by `ppm` fast.
struct Sender {
    frame: Vec<u8>,
    rate: f64,
    packet: u32,
}

impl Sender {
    fn new(frame: &[u8], ppm: f64) -> Self {
        Self { frame: frame.to_vec(), rate: 8_000.0 * (1.0 + ppm / 1e6), packet: 0 }
    }

    /// When its next packet is sent, in seconds: when its last sample was spoken.
    fn due(&self) -> f64 {
        f64::from((self.packet + 1) * 160) / self.rate
    }

    fn send(&mut self) -> &[u8] {
        let first = self.packet * 160;
        let sequence = u16::try_from(self.packet % 65_536).unwrap();
        self.frame[44..46].copy_from_slice(&sequence.to_be_bytes());
        self.frame[46..50].copy_from_slice(&first.to_be_bytes());
        for (n, code) in (first..).zip(&mut self.frame[54..]) {
            let spoken = f64::from(n) / self.rate;
            let loud = spoken % CLICK_S < 0.002 && spoken > 1.0;
            *code = Codec::Pcmu.encode(if loud { LOUD } else { 0 });
        }
        self.packet += 1;
        &self.frame
    }
}

/// The largest distance of what both said at one moment, in milliseconds, and how many moments there
/// were.
fn skew(minutes: u32, ppm: [f64; 2]) -> (f64, usize) {
    let call = play("a->b INVITE pcmu; b->a 200; a->b ACK; rtp 40ms; a->b BYE").unwrap();
    let rtp = |host: u8| {
        let mut frames = call.frames.iter().map(|(_, frame)| frame);
        frames.rfind(|f| f[42] == 0x80 && f[29] == host).unwrap()
    };
    let mut senders = [Sender::new(rtp(11), ppm[0]), Sender::new(rtp(12), ppm[1])];
    let begin = call.frames.iter().find(|(_, f)| f[42] == 0x80).unwrap().0;
    let mut tap = Tap::new(Settings::default(), Limits::default(), 0);
    let (mut audio, mut scratch, mut clicks) =
        (TapeAudio::new(8_000), Scratch::default(), Clicks::default());
    let mut frame = |at: u64, bytes: &[u8]| {
        let wire_len = u32::try_from(bytes.len()).unwrap();
        tap.handle_frame(&Frame { at: Timestamp(at), link: LinkType::Ethernet, wire_len, bytes });
        while let Some(output) = tap.poll_output() {
            if let Output::Audio(block) = output {
                audio.handle_block(
                    &block.news,
                    &block.bytes,
                    block.until,
                    &mut scratch,
                    &mut clicks,
                );
                tap.recycle(block.bytes);
            }
        }
    };
    for (at, bytes) in call.frames.iter().filter(|(_, f)| f[42] != 0x80).take(3) {
        frame(*at, bytes);
    }
    let end = f64::from(minutes) * 60.0;
    loop {
        let next = usize::from(senders[1].due() < senders[0].due());
        let due = senders[next].due();
        if due > end {
            break;
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "nanoseconds of hours"
        )]
        let at = begin + (due * 1e9) as u64;
        frame(at, senders[next].send());
    }
    tap.finish(Timestamp(begin + u64::from(minutes) * 60_000_000_000), EndReason::Shutdown);
    while let Some(output) = tap.poll_output() {
        if let Output::Audio(block) = output {
            audio.handle_block(&block.news, &block.bytes, block.until, &mut scratch, &mut clicks);
        }
    }
    audio.finish(&mut scratch, &mut clicks);
    let [local, remote] = &clicks.0;
    let apart = local.iter().zip(remote).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
    assert_eq!(local.len(), remote.len());
    #[expect(clippy::cast_precision_loss, reason = "a few samples")]
    let ms = apart as f64 / 8.0;
    (ms, local.len())
}

/// `ORK_SKEW_MINUTES=120` for the two hours that the README speaks of.
#[test]
fn clocks_that_run_apart_stay_together_on_the_tape() {
    let minutes =
        std::env::var("ORK_SKEW_MINUTES").ok().and_then(|text| text.parse().ok()).unwrap_or(30u32);
    for ppm in [[500.0, -500.0], [-500.0, 0.0]] {
        let (ms, clicks) = skew(minutes, ppm);
        println!("{minutes} minutes, clocks off by {ppm:?} ppm: at most {ms} ms apart");
        assert!(clicks >= usize::try_from(minutes * 6 - 2).unwrap(), "{clicks}");
        assert!(ms < 20.0, "{ppm:?}: {ms} ms");
    }
}
