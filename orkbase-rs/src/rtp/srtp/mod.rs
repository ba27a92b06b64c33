//! SRTP with keys that were seen in signalling (RFC 3711, RFC 4568, RFC 6188, RFC 7714).
//!
//! Law: a payload comes out only of a packet that its sender's key has authenticated; whatever else
//! arrives changes nothing. No key is ever printed, and all are wiped when dropped.
//!
//! Not here: replays and duplicates (`sequence`), which key was stated for which stream (`call`).

pub mod candidates;

mod keys;
mod rollover;
mod sdes;
mod suite;

#[cfg(test)]
mod tests;

use crate::rtp::packet::is_rtcp;
use keys::{Keys, Sealed};
use rollover::Rollover;
use sdes::Sdes;
use std::{fmt, sync::Arc};
use suite::Suite;

/// Longest packet: what fits a UDP datagram.
pub const MOST_BYTES: usize = 0xffff;

/// Why a key cannot be used, or a packet cannot be read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SrtpError {
    /// No crypto suite of that name is known.
    UnknownSuite,
    /// A suite or session parameter that is known and not read.
    Refused(&'static str),
    /// The key is not base64.
    Base64,
    /// Key and salt are not as long as the suite says.
    KeyLength,
    /// The lifetime is not a number.
    Lifetime,
    /// The master key identifier is not `value:length`, or does not fit its length.
    Mki,
    /// Shorter than its own header and the tag.
    Short,
    /// Longer than [`MOST_BYTES`].
    Long,
    /// Not RTP of version 2.
    NotRtp,
    /// The tag is wrong: other key, altered, or so far in the stream that the roll-over counter was
    /// not found.
    Auth,
    /// Authentic, and the padding runs past its start.
    Padding,
    /// No key is known.
    NoKey,
    /// None of the keys fitted for so long that none is tried any more.
    GaveUp,
}

impl fmt::Display for SrtpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refused(name) => return write!(f, "{name} is not supported"),
            Self::UnknownSuite => "crypto suite is unknown",
            Self::Base64 => "key is not base64",
            Self::KeyLength => "key and salt are not as long as the crypto suite says",
            Self::Lifetime => "lifetime of the key is not a number",
            Self::Mki => "master key identifier is not value:length",
            Self::Short => "packet is shorter than its header and tag",
            Self::Long => "packet is longer than a datagram",
            Self::NotRtp => "packet is not RTP",
            Self::Auth => "packet is not authentic under this key",
            Self::Padding => "padding runs past the payload",
            Self::NoKey => "no key is known",
            Self::GaveUp => "no key fitted, and none is tried any more",
        })
    }
}

impl std::error::Error for SrtpError {}

/// One sender's crypto: its keys, and how often its sequence number has wrapped.
///
/// For one stream. A packet of another SSRC is read as the start of a new stream; streams that
/// interleave want a context each, from [`Context::clone_for_stream`].
pub struct Context {
    sender: Arc<Sender>,
    rollover: Rollover,
}

/// What all streams of a sender share.
struct Sender {
    suite: &'static Suite,
    mki: Box<[u8]>,
    keys: Keys,
}

impl Context {
    /// Derives the keys of a sender from its crypto suite and what follows `inline:`, which may
    /// include lifetime, MKI and, after white space, the session parameters. Of several keys, the
    /// first.
    ///
    /// # Errors
    /// When suite or parameters are unknown or refused, or the key does not fit the suite.
    pub fn from_sdes(suite: &str, inline: &[u8]) -> Result<Self, SrtpError> {
        let suite = suite::named(suite)?;
        let sdes = Sdes::read(inline)?;
        if suite.aead && !sdes.encrypted {
            return Err(SrtpError::Refused("UNENCRYPTED_SRTP with AEAD"));
        }
        let keys = Keys::derive(suite, sdes.master(), sdes.encrypted);
        let keys = keys.ok_or(SrtpError::KeyLength)?;
        Ok(Self::new(Sender { suite, mki: sdes.mki, keys }))
    }

    fn new(sender: Sender) -> Self {
        Self { sender: Arc::new(sender), rollover: Rollover::new() }
    }

    /// The same keys for another stream of the sender; nothing is derived again.
    #[must_use]
    pub fn clone_for_stream(&self) -> Self {
        Self { sender: Arc::clone(&self.sender), rollover: Rollover::new() }
    }

