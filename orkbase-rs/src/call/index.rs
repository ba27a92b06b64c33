//! Who owns an address: announced endpoints and the flows bound to calls.
//!
//! Law: keys come from the wire, so every map is keyed by a per-process random seed and has a bound;
//! no map is ever walked for output. Flows are written by the media path, endpoints by signalling.

use super::{
    flow_table::{FlowTable, Place},
    party::Role,
};
use crate::packet::fast::FlowKey;
use foldhash::fast::RandomState;
use std::{collections::HashMap, net::SocketAddr};

/// Calls remembered per endpoint: a back-to-back user agent announces the same address in two.
const MAX_OWNERS: usize = 4;

/// Slot of a call in the switchboard.
pub type CallSlot = u32;

/// A flow's owner, as small as the fast path wants it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct FlowOwner {
    /// The call.
    pub call: CallSlot,
    /// The SSRC that `stream` stands for.
    pub ssrc: u32,
    /// Stream of the call.
    pub stream: u8,
}

/// One direction between two endpoints.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum FlowId {
    /// IPv4, packed.
    V4(FlowKey),
    /// IPv6.
    V6(SocketAddr, SocketAddr),
}

impl FlowId {
    /// The flow between two endpoints.
    #[must_use]
    pub fn new(source: SocketAddr, destination: SocketAddr) -> Self {
        FlowKey::from_addrs(&source, &destination).map_or(Self::V6(source, destination), Self::V4)
    }

    /// Sender.
    #[must_use]
    pub fn source(self) -> SocketAddr {
        match self {
            Self::V4(key) => key.source(),
            Self::V6(source, _) => source,
        }
    }

    /// Receiver.
    #[must_use]
    pub fn destination(self) -> SocketAddr {
        match self {
            Self::V4(key) => key.destination(),
            Self::V6(_, destination) => destination,
        }
    }
}

/// Flows that carry media of known calls.
#[derive(Debug, Default)]
pub struct Flows {
    v4: FlowTable,
    v6: HashMap<(SocketAddr, SocketAddr), FlowOwner, RandomState>,
}

impl Flows {
    /// Owner of an IPv4 flow.
    #[inline]
    #[must_use]
    pub fn v4(&self, key: FlowKey) -> Option<FlowOwner> {
        self.v4.get(key)
    }

    /// A packet of this flow will come soon: asks for its entry, and tells where it should be.
    #[inline]
    pub(super) fn ask(&self, key: FlowKey) -> Place {
        self.v4.ask(key)
    }

    /// As [`v4`](Self::v4), of a flow that was asked for. None if the table has grown since, perhaps.
    #[inline]
    pub(super) fn v4_from(&self, place: Place, key: FlowKey) -> Option<FlowOwner> {
        self.v4.get_from(place, key)
    }

    /// Owner of any flow.
    #[must_use]
    pub fn owner(&self, flow: FlowId) -> Option<FlowOwner> {
        match flow {
            FlowId::V4(key) => self.v4(key),
            FlowId::V6(source, destination) => self.v6.get(&(source, destination)).copied(),
        }
    }

    /// Binds a flow; the owner before comes back.
    pub fn bind(&mut self, flow: FlowId, owner: FlowOwner) -> Option<FlowOwner> {
        match flow {
            FlowId::V4(key) => self.v4.insert(key, owner),
            FlowId::V6(source, destination) => self.v6.insert((source, destination), owner),
        }
    }

    /// Unbinds a flow if `call` still owns it.
    pub fn unbind(&mut self, flow: FlowId, call: CallSlot) {
        if self.owner(flow).is_some_and(|owner| owner.call == call) {
            match flow {
                FlowId::V4(key) => self.v4.remove(key),
                FlowId::V6(source, destination) => self.v6.remove(&(source, destination)),
            };
        }
    }

    /// Flows bound.
    #[must_use]
    pub fn len(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    /// No flow is bound.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Who announced an endpoint.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct EndpointOwner {
    /// The call.
    pub call: CallSlot,
    /// Who receives there.
    pub role: Role,
    /// Audio, as opposed to video or fax.
    pub audio: bool,
}

/// Announced endpoints, each with its calls, newest announcement first.
#[derive(Debug, Default)]
pub struct Endpoints(HashMap<SocketAddr, Vec<EndpointOwner>, RandomState>);

impl Endpoints {
    /// The calls that announced `address`, newest first.
    #[must_use]
    pub fn owners(&self, address: SocketAddr) -> &[EndpointOwner] {
        self.0.get(&address).map_or(&[], Vec::as_slice)
    }

    /// `owner` announces `address`.
    pub fn announce(&mut self, address: SocketAddr, owner: EndpointOwner) {
        let owners = self.0.entry(address).or_default();
        owners.retain(|old| old.call != owner.call);
        owners.insert(0, owner);
        owners.truncate(MAX_OWNERS);
    }

    /// `call` gives up `address`.
    pub fn forget(&mut self, address: SocketAddr, call: CallSlot) {
        if let Some(owners) = self.0.get_mut(&address) {
            owners.retain(|owner| owner.call != call);
            if owners.is_empty() {
                self.0.remove(&address);
            }
        }
    }

    /// Addresses announced.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// No address is announced.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
