//! Takes over what a Stripe customer has that support linked.
//!
//! The job runs in the Stripe customer's stream. It names our customer at Stripe, stores the payment methods, and makes
//! an event of each subscription in force and of each invoice from the first period that counts on. Those events are
//! decided by the rules for Stripe's own, under the same keys: what came by webhook before is not granted again.

use super::{Claimed, Deps, Failure, args};
use crate::clock::TimeMs;
use crate::domain::effect::{Effect, Verdict};
use crate::domain::job::{JobKind, NewJob, Outcome};
use crate::domain::payment_method::PaymentMethod;
use crate::domain::stripe_link::is_live;
use crate::domain::webhook::delivery::delivery;
use crate::domain::webhook::fields::{self, PaymentMethodFields};
use crate::domain::webhook::{EventKind, stripe_stream};
use crate::error::{Error, Result};
use crate::ids::CustomerId;
use crate::infra::store::customer;
use crate::infra::stripe::requests::PAGE_LEN;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Maximum number of pages of subscriptions.
const SUBSCRIPTION_PAGES_MAX: usize = 10;
/// How much earlier than its period an invoice may be made. Source: Stripe, "Subscription invoices": a renewal is made
/// when the period begins; an hour is for clocks, and a day for what is billed in advance by hand.
const INVOICE_SLACK_MS: i64 = 25 * 60 * 60 * 1_000;

#[derive(Debug, Deserialize, Serialize)]
struct AdoptArgs {
    customer: String,
    stripe_customer: String,
    /// From when on invoices are looked at.
    credits_from_ms: TimeMs,
    /// The last invoice that was looked at; the rest is done before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    after: Option<String>,
}

/// The job that adopts what a Stripe customer has.
pub fn stripe_adopt_job(
    customer: &CustomerId,
    stripe_customer: &str,
    credits_from_ms: TimeMs,
    now_ms: TimeMs,
) -> NewJob {
    let args = AdoptArgs {
        customer: customer.to_string(),
        stripe_customer: stripe_customer.to_owned(),
        credits_from_ms,
        after: None,
    };
    let mut job = NewJob::new(JobKind::StripeAdopt, json!(args).to_string(), now_ms);
    job.unique_key = Some(format!("stripe.adopt:{customer}:{stripe_customer}:{credits_from_ms}:{now_ms}"));
    job.customer_id = Some(customer.clone());
    job.stream_key = Some(stripe_stream(stripe_customer));
    job
}

/// Adopts: at first everything but the invoices, with their first page, then a page of invoices in each attempt.
pub(super) async fn run(deps: &Deps, claimed: &Claimed, now_ms: TimeMs) -> Result<Verdict> {
    let args: AdoptArgs = args(claimed)?;
    let id = CustomerId::trusted(args.customer.clone());
    let customer = customer::customer_find(deps.db.read(), &id).await?;
    if customer.is_none_or(|customer| customer.stripe_customer_id.as_deref() != Some(args.stripe_customer.as_str())) {
        let reason = format!("{} is no longer linked to {id}", args.stripe_customer);
        return Ok(Outcome::Cancel { reason }.into());
    }
    match (Adoption { deps, claimed, args, customer: id, now_ms, effects: Vec::new() }).run().await {
        Ok(verdict) => Ok(verdict),
        Err(Failure::Engine(error)) => Err(error),
        Err(Failure::Stripe(error)) => Ok(Outcome::Retry { reason: format!("stripe_unavailable: {error}") }.into()),
    }
}

struct Adoption<'a> {
    deps: &'a Deps,
    claimed: &'a Claimed,
    args: AdoptArgs,
    customer: CustomerId,
    now_ms: TimeMs,
    effects: Vec<Effect>,
}

