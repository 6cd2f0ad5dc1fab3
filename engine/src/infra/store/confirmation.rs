//! Rows of `confirmation_links`, and the columns of `customers` that say whether an address is confirmed.

use super::{execute, get, query_one};
use crate::clock::TimeMs;
use crate::domain::address::AddressState;
use crate::domain::confirmation::ConfirmationLink;
use crate::error::Result;
use crate::ids::CustomerId;
use sea_orm::ConnectionTrait;

/// Stores a link.
pub async fn confirmation_link_insert(db: &impl ConnectionTrait, link: &ConfirmationLink) -> Result<()> {
    let sql = "INSERT INTO confirmation_links (token_hash, customer_id, email_normalized, created_at_ms, expires_at_ms) \
               VALUES ($1,$2,$3,$4,$5)";
    let values = [
        link.token_hash.as_str().into(),
        link.customer_id.as_str().into(),
        link.email_normalized.as_str().into(),
        link.created_at_ms.into(),
        link.expires_at_ms.into(),
    ];
    execute(db, sql, values).await?;
    Ok(())
}

/// Finds a link by the hash of its token, with the address that its customer has now.
pub async fn confirmation_link_find(
    db: &impl ConnectionTrait,
    token_hash: &str,
) -> Result<Option<(ConfirmationLink, String)>> {
    let sql = "SELECT l.token_hash AS token_hash, l.customer_id AS customer_id, l.email_normalized AS email_normalized, \
               l.created_at_ms AS created_at_ms, l.expires_at_ms AS expires_at_ms, l.used_at_ms AS used_at_ms, \
               c.email_normalized AS email_now \
               FROM confirmation_links l JOIN customers c ON c.id = l.customer_id WHERE l.token_hash = $1";
    let Some(row) = query_one(db, sql, [token_hash.into()]).await? else { return Ok(None) };
    let link = ConfirmationLink {
        token_hash: get(&row, "token_hash")?,
        customer_id: CustomerId::trusted(get(&row, "customer_id")?),
        email_normalized: get(&row, "email_normalized")?,
        created_at_ms: get(&row, "created_at_ms")?,
        expires_at_ms: get(&row, "expires_at_ms")?,
        used_at_ms: get(&row, "used_at_ms")?,
    };
    Ok(Some((link, get(&row, "email_now")?)))
}

/// Uses up all links of a customer, so that an older mail does not take it over once more.
pub async fn confirmation_link_use_all(db: &impl ConnectionTrait, customer: &CustomerId, now_ms: TimeMs) -> Result<()> {
    let sql = "UPDATE confirmation_links SET used_at_ms = $2 WHERE customer_id = $1 AND used_at_ms IS NULL";
    execute(db, sql, [customer.as_str().into(), now_ms.into()]).await?;
    Ok(())
}

/// Deletes links that expired before `before_ms`; returns their number.
pub async fn confirmation_link_prune(db: &impl ConnectionTrait, before_ms: TimeMs, limit: u64) -> Result<u64> {
    let sql = "DELETE FROM confirmation_links WHERE token_hash IN \
               (SELECT token_hash FROM confirmation_links WHERE expires_at_ms < $1 LIMIT $2)";
    execute(db, sql, [before_ms.into(), limit.cast_signed().into()]).await
}

/// Confirms a customer's address. False if it is confirmed already, or nobody asked.
pub async fn customer_confirm(
    db: &impl ConnectionTrait,
    customer: &CustomerId,
    state: AddressState,
    now_ms: TimeMs,
) -> Result<bool> {
    let sql = "UPDATE customers SET address_state = $2, address_confirmed_at_ms = $3, updated_at_ms = $3 \
               WHERE id = $1 AND address_state = 'pending'";
    let values = [customer.as_str().into(), state.as_str().into(), now_ms.into()];
    Ok(execute(db, sql, values).await? == 1)
}
