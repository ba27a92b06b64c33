//! The audit file: every command, every listener and every deletion, one JSON object a line.
//!
//! Law: lines are only ever appended, whole, before the client has its answer; the file is put aside when
//! it has grown, and so many of them are kept. A line that cannot be written is counted and logged; the
//! command was carried out all the same, for a full disk must not keep a pause from being made.

use jiff::Timestamp;
use orkbase::{legible, message::Pairs};
use serde_json::{Map, Value, json};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    net::SocketAddr,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

/// Longest text of a parameter that is written down, in bytes.
const MAX_TEXT: usize = 512;
/// Parameters that are written down.
const MAX_PAIRS: usize = 32;
/// Parameters whose text is nobody's business.
const SECRET: [&str; 3] = ["token", "password", "pwd"];

/// One command.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// Who asked; `None` for a tracker's answer.
    pub from: Option<SocketAddr>,
    /// By what name: of a token, `certificate`, or a tracker.
    pub by: Option<&'a str>,
    /// GET or POST; empty for a tracker's answer.
    pub method: &'a str,
    /// What for; empty for nothing that is known.
    pub command: &'a str,
    /// With which parameters.
    pub pairs: &'a Pairs,
    /// HTTP status of the answer.
    pub status: u16,
    /// What the answer says.
    pub success: bool,
    /// Recordings that matched, where that is asked.
    pub matched: Option<u32>,
}

impl Entry<'_> {
    fn line(&self, at: Timestamp) -> String {
        let text = |key: &str, value: &str| {
            if SECRET.iter().any(|secret| key.eq_ignore_ascii_case(secret)) {
                return "***".to_owned();
            }
            let mut end = value.len().min(MAX_TEXT);
            while !value.is_char_boundary(end) {
                end -= 1;
            }
            value.get(..end).unwrap_or_default().to_owned()
        };
        let mut parameters = Map::new();
        for (key, value) in self.pairs.iter().filter(|(key, _)| *key != "type").take(MAX_PAIRS) {
            // As commands read them: the first of two counts.
            let name = text("", key);
            parameters.entry(name).or_insert_with(|| Value::String(text(key, value)));
        }
        let command = text("", self.command);
        let mut line = json!({
            "at": at.to_string(), "command": command, "parameters": parameters,
            "status": self.status, "success": self.success,
        });
        if let Some(line) = line.as_object_mut() {
            line.extend(self.from.map(|from| ("from".to_owned(), from.to_string().into())));
            let method = Some(self.method).filter(|method| !method.is_empty());
            line.extend(method.map(|method| ("method".to_owned(), method.into())));
            line.extend(self.matched.map(|matched| ("matched".to_owned(), Value::from(matched))));
            line.extend(self.by.map(|by| ("by".to_owned(), Value::from(by))));
        }
        format!("{}\n", legible::json(&line.to_string()))
    }
}

struct Open {
    file: File,
    bytes: u64,
}

/// Writes commands down.
pub struct Audit {
    path: Option<PathBuf>,
    max_bytes: u64,
    files: u32,
    open: Mutex<Option<Open>>,
    written: AtomicU64,
    failed: AtomicU64,
}

