//! Calls as text: what the core makes of them.

use ork_tests::rehearse::{Rehearsal, rehearse, rehearse_with};
use ork_tests::scenario::play;
use orkbase::call::command::{Command, Target};
use orkbase::call::settings::Settings;
use orkbase::message::tag::AddTagMessage;
use orkbase::message::tape::KeepSide;

fn run(text: &str) -> Rehearsal {
    rehearse(&play(text).unwrap().frames, Settings::default())
}

/// Parties, direction, milliseconds and end of each tape, then the stages told.
fn summary(got: &Rehearsal) -> String {
    let tapes: Vec<String> = got
        .tapes
        .iter()
        .map(|tape| {
            let closing = tape.closing.as_ref().unwrap();
            let message = &closing.message;
            format!(
                "{}>{} {} {}ms {}",
                message.localparty,
                message.remoteparty,
                message.direction.as_str(),
                closing.duration_ms,
                closing.why.as_str()
            )
        })
        .collect();
    format!("{} | {}", tapes.join(", "), got.stages())
}

const UP: &str = "a->b INVITE pcmu; b->a 180; b->a 200; a->b ACK;";

#[test]
fn a_plain_call() {
    let got = run(&format!("{UP} rtp 2s; a->b BYE; b->a 200"));
    assert_eq!(summary(&got), "1001>1002 out 2008ms hungup | start stop");
    let tape = got.only();
    assert!(tape.level(0, 0, 2000) > 5000.0 && tape.level(1, 0, 2000) > 5000.0);
    let legs = &tape.closing.as_ref().unwrap().legs;
    assert!(legs.iter().all(|leg| leg.packets == 100 && leg.lost == 0 && leg.codec == "PCMU"));
}

#[test]
fn hold_pauses_both_sides_and_is_told() {
    let got = run(&format!(
        "{UP} rtp 1s; a->b reINVITE sendonly; b->a 200 recvonly; a->b ACK; idle 5s; \
         a->b reINVITE; b->a 200; a->b ACK; rtp 1s; a->b BYE"
    ));
    assert_eq!(got.stages(), "start hold resume stop");
    let tape = got.only();
    assert!((7000..7200).contains(&tape.ms()), "{}", tape.ms());
    assert!(tape.level(0, 1500, 5500) < 1.0 && tape.level(0, 6200, 7000) > 5000.0);
}

#[test]
fn calls_without_media_make_no_tape() {
    for text in [
        "a->b INVITE; b->a 180; a->b CANCEL; b->a 200; b->a 487; a->b ACK",
        "a->b INVITE; b->a 486; a->b ACK",
        "a->b INVITE; b->a 180; b->a 200; a->b ACK; idle 2s; a->b BYE; b->a 200",
        "a->b OPTIONS; b->a 200",
    ] {
        let got = run(text);
        assert_eq!((got.tapes.len(), got.told.len()), (0, 0), "{text}");
    }
}

#[test]
fn early_media_is_on_the_tape_from_its_first_packet() {
    let got = run("a->b INVITE; b->a 183; rtp 1s b->a; b->a 200; a->b ACK; rtp 1s; a->b BYE");
    assert_eq!(got.tapes.len(), 1);
    let tape = got.only();
    assert!(tape.level(1, 0, 1000) > 5000.0 && tape.level(0, 0, 1000) < 1.0);
    assert!((2000..2100).contains(&tape.ms()), "{}", tape.ms());
}

#[test]
fn media_that_overtakes_the_answer_is_not_lost() {
    // The callee's audio towards the caller needs only the offer; the caller's needs the answer.
    let got = run("a->b INVITE; rtp 500ms a->b b->a; b->a 200; a->b ACK; rtp 1s; a->b BYE");
    let tape = got.only();
    assert!(tape.level(0, 0, 500) > 5000.0 && tape.level(1, 0, 500) > 5000.0);
    let legs = &tape.closing.as_ref().unwrap().legs;
    assert!(legs.iter().all(|leg| leg.packets == 75 && leg.lost == 0), "{legs:?}");
}

