//! The same tests over PostgreSQL, and two trackers on one database. A server of its own is started in a
//! folder of its own; where PostgreSQL is not installed, that is said and nothing is tested.

use super::{
    Bench, READY, START, search,
    server::{Server, skip},
};
use crate::store::{Place, Reader, once, session::SessionExt};
use std::{
    cell::RefCell,
    io::Write,
    path::{Path, PathBuf},
    thread,
};

thread_local! {
    /// The server that [`Bench`] is to use on this thread, and how many databases it has.
    static SERVER: RefCell<Option<(u16, u32)>> = const { RefCell::new(None) };
}

/// A fresh database on the server of this thread, if it has one.
pub(super) fn fresh() -> Option<PathBuf> {
    SERVER.with_borrow_mut(|server| {
        let (port, count) = server.as_mut()?;
        *count += 1;
        let url = |name: &str| format!("postgres://ork@127.0.0.1:{port}/{name}");
        let name = format!("t{count}");
        // What the tests say in the words of SQLite.
        let group_concat = "CREATE FUNCTION joined(text, text) RETURNS text LANGUAGE sql IMMUTABLE
             AS $$ SELECT CASE WHEN $1 IS NULL THEN $2 WHEN $2 IS NULL THEN $1
                 ELSE $1 || ',' || $2 END $$;
             CREATE AGGREGATE group_concat(text) (SFUNC = joined, STYPE = text);";
        let connect = |url: &str| postgres::Client::connect(url, postgres::NoTls).unwrap();
        let create = format!("CREATE DATABASE {name}");
        connect(&url("postgres")).batch_execute(&create).unwrap();
        connect(&url(&name)).batch_execute(group_concat).unwrap();
        Some(PathBuf::from(url(&name)))
    })
}

/// The server of this thread; it ends with this.
struct Ours {
    _server: Server,
}

impl Drop for Ours {
    fn drop(&mut self) {
        SERVER.set(None);
    }
}

fn start() -> Option<Ours> {
    let server = Server::start(&[])?;
    SERVER.set(Some((server.port, 0)));
    Some(Ours { _server: server })
}

#[test]
fn the_same_over_postgresql() {
    let Some(_server) = start() else { return skip("the tracker over PostgreSQL") };
    for (name, test) in TESTS {
        writeln!(std::io::stdout(), "over PostgreSQL: {name}").unwrap();
        test();
    }
    let mut session = Place::of(&fresh().unwrap()).open_for_tests();
    session.begin().unwrap();
    search::fill(session.as_mut());
    search::every_query_finds_what_it_means(session.as_mut(), false);
    session.batch("COMMIT").unwrap();
}

#[test]
fn two_trackers_share_a_database() {
    let Some(_server) = start() else { return skip("two trackers on one database") };
    let first = Bench::new();
    let second = Bench::with(|config| config.database.clone_from(&first.database));
    second.tell("cmd=adduser&loginstring=100000&groupname=Sales");
    // Everything is told to both at once, as by a recorder with two trackers that share a database.
    thread::scope(|scope| {
        for bench in [&first, &second] {
            for lane in 0..4 {
                scope.spawn(move || {
                    for n in 0..25 {
                        let name = format!("R{}", n * 4 + lane);
                        for query in [START, READY] {
                            let told = bench
                                .tell(&query.replace("20261121_021704_EZIP&", &format!("{name}&")));
                            assert_eq!(told.status(), "200", "{}", told.body);
                        }
                        let login =
                            format!("cmd=agentstate&state=login&agent=100000&device=D{lane}");
                        assert_eq!(bench.tell(&login).status(), "200");
                    }
                });
            }
        }
    });
    let count = |sql: &str| first.sql::<i64>(sql);
    assert_eq!(count("SELECT count(*) FROM tape"), 100);
    assert_eq!(count("SELECT count(*) FROM tape_stage"), 200, "no stage twice");
    assert_eq!(count("SELECT count(*) FROM segment"), 100);
    assert_eq!(count("SELECT count(*) FROM agent_session WHERE until IS NULL"), 1);
    let broken = Reader::open(&first.database).unwrap().read(crate::store::audit::broken).unwrap();
    assert_eq!(broken, None, "one chain, though two wrote it");
    // What one was told the other knows at once.
    first.tell(&START.replace("20261121_021704_EZIP&", "Live&"));
    assert!(second.tell("cmd=livestatus&users=1").body.contains("--Live--"));
    second.tell("cmd=discard&userid=1");
    let ready = first.tell(&READY.replace("20261121_021704_EZIP&", "Live&"));
    assert!(ready.body.contains("deletetape=true"), "{}", ready.body);
    let known: Option<i64> = Place::of(&first.database)
        .open_for_tests()
        .value("SELECT max(version) FROM orktrack_version", &[])
        .unwrap();
    assert_eq!(known, Some(6));
}

