//! The bytes SIP and SDP are written in: finding, cutting, counting, cleaning.

/// Longest text handed out, in characters: names, numbers, hosts.
pub(super) const MAX_TEXT: usize = 256;

/// The place of the first `wanted`; eight bytes at a time, for this is where a parser's time goes.
pub(super) fn find(wanted: u8, bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    let pattern = u64::from(wanted).wrapping_mul(ONES);
    let (words, tail) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let difference = u64::from_le_bytes(*word) ^ pattern;
        let zeros = difference.wrapping_sub(ONES) & !difference & HIGHS;
        if zeros != 0 {
            return word.iter().position(|byte| *byte == wanted).map(|at| index * 8 + at);
        }
    }
    tail.iter().position(|byte| *byte == wanted).map(|at| words.len() * 8 + at)
}

/// What is before the first `separator` and, if there is one, what is after it.
pub(super) fn cut(separator: u8, bytes: &[u8]) -> (&[u8], Option<&[u8]>) {
    cut_any(|byte| byte == separator, bytes)
}

/// [`cut`] at the first byte that `separates`.
pub(super) fn cut_any(separates: impl Fn(u8) -> bool, bytes: &[u8]) -> (&[u8], Option<&[u8]>) {
    match bytes.iter().position(|byte| separates(*byte)) {
        Some(at) => {
            let (before, after) = bytes.split_at(at);
            (before, after.get(1..))
        }
        None => (bytes, None),
    }
}

/// The first word and the rest, both trimmed.
pub(super) fn word(bytes: &[u8]) -> (&[u8], &[u8]) {
    let (word, rest) = cut_any(|byte| byte.is_ascii_whitespace(), bytes.trim_ascii());
    (word, rest.unwrap_or_default().trim_ascii_start())
}

/// `bytes` without the given beginning, in any case of letters.
pub(super) fn strip_prefix<'a>(prefix: &[u8], bytes: &'a [u8]) -> Option<&'a [u8]> {
    let (head, rest) = bytes.split_at_checked(prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then_some(rest)
}

/// A number of decimal digits and nothing else.
pub(super) fn decimal<T: TryFrom<u64>>(bytes: &[u8]) -> Option<T> {
    let (number, rest) = leading_decimal(bytes)?;
    if rest.is_empty() { T::try_from(number).ok() } else { None }
}

/// The decimal digits that `bytes` begin with, and what follows them.
pub(super) fn leading_decimal(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let digits = bytes.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(bytes.len());
    let (digits, rest) = bytes.split_at_checked(digits)?;
    let (first, others) = digits.split_first()?;
    let number = others.iter().try_fold(u64::from(first - b'0'), |number, digit| {
        number.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
    })?;
    Some((number, rest))
}

/// Text for people and files: lossy UTF-8, no control characters, trimmed, at most `max` characters.
pub(super) fn clean(bytes: &[u8], max: usize) -> String {
    let bytes = bytes.trim_ascii();
    if bytes.len() <= max
        && bytes.iter().all(|byte| matches!(byte, b' '..=b'~'))
        && let Ok(text) = str::from_utf8(bytes)
    {
        return text.to_owned();
    }
    // Four bytes make at most one character, so this many suffice for `max` of them.
    let enough = bytes.get(..max.saturating_mul(4)).unwrap_or(bytes);
    let text: String = String::from_utf8_lossy(enough)
        .chars()
        .filter(|character| !character.is_control())
        .take(max)
        .collect();
    text.trim().to_owned()
}

/// `%41` as `A`; what is not an escape stays as it is.
pub(super) fn percent_decode(bytes: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first == b'%'
            && let Some(([high, low], after)) = after.split_first_chunk::<2>()
            && let (Some(high), Some(low)) = (hex(*high), hex(*low))
        {
            decoded.push(high << 4 | low);
            rest = after;
        } else {
            decoded.push(*first);
        }
    }
    decoded
}

const fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// A quoted string at the start: what is inside the quotes, still escaped, and what follows them.
/// `None` when it does not begin with a quote or the quote is never closed.
pub(super) fn quoted(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (b'"', inside) = bytes.split_first()? else { return None };
    let mut escaped = false;
    let end = inside.iter().position(|byte| {
        let closes = *byte == b'"' && !escaped;
        escaped = *byte == b'\\' && !escaped;
        closes
    })?;
    let (text, after) = inside.split_at_checked(end)?;
    Some((text, after.get(1..)?))
}

/// The inside of a quoted string with `\"` as `"`.
pub(super) fn unescape(bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(bytes.len());
    let mut escaped = false;
    for byte in bytes {
        escaped = *byte == b'\\' && !escaped;
        if !escaped {
            plain.push(*byte);
        }
    }
    plain
}

/// The items of a separated list; separators inside quotes and inside `<>` do not count.
#[derive(Clone, Debug)]
pub(super) struct Items<'a> {
    rest: Option<&'a [u8]>,
    separator: u8,
}

impl<'a> Items<'a> {
    pub(super) const fn new(separator: u8, bytes: &'a [u8]) -> Self {
        Self { rest: Some(bytes), separator }
    }
}

impl<'a> Iterator for Items<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let bytes = self.rest.take()?;
        let (mut quote, mut angle, mut escaped) = (false, false, false);
        let end = bytes.iter().position(|byte| {
            let skip = escaped;
            escaped = quote && *byte == b'\\' && !skip;
            match byte {
                b'"' if !angle && !skip => quote = !quote,
                b'<' if !quote => angle = true,
                b'>' if !quote => angle = false,
                byte => return *byte == self.separator && !quote && !angle,
            }
            false
        });
        let Some(end) = end else { return Some(bytes.trim_ascii()) };
        let (item, after) = bytes.split_at(end);
        self.rest = after.get(1..);
        Some(item.trim_ascii())
    }
}

/// The value of `name` in `;name=value` parameters: quotes removed, empty when it has none.
pub(super) fn param<'a>(name: &str, params: &'a [u8]) -> Option<&'a [u8]> {
    Items::new(b';', params).find_map(|item| {
        let (key, value) = cut(b'=', item);
        if !key.trim_ascii_end().eq_ignore_ascii_case(name.as_bytes()) {
            return None;
        }
        let value = value.unwrap_or_default().trim_ascii();
        Some(quoted(value).map_or(value, |(inside, _)| inside))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::hint::black_box;

    #[test]
    fn items_keep_quotes_and_brackets_together() {
        let list = br#""A, \"B," <sip:a,b@c>;x=1, sip:d@e ,<sip:f,g>"#;
        let items: Vec<_> = Items::new(b',', list).collect();
        assert_eq!(items, [&br#""A, \"B," <sip:a,b@c>;x=1"#[..], b"sip:d@e", b"<sip:f,g>"]);
    }

    #[test]
    fn numbers_are_whole_or_nothing() {
        assert_eq!(decimal::<u16>(b"65535"), Some(65535));
        assert_eq!(decimal::<u16>(b"65536"), None);
        assert_eq!(decimal::<u32>(b"-1"), None);
        assert_eq!(decimal::<u32>(b""), None);
        assert_eq!(decimal::<u64>(b"99999999999999999999999"), None);
    }

    #[test]
    fn text_is_clean() {
        assert_eq!(clean(b" a\x00\r\n b\xff ", 256), "a b\u{fffd}");
        assert_eq!(clean("\u{e9}".repeat(300).as_bytes(), 256).chars().count(), 256);
        assert_eq!(percent_decode(b"%41%zz%4"), b"A%zz%4");
        assert_eq!(unescape(br#"a\"b\\c"#), br#"a"b\c"#);
    }

    proptest! {
        #[test]
        fn find_is_position(bytes in prop::collection::vec(0u8..4, 0..80), wanted in 0u8..4) {
            prop_assert_eq!(find(wanted, &bytes), bytes.iter().position(|byte| *byte == wanted));
        }

        #[test]
        fn anything_is_survived(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(clean(&bytes, 16).chars().count() <= 16);
            prop_assert!(percent_decode(&bytes).len() <= bytes.len());
            prop_assert!(Items::new(b',', &bytes).count() <= bytes.len() + 1);
            black_box(param("x", &bytes));
        }
    }
}
