//! Calls with more than two ends: forks, transfers, both legs of a back-to-back user agent, late
//! signalling; and calls that are left out or cut.

use ork_tests::rehearse::{Rehearsal, Tape, rehearse, rehearse_with};
use ork_tests::scenario::play;
use orkbase::call::command::{Command, Target};
use orkbase::call::filter::{Filters, PartyPattern};
use orkbase::call::output::{EndReason, MarkKind};
use orkbase::call::party::Side;
use orkbase::call::policy::IpRange;
use orkbase::call::settings::Settings;
use orkbase::message::tape::KeepSide;
use orkbase::signal::Format;

fn explained() -> Settings {
    Settings { explain: true, ..Settings::default() }
}

fn run_with(text: &str, settings: Settings) -> Rehearsal {
    rehearse(&play(text).unwrap().frames, settings)
}

fn run(text: &str) -> Rehearsal {
    run_with(text, explained())
}

fn tag<'a>(tape: &'a Tape, name: &str) -> Option<&'a str> {
    let closing = tape.closing.as_ref();
    closing.and_then(|closing| closing.message.tags.get(name).map(String::as_str))
}

fn marks(tape: &Tape) -> Vec<(u64, MarkKind)> {
    let marks = &tape.closing.as_ref().unwrap().marks;
    marks.iter().map(|mark| (mark.offset_ms / 100, mark.what.clone())).collect()
}

fn verdicts(got: &Rehearsal) -> Vec<&str> {
    got.accounts.iter().map(|account| account.verdict.as_str()).collect()
}

const UP: &str = "a->b INVITE pcmu; b->a 180; b->a 200; a->b ACK;";

#[test]
fn one_busy_branch_of_a_fork_does_not_end_the_call() {
    // The proxy p asks b's phone at two places; the first is busy, the second rings for ten seconds.
    let text = "p = 9@192.168.1.9; c = 1002@192.168.1.13; \
        a->b INVITE hop=a>p head=X-Account:7; a->b INVITE hop=p>b; a->b INVITE hop=p>c; \
        b->a 180 hop=c>p; b->a 180 hop=p>a; b->a 486 hop=b>p; idle 10s; \
        b->a 200 hop=c>p; b->a 200 hop=p>a; a->b ACK; rtp 1s a->b b->a; a->b BYE";
    let settings = Settings { tag_headers: vec!["X-Account".to_owned()], ..explained() };
    let got = run_with(text, settings);
    assert_eq!(tag(got.only(), "X-Account"), Some("7"), "the call was not forgotten meanwhile");
    assert_eq!(verdicts(&got), ["recorded on 1 tape"]);
    let facts = &got.only().closing.as_ref().unwrap().facts;
    assert!(facts.answered.unwrap().millis_since(facts.ringing.unwrap()) > 10_000);
}

#[test]
fn a_fork_that_all_refuse_is_over() {
    let text = "p = 9@192.168.1.9; c = 1002@192.168.1.13; \
        a->b INVITE hop=a>p; a->b INVITE hop=p>b; a->b INVITE hop=p>c; \
        b->a 486 hop=b>p; b->a 603 hop=c>p; b->a 486 hop=p>a head=Reason:Q.850;cause=17; idle 6s; \
        c->d INVITE; d->c 486; idle 6s; e->f INVITE; f->e 486";
    // `;` parts statements: the header above ends at Q.850 on purpose.
    let text = text.replace(";cause=17", "");
    let got = run(&text);
    assert_eq!(got.tapes.len(), 0);
    assert_eq!(got.counters.calls.calls_failed, 3);
    assert_eq!(verdicts(&got)[0], "not recorded: not answered (486)");
}

#[test]
fn a_redirected_call_is_recorded_where_it_goes() {
    let got = run("a->b INVITE; b->a 302; a->b ACK; \
        a->c INVITE head=Diversion:<sip:1002@x>; c->a 200; a->c ACK; rtp 1s; c->a BYE");
    assert_eq!(got.tapes.len(), 1);
    let tape = got.only();
    assert_eq!(tag(tape, "diverted"), Some("1002"));
    assert_eq!(tag(tape, "releasedby"), Some("remote"));
    assert_eq!(verdicts(&got), ["not recorded: not answered (302)", "recorded on 1 tape"]);
}

