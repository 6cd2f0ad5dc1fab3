//! Changes of a subscription to another price or number of seats: which are possible, and what they keep.

use super::Subscription;
use crate::domain::catalogue::{Catalogue, Price};
use crate::key::PriceKey;
use serde::{Deserialize, Serialize};

/// The most that one subscription may have of a price. Source: Stripe, "Create a subscription": it has no limit of its
/// own.
pub const QUANTITY_MAX: i64 = 100_000;

/// When a change takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeTime {
    /// At once. A new period begins, and is paid less what is left of the present one.
    Now,
    /// With the end of the present period, for which nothing changes.
    PeriodEnd,
}

impl ChangeTime {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Now => "now",
            Self::PeriodEnd => "period_end",
        }
    }

    /// Reads a name.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Now, Self::PeriodEnd].into_iter().find(|time| time.as_str() == text)
    }
}

/// What a subscription is to sell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The catalogue's price.
    pub price: PriceKey,
    /// How many of it.
    pub quantity: i64,
    /// When.
    pub when: ChangeTime,
}

/// The item of a subscription that sells its plan, as Stripe has it now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PresentItem {
    /// Its id.
    pub id: String,
    /// The id of its price.
    pub price_id: String,
    /// The catalogue's price that it was sold as, on the terms that count for it, with the amount that it costs at Stripe.
    pub price: Price,
}

impl PresentItem {
    /// Whether a change keeps this price at Stripe with its terms, whatever the catalogue sells under its key by now:
    /// the change names the price that the subscription has, so only the quantity differs.
    pub fn is_kept_by(&self, change: &Change) -> bool {
        self.price.key == change.price
    }
}

/// Why a change is not possible.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeRefusal {
    /// A stable code.
    pub code: &'static str,
    /// In words, for the customer.
    pub message: String,
}

fn refuse<T>(code: &'static str, message: impl Into<String>) -> Result<T, ChangeRefusal> {
    Err(ChangeRefusal { code, message: message.into() })
}

/// The catalogue's price that a change leads to, if it is possible. The quantity of the price that the subscription has
/// may change even if nobody else can buy that price any longer.
///
/// # Errors
/// Why not.
pub fn check<'a>(
    row: Option<&Subscription>,
    catalogue: &'a Catalogue,
    change: &Change,
) -> Result<&'a Price, ChangeRefusal> {
    let Some(row) = row.filter(|row| row.ended_at_ms.is_none() && row.is_ours()) else {
        return refuse("not_subscribed", "There is no subscription to change. Subscribe first.");
    };
    check_state(row, change.when)?;
    let has_price = row.price.as_ref() == Some(&change.price);
    let Some(price) = catalogue.price(&change.price).filter(|price| price.offered || has_price) else {
        return refuse("price_not_offered", "There is no such price to subscribe to.");
    };
    check_quantity(price, change.quantity)?;
    let present = row.price.as_ref().and_then(|key| catalogue.price(key));
    if let Some(present) = present.filter(|present| present.currency != price.currency) {
        let message = format!(
            "The subscription is paid in {}, and a subscription keeps its currency. Choose a price in it, or cancel and \
             subscribe anew.",
            present.currency.as_str().to_uppercase()
        );
        return refuse("price_currency_differs", message);
    }
    if has_price && row.quantity == change.quantity {
        return refuse("subscription_unchanged", "The subscription has this price and quantity already.");
    }
    Ok(price)
}

fn check_state(row: &Subscription, when: ChangeTime) -> Result<(), ChangeRefusal> {
    if row.pending_change.is_some() || row.unpaid_change.is_some() {
        return refuse(
            "change_pending",
            "Another change is to come or waits for its payment. Resume the subscription to take back a change that is \
             to come.",
        );
    }
    if row.cancel_at_period_end {
        return refuse("subscription_ending", "The subscription ends with its period. Resume it first.");
    }
    if row.paused_collection.is_some() {
        return refuse("subscription_inactive", "Payments for the subscription are paused, so it cannot be changed.");
    }
    match (row.status.as_str(), when) {
        ("trialing", ChangeTime::PeriodEnd) => refuse(
            "subscription_inactive",
            "In a trial nothing is paid, so the change can be made now: nothing is charged before the trial's end.",
        ),
        ("active" | "trialing", _) => Ok(()),
        _ => refuse("subscription_inactive", "A payment for the subscription is missing. Pay it before a change."),
    }
}

