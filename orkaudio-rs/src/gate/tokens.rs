//! Tokens: what a program shows at a door to be let in from anywhere.
//!
//! The file has a line for each: a name, its rights, and the SHA-256 of the token. A token is 256 random
//! bits, so its hash needs no salt, and who reads the file cannot come in with it.

use super::{GateError, Rights};
use sha2::{Digest as _, Sha256};
use std::{
    collections::HashMap, fs::File, io::Read as _, os::unix::fs::PermissionsExt as _, path::Path,
    sync::Arc,
};

/// Largest token file.
const MAX_FILE: u64 = 1 << 20;
/// Longest token looked at: it is hashed for whoever comes.
const MAX_TOKEN: usize = 256;
/// Longest name.
const MAX_NAME: usize = 64;

type Hash = [u8; 32];

/// Whose tokens open what.
#[derive(Debug, Default)]
pub(super) struct Tokens(HashMap<Hash, (Arc<str>, Rights)>);

impl Tokens {
    pub(super) fn load(path: &Path) -> Result<Self, GateError> {
        let wrong = |why: String| GateError::Tokens { path: path.to_owned(), why };
        let file = File::open(path).map_err(|error| wrong(error.to_string()))?;
        let mode = file.metadata().map_err(|error| wrong(error.to_string()))?.permissions().mode();
        if mode & 0o022 != 0 {
            return Err(wrong("others may write it; chmod 640".to_owned()));
        }
        let mut text = String::new();
        file.take(MAX_FILE + 1)
            .read_to_string(&mut text)
            .map_err(|error| wrong(error.to_string()))?;
        if text.len() as u64 > MAX_FILE {
            return Err(wrong(format!("it is longer than {MAX_FILE} bytes")));
        }
        Self::read(&text).map_err(|(line, why)| wrong(format!("line {line}: {why}")))
    }

    fn read(text: &str) -> Result<Self, (usize, &'static str)> {
        let mut tokens = Self::default();
        for (at, line) in text.lines().enumerate() {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words.as_slice() {
                [] => {}
                [first, ..] if first.starts_with('#') => {}
                [name, rights, hash] => {
                    if !is_name(name) {
                        return Err((
                            at + 1,
                            "a name is of letters, digits, - _ . and not longer than 64",
                        ));
                    }
                    let what = "rights are read, listen, control, discard joined by +, or all";
                    let rights = Rights::parse(rights).ok_or((at + 1, what))?;
                    let what = "the hash is 64 hexadecimal digits; `orkaudio token` makes the line";
                    let mut bytes = Hash::default();
                    let whole = base16ct::mixed::decode(hash, &mut bytes).map(<[u8]>::len);
                    if whole != Ok(bytes.len()) {
                        return Err((at + 1, what));
                    }
                    if tokens.0.insert(bytes, ((*name).into(), rights)).is_some() {
                        return Err((at + 1, "this token is there twice"));
                    }
                }
                _ => return Err((at + 1, "a line has a name, rights and a hash")),
            }
        }
        Ok(tokens)
    }

    /// Whose token this is.
    pub(super) fn find(&self, token: &str) -> Option<(Arc<str>, Rights)> {
        // Looked up by hash: how long it takes tells nothing of tokens.
        (token.len() <= MAX_TOKEN).then(|| self.0.get(&hash(token)).cloned())?
    }
}

fn hash(token: &str) -> Hash {
    Sha256::digest(token.as_bytes()).into()
}

fn is_name(name: &str) -> bool {
    name.len() <= MAX_NAME
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

/// A new token, and its line for the file.
///
/// # Errors
/// A name or rights that the file could not have, or the system has no random numbers.
pub fn make(name: &str, rights: &str) -> Result<(String, String), String> {
    if name.is_empty() || !is_name(name) {
        return Err("a name is of letters, digits, - _ . and not longer than 64".to_owned());
    }
    if Rights::parse(rights).is_none() {
        return Err("rights are read, listen, control, discard joined by +, or all".to_owned());
    }
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| format!("no random numbers: {error}"))?;
    let token = base16ct::lower::encode_string(&bytes);
    let line = format!("{name} {rights} {}", base16ct::lower::encode_string(&hash(&token)));
    Ok((token, line))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_token_that_was_made_is_known_again() {
        let (token, line) = make("crm", "control+read").unwrap();
        let tokens = Tokens::read(&format!("# programs\n\n{line}\n")).unwrap();
        let (name, rights) = tokens.find(&token).unwrap();
        assert_eq!((&*name, rights), ("crm", Rights::parse("control+read").unwrap()));
        assert!(tokens.find(line.rsplit(' ').next().unwrap()).is_none(), "its hash opens nothing");
        assert!(tokens.find("").is_none() && tokens.find(&"x".repeat(1_000)).is_none());
        assert_ne!(make("crm", "all").unwrap().0, token);
        for (name, rights) in [("", "all"), ("a b", "all"), ("a", "everything")] {
            assert!(make(name, rights).is_err());
        }
        assert_eq!(Tokens::read(&format!("{line}\n{line}")).unwrap_err().0, 2);
        for wrong in ["crm all", "crm all 12", "c/m all 12", "crm some 12"] {
            assert_eq!(Tokens::read(wrong).unwrap_err().0, 1, "{wrong}");
        }
    }

    #[test]
    fn a_file_that_others_may_write_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens");
        fs::write(&path, "# none\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        Tokens::load(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o660)).unwrap();
        assert!(Tokens::load(&path).unwrap_err().to_string().contains("chmod 640"));
        assert!(Tokens::load(&folder.path().join("none")).is_err());
    }
}