#[test]
fn a_blind_transfer_links_both_tapes() {
    // b refers a to c; a calls c.
    let got = run(&format!(
        "{UP} rtp 1s; b->a REFER head=Refer-To:<sip:1003@192.168.1.13>; a->b 202; b->a BYE; \
         a->c INVITE head=Referred-By:<sip:1002@192.168.1.12>; c->a 200; a->c ACK; rtp 1s a->c c->a; \
         a->c BYE"
    ));
    assert_eq!(got.tapes.len(), 2);
    let of = |n: usize| tag(&got.tapes[n], "conversation");
    assert_eq!((of(0), of(1)), (Some("call-1-ab@scenario"), Some("call-1-ab@scenario")));
    assert_eq!(tag(&got.tapes[0], "transfer"), Some("1003"));
    assert_eq!(marks(&got.tapes[0]), [(10, MarkKind::Transfer("1003".to_owned()))]);
    assert_eq!(got.stages(), "start update update stop start stop");
}

#[test]
fn an_attended_transfer_links_all_three_tapes() {
    // b consults c, then tells a to take its place.
    let got = run(&format!(
        "{UP} rtp 1s; b->a reINVITE sendonly; a->b 200 recvonly; b->a ACK; \
         b->c INVITE port=12000; c->b 200; b->c ACK; rtp 1s b->c c->b; \
         b->a REFER head=Refer-To:<sip:1003@192.168.1.13?Replaces=call-2-bc%40scenario%3Bto-tag%3Dc2%3Bfrom-tag%3Db2>; \
         a->b 202; \
         a->c INVITE head=Replaces:call-2-bc@scenario; c->a 200 port=13000; a->c ACK; rtp 1s a->c c->a; \
         b->a BYE; b->c BYE; a->c BYE"
    ));
    let of: Vec<_> = got.tapes.iter().map(|tape| tag(tape, "conversation")).collect();
    assert_eq!(of, [Some("call-1-ab@scenario"); 3]);
    assert_eq!(marks(&got.tapes[0])[0].1, MarkKind::Hold(Side::Remote));
}

/// a calls the PBX at .20, which calls b on with a's number.
const B2BUA: &str = "q = 1002@192.168.1.20 rtp=20000; p = 1001@192.168.1.20 rtp=20002 sip=5080; \
    a->q INVITE; p->b INVITE; b->p 200; q->a 200; a->q ACK; p->b ACK; \
    rtp 1s a->q q->a p->b b->p; a->q BYE; p->b BYE";

#[test]
fn both_legs_of_a_back_to_back_user_agent_are_linked() {
    let got = run(B2BUA);
    assert_eq!(got.tapes.len(), 2);
    let of: Vec<_> = got.tapes.iter().map(|tape| tag(tape, "conversation")).collect();
    assert_eq!(of, [Some("call-1-aq@scenario"); 2]);
    assert_eq!(got.counters.calls.calls_linked, 2);
}

#[test]
fn one_leg_is_enough_if_the_operator_says_so() {
    let got = run_with(B2BUA, Settings { both_legs: false, ..explained() });
    assert_eq!(got.tapes.len(), 1);
    let mut told = verdicts(&got);
    told.sort_unstable();
    assert_eq!(
        told,
        [
            "not recorded: its other leg was being recorded (calls.other_leg = \"skip\")",
            "recorded on 1 tape"
        ]
    );
    // Without audio of the one leg the other is recorded.
    let second_only = B2BUA.replace("rtp 1s a->q q->a p->b b->p", "rtp 1s p->b b->p");
    let got = run_with(&second_only, Settings { both_legs: false, ..explained() });
    assert_eq!(got.only().closing.as_ref().unwrap().message.nativecallid, "call-2-pb@scenario");
}

#[test]
fn two_calls_of_one_number_by_other_ways_are_not_linked() {
    let got = run("a->b INVITE; b->a 200; a->b ACK; a->c INVITE port=12000; c->a 200; a->c ACK; \
        rtp 1s; a->b BYE; a->c BYE");
    assert_eq!((got.tapes.len(), got.counters.calls.calls_linked), (2, 0));
}

