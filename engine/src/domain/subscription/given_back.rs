//! What a change at once may credit of the present period: no more than was paid for the time that is left, and no money
//! that was given back already.

use super::change::{ChangeRefusal, refuse};
use crate::amount::MoneyMinor;
use crate::clock::TimeMs;
use crate::domain::refund::Gone;
use crate::domain::sale::before::ends;
use crate::domain::webhook::fields::{InvoiceFields, Line};
use std::collections::{BTreeMap, BTreeSet};

/// Amounts are divided to the millionth of a minor unit.
const MICRO: i128 = 1_000_000;

/// Maximum number of invoices of one period of whose money it is asked what is gone.
pub const PERIOD_INVOICES_MAX: usize = 30;

/// The longest time from the preview of a change to the change itself, with all that is asked in between.
pub const CHANGE_TIME_MS: i64 = 5 * 60 * 1_000;

/// The ids of the paid invoices that charge time of the periods that a change leaves: it has to be known what is gone
/// of their money. None if the change credits no time. `change` is the invoice that the change would make, `others` are
/// the subscription's other invoices as Stripe has them, the latest of them only if `is_cut`.
///
/// # Errors
/// `period_refunded` if they are more than [`PERIOD_INVOICES_MAX`], or not all known.
pub fn invoices_of_left(
    change: &InvoiceFields,
    others: &[InvoiceFields],
    is_cut: bool,
) -> Result<Vec<String>, ChangeRefusal> {
    let paid: Vec<&InvoiceFields> = charges_of_left(change, others).into_iter().map(|(invoice, _)| invoice).collect();
    // The invoice that bills a period is the first of that period, so all later ones are known with it.
    let billed: BTreeSet<TimeMs> = paid.iter().flat_map(|invoice| ends(invoice, Line::bills_period)).collect();
    let is_known = !is_cut || ends(change, Line::credits_time).is_subset(&billed);
    if !is_known || paid.len() > PERIOD_INVOICES_MAX {
        return refuse(
            "period_refunded",
            "The present period has more invoices than are looked at, so nobody can tell whether money of it was given \
             back, and the time that is left of it cannot be credited. Change with the end of the period: when = \
             period_end.",
        );
    }
    Ok(paid.into_iter().filter_map(|invoice| invoice.id.clone()).collect())
}

/// Checks that a change at once credits no time of a period whose money was given back. `gone` is what was refunded,
/// returned by credit notes or disputed of the invoices that [`invoices_of_left`] names, by their ids.
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
    gone: &BTreeMap<String, Gone>,
) -> Result<(), ChangeRefusal> {
    let credited = sum(change.lines.iter().filter(|line| line.credits_time()));
    let (mut cost, mut all_gone, mut is_worth_less) = (MoneyMinor::ZERO, MoneyMinor::ZERO, false);
    for (invoice, charged) in charges_of_left(change, others) {
        cost += charged;
        if let Some(gone) = invoice.id.as_ref().and_then(|id| gone.get(id)) {
            all_gone += gone.all;
            is_worth_less |= gone.counting() > MoneyMinor::ZERO;
        }
    }
    let is_credited_twice = is_worth_less || all_gone - credited > cost;
    if all_gone <= MoneyMinor::ZERO || !is_credited_twice {
        return Ok(());
    }
    refuse(
        "period_refunded",
        "Money that was paid for the present period was given back, or is disputed, so the time that is left of it \
         cannot be credited. Change with the end of the period: when = period_end.",
    )
}

/// Checks that the present period cannot end before a change at once is made: Stripe would then credit the next one, for
/// which nobody has paid yet. Stripe's own clock counts, by which the new period of the change begins.
///
/// # Errors
/// `period_unpaid`.
pub fn check_not_ending(change: &InvoiceFields, ends_at_ms: Option<TimeMs>) -> Result<(), ChangeRefusal> {
    let periods = change.lines.iter().filter(|line| line.bills_period());
    let begins_at_ms = periods.filter_map(|line| line.period_start_ms).min();
    if begins_at_ms.zip(ends_at_ms).is_none_or(|(begins_ms, ends_ms)| ends_ms - begins_ms >= CHANGE_TIME_MS) {
        return Ok(());
    }
    refuse(
        "period_unpaid",
        "The present period ends within minutes, and nobody has paid for the next one yet. Change once that is paid.",
    )
}

