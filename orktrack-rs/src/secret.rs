//! Secrets: random tokens, what is kept of them, and passwords.

use argon2::{Algorithm, Argon2, Params, PasswordHash, PasswordHasher, PasswordVerifier, Version};
use sha2::{Digest, Sha256};
use std::sync::OnceLock;

/// Longest password, in bytes: hashing takes no longer for it.
pub const MAX_PASSWORD: usize = 128;
/// Shortest password, in characters.
pub const MIN_PASSWORD: usize = 10;

/// A new secret of 256 bits, hex.
///
/// # Errors
/// The system has no random numbers.
pub fn token() -> Result<String, String> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| format!("no random numbers: {error}"))?;
    Ok(base16ct::lower::encode_string(&bytes))
}

/// SHA-256 of a text, hex. What stands for an account has 256 bits of its own, so it needs no salt.
#[must_use]
pub fn sha256(text: &str) -> String {
    base16ct::lower::encode_string(&Sha256::digest(text.as_bytes()))
}

/// argon2id with 19 MiB, 2 passes, 1 lane: the least that OWASP recommends.
fn argon() -> Argon2<'static> {
    let params = Params::new(19 * 1024, 2, 1, None).unwrap_or_default();
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

/// The PHC string of a password. Takes some 30 ms and 19 MiB.
///
/// # Errors
/// It is too short or too long, in words for people.
pub fn hash_password(password: &str) -> Result<String, String> {
    if password.chars().count() < MIN_PASSWORD || password.len() > MAX_PASSWORD {
        return Err(format!(
            "a password has at least {MIN_PASSWORD} characters and at most {MAX_PASSWORD} bytes"
        ));
    }
    let hash = argon().hash_password(password.as_bytes());
    hash.map(|hash| hash.to_string()).map_err(|error| error.to_string())
}

/// Whether the password is the one of this PHC string; without one it takes as long and is wrong.
#[must_use]
pub fn verify_password(password: &str, hash: Option<&str>) -> bool {
    static NOBODY: OnceLock<String> = OnceLock::new();
    let nobody =
        || NOBODY.get_or_init(|| hash_password("not a password of anybody").unwrap_or_default());
    if password.len() > MAX_PASSWORD {
        return false;
    }
    let Ok(parsed) = PasswordHash::new(hash.unwrap_or_else(|| nobody())) else { return false };
    let right = argon().verify_password(password.as_bytes(), &parsed).is_ok();
    right && hash.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_known_again_and_nothing_else() {
        let hash = hash_password("correct horse").unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
        assert_ne!(hash, hash_password("correct horse").unwrap(), "salted");
        assert!(verify_password("correct horse", Some(&hash)));
        assert!(!verify_password("correct horsf", Some(&hash)));
        assert!(!verify_password("not a password of anybody", None));
        assert!(!verify_password("x", Some("not a hash")));
        assert!(hash_password("short").is_err() && hash_password(&"x".repeat(129)).is_err());
    }

    #[test]
    fn tokens_differ_and_are_hashed() {
        assert_ne!(token().unwrap(), token().unwrap());
        assert_eq!(token().unwrap().len(), 64);
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(sha256(""), empty);
    }
}
