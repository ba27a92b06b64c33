//! What became of TLS connections.

/// What was counted.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct TlsCounters {
    /// TLS connections seen.
    pub connections: u64,
    /// Of them, signalling by their port or by ALPN.
    pub signalling: u64,
    /// Of them, connections of which something was opened.
    pub decrypted: u64,
    /// Pairs of client and server whose signalling cannot be read.
    pub endpoints_unread: u64,
    /// Connections not read although they are TLS: no key.
    pub without_key: u64,
    /// Connections not read because their handshake was not seen whole.
    pub without_handshake: u64,
    /// Connections whose key opens nothing.
    pub wrong_key: u64,
    /// Connections whose version or cipher suite is none of ours.
    pub unsupported: u64,
    /// Connections lost track of after a hole.
    pub lost: u64,
    /// Connections not taken in because there were too many.
    pub refused: u64,
    /// Hellos that made no sense.
    pub malformed_hellos: u64,
    /// Records opened.
    pub records: u64,
    /// Records that no key opened.
    pub records_failed: u64,
    /// Records of handshakes and early data whose keys were not told, passed over.
    pub handshake_records_passed: u64,
    /// Bytes passed over at holes.
    pub lost_bytes: u64,
    /// Connections whose waiting bytes were dropped because they were too many.
    pub overflowed: u64,
    /// Secrets taken from key logs.
    pub secrets: u64,
    /// Connections whose secrets were forgotten because there were too many.
    pub secrets_dropped: u64,
    /// Lines of key logs that make no sense.
    pub key_lines_malformed: u64,
}
