//! Who may do what: every route by every role and by a stranger, deny by default; whose recordings
//! are seen; sign-in and its lock.

use super::{Answer, Bench, START};
use crate::{
    http::api::{ROUTES, Right, allows},
    store::{accounts::Role, groups, once, users},
};

/// What the table of rights is meant to be, by hand: a route that is not here is for admins only.
const MEANT: [(&str, &[Role]); 12] = {
    use Role::{Agent, Api, Auditor, Supervisor};
    const ALL: &[Role] = &[Supervisor, Agent, Auditor, Api];
    const LOOK_UP: &[Role] = &[Supervisor, Auditor, Api];
    [
        ("POST /api/v1/logout", ALL),
        ("GET /api/v1/me", ALL),
        ("GET /api/v1/recordings", ALL),
        ("GET /api/v1/recordings.csv", ALL),
        ("GET /api/v1/recordings/{id}", ALL),
        ("GET /api/v1/recordings/{id}/audio", ALL),
        ("GET /api/v1/recordings/{id}/peaks", ALL),
        ("POST /api/v1/recordings/{id}/tags", &[Supervisor, Agent, Api]),
        ("POST /api/v1/recordings/{id}/hold", &[Supervisor]),
        ("GET /api/v1/users", LOOK_UP),
        ("GET /api/v1/groups", LOOK_UP),
        ("GET /api/v1/agents", LOOK_UP),
    ]
};

#[test]
pub(super) fn every_route_by_every_role() {
    let bench = Bench::new();
    let auditor: [&str; 2] = ["GET /api/v1/recorders", "GET /api/v1/audit"];
    let tokens = Role::ALL.map(|role| (role, bench.account(role.as_str(), role, None, &[])));
    let mut checked = 0;
    for (method, path, right, ..) in ROUTES {
        let target = path.replace("{id}", "999");
        let name = format!("{method} {path}");
        let stranger = bench.send(format!("{method} {target} HTTP/1.0\r\n\r\n").as_bytes());
        let wrong = bench.ask("no-such-token", method, &target, "");
        for answer in [stranger, wrong] {
            let expected = if right == Right::Open { "400" } else { "401" };
            assert_eq!(answer.status(), expected, "{name} by a stranger");
        }
        let meant = MEANT.iter().find(|(route, _)| *route == name).map_or(&[][..], |meant| meant.1);
        for (role, token) in &tokens {
            let may = *role == Role::Admin
                || right == Right::Open
                || meant.contains(role)
                || *role == Role::Auditor && auditor.contains(&name.as_str());
            assert_eq!(allows(*role, right), may, "{name} by {}", role.as_str());
            // Signing out would end the token.
            if path == "/api/v1/logout" && may {
                continue;
            }
            let answer = bench.ask(token, method, &target, "");
            assert_eq!(answer.status() != "403", may, "{name} by {}", role.as_str());
            assert!(answer.status() != "401" && answer.status() != "500", "{name}");
            checked += 1;
        }
    }
    assert!(checked > 150, "{checked}");
    assert_eq!(bench.get("/api/v1/nothing").status(), "404");
    assert_eq!(bench.ask(&tokens[0].1, "GET", "/api/v2/recordings", "").status(), "404");
    assert_eq!(bench.ask(&tokens[0].1, "PUT", "/api/v1/recordings", "").status(), "405");
}

/// Two people in two security groups, a call of each, a call of nobody.
fn two_groups() -> Bench {
    let bench = Bench::new();
    once(&bench.database, |session| {
        for (loginstring, group) in [("1001", "East"), ("2001", "West")] {
            groups::put(session, group, "security", 5)?;
            let change = users::Change {
                loginstring: loginstring.to_owned(),
                security: Some(group.to_owned()),
                ..users::Change::default()
            };
            users::put(session, &change, 5)?;
        }
        Ok(())
    })
    .unwrap();
    for (recid, party) in [("East1", "1001"), ("West1", "2001"), ("Nobody1", "3001")] {
        let call =
            START.replace("20261121_021704_EZIP", recid).replace("=100000", &format!("={party}"));
        assert_eq!(bench.tell(&call).status(), "200");
    }
    bench
}

fn names(answer: &Answer) -> Vec<String> {
    let page = answer.json();
    let recordings = page["recordings"].as_array().unwrap();
    let mut names: Vec<String> =
        recordings.iter().map(|one| one["recid"].as_str().unwrap().to_owned()).collect();
    names.sort();
    names
}

