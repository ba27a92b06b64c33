//! Ends of calls and what comes after them: late media, and the next call on the same ports.

use ork_tests::rehearse::{Rehearsal, rehearse, rehearse_capture};
use ork_tests::scenario::play;
use ork_tests::wrap::Capture;
use orkbase::call::settings::Settings;
use orkbase::packet::decoder::Limits;

const MS: u64 = 1_000_000;
const CALL: &str = "a->b INVITE; b->a 180; b->a 200; a->b ACK; rtp 1s; a->b BYE; b->a 200";

#[test]
fn media_after_the_end_is_not_kept() {
    let plain = rehearse(&play(CALL).unwrap().frames, Settings::default());
    let talks_on = play(&format!("{CALL}; rtp 3s a->b b->a")).unwrap();
    let got = rehearse(&talks_on.frames, Settings::default());
    assert_eq!(got.stages(), "start stop");
    let grace = got.only().ms() - plain.only().ms();
    assert!((180..=222).contains(&grace), "{grace} ms after the BYE");
    assert!(got.counters.calls.rtp_unwanted > 250);
}

/// Call 1, whose phones talk on for `tail` ms after its end, and call 2 between the same ports `pause`
/// ms after it.
fn two_calls(pause: u64, tail: u64) -> (Vec<(u64, Vec<u8>)>, u64) {
    let first = play(&format!("{CALL}; rtp {tail}ms a->b b->a")).unwrap();
    let end = play(CALL).unwrap().end;
    // Another Call-ID and other SSRCs, the same parties and ports.
    let text = "set seed=99; c->d INVITE; d->c 486; c->d ACK; a->b INVITE; b->a 180; b->a 183; \
                rtp 200ms b->a; b->a 200; a->b ACK; rtp 1s; a->b BYE; b->a 200";
    let mut second = play(text).unwrap().frames;
    for (at, _) in &mut second {
        *at += end - ork_tests::scenario::START + pause * MS;
    }
    let begin = second[3].0;
    let mut all = first.frames;
    all.append(&mut second);
    all.sort_by_key(|(at, _)| *at);
    (all, begin)
}

#[test]
fn the_next_call_within_a_second_hears_nothing_of_the_last() {
    for (pause, tail) in [(0, 0), (0, 700), (100, 900), (300, 900), (600, 900), (900, 900)] {
        let (frames, begin) = two_calls(pause, tail);
        let got = rehearse(&frames, Settings::default());
        let name = format!("{pause} ms later, {tail} ms of tail");
        assert_eq!(got.stages(), "start stop start stop", "{name}");
        let [first, second] = &got.tapes[..] else { panic!("{name}: two tapes") };
        let closing = |tape: &ork_tests::rehearse::Tape| tape.closing.clone().unwrap();
        assert!((1000..=1232).contains(&first.ms()), "{name}: {} ms", first.ms());
        assert_ne!(closing(first).message.nativecallid, closing(second).message.nativecallid);
        // Two legs of its own, and not a sample from elsewhere.
        assert_eq!(closing(second).legs.len(), 2, "{name}");
        let clean =
            two_calls(pause, 0).0.into_iter().filter(|(at, _)| *at >= begin).collect::<Vec<_>>();
        let want = rehearse(&clean, Settings::default());
        assert!(second.samples == want.only().samples, "{name}");
        assert_eq!(second.ms(), want.only().ms(), "{name}");
    }
}

/// A mirror that copies everything, 50 ms late and tagged, changes nothing of that.
#[test]
fn copies_split_no_call_and_join_none() {
    for pause in [0, 40, 300] {
        let (frames, _) = two_calls(pause, 500);
        let plain = Capture::ethernet(&frames);
        let run = |capture: &Capture| -> Rehearsal {
            rehearse_capture(capture, Settings::default(), Limits::default(), &mut |_, _| {})
        };
        let want = run(&plain);
        for row in ["copy", "copy=20,routed", "copy=50,tagged", "copy=50 copy=10,routed"] {
            let got = run(&plain.wrapped(row).unwrap());
            assert_eq!(got.stages(), want.stages(), "{row}");
            for (got, want) in got.tapes.iter().zip(&want.tapes) {
                assert!(got.samples == want.samples, "{row}, {pause} ms later");
                assert_eq!(got.ms(), want.ms(), "{row}");
            }
        }
    }
}
