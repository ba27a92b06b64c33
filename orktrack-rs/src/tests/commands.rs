//! Every command of the API document, in its published form: the answer to the byte, and what it did
//! to the database.

use super::{Bench, INIT, READY, START, STOP};

const DONE: &str = "class=simpleresponse success=true comment= \n";
const USER: &str = "class=userresponse success=true comment= returncode=NO_ERROR \n";

fn failed(comment: &str) -> String {
    format!("class=simpleresponse success=false comment={comment} \n")
}

/// A live call of 100000 that began ten seconds ago.
fn live(bench: &Bench) {
    let started = crate::http::unix_now() - 10;
    let start = START.replace("1795227424", &started.to_string());
    assert_eq!(bench.tell(&start).status(), "200");
}

/// The person 5001 with `userid` 1, and a workstation.
fn staffed() -> Bench {
    let bench = Bench::new();
    let added = bench.tell("cmd=adduser&firstname=John&lastname=Doe&loginstring=5001");
    assert_eq!(added.body, USER);
    let sql = "INSERT INTO workstation (hostname, device) VALUES ('HomePC', '')";
    bench.change(sql);
    bench
}

#[test]
pub(super) fn the_three_published_tape_messages() {
    let bench = Bench::new();
    let tape = |stage: &str, more: &str| {
        format!(
            "type=tape&recid=20081116_190128_KUU&stage={stage}&captureport=KUU\
             &timestamp=1226880088{more}"
        )
    };
    let taken = "class=taperesponse success=true comment= deletetape=false \n";
    let start = tape(
        "start",
        "&filename=2008/11/16/19/20081116_190128_KUU&localparty=3125551234&localentrypoint=\
         &remoteparty=3125550001&direction=unkn&duration=0&service=orkaudio&localip=192.168.1.1\
         &remoteip=192.168.10.1&nativecallid=&tags=&hostname=orkaudio&mediatype=A&live=true",
    );
    let end = "&filename=2008/11/16/19/20081116_190128_KUU.wav&localparty=3125551234\
         &localentrypoint=&remoteparty=3125550001&direction=in&duration=35&service=orkaudio\
         &localip=192.168.1.1&remoteip=192.168.10.1&nativecallid=&tags=&hostname=orkaudio\
         &mediatype=S&live=true";
    assert_eq!(bench.get(&format!("//orktrack/command?{start}")).body, taken);
    assert_eq!(bench.sql::<String>("SELECT state FROM tape"), "live");
    for stage in ["update", "hold", "resume", "stop", "ready", "complete"] {
        assert_eq!(bench.tell(&tape(stage, end)).body, taken, "{stage}");
    }
    let row = "SELECT state || ' ' || direction || ' ' || duration FROM tape";
    assert_eq!(bench.sql::<String>(row), "ready in 35");
    assert_eq!(bench.sql::<i64>("SELECT count(*) FROM tape_stage"), 6, "complete is a stop");
}

#[test]
pub(super) fn metadata_says_whose_call_it_was() {
    let bench = staffed();
    let told = "captureport=EZIP&timestamp=1795227423&duration=4&localparty=77\
                &loginstring=5001&service=orkaudio";
    assert_eq!(bench.tell(&format!("type=metadata&stage=start&{told}")).body, DONE);
    assert_eq!(bench.sql::<i64>("SELECT count(*) FROM cti WHERE stopped IS NULL"), 1);
    bench.tell(START);
    bench.tell(STOP);
    assert_eq!(bench.sql::<i64>("SELECT count(*) FROM segment"), 0);
    // As the older tracker spells it.
    let told = told.replace("captureport", "capturePort").replace("localparty", "localParty");
    assert_eq!(bench.tell(&format!("type=metadata&stage=stop&{told}")).body, DONE);
    let segment = "SELECT side || ' ' || orkuser || ' ' || loginstring FROM segment";
    assert_eq!(bench.sql::<String>(segment), "cti 1 5001");

    bench.change("DELETE FROM segment");
    assert_eq!(bench.tell("cmd=evalmetadata&ids=1,2,87&startid=1").body, DONE);
    assert_eq!(bench.sql::<String>(segment), "cti 1 5001");
    bench.change("DELETE FROM segment");
    assert_eq!(bench.tell("cmd=evalmetadata&ids=&starttime=1795227000").body, DONE);
    assert_eq!(bench.sql::<String>(segment), "cti 1 5001");
    assert_eq!(bench.tell("cmd=evalmetadata&ids=x").body, failed("invalid%svalue%sfor%sids:%sx"));
}

