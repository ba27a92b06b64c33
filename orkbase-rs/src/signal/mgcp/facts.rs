//! From MGCP messages to the facts they state.
//!
//! Law: a call is what one call agent names with one `C:`; two gateways in it are its two ends. Who
//! called: a line that was off the hook before its connection was made, or the first of two; a line
//! that was rung, or an analogue line on the hook, was called. It is answered once a line may send
//! and receive and knows where to, which some agents allow while it still rings.

use super::{
    call::{Call, End, Leg},
    message::{Event, Message, Start, Verb, looks_like_command, may_be_response, messages},
};
use crate::{
    signal::{
        Fact, Media, Name, Signal,
        sip::{Sdp, facts},
    },
    time::Timestamp,
};
use foldhash::fast::RandomState;
use std::{
    collections::{HashMap, VecDeque},
    net::{IpAddr, SocketAddr},
};

/// Calls known at once; beyond it the one that was silent longest is forgotten.
const MAX_CALLS: usize = 16_384;
/// Lines known at once.
const MAX_LINES: usize = 65_536;
/// Transactions known at once.
const MAX_TRANSACTIONS: usize = 16_384;
/// A transaction is remembered this long (RFC 3435 §3.5.1, T-HIST).
const TRANSACTION_MS: u64 = 30_000;
/// Longest number dialled.
const MAX_DIGITS: usize = 40;

/// What MGCP counted.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Counters {
    /// Messages read.
    pub messages: u64,
    /// Facts stated.
    pub facts: u64,
    /// Calls met.
    pub calls: u64,
    /// Commands and responses that came again.
    pub repeated: u64,
    /// Session descriptions that could not be read.
    pub malformed: u64,
    /// Lines and connections beyond the bounds.
    pub refused: u64,
    /// Calls forgotten because the table was full.
    pub forgotten: u64,
}

/// A line of a gateway.
#[derive(Debug, Default)]
struct Line {
    off_hook: bool,
    rung: bool,
    digits: String,
    /// Who calls, as its display shows.
    shown: Name,
    call: Option<usize>,
}

#[derive(Debug)]
struct Transaction {
    /// The call and leg that the response is about.
    leg: Option<(usize, u32)>,
    creates: bool,
    answered: bool,
}

/// A command's sender, receiver and number.
type TransactionKey = (SocketAddr, SocketAddr, u32);
/// A gateway's line.
type LineKey = (IpAddr, String);
/// Who is told.
type Telling<'a> = &'a mut dyn FnMut(&Signal);

/// Every call agent whose messages are seen.
#[derive(Debug, Default)]
pub struct Mgcp {
    calls: Vec<Option<Call>>,
    free: Vec<usize>,
    names: HashMap<(IpAddr, String), usize, RandomState>,
    lines: HashMap<LineKey, Line, RandomState>,
    transactions: HashMap<TransactionKey, Transaction, RandomState>,
    /// Oldest first.
    order: VecDeque<(Timestamp, TransactionKey)>,
    counters: Counters,
    legs: u32,
}

impl Mgcp {
    /// What was counted so far.
    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Takes in a datagram; false when it is not MGCP. Commands are known by their first line,
    /// responses by their command.
    pub fn handle(
        &mut self,
        at: Timestamp,
        source: SocketAddr,
        destination: SocketAddr,
        payload: &[u8],
        told: &mut dyn FnMut(&Signal),
    ) -> bool {
        let command = looks_like_command(payload);
        if !command && !may_be_response(payload) {
            return false;
        }
        let mut own = command;
        for message in messages(payload) {
            let response = matches!(message.start, Start::Response(_));
            let key = (destination, source, message.transaction);
            let answers = response && self.transactions.contains_key(&key);
            if !(own || answers) {
                return false;
            }
            own = true;
            self.counters.messages += 1;
            let mut facts = 0;
            self.message(at, source, destination, &message, &mut |signal| {
                facts += 1;
                told(signal);
            });
            self.counters.facts += facts;
        }
        own
    }

