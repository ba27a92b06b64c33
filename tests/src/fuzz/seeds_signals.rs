//! Seeds of IAX2, MGCP, H.323 and TLS: calls and connections as their hosts would send them, as scripts
//! of datagrams or pieces.

use super::seeds::chunk;
use crate::h323::{Says, forward, key, kind, message, open, opened, reverse, tpkt};
use crate::iax2::{Line, PACKET_MS, What, element, elements, sound, trunk};
use std::{io, net::SocketAddr};

/// Takes a target's name and a seed of it.
type Add<'a> = &'a mut dyn FnMut(&str, &[u8]) -> io::Result<()>;

pub(super) fn write(add: Add<'_>) -> io::Result<()> {
    iax2(add)?;
    mgcp(add)?;
    h323(add)?;
    tls(add)
}

/// Bytes of Ethernet, IPv4 and UDP.
const HEADERS: usize = 42;

fn iax2(add: Add<'_>) -> io::Result<()> {
    let hosts = ["10.0.0.1:4569", "10.0.0.9:4569"].map(|host| host.parse::<SocketAddr>());
    let [Ok(caller), Ok(callee)] = hosts else { return Ok(()) };
    let line = || Line::new([caller, callee], [5, 9], 0);
    let new = |more: &[u8]| [elements("1001", "1002", 4).as_slice(), more].concat();
    // A call with everything that its people may do.
    let mut call = line();
    let mut frames = call.up("1001", "1002", 4);
    frames.extend(call.voice(0, 40, 3));
    frames.extend(call.voice(1, 40, 3));
    frames.push(call.full(0, 100, What::Dtmf(b'5'), &[]));
    frames.push(call.full(0, 120, What::ComfortNoise, &[]));
    for hold in [What::Control(16), What::Control(17), What::Iax(28), What::Iax(29), What::Iax(2)] {
        frames.push(call.full(1, 200, hold, &[]));
    }
    frames.extend(call.voice(0, 65_500, 3));
    let entries = |from: u32| -> Vec<_> {
        (0..3).map(|n| (5, from + n * PACKET_MS, sound(0, n * PACKET_MS))).collect()
    };
    frames.push(call.frame(0, 65_600, &trunk(65_600, true, &entries(65_600))));
    frames.push(call.frame(0, 65_700, &trunk(65_700, false, &entries(65_700))));
    frames.push(call.down(0, 66_000));
    let mut others = vec![frames];
    // Asked for a token, encrypted, refused, transferred, and one whose beginning was not seen.
    for (answer, what, more) in [
        (What::Iax(40), &[][..], element(54, b"token")),
        (What::Iax(8), &element(43, &[0, 1]), element(43, &[0, 1])),
        (What::Iax(6), &[], element(42, &[17])),
        (What::Iax(7), &element(56, &[0; 9]), element(56, &[0, 0, 0, 0, 0, 0, 0, 0, 8])),
    ] {
        let mut call = line();
        others.push(vec![
            call.full(0, 3, What::Iax(1), &new(what)),
            call.full(1, 5, answer, &more),
            call.full(0, 6, What::Iax(1), &new(&more)),
            call.full(0, 7, What::Voice(8), &sound(0, 0)),
            call.mini(1, 27, &sound(1, 0)),
        ]);
    }
    let mut late = line();
    let mut frames = late.voice(1, 40, 2);
    frames.extend(late.voice(0, 40, 2));
    frames.push(late.down(1, 90));
    others.push(frames);
    for frames in others {
        let mut script = Vec::new();
        for (_, frame) in frames {
            // The sender's last octet.
            let by_callee = frame.get(29) == Some(&9);
            script.extend([if by_callee { 8 } else { 0 }, 1]);
            script.extend(chunk(frame.get(HEADERS..).unwrap_or_default()));
        }
        add("iax2", &script)?;
    }
    // The same in the target's own frames.
    add(
        "iax2",
        &[0x80, 1, 0x05, 0, 6, 1, 3, 0, 9, 4, 0, 0xe0, 1, 0x95, 1, 2, 0x82, 0x40, 1, 5, 0x55, 160],
    )
}

