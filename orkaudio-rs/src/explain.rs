//! `orkaudio explain`: what was decided about each call of a capture, and why. Writes no tape, tells
//! nobody.

use crate::{
    capture::{CaptureError, filter::Filter, progress::Progress, set::CaptureSet},
    config::Config,
    keylog, report, setup,
};
use jiff::tz::TimeZone;
use orkbase::{
    call::{
        candidates::Stray,
        output::{EndReason, Output},
        story::Account,
    },
    tap::{Tap, TapCounters},
    time::Timestamp,
};
use serde_json::{Map, Value, json};
use std::{
    fs::File,
    io::{self, Write},
    path::PathBuf,
};
use thiserror::Error;

/// The progress bar is looked after every so many frames.
const PROGRESS: u64 = 20_000;
/// Flows without a call that are listed; the rest is counted.
const MOST_STRAYS: usize = 50;
/// Fewer packets than this are not worth a line.
const STRAY_PACKETS: u32 = 10;

/// Why nothing can be explained.
#[derive(Debug, Error)]
pub enum ExplainError {
    /// A capture.
    #[error(transparent)]
    Capture(#[from] CaptureError),
    /// The key log.
    #[error("cannot read the key log {}: {error}", path.display())]
    KeyLog {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Standard output.
    #[error("cannot write: {0}")]
    Write(#[from] io::Error),
}

/// Explains captures on `out`, as text or as one JSON object per call.
///
/// # Errors
/// When a capture cannot be read, or `out` not be written.
pub fn run(
    config: &Config,
    captures: &[PathBuf],
    as_json: bool,
    out: &mut dyn Write,
) -> Result<(), ExplainError> {
    let mut set = CaptureSet::expand(captures)?;
    let mut filter = match config.capture.filter.as_str() {
        "" => None,
        text => Some(Filter::new(text)?),
    };
    let mut settings = setup::engine(config, PathBuf::new(), 0, true, false);
    settings.calls.explain = true;
    let zone = settings.calls.zone.clone();
    let mut tap = Tap::new(settings.calls, settings.limits, 0);
    tap.set_decoders(settings.decoders);
    tap.set_tls(settings.tls);
    if let Some(path) = &config.capture.key_log {
        let unread = |error| ExplainError::KeyLog { path: path.clone(), error };
        let file = File::open(path).map_err(unread)?;
        keylog::read(file, &mut |text| tap.handle_keys(text)).map_err(unread)?;
    }
    let mut teller = Teller { out, zone, as_json };
    let progress = Progress::new(set.total_bytes());
    let (mut frames, mut last, mut failure) = (0u64, Timestamp::default(), None);
    loop {
        let frame = match set.next_frame() {
            Ok(Some(frame)) => frame,
            Ok(None) => break,
            Err(error) => {
                tracing::warn!("{error}");
                failure.get_or_insert(error);
                continue;
            }
        };
        if let Some(filter) = filter.as_mut()
            && !filter.keeps(&frame)?
        {
            continue;
        }
        last = frame.at;
        tap.handle_frame(&frame);
        for text in set.take_keys() {
            tap.handle_keys(&text);
        }
        teller.drain(&mut tap)?;
        frames += 1;
        if frames.is_multiple_of(PROGRESS) {
            progress.update(set.position(), frames);
        }
    }
    progress.close();
    let strays = tap.strays();
    tap.finish(last, EndReason::Shutdown);
    teller.drain(&mut tap)?;
    teller.rest(&strays, &tap.counters())?;
    failure.map_or(Ok(()), |error| Err(error.into()))
}

struct Teller<'a> {
    out: &'a mut dyn Write,
    zone: TimeZone,
    as_json: bool,
}

impl Teller<'_> {
    fn drain(&mut self, tap: &mut Tap) -> io::Result<()> {
        while let Some(output) = tap.poll_output() {
            match output {
                Output::Over(account) => self.account(&account)?,
                Output::Audio(block) => tap.recycle(block.bytes),
                Output::Noticed(notice) if self.as_json => {
                    writeln!(self.out, "{}", json!({ "notice": notice.to_string() }))?;
                }
                Output::Noticed(notice) => writeln!(self.out, "{notice}\n")?,
                Output::Opened(_)
                | Output::Told(_)
                | Output::Tagged(_)
                | Output::Packets(_)
                | Output::Closed(_) => {}
            }
        }
        Ok(())
    }

    fn account(&mut self, account: &Account) -> io::Result<()> {
        let [source, destination] = account.between;
        let story = &account.story;
        if self.as_json {
            let lines: Vec<Value> = story
                .lines
                .iter()
                .map(|(at, line)| json!({ "at": at.as_secs_f64(), "what": line }))
                .collect();
            let object = json!({
                "nativecallid": account.call_id, "from": account.from, "to": account.to,
                "src": source.to_string(), "dst": destination.to_string(),
                "began": account.began.as_secs_f64(), "tapes": account.tapes,
                "ignored": account.ignored.as_ref().map(|ignored| ignored.as_str()),
                "verdict": account.verdict, "story": lines, "untold": story.untold,
            });
            return writeln!(self.out, "{object}");
        }
        let id =
            if account.call_id.is_empty() { "media without signalling" } else { &account.call_id };
        writeln!(
            self.out,
            "call {id}\n  {} > {} ({source} > {destination})\n  {}",
            account.from, account.to, account.verdict
        )?;
        for (at, line) in &story.lines {
            writeln!(self.out, "    {}  {line}", clock(*at, &self.zone))?;
        }
        if story.untold > 0 {
            writeln!(self.out, "    and {} more", story.untold)?;
        }
        writeln!(self.out)
    }

    /// What belongs to no call.
    fn rest(&mut self, strays: &[Stray], counters: &TapCounters) -> io::Result<()> {
        let worth: Vec<&Stray> =
            strays.iter().filter(|stray| stray.packets >= STRAY_PACKETS).collect();
        let summary = report::packets(counters);
        if self.as_json {
            let flow = |stray: &&Stray| {
                json!({
                    "src": stray.source.to_string(), "dst": stray.destination.to_string(),
                    "ssrc": format!("0x{:08x}", stray.ssrc),
                    "payload_type": stray.payload_type, "packets": stray.packets,
                })
            };
            let flows: Vec<Value> = worth.iter().take(MOST_STRAYS).map(flow).collect();
            return writeln!(self.out, "{}", json!({ "unclaimed": flows, "summary": summary }));
        }
        if !worth.is_empty() {
            writeln!(
                self.out,
                "media that no signalling announced (recorded only with calls.unannounced_after):"
            )?;
        }
        for stray in worth.iter().take(MOST_STRAYS) {
            writeln!(
                self.out,
                "    {} > {}: SSRC 0x{:08x}, payload type {}, {} packets",
                stray.source, stray.destination, stray.ssrc, stray.payload_type, stray.packets
            )?;
        }
        if worth.len() > MOST_STRAYS {
            writeln!(self.out, "    and {} more", worth.len() - MOST_STRAYS)?;
        }
        writeln!(self.out, "{}", said(&summary))
    }
}

/// The counters that are not zero, on one line.
fn said(summary: &Map<String, Value>) -> String {
    let words = summary.iter().filter_map(|(name, value)| match value {
        Value::Number(number) if number.as_u64() != Some(0) => Some(format!("{name} {number}")),
        Value::Object(table) if !table.is_empty() => Some(format!("{name} {value}")),
        Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::String(_)
        | Value::Array(_)
        | Value::Object(_) => None,
    });
    words.collect::<Vec<_>>().join(", ")
}

/// `2026-11-21 10:47:03.123`
fn clock(at: Timestamp, zone: &TimeZone) -> String {
    let nanos = i128::from(at.0);
    jiff::Timestamp::from_nanosecond(nanos).map_or_else(
        |_| at.0.to_string(),
        |time| time.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S%.3f").to_string(),
    )
}
