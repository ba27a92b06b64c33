//! The link against simulated trackers, in process and on loopback.

mod simulated;

use super::*;
use orkbase::message::tape::{Direction, KeepSide};
use simulated::{Act, LIMIT, TAKEN, Tracker, anywhere, nowhere, until};
use std::{net::SocketAddr, path::Path, sync::atomic::AtomicU64};

fn message(recid: &str, stage: Stage) -> TapeMessage {
    TapeMessage {
        recid: recid.to_owned(),
        stage,
        captureport: "EZIP".to_owned(),
        timestamp: 1_795_227_424,
        filename: format!("2026/11/21/02/{recid}"),
        localparty: "100000".to_owned(),
        localentrypoint: String::new(),
        remoteparty: "200000".to_owned(),
        direction: Direction::Out,
        duration: 0,
        service: "orkaudio-peer".to_owned(),
        localip: "10.1.0.1".to_owned(),
        remoteip: "10.2.0.1".to_owned(),
        nativecallid: "gen-1-000000-493196cc".to_owned(),
        tags: std::collections::BTreeMap::new(),
        ondemand: false,
        side: KeepSide::Both,
        live: true,
        hostname: "vm".to_owned(),
    }
}

fn config(trackers: &[SocketAddr]) -> ReporterConfig {
    let trackers = trackers.iter().map(|address| address.to_string().parse().unwrap()).collect();
    let init = InitMessage::new("orkaudio-peer", "vm", 59140, "/var/log/orkaudio/audio");
    ReporterConfig {
        timeout: Duration::from_secs(2),
        retry_min: Duration::from_millis(20),
        retry_max: Duration::from_millis(200),
        init_retry_max: Duration::from_millis(100),
        ..ReporterConfig::new(trackers, init)
    }
}

fn durable(trackers: &[SocketAddr], folder: &Path) -> ReporterConfig {
    ReporterConfig { state_db: Some(folder.join("state.db")), ..config(trackers) }
}

fn ready(handle: &ReporterHandle, recid: &str) {
    handle.ready(message(recid, Stage::Ready), format!("{recid}.wav")).unwrap();
}

fn number(counter: &AtomicU64) -> u64 {
    counter.load(Relaxed)
}

fn is(text: &[&str]) -> Vec<String> {
    text.iter().map(|text| (*text).to_owned()).collect()
}

#[test]
fn init_then_the_stages_in_order_as_observed() {
    let tracker = Tracker::kind(anywhere());
    let (reporter, handle) = Reporter::start(config(&[tracker.address])).unwrap();
    for stage in [Stage::Start, Stage::Update, Stage::Stop] {
        handle.tell(message("20261121_021704_EZIP", stage));
    }
    ready(&handle, "20261121_021704_EZIP");
    assert_eq!(reporter.stop(LIMIT), 0);
    let heads = tracker.heads();
    let host = tracker.address;
    assert_eq!(
        heads[0],
        format!(
            "GET /orktrack/command?type=init&name=orkaudio-peer&hostname=vm&servicetype=A\
             &tcpport=59140&protocol=&fileserveport=8080&contextpath=%2Faudio&servepath=\
             &absolutepath=%2Fvar%2Flog%2Forkaudio%2Faudio&streamingport=&username=&password=\
             &sshport=22&hostname=vm& HTTP/1.1\r\nHost: {host}\r\n\r\n"
        )
    );
    assert_eq!(
        heads[1],
        format!(
            "GET /orktrack/command?type=tape&recid=20261121_021704_EZIP&stage=start\
             &captureport=EZIP&timestamp=1795227424\
             &filename=2026%2F11%2F21%2F02%2F20261121_021704_EZIP&localparty=100000\
             &localentrypoint=&remoteparty=200000&direction=out&duration=0\
             &service=orkaudio-peer&localip=10.1.0.1&remoteip=10.2.0.1\
             &nativecallid=gen-1-000000-493196cc&tags=&ondemand=false&side=both&live=true\
             &hostname=vm& HTTP/1.1\r\nHost: {host}\r\n\r\n"
        )
    );
    let stages = ["start", "update", "stop", "ready"];
    let wanted: Vec<_> =
        stages.iter().map(|stage| format!("20261121_021704_EZIP {stage}")).collect();
    assert_eq!(tracker.tapes(), wanted);
    assert_eq!(tracker.connections(), 1, "the peer allows keeping the connection");
    let counters = handle.counters();
    assert_eq!((number(&counters.queued), number(&counters.delivered)), (4, 4));
    assert_eq!((number(&counters.outbox_rows), counters.oldest_age_s()), (0, 0));
}

