//! Networks that lose, copy, reorder, and flood (R40 to R59).

use super::{
    Bench, Found, Row, flood, link, mirror,
    net::{apart, said},
    time,
};

/// The rows.
pub(super) const ROWS: [Row; 13] = [
    Row {
        id: "R40",
        fault: "the clock is set forward and back, the calendar changes, 2038 and 2106 come",
        promised: "durations right, all audio there, names once each, timers go on",
        run: |bench| apart(|| time::steps(bench)),
    },
    Row {
        id: "R41",
        fault: "capture times that jump, go back, stand still or are shuffled",
        promised: "no tape is longer than its capture and its audio, none stays open",
        run: |bench| said(time::nonsense(bench)),
    },
    Row {
        id: "R42",
        fault: "senders' clocks off by 500 ppm, each in its direction",
        promised: "both sides within 20 ms at the end",
        run: |bench| tests(bench, &["skew::"]),
    },
    Row {
        id: "R50",
        fault: "every packet twice: at once, tagged, routed, 30 ms later",
        promised: "the same tapes as from single packets; copies counted",
        run: |bench| said(mirror::copies(bench)),
    },
    Row {
        id: "R51",
        fault: "loss of 0.1 to 30 %, bursts, disorder, jitter of 80 ms",
        promised: "every received sample in its place, silence where one is missing, exact counts",
        run: |bench| said(mirror::losses(bench)),
    },
    Row {
        id: "R52",
        fault: "a storm of small packets, each of a flow of its own, beside live calls",
        promised: "bounded memory; losses only where counted; well again within 5 s",
        run: |bench| apart(|| flood::packets(bench)),
    },
    Row {
        id: "R53",
        fault: "what looks like RTP to random ports, a flow a packet",
        promised: "no recordings of it, bounded memory, calls whole",
        run: |bench| said(flood::scan(bench)),
    },
    Row {
        id: "R54",
        fault: "10,000 messages a second: INVITE without media, BYE of nothing, OPTIONS",
        promised: "no live call lost, the oldest without media displaced, bounded memory",
        run: |bench| {
            let live = apart(|| flood::signalling_live(bench));
            both(said(flood::signalling(bench)), live)
        },
    },
    Row {
        id: "R55",
        fault: "fragments that overlap, lie, or never end, beside calls in fragments",
        promised: "bounded memory, the calls whole",
        run: |bench| said(mirror::fragments(bench)),
    },
    Row {
        id: "R56",
        fault: "SIP over TCP split at every byte, out of order, repeated, with lengths that lie",
        promised: "the same as in one segment",
        run: |bench| {
            let encapsulations = tests(
                bench,
                &["encapsulations::sip_over_tcp", "encapsulations::split_at_every_byte"],
            );
            let core = bench.suite(
                "orkbase",
                &["--lib"],
                &["packet::tests::streams", "signal::sip::framing"],
            );
            both(encapsulations, core)
        },
    },
    Row {
        id: "R57",
        fault: "one-way audio, answer before INVITE, media before signalling, no BYE, no INVITE",
        promised: "recorded, and flagged",
        run: |bench| {
            tests(
                bench,
                &[
                    "dialogs::a_missing_bye_ends_when_media_has_been_silent",
                    "dialogs::a_missing_invite_still_records",
                    "dialogs::an_answer_seen_before_its_invite",
                    "dialogs::media_that_overtakes_the_answer_is_not_lost",
                    "quality::a_side_that_sends_nothing_is_told",
                    "conversations::late_signalling_adopts_the_session_already_running",
                ],
            )
        },
    },
    Row {
        id: "R58",
        fault: "ports that the next call uses within a second, tails of the last call, long holds",
        promised: "nothing of one call on the tape of another",
        run: |bench| {
            let suite = tests(
                bench,
                &[
                    "conversations::a_hold_of_half_an_hour_keeps_the_call",
                    "dialogs::the_next_call_on_the_same_ports_is_another_tape",
                    "endings::the_next_call_within_a_second_hears_nothing_of_the_last",
                    "endings::copies_split_no_call_and_join_none",
                ],
            );
            both(said(mirror::ports(bench)), suite)
        },
    },
    Row {
        id: "R59",
        fault: "the link goes down, the interface away; frames of 9,000 bytes; frames that are cut",
        promised: "capture goes on within 5 s, the gap is told; nothing crashes",
        run: |bench| apart(|| link::flaps(bench)),
    },
];

/// Tests across the crates.
pub(super) fn tests(bench: &Bench, names: &[&str]) -> Found {
    bench.suite("ork-tests", &["--test", "it"], names)
}

/// Two parts of one row: kept if both are.
pub(super) fn both(one: Found, other: Found) -> Found {
    match (one, other) {
        (Found::Kept { runs: a, figure: b }, Found::Kept { runs: c, figure: d }) => {
            Found::Kept { runs: a + c, figure: format!("{b}; {d}") }
        }
        (broken @ Found::Broken { .. }, _) | (_, broken @ Found::Broken { .. }) => broken,
        (missing @ Found::NotRun(_), _) | (_, missing @ Found::NotRun(_)) => missing,
    }
}
