//! The command port: observed bytes, and clients that behave badly.

use super::*;
use std::io::ErrorKind;

const XML: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"no\" ?>";

fn xml(fields: &str) -> String {
    format!("{XML}<response>{fields}</response>")
}

fn comment(text: &str) -> String {
    xml(&format!("<success>true</success><comment>{text}</comment>"))
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").unwrap().1
}

#[test]
fn ping_as_observed_whatever_the_path_method_or_order() {
    let bench = Bench::open();
    let ping = xml("<success>true</success>");
    assert_eq!(
        bench.get("/command?type=ping"),
        format!("HTTP/1.0 200 OK\r\nContent-Type: text/xml\r\nContent-Length: 99\r\n\r\n{ping}")
    );
    let targets = [
        "/audio/command?type=ping",
        "/?type=ping",
        "/type=ping",
        "/command?type=PING",
        "/command?a=b&type=ping",
        "/command?type=ping&zzz=1",
        "/command?type=ping&",
        "/command?TYPE=ping",
        "/command?type=%70ing",
    ];
    for target in targets {
        assert_eq!(body(&bench.get(target)), ping, "{target}");
    }
    assert_eq!(body(&bench.ask("POST /command?type=ping HTTP/1.0\r\n\r\n")), ping);
    assert_eq!(body(&bench.ask("GET /command?type=ping HTTP/1.0\n\n")), ping);
    assert_eq!(body(&bench.ask("HEAD /command?type=ping HTTP/1.0\r\n\r\n")), "");
    let long = format!("/command?x={}&type=ping", "a".repeat(8000));
    assert_eq!(body(&bench.get(&long)), ping);
}

#[test]
fn the_form_depends_on_this_request_alone() {
    let bench = Bench::open();
    let single = "GET /command?type=ping HTTP/1.0\r\nAccept: text/single-line\r\n\r\n";
    assert_eq!(
        bench.ask(single),
        "HTTP/1.0 200 OK\r\nContent-Type: text/single-line\r\nContent-Length: 13\r\n\r\n\
         success=true "
    );
    assert!(bench.get("/command?type=ping").contains("text/xml"));
    assert_eq!(body(&bench.get("/command?type=ping&accept=text/single-line")), "success=true ");
    let json = "GET /?type=record&party=1 HTTP/1.0\r\nAccept: application/json\r\n\r\n";
    assert_eq!(
        body(&bench.ask(json)),
        "{\"comment\":\"Starting capture for party:1 orkuid: nativecallid: side:both\",\
         \"success\":true}"
    );
}

#[test]
fn record_pause_and_stop_as_observed() {
    let bench = Bench::open();
    let uid = "20261121_022325_KMCX";
    let quality = "RtpNumPkts:546 RtpNumMissingPkts:0 RtpNumSeqGaps:0 RtpMaxSeqGap:1";
    let none = "RtpNumPkts:0 RtpNumMissingPkts:0 RtpNumSeqGaps:0 RtpMaxSeqGap:0";
    let table = [
        ("record", "0", "Starting capture for party: orkuid: nativecallid: side:both".to_owned()),
        (
            "record&party=99999",
            "0",
            "Starting capture for party:99999 orkuid: nativecallid: side:both".to_owned(),
        ),
        (
            "record&party=100000&side=local",
            "1",
            format!("Starting capture for party:100000 orkuid:{uid} nativecallid: side:local"),
        ),
        (
            "resume&side=nonsense&party=100000",
            "1",
            format!("Starting capture for party:100000 orkuid:{uid} nativecallid: side:both"),
        ),
        (
            "record&nativecallid=gen-1",
            "1",
            format!("Starting capture for party: orkuid:{uid} nativecallid:gen-1 side:both"),
        ),
        ("pause", "0", "Pausing capture for party: orkuid: nativecallid:".to_owned()),
        (
            "pause&party=%31%30%30%30%30%30",
            "1",
            format!("Pausing capture for party:100000 orkuid:{uid} nativecallid:"),
        ),
        ("stop", "0", "Stopping capture for party: orkuid: nativecallid: ".to_owned()),
        (
            "stop&party=99999",
            "0",
            "Stopping capture for party:99999 orkuid: nativecallid: ".to_owned(),
        ),
        (
            "stop&orkuid=20261121_022325_KMCX",
            "1",
            format!("Stopping capture for party: orkuid:{uid} nativecallid: {quality}"),
        ),
        (
            "stop&nativecallid=early",
            "1",
            format!("Stopping capture for party: orkuid: nativecallid:early {none}"),
        ),
        (
            "stop&orkuid=..%2Fx%3C",
            "0",
            "Stopping capture for party: orkuid:../x&lt; nativecallid: ".to_owned(),
        ),
    ];
    for (query, matched, text) in &table {
        let answer = bench.get(&format!("/command?type={query}"));
        assert!(answer.contains(&format!("\r\nX-Matched: {matched}\r\n")), "{answer}");
        assert_eq!(body(&answer), comment(text), "{query}");
    }
    let asked = bench.desk.asked.lock().unwrap();
    // Commands without a usable selector do not reach the desk.
    assert_eq!(asked.len(), 8);
    let local = orkbase::message::tape::KeepSide::Local;
    assert_eq!(asked[1], Command::Record(Target::Party("100000".to_owned()), local));
}

