//! A legal hold against everything that deletes, one after another.

use super::{Bench, INIT, READY, START, STOP};
use crate::{
    config::AudioRoot,
    start,
    store::{accounts::Role, once, retention},
};
use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// A person's finished call with its file and a second copy, and one like it that nobody holds.
struct Case {
    bench: Bench,
    home: tempfile::TempDir,
    token: String,
}

const HELD: &str = "20261121_021704_EZIP";
const FREE: &str = "20261121_021704_FREE";

fn free(message: &str) -> String {
    message.replace(HELD, FREE).replace("=100000", "=100009")
}

impl Case {
    /// Known from its start, or whole.
    fn new(finished: bool) -> Self {
        let home = tempfile::tempdir().unwrap();
        for folder in ["tapes", "copies"] {
            for recid in [HELD, FREE] {
                let file = file(home.path(), folder, recid);
                fs::create_dir_all(file.parent().unwrap()).unwrap();
                fs::write(file, "sound").unwrap();
            }
        }
        let root = |name: &str| vec![AudioRoot { hostname: None, folder: home.path().join(name) }];
        let bench = Bench::with(|config| {
            (config.audio_roots, config.audio_copies) = (root("tapes"), root("copies"));
        });
        let place = home.path().join("tapes").display().to_string().replace('/', "%2F");
        // Nobody listens on port 1.
        let init = INIT.replace("=59140", "=1");
        bench.tell(&init.replace("%2Fvar%2Flog%2Forkaudio%2Faudio", &place));
        bench.tell("cmd=adduser&loginstring=100000&groupname=Sales");
        for message in [START, STOP, READY].iter().take(if finished { 3 } else { 1 }) {
            assert!(bench.tell(message).body.contains("success=true"));
            bench.tell(&free(message));
        }
        let token = bench.account("root", Role::Admin, None, &[]);
        Self { bench, home, token }
    }

    fn id(&self, recid: &str) -> i64 {
        self.bench.sql(&format!("SELECT id FROM tape WHERE recid = '{recid}'"))
    }

    fn ask(&self, method: &str, target: &str, body: &str) -> String {
        self.bench.ask(&self.token, method, target, body).status().to_owned()
    }