#[test]
pub(super) fn live_status_of_the_busy_and_the_idle() {
    let bench = staffed();
    bench.tell("cmd=adduser&loginstring=100000&groupname=Sales");
    let idle = bench.tell("cmd=livestatus&users=1,2");
    assert_eq!(
        idle.body,
        "class=livestatusresponse success=true returncode=NO_ERROR comment= \
         userstatuses=inactive--NEITHER--86401,inactive--NEITHER--86401 \n"
    );
    live(&bench);
    let call = "vm--59120!100000--200000--NEITHER--10--20261121_021704_EZIP--OUT--both--REC";
    let again = call.replace("--10--", "--11--");
    let busy = bench.tell("cmd=livestatus&users=2,1").body;
    let expected = |call: &str| {
        format!(
            "class=livestatusresponse success=true returncode=NO_ERROR comment= \
             userstatuses={call},inactive--NEITHER--86401 \n"
        )
    };
    assert!([expected(call), expected(&again)].contains(&busy), "{busy}");
    bench.tell("cmd=addtag&orkuid=20261121_021704_EZIP&tagtype=Comment&tagtext=rude%20to%20caller");
    let tagged = bench.tell("cmd=livestatus&localparty=100000").body;
    assert!(tagged.ends_with("--REC--Comment-rude%sto%scaller \n"), "{tagged}");
    bench.tell(&STOP.replace("1795227424", &(crate::http::unix_now() - 70).to_string()));
    let over = bench.tell("cmd=livestatus&localparty=100000").body;
    // A later stop with an earlier begin: it ended 68 s ago.
    assert!(over.contains("userstatuses=inactive--NEITHER--"), "{over}");
    assert!(!bench.tell("cmd=livestatus").body.contains("success=true"));
}

#[test]
pub(super) fn query_user() {
    let bench = staffed();
    let answer = |wanted: bool, active: bool| {
        format!(
            "class=queryuserresponse success=true comment= returncode=NO_ERROR wanted={wanted} \
             active={active} \n"
        )
    };
    assert_eq!(bench.tell("cmd=queryuser&localparty=5001").body, answer(true, false));
    live(&bench);
    assert_eq!(bench.tell("cmd=queryuser&localparty=100000").body, answer(true, true));
    bench.tell("cmd=adduser&loginstring=5001&groupname=Sales&recordable=no");
    assert_eq!(bench.tell("cmd=queryuser&localparty=5001").body, answer(false, false));
}

