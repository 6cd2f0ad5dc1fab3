//! Signup, the first unit of work and the last free one.
//!
//! Safe in production: the checks that create no customer, and the rest if a domain for test customers is given.
//! Nothing is charged; a Stripe customer is created if the server has Stripe.

use super::answer::{Expected, same};
use super::client::Call;
use super::customer::ONBOARD;
use super::walk::Walk;
use serde_json::json;

/// A disposable email domain that every list has.
const DISPOSABLE: &str = "mailinator.com";

/// Runs the journey.
pub async fn run(walk: &mut Walk<'_>) -> Expected {
    refused_requests(walk).await?;
    let target = &walk.settings.target;
    if target.only_safe_steps && target.email_domain.is_none() {
        walk.skip("a customer signs up", "creates a customer: needs --email-domain with --safe");
        return Ok(());
    }
    use_free_credits(walk).await
}

/// Requests without an account.
async fn refused_requests(walk: &mut Walk<'_>) -> Expected {
    walk.step("without a valid key nothing is readable");
    let client = walk.client.clone();
    let path = "/api/v1/customer";
    client.get(path).await?.problem(401, "missing_credentials")?;
    let call = Call::default().header("x-api-key", "bsk_this-is-no-key");
    client.send("GET", path, call).await?.problem(401, "invalid_api_key")?;
    // A proxy may block the admin API altogether.
    let staff = client.get("/admin/v1/customers").await?;
    same("whether customers are readable without a token", &(staff.status < 400), &false)?;

    walk.step("a disposable address, or none, is refused");
    let disposable = format!("e2e-{}@{DISPOSABLE}", walk.unique());
    walk.onboard(&disposable, None).await?.problem(422, "email_disposable")?;
    walk.onboard("this is no address", None).await?.problem(400, "invalid_email")?;
    let call = Call::json(&json!({ "email": 5 }));
    client.send("POST", ONBOARD, call).await?.problem(400, "invalid_body")?;
    Ok(())
}

/// A customer uses its free credits.
async fn use_free_credits(walk: &mut Walk<'_>) -> Expected {
    let free = walk.settings.target.numbers.signup_credits;
    walk.step("a customer signs up and gets a key and free credits");
    let customer = walk.sign_up(None).await?;
    customer.get("/api/v1/customer").await?.has("/id", customer.id.as_str())?.has("/credit_balance", free)?;

    walk.step("signing up again makes no second customer");
    let uppercase = customer.email.to_uppercase();
    walk.onboard(&uppercase, None).await?.problem(409, "customer_exists")?;

    walk.step("the first unit costs one credit");
    let body = json!({ "units": 1, "reference": "first" });
    let usage = "/api/v1/usage";
    let spent = customer.call("POST", usage, "first", Some(&body)).await?.status(200)?;
    let spent = spent.has("/credit_balance", free - 1)?.has("/transaction/amount", -1)?.has("/replayed", false)?;

    walk.step("the same request again spends nothing, another under its key is refused");
    let again = customer.call("POST", usage, "first", Some(&body)).await?.status(200)?;
    again.has("/transaction", spent.at("/transaction").clone())?.has("/replayed", true)?;
    let other = json!({ "units": 2, "reference": "first" });
    customer.call("POST", usage, "first", Some(&other)).await?.problem(422, "idempotency_key_reused")?;
    customer.has_credits(free - 1).await?;

    walk.step("the ledger has both entries");
    let expected = vec![("usage".to_owned(), -1), ("signup".to_owned(), free)];
    same("the ledger, latest first", &customer.ledger().await?, &expected)?;

    walk.step("the last credit comes with a warning");
    let last = customer.spend(free - 2, "all-but-one").await?.status(200)?;
    last.has("/credit_balance", 1)?.contains_text("/warning", "Add billing")?;

    walk.step("without credits and card work is refused, and nothing is spent");
    let refused = customer.spend(2, "too-much").await?.problem(402, "insufficient_credits")?;
    refused.has("/available", 1)?.contains_text("/detail", "Add billing")?;
    customer.has_credits(1).await
}
