//! Commands by the thousand: what was captured while a call was kept is there, each frame once, and
//! nothing else is anywhere.

use ork_tests::{
    generator::{
        calls::{Spec, write},
        chance::Chance,
        law::{Codec, Law, Mark, Side},
    },
    rehearse::{Rehearsal, rehearse_capture},
    wrap::Capture,
};
use orkaudio::capture::file::CaptureFile;
use orkbase::{
    call::{
        command::{Command, PauseAs, Target},
        keeping::KeepPackets,
        settings::Settings,
    },
    message::tape::KeepSide,
    packet::{LinkType, decoder::Limits, pcapng},
    time::Timestamp,
};
use std::{collections::BTreeMap, io::Cursor};

const MS: u64 = 1_000_000;
/// Headers before the payload of RTP: Ethernet, IPv4, UDP, RTP.
const HEADERS: usize = 14 + 20 + 8 + 12;

fn marks(law: &Law, codec: Codec, payload: &[u8]) -> impl Iterator<Item = Mark> {
    let samples: Vec<i16> = payload.iter().map(|code| codec.decode(*code)).collect();
    law.marks(&samples).into_iter().map(|(_, mark)| mark)
}

/// What an operator has said of a call so far.
#[derive(Clone, Copy)]
struct State {
    paused: bool,
    stopped: bool,
    keep: KeepSide,
    /// When something was last said.
    since: u64,
}

impl State {
    fn keeps(self, side: Side) -> bool {
        let wanted = match self.keep {
            KeepSide::Both => true,
            KeepSide::Local => side == Side::Caller,
            KeepSide::Remote => side == Side::Callee,
            KeepSide::None | KeepSide::Invalid => panic!("never asked for"),
        };
        wanted && !self.paused && !self.stopped
    }
}

struct Storm {
    law: Law,
    codec: Codec,
    states: Vec<State>,
    /// Blocks captured, whether they are to be kept, and how long before somebody had said something.
    frames: BTreeMap<(u32, u32, bool), (bool, u64)>,
    got: Rehearsal,
    commands: u64,
}

impl Storm {
    fn rage(spec: &Spec, settings: Settings) -> Self {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("storm.pcap");
        let truth = write(spec, std::fs::File::create(&path).unwrap()).unwrap();
        let capture = Capture::read(&path).unwrap();
        let law = Law::new(spec.codec);
        let begin = State { paused: false, stopped: false, keep: KeepSide::Both, since: 0 };
        let mut states = vec![begin; truth.calls.len()];
        let mut frames = BTreeMap::new();
        let mut chance = Chance::new(spec.seed, 7);
        let (mut next, mut at_frame, mut commands) = (capture.frames[0].at, 0, 0);
        let got = rehearse_capture(&capture, settings, Limits::default(), &mut |tap, at| {
            while next <= at.0 {
                next += (1 + chance.below(8)) * MS;
                let number = usize::try_from(chance.below(truth.calls.len() as u64)).unwrap();
                let state = &mut states[number];
                let target = Target::NativeCallId(truth.calls[number].call_id.clone());
                let mut told = *state;
                told.since = at.0;
                let command = match chance.below(10) {
                    0..=3 => {
                        told.paused = true;
                        Command::Pause(target)
                    }
                    4..=7 => {
                        told.keep = match chance.below(6) {
                            0 => KeepSide::Local,
                            1 => KeepSide::Remote,
                            _ => KeepSide::Both,
                        };
                        (told.paused, told.stopped) = (false, false);
                        Command::Record(target, told.keep)
                    }
                    8 => {
                        (told.paused, told.stopped) = (false, true);
                        Command::Stop(target)
                    }
                    _ => Command::Split(target),
                };
                if tap.handle_command(at, &command).matched == 1 {
                    commands += 1;
                    *state = told;
                }
            }
            let bytes = &capture.frames[at_frame].bytes;
            at_frame += 1;
            if bytes.get(HEADERS - 12) != Some(&0x80) {
                return;
            }
            for mark in marks(&law, spec.codec, &bytes[HEADERS..]) {
                let state = states[usize::try_from(mark.call).unwrap()];
                let key = (mark.call, mark.block, mark.side == Side::Caller);
                // A packet that comes twice is the one that is kept, if either is.
                let now = (state.keeps(mark.side), at.0 - state.since);
                let known = frames.entry(key).or_insert(now);
                if now.0 && !known.0 {
                    *known = now;
                }
            }
        });
        Self { law, codec: spec.codec, states, frames, got, commands }
    }

