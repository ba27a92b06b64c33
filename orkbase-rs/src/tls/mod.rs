//! TLS seen from outside (RFC 5246, RFC 8446): which connections there are, and the plain text of those
//! whose keys a key log tells.
//!
//! Law: nothing is broken, only opened with keys that a party to the connection has written down. Secrets are
//! wiped when forgotten and never printed. What waits for a key is bounded, for each connection and in all.
//!
//! [`Tls::handle_stream`], [`Tls::handle_keys`] and [`Tls::handle_timeout`] change state; drain
//! [`Tls::poll_event`] after each.

mod connection;
mod counters;
mod derive;
mod hello;
mod notice;
mod opener;
mod record;
mod secrets;
mod settings;
mod side;
mod suite;
#[cfg(test)]
mod tests;
mod unseal;

pub use self::{
    counters::TlsCounters,
    notice::{Notice, Why},
    settings::Settings,
};

use self::{
    connection::{Around, Connection},
    secrets::Table,
};
use crate::{packet::decoder::TcpStream, time::Timestamp};
use std::{
    collections::{BTreeMap, BTreeSet, HashSet, VecDeque},
    net::{IpAddr, SocketAddr},
};

/// A key that is not there so long after it was needed is told of, in milliseconds.
const PATIENCE_MS: u64 = 10_000;
/// Pairs of client and server that are told of, for each reason; of others the connections are counted.
const MAX_NOTICES: usize = 4_096;

/// What comes of it.
#[derive(Debug)]
pub enum Event {
    /// Plain text of one direction.
    Plain {
        /// Sender.
        source: SocketAddr,
        /// Receiver.
        destination: SocketAddr,
        /// The next bytes.
        data: Vec<u8>,
        /// Bytes are missing before these.
        gap: bool,
    },
    /// No more plain text of this direction will come.
    Closed {
        /// Sender.
        source: SocketAddr,
        /// Receiver.
        destination: SocketAddr,
    },
    /// Something the operator should know.
    Noticed(Notice),
}

/// Two ends, the smaller first.
type Ends = [SocketAddr; 2];

struct Entry {
    connection: Connection,
    signalling: bool,
    /// Since when it waits.
    since: Option<Timestamp>,
    /// Memory of what waits, as accounted for.
    waiting_bytes: usize,
}

/// Every TLS connection on the wire.
pub struct Tls {
    settings: Settings,
    secrets: Table,
    connections: BTreeMap<Ends, Entry>,
    /// Connections that wait, oldest first.
    waiting: BTreeSet<(Timestamp, Ends)>,
    /// Of them, those not told of yet.
    untold: BTreeSet<(Timestamp, Ends)>,
    waiting_bytes: usize,
    told: BTreeSet<(IpAddr, SocketAddr, Why)>,
    events: VecDeque<Event>,
    counters: TlsCounters,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("counters", &self.counters).finish_non_exhaustive()
    }
}

