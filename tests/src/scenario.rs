//! A call written as text, turned into frames: SIP over UDP, IPv4, Ethernet, G.711 tones.
//!
//! ```text
//! a->b INVITE pcmu; b->a 180; b->a 200; a->b ACK; rtp 2s; a->b reINVITE sendonly; idle 5s; a->b BYE
//! ```
//!
//! Statements stand in order, parted by `;` or line ends; `#` begins a comment. Time begins at
//! [`START`]; a SIP message takes 10 ms, `rtp` and `idle` what they say.
//!
//! | statement | means |
//! |---|---|
//! | `a = 1001@192.168.1.11` | party a. More: `sip=PORT` (5060), `rtp=PORT`, `nat=ADDRESS` (its packets leave from, and reach it at, this address, while its SDP and Contact keep the other), `hz=TONE` |
//! | `a->b INVITE [WORDS]` | an offer. A second one in the same dialog is a re-INVITE; `reINVITE` is the same word |
//! | `b->a 183 [WORDS]`, `b->a 200 [WORDS]` | response to the last request b got from a in this dialog, or to an INVITE not seen. 183 and 200 to an INVITE carry SDP, unless `nosdp`; other codes only with `sdp` |
//! | `a->b ACK`, `BYE`, `CANCEL`, `OPTIONS` .. | any other method, without SDP unless `sdp` |
//! | `again` | the last SIP message once more |
//! | `rtp 2s [a->b ..]` | audio for 2 s: of both parties of every dialog that is up, or of the named directions. A party that is held still sends if it is named |
//! | `dtmf a->b 5` | a telephone-event of 160 ms |
//! | `idle 5s` (or `500ms`) | nothing |
//! | `set loss=5% dup=1% reorder=2% jitter=3ms vlan=7 seed=3` | from here on; `vlan=7,8` stacks tags, `vlan=0` takes them away |
//!
//! WORDS: codecs `pcmu`, `pcma` (several: best first); `sendonly`, `recvonly`, `inactive`;
//! `ptime=30`; `port=N` moves the sender's RTP; `sdp`, `nosdp`; `pai=USER` adds
//! P-Asserted-Identity; `head=Name:VALUE` adds a header, `~` is a blank in it; `hop=a>p` lets this
//! message travel from a's address to p's, as through a proxy, without another word changed.
//!
//! Dialogs are known by their two parties, in either order; after a BYE, CANCEL or final refusal the
//! next INVITE between them is a new one. A party not declared: letter n of the alphabet is
//! `100n@192.168.1.1n`, RTP port 10000 + 100 n. Party n's tone is 300 + 170 n Hz, amplitude 8000,
//! without a break in phase; payload and packet length are what the last SDP of the dialog's callee
//! (else caller) says. Leave the BYE out for a call that never ends, write a `200` before its
//! `INVITE` for an answer seen first.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use crate::generator::chance::Chance;
use crate::generator::law::Codec;
use crate::sip::{Dialog, Message, Offer, Phone};
use crate::wire::{Frame, PcapWriter, RtpHead};

/// Time of the first frame, nanoseconds since 1970.
pub const START: u64 = 1_700_000_000_000_000_000;

const MS: u64 = 1_000_000;
const SIP_STEP: u64 = 10 * MS;
const AMPLITUDE: f64 = 8000.0;
const TELEPHONE_EVENT: u8 = 101;

/// What a text became.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Capture time in nanoseconds since 1970, and the frame; in order of time.
    pub frames: Vec<(u64, Vec<u8>)>,
    /// Every dialog, in order of its first message.
    pub calls: Vec<CallFacts>,
    /// Time after the last statement.
    pub end: u64,
}

/// What is known of one dialog.
#[derive(Clone, Debug)]
pub struct CallFacts {
    /// Call-ID.
    pub call_id: String,
    /// Letter of the party that sent the INVITE.
    pub caller: char,
    /// Letter of the party that was called.
    pub callee: char,
    /// What was sent, in order of first packet.
    pub streams: Vec<StreamFacts>,
}

