//! The terms on which an invoice is decided: those that it was decided on before, else those of its time. So a
//! catalogue that came later never brings a period that was paid other credits, and none to one that brought nothing.

use crate::clock::TimeMs;
use crate::domain::catalogue::touch::is_same_offer;
use crate::domain::catalogue::{CatalogueHistory, Price};
use crate::domain::webhook::fields::{self, InvoiceFields, Line};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::sync::Arc;

/// Stripe tells times in whole seconds: a version that came into force within one counts for it.
const SECOND_MS: TimeMs = 1_000;

/// The terms of a price of ours that an invoice named when it was decided, as they are kept with the invoice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SoldTerms {
    /// The ids of the price at Stripe, as far as they are known.
    pub ids: Vec<String>,
    /// The price of the catalogue on those terms.
    pub price: Price,
}

impl SoldTerms {
    /// Whether these are terms of a price at Stripe that sells a price of the catalogue. If a person has decided since
    /// that it sells another one, they are not.
    fn are_of(&self, named: &fields::Price, sells: &Price) -> bool {
        let is_same = || self.ids.iter().any(|id| named.ids.contains(id));
        self.price.key == sells.key && (self.ids.is_empty() || named.ids.is_empty() || is_same())
    }
}

/// What is known of the terms of earlier times.
#[derive(Debug, Clone, Default)]
pub struct EarlierTerms {
    history: Arc<CatalogueHistory>,
    /// What invoices were decided on, by their ids.
    decided: HashMap<String, Vec<SoldTerms>>,
}

impl EarlierTerms {
    /// Adds the catalogues that were in force.
    pub fn add_history(&mut self, history: Arc<CatalogueHistory>) {
        self.history = history;
    }

    /// Adds what an invoice was decided on.
    pub fn add_decided(&mut self, invoice_id: &str, terms: Vec<SoldTerms>) {
        self.decided.insert(invoice_id.to_owned(), terms);
    }

    /// The price that a line sold when its invoice was decided, if that is kept.
    pub fn decided(&self, invoice: &InvoiceFields, line: &Line) -> Option<&Price> {
        let all = self.decided.get(invoice.id.as_ref()?)?;
        let found = all.iter().find(|terms| terms.ids.iter().any(|id| line.price.ids.contains(id)));
        found.map(|terms| &terms.price)
    }

    /// A price that a line of an invoice sells, on the terms that count for the invoice. `kept` are the terms that its
    /// price at Stripe keeps, if it is a former one.
    pub fn apply(&self, price: Price, invoice: &InvoiceFields, line: &Line, kept: Option<&Price>) -> Price {
        let decided = invoice.id.as_ref().and_then(|id| self.decided.get(id));
        if let Some(terms) = decided.and_then(|all| all.iter().find(|terms| terms.are_of(&line.price, &price))) {
            return on_terms(price, &terms.price);
        }
        // Until it was replaced, the terms of each catalogue counted for a price at Stripe, and then those that it
        // keeps.
        let until_ms = match kept {
            Some(kept) => self.history.kept_since(kept).unwrap_or(TimeMs::MIN),
            None => TimeMs::MAX,
        };
        let made_ms =
            invoice.created_ms.map(|at_ms| at_ms.saturating_add(SECOND_MS - 1)).filter(|at_ms| *at_ms < until_ms);
        let of_time = |at_ms: TimeMs| self.history.price_at(&price.key, at_ms);
        match made_ms.and_then(of_time).filter(|then| is_same_offer(&price, then)).cloned() {
            Some(then) => on_terms(price, &then),
            None => price,
        }
    }
}

