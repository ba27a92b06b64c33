//! Events for who comes back, for browsers, and over a WebSocket.

use super::*;
use tokio_tungstenite::tungstenite::{Message, client};

const LINE: &str = "type=tape&recid=20261121_022325_KMCW&stage=start&filename=2026%2F11&tags=&";

/// A client that has read its head.
fn asks(bench: &Bench, target: &str, more: &str) -> (Client, String) {
    let mut client = bench.events();
    client.write_all(format!("GET {target} HTTP/1.1\r\nHost: x\r\n{more}\r\n").as_bytes()).unwrap();
    let head = read_until(&mut client, "\r\n\r\n");
    (client, head)
}

#[test]
fn who_was_cut_off_misses_nothing() {
    let bench = Bench::open();
    let (mut first, _) = asks(&bench, "/?type=streamevents&since=", "");
    bench.hub.publish(LINE);
    assert_eq!(read_until(&mut first, "\r\n"), format!("{LINE}sequence=1&\r\n"));
    drop(first);
    for n in 2..=5 {
        bench.hub.publish(&format!("n={n}&"));
    }
    let (mut back, head) = asks(&bench, "/?type=streamevents&since=1", "");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\nLast-Modified:"), "{head}");
    for n in 2..=5 {
        assert_eq!(read_until(&mut back, "\r\n"), format!("n={n}&sequence={n}&\r\n"));
    }
    bench.hub.publish("last&");
    assert_eq!(read_until(&mut back, "\r\n"), "last&sequence=6&\r\n");
    // Of another process.
    let (mut foreign, _) = asks(&bench, "/?since=1000", "");
    assert_eq!(read_until(&mut foreign, "\r\n"), "type=lost&after=1000&before=1&\r\n");
    assert_eq!(read_until(&mut foreign, "\r\n"), format!("{LINE}sequence=1&\r\n"));
    let (mut wrong, head) = asks(&bench, "/?since=yesterday", "");
    assert!(head.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{head}");
    assert_eq!(rest(&mut wrong), "since= is the sequence of the last event you have\n");
}

#[test]
fn a_browser_reads_server_sent_events() {
    let bench = Bench::open();
    bench.hub.publish(LINE);
    bench.hub.publish("type=tape&stage=stop&");
    let more = "Accept: text/event-stream\r\nLast-Event-ID: 1\r\nOrigin: http://x\r\n";
    let (mut client, head) = asks(&bench, "/events", more);
    assert!(head.contains("\r\nContent-Type: text/event-stream\r\n"), "{head}");
    assert!(head.contains("\r\nAccess-Control-Allow-Origin: http://x\r\n"), "{head}");
    let stop = "id: 2\ndata: {\"sequence\":2,\"stage\":\"stop\",\"type\":\"tape\"}\n\n";
    assert_eq!(read_until(&mut client, "\n\n"), stop);
    bench.hub.publish("a=1&");
    assert_eq!(read_until(&mut client, "\n\n"), "id: 3\ndata: {\"a\":\"1\",\"sequence\":3}\n\n");
    let (mut all, _) = asks(&bench, "/?format=sse&since=0", "");
    assert!(read_until(&mut all, "\n\n").contains("\"filename\":\"2026/11\""));
    let (_, head) = asks(&bench, "/events", "Accept: text/event-stream\r\nOrigin: http://evil\r\n");
    assert!(head.starts_with("HTTP/1.1 403 Forbidden\r\n"), "{head}");
}

#[test]
fn events_over_a_websocket() {
    let bench = Bench::open();
    bench.hub.publish(LINE);
    let address = bench.doors.events_address().unwrap();
    let request = format!("ws://{address}/events?since=0");
    let (mut socket, _) = client(request, connect(Some(address))).unwrap();
    let text =
        |message: Message| serde_json::from_str::<Value>(message.to_text().unwrap()).unwrap();
    let first = text(socket.read().unwrap());
    assert_eq!((&first["sequence"], &first["filename"]), (&json!(1), &json!("2026/11")));
    // What a client says is nobody's business, a ping is answered.
    socket.send(Message::text("hello")).unwrap();
    socket.send(Message::Ping(vec![1, 2].into())).unwrap();
    assert_eq!(socket.read().unwrap(), Message::Pong(vec![1, 2].into()));
    bench.hub.publish("a=2&");
    assert_eq!(text(socket.read().unwrap())["a"], "2");
    // Longer than anybody has to say: cut.
    let (mut chatty, _) = client(format!("ws://{address}/"), connect(Some(address))).unwrap();
    chatty.send(Message::text("x".repeat(100_000))).unwrap();
    while chatty.read().is_ok() {}
    bench.hub.publish("a=3&");
    assert_eq!(text(socket.read().unwrap())["sequence"], 3);
    let closing = std::thread::Builder::new().name("closing".to_owned());
    let closing = closing.spawn(move || bench.doors.close(LIMIT)).unwrap();
    assert!(matches!(socket.read().unwrap(), Message::Close(_)));
    drop(socket);
    closing.join().unwrap();
    let bench = Bench::open();
    let (_, head) = asks(&bench, "/", "Upgrade: websocket\r\nConnection: Upgrade\r\n");
    assert!(head.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{head}");
}
