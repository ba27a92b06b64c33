//! Finding recordings: filters, sorting, and pages that stay put while recordings come in.
//!
//! Law: a page begins behind the last recording of the page before (a key, not a count), so nothing is
//! shown twice or left out. Each filter has an index; the one that leaves the fewest recordings leads,
//! and the others are looked up for each recording that it finds. Where each leaves very many, recordings
//! are walked through in the order asked for, for a page of them is found soon.

use super::{
    segments,
    session::{DbError, Session, SessionExt, Value},
};
use std::fmt;

pub use super::recording::{Moment, Owner, Recording};

/// Most recordings in one page.
pub const MAX_LIMIT: u32 = 1000;
/// Recordings in a page if nobody says.
pub const DEFAULT_LIMIT: u32 = 100;
/// Most people whose calls are each looked up by index; for more, recordings are looked through in
/// order, and so many people's calls are found soon.
const MAX_LEADS: usize = 32;
/// How far a filter by words is counted before it is taken for long: to look up and sort so many takes as
/// long as to find a page among a million of which so many fit.
const COUNTED: i64 = if cfg!(test) { 60 } else { 12_000 };
/// The same for a filter on a recording's own columns, of which more are looked through in the time.
const COUNTED_PLAIN: i64 = if cfg!(test) { 50 } else { 6000 };

/// A place in the list; the page behind it follows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Cursor {
    /// What is sorted by.
    value: i64,
    id: i64,
}

impl Cursor {
    /// Reads what [`Cursor`] prints.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let (value, id) = text.split_once('.')?;
        Some(Self { value: value.parse().ok()?, id: id.parse().ok()? })
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.value, self.id)
    }
}

/// What the list is sorted by.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Sort {
    /// Begin, newest first.
    #[default]
    Newest,
    /// Begin, oldest first.
    Oldest,
    /// Duration, longest first.
    Longest,
    /// Duration, shortest first.
    Shortest,
}

impl Sort {
    /// Reads a word of the API: `-started`, `started`, `-duration`, `duration`.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        match text {
            "-started" => Some(Self::Newest),
            "started" => Some(Self::Oldest),
            "-duration" => Some(Self::Longest),
            "duration" => Some(Self::Shortest),
            _ => None,
        }
    }

    const fn column(self) -> &'static str {
        match self {
            Self::Newest | Self::Oldest => "started",
            Self::Longest | Self::Shortest => "duration",
        }
    }

    const fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Newest | Self::Longest => ("DESC", "<"),
            Self::Oldest | Self::Shortest => ("ASC", ">"),
        }
    }
}

/// Whose recordings may be seen.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Scope {
    /// Everybody's, and nobody's.
    #[default]
    All,
    /// Those of the people in these groups, and of this person.
    People {
        /// Rows of groups.
        groups: Vec<i64>,
        /// A person.
        user: Option<i64>,
    },
}

/// Which recordings.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Query {
    /// Begun at this Unix second or later.
    pub since: Option<i64>,
    /// Begun before this Unix second.
    pub until: Option<i64>,
    /// The local or the remote party, exactly.
    pub party: Option<String>,
    /// A person on either side.
    pub user: Option<i64>,
    /// A person of this group on either side: its row.
    pub group: Option<i64>,
    /// A tag and what it says.
    pub tag: Option<(String, String)>,
    /// `in`, `out` or `unkn`.
    pub direction: Option<String>,
    /// Shortest, in seconds.
    pub min_duration: Option<i64>,
    /// Longest, in seconds.
    pub max_duration: Option<i64>,
    /// Words that all occur in parties, tags or the native call id.
    pub text: Option<String>,
    /// Order.
    pub sort: Sort,
    /// At most so many: 1 to [`MAX_LIMIT`]; [`DEFAULT_LIMIT`] if `None`.
    pub limit: Option<u32>,
    /// Only what follows this place.
    pub cursor: Option<Cursor>,
    /// Whose.
    pub scope: Scope,
}