    fn message(
        &mut self,
        at: Timestamp,
        source: SocketAddr,
        destination: SocketAddr,
        message: &Message<'_>,
        told: Telling<'_>,
    ) {
        let (verb, endpoint) = match &message.start {
            Start::Command(verb, endpoint) => (*verb, endpoint.as_str()),
            Start::Response(code) => {
                let key = (destination, source, message.transaction);
                return self.response(at, key, *code, message, told);
            }
        };
        let key = (source, destination, message.transaction);
        if self.transactions.contains_key(&key) {
            self.counters.repeated += 1;
            return;
        }
        let leg = match verb {
            Verb::Crcx => self.create(at, source, destination, endpoint, message, told),
            Verb::Mdcx => self.modify(at, source, destination, endpoint, message, told),
            Verb::Dlcx => {
                self.delete([source, destination], endpoint, message, told);
                None
            }
            Verb::Rqnt => {
                self.requested(destination, endpoint, &message.signals);
                None
            }
            Verb::Ntfy => {
                self.notified(at, source, endpoint, &message.observed, told);
                None
            }
            Verb::Other => None,
        };
        self.remember(at, key, Transaction { leg, creates: verb == Verb::Crcx, answered: false });
    }

    fn remember(&mut self, at: Timestamp, key: TransactionKey, transaction: Transaction) {
        while let Some((since, oldest)) = self.order.front().copied() {
            let full = self.order.len() >= MAX_TRANSACTIONS;
            if !full && at.millis_since(since) < TRANSACTION_MS {
                break;
            }
            self.order.pop_front();
            self.transactions.remove(&oldest);
        }
        self.transactions.insert(key, transaction);
        self.order.push_back((at, key));
    }

    /// CRCX: a line is connected.
    fn create(
        &mut self,
        at: Timestamp,
        agent: SocketAddr,
        gateway: SocketAddr,
        endpoint: &str,
        message: &Message<'_>,
        told: Telling<'_>,
    ) -> Option<(usize, u32)> {
        let number = message.call.clone()?;
        self.requested(gateway, endpoint, &message.signals);
        let name = (agent.ip(), number.clone());
        let slot = match self.names.get(&name).copied() {
            Some(slot) => slot,
            None => self.begin(at, agent, number, told),
        };
        let line = self.line(gateway, endpoint);
        let called = line
            .as_ref()
            .is_some_and(|line| line.rung || (!line.off_hook && endpoint.starts_with("aaln")));
        let (digits, shown) = line.map_or_else(Default::default, |line| {
            line.call = Some(slot);
            (line.digits.clone(), line.shown.clone())
        });
        self.legs = self.legs.wrapping_add(1);
        let id = self.legs;
        let call = self.calls.get_mut(slot)?.as_mut()?;
        call.last = at;
        let end = match call.legs.first() {
            Some(first) => first.end.other(),
            None if called => End::Callee,
            None => End::Caller,
        };
        if !call.add(id, gateway, endpoint, end) {
            self.counters.refused += 1;
            return None;
        }
        // The number that was dialled is better than the name of a line.
        let keep = |name: &mut Name, new: &str| {
            if name.user.is_empty() {
                new.clone_into(&mut name.user);
            }
        };
        match end {
            End::Caller => {
                keep(&mut call.to, &digits);
                keep(&mut call.from, endpoint);
            }
            End::Callee => {
                if !shown.user.is_empty() {
                    call.from = shown;
                }
                keep(&mut call.to, endpoint);
            }
        }
        if let Some(signal) = call.offer() {
            told(&signal);
        }
        self.change(slot, id, message, told);
        Some((slot, id))
    }

    fn begin(
        &mut self,
        at: Timestamp,
        agent: SocketAddr,
        number: String,
        told: Telling<'_>,
    ) -> usize {
        if self.calls.len() - self.free.len() >= MAX_CALLS {
            let age =
                |(slot, call): (usize, &Option<Call>)| call.as_ref().map(|call| (call.last, slot));
            if let Some((_, oldest)) = self.calls.iter().enumerate().filter_map(age).min() {
                self.counters.forgotten += 1;
                self.forget(oldest, End::Caller, told);
            }
        }
        self.counters.calls += 1;
        let slot = self.free.pop().unwrap_or(self.calls.len());
        self.names.insert((agent.ip(), number.clone()), slot);
        let call = Some(Call::new(agent, number, at));
        match self.calls.get_mut(slot) {
            Some(place) => *place = call,
            None => self.calls.push(call),
        }
        slot
    }

