//! A recording as the API and the list show it.

use super::{
    search::list,
    session::{DbError, Row, Session},
};
use serde::Serialize;
use std::collections::BTreeMap;

/// A recording. Times are Unix seconds.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Recording {
    /// Its row.
    pub id: i64,
    /// Recorder that has the file.
    pub hostname: String,
    /// The recording's name (orkuid).
    pub recid: String,
    /// `live`, `stopped`, `ready`, or `interrupted`: its recorder died.
    pub state: String,
    /// First packet.
    pub started: i64,
    /// End of the call; not known while live.
    pub stopped: Option<i64>,
    /// When the file was reported finished.
    pub ready: Option<i64>,
    /// Seconds.
    pub duration: i64,
    /// `in`, `out` or `unkn`.
    pub direction: String,
    /// The monitored party.
    pub localparty: String,
    /// The number the call came in through.
    pub localentrypoint: String,
    /// The other party.
    pub remoteparty: String,
    /// Address of the local party.
    pub localip: String,
    /// Address of the remote party.
    pub remoteip: String,
    /// SIP Call-ID.
    pub nativecallid: String,
    /// Recorder channel.
    pub captureport: String,
    /// Service name of the recorder.
    pub service: String,
    /// Somebody asked for it.
    pub ondemand: bool,
    /// Which sides are kept.
    pub side: String,
    /// Relative to the recorder's audio directory.
    pub filename: String,
    /// `KEEP`, `DROP` or `NEITHER`: what its user asked for.
    pub keep: String,
    /// When nothing kept it and the recorder was told to delete the file.
    pub discarded: Option<i64>,
    /// When it may be deleted; `None`: never.
    pub expires: Option<i64>,
    /// SHA-256 of the file in hexadecimal, empty if its recorder did not tell.
    pub sha256: String,
    /// Under a legal hold.
    pub held: bool,
    /// Whose it is.
    pub users: Vec<Owner>,
    /// Tags such as `codec`, `packets`, `lost`.
    pub tags: BTreeMap<String, String>,
    /// Tags of moments such as `dtmfdigit`, in the order of their offsets.
    pub moments: Vec<Moment>,
}

/// A person whose call it was.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Owner {
    /// The API's `userid`.
    pub userid: i64,
    /// First and last name.
    pub name: String,
    /// `local`, `remote`, or `cti`: as a telephone system told.
    pub side: String,
    /// By which the person was known.
    pub loginstring: String,
    /// From when, Unix seconds: the begin of the call, or when the agent came.
    pub since: i64,
    /// Until when; `None`: to the end.
    pub until: Option<i64>,
}

/// A tag of a moment of a recording.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Moment {
    /// Milliseconds from the start of the recording.
    pub offsetmsec: i64,
    /// What kind of tag.
    pub tagtype: String,
    /// What it says.
    pub tagtext: String,
}

const FIELDS: &str = "SELECT t.id, t.hostname, t.recid, CASE WHEN t.state = 'live'
     AND t.interrupted IS NOT NULL THEN 'interrupted' ELSE t.state END, t.started, t.stopped, t.ready,
     t.duration, t.direction, t.localparty, t.localentrypoint, t.remoteparty, t.localip, t.remoteip,
     t.nativecallid, t.captureport, t.service, t.ondemand, t.side, t.filename, t.keep, t.discarded,
     t.expires, EXISTS (SELECT 1 FROM legal_hold h WHERE h.tape = t.id AND h.until IS NULL),
     t.sha256 FROM tape t WHERE t.id IN";

/// The recordings of these rows, in this order.
pub(super) fn read(session: &mut dyn Session, ids: &[i64]) -> Result<Vec<Recording>, DbError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let wanted = list(ids);
    let mut found = BTreeMap::new();
    for row in session.rows(&format!("{FIELDS} ({wanted})"), &[])? {
        let recording = recording(&row)?;
        found.insert(recording.id, recording);
    }
    let sql = format!("SELECT tape, key, value FROM tape_tag WHERE tape IN ({wanted})");
    for row in session.rows(&sql, &[])? {
        if let Some(recording) = found.get_mut(&row.get(0)?) {
            recording.tags.insert(row.get(1)?, row.get(2)?);
        }
    }
    let sql = format!(
        "SELECT t.id, m.offsetmsec, m.tagtype, m.tagtext FROM tape t
         JOIN moment_tag m ON m.recid = t.recid WHERE t.id IN ({wanted})
         ORDER BY t.id, m.offsetmsec, m.tagtype, m.tagtext"
    );
    for row in session.rows(&sql, &[])? {
        if let Some(recording) = found.get_mut(&row.get(0)?) {
            let (tagtype, tagtext) = (row.get(2)?, row.get(3)?);
            recording.moments.push(Moment { offsetmsec: row.get(1)?, tagtype, tagtext });
        }
    }
    let sql = format!(
        "SELECT s.tape, u.id, u.firstname, u.lastname, s.side, s.loginstring, s.since, s.until
         FROM segment s JOIN orkuser u ON u.id = s.orkuser WHERE s.tape IN ({wanted})
         ORDER BY s.tape, s.side, s.since"
    );
    for row in session.rows(&sql, &[])? {
        if let Some(recording) = found.get_mut(&row.get(0)?) {
            let (first, last): (String, String) = (row.get(2)?, row.get(3)?);
            recording.users.push(Owner {
                userid: row.get(1)?,
                name: format!("{first} {last}").trim().to_owned(),
                side: row.get(4)?,
                loginstring: row.get(5)?,
                since: row.get(6)?,
                until: row.get(7)?,
            });
        }
    }
    Ok(ids.iter().filter_map(|id| found.remove(id)).collect())
}

fn recording(row: &Row) -> Result<Recording, DbError> {
    Ok(Recording {
        id: row.get(0)?,
        hostname: row.get(1)?,
        recid: row.get(2)?,
        state: row.get(3)?,
        started: row.get(4)?,
        stopped: row.get(5)?,
        ready: row.get(6)?,
        duration: row.get(7)?,
        direction: row.get(8)?,
        localparty: row.get(9)?,
        localentrypoint: row.get(10)?,
        remoteparty: row.get(11)?,
        localip: row.get(12)?,
        remoteip: row.get(13)?,
        nativecallid: row.get(14)?,
        captureport: row.get(15)?,
        service: row.get(16)?,
        ondemand: row.get(17)?,
        side: row.get(18)?,
        filename: row.get(19)?,
        keep: row.get(20)?,
        discarded: row.get(21)?,
        expires: row.get(22)?,
        held: row.get(23)?,
        sha256: row.get(24)?,
        users: Vec::new(),
        tags: BTreeMap::new(),
        moments: Vec::new(),
    })
}
