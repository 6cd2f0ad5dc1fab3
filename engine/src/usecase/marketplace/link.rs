//! Links a purchase to a customer. A customer must not be able to claim somebody else's purchase, so claiming needs
//! a secret: the company's own site identifies the buyer (GitHub sends buyers to its setup URL, OAuth identifies
//! them), requests a **link token** for the account with its admin token, and signs the buyer up with it. Support
//! can also link directly.
//!
//! A token is random, works once, for a short time, and only its SHA-256 is stored. A new one replaces the last.
//! Linking itself changes neither plan nor credits: a job in the account's stream does that, in order with
//! GitHub's events. The job is inserted first, which locks its stream: a transaction that ends another
//! job of the stream takes this lock before it writes account and customer, so the two cannot deadlock.

use crate::clock::TimeMs;
use crate::domain::api_key::secret_hash;
use crate::domain::audit::Audit;
use crate::domain::job::Wake;
use crate::domain::marketplace::{MarketplaceAccount, settle_job};
use crate::error::{Error, Result};
use crate::ids::CustomerId;
use crate::infra::store::marketplace::TokenUse;
use crate::infra::store::{Db, audit, customer, job, marketplace as rows};
use sea_orm::ConnectionTrait;
use serde_json::json;
use zeroize::Zeroizing;

/// Prefix of every link token, so that secret scanners find leaked ones.
pub const TOKEN_PREFIX: &str = "mlt_";

/// A link token; wiped from memory when dropped, never printed by `Debug`.
pub struct LinkToken(Zeroizing<String>);

impl LinkToken {
    fn generate() -> Self {
        let bytes: Zeroizing<[u8; 32]> = Zeroizing::new(rand::random());
        Self(Zeroizing::new(format!("{TOKEN_PREFIX}{}", data_encoding::BASE32_DNSSEC.encode(bytes.as_slice()))))
    }

    /// The token itself, to be shown once.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for LinkToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LinkToken(…)")
    }
}

/// Creates a link token for an account, replacing an earlier one. Returns it with its expiry.
///
/// # Errors
/// Not found; `marketplace_account_linked`.
pub async fn issue_token(
    db: &Db,
    github_account_id: i64,
    ttl_s: i64,
    actor: &str,
    now_ms: TimeMs,
) -> Result<(LinkToken, TimeMs)> {
    let token = LinkToken::generate();
    let expires_ms = now_ms + ttl_s * 1_000;
    let tx = db.begin().await?;
    check_unlinked(&tx, github_account_id).await?;
    if !rows::marketplace_set_token(&tx, github_account_id, &secret_hash(token.expose()), expires_ms).await? {
        return Err(linked_already());
    }
    let details = json!({ "expires_at_ms": expires_ms });
    let line = Audit::new(actor, "marketplace.link_token", format!("github:{github_account_id}"), &details);
    audit::audit_append(&tx, &line, now_ms).await?;
    tx.commit().await?;
    Ok((token, expires_ms))
}

/// Links the purchase of a token in a signup's transaction. Returns the jobs to announce.
///
/// # Errors
/// `marketplace_link_invalid`, `marketplace_link_expired`.
pub(crate) async fn claim(
    tx: &impl ConnectionTrait,
    token: &str,
    customer_id: &CustomerId,
    now_ms: TimeMs,
) -> Result<Vec<Wake>> {
    let hash = secret_hash(token);
    let wakes = match rows::marketplace_find_by_token(tx, &hash).await? {
        Some(github_account_id) => insert_job(tx, github_account_id, customer_id, now_ms).await?,
        None => Vec::new(),
    };
    let github_account_id = match rows::marketplace_use_token(tx, &hash, customer_id, now_ms).await? {
        TokenUse::Linked(github_account_id) => github_account_id,
        TokenUse::Expired => {
            let message = "this marketplace link has expired; ask for a new one".to_owned();
            return Err(Error::NotAccepted { code: "marketplace_link_expired", message });
        }
        TokenUse::Unknown => {
            let message = "this marketplace link is not valid, or was used before".to_owned();
            return Err(Error::NotAccepted { code: "marketplace_link_invalid", message });
        }
    };
    let actor = format!("customer:{customer_id}");
    audit_link(tx, github_account_id, customer_id, &actor, json!({ "by": "link token" }), now_ms).await?;
    Ok(wakes)
}

/// Links an account for support; a repetition changes nothing. Returns the account and the jobs to announce.
///
/// # Errors
/// Not found; `marketplace_account_linked`, `marketplace_customer_linked`.
pub async fn by_hand(
    db: &Db,
    github_account_id: i64,
    customer_id: &CustomerId,
    actor: &str,
    reason: &str,
    now_ms: TimeMs,
) -> Result<(MarketplaceAccount, Vec<Wake>)> {
    let tx = db.begin().await?;
    if customer::customer_find(&tx, customer_id).await?.is_none() {
        return Err(Error::NotFound("customer"));
    }
    if rows::marketplace_find(&tx, github_account_id).await?.is_none() {
        return Err(Error::NotFound("marketplace account"));
    }
    let wakes = insert_job(&tx, github_account_id, customer_id, now_ms).await?;
    // The lock prevents another purchase from being linked to this customer meanwhile.
    customer::customer_lock(&tx, customer_id).await?;
    let known = rows::marketplace_find(&tx, github_account_id).await?.ok_or(Error::NotFound("marketplace account"))?;
    if known.customer_id.as_ref() == Some(customer_id) {
        return Ok((known, Vec::new()));
    }
    if rows::marketplace_find_by_customer(&tx, customer_id).await?.is_some() {
        let message = "this customer is linked to another marketplace account";
        return Err(Error::conflict("marketplace_customer_linked", message));
    }
    if !rows::marketplace_link(&tx, github_account_id, customer_id, now_ms).await? {
        return Err(linked_already());
    }
    audit_link(&tx, github_account_id, customer_id, actor, json!({ "reason": reason }), now_ms).await?;
    let account =
        rows::marketplace_find(&tx, github_account_id).await?.ok_or(Error::NotFound("marketplace account"))?;
    tx.commit().await?;
    Ok((account, wakes))
}

async fn check_unlinked(tx: &impl ConnectionTrait, github_account_id: i64) -> Result<()> {
    let known = rows::marketplace_find(tx, github_account_id).await?.ok_or(Error::NotFound("marketplace account"))?;
    if known.customer_id.is_some() { Err(linked_already()) } else { Ok(()) }
}

fn linked_already() -> Error {
    Error::conflict("marketplace_account_linked", "this marketplace account is linked to a customer")
}

/// Creates the job that updates plan and credits.
async fn insert_job(
    tx: &impl ConnectionTrait,
    github_account_id: i64,
    customer_id: &CustomerId,
    now_ms: TimeMs,
) -> Result<Vec<Wake>> {
    let mut job = settle_job(github_account_id, now_ms);
    job.customer_id = Some(customer_id.clone());
    job::job_insert_many(tx, &[job], now_ms).await
}

async fn audit_link(
    tx: &impl ConnectionTrait,
    github_account_id: i64,
    customer_id: &CustomerId,
    actor: &str,
    mut details: serde_json::Value,
    now_ms: TimeMs,
) -> Result<()> {
    details["github_account_id"] = json!(github_account_id);
    audit::audit_append(tx, &Audit::new(actor, "marketplace.link", customer_id, &details), now_ms).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_token_does_not_show_itself_to_whoever_prints_it() {
        let token = LinkToken::generate();
        assert!(!format!("{token:?}").contains(&token.expose()[4..]));
    }
}