#[test]
fn single_line_comments_are_escaped_as_observed() {
    let bench = Bench::open();
    let request = "GET /command?type=record&nativecallid=gen-1-000001-05921acb HTTP/1.0\r\n\
                   Accept: text/single-line\r\n\r\n";
    assert_eq!(
        body(&bench.ask(request)),
        "success=true comment=Starting%scapture%sfor%sparty:%sorkuid:20261121_022325_KMCX\
         %snativecallid:gen-1-000001-05921acb%sside:both "
    );
}

#[test]
fn refusals_as_observed() {
    let bench = Bench::open();
    assert_eq!(
        bench.get("/command?type=nosuchthing"),
        "HTTP/1.0 404 not found\r\nContent-Type: text/html\r\nContent-Length: 38\r\n\r\n\
         Error\r\nCommand not found:nosuchthing\r\n"
    );
    let table = [
        ("/command?type=NoSuchThing", "Command not found:nosuchthing"),
        ("/command?foo=bar", "Command not found:bar"),
        ("/command?class=ping", "Serializer::GetString: required parameter missing:type"),
        ("/command", "Command not found:"),
        ("/", "Command not found:"),
        ("/command?type=", "Command not found:"),
        ("/command?type=%3Cscript%3E", "Command not found:%3Cscript%3E"),
        ("/command?type=deletetape&filename=/a/b.wav", "Command not found:deletetape"),
        ("/command?type=init&name=a", "Command does not return a response:init"),
        ("/command?type=simpleresponse", "Command does not return a response:simpleresponse"),
    ];
    for (target, why) in table {
        let answer = bench.get(target);
        assert!(answer.starts_with("HTTP/1.0 404 not found\r\n"), "{answer}");
        assert_eq!(body(&answer), format!("Error\r\n{why}\r\n"), "{target}");
    }
    let many = format!("/command?{}", "a=1&".repeat(300));
    assert!(bench.get(&many).contains("more than 256 parameters"));
}

/// Every exchange that was observed on the original, against what is answered here. Each answer differs in
/// four ways: `Content-Length` and `X-Matched` are sent, the header is spelt `Content-Type`, and the form
/// of an answer depends on its own request alone (the original looked into a buffer it never cleared).
#[test]
fn commands_beside_recordings_as_observed() {
    let bench = Bench::open();
    let done = xml("<success>true</success><comment></comment>");
    let table = [
        ("capture&captureport=x&state=start", done.clone()),
        (
            "capture&captureport=x&state=nonsense",
            xml("<success>false</success><comment>state needs to be start or stop</comment>"),
        ),
        ("reportingskiptape&num=0", done.clone()),
        ("reloadloggingconfig", done),
        (
            "listloggingconfig",
            xml("<success>true</success><comment></comment><count>1</count>\
                 <loggers>&#10;root:INFO&#10;</loggers>"),
        ),
        (
            "reporttape&todate=20080605_090000&fromdate=20080605_080000",
            comment("Reporting 3 recordings"),
        ),
        (
            "importtape&url=/x.wav&timestamp=1",
            xml("<success>false</success><comment>outside</comment>"),
        ),
        // Observed on no recorder: the answer of the API document tells of a company and two dates.
        ("loadlicensefile", comment("License info: none is needed, nothing is limited valid:true")),
    ];
    for (query, wanted) in &table {
        assert_eq!(body(&bench.get(&format!("/command?type={query}"))), wanted, "{query}");
    }
    let single = "GET /command?type=listloggingconfig HTTP/1.0\r\nAccept: text/single-line\r\n\r\n";
    // The original sends raw line ends within a single line, which then is none.
    assert_eq!(body(&bench.ask(single)), "success=true comment= count=1 loggers=%sroot:INFO%s ");
    assert_eq!(bench.desk.errands.lock().unwrap().len(), 6);
    assert_eq!(
        bench.desk.errands.lock().unwrap()[0],
        Errand::Skip { num: 0, tracker: String::new() }
    );

    let missing = "Serializer::GetString: required parameter missing:";
    let table = [
        ("capture&state=start", format!("{missing}captureport")),
        ("reportingskiptape&num=abc", "StringToInt: invalid integer:abc".to_owned()),
        ("reporttape", format!("{missing}fromdate")),
        ("addtag&party=1", format!("{missing}tagtype")),
        // Refused, where the original deletes any file, connects to any host, or would crash.
        ("deletetape", "Command not found:deletetape".to_owned()),
        ("deletetape&filename=/nonexistent/x.wav", "Command not found:deletetape".to_owned()),
        ("tcpping&hostname=127.0.0.1&port=1", "Command not found:tcpping".to_owned()),
        ("crash", "Command not found:crash".to_owned()),
        // The original first misses a parameter of the message that it sends itself.
        ("tape", "Command does not return a response:tape".to_owned()),
    ];
    for (query, why) in &table {
        let answer = bench.get(&format!("/command?type={query}"));
        assert!(answer.starts_with("HTTP/1.0 404 not found\r\n"), "{answer}");
        assert_eq!(body(&answer), format!("Error\r\n{why}\r\n"), "{query}");
    }
}

