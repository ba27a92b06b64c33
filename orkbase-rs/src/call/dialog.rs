//! A signalled call: who takes part, what they announced, and how far it got.
//!
//! Law: a dialog only takes in facts. It opens no tape and knows no packet.

use super::{
    course::{Course, Released},
    party::Role,
};
use crate::{
    signal::{Flow, Format, Media, Name, Offer, SdesKey, Security, Signal},
    time::Timestamp,
};
use std::net::SocketAddr;

/// Announced endpoints kept of one call: more than any forked call with ICE needs.
pub const MAX_ENDPOINTS: usize = 64;
/// Payload meanings kept of one role.
const MAX_FORMATS: usize = 96;
/// Branches of a forked proposal told apart.
const MAX_BRANCHES: usize = 32;

/// The people in a call, as its first messages name them.
#[derive(Clone, Debug)]
pub struct People {
    /// Who calls.
    pub from: Name,
    /// Who is called.
    pub to: Name,
    /// Where the network was told to send it.
    pub request: Name,
    /// The caller as the network vouches for it.
    pub asserted: Option<Name>,
    /// Software of the caller.
    pub user_agent: String,
    /// Values of the configured headers.
    pub headers: Vec<(String, String)>,
    /// Sender of the first proposal.
    pub source: SocketAddr,
    /// Its receiver.
    pub destination: SocketAddr,
}

impl People {
    /// Nobody named yet, seen between two addresses.
    #[must_use]
    pub const fn unnamed(source: SocketAddr, destination: SocketAddr) -> Self {
        const NOBODY: Name =
            Name { user: String::new(), host: String::new(), display: String::new() };
        Self {
            from: NOBODY,
            to: NOBODY,
            request: NOBODY,
            asserted: None,
            user_agent: String::new(),
            headers: Vec::new(),
            source,
            destination,
        }
    }
}

/// How far a call got.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Progress {
    /// Proposed; perhaps ringing, perhaps with early media.
    Offered,
    /// Accepted.
    Answered {
        /// When.
        at: Timestamp,
    },
    /// Declined or cancelled: over soon, unless it is accepted after all.
    Failing {
        /// Since when.
        since: Timestamp,
        /// 300 to 699, or 487 for a caller who gave up.
        code: u16,
    },
    /// Hung up.
    Ended {
        /// When.
        at: Timestamp,
    },
}

/// An address that the call's signalling announced.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Announced {
    /// Who receives there.
    pub role: Role,
    /// Where.
    pub address: SocketAddr,
    /// Audio, as opposed to video or fax.
    pub audio: bool,
    /// When it was announced first.
    pub since: Timestamp,
}

/// What an announcement changes.
#[derive(Debug, Default)]
pub struct Announcement {
    /// Addresses said now, at most [`MAX_ENDPOINTS`].
    pub fresh: Vec<Announced>,
    /// Older addresses that the call gives up for them.
    pub dropped: Vec<SocketAddr>,
    /// Addresses beyond the bound.
    pub refused: u64,
}

/// One call as signalling tells it.
#[derive(Debug)]
pub struct Dialog {
    /// Signalling's name; empty for RTP that nobody announced.
    pub call_id: String,
    /// Tag of the party that sent the first proposal.
    caller_tag: String,
    /// A proposal was seen, not only answers.
    offer_seen: bool,
    /// Who takes part.
    pub people: People,
    /// When it was told what.
    pub course: Course,
    /// Where the proposal went (from, to) and was not declined yet: a proxy asks several phones, and
    /// one that is busy does not end the call.
    branches: Vec<(SocketAddr, SocketAddr)>,
    /// How far it got.
    pub progress: Progress,
    /// Every announced address, oldest first.
    pub announced: Vec<Announced>,
    /// Payload meanings by who announced them, newest first.
    formats: [Vec<Format>; 2],
    /// Encryption by who announced it.
    pub security: [Security; 2],
    /// The parties agreed on keys over the media path (RFC 6189).
    pub zrtp: bool,
    /// Who holds the call, if anybody.
    pub held_by: Option<Role>,
    /// When the last message came.
    pub last_signal: Timestamp,
}