#[test]
fn a_session_id_links_legs_of_other_names() {
    const ID: &str = "head=Session-ID:ab30317f1a784dc48ff824d0d3715d86";
    let text = format!(
        "q = 1002@192.168.1.20 rtp=20000; p = 0301001@192.168.1.21 rtp=20002; \
         a->q INVITE {ID}; q->a 200; a->q ACK; idle 20s; p->b INVITE {ID}; b->p 200; p->b ACK; \
         rtp 1s a->q q->a p->b b->p; a->q BYE; p->b BYE"
    );
    assert_eq!(run(&text).counters.calls.calls_linked, 2);
}

#[test]
fn late_signalling_adopts_the_session_already_running() {
    // The tap sees media from the start, of signalling only the re-INVITE and what follows.
    let settings = Settings { unannounced_after: 50, ..explained() };
    let scene =
        play(&format!("{UP} rtp 3s; a->b reINVITE; b->a 200; a->b ACK; rtp 2s; b->a BYE")).unwrap();
    let seen: Vec<_> = scene.frames.iter().skip(4).cloned().collect();
    let got = rehearse(&seen, settings.clone());
    assert_eq!(got.tapes.len(), 1, "{:?}", verdicts(&got));
    let tape = got.only();
    let closing = tape.closing.as_ref().unwrap();
    assert_eq!(closing.message.nativecallid, "call-1-ab@scenario");
    assert!((4_900..5_200).contains(&tape.ms()), "{}", tape.ms());
    assert_eq!(closing.why, EndReason::HungUp);
    assert_eq!(got.stages(), "start update stop");
    // Whoever is on the left is the local party, as the message says.
    let left = closing.legs.iter().find(|leg| leg.side == Side::Local).unwrap();
    let number = if left.source.ip().to_string() == "192.168.1.11" { "1001" } else { "1002" };
    assert_eq!(closing.message.localparty, number);
    for (leg, stream) in closing.legs.iter().zip(&scene.calls[0].streams) {
        assert_eq!((leg.packets, leg.lost), (u64::from(stream.packets), 0));
    }
    assert_eq!(got.counters.calls.calls_adopted, 1);
}

/// What was said of it before anybody knew what it was holds.
#[test]
fn a_pause_outlives_the_adoption_of_a_call() {
    let settings = Settings { unannounced_after: 50, ..Settings::default() };
    let scene =
        play(&format!("{UP} rtp 3s; a->b reINVITE; b->a 200; a->b ACK; rtp 3s; b->a BYE")).unwrap();
    let seen: Vec<_> = scene.frames.iter().skip(4).cloned().collect();
    let first = seen[0].0;
    let party = |text: &str| Target::Party(text.to_owned());
    let mut step = 0;
    let got = rehearse_with(&seen, settings, &mut |tap, at| {
        if step == 0 && at.0 >= first + 2_000_000_000 {
            step = 1;
            let pause = Command::Pause(party("192.168.1.11"));
            assert_eq!(tap.handle_command(at, &pause).matched, 1);
        }
        if step == 1 && at.0 >= first + 5_000_000_000 {
            step = 2;
            let record = Command::Record(party("1001"), KeepSide::Both);
            assert_eq!(tap.handle_command(at, &record).matched, 1);
        }
    });
    assert_eq!((got.counters.calls.calls_adopted, step), (1, 2));
    let tape = got.only();
    assert!(tape.level(0, 2_050, 4_950) < 1.0 && tape.level(1, 2_050, 4_950) < 1.0);
    assert!(tape.level(0, 500, 1_900) > 5_000.0 && tape.level(0, 5_100, 5_900) > 5_000.0);
}

#[test]
fn unannounced_media_needs_a_meaning() {
    // Payload type 107, made of the caller's PCMU packets.
    let scene = play(&format!("{UP} rtp 3s; a->b BYE")).unwrap();
    let media = |frame: &(u64, Vec<u8>)| frame.1[42] == 0x80;
    let dynamic = |(at, mut bytes): (u64, Vec<u8>)| {
        bytes[43] = 107 | (bytes[43] & 0x80);
        (at, bytes)
    };
    let plain: Vec<_> = scene.frames.into_iter().filter(media).collect();
    let settings = Settings { unannounced_after: 50, ..explained() };
    let got = rehearse(&plain, settings.clone());
    let closing = got.only().closing.as_ref().unwrap();
    assert!(
        closing.legs.iter().all(|leg| leg.packets == 150 && leg.lost == 0),
        "{:?}",
        closing.legs
    );
    assert_eq!(rehearse(&plain, explained()).tapes.len(), 0, "off unless asked for");

    let unknown: Vec<_> = plain.into_iter().map(dynamic).collect();
    assert_eq!(rehearse(&unknown, settings.clone()).tapes.len(), 0);
    let meaning = Format {
        payload_type: 107,
        name: "PCMU".to_owned(),
        clock_rate: 8_000,
        channels: 1,
        parameters: None,
    };
    let got = rehearse(&unknown, Settings { payload_types: vec![meaning], ..settings });
    assert!(got.only().level(0, 0, 2_900) > 5000.0);
}

