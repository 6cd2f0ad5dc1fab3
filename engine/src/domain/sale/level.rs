//! What changes within a period leave of its credits.
//!
//! A whole period that is paid brings its credits. A change before the period's end is settled by prorations: a credit
//! for the time that is no longer used, and a charge for the rest of the period of what follows, unless a new period
//! begins at once. The *level* of a period is how many credits a whole one of it brings. Wherever a change leads below
//! the level that was granted, the credits of the time that is left are taken back. Charged prorations bring nothing,
//! so the granted level never rises within a period, and what was never granted is never taken.
//!
//! A period has the level that the ledger says it got, in the parts in which it gets it. Where the ledger says nothing
//! yet, the terms of the period's invoice do.
//!
//! A period brings its credits when its invoice is paid. One that is left before that loses nothing then; if it is paid
//! later, it brings only what is left of it.
//!
//! An invoice on which a person must decide takes nothing meanwhile, and the months of a period that it may leave wait.
//!
//! What expired of a period's credits is not there to be taken: each such credit excuses one that is due, once.
//!
//! All of it follows from the subscription's invoices, whatever the order in which they become known. Time counts and
//! not money: whoever paid half by a coupon got all credits, so all of those that are left go. Whoever switches back
//! and forth therefore never has more than the credits of the time that it used and of the period that it is in.

mod excused;
mod late;
mod sold;
mod twice;

pub use late::left_before_paid;

use super::before::{Before, BroughtBefore, ends};
use super::book::{PriceBook, Sold};
use super::grant::{add_months, months_of, part_of};
use super::record::SoldLine;
use super::since::left_since;
use crate::amount::{Credits, MoneyMinor, UNITS_MAX};
use crate::clock::TimeMs;
use crate::domain::catalogue::{Interval, IntervalUnit, Price};
use crate::domain::webhook::fields::{InvoiceFields, Line};
use chrono::{DateTime, Datelike, Days, Months, Utc};
use sold::{drop_replaced, sold_as};
use std::collections::{BTreeMap, BTreeSet};

const WEEK_MS: i64 = 7 * 24 * 60 * 60 * 1_000;
/// Credits are divided to the millionth.
const MICRO: i128 = 1_000_000;

/// Why only a person can say what an invoice takes back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unclear {
    /// A credited price may be ours; why, in words.
    Price(String),
    /// The invoice of the period that ends at this time is older than the known ones.
    Period(TimeMs),
}

/// The credits that an invoice takes back for time that was left, at most [`UNITS_MAX`]. `before` are the other
/// invoices of its subscription; without them, what is credited counts as granted. What expired is not taken.
///
/// # Errors
/// A person must decide.
pub fn taken(invoice: &InvoiceFields, before: &Before, book: &PriceBook) -> Result<Credits, Unclear> {
    let left = left_by(invoice, before, book)?;
    let of_period = |(end_ms, steps): &(TimeMs, Vec<Step>)| {
        let excused = excused::excused(*end_ms, steps, &left.all, before);
        let due: Vec<i128> = steps.iter().zip(excused).map(|(step, excused)| step.taken - excused).collect();
        let own = steps.iter().zip(&due).filter(|(step, _)| step.is_own).map(|(_, due)| due).sum::<i128>();
        own.min(twice::not_taken_yet(*end_ms, (steps, &due), invoice, before, book))
    };
    Ok(whole_credits(left.periods.iter().map(of_period).sum::<i128>() + left.undated))
}

/// What an invoice takes back of each period that it leaves, by the period's end, in millionths of a credit, whatever
/// expired of it. What tells no time is under `None`.
fn taken_by_period(
    invoice: &InvoiceFields,
    before: &Before,
    book: &PriceBook,
) -> Result<BTreeMap<Option<TimeMs>, i128>, Unclear> {
    let left = left_by(invoice, before, book)?;
    let own = |steps: Vec<Step>| steps.iter().filter(|step| step.is_own).map(|step| step.taken).sum::<i128>();
    let dated = left.periods.into_iter().map(|(end_ms, steps)| (Some(end_ms), own(steps)));
    Ok(dated.chain([(None, left.undated)]).collect())
}

/// What an invoice leaves.
struct Left {
    /// The periods that it leaves, by their ends, each with the steps of all invoices that leave it.
    periods: Vec<(TimeMs, Vec<Step>)>,
    /// What is taken for time that no line tells, in millionths of a credit.
    undated: i128,
    /// What all invoices bill.
    all: Vec<Billed>,
}

