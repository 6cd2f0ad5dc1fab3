//! Creates, rotates and revokes API keys: each in one transaction under a lock of the customer, with an entry in
//! the audit log.

use crate::clock::{Clock, TimeMs};
use crate::domain::api_key::{API_KEYS_MAX, ApiKey, NewKey, RawKey};
use crate::domain::audit::Audit;
use crate::domain::idempotency::check_same_request;
#[cfg(doc)]
use crate::error::Refusal;
use crate::error::{Error, Result};
use crate::ids::{ApiKeyId, CustomerId};
use crate::infra::store::api_key::KeyRequest;
use crate::infra::store::{Db, api_key as rows, audit, customer};
use sea_orm::DatabaseTransaction;
use serde_json::{Value, json};

/// The longest validity of a rotated key, in seconds: a day.
pub const GRACE_MAX_S: i64 = 24 * 60 * 60;

/// A key created now, or by an earlier request with the same idempotency key.
#[derive(Debug)]
pub struct CreatedKey {
    /// The key's record.
    pub key: ApiKey,
    /// The key itself; `None` if it was created earlier.
    pub raw: Option<RawKey>,
}

/// A rotated or revoked key.
#[derive(Debug)]
pub struct Ended {
    /// Its hash, to remove it from caches.
    pub hash: String,
    /// When it ends.
    pub at_ms: TimeMs,
}

/// Who asks for something about keys.
#[derive(Debug, Clone, Copy)]
pub struct Caller<'a> {
    /// The name in the audit log.
    pub actor: &'a str,
    /// The hash of the API key that the customer asked with; `None` for staff. The key may have ended since it was
    /// found: whoever has taken the customer over must not lose it to a key that is still in a cache.
    pub key_hash: Option<&'a str>,
    /// Read under the customer's lock: the key may end while the request waits for it.
    pub clock: &'a Clock,
}

/// Creates a key. `details` go into the audit log.
///
/// # Errors
/// [`Error::NotFound`] if there is no such customer; `invalid_api_key` if the caller's key has ended;
/// `too_many_api_keys`; [`Refusal::KeyReused`].
pub async fn make(
    db: &Db,
    by: Caller<'_>,
    new: NewKey,
    request: KeyRequest<'_>,
    details: Value,
    now_ms: TimeMs,
) -> Result<CreatedKey> {
    let tx = db.begin().await?;
    let NewKey { raw, key } = new;
    if let Some(key) = lock_and_find_earlier(&tx, &key.customer_id, request).await? {
        return Ok(CreatedKey { key, raw: None });
    }
    check_caller(&tx, &key.customer_id, by).await?;
    check_room(&tx, &key.customer_id, now_ms).await?;
    insert(&tx, &key, &raw, request).await?;
    audit::audit_append(&tx, &audit_of_key(by.actor, &key, "api_key.create", details), now_ms).await?;
    tx.commit().await?;
    Ok(CreatedKey { key, raw: Some(raw) })
}

/// Creates a key that replaces another, which ends `grace_s` later, so that both are valid while they are
/// exchanged.
///
/// # Errors
/// [`Error::NotFound`] if the customer has no such valid key; `invalid_api_key` if the caller's key has ended;
/// `api_key_rotated` if it already has a successor; `invalid_grace`; `too_many_api_keys`; [`Refusal::KeyReused`].
pub async fn rotate(
    db: &Db,
    by: Caller<'_>,
    customer: &CustomerId,
    id: &ApiKeyId,
    grace_s: i64,
    request: KeyRequest<'_>,
    now_ms: TimeMs,
) -> Result<(CreatedKey, Option<Ended>)> {
    if !(0..=GRACE_MAX_S).contains(&grace_s) {
        return Err(Error::invalid("invalid_grace", format!("grace_seconds must be from 0 to {GRACE_MAX_S}")));
    }
    let tx = db.begin().await?;
    if let Some(key) = lock_and_find_earlier(&tx, customer, request).await? {
        return Ok((CreatedKey { key, raw: None }, None));
    }
    check_caller(&tx, customer, by).await?;
    let old = rows::api_key_find(&tx, customer, id).await?.ok_or(Error::NotFound("API key"))?;
    match old.revoked_at_ms {
        None => {}
        Some(at_ms) if at_ms <= now_ms => return Err(Error::NotFound("API key")),
        Some(_) => {
            return Err(Error::conflict(
                "api_key_rotated",
                "this key was already rotated and ends soon; rotate its successor",
            ));
        }
    }
    if grace_s > 0 {
        check_room(&tx, customer, now_ms).await?;
    }
    let at_ms = now_ms + grace_s * 1_000;
    let hash = rows::api_key_revoke(&tx, customer, id, at_ms, now_ms).await?.ok_or(Error::NotFound("API key"))?;
    let NewKey { raw, key } = NewKey::generate(customer, old.name.clone(), now_ms);
    insert(&tx, &key, &raw, request).await?;
    let details = json!({ "rotated": id.as_str(), "grace_seconds": grace_s });
    audit::audit_append(&tx, &audit_of_key(by.actor, &key, "api_key.rotate", details), now_ms).await?;
    tx.commit().await?;
    Ok((CreatedKey { key, raw: Some(raw) }, Some(Ended { hash, at_ms })))
}

