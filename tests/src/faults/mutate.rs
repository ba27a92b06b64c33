//! Messages and captures that are changed at random, and where the compiler is asked to trust us
//! (R61, R62, R64).

use super::{
    Bench, Found,
    core::Core,
    maker::{Maker, request},
    subject::{memory, with_extension},
};
use crate::{generator::chance::Chance, programs::workspace, sip::Message, torture};
use orkbase::call::settings::Settings;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

/// Words that parsers stumble over.
const WORDS: [&[u8]; 20] = [
    b"\0",
    b"\r\n",
    b"\r\n\r\n",
    b"\n",
    b"%00",
    b"%s%n",
    b"-1",
    b"0",
    b"65536",
    b"4294967296",
    b"99999999999999999999",
    b"Content-Length: 4294967295\r\n",
    b"\xff\xfe",
    b"\xe2\x80\xae",
    b"[::1%25lo]",
    b"<<<<",
    b";;;;",
    b"\"",
    b"m=audio 65536 RTP/AVP 0\r\n",
    b"c=IN IP4 999.1.1.1\r\n",
];

/// Changes a text in a few places.
fn mutate(text: &mut Vec<u8>, chance: &mut Chance) {
    for _ in 0..=chance.below(6) {
        let place = |chance: &mut Chance, text: &[u8]| {
            usize::try_from(chance.below(text.len() as u64 + 1)).unwrap_or(0)
        };
        let (a, b) = (place(chance, text), place(chance, text));
        let (from, to) = (a.min(b), a.max(b).min(a.min(b) + 200));
        match chance.below(7) {
            0 => {
                if let Some(byte) = text.get_mut(from) {
                    *byte ^= 1 << chance.below(8);
                }
            }
            1 => drop(text.drain(from..to)),
            2 => {
                let again = text.get(from..to).unwrap_or_default().to_vec();
                text.splice(from..from, again);
            }
            3 | 4 => {
                let word = usize::try_from(chance.below(WORDS.len() as u64)).unwrap_or(0);
                let word = WORDS.get(word).copied().unwrap_or_default();
                text.splice(from..from, word.iter().copied());
            }
            5 => {
                let long = usize::try_from(chance.below(8_000)).unwrap_or(0);
                let byte = text.get(from).copied().unwrap_or(b'a');
                text.splice(from..from, vec![byte; long]);
            }
            _ => text.truncate(to),
        }
    }
    text.truncate(60_000);
}

/// Messages of calls that begin and end, each changed.
pub(super) fn messages(bench: &Bench) -> Result<Found, String> {
    let count = bench.times(5_000, 200_000);
    let cases = torture::cases();
    let mut chance = Chance::new(61, 0);
    let mut core = Core::new(Settings { max_calls: 1_000, ..Settings::default() });
    let (begin, mut warm) = (Instant::now(), 0);
    let me = std::process::id();
    let id = core.call().dialog.call_id.clone();
    for n in 0..count {
        let maker = Maker::new(10 + u32::try_from(chance.below(500)).unwrap_or(0));
        let plain = |method, sdp| request(method, 1, sdp);
        let sdp = maker.sdp(1);
        let mut text = match chance.below(8) {
            0 | 1 => maker.invite(),
            2 => maker.dialog.text(Message {
                what: Err(200),
                tagged: true,
                ..plain("INVITE", Some(sdp.as_str()))
            }),
            3 => maker.dialog.text(Message { tagged: true, ..plain("ACK", None) }),
            4 => maker.dialog.text(Message { tagged: true, ..plain("BYE", None) }),
            5 => maker
                .dialog
                .text(Message { extra: "Refer-To: <sip:9@x>\r\n", ..plain("REFER", None) }),
            6 => maker.dialog.text(plain("INFO", None)),
            _ => {
                let one = usize::try_from(chance.below(cases.len() as u64)).unwrap_or(0);
                cases.get(one).map(|case| case.text.clone()).unwrap_or_default()
            }
        };
        mutate(&mut text, &mut chance);
        core.pass(1 + chance.below(3));
        core.hostile(&maker.message(n % 2 == 0, &text))?;
        core.closed.retain(|closing| closing.message.nativecallid == id);
        if n == count / 5 {
            warm = memory(me, "VmRSS");
        }
    }
    let rate = count as f64 / begin.elapsed().as_secs_f64();
    let grown = memory(me, "VmRSS").saturating_sub(warm);
    let (wrong, counters) = core.finish();
    let kept = wrong.is_none() && grown < (32 << 10);
    let figure = format!(
        "{count} messages, {rate:.0} a second; {} calls begun, {} displaced; memory +{} MiB after the first \
         fifth; the call beside them {}",
        counters.calls.calls_signalled,
        counters.calls.calls_evicted,
        grown / 1_024,
        wrong.unwrap_or_else(|| "is whole".to_owned())
    );
    Ok(Found::when(kept, count, figure))
}