/// What one party sent in one dialog.
#[derive(Clone, Debug)]
pub struct StreamFacts {
    /// Sender's letter.
    pub party: char,
    /// Where its packets come from, as the capture shows.
    pub src: SocketAddr,
    /// Where they go.
    pub dst: SocketAddr,
    /// Source identifier.
    pub ssrc: u32,
    /// Its tone.
    pub hertz: f64,
    /// Time of its first packet.
    pub first: u64,
    /// Time at which its last packet's audio ends.
    pub last: u64,
    /// Audio packets made, lost ones included.
    pub packets: u32,
    /// Audio packets left out on purpose.
    pub lost: u32,
    /// Copies added on purpose.
    pub duplicates: u32,
}

impl Scenario {
    /// The capture file, timestamps in nanoseconds.
    ///
    /// # Errors
    /// Never in memory.
    pub fn pcap(&self) -> io::Result<Vec<u8>> {
        self.write(Vec::new())
    }

    /// Writes the capture file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_pcap(&self, path: &Path) -> io::Result<()> {
        self.write(File::create(path)?).map(drop)
    }

    fn write<W: io::Write>(&self, out: W) -> io::Result<W> {
        let mut pcap = PcapWriter::new(out, true);
        for (at, frame) in &self.frames {
            pcap.write(*at, frame)?;
        }
        pcap.finish()
    }
}

/// Turns a text into frames.
///
/// # Errors
/// Says which statement it does not understand.
pub fn play(text: &str) -> Result<Scenario, String> {
    let mut stage = Stage::new();
    let lines = text.lines().map(|line| line.split_once('#').map_or(line, |(said, _)| said));
    for line in lines {
        for statement in line.split(';').map(str::trim).filter(|said| !said.is_empty()) {
            stage.say(statement).map_err(|why| format!("{statement}: {why}"))?;
        }
    }
    Ok(stage.finish())
}

/// One party.
#[derive(Clone, Debug)]
struct Party {
    number: String,
    inside: Ipv4Addr,
    outside: Ipv4Addr,
    sip: u16,
    rtp: u16,
    hertz: f64,
}

impl Party {
    fn new(letter: char) -> Self {
        let n = u8::try_from(u32::from(letter).wrapping_sub(u32::from('a')) + 1).unwrap_or(0);
        let inside = Ipv4Addr::new(192, 168, 1, 10_u8.wrapping_add(n));
        Self {
            number: (1000 + u32::from(n)).to_string(),
            inside,
            outside: inside,
            sip: 5060,
            rtp: 10_000 + 100 * u16::from(n),
            hertz: 300.0 + 170.0 * f64::from(n),
        }
    }

    fn phone(&self) -> Phone {
        Phone { number: self.number.clone(), sip: (self.inside, self.sip).into() }
    }
}

/// One dialog as it stands.
struct Live {
    text: Dialog,
    caller: char,
    callee: char,
    /// Highest `CSeq` each side used.
    cseq: u32,
    /// Last request: method, `CSeq`, who sent it.
    request: Option<(String, u32, char)>,
    answered: bool,
    up: bool,
    over: bool,
    version: u32,
    codec: Codec,
    ptime: u32,
    streams: BTreeMap<char, Sender>,
}

struct Sender {
    facts: StreamFacts,
    sequence: u16,
    base: u32,
    /// Samples of tone sent, for the phase.
    resumed: bool,
}

#[derive(Clone, Debug, Default)]
struct Faults {
    loss: f64,
    duplicate: f64,
    reorder: f64,
    jitter: u64,
    vlans: Vec<u16>,
}

struct Stage {
    now: u64,
    parties: BTreeMap<char, Party>,
    dialogs: Vec<Live>,
    faults: Faults,
    chance: Chance,
    frames: Vec<(u64, Vec<u8>)>,
    last_sip: Option<Vec<u8>>,
    id: u16,
}

impl Stage {
    fn new() -> Self {
        Self {
            now: START,
            parties: BTreeMap::new(),
            dialogs: Vec::new(),
            faults: Faults::default(),
            chance: Chance::new(1, 0),
            frames: Vec::new(),
            last_sip: None,
            id: 0,
        }
    }

