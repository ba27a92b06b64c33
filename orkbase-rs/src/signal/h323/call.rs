//! One call, and what it lets the call core hear.

use super::{
    h225::Told,
    h245::{self, Channel, Data, Message},
    q931::{self, Kind},
};
use crate::signal::{Fact, Flow, Format, Media, Name, Offer, Remarks, Security, Signal, Speaker};
use std::net::SocketAddr;

/// Channels remembered of one call until they are acknowledged.
const MAX_CHANNELS: usize = 32;
/// What the caller of every call is known by.
const CALLER: &str = "caller";

/// Which side of a call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Side {
    Caller,
    Callee,
}

impl Side {
    pub(super) const fn other(self) -> Self {
        match self {
            Self::Caller => Self::Callee,
            Self::Callee => Self::Caller,
        }
    }
}

/// One call on one connection.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) reference: u16,
    caller: SocketAddr,
    callee: SocketAddr,
    name: String,
    from: Name,
    to: Name,
    /// The call core knows the call.
    stated: bool,
    answered: bool,
    /// Opener, number and contents of channels.
    channels: Vec<(Side, u16, Sent)>,
}

/// What is sent to an address.
#[derive(Clone, Debug, Default)]
struct Sent {
    formats: Vec<Format>,
    secret: bool,
    audio: bool,
}

impl Call {
    pub(super) fn new(reference: u16, caller: SocketAddr, callee: SocketAddr) -> Self {
        Self {
            reference,
            caller,
            callee,
            name: format!("{reference}@{}", caller.ip()),
            from: Name::default(),
            to: Name::default(),
            stated: false,
            answered: false,
            channels: Vec::new(),
        }
    }

    /// Takes in a message; the facts it states.
    pub(super) fn take(&mut self, message: &q931::Message<'_>, told: &Told<'_>) -> Vec<Signal> {
        let side = if message.by_caller { Side::Caller } else { Side::Callee };
        if let Some(identifier) = told.identifier.filter(|_| !self.stated) {
            self.name = identifier.iter().map(|octet| format!("{octet:02x}")).collect();
        }
        let [caller, callee] = fast(&told.fast_start);
        let mut facts = Vec::new();
        match message.kind {
            Kind::Setup => {
                let first = |one: &String, other: &String| {
                    if one.is_empty() { other.clone() } else { one.clone() }
                };
                self.from.user = first(&message.calling, &told.source);
                self.from.display.clone_from(&message.display);
                self.to.user = first(&message.called, &told.destination);
                self.stated = true;
                let offer = Offer { initial: true, media: caller, ..Offer::default() };
                facts.push(self.signal(Side::Caller, Fact::Offered(Box::new(offer))));
            }
            Kind::CallProceeding if callee.is_none() => {}
            Kind::CallProceeding | Kind::Progress => facts.push(self.accepted(183, callee)),
            Kind::Alerting => facts.push(self.accepted(180, callee)),
            Kind::Connect => facts.push(self.accepted(200, callee)),
            Kind::Facility | Kind::Information => {
                facts.extend(callee.map(|media| self.state(Side::Callee, media)));
                facts.extend(self.keys(side, &message.keypad));
            }
            Kind::ReleaseComplete => {
                let busy = message.cause == Some(17);
                let fact = match side {
                    Side::Caller | Side::Callee if self.answered => Fact::Ended,
                    Side::Caller => Fact::Cancelled,
                    Side::Callee => Fact::Refused { code: if busy { 486 } else { 480 } },
                };
                if self.stated {
                    facts.push(self.signal(side, fact));
                }
            }
            Kind::Other => {}
        }
        for control in &told.tunnelled {
            facts.extend(self.take_control(side, control));
        }
        facts
    }