fn left_by(invoice: &InvoiceFields, before: &Before, book: &PriceBook) -> Result<Left, Unclear> {
    let own = billed(invoice, before, book, true).map_err(Unclear::Price)?;
    let (ends, undated) = (left_ends(&own), undated(&own));
    let all = with_others(own, invoice, before, book);
    let is_billed = |end_ms: &TimeMs| all.iter().any(|line| !line.is_proration && line.until_ms == Some(*end_ms));
    if let Some(end_ms) = ends.iter().find(|end_ms| before.is_cut && !is_billed(end_ms)) {
        return Err(Unclear::Period(*end_ms));
    }
    let periods = ends.into_iter().map(|end_ms| (end_ms, steps_of(end_ms, &all, before))).collect();
    Ok(Left { periods, undated, all })
}

/// When the periods end that lines leave.
fn left_ends<'a>(lines: impl IntoIterator<Item = &'a Billed>) -> BTreeSet<TimeMs> {
    lines.into_iter().filter(|line| line.is_credit()).filter_map(|line| line.until_ms).collect()
}

/// What lines take for time that none of them tells, in millionths of a credit.
fn undated<'a>(lines: impl IntoIterator<Item = &'a Billed>) -> i128 {
    let is_undated = |line: &&Billed| line.is_proration && line.span().is_none();
    (-lines.into_iter().filter(is_undated).map(Billed::worth).sum::<i128>()).max(0)
}

/// The steps of a period that ends then, without what the invoices that billed it left out.
fn steps_of(end_ms: TimeMs, all: &[Billed], before: &Before) -> Vec<Step> {
    let mut steps = Period::of(end_ms, all).steps();
    late::leave_out(end_ms, &mut steps, before);
    steps
}

/// Credits in millionths.
fn micro(credits: Credits) -> i128 {
    i128::from(credits.0) * MICRO
}

/// Millionths of a credit as credits, rounded up.
fn whole_credits(micro: i128) -> Credits {
    Credits(i64::try_from((micro + MICRO - 1) / MICRO).unwrap_or(i64::MAX)).min(UNITS_MAX)
}

/// The credits that other invoices take back of the periods that an invoice billed, because they were left: what the
/// ledger says of each, else what it takes by the rules. An invoice that brings just what it takes leaves no entry, and
/// another one's event may still be on its way. Of one that leaves other periods as well, only the part of these
/// counts.
pub fn taken_of(
    invoice: &InvoiceFields,
    before: &Before,
    book: &PriceBook,
    credits_from_ms: Option<TimeMs>,
) -> Credits {
    let ends = ends(invoice, Line::bills_period);
    let taken_by = |other: &InvoiceFields| {
        let counted = left_since(other, &before.invoices, credits_from_ms);
        let by_period = taken_by_period(&counted, before, book).unwrap_or_default();
        let by_rules = || taken(&counted, before, book).unwrap_or_default();
        let taken = before.brought_by(other).map_or_else(by_rules, |brought| brought.record.taken_of_others());
        part_taken(taken, by_period, other, &ends)
    };
    before.leaving(invoice).map(taken_by).sum()
}

/// The part of what an invoice took that is of the periods with these ends. The rules say how it is divided, and the
/// parts of all periods make up the whole. Where the rules know of nothing taken, all periods that it leaves count
/// alike.
fn part_taken(
    taken: Credits,
    by_period: BTreeMap<Option<TimeMs>, i128>,
    invoice: &InvoiceFields,
    of: &BTreeSet<TimeMs>,
) -> Credits {
    let alike = || ends(invoice, Line::credits_time).into_iter().map(|end_ms| (Some(end_ms), 1)).collect();
    let shares = if by_period.values().any(|micro| *micro > 0) { by_period } else { alike() };
    let all = shares.values().sum::<i128>().max(1);
    let (mut share, mut before, mut part) = (0, 0, 0);
    for (end_ms, micro) in shares {
        share += micro;
        let upto = i128::from(taken.0) * share / all;
        if end_ms.is_some_and(|end_ms| of.contains(&end_ms)) {
            part += upto - before;
        }
        before = upto;
    }
    Credits(i64::try_from(part).unwrap_or(taken.0))
}