#[test]
fn nothing_before_init_succeeds() {
    let tracker = Tracker::start(anywhere(), |target, before| match before {
        0 if target.contains("type=init") => Act::Answer(500, "no".to_owned()),
        1 if target.contains("type=init") => {
            Act::Answer(200, "class=simpleresponse success=false comment=busy \r\n".to_owned())
        }
        2 if target.contains("type=init") => Act::Bytes(b"what?\r\n\r\n".to_vec()),
        _ => Act::taken(),
    });
    let (reporter, handle) = Reporter::start(config(&[tracker.address])).unwrap();
    ready(&handle, "a");
    tracker.wait(|tapes| tapes == is(&["a ready"]));
    let targets = tracker.targets();
    assert_eq!(targets.iter().filter(|target| target.contains("type=init")).count(), 4);
    assert!(targets[4].contains("type=tape"));
    assert_eq!(reporter.stop(LIMIT), 0);
}

#[test]
fn a_tracker_that_comes_back_gets_every_ready_once() {
    let address = nowhere();
    let (reporter, handle) = Reporter::start(config(&[address])).unwrap();
    until("the keeper knows that the tracker is away", || {
        handle.tell(message("probe", Stage::Start));
        handle.tell(message("probe", Stage::Stop));
        // A question is answered after everything told before it was written down.
        assert!(!handle.is_ready("probe").unwrap());
        number(&handle.counters().coalesced) > 0
    });
    let coalesced = number(&handle.counters().coalesced);
    for n in 0..20 {
        handle.tell(message(&format!("r{n}"), Stage::Start));
        handle.tell(message(&format!("r{n}"), Stage::Update));
        handle.tell(message(&format!("r{n}"), Stage::Stop));
        ready(&handle, &format!("r{n}"));
    }
    assert!(handle.is_ready("r19").unwrap());
    assert!(!handle.counters().trackers()[0].introduced);
    assert!(handle.counters().trackers()[0].trouble.contains("cannot connect"));
    let tracker = Tracker::kind(address);
    assert_eq!(reporter.stop(LIMIT), 0);
    for n in 0..20 {
        let of_this: Vec<_> = tracker
            .tapes()
            .into_iter()
            .filter(|tape| tape.starts_with(&format!("r{n} ")))
            .collect();
        assert_eq!(of_this, is(&[&format!("r{n} update"), &format!("r{n} ready")]));
    }
    assert_eq!(number(&handle.counters().coalesced) - coalesced, 40);
}

#[test]
fn a_tracker_that_goes_and_comes_back_is_introduced_to_again() {
    let first = Tracker::kind(anywhere());
    let address = first.address;
    let (reporter, handle) = Reporter::start(config(&[address])).unwrap();
    ready(&handle, "a");
    first.wait(|tapes| tapes == is(&["a ready"]));
    until("delivered", || number(&handle.counters().delivered) == 1);
    drop(first);
    ready(&handle, "b");
    until("away", || handle.counters().trackers()[0].trouble.contains("cannot connect"));
    let second = Tracker::kind(address);
    second.wait(|tapes| tapes == is(&["b ready"]));
    assert!(second.targets()[0].contains("type=init"));
    assert_eq!(reporter.stop(LIMIT), 0);
}