#[test]
fn tags_flags_and_splits() {
    use orkbase::call::command::Retention;
    let bench = Bench::open();
    let party = || Target::Party("100000".to_owned());
    let table = [
        ("split&party=100000", Command::Split(party()), "Splitting"),
        ("keep&localparty=100000", Command::Flag(party(), Retention::Keep), "Keeping"),
        ("discard&party=100000", Command::Flag(party(), Retention::Discard), "Discarding"),
        (
            "neither&party=100000",
            Command::Flag(party(), Retention::Neither),
            "Neither keeping nor discarding",
        ),
        (
            "addtag&party=100000&tagtype=CustomerNo&tagtext=1:2&tagentry=AgentID:30:01&tagentry=x",
            Command::Tag(
                party(),
                [("CustomerNo", "1:2"), ("AgentID", "30:01"), ("x", "")]
                    .map(|(key, text)| (key.to_owned(), text.to_owned()))
                    .to_vec(),
            ),
            "Tagging",
        ),
    ];
    for (query, command, what) in table {
        let answer = bench.get(&format!("/command?type={query}"));
        let text =
            format!("{what} capture for party:100000 orkuid:20261121_022325_KMCX nativecallid:");
        assert_eq!(body(&answer), comment(&text), "{query}");
        assert_eq!(bench.desk.asked.lock().unwrap().pop(), Some(command));
    }
}

#[test]
fn every_command_is_audited_with_its_source() {
    let bench = Bench::open();
    let queries = [
        "type=ping",
        "type=stop&party=7",
        "type=pause&party=busy",
        "type=crash",
        "type=reporttape",
    ];
    for query in queries {
        bench.get(&format!("/command?{query}"));
    }
    bench.get("/api/status");
    let lines = bench.desk.audited.lock().unwrap();
    assert!(lines.iter().all(|(from, ..)| from.ip().is_loopback() && from.port() > 0));
    let lines: Vec<_> =
        lines.iter().map(|(_, name, status, matched)| (name.as_str(), *status, *matched)).collect();
    let wanted = [
        ("stop", 200, Some(0)),
        ("pause", 503, None),
        ("crash", 404, None),
        ("reporttape", 404, None),
    ];
    assert_eq!(lines, wanted);
}

