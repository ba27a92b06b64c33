//! MGCP calls: what the core makes of them.

use ork_tests::generator::law::Codec;
use ork_tests::iax2::code;
use ork_tests::programs::workspace;
use ork_tests::rehearse::{Rehearsal, Tape, rehearse};
use ork_tests::talk::Talk;
use ork_tests::wire::PcapWriter;
use orkbase::call::settings::Settings;
use std::{fs, net::SocketAddr};

const AGENT: &str = "10.0.0.1:2727";
const ONE: &str = "10.0.0.5:2427";
const TWO: &str = "10.0.0.6:2427";
const MEDIA: [&str; 2] = ["10.0.0.5:4000", "10.0.0.6:5000"];

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn sdp(address: &str) -> String {
    let address = at(address);
    format!("\r\nv=0\r\nc=IN IP4 {}\r\nm=audio {} RTP/AVP 0\r\n", address.ip(), address.port())
}

struct Agent {
    talk: Talk,
    transaction: u32,
}

impl Agent {
    fn new() -> Self {
        Self { talk: Talk::new(1_700_000_000_000_000_000), transaction: 100 }
    }

    /// The agent's command to `gateway` and its answer.
    fn tell(&mut self, verb: &str, gateway: &str, rest: &str, answer: &str) {
        self.say(verb, AGENT, gateway, rest, answer);
    }

    fn notify(&mut self, gateway: &str, rest: &str) {
        self.say("NTFY", gateway, AGENT, rest, "200 # OK");
    }

    fn say(&mut self, verb: &str, from: &str, to: &str, rest: &str, answer: &str) {
        self.transaction += 1;
        let line = if [from, to].contains(&ONE) { "aaln/1@one" } else { "aaln/2@two" };
        let text = format!("{verb} {} {line} MGCP 1.0\r\n{rest}", self.transaction);
        self.talk.udp(at(from), at(to), text.as_bytes());
        let answer = answer.replace('#', &self.transaction.to_string());
        self.talk.udp(at(to), at(from), format!("{answer}\r\n").as_bytes());
    }

    /// Line 1 dials line 2, which answers.
    fn up(&mut self) {
        self.notify(ONE, "O: L/hd\r\n");
        self.notify(ONE, "O: D/1,D/0,D/0,D/2\r\n");
        let local =
            |connection: u8, media| format!("200 # OK\r\nI: {connection}\r\n{}", sdp(media));
        self.tell("CRCX", ONE, "C: A1\r\nL: p:20\r\nM: recvonly\r\n", &local(1, MEDIA[0]));
        let remote = format!("C: A1\r\nM: inactive\r\nS: L/rg\r\n{}", sdp(MEDIA[0]));
        self.tell("CRCX", TWO, &remote, &local(2, MEDIA[1]));
        self.talk.wait(1000);
        self.notify(TWO, "O: L/hd\r\n");
        self.tell("MDCX", TWO, "C: A1\r\nI: 2\r\nM: sendrecv\r\n", "200 # OK");
        let remote = format!("C: A1\r\nI: 1\r\nM: sendrecv\r\n{}", sdp(MEDIA[1]));
        self.tell("MDCX", ONE, &remote, "200 # OK");
    }

    fn voice(&mut self, packets: u32) {
        self.talk.voice(MEDIA.map(at), packets);
    }

    fn down(&mut self) {
        self.notify(ONE, "O: L/hu\r\n");
        self.tell("DLCX", ONE, "C: A1\r\nI: 1\r\n", "250 # OK\r\nP: PS=50");
        self.tell("DLCX", TWO, "C: A1\r\nI: 2\r\n", "250 # OK");
    }
}

fn run(agent: &Agent) -> Rehearsal {
    rehearse(&agent.talk.frames, Settings::default())
}

fn parties(tape: &Tape) -> (&str, &str) {
    let message = &tape.closing.as_ref().unwrap().message;
    (&message.localparty, &message.remoteparty)
}

fn check_sound(tape: &Tape, packets: usize) {
    assert_eq!(tape.samples.len(), packets * 160);
    for side in 0..2 {
        for (n, frame) in tape.samples.iter().enumerate() {
            assert_eq!(frame[side], Codec::Pcmu.decode(code(side, u32::try_from(n).unwrap())));
        }
    }
}

fn plain() -> Agent {
    let mut agent = Agent::new();
    agent.up();
    agent.voice(100);
    agent.down();
    agent
}

#[test]
fn two_lines_of_one_agent_are_one_call() {
    let got = run(&plain());
    let tape = got.only();
    assert_eq!(parties(tape), ("aaln/1@one", "1002"));
    let closing = tape.closing.as_ref().unwrap();
    assert_eq!(closing.message.nativecallid, "A1@10.0.0.1");
    assert_eq!((closing.why.as_str(), tape.ms()), ("hungup", 2000));
    assert_eq!(got.stages(), "start stop");
    check_sound(tape, 100);
    let counted = &got.counters;
    assert_eq!((counted.signals.mgcp.calls, counted.calls.calls_answered), (1, 1));
    assert_eq!(counted.calls.other_datagrams, 0);
}

