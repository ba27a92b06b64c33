//! What a finished tape and the counters look like in JSON: the contract of `replay --json`, of the
//! status answer and of the metrics.

use crate::{
    process::Progress,
    tape::{
        finish::{Finished, Outcome},
        recover::Recovered,
        worker::TapeCounters,
    },
};
use orkbase::{
    call::course::CallFacts, packet::counters::ByNumber, tap::TapCounters, time::Timestamp,
};
use serde_json::{Map, Value, json};
use std::sync::atomic::{AtomicU64, Ordering};

/// One object per tape.
#[must_use]
pub fn tape(finished: &Finished) -> Value {
    let closing = &finished.closing;
    let message = &closing.message;
    let legs: Vec<Value> = closing
        .legs
        .iter()
        .map(|leg| {
            json!({
                "side": leg.side.as_str(), "src": leg.source.to_string(), "dst": leg.destination.to_string(),
                "ssrc": format!("0x{:08x}", leg.ssrc), "codec": leg.codec, "packets": leg.packets,
                "expected": leg.expected, "longest_loss": leg.losses.longest_run,
                "bursts": leg.losses.bursts, "burst_density": share(leg.losses.burst_lost, leg.losses.burst_packets),
                "gap_density": share(
                    leg.losses.lost - leg.losses.burst_lost,
                    leg.expected.saturating_sub(leg.losses.burst_packets),
                ),
                "jitter_ms": millis(leg.jitter_us), "max_jitter_ms": millis(leg.max_jitter_us),
                "mos": leg.opinion.map(|opinion| f64::from(opinion.mos_centi) / 100.0),
                "r_factor": leg.opinion.map(|opinion| f64::from(opinion.r_centi) / 100.0),
                "lost": leg.lost, "late": leg.late, "duplicates": leg.duplicates,
                "gap_ms": leg.gap_ms, "recovered": leg.recovered, "undecoded": leg.undecoded, "undecodable": leg.undecodable,
                "unauthentic": leg.unauthentic,
            })
        })
        .collect();
    let dtmf: Vec<Value> = closing
        .digits
        .iter()
        .map(|digit| {
            json!({
                "side": digit.side.as_str(), "digit": digit.key.as_str(),
                "offset_ms": digit.offset_ms,
            })
        })
        .collect();
    let marks: Vec<Value> = closing
        .marks
        .iter()
        .map(|mark| {
            json!({
                "offset_ms": mark.offset_ms, "mark": mark.what.as_str(),
                "detail": mark.what.detail(),
            })
        })
        .collect();
    let mut object = json!({
        "orkuid": message.recid, "nativecallid": message.nativecallid,
        "localparty": message.localparty, "remoteparty": message.remoteparty,
        "localentrypoint": message.localentrypoint, "direction": message.direction.as_str(),
        "start": closing.start.as_secs_f64(), "duration_ms": closing.duration_ms,
        "ended": closing.why.as_str(), "tags": message.tags, "legs": legs, "dtmf": dtmf,
        "marks": marks, "call": call(&closing.facts),
        "overrun_ms": finished.overrun_ms, "lost_frames": finished.lost_frames, "refused": finished.heard.refused,
        "concealed_ms": finished.heard.concealed_ms, "peaks": finished.heard.peaks, "damage": finished.damage,
    });
    let (key, value) = match &finished.outcome {
        Outcome::Ready(path) => ("file", path.as_str()),
        Outcome::TooShort => ("discarded", "too short"),
        Outcome::Discarded => ("discarded", "an operator said so"),
        Outcome::Failed(why) | Outcome::Unsure(why) => ("failed", why.as_str()),
    };
    if let Some(object) = object.as_object_mut() {
        object.insert(key.to_owned(), Value::from(value));
        if let Some(file) = message.tags.get(crate::tape::packets::TAG) {
            object.insert("raw_file".to_owned(), Value::from(file.as_str()));
        }
        let sum = |path: &str| {
            let file = finished.stored.iter().find(|file| file.path == path)?;
            Some(Value::from(file.digest.sha256.to_string()))
        };
        if let Outcome::Ready(path) = &finished.outcome
            && let Some(sum) = sum(path)
        {
            object.insert("sha256".to_owned(), sum);
        }
        if !finished.files.is_empty() {
            let sums: Vec<Value> = finished.files.iter().filter_map(|file| sum(file)).collect();
            if !sums.is_empty() {
                object.insert("files_sha256".to_owned(), Value::from(sums));
            }
            object.insert("files".to_owned(), Value::from(finished.files.clone()));
        }
    }
    object
}