#[test]
fn a_form_body_counts_after_the_url() {
    let bench = Bench::open();
    let form = "type=pause&party=100000&side=";
    let post = format!(
        "POST /command?party=7 HTTP/1.0\r\nContent-Type: application/x-www-form-urlencoded\r\n\
         Content-Length: {}\r\n\r\n{form}",
        form.len()
    );
    assert!(
        bench.ask(post).ends_with(&comment("Pausing capture for party:7 orkuid: nativecallid:"))
    );
    let long = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 70000\r\nConnection: close\r\n\r\n";
    let answer = bench.ask(format!("{long}{}", "a".repeat(70_000)));
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

#[test]
fn busy_is_said_and_nothing_is_done() {
    let bench = Bench::patient(Duration::from_millis(300));
    for party in ["busy", "later"] {
        let answer = bench.get(&format!("/command?type=stop&party={party}"));
        assert!(answer.starts_with("HTTP/1.0 503 "), "{answer}");
        assert_eq!(body(&answer), "Error\r\nRecorder busy\r\n");
    }
}

#[test]
fn health_status_and_version() {
    let bench = Bench::open();
    assert!(bench.get("/healthz").ends_with("\r\n\r\nok\n"));
    let status: Value = serde_json::from_str(body(&bench.get("/api/status"))).unwrap();
    assert_eq!(status["calls"][0]["orkuid"], "20261121_022325_KMCX");
    assert_eq!(status["http"]["requests"], 2);
    let version = env!("CARGO_PKG_VERSION");
    let fields = "<success>true</success><comment></comment>";
    let wanted = xml(&format!("{fields}<version>{version}</version>"));
    assert_eq!(body(&bench.get("/command?type=orkaudioversion")), wanted);
}

#[test]
fn a_request_may_come_in_any_pieces_and_stay_for_more() {
    let bench = Bench::open();
    let mut client = bench.command();
    client.set_nodelay(true).unwrap();
    for _ in 0..2 {
        for byte in b"GET /command?type=ping HTTP/1.1\r\nHost: x\r\n\r\n" {
            client.write_all(&[*byte]).unwrap();
        }
        let answer = read_until(&mut client, "</response>");
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    }
    client.write_all(b"GET /command?type=ping HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert!(rest(&mut client).ends_with("</response>"));
}

#[test]
fn nonsense_is_answered_or_closed_never_obeyed() {
    let bench = Bench::open();
    let large = format!("GET /?type=ping HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "a".repeat(20_000));
    let mut client = bench.command();
    // The answer may come, and the door close, before all of it is written.
    drop(client.write_all(large.as_bytes()));
    let mut bytes = Vec::new();
    drop(client.read_to_end(&mut bytes));
    assert!(bytes.is_empty() || bytes.starts_with(b"HTTP/1.1 431 "), "{bytes:?}");
    for nonsense in
        ["\r\n", "GET", "\0\u{1}\u{2}\r\n\r\n", "GET /command?type=pi ng HTTP/1.0\r\n\r\n"]
    {
        let mut client = bench.command();
        client.write_all(nonsense.as_bytes()).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let answer = rest(&mut client);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400 "), "{answer}");
    }
    assert!(bench.desk.asked.lock().unwrap().is_empty());
    assert!(bench.get("/command?type=ping").ends_with("</response>"));
}

#[test]
fn the_slow_are_let_go() {
    let bench = Bench::patient(Duration::from_millis(200));
    let mut silent = bench.command();
    let mut half = bench.command();
    half.write_all(b"GET /command?type=ping HTTP/1.1\r\nHo").unwrap();
    let mut bodyless = bench.command();
    bodyless.write_all(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\na=").unwrap();
    assert!(!rest(&mut silent).contains("200 OK"));
    assert!(!rest(&mut half).contains("200 OK"));
    assert!(rest(&mut bodyless).starts_with("HTTP/1.1 408 "));
}

#[test]
fn the_door_holds_two_hundred_and_the_silent_make_room() {
    let bench = Bench::open();
    let mut crowd: Vec<_> = (0..MAX_CONNECTIONS).map(|_| bench.command()).collect();
    // Everybody is in when the next one comes: the first, who has said half of something, goes.
    crowd[0].write_all(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\na=").unwrap();
    let mut next = bench.command();
    // What it said is thrown away with it, so the end may be a reset.
    let mut answer = Vec::new();
    let end = crowd[0].read_to_end(&mut answer).map_err(|error| error.kind());
    assert!(answer.is_empty() && matches!(end, Ok(0) | Err(ErrorKind::ConnectionReset)), "{end:?}");
    assert_eq!(bench.doors.counters().refused.load(Relaxed), 1);
    for one in [&mut next, crowd.last_mut().unwrap()] {
        one.write_all(b"GET /command?type=ping HTTP/1.0\r\n\r\n").unwrap();
        assert!(rest(one).ends_with("</response>"));
    }
    drop(crowd);
    until("room", || {
        let mut client = bench.command();
        client.write_all(b"GET /command?type=ping HTTP/1.0\r\n\r\n").unwrap();
        let mut bytes = Vec::new();
        client.read_to_end(&mut bytes).is_ok() && bytes.ends_with(b"</response>")
    });
}
