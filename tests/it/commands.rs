//! What operators may ask of live calls, and when it stays so.

use ork_tests::{
    rehearse::{Rehearsal, rehearse_with},
    scenario::play,
};
use orkbase::{
    call::{
        command::{Command, PauseAs, Reply, Retention, Target},
        output::MarkKind,
        settings::Settings,
    },
    message::tape::KeepSide,
};

const UP: &str = "a->b INVITE pcmu; b->a 180; b->a 200; a->b ACK;";

fn party() -> Target {
    Target::Party("1001".to_owned())
}

fn record() -> Command {
    Command::Record(party(), KeepSide::Both)
}

/// Plays a call and commands, each so many milliseconds after the first frame.
fn act(text: &str, settings: Settings, acts: &[(u64, Command)]) -> (Rehearsal, Vec<Reply>) {
    let played = play(text).unwrap();
    let first = played.frames[0].0;
    let (mut next, mut replies) = (0, Vec::new());
    let got = rehearse_with(&played.frames, settings, &mut |tap, at| {
        while let Some((ms, command)) = acts.get(next).filter(|(ms, _)| at.0 >= first + ms * MS) {
            let _ = ms;
            replies.push(tap.handle_command(at, command));
            next += 1;
        }
    });
    (got, replies)
}

const MS: u64 = 1_000_000;

fn tag<'a>(got: &'a Rehearsal, tape: usize, name: &str) -> &'a str {
    let tags = &got.tapes[tape].closing.as_ref().unwrap().message.tags;
    tags.get(name).map_or("", String::as_str)
}

fn marks(got: &Rehearsal) -> Vec<&'static str> {
    got.only().closing.as_ref().unwrap().marks.iter().map(|mark| mark.what.as_str()).collect()
}

#[test]
fn a_pause_is_cut_out_or_silent() {
    let acts = [(1_000, Command::Pause(party())), (3_000, record())];
    let text = format!("{UP} rtp 5s; a->b BYE; b->a 200");
    let (silent, _) = act(&text, Settings::default(), &acts);
    let gap = Settings { pause: PauseAs::Gap, ..Settings::default() };
    let (cut, _) = act(&text, gap, &acts);
    let ms = |got: &Rehearsal| got.only().ms();
    assert!((4_950..5_060).contains(&ms(&silent)), "{}", ms(&silent));
    // All but the fifth of a second that packets may be late.
    assert_eq!(ms(&silent) - ms(&cut), 1_800);
    for got in [&silent, &cut] {
        let closing = got.only().closing.as_ref().unwrap();
        assert_eq!(closing.message.duration, 5, "the call's, whatever was cut");
        assert_eq!(closing.duration_ms, got.only().ms());
        assert_eq!((tag(got, 0, "pauses"), tag(got, 0, "pausedms")), ("1", "2000"));
        assert_eq!(marks(got), ["pause", "record"]);
    }
    assert!(silent.only().level(0, 1_100, 2_900) < 1.0);
    assert!(cut.only().level(0, 1_250, 3_000) > 5_000.0);
    let at = |got: &Rehearsal| got.only().closing.as_ref().unwrap().marks[1].offset_ms;
    assert_eq!(at(&silent) - at(&cut), 1_800);
}

#[test]
fn a_pause_outlives_the_tape() {
    let acts = [(500, Command::Pause(party())), (3_500, record())];
    let segments = Settings { segment_ms: 1_000, ..Settings::default() };
    let (got, _) = act(&format!("{UP} rtp 5s; a->b BYE; b->a 200"), segments, &acts);
    let starts: Vec<u64> = got.tapes.iter().map(|t| t.opening.start.0 / MS).collect();
    assert!(starts[1] - starts[0] >= 3_400, "nothing begins while it is paused: {starts:?}");
    assert!((450..=500).contains(&got.tapes[0].ms()), "{}", got.tapes[0].ms());
}

#[test]
fn a_call_may_be_paused_before_it_has_a_tape() {
    // Both commands before the first packet of audio, then none until the second.
    let text = format!("{UP} idle 500ms; rtp 2s; a->b BYE; b->a 200");
    let (got, replies) =
        act(&text, Settings::default(), &[(30, Command::Pause(party())), (1_500, record())]);
    assert_eq!((replies[0].matched, replies[0].orkuid.clone()), (1, None));
    assert!(got.only().ms() < 1_200, "{}", got.only().ms());
    assert!(got.counters.calls.rtp_paused > 20);
}

#[test]
fn a_pause_ends_by_itself() {
    let limit = Settings { pause_limit_ms: 1_000, ..Settings::default() };
    let text = format!("{UP} rtp 4s; a->b BYE; b->a 200");
    let (got, _) = act(&text, limit, &[(1_000, Command::Pause(party()))]);
    let tape = got.only();
    assert_eq!(marks(&got), ["pause", "pauseover"]);
    assert_eq!(got.counters.calls.pauses_over, 1);
    assert!(tape.level(0, 1_100, 1_900) < 1.0 && tape.level(0, 2_200, 3_900) > 5_000.0);
    assert_eq!(got.stages(), "start stop", "nobody asked for it");
    let (got, _) = act(&text, Settings::default(), &[(1_000, Command::Pause(party()))]);
    assert!(got.only().ms() < 1_100);
}

