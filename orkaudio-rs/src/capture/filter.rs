//! A capture filter in pcap-filter(7) text, for frames that come from files.
//!
//! Law: the same text keeps the same frames, whether they come off the wire or out of a file. A
//! program is compiled for one link type, and a file may have several.

use super::CaptureError;
use super::writer::link_number;
use orkbase::packet::{Frame, LinkType};
use pcap::{BpfProgram, Capture, Linktype};

/// `DLT_RAW` as Linux numbers it; files say 101.
const DLT_RAW: i32 = 12;

/// Keeps the frames that match.
pub struct Filter {
    text: String,
    programs: Vec<(LinkType, BpfProgram)>,
}

impl Filter {
    /// Compiles for Ethernet at once, so that mistakes are told at the start.
    ///
    /// # Errors
    /// [`CaptureError::Filter`] with libpcap's words.
    pub fn new(text: &str) -> Result<Self, CaptureError> {
        let program = compile(text, LinkType::Ethernet)?;
        Ok(Self { text: text.to_owned(), programs: vec![(LinkType::Ethernet, program)] })
    }

    /// Whether the frame matches. An empty frame never does.
    ///
    /// # Errors
    /// [`CaptureError::Filter`] when the text has no meaning on the frame's link type
    /// (such as `ether host` on raw IP).
    pub fn keeps(&mut self, frame: &Frame<'_>) -> Result<bool, CaptureError> {
        if frame.bytes.is_empty() {
            return Ok(false);
        }
        if let Some((_, program)) = self.programs.iter().find(|(link, _)| *link == frame.link) {
            return Ok(program.filter(frame.bytes));
        }
        let program = compile(&self.text, frame.link)?;
        let kept = program.filter(frame.bytes);
        self.programs.push((frame.link, program));
        Ok(kept)
    }
}

impl std::fmt::Debug for Filter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Filter").field("text", &self.text).finish_non_exhaustive()
    }
}

fn compile(text: &str, link: LinkType) -> Result<BpfProgram, CaptureError> {
    let number = match link {
        LinkType::RawIp => DLT_RAW,
        LinkType::Ethernet
        | LinkType::Null
        | LinkType::Loop
        | LinkType::LinuxSll
        | LinkType::LinuxSll2
        | LinkType::Hep
        | LinkType::Other(_) => i32::from(link_number(link)),
    };
    Capture::dead(Linktype(number)).and_then(|dead| dead.compile(text, true)).map_err(|error| {
        let on = match link {
            LinkType::Ethernet => String::new(),
            LinkType::Null
            | LinkType::RawIp
            | LinkType::Loop
            | LinkType::LinuxSll
            | LinkType::LinuxSll2
            | LinkType::Hep
            | LinkType::Other(_) => format!(" for link type {number}"),
        };
        CaptureError::Filter { text: text.to_owned(), on, reason: libpcap_words(&error) }
    })
}

/// Without the crate's prefix.
pub(super) fn libpcap_words(error: &pcap::Error) -> String {
    let text = error.to_string();
    text.strip_prefix("libpcap error: ").unwrap_or(&text).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use orkbase::time::Timestamp;

    /// IPv4, UDP from port 5060 to 5070, no payload.
    const IP: [u8; 28] = [
        0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 0x13, 0xc4, 0x13, 0xce,
        0, 8, 0, 0,
    ];

    fn kept(text: &str, link: LinkType, bytes: &[u8]) -> Result<bool, CaptureError> {
        Filter::new(text)?.keeps(&Frame { at: Timestamp(0), link, wire_len: 0, bytes })
    }

    #[test]
    fn one_text_for_every_link_type() {
        let ethernet = [&[0; 12][..], &[8, 0], &IP].concat();
        let null = [&2_u32.to_ne_bytes()[..], &IP].concat();
        let cooked = [&[0; 14][..], &[8, 0], &IP].concat();
        let cooked2 = [&[8, 0][..], &[0; 18], &IP].concat();
        for (link, bytes) in [
            (LinkType::Ethernet, &ethernet[..]),
            (LinkType::RawIp, &IP),
            (LinkType::Null, &null),
            (LinkType::LinuxSll, &cooked),
            (LinkType::LinuxSll2, &cooked2),
        ] {
            assert!(kept("udp port 5060", link, bytes).unwrap(), "{link:?}");
            assert!(!kept("udp port 5080", link, bytes).unwrap(), "{link:?}");
            assert!(!kept("udp port 5060", link, &[]).unwrap(), "{link:?}");
        }
    }

    #[test]
    fn a_mistake_is_told_with_its_text() {
        let text = Filter::new("udp prot 5060").unwrap_err().to_string();
        assert!(text.contains("\"udp prot 5060\" does not compile: "), "{text}");
        let text = kept("gateway gw", LinkType::RawIp, &IP).unwrap_err().to_string();
        assert!(text.contains("gateway"), "{text}");
    }
}
