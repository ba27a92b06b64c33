//! Bodies with several parts (RFC 5621, RFC 2046 §5.1).

use super::{
    header::{Block, ContentType},
    text,
};

/// Parts within parts: deeper than any gateway nests them.
pub const MAX_DEPTH: usize = 3;

/// Parts of one body looked at.
pub const MAX_PARTS: usize = 16;

/// The session description in a body of that type: itself, or the first one in its parts.
#[must_use]
pub fn find_sdp<'a>(kind: Option<ContentType<'a>>, body: &'a [u8]) -> Option<&'a [u8]> {
    find_at_depth(kind, body, 0)
}

fn find_at_depth<'a>(
    kind: Option<ContentType<'a>>,
    body: &'a [u8],
    depth: usize,
) -> Option<&'a [u8]> {
    let Some(kind) = kind else {
        return body.trim_ascii_start().starts_with(b"v=0").then_some(body);
    };
    if kind.is("application", "sdp") {
        return (!body.trim_ascii().is_empty()).then_some(body);
    }
    if !kind.is("multipart", "*") || depth >= MAX_DEPTH {
        return None;
    }
    let parts = Parts::new(boundary(kind, body)?, body);
    parts.take(MAX_PARTS).find_map(|part| {
        let block = Block::read(part);
        let kind = block.first(b"Content-Type").map(|header| ContentType::parse(header.raw));
        find_at_depth(kind, block.body, depth + 1)
    })
}

/// The stated boundary, else what stands behind the first dashes.
fn boundary<'a>(kind: ContentType<'a>, body: &'a [u8]) -> Option<&'a [u8]> {
    let stated = kind.param("boundary").filter(|boundary| !boundary.is_empty());
    stated.or_else(|| {
        let line = body.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"--"))?;
        Some(line.trim_ascii_end()).filter(|boundary| !boundary.is_empty())
    })
}

/// The parts between the boundary lines; what precedes the first is no part.
struct Parts<'a> {
    /// Behind a boundary line; `None` behind the last.
    rest: Option<&'a [u8]>,
    boundary: &'a [u8],
}

impl<'a> Parts<'a> {
    fn new(boundary: &'a [u8], body: &'a [u8]) -> Self {
        let rest = next_boundary(boundary, body).map(|found| found.after);
        Self { rest, boundary }
    }
}

impl<'a> Iterator for Parts<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.rest.take()?;
        // Without a closing line the body was cut short; what is there may do.
        let Some(found) = next_boundary(self.boundary, rest) else { return Some(rest) };
        self.rest = (!found.last).then_some(found.after);
        Some(found.before)
    }
}

struct Found<'a> {
    before: &'a [u8],
    after: &'a [u8],
    last: bool,
}

fn next_boundary<'a>(boundary: &[u8], bytes: &'a [u8]) -> Option<Found<'a>> {
    let mut start = 0;
    while let Some(line) = bytes.get(start..).filter(|line| !line.is_empty()) {
        let end = text::find(b'\n', line).map_or(line.len(), |at| at + 1);
        let behind = line.strip_prefix(b"--").and_then(|line| line.strip_prefix(boundary));
        // The boundary may be how another, longer one begins.
        if let Some([] | [b'\r' | b'\n' | b' ' | b'\t' | b'-', ..]) = behind {
            return Some(Found {
                before: bytes.get(..start).unwrap_or_default(),
                after: line.get(end..).unwrap_or_default(),
                last: behind.is_some_and(|behind| behind.starts_with(b"--")),
            });
        }
        start += end;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::hint::black_box;

    fn check(kind: &str, body: &str, sdp: Option<&str>) {
        let kind = (!kind.is_empty()).then(|| ContentType::parse(kind.as_bytes()));
        let found = find_sdp(kind, body.as_bytes());
        assert_eq!(found.map(String::from_utf8_lossy).as_deref(), sdp);
    }

    #[test]
    fn a_plain_body_is_itself() {
        check("application/sdp", "v=0\r\n", Some("v=0\r\n"));
        check("Application/SDP;charset=utf-8", "v=0", Some("v=0"));
        check("", "\r\nv=0\r\n", Some("\r\nv=0\r\n"));
        check("", "hello", None);
        check("text/plain", "v=0", None);
        check("application/sdp", "", None);
    }

    #[test]
    fn the_sdp_part_is_found() {
        let body = "preamble\r\n--b\r\nContent-Type: text/plain\r\n\r\nhi\r\n--bb\r\n\
                    --b \r\nc: application/sdp\r\n\r\nv=0\r\n--b--\r\nepilogue";
        check("multipart/mixed;boundary=\"b\"", body, Some("v=0\r\n"));
        check("multipart/mixed", "--b\n\nv=0\n--b--", Some("v=0\n"));
        check("multipart/mixed;boundary=b", "--b\n\nv=0\ncut", Some("v=0\ncut"));
        check("multipart/mixed;boundary=b", "no boundary", None);
    }

    #[test]
    fn parts_nest_only_so_deep() {
        let mut body = "v=0\n".to_owned();
        let mut kind = "application/sdp".to_owned();
        for depth in 1..=MAX_DEPTH + 1 {
            body = format!("--b{depth}\nContent-Type: {kind}\n\n{body}--b{depth}--\n");
            kind = format!("multipart/mixed;boundary=b{depth}");
            check(&kind, &body, (depth <= MAX_DEPTH).then_some("v=0\n"));
        }
    }

    #[test]
    fn only_so_many_parts_are_looked_at() {
        let body = format!("{}--b\n\nv=0\n", "--b\nContent-Type: x/y\n\n".repeat(MAX_PARTS));
        check("multipart/mixed;boundary=b", &body, None);
    }

    proptest! {
        #[test]
        fn anything_is_survived(body in "[-b\r\n :v=0]{0,200}") {
            let kind = Some(ContentType::parse(b"multipart/mixed;boundary=b"));
            if let Some(found) = find_sdp(kind, body.as_bytes()) {
                prop_assert!(found.len() <= body.len());
            }
            black_box(find_sdp(Some(ContentType::parse(b"multipart/x")), body.as_bytes()));
        }
    }
}
