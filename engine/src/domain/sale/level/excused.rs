//! Credits that expired of a period that was left: they are gone, so no invoice takes them once more.
//!
//! Several invoices may leave one period. Each credit that expired excuses one that is due, once, those of the first
//! steps first: what a step is excused follows from it and from the steps before it, whatever is known of later ones. So
//! an invoice that is decided again takes the same, and it does not matter which is decided first: together they take
//! what is due less what expired. If an invoice took its credits before they expired, the ledger says so, and what it
//! was not excused is left for the steps after it. What an invoice was excused that leaves several periods is of the
//! first of them, as far as that expired.

use super::super::before::Before;
use super::{Billed, MICRO, Step, left_ends, micro, steps_of, undated, whole_credits};
use crate::amount::Credits;
use crate::clock::TimeMs;
use std::collections::BTreeMap;

/// How much of each step of a period is not taken, because it expired, in millionths of a credit. Of a period that is
/// granted monthly, only what came with the step's month counts. `all` is what all invoices bill.
pub(super) fn excused(end_ms: TimeMs, steps: &[Step], all: &[Billed], before: &Before) -> Vec<i128> {
    let months = steps.iter().map(|step| step.month);
    let mut left: BTreeMap<u32, i128> = months.map(|month| (month, micro(before.expired_of(end_ms, month)))).collect();
    let mut decided: BTreeMap<&str, NotTaken> = BTreeMap::new();
    for id in steps.iter().filter(|step| !step.is_own).filter_map(|step| step.invoice.as_deref()) {
        let Some(brought) = before.brought.get(id) else { continue };
        let taken = brought.record.taken_of_others();
        decided.entry(id).or_insert_with(|| NotTaken::of(id, taken, end_ms, all, before));
    }
    let excuse = |step: &Step| {
        let left = left.entry(step.month).or_default();
        let by_rule = step.taken.min(*left).max(0);
        let not_taken = step.invoice.as_deref().filter(|_| !step.is_own).and_then(|id| decided.get_mut(id));
        let excused = not_taken.map_or(by_rule, |not_taken| not_taken.excuse(by_rule));
        *left -= excused;
        excused
    };
    steps.iter().map(excuse).collect()
}

/// What a decided invoice did not take of a period although it was due, in millionths of a credit: what it did not take
/// at all, less what expired of the periods that it leaves and that end earlier.
struct NotTaken {
    /// The difference in whole credits.
    whole: i128,
    /// The most that it may be: it took whole credits, rounded up.
    most: i128,
}

impl NotTaken {
    fn of(id: &str, taken: Credits, end_ms: TimeMs, all: &[Billed], before: &Before) -> Self {
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
        let whole = micro(whole_credits(due) - taken) - of_earlier;
        Self { whole, most: due - micro(taken) + (MICRO - 1) - of_earlier }
    }

    /// What a step of the invoice was excused: as much as by the rule, unless the ledger says that it took more.
    fn excuse(&mut self, by_rule: i128) -> i128 {
        let excused = if by_rule <= self.most { by_rule } else { self.whole.max(0) };
        self.whole -= excused;
        self.most -= excused;
        excused
    }
}