#[test]
fn an_answer_seen_before_its_invite() {
    let got = run("b->a 200; a->b INVITE; a->b ACK; rtp 1s; a->b BYE");
    assert_eq!(summary(&got), "1001>1002 out 1008ms hungup | start stop");
}

#[test]
fn a_missing_invite_still_records() {
    let got = run("b->a 200; a->b ACK; rtp 1s; a->b BYE");
    assert_eq!(got.tapes.len(), 1);
    assert_eq!(got.only().ms(), 1008);
}

#[test]
fn a_missing_bye_ends_when_media_has_been_silent() {
    let got = run(&format!("{UP} rtp 1s; idle 40s; c->d INVITE; d->c 486"));
    assert_eq!(summary(&got), "1001>1002 out 1008ms silent | start stop");
}

#[test]
fn retransmissions_change_nothing() {
    let once = run(&format!("{UP} rtp 1s; a->b BYE; b->a 200"));
    let twice = run(
        "a->b INVITE pcmu; again; b->a 180; again; b->a 200; again; a->b ACK; rtp 1s; a->b BYE; again; b->a 200",
    );
    assert_eq!(summary(&once), summary(&twice));
    assert_eq!(once.only().samples, twice.only().samples);
}

#[test]
fn a_phone_behind_nat_sends_from_an_address_nobody_named() {
    let got = run(&format!("a = 1001@192.168.1.11 nat=203.0.113.9; {UP} rtp 1s; a->b BYE"));
    let tape = got.only();
    assert!(tape.level(0, 0, 1000) > 5000.0 && tape.level(1, 0, 1000) > 5000.0);
}

#[test]
fn the_next_call_on_the_same_ports_is_another_tape() {
    let got = run(&format!("{UP} rtp 1s; a->b BYE; b->a 200; {UP} rtp 1s; a->b BYE; b->a 200"));
    assert_eq!(
        summary(&got),
        "1001>1002 out 1008ms hungup, 1001>1002 out 1008ms hungup | start stop start stop"
    );
}

#[test]
fn loss_reorder_and_duplicates_are_counted_exactly() {
    let played =
        play(&format!("set loss=5% dup=3% reorder=4% seed=7; {UP} rtp 20s; a->b BYE")).unwrap();
    let got = rehearse(&played.frames, Settings::default());
    let legs = &got.only().closing.as_ref().unwrap().legs;
    for stream in &played.calls[0].streams {
        let leg = legs.iter().find(|leg| leg.ssrc == stream.ssrc).unwrap();
        let want = (
            u64::from(stream.packets - stream.lost),
            u64::from(stream.lost),
            u64::from(stream.duplicates),
        );
        assert_eq!((leg.packets, leg.lost, leg.duplicates), want);
        assert_eq!(leg.gap_ms, u64::from(stream.lost) * 20);
    }
}

#[test]
fn reordering_and_duplicates_leave_the_same_samples() {
    let plain = run(&format!("{UP} rtp 5s; a->b BYE"));
    let mixed = run(&format!("set dup=5% reorder=10% seed=3; {UP} rtp 5s; a->b BYE"));
    assert_eq!(plain.only().samples, mixed.only().samples);
}

#[test]
fn dtmf_packets_never_reach_the_audio() {
    let got = run(&format!("{UP} rtp 1s; dtmf a->b 5; rtp 1s; a->b BYE"));
    let tape = got.only();
    assert_eq!(tape.closing.as_ref().unwrap().legs[0].lost, 0);
    assert!(tape.level(0, 1020, 1140) < 1.0, "{}", tape.level(0, 1020, 1140));
}

