//! The torture messages of RFC 4475: a message of our own for each of its tests (the texts are in
//! `tests/src/torture`), what is made of it, and that a live call does not notice any of them.
//!
//! Reading is tolerant: a recorder cannot answer 400, and whatever the phones made of a message, the
//! call went on. A datagram whose method has other characters than capital letters is not even looked
//! at by the recorder; it would state nothing.
//!
//! | RFC 4475 | what is odd | what is made of it |
//! |---|---|---|
//! | 3.1.1.1 | folded lines, white space around colons and parameters, any case, compact forms | read; states offered |
//! | 3.1.1.2 | every character that tokens, quoted strings and URIs may have | read; states nothing |
//! | 3.1.1.3 | %-escapes in the user parts of URIs | read; states offered |
//! | 3.1.1.4 | escaped NULs in URIs (text for people and files has none) | read; states nothing |
//! | 3.1.1.5 | % where it escapes nothing: in a method, in a display name | read; states nothing |
//! | 3.1.1.6 | no space between display name and < | read; states nothing |
//! | 3.1.1.7 | long values everywhere (names are cut to 256 characters) | read; states offered |
//! | 3.1.1.8 | another request behind Content-Length in the same datagram (it is not read) | read; states nothing |
//! | 3.1.1.9 | parameters in the user part of the Request-URI | read; states nothing |
//! | 3.1.1.10 | unusual transports in Via | read; states nothing |
//! | 3.1.1.11 | a body of several parts, one of them binary | read; states nothing |
//! | 3.1.1.12 | a reason phrase of arithmetic and UTF-8 | read; states accepted |
//! | 3.1.1.13 | an empty reason phrase (100 states nothing) | read; states nothing |
//! | 3.1.2.1 | separators between nothing | read; states offered |
//! | 3.1.2.2 | Content-Length beyond the datagram (the body is what is there) | read; states offered |
//! | 3.1.2.3 | a negative Content-Length (as if there was none) | read; states offered |
//! | 3.1.2.4 | numbers in a request beyond their range (an overlarge CSeq is none) | read; states nothing |
//! | 3.1.2.5 | numbers in a response beyond their range | read; states nothing |
//! | 3.1.2.6 | a display name whose quote is never closed | read; states offered |
//! | 3.1.2.7 | <> around the Request-URI | read; states offered |
//! | 3.1.2.8 | white space inside the Request-URI | read; states offered |
//! | 3.1.2.9 | several spaces in the request line | read; states offered |
//! | 3.1.2.10 | spaces at the end of the request line | read; states nothing |
//! | 3.1.2.11 | headers in the Request-URI | read; states offered |
//! | 3.1.2.12 | a Date not in GMT (nobody asks for it) | read; states offered |
//! | 3.1.2.13 | headers in a Contact URI that stands without <> | read; states nothing |
//! | 3.1.2.14 | white space inside <> | read; states nothing |
//! | 3.1.2.15 | a comma in a display name without quotes | read; states nothing |
//! | 3.1.2.16 | a version that nobody knows | refused: version is not SIP/2.0 |
//! | 3.1.2.17 | OPTIONS whose CSeq says INVITE (the request line counts) | read; states nothing |
//! | 3.1.2.18 | an unknown method whose CSeq says INVITE, with SDP | read; states nothing |
//! | 3.1.2.19 | a status code that wraps to 5 in 32 bits | refused: status code is not 100 to 699 |
//! | 3.2.1 | a branch that is its magic cookie alone | read; states nothing |
//! | 3.3.1 | no From, To, Call-ID, Via (no call is named: nothing is begun) | read; states nothing |
//! | 3.3.2 | a Request-URI of a scheme that nobody knows | read; states nothing |
//! | 3.3.3 | a Request-URI of a scheme that is no telephone's | read; states nothing |
//! | 3.3.4 | unknown schemes in From, To and Contact | read; states nothing |
//! | 3.3.5 | Require and Proxy-Require of what nobody supports | read; states nothing |
//! | 3.3.6 | a body of a type that nobody knows (an offer without media) | read; states offered |
//! | 3.3.7 | an unknown authorization scheme | read; states nothing |
//! | 3.3.8 | two each of CSeq, Call-ID, From, To (the first counts) | read; states offered |
//! | 3.3.9 | two lengths that differ (the first counts) | read; states nothing |
//! | 3.3.10 | an answer by way of the broadcast address | read; states accepted |
//! | 3.3.11 | Max-Forwards of zero | read; states nothing |
//! | 3.3.12 | REGISTER with a parameter of Contact | read; states nothing |
//! | 3.3.13 | REGISTER with a parameter of the Contact's URI | read; states nothing |
//! | 3.3.14 | REGISTER with a header in the Contact's URI | read; states nothing |
//! | 3.3.15 | Accept of what nobody gives | read; states offered |
//! | 3.4.1 | RFC 2543: no tag, no branch, no Max-Forwards, no Content-Length | read; states offered |

