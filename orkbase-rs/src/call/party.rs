//! Words for the people in a call.

use std::fmt;

/// Whom the recorder works for.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Side {
    /// Our party: left channel.
    Local,
    /// The other: right channel.
    Remote,
}

impl Side {
    /// 0 is left, 1 is right.
    #[must_use]
    pub const fn channel(self) -> usize {
        match self {
            Self::Local => 0,
            Self::Remote => 1,
        }
    }

    /// The wire word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Remote => "remote",
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Signalling's own view of who is who.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Role {
    /// Sent the first proposal.
    Caller,
    /// Received it.
    Callee,
}

impl Role {
    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Caller => Self::Callee,
            Self::Callee => Self::Caller,
        }
    }

    /// A word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Caller => "caller",
            Self::Callee => "callee",
        }
    }

    /// 0 for the caller, 1 for the callee: index into pairs.
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Self::Caller => 0,
            Self::Callee => 1,
        }
    }
}
