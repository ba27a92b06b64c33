//! What nobody may read in a log: both programs at their most talkative, with a secret in every place that
//! takes one, and a look at everything they wrote.

use crate::agents::{Recorder, started};
use ork_tests::{
    programs::{Running, program, wait_until},
    wrap::agents::hep3,
};
use std::{
    fs,
    io::Write,
    net::{SocketAddr, TcpListener, UdpSocket},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Secrets of callers, in what is captured.
const DIGEST: &str = "secretdigest0123456789abcdef";
const PROXY: &str = "secretproxydigest0123456789";
const CRYPTO: &str = "c2VjcmV0Y3J5cHRva2V5MDEyMzQ1Njc4OWFiY2Rl";
const CRYPTO_NAMES: &str = "c2VjcmV0bWlrZXlrZXkwMTIzNDU2Nzg5YWJjZGVm";
/// Secrets of the recorder.
const HEP: &str = "secret-hep-key";
const TLS: &str = "5ec2e7aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa5ec2e7";
const GUESS: &str = "secret-wrong-token";
/// Secrets of the tracker.
const PASSWORD: &str = "secret horse battery";
const WRONG: &str = "secret wrong password";
const INIT: &str = "secret-init-password";
const SERVER: &str = "secret-database-password";

fn output(command: &mut Command) -> (bool, String) {
    let done = command.stdin(Stdio::null()).output().unwrap();
    let said = [done.stdout, done.stderr].concat();
    (done.status.success(), String::from_utf8_lossy(&said).into_owned())
}

/// Answers of curl; whatever it is refused is no matter here.
fn curl(url: &str, more: &[&str]) -> String {
    let mut command = Command::new("curl");
    command.args(["-s", "-i", "--max-time", "2"]).args(more).arg(url);
    output(&mut command).1
}

/// Every file below a folder, but for tapes, and those of its owner that are meant to hold secrets.
fn written(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            written(&path, found);
        } else if path.extension().is_none_or(|end| end != "wav" && end != "toml" && end != "keys")
        {
            found.push(path);
        }
    }
}

fn nowhere(texts: &[(String, Vec<u8>)], secrets: &[&str]) {
    for (name, text) in texts {
        for secret in secrets {
            let found = text.windows(secret.len()).any(|part| part == secret.as_bytes());
            assert!(!found, "{secret} is in {name}");
        }
    }
}

fn texts(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    written(folder, &mut files);
    files.into_iter().map(|path| (path.display().to_string(), fs::read(path).unwrap())).collect()
}

