//! Listening to calls while they last: real sockets, a recorder that capture agents feed.

use crate::agents::{envelopes, recorder, send};
use ork_tests::programs::wait_until;
use ork_tests::rehearse::{rehearse, rehearse_with};
use ork_tests::scenario::play;
use orkbase::call::{output::TapeId, settings::Settings};
use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream, UdpSocket},
    thread,
    time::Duration,
};

const CALL: &str = "a->b INVITE; b->a 180; b->a 200; a->b ACK; rtp 4s; a->b BYE; b->a 200";

fn get(door: SocketAddr, target: &str) -> (String, Vec<u8>) {
    let mut stream = TcpStream::connect(door).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    write!(stream, "GET {target} HTTP/1.1\r\nHost: {door}\r\nAccept: */*\r\n\r\n").unwrap();
    let mut all = Vec::new();
    stream.read_to_end(&mut all).unwrap();
    let end = all.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
    let body = all.split_off(end);
    (String::from_utf8(all).unwrap(), body)
}

fn frames(bytes: &[u8]) -> Vec<[i16; 2]> {
    let sample = |b: &[u8]| i16::from_le_bytes([b[0], b[1]]);
    bytes.chunks_exact(4).map(|b| [sample(b), sample(&b[2..])]).collect()
}

/// Every 20 ms of `heard` that are no silence lie on the tape, in this order; how many frames.
fn on_tape(heard: &[[i16; 2]], tape: &[[i16; 2]]) -> usize {
    let (mut from, mut found) = (0, 0);
    for chunk in heard.chunks_exact(160) {
        let silent = |frame: &[i16; 2]| *frame == [0, 0];
        let Some(first) = chunk.iter().position(|frame| !silent(frame)) else { continue };
        let last = chunk.iter().rposition(|frame| !silent(frame)).unwrap() + 1;
        let part = &chunk[first..last];
        let Some(place) = tape[from..].windows(part.len()).position(|window| window == part) else {
            // One side may not have been there yet when this was played.
            continue;
        };
        from += place;
        found += part.len();
    }
    found
}

#[test]
fn what_is_said_is_heard_while_it_is_said() {
    let recorder = recorder(&["doors.live=127.0.0.1:0"]);
    let door = recorder.said("live=");
    assert!(get(door, "/?type=stream&localparty=a").0.starts_with("HTTP/1.1 404 "));
    assert!(get(door, "/?type=stream").0.starts_with("HTTP/1.1 400 "));
    assert!(get(door, "/?type=stream&recid=x&format=tape").0.starts_with("HTTP/1.1 400 "));
    let (agents, scene) = (recorder.address, play(CALL).unwrap());
    let caller = thread::Builder::new().spawn(move || {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        send(&envelopes(&scene, ""), |packet| {
            socket.send_to(packet, agents).unwrap();
        });
    });
    let caller = caller.unwrap();
    let mut calls = serde_json::Value::Null;
    wait_until("the call is listed", || {
        calls = serde_json::from_slice(&get(door, "/calls").1).unwrap();
        calls[0]["orkuid"].is_string()
    });
    let uid = calls[0]["orkuid"].as_str().unwrap().to_owned();
    let party = calls[0]["localparty"].as_str().unwrap().to_owned();
    let asked = [
        format!("/?type=stream&recid={uid}&stereo=true"),
        format!("/?type=stream&localparty={party}"),
        format!("/anything?format=wav&stereo=true&orkuid={uid}&type=stream"),
        format!("/?type=stream&recid={uid}&format=opus"),
    ];
    let listen = |target: String| thread::Builder::new().spawn(move || get(door, &target)).unwrap();
    let listeners: Vec<_> = asked.into_iter().map(listen).collect();
    let heard: Vec<_> = listeners.into_iter().map(|thread| thread.join().unwrap()).collect();
    caller.join().unwrap();
    for (head, _) in &heard {
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.contains(&uid), "{head}");
        assert!(!head.to_ascii_lowercase().contains("chunked"), "{head}");
    }
    wait_until("the tape is finished", || !recorder.finished().is_empty());
    let mut wav = hound::WavReader::open(&recorder.finished()[0]).unwrap();
    let samples: Vec<i16> = wav.samples().map(Result::unwrap).collect();
    let tape: Vec<[i16; 2]> = samples.chunks_exact(2).map(|two| [two[0], two[1]]).collect();
    let stereo = frames(&heard[0].1);
    let found = on_tape(&stereo, &tape);
    assert!(found > tape.len() / 2, "{found} of {} frames, {} came", tape.len(), stereo.len());
    let mixed: Vec<[i16; 2]> =
        tape.iter().map(|[left, right]| [left.saturating_add(*right), 0]).collect();
    let mono = heard[1].1.chunks_exact(2).map(|b| [i16::from_le_bytes([b[0], b[1]]), 0]);
    let found = on_tape(&mono.collect::<Vec<_>>(), &mixed);
    assert!(found > tape.len() / 2, "{found} of {} frames mixed", tape.len());
    assert!(heard[2].1.starts_with(b"RIFF"));
    let found = on_tape(&frames(&heard[2].1[44..]), &tape);
    assert!(found > tape.len() / 2, "{found} of {} frames behind a header", tape.len());
    assert!(heard[3].1.starts_with(b"OggS"));
}

#[test]
fn tapes_are_the_same_whoever_listens() {
    let scenes = [
        CALL,
        "a->b INVITE; b->a 200; a->b ACK; rtp 2s; a->b INVITE sendonly; b->a 200; a->b ACK; idle 1s; \
         a->b INVITE; b->a 200; a->b ACK; rtp 2s; a->b BYE; b->a 200",
        "a->b INVITE pcma; b->a 200; a->b ACK; set loss=5% dup=2% reorder=5% jitter=30ms seed=4; rtp 5s; \
         dtmf a->b 5; rtp 1s; a->b BYE; b->a 200",
    ];
    let mut tapes = 0;
    for scene in scenes {
        let scene = play(scene).unwrap();
        let plain = rehearse(&scene.frames, Settings::default());
        let heard = rehearse_with(&scene.frames, Settings::default(), &mut |tap, now| {
            for tape in 1..5 {
                tap.set_prompt(TapeId(tape), true);
            }
            tap.handle_timeout(now);
        });
        assert_eq!(plain.told, heard.told);
        assert_eq!(plain.tapes.len(), heard.tapes.len());
        for (one, other) in plain.tapes.iter().zip(&heard.tapes) {
            assert!(one.samples == other.samples, "the samples differ");
            tapes += 1;
        }
    }
    assert_eq!(tapes, 3);
}
