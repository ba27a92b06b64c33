//! The whole core: what phones might say and send, what strangers inject, what operators ask, as time
//! goes by; and the laws of what comes out.

use super::{house::House, input::Input};
use crate::generator::law::Codec;
use crate::sip::{Dialog, Message, Offer, Phone};
use crate::wire::{self, RtpHead};
use orkbase::{
    call::{
        command::{Command, PauseAs, Retention, Target},
        keeping::KeepPackets,
        output::EndReason,
        settings::Settings,
    },
    message::tape::KeepSide,
    packet::{Frame, LinkType},
    tap::Tap,
    time::Timestamp,
};
use std::{
    hash::{Hash, Hasher},
    net::SocketAddr,
};

/// Bounds small enough to be reached by small inputs.
const MAX_CALLS: usize = 3;
const MAX_FLOWS: usize = 6;
const MAX_CANDIDATES: usize = 4;
/// Bytes remembered of calls that nobody asked for.
const PRERECORD: usize = 20_000;
/// Things that happen in one run.
const MAX_STEPS: usize = 400;

/// Input: what happens, step by step. Twice the same gives twice the same.
pub(super) fn core(data: &[u8]) {
    let first = play(data);
    assert_eq!(first, play(data), "the same frames gave something else");
}

/// Plays an input; what came out, as one number.
fn play(data: &[u8]) -> u64 {
    let mut input = Input::new(data);
    let flags = input.byte();
    let settings = Settings {
        record_all: flags & 1 == 0,
        unannounced_after: u32::from(flags >> 1 & 3) * 3,
        block_ms: if flags & 8 == 0 { 700 } else { 100 },
        tape_rate: (flags & 16 != 0).then_some(16_000),
        tag_headers: vec!["X-Id".to_owned()],
        max_calls: MAX_CALLS,
        max_flows: MAX_FLOWS,
        max_candidates: MAX_CANDIDATES,
        dialog_timeout_ms: 600_000,
        prerecord_ms: if flags & 2 == 0 { 0 } else { 2_000 },
        prerecord_max_bytes: PRERECORD,
        pause: if flags & 4 == 0 { PauseAs::Silence } else { PauseAs::Gap },
        pause_limit_ms: if flags & 8 == 0 { 0 } else { 1_500 },
        keep_packets: if flags & 64 == 0 { KeepPackets::Undecodable } else { KeepPackets::Always },
        packets_max_bytes: if flags & 128 == 0 { 1 << 30 } else { 4_096 },
        ..Settings::default()
    };
    let mut theatre = Theatre {
        tap: Tap::new(settings, super::decode::narrow(), 0),
        now: Timestamp(1_700_000_000_000_000_000),
        drains: flags & 32 == 0,
        house: House::default(),
        frames: 0,
    };
    for _ in 0..MAX_STEPS {
        if input.is_empty() {
            break;
        }
        theatre.step(&mut input);
        theatre.check();
    }
    theatre.end()
}

/// The two ends that most of it is about, and a relay.
fn end(number: u8) -> SocketAddr {
    ([192, 168, 1, 10 + (number & 3)], 5060).into()
}

fn rtp_end(number: u8) -> SocketAddr {
    ([192, 168, 1, 10 + (number & 3)], 10_000 + 2 * u16::from(number >> 2 & 3)).into()
}

/// The core, and everybody around it.
struct Theatre {
    tap: Tap,
    now: Timestamp,
    /// Outputs are taken after every step; otherwise at the end.
    drains: bool,
    house: House,
    frames: u64,
}

impl Theatre {
    fn step(&mut self, input: &mut Input<'_>) {
        match input.below(12) {
            0..=2 => self.sip(input),
            3..=5 => self.rtp(input),
            6 => match input.number::<u16>() {
                // Clocks are set back, by seconds or by a day.
                back @ 0xff00.. => {
                    let back = u64::from(back & 0xff).pow(2) * 1_500_000_000;
                    self.now = Timestamp(self.now.0.saturating_sub(back));
                }
                on => self.now = self.now.plus_millis(u64::from(on)),
            },
            7 => self.command(input),
            8 => {
                self.now = self.now.plus_millis(u64::from(input.byte()) * 1_000);
                self.tap.handle_timeout(self.now);
            }
            9 => {
                let (from, to) = (end(input.byte()), end(input.byte()));
                let payload = input.chunk();
                self.udp(from, to, payload);
            }
            10 => {
                let link = LinkType::from_number(u16::from(input.byte()));
                let bytes = input.chunk().to_vec();
                self.frame(link, &bytes);
            }
            _ => self.segment(input),
        }
        if self.drains {
            self.house.drain(&mut self.tap);
        }
    }