#[test]
fn a_hold_of_half_an_hour_keeps_the_call() {
    let got = run(&format!(
        "{UP} rtp 1s; a->b reINVITE inactive; b->a 200 inactive; a->b ACK; idle 1800s; \
         a->b reINVITE; b->a 200; a->b ACK; rtp 1s; a->b BYE"
    ));
    assert_eq!(got.stages(), "start hold resume stop");
    let tape = got.only();
    assert!((1_802_000..1_802_200).contains(&tape.ms()), "{}", tape.ms());
    assert_eq!(marks(tape), [(10, MarkKind::Hold(Side::Local)), (18_010, MarkKind::Resume)]);
    assert_eq!(tag(tape, "holds"), Some("1"));
    let held: u64 = tag(tape, "holdms").unwrap().parse().unwrap();
    assert!((1_800_000..1_800_100).contains(&held), "{held}");
    assert!(tape.level(0, 1_801_100, 1_802_000) > 5000.0);
}

#[test]
fn calls_with_blocked_addresses_or_parties_are_left_out() {
    let call = format!("{UP} rtp 1s; a->b BYE");
    let ranges = |text: &str| vec![IpRange::parse(text).unwrap()];
    let parties = |text: &str| vec![PartyPattern::parse(text).unwrap()];
    let plain = Filters::default();
    for (filters, want) in [
        (Filters { blocked_addresses: ranges("192.168.1.12"), ..plain.clone() }, "192.168.1.12"),
        (Filters { allowed_addresses: ranges("10.0.0.0/8"), ..plain.clone() }, "192.168.1.11"),
        (Filters { blocked_media: ranges("192.168.1.11"), ..plain.clone() }, "192.168.1.11"),
        (Filters { only_parties: parties("/20.*/"), ..plain.clone() }, "neither 1001 nor 1002"),
        (Filters { never_parties: parties("1000-1001"), ..plain.clone() }, "1001 must not"),
    ] {
        let got = run_with(&call, Settings { filters, ..explained() });
        assert_eq!((got.tapes.len(), got.told.len()), (0, 0), "{want}");
        let told = verdicts(&got);
        assert!(told[0].starts_with(&format!("not recorded: {want}")), "{told:?}");
        // The last packet comes after the BYE.
        let calls = &got.counters.calls;
        assert_eq!(
            (calls.calls_ignored, calls.rtp_filtered + calls.rtp_unwanted),
            (1, 100),
            "{want}"
        );
        assert!(calls.rtp_filtered >= 99);
    }
    let all = Filters {
        allowed_addresses: ranges("192.168.0.0/16"),
        only_parties: parties("1XXX"),
        ..plain
    };
    assert_eq!(run_with(&call, Settings { filters: all, ..explained() }).only().ms(), 1008);
}

#[test]
fn a_call_that_is_left_out_is_told_even_if_nobody_asks() {
    let filters =
        Filters { never_parties: vec![PartyPattern::parse("1001").unwrap()], ..Filters::default() };
    let got = run_with(
        &format!("{UP} rtp 1s; a->b BYE; c->d INVITE; d->c 486"),
        Settings { filters, ..Settings::default() },
    );
    assert_eq!(verdicts(&got), ["not recorded: 1001 must not be recorded (filters.never_parties)"]);
}