/// Checks that a change at once credits no more for the time that is left than was paid for that time.
///
/// Stripe credits what the time costs, whether or not anybody paid for it: an invoice for it may be a draft or open, or
/// void, and a coupon that took half off may be over. What is credited beyond what came would pay for the new period.
/// Source: Stripe, "Prorations", on unpaid invoices.
///
/// What was paid for time is its share of each line that charged it, less its share of what was credited since. An
/// invoice counts once it is paid, or at once if nothing is to be paid for it. Items of earlier changes that are
/// invoiced with this one count as well.
///
/// # Errors
/// `period_unpaid`.
pub fn check_paid(change: &InvoiceFields, others: &[InvoiceFields]) -> Result<(), ChangeRefusal> {
    let credits = || change.lines.iter().filter(|line| line.credits_time());
    let left = ends(change, Line::credits_time);
    let is_of_left = |line: &&Line| line.period_end_ms.is_none_or(|end_ms| left.contains(&end_ms));
    let is_time = |line: &&Line| line.charges_time() || line.credits_time();
    let at_ms = credits().filter_map(|line| line.period_start_ms).max();
    let is_of_before = |line: &&Line| line.is_proration && line.period_start_ms < at_ms;
    let credited: Vec<&Line> = credits().filter(|line| !is_of_before(line)).collect();
    let worth = |invoice: &InvoiceFields, lines: Vec<&Line>| {
        let lines: Vec<&Line> = lines.into_iter().filter(is_time).filter(is_of_left).collect();
        (lines.len(), unreduced(invoice, lines.iter().map(|line| worth_after(line, at_ms)).sum()))
    };
    let settled =
        others.iter().filter(|other| is_settled(other)).map(|other| worth(other, other.lines.iter().collect()));
    let waiting = worth(change, change.lines.iter().filter(is_of_before).collect());
    let (counted, paid) = settled.fold(waiting, |(count, sum), (more, worth)| (count + more, sum + worth));
    // Stripe rounds each line.
    let rounding = i128::try_from(credited.len() + counted).unwrap_or(i128::MAX / MICRO);
    if (-i128::from(sum(credited.into_iter()).0) - rounding) * MICRO <= paid {
        return Ok(());
    }
    let is_owed = |other: &&InvoiceFields| !is_settled(other) && !other.is_void;
    let charges =
        |other: &&InvoiceFields| other.lines.iter().filter(|line| line.charges_time()).any(|line| is_of_left(&line));
    let owed = others.iter().filter(is_owed).find(charges).and_then(|owed| owed.id.as_deref());
    let why = match owed {
        Some(id) => format!("Invoice {id} for the present period is not paid. Change once it is, or"),
        None => {
            "For the time that is left of the present period, more would be credited than was paid. Change".to_owned()
        }
    };
    refuse("period_unpaid", format!("{why} with the end of the period: when = period_end."))
}

/// Whether an invoice is paid, or needs no payment.
fn is_settled(invoice: &InvoiceFields) -> bool {
    let is_free = || invoice.total.is_some_and(|total| total <= MoneyMinor::ZERO);
    !invoice.is_void && (invoice.is_paid == Some(true) || is_free())
}

/// What was paid of the worth of some lines of an invoice: each bears its share of what credit notes took off the invoice
/// before it was paid, of discounts that no line names, and of items with a negative amount, such as goodwill.
fn unreduced(invoice: &InvoiceFields, worth: i128) -> i128 {
    let net = |line: &Line| i128::from(line.net_amount().unwrap_or_default().0);
    let (time, other): (Vec<&Line>, Vec<&Line>) =
        invoice.lines.iter().partition(|line| line.charges_time() || line.credits_time());
    let [time, other] = [time, other].map(|lines| lines.into_iter().map(net).sum::<i128>());
    let share = |worth: i128, part: i128, whole: i128| match whole {
        ..=0 => worth,
        _ => worth * part.clamp(0, whole) / whole,
    };
    let worth = share(worth, time + other.min(0), time);
    let Some(total) = invoice.total.map(|total| i128::from(total.0)) else { return worth };
    share(worth, total, (total + i128::from(invoice.reduced.0.max(0))).max(time + other))
}