#[test]
fn a_message_that_fails_waits_alone_and_keeps_its_order() {
    let troubles: [fn() -> Act; 5] = [
        || Act::Answer(500, "broken".to_owned()),
        || Act::Answer(200, String::new()),
        || Act::Bytes(b"\x00\xffgarbage\r\n\r\n".to_vec()),
        || Act::Bytes(Vec::new()),
        || Act::Hang(b"HTTP/1.1 200 OK\r\nContent-Length: 60\r\n\r\nclass=".to_vec()),
    ];
    let tracker = Tracker::start(anywhere(), move |target, before| {
        if target.contains("recid=bad") && before < troubles.len() {
            troubles[before]()
        } else {
            Act::taken()
        }
    });
    let config =
        ReporterConfig { timeout: Duration::from_millis(300), ..config(&[tracker.address]) };
    let (reporter, handle) = Reporter::start(config).unwrap();
    handle.tell(message("bad", Stage::Update));
    ready(&handle, "bad");
    for n in 0..50 {
        ready(&handle, &format!("good{n}"));
    }
    assert_eq!(reporter.stop(LIMIT), 0);
    let tapes = tracker.tapes();
    let last_good = tapes.iter().rposition(|tape| tape.starts_with("good")).unwrap();
    let ready = tapes.iter().position(|tape| tape == "bad ready").unwrap();
    assert!(last_good < ready, "{tapes:?}");
    assert!((0..50).all(|n| tracker.count(&format!("good{n} ready")) == 1));
    // Each trouble was met by both messages, one after the other.
    assert_eq!((tracker.count("bad update"), tracker.count("bad ready")), (6, 6));
    assert!(tapes.iter().rposition(|tape| tape == "bad update").unwrap() < ready);
    // A kept connection that is closed unanswered says nothing about the message: not counted.
    assert!((8..=10).contains(&number(&handle.counters().failed_attempts)));
}

#[test]
fn a_tag_goes_in_order_and_is_given_up_when_it_fails_for_ever() {
    let tag = |orkuid: &str| AddTagMessage {
        orkuid: orkuid.to_owned(),
        tagtype: "dtmfdigit".to_owned(),
        tagtext: "5".to_owned(),
        ..AddTagMessage::default()
    };
    let tracker = Tracker::start(anywhere(), |target, _| {
        let unknown = "class=simpleresponse success=false comment=what \r\n";
        match target.contains("type=addtag") {
            true if target.contains("orkuid=bad") => Act::Answer(500, "what".to_owned()),
            true => Act::Answer(200, unknown.to_owned()),
            false => Act::taken(),
        }
    });
    let (reporter, handle) = Reporter::start(config(&[tracker.address])).unwrap();
    for recid in ["bad", "good"] {
        handle.tell(message(recid, Stage::Start));
        handle.tag(tag(recid));
        ready(&handle, recid);
    }
    assert_eq!(reporter.stop(LIMIT), 0);
    let order = |recid: &str| -> Vec<String> {
        let targets = tracker.targets().into_iter().filter(|t| t.contains(&format!("={recid}&")));
        let word = |t: String| ["addtag", "start", "ready"].into_iter().find(|w| t.contains(w));
        targets.filter_map(word).map(str::to_owned).collect()
    };
    assert_eq!(order("good"), is(&["start", "addtag", "ready"]), "success=false is an answer");
    assert_eq!(order("bad").len(), 2 + 11);
    assert_eq!(order("bad").last().map(String::as_str), Some("ready"));
    assert_eq!(number(&handle.counters().refused), 1);
    assert_eq!(number(&handle.counters().delivered), 5);
}

#[test]
fn answers_without_end_or_measure_are_bounded() {
    let tracker = Tracker::start(anywhere(), |target, _| {
        if target.contains("recid=huge") {
            let mut answer = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
            answer.extend(TAKEN.as_bytes());
            answer.resize(10 << 20, b'x');
            Act::Bytes(answer)
        } else if target.contains("recid=endless") {
            Act::Hang(format!("HTTP/1.0 200 OK\r\n\r\n{TAKEN}").into_bytes())
        } else {
            Act::taken()
        }
    });
    let config =
        ReporterConfig { timeout: Duration::from_millis(500), ..config(&[tracker.address]) };
    let (reporter, handle) = Reporter::start(config).unwrap();
    ready(&handle, "huge");
    ready(&handle, "endless");
    assert_eq!(reporter.stop(LIMIT), 0);
    assert_eq!(number(&handle.counters().delivered), 2);
    assert_eq!((tracker.count("huge ready"), tracker.count("endless ready")), (1, 1));
}

