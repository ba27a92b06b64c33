//! Files that hold secrets.
//!
//! Law: a file that others than its owner can read holds no secret, and is refused.

use base64ct::Encoding as _;
use sha2::{Digest as _, Sha256};
use std::{fmt, fs::File, io::Read as _, os::unix::fs::MetadataExt as _, path::Path};
use zeroize::Zeroizing;

/// The largest file that is read.
const MOST: u64 = 64 * 1024;
/// The shortest secret.
const LEAST: usize = 16;

/// Reads a file of secrets.
fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, String> {
    let shown = path.display();
    let failed = |error: std::io::Error| format!("cannot read {shown}: {error}");
    let file = File::open(path).map_err(failed)?;
    let about = file.metadata().map_err(failed)?;
    if !about.is_file() {
        return Err(format!("{shown} is no file"));
    }
    if about.mode() & 0o077 != 0 {
        let mode = about.mode() & 0o777;
        return Err(format!(
            "{shown} can be read by others than its owner (mode {mode:04o}): chmod 0600 {shown}"
        ));
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(MOST).unwrap_or(0)));
    file.take(MOST).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

/// The secret of a ledger: all that the file holds, without white space at its ends.
///
/// # Errors
/// In words, with a remedy.
pub fn secret(path: &Path) -> Result<Zeroizing<Vec<u8>>, String> {
    let bytes = read(path)?;
    let secret = Zeroizing::new(bytes.trim_ascii().to_vec());
    if secret.len() < LEAST {
        return Err(format!(
            "{} holds less than {LEAST} bytes: openssl rand -hex 32 makes a good secret",
            path.display()
        ));
    }
    Ok(secret)
}

/// Longest name of a key.
const NAME: usize = 16;

/// A key of 256 bits and its name.
#[derive(Clone)]
pub struct Key {
    id: [u8; NAME],
    bytes: Zeroizing<[u8; 32]>,
}

impl Key {
    /// Its name, filled up with zeros.
    #[must_use]
    pub const fn id(&self) -> &[u8; NAME] {
        &self.id
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.bytes.as_slice()
    }

    /// Without a name it is called by the beginning of a hash.
    fn new(name: Option<&str>, bytes: Zeroizing<[u8; 32]>) -> Option<Self> {
        let hash = Sha256::new().chain_update(b"orkseal key").chain_update(bytes.as_slice());
        let hash: [u8; 32] = hash.finalize().into();
        let own = base16ct::lower::encode_string(hash.first_chunk::<8>()?);
        let name = name.unwrap_or(&own);
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        let good = (1..=NAME).contains(&name.len()) && name.bytes().all(plain);
        let mut id = [0; NAME];
        id.iter_mut().zip(name.bytes()).for_each(|(place, byte)| *place = byte);
        good.then_some(Self { id, bytes })
    }
}

/// The keys that recordings are sealed with; the first is for new ones.
#[derive(Clone)]
pub struct KeyRing(Vec<Key>);

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyRing({} keys)", self.0.len())
    }
}

impl KeyRing {
    /// Reads a key file: 32 bytes as they are, or lines of 64 hexadecimal digits or of base64, with `name:`
    /// before each if wanted. Empty lines and those that begin with `#` are left out.
    ///
    /// # Errors
    /// In words, with a remedy.
    pub fn load(path: &Path) -> Result<Self, String> {
        let bytes = read(path)?;
        Self::parse(&bytes).map_err(|why| format!("{}: {why}", path.display()))
    }

    /// The same of what a key file holds.
    ///
    /// # Errors
    /// In words, with a remedy.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let remedy = "give 32 random bytes, as they are, as 64 hexadecimal digits or as base64: openssl rand -hex 32";
        if let Ok(raw) = <[u8; 32]>::try_from(bytes)
            && !bytes.is_ascii()
        {
            let key = Key::new(None, Zeroizing::new(raw));
            return Ok(Self(key.into_iter().collect()));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| remedy.to_owned())?;
        let mut keys: Vec<Key> = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (name, value) = match line.split_once(':') {
                Some((name, value)) => (Some(name.trim()), value.trim()),
                None => (None, line),
            };
            let key = read_key(value).and_then(|bytes| Key::new(name, bytes));
            let key = key.ok_or_else(|| {
                format!("line {}: {remedy}; a name has up to {NAME} letters and digits", number + 1)
            })?;
            if keys.iter().any(|other| other.id == key.id) {
                return Err(format!(
                    "line {}: a name, or a key, that was there before",
                    number + 1
                ));
            }
            keys.push(key);
        }
        if keys.is_empty() { Err(format!("no key: {remedy}")) } else { Ok(Self(keys)) }
    }

    /// The key for new files.
    #[must_use]
    pub fn newest(&self) -> Option<&Key> {
        self.0.first()
    }

    /// The key of this name.
    #[must_use]
    pub fn find(&self, id: &[u8; NAME]) -> Option<&Key> {
        self.0.iter().find(|key| key.id == *id)
    }
}

fn read_key(text: &str) -> Option<Zeroizing<[u8; 32]>> {
    let mut bytes = Zeroizing::new([0; 32]);
    let read = if text.len() == 64 {
        base16ct::mixed::decode(text, bytes.as_mut_slice()).ok()?.len()
    } else {
        base64ct::Base64::decode(text, bytes.as_mut_slice()).ok()?.len()
    };
    (read == 32).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::PermissionsExt as _};

    #[test]
    fn keys_are_read_in_every_form() {
        let hex = "00ff".repeat(16);
        let base64 = "AP8A/wD/AP8A/wD/AP8A/wD/AP8A/wD/AP8A/wD/AP8=";
        let raw: Vec<u8> = [0, 255].repeat(16);
        let one = KeyRing::parse(&raw).unwrap();
        for text in [hex.clone(), base64.to_owned(), format!("# a comment\n\n  {hex}\n")] {
            let ring = KeyRing::parse(text.as_bytes()).unwrap();
            let (a, b) = (ring.newest().unwrap(), one.newest().unwrap());
            assert_eq!((a.id(), a.bytes()), (b.id(), b.bytes()), "{text}");
        }
        let two = format!("2026-b:{}\n2026-a: {base64}", "11".repeat(32));
        let ring = KeyRing::parse(two.as_bytes()).unwrap();
        assert_eq!(ring.newest().unwrap().bytes(), [0x11; 32]);
        assert_eq!(ring.find(b"2026-a\0\0\0\0\0\0\0\0\0\0").unwrap().bytes(), raw);
        assert!(!format!("{ring:?}").contains("11"));
        let twice = format!("a:{hex}\na:{}", "22".repeat(32));
        for bad in
            ["", "#", "00ff", "x".repeat(32).as_str(), "a b:00", &format!("{hex}:{hex}"), &twice]
        {
            assert!(KeyRing::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("key");
        fs::write(&path, "00ff".repeat(16)).unwrap();
        for (mode, good) in [(0o600, true), (0o400, true), (0o640, false), (0o604, false)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!((KeyRing::load(&path).is_ok(), secret(&path).is_ok()), (good, good));
        }
        let why = KeyRing::load(&path).unwrap_err();
        assert!(why.contains("chmod 0600"), "{why}");
        fs::write(&path, "short").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(secret(&path).unwrap_err().contains("less than 16"));
        assert!(KeyRing::load(&home.path().join("none")).unwrap_err().contains("cannot read"));
    }
}
