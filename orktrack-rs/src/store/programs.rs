//! Programs: which calls are kept, and for how long.
//!
//! Law: a legal hold keeps a recording, then what its user asked for (KEEP, DROP), then whether the
//! person may be recorded, then the programs. With no active program everything is kept.

use super::{
    retention,
    session::{DbError, Row, Session, SessionExt, args},
};
use crate::ledger::Tape;
use jiff::{Timestamp, tz::TimeZone};
use serde::{Deserialize, Serialize};

/// What a program asks of a call. What is empty or absent is not asked.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Program {
    /// Its row; 0 for a new one.
    #[serde(default)]
    pub id: i64,
    /// For people.
    pub name: String,
    /// Whether it counts.
    #[serde(default = "yes")]
    pub active: bool,
    /// `in`, `out`, `unkn`, or empty.
    #[serde(default)]
    pub direction: String,
    /// Shortest call, seconds.
    #[serde(default)]
    pub min_seconds: Option<i64>,
    /// Longest call, seconds.
    #[serde(default)]
    pub max_seconds: Option<i64>,
    /// So many of a hundred calls; which ones is decided by their names.
    #[serde(default = "all_of_them")]
    pub percent: i64,
    /// Comma separated; a final `*` stands for any ending.
    #[serde(default)]
    pub localparty: String,
    /// The same for the other side.
    #[serde(default)]
    pub remoteparty: String,
    /// Calls of this group's people.
    #[serde(default)]
    pub orkgroup: Option<i64>,
    /// Calls of this person.
    #[serde(default)]
    pub orkuser: Option<i64>,
    /// Digits 1 (Monday) to 7.
    #[serde(default)]
    pub weekdays: String,
    /// First minute of the day.
    #[serde(default)]
    pub from_minute: i64,
    /// Minute of the day from which it does not count any more; before `from_minute`: over midnight.
    #[serde(default = "all_day")]
    pub to_minute: i64,
    /// Retention class.
    #[serde(default)]
    pub retention: Option<i64>,
}

/// Longest text of a program, in bytes.
const MAX_TEXT: usize = 10_000;

impl Program {
    /// Whether every value is within its bounds.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let texts = [&self.name, &self.localparty, &self.remoteparty, &self.weekdays];
        !self.name.is_empty()
            && texts.iter().all(|text| text.len() <= MAX_TEXT)
            && ["", "in", "out", "unkn"].contains(&&*self.direction)
            && (0..=100).contains(&self.percent)
            && (0..1440).contains(&self.from_minute)
            && (0..=1440).contains(&self.to_minute)
            && [self.min_seconds, self.max_seconds].iter().flatten().all(|seconds| *seconds >= 0)
            && self.weekdays.chars().all(|day| ('1'..='7').contains(&day))
    }
}

const fn yes() -> bool {
    true
}

const fn all_of_them() -> i64 {
    100
}

const fn all_day() -> i64 {
    1440
}

const FIELDS: &str = "SELECT id, name, active, direction, min_seconds, max_seconds, percent,
     localparty, remoteparty, orkgroup, orkuser, weekdays, from_minute, to_minute, retention
     FROM program";

/// Every program, by name.
///
/// # Errors
/// See [`DbError`].
pub fn all(session: &mut dyn Session) -> Result<Vec<Program>, DbError> {
    session.rows(&format!("{FIELDS} ORDER BY name"), &[])?.iter().map(program).collect()
}

/// Writes a program; one of the same name is replaced. Returns its row.
///
/// # Errors
/// See [`DbError`]; [`DbError::Law`] if it makes no sense.
pub fn put(session: &mut dyn Session, program: &Program) -> Result<i64, DbError> {
    let id = session.value(
        "INSERT INTO program (name, active, direction, min_seconds, max_seconds, percent,
             localparty, remoteparty, orkgroup, orkuser, weekdays, from_minute, to_minute, retention)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)
         ON CONFLICT (name) DO UPDATE SET active = excluded.active, direction = excluded.direction,
             min_seconds = excluded.min_seconds, max_seconds = excluded.max_seconds,
             percent = excluded.percent, localparty = excluded.localparty,
             remoteparty = excluded.remoteparty, orkgroup = excluded.orkgroup,
             orkuser = excluded.orkuser, weekdays = excluded.weekdays,
             from_minute = excluded.from_minute, to_minute = excluded.to_minute,
             retention = excluded.retention
         RETURNING id",
        args![
            &program.name,
            program.active,
            &program.direction,
            program.min_seconds,
            program.max_seconds,
            program.percent,
            &program.localparty,
            &program.remoteparty,
            program.orkgroup,
            program.orkuser,
            &program.weekdays,
            program.from_minute,
            program.to_minute,
            program.retention,
        ],
    )?;
    id.ok_or_else(|| DbError::Strange("a row without a number".to_owned()))
}

/// Removes a program; `false` if there is none of that number.
///
/// # Errors
/// See [`DbError`].
pub fn remove(session: &mut dyn Session, id: i64) -> Result<bool, DbError> {
    Ok(session.change("DELETE FROM program WHERE id = ?1", args![id])? > 0)
}