fn check_quantity(price: &Price, quantity: i64) -> Result<(), ChangeRefusal> {
    if !(1..=QUANTITY_MAX).contains(&quantity) || (quantity != 1 && !price.per_seat) {
        let message = format!("quantity must be from 1 to {QUANTITY_MAX}, and 1 for a price that is not sold by seat");
        return refuse("invalid_quantity", message);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::amount::Credits;
    use crate::domain::subscription::{PausedCollection, PendingChange};
    use crate::domain::webhook::fixtures::row;

    fn catalogue() -> Catalogue {
        let mut catalogue = Catalogue::clone(&Catalogue::built_in());
        let pro = catalogue.prices[0].clone();
        let priced = |key: &str| Price { key: PriceKey::trusted(key), ..pro.clone() };
        catalogue.prices.extend([
            Price { per_seat: true, credits: Credits(20), ..priced("seats") },
            Price { offered: false, ..priced("old") },
            Price {
                currency: crate::domain::catalogue::currency::Currency::parse("eur").expect("a currency"),
                ..priced("euro")
            },
        ]);
        catalogue
    }

    fn wanted(price: &str, quantity: i64, when: ChangeTime) -> Change {
        Change { price: PriceKey::trusted(price), quantity, when }
    }

    fn code(row: Option<&Subscription>, change: &Change) -> &'static str {
        check(row, &catalogue(), change).map_or_else(|refusal| refusal.code, |_| "possible")
    }

    #[test]
    fn a_live_subscription_may_be_changed_to_what_is_offered_in_its_currency() {
        let active = row("active");
        for (price, quantity, expected) in [
            ("seats", 3, "possible"),
            ("seats", 0, "invalid_quantity"),
            ("seats", QUANTITY_MAX + 1, "invalid_quantity"),
            ("pro_monthly", 2, "invalid_quantity"),
            ("pro_monthly", 1, "subscription_unchanged"),
            ("old", 1, "price_not_offered"),
            ("none", 1, "price_not_offered"),
            ("euro", 1, "price_currency_differs"),
        ] {
            for when in [ChangeTime::Now, ChangeTime::PeriodEnd] {
                assert_eq!(code(Some(&active), &wanted(price, quantity, when)), expected, "{price} {quantity}");
            }
        }
    }

    #[test]
    fn a_price_that_is_offered_no_longer_is_kept_with_another_quantity() {
        let mut catalogue = catalogue();
        for price in &mut catalogue.prices {
            price.offered = false;
        }
        let seats = Subscription { price: Some(PriceKey::trusted("seats")), quantity: 5, ..row("active") };
        let code = |price: &str, quantity: i64| {
            let change = wanted(price, quantity, ChangeTime::PeriodEnd);
            check(Some(&seats), &catalogue, &change).map_or_else(|refusal| refusal.code, |_| "possible")
        };
        assert_eq!([code("seats", 4), code("seats", 6)], ["possible"; 2]);
        assert_eq!((code("seats", 5), code("pro_monthly", 1)), ("subscription_unchanged", "price_not_offered"));
    }

    #[test]
    fn only_a_change_that_names_the_present_price_keeps_it() {
        let seats = catalogue().prices[1].clone();
        let item = PresentItem { id: "si_1".to_owned(), price_id: "price_old".to_owned(), price: seats };
        assert!(item.is_kept_by(&wanted("seats", 4, ChangeTime::Now)));
        assert!(!item.is_kept_by(&wanted("pro_monthly", 1, ChangeTime::Now)));
    }

    #[test]
    fn nothing_is_changed_while_something_else_is_open() {
        let change = wanted("seats", 3, ChangeTime::Now);
        assert_eq!(code(None, &change), "not_subscribed");
        let ended = Subscription { ended_at_ms: Some(1), ..row("canceled") };
        assert_eq!(code(Some(&ended), &change), "not_subscribed");
        assert_eq!(code(Some(&Subscription { plan: None, ..row("active") }), &change), "not_subscribed");
        for status in ["past_due", "unpaid", "incomplete", "paused"] {
            assert_eq!(code(Some(&row(status)), &change), "subscription_inactive", "{status}");
        }
        assert_eq!(code(Some(&row("trialing")), &change), "possible");
        let at_end = wanted("seats", 3, ChangeTime::PeriodEnd);
        assert_eq!(code(Some(&row("trialing")), &at_end), "subscription_inactive");
        let ending = Subscription { cancel_at_period_end: true, ..row("active") };
        assert_eq!(code(Some(&ending), &change), "subscription_ending");
        let pending = PendingChange { price: PriceKey::trusted("seats"), quantity: 1, at_ms: 1 };
        let pending = Subscription { pending_change: Some(pending), ..row("active") };
        assert_eq!(code(Some(&pending), &change), "change_pending");
        let pause = PausedCollection { behavior: "void".to_owned(), resumes_at_ms: None };
        let paused = Subscription { paused_collection: Some(pause), ..row("active") };
        assert_eq!(code(Some(&paused), &change), "subscription_inactive");
    }
}
