//! Credits that expired of a period that was left: they are gone, so no invoice takes them once more.
//!
//! Several invoices may leave one period. Each credit that expired excuses one that is due, once. Of an invoice that was
//! decided, the ledger says what it took, and so what it was excused. What is left excuses the others, first those of
//! the first steps. So it does not matter which invoice is decided first: together they take what is due less what
//! expired. What an invoice was excused that leaves several periods is of the first of them, as far as that expired.

use super::super::before::Before;
use super::{Billed, Step, left_ends, micro, steps_of, undated, whole_credits};
use crate::amount::Credits;
use crate::clock::TimeMs;
use std::collections::BTreeMap;

/// How much of each step of a period is not taken, because it expired, in millionths of a credit. Of a period that is
/// granted monthly, only what came with the step's month counts. `all` is what all invoices bill.
pub(super) fn excused(end_ms: TimeMs, steps: &[Step], all: &[Billed], before: &Before) -> Vec<i128> {
    let months = steps.iter().map(|step| step.month);
    let mut left: BTreeMap<u32, i128> = months.map(|month| (month, micro(before.expired_of(end_ms, month)))).collect();
    let mut excused = vec![0; steps.len()];
    for other in &before.invoices {
        let Some(id) = &other.id else { continue };
        let is_of_it = |step: &Step| !step.is_own && step.invoice.as_ref() == Some(id);
        let Some(brought) = before.brought_by(other).filter(|_| steps.iter().any(is_of_it)) else { continue };
        let not_taken = not_taken(id, brought.record.taken_of_others(), end_ms, all, before);
        share(steps, &mut excused, &mut left, not_taken, is_of_it);
    }
    let is_open = |step: &Step| step.is_own || !is_decided(step, before);
    share(steps, &mut excused, &mut left, i128::MAX, is_open);
    excused
}

/// What a decided invoice did not take of a period although it was due, at most: what it did not take at all, less what
/// expired of the periods that it leaves and that end earlier.
fn not_taken(id: &str, taken: Credits, end_ms: TimeMs, all: &[Billed], before: &Before) -> i128 {
    let lines = || all.iter().filter(|line| line.invoice.as_deref() == Some(id));
    let (mut due, mut of_earlier) = (undated(lines()), 0);
    for other_ms in left_ends(lines()) {
        let steps = steps_of(other_ms, all, before);
        let mut by_month: BTreeMap<u32, i128> = BTreeMap::new();
        for step in steps.iter().filter(|step| step.invoice.as_deref() == Some(id)) {
            *by_month.entry(step.month).or_default() += step.taken;
        }
        due += by_month.values().sum::<i128>();
        if other_ms < end_ms {
            let expired = |(month, due): (&u32, &i128)| (*due).min(micro(before.expired_of(other_ms, *month)));
            of_earlier += by_month.iter().map(expired).sum::<i128>();
        }
    }
    // What it took is whole credits, rounded up: less than one more is no excuse.
    micro(whole_credits(due) - taken) - of_earlier
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