#[test]
fn what_comes_twice_changes_nothing() {
    let mut agent = plain();
    let twice = |(at, bytes): &(u64, Vec<u8>)| [(*at, bytes.clone()), (*at + 1000, bytes.clone())];
    agent.talk.frames = agent.talk.frames.iter().flat_map(twice).collect();
    let (once, got) = (run(&plain()), run(&agent));
    assert_eq!(got.only().samples, once.only().samples);
    assert_eq!(got.stages(), "start stop");
    assert_eq!(got.counters.signals.mgcp.repeated, once.counters.signals.mgcp.messages);
}

#[test]
fn one_gateway_alone_tells_who_called() {
    let mut calling = Agent::new();
    calling.up();
    calling.voice(50);
    calling.down();
    // Without what the agent and the second gateway say to each other.
    let two = [10, 0, 0, 6];
    let hidden = |bytes: &[u8]| {
        let signalling = bytes[34..38].chunks(2).any(|port| port == 2427_u16.to_be_bytes());
        signalling && (bytes[26..30] == two || bytes[30..34] == two)
    };
    calling.talk.frames.retain(|(_, bytes)| !hidden(bytes));
    let got = run(&calling);
    assert_eq!(parties(got.only()), ("aaln/1@one", "1002"));
    check_sound(got.only(), 50);

    let mut called = Agent::new();
    called.tell("RQNT", TWO, "R: L/hd\r\nS: L/ci(10/14/17/26, 5551234, Ann), L/rg\r\n", "200 # OK");
    called.notify(TWO, "O: L/hd\r\n");
    let remote = format!("C: B2\r\nM: sendrecv\r\n{}", sdp(MEDIA[0]));
    called.tell("CRCX", TWO, &remote, &format!("200 # OK\r\nI: 2\r\n{}", sdp(MEDIA[1])));
    called.voice(50);
    called.say("DLCX", TWO, AGENT, "C: B2\r\nI: 2\r\nE: 900 - hardware error\r\n", "200 # OK");
    let got = run(&called);
    assert_eq!(parties(got.only()), ("5551234", "aaln/2@two"));
    check_sound(got.only(), 50);
}

#[test]
fn hold_is_told() {
    let mut agent = Agent::new();
    agent.up();
    agent.voice(50);
    agent.tell("MDCX", TWO, "C: A1\r\nI: 2\r\nM: inactive\r\n", "200 # OK");
    agent.talk.wait(40_000);
    agent.tell("MDCX", TWO, "C: A1\r\nI: 2\r\nM: sendrecv\r\n", "200 # OK");
    agent.talk.wait(50);
    agent.down();
    assert_eq!(run(&agent).stages(), "start hold resume stop");
}

#[test]
fn keys_after_the_answer_are_digits() {
    let mut agent = Agent::new();
    agent.up();
    agent.voice(10);
    agent.notify(ONE, "O: D/5\r\n");
    let repeated: Vec<_> = agent.talk.frames.iter().rev().take(2).rev().cloned().collect();
    agent.talk.frames.extend(repeated);
    agent.voice(10);
    agent.down();
    let got = run(&agent);
    let digits: Vec<_> = got.tags.iter().map(|tag| tag.tagtext.as_str()).collect();
    assert_eq!(digits, ["5"]);
}

#[test]
fn a_refused_connection_makes_no_call() {
    let mut agent = Agent::new();
    agent.notify(ONE, "O: L/hd, D/9\r\n");
    agent.tell("CRCX", ONE, "C: A1\r\nM: recvonly\r\n", "403 # out of endpoints");
    let got = run(&agent);
    assert_eq!((got.tapes.len(), got.counters.calls.calls_failed), (0, 1));
}

#[test]
fn a_call_whose_end_is_not_seen_ends_when_it_is_silent() {
    let mut agent = Agent::new();
    agent.up();
    agent.voice(50);
    agent.talk.wait(40_000);
    agent.notify(TWO, "O: L/hf\r\n");
    let got = run(&agent);
    assert_eq!(got.only().closing.as_ref().unwrap().why.as_str(), "silent");
}

#[test]
fn the_sample_capture_is_what_is_built_here() {
    let mut pcap = PcapWriter::new(Vec::new(), true);
    for (at, bytes) in plain().talk.frames {
        pcap.write(at, &bytes).unwrap();
    }
    let built = pcap.finish().unwrap();
    let path = workspace("pcaps/mgcp.pcap");
    if std::env::var_os("ORK_WRITE_SAMPLES").is_some() {
        fs::write(&path, &built).unwrap();
    }
    assert!(fs::read(&path).unwrap() == built, "run with ORK_WRITE_SAMPLES=1 to write it anew");
}