/// A call is over that its user did not want: a recorder that was told deletes the file and reports no
/// `ready`; one that reports it is answered then.
pub(super) fn expect_discard(
    session: &mut dyn Session,
    tape: i64,
    now: u64,
) -> Result<(), DbError> {
    if !retention::is_held(session, tape)? {
        session.change(
            "UPDATE tape SET discarded = ?1 WHERE id = ?2 AND keep = 'DROP'",
            args![now, tape],
        )?;
    }
    Ok(())
}

/// Decides about a finished recording, and notes it.
pub(super) fn keep(
    session: &mut dyn Session,
    tape: i64,
    sum: &Tape,
    now: u64,
) -> Result<bool, DbError> {
    let facts = Facts::read(session, tape, sum)?;
    let mut matching = Vec::new();
    let mut any = false;
    for row in session.rows(&format!("{FIELDS} WHERE active = 1 ORDER BY id"), &[])? {
        let program = program(&row)?;
        any = true;
        if facts.fit(session, &program)? {
            matching.push(program);
        }
    }
    let kept = retention::is_held(session, tape)?
        || match facts.keep.as_str() {
            "KEEP" => true,
            "DROP" => false,
            _ => facts.recordable && (!any || !matching.is_empty()),
        };
    session.change("DELETE FROM tape_program WHERE tape = ?1", args![tape])?;
    for program in matching.iter().filter(|_| kept) {
        session.change(
            "INSERT INTO tape_program (tape, program) VALUES (?1, ?2)",
            args![tape, program.id],
        )?;
    }
    let discarded: Option<u64> = (!kept).then_some(now);
    session.change("UPDATE tape SET discarded = ?1 WHERE id = ?2", args![discarded, tape])?;
    let classes: Vec<i64> = matching.iter().filter_map(|program| program.retention).collect();
    retention::classify(session, tape, facts.started, &classes)?;
    Ok(kept)
}

/// What programs look at.
struct Facts<'a> {
    sum: &'a Tape,
    started: i64,
    keep: String,
    users: Vec<i64>,
    recordable: bool,
}

impl<'a> Facts<'a> {
    fn read(session: &mut dyn Session, tape: i64, sum: &'a Tape) -> Result<Self, DbError> {
        let row = session.first("SELECT started, keep FROM tape WHERE id = ?1", args![tape])?;
        let row = row.ok_or_else(|| DbError::Strange("a recording went away".to_owned()))?;
        let users = session.rows(
            "SELECT DISTINCT u.id, u.recordable FROM segment s JOIN orkuser u ON u.id = s.orkuser
             WHERE s.tape = ?1 ORDER BY u.id",
            args![tape],
        )?;
        let mut ids = Vec::new();
        let mut recordable = users.is_empty();
        for user in &users {
            ids.push(user.get(0)?);
            // One of the two may be recorded: the call is.
            recordable |= user.get::<bool>(1)?;
        }
        Ok(Self { sum, started: row.get(0)?, keep: row.get(1)?, users: ids, recordable })
    }