/// Recordings and where to go on if there are more.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Page {
    /// In the order asked for.
    pub recordings: Vec<Recording>,
    /// The place behind the last one; `None` if there are no more.
    pub next: Option<Cursor>,
}

/// One page of recordings.
///
/// # Errors
/// See [`DbError`].
pub fn page(session: &mut dyn Session, query: &Query) -> Result<Page, DbError> {
    let (sql, args) = statement(session, query)?;
    let mut places: Vec<(i64, i64)> = Vec::new();
    for row in session.rows(&sql, &args)? {
        places.push((row.get(0)?, row.get(1)?));
    }
    let limit = usize::try_from(limit(query)).unwrap_or(usize::MAX);
    let more = places.len() > limit;
    places.truncate(limit);
    let last = places.last().filter(|_| more);
    let next = last.map(|(id, value)| Cursor { value: *value, id: *id });
    let ids: Vec<i64> = places.iter().map(|(id, _)| *id).collect();
    Ok(Page { recordings: super::recording::read(session, &ids)?, next })
}

/// One recording, if it may be seen.
///
/// # Errors
/// See [`DbError`].
pub fn one(
    session: &mut dyn Session,
    id: i64,
    scope: &Scope,
) -> Result<Option<Recording>, DbError> {
    let mut parts = Parts::default();
    parts.and("t.id = ?", [id.into()]);
    scope_condition(&mut parts, scope);
    let (sql, args) = parts.finish("SELECT t.id FROM tape t WHERE ");
    let found: Option<i64> = session.value(&sql, &args)?;
    let ids: Vec<i64> = found.into_iter().collect();
    Ok(super::recording::read(session, &ids)?.into_iter().next())
}

/// The row of a recording by its name; of several recorders' the newest.
///
/// # Errors
/// See [`DbError`].
pub fn by_name(session: &mut dyn Session, recid: &str) -> Result<Option<i64>, DbError> {
    session.value(
        "SELECT id FROM tape WHERE recid = ?1 ORDER BY started DESC, id DESC LIMIT 1",
        &[recid.into()],
    )
}

fn limit(query: &Query) -> u32 {
    query.limit.unwrap_or(DEFAULT_LIMIT).clamp(1, MAX_LIMIT)
}

/// A condition with its values; `?` stands for the next one.
#[derive(Clone, Debug, Default)]
struct Parts {
    conditions: Vec<String>,
    args: Vec<Value>,
}

impl Parts {
    fn and(&mut self, condition: &str, args: impl IntoIterator<Item = Value>) {
        self.conditions.push(condition.to_owned());
        self.args.extend(args);
    }

    fn text(&self) -> String {
        if self.conditions.is_empty() { "1 = 1".to_owned() } else { self.conditions.join(" AND ") }
    }

    fn finish(self, before: &str) -> (String, Vec<Value>) {
        let text = format!("{before}{}", self.text());
        (number(&text), self.args)
    }
}

/// Numbers the values.
fn number(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 32);
    for (place, part) in text.split('?').enumerate() {
        if place > 0 {
            out.push('?');
            out.push_str(&place.to_string());
        }
        out.push_str(part);
    }
    out
}

