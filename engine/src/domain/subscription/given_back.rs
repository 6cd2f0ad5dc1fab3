//! Money of the present period that was given back: a change at once must not credit it a second time.

use super::change::{ChangeRefusal, refuse};
use crate::amount::MoneyMinor;
use crate::clock::TimeMs;
use crate::domain::payment::Invoice;
use crate::domain::webhook::fields::{InvoiceFields, Line};
use std::collections::BTreeSet;

/// Checks that a change at once credits no time of a period whose money was given back. `change` is the invoice that
/// the change would make, `others` are the subscription's other invoices as Stripe has them, and `given_back` those
/// of which money was refunded or disputed, as they are stored.
///
/// Stripe credits the time that is left of what a period cost, whatever was given back of that since. Where credits
/// went with the money, the period is worth less than that. Where they stayed, the money was a gift: it may be given
/// beside what is credited, as long as both together are no more than the period cost.
///
/// # Errors
/// `period_refunded`.
pub fn check_given_back(
    change: &InvoiceFields,
    others: &[InvoiceFields],
    given_back: &[Invoice],
) -> Result<(), ChangeRefusal> {
    let credited = change.lines.iter().filter(|line| line.credits_time());
    let left: BTreeSet<TimeMs> = credited.clone().filter_map(|line| line.period_end_ms).collect();
    let is_of_left = |line: &&Line| line.period_end_ms.is_some_and(|end_ms| left.contains(&end_ms));
    let (mut cost, mut gone, mut is_worth_less) = (MoneyMinor::ZERO, MoneyMinor::ZERO, false);
    for invoice in others.iter().filter(|other| other.is_paid == Some(true)) {
        let mut billed = invoice.lines.iter().filter(|line| line.charges_time()).filter(is_of_left).peekable();
        if billed.peek().is_none() {
            continue;
        }
        cost += sum(billed);
        for stored in given_back.iter().filter(|stored| Some(&stored.id) == invoice.id.as_ref()) {
            gone += stored.refunded + stored.disputed;
            is_worth_less |= stored.refunded + stored.disputed > stored.kept;
        }
    }
    let is_credited_twice = is_worth_less || gone - sum(credited) > cost;
    if gone <= MoneyMinor::ZERO || !is_credited_twice {
        return Ok(());
    }
    refuse(
        "period_refunded",
        "Money that was paid for the present period was given back, or is disputed, so the time that is left of it \
         cannot be credited. Change with the end of the period: when = period_end.",
    )
}

/// What lines cost after discounts, all together.
fn sum<'a>(lines: impl Iterator<Item = &'a Line>) -> MoneyMinor {
    MoneyMinor(lines.filter_map(Line::net_amount).fold(0, |sum, amount| sum.saturating_add(amount.0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::amount::Credits;
    use crate::ids::CustomerId;

    /// A line, whose period ends at this time.
    fn line(amount: i64, is_proration: bool, end_ms: TimeMs) -> Line {
        Line { amount: Some(MoneyMinor(amount)), is_proration, period_end_ms: Some(end_ms), ..Line::default() }
    }

    fn invoice(id: &str, lines: Vec<Line>) -> InvoiceFields {
        InvoiceFields { id: Some(id.to_owned()), is_paid: Some(true), lines, ..InvoiceFields::default() }
    }

    /// What is stored of an invoice.
    fn stored(id: &str, [refunded, disputed, kept]: [i64; 3]) -> Invoice {
        Invoice {
            id: id.to_owned(),
            customer_id: CustomerId::new(),
            subscription_id: Some("sub_1".to_owned()),
            is_paid: true,
            amount: None,
            currency: None,
            credits: Credits::ZERO,
            brings_now: true,
            terms: None,
            failure: None,
            refunded: MoneyMinor(refunded),
            disputed: MoneyMinor(disputed),
            kept: MoneyMinor(kept),
            created_at_ms: 0,
            updated_at_ms: 0,
        }
    }

    /// Whether a change is refused that credits 700 of a year for 1,200, of which this was given back.
    fn is_refused_after(gone: [i64; 3]) -> bool {
        let change = invoice("upcoming", vec![line(-700, true, 30), line(40, false, 60)]);
        let paid = [invoice("in_1", vec![line(1_200, false, 30)])];
        check_given_back(&change, &paid, &[stored("in_1", gone)]).is_err()
    }

    #[test]
    fn time_is_not_credited_whose_money_was_refunded_or_is_disputed() {
        assert!(!is_refused_after([0, 0, 0]));
        for gone in [[1_200, 0, 0], [1, 0, 0], [0, 1_200, 0], [0, 600, 0], [100, 50, 100]] {
            assert!(is_refused_after(gone), "{gone:?}");
        }
    }

    #[test]
    fn a_gift_is_no_obstacle_as_long_as_it_and_the_credit_are_within_the_cost() {
        assert!(!is_refused_after([500, 0, 500]), "both are all that was paid");
        assert!(is_refused_after([501, 0, 501]), "the customer would get more than it paid");
    }

    #[test]
    fn only_money_of_the_period_that_is_left_counts() {
        let change = invoice("upcoming", vec![line(-700, true, 30)]);
        let paid = [
            invoice("in_1", vec![line(1_200, false, 10)]),
            invoice("in_2", vec![line(1_200, false, 30), line(-9, true, 10)]),
        ];
        let check = |given_back: &[Invoice]| check_given_back(&change, &paid, given_back).is_ok();
        assert!(check(&[]) && check(&[stored("in_1", [1_200, 0, 0])]) && check(&[stored("in_9", [7, 0, 0])]));
        assert!(!check(&[stored("in_2", [1_200, 0, 0])]));
    }

    #[test]
    fn money_for_more_of_the_same_period_counts_too() {
        let change = invoice("upcoming", vec![line(-900, true, 30)]);
        let seats = invoice("in_2", vec![line(600, true, 30), line(-100, true, 30)]);
        let paid = [invoice("in_1", vec![line(1_200, false, 30)]), seats];
        assert!(check_given_back(&change, &paid, &[stored("in_2", [500, 0, 0])]).is_err());
    }

    #[test]
    fn a_change_that_credits_no_time_is_possible_whatever_was_given_back() {
        let change = invoice("upcoming", vec![line(40, false, 60)]);
        let paid = [invoice("in_1", vec![line(1_200, false, 30)])];
        assert!(check_given_back(&change, &paid, &[stored("in_1", [1_200, 0, 0])]).is_ok());
    }
}
