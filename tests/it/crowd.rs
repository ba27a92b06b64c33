//! Many listeners, bad ones, and calls that are paused while somebody listens: the recorder as a process,
//! fed by a capture agent, and calls whose every block of samples tells what it is.

use crate::agents::{Recorder, envelope, recorder, send, started};
use ork_tests::{
    generator::{
        calls::{Spec, write},
        law::{Law, Side},
    },
    programs::wait_until,
    wrap::Capture,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    fs::File,
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpStream, UdpSocket},
    path::Path,
    thread,
    time::Duration,
};

/// Blocks by call, side and number.
type Blocks = BTreeSet<(u32, bool, u32)>;

struct Calls {
    law: Law,
    packets: Vec<(u64, Vec<u8>)>,
    call_ids: Vec<String>,
}

impl Calls {
    fn new(calls: u32, seconds: f64) -> Self {
        let spec = Spec { calls, seconds, stagger: 0.5, nanoseconds: true, ..Spec::default() };
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("calls.pcap");
        let truth = write(&spec, File::create(&path).unwrap()).unwrap();
        let frames = Capture::read(&path).unwrap().frames;
        let packets = frames.iter().map(|frame| (frame.at, envelope(frame.at, &frame.bytes, "")));
        let call_ids = truth.calls.iter().map(|call| call.call_id.clone()).collect();
        Self { law: Law::new(spec.codec), packets: packets.collect(), call_ids }
    }

    fn send(&self, to: SocketAddr) {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        send(&self.packets, |packet| {
            socket.send_to(packet, to).unwrap();
        });
    }

    /// What two channels of samples say; a block in the wrong channel is none.
    fn blocks(&self, frames: &[[i16; 2]]) -> Blocks {
        let mut found = Blocks::new();
        for channel in 0..2 {
            let samples: Vec<i16> = frames.iter().map(|frame| frame[channel]).collect();
            for (_, mark) in self.law.marks(&samples) {
                assert_eq!(mark.side == Side::Caller, channel == 0, "{mark:?}");
                found.insert((mark.call, channel == 0, mark.block));
            }
        }
        found
    }

    /// The samples of every tape by what its call is called in the names of files, when all are there.
    fn tapes(&self, recorder: &Recorder) -> BTreeMap<u32, Vec<[i16; 2]>> {
        wait_until("all tapes are finished", || recorder.finished().len() >= self.call_ids.len());
        let mut tapes = BTreeMap::new();
        for path in recorder.finished() {
            let mut wav = hound::WavReader::open(&path).unwrap();
            let samples: Vec<i16> = wav.samples().map(Result::unwrap).collect();
            let frames: Vec<[i16; 2]> =
                samples.chunks_exact(2).map(|two| [two[0], two[1]]).collect();
            let call = self.blocks(&frames).first().unwrap().0;
            assert!(tapes.insert(call, frames).is_none(), "one tape a call");
        }
        tapes
    }
}

fn frames_of(path: &Path) -> Vec<[i16; 2]> {
    let mut wav = hound::WavReader::open(path).unwrap();
    let samples: Vec<i16> = wav.samples().map(Result::unwrap).collect();
    samples.chunks_exact(2).map(|two| [two[0], two[1]]).collect()
}

fn frames(bytes: &[u8]) -> Vec<[i16; 2]> {
    let sample = |b: &[u8]| i16::from_le_bytes([b[0], b[1]]);
    bytes.chunks_exact(4).map(|b| [sample(b), sample(&b[2..])]).collect()
}

fn ask(door: SocketAddr, target: &str) -> TcpStream {
    let mut stream = TcpStream::connect(door).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    write!(stream, "GET {target} HTTP/1.0\r\n\r\n").unwrap();
    stream
}

fn answer(mut stream: TcpStream) -> Option<(String, Vec<u8>)> {
    let mut all = Vec::new();
    stream.read_to_end(&mut all).unwrap();
    let end = all.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let body = all.split_off(end);
    Some((String::from_utf8(all).unwrap(), body))
}

