//! Who may do what at the doors: by address, by token, by certificate, and from a page.

use super::*;
use crate::gate::{Rights, make_token};
use orkbase::call::policy::IpRange;
use rcgen::{CertificateParams, Issuer, KeyPair};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

const EVENTS: &str = "GET /command?type=streamevents HTTP/1.0\r\n";

/// A token file in `folder`, and the tokens.
fn tokens<const N: usize>(
    folder: &Path,
    of: [(&str, &str); N],
) -> (std::path::PathBuf, [String; N]) {
    let made = of.map(|(name, rights)| make_token(name, rights).unwrap());
    let path = folder.join("tokens");
    let lines: Vec<&str> = made.iter().map(|(_, line)| line.as_str()).collect();
    fs::write(&path, lines.join("\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    (path, made.map(|(token, _)| token))
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap()
}

#[test]
fn a_token_opens_what_its_rights_say() {
    let folder = tempfile::tempdir().unwrap();
    let of = [("crm", "control"), ("wall", "read"), ("legal", "control+discard")];
    let (path, [crm, wall, legal]) = tokens(folder.path(), of);
    let bench = Bench::guarded(|doors| doors.token_file = Some(path));
    let table = [
        ("type=pause&party=100000", ["401", "200", "403", "200"]),
        ("type=discard&party=100000", ["401", "403", "403", "200"]),
        ("type=reloadloggingconfig", ["401", "200", "403", "200"]),
        ("type=listloggingconfig", ["401", "403", "200", "403"]),
        ("type=ping", ["200"; 4]),
        ("type=nothing", ["404"; 4]),
    ];
    let shown = [String::new(), crm.clone(), wall.clone(), legal];
    for (query, expected) in table {
        let target = format!("/command?{query}");
        let by_header = shown.each_ref().map(|token| {
            let answer = bench
                .ask(format!("GET {target} HTTP/1.0\r\nAuthorization: Bearer {token}\r\n\r\n"));
            status(&answer).to_owned()
        });
        let by_parameter = shown
            .each_ref()
            .map(|token| status(&bench.get(&format!("{target}&token={token}"))).to_owned());
        assert_eq!(
            (by_header, by_parameter),
            (expected.map(str::to_owned), expected.map(str::to_owned)),
            "{query}"
        );
    }
    for (page, nobody, read) in [("/api/status", "401", "200"), ("/metrics", "401", "200")] {
        assert_eq!(status(&bench.get(page)), nobody);
        assert_eq!(status(&bench.get(&format!("{page}?token={wall}"))), read);
        assert_eq!(status(&bench.get(&format!("{page}?token={crm}"))), "403");
    }
    for page in ["/healthz", "/readyz", "/openapi.json"] {
        assert_eq!(status(&bench.get(page)), "200");
    }
    // Refused or done, it is written down; what was refused was not done.
    let audited = bench.desk.audited.lock().unwrap().clone();
    assert_eq!(audited.iter().filter(|(_, command, ..)| command == "discard").count(), 8);
    assert_eq!(bench.desk.asked.lock().unwrap().len(), 2 * 2 + 2);

    let events = |token: &str| {
        let mut client = bench.events();
        client
            .write_all(format!("{EVENTS}Authorization: Bearer {token}\r\n\r\n").as_bytes())
            .unwrap();
        read_until(&mut client, "\r\n\r\n")
    };
    assert!(events(&wall).starts_with("HTTP/1.1 200 OK\r\nLast-Modified:"));
    assert!(events(&crm).starts_with("HTTP/1.1 403 Forbidden\r\n"));
    assert!(events("").starts_with("HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Bearer\r\n"));
    let unauthorized = bench.get("/?type=stop&party=1");
    assert!(unauthorized.contains("Www-Authenticate: Bearer\r\n"), "{unauthorized}");
}

#[test]
fn an_address_opens_what_its_network_says() {
    let range = |text| IpRange::parse(text).unwrap();
    let listed = |text: &'static str, rights| {
        Bench::guarded(move |doors| {
            doors.networks = vec![(range(text), Rights::parse(rights).unwrap())];
        })
    };
    let bench = listed("127.0.0.0/8", "read");
    assert_eq!(status(&bench.get("/?type=pause&party=100000")), "401");
    assert_eq!(status(&bench.get("/metrics")), "200");
    let bench = listed("127.0.0.1", "all");
    assert_eq!(status(&bench.get("/?type=pause&party=100000")), "200");
    // Not let in at all: closed without a word, on every door.
    let bench = listed("192.0.2.0/24", "all");
    let closed = |mut client: Client| {
        drop(client.write_all(b"GET /healthz HTTP/1.0\r\n\r\n"));
        let mut heard = Vec::new();
        drop(client.read_to_end(&mut heard));
        heard.is_empty()
    };
    assert!(closed(bench.command()) && closed(bench.events()));
    until("both are counted", || bench.doors.counters().broken.load(Relaxed) == 2);
}

#[test]
fn a_page_of_another_host_gives_no_commands() {
    let bench = Bench::guarded(|doors| doors.origins = vec!["https://wall.example".to_owned()]);
    let asks = |more: &str| {
        let host = "Host: 127.0.0.1:59140\r\n";
        let answer =
            bench.ask(format!("GET /?type=stop&party=100000 HTTP/1.0\r\n{host}{more}\r\n"));
        status(&answer).to_owned()
    };
    assert_eq!(asks(""), "200");
    assert_eq!(asks("Origin: https://evil.example\r\n"), "403");
    assert_eq!(asks("Sec-Fetch-Site: cross-site\r\n"), "403");
    assert_eq!(asks("Origin: https://wall.example\r\nSec-Fetch-Site: cross-site\r\n"), "200");
    assert_eq!(asks("Origin: http://127.0.0.1:8080\r\n"), "200");
    assert_eq!(bench.desk.asked.lock().unwrap().len(), 3);
}

/// A certificate for 127.0.0.1 and one for a client, by one authority; all PEM files in a folder.
struct Certificates {
    folder: tempfile::TempDir,
}

impl Certificates {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: String| fs::write(folder.path().join(name), text).unwrap();
        let ca_key = KeyPair::generate().unwrap();
        let mut ca = CertificateParams::new(Vec::new()).unwrap();
        ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        write("ca.pem", ca.self_signed(&ca_key).unwrap().pem());
        let issuer = Issuer::new(ca, ca_key);
        for name in ["server", "client"] {
            let key = KeyPair::generate().unwrap();
            let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
            write(&format!("{name}.pem"), params.signed_by(&key, &issuer).unwrap().pem());
            write(&format!("{name}.key"), key.serialize_pem());
        }
        Self { folder }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    fn guard(&self, doors: &mut crate::config::Doors) {
        doors.tls_certificate = Some(self.path("server.pem"));
        doors.tls_key = Some(self.path("server.key"));
    }

    /// A client that trusts the authority, with a certificate or without.
    fn connect(
        &self,
        address: Option<SocketAddr>,
        certified: bool,
    ) -> StreamOwned<ClientConnection, Client> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.path("ca.pem")).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = if certified {
            let chain = vec![CertificateDer::from_pem_file(self.path("client.pem")).unwrap()];
            let key = PrivateKeyDer::from_pem_file(self.path("client.key")).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        } else {
            builder.with_no_client_auth()
        };
        let name = "127.0.0.1".try_into().unwrap();
        let session = ClientConnection::new(Arc::new(config), name).unwrap();
        StreamOwned::new(session, connect(address))
    }
}