    fn finish(mut self) -> Scenario {
        self.frames.sort_by_key(|&(at, _)| at);
        let calls = self
            .dialogs
            .into_iter()
            .map(|live| {
                let mut streams: Vec<StreamFacts> =
                    live.streams.into_values().map(|sender| sender.facts).collect();
                streams.sort_by_key(|stream| stream.first);
                CallFacts {
                    call_id: live.text.call_id,
                    caller: live.caller,
                    callee: live.callee,
                    streams,
                }
            })
            .collect();
        Scenario { frames: self.frames, calls, end: self.now }
    }

    fn say(&mut self, statement: &str) -> Result<(), String> {
        let words: Vec<&str> = statement.split_whitespace().collect();
        match words.as_slice() {
            ["idle", time] => self.now += nanoseconds(time)?,
            ["set", settings @ ..] => self.set(settings)?,
            ["again"] => {
                let frame = self.last_sip.clone().ok_or("nothing was said yet")?;
                self.frames.push((self.now, frame));
                self.now += SIP_STEP;
            }
            ["rtp", time, rest @ ..] => self.talk(nanoseconds(time)?, rest)?,
            ["dtmf", way, digit] => self.dtmf(way, digit)?,
            [letter, "=", address, more @ ..] => self.declare(letter, address, more)?,
            [way, what, words @ ..] => self.signal(way, what, words)?,
            _ => return Err("what is this".to_owned()),
        }
        Ok(())
    }

    fn party(&mut self, letter: char) -> &mut Party {
        self.parties.entry(letter).or_insert_with(|| Party::new(letter))
    }

    fn declare(&mut self, letter: &str, address: &str, more: &[&str]) -> Result<(), String> {
        let letter = single(letter)?;
        let (number, ip) = address.split_once('@').ok_or("want number@address")?;
        let ip: Ipv4Addr = parse(ip)?;
        let mut party =
            Party { number: number.to_owned(), inside: ip, outside: ip, ..Party::new(letter) };
        for word in more {
            match word.split_once('=').ok_or("want key=value")? {
                ("sip", port) => party.sip = parse(port)?,
                ("rtp", port) => party.rtp = parse(port)?,
                ("nat", ip) => party.outside = parse(ip)?,
                ("hz", tone) => party.hertz = parse(tone)?,
                (key, _) => return Err(format!("no key {key}")),
            }
        }
        self.parties.insert(letter, party);
        Ok(())
    }

    fn set(&mut self, settings: &[&str]) -> Result<(), String> {
        for setting in settings {
            match setting.split_once('=').ok_or("want key=value")? {
                ("loss", share) => self.faults.loss = percent(share)?,
                ("dup", share) => self.faults.duplicate = percent(share)?,
                ("reorder", share) => self.faults.reorder = percent(share)?,
                ("jitter", time) => self.faults.jitter = nanoseconds(time)?,
                ("seed", seed) => self.chance = Chance::new(parse(seed)?, 0),
                ("vlan", "0") => self.faults.vlans.clear(),
                ("vlan", tags) => {
                    self.faults.vlans = tags.split(',').map(parse).collect::<Result<_, _>>()?;
                }
                (key, _) => return Err(format!("no key {key}")),
            }
        }
        Ok(())
    }

    /// The dialog between two parties; a fresh one if there is none or the last is over.
    fn dialog(&mut self, caller: char, callee: char, fresh: bool) -> Option<usize> {
        let known = self.dialogs.iter().rposition(|live| {
            [(caller, callee), (callee, caller)].contains(&(live.caller, live.callee))
        });
        if let Some(known) = known
            && !(fresh && self.dialogs.get(known).is_some_and(|live| live.over))
        {
            return Some(known);
        }
        let (a, b) = (self.party(caller).phone(), self.party(callee).phone());
        let n = self.dialogs.len() + 1;
        self.dialogs.push(Live {
            text: Dialog {
                call_id: format!("call-{n}-{caller}{callee}@scenario"),
                caller: a,
                callee: b,
                caller_tag: format!("{caller}{n}"),
                callee_tag: format!("{callee}{n}"),
            },
            caller,
            callee,
            cseq: 0,
            request: None,
            answered: false,
            up: false,
            over: false,
            version: 0,
            codec: Codec::Pcmu,
            ptime: 20,
            streams: BTreeMap::new(),
        });
        Some(n - 1)
    }