#[test]
fn long_calls_are_cut_or_continued() {
    let call = format!("{UP} rtp 10s; a->b BYE");
    let filters = Filters { max_duration_ms: 4_000, ..Filters::default() };
    let got = run_with(&call, Settings { filters, ..explained() });
    let ms = got.only().ms();
    assert!((3_900..4_200).contains(&ms), "{ms}");
    assert_eq!(got.only().closing.as_ref().unwrap().why, EndReason::TooLong);
    assert_eq!(
        verdicts(&got),
        ["recorded on 1 tape(s), then no more: longer than is recorded (filters.max_duration_s)"]
    );

    let got = run_with(&call, Settings { segment_ms: 4_000, ..explained() });
    assert_eq!(got.tapes.len(), 3);
    let whole: u64 = got.tapes.iter().map(Tape::ms).sum();
    assert!((9_900..=10_060).contains(&whole), "{whole}");
    let parts: Vec<_> = got.tapes.iter().map(|tape| tag(tape, "part")).collect();
    assert_eq!(parts, [None, Some("2"), Some("3")]);
    let first = got.tapes[0].opening.orkuid.to_string();
    assert_eq!(tag(&got.tapes[2], "firstpart"), Some(first.as_str()));
    let packets: u64 = got
        .tapes
        .iter()
        .flat_map(|tape| &tape.closing.as_ref().unwrap().legs)
        .map(|leg| leg.packets - leg.late)
        .sum();
    assert_eq!(packets, 1_000, "every packet is on one of the tapes");
}

#[test]
fn parties_have_the_names_that_the_map_gives_them() {
    let mut settings = explained();
    settings.parties.map.insert("1001".to_owned(), "Alice".to_owned());
    let got = run_with(&format!("{UP} rtp 1s; a->b BYE"), settings);
    let message = &got.only().closing.as_ref().unwrap().message;
    assert_eq!((message.localparty.as_str(), message.remoteparty.as_str()), ("Alice", "1002"));
}

#[test]
fn the_course_of_a_call_goes_with_its_tape() {
    let got = run("a->b INVITE head=User-Agent:Phone~7; b->a 180; idle 2s; \
        b->a 200 head=Server:Gate; a->b ACK; rtp 1s; b->a BYE head=Reason:SIP");
    let closing = got.only().closing.as_ref().unwrap();
    let facts = &closing.facts;
    assert_eq!(facts.agents, ["Phone 7".to_owned(), "Gate".to_owned()]);
    assert_eq!(facts.answered.unwrap().millis_since(facts.ringing.unwrap()), 2_010);
    assert_eq!(facts.released.map(|(_, side)| side), Some(Side::Remote));
    assert_eq!(facts.cause.as_deref(), Some("SIP"));
    assert_eq!(facts.rule, "default: the caller is local");
    assert_eq!(tag(got.only(), "localagent"), Some("Phone 7"));
    assert_eq!(tag(got.only(), "releasedby"), Some("remote"));
}

#[test]
fn every_call_is_explained() {
    let calls = [
        ("a->b INVITE; b->a 180; a->b CANCEL; b->a 487", "not recorded: not answered (487)"),
        ("a->b INVITE; b->a 180", "not recorded: no answer was seen"),
        (
            "a->b INVITE; b->a 200; a->b ACK; a->b BYE",
            "not recorded: no audio came: announced at 192.168.1.11:10100, 192.168.1.12:10200; \
             does the mirror carry it?",
        ),
        ("a->b INVITE nosdp; b->a 200 nosdp; a->b BYE", "not recorded: no audio was announced"),
        ("a->b INVITE; b->a 200; a->b ACK; rtp 1s; a->b BYE", "recorded on 1 tape"),
    ];
    for (text, want) in calls {
        assert_eq!(verdicts(&run(text)), [want], "{text}");
    }
    let asked = Settings { record_all: false, ..explained() };
    let got = run_with(&format!("{UP} rtp 1s; a->b BYE"), asked);
    assert_eq!(verdicts(&got), ["not recorded: nobody asked for it (calls.record_all = false)"]);
    let story: Vec<&str> =
        got.accounts[0].story.lines.iter().map(|(_, line)| line.as_str()).collect();
    assert_eq!(
        story[0],
        "192.168.1.11:5060 > 192.168.1.12:5060: call offered by 1001 to 1002; \
         audio at 192.168.1.11:10100 (PCMU telephone-event)"
    );
    assert!(story.iter().any(|line| line.starts_with("media of the caller from 192.168.1.11")));
}
