//! The command port with the programs that integrators use, on a recorder with a live call.

use ork_tests::{
    programs::Running,
    scenario::{START, play},
    skip,
};
use orkaudio::{
    config::Config,
    engine::Engine,
    recorder::{Services, now, prepare},
};
use orkbase::{
    packet::{Frame, LinkType},
    time::Timestamp,
};
use serde_json::Value;
use std::{
    fs,
    io::Read,
    net::SocketAddr,
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

/// Where a recorder listens.
#[derive(Clone, Copy)]
struct Ports {
    command: SocketAddr,
    events: SocketAddr,
    live: SocketAddr,
}

/// A recorder that captures a scenario, at the pace of the clock, while clients do something.
fn with_call(
    text: &str,
    change: impl FnOnce(&mut Config),
    clients: impl FnOnce(Ports, &str) + Send,
) {
    let home = tempfile::tempdir().unwrap();
    let played = play(text).unwrap();
    let call_id = played.calls[0].call_id.clone();
    let mut config = Config::default();
    config.tapes.folder = home.path().join("tapes");
    config.tracker.state_folder = home.path().join("state");
    config.tracker.urls = Vec::new();
    let any: SocketAddr = ([127, 0, 0, 1], 0).into();
    (config.doors.command, config.doors.events, config.doors.live) =
        (Some(any), Some(any), Some(any));
    change(&mut config);
    let mut services = prepare(&config).unwrap();
    let mut engine = services.engine(&config).unwrap();
    let ports = Ports {
        command: services.doors().command_address().unwrap(),
        events: services.doors().events_address().unwrap(),
        live: services.live().unwrap().address(),
    };
    let over = AtomicBool::new(false);
    let begin = now().0;
    let mut frames = played.frames.iter().peekable();
    thread::scope(|scope| {
        let work = scope.spawn(|| {
            // So that every audio that is asked for has begun.
            thread::sleep(Duration::from_millis(300));
            clients(ports, &call_id);
            over.store(true, Ordering::Relaxed);
        });
        while !work.is_finished() {
            while let Some((at, bytes)) = frames.next_if(|(at, _)| begin + (at - START) <= now().0)
            {
                let at = Timestamp(begin + (at - START));
                let wire_len = u32::try_from(bytes.len()).unwrap();
                engine.handle_frame(&Frame { at, link: LinkType::Ethernet, wire_len, bytes });
            }
            turn(&services, &mut engine);
        }
        work.join().unwrap();
    });
    assert!(over.load(Ordering::Relaxed));
    services.stop(engine);
}

fn turn(services: &Services, engine: &mut Engine) {
    services.answer_commands(engine);
    services.housekeeping(engine, &[]);
    engine.handle_timeout(Timestamp(now().0 - 100_000_000).max(engine.last()));
    thread::sleep(Duration::from_millis(2));
}

/// What curl says of an address of the API document, taken literally: only the connection goes where the
/// recorder listens here.
fn curl(door: SocketAddr, url: &str, more: &[&str]) -> (String, String) {
    let to = format!("::127.0.0.1:{}", door.port());
    let mut command = Command::new("curl");
    command.args(["-sS", "-D", "-", "--max-time", "60", "--connect-to", &to]).args(more).arg(url);
    let done = command.output().unwrap();
    assert!(done.status.success(), "{url}: {}", String::from_utf8_lossy(&done.stderr));
    let text = String::from_utf8(done.stdout).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

/// The same by wget, which goes through the recorder as if it were a proxy.
fn wget(door: SocketAddr, url: &str) -> String {
    let proxy = format!("http_proxy=http://127.0.0.1:{}", door.port());
    let args = ["-q", "-O", "-", "--tries=1", "--timeout=60", "-e", "use_proxy=on", "-e"];
    let done = Command::new("wget").args(args).arg(proxy).arg(url).output().unwrap();
    assert!(done.status.success(), "{url}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

fn missing(program: &str) -> bool {
    let none = Command::new(program).arg("--version").output().is_err();
    if none {
        skip::note("published examples", &format!("no {program}"));
    }
    none
}

const XML: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"no\" ?>";

#[test]
fn the_published_examples_work_as_they_stand() {
    if missing("curl") || missing("wget") {
        return;
    }
    let text = "a = 5002@192.168.1.11; a->b INVITE pcmu; b->a 200; a->b ACK; rtp 40s";
    with_call(
        text,
        |_| (),
        |ports, call_id| {
            let door = ports.command;
            let done = |comment: &str| {
                format!(
                    "{XML}<response><success>true</success><comment>{comment}</comment></response>"
                )
            };
            let ping = "http://localhost:59140/command?type=ping";
            let pong = format!("{XML}<response><success>true</success></response>");
            assert_eq!((curl(door, ping, &[]).1, wget(door, ping)), (pong.clone(), pong));

            // What is named there is in no call but the party's.
            let base = "http://localhost:59140/command?type=";
            let who = ["party=5002", "nativecallid=33333", "orkuid=20081113_031704_MNP"];
            let mut orkuid = String::new();
            for (verb, what, tail) in [
                ("record", "Starting", " side:both"),
                ("pause", "Pausing", ""),
                ("record", "Starting", " side:both"),
            ] {
                for (n, selector) in who.into_iter().enumerate() {
                    let url = format!("{base}{verb}&{selector}&side=both");
                    let (head, body) = curl(door, &url, &[]);
                    assert!(head.contains(&format!("X-Matched: {}", u8::from(n == 0))), "{head}");
                    if n == 0 && orkuid.is_empty() {
                        let rest = body.split_once("orkuid:").unwrap().1;
                        rest.split(' ').next().unwrap().clone_into(&mut orkuid);
                        assert!(orkuid.len() > 16, "{body}");
                    }
                    let named = match n {
                        0 => format!("party:5002 orkuid:{orkuid} nativecallid:"),
                        1 => "party: orkuid: nativecallid:33333".to_owned(),
                        _ => "party: orkuid:20081113_031704_MNP nativecallid:".to_owned(),
                    };
                    let wanted = done(&format!("{what} capture for {named}{tail}"));
                    assert_eq!(body, wanted, "{url}");
                    assert_eq!(wget(door, &url), wanted, "{url}");
                }
            }
            for selector in [format!("nativecallid={call_id}"), format!("orkuid={orkuid}")] {
                let (head, _) = curl(door, &format!("{base}pause&{selector}&side=both"), &[]);
                assert!(head.contains("X-Matched: 1"), "{head}");
            }
            let stop =
                |selector: &str| curl(door, &format!("{base}stop&{selector}&side=both"), &[]);
            assert!(
                stop(who[1]).0.contains("X-Matched: 0") && stop(who[2]).0.contains("X-Matched: 0")
            );
            let (head, body) = stop(who[0]);
            assert!(
                head.contains("X-Matched: 1") && body.contains("RtpNumMissingPkts:0"),
                "{body}"
            );

            let report = "http://localhost:59140/command?type=reporttape&fromdate=20080605_080000&todate=20080605_090000";
            let wanted = done("Reporting 0 recordings");
            assert_eq!((curl(door, report, &[]).1, wget(door, report)), (wanted.clone(), wanted));
            let import = "http://localhost:59140/command?type=importtape&mediatype=A&url=/path/to/audio/file\
                      &timestamp=1352481737&duration=20&localparty=1234&remoteparty=5";
            assert!(
                curl(door, import, &[]).1.contains("<success>false</success>"),
                "no folder is open"
            );
            let licence = curl(door, "http://localhost:59140/command?type=loadlicensefile", &[]).1;
            assert!(
                licence.contains("<comment>License info: ") && licence.contains("<success>true")
            );
            let json = curl(door, ping, &["-H", "Accept: application/json"]).1;
            assert_eq!(json, "{\"success\":true}");
            let post = curl(door, "http://localhost:59140/", &["-d", "type=ping"]).1;
            assert!(post.contains("<success>true</success>"));
        },
    );
}

/// Runs wget until what it writes is enough, and gives that.
fn wget_until(door: SocketAddr, url: &str, enough: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let via = format!("http_proxy=http://{door}");
    let args = ["-q", "-O", "-", "--tries=1", "-e", "use_proxy=on", "-e", &via, url];
    let wget = Command::new("wget").args(args).stdout(Stdio::piped()).spawn().unwrap();
    let mut wget = Running(wget);
    let mut stream = wget.0.stdout.take().unwrap();
    let (mut heard, mut piece) = (Vec::new(), [0; 4096]);
    while !enough(&heard) {
        let length = stream.read(&mut piece).unwrap();
        assert!(length > 0, "{url}: ended after {} bytes", heard.len());
        assert!(heard.len() < 2_000_000, "{url}: never enough");
        heard.extend(&piece[..length]);
    }
    heard
}

#[test]
fn the_published_examples_of_streams_work_as_they_stand() {
    if missing("curl") || missing("wget") {
        return;
    }
    let text = "a = 5002@192.168.1.11; a->b INVITE pcmu; b->a 200; a->b ACK; rtp 40s";
    with_call(
        text,
        |_| (),
        |ports, _| {
            // Half a second of somebody's voice.
            let voice = |bytes: &[u8]| bytes.iter().filter(|byte| **byte != 0).count() > 8_000;
            let listen = |url: &str| wget_until(ports.live, url, voice);
            let base = "http://orkaudio-server:59120/?type=stream";
            listen(&format!("{base}&localparty=5002"));
            let calls = curl(ports.live, "http://orkaudio-server:59120/calls", &[]).1;
            let calls: Value = serde_json::from_str(&calls).unwrap();
            // In the place of 20081113_031704_MNP.
            let uid = calls[0]["orkuid"].as_str().unwrap();
            listen(&format!("{base}&recid={uid}"));
            let stereo = listen(&format!("{base}&recid={uid}&stereo=true"));
            let sides =
                |at: usize| stereo.iter().skip(at).step_by(4).filter(|byte| **byte != 0).count();
            assert!(sides(0) > 1_000 && sides(2) > 1_000, "{} and {}", sides(0), sides(2));
            listen(&format!("{base}&localparty=5002&recid={uid}&stereo=true"));
            let gone = format!("{base}&recid=20081113_031704_MNP");
            assert!(curl(ports.live, &gone, &[]).0.starts_with("HTTP/1.1 404 "));

            let events = "http://orkaudio-server:59150/command?type=streamevents";
            let command = ports.command;
            let splitter = thread::Builder::new().spawn(move || {
                // As often as it takes for somebody to be listening by then.
                for _ in 0..20 {
                    thread::sleep(Duration::from_millis(500));
                    curl(command, "http://localhost:59140/command?type=split&party=5002", &[]);
                }
            });
            let has = |bytes: &[u8], part: &str| {
                bytes.windows(part.len()).any(|window| window == part.as_bytes())
            };
            let stages = ["&stage=stop&", "&stage=start&"];
            let lines = wget_until(ports.events, events, |heard| {
                stages.iter().all(|stage| has(heard, stage)) && heard.ends_with(b"\r\n")
            });
            let lines = String::from_utf8(lines).unwrap();
            splitter.unwrap().join().unwrap();
            for (stage, localparty) in [("stop", "5002"), ("start", "5002")] {
                let line = lines.lines().find(|line| line.contains(&format!("&stage={stage}&")));
                let line = line.unwrap_or_else(|| panic!("no {stage} in {lines}"));
                assert!(
                    line.starts_with("type=tape&recid=") && line.contains(localparty),
                    "{line}"
                );
            }
        },
    );
}

/// A recording of a call, told again; a file, imported and told; and all of it in the audit.
#[test]
fn a_recording_is_told_again_and_a_file_imported() {
    if missing("curl") {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let inbox = home.path().join("in");
    fs::create_dir(&inbox).unwrap();
    let audit = home.path().join("audit.jsonl");
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: 8_000,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut wav = hound::WavWriter::create(inbox.join("a.wav"), spec).unwrap();
    (0..16_000).for_each(|n| wav.write_sample(n % 100).unwrap());
    wav.finalize().unwrap();
    for (format, extension) in [("pcm", "wav"), ("mulaw", "wav")] {
        let tapes = home.path().join(format);
        let (root, inbox, audit) = (tapes.clone(), inbox.clone(), audit.clone());
        let change = |config: &mut Config| {
            config.tapes.folder = root;
            config.doors.import_folders = vec![inbox.clone()];
            config.doors.audit_file = audit;
            if format == "mulaw" {
                config.output.format = orkaudio::format::Format::MuLaw;
            }
        };
        let url = format!(
            "http://localhost:59140/command?type=importtape&mediatype=A&url={}/a.wav\
             &timestamp=1352481737&duration=0&localparty=1234&remoteparty=5&direction=in",
            inbox.display()
        );
        with_call("a->b INVITE pcmu; b->a 200; a->b ACK; rtp 40s", change, |ports, _| {
            let door = ports.command;
            let body = curl(door, &url, &[]).1;
            assert!(
                body.contains("<success>true</success><comment>Imported as orkuid:2012"),
                "{body}"
            );
            let find = || {
                ork_tests::generator::check::find_tapes(&tapes).unwrap().into_iter().any(|tape| {
                    let name = tape.file.display().to_string();
                    name.contains("/2012/") && name.ends_with(extension)
                })
            };
            ork_tests::programs::wait_until("the imported file", find);
            let again = |from: &str, to: &str| {
                let url = format!(
                    "http://localhost:59140/command?type=reporttape&fromdate={from}&todate={to}"
                );
                curl(door, &url, &[]).1
            };
            ork_tests::programs::wait_until("the journal", || {
                again("20121101_000000", "20121130_000000").contains("Reporting 1 recordings")
            });
            assert!(again("20111101_000000", "20111130_000000").contains("Reporting 0 recordings"));
        });
    }
    let lines = fs::read_to_string(&audit).unwrap();
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.iter().filter(|line| line["command"] == "importtape").count(), 2);
    assert!(lines.iter().all(|line| line["from"].as_str().unwrap().starts_with("127.0.0.1:")));
}