/// The same of a tape that an earlier process left, as far as its file tells.
#[must_use]
pub fn recovered(recovered: &Recovered) -> Value {
    let Recovered { message, duration_ms, path } = recovered;
    let mut object = json!({
        "orkuid": message.recid, "nativecallid": message.nativecallid,
        "localparty": message.localparty, "remoteparty": message.remoteparty,
        "localentrypoint": message.localentrypoint, "direction": message.direction.as_str(),
        "start": message.timestamp, "duration_ms": duration_ms, "tags": message.tags, "file": path,
    });
    if let Some(object) = object.as_object_mut() {
        let keys = [("raw_file", crate::tape::packets::TAG), ("sha256", crate::tape::ledger::TAG)];
        for (key, tag) in keys {
            if let Some(text) = message.tags.get(tag) {
                object.insert(key.to_owned(), Value::from(text.as_str()));
            }
        }
    }
    object
}

/// Lost packets among others, 0 to 1, to four places (RFC 3611 densities).
fn share(part: u64, whole: u64) -> f64 {
    let parts = part.saturating_mul(10_000).checked_div(whole).unwrap_or(0);
    f64::from(u32::try_from(parts).unwrap_or(10_000)) / 1e4
}

/// Microseconds as milliseconds to two places.
fn millis(micros: u64) -> f64 {
    f64::from(u32::try_from(micros / 10).unwrap_or(u32::MAX)) / 100.0
}

/// What signalling told of the call; `null` where it told nothing. Times are Unix seconds.
fn call(facts: &CallFacts) -> Value {
    let time = |at: Option<Timestamp>| at.map(Timestamp::as_secs_f64);
    let [source, destination] = facts.signalling;
    let [local, remote] = &facts.agents;
    json!({
        "began": facts.began.as_secs_f64(), "ringing": time(facts.ringing),
        "answered": time(facts.answered), "released": time(facts.released.map(|(at, _)| at)),
        "released_by": facts.released.map(|(_, side)| side.as_str()), "code": facts.code,
        "cause": facts.cause, "src": source.to_string(), "dst": destination.to_string(),
        "local_agent": local, "remote_agent": remote, "diverted_by": facts.diverted_by,
        "conversation": facts.conversation, "rule": facts.rule,
    })
}

/// What is being done to closed tapes.
#[must_use]
pub fn processing(all: &[Progress]) -> Value {
    let one = |progress: &Progress| {
        let Progress { orkuid, step, percent } = progress;
        json!({ "orkuid": orkuid, "step": step.as_str(), "percent": percent })
    };
    all.iter().map(one).collect()
}

/// Every counter by its name, `stage.what`.
#[must_use]
pub fn counters(tap: &TapCounters, tapes: &TapeCounters, overrun_ms: u64) -> Map<String, Value> {
    let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let mut all = packets(tap);
    let rows = [
        ("tape.finished", load(&tapes.finished)),
        ("tape.too_short", load(&tapes.too_short)),
        ("tape.discarded", load(&tapes.discarded)),
        ("tape.open_failed", load(&tapes.open_failed)),
        ("tape.write_failed", load(&tapes.write_failed)),
        ("tape.finish_failed", load(&tapes.finish_failed)),
        ("tape.finish_waiting", load(&tapes.finish_waiting)),
        ("tape.turned_away", load(&tapes.turned_away)),
        ("tape.not_recorded", load(&tapes.not_recorded)),
        ("tape.resumed", load(&tapes.resumed)),
        ("tape.panicked", load(&tapes.panicked)),
        ("tape.syncs", load(&tapes.syncs)),
        ("tape.sync_failed", load(&tapes.sync_failed)),
        ("tape.sync_behind_ms", tapes.sync_behind_ms()),
        ("tape.lost_frames", load(&tapes.lost_frames)),
        ("tape.overrun_ms", overrun_ms),
        ("tape.bytes", load(&tapes.bytes)),
        ("dtmf.inband", load(&tapes.inband_digits)),
        ("tape.packet_bytes", load(&tapes.packet_bytes)),
        ("tape.packets_failed", load(&tapes.packets_failed)),
        ("process.done", load(&tapes.processed)),
        ("process.failed", load(&tapes.process_failed)),
        ("process.queued", load(&tapes.process_queued)),
        ("process.ms", load(&tapes.process_ms)),
    ];
    all.extend(rows.into_iter().map(|(name, value)| (name.to_owned(), Value::from(value))));
    all
}

