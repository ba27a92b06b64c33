//! `orkaudio status`: asks the running recorder and shows the answer to people.

use crate::cli::StatusArguments;
use serde_json::Value;
use std::{
    io::{self, Read, Write},
    net::TcpStream,
    time::Duration,
};
use thiserror::Error;

/// Patience with the recorder.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Longest answer taken: 100,000 calls.
const MAX_ANSWER: u64 = 64 << 20;

/// Why there is nothing to show.
#[derive(Debug, Error)]
pub enum StatusError {
    /// Nobody answers.
    #[error(
        "no recorder answers on {0}: {1}; start `orkaudio run`, or name its command port with --address"
    )]
    Unreachable(std::net::SocketAddr, io::Error),
    /// Something else answers.
    #[error("what answers on {0} is no recorder of ours")]
    Foreign(std::net::SocketAddr),
    /// Standard output is gone.
    #[error("cannot write: {0}")]
    Write(#[from] io::Error),
}

/// Shows the status.
///
/// # Errors
/// When no recorder answers.
pub fn show(arguments: &StatusArguments) -> Result<(), StatusError> {
    let address = arguments.address;
    let answer = ask(arguments).map_err(|error| StatusError::Unreachable(address, error))?;
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    let status: Value = serde_json::from_str(body).map_err(|_| StatusError::Foreign(address))?;
    let mut out = io::stdout().lock();
    if arguments.json {
        return Ok(writeln!(out, "{status}")?);
    }
    let text = |value: &Value, key: &str| match value.get(key) {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    };
    writeln!(out, "orkaudio {}, up {} s", text(&status, "version"), text(&status, "uptime_s"))?;
    let calls = status.get("calls").and_then(Value::as_array).cloned().unwrap_or_default();
    writeln!(out, "\n{} live recording(s)", calls.len())?;
    for call in &calls {
        writeln!(
            out,
            "  {}  {:<4} {} <-> {}",
            text(call, "orkuid"),
            text(call, "direction"),
            text(call, "localparty"),
            text(call, "remoteparty"),
        )?;
    }
    let jobs = status.get("processing").and_then(Value::as_array).cloned().unwrap_or_default();
    if !jobs.is_empty() {
        writeln!(out, "\nprocessing")?;
    }
    for job in &jobs {
        let (orkuid, step) = (text(job, "orkuid"), text(job, "step"));
        writeln!(out, "  {orkuid}  {step:<9} {:>3} %", text(job, "percent"))?;
    }
    writeln!(out, "\ncounters")?;
    for (name, value) in status.get("counters").and_then(Value::as_object).into_iter().flatten() {
        writeln!(out, "  {name:<28} {value}")?;
    }
    Ok(())
}

/// One request by hand: a client library would be the larger part of this command.
fn ask(arguments: &StatusArguments) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&arguments.address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    write!(stream, "GET /api/status HTTP/1.0\r\nHost: {}\r\n\r\n", arguments.address)?;
    let mut answer = String::new();
    stream.take(MAX_ANSWER).read_to_string(&mut answer)?;
    Ok(answer)
}