const MGCP: [(u8, &str); 14] = [
    (8, "NTFY 101 aaln/1@one MGCP 1.0\r\nO: L/hd, D/1,D/0,D/0,D/2\r\n"),
    (0, "200 101 OK\r\n"),
    (0, "CRCX 102 aaln/1@one MGCP 1.0\r\nC: A1\r\nL: p:20, a:PCMU\r\nM: recvonly\r\n"),
    (8, "200 102 OK\r\nI: 1\r\n\r\nv=0\r\nc=IN IP4 10.0.0.5\r\nm=audio 4000 RTP/AVP 0\r\n"),
    (
        2,
        "CRCX 103 aaln/2@two MGCP 1.0\r\nC: A1\r\nM: inactive\r\nS: L/rg\r\n\r\nv=0\r\nc=IN IP4 10.0.0.5\r\n\
         m=audio 4000 RTP/AVP 0\r\n",
    ),
    (10, "200 103 OK\r\nI: 2\r\n\r\nv=0\r\nc=IN IP4 10.0.0.6\r\nm=audio 5000 RTP/AVP 0\r\n"),
    (10, "NTFY 104 aaln/2@two MGCP 1.0\r\nO: L/hd\r\n"),
    (2, "200 104\r\n.\r\nMDCX 105 aaln/2@two MGCP 1.0\r\nC: A1\r\nI: 2\r\nM: sendrecv\r\n"),
    (10, "200 105 OK\r\n"),
    (
        2,
        "RQNT 106 *@two MGCP 1.0\r\nX: 1\r\nR: L/hd(N), D/[0-9#*](D)\r\nS: L/ci(10/14/17/26, 5551234, \"Ann\")\r\n",
    ),
    (8, "NTFY 107 aaln/1@one MGCP 1.0 NCS 1.0\r\nO: D/5\r\n\r\n"),
    (0, "DLCX 108 aaln/1@one MGCP 1.0\r\nC: A1\r\nI: 1\r\n"),
    (8, "250 108 OK\r\nP: PS=50, OS=8000, PL=0\r\nK: 100-102\r\n"),
    (10, "DLCX 109 aaln/2@two MGCP 1.0\r\nC: A1\r\nI: 2\r\nE: 900 - hardware error\r\n"),
];

fn mgcp(add: Add<'_>) -> io::Result<()> {
    let script = |said: &[(u8, &str)]| -> Vec<u8> {
        let one = |(how, text): &(u8, &str)| [&[*how, 1][..], &chunk(text.as_bytes())].concat();
        said.iter().flat_map(one).collect()
    };
    for said in MGCP.chunks(2) {
        add("mgcp", &script(said))?;
    }
    add(
        "mgcp",
        &script(&[(0, "CRCX 1 a@b MGCP 1.0\r\nC: 1\r\n"), (8, "403 1 out of endpoints\r\n")]),
    )?;
    add("mgcp", &script(&MGCP))
}

