//! What somebody may do at the doors.

/// One thing that may be allowed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Right {
    /// See events, live calls, status and numbers.
    Read,
    /// Hear calls.
    Listen,
    /// Give commands.
    Control,
    /// Have recordings thrown away.
    Discard,
}

impl Right {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Read, Self::Listen, Self::Control, Self::Discard];

    /// Its name in files and answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Listen => "listen",
            Self::Control => "control",
            Self::Discard => "discard",
        }
    }

    const fn bit(self) -> u8 {
        match self {
            Self::Read => 1,
            Self::Listen => 2,
            Self::Control => 4,
            Self::Discard => 8,
        }
    }
}

/// A set of rights.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Rights(u8);

impl Rights {
    /// None.
    pub const NONE: Self = Self(0);
    /// Every one.
    pub const ALL: Self = Self(15);

    /// Reads names joined by `+`, or `all`, or `none`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text.trim() {
            "all" => Some(Self::ALL),
            "none" => Some(Self::NONE),
            names => names.split('+').try_fold(Self::NONE, |rights, name| {
                let right = Right::ALL.into_iter().find(|right| right.as_str() == name.trim())?;
                Some(Self(rights.0 | right.bit()))
            }),
        }
    }

    /// Whether this one is among them.
    #[must_use]
    pub const fn has(self, right: Right) -> bool {
        self.0 & right.bit() != 0
    }

    /// These and those.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_are_read_and_joined() {
        let some = Rights::parse("read + listen").unwrap();
        assert!(some.has(Right::Read) && some.has(Right::Listen));
        assert!(!some.has(Right::Control) && !some.has(Right::Discard));
        assert_eq!(some.and(Rights::parse("control+discard").unwrap()), Rights::ALL);
        assert_eq!(Rights::parse("all"), Some(Rights::ALL));
        assert_eq!(Rights::parse("none"), Some(Rights::NONE));
        for wrong in ["", "+", "read,listen", "Read", "everything"] {
            assert_eq!(Rights::parse(wrong), None, "{wrong}");
        }
    }
}