#[test]
fn an_answer_that_drips_costs_its_time_out() {
    let tracker = Tracker::start(anywhere(), |target, before| {
        if target.contains("recid=drip") && before < 2 {
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 600\r\n\r\n{TAKEN}");
            Act::Drip(answer.into_bytes(), Duration::from_secs(1))
        } else {
            Act::taken()
        }
    });
    let config =
        ReporterConfig { timeout: Duration::from_millis(300), ..config(&[tracker.address]) };
    let (reporter, handle) = Reporter::start(config).unwrap();
    ready(&handle, "drip");
    for n in 0..50 {
        ready(&handle, &format!("good{n}"));
    }
    tracker.wait(|tapes| tapes.iter().filter(|tape| tape.starts_with("good")).count() == 50);
    assert_eq!(reporter.stop(LIMIT), 0);
    assert_eq!(tracker.count("drip ready"), 3);
    assert_eq!(number(&handle.counters().failed_attempts), 2);
    assert_eq!(number(&handle.counters().delivered), 51);
}

#[test]
fn a_lost_answer_means_once_more() {
    let tracker = Tracker::start(anywhere(), |target, before| {
        if target.contains("type=tape") && before == 0 {
            Act::Bytes(Vec::new())
        } else {
            Act::taken()
        }
    });
    let (reporter, handle) = Reporter::start(config(&[tracker.address])).unwrap();
    ready(&handle, "a");
    assert_eq!(reporter.stop(LIMIT), 0);
    assert_eq!(tracker.count("a ready"), 2);
    assert_eq!(number(&handle.counters().delivered), 1);
}

#[test]
fn refused_for_good_is_dropped_and_counted() {
    let tracker = Tracker::start(anywhere(), |target, _| {
        if target.contains("recid=odd") { Act::Answer(400, "no".to_owned()) } else { Act::taken() }
    });
    let (reporter, handle) = Reporter::start(config(&[tracker.address])).unwrap();
    handle.tell(message("odd", Stage::Start));
    let long = TapeMessage { localparty: "x".repeat(70_000), ..message("long", Stage::Ready) };
    handle.ready(long, "long.wav").unwrap();
    ready(&handle, "fine");
    assert_eq!(reporter.stop(LIMIT), 0);
    assert_eq!(number(&handle.counters().refused), 2);
    assert_eq!((tracker.count("odd start"), tracker.count("fine ready")), (1, 1));
}

#[test]
fn a_frozen_tracker_holds_up_nobody_else() {
    let frozen = Tracker::start(anywhere(), |_, _| Act::Hang(Vec::new()));
    let fine = Tracker::kind(anywhere());
    let folder = tempfile::tempdir().unwrap();
    let config = ReporterConfig {
        timeout: Duration::from_secs(600),
        ..durable(&[frozen.address, fine.address, nowhere()], folder.path())
    };
    let (reporter, handle) = Reporter::start(config).unwrap();
    for n in 0..100 {
        ready(&handle, &format!("r{n}"));
    }
    fine.wait(|tapes| tapes.len() == 100);
    until("counted", || number(&handle.counters().delivered) == 100);
    assert!(frozen.tapes().is_empty());
    assert_eq!(reporter.stop(Duration::from_millis(1)), 200);
}

