//! No credit of a period goes twice, whatever its prices are decided to sell by now.

use super::super::before::{Before, ends};
use super::super::book::PriceBook;
use super::{MICRO, Step, micro, part_taken, taken_by_period, whole_credits};
use crate::amount::Credits;
use crate::clock::TimeMs;
use crate::domain::webhook::fields::{InvoiceFields, Line};
use std::collections::BTreeSet;

/// What the steps of a period that ends then take all together, less what other invoices have taken of it by the ledger,
/// in millionths of a credit: these may have been decided by what was known of a price then, and no credit goes twice.
/// `due` is what each step takes, less what expired. An invoice that took just that took whole credits, and what it
/// rounded up is not of the others.
pub(super) fn not_taken_yet(
    end_ms: TimeMs,
    (steps, due): (&[Step], &[i128]),
    invoice: &InvoiceFields,
    before: &Before,
    book: &PriceBook,
) -> i128 {
    let of = BTreeSet::from([end_ms]);
    let taken_by = |other: &InvoiceFields| {
        let taken = before.brought_by(other).map_or(Credits::ZERO, |brought| brought.record.taken_of_others());
        let ends = ends(other, Line::credits_time);
        if taken == Credits::ZERO || !ends.contains(&end_ms) {
            return 0;
        }
        let taken = match ends.len() {
            1 => micro(taken),
            _ => {
                let by_period = taken_by_period(other, before, book).unwrap_or_default();
                if whole_credits(by_period.values().sum()) == taken {
                    return by_period.get(&Some(end_ms)).copied().unwrap_or_default();
                }
                micro(part_taken(taken, by_period, other, &of))
            }
        };
        let is_its = |(step, _): &(&Step, &i128)| step.invoice == other.id;
        let due = steps.iter().zip(due).filter(is_its).map(|(_, due)| due).sum::<i128>();
        if (taken - due).abs() < MICRO { due } else { taken }
    };
    let others = before.invoices.iter().filter(|other| other.id != invoice.id);
    let all: i128 = steps.iter().map(|step| step.taken).sum();
    (all - others.map(taken_by).sum::<i128>()).max(0)
}