fn status(recorder: &Recorder) -> serde_json::Value {
    let (_, body) = answer(ask(recorder.said("command="), "/api/status")).unwrap();
    serde_json::from_slice(&body).unwrap()
}

const DOORS: [&str; 3] =
    ["doors.command=127.0.0.1:0", "doors.events=127.0.0.1:0", "doors.live=127.0.0.1:0"];

fn spawn<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> thread::JoinHandle<T> {
    thread::Builder::new().spawn(work).unwrap()
}

/// Five hundred listen to two hundred calls: each tape has every block, as without them.
#[test]
fn five_hundred_listeners_cost_no_recording_a_sample() {
    const LISTENERS: usize = 500;
    let calls = Calls::new(200, 6.0);
    let heard = {
        let recorder = recorder(&DOORS);
        let (agents, door) = (recorder.address, recorder.said("live="));
        thread::scope(|scope| {
            scope.spawn(|| calls.send(agents));
            wait_until("the calls are listed", || {
                let (_, body) = answer(ask(door, "/calls")).unwrap();
                let list: serde_json::Value = serde_json::from_slice(&body).unwrap();
                list.as_array().unwrap().len() == calls.call_ids.len()
            });
            // Half of them never read.
            let listeners: Vec<_> = (0..LISTENERS)
                .map(|n| {
                    let id = &calls.call_ids[n % calls.call_ids.len()];
                    ask(door, &format!("/?type=stream&stereo=true&nativecallid={id}"))
                })
                .collect();
            wait_until("they listen", || {
                status(&recorder)["counters"]["live.listening"] == LISTENERS
            });
            let (stalled, reading): (Vec<_>, Vec<_>) =
                listeners.into_iter().enumerate().partition(|(n, _)| n % 2 == 0);
            let reading = spawn(move || {
                let heard = reading.into_iter().map(|(n, stream)| (n, answer(stream).unwrap().1));
                heard.collect::<Vec<_>>()
            });
            let heard = reading.join().unwrap();
            drop(stalled);
            let tapes = calls.tapes(&recorder);
            assert_eq!(tapes.len(), calls.call_ids.len());
            for (n, bytes) in &heard {
                let call = u32::try_from(n % calls.call_ids.len()).unwrap();
                let on_tape = calls.blocks(&tapes[&call]);
                let blocks = calls.blocks(&frames(bytes));
                assert!(blocks.is_subset(&on_tape), "listener {n} heard what is on no tape");
                assert!(blocks.len() > 100, "listener {n} heard {} blocks", blocks.len());
            }
            tapes
        })
    };
    let alone = {
        let recorder = recorder(&DOORS[..1]);
        calls.send(recorder.address);
        calls.tapes(&recorder)
    };
    for (call, tape) in &alone {
        assert_eq!(calls.blocks(&heard[call]), calls.blocks(tape), "call {call}");
    }
}

/// A number that falls must not be called a counter: Prometheus would take the fall for a restart.
#[test]
fn numbers_that_fall_are_gauges() {
    const FALL: [&str; 19] = [
        "agents_connected",
        "call_live",
        "capture_interfaces_open",
        "disk_free_bytes",
        "http_events_half_closed",
        "http_events_sessions",
        "info",
        "live_listening",
        "live_playing",
        "process_queued",
        "recordings_live",
        "rtp_flows_live",
        "tape_backlog_bytes",
        "tape_finish_waiting",
        "tape_sync_behind_ms",
        "track_oldest_age_s",
        "track_outbox_rows",
        "track_queued",
        "uptime_seconds",
    ];
    let recorder = recorder(&DOORS);
    let command = recorder.said("command=");
    wait_until("every number is there", || {
        let (_, body) = answer(ask(command, "/metrics")).unwrap();
        let text = String::from_utf8(body).unwrap();
        let kinds = text.lines().filter_map(|line| line.strip_prefix("# TYPE orkaudio_"));
        let gauges: BTreeSet<&str> = kinds.filter_map(|line| line.strip_suffix(" gauge")).collect();
        assert!(gauges.is_subset(&FALL.into()), "{gauges:?}");
        gauges.len() == FALL.len()
    });
}

