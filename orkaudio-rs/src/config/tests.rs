//! Every key by its name, its bounds and its mistakes.

use super::{keys::KEYS, *};
use crate::{
    format::Format as AudioFormat,
    process::{Channels, Step},
};
use orkbase::{
    call::{
        command::PauseAs,
        filter::{Filters, PartyPattern},
        keeping::KeepPackets,
        policy::{IpRange, NumberPattern},
    },
    config::Schema,
    message::tape::KeepSide,
    signal::Format,
};
use std::{fs, path::Path, time::Duration};

const ANNOTATED: &str = include_str!("../../../conf/orkaudio.toml");

fn sources(file: Option<&Path>, environment: &[(&str, &str)], sets: &[&str]) -> Sources {
    Sources {
        file: file.map(Path::to_owned),
        environment: environment.iter().map(|(k, v)| (k.into(), v.into())).collect(),
        sets: texts(sets),
    }
}

fn texts(list: &[&str]) -> Vec<String> {
    list.iter().map(|text| (*text).to_owned()).collect()
}

fn write(text: &str) -> (tempfile::TempDir, PathBuf) {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("orkaudio.toml");
    fs::write(&path, text).unwrap();
    (home, path)
}

/// Loads a file of this text, no other source.
fn file(text: &str) -> Result<Config, String> {
    let (_home, path) = write(text);
    let folder = format!("{}/", path.parent().unwrap().display());
    load(&sources(Some(&path), &[], &[])).map_err(|told| told.to_string().replace(&folder, ""))
}

/// Loads `--set` arguments over an empty file.
fn set(arguments: &[&str]) -> Result<Config, String> {
    let (_home, path) = write("");
    load(&sources(Some(&path), &[], arguments)).map_err(|mistakes| mistakes.to_string())
}

fn names() -> Vec<&'static str> {
    KEYS.iter().map(|(name, _)| *name).collect()
}

#[test]
fn the_annotated_file_says_what_the_default_is() {
    assert_eq!(file(ANNOTATED), Ok(Config::default()));
    assert_eq!(file(""), Ok(Config::default()));
    let names = names();
    let schema = Schema { keys: &names, prefix: "ORKAUDIO_", reserved: &[] };
    let mut mistakes = Mistakes::default();
    let written = schema.file("", ANNOTATED, &mut mistakes);
    let written: Vec<&str> = written.iter().map(|setting| setting.key.as_str()).collect();
    // Every key, in the order of the table.
    assert_eq!((written, mistakes), (names, Mistakes::default()));
}