#[test]
pub(super) fn add_user_writes_only_what_is_given() {
    let bench = staffed();
    let user = "SELECT firstname || '|' || lastname || '|' || email || '|' || recordable || '|'
        || external FROM orkuser WHERE id = 1";
    assert_eq!(bench.sql::<String>(user), "John|Doe||1|0");
    let change = "cmd=adduser&loginstring=5001&groupname=Sales&email=jsmith@abc.com&external=1";
    assert_eq!(bench.tell(change).body, USER);
    assert_eq!(bench.sql::<String>(user), "John|Doe|jsmith@abc.com|1|1");
    let groups = "SELECT group_concat(name || ':' || kind) FROM orkgroup";
    assert_eq!(bench.sql::<String>(groups), "Sales:regular");
    // An unknown security group is skipped, a known one replaces the one before.
    assert_eq!(bench.tell("cmd=adduser&loginstring=5001&securitygroupname=East").body, USER);
    assert_eq!(bench.sql::<i64>("SELECT count(*) FROM group_member"), 1);
    for name in ["East", "West"] {
        bench.change(&format!(
            "INSERT INTO orkgroup (name, kind, created) VALUES ('{name}', 'security', 1)"
        ));
        bench.tell(&format!("cmd=adduser&loginstring=5001&securitygroupname={name}"));
    }
    let member = "SELECT group_concat(name) FROM group_member JOIN orkgroup ON id = orkgroup
        WHERE kind = 'security'";
    assert_eq!(bench.sql::<String>(member), "West");
    let refused = "class=userresponse success=false comment=Error:%sERROR_SAVING_USER \
                   returncode=ERROR_SAVING_USER \n";
    for wrong in [
        "firstname=A&lastname=B",
        "loginstring=7",
        "loginstring=7&firstname=A",
        "loginstring=7&groupname=G&external=maybe",
    ] {
        let answer = bench.tell(&format!("cmd=adduser&{wrong}"));
        assert_eq!((answer.status(), answer.body.as_str()), ("200", refused));
        assert_eq!(answer.header("x-ork-status"), Some("400"));
    }
}

#[test]
pub(super) fn add_login_string() {
    let bench = staffed();
    let add = |find: &str, new: &str| {
        bench.tell(&format!("cmd=addloginstring&findloginstring={find}&newloginstring={new}"))
    };
    assert_eq!(add("5001", "sip:john@x").body, USER);
    assert_eq!(add("5001", "sip:john@x").body, USER);
    let strings = "SELECT group_concat(loginstring) FROM login_string WHERE orkuser = 1";
    assert_eq!(bench.sql::<String>(strings), "5001,sip:john@x");
    let nobody = "class=userresponse success=false \
                  comment=Error:%sERROR_NO_USER_FOUND_FOR_LOGINSTRING \
                  returncode=ERROR_NO_USER_FOUND_FOR_LOGINSTRING \n";
    let answer = add("9", "8");
    assert_eq!((answer.body.as_str(), answer.header("x-ork-status")), (nobody, Some("404")));
    bench.tell("cmd=adduser&loginstring=5002&groupname=Sales");
    assert!(add("5002", "5001").body.contains("returncode=ERROR_LOGINSTRING_IN_USE"));
}

#[test]
pub(super) fn delete_group() {
    let bench = staffed();
    bench.tell("cmd=adduser&loginstring=5001&groupname=Sales");
    let group = |text: &str| bench.tell(&format!("cmd=deletegroup&groupname={text}")).body;
    assert_eq!(group("Sales"), "class=groupresponse success=true comment= returncode=NO_ERROR \n");
    assert_eq!(bench.sql::<i64>("SELECT count(*) FROM orkgroup"), 0);
    let none = "class=groupresponse success=false comment=Error:%sERROR_NO_GROUP_FOUND \
                returncode=ERROR_NO_GROUP_FOUND \n";
    assert_eq!(group("Sales"), none);
    let sql = "INSERT INTO orkgroup (name, kind, created) VALUES ('East', 'security', 1)";
    bench.change(sql);
    assert_eq!(group("East"), none);
    let strict = Bench::with(|config| config.strict = true);
    let slip = "class=groupresponse success=false \
                comment=Error:%sERROR_NO_USER_FOUND_FOR_LOGINSTRING \
                returncode=ERROR_NO_USER_FOUND_FOR_LOGINSTRING \n";
    assert_eq!(strict.tell("cmd=deletegroup&groupname=Sales").body, slip);
}