    /// A message of a dialog, with the mutations the input asks for.
    fn sip(&mut self, input: &mut Input<'_>) {
        let (dialog, what, ends) = (input.byte(), input.byte(), input.byte());
        let (caller, callee) = (ends & 3, ends >> 2 & 3);
        let phone = |number: u8| Phone {
            number: format!("{}", 1001 + u16::from(number)),
            sip: end(number),
        };
        let words = Dialog {
            call_id: format!("call-{}@fuzz", dialog & 7),
            caller: phone(caller),
            callee: phone(callee),
            caller_tag: "a".to_owned(),
            callee_tag: "b".to_owned(),
        };
        const METHODS: [&str; 8] =
            ["INVITE", "ACK", "BYE", "CANCEL", "UPDATE", "INFO", "REFER", "PRACK"];
        const CODES: [u16; 8] = [180, 183, 200, 401, 486, 487, 302, 100];
        let method = METHODS.get(usize::from(what & 7)).copied().unwrap_or("INVITE");
        let code = CODES.get(usize::from(what >> 4 & 7)).copied().unwrap_or(200);
        let answers = what & 8 != 0;
        let described = what & 0x80 == 0;
        let media = input.byte();
        let text = Self::description(media, if answers { callee } else { caller });
        let message = Message {
            what: if answers { Err(code) } else { Ok(method) },
            forward: ends & 16 == 0,
            method,
            cseq: u32::from(dialog >> 3 & 7) + 1,
            tagged: ends & 32 != 0,
            extra: "X-Id: 7\r\n",
            sdp: described.then_some(text.as_str()),
        };
        let mut bytes = words.text(message);
        for _ in 0..input.byte() & 7 {
            let (at, how) = (usize::from(input.number::<u16>()), input.byte());
            let at = at % bytes.len().max(1);
            match how & 3 {
                0 => {
                    bytes.get_mut(at).into_iter().for_each(|byte| *byte = how >> 2 | 0x40);
                }
                1 => bytes.truncate(at),
                2 => drop(bytes.splice(at..at, input.take(usize::from(how >> 2)).to_vec())),
                _ => drop(bytes.drain(at..(at + usize::from(how >> 2)).min(bytes.len()))),
            }
        }
        let (from, to) = if answers { (callee, caller) } else { (caller, callee) };
        self.udp(end(from), end(to), &bytes);
    }

    fn description(media: u8, who: u8) -> String {
        let direction = ["sendrecv", "sendonly", "recvonly", "inactive"];
        let codecs: &[Codec] =
            if media & 1 == 0 { &[Codec::Pcmu] } else { &[Codec::Pcma, Codec::Pcmu] };
        let offer = Offer {
            media: rtp_end(who & 3 | media << 2 & 12),
            codecs,
            ptime: 20,
            direction: direction.get(usize::from(media >> 2 & 3)).copied().unwrap_or("sendrecv"),
            version: 1,
            crypto: None,
        };
        let mut text = offer.text();
        if media & 16 != 0 {
            text.push_str("a=rtpmap:9 G722/8000\r\na=rtpmap:96 opus/48000/2\r\n");
        }
        if media & 32 != 0 {
            text.push_str(
                "a=crypto:1 AES_CM_128_HMAC_SHA1_80 \
                 inline:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwd\r\n",
            );
        }
        if media & 64 != 0 {
            for host in 0..40 {
                text.push_str(&format!(
                    "a=candidate:1 1 udp 1 10.9.{who}.{host} 9000 typ host\r\n"
                ));
            }
        }
        text
    }

    /// Some packets of a stream.
    fn rtp(&mut self, input: &mut Input<'_>) {
        let (ends, kind, count) = (input.byte(), input.byte(), input.byte());
        const TYPES: [u8; 8] = [0, 8, 0, 9, 101, 96, 13, 34];
        let sequence: u16 = input.number();
        let timestamp: u32 = input.number();
        let (from, to) = (rtp_end(ends), rtp_end(ends >> 4));
        let length = match kind >> 3 & 3 {
            0 => 160,
            1 => usize::from(input.byte()),
            2 => 4,
            _ => usize::from(input.number::<u16>()) % 9_000,
        };
        let fill = input.byte();
        for packet in 0..u16::from(count & 63) + 1 {
            let head = RtpHead {
                marker: packet == 0,
                payload_type: TYPES.get(usize::from(kind & 7)).copied().unwrap_or(0),
                sequence: sequence.wrapping_add(packet),
                timestamp: timestamp.wrapping_add(u32::from(packet) * 160),
                ssrc: u32::from(kind >> 5),
            };
            let mut payload = head.bytes().to_vec();
            payload.extend(std::iter::repeat_n(fill, length));
            self.udp(from, to, &payload);
            if count & 64 == 0 {
                self.now = self.now.plus_millis(20);
            }
        }
        if count & 128 != 0 {
            let mut report = vec![0x81, 200, 0, 6];
            report.resize(28, fill);
            self.udp(from, to, &report);
        }
    }