#[test]
fn every_key_sets_its_own_field() {
    let text = r#"
        log.level = "warn,orkaudio::tape=debug"
        [capture]
        interfaces = ["eth1", "any"]
        filter = "udp"
        snaplen = 96
        buffer_mib = 2047
        threads = 8
        promiscuous = false
        vxlan_ports = [1]
        geneve_ports = [2]
        gtp_ports = [3]
        tzsp_ports = [4, "5"]
        oreka_ports = []
        hep_ports = [7, 65535]
        hep_listen = "[::]:9060"
        hep_key = "k"
        key_log = "/run/keys"
        tls_ports = [5061, 5071]
        [security]
        user = "orkaudio"
        confine = false
        [codecs]
        gpl = false
        [calls]
        record_all = false
        prerecord_s = 14
        prerecord_mib = 15
        pause = "gap"
        pause_limit_s = 16
        rtp_timeout_s = 1
        hold_timeout_s = 2
        setup_timeout_s = 3
        dialog_timeout_s = 86400
        bye_grace_ms = 0
        late_ms = 2000
        max_calls = 5
        max_flows = 6
        max_candidates = 7
        unannounced_after = 8
        payload_types = ["107 = opus/48000/2"]
        g726_aal2_agents = ["Gate 1"]
        inband_dtmf = true
        hold_messages = false
        tag_headers = ["X-Account"]
        link_headers = ["X-Unique-ID"]
        other_leg = "skip"
        [parties]
        dialed_number_header = "X-Dialed"
        reference_addresses = ["192.0.2.7"]
        reference_user_agents = ["Trunk, Inc. 3"]
        domains = ["example.com"]
        extensions = ["1XXX", 200]
        lan = []
        request_uri_as_local_party = false
        remote_party_header = "X-Remote"
        asserted_identity = false
        display_names = true
        map = ["1001 = Alice"]
        map_file = ""
        [filters]
        allowed_addresses = ["10.0.0.0/8"]
        blocked_addresses = ["10.0.0.1"]
        blocked_media = ["10.0.0.2"]
        only_parties = ["1XXX"]
        never_parties = ["/a.*/", "110"]
        max_duration_s = 12
        [tapes]
        folder = "/srv/tapes"
        naming = "[localparty]/[orkuid]"
        rate = 16000
        stereo = false
        conceal = false
        packets = "always"
        packets_max_bytes = 65536
        segment_s = 13
        min_duration_ms = 9
        mode = "0600"
        sync = false
        sync_interval_s = 7
        reserve_mib = 99
        sidecar = true
        ledger = false
        ledger_key = "/etc/ork/ledger.key"
        encrypt_key = ""
        workers = 64
        backlog_mib = 10
        [output]
        format = "flac"
        channels = "mono"
        bitrate_kbps = 48
        keep_original = true
        copy_folder = "/srv/copies"
        copy_format = "opus"
        processors = ["rename", "gain", "transcode", "command"]
        gain_db = -3
        gain_local_db = 0
        gain_remote_db = 0
        keep_side = "both"
        rename = "[orkuid]"
        command = ["/bin/cp", "[IN]", "[OUT]"]
        command_extension = "x"
        command_timeout_s = 5
        command_user = "daemon"
        workers = 3
        [tracker]
        urls = ["http://a:1/orktrack", "https://b"]
        ca = "/etc/ca.pem"
        state_folder = "/srv/state"
        service = "s"
        hostname = "h"
        timeout_s = 11
        [doors]
        command = ""
        events = "[::]:1"
        live = ""
        live_buffer_ms = 60
        audit_file = "/var/log/audit.jsonl"
        audit_mib = 1
        audit_files = 2
        import_folders = ["/srv/in"]
        networks = ["10.0.0.0/8=read+listen", "::1"]
        token_file = "/etc/tokens"
        tls_certificate = "/etc/cert.pem"
        tls_key = "/etc/key.pem"
        plain_networks = []
        client_ca = "/etc/ca.pem"
        client_rights = "read"
        origins = ["https://wall.example"]
    "#;
    let mut want = Config {
        capture: Capture {
            interfaces: texts(&["eth1", "any"]),
            filter: "udp".to_owned(),
            snaplen: 96,
            buffer_mib: 2047,
            threads: 8,
            promiscuous: false,
            ports: TunnelPorts {
                vxlan: vec![1],
                geneve: vec![2],
                gtp_u: vec![3],
                tzsp: vec![4, 5],
                oreka: Vec::new(),
                hep: vec![7, 65_535],
            },
            hep_listen: "[::]:9060".parse().ok(),
            hep_key: HepKey::new("k"),
            key_log: Some(PathBuf::from("/run/keys")),
            tls_ports: vec![5061, 5071],
        },
        calls: Settings {
            record_all: false,
            prerecord_ms: 14_000,
            prerecord_max_bytes: 15 << 20,
            pause: PauseAs::Gap,
            pause_limit_ms: 16_000,
            rtp_timeout_ms: 1_000,
            hold_timeout_ms: 2_000,
            setup_timeout_ms: 3_000,
            dialog_timeout_ms: 86_400_000,
            bye_grace_ms: 0,
            late_ms: 2_000,
            max_calls: 5,
            max_flows: 6,
            max_candidates: 7,
            unannounced_after: 8,
            payload_types: vec![Format {
                payload_type: 107,
                name: "opus".to_owned(),
                clock_rate: 48_000,
                channels: 2,
                parameters: None,
            }],
            g726_aal2_agents: texts(&["Gate 1"]),
            hold_messages: false,
            tag_headers: texts(&["X-Account"]),
            link_headers: texts(&["X-Unique-ID"]),
            both_legs: false,
            filters: Filters {
                allowed_addresses: vec![IpRange::parse("10.0.0.0/8").unwrap()],
                blocked_addresses: vec![IpRange::parse("10.0.0.1").unwrap()],
                blocked_media: vec![IpRange::parse("10.0.0.2").unwrap()],
                only_parties: vec![PartyPattern::parse("1XXX").unwrap()],
                never_parties: vec![
                    PartyPattern::parse("/a.*/").unwrap(),
                    PartyPattern::parse("110").unwrap(),
                ],
                max_duration_ms: 12_000,
            },
            keep_packets: KeepPackets::Always,
            packets_max_bytes: 65_536,
            segment_ms: 13_000,
            ..Settings::default()
        },
        party_map_file: PathBuf::new(),
        tapes: Tapes {
            folder: PathBuf::from("/srv/tapes"),
            naming: "[localparty]/[orkuid]".to_owned(),
            rate: Some(16_000),
            stereo: false,
            inband_dtmf: true,
            conceal: false,
            min_duration_ms: 9,
            mode: 0o600,
            sync: false,
            sync_interval: Some(Duration::from_secs(7)),
            reserve_bytes: 99 << 20,
            sidecar: true,
            ledger: false,
            ledger_key: Some(PathBuf::from("/etc/ork/ledger.key")),
            encrypt_key: None,
            workers: 64,
            backlog_mib: 10,
        },
        output: Output {
            format: AudioFormat::Flac,
            channels: Channels::Mono,
            bitrate_kbps: 48,
            keep_original: true,
            copy_folder: PathBuf::from("/srv/copies"),
            copy_format: AudioFormat::Opus,
            processors: vec![Step::Rename, Step::Gain, Step::Transcode, Step::Command],
            gain_db: -3,
            gain_local_db: 0,
            gain_remote_db: 0,
            keep_side: KeepSide::Both,
            rename: "[orkuid]".to_owned(),
            command: texts(&["/bin/cp", "[IN]", "[OUT]"]),
            command_extension: "x".to_owned(),
            command_timeout_s: 5,
            command_user: "daemon".to_owned(),
            workers: 3,
        },
        tracker: Tracker {
            urls: texts(&["http://a:1/orktrack", "https://b"]),
            ca: Some(PathBuf::from("/etc/ca.pem")),
            state_folder: PathBuf::from("/srv/state"),
            service: "s".to_owned(),
            hostname: "h".to_owned(),
            timeout_s: 11,
        },
        doors: Doors {
            command: None,
            events: "[::]:1".parse().ok(),
            live: None,
            live_buffer_ms: 60,
            audit_file: PathBuf::from("/var/log/audit.jsonl"),
            audit_mib: 1,
            audit_files: 2,
            import_folders: vec![PathBuf::from("/srv/in")],
            networks: vec![
                (IpRange::parse("10.0.0.0/8").unwrap(), Rights::parse("read+listen").unwrap()),
                (IpRange::parse("::1").unwrap(), Rights::ALL),
            ],
            token_file: Some(PathBuf::from("/etc/tokens")),
            tls_certificate: Some(PathBuf::from("/etc/cert.pem")),
            tls_key: Some(PathBuf::from("/etc/key.pem")),
            plain_networks: Vec::new(),
            client_ca: Some(PathBuf::from("/etc/ca.pem")),
            client_rights: Rights::parse("read").unwrap(),
            origins: texts(&["https://wall.example"]),
        },
        security: Security { user: "orkaudio".to_owned(), confine: false },
        gpl: false,
        log_level: "warn,orkaudio::tape=debug".to_owned(),
    };
    want.calls.parties = PartyRules {
        dialed_number_header: "X-Dialed".to_owned(),
        reference_addresses: vec![IpRange::parse("192.0.2.7").unwrap()],
        reference_user_agents: texts(&["Trunk, Inc. 3"]),
        domains: texts(&["example.com"]),
        extensions: ["1XXX", "200"].iter().filter_map(|text| NumberPattern::parse(text)).collect(),
        lan: Vec::new(),
        request_uri_as_local_party: false,
        remote_party_header: "X-Remote".to_owned(),
        asserted_identity: false,
        display_names: true,
        map: [("1001".to_owned(), "Alice".to_owned())].into(),
    };
    assert_eq!(file(text), Ok(want));
    for name in names() {
        let key = name.rsplit('.').next().unwrap();
        assert!(text.contains(&format!("{key} = ")) || name == "log.level", "{name} is not tried");
    }
}