impl Adoption<'_> {
    async fn run(mut self) -> std::result::Result<Verdict, Failure> {
        if self.args.after.is_none() {
            let key = format!("bursar:own:{}", self.claimed.job.id);
            let stripe = &self.deps.stripe;
            let object =
                stripe.customer_set_owner(&self.args.stripe_customer, Some(self.customer.as_str()), &key).await?;
            self.payment_methods(&object).await?;
            self.subscriptions().await?;
        }
        let next = self.invoices().await?;
        let outcome = match next {
            None => Outcome::Done,
            Some(after) => {
                let args = AdoptArgs { after: Some(after), ..self.args };
                let args = serde_json::to_string(&args)
                    .map_err(|error| Error::Corrupt(format!("arguments of a job: {error}")))?;
                self.effects.push(Effect::JobArgs { job_id: self.claimed.job.id.clone(), args });
                Outcome::Snooze { until_ms: self.now_ms }
            }
        };
        Ok(Verdict { outcome, ledger: None, effects: self.effects })
    }

    /// Stores the payment methods. Nobody has consented here to their being charged for units, so none is.
    async fn payment_methods(&mut self, theirs: &Value) -> std::result::Result<(), Failure> {
        let methods = self.deps.stripe.payment_method_list(&self.args.stripe_customer).await?;
        let named = fields::rows(&methods).iter().filter_map(|method| Some((method, fields::id(&method["id"])?)));
        for (method, id) in named {
            let said = PaymentMethodFields::read(method);
            let method = PaymentMethod::from_stripe(said, id, &self.customer, None, false, self.now_ms);
            self.effects.push(Effect::PaymentMethodPut(method));
        }
        let default = fields::id(&theirs["invoice_settings"]["default_payment_method"]);
        let set = |id| Effect::PaymentMethodDefault { customer_id: self.customer.clone(), id };
        self.effects.extend(default.map(set));
        Ok(())
    }

    async fn subscriptions(&mut self) -> std::result::Result<(), Failure> {
        let mut after: Option<String> = None;
        for _ in 0..SUBSCRIPTION_PAGES_MAX {
            let page = self.deps.stripe.subscription_list(Some(&self.args.stripe_customer), after.as_deref()).await?;
            let live = fields::rows(&page).iter().filter(|object| is_live(object));
            live.for_each(|object| self.take(EventKind::SubscriptionUpdated, object));
            after = next_of(&page);
            if after.is_none() {
                break;
            }
        }
        Ok(())
    }

    /// Takes a page of paid invoices; returns the last one if there may be more that count.
    async fn invoices(&mut self) -> std::result::Result<Option<String>, Failure> {
        let stripe = &self.deps.stripe;
        let page = stripe.invoice_list(&self.args.stripe_customer, PAGE_LEN, self.args.after.as_deref()).await?;
        let first_ms = self.args.credits_from_ms.saturating_sub(INVOICE_SLACK_MS);
        let is_old = |invoice: &&Value| fields::created_ms(invoice).is_some_and(|created_ms| created_ms < first_ms);
        let invoices = fields::rows(&page);
        let paid = invoices.iter().filter(|invoice| invoice["status"] == "paid" && !is_old(invoice));
        paid.for_each(|invoice| self.take(EventKind::InvoicePaid, invoice));
        let all_count = !invoices.iter().any(|invoice| is_old(&invoice));
        Ok(next_of(&page).filter(|_| all_count))
    }

    /// Makes an event of an object, once in a life of the job.
    fn take(&mut self, kind: EventKind, object: &Value) {
        let Some(id) = fields::id(&object["id"]) else { return };
        let event = json!({
            "id": format!("adopt:{}:{id}", self.claimed.job.id),
            "object": "event",
            "type": kind.as_str(),
            "livemode": self.deps.livemode,
            "data": { "object": object },
        });
        let delivery = delivery(event.to_string().as_bytes(), self.deps.livemode, self.now_ms);
        self.effects.push(Effect::EventTake(Box::new(delivery)));
    }
}

/// The id after which the next page of a list begins; `None` if there is none.
fn next_of(list: &Value) -> Option<String> {
    let last = fields::rows(list).last().and_then(|row| fields::id(&row["id"]));
    last.filter(|_| list["has_more"] == true)
}
