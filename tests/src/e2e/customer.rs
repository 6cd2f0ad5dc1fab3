//! What customers do.

use super::answer::{Answer, Expected, same};
use super::client::{Call, Client};
use super::mask::Mask;
use super::target::EMAIL_DOMAIN;
use super::walk::Walk;
use serde_json::{Value, json};

/// The signup endpoint.
pub const ONBOARD: &str = "/api/v1/customers/onboard";

/// A customer that signed up.
pub struct Customer {
    /// Its id.
    pub id: String,
    /// Its email address.
    pub email: String,
    /// Whether its address needs no confirmation, so that it can add a card.
    pub is_confirmed: bool,
    api_key: String,
    client: Client,
}

impl Walk<'_> {
    /// An email address for a new customer.
    pub fn email(&mut self) -> String {
        let domain = self.settings.target.email_domain.clone();
        format!("e2e-{}@{}", self.unique(), domain.as_deref().unwrap_or(EMAIL_DOMAIN))
    }

    /// Makes a signup request. With an admin token it vouches for the address, whose mails nobody reads.
    pub async fn onboard(&self, email: &str, link: Option<&str>) -> Expected<Answer> {
        let mut body = json!({ "email": email, "name": "End-to-end test" });
        if let Some(link) = link {
            body["marketplace_link"] = link.into();
        }
        match self.admin_token() {
            Ok(token) => {
                body["email_verified"] = true.into();
                self.admin(token, "POST", ONBOARD, Some(&body)).await
            }
            Err(_) => self.client.send("POST", ONBOARD, Call::json(&body)).await,
        }
    }

    /// Signs up a customer that is to pay. If its address has to be confirmed first, it skips this step: `None`.
    pub async fn sign_up_to_pay(&mut self, skipped: &str) -> Expected<Option<Customer>> {
        let customer = self.sign_up(None).await?;
        if customer.is_confirmed {
            return Ok(Some(customer));
        }
        self.skip(skipped, "the server asks for a confirmation of the address: needs --admin-token");
        Ok(None)
    }

    /// Signs a customer up, with a link token if it bought on the Marketplace.
    pub async fn sign_up(&mut self, link: Option<&str>) -> Expected<Customer> {
        let email = self.email();
        let made = self.onboard(&email, link).await?.status(201)?;
        let credits = self.settings.target.numbers.signup_credits;
        let source = if link.is_some() { "marketplace" } else { "direct" };
        let made = made
            .has("/customer/email", email.as_str())?
            .has("/customer/plan", "trial")?
            .has("/customer/source", source)?
            .has("/customer/credit_balance", credits)?;
        Customer::of(&made, self.client.clone(), &self.settings.mask)
    }
}

impl Customer {
    fn of(made: &Answer, client: Client, mask: &Mask) -> Expected<Self> {
        let api_key = made.text("/api_key")?;
        mask.add(&api_key);
        let is_confirmed = made.at("/customer/email_confirmed") == &Value::Bool(true);
        Ok(Self { id: made.text("/customer/id")?, email: made.text("/customer/email")?, is_confirmed, api_key, client })
    }

    /// Makes a GET request as this customer.
    pub async fn get(&self, path: &str) -> Expected<Answer> {
        self.client.send("GET", path, Call::default().header("x-api-key", &self.api_key)).await?.status(200)
    }

    /// Makes a request as this customer under an idempotency key.
    pub async fn call(&self, method: &str, path: &str, key: &str, body: Option<&Value>) -> Expected<Answer> {
        let call = body.map_or_else(Call::default, Call::json);
        let call = call.header("x-api-key", &self.api_key).header("Idempotency-Key", key);
        self.client.send(method, path, call).await
    }

    /// Like [`Customer::call`], but repeats the request under the same key until it is not answered with 202.
    pub async fn call_until_done(&self, method: &str, path: &str, key: &str, body: Option<&Value>) -> Expected<Answer> {
        self.client
            .until(&format!("{method} {path} is done"), async || {
                let answer = self.call(method, path, key, body).await?;
                Ok((answer.status != 202).then_some(answer))
            })
            .await
    }

    /// Uses units, with credits or for a charge.
    pub async fn spend(&self, units: i64, key: &str) -> Expected<Answer> {
        self.call_until_done("POST", "/api/v1/usage", key, Some(&json!({ "units": units, "reference": key }))).await
    }

    /// Adds a payment method with consent.
    pub async fn add_card(&self, payment_method: &str, key: &str) -> Expected<Answer> {
        let body = json!({ "payment_method": payment_method, "consent": true });
        self.call_until_done("POST", "/api/v1/payment-methods", key, Some(&body)).await
    }

    /// Expects this balance now.
    pub async fn has_credits(&self, credits: i64) -> Expected {
        self.get("/api/v1/credits").await?.has("/balance", credits)?;
        Ok(())
    }

    /// Waits until it is on this plan with this balance.
    pub async fn wait_until_on(&self, plan: &str, credits: i64) -> Expected {
        let what = format!("the customer is on the plan {plan} with {credits} credits");
        self.client
            .until(&what, async || {
                let me = self.get("/api/v1/customer").await?;
                Ok((me.body["plan"] == plan && me.body["credit_balance"] == credits).then_some(()))
            })
            .await
    }

    /// Waits until it has a Stripe customer and returns its id.
    pub async fn stripe_customer(&self) -> Expected<String> {
        self.client
            .until("the customer has a customer at Stripe", async || {
                let me = self.get("/api/v1/customer").await?;
                Ok(me.body["stripe_customer_id"].as_str().map(str::to_owned))
            })
            .await
    }

    /// Its ledger, latest entry first: the source and the change of the balance.
    pub async fn ledger(&self) -> Expected<Vec<(String, i64)>> {
        let page = self.get("/api/v1/credits/transactions?limit=100").await?;
        let row = |row: &Value| Some((row["source"].as_str()?.to_owned(), row["amount"].as_i64()?));
        Ok(page.rows("/data")?.iter().filter_map(row).collect())
    }

    /// Expects exactly `times` grants of this source, each of this many credits.
    pub async fn was_granted(&self, source: &str, times: usize, credits: i64) -> Expected {
        let ledger = self.ledger().await?;
        let of_source: Vec<i64> =
            ledger.into_iter().filter(|(by, amount)| by == source && *amount > 0).map(|(_, amount)| amount).collect();
        same(&format!("grants of the source {source}"), &of_source, &vec![credits; times])
    }

    /// Expects this many charges for units beyond the credits, of this amount in all.
    pub async fn was_charged(&self, charges: i64, minor: i64) -> Expected {
        let summary = self.get("/api/v1/usage/summary").await?;
        summary.has("/charged/0/charges", charges)?.has("/charged/0/amount_minor", minor)?;
        Ok(())
    }
}