#[test]
fn the_party_map_comes_from_a_file_too() {
    let home = tempfile::tempdir().unwrap();
    let map = home.path().join("map.csv");
    fs::write(&map, "# number,name\n\n1001,Alice A.\n 1002 , Bob, the other\n1003,C\n").unwrap();
    let file = format!("parties.map_file={}", map.display());
    let parties = set(&[&file, "parties.map=1003=Carol"]).unwrap().calls.parties.map;
    let pairs: Vec<(&str, &str)> =
        parties.iter().map(|(number, name)| (number.as_str(), name.as_str())).collect();
    assert_eq!(pairs, [("1001", "Alice A."), ("1002", "Bob, the other"), ("1003", "Carol")]);
    fs::write(&map, "1001,Alice\nnobody\n").unwrap();
    let told = set(&[&file]).unwrap_err();
    assert!(told.contains("map.csv:2: not a line of the form number,name"), "{told}");
    assert!(set(&["parties.map_file=/nowhere"]).unwrap_err().contains("cannot read /nowhere"));
}

#[test]
fn every_key_has_a_variable_of_its_own() {
    let names = names();
    let schema = Schema { keys: &names, prefix: "ORKAUDIO_", reserved: &[] };
    let mut variables: Vec<String> = names.iter().map(|name| schema.variable(name)).collect();
    assert!(!variables.iter().any(|variable| variable == "ORKAUDIO_CONFIG"));
    variables.sort();
    variables.dedup();
    assert_eq!(variables.len(), names.len());
}

