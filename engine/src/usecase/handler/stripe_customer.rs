//! Creates the Stripe customer of a customer, and corrects its address.

use super::{Deps, args};
use crate::clock::TimeMs;
use crate::domain::effect::{Effect, Verdict};
use crate::domain::job::{JobKind, NewJob, Outcome};
use crate::domain::webhook::fields::{self, CUSTOMER_METADATA_KEY};
use crate::error::Result;
use crate::ids::CustomerId;
use crate::infra::store::customer;
use crate::infra::stripe::StripeError;
use crate::usecase::handler::Claimed;
use serde::Deserialize;
use serde_json::Value;

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

/// The job that corrects the address of a customer's Stripe customer, if that still has the wrong one. Without a Stripe
/// customer it creates one.
pub fn stripe_email_job(customer: &CustomerId, wrong_email: &str, now_ms: TimeMs) -> NewJob {
    let mut job = stripe_customer_job(customer, &format!("email:{now_ms}"), now_ms);
    job.args = serde_json::json!({ "customer": customer.as_str(), "wrong_email": wrong_email }).to_string();
    job
}

#[derive(Deserialize)]
struct StripeCustomerArgs {
    customer: String,
    /// The address that is to be replaced by the customer's.
    wrong_email: Option<String>,
}

/// Creates it, or finds the one of an earlier attempt whose answer was lost.
pub(super) async fn run(deps: &Deps, claimed: &Claimed, now_ms: TimeMs) -> Result<Verdict> {
    let args: StripeCustomerArgs = args(claimed)?;
    let id = CustomerId::trusted(args.customer);
    let Some(customer) = customer::customer_find(deps.db.read(), &id).await? else {
        return Ok(Outcome::Dead { reason: format!("there is no customer {id}") }.into());
    };
    if let Some(stripe_customer_id) = &customer.stripe_customer_id {
        let Some(wrong_email) = args.wrong_email else { return Ok(Outcome::Done.into()) };
        let corrected = correct_email(deps, claimed, stripe_customer_id, &wrong_email, &customer.email).await;
        return Ok(corrected.map_or_else(after_failure, |()| Outcome::Done.into()));
    }
    // Those that were deleted or replaced name the customer, too, and are never linked again.
    let former = customer::stripe_customer_former_list(deps.db.read(), &id).await?;
    let is_former = |row: &Value| former.iter().any(|former| row["id"] == former.as_str());
    let made = async {
        let is_stale = now_ms - claimed.job.created_at_ms >= KEY_TURN_MS;
        if is_stale || claimed.job.may_have_begun() {
            let list = deps.stripe.customer_list(&customer.email).await?;
            let mut named =
                fields::rows(&list).iter().filter(|row| row["metadata"][CUSTOMER_METADATA_KEY] == id.as_str());
            if let Some(own) = named.find(|row| !is_former(row)) {
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
        Err(error) => after_failure(error),
    })
}

/// Replaces a wrong address at Stripe. Another one there was chosen by somebody, and stays.
async fn correct_email(
    deps: &Deps,
    claimed: &Claimed,
    stripe_customer_id: &str,
    wrong_email: &str,
    email: &str,
) -> Result<(), StripeError> {
    let present = deps.stripe.customer_retrieve(stripe_customer_id).await?;
    if present["email"].as_str() != Some(wrong_email) {
        return Ok(());
    }
    let key = format!("bursar:customer:{}:{}", claimed.job.id, claimed.job.attempt);
    deps.stripe.customer_set_email(stripe_customer_id, email, &key).await.map(drop)
}

fn after_failure(error: StripeError) -> Verdict {
    let reason = error.to_string();
    match error {
        error if error.is_retryable() => Outcome::Retry { reason }.into(),
        // It is made when the customer first needs one: see `operation`.
        StripeError::NotConfigured => Outcome::Cancel { reason }.into(),
        StripeError::Unauthorized { .. } => Outcome::Retry { reason }.into(),
        _ => Outcome::Dead { reason }.into(),
    }
}
