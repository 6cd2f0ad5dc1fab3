//! Links of customers to Stripe customers that support makes and removes, and the requests that made customers.

use super::{execute, get, query_all, query_one};
use crate::clock::TimeMs;
use crate::error::Result;
use crate::ids::CustomerId;
use crate::key::PlanKey;
use sea_orm::ConnectionTrait;

/// The customer that a Stripe customer is or was linked to.
pub async fn stripe_link_owner(db: &impl ConnectionTrait, stripe_customer_id: &str) -> Result<Option<CustomerId>> {
    let sql = "SELECT id AS owner FROM customers WHERE stripe_customer_id = $1 UNION ALL \
               SELECT customer_id AS owner FROM stripe_customers_former WHERE stripe_customer_id = $1 LIMIT 1";
    let row = query_one(db, sql, [stripe_customer_id.into()]).await?;
    row.map(|row| Ok(CustomerId::trusted(get(&row, "owner")?))).transpose()
}

/// Links a customer to a Stripe customer in place of the present one, which becomes a former one: its late events still
/// count. A new link keeps the plan that the customer has.
pub async fn stripe_link_put(
    db: &impl ConnectionTrait,
    id: &CustomerId,
    stripe_customer_id: &str,
    replaced: Option<&str>,
    credits_from_ms: TimeMs,
    now_ms: TimeMs,
) -> Result<()> {
    let sql = "DELETE FROM stripe_customers_former WHERE stripe_customer_id = $1 AND customer_id = $2";
    execute(db, sql, [stripe_customer_id.into(), id.as_str().into()]).await?;
    let sql = "UPDATE customers SET \
               plan_before_link = CASE WHEN stripe_customer_id = $2 THEN plan_before_link ELSE plan END, \
               stripe_customer_id = $2, credits_from_ms = $3, updated_at_ms = $4 WHERE id = $1";
    let values = [id.as_str().into(), stripe_customer_id.into(), credits_from_ms.into(), now_ms.into()];
    execute(db, sql, values).await?;
    if let Some(old) = replaced {
        let sql = "INSERT INTO stripe_customers_former (customer_id, stripe_customer_id, gone_at_ms) \
                   VALUES ($1,$2,$3) ON CONFLICT DO NOTHING";
        execute(db, sql, [id.as_str().into(), old.into(), now_ms.into()]).await?;
    }
    Ok(())
}

/// Removes a customer's link, so that the Stripe customer belongs to nobody here.
pub async fn stripe_link_remove(db: &impl ConnectionTrait, id: &CustomerId, now_ms: TimeMs) -> Result<()> {
    let sql = "UPDATE customers SET stripe_customer_id = NULL, credits_from_ms = NULL, plan_before_link = NULL, \
               updated_at_ms = $2 WHERE id = $1";
    execute(db, sql, [id.as_str().into(), now_ms.into()]).await?;
    Ok(())
}

/// The plan that a customer had when support linked its Stripe customer; `None` if nobody did, or an earlier release.
pub async fn stripe_link_plan_before(db: &impl ConnectionTrait, id: &CustomerId) -> Result<Option<PlanKey>> {
    let sql = "SELECT plan_before_link FROM customers WHERE id = $1 AND plan_before_link IS NOT NULL";
    let row = query_one(db, sql, [id.as_str().into()]).await?;
    row.map(|row| Ok(PlanKey::trusted(&get::<String>(&row, "plan_before_link")?))).transpose()
}

/// Gives a customer a plan, whatever it has.
pub async fn stripe_link_plan_put(
    db: &impl ConnectionTrait,
    id: &CustomerId,
    plan: &PlanKey,
    now_ms: TimeMs,
) -> Result<()> {
    let sql = "UPDATE customers SET plan = $2, updated_at_ms = $3 WHERE id = $1";
    execute(db, sql, [id.as_str().into(), plan.as_str().into(), now_ms.into()]).await?;
    Ok(())
}

/// Deletes those of a customer's subscriptions; returns the ids of those that there were.
pub async fn stripe_link_subscriptions_remove(
    db: &impl ConnectionTrait,
    customer: &CustomerId,
    ids: &[String],
) -> Result<Vec<String>> {
    let mut removed = Vec::new();
    for id in ids {
        let sql = "DELETE FROM subscriptions WHERE id = $1 AND customer_id = $2";
        if execute(db, sql, [id.as_str().into(), customer.as_str().into()]).await? == 1 {
            removed.push(id.clone());
        }
    }
    Ok(removed)
}

/// Whether an operation of a customer is under way at Stripe.
pub async fn stripe_link_is_busy(db: &impl ConnectionTrait, customer: &CustomerId) -> Result<bool> {
    let sql = "SELECT id FROM operations WHERE customer_id = $1 AND state IN ('processing', 'requires_action') LIMIT 1";
    Ok(!query_all(db, sql, [customer.as_str().into()]).await?.is_empty())
}

/// Records the request that made a customer. False if its key was used before.
pub async fn customer_request_insert(
    db: &impl ConnectionTrait,
    key: &str,
    request_hash: &str,
    customer: &CustomerId,
    now_ms: TimeMs,
) -> Result<bool> {
    let sql = "INSERT INTO customer_requests (idempotency_key, request_hash, customer_id, created_at_ms) \
               VALUES ($1,$2,$3,$4) ON CONFLICT DO NOTHING";
    let values = [key.into(), request_hash.into(), customer.as_str().into(), now_ms.into()];
    Ok(execute(db, sql, values).await? == 1)
}

/// The customer that a request with this key made, and the hash of the request.
pub async fn customer_request_find(db: &impl ConnectionTrait, key: &str) -> Result<Option<(CustomerId, String)>> {
    let sql = "SELECT customer_id, request_hash FROM customer_requests WHERE idempotency_key = $1";
    let row = query_one(db, sql, [key.into()]).await?;
    row.map(|row| Ok((CustomerId::trusted(get(&row, "customer_id")?), get(&row, "request_hash")?))).transpose()
}