impl Dialog {
    /// A dialog that begins with this message, whatever it is.
    #[must_use]
    pub fn begin(at: Timestamp, signal: &Signal) -> Self {
        // An answer runs from callee to caller.
        let (source, destination) = if signal.speaker.answering {
            (signal.destination, signal.source)
        } else {
            (signal.source, signal.destination)
        };
        let mut people = People::unnamed(source, destination);
        people.from.clone_from(&signal.from);
        people.to.clone_from(&signal.to);
        Self {
            call_id: signal.call.clone(),
            caller_tag: signal.speaker.opener.clone(),
            offer_seen: false,
            people,
            course: Course::begin(at),
            branches: Vec::new(),
            progress: Progress::Offered,
            announced: Vec::new(),
            formats: [Vec::new(), Vec::new()],
            security: [Security::Clear, Security::Clear],
            zrtp: false,
            held_by: None,
            last_signal: at,
        }
    }

    /// The dialog behind RTP that nobody announced.
    #[must_use]
    pub fn bare(at: Timestamp, source: SocketAddr, destination: SocketAddr) -> Self {
        Self {
            call_id: String::new(),
            caller_tag: String::new(),
            offer_seen: false,
            people: People::unnamed(source, destination),
            course: Course::begin(at),
            branches: Vec::new(),
            progress: Progress::Answered { at },
            announced: Vec::new(),
            formats: [Vec::new(), Vec::new()],
            security: [Security::Clear, Security::Clear],
            zrtp: false,
            held_by: None,
            last_signal: at,
        }
    }

    /// Whether signalling knows this call.
    #[must_use]
    pub const fn is_signalled(&self) -> bool {
        !self.call_id.is_empty()
    }

    /// Who says this.
    #[must_use]
    pub fn role_of(&self, signal: &Signal) -> Role {
        let opener =
            if signal.speaker.opener == self.caller_tag { Role::Caller } else { Role::Callee };
        if signal.speaker.answering { opener.other() } else { opener }
    }

    /// Takes in a proposal; true when it named the people for the first time.
    pub fn offered(&mut self, at: Timestamp, signal: &Signal, offer: &Offer) -> bool {
        if matches!(self.progress, Progress::Failing { .. }) {
            self.progress = Progress::Offered;
            self.course.released = None;
        }
        self.last_signal = at;
        let role = self.role_of(signal);
        self.course.name_agent(role, &signal.remarks.agent);
        if self.progress == Progress::Offered {
            let branch = (signal.source, signal.destination);
            if self.branches.len() < MAX_BRANCHES && !self.branches.contains(&branch) {
                self.branches.push(branch);
            }
        }
        let named = !self.offer_seen && role == Role::Caller;
        if named {
            self.offer_seen = true;
            self.course.diverted_by.clone_from(&offer.diverted_by);
            self.people = People {
                from: signal.from.clone(),
                to: signal.to.clone(),
                request: offer.request.clone(),
                asserted: offer.asserted.clone(),
                user_agent: signal.remarks.agent.clone(),
                headers: offer.headers.clone(),
                source: signal.source,
                destination: signal.destination,
            };
        }
        named
    }

    /// It goes ahead; true when it is answered by this.
    pub fn accepted(&mut self, at: Timestamp, signal: &Signal, code: u16) -> bool {
        self.last_signal = at;
        let role = self.role_of(signal);
        self.course.name_agent(role, &signal.remarks.agent);
        if (180..190).contains(&code) {
            self.course.ringing.get_or_insert(at);
        }
        if matches!(self.progress, Progress::Failing { .. }) {
            self.progress = Progress::Offered;
            self.course.released = None;
        }
        if self.progress == Progress::Offered && code >= 200 {
            self.progress = Progress::Answered { at };
            self.course.answered.get_or_insert(at);
            return true;
        }
        false
    }

    /// It was declined on one of its branches; true when that was the last. Only before it was
    /// answered does that end anything (a refused re-INVITE leaves the call as it was).
    pub fn refused(&mut self, at: Timestamp, signal: &Signal, code: u16) -> bool {
        self.last_signal = at;
        self.fail(at, signal, (signal.destination, signal.source), code)
    }

