//! Routes signals, media and commands to calls; owns the calls and every index to them.
//!
//! Law: it never sees a protocol's text, never reads a clock and never blocks. Signals are handled in
//! `signalling`, media in `media`, commands in `control`, tapes in `taping`; here are time and the
//! table of calls.

use super::{
    candidates::{Candidates, Stray},
    dialog::Progress,
    filter::Ignored,
    index::{CallSlot, Endpoints, Flows},
    links::Links,
    output::{EndReason, Output, TapeId},
    prompt::Prompt,
    room::Queue,
    session::Call,
    settings::Settings,
    tails::Tails,
};
use crate::{
    audio::{
        block::BLOCK_BYTES,
        codec::{BuiltIn, DecoderSource},
    },
    ids::TrackingIds,
    time::Timestamp,
};
use foldhash::fast::RandomState;
use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::Arc,
};

/// Empty blocks kept for reuse.
const POOL: usize = 4_096;

/// What the switchboard met, in plain numbers.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Counters {
    /// Calls begun by signalling.
    pub calls_signalled: u64,
    /// Calls begun by RTP that nobody announced.
    pub calls_unannounced: u64,
    /// Calls answered.
    pub calls_answered: u64,
    /// Calls refused or cancelled.
    pub calls_failed: u64,
    /// Calls forgotten because the table was full.
    pub calls_evicted: u64,
    /// Calls not taken in because the table was full of calls with media.
    pub calls_refused: u64,
    /// Calls that a filter left out, wholly or from some moment on.
    pub calls_ignored: u64,
    /// Recordings of unannounced media that signalling caught up with.
    pub calls_adopted: u64,
    /// Calls that were linked to another: by a transfer, or a back-to-back user agent.
    pub calls_linked: u64,
    /// Recordings begun.
    pub tapes_opened: u64,
    /// Recordings ended.
    pub tapes_closed: u64,
    /// RTP packets of known calls.
    pub rtp_packets: u64,
    /// RTP packets that came too late to be placed.
    pub rtp_late: u64,
    /// RTP packets of a second stream of the same party at the same time.
    pub rtp_unheard: u64,
    /// Audio packets that cannot be decoded (codec unknown, or encrypted).
    pub rtp_undecoded: u64,
    /// SRTP packets whose authentication failed.
    pub srtp_unauthentic: u64,
    /// RTP packets of payload types that nobody announced.
    pub rtp_foreign: u64,
    /// RTP packets after their call had ended, or while nobody wanted it.
    pub rtp_unwanted: u64,
    /// RTP packets that a filter left out.
    pub rtp_filtered: u64,
    /// RTP packets while the recording was paused.
    pub rtp_paused: u64,
    /// Commands to put tags on a call that had too many, or that were too long.
    pub tags_refused: u64,
    /// Pauses that ended by themselves.
    pub pauses_over: u64,
    /// Packets of calls that nobody has asked for, forgotten early because there were too many.
    pub prerecord_omitted: u64,
    /// RTP packets refused because a call or the table had too many streams or flows.
    pub rtp_refused: u64,
    /// Keys pressed, as told.
    pub digits: u64,
    /// Keys beyond the bound of a tape.
    pub digits_refused: u64,
    /// RTCP packets.
    pub rtcp_packets: u64,
    /// RTP-like packets of flows that nobody announced.
    pub candidate_packets: u64,
    /// Such packets forgotten again.
    pub candidate_dropped: u64,
    /// Times the capture clock went back.
    pub clock_set_back: u64,
    /// Times the host's clock was set, forward or back, as the live capture noticed.
    pub clock_set: u64,
    /// Announced addresses beyond the bound of a call.
    pub endpoints_refused: u64,
    /// Packets kept beside the audio.
    pub packets_kept: u64,
    /// Packets beyond the bound of a tape.
    pub packets_omitted: u64,
    /// Messages of signalling beyond the bound of a call or of all calls: kept of a tape only if they
    /// come while its packets are kept.
    pub letters_omitted: u64,
    /// UDP datagrams that are neither signalling nor media.
    pub other_datagrams: u64,
    /// Faults of the program while it took something in.
    pub faults: u64,
    /// Calls given up because of one.
    pub calls_broken: u64,
}

/// All calls on the wire.
pub struct Switchboard {
    pub(super) settings: Settings,
    pub(super) calls: Vec<Option<Call>>,
    /// Slots without a call.
    pub(super) free: BTreeSet<CallSlot>,
    pub(super) by_id: HashMap<String, CallSlot, RandomState>,
    pub(super) endpoints: Endpoints,
    pub(super) flows: Flows,
    pub(super) candidates: Candidates,
    pub(super) tails: Tails,
    pub(super) ids: TrackingIds,
    pub(super) next_tape: u64,
    pub(super) outputs: VecDeque<Output>,
    pub(super) pool: Vec<Vec<u8>>,
    pub(super) now: Timestamp,
    pub(super) next_sweep: Timestamp,
    /// When time can have made something of each call, in order of slots.
    pub(super) looks: Vec<Timestamp>,
    pub(super) counters: Counters,
    pub(super) live: usize,
    pub(super) queue: Queue,
    pub(super) links: Links,
    /// Tapes of calls that have another leg, by the name the legs share.
    pub(super) leg_tapes: HashMap<String, TapeId, RandomState>,
    pub(super) decoders: Arc<dyn DecoderSource>,
    /// Bytes of signalling remembered of all calls.
    pub(super) letter_bytes: usize,
    /// Tapes that are listened to.
    pub(super) prompt: Prompt,
    /// Bytes of packets that came before their keys, of all streams.
    pub(super) early_bytes: usize,
    /// Bytes remembered of calls that nobody has asked for yet.
    pub(super) recent_bytes: usize,
    /// Room for a decrypted payload.
    pub(super) plain: Vec<u8>,
    /// The call that is being looked at.
    pub(super) touched: Option<CallSlot>,
}

