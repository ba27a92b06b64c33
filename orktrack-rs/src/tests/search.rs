//! Finding recordings: every filter, every order, pages that stay put, and the indexes they use.

use crate::{
    sample,
    store::{
        Cursor, Query, Recording, Scope, Sort, groups, search, session::Session, tapes, users,
    },
};
use orkbase::message::tape::{Direction, Stage, TapeMessage};

/// 400 calls of 40 people, in pairs that share a second.
pub(super) fn fill(session: &mut dyn Session) {
    for n in 0..40 {
        let change = users::Change {
            loginstring: format!("10{n:02}"),
            group: Some(if n < 35 { "Many" } else { "Few" }.to_owned()),
            ..users::Change::default()
        };
        users::put(session, &change, 5).unwrap();
    }
    for n in 0..400_u64 {
        let message = TapeMessage {
            timestamp: 1000 + n / 2,
            localparty: format!("10{:02}", n % 40),
            remoteparty: format!("+3120{}", n % 7),
            direction: [Direction::In, Direction::Out][usize::from(n % 3 == 0)],
            duration: n * 7 % 100,
            ..sample::tape(&format!("R{n:03}"), Stage::Ready)
        };
        let message =
            sample::tagged(message, &[("case", &(n % 10).to_string()), ("note", "late Delivery")]);
        tapes::put(session, &message, 2000, "").unwrap();
    }
}

/// What the filters mean, said once more in another way: over all recordings, in memory.
fn expected(all: &[Recording], query: &Query) -> Vec<String> {
    let mut all: Vec<&Recording> = all.iter().collect();
    let group = |user: i64| if user <= 35 { 1 } else { 2 };
    all.retain(|one| {
        let user = one.users.first().map(|user| user.userid).unwrap();
        let seen = match &query.scope {
            Scope::All => true,
            Scope::People { groups, user: own } => {
                groups.contains(&group(user)) || *own == Some(user)
            }
        };
        seen && query.since.is_none_or(|since| one.started >= since)
            && query.until.is_none_or(|until| one.started < until)
            && query.party.as_ref().is_none_or(|p| *p == one.localparty || *p == one.remoteparty)
            && query.user.is_none_or(|wanted| wanted == user)
            && query.group.is_none_or(|wanted| wanted == group(user))
            && query.tag.as_ref().is_none_or(|(key, text)| one.tags.get(key) == Some(text))
            && query.direction.as_ref().is_none_or(|direction| *direction == one.direction)
            && query.min_duration.is_none_or(|least| one.duration >= least)
            && query.max_duration.is_none_or(|most| one.duration <= most)
            && query.text.as_ref().is_none_or(|text| {
                text.to_lowercase()
                    .split(' ')
                    .all(|word| ["late", "delivery"].contains(&word) || one.localparty == word)
            })
    });
    all.sort_by_key(|one| match query.sort {
        Sort::Newest => (-one.started, -one.id),
        Sort::Oldest => (one.started, one.id),
        Sort::Longest => (-one.duration, -one.id),
        Sort::Shortest => (one.duration, one.id),
    });
    all.into_iter().map(|one| one.recid.clone()).collect()
}

fn found(session: &mut dyn Session, query: &Query) -> Vec<String> {
    let (mut names, mut cursor) = (Vec::new(), None::<Cursor>);
    for _ in 0..200 {
        let page =
            search::page(session, &Query { cursor, limit: Some(97), ..query.clone() }).unwrap();
        assert!(page.recordings.len() <= 97);
        names.extend(page.recordings.into_iter().map(|one| one.recid));
        cursor = page.next;
        if cursor.is_none() {
            return names;
        }
    }
    panic!("pages without end");
}