/// A price with the terms of another time: what it costs, for how long, and which plan it gives is as it is.
fn on_terms(price: Price, terms: &Price) -> Price {
    let Price { credits, grant, rollover, lifetime_days, .. } = *terms;
    Price { credits, grant, rollover, lifetime_days, ..price }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::amount::{Credits, MoneyMinor};
    use crate::domain::catalogue::{Catalogue, Rollover};
    use crate::domain::sale::example::{catalogue, pro_price};
    use crate::domain::sale::judge::judge;
    use crate::domain::sale::{DecidedBy, Decision, KnownPrice, PriceBook, Sold};
    use crate::key::PriceKey;

    /// Within a second.
    const APPLIED_MS: TimeMs = 1_000_400;

    fn selling(price: Price) -> Arc<Catalogue> {
        let mut catalogue = Catalogue::clone(&catalogue());
        catalogue.prices[0] = price;
        Arc::new(catalogue)
    }

    fn before() -> Price {
        Price { credits: Credits::ZERO, rollover: Rollover::Reset, ..pro_price() }
    }

    /// The catalogue sold no credits once, and sells the built-in ones now.
    fn book(now: Price, terms: Option<Price>) -> PriceBook {
        let known = KnownPrice {
            decision: Decision::Ours(now.key.clone()),
            decided_by: DecidedBy::Catalogue,
            terms,
            ..judge(&line().price, &catalogue(), &[], 1)
        };
        let mut book = PriceBook::new(selling(now.clone()), [known]);
        let versions = vec![(0, selling(before())), (APPLIED_MS, selling(now))];
        book.earlier_mut().add_history(Arc::new(CatalogueHistory::new(versions)));
        book
    }

    fn line() -> Line {
        Line {
            price: fields::Price { ids: vec!["price_1".to_owned()], ..fields::Price::default() },
            amount: Some(MoneyMinor(59_900)),
            ..Line::default()
        }
    }

    fn invoice(created_ms: Option<TimeMs>) -> InvoiceFields {
        InvoiceFields { id: Some("in_1".to_owned()), lines: vec![line()], created_ms, ..InvoiceFields::default() }
    }

    fn credits(book: &PriceBook, created_ms: Option<TimeMs>) -> i64 {
        match book.line_of(&invoice(created_ms), &line()) {
            Sold::Ours(price) => price.credits.0,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn terms_are_of_a_price_by_its_key_where_no_id_is_known() {
        let terms = |ids: &[&str]| {
            let ids = ids.iter().map(|id| (*id).to_owned()).collect();
            SoldTerms { ids, price: pro_price() }
        };
        let named = |ids: &[&str]| {
            let ids = ids.iter().map(|id| (*id).to_owned()).collect();
            fields::Price { ids, ..fields::Price::default() }
        };
        assert!(terms(&[]).are_of(&named(&["price_1"]), &pro_price()));
        assert!(terms(&["price_1"]).are_of(&named(&[]), &pro_price()));
        assert!(terms(&["price_1", "price_2"]).are_of(&named(&["price_2"]), &pro_price()));
        assert!(!terms(&["price_1"]).are_of(&named(&["price_2"]), &pro_price()));
        let other = Price { key: PriceKey::trusted("other"), ..pro_price() };
        assert!(!terms(&["price_1"]).are_of(&named(&["price_1"]), &other), "a person decided that it sells another");
    }

    #[test]
    fn an_invoice_counts_on_the_terms_of_its_time() {
        let book = book(pro_price(), None);
        let told_ms = [999_000, 1_000_000, 1_001_000];
        assert_eq!(told_ms.map(|at_ms| credits(&book, Some(at_ms))), [0, 60, 60], "in whole seconds");
        assert_eq!(credits(&book, None), 60, "nobody knows when it was made");
    }

    #[test]
    fn what_an_invoice_was_decided_on_counts_before_its_time() {
        let mut book = book(pro_price(), None);
        let terms = |price: Price| vec![SoldTerms { ids: vec!["price_1".to_owned()], price }];
        book.earlier_mut().add_decided("in_1", terms(before()));
        assert_eq!(credits(&book, Some(APPLIED_MS)), 0);
        assert_eq!(book.terms_of(&invoice(Some(APPLIED_MS))), terms(before()), "and it stays so");
        let other = Price { key: PriceKey::trusted("other"), ..before() };
        book.earlier_mut().add_decided("in_1", terms(other));
        assert_eq!(credits(&book, Some(APPLIED_MS)), 60, "it was decided since what it sells");
    }

    #[test]
    fn a_former_price_has_the_terms_of_each_time_until_it_was_replaced() {
        let raised = Price { amount: MoneyMinor(69_900), credits: Credits(80), ..pro_price() };
        let mut book = book(raised.clone(), Some(pro_price()));
        let versions = [(0, before()), (1_000, pro_price()), (2_000, raised), (3_000, pro_price())];
        let versions = versions.map(|(at_ms, price)| (at_ms, selling(price))).to_vec();
        book.earlier_mut().add_history(Arc::new(CatalogueHistory::new(versions)));
        assert_eq!([0, 1_000, 2_000, 3_000].map(|at_ms| credits(&book, Some(at_ms))), [0, 60, 60, 60]);
        let again = Price { credits: Credits(90), ..pro_price() };
        let versions = [(0, pro_price()), (1_000, Price { amount: MoneyMinor(1), ..pro_price() }), (2_000, again)];
        let versions = versions.map(|(at_ms, price)| (at_ms, selling(price))).to_vec();
        book.earlier_mut().add_history(Arc::new(CatalogueHistory::new(versions)));
        assert_eq!(credits(&book, Some(2_000)), 60, "another price at Stripe has the old amount again");
    }

    #[test]
    fn a_price_that_costs_something_else_now_has_no_terms_of_an_earlier_time() {
        let raised = Price { amount: MoneyMinor(69_900), credits: Credits(80), ..pro_price() };
        assert_eq!(credits(&book(raised, None), Some(0)), 80);
    }

    #[test]
    fn terms_are_read_as_they_are_written() {
        let terms = vec![SoldTerms { ids: vec!["price_1".to_owned()], price: before() }];
        let text = serde_json::to_string(&terms).expect("JSON");
        assert_eq!(serde_json::from_str::<Vec<SoldTerms>>(&text).expect("terms"), terms);
    }
}
