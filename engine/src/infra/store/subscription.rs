//! Rows of `subscriptions`.

use super::{Kind, Rows, execute, from_json, get, query_all, query_by, query_one, to_json};
use crate::clock::TimeMs;
use crate::domain::subscription::Subscription;
use crate::error::Result;
use crate::ids::CustomerId;
use crate::key::{PlanKey, PriceKey};
use sea_orm::{ConnectionTrait, QueryResult};
use serde::de::DeserializeOwned;
use std::collections::HashMap;

pub(super) const COLUMNS: &str = "id, customer_id, status, plan, price, quantity, cancel_at_period_end, \
                       current_period_end_ms, past_due_since_ms, past_due_reason, paused_collection, unpaid_change, \
                       pending_change, ended_at_ms";
/// Maximum number of subscriptions listed; of more, only the latest are.
const SUBSCRIPTIONS_MAX: i64 = 100;

pub(super) fn read(row: &QueryResult) -> Result<Subscription> {
    Ok(Subscription {
        id: get(row, "id")?,
        customer_id: CustomerId::trusted(get(row, "customer_id")?),
        status: get(row, "status")?,
        plan: get::<Option<String>>(row, "plan")?.map(|key| PlanKey::trusted(&key)),
        price: get::<Option<String>>(row, "price")?.map(|key| PriceKey::trusted(&key)),
        quantity: get(row, "quantity")?,
        cancel_at_period_end: get(row, "cancel_at_period_end")?,
        current_period_end_ms: get(row, "current_period_end_ms")?,
        past_due_since_ms: get(row, "past_due_since_ms")?,
        past_due_reason: get(row, "past_due_reason")?,
        paused_collection: json(row, "paused_collection")?,
        unpaid_change: json(row, "unpaid_change")?,
        pending_change: json(row, "pending_change")?,
        ended_at_ms: get(row, "ended_at_ms")?,
    })
}

/// A column with JSON or null.
fn json<T: DeserializeOwned>(row: &QueryResult, column: &str) -> Result<Option<T>> {
    get::<Option<String>>(row, column)?.as_deref().map(from_json).transpose()
}

/// The column to find subscriptions by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// Their id at Stripe.
    Id,
    /// Their customer.
    Customer,
}

/// Finds many subscriptions; missing ones are left out.
pub async fn subscription_find_many(db: &impl ConnectionTrait, by: By, ids: &[String]) -> Result<Vec<Subscription>> {
    let column = match by {
        By::Id => "id",
        By::Customer => "customer_id",
    };
    let columns = COLUMNS.split(", ").map(|column| format!("s.{column} AS {column}")).collect::<Vec<_>>();
    let sql = format!("SELECT {} FROM {{rows}} JOIN subscriptions s ON s.{column} = {{r.sought}}", columns.join(", "));
    query_by(db, &sql, ids).await?.iter().map(read).collect()
}

/// A customer's subscriptions, latest first.
pub async fn subscription_list(db: &impl ConnectionTrait, customer: &CustomerId) -> Result<Vec<Subscription>> {
    let sql =
        format!("SELECT {COLUMNS} FROM subscriptions WHERE customer_id = $1 ORDER BY updated_at_ms DESC, id LIMIT $2");
    query_all(db, &sql, [customer.as_str().into(), SUBSCRIPTIONS_MAX.into()]).await?.iter().map(read).collect()
}

/// Every price of the catalogue that a subscription has that has not ended. It reads one entry of the index for each.
pub async fn subscription_price_list(db: &impl ConnectionTrait) -> Result<Vec<PriceKey>> {
    let open = "FROM subscriptions s WHERE s.ended_at_ms IS NULL AND s.price IS NOT NULL";
    let sql = format!(
        "WITH RECURSIVE prices_of (price) AS (SELECT MIN(s.price) {open} UNION ALL \
         SELECT (SELECT MIN(s.price) {open} AND s.price > prices_of.price) FROM prices_of \
         WHERE prices_of.price IS NOT NULL) SELECT price FROM prices_of WHERE price IS NOT NULL ORDER BY price"
    );
    let rows = query_all(db, &sql, []).await?;
    rows.iter().map(|row| Ok(PriceKey::trusted(&get::<String>(row, "price")?))).collect()
}

/// The number of subscriptions at a price of the catalogue that have not ended.
pub async fn subscription_count_at_price(db: &impl ConnectionTrait, price: &PriceKey) -> Result<i64> {
    let sql = "SELECT COUNT(*) AS n FROM subscriptions WHERE ended_at_ms IS NULL AND price = $1";
    let row = query_one(db, sql, [price.as_str().into()]).await?;
    row.map_or(Ok(0), |row| get(&row, "n"))
}

