//! Rows of `payment_methods`, with `customers.has_payment_method`, which depends on them.

use super::{execute, get, query_all, query_one, top_up};
use crate::clock::TimeMs;
use crate::domain::payment_method::PaymentMethod;
use crate::error::Result;
use crate::ids::CustomerId;
use sea_orm::{ConnectionTrait, QueryResult};

const COLUMNS: &str = "id, customer_id, kind, brand, last4, exp_month, exp_year, fingerprint, is_default, \
                       consent_at_ms, attached_at_ms, detached_at_ms";
/// Maximum number of payment methods listed; of more, only the latest are.
pub const PAYMENT_METHODS_MAX: i64 = 100;

fn read(row: &QueryResult) -> Result<PaymentMethod> {
    Ok(PaymentMethod {
        id: get(row, "id")?,
        customer_id: CustomerId::trusted(get(row, "customer_id")?),
        kind: get(row, "kind")?,
        brand: get(row, "brand")?,
        last4: get(row, "last4")?,
        exp_month: get(row, "exp_month")?,
        exp_year: get(row, "exp_year")?,
        fingerprint: get(row, "fingerprint")?,
        is_default: get(row, "is_default")?,
        consent_at_ms: get(row, "consent_at_ms")?,
        attached_at_ms: get(row, "attached_at_ms")?,
        detached_at_ms: get(row, "detached_at_ms")?,
    })
}

/// A customer's attached payment methods: the default first, then the latest.
pub async fn payment_method_list(db: &impl ConnectionTrait, customer: &CustomerId) -> Result<Vec<PaymentMethod>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM payment_methods WHERE customer_id = $1 AND detached_at_ms IS NULL \
         ORDER BY is_default DESC, attached_at_ms DESC, id LIMIT $2"
    );
    query_all(db, &sql, [customer.as_str().into(), PAYMENT_METHODS_MAX.into()]).await?.iter().map(read).collect()
}

/// Finds an attached payment method of a customer.
pub async fn payment_method_find(
    db: &impl ConnectionTrait,
    customer: &CustomerId,
    id: &str,
) -> Result<Option<PaymentMethod>> {
    let sql =
        format!("SELECT {COLUMNS} FROM payment_methods WHERE customer_id = $1 AND id = $2 AND detached_at_ms IS NULL");
    query_one(db, &sql, [customer.as_str().into(), id.into()]).await?.map(|row| read(&row)).transpose()
}

/// Finds a payment method of a customer, even a detached one.
pub async fn payment_method_find_any(
    db: &impl ConnectionTrait,
    customer: &CustomerId,
    id: &str,
) -> Result<Option<PaymentMethod>> {
    let sql = format!("SELECT {COLUMNS} FROM payment_methods WHERE customer_id = $1 AND id = $2");
    query_one(db, &sql, [customer.as_str().into(), id.into()]).await?.map(|row| read(&row)).transpose()
}

/// Finds the customer of a payment method.
pub async fn payment_method_owner(db: &impl ConnectionTrait, id: &str) -> Result<Option<CustomerId>> {
    let row = query_one(db, "SELECT customer_id FROM payment_methods WHERE id = $1", [id.into()]).await?;
    row.map(|row| Ok(CustomerId::trusted(get(&row, "customer_id")?))).transpose()
}

/// Writes an attached payment method. Consent and time of attaching are kept, but the consent ends when the payment
/// method is detached or moves to another customer.
pub async fn payment_method_put(db: &impl ConnectionTrait, method: &PaymentMethod) -> Result<()> {
    let sql = format!(
        "INSERT INTO payment_methods ({COLUMNS}) VALUES ($1,$2,$3,$4,$5,$6,$7,$8,FALSE,$9,$10,NULL) \
         ON CONFLICT (id) DO UPDATE SET customer_id = excluded.customer_id, kind = excluded.kind, \
         brand = excluded.brand, last4 = excluded.last4, exp_month = excluded.exp_month, \
         exp_year = excluded.exp_year, \
         fingerprint = COALESCE(excluded.fingerprint, payment_methods.fingerprint), consent_at_ms = CASE WHEN payment_methods.detached_at_ms IS NULL \
         AND payment_methods.customer_id = excluded.customer_id \
         THEN COALESCE(payment_methods.consent_at_ms, excluded.consent_at_ms) ELSE excluded.consent_at_ms END, \
         detached_at_ms = NULL"
    );
    let values = [
        method.id.as_str().into(),
        method.customer_id.as_str().into(),
        method.kind.as_str().into(),
        method.brand.clone().into(),
        method.last4.clone().into(),
        method.exp_month.into(),
        method.exp_year.into(),
        method.fingerprint.clone().into(),
        method.consent_at_ms.into(),
        method.attached_at_ms.into(),
    ];
    execute(db, &sql, values).await?;
    settle_default(db, &method.customer_id, method.is_default.then_some(method.id.as_str())).await
}

/// Marks a payment method as detached.
pub async fn payment_method_detach(
    db: &impl ConnectionTrait,
    customer: &CustomerId,
    id: &str,
    now_ms: TimeMs,
) -> Result<()> {
    let sql = "UPDATE payment_methods SET detached_at_ms = $3, is_default = FALSE \
               WHERE customer_id = $1 AND id = $2 AND detached_at_ms IS NULL";
    execute(db, sql, [customer.as_str().into(), id.into(), now_ms.into()]).await?;
    settle_default(db, customer, None).await
}

/// Marks all payment methods of a customer as detached, because its Stripe customer was deleted.
pub async fn payment_method_detach_all(db: &impl ConnectionTrait, customer: &CustomerId, now_ms: TimeMs) -> Result<()> {
    let sql = "UPDATE payment_methods SET detached_at_ms = $2, is_default = FALSE \
               WHERE customer_id = $1 AND detached_at_ms IS NULL";
    execute(db, sql, [customer.as_str().into(), now_ms.into()]).await?;
    settle_default(db, customer, None).await
}

/// Makes a payment method the default, if it is attached.
pub async fn payment_method_set_default(db: &impl ConnectionTrait, customer: &CustomerId, id: &str) -> Result<()> {
    settle_default(db, customer, Some(id)).await
}

/// Chooses the default among payment methods with consent: the wanted one, else the present default, else the
/// latest. Without consent there is none. Top-ups that wait for the card before look at the one that is the default now.
async fn settle_default(db: &impl ConnectionTrait, customer: &CustomerId, wanted: Option<&str>) -> Result<()> {
    let sql = "UPDATE payment_methods SET is_default = (id = COALESCE( \
                 (SELECT id FROM payment_methods WHERE customer_id = $1 AND id = $2 AND detached_at_ms IS NULL \
                  AND consent_at_ms IS NOT NULL), \
                 (SELECT id FROM payment_methods WHERE customer_id = $1 AND detached_at_ms IS NULL \
                  AND consent_at_ms IS NOT NULL ORDER BY is_default DESC, attached_at_ms DESC, id LIMIT 1), '')) \
               WHERE customer_id = $1 AND detached_at_ms IS NULL";
    execute(db, sql, [customer.as_str().into(), wanted.unwrap_or_default().into()]).await?;
    let sql = "UPDATE customers SET has_payment_method = EXISTS \
               (SELECT 1 FROM payment_methods WHERE customer_id = $1 AND detached_at_ms IS NULL \
               AND consent_at_ms IS NOT NULL) WHERE id = $1";
    execute(db, sql, [customer.as_str().into()]).await?;
    top_up::top_up_wake(db, customer).await
}
