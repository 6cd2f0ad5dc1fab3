//! Creates the Stripe customer of a customer.

use super::{AccountArgs, Deps, args};
use crate::clock::TimeMs;
use crate::domain::effect::{Effect, Verdict};
use crate::domain::job::{JobKind, NewJob, Outcome};
use crate::domain::webhook::fields::{self, CUSTOMER_METADATA_KEY};
use crate::error::Result;
use crate::ids::CustomerId;
use crate::infra::store::customer;
use crate::infra::stripe::StripeError;
use crate::usecase::handler::Claimed;

/// How long one idempotency key is used for.
const KEY_TURN_MS: i64 = 2 * 60 * 60 * 1_000;

/// The job that creates a customer's Stripe customer. `generation` distinguishes a second one, after the first was
/// deleted at Stripe.
pub fn stripe_customer_job(customer: &CustomerId, generation: &str, now_ms: TimeMs) -> NewJob {
    let args = serde_json::json!({ "customer": customer.as_str() }).to_string();
    let mut job = NewJob::new(JobKind::StripeCustomer, args, now_ms);
    job.unique_key = Some(format!("stripe.customer:{customer}:{generation}"));
    job.customer_id = Some(customer.clone());
    // In one stream, so that a second job finds the Stripe customer of the first.
    job.stream_key = Some(format!("stripe.customer:{customer}"));
    job
}

/// Creates it, or finds the one of an earlier attempt whose answer was lost.
pub(super) async fn run(deps: &Deps, claimed: &Claimed, now_ms: TimeMs) -> Result<Verdict> {
    let id = CustomerId::trusted(args::<AccountArgs>(claimed)?.customer);
    let Some(customer) = customer::customer_find(deps.db.read(), &id).await? else {
        return Ok(Outcome::Dead { reason: format!("there is no customer {id}") }.into());
    };
    if customer.stripe_customer_id.is_some() {
        return Ok(Outcome::Done.into());
    }
    let made = async {
        let is_stale = now_ms - claimed.job.created_at_ms >= KEY_TURN_MS;
        if is_stale || claimed.job.attempt > 0 || claimed.job.rescues > 0 {
            let list = deps.stripe.customer_list(&customer.email).await?;
            let own = fields::rows(&list).iter().find(|row| row["metadata"][CUSTOMER_METADATA_KEY] == id.as_str());
            if let Some(own) = own {
                return Ok(own.clone());
            }
        }
        // A new key every two hours, because Stripe may have stored a failure under an older one. Two customers at
        // Stripe would do no harm: the list above finds the first.
        let turn = (now_ms - claimed.job.created_at_ms) / KEY_TURN_MS;
        let key = format!("bursar:customer:{}:{turn}", claimed.job.id);
        let create =
            async |key: &str| deps.stripe.customer_create(id.as_str(), &customer.email, &customer.name, key).await;
        match create(&key).await {
            // Stripe repeats this failure under the key for hours, and the list above shows no customer.
            Err(StripeError::Unknown { is_stored: true, .. }) if claimed.job.attempt > 0 => {
                create(&format!("{key}:{}", claimed.job.attempt)).await
            }
            made => made,
        }
    };
    Ok(match made.await {
        Ok(object) => match fields::id(&object["id"]) {
            Some(stripe_customer_id) => Verdict {
                outcome: Outcome::Done,
                ledger: None,
                effects: vec![Effect::StripeLink { customer_id: id, stripe_customer_id }],
            },
            None => Outcome::Dead { reason: "shape_incomplete: a customer without id".to_owned() }.into(),
        },
        Err(error) if error.is_retryable() => Outcome::Retry { reason: error.to_string() }.into(),
        // It is made when the customer first needs one: see `operation`.
        Err(error @ StripeError::NotConfigured) => Outcome::Cancel { reason: error.to_string() }.into(),
        Err(error @ StripeError::Unauthorized { .. }) => Outcome::Retry { reason: error.to_string() }.into(),
        Err(error) => Outcome::Dead { reason: error.to_string() }.into(),
    })
}