impl Tls {
    /// Nothing seen, no key known.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            secrets: Table::new(settings.secrets),
            settings,
            connections: BTreeMap::new(),
            waiting: BTreeSet::new(),
            untold: BTreeSet::new(),
            waiting_bytes: 0,
            told: BTreeSet::new(),
            events: VecDeque::new(),
            counters: TlsCounters::default(),
        }
    }

    /// Whether a direction of TCP, of which these are the first bytes, is TLS.
    #[must_use]
    pub fn claims(&self, stream: &TcpStream<'_>) -> bool {
        let TcpStream { source, destination, data, gap, .. } = *stream;
        if record::may_open(data) || self.connections.contains_key(&ends(source, destination)) {
            return true;
        }
        // The connection began before we listened: in the middle of a record on a port for TLS only.
        let port = |end: SocketAddr| self.settings.ports.contains(&end.port());
        let text =
            data.iter().take(8).all(|byte| byte.is_ascii_graphic() || b" \r\n".contains(byte));
        // Not SSL 3.0: a long Skinny message begins like it.
        let midway = matches!(data, [_, _, 1..=4, ..]) && record::may_begin(data);
        midway || gap && !text && (port(source) || port(destination))
    }

    /// Takes the next bytes of a direction of TCP.
    pub fn handle_stream(&mut self, now: Timestamp, stream: &TcpStream<'_>) {
        let TcpStream { source, destination, data, gap, closed } = *stream;
        let ends = ends(source, destination);
        let side = usize::from(ends.first() != Some(&source));
        let ended = |entry: &Entry| !data.is_empty() && entry.connection.is_closed(side);
        if self.connections.get(&ends).is_some_and(ended) {
            // Another connection between the same addresses.
            self.remove(ends);
        }
        if !data.is_empty() {
            if !self.connections.contains_key(&ends) && !self.begin(ends) {
                return;
            }
            self.work(now, ends, |connection, around| connection.take(side, data, gap, around));
        }
        if closed {
            if let Some(entry) = self.connections.get_mut(&ends) {
                entry.connection.close(side);
            }
            self.sweep(ends);
        }
    }

    /// Takes lines of a key log; what waited for them comes out now.
    pub fn handle_keys(&mut self, now: Timestamp, text: &str) {
        let taken = self.secrets.take(text);
        self.counters.secrets += taken.secrets;
        self.counters.secrets_dropped += taken.dropped;
        self.counters.key_lines_malformed += taken.malformed;
        if self.waiting.is_empty() || taken.randoms.is_empty() {
            return;
        }
        let randoms: HashSet<_> = taken.randoms.into_iter().collect();
        let concerned = |ends: &Ends| {
            let random = self.connections.get(ends).and_then(|entry| entry.connection.random());
            random.is_some_and(|random| randoms.contains(&random))
        };
        let due: Vec<Ends> =
            self.waiting.iter().map(|(_, ends)| *ends).filter(|ends| concerned(ends)).collect();
        for ends in due {
            self.work(now, ends, Connection::resume);
            self.sweep(ends);
        }
    }

    /// Tells of connections whose key has not come for long.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        while let Some(&(since, ends)) = self.untold.first()
            && now.millis_since(since) >= PATIENCE_MS
        {
            self.untold.pop_first();
            let Some(entry) = self.connections.get_mut(&ends) else { continue };
            let why = entry.connection.lacks();
            // Other connections have waited long enough; most of them are no signalling.
            let patient = self.settings.await_keys && entry.signalling;
            if patient && why == Why::KeyUnknown && !entry.connection.over() {
                self.tell(ends, why);
            } else {
                self.give_up(ends, why);
                self.sweep(ends);
            }
        }
    }

    /// The capture has ended: what waits, waits in vain.
    pub fn finish(&mut self) {
        while let Some(ends) = self.connections.first_key_value().map(|(ends, _)| *ends) {
            self.remove(ends);
        }
    }

    /// The next thing that came of it.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// What was counted so far.
    #[must_use]
    pub const fn counters(&self) -> &TlsCounters {
        &self.counters
    }

    fn begin(&mut self, ends: Ends) -> bool {
        if self.connections.len() >= self.settings.connections {
            self.counters.refused += 1;
            return false;
        }
        let signalling = ends.iter().any(|end| self.settings.ports.contains(&end.port()));
        self.counters.connections += 1;
        self.counters.signalling += u64::from(signalling);
        let connection = Connection::new();
        self.connections
            .insert(ends, Entry { connection, signalling, since: None, waiting_bytes: 0 });
        true
    }

    /// Lets a connection do something, and brings the accounts up to date.
    fn work(
        &mut self,
        now: Timestamp,
        ends: Ends,
        what: impl FnOnce(&mut Connection, &mut Around<'_>),
    ) {
        let Self { settings, secrets, connections, events, counters, .. } = self;
        let Some(entry) = connections.get_mut(&ends) else { return };
        let before = entry.connection.given_up;
        let plain = &mut |side: usize, data: Vec<u8>, gap: bool| {
            let [source, destination] = from(ends, side);
            events.push_back(Event::Plain { source, destination, data, gap });
        };
        what(&mut entry.connection, &mut Around { settings, secrets, counters, plain });
        if !entry.signalling && entry.connection.names_sip() {
            entry.signalling = true;
            counters.signalling += 1;
        }
        let why = entry.connection.given_up.filter(|_| before.is_none());
        self.account(now, ends);
        if let Some(why) = why {
            self.count(why);
            self.tell(ends, why);
        }
        self.bound(ends);
    }

    /// What waits, since when, and how much.
    fn account(&mut self, now: Timestamp, ends: Ends) {
        let Some(entry) = self.connections.get_mut(&ends) else { return };
        let bytes = if entry.connection.waits() { entry.connection.waiting_bytes() } else { 0 };
        self.waiting_bytes = self.waiting_bytes.saturating_add(bytes) - entry.waiting_bytes;
        entry.waiting_bytes = bytes;
        match (entry.since, entry.connection.waits()) {
            (None, true) => {
                entry.since = Some(now);
                self.waiting.insert((now, ends));
                self.untold.insert((now, ends));
            }
            (Some(since), false) => {
                entry.since = None;
                self.waiting.remove(&(since, ends));
                self.untold.remove(&(since, ends));
            }
            (None, false) | (Some(_), true) => {}
        }
    }

    /// Keeps what waits within its bounds.
    fn bound(&mut self, ends: Ends) {
        if let Some(entry) = self.connections.get(&ends) {
            let Settings { signalling_bytes, other_bytes, .. } = self.settings;
            let most = if entry.signalling { signalling_bytes } else { other_bytes };
            if entry.waiting_bytes > most {
                self.counters.overflowed += 1;
                self.give_up(ends, entry.connection.lacks());
            }
        }
        while self.waiting_bytes > self.settings.total_bytes
            && let Some(&(_, oldest)) = self.waiting.first()
        {
            self.counters.overflowed += 1;
            let lacks = self.connections.get(&oldest).map(|entry| entry.connection.lacks());
            self.give_up(oldest, lacks.unwrap_or(Why::KeyUnknown));
        }
    }

    fn give_up(&mut self, ends: Ends, why: Why) {
        let Some(entry) = self.connections.get_mut(&ends) else { return };
        entry.connection.give_up(why);
        self.account(Timestamp::default(), ends);
        self.count(why);
        self.tell(ends, why);
    }

    const fn count(&mut self, why: Why) {
        let counters = &mut self.counters;
        let counter = match why {
            Why::KeyUnknown => &mut counters.without_key,
            Why::HandshakeUnseen => &mut counters.without_handshake,
            Why::CipherUnknown(_) => &mut counters.unsupported,
            Why::KeyWrong => &mut counters.wrong_key,
            Why::Lost => &mut counters.lost,
        };
        *counter += 1;
    }

    /// Removes a connection that has ended, unless its key may still come.
    fn sweep(&mut self, ends: Ends) {
        let Some(entry) = self.connections.get(&ends) else { return };
        let patient = entry.since.is_some_and(|since| self.untold.contains(&(since, ends)));
        if entry.connection.over() && !patient {
            self.remove(ends);
        }
    }

    fn remove(&mut self, ends: Ends) {
        let Some(entry) = self.connections.get(&ends) else { return };
        if entry.connection.waits() {
            self.give_up(ends, entry.connection.lacks());
        } else if entry.connection.given_up.is_none() && entry.connection.never_opened() {
            self.give_up(ends, Why::KeyWrong);
        }
        self.connections.remove(&ends);
        for side in 0..2 {
            let [source, destination] = from(ends, side);
            self.events.push_back(Event::Closed { source, destination });
        }
    }

    /// Tells of signalling that cannot be read, once for each pair and reason.
    fn tell(&mut self, ends: Ends, why: Why) {
        let Some(entry) = self.connections.get(&ends).filter(|entry| entry.signalling) else {
            return;
        };
        let port = |side: usize| {
            ends.get(side).is_some_and(|end| self.settings.ports.contains(&end.port()))
        };
        let client = entry.connection.client_side.unwrap_or(usize::from(!port(1)));
        let [client, server] = from(ends, client);
        let pair = (client.ip(), server, why);
        if self.told.contains(&pair) || self.told.len() >= MAX_NOTICES {
            return;
        }
        let told = self.told.range((pair.0, pair.1, Why::KeyUnknown)..).next();
        let known = told.is_some_and(|(ip, end, _)| (*ip, *end) == (pair.0, pair.1));
        self.counters.endpoints_unread += u64::from(!known);
        self.told.insert(pair);
        let notice = Notice { client: pair.0, server, why };
        self.events.push_back(Event::Noticed(notice));
    }
}

fn ends(one: SocketAddr, other: SocketAddr) -> Ends {
    if one <= other { [one, other] } else { [other, one] }
}

/// Sender and receiver of a side.
const fn from([one, other]: Ends, side: usize) -> Ends {
    if side == 0 { [one, other] } else { [other, one] }
}
