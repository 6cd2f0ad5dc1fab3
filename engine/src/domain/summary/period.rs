//! The present period of a customer's figures.

use crate::clock::TimeMs;
use crate::domain::subscription::Subscription;
use chrono::{DateTime, Datelike, Months, NaiveDate, NaiveTime, Utc};

/// Maximum number of months between the present and Stripe's last reported end of a period: 100 years.
const MONTHS_MAX: u32 = 1_200;

/// The kind of a period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeriodKind {
    /// A month of the subscription, counted from the last paid period's end that Stripe reported.
    Subscription,
    /// A calendar month, in UTC.
    CalendarMonth,
}

impl PeriodKind {
    /// The name as shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Subscription => "subscription",
            Self::CalendarMonth => "calendar_month",
        }
    }
}

/// A time span; its end is exclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period {
    /// Its kind.
    pub kind: PeriodKind,
    /// Where it begins.
    pub start_ms: TimeMs,
    /// Where it ends.
    pub end_ms: TimeMs,
}

/// The period at a moment: for a customer with a plan by subscription, a month of the subscription; for others, a
/// calendar month. While a renewal is late, months continue from the last known end.
pub fn current(subscription: Option<&Subscription>, now_ms: TimeMs) -> Period {
    let giving = subscription.filter(|row| row.gives_plan().is_some());
    let anchor_ms = giving.and_then(|row| row.current_period_end_ms);
    anchor_ms.and_then(|anchor_ms| subscription_month(anchor_ms, now_ms)).unwrap_or_else(|| calendar_month(now_ms))
}

/// The month around `now_ms` with both ends whole months from `anchor_ms`. Each is counted from the anchor itself,
/// so that a period that ends on a 31st is shorter only in months without one.
fn subscription_month(anchor_ms: TimeMs, now_ms: TimeMs) -> Option<Period> {
    let anchor = DateTime::from_timestamp_millis(anchor_ms)?;
    let ahead = |months: u32| anchor.checked_add_months(Months::new(months)).map(|at| at.timestamp_millis());
    let behind = |months: u32| anchor.checked_sub_months(Months::new(months)).map(|at| at.timestamp_millis());
    let (start_ms, end_ms) = if anchor_ms <= now_ms {
        let months = (1..=MONTHS_MAX).find(|months| ahead(*months).is_some_and(|end_ms| end_ms > now_ms))?;
        (ahead(months - 1)?, ahead(months)?)
    } else {
        let months = (1..=MONTHS_MAX).find(|months| behind(*months).is_some_and(|start_ms| start_ms <= now_ms))?;
        (behind(months)?, behind(months - 1)?)
    };
    Some(Period { kind: PeriodKind::Subscription, start_ms, end_ms })
}

fn calendar_month(now_ms: TimeMs) -> Period {
    let now: DateTime<Utc> = DateTime::from_timestamp_millis(now_ms).unwrap_or_default();
    let first = NaiveDate::from_ymd_opt(now.year(), now.month(), 1).unwrap_or_default();
    let start = first.and_time(NaiveTime::MIN).and_utc();
    let end = start.checked_add_months(Months::new(1)).unwrap_or(start);
    Period { kind: PeriodKind::CalendarMonth, start_ms: start.timestamp_millis(), end_ms: end.timestamp_millis() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{parse_rfc3339, rfc3339};
    use crate::domain::webhook::fixtures::row;
    use proptest::prelude::*;

    fn ms(text: &str) -> TimeMs {
        parse_rfc3339(text).expect("a time")
    }

    fn paid_until(ends: &str) -> Subscription {
        Subscription { current_period_end_ms: Some(ms(ends)), ..row("active") }
    }

    fn words(period: Period) -> (PeriodKind, String, String) {
        let short = |at_ms| rfc3339(at_ms)[..16].to_owned();
        (period.kind, short(period.start_ms), short(period.end_ms))
    }

    fn expected(kind: PeriodKind, start: &str, end: &str) -> (PeriodKind, String, String) {
        (kind, start.to_owned(), end.to_owned())
    }

    #[test]
    fn a_subscription_has_the_month_that_ends_with_the_paid_period() {
        let period = current(Some(&paid_until("2026-12-22T08:30:00Z")), ms("2026-12-01T00:00:00Z"));
        assert_eq!(words(period), expected(PeriodKind::Subscription, "2026-11-22T08:30", "2026-12-22T08:30"));
    }

    #[test]
    fn while_a_renewal_is_late_the_months_go_on() {
        let period = current(Some(&paid_until("2026-10-31T08:00:00Z")), ms("2026-12-24T00:00:00Z"));
        assert_eq!(words(period), expected(PeriodKind::Subscription, "2026-11-30T08:00", "2026-12-31T08:00"));
    }

    #[test]
    fn the_moment_of_renewal_belongs_to_the_new_period() {
        let period = current(Some(&paid_until("2026-12-22T08:00:00Z")), ms("2026-12-22T08:00:00Z"));
        assert_eq!(words(period), expected(PeriodKind::Subscription, "2026-12-22T08:00", "2027-01-22T08:00"));
    }

    #[test]
    fn everybody_else_has_the_month_of_the_calendar() {
        let december = expected(PeriodKind::CalendarMonth, "2026-12-01T00:00", "2027-01-01T00:00");
        let now_ms = ms("2026-12-31T23:59:59.999Z");
        assert_eq!(words(current(None, now_ms)), december);
        let ended = Subscription { ended_at_ms: Some(1), ..paid_until("2026-12-22T08:30:00Z") };
        assert_eq!(words(current(Some(&ended), now_ms)), december);
        let silent = Subscription { current_period_end_ms: None, ..row("active") };
        assert_eq!(words(current(Some(&silent), now_ms)), december);
    }

    proptest! {
        #[test]
        fn every_moment_is_in_its_period_and_periods_touch(
            now_ms in 1_600_000_000_000_i64..2_000_000_000_000,
            anchor_ms in 1_600_000_000_000_i64..2_000_000_000_000,
        ) {
            let row = Subscription { current_period_end_ms: Some(anchor_ms), ..row("active") };
            for subscription in [Some(&row), None] {
                let period = current(subscription, now_ms);
                prop_assert!(period.start_ms <= now_ms && now_ms < period.end_ms);
                prop_assert_eq!(current(subscription, period.end_ms).start_ms, period.end_ms);
                prop_assert_eq!(current(subscription, period.start_ms - 1).end_ms, period.start_ms);
            }
        }
    }
}
