//! What a request's head says of who makes it.

use hyper::{HeaderMap, header};

/// The headers that matter to the gate and to the doors that speak over the bare stream.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Head<'a> {
    /// `Authorization`.
    pub authorization: Option<&'a str>,
    /// `Origin`: the page that asks.
    pub origin: Option<&'a str>,
    /// `Host`: as the client calls us.
    pub host: Option<&'a str>,
    /// `Sec-Fetch-Site`: how that page is related to us, by the browser's word.
    pub site: Option<&'a str>,
    /// `Accept`.
    pub accept: Option<&'a str>,
    /// `Upgrade`.
    pub upgrade: Option<&'a str>,
    /// `Sec-WebSocket-Key`.
    pub websocket_key: Option<&'a str>,
    /// `Last-Event-ID`.
    pub last_event: Option<&'a str>,
}

impl<'a> Head<'a> {
    /// Of a request that hyper read.
    #[must_use]
    pub fn of(headers: &'a HeaderMap) -> Self {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        Self {
            authorization: text(header::AUTHORIZATION),
            origin: text(header::ORIGIN),
            host: text(header::HOST),
            site: headers.get("sec-fetch-site").and_then(|value| value.to_str().ok()),
            ..Self::default()
        }
    }

    /// Of the bytes of a request; what is no header is left out.
    #[must_use]
    pub fn read(bytes: &'a [u8]) -> Self {
        let mut fields = [httparse::EMPTY_HEADER; 64];
        let mut request = httparse::Request::new(&mut fields);
        let mut head = Self::default();
        // An error leaves what was read before it.
        let _outcome = request.parse(bytes);
        for field in request.headers.iter().filter(|field| !field.name.is_empty()) {
            let place = match field.name.to_ascii_lowercase().as_str() {
                "authorization" => &mut head.authorization,
                "origin" => &mut head.origin,
                "host" => &mut head.host,
                "sec-fetch-site" => &mut head.site,
                "accept" => &mut head.accept,
                "upgrade" => &mut head.upgrade,
                "sec-websocket-key" => &mut head.websocket_key,
                "last-event-id" => &mut head.last_event,
                _ => continue,
            };
            *place = std::str::from_utf8(field.value).ok().map(str::trim);
        }
        head
    }

    /// The token in `Authorization`.
    #[must_use]
    pub fn bearer(&self) -> Option<&'a str> {
        let (scheme, token) = self.authorization?.trim().split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    }

    /// No browser asks, or it does for a page of this host or of one of these origins.
    pub(super) fn is_own_page(&self, origins: &[String]) -> bool {
        if self.origin.is_some_and(|origin| origins.iter().any(|allowed| allowed == origin)) {
            return true;
        }
        if self.site.is_some_and(|site| site.eq_ignore_ascii_case("cross-site")) {
            return false;
        }
        let name = |authority: &'a str| match authority.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
            _ => authority,
        };
        self.origin.is_none_or(|origin| {
            let page = origin.split_once("://").map(|(_, authority)| name(authority));
            page.is_some_and(|page| {
                self.host.is_some_and(|host| name(host).eq_ignore_ascii_case(page))
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_as_far_as_it_goes() {
        let head = Head::read(
            b"GET /events HTTP/1.1\r\nHost: recorder:59150\r\nAUTHORIZATION: bearer  abc \r\nLast-Event-ID: 7\r\n\r\n",
        );
        assert_eq!((head.bearer(), head.last_event), (Some("abc"), Some("7")));
        assert_eq!(Head::read(b"x HTTP\n"), Head::default());
        assert_eq!(Head::read(b"GET / HTTP/1.0\r\n\r\n"), Head::default());
        assert_eq!(Head::read(b"GET / HTTP/1.1\r\nHost: a\r\nbroken").host, Some("a"));
        assert_eq!(Head::read(b"GET / HTTP/1.1\r\nHost: \xff\r\n\r\n").host, None);
        let basic = Head { authorization: Some("Basic abc"), ..Head::default() };
        assert_eq!(basic.bearer(), None);
    }

    #[test]
    fn only_pages_of_this_host_ask() {
        let asks = |origin, site| Head {
            origin,
            host: Some("rec.example:59140"),
            site,
            ..Head::default()
        };
        let own = |head: Head<'_>| head.is_own_page(&["https://wall.example".to_owned()]);
        assert!(own(asks(None, None)), "a program");
        assert!(own(asks(None, Some("none"))) && own(asks(None, Some("same-site"))));
        assert!(own(asks(Some("http://rec.example:8080"), Some("same-site"))));
        assert!(own(asks(Some("https://REC.example"), None)));
        assert!(own(asks(Some("https://wall.example"), Some("cross-site"))));
        assert!(!own(asks(Some("https://evil.example"), None)));
        assert!(!own(asks(None, Some("cross-site"))), "an image");
        assert!(!own(asks(Some("null"), None)), "a file");
        assert!(!own(Head { origin: Some("http://a"), ..Head::default() }));
    }
}
