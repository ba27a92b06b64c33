//! Where a tracker is: `[http[s]://]host[:port][/service]`.

use std::{fmt, str::FromStr};
use thiserror::Error;

/// The port of a tracker that names none.
const DEFAULT_PORT: u16 = 8080;
/// The service of a tracker that names none.
const DEFAULT_SERVICE: &str = "orktrack";

/// Address of one tracker, read from the configuration.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct TrackerUrl {
    tls: bool,
    host: String,
    port: u16,
    service: String,
}

/// Why a text is no tracker address.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum AddressError {
    /// No host.
    #[error("tracker \"{0}\": there is no host name; write [http[s]://]host[:port][/service]")]
    NoHost(String),
    /// The port is not a number from 1 to 65535.
    #[error("tracker \"{0}\": the port is not a number from 1 to 65535")]
    Port(String),
    /// A character that no address has.
    #[error("tracker \"{0}\": there is a character that does not belong in an address")]
    Character(String),
}

impl TrackerUrl {
    /// Whether it is spoken to within TLS.
    #[must_use]
    pub const fn tls(&self) -> bool {
        self.tls
    }

    /// The host without the brackets of IPv6.
    #[must_use]
    pub fn host(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }

    /// The port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// What goes into the Host header, `10.0.0.1:8080`.
    #[must_use]
    pub fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// The request target of a message in the URL form.
    #[must_use]
    pub fn target(&self, body: &str) -> String {
        format!("/{}/command?{body}", self.service)
    }
}

impl FromStr for TrackerUrl {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let text = text.trim();
        let lower = text.to_ascii_lowercase();
        let tls = lower.starts_with("https://");
        let skip = ["https://", "http://"].into_iter().find(|scheme| lower.starts_with(scheme));
        let skip = skip.map_or(0, str::len);
        let rest = text.get(skip..).unwrap_or_default();
        let plain = |c: char| c.is_ascii_alphanumeric() || "-._~:/[]".contains(c);
        if !rest.chars().all(plain) {
            return Err(AddressError::Character(text.to_owned()));
        }
        let (authority, service) = rest.split_once('/').unwrap_or((rest, ""));
        let service = service.trim_matches('/');
        let (host, port) = match authority.rsplit_once(':') {
            // The last colon of a bare `[::1]` is inside its brackets.
            Some((host, port)) if !port.contains(']') => {
                let number = port.parse().ok().filter(|number| *number != 0);
                (host, number.ok_or_else(|| AddressError::Port(text.to_owned()))?)
            }
            Some(_) | None => (authority, DEFAULT_PORT),
        };
        let bracketed = host.starts_with('[') && host.ends_with(']');
        if host.is_empty() || host == "[]" {
            return Err(AddressError::NoHost(text.to_owned()));
        }
        if !bracketed && host.contains([':', '[', ']']) {
            return Err(AddressError::Character(text.to_owned()));
        }
        let service = if service.is_empty() { DEFAULT_SERVICE } else { service };
        Ok(Self { tls, host: host.to_owned(), port, service: service.to_owned() })
    }
}

impl fmt::Display for TrackerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}:{}/{}", self.host, self.port, self.service)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_as_configured() {
        let read = |text: &str| text.parse::<TrackerUrl>().map(|url| url.to_string());
        let is = |text: &str| Ok(text.to_owned());
        assert_eq!(read("tracker"), is("http://tracker:8080/orktrack"));
        assert_eq!(read(" HTTP://10.0.0.1:81/ "), is("http://10.0.0.1:81/orktrack"));
        assert_eq!(read("a:9/x/y/"), is("http://a:9/x/y"));
        assert_eq!(read("[::1]"), is("http://[::1]:8080/orktrack"));
        assert_eq!(read("[::1]:99"), is("http://[::1]:99/orktrack"));
        for bad in
            ["", "http://", ":80", "a:0", "a:x", "a:65536", "::1", "a b", "a?b", "[]", "a\rb"]
        {
            assert!(read(bad).is_err(), "{bad}");
        }
        assert_eq!(read("HTTPS://a"), is("https://a:8080/orktrack"));
        assert!("https://a".parse::<TrackerUrl>().unwrap().tls());
        let url: TrackerUrl = "[::1]:99".parse().unwrap();
        assert_eq!((url.host(), url.authority().as_str()), ("::1", "[::1]:99"));
        assert_eq!(url.target("type=init&"), "/orktrack/command?type=init&");
    }
}
