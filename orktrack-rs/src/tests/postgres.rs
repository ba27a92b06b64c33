//! The same tests over PostgreSQL, and two trackers on one database. A server of its own is started in a
//! folder of its own; where PostgreSQL is not installed, that is said and nothing is tested.

use super::{Bench, READY, START, search};
use crate::store::{Place, session::SessionExt};
use std::{
    cell::RefCell,
    fs,
    io::Write,
    net::TcpListener,
    os::unix::{fs::chown, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
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

/// A running server; it ends with this.
struct Server {
    child: Child,
    _home: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        SERVER.set(None);
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Where Debian puts the programs of the newest version, or where `PATH` says.
fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok().into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = versions.map(|version| version.path().join("bin")).collect();
    folders.sort();
    folders.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    folders.into_iter().rev().find(|folder| folder.join("initdb").exists())
}

/// The server refuses to run as root.
fn unprivileged(command: &mut Command, home: &Path) {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let id = |name: &str| {
        let line = users.lines().find(|line| line.starts_with(&format!("{name}:")))?;
        let mut fields = line.split(':').skip(2).map(|field| field.parse::<u32>().ok());
        Some((fields.next()??, fields.next()??))
    };
    let (user, group) = id("postgres").or_else(|| id("nobody")).unwrap();
    chown(home, Some(user), Some(group)).unwrap();
    command.uid(user).gid(group).current_dir(home);
}

fn start() -> Option<Server> {
    let programs = programs()?;
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let mut init = Command::new(programs.join("initdb"));
    init.args(["--no-locale", "-E", "UTF8", "-U", "ork", "-A", "trust", "-N", "-D"]).arg(&data);
    unprivileged(&mut init, home.path());
    let made = init.output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut server = Command::new(programs.join("postgres"));
    server.arg("-D").arg(&data).arg("-k").arg(home.path()).arg("-p").arg(port.to_string());
    server.args([
        "-c",
        "listen_addresses=127.0.0.1",
        "-c",
        "fsync=off",
        "-c",
        "max_connections=200",
    ]);
    unprivileged(&mut server, home.path());
    let log = fs::File::create(home.path().join("log")).unwrap();
    let child = server.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
    let server = Server { child, _home: home };
    let until = Instant::now() + Duration::from_secs(30);
    let url = format!("postgres://ork@127.0.0.1:{port}/postgres");
    while let Err(error) = postgres::Client::connect(&url, postgres::NoTls) {
        assert!(Instant::now() < until, "{error}");
        thread::sleep(Duration::from_millis(50));
    }
    SERVER.set(Some((port, 0)));
    Some(server)
}

/// Says what is not tested, where `scripts/test` collects it.
fn skip(what: &str) {
    let line = format!("{what}: PostgreSQL is not installed (apt-get install postgresql)\n");
    if let Some(list) = std::env::var_os("ORK_SKIPPED") {
        let list = fs::OpenOptions::new().append(true).create(true).open(list);
        list.unwrap().write_all(line.as_bytes()).unwrap();
    }
    write!(std::io::stdout(), "skipped: {line}").unwrap();
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
    let broken = crate::store::Reader::open(&first.database)
        .unwrap()
        .read(crate::store::audit::broken)
        .unwrap();
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
    assert_eq!(known, Some(4));
}

#[test]
fn a_password_is_not_shown() {
    let shown =
        Place::of(Path::new("postgres://ork:se%40cret@db.example/calls?password=x")).shown();
    assert_eq!(shown, "postgres://db.example/calls");
}

const TESTS: [(&str, fn()); 41] = [
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
    ("keep_discard_neither", super::commands::keep_discard_neither),
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