/// The statement for a page, leads chosen.
fn statement(session: &mut dyn Session, query: &Query) -> Result<(String, Vec<Value>), DbError> {
    let way = way(session, query)?;
    let led = match &way {
        Way::Words(leads) => leads.as_slice(),
        Way::Filter(..) => &[],
    };
    let mut rest = Parts::default();
    let leading = led.first().map(|(what, _)| *what);
    let asked = match &way {
        // What the first one finds fits it; those of groups and scopes have conditions of their own below.
        Way::Words(leads) => leads.get(1..).unwrap_or_default(),
        Way::Filter(_, leads) => leads,
    };
    for (_, words) in asked.iter().filter(|(what, _)| *what == Lead::Word) {
        has_word(&mut rest, words);
    }
    let filter = match &way {
        Way::Words(_) => None,
        Way::Filter(filter, _) => Some(*filter),
    };
    // A plus keeps the index of a column out of it.
    let plus = |used: bool| if used || filter.is_none() { "" } else { "+" };
    let (order, beyond) = query.sort.words();
    let column = query.sort.column();
    let by_begin = column == "started";
    let by_order = filter == Some(Filter::Order);
    let started =
        filter == Some(Filter::Span) || filter == Some(Filter::Direction) || by_order && by_begin;
    let span = |parts: &mut Parts, row: &str| {
        let plus = if row == "t" { plus(started) } else { "" };
        if let Some(since) = query.since {
            parts.and(&format!("{plus}{row}.started >= ?"), [since.into()]);
        }
        if let Some(until) = query.until {
            parts.and(&format!("{plus}{row}.started < ?"), [until.into()]);
        }
    };
    if let Some(direction) = &query.direction {
        let plain = plus(filter == Some(Filter::Direction) || by_order && by_begin).is_empty();
        // Text has no plus in PostgreSQL.
        let column = if plain { "t.direction" } else { "(t.direction || '')" };
        rest.and(&format!("{column} = ?"), [direction.as_str().into()]);
    }
    let plus_duration = plus(filter == Some(Filter::Duration) || by_order && !by_begin);
    if let Some(seconds) = query.min_duration {
        rest.and(&format!("{plus_duration}t.duration >= ?"), [seconds.into()]);
    }
    if let Some(seconds) = query.max_duration {
        rest.and(&format!("{plus_duration}t.duration <= ?"), [seconds.into()]);
    }
    if let Some(group) = query.group.filter(|_| leading != Some(Lead::Group)) {
        rest.and(
            "EXISTS (SELECT 1 FROM segment s JOIN group_member m ON m.orkuser = s.orkuser
             WHERE s.tape = t.id AND m.orkgroup = ?)",
            [group.into()],
        );
    }
    if leading != Some(Lead::Scope) {
        scope_condition(&mut rest, &query.scope);
    }
    let limit = i64::from(limit(query)) + 1;
    let Some((_, words)) = led.first() else {
        let mut parts = Parts::default();
        span(&mut parts, "t");
        let plus = plus(by_order);
        if let Some(cursor) = query.cursor {
            let place = [cursor.value.into(), cursor.id.into()];
            parts.and(&format!("({plus}t.{column}, t.id) {beyond} (?, ?)"), place);
        }
        parts.conditions.extend(rest.conditions);
        parts.args.extend(rest.args);
        parts.args.push(limit.into());
        let text = format!(
            "SELECT t.id, t.{column} FROM tape t WHERE {}
             ORDER BY {plus}t.{column} {order}, t.id {order} LIMIT ?",
            parts.text()
        );
        return Ok((number(&text), parts.args));
    };
    let (mut branches, mut args) = (Vec::new(), Vec::new());
    for word in words {
        let mut parts = Parts::default();
        parts.and("k.word = ?", [word.as_str().into()]);
        span(&mut parts, "k");
        if let Some(cursor) = query.cursor {
            let key = if by_begin { "(k.started, k.tape)" } else { "(t.duration, t.id)" };
            let place = [cursor.value.into(), cursor.id.into()];
            parts.and(&format!("{key} {beyond} (?, ?)"), place);
        }
        parts.conditions.extend(rest.conditions.clone());
        parts.args.extend(rest.args.clone());
        parts.args.push(limit.into());
        let key = if by_begin { "k.started" } else { "t.duration" };
        let id = if by_begin { "k.tape" } else { "t.id" };
        // Without further conditions the key alone has all that the order needs.
        let from = if by_begin && rest.conditions.is_empty() {
            "SELECT k.tape AS id, k.started AS place FROM tape_key k WHERE".to_owned()
        } else {
            format!(
                "SELECT t.id AS id, t.{column} AS place FROM tape_key k CROSS JOIN tape t
                 WHERE t.id = k.tape AND"
            )
        };
        branches.push(format!(
            "SELECT * FROM ({from} {} ORDER BY {key} {order}, {id} {order} LIMIT ?) b",
            parts.text()
        ));
        args.extend(parts.args);
    }
    args.push(limit.into());
    let text = format!(
        "{} ORDER BY 2 {order}, 1 {order} LIMIT ?",
        // UNION, not UNION ALL: two people of one group may have called each other.
        branches.join(" UNION ")
    );
    Ok((number(&text), args))
}