/// Revokes a key at once. The last one is revoked only if `even_the_last`: without a key the account is unusable
/// until support creates one. `details` go into the audit log.
///
/// # Errors
/// [`Error::NotFound`] if the customer has no such valid key; `invalid_api_key` if the caller's key has ended;
/// `last_api_key`.
pub async fn revoke(
    db: &Db,
    by: Caller<'_>,
    customer: &CustomerId,
    id: &ApiKeyId,
    even_the_last: bool,
    mut details: Value,
    now_ms: TimeMs,
) -> Result<Ended> {
    let tx = db.begin().await?;
    lock(&tx, customer).await?;
    check_caller(&tx, customer, by).await?;
    let key = rows::api_key_find(&tx, customer, id).await?.ok_or(Error::NotFound("API key"))?;
    // A key that ends soon does not count as the last.
    let is_lasting = key.revoked_at_ms.is_none();
    let lasting = rows::api_key_count(&tx, customer, now_ms).await?.lasting;
    let hash = rows::api_key_revoke(&tx, customer, id, now_ms, now_ms).await?.ok_or(Error::NotFound("API key"))?;
    let is_last = is_lasting && lasting <= 1;
    if is_last && !even_the_last {
        return Err(Error::conflict(
            "last_api_key",
            "This is the last valid key. Create another one first, or rotate it.",
        ));
    }
    details["was_last"] = is_last.into();
    audit::audit_append(&tx, &audit_of_key(by.actor, &key, "api_key.revoke", details), now_ms).await?;
    tx.commit().await?;
    Ok(Ended { hash, at_ms: now_ms })
}

/// The audit entry about a key; `more` is an object or null.
pub(crate) fn audit_of_key(actor: &str, key: &ApiKey, action: &'static str, more: Value) -> Audit {
    let mut details = json!({ "api_key": key.id.as_str(), "name": key.name });
    if let (Some(details), Value::Object(more)) = (details.as_object_mut(), more) {
        details.extend(more);
    }
    Audit::new(actor, action, &key.customer_id, &details)
}

async fn lock(tx: &DatabaseTransaction, customer: &CustomerId) -> Result<()> {
    if customer::customer_lock(tx, customer).await? { Ok(()) } else { Err(Error::NotFound("customer")) }
}

/// Refuses a caller whose key has ended since it was found. The caller holds the customer's lock.
async fn check_caller(tx: &DatabaseTransaction, customer: &CustomerId, by: Caller<'_>) -> Result<()> {
    match by.key_hash {
        Some(hash) if !rows::api_key_is_valid(tx, customer, hash, by.clock.now_ms()).await? => {
            Err(Error::Unauthorized {
                code: "invalid_api_key",
                message: "The API key is unknown or revoked.".to_owned(),
            })
        }
        _ => Ok(()),
    }
}

/// Locks the customer, and finds the key of an earlier request.
async fn lock_and_find_earlier(
    tx: &DatabaseTransaction,
    customer: &CustomerId,
    request: KeyRequest<'_>,
) -> Result<Option<ApiKey>> {
    lock(tx, customer).await?;
    let earlier = rows::api_key_find_by_idempotency(tx, customer, request.idempotency_key).await?;
    // Keys older than request hashes have none.
    if let Some((_, Some(hash))) = &earlier {
        check_same_request(Some(hash), Some(request.hash))?;
    }
    Ok(earlier.map(|(key, _)| key))
}

/// Refuses one key more than a customer may have. The caller holds the customer's lock.
pub(crate) async fn check_room(tx: &DatabaseTransaction, customer: &CustomerId, now_ms: TimeMs) -> Result<()> {
    if rows::api_key_count(tx, customer, now_ms).await?.working >= API_KEYS_MAX {
        let message = format!("A customer may have {API_KEYS_MAX} keys. Revoke one first.");
        return Err(Error::conflict("too_many_api_keys", message));
    }
    Ok(())
}

async fn insert(tx: &DatabaseTransaction, key: &ApiKey, raw: &RawKey, request: KeyRequest<'_>) -> Result<()> {
    if rows::api_key_insert(tx, key, &raw.hash(), Some(request)).await? {
        return Ok(());
    }
    // Under the lock, no other request can have used the idempotency key.
    Err(Error::Corrupt("an idempotency key of API keys was used under the lock".to_owned()))
}
