//! Several keys for one stream, of which one will fit.
//!
//! An offer names a key for each crypto suite and the answer takes one; a forked call, a re-INVITE
//! and an MKI bring more. Which one a sender uses is seen from the first packet it authenticates.

use super::{Context, SrtpError};
use std::fmt;

/// Keys kept for one stream; beyond that the oldest goes, unless it is the one in use.
pub const MOST_KEYS: usize = 16;

/// So many packets in a row that no key fitted (two seconds of 20 ms packets), and only the one in
/// use is tried for each, the others for one in as many. A new key starts the count again.
pub const PATIENCE: u32 = 100;

/// The keys of one stream, oldest first, and the one that fits.
#[derive(Default)]
pub struct Candidates {
    keys: Vec<Context>,
    fits: Option<usize>,
    /// Packets in a row that no key fitted.
    misfits: u32,
}

impl Candidates {
    /// Adds the keys of one `a=crypto`, several keys being separated by `;inline:`. A key that is
    /// known already is not added again, so that a repeated offer changes nothing.
    ///
    /// # Errors
    /// Why the first unusable key cannot be used; the usable ones are added all the same.
    pub fn offer(&mut self, suite: &str, inline: &[u8]) -> Result<(), SrtpError> {
        let end = inline.iter().position(u8::is_ascii_whitespace).unwrap_or(inline.len());
        let (keys, session) = inline.split_at_checked(end).unwrap_or((inline, &[]));
        let mut result = Ok(());
        for key in keys.split(|byte| *byte == b';').take(MOST_KEYS) {
            let key = key.strip_prefix(b"inline:").unwrap_or(key);
            let one = zeroize::Zeroizing::new([key, session].concat());
            match Context::from_sdes(suite, &one) {
                Ok(context) => self.add(context),
                Err(error) => result = result.and(Err(error)),
            }
        }
        result
    }

    /// Adds a key.
    pub fn add(&mut self, context: Context) {
        if self.keys.iter().any(|known| known.same_key(&context)) {
            return;
        }
        if self.keys.len() >= MOST_KEYS {
            let oldest = usize::from(self.fits == Some(0));
            drop(self.keys.remove(oldest));
            self.fits = self.fits.map(|fits| fits - usize::from(fits > oldest));
        }
        self.keys.push(context);
        self.misfits = 0;
    }

    /// The same keys for another stream; nothing is derived again.
    #[must_use]
    pub fn clone_for_stream(&self) -> Self {
        let keys = self.keys.iter().map(Context::clone_for_stream).collect();
        Self { keys, fits: None, misfits: 0 }
    }

    /// The key that fitted last.
    #[must_use]
    pub fn fitting(&self) -> Option<&Context> {
        self.fits.and_then(|fits| self.keys.get(fits))
    }

    /// Whether there is no key at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Decrypts one packet as [`Context::unprotect`] does, with the key that fitted last, else with
    /// the others, newest first.
    ///
    /// # Errors
    /// As [`Context::unprotect`]; [`SrtpError::NoKey`] without keys, [`SrtpError::GaveUp`] when the
    /// packet was not tried because none has ever fitted.
    pub fn unprotect(&mut self, packet: &[u8], out: &mut Vec<u8>) -> Result<(), SrtpError> {
        out.clear();
        let mut result = Err(SrtpError::NoKey);
        if let Some(context) = self.fits.and_then(|fits| self.keys.get_mut(fits)) {
            result = context.unprotect(packet, out);
        } else if !self.patient() {
            self.misfits = self.misfits.wrapping_add(1);
            return Err(SrtpError::GaveUp);
        }
        if !authentic(result) && self.patient() {
            for (index, context) in self.keys.iter_mut().enumerate().rev() {
                if authentic(result) || self.fits == Some(index) {
                    continue;
                }
                let tried = context.unprotect(packet, out);
                if authentic(tried) {
                    self.fits = Some(index);
                }
                // Too short for one suite's tag says less than wrong under another's.
                if authentic(tried) || result != Err(SrtpError::Auth) {
                    result = tried;
                }
            }
        }
        if authentic(result) {
            self.misfits = 0;
        } else if result == Err(SrtpError::Auth) {
            self.misfits = self.misfits.wrapping_add(1);
        }
        result
    }

    /// Whether keys that have not fitted yet are tried; when patience is over, now and then only.
    const fn patient(&self) -> bool {
        self.misfits < PATIENCE || self.misfits.is_multiple_of(PATIENCE)
    }
}

const fn authentic(result: Result<(), SrtpError>) -> bool {
    matches!(result, Ok(()) | Err(SrtpError::Padding))
}

impl fmt::Debug for Candidates {
    /// Keys are never printed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Candidates({} keys, fits: {:?})", self.keys.len(), self.fitting())
    }
}