/// What is said during a pause is nowhere: not in the ear of whoever listens, not on the tape.
#[test]
fn a_pause_is_a_pause_for_listeners_too() {
    let calls = Calls::new(1, 8.0);
    let recorder = recorder(&DOORS);
    let (agents, door, command) =
        (recorder.address, recorder.said("live="), recorder.said("command="));
    let id = calls.call_ids[0].clone();
    thread::scope(|scope| {
        scope.spawn(|| calls.send(agents));
        let listed = || {
            let (_, body) = answer(ask(door, "/calls")).unwrap();
            String::from_utf8(body).unwrap().contains(&id)
        };
        wait_until("the call is listed", listed);
        let listener = ask(door, &format!("/?type=stream&stereo=true&nativecallid={id}"));
        let listener = scope.spawn(|| answer(listener).unwrap().1);
        let packets = || status(&recorder)["counters"]["rtp.packets"].as_u64().unwrap();
        let say = |verb: &str| {
            let said = answer(ask(command, &format!("/?type={verb}&nativecallid={id}"))).unwrap();
            assert!(said.0.contains("X-Matched: 1"), "{said:?}");
        };
        wait_until("two seconds were heard", || packets() > 200);
        say("pause");
        wait_until("two seconds were not", || packets() > 400);
        say("record");
        let heard = calls.blocks(&frames(&listener.join().unwrap()));
        let tape = calls.blocks(&calls.tapes(&recorder)[&0]);
        assert!(heard.is_subset(&tape), "{:?}", heard.difference(&tape));
        // What lies between the two halves, on either side: about two seconds of 10 ms.
        for side in [true, false] {
            for blocks in [&heard, &tape] {
                let numbers: Vec<u32> =
                    blocks.iter().filter(|(_, caller, _)| *caller == side).map(|b| b.2).collect();
                let gap = numbers.windows(2).map(|two| two[1] - two[0]).max().unwrap();
                assert!((150..400).contains(&gap), "{gap}");
                assert!(numbers.len() > 200, "{}", numbers.len());
            }
        }
    });
}

/// Slow, dead, half-open, garbled and by the thousand: the recording is whole, the memory flat.
#[test]
fn bad_clients_hurt_nobody() {
    let calls = Calls::new(5, 12.0);
    let recorder = recorder(&DOORS);
    let doors = ["command=", "events=", "live="].map(|word| recorder.said(word));
    let (agents, id) = (recorder.address, calls.call_ids[0].clone());
    let good = ask(doors[0], "/api/status");
    assert!(answer(good).is_some());
    let before = recorder.resident();
    thread::scope(|scope| {
        scope.spawn(|| calls.send(agents));
        let mut held = Vec::new();
        for door in doors {
            // A mebibyte of request, one without end, one of noise: whatever comes back.
            for request in
                [vec![b'a'; 1 << 20], b"GET /?type=stream&".repeat(60_000), vec![0, 255, 22, 3, 1]]
            {
                let mut stream = TcpStream::connect(door).unwrap();
                stream.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
                // It may be cut off in the middle of this.
                drop(stream.write_all(&request));
                held.push(stream);
            }
            // Half of a request, then a FIN.
            let mut half = TcpStream::connect(door).unwrap();
            half.write_all(b"GET /command?type=pi").unwrap();
            half.shutdown(Shutdown::Write).unwrap();
            held.push(half);
            // One that asks for everything and reads nothing.
            for _ in 0..50 {
                held.push(ask(door, &format!("/?type=stream&nativecallid={id}")));
            }
            // Far more than there is room for, without a word.
            for _ in 0..3_300 {
                held.extend(TcpStream::connect(door));
            }
        }
        // A byte at a time.
        let slow = spawn(move || {
            let mut slow = doors.map(|door| TcpStream::connect(door).unwrap());
            for byte in b"GET /?type=streamevents" {
                for stream in &mut slow {
                    drop(stream.write_all(&[*byte]));
                }
                thread::sleep(Duration::from_millis(100));
            }
        });
        slow.join().unwrap();
        let tapes = calls.tapes(&recorder);
        for (call, tape) in &tapes {
            let blocks = calls.blocks(tape);
            // 12 s of 10 ms on either side.
            let expected = (0..1_200).flat_map(|n| [(*call, true, n), (*call, false, n)]).collect();
            assert_eq!(blocks, expected, "call {call}");
        }
        let after = recorder.resident();
        assert!(after < before + 64 * 1_024, "{before} KiB before, {after} after");
        drop(held);
    });
    // And there is room again.
    for door in doors {
        wait_until("the door is free", || {
            TcpStream::connect(door).is_ok_and(|mut stream| {
                stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
                let asked = stream.write_all(b"GET /command?type=ping HTTP/1.0\r\n\r\n");
                asked.is_ok() && stream.read(&mut [0; 4]).is_ok_and(|length| length > 0)
            })
        });
    }
}

