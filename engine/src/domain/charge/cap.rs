//! Spend caps: how much a customer may be charged a day and a month, in UTC. Subscriptions do not count.
//!
//! A cap is a number of units of money and holds in each currency by itself: what is charged in a currency counts
//! against the same number in that currency. So no currency is without a cap, a cap of 0 forbids every charge, and
//! another currency of the catalogue loosens no cap.

use crate::amount::MoneyMinor;
use crate::clock::TimeMs;
use crate::domain::catalogue::currency::Currency;
use crate::domain::catalogue::{Catalogue, Plan};
use crate::key::PlanKey;
use chrono::{DateTime, Datelike, Days, Months, NaiveDate, NaiveTime, Utc};

/// The time span of a cap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Span {
    /// A calendar day in UTC.
    Day,
    /// A calendar month in UTC.
    Month,
}

impl Span {
    /// `day` or `month`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Month => "month",
        }
    }

    /// Where the span around this moment begins, and the next one.
    pub fn around(self, now_ms: TimeMs) -> (TimeMs, TimeMs) {
        let today = DateTime::<Utc>::from_timestamp_millis(now_ms).unwrap_or_default().date_naive();
        let (first, next) = match self {
            Self::Day => (today, today.checked_add_days(Days::new(1))),
            Self::Month => {
                let first = NaiveDate::from_ymd_opt(today.year(), today.month(), 1).unwrap_or(today);
                (first, first.checked_add_months(Months::new(1)))
            }
        };
        let ms = |date: NaiveDate| date.and_time(NaiveTime::MIN).and_utc().timestamp_millis();
        (ms(first), next.map_or(TimeMs::MAX, ms))
    }
}

/// An amount for each span.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PerSpan<T> {
    /// Of a day.
    pub day: T,
    /// Of a month.
    pub month: T,
}

impl<T: Copy> PerSpan<T> {
    /// That of a span.
    pub fn get(&self, span: Span) -> T {
        match span {
            Span::Day => self.day,
            Span::Month => self.month,
        }
    }
}

impl PerSpan<Option<MoneyMinor>> {
    /// The same numbers in another currency.
    #[must_use]
    pub fn same_numbers(self, of: &Currency, to: &Currency) -> Self {
        let read = |cap: Option<MoneyMinor>| cap.map(|cap| to.same_number(cap, of));
        Self { day: read(self.day), month: read(self.month) }
    }
}

/// The caps that were set for one customer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CustomerCaps {
    /// The currency in which the numbers are written. They hold in every other one, too.
    pub currency: Currency,
    /// Set by the customer. They only lower.
    pub own: PerSpan<Option<MoneyMinor>>,
    /// Set by staff, in place of the plan's.
    pub staff: PerSpan<Option<MoneyMinor>>,
}

/// The caps that apply to a customer, in one currency.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpendCaps {
    /// Those of the plan; `None` for no cap.
    pub plan: PerSpan<Option<MoneyMinor>>,
    /// Those that staff set in place of the plan's.
    pub staff: PerSpan<Option<MoneyMinor>>,
    /// The customer's own, lower ones.
    pub own: PerSpan<Option<MoneyMinor>>,
}

/// A charge that a cap forbids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OverCap {
    /// The cap's span.
    pub span: Span,
    /// The cap.
    pub cap: MoneyMinor,
    /// What is left of it.
    pub left: MoneyMinor,
    /// Whether the customer set it.
    pub is_own: bool,
    /// When it starts anew.
    pub until_ms: TimeMs,
}

impl OverCap {
    /// Whether the cap would forbid a charge of this amount even if nothing had been charged yet.
    pub fn forbids_always(&self, amount: MoneyMinor) -> bool {
        amount > self.cap
    }
}

impl SpendCaps {
    /// The caps of a customer on a plan, for charges in a currency.
    pub fn of(plan: &PlanKey, set: Option<&CustomerCaps>, catalogue: &Catalogue, currency: &Currency) -> Self {
        let read = |caps: PerSpan<Option<MoneyMinor>>, of: &Currency| caps.same_numbers(of, currency);
        let (staff, own) =
            set.map(|set| (read(set.staff, &set.currency), read(set.own, &set.currency))).unwrap_or_default();
        Self { plan: read(plan_caps(catalogue.plan(plan), &catalogue.currency), &catalogue.currency), staff, own }
    }

