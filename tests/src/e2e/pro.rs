//! Pro: subscribe, use the month's credits up, pay for more, renew, cancel.
//!
//! Needs a server whose Stripe takes test cards. The renewal needs a sandbox with a clock that can be moved, so it is
//! skipped in Stripe's test mode. Not safe in production: it charges.

use super::answer::Expected;
use super::customer::Customer;
use super::pay_as_you_go::price_text;
use super::sandbox::SandboxControl;
use super::walk::Walk;
use serde_json::json;

const SUBSCRIPTION: &str = "/api/v1/subscription";
/// Longer than any month, shorter than any two.
const ONE_MONTH_AT_LEAST_S: i64 = 32 * 86_400;

/// Runs the journey.
pub async fn run(walk: &mut Walk<'_>) -> Expected {
    if let Some(reason) = walk.why_not_charge() {
        walk.skip("a customer subscribes to Pro", reason);
        return Ok(());
    }
    let Some(customer) = subscribe(walk).await? else { return Ok(()) };
    use_month(walk, &customer).await?;
    let left = match walk.sandbox() {
        Some(sandbox) => renew(walk, &customer, &sandbox).await?,
        None => {
            let name = "the renewal brings the next month's credits";
            walk.skip(name, "moves the sandbox's clock: needs --sandbox-url and --sandbox-token");
            0
        }
    };
    cancel(walk, &customer, left).await
}

/// A customer that subscribes.
async fn subscribe(walk: &mut Walk<'_>) -> Expected<Option<Customer>> {
    let numbers = walk.settings.target.numbers;
    let free = numbers.signup_credits + numbers.bonus_credits;
    walk.step("without a card there is no Pro");
    let Some(customer) = walk.sign_up_to_pay("a customer subscribes to Pro").await? else { return Ok(None) };
    let refused = customer.call("POST", SUBSCRIPTION, "no-card", Some(&json!({}))).await?;
    refused.problem(402, "payment_method_missing")?;

    walk.step("subscribing brings the month's credits at once");
    customer.add_card("pm_card_visa", "card").await?.status(201)?;
    let made = customer.call_until_done("POST", SUBSCRIPTION, "pro", Some(&json!({}))).await?.status(201)?;
    let made = made.has("/status", "active")?.has("/plan", "pro")?;
    made.has("/credit_balance", free + numbers.pro_credits)?;

    walk.step("subscribing again subscribes once");
    let again = customer.call_until_done("POST", SUBSCRIPTION, "pro", Some(&json!({}))).await?;
    again.status(201)?;
    let second = customer.call("POST", SUBSCRIPTION, "pro-again", Some(&json!({}))).await?;
    second.problem(409, "already_subscribed")?;
    customer.wait_until_on("pro", free + numbers.pro_credits).await?;

    walk.step("the month is on an invoice");
    let invoices = customer.get("/api/v1/invoices").await?;
    invoices.has("/data/0/status", "paid")?.has("/data/0/amount_paid_minor", numbers.pro_price_minor)?;
    Ok(Some(customer))
}

/// Uses the month's credits up, and one unit more.
async fn use_month(walk: &mut Walk<'_>, customer: &Customer) -> Expected {
    let numbers = walk.settings.target.numbers;
    walk.step("the month's credits are used up, and the warning has Pro's price");
    let all = numbers.signup_credits + numbers.bonus_credits + numbers.pro_credits;
    let spent = customer.spend(all, "month").await?.status(200)?;
    spent.has("/credit_balance", 0)?.contains_text("/warning", &price_text(numbers.pro_unit_price_minor))?;

    walk.step("the next unit is charged at Pro's price");
    customer.spend(1, "more").await?.status(200)?.has("/credit_balance", 0)?;
    customer.was_charged(1, numbers.pro_unit_price_minor).await?;
    customer.was_granted("stripe", 1, numbers.pro_credits).await
}

/// Renews the subscription; returns the credits after it.
async fn renew(walk: &mut Walk<'_>, customer: &Customer, sandbox: &SandboxControl) -> Expected<i64> {
    let numbers = walk.settings.target.numbers;
    walk.step("the renewal brings the next month's credits");
    sandbox.advance(ONE_MONTH_AT_LEAST_S).await?;
    customer.wait_until_on("pro", numbers.pro_credits).await?;

    walk.step("each month was granted once, and paid once");
    customer.was_granted("stripe", 2, numbers.pro_credits).await?;
    let paid = 2 * numbers.pro_price_minor + numbers.pro_unit_price_minor;
    sandbox.has_paid(&customer.stripe_customer().await?, paid).await?;
    Ok(numbers.pro_credits)
}

/// Cancels at the period's end, resumes, and cancels at once.
async fn cancel(walk: &mut Walk<'_>, customer: &Customer, left: i64) -> Expected {
    walk.step("cancelled at the period's end it is Pro until then");
    let ending = customer.call_until_done("DELETE", SUBSCRIPTION, "cancel", None).await?.status(200)?;
    ending.has("/cancel_at_period_end", true)?.has("/plan", "pro")?;

    walk.step("a cancellation is taken back");
    let resumed =
        customer.call_until_done("POST", &format!("{SUBSCRIPTION}/resume"), "resume", None).await?.status(200)?;
    resumed.has("/cancel_at_period_end", false)?.has("/status", "active")?;

    walk.step("cancelled at once it is pay as you go, and the credits stay");
    let path = format!("{SUBSCRIPTION}?at_once=true");
    let ended = customer.call_until_done("DELETE", &path, "cancel-now", None).await?.status(200)?;
    ended.has("/status", "canceled")?.has("/plan", "pay_as_you_go")?.has("/credit_balance", left)?;
    customer.wait_until_on("pay_as_you_go", left).await
}
