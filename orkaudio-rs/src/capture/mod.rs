//! Where frames come from: capture files (flat out or paced), live interfaces, capture agents.
//!
//! Law: a source yields whole frames in the order it has them, and every trouble is one
//! [`CaptureError`] whose text names the file or interface, the place, and what to do about it.
//! A broken *packet* is not trouble here: frames are handed on as they are.

pub mod agents;
pub mod ahead;
pub mod clock;
pub mod crew;
pub mod fanout;
pub mod file;
pub mod filter;
mod handle;
pub mod live;
pub mod pace;
mod pcap;
mod pcapng;
pub mod progress;
pub mod set;
mod window;
pub mod wires;
pub mod writer;

use std::io;
use thiserror::Error;

/// The longest frame believed, twice the longest IP packet with all its headers. A record that
/// claims more is damage: taking its word would skip over thousands of good frames.
pub const MAX_FRAME_BYTES: u32 = 256 << 10;

/// Why a source gives no (more) frames.
#[derive(Debug, Error)]
pub enum CaptureError {
    /// Nothing of that name.
    #[error("there is no file or directory {path}: check the name")]
    Missing {
        /// As it was given.
        path: String,
    },
    /// The operating system refuses.
    #[error("no permission to read {path}: run as its owner or `chmod a+r {path}`")]
    NoPermission {
        /// As it was given.
        path: String,
    },
    /// A directory where one capture file was expected.
    #[error("{path} is a directory: name a capture file in it")]
    Directory {
        /// As it was given.
        path: String,
    },
    /// A directory with nothing to replay.
    #[error("no *.pcap, *.pcapng or *.cap in {path}: name the files if they are called otherwise")]
    NothingToReplay {
        /// As it was given.
        path: String,
    },
    /// `-` more than once.
    #[error("standard input is named twice: give `-` once, it can be read only once")]
    StdinTwice,
    /// Zero bytes.
    #[error("{path} is empty: the capture never started or its disk was full")]
    Empty {
        /// As it was given.
        path: String,
    },
    /// A capture may be inside.
    #[error(
        "{path} is compressed with {format}: decompress it first: \
         {command} {path} | orkaudio replay -"
    )]
    Compressed {
        /// As it was given.
        path: String,
        /// `gzip` and the like.
        format: &'static str,
        /// What decompresses it to standard output.
        command: &'static str,
    },
    /// Neither pcap nor pcapng.
    #[error("{path} is not a capture file, it looks like {looks}: convert it to pcap or pcapng")]
    NotCapture {
        /// As it was given.
        path: String,
        /// What its first bytes say.
        looks: String,
    },
    /// The file ends inside a packet. Every frame before that was whole and has been handed out,
    /// so this is a warning to whoever has them.
    #[error(
        "{path} is cut off: a record at byte {offset} is incomplete after {frames_before} whole \
         frames; what came before it was used"
    )]
    Truncated {
        /// As it was given.
        path: String,
        /// Where the incomplete record begins.
        offset: u64,
        /// Whole frames before it.
        frames_before: u64,
    },
    /// The bytes contradict the format.
    #[error(
        "{path} is damaged at byte {offset}, after {frames_before} frames: {why}; what came \
         before it was used"
    )]
    Damaged {
        /// As it was given.
        path: String,
        /// Where the record begins.
        offset: u64,
        /// Whole frames before it.
        frames_before: u64,
        /// The broken law.
        why: String,
    },
    /// Opening failed for another reason.
    #[error("cannot open {path}")]
    Open {
        /// As it was given.
        path: String,
        /// The operating system's reason.
        source: io::Error,
    },
    /// Reading failed.
    #[error("cannot read {path} on from byte {offset}: check its disk")]
    Read {
        /// As it was given.
        path: String,
        /// Where the record begins.
        offset: u64,
        /// The operating system's reason.
        source: io::Error,
    },
    /// libpcap does not understand the filter.
    #[error("the capture filter \"{text}\" does not compile{on}: {reason}; see pcap-filter(7)")]
    Filter {
        /// As configured.
        text: String,
        /// ` for link type N`, or nothing.
        on: String,
        /// libpcap's words.
        reason: String,
    },
    /// No interface to capture from was configured.
    #[error(
        "no interface to capture from is configured, and no capture.hep_listen: there are {existing}"
    )]
    NoInterface {
        /// The names that would work.
        existing: String,
    },
    /// An interface that does not exist.
    #[error("there is no interface {name}: there are {existing}")]
    MissingInterface {
        /// As configured.
        name: String,
        /// The names that would work.
        existing: String,
    },
    /// Capturing needs a privilege.
    #[error(
        "no permission to capture on {name}: run as root, or once \
         `setcap cap_net_raw+ep $(command -v orkaudio)`"
    )]
    NoCapturePermission {
        /// As configured.
        name: String,
    },
    /// An interface that carries nothing now.
    #[error("interface {name} is down: bring it up with `ip link set {name} up`")]
    InterfaceDown {
        /// As configured.
        name: String,
    },
    /// libpcap refused for another reason.
    #[error("cannot capture on {name}: {reason}")]
    Interface {
        /// As configured.
        name: String,
        /// libpcap's words.
        reason: String,
    },
    /// The address for capture agents cannot be used.
    #[error(
        "cannot listen on {address} for capture agents: {source}; give another capture.hep_listen"
    )]
    Listen {
        /// As configured.
        address: std::net::SocketAddr,
        /// The operating system's reason.
        source: io::Error,
    },
    /// A capture thread is gone.
    #[error("capture thread {number} ended: its words are in the log")]
    Thread {
        /// Which one, from 0.
        number: usize,
    },
    /// The wait for frames itself failed.
    #[error("cannot wait for frames")]
    Wait {
        /// The operating system's reason.
        source: io::Error,
    },
}
