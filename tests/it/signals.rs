//! SIP beyond the plain call: every way in which media is stated, changed, announced twice or not at all.

use ork_tests::rehearse::{Rehearsal, rehearse};
use ork_tests::scenario::play;
use ork_tests::wire::Frame;
use orkbase::call::settings::Settings;

fn frames(text: &str) -> Vec<(u64, Vec<u8>)> {
    play(text).unwrap().frames
}

fn run(text: &str) -> Rehearsal {
    rehearse(&frames(text), Settings::default())
}

/// Milliseconds, packets of both legs, how it ended.
fn summary(got: &Rehearsal) -> (u64, Vec<u64>, &'static str) {
    let tape = got.only();
    let closing = tape.closing.as_ref().unwrap();
    (tape.ms(), closing.legs.iter().map(|leg| leg.packets).collect(), closing.why.as_str())
}

/// What a plain call of a second gives.
fn plain() -> (u64, Vec<u64>, &'static str) {
    (1_008, vec![50, 50], "hungup")
}

/// Rewrites the text of the SIP messages; `None` leaves one as it is.
fn rewritten(
    text: &str,
    edit: impl Fn(&str, &str) -> Option<(String, String)>,
) -> Vec<(u64, Vec<u8>)> {
    let edit = |(at, frame): (u64, Vec<u8>)| {
        let Ok(message) = std::str::from_utf8(&frame[42..]) else { return (at, frame) };
        let Some((head, body)) = message.split_once("\r\n\r\n") else { return (at, frame) };
        let Some((head, body)) = edit(head, body) else { return (at, frame) };
        let length = format!("Content-Length: {}", body.len());
        let lines: Vec<&str> = head
            .split("\r\n")
            .map(|line| if line.starts_with("Content-Length") { &length } else { line })
            .collect();
        let payload = format!("{}\r\n\r\n{body}", lines.join("\r\n"));
        (at, carry(&frame, payload.as_bytes()))
    };
    frames(text).into_iter().map(edit).collect()
}

/// Another payload between the same addresses.
fn carry(frame: &[u8], payload: &[u8]) -> Vec<u8> {
    let port = |at: usize| u16::from_be_bytes([frame[at], frame[at + 1]]);
    let address = |at: usize| <[u8; 4]>::try_from(&frame[at..at + 4]).unwrap();
    let (source, destination) = ((address(26), port(34)), (address(30), port(36)));
    let mut frame = Frame::udp(&[], source.into(), destination.into(), payload);
    frame.seal(1);
    frame.into_bytes()
}

fn with_sdp(text: &str, edit: impl Fn(&str) -> String) -> Rehearsal {
    let frames =
        rewritten(text, |head, body| (!body.is_empty()).then(|| (head.to_owned(), edit(body))));
    rehearse(&frames, Settings::default())
}

const CALL: &str = "a->b INVITE pcmu; b->a 180; b->a 200; a->b ACK; rtp 1s; a->b BYE; b->a 200";

#[test]
fn media_is_taken_from_whatever_states_it() {
    for (what, text) in [
        (
            "offer in 200, answer in ACK",
            "a->b INVITE nosdp; b->a 200; a->b ACK sdp; rtp 1s; a->b BYE",
        ),
        (
            "answer in 183 and PRACK",
            "a->b INVITE nosdp; b->a 183; a->b PRACK sdp; b->a 200; b->a 200 nosdp; rtp 1s a->b b->a; \
             a->b BYE",
        ),
        (
            "UPDATE moves the media before it is answered",
            "a->b INVITE; b->a 183; a->b UPDATE sdp port=12000; b->a 200 sdp; b->a 200; a->b ACK; \
             rtp 1s a->b b->a; a->b BYE",
        ),
        (
            "200 said again, CANCEL too late",
            "a->b INVITE; b->a 180; a->b CANCEL; b->a 200; a->b INVITE; \
             b->a 200; a->b ACK; rtp 1s a->b b->a; a->b BYE",
        ),
    ] {
        let got = run(text);
        assert_eq!(summary(&got), plain(), "{what}");
    }
}