#[test]
fn later_sources_outweigh_earlier_ones() {
    let (_home, path) = write("[calls]\nmax_calls = 2\nlate_ms = 50\n[log]\nlevel = \"warn\"");
    let environment = [
        ("HOME", "/"),
        ("ORKAUDIO_CONFIG", path.to_str().unwrap()),
        ("ORKAUDIO_CALLS_MAX_CALLS", "3"),
        ("ORKAUDIO_CAPTURE_INTERFACES", "eth0, eth1"),
        ("ORKAUDIO_CAPTURE_PROMISCUOUS", "false"),
        ("ORKAUDIO_PARTIES_LAN", ""),
        ("ORKAUDIO_TRACKER_URLS", ""),
    ];
    let config = load(&sources(None, &environment, &["calls.max_calls=4"])).unwrap();
    assert_eq!((config.calls.max_calls, config.calls.late_ms), (4, 50));
    assert_eq!((config.log_level.as_str(), config.capture.promiscuous), ("warn", false));
    assert_eq!(config.capture.interfaces, ["eth0", "eth1"]);
    assert!(config.calls.parties.lan.is_empty() && config.tracker.urls.is_empty());
    // The argument outweighs the variable.
    let (_home, other) = write("calls.max_calls = 9");
    let config = load(&sources(Some(&other), &environment[..2], &[])).unwrap();
    assert_eq!(config.calls.max_calls, 9);
}

