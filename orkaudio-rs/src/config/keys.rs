//! Every key, what it sets, and what it may be set to.

use super::Config;
use crate::{
    format::Format,
    gate::Rights,
    process::{Channels, Step},
    track::TrackerUrl,
};
use orkbase::{
    call::{
        command::PauseAs,
        filter::PartyPattern,
        keeping::KeepPackets,
        naming::Naming,
        policy::{IpRange, NumberPattern},
    },
    config::{Value, is_log_level},
    message::tape::KeepSide,
    packet::hep::HepKey,
    signal,
};
use std::{net::SocketAddr, ops::RangeInclusive, path::PathBuf, time::Duration};

/// Most entries of a list: each is compared with every call or packet.
const MOST_ENTRIES: usize = 1_000;
/// Longest name of a host, domain, header or service.
const NAME_BYTES: usize = 255;
/// Longest naming pattern; its literal text is part of every path.
const PATTERN_BYTES: usize = 512;
/// Longest time that may be waited for anything about a call: a day.
const DAY_S: i64 = 86_400;
/// Permission bits a tape may have: reading and writing, for the owner in any case.
const MODE_BITS: u32 = 0o666;
const OWNER_BITS: u32 = 0o600;

/// Puts a value into the configuration.
pub(super) type Setter = fn(&mut Config, &Value) -> Result<(), Wrong>;

/// Why a value cannot be taken.
#[derive(Debug)]
pub(super) struct Wrong {
    /// The entry of a list, if it is only one.
    entry: Option<String>,
    /// What can be.
    remedy: String,
    /// The value is nobody's business.
    secret: bool,
}

impl Wrong {
    /// Where it stands; an argument has the value in it.
    pub(super) fn place<'a>(&self, place: &'a str) -> &'a str {
        let argument = self.secret && place.starts_with("--set ");
        if argument { place.split('=').next().unwrap_or_default() } else { place }
    }

    /// In words.
    pub(super) fn of(&self, key: &str, value: &Value) -> String {
        let remedy = &self.remedy;
        match &self.entry {
            _ if self.secret => format!("{key} is not valid; give {remedy}"),
            Some(entry) => format!("{key}: the entry {entry} is not valid; give {remedy}"),
            None => format!("{key} = {value} is not valid; give {remedy}"),
        }
    }
}

fn wrong(remedy: impl Into<String>) -> Wrong {
    Wrong { entry: None, remedy: remedy.into(), secret: false }
}

/// Writes the reader's value into the field, the key being the path in the file.
macro_rules! keys {
    ($($key:literal => $($field:ident).+ = $read:expr;)+) => {
        &[$(($key, |config, value| {
            let read: fn(&Value) -> Result<_, Wrong> = $read;
            config.$($field).+ = read(value)?;
            Ok(())
        })),+]
    };
}

