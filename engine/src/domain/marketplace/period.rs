//! Which months of a plan were paid, and which is granted next. GitHub reports purchases, changes and cancellations
//! but no renewals, so this module counts the months.
//!
//! * A **span** is a time for which a plan is paid. A change ends the span before it and begins one if a plan that is
//!   bought is in force afterwards. Changes to a plan that the configuration does not know have no effect.
//! * A **period** is a month of a span. It ends on the billing date or its next monthly return. Its credits are
//!   granted once, even if the span ends within it.
//! * A period that an event of its day reports is granted at once. All other periods are **renewals**, which no
//!   event reports. GitHub ends a purchase on the first day of a billing cycle and reports it during that day. So a
//!   renewal is granted only after the span has continued for a grace (`marketplace.renewal_grace_hours`).
//! * Periods are granted in order, each once: the next begins at the end of the last, or with the next span if that
//!   is later. A period reported after a later one was granted brings nothing. A period brings the credits of the
//!   plan that is in force when it begins.
//!
//! | case | what follows |
//! |---|---|
//! | linked late | every period that has begun is granted, in order |
//! | other units, another paid plan | a new span; a granted period continues, the next has the new credits |
//! | paid by the year | twelve periods |
//! | free trial | the span begins at the end of the trial, as a renewal, or with a report that the plan is paid |
//! | cancellation or downgrade on the day of a renewal | that period is not granted, unless the report came after the grace |
//! | cancellation, later a new purchase | no span covers the time between |
//! | new purchase within a granted period | the next period begins at the end of that one |

use super::{News, Reporter};
use crate::clock::TimeMs;
use chrono::{DateTime, Datelike, Months, NaiveDate, Utc};

/// Duration of a free trial, for events that do not give its end.
/// Source: GitHub, "Pricing plans for GitHub Marketplace apps".
const FREE_TRIAL_MS: i64 = 14 * 24 * 60 * 60 * 1_000;

/// A time for which a plan is paid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaidSpan<'a> {
    /// The change that began it, with the plan and the units that are paid.
    pub news: &'a News,
    /// When it begins.
    pub from_ms: TimeMs,
    /// When it ends; `None` while it lasts.
    pub until_ms: Option<TimeMs>,
    /// A billing date; periods end on its day of the month.
    pub billing_ms: Option<TimeMs>,
    /// Whether an event of its first day reports its beginning.
    pub is_reported: bool,
}

impl<'a> PaidSpan<'a> {
    /// The remainder of the span after a time.
    pub fn after(&self, at_ms: Option<TimeMs>) -> Option<Self> {
        let from_ms = at_ms.map_or(self.from_ms, |at_ms| self.from_ms.max(at_ms));
        let is_reported = self.is_reported && from_ms == self.from_ms;
        self.until_ms.is_none_or(|until_ms| from_ms < until_ms).then(|| Self { from_ms, is_reported, ..self.clone() })
    }

    /// The first period; `None` if that is a renewal and the span ends within the grace.
    pub fn first_period(&self, grace_ms: TimeMs) -> Option<Period<'a>> {
        let due_ms = if self.is_reported { self.from_ms } else { self.from_ms.saturating_add(grace_ms) };
        let counts = self.until_ms.is_none_or(|until_ms| due_ms <= until_ms);
        let until_ms = period_end(self.from_ms, self.billing_ms);
        counts.then_some(Period { news: self.news, from_ms: self.from_ms, until_ms, due_ms })
    }
}

/// A month of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period<'a> {
    /// The change that says which plan and how many units are paid.
    pub news: &'a News,
    /// When it begins.
    pub from_ms: TimeMs,
    /// When it ends.
    pub until_ms: TimeMs,
    /// When its credits become due.
    pub due_ms: TimeMs,
}

