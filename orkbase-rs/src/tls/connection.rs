//! One TLS connection, both directions: from record to plain text.
//!
//! ```text
//! Clear ──ChangeCipherSpec (up to 1.2)──► Protected ──its own ChangeCipherSpec──► Protected, new keys
//! Clear ──first protected record (1.3)──► Handshake ──Finished──► Application ──KeyUpdate──► Application
//! ```
//!
//! Law: a direction whose next record needs what is not known yet stands still and its bytes wait;
//! what waits is read in the order in which it came once both hellos and the key are there.

use super::{
    Settings, TlsCounters, Why,
    derive::{keys_13, next_13},
    hello::{ClientHello, Said, ServerHello, Version},
    opener::Opener,
    record::{self, APPLICATION_DATA, CHANGE_CIPHER_SPEC, HANDSHAKE, HEADER, Next, Record},
    secrets::{Random, Table},
    side::{Epoch, Side},
};
use std::collections::VecDeque;

/// What a piece that waits costs beside its bytes.
const PIECE_BYTES: usize = 64;

/// What a connection works with.
pub(super) struct Around<'a> {
    pub(super) settings: &'a Settings,
    pub(super) secrets: &'a Table,
    pub(super) counters: &'a mut TlsCounters,
    /// Plain text: side, bytes, whether some are missing before them.
    pub(super) plain: &'a mut dyn FnMut(usize, Vec<u8>, bool),
}

/// Bytes that wait.
struct Piece {
    side: usize,
    gap: bool,
    bytes: Vec<u8>,
}

/// One connection.
pub(super) struct Connection {
    pub(super) sides: [Side; 2],
    /// Which side asked; known from the first hello on.
    pub(super) client_side: Option<usize>,
    pub(super) client: Option<ClientHello>,
    pub(super) server: Option<ServerHello>,
    waiting: VecDeque<Piece>,
    waiting_bytes: usize,
    /// Something was opened.
    pub(super) opened: bool,
    /// A record was not.
    failed: bool,
    /// Why nothing (more) of it is read.
    pub(super) given_up: Option<Why>,
}

/// What became of a record.
pub(super) enum Step {
    Used,
    /// It has to wait.
    Wait,
    /// No key opens it.
    Failed,
    GiveUp(Why),
}

impl Connection {
    pub(super) fn new() -> Self {
        Self {
            sides: [Side::new(), Side::new()],
            client_side: None,
            client: None,
            server: None,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            opened: false,
            failed: false,
            given_up: None,
        }
    }

    /// The client offered SIP by name.
    pub(super) fn names_sip(&self) -> bool {
        self.client.is_some_and(|hello| hello.sip)
    }

    /// The name of the connection in a key log.
    pub(super) fn random(&self) -> Option<Random> {
        self.client.map(|hello| hello.random)
    }

    /// Something waits for a key or a hello.
    pub(super) fn waits(&self) -> bool {
        self.given_up.is_none() && self.sides.iter().any(|side| side.blocked)
    }

    /// Memory of what waits.
    pub(super) fn waiting_bytes(&self) -> usize {
        let held = self.sides.iter().filter(|side| side.blocked).map(|side| side.held.rest().len());
        self.waiting_bytes + held.sum::<usize>()
    }

    /// What a connection that waits lacks.
    pub(super) fn lacks(&self) -> Why {
        if self.client.is_some() && self.server.is_some() {
            Why::KeyUnknown
        } else {
            Why::HandshakeUnseen
        }
    }

    /// Records came and no key opened any.
    pub(super) const fn never_opened(&self) -> bool {
        self.failed && !self.opened
    }

    /// Both directions, as far as they were seen, have ended.
    pub(super) fn over(&self) -> bool {
        self.sides.iter().all(|side| side.closed || !side.seen)
    }

    pub(super) fn close(&mut self, side: usize) {
        if let Some(side) = self.sides.get_mut(side) {
            side.closed = true;
            side.seen = true;
        }
    }

    /// Whether this direction has ended: bytes of it belong to another connection.
    pub(super) fn is_closed(&self, side: usize) -> bool {
        self.sides.get(side).is_some_and(|side| side.closed)
    }

