//! From frames to facts and voice.
//!
//! Law: a host's call number names a call until HANGUP or two minutes of nothing. What may begin a
//! call: NEW; ACCEPT or a full voice frame of one that was under way before we listened, whose people
//! stay unknown. In that case the sender of ACCEPT is the callee, the first to be heard the caller.
//! Voice of one direction may then stay unheard until it is sure what it is: one format holds for
//! both.

use super::{
    call::{Call, End, Side},
    element::Elements,
    formats::sound_of,
    frame::{Frame, Full, Kind},
    voice::When,
};
use crate::{
    signal::{Fact, Signal},
    time::Timestamp,
};
use foldhash::fast::RandomState;
use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
};

/// IANA's port of IAX2.
const PORT: u16 = 4569;
/// Calls known at once: all call numbers of a host.
const MAX_CALLS: usize = 32_768;
/// A call without any packet is forgotten after this long; living ones are asked (PING) every 20 s.
const DEAD_MS: u64 = 120_000;
/// A call that is over is remembered this long: its last packets must not look like news.
const LINGER_MS: u64 = 10_000;
/// NEW is sent again for this long at most.
const RETRIES_MS: u64 = 20_000;
/// Calls are looked over this often.
const SWEEP_MS: u64 = 5_000;

/// What IAX2 counted.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Counters {
    /// Full frames read.
    pub messages: u64,
    /// Facts stated.
    pub facts: u64,
    /// Calls met.
    pub calls: u64,
    /// Voice packets handed on.
    pub voice: u64,
    /// Full frames that had been seen before, voice left out.
    pub repeated: u64,
    /// Full frames whose elements could not be read.
    pub malformed: u64,
    /// Full frames of encrypted calls: nobody can say what they are.
    pub encrypted: u64,
    /// Voice packets of calls nobody has told us of, or in formats nobody has told us of.
    pub orphans: u64,
    /// Video packets.
    pub video: u64,
    /// Calls refused because the table was full.
    pub refused: u64,
    /// Calls forgotten because nothing was heard of them.
    pub forgotten: u64,
}

/// Something for the call core.
#[derive(Debug)]
pub enum Told<'a> {
    /// A fact about a call.
    Fact(&'a Signal),
    /// A voice packet.
    Voice {
        /// The sender: its host and its number of the call.
        source: SocketAddr,
        /// The receiver, likewise.
        destination: SocketAddr,
        /// An RTP packet.
        rtp: &'a [u8],
    },
}

/// A direction of a call.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
struct Leg {
    sender: SocketAddr,
    receiver: SocketAddr,
    /// The sender's.
    number: u16,
}

/// Every call seen.
#[derive(Debug, Default)]
pub struct Iax2 {
    calls: Vec<Option<Call>>,
    free: Vec<usize>,
    legs: HashMap<Leg, (usize, Side), RandomState>,
    names: HashSet<String, RandomState>,
    /// Pairs of hosts that use other ports, with their calls.
    elsewhere: HashMap<(SocketAddr, SocketAddr), usize, RandomState>,
    counters: Counters,
    serial: u16,
    datagrams: u64,
    next_sweep: Timestamp,
    rtp: Vec<u8>,
}

