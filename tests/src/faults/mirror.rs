//! What mirror ports do to packets: copies, losses, disorder; and ports that the next call takes over
//! (R50, R51, R55, R58).

use super::{
    Bench, Found,
    blocks::{Calls, replay},
    maker::{MS, Maker, START},
};
use crate::{
    generator::{
        calls::{Burst, Spec},
        chance::Chance,
        check::check,
        law::{Codec, Law},
    },
    wav::Wav,
    wire::{ipv4, seal_ipv4},
    wrap::{Capture, Captured},
};
use std::{collections::BTreeMap, fs, net::Ipv4Addr, path::Path};

/// Every frame twice, in each way in which mirrors do that.
pub(super) fn copies(bench: &Bench) -> Result<Found, String> {
    let home = bench.folder("R50");
    let calls = Calls::of(&home, u32::try_from(bench.times(10, 50)).unwrap_or(10), 10.0)?;
    let single = replay(bench, &home.join("calls.pcap"), home.join("single"), &[])?;
    let tapes = |folder: &Path| -> Result<BTreeMap<_, _>, String> {
        let files = super::subject::with_extension(folder, "wav");
        let read = |path: std::path::PathBuf| {
            let name = path.strip_prefix(folder).map(Path::to_path_buf).unwrap_or_default();
            Ok((name, Wav::read(&path)?.channels))
        };
        files.into_iter().map(read).collect()
    };
    let want = tapes(&single.folder)?;
    let (mut differ, mut miscounted, mut runs) = (0, 0, 0);
    for word in
        ["copy", "copy=0,tagged", "copy=1,routed", "copy=30,routed", "copy=30,routed,tagged"]
    {
        let path = home.join("copied.pcap");
        calls.capture.wrapped(word)?.write(&path).map_err(|error| error.to_string())?;
        let copied = replay(bench, &path, home.join("copied"), &[])?;
        let got = tapes(&copied.folder)?;
        differ += want.iter().filter(|(name, samples)| got.get(*name) != Some(samples)).count();
        differ += got.len().abs_diff(want.len());
        // Each packet of each leg came once too often.
        miscounted += copied
            .tapes
            .iter()
            .flat_map(|tape| &tape.legs)
            .filter(|leg| leg.duplicates != leg.packets || leg.lost != 0)
            .count();
        runs += u64::try_from(want.len()).unwrap_or(0);
    }
    let kept = differ == 0 && miscounted == 0 && want.len() == calls.truth.calls.len();
    let figure = format!(
        "{differ} of {runs} tapes differ from those of single packets; {miscounted} legs miscounted"
    );
    Ok(Found::when(kept, runs, figure))
}

/// Loss, bursts, disorder and jitter of known measure, held against what is reported.
pub(super) fn losses(bench: &Bench) -> Result<Found, String> {
    let home = bench.folder("R51");
    let calls = u32::try_from(bench.times(5, 40)).unwrap_or(5);
    let base = |seed| Spec { calls, seconds: 20.0, seed, ..Spec::default() };
    let burst = |probability, packets| Some(Burst { probability, packets });
    let specs = [
        Spec { loss: 0.001, ..base(1) },
        Spec { loss: 0.01, ..base(2) },
        Spec { loss: 0.1, ..base(3) },
        Spec { loss: 0.3, ..base(4) },
        Spec { burst_loss: burst(0.01, 5), ..base(5) },
        Spec { burst_loss: burst(0.002, 100), ..base(6) },
        Spec { reorder: 0.1, ..base(7) },
        Spec { jitter: 80.0, ..base(8) },
        Spec { loss: 0.05, reorder: 0.05, duplicate: 0.05, burst_loss: burst(0.005, 4), ..base(9) },
    ];
    let (mut lost, mut said, mut misreported, mut wrong, mut tapes) = (0, 0, 0, 0, 0);
    for spec in specs {
        let made = Calls::make(&home, spec)?;
        // The judge wants silence where nothing came; what is made up there is for ears.
        let quiet = ["--set", "tapes.conceal=false"];
        let done = replay(bench, &home.join("calls.pcap"), home.join("out"), &quiet)?;
        let verdict = check(&made.truth, &done.tapes, &done.folder);
        let streams = made.truth.calls.iter().flat_map(|c| [&c.from_caller, &c.from_callee]);
        lost += streams.map(|stream| stream.lost.len() as u64).sum::<u64>();
        said += done.tapes.iter().flat_map(|tape| &tape.legs).map(|leg| leg.lost).sum::<u64>();
        misreported += verdict.legs_misreported;
        wrong += verdict.wrong;
        tapes += verdict.tapes;
        for note in verdict.notes.iter().take(3) {
            eprint_note(note);
        }
    }
    let figure = format!(
        "{lost} packets missing, {said} reported; {misreported} legs misreported, {wrong} frames or facts wrong"
    );
    Ok(Found::when(lost == said && misreported == 0 && wrong == 0, tapes, figure))
}

#[expect(clippy::print_stderr, reason = "for whoever looks why a row is broken")]
fn eprint_note(note: &str) {
    eprintln!("{note}");
}

