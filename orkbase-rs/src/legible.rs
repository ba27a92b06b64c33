//! Texts of strangers in lines that people read: names must not end a line, hide what follows or steer a terminal.

use std::fmt::Write as _;

/// Whether a character is seen as what it is: neither a control character nor one that ends a line or turns the
/// direction of text (Unicode `Bidi_Control`, TR 36).
#[must_use]
pub fn is_legible(c: char) -> bool {
    !c.is_control()
        && !matches!(
            c,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        )
}

/// A line as it can be shown: what [is not legible](is_legible) stands as `\u{…}`, but for the newline at its end
/// and, where `colours` are wanted, the escapes that make them.
#[must_use]
pub fn line(text: &str, colours: bool) -> String {
    let (text, end) = text.strip_suffix('\n').map_or((text, ""), |text| (text, "\n"));
    let mut out = String::with_capacity(text.len() + 1);
    for c in text.chars() {
        if is_legible(c) || (colours && c == '\u{1b}') {
            out.push(c);
        } else {
            out.extend(c.escape_default());
        }
    }
    out.push_str(end);
    out
}

/// The same for JSON, in which it stays what it is.
#[must_use]
pub fn json(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_legible(c) {
            out.push(c);
        } else {
            // None of them is beyond the basic plane.
            let _fits = write!(out, "\\u{:04x}", u32::from(c));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ends_or_turns_a_line_is_shown() {
        let name = "a\r\n2026-01-01T00:00:00Z  INFO forged\0\u{85}\u{2028}\u{202e}gnp\u{1b}[2Jü 電";
        let shown = line(&format!("{name}\n"), false);
        assert_eq!(
            shown,
            "a\\r\\n2026-01-01T00:00:00Z  INFO forged\\u{0}\\u{85}\\u{2028}\\u{202e}gnp\\u{1b}[2Jü 電\n"
        );
        assert!(
            line("\u{1b}[32m INFO\u{1b}[0m a\rb\n", true)
                .starts_with("\u{1b}[32m INFO\u{1b}[0m a\\r")
        );
        assert!(json("{\"a\":\"\u{202e}\u{7f}\"}").contains("\\u202e\\u007f"));
        assert!(
            (0..=0x10_ffff)
                .filter_map(char::from_u32)
                .filter(|c| !is_legible(*c))
                .all(|c| { u32::from(c) < 0x1_0000 })
        );
    }
}
