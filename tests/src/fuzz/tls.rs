//! TLS from outside: hellos, records, key logs, and connections whose keys everybody knows.

use super::{
    input::Input,
    tls_seal::{RANDOM, Sealer, Suite, key_log, record},
};
use orkbase::{
    packet::decoder::TcpStream,
    time::Timestamp,
    tls::{Event, Settings, Tls},
};
use std::net::SocketAddr;

const APPLICATION_DATA: u8 = 23;
const HANDSHAKE: u8 = 22;
const CHANGE_CIPHER_SPEC: u8 = 20;
/// A direction is known for TLS or not by this many bytes: its first segment has them.
const FIRST_BYTES: usize = 16;
/// All secrets.
const EVERY_KEY: u8 = 0x1F;

/// Something that happens.
#[derive(Clone, Debug)]
enum Step {
    /// A segment of a side (0 is the client); bytes before it may be missing.
    Bytes(usize, Vec<u8>, bool),
    Close(usize),
    Keys(String),
    /// So many milliseconds pass.
    Wait(u64),
}

/// What came of it.
#[derive(Debug, Default, Eq, PartialEq)]
struct Story {
    /// Plain text of either side; a new piece begins where some is missing.
    plain: [Vec<Vec<u8>>; 2],
    closed: usize,
    notices: Vec<String>,
    counters: String,
    records_failed: u64,
    lost_bytes: u64,
}

/// Input: a byte of settings; then an honest conversation, or steps of any kind. Twice the same gives
/// twice the same, and so does a stream cut at other places. What honest ends said is read, whenever
/// the keys come.
pub(super) fn connection(data: &[u8]) {
    let mut input = Input::new(data);
    let how = input.byte();
    let suite = *Suite::ALL.get(usize::from(how & 3)).unwrap_or(&Suite::Tls13);
    if how & 0x80 != 0 {
        return honest(suite, &mut input);
    }
    let narrow = how & 8 != 0;
    let settings = Settings { await_keys: how & 4 == 0, ..Settings::default() };
    let settings = if narrow {
        Settings {
            signalling_bytes: 900,
            other_bytes: 300,
            total_bytes: 1_500,
            connections: 2,
            secrets: 1,
            ..settings
        }
    } else {
        settings
    };
    let port = if how & 16 == 0 { 5_061 } else { 443 };
    let size = usize::from(input.byte()) + 1;
    let steps = steps(suite, &mut input);
    let once = play(&settings, port, &steps);
    assert_eq!(once, play(&settings, port, &steps), "the same steps gave something else");
    if !narrow {
        assert_eq!(once, play(&settings, port, &cut(&steps, size)), "cut into {size} bytes");
    }
}

/// Both ends keep to the protocol.
fn honest(suite: Suite, input: &mut Input<'_>) {
    let (when, size) = (usize::from(input.byte()), usize::from(input.byte()) + 1);
    let mut steps =
        vec![Step::Bytes(0, client_hello(0), false), Step::Bytes(1, server_hello(suite), false)];
    let mut sealers = [0, 1].map(|side| Sealer::new(suite, side, false));
    let mut said: [Vec<u8>; 2] = [Vec::new(), Vec::new()];
    for side in [1, 0] {
        let Some(sealer) = sealers.get_mut(side) else { return };
        let mut bytes = record(CHANGE_CIPHER_SPEC, 1).to_vec();
        bytes.push(1);
        bytes.extend(sealer.seal(HANDSHAKE, &[&[20, 0, 0, 12][..], &[0x77; 12]].concat(), 0));
        if suite == Suite::Tls13 {
            *sealer = Sealer::new(suite, side, true);
        }
        steps.push(Step::Bytes(side, bytes, false));
    }
    while !input.is_empty() {
        let how = input.byte();
        let side = usize::from(how & 1);
        let (Some(sealer), Some(said)) = (sealers.get_mut(side), said.get_mut(side)) else {
            return;
        };
        let bytes = if how & 6 == 6 && suite == Suite::Tls13 {
            let sealed = sealer.seal(HANDSHAKE, &[24, 0, 0, 1, 0], 0);
            sealer.update();
            sealed
        } else {
            let content = input.chunk();
            said.extend(content);
            sealer.seal(APPLICATION_DATA, content, how & 0xF0)
        };
        steps.push(Step::Bytes(side, bytes, false));
    }
    steps.insert(when.min(steps.len()), Step::Keys(key_log(EVERY_KEY)));
    let story = play(&Settings::default(), 5_061, &cut(&steps, size));
    let got = story.plain.map(|pieces| pieces.concat());
    assert!(
        got == said,
        "{:?} of {:?}",
        got.each_ref().map(Vec::len),
        said.each_ref().map(Vec::len)
    );
    assert_eq!((story.records_failed, story.lost_bytes, story.notices.len()), (0, 0, 0));
}

