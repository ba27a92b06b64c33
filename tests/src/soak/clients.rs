//! Clients, good and bad.

use super::rig::{COMMAND, EVENTS, LIVE, Rig, TRACKER};
use crate::generator::chance::Chance;
use std::{
    io::Write,
    net::{Ipv4Addr, SocketAddr, TcpStream},
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    thread,
    time::Duration,
};

/// Answers that good clients got, and how often they got none.
#[derive(Debug, Default)]
pub(super) struct Served {
    pub(super) answered: AtomicU64,
    pub(super) unanswered: AtomicU64,
}

/// A good client: status, metrics, searches, audio. It asks until it is over.
pub(super) fn ask(rig: &Rig, seed: u64, served: &Served, over: &AtomicBool) {
    let mut chance = Chance::new(seed, 4);
    while !over.load(Relaxed) {
        let party = 100_000 + chance.below(500);
        let (port, target) = match chance.below(7) {
            0 => (COMMAND, "/api/status".to_owned()),
            1 => (COMMAND, "/metrics".to_owned()),
            2 => (LIVE, "/calls".to_owned()),
            3 => (TRACKER, format!("/api/v1/recordings?party={party}&limit=50")),
            4 => (TRACKER, "/api/v1/recordings?limit=100".to_owned()),
            5 => (TRACKER, format!("/api/v1/recordings/{}/audio", 1 + chance.below(1_000))),
            _ => (TRACKER, format!("/orktrack/command?cmd=livestatus&localparty={party}")),
        };
        let answered = rig.ask(port, "GET", &target).is_some_and(|(code, _)| code < 500);
        let counter = if answered { &served.answered } else { &served.unanswered };
        counter.fetch_add(1, Relaxed);
        thread::sleep(Duration::from_millis(100 + chance.below(200)));
    }
}

/// Connections that ask and never read; they last until they are dropped.
pub(super) fn deaf(port: u16, request: &str, count: usize) -> Vec<TcpStream> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    (0..count)
        .filter_map(|_| {
            let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1)).ok()?;
            stream.set_write_timeout(Some(Duration::from_secs(1))).ok()?;
            stream.write_all(request.as_bytes()).ok()?;
            Some(stream)
        })
        .collect()
}

/// Those who want every event.
pub(super) fn deaf_to_events() -> Vec<TcpStream> {
    deaf(EVENTS, "GET /?type=streamevents HTTP/1.0\r\n\r\n", 20)
}

/// Those who want to listen to calls.
pub(super) fn deaf_to_calls(rig: &Rig) -> Vec<TcpStream> {
    let list = rig.ask(LIVE, "GET", "/calls").map(|(_, body)| body).unwrap_or_default();
    let list: serde_json::Value = serde_json::from_slice(&list).unwrap_or_default();
    let ids =
        list.as_array().into_iter().flatten().filter_map(|call| call["nativecallid"].as_str());
    ids.take(20)
        .flat_map(|id| {
            let target = format!("/?type=stream&stereo=true&nativecallid={id}");
            deaf(LIVE, &format!("GET {target} HTTP/1.0\r\n\r\n"), 1)
        })
        .collect()
}

/// Those who begin a request and never end it.
pub(super) fn halves() -> Vec<TcpStream> {
    let ports = [COMMAND, EVENTS, LIVE, TRACKER];
    ports.into_iter().flat_map(|port| deaf(port, "GET /api/status HTTP/1.1\r\nHo", 20)).collect()
}