#[test]
pub(super) fn nobody_sees_the_calls_of_a_foreign_group() {
    let bench = two_groups();
    let all = ["East1", "Nobody1", "West1"];
    for (role, userid, groups, seen) in [
        (Role::Admin, None, &[][..], &all[..]),
        (Role::Auditor, None, &[], &all),
        (Role::Supervisor, None, &[], &[]),
        (Role::Supervisor, None, &[1], &["East1"]),
        (Role::Supervisor, None, &[1, 2], &["East1", "West1"]),
        (Role::Supervisor, Some(2), &[1], &["East1", "West1"]),
        (Role::Agent, Some(2), &[], &["West1"]),
        // Groups make no supervisor of an agent.
        (Role::Agent, Some(2), &[1], &["West1"]),
        (Role::Agent, None, &[], &[]),
        (Role::Api, None, &[], &all),
        (Role::Api, None, &[2], &["West1"]),
    ] {
        let token = bench.account("who", role, userid, groups);
        let ask = |target: &str| bench.ask(&token, "GET", target, "");
        assert_eq!(names(&ask("/api/v1/recordings")), seen, "{role:?} {userid:?} {groups:?}");
        // Neither do filters, sorting or a number lead around it.
        let narrowed = ask("/api/v1/recordings?party=200000&sort=-duration&direction=out");
        assert_eq!(names(&narrowed), seen);
        for (id, name) in [(1, "East1"), (2, "West1"), (3, "Nobody1")] {
            let status = if seen.contains(&name) { "200" } else { "404" };
            let one = format!("/api/v1/recordings/{id}");
            assert_eq!(ask(&one).status(), status, "{role:?} {name}");
            if status == "404" {
                for (method, rest) in [("GET", "/audio"), ("GET", "/peaks")] {
                    let answer = bench.ask(&token, method, &format!("{one}{rest}"), "");
                    assert_eq!(answer.status(), "404");
                }
                let tag =
                    bench.ask(&token, "POST", &format!("{one}/tags"), r#"{"type":"a","text":"b"}"#);
                assert!(tag.status() == "404" || tag.status() == "403");
                let hold = bench.ask(&token, "POST", &format!("{one}/hold"), r#"{"reason":"x"}"#);
                assert!(hold.status() == "404" || hold.status() == "403");
            }
        }
        let csv = ask("/api/v1/recordings.csv").body;
        assert_eq!(csv.lines().count(), seen.len() + 1, "{csv}");
    }
    assert_eq!(bench.sql::<i64>("SELECT count(*) FROM moment_tag"), 0);
    assert_eq!(bench.sql::<i64>("SELECT count(*) FROM legal_hold"), 0);
}

#[test]
pub(super) fn who_leaves_a_group_takes_the_calls_along() {
    let bench = two_groups();
    let token = bench.account("boss", Role::Supervisor, None, &[1]);
    let seen = || names(&bench.ask(&token, "GET", "/api/v1/recordings", ""));
    assert_eq!(seen(), ["East1"]);
    bench.tell("cmd=adduser&loginstring=2001&securitygroupname=East");
    assert_eq!(seen(), ["East1", "West1"]);
}

const GOOD: &str = r#"{"name":"Ann","password":"correct horse"}"#;
const BAD: &str = r#"{"name":"ann","password":"wrong horse!"}"#;

/// A tracker with the account `ann`, made with a set-up token.
fn set_up() -> Bench {
    let bench = Bench::new();
    let hash = crate::secret::sha256("the token");
    // The tracker makes one of its own when it starts.
    let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while bench.sql::<i64>("SELECT count(*) FROM setting") == 0 {
        assert!(std::time::Instant::now() < until, "no set-up token");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    once(&bench.database, |s| crate::store::accounts::begin_setup(s, &hash)).unwrap();
    let setup = |token: &str| {
        let body = format!(r#"{{"token":"{token}","name":"Ann","password":"correct horse"}}"#);
        bench.ask("", "POST", "/api/v1/setup", &body).status().to_owned()
    };
    assert_eq!(setup("guess"), "403");
    assert_eq!(setup("the token"), "200");
    assert_eq!(setup("the token"), "403", "used up");
    bench
}

#[test]
pub(super) fn the_first_account_then_sign_in_and_out() {
    let bench = set_up();
    let signed = bench.ask("", "POST", "/api/v1/login", GOOD);
    assert_eq!(signed.status(), "200");
    let cookie = signed.header("set-cookie").unwrap().to_owned();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"));
    let token = signed.json()["token"].as_str().unwrap().to_owned();
    let me = bench.ask(&token, "GET", "/api/v1/me", "").json();
    assert_eq!((&me["account"]["name"], &me["account"]["role"]), (&"ann".into(), &"admin".into()));
    assert_eq!(bench.sql::<i64>("SELECT count(*) FROM credential WHERE hash LIKE '%token%'"), 0);

    // By cookie, something is only changed with a header that no foreign page can send.
    let by_cookie = |method: &str, more: &str| {
        let cookie = cookie.split(';').next().unwrap();
        let path = "/api/v1/groups";
        let body = r#"{"name":"East","kind":"security"}"#;
        let length = if method == "GET" { 0 } else { body.len() };
        let body = body.get(..length).unwrap();
        bench.send(
            format!(
                "{method} {path} HTTP/1.0\r\nCookie: a=b; {cookie}\r\n{more}\
                 Content-Length: {length}\r\n\r\n{body}"
            )
            .as_bytes(),
        )
    };
    assert_eq!(by_cookie("GET", "").status(), "200");
    assert_eq!(by_cookie("POST", "").status(), "403");
    assert_eq!(by_cookie("POST", "X-Ork-Csrf: 1\r\n").status(), "200");

    assert_eq!(bench.ask(&token, "POST", "/api/v1/logout", "").status(), "200");
    assert_eq!(bench.ask(&token, "GET", "/api/v1/me", "").status(), "401");
    let log = bench
        .sql::<String>("SELECT group_concat(who || ' ' || action || ' ' || result) FROM audit");
    assert!(log.ends_with("ann sign in 200,ann write group 200"), "{log}");
    assert!(!log.contains("horse"));
}

#[test]
pub(super) fn five_wrong_passwords_lock_and_tell_nothing() {
    let bench = set_up();
    let sign_in = |body: &str| {
        let answer = bench.ask("", "POST", "/api/v1/login", body);
        (answer.status().to_owned(), answer.body)
    };
    let nobody = sign_in(r#"{"name":"bob","password":"wrong horse!"}"#);
    for _ in 0..5 {
        assert_eq!(sign_in(BAD), nobody);
    }
    assert_eq!(sign_in(GOOD), nobody, "locked, and says the same");
    let until = bench.sql::<i64>("SELECT locked_until FROM account");
    let now = i64::try_from(crate::http::unix_now()).unwrap();
    assert!((now + 890..=now + 900).contains(&until), "{until} {now}");
    bench.change("UPDATE account SET locked_until = 0");
    for _ in 0..5 {
        sign_in(BAD);
    }
    let until = bench.sql::<i64>("SELECT locked_until FROM account");
    assert!((now + 1790..=now + 1830).contains(&until), "twice as long: {}", until - now);
    bench.change("UPDATE account SET locked_until = 0");
    assert_eq!(sign_in(GOOD).0, "200");
    assert_eq!(bench.sql::<i64>("SELECT locks FROM account"), 0);
    for _ in 0..40 {
        sign_in(BAD);
    }
    assert_eq!(sign_in(GOOD).0, "429", "one address has guessed too often");
}

#[test]
pub(super) fn tokens_are_told_once_expire_and_are_taken_back() {
    let bench = Bench::new();
    let admin = bench.account("root", Role::Admin, None, &[]);
    let account = bench.ask(&admin, "POST", "/api/v1/accounts", r#"{"name":"crm","role":"api"}"#);
    let account = account.json()["id"].as_i64().unwrap();
    let body = format!(r#"{{"account":{account},"name":"crm","days":7}}"#);
    let issued = bench.ask(&admin, "POST", "/api/v1/tokens", &body).json();
    let (id, token) = (issued["id"].as_i64().unwrap(), issued["token"].as_str().unwrap());
    assert_eq!(bench.ask(token, "GET", "/api/v1/users", "").status(), "200");
    assert!(!bench.ask(&admin, "GET", "/api/v1/tokens", "").body.contains(token));
    bench.change(&format!("UPDATE credential SET created = 0, expires = 5 WHERE id = {id}"));
    assert_eq!(bench.ask(token, "GET", "/api/v1/users", "").status(), "401");
    let issued = bench.ask(&admin, "POST", "/api/v1/tokens", &body).json();
    let (id, token) = (issued["id"].as_i64().unwrap(), issued["token"].as_str().unwrap());
    assert_eq!(bench.ask(token, "GET", "/api/v1/users", "").status(), "200");
    let gone = bench.ask(&admin, "DELETE", &format!("/api/v1/tokens/{id}"), "");
    assert_eq!(gone.status(), "200");
    assert_eq!(bench.ask(token, "GET", "/api/v1/users", "").status(), "401");
    let disabled = r#"{"name":"root","role":"admin","disabled":true}"#;
    assert_eq!(bench.ask(&admin, "POST", "/api/v1/accounts", disabled).status(), "409");
}

#[test]
pub(super) fn commands_from_afar_take_a_token() {
    let bench = Bench::with(|config| config.networks.clear());
    for (role, status) in
        [(Role::Admin, "200"), (Role::Api, "200"), (Role::Agent, "403"), (Role::Auditor, "403")]
    {
        let token = bench.account(role.as_str(), role, None, &[]);
        let answer = bench.ask(&token, "GET", "/orktrack/command?cmd=ping", "");
        assert_eq!(answer.status(), status, "{role:?}");
    }
    assert_eq!(bench.tell("cmd=ping").status(), "403");
}
