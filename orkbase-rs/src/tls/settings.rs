//! What an operator may set, and the bounds of what is kept.

/// What an operator may set, and bounds.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Settings {
    /// Ports of servers whose TLS is signalling; on other ports only ALPN tells.
    pub ports: Vec<u16>,
    /// Keys may come after the bytes they open, so that these are kept for a while.
    pub await_keys: bool,
    /// Most bytes kept of a connection that is signalling.
    pub signalling_bytes: usize,
    /// Most bytes kept of any other connection: it may turn out to be SIP over WebSocket.
    pub other_bytes: usize,
    /// Most bytes kept of all connections.
    pub total_bytes: usize,
    /// Most connections at once.
    pub connections: usize,
    /// Most connections whose secrets are remembered, seen or not.
    pub secrets: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            ports: vec![5061],
            await_keys: true,
            signalling_bytes: 1 << 20,
            other_bytes: 64 << 10,
            total_bytes: 64 << 20,
            connections: 16_384,
            secrets: 65_536,
        }
    }
}