/// What is left of the part of a month, 1 for the second, of a period that `invoice` billed and that is granted
/// monthly, when the month begins. `before` are the other invoices of its subscription.
///
/// # Errors
/// A person must decide first whether the period was left; why, in words.
pub fn part_left(
    part: Credits,
    month: u32,
    invoice: &InvoiceFields,
    before: &Before,
    book: &PriceBook,
) -> Result<Credits, String> {
    let own = billed(invoice, before, book, true).unwrap_or_default();
    let all = with_others(own, invoice, before, book);
    let spread = |line: &&Billed| line.is_own && !line.is_proration && line.months > month;
    let Some((from_ms, end_ms)) = all.iter().find(spread).and_then(Billed::span) else { return Ok(part) };
    let may_leave =
        |other: &&InvoiceFields| other.id != invoice.id && ends(other, Line::credits_time).contains(&end_ms);
    for other in before.invoices.iter().filter(may_leave) {
        billed(other, before, book, true)?;
    }
    let period = Period::of(end_ms, &all);
    let begins_ms = add_months(from_ms, month);
    let level =
        period.steps().iter().rev().find(|step| step.at_ms <= begins_ms).map_or(period.granted, |step| step.level);
    if period.granted <= 0 {
        return Ok(part);
    }
    let left = i128::from(part.0) * i128::from(level) / i128::from(period.granted);
    Ok(i64::try_from(left).map_or(part, Credits))
}

/// A line for a period, or for the rest of one, of a price of ours.
#[derive(Debug, Clone)]
struct Billed {
    price: Price,
    /// Its ids at Stripe.
    ids: Vec<String>,
    quantity: i64,
    /// Credits of a whole period: those that it got, else those on the terms that count for the invoice.
    level: i64,
    /// In how many parts the period gets them.
    months: u32,
    /// By how many the credits of one are multiplied.
    seats: i64,
    amount: MoneyMinor,
    from_ms: Option<TimeMs>,
    until_ms: Option<TimeMs>,
    is_proration: bool,
    /// Of a whole period: whether it has brought its credits, or brings them.
    brings: bool,
    /// Whether its invoice has taken credits of periods that it leaves.
    has_taken: bool,
    /// The invoice's id.
    invoice: Option<String>,
    /// Whether it is of the invoice in question.
    is_own: bool,
}

impl Billed {
    fn is_credit(&self) -> bool {
        self.is_proration && self.amount < MoneyMinor::ZERO
    }

    fn span(&self) -> Option<(TimeMs, TimeMs)> {
        self.from_ms.zip(self.until_ms)
    }

    /// Whether it is of the same price at Stripe. A price of the catalogue may have several, each with terms of its
    /// own.
    fn is_same_price(&self, other: &Self) -> bool {
        match (&self.ids[..], &other.ids[..]) {
            ([], _) | (_, []) => self.price.key == other.price.key,
            (own, others) => own.iter().any(|id| others.contains(id)),
        }
    }

    /// The change of the level by a proration.
    fn change(&self) -> i64 {
        if self.is_credit() { -self.level } else { self.level }
    }

    /// The millionths of a credit that its money stands for.
    fn worth(&self) -> i128 {
        let whole = i128::from(self.price.amount.0) * i128::from(self.quantity.max(1));
        let share = i128::from(self.amount.0).clamp(-whole, whole);
        if whole == 0 { 0 } else { i128::from(self.level) * MICRO * share / whole }
    }
}

/// The lines of an invoice that bill prices of ours. What cannot be decided is left out. A proration of the invoice in
/// question must be decided. While one of another invoice is not, that invoice has taken nothing, and its credits do not
/// count.
fn billed(invoice: &InvoiceFields, before: &Before, book: &PriceBook, is_own: bool) -> Result<Vec<Billed>, String> {
    let brought = before.brought_by(invoice);
    let has_credit = invoice.lines.iter().any(Line::credits_time);
    // What is not paid has brought nothing yet.
    let is_paid = invoice.is_paid != Some(false) || brought.is_some();
    let is_paid_for = is_paid && (has_credit || invoice.total.is_none_or(|total| total > MoneyMinor::ZERO));
    let has_taken = brought.is_some_and(|brought| brought.record.taken_of_others() > Credits::ZERO);
    let is_only = invoice.lines.iter().filter(|line| line.bills_period()).count() == 1;
    let (mut billed, mut undecided) = (Vec::new(), None);
    // Of a void invoice only the periods tell something: it gives no credit, and none is asked for.
    let counts = |line: &&Line| line.bills_period() || (line.prorates() && !invoice.is_void);
    for line in invoice.lines.iter().filter(counts) {
        let price = match sold_as(invoice, line, before, book) {
            Sold::Ours(price) => *price,
            Sold::Undecided(why) if line.prorates() => {
                undecided = Some(why);
                continue;
            }
            Sold::NotOurs | Sold::Unnamed | Sold::Undecided(_) => continue,
        };
        let quantity = line.quantity.unwrap_or(1).max(0);
        let seats = if price.per_seat { quantity } else { 1 };
        let of_now = || price.credits.0.saturating_mul(seats).min(UNITS_MAX.0);
        let granted =
            brought.filter(|_| line.bills_period()).and_then(|brought| granted(brought, line, &price, is_only));
        billed.push(Billed {
            level: granted.map_or_else(of_now, |(level, _)| level),
            months: granted.map_or_else(|| months_of(&price), |(_, months)| months),
            seats,
            ids: line.price.ids.clone(),
            price,
            quantity,
            amount: line.amount.unwrap_or_default(),
            from_ms: line.period_start_ms,
            until_ms: line.period_end_ms,
            is_proration: line.prorates(),
            brings: is_paid_for && line.costs(),
            has_taken,
            invoice: invoice.id.clone(),
            is_own,
        });
    }
    match undecided {
        Some(why) if is_own => return Err(why),
        Some(_) if brought.is_none() => drop_replaced(&mut billed),
        _ => {}
    }
    Ok(billed)
}

