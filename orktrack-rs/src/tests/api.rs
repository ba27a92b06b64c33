//! Recordings over our own API: the sound, its shape, tags, holds, the end, and tables.

use super::{Answer, Bench, INIT, READY, START};
use crate::{config::AudioRoot, store::accounts::Role};
use orkvault::{keys::KeyRing, names, sealed::Vessel};
use std::{fs, io::Write as _, os::unix::fs::PermissionsExt as _, path::PathBuf};

/// A finished recording with a file: one second of 16-bit mono, loud in the middle.
fn with_sound() -> (Bench, tempfile::TempDir, PathBuf, String) {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("2026/11/21/02/20261121_021704_EZIP.wav");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    let mut wav = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0".to_vec();
    wav.extend(8000_u32.to_le_bytes());
    wav.extend(16_000_u32.to_le_bytes());
    wav.extend([2, 0, 16, 0]);
    wav.extend(b"data");
    wav.extend(16_000_u32.to_le_bytes());
    for n in 0..8000 {
        let loud: i16 = if n == 4000 { 20_000 } else { 1 };
        wav.extend(loud.to_le_bytes());
    }
    fs::write(&file, wav).unwrap();
    let (root, keys) = (home.path().to_owned(), home.path().join("keys"));
    let bench = Bench::with(|config| {
        config.key_file = Some(keys);
        config.audio_roots = vec![AudioRoot { hostname: None, folder: root }];
    });
    let place = home.path().display().to_string().replace('/', "%2F");
    bench.tell(&INIT.replace("%2Fvar%2Flog%2Forkaudio%2Faudio", &place));
    bench.tell(READY);
    let token = bench.account("root", Role::Admin, None, &[]);
    (bench, home, file, token)
}

fn with_range(bench: &Bench, token: &str, range: &str) -> Answer {
    let head = format!(
        "GET /api/v1/recordings/1/audio HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
         Authorization: Bearer {token}\r\nRange: {range}\r\n\r\n"
    );
    bench.send(head.as_bytes())
}

#[test]
pub(super) fn sound_whole_in_parts_and_its_shape() {
    let (bench, _home, file, token) = with_sound();
    // The head of a WAV has no bytes that are not text here, but the sound has.
    let part = with_range(&bench, &token, "bytes=0-3");
    assert_eq!((part.status(), part.body.as_str()), ("206", "RIFF"));
    assert_eq!(part.header("content-range"), Some("bytes 0-3/16044"));
    assert_eq!(part.header("content-type"), Some("audio/wav"));
    assert_eq!(with_range(&bench, &token, "bytes=8-11").body, "WAVE");
    let none = with_range(&bench, &token, "bytes=16044-");
    assert_eq!((none.status(), none.header("content-range")), ("416", Some("bytes */16044")));
    let whole = bench.ask(&token, "HEAD", "/api/v1/recordings/1/audio", "");
    assert_eq!((whole.status(), whole.header("content-length")), ("200", Some("16044")));
    assert_eq!(
        whole.header("content-disposition"),
        Some("inline; filename=\"20261121_021704_EZIP.wav\"")
    );
    let peaks = bench.ask(&token, "GET", "/api/v1/recordings/1/peaks?buckets=4", "").json();
    assert_eq!(peaks["channels"], serde_json::json!([[1, 1, 20_000, 1]]));
    fs::remove_file(&file).unwrap();
    assert_eq!(bench.ask(&token, "GET", "/api/v1/recordings/1/audio", "").status(), "404");
    let listened = "SELECT count(*) FROM audit WHERE action = 'listen' AND who = 'root'";
    assert_eq!(bench.sql::<i64>(listened), 5);
}

