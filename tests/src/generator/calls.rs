//! Writes captures of many calls at once, with known audio and known faults.
//!
//! Law: the bytes depend on the [`Spec`] alone. Packets leave in order of capture time because every
//! one passes through a single queue ordered by time; each stream draws its faults from a generator
//! of its own, so a call's faults do not change with the number of calls.
//!
//! Each call has a caller at 10.x (`fd00::/8`) and a callee at 198.18.x (`2001:db8::/32`), so that a
//! recorder that counts private addresses as its own takes the caller for the local party.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::chance::Chance;
use super::law::{BLOCK, Codec, Law, Mark, Side};
use super::srtp::{Sealer, TAG};
use super::truth::{CallTruth, StreamTruth, Truth};
use crate::sip::{Dialog, Message, Offer, Phone};
use crate::wire::{Frame, PcapWriter, RTP_HEADER, RtpHead};

/// Callee addresses and phone numbers last for this many.
pub const MAX_CALLS: u32 = 60_000;
const SAMPLES_PER_MS: u32 = 8;
const MS: u64 = 1_000_000;
/// The first RTP packet comes this long after the INVITE.
const SETUP: u64 = 250 * MS;

/// What to write.
#[derive(Clone, Debug, clap::Args)]
pub struct Spec {
    /// Calls in the capture.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_CALLS)))]
    pub calls: u32,
    /// Number of the first call: captures with other numbers share no address.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(..i64::from(MAX_CALLS)))]
    pub first: u32,
    /// Seconds of audio in each call.
    #[arg(long, default_value_t = 30.0)]
    pub seconds: f64,
    /// Codec of every stream.
    #[arg(long, value_enum, default_value = "pcmu")]
    pub codec: Codec,
    /// Milliseconds of audio in a packet: a multiple of 10.
    #[arg(long, default_value_t = 20, value_parser = ptime)]
    pub ptime: u32,
    /// Seconds over which the calls begin.
    #[arg(long, default_value_t = 2.0)]
    pub stagger: f64,
    /// Probability that a packet is missing.
    #[arg(long, default_value_t = 0.0)]
    pub loss: f64,
    /// Probability that a run of N packets is missing, as P:N.
    #[arg(long, value_parser = burst, value_name = "P:N")]
    pub burst_loss: Option<Burst>,
    /// Probability that a packet comes after one or two of its successors.
    #[arg(long, default_value_t = 0.0)]
    pub reorder: f64,
    /// Probability that a packet comes twice.
    #[arg(long, default_value_t = 0.0)]
    pub duplicate: f64,
    /// Largest random delay of a packet, milliseconds.
    #[arg(long, default_value_t = 0.0, value_name = "MS")]
    pub jitter: f64,
    /// How fast the callers' clocks run, parts per million.
    #[arg(long, default_value_t = 0.0, allow_negative_numbers = true, value_name = "PPM")]
    pub drift_ppm: f64,
    /// How fast the callees' clocks run, parts per million.
    #[arg(long, default_value_t = 0.0, allow_negative_numbers = true, value_name = "PPM")]
    pub drift_ppm_callee: f64,
    /// Seed of everything random.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Put every frame under this VLAN tag; repeat for stacked tags, outermost first.
    #[arg(long, value_name = "ID", value_parser = clap::value_parser!(u16).range(1..4095))]
    pub vlan: Vec<u16>,
    /// IPv6 instead of IPv4.
    #[arg(long)]
    pub ipv6: bool,
    /// Leave the BYE and its answer out.
    #[arg(long)]
    pub no_bye: bool,
    /// RTP alone, without any signalling.
    #[arg(long)]
    pub no_sip: bool,
    /// Encrypt the media; the keys are in the session descriptions.
    #[arg(long)]
    pub srtp: bool,
    /// Time of the first packet, Unix seconds.
    #[arg(long, default_value_t = 1_700_000_000.0, value_name = "T")]
    pub start_time: f64,
    /// Timestamps in nanoseconds instead of microseconds.
    #[arg(long)]
    pub nanoseconds: bool,
}