/// A server that lets nobody in without TLS.
#[test]
fn tls_to_the_server_that_is_meant_and_no_other() {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (cert, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let other = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let rules = "hostssl all all 127.0.0.1/32 trust\n";
    let files = [("server.crt", cert.as_str()), ("server.key", &key), ("pg_hba.conf", rules)];
    let Some(server) = Server::start(&files) else { return skip("TLS to PostgreSQL") };
    let home = tempfile::tempdir().unwrap();
    let (right, wrong) = (home.path().join("right.pem"), home.path().join("wrong.pem"));
    std::fs::write(&right, &cert).unwrap();
    std::fs::write(&wrong, other.cert.pem()).unwrap();
    let url = |host: &str, rest: &str| {
        PathBuf::from(format!("postgres://ork@{host}:{}/postgres{rest}", server.port))
    };
    let refused = |url: &Path| match once(url, |session| session.rows("SELECT 1", &[])) {
        Ok(rows) => panic!("{rows:?}"),
        Err(why) => why,
    };
    let open = refused(&url("127.0.0.1", ""));
    assert!(open.contains("no encryption") || open.contains("SSL off"), "{open}");
    let unknown =
        refused(&url("localhost", &format!("?sslmode=require&sslrootcert={}", wrong.display())));
    assert!(unknown.contains("certificate"), "{unknown}");
    let misnamed =
        refused(&url("127.0.0.1", &format!("?sslmode=require&sslrootcert={}", right.display())));
    assert!(misnamed.contains("certificate"), "{misnamed}");
    let nowhere = refused(&url("localhost", "?sslmode=verify-full&sslrootcert=/nonexistent"));
    assert!(nowhere.contains("/nonexistent"), "{nowhere}");
    for mode in ["require", "verify-full"] {
        let url = url("localhost", &format!("?sslmode={mode}&sslrootcert={}", right.display()));
        let sql = "SELECT CAST(one AS BIGINT) FROM (SELECT CASE WHEN ssl THEN 1 ELSE 0 END AS one
             FROM pg_stat_ssl WHERE pid = pg_backend_pid()) x";
        once(&url, |_| Ok(())).unwrap();
        let mut reader = Reader::open(&url).unwrap();
        assert_eq!(reader.read(|session| session.value::<i64>(sql, &[])).unwrap(), Some(1));
    }
}

#[test]
fn the_tables_of_version_3_are_brought_up_to_date() {
    let Some(_server) = start() else { return skip("an older database on PostgreSQL") };
    let database = fresh().unwrap();
    let place = Place::of(&database);
    let mut session = place.open_for_tests();
    session
        .batch(
            "DROP TABLE hold_untold; DROP TABLE tape_gone; ALTER TABLE tape DROP COLUMN sha256;
             ALTER TABLE segment DROP CONSTRAINT segment_tape_side_since_key;
             ALTER TABLE segment DROP COLUMN since; ALTER TABLE segment DROP COLUMN until;
             ALTER TABLE segment ADD UNIQUE (tape, side);
             INSERT INTO orkuser (firstname, lastname, email, created) VALUES ('A', 'B', '', 1);
             INSERT INTO tape (hostname, recid, state, started, duration, captureport, filename,
                 localparty, localentrypoint, remoteparty, direction, service, localip, remoteip,
                 nativecallid, ondemand, side, live)
                 VALUES ('vm', 'R', 'live', 100, 0, '', '', '1', '', '2', 'in', '', '', '', '', 0, 'both', 1);
             INSERT INTO segment (tape, side, orkuser, loginstring) VALUES (1, 'local', 1, '1');
             UPDATE orktrack_version SET version = 3",
        )
        .unwrap();
    assert!(Reader::open(&database).is_err(), "not before it is brought up to date");
    let mut session = place.open_for_tests();
    let since = session.value::<i64>("SELECT since FROM segment WHERE until IS NULL", &[]).unwrap();
    assert_eq!(since, Some(100));
    let version = session.value::<i64>("SELECT max(version) FROM orktrack_version", &[]).unwrap();
    assert_eq!(version, Some(6));
    drop(place.open_for_tests());
}

#[test]
fn a_password_is_not_shown() {
    let shown =
        Place::of(Path::new("postgres://ork:se%40cret@db.example/calls?password=x")).shown();
    assert_eq!(shown, "postgres://db.example/calls");
}

