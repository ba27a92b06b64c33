//! Routes signals, media and commands to calls; owns the calls and every index to them.
//!
//! Law: it never sees a protocol's text, never reads a clock and never blocks. Media is handled in
//! `media`; here are signalling, commands, time, and the life of calls.

use super::{
    candidates::Candidates,
    command::{Command, Quality, Reply, Target},
    dialog::{Dialog, Progress},
    index::{CallSlot, EndpointOwner, Endpoints, Flows},
    output::{Closing, EndReason, Opening, Output, TapeId},
    party::Side,
    policy::{decide, decide_bare},
    recording::Recording,
    session::{Call, Wanted},
    settings::Settings,
    stream::Meaning,
};
use crate::{
    audio::{
        block::BLOCK_BYTES,
        codec::{BuiltIn, DecoderSource},
        kinds::{Kind, kind},
    },
    ids::{OrkUid, TrackingIds},
    message::tape::{KeepSide, Stage},
    rtp::timeline::{TICKS_PER_SEC, millis_from_ticks, ticks_from_nanos},
    signal::{Fact, Media, Signal},
    time::Timestamp,
};
use foldhash::fast::RandomState;
use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    net::SocketAddr,
    sync::Arc,
};

/// Calls are looked over this often, in milliseconds of packet time.
const SWEEP_MS: u64 = 100;
/// A call that failed, or ended, is remembered this long: its last packets must not look like news.
const LINGER_MS: u64 = 5_000;
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
    /// RTP packets while the recording was paused.
    pub rtp_paused: u64,
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
    /// Times the capture clock was set back.
    pub clock_set_back: u64,
    /// Announced addresses beyond the bound of a call.
    pub endpoints_refused: u64,
    /// UDP datagrams that are neither signalling nor media.
    pub other_datagrams: u64,
}

/// All calls on the wire.
pub struct Switchboard {
    pub(super) settings: Settings,
    pub(super) calls: Vec<Option<Call>>,
    free: Vec<CallSlot>,
    by_id: HashMap<String, CallSlot, RandomState>,
    pub(super) endpoints: Endpoints,
    pub(super) flows: Flows,
    pub(super) candidates: Candidates,
    ids: TrackingIds,
    next_tape: u64,
    pub(super) outputs: VecDeque<Output>,
    pool: Vec<Vec<u8>>,
    pub(super) now: Timestamp,
    pub(super) next_sweep: Timestamp,
    pub(super) counters: Counters,
    live: usize,
    pub(super) decoders: Arc<dyn DecoderSource>,
    /// Room for a decrypted payload.
    pub(super) plain: Vec<u8>,
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
            free: Vec::new(),
            by_id: HashMap::default(),
            endpoints: Endpoints::default(),
            flows: Flows::default(),
            candidates,
            ids: TrackingIds::new(seed),
            next_tape: 1,
            outputs: VecDeque::new(),
            pool: Vec::new(),
            now: Timestamp::default(),
            next_sweep: Timestamp::default(),
            counters: Counters::default(),
            live: 0,
            decoders: Arc::new(BuiltIn),
            plain: Vec::new(),
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

    /// Takes in a fact that signalling stated.
    pub fn handle_signal(&mut self, at: Timestamp, signal: &Signal) {
        self.pass_time(at);
        let Some(slot) = self.call_for(at, signal) else { return };
        let Some(call) = self.call_mut(slot) else { return };
        match &signal.fact {
            Fact::Offered(offer) => {
                let named = call.dialog.offered(at, signal, offer);
                if named && call.recording.is_some() {
                    self.rename(slot);
                }
                self.media_stated(at, slot, signal, offer.media.as_deref());
            }
            Fact::Accepted { code, media } => {
                if call.dialog.accepted(at, *code) {
                    self.counters.calls_answered += 1;
                }
                self.media_stated(at, slot, signal, media.as_deref());
            }
            Fact::MediaStated(media) => self.media_stated(at, slot, signal, Some(media)),
            Fact::Refused { code: 401 | 407 } => call.dialog.last_signal = at,
            Fact::Refused { code } => {
                let before = call.dialog.progress;
                call.dialog.refused(at, *code);
                self.counters.calls_failed += u64::from(before == Progress::Offered);
            }
            Fact::Cancelled => {
                let before = call.dialog.progress;
                call.dialog.refused(at, 487);
                self.counters.calls_failed += u64::from(before == Progress::Offered);
            }
            Fact::Ended => call.dialog.ended(at),
            Fact::Digit { digit, number } => self.handle_digit(at, slot, signal, digit, *number),
            Fact::Transferred { target, .. } => {
                if let Some(recording) = call.recording.as_mut() {
                    recording.tags.insert("transfer".to_owned(), target.clone());
                }
            }
        }
    }