use ork_tests::{
    rehearse::{Rehearsal, rehearse},
    scenario::play,
    torture::{Case, Read, Want, cases},
    wire::Frame,
};
use orkbase::{
    call::settings::Settings,
    signal::{
        Fact,
        sip::{Message, NameAddr, StartLine, facts},
    },
};
use std::net::SocketAddr;

/// What is made of a message.
fn made(text: &[u8]) -> Want {
    let message = match Message::parse(text) {
        Ok(message) => message,
        Err(malformed) => return Want::Refused(malformed.why),
    };
    let end: SocketAddr = ([192, 168, 1, 11], 5060).into();
    let states = match facts::read(&message, end, end, &[]).map(|signal| signal.fact) {
        Some(Fact::Offered(_)) => "offered",
        Some(Fact::Accepted { .. }) => "accepted",
        None => "nothing",
        Some(other) => panic!("{other:?}"),
    };
    let party = |party: Option<NameAddr<'_>>| {
        party.map_or(String::new(), |p| format!("{}@{}", p.uri.user_text(), p.uri.host_text()))
    };
    let word = |method| match format!("{method:?}") {
        other if other == "Other" => other,
        known => known.to_uppercase(),
    };
    Want::Read(Read {
        start: match message.start {
            StartLine::Request { method, .. } => word(method),
            StartLine::Response { code, .. } => code.to_string(),
        },
        call_id: String::from_utf8_lossy(message.call_id().unwrap_or_default()).into_owned(),
        cseq: message
            .cseq()
            .map_or(String::new(), |(number, method)| format!("{number} {}", word(method))),
        from: party(message.from()),
        to: party(message.to()),
        states,
    })
}

#[test]
fn each_message_is_read_or_refused_as_the_table_says() {
    let table = include_str!("torture.rs");
    let mut missing = Vec::new();
    for Case { section, twist, text, want } in cases() {
        assert_eq!(made(&text), want, "{section}: {twist}\n{}", String::from_utf8_lossy(&text));
        let row = format!("//! | {section} | {twist} | {} |\n", want.words());
        if !table.contains(&row) {
            missing.push(row);
        }
    }
    assert!(missing.is_empty(), "rows missing from the table above:\n{}", missing.concat());
}

#[test]
fn every_section_is_there() {
    let mut sections: Vec<String> = Vec::new();
    for (part, last) in [("3.1.1", 13), ("3.1.2", 19), ("3.2", 1), ("3.3", 15), ("3.4", 1)] {
        sections.extend((1..=last).map(|n| format!("{part}.{n}")));
    }
    let have: Vec<&str> = cases().iter().map(|case| case.section).collect();
    assert_eq!(have, sections);
}

const CALL: &str = "a->b INVITE pcmu; b->a 180; b->a 200; a->b ACK; rtp 2s; a->b BYE; b->a 200";

/// A call, and in its midst a message over the same way; `None` for the call alone.
fn call_with(text: Option<&[u8]>, back: bool) -> Rehearsal {
    let mut frames = play(CALL).unwrap().frames;
    if let Some(text) = text {
        let (a, b) = (([192, 168, 1, 11], 5060).into(), ([192, 168, 1, 12], 5060).into());
        let (from, to) = if back { (b, a) } else { (a, b) };
        let frame = Frame::udp(&[], from, to, text).into_bytes();
        let middle = frames.len() / 2;
        frames.insert(middle, (frames[middle].0, frame));
    }
    rehearse(&frames, Settings::default())
}

/// Tapes and messages of both are the same.
fn assert_same(got: &Rehearsal, plain: &Rehearsal, what: &str) {
    assert!(got.told == plain.told, "{what}: {:?}", got.told);
    assert_eq!(got.tapes.len(), 1, "{what}");
    assert!(got.only().samples == plain.only().samples, "{what}: other samples");
    let legs = |got: &Rehearsal| got.only().closing.as_ref().unwrap().legs.clone();
    assert_eq!(legs(got), legs(plain), "{what}");
}

#[test]
fn a_live_call_does_not_notice() {
    let plain = call_with(None, false);
    assert!(plain.only().level(0, 100, 1900) > 5000.0);
    for case in cases() {
        for back in [false, true] {
            assert_same(&call_with(Some(&case.text), back), &plain, case.section);
        }
    }
}

/// Even when the message claims the very addresses at which the call is heard.
#[test]
fn a_live_call_keeps_its_addresses() {
    let plain = call_with(None, false);
    let mut claims = 0;
    for case in cases() {
        let Ok(text) = str::from_utf8(&case.text) else { continue };
        for (address, port) in [("192.168.1.11", "10100"), ("192.168.1.12", "10200")] {
            let lengthless = |line: &&str| !line.to_lowercase().starts_with("content-length");
            let text: Vec<&str> = text.split("\r\n").filter(lengthless).collect();
            let text = text.join("\r\n").replace("198.51.100.7", address).replace("41000", port);
            claims += u32::from(text.contains(&format!("m=audio {port}")));
            assert_same(&call_with(Some(text.as_bytes()), false), &plain, case.section);
        }
    }
    assert!(claims > 30, "{claims}");
}
