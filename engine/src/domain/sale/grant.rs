//! The credits that the lines of a paid invoice bring, and when.

use super::line::Sale;
use crate::amount::{Credits, UNITS_MAX};
use crate::clock::TimeMs;
use crate::domain::catalogue::{GrantSchedule, Price, Rollover};
use crate::domain::job::{JobKind, NewJob};
use crate::domain::ledger::{Command, GrantKind, Op, PartGrant, TAKEN_SUFFIX};
use crate::ids::CustomerId;
use chrono::{DateTime, Months, Utc};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How long credits that end with their period stay after it. Source: Stripe, "Subscription invoices": a renewal is
/// charged about an hour after the period begins.
pub const RESET_GRACE_MS: i64 = 3 * 60 * 60 * 1_000;
const DAY_MS: i64 = 24 * 60 * 60 * 1_000;
/// Maximum number of months whose parts are granted one by one: ten years.
pub const MONTHS_MAX: u32 = 120;

/// Credits to grant at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Their idempotency key in the ledger.
    pub key: String,
    /// How many.
    pub credits: Credits,
    /// When they expire.
    pub expires_at_ms: Option<TimeMs>,
    /// When to grant them; `None` for now.
    pub at_ms: Option<TimeMs>,
}

impl Grant {
    /// The command for the ledger.
    pub fn command(&self, invoice_id: &str) -> Command {
        let op = Op::Grant { kind: GrantKind::Included, amount: self.credits, expires_at_ms: self.expires_at_ms };
        Command::internal(op, "stripe", self.key.clone()).with_reference(invoice_id)
    }
}

/// What a paid invoice changes of its customer's credits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Brought {
    /// What it brings, now and later.
    pub grants: Vec<Grant>,
    /// What it takes back at once of periods that were left.
    pub taken: Credits,
}

impl Brought {
    /// The command for what happens at once, and the grants that jobs make: an invoice brings credits, takes some, or
    /// exchanges those of the time that it replaces (`of`, by the sequence numbers of their grants, if they are known)
    /// for those that it brings. All under one key, so that it happens once.
    pub fn into_command(mut self, invoice_id: &str, of: Option<Vec<i64>>) -> (Option<Command>, Vec<Grant>) {
        let first = self.grants.iter().position(|grant| grant.at_ms.is_none()).map(|at| self.grants.remove(at));
        let command = match first {
            None if self.taken <= Credits::ZERO => return (None, self.grants),
            None => Command::internal(Op::TakeBack { amount: self.taken, of }, "stripe", grant_key(invoice_id)),
            Some(first) if self.taken <= Credits::ZERO => return (Some(first.command(invoice_id)), self.grants),
            Some(Grant { key, credits: amount, expires_at_ms, .. }) => {
                Command::internal(Op::Exchange { amount, expires_at_ms, taken: self.taken, of }, "stripe", key)
            }
        };
        (Some(command.with_reference(invoice_id)), self.grants)
    }

    /// The credits that it brings or takes at once; negative if it takes more than it brings.
    pub fn now(&self) -> Credits {
        let brings: Credits = self.grants.iter().filter(|grant| grant.at_ms.is_none()).map(|grant| grant.credits).sum();
        Credits(brings.0 - self.taken.0)
    }
}

/// The credits that the command of an invoice brings or takes in all; negative if it takes more than it brings.
pub fn net_credits(command: &Command) -> Credits {
    match command.op {
        Op::Grant { amount, .. } => amount,
        Op::TakeBack { amount, .. } => -amount,
        Op::Exchange { amount, taken, .. } => amount - taken,
        _ => Credits::ZERO,
    }
}

/// The key of the credits that an invoice brings when it is paid.
pub fn grant_key(invoice_id: &str) -> String {
    format!("stripe:invoice:{invoice_id}")
}

/// The key of the credits that an invoice takes back in exchange for those that it brings.
pub fn taken_key(invoice_id: &str) -> String {
    format!("{}{TAKEN_SUFFIX}", grant_key(invoice_id))
}