    fn signal(&mut self, way: &str, what: &str, words: &[&str]) -> Result<(), String> {
        let (from, to) = direction(way)?;
        let code: Option<u16> = what.parse().ok();
        let method = if what == "reINVITE" { "INVITE" } else { what };
        let invite = code.is_none() && method == "INVITE";
        // Responses travel from callee to caller.
        let (caller, callee) = if code.is_some() { (to, from) } else { (from, to) };
        let index = self.dialog(caller, callee, invite).ok_or("no dialog")?;
        let mut sender = self.party(from).clone();
        let receiver = self.party(to).clone();
        let Some(live) = self.dialogs.get_mut(index) else { return Ok(()) };

        let (method, cseq, asker) = match code {
            Some(_) => {
                let asked = live.request.clone().filter(|(_, _, asker)| *asker == to);
                asked.unwrap_or(("INVITE".to_owned(), 1, to))
            }
            None => {
                if !(matches!(method, "ACK" | "CANCEL") || live.answered && live.cseq == 0) {
                    live.cseq += 1;
                }
                live.cseq = live.cseq.max(1);
                if method != "ACK" {
                    live.request = Some((method.to_owned(), live.cseq, from));
                }
                (method.to_owned(), live.cseq, from)
            }
        };
        let mut said = Words { ptime: live.ptime, ..Words::default() };
        for word in words {
            said.hear(word, &mut sender)?;
        }
        let carries = match (code, method.as_str()) {
            (Some(183 | 200) | None, "INVITE") => !said.silent,
            _ => said.sdp,
        };
        if carries {
            live.version += 1;
            live.ptime = said.ptime;
            if said.codecs.is_empty() {
                said.codecs.push(live.codec);
            }
            live.codec = said.codecs.first().copied().unwrap_or(live.codec);
        }
        let offer = Offer {
            media: (sender.inside, sender.rtp).into(),
            codecs: &said.codecs,
            ptime: said.ptime,
            direction: said.direction.as_deref().unwrap_or("sendrecv"),
            version: live.version,
            crypto: None,
        };
        let sdp = carries.then(|| offer.text());
        let message = Message {
            what: code.map_or(Ok(method.as_str()), Err),
            forward: asker == live.caller,
            method: &method,
            cseq,
            tagged: live.answered || code.is_some_and(|code| code > 100) || method == "ACK",
            extra: &said.extra,
            sdp: sdp.as_deref(),
        };
        let text = live.text.text(message);
        live.follow(code, &method);
        self.parties.insert(from, sender.clone());
        let (sender, receiver) = match said.hop {
            Some((first, second)) => (self.party(first).clone(), self.party(second).clone()),
            None => (sender, receiver),
        };
        let (src, dst) = ((sender.outside, sender.sip), (receiver.outside, receiver.sip));
        let mut frame = Frame::udp(&self.faults.vlans, src.into(), dst.into(), &text);
        self.id = self.id.wrapping_add(1);
        frame.seal(self.id);
        self.last_sip = Some(frame.bytes().to_vec());
        self.frames.push((self.now, frame.into_bytes()));
        self.now += SIP_STEP;
        Ok(())
    }

    /// The directions an `rtp` names, or all that are up.
    fn directions(&self, words: &[&str]) -> Result<Vec<(char, char)>, String> {
        if !words.is_empty() {
            return words.iter().map(|way| direction(way)).collect();
        }
        let up = self.dialogs.iter().filter(|live| live.up && !live.over);
        let both: Vec<_> =
            up.flat_map(|live| [(live.caller, live.callee), (live.callee, live.caller)]).collect();
        if both.is_empty() { Err("no call is up".to_owned()) } else { Ok(both) }
    }