    /// What staff or the plan allow at most in a span; `None` for no cap.
    pub fn highest(&self, span: Span) -> Option<MoneyMinor> {
        self.staff.get(span).or(self.plan.get(span))
    }

    /// The cap that counts in a span: the lower one.
    pub fn effective(&self, span: Span) -> Option<MoneyMinor> {
        [self.highest(span), self.own.get(span)].into_iter().flatten().min()
    }

    /// The caps that a charge would exceed, after what was charged in the present day and month. The month comes first:
    /// tomorrow would not help.
    pub fn exceeded_by(
        &self,
        amount: MoneyMinor,
        charged: PerSpan<MoneyMinor>,
        now_ms: TimeMs,
    ) -> impl Iterator<Item = OverCap> {
        [Span::Month, Span::Day].into_iter().filter_map(move |span| {
            let cap = self.effective(span)?;
            let left = (cap - charged.get(span)).max(MoneyMinor::ZERO);
            let is_own = self.own.get(span) == Some(cap) && self.highest(span) != Some(cap);
            (amount > left).then(|| OverCap { span, cap, left, is_own, until_ms: span.around(now_ms).1 })
        })
    }
}

/// The caps of a plan: those of the catalogue, else the currency's default of a month.
fn plan_caps(plan: Option<&Plan>, currency: &Currency) -> PerSpan<Option<MoneyMinor>> {
    let month = plan.and_then(|plan| plan.spend_cap_month).unwrap_or_else(|| currency.spend_cap_month_default());
    PerSpan { day: plan.and_then(|plan| plan.spend_cap_day), month: Some(month) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{parse_rfc3339, rfc3339};

    fn caps(highest: (Option<i64>, Option<i64>), own: (Option<i64>, Option<i64>)) -> SpendCaps {
        let per = |(day, month): (Option<i64>, Option<i64>)| PerSpan {
            day: day.map(MoneyMinor),
            month: month.map(MoneyMinor),
        };
        SpendCaps { plan: per(highest), staff: PerSpan::default(), own: per(own) }
    }

    #[test]
    fn spans_are_calendar_days_and_months_in_utc() {
        let at_ms = parse_rfc3339("2028-02-29T23:59:59.999Z").expect("a time");
        let words = |span: Span| {
            let (from_ms, until_ms) = span.around(at_ms);
            (rfc3339(from_ms)[..10].to_owned(), rfc3339(until_ms)[..10].to_owned())
        };
        assert_eq!(words(Span::Day), ("2028-02-29".to_owned(), "2028-03-01".to_owned()));
        assert_eq!(words(Span::Month), ("2028-02-01".to_owned(), "2028-03-01".to_owned()));
    }

    #[test]
    fn a_charge_may_reach_a_cap_and_not_exceed_it() {
        let charged = PerSpan { day: MoneyMinor(50), month: MoneyMinor(900) };
        let over = |caps: &SpendCaps, amount: i64| {
            let over = caps.exceeded_by(MoneyMinor(amount), charged, 0).next()?;
            Some((over.span, over.cap.0, over.left.0, over.is_own))
        };
        let staff = caps((None, Some(1_000)), (None, None));
        assert_eq!(over(&staff, 100), None);
        assert_eq!(over(&staff, 101), Some((Span::Month, 1_000, 100, false)));
        let own = caps((None, Some(1_000)), (Some(60), Some(800)));
        assert_eq!(over(&own, 1), Some((Span::Month, 800, 0, true)), "it was lowered below what was charged");
        let daily = caps((Some(100), Some(1_000)), (Some(60), None));
        assert_eq!(over(&daily, 10), None);
        assert_eq!(over(&daily, 11), Some((Span::Day, 60, 10, true)));
        assert_eq!(over(&caps((None, None), (None, None)), i64::MAX), None);
    }

    #[test]
    fn a_cap_that_the_amount_alone_exceeds_forbids_it_always() {
        let caps = caps((Some(60), Some(1_000)), (None, None));
        let charged = PerSpan { day: MoneyMinor(50), month: MoneyMinor(990) };
        let over = |amount: i64| {
            let all = caps.exceeded_by(MoneyMinor(amount), charged, 0);
            all.map(|over| (over.span, over.forbids_always(MoneyMinor(amount)))).collect::<Vec<_>>()
        };
        assert_eq!(over(10), []);
        assert_eq!(over(60), [(Span::Month, false), (Span::Day, false)]);
        assert_eq!(over(61), [(Span::Month, false), (Span::Day, true)]);
    }

    /// The day's and the month's cap that count in a currency.
    fn in_force(catalogue: &Catalogue, set: Option<&CustomerCaps>, code: &str) -> (Option<i64>, Option<i64>) {
        let currency = Currency::parse(code).expect("a currency");
        let caps = SpendCaps::of(&catalogue.entry, set, catalogue, &currency);
        (caps.effective(Span::Day).map(|cap| cap.0), caps.effective(Span::Month).map(|cap| cap.0))
    }

    /// Caps that are written in euros.
    fn in_euros(own: (Option<i64>, Option<i64>), staff: (Option<i64>, Option<i64>)) -> CustomerCaps {
        let per = |(day, month): (Option<i64>, Option<i64>)| PerSpan {
            day: day.map(MoneyMinor),
            month: month.map(MoneyMinor),
        };
        let currency = Currency::parse("eur").expect("a currency");
        CustomerCaps { currency, own: per(own), staff: per(staff) }
    }

    #[test]
    fn staff_replaces_the_plans_cap_and_the_customer_only_lowers() {
        let mut catalogue = Catalogue::clone(&Catalogue::built_in());
        assert_eq!(in_force(&catalogue, None, "usd"), (None, Some(100_000)));
        let set = in_euros((Some(500), Some(900_000)), (None, Some(300_000)));
        assert_eq!(in_force(&catalogue, Some(&set), "usd"), (Some(500), Some(300_000)));
        catalogue.plans[0].spend_cap_day = Some(MoneyMinor(7_000));
        catalogue.plans[0].spend_cap_month = Some(MoneyMinor(20_000));
        assert_eq!(in_force(&catalogue, None, "usd"), (Some(7_000), Some(20_000)));
        assert_eq!(in_force(&catalogue, Some(&set), "usd"), (Some(500), Some(300_000)));
    }

    #[test]
    fn a_cap_holds_in_each_currency_with_the_same_number() {
        let mut catalogue = Catalogue::clone(&Catalogue::built_in());
        for (code, month) in [("usd", 100_000), ("eur", 100_000), ("jpy", 100_000), ("kwd", 1_000_000)] {
            assert_eq!(in_force(&catalogue, None, code), (None, Some(month)), "the default in {code}");
        }
        catalogue.plans[0].spend_cap_day = Some(MoneyMinor(3_000));
        let set = in_euros((None, None), (None, Some(2_000)));
        for (code, expected) in [("eur", (3_000, 2_000)), ("jpy", (3_000, 2_000)), ("kwd", (30_000, 20_000))] {
            assert_eq!(in_force(&catalogue, Some(&set), code), (Some(expected.0), Some(expected.1)), "{code}");
        }
        let nothing = in_euros((None, Some(0)), (None, None));
        for code in ["usd", "eur", "jpy", "kwd"] {
            assert_eq!(in_force(&catalogue, Some(&nothing), code).1, Some(0), "{code}");
        }
    }

    #[test]
    fn another_currency_of_the_catalogue_loosens_no_cap_that_somebody_set() {
        let set = in_euros((Some(0), None), (None, Some(2_000)));
        for code in ["eur", "usd", "jpy", "kwd"] {
            let mut catalogue = Catalogue::clone(&Catalogue::built_in());
            catalogue.currency = Currency::parse(code).expect("a currency");
            assert_eq!(in_force(&catalogue, Some(&set), "usd"), (Some(0), Some(2_000)), "{code}");
        }
    }
}