/// Every key, in the order of the annotated file.
pub(super) const KEYS: &[(&str, Setter)] = keys! {
    "capture.interfaces" => capture.interfaces = interfaces;
    "capture.filter" => capture.filter = filter;
    "capture.snaplen" => capture.snaplen = |value| whole(value, 96..=262_144);
    "capture.buffer_mib" => capture.buffer_mib = |value| whole(value, 1..=2_047);
    "capture.threads" => capture.threads = |value| whole(value, 1..=32);
    "capture.promiscuous" => capture.promiscuous = truth;
    "capture.vxlan_ports" => capture.ports.vxlan = ports;
    "capture.geneve_ports" => capture.ports.geneve = ports;
    "capture.gtp_ports" => capture.ports.gtp_u = ports;
    "capture.tzsp_ports" => capture.ports.tzsp = ports;
    "capture.oreka_ports" => capture.ports.oreka = ports;
    "capture.hep_ports" => capture.ports.hep = ports;
    "capture.hep_listen" => capture.hep_listen = |value| address(value, "\"0.0.0.0:9060\"", "to listen nowhere");
    "capture.hep_key" => capture.hep_key = hep_key;
    "capture.key_log" => capture.key_log = file_or_none;
    "capture.tls_ports" => capture.tls_ports = ports;

    "calls.record_all" => calls.record_all = truth;
    "calls.prerecord_s" => calls.prerecord_ms = |value| {
        whole(value, 0..=60).map(|seconds: u64| seconds * 1_000)
    };
    "calls.prerecord_mib" => calls.prerecord_max_bytes = |value| {
        whole(value, 1..=65_536).map(|mib: usize| mib << 20)
    };
    "calls.pause" => calls.pause = |value| {
        let remedy = || wrong(one_of(&PauseAs::ALL.map(PauseAs::as_str)));
        value.text().and_then(PauseAs::read).ok_or_else(remedy)
    };
    "calls.pause_limit_s" => calls.pause_limit_ms = seconds_or_none;
    "calls.rtp_timeout_s" => calls.rtp_timeout_ms = seconds;
    "calls.hold_timeout_s" => calls.hold_timeout_ms = seconds;
    "calls.setup_timeout_s" => calls.setup_timeout_ms = seconds;
    "calls.dialog_timeout_s" => calls.dialog_timeout_ms = seconds;
    "calls.bye_grace_ms" => calls.bye_grace_ms = |value| whole(value, 0..=10_000);
    "calls.late_ms" => calls.late_ms = |value| whole(value, 20..=2_000);
    "calls.max_calls" => calls.max_calls = |value| whole(value, 1..=1_000_000);
    "calls.max_flows" => calls.max_flows = |value| whole(value, 1..=4_000_000);
    "calls.max_candidates" => calls.max_candidates = |value| whole(value, 0..=1_000_000);
    "calls.unannounced_after" => calls.unannounced_after = |value| whole(value, 0..=10_000);
    "calls.payload_types" => calls.payload_types = |value| {
        let remedy = "a payload type from 0 to 127 and what it means, name/clock rate or \
                      name/clock rate/channels, such as \"107=opus/48000/2\"";
        entries(value, remedy, payload_type)
    };
    "calls.g726_aal2_agents" => calls.g726_aal2_agents = |value| {
        entries(value, "a part of a User-Agent header, not empty", line)
    };
    "calls.inband_dtmf" => tapes.inband_dtmf = truth;
    "calls.hold_messages" => calls.hold_messages = truth;
    "calls.tag_headers" => calls.tag_headers = |value| entries(value, HEADER, header);
    "calls.link_headers" => calls.link_headers = |value| entries(value, HEADER, header);
    "calls.other_leg" => calls.both_legs = |value| match value.text() {
        Some("record") => Ok(true),
        Some("skip") => Ok(false),
        _ => Err(wrong("\"record\" or \"skip\"")),
    };

    "parties.dialed_number_header" => calls.parties.dialed_number_header = header_or_none;
    "parties.reference_addresses" => calls.parties.reference_addresses = ranges;
    "parties.reference_user_agents" => calls.parties.reference_user_agents = |value| {
        entries(value, "a part of a User-Agent header, not empty", line)
    };
    "parties.domains" => calls.parties.domains = |value| {
        entries(value, "a SIP domain or host, such as \"example.com\"", word)
    };
    "parties.extensions" => calls.parties.extensions = |value| {
        let remedy = "digits with X for any digit and a final * for anything, such as \"1XXX\" or \
                      \"0049*\", or a range of numbers of equal length, such as \"1000-1999\"";
        entries(value, remedy, NumberPattern::parse)
    };
    "parties.lan" => calls.parties.lan = ranges;
    "parties.request_uri_as_local_party" => calls.parties.request_uri_as_local_party = truth;
    "parties.remote_party_header" => calls.parties.remote_party_header = header_or_none;
    "parties.asserted_identity" => calls.parties.asserted_identity = truth;
    "parties.display_names" => calls.parties.display_names = truth;
    "parties.map" => calls.parties.map = |value| {
        entries(value, "a number and what it is called, such as \"1001=Alice\"", mapping)
            .map(|list| list.into_iter().collect())
    };
    "parties.map_file" => party_map_file = |value| {
        let path = value.text().filter(|text| !text.contains('\0'));
        path.map(PathBuf::from).ok_or_else(|| wrong("the path of a file, or \"\" for none"))
    };

    "filters.allowed_addresses" => calls.filters.allowed_addresses = ranges;
    "filters.blocked_addresses" => calls.filters.blocked_addresses = ranges;
    "filters.blocked_media" => calls.filters.blocked_media = ranges;
    "filters.only_parties" => calls.filters.only_parties = party_patterns;
    "filters.never_parties" => calls.filters.never_parties = party_patterns;
    "filters.max_duration_s" => calls.filters.max_duration_ms = seconds_or_none;

    "tapes.folder" => tapes.folder = folder;
    "tapes.naming" => tapes.naming = naming;
    "tapes.rate" => tapes.rate = rate;
    "tapes.stereo" => tapes.stereo = truth;
    "tapes.conceal" => tapes.conceal = truth;
    "tapes.packets" => calls.keep_packets = |value| {
        let remedy = || wrong(one_of(&KeepPackets::ALL.map(KeepPackets::as_str)));
        value.text().and_then(KeepPackets::read).ok_or_else(remedy)
    };
    "tapes.packets_max_bytes" => calls.packets_max_bytes = |value| whole(value, 65_536..=1 << 40);
    "tapes.segment_s" => calls.segment_ms = seconds_or_none;
    "tapes.min_duration_ms" => tapes.min_duration_ms = |value| whole(value, 0..=3_600_000);
    "tapes.mode" => tapes.mode = mode;
    "tapes.sync" => tapes.sync = truth;
    "tapes.sync_interval_s" => tapes.sync_interval = |value| {
        whole(value, 0..=3_600).map(|s: u64| (s > 0).then_some(Duration::from_secs(s)))
    };
    "tapes.reserve_mib" => tapes.reserve_bytes = |value| {
        whole(value, 0..=1 << 30).map(|mib: u64| mib << 20)
    };
    "tapes.sidecar" => tapes.sidecar = truth;
    "tapes.ledger" => tapes.ledger = truth;
    "tapes.ledger_key" => tapes.ledger_key = file_or_none;
    "tapes.encrypt_key" => tapes.encrypt_key = file_or_none;
    "tapes.workers" => tapes.workers = |value| whole(value, 1..=64);
    "tapes.backlog_mib" => tapes.backlog_mib = |value| whole(value, 1..=65_536);

    "output.format" => output.format = format;
    "output.channels" => output.channels = |value| {
        let remedy = || wrong(one_of(&Channels::ALL.map(Channels::as_str)));
        value.text().and_then(Channels::read).ok_or_else(remedy)
    };
    "output.bitrate_kbps" => output.bitrate_kbps = |value| whole(value, 0..=510);
    "output.keep_original" => output.keep_original = truth;
    "output.copy_folder" => output.copy_folder = |value| {
        let path = value.text().filter(|text| !text.contains('\0'));
        path.map(PathBuf::from).ok_or_else(|| wrong("the path of a folder, or \"\" for no copy"))
    };
    "output.copy_format" => output.copy_format = format;
    "output.processors" => output.processors = |value| {
        let steps = entries(value, &one_of(&Step::ALL.map(Step::as_str)), Step::read)?;
        let names: Vec<String> = steps.iter().map(|step| step.as_str().to_owned()).collect();
        once(&names, str::to_owned, "it would be done")?;
        Ok(steps)
    };
    "output.gain_db" => output.gain_db = decibels;
    "output.gain_local_db" => output.gain_local_db = decibels;
    "output.gain_remote_db" => output.gain_remote_db = decibels;
    "output.keep_side" => output.keep_side = |value| match value.text() {
        Some("both") => Ok(KeepSide::Both),
        Some("local") => Ok(KeepSide::Local),
        Some("remote") => Ok(KeepSide::Remote),
        _ => Err(wrong("\"both\", \"local\" or \"remote\"")),
    };
    "output.rename" => output.rename = |value| match value.text() {
        Some("") => Ok(String::new()),
        _ => naming(value),
    };
    "output.command" => output.command = |value| {
        entries(value, "a program's whole path, then its arguments", |text| {
            (text.len() <= PATTERN_BYTES && !text.contains('\0')).then(|| text.to_owned())
        })
    };
    "output.command_extension" => output.command_extension = |value| {
        let plain = |text: &&str| text.len() <= 10 && text.bytes().all(|b| b.is_ascii_alphanumeric());
        let text = value.text().filter(plain).map(str::to_owned);
        text.ok_or_else(|| wrong("an extension without its dot, such as \"m4a\", or \"\""))
    };
    "output.command_timeout_s" => output.command_timeout_s = |value| whole(value, 1..=DAY_S);
    "output.command_user" => output.command_user = |value| {
        value.text().and_then(word).ok_or_else(|| wrong("the name of a user"))
    };
    "output.workers" => output.workers = |value| whole(value, 1..=64);

    "tracker.urls" => tracker.urls = urls;
    "tracker.ca" => tracker.ca = file_or_none;
    "tracker.state_folder" => tracker.state_folder = folder;
    "tracker.service" => tracker.service = name_or_none;
    "tracker.hostname" => tracker.hostname = name_or_none;
    "tracker.timeout_s" => tracker.timeout_s = |value| whole(value, 1..=300);

    "doors.command" => doors.command = door;
    "doors.events" => doors.events = door;
    "doors.live" => doors.live = door;
    "doors.live_buffer_ms" => doors.live_buffer_ms = |value| whole(value, 20..=1_000);
    "doors.audit_file" => doors.audit_file = |value| {
        let path = value.text().filter(|text| !text.contains('\0'));
        path.map(PathBuf::from).ok_or_else(|| wrong("the path of a file, or \"\" for none"))
    };
    "doors.audit_mib" => doors.audit_mib = |value| whole(value, 1..=65_536);
    "doors.audit_files" => doors.audit_files = |value| whole(value, 1..=1_000);
    "doors.import_folders" => doors.import_folders = |value| {
        entries(value, "the whole path of a folder, such as \"/srv/import\"", |text| {
            (text.starts_with('/') && !text.contains('\0')).then(|| PathBuf::from(text))
        })
    };
    "doors.networks" => doors.networks = |value| {
        let remedy = "a network and what it may do, such as \"10.0.0.0/8=read+listen\": read, listen, \
                      control, discard, all or none";
        entries(value, remedy, |text| {
            let (range, rights) = text.split_once('=').unwrap_or((text, "all"));
            Some((IpRange::parse(range)?, Rights::parse(rights)?))
        })
    };
    "doors.token_file" => doors.token_file = file_or_none;
    "doors.tls_certificate" => doors.tls_certificate = file_or_none;
    "doors.tls_key" => doors.tls_key = file_or_none;
    "doors.plain_networks" => doors.plain_networks = ranges;
    "doors.client_ca" => doors.client_ca = file_or_none;
    "doors.client_rights" => doors.client_rights = |value| {
        let remedy = || wrong("read, listen, control, discard joined by +, or \"all\" or \"none\"");
        value.text().and_then(Rights::parse).ok_or_else(remedy)
    };
    "doors.origins" => doors.origins = |value| {
        entries(value, "where a page comes from, such as \"https://wallboard.example.com\"", |text| {
            (text.contains("://") && !text.ends_with('/')).then(|| word(text))?
        })
    };

    "security.user" => security.user = |value| match value.text() {
        Some("") => Ok(String::new()),
        text => text.and_then(word).ok_or_else(|| wrong("the name of a user, or \"\" for none")),
    };
    "security.confine" => security.confine = truth;

    "codecs.gpl" => gpl = truth;

    "log.level" => log_level = level;
};