    /// The call a signal is about; begins one when the signal can begin one.
    fn call_for(&mut self, at: Timestamp, signal: &Signal) -> Option<CallSlot> {
        let begins = match &signal.fact {
            Fact::Offered(_) => true,
            // An answer seen without its proposal still tells of a call, if it carries media.
            Fact::Accepted { media, .. } => media.is_some(),
            Fact::MediaStated(_)
            | Fact::Refused { .. }
            | Fact::Cancelled
            | Fact::Ended
            | Fact::Digit { .. }
            | Fact::Transferred { .. } => false,
        };
        if let Some(slot) = self.by_id.get(&signal.call).copied() {
            let over = self
                .call(slot)
                .is_some_and(|call| matches!(call.dialog.progress, Progress::Ended { .. }));
            let again = matches!(&signal.fact, Fact::Offered(offer) if offer.initial);
            if !(over && again) {
                return Some(slot);
            }
            self.end_call(slot, EndReason::HungUp);
        }
        if !begins {
            return None;
        }
        let mut dialog = Dialog::begin(at, signal);
        dialog.last_signal = at;
        let slot = self.admit(dialog)?;
        self.by_id.insert(signal.call.clone(), slot);
        self.counters.calls_signalled += 1;
        Some(slot)
    }

    /// Gives a dialog a slot; makes room when the table is full.
    pub(super) fn admit(&mut self, dialog: Dialog) -> Option<CallSlot> {
        if self.live >= self.settings.max_calls {
            self.evict()?;
        }
        let wanted = if self.settings.record_all { Wanted::Yes } else { Wanted::WhenAsked };
        let call = Call::new(dialog, wanted);
        self.live += 1;
        if let Some(slot) = self.free.pop() {
            if let Some(place) = self.calls.get_mut(slot as usize) {
                *place = Some(call);
            }
            return Some(slot);
        }
        let slot = CallSlot::try_from(self.calls.len()).ok()?;
        self.calls.push(Some(call));
        Some(slot)
    }

    /// Forgets the call without media that has been silent longest; a call with media is never
    /// given up for one without.
    fn evict(&mut self) -> Option<()> {
        let idle = |(index, call): (usize, &Option<Call>)| {
            let call = call.as_ref().filter(|call| call.recording.is_none())?;
            Some((call.dialog.last_signal, index))
        };
        let (_, index) = self.calls.iter().enumerate().filter_map(idle).min()?;
        self.counters.calls_evicted += 1;
        self.end_call(CallSlot::try_from(index).ok()?, EndReason::Evicted);
        Some(())
    }

    fn media_stated(
        &mut self,
        at: Timestamp,
        slot: CallSlot,
        signal: &Signal,
        media: Option<&[Media]>,
    ) {
        let Some(media) = media else { return };
        let Some(Some(call)) = self.calls.get_mut(slot as usize) else { return };
        let role = call.dialog.role_of(signal);
        let changed = call.dialog.hold(role, media);
        let announced = call.dialog.announce(at, role, media);
        for stream in &mut call.streams {
            // Payload types may mean something else from here on.
            stream.payload_type = u8::MAX;
        }
        if changed
            && let Some(recording) = &call.recording
            && self.settings.hold_messages
        {
            let stage = if call.dialog.held_by.is_some() { Stage::Hold } else { Stage::Resume };
            call.holds += u32::from(stage == Stage::Hold);
            let mut message = recording.message(stage, &self.settings.host, &call.dialog.call_id);
            // Two holds of one call must not look like one message sent twice.
            message.tags.insert("holdnumber".to_owned(), call.holds.to_string());
            self.outputs.push_back(Output::Told(Box::new(message)));
        }
        self.counters.endpoints_refused += announced.refused;
        for old in announced.dropped {
            self.endpoints.forget(old, slot);
        }
        for new in announced.fresh {
            self.take_over(new.address, slot);
            let owner = EndpointOwner { call: slot, role: new.role, audio: new.audio };
            self.endpoints.announce(new.address, owner);
            self.adopt_candidates(new.address);
        }
    }