    /// The caller gave up, or a proxy gave up one of the branches; true when that was the last.
    pub fn cancelled(&mut self, at: Timestamp, signal: &Signal) -> bool {
        self.last_signal = at;
        self.fail(at, signal, (signal.source, signal.destination), 487)
    }

    fn fail(
        &mut self,
        at: Timestamp,
        signal: &Signal,
        branch: (SocketAddr, SocketAddr),
        code: u16,
    ) -> bool {
        // An answer may come from another address than the one that was asked (NAT).
        let known = self.branches.iter().position(|pending| *pending == branch);
        let asked = || self.branches.iter().position(|pending| pending.0 == branch.0);
        if let Some(index) = known.or_else(asked).or((self.branches.len() == 1).then_some(0)) {
            self.branches.remove(index);
        }
        if self.progress != Progress::Offered || !self.branches.is_empty() {
            return false;
        }
        self.progress = Progress::Failing { since: at, code };
        self.release(at, signal, Some(code));
        true
    }

    /// Somebody hung up.
    pub fn ended(&mut self, at: Timestamp, signal: &Signal) {
        self.last_signal = at;
        if !matches!(self.progress, Progress::Ended { .. }) {
            self.progress = Progress::Ended { at };
            self.release(at, signal, None);
        }
    }

    fn release(&mut self, at: Timestamp, signal: &Signal, code: Option<u16>) {
        let by = self.role_of(signal);
        self.course.released = Some(Released { at, by, code, cause: signal.remarks.cause.clone() });
    }

    /// Takes in what `role` announced.
    pub fn announce(&mut self, at: Timestamp, role: Role, media: &[Media]) -> Announcement {
        let mut told = Announcement::default();
        for stream in media.iter().filter(|m| m.port != 0) {
            let address = stream.address.filter(|a| !a.is_unspecified());
            let main = address.map(|a| SocketAddr::new(a, stream.port));
            for address in main.into_iter().chain(stream.candidates.iter().copied()) {
                if told.fresh.len() == MAX_ENDPOINTS {
                    told.refused += 1;
                    continue;
                }
                let new = Announced { role, address, audio: stream.audio, since: at };
                // Said again is said anew: the call may have lost the address to another meanwhile.
                told.fresh.push(new);
                let known = self.announced.iter_mut().find(|old| old.address == address);
                if let Some(known) = known {
                    (known.role, known.audio) = (role, stream.audio);
                } else {
                    self.announced.push(new);
                }
            }
        }
        // The oldest give way to what was said now.
        let mut excess = self.announced.len().saturating_sub(MAX_ENDPOINTS);
        self.announced.retain(|old| {
            let stays = excess == 0 || told.fresh.iter().any(|new| new.address == old.address);
            if !stays {
                excess -= 1;
                told.dropped.push(old.address);
            }
            stays
        });
        if let Some(audio) = media.iter().find(|m| m.audio && m.port != 0) {
            let index = role.index();
            if let Some(known) = self.formats.get_mut(index) {
                known.retain(|old| {
                    !audio.formats.iter().any(|new| new.payload_type == old.payload_type)
                });
                known.splice(0..0, audio.formats.iter().cloned());
                known.truncate(MAX_FORMATS);
            }
            if let Some(security) = self.security.get_mut(index) {
                security.clone_from(&audio.security);
            }
        }
        told
    }

    /// Takes in who may send; true when the call was put on hold or taken off hold by it.
    pub fn hold(&mut self, role: Role, media: &[Media]) -> bool {
        let Some(audio) = media.iter().find(|m| m.audio) else { return false };
        let holds = audio.port == 0
            || audio.address.is_some_and(|a| a.is_unspecified())
            || matches!(audio.flow, Flow::SendOnly | Flow::Inactive);
        let before = self.held_by;
        if holds && before.is_none() {
            self.held_by = Some(role);
        } else if !holds && before == Some(role) && audio.flow == Flow::SendReceive {
            self.held_by = None;
        }
        before != self.held_by
    }

    /// What a payload type means when `sender` uses it: the receiver announced it (RFC 3264 §5.1),
    /// else the sender did.
    #[must_use]
    pub fn format(&self, sender: Role, payload_type: u8) -> Option<&Format> {
        let of = |role: Role| {
            let known = self.formats.get(role.index())?;
            known.iter().find(|format| format.payload_type == payload_type)
        };
        of(sender.other()).or_else(|| of(sender))
    }