#[test]
pub(super) fn add_users_and_tasks_read_only_below_their_folder() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("hr.csv");
    std::fs::write(&file, "loginstring,firstname,lastname\n1;2,A,B\n3,C,D\n").unwrap();
    let root = home.path().to_owned();
    let bench = Bench::with(|config| {
        config.import_root = Some(root);
        config.tasks = vec![("hr".to_owned(), "hr.csv".to_owned())];
    });
    let added = "class=simpleresponse success=true comment=added:2%supdated:0%srefused:0 \n";
    let import = "cmd=addusers&keeppls=false&recordall=true&file=hr.csv";
    assert_eq!(bench.tell(import).body, added);
    assert_eq!(bench.sql::<i64>("SELECT count(*) FROM login_string WHERE until IS NULL"), 3);
    std::fs::write(&file, "loginstring\n1\n").unwrap();
    assert_eq!(
        bench.tell("cmd=extdbsync&name=hr").body,
        "class=simpleresponse success=true comment=added:0%supdated:1%srefused:0 \n"
    );
    assert_eq!(bench.sql::<i64>("SELECT count(*) FROM login_string WHERE until IS NULL"), 2);
    let unknown = failed("Error:%sERROR_TASK_NOT_FOUND");
    assert_eq!(bench.tell("cmd=extdbsync&name=taskname").body, unknown);
    let outside = bench.tell("cmd=addusers&file=/etc/passwd");
    assert!(outside.body.contains("does%snot%slie%sbelow"), "{}", outside.body);
    assert_eq!(outside.header("x-ork-stored"), Some("refused"));
}

#[test]
pub(super) fn agents_come_and_go() {
    let bench = staffed();
    bench.tell("cmd=adduser&loginstring=5000&groupname=Sales");
    let state = |text: &str| bench.tell(&format!("cmd=agentstate&state={text}")).body;
    let there = "SELECT coalesce(group_concat(agent || '@' || place || rfbport), '') FROM
        (SELECT * FROM agent_session WHERE until IS NULL ORDER BY place, rfbport) x";
    assert_eq!(state("login&agent=5000&device=2000&agentgroup=6000"), DONE);
    assert_eq!(bench.sql::<String>(there), "5000@2000");
    assert_eq!(state("login&agent=5000&workstation=HomePC"), DONE);
    assert_eq!(state("login&agent=5000&device=2001&agentgroup=6000&workstation=HomePC"), DONE);
    assert_eq!(bench.sql::<String>(there), "5000@2001,5000@HomePC", "one device for each agent");
    assert_eq!(state("login&agent=5001&workstation=HomePC&rfbport=5900"), DONE);
    assert_eq!(bench.sql::<String>(there), "5000@2001,5000@HomePC,5001@HomePC5900");
    assert_eq!(state("logout&workstation=HomePC&rfbport=5900"), DONE);
    assert_eq!(state("logout&agent=5000&workstation=HomePC"), DONE);
    assert_eq!(state("logout&device=2001"), DONE);
    assert_eq!(bench.sql::<String>(there), "");
    assert_eq!(bench.sql::<i64>("SELECT count(*) FROM agent_session"), 5, "all is kept");
    assert_eq!(state("logout&device=2001"), failed("nobody%sis%slogged%sin%sthere"));
    assert_eq!(
        state("login&agent=9&device=1"),
        failed("Could%snot%sfind%suser%sfor%slogin%sstring:9")
    );
    assert_eq!(
        state("login&agent=5000&workstation=Nowhere"),
        failed("Could%snot%sfind%sworkstation:Nowhere")
    );
    assert_eq!(state("login&agent=5000"), failed("parameter%smissing:%sdevice"));
    assert_eq!(state("login&device=1"), failed("parameter%smissing:%sagent"));
    let older = "cmd=userstate&userstate=LOGIN&loginstring=5000&recport=2002";
    assert_eq!(bench.tell(older).body, DONE);
    assert_eq!(bench.sql::<String>(there), "5000@2002");
}

