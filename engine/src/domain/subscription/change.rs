//! Changes of a subscription to another price or number of seats: which are possible, and what they keep.

use super::Subscription;
use crate::amount::{AMOUNT_MINOR_MAX, Credits, UNITS_MAX};
use crate::domain::catalogue::currency::money;
use crate::domain::catalogue::{Catalogue, Price};
use crate::domain::sale::SubscribedPrice;
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
    /// Whether the price is taken on the terms on which it is sold now, if the subscription has it on former ones. If
    /// not, the subscription keeps those.
    #[serde(default, skip_serializing_if = "is_false")]
    pub present_terms: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_false(flag: &bool) -> bool {
    !flag
}

/// The item of a subscription that sells its plan, as Stripe has it now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PresentItem {
    /// Its id.
    pub id: String,
    /// The id of its price.
    pub price_id: String,
    /// The catalogue's price that it was sold as, on the terms that count for it, with the amount that it costs at
    /// Stripe.
    pub price: Price,
}

impl PresentItem {
    /// Whether a change keeps this price at Stripe with its terms, whatever the catalogue sells under its key by now:
    /// the change names the price that the subscription has, so only the quantity differs, and does not ask for the
    /// present terms.
    pub fn is_kept_by(&self, change: &Change) -> bool {
        self.price.key == change.price && !change.present_terms
    }

    /// Checks that a change to the present terms leads to another price at Stripe, or to another quantity than this
    /// one. `price_id` is the price at Stripe that sells the price of the catalogue now.
    ///
    /// # Errors
    /// `subscription_unchanged`.
    pub fn check_present_terms(&self, quantity: i64, price_id: &str, change: &Change) -> Result<(), ChangeRefusal> {
        let is_same = self.price_id == price_id && quantity == change.quantity;
        if change.present_terms && is_same { has_present_terms() } else { Ok(()) }
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

pub(super) fn refuse<T>(code: &'static str, message: impl Into<String>) -> Result<T, ChangeRefusal> {
    Err(ChangeRefusal { code, message: message.into() })
}

/// The catalogue's price that a change leads to, if it is possible. The quantity of the price that the subscription has
/// may change even if nobody else can buy that price any longer. `terms` are those of the subscription, if they are
/// known.
///
/// # Errors
/// Why not.
pub fn check<'a>(
    row: Option<&Subscription>,
    catalogue: &'a Catalogue,
    change: &Change,
    terms: Option<&SubscribedPrice>,
) -> Result<&'a Price, ChangeRefusal> {
    let Some(row) = row.filter(|row| row.ended_at_ms.is_none() && row.is_ours()) else {
        return refuse("not_subscribed", "There is no subscription to change. Subscribe first.");
    };
    check_state(row, change.when)?;
    let has_price = row.price.as_ref() == Some(&change.price);
    let is_kept = has_price && !change.present_terms;
    let Some(price) = catalogue.price(&change.price).filter(|price| price.offered || is_kept) else {
        return refuse("price_not_offered", "There is no such price to subscribe to.");
    };
    check_quantity(price, change.quantity)?;
    check_size(price, change.quantity)?;
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
        check_other_terms(price, change, terms)?;
    }
    Ok(price)
}

/// Checks that a change which names the present price and quantity asks for other terms than those that the
/// subscription has.
fn check_other_terms(price: &Price, change: &Change, terms: Option<&SubscribedPrice>) -> Result<(), ChangeRefusal> {
    let is_former = terms.map(|terms| terms.is_former);
    match (change.present_terms, is_former) {
        (true, Some(false)) => has_present_terms(),
        // Where nothing is stored of the terms, the price at Stripe tells.
        (true, _) => Ok(()),
        (false, Some(true)) if price.offered => refuse(
            "subscription_unchanged",
            "The subscription has this price and quantity already, and keeps the terms on which it was bought. To have \
             the price as it is sold now, say present_terms: true.",
        ),
        (false, _) => refuse("subscription_unchanged", "The subscription has this price and quantity already."),
    }
}

fn has_present_terms() -> Result<(), ChangeRefusal> {
    refuse(
        "subscription_unchanged",
        "The subscription has this price on its present terms, and this quantity, already.",
    )
}

