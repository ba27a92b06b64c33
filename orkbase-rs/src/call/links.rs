//! Calls that are one conversation: both sides of a back-to-back user agent, and what a transfer
//! leads to.
//!
//! Law: a link is made only on what signalling said; it never changes what is recorded, unless the
//! operator wants one tape of the two legs. Tables are bounded by entries and age.

use crate::{
    signal::{Offer, Signal},
    time::Timestamp,
};
use foldhash::fast::RandomState;
use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
};

/// A back-to-back user agent calls on within this time, in milliseconds; what names the conversation
/// by itself is good for [`NAMED_MS`].
const PATH_MS: u64 = 10_000;
/// See above: calls wait in queues.
const NAMED_MS: u64 = 3_600_000;
/// The call that a transfer leads to begins within this time, in milliseconds.
const TRANSFER_MS: u64 = 60_000;
/// Most names of either kind remembered.
const MAX_KEYS: usize = 100_000;
/// Most transfers awaited.
const MAX_TRANSFERS: usize = 1_024;
/// Callers of these names may be anybody.
const NOBODY: [&str; 5] = ["", "anonymous", "unknown", "restricted", "unavailable"];

/// What both legs of a back-to-back user agent have in common.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
enum Key {
    /// A value made for it: Session-ID, or a configured header with its name.
    Named(String),
    /// The same caller, and the host that was called calls on.
    Path(IpAddr, String),
}

impl Key {
    const fn window_ms(&self) -> u64 {
        match self {
            Self::Named(_) => NAMED_MS,
            Self::Path(..) => PATH_MS,
        }
    }
}

#[derive(Debug)]
struct Transfer {
    at: Timestamp,
    conversation: String,
    target: String,
    people: [String; 2],
}

/// What may be linked to what comes.
#[derive(Debug, Default)]
pub struct Links {
    keys: HashMap<Key, (Timestamp, String), RandomState>,
    /// Oldest first: those that are good for seconds, and those that are good for an hour.
    by_age: [VecDeque<(Timestamp, Key)>; 2],
    transfers: VecDeque<Transfer>,
}

impl Links {
    /// The Call-ID of the earlier leg that a first INVITE continues.
    #[must_use]
    pub fn earlier_leg(
        &self,
        at: Timestamp,
        signal: &Signal,
        offer: &Offer,
        headers: &[String],
    ) -> Option<&str> {
        let path = path(signal.source.ip(), &signal.from.user);
        let known = |key: Key| {
            let (since, call) = self.keys.get(&key)?;
            let fits = at.millis_since(*since) <= key.window_ms() && *call != signal.call;
            fits.then_some(call.as_str())
        };
        named(offer, headers).into_iter().chain(path).find_map(known)
    }

    /// Remembers an INVITE for the legs that may follow.
    pub fn remember(&mut self, at: Timestamp, signal: &Signal, offer: &Offer, headers: &[String]) {
        let path = path(signal.destination.ip(), &signal.from.user);
        for key in named(offer, headers).into_iter().chain(path) {
            // The first leg of a conversation stays the one that others are linked to.
            let stale = self
                .keys
                .get(&key)
                .is_none_or(|(since, _)| at.millis_since(*since) > key.window_ms());
            if stale {
                self.keys.insert(key.clone(), (at, signal.call.clone()));
                let [paths, names] = &mut self.by_age;
                let queue = if matches!(key, Key::Named(_)) { names } else { paths };
                queue.push_back((at, key));
            }
        }
        for queue in &mut self.by_age {
            while let Some((since, key)) = queue.front() {
                if queue.len() <= MAX_KEYS && at.millis_since(*since) <= key.window_ms() {
                    break;
                }
                if let Some((since, key)) = queue.pop_front()
                    && self.keys.get(&key).is_some_and(|(latest, _)| *latest == since)
                {
                    self.keys.remove(&key);
                }
            }
        }
    }

    /// A party of `conversation` is told to call `target`; `people` take part in it.
    pub fn expect(
        &mut self,
        at: Timestamp,
        conversation: String,
        target: String,
        people: [String; 2],
    ) {
        self.transfers.truncate(MAX_TRANSFERS - 1);
        self.transfers.push_front(Transfer { at, conversation, target, people });
    }

    /// The conversation that a first INVITE goes on with after a transfer.
    #[must_use]
    pub fn transferred(&self, at: Timestamp, signal: &Signal, offer: &Offer) -> Option<&str> {
        let fits = |transfer: &&Transfer| {
            let called = [&signal.to.user, &offer.request.user].contains(&&transfer.target);
            let by = [&signal.from.user, &offer.referred_by];
            let known = |user: &&String| !user.is_empty() && transfer.people.contains(user);
            at.millis_since(transfer.at) <= TRANSFER_MS && called && by.iter().any(known)
        };
        self.transfers.iter().find(fits).map(|transfer| transfer.conversation.as_str())
    }
}

fn path(host: IpAddr, caller: &str) -> Option<Key> {
    let nobody = NOBODY.iter().any(|name| name.eq_ignore_ascii_case(caller));
    (!nobody).then(|| Key::Path(host, caller.to_owned()))
}