#[test]
pub(super) fn a_call_belongs_to_whoever_was_there_when_it_began() {
    let bench = staffed();
    bench.tell("cmd=adduser&loginstring=5000&groupname=Sales");
    bench.tell("cmd=addloginstring&findloginstring=5001&newloginstring=100000");
    let owner = "SELECT orkuser || ' ' || loginstring || ' ' || coalesce(agent_session, 0)
        FROM segment WHERE side = 'local'";
    bench.tell("cmd=agentstate&state=login&agent=5000&device=100000");
    bench.tell(START);
    assert_eq!(bench.sql::<String>(owner), "1 100000 0", "it began before the agent came");
    bench.change("DELETE FROM tape_key");
    bench.change("DELETE FROM tape");
    live(&bench);
    bench.change("UPDATE agent_session SET since = since - 60");
    bench.change("DELETE FROM tape");
    live(&bench);
    assert_eq!(bench.sql::<String>(owner), "2 5000 1");
    let status = bench.tell("cmd=livestatus&localparty=5000").body;
    assert!(status.contains("!100000--200000--"), "by the agent's login string: {status}");
}

#[test]
pub(super) fn agents_who_come_and_go_part_a_call() {
    let bench = staffed();
    bench.tell("cmd=adduser&loginstring=5000&groupname=Sales");
    bench.tell("cmd=adduser&loginstring=100000&groupname=Sales");
    live(&bench);
    let parts = || {
        bench.sql::<String>(
            "SELECT group_concat(orkuser || ':' || (since - t.started) || '-'
                 || coalesce(CAST(until - t.started AS TEXT), ''))
             FROM (SELECT s.*, started FROM segment s JOIN tape ON tape.id = s.tape
                   WHERE s.side = 'local' ORDER BY since) t",
        )
    };
    assert_eq!(parts(), "3:0-");
    let login = |text: &str| bench.tell(&format!("cmd=agentstate&state={text}&device=100000")).body;
    let back = |seconds: u32| {
        // Time passes.
        for (table, column) in [
            ("agent_session", "since"),
            ("agent_session", "until"),
            ("tape", "started"),
            ("tape_key", "started"),
        ] {
            bench.change(&format!("UPDATE {table} SET {column} = {column} - {seconds}"));
        }
    };
    assert_eq!(login("login&agent=5001"), DONE);
    let came = parts();
    assert!(came.starts_with("3:0-1") && came.contains(",1:1"), "{came}");
    assert!(bench.tell("cmd=livestatus&users=1").body.contains("!100000--"));
    assert!(bench.tell("cmd=livestatus&users=3").body.contains("=inactive--"), "it left the first");
    back(5);
    assert_eq!(login("login&agent=5000"), DONE);
    back(5);
    assert_eq!(login("logout"), DONE);
    let people: Vec<String> =
        parts().split(',').map(|part| part.split(':').next().unwrap().to_owned()).collect();
    assert_eq!(people, ["3", "1", "2", "3"], "{}", parts());
    let user = |id: i64| {
        let sql = format!("SELECT count(*) FROM tape_key WHERE word = 'user:{id}'");
        bench.sql::<i64>(&sql)
    };
    assert_eq!([user(1), user(2), user(3)], [1, 1, 1], "each of them finds it");
    // Whoever comes when it is over has no part in it, and by the recorder's clock it was over sooner.
    let started = bench.sql::<i64>("SELECT started FROM tape");
    let stop =
        STOP.replace("1795227424", &started.to_string()).replace("duration=2&", "duration=12&");
    assert_eq!(bench.tell(&stop).status(), "200");
    let over = parts();
    assert!(
        over.starts_with("3:0-1") && over.matches(',').count() == 1 && over.ends_with('-'),
        "{over}"
    );
    assert_eq!(login("login&agent=5000"), DONE);
    assert_eq!(parts(), over);
    assert_eq!([user(1), user(2), user(3)], [1, 0, 1]);
}

