//! From H.323 connections to the facts they state.
//!
//! Law: a call is a call reference on a connection; calls of one identifier are one call to the core,
//! however many gatekeepers they pass. A signalling connection that closes ends no call: RELEASE
//! COMPLETE does, or silence.

use super::{
    call::{Call, Side},
    h225,
    q931::{Kind, Message},
};
use crate::signal::Signal;
use foldhash::fast::RandomState;
use std::{
    collections::{HashMap, VecDeque},
    net::SocketAddr,
};

/// Connections known at once: as many as TCP directions are read.
const MAX_CONNECTIONS: usize = 16_384;
/// Calls remembered of one connection; the oldest is forgotten.
const MAX_CALLS: usize = 64;
/// Addresses at which H.245 is awaited; the oldest is forgotten.
const MAX_CONTROLS: usize = 16_384;

/// What H.323 counted.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Counters {
    /// Q.931 messages read.
    pub messages: u64,
    /// H.245 messages framed, tunnelled ones left out.
    pub controls: u64,
    /// Facts stated.
    pub facts: u64,
    /// Calls met.
    pub calls: u64,
    /// Messages that are no Q.931, or whose H.225.0 part could not be read.
    pub malformed: u64,
    /// Connections refused because the table was full.
    pub refused: u64,
}

/// Both ends of a connection, in order.
type Connection = (SocketAddr, SocketAddr);

/// Every call whose signalling is seen.
#[derive(Debug, Default)]
pub struct H323 {
    calls: HashMap<Connection, Vec<Call>, RandomState>,
    /// Listening address of H.245, whose it is, and of which call.
    controls: HashMap<SocketAddr, (Side, Connection, u16), RandomState>,
    /// Oldest first.
    order: VecDeque<SocketAddr>,
    counters: Counters,
}

impl H323 {
    /// What was counted so far.
    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Whether H.245 of a known call is awaited between the two.
    #[must_use]
    pub fn awaits(&self, one: SocketAddr, other: SocketAddr) -> bool {
        self.controls.contains_key(&one) || self.controls.contains_key(&other)
    }

    /// Takes in a Q.931 message.
    pub fn signalling(
        &mut self,
        source: SocketAddr,
        destination: SocketAddr,
        bytes: &[u8],
        told: &mut dyn FnMut(&Signal),
    ) {
        let Some(message) = Message::read(bytes) else {
            self.counters.malformed += 1;
            return;
        };
        self.counters.messages += 1;
        let user = message.user.and_then(h225::read);
        self.counters.malformed += u64::from(message.user.is_some() && user.is_none());
        let user = user.unwrap_or_default();
        let connection = ordered(source, destination);
        if !self.calls.contains_key(&connection) && self.calls.len() >= MAX_CONNECTIONS {
            self.counters.refused += 1;
            return;
        }
        let calls = self.calls.entry(connection).or_default();
        let over = message.kind == Kind::ReleaseComplete;
        let known = calls.iter().position(|call| call.reference == message.reference);
        let index = match known {
            // A reference that is used again is another call.
            Some(index) if message.kind != Kind::Setup || !message.by_caller => index,
            _ if over || message.kind == Kind::Other => return,
            _ => {
                calls.retain(|call| call.reference != message.reference);
                if calls.len() >= MAX_CALLS {
                    calls.remove(0);
                }
                self.counters.calls += 1;
                let (caller, callee) =
                    if message.by_caller { (source, destination) } else { (destination, source) };
                calls.push(Call::new(message.reference, caller, callee));
                calls.len() - 1
            }
        };
        let Some(call) = calls.get_mut(index) else { return };
        let facts = call.take(&message, &user);
        if over {
            calls.remove(index);
        }
        if let Some(address) = user.control.filter(|_| !over) {
            let side = if message.by_caller { Side::Caller } else { Side::Callee };
            self.await_control(address, (side, connection, message.reference));
        }
        self.tell(&facts, told);
    }

    /// Takes in an H.245 message of its own connection.
    pub fn control(
        &mut self,
        source: SocketAddr,
        destination: SocketAddr,
        bytes: &[u8],
        told: &mut dyn FnMut(&Signal),
    ) {
        self.counters.controls += 1;
        let by_listener = self.controls.contains_key(&source);
        let listener = if by_listener { source } else { destination };
        let Some((side, connection, reference)) = self.controls.get(&listener).copied() else {
            return;
        };
        let calls = self.calls.get_mut(&connection);
        let call = calls.and_then(|calls| calls.iter_mut().find(|c| c.reference == reference));
        let Some(call) = call else { return };
        let facts = call.take_control(if by_listener { side } else { side.other() }, bytes);
        self.tell(&facts, told);
    }

    /// The connection between the two is gone: a signalling connection, or that of H.245.
    pub fn forget(&mut self, one: SocketAddr, other: SocketAddr) {
        self.calls.remove(&ordered(one, other));
        for address in [one, other] {
            if self.controls.remove(&address).is_some() {
                self.order.retain(|known| *known != address);
            }
        }
    }

    fn await_control(&mut self, address: SocketAddr, whose: (Side, Connection, u16)) {
        if self.controls.insert(address, whose).is_some() {
            return;
        }
        self.order.push_back(address);
        if self.order.len() > MAX_CONTROLS
            && let Some(oldest) = self.order.pop_front()
        {
            self.controls.remove(&oldest);
        }
    }

    fn tell(&mut self, facts: &[Signal], told: &mut dyn FnMut(&Signal)) {
        for fact in facts {
            self.counters.facts += 1;
            told(fact);
        }
    }
}

/// The same for both directions.
fn ordered(one: SocketAddr, other: SocketAddr) -> Connection {
    (one.min(other), one.max(other))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_messages_are_answered(
            script in proptest::collection::vec(
                (any::<bool>(), 0u8..3, prop::sample::select(vec![1u8, 2, 3, 5, 7, 0x5A, 0x62, 0x7B]), any::<bool>(), proptest::collection::vec(any::<u8>(), 0..80)),
                0..40,
            ),
        ) {
            let (a, b) = ("10.0.0.1:1720".parse().unwrap(), "10.0.0.2:4000".parse().unwrap());
            let mut h323 = H323::default();
            for (forth, reference, kind, flag, user) in script {
                let length = u8::try_from(user.len() + 1).unwrap();
                let head = [8, 2, u8::from(flag) << 7, reference, kind, 0x7E, 0, length, 5];
                let (from, to) = if forth { (a, b) } else { (b, a) };
                h323.signalling(from, to, &[&head[..], &user].concat(), &mut |_| ());
                h323.control(from, to, &user, &mut |_| ());
                prop_assert_eq!(h323.order.len(), h323.controls.len());
            }
            h323.forget(b, a);
            prop_assert!(h323.calls.is_empty());
        }
    }
}
