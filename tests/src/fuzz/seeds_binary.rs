//! Seeds of what is no text: tunnels, Skinny, encapsulations, keys, codecs, and scripts of steps for
//! the structured targets.

use super::seeds::{chunk, decode_frame};
use crate::wire;
use std::io;

/// Takes a target's name and a seed of it.
type Add<'a> = &'a mut dyn FnMut(&str, &[u8]) -> io::Result<()>;

pub(super) fn write(add: Add<'_>) -> io::Result<()> {
    let inside = wire::Frame::udp(
        &[],
        ([10, 0, 0, 1], 5060).into(),
        ([10, 0, 0, 2], 5060).into(),
        b"OPTIONS sip:a@b SIP/2.0\r\n\r\n",
    )
    .into_bytes();
    let packet = inside.get(14..).unwrap_or_default();
    tunnels(&inside, packet, add)?;
    encapsulations(&inside, add)?;
    skinny(add)?;
    keys(add)?;
    files(&inside, add)?;
    codecs(add)?;
    scripts(add)
}

fn tunnels(inside: &[u8], packet: &[u8], add: Add<'_>) -> io::Result<()> {
    let udp = |port: u16, head: &[u8], body: &[u8]| {
        let payload = [head, body].concat();
        let ends = [([192, 0, 2, 1], 40_000).into(), ([192, 0, 2, 2], port).into()];
        wire::Frame::udp(&[], ends[0], ends[1], &payload).into_bytes()
    };
    let ip = |protocol: u8, body: &[u8]| {
        let total = u16::try_from(20 + body.len()).unwrap_or(0).to_be_bytes();
        let head = [0x45, 0, total[0], total[1], 0, 1, 0, 0, 64, protocol, 0, 0];
        let ends = [192, 0, 2, 1, 192, 0, 2, 2];
        [&head[..], &ends, body].concat()
    };
    let ether = |kind: [u8; 2], body: &[u8]| [&[2; 12][..], &kind, body].concat();
    let seeds: [(u16, Vec<u8>); 17] = [
        (1, udp(4789, &[8, 0, 0, 0, 0, 0, 7, 0], inside)),
        (1, udp(6081, &[0, 0, 0x65, 0x58, 0, 0, 7, 0], inside)),
        (1, udp(2152, &[0x30, 0xff, 0, 61, 0, 0, 0, 1], packet)),
        (1, udp(37_008, &[1, 0, 0, 1, 1], inside)),
        (101, ip(47, &[&[0, 0, 8, 0][..], packet].concat())),
        (
            101,
            ip(
                47,
                &[&[0x10, 0, 0x88, 0xbe, 0, 0, 0, 1, 0x10, 7, 0, 7, 0, 0, 0, 0][..], inside]
                    .concat(),
            ),
        ),
        (
            101,
            ip(
                47,
                &[
                    &[0x10, 0, 0x22, 0xeb, 0, 0, 0, 1, 0x20, 7, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0][..],
                    inside,
                ]
                .concat(),
            ),
        ),
        (
            101,
            ip(47, &[&[0x30, 1, 0x88, 0x0b, 0, 4, 0, 1, 0, 0, 0, 1, 0, 0x21][..], packet].concat()),
        ),
        (101, ip(4, packet)),
        (101, ip(97, &[&[0x30, 0][..], inside].concat())),
        (101, ip(137, &[&[0, 1, 0x11, 64][..], packet].concat())),
        (1, ether([0x88, 0x47], &[&[0, 1, 0x01, 64, 0, 1, 0x11, 64][..], packet].concat())),
        (1, ether([0x88, 0x64], &[&[0x11, 0, 0, 1, 0, 57, 0, 0x21][..], packet].concat())),
        (1, ether([0x88, 0xa8], &[&[0, 7, 0x81, 0, 0, 8, 8, 0][..], packet].concat())),
        (113, [&[0, 0, 0, 1, 0, 6, 1, 2, 3, 4, 5, 6, 0, 0, 8, 0][..], packet].concat()),
        (276, [&[8, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 6, 1, 2, 3, 4, 5, 6, 0, 0][..], packet].concat()),
        (0, [&[2, 0, 0, 0][..], packet].concat()),
    ];
    for (link, bytes) in seeds {
        add("decode", &decode_frame(link, &bytes))?;
    }
    Ok(())
}

