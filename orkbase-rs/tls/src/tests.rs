//! Both ends against each other, in memory.

use super::*;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{ClientConnection, ServerConnection};
use std::{fs, io};

/// Somebody's certificate and key, and the folder they lie in.
struct Papers {
    home: tempfile::TempDir,
}

impl Papers {
    fn new() -> Self {
        let papers = Self { home: tempfile::tempdir().unwrap() };
        let key = KeyPair::generate().unwrap();
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        papers.put("ca.pem", &authority.self_signed(&key).unwrap().pem());
        let issuer = Issuer::new(authority, key);
        for (name, host) in [("server", "tracker"), ("other", "elsewhere")] {
            let key = KeyPair::generate().unwrap();
            let params = CertificateParams::new([host.to_owned()]).unwrap();
            papers.put(&format!("{name}.pem"), &params.signed_by(&key, &issuer).unwrap().pem());
            papers.put(&format!("{name}.key"), &key.serialize_pem());
        }
        // As openssl makes them: an authority of its own.
        let key = KeyPair::generate().unwrap();
        let mut own = CertificateParams::new(["whatever".to_owned()]).unwrap();
        own.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        papers.put("own.pem", &own.self_signed(&key).unwrap().pem());
        papers.put("own.key", &key.serialize_pem());
        papers.put("empty.pem", "");
        papers
    }

    fn put(&self, name: &str, text: &str) {
        fs::write(self.at(name), text).unwrap();
    }

    fn at(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// What a client says that trusts one file to a server that has the other, under the name `tracker`.
    fn shake(&self, trusted: &str, shown: &str) -> String {
        let (certificate, key) =
            (self.at(&format!("{shown}.pem")), self.at(&format!("{shown}.key")));
        let server = server(&certificate, &key, None).unwrap();
        let client = pinning_client(&self.at(trusted)).unwrap();
        let mut client = ClientConnection::new(client, "tracker".try_into().unwrap()).unwrap();
        let mut server = ServerConnection::new(server).unwrap();
        while client.is_handshaking() || server.is_handshaking() {
            pass(&mut |to| client.write_tls(to), &mut |from| server.read_tls(from));
            server.process_new_packets().unwrap();
            pass(&mut |to| server.write_tls(to), &mut |from| client.read_tls(from));
            if let Err(error) = client.process_new_packets() {
                return error.to_string();
            }
        }
        "good".to_owned()
    }
}

fn pass(
    write: &mut dyn FnMut(&mut dyn io::Write) -> io::Result<usize>,
    read: &mut dyn FnMut(&mut dyn io::Read) -> io::Result<usize>,
) {
    let mut bytes = Vec::new();
    write(&mut bytes).unwrap();
    let mut rest = bytes.as_slice();
    while !rest.is_empty() {
        read(&mut rest).unwrap();
    }
}

#[test]
fn a_server_is_good_that_an_authority_vouches_for_or_that_is_pinned() {
    let papers = Papers::new();
    assert_eq!(papers.shake("ca.pem", "server"), "good");
    assert_eq!(papers.shake("server.pem", "server"), "good");
    assert_eq!(papers.shake("own.pem", "own"), "good", "pinned, whatever name is in it");
    for (trusted, shown, why) in [
        ("ca.pem", "own", "CaUsedAsEndEntity"),
        ("own.pem", "server", "invalid peer certificate"),
        ("other.pem", "server", "invalid peer certificate"),
        ("ca.pem", "other", "not valid for name"),
    ] {
        let said = papers.shake(trusted, shown);
        assert!(said.contains(why), "{trusted} {shown}: {said}");
    }
}

#[test]
fn files_that_make_no_sense_are_named() {
    let papers = Papers::new();
    let at = |name: &str| papers.at(name);
    let said = client(Some(&at("empty.pem"))).unwrap_err();
    assert_eq!(said, TlsError::new(&at("empty.pem"), "there is no certificate in it"));
    assert_eq!(client(Some(&at("none.pem"))).unwrap_err().path, at("none.pem"));
    assert_eq!(
        server(&at("server.pem"), &at("empty.pem"), None).unwrap_err().path,
        at("empty.pem")
    );
    assert!(server(&at("server.pem"), &at("own.key"), None).is_err(), "another's key");
    assert!(server(&at("server.pem"), &at("server.key"), Some(&at("empty.pem"))).is_err());
}