/// Fragments that never fit together, beside a call whose packets all come in pieces.
pub(super) fn fragments(bench: &Bench) -> Result<Found, String> {
    let home = bench.folder("R55");
    let count = bench.times(100_000, 2_000_000);
    let calls = Calls::of(&home, 5, (count as f64 / 20_000.0).clamp(3.0, 60.0))?;
    let whole = calls.capture.wrapped("frag=96,reverse")?;
    let begin = whole.frames.first().map_or(START, |frame| frame.at);
    let mut chance = Chance::new(55, 0);
    let bad = (0..count).map(|n| {
        let bytes = shard(n, &mut chance);
        let wire_len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        Captured { at: begin + 50 * MS + n * 50_000, wire_len, bytes }
    });
    let mut frames: Vec<Captured> = whole.frames.iter().cloned().chain(bad).collect();
    frames.sort_by_key(|frame| frame.at);
    let path = home.join("fragments.pcap");
    let capture = Capture { link: whole.link, frames };
    capture.write(&path).map_err(|error| error.to_string())?;
    let done = replay(bench, &path, home.join("out"), &[])?;
    let (found, foreign) = calls.found(&done.folder)?;
    let missing = calls.said().difference(&found).count();
    let gone: u64 = ["expired", "evicted", "refused"]
        .iter()
        .map(|word| done.number(&format!("packet.fragments_{word}")))
        .sum();
    let kept = missing == 0 && foreign == 0 && gone > 0 && done.cost.max_rss_kb < (320 << 10);
    let figure = format!(
        "{count} fragments; {missing} of {} blocks of fragmented calls missing, {gone} counted as given up, {} MiB",
        calls.said().len(),
        done.cost.max_rss_kb / 1_024
    );
    Ok(Found::when(kept, count, figure))
}

/// A fragment that lies: the last one missing, overlapping ones, beyond 65,535 bytes, or never completed.
fn shard(number: u64, chance: &mut Chance) -> Vec<u8> {
    let from = Ipv4Addr::from(0xac14_0000 | u32::try_from(number / 4 % 65_536).unwrap_or(0));
    let size = usize::try_from(8 * (1 + chance.below(180))).unwrap_or(8);
    let mut frame = ipv4(from, Ipv4Addr::new(172, 30, 0, 1), 17, &vec![0x55; size]);
    let units = match number % 4 {
        // The first of something.
        0 => 0,
        // Behind it, or over it.
        1 => chance.below(4),
        // Far behind, where it must end beyond the longest packet.
        2 => 8_180 + chance.below(12),
        _ => chance.below(8_192),
    };
    let more = if number % 8 == 3 { 0 } else { 0x2000 };
    let place = u16::try_from(units & 0x1fff).unwrap_or(0) | more;
    let id = u16::try_from(number / 4 % 977).unwrap_or(0);
    // Behind the Ethernet header: number, flags and place.
    for (at, byte) in (18..22).zip([id.to_be_bytes(), place.to_be_bytes()].concat()) {
        if let Some(old) = frame.get_mut(at) {
            *old = byte;
        }
    }
    seal_ipv4(frame.get_mut(14..).unwrap_or_default());
    frame
}

/// Calls on the same four ports, one after another within a second, while the last one's packets still come.
pub(super) fn ports(bench: &Bench) -> Result<Found, String> {
    let home = bench.folder("R58");
    let count = u32::try_from(bench.times(100, 2_000)).unwrap_or(100);
    let law = Law::new(Codec::Pcmu);
    let mut chance = Chance::new(58, 0);
    let (mut frames, mut at) = (Vec::new(), START);
    for number in 0..count {
        let mut maker = Maker::new(number);
        let first = Maker::new(0);
        maker.media = first.media;
        maker.dialog.caller.sip = first.dialog.caller.sip;
        maker.dialog.callee.sip = first.dialog.callee.sip;
        frames.extend(maker.whole(&law, at, 50));
        // Tails that come after the BYE: as much as the next call has waited, and a little more.
        let over = at + 1_060 * MS;
        let tail = u32::try_from(chance.below(20)).unwrap_or(0);
        frames.extend(maker.audio(&law, over, 50, tail));
        at = over + 10 * MS + chance.below(900) * MS;
    }
    frames.sort_by_key(|(at, _)| *at);
    let path = home.join("ports.pcap");
    Capture::ethernet(&frames).write(&path).map_err(|error| error.to_string())?;
    let done = replay(bench, &path, home.join("out"), &[])?;
    let (mut foreign, mut right, mut seen) = (0, 0, 0);
    for tape in &done.tapes {
        let wav = Wav::read(&done.folder.join(&tape.file))?;
        let number = tape.nativecallid.split('-').nth(1).and_then(|n| n.parse::<u32>().ok());
        for samples in &wav.channels {
            for (_, mark) in law.marks(samples) {
                seen += 1;
                // 50 packets of two blocks; what comes within the grace after BYE may be kept too.
                right += u64::from(Some(mark.call) == number && mark.block < 100);
                foreign += u64::from(Some(mark.call) != number);
            }
        }
    }
    let want = u64::from(count) * 200;
    drop(fs::remove_file(&path));
    let kept = foreign == 0 && right == want && done.tapes.len() == count as usize;
    let figure = format!(
        "{count} calls on the same ports: {foreign} of {seen} blocks on the tape of another call, {right} of \
         {want} of their own"
    );
    Ok(Found::when(kept, count.into(), figure))
}
