//! What an operator may set about calls; every field has a bound and a default with a reason.

use super::{
    command::PauseAs, filter::Filters, keeping::KeepPackets, naming::Naming, policy::PartyRules,
    recording::HostFacts,
};
use crate::signal::Format;
use jiff::tz::TimeZone;

/// Settings of the switchboard.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Settings {
    /// Which side is local.
    pub parties: PartyRules,
    /// How tapes are named.
    pub naming: Naming,
    /// Calendar of names.
    pub zone: TimeZone,
    /// What messages say of this host.
    pub host: HostFacts,
    /// Record every call from its start (look-back); otherwise only when asked.
    pub record_all: bool,
    /// Of a call that waits to be asked for, so much audio is remembered, in milliseconds; 0 is none.
    pub prerecord_ms: u64,
    /// Bytes remembered of all such calls.
    pub prerecord_max_bytes: usize,
    /// What a paused span is on the tape.
    pub pause: PauseAs,
    /// A pause ends by itself after so long, in milliseconds; 0 never.
    pub pause_limit_ms: u64,
    /// Media may be absent this long before the recording ends, in milliseconds.
    pub rtp_timeout_ms: u64,
    /// The same while the call is on hold.
    pub hold_timeout_ms: u64,
    /// A call may ring this long.
    pub setup_timeout_ms: u64,
    /// A signalled call without media is remembered this long after its last message.
    pub dialog_timeout_ms: u64,
    /// Media is still kept this long after a party hung up: packets on their way.
    pub bye_grace_ms: u64,
    /// Audio is handed to the tape at least this often.
    pub block_ms: u64,
    /// A packet older than this is too late for the tape.
    pub late_ms: u64,
    /// Samples a second of every tape; `None` keeps the widest voice of each call.
    pub tape_rate: Option<u32>,
    /// Most calls at once.
    pub max_calls: usize,
    /// Most media flows at once.
    pub max_flows: usize,
    /// Most flows watched that no signalling has announced yet.
    pub max_candidates: usize,
    /// Record RTP that nobody announced after this many packets; 0 never does.
    pub unannounced_after: u32,
    /// What dynamic payload types mean in RTP that nobody announced.
    pub payload_types: Vec<Format>,
    /// User agents (substring, case counts) that pack G.726 as AAL2 does although they announce it
    /// under the names of RFC 3551.
    pub g726_aal2_agents: Vec<String>,
    /// Tell the tracker when a call is put on hold and taken off.
    pub hold_messages: bool,
    /// Headers whose values become tags.
    pub tag_headers: Vec<String>,
    /// Headers that both legs of a back-to-back user agent carry with the same value.
    pub link_headers: Vec<String>,
    /// Record both legs of a back-to-back user agent; otherwise the one whose audio comes first.
    pub both_legs: bool,
    /// What is left out.
    pub filters: Filters,
    /// Whose packets are kept beside the audio.
    pub keep_packets: KeepPackets,
    /// Bytes of packets kept of one tape, as they stand in its file.
    pub packets_max_bytes: u64,
    /// A call that goes on for longer continues on another tape, in milliseconds; 0 never.
    pub segment_ms: u64,
    /// Tell of every call, when it is over, why it was recorded or not.
    pub explain: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            parties: PartyRules::default(),
            naming: Naming::default(),
            zone: TimeZone::UTC,
            host: HostFacts {
                hostname: "localhost".to_owned(),
                service: "orkaudio-localhost".to_owned(),
                extension: ".wav".to_owned(),
            },
            record_all: true,
            prerecord_ms: 0,
            // 10 s of two-way G.711 of a thousand calls.
            prerecord_max_bytes: 256 << 20,
            pause: PauseAs::Silence,
            pause_limit_ms: 0,
            // Phones that suppress silence may say nothing for many seconds; the original's 10 s cut them.
            rtp_timeout_ms: 30_000,
            hold_timeout_ms: 2 * 3_600_000,
            setup_timeout_ms: 300_000,
            dialog_timeout_ms: 4 * 3_600_000,
            bye_grace_ms: 200,
            // With the time a packet may be late this stays under the promised second.
            block_ms: 700,
            late_ms: 200,
            tape_rate: None,
            max_calls: 30_000,
            max_flows: 200_000,
            max_candidates: 2_000,
            unannounced_after: 0,
            payload_types: Vec::new(),
            g726_aal2_agents: ["baresip", "Linphone"].map(str::to_owned).to_vec(),
            hold_messages: true,
            tag_headers: Vec::new(),
            link_headers: Vec::new(),
            both_legs: true,
            filters: Filters::default(),
            keep_packets: KeepPackets::default(),
            // An hour of two-way G.711.
            packets_max_bytes: 100 << 20,
            segment_ms: 0,
            explain: false,
        }
    }
}