/// What the period of a line got, and in how many parts; `None` if nothing tells. `is_only` says that its invoice bills
/// no other period.
fn granted(brought: &BroughtBefore, line: &Line, price: &Price, is_only: bool) -> Option<(i64, u32)> {
    let sold = &brought.record.sold;
    if sold.is_empty() {
        // Granted before there were records.
        let is_whole = is_only && months_of(price) == 1 && brought.granted > Credits::ZERO;
        return is_whole.then_some((brought.granted.0, 1));
    }
    let quantity = line.quantity.unwrap_or(1).max(0);
    let is_named = |sold: &&SoldLine| sold.price == price.key && sold.quantity == quantity;
    // What the price sells was decided anew since.
    let is_alike = |sold: &&SoldLine| {
        sold.quantity == quantity && (sold.from_ms, sold.until_ms) == (line.period_start_ms, line.period_end_ms)
    };
    let found = sold.iter().find(is_named).or_else(|| sold.iter().find(is_alike));
    let months = |sold: &SoldLine| brought.record.months_of(sold, price);
    Some(found.map_or((0, months_of(price)), |sold| (sold.credits.0, months(sold))))
}

fn with_others(mut own: Vec<Billed>, invoice: &InvoiceFields, before: &Before, book: &PriceBook) -> Vec<Billed> {
    for other in before.invoices.iter().filter(|other| other.id != invoice.id) {
        own.extend(billed(other, before, book, false).unwrap_or_default());
    }
    on_granted_terms(&mut own);
    own
}

/// Prorations of a price count as many credits as its period got or brings, else as the first of them in the period,
/// whatever the catalogue has made of it since: so what is credited later counts like what was billed before.
fn on_granted_terms(all: &mut [Billed]) {
    let mut firsts: Vec<Billed> = all.iter().filter(|line| line.seats > 0).cloned().collect();
    firsts.sort_by_key(|line| (line.is_proration, line.from_ms));
    for line in all.iter_mut().filter(|line| line.is_proration) {
        let is_of = |first: &&Billed| first.until_ms == line.until_ms && first.is_same_price(line);
        if let Some(first) = firsts.iter().find(is_of) {
            line.level = first.level.saturating_mul(line.seats) / first.seats;
        }
    }
}

/// The changes of a subscription within the period that ends at a time.
struct Period {
    end_ms: TimeMs,
    /// What the time is divided by: how long the period is, and in how many parts its credits come.
    time: Option<(Interval, u32)>,
    /// The level that the subscription paid for at the beginning.
    paid: i64,
    /// The level whose credits it got.
    granted: i64,
    /// In the order of time, those of one invoice together.
    changes: Vec<LevelChange>,
}

/// A change of the level by a proration.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct LevelChange {
    at_ms: TimeMs,
    /// Whether its invoice has not taken anything yet. What has comes first.
    is_open: bool,
    invoice: Option<String>,
    by: i64,
    /// Whether the invoice in question says so.
    is_own: bool,
}

/// A change that leads below the granted level.
struct Step {
    at_ms: TimeMs,
    /// The level since then.
    level: i64,
    /// What it takes, in millionths of a credit.
    taken: i128,
    /// The month whose credits it takes, 1 for the second, if the period is granted monthly.
    month: u32,
    /// The invoice that says so.
    invoice: Option<String>,
    is_own: bool,
}

