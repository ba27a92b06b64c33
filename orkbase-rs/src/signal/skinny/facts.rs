//! From Skinny messages to the facts they state.
//!
//! Law: a phone is one connection to a call manager, and what it was told last stands: a message that
//! names no call is about the newest. Every call of every phone has its own number, so a call between
//! two phones is told twice; the call core lets one of the two have the media.
//!
//! Roles: the phone is the caller of an outbound call and the callee of an inbound one; whoever it
//! talks with is the other, and the call manager speaks for it.

use super::{
    media::media,
    message::{CallInfo, CallState, CallType, Channel, Message, Party},
};
use crate::signal::{Fact, Media, Name, Offer, Remarks, Signal, Speaker};
use foldhash::fast::RandomState;
use std::{collections::HashMap, net::SocketAddr};

/// Phones known at once: as many as TCP directions are read.
const MAX_PHONES: usize = 16_384;
/// Calls remembered of a phone; the oldest is forgotten. Shared lines have a dozen.
const MAX_CALLS: usize = 32;
/// Lines of a phone whose numbers are remembered: the largest has 42 and side cars.
const MAX_LINES: usize = 128;
/// What the caller of every call is known by.
const CALLER: &str = "caller";

/// Every phone whose connection is seen.
#[derive(Debug, Default)]
pub struct Phones(HashMap<Connection, Phone, RandomState>);

/// A phone and its call manager.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
struct Connection {
    phone: SocketAddr,
    manager: SocketAddr,
}

#[derive(Debug, Default)]
struct Phone {
    /// Numbers of its lines.
    lines: Vec<(u32, String)>,
    /// Its calls, newest last.
    calls: Vec<Call>,
}

#[derive(Debug, Default)]
struct Call {
    id: u32,
    /// Which end the phone is, once known; never changed after media was stated.
    phone: Option<End>,
    from: Name,
    to: Name,
    request: Name,
    /// What was said is enough for a call to exist.
    stated: bool,
    /// The people were stated.
    offered: bool,
    connected: bool,
    held: bool,
    over: bool,
    /// Cisco's number of the codec.
    codec: u32,
    /// Where the phone listens.
    address: Option<SocketAddr>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum End {
    Caller,
    Callee,
}

impl Phones {
    /// Phones known now.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// No phone is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The fact a message states about a call, if any; `source` sent it to `destination`.
    pub fn read(
        &mut self,
        message: &Message,
        source: SocketAddr,
        destination: SocketAddr,
    ) -> Option<Signal> {
        let connection = if message.is_from_phone() {
            Connection { phone: source, manager: destination }
        } else {
            Connection { phone: destination, manager: source }
        };
        if !self.0.contains_key(&connection) && self.0.len() >= MAX_PHONES {
            return None;
        }
        let phone = self.0.entry(connection).or_default();
        match message {
            Message::CallInfo(told) => phone.told_people(connection, told),
            Message::CallState { state, call, .. } => phone.told_state(connection, *state, *call),
            Message::LineStat { line, number } => {
                phone.name_line(*line, number);
                None
            }
            Message::SoftKeyEvent { call } => {
                phone.renew(*call);
                None
            }
            Message::OpenReceiveChannel { channel } => {
                let call = phone.call_of(channel)?;
                call.codec = channel.codec;
                None
            }
            Message::OpenReceiveChannelAck { call, address } => {
                let call = phone.call_or_begin(*call)?;
                (call.address, call.held) = (Some(*address), false);
                let media = media(Some(*address), call.codec, false);
                Some(call.state_media(connection, true, media))
            }
            Message::StartMediaTransmission { channel, address, encrypted } => {
                let call = phone.call_of(channel)?;
                call.codec = channel.codec;
                let media = media(Some(*address), channel.codec, *encrypted);
                Some(call.state_media(connection, false, media))
            }
            Message::MediaClosed => None,
        }
    }

    /// The connection between the two is gone, whichever of them is the phone.
    pub fn forget(&mut self, one: SocketAddr, other: SocketAddr) {
        self.0.remove(&Connection { phone: one, manager: other });
        self.0.remove(&Connection { phone: other, manager: one });
    }
}

impl Phone {
    fn name_line(&mut self, line: u32, number: &str) {
        if let Some(known) = self.lines.iter_mut().find(|known| known.0 == line) {
            number.clone_into(&mut known.1);
        } else if self.lines.len() < MAX_LINES {
            self.lines.push((line, number.to_owned()));
        }
    }

