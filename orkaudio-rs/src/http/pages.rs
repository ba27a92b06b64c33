//! What is told about the recorder itself on the command port.

use serde_json::Value;
use std::fmt::Write as _;

/// One of them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Page {
    /// The process is there.
    Health,
    /// It records: capture runs, there is room.
    Ready,
    /// Live calls and every number, JSON.
    Status,
    /// The numbers for Prometheus.
    Metrics,
    /// This door and the others in words a machine reads.
    Description,
}

/// The description of every door.
pub(super) const DESCRIPTION: &str = include_str!("openapi.json");

impl Page {
    /// The path it has.
    pub(super) fn at(path: &str) -> Option<Self> {
        Some(match path {
            "/healthz" => Self::Health,
            "/readyz" => Self::Ready,
            "/api/status" => Self::Status,
            "/metrics" => Self::Metrics,
            "/openapi.json" => Self::Description,
            _ => return None,
        })
    }

    /// Whether it tells nothing of anybody's calls.
    pub(super) const fn is_public(self) -> bool {
        match self {
            Self::Health | Self::Ready | Self::Description => true,
            Self::Status | Self::Metrics => false,
        }
    }
}

/// Numbers that go up and down.
pub(super) const GAUGES: [&str; 15] = [
    "agents.connected",
    "call.live",
    "capture.interfaces_open",
    "events_half_closed",
    "events_sessions",
    "live.listening",
    "live.playing",
    "process.queued",
    "rtp.flows_live",
    "tape.backlog_bytes",
    "tape.finish_waiting",
    "tape.sync_behind_ms",
    "track.oldest_age_s",
    "track.outbox_rows",
    "track.queued",
];

/// The status as Prometheus reads it (text format 0.0.4).
pub(super) fn metrics(status: &Value) -> String {
    let mut out = String::new();
    let number = |key: &str| status.get(key).and_then(Value::as_u64);
    let version = status.get("version").and_then(Value::as_str).unwrap_or_default();
    line(&mut out, "orkaudio_info", "gauge", &[("version", version)], 1);
    if let Some(uptime) = number("uptime_s") {
        line(&mut out, "orkaudio_uptime_seconds", "gauge", &[], uptime);
    }
    if let Some(free) = number("disk_free") {
        line(&mut out, "orkaudio_disk_free_bytes", "gauge", &[], free);
    }
    let recordings = status.get("calls").and_then(Value::as_array).map_or(0, Vec::len);
    let recordings = u64::try_from(recordings).unwrap_or(u64::MAX);
    line(&mut out, "orkaudio_recordings_live", "gauge", &[], recordings);
    for (prefix, key) in [("", "counters"), ("http.", "http")] {
        let counters = status.get(key).and_then(Value::as_object);
        for (key, value) in counters.into_iter().flatten() {
            counter(&mut out, prefix, key, value);
        }
    }
    let interfaces = status.get("interfaces").and_then(Value::as_array);
    let fields = [
        ("open", "gauge"),
        ("received", "counter"),
        ("dropped", "counter"),
        ("driver_dropped", "counter"),
    ];
    for (field, kind) in fields {
        let name =
            format!("orkaudio_interface_{field}{}", if kind == "counter" { "_total" } else { "" });
        for (at, interface) in interfaces.into_iter().flatten().enumerate() {
            let label = interface.get("name").and_then(Value::as_str).unwrap_or_default();
            let value = interface.get(field).map_or(0, |value| {
                value.as_u64().unwrap_or(u64::from(value.as_bool() == Some(true)))
            });
            if at == 0 {
                kind_of(&mut out, &name, kind);
            }
            sample(&mut out, &name, &[("interface", label)], value);
        }
    }
    out
}

/// One of the recorder's counters: a number, or numbers by what they count.
fn counter(out: &mut String, prefix: &str, key: &str, value: &Value) {
    let gauge = GAUGES.contains(&key);
    let kind = if gauge { "gauge" } else { "counter" };
    let mut name: String = format!("orkaudio_{prefix}{key}")
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
        .collect();
    if !gauge {
        name.push_str("_total");
    }
    if let Some(number) = value.as_u64() {
        line(out, &name, kind, &[], number);
    }
    let Some(parts) = value.as_object().filter(|parts| !parts.is_empty()) else { return };
    kind_of(out, &name, kind);
    for (label, number) in parts {
        sample(out, &name, &[("of", label)], number.as_u64().unwrap_or(0));
    }
}

fn line(out: &mut String, name: &str, kind: &str, labels: &[(&str, &str)], value: u64) {
    kind_of(out, name, kind);
    sample(out, name, labels, value);
}

fn kind_of(out: &mut String, name: &str, kind: &str) {
    // Writing to a string does not fail.
    let _written = writeln!(out, "# TYPE {name} {kind}");
}

fn sample(out: &mut String, name: &str, labels: &[(&str, &str)], value: u64) {
    let labels: Vec<String> = labels
        .iter()
        .map(|(key, text)| {
            let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            format!("{key}=\"{text}\"")
        })
        .collect();
    let labels =
        if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
    let _written = writeln!(out, "{name}{labels} {value}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn numbers_as_prometheus_reads_them() {
        let said = metrics(&json!({
            "version": "1.2", "uptime_s": 7, "disk_free": 9, "calls": [{}, {}],
            "counters": {"rtp.paused": 3, "call.live": 2, "packet.unknown_links": {"a\"b": 4}, "x.y": {}},
            "http": {"events_sessions": 1, "requests": 5},
            "interfaces": [
                {"name": "eth0", "open": true, "received": 10, "dropped": 1, "driver_dropped": 0},
                {"name": "eth1", "open": false, "received": 0, "dropped": 0, "driver_dropped": 2},
            ],
        }));
        let expected = "\
# TYPE orkaudio_info gauge
orkaudio_info{version=\"1.2\"} 1
# TYPE orkaudio_uptime_seconds gauge
orkaudio_uptime_seconds 7
# TYPE orkaudio_disk_free_bytes gauge
orkaudio_disk_free_bytes 9
# TYPE orkaudio_recordings_live gauge
orkaudio_recordings_live 2
# TYPE orkaudio_call_live gauge
orkaudio_call_live 2
# TYPE orkaudio_packet_unknown_links_total counter
orkaudio_packet_unknown_links_total{of=\"a\\\"b\"} 4
# TYPE orkaudio_rtp_paused_total counter
orkaudio_rtp_paused_total 3
# TYPE orkaudio_http_events_sessions gauge
orkaudio_http_events_sessions 1
# TYPE orkaudio_http_requests_total counter
orkaudio_http_requests_total 5
# TYPE orkaudio_interface_open gauge
orkaudio_interface_open{interface=\"eth0\"} 1
orkaudio_interface_open{interface=\"eth1\"} 0
# TYPE orkaudio_interface_received_total counter
orkaudio_interface_received_total{interface=\"eth0\"} 10
orkaudio_interface_received_total{interface=\"eth1\"} 0
# TYPE orkaudio_interface_dropped_total counter
orkaudio_interface_dropped_total{interface=\"eth0\"} 1
orkaudio_interface_dropped_total{interface=\"eth1\"} 0
# TYPE orkaudio_interface_driver_dropped_total counter
orkaudio_interface_driver_dropped_total{interface=\"eth0\"} 0
orkaudio_interface_driver_dropped_total{interface=\"eth1\"} 2
";
        assert_eq!(said, expected);
    }
}
