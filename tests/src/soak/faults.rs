//! What goes wrong while calls go on: at random, by seed.

use super::{
    clients,
    rig::{Rig, Which},
    traffic::{Sender, Wire},
};
use crate::{generator::chance::Chance, wire::Frame};
use nix::sys::signal::Signal;
use std::{
    collections::BTreeMap,
    net::{SocketAddr, TcpStream},
    sync::atomic::Ordering::Relaxed,
    thread,
    time::Duration,
};

/// What can go wrong.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Fault {
    KillRecorder,
    StopRecorder,
    KillTracker,
    FreezeTracker,
    FreezeRecorder,
    DeafEvents,
    DeafCalls,
    HalfRequests,
    Copies,
    Garbage,
    SipFlood,
    RtpScan,
}

impl Fault {
    const ALL: [Self; 12] = [
        Self::KillRecorder,
        Self::StopRecorder,
        Self::KillTracker,
        Self::FreezeTracker,
        Self::FreezeRecorder,
        Self::DeafEvents,
        Self::DeafCalls,
        Self::HalfRequests,
        Self::Copies,
        Self::Garbage,
        Self::SipFlood,
        Self::RtpScan,
    ];

    /// Whether a process ends by it.
    const fn restarts(self) -> bool {
        matches!(self, Self::KillRecorder | Self::StopRecorder | Self::KillTracker)
    }

    /// What it is called in the table.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::KillRecorder => "recorder killed",
            Self::StopRecorder => "recorder restarted",
            Self::KillTracker => "tracker killed",
            Self::FreezeTracker => "tracker frozen",
            Self::FreezeRecorder => "recorder frozen",
            Self::DeafEvents => "event clients that never read",
            Self::DeafCalls => "listeners that never read",
            Self::HalfRequests => "requests that never end",
            Self::Copies => "every frame twice",
            Self::Garbage => "garbage",
            Self::SipFlood => "SIP flood",
            Self::RtpScan => "RTP scan",
        }
    }
}

/// What ends a fault later.
enum End {
    Thaw(Which, u32),
    HangUp(Vec<TcpStream>),
    OneCopy,
}

/// Makes trouble.
pub(super) struct Chaos<'a> {
    rig: &'a Rig,
    wire: &'a Wire,
    chance: Chance,
    sender: Sender,
    ends: Vec<(u64, End)>,
    /// How often each fault was made to happen.
    pub(super) made: BTreeMap<Fault, u64>,
}

impl<'a> Chaos<'a> {
    pub(super) fn new(rig: &'a Rig, wire: &'a Wire, seed: u64) -> Result<Self, String> {
        let (chance, sender) = (Chance::new(seed, 3), Sender::open()?);
        Ok(Self { rig, wire, chance, sender, ends: Vec::new(), made: BTreeMap::new() })
    }

    /// Makes faults happen until no call begins any more, about `every` milliseconds one; those that end a
    /// process only until `steady`.
    pub(super) fn rage(&mut self, every: u64, steady: u64) -> Result<(), String> {
        // One of each first, so that a short run has them all.
        let mut first = Fault::ALL.to_vec();
        let mut next = self.rig.now() + every;
        while !self.wire.over.load(Relaxed) {
            thread::sleep(Duration::from_millis(20));
            self.end(false);
            if self.rig.now() < next {
                continue;
            }
            let may = |fault: &Fault| !fault.restarts() || self.rig.now() < steady;
            let fresh: Vec<Fault> = first.iter().copied().filter(may).collect();
            // What ends processes comes first: it has less time.
            let urgent: Vec<Fault> = fresh.iter().copied().filter(|f| f.restarts()).collect();
            let all: Vec<Fault> = Fault::ALL.into_iter().filter(may).collect();
            let from = [urgent, fresh, all].into_iter().find(|list| !list.is_empty());
            let from = from.unwrap_or_default();
            let at = self.chance.below(u64::try_from(from.len()).unwrap_or(1));
            let chosen = usize::try_from(at).ok().and_then(|at| from.get(at)).copied();
            if let Some(fault) = chosen {
                first.retain(|other| *other != fault);
                *self.made.entry(fault).or_default() += 1;
                self.make(fault)?;
            }
            next = self.rig.now() + every / 2 + self.chance.below(every);
        }
        self.end(true);
        Ok(())
    }

    /// Ends what has lasted long enough, or everything.
    fn end(&mut self, all: bool) {
        let now = self.rig.now();
        let (over, last) =
            std::mem::take(&mut self.ends).into_iter().partition(|(at, _)| all || *at <= now);
        self.ends = last;
        for (_, end) in over {
            match end {
                End::Thaw(which, life) => self.rig.signal(which, life, Signal::SIGCONT),
                End::HangUp(clients) => drop(clients),
                End::OneCopy => self.wire.span.store(0, Relaxed),
            }
        }
    }

    fn lasts(&mut self, least: u64, most: u64, end: End) {
        let until = self.rig.now() + least + self.chance.below(most - least);
        self.ends.push((until, end));
    }