/// Digits in order, with their offsets in tenths of a second.
fn digits(got: &Rehearsal) -> String {
    let tape = &got.only().opening;
    let tag = |tag: &AddTagMessage| {
        assert_eq!(
            (tag.orkuid.as_str(), tag.tagtype.as_str()),
            (tape.orkuid.as_str(), "dtmfdigit")
        );
        assert_eq!(tag.localparty, tape.message.localparty);
        format!("{}@{}", tag.tagtext, tag.offsetmsec / 100)
    };
    got.tags.iter().map(tag).collect::<Vec<_>>().join(" ")
}

#[test]
fn every_digit_is_told_once_and_in_order() {
    let got = run(&format!(
        "{UP} rtp 1s; dtmf a->b 5; dtmf a->b 5; rtp 1s; dtmf b->a *; rtp 1s; dtmf a->b D; rtp 1s; a->b BYE"
    ));
    assert_eq!(digits(&got), "5@10 5@11 *@23 D@34");
    let closing = got.only().closing.as_ref().unwrap();
    let sides: Vec<&str> = closing.digits.iter().map(|digit| digit.side.as_str()).collect();
    assert_eq!(sides, ["local", "local", "remote", "local"]);
    assert_eq!(got.stages(), "start stop");
}

#[test]
fn digits_outside_a_recording_are_not_told() {
    let before = run(&format!("{UP} dtmf a->b 5; rtp 1s; dtmf a->b 6; rtp 1s; a->b BYE"));
    assert_eq!(digits(&before), "6@10");
    let played = play(&format!("{UP} rtp 1s; dtmf a->b 7; rtp 1s; dtmf a->b 8; a->b BYE")).unwrap();
    let first = played.frames[0].0;
    let mut step = 0;
    // Paused before the first digit, resumed in the midst of it.
    let got = rehearse_with(&played.frames, Settings::default(), &mut |tap, at| {
        let party = || Target::Party("1002".to_owned());
        if step == 0 && at.0 >= first + 900_000_000 {
            step = 1;
            assert_eq!(tap.handle_command(at, &Command::Pause(party())).matched, 1);
        }
        if step == 1 && at.0 >= first + 1_100_000_000 {
            step = 2;
            let reply = tap.handle_command(at, &Command::Record(party(), KeepSide::Both));
            assert_eq!(reply.matched, 1);
        }
    });
    assert_eq!(digits(&got), "8@21");
}

#[test]
fn paused_audio_is_nowhere_and_record_resumes() {
    let played = play(&format!("{UP} rtp 3s; a->b BYE")).unwrap();
    let first = played.frames[0].0;
    let (mut paused, mut resumed) = (false, false);
    let got = rehearse_with(&played.frames, Settings::default(), &mut |tap, at| {
        let party = || Target::Party("1002".to_owned());
        if !paused && at.0 >= first + 1_000_000_000 {
            paused = true;
            assert_eq!(tap.handle_command(at, &Command::Pause(party())).matched, 1);
        }
        if !resumed && at.0 >= first + 2_000_000_000 {
            resumed = true;
            let reply = tap.handle_command(at, &Command::Record(party(), KeepSide::Both));
            assert!(reply.orkuid.is_some());
        }
    });
    let tape = got.only();
    assert_eq!(got.stages(), "start update stop");
    assert!(tape.level(0, 1000, 1900) < 1.0 && tape.level(1, 1000, 1900) < 1.0);
    assert!(tape.level(0, 0, 900) > 5000.0 && tape.level(0, 2050, 2900) > 5000.0);
}

#[test]
fn stop_ends_the_tape_and_record_begins_another() {
    let played = play(&format!("{UP} rtp 3s; a->b BYE")).unwrap();
    let first = played.frames[0].0;
    let mut step = 0;
    let got = rehearse_with(&played.frames, Settings::default(), &mut |tap, at| {
        let call = || Target::NativeCallId(played.calls[0].call_id.clone());
        if step == 0 && at.0 >= first + 1_000_000_000 {
            step = 1;
            let reply = tap.handle_command(at, &Command::Stop(call()));
            assert!(reply.matched == 1 && reply.quality.packets > 90, "{reply:?}");
        }
        if step == 1 && at.0 >= first + 2_000_000_000 {
            step = 2;
            let reply = tap.handle_command(at, &Command::Record(call(), KeepSide::Both));
            assert_eq!((reply.matched, reply.orkuid), (1, None));
        }
    });
    assert_eq!(got.tapes.len(), 2);
    assert_eq!(got.stages(), "start stop start stop");
    assert!(got.tapes[0].opening.orkuid != got.tapes[1].opening.orkuid);
    assert!(got.told[2].ondemand && got.tapes[1].ms() < 1100);
}

