//! The tracker within TLS: a recorder delivers to the one that is meant and to no other, curl speaks to it,
//! and without TLS only those come in who may.

use ork_tests::{programs::program, scenario::play};
use orktrack::config::Config;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// Certificates in a folder: of an authority, of `localhost` by it, of another authority.
fn papers(home: &Path) {
    let put = |name: &str, text: String| fs::write(home.join(name), text).unwrap();
    let authority = |name: &str| {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        // Else issuer and subject have one name, and curl takes what is signed for self-signed.
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        put(name, params.self_signed(&key).unwrap().pem());
        Issuer::new(params, key)
    };
    let issuer = authority("ca.pem");
    authority("other.pem");
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    put("server.pem", params.signed_by(&key, &issuer).unwrap().pem());
    put("server.key", key.serialize_pem());
}

struct Sealed {
    home: tempfile::TempDir,
    tracker: orktrack::Tracker,
}

impl Sealed {
    fn start(change: impl FnOnce(&mut Config)) -> Self {
        let home = tempfile::tempdir().unwrap();
        papers(home.path());
        let mut config = Config {
            listen: "127.0.0.1:0".parse().unwrap(),
            database: home.path().join("track.db"),
            tls: Some((home.path().join("server.pem"), home.path().join("server.key"))),
            ..Config::default()
        };
        change(&mut config);
        let tracker = orktrack::start(&config).unwrap();
        Self { home, tracker }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn port(&self) -> u16 {
        self.tracker.address().port()
    }

    fn curl(&self, url: &str, more: &[&str]) -> Output {
        let mut command = Command::new("curl");
        command.args(["-sS", "-i", "--max-time", "60", "--cacert"]).arg(self.at("ca.pem"));
        command.args(more).arg(url).output().unwrap()
    }

    /// Records a capture and tells the tracker under this address; whether all was taken.
    fn deliver(&self, url: &str, ca: &str) -> bool {
        let capture = self.at("call.pcap");
        let call = play("a->b INVITE pcmu; b->a 200; a->b ACK; rtp 1s; a->b BYE; b->a 200");
        call.unwrap().write_pcap(&capture).unwrap();
        let mut command = Command::new(program("orkaudio"));
        command.arg("replay").arg(&capture).arg("--output").arg(self.at("tapes"));
        command.args(["--tracker", url, "--patience", "5"]);
        command.arg("--set").arg(format!("tracker.ca={}", self.at(ca).display()));
        let done = command.output().unwrap();
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.success() || said.contains("did not reach the tracker"), "{said}");
        done.status.success()
    }

    fn recordings(&self) -> i64 {
        let database = rusqlite::Connection::open(self.at("track.db")).unwrap();
        let sql = "SELECT count(*) FROM tape WHERE state = 'ready'";
        database.query_row(sql, [], |row| row.get(0)).unwrap()
    }
}

#[test]
fn a_recorder_tells_the_tracker_that_is_meant_and_no_other() {
    let sealed = Sealed::start(|config| config.plain_networks = Vec::new());
    let port = sealed.port();
    let (right, misnamed) = (
        format!("https://localhost:{port}/orktrack"),
        format!("https://127.0.0.1:{port}/orktrack"),
    );
    assert!(!sealed.deliver(&right, "other.pem"), "nobody vouches for it");
    assert!(!sealed.deliver(&misnamed, "ca.pem"), "it is not its name");
    assert!(!sealed.deliver(&format!("http://localhost:{port}/orktrack"), "ca.pem"), "not sealed");
    assert_eq!(sealed.recordings(), 0);
    assert!(sealed.deliver(&right, "ca.pem"));
    assert_eq!(sealed.recordings(), 1);
    assert!(sealed.deliver(&misnamed, "server.pem"), "pinned");
}

#[test]
fn clients_within_tls_and_without() {
    let sealed = Sealed::start(|config| config.plain_networks = Vec::new());
    let port = sealed.port();
    let done = sealed.curl(&format!("https://localhost:{port}/healthz"), &[]);
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(said.starts_with("HTTP/1.1 200"), "{said} {done:?}");
    let plain = sealed.curl(&format!("http://localhost:{port}/healthz"), &[]);
    assert!(!plain.status.success() && plain.stdout.is_empty(), "{plain:?}");
    let old = sealed.curl(&format!("https://localhost:{port}/healthz"), &["--tls-max", "1.1"]);
    assert!(!old.status.success(), "{old:?}");
    let counters = sealed.tracker.counters();
    assert_eq!((counters.http_refused_plain.now(), counters.http_failed_handshakes.now()), (1, 1));
    sealed.tracker.stop();

    let near = Sealed::start(|_| {});
    let port = near.port();
    for (scheme, secure) in [("http", false), ("https", true)] {
        let url = format!("{scheme}://localhost:{port}");
        let done = near.curl(&format!("{url}/healthz"), &[]);
        assert!(String::from_utf8_lossy(&done.stdout).starts_with("HTTP/1.1 200"), "{done:?}");
        let body = r#"{"name": "root", "password": "correct horse battery"}"#;
        if !secure {
            account(&near.at("track.db"));
        }
        let done = near.curl(&format!("{url}/api/v1/login"), &["-d", body]);
        let said = String::from_utf8_lossy(&done.stdout);
        let cookie = said.lines().find(|line| line.to_ascii_lowercase().starts_with("set-cookie:"));
        assert_eq!(cookie.map(|cookie| cookie.contains("; Secure")), Some(secure), "{said}");
    }
}

/// An account to sign in with.
fn account(database: &Path) {
    let mut command = Command::new(program("orktrack"));
    command.args(["accounts", "add", "root", "--role", "admin", "--database"]).arg(database);
    let mut child = command.stdin(std::process::Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"correct horse battery\n")
        .unwrap();
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_certificate_without_its_key_does_not_start() {
    let home = tempfile::tempdir().unwrap();
    papers(home.path());
    let run = |sets: &[String]| {
        let mut command = Command::new(program("orktrack"));
        command.args(["run", "--set", "listen=127.0.0.1:0", "--set"]);
        command.arg(format!("database={}", home.path().join("t.db").display()));
        for set in sets {
            command.args(["--set", set]);
        }
        let done = command.output().unwrap();
        assert!(!done.status.success());
        String::from_utf8(done.stderr).unwrap()
    };
    let at = |name: &str| home.path().join(name).display().to_string();
    let half = run(&[format!("tls_certificate={}", at("server.pem"))]);
    assert!(half.contains("give both"), "{half}");
    let both = |key: &str| {
        [format!("tls_certificate={}", at("server.pem")), format!("tls_key={}", at(key))]
    };
    let wrong = run(&both("other.pem"));
    assert!(wrong.contains("tls_certificate, tls_key:") && wrong.contains("other.pem"), "{wrong}");
}