    /// Every block on any tape; panics for one in the wrong channel or on the tape of another call.
    fn found(&self) -> Vec<(u32, u32, bool)> {
        let mut found = Vec::new();
        for tape in &self.got.tapes {
            assert!(tape.samples.len() < 20 * 8_000, "{} samples", tape.samples.len());
            for channel in 0..2 {
                let samples: Vec<i16> = tape.samples.iter().map(|frame| frame[channel]).collect();
                for (_, mark) in self.law.marks(&samples) {
                    assert_eq!(mark.side == Side::Caller, channel == 0, "{mark:?}");
                    let id = &tape.opening.message.nativecallid;
                    assert!(id.contains(&format!("-{:06}-", mark.call)), "{mark:?}: {id}");
                    found.push((mark.call, mark.block, channel == 0));
                }
            }
        }
        found.sort_unstable();
        found
    }

    /// The same of the packets kept beside the tapes.
    fn packets(&self) -> Vec<(u32, u32, bool)> {
        let mut found = Vec::new();
        for tape in &self.got.tapes {
            let mut file = Vec::new();
            pcapng::begin(&mut file, "storm");
            file.extend_from_slice(&tape.packets);
            let file = Box::new(Cursor::new(file));
            let mut file = CaptureFile::from_reader(file, "kept".to_owned(), None).unwrap();
            while let Some(frame) = file.next_frame().unwrap() {
                assert_eq!(frame.link, LinkType::RawIp);
                let payload = frame.bytes.get(HEADERS - 14..).unwrap_or_default();
                for mark in marks(&self.law, self.codec, payload) {
                    found.push((mark.call, mark.block, mark.side == Side::Caller));
                }
            }
        }
        found.sort_unstable();
        found
    }

    fn kept(&self) -> Vec<(u32, u32, bool)> {
        self.frames.iter().filter(|(_, (kept, _))| *kept).map(|(key, _)| *key).collect()
    }
}

fn fifty() -> Spec {
    Spec { calls: 50, seconds: 12.0, nanoseconds: true, ..Spec::default() }
}

fn settings(pause: PauseAs) -> Settings {
    Settings { pause, keep_packets: KeepPackets::Always, segment_ms: 5_000, ..Settings::default() }
}

fn calm(spec: &Spec, pause: PauseAs) {
    let storm = Storm::rage(spec, settings(pause));
    assert!(storm.commands > 1_000, "{}", storm.commands);
    let (kept, all) = (storm.kept(), storm.frames.len());
    assert!(kept.len() > all / 5 && kept.len() < all * 4 / 5, "{} of {all}", kept.len());
    assert!(storm.states.iter().any(|state| state.paused));
    assert!(storm.got.counters.calls.rtp_paused > 1_000);
    assert_eq!(storm.found(), kept);
    assert_eq!(storm.packets(), kept);
}

#[test]
fn a_storm_of_commands_keeps_what_it_should_and_nothing_else() {
    calm(&fifty(), PauseAs::Silence);
}

#[test]
fn a_storm_of_commands_with_gaps_on_the_tapes() {
    calm(&Spec { seed: 2, ..fifty() }, PauseAs::Gap);
}

/// What overtakes on its way may be lost where something was said, never kept where it was paused.
#[test]
fn a_storm_over_a_bad_network_keeps_no_paused_frame() {
    let bad = Spec { jitter: 30.0, reorder: 0.02, duplicate: 0.02, ..fifty() };
    let spec = Spec { calls: 20, seconds: 8.0, seed: 3, ..bad };
    for pause in PauseAs::ALL {
        let storm = Storm::rage(&spec, settings(pause));
        let found = storm.found();
        for key in found.iter().chain(&storm.packets()) {
            assert!(storm.frames[key].0, "{key:?} was captured during a pause");
        }
        let missing = |key: &(u32, u32, bool)| found.binary_search(key).is_err();
        let lost: Vec<_> = storm.kept().into_iter().filter(missing).collect();
        for key in &lost {
            let (_, since) = storm.frames[key];
            assert!(since < 250 * MS, "{key:?} is missing, {} ms after a command", since / MS);
        }
        assert!(lost.len() * 50 < found.len(), "{} of {}", lost.len(), found.len());
    }
}

/// The same storm is the same tapes.
#[test]
fn a_storm_is_the_same_again() {
    let spec = Spec { calls: 5, ..fifty() };
    let one = Storm::rage(&spec, settings(PauseAs::Gap));
    let two = Storm::rage(&spec, settings(PauseAs::Gap));
    assert_eq!(one.got.told, two.got.told);
    let samples = |storm: &Storm| -> Vec<_> {
        storm.got.tapes.iter().map(|tape| tape.samples.clone()).collect()
    };
    assert!(samples(&one) == samples(&two));
    assert!(Timestamp(0) < one.got.tapes[0].opening.start);
}