    /// The number of a line, if it was told.
    fn line(&self, line: u32) -> Option<String> {
        self.lines.iter().find(|known| known.0 == line).map(|known| known.1.clone())
    }

    /// Makes a known call the newest.
    fn renew(&mut self, id: u32) -> Option<&mut Call> {
        let index = self.calls.iter().position(|call| call.id == id)?;
        let call = self.calls.remove(index);
        self.calls.push(call);
        self.calls.last_mut()
    }

    /// A new call, which is the newest.
    fn begin(&mut self, id: u32) -> Option<&mut Call> {
        if self.calls.len() >= MAX_CALLS {
            self.calls.remove(0);
        }
        self.calls.push(Call { id, ..Call::default() });
        self.calls.last_mut()
    }

    fn newest(&mut self) -> Option<&mut Call> {
        self.calls.iter_mut().rev().find(|call| !call.over)
    }

    /// The call with that number; one that was under way before we listened is begun; the newest
    /// when no number was told.
    fn call_or_begin(&mut self, id: u32) -> Option<&mut Call> {
        if id == 0 {
            return self.newest();
        }
        if self.calls.iter().any(|call| call.id == id) {
            return self.calls.iter_mut().find(|call| call.id == id && !call.over);
        }
        let call = self.begin(id)?;
        call.connected = true;
        Some(call)
    }

    /// The call that a channel serves; `None` for the copy that a phone sends to a recorder, which is
    /// in the conference of a call but not of it.
    fn call_of(&mut self, channel: &Channel) -> Option<&mut Call> {
        let Channel { conference, call, modern, .. } = *channel;
        let known = |id: u32| self.calls.iter().position(|known| known.id == id && id != 0);
        match (known(call), known(conference)) {
            (Some(index), _) => self.calls.get_mut(index).filter(|call| !call.over),
            (None, Some(_)) if modern && call != 0 => None,
            (None, Some(index)) => self.calls.get_mut(index).filter(|call| !call.over),
            // Under way before we listened; a copy would name another call than its conference.
            (None, None) if modern && call == conference => self.call_or_begin(call),
            (None, None) if modern => None,
            (None, None) => self.newest(),
        }
    }

    fn told_people(&mut self, connection: Connection, told: &CallInfo) -> Option<Signal> {
        if told.call == 0 {
            return None;
        }
        let own = self.line(told.line);
        let known = self.calls.iter().any(|call| call.id == told.call);
        let call = if known { self.renew(told.call)? } else { self.begin(told.call)? };
        if call.over {
            return None;
        }
        let end = match told.kind {
            CallType::Inbound | CallType::Forwarded => Some(End::Callee),
            CallType::Outbound => Some(End::Caller),
            CallType::Unknown => own.as_ref().and_then(|own| {
                let is = |party: &Party| party.number == *own;
                is(&told.calling)
                    .then_some(End::Caller)
                    .or_else(|| is(&told.called).then_some(End::Callee))
            }),
        };
        if !call.stated {
            call.phone = end.or(call.phone);
        }
        let (mut calling, mut called) = (told.calling.clone(), told.called.clone());
        // A phone always knows its own number.
        let own_party = if end == Some(End::Callee) { &mut called } else { &mut calling };
        if own_party.number.is_empty() {
            own_party.number = own.unwrap_or_default();
        }
        if called.number.is_empty() {
            // Not dialled yet.
            return None;
        }
        // Joined late, with the wrong guess of who called: what counts is whose voice is whose.
        if end.is_some_and(|end| end != call.end()) {
            (calling, called) = (called, calling);
        }
        let before = (call.from.clone(), call.to.clone(), call.request.clone());
        call.from = name(&calling);
        (call.to, call.request) = match call.end() {
            End::Caller => (name(&called), Name::default()),
            End::Callee => addressed(&called, &told.original),
        };
        if call.offered && before == (call.from.clone(), call.to.clone(), call.request.clone()) {
            return None;
        }
        let initial = !call.stated;
        (call.stated, call.offered) = (true, true);
        let offer = Offer { initial, request: call.request.clone(), ..Offer::default() };
        let by_phone = call.end() == End::Caller;
        Some(call.signal(connection, by_phone, Fact::Offered(Box::new(offer))))
    }