    /// Takes in an H.245 message that `side` sent.
    pub(super) fn take_control(&mut self, side: Side, bytes: &[u8]) -> Vec<Signal> {
        let mut facts = Vec::new();
        match h245::read(bytes) {
            Some(Message::Open(channel)) => {
                let sent = Sent::of(&channel, |channel| &channel.forward);
                let back = Sent::of(&channel, |channel| &channel.reverse);
                let ways = [
                    (channel.forward.media, side.other(), &sent),
                    (channel.reverse.media, side, &back),
                ];
                for (media, listener, sent) in ways {
                    if let Some(address) = media.filter(|_| sent.audio) {
                        facts.push(self.state(listener, vec![sent.at(address)]));
                    }
                }
                if self.channels.len() >= MAX_CHANNELS {
                    self.channels.remove(0);
                }
                self.channels.push((side, channel.number, sent));
            }
            Some(Message::Opened { number, media: Some(address) }) => {
                let opened = |(opener, known, _): &&(Side, u16, Sent)| {
                    *opener == side.other() && *known == number
                };
                // One that we have not seen open: sound, as nearly all are; its payload type says which.
                let sent = self.channels.iter().rev().find(opened);
                let sent =
                    sent.map_or_else(|| Sent { audio: true, ..Sent::default() }, |c| c.2.clone());
                if sent.audio {
                    facts.push(self.state(side, vec![sent.at(address)]));
                }
            }
            Some(Message::Close(number)) => {
                self.channels.retain(|(opener, known, _)| *opener != side || *known != number);
            }
            Some(Message::Keys(keys)) => facts.extend(self.keys(side, &keys)),
            Some(Message::Opened { media: None, .. }) | None => {}
        }
        facts
    }

    fn keys(&self, side: Side, keys: &str) -> Vec<Signal> {
        // TCP delivers each once: there is nothing to number them for.
        let digit = |key: char| Fact::Digit { digit: key.to_string(), number: 0 };
        keys.chars().map(|key| self.signal(side, digit(key))).collect()
    }

    fn accepted(&mut self, code: u16, media: Option<Vec<Media>>) -> Signal {
        self.stated |= media.is_some();
        self.answered |= code >= 200;
        self.signal(Side::Callee, Fact::Accepted { code, media })
    }

    fn state(&mut self, side: Side, media: Vec<Media>) -> Signal {
        let fact = if std::mem::replace(&mut self.stated, true) {
            Fact::MediaStated(media)
        } else {
            let code = if self.answered { 200 } else { 183 };
            Fact::Accepted { code, media: Some(media) }
        };
        self.signal(side, fact)
    }

    fn signal(&self, side: Side, fact: Fact) -> Signal {
        let (source, destination) = match side {
            Side::Caller => (self.caller, self.callee),
            Side::Callee => (self.callee, self.caller),
        };
        Signal {
            call: self.name.clone(),
            source,
            destination,
            speaker: Speaker { opener: CALLER.to_owned(), answering: side == Side::Callee },
            from: self.from.clone(),
            to: self.to.clone(),
            remarks: Remarks::default(),
            fact,
        }
    }
}

impl Sent {
    fn of(channel: &Channel, way: impl Fn(&Channel) -> &h245::Direction) -> Self {
        let way = way(channel);
        Self {
            formats: way.format().into_iter().collect(),
            secret: way.data == Data::Secret,
            audio: matches!(way.data, Data::Audio(_) | Data::Secret),
        }
    }

    fn at(&self, address: SocketAddr) -> Media {
        Media {
            audio: true,
            address: Some(address.ip()),
            port: address.port(),
            rtcp_port: None,
            candidates: Vec::new(),
            flow: Flow::SendReceive,
            formats: self.formats.clone(),
            // Its keys are not read: as if they had never been shown.
            security: if self.secret { Security::Sealed("H.235") } else { Security::Clear },
        }
    }
}

/// Where caller and callee listen, by fast connect. Whoever sends it: forward is from caller to callee
/// (H.323 §8.1.7.1).
fn fast(elements: &[&[u8]]) -> [Option<Vec<Media>>; 2] {
    let mut sides: [Vec<Media>; 2] = [Vec::new(), Vec::new()];
    let [caller, callee] = &mut sides;
    for channel in elements.iter().filter_map(|element| h245::channel(element)) {
        let ways = [(&mut *caller, &channel.reverse), (&mut *callee, &channel.forward)];
        for (media, way) in ways {
            let Some(address) = way.media else { continue };
            let audio = matches!(way.data, Data::Audio(_) | Data::Secret);
            let same = |known: &&mut Media| {
                known.address == Some(address.ip()) && known.port == address.port()
            };
            // Each codec is a channel of its own, all at one address.
            if let Some(known) = media.iter_mut().find(same) {
                known.formats.extend(way.format());
            } else if audio {
                let secret = way.data == Data::Secret;
                let formats = way.format().into_iter().collect();
                media.push(Sent { formats, secret, audio }.at(address));
            }
        }
    }
    sides.map(|media| Some(media).filter(|media| !media.is_empty()))
}
