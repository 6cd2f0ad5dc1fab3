//! What the lines of an invoice sold.

use super::book::{PriceBook, Sold};
use super::known_price::{DecidedBy, KnownPrice};
use crate::amount::{Credits, UNITS_MAX};
use crate::clock::TimeMs;
use crate::domain::catalogue::Price;
use crate::domain::webhook::fields::{self, InvoiceFields, Line};

/// A period of a price of ours that an invoice bills.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sale {
    /// The price, on the terms that count for it.
    pub price: Price,
    /// How many of it.
    pub quantity: i64,
    /// When the period begins.
    pub from_ms: Option<TimeMs>,
    /// When it ends.
    pub until_ms: Option<TimeMs>,
}

impl Sale {
    /// The credits of the whole period, at most [`UNITS_MAX`].
    pub fn credits(&self) -> Credits {
        let times = if self.price.per_seat { self.quantity.max(0) } else { 1 };
        Credits(self.price.credits.0.saturating_mul(times)).min(UNITS_MAX)
    }
}

/// What an invoice sold, if that can be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sales {
    /// These periods; none if it is other business.
    Known(Vec<Sale>),
    /// The object lacks this, which Stripe may have.
    Incomplete(&'static str),
    /// A line may be ours, and a person must decide; why, in words.
    Undecided(String),
}

/// What an invoice sold: the whole periods that it bills of prices of ours.
///
/// Prorations, items on their own, and periods that discounts leave nothing of bring nothing. Why the invoice was made
/// (`billing_reason`) does not matter: a whole period also comes with a change of plan.
pub fn sales(invoice: &InvoiceFields, book: &PriceBook) -> Sales {
    let (mut known, mut unnamed) = (Vec::new(), false);
    for line in invoice.lines.iter().filter(|line| line.bills_period() && line.costs()) {
        match book.line_of(invoice, line) {
            Sold::Ours(price) => known.push(Sale {
                price: *price,
                quantity: line.quantity.unwrap_or(1),
                from_ms: line.period_start_ms,
                until_ms: line.period_end_ms,
            }),
            Sold::NotOurs => {}
            Sold::Unnamed => unnamed = true,
            Sold::Undecided(why) => return Sales::Undecided(why),
        }
    }
    if !invoice.has_all_lines() {
        return Sales::Incomplete("lines");
    }
    if unnamed {
        return Sales::Incomplete("price");
    }
    Sales::Known(known)
}

/// Why an invoice that sold nothing of ours may be ours all the same: its subscription carries our tag, and it bills a
/// price that nobody has decided on. Whoever tags a subscription at a price of its own means something by it.
///
/// What a subscription that we made bills beside its plan is an add-on.
pub fn tagged_at_another_price(invoice: &InvoiceFields, book: &PriceBook) -> Option<String> {
    let tags = &invoice.subscription_metadata;
    if !fields::has_our_tag(tags) || tags.contains_key(fields::OPERATION_METADATA_KEY) {
        return None;
    }
    let is_open = |line: &&Line| {
        let by_person = |known: &KnownPrice| known.decided_by == DecidedBy::Operator;
        line.bills_period() && line.costs() && !line.price.is_metered && !book.known(&line.price).is_some_and(by_person)
    };
    let id = invoice.lines.iter().find(is_open)?.price.ids.first()?;
    Some(format!("its subscription is tagged as ours, and price {id} is not known as ours"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::amount::MoneyMinor;
    use crate::domain::sale::example::{catalogue, pro_price};
    use crate::domain::sale::judge::judge;
    use crate::domain::webhook::fields::Metadata;

    fn line(amount: i64) -> Line {
        let price = fields::Price { lookup_key: Some("pro_monthly".to_owned()), is_whole: true, ..Default::default() };
        Line { price, amount: Some(MoneyMinor(amount)), ..Line::default() }
    }

    fn add_on() -> Line {
        Line {
            price: fields::Price { ids: vec!["price_9".to_owned()], is_whole: true, ..Default::default() },
            ..line(500)
        }
    }

    fn of(lines: Vec<Line>) -> Sales {
        sales(&InvoiceFields { lines, ..InvoiceFields::default() }, &PriceBook::new(catalogue(), []))
    }

    fn count(sales: &Sales) -> usize {
        match sales {
            Sales::Known(sales) => sales.len(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn whole_periods_that_cost_something_are_sold_and_nothing_else_is() {
        assert_eq!(count(&of(vec![line(59_900), add_on()])), 1);
        let free = Line { discount: MoneyMinor(59_900), ..line(59_900) };
        for other in [
            Line { is_proration: true, ..line(59_900) },
            Line { is_invoice_item: true, ..line(59_900) },
            line(0),
            line(-59_900),
            free,
            add_on(),
        ] {
            assert_eq!(count(&of(vec![other.clone()])), 0, "{other:?}");
        }
    }

    #[test]
    fn an_invoice_whose_lines_are_not_all_there_is_not_decided() {
        let cut = InvoiceFields { lines: vec![line(59_900)], has_more_lines: true, ..InvoiceFields::default() };
        assert_eq!(sales(&cut, &PriceBook::new(catalogue(), [])), Sales::Incomplete("lines"));
        assert_eq!(of(Vec::new()), Sales::Incomplete("lines"));
        let unnamed = Line { price: fields::Price::default(), ..line(59_900) };
        assert_eq!(of(vec![unnamed]), Sales::Incomplete("price"));
    }

    #[test]
    fn seats_multiply_the_credits_only_of_a_price_that_is_sold_by_seat() {
        let sale =
            |per_seat| Sale { price: Price { per_seat, ..pro_price() }, quantity: 3, from_ms: None, until_ms: None };
        assert_eq!((sale(true).credits(), sale(false).credits()), (Credits(180), Credits(60)));
    }

    #[test]
    fn a_subscription_that_is_tagged_as_ours_at_an_undecided_price_waits_and_at_a_decided_one_does_not() {
        let tags = Metadata::from([("bursar_price".to_owned(), "pro_monthly".to_owned())]);
        let why = |lines: Vec<Line>, tags: &Metadata, known: Option<KnownPrice>| {
            let invoice = InvoiceFields { lines, subscription_metadata: tags.clone(), ..InvoiceFields::default() };
            tagged_at_another_price(&invoice, &PriceBook::new(catalogue(), known))
        };
        assert!(why(vec![add_on()], &tags, None).is_some_and(|why| why.contains("price_9")));
        let decided = judge(&add_on().price, &catalogue(), &[], 1);
        assert!(why(vec![add_on()], &tags, Some(decided.clone())).is_some(), "the rules alone do not decide it");
        let by_person = KnownPrice { decided_by: DecidedBy::Operator, ..decided };
        assert_eq!(why(vec![add_on()], &tags, Some(by_person)), None);
        let metered = fields::Price { is_metered: true, ..add_on().price };
        for other in [
            Line { is_proration: true, ..add_on() },
            Line { amount: Some(MoneyMinor(0)), ..add_on() },
            Line { price: metered, ..add_on() },
        ] {
            assert_eq!(why(vec![other.clone()], &tags, None), None, "{other:?}");
        }
        let made_by_us = Metadata::from([("bursar_operation_id".to_owned(), "op_1".to_owned())]);
        let both = tags.into_iter().chain(made_by_us).collect();
        assert_eq!(why(vec![add_on()], &both, None), None, "it is an add-on of what we made");
        assert_eq!(why(vec![add_on()], &Metadata::new(), None), None);
    }
}