#[test]
fn a_cancel_that_the_answer_crosses_does_not_end_the_call() {
    // The 200 to the INVITE, which comes after the CANCEL, has its SDP.
    let got = run("a->b INVITE; b->a 180; b->a 200; a->b CANCEL; a->b ACK; \
        rtp 1s a->b b->a; a->b BYE");
    assert_eq!(summary(&got), plain());
}

#[test]
fn every_way_to_hold_is_a_hold() {
    for (what, from, to) in [
        ("sendonly", "a=sendrecv", "a=sendonly"),
        ("inactive", "a=sendrecv", "a=inactive"),
        ("RFC 2543", "c=IN IP4 192.168.1.11", "c=IN IP4 0.0.0.0"),
        ("port 0", "m=audio 10100", "m=audio 0"),
    ] {
        let text = "a->b INVITE; b->a 200; a->b ACK; rtp 1s; a->b reINVITE; b->a 200 recvonly; \
            a->b ACK; idle 40s; a->b reINVITE; b->a 200; a->b ACK; rtp 1s; a->b BYE";
        let frames = rewritten(text, |head, body| {
            let second = head.contains("CSeq: 2 INVITE") && head.starts_with("INVITE");
            second.then(|| (head.to_owned(), body.replace(from, to)))
        });
        let got = rehearse(&frames, Settings::default());
        assert_eq!(got.stages(), "start hold resume stop", "{what}");
        assert!((42_000..42_200).contains(&got.only().ms()), "{what}");
    }
}

#[test]
fn music_on_hold_is_on_the_tape() {
    let got =
        run("a->b INVITE; b->a 200; a->b ACK; rtp 1s; a->b reINVITE sendonly; b->a 200 recvonly; \
        a->b ACK; rtp 5s a->b; a->b reINVITE; b->a 200; a->b ACK; rtp 1s; a->b BYE");
    let tape = got.only();
    assert!(tape.level(0, 1_500, 5_500) > 5_000.0, "the music");
    assert!(tape.level(1, 1_500, 5_500) < 1.0);
    assert_eq!(got.stages(), "start hold resume stop");
}

#[test]
fn session_timers_change_nothing() {
    // A re-INVITE with the same SDP every few seconds.
    let refresh = "a->b reINVITE; b->a 200; a->b ACK; rtp 1s;";
    let got = run(&format!("a->b INVITE; b->a 200; a->b ACK; rtp 1s; {refresh}{refresh} a->b BYE"));
    assert_eq!(got.stages(), "start stop");
    let legs = &got.only().closing.as_ref().unwrap().legs;
    assert!(legs.iter().all(|leg| leg.packets == 150 && leg.lost == 0), "{legs:?}");
}

#[test]
fn a_bye_within_a_re_invite_ends_the_call() {
    let got = run("a->b INVITE; b->a 200; a->b ACK; rtp 1s; a->b reINVITE; b->a BYE; a->b 200");
    assert_eq!(summary(&got), plain());
    // A refused re-INVITE does not.
    let got =
        run("a->b INVITE; b->a 200; a->b ACK; rtp 1s; a->b reINVITE; b->a 488; a->b ACK; rtp 1s; \
        a->b BYE");
    assert_eq!(summary(&got).1, [100, 100]);
}

#[test]
fn video_is_never_taken_for_audio() {
    // Video first, on the next ports: its packets are between the same hosts.
    let video = |body: &str| {
        let (head, audio) = body.split_once("m=audio ").unwrap();
        let port: u16 = audio.split(' ').next().unwrap().parse().unwrap();
        format!(
            "{head}m=video {} RTP/AVP 97\r\na=rtpmap:97 H264/90000\r\nm=audio {audio}",
            port + 4
        )
    };
    let mut with_video =
        rewritten(CALL, |head, body| (!body.is_empty()).then(|| (head.to_owned(), video(body))));
    let pictures: Vec<_> = with_video
        .iter()
        .filter(|(_, frame)| frame[42] == 0x80)
        .map(|(at, frame)| {
            let mut frame = frame.clone();
            for port in [34, 36] {
                let number = u16::from_be_bytes([frame[port], frame[port + 1]]) + 4;
                frame[port..port + 2].copy_from_slice(&number.to_be_bytes());
            }
            frame[43] = 97;
            frame[50] ^= 0x55;
            (*at, frame)
        })
        .collect();
    with_video.extend(pictures);
    with_video.sort_by_key(|(at, _)| *at);
    let got = rehearse(&with_video, Settings::default());
    assert_eq!(summary(&got), plain());
    assert_eq!(got.only().samples, run(CALL).only().samples);
}

