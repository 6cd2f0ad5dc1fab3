//! Answers stored under idempotency keys. Source: Stripe, "Idempotent requests".

use crate::error::ApiError;
use crate::field::Fields;
use crate::world::World;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// How long an answer is stored.
pub(crate) const KEPT_S: i64 = 24 * 3_600;
/// Most stored answers. Beyond this the oldest are deleted.
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
pub(crate) fn find(world: &World, key: &str, fingerprint: &str) -> Result<Option<Answer>, ApiError> {
    if key.len() > KEY_LEN_MAX {
        let message = format!("Idempotency keys can have up to {KEY_LEN_MAX} characters.");
        return Err(ApiError::invalid("idempotency_key_too_long", None, &message));
    }
    let Some(kept) = world.get(&id(key)).filter(|kept| kept.int("created") + KEPT_S > world.now_s) else {
        return Ok(None);
    };
    if kept.text("fingerprint") != fingerprint {
        return Err(ApiError::key_reused(key));
    }
    let status = u16::try_from(kept.int("status")).unwrap_or(500);
    Ok(Some(Answer { status, body: kept["body"].clone(), repeats: Some(kept.text("request").to_owned()) }))
}

/// Stores an answer under its key.
pub(crate) fn keep(world: &mut World, key: &str, fingerprint: &str, answer: &Answer) {
    let id = id(key);
    // Removed first, because a replaced entry would keep its old place in the order of age.
    world.store.remove(&id);
    let kept = json!({
        "id": id, "object": KIND, "created": world.now_s, "fingerprint": fingerprint, "status": answer.status,
        "body": answer.body, "request": world.cause.request_id,
    });
    world.store.put(&id, kept);
}

/// Deletes answers that are too old or too many.
pub(crate) fn prune(world: &mut World) {
    let excess = world.store.count(KIND).saturating_sub(ANSWERS_MAX);
    let until_s = world.now_s - KEPT_S;
    let rows = world.store.of_kind(KIND).enumerate();
    let rows = rows.take_while(|(at, row)| *at < excess || row.int("created") <= until_s);
    let old: Vec<String> = rows.map(|(_, row)| row.id().to_owned()).collect();
    for id in old {
        world.store.remove(&id);
    }
}

fn id(key: &str) -> String {
    format!("{KIND}:{key}")
}
