//! One direction of a connection: where its records are in the handshake, and under which key.

use super::{hello::Reader, opener::Opener, record::Held, secrets::Secret};

/// Numbers tried for a record after a hole: so many records may have been lost in it.
pub(super) const GUESSES: u64 = 256;
/// Bytes that may be deciphered in vain between two successes.
const MAX_VAIN_BYTES: u64 = 4 << 20;
/// Records that may fail one after another. The handshake under keys that nobody told us has fewer.
const MAX_FAILURES: u32 = 32;

/// What protects the records.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Epoch {
    /// Nothing.
    Clear,
    /// The keys of a handshake up to TLS 1.2, from `ChangeCipherSpec` on.
    Protected,
    /// The handshake secret of TLS 1.3.
    Handshake,
    /// The traffic secrets of TLS 1.3.
    Application,
}

/// One direction.
pub(super) struct Side {
    pub(super) held: Held,
    pub(super) reader: Reader,
    pub(super) epoch: Epoch,
    pub(super) opener: Option<Opener>,
    /// The one of the next epoch of TLS 1.3, when it had to be tried already.
    pub(super) next_opener: Option<Opener>,
    /// Traffic secret behind `opener` in TLS 1.3.
    pub(super) secret: Option<Secret>,
    /// Records were lost: the number of the next one is not known.
    pub(super) lost: bool,
    /// The plain text that comes next does not follow what came before.
    pub(super) gap: bool,
    /// Its first record waits for a key, or for the other side's hello.
    pub(super) blocked: bool,
    /// Bytes have come.
    pub(super) seen: bool,
    pub(super) closed: bool,
    /// A record has come.
    pub(super) begun: bool,
    /// No TLS after all: bytes are passed on.
    pub(super) plain: bool,
    vain_bytes: u64,
    failures: u32,
}

impl Side {
    pub(super) fn new() -> Self {
        Self {
            held: Held::default(),
            reader: Reader::default(),
            epoch: Epoch::Clear,
            opener: None,
            next_opener: None,
            secret: None,
            lost: false,
            gap: false,
            blocked: false,
            seen: false,
            closed: false,
            begun: false,
            plain: false,
            vain_bytes: 0,
            failures: 0,
        }
    }

    /// Gives keys and bytes up.
    pub(super) fn forget(&mut self) {
        let (seen, closed) = (self.seen, self.closed);
        *self = Self { seen, closed, ..Self::new() };
    }

    /// Bytes were lost; gives those held in vain.
    pub(super) fn lose(&mut self) -> usize {
        let held = self.held.rest().len();
        self.held.clear();
        self.reader.clear();
        (self.lost, self.gap) = (true, true);
        held
    }

    /// Goes over to other keys.
    pub(super) fn enter(&mut self, epoch: Epoch) {
        self.epoch = epoch;
        self.opener = None;
        self.next_opener = None;
        self.secret = None;
    }

    /// How many numbers to try.
    pub(super) const fn guesses(&self) -> u64 {
        if self.lost { GUESSES } else { 1 }
    }

    /// A record was opened.
    pub(super) const fn succeed(&mut self) {
        self.lost = false;
        self.vain_bytes = 0;
        self.failures = 0;
    }

    /// A record of `bytes` was not; false when it is time to give up.
    pub(super) fn fail(&mut self, bytes: usize) -> bool {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.vain_bytes = self.vain_bytes.saturating_add(bytes.saturating_mul(self.guesses()));
        self.failures += 1;
        self.vain_bytes <= MAX_VAIN_BYTES && self.failures < MAX_FAILURES
    }
}