#[test]
pub(super) fn a_sealed_recording_is_heard_with_its_key_only() {
    let (bench, home, file, token) = with_sound();
    let ring = KeyRing::parse("a1".repeat(32).as_bytes()).unwrap();
    let sealed = names::sealed(&file);
    let mut options = fs::OpenOptions::new();
    let empty = options.read(true).write(true).create_new(true).open(&sealed).unwrap();
    let mut vessel = Vessel::create(empty, Some(&ring)).unwrap();
    vessel.write_all(&fs::read(&file).unwrap()).unwrap();
    vessel.close().unwrap();
    fs::remove_file(&file).unwrap();
    let told = READY.replace("recid=20261121_021704_EZIP", "recid=Sealed");
    bench.tell(&told.replace("EZIP.wav&", "EZIP.wav.sealed&"));
    let ask =
        |method, rest: &str| bench.ask(&token, method, &format!("/api/v1/recordings/2/{rest}"), "");
    let keys = home.path().join("keys");
    for (key, why) in
        [(None, "cannot read"), (Some("b2"), "which the key file does not have"), (Some("a1"), "")]
    {
        if let Some(key) = key {
            fs::write(&keys, key.repeat(32)).unwrap();
            fs::set_permissions(&keys, fs::Permissions::from_mode(0o600)).unwrap();
        }
        for rest in ["audio", "peaks?buckets=4"] {
            if why.is_empty() {
                continue;
            }
            let refused = ask("GET", rest);
            assert_eq!(refused.status(), "500");
            assert!(
                refused.body.contains("is sealed") && refused.body.contains(why),
                "{}",
                refused.body
            );
        }
    }
    let head = format!(
        "GET /api/v1/recordings/2/audio HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
         Authorization: Bearer {token}\r\nRange: bytes=8-15\r\n\r\n"
    );
    let part = bench.send(head.as_bytes());
    assert_eq!((part.status(), part.body.as_str()), ("206", "WAVEfmt "));
    assert_eq!(part.header("content-range"), Some("bytes 8-15/16044"));
    assert_eq!(part.header("content-type"), Some("audio/wav"));
    let name = Some("inline; filename=\"Sealed.wav\"");
    assert_eq!(ask("HEAD", "audio").header("content-disposition"), name);
    let peaks = ask("GET", "peaks?buckets=4").json();
    assert_eq!(peaks["channels"], serde_json::json!([[1, 1, 20_000, 1]]));
}

#[test]
pub(super) fn what_a_recorder_calls_its_file_leads_nowhere_else() {
    let (bench, home, _file, token) = with_sound();
    fs::write(home.path().parent().unwrap().join("ork-secret-of-test"), "x").unwrap();
    for (n, name) in ["..%2Fork-secret-of-test", "%2Fetc%2Fpasswd", "2026%2F..%2F..%2Fetc"]
        .into_iter()
        .enumerate()
    {
        let call = READY.replace("20261121_021704_EZIP&", &format!("evil{n}&"));
        let (before, rest) = call.split_once("filename=").unwrap();
        let (_, after) = rest.split_once('&').unwrap();
        assert_eq!(bench.tell(&format!("{before}filename={name}&{after}")).status(), "200");
        let id = n + 2;
        for path in ["audio", "peaks"] {
            let answer = bench.ask(&token, "GET", &format!("/api/v1/recordings/{id}/{path}"), "");
            assert_eq!(answer.status(), "404", "{name}");
        }
        let gone = bench.ask(&token, "DELETE", &format!("/api/v1/recordings/{id}"), "");
        assert_eq!(gone.status(), "404", "{name}");
    }
    fs::remove_file(home.path().parent().unwrap().join("ork-secret-of-test")).unwrap();
}