#[test]
fn a_side_that_is_not_kept_is_silent() {
    let played = play(&format!("{UP} rtp 2s; a->b BYE")).unwrap();
    let mut asked = false;
    let got = rehearse_with(&played.frames, Settings::default(), &mut |tap, at| {
        let reply = (!asked).then(|| {
            tap.handle_command(
                at,
                &Command::Record(Target::Party("1001".to_owned()), KeepSide::Local),
            )
        });
        asked |= reply.is_some_and(|reply| reply.orkuid.is_some());
    });
    let tape = got.only();
    assert!(tape.level(0, 100, 2000) > 5000.0 && tape.level(1, 100, 2000) < 1.0);
}

#[test]
fn commands_that_match_nothing_say_so() {
    let played = play("a->b INVITE; b->a 486").unwrap();
    let got = rehearse_with(&played.frames, Settings::default(), &mut |tap, at| {
        let reply = tap.handle_command(at, &Command::Pause(Target::Party("9999".to_owned())));
        assert_eq!(reply.matched, 0);
    });
    assert!(got.tapes.is_empty());
}

#[test]
fn on_demand_only_records_nothing_unasked() {
    let settings = Settings { record_all: false, ..Settings::default() };
    let got = rehearse(&play(&format!("{UP} rtp 1s; a->b BYE")).unwrap().frames, settings);
    assert_eq!((got.tapes.len(), got.told.len()), (0, 0));
    assert_eq!(got.counters.calls.rtp_unwanted, 100);
}

#[test]
fn a_clock_that_is_set_back_changes_no_call() {
    let text = format!(
        "{UP} rtp 2s; a->b BYE; b->a 200; idle 10s; c->d INVITE pcmu; d->c 200; c->d ACK; rtp 1s; c->d BYE"
    );
    let plain = run(&text);
    let mut frames = play(&text).unwrap().frames;
    let middle = frames[0].0 + 1_000_000_000;
    for (at, _) in &mut frames {
        if *at > middle {
            *at -= 3_600_000_000_000;
        }
    }
    let got = rehearse(&frames, Settings::default());
    assert_eq!((got.counters.calls.clock_set_back, got.stages()), (1, plain.stages()));
    assert_eq!(got.stages(), "start stop start stop");
    for (got, plain) in got.tapes.iter().zip(&plain.tapes) {
        assert!(got.ms().abs_diff(plain.ms()) <= 40, "{} {}", got.ms(), plain.ms());
        let (got, plain) = (got.closing.as_ref().unwrap(), plain.closing.as_ref().unwrap());
        assert_eq!((got.why, got.legs.len()), (plain.why, 2));
        assert!(got.legs.iter().zip(&plain.legs).all(|(a, b)| a.packets == b.packets));
    }
}

#[test]
fn one_call_cannot_take_every_flow() {
    let mut frames = play(&format!("{UP} rtp 1s; a->b BYE; idle 1s")).unwrap().frames;
    let (at, media) = frames.iter().rev().find(|(_, frame)| frame.len() == 214).unwrap().clone();
    let late: Vec<(u64, Vec<u8>)> = frames.drain(frames.len() - 1..).collect();
    for port in 0..200_u16 {
        let mut copy = media.clone();
        copy[34..36].copy_from_slice(&(20_000 + port).to_be_bytes());
        let sequence = u16::from_be_bytes([copy[44], copy[45]]) + 1 + port;
        copy[44..46].copy_from_slice(&sequence.to_be_bytes());
        frames.push((at, copy));
    }
    frames.extend(late);
    let mut most = 0;
    let settings = Settings { max_flows: 100, ..Settings::default() };
    let got = rehearse_with(&frames, settings, &mut |tap, _| most = most.max(tap.live().1));
    assert_eq!((most, got.counters.calls.rtp_refused), (64, 0));
    let legs = &got.only().closing.as_ref().unwrap().legs;
    assert_eq!(legs.iter().map(|leg| leg.packets).sum::<u64>(), 300);
}