    /// Reads no more of it and forgets what waits.
    pub(super) fn give_up(&mut self, why: Why) {
        self.given_up = Some(why);
        self.waiting = VecDeque::new();
        self.waiting_bytes = 0;
        for side in &mut self.sides {
            side.forget();
        }
    }

    /// Takes the next bytes of one direction.
    pub(super) fn take(&mut self, side: usize, bytes: &[u8], gap: bool, around: &mut Around<'_>) {
        if self.given_up.is_some() {
            return;
        }
        let facts = (self.client, self.server);
        self.feed(side, bytes, gap, around);
        let news = facts != (self.client, self.server);
        if news && self.waits() {
            self.resume(around);
        }
    }

    /// Tries again what waits: a key or a hello has come.
    pub(super) fn resume(&mut self, around: &mut Around<'_>) {
        for side in &mut self.sides {
            side.blocked = false;
        }
        // The server's held bytes end its handshake; the client's may hold a request already.
        let client = self.client_side.unwrap_or(0);
        self.advance(1 - client, around);
        self.advance(client, around);
        let waiting = std::mem::take(&mut self.waiting);
        self.waiting_bytes = 0;
        for piece in waiting {
            self.feed(piece.side, &piece.bytes, piece.gap, around);
        }
    }

    fn feed(&mut self, number: usize, bytes: &[u8], gap: bool, around: &mut Around<'_>) {
        let Some(side) = self.sides.get_mut(number) else { return };
        if self.given_up.is_some() || bytes.is_empty() {
            return;
        }
        if side.blocked {
            return self.keep(number, bytes, gap);
        }
        if side.plain {
            return (around.plain)(number, bytes.to_vec(), gap);
        }
        if gap && side.seen {
            let held = side.lose();
            around.counters.lost_bytes += count(held);
        } else if gap {
            // The SYN escaped us; whether the handshake did too, the first bytes will tell.
            side.gap = true;
        }
        side.seen = true;
        side.held.push(bytes);
        if !side.begun {
            self.look(number, around);
        }
        self.advance(number, around);
    }

    /// Whether the first bytes are a handshake.
    fn look(&mut self, number: usize, around: &mut Around<'_>) {
        let Some(side) = self.sides.get_mut(number) else { return };
        let known = self.client.is_some() || self.server.is_some();
        if known || record::may_open(side.held.rest()) {
            return;
        }
        let rest = side.held.rest();
        if side.gap || rest.len() >= 3 && record::may_begin(rest) {
            return self.give_up(Why::HandshakeUnseen);
        }
        side.plain = true;
        let bytes = side.held.rest().to_vec();
        side.held.clear();
        (around.plain)(number, bytes, false);
    }

    /// Keeps bytes for later.
    fn keep(&mut self, side: usize, bytes: &[u8], gap: bool) {
        match self.waiting.back_mut().filter(|last| last.side == side && !gap) {
            Some(last) => last.bytes.extend_from_slice(bytes),
            None => {
                self.waiting.push_back(Piece { side, gap, bytes: bytes.to_vec() });
                self.waiting_bytes += PIECE_BYTES;
            }
        }
        self.waiting_bytes += bytes.len();
    }

    /// Reads the records that are whole.
    fn advance(&mut self, number: usize, around: &mut Around<'_>) {
        while self.given_up.is_none() {
            let Some(side) = self.sides.get_mut(number) else { return };
            if side.blocked || side.plain {
                return;
            }
            let (header, body) = match side.held.next() {
                Next::More => return,
                Next::Nothing => {
                    (side.lost, side.gap) = (true, true);
                    around.counters.lost_bytes += count(side.held.seek());
                    continue;
                }
                Next::Record(record) => (record.header, record.body.to_vec()),
            };
            let record = Record { header, body: &body };
            let lost = side.lost;
            let step = self.step(number, &record, around);
            let Some(side) = self.sides.get_mut(number) else { return };
            side.begun = true;
            match step {
                Step::Used => side.held.pass(HEADER + body.len()),
                Step::Wait => side.blocked = true,
                Step::GiveUp(why) => self.give_up(why),
                Step::Failed => {
                    self.failed = true;
                    let patient = side.fail(body.len());
                    // A handshake under keys that nobody told us may still be passing by.
                    let begun = side.opener.as_ref().is_some_and(|opener| opener.sequence() > 0);
                    let passing = side.epoch == Epoch::Handshake && !begun && !lost;
                    if lost {
                        side.held.pass(1);
                        around.counters.lost_bytes += count(1 + side.held.seek());
                    } else {
                        side.held.pass(HEADER + body.len());
                    }
                    if passing {
                        around.counters.handshake_records_passed += 1;
                    } else {
                        (side.lost, side.gap) = (true, true);
                        around.counters.records_failed += 1;
                    }
                    if !patient {
                        let why = if self.opened { Why::Lost } else { Why::KeyWrong };
                        self.give_up(why);
                    }
                }
            }
        }
    }