#[test]
pub(super) fn keep_discard_neither() {
    let bench = staffed();
    bench.tell("cmd=addloginstring&findloginstring=5001&newloginstring=100000");
    let none = failed("ERROR_NO_RECORDING_FOUND");
    assert_eq!(bench.tell("cmd=keep&userid=1&elapsedtime=30").body, none);
    live(&bench);
    let flag = || bench.sql::<String>("SELECT keep FROM tape");
    for (command, word) in [("keep", "KEEP"), ("neither", "NEITHER"), ("discard", "DROP")] {
        let answer = bench.tell(&format!("cmd={command}&userid=1&elapsedtime=10"));
        assert_eq!((answer.body.as_str(), flag().as_str()), (DONE, word));
    }
    let status = bench.tell("cmd=livestatus&users=1").body;
    assert!(status.contains("--DROP--"), "{status}");
    // That button was pressed during the call before this one.
    assert_eq!(bench.tell("cmd=keep&userid=1&elapsedtime=300").body, none);
    assert_eq!(flag(), "DROP");
    let ready = bench.tell(READY);
    assert_eq!(ready.body, "class=taperesponse success=true comment= deletetape=true \n");
    assert_eq!(bench.tell(READY).body, ready.body, "the same again");
    assert_eq!(bench.sql::<i64>("SELECT count(*) FROM tape WHERE discarded IS NOT NULL"), 1);
}

#[test]
pub(super) fn what_was_deleted_stays_deleted() {
    let bench = Bench::with(|config| {
        let folder = std::env::temp_dir();
        config.audio_roots =
            vec![crate::config::AudioRoot { hostname: Some("vm".to_owned()), folder }];
    });
    let token = bench.account("boss", crate::store::accounts::Role::Admin, None, &[]);
    let tag = "type=addtag&orkuid=20261121_021704_EZIP&tagtype=dtmfdigit&tagtext=5&offsetmsec=9&";
    for told in [START, tag, READY] {
        assert_eq!(bench.tell(told).header("x-ork-stored"), Some("yes"));
    }
    let id = bench.sql::<i64>("SELECT id FROM tape");
    let deleted = bench.ask(&token, "DELETE", &format!("/api/v1/recordings/{id}"), "");
    assert_eq!(deleted.status(), "200");
    for (told, deletetape) in [(READY, true), (START, false), (STOP, false), (READY, true)] {
        let answer = bench.tell(told);
        assert_eq!(answer.header("x-ork-stored"), Some("gone"));
        assert!(answer.body.ends_with(&format!("deletetape={deletetape} \n")), "{}", answer.body);
    }
    let tagged = bench.tell(tag);
    assert_eq!((tagged.body.as_str(), tagged.header("x-ork-stored")), (DONE, Some("gone")));
    for table in ["tape", "tape_stage", "moment_tag", "tape_key"] {
        assert_eq!(bench.sql::<i64>(&format!("SELECT count(*) FROM {table}")), 0, "{table}");
    }
}

