//! Signalling that cannot be read, in words for the operator.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};

/// Encrypted signalling that stays unread.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Notice {
    /// Who called the server.
    pub client: IpAddr,
    /// The server.
    pub server: SocketAddr,
    /// Why it stays unread.
    pub why: Why,
}

/// Why a connection is not read.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Why {
    /// Its key is in no key log.
    KeyUnknown,
    /// Its handshake was not seen whole, which names the key.
    HandshakeUnseen,
    /// Its cipher suite is none that can be opened.
    CipherUnknown(u16),
    /// The key in the key log does not open it.
    KeyWrong,
    /// Too many records were missing.
    Lost,
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { client, server, why } = self;
        write!(f, "encrypted signalling from {client} to {server}, ")?;
        match why {
            Why::KeyUnknown => f.write_str(
                "its calls cannot be recorded: its key is not known; have the server or the phone write \
                 its TLS keys (SSLKEYLOGFILE) and name that file in capture.key_log",
            ),
            Why::HandshakeUnseen => f.write_str(
                "its calls cannot be recorded: the capture began after the handshake, or missed a part \
                 of it; with a key log (capture.key_log) it is read from its next connection on",
            ),
            Why::CipherUnknown(number) => write!(
                f,
                "its calls cannot be recorded: cipher suite 0x{number:04x} is not supported; allow AES-GCM, \
                 AES-CBC or ChaCha20 on the server",
            ),
            Why::KeyWrong => f.write_str(
                "its calls cannot be recorded: the key in the key log does not open it; see that the file \
                 belongs to this server or phone",
            ),
            Why::Lost => f.write_str(
                "its calls cannot be recorded until it connects anew: too many of its packets are missing",
            ),
        }
    }
}