/// The invoice whose credits are in the ledger under this key.
pub fn invoice_of(key: &str) -> Option<&str> {
    let rest = key.strip_prefix("stripe:invoice:")?;
    Some(rest.split_once(':').map_or(rest, |(invoice, _)| invoice))
}

/// The month whose part is in the ledger under this key, 1 for the second of a period; `None` if it is not a month's.
pub fn month_of(key: &str) -> Option<u32> {
    key.strip_prefix("stripe:invoice:")?.split_once(":month:")?.1.parse().ok()
}

/// The arguments of the job that grants a part of an invoice's credits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartArgs {
    /// The customer.
    pub customer: String,
    /// The invoice.
    pub invoice: String,
    /// The part's key in the ledger.
    pub key: String,
    /// Its credits.
    pub credits: Credits,
    /// When they expire.
    pub expires_at_ms: Option<TimeMs>,
    /// What will be left of them, as was last noted when time of their period was left. It is decided anew when they
    /// are due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left: Option<Credits>,
}

impl PartArgs {
    /// The credits that will come, as far as is known.
    pub fn expected(&self) -> Credits {
        self.left.unwrap_or(self.credits)
    }

    /// The month of the period that it is the part of, 1 for the second; `None` if it is not a month's.
    pub fn month(&self) -> Option<u32> {
        month_of(&self.key)
    }

    /// The command for the ledger. Of its credits some are withheld, because their money is gone, and of those some
    /// only because they are unspent. A part of which nothing would be left is granted whole.
    pub fn command(&self, (withheld, unspent): (Credits, Credits)) -> Command {
        let (amount, expires_at_ms) = (self.credits - withheld, self.expires_at_ms);
        if withheld == Credits::ZERO || amount <= Credits::ZERO {
            let grant = Grant { key: self.key.clone(), credits: self.credits, expires_at_ms, at_ms: None };
            return grant.command(&self.invoice);
        }
        let op = Op::GrantPart(PartGrant { amount, withheld, unspent, expires_at_ms });
        Command::internal(op, "stripe", self.key.clone()).with_reference(self.invoice.clone())
    }
}

/// The job that grants a part when its time has come.
pub fn part_job(grant: &Grant, invoice_id: &str, customer_id: &CustomerId, now_ms: TimeMs) -> NewJob {
    let args = PartArgs {
        customer: customer_id.to_string(),
        invoice: invoice_id.to_owned(),
        key: grant.key.clone(),
        credits: grant.credits,
        expires_at_ms: grant.expires_at_ms,
        left: None,
    };
    let args = serde_json::to_string(&args).expect("texts and numbers are JSON");
    let mut job = NewJob::new(JobKind::CreditsGrant, args, grant.at_ms.unwrap_or(now_ms));
    job.unique_key = Some(part_job_key(&grant.key));
    job.customer_id = Some(customer_id.clone());
    job
}

/// The unique key of the job that grants the part with this key in the ledger.
pub fn part_job_key(key: &str) -> String {
    format!("grant:{key}")
}

/// Why a part is not granted whose money was given back. Its job ends as cancelled with these words, and runs again if
/// the money comes back.
pub fn money_given_back(invoice_id: &str) -> String {
    format!("the money of {invoice_id} was given back")
}

/// All keys under which credits that an invoice brings may be in the ledger.
pub fn grant_keys(invoice_id: &str) -> impl Iterator<Item = String> {
    let first = grant_key(invoice_id);
    let also = (1..ALSO_MAX).map({
        let first = first.clone();
        move |n| format!("{first}:also:{n}")
    });
    let months = (1..MONTHS_MAX).map({
        let first = first.clone();
        move |month| format!("{first}:month:{month}")
    });
    std::iter::once(first).chain(also).chain(months)
}

/// Maximum number of different ends that the credits of one invoice have.
const ALSO_MAX: usize = 20;