impl Default for Spec {
    fn default() -> Self {
        Self {
            calls: 10,
            first: 0,
            seconds: 30.0,
            codec: Codec::Pcmu,
            ptime: 20,
            stagger: 2.0,
            loss: 0.0,
            burst_loss: None,
            reorder: 0.0,
            duplicate: 0.0,
            jitter: 0.0,
            drift_ppm: 0.0,
            drift_ppm_callee: 0.0,
            seed: 1,
            vlan: Vec::new(),
            ipv6: false,
            no_bye: false,
            no_sip: false,
            srtp: false,
            start_time: 1_700_000_000.0,
            nanoseconds: false,
        }
    }
}

/// Runs of missing packets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Burst {
    /// Probability that a run begins at a packet.
    pub probability: f64,
    /// Packets in a run.
    pub packets: u32,
}

fn burst(text: &str) -> Result<Burst, String> {
    let wrong = || format!("{text}: want a probability and a count, as 0.001:5");
    let (probability, packets) = text.split_once(':').ok_or_else(wrong)?;
    let probability = probability.parse().map_err(|_| wrong())?;
    Ok(Burst { probability, packets: packets.parse().map_err(|_| wrong())? })
}

fn ptime(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(ms) if (10..=100).contains(&ms) && ms % 10 == 0 => Ok(ms),
        _ => Err("want 10, 20, 30 .. 100".to_owned()),
    }
}

/// Writes the capture and says what it holds.
///
/// # Errors
/// When `out` cannot be written.
pub fn write<W: Write>(spec: &Spec, out: W) -> io::Result<Truth> {
    let mut writer = Writer::new(spec, out);
    while let Some(Reverse((at, event))) = writer.queue.pop() {
        match event {
            Event::Sip { call, step } => writer.signal(at, call, step)?,
            Event::Send { stream, frame } => writer.send(at, stream, frame)?,
            Event::Arrive { stream, frame } => writer.arrive(at, stream, frame)?,
        }
    }
    writer.finish()
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Sip {
        call: u32,
        step: Step,
    },
    /// The sender's clock says it is time for this frame.
    Send {
        stream: u32,
        frame: u32,
    },
    /// A delayed frame, or a copy, reaches the wire.
    Arrive {
        stream: u32,
        frame: u32,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Invite,
    Trying,
    Ringing,
    Ok,
    Ack,
    Bye,
    ByeOk,
}

const SETUP_STEPS: [(u64, Step); 5] = [
    (0, Step::Invite),
    (10 * MS, Step::Trying),
    (20 * MS, Step::Ringing),
    (SETUP - 20 * MS, Step::Ok),
    (SETUP - 10 * MS, Step::Ack),
];

struct Stream {
    packet: Frame,
    call: u32,
    side: Side,
    chance: Chance,
    clock_start: u64,
    /// Nanoseconds from one frame to the next by the capture's clock.
    interval: f64,
    /// Losses still to come in the present run.
    losing: u32,
    truth: StreamTruth,
    heard: bool,
    sealer: Option<Sealer>,
}

struct Writer<'a, W: Write> {
    spec: &'a Spec,
    law: Law,
    frames: u32,
    out: PcapWriter<W>,
    queue: BinaryHeap<Reverse<(u64, Event)>>,
    streams: Vec<Stream>,
    dialogs: Vec<Dialog>,
    rtp_packets: u64,
    sip_packets: u64,
}

impl<'a, W: Write> Writer<'a, W> {
    fn new(spec: &'a Spec, out: W) -> Self {
        let frames = whole(spec.seconds * 1000.0 / f64::from(spec.ptime)).max(1);
        let mut writer = Self {
            spec,
            law: Law::new(spec.codec),
            frames: u32::try_from(frames).unwrap_or(u32::MAX),
            out: PcapWriter::new(out, spec.nanoseconds),
            queue: BinaryHeap::new(),
            streams: Vec::new(),
            dialogs: Vec::new(),
            rtp_packets: 0,
            sip_packets: 0,
        };
        for call in 0..spec.calls {
            writer.plan(call);
        }
        writer
    }