impl std::fmt::Debug for Audit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Audit").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Audit {
    /// Appends to `path`; without one only the log is told. So many files are kept, each of about
    /// `max_bytes`.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn new(path: Option<PathBuf>, max_bytes: u64, files: u32) -> io::Result<Self> {
        let open = path.as_deref().map(open).transpose()?;
        let (written, failed) = (AtomicU64::new(0), AtomicU64::new(0));
        Ok(Self { path, max_bytes, files, open: Mutex::new(open), written, failed })
    }

    /// Writes a command down.
    pub fn note(&self, entry: &Entry<'_>) {
        let line = entry.line(Timestamp::now());
        tracing::info!(target: "audit", "{}", line.trim_end());
        if self.path.is_none() {
            return;
        }
        match self.append(line.as_bytes()) {
            Ok(()) => {
                self.written.fetch_add(1, Relaxed);
            }
            Err(error) => {
                self.failed.fetch_add(1, Relaxed);
                tracing::error!(%error, "cannot write the audit file");
            }
        }
    }

    /// Lines written, and lines that could not be.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        (self.written.load(Relaxed), self.failed.load(Relaxed))
    }

    fn append(&self, line: &[u8]) -> io::Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        let mut place = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let length = u64::try_from(line.len()).unwrap_or(u64::MAX);
        // Taken out: after a failure the file is opened anew.
        let mut now = match place.take() {
            Some(now) => now,
            None => open(path)?,
        };
        if now.bytes > 0 && now.bytes.saturating_add(length) > self.max_bytes {
            now.file.sync_all()?;
            self.put_aside(path)?;
            now = open(path)?;
        }
        now.file.write_all(line)?;
        now.bytes += length;
        *place = Some(now);
        Ok(())
    }

    /// `.1` is the latest, and what is beyond the number goes.
    fn put_aside(&self, path: &Path) -> io::Result<()> {
        let name = |number: u32| match number {
            0 => path.to_owned(),
            number => {
                let mut name = path.as_os_str().to_owned();
                name.push(format!(".{number}"));
                PathBuf::from(name)
            }
        };
        if self.files <= 1 {
            return fs::remove_file(path);
        }
        for number in (0..self.files - 1).rev() {
            match fs::rename(name(number), name(number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

fn open(path: &Path) -> io::Result<Open> {
    let file = OpenOptions::new().append(true).create(true).mode(0o640).open(path)?;
    let bytes = file.metadata()?.len();
    Ok(Open { file, bytes })
}

#[cfg(test)]
mod tests {
    use super::*;
    use orkbase::message::url;

    fn entry<'a>(command: &'a str, pairs: &'a Pairs) -> Entry<'a> {
        let from = "192.0.2.7:4711".parse().ok();
        Entry {
            from,
            by: None,
            method: "GET",
            command,
            pairs,
            status: 200,
            success: true,
            matched: Some(1),
        }
    }

    #[test]
    fn a_line_tells_who_and_what_and_no_secret() {
        let turned = "%E2%80%AE%7F%C2%85";
        let query = format!(
            "type=pause&party=10%22%0A01&name={turned}&token=geheim&x={}",
            "y".repeat(9_000)
        );
        let pairs = url::decode(query.as_bytes()).unwrap();
        let line = entry("pause", &pairs).line(Timestamp::UNIX_EPOCH);
        assert!(line.ends_with("}\n") && line.matches('\n').count() == 1 && line.len() < 1_000);
        let value: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["at"], "1970-01-01T00:00:00Z");
        assert_eq!((&value["from"], &value["matched"]), (&json!("192.0.2.7:4711"), &json!(1)));
        assert_eq!(value["parameters"]["party"], "10\"\n01");
        assert_eq!(value["parameters"]["name"], "\u{202e}\u{7f}\u{85}");
        assert!(line.trim_end().chars().all(legible::is_legible), "{line}");
        assert_eq!(value["parameters"]["token"], "***");
        assert!(value["parameters"].get("type").is_none());
    }

    #[test]
    fn files_are_put_aside_and_no_line_is_lost() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("audit.jsonl");
        let pairs = Pairs::default();
        let line = u64::try_from(entry("pause", &pairs).line(Timestamp::now()).len()).unwrap();
        for _ in 0..2 {
            let audit = Audit::new(Some(path.clone()), 3 * line + 30, 3).unwrap();
            for _ in 0..4 {
                audit.note(&entry("pause", &pairs));
            }
            assert_eq!(audit.counts(), (4, 0));
        }
        let lines =
            |name: &str| fs::read_to_string(home.path().join(name)).unwrap().lines().count();
        assert_eq!(lines("audit.jsonl.2") + lines("audit.jsonl.1") + lines("audit.jsonl"), 8);
        assert_eq!((lines("audit.jsonl.2"), lines("audit.jsonl.1")), (3, 3));
        let audit = Audit::new(Some(path.clone()), 1, 3).unwrap();
        for _ in 0..9 {
            audit.note(&entry("stop", &pairs));
        }
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 3);
        fs::remove_dir_all(home.path()).unwrap();
        audit.note(&entry("stop", &pairs));
        assert_eq!(audit.counts(), (9, 1));
        fs::create_dir(home.path()).unwrap();
        audit.note(&entry("stop", &pairs));
        assert_eq!((audit.counts(), lines("audit.jsonl")), ((10, 1), 1));
    }
}
