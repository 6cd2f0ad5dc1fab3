//! Staff makes a customer, with the Stripe customer that it has already if there is one.
//!
//! Unlike a signup it gives no free credits, makes no API key and sends no mail: the customer comes from elsewhere, and
//! staff decides what it gets. A stranger cannot take over a Stripe customer by it, because it needs an admin token.

use crate::clock::{TimeMs, rfc3339};
use crate::domain::address::{AddressState, Confirmation};
use crate::domain::audit::Audit;
use crate::domain::customer::{Customer, Source};
use crate::domain::email::Email;
use crate::domain::idempotency::check_same_request;
use crate::domain::job::Wake;
use crate::domain::ledger::Account;
use crate::error::{Error, Result};
use crate::ids::CustomerId;
use crate::infra::store::stripe_link as rows;
use crate::infra::store::{account, audit, customer, job};
use crate::key::PlanKey;
use crate::name::check_customer_name;
use crate::usecase::handler::{Deps, stripe_adopt_job, stripe_customer_job};
use crate::usecase::stripe_link::{ask_of_theirs, check_unowned, put_link, wake_waiting};
use sea_orm::ConnectionTrait;
use serde_json::json;

/// A customer to make.
#[derive(Debug, Clone, Copy)]
pub struct NewCustomer<'a> {
    /// E-mail address.
    pub email: &'a str,
    /// Name.
    pub name: &'a str,
    /// How it came to us.
    pub source: Source,
    /// The plan of new customers.
    pub plan: &'a PlanKey,
    /// The Stripe customer that it has.
    pub stripe_customer_id: Option<&'a str>,
    /// The beginning of the first period whose payment brings credits; the present moment if not given.
    pub credits_from_ms: Option<TimeMs>,
    /// Who makes it.
    pub actor: &'a str,
    /// The request's idempotency key.
    pub idempotency_key: &'a str,
    /// Distinguishes the request from others under its key.
    pub request_hash: &'a str,
}

/// A customer that was made, now or by an earlier request with the same key.
#[derive(Debug)]
pub struct MadeCustomer {
    /// The customer.
    pub customer: Customer,
    /// Jobs to announce.
    pub wakes: Vec<Wake>,
}

/// Makes a customer, and links its Stripe customer in the same transaction.
///
/// # Errors
/// `invalid_email`, `invalid_name`, `customer_exists`; with a Stripe customer those of
/// [`link`](crate::usecase::stripe_link::link); `KeyReused`. An error changes nothing.
pub async fn make(deps: &Deps, asked: NewCustomer<'_>, now_ms: TimeMs) -> Result<MadeCustomer> {
    if let Some(made) = find_earlier(deps.db.read(), &asked).await? {
        return Ok(made);
    }
    let email = Email::parse(asked.email)?;
    let new = Customer {
        id: CustomerId::new(),
        email: email.given.clone(),
        name: check_customer_name(asked.name)?,
        source: asked.source.as_str().to_owned(),
        plan: asked.plan.clone(),
        stripe_customer_id: None,
        former_stripe_ids: Vec::new(),
        credits_from_ms: None,
        has_payment_method: false,
        // Whoever makes it says whose it is.
        confirmation: Confirmation { state: AddressState::Staff, at_ms: Some(now_ms) },
        created_at_ms: now_ms,
    };
    if let Some(id) = asked.stripe_customer_id {
        ask_of_theirs(deps, &new.id, id).await?;
    }
    let tx = deps.db.begin().await?;
    if !customer::customer_insert(&tx, &new, &email).await? {
        tx.rollback().await?;
        // The same request may have been first.
        let earlier = find_earlier(deps.db.write(), &asked).await?;
        let exists = || Error::conflict("customer_exists", "a customer with this e-mail address already exists");
        return earlier.ok_or_else(exists);
    }
    if !rows::customer_request_insert(&tx, asked.idempotency_key, asked.request_hash, &new.id, now_ms).await? {
        tx.rollback().await?;
        return find_earlier(deps.db.write(), &asked).await?.ok_or(Error::Busy("the customer"));
    }
    account::account_insert(&tx, &new.id, &Account::default(), now_ms).await?;
    let wakes = bind(&tx, &new.id, &asked, now_ms).await?;
    let customer = customer::customer_find(&tx, &new.id).await?.ok_or(Error::NotFound("customer"))?;
    tx.commit().await?;
    Ok(MadeCustomer { customer, wakes })
}

/// Links the Stripe customer, or has one made, and records the deed.
async fn bind(
    tx: &impl ConnectionTrait,
    id: &CustomerId,
    asked: &NewCustomer<'_>,
    now_ms: TimeMs,
) -> Result<Vec<Wake>> {
    let mut details = json!({ "source": asked.source.as_str() });
    let job = match asked.stripe_customer_id {
        None => stripe_customer_job(id, "1", now_ms),
        Some(stripe_customer_id) => {
            let from_ms = asked.credits_from_ms.unwrap_or(now_ms);
            details["stripe_customer_id"] = stripe_customer_id.into();
            details["credits_from"] = rfc3339(from_ms).into();
            check_unowned(tx, id, stripe_customer_id).await?;
            put_link(tx, id, stripe_customer_id, None, from_ms, now_ms).await?;
            stripe_adopt_job(id, stripe_customer_id, from_ms, now_ms)
        }
    };
    audit::audit_append(tx, &Audit::new(asked.actor, "customer.create", id, &details), now_ms).await?;
    let mut wakes = job::job_insert_many(tx, &[job], now_ms).await?;
    if let Some(stripe_customer_id) = asked.stripe_customer_id {
        wakes.extend(wake_waiting(tx, stripe_customer_id, now_ms).await?);
    }
    Ok(wakes)
}

async fn find_earlier(db: &impl ConnectionTrait, asked: &NewCustomer<'_>) -> Result<Option<MadeCustomer>> {
    let Some((id, hash)) = rows::customer_request_find(db, asked.idempotency_key).await? else { return Ok(None) };
    check_same_request(Some(&hash), Some(asked.request_hash))?;
    let customer = customer::customer_find(db, &id).await?.ok_or(Error::NotFound("customer"))?;
    Ok(Some(MadeCustomer { customer, wakes: Vec::new() }))
}
