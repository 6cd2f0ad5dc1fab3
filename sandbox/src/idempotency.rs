//! Answers stored under idempotency keys. Source: Stripe, "Idempotent requests".

use crate::account::StripeAccount;
use crate::error::ApiError;
use crate::field::Fields;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// How long an answer is stored.
pub(crate) const KEPT_S: i64 = 24 * 3_600;
/// Maximum number of stored answers. Beyond this the oldest are deleted.
const ANSWERS_MAX: usize = 100_000;
/// The longest key.
const KEY_LEN_MAX: usize = 255;
const KIND: &str = "_answer";

/// An answer: status and body.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Value,
    /// The id of the request that was answered first, if this is a replay.
    pub(crate) repeats: Option<String>,
}

/// Distinguishes requests under one key.
pub(crate) fn fingerprint(method: &str, path: &str, parameters: &Value) -> String {
    hex::encode(Sha256::digest(format!("{method} {path}\n{parameters}")))
}

/// The answer stored under a key, if there is one.
pub(crate) fn find(account: &StripeAccount, key: &str, fingerprint: &str) -> Result<Option<Answer>, ApiError> {
    if key.len() > KEY_LEN_MAX {
        let message = format!("Idempotency keys can have up to {KEY_LEN_MAX} characters.");
        return Err(ApiError::invalid("idempotency_key_too_long", None, &message));
    }
    let Some(kept) = account.get(&id(key)).filter(|kept| kept.int("created") + KEPT_S > account.now_s) else {
        return Ok(None);
    };
    if kept.text("fingerprint") != fingerprint {
        return Err(ApiError::key_reused(key));
    }
    let status = u16::try_from(kept.int("status")).unwrap_or(500);
    Ok(Some(Answer { status, body: kept["body"].clone(), repeats: Some(kept.text("request").to_owned()) }))
}

/// Stores an answer under its key.
pub(crate) fn keep(account: &mut StripeAccount, key: &str, fingerprint: &str, answer: &Answer) {
    let id = id(key);
    // Removed first, because a replaced entry would keep its old place in the order of age.
    account.store.remove(&id);
    let kept = json!({
        "id": id, "object": KIND, "created": account.now_s, "fingerprint": fingerprint, "status": answer.status,
        "body": answer.body, "request": account.cause.request_id,
    });
    account.store.put(&id, kept);
}

/// Deletes answers that are too old or too many.
pub(crate) fn prune(account: &mut StripeAccount) {
    let excess = account.store.count(KIND).saturating_sub(ANSWERS_MAX);
    let until_s = account.now_s - KEPT_S;
    let rows = account.store.of_kind(KIND).enumerate();
    let rows = rows.take_while(|(at, row)| *at < excess || row.int("created") <= until_s);
    let old: Vec<String> = rows.map(|(_, row)| row.id().to_owned()).collect();
    for id in old {
        account.store.remove(&id);
    }
}

fn id(key: &str) -> String {
    format!("{KIND}:{key}")
}