/// The number of seats of a change that names none: as many as there are, if the price is sold by seat. Whoever pays
/// for 30 seats does not mean one.
pub fn quantity_kept(row: Option<&Subscription>, catalogue: &Catalogue, price: &PriceKey) -> i64 {
    let is_per_seat = catalogue.price(price).is_some_and(|price| price.per_seat);
    let open = row.filter(|row| row.ended_at_ms.is_none() && row.is_ours() && is_per_seat);
    open.map_or(1, |row| row.quantity.max(1))
}

/// Checks that no change of the subscription, or the subscription itself, waits for its payment. Stripe has made such a
/// change already, so neither another one nor resuming takes it back.
///
/// # Errors
/// `change_pending`, with what helps.
pub fn check_nothing_unpaid(row: &Subscription) -> Result<(), ChangeRefusal> {
    let Some(unpaid) = &row.unpaid_change else { return Ok(()) };
    let id = &unpaid.invoice_id;
    let (stands, helps) = match unpaid.is_void {
        true => (format!("The invoice {id} was voided, so what it charges is not paid"), "Cancel"),
        false => (format!("What the invoice {id} charges waits for its payment"), "Pay the invoice, cancel"),
    };
    let message = format!(
        "{stands}, and resuming does not take it back. {helps} the subscription at once (at_once=true), or ask support \
         to take the change back."
    );
    refuse("change_pending", message)
}

/// The refusal of a change of a subscription that has no price of ours at Stripe, or one that may be and on which support
/// has to decide.
pub fn nothing_of_ours(is_undecided: bool) -> ChangeRefusal {
    let undecided = "Support has to say first what the price sells that the subscription has at Stripe, so it cannot be \
                     changed yet. Contact support.";
    let (code, message) = match is_undecided {
        true => ("subscription_inactive", undecided),
        false => ("not_subscribed", "The subscription sells no plan any longer at Stripe. Contact support."),
    };
    ChangeRefusal { code, message: message.to_owned() }
}

fn check_state(row: &Subscription, when: ChangeTime) -> Result<(), ChangeRefusal> {
    if row.pending_change.is_some() {
        return refuse("change_pending", "Another change is to come. Resume the subscription to take it back.");
    }
    check_nothing_unpaid(row)?;
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

/// Checks that a period of this many of a price can be charged at once, and its credits granted.
///
/// # Errors
/// `charge_too_large`, `grant_too_large`.
pub fn check_size(price: &Price, quantity: i64) -> Result<(), ChangeRefusal> {
    let amount = price.amount.checked_mul(Credits(quantity));
    if amount.is_none_or(|amount| amount > AMOUNT_MINOR_MAX) {
        let most = money(AMOUNT_MINOR_MAX, price.currency.as_str());
        let message = format!("{quantity} of this price cost more than {most}, the most of one charge. Choose fewer.");
        return refuse("charge_too_large", message);
    }
    let times = if price.per_seat { quantity } else { 1 };
    if price.credits.0.checked_mul(times).is_none_or(|credits| credits > UNITS_MAX.0) {
        let message = format!(
            "{quantity} of this price bring more than {UNITS_MAX} credits a period, the most that is granted at once. \
             Choose fewer."
        );
        return refuse("grant_too_large", message);
    }
    Ok(())
}

/// Whether a change charges more than before: more at a time, or more in the long run. `present` is what the
/// subscription has, and how many of it; what is not known may be cheaper.
pub fn is_dearer(present: Option<(&Price, i64)>, next: &Price, quantity: i64) -> bool {
    let Some((present, present_quantity)) = present else { return true };
    let cost = |price: &Price, quantity: i64| i128::from(price.amount.0) * i128::from(quantity);
    let (before, after) = (cost(present, present_quantity), cost(next, quantity));
    after > before || after * i128::from(present.every.length()) > before * i128::from(next.every.length())
}

/// What a change needs of whoever pays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Nothing: it charges no more than before.
    Nothing,
    /// A payment method of the customer's own with consent, which later periods are charged to.
    Consent,
    /// One that may be charged at once, too.
    Charge,
}

impl Need {
    /// What a change needs that is dearer, or charges at once.
    pub fn of(is_dearer: bool, is_charged_now: bool) -> Self {
        match (is_charged_now, is_dearer) {
            (true, _) => Self::Charge,
            (false, true) => Self::Consent,
            (false, false) => Self::Nothing,
        }
    }

