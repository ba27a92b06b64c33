//! TLS to PostgreSQL, asked for in the URL with the words of PostgreSQL's own programs.
//!
//! Law: whoever asks for TLS gets a server whose certificate is right, or none: `require` is as strict here
//! as `verify-full`.

use rustls::ClientConfig;
use std::path::{Path, PathBuf};
use tokio_postgres_rustls::MakeRustlsConnect;

/// Takes `sslmode` and `sslrootcert` out of a URL. `None`: without TLS; else with it, and with the
/// authorities of this file, or those of the system.
pub(super) fn wanted(url: &str) -> (String, Option<Option<PathBuf>>) {
    let Some((before, query)) = url.split_once('?') else { return (url.to_owned(), None) };
    let (mut rest, mut tls, mut roots) = (Vec::new(), false, None);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=') {
            Some(("sslmode", mode)) => tls = !["disable", "allow", "prefer"].contains(&mode),
            Some(("sslrootcert", "system")) => {}
            Some(("sslrootcert", file)) => roots = Some(decoded(file)),
            _ => rest.push(pair),
        }
    }
    let url =
        if rest.is_empty() { before.to_owned() } else { format!("{before}?{}", rest.join("&")) };
    (url, tls.then_some(roots))
}

/// Percent decoding, for the one value that is ours.
fn decoded(text: &str) -> PathBuf {
    let pair = format!("f={text}").replace('+', "%2B");
    let pairs: Vec<(String, String)> = serde_urlencoded::from_str(&pair).unwrap_or_default();
    pairs.into_iter().next().map(|(_, file)| PathBuf::from(file)).unwrap_or_default()
}

/// Connects to servers that an authority of this file vouches for.
pub(super) fn connector(file: Option<&Path>) -> Result<MakeRustlsConnect, String> {
    let config = orktls::client(file).map_err(|error| format!("sslrootcert: {error}"))?;
    Ok(MakeRustlsConnect::new(ClientConfig::clone(&config)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_url_asks_for() {
        let plain = "postgres://ork:a%3Fb@db/calls";
        assert_eq!(wanted(plain), (plain.to_owned(), None));
        let timed = format!("{plain}?connect_timeout=3");
        assert_eq!(wanted(&format!("{timed}&sslmode=prefer")), (timed.clone(), None));
        assert_eq!(wanted(&format!("{timed}&sslmode=require")), (timed, Some(None)));
        let roots = Some(Some(PathBuf::from("/etc/o r+k.pem")));
        let asked = format!("{plain}?sslmode=verify-full&sslrootcert=/etc/o%20r+k.pem");
        assert_eq!(wanted(&asked), (plain.to_owned(), roots));
    }
}