/// What the sales of a paid invoice bring, the first to grant first.
///
/// Credits with the same end are one grant. One invoice nearly always brings one grant, under a key made of the
/// invoice alone: so an invoice is granted once, whatever its lines look like in another API version or by a later
/// catalogue.
pub fn grants(invoice_id: &str, sales: &[Sale], now_ms: TimeMs) -> Vec<Grant> {
    // Of credits without an end it is the last.
    let mut now: BTreeMap<TimeMs, Credits> = BTreeMap::new();
    let mut later: BTreeMap<u32, (TimeMs, TimeMs, Credits)> = BTreeMap::new();
    for sale in sales {
        for part in parts(sale, now_ms) {
            let ends_ms = part.expires_at_ms.unwrap_or(TimeMs::MAX);
            match part.month {
                0 => {
                    let sum = now.entry(ends_ms).or_default();
                    *sum = capped(*sum, part.credits);
                }
                month => {
                    let of_month = later.entry(month).or_insert((part.at_ms, ends_ms, Credits::ZERO));
                    // Two prices in one invoice have one period. If their credits end apart, the later end counts.
                    of_month.1 = of_month.1.max(ends_ms);
                    of_month.2 = capped(of_month.2, part.credits);
                }
            }
        }
    }
    let key = grant_key(invoice_id);
    let end = |ends_ms: TimeMs| (ends_ms != TimeMs::MAX).then_some(ends_ms);
    now.retain(|_, credits| *credits > Credits::ZERO);
    let now = now.into_iter().rev().take(ALSO_MAX).enumerate().map(|(n, (ends_ms, credits))| Grant {
        key: if n == 0 { key.clone() } else { format!("{key}:also:{n}") },
        credits,
        expires_at_ms: end(ends_ms),
        at_ms: None,
    });
    let later = later.into_iter().map(|(month, (at_ms, ends_ms, credits))| Grant {
        key: format!("{key}:month:{month}"),
        credits,
        expires_at_ms: end(ends_ms),
        at_ms: Some(at_ms),
    });
    now.chain(later).filter(|grant| grant.credits > Credits::ZERO).collect()
}

/// A sum of credits, at most what one entry of the ledger may have.
fn capped(one: Credits, other: Credits) -> Credits {
    Credits(one.0.saturating_add(other.0)).min(UNITS_MAX)
}

/// A part of a period's credits.
struct Part {
    month: u32,
    at_ms: TimeMs,
    credits: Credits,
    expires_at_ms: Option<TimeMs>,
}

fn parts(sale: &Sale, now_ms: TimeMs) -> Vec<Part> {
    let price = &sale.price;
    let months = months_of(price);
    let from_ms = sale.from_ms.unwrap_or(now_ms);
    let whole = sale.credits().0;
    let part = |month: u32| {
        let at_ms = if month == 0 { now_ms } else { add_months(from_ms, month).max(now_ms) };
        let span = if months == 1 {
            (sale.from_ms, sale.until_ms)
        } else {
            (Some(add_months(from_ms, month)), Some(add_months(from_ms, month + 1)))
        };
        Part { month, at_ms, credits: Credits(part_of(whole, months, month)), expires_at_ms: expiry(sale, at_ms, span) }
    };
    (0..months).map(part).collect()
}

/// The number of parts in which a price's credits are granted.
pub fn months_of(price: &Price) -> u32 {
    match price.grant {
        GrantSchedule::Whole => 1,
        GrantSchedule::Monthly => price.every.months().clamp(1, MONTHS_MAX),
    }
}

/// One of the parts of a whole. What does not divide comes first, so that the first part is never empty.
pub fn part_of(whole: i64, months: u32, month: u32) -> i64 {
    let months = i64::from(months.max(1));
    whole / months + i64::from(i64::from(month) < whole % months)
}

/// When credits expire that are granted at `at_ms` for a span of time.
///
/// Whoever pays after the end of what it pays for gets the credits for as long as the period was.
fn expiry(sale: &Sale, at_ms: TimeMs, (from_ms, ends_ms): (Option<TimeMs>, Option<TimeMs>)) -> Option<TimeMs> {
    let of_lifetime = sale.price.lifetime_days.map(|days| at_ms.saturating_add(i64::from(days) * DAY_MS));
    let of_period = ends_ms.filter(|_| sale.price.rollover == Rollover::Reset).map(|ends_ms| {
        let length_ms = from_ms.map_or(0, |from_ms| ends_ms.saturating_sub(from_ms)).max(0);
        let ends_ms = if ends_ms > at_ms { ends_ms } else { at_ms.saturating_add(length_ms) };
        ends_ms.saturating_add(RESET_GRACE_MS)
    });
    of_period.or(of_lifetime)
}

