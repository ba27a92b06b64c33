//! What the operator wants, checked.

mod keys;
mod load;
#[cfg(test)]
mod tests;

pub use load::{DEFAULT_FILE, Sources, load};
pub use orkbase::config::{Mistake, Mistakes};

use crate::{gate::Rights, process::Output};
use orkbase::{
    call::{
        naming::DEFAULT_PATTERN,
        policy::{IpRange, PartyRules},
        settings::Settings,
    },
    packet::{hep::HepKey, ports::TunnelPorts},
};
use std::{net::SocketAddr, path::PathBuf, time::Duration};

/// The configuration of a recorder.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Config {
    /// `[capture]`.
    pub capture: Capture,
    /// `[calls]` and `[parties]`: everything about calls; host names and the calendar are filled in at the start.
    pub calls: Settings,
    /// `parties.map_file`: `number,name` lines; empty for none. What it holds is in the map already.
    pub party_map_file: PathBuf,
    /// `[tapes]`.
    pub tapes: Tapes,
    /// `[output]`: what becomes of closed tapes.
    pub output: Output,
    /// `[tracker]`.
    pub tracker: Tracker,
    /// `[doors]`.
    pub doors: Doors,
    /// `[security]`.
    pub security: Security,
    /// `[codecs] gpl`: use libraries that their builder put under the GPL.
    pub gpl: bool,
    /// `[log] level`.
    pub log_level: String,
}

/// `[capture]`: where packets come from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Capture {
    /// Interfaces to listen on.
    pub interfaces: Vec<String>,
    /// BPF text; empty for everything.
    pub filter: String,
    /// Bytes taken of each frame, 96 to 262144.
    pub snaplen: u32,
    /// Kernel buffer of each interface in MiB, 1 to 2047.
    pub buffer_mib: u32,
    /// Threads that capture, 1 to 32: 1 is the one that records.
    pub threads: u8,
    /// Put interfaces into promiscuous mode.
    pub promiscuous: bool,
    /// UDP ports of tunnels and of capture agents.
    pub ports: TunnelPorts,
    /// Where capture agents may send HEP to; `None` is nowhere.
    pub hep_listen: Option<SocketAddr>,
    /// What every HEP packet must show.
    pub hep_key: HepKey,
    /// TLS keys that servers or phones write; `None` without.
    pub key_log: Option<PathBuf>,
    /// TCP ports of servers whose TLS is signalling.
    pub tls_ports: Vec<u16>,
}

/// `[security]`: what the recorder gives up before the first packet.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Security {
    /// Whom root becomes when the interfaces are open; empty for nobody.
    pub user: String,
    /// Write below the recorder's own folders only, and refuse system calls that no recorder makes.
    pub confine: bool,
}

/// `[tapes]`: what is written, and where.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Tapes {
    /// The audio folder.
    pub folder: PathBuf,
    /// Naming pattern below it.
    pub naming: String,
    /// Samples a second of every tape; `None` keeps the widest voice of each call.
    pub rate: Option<u32>,
    /// Left local, right remote; otherwise both mixed to one channel.
    pub stereo: bool,
    /// `calls.inband_dtmf`: find keys in the audio too.
    pub inband_dtmf: bool,
    /// Make up what was lost, where it is short.
    pub conceal: bool,
    /// Shorter tapes are thrown away, in milliseconds.
    pub min_duration_ms: u64,
    /// Permissions of tapes.
    pub mode: u32,
    /// Force tapes to the disk before they are reported ready.
    pub sync: bool,
    /// Force open tapes to the disk this often; `None` leaves it to the system.
    pub sync_interval: Option<Duration>,
    /// With less than this free no new tape begins, in bytes.
    pub reserve_bytes: u64,
    /// What is told of a tape is written beside it, as JSON.
    pub sidecar: bool,
    /// What becomes of recordings is written down beside them, with their hashes.
    pub ledger: bool,
    /// The secret that its lines are linked with; `None` links them so that anybody can.
    pub ledger_key: Option<PathBuf>,
    /// The keys that tapes are sealed with; `None` leaves them plain.
    pub encrypt_key: Option<PathBuf>,
    /// Threads that decode and write, 1 to 64.
    pub workers: usize,
    /// Audio that may wait for a slow disk, in MiB.
    pub backlog_mib: usize,
}