/// The price at Stripe that a customer's subscription has, if it is known.
pub async fn subscription_stripe_price(
    db: &impl ConnectionTrait,
    customer: &CustomerId,
    id: &str,
) -> Result<Option<String>> {
    let sql = "SELECT stripe_price FROM subscriptions WHERE id = $1 AND customer_id = $2";
    let row = query_one(db, sql, [id.into(), customer.as_str().into()]).await?;
    row.map_or(Ok(None), |row| get(&row, "stripe_price"))
}

/// The prices at Stripe that a customer's subscriptions have, by the ids of those of which it is known.
pub async fn subscription_stripe_price_list(
    db: &impl ConnectionTrait,
    customer: &CustomerId,
) -> Result<HashMap<String, String>> {
    let sql = "SELECT id, stripe_price FROM subscriptions WHERE customer_id = $1 AND stripe_price IS NOT NULL \
               ORDER BY updated_at_ms DESC, id LIMIT $2";
    let rows = query_all(db, sql, [customer.as_str().into(), SUBSCRIPTIONS_MAX.into()]).await?;
    rows.iter().map(|row| Ok((get(row, "id")?, get(row, "stripe_price")?))).collect()
}

/// Sets the price at Stripe that a subscription has.
pub async fn subscription_set_stripe_price(db: &impl ConnectionTrait, id: &str, stripe_price: &str) -> Result<()> {
    let sql = "UPDATE subscriptions SET stripe_price = $2 WHERE id = $1";
    execute(db, sql, [id.into(), stripe_price.into()]).await?;
    Ok(())
}

/// Writes subscriptions, each once. An ended one stays ended, in whatever order events arrive: only details of its
/// end may change.
pub async fn subscription_put_many(
    db: &impl ConnectionTrait,
    subscriptions: &[&Subscription],
    now_ms: TimeMs,
) -> Result<()> {
    let mut rows = Rows::new(&[
        ("id", Kind::Text),
        ("customer_id", Kind::Text),
        ("status", Kind::Text),
        ("plan", Kind::Text),
        ("price", Kind::Text),
        ("quantity", Kind::Int),
        ("cancel_at_period_end", Kind::Int),
        ("current_period_end_ms", Kind::Int),
        ("past_due_since_ms", Kind::Int),
        ("past_due_reason", Kind::Text),
        ("paused_collection", Kind::Text),
        ("unpaid_change", Kind::Text),
        ("pending_change", Kind::Text),
        ("ended_at_ms", Kind::Int),
        ("updated_at_ms", Kind::Int),
    ]);
    for subscription in subscriptions {
        rows.push([
            subscription.id.as_str().into(),
            subscription.customer_id.as_str().into(),
            subscription.status.as_str().into(),
            subscription.plan.clone().map(String::from).into(),
            subscription.price.clone().map(String::from).into(),
            subscription.quantity.into(),
            subscription.cancel_at_period_end.into(),
            subscription.current_period_end_ms.into(),
            subscription.past_due_since_ms.into(),
            subscription.past_due_reason.clone().into(),
            subscription.paused_collection.as_ref().map(to_json).transpose()?.into(),
            subscription.unpaid_change.as_ref().map(to_json).transpose()?.into(),
            subscription.pending_change.as_ref().map(to_json).transpose()?.into(),
            subscription.ended_at_ms.into(),
            now_ms.into(),
        ]);
    }
    let sql = "INSERT INTO subscriptions (id, customer_id, status, plan, price, quantity, cancel_at_period_end, \
               current_period_end_ms, past_due_since_ms, past_due_reason, paused_collection, unpaid_change, \
               pending_change, ended_at_ms, updated_at_ms) \
               SELECT id, customer_id, status, plan, price, quantity, cancel_at_period_end <> 0, \
               current_period_end_ms, past_due_since_ms, past_due_reason, paused_collection, unpaid_change, \
               pending_change, ended_at_ms, updated_at_ms \
               FROM {rows} WHERE true ON CONFLICT (id) DO UPDATE SET status = excluded.status, \
               plan = excluded.plan, price = excluded.price, quantity = excluded.quantity, \
               cancel_at_period_end = excluded.cancel_at_period_end, \
               current_period_end_ms = excluded.current_period_end_ms, \
               past_due_since_ms = excluded.past_due_since_ms, past_due_reason = excluded.past_due_reason, \
               paused_collection = excluded.paused_collection, unpaid_change = excluded.unpaid_change, \
               pending_change = excluded.pending_change, ended_at_ms = excluded.ended_at_ms, updated_at_ms = excluded.updated_at_ms \
               WHERE subscriptions.ended_at_ms IS NULL OR subscriptions.ended_at_ms = excluded.ended_at_ms";
    db.execute_raw(rows.statement(db.get_database_backend(), sql)).await?;
    Ok(())
}