    /// The callee's choice of codecs, the best first, once it has chosen.
    #[must_use]
    pub fn chosen(&self) -> &[Format] {
        self.formats.get(Role::Callee.index()).map_or(&[], Vec::as_slice)
    }

    /// SRTP keys that signalling showed, those of `sender` first (RFC 4568 §5.1.2: each side announces
    /// the key that it sends with); `None` when nobody showed any.
    #[must_use]
    pub fn keys(&self, sender: Role) -> Option<Vec<&SdesKey>> {
        let of = |role: Role| match self.security.get(role.index()) {
            Some(Security::Sdes(keys)) => keys.as_slice(),
            Some(Security::Clear | Security::Sealed(_)) | None => &[],
        };
        let keys: Vec<&SdesKey> = of(sender).iter().chain(of(sender.other())).collect();
        (!keys.is_empty()).then_some(keys)
    }

    /// Encryption of what `sender` sends, as far as either side announced it.
    #[must_use]
    pub fn is_encrypted(&self, sender: Role) -> bool {
        self.encryption(sender).is_some()
    }

    /// What the encryption of what `sender` sends is called.
    #[must_use]
    pub fn encryption(&self, sender: Role) -> Option<&'static str> {
        let of = |role: Role| match self.security.get(role.index())? {
            Security::Clear => None,
            Security::Sdes(_) => Some("SRTP"),
            Security::Sealed(name) => Some(*name),
        };
        let agreed = self.zrtp.then_some("ZRTP");
        agreed.or_else(|| of(sender)).or_else(|| of(sender.other()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signal::{Fact, Speaker};

    fn media(port: u16, candidates: u16) -> Media {
        Media {
            audio: true,
            address: Some([10, 0, 0, 1].into()),
            port,
            rtcp_port: None,
            candidates: (0..candidates).map(|n| ([10, 0, 0, 2], port + n).into()).collect(),
            flow: Flow::SendReceive,
            formats: Vec::new(),
            security: Security::Clear,
        }
    }

    #[test]
    fn what_encrypts_a_call_has_a_name() {
        let end: SocketAddr = ([10, 0, 0, 1], 5060).into();
        let mut dialog = Dialog::bare(Timestamp(1), end, end);
        assert_eq!(dialog.encryption(Role::Caller), None);
        let sealed = Media { security: Security::Sealed("DTLS-SRTP"), ..media(4_000, 0) };
        dialog.announce(Timestamp(1), Role::Callee, &[sealed]);
        for role in [Role::Caller, Role::Callee] {
            assert_eq!(dialog.encryption(role), Some("DTLS-SRTP"));
        }
        dialog.zrtp = true;
        assert_eq!(dialog.encryption(Role::Caller), Some("ZRTP"));
    }

    #[test]
    fn the_newest_addresses_are_kept_and_no_more_than_the_bound() {
        let at = Timestamp(1);
        let end: SocketAddr = ([10, 0, 0, 1], 5060).into();
        let signal = Signal {
            call: "1".to_owned(),
            source: end,
            destination: end,
            speaker: Speaker::default(),
            from: Name::default(),
            to: Name::default(),
            remarks: crate::signal::Remarks::default(),
            fact: Fact::Ended,
        };
        let mut dialog = Dialog::begin(at, &signal);
        let many = dialog.announce(at, Role::Caller, &[media(1_000, 80)]);
        assert_eq!((many.fresh.len(), many.refused), (MAX_ENDPOINTS, 81 - 64));
        let same = dialog.announce(at, Role::Caller, &[media(1_000, 10)]);
        assert_eq!((same.fresh.len(), same.dropped.len()), (11, 0));
        let moved = dialog.announce(at, Role::Caller, &[media(4_000, 1)]);
        let old: Vec<SocketAddr> =
            vec![([10, 0, 0, 1], 1_000).into(), ([10, 0, 0, 2], 1_000).into()];
        assert_eq!((moved.dropped, moved.refused), (old, 0));
        assert_eq!(dialog.announced.len(), MAX_ENDPOINTS);
        assert!(dialog.announced.iter().any(|known| known.address == moved.fresh[0].address));
    }
}