/// Captures: those of the tree, and those below `ORK_FIELD_CAPTURES` if that is set.
pub(super) fn captures(bench: &Bench) -> Result<Found, String> {
    let home = bench.folder("R62");
    let mut all: Vec<PathBuf> = with_extension(&workspace("pcaps"), "pcap");
    all.extend(with_extension(&workspace("pcaps"), "pcapng"));
    let field = std::env::var_os("ORK_FIELD_CAPTURES").map(PathBuf::from);
    if let Some(field) = &field {
        for extension in ["pcap", "pcapng", "cap"] {
            all.extend(with_extension(field, extension));
        }
        // Hours of traffic are for other tests.
        all.retain(|path| fs::metadata(path).is_ok_and(|file| file.len() < (16 << 20)));
    }
    if all.is_empty() {
        return Err("no captures".to_owned());
    }
    let editcap = Command::new("editcap").arg("--version").output().is_ok();
    let rounds = bench.times(2, 500);
    let (mut runs, mut refused, mut slowest, mut wrong) = (0, 0, 0.0_f64, Vec::new());
    for seed in 0..rounds {
        for capture in &all {
            let share = match seed % 4 {
                0 => 0.01,
                1 => 0.02,
                2 => 0.05,
                _ => 0.1,
            };
            let path = home.join("changed.pcap");
            drop(fs::remove_file(&path));
            if editcap {
                let (share, seed) = (share.to_string(), seed.to_string());
                let mut command = Command::new("editcap");
                command.args(["-E", &share, "--seed", &seed]).arg(capture).arg(&path);
                if !command.output().is_ok_and(|done| done.status.success()) {
                    // It does not read what others cut.
                    change(capture, &path, seed.parse().unwrap_or(0), 0.001)?;
                }
            } else {
                change(capture, &path, seed, share)?;
            }
            // And with the headers of its records changed, too.
            if seed % 2 == 1 {
                change(&path.clone(), &path, seed, 0.000_2)?;
            }
            let begin = Instant::now();
            let program = bench.programs.join("orkaudio");
            let mut command = Command::new("timeout");
            command.args(["-s", "KILL", "60"]).arg(program).args(["replay", "--json", "--output"]);
            command.arg(home.join("out")).arg(&path);
            let done = command.output().map_err(|error| error.to_string())?;
            runs += 1;
            slowest = slowest.max(begin.elapsed().as_secs_f64());
            let words = String::from_utf8_lossy(&done.stderr);
            match done.status.code() {
                Some(0) if !words.contains("panicked") => {}
                Some(1 | 2) if !words.contains("panicked") => refused += 1,
                _ => {
                    let last = words.lines().next_back().unwrap_or_default();
                    wrong.push(format!(
                        "{} seed {seed}: {} {last}",
                        capture.display(),
                        done.status
                    ));
                }
            }
            drop(fs::remove_dir_all(home.join("out")));
        }
    }
    wrong.truncate(3);
    let how = if editcap { "editcap -E, and our own of headers" } else { "our own mutator" };
    let figure = format!(
        "{} captures{}, {how}: {runs} runs, {refused} refused as damaged, the longest {slowest:.1} s {}",
        all.len(),
        if field.is_some() { " (from the field, too)" } else { "" },
        wrong.join("; ")
    );
    Ok(Found::when(wrong.is_empty(), runs, figure.trim_end().to_owned()))
}

/// Changes a share of the bytes behind the head of a file.
fn change(from: &Path, to: &Path, seed: u64, share: f64) -> Result<(), String> {
    let mut bytes = fs::read(from).map_err(|error| error.to_string())?;
    let mut chance = Chance::new(seed, 62);
    for byte in bytes.iter_mut().skip(24) {
        if chance.happens(share) {
            *byte = chance.word().to_le_bytes()[0];
        }
    }
    fs::write(to, bytes).map_err(|error| error.to_string())
}

/// Where `unsafe` stands in the product.
pub(super) fn without_guard(_bench: &Bench) -> Found {
    let mut files: Vec<(String, usize)> = Vec::new();
    let (mut sources, mut strangers) = (0, Vec::new());
    let crates = [
        "orkbase-rs/src",
        "orkbase-rs/tls",
        "orkbase-rs/vault",
        "orkaudio-rs/src",
        "orktrack-rs/src",
    ];
    for crates in crates {
        for path in with_extension(&workspace(crates), "rs") {
            let text = fs::read_to_string(&path).unwrap_or_default();
            sources += 1;
            let words = |line: &&str| {
                let code = line.split("//").next().unwrap_or_default();
                code.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == "unsafe")
            };
            let lines = text.lines().filter(words).count();
            if lines == 0 {
                continue;
            }
            let name = path.display().to_string();
            let name = name.rsplit_once("../").map_or(name.as_str(), |(_, rest)| rest).to_owned();
            // Libraries opened at run time, memory asked for early, a function for a processor that was
            // asked, options of a socket, and what a child does before it becomes another program.
            let known =
                ["ffi.rs", "ahead.rs", "audio/g711.rs", "capture/fanout.rs", "process/command.rs"];
            if !known.iter().any(|known| name.ends_with(known)) {
                strangers.push(name.clone());
            }
            files.push((name, lines));
        }
    }
    let lines: usize = files.iter().map(|(_, lines)| lines).sum();
    let list: Vec<String> = files.iter().map(|(name, lines)| format!("{name} {lines}")).collect();
    let figure = format!(
        "{lines} lines with `unsafe` in {} of {sources} files: {}; by hand: `RUSTFLAGS='-C target-feature=+avx2' cargo \
         +nightly miri test -p orkbase --lib -- wide_and the_ends` finds nothing in g711.rs; not run: miri over ahead.rs (assembly), \
         ffi.rs and fanout.rs (C), command.rs (between fork and exec), which it cannot interpret",
        files.len(),
        list.join(", ")
    );
    Found::when(strangers.is_empty() && sources > 100, sources, figure)
}
