//! The records of a connection under the keys that a key log tells.

use super::{
    Why,
    connection::{Around, Connection, Step},
    derive::{keys_12, keys_13},
    hello::Version,
    opener::Opener,
    record::{APPLICATION_DATA, CHANGE_CIPHER_SPEC, HANDSHAKE, Record},
    secrets::{Secret, Secrets},
    side::Epoch,
    suite::{Hash, Suite},
};

impl Connection {
    pub(super) fn suite(&self) -> Option<Suite> {
        self.server.and_then(|hello| hello.suite)
    }

    fn secrets<'a>(&self, around: &Around<'a>) -> Option<&'a Secrets> {
        around.secrets.get(&self.random()?)
    }

    /// What to do about a record whose key is not known.
    fn wait(&self, around: &Around<'_>) -> Step {
        let hopeless = !around.settings.await_keys && self.lacks() == Why::KeyUnknown;
        if hopeless { Step::GiveUp(Why::KeyUnknown) } else { Step::Wait }
    }

    fn role(&self, number: usize) -> usize {
        usize::from(self.client_side != Some(number))
    }

    pub(super) fn open_12(
        &mut self,
        number: usize,
        record: &Record<'_>,
        around: &mut Around<'_>,
    ) -> Step {
        if self.sides.get(number).is_some_and(|side| side.opener.is_none()) {
            match self.opener_12(number, around) {
                Ok(opener) => {
                    if let Some(side) = self.sides.get_mut(number) {
                        side.opener = Some(opener);
                    }
                }
                Err(step) => return step,
            }
        }
        let Some(side) = self.sides.get_mut(number) else { return Step::Used };
        let guesses = side.guesses();
        let Some(opener) = side.opener.as_mut() else { return Step::Used };
        let mut content = Vec::new();
        if opener.open(record, guesses, &mut content).is_none() {
            return Step::Failed;
        }
        if record.kind() == CHANGE_CIPHER_SPEC {
            // The end of a renegotiation.
            side.enter(Epoch::Protected);
        }
        self.content(number, record.kind(), content, around)
    }

    fn opener_12(&self, number: usize, around: &Around<'_>) -> Result<Opener, Step> {
        let (Some(client), Some(server)) = (self.client, self.server) else {
            return Err(Step::Wait);
        };
        let Some(suite) = server.suite else {
            return Err(Step::GiveUp(Why::CipherUnknown(server.number)));
        };
        let master = self.secrets(around).and_then(|secrets| secrets.master.as_ref());
        let master = master.ok_or_else(|| self.wait(around))?;
        let hash: Option<Hash> = (server.version == Version::Tls12).then_some(suite.hash);
        let randoms = [&client.random, &server.random];
        keys_12(hash, master, randoms, suite.protection, self.role(number))
            .and_then(|keys| Opener::new(&suite, server.version, server.encrypt_then_mac, keys))
            .ok_or(Step::GiveUp(Why::KeyWrong))
    }

    pub(super) fn open_13(
        &mut self,
        number: usize,
        record: &Record<'_>,
        around: &mut Around<'_>,
    ) -> Step {
        let Some(suite) = self.suite() else { return Step::Wait };
        let Some(secrets) = self.secrets(around) else { return self.wait(around) };
        let role = self.role(number);
        let of = |secrets: &[Option<Secret>; 2]| secrets.get(role).and_then(Clone::clone);
        let (handshake, application) = (of(&secrets.handshake), of(&secrets.application));
        let opener = |secret: &Option<Secret>| {
            let keys = keys_13(suite.hash, secret.as_ref()?, suite.protection)?;
            Opener::new(&suite, Version::Tls13, false, keys)
        };
        let waits = self.wait(around);
        let Some(side) = self.sides.get_mut(number) else { return Step::Used };
        let guesses = side.guesses();
        let mut content = Vec::new();
        let mut opened = false;
        if side.epoch == Epoch::Handshake {
            if handshake.is_none() && application.is_none() {
                return waits;
            }
            if side.opener.is_none() {
                side.opener = opener(&handshake);
            }
            if let Some(handshake) = side.opener.as_mut() {
                opened = handshake.open(record, guesses, &mut content).is_some();
            }
            if !opened {
                if side.next_opener.is_none() {
                    side.next_opener = opener(&application);
                }
                if let Some(next) = side.next_opener.as_mut()
                    && next.open(record, guesses, &mut content).is_some()
                {
                    let next = side.next_opener.take();
                    side.enter(Epoch::Application);
                    (side.opener, side.secret) = (next, application);
                    opened = true;
                }
            }
        } else {
            if side.opener.is_none() {
                if application.is_none() {
                    return waits;
                }
                side.opener = opener(&application);
                side.secret = application;
            }
            if let Some(opener) = side.opener.as_mut() {
                opened = opener.open(record, guesses, &mut content).is_some();
            }
        }
        if !opened {
            return Step::Failed;
        }
        // Zeros pad the content, its type stands last (RFC 8446 5.2).
        while content.last() == Some(&0) {
            content.pop();
        }
        let kind = content.pop().unwrap_or_default();
        self.content(number, kind, content, around)
    }

    /// The content of an opened record.
    fn content(
        &mut self,
        number: usize,
        kind: u8,
        content: Vec<u8>,
        around: &mut Around<'_>,
    ) -> Step {
        around.counters.records += 1;
        around.counters.decrypted += u64::from(!self.opened);
        self.opened = true;
        let Some(side) = self.sides.get_mut(number) else { return Step::Used };
        side.succeed();
        match kind {
            HANDSHAKE => {
                let said = side.reader.take(&content);
                self.hear(number, &said, around)
            }
            APPLICATION_DATA if !content.is_empty() => {
                let gap = std::mem::take(&mut side.gap);
                (around.plain)(number, content, gap);
                Step::Used
            }
            _ => Step::Used,
        }
    }
}