    /// MDCX: a connection changes.
    fn modify(
        &mut self,
        at: Timestamp,
        agent: SocketAddr,
        gateway: SocketAddr,
        endpoint: &str,
        message: &Message<'_>,
        told: Telling<'_>,
    ) -> Option<(usize, u32)> {
        let slot = self.slot(agent, gateway, endpoint, message)?;
        let call = self.calls.get_mut(slot)?.as_mut()?;
        call.last = at;
        let wanted = |leg: &&Leg| is_here(leg, gateway, endpoint) && is_named(leg, message);
        let id = call.legs.iter().find(wanted)?.id;
        self.change(slot, id, message, told);
        Some((slot, id))
    }

    /// Mode and description of a connection, as the agent wants them.
    fn change(&mut self, slot: usize, id: u32, message: &Message<'_>, told: Telling<'_>) {
        let media = self.media(message);
        let Some(Some(call)) = self.calls.get_mut(slot) else { return };
        let Some(leg) = call.legs.iter_mut().find(|leg| leg.id == id) else { return };
        let before = leg.mode;
        leg.mode = message.mode.unwrap_or(before);
        let moved = leg.mode != before && call.connected;
        let mut tell = |signal: Option<Signal>| signal.iter().for_each(&mut *told);
        if let Some(media) = media {
            tell(call.remote(id, media));
        }
        if moved {
            tell(call.restate(id));
        }
        tell(call.connect());
    }

    /// The gateway has done what it was told, or not.
    fn response(
        &mut self,
        at: Timestamp,
        key: TransactionKey,
        code: u16,
        message: &Message<'_>,
        told: Telling<'_>,
    ) {
        let Some(transaction) = self.transactions.get_mut(&key) else { return };
        // 1xx: it is being worked on.
        let again = transaction.answered;
        transaction.answered |= code >= 200;
        if again {
            self.counters.repeated += 1;
            return;
        }
        let (creates, Some((slot, id))) = (transaction.creates, transaction.leg) else { return };
        let media = self.media(message);
        let Some(Some(call)) = self.calls.get_mut(slot) else { return };
        call.last = at;
        let Some(leg) = call.legs.iter_mut().find(|leg| leg.id == id) else { return };
        if code >= 400 && creates {
            let end = leg.end;
            return self.drop_legs(slot, end, &|leg| leg.id == id, told);
        }
        if let Some(name) = &message.connection {
            leg.connection = Some(name.clone());
        }
        let mut chosen = None;
        if let Some(endpoint) = &message.endpoint {
            // The name with a wildcard was a line for a moment only.
            let wild = std::mem::replace(&mut leg.endpoint, endpoint.clone());
            chosen = Some((leg.gateway, wild, endpoint.clone()));
        }
        let mut tell = |signal: Option<Signal>| signal.iter().for_each(&mut *told);
        if let Some(media) = media {
            tell(call.local(id, media));
        }
        tell(call.connect());
        let Some((gateway, wild, endpoint)) = chosen else { return };
        for name in [&mut call.from.user, &mut call.to.user] {
            if *name == wild {
                name.clone_from(&endpoint);
            }
        }
        self.free_line(gateway, &wild, slot);
        if let Some(line) = self.line(gateway, &endpoint) {
            line.call = Some(slot);
        }
    }

    /// DLCX, by either side: one connection, those of a call at a line, or all of a line.
    fn delete(
        &mut self,
        ends: [SocketAddr; 2],
        endpoint: &str,
        message: &Message<'_>,
        told: Telling<'_>,
    ) {
        let [source, destination] = ends;
        let found = self
            .slot(source, destination, endpoint, message)
            .map(|slot| (slot, destination))
            .or_else(|| Some((self.slot(destination, source, endpoint, message)?, source)));
        let Some((slot, gateway)) = found else { return };
        let goes = |leg: &Leg| is_here(leg, gateway, endpoint) && is_named(leg, message);
        let legs = self.calls.get(slot).and_then(Option::as_ref).map(|call| &call.legs);
        let end = legs.and_then(|legs| legs.iter().find(|leg| goes(leg))).map(|leg| leg.end);
        if let Some(end) = end {
            self.drop_legs(slot, end, &goes, told);
        }
    }