fn h323(add: Add<'_>) -> io::Result<()> {
    let media: [SocketAddr; 2] = [([10, 0, 0, 1], 4_100).into(), ([10, 0, 0, 2], 5_100).into()];
    let identifier = *b"0123456789abcdef";
    let by =
        |side: usize| Says { by_callee: side == 1, reference: 7, identifier, ..Says::default() };
    let setup = || Says { numbers: ["1001", "1002"], ..by(0) };
    let release = |cause| message(kind::RELEASE_COMPLETE, &Says { cause: Some(cause), ..by(0) });
    // A byte that says whose: 4 from the one called, 2 on the connection of H.245.
    let calls: [Vec<(u8, Vec<u8>)>; 4] = [
        vec![
            (
                0,
                message(
                    kind::SETUP,
                    &Says { fast: vec![forward(1, None), reverse(2, media[0])], ..setup() },
                ),
            ),
            (4, message(kind::ALERTING, &by(1))),
            (
                4,
                message(
                    kind::CONNECT,
                    &Says { fast: vec![forward(1, Some(media[1])), reverse(2, media[0])], ..by(1) },
                ),
            ),
            (0, release(16)),
        ],
        vec![
            (0, message(kind::SETUP, &setup())),
            (
                4,
                message(
                    kind::CONNECT,
                    &Says { control: Some(([10, 0, 0, 2], 5_555).into()), ..by(1) },
                ),
            ),
            (2, tpkt(&open(1))),
            (6, tpkt(&open(1))),
            (6, tpkt(&opened(1, media[1]))),
            (2, tpkt(&opened(1, media[0]))),
            (2, tpkt(&key(b'5'))),
            (24, release(16)),
        ],
        vec![
            (0, message(kind::SETUP, &Says { tunnelled: vec![open(1)], alias: "Ann", ..setup() })),
            (
                4,
                message(
                    kind::ALERTING,
                    &Says { tunnelled: vec![opened(1, media[1]), open(9)], ..by(1) },
                ),
            ),
            (4, message(kind::CONNECT, &by(1))),
            (0, message(kind::FACILITY, &Says { tunnelled: vec![opened(9, media[0])], ..by(0) })),
            (0, release(16)),
        ],
        vec![
            (0, message(kind::SETUP, &setup())),
            (4, message(kind::ALERTING, &by(1))),
            (0, release(17)),
        ],
    ];
    for call in calls {
        let script: Vec<u8> =
            call.iter().flat_map(|(how, bytes)| [&[*how][..], &chunk(bytes)].concat()).collect();
        add("h323", &script)?;
        // In two pieces each.
        let cut = |(how, bytes): &(u8, Vec<u8>)| {
            let (head, tail) = bytes.split_at(bytes.len() / 2);
            [&[*how][..], &chunk(head), &[*how], &chunk(tail)].concat()
        };
        add("h323", &call.iter().flat_map(cut).collect::<Vec<_>>())?;
    }
    Ok(())
}

fn tls(add: Add<'_>) -> io::Result<()> {
    let said = |how: u8, text: &[u8]| [&[how][..], &chunk(text)].concat();
    let (request, answer) =
        (b"OPTIONS sip:a SIP/2.0\r\nl: 0\r\n\r\n", b"SIP/2.0 200 OK\r\nl: 0\r\n\r\n");
    for suite in 0..3 {
        // Honest ends, keys before, during and after; new keys between two messages.
        for (when, size) in [(0, 200), (3, 7), (99, 50)] {
            let talk =
                [said(0, request), said(1, answer), vec![6], said(0x30, request), said(1, b"")];
            add("tls", &[&[0x80 | suite, when, size][..], &talk.concat()].concat())?;
        }
        // The same in steps: hellos, ChangeCipherSpec, Finished, data, what is lost, a key update, the end.
        let finished = [20, 0, 0, 12, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
        let mut talk =
            vec![vec![2, 1], vec![10, suite], vec![9, 20], chunk(&[1]), vec![1, 20], chunk(&[1])];
        talk.extend([vec![11, 22], chunk(&finished), vec![3, 22], chunk(&finished)]);
        let application = if suite == 0 { 0x20 } else { 0 };
        for (how, kind, content) in [
            (3, 23, &request[..]),
            (11, 0xf7, answer),
            (0x93, 23, request),
            (0x13, 23, request),
            (0x43, 22, &[24, 0, 0, 1, 0]),
            (3, 23, request),
            (11, 21, &[1, 0]),
        ] {
            talk.extend([vec![how | application, kind], chunk(content)]);
        }
        let (keys, rest) = ([4, 0x1f], [7, 15, 6, 120, 0, 0, 0]);
        let talk = talk.concat();
        for how in [0, 4, 8, 16] {
            add("tls", &[&[how | suite, 9][..], &keys, &talk, &rest].concat())?;
            add("tls", &[&[how | suite, 30][..], &talk, &keys, &rest].concat())?;
        }
    }
    let random = "c1".repeat(32);
    let log = format!(
        "# log\nCLIENT_RANDOM {random} {}\nRSA 00 11\nCLIENT_RANDOM 0 1 2\n",
        "07".repeat(48)
    );
    add("tls", &[&[1, 3][..], &said(5, log.as_bytes()), &[2, 2, 10, 1]].concat())?;
    // A hello in two records, the second of which names the suite; what only begins like one; a renegotiation.
    let junk = [
        said(0, &[22, 3, 1, 0, 4, 1, 0, 0, 43]),
        said(8, b"\x16INVITE"),
        said(0x10, &[23, 3, 3, 0, 1, 9]),
    ];
    add("tls", &[&[0, 5][..], &junk.concat()].concat())
}