/// A call whose parties authenticate, with keys in its session descriptions.
fn call(recorder: &Recorder) {
    let (a, b): (SocketAddr, SocketAddr) =
        ("10.1.0.1:5060".parse().unwrap(), "10.2.0.1:5060".parse().unwrap());
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let send = |from, to, payload: &[u8]| {
        let packet = hep3(1_000, from, to, payload, HEP).unwrap();
        socket.send_to(&packet, recorder.address).unwrap();
    };
    let sdp = |ip: &str| {
        format!(
            "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\n\
             m=audio 4000 RTP/SAVP 0\r\nk=base64:{CRYPTO}\r\na=key-mgmt:mikey {CRYPTO_NAMES}\r\n\
             a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{CRYPTO}\r\n"
        )
    };
    let text = |first: &str, more: &str, body: &str| {
        format!(
            "{first}\r\nVia: SIP/2.0/UDP 10.1.0.1;branch=z9hG4bKs\r\nFrom: <sip:1001@10.1.0.1>;tag=f\r\n\
             To: <sip:2001@10.2.0.1>;tag=t\r\nCall-ID: secrets\r\nCSeq: 1 INVITE\r\n{more}\
             Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let headers = format!(
        "Authorization: Digest username=\"1001\", response=\"{DIGEST}\"\r\n\
         Proxy-Authorization: Digest username=\"1001\", response=\"{PROXY}\"\r\n"
    );
    let invite = text("INVITE sip:2001@10.2.0.1 SIP/2.0", &headers, &sdp("10.1.0.1"));
    send(a, b, invite.as_bytes());
    send(b, a, text("SIP/2.0 200 OK", "", &sdp("10.2.0.1")).as_bytes());
    // Cut off in the middle of its secrets, too.
    send(a, b, &invite.as_bytes()[..400]);
    let media: [SocketAddr; 2] =
        ["10.1.0.1:4000".parse().unwrap(), "10.2.0.1:4000".parse().unwrap()];
    for n in 0..50_u8 {
        let mut packet = vec![0x80, 0, 0, n, 0, 0, n, 0, 0, 0, 0, 1];
        packet.resize(172, 0x55);
        send(media[0], media[1], &packet);
        send(media[1], media[0], &packet);
    }
    let bye = text("BYE sip:2001@10.2.0.1 SIP/2.0", &headers, "").replace("1 INVITE", "2 BYE");
    send(a, b, bye.as_bytes());
}

#[test]
fn a_talkative_recorder_keeps_its_secrets() {
    let home = tempfile::tempdir().unwrap();
    let at = |name: &str| home.path().join(name);
    fs::write(
        at("tls.keys"),
        format!("CLIENT_RANDOM {TLS} {TLS}5ec2e7aaaaaaaaaaaaaaaaaaaaaaaaaa\n"),
    )
    .unwrap();
    let mut token = Command::new(program("orkaudio"));
    let (made, said) = output(token.args(["token", "crm", "all"]));
    assert!(made, "{said}");
    let mut lines = said.lines().skip(1).step_by(2).map(|line| line.trim().to_owned());
    let (token, line) = (lines.next().unwrap(), lines.next().unwrap());
    assert!(token.len() == 64 && line.starts_with("crm all "), "{said}");
    fs::write(at("tokens.keys"), format!("{line}\n")).unwrap();
    let settings = format!(
        "[capture]\nhep_key = \"{HEP}\"\nkey_log = \"{}\"\n[doors]\ntoken_file = \"{}\"\n\
         [log]\nlevel = \"trace\"\n[tapes]\nsidecar = true\n",
        at("tls.keys").display(),
        at("tokens.keys").display(),
    );
    let recorder = started(
        &["doors.command=127.0.0.1:0", "doors.events=127.0.0.1:0", "doors.live=127.0.0.1:0"],
        &settings,
    );
    call(&recorder);
    wait_until("the tape is finished", || !recorder.finished().is_empty());
    let bearer = format!("Authorization: Bearer {token}");
    let mut said = String::new();
    for door in ["command=", "events=", "live="] {
        let door = recorder.said(door);
        for path in ["", "api/status", "metrics", "command", "calls"] {
            for shown in [&token, GUESS] {
                let query = format!("type=pause&party=1001&token={shown}&password={shown}");
                said.push_str(&curl(&format!("http://{door}/{path}?{query}"), &[]));
                said.push_str(&curl(&format!("http://{door}/{path}"), &["-d", &query]));
                let header = format!("Authorization: Bearer {shown}");
                said.push_str(&curl(&format!("http://{door}/{path}?type=stop"), &["-H", &header]));
            }
        }
    }
    said.push_str(&curl(
        &format!("http://{}/api/status", recorder.said("command=")),
        &["-H", &bearer],
    ));
    assert!(said.contains("doors.unknown_tokens"), "{said}");
    let command = recorder.said("command=");
    let level = curl(&format!("http://{command}/?type=listloggingconfig"), &["-H", &bearer]);
    assert!(level.to_lowercase().contains("root:trace"), "{level}");
    let mut check = Command::new(program("orkaudio"));
    check.args(["run", "--check-config", "--config"]).arg(recorder.settings());
    let (_, good) = output(&mut check);
    let (fine, wrong) = output(check.args(["--set", &format!("capture.hep_key={HEP}\n{HEP}")]));
    assert!(!fine, "{wrong}");
    let folder = recorder.settings().parent().unwrap().to_owned();
    let mut all = texts(&folder);
    assert!(all.iter().any(|(name, text)| name.ends_with("audit.jsonl") && !text.is_empty()));
    // Beside the tape lies what was sent, but for keys; the answers to digests are none.
    all.retain(|(name, _)| !name.ends_with(".pcapng"));
    for (name, text) in [("answers", said), ("--check-config", good), ("mistakes", wrong)] {
        all.push((name.to_owned(), text.into_bytes()));
    }
    nowhere(&all, &[&token, GUESS, HEP, TLS, DIGEST, PROXY, CRYPTO, CRYPTO_NAMES]);
}

#[test]
fn a_talkative_tracker_keeps_its_secrets() {
    let home = tempfile::tempdir().unwrap();
    let at = |name: &str| home.path().join(name);
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let sets = [
        format!("database={}", at("t.db").display()),
        format!("listen=127.0.0.1:{port}"),
        "log.level=trace".to_owned(),
    ];
    let command = |words: &[&str]| {
        let mut command = Command::new(program("orktrack"));
        command.args(words).args(["--config", "/dev/null"]);
        for set in &sets {
            command.args(["--set", set]);
        }
        command
    };
    let mut account = Command::new(program("orktrack"));
    account.args(["accounts", "add", "root", "--role", "admin", "--database"]).arg(at("t.db"));
    let mut child = account.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    writeln!(child.stdin.take().unwrap(), "{PASSWORD}").unwrap();
    assert!(child.wait().unwrap().success());
    let mut tokens = Command::new(program("orktrack"));
    let (made, token) =
        output(tokens.args(["tokens", "add", "root", "--database"]).arg(at("t.db")));
    assert!(made, "{token}");
    let token = token.trim();
    let running = Running::start(&mut command(&["run"]), &at("log"));
    wait_until("the tracker listens", || {
        fs::read_to_string(at("log")).unwrap().contains("tracker ready")
    });
    let door = format!("http://127.0.0.1:{port}");
    let mut answers = String::new();
    let mut session = String::new();
    for (shown, password) in [(token, PASSWORD), (GUESS, WRONG)] {
        let body = format!(r#"{{"name": "root", "password": "{password}"}}"#);
        let signed = curl(&format!("{door}/api/v1/login"), &["-d", &body]);
        if let Some(secret) = signed.split("ork_session=").nth(1) {
            session = secret.split(';').next().unwrap().to_owned();
        }
        let bearer = format!("Authorization: Bearer {shown}");
        for path in
            ["api/v1/recordings", "api/v1/tokens", "api/v1/audit", "orktrack/command?cmd=ping"]
        {
            answers.push_str(&curl(&format!("{door}/{path}"), &["-H", &bearer]));
            let cookie = format!("Cookie: ork_session={session}");
            answers.push_str(&curl(&format!("{door}/{path}"), &["-H", &cookie]));
        }
        let setup = format!(r#"{{"token": "{shown}", "name": "x", "password": "{password}"}}"#);
        answers.push_str(&curl(&format!("{door}/api/v1/setup"), &["-d", &setup]));
        answers.push_str(&curl(&format!("{door}/api/v1/recordings?token={shown}"), &[]));
    }
    assert!(session.len() > 20, "{answers}");
    let init = format!(
        "type=init&name=n&hostname=h&servicetype=A&tcpport=1&protocol=&fileserveport=1&contextpath=\
         &servepath=&absolutepath=%2Fx&streamingport=&username=u&password={INIT}&sshport=22&"
    );
    answers.push_str(&curl(&format!("{door}/orktrack/command?{init}"), &[]));
    assert!(answers.contains("success=true"), "{answers}");
    drop(running);
    let mut all = texts(home.path());
    assert!(all.iter().any(|(name, text)| name.ends_with("t.db") && !text.is_empty()));
    let url = format!("postgres://ork:{SERVER}@127.0.0.1:1/calls");
    for words in [&["run"][..], &["run", "--check-config"], &["list"]] {
        let mut command = command(words);
        let (_, said) = output(command.args(["--set", &format!("database={url}")]));
        all.push((words.join(" "), said.into_bytes()));
    }
    all.push(("answers".to_owned(), answers.into_bytes()));
    nowhere(&all, &[token, &session, GUESS, PASSWORD, WRONG, INIT, SERVER]);
}
