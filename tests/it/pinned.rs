//! What a recorder must not delete, whoever asks, at its doors.

use crate::agents::{Recorder, envelopes, recorder, send};
use ork_tests::{programs::wait_until, scenario::play};
use std::{net::UdpSocket, process::Command};

/// Two calls, both up; then their ends.
const CALLS: &str = "a->b INVITE; b->a 200; a->b ACK; c->d INVITE; d->c 200; c->d ACK; rtp 2s; \
                     a->b BYE; b->a 200; c->d BYE; d->c 200";

fn ask(recorder: &Recorder, query: &str) -> String {
    let url = format!("http://{}/command?{query}", recorder.said("command="));
    let done = Command::new("curl").args(["-sS", "--max-time", "30", &url]).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

fn orkuid(recorder: &Recorder, party: &str) -> Option<String> {
    let url = format!("http://{}/api/status", recorder.said("command="));
    let done = Command::new("curl").args(["-sS", &url]).output().unwrap();
    let status: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    let call = status["calls"].as_array()?.iter().find(|call| call["localparty"] == party)?;
    call["orkuid"].as_str().map(str::to_owned)
}

#[test]
fn what_is_pinned_is_not_discarded() {
    let recorder = recorder(&["doors.command=127.0.0.1:0"]);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let packets = envelopes(&play(CALLS).unwrap(), "");
    let give = |packets: &[(u64, Vec<u8>)]| {
        send(packets, |packet| {
            socket.send_to(packet, recorder.address).unwrap();
        });
    };
    let (calls, ends) = packets.split_at(packets.len() - 4);
    give(calls);
    wait_until("both are recorded", || {
        orkuid(&recorder, "1001").is_some() && orkuid(&recorder, "1003").is_some()
    });
    let held = orkuid(&recorder, "1001").unwrap();
    let pinned = ask(&recorder, &format!("type=pin&orkuid={held}"));
    assert!(pinned.contains("<success>true</success>") && pinned.contains(&held), "{pinned}");
    let refused = ask(&recorder, "type=discard&party=1001");
    assert!(
        refused.contains("<success>false</success>") && refused.contains("pinned"),
        "{refused}"
    );
    let discarded = ask(&recorder, "type=discard&party=1003");
    assert!(discarded.contains("<success>true</success>"), "{discarded}");
    // Said before the pin it does not count either.
    ask(&recorder, &format!("type=unpin&orkuid={held}"));
    ask(&recorder, "type=discard&party=1001");
    ask(&recorder, &format!("type=pin&orkuid={held}"));
    give(ends);
    wait_until("one is finished", || !recorder.finished().is_empty());
    wait_until("the other is gone", || {
        let status = ask(&recorder, "type=ping");
        status.contains("true")
            && recorder.files().iter().all(|file| file.extension().is_none_or(|e| e != "part"))
    });
    let finished = recorder.finished();
    assert_eq!(finished.len(), 1, "{finished:?}");
    assert!(finished[0].to_string_lossy().contains(&held), "{finished:?}");
}