fn encapsulations(inside: &[u8], add: Add<'_>) -> io::Result<()> {
    let text = b"OPTIONS sip:a@b SIP/2.0\r\n\r\n";
    let ports = [5060_u16, 5060].map(u16::to_be_bytes).concat();
    let one = [&[1, 16, 2, 17][..], &ports, &[10, 0, 0, 1, 10, 0, 0, 2], text].concat();
    let times = [0; 12];
    let two = [&[2, 28, 2, 17][..], &ports, &[10, 0, 0, 1, 10, 0, 0, 2], &times, text].concat();
    let part = |kind: u8, value: &[u8]| {
        let length = u16::try_from(6 + value.len()).unwrap_or(0).to_be_bytes();
        [&[0, 0, 0, kind, length[0], length[1]][..], value].concat()
    };
    for payload in [15, 16] {
        let chunks = [
            part(1, &[2]),
            part(2, &[17]),
            part(3, &[10, 0, 0, 1]),
            part(4, &[10, 0, 0, 2]),
            part(7, &[0x13, 0xc4]),
            part(8, &[0x13, 0xc4]),
            part(11, &[1]),
            part(payload, text),
        ]
        .concat();
        let total = u16::try_from(6 + chunks.len()).unwrap_or(0).to_be_bytes();
        add("hep", &[b"HEP3", &total[..], &chunks].concat())?;
    }
    add("hep", &one)?;
    add("hep", &two)?;
    let length = u16::try_from(inside.len()).unwrap_or(0).to_be_bytes();
    let record = [&[0xbe, 0xef, 1, 0, 0, 0, 1][..], &length, inside].concat();
    add("oreka", &record)?;
    add("oreka", &[record.as_slice(), &record].concat())
}

fn skinny(add: Add<'_>) -> io::Result<()> {
    let message = |kind: u32, version: u32, words: &[u32]| {
        let body: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let length = u32::try_from(body.len() + 4).unwrap_or(0);
        [length.to_le_bytes(), version.to_le_bytes(), kind.to_le_bytes()]
            .concat()
            .into_iter()
            .chain(body)
            .collect::<Vec<u8>>()
    };
    let text = |numbers: &[u32], texts: &[&str], room: usize| {
        let mut words: Vec<u8> = Vec::new();
        for text in texts {
            let mut place = text.as_bytes().to_vec();
            place.resize(room, 0);
            words.extend(place);
        }
        words.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
        words.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word)).collect::<Vec<u32>>()
    };
    let address = u32::from_le_bytes([10, 0, 0, 7]);
    let told = [
        message(0x92, 0, &text(&[1], &["1001"], 24)),
        message(0x111, 0x11, &[1, 1, 77]),
        message(0x8f, 0, &text(&[1, 77, 2, 0, 0, 0, 0], &["A", "1001", "B", "1002"], 40)),
        message(0x14a, 0x11, &[1, 77, 2, 0, 0, 0, 0, 0x3130_3031, 0x0041_0000, 0x3031_0030, 0]),
        message(0x105, 0, &[77, 77, 20, 4, 0, 0, 77]),
        message(0x8a, 0, &[77, 77, address, 4_000, 20, 4, 0, 0, 0, 77]),
        message(0x8a, 0x11, &[77, 77, 0, address, 0, 0, 0, 4_000, 20, 4, 0, 0, 0, 77]),
        message(0x111, 0x11, &[5, 1, 77]),
        message(0x8b, 0, &[77, 77, 77]),
        message(0x111, 0x11, &[2, 1, 77]),
    ];
    let said = [
        message(0x22, 0, &[0, address, 4_002, 77, 77]),
        message(0x22, 0x11, &[0, 0, address, 0, 0, 0, 4_002, 77, 77]),
        message(0x26, 0, &[9, 1, 77]),
    ];
    let mut all = Vec::new();
    for (whose, messages) in [(4, &told[..]), (0, &said[..])] {
        for message in messages {
            let seed = [&[whose][..], &chunk(message)].concat();
            add("skinny", &seed)?;
            all.extend(seed);
        }
    }
    add("skinny", &all)
}

fn keys(add: Add<'_>) -> io::Result<()> {
    let packet = [&[0x80, 0, 0, 1, 0, 0, 0, 160, 0, 0, 0, 1][..], &[9; 40]].concat();
    let short = b"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwd";
    let long = b"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS";
    let seeds: [(u8, &[u8], &[u8]); 5] = [
        (0, short, b"|2^20|1:4 UNENCRYPTED_SRTCP"),
        (1, short, b"|131072;inline:BAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwd"),
        (3, long, b"|7:128 KDR=0 WSH=64"),
        (4, b"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBka", b""),
        (6, short, b"=="),
    ];
    for (suite, key, more) in seeds {
        let inline = chunk(&[key, more].concat());
        add("srtp", &[&[suite][..], &inline, &chunk(&packet), &chunk(&packet)].concat())?;
    }
    Ok(())
}

