//! One call of a call agent, and what it lets the call core hear.

use super::message::Mode;
use crate::{
    signal::{Fact, Flow, Media, Name, Offer, Remarks, Signal, Speaker},
    time::Timestamp,
};
use std::net::SocketAddr;

/// Connections kept of one call; a conference of eight lines.
const MAX_LEGS: usize = 8;
/// What the caller of every call is known by.
const CALLER: &str = "caller";

/// Which end of a call a line is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum End {
    Caller,
    Callee,
}

impl End {
    pub(super) const fn other(self) -> Self {
        match self {
            Self::Caller => Self::Callee,
            Self::Callee => Self::Caller,
        }
    }
}

/// A connection at an endpoint.
#[derive(Debug)]
pub(super) struct Leg {
    pub(super) id: u32,
    pub(super) gateway: SocketAddr,
    pub(super) endpoint: String,
    /// As the gateway named it, once it has.
    pub(super) connection: Option<String>,
    pub(super) end: End,
    pub(super) mode: Mode,
    /// Where it listens, once the gateway said so.
    local: Option<Vec<Media>>,
    /// It was told where to send.
    remote: bool,
}

/// One call.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) agent: SocketAddr,
    pub(super) name: String,
    pub(super) number: String,
    pub(super) legs: Vec<Leg>,
    pub(super) from: Name,
    pub(super) to: Name,
    pub(super) last: Timestamp,
    /// The call core knows the call, and its people.
    stated: bool,
    offered: bool,
    /// Some line sends and receives, and knows where to.
    pub(super) connected: bool,
}

impl Call {
    pub(super) fn new(agent: SocketAddr, number: String, at: Timestamp) -> Self {
        Self {
            agent,
            name: format!("{number}@{}", agent.ip()),
            number,
            legs: Vec::new(),
            from: Name::default(),
            to: Name::default(),
            last: at,
            stated: false,
            offered: false,
            connected: false,
        }
    }

    /// A connection is made at a line; false when there are too many.
    pub(super) fn add(&mut self, id: u32, gateway: SocketAddr, endpoint: &str, end: End) -> bool {
        if self.legs.len() >= MAX_LEGS {
            return false;
        }
        self.legs.push(Leg {
            id,
            gateway,
            endpoint: endpoint.to_owned(),
            connection: None,
            end,
            mode: Mode::Inactive,
            local: None,
            remote: false,
        });
        true
    }

    /// Its people, once both are known and the call core was not told.
    pub(super) fn offer(&mut self) -> Option<Signal> {
        if self.offered || self.from.user.is_empty() || self.to.user.is_empty() {
            return None;
        }
        (self.offered, self.stated) = (true, true);
        let offer = Offer { initial: true, ..Offer::default() };
        Some(self.signal(End::Caller, Fact::Offered(Box::new(offer))))
    }

    /// A leg was told where to send: that is where the other end listens.
    pub(super) fn remote(&mut self, id: u32, media: Vec<Media>) -> Option<Signal> {
        let leg = self.legs.iter_mut().find(|leg| leg.id == id)?;
        leg.remote = true;
        let end = leg.end.other();
        Some(self.state(end, media))
    }

    /// A leg said where it listens.
    pub(super) fn local(&mut self, id: u32, media: Vec<Media>) -> Option<Signal> {
        let leg = self.legs.iter_mut().find(|leg| leg.id == id)?;
        leg.local = Some(media);
        self.restate(id)
    }

    /// What a leg said of its media, under its mode of now.
    pub(super) fn restate(&mut self, id: u32) -> Option<Signal> {
        let leg = self.legs.iter().find(|leg| leg.id == id)?;
        let (end, mut media) = (leg.end, leg.local.clone()?);
        let flow = match leg.mode {
            // While it is set up one way is as good as both.
            _ if !self.connected => Flow::SendReceive,
            Mode::SendReceive | Mode::Other => Flow::SendReceive,
            Mode::SendOnly => Flow::SendOnly,
            Mode::ReceiveOnly => Flow::ReceiveOnly,
            Mode::Inactive => Flow::Inactive,
        };
        for stream in &mut media {
            stream.flow = flow;
        }
        Some(self.state(end, media))
    }

    /// It is answered as soon as some line talks both ways.
    pub(super) fn connect(&mut self) -> Option<Signal> {
        let talks = |leg: &Leg| leg.remote && leg.local.is_some() && leg.mode == Mode::SendReceive;
        if self.connected || !self.stated || !self.legs.iter().any(talks) {
            return None;
        }
        self.connected = true;
        Some(self.signal(End::Callee, Fact::Accepted { code: 200, media: None }))
    }

    /// The last of its legs is gone.
    pub(super) fn ended(&self, end: End) -> Option<Signal> {
        let fact = if self.connected { Fact::Ended } else { Fact::Cancelled };
        let end = if self.connected { end } else { End::Caller };
        self.stated.then(|| self.signal(end, fact))
    }

    fn state(&mut self, end: End, media: Vec<Media>) -> Signal {
        let fact = if std::mem::replace(&mut self.stated, true) {
            Fact::MediaStated(media)
        } else {
            Fact::Accepted { code: 183, media: Some(media) }
        };
        self.signal(end, fact)
    }

    pub(super) fn signal(&self, end: End, fact: Fact) -> Signal {
        let own = self.legs.iter().find(|leg| leg.end == end);
        let gateway = own.or(self.legs.first()).map_or(self.agent, |leg| leg.gateway);
        let by_line = own.is_some();
        let (source, destination) =
            if by_line { (gateway, self.agent) } else { (self.agent, gateway) };
        Signal {
            call: self.name.clone(),
            source,
            destination,
            speaker: Speaker { opener: CALLER.to_owned(), answering: end == End::Callee },
            from: self.from.clone(),
            to: self.to.clone(),
            remarks: Remarks::default(),
            fact,
        }
    }
}