    /// The call that a command is about: as it names it, else the line's newest.
    fn slot(
        &self,
        agent: SocketAddr,
        gateway: SocketAddr,
        endpoint: &str,
        message: &Message<'_>,
    ) -> Option<usize> {
        if let Some(number) = &message.call {
            return self.names.get(&(agent.ip(), number.clone())).copied();
        }
        self.lines.get(&line_key(gateway, endpoint))?.call
    }

    /// Legs are gone; with the last of them the call is, which `end` ended.
    fn drop_legs(&mut self, slot: usize, end: End, goes: &dyn Fn(&Leg) -> bool, told: Telling<'_>) {
        let Some(Some(call)) = self.calls.get_mut(slot) else { return };
        if call.legs.iter().all(goes) {
            // Told while they are still there: they say who speaks.
            return self.forget(slot, end, told);
        }
        let gone: Vec<Leg> = call.legs.extract_if(.., |leg| goes(leg)).collect();
        for leg in &gone {
            self.free_line(leg.gateway, &leg.endpoint, slot);
        }
    }

    /// A line is in a call no more; idle ones are forgotten.
    fn free_line(&mut self, gateway: SocketAddr, endpoint: &str, slot: usize) {
        let key = line_key(gateway, endpoint);
        let Some(line) = self.lines.get_mut(&key) else { return };
        line.call = line.call.filter(|owner| *owner != slot);
        if line.call.is_none() && !line.off_hook {
            self.lines.remove(&key);
        }
    }

    fn forget(&mut self, slot: usize, end: End, told: Telling<'_>) {
        let Some(call) = self.calls.get_mut(slot).and_then(Option::take) else { return };
        self.free.push(slot);
        self.names.remove(&(call.agent.ip(), call.number.clone()));
        for leg in &call.legs {
            self.free_line(leg.gateway, &leg.endpoint, slot);
        }
        call.ended(end).iter().for_each(told);
    }

    /// What a line is to play: ringing, and who calls.
    fn requested(&mut self, gateway: SocketAddr, endpoint: &str, signals: &[Event]) {
        for signal in signals {
            let ringing = matches!(
                signal.code.as_str(),
                "rg" | "r0" | "r1" | "r2" | "r3" | "r4" | "r5" | "r6" | "r7" | "ci"
            );
            let Some(line) = ringing.then(|| self.line(gateway, endpoint)).flatten() else {
                continue;
            };
            line.rung = true;
            if signal.code == "ci" {
                line.shown = shown(&signal.parameters);
            }
        }
    }

    /// What a line noticed: hook and keys.
    fn notified(
        &mut self,
        at: Timestamp,
        gateway: SocketAddr,
        endpoint: &str,
        events: &[Event],
        told: Telling<'_>,
    ) {
        for event in events {
            let code = event.code.as_str();
            let key = code.to_ascii_uppercase();
            let is_key = key.len() == 1 && "0123456789*#ABCD".contains(&key);
            if !is_key && !matches!(code, "hd" | "hu") {
                continue;
            }
            if code == "hu" {
                let name = line_key(gateway, endpoint);
                if let Some(line) = self.lines.get_mut(&name) {
                    *line = Line { call: line.call, ..Line::default() };
                    if line.call.is_none() {
                        self.lines.remove(&name);
                    }
                }
                continue;
            }
            let Some(line) = self.line(gateway, endpoint) else { return };
            if code == "hd" {
                line.off_hook = true;
                line.digits.clear();
                continue;
            }
            let call = line.call.and_then(|slot| self.calls.get_mut(slot)?.as_mut());
            if let Some(call) = call {
                call.last = at;
                let leg = call.legs.iter().find(|leg| leg.endpoint == endpoint);
                if let Some(end) = leg.map(|leg| leg.end) {
                    // Transactions keep it from being told twice: it needs no number.
                    told(&call.signal(end, Fact::Digit { digit: key, number: 0 }));
                }
            } else if let Some(line) = self.line(gateway, endpoint)
                && line.digits.len() < MAX_DIGITS
            {
                line.digits.push_str(&key);
            }
        }
    }

