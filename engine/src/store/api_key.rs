//! Rows of `api_keys`.

use super::{execute, get, query_all, query_one};
use crate::api_key::ApiKey;
use crate::clock::TimeMs;
use crate::error::Result;
use crate::ids::{ApiKeyId, CustomerId};
use sea_orm::{ConnectionTrait, QueryResult};

const COLUMNS: &str = "id, customer_id, name, hint, created_at_ms, revoked_at_ms";

fn read(row: &QueryResult) -> Result<ApiKey> {
    Ok(ApiKey {
        id: ApiKeyId::trusted(get(row, "id")?),
        customer_id: CustomerId::trusted(get(row, "customer_id")?),
        name: get(row, "name")?,
        hint: get(row, "hint")?,
        created_at_ms: get(row, "created_at_ms")?,
        revoked_at_ms: get(row, "revoked_at_ms")?,
    })
}

/// Inserts a key. False if the customer used the idempotency key for one before.
pub async fn api_key_insert(
    db: &impl ConnectionTrait,
    key: &ApiKey,
    hash: &str,
    idempotency_key: Option<&str>,
) -> Result<bool> {
    let rows = execute(
        db,
        "INSERT INTO api_keys (id, customer_id, name, hash, hint, idempotency_key, created_at_ms) \
         VALUES ($1,$2,$3,$4,$5,$6,$7) ON CONFLICT (customer_id, idempotency_key) DO NOTHING",
        [
            key.id.as_str().into(),
            key.customer_id.as_str().into(),
            key.name.as_str().into(),
            hash.into(),
            key.hint.as_str().into(),
            idempotency_key.map(str::to_owned).into(),
            key.created_at_ms.into(),
        ],
    )
    .await?;
    Ok(rows == 1)
}

/// Whose a key is, by its hash, unless it is revoked.
pub async fn api_key_owner(db: &impl ConnectionTrait, hash: &str) -> Result<Option<CustomerId>> {
    let sql = "SELECT customer_id FROM api_keys WHERE hash = $1 AND revoked_at_ms IS NULL";
    let row = query_one(db, sql, [hash.into()]).await?;
    row.map(|row| Ok(CustomerId::trusted(get(&row, "customer_id")?))).transpose()
}

/// The key that was made under an idempotency key.
pub async fn api_key_find_by_idempotency(
    db: &impl ConnectionTrait,
    customer: &CustomerId,
    idempotency_key: &str,
) -> Result<Option<ApiKey>> {
    let sql = format!("SELECT {COLUMNS} FROM api_keys WHERE customer_id = $1 AND idempotency_key = $2");
    query_one(db, &sql, [customer.as_str().into(), idempotency_key.into()]).await?.map(|row| read(&row)).transpose()
}

/// A customer's keys, oldest first, below the cursor.
pub async fn api_key_list(
    db: &impl ConnectionTrait,
    customer: &CustomerId,
    after: &str,
    limit: u64,
) -> Result<Vec<ApiKey>> {
    let sql = format!("SELECT {COLUMNS} FROM api_keys WHERE customer_id = $1 AND id > $2 ORDER BY id LIMIT $3");
    let values = [customer.as_str().into(), after.into(), limit.cast_signed().into()];
    query_all(db, &sql, values).await?.iter().map(read).collect()
}

/// How many keys of a customer are not revoked. The customer's row is locked on Postgres, so that
/// two revocations at the same moment cannot both see the other's key as the one that stays.
pub async fn api_key_count_active(db: &impl ConnectionTrait, customer: &CustomerId) -> Result<i64> {
    if db.get_database_backend() == sea_orm::DbBackend::Postgres {
        query_one(db, "SELECT id FROM customers WHERE id = $1 FOR UPDATE", [customer.as_str().into()]).await?;
    }
    let sql = "SELECT COUNT(*) AS n FROM api_keys WHERE customer_id = $1 AND revoked_at_ms IS NULL";
    query_one(db, sql, [customer.as_str().into()]).await?.map_or(Ok(0), |row| get(&row, "n"))
}

/// Revokes a key; its hash, if the customer has such a key that was not revoked yet.
pub async fn api_key_revoke(
    db: &impl ConnectionTrait,
    customer: &CustomerId,
    id: &ApiKeyId,
    now_ms: TimeMs,
) -> Result<Option<String>> {
    let sql = "UPDATE api_keys SET revoked_at_ms = $3 \
               WHERE customer_id = $1 AND id = $2 AND revoked_at_ms IS NULL RETURNING hash";
    let row = query_one(db, sql, [customer.as_str().into(), id.as_str().into(), now_ms.into()]).await?;
    row.map(|row| get(&row, "hash")).transpose()
}