    fn command(&mut self, input: &mut Input<'_>) {
        let (what, whom) = (input.byte(), input.byte());
        let target = match what & 3 {
            0 => Target::Party(format!("{}", 1001 + u16::from(whom & 3))),
            1 => Target::NativeCallId(format!("call-{}@fuzz", whom & 7)),
            2 => match self.house.newest() {
                Some(uid) => Target::OrkUid(uid),
                None => Target::Party(String::new()),
            },
            _ => Target::Party(String::from_utf8_lossy(input.chunk()).into_owned()),
        };
        let keep = KeepSide::ALL.get(usize::from(whom >> 4) % 5).copied().unwrap_or_default();
        let command = match what >> 2 & 7 {
            0 | 1 => Command::Record(target, keep),
            2 | 6 => Command::Pause(target),
            3 => Command::Stop(target),
            4 => Command::Split(target),
            5 => Command::Flag(target, Retention::Discard),
            _ => {
                let text = String::from_utf8_lossy(input.chunk()).into_owned();
                Command::Tag(target, vec![(format!("t{whom}"), text)])
            }
        };
        let reply = self.tap.handle_command(self.now, &command);
        assert!(reply.matched <= 1 && (reply.matched == 1 || reply.orkuid.is_none()));
    }

    /// A TCP segment with any bytes.
    fn segment(&mut self, input: &mut Input<'_>) {
        let (ends, flags) = (input.byte(), input.byte());
        let sequence: u32 = input.number::<u16>().into();
        let data = input.chunk();
        let total = u16::try_from(40 + data.len()).unwrap_or(u16::MAX).to_be_bytes();
        let mut bytes = vec![0x45, 0, total[0], total[1], 0, 1, 0x40, 0, 64, 6, 0, 0];
        bytes.extend([10, 0, 0, ends & 3, 10, 0, 0, ends >> 2 & 3]);
        bytes.extend(2_000_u16.to_be_bytes());
        bytes.extend((5_060 + u16::from(ends >> 4)).to_be_bytes());
        bytes.extend(sequence.to_be_bytes());
        bytes.extend([0, 0, 0, 9, 0x50, flags & 0x1f, 16, 0, 0, 0, 0, 0]);
        bytes.extend(data);
        self.frame(LinkType::RawIp, &bytes);
    }

    fn udp(&mut self, from: SocketAddr, to: SocketAddr, payload: &[u8]) {
        let payload = payload.get(..60_000).unwrap_or(payload);
        let frame = wire::Frame::udp(&[], from, to, payload).into_bytes();
        self.frame(LinkType::Ethernet, &frame);
    }

    fn frame(&mut self, link: LinkType, bytes: &[u8]) {
        let wire_len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        self.tap.handle_frame(&Frame { at: self.now, link, wire_len, bytes });
        self.frames += 1;
    }

    /// What holds after every step.
    fn check(&self) {
        let held = self.tap.held();
        assert!(held.calls <= MAX_CALLS, "{held:?}");
        assert!(held.flows <= MAX_FLOWS, "{held:?}");
        assert!(held.candidates <= MAX_CANDIDATES, "{held:?}");
        assert!(held.recent_bytes <= PRERECORD, "{held:?}");
        // 64 addresses of each call at most.
        assert!(held.endpoints <= MAX_CALLS * 64, "{held:?}");
        // The directions of TCP are bounded by the packet layer.
        assert!(held.tcp_readers <= 6 && held.phones <= 6, "{held:?}");
        let counters = self.tap.counters();
        assert_eq!(counters.frames, self.frames);
        assert_eq!(counters.frames_fast + counters.packets.frames, self.frames);
        let open = counters.calls.tapes_opened - counters.calls.tapes_closed;
        assert!(open <= u64::try_from(held.calls).unwrap_or(u64::MAX), "{open} tapes, {held:?}");
        assert!(counters.signals.sip_facts <= counters.signals.sip_messages);
        assert!(counters.signals.skinny_facts <= counters.signals.skinny_messages);
    }

    fn end(mut self) -> u64 {
        self.tap.finish(self.now, EndReason::Shutdown);
        let held = self.tap.held();
        assert_eq!((held.calls, held.flows, held.endpoints), (0, 0, 0), "{held:?}");
        assert_eq!((held.tcp_readers, held.phones, held.recent_bytes), (0, 0, 0), "{held:?}");
        self.house.drain(&mut self.tap);
        let counters = self.tap.counters();
        let tapes = u64::try_from(self.house.closed.len()).unwrap_or(u64::MAX);
        assert_eq!((counters.calls.tapes_opened, counters.calls.tapes_closed), (tapes, tapes));
        assert!(self.house.open.is_empty(), "tapes never closed");
        format!("{counters:?}").hash(&mut self.house.story);
        self.house.story.finish()
    }
}