impl std::fmt::Debug for Switchboard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Switchboard").field("live", &self.live).finish_non_exhaustive()
    }
}

impl Switchboard {
    /// An empty switchboard; `seed` says where tracking ids start.
    #[must_use]
    pub fn new(settings: Settings, seed: u32) -> Self {
        let candidates = Candidates::new(settings.max_candidates);
        Self {
            settings,
            calls: Vec::new(),
            free: BTreeSet::new(),
            by_id: HashMap::default(),
            endpoints: Endpoints::default(),
            flows: Flows::default(),
            candidates,
            tails: Tails::default(),
            ids: TrackingIds::new(seed),
            next_tape: 1,
            outputs: VecDeque::new(),
            pool: Vec::new(),
            now: Timestamp::default(),
            next_sweep: Timestamp::default(),
            looks: Vec::new(),
            counters: Counters::default(),
            live: 0,
            queue: Queue::default(),
            links: Links::default(),
            leg_tapes: HashMap::default(),
            decoders: Arc::new(BuiltIn),
            letter_bytes: 0,
            prompt: Prompt::default(),
            early_bytes: 0,
            recent_bytes: 0,
            plain: Vec::new(),
            touched: None,
        }
    }

    /// Lets `decoders` say what can be decoded, instead of our own alone.
    pub fn set_decoders(&mut self, decoders: Arc<dyn DecoderSource>) {
        self.decoders = decoders;
    }

    /// What was counted so far.
    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Calls in the table.
    #[must_use]
    pub const fn calls_live(&self) -> usize {
        self.live
    }

    /// Media flows bound to calls.
    #[must_use]
    pub fn flows_live(&self) -> usize {
        self.flows.len()
    }

    /// Passes something on to the operator, in its turn.
    pub(crate) fn notice(&mut self, notice: crate::tls::Notice) {
        self.outputs.push_back(Output::Noticed(notice));
    }

    /// Addresses announced by calls.
    #[must_use]
    pub fn endpoints_live(&self) -> usize {
        self.endpoints.len()
    }

    /// Flows watched that nobody announced.
    #[must_use]
    pub fn candidates_live(&self) -> usize {
        self.candidates.len()
    }

    /// The next thing to do.
    #[must_use]
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Gives an emptied block back for reuse.
    pub fn recycle(&mut self, mut bytes: Vec<u8>) {
        if self.pool.len() < POOL {
            bytes.clear();
            self.pool.push(bytes);
        }
    }

    pub(super) fn empty_block(&mut self) -> Vec<u8> {
        self.pool.pop().unwrap_or_else(|| Vec::with_capacity(BLOCK_BYTES))
    }

    /// Lets time pass: hands over audio, ends what is over.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        self.pass_time(now);
        self.hand_over_prompt(self.now);
    }

    /// Time of a packet or a tick; the rest happens only now and then.
    #[inline]
    pub(super) fn pass_time(&mut self, now: Timestamp) {
        if now >= self.now {
            self.now = now;
        } else {
            self.time_went_back(now);
        }
        if self.now >= self.next_sweep {
            self.sweep();
        }
        self.touched = None;
    }

    /// After a fault of the program while something was taken in: the call that was being looked at is given up,
    /// and its tape ends here, damaged. False when it was none.
    pub fn give_up(&mut self) -> bool {
        self.counters.faults += 1;
        let Some(slot) = self.touched.take().filter(|slot| self.call(*slot).is_some()) else {
            return false;
        };
        self.counters.calls_broken += 1;
        if let Some(recording) = self.call_mut(slot).and_then(|call| call.recording.as_mut()) {
            let why = "a fault of the recorder ended it";
            recording.tags.insert("damaged".to_owned(), why.to_owned());
        }
        self.end_call(slot, EndReason::Broken);
        true
    }

    /// A filter leaves a call out from now on.
    pub(super) fn ignore(&mut self, slot: CallSlot, why: Ignored) {
        let now = self.now;
        let Some(call) = self.call_mut(slot) else { return };
        if call.ignored.is_none() {
            call.tell(now, || format!("left out: {why}"));
            call.ignored = Some(why);
            self.counters.calls_ignored += 1;
        }
    }

    /// Flows that look like RTP and belong to no call, oldest first: for the operator.
    #[must_use]
    pub fn strays(&self) -> Vec<Stray> {
        self.candidates.strays()
    }

    /// Ends everything: the process stops or the capture is over.
    pub fn finish(&mut self, now: Timestamp, why: EndReason) {
        self.pass_time(now);
        for index in 0..self.calls.len() {
            if let Ok(slot) = CallSlot::try_from(index) {
                self.touched = Some(slot);
                let hung_up = self
                    .call(slot)
                    .is_some_and(|call| matches!(call.dialog.progress, Progress::Ended { .. }));
                self.end_call(slot, if hung_up { EndReason::HungUp } else { why });
            }
        }
    }

    /// When [`Self::handle_timeout`] should be called at the latest.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        (self.live > 0).then_some(self.next_sweep)
    }

    pub(super) fn call(&self, slot: CallSlot) -> Option<&Call> {
        self.calls.get(slot as usize)?.as_ref()
    }

    pub(super) fn call_mut(&mut self, slot: CallSlot) -> Option<&mut Call> {
        self.calls.get_mut(slot as usize)?.as_mut()
    }
}