/// The spans of an ordered list of changes; only the last may lack an end. `gives` says whether a plan that is bought
/// is in force after a change.
pub fn paid_spans<'a>(ordered: &[&'a News], gives: impl Fn(&News) -> bool) -> Vec<PaidSpan<'a>> {
    let mut spans: Vec<PaidSpan<'a>> = Vec::new();
    let (mut is_paid, mut billing_ms, mut at_ms) = (false, None, TimeMs::MIN);
    for news in ordered.iter().copied().filter(|news| news.is_usable()) {
        at_ms = at_ms.max(news.at_ms);
        billing_ms = news.next_billing_ms.or(billing_ms);
        if let Some(last) = spans.last_mut() {
            last.until_ms = Some(last.until_ms.map_or(at_ms, |until_ms| until_ms.min(at_ms)));
        }
        let is_given = gives(news);
        if is_given {
            let from_ms = if is_paid { at_ms } else { at_ms.max(paid_from_ms(news)) };
            let is_reported = from_ms == at_ms && news.reporter != Reporter::Announcement;
            spans.push(PaidSpan { news, from_ms, until_ms: None, billing_ms, is_reported });
        }
        is_paid = is_given && !news.on_free_trial;
    }
    spans.retain(|span| span.until_ms.is_none_or(|until_ms| span.from_ms < until_ms));
    spans
}

/// When a purchase begins to be paid.
fn paid_from_ms(news: &News) -> TimeMs {
    if !news.on_free_trial {
        return news.at_ms;
    }
    let ends_ms = news.free_trial_ends_ms.or(news.next_billing_ms);
    ends_ms.unwrap_or(news.at_ms.saturating_add(FREE_TRIAL_MS))
}

/// The end of the period that begins at `from_ms`: the next monthly return of the billing date. Months without that
/// day use their last one.
fn period_end(from_ms: TimeMs, billing_ms: Option<TimeMs>) -> TimeMs {
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

/// The UTC day of a time, as in the keys of grants: `2026-10-25`.
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
    use crate::domain::github::Action;
    use crate::domain::marketplace::ListingPlan;
    use crate::key::PlanKey;

    fn at(text: &str) -> TimeMs {
        DateTime::parse_from_rfc3339(&format!("{text}T00:00:00Z")).expect("a date").timestamp_millis()
    }

    fn purchase(at_ms: TimeMs, next_billing_ms: Option<TimeMs>) -> News {
        News {
            id: "evt_1".to_owned(),
            arrival: 1,
            reporter: Reporter::Github,
            action: Action::Purchased,
            at_ms,
            plan: ListingPlan { id: 435, name: "Pro".to_owned(), plan: Some(PlanKey::trusted("pro")) },
            previous_plan_id: None,
            billing_cycle: Some("monthly".to_owned()),
            unit_count: 1,
            on_free_trial: false,
            free_trial_ends_ms: None,
            next_billing_ms,
        }
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

    #[test]
    fn a_free_trial_is_paid_from_its_end_on() {
        let mut news = purchase(at("2026-10-25"), Some(at("2026-11-05")));
        let paid_from = |news: &News| day(paid_spans(&[news], News::is_in_force)[0].from_ms);
        assert_eq!(paid_from(&news), "2026-10-25");
        news.on_free_trial = true;
        assert_eq!(paid_from(&news), "2026-11-05", "the next billing date, if the end is not told");
        news.free_trial_ends_ms = Some(at("2026-11-08"));
        assert_eq!(paid_from(&news), "2026-11-08");
        (news.free_trial_ends_ms, news.next_billing_ms) = (None, None);
        assert_eq!(paid_from(&news), "2026-11-08");
    }

    proptest::proptest! {
        #[test]
        fn a_free_trial_of_any_time_is_paid_from_some_time_on(at_ms: i64, ends_ms: Option<i64>) {
            let mut news = purchase(at_ms, ends_ms);
            news.on_free_trial = true;
            proptest::prop_assert!(paid_spans(&[&news], News::is_in_force)[0].from_ms >= at_ms);
        }

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
