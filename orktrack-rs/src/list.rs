//! `orktrack list`: recordings as a table for people.

use crate::store::{Page, Recording};
use jiff::{Timestamp, tz::TimeZone};
use std::io::{self, Write};

const HEADINGS: [&str; 8] =
    ["start", "local party", "remote party", "direction", "codec", "seconds", "loss", "file"];
/// Columns that are numbers and stand to the right.
const RIGHT: [bool; 8] = [false, false, false, false, false, true, true, false];

/// Writes the table; times are in `zone`. An empty page is a line that says so.
///
/// # Errors
/// `out` cannot be written to.
pub fn table(out: &mut dyn Write, page: &Page, zone: &TimeZone) -> io::Result<()> {
    if page.recordings.is_empty() {
        return writeln!(out, "no recordings");
    }
    let rows: Vec<[String; 8]> = page.recordings.iter().map(|one| row(one, zone)).collect();
    let mut widths = HEADINGS.map(|heading| heading.chars().count());
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    line(out, &HEADINGS.map(str::to_owned), &widths)?;
    for row in &rows {
        line(out, row, &widths)?;
    }
    Ok(())
}

/// Writes the page as JSON, in the shape of the API.
///
/// # Errors
/// `out` cannot be written to.
pub fn as_json(out: &mut dyn Write, page: &Page) -> io::Result<()> {
    let next = page.next.map(|next| next.to_string());
    let value = serde_json::json!({ "recordings": page.recordings, "next": next });
    writeln!(out, "{value:#}")
}

fn line(out: &mut dyn Write, cells: &[String; 8], widths: &[usize; 8]) -> io::Result<()> {
    let mut text = String::new();
    for ((cell, width), right) in cells.iter().zip(widths).zip(RIGHT) {
        let padded = if right { format!("{cell:>width$}  ") } else { format!("{cell:<width$}  ") };
        text.push_str(&padded);
    }
    writeln!(out, "{}", text.trim_end())
}

fn row(recording: &Recording, zone: &TimeZone) -> [String; 8] {
    let tag = |name: &str| recording.tags.get(name).map(String::as_str);
    let seconds = match recording.state.as_str() {
        "live" => "live".to_owned(),
        _ => recording.duration.to_string(),
    };
    let cells = [
        start(recording.started, zone),
        recording.localparty.clone(),
        recording.remoteparty.clone(),
        recording.direction.clone(),
        tag("codec").unwrap_or_default().to_owned(),
        seconds,
        loss(tag("lost"), tag("packets")).unwrap_or_default(),
        recording.filename.clone(),
    ];
    cells.map(|cell| if cell.is_empty() { "-".to_owned() } else { plain(&cell) })
}

fn start(unix: i64, zone: &TimeZone) -> String {
    let moment = Timestamp::from_second(unix).unwrap_or(Timestamp::UNIX_EPOCH);
    moment.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// Packets lost among those that were sent, in per cent. `packets` are those that arrived.
fn loss(lost: Option<&str>, packets: Option<&str>) -> Option<String> {
    let lost: u64 = lost?.parse().ok()?;
    let sent = lost.checked_add(packets?.parse().ok()?)?;
    let tenths = lost.checked_mul(1000)?.checked_add(sent / 2)?.checked_div(sent)?;
    // One packet of many is not none.
    let tenths = if lost > 0 { tenths.max(1) } else { tenths };
    Some(format!("{}.{}%", tenths / 10, tenths % 10))
}

/// Text from the wire must not steer the terminal.
fn plain(text: &str) -> String {
    text.replace(|c| !orkbase::legible::is_legible(c), "?")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::tags;

    fn recording() -> Recording {
        Recording {
            id: 1,
            hostname: "vm".to_owned(),
            recid: "20261121_021704_EZIP".to_owned(),
            state: "ready".to_owned(),
            started: 1_795_227_424,
            stopped: Some(1_795_227_436),
            ready: Some(1_795_227_440),
            duration: 12,
            direction: "out".to_owned(),
            localparty: "1001".to_owned(),
            localentrypoint: String::new(),
            remoteparty: "+15145551234".to_owned(),
            localip: "10.1.0.1".to_owned(),
            remoteip: "10.2.0.1".to_owned(),
            nativecallid: "a@b".to_owned(),
            captureport: "EZIP".to_owned(),
            service: "orkaudio-vm".to_owned(),
            ondemand: false,
            side: "both".to_owned(),
            filename: "2026/11/21/02/20261121_021704_EZIP.wav".to_owned(),
            keep: "NEITHER".to_owned(),
            discarded: None,
            expires: None,
            sha256: String::new(),
            held: false,
            users: Vec::new(),
            tags: tags(&[("codec", "PCMU"), ("lost", "3"), ("packets", "1197")]),
            moments: Vec::new(),
        }
    }

    #[test]
    fn a_table_for_people() {
        let live = Recording {
            state: "live".to_owned(),
            localparty: "ev\u{1b}il".to_owned(),
            direction: "unkn".to_owned(),
            filename: "2026/11/21/02/x".to_owned(),
            tags: tags(&[]),
            moments: Vec::new(),
            ..recording()
        };
        let page = Page { recordings: vec![recording(), live], next: None };
        let mut out = Vec::new();
        table(&mut out, &page, &TimeZone::UTC).unwrap();
        let expected = "\
start                local party  remote party  direction  codec  seconds  loss  file
2026-11-21 02:17:04  1001         +15145551234  out        PCMU        12  0.3%  2026/11/21/02/20261121_021704_EZIP.wav
2026-11-21 02:17:04  ev?il        +15145551234  unkn       -         live     -  2026/11/21/02/x
";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn loss_is_never_guessed() {
        let check = |lost, packets| loss(lost, packets);
        assert_eq!(check(Some("0"), Some("500")).as_deref(), Some("0.0%"));
        assert_eq!(check(Some("1"), Some("99999")).as_deref(), Some("0.1%"));
        assert_eq!(check(Some("50"), Some("50")).as_deref(), Some("50.0%"));
        assert_eq!(check(Some("5"), None), None);
        assert_eq!(check(Some("0"), Some("0")), None);
        assert_eq!(check(Some("x"), Some("5")), None);
    }

    #[test]
    fn nothing_is_also_an_answer() {
        let page = Page { recordings: Vec::new(), next: None };
        let mut out = Vec::new();
        table(&mut out, &page, &TimeZone::UTC).unwrap();
        assert_eq!(out, b"no recordings\n");
        out.clear();
        as_json(&mut out, &Page { recordings: vec![recording()], next: None }).unwrap();
        let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(value["recordings"][0]["tags"]["codec"], "PCMU");
        assert_eq!(value["recordings"][0]["id"], 1);
    }
}