    /// The version, as soon as it is sure.
    fn version(&self) -> Option<Version> {
        self.server.map(|hello| hello.version)
    }

    fn step(&mut self, number: usize, record: &Record<'_>, around: &mut Around<'_>) -> Step {
        let version = self.version();
        let Some(side) = self.sides.get_mut(number) else { return Step::Used };
        match (side.epoch, record.kind()) {
            (Epoch::Clear, HANDSHAKE) => {
                let said = side.reader.take(record.body);
                self.hear(number, &said, around)
            }
            (Epoch::Clear, CHANGE_CIPHER_SPEC) => match version {
                None => Step::Wait,
                Some(Version::Tls13) => Step::Used,
                Some(Version::Tls10 | Version::Tls11 | Version::Tls12) => {
                    self.enter(number, Epoch::Protected);
                    Step::Used
                }
            },
            (Epoch::Clear, APPLICATION_DATA) => match version {
                None => Step::Wait,
                Some(Version::Tls13) => {
                    // A request to try again does not decide on keys yet.
                    if self.server.is_some_and(|hello| hello.retry) {
                        return Step::Wait;
                    }
                    self.enter(number, Epoch::Handshake);
                    self.open_13(number, record, around)
                }
                Some(Version::Tls10 | Version::Tls11 | Version::Tls12) if side.lost => {
                    self.enter(number, Epoch::Protected);
                    self.open_12(number, record, around)
                }
                Some(Version::Tls10 | Version::Tls11 | Version::Tls12) => Step::Used,
            },
            (Epoch::Clear, _) => Step::Used,
            (Epoch::Protected, _) => self.open_12(number, record, around),
            (Epoch::Handshake | Epoch::Application, APPLICATION_DATA) => {
                self.open_13(number, record, around)
            }
            // ChangeCipherSpec for the sake of old middleboxes, a second hello, a clear alert.
            (Epoch::Handshake | Epoch::Application, _) => Step::Used,
        }
    }

    fn enter(&mut self, number: usize, epoch: Epoch) {
        if let Some(side) = self.sides.get_mut(number) {
            side.enter(epoch);
        }
    }

    /// What handshake messages say of keys.
    pub(super) fn hear(&mut self, number: usize, said: &[Said], around: &mut Around<'_>) -> Step {
        for said in said {
            match said {
                Said::Client(hello) => {
                    self.client = Some(*hello);
                    self.client_side = Some(number);
                }
                Said::Server(hello) => {
                    self.server = Some(*hello);
                    self.client_side = Some(1 - number);
                    if hello.suite.is_none() {
                        return Step::GiveUp(Why::CipherUnknown(hello.number));
                    }
                }
                Said::Malformed => around.counters.malformed_hellos += 1,
                Said::Finished => self.finish(number),
                Said::KeyUpdate => self.update(number),
            }
        }
        Step::Used
    }

    /// The handshake of TLS 1.3 has ended on this side; later ones (of certificates) change nothing.
    fn finish(&mut self, number: usize) {
        if self.sides.get(number).is_some_and(|side| side.epoch == Epoch::Handshake) {
            self.enter(number, Epoch::Application);
        }
    }

    fn update(&mut self, number: usize) {
        let Some(suite) = self.suite() else { return };
        let Some(side) = self.sides.get_mut(number) else { return };
        if side.epoch != Epoch::Application {
            return;
        }
        side.secret = side.secret.as_ref().and_then(|secret| next_13(suite.hash, secret));
        let keys =
            side.secret.as_ref().and_then(|secret| keys_13(suite.hash, secret, suite.protection));
        side.opener = keys.and_then(|keys| Opener::new(&suite, Version::Tls13, false, keys));
    }
}

fn count(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}
