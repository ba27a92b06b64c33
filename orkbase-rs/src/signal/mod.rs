//! What signalling protocols say, read into facts.
//!
//! Law: a [`Signal`] is free of the protocol's text. The call core knows no header and no opcode; a
//! new protocol is a new reader that states the same facts.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};

pub mod h323;
pub mod iax2;
pub mod mgcp;
pub mod redact;
pub mod sip;
pub mod skinny;

/// One fact about one call.
#[derive(Clone, Debug)]
pub struct Signal {
    /// Signalling's name of the call (SIP Call-ID).
    pub call: String,
    /// Who sent the message.
    pub source: SocketAddr,
    /// Who received it.
    pub destination: SocketAddr,
    /// Who is speaking.
    pub speaker: Speaker,
    /// Who calls, as this message names it.
    pub from: Name,
    /// Who is called, as this message names it.
    pub to: Name,
    /// What else the message tells.
    pub remarks: Remarks,
    /// What was said.
    pub fact: Fact,
}

/// What a message may tell besides its fact.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Remarks {
    /// Software of the sender; empty when it does not say.
    pub agent: String,
    /// Why the call ends, in the protocol's own terms (SIP: Reason, RFC 3326): `Q.850 16 Normal call
    /// clearing`.
    pub cause: Option<String>,
}

/// Who says something, before the dialog knows which of them called.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Speaker {
    /// Names the party that opened this transaction (SIP: From tag).
    pub opener: String,
    /// The speaker answers the opener (SIP: a response).
    pub answering: bool,
}

/// A stated fact.
#[derive(Clone, Debug)]
pub enum Fact {
    /// A call, or a change of one, is proposed (SIP: INVITE).
    Offered(Box<Offer>),
    /// It goes ahead: ringing, early media or answered.
    Accepted {
        /// 101 to 199 while it rings, 200 to 299 once answered.
        code: u16,
        /// The speaker's media, if stated.
        media: Option<Vec<Media>>,
    },
    /// Media stated outside offer and answer (SIP: SDP in ACK, UPDATE, PRACK).
    MediaStated(Vec<Media>),
    /// The proposal was declined; 401 and 407 only ask for credentials.
    Refused {
        /// 300 to 699.
        code: u16,
    },
    /// The caller gave up while it rang.
    Cancelled,
    /// A party hung up.
    Ended,
    /// A digit was pressed (SIP: INFO).
    Digit {
        /// `0` to `9`, `*`, `#`, `A` to `D`.
        digit: String,
        /// Grows with every request of the same speaker (SIP: `CSeq`); 0 when it is not known.
        number: u32,
    },
    /// The other party is told to call somebody else (SIP: REFER).
    Transferred {
        /// Where to.
        target: String,
        /// Call name of the call that the new one replaces.
        replaces: Option<String>,
    },
}

/// What a proposal says besides the names.
#[derive(Clone, Debug, Default)]
pub struct Offer {
    /// No dialog existed yet when it was sent (SIP: no To tag).
    pub initial: bool,
    /// Where the network was told to send it (SIP: Request-URI).
    pub request: Name,
    /// The caller as the network vouches for it (SIP: P-Asserted-Identity, else Remote-Party-ID).
    pub asserted: Option<Name>,
    /// The call this one replaces (SIP: Replaces).
    pub replaces: Option<String>,
    /// Who told the caller to call (SIP: Referred-By); empty for nobody.
    pub referred_by: String,
    /// Who diverted the call to where it now goes (SIP: Diversion, History-Info); empty for nobody.
    pub diverted_by: String,
    /// A name of the conversation that survives back-to-back user agents (SIP: Session-ID, RFC 7989).
    pub session: String,
    /// Values of the configured headers, by name.
    pub headers: Vec<(String, String)>,
    /// The speaker's media, if stated.
    pub media: Option<Vec<Media>>,
}

/// A party as signalling names it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Name {
    /// User part or number; empty when only a host was given.
    pub user: String,
    /// Domain or address.
    pub host: String,
    /// Display name; empty when none was given.
    pub display: String,
}

/// One announced media stream.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Media {
    /// Audio is recorded; anything else is known so that it is never mistaken for audio.
    pub audio: bool,
    /// Where the speaker wants to receive; `None` when the address was a name or missing.
    pub address: Option<IpAddr>,
    /// The port there; 0 means declined.
    pub port: u16,
    /// Where the speaker's RTCP arrives when not at the next port.
    pub rtcp_port: Option<u16>,
    /// Further addresses at which it may receive (ICE candidates).
    pub candidates: Vec<SocketAddr>,
    /// Who may send.
    pub flow: Flow,
    /// What each payload type means.
    pub formats: Vec<Format>,
    /// How the media is encrypted, if it is.
    pub security: Security,
}

/// Who may send, from the speaker's point of view.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Flow {
    /// Both.
    #[default]
    SendReceive,
    /// The speaker only.
    SendOnly,
    /// The other only.
    ReceiveOnly,
    /// Nobody.
    Inactive,
}

/// The meaning of a payload type.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Format {
    /// 0 to 127.
    pub payload_type: u8,
    /// Encoding name (RFC 3551 and IANA), as written.
    pub name: String,
    /// RTP clock in Hz.
    pub clock_rate: u32,
    /// Audio channels.
    pub channels: u8,
    /// Format parameters, as written.
    pub parameters: Option<String>,
}

/// How media is encrypted.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Security {
    /// It is not.
    #[default]
    Clear,
    /// SRTP with keys in the SDP (RFC 4568).
    Sdes(Vec<SdesKey>),
    /// In a way whose keys never appear on the wire, or are not read: its name, `DTLS-SRTP`.
    Sealed(&'static str),
}

/// One offered SRTP key (RFC 4568 `a=crypto`).
#[derive(Clone, Eq, PartialEq)]
pub struct SdesKey {
    /// Number that offer and answer share.
    pub tag: u32,
    /// Crypto suite name.
    pub suite: String,
    /// Key and salt, as written after `inline:`.
    pub inline: Vec<u8>,
}

impl fmt::Debug for SdesKey {
    /// Keys are never printed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SdesKey({} {} <redacted>)", self.tag, self.suite)
    }
}