/// `"a", "b" or "c"`
fn one_of(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
        None => String::new(),
    }
}

fn format(value: &Value) -> Result<Format, Wrong> {
    let remedy = || wrong(one_of(&Format::ALL.map(Format::as_str)));
    value.text().and_then(Format::read).ok_or_else(remedy)
}

/// Louder than this is noise, softer is silence.
fn decibels(value: &Value) -> Result<i32, Wrong> {
    whole(value, -60..=60)
}

fn whole<T: TryFrom<i64>>(value: &Value, range: RangeInclusive<i64>) -> Result<T, Wrong> {
    let number = value.number().filter(|number| range.contains(number));
    let number = number.and_then(|number| T::try_from(number).ok());
    number.ok_or_else(|| wrong(format!("a whole number from {} to {}", range.start(), range.end())))
}

/// Seconds, as milliseconds.
fn seconds(value: &Value) -> Result<u64, Wrong> {
    let seconds: Result<u64, Wrong> = whole(value, 1..=DAY_S);
    let seconds = seconds.map_err(|_| wrong(format!("whole seconds, from 1 to {DAY_S} (a day)")));
    seconds.map(|seconds| seconds.saturating_mul(1_000))
}

/// Seconds, as milliseconds; 0 is none.
fn seconds_or_none(value: &Value) -> Result<u64, Wrong> {
    if value.number() == Some(0) {
        return Ok(0);
    }
    seconds(value).map_err(|_| wrong(format!("whole seconds, from 1 to {DAY_S} (a day), or 0")))
}