    fn plan(&mut self, call: u32) {
        let spec = self.spec;
        let number = spec.first + call;
        let mut chance = Chance::new(spec.seed, u64::from(number) << 2);
        let share = f64::from(call) / f64::from(spec.calls);
        let invite = whole((spec.start_time + spec.stagger * share) * 1e6) * 1000
            + chance.below(u64::from(spec.ptime) * 1000) * 1000;
        let (caller_ip, callee_ip) = addresses(number, spec.ipv6);
        let mut port = || 10_000 + chance.half() % 20_000 * 2;
        let ports = [port(), port()];
        let media = [SocketAddr::new(caller_ip, ports[0]), SocketAddr::new(callee_ip, ports[1])];

        let mut quiet = 0;
        for (side, [src, dst]) in Side::BOTH.into_iter().zip([media, [media[1], media[0]]]) {
            let lane = u64::from(number) << 2 | if side == Side::Caller { 1 } else { 2 };
            let stream = self.stream(number, side, src, dst, Chance::new(spec.seed, lane), invite);
            quiet = quiet.max(stream.clock_start + whole(stream.interval * f64::from(self.frames)));
            let place = u32::try_from(self.streams.len()).unwrap_or(u32::MAX);
            self.queue.push(Reverse((stream.clock_start, Event::Send { stream: place, frame: 0 })));
            self.streams.push(stream);
        }
        if !spec.no_sip {
            let quiet = quiet + whole(spec.jitter * 1e6) + 10 * MS;
            let goodbye = [(quiet, Step::Bye), (quiet + 10 * MS, Step::ByeOk)];
            let goodbye = goodbye.into_iter().filter(|_| !spec.no_bye);
            for (at, step) in
                SETUP_STEPS.into_iter().map(|(after, step)| (invite + after, step)).chain(goodbye)
            {
                self.queue.push(Reverse((at, Event::Sip { call, step })));
            }
        }
        let phone =
            |number: u32, ip| Phone { number: number.to_string(), sip: SocketAddr::new(ip, 5060) };
        self.dialogs.push(Dialog {
            call_id: format!("gen-{}-{number:06}-{:08x}", spec.seed, chance.word()),
            caller: phone(100_000 + number, caller_ip),
            callee: phone(200_000 + number, callee_ip),
            caller_tag: format!("{:08x}", chance.word()),
            callee_tag: format!("{:08x}", chance.word()),
        });
    }

    fn stream(
        &self,
        call: u32,
        side: Side,
        src: SocketAddr,
        dst: SocketAddr,
        mut chance: Chance,
        invite: u64,
    ) -> Stream {
        let spec = self.spec;
        let (mut first_sequence, mut first_timestamp) = (chance.half(), chance.word());
        // Every fourth stream's numbers pass zero within the call.
        if chance.below(4) == 0 {
            let before = chance.below(u64::from(self.frames)).min(30_000);
            let before = u32::try_from(before).unwrap_or(0);
            first_sequence = 0_u16.wrapping_sub(u16::try_from(before).unwrap_or(0));
            first_timestamp = 0_u32.wrapping_sub(before * self.frame_samples());
        }
        let ssrc = chance.word();
        let sealer = spec.srtp.then(|| Sealer::new(&mut chance));
        let tag = if sealer.is_some() { TAG } else { 0 };
        let audio = usize::try_from(self.frame_samples()).unwrap_or(0);
        let payload = vec![0; RTP_HEADER + audio + tag];
        let ppm = match side {
            Side::Caller => spec.drift_ppm,
            Side::Callee => spec.drift_ppm_callee,
        };
        Stream {
            packet: Frame::udp(&spec.vlan, src, dst, &payload),
            call,
            side,
            clock_start: invite + SETUP + chance.below(u64::from(spec.ptime) * 1000) * 1000,
            chance,
            interval: f64::from(spec.ptime) * 1e6 / (1.0 + ppm / 1e6),
            losing: 0,
            truth: StreamTruth {
                src,
                dst,
                ssrc,
                first_sequence,
                first_timestamp,
                first_ns: 0,
                lost: Vec::new(),
                reordered: 0,
                duplicates: 0,
            },
            heard: false,
            sealer,
        }
    }