impl Period {
    fn of(end_ms: TimeMs, all: &[Billed]) -> Self {
        let lines = || all.iter().filter(|line| line.until_ms == Some(end_ms));
        let whole = || lines().filter(|line| !line.is_proration);
        let prorations = lines().filter(|line| line.is_proration);
        let change = |line: &Billed| {
            let (at_ms, invoice) = (line.from_ms?, line.invoice.clone());
            Some(LevelChange { at_ms, is_open: !line.has_taken, invoice, by: line.change(), is_own: line.is_own })
        };
        let mut changes: Vec<_> = prorations.filter_map(change).collect();
        changes.sort_unstable();
        let first_ms = changes.first().map(|change| change.at_ms);
        let is_first = |line: &&Billed| line.is_credit() && line.from_ms == first_ms;
        // Without the invoice that billed the period, what is credited first is what it was.
        let is_known = whole().next().is_some();
        let assumed = || lines().filter(is_first).map(|line| line.level).sum::<i64>();
        let (paid, granted) = match is_known {
            true => (whole().map(|line| line.level).sum(), whole().filter(|line| line.brings).map(|l| l.level).sum()),
            false => (assumed(), assumed()),
        };
        let first = whole().next().or_else(|| lines().find(|line| line.is_credit()));
        Self { end_ms, time: first.map(|line| (line.price.every, line.months)), paid, granted, changes }
    }

    fn steps(&self) -> Vec<Step> {
        let (mut paid, mut granted, mut steps) = (self.paid, self.granted, Vec::new());
        for group in self.changes.chunk_by(|one, other| one.at_ms == other.at_ms) {
            let at_ms = group[0].at_ms;
            paid += net(group);
            let lowest = paid.clamp(0, granted.max(0));
            // Several invoices of one moment share what it takes, each up to what it credits. One that has taken its
            // own already was decided before the others were known.
            for of_invoice in group.chunk_by(|one, other| one.invoice == other.invoice) {
                let lowest = if of_invoice[0].is_open { lowest } else { 0 };
                let level = granted - (-net(of_invoice)).clamp(0, (granted - lowest).max(0));
                if level < granted {
                    let taken = self.left(granted, at_ms) - self.left(level, at_ms);
                    let (month, invoice) = (self.month_at(at_ms), of_invoice[0].invoice.clone());
                    steps.push(Step { at_ms, level, taken, month, invoice, is_own: of_invoice[0].is_own });
                    granted = level;
                }
            }
        }
        steps
    }

    /// When a month of it begins, the last of which ends with it. One that is granted at once is one month.
    fn begins_ms(&self, month: u32) -> TimeMs {
        match self.time {
            Some((every, months)) if month < months => match month {
                0 => latest_start(every, self.end_ms),
                month => add_months(latest_start(every, self.end_ms), month),
            },
            _ => self.end_ms,
        }
    }

    /// The month that a time is in.
    fn month_at(&self, at_ms: TimeMs) -> u32 {
        let months = self.time.map_or(1, |(_, months)| months);
        (0..months).rev().find(|month| self.begins_ms(*month) <= at_ms).unwrap_or(0)
    }

    /// What is left at a time of the credits of a level, in millionths: of the whole period, or, of a period that is
    /// granted monthly, of the month.
    fn left(&self, level: i64, at_ms: TimeMs) -> i128 {
        self.time.map_or(0, |(_, months)| {
            let month = self.month_at(at_ms);
            let (from_ms, until_ms) = (self.begins_ms(month), self.begins_ms(month + 1));
            let length_ms = until_ms.saturating_sub(from_ms).max(1);
            let left_ms = until_ms.saturating_sub(at_ms).clamp(0, length_ms);
            i128::from(part_of(level, months, month)) * MICRO * i128::from(left_ms) / i128::from(length_ms)
        })
    }
}

fn net(changes: &[LevelChange]) -> i64 {
    changes.iter().map(|change| change.by).sum()
}

/// The latest time at which a period that ends at a time may have begun. A period of months that ends on the last day
/// of a month may have begun on any of the last days of its month: then the shortest counts.
fn latest_start(every: Interval, end_ms: TimeMs) -> TimeMs {
    if every.unit == IntervalUnit::Week {
        return end_ms.saturating_sub(WEEK_MS.saturating_mul(i64::from(every.count)));
    }
    let start = || -> Option<DateTime<Utc>> {
        let end = DateTime::<Utc>::from_timestamp_millis(end_ms)?;
        let start = end.checked_sub_months(Months::new(every.months()))?;
        let is_last_day = end.checked_add_days(Days::new(1)).is_some_and(|next| next.day() == 1);
        let last = (29..=31).rev().find_map(|day| start.with_day(day)).unwrap_or(start);
        Some(if is_last_day { last } else { start })
    };
    start().map_or(end_ms, |start| start.timestamp_millis())
}

#[cfg(test)]
mod tests;
