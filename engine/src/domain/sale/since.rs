//! Periods that bring credits only from a date on.

use super::Sale;
use crate::clock::TimeMs;
use crate::domain::webhook::fields::{InvoiceFields, Line};
use std::borrow::Cow;

/// The sales whose credits count for a customer: those of periods that begin at `credits_from_ms` or later. Without a
/// date all count.
///
/// A period counts by its beginning, not by its payment: so a late payment, a repeated event and a comparison with
/// Stripe decide the same. A line that tells only its end is judged by that; one that tells neither counts.
pub fn since(sales: &[Sale], credits_from_ms: Option<TimeMs>) -> Vec<Sale> {
    let counts = |sale: &&Sale| match (credits_from_ms, sale.from_ms.or(sale.until_ms)) {
        (Some(from_ms), Some(begins_ms)) => begins_ms >= from_ms,
        _ => true,
    };
    sales.iter().filter(counts).cloned().collect()
}

/// The invoice without its prorations within periods that do not count: they brought no credits, so a change takes
/// none. `others` are the other invoices of its subscription, which tell when the periods began.
pub fn left_since<'a>(
    invoice: &'a InvoiceFields,
    others: &[InvoiceFields],
    credits_from_ms: Option<TimeMs>,
) -> Cow<'a, InvoiceFields> {
    let Some(from_ms) = credits_from_ms else { return Cow::Borrowed(invoice) };
    let lines = || others.iter().chain([invoice]).flat_map(|invoice| &invoice.lines);
    let began_ms = |within: &Line| {
        let whole = lines().filter(|line| line.bills_period() && line.period_end_ms == within.period_end_ms);
        whole.filter_map(|line| line.period_start_ms).chain(within.period_start_ms).min()
    };
    let counts = |line: &&Line| !line.is_proration || began_ms(line).is_none_or(|began_ms| began_ms >= from_ms);
    Cow::Owned(InvoiceFields { lines: invoice.lines.iter().filter(counts).cloned().collect(), ..invoice.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::sale::example::pro_price;

    fn sale(from_ms: Option<TimeMs>, until_ms: Option<TimeMs>) -> Sale {
        Sale { price: pro_price(), quantity: 1, from_ms, until_ms }
    }

    #[test]
    fn a_period_counts_if_it_begins_at_the_date_or_later_and_always_without_a_date() {
        let all = [sale(Some(9), Some(20)), sale(Some(10), Some(21)), sale(None, Some(9)), sale(None, None)];
        assert_eq!(since(&all, None).len(), 4);
        assert_eq!(since(&all, Some(10)), [all[1].clone(), all[3].clone()]);
    }

    fn line(is_proration: bool, from_ms: TimeMs, until_ms: TimeMs) -> Line {
        Line { is_proration, period_start_ms: Some(from_ms), period_end_ms: Some(until_ms), ..Line::default() }
    }

    #[test]
    fn a_change_within_a_period_that_began_before_the_date_takes_nothing() {
        let invoice = |lines: &[Line]| InvoiceFields { lines: lines.to_vec(), ..InvoiceFields::default() };
        let (first, change) = (line(false, 10, 20), line(true, 15, 20));
        let (others, changed) = ([invoice(&[first])], invoice(&[change.clone(), line(false, 20, 30)]));
        let left = |from_ms| left_since(&changed, &others, from_ms).lines.len();
        assert_eq!([left(None), left(Some(10)), left(Some(12))], [2, 2, 1]);
        assert_eq!(left_since(&changed, &[], Some(12)).lines.len(), 2, "nobody knows when the period began");
        assert_eq!(left_since(&changed, &[], Some(16)).lines.len(), 1);
        assert_eq!(left_since(&invoice(&[Line { period_start_ms: None, ..change }]), &[], Some(16)).lines.len(), 1);
    }
}
