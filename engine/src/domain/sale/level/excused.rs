//! Credits that expired of a period that was left: they are gone, so no invoice takes them once more.
//!
//! Several invoices may leave one period. Each credit that expired excuses one that is due, once: first those of the
//! first steps. All of that follows from the invoices and from what expired, so it does not matter which invoice is
//! decided first. Only one that was decided when less had expired took more than that; what it did not need is for the
//! others. Together they take what is due less what expired.

use super::super::before::Before;
use super::super::book::PriceBook;
use super::{Step, micro, taken_by_period, whole_credits};
use crate::amount::Credits;
use crate::clock::TimeMs;
use std::collections::BTreeMap;

/// How much of each step of a period is not taken, because it expired, in millionths of a credit. Of a period that is
/// granted monthly, only what came with the step's month counts.
pub(super) fn excused(end_ms: TimeMs, steps: &[Step], before: &Before, book: &PriceBook) -> Vec<i128> {
    let months = steps.iter().map(|step| step.month);
    let mut left: BTreeMap<u32, i128> = months.map(|month| (month, micro(before.expired_of(end_ms, month)))).collect();
    let mut excused = vec![0; steps.len()];
    share(steps, &mut excused, &mut left, |_| true);
    give_back(steps, &mut excused, &mut left, before, book);
    let is_open = |step: &Step| step.is_own || !is_decided(step, before);
    share(steps, &mut excused, &mut left, is_open);
    excused
}

/// Excuses some of the steps, in their order, each up to what it takes.
fn share(steps: &[Step], excused: &mut [i128], left: &mut BTreeMap<u32, i128>, is_one: impl Fn(&Step) -> bool) {
    for (step, excused) in steps.iter().zip(excused).filter(|(step, _)| is_one(step)) {
        let Some(left) = left.get_mut(&step.month) else { continue };
        let more = (step.taken - *excused).min(*left).max(0);
        *excused += more;
        *left -= more;
    }
}

/// Gives back what invoices were not excused that the ledger says took more than that.
fn give_back(steps: &[Step], excused: &mut [i128], left: &mut BTreeMap<u32, i128>, before: &Before, book: &PriceBook) {
    for other in &before.invoices {
        let is_of_it = |step: &Step| !step.is_own && step.invoice.is_some() && step.invoice == other.id;
        let of_it = || steps.iter().enumerate().filter(|(_, step)| is_of_it(step)).map(|(at, _)| at);
        let share: i128 = of_it().map(|at| excused[at]).sum();
        let Some(brought) = before.brought_by(other).filter(|_| share > 0) else { continue };
        let due: i128 = taken_by_period(other, before, book).unwrap_or_default().values().sum();
        let took_more = brought.record.taken_of_others() - whole_credits((due - share).max(0));
        let mut over = micro(took_more.max(Credits::ZERO));
        for at in of_it() {
            let back = over.min(excused[at]);
            excused[at] -= back;
            over -= back;
            *left.entry(steps[at].month).or_default() += back;
        }
    }
}

/// Whether the ledger says what the invoice of a step took.
fn is_decided(step: &Step, before: &Before) -> bool {
    step.invoice.as_ref().is_some_and(|id| before.brought.contains_key(id))
}