/// Capture files of the kinds that the samples are not.
fn files(inside: &[u8], add: Add<'_>) -> io::Result<()> {
    let block = |kind: u32, body: &[u8]| {
        let mut body = body.to_vec();
        body.resize(body.len().next_multiple_of(4), 0);
        let length = u32::try_from(body.len() + 12).unwrap_or(0).to_le_bytes();
        [&kind.to_le_bytes()[..], &length, &body, &length].concat()
    };
    let length = u32::try_from(inside.len()).unwrap_or(0);
    let little = length.to_le_bytes();
    let section = block(
        0x0a0d_0d0a,
        &[0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255],
    );
    let interface = block(
        1,
        &[
            1, 0, 0, 0, 0, 0, 4, 0, 9, 0, 1, 0, 9, 0, 0, 0, 14, 0, 8, 0, 16, 14, 0, 0, 0, 0, 0, 0,
            0, 0, 0, 0,
        ],
    );
    let enhanced =
        block(6, &[&[0, 0, 0, 0, 9, 8, 7, 6, 5, 4, 3, 2][..], &little, &little, inside].concat());
    let simple = block(3, &[&little[..], inside].concat());
    let old =
        block(2, &[&[0, 0, 9, 0, 9, 8, 7, 6, 5, 4, 3, 2][..], &little, &little, inside].concat());
    let names = block(4, &[0; 8]);
    add("capture", &[section, interface, enhanced, names, simple, old].concat())?;
    // Big-endian with nanoseconds, and the old kind with a longer record header.
    let big = length.to_be_bytes();
    let head = [0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 1];
    for (magic, more) in [([0xa1, 0xb2, 0x3c, 0x4d], &[][..]), ([0xa1, 0xb2, 0xcd, 0x34], &[0; 8])]
    {
        let record = [&[0x65, 0, 0, 0, 0, 0, 0, 1][..], &big, &big, more, inside].concat();
        add("capture", &[&magic[..], &head, &record, &record].concat())?;
    }
    Ok(())
}

fn codecs(add: Add<'_>) -> io::Result<()> {
    for codec in 0..20_u8 {
        let parameters = chunk(b"mode=20;octet-align=1");
        let mut seed = [&[codec][..], &parameters].concat();
        for (what, length) in [(0, 160), (0, 33), (9, 0), (0, 66), (13, 20), (0, 1)] {
            let payload: Vec<u8> = (0..length).map(|at: u8| at.wrapping_mul(37) ^ codec).collect();
            seed.push(what);
            seed.extend(chunk(&payload));
        }
        add("codecs", &seed)?;
    }
    // Opus packets by their first byte: SILK, hybrid and CELT, one frame, two, and many.
    for first in [0x08_u8, 0x48, 0x68, 0xe8, 0xfc, 0xfd, 0xfe, 0xff] {
        let payload = [&[first, 0x41][..], &[0x5a; 60]].concat();
        let silence = [0, 3, 0, 0xf8, 0xff, 0xfe];
        add("codecs", &[&[14, 0, 0, 0][..], &chunk(&payload), &silence].concat())?;
    }
    Ok(())
}

/// Steps for the targets that read a script.
fn scripts(add: Add<'_>) -> io::Result<()> {
    // A call: INVITE, 200, ACK, media both ways, a hold, a digit, a pause, BYE.
    let invite = [0, 0, 0, 4, 0, 0];
    let answer = [0, 0, 0x28, 4, 0, 0];
    let media = |ends: u8, kind: u8| [3, ends, kind, 30, 1, 0, 0, 0, 0, 0, 0xd5];
    let mut call = vec![0];
    call.extend(invite);
    call.extend(answer);
    call.extend([0, 0, 1 | 0x80, 36, 0, 0]);
    call.extend(media(0x10, 0));
    call.extend(media(0x01, 0x20));
    call.extend([0, 8, 0, 36, 4, 0, 0, 8, 0x28, 36, 8, 0]);
    call.extend(media(0x10, 0));
    call.extend([6, 0, 4, 7, 8, 0, 7, 0, 0, 7, 1, 0x20]);
    call.extend(media(0x01, 0x20));
    call.extend([8, 30, 0, 0, 2 | 0x80, 36, 0, 0, 8, 60]);
    for flags in [0, 1, 2, 8, 16, 32, 63] {
        call.splice(..1, [flags]);
        add("tap", &call)?;
    }
    let text = b"OPTIONS sip:a@b SIP/2.0\r\nCall-ID: 1\r\n\r\n";
    let segment = [&[11, 4, 0x18, 9, 0][..], &chunk(text)].concat();
    add("tap", &[&[0][..], &segment, &[9, 0, 1], &chunk(text)].concat())?;
    add("reassembly", &[0, 3, 0, 9, 0, 3, 10, 31, 1, 4, 1, 31, 1, 4, 0, 0])?;
    add(
        "reassembly",
        &[2, 0, 2, 4, 0, 2, 0, 0x18, 1, 10, 2, 0, 0x18, 20, 10, 0x93, 255, 2, 0, 0x11, 11, 9],
    )?;
    add("reassembly", &[2, 4, 0x18, 60, 63, 2, 6, 0x10, 0, 80, 2, 4, 4, 70, 0])
}