#[test]
fn every_mistake_is_told_with_its_line_and_a_remedy() {
    let told = file(
        r#"[capture]
interfaces = "eth0,eth0"
snaplen = 95
[calls]
max_cals = 3
rtp_timeout_s = "30s"
tag_headers = ["X-Good", "X-Bad:"]
record_all = 1
[party]
lan = []
[parties]
lan = ["10.0.0.0/8", "10.0.0.0/33"]
reference_user_agents = [""]
extensions = ["20-100"]
domains = [true]
[tapes]
naming = "[nope]/[orkuid]"
mode = 640
[tracker]
urls = ["ftp://a"]
hostname = "a b"
[doors]
command = "localhost:59140"
"#,
    )
    .unwrap_err();
    let want = [
        "2: capture.interfaces: the entry \"eth0\" is not valid; give it once only, packets would \
         be captured twice otherwise",
        "3: capture.snaplen = 95 is not valid; give a whole number from 96 to 262144",
        "6: calls.rtp_timeout_s = \"30s\" is not valid; give whole seconds, from 1 to 86400 (a day)",
        "7: calls.tag_headers: the entry \"X-Bad:\" is not valid; give the name of a SIP header \
         without its colon, such as \"X-Account\"",
        "8: calls.record_all = 1 is not valid; give true or false",
        "12: parties.lan: the entry \"10.0.0.0/33\" is not valid; give an address or a network,",
        "13: parties.reference_user_agents: the entry \"\" is not valid; give a part of a",
        "14: parties.extensions: the entry \"20-100\" is not valid; give digits with X",
        "15: parties.domains = (a list of other things than texts and whole numbers) is not valid; \
         give a list in brackets, such as [\"a\", \"b\"]; each entry is a SIP domain",
        "17: tapes.naming = \"[nope]/[orkuid]\" is not valid; give a pattern such as \
         \"[year]/[month]/[day]/[orkuid]\": unknown token '[nope]'; known: orkuid,",
        "18: tapes.mode = 640 is not valid; give permissions in octal, in quotes,",
        "20: tracker.urls: the entry \"ftp://a\" is not valid; give the address of a tracker,",
        "21: tracker.hostname = \"a b\" is not valid; give a name without blanks, or \"\"",
        "23: doors.command = \"localhost:59140\" is not valid; give an IP address and a port,",
        "5: there is no setting `calls.max_cals`; did you mean calls.max_calls?",
        "9: there is no section [party]; the sections are capture, calls, parties, filters, tapes, \
         output, tracker, doors, security, codecs, log",
    ];
    for want in want {
        let want = format!("orkaudio.toml:{want}");
        assert!(told.lines().any(|line| line.starts_with(&want)), "no {want:?} in:\n{told}");
    }
    assert_eq!(told.lines().count(), want.len(), "{told}");
}

#[test]
fn a_key_is_never_repeated_and_a_port_has_one_meaning() {
    let told = file("[capture]\nhep_key = 123454321\nhep_listen = \"9060\"").unwrap_err();
    assert!(told.contains("orkaudio.toml:2: capture.hep_key is not valid; give a text"), "{told}");
    assert!(
        told.contains(":3: capture.hep_listen = \"9060\" is not valid") && !told.contains("12345")
    );
    let told = set(&["capture.hep_key= secret"]).unwrap_err();
    assert!(!told.contains("secret"), "{told}");
    let told = file("[capture]\nvxlan_ports = [9060]\ntzsp_ports = [0]").unwrap_err();
    let want = ":2: capture.vxlan_ports and capture.hep_ports both have 9060; take it out of one";
    assert!(told.contains(want), "{told}");
    assert!(told.contains(":3: capture.tzsp_ports: the entry \"0\" is not valid; give a port"));
    let config = set(&["capture.vxlan_ports=9060", "capture.hep_ports=", "capture.hep_key=a b"]);
    assert_eq!(config.unwrap().capture.hep_key, HepKey::new("a b"));
}

#[test]
fn mistakes_of_all_sources_together() {
    let (_home, path) = write("calls.late_ms = 19");
    let environment =
        [("ORKAUDIO_CALLS_LATE", "1"), ("ORKAUDIO_NOPE", "1"), ("ORKAUDIO_LOG_LEVEL", "loud")];
    let sets = ["max_calls=1", "tapes.mode", "tapes.workers=65"];
    let told = load(&sources(Some(&path), &environment, &sets)).unwrap_err();
    let told: Vec<String> = told.0.iter().map(|m| format!("{}: {}", m.place, m.what)).collect();
    let told = told.join("\n").replace(path.to_str().unwrap(), "file");
    for want in [
        "file:1: calls.late_ms = 19 is not valid; give a whole number from 20 to 2000",
        "ORKAUDIO_CALLS_LATE: there is no such setting; ",
        "ORKAUDIO_NOPE: there is no such setting; the variables are ORKAUDIO_CAPTURE_*, ",
        "ORKAUDIO_LOG_LEVEL: log.level = \"loud\" is not valid; give error, warn,",
        "--set max_calls=1: there is no setting `max_calls`; did you mean calls.max_calls?",
        "--set tapes.mode: write --set key=value",
        "--set tapes.workers=65: tapes.workers = \"65\" is not valid; give a whole number from 1",
    ] {
        assert!(told.lines().any(|line| line.starts_with(want)), "no {want:?} in:\n{told}");
    }
    assert_eq!(told.lines().count(), 7, "{told}");
}