    fn told_state(&mut self, connection: Connection, state: CallState, id: u32) -> Option<Signal> {
        let known = self.calls.iter().any(|call| call.id == id);
        let begins = match state {
            CallState::OffHook | CallState::RingOut | CallState::RingIn | CallState::Proceed => {
                // A number that is used again is another call.
                self.calls.retain(|call| !(call.id == id && call.over));
                true
            }
            CallState::Connected | CallState::Hold => !known,
            CallState::OnHook | CallState::Other(_) => false,
        };
        if id == 0 {
            return None;
        }
        let known = self.calls.iter().any(|call| call.id == id);
        let call = match (known, begins) {
            (true, _) => self.renew(id)?,
            (false, true) => self.begin(id)?,
            (false, false) => return None,
        };
        if call.over {
            return None;
        }
        let fact = match state {
            CallState::RingIn | CallState::RingOut => {
                let end = if state == CallState::RingIn { End::Callee } else { End::Caller };
                call.phone.get_or_insert(end);
                Fact::Accepted { code: 180, media: None }
            }
            CallState::Connected => {
                call.connected = true;
                let resumed = std::mem::take(&mut call.held);
                let again = call.address.filter(|_| resumed);
                let media = again.map(|at| vec![media(Some(at), call.codec, false)]);
                Fact::Accepted { code: 200, media }
            }
            CallState::Hold => {
                call.held = true;
                Fact::MediaStated(vec![media(None, call.codec, false)])
            }
            CallState::OnHook => {
                call.over = true;
                Fact::Ended
            }
            CallState::OffHook | CallState::Proceed | CallState::Other(_) => return None,
        };
        call.stated.then(|| call.signal(connection, true, fact))
    }
}

impl Call {
    /// Which end the phone is; the caller while nobody said.
    fn end(&self) -> End {
        self.phone.unwrap_or(End::Caller)
    }

    /// Media of the phone, or of the other; begins the call if nothing has.
    fn state_media(&mut self, connection: Connection, by_phone: bool, media: Media) -> Signal {
        self.phone.get_or_insert(End::Caller);
        let fact = if std::mem::replace(&mut self.stated, true) {
            Fact::MediaStated(vec![media])
        } else {
            let code = if self.connected { 200 } else { 183 };
            Fact::Accepted { code, media: Some(vec![media]) }
        };
        self.signal(connection, by_phone, fact)
    }

