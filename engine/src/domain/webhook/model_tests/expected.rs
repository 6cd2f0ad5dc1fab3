//! What Stripe's final objects bring, computed plainly: by the promise that was made with each price, and by the money
//! that is gone. It shares no rule with the engine.

use super::fact::{Invoice, Kind, Line};
use super::stripe::Stripe;
use crate::domain::catalogue::{GrantSchedule, Price, Rollover};
use crate::domain::ledger::Entry;
use std::collections::BTreeMap;

const DAY_MS: i64 = 24 * 60 * 60 * 1_000;
/// How long credits that end with their period stay after it.
const GRACE_MS: i64 = 3 * 60 * 60 * 1_000;

/// The credits that each invoice of the customer leaves in the end, in any of its formats.
pub(super) fn credits_by_invoice(stripe: &Stripe) -> BTreeMap<String, i64> {
    let numbered = stripe.invoices.iter().enumerate();
    let brought = numbered.filter_map(|(n, invoice)| {
        let whole = whole(invoice);
        (whole > 0).then(|| {
            let left: i64 = leavings(stripe, n, whole).map(|leaving| leaving.taken).sum();
            // What it was exchanged for was bought with other money.
            let bought = (whole - taken_by_invoice(stripe).get(&format!("in_{n}")).unwrap_or(&0)).max(0);
            let with_money = taken(bought, gone(stripe, n), invoice.total).min((bought - left).max(0));
            (format!("in_{n}"), whole - with_money)
        })
    });
    brought.collect()
}

/// The credits that each invoice takes back for time that was left.
pub(super) fn taken_by_invoice(stripe: &Stripe) -> BTreeMap<String, i64> {
    let mut taken = BTreeMap::new();
    for (n, invoice) in stripe.invoices.iter().enumerate() {
        for leaving in leavings(stripe, n, whole(invoice)).filter(|leaving| leaving.taken > 0) {
            *taken.entry(format!("in_{}", leaving.invoice)).or_default() += leaving.taken;
        }
    }
    taken
}

/// An invoice that credits time of a period.
struct Leaving {
    invoice: usize,
    taken: i64,
}

/// How the period that an invoice billed was left. The level falls with what follows and never rises: a charge for the
/// rest of a period brings nothing, so going back up does not make good what went.
fn leavings(stripe: &Stripe, n: usize, whole: i64) -> impl Iterator<Item = Leaving> {
    let base = &stripe.invoices[n];
    let period = base.lines.iter().find(|line| line.kind == Kind::Period);
    let (mut level, mut found) = (whole, Vec::new());
    for (at, invoice) in stripe.invoices.iter().enumerate().filter(|(at, later)| *at > n && later.sub == base.sub) {
        let Some(period) = period else { break };
        let ends_with_it = |line: &&Line| line.kind == Kind::Proration && line.until_s == period.until_s;
        let lines = || invoice.lines.iter().filter(ends_with_it);
        let Some(credit) = lines().find(|line| line.amount < 0) else { continue };
        let to = lines().find(|line| line.amount > 0);
        let to = to.map_or(0, |line| first_promise(stripe, base, line).map_or(0, |it| of_line(line, it)));
        let (left_s, length_s) = (period.until_s - credit.from_s, period.until_s - period.from_s);
        let falls = (level - to).max(0);
        found.push(Leaving { invoice: at, taken: (falls * left_s + length_s - 1) / length_s });
        level = level.min(to);
    }
    found.into_iter()
}

/// What was promised for the price of a line when it was first billed in the period that an invoice billed.
fn first_promise<'a>(stripe: &'a Stripe, base: &'a Invoice, line: &Line) -> Option<&'a Price> {
    let until_s = base.lines.iter().find(|line| line.kind == Kind::Period)?.until_s;
    let later = stripe.invoices.iter().filter(|later| later.sub == base.sub).flat_map(|later| &later.lines);
    let mut in_period = base.lines.iter().chain(later).filter(|other| other.until_s == until_s);
    in_period.find(|other| other.price == line.price)?.promise.as_ref()
}

/// What the lines of a paid invoice bring, before anything is given back. One that credits time is not free.
fn whole(invoice: &Invoice) -> i64 {
    if invoice.is_stranger || !invoice.is_paid() || (invoice.total <= 0 && !invoice.credits_time()) {
        return 0;
    }
    brings(invoice).map(|(line, promise)| of_line(line, promise)).sum()
}