    fn talk(&mut self, time: u64, words: &[&str]) -> Result<(), String> {
        let begin = self.now;
        for (from, to) in self.directions(words)? {
            let index = self.dialog(from, to, false).ok_or("no dialog")?;
            let tick = self.dialogs.get(index).map_or(20, |live| u64::from(live.ptime)) * MS;
            // Senders do not tick together: each party's packets leave at a phase of its own.
            let phase = u64::from(u32::from(from) % 7) * 1_300_000;
            self.resume(index, from);
            let mut at = begin + phase;
            while at + tick <= begin + phase + time {
                self.audio(index, from, to, at)?;
                at += tick;
            }
        }
        self.now = begin + time;
        Ok(())
    }

    fn resume(&mut self, index: usize, from: char) {
        if let Some(sender) =
            self.dialogs.get_mut(index).and_then(|live| live.streams.get_mut(&from))
        {
            sender.resumed = true;
        }
    }

    /// The stream from one party to the other, as its addresses are now.
    fn sender(&mut self, index: usize, from: char, to: char, at: u64) -> Option<&mut Sender> {
        let (src, dst) = (self.party(from).clone(), self.party(to).clone());
        let first = (self.chance.word(), self.chance.half(), self.chance.word());
        let live = self.dialogs.get_mut(index)?;
        let (source, target) =
            ((src.outside, src.rtp).into(), SocketAddr::from((dst.outside, dst.rtp)));
        let sender = live.streams.entry(from).or_insert_with(|| Sender {
            facts: StreamFacts {
                party: from,
                src: source,
                dst: target,
                ssrc: first.0,
                hertz: src.hertz,
                first: at,
                last: at,
                packets: 0,
                lost: 0,
                duplicates: 0,
            },
            sequence: first.1,
            base: first.2,
            resumed: true,
        });
        (sender.facts.src, sender.facts.dst) = (source, target);
        Some(sender)
    }

    fn audio(&mut self, index: usize, from: char, to: char, at: u64) -> Result<(), String> {
        let (codec, ptime) =
            self.dialogs.get(index).map_or((Codec::Pcmu, 20), |live| (live.codec, live.ptime));
        let sender = self.sender(index, from, to, at).ok_or("no dialog")?;
        let elapsed = samples(at - sender.facts.first);
        let head = RtpHead {
            marker: std::mem::take(&mut sender.resumed),
            payload_type: codec.payload_type(),
            sequence: sender.sequence,
            timestamp: sender.base.wrapping_add(elapsed),
            ssrc: sender.facts.ssrc,
        };
        let mut payload = head.bytes().to_vec();
        let step = sender.facts.hertz * std::f64::consts::TAU / 8000.0;
        payload.extend(
            (elapsed..elapsed + ptime * 8).map(|k| codec.encode(tone(f64::from(k) * step))),
        );
        sender.sequence = sender.sequence.wrapping_add(1);
        sender.facts.packets += 1;
        sender.facts.last = at + u64::from(ptime) * MS;
        let (src, dst) = (sender.facts.src, sender.facts.dst);

        let faults = self.faults.clone();
        if self.chance.happens(faults.loss) {
            self.count(index, from, |facts| facts.lost += 1);
            return Ok(());
        }
        let mut when = at + self.chance.below(faults.jitter);
        if self.chance.happens(faults.reorder) {
            when += u64::from(ptime) * MS * 3 / 2;
        }
        let mut frame = Frame::udp(&faults.vlans, src, dst, &payload);
        self.id = self.id.wrapping_add(1);
        frame.seal(self.id);
        if self.chance.happens(faults.duplicate) {
            self.count(index, from, |facts| facts.duplicates += 1);
            self.frames.push((when + MS, frame.bytes().to_vec()));
        }
        self.frames.push((when, frame.into_bytes()));
        Ok(())
    }

    fn count(&mut self, index: usize, from: char, add: impl FnOnce(&mut StreamFacts)) {
        if let Some(sender) =
            self.dialogs.get_mut(index).and_then(|live| live.streams.get_mut(&from))
        {
            add(&mut sender.facts);
        }
    }