#[test]
pub(super) fn tags_in_three_forms() {
    let bench = Bench::new();
    let tags = || {
        bench.sql::<String>(
            "SELECT coalesce(group_concat(recid || ' ' || tagtype || '=' || tagtext), '')
             FROM (SELECT * FROM moment_tag ORDER BY recid, tagtype, tagtext) x",
        )
    };
    let by_party = "cmd=addtag&localparty=100000&tagtype=Case&tagtext=7";
    assert_eq!(bench.tell(by_party).body, failed("ERROR_NO_RECORDING_FOUND"));
    bench.tell(START);
    assert_eq!(bench.tell(by_party).body, DONE);
    let by_uid = "cmd=addtag&orkuid=20261121_021704_EZIP&tagentry=CustomerNo:1234\
                  &tagentry=AgentID:3001:x";
    assert_eq!(bench.tell(by_uid).body, DONE);
    let uid = "20261121_021704_EZIP";
    assert_eq!(tags(), format!("{uid} AgentID=3001:x,{uid} Case=7,{uid} CustomerNo=1234"));
    // By another tag: recordings there are, and those to come.
    let by_tag = "cmd=addtag&findtagtype=Case&findtagtext=7&tagtype=Vip&tagtext=yes";
    assert_eq!(bench.tell(by_tag).body, DONE);
    assert!(tags().ends_with("Vip=yes"), "{}", tags());
    let later = START.replace(uid, "Later").replace("tags=", "tags=Case%3A7");
    bench.tell(&later);
    assert!(tags().starts_with(&format!("{uid} AgentID")) && tags().ends_with("Later Vip=yes"));
    let found = bench.sql::<i64>("SELECT count(*) FROM tape_key WHERE word = 'tag:Vip=yes'");
    assert_eq!(found, 2);
    assert_eq!(bench.tell("cmd=addtag&orkuid=x").body, failed("parameter%smissing:%stagtype"));
    assert_eq!(
        bench.tell("cmd=addtag&orkuid=x&tagentry=nothing").body,
        failed("invalid%svalue%sfor%stagentry:%snothing")
    );
    let kinds = bench.sql::<String>(
        "SELECT group_concat(name || ':' || source) FROM
        (SELECT * FROM tag_type ORDER BY name) x",
    );
    assert_eq!(kinds, "AgentID:user,Case:user,CustomerNo:user,Vip:user");
}

#[test]
pub(super) fn the_small_ones() {
    let bench = Bench::new();
    for command in
        ["cmd=updatecache", "cmd=updatecache&cache=programsremoteparty", "cmd=reloadloggingconfig"]
    {
        assert_eq!(bench.tell(command).body, DONE);
    }
    assert_eq!(bench.tell("cmd=ping").body, "class=simpleresponse success=true comment=pong \n");
    assert_eq!(bench.tell(INIT).body, DONE);
}

#[test]
pub(super) fn xml_and_json_on_request() {
    let bench = Bench::new();
    let ask = |accept: &str| {
        let query = "/orktrack/command?cmd=deletegroup&groupname=Sales";
        bench.send(format!("GET {query} HTTP/1.0\r\nAccept: {accept}\r\n\r\n").as_bytes())
    };
    let json = ask("application/json").json();
    assert_eq!((&json["success"], &json["class"]), (&false.into(), &"groupresponse".into()));
    assert_eq!(json["returncode"], "ERROR_NO_GROUP_FOUND");
    let xml = ask("text/xml");
    assert!(xml.header("content-type").unwrap().starts_with("text/xml"));
    assert!(
        xml.body.contains(
            "<response><success>false</success><comment>Error: ERROR_NO_GROUP_FOUND</comment>\
             <returncode>ERROR_NO_GROUP_FOUND</returncode></response>"
        ),
        "{}",
        xml.body
    );
}

#[test]
pub(super) fn what_changes_people_or_calls_is_in_the_audit_log() {
    let bench = staffed();
    bench.tell("cmd=agentstate&state=login&agent=5001&device=7");
    bench.tell("cmd=keep&userid=1");
    bench.tell("cmd=ping");
    let log = bench.sql::<String>(
        "SELECT group_concat(who || ' ' || action || ' ' || target || ' ' || result) FROM audit",
    );
    assert_eq!(
        log,
        "command port adduser loginstring=5001 done,command port agentstate state=login \
         agent=5001 device=7 done,command port keep userid=1 ERROR_NO_RECORDING_FOUND"
    );
}

#[test]
pub(super) fn commands_come_from_the_allowed_networks_only() {
    let bench = Bench::with(|config| config.networks = vec!["10.0.0.0/8".parse().unwrap()]);
    let refused = bench.tell("cmd=ping");
    assert_eq!(refused.status(), "403");
    assert!(refused.body.contains("commands.networks"));
}