/// Steps of any kind.
fn steps(suite: Suite, input: &mut Input<'_>) -> Vec<Step> {
    let mut sealers =
        [0, 1].map(|side| [Sealer::new(suite, side, false), Sealer::new(suite, side, true)]);
    let mut steps = Vec::new();
    while !input.is_empty() {
        let how = input.byte();
        let side = usize::from(how >> 3 & 1);
        let bytes = match how & 7 {
            0 => input.chunk().to_vec(),
            1 => {
                let (kind, body) = (input.byte(), input.chunk());
                [&record(kind, body.len())[..], body].concat()
            }
            2 if side == 0 => client_hello(input.byte()),
            2 => server_hello(*input.pick(&Suite::ALL).unwrap_or(&suite)),
            3 => {
                let kind = input.byte();
                let sealer =
                    sealers.get_mut(side).and_then(|both| both.get_mut(usize::from(how >> 5 & 1)));
                let Some(sealer) = sealer else { continue };
                let sealed = sealer.seal(kind & 0x1F, input.chunk(), kind & 0xE0);
                if how & 0x40 != 0 {
                    sealer.update();
                }
                sealed
            }
            4 => {
                steps.push(Step::Keys(key_log(input.byte())));
                continue;
            }
            5 => {
                steps.push(Step::Keys(String::from_utf8_lossy(input.chunk()).into_owned()));
                continue;
            }
            6 => {
                steps.push(Step::Wait(u64::from(input.byte()) * 100));
                continue;
            }
            _ => {
                steps.push(Step::Close(side));
                continue;
            }
        };
        // What was sealed may be lost on its way.
        if how & 0x90 != 0x90 {
            steps.push(Step::Bytes(side, bytes, how & 0x10 != 0));
        }
    }
    steps
}

/// The same in segments of that size, but for the first of each direction.
fn cut(steps: &[Step], size: usize) -> Vec<Step> {
    let mut all = Vec::new();
    let mut seen = [0; 2];
    for step in steps {
        match step {
            Step::Bytes(side, bytes, gap)
                if seen.get(*side).is_some_and(|seen| *seen >= FIRST_BYTES) =>
            {
                for (number, piece) in bytes.chunks(size).enumerate() {
                    all.push(Step::Bytes(*side, piece.to_vec(), *gap && number == 0));
                }
            }
            Step::Bytes(side, bytes, _) => {
                if let Some(seen) = seen.get_mut(*side) {
                    *seen += bytes.len();
                }
                all.push(step.clone());
            }
            Step::Close(_) => {
                seen = [0; 2];
                all.push(step.clone());
            }
            Step::Keys(_) | Step::Wait(_) => all.push(step.clone()),
        }
    }
    all
}

fn play(settings: &Settings, port: u16, steps: &[Step]) -> Story {
    let client: SocketAddr = ([10, 0, 0, 1], 40_000).into();
    let server: SocketAddr = ([10, 0, 0, 2], port).into();
    let (mut tls, mut story) = (Tls::new(settings.clone()), Story::default());
    let mut now = Timestamp(1_700_000_000_000_000_000);
    let (mut bytes_in, mut bytes_out) = (0, 0);
    let mut drain = |tls: &mut Tls, story: &mut Story, bytes_in: usize| {
        while let Some(event) = tls.poll_event() {
            match event {
                Event::Plain { source, destination, data, gap } => {
                    let side = usize::from(source == server);
                    assert_eq!(
                        [source, destination],
                        if side == 0 { [client, server] } else { [server, client] }
                    );
                    bytes_out += data.len();
                    let Some(pieces) = story.plain.get_mut(side) else { continue };
                    match pieces.last_mut().filter(|_| !gap) {
                        Some(last) => last.extend(data),
                        None => pieces.push(data),
                    }
                }
                Event::Closed { .. } => story.closed += 1,
                Event::Noticed(notice) => story.notices.push(notice.to_string()),
            }
        }
        assert!(bytes_out <= bytes_in, "{bytes_out} bytes out of {bytes_in}");
    };
    for step in steps {
        match step {
            Step::Bytes(side, data, gap) => {
                bytes_in += data.len();
                let [source, destination] =
                    if *side == 0 { [client, server] } else { [server, client] };
                let stream = TcpStream { source, destination, data, gap: *gap, closed: false };
                let _claimed = tls.claims(&stream);
                tls.handle_stream(now, &stream);
            }
            Step::Close(side) => {
                let [source, destination] =
                    if *side == 0 { [client, server] } else { [server, client] };
                let stream = TcpStream { source, destination, data: &[], gap: false, closed: true };
                tls.handle_stream(now, &stream);
            }
            Step::Keys(text) => tls.handle_keys(now, text),
            Step::Wait(ms) => {
                now = now.plus_millis(*ms);
                tls.handle_timeout(now);
            }
        }
        drain(&mut tls, &mut story, bytes_in);
    }
    tls.finish();
    drain(&mut tls, &mut story, bytes_in);
    let counters = tls.counters();
    assert!(counters.decrypted <= counters.connections);
    assert!(counters.signalling <= counters.connections);
    assert!(story.closed as u64 == 2 * counters.connections, "{} ends", story.closed);
    story.counters = format!("{counters:?}");
    (story.records_failed, story.lost_bytes) = (counters.records_failed, counters.lost_bytes);
    story
}

/// A handshake message in a record of its own.
fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(body.len()).unwrap_or(u16::MAX).to_be_bytes();
    [&record(HANDSHAKE, body.len() + 4)[..], &[kind, 0, high, low], body].concat()
}

/// Offers what `what` says by ALPN: nothing, `sip/2` or `h2`.
fn client_hello(what: u8) -> Vec<u8> {
    let alpn: &[u8] = match what & 3 {
        1 => &[0, 12, 0, 16, 0, 8, 0, 6, 5, b's', b'i', b'p', b'/', b'2'],
        2 => &[0, 9, 0, 16, 0, 5, 0, 3, 2, b'h', b'2'],
        _ => &[],
    };
    let [random, _] = RANDOM;
    message(1, &[&[3, 3], &random[..], &[0, 0, 2, 0x13, 1, 1, 0], alpn].concat())
}

fn server_hello(suite: Suite) -> Vec<u8> {
    let [high, low] = suite.number().to_be_bytes();
    let version: &[u8] = if suite == Suite::Tls13 { &[0, 6, 0, 43, 0, 2, 3, 4] } else { &[] };
    let [_, random] = RANDOM;
    message(2, &[&[3, 3], &random[..], &[0, high, low, 0], version].concat())
}