/// A recording that somebody had thrown away leaves nothing.
#[test]
fn a_discarded_recording_is_gone() {
    let calls = Calls::new(2, 2.0);
    let recorder =
        recorder(&[&DOORS[..], &["tapes.sidecar=true", "tapes.packets=always"]].concat());
    let command = recorder.said("command=");
    thread::scope(|scope| {
        scope.spawn(|| calls.send(recorder.address));
        wait_until("it is recorded", || {
            let target = format!("/?type=discard&nativecallid={}", calls.call_ids[0]);
            answer(ask(command, &target)).unwrap().0.contains("X-Matched: 1")
        });
    });
    let counter = |name: &str| status(&recorder)["counters"][name].as_u64();
    wait_until("both have ended", || {
        counter("tape.discarded") == Some(1) && counter("tape.finished") == Some(1)
    });
    let files = recorder.files();
    // The ledger tells of it, and holds nothing of it.
    let tapes = files.iter().filter(|path| path.iter().all(|part| part != "ledger"));
    let names: Vec<&OsStr> = tapes.filter_map(|path| path.extension()).collect();
    let kinds: BTreeSet<&OsStr> = names.iter().copied().collect();
    let wanted = ["json", "pcapng", "wav"].map(OsStr::new);
    assert_eq!((names.len(), kinds), (3, BTreeSet::from(wanted)));
    assert_eq!(calls.blocks(&frames_of(&recorder.finished()[0])).first().unwrap().0, 1);
}

/// The log is set anew while it runs.
#[test]
fn the_log_is_set_anew() {
    let recorder = started(&DOORS, "[log]\nlevel = \"info\"\n");
    let command = recorder.said("command=");
    let listed = || answer(ask(command, "/?type=listloggingconfig")).unwrap().1;
    assert!(String::from_utf8(listed()).unwrap().to_lowercase().contains("info"));
    std::fs::write(recorder.settings(), "[log]\nlevel = \"debug\"\n").unwrap();
    let (_, said) = answer(ask(command, "/?type=reloadloggingconfig")).unwrap();
    assert!(String::from_utf8(said).unwrap().contains("<success>true</success>"));
    assert!(String::from_utf8(listed()).unwrap().to_lowercase().contains("debug"));
    std::fs::write(recorder.settings(), "[log]\nlevel = \"loud\"\n").unwrap();
    let (_, said) = answer(ask(command, "/?type=reloadloggingconfig")).unwrap();
    assert!(String::from_utf8(said).unwrap().contains("<success>false</success>"));
}