/// Every filter alone and, where `pairs`, with every other; in every order.
pub(super) fn every_query_finds_what_it_means(session: &mut dyn Session, pairs: bool) {
    let everything = Query { limit: Some(1000), ..Query::default() };
    let recordings = search::page(session, &everything).unwrap().recordings;
    assert_eq!(recordings.len(), 400);
    let own = |groups: &[i64], user| Scope::People { groups: groups.to_vec(), user };
    let all = Query::default;
    let alone = [
        all(),
        Query { since: Some(1050), until: Some(1101), ..all() },
        Query { party: Some("1003".into()), ..all() },
        Query { party: Some("+31201".into()), ..all() },
        Query { user: Some(4), ..all() },
        Query { group: Some(1), ..all() },
        Query { group: Some(2), ..all() },
        Query { tag: Some(("case".into(), "3".into())), ..all() },
        Query { direction: Some("out".into()), ..all() },
        Query { min_duration: Some(30), max_duration: Some(60), ..all() },
        Query { text: Some("DELIVERY late".into()), ..all() },
        Query { text: Some("1005".into()), ..all() },
        Query { scope: own(&[1], None), ..all() },
        Query { scope: own(&[2], Some(1)), ..all() },
        Query { scope: own(&[], None), ..all() },
    ];
    for a in &alone {
        for b in alone.iter().take(if pairs { alone.len() } else { 1 }) {
            for sort in [Sort::Newest, Sort::Oldest, Sort::Longest, Sort::Shortest] {
                let query = Query {
                    since: a.since.or(b.since),
                    until: a.until.or(b.until),
                    party: a.party.clone().or_else(|| b.party.clone()),
                    user: a.user.or(b.user),
                    group: a.group.or(b.group),
                    tag: a.tag.clone().or_else(|| b.tag.clone()),
                    direction: a.direction.clone().or_else(|| b.direction.clone()),
                    min_duration: a.min_duration.or(b.min_duration),
                    max_duration: a.max_duration.or(b.max_duration),
                    text: a.text.clone().or_else(|| b.text.clone()),
                    scope: if a.scope == Scope::All { b.scope.clone() } else { a.scope.clone() },
                    sort,
                    ..all()
                };
                assert_eq!(found(session, &query), expected(&recordings, &query), "{query:?}");
            }
        }
    }
}

#[test]
fn filters_orders_and_pages() {
    let mut session = crate::store::scratch();
    session.begin().unwrap();
    fill(session.as_mut());
    every_query_finds_what_it_means(session.as_mut(), true);
}

#[test]
fn pages_stay_put_while_recordings_come_in() {
    let mut session = crate::store::scratch();
    fill(session.as_mut());
    let first =
        search::page(session.as_mut(), &Query { limit: Some(10), ..Query::default() }).unwrap();
    for n in 0..10 {
        let new = TapeMessage { timestamp: 1199, ..sample::tape(&format!("New{n}"), Stage::Start) };
        tapes::put(session.as_mut(), &new, 3000, "").unwrap();
    }
    let query = Query { limit: Some(10), cursor: first.next, ..Query::default() };
    let second = search::page(session.as_mut(), &query).unwrap().recordings;
    let second: Vec<_> = second.into_iter().map(|one| one.recid).collect();
    let expected: Vec<_> = (380..390).rev().map(|n| format!("R{n}")).collect();
    assert_eq!(second, expected);
}

#[test]
fn every_filter_has_an_index() {
    let mut session = crate::store::scratch();
    fill(session.as_mut());
    let group = groups::find(session.as_mut(), "Few").unwrap();
    let all = Query::default;
    for (query, index) in [
        (all(), "tape_started"),
        (Query { since: Some(5), until: Some(9), ..all() }, "tape_started"),
        (Query { sort: Sort::Longest, ..all() }, "tape_duration"),
        (Query { sort: Sort::Shortest, min_duration: Some(9), ..all() }, "tape_duration"),
        (Query { direction: Some("in".into()), ..all() }, "tape_direction"),
        (Query { party: Some("1".into()), ..all() }, "PRIMARY KEY"),
        (Query { user: Some(1), ..all() }, "PRIMARY KEY"),
        (Query { group, ..all() }, "PRIMARY KEY"),
        (Query { tag: Some(("a".into(), "b".into())), ..all() }, "PRIMARY KEY"),
        (Query { text: Some("word".into()), ..all() }, "PRIMARY KEY"),
        (Query { scope: Scope::People { groups: vec![2], user: None }, ..all() }, "PRIMARY KEY"),
    ] {
        let plan = search::plan(session.as_mut(), &query).unwrap();
        assert!(plan.contains(index), "{query:?}:\n{plan}");
        let scans = plan.lines().any(|line| line.starts_with("SCAN") && !line.contains("USING"));
        let merged = plan.contains("SCAN b");
        assert!(!scans || merged, "{query:?}:\n{plan}");
        assert!(!plan.contains("SCAN t\n") && !plan.contains("SCAN k\n"), "{plan}");
        // What is sorted at the end is a page for each lead, not all that there is.
        let within = plan.split("SCAN b").next().unwrap();
        assert!(!within.contains("TEMP B-TREE"), "{query:?}:\n{plan}");
    }
}