    /// RFC 4733: eight packets with one timestamp, the last three of them ends.
    fn dtmf(&mut self, way: &str, digit: &str) -> Result<(), String> {
        let (from, to) = direction(way)?;
        let event = "0123456789*#ABCD".find(single(digit)?).ok_or("want 0-9 * # A-D")?;
        let index = self.dialog(from, to, false).ok_or("no dialog")?;
        let (begin, vlans) = (self.now, self.faults.vlans.clone());
        let sender = self.sender(index, from, to, begin).ok_or("no dialog")?;
        let timestamp = sender.base.wrapping_add(samples(begin - sender.facts.first));
        let mut frames = Vec::new();
        for k in 0..8_u16 {
            let head = RtpHead {
                marker: k == 0,
                payload_type: TELEPHONE_EVENT,
                sequence: sender.sequence,
                timestamp,
                ssrc: sender.facts.ssrc,
            };
            let [high, low] = (160 * (k + 1).min(6)).to_be_bytes();
            let mut payload = head.bytes().to_vec();
            let volume = if k >= 5 { 0x8a } else { 0x0a };
            payload.extend([u8::try_from(event).unwrap_or(0), volume, high, low]);
            sender.sequence = sender.sequence.wrapping_add(1);
            let frame = Frame::udp(&vlans, sender.facts.src, sender.facts.dst, &payload);
            frames.push((begin + u64::from(k) * 20 * MS, frame.into_bytes()));
        }
        self.frames.append(&mut frames);
        self.now += 160 * MS;
        Ok(())
    }
}

impl Live {
    fn follow(&mut self, code: Option<u16>, method: &str) {
        match (code, method) {
            (Some(183), "INVITE") => self.up = true,
            (Some(200..=299), "INVITE") => (self.up, self.answered) = (true, true),
            (Some(code), "INVITE")
                if code >= 300 && code != 401 && code != 407 && !self.answered =>
            {
                (self.up, self.over) = (false, true);
            }
            (None, "BYE") | (None, "CANCEL") => self.over = true,
            _ => {}
        }
    }
}

/// What the words after a message say.
#[derive(Default)]
struct Words {
    codecs: Vec<Codec>,
    direction: Option<String>,
    ptime: u32,
    sdp: bool,
    silent: bool,
    extra: String,
    /// Whose addresses it travels between.
    hop: Option<(char, char)>,
}

impl Words {
    fn hear(&mut self, word: &str, sender: &mut Party) -> Result<(), String> {
        match word.split_once('=').unwrap_or((word, "")) {
            ("pcmu", _) => self.codecs.push(Codec::Pcmu),
            ("pcma", _) => self.codecs.push(Codec::Pcma),
            ("sendrecv" | "sendonly" | "recvonly" | "inactive", _) => {
                self.direction = Some(word.to_owned());
            }
            ("ptime", ms) => self.ptime = parse(ms)?,
            ("port", port) => sender.rtp = parse(port)?,
            ("sdp", _) => self.sdp = true,
            ("nosdp", _) => self.silent = true,
            ("pai", user) => {
                let identity = format!("P-Asserted-Identity: <sip:{user}@{}>\r\n", sender.inside);
                self.extra.push_str(&identity);
            }
            ("head", header) => {
                let (name, value) = header.split_once(':').ok_or("want head=Name:VALUE")?;
                self.extra.push_str(&format!("{name}: {}\r\n", value.replace('~', " ")));
            }
            ("hop", way) => {
                let (from, to) = way.split_once('>').ok_or("want hop=a>b")?;
                self.hop = Some((single(from)?, single(to)?));
            }
            _ => return Err(format!("no word {word}")),
        }
        Ok(())
    }
}

fn direction(way: &str) -> Result<(char, char), String> {
    let (from, to) = way.split_once("->").ok_or("want a->b")?;
    Ok((single(from)?, single(to)?))
}

fn single(letter: &str) -> Result<char, String> {
    let mut letters = letter.chars();
    match (letters.next(), letters.next()) {
        (Some(letter), None) => Ok(letter),
        _ => Err(format!("{letter}: want one letter")),
    }
}