    fn frame_samples(&self) -> u32 {
        self.spec.ptime * SAMPLES_PER_MS
    }

    /// Decides a frame's fate and plans the next one.
    fn send(&mut self, at: u64, number: u32, frame: u32) -> io::Result<()> {
        let spec = self.spec;
        let Some(stream) = number_of(&mut self.streams, number) else { return Ok(()) };
        let next = frame + 1;
        if next < self.frames {
            let when = stream.clock_start + whole(stream.interval * f64::from(next));
            self.queue.push(Reverse((when, Event::Send { stream: number, frame: next })));
        }
        let inner = frame > 0 && next < self.frames;
        if stream.losing == 0
            && let Some(burst) = spec.burst_loss
            && inner
            && stream.chance.happens(burst.probability)
        {
            stream.losing = burst.packets;
        }
        let lost = stream.losing > 0 || stream.chance.happens(spec.loss);
        stream.losing = stream.losing.saturating_sub(1);
        if lost && inner {
            stream.truth.lost.push(frame);
            return Ok(());
        }
        let mut delay = stream.chance.below(whole(spec.jitter * 1e6));
        let tick = u64::from(spec.ptime) * MS;
        if inner && next + 2 < self.frames && stream.chance.happens(spec.reorder) {
            delay += tick * (1 + stream.chance.below(2)) + tick / 2;
            stream.truth.reordered += 1;
        }
        if stream.chance.happens(spec.duplicate) {
            let copy = at + delay + 50_000 + stream.chance.below(tick);
            stream.truth.duplicates += 1;
            self.queue.push(Reverse((copy, Event::Arrive { stream: number, frame })));
        }
        if delay == 0 {
            return self.arrive(at, number, frame);
        }
        self.queue.push(Reverse((at + delay, Event::Arrive { stream: number, frame })));
        Ok(())
    }

    /// Puts a frame on the wire.
    fn arrive(&mut self, at: u64, number: u32, frame: u32) -> io::Result<()> {
        let samples = self.frame_samples();
        let payload_type = self.spec.codec.payload_type();
        let Some(stream) = number_of(&mut self.streams, number) else { return Ok(()) };
        if !stream.heard {
            stream.heard = true;
            stream.truth.first_ns = if self.spec.nanoseconds { at } else { at / 1000 * 1000 };
        }
        let [.., high, low] = frame.to_be_bytes();
        let sequence = stream.truth.first_sequence.wrapping_add(u16::from_be_bytes([high, low]));
        let head = RtpHead {
            marker: frame == 0,
            payload_type,
            sequence,
            timestamp: stream.truth.first_timestamp.wrapping_add(frame.wrapping_mul(samples)),
            ssrc: stream.truth.ssrc,
        };
        let (mut mark, blocks) =
            (Mark { side: stream.side, call: stream.call, block: 0 }, self.spec.ptime / 10);
        let (header, audio) = stream.packet.payload().split_at_mut(RTP_HEADER);
        header.copy_from_slice(&head.bytes());
        for (block, codes) in (frame * blocks..).zip(audio.chunks_exact_mut(BLOCK)) {
            mark.block = block;
            self.law.write(mark, codes);
        }
        if let Some(sealer) = &stream.sealer {
            let index = u64::from(stream.truth.first_sequence) + u64::from(frame);
            sealer.seal(index, stream.truth.ssrc, stream.packet.payload());
        }
        stream.packet.seal(sequence);
        self.rtp_packets += 1;
        self.out.write(at, stream.packet.bytes())
    }