/// The counters of the core.
#[must_use]
pub fn packets(tap: &TapCounters) -> Map<String, Value> {
    let (p, s, t, c) = (&tap.packets, &tap.signals, &tap.tls, &tap.calls);
    let rows: Vec<(&str, u64)> = vec![
        ("capture.frames", tap.frames),
        ("capture.frames_fast", tap.frames_fast),
        ("packet.truncated", p.truncated),
        ("packet.malformed_link", p.malformed_link),
        ("packet.malformed_ip", p.malformed_ip),
        ("packet.malformed_transport", p.malformed_transport),
        ("packet.malformed_tunnel", p.malformed_tunnel),
        ("packet.too_deep", p.too_deep),
        ("packet.without_payload", p.without_payload),
        ("packet.udp", p.udp),
        ("packet.tcp_segments", p.tcp_segments),
        ("packet.tcp_bytes", p.tcp_bytes),
        ("packet.tcp_repeated_bytes", p.tcp_repeated_bytes),
        ("packet.tcp_early", p.tcp_early),
        ("packet.tcp_gaps", p.tcp_gaps),
        ("packet.tcp_streams", p.tcp_streams),
        ("packet.tcp_joined_midway", p.tcp_joined_midway),
        ("packet.tcp_evicted", p.tcp_evicted),
        ("packet.tcp_expired", p.tcp_expired),
        ("packet.fragments", p.fragments),
        ("packet.reassembled", p.reassembled),
        ("packet.fragments_repeated", p.fragments_repeated),
        ("packet.fragments_refused", p.fragments_refused),
        ("packet.fragments_expired", p.fragments_expired),
        ("packet.fragments_evicted", p.fragments_evicted),
        ("packet.gre", p.gre),
        ("packet.erspan", p.erspan),
        ("packet.vxlan", p.vxlan),
        ("packet.geneve", p.geneve),
        ("packet.gtp_u", p.gtp_u),
        ("packet.tzsp", p.tzsp),
        ("packet.oreka", p.oreka),
        ("packet.ip_in_ip", p.ip_in_ip),
        ("packet.carried_skipped_bytes", p.carried_skipped_bytes),
        ("hep.packets", p.hep),
        ("hep.inflated", p.hep_inflated),
        ("hep.refused", p.hep_refused),
        ("hep.compressed", p.hep_compressed),
        ("hep.unauthorized", p.hep_unauthorized),
        ("sip.messages", s.sip_messages),
        ("sip.facts", s.sip_facts),
        ("sip.malformed", s.sip_malformed),
        ("skinny.messages", s.skinny_messages),
        ("skinny.facts", s.skinny_facts),
        ("tls.connections", t.connections),
        ("tls.signalling", t.signalling),
        ("tls.signalling_endpoints_unread", t.endpoints_unread),
        ("tls.decrypted", t.decrypted),
        ("tls.without_key", t.without_key),
        ("tls.without_handshake", t.without_handshake),
        ("tls.wrong_key", t.wrong_key),
        ("tls.unsupported", t.unsupported),
        ("tls.lost", t.lost),
        ("tls.refused", t.refused),
        ("tls.overflowed", t.overflowed),
        ("tls.malformed_hellos", t.malformed_hellos),
        ("tls.records", t.records),
        ("tls.records_failed", t.records_failed),
        ("tls.handshake_records_passed", t.handshake_records_passed),
        ("tls.lost_bytes", t.lost_bytes),
        ("tls.secrets", t.secrets),
        ("tls.secrets_dropped", t.secrets_dropped),
        ("tls.key_lines_malformed", t.key_lines_malformed),
        ("iax2.messages", s.iax2.messages),
        ("iax2.facts", s.iax2.facts),
        ("iax2.calls", s.iax2.calls),
        ("iax2.voice", s.iax2.voice),
        ("iax2.repeated", s.iax2.repeated),
        ("iax2.malformed", s.iax2.malformed),
        ("iax2.encrypted", s.iax2.encrypted),
        ("iax2.orphans", s.iax2.orphans),
        ("iax2.video", s.iax2.video),
        ("iax2.refused", s.iax2.refused),
        ("iax2.forgotten", s.iax2.forgotten),
        ("mgcp.messages", s.mgcp.messages),
        ("mgcp.facts", s.mgcp.facts),
        ("mgcp.calls", s.mgcp.calls),
        ("mgcp.repeated", s.mgcp.repeated),
        ("mgcp.malformed", s.mgcp.malformed),
        ("mgcp.refused", s.mgcp.refused),
        ("mgcp.forgotten", s.mgcp.forgotten),
        ("h323.messages", s.h323.messages),
        ("h323.controls", s.h323.controls),
        ("h323.facts", s.h323.facts),
        ("h323.calls", s.h323.calls),
        ("h323.malformed", s.h323.malformed),
        ("h323.refused", s.h323.refused),
        ("call.signalled", c.calls_signalled),
        ("call.unannounced", c.calls_unannounced),
        ("call.answered", c.calls_answered),
        ("call.failed", c.calls_failed),
        ("call.evicted", c.calls_evicted),
        ("call.refused", c.calls_refused),
        ("call.ignored", c.calls_ignored),
        ("call.broken", c.calls_broken),
        ("capture.faults", c.faults),
        ("call.adopted", c.calls_adopted),
        ("call.linked", c.calls_linked),
        ("capture.clock_set_back", c.clock_set_back),
        ("capture.clock_set", c.clock_set),
        ("call.endpoints_refused", c.endpoints_refused),
        ("rtp.packets", c.rtp_packets),
        ("rtp.late", c.rtp_late),
        ("rtp.unheard", c.rtp_unheard),
        ("rtp.undecoded", c.rtp_undecoded),
        ("rtp.foreign", c.rtp_foreign),
        ("srtp.unauthentic", c.srtp_unauthentic),
        ("rtp.unwanted", c.rtp_unwanted),
        ("rtp.paused", c.rtp_paused),
        ("call.pauses_over", c.pauses_over),
        ("call.prerecord_omitted", c.prerecord_omitted),
        ("call.tags_refused", c.tags_refused),
        ("rtp.filtered", c.rtp_filtered),
        ("rtp.refused", c.rtp_refused),
        ("rtp.candidates", c.candidate_packets),
        ("rtp.candidates_dropped", c.candidate_dropped),
        ("packets.kept", c.packets_kept),
        ("packets.omitted", c.packets_omitted),
        ("packets.signalling_omitted", c.letters_omitted),
        ("dtmf.digits", c.digits),
        ("dtmf.refused", c.digits_refused),
        ("rtcp.packets", c.rtcp_packets),
        ("udp.other", c.other_datagrams),
        ("tape.opened", c.tapes_opened),
        ("tape.closed", c.tapes_closed),
    ];
    let mut all: Map<String, Value> =
        rows.into_iter().map(|(name, value)| (name.to_owned(), Value::from(value))).collect();
    let tables = [
        ("packet.unknown_links", &p.unknown_links),
        ("packet.unknown_ethertypes", &p.unknown_ethertypes),
        ("packet.unknown_ip_protocols", &p.unknown_ip_protocols),
    ];
    for (name, table) in tables {
        all.insert(name.to_owned(), by_number(table));
    }
    all
}

fn by_number(table: &ByNumber) -> Value {
    let rows: Map<String, Value> = table
        .iter()
        .map(|(number, count)| (format!("0x{number:04x}"), Value::from(count)))
        .collect();
    Value::Object(rows)
}