#[test]
fn what_was_not_delivered_survives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let address = nowhere();
    let (reporter, handle) = Reporter::start(durable(&[address], folder.path())).unwrap();
    handle.tell(message("a", Stage::Start));
    ready(&handle, "a");
    ready(&handle, "b");
    drop(reporter);
    assert!(handle.ready(message("c", Stage::Ready), "c.wav").is_err());

    let tracker = Tracker::kind(address);
    let (reporter, handle) = Reporter::start(durable(&[address], folder.path())).unwrap();
    assert!(number(&handle.counters().outbox_rows) >= 2);
    // The start-up sweep finds the file of `b` and tells it again.
    assert!(handle.is_ready("b").unwrap());
    ready(&handle, "b");
    tracker.wait(|tapes| ["a ready", "b ready"].iter().all(|tape| tapes.contains(&(*tape).into())));
    assert_eq!(reporter.stop(LIMIT), 0);
    assert_eq!(number(&handle.counters().repeated), 1);

    let (reporter, _handle) = Reporter::start(durable(&[address], folder.path())).unwrap();
    until("introduced", || tracker.targets().last().unwrap().contains("type=init"));
    assert_eq!(reporter.stop(LIMIT), 0);
    assert_eq!((tracker.count("a ready"), tracker.count("b ready")), (1, 1));
}

#[test]
fn a_killed_process_loses_nothing_that_was_written_down() {
    let (folder, after) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let address = nowhere();
    let (reporter, handle) = Reporter::start(durable(&[address], folder.path())).unwrap();
    for n in 0..50 {
        ready(&handle, &format!("r{n}"));
    }
    assert!(handle.is_ready("r49").unwrap());
    // What a killed process leaves: the files as they are, nothing closed or checkpointed.
    for name in ["state.db", "state.db-wal"] {
        std::fs::copy(folder.path().join(name), after.path().join(name)).unwrap();
    }
    drop(reporter);
    let tracker = Tracker::kind(address);
    let (reporter, _handle) = Reporter::start(durable(&[address], after.path())).unwrap();
    tracker.wait(|tapes| tapes.len() == 50);
    assert_eq!(reporter.stop(LIMIT), 0);
    assert!((0..50).all(|n| tracker.count(&format!("r{n} ready")) == 1));
}

#[test]
fn the_journal_tells_which_tapes_were_open() {
    let folder = tempfile::tempdir().unwrap();
    let config = durable(&[], folder.path());
    let opening = |recid: &str| Opening {
        tape: orkbase::call::output::TapeId(1),
        orkuid: orkbase::ids::OrkUid::parse(recid).unwrap(),
        start: orkbase::time::Timestamp(1),
        path: format!("2026/11/21/02/{recid}"),
        rate: 8_000,
        message: message(recid, Stage::Start),
    };
    let (reporter, handle) = Reporter::start(config.clone()).unwrap();
    for recid in ["open", "ready", "discarded"] {
        handle.opened(&opening(recid));
    }
    handle.tell(message("open", Stage::Update));
    ready(&handle, "ready");
    handle.discarded("discarded");
    handle.tell(message("", Stage::Start));
    drop(reporter);
    assert_eq!(number(&handle.counters().nameless), 1);
    let (reporter, handle) = Reporter::start(config).unwrap();
    let open = OpenTape {
        recid: "open".to_owned(),
        path: "2026/11/21/02/open".to_owned(),
        message: Some(message("open", Stage::Update)),
    };
    assert_eq!(handle.open_tapes().unwrap(), [open]);
    let known =
        ["open", "ready", "discarded", "unknown"].map(|recid| handle.is_ready(recid).unwrap());
    assert_eq!(known, [false, true, false, false]);
    assert_eq!(reporter.stop(LIMIT), 0);
    assert!(handle.open_tapes().is_err());
}

