//! One interface, opened with libpcap.
//!
//! libpcap's ring (`TPACKET_V3`) fills blocks and hands over whole ones, after 10 ms at the
//! latest; immediate mode would wake us for every packet at 25 times the cost. Its `next` can block
//! for ever despite a timeout, so handles are non-blocking and poll(2) does the waiting.

use super::CaptureError;
use super::ahead::{Ahead, Taker};
use super::fanout::Joined;
use super::filter::libpcap_words;
use super::live::{ANY, KernelCounts, LiveConfig, TURN};
use crate::recorder::now;
use orkbase::packet::{Frame, LinkType};
use orkbase::time::{NANOS_PER_SEC, Timestamp};
use pcap::{Active, Capture, Device, Precision, Stat};
use rustix::net::netdevice::name_to_index;
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

/// A ring has been emptied of what is older than the handle by then; the clock that stamps may be set meanwhile.
const CATCH_UP: Duration = Duration::from_secs(5);

/// An open libpcap handle.
pub(super) struct Handle {
    pub(super) capture: Capture<Active>,
    link: LinkType,
    pub(super) index: Option<u32>,
    counted: Stat,
    /// Frames stamped earlier are in the ring of another handle as well: it was alone until then.
    since: Timestamp,
    opened: Instant,
    /// Has frames, or may have: its last turn was full.
    pub(super) ready: bool,
    /// poll(2) reported an error on it.
    pub(super) failing: bool,
}

impl Handle {
    pub(super) fn open(
        name: &str,
        config: &LiveConfig,
        lookup: &Lookup,
    ) -> Result<Self, CaptureError> {
        let index = lookup.index(name);
        if index.is_none() && name != ANY {
            let (name, existing) = (name.to_owned(), existing());
            return Err(CaptureError::MissingInterface { name, existing });
        }
        let size = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
        let opened = Capture::from_device(name).and_then(|inactive| {
            inactive
                .promisc(config.promiscuous && name != ANY)
                .snaplen(size(config.snaplen))
                .buffer_size(size(config.buffer_bytes))
                .timeout(size(config.block_timeout_ms))
                .precision(Precision::Nano)
                .open()
        });
        let mut capture = opened.map_err(|error| cannot_capture(name, &error))?;
        if let Some(text) = &config.filter {
            capture.filter(text, true).map_err(|error| CaptureError::Filter {
                text: text.clone(),
                on: format!(" for {name}"),
                reason: libpcap_words(&error),
            })?;
        }
        let capture = capture.setnonblock().map_err(|error| cannot_capture(name, &error))?;
        let link =
            LinkType::from_number(u16::try_from(capture.get_datalink().0).unwrap_or(u16::MAX));
        let counted = Stat { received: 0, dropped: 0, if_dropped: 0 };
        // Rather a few frames twice than one not at all.
        let before = now().minus_millis(1);
        let mut since = Timestamp::default();
        if let Some(groups) = &config.groups {
            let joined = groups.join(name, capture.as_fd()).map_err(|error| {
                let reason = format!("its frames cannot be shared out: {error}");
                CaptureError::Interface { name: name.to_owned(), reason }
            })?;
            if joined == Joined::Others {
                since = before;
            }
        }
        let opened = Instant::now();
        Ok(Self { capture, link, index, counted, since, opened, ready: false, failing: false })
    }

    pub(super) fn dispatch<T: Taker + ?Sized>(
        &mut self,
        ahead: &mut Ahead,
        taker: &mut T,
    ) -> Result<u64, String> {
        let (link, mut since) = (self.link, self.since);
        let frames = self
            .capture
            .dispatch(Some(TURN), |packet| {
                let secs = u64::try_from(packet.header.ts.tv_sec).unwrap_or(0);
                let nanos = u64::try_from(packet.header.ts.tv_usec).unwrap_or(0);
                let at = Timestamp(secs * NANOS_PER_SEC + nanos);
                let wire_len = packet.header.len;
                if at < since {
                    return;
                }
                since = Timestamp::default();
                ahead.push(&Frame { at, link, wire_len, bytes: packet.data }, taker);
            })
            .map_err(|error| libpcap_words(&error))?;
        self.since = since;
        self.ready = frames >= TURN;
        Ok(frames as u64)
    }

    /// Counters since they were last read; none where they cannot be read: the next time covers this one too.
    pub(super) fn count(&mut self) -> Option<KernelCounts> {
        if self.opened.elapsed() > CATCH_UP {
            self.since = Timestamp::default();
        }
        let stat = self.capture.stats().ok()?;
        Some(KernelCounts::between(std::mem::replace(&mut self.counted, stat), stat))
    }
}

fn cannot_capture(name: &str, error: &pcap::Error) -> CaptureError {
    let name = name.to_owned();
    let reason = libpcap_words(error);
    // The crate passes libpcap's words on, but not its error codes.
    if ["ermi", "CAP_NET_RAW"].iter().any(|words| reason.contains(words)) {
        return CaptureError::NoCapturePermission { name };
    }
    if reason.contains("not up") {
        return CaptureError::InterfaceDown { name };
    }
    CaptureError::Interface { name, reason }
}

/// Names of the interfaces there are, for messages; empty where the system does not tell.
#[must_use]
pub fn interfaces() -> Vec<String> {
    let table = fs::read_to_string("/proc/net/dev").unwrap_or_default();
    let names = table.lines().filter_map(|line| line.split_once(':'));
    names.map(|(name, _)| name.trim().to_owned()).collect()
}

pub(super) fn existing() -> String {
    let names = interfaces();
    if names.is_empty() { "none that this system names".to_owned() } else { names.join(", ") }
}

pub(super) fn is_up(name: &str) -> bool {
    name == ANY
        || Device::list().is_ok_and(|devices| {
            devices.iter().any(|device| device.name == name && device.flags.is_up())
        })
}

/// Asks the kernel for interface indexes; any socket will do for that.
pub(super) struct Lookup(UnixDatagram);

impl Lookup {
    pub(super) fn new() -> Result<Self, CaptureError> {
        Ok(Self(UnixDatagram::unbound().map_err(|source| CaptureError::Wait { source })?))
    }

    pub(super) fn index(&self, name: &str) -> Option<u32> {
        name_to_index(&self.0, name).ok()
    }
}