#[test]
pub(super) fn what_is_held_is_not_deleted() {
    let (bench, _home, file, token) = with_sound();
    let ask = |method: &str, rest: &str, body: &str| {
        bench.ask(&token, method, &format!("/api/v1/recordings/1{rest}"), body).status().to_owned()
    };
    assert_eq!(ask("POST", "/hold", r#"{"reason":" "}"#), "400");
    assert_eq!(ask("POST", "/hold", r#"{"reason":"court"}"#), "200");
    assert_eq!((ask("DELETE", "", "").as_str(), file.exists()), ("409", true));
    assert_eq!(ask("DELETE", "/hold", ""), "200");
    assert_eq!((ask("DELETE", "", "").as_str(), file.exists()), ("200", false));
    assert_eq!(ask("GET", "", ""), "404");
    assert_eq!(bench.sql::<i64>("SELECT count(*) FROM tape_key"), 0);
    let live = START.replace("20261121_021704_EZIP", "Live");
    bench.tell(&live);
    let id = bench.sql::<i64>("SELECT id FROM tape");
    let status = bench.ask(&token, "DELETE", &format!("/api/v1/recordings/{id}"), "");
    assert_eq!(status.status(), "409");
    let deeds = bench.sql::<String>("SELECT group_concat(action || ' ' || result) FROM audit");
    assert!(deeds.ends_with("hold 200,delete 409,release 200,delete 200,delete 409"), "{deeds}");
}

#[test]
pub(super) fn tags_people_and_rules() {
    let (bench, _home, _file, token) = with_sound();
    let post = |path: &str, body: &str| bench.ask(&token, "POST", &format!("/api/v1/{path}"), body);
    let tagged = post("recordings/1/tags", r#"{"type":"Case","text":"7","offset_ms":500}"#);
    assert_eq!(tagged.status(), "200");
    let one = bench.ask(&token, "GET", "/api/v1/recordings/1", "").json();
    assert_eq!(one["recording"]["moments"][0]["offsetmsec"], 500);
    let user = r#"{"loginstring":"5001","firstname":"Al","group":"Sales"}"#;
    assert_eq!(post("users", user).json()["id"], 1);
    let users = bench.ask(&token, "GET", "/api/v1/users", "").json();
    assert_eq!(users["users"][0]["groups"][0], "Sales");
    assert_eq!(post("workstations", r#"{"hostname":"HomePC"}"#).status(), "200");
    bench.tell("cmd=agentstate&state=login&agent=5001&workstation=HomePC");
    let agents = bench.ask(&token, "GET", "/api/v1/agents", "").json();
    assert_eq!(agents["agents"][0]["place"], "HomePC");
    assert_eq!(post("programs", r#"{"name":"long","min_seconds":60}"#).json()["id"], 1);
    assert_eq!(post("programs", r#"{"name":"x","percent":200}"#).status(), "400");
    let programs = bench.ask(&token, "GET", "/api/v1/programs", "").json();
    assert_eq!(programs["programs"][0]["min_seconds"], 60);
    let later = bench.tell(&READY.replace("EZIP&", "EZIQ&"));
    assert!(later.body.contains("deletetape=true"));
    assert_eq!(bench.ask(&token, "DELETE", "/api/v1/programs/1", "").status(), "200");
    let class = r#"{"name":"year","keep_days":365,"standard":true}"#;
    assert_eq!(post("retention", class).status(), "200");
    assert_eq!(post("retention", r#"{"name":"x","keep_days":0}"#).status(), "400");
    bench.tell(&READY.replace("EZIP&", "EZIR&"));
    let expires = bench.sql::<i64>("SELECT expires - started FROM tape WHERE recid LIKE '%R'");
    assert_eq!(expires, 365 * 86_400);
    let recorders = bench.ask(&token, "GET", "/api/v1/recorders", "").json();
    assert_eq!(recorders["recorders"][0]["hostname"], "vm");
    let audit = bench.ask(&token, "GET", "/api/v1/audit", "").json();
    assert_eq!(audit["audit"][0]["action"], "write retention");
    for broken in ["", "[]", "{\"nonsense\":1}", "\u{0}"] {
        assert_eq!(post("users", broken).status(), "400");
    }
    let removed = bench.ask(&token, "DELETE", "/api/v1/users/1", "");
    assert_eq!(removed.status(), "200");
}

#[test]
pub(super) fn a_table_for_other_programs() {
    let (bench, _home, _file, token) = with_sound();
    for n in 0..3 {
        bench.tell(&START.replace("EZIP&", &format!("EZI{n}&")));
    }
    let ask =
        |query: &str| bench.ask(&token, "GET", &format!("/api/v1/recordings.csv?{query}"), "");
    let all = ask("sort=started");
    assert!(all.header("content-type").unwrap().starts_with("text/csv"));
    assert_eq!(all.body.lines().count(), 5);
    let first = all.body.lines().nth(1).unwrap();
    assert!(
        first.starts_with(
            "1,20261121_021704_EZIP,vm,ready,2026-11-21T02:17:04Z,2,out,100000,200000,"
        ),
        "{first}"
    );
    let some = ask("sort=started&limit=3");
    let rest = ask(&format!("sort=started&cursor={}", some.header("x-next").unwrap()));
    assert_eq!((some.body.lines().count(), rest.body.lines().count()), (4, 2));
}