/// What a line costs after discounts for the part of its time that follows a moment, in millionths of a minor unit.
/// Without times, all of it.
fn worth_after(line: &Line, at_ms: Option<TimeMs>) -> i128 {
    let whole = i128::from(line.net_amount().unwrap_or_default().0) * MICRO;
    let Some(((from_ms, until_ms), at_ms)) = line.period_start_ms.zip(line.period_end_ms).zip(at_ms) else {
        return whole;
    };
    let length_ms = until_ms.saturating_sub(from_ms).max(1);
    let left_ms = until_ms.saturating_sub(at_ms).clamp(0, length_ms);
    whole * i128::from(left_ms) / i128::from(length_ms)
}

/// The paid invoices that charge time of the periods that a change leaves, and what each charges for it.
fn charges_of_left<'a>(change: &InvoiceFields, others: &'a [InvoiceFields]) -> Vec<(&'a InvoiceFields, MoneyMinor)> {
    let left = ends(change, Line::credits_time);
    let is_of_left = |line: &&Line| line.period_end_ms.is_some_and(|end_ms| left.contains(&end_ms));
    let paid = others.iter().filter(|other| other.is_paid == Some(true));
    let charges = paid.map(|invoice| {
        let lines = invoice.lines.iter().filter(|line| line.charges_time()).filter(is_of_left);
        (invoice, lines.collect::<Vec<_>>())
    });
    charges.filter(|(_, lines)| !lines.is_empty()).map(|(invoice, lines)| (invoice, sum(lines.into_iter()))).collect()
}