/// What words stand for.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Lead {
    Word,
    Group,
    Scope,
}

/// Words of which one must be there, and what for.
type Leads = Vec<(Lead, Vec<String>)>;

/// How recordings are found.
enum Way {
    /// By the words of the first lead, in which the order is kept; or sorted, if they are few.
    Words(Leads),
    /// By an index of the recordings themselves; the leads are looked up for each.
    Filter(Filter, Leads),
}

/// An index of the recordings themselves.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Filter {
    /// The one of the order asked for: what comes first is found first.
    Order,
    Span,
    Direction,
    Duration,
}

fn way(session: &mut dyn Session, query: &Query) -> Result<Way, DbError> {
    let leads = leads(session, query)?;
    let by_begin = query.sort.column() == "started";
    let mut filters = Vec::new();
    // The order's own index has the filter on its column, too; that of directions has the begin.
    if !by_begin && (query.since.is_some() || query.until.is_some()) {
        filters.push(Filter::Span);
    }
    if !by_begin && query.direction.is_some() {
        filters.push(Filter::Direction);
    }
    if by_begin && (query.min_duration.is_some() || query.max_duration.is_some()) {
        filters.push(Filter::Duration);
    }
    if filters.is_empty() && (leads.is_empty() || leads.len() == 1 && by_begin) {
        return Ok(match leads.is_empty() {
            true => Way::Filter(Filter::Order, leads),
            false => Way::Words(leads),
        });
    }
    let mut counted = Vec::new();
    for (what, words) in leads {
        let mut length = 0;
        for word in &words {
            let sql =
                "SELECT count(*) FROM (SELECT 1 AS one FROM tape_key WHERE word = ?1 LIMIT ?2) x";
            let count: Option<i64> =
                session.value(sql, &[word.into(), (COUNTED - length).into()])?;
            length += count.unwrap_or(0);
            if length >= COUNTED {
                break;
            }
        }
        counted.push((length, what, words));
    }
    counted.sort();
    let shortest_lead = counted.first().map(|(length, ..)| *length);
    let leads = counted.into_iter().map(|(_, what, words)| (what, words)).collect();
    let mut shortest = None;
    for filter in filters {
        let found = (count(session, query, filter)?, filter);
        shortest = Some(shortest.map_or(found, |known: (i64, Filter)| known.min(found)));
    }
    Ok(match (shortest_lead, shortest) {
        (lead, Some((length, filter)))
            if length < COUNTED_PLAIN && lead.is_none_or(|lead| length < lead) =>
        {
            Way::Filter(filter, leads)
        }
        (Some(lead), _) if by_begin || lead < COUNTED => Way::Words(leads),
        _ => Way::Filter(Filter::Order, leads),
    })
}

/// How many recordings a filter leaves, as far as that is counted.
fn count(session: &mut dyn Session, query: &Query, filter: Filter) -> Result<i64, DbError> {
    let mut parts = Parts::default();
    let (low, high) = match filter {
        Filter::Span => {
            (query.since.map(|n| ("started >=", n)), query.until.map(|n| ("started <", n)))
        }
        Filter::Duration => (
            query.min_duration.map(|n| ("duration >=", n)),
            query.max_duration.map(|n| ("duration <=", n)),
        ),
        Filter::Direction | Filter::Order => (None, None),
    };
    for (condition, bound) in [low, high].into_iter().flatten() {
        parts.and(&format!("{condition} ?"), [bound.into()]);
    }
    if let (Filter::Direction, Some(direction)) = (filter, &query.direction) {
        parts.and("direction = ?", [direction.as_str().into()]);
    }
    parts.args.push(COUNTED_PLAIN.into());
    let text = format!(
        "SELECT count(*) FROM (SELECT 1 AS one FROM tape WHERE {} LIMIT ?) x",
        parts.text()
    );
    let found: Option<i64> = session.value(&number(&text), &parts.args)?;
    Ok(found.unwrap_or(0))
}

