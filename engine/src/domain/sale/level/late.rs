//! Periods that were left before their invoice was paid.
//!
//! Whoever leaves a period that is not paid has none of its credits, so the invoice that leaves it takes none. If the
//! period is paid after all, its own invoice brings only the credits of the time that was used, and keeps how many it
//! left out for which other one. So the invoice that leaves it takes them no more, if it is decided later.

use super::super::before::{Before, ends};
use super::super::book::PriceBook;
use super::super::record::LeftOut;
use super::super::since::left_since;
use super::{Step, billed, micro, part_taken, taken_by_period, whole_credits};
use crate::amount::Credits;
use crate::clock::TimeMs;
use crate::domain::webhook::fields::{InvoiceFields, Line};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// The credits that a paid invoice leaves out, because its periods were left before it was paid: those that the other
/// invoices would have taken and have not. `before` are the other invoices of its subscription.
pub fn left_before_paid(
    invoice: &InvoiceFields,
    before: &Before,
    book: &PriceBook,
    credits_from_ms: Option<TimeMs>,
) -> Vec<LeftOut> {
    let periods = ends(invoice, Line::bills_period);
    let all = with(invoice, before);
    let left_out = |other: &InvoiceFields| {
        let brought = before.brought_by(other);
        // What brings credits itself settles both when it is decided. One that brings none may have been decided
        // before.
        if brought.is_none() && brings_some(other, &all, book) {
            return None;
        }
        let counted = left_since(other, &all.invoices, credits_from_ms);
        let by_period = taken_by_period(&counted, &all, book).ok()?;
        let own = by_period.iter().filter(|(end_ms, _)| end_ms.is_some_and(|end_ms| periods.contains(&end_ms)));
        let due = whole_credits(own.map(|(_, micro)| micro).sum());
        let taken = brought.map_or(Credits::ZERO, |b| b.record.taken_of_others());
        let taken = part_taken(taken, by_period, other, &periods);
        let credits = due - taken;
        (credits > Credits::ZERO).then(|| LeftOut { invoice: other.id.clone().unwrap_or_default(), credits })
    };
    before.leaving(invoice).filter_map(left_out).collect()
}

/// Whether an invoice brings credits by itself.
fn brings_some(invoice: &InvoiceFields, before: &Before, book: &PriceBook) -> bool {
    let billed = billed(invoice, before, book, false).unwrap_or_default();
    billed.iter().any(|line| !line.is_proration && line.brings && line.level > 0)
}

/// Takes from the steps of a period that ends then what the invoices that billed it left out for them.
pub(super) fn leave_out(end_ms: TimeMs, steps: &mut [Step], before: &Before) {
    let billed = before.invoices.iter().filter(|other| ends(other, Line::bills_period).contains(&end_ms));
    let records = billed.filter_map(|other| before.brought_by(other)).flat_map(|brought| &brought.record.left_out);
    let mut left_out: BTreeMap<&str, i128> = BTreeMap::new();
    for left in records {
        *left_out.entry(&left.invoice).or_default() += micro(left.credits);
    }
    for step in steps {
        let Some(rest) = step.invoice.as_deref().and_then(|id| left_out.get_mut(id)) else { continue };
        let out = step.taken.min(*rest);
        *rest -= out;
        step.taken -= out;
    }
}

/// What is known, with the invoice itself as it is now.
fn with<'a>(invoice: &InvoiceFields, before: &'a Before) -> Cow<'a, Before> {
    if before.invoices.contains(invoice) || before.leaving(invoice).next().is_none() {
        return Cow::Borrowed(before);
    }
    let others = before.invoices.iter().filter(|other| other.id != invoice.id);
    let invoices = others.chain([invoice]).cloned().collect();
    Cow::Owned(Before { invoices, ..before.clone() })
}