#[test]
fn what_was_just_said_is_kept() {
    let settings = Settings { record_all: false, prerecord_ms: 2_000, ..Settings::default() };
    let text = format!("{UP} rtp 3s; dtmf a->b 5; rtp 2s; dtmf a->b 6; rtp 1s; a->b BYE; b->a 200");
    let (got, replies) = act(&text, settings.clone(), &[(4_000, record())]);
    let tape = got.only();
    assert_eq!(replies[0].orkuid.as_ref(), Some(&tape.opening.orkuid), "it has begun");
    let closing = tape.closing.as_ref().unwrap();
    assert_eq!(
        closing.marks.iter().map(|m| m.what.clone()).collect::<Vec<_>>(),
        [MarkKind::Record]
    );
    assert!((1_970..=2_000).contains(&closing.marks[0].offset_ms), "{:?}", closing.marks);
    assert!(tape.level(0, 0, 900) > 5_000.0 && tape.level(1, 0, 1_900) > 5_000.0);
    let lost: u64 = closing.legs.iter().map(|leg| leg.lost).sum();
    assert_eq!(lost, 0);
    // What was pressed before is nobody's business.
    assert_eq!(got.tags.iter().map(|t| t.tagtext.as_str()).collect::<String>(), "6");
    assert!(got.told[0].ondemand && tag(&got, 0, "ondemand") == "true");
    // Each packet is counted once.
    let counters = &got.counters.calls;
    let sent: u64 = 2 * 50 * 6;
    assert!(counters.rtp_packets >= sent && counters.rtp_packets < sent + 40, "{counters:?}");
    assert!(counters.rtp_unwanted >= 180 && counters.rtp_unwanted <= 240, "{counters:?}");

    let (got, _) = act(&text, settings.clone(), &[]);
    assert!(got.tapes.is_empty(), "nobody asked");
    // A pause forgets what was said; so does a stop.
    for forget in [Command::Pause(party()), Command::Stop(party())] {
        let (got, _) = act(&text, settings.clone(), &[(3_500, forget), (4_000, record())]);
        assert!(
            got.only().closing.as_ref().unwrap().marks.first().is_none_or(|m| m.offset_ms < 100)
        );
        assert!(got.only().ms() < 3_000);
    }
    let small = Settings { prerecord_max_bytes: 20_000, ..settings };
    let (got, _) = act(&text, small, &[(4_000, record())]);
    assert!(got.counters.calls.prerecord_omitted > 300);
    assert!(got.only().ms() < 3_400, "{}", got.only().ms());
}

#[test]
fn a_side_stays_chosen_on_the_next_tape() {
    let acts = [(500, Command::Record(party(), KeepSide::Local)), (1_500, Command::Split(party()))];
    let (got, replies) =
        act(&format!("{UP} rtp 3s; a->b BYE; b->a 200"), Settings::default(), &acts);
    assert_eq!((got.tapes.len(), replies[1].matched), (2, 1));
    let second = &got.tapes[1];
    assert!(second.level(0, 0, 1_400) > 5_000.0 && second.level(1, 0, 1_400) < 1.0);
    assert_eq!(tag(&got, 1, "part"), "2");
    assert_eq!(tag(&got, 1, "firstpart"), got.tapes[0].opening.orkuid.as_str());
}

#[test]
fn tags_and_flags_of_operators() {
    let tags = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect::<Vec<_>>()
    };
    let many: Vec<(String, String)> = (0..65).map(|n| (n.to_string(), String::new())).collect();
    let acts = [
        (10, Command::Tag(party(), tags(&[("CustomerNo", "1")]))),
        (1_000, Command::Tag(party(), tags(&[("CustomerNo", "2"), ("a:b", "c,d")]))),
        (1_100, Command::Tag(party(), many)),
        (1_200, Command::Tag(party(), tags(&[("long", &"x".repeat(513))]))),
        (1_300, Command::Flag(party(), Retention::Discard)),
    ];
    let text = format!("{UP} rtp 2s; a->b BYE; b->a 200");
    let (got, replies) = act(&text, Settings::default(), &acts);
    assert_eq!(replies.iter().map(|r| r.matched).collect::<Vec<_>>(), [1, 1, 0, 0, 1]);
    assert_eq!(got.counters.calls.tags_refused, 2);
    assert_eq!((tag(&got, 0, "CustomerNo"), tag(&got, 0, "a:b")), ("2", "c,d"));
    let told: Vec<_> = got.tags.iter().map(|t| (t.tagtype.as_str(), t.tagtext.as_str())).collect();
    assert_eq!(told, [("CustomerNo", "2"), ("a:b", "c,d")]);
    assert_eq!(got.stages(), "start update stop");
    assert!(got.only().closing.as_ref().unwrap().discard && tag(&got, 0, "Keep") == "0");
    let (kept, _) = act(
        &text,
        Settings::default(),
        &[
            (900, Command::Flag(party(), Retention::Discard)),
            (950, Command::Flag(party(), Retention::Neither)),
        ],
    );
    assert!(!kept.only().closing.as_ref().unwrap().discard && tag(&kept, 0, "Keep").is_empty());
}

#[test]
fn a_call_that_is_over_matches_nothing() {
    let text = format!("{UP} rtp 1s; a->b BYE; b->a 200; idle 1s; a->b OPTIONS");
    let played = play(&text).unwrap();
    let call = || Target::NativeCallId(played.calls[0].call_id.clone());
    let (got, replies) = act(
        &text,
        Settings::default(),
        &[
            (1_900, Command::Pause(call())),
            (1_900, Command::Record(call(), KeepSide::Both)),
            (1_900, Command::Stop(party())),
        ],
    );
    assert_eq!(replies.iter().map(|r| r.matched).collect::<Vec<_>>(), [0, 0, 0]);
    assert_eq!(got.stages(), "start stop");
}
