//! The key that was probably meant.

/// Longer names are nobody's typing error, and comparing them would cost.
const COMPARED_BYTES: usize = 64;

/// The known key nearest to `wanted`, if any is near: few letters off, or in another section.
pub(super) fn nearest<'a>(wanted: &str, known: &[&'a str]) -> Option<&'a str> {
    if wanted.len() > COMPARED_BYTES {
        return None;
    }
    let last = |key: &str| plain(key.rsplit('.').next().unwrap_or(key));
    let (whole, name) = (plain(wanted), last(wanted));
    let tolerated = 1 + name.len() / 5;
    let scored = known.iter().map(|key| {
        let elsewhere = 1 + distance(&name, &last(key));
        (distance(&whole, &plain(key)).min(elsewhere), *key)
    });
    let best = scored.min_by_key(|(score, _)| *score);
    best.filter(|(score, _)| *score <= tolerated).map(|(_, key)| key)
}

/// As it is compared: small letters, and one kind of joint.
pub(super) fn plain(key: &str) -> String {
    key.to_ascii_lowercase().replace(['.', '-'], "_")
}

/// Levenshtein's distance in bytes.
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.bytes().enumerate() {
        let mut left = i + 1;
        let mut next = vec![left];
        for (b, above) in other.bytes().zip(row.windows(2)) {
            if let [diagonal, above] = above {
                let changed = diagonal + usize::from(a != b);
                left = changed.min(above + 1).min(left + 1);
            }
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (one, other, want) in
            [("", "", 0), ("", "ab", 2), ("ab", "", 2), ("kitten", "sitting", 3), ("ab", "ba", 2)]
        {
            assert_eq!(distance(one, other), want, "{one} {other}");
        }
    }

    #[test]
    fn near_is_near() {
        let known = ["listen", "log.level", "calls.max_calls", "calls.rtp_timeout_s"];
        for (wanted, want) in [
            ("lsiten", Some("listen")),
            ("Log-Level", Some("log.level")),
            ("level", Some("log.level")),
            ("tapes.max_calls", Some("calls.max_calls")),
            ("cals.max-call", Some("calls.max_calls")),
            ("calls.rtp_timeout_ms", Some("calls.rtp_timeout_s")),
            ("CALLS_RTP_TIMEOUT", Some("calls.rtp_timeout_s")),
            ("calls.nothing", None),
            ("nope", None),
            ("", None),
        ] {
            assert_eq!(nearest(wanted, &known), want, "{wanted}");
        }
        assert_eq!(nearest(&"listen".repeat(20), &known), None);
    }
}
