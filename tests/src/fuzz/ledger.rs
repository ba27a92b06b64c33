//! The ledger of recordings: what was changed in it is noticed, and whoever writes goes on behind it.

use super::{disk, input::Input};
use orkvault::{
    book::{Book, Rules},
    ledger::{Chain, EXTENSION, End, Event, FOLDER, Line, Link, MAX_LINE, Sum},
    shelf::Kind,
    verify::{self, Task},
};
use std::{fs, path::Path};

/// No clock that runs here comes so far: nobody begins a day behind it.
const DAY: &str = "9999-12-31";
/// Longest text of a field.
const TEXT: usize = 300;
const LINES: usize = 24;

/// Input: a byte; then the bytes of a day's file, or what is told in lines and what becomes of them.
pub(super) fn chain(data: &[u8]) {
    let mut input = Input::new(data);
    let what = input.byte();
    let link = if what & 1 == 0 { Link::default() } else { Link::keyed(b"everybody knows it") };
    if what & 2 == 2 {
        let bytes = input.take(usize::MAX);
        lines(bytes).for_each(again);
        return book(bytes, &link, what & 0x1c == 0x1c);
    }
    let mut start = End::default();
    if what & 4 == 4 {
        // One that has gone on for long.
        start = End { sequence: input.number::<u64>() >> 2, hash: sum(&mut input) };
    }
    let mut events = Vec::new();
    let (mut end, mut text) = (start, String::new());
    for _ in 0..input.below(LINES) {
        let event = event(&mut input);
        let before = text.len();
        end.append(&link, u64::from(input.number::<u32>()), &event, &mut text);
        assert!(text.len() - before <= MAX_LINE);
        events.push(event);
    }
    let mut chain = Chain::after(link.clone(), start);
    let mut told = lines(text.as_bytes());
    for event in &events {
        let (line, fault) = told.next().map(|line| chain.take(line)).unwrap_or_default();
        assert_eq!((line.map(|line| line.event).as_ref(), fault), (Some(event), None));
    }
    assert!(told.next().is_none() && chain.end() == end);
    let changed = tamper(text.as_bytes(), &mut input);
    let mut chain = Chain::after(link.clone(), start);
    let faults = lines(&changed).filter(|line| chain.take(line).1.is_some()).count();
    let mut first = lines(text.as_bytes());
    let as_it_was = lines(&changed).all(|line| first.next() == Some(line));
    assert!(faults > 0 || as_it_was, "a change that is not noticed");
    assert!(faults == 0 || !as_it_was, "noticed, and there is nothing");
    book(&changed, &link, what & 0x18 == 0x18);
}

/// Whole lines.
fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    bytes
        .get(..whole)
        .unwrap_or_default()
        .split_inclusive(|byte| *byte == b'\n')
        .map(|line| line.strip_suffix(b"\n").unwrap_or(line))
}

/// A line that was read is written as one that reads the same.
fn again(line: &[u8]) {
    let Some(Line { sequence, at, event, .. }) = Line::read(line) else { return };
    let Some(before) = sequence.checked_sub(1) else { return };
    let mut end = End { sequence: before, hash: Sum::default() };
    let mut text = String::new();
    end.append(&Link::default(), at, &event, &mut text);
    let back = text.strip_suffix('\n').and_then(|line| Line::read(line.as_bytes()));
    let back = back.map(|line| (line.sequence, line.at, line.event));
    assert_eq!(back, Some((sequence, at, event)));
}

fn text(input: &mut Input<'_>) -> String {
    let length = usize::from(input.byte()).min(TEXT);
    String::from_utf8_lossy(input.take(length)).into_owned()
}

fn sum(input: &mut Input<'_>) -> Sum {
    Sum([input.byte(); 32])
}

fn event(input: &mut Input<'_>) -> Event {
    match input.below(5) {
        0 => Event::Day { day: text(input), previous: text(input) },
        1 => Event::Kept {
            recid: text(input),
            path: text(input),
            bytes: input.number(),
            sha256: sum(input),
            begin_ms: input.number(),
            duration_ms: input.number(),
            marks: text(input),
        },
        2 => Event::Gone { recid: text(input), path: text(input), by: text(input) },
        3 => Event::NotKept { recid: text(input), why: text(input) },
        _ => Event::Cut { bytes: input.number() },
    }
}

