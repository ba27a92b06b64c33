//! SIP, SIPS and tel URIs (RFC 3261 §19.1, RFC 3966).
//!
//! Law: reading never fails. What cannot be made out is empty.

use super::text;

/// The kind of a URI.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Scheme {
    /// `sip:`
    Sip,
    /// `sips:`
    Sips,
    /// `tel:`
    Tel,
    /// Anything else, or none.
    Other,
}

/// A URI, cut into its parts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Uri<'a> {
    /// Kind.
    pub scheme: Scheme,
    /// User part without password, still escaped; the number of a `tel:`; all of an opaque URI.
    pub user: &'a [u8],
    /// Host name or address, IPv6 without brackets.
    pub host: &'a [u8],
    /// Port, if stated and below 65536.
    pub port: Option<u16>,
    /// `a=b;c` after the host (or the number of a `tel:`).
    pub params: &'a [u8],
    /// `A=b&C=d` after the question mark, still escaped.
    pub headers: &'a [u8],
}

impl<'a> Uri<'a> {
    /// Reads a URI, with or without angle brackets.
    #[must_use]
    pub fn parse(bytes: &'a [u8]) -> Self {
        let bytes = bytes.trim_ascii();
        let bytes = bytes.strip_prefix(b"<").unwrap_or(bytes);
        let bytes = bytes.strip_suffix(b">").unwrap_or(bytes).trim_ascii();
        let (scheme, rest) = scheme(bytes);
        match scheme {
            Scheme::Sip | Scheme::Sips => Self::at_host(scheme, rest),
            Scheme::Tel => {
                let (user, params) = text::cut(b';', rest);
                let user = user.trim_ascii();
                Self { user, params: params.unwrap_or_default(), ..Self::empty(scheme) }
            }
            Scheme::Other => {
                if let Some(rest) = rest.strip_prefix(b"//") {
                    let (authority, _) = text::cut(b'/', rest);
                    Self::at_host(scheme, authority)
                } else if rest.contains(&b'@') {
                    Self::at_host(scheme, rest)
                } else {
                    Self { user: rest, ..Self::empty(scheme) }
                }
            }
        }
    }

    const fn empty(scheme: Scheme) -> Self {
        Self { scheme, user: b"", host: b"", port: None, params: b"", headers: b"" }
    }

    /// `user:password@host:port;params?headers`
    fn at_host(scheme: Scheme, rest: &'a [u8]) -> Self {
        let (user, rest) = user_and_rest(rest);
        let (place, headers) = text::cut(b'?', rest);
        let (place, params) = text::cut(b';', place);
        let (host, port) = host_and_port(place.trim_ascii());
        Self {
            scheme,
            user,
            host,
            port,
            params: params.unwrap_or_default(),
            headers: headers.unwrap_or_default(),
        }
    }

    /// User or number as text: unescaped, without parameters inside it such as `;phone-context=`.
    #[must_use]
    pub fn user_text(&self) -> String {
        let (user, _) = text::cut(b';', self.user);
        if user.contains(&b'%') {
            text::clean(&text::percent_decode(user), text::MAX_TEXT)
        } else {
            text::clean(user, text::MAX_TEXT)
        }
    }

    /// Host as text.
    #[must_use]
    pub fn host_text(&self) -> String {
        text::clean(self.host, text::MAX_TEXT)
    }

    /// A URI parameter; empty when it has no value.
    #[must_use]
    pub fn param(&self, name: &str) -> Option<&'a [u8]> {
        text::param(name, self.params)
    }

    /// An unescaped header that the URI carries (RFC 3261 §19.1.1), such as `Replaces`.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<Vec<u8>> {
        self.headers.split(|byte| *byte == b'&').find_map(|item| {
            let (key, value) = text::cut(b'=', item);
            key.trim_ascii()
                .eq_ignore_ascii_case(name.as_bytes())
                .then(|| text::percent_decode(value.unwrap_or_default()))
        })
    }
}