    /// An address that an ended call used belongs to the new call at once.
    fn take_over(&mut self, address: SocketAddr, slot: CallSlot) {
        let ended: Vec<CallSlot> = self
            .endpoints
            .owners(address)
            .iter()
            .map(|owner| owner.call)
            .filter(|owner| *owner != slot)
            .filter(|owner| {
                self.call(*owner).is_some_and(|call| match call.dialog.progress {
                    Progress::Ended { .. } | Progress::Failing { .. } => true,
                    Progress::Offered | Progress::Answered { .. } => !call.dialog.is_signalled(),
                })
            })
            .collect();
        for old in ended {
            self.end_call(old, EndReason::HungUp);
        }
    }

    /// The people were named after the tape began: say so, and let the tape have the names.
    fn rename(&mut self, slot: CallSlot) {
        let Some(call) = self.calls.get_mut(slot as usize).and_then(Option::as_mut) else { return };
        let parties = decide(&self.settings.parties, &call.dialog.people);
        let Some(recording) = call.recording.as_mut() else { return };
        // Channels are laid out already: the local role stays.
        if parties.local_role == recording.parties.local_role {
            recording.parties = parties;
            let message =
                recording.message(Stage::Update, &self.settings.host, &call.dialog.call_id);
            self.outputs.push_back(Output::Told(Box::new(message)));
        }
    }

    /// Applies an operator's request.
    #[must_use]
    pub fn handle_command(&mut self, now: Timestamp, command: &Command) -> Reply {
        self.pass_time(now);
        let (Command::Record(target, _) | Command::Pause(target) | Command::Stop(target)) = command;
        let Some(slot) = self.find(target) else { return Reply::default() };
        let Some(call) = self.calls.get_mut(slot as usize).and_then(Option::as_mut) else {
            return Reply::default();
        };
        let reply = Reply {
            matched: 1,
            orkuid: call.recording.as_ref().map(|recording| recording.orkuid.clone()),
            quality: quality(call),
        };
        match command {
            Command::Record(_, keep) => {
                call.wanted = Wanted::Yes;
                call.ondemand = true;
                for stream in &mut call.streams {
                    stream.anew = true;
                }
                if let Some(recording) = call.recording.as_mut() {
                    recording.paused = false;
                    recording.ondemand = true;
                    recording.keep = *keep;
                    recording.tags.insert("ondemand".to_owned(), "true".to_owned());
                    let message =
                        recording.message(Stage::Update, &self.settings.host, &call.dialog.call_id);
                    self.outputs.push_back(Output::Told(Box::new(message)));
                }
            }
            Command::Pause(_) => {
                if let Some(recording) = call.recording.as_mut() {
                    recording.paused = true;
                }
            }
            Command::Stop(_) => {
                call.wanted = Wanted::Stopped;
                self.close_recording(slot, EndReason::Stopped);
            }
        }
        reply
    }

    /// The newest call that matches.
    fn find(&self, target: &Target) -> Option<CallSlot> {
        let newest = |fits: &dyn Fn(&Call) -> bool| {
            let fit = |(index, call): (usize, &Option<Call>)| {
                let call = call.as_ref().filter(|call| fits(call))?;
                let begun = call.recording.as_ref().map(|r| r.start);
                Some(((begun, call.dialog.last_signal, index), CallSlot::try_from(index).ok()?))
            };
            self.calls.iter().enumerate().filter_map(fit).max().map(|(_, slot)| slot)
        };
        match target {
            Target::NativeCallId(id) => self.by_id.get(id).copied(),
            Target::OrkUid(uid) => {
                newest(&|call| call.recording.as_ref().is_some_and(|r| r.orkuid == *uid))
            }
            Target::Party(party) => newest(&|call| {
                let over = matches!(
                    call.dialog.progress,
                    Progress::Ended { .. } | Progress::Failing { .. }
                );
                let people = &call.dialog.people;
                match &call.recording {
                    Some(r) => [&r.parties.local, &r.parties.remote].contains(&party),
                    None => !over && [&people.from.user, &people.to.user].contains(&party),
                }
            }),
        }
    }

