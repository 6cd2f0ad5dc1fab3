//! Paid periods: GitHub tells when a purchase begins and when it is billed next, and then nothing
//! until something changes. So the periods between are counted here.

use crate::clock::TimeMs;
use chrono::{DateTime, Datelike, Months, NaiveDate, Utc};

/// When the period that begins at `from_ms` ends: at the next monthly return of the billing date.
///
/// A year that is paid at once is twelve periods too: price and credits of Pro are stated for a month.
/// Months that lack the billing date's day use their last one.
pub fn period_end(from_ms: TimeMs, billing_ms: Option<TimeMs>) -> TimeMs {
    let from = date(from_ms);
    let billing = date(billing_ms.unwrap_or(from_ms));
    let months = |day: NaiveDate| i64::from(day.year()) * 12 + i64::from(day.month0());
    let apart = months(from) - months(billing);
    let mut ends = shift(billing, apart);
    if ends <= from {
        ends = shift(billing, apart + 1);
    }
    ends.and_time(chrono::NaiveTime::MIN).and_utc().timestamp_millis().max(from_ms + 1)
}

/// The day of a time in UTC, as it stands in the keys of grants: `2026-10-25`.
pub fn day(at_ms: TimeMs) -> String {
    date(at_ms).to_string()
}

fn date(at_ms: TimeMs) -> NaiveDate {
    DateTime::<Utc>::from_timestamp_millis(at_ms).unwrap_or_default().date_naive()
}

fn shift(day: NaiveDate, months: i64) -> NaiveDate {
    let by = Months::new(u32::try_from(months.unsigned_abs()).unwrap_or(u32::MAX));
    let shifted = if months < 0 { day.checked_sub_months(by) } else { day.checked_add_months(by) };
    // Only for dates beyond the calendar; such a period never ends.
    shifted.unwrap_or(NaiveDate::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> TimeMs {
        DateTime::parse_from_rfc3339(&format!("{text}T00:00:00Z")).expect("a date").timestamp_millis()
    }

    fn end(from: &str, billing: &str) -> String {
        day(period_end(at(from), Some(at(billing))))
    }

    #[test]
    fn the_first_period_ends_with_the_billing_date_and_each_later_one_a_month_after() {
        assert_eq!(end("2026-10-25", "2026-11-05"), "2026-11-05");
        assert_eq!(end("2026-11-05", "2026-11-05"), "2026-12-05");
        assert_eq!(end("2026-12-05", "2026-11-05"), "2027-01-05");
    }

    #[test]
    fn a_year_is_twelve_periods() {
        let mut from = "2026-10-25".to_owned();
        for _ in 0..12 {
            from = end(&from, "2027-10-25");
        }
        assert_eq!(from, "2027-10-25");
    }

    #[test]
    fn a_billing_date_at_the_end_of_a_month_does_not_drift() {
        assert_eq!(end("2027-01-31", "2027-01-31"), "2027-02-28");
        assert_eq!(end("2027-02-28", "2027-01-31"), "2027-03-31");
    }

    #[test]
    fn without_a_billing_date_a_period_is_a_month() {
        assert_eq!(day(period_end(at("2026-10-25"), None)), "2026-11-25");
    }

    proptest::proptest! {
        #[test]
        fn a_period_ends_after_it_begins(from: i64, billing: Option<i64>) {
            let from = from / 2;
            proptest::prop_assert!(period_end(from, billing) > from);
        }

        #[test]
        fn a_period_of_this_century_is_no_longer_than_a_month(from in 946_684_800_000_i64..4_102_444_800_000, billing in 946_684_800_000_i64..4_102_444_800_000) {
            proptest::prop_assert!(period_end(from, Some(billing)) - from <= 31 * 86_400_000);
        }
    }
}