fn scheme(bytes: &[u8]) -> (Scheme, &[u8]) {
    let known: [(&[u8], Scheme); 3] =
        [(b"sip:", Scheme::Sip), (b"sips:", Scheme::Sips), (b"tel:", Scheme::Tel)];
    for (prefix, scheme) in known {
        if let Some(rest) = text::strip_prefix(prefix, bytes) {
            return (scheme, rest);
        }
    }
    let is_scheme = |name: &[u8]| {
        name.first().is_some_and(u8::is_ascii_alphabetic)
            && name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(byte))
    };
    match text::cut(b':', bytes) {
        // `host:5060` names no scheme, and `user:secret@host` none either.
        (name, Some(rest))
            if is_scheme(name) && !rest.is_empty() && !rest.iter().all(u8::is_ascii_digit) =>
        {
            (Scheme::Other, rest)
        }
        _ => (Scheme::Other, bytes),
    }
}

/// The user part may hold `;`, `?` and `/`, so the `@` is looked for first; the last one before the
/// parameters counts, for some write `user@domain@proxy`.
fn user_and_rest(bytes: &[u8]) -> (&[u8], &[u8]) {
    let Some(first) = text::find(b'@', bytes) else { return (b"", bytes) };
    let mut at = first;
    for (index, byte) in bytes.iter().enumerate().skip(first + 1) {
        match byte {
            b'@' => at = index,
            b';' | b'?' => break,
            _ => {}
        }
    }
    let (user, rest) = bytes.split_at(at);
    let (user, _) = text::cut(b':', user);
    (user, rest.get(1..).unwrap_or_default())
}

fn host_and_port(place: &[u8]) -> (&[u8], Option<u16>) {
    if let Some(inside) = place.strip_prefix(b"[") {
        let (host, after) = text::cut(b']', inside);
        let port = after.unwrap_or_default().trim_ascii().strip_prefix(b":");
        return (host, port.and_then(|port| text::decimal(port.trim_ascii())));
    }
    match text::cut(b':', place) {
        // More than one colon: IPv6 without its brackets.
        (_, Some(after)) if after.contains(&b':') => (place, None),
        (host, Some(port)) => (host.trim_ascii(), text::decimal(port.trim_ascii())),
        (host, None) => (host, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::hint::black_box;

    fn check(uri: &str, user: &str, host: &str, port: Option<u16>) {
        let read = Uri::parse(uri.as_bytes());
        assert_eq!(
            (read.user_text(), read.host_text(), read.port),
            (user.into(), host.into(), port)
        );
    }

    #[test]
    fn users_hosts_and_ports() {
        check("sip:1001@10.0.0.5:5070;transport=tcp", "1001", "10.0.0.5", Some(5070));
        check("sip:10.0.0.5", "", "10.0.0.5", None);
        check("<SIPS:a:secret@b>", "a", "b", None);
        check("sip:a@[2001:db8::1]:5061", "a", "2001:db8::1", Some(5061));
        check("sip:a@2001:db8::1", "a", "2001:db8::1", None);
        check("sip:a@b:99999", "a", "b", None);
        check("sip:+1201;phone-context=x.y@b;user=phone", "+1201", "b", None);
        check(
            "sip:sip%3Auser%40example.com@company.com",
            "sip:user@example.com",
            "company.com",
            None,
        );
        check("sip:user@domain@1.2.3.4;x=y@z", "user@domain", "1.2.3.4", None);
        check("tel:+1-201-555;phone-context=+1", "+1-201-555", "", None);
        check("urn:service:sos", "service:sos", "", None);
        check("http://www.example.com/x@y", "", "www.example.com", None);
        check("1001@host", "1001", "host", None);
        check("host:5060", "host:5060", "", None);
        check("sip:null-%00-null@b", "null--null", "b", None);
        check("", "", "", None);
    }

    #[test]
    fn params_and_headers() {
        let uri = Uri::parse(b"sip:a@b;lr;Transport=tcp?Replaces=c%40d%3Bto-tag%3D1&x=y");
        assert_eq!(uri.param("lr"), Some(&b""[..]));
        assert_eq!(uri.param("transport"), Some(&b"tcp"[..]));
        assert_eq!(uri.param("x"), None);
        assert_eq!(uri.header("replaces").unwrap(), b"c@d;to-tag=1");
    }

    proptest! {
        #[test]
        fn anything_is_survived(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            for prefix in [&b""[..], b"sip:", b"tel:", b"x://"] {
                let uri = [prefix, &bytes].concat();
                let uri = Uri::parse(&uri);
                prop_assert!(uri.user_text().chars().count() <= text::MAX_TEXT);
                prop_assert!(!uri.user_text().chars().any(char::is_control));
                prop_assert!(uri.host_text().chars().count() <= text::MAX_TEXT);
                black_box(uri.header("x"));
            }
        }
    }
}
