//! How events are written to a client: lines as ever, numbered lines, Server-Sent Events, or JSON.

use super::hub::Batch;
use crate::gate::Head;
use orkbase::message::{Pairs, url};
use serde_json::{Map, Value};

/// One of them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Dialect {
    /// As the original writes them, to the byte.
    Lines,
    /// The same with `sequence=N&` at the end, for who means to come back with `since=N`.
    Numbered,
    /// For browsers (WHATWG HTML, server-sent events): the data is JSON.
    Sse,
}

/// What a client asks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Asked {
    /// `None` for JSON texts over a WebSocket (RFC 6455).
    pub(super) dialect: Option<Dialect>,
    /// The number of the last line it has.
    pub(super) since: Option<u64>,
}

impl Asked {
    /// Reads it; an error for a number that is none.
    pub(super) fn read(query: &Pairs, head: &Head<'_>) -> Result<Self, &'static str> {
        let mentions = |field: Option<&str>, word| {
            field.is_some_and(|field| field.to_ascii_lowercase().contains(word))
        };
        let format = query.first("format").unwrap_or_default();
        let since = query.first("since").or(head.last_event);
        let dialect = match format {
            _ if mentions(head.upgrade, "websocket") => None,
            "sse" => Some(Dialect::Sse),
            "" if mentions(head.accept, "text/event-stream") => Some(Dialect::Sse),
            "" if since.is_some() => Some(Dialect::Numbered),
            "" => Some(Dialect::Lines),
            _ => return Err("format= is sse, or nothing"),
        };
        let since = since.map(str::trim).filter(|text| !text.is_empty());
        let since = since.map(str::parse).transpose();
        let since = since.map_err(|_| "since= is the sequence of the last event you have")?;
        Ok(Self { dialect, since })
    }
}

/// Appends lines to what is sent.
pub(super) fn write(dialect: Dialect, batch: &Batch, out: &mut Vec<u8>) {
    if let Some((after, before)) = batch.lost {
        match dialect {
            // Nothing in the protocol tells it; the counter does.
            Dialect::Lines => {}
            Dialect::Numbered => {
                out.extend(format!("type=lost&after={after}&before={before}&\r\n").bytes());
            }
            Dialect::Sse => {
                out.extend(format!("event: lost\ndata: {}\n\n", lost(after, before)).bytes());
            }
        }
    }
    for (sequence, line) in &batch.lines {
        match dialect {
            Dialect::Lines => {
                out.extend_from_slice(line.as_bytes());
                out.extend_from_slice(b"\r\n");
            }
            Dialect::Numbered => {
                out.extend_from_slice(line.as_bytes());
                out.extend(format!("sequence={sequence}&\r\n").bytes());
            }
            Dialect::Sse => {
                out.extend(format!("id: {sequence}\ndata: {}\n\n", json(*sequence, line)).bytes());
            }
        }
    }
}

/// The texts of a batch over a WebSocket.
pub(super) fn texts(batch: &Batch) -> impl Iterator<Item = String> {
    let lost = batch.lost.map(|(after, before)| lost(after, before).to_string());
    lost.into_iter()
        .chain(batch.lines.iter().map(|(sequence, line)| json(*sequence, line).to_string()))
}

/// Events between these two numbers are missing, neither included; of another process, nobody knows how many.
fn lost(after: u64, before: u64) -> Value {
    serde_json::json!({ "type": "lost", "after": after, "before": before })
}

/// The pairs of a line as they are, and its number.
fn json(sequence: u64, line: &str) -> Value {
    let mut map = Map::new();
    let pairs = url::decode(line.as_bytes()).unwrap_or_default();
    for (key, value) in pairs.iter() {
        map.entry(key).or_insert_with(|| Value::from(value));
    }
    map.insert("sequence".to_owned(), Value::from(sequence));
    Value::Object(map)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Wanted = Result<(Option<Dialect>, Option<u64>), &'static str>;

    fn asked(query: &str, head: Head<'_>) -> Wanted {
        let pairs = url::decode(query.as_bytes()).map_err(|_| "too big")?;
        Asked::read(&pairs, &head).map(|asked| (asked.dialect, asked.since))
    }

    #[test]
    fn what_a_client_asks_for() {
        let plain = Head::default();
        assert_eq!(asked("type=streamevents", plain), Ok((Some(Dialect::Lines), None)));
        assert_eq!(asked("type=streamevents&since=", plain), Ok((Some(Dialect::Numbered), None)));
        assert_eq!(asked("since=12&type=x", plain), Ok((Some(Dialect::Numbered), Some(12))));
        assert_eq!(asked("format=sse", plain), Ok((Some(Dialect::Sse), None)));
        let browser = Head { accept: Some("text/event-stream"), last_event: Some("7"), ..plain };
        assert_eq!(asked("", browser), Ok((Some(Dialect::Sse), Some(7))));
        assert_eq!(asked("since=9", browser), Ok((Some(Dialect::Sse), Some(9))));
        let socket = Head { upgrade: Some("WebSocket"), ..plain };
        assert_eq!(asked("since=9", socket), Ok((None, Some(9))));
        for wrong in ["since=x", "since=-1", "format=xml"] {
            assert!(asked(wrong, plain).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_line_in_every_dialect() {
        let line = "type=tape&recid=a&filename=x%2Fy&tags=&";
        let batch = Batch { lost: Some((3, 6)), lines: vec![(6, line.into())] };
        let said = |dialect| {
            let mut out = Vec::new();
            write(dialect, &batch, &mut out);
            String::from_utf8(out).unwrap()
        };
        let object = r#"{"filename":"x/y","recid":"a","sequence":6,"tags":"","type":"tape"}"#;
        let gap = r#"{"after":3,"before":6,"type":"lost"}"#;
        assert_eq!(said(Dialect::Lines), format!("{line}\r\n"));
        assert_eq!(
            said(Dialect::Numbered),
            format!("type=lost&after=3&before=6&\r\n{line}sequence=6&\r\n")
        );
        assert_eq!(
            said(Dialect::Sse),
            format!("event: lost\ndata: {gap}\n\nid: 6\ndata: {object}\n\n")
        );
        assert_eq!(texts(&batch).collect::<Vec<_>>(), [gap, object]);
    }
}