#[test]
fn where_blocks_end_changes_no_sample() {
    let text = format!(
        "set loss=3% dup=2% reorder=4% seed=9; {UP} rtp 2s; dtmf a->b 5; rtp 1s; dtmf b->a 7; rtp 2s; a->b BYE"
    );
    let frames = play(&text).unwrap().frames;
    let run = |block_ms| rehearse(&frames, Settings { block_ms, ..Settings::default() });
    let whole = run(700);
    for block_ms in [100, 60_000] {
        let got = run(block_ms);
        assert!(got.only().samples == whole.only().samples, "blocks of {block_ms} ms");
        assert_eq!(summary(&got), summary(&whole));
    }
}

/// A call whose first packet from either side was overtaken by the `n`th, in time order.
fn overtaken(text: &str, n: usize) -> Vec<(u64, Vec<u8>)> {
    let mut frames = play(text).unwrap().frames;
    let source = |frame: &[u8]| frame[26..36].to_vec();
    let rtp: Vec<usize> = (0..frames.len()).filter(|n| frames[*n].1.len() == 214).collect();
    let first = source(&frames[rtp[0]].1);
    let others = rtp[1..].iter().filter(|n| source(&frames[**n].1) == first);
    let other = *others.clone().nth(n - 1).unwrap();
    let moved = frames[rtp[0]].1.clone();
    frames[rtp[0]].1 = std::mem::replace(&mut frames[other].1, moved);
    frames
}

#[test]
fn a_packet_from_before_the_first_is_where_it_belongs() {
    for codec in ["pcmu", "pcma"] {
        let text = format!("a->b INVITE {codec}; b->a 200; a->b ACK; rtp 1s; a->b BYE");
        let plain = rehearse(&play(&text).unwrap().frames, Settings::default());
        for n in 1..=5 {
            let got = rehearse(&overtaken(&text, n), Settings::default());
            let (got, want) = (got.only(), plain.only());
            let legs = &got.closing.as_ref().unwrap().legs;
            for leg in legs {
                assert_eq!((leg.packets, leg.lost, leg.late, leg.gap_ms), (50, 0, 0, 0), "{n}");
            }
            // The packet that came first says when: this side lies earlier, the other where it lay.
            let earlier = n * 160;
            let side = |samples: &[[i16; 2]], side: usize, from: usize| -> Vec<i16> {
                samples[from..from + 7_000].iter().map(|frame| frame[side]).collect()
            };
            let early = usize::from(want.samples[0][0] == 0);
            assert_eq!(side(&got.samples, early, 0), side(&want.samples, early, 0), "{n}");
            let late = 1 - early;
            assert_eq!(side(&got.samples, late, earlier), side(&want.samples, late, 0), "{n}");
            assert_eq!(got.samples.len(), want.samples.len() + earlier, "{n}");
            let begin = |tape: &ork_tests::rehearse::Tape| tape.closing.as_ref().unwrap().start.0;
            assert_eq!(begin(want) - begin(got), earlier as u64 * 125_000);
        }
    }
}

#[test]
fn what_a_packet_overtook_by_far_is_counted_late() {
    let frames = overtaken(&format!("{UP} rtp 1s; a->b BYE"), 12);
    let got = rehearse(&frames, Settings::default());
    let legs = &got.only().closing.as_ref().unwrap().legs;
    assert_eq!(legs.iter().map(|leg| (leg.packets, leg.late)).max(), Some((50, 12)));
}