    fn hold(&self) {
        let target = format!("/api/v1/recordings/{}/hold", self.id(HELD));
        assert_eq!(self.ask("POST", &target, r#"{"reason":"court"}"#), "200");
    }

    /// The held one is there with its copy, and its recorder is not told to delete it.
    fn is_whole(&self, what: &str) {
        for folder in ["tapes", "copies"] {
            assert!(file(self.home.path(), folder, HELD).exists(), "{what}: {folder}");
        }
        let there = format!("SELECT count(*) FROM tape WHERE recid = '{HELD}'");
        assert_eq!(self.bench.sql::<i64>(&there), 1, "{what}");
        let told = self.bench.tell(READY);
        assert!(told.body.contains("deletetape=false"), "{what}: {}", told.body);
        let marked = format!("{there} AND discarded IS NOT NULL");
        assert_eq!(self.bench.sql::<i64>(&marked), 0, "{what}");
    }
}

fn file(home: &Path, folder: &str, recid: &str) -> PathBuf {
    home.join(folder).join(format!("2026/11/21/02/{recid}.wav"))
}

/// Every way in which a finished recording can go, each against one that is held and one that is not.
#[test]
fn nothing_deletes_what_is_held() {
    type Path = (&'static str, fn(&Case), bool);
    let paths: [Path; 9] = [
        (
            "DELETE of the API",
            |case| {
                let target = |recid| format!("/api/v1/recordings/{}", case.id(recid));
                assert_eq!(case.ask("DELETE", &target(HELD), ""), "409");
                assert_eq!(case.ask("DELETE", &target(FREE), ""), "200");
            },
            true,
        ),
        (
            "its retention is over",
            |case| {
                let class = r#"{"name":"day","keep_days":1,"standard":true}"#;
                case.ask("POST", "/api/v1/retention", class);
                once(&case.bench.database, |session| {
                    retention::put(session, "day", Some(1), true)?;
                    session.change("UPDATE tape SET expires = started + 1", &[])
                })
                .unwrap();
                // A tracker sweeps when it starts.
                let config = crate::config::Config {
                    listen: ([127, 0, 0, 1], 0).into(),
                    database: case.bench.database.clone(),
                    audio_roots: vec![AudioRoot {
                        hostname: None,
                        folder: case.home.path().join("tapes"),
                    }],
                    audio_copies: vec![AudioRoot {
                        hostname: None,
                        folder: case.home.path().join("copies"),
                    }],
                    ..crate::config::Config::default()
                };
                let second = start(&config).unwrap();
                let until = Instant::now() + Duration::from_secs(60);
                while file(case.home.path(), "tapes", FREE).exists() {
                    assert!(Instant::now() < until, "nothing is swept");
                    std::thread::sleep(Duration::from_millis(20));
                }
                second.stop();
            },
            true,
        ),
        (
            "its person wants it discarded",
            |case| {
                case.bench.tell("cmd=discard&userid=1");
                case.bench.tell(&format!("cmd=discard&orkuid={HELD}"));
            },
            false,
        ),
        (
            "no program keeps it any more, and its recorder reports it again",
            |case| {
                let program = r#"{"name":"none","direction":"in"}"#;
                case.ask("POST", "/api/v1/programs", program);
            },
            false,
        ),
        (
            "its person's group is deleted",
            |case| {
                case.bench.tell("cmd=deletegroup&groupname=Sales");
            },
            false,
        ),
        (
            "its person is removed",
            |case| {
                assert_eq!(case.ask("DELETE", "/api/v1/users/1", ""), "200");
            },
            false,
        ),
        (
            "the names of deleted recordings are forgotten",
            |case| {
                once(&case.bench.database, |session| retention::forget(session, u64::MAX)).unwrap();
            },
            false,
        ),
        (
            "another recorder has a recording of the same name, which goes",
            |case| {
                let elsewhere = READY.replace("hostname=vm", "hostname=annex");
                case.bench.tell(&INIT.replace("hostname=vm", "hostname=annex"));
                case.bench.tell(&elsewhere);
                let sql = "SELECT id FROM tape WHERE hostname = 'annex'";
                let id = case.bench.sql::<i64>(sql);
                // Its folder is no root here, so no file is touched.
                case.ask("DELETE", &format!("/api/v1/recordings/{id}"), "");
                case.bench.change("DELETE FROM tape WHERE hostname = 'annex'");
            },
            false,
        ),
        (
            "a hold of two is released",
            |case| {
                case.hold();
                case.bench.change("UPDATE legal_hold SET until = 2000000000 WHERE id = 1");
                let target = format!("/api/v1/recordings/{}", case.id(HELD));
                assert_eq!(case.ask("DELETE", &target, ""), "409");
            },
            false,
        ),
    ];
    for (what, act, goes) in paths {
        let case = Case::new(true);
        case.hold();
        act(&case);
        case.is_whole(what);
        // The same way takes what nobody holds, where it is one that takes files.
        assert_eq!(file(case.home.path(), "tapes", FREE).exists(), !goes, "{what}");
    }
}

/// A hold on a live call: what its person wanted before or after, and programs, count for nothing.
#[test]
fn a_call_that_is_held_while_it_lasts_is_kept_at_its_end() {
    for discard_first in [true, false] {
        let case = Case::new(false);
        case.bench.tell("cmd=adduser&loginstring=100000");
        let discard = || case.bench.tell("cmd=discard&userid=1");
        if discard_first {
            discard();
        }
        case.hold();
        if !discard_first {
            discard();
        }
        case.bench.tell(STOP);
        case.is_whole("at its end");
        case.is_whole("and when it is told again");
    }
}

/// The answer that had it deleted was lost, and a hold came before the recorder asked again.
#[test]
fn a_hold_that_comes_between_two_tellings_of_the_end_counts() {
    let case = Case::new(false);
    case.bench.tell("cmd=discard&userid=1");
    case.bench.tell(STOP);
    assert!(case.bench.tell(READY).body.contains("deletetape=true"));
    assert!(case.bench.tell(READY).body.contains("deletetape=true"), "told again, said again");
    case.hold();
    case.is_whole("held meanwhile");
    let target = format!("/api/v1/recordings/{}/hold", case.id(HELD));
    assert_eq!(case.ask("DELETE", &target, ""), "200");
    case.is_whole("what was kept stays until somebody deletes it");
}
