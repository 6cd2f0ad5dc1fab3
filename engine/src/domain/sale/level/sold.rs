//! What a line sold, as far as other invoices of its subscription tell.

use super::super::before::Before;
use super::super::book::{PriceBook, Sold};
use super::Billed;
use crate::clock::TimeMs;
use crate::domain::webhook::fields::{InvoiceFields, Line};

/// What a line sold. What is credited of time on whose charge nobody has decided waits with that.
pub(super) fn sold_as(invoice: &InvoiceFields, line: &Line, before: &Before, book: &PriceBook) -> Sold {
    match sold_with_period(invoice, line, before, book) {
        Sold::NotOurs if line.credits_time() => {
            undecided_charge(line, before, book).map_or(Sold::NotOurs, Sold::Undecided)
        }
        sold => sold,
    }
}

/// Why nobody knows what the time was sold as that a line credits.
fn undecided_charge(line: &Line, before: &Before, book: &PriceBook) -> Option<String> {
    let is_its_charge = |other: &&Line| other.charges_time() && is_of_same_period(other, line);
    let why = |other: &InvoiceFields| {
        other.lines.iter().filter(is_its_charge).find_map(|charge| match book.line_of(other, charge) {
            Sold::Undecided(why) => Some(why),
            Sold::Ours(_) | Sold::NotOurs | Sold::Unnamed => None,
        })
    };
    before.invoices.iter().filter(|other| !other.is_void).find_map(why)
}

/// Whether lines are of one price and of periods that end together.
fn is_of_same_period(one: &Line, other: &Line) -> bool {
    let is_same_price = || one.price.ids.iter().any(|id| other.price.ids.contains(id));
    one.period_end_ms == other.period_end_ms && is_same_price()
}

/// What a line sold. Where its price alone does not tell, because only a tag made it ours, a proration is of what its
/// period, or the rest of one after a move, was sold as, whatever tags the subscription has by now.
fn sold_with_period(invoice: &InvoiceFields, line: &Line, before: &Before, book: &PriceBook) -> Sold {
    if !book.needs_tag(&line.price) {
        return book.line_of(invoice, line);
    }
    if !line.prorates() {
        return sold_or_decided(invoice, line, book);
    }
    let sold_by = |counts: fn(&InvoiceFields, &Line) -> bool| {
        let of_invoice = |other: &InvoiceFields| {
            let is_its_charge = |charge: &&Line| counts(other, charge) && is_of_same_period(charge, line);
            other.lines.iter().find(is_its_charge).map(|charge| sold_or_decided(other, charge, book))
        };
        let charges: Vec<Sold> = before.invoices.iter().filter_map(of_invoice).collect();
        let ours = charges.iter().find(|sold| matches!(sold, Sold::Ours(_)));
        ours.or_else(|| charges.first()).cloned()
    };
    let by_period = sold_by(|_, charge| charge.bills_period());
    let by_change = || sold_by(|other, charge| charge.charges_time() && !other.is_void);
    by_period.or_else(by_change).unwrap_or_else(|| sold_or_decided(invoice, line, book))
}

/// What a line sells, else what it sold when its invoice was decided: credits that came are there to be taken.
fn sold_or_decided(invoice: &InvoiceFields, line: &Line, book: &PriceBook) -> Sold {
    match book.line_of(invoice, line) {
        Sold::Ours(price) => Sold::Ours(price),
        other => book.decided_then(invoice, line).map_or(other, |price| Sold::Ours(Box::new(price))),
    }
}

/// Leaves out credits of an invoice with a charge that nobody has decided and that may have taken their place: those of a
/// price that is not charged anew from the same moment on, if they are more than what is charged in place of them then.
pub(super) fn drop_replaced(billed: &mut Vec<Billed>) {
    let has_other = |line: &Billed| {
        let is_other = |other: &&Billed| other.from_ms == line.from_ms && other.is_credit() != line.is_credit();
        billed.iter().filter(is_other).any(|other| other.is_same_price(line))
    };
    let alone: Vec<bool> = billed.iter().map(|line| !has_other(line)).collect();
    let alone_from = |from_ms: Option<TimeMs>, is_credit: bool| {
        let lines = billed.iter().zip(&alone).filter(|(line, alone)| **alone && line.from_ms == from_ms);
        lines.filter(|(line, _)| line.is_credit() == is_credit).count()
    };
    let may_be_replaced = |line: &Billed| alone_from(line.from_ms, true) > alone_from(line.from_ms, false);
    let dropped = billed.iter().zip(&alone).map(|(line, alone)| line.is_credit() && *alone && may_be_replaced(line));
    let mut dropped = dropped.collect::<Vec<bool>>().into_iter();
    billed.retain(|_| !dropped.next().unwrap_or(false));
}