#[test]
fn the_tracker_may_have_a_recording_deleted() {
    let delete = "class=taperesponse success=true comment= deletetape=true \r\n";
    let tracker = Tracker::start(anywhere(), move |_, _| Act::Answer(200, delete.to_owned()));
    let (to, from) = sync_channel(1);
    let config = ReporterConfig { verdicts: Some(to), ..config(&[tracker.address]) };
    let (reporter, handle) = Reporter::start(config).unwrap();
    handle.tell(message("a", Stage::Start));
    ready(&handle, "a");
    ready(&handle, "b");
    let verdict = |recid: &str| TrackerVerdict::Delete {
        recid: recid.to_owned(),
        filename: format!("2026/11/21/02/{recid}"),
        tracker: format!("http://{}/orktrack", tracker.address),
    };
    // There is room for one: the tracker is asked again for the other, and none is lost.
    let mut got = [from.recv_timeout(LIMIT).unwrap(), from.recv_timeout(LIMIT).unwrap()];
    got.sort_by_key(|TrackerVerdict::Delete { recid, .. }| recid.clone());
    assert_eq!(got, [verdict("a"), verdict("b")]);
    assert_eq!(reporter.stop(LIMIT), 0);
    assert!(from.try_recv().is_err());
}

#[test]
fn a_full_queue_drops_the_momentary_and_makes_ready_wait() {
    let folder = tempfile::tempdir().unwrap();
    let config = ReporterConfig { queue: 4, ..durable(&[nowhere()], folder.path()) };
    let (reporter, handle) = Reporter::start(config).unwrap();
    until("the first failed introduction", || number(&handle.counters().unreachable) > 0);
    // Somebody else holds the database: the keeper cannot write.
    let other = rusqlite::Connection::open(folder.path().join("state.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    handle.tell(message("a", Stage::Start));
    until("a transaction failed", || number(&handle.counters().store_failures) > 0);
    until("something dropped", || {
        handle.tell(message("a", Stage::Start));
        number(&handle.counters().dropped) > 0
    });
    let own = handle.clone();
    let waiting = std::thread::Builder::new().name("tape-0".to_owned());
    let waiting = waiting.spawn(move || ready(&own, "b")).unwrap();
    let failures = number(&handle.counters().store_failures);
    until("another one", || number(&handle.counters().store_failures) > failures);
    assert!(!waiting.is_finished());
    other.execute_batch("ROLLBACK").unwrap();
    waiting.join().unwrap();
    assert!(handle.is_ready("b").unwrap());
    assert!(reporter.stop(Duration::ZERO) > 0);
}

#[test]
fn a_database_that_cannot_be_written_does_not_hold_up_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let config = ReporterConfig { queue: 4, ..durable(&[], folder.path()) };
    let (reporter, handle) = Reporter::start(config).unwrap();
    let other = rusqlite::Connection::open(folder.path().join("state.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    handle.tell(message("a", Stage::Start));
    until("a transaction failed", || number(&handle.counters().store_failures) > 0);
    until("a full queue", || {
        handle.tell(message("a", Stage::Start));
        number(&handle.counters().dropped) > 0
    });
    let own = handle.clone();
    let waiting = std::thread::Builder::new().name("tape-0".to_owned());
    let waiting = waiting.spawn(move || own.ready(message("b", Stage::Ready), "b.wav"));
    let begun = Instant::now();
    drop(reporter);
    assert!(begun.elapsed() < LIMIT);
    // Nobody is told that it is stored.
    assert!(waiting.unwrap().join().unwrap().is_err());
}

#[test]
fn no_more_connections_than_allowed() {
    let tracker = Tracker::start(anywhere(), |target, _| {
        if target.contains("recid=slow") { Act::Hang(Vec::new()) } else { Act::taken() }
    });
    let config = ReporterConfig {
        timeout: Duration::from_secs(600),
        parallel: 3,
        ..config(&[tracker.address])
    };
    let (reporter, handle) = Reporter::start(config).unwrap();
    for n in 0..10 {
        ready(&handle, &format!("slow{n}"));
    }
    tracker.wait(|tapes| tapes.len() == 3);
    assert!(reporter.stop(Duration::from_millis(300)) == 10);
    assert_eq!(tracker.tapes().len(), 3);
    assert!(tracker.connections() <= 4);
}

#[test]
fn a_database_that_cannot_be_opened_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let config = durable(&[], &folder.path().join("missing"));
    let error = Reporter::start(config).unwrap_err();
    assert!(error.to_string().contains("missing/state.db"), "{error}");
}