fn parse<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("cannot read {text}"))
}

fn percent(text: &str) -> Result<f64, String> {
    let share: f64 = parse(text.trim_end_matches('%'))?;
    Ok(share / 100.0)
}

fn nanoseconds(text: &str) -> Result<u64, String> {
    let (number, unit) = match (text.strip_suffix("ms"), text.strip_suffix('s')) {
        (Some(number), _) => (number, MS),
        (None, Some(number)) => (number, 1000 * MS),
        (None, None) => return Err(format!("{text}: want 2s or 500ms")),
    };
    // To a tenth of a unit: 1.5s.
    let (whole, tenths) = number.split_once('.').unwrap_or((number, "0"));
    let tenths: u64 = if tenths.len() == 1 {
        parse(tenths)?
    } else {
        return Err(format!("{text}: one decimal"));
    };
    Ok(parse::<u64>(whole)? * unit + tenths * unit / 10)
}

fn samples(elapsed: u64) -> u32 {
    // RTP time wraps; so do we.
    u32::try_from(elapsed / 125_000 % (1 << 32)).unwrap_or(0)
}

#[expect(clippy::cast_possible_truncation, reason = "within the amplitude")]
fn tone(phase: f64) -> i16 {
    (phase.sin() * AMPLITUDE).round() as i16
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(text: &str) -> Vec<String> {
        play(text)
            .unwrap()
            .frames
            .iter()
            .map(|(at, frame)| {
                let payload = &frame[42..];
                let said = if payload[0] == 0x80 {
                    format!("rtp {}", payload[1] & 0x7f)
                } else {
                    String::from_utf8_lossy(payload).lines().next().unwrap_or("").to_owned()
                };
                format!("{} {said}", (at - START) / MS)
            })
            .collect()
    }

    #[test]
    fn a_call_reads_as_it_is_written() {
        let said = heard("a->b INVITE pcma; b->a 180; b->a 200; a->b ACK; rtp 40ms a->b; a->b BYE");
        let want = [
            "0 INVITE sip:1002@192.168.1.12 SIP/2.0",
            "10 SIP/2.0 180 Ringing",
            "20 SIP/2.0 200 OK",
            "30 ACK sip:1002@192.168.1.12 SIP/2.0",
            "47 rtp 8",
            "67 rtp 8",
            "80 BYE sip:1002@192.168.1.12 SIP/2.0",
        ];
        assert_eq!(said, want);
    }

    #[test]
    fn faults_are_counted() {
        let scene = play(
            "set loss=10% dup=10% vlan=5; a->b INVITE; b->a 200; rtp 4s; dtmf a->b 5; a->b BYE",
        )
        .unwrap();
        let [a, b] = scene.calls[0].streams.as_slice() else { panic!("two streams") };
        assert_eq!((a.packets, b.packets), (200, 200));
        let there = scene.frames.len() - 3 - 8;
        assert_eq!(there, (400 - a.lost - b.lost + a.duplicates + b.duplicates) as usize);
        assert!(scene.frames.iter().all(|(_, frame)| frame[12..16] == [0x81, 0, 0, 5]));
        assert!(scene.frames.windows(2).all(|pair| pair[0].0 <= pair[1].0));
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        for (text, why) in [
            ("rtp 2s", "rtp 2s: no call is up"),
            ("a->b INVITE g729", "a->b INVITE g729: no word g729"),
            ("idle soon", "idle soon: soon: want 2s or 500ms"),
        ] {
            assert_eq!(play(text).unwrap_err(), why);
        }
    }

    #[test]
    fn a_call_after_a_refused_one_is_another() {
        let scene =
            play("a->b INVITE; b->a 486; a->b ACK; a->b INVITE; b->a 200; b->a BYE").unwrap();
        assert_eq!(scene.calls.len(), 2);
        let scene =
            play("a->b INVITE; b->a 407; a->b ACK; a->b INVITE; b->a 200; b->a BYE").unwrap();
        assert_eq!(scene.calls.len(), 1);
    }
}
