//! From trial to pay as you go: a card, and units charged one by one.
//!
//! Needs a server whose Stripe takes test cards. Not safe in production: it charges.

use super::answer::Expected;
use super::customer::Customer;
use super::walk::Walk;
use serde_json::json;

const METHODS: &str = "/api/v1/payment-methods";
/// Test payment methods. Source: Stripe, "Test card numbers".
const GOOD: &str = "pm_card_visa";
const ANOTHER: &str = "pm_card_mastercard";
const DECLINED: &str = "pm_card_chargeCustomerFail";

/// Runs the journey.
pub async fn run(walk: &mut Walk<'_>) -> Expected {
    if let Some(reason) = walk.why_not_charge() {
        walk.skip("a customer adds a card and pays", reason);
        return Ok(());
    }
    let Some(customer) = add_cards(walk).await? else { return Ok(()) };
    buy_units(walk, &customer).await?;
    try_declined_card(walk).await
}

impl Walk<'_> {
    /// Why test cards cannot be charged; `None` if they can.
    pub fn why_not_charge(&self) -> Option<String> {
        if self.settings.target.only_safe_steps {
            return Some("charges a card: not with --safe".to_owned());
        }
        self.settings.stripe.why_not_charge().map(|reason| format!("charges a test card: {reason}"))
    }
}

/// A price as in warnings, without the currency.
pub(super) fn price_text(minor: i64) -> String {
    format!("{}.{:02}", minor / 100, minor % 100)
}

/// A trial customer that adds a card.
async fn add_cards(walk: &mut Walk<'_>) -> Expected<Option<Customer>> {
    let numbers = walk.settings.target.numbers;
    let all = numbers.signup_credits + numbers.bonus_credits;
    walk.step("a customer signs up");
    let Some(customer) = walk.sign_up_to_pay("a customer adds a card and pays").await? else { return Ok(None) };

    walk.step("a card without consent is refused");
    let body = json!({ "payment_method": GOOD, "consent": false });
    customer.call("POST", METHODS, "no-consent", Some(&body)).await?.problem(400, "consent_required")?;

    walk.step("the first card brings credits");
    let added = customer.add_card(GOOD, "card").await?.status(201)?;
    added.has("/credit_balance", all)?.text("/payment_method/consent_at")?;

    walk.step("a second card brings no credits");
    customer.add_card(ANOTHER, "second-card").await?.status(201)?.has("/credit_balance", all)?;
    let me = customer.get("/api/v1/customer").await?;
    me.has("/has_payment_method", true)?.has("/plan", "trial")?;
    Ok(Some(customer))
}

/// Units beyond the credits.
async fn buy_units(walk: &mut Walk<'_>, customer: &Customer) -> Expected {
    let numbers = walk.settings.target.numbers;
    let (all, price) = (numbers.signup_credits + numbers.bonus_credits, numbers.unit_price_minor);
    walk.step("the last credit comes with the price of the next unit");
    let spent = customer.spend(all - 1, "all-but-one").await?.status(200)?;
    spent.has("/credit_balance", 1)?.contains_text("/warning", &price_text(price))?;
    customer.spend(1, "last").await?.status(200)?.has("/credit_balance", 0)?;

    walk.step("the next unit is charged, granted and spent");
    let paid = customer.spend(1, "paid").await?.status(200)?;
    paid.has("/credit_balance", 0)?.has("/transaction/amount", -1)?;
    customer.was_charged(1, price).await?;

    walk.step("the same request again charges nothing");
    customer.spend(1, "paid").await?.status(200)?.has("/replayed", true)?;
    customer.was_charged(1, price).await?;

    walk.step("three units at once cost three times as much");
    customer.spend(3, "three").await?.status(200)?.has("/credit_balance", 0)?;
    customer.was_charged(2, 4 * price).await?;

    let name = "Stripe was paid exactly that";
    match walk.sandbox() {
        Some(sandbox) => {
            walk.step(name);
            sandbox.has_paid(&customer.stripe_customer().await?, 4 * price).await
        }
        None => {
            walk.skip(name, "reads the sandbox's money: needs --sandbox-url and --sandbox-token");
            Ok(())
        }
    }
}

/// A card that the bank declines, and one that it does not.
async fn try_declined_card(walk: &mut Walk<'_>) -> Expected {
    let numbers = walk.settings.target.numbers;
    walk.step("a declined card buys nothing, and the answer says why");
    let customer = walk.sign_up(None).await?;
    customer.add_card(DECLINED, "card").await?.status(201)?;
    customer.spend(numbers.signup_credits + numbers.bonus_credits, "all").await?.status(200)?;
    let refused = customer.spend(1, "unit").await?.problem(402, "payment_declined")?;
    refused.text("/decline_code")?;
    customer.has_credits(0).await?;

    walk.step("the same request with another card is charged once");
    customer.add_card(GOOD, "good-card").await?.status(201)?;
    customer.spend(1, "unit").await?.status(200)?.has("/credit_balance", 0)?;
    customer.was_charged(1, numbers.unit_price_minor).await
}