#[test]
fn bounds() {
    for (key, least, most) in [
        ("capture.snaplen", 96, 262_144),
        ("capture.buffer_mib", 1, 2_047),
        ("capture.threads", 1, 32),
        ("calls.rtp_timeout_s", 1, 86_400),
        ("calls.hold_timeout_s", 1, 86_400),
        ("calls.setup_timeout_s", 1, 86_400),
        ("calls.dialog_timeout_s", 1, 86_400),
        ("calls.bye_grace_ms", 0, 10_000),
        ("calls.late_ms", 20, 2_000),
        ("calls.max_calls", 1, 1_000_000),
        ("calls.max_flows", 1, 4_000_000),
        ("calls.max_candidates", 0, 1_000_000),
        ("calls.unannounced_after", 0, 10_000),
        ("tapes.min_duration_ms", 0, 3_600_000),
        ("tapes.sync_interval_s", 0, 3_600),
        ("tapes.reserve_mib", 0, 1 << 30),
        ("tapes.workers", 1, 64),
        ("tapes.backlog_mib", 1, 65_536),
        ("output.gain_db", -60, 60),
        ("output.command_timeout_s", 1, 86_400),
        ("output.workers", 1, 64),
        ("tracker.timeout_s", 1, 300),
    ] {
        for (number, good) in [(least - 1, false), (least, true), (most, true), (most + 1, false)] {
            assert_eq!(set(&[&format!("{key}={number}")]).is_ok(), good, "{key}={number}");
        }
        assert!(file(&format!("{key} = 99999999999999999999")).is_err(), "{key}");
        assert!(file(&format!("{key} = 100.0")).is_err(), "{key}");
    }
}

#[test]
fn texts_that_are_good_and_bad() {
    let long = "x".repeat(256);
    let many = |count: usize| format!("calls.tag_headers={}", vec!["X"; count].join(","));
    for good in [
        "tapes.mode=0o644",
        "tapes.mode=666",
        "capture.filter=udp port 5060 or (vlan and udp)",
        "calls.tag_headers=X-A,x_b.c!",
        "parties.dialed_number_header=",
        "parties.extensions=1000-1999,*",
        "parties.lan=::/0,0.0.0.0/0",
        "tracker.urls=[::1]:99",
        "doors.events=[::1]:59150",
        "doors.events=127.0.0.1:0",
        "log.level=off",
        &many(1_000),
    ] {
        assert_eq!(set(&[good]).err(), None, "{good}");
    }
    for bad in [
        "tapes.mode=",
        "tapes.mode=0400",
        "tapes.mode=0777",
        "tapes.mode=4640",
        "tapes.mode=+640",
        "tapes.mode=0689",
        "tapes.folder=",
        "tapes.naming=[year]",
        "tapes.naming=../[orkuid]",
        "tapes.naming=a\n[orkuid]",
        "tracker.state_folder=a\0b",
        "capture.interfaces=eth0,",
        "capture.interfaces=a/b",
        "capture.filter=a\0",
        "calls.tag_headers=X A",
        "calls.tag_headers=X\rY",
        "calls.tag_headers=Ü",
        "parties.dialed_number_header=X:",
        "parties.domains=a b",
        "tracker.urls=http://a,A,http://a:8080/orktrack",
        "tracker.urls=http://a:0",
        "tracker.service=a\nb",
        "doors.events=59150",
        "log.level=",
        "log.level=info,orkaudio=loud",
        &format!("tracker.hostname={long}"),
        &many(1_001),
    ] {
        assert!(set(&[bad]).is_err(), "{bad}");
    }
}