/// Who is told.
type Telling<'a> = &'a mut dyn FnMut(Told<'_>);

impl Iax2 {
    /// What was counted so far.
    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Takes in a datagram; false when it is not IAX2. On other ports than IANA's only NEW is
    /// recognised, and from then on everything between the two.
    pub fn handle(
        &mut self,
        at: Timestamp,
        source: SocketAddr,
        destination: SocketAddr,
        payload: &[u8],
        told: &mut dyn FnMut(Told<'_>),
    ) -> bool {
        let usual = source.port() == PORT || destination.port() == PORT;
        let known = usual
            || (!self.elsewhere.is_empty()
                && self.elsewhere.contains_key(&pair(source, destination)));
        if known && self.is_hidden(at, source, destination, payload) {
            return true;
        }
        let Some(frame) = Frame::read(payload) else { return false };
        if !known && !begins_call(&frame) {
            return false;
        }
        self.datagrams += 1;
        self.sweep(at, told);
        match frame {
            Frame::Full(full) => self.full(at, (source, destination), &full, told),
            Frame::Mini { call: number, time, data } => {
                let leg = Leg { sender: source, receiver: destination, number };
                self.heard(at, leg, When::Half(time), data, told)
            }
            Frame::Video => {
                self.counters.video += 1;
                true
            }
            Frame::Trunk(trunk) => {
                for entry in trunk.entries() {
                    let leg = Leg { sender: source, receiver: destination, number: entry.call };
                    let when =
                        entry.time.map_or(When::Trunk(trunk.time, self.datagrams), When::Half);
                    if !self.heard(at, leg, when, entry.data, told) {
                        self.counters.orphans += 1;
                    }
                }
                true
            }
        }
    }

    /// A full frame of an encrypted call: only its call numbers can be read.
    fn is_hidden(
        &mut self,
        at: Timestamp,
        sender: SocketAddr,
        receiver: SocketAddr,
        payload: &[u8],
    ) -> bool {
        let Some((&[high, low, d0, d1], _)) = payload.split_first_chunk::<4>() else {
            return false;
        };
        let leg = Leg { sender, receiver, number: u16::from_be_bytes([high & 0x7F, low]) };
        let call = self.legs.get(&leg).and_then(|(slot, _)| self.calls.get_mut(*slot)?.as_mut());
        // Only NEW names no destination.
        let Some(call) = call.filter(|call| call.encrypted && [d0 & 0x7F, d1] != [0, 0]) else {
            return false;
        };
        if high & 0x80 != 0 {
            call.last = at;
            self.counters.encrypted += 1;
        }
        high & 0x80 != 0
    }

    fn full(
        &mut self,
        at: Timestamp,
        (source, destination): (SocketAddr, SocketAddr),
        full: &Full<'_>,
        told: Telling<'_>,
    ) -> bool {
        let leg = Leg { sender: source, receiver: destination, number: full.source };
        if is_new(full) {
            self.counters.messages += 1;
            self.offered(at, leg, full, told);
            return true;
        }
        let Some((slot, side)) = self.leg(leg, full).or_else(|| self.join(at, leg, full, told))
        else {
            let voice = full.kind == Kind::Voice;
            self.counters.messages += u64::from(!voice);
            return !voice;
        };
        let Some(Some(call)) = self.calls.get_mut(slot) else { return true };
        call.last = at;
        self.counters.messages += 1;
        if full.kind == Kind::Voice {
            if sound_of(full.subclass, full.data).is_some() {
                call.end(side).format = Some(full.subclass);
                call.format.get_or_insert(full.subclass);
                self.heard(at, leg, When::Clock(full.time), full.data, told);
            }
            return true;
        }
        if matches!(full.kind, Kind::Video) {
            self.counters.video += 1;
            return true;
        }
        if call.over.is_some() || is_unnumbered(full) {
            return true;
        }
        if !call.end(side).is_new(full.oseqno, full.time) {
            self.counters.repeated += 1;
            return true;
        }
        if let Some(signal) = said(call, at, side, full, &mut self.counters) {
            self.counters.facts += 1;
            told(Told::Fact(&signal));
        }
        true
    }

    /// The call and side that a full frame belongs to; gives a callee its number.
    fn leg(&mut self, leg: Leg, full: &Full<'_>) -> Option<(usize, Side)> {
        let other = Leg { sender: leg.receiver, receiver: leg.sender, number: full.destination };
        if let Some((slot, side)) = self.legs.get(&leg).copied() {
            let call = self.calls.get_mut(slot)?.as_mut()?;
            let number = &mut call.end(side.other()).number;
            if full.destination == 0 || number.is_none_or(|number| number == full.destination) {
                if full.destination != 0 && number.is_none() {
                    *number = Some(full.destination);
                    self.legs.insert(other, (slot, side.other()));
                }
                return Some((slot, side));
            }
            return None;
        }
        let (slot, side) = self.legs.get(&other).copied()?;
        let call = self.calls.get_mut(slot)?.as_mut()?;
        let end = call.end(side.other());
        // Whoever answers with CALLTOKEN has not given the call a number yet.
        let tentative = full.kind == Kind::Iax && full.subclass == iax::CALLTOKEN;
        if full.source == 0 || end.number.is_some() || tentative {
            return None;
        }
        end.number = Some(full.source);
        self.legs.insert(leg, (slot, side.other()));
        Some((slot, side.other()))
    }

    /// NEW: a call begins, or its caller asks again with the token it was given.
    fn offered(&mut self, at: Timestamp, leg: Leg, full: &Full<'_>, told: Telling<'_>) {
        let Some(elements) = Elements::read(full.data) else {
            self.counters.malformed += 1;
            return;
        };
        if let Some((slot, side)) = self.legs.get(&leg).copied()
            && let Some(Some(call)) = self.calls.get_mut(slot)
        {
            let young = at.millis_since(call.begun) < RETRIES_MS && call.over.is_none();
            if !call.end(side).is_new(full.oseqno, full.time) && young {
                self.counters.repeated += 1;
                return;
            }
            let again = side == Side::Caller && call.callee.number.is_none() && call.over.is_none();
            if again {
                call.last = at;
                self.counters.facts += 1;
                return told(Told::Fact(&call.offered(&elements)));
            }
            self.forget(slot, told);
        }
        let caller = End::new(leg.sender, Some(leg.number));
        let callee = End::new(leg.receiver, None);
        let Some(slot) = self.begin(at, caller, callee, false) else { return };
        let Some(Some(call)) = self.calls.get_mut(slot) else { return };
        call.caller.is_new(full.oseqno, full.time);
        self.counters.facts += 1;
        told(Told::Fact(&call.offered(&elements)));
    }

    /// A frame of a call whose NEW was not seen.
    fn join(
        &mut self,
        at: Timestamp,
        leg: Leg,
        full: &Full<'_>,
        told: Telling<'_>,
    ) -> Option<(usize, Side)> {
        if full.source == 0 || full.destination == 0 {
            return None;
        }
        let side = match full.kind {
            Kind::Voice => {
                // Something else on this port would have to look like whole audio.
                sound_of(full.subclass, full.data).filter(|s| s.millis(full.data) > 0)?;
                Side::Caller
            }
            Kind::Iax if full.subclass == iax::ACCEPT => {
                Elements::read(full.data)?.format?;
                Side::Callee
            }
            Kind::Iax
            | Kind::Dtmf
            | Kind::Video
            | Kind::Control
            | Kind::ComfortNoise
            | Kind::Other => return None,
        };
        // Its numbers may have been another call's, whose end was not seen.
        let other = Leg { sender: leg.receiver, receiver: leg.sender, number: full.destination };
        for stale in [leg, other] {
            if let Some((slot, _)) = self.legs.get(&stale).copied() {
                self.forget(slot, told);
            }
        }
        let sender = End::new(leg.sender, Some(full.source));
        let receiver = End::new(leg.receiver, Some(full.destination));
        let (caller, callee) = match side {
            Side::Caller => (sender, receiver),
            Side::Callee => (receiver, sender),
        };
        Some((self.begin(at, caller, callee, true)?, side))
    }

    fn begin(&mut self, at: Timestamp, caller: End, callee: End, late: bool) -> Option<usize> {
        if self.calls.len() - self.free.len() >= MAX_CALLS {
            self.counters.refused += 1;
            return None;
        }
        self.counters.calls += 1;
        self.serial = self.serial.wrapping_add(1);
        // Oreka's way to name it; two hosts may be given the same number by a third.
        let number = caller.number.unwrap_or(0);
        let mut name = format!("{},{number}", caller.address.ip());
        if late {
            // The call core may still know a call of that name that is over.
            name = format!("{name}#{}", self.serial);
        } else if self.names.contains(&name) {
            name = format!("{name}@{}", callee.address);
        }
        self.names.insert(name.clone());
        let hosts = (caller.address, callee.address);
        if hosts.0.port() != PORT && hosts.1.port() != PORT {
            *self.elsewhere.entry(pair(hosts.0, hosts.1)).or_default() += 1;
        }
        let slot = self.free.pop().unwrap_or(self.calls.len());
        let numbers = [(Side::Caller, caller.number), (Side::Callee, callee.number)];
        for (side, number) in numbers {
            let (sender, receiver) = if side == Side::Caller { hosts } else { (hosts.1, hosts.0) };
            if let Some(number) = number {
                self.legs.insert(Leg { sender, receiver, number }, (slot, side));
            }
        }
        let call = Call::new(name, at, caller, callee, self.serial);
        match self.calls.get_mut(slot) {
            Some(place) => *place = Some(call),
            None => self.calls.push(Some(call)),
        }
        Some(slot)
    }

    /// One voice packet; false when nobody knows what it belongs to.
    fn heard(
        &mut self,
        at: Timestamp,
        leg: Leg,
        when: When,
        data: &[u8],
        told: Telling<'_>,
    ) -> bool {
        let Some((slot, side)) = self.legs.get(&leg).copied() else { return false };
        let Some(Some(call)) = self.calls.get_mut(slot) else { return false };
        call.last = at;
        let format = call.end(side).format.or(call.format);
        let sound = format.and_then(|format| sound_of(format, data));
        let ssrc = u32::from(call.serial) << 16 | u32::from(leg.number);
        let (Some(sound), Some(source), Some(destination)) =
            (sound, call.end(side).media_address(), call.end(side.other()).media_address())
        else {
            self.counters.orphans += 1;
            return true;
        };
        if call.over.is_none() {
            for side in [side, side.other()] {
                if let Some(signal) = call.flowing(side) {
                    self.counters.facts += 1;
                    told(Told::Fact(&signal));
                }
            }
        }
        let when = if call.encrypted { When::Hidden } else { when };
        call.end(side).voice.write(at, when, (sound, ssrc), data, &mut self.rtp);
        self.counters.voice += 1;
        told(Told::Voice { source, destination, rtp: &self.rtp });
        true
    }

    fn sweep(&mut self, at: Timestamp, told: Telling<'_>) {
        if at < self.next_sweep {
            return;
        }
        self.next_sweep = at.plus_millis(SWEEP_MS);
        for slot in 0..self.calls.len() {
            let Some(Some(call)) = self.calls.get(slot) else { continue };
            let gone = call.over.is_some_and(|over| at.millis_since(over) >= LINGER_MS);
            let dead = at.millis_since(call.last) >= DEAD_MS;
            if gone || dead {
                self.counters.forgotten += u64::from(!gone);
                self.forget(slot, told);
            }
        }
    }

    /// Takes a call off the table; the call core hears that it is over, if it has not.
    fn forget(&mut self, slot: usize, told: Telling<'_>) {
        let Some(mut call) = self.calls.get_mut(slot).and_then(Option::take) else { return };
        self.free.push(slot);
        self.names.remove(&call.name);
        for side in [Side::Caller, Side::Callee] {
            let (sender, receiver) = (call.end(side).address, call.end(side.other()).address);
            if let Some(number) = call.end(side).number {
                let leg = Leg { sender, receiver, number };
                if self.legs.get(&leg).is_some_and(|(owner, _)| *owner == slot) {
                    self.legs.remove(&leg);
                }
            }
        }
        let hosts = pair(call.caller.address, call.callee.address);
        if let Some(calls) = self.elsewhere.get_mut(&hosts) {
            *calls -= 1;
            if *calls == 0 {
                self.elsewhere.remove(&hosts);
            }
        }
        if call.over.is_none() && call.stated {
            self.counters.facts += 1;
            told(Told::Fact(&call.signal(Side::Caller, Fact::Ended)));
        }
    }
}

/// What a full frame says of its call, voice left out.
fn said(
    call: &mut Call,
    at: Timestamp,
    side: Side,
    full: &Full<'_>,
    counters: &mut Counters,
) -> Option<Signal> {
    let callee = side == Side::Callee;
    match full.kind {
        Kind::Dtmf => {
            let digit = u8::try_from(full.subclass).ok().map(char::from)?;
            // Each comes once here: there is nothing to number them for.
            let known = "0123456789*#ABCD".contains(digit) && call.stated;
            let fact = Fact::Digit { digit: digit.to_string(), number: 0 };
            known.then(|| call.signal(side, fact))
        }
        Kind::Control => match full.subclass {
            control::HANGUP => Some(call.ended(at, side, 480)),
            control::RINGING if callee => Some(call.accepted(180)),
            control::ANSWER if callee => Some(call.accepted(200)),
            control::BUSY if callee && !call.answered => {
                Some(call.signal(side, Fact::Refused { code: 486 }))
            }
            control::CONGESTION if callee && !call.answered => {
                Some(call.signal(side, Fact::Refused { code: 503 }))
            }
            control::PROGRESS if callee => Some(call.accepted(183)),
            control::HOLD => Some(call.hold(side, true)),
            control::UNHOLD => Some(call.hold(side, false)),
            _ => None,
        },
        Kind::Iax => {
            let Some(elements) = Elements::read(full.data) else {
                counters.malformed += 1;
                return None;
            };
            match full.subclass {
                iax::ACCEPT if callee => {
                    call.format = elements.format.or(call.format);
                    Some(call.accepted(183))
                }
                iax::AUTHREQ if callee && elements.encryption => {
                    // From the caller's answer on nothing can be read, not even who hangs up.
                    call.encrypted = true;
                    Some(call.accepted(183))
                }
                iax::HANGUP | iax::INVAL | iax::TXREL => {
                    let busy = elements.cause_code == Some(17);
                    Some(call.ended(at, side, if busy { 486 } else { 480 }))
                }
                iax::REJECT => Some(call.ended(at, side, 603)),
                iax::QUELCH => Some(call.hold(side, true)),
                iax::UNQUELCH => Some(call.hold(side, false)),
                iax::TRANSFER => {
                    let target = elements.called_number;
                    Some(call.signal(side, Fact::Transferred { target, replaces: None }))
                }
                _ => None,
            }
        }
        Kind::ComfortNoise => {
            call.end(side).voice.comfort_noise();
            None
        }
        Kind::Voice | Kind::Video | Kind::Other => None,
    }
}

/// Control frames (RFC 5456 §8.3).
mod control {
    pub(super) const HANGUP: u64 = 1;
    pub(super) const RINGING: u64 = 3;
    pub(super) const ANSWER: u64 = 4;
    pub(super) const BUSY: u64 = 5;
    pub(super) const CONGESTION: u64 = 8;
    pub(super) const PROGRESS: u64 = 14;
    pub(super) const HOLD: u64 = 16;
    pub(super) const UNHOLD: u64 = 17;
}

/// IAX frames (RFC 5456 §8.4).
mod iax {
    pub(super) const NEW: u64 = 1;
    pub(super) const ACK: u64 = 4;
    pub(super) const HANGUP: u64 = 5;
    pub(super) const REJECT: u64 = 6;
    pub(super) const ACCEPT: u64 = 7;
    pub(super) const AUTHREQ: u64 = 8;
    pub(super) const INVAL: u64 = 10;
    pub(super) const VNAK: u64 = 18;
    pub(super) const TXCNT: u64 = 23;
    pub(super) const TXACC: u64 = 24;
    pub(super) const TXREL: u64 = 26;
    pub(super) const QUELCH: u64 = 28;
    pub(super) const UNQUELCH: u64 = 29;
    pub(super) const TRANSFER: u64 = 34;
    pub(super) const CALLTOKEN: u64 = 40;
}

fn is_new(full: &Full<'_>) -> bool {
    full.kind == Kind::Iax && full.subclass == iax::NEW && full.source != 0 && full.destination == 0
}

/// Frames that do not count in the sender's sequence (RFC 5456 §7.2): they repeat its next number.
fn is_unnumbered(full: &Full<'_>) -> bool {
    full.kind == Kind::Iax
        && matches!(full.subclass, iax::ACK | iax::VNAK | iax::TXCNT | iax::TXACC)
}

/// Whether a frame on a port of its own can only be NEW.
fn begins_call(frame: &Frame<'_>) -> bool {
    let Frame::Full(full) = frame else { return false };
    is_new(full)
        && full.oseqno == 0
        && Elements::read(full.data).is_some_and(|elements| elements.version)
}

/// The same for both directions.
fn pair(one: SocketAddr, other: SocketAddr) -> (SocketAddr, SocketAddr) {
    (one.min(other), one.max(other))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_frames_are_answered_and_forgotten(
            frames in proptest::collection::vec(
                (
                    any::<bool>(),
                    prop_oneof![Just(0x80u8), Just(0), Just(0x81)],
                    prop::array::uniform4(0u8..4),
                    prop::array::uniform4(any::<u8>()),
                    (0u8..3, prop_oneof![Just(2u8), Just(4), Just(6), 0u8..13], prop_oneof![0u8..12, any::<u8>()]),
                    proptest::collection::vec(any::<u8>(), 0..40),
                ),
                0..200,
            ),
        ) {
            let hosts: [SocketAddr; 2] =
                ["10.0.0.1:4569".parse().unwrap(), "10.0.0.2:4569".parse().unwrap()];
            let mut iax2 = Iax2::default();
            let mut at = Timestamp(1);
            for (forth, flag, [n, d0, d1, iseq], time, (oseq, kind, subclass), data) in frames {
                let head = [flag, n, d0, d1, time[0], time[1], time[2], time[3], oseq, iseq, kind, subclass];
                let bytes = [&head[..], &data].concat();
                at = at.plus_millis(u64::from(time[3]) * 10);
                let (a, b) = if forth { (hosts[0], hosts[1]) } else { (hosts[1], hosts[0]) };
                iax2.handle(at, a, b, &bytes, &mut |told| {
                    if let Told::Voice { rtp, .. } = told {
                        assert!(crate::rtp::packet::RtpPacket::decode(rtp).is_ok());
                    }
                });
                prop_assert!(iax2.legs.len() <= 2 * (iax2.calls.len() - iax2.free.len()));
            }
            let poke = [0x80, 9, 0, 0, 0, 0, 0, 0, 0, 0, 6, 30];
            iax2.handle(at.plus_millis(DEAD_MS), hosts[0], hosts[1], &poke, &mut |_| ());
            prop_assert_eq!(iax2.free.len(), iax2.calls.len());
            prop_assert!(iax2.legs.is_empty() && iax2.names.is_empty() && iax2.elsewhere.is_empty());
        }
    }
}
