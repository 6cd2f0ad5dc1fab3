//! Billing periods of subscriptions.

use chrono::{DateTime, Days, Months, Utc};

/// Maximum number of periods to skip at once.
const STEPS_MAX: u32 = 10_000;

/// The end of the period that contains `now_s`: the first later time that is `anchor_s` plus whole intervals. Counting
/// from the anchor brings a 31st back after February.
pub(crate) fn period_end(anchor_s: i64, now_s: i64, interval: &str, count: i64) -> i64 {
    let each = u32::try_from(count.clamp(1, 1_200)).unwrap_or(1);
    let ends = (1..=STEPS_MAX).map(|step| add(anchor_s, interval, step * each));
    ends.into_iter().find(|end| *end > now_s).unwrap_or(now_s + 1)
}

fn add(anchor_s: i64, interval: &str, count: u32) -> i64 {
    let anchor: DateTime<Utc> = DateTime::from_timestamp(anchor_s, 0).unwrap_or_default();
    let end = match interval {
        "day" => anchor.checked_add_days(Days::new(u64::from(count))),
        "week" => anchor.checked_add_days(Days::new(u64::from(count) * 7)),
        "year" => anchor.checked_add_months(Months::new(count * 12)),
        _ => anchor.checked_add_months(Months::new(count)),
    };
    end.unwrap_or(anchor).timestamp()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> i64 {
        DateTime::parse_from_rfc3339(text).unwrap().timestamp()
    }

    #[test]
    fn monthly_periods_from_a_31st_return_to_the_31st() {
        let anchor = at("2026-01-31T10:00:00Z");
        let first = period_end(anchor, anchor, "month", 1);
        assert_eq!(first, at("2026-02-28T10:00:00Z"));
        assert_eq!(period_end(anchor, first, "month", 1), at("2026-03-31T10:00:00Z"));
    }

    #[test]
    fn periods_can_last_several_intervals() {
        let anchor = at("2026-01-01T00:00:00Z");
        assert_eq!(period_end(anchor, anchor, "week", 2), at("2026-01-15T00:00:00Z"));
        assert_eq!(period_end(anchor, at("2026-05-01T00:00:00Z"), "month", 3), at("2026-07-01T00:00:00Z"));
    }
}
