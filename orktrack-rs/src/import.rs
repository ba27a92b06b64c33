//! People from a CSV file, for `addusers`, `extdbsync` and the command line.
//!
//! The first line names the columns, in any order and case: `loginstring` (several are parted by `;`),
//! `firstname`, `lastname`, `email`, `recordable`, `external`, `groupname`, `securitygroupname`.

use crate::store::{
    session::{DbError, Session},
    users::{self, Change, Given},
};
use orkbase::message::words::read_bool;
use std::{
    fmt, fs,
    io::{self, Read},
    path::Path,
};

/// Longest file, in bytes.
const MAX_FILE: u64 = 64 << 20;
/// Most people in one file.
const MAX_PEOPLE: usize = 100_000;
/// Most columns, and longest cell in bytes.
const MAX_CELLS: usize = 64;
const MAX_CELL: usize = 4096;

/// Why nothing was imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// It cannot be read.
    #[error("cannot read {file}: {cause}")]
    Read {
        /// As it was asked for.
        file: String,
        /// Why.
        cause: io::Error,
    },
    /// It lies elsewhere.
    #[error("{0} does not lie below the import folder")]
    Outside(String),
    /// A line makes no sense.
    #[error("line {line}: {why}")]
    Line {
        /// Counted from 1.
        line: usize,
        /// What.
        why: String,
    },
}

/// A person with all login strings; the first one finds the person.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Person {
    change: Change,
    more: Vec<String>,
}

/// What an import did.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Done {
    /// People that were new.
    pub added: usize,
    /// People that were known.
    pub updated: usize,
    /// Login strings that belong to somebody else.
    pub refused: usize,
}

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { added, updated, refused } = self;
        write!(f, "added:{added} updated:{updated} refused:{refused}")
    }
}

/// Reads a file below `root`; links that lead out of it are not followed.
///
/// # Errors
/// See [`ImportError`].
pub fn read(root: &Path, file: &str) -> Result<Vec<Person>, ImportError> {
    let cannot = |cause| ImportError::Read { file: file.to_owned(), cause };
    let root = root.canonicalize().map_err(cannot)?;
    let path = root.join(file).canonicalize().map_err(cannot)?;
    if !path.starts_with(&root) {
        return Err(ImportError::Outside(file.to_owned()));
    }
    read_file(&path)
}

/// Reads a file.
///
/// # Errors
/// See [`ImportError`].
pub fn read_file(path: &Path) -> Result<Vec<Person>, ImportError> {
    let cannot = |cause| ImportError::Read { file: path.display().to_string(), cause };
    let mut text = String::new();
    let read = fs::File::open(path)
        .and_then(|file| file.take(MAX_FILE + 1).read_to_string(&mut text))
        .map_err(cannot)?;
    if u64::try_from(read).unwrap_or(u64::MAX) > MAX_FILE {
        let too_long = io::Error::other(format!("it is longer than {} MiB", MAX_FILE >> 20));
        return Err(cannot(too_long));
    }
    parse(&text)
}

fn parse(text: &str) -> Result<Vec<Person>, ImportError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut lines = rows(text)?.into_iter();
    let wrong = |line: usize, why: &str| ImportError::Line { line, why: why.to_owned() };
    let Some((_, heading)) = lines.next() else { return Err(wrong(1, "the file is empty")) };
    let heading: Vec<String> = heading.iter().map(|name| name.trim().to_lowercase()).collect();
    if !heading.iter().any(|name| name == "loginstring") {
        return Err(wrong(1, "no column is named loginstring"));
    }
    let mut people = Vec::new();
    for (line, cells) in lines {
        let cell = |wanted: &str| {
            let place = heading.iter().position(|name| name == wanted)?;
            cells.get(place).map(|cell| cell.trim()).filter(|cell| !cell.is_empty())
        };
        let flag = |wanted: &str| match cell(wanted) {
            None => Ok(None),
            Some(text) => read_bool(text)
                .map(Some)
                .ok_or_else(|| wrong(line, &format!("{wanted} is true or false, not {text}"))),
        };
        let text = |wanted: &str| cell(wanted).map(str::to_owned);
        let mut strings = cell("loginstring").unwrap_or_default().split(';').map(str::trim);
        let Some(first) = strings.next().filter(|first| !first.is_empty()) else {
            return Err(wrong(line, "no loginstring"));
        };
        if people.len() >= MAX_PEOPLE {
            return Err(wrong(line, "more than 100000 people"));
        }
        let change = Change {
            loginstring: first.to_owned(),
            firstname: text("firstname"),
            lastname: text("lastname"),
            email: text("email"),
            recordable: flag("recordable")?,
            external: flag("external")?,
            group: text("groupname"),
            security: text("securitygroupname"),
        };
        let more = strings.filter(|more| !more.is_empty()).map(str::to_owned).collect();
        people.push(Person { change, more });
    }
    Ok(people)
}

/// A row of cells and the line on which it begins.
type Row = (usize, Vec<String>);

