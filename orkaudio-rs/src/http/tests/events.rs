//! The event stream: observed bytes, and clients that are slow, half gone or too many.

use super::*;
use std::io::{BufRead, BufReader};

/// Observed on the original's port 59150.
const LINES: [&str; 2] = [
    "type=tape&recid=20261121_022325_KMCW&stage=start&captureport=KMCW&timestamp=1795227805&filename=2026%2F11%2F21%2F02%2F20261121_022325_KMCW&localparty=100000&localentrypoint=&remoteparty=200000&direction=out&duration=0&service=orkaudio-peer&localip=10.1.0.1&remoteip=10.2.0.1&nativecallid=gen-1-000000-493196cc&tags=&ondemand=false&side=both&live=true&hostname=vm&",
    "type=tape&recid=20261121_022325_KMCX&stage=start&captureport=KMCX&timestamp=1795227805&filename=2026%2F11%2F21%2F02%2F20261121_022325_KMCX&localparty=100001&localentrypoint=&remoteparty=200001&direction=out&duration=0&service=orkaudio-peer&localip=10.1.0.2&remoteip=10.2.0.1&nativecallid=gen-1-000001-05921acb&tags=&ondemand=false&side=both&live=true&hostname=vm&",
];

const REQUEST: &[u8] = b"GET /command?type=streamevents HTTP/1.0\r\n\r\n";

/// A client that has read the head.
fn listener(bench: &Bench, request: &[u8]) -> Client {
    let mut client = bench.events();
    client.write_all(request).unwrap();
    let head = read_until(&mut client, "\r\n\r\n");
    let date = head
        .strip_prefix("HTTP/1.1 200 OK\r\nLast-Modified:")
        .and_then(|rest| rest.strip_suffix(" GMT\r\nContent-Type:text/plain\r\n\r\n"))
        .unwrap();
    assert_eq!(date.len(), "Tue, 21 Nov 2026 02:23:25".len(), "{date}");
    client
}

#[test]
fn lines_as_observed_to_everybody_from_now_on() {
    let bench = Bench::open();
    bench.hub.publish("before");
    let mut one = listener(&bench, REQUEST);
    bench.hub.publish(LINES[0]);
    let mut two = listener(&bench, b"GET /anything HTTP/1.1\r\nHost: x\r\n\r\n");
    bench.hub.publish(LINES[1]);
    bench.doors.close(LIMIT);
    assert_eq!(rest(&mut one), format!("{}\r\n{}\r\n", LINES[0], LINES[1]));
    assert_eq!(rest(&mut two), format!("{}\r\n", LINES[1]));
}

#[test]
fn requests_as_observed() {
    let bench = Bench::open();
    for request in ["GET /streamevents HTTP/1.0\r\n\r\n", "POST / HTTP/1.1\r\n\r\n", "x HTTP\n"] {
        listener(&bench, request.as_bytes());
    }
    let refused = |request: &[u8]| {
        let mut client = bench.events();
        client.write_all(request).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        rest(&mut client)
    };
    let not_found = "HTTP/1.0 404 not found\r\nContent-type: text/html\r\n\r\nNot found\r\n";
    let malformed = "HTTP/1.0 404 not found\r\nContent-type: text/html\r\n\r\n\
                     Error\r\nMalformed http request\r\n";
    assert_eq!(refused(b"GET /"), not_found);
    assert_eq!(refused(b""), not_found);
    assert_eq!(refused(b"GET /command?type=streamevents\r\n\r\n"), malformed);
    assert_eq!(refused(b"\x00\xff\x80 nothing at all"), malformed);
    assert_eq!(refused(&[b'a'; 20_000]), malformed);
    let mut bytewise = bench.events();
    bytewise.set_nodelay(true).unwrap();
    for byte in REQUEST {
        bytewise.write_all(&[*byte]).unwrap();
    }
    assert!(read_until(&mut bytewise, "\r\n\r\n").starts_with("HTTP/1.1 200 OK\r\n"));
    assert_eq!(bench.doors.counters().events_malformed.load(Relaxed), 5);
}

#[test]
fn a_request_that_never_ends_is_refused() {
    let bench = Bench::patient(Duration::from_millis(200));
    let mut client = bench.events();
    client.write_all(b"GET /comm").unwrap();
    assert!(read_until(&mut client, "request\r\n").ends_with("Malformed http request\r\n"));
}

#[test]
fn a_client_that_finished_its_request_goes_on_hearing() {
    let bench = Bench::open();
    let mut client = listener(&bench, REQUEST);
    client.shutdown(Shutdown::Write).unwrap();
    until("the end of the request", || bench.number("events_half_closed") == 1);
    bench.hub.publish("a");
    assert_eq!(read_until(&mut client, "\r\n"), "a\r\n");
    bench.hub.publish("b");
    assert_eq!(read_until(&mut client, "\r\n"), "b\r\n");
}

#[test]
fn a_client_that_is_gone_is_noticed() {
    let bench = Bench::open();
    let client = listener(&bench, REQUEST);
    assert_eq!(bench.number("events_sessions"), 1);
    drop(client);
    until("the end of the client", || bench.number("events_half_closed") == 1);
    // One line, one reset.
    bench.hub.publish("a");
    until("the end of its session", || bench.number("events_sessions") == 0);
}

#[test]
fn the_door_holds_a_hundred_and_the_gone_make_room() {
    let bench = Bench::open();
    let mut crowd: Vec<_> = (0..MAX_SESSIONS).map(|_| listener(&bench, REQUEST)).collect();
    let mut next = listener(&bench, REQUEST);
    assert_eq!(rest(&mut next), "");
    assert_eq!(bench.doors.counters().events_refused.load(Relaxed), 1);
    crowd[7].shutdown(Shutdown::Write).unwrap();
    until("the end of the request", || bench.number("events_half_closed") == 1);
    let mut late = listener(&bench, REQUEST);
    assert_eq!(rest(&mut crowd[7]), "");
    bench.hub.publish("a");
    assert_eq!(read_until(&mut late, "\r\n"), "a\r\n");
    assert_eq!(read_until(&mut crowd[0], "\r\n"), "a\r\n");
}

#[test]
fn a_client_that_does_not_read_loses_its_own_oldest() {
    let bench = Bench::open();
    let mut slow = listener(&bench, REQUEST);
    let mut quick = BufReader::new(listener(&bench, REQUEST)).lines();
    let own = bench.hub.clone();
    let total = 40_000;
    let line = |n: usize| format!("{n:09} {}", "x".repeat(990));
    let mut expected = 0;
    // In portions the quick one keeps up with; the slow one reads nothing of 40 MB.
    while expected < total {
        for n in expected..expected + 1000 {
            own.publish(&line(n));
        }
        for n in expected..expected + 1000 {
            assert_eq!(quick.next().unwrap().unwrap(), line(n));
        }
        expected += 1000;
    }
    let Bench { doors, hub, .. } = bench;
    let closing = std::thread::Builder::new().name("closing".to_owned());
    let closing = closing.spawn(move || doors.close(LIMIT)).unwrap();
    let late = rest(&mut slow);
    closing.join().unwrap();
    let numbers: Vec<usize> =
        late.lines().map(|line| line.split(' ').next().unwrap().parse().unwrap()).collect();
    assert_eq!((numbers[0], *numbers.last().unwrap()), (0, total - 1));
    assert!(numbers.is_sorted());
    let heard = u64::try_from(numbers.len()).unwrap();
    assert_eq!(hub.dropped() + heard, u64::try_from(total).unwrap());
    assert!(hub.dropped() > 0);
}
