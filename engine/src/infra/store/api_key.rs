//! Rows of `api_keys`.

use super::account::{ACCOUNT_COLUMNS, read_joined};
use super::{execute, get, query_all, query_by, query_one, seek};
use crate::clock::TimeMs;
use crate::domain::api_key::{ApiKey, KeyOwner};
use crate::domain::ledger::Account;
use crate::error::Result;
use crate::ids::{ApiKeyId, CustomerId};
use sea_orm::{ConnectionTrait, DbBackend, QueryResult};

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

/// The request that creates a key, to recognise its repetition.
#[derive(Debug, Clone, Copy)]
pub struct KeyRequest<'a> {
    /// The caller's idempotency key.
    pub idempotency_key: &'a str,
    /// Distinguishes the request from others.
    pub hash: &'a str,
}

/// Inserts a key. False if the customer already used the idempotency key for one.
pub async fn api_key_insert(
    db: &impl ConnectionTrait,
    key: &ApiKey,
    hash: &str,
    request: Option<KeyRequest<'_>>,
) -> Result<bool> {
    let rows = execute(
        db,
        "INSERT INTO api_keys (id, customer_id, name, hash, hint, idempotency_key, request_hash, created_at_ms) \
         VALUES ($1,$2,$3,$4,$5,$6,$7,$8) ON CONFLICT (customer_id, idempotency_key) DO NOTHING",
        [
            key.id.as_str().into(),
            key.customer_id.as_str().into(),
            key.name.as_str().into(),
            hash.into(),
            key.hint.as_str().into(),
            request.map(|request| request.idempotency_key.to_owned()).into(),
            request.map(|request| request.hash.to_owned()).into(),
            key.created_at_ms.into(),
        ],
    )
    .await?;
    Ok(rows == 1)
}

/// The result of a key's look-up.
#[derive(Debug, Clone)]
pub struct Found {
    /// The key's hash.
    pub hash: String,
    /// Its customer.
    pub owner: KeyOwner,
    /// The customer's account, which most requests need next.
    pub account: Option<Account>,
}

/// Looks up keys by their hashes; invalid ones are left out.
pub async fn api_key_owner_many(db: &impl ConnectionTrait, hashes: &[String], now_ms: TimeMs) -> Result<Vec<Found>> {
    let backend = db.get_database_backend();
    let keys = seek(backend, "api_keys k", "k.hash = r.sought");
    let accounts = match backend {
        DbBackend::Postgres => {
            "LEFT JOIN LATERAL (SELECT * FROM accounts WHERE customer_id = k.customer_id OFFSET 0) a ON true"
        }
        _ => "LEFT JOIN accounts a ON a.customer_id = k.customer_id",
    };
    let sql = format!(
        "SELECT k.hash AS hash, k.customer_id AS customer_id, k.revoked_at_ms AS revoked_at_ms, {ACCOUNT_COLUMNS} \
         FROM {{rows}} {keys} {accounts}"
    );
    let rows = query_by(db, &sql, hashes).await?;
    let read = |row: &QueryResult| {
        let customer_id = CustomerId::trusted(get(row, "customer_id")?);
        let owner = KeyOwner { customer_id, ends_at_ms: get(row, "revoked_at_ms")? };
        Ok(Found { hash: get(row, "hash")?, owner, account: read_joined(row)? })
    };
    let found: Vec<Found> = rows.iter().map(read).collect::<Result<_>>()?;
    Ok(found.into_iter().filter(|found| found.owner.is_valid(now_ms)).collect())
}

/// Finds a key of a customer.
pub async fn api_key_find(db: &impl ConnectionTrait, customer: &CustomerId, id: &ApiKeyId) -> Result<Option<ApiKey>> {
    let sql = format!("SELECT {COLUMNS} FROM api_keys WHERE customer_id = $1 AND id = $2");
    query_one(db, &sql, [customer.as_str().into(), id.as_str().into()]).await?.map(|row| read(&row)).transpose()
}

/// The key created under an idempotency key, and the hash of its request.
pub async fn api_key_find_by_idempotency(
    db: &impl ConnectionTrait,
    customer: &CustomerId,
    idempotency_key: &str,
) -> Result<Option<(ApiKey, Option<String>)>> {
    let sql = format!("SELECT {COLUMNS}, request_hash FROM api_keys WHERE customer_id = $1 AND idempotency_key = $2");
    let row = query_one(db, &sql, [customer.as_str().into(), idempotency_key.into()]).await?;
    row.map(|row| Ok((read(&row)?, get(&row, "request_hash")?))).transpose()
}

/// A customer's keys, oldest first, after the cursor.
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

/// The numbers of a customer's valid keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyCount {
    /// Valid keys.
    pub working: i64,
    /// Those without an end.
    pub lasting: i64,
}

/// Counts a customer's keys. Decisions that depend on it need [`customer_lock`](super::customer::customer_lock).
pub async fn api_key_count(db: &impl ConnectionTrait, customer: &CustomerId, now_ms: TimeMs) -> Result<KeyCount> {
    let sql = "SELECT COUNT(*) AS working, COUNT(CASE WHEN revoked_at_ms IS NULL THEN 1 END) AS lasting \
               FROM api_keys WHERE customer_id = $1 AND (revoked_at_ms IS NULL OR revoked_at_ms > $2)";
    let row = query_one(db, sql, [customer.as_str().into(), now_ms.into()]).await?;
    row.map_or(Ok(KeyCount { working: 0, lasting: 0 }), |row| {
        Ok(KeyCount { working: get(&row, "working")?, lasting: get(&row, "lasting")? })
    })
}

/// Whether a customer's key with this hash is valid.
pub async fn api_key_is_valid(
    db: &impl ConnectionTrait,
    customer: &CustomerId,
    hash: &str,
    now_ms: TimeMs,
) -> Result<bool> {
    let sql = "SELECT id FROM api_keys WHERE hash = $2 AND customer_id = $1 \
               AND (revoked_at_ms IS NULL OR revoked_at_ms > $3)";
    Ok(query_one(db, sql, [customer.as_str().into(), hash.into(), now_ms.into()]).await?.is_some())
}

/// Ends all valid keys of a customer now; returns them with their hashes.
pub async fn api_key_revoke_all(
    db: &impl ConnectionTrait,
    customer: &CustomerId,
    now_ms: TimeMs,
) -> Result<Vec<(ApiKey, String)>> {
    let sql = format!(
        "UPDATE api_keys SET revoked_at_ms = $2 WHERE customer_id = $1 \
         AND (revoked_at_ms IS NULL OR revoked_at_ms > $2) RETURNING {COLUMNS}, hash"
    );
    let rows = query_all(db, &sql, [customer.as_str().into(), now_ms.into()]).await?;
    rows.iter().map(|row| Ok((read(row)?, get(row, "hash")?))).collect()
}

/// Ends a key now or later; returns its hash if the customer has such a valid key.
pub async fn api_key_revoke(
    db: &impl ConnectionTrait,
    customer: &CustomerId,
    id: &ApiKeyId,
    at_ms: TimeMs,
    now_ms: TimeMs,
) -> Result<Option<String>> {
    let sql = "UPDATE api_keys SET revoked_at_ms = $3 WHERE customer_id = $1 AND id = $2 \
               AND (revoked_at_ms IS NULL OR revoked_at_ms > $4) RETURNING hash";
    let values = [customer.as_str().into(), id.as_str().into(), at_ms.into(), now_ms.into()];
    query_one(db, sql, values).await?.map(|row| get(&row, "hash")).transpose()
}
