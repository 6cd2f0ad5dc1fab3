//! `--since`: a time, a day, or a span before now.

use bursar_engine::clock::{Clock, TimeMs, parse_day, parse_rfc3339, rfc3339};

/// Units of a span, and their lengths in milliseconds.
const UNITS: [(char, i64); 4] = [('m', 60_000), ('h', 3_600_000), ('d', 86_400_000), ('w', 7 * 86_400_000)];

/// Parses `2026-12-01T00:00:00Z`, `2026-12-01` (in UTC), or a span before now such as `90m`, `24h`, `7d` or `2w`.
/// Returns the time in RFC 3339.
pub fn parse(text: &str) -> Result<String, String> {
    parse_at(text, Clock::System.now_ms()).map(rfc3339).ok_or_else(|| {
        "give a span before now such as 90m, 24h or 7d, a day such as 2026-11-05, or a time such as \
         2026-11-05T08:00:00Z"
            .to_owned()
    })
}

fn parse_at(text: &str, now_ms: TimeMs) -> Option<TimeMs> {
    if let Some(at_ms) = parse_rfc3339(text).or_else(|| parse_day(text)) {
        return Some(at_ms);
    }
    let (unit, length_ms) = UNITS.into_iter().find(|(unit, _)| text.ends_with(*unit))?;
    let number = text.strip_suffix(unit)?;
    // A sign would be a time in the future.
    let count: i64 = number.bytes().all(|byte| byte.is_ascii_digit()).then(|| number.parse().ok())??;
    now_ms.checked_sub(count.checked_mul(length_ms)?).filter(|at_ms| *at_ms >= 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: TimeMs = 1_800_000_000_000;

    #[test]
    fn a_span_counts_back_from_now() {
        for (text, back_ms) in [("0m", 0), ("90m", 5_400_000), ("24h", 86_400_000), ("7d", 604_800_000)] {
            assert_eq!(parse_at(text, NOW_MS), Some(NOW_MS - back_ms), "{text}");
        }
        assert_eq!(parse_at("2w", NOW_MS), parse_at("14d", NOW_MS));
    }

    #[test]
    fn a_day_and_a_time_stand_for_themselves() {
        assert_eq!(parse_at("2026-11-05", NOW_MS), parse_rfc3339("2026-11-05T00:00:00Z"));
        assert_eq!(parse_at("2026-11-05T08:00:00Z", NOW_MS), parse_rfc3339("2026-11-05T08:00:00Z"));
        assert_eq!(parse("2026-11-05T10:00:00+02:00").expect("valid"), "2026-11-05T08:00:00.000Z");
    }

    #[test]
    fn what_is_neither_is_refused() {
        for text in
            ["", "d", "-7d", "+7d", "7", "7 d", "soon", "7y", "1.5h", "99999999999999999999d", "9999999w", "2026-13-01"]
        {
            assert_eq!(parse_at(text, NOW_MS), None, "{text}");
        }
    }
}