/// `107=opus/48000/2`
fn payload_type(text: &str) -> Option<signal::Format> {
    let (number, format) = text.split_once('=')?;
    let mut parts = format.trim().split('/');
    let (name, clock_rate) = (word(parts.next()?)?, parts.next()?.parse().ok()?);
    let channels = parts.next().map_or(Some(1), |channels| channels.parse().ok())?;
    let payload_type = number.trim().parse().ok().filter(|number| *number < 128)?;
    let good = (1_000..=192_000).contains(&clock_rate) && (1..=2).contains(&channels);
    (good && parts.next().is_none()).then_some(signal::Format {
        payload_type,
        name,
        clock_rate,
        channels,
        parameters: None,
    })
}

/// `1001=Alice`
pub(super) fn mapping(text: &str) -> Option<(String, String)> {
    let (number, name) = text.split_once('=')?;
    Some((line(number.trim())?, line(name.trim())?))
}

fn party_patterns(value: &Value) -> Result<Vec<PartyPattern>, Wrong> {
    let remedy = "a number, digits with X for any digit and a final * for anything, a range of \
                  numbers of equal length such as \"1000-1999\", or an expression between \
                  slashes that fits whole names, such as \"/(alice|bob).*/\"";
    entries(value, remedy, PartyPattern::parse)
}