    fn make(&mut self, fault: Fault) -> Result<(), String> {
        match fault {
            Fault::KillRecorder => {
                self.rig.outage_begins(true);
                self.rig.kill(Which::Recorder);
                self.pause(2_000);
                // Sometimes once more, while it recovers.
                if self.chance.happens(0.3) {
                    self.rig.spawn(Which::Recorder)?;
                    self.pause(300);
                    self.rig.kill(Which::Recorder);
                }
                self.rig.start(Which::Recorder)?;
                self.rig.outage_ends();
            }
            Fault::StopRecorder => {
                self.thaw(Which::Recorder);
                self.rig.outage_begins(false);
                self.rig.stop(Which::Recorder).map_err(|why| format!("SIGTERM: {why}"))?;
                self.rig.start(Which::Recorder)?;
                self.rig.outage_ends();
            }
            Fault::KillTracker => {
                self.rig.kill(Which::Tracker);
                self.pause(4_000);
                self.rig.start(Which::Tracker)?;
            }
            Fault::FreezeTracker => self.freeze(Which::Tracker, 1_000, 10_000),
            Fault::FreezeRecorder => self.freeze(Which::Recorder, 200, 2_000),
            Fault::DeafEvents => {
                let clients = clients::deaf_to_events();
                self.lasts(5_000, 20_000, End::HangUp(clients));
            }
            Fault::DeafCalls => {
                let clients = clients::deaf_to_calls(self.rig);
                self.lasts(5_000, 20_000, End::HangUp(clients));
            }
            Fault::HalfRequests => {
                let clients = clients::halves();
                self.lasts(5_000, 20_000, End::HangUp(clients));
            }
            Fault::Copies => {
                let late = self.chance.below(30);
                self.wire.span.store(1 + late, Relaxed);
                self.lasts(3_000, 10_000, End::OneCopy);
            }
            Fault::Garbage => self.burst(Self::garbage),
            Fault::SipFlood => self.burst(Self::invite),
            Fault::RtpScan => self.burst(Self::stray),
        }
        Ok(())
    }

    fn pause(&mut self, most: u64) {
        thread::sleep(Duration::from_millis(self.chance.below(most)));
    }

    fn freeze(&mut self, which: Which, least: u64, most: u64) {
        if let Some((_, life)) = self.rig.pid(which) {
            self.rig.signal(which, life, Signal::SIGSTOP);
            self.lasts(least, most, End::Thaw(which, life));
        }
    }

    fn thaw(&mut self, which: Which) {
        if let Some((_, life)) = self.rig.pid(which) {
            self.rig.signal(which, life, Signal::SIGCONT);
        }
    }

    /// Two thousand frames within half a second.
    fn burst(&mut self, frame: fn(&mut Chance) -> Vec<u8>) {
        for number in 0..2_000 {
            let frame = frame(&mut self.chance);
            self.sender.send(self.wire, &frame);
            if number % 40 == 0 {
                thread::sleep(Duration::from_millis(10));
            }
        }
    }

    fn bytes(chance: &mut Chance, most: u64) -> Vec<u8> {
        (0..chance.below(most)).map(|_| chance.half().to_le_bytes()[0]).collect()
    }

    /// An address of nobody's call (RFC 5737).
    fn somebody(chance: &mut Chance) -> SocketAddr {
        let [host, ..] = chance.half().to_be_bytes();
        SocketAddr::from(([192, 0, 2, host], 1024 + chance.half() % 60_000))
    }

    /// Anything: a frame of random bytes, cut, or a datagram of them.
    fn garbage(chance: &mut Chance) -> Vec<u8> {
        if chance.happens(0.5) {
            let mut frame = Self::bytes(chance, 1_400);
            frame.resize(frame.len().max(14), 0);
            return frame;
        }
        let (from, to) = (Self::somebody(chance), Self::somebody(chance));
        let mut frame = Frame::udp(&[], from, to, &Self::bytes(chance, 1_300)).into_bytes();
        if chance.happens(0.3) {
            let length = usize::try_from(chance.below(42)).unwrap_or(0);
            frame.truncate(14 + length);
        }
        frame
    }

    /// A request of nobody: INVITE without media, BYE and OPTIONS of unknown dialogs.
    fn invite(chance: &mut Chance) -> Vec<u8> {
        let (from, to) = (Self::somebody(chance), Self::somebody(chance));
        let method = match chance.below(4) {
            0 => "BYE",
            1 => "OPTIONS",
            _ => "INVITE",
        };
        let id = chance.bits();
        let text = format!(
            "{method} sip:x@{to} SIP/2.0\r\nVia: SIP/2.0/UDP {from};branch=z9hG4bK{id:x}\r\n\
             From: <sip:flood@{from}>;tag={id:x}\r\nTo: <sip:x@{to}>\r\nCall-ID: flood-{id:x}\r\n\
             CSeq: 1 {method}\r\nContent-Length: 0\r\n\r\n"
        );
        Frame::udp(&[], from, to, text.as_bytes()).into_bytes()
    }

    /// One packet of RTP of a stream that nobody announced.
    fn stray(chance: &mut Chance) -> Vec<u8> {
        let (from, to) = (Self::somebody(chance), Self::somebody(chance));
        let mut packet = vec![0x80, 0];
        packet.extend(chance.bits().to_be_bytes());
        packet.resize(172, 0x55);
        Frame::udp(&[], from, to, &packet).into_bytes()
    }
}