fn named(offer: &Offer, headers: &[String]) -> Vec<Key> {
    let wanted = |(name, value): &&(String, String)| {
        !value.is_empty() && headers.iter().any(|header| header.eq_ignore_ascii_case(name))
    };
    let header = |(name, value): &(String, String)| {
        Key::Named(format!("{}: {value}", name.to_ascii_lowercase()))
    };
    let session = (!offer.session.is_empty()).then(|| Key::Named(offer.session.clone()));
    session.into_iter().chain(offer.headers.iter().filter(wanted).map(header)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signal::{Fact, Name, Remarks, Speaker};

    fn signal(call: &str, source: &str, destination: &str, from: &str, to: &str) -> Signal {
        let name = |user: &str| Name { user: user.to_owned(), ..Name::default() };
        Signal {
            call: call.to_owned(),
            source: format!("{source}:5060").parse().unwrap(),
            destination: format!("{destination}:5060").parse().unwrap(),
            speaker: Speaker::default(),
            from: name(from),
            to: name(to),
            remarks: Remarks::default(),
            fact: Fact::Cancelled,
        }
    }

    fn seconds(n: u64) -> Timestamp {
        Timestamp(n * 1_000_000_000)
    }

    #[test]
    fn the_host_that_was_called_calls_on() {
        let mut links = Links::default();
        let plain = Offer::default();
        let first = signal("one", "10.0.0.1", "10.0.0.9", "1001", "1002");
        links.remember(seconds(1), &first, &plain, &[]);
        let earlier = |links: &Links, at, from: &str, source: &str| {
            let second = signal("two", source, "10.0.0.2", from, "1002");
            links.earlier_leg(seconds(at), &second, &plain, &[]).map(str::to_owned)
        };
        assert_eq!(earlier(&links, 2, "1001", "10.0.0.9").as_deref(), Some("one"));
        assert_eq!(earlier(&links, 2, "1003", "10.0.0.9"), None, "another caller");
        assert_eq!(earlier(&links, 2, "1001", "10.0.0.8"), None, "another host");
        assert_eq!(earlier(&links, 12, "1001", "10.0.0.9"), None, "too late");
        assert_eq!(links.earlier_leg(seconds(2), &first, &plain, &[]), None, "itself");
        let hidden = signal("three", "10.0.0.1", "10.0.0.9", "Anonymous", "1002");
        links.remember(seconds(1), &hidden, &plain, &[]);
        assert_eq!(earlier(&links, 2, "Anonymous", "10.0.0.9"), None);
    }

    #[test]
    fn names_of_the_conversation() {
        let mut links = Links::default();
        let header = |value: &str| Offer {
            headers: vec![("X-Unique-ID".to_owned(), value.to_owned())],
            ..Offer::default()
        };
        let wanted = ["x-unique-id".to_owned()];
        let first = signal("one", "10.0.0.1", "10.0.0.9", "1001", "1002");
        links.remember(seconds(1), &first, &header("77"), &wanted);
        let second = signal("two", "10.0.5.5", "10.0.0.2", "0301001", "1002");
        let find = |at, value| {
            links.earlier_leg(seconds(at), &second, &header(value), &wanted).map(str::to_owned)
        };
        assert_eq!(find(900, "77").as_deref(), Some("one"));
        assert_eq!((find(900, "78"), find(4000, "77")), (None, None));
        let session = Offer { session: "ab".to_owned(), ..Offer::default() };
        links.remember(seconds(1), &first, &session, &[]);
        assert_eq!(links.earlier_leg(seconds(99), &second, &session, &[]), Some("one"));
    }

    #[test]
    fn a_transfer_is_awaited_for_a_while() {
        let mut links = Links::default();
        let people = ["1001".to_owned(), "1002".to_owned()];
        links.expect(seconds(5), "one".to_owned(), "1003".to_owned(), people);
        let find = |at, from: &str, to: &str, by: &str| {
            let next = signal("two", "10.0.0.1", "10.0.0.9", from, to);
            let offer = Offer { referred_by: by.to_owned(), ..Offer::default() };
            links.transferred(seconds(at), &next, &offer).map(str::to_owned)
        };
        assert_eq!(find(6, "1001", "1003", "").as_deref(), Some("one"));
        assert_eq!(find(6, "0170", "1003", "1002").as_deref(), Some("one"));
        assert_eq!(find(6, "1001", "1004", ""), None);
        assert_eq!(find(6, "1009", "1003", ""), None);
        assert_eq!(find(70, "1001", "1003", ""), None);
        for n in 0..5_000 {
            links.expect(seconds(n), String::new(), String::new(), Default::default());
            links.remember(
                seconds(n),
                &signal("x", "10.0.0.1", "10.0.0.2", &n.to_string(), ""),
                &Offer::default(),
                &[],
            );
        }
        assert!(links.transfers.len() <= MAX_TRANSFERS);
        // What is good for ten seconds is not remembered for an hour.
        assert_eq!((links.keys.len(), links.by_age[0].len()), (11, 11));
        assert!(links.by_age[1].is_empty());
    }
}
