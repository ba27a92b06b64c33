//! Moments as people write them.

use jiff::{SignedDuration, Timestamp, civil, tz::TimeZone};

/// What [`read`] takes, for messages.
pub const FORMS: &str =
    "2026-11-21, 2026-11-21T10:00, 2026-11-21T10:00:00Z, 90s, 30m, 1h, 2d, 1w or Unix seconds";

/// Reads a moment as Unix seconds, never before 1970: a date or a time of day in `zone`, a time with
/// an offset, a length of time before `now`, or at least nine digits of Unix seconds.
#[must_use]
pub fn read(text: &str, now: Timestamp, zone: &TimeZone) -> Option<i64> {
    let text = text.trim();
    let moment = ago(text, now)
        .or_else(|| text.parse::<Timestamp>().ok())
        .or_else(|| on_the_calendar(text, zone))
        .or_else(|| unix(text))?;
    Some(moment.as_second().max(0))
}

/// A whole number and a unit: so long ago.
fn ago(text: &str, now: Timestamp) -> Option<Timestamp> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let seconds = match text.strip_prefix(digits)? {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        "w" => 604_800,
        _ => return None,
    };
    let number: u32 = digits.parse().ok()?;
    now.checked_sub(SignedDuration::from_secs(i64::from(number) * seconds)).ok()
}

fn on_the_calendar(text: &str, zone: &TimeZone) -> Option<Timestamp> {
    let plain = |c: char| c.is_ascii_digit() || "-:. T".contains(c);
    if !text.contains('-') || !text.chars().all(plain) {
        return None;
    }
    let moment: civil::DateTime = text.parse().ok()?;
    moment.to_zoned(zone.clone()).ok().map(|moment| moment.timestamp())
}

fn unix(text: &str) -> Option<Timestamp> {
    let digits = text.len() >= 9 && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten().and_then(|unix| Timestamp::from_second(unix).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_as_people_write_them() {
        let now = Timestamp::from_second(1_795_227_424).unwrap();
        let zone = TimeZone::fixed(jiff::tz::offset(1));
        let check = |text: &str| read(text, now, &zone).map(|unix| unix - 1_795_227_424);
        assert_eq!((check("0s"), check("1h"), check("2d")), (Some(0), Some(-3600), Some(-172_800)));
        assert_eq!((check("30m"), check("1w")), (Some(-1800), Some(-604_800)));
        assert_eq!(check("1795227425"), Some(1));
        // 02:17:04 UTC on the 21st of November 2026.
        assert_eq!(check("2026-11-21"), Some(-(2 * 3600 + 17 * 60 + 4) - 3600));
        assert_eq!(check("2026-11-21T03:17:05"), Some(1));
        assert_eq!(check("2026-11-21 03:17"), Some(-4));
        assert_eq!(check("2026-11-21T02:17:05Z"), Some(1));
        for wrong in
            ["", "h", "1y", "-1h", "2026", "2026-13-01", "yesterday-ish", "9999999999999999h"]
        {
            assert_eq!(check(wrong), None, "{wrong}");
        }
        assert_eq!(read("99999999h", now, &zone), Some(0));
    }
}
