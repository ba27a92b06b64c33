//! `orkaudio status`: asks the running recorder and shows the answer to people.

use crate::cli::StatusArguments;
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};
use thiserror::Error;

/// Patience with the recorder.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Longest answer taken: 100,000 calls.
const MAX_ANSWER: u64 = 64 << 20;
/// Calls shown while watching; the rest are counted.
const WATCHED_CALLS: usize = 15;
/// To the upper left corner, and everything below is gone (ECMA-48).
const CLEAR: &str = "\u{1b}[H\u{1b}[J";

/// Why there is nothing to show.
#[derive(Debug, Error)]
pub enum StatusError {
    /// Nobody answers.
    #[error(
        "no recorder answers on {0}: {1}; start `orkaudio run`, or name its command port with --address"
    )]
    Unreachable(SocketAddr, io::Error),
    /// Something else answers.
    #[error("what answers on {0} is no recorder of ours")]
    Foreign(SocketAddr),
    /// It wants to know who asks.
    #[error("the recorder on {0} says: {1}; give --token")]
    Denied(SocketAddr, String),
    /// Standard output is gone.
    #[error("cannot write: {0}")]
    Write(#[from] io::Error),
}

/// Shows the status; watching, until there is none any more.
///
/// # Errors
/// When no recorder answers.
pub fn show(arguments: &StatusArguments) -> Result<(), StatusError> {
    let mut out = io::stdout();
    if arguments.json {
        return Ok(writeln!(out, "{}", ask(arguments)?)?);
    }
    if !arguments.watch {
        return Ok(out.write_all(page(&ask(arguments)?, usize::MAX).as_bytes())?);
    }
    let mut before = Counters::new();
    let mut at = Instant::now();
    loop {
        let status = ask(arguments)?;
        let (counters, now) = (counters(&status), Instant::now());
        let text = watched(&status, &before, &counters, now.duration_since(at));
        out.write_all(format!("{CLEAR}{text}").as_bytes())?;
        out.flush()?;
        (before, at) = (counters, now);
        std::thread::sleep(Duration::from_secs(arguments.every));
    }
}

type Counters = BTreeMap<String, u64>;

fn counters(status: &Value) -> Counters {
    let counters = status.get("counters").and_then(Value::as_object).into_iter().flatten();
    counters.filter_map(|(name, value)| Some((name.clone(), value.as_u64()?))).collect()
}

fn text(value: &Value, key: &str) -> String {
    match value.get(key) {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    }
}

fn list<'a>(status: &'a Value, key: &str) -> &'a [Value] {
    status.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// What comes before the counters.
fn top(status: &Value, most_calls: usize) -> String {
    let mut out = String::new();
    // Writing to a string does not fail.
    let mut say = |line: String| {
        let _written = writeln!(out, "{line}");
    };
    say(format!("orkaudio {}, up {} s", text(status, "version"), text(status, "uptime_s")));
    for interface in list(status, "interfaces") {
        let name = text(interface, "name");
        let state =
            if interface.get("open") == Some(&Value::Bool(true)) { "open" } else { "NOT THERE" };
        let [received, dropped, driver] =
            ["received", "dropped", "driver_dropped"].map(|key| text(interface, key));
        say(format!(
            "  {name:<12} {state}, {received} frames, lost {dropped} in the kernel, {driver} in the driver"
        ));
    }
    let calls = list(status, "calls");
    say(format!("\n{} live recording(s)", calls.len()));
    for call in calls.iter().take(most_calls) {
        let [uid, direction, local, remote] =
            ["orkuid", "direction", "localparty", "remoteparty"].map(|key| text(call, key));
        say(format!("  {uid}  {direction:<4} {local} <-> {remote}"));
    }
    if calls.len() > most_calls {
        say(format!("  and {} more", calls.len() - most_calls));
    }
    let jobs = list(status, "processing");
    if !jobs.is_empty() {
        say("\nprocessing".to_owned());
    }
    for job in jobs.iter().take(most_calls) {
        let (orkuid, step) = (text(job, "orkuid"), text(job, "step"));
        say(format!("  {orkuid}  {step:<9} {:>3} %", text(job, "percent")));
    }
    out
}

fn page(status: &Value, most_calls: usize) -> String {
    let mut out = top(status, most_calls);
    out.push_str("\ncounters\n");
    for (name, value) in status.get("counters").and_then(Value::as_object).into_iter().flatten() {
        let _written = writeln!(out, "  {name:<28} {value}");
    }
    out
}

fn watched(status: &Value, before: &Counters, now: &Counters, passed: Duration) -> String {
    let mut out = top(status, WATCHED_CALLS);
    let _written =
        writeln!(out, "\n{:<30} {:>16} {:>12}", "counters that are not 0", "", "a second");
    let millis = u64::try_from(passed.as_millis()).unwrap_or(u64::MAX).max(1);
    for (name, value) in now.iter().filter(|(_, value)| **value > 0) {
        let more = before.get(name).and_then(|earlier| value.checked_sub(*earlier));
        let rate = more.filter(|more| *more > 0).map(|more| more.saturating_mul(1_000) / millis);
        let rate = rate.map(|rate| rate.to_string()).unwrap_or_default();
        let _written = writeln!(out, "  {name:<28} {value:>16} {rate:>12}");
    }
    out
}

fn ask(arguments: &StatusArguments) -> Result<Value, StatusError> {
    let address = arguments.address;
    let answer = request(arguments).map_err(|error| StatusError::Unreachable(address, error))?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    if ["401", "403"].contains(&head.split(' ').nth(1).unwrap_or_default()) {
        let why = body.lines().nth(1).unwrap_or("no").to_owned();
        return Err(StatusError::Denied(address, why));
    }
    serde_json::from_str(body).map_err(|_| StatusError::Foreign(address))
}

/// One request by hand: a client library would be the larger part of this command.
fn request(arguments: &StatusArguments) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&arguments.address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    let plain = |token: &&String| token.bytes().all(|byte| byte.is_ascii_graphic());
    let token = arguments.token.as_ref().filter(plain);
    let token = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    write!(stream, "GET /api/status HTTP/1.0\r\nHost: {}\r\n{token}\r\n", arguments.address)?;
    let mut answer = String::new();
    stream.take(MAX_ANSWER).read_to_string(&mut answer)?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_watched_is_what_moves() {
        let calls: Vec<_> =
            (0..20).map(|n| json!({"orkuid": n.to_string(), "direction": "in"})).collect();
        let status = json!({
            "version": "1", "uptime_s": 3, "calls": calls,
            "interfaces": [{"name": "eth0", "open": false, "received": 5, "dropped": 1, "driver_dropped": 0}],
            "counters": {"rtp.packets": 300, "rtp.late": 0, "tape.opened": 7, "packet.unknown_links": {}},
        });
        let before =
            Counters::from([("rtp.packets".to_owned(), 100), ("tape.opened".to_owned(), 7)]);
        let said = watched(&status, &before, &counters(&status), Duration::from_secs(2));
        let lines: Vec<Vec<&str>> =
            said.lines().map(|line| line.split_whitespace().collect()).collect();
        assert!(said.contains("eth0         NOT THERE, 5 frames, lost 1 in the kernel"));
        assert!(lines.contains(&vec!["and", "5", "more"]));
        assert!(lines.contains(&vec!["rtp.packets", "300", "100"]));
        assert!(lines.contains(&vec!["tape.opened", "7"]));
        assert!(!said.contains("rtp.late"));
        assert!(page(&status, usize::MAX).contains("rtp.late"));
    }
}
