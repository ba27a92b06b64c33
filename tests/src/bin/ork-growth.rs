//! What a packet, and a call, costs when there is much of something else: as a Markdown table.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool")]

use clap::Parser;
use nix::time::{ClockId, clock_gettime};
use ork_tests::{
    generator::{
        calls::{MAX_CALLS, Spec, write},
        law::Codec,
    },
    path::Way,
    sip::{Dialog, Message, Offer, Phone},
    wire::Frame,
    wrap::Capture,
};
use orkbase::{call::settings::Settings, packet, time::Timestamp};
use std::{fs::File, net::SocketAddr, path::Path, process::ExitCode, time::Duration};

/// Calls that speak while the others are idle.
const SPEAKING: u32 = 1000;
/// Octets of a description that hardly fits into a datagram.
const LARGE: usize = 60_000;

#[derive(Parser)]
#[command(about, version)]
struct Arguments {
    /// Captures go into a folder of this one's, which is removed.
    #[arg(long)]
    dir: std::path::PathBuf,
    /// Rounds; the table has the least.
    #[arg(long, default_value_t = 3)]
    rounds: u32,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("ork-growth: {why}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), String> {
    let scratch = tempfile::tempdir_in(&arguments.dir).map_err(|e| e.to_string())?;
    println!("| what | of it | CPU |\n|---|---:|---:|");
    let least = |measure: &dyn Fn() -> Result<(f64, u64), String>| {
        let mut best = (f64::MAX, 0);
        for _ in 0..arguments.rounds.max(1) {
            let now = measure()?;
            if now.0 < best.0 {
                best = now;
            }
        }
        Ok::<_, String>(best)
    };
    for idle in [0, 20_000, MAX_CALLS - SPEAKING] {
        let (nanos, flows) = least(&|| beside(scratch.path(), idle))?;
        println!(
            "| a packet of {SPEAKING} calls, route and place, beside idle flows | {flows} flows | {nanos:.0} ns |"
        );
    }
    let (nanos, calls) = least(&|| setups(scratch.path()))?;
    println!(
        "| a call that begins, says three packets and ends | {calls} calls | {:.1} us |",
        nanos / 1e3
    );
    let (nanos, octets) = least(&|| descriptions(1))?;
    println!("| an INVITE of ordinary size | {octets} octets | {:.1} us |", nanos / 1e3);
    let (nanos, octets) = least(&|| descriptions(LARGE))?;
    println!(
        "| an INVITE with a description of many lines | {octets} octets | {:.1} us |",
        nanos / 1e3
    );
    Ok(())
}

fn settings() -> Settings {
    Settings { max_calls: 500_000, max_flows: 1_000_000, ..Settings::default() }
}

fn capture(folder: &Path, spec: &Spec) -> Result<Capture, String> {
    let path = folder.join("growth.pcap");
    write(spec, File::create(&path).map_err(|e| e.to_string())?).map_err(|e| e.to_string())?;
    Capture::read(&path).map_err(|e| format!("{e:?}"))
}

fn feed(way: &mut Way, capture: &Capture) {
    const AHEAD: usize = 24;
    let frame = |index: usize| {
        capture.frames.get(index).map(|frame| packet::Frame {
            at: Timestamp(frame.at),
            link: capture.link,
            wire_len: frame.wire_len,
            bytes: &frame.bytes,
        })
    };
    for index in 0..capture.frames.len() {
        if let Some(frame) = frame(index + AHEAD) {
            way.foresee(&frame);
        }
        if let Some(frame) = frame(index) {
            way.handle(&frame);
        }
    }
}

/// Nanoseconds a packet of a thousand calls beside so many that are silent; flows in the table.
fn beside(folder: &Path, idle: u32) -> Result<(f64, u64), String> {
    let mut way = Way::with(false, settings());
    let begin = Spec::default().start_time;
    for ipv6 in [false, true] {
        if idle == 0 {
            continue;
        }
        let first = if ipv6 { 0 } else { SPEAKING };
        let quiet = Spec {
            calls: idle,
            first,
            ipv6,
            seconds: 0.06,
            stagger: 4.0,
            no_bye: true,
            ..Spec::default()
        };
        feed(&mut way, &capture(folder, &quiet)?);
    }
    let spec = |seconds, start_time| Spec {
        calls: SPEAKING,
        seconds,
        start_time,
        no_bye: true,
        ..Spec::default()
    };
    let talk = capture(folder, &spec(12.0, begin + 6.0))?;
    // The first three seconds set up.
    let from = talk.frames.first().map_or(0, |frame| frame.at) + 3_000_000_000;
    let cut = talk.frames.partition_point(|frame| frame.at < from);
    let (before, after) = talk.frames.split_at(cut);
    feed(&mut way, &Capture { frames: before.to_vec(), ..talk.clone() });
    let after = Capture { frames: after.to_vec(), ..talk.clone() };
    let flows = u64::try_from(way.flows()).unwrap_or(0);
    let begun = cpu()?;
    feed(&mut way, &after);
    Ok((each(cpu()? - begun, after.frames.len()), flows))
}

/// Nanoseconds a call that is soon over, a thousand of them a second.
fn setups(folder: &Path) -> Result<(f64, u64), String> {
    let calls = 10_000;
    let spec = Spec { calls, seconds: 0.03, stagger: 10.0, ..Spec::default() };
    let capture = capture(folder, &spec)?;
    let mut way = Way::with(false, settings());
    let begun = cpu()?;
    feed(&mut way, &capture);
    Ok((each(cpu()? - begun, 10_000), u64::from(calls)))
}

/// Nanoseconds an INVITE with at least so many octets of description.
fn descriptions(octets: usize) -> Result<(f64, u64), String> {
    const CALLS: u32 = 2000;
    let mut way = Way::with(false, settings());
    let mut frames = Vec::new();
    let mut size = 0;
    for call in 0..CALLS {
        let at = |last: u8, port: u16| SocketAddr::from(([10, 1, 2, last], port));
        let phone = |number: &str, sip| Phone { number: number.to_owned(), sip };
        let dialog = Dialog {
            call_id: format!("large-{call}"),
            caller: phone("1001", at(1, 5060)),
            callee: phone("1002", at(2, 5060)),
            caller_tag: format!("a{call}"),
            callee_tag: "b".to_owned(),
        };
        let port = u16::try_from(10_000 + call * 2).unwrap_or(10_000);
        let mut sdp = Offer {
            media: at(1, port),
            codecs: &[Codec::Pcmu],
            ptime: 20,
            direction: "sendrecv",
            version: 1,
            crypto: None,
        }
        .text();
        while sdp.len() < octets {
            sdp.push_str("a=candidate:1 1 UDP 2130706431 10.1.2.1 10000 typ host\r\n");
        }
        let text = dialog.text(Message {
            what: Ok("INVITE"),
            forward: true,
            method: "INVITE",
            cseq: 1,
            tagged: false,
            extra: "",
            sdp: Some(&sdp),
        });
        size = text.len();
        frames.push(Frame::udp(&[], at(1, 5060), at(2, 5060), &text));
    }
    let begun = cpu()?;
    for (at, frame) in (1..).zip(&frames) {
        let at = Timestamp(1_700_000_000_000_000_000 + at * 1_000_000);
        way.handle(&packet::Frame {
            at,
            link: packet::LinkType::Ethernet,
            wire_len: u32::try_from(frame.bytes().len()).unwrap_or(0),
            bytes: frame.bytes(),
        });
    }
    Ok((each(cpu()? - begun, frames.len()), u64::try_from(size).unwrap_or(0)))
}

#[expect(clippy::cast_precision_loss, reason = "a figure of a table")]
fn each(cpu: Duration, count: usize) -> f64 {
    cpu.as_secs_f64() * 1e9 / count.max(1) as f64
}

fn cpu() -> Result<Duration, String> {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_err(|e| e.to_string())?;
    Ok(time.into())
}
