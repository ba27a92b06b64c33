//! Keys that an attacker chooses so that tables become lists (R67).
//!
//! The tables of the core hash what comes from the wire with a random seed of their process. Keys that all
//! collide are found here by brute force for a table of another seed, which is what an attacker can do who
//! knows the program and not the process; the same keys must then cost what random ones do.

use super::{Bench, Found, maker::Maker};
use crate::{generator::chance::Chance, wire::Frame};
use foldhash::fast::RandomState;
use orkbase::{
    call::settings::Settings,
    packet::{Frame as Captured, LinkType, decoder::Limits},
    tap::Tap,
    time::Timestamp,
};
use std::{hash::BuildHasher as _, net::SocketAddr, time::Instant};

/// Bits of the hash that are the same in all keys: so many times fewer places of a table are used.
const BITS: u32 = 7;

/// Call-IDs and flows.
pub(super) fn flooding(bench: &Bench) -> Result<Found, String> {
    let keys = usize::try_from(bench.times(50_000, 1_000_000)).unwrap_or(50_000);
    let theirs = RandomState::default();
    let ours = RandomState::default();
    let probe = "the same word";
    // Two tables of one process have seeds of their own; were they fixed, these would be the same.
    if theirs.hash_one(probe) == ours.hash_one(probe) {
        return Ok(Found::Broken { runs: 1, figure: "two tables share a seed".to_owned() });
    }
    let low = |hash: u64| hash & ((1 << BITS) - 1) == 0;
    let names = chosen(keys, call_id, |name| low(theirs.hash_one(name)));
    let plain: Vec<String> =
        (0..keys as u64).map(|n| call_id(n.wrapping_mul(0x9e37_79b9))).collect();
    // Multiples of a power of two and plain counting are what weak hashes trip over.
    let flows = chosen(keys, flow, |(a, b)| low(theirs.hash_one((a, b))));
    let aligned: Vec<_> = (0..keys as u64).map(|n| flow(n << 16)).collect();
    let mut chance = Chance::new(67, 0);
    let random: Vec<_> = (0..keys).map(|_| flow(chance.bits())).collect();
    let mut words = Vec::new();
    let mut kept = true;
    // Alternately, and the best of three: the machine does other things, too.
    let best = |work: &dyn Fn() -> f64| (0..3).map(|_| work()).fold(f64::MAX, f64::min);
    let calm = best(&|| calls(&plain));
    let chosen = best(&|| calls(&names));
    kept &= chosen < 2.0 * calm;
    words.push(format!("Call-IDs {chosen:.0} to {calm:.0} ns a message ({:.2})", chosen / calm));
    let calm = best(&|| packets(&random));
    for (name, keys) in [("chosen", &flows), ("aligned", &aligned)] {
        let cost = best(&|| packets(keys));
        kept &= cost < 2.0 * calm;
        words.push(format!(
            "flows, {name}: {cost:.0} to {calm:.0} ns a packet ({:.2})",
            cost / calm
        ));
    }
    let figure = format!("{keys} keys against random ones: {}", words.join("; "));
    Ok(Found::when(kept, 3 * keys as u64, figure))
}

fn call_id(n: u64) -> String {
    format!("{n:016x}@attacker.example")
}

/// Two ends; the lowest bits are ports.
fn flow(n: u64) -> (SocketAddr, SocketAddr) {
    let [a, b, c, d, e, f, g, h] = n.to_be_bytes();
    let port = |high: u8, low: u8| u16::from_be_bytes([high, low]) & 0xfffe;
    (
        SocketAddr::from(([172, 20, a ^ c, b ^ d], port(e, f).max(1_024))),
        SocketAddr::from(([172, 30, c, d], port(g, h).max(1_024))),
    )
}

/// Keys of which `fits` is true.
fn chosen<T>(count: usize, key: impl Fn(u64) -> T, fits: impl Fn(&T) -> bool) -> Vec<T> {
    (0..).map(key).filter(|key| fits(key)).take(count).collect()
}

fn tap() -> Tap {
    let settings =
        Settings { max_calls: 1_000_000, max_candidates: 1_000_000, ..Settings::default() };
    Tap::new(settings, Limits::default(), 0)
}

fn feed(tap: &mut Tap, at: u64, bytes: &[u8]) {
    let wire_len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    tap.handle_frame(&Captured { at: Timestamp(at), link: LinkType::Ethernet, wire_len, bytes });
    while tap.poll_output().is_some() {}
}

/// Nanoseconds for each INVITE of calls with these names.
fn calls(names: &[String]) -> f64 {
    let mut tap = tap();
    let mut maker = Maker::new(1);
    let frames: Vec<Vec<u8>> = names
        .iter()
        .map(|name| {
            maker.dialog.call_id.clone_from(name);
            maker.message(true, &maker.dialog.text(super::maker::request("INVITE", 1, None)))
        })
        .collect();
    let begin = Instant::now();
    for frame in &frames {
        feed(&mut tap, super::maker::START, frame);
    }
    begin.elapsed().as_secs_f64() * 1e9 / names.len() as f64
}

/// Nanoseconds for each RTP packet of these flows, three of each.
fn packets(flows: &[(SocketAddr, SocketAddr)]) -> f64 {
    let mut tap = tap();
    let mut frames = Vec::with_capacity(flows.len());
    for (from, to) in flows {
        let mut payload = vec![0; 24];
        if let Some(first) = payload.first_mut() {
            *first = 0x80;
        }
        frames.push(Frame::udp(&[], *from, *to, &payload).into_bytes());
    }
    let begin = Instant::now();
    for frame in &frames {
        feed(&mut tap, super::maker::START, frame);
    }
    begin.elapsed().as_secs_f64() * 1e9 / flows.len() as f64
}