/// What lines cost after discounts, all together.
fn sum<'a>(lines: impl Iterator<Item = &'a Line>) -> MoneyMinor {
    MoneyMinor(lines.filter_map(Line::net_amount).fold(0, |sum, amount| sum.saturating_add(amount.0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::refund::CreditsChoice;

    /// A line, whose period ends at this time.
    fn line(amount: i64, is_proration: bool, end_ms: TimeMs) -> Line {
        Line { amount: Some(MoneyMinor(amount)), is_proration, period_end_ms: Some(end_ms), ..Line::default() }
    }

    fn invoice(id: &str, lines: Vec<Line>) -> InvoiceFields {
        InvoiceFields { id: Some(id.to_owned()), is_paid: Some(true), lines, ..InvoiceFields::default() }
    }

    /// What is gone of an invoice, by choices about its credits.
    fn gone(id: &str, amounts: &[(i64, CreditsChoice)]) -> BTreeMap<String, Gone> {
        let mut gone = Gone::default();
        amounts.iter().for_each(|(amount, choice)| gone.add(MoneyMinor(*amount), *choice));
        BTreeMap::from([(id.to_owned(), gone)])
    }

    fn all(id: &str, amount: i64) -> BTreeMap<String, Gone> {
        gone(id, &[(amount, CreditsChoice::All)])
    }

    /// Whether a change is refused that credits 700 of a year for 1,200, of which this was given back.
    fn is_refused_after(amounts: &[(i64, CreditsChoice)]) -> bool {
        let change = invoice("upcoming", vec![line(-700, true, 30), line(40, false, 60)]);
        let paid = [invoice("in_1", vec![line(1_200, false, 30)])];
        check_given_back(&change, &paid, &gone("in_1", amounts)).is_err()
    }

    #[test]
    fn time_is_not_credited_whose_money_was_refunded_or_is_disputed() {
        use CreditsChoice::{All, None, Unspent};
        assert!(!is_refused_after(&[]));
        for amounts in [&[(1_200, All)][..], &[(1, All)], &[(600, Unspent)], &[(100, None), (50, All)]] {
            assert!(is_refused_after(amounts), "{amounts:?}");
        }
    }

    /// A line for the time between two moments.
    fn spanning(amount: i64, is_proration: bool, from_ms: TimeMs, end_ms: TimeMs) -> Line {
        Line { period_start_ms: Some(from_ms), ..line(amount, is_proration, end_ms) }
    }

    fn unpaid(id: &str, lines: Vec<Line>) -> InvoiceFields {
        let total = Some(sum(lines.iter()));
        InvoiceFields { is_paid: Some(false), total, ..invoice(id, lines) }
    }

    /// Whether a change is possible that credits so much in the middle of a period from 0 to 30.
    fn may_credit(amount: i64, others: &[InvoiceFields]) -> bool {
        let change = invoice("upcoming", vec![spanning(-amount, true, 15, 30), spanning(9_900, false, 15, 45)]);
        check_paid(&change, others).is_ok()
    }

    #[test]
    fn a_change_credits_no_more_than_was_paid_for_the_time_that_is_left() {
        let month = spanning(1_000, false, 0, 30);
        let paid = [invoice("in_1", vec![month.clone()])];
        assert!(may_credit(500, &paid) && may_credit(502, &paid), "lines are rounded");
        assert!(!may_credit(503, &paid) && !may_credit(1_000, &paid));
        let half_off = Line { discount: MoneyMinor(500), ..month };
        let paid_half = [invoice("in_1", vec![half_off])];
        assert!(may_credit(250, &paid_half) && !may_credit(500, &paid_half), "the coupon is over");
    }

    #[test]
    fn nothing_is_changed_now_in_a_period_that_may_end_before_the_change_is_made() {
        let check = |left_ms: TimeMs, credited: i64| {
            let lines = vec![spanning(-credited, true, 7, 7 + left_ms), spanning(700, false, 7, CHANGE_TIME_MS * 9)];
            check_not_ending(&invoice("upcoming", lines), Some(7 + left_ms)).is_ok()
        };
        for credited in [1, 0] {
            assert!(check(CHANGE_TIME_MS, credited), "{credited}");
            for left_ms in [CHANGE_TIME_MS - 1, 0, -1] {
                assert!(!check(left_ms, credited), "{left_ms}, for {credited}");
            }
        }
        assert!(check_not_ending(&invoice("upcoming", vec![line(-1, true, 30)]), Some(1)).is_ok(), "nothing begins");
    }

    #[test]
    fn an_invoice_that_is_not_paid_pays_for_no_time() {
        let month = vec![spanning(1_000, false, 0, 30)];
        for open in [unpaid("in_1", month.clone()), InvoiceFields { is_void: true, ..unpaid("in_1", month.clone()) }] {
            assert!(!may_credit(500, std::slice::from_ref(&open)));
            assert!(may_credit(0, std::slice::from_ref(&open)), "time that cost nothing");
        }
        let change = invoice("upcoming", vec![spanning(-500, true, 15, 30)]);
        let said = |others: &[InvoiceFields]| check_paid(&change, others).expect_err("it is refused");
        let open = said(&[unpaid("in_1", month.clone())]);
        assert!(open.code == "period_unpaid" && open.message.contains("in_1"), "{open:?}");
        let void = said(&[InvoiceFields { is_void: true, ..unpaid("in_1", month) }]);
        assert!(void.code == "period_unpaid" && !void.message.contains("in_1"), "nobody can pay it: {void:?}");
    }

    #[test]
    fn what_a_credit_note_took_off_an_open_invoice_was_not_paid() {
        let reduced_by = |amount: i64| InvoiceFields {
            total: Some(MoneyMinor(1_000 - amount)),
            reduced: MoneyMinor(amount),
            ..invoice("in_1", vec![spanning(1_000, false, 0, 30)])
        };
        assert!(may_credit(500, &[reduced_by(0)]) && !may_credit(500, &[reduced_by(1_000)]));
        assert!(may_credit(250, &[reduced_by(500)]) && !may_credit(500, &[reduced_by(500)]));
    }

    #[test]
    fn an_item_of_goodwill_was_not_paid_and_other_business_pays_for_no_time() {
        let with = |amount: i64| {
            let item = Line { amount: Some(MoneyMinor(amount)), is_invoice_item: true, ..Line::default() };
            let total = Some(MoneyMinor(1_000 + amount));
            InvoiceFields { total, ..invoice("in_1", vec![spanning(1_000, false, 0, 30), item]) }
        };
        assert!(may_credit(500, &[with(0)]) && !may_credit(500, &[with(-900)]) && may_credit(50, &[with(-900)]));
        assert!(may_credit(500, &[with(9_000)]) && !may_credit(1_000, &[with(9_000)]));
    }

    #[test]
    fn seats_that_are_not_paid_are_not_credited_and_paid_ones_are() {
        let first = invoice("in_1", vec![spanning(1_000, false, 0, 30)]);
        let more = || vec![spanning(-667, true, 10, 30), spanning(66_667, true, 10, 30)];
        assert!(may_credit(50_000, &[first.clone(), invoice("in_2", more())]));
        assert!(!may_credit(50_000, &[first.clone(), unpaid("in_2", more())]));
        let fewer = unpaid("in_3", vec![spanning(-66_667, true, 10, 30), spanning(667, true, 10, 30)]);
        let paid = [invoice("in_1", vec![spanning(100_000, false, 0, 30)]), fewer];
        assert!(may_credit(500, &paid) && !may_credit(50_000, &paid), "a draft that credits needs no payment");
    }

    #[test]
    fn items_of_earlier_changes_count_with_the_invoice_of_the_change_itself() {
        let first = invoice("in_1", vec![spanning(1_000, false, 0, 30)]);
        let waiting = [spanning(-667, true, 10, 30), spanning(66_667, true, 10, 30)];
        let own = [spanning(-50_000, true, 15, 30), spanning(100, false, 15, 45)];
        let change = invoice("upcoming", waiting.into_iter().chain(own.clone()).collect());
        assert_eq!(check_paid(&change, std::slice::from_ref(&first)), Ok(()));
        assert!(check_paid(&invoice("upcoming", own.to_vec()), &[first]).is_err());
    }

    #[test]
    fn a_gift_is_no_obstacle_as_long_as_it_and_the_credit_are_within_the_cost() {
        assert!(!is_refused_after(&[(500, CreditsChoice::None)]), "both are all that was paid");
        assert!(is_refused_after(&[(501, CreditsChoice::None)]), "the customer would get more than it paid");
    }

    #[test]
    fn only_money_of_the_period_that_is_left_counts() {
        let change = invoice("upcoming", vec![line(-700, true, 30)]);
        let paid = [
            invoice("in_1", vec![line(1_200, false, 10)]),
            invoice("in_2", vec![line(1_200, false, 30), line(-9, true, 10)]),
            InvoiceFields { is_paid: Some(false), ..invoice("in_3", vec![line(1_200, false, 30)]) },
        ];
        assert_eq!(invoices_of_left(&change, &paid, false).as_deref(), Ok(&["in_2".to_owned()][..]));
        let check = |gone: &BTreeMap<String, Gone>| check_given_back(&change, &paid, gone).is_ok();
        assert!(check(&BTreeMap::new()) && check(&all("in_1", 1_200)) && check(&all("in_9", 7)));
        assert!(!check(&all("in_2", 1_200)));
    }

    #[test]
    fn money_for_more_of_the_same_period_counts_too() {
        let change = invoice("upcoming", vec![line(-900, true, 30)]);
        let seats = invoice("in_2", vec![line(600, true, 30), line(-100, true, 30)]);
        let paid = [invoice("in_1", vec![line(1_200, false, 30)]), seats];
        assert_eq!(invoices_of_left(&change, &paid, false).map(|ids| ids.len()), Ok(2));
        assert!(check_given_back(&change, &paid, &all("in_2", 500)).is_err());
    }

    #[test]
    fn a_change_that_credits_no_time_is_possible_whatever_was_given_back() {
        let change = invoice("upcoming", vec![line(40, false, 60)]);
        let paid = [invoice("in_1", vec![line(1_200, false, 30)])];
        assert_eq!(invoices_of_left(&change, &paid, true), Ok(Vec::new()), "nothing is asked");
        assert!(check_given_back(&change, &paid, &all("in_1", 1_200)).is_ok());
    }

    #[test]
    fn time_is_not_credited_of_a_period_whose_invoices_are_not_all_looked_at() {
        let change = invoice("upcoming", vec![line(-700, true, 30)]);
        let first = invoice("in_0", vec![line(1_200, false, 30)]);
        let seats =
            |n: usize| (0..n).map(|n| invoice(&format!("in_s{n}"), vec![line(9, true, 30)])).collect::<Vec<_>>();
        let asked = |others: &[InvoiceFields], is_cut| invoices_of_left(&change, others, is_cut).map(|ids| ids.len());
        let most = [vec![first], seats(PERIOD_INVOICES_MAX - 1)].concat();
        assert_eq!(asked(&most, true), Ok(PERIOD_INVOICES_MAX), "older ones are of other periods");
        assert!(asked(&[most, seats(1)].concat(), false).is_err());
        assert_eq!(asked(&seats(1), false), Ok(1));
        assert!(asked(&seats(1), true).is_err(), "what billed the period is not among them");
    }
}
