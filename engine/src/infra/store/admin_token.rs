//! Rows of `admin_tokens`.

use super::{execute, get, query_all, query_one};
use crate::clock::TimeMs;
use crate::domain::admin_token::{AdminToken, LAST_USE_PRECISION_MS, Scopes};
use crate::error::{Error, Result};
use crate::ids::AdminTokenId;
use sea_orm::{ConnectionTrait, QueryResult};

const COLUMNS: &str = "id, name, hint, scopes, created_by, created_at_ms, expires_at_ms, last_used_at_ms, \
                       revoked_at_ms, revoked_by";
/// Which tokens are valid at `$1`.
const IS_VALID: &str = "revoked_at_ms IS NULL AND (expires_at_ms IS NULL OR expires_at_ms > $1)";
/// Separates stored scopes.
const SEPARATOR: &str = " ";

fn read(row: &QueryResult) -> Result<AdminToken> {
    let scopes: String = get(row, "scopes")?;
    Ok(AdminToken {
        id: AdminTokenId::trusted(get(row, "id")?),
        name: get(row, "name")?,
        scopes: Scopes::parse(scopes.split(SEPARATOR)).map_err(|error| Error::Corrupt(error.to_string()))?,
        hint: get(row, "hint")?,
        created_by: get(row, "created_by")?,
        created_at_ms: get(row, "created_at_ms")?,
        expires_at_ms: get(row, "expires_at_ms")?,
        last_used_at_ms: get(row, "last_used_at_ms")?,
        revoked_at_ms: get(row, "revoked_at_ms")?,
        revoked_by: get(row, "revoked_by")?,
    })
}

/// The request that makes a token, to recognise its repetition.
#[derive(Debug, Clone, Copy)]
pub struct TokenRequest<'a> {
    /// The caller's idempotency key.
    pub idempotency_key: &'a str,
    /// Distinguishes the request from others.
    pub hash: &'a str,
}

/// Inserts a token. False if the idempotency key made one before.
pub async fn admin_token_insert(
    db: &impl ConnectionTrait,
    token: &AdminToken,
    hash: &str,
    request: TokenRequest<'_>,
) -> Result<bool> {
    let rows = execute(
        db,
        "INSERT INTO admin_tokens (id, name, hash, hint, scopes, idempotency_key, request_hash, created_by, \
         created_at_ms, expires_at_ms) VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10) \
         ON CONFLICT (idempotency_key) DO NOTHING",
        [
            token.id.as_str().into(),
            token.name.as_str().into(),
            hash.into(),
            token.hint.as_str().into(),
            token.scopes.names().collect::<Vec<_>>().join(SEPARATOR).into(),
            request.idempotency_key.into(),
            request.hash.into(),
            token.created_by.as_str().into(),
            token.created_at_ms.into(),
            token.expires_at_ms.into(),
        ],
    )
    .await?;
    Ok(rows == 1)
}

/// The token made under an idempotency key, and the hash of its request.
pub async fn admin_token_find_by_idempotency(
    db: &impl ConnectionTrait,
    idempotency_key: &str,
) -> Result<Option<(AdminToken, String)>> {
    let sql = format!("SELECT {COLUMNS}, request_hash FROM admin_tokens WHERE idempotency_key = $1");
    let row = query_one(db, &sql, [idempotency_key.into()]).await?;
    row.map(|row| Ok((read(&row)?, get(&row, "request_hash")?))).transpose()
}

/// Finds a token.
pub async fn admin_token_find(db: &impl ConnectionTrait, id: &AdminTokenId) -> Result<Option<AdminToken>> {
    let sql = format!("SELECT {COLUMNS} FROM admin_tokens WHERE id = $1");
    query_one(db, &sql, [id.as_str().into()]).await?.map(|row| read(&row)).transpose()
}

/// All tokens, latest first, before the cursor.
pub async fn admin_token_list(db: &impl ConnectionTrait, before: Option<&str>, limit: u64) -> Result<Vec<AdminToken>> {
    let sql = format!("SELECT {COLUMNS} FROM admin_tokens WHERE ($1 = '' OR id < $1) ORDER BY id DESC LIMIT $2");
    let values = [before.unwrap_or_default().into(), limit.cast_signed().into()];
    query_all(db, &sql, values).await?.iter().map(read).collect()
}

/// The valid tokens with their hashes, latest first.
pub async fn admin_token_list_valid(
    db: &impl ConnectionTrait,
    now_ms: TimeMs,
    limit: u64,
) -> Result<Vec<(String, AdminToken)>> {
    let sql = format!("SELECT {COLUMNS}, hash FROM admin_tokens WHERE {IS_VALID} ORDER BY id DESC LIMIT $2");
    let rows = query_all(db, &sql, [now_ms.into(), limit.cast_signed().into()]).await?;
    rows.iter().map(|row| Ok((get(row, "hash")?, read(row)?))).collect()
}

/// The number of valid tokens.
pub async fn admin_token_count_valid(db: &impl ConnectionTrait, now_ms: TimeMs) -> Result<u64> {
    let sql = format!("SELECT COUNT(*) AS n FROM admin_tokens WHERE {IS_VALID}");
    let row = query_one(db, &sql, [now_ms.into()]).await?;
    row.map_or(Ok(0), |row| Ok(get::<i64>(&row, "n")?.cast_unsigned()))
}

/// Revokes a token for good. False if it was revoked before, or does not exist.
pub async fn admin_token_revoke(
    db: &impl ConnectionTrait,
    id: &AdminTokenId,
    actor: &str,
    now_ms: TimeMs,
) -> Result<bool> {
    let sql = "UPDATE admin_tokens SET revoked_at_ms = $2, revoked_by = $3 WHERE id = $1 AND revoked_at_ms IS NULL";
    Ok(execute(db, sql, [id.as_str().into(), now_ms.into(), actor.into()]).await? == 1)
}

/// Records a use, unless a recent one is recorded.
pub async fn admin_token_touch(db: &impl ConnectionTrait, id: &AdminTokenId, now_ms: TimeMs) -> Result<()> {
    let sql = "UPDATE admin_tokens SET last_used_at_ms = $2 WHERE id = $1 \
               AND (last_used_at_ms IS NULL OR last_used_at_ms <= $3)";
    execute(db, sql, [id.as_str().into(), now_ms.into(), (now_ms - LAST_USE_PRECISION_MS).into()]).await?;
    Ok(())
}