    /// A line, known from now on unless there are too many.
    fn line(&mut self, gateway: SocketAddr, endpoint: &str) -> Option<&mut Line> {
        let key = line_key(gateway, endpoint);
        if !self.lines.contains_key(&key) && self.lines.len() >= MAX_LINES {
            self.counters.refused += 1;
            return None;
        }
        Some(self.lines.entry(key).or_default())
    }

    fn media(&mut self, message: &Message<'_>) -> Option<Vec<Media>> {
        let Ok(sdp) = Sdp::parse(message.sdp?) else {
            self.counters.malformed += 1;
            return None;
        };
        Some(facts::media(sdp))
    }
}

fn is_here(leg: &Leg, gateway: SocketAddr, endpoint: &str) -> bool {
    leg.gateway.ip() == gateway.ip() && leg.endpoint == endpoint
}

/// Whether the connection is the one that a command names, or that it names none.
fn is_named(leg: &Leg, message: &Message<'_>) -> bool {
    let same = |name: &String| {
        leg.connection.as_ref().is_none_or(|known| known.eq_ignore_ascii_case(name))
    };
    message.connection.as_ref().is_none_or(same)
}

fn line_key(gateway: SocketAddr, endpoint: &str) -> LineKey {
    (gateway.ip(), endpoint.to_owned())
}

/// `10/14/17/26, 5551234, "Ann"`: time, number, name.
fn shown(parameters: &str) -> Name {
    let mut fields = parameters.splitn(3, ',').skip(1).map(|field| field.trim().trim_matches('"'));
    let user = fields.next().unwrap_or_default().to_owned();
    let display = fields.next().unwrap_or_default().to_owned();
    Name { user, host: String::new(), display }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_display_shows_number_and_name() {
        let name = shown("10/14/17/26, 5551234, \"Ann, B\"");
        assert_eq!((name.user.as_str(), name.display.as_str()), ("5551234", "Ann, B"));
        assert_eq!(shown("").user, "");
    }

    proptest! {
        #[test]
        fn any_messages_are_answered(
            script in proptest::collection::vec((0usize..9, 0u32..6, 0u8..3, 0u8..3, any::<bool>()), 0..120),
        ) {
            let (gateway, agent) = ("10.0.0.5:2427".parse().unwrap(), "10.0.0.1:2727".parse().unwrap());
            let mut mgcp = Mgcp::default();
            let mut at = Timestamp(1);
            for (what, number, call, line, sdp) in script {
                at = at.plus_millis(5_000);
                let (verb, from_gateway) = [
                    ("CRCX", false), ("CRCX", false), ("MDCX", false), ("DLCX", false), ("DLCX", true),
                    ("NTFY", true), ("RQNT", false), ("200", true), ("510", true),
                ][what];
                let start = if what < 7 { format!("{verb} {number} aaln/{line}@gw MGCP 1.0") } else { format!("{verb} {number}") };
                let body = if sdp { "\nv=0\nc=IN IP4 10.0.0.9\nm=audio 4000 RTP/AVP 0\n" } else { "" };
                let text = format!("{start}\nC: {call}\nM: sendrecv\nZ: aaln/{call}@gw\nO: hd, 5, hu\nS: rg\n{body}");
                let (a, b) = if from_gateway { (gateway, agent) } else { (agent, gateway) };
                mgcp.handle(at, a, b, text.as_bytes(), &mut |_| ());
                prop_assert!(mgcp.names.len() == mgcp.calls.len() - mgcp.free.len());
                prop_assert!(mgcp.transactions.len() <= mgcp.order.len() && mgcp.order.len() <= 7);
                prop_assert!(mgcp.lines.values().all(|line| line.call.is_none_or(|slot| mgcp.calls[slot].is_some())));
            }
        }
    }
}
