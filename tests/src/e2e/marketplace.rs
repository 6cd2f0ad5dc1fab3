//! A purchase on GitHub Marketplace that becomes a customer.
//!
//! Needs GitHub's secret to sign events, and an admin token for a link token. In production only the refusal of
//! unsigned events is safe to test.

use super::answer::{Expected, same};
use super::customer::Customer;
use super::sender::{day_in, deliver_to_github, github_signature, post_github};
use super::walk::Walk;
use serde_json::{Value, json};

/// GitHub's account ids are far below this.
const ACCOUNTS_FROM: i64 = 1 << 40;
/// When the purchase is billed next, in days.
const BILLED_IN_DAYS: u64 = 20;

/// The purchase in the events.
struct Purchase {
    account: i64,
    plan: String,
    unique: String,
}

/// Runs the journey.
pub async fn run(walk: &mut Walk<'_>) -> Expected {
    let purchase = Purchase {
        account: ACCOUNTS_FROM + i64::from(rand::random::<u32>()),
        plan: walk.settings.target.marketplace_plan.clone(),
        unique: walk.unique(),
    };
    if !unsigned_events(walk, &purchase).await? {
        walk.skip("a purchase is accepted", "the server does not accept GitHub's events");
        return Ok(());
    }
    let target = &walk.settings.target;
    let secret = match target.github_secret.as_deref() {
        _ if target.only_safe_steps => Err("makes a purchase: not with --safe"),
        None => Err("signs as GitHub: needs --github-secret"),
        Some(secret) => Ok(secret),
    };
    let secret = match secret {
        Ok(secret) => secret,
        Err(reason) => {
            walk.skip("a purchase is accepted", reason);
            return Ok(());
        }
    };
    accept_purchase(walk, secret, &purchase).await?;
    match walk.admin_token() {
        Ok(token) => {
            let customer = link_customer(walk, token, &purchase).await?;
            spend_and_cancel(walk, secret, &customer, &purchase).await
        }
        Err(reason) => {
            walk.skip("the buyer signs up with a link token", reason);
            Ok(())
        }
    }
}

impl Purchase {
    fn event(&self, action: &str) -> Value {
        json!({
            "action": action,
            "effective_date": day_in(0),
            "sender": { "login": "bursar-e2e", "id": 7, "type": "User" },
            "marketplace_purchase": {
                "account": {
                    "type": "Organization",
                    "id": self.account,
                    "login": format!("bursar-e2e-{}", self.unique),
                    "organization_billing_email": "billing@bursar-e2e.example.com",
                },
                "billing_cycle": "monthly",
                "unit_count": 1,
                "on_free_trial": false,
                "free_trial_ends_on": null,
                "next_billing_date": day_in(BILLED_IN_DAYS),
                "plan": { "id": 1, "name": self.plan, "price_model": "FLAT_RATE", "monthly_price_in_cents": 59_900 },
            },
        })
    }

    fn delivery(&self, nth: u8) -> String {
        format!("e2e-{}-{nth}", self.unique)
    }
}

/// Checks that unsigned events are refused; returns whether the server takes GitHub's events at all.
async fn unsigned_events(walk: &mut Walk<'_>, purchase: &Purchase) -> Expected<bool> {
    walk.step("an event without GitHub's signature is refused");
    let body = purchase.event("purchased").to_string();
    let delivery = purchase.delivery(0);
    let answer = post_github(&walk.client, &delivery, &body, None).await?;
    if answer.status == 404 {
        answer.problem(404, "github_not_configured")?;
        return Ok(false);
    }
    answer.problem(400, "signature_missing")?;
    let forged = github_signature("this is not the secret", &body);
    post_github(&walk.client, &delivery, &body, Some(&forged)).await?.problem(400, "signature_mismatch")?;
    Ok(true)
}

async fn accept_purchase(walk: &mut Walk<'_>, secret: &str, purchase: &Purchase) -> Expected {
    walk.step("a purchase is accepted once, however often it is delivered");
    let (client, event) = (walk.client.clone(), purchase.event("purchased"));
    let delivery = purchase.delivery(1);
    deliver_to_github(&client, secret, &delivery, &event).await?.has("/duplicate", false)?;
    deliver_to_github(&client, secret, &delivery, &event).await?.has("/duplicate", true)?;
    Ok(())
}

/// The buyer signs up with a link token, as on the company's site.
async fn link_customer(walk: &mut Walk<'_>, token: &str, purchase: &Purchase) -> Expected<Customer> {
    let numbers = walk.settings.target.numbers;
    let account = format!("/admin/v1/marketplace/accounts/{}", purchase.account);
    walk.step("support sees the purchase before there is a customer");
    let known = walk
        .client
        .until("the purchase is known as Pro", async || {
            let found = walk.admin(token, "GET", &account, None).await?;
            Ok((found.at("/account/plan/plan") == "pro").then_some(found))
        })
        .await?;
    known.has("/account/state", "purchased")?.has("/account/customer_id", Value::Null)?;

    walk.step("the buyer signs up with a link token and is on Pro with its credits");
    let link = walk.admin(token, "POST", &format!("{account}/link-token"), None).await?.status(200)?.text("/token")?;
    walk.settings.mask.add(&link);
    let customer = walk.sign_up(Some(&link)).await?;
    customer.wait_until_on("pro", numbers.signup_credits + numbers.pro_credits).await?;

    walk.step("a link token works once");
    let second = walk.email();
    walk.onboard(&second, Some(&link)).await?.problem(422, "marketplace_link_invalid")?;
    Ok(customer)
}

/// Credits are spent, a repeated event grants nothing, and the end leaves the credits.
async fn spend_and_cancel(walk: &mut Walk<'_>, secret: &str, customer: &Customer, purchase: &Purchase) -> Expected {
    let numbers = walk.settings.target.numbers;
    let left = numbers.signup_credits + numbers.pro_credits - 1;
    walk.step("the credits are spent like any other");
    customer.spend(1, "first").await?.status(200)?.has("/credit_balance", left)?;

    walk.step("a repeated purchase event grants nothing, and its end leaves the credits");
    let client = walk.client.clone();
    deliver_to_github(&client, secret, &purchase.delivery(2), &purchase.event("purchased")).await?;
    // Events of one account are processed in order: once the end shows, the earlier events are done.
    deliver_to_github(&client, secret, &purchase.delivery(3), &purchase.event("cancelled")).await?;
    customer.wait_until_on("pay_as_you_go", left).await?;
    let ledger = customer.ledger().await?;
    same("credits of the ledger's last entry", &ledger.first().map(|(_, amount)| *amount), &Some(-1))
}
