//! Media whose encryption is agreed on over its own path.

use super::{index::FlowId, switchboard::Switchboard};
use crate::{
    rtp::zrtp::{self, Turn},
    time::Timestamp,
};

impl Switchboard {
    /// A ZRTP packet: the keys that it agrees on are nobody else's, so the call is encrypted from the
    /// last confirmation on, whatever its SDP says.
    #[cold]
    pub(super) fn handle_zrtp(&mut self, at: Timestamp, flow: FlowId, payload: &[u8]) {
        let Some(turn) = zrtp::turn(payload) else { return };
        let owner = self.flows.owner(flow).map(|owner| owner.call);
        let Some(slot) = owner.or_else(|| self.owner_of(flow).map(|(slot, _)| slot)) else {
            return;
        };
        let Some(call) = self.call_mut(slot) else { return };
        let secure = turn == Turn::Secure;
        if call.dialog.zrtp != secure {
            call.dialog.zrtp = secure;
            let now = if secure { "encrypted (ZRTP)" } else { "clear again (ZRTP)" };
            call.tell(at, || format!("media is {now}"));
            for stream in &mut call.streams {
                // Looked up anew with the next packet.
                stream.payload_type = u8::MAX;
            }
        }
    }
}