/// Bytes are changed; lines are taken away, doubled, put elsewhere.
fn tamper(bytes: &[u8], input: &mut Input<'_>) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    while !input.is_empty() {
        let what = input.byte();
        let at = usize::from(input.number::<u16>()) % (bytes.len() + 1);
        let mut all: Vec<Vec<u8>> =
            bytes.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
        let (one, other) = (input.below(all.len()), input.below(all.len()));
        match what & 7 {
            0 | 1 => {
                let change = input.byte();
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= change;
                }
            }
            2 => bytes.truncate(at),
            3 => {
                let piece = input.chunk();
                bytes.splice(at..at, piece.iter().copied());
            }
            4 if !all.is_empty() => {
                all.remove(one);
                bytes = all.concat();
            }
            5 if !all.is_empty() => {
                all.swap(one, other);
                bytes = all.concat();
            }
            6 => {
                let line = all.get(one).cloned().unwrap_or_default();
                all.insert(other, line);
                bytes = all.concat();
            }
            _ => {}
        }
        bytes.truncate(1 << 18);
    }
    bytes
}

/// Whatever lies there, lines go on behind it; what is whole of it stays for whoever verifies.
fn book(bytes: &[u8], link: &Link, and_verify: bool) {
    let Some(home) = disk::folder() else { return };
    let folder = home.path().join(FOLDER);
    let path = folder.join(format!("{DAY}.{EXTENSION}"));
    let laid = fs::create_dir(&folder).and_then(|()| fs::write(&path, bytes));
    assert!(laid.is_ok(), "{laid:?}");
    let rules = Rules { link: link.clone(), mode: 0o600, sync: false };
    let ours = Event::NotKept { recid: "R1".to_owned(), why: "it is tried".to_owned() };
    let open = || Book::open(home.path(), rules.clone());
    let read = || fs::read(&path).unwrap_or_default();
    let whole = lines(bytes).map(|line| line.len() + 1).sum::<usize>();
    let whole = bytes.get(..whole).unwrap_or_default();
    let opened = open();
    assert!(opened.is_ok(), "{opened:?}");
    assert!(read() == whole, "more or less is left than its whole lines");
    assert!(open().is_ok() && read() == whole, "opened twice");
    if let Ok(book) = opened {
        let done = book.append([ours.clone()]);
        assert!(done.is_ok(), "{done:?}");
    }
    if whole.is_empty() {
        // A day that was never begun is begun anew, under its true name.
        return;
    }
    let now = read();
    assert!(now.starts_with(whole), "lines were changed");
    let reach = 2 * MAX_LINE;
    let near = lines(whole).filter(|_| whole.len() <= reach);
    let last = near.filter_map(End::of).last();
    let mut chain = Chain::after(link.clone(), last.unwrap_or_default());
    let new = now.get(whole.len()..).unwrap_or_default();
    let told: Vec<_> = lines(new).map(|line| chain.take(line)).collect();
    if whole.len() <= reach {
        assert!(told.iter().all(|(line, fault)| line.is_some() && fault.is_none()), "{told:?}");
        let last = told.last().and_then(|(line, _)| line.as_ref());
        assert_eq!(last.map(|line| &line.event), Some(&ours));
        let cut = usize::from(whole.len() < bytes.len());
        assert_eq!(told.len(), 1 + cut, "torn lines are told once");
    }
    if and_verify {
        verified(home.path(), link, &now);
    }
}

/// Looking changes nothing, ends, and tells as much as it says.
fn verified(root: &Path, link: &Link, bytes: &[u8]) {
    // A ledger that everybody can write names files anywhere; here they stay below.
    let leads_out = |line: &[u8]| match Line::read(line).map(|line| line.event) {
        Some(Event::Kept { path, .. }) => path.starts_with('/'),
        _ => false,
    };
    if lines(bytes).any(leads_out) {
        return;
    }
    let task = Task { root: root.to_owned(), link: link.clone(), since: None, head: None };
    let mut found = Vec::new();
    let totals = verify::verify(&task, &mut |_| {}, &mut |finding| found.push(finding));
    assert!(totals.is_ok(), "{totals:?}");
    let Ok(totals) = totals else { return };
    assert_eq!(usize::try_from(totals.findings), Ok(found.len()));
    let mut chain = Chain::after(link.clone(), End::default());
    let faults = lines(bytes).filter(|line| chain.take(line).1.is_some()).count();
    let ledger = found.iter().filter(|finding| finding.kind == Kind::Ledger).count();
    assert!(ledger >= faults, "{faults} faults, and {ledger} findings");
    let read = lines(bytes).filter(|line| Line::read(line).is_some()).count();
    assert_eq!(usize::try_from(totals.lines), Ok(read));
    let after = fs::read(root.join(FOLDER).join(format!("{DAY}.{EXTENSION}")));
    assert!(after.is_ok_and(|after| after == bytes), "looking changed something");
}