/// Rows of cells (RFC 4180) that are not all blank. `;` does not part cells.
fn rows(text: &str) -> Result<Vec<Row>, ImportError> {
    let (mut rows, mut cells, mut cell) = (Vec::<Row>::new(), Vec::<String>::new(), String::new());
    let keep = |rows: &mut Vec<Row>, line: usize, cells: Vec<String>| {
        if cells.iter().any(|cell| !cell.trim().is_empty()) {
            rows.push((line, cells));
        }
    };
    let (mut line, mut began, mut quoted) = (1, 1, false);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let why = if cells.len() >= MAX_CELLS {
            Some(format!("more than {MAX_CELLS} columns"))
        } else if cell.len() > MAX_CELL {
            Some(format!("a cell of more than {MAX_CELL} bytes"))
        } else {
            // The first row names the columns, and one too many is told of below.
            (rows.len() > MAX_PEOPLE + 2).then(|| format!("more than {MAX_PEOPLE} people"))
        };
        if let Some(why) = why {
            return Err(ImportError::Line { line: began, why });
        }
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                cell.push('"');
            }
            '"' if quoted || cell.is_empty() => quoted = !quoted,
            ',' if !quoted => cells.push(std::mem::take(&mut cell)),
            '\n' if !quoted => {
                cells.push(std::mem::take(&mut cell));
                keep(&mut rows, began, std::mem::take(&mut cells));
                line += 1;
                began = line;
            }
            '\r' if !quoted => {}
            other => {
                line += usize::from(other == '\n');
                cell.push(other);
            }
        }
    }
    if !cell.is_empty() || !cells.is_empty() {
        cells.push(cell);
        keep(&mut rows, began, cells);
    }
    Ok(rows)
}

/// Writes people, all or none. Without `keep` a person has the login strings of the file only.
///
/// # Errors
/// See [`DbError`].
pub fn store(
    session: &mut dyn Session,
    people: &[Person],
    keep: bool,
    recordable: Option<bool>,
    now: u64,
) -> Result<Done, DbError> {
    let mut done = Done::default();
    for Person { change, more } in people {
        let known = users::find(session, &change.loginstring)?.is_some();
        let change = Change { recordable: change.recordable.or(recordable), ..change.clone() };
        let user = users::put(session, &change, now)?;
        if known {
            done.updated += 1;
        } else {
            done.added += 1;
        }
        if !keep {
            let mut kept = more.clone();
            kept.push(change.loginstring.clone());
            users::take_login_strings_but(session, user, &kept, now)?;
        }
        for string in more {
            match users::add_login_string(session, &change.loginstring, string, now)? {
                Given::Done => {}
                Given::InUse | Given::NobodyFound => done.refused += 1,
            }
        }
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::scratch;

    #[test]
    fn people_from_a_file() {
        let text = "\u{feff}LastName,firstname,loginstring,recordable,groupname\r\n\
                    \"Doe, Jr.\",\"Jo \"\"J\"\" \",5001;sip:jo@x,no,Sales\r\n\r\nRoe,Al,5002,,\r\n";
        let people = parse(text).unwrap();
        assert_eq!(people.len(), 2);
        assert_eq!(people[0].change.lastname.as_deref(), Some("Doe, Jr."));
        assert_eq!(people[0].change.firstname.as_deref(), Some("Jo \"J\""));
        let mut session = scratch();
        let done = store(session.as_mut(), &people, true, None, 5).unwrap();
        assert_eq!(done.to_string(), "added:2 updated:0 refused:0");
        let user = users::after(session.as_mut(), 0, 10).unwrap().remove(0);
        assert_eq!((user.recordable, user.groups), (false, vec!["Sales".to_owned()]));
        assert_eq!(user.loginstrings, ["5001", "sip:jo@x"]);

        // Again, with another set of login strings; one of them is somebody else's.
        let people = parse("loginstring\n5001;7000;5002\n").unwrap();
        let done = store(session.as_mut(), &people, false, Some(true), 6).unwrap();
        assert_eq!(done, Done { added: 0, updated: 1, refused: 1 });
        let user = users::after(session.as_mut(), 0, 10).unwrap().remove(0);
        assert_eq!((user.recordable, user.loginstrings.len()), (true, 2));
        assert_eq!(user.lastname, "Doe, Jr.", "what is not told stays");
    }

    #[test]
    fn mistakes_have_a_line() {
        let line = |text: &str| parse(text).unwrap_err().to_string();
        assert!(line("").starts_with("line 1: the file is empty"));
        assert!(line("name\n").starts_with("line 1: no column"));
        assert!(
            line("loginstring,firstname\n1,\"a\nb\"\n,x\n").starts_with("line 4: no loginstring")
        );
        assert!(line("loginstring,external\n1,maybe\n").starts_with("line 2: external is true"));
        assert!(line(&",".repeat(70)).starts_with("line 1: more than 64 columns"));
        let long = format!("loginstring\n1\n{}", "x".repeat(MAX_CELL + 2));
        assert!(line(&long).starts_with("line 3: a cell of more than 4096 bytes"));
        let many = format!("loginstring\n{}", "1\n".repeat(MAX_PEOPLE + 1));
        assert!(line(&many).starts_with("line 100002: more than 100000 people"));
    }

    #[test]
    fn only_files_below_the_folder() {
        let home = tempfile::tempdir().unwrap();
        let root = home.path().join("in");
        fs::create_dir(&root).unwrap();
        fs::write(home.path().join("secret.csv"), "loginstring\n1\n").unwrap();
        fs::write(root.join("hr.csv"), "loginstring\n1\n").unwrap();
        std::os::unix::fs::symlink("../secret.csv", root.join("link.csv")).unwrap();
        assert_eq!(read(&root, "hr.csv").unwrap().len(), 1);
        for outside in ["../secret.csv", "link.csv", "/etc/passwd"] {
            assert!(matches!(read(&root, outside), Err(ImportError::Outside(_))), "{outside}");
        }
        assert!(matches!(read(&root, "none.csv"), Err(ImportError::Read { .. })));
    }
}