const TESTS: [(&str, fn()); 50] = [
    ("the_three_published_tape_messages", super::commands::the_three_published_tape_messages),
    ("metadata_says_whose_call_it_was", super::commands::metadata_says_whose_call_it_was),
    ("live_status_of_the_busy_and_the_idle", super::commands::live_status_of_the_busy_and_the_idle),
    ("query_user", super::commands::query_user),
    ("add_user_writes_only_what_is_given", super::commands::add_user_writes_only_what_is_given),
    ("add_login_string", super::commands::add_login_string),
    ("delete_group", super::commands::delete_group),
    (
        "add_users_and_tasks_read_only_below_their_folder",
        super::commands::add_users_and_tasks_read_only_below_their_folder,
    ),
    ("agents_come_and_go", super::commands::agents_come_and_go),
    (
        "a_call_belongs_to_whoever_was_there_when_it_began",
        super::commands::a_call_belongs_to_whoever_was_there_when_it_began,
    ),
    ("agents_who_come_and_go_part_a_call", super::commands::agents_who_come_and_go_part_a_call),
    ("keep_discard_neither", super::commands::keep_discard_neither),
    ("what_was_deleted_stays_deleted", super::commands::what_was_deleted_stays_deleted),
    ("wishes_reach_the_recorder", super::fleet::wishes_reach_the_recorder),
    (
        "holds_that_the_recorder_does_not_know_are_told_until_it_does",
        super::fleet::holds_that_the_recorder_does_not_know_are_told_until_it_does,
    ),
    ("what_is_held_is_not_discarded", super::fleet::what_is_held_is_not_discarded),
    (
        "an_original_recorder_does_not_know_wishes",
        super::fleet::an_original_recorder_does_not_know_wishes,
    ),
    (
        "a_party_that_is_not_recorded_is_looked_for",
        super::fleet::a_party_that_is_not_recorded_is_looked_for,
    ),
    ("tags_in_three_forms", super::commands::tags_in_three_forms),
    ("the_small_ones", super::commands::the_small_ones),
    ("xml_and_json_on_request", super::commands::xml_and_json_on_request),
    (
        "what_changes_people_or_calls_is_in_the_audit_log",
        super::commands::what_changes_people_or_calls_is_in_the_audit_log,
    ),
    (
        "commands_come_from_the_allowed_networks_only",
        super::commands::commands_come_from_the_allowed_networks_only,
    ),
    (
        "commands_reach_the_recorder_of_the_call",
        super::fleet::commands_reach_the_recorder_of_the_call,
    ),
    (
        "a_recorder_that_found_nothing_is_not_believed_to_have",
        super::fleet::a_recorder_that_found_nothing_is_not_believed_to_have,
    ),
    (
        "a_recorder_that_freezes_or_is_gone_costs_one_time_out",
        super::fleet::a_recorder_that_freezes_or_is_gone_costs_one_time_out,
    ),
    ("audio_streams_while_it_is_made", super::fleet::audio_streams_while_it_is_made),
    (
        "the_calls_of_a_recorder_that_died_are_interrupted",
        super::fleet::the_calls_of_a_recorder_that_died_are_interrupted,
    ),
    (
        "a_recorder_that_begins_anew_has_no_calls",
        super::fleet::a_recorder_that_begins_anew_has_no_calls,
    ),
    ("every_route_by_every_role", super::rights::every_route_by_every_role),
    (
        "nobody_sees_the_calls_of_a_foreign_group",
        super::rights::nobody_sees_the_calls_of_a_foreign_group,
    ),
    (
        "who_leaves_a_group_takes_the_calls_along",
        super::rights::who_leaves_a_group_takes_the_calls_along,
    ),
    (
        "the_first_account_then_sign_in_and_out",
        super::rights::the_first_account_then_sign_in_and_out,
    ),
    (
        "five_wrong_passwords_lock_and_tell_nothing",
        super::rights::five_wrong_passwords_lock_and_tell_nothing,
    ),
    (
        "tokens_are_told_once_expire_and_are_taken_back",
        super::rights::tokens_are_told_once_expire_and_are_taken_back,
    ),
    ("commands_from_afar_take_a_token", super::rights::commands_from_afar_take_a_token),
    (
        "a_sealed_recording_is_heard_with_its_key_only",
        super::api::a_sealed_recording_is_heard_with_its_key_only,
    ),
    ("sound_whole_in_parts_and_its_shape", super::api::sound_whole_in_parts_and_its_shape),
    (
        "what_a_recorder_calls_its_file_leads_nowhere_else",
        super::api::what_a_recorder_calls_its_file_leads_nowhere_else,
    ),
    ("what_is_held_is_not_deleted", super::api::what_is_held_is_not_deleted),
    ("tags_people_and_rules", super::api::tags_people_and_rules),
    ("a_table_for_other_programs", super::api::a_table_for_other_programs),
    (
        "an_original_recorder_is_answered_as_it_expects",
        super::an_original_recorder_is_answered_as_it_expects,
    ),
    (
        "messages_of_the_original_are_taken_unchanged",
        super::observed::messages_of_the_original_are_taken_unchanged,
    ),
    (
        "a_tag_may_come_before_its_recording_and_counts_once",
        super::a_tag_may_come_before_its_recording_and_counts_once,
    ),
    (
        "a_repeated_message_is_acknowledged_and_not_kept_twice",
        super::a_repeated_message_is_acknowledged_and_not_kept_twice,
    ),
    ("the_command_is_found_where_people_put_it", super::the_command_is_found_where_people_put_it),
    (
        "what_cannot_be_understood_is_refused_with_a_reason",
        super::what_cannot_be_understood_is_refused_with_a_reason,
    ),
    ("json_on_request", super::json_on_request),
    ("pages_follow_one_another_newest_first", super::pages_follow_one_another_newest_first),
];