/// The filters that have words.
fn leads(session: &mut dyn Session, query: &Query) -> Result<Leads, DbError> {
    let mut leads: Leads = Vec::new();
    if let Some(party) = &query.party {
        leads.push((Lead::Word, vec![segments::key("party", party)]));
    }
    if let Some(user) = query.user {
        leads.push((Lead::Word, vec![segments::key("user", &user.to_string())]));
    }
    if let Some((key, value)) = &query.tag {
        leads.push((Lead::Word, vec![segments::key("tag", &format!("{key}={value}"))]));
    }
    for word in query.text.as_deref().map(segments::words_of).unwrap_or_default() {
        leads.push((Lead::Word, vec![segments::key("word", &word)]));
    }
    if let Some(group) = query.group
        && let Some(words) = people(session, &[group], None)?
    {
        leads.push((Lead::Group, words));
    }
    if let Scope::People { groups, user } = &query.scope
        && let Some(words) = people(session, groups, *user)?
    {
        leads.push((Lead::Scope, words));
    }
    Ok(leads)
}

/// The words for the people of groups, if they are few.
fn people(
    session: &mut dyn Session,
    groups: &[i64],
    user: Option<i64>,
) -> Result<Option<Vec<String>>, DbError> {
    let mut users: Vec<i64> = user.into_iter().collect();
    if !groups.is_empty() {
        let sql = format!(
            "SELECT DISTINCT orkuser FROM group_member WHERE orkgroup IN ({}) ORDER BY orkuser LIMIT {}",
            list(groups),
            MAX_LEADS + 1
        );
        users.extend(session.column::<i64>(&sql, &[])?);
    }
    users.sort_unstable();
    users.dedup();
    if users.is_empty() {
        // Nobody's: a word that no recording has.
        return Ok(Some(vec!["user:".to_owned()]));
    }
    let few = users.len() <= MAX_LEADS;
    let key = |user: &i64| segments::key("user", &user.to_string());
    Ok(few.then(|| users.iter().map(key).collect()))
}

fn has_word(parts: &mut Parts, words: &[String]) {
    let places = vec!["?"; words.len()].join(", ");
    parts.and(
        &format!(
            "EXISTS (SELECT 1 FROM tape_key x WHERE x.word IN ({places})
             AND x.started = t.started AND x.tape = t.id)"
        ),
        words.iter().map(Value::from),
    );
}

fn scope_condition(parts: &mut Parts, scope: &Scope) {
    let Scope::People { groups, user } = scope else { return };
    let groups = if groups.is_empty() { "-1".to_owned() } else { list(groups) };
    parts.and(
        &format!(
            "EXISTS (SELECT 1 FROM segment s WHERE s.tape = t.id AND (s.orkuser = ?
             OR EXISTS (SELECT 1 FROM group_member m WHERE m.orkuser = s.orkuser
                 AND m.orkgroup IN ({groups}))))"
        ),
        [user.unwrap_or(-1).into()],
    );
}

/// Numbers for `IN`: they are ours and need no escaping.
pub(super) fn list(numbers: &[i64]) -> String {
    numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// How a query would be carried out, for tests of index use.
///
/// # Errors
/// See [`DbError`].
pub fn plan(session: &mut dyn Session, query: &Query) -> Result<String, DbError> {
    let (sql, args) = statement(session, query)?;
    session.plan(&sql, &args)
}
