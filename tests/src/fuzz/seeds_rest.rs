//! Seeds of what lies on the disk: scripts for sealed files, ledgers and parts, and files as they are.

use super::seeds::chunk;
use orkaudio::tape::wav::{self, Layout};
use orkvault::ledger::{End, Event, Link, Sum};
use std::io;

/// Takes a target's name and a seed of it.
type Add<'a> = &'a mut dyn FnMut(&str, &[u8]) -> io::Result<()>;

pub(super) fn write(add: Add<'_>) -> io::Result<()> {
    sealed(add)?;
    ledger(add)?;
    remains(add)
}

fn sealed(add: Add<'_>) -> io::Result<()> {
    let key = "00ff".repeat(16);
    let keys: [&[u8]; 4] = [
        key.as_bytes(),
        b"# two\nnew: AP8A/wD/AP8A/wD/AP8A/wD/AP8A/wD/AP8A/wD/AP8=\nold:11",
        &[0xff; 32],
        b"a:11\r\n\r\n",
    ];
    for bytes in keys {
        add("sealed", &[&[1], bytes].concat())?;
    }
    // Written (seed, length, place), cut to a size, closed, found again.
    let write = |how: u8, at: u16| [&[how, 7, 90][..], &at.to_le_bytes()].concat();
    let plain = [vec![0], write(0, 0), write(1, 91), write(2, 40), write(3, 500)].concat();
    let long = [&[0, 0, 15, 255, 0, 0][..], &[5, 6]].concat();
    let full = [&plain[..], &write(0x18, 9), &[30, 0], &[6], &write(0, 3), &[5]].concat();
    let sized = [&plain[..], &[4, 100, 0], &write(0, 20), &[5, 6, 0, 1, 2, 3, 4, 5]].concat();
    let torn = [&full[..], &[0x1d, 50, 6, 5]].concat();
    // What becomes of the bytes: flipped, cut, doubled, a record that nobody sealed.
    let after: [&[u8]; 7] = [
        &[7],
        &[7, 0, 120, 0, 0, 0, 1],
        &[7, 0, 110, 0, 0, 0, 0x80],
        &[7, 10, 30, 0, 0, 0],
        &[7, 6, 100, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x40],
        &[7, 4, 100, 0, 0, 0, 9, 1, 0, 0, 134, 0, 8, 3, 0, 0, 0, 5],
        &[7, 5, 234, 0, 0, 0, 100, 0, 0, 0, 134, 0, 15, 16, 0, 0, 0],
    ];
    for script in [plain, long, full, sized, torn] {
        for after in after {
            add("sealed", &[&script[..], after].concat())?;
        }
    }
    Ok(())
}

fn ledger(add: Add<'_>) -> io::Result<()> {
    let mut end = End::default();
    let mut text = String::new();
    let day = Event::Day { day: "9999-12-31".to_owned(), previous: String::new() };
    let kept = Event::Kept {
        recid: "20261122_001000_AAAB".to_owned(),
        path: "2026/11/22/00/X +%.wav".to_owned(),
        bytes: 44,
        sha256: Sum([7; 32]),
        begin_ms: 1_795_306_200_123,
        duration_ms: 1_500,
        marks: "pause@10,pauseover@20".to_owned(),
    };
    let gone = Event::Gone { recid: "R".to_owned(), path: "a\nb".to_owned(), by: "t".to_owned() };
    let not = Event::NotKept { recid: "R2".to_owned(), why: "too short".to_owned() };
    for event in [day, kept, gone, not, Event::Cut { bytes: 7 }] {
        end.append(&Link::default(), 1_795_306_200, &event, &mut text);
        for what in [2, 3, 0x1e] {
            add("ledger", &[&[what], text.as_bytes()].concat())?;
        }
    }
    let last = End { sequence: u64::MAX - 1, hash: Sum([1; 32]) };
    let mut far = String::new();
    last.clone().append(&Link::default(), 1, &Event::Cut { bytes: 1 }, &mut far);
    add("ledger", &[b"\x02", far.as_bytes()].concat())?;
    add("ledger", &[b"\x02", text.as_bytes(), b"6 2026-11-22T00:00:00Z not"].concat())?;
    // Two lines of each kind, then what becomes of them.
    let line = |kind: u8| [&[1, 0, 0, 0, kind][..], b"\x03abc\x02/d\x01e", &[9; 40]].concat();
    let told: Vec<u8> = [0, 3, 2].into_iter().flat_map(line).collect();
    for what in [0_u8, 1, 0x1f & !2] {
        for after in [&[][..], &[0, 60, 0, 0, 0, 1], &[4, 0, 0, 1, 0], &[5, 0, 0, 0, 1], &[6, 0, 0]]
        {
            add("ledger", &[&[what, 3], &told[..], after].concat())?;
        }
    }
    Ok(())
}

fn remains(add: Add<'_>) -> io::Result<()> {
    let uids = b"20261122_001000_AAAC\n20261122_001000_AAAD_1\n";
    add("remains", &[&[0, 0], &uids[..]].concat())?;
    // Packets: how many, a comment, then each; the last of them torn.
    for how in [0x04_u8, 0x05, 0x84, 0x85] {
        let packets =
            [chunk(b"a call"), vec![0], chunk(&[7; 90]), vec![1], chunk(&[8; 90])].concat();
        add("remains", &[&[1, how], &packets[..]].concat())?;
        add("remains", &[&[1, how], &packets[..], &[2, 1, 0xff, 0, 0, 3, 0, 1]].concat())?;
    }
    for (coding, bits) in [(1_u16, 8_u16), (1, 16), (1, 24), (1, 32), (3, 32), (6, 8), (7, 8)] {
        let mut file = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0".to_vec();
        file.extend(coding.to_le_bytes());
        file.extend([2, 0, 0x11, 0x2b, 0, 0, 0, 0, 0, 0]);
        file.extend((bits / 4).to_le_bytes());
        file.extend(bits.to_le_bytes());
        file.extend(b"data\x40\0\0\0");
        file.extend([3; 64]);
        add("remains", &[&[2, 0], &file[..]].concat())?;
    }
    // Tapes: what is told of them besides, their sound, what became of them, whether the name is taken.
    let layout = Layout { rate: 8_000, channels: 2 };
    let told = b"recid=20261122_001000_AAAB&stage=stop&captureport=&timestamp=1&filename=&";
    let text = String::from_utf8_lossy(told);
    let foreign = wav::header(layout, &[(b"ICMT", &text)]);
    let wide = [&b"RF64\xff\xff\xff\xffWAVEds64\x1c\0\0\0"[..], &[0xff; 28]].concat();
    let extras: [&[u8]; 5] = [
        b"",
        b"tags=rawfile%3A..%2Fforeign.pcapng&",
        b"recid=..%2F..%2Fx&",
        b"recid=/etc/x&",
        b"recid=a%00b%0d%0a&",
    ];
    let tampers: [Vec<u8>; 6] = [
        vec![0, 0],
        vec![0, 1],
        vec![1, 1, 0xff, 1, 0],
        vec![1, 0, 60, 0, 1, 1],
        [&[1, 6, 0, 0][..], &chunk(&wide), &[1]].concat(),
        [&chunk(&foreign)[..], &[0, 0, 0]].concat(),
    ];
    for how in [0_u8, 1, 2, 3, 4, 0x32, 0x30, 0x80, 0x83, 0xb2, 0x40] {
        for extra in extras {
            for tamper in &tampers {
                add("remains", &[&[3, how, 0], &chunk(extra)[..], &[0x90, 1], tamper].concat())?;
            }
        }
    }
    Ok(())
}