fn truth(value: &Value) -> Result<bool, Wrong> {
    value.bool().ok_or_else(|| wrong("true or false"))
}

/// Reads each entry of a list.
fn entries<T>(
    value: &Value,
    remedy: &str,
    read: impl Fn(&str) -> Option<T>,
) -> Result<Vec<T>, Wrong> {
    let list = value.list().ok_or_else(|| {
        wrong(format!("a list in brackets, such as [\"a\", \"b\"]; each entry is {remedy}"))
    })?;
    if list.len() > MOST_ENTRIES {
        return Err(wrong(format!("at most {MOST_ENTRIES} entries")));
    }
    let entry = |text: String| {
        read(&text).ok_or_else(|| Wrong {
            entry: Some(Value::Text(text).to_string()),
            remedy: remedy.to_owned(),
            secret: false,
        })
    };
    list.into_iter().map(entry).collect()
}

/// Refuses a list that says something twice, `what` happens then.
fn once(entries: &[String], same: fn(&str) -> String, what: &str) -> Result<(), Wrong> {
    let mut seen = std::collections::BTreeSet::new();
    match entries.iter().find(|entry| !seen.insert(same(entry))) {
        Some(twice) => Err(Wrong {
            entry: Some(Value::Text(twice.clone()).to_string()),
            remedy: format!("it once only, {what} twice otherwise"),
            secret: false,
        }),
        None => Ok(()),
    }
}

/// Text without control characters that does not end in blanks and is not empty.
fn line(text: &str) -> Option<String> {
    let good = !text.is_empty() && text.len() <= NAME_BYTES && text.trim() == text;
    (good && !text.contains(char::is_control)).then(|| text.to_owned())
}

/// A line without blanks.
fn word(text: &str) -> Option<String> {
    line(text).filter(|text| !text.contains(char::is_whitespace))
}

const HEADER: &str = "the name of a SIP header without its colon, such as \"X-Account\"";

/// A token of RFC 3261.
fn header(text: &str) -> Option<String> {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&b);
    word(text).filter(|text| text.bytes().all(token))
}

fn header_or_none(value: &Value) -> Result<String, Wrong> {
    let read = |text: &str| if text.is_empty() { Some(String::new()) } else { header(text) };
    value.text().and_then(read).ok_or_else(|| wrong(format!("{HEADER}, or \"\" for none")))
}

fn name_or_none(value: &Value) -> Result<String, Wrong> {
    let read = |text: &str| if text.is_empty() { Some(String::new()) } else { word(text) };
    value.text().and_then(read).ok_or_else(|| wrong("a name without blanks, or \"\" for our own"))
}

fn ranges(value: &Value) -> Result<Vec<IpRange>, Wrong> {
    let remedy = "an address or a network, such as \"192.0.2.7\", \"10.0.0.0/8\" or \"fd00::/8\"";
    entries(value, remedy, IpRange::parse)
}

fn interfaces(value: &Value) -> Result<Vec<String>, Wrong> {
    let remedy = "the name of a network interface as `ip link` shows it, such as \"eth0\"";
    let name = |text: &str| word(text).filter(|text| !text.contains('/'));
    let names = entries(value, remedy, name)?;
    once(&names, str::to_owned, "packets would be captured")?;
    Ok(names)
}

/// What the text means depends on the interface, so it is compiled when that is opened.
fn filter(value: &Value) -> Result<String, Wrong> {
    let text = value.text().filter(|text| !text.contains('\0'));
    text.map(str::to_owned).ok_or_else(|| {
        wrong("a filter as of pcap-filter(7), such as \"net 10.0.0.0/8\", or \"\" for everything")
    })
}