#[test]
fn what_does_not_fit_together_in_output_is_told() {
    for (sets, want) in [
        (
            &["output.format=wma"][..],
            "give \"pcm\", \"alaw\", \"mulaw\", \"gsm\", \"opus\", \"flac\" or \"mp3\"",
        ),
        (&["output.gain_db=3", "output.processors=transcode,gain"], "put \"gain\" before"),
        (&["output.rename=[orkuid]", "output.processors=report"], "leave \"rename\" in the list"),
        (&["output.processors=report,transcode"], "put \"transcode\" before \"report\""),
        (&["output.processors=gain,gain"], "it once only"),
        (&["output.processors=gain,louder"], "the entry \"louder\""),
        (&["output.channels=split", "tapes.stereo=false"], "give tapes.stereo = true"),
        (&["output.keep_side=local", "tapes.stereo=false"], "give tapes.stereo = true"),
        (&["output.format=opus", "output.bitrate_kbps=5"], "for opus, give 0 or a number from 6"),
        (&["output.command=cp,[IN],[OUT]"], "\"cp\" is no program; give its whole path"),
        (&["output.command=/nonexistent"], "is no program"),
        (
            &["output.command=/bin/cp,[IN],[OUT]", "output.processors=report,command"],
            "as it writes",
        ),
        (
            &["output.command=/bin/cp,[IN],[OUT]", "tapes.encrypt_key=/k"],
            "programs need plain audio",
        ),
        (&["output.rename=[year]"], "needs [orkuid] or [trackingid]"),
        (&["output.command_extension=a/b"], "an extension without its dot"),
    ] {
        let told = set(sets).unwrap_err();
        assert!(told.contains(want), "{sets:?}: {told}");
    }
    let told = set(&["output.format=gsm"]).unwrap_err();
    assert!(
        told.contains(
            "--set output.format=gsm: output.format = \"gsm\" does not fit: gsm holds one channel"
        ),
        "{told}"
    );
    for good in [
        &["output.channels=mono"][..],
        &["output.processors=", "tapes.stereo=false"],
        &["output.command=/bin/cp,[IN],[OUT]", "output.command_extension=raw"],
        &["output.format=flac", "output.channels=split", "output.keep_side=remote"],
    ] {
        assert_eq!(set(good).err(), None, "{good:?}");
    }
}

#[test]
fn two_doors_need_two_addresses() {
    let told = set(&["doors.events=0.0.0.0:59140"]).unwrap_err();
    assert_eq!(
        told,
        "--set doors.events=0.0.0.0:59140: doors.command = \"127.0.0.1:59140\" and doors.events = \
         \"0.0.0.0:59140\" are one address; give them different ports"
    );
    for good in [
        ["doors.command=", "doors.events=127.0.0.1:59140"],
        ["doors.command=127.0.0.1:0", "doors.events=127.0.0.1:0"],
        ["doors.command=127.0.0.1:1", "doors.events=127.0.0.2:1"],
    ] {
        assert_eq!(set(&good).err(), None, "{good:?}");
    }
}

#[test]
fn a_broken_file_and_a_missing_one_are_told() {
    let told = file("[calls]\nlate_ms = = 2\n").unwrap_err();
    assert!(told.starts_with("orkaudio.toml:2: not TOML: "), "{told}");
    let told = file("[calls]\nlate_ms = 30\nlate_ms = 40\n").unwrap_err();
    assert!(told.starts_with("orkaudio.toml:3: not TOML: duplicate key"), "{told}");
    for (named, environment) in
        [(Some(Path::new("/nonexistent/x.toml")), None), (None, Some("/nonexistent/x.toml"))]
    {
        let environment = environment.map(|file| ("ORKAUDIO_CONFIG", file));
        let told = load(&sources(named, environment.as_slice(), &[])).unwrap_err().to_string();
        assert!(told.starts_with("/nonexistent/x.toml: cannot read the configuration: "), "{told}");
        assert!(told.contains("give another --config"), "{told}");
    }
}