    /// Name of the crypto suite.
    #[must_use]
    pub fn suite(&self) -> &'static str {
        self.sender.suite.name
    }

    fn same_key(&self, other: &Self) -> bool {
        let (ours, theirs) = (&self.sender, &other.sender);
        ours.suite == theirs.suite && ours.mki == theirs.mki && ours.keys.same(&theirs.keys)
    }

    /// Decrypts one packet: `out` becomes its RTP payload without header, CSRCs, extension and
    /// padding; empty on error. Allocates only when `out` is too small.
    ///
    /// # Errors
    /// When the packet is not RTP, or not authentic under this key.
    pub fn unprotect(&mut self, packet: &[u8], out: &mut Vec<u8>) -> Result<(), SrtpError> {
        out.clear();
        let header = Header::decode(packet)?;
        let guesses = self.rollover.guesses(header.ssrc, header.sequence);
        let Some(roc) = self.sender.open(&header, packet, guesses, out)? else {
            self.rollover.refuse();
            return Err(SrtpError::Auth);
        };
        self.rollover.accept(header.ssrc, header.sequence, roc);
        if header.padded {
            let padding = out.last().map_or(usize::MAX, |count| usize::from(*count));
            let Some(length) = out.len().checked_sub(padding) else {
                out.clear();
                return Err(SrtpError::Padding);
            };
            out.truncate(length);
        }
        Ok(())
    }
}

impl Sender {
    /// Tries the packet with the MKI that was stated, if it is there, then without one: a sender
    /// whose peer answered without MKI may leave it out.
    fn open(
        &self,
        header: &Header,
        packet: &[u8],
        guesses: impl Iterator<Item = u32> + Clone,
        out: &mut Vec<u8>,
    ) -> Result<Option<u32>, SrtpError> {
        if !self.mki.is_empty()
            && let Some((sealed, mki)) = self.cut(header, packet, self.mki.len())
            && *mki == *self.mki
            && let Some(roc) = self.keys.open(&sealed, guesses.clone(), out)
        {
            return Ok(Some(roc));
        }
        let (sealed, _) = self.cut(header, packet, 0).ok_or(SrtpError::Short)?;
        Ok(self.keys.open(&sealed, guesses, out))
    }

    /// The MKI lies before the tag of HMAC (RFC 3711 §3.1) and behind that of GCM (RFC 7714 §8.2).
    fn cut<'a>(
        &self,
        header: &Header,
        packet: &'a [u8],
        mki: usize,
    ) -> Option<(Sealed<'a>, &'a [u8])> {
        let (authenticated, mki, tag) = if self.suite.aead {
            let (rest, mki) = cut_tail(packet, mki)?;
            let (authenticated, tag) = cut_tail(rest, self.suite.tag)?;
            (authenticated, mki, tag)
        } else {
            let (rest, tag) = cut_tail(packet, self.suite.tag)?;
            let (authenticated, mki) = cut_tail(rest, mki)?;
            (authenticated, mki, tag)
        };
        let Header { length, ssrc, sequence, .. } = *header;
        let sealed = Sealed { authenticated, header: length, tag, ssrc, sequence };
        (authenticated.len() >= length).then_some((sealed, mki))
    }
}

fn cut_tail(bytes: &[u8], length: usize) -> Option<(&[u8], &[u8])> {
    bytes.split_at_checked(bytes.len().checked_sub(length)?)
}

/// What stays clear of a packet, as far as it matters here.
struct Header {
    /// With CSRCs and extension.
    length: usize,
    ssrc: u32,
    sequence: u16,
    padded: bool,
}

impl Header {
    fn decode(packet: &[u8]) -> Result<Self, SrtpError> {
        if packet.len() > MOST_BYTES {
            return Err(SrtpError::Long);
        }
        let Some(&[flags, _, s0, s1, _, _, _, _, r0, r1, r2, r3]) = packet.first_chunk::<12>()
        else {
            return Err(SrtpError::Short);
        };
        if flags >> 6 != 2 || is_rtcp(packet) {
            return Err(SrtpError::NotRtp);
        }
        let mut length = 12 + 4 * usize::from(flags & 0x0f);
        if flags & 0x10 != 0 {
            let Some([_, _, hi, lo]) = packet.get(length..).and_then(<[u8]>::first_chunk::<4>)
            else {
                return Err(SrtpError::Short);
            };
            length += 4 + 4 * usize::from(u16::from_be_bytes([*hi, *lo]));
        }
        Ok(Self {
            length,
            ssrc: u32::from_be_bytes([r0, r1, r2, r3]),
            sequence: u16::from_be_bytes([s0, s1]),
            padded: flags & 0x20 != 0,
        })
    }
}

impl fmt::Debug for Context {
    /// Keys are never printed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Context({} <redacted>, {:?})", self.suite(), self.rollover)
    }
}
