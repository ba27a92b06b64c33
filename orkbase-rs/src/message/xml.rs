//! The XML encoding: what the recorder's command port answers.
//!
//! Law: the declaration, then one element per field inside `response`, no white space between. Empty
//! values are `<key></key>`. CR and LF are character references; characters that XML 1.0 §2.2 does
//! not allow become U+FFFD.

use super::pairs::Fields;

/// What the document begins with, to the byte (observed).
pub const DECLARATION: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"no\" ?>";

/// The fields as a `response` document.
#[must_use]
pub fn encode(fields: &Fields) -> String {
    let mut out = String::with_capacity(256);
    out.push_str(DECLARATION);
    out.push_str("<response>");
    for (key, value) in fields.iter() {
        out.push('<');
        out.push_str(key);
        out.push('>');
        encode_text(value, &mut out);
        out.push_str("</");
        out.push_str(key);
        out.push('>');
    }
    out.push_str("</response>");
    out
}

fn encode_text(text: &str, out: &mut String) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\r' => out.push_str("&#13;"),
            '\n' => out.push_str("&#10;"),
            '\t' => out.push('\t'),
            '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            plain => out.push(plain),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Message, response::SimpleResponse};
    use proptest::prelude::*;

    #[test]
    fn replies_as_observed() {
        assert_eq!(
            encode(&SimpleResponse::bare(true).fields()),
            "<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"no\" ?>\
             <response><success>true</success></response>"
        );
        assert_eq!(
            encode(&SimpleResponse::done("").fields().with("version", "")),
            "<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"no\" ?>\
             <response><success>true</success><comment></comment><version></version></response>"
        );
    }

    proptest! {
        #[test]
        fn text_comes_back(text in any::<String>()) {
            let document = encode(&Fields::new().with("a", text.as_str()));
            prop_assert!(!document.contains(['\r', '\n', '\0']));
            let body = document
                .strip_prefix(DECLARATION).unwrap()
                .strip_prefix("<response><a>").unwrap()
                .strip_suffix("</a></response>").unwrap();
            prop_assert!(!body.contains(['<', '>']));
            let back = body.replace("&#13;", "\r").replace("&#10;", "\n")
                .replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
            let forbidden = |c: char| {
                (c < ' ' && !"\t\r\n".contains(c)) || c == '\u{fffe}' || c == '\u{ffff}'
            };
            prop_assert_eq!(back, text.replace(forbidden, "\u{fffd}"));
        }
    }
}