fn folder(value: &Value) -> Result<PathBuf, Wrong> {
    let path = value.text().filter(|text| !text.is_empty() && !text.contains('\0'));
    path.map(PathBuf::from).ok_or_else(|| wrong("the path of a folder"))
}

fn file_or_none(value: &Value) -> Result<Option<PathBuf>, Wrong> {
    let path = value.text().filter(|text| !text.contains('\0'));
    let path = path.ok_or_else(|| wrong("the path of a file, or \"\" for none"))?;
    Ok((!path.is_empty()).then(|| PathBuf::from(path)))
}

fn naming(value: &Value) -> Result<String, Wrong> {
    let example = "a pattern such as \"[year]/[month]/[day]/[orkuid]\"";
    let pattern = value.text().ok_or_else(|| wrong(example))?;
    if pattern.len() > PATTERN_BYTES || pattern.contains(char::is_control) {
        let remedy = format!("{example}, at most {PATTERN_BYTES} bytes, no control characters");
        return Err(wrong(remedy));
    }
    match Naming::parse(pattern) {
        Ok(_) => Ok(pattern.to_owned()),
        Err(why) => Err(wrong(format!("{example}: {why}"))),
    }
}

/// Sample rates a tape may have.
const RATES: [i64; 5] = [8_000, 16_000, 24_000, 32_000, 48_000];

fn rate(value: &Value) -> Result<Option<u32>, Wrong> {
    if value.text() == Some("native") {
        return Ok(None);
    }
    let rate = value.number().filter(|rate| RATES.contains(rate));
    let rate = rate.and_then(|rate| u32::try_from(rate).ok());
    rate.map(Some).ok_or_else(|| wrong("\"native\", 8000, 16000, 24000, 32000 or 48000"))
}

fn mode(value: &Value) -> Result<u32, Wrong> {
    let digits = value.text().map(|text| text.strip_prefix("0o").unwrap_or(text));
    let plain = digits.filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
    let mode = plain.and_then(|text| u32::from_str_radix(text, 8).ok());
    mode.filter(|mode| mode & !MODE_BITS == 0 && mode & OWNER_BITS == OWNER_BITS).ok_or_else(|| {
        wrong("permissions in octal, in quotes, from \"0600\" to \"0666\", such as \"0640\"")
    })
}

fn urls(value: &Value) -> Result<Vec<String>, Wrong> {
    let remedy = "the address of a tracker, http[s]://host:port/orktrack, such as \
                  \"http://127.0.0.1:8080/orktrack\"";
    let url = |text: &str| text.parse::<TrackerUrl>().ok().map(|_| text.to_owned());
    let urls = entries(value, remedy, url)?;
    let same = |text: &str| {
        text.parse::<TrackerUrl>().map_or_else(|_| text.to_owned(), |url| url.to_string())
    };
    once(&urls, same, "the tracker would be told")?;
    Ok(urls)
}

fn door(value: &Value) -> Result<Option<SocketAddr>, Wrong> {
    address(value, "\"127.0.0.1:59140\" or \"[::]:59140\"", "to close the door")
}

/// An address, or none for the empty text, which means what `none` says.
fn address(value: &Value, example: &str, none: &str) -> Result<Option<SocketAddr>, Wrong> {
    match value.text() {
        Some("") => Ok(None),
        text => text.and_then(|text| text.parse().ok()).map(Some).ok_or_else(|| {
            wrong(format!("an IP address and a port, such as {example}, or \"\" {none}"))
        }),
    }
}

fn ports(value: &Value) -> Result<Vec<u16>, Wrong> {
    entries(value, "a port, 1 to 65535", |text| text.parse().ok().filter(|port| *port > 0))
}

/// Never repeated in a mistake.
fn hep_key(value: &Value) -> Result<HepKey, Wrong> {
    let read = |text: &str| text.is_empty() || line(text).is_some();
    value.text().filter(|text| read(text)).map(HepKey::new).ok_or_else(|| Wrong {
        secret: true,
        ..wrong("a text in quotes, at most 255 bytes, or \"\" to ask for none")
    })
}

fn level(value: &Value) -> Result<String, Wrong> {
    let good =
        |text: &&str| is_log_level(text) && tracing_subscriber::EnvFilter::try_new(text).is_ok();
    value.text().filter(good).map(str::to_owned).ok_or_else(|| {
        wrong(
            "error, warn, info, debug or trace, or directives such as \
             \"info,orkaudio::track=debug\"",
        )
    })
}