/// What is heard over TLS until the other side ends it.
fn heard(stream: &mut StreamOwned<ClientConnection, Client>, request: &str) -> String {
    stream.write_all(request.as_bytes()).unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn every_door_speaks_tls_and_a_certificate_has_rights() {
    let certificates = Certificates::new();
    let bench = Bench::guarded(|doors| {
        certificates.guard(doors);
        doors.client_ca = Some(certificates.path("ca.pem"));
        doors.client_rights = Rights::parse("read+control").unwrap();
    });
    let pause = "GET /?type=pause&party=100000 HTTP/1.0\r\n\r\n";
    let command = |certified| {
        let mut stream = certificates.connect(bench.doors.command_address(), certified);
        heard(&mut stream, pause)
    };
    assert_eq!(status(&command(false)), "401");
    assert_eq!(status(&command(true)), "200");
    // Loopback does without TLS, but has no rights.
    assert_eq!(status(&bench.ask(pause)), "401");
    let mut events = certificates.connect(bench.doors.events_address(), true);
    events.write_all(format!("{EVENTS}\r\n").as_bytes()).unwrap();
    until("it listens", || {
        let numbers = || {
            let mut stream = certificates.connect(bench.doors.command_address(), true);
            let answer = heard(&mut stream, "GET /api/status HTTP/1.0\r\n\r\n");
            let body = answer.split_once("\r\n\r\n").unwrap().1.to_owned();
            serde_json::from_str::<Value>(&body).unwrap()["http"]["events_sessions"].as_u64()
        };
        numbers() == Some(1)
    });
    bench.hub.publish("a");
    bench.doors.close(LIMIT);
    let mut said = String::new();
    events.read_to_string(&mut said).unwrap();
    assert!(said.ends_with("\r\n\r\na\r\n"), "{said}");
}

#[test]
fn without_tls_only_from_where_it_may() {
    let certificates = Certificates::new();
    let bench = Bench::guarded(|doors| {
        certificates.guard(doors);
        doors.plain_networks = Vec::new();
    });
    let mut plain = bench.command();
    plain.write_all(b"GET /healthz HTTP/1.0\r\n\r\n").unwrap();
    let mut said = Vec::new();
    drop(plain.read_to_end(&mut said));
    assert!(said.is_empty());
    let mut stream = certificates.connect(bench.doors.command_address(), false);
    assert_eq!(status(&heard(&mut stream, "GET /healthz HTTP/1.0\r\n\r\n")), "200");
    // One that says nothing, and one that breaks off, keep nobody out.
    let silent = bench.command();
    let mut garbled = bench.command();
    garbled.write_all(&[22, 3, 1, 255, 255, 0, 0]).unwrap();
    drop(garbled);
    let mut stream = certificates.connect(bench.doors.command_address(), false);
    assert_eq!(status(&heard(&mut stream, "GET /healthz HTTP/1.0\r\n\r\n")), "200");
    drop(silent);
}

#[test]
fn what_is_wrong_with_the_files_is_told() {
    let certificates = Certificates::new();
    let refused = |change: &dyn Fn(&mut crate::config::Doors)| {
        let mut doors = Config::default().doors;
        change(&mut doors);
        Gate::open(&doors).unwrap_err().to_string()
    };
    let pem = |name: &str| Some(certificates.path(name));
    assert!(refused(&|doors| doors.tls_key = pem("server.key")).contains("go together"));
    assert!(
        refused(&|doors| doors.client_ca = pem("ca.pem")).contains("wants doors.tls_certificate")
    );
    assert!(refused(&|doors| doors.token_file = pem("none")).contains("No such file"));
    let swapped = refused(&|doors| {
        (doors.tls_certificate, doors.tls_key) = (pem("server.key"), pem("server.key"));
    });
    assert!(swapped.contains("no certificate"), "{swapped}");
    let foreign = refused(&|doors| {
        (doors.tls_certificate, doors.tls_key) = (pem("server.pem"), pem("client.key"));
    });
    assert!(foreign.contains("server.pem"), "{foreign}");
}
