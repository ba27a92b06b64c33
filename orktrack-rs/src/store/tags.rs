//! Tags: of a recording, of a moment, and those that wait for a recording.

use super::{
    Outcome, retention, segments,
    session::{DbError, Session, SessionExt, args},
};
use orkbase::message::tag::AddTagMessage;

/// Most tags of moments kept of one recording.
const MAX_TAGS: i64 = 10_000;
/// Longest type or text of a tag, in bytes.
pub const MAX_TEXT: usize = 1000;
/// How long a tag waits for recordings, in seconds.
pub const PATIENCE: u64 = 86_400;
/// Most tags that wait.
const MAX_PENDING: i64 = 10_000;
/// Most recordings that one tag by another tag reaches at once, the newest first.
const MAX_REACHED: i64 = 1000;

/// Writes a tag of a recording, known or not.
///
/// # Errors
/// See [`DbError`].
pub fn put(
    session: &mut dyn Session,
    tag: &AddTagMessage,
    source: &str,
    received: u64,
) -> Result<Outcome, DbError> {
    if tag.tagtype.len() > MAX_TEXT || tag.tagtext.len() > MAX_TEXT {
        return Ok(Outcome::Full);
    }
    let count: Option<i64> =
        session.value("SELECT count(*) FROM moment_tag WHERE recid = ?1", args![&tag.orkuid])?;
    let full = count.unwrap_or(0) >= MAX_TAGS;
    let known: Option<i64> = session.value(
        "SELECT 1 FROM moment_tag
         WHERE recid = ?1 AND offsetmsec = ?2 AND tagtype = ?3 AND tagtext = ?4",
        args![&tag.orkuid, tag.offsetmsec, &tag.tagtype, &tag.tagtext],
    )?;
    if known.is_some() {
        return Ok(Outcome::Repeated);
    }
    if retention::is_gone_everywhere(session, &tag.orkuid)? {
        return Ok(Outcome::Gone);
    }
    if full {
        return Ok(Outcome::Full);
    }
    session.change(
        "INSERT INTO moment_tag (recid, tagtype, tagtext, offsetmsec, localparty, received)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        args![&tag.orkuid, &tag.tagtype, &tag.tagtext, tag.offsetmsec, &tag.localparty, received,],
    )?;
    note_type(session, &tag.tagtype, source, received)?;
    if tag.tagtype != orkbase::message::tag::DTMF_DIGIT {
        apply_pending(session, &tag.orkuid, received)?;
        let tapes: Vec<i64> =
            session.column("SELECT id FROM tape WHERE recid = ?1", args![&tag.orkuid])?;
        for tape in tapes {
            segments::index(session, tape)?;
        }
    }
    Ok(Outcome::Added)
}

/// Remembers that there is such a kind of tag.
pub(super) fn note_type(
    session: &mut dyn Session,
    name: &str,
    source: &str,
    now: u64,
) -> Result<(), DbError> {
    if name.is_empty() {
        return Ok(());
    }
    session.change(
        "INSERT INTO tag_type (name, source, first) VALUES (?1, ?2, ?3)
         ON CONFLICT (name) DO NOTHING",
        args![name, source, now],
    )?;
    Ok(())
}

/// A tag for every recording that has another tag.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ByTag {
    /// The tag that decides.
    pub find: (String, String),
    /// The tag to add: type and text.
    pub add: (String, String),
}

/// Adds a tag to the recordings that have another tag, now and for [`PATIENCE`]. Returns how many
/// have it now; `None` if too many tags wait already.
///
/// # Errors
/// See [`DbError`].
pub fn by_tag(session: &mut dyn Session, rule: &ByTag, now: u64) -> Result<Option<usize>, DbError> {
    session.change("DELETE FROM pending_tag WHERE until <= ?1", args![now])?;
    let waiting: Option<i64> = session.value("SELECT count(*) FROM pending_tag", &[])?;
    if waiting.unwrap_or(0) >= MAX_PENDING {
        return Ok(None);
    }
    let ((findtype, findtext), (tagtype, tagtext)) = (&rule.find, &rule.add);
    session.change(
        "INSERT INTO pending_tag (findtype, findtext, tagtype, tagtext, until)
         VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (findtype, findtext, tagtype, tagtext) DO UPDATE SET until = excluded.until",
        args![findtype, findtext, tagtype, tagtext, now.saturating_add(PATIENCE)],
    )?;
    let word = segments::key("tag", &format!("{findtype}={findtext}"));
    let reached: Vec<String> = session.column(
        "SELECT t.recid FROM tape_key k JOIN tape t ON t.id = k.tape WHERE k.word = ?1
         ORDER BY k.started DESC, k.tape DESC LIMIT ?2",
        args![word, MAX_REACHED],
    )?;
    for recid in &reached {
        let tag = AddTagMessage {
            orkuid: recid.clone(),
            tagtype: tagtype.clone(),
            tagtext: tagtext.clone(),
            ..AddTagMessage::default()
        };
        put_plain(session, &tag, now)?;
    }
    Ok(Some(reached.len()))
}

/// Gives a recording the tags that wait for the tags it has.
pub(super) fn apply_pending(
    session: &mut dyn Session,
    recid: &str,
    now: u64,
) -> Result<(), DbError> {
    let due = session.rows(
        "SELECT p.tagtype, p.tagtext FROM pending_tag p JOIN moment_tag m
             ON m.tagtype = p.findtype AND m.tagtext = p.findtext
             WHERE m.recid = ?1 AND p.until > ?2
         UNION SELECT p.tagtype, p.tagtext FROM tape t JOIN tape_tag g ON g.tape = t.id
             JOIN pending_tag p ON p.findtype = g.key AND p.findtext = g.value
             WHERE t.recid = ?3 AND p.until > ?4",
        args![recid, now, recid, now],
    )?;
    for row in due {
        let tag = AddTagMessage {
            orkuid: recid.to_owned(),
            tagtype: row.get(0)?,
            tagtext: row.get(1)?,
            ..AddTagMessage::default()
        };
        put_plain(session, &tag, now)?;
    }
    Ok(())
}

/// A tag that another tag brings brings no further ones: rules cannot run in circles.
fn put_plain(session: &mut dyn Session, tag: &AddTagMessage, now: u64) -> Result<(), DbError> {
    session.change(
        "INSERT INTO moment_tag (recid, tagtype, tagtext, offsetmsec, localparty, received)
         VALUES (?1, ?2, ?3, 0, '', ?4)
         ON CONFLICT (recid, offsetmsec, tagtype, tagtext) DO NOTHING",
        args![&tag.orkuid, &tag.tagtype, &tag.tagtext, now],
    )?;
    note_type(session, &tag.tagtype, "user", now)?;
    let tapes: Vec<i64> =
        session.column("SELECT id FROM tape WHERE recid = ?1", args![&tag.orkuid])?;
    for tape in tapes {
        segments::index(session, tape)?;
    }
    Ok(())
}