    fn signal(&mut self, at: u64, call: u32, step: Step) -> io::Result<()> {
        let Some(dialog) = number_of(&mut self.dialogs, call) else { return Ok(()) };
        let media = |side: u32| {
            let number = usize::try_from(2 * call + side).unwrap_or(usize::MAX);
            self.streams.get(number).map(|stream| {
                let offer = Offer {
                    media: stream.truth.src,
                    codecs: &[self.spec.codec],
                    ptime: self.spec.ptime,
                    direction: "sendrecv",
                    version: 1,
                    crypto: stream.sealer.as_ref().map(Sealer::attribute),
                };
                offer.text()
            })
        };
        let (what, method, cseq, sdp) = match step {
            Step::Invite => (Ok("INVITE"), "INVITE", 1, media(0)),
            Step::Trying => (Err(100), "INVITE", 1, None),
            Step::Ringing => (Err(180), "INVITE", 1, None),
            Step::Ok => (Err(200), "INVITE", 1, media(1)),
            Step::Ack => (Ok("ACK"), "ACK", 1, None),
            Step::Bye => (Ok("BYE"), "BYE", 2, None),
            Step::ByeOk => (Err(200), "BYE", 2, None),
        };
        let tagged = !matches!(step, Step::Invite | Step::Trying);
        let text = dialog.text(Message {
            what,
            forward: true,
            method,
            cseq,
            tagged,
            extra: "",
            sdp: sdp.as_deref(),
        });
        let (from, to) = if what.is_ok() {
            (dialog.caller.sip, dialog.callee.sip)
        } else {
            (dialog.callee.sip, dialog.caller.sip)
        };
        self.sip_packets += 1;
        self.out.write(at, Frame::udp(&self.spec.vlan, from, to, &text).bytes())
    }

    fn finish(self) -> io::Result<Truth> {
        self.out.finish()?;
        let mut streams = self.streams.into_iter().map(|stream| stream.truth);
        let mut calls = Vec::new();
        for (number, dialog) in (self.spec.first..).zip(self.dialogs) {
            let (Some(from_caller), Some(from_callee)) = (streams.next(), streams.next()) else {
                break;
            };
            calls.push(CallTruth {
                number,
                call_id: dialog.call_id,
                caller: dialog.caller.number,
                callee: dialog.callee.number,
                from_caller,
                from_callee,
            });
        }
        Ok(Truth {
            codec: self.spec.codec,
            ptime_ms: self.spec.ptime,
            frames: self.frames,
            sip: !self.spec.no_sip,
            jitter_ms: self.spec.jitter,
            drift_ppm_caller: self.spec.drift_ppm,
            drift_ppm_callee: self.spec.drift_ppm_callee,
            rtp_packets: self.rtp_packets,
            sip_packets: self.sip_packets,
            calls,
        })
    }
}

fn number_of<T>(list: &mut [T], number: u32) -> Option<&mut T> {
    list.get_mut(usize::try_from(number).ok()?)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast saturates; a negative time or count becomes 0"
)]
fn whole(value: f64) -> u64 {
    value.round() as u64
}

fn addresses(call: u32, ipv6: bool) -> (IpAddr, IpAddr) {
    let [.., third, fourth] = (((call / 250) << 8) | (call % 250 + 1)).to_be_bytes();
    if ipv6 {
        let low = u16::from_be_bytes([third, fourth]);
        return (
            Ipv6Addr::new(0xfd00, 0x6f72, 0x6b, 0, 0, 0, 0, low).into(),
            Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, low).into(),
        );
    }
    (Ipv4Addr::new(10, 1, third, fourth).into(), Ipv4Addr::new(198, 18, third, fourth).into())
}