    /// What it needs of a card: nothing if invoices are sent to be paid.
    #[must_use]
    pub fn of_card(self, is_by_invoice: bool) -> Self {
        if is_by_invoice { Self::Nothing } else { self }
    }
}

/// Checks that the customer's own Stripe customer pays for a subscription. Somebody else may have bought it for the
/// customer, on a Stripe customer of its own, and agreed to what was bought and to nothing more.
///
/// # Errors
/// `subscription_paid_elsewhere`.
pub fn check_payer(pays: Option<&str>, own: Option<&str>) -> Result<(), ChangeRefusal> {
    if pays.is_some() && pays == own {
        return Ok(());
    }
    refuse(
        "subscription_paid_elsewhere",
        "The subscription was bought elsewhere, and another Stripe customer pays for it, who is not charged more from \
         here. Change it where it was bought, or cancel it and subscribe here.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::amount::MoneyMinor;
    use crate::domain::catalogue::{Interval, IntervalUnit};
    use crate::domain::subscription::{PausedCollection, PendingChange, UnpaidChange};
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
        Change { price: PriceKey::trusted(price), quantity, when, present_terms: false }
    }

    fn code(row: Option<&Subscription>, change: &Change) -> &'static str {
        check(row, &catalogue(), change, None).map_or_else(|refusal| refusal.code, |_| "possible")
    }

    #[test]
    fn a_change_that_names_no_number_keeps_the_seats_there_are() {
        let seats = Subscription { price: Some(PriceKey::trusted("seats")), quantity: 30, ..row("active") };
        let kept = |row: Option<&Subscription>, key: &str| quantity_kept(row, &catalogue(), &PriceKey::trusted(key));
        assert_eq!(kept(Some(&seats), "seats"), 30);
        assert_eq!(kept(Some(&seats), "pro_monthly"), 1, "it is not sold by seat");
        assert_eq!(kept(Some(&row("active")), "seats"), 1);
        let ended = Subscription { ended_at_ms: Some(1), ..seats };
        assert_eq!((kept(Some(&ended), "seats"), kept(None, "seats")), (1, 1));
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
    fn a_period_that_cannot_be_charged_or_granted_at_once_is_refused() {
        let sized = |amount: i64, credits: i64, quantity: i64| {
            let (amount, credits) = (MoneyMinor(amount), Credits(credits));
            let price = Price { amount, credits, per_seat: true, ..catalogue().prices[0].clone() };
            check_size(&price, quantity).map_or_else(|refusal| refusal.code, |()| "possible")
        };
        assert_eq!(sized(5_000, 20, 19_999), "possible");
        assert_eq!(sized(5_000, 20, 20_000), "charge_too_large");
        assert_eq!(sized(i64::MAX, 20, 2), "charge_too_large");
        assert_eq!((sized(5_000, 10_000, 100), sized(5_000, 10_000, 101)), ("possible", "grant_too_large"));
        let mut catalogue = catalogue();
        catalogue.prices[1].amount = MoneyMinor(5_000);
        for when in [ChangeTime::Now, ChangeTime::PeriodEnd] {
            let refused = check(Some(&row("active")), &catalogue, &wanted("seats", QUANTITY_MAX, when), None);
            assert_eq!(refused.map_err(|refusal| refusal.code), Err("charge_too_large"));
        }
    }

    #[test]
    fn a_change_is_dearer_if_it_charges_more_at_a_time_or_in_the_long_run() {
        let price = |amount: i64, count: u32, unit: IntervalUnit| Price {
            amount: MoneyMinor(amount),
            every: Interval { count, unit },
            ..catalogue().prices[0].clone()
        };
        let (month, year) = (price(500, 1, IntervalUnit::Month), price(5_000, 1, IntervalUnit::Year));
        let cheap_year = price(400, 1, IntervalUnit::Year);
        let is_dearer = |one: (&Price, i64), other: (&Price, i64)| is_dearer(Some(one), other.0, other.1);
        assert!(is_dearer((&month, 2), (&month, 3)) && !is_dearer((&month, 3), (&month, 2)));
        assert!(is_dearer((&month, 1), (&year, 1)), "it costs more at a time");
        assert!(is_dearer((&year, 1), (&month, 1)), "it costs more in a year");
        assert!(is_dearer((&cheap_year, 1), (&month, 1)) && !is_dearer((&month, 1), (&cheap_year, 1)));
        assert!(!is_dearer((&month, 12), (&price(500, 1, IntervalUnit::Year), 12)));
        assert!(super::is_dearer(None, &month, 1), "what it costs now is not known");
    }

    #[test]
    fn only_the_customers_own_stripe_customer_pays_for_more() {
        assert!(check_payer(Some("cus_1"), Some("cus_1")).is_ok());
        for (pays, own) in [(Some("cus_2"), Some("cus_1")), (None, Some("cus_1")), (Some("cus_2"), None), (None, None)]
        {
            let refused = check_payer(pays, own).expect_err("somebody else's");
            assert_eq!(refused.code, "subscription_paid_elsewhere", "{pays:?} {own:?}");
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
            check(Some(&seats), &catalogue, &change, None).map_or_else(|refusal| refusal.code, |_| "possible")
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
        let present = Change { present_terms: true, ..wanted("seats", 4, ChangeTime::Now) };
        assert!(!item.is_kept_by(&present));
        let is_possible = |quantity, price_id| item.check_present_terms(quantity, price_id, &present).is_ok();
        assert!(is_possible(4, "price_new") && is_possible(5, "price_old") && !is_possible(4, "price_old"));
    }

    #[test]
    fn the_present_price_on_former_terms_is_changed_to_the_present_ones_only_on_request() {
        let (row, mut catalogue) = (row("active"), catalogue());
        let present = catalogue.prices[0].clone();
        let said = |catalogue: &Catalogue, present_terms: bool, is_former: Option<bool>| {
            let change = Change { present_terms, ..wanted("pro_monthly", 1, ChangeTime::Now) };
            let terms = is_former.map(|is_former| SubscribedPrice { price: present.clone(), is_former });
            check(Some(&row), catalogue, &change, terms.as_ref()).map_err(|it| (it.code, it.message)).err()
        };
        assert_eq!([said(&catalogue, true, Some(true)), said(&catalogue, true, None)], [None, None]);
        let names_the_field = |refused: Option<(&str, String)>| {
            let (code, message) = refused.expect("nothing would change");
            assert_eq!(code, "subscription_unchanged");
            message.contains("present_terms: true")
        };
        assert!(names_the_field(said(&catalogue, false, Some(true))));
        for (present_terms, is_former) in [(false, Some(false)), (false, None), (true, Some(false))] {
            assert!(!names_the_field(said(&catalogue, present_terms, is_former)), "{present_terms} {is_former:?}");
        }
        catalogue.prices[0].offered = false;
        assert!(!names_the_field(said(&catalogue, false, Some(true))), "nobody can have it as it is sold now");
        let refused = said(&catalogue, true, Some(true)).map(|(code, _)| code);
        assert_eq!(refused, Some("price_not_offered"));
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
        let pending = PendingChange { price: PriceKey::trusted("seats"), quantity: 1, amount: None, at_ms: 1 };
        let pending = Subscription { pending_change: Some(pending), ..row("active") };
        assert_eq!(code(Some(&pending), &change), "change_pending");
        for (is_void, advises_to_pay) in [(false, true), (true, false)] {
            let unpaid = UnpaidChange { invoice_id: "in_2".to_owned(), plan: None, is_void };
            let unpaid = Subscription { unpaid_change: Some(unpaid), ..row("active") };
            assert_eq!(code(Some(&unpaid), &change), "change_pending");
            let said = check_nothing_unpaid(&unpaid).expect_err("it is not paid").message;
            assert!(said.contains("in_2") && said.contains("at_once"), "{said}");
            assert_eq!(said.contains("Pay the invoice"), advises_to_pay, "{said}");
        }
        assert_eq!(check_nothing_unpaid(&row("active")), Ok(()));
        let pause = PausedCollection { behavior: "void".to_owned(), resumes_at_ms: None };
        let paused = Subscription { paused_collection: Some(pause), ..row("active") };
        assert_eq!(code(Some(&paused), &change), "subscription_inactive");
    }
}