    fn signal(&self, connection: Connection, by_phone: bool, fact: Fact) -> Signal {
        let Connection { phone, manager } = connection;
        let (source, destination) = if by_phone { (phone, manager) } else { (manager, phone) };
        Signal {
            call: format!("{}@{}", self.id, phone.ip()),
            source,
            destination,
            speaker: Speaker {
                opener: CALLER.to_owned(),
                answering: by_phone == (self.end() == End::Callee),
            },
            from: self.from.clone(),
            to: self.to.clone(),
            remarks: Remarks::default(),
            fact,
        }
    }
}

/// `To` and `Request-URI`, as SIP would have them, of a call that reached the phone: the phone is
/// what the network addressed; `To` has another number only when another was dialled. That tells
/// the call core that the phone is the local party.
fn addressed(called: &Party, original: &Party) -> (Name, Name) {
    let dialable = called.number.bytes().all(|b| b.is_ascii_digit() || b"+*#".contains(&b));
    if !dialable {
        return (name(called), Name::default());
    }
    let other = !original.number.is_empty() && original.number != called.number;
    let to = if other { original.number.clone() } else { String::new() };
    (Name { user: to, ..name(called) }, name(called))
}

fn name(party: &Party) -> Name {
    Name { user: party.number.clone(), host: String::new(), display: party.name.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        call::{
            output::{EndReason, Output},
            settings::Settings,
            switchboard::Switchboard,
        },
        time::Timestamp,
    };
    use proptest::prelude::*;

    const PHONE: &str = "10.0.0.5:50000";
    const MANAGER: &str = "10.0.0.1:2000";

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn people(kind: CallType, calling: &str, called: &str, original: &str) -> Message {
        let party = |number: &str| Party { number: number.to_owned(), name: String::new() };
        Message::CallInfo(CallInfo {
            line: 1,
            call: 7,
            kind,
            calling: party(calling),
            called: party(called),
            original: party(original),
        })
    }

    const fn state(state: CallState) -> Message {
        Message::CallState { state, line: 1, call: 7 }
    }

    fn listens(call: u32) -> Message {
        Message::OpenReceiveChannelAck { call, address: at("10.0.0.5:4002") }
    }

    fn sends(conference: u32, call: u32) -> Message {
        Message::StartMediaTransmission {
            channel: Channel { conference, call, codec: 4, modern: true },
            address: at("10.0.0.9:4000"),
            encrypted: false,
        }
    }

    fn read(phones: &mut Phones, message: &Message) -> Option<Signal> {
        let (phone, manager) = (at(PHONE), at(MANAGER));
        if message.is_from_phone() {
            phones.read(message, phone, manager)
        } else {
            phones.read(message, manager, phone)
        }
    }

    /// Who says what of which call, one line a fact.
    fn told(messages: &[Message]) -> Vec<String> {
        let mut phones = Phones::default();
        messages.iter().filter_map(|message| read(&mut phones, message)).map(line).collect()
    }

    fn line(signal: Signal) -> String {
        let who = if signal.speaker.answering { "callee" } else { "caller" };
        let media = |media: &[Media]| match media {
            [one] => {
                let codec = one.formats.first().map_or("?", |format| format.name.as_str());
                format!("{:?}:{} {codec} {:?}", one.address, one.port, one.flow)
            }
            _ => "no media".to_owned(),
        };
        let what = match &signal.fact {
            Fact::Offered(offer) => format!(
                "offers {}>{} at {}{}",
                signal.from.user,
                signal.to.user,
                offer.request.user,
                if offer.initial { "" } else { " again" }
            ),
            Fact::Accepted { code, media: stated } => {
                format!("accepts {code} {}", media(stated.as_deref().unwrap_or_default()))
            }
            Fact::MediaStated(stated) => media(stated),
            Fact::Ended => "ends".to_owned(),
            Fact::Refused { .. }
            | Fact::Cancelled
            | Fact::Digit { .. }
            | Fact::Transferred { .. } => {
                panic!("{signal:?}")
            }
        };
        format!("{} {who} {what}", signal.call)
    }

    #[test]
    fn an_outbound_call_is_offered_once_the_number_is_dialled() {
        let messages = [
            state(CallState::OffHook),
            people(CallType::Outbound, "1001", "", ""),
            people(CallType::Outbound, "1001", "1002", "1002"),
            people(CallType::Outbound, "1001", "1002", "1002"),
            state(CallState::RingOut),
            state(CallState::Connected),
            sends(7, 7),
            listens(7),
            Message::MediaClosed,
            state(CallState::OnHook),
            people(CallType::Outbound, "1001", "1002", "1002"),
        ];
        assert_eq!(
            told(&messages),
            [
                "7@10.0.0.5 caller offers 1001>1002 at ",
                "7@10.0.0.5 caller accepts 180 no media",
                "7@10.0.0.5 caller accepts 200 no media",
                "7@10.0.0.5 callee Some(10.0.0.9):4000 PCMU SendReceive",
                "7@10.0.0.5 caller Some(10.0.0.5):4002 PCMU SendReceive",
                "7@10.0.0.5 caller ends",
            ]
        );
    }

    #[test]
    fn an_inbound_call_is_addressed_to_the_phone() {
        let line = Message::LineStat { line: 1, number: "1002".to_owned() };
        let messages = [
            line,
            state(CallState::RingIn),
            people(CallType::Inbound, "1001", "", ""),
            people(CallType::Inbound, "1001", "1002", "1009"),
            listens(0),
        ];
        assert_eq!(
            told(&messages),
            [
                "7@10.0.0.5 caller offers 1001> at 1002",
                "7@10.0.0.5 caller offers 1001>1009 at 1002 again",
                "7@10.0.0.5 callee Some(10.0.0.5):4002 ? SendReceive",
            ]
        );
    }

    #[test]
    fn hold_is_stated_by_the_phone_and_ends_when_it_listens_again() {
        let messages = [
            people(CallType::Outbound, "1001", "1002", ""),
            listens(7),
            state(CallState::Hold),
            listens(7),
            state(CallState::Hold),
            state(CallState::Connected),
        ];
        assert_eq!(
            told(&messages)[2..],
            [
                "7@10.0.0.5 caller None:0 ? Inactive",
                "7@10.0.0.5 caller Some(10.0.0.5):4002 ? SendReceive",
                "7@10.0.0.5 caller None:0 ? Inactive",
                "7@10.0.0.5 caller accepts 200 Some(10.0.0.5):4002 ? SendReceive",
            ]
        );
    }

    #[test]
    fn a_copy_sent_to_a_recorder_is_not_media_of_the_call() {
        let messages = [people(CallType::Outbound, "1001", "1002", ""), sends(7, 6)];
        assert_eq!(told(&messages), ["7@10.0.0.5 caller offers 1001>1002 at "]);
    }

    #[test]
    fn a_call_that_was_under_way_begins_with_its_media() {
        let messages = [listens(7), sends(7, 7), people(CallType::Inbound, "1002", "1001", "")];
        assert_eq!(
            told(&messages),
            [
                "7@10.0.0.5 caller accepts 200 Some(10.0.0.5):4002 ? SendReceive",
                "7@10.0.0.5 callee Some(10.0.0.9):4000 PCMU SendReceive",
                "7@10.0.0.5 caller offers 1001>1002 at  again",
            ]
        );
    }

    #[test]
    fn the_call_core_records_a_skinny_call() {
        let mut phones = Phones::default();
        let mut board = Switchboard::new(Settings::default(), 0);
        let mut now = Timestamp(1_000_000_000_000);
        let mut say = |board: &mut Switchboard, now, message: &Message| {
            board.handle_signal(now, &read(&mut phones, message).unwrap());
        };
        say(&mut board, now, &people(CallType::Inbound, "1001", "1002", "1009"));
        say(&mut board, now, &listens(7));
        say(&mut board, now, &sends(7, 7));
        for number in 0u16..100 {
            now = now.plus_millis(20);
            let mut rtp = vec![0x80, 0];
            rtp.extend_from_slice(&number.to_be_bytes());
            rtp.extend_from_slice(&(u32::from(number) * 160).to_be_bytes());
            rtp.extend_from_slice(&[0, 0, 0, 1]);
            rtp.resize(172, 0x55);
            let (source, destination) = (at("10.0.0.9:4000"), at("10.0.0.5:4002"));
            if !board.handle_datagram(now, source, destination, &rtp) {
                board.handle_stray(now, source, destination, &rtp);
            }
        }
        say(&mut board, now, &state(CallState::OnHook));
        board.handle_timeout(now.plus_millis(1_000));
        let mut tapes = Vec::new();
        while let Some(output) = board.poll_output() {
            if let Output::Closed(closing) = output {
                tapes.push(closing);
            }
        }
        let [tape] = tapes.as_slice() else { panic!("{tapes:?}") };
        let message = &tape.message;
        assert_eq!(
            [
                message.localparty.as_str(),
                message.remoteparty.as_str(),
                message.localentrypoint.as_str(),
                message.direction.as_str(),
                message.nativecallid.as_str(),
            ],
            ["1002", "1001", "1009", "in", "7@10.0.0.5"]
        );
        assert_eq!((tape.why, tape.duration_ms), (EndReason::HungUp, 2_000));
    }

    proptest! {
        #[test]
        fn any_messages_keep_the_bounds(
            messages in proptest::collection::vec(
                (0u32..0x18, proptest::sample::select(vec![0x22u32, 0x26, 0x8A, 0x8F, 0x92, 0x105, 0x111, 0x14A]),
                 proptest::collection::vec(prop_oneof![Just(0u8), 0u8..9, any::<u8>()], 0..200)),
                0..100,
            ),
        ) {
            let mut phones = Phones::default();
            for (version, kind, body) in messages {
                let bytes = super::super::message::tests::framed(version, kind, &body);
                if let Some(message) = Message::read(&bytes) {
                    read(&mut phones, &message);
                }
                let bounded =
                    |phone: &Phone| phone.calls.len() <= MAX_CALLS && phone.lines.len() <= MAX_LINES;
                prop_assert!(phones.0.values().all(bounded));
            }
        }
    }
}
