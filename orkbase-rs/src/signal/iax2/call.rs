//! One call between two hosts, and what it lets the call core hear.

use super::{element::Elements, formats::formats, voice::Voice};
use crate::{
    signal::{Fact, Flow, Media, Name, Offer, Remarks, Security, Signal, Speaker},
    time::Timestamp,
};
use std::{collections::VecDeque, net::SocketAddr};

/// Full frames of one direction whose numbers are remembered, to know them when they come again.
const REMEMBERED: usize = 32;
/// What the caller of every call is known by.
const CALLER: &str = "caller";

/// Which host of a call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Side {
    /// It sent NEW.
    Caller,
    /// It received it.
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

/// One host of a call.
#[derive(Debug)]
pub(super) struct End {
    pub(super) address: SocketAddr,
    /// Its number of the call, once it has given one.
    pub(super) number: Option<u16>,
    /// The call core knows where its voice comes from.
    pub(super) announced: bool,
    /// What it sends.
    pub(super) voice: Voice,
    /// Format of its voice, once it has said so.
    pub(super) format: Option<u64>,
    seen: VecDeque<(u8, u32)>,
}

impl End {
    pub(super) const fn new(address: SocketAddr, number: Option<u16>) -> Self {
        Self {
            address,
            number,
            announced: false,
            voice: Voice::new(),
            format: None,
            seen: VecDeque::new(),
        }
    }

    /// Whether a full frame was not seen before.
    pub(super) fn is_new(&mut self, oseqno: u8, time: u32) -> bool {
        if self.seen.contains(&(oseqno, time)) {
            return false;
        }
        if self.seen.len() >= REMEMBERED {
            self.seen.pop_front();
        }
        self.seen.push_back((oseqno, time));
        true
    }

    /// Where its voice comes from, in the world of the call core: the call number is the port.
    pub(super) fn media_address(&self) -> Option<SocketAddr> {
        let ip = match self.address {
            SocketAddr::V4(v4) => v4.ip().to_ipv6_mapped().into(),
            SocketAddr::V6(v6) => v6.ip().to_owned().into(),
        };
        self.number.map(|number| SocketAddr::new(ip, number))
    }
}

/// One call.
#[derive(Debug)]
pub(super) struct Call {
    /// For the call core and the tracker.
    pub(super) name: String,
    pub(super) caller: End,
    pub(super) callee: End,
    /// Names this call's streams apart from those of the next on the same numbers.
    pub(super) serial: u16,
    from: Name,
    to: Name,
    /// The call core knows the call.
    pub(super) stated: bool,
    pub(super) answered: bool,
    /// Nothing after this can be read.
    pub(super) encrypted: bool,
    /// One format holds for both directions (RFC 5456 §6.2.3).
    pub(super) format: Option<u64>,
    /// Since when it is over.
    pub(super) over: Option<Timestamp>,
    pub(super) begun: Timestamp,
    /// When its last packet came.
    pub(super) last: Timestamp,
}

impl Call {
    pub(super) const fn new(
        name: String,
        at: Timestamp,
        caller: End,
        callee: End,
        serial: u16,
    ) -> Self {
        const NOBODY: Name =
            Name { user: String::new(), host: String::new(), display: String::new() };
        Self {
            name,
            caller,
            callee,
            serial,
            from: NOBODY,
            to: NOBODY,
            stated: false,
            answered: false,
            encrypted: false,
            format: None,
            over: None,
            begun: at,
            last: at,
        }
    }

    pub(super) const fn end(&mut self, side: Side) -> &mut End {
        match side {
            Side::Caller => &mut self.caller,
            Side::Callee => &mut self.callee,
        }
    }

    /// NEW: who calls whom.
    pub(super) fn offered(&mut self, told: &Elements) -> Signal {
        let first = |texts: [&String; 3]| {
            texts.into_iter().find(|text| !text.is_empty()).cloned().unwrap_or_default()
        };
        let (calling, ani) = (&told.calling_number, &told.calling_ani);
        self.from = Name {
            user: first([calling, ani, &told.username]),
            host: String::new(),
            display: told.calling_name.clone(),
        };
        let called = first([&told.called_number, &told.dnid, &String::new()]);
        self.to = Name { user: called, host: String::new(), display: String::new() };
        self.format = told.format.or(self.format);
        self.stated = true;
        let media = self.announce(Side::Caller);
        let offer = Offer { initial: true, media, ..Offer::default() };
        self.signal(Side::Caller, Fact::Offered(Box::new(offer)))
    }

    /// It goes ahead, says the callee.
    pub(super) fn accepted(&mut self, code: u16) -> Signal {
        self.answered |= code >= 200;
        self.stated = true;
        let media = self.announce(Side::Callee);
        self.signal(Side::Callee, Fact::Accepted { code, media })
    }

    /// Voice of `side` flows: whatever the call core must know before it.
    pub(super) fn flowing(&mut self, side: Side) -> Option<Signal> {
        let media = self.announce(side)?;
        let fact = if std::mem::replace(&mut self.stated, true) {
            Fact::MediaStated(media)
        } else {
            // Under way before we listened.
            self.answered = true;
            Fact::Accepted { code: 200, media: Some(media) }
        };
        Some(self.signal(side, fact))
    }

    /// `side` holds the call, or no longer.
    pub(super) fn hold(&mut self, side: Side, held: bool) -> Signal {
        let flow = if held { Flow::SendOnly } else { Flow::SendReceive };
        let media = self.media(side, flow).into_iter().collect();
        self.end(side).announced = true;
        self.signal(side, Fact::MediaStated(media))
    }

    /// `side` ends it.
    pub(super) fn ended(&mut self, at: Timestamp, side: Side, refusal: u16) -> Signal {
        self.over = Some(at);
        let fact = match side {
            Side::Caller | Side::Callee if self.answered => Fact::Ended,
            Side::Caller => Fact::Cancelled,
            Side::Callee => Fact::Refused { code: refusal },
        };
        self.signal(side, fact)
    }

    /// Where `side` listens, unless it was told.
    fn announce(&mut self, side: Side) -> Option<Vec<Media>> {
        if self.end(side).announced {
            return None;
        }
        let media = self.media(side, Flow::SendReceive)?;
        self.end(side).announced = true;
        Some(vec![media])
    }

    fn media(&mut self, side: Side, flow: Flow) -> Option<Media> {
        let format = self.end(side).format.or(self.format);
        let address = self.end(side).media_address()?;
        Some(Media {
            audio: true,
            address: Some(address.ip()),
            port: address.port(),
            rtcp_port: None,
            candidates: Vec::new(),
            flow,
            formats: formats(format),
            // As if its keys had never been shown: the key is a shared secret.
            security: if self.encrypted { Security::Sealed("IAX2") } else { Security::Clear },
        })
    }

    pub(super) fn signal(&self, side: Side, fact: Fact) -> Signal {
        let (source, destination) = match side {
            Side::Caller => (self.caller.address, self.callee.address),
            Side::Callee => (self.callee.address, self.caller.address),
        };
        let answering = side == Side::Callee;
        Signal {
            call: self.name.clone(),
            source,
            destination,
            speaker: Speaker { opener: CALLER.to_owned(), answering },
            from: self.from.clone(),
            to: self.to.clone(),
            remarks: Remarks::default(),
            fact,
        }
    }
}