/// The lines that bring credits, with what was promised.
fn brings(invoice: &Invoice) -> impl Iterator<Item = (&Line, &Price)> {
    invoice.lines.iter().filter_map(|line| {
        let promise = line.promise.as_ref()?;
        (line.kind == Kind::Period && line.amount - line.discount > 0).then_some((line, promise))
    })
}

/// What a whole period brings. This is the place for a rule on what prorations bring or take.
fn of_line(line: &Line, promise: &Price) -> i64 {
    promise.credits.0 * if promise.per_seat { line.quantity } else { 1 }
}

/// The credits that go with money, rounded down.
fn taken(whole: i64, gone: i64, total: i64) -> i64 {
    if total <= 0 { 0 } else { whole * gone.clamp(0, total) / total }
}

/// The money of an invoice that was given back or taken by a dispute.
fn gone(stripe: &Stripe, n: usize) -> i64 {
    let charge = stripe.invoices[n].charge.as_ref();
    let disputed = stripe.disputes.iter().filter(|dispute| dispute.invoice == n && dispute.status != "won");
    let disputed = disputed.map(|dispute| match charge {
        Some(charge) if dispute.is_foreign => charge.amount,
        _ => dispute.amount,
    });
    let notes = stripe.notes.iter().filter(|note| note.invoice == n).map(|note| note.beside_refunds());
    charge.map_or(0, |charge| charge.refunded) + disputed.sum::<i64>() + notes.sum::<i64>()
}

/// Why the end of a grant is not what was promised.
pub(super) fn wrong_end(stripe: &Stripe, grant: &Entry) -> Option<String> {
    let n: usize = grant.reference.as_ref()?.strip_prefix("in_")?.parse().ok()?;
    let promises: Vec<(&Line, &Price)> = brings(&stripe.invoices[n]).collect();
    let ends = |promise: &Price| promise.lifetime_days.is_some() || promise.rollover == Rollover::Reset;
    let said = grant.detail.expires_at_ms;
    let is_right = match (&promises[..], said) {
        // Parts have spans of their own, and of several lines each has its end.
        ([(line, promise)], said) if promise.grant == GrantSchedule::Whole => {
            let at_ms = grant.created_at_ms;
            match (promise.lifetime_days, promise.rollover) {
                (Some(days), _) => said == Some(at_ms + i64::from(days) * DAY_MS),
                (None, Rollover::Keep) => said.is_none(),
                (None, Rollover::Reset) => {
                    let (until_ms, length_ms) = (line.until_s * 1_000, (line.until_s - line.from_s) * 1_000);
                    let end_ms = if until_ms > at_ms { until_ms } else { at_ms + length_ms };
                    said == Some(end_ms + GRACE_MS)
                }
            }
        }
        (_, Some(_)) => promises.iter().any(|(_, promise)| ends(promise)),
        (_, None) => promises.iter().any(|(_, promise)| !ends(promise)),
    };
    (!is_right).then(|| format!("the credits of in_{n} end at {said:?}: {grant:?}"))
}

/// Why credits that an invoice took in exchange for new ones came from others than those of the time that it left, and
/// not from the new ones: then what is left would not last as long as what it was bought with. Without a debt, and as
/// far as the new ones suffice.
pub(super) fn wrongly_taken(stripe: &Stripe, entries: &[Entry], taken: &Entry) -> Option<String> {
    let new = entries.iter().find(|entry| entry.seq == taken.seq - 1)?;
    let n: usize = taken.reference.as_ref()?.strip_prefix("in_")?.parse().ok()?;
    let had_debt = new.balance_after < new.amount;
    if new.reference != taken.reference || had_debt || -taken.amount > new.amount {
        return None;
    }
    let left: Vec<i64> =
        stripe.invoices[n].lines.iter().filter(|line| line.amount < 0).map(|line| line.until_s).collect();
    let is_left = |invoice: &Invoice| {
        let is_of = |line: &Line| line.kind == Kind::Period && left.contains(&line.until_s);
        invoice.sub == stripe.invoices[n].sub && invoice.lines.iter().any(is_of)
    };
    let is_right = |seq: i64| {
        let reference = entries.iter().find(|entry| entry.seq == seq).and_then(|entry| entry.reference.clone());
        let of: Option<usize> = reference.as_deref().and_then(|id| id.strip_prefix("in_")?.parse().ok());
        seq == new.seq || of.is_some_and(|of| is_left(&stripe.invoices[of]))
    };
    let wrong: Vec<i64> = taken.detail.burned.iter().map(|burn| burn.grant).filter(|seq| !is_right(*seq)).collect();
    (!wrong.is_empty()).then(|| format!("in_{n} took credits of {wrong:?}: {taken:?}"))
}