/// `[tracker]`: who is told.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Tracker {
    /// Trackers, `http[s]://host:port/orktrack`; empty tells nobody.
    pub urls: Vec<String>,
    /// Who vouches for trackers that speak TLS, or their own certificates (PEM); `None`: the system's authorities.
    pub ca: Option<PathBuf>,
    /// Folder of the recorder's own database: messages not yet delivered, and the journal of tapes.
    pub state_folder: PathBuf,
    /// Service name; empty is `orkaudio-<hostname>`.
    pub service: String,
    /// Host name in messages; empty asks the system.
    pub hostname: String,
    /// One exchange with a tracker may take this long, in seconds.
    pub timeout_s: u64,
}

/// `[doors]`: the ports that clients use.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Doors {
    /// Commands and status; `None` closes the door.
    pub command: Option<SocketAddr>,
    /// The event stream.
    pub events: Option<SocketAddr>,
    /// Live audio.
    pub live: Option<SocketAddr>,
    /// How far listeners are behind the newest audio, in milliseconds.
    pub live_buffer_ms: u64,
    /// Where every command is written down; below `tracker.state_folder` if relative, empty for nowhere.
    pub audit_file: PathBuf,
    /// It is put aside when it has grown to this, in MiB.
    pub audit_mib: u64,
    /// So many files of it are kept.
    pub audit_files: u32,
    /// Recordings may be imported from below these folders.
    pub import_folders: Vec<PathBuf>,
    /// Who may connect, and what their address alone allows; empty for everybody.
    pub networks: Vec<(IpRange, Rights)>,
    /// Tokens and their rights.
    pub token_file: Option<PathBuf>,
    /// Certificate of the doors, with those that sign it; none speaks no TLS.
    pub tls_certificate: Option<PathBuf>,
    /// Its key.
    pub tls_key: Option<PathBuf>,
    /// With a certificate, only these networks may do without TLS.
    pub plain_networks: Vec<IpRange>,
    /// Who signs the certificates of clients.
    pub client_ca: Option<PathBuf>,
    /// What such a certificate allows.
    pub client_rights: Rights,
    /// Web pages of these origins may ask in their visitor's browser.
    pub origins: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        let local = |port| Some(SocketAddr::from(([127, 0, 0, 1], port)));
        Self {
            capture: Capture {
                interfaces: Vec::new(),
                filter: String::new(),
                snaplen: 65_535,
                buffer_mib: 64,
                threads: 1,
                promiscuous: true,
                ports: TunnelPorts::default(),
                hep_listen: None,
                hep_key: HepKey::default(),
                key_log: None,
                tls_ports: vec![5061],
            },
            calls: Settings { parties: PartyRules::default(), ..Settings::default() },
            party_map_file: PathBuf::new(),
            tapes: Tapes {
                folder: PathBuf::from("/var/lib/orkaudio/audio"),
                naming: DEFAULT_PATTERN.to_owned(),
                rate: None,
                stereo: true,
                inband_dtmf: false,
                conceal: true,
                min_duration_ms: 0,
                mode: 0o640,
                sync: true,
                sync_interval: Some(Duration::from_secs(5)),
                reserve_bytes: 1 << 30,
                sidecar: false,
                ledger: true,
                ledger_key: None,
                encrypt_key: None,
                workers: 1,
                backlog_mib: 256,
            },
            output: Output::default(),
            tracker: Tracker {
                urls: vec!["http://127.0.0.1:8080/orktrack".to_owned()],
                ca: None,
                state_folder: PathBuf::from("/var/lib/orkaudio"),
                service: String::new(),
                hostname: String::new(),
                timeout_s: 5,
            },
            doors: Doors {
                command: local(59_140),
                events: local(59_150),
                live: local(59_120),
                live_buffer_ms: 100,
                audit_file: PathBuf::from("audit.jsonl"),
                audit_mib: 64,
                audit_files: 8,
                import_folders: Vec::new(),
                networks: Vec::new(),
                token_file: None,
                tls_certificate: None,
                tls_key: None,
                plain_networks: ["127.0.0.0/8", "::1"]
                    .iter()
                    .filter_map(|n| IpRange::parse(n))
                    .collect(),
                client_ca: None,
                client_rights: Rights::ALL,
                origins: Vec::new(),
            },
            security: Security { user: String::new(), confine: true },
            gpl: true,
            log_level: "info".to_owned(),
        }
    }
}