#[test]
fn ice_candidates_and_multiplexed_rtcp() {
    // The default address is one that nobody reaches; the candidate is the one in use.
    let got = with_sdp(CALL, |body| {
        let address = body.split("c=IN IP4 ").nth(1).unwrap().split("\r\n").next().unwrap();
        let port = body.split("m=audio ").nth(1).unwrap().split(' ').next().unwrap();
        let body = body
            .replace(&format!("c=IN IP4 {address}"), "c=IN IP4 203.0.113.1")
            .replace(&format!("m=audio {port}"), "m=audio 9");
        format!("{body}a=rtcp-mux\r\na=candidate:1 1 UDP 2130706431 {address} {port} typ host\r\n")
    });
    assert_eq!(summary(&got), plain());
}

#[test]
fn sdp_as_one_part_of_several() {
    let frames = rewritten(CALL, |head, body| {
        let head = head.replace("application/sdp", "multipart/mixed;boundary=\"x y\"");
        let body = format!(
            "--x y\r\nContent-Type: application/isup\r\n\r\n\x01\x02m=audio 1\r\n--x y\r\n\
             Content-Type: application/sdp\r\n\r\n{body}\r\n--x y--\r\n"
        );
        head.contains("multipart").then_some((head, body))
    });
    assert_eq!(summary(&rehearse(&frames, Settings::default())), plain());
}

#[test]
fn headers_in_any_form() {
    let compact = [
        ("Via:", "v:"),
        ("From:", "f :"),
        ("To:", "t:"),
        ("Call-ID:", "i:\r\n "),
        ("Content-Type:", "c:"),
    ];
    let frames = rewritten(CALL, |head, body| {
        let (start, lines) = head.split_once("\r\n").unwrap();
        let mut lines: Vec<String> = lines
            .split("\r\n")
            .map(|line| {
                let known = compact.iter().find(|(long, _)| line.starts_with(long));
                known.map_or(line.to_owned(), |(long, short)| line.replacen(long, short, 1))
            })
            .collect();
        lines.reverse();
        Some((format!("{start}\r\n{}", lines.join("\r\n")), body.to_owned()))
    });
    assert_eq!(summary(&rehearse(&frames, Settings::default())), plain());
    // Line feeds alone; the lengths are still those with carriage returns.
    let bare: Vec<_> = frames
        .into_iter()
        .map(|(at, frame)| {
            if frame[42] == 0x80 {
                return (at, frame);
            }
            let text: Vec<u8> = frame[42..].iter().copied().filter(|b| *b != b'\r').collect();
            (at, carry(&frame, &text))
        })
        .collect();
    assert_eq!(summary(&rehearse(&bare, Settings::default())), plain());
}

#[test]
fn names_of_every_kind() {
    for (from, want) in [
        ("<sips:1001@192.168.1.11;transport=tls>", "1001"),
        ("\"J\u{fc}rgen, \\\"J\\\"\" <sip:%31001@[2001:db8::1]:5070;user=phone>", "1001"),
        ("<tel:+49-30-1001;phone-context=x>", "+49-30-1001"),
        ("sip:1001@pbx", "1001"),
    ] {
        let frames = rewritten(CALL, |head, body| {
            let lines: Vec<String> = head
                .split("\r\n")
                .map(|line| {
                    let Some(rest) = line.strip_prefix("From: ") else { return line.to_owned() };
                    let tag = rest.rsplit_once(";tag=").unwrap().1;
                    format!("From: {from};tag={tag}")
                })
                .collect();
            let caller = head.contains("From: \"Phone 1001\"");
            caller.then(|| (lines.join("\r\n"), body.to_owned()))
        });
        let got = rehearse(&frames, Settings::default());
        let message = &got.only().closing.as_ref().unwrap().message;
        assert_eq!(message.localparty, want, "{from}");
    }
}
