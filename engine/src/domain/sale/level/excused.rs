//! Credits that expired of a period that was left: they are gone, so no invoice takes them once more.
//!
//! Several invoices may leave one period. Each credit that expired excuses one that is due, once. Of an invoice that was
//! decided, the ledger says what it took, and so what it was excused. What is left excuses the others, first those of
//! the first steps. So it does not matter which invoice is decided first: together they take what is due less what
//! expired.

use super::super::before::Before;
use super::super::book::PriceBook;
use super::{Step, micro, taken_by_period, whole_credits};
use crate::clock::TimeMs;
use std::collections::BTreeMap;

/// How much of each step of a period is not taken, because it expired, in millionths of a credit. Of a period that is
/// granted monthly, only what came with the step's month counts.
pub(super) fn excused(end_ms: TimeMs, steps: &[Step], before: &Before, book: &PriceBook) -> Vec<i128> {
    let months = steps.iter().map(|step| step.month);
    let mut left: BTreeMap<u32, i128> = months.map(|month| (month, micro(before.expired_of(end_ms, month)))).collect();
    let mut excused = vec![0; steps.len()];
    for other in &before.invoices {
        let is_of_it = |step: &Step| !step.is_own && step.invoice.is_some() && step.invoice == other.id;
        let Some(brought) = before.brought_by(other).filter(|_| steps.iter().any(is_of_it)) else { continue };
        let due: i128 = taken_by_period(other, before, book).unwrap_or_default().values().sum();
        // What it took is whole credits, rounded up: less than one more is no excuse.
        let not_taken = whole_credits(due) - brought.record.taken_of_others();
        share(steps, &mut excused, &mut left, micro(not_taken), is_of_it);
    }
    let is_open = |step: &Step| step.is_own || !is_decided(step, before);
    share(steps, &mut excused, &mut left, i128::MAX, is_open);
    excused
}

/// Excuses some of the steps, in their order, each up to what it takes, and all together at most `most`.
fn share(
    steps: &[Step],
    excused: &mut [i128],
    left: &mut BTreeMap<u32, i128>,
    mut most: i128,
    is_one: impl Fn(&Step) -> bool,
) {
    for (step, excused) in steps.iter().zip(excused).filter(|(step, _)| is_one(step)) {
        let Some(left) = left.get_mut(&step.month) else { continue };
        let more = step.taken.min(*left).min(most).max(0);
        *excused += more;
        *left -= more;
        most -= more;
    }
}

/// Whether the ledger says what the invoice of a step took.
fn is_decided(step: &Step, before: &Before) -> bool {
    step.invoice.as_ref().is_some_and(|id| before.brought.contains_key(id))
}