/// The same moment some months later; in a month without that day, on its last one.
pub fn add_months(from_ms: TimeMs, months: u32) -> TimeMs {
    let later = DateTime::<Utc>::from_timestamp_millis(from_ms)
        .and_then(|from| from.checked_add_months(Months::new(months)))
        .map(|at| at.timestamp_millis());
    later.unwrap_or(TimeMs::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::catalogue::{Interval, IntervalUnit};
    use crate::domain::sale::example::pro_price;
    use proptest::prelude::*;

    const NOW_MS: TimeMs = 1_796_000_000_000;

    fn sale(price: Price) -> Sale {
        let until_ms = add_months(NOW_MS, price.every.months());
        Sale { price, quantity: 1, from_ms: Some(NOW_MS), until_ms: Some(until_ms) }
    }

    fn year(credits: i64) -> Price {
        Price {
            every: Interval { count: 1, unit: IntervalUnit::Year },
            grant: GrantSchedule::Monthly,
            credits: Credits(credits),
            ..pro_price()
        }
    }

    #[test]
    fn what_an_invoice_brings_takes_or_exchanges_is_one_command_under_its_own_key() {
        let (of, end) = (Some(vec![3]), Some(NOW_MS + 9));
        let now = Grant { key: grant_key("in_1"), credits: Credits(60), expires_at_ms: end, at_ms: None };
        let later = Grant { key: "later".to_owned(), at_ms: Some(NOW_MS + 1), ..now.clone() };
        let grant = Op::Grant { kind: GrantKind::Included, amount: Credits(60), expires_at_ms: end };
        let exchange =
            |taken| Op::Exchange { amount: Credits(60), expires_at_ms: end, taken: Credits(taken), of: of.clone() };
        for (grants, taken, expected, net) in [
            (vec![], 0, None, 0),
            (vec![later.clone()], 0, None, 0),
            (vec![now.clone(), later.clone()], 0, Some(grant), 60),
            (vec![now.clone()], 50, Some(exchange(50)), 10),
            (vec![now.clone()], 60, Some(exchange(60)), 0),
            (vec![now, later.clone()], 70, Some(exchange(70)), -10),
            (vec![later], 70, Some(Op::TakeBack { amount: Credits(70), of: of.clone() }), -70),
        ] {
            let brought = Brought { grants: grants.clone(), taken: Credits(taken) };
            assert_eq!(brought.now(), Credits(net));
            let (command, rest) = brought.into_command("in_1", of.clone());
            assert!(rest.iter().all(|grant| grant.at_ms.is_some()));
            assert_eq!(command.as_ref().map_or(Credits::ZERO, net_credits), Credits(net));
            let is_under_it = |command: &Command| command.idempotency_key == Some(grant_key("in_1"));
            assert!(command.as_ref().is_none_or(is_under_it), "{command:?}");
            assert_eq!(command.map(|command| command.op), expected, "{grants:?} less {taken}");
        }
    }

    #[test]
    fn every_key_of_an_invoices_credits_names_it() {
        assert!(grant_keys("in_1").all(|key| invoice_of(&key) == Some("in_1")));
        assert_eq!(invoice_of(&taken_key("in_1")), Some("in_1"));
        assert_eq!(invoice_of("stripe:payment:pi_1"), None);
    }

    #[test]
    fn a_month_of_pro_brings_its_credits_at_once_under_the_invoices_own_key() {
        let expected = Grant { key: grant_key("in_1"), credits: Credits(60), expires_at_ms: None, at_ms: None };
        assert_eq!(grants("in_1", &[sale(pro_price())], NOW_MS), [expected]);
    }

    #[test]
    fn a_year_granted_monthly_is_twelve_parts_each_at_the_return_of_its_day() {
        let parts = grants("in_1", &[sale(year(100))], NOW_MS);
        assert_eq!(parts.len(), 12);
        assert_eq!(parts.iter().map(|part| part.credits).sum::<Credits>(), Credits(100));
        assert_eq!((parts[0].credits, parts[11].credits, parts[0].at_ms), (Credits(9), Credits(8), None));
        assert_eq!(parts[3].at_ms, Some(add_months(NOW_MS, 3)));
        let keys: Vec<String> = grant_keys("in_1").collect();
        assert!(parts.iter().all(|part| keys.contains(&part.key)));
    }

    #[test]
    fn a_part_whose_money_is_gone_in_part_comes_at_its_reduced_size_or_whole_to_be_reviewed() {
        let part = PartArgs {
            customer: "cus".to_owned(),
            invoice: "in_1".to_owned(),
            key: "stripe:invoice:in_1:month:2".to_owned(),
            credits: Credits(60),
            expires_at_ms: Some(9),
            left: None,
        };
        let reduced = Op::GrantPart(PartGrant {
            amount: Credits(40),
            withheld: Credits(20),
            unspent: Credits(5),
            expires_at_ms: Some(9),
        });
        let command = part.command((Credits(20), Credits(5)));
        assert_eq!((command.op, command.idempotency_key.as_ref()), (reduced, Some(&part.key)));
        let whole = Op::Grant { kind: GrantKind::Included, amount: Credits(60), expires_at_ms: Some(9) };
        for withheld in [Credits::ZERO, Credits(60)] {
            assert_eq!(part.command((withheld, Credits::ZERO)).op, whole);
        }
    }

    #[test]
    fn credits_that_end_with_their_period_last_until_the_next_payment_can_be_made() {
        let reset = Price { rollover: Rollover::Reset, ..pro_price() };
        let grant = grants("in_1", &[sale(reset.clone())], NOW_MS).remove(0);
        assert_eq!(grant.expires_at_ms, Some(add_months(NOW_MS, 1) + RESET_GRACE_MS));
        let paid_late_ms = add_months(NOW_MS, 2);
        let late = grants("in_1", &[sale(reset)], paid_late_ms).remove(0);
        let length_ms = add_months(NOW_MS, 1) - NOW_MS;
        assert_eq!(late.expires_at_ms, Some(paid_late_ms + length_ms + RESET_GRACE_MS));
    }

    #[test]
    fn credits_with_a_lifetime_end_that_many_days_after_their_grant() {
        let price = Price { lifetime_days: Some(90), ..pro_price() };
        assert_eq!(grants("in_1", &[sale(price)], NOW_MS)[0].expires_at_ms, Some(NOW_MS + 90 * DAY_MS));
    }

    #[test]
    fn two_prices_in_one_invoice_are_one_grant_unless_their_credits_end_apart() {
        let both = grants("in_1", &[sale(pro_price()), sale(pro_price())], NOW_MS);
        assert_eq!((both.len(), both[0].credits), (1, Credits(120)));
        let ending = Price { lifetime_days: Some(1), ..pro_price() };
        let apart = grants("in_1", &[sale(ending), sale(pro_price())], NOW_MS);
        assert_eq!(apart.len(), 2);
        assert_eq!((apart[0].key.as_str(), apart[0].expires_at_ms), (grant_key("in_1").as_str(), None));
    }

    proptest! {
        #[test]
        fn the_parts_of_a_period_are_the_whole_and_no_part_is_lost(
            credits in 0_i64..1_000_000, months in 1_u32..=36, quantity in 1_i64..500, per_seat: bool,
        ) {
            let price = Price {
                every: Interval { count: months, unit: IntervalUnit::Month },
                per_seat,
                ..year(credits)
            };
            let sale = Sale { quantity, ..sale(price) };
            let parts = grants("in_1", std::slice::from_ref(&sale), NOW_MS);
            prop_assert_eq!(parts.iter().map(|part| part.credits).sum::<Credits>(), sale.credits());
            prop_assert!(parts.len() <= months as usize);
        }
    }
}
