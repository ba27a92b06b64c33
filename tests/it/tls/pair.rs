//! A client and a server of a real TLS stack, joined in memory; what they say becomes frames.

use ork_tests::tcp::{Connection, From};
use rustls::{
    ClientConfig, ClientConnection, KeyLog, RootCertStore, ServerConfig, ServerConnection,
    SupportedCipherSuite,
    crypto::{CryptoProvider, SupportedKxGroup, ring},
    pki_types::{PrivateKeyDer, ServerName},
};
use std::{
    fmt::Write as _,
    io::{ErrorKind, Read, Write},
    sync::{Arc, Mutex},
};

/// Keys as the server writes them.
#[derive(Debug, Default)]
struct Log(Mutex<String>);

impl KeyLog for Log {
    fn log(&self, label: &str, client_random: &[u8], secret: &[u8]) {
        let hex = |bytes: &[u8]| {
            bytes.iter().fold(String::new(), |mut hex, byte| {
                write!(hex, "{byte:02x}").unwrap();
                hex
            })
        };
        let line = format!("{label} {} {}\n", hex(client_random), hex(secret));
        self.0.lock().unwrap().push_str(&line);
    }
}

/// How two ends are set up.
#[derive(Clone, Debug, Default)]
pub(super) struct Setup {
    /// The only suite; any if there is none.
    pub(super) suite: Option<SupportedCipherSuite>,
    /// The server wants a group that the client did not guess: the client has to say hello again.
    pub(super) retry: bool,
    /// What the client offers by ALPN.
    pub(super) alpn: Option<&'static str>,
    /// Longest record, content only.
    pub(super) fragment: Option<usize>,
}

/// Both configurations; connections of one pair of ends may resume each other's sessions.
#[derive(Debug)]
pub(super) struct Ends {
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
    log: Arc<Log>,
}

impl Ends {
    /// Two ends that trust each other.
    pub(super) fn new(setup: &Setup) -> Self {
        let provider = |groups: Vec<&'static dyn SupportedKxGroup>| {
            let mut provider: CryptoProvider = ring::default_provider();
            if let Some(suite) = setup.suite {
                provider.cipher_suites = vec![suite];
            }
            provider.kx_groups = groups;
            Arc::new(provider)
        };
        let both = [ring::kx_group::X25519, ring::kx_group::SECP256R1];
        let servers = both[usize::from(setup.retry)..].to_vec();
        let versions: Vec<_> = rustls::ALL_VERSIONS
            .iter()
            .copied()
            .filter(|version| {
                setup.suite.is_none_or(|suite| suite.version().version == version.version)
            })
            .collect();
        let name = vec!["pbx.example".to_owned()];
        let made = rcgen::generate_simple_self_signed(name).unwrap();
        let certificate = made.cert.der().clone();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(certificate.clone()).unwrap();
        let log = Arc::new(Log::default());
        let mut client = ClientConfig::builder_with_provider(provider(both.to_vec()))
            .with_protocol_versions(&versions)
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        client.alpn_protocols = setup.alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        client.max_fragment_size = setup.fragment;
        let mut server = ServerConfig::builder_with_provider(provider(servers))
            .with_protocol_versions(&versions)
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        server.alpn_protocols = client.alpn_protocols.clone();
        server.max_fragment_size = setup.fragment;
        server.key_log = Arc::<Log>::clone(&log);
        Self { client: Arc::new(client), server: Arc::new(server), log }
    }

    /// The key log so far.
    pub(super) fn key_log(&self) -> String {
        self.log.0.lock().unwrap().clone()
    }

    /// A connection; the handshake comes with the first bytes sent.
    pub(super) fn connect(&self) -> Pair {
        let name = ServerName::try_from("pbx.example").unwrap();
        Pair {
            client: ClientConnection::new(Arc::clone(&self.client), name).unwrap(),
            server: ServerConnection::new(Arc::clone(&self.server)).unwrap(),
        }
    }
}

/// One connection.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) client: ClientConnection,
    pub(super) server: ServerConnection,
}

impl Pair {
    /// Lets one end say something; what is not lost goes onto the wire in segments of `size`.
    pub(super) fn say(
        &mut self,
        at: u64,
        from: From,
        said: &[u8],
        size: usize,
        wire: &mut Connection,
    ) {
        match from {
            From::Client => self.client.writer().write_all(said).unwrap(),
            From::Server => self.server.writer().write_all(said).unwrap(),
        }
        self.pump(&mut |from, bytes| wire.send(at, from, bytes, size));
    }

    /// The same, unseen.
    pub(super) fn say_unseen(&mut self, from: From, said: &[u8], wire: &mut Connection) {
        match from {
            From::Client => self.client.writer().write_all(said).unwrap(),
            From::Server => self.server.writer().write_all(said).unwrap(),
        }
        self.pump(&mut |from, bytes| wire.lose(from, u32::try_from(bytes.len()).unwrap()));
    }

    /// Carries everything to the other end until both are silent.
    fn pump(&mut self, carry: &mut dyn FnMut(From, &[u8])) {
        loop {
            let mut bytes = Vec::new();
            while self.client.wants_write() {
                self.client.write_tls(&mut bytes).unwrap();
            }
            if !bytes.is_empty() {
                carry(From::Client, &bytes);
                let mut rest = bytes.as_slice();
                while !rest.is_empty() {
                    self.server.read_tls(&mut rest).unwrap();
                    self.server.process_new_packets().unwrap();
                    swallow(&mut self.server.reader());
                }
                continue;
            }
            while self.server.wants_write() {
                self.server.write_tls(&mut bytes).unwrap();
            }
            if bytes.is_empty() {
                return;
            }
            carry(From::Server, &bytes);
            let mut rest = bytes.as_slice();
            while !rest.is_empty() {
                self.client.read_tls(&mut rest).unwrap();
                self.client.process_new_packets().unwrap();
                swallow(&mut self.client.reader());
            }
        }
    }
}

fn swallow(reader: &mut impl Read) {
    let mut bytes = Vec::new();
    match reader.read_to_end(&mut bytes) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
    }
}