    /// Lets time pass: hands over audio, ends what is over.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        self.pass_time(now);
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
    }

    fn sweep(&mut self) {
        let now = self.now;
        self.next_sweep = now.plus_millis(SWEEP_MS);
        for index in 0..self.calls.len() {
            let Ok(slot) = CallSlot::try_from(index) else { return };
            let Some(call) = self.call(slot) else { continue };
            match verdict(call, now, &self.settings) {
                Verdict::GoOn => {}
                Verdict::HandOver => self.hand_over(slot),
                Verdict::CloseTape(why) => self.close_recording(slot, why),
                Verdict::EndCall(why) => self.end_call(slot, why),
            }
        }
    }

    /// Ends everything: the process stops or the capture is over.
    pub fn finish(&mut self, now: Timestamp, why: EndReason) {
        self.pass_time(now);
        for index in 0..self.calls.len() {
            if let Ok(slot) = CallSlot::try_from(index) {
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

    /// Begins a tape; the stream `role` sent the packet that begins it at `tick`.
    pub(super) fn open_recording(&mut self, slot: CallSlot, at: Timestamp, tick: i64) {
        let bytes = self.empty_block();
        let tracking_id = self.ids.next_id();
        let tape = TapeId(self.next_tape);
        self.next_tape += 1;
        let Some(call) = self.calls.get_mut(slot as usize).and_then(Option::as_mut) else { return };
        let people = &call.dialog.people;
        let parties = if call.dialog.is_signalled() {
            decide(&self.settings.parties, people)
        } else {
            decide_bare(&self.settings.parties, people.source, people.destination)
        };
        let rate = self.settings.tape_rate.unwrap_or_else(|| native_rate(call));
        let orkuid = OrkUid::new(at, &self.settings.zone, tracking_id);
        let facts = super::naming::NameFacts {
            orkuid: &orkuid,
            tracking_id: tracking_id.as_str(),
            native_call_id: &call.dialog.call_id,
            parties: &parties,
            hostname: &self.settings.host.hostname,
            start: at,
        };
        let path = self.settings.naming.path(&facts, &self.settings.zone);
        let mut tags: BTreeMap<String, String> = BTreeMap::new();
        for (name, value) in &people.headers {
            if self.settings.tag_headers.iter().any(|tag| tag.eq_ignore_ascii_case(name)) {
                tags.insert(name.clone(), value.clone());
            }
        }
        if call.ondemand {
            tags.insert("ondemand".to_owned(), "true".to_owned());
        }
        let recording = Recording {
            tape,
            tracking_id,
            orkuid: orkuid.clone(),
            path: path.clone(),
            start: at,
            start_tick: tick,
            end_tick: tick,
            paused: false,
            keep: KeepSide::Both,
            ondemand: call.ondemand,
            parties,
            tags,
            digits: Vec::new(),
            legs: 0,
            bytes,
            news: Vec::new(),
            block_since: tick,
        };
        let message = recording.message(Stage::Start, &self.settings.host, &call.dialog.call_id);
        call.recording = Some(recording);
        self.counters.tapes_opened += 1;
        let opening = Opening { tape, orkuid, start: at, path, rate, message: message.clone() };
        self.outputs.push_back(Output::Opened(Box::new(opening)));
        self.outputs.push_back(Output::Told(Box::new(message)));
    }

    /// Hands the gathered audio of a call over.
    pub(super) fn hand_over(&mut self, slot: CallSlot) {
        let empty = self.empty_block();
        let now = self.now;
        let Some(call) = self.call_mut(slot) else { return };
        let tick = ticks_from_nanos(now.nanos_since(call.epoch.unwrap_or(now)));
        let Some(recording) = call.recording.as_mut() else { return };
        let block = recording.take_block(tick, empty);
        recording.block_since = tick;
        self.outputs.push_back(Output::Audio(block));
    }

    /// Ends the tape of a call, if it has one; the streams begin anew with the next.
    pub(super) fn close_recording(&mut self, slot: CallSlot, why: EndReason) {
        if self.call(slot).is_none_or(|call| call.recording.is_none()) {
            return;
        }
        self.hand_over(slot);
        let Some(call) = self.calls.get_mut(slot as usize).and_then(Option::as_mut) else { return };
        let Some(mut recording) = call.recording.take() else { return };
        let local_role = recording.parties.local_role;
        let side = |role| if role == local_role { Side::Local } else { Side::Remote };
        let legs: Vec<_> = call
            .streams
            .iter()
            .filter(|stream| stream.introduced == recording.tape)
            .map(|stream| stream.report(side(stream.role)))
            .collect();
        super::report::add_quality(&mut recording.tags, &legs);
        let ticks = recording.end_tick - recording.start_tick;
        let mut message = recording.message(Stage::Stop, &self.settings.host, &call.dialog.call_id);
        message.duration = u64::try_from(ticks / TICKS_PER_SEC).unwrap_or(0);
        self.outputs.push_back(Output::Told(Box::new(message.clone())));
        self.outputs.push_back(Output::Closed(Box::new(Closing {
            tape: recording.tape,
            why,
            start: recording.start,
            duration_ms: millis_from_ticks(ticks),
            legs,
            digits: recording.digits,
            message,
        })));
        self.counters.tapes_closed += 1;
        call_over(call);
        let flows = std::mem::take(&mut call.flows);
        self.recycle(recording.bytes);
        for flow in flows {
            self.flows.unbind(flow, slot);
        }
    }

    /// Forgets a call with all that points to it.
    pub(super) fn end_call(&mut self, slot: CallSlot, why: EndReason) {
        self.close_recording(slot, why);
        let Some(call) = self.calls.get_mut(slot as usize).and_then(Option::take) else { return };
        for flow in &call.flows {
            self.flows.unbind(*flow, slot);
        }
        for announced in &call.dialog.announced {
            self.endpoints.forget(announced.address, slot);
        }
        if self.by_id.get(&call.dialog.call_id) == Some(&slot) {
            self.by_id.remove(&call.dialog.call_id);
        }
        self.free.push(slot);
        self.live -= 1;
    }
}

/// Samples a second that keep the widest voice of a call: of the streams heard so far, and of what
/// the callee chose.
fn native_rate(call: &Call) -> u32 {
    let heard = call.streams.iter().filter_map(|stream| match stream.meaning {
        Meaning::Audio { format, .. } => Some(format.sample_rate()),
        Meaning::Unknown | Meaning::Undecodable | Meaning::Event | Meaning::Foreign => None,
    });
    let chosen = match kind(call.dialog.chosen()) {
        Kind::Audio(codec) => Some(codec.sample_rate()),
        Kind::Event | Kind::Unknown => None,
    };
    let widest = heard.chain(chosen).max().unwrap_or(8_000);
    // Odd rates (11,025 and the like) are converted up to the next common one.
    [8_000, 16_000, 24_000, 32_000, 48_000]
        .into_iter()
        .find(|rate| *rate >= widest)
        .unwrap_or(48_000)
}

/// The streams of a tape that is over are of no further use.
fn call_over(call: &mut Call) {
    call.streams.clear();
    call.active = [None, None];
}

enum Verdict {
    GoOn,
    HandOver,
    CloseTape(EndReason),
    EndCall(EndReason),
}

/// What time has made of a call.
fn verdict(call: &Call, now: Timestamp, settings: &Settings) -> Verdict {
    let silent_ms = now.millis_since(call.last_media);
    let unsaid_ms = now.millis_since(call.dialog.last_signal);
    match (call.dialog.progress, &call.recording) {
        (Progress::Ended { at }, Some(_)) if now.millis_since(at) >= settings.bye_grace_ms => {
            return Verdict::CloseTape(EndReason::HungUp);
        }
        (Progress::Failing { since, .. }, Some(_)) if now.millis_since(since) >= LINGER_MS => {
            return Verdict::CloseTape(EndReason::HungUp);
        }
        (Progress::Ended { at: over } | Progress::Failing { since: over, .. }, None)
            if now.millis_since(over) >= LINGER_MS =>
        {
            return Verdict::EndCall(EndReason::HungUp);
        }
        (_, Some(recording)) => {
            let limit = if call.dialog.held_by.is_some() {
                settings.hold_timeout_ms
            } else {
                settings.rtp_timeout_ms
            };
            if silent_ms >= limit {
                return if call.dialog.is_signalled() {
                    Verdict::CloseTape(EndReason::Silent)
                } else {
                    Verdict::EndCall(EndReason::Silent)
                };
            }
            let gathered = call.epoch.map_or(0, |epoch| {
                ticks_from_nanos(now.nanos_since(epoch)) - recording.block_since
            });
            let due = millis_from_ticks(gathered) >= settings.block_ms;
            if due && !(recording.bytes.is_empty() && recording.news.is_empty()) {
                return Verdict::HandOver;
            }
        }
        (Progress::Offered, None) if unsaid_ms >= settings.setup_timeout_ms => {
            return Verdict::EndCall(EndReason::Silent);
        }
        (Progress::Answered { .. }, None)
            if unsaid_ms >= settings.dialog_timeout_ms
                && silent_ms >= settings.dialog_timeout_ms =>
        {
            return Verdict::EndCall(EndReason::Silent);
        }
        (
            Progress::Offered
            | Progress::Answered { .. }
            | Progress::Ended { .. }
            | Progress::Failing { .. },
            None,
        ) => {}
    }
    Verdict::GoOn
}

fn quality(call: &Call) -> Quality {
    let mut quality = Quality::default();
    for stream in &call.streams {
        quality.packets += stream.sequence.received();
        quality.missing += stream.sequence.lost();
        quality.gaps += stream.gaps;
        quality.longest_gap = quality.longest_gap.max(stream.longest_gap);
    }
    quality
}