    fn fit(&self, session: &mut dyn Session, program: &Program) -> Result<bool, DbError> {
        let facts = &self.sum.facts;
        let seconds = i64::try_from(facts.duration).unwrap_or(i64::MAX);
        let plain = (program.direction.is_empty() || program.direction == facts.direction.as_str())
            && program.min_seconds.is_none_or(|min| seconds >= min)
            && program.max_seconds.is_none_or(|max| seconds <= max)
            && chosen(&facts.recid, program.percent)
            && party_fits(&program.localparty, &facts.localparty)
            && party_fits(&program.remoteparty, &facts.remoteparty)
            && program.orkuser.is_none_or(|user| self.users.contains(&user))
            && in_schedule(program, self.started, &TimeZone::system());
        let Some(group) = program.orkgroup.filter(|_| plain) else { return Ok(plain) };
        for user in &self.users {
            let member: Option<i64> = session.value(
                "SELECT orkuser FROM group_member WHERE orkgroup = ?1 AND orkuser = ?2",
                args![group, *user],
            )?;
            if member.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Whether a recording is among the chosen ones of a hundred: always the same answer for one name.
fn chosen(recid: &str, percent: i64) -> bool {
    // FNV-1a, the 32 bits of it.
    let hash = recid
        .bytes()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    i64::from((hash ^ (hash >> 16)) % 100) < percent
}

fn party_fits(wanted: &str, party: &str) -> bool {
    let mut wanted = wanted.split(',').map(str::trim).filter(|one| !one.is_empty()).peekable();
    wanted.peek().is_none()
        || wanted.any(|one| match one.strip_suffix('*') {
            Some(beginning) => party.starts_with(beginning),
            None => one == party,
        })
}

fn in_schedule(program: &Program, started: i64, zone: &TimeZone) -> bool {
    let Ok(moment) = Timestamp::from_second(started) else { return false };
    let moment = moment.to_zoned(zone.clone());
    let day = moment.weekday().to_monday_one_offset().to_string();
    let minute = i64::from(moment.hour()) * 60 + i64::from(moment.minute());
    let (from, to) = (program.from_minute, program.to_minute);
    let in_time =
        if from <= to { (from..to).contains(&minute) } else { minute >= from || minute < to };
    in_time && (program.weekdays.is_empty() || program.weekdays.contains(&day))
}

fn program(row: &Row) -> Result<Program, DbError> {
    Ok(Program {
        id: row.get(0)?,
        name: row.get(1)?,
        active: row.get(2)?,
        direction: row.get(3)?,
        min_seconds: row.get(4)?,
        max_seconds: row.get(5)?,
        percent: row.get(6)?,
        localparty: row.get(7)?,
        remoteparty: row.get(8)?,
        orkgroup: row.get(9)?,
        orkuser: row.get(10)?,
        weekdays: row.get(11)?,
        from_minute: row.get(12)?,
        to_minute: row.get(13)?,
        retention: row.get(14)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        sample,
        store::{live, scratch, tapes, users},
    };
    use orkbase::message::tape::Stage;

    fn named(name: &str) -> Program {
        let text = serde_json::json!({ "name": name });
        serde_json::from_value(text).unwrap()
    }

    fn kept(session: &mut dyn Session, recid: &str) -> bool {
        !tapes::put(session, &sample::tape(recid, Stage::Ready), 10, "").unwrap().deletetape
    }

    #[test]
    fn without_programs_all_is_kept_and_with_one_only_what_it_asks_for() {
        let mut session = scratch();
        assert!(kept(session.as_mut(), "A"));
        put(session.as_mut(), &Program { min_seconds: Some(13), ..named("long") }).unwrap();
        assert!(!kept(session.as_mut(), "B"), "12 s");
        put(session.as_mut(), &Program { localparty: "7,10*".to_owned(), ..named("desk") })
            .unwrap();
        assert!(kept(session.as_mut(), "C"));
        put(session.as_mut(), &Program { direction: "in".to_owned(), ..named("desk") }).unwrap();
        assert!(!kept(session.as_mut(), "D"));
        put(session.as_mut(), &Program { active: false, ..named("desk") }).unwrap();
        put(session.as_mut(), &Program { active: false, ..named("long") }).unwrap();
        assert!(kept(session.as_mut(), "E"));
        // A repeated message is answered as the first one was.
        let again = tapes::put(session.as_mut(), &sample::tape("B", Stage::Ready), 11, "").unwrap();
        assert!(again.deletetape);
    }

    #[test]
    fn what_the_user_asked_for_outweighs_programs_and_a_hold_outweighs_all() {
        let mut session = scratch();
        put(session.as_mut(), &Program { min_seconds: Some(13), ..named("long") }).unwrap();
        for (recid, keep, expected) in [("A", "KEEP", true), ("B", "DROP", false)] {
            tapes::put(session.as_mut(), &sample::tape(recid, Stage::Start), 9, "").unwrap();
            let whose = live::Whose::OrkUid(recid.to_owned());
            let call = live::find(session.as_mut(), &whose).unwrap().unwrap();
            live::set_keep(session.as_mut(), &call, keep).unwrap();
            assert_eq!(kept(session.as_mut(), recid), expected);
        }
        tapes::put(session.as_mut(), &sample::tape("C", Stage::Start), 9, "").unwrap();
        let call = live::find(session.as_mut(), &live::Whose::OrkUid("C".into())).unwrap().unwrap();
        live::set_keep(session.as_mut(), &call, "DROP").unwrap();
        retention::hold(session.as_mut(), call.id, "court", "admin", 9).unwrap();
        assert!(kept(session.as_mut(), "C"));
    }

    #[test]
    fn who_may_not_be_recorded_is_not_kept() {
        let mut session = scratch();
        let user = users::Change {
            loginstring: "1001".to_owned(),
            recordable: Some(false),
            ..users::Change::default()
        };
        users::put(session.as_mut(), &user, 5).unwrap();
        assert!(!kept(session.as_mut(), "A"));
    }

    #[test]
    fn schedules_and_shares() {
        // 02:17 UTC on a Saturday.
        let at = |program: &Program| in_schedule(program, 1_795_227_424, &TimeZone::UTC);
        let night = Program { from_minute: 22 * 60, to_minute: 6 * 60, ..named("night") };
        assert!(at(&named("always")) && at(&night));
        assert!(at(&Program { weekdays: "67".to_owned(), ..named("weekend") }));
        assert!(!at(&Program { weekdays: "12345".to_owned(), ..named("work") }));
        assert!(!at(&Program { from_minute: 138, ..named("later") }));
        let share = (0..10_000).filter(|n| chosen(&format!("20261121_{n}_AAAB"), 30)).count();
        assert!((2700..3300).contains(&share), "{share}");
        assert!(chosen("x", 100) && !chosen("x", 0));
    }
}
